"""Ways to carry out a plan; each is a component that a plugin could have offered."""
