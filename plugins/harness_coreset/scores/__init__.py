"""Methods that look at how hard a row is for a short run."""
