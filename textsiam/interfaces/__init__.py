"""Thin doors: parse, call, print."""
