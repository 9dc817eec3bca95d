"""Torch numerics that methods and students share."""
