"""Many sentences → matches → clusters."""

from textsiam.matching.join.exact import threshold_join, top_k_join

__all__ = ["threshold_join", "top_k_join"]
