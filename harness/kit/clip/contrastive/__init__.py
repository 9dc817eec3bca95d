"""Losses between images and texts, as functions of embeddings; none of them changes its inputs."""
