"""Evaluation of a model: metrics with intervals, slices, suspected labels, and a report in one file."""
