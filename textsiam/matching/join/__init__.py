"""The exact joins: every pair that reaches a threshold, and the k closest, in bounded memory."""
