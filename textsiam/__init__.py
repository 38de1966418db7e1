"""Sentence similarity with transformer encoders, and decisions with evidence.

Each folder is one step: ``data`` (read sentences) → ``encoding`` (sentence → embedding) → ``scoring`` (embeddings → score →
probability → decision) → ``matching`` (many sentences → matches → clusters) → ``distributing`` (the same on several machines)
→ ``indexing`` (texts and matches kept on disk) → ``evaluation`` and ``auditing`` (how good, how sure) → ``training`` (pairs → a
better encoder) → ``interfaces`` (command line, scikit-learn, HTTP).

``import textsiam`` loads none of them: each public name is imported at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_MODULES = {
    "Audit": "textsiam.auditing.audit",
    "Calibrator": "textsiam.scoring.calibration",
    "Clusters": "textsiam.matching.matches",
    "Encoder": "textsiam.encoding.encoder",
    "Evaluation": "textsiam.evaluation.evaluation",
    "Explanation": "textsiam.scoring.explaining.explanation",
    "Index": "textsiam.indexing.index",
    "LOSSES": "textsiam.training.losses",
    "Matches": "textsiam.matching.matches",
    "Pairs": "textsiam.data.pairs",
    "ScoredPairs": "textsiam.scoring.evidence.scored_pairs",
    "SetAside": "textsiam.data.texts",
    "Siamese": "textsiam.scoring.siamese",
    "Split": "textsiam.data.splitting",
    "Texts": "textsiam.data.texts",
    "Threshold": "textsiam.scoring.thresholds",
    "Triplets": "textsiam.data.pairs",
    "admit": "textsiam.scoring.precision.agreement",
    "certify_decisions": "textsiam.scoring.evidence.verifying",
    "cluster": "textsiam.matching.matches",
    "counterfactuals": "textsiam.scoring.counterfactuals.counterfactual_pairs",
    "encode_to_parquet": "textsiam.encoding.shards",
    "evaluate": "textsiam.evaluation.evaluation",
    "find_duplicates": "textsiam.matching.duplicates",
    "find_repeats": "textsiam.matching.duplicates",
    "fit_judge": "textsiam.training.judges.own_judge",
    "folds": "textsiam.data.splitting",
    "mine_negatives": "textsiam.training.negatives",
    "read_pairs": "textsiam.data.readers",
    "read_texts": "textsiam.data.readers",
    "read_triplets": "textsiam.data.readers",
    "score_pairs": "textsiam.scoring.evidence.scored_pairs",
    "split": "textsiam.data.splitting",
    "start_audit": "textsiam.auditing.audit",
    "threshold_join": "textsiam.matching.join.exact",
    "top_k_join": "textsiam.matching.join.exact",
    "train": "textsiam.training.fine_tuning",
}

if TYPE_CHECKING:
    from textsiam.auditing.audit import Audit, start_audit
    from textsiam.data.pairs import Pairs, Triplets
    from textsiam.data.readers import read_pairs, read_texts, read_triplets
    from textsiam.data.splitting import Split, folds, split
    from textsiam.data.texts import SetAside, Texts
    from textsiam.encoding.encoder import Encoder
    from textsiam.encoding.shards import encode_to_parquet
    from textsiam.evaluation.evaluation import Evaluation, evaluate
    from textsiam.indexing.index import Index
    from textsiam.matching.duplicates import find_duplicates, find_repeats
    from textsiam.matching.join.exact import threshold_join, top_k_join
    from textsiam.matching.matches import Clusters, Matches, cluster
    from textsiam.scoring.calibration import Calibrator
    from textsiam.scoring.counterfactuals.counterfactual_pairs import counterfactuals
    from textsiam.scoring.evidence.scored_pairs import ScoredPairs, score_pairs
    from textsiam.scoring.evidence.verifying import certify_decisions
    from textsiam.scoring.explaining.explanation import Explanation
    from textsiam.scoring.precision.agreement import admit
    from textsiam.scoring.siamese import Siamese
    from textsiam.scoring.thresholds import Threshold
    from textsiam.training.fine_tuning import train
    from textsiam.training.judges.own_judge import fit_judge
    from textsiam.training.losses import LOSSES
    from textsiam.training.negatives import mine_negatives

__all__ = [
    "LOSSES",
    "Audit",
    "Calibrator",
    "Clusters",
    "Encoder",
    "Evaluation",
    "Explanation",
    "Index",
    "Matches",
    "Pairs",
    "ScoredPairs",
    "SetAside",
    "Siamese",
    "Split",
    "Texts",
    "Threshold",
    "Triplets",
    "admit",
    "certify_decisions",
    "cluster",
    "counterfactuals",
    "encode_to_parquet",
    "evaluate",
    "find_duplicates",
    "find_repeats",
    "fit_judge",
    "folds",
    "mine_negatives",
    "read_pairs",
    "read_texts",
    "read_triplets",
    "score_pairs",
    "split",
    "start_audit",
    "threshold_join",
    "top_k_join",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"textsiam has no name {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
