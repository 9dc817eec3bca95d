"""Coresets by the geometry of embeddings."""
