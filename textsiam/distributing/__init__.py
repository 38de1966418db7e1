"""More texts than one machine takes: from texts to matches and clusters, in tasks that any machine can do."""
