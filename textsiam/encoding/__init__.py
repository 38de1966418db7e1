"""Sentence → embedding: tokenise, order by length, batch by a token budget, embed, restore order; load and save models."""
