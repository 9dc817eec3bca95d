"""Export of sets, models and records, for use elsewhere."""
