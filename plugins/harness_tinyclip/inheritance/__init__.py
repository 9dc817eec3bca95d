"""Weight inheritance: which of a teacher's weights a smaller CLIP starts from."""
