"""Judges: fitted from scratch on several data sets, or adapted to a user's labelled pairs."""
