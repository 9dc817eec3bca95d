"""Carrying out a plan: due cells, the work of their stages, records."""
