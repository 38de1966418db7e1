"""From many texts to matches, and from matches to clusters."""

from textsiam.matching.join.exact import threshold_join, top_k_join

__all__ = ["threshold_join", "top_k_join"]
