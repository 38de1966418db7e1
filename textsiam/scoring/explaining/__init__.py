"""Explains scores: what each word adds, and the differences that embeddings hardly see."""
