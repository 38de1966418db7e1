"""Rows of an index near a query: exactly, or approximately where that is wanted."""
