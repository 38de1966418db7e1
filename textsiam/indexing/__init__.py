"""Matches as they arrive: sentences kept for years, each new one compared with all before it."""
