"""Labelled scores in; probabilities, certified thresholds and intervals out."""
