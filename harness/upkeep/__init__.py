"""Records checked against themselves; artifacts that no record needs."""
