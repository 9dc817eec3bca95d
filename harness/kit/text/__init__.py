"""Text classifiers: packing, forward passes, training."""
