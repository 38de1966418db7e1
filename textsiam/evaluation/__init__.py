"""Evaluation of a model: metrics with intervals, slices, suspect labels, and a report in one file."""
