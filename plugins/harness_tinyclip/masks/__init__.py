"""Learned masks on the weights of a CLIP."""
