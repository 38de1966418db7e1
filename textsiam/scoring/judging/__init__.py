"""Reading both texts of a pair: their tokens, aligned, and what that says beyond cosine."""
