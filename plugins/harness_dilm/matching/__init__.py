"""The second stage: the generator is tuned until its samples have the gradients of real rows."""
