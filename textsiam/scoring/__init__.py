"""From embeddings to score, probability and decision; `Siamese` does all of it."""
