"""A join's own output, sampled and labelled by people: what proves a threshold for that join."""
