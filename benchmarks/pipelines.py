"""Paraphrases scored in scikit-learn's pipelines: pair features of a pretrained twin beside TF-IDF, under the same folds.

On `qqp_pairs` and `mrpc` (their training splits), five folds of `PairKFold`, in which no text and no chain of positives is on two
sides. TF-IDF of words and pairs of words is given to a logistic regression in three usual forms, its C chosen on the very folds
that judge it, which is kind to it; ours are scikit-learn's defaults or set beforehand.

    python benchmarks/pipelines.py     ten minutes
"""

import time
import warnings

import numpy as np
import pandas as pd
from record import SHARED, record
from scipy.sparse import hstack
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from textsiam import read_pairs
from textsiam.interfaces.estimators import PairClassifier, PairKFold, PairScorer

SETS, SEED, FOLDS = ("qqp_pairs", "mrpc"), 0, 5
METRICS = ("average_precision", "accuracy", "neg_brier_score")


class TfIdf(TransformerMixin, BaseEstimator):
    """Words and pairs of words: of both texts together; what one or both have; or the two texts' cosine and difference."""

    def __init__(self, form="words of one or both"):
        self.form = form

    def fit(self, X, y=None):
        self.vectorizer_ = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        self.vectorizer_.fit([*X["first"], *X["second"]])
        return self

    def transform(self, X):
        if self.form == "words of both":
            return self.vectorizer_.transform(X["first"] + " " + X["second"])
        a, b = (self.vectorizer_.transform(X[name]) for name in ("first", "second"))
        if self.form == "words of one or both":
            return hstack([abs(a - b), a.multiply(b)]).tocsr()
        return np.hstack([np.asarray(a.multiply(b).sum(1)), np.asarray(abs(a - b).sum(1))])


def pipelines():
    """Name → estimators, of which the best by average precision counts."""
    regressions = [LogisticRegression(C=c, max_iter=1_000) for c in (0.3, 1, 3, 10)]
    trees = dict(max_iter=150, learning_rate=0.05, max_leaf_nodes=8, random_state=SEED)
    return {
        **{
            f"TF-IDF, {form}": [make_pipeline(TfIdf(form), model) for model in regressions]
            for form in ("words of both", "words of one or both", "cosine and difference")
        },
        "PairClassifier": [PairClassifier()],
        "PairScorer, logistic regression": [make_pipeline(PairScorer(), StandardScaler(), LogisticRegression())],
        "PairScorer, logistic regression on products": [
            make_pipeline(PairScorer(), StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=1_000))
        ],
        "PairScorer, boosted trees": [make_pipeline(PairScorer(), HistGradientBoostingClassifier(**trees))],
    }


def judged(model, frame, labels) -> dict:
    started = time.perf_counter()
    told = cross_validate(model, frame, labels, cv=PairKFold(FOLDS, random_state=SEED), scoring=METRICS)
    means = {name.removeprefix("neg_"): round(abs(float(told[f"test_{name}"].mean())), 4) for name in METRICS}
    return means | {"seconds": round(time.perf_counter() - started, 1)}


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    figures = {}
    for data in SETS:
        pairs = read_pairs(SHARED / f"{data}.parquet", split="train")
        frame = pd.DataFrame({"first": list(pairs.first), "second": list(pairs.second)})
        told = {}
        for name, models in pipelines().items():
            tried = [judged(model, frame, pairs.labels) for model in models]
            told[name] = max(tried, key=lambda one: one["average_precision"])
            print(data, name, told[name], flush=True)
        figures[data] = {"pairs": len(pairs), "pipelines": told}
    record(
        "pipelines", "scoring paraphrases in a scikit-learn pipeline, beside TF-IDF", figures | {"folds": FOLDS}, SEED
    )


if __name__ == "__main__":
    main()
