"""Choosing rows by where their embeddings lie."""
