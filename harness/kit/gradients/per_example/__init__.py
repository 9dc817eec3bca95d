"""The gradient of every example's own loss, by a loop, by torch.func or by hooks."""
