"""Causal language models: rows, forward passes, training, LoRA, likelihoods."""
