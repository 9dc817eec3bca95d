"""Work kept in files: checkpoints, manifests, arrays."""
