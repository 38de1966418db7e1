"""Sentence → embedding: tokenise, sort by length, batch by a token budget, embed, restore the order. Load and save models."""
