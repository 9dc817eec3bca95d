"""Storage of records and artifacts: atomic, locked, by key."""
