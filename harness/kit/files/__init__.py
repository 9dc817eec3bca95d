"""Files of a run that may be killed: resume points, manifests, arrays."""
