"""Selection of rows: clustering, herding, the pool to choose from, the target to choose for."""
