"""Leaderboards: boards built from records, and the formats that show them."""
