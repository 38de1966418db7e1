"""Thin interfaces: parse, call, print."""
