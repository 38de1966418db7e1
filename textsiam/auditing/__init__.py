"""Audits: people label a random sample of a join's matches, which proves a threshold for that join."""
