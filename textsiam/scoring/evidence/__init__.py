"""Evidence from labelled scores: probabilities, certified thresholds and intervals."""
