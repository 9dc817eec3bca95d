"""What a stage does, and which stage is due."""
