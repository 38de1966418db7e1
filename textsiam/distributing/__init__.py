"""Past one machine: the road from texts to matches and clusters in tasks that any machine may do, each finished once."""
