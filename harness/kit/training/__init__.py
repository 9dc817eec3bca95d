"""The training loop that all students share."""
