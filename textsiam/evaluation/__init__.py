"""How good, and how sure: metrics with intervals, slices, suspected labels, and a report of one file."""
