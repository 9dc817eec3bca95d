"""Planning: from a request to a suite, its components, keys and cells."""
