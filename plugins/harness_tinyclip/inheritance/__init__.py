"""Which of a teacher's weights a smaller CLIP starts from."""
