"""Charts of a board."""
