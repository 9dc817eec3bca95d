"""Gradients of single rows, and what they say of one row's influence on another."""
