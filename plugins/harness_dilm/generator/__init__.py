"""The generator: a class-conditional language model, its training, its samples."""
