"""Records and artifacts on disk: atomic, locked, found again by key."""
