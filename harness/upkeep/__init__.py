"""Upkeep of results folders: verification of records, garbage collection of artifacts."""
