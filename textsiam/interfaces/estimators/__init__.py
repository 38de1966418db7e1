"""Estimators for scikit-learn pipelines: sentence vectors, pair features, a pair classifier, and folds that do not leak.

They use scikit-learn's words: `fit`, `transform`, `predict_proba`, `random_state`. A model is read once per process, and a text
that several folds or grid points need is encoded once. A pickle has the settings and what was fitted, never the weights: they
are read again from their folder.
"""

from textsiam.interfaces.estimators.folds import PairKFold
from textsiam.interfaces.estimators.pair_classifier import PairClassifier
from textsiam.interfaces.estimators.pair_scorer import PairScorer
from textsiam.interfaces.estimators.sentence_encoder import SentenceEncoder

__all__ = ["PairClassifier", "PairKFold", "PairScorer", "SentenceEncoder"]
