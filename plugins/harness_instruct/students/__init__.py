"""Causal language models as students."""
