"""Automatic inheritance: masks learned on the weights of a CLIP, then folded in."""
