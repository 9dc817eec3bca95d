"""CLIP models: shapes, tokens, training, teachers."""
