"""The gradient of every example's own loss, by a loop or by hooks."""
