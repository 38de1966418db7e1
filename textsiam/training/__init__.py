"""Pairs → a better encoder: losses on embeddings, batches, mined negatives, and a thin subclass of transformers' Trainer."""
