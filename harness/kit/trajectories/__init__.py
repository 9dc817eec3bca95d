"""Synthetic data learned through inner loops of training, and expert trajectories to match."""
