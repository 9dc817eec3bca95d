"""Methods that look at where rows lie among others."""
