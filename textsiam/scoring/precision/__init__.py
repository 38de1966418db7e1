"""Faster classes of precision beside the certified one: how often they decide alike, and a second look near thresholds."""
