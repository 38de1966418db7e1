"""Training of an encoder on pairs: losses on embeddings, batches, hard negatives, and a subclass of transformers' Trainer."""
