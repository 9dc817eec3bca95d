"""One JSON file for each evaluated run, and many of them read back."""
