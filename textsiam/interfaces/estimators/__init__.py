"""scikit-learn's door: sentence vectors, pair features and a pair classifier for its pipelines, and folds that do not leak.

The words are scikit-learn's here: `fit`, `transform`, `predict_proba`, `random_state`. A model is read once a process, and texts
that several folds or grid points ask for are encoded once. Pickled estimators hold settings and what was fitted, never weights:
these are read again from their folder.
"""

from textsiam.interfaces.estimators.folds import PairKFold
from textsiam.interfaces.estimators.pair_classifier import PairClassifier
from textsiam.interfaces.estimators.pair_scorer import PairScorer
from textsiam.interfaces.estimators.sentence_encoder import SentenceEncoder

__all__ = ["PairClassifier", "PairKFold", "PairScorer", "SentenceEncoder"]
