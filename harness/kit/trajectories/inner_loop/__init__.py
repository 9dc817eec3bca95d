"""A few training steps as a function of what is trained on, and its gradient."""
