"""Embeddings → score → probability → decision, and the `Siamese` that carries all of it."""
