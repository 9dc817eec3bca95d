"""Coresets by difficulty scores of short training runs."""
