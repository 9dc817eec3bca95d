"""Sets, models and records as folders for others."""
