"""Fit the judge that comes with the embedded default, and a second one on free data alone, for comparison.

On the train parts of ``judge.py``, but for three tenths of the components of QQP's train split: they are left to
``default_evidence.py``, which calibrates and certifies on them. QQP's dev split chose the recipe. Writes
``textsiam/scoring/default_judge.safetensors`` and ``results/default_judge.json``.

    python benchmarks/default_judge.py
"""

from dataclasses import replace

import numpy as np
from judge import DEV, TEST, TRAIN, WEIGHTS, Set, gains, read, said
from record import ROOT, record
from sklearn.metrics import average_precision_score

from textsiam import Encoder, Siamese
from textsiam.data.readers import read_pairs
from textsiam.encoding.model_folder.finding import embedded_model
from textsiam.samples import PAIRS
from textsiam.scoring.judging.judge import Judge
from textsiam.training.judges.judge_adapting import candidates_of
from textsiam.training.judges.judge_fitting import fit_network_judge
from textsiam.training.judges.judge_pairs import JudgePairs

SEED, LEFT_OUT = 0, 0.3
FREE = ("paws_wiki", "samples")
TERMS = {
    "qqp_pairs": "Quora Question Pairs; Quora's terms, non-commercial",
    "mrpc": "Microsoft Research Paraphrase Corpus; Microsoft Research licence",
    "twitter_url": "Twitter URL corpus (Lan et al. 2017)",
    "paws_wiki": "PAWS-Wiki; free for any purpose, Google",
    "stsb": "STS Benchmark; CC-BY-SA-4.0",
    "sick": "SICK; CC-BY-NC-SA-3.0",
    "covid_faq": "questions of a COVID FAQ; CC-BY-4.0",
    "samples": "written by hand for this project; Apache-2.0",
}


def main() -> None:
    model = Siamese(Encoder.load(embedded_model(), dtype="float32", device="cpu"))
    sets = {name: of for name, of in read(model) if name != "edits"}
    of = sets["qqp_pairs"]
    sets["qqp_pairs"] = replace(of, part=np.where(of.part == DEV, DEV, np.where(left_out(of.component), TEST, TRAIN)))
    own = read_pairs(PAIRS)
    same = np.asarray(own.labels)
    alone = np.full(len(own), TRAIN)
    sets["samples"] = Set(replace(own, labels=None, scores=same.astype(float)), same, alone, np.arange(len(own)))
    whole = JudgePairs.of(model.encoder, {name: of.pairs for name, of in sets.items()}, progress=said)
    same, part = (np.concatenate([getattr(of, name) for of in sets.values()]) for name in ("same", "part"))
    number = {name: place for place, name in enumerate(sets)}
    is_free = np.isin(whole.sets, [number[name] for name in FREE])
    not_samples = whole.sets != number["samples"]
    figures = {"cosine": told(whole.cosines, same, whole.sets, part, number)}
    for name, rows in (("shipped", (part == TRAIN) & not_samples), ("free", (part == TRAIN) & is_free)):
        judge = fitted(model, whole, np.flatnonzero(rows))
        log_odds = judge.log_odds(whole.cosines, whole.words, whole.left, whole.right)
        figures[name] = told(log_odds, same, whole.sets, part, number) | {"candidates": judge.candidates}
        if name == "shipped":
            (ROOT / "textsiam" / "scoring" / "default_judge.safetensors").write_bytes(judge.to_bytes())
            figures["bytes"], figures["fingerprint"] = len(judge.to_bytes()), judge.fingerprint
    record("default_judge", "The shipped judge, and one fitted on free data alone, beside cosine", figures, SEED)


def left_out(component: np.ndarray) -> np.ndarray:
    """The pairs of QQP that calibrate and certify."""
    return (np.random.default_rng(1).random(int(component.max()) + 1) < LEFT_OUT)[component]


def fitted(model: Siamese, whole: JudgePairs, rows: np.ndarray) -> Judge:
    some = whole.take(rows)
    judge = fit_network_judge(model.encoder, some, weights=WEIGHTS, seed=SEED)
    card = judge.card | {"terms": {name: TERMS[name] for name in judge.card["sets"]}}
    if (
        some.sets == (number := some.names.index("qqp_pairs"))
    ).any():  # questions are what the default promises something for
        some = some.take(np.flatnonzero(some.sets == number))
    log_odds = judge.log_odds(some.cosines, some.words, some.left, some.right)
    return replace(judge, candidates=candidates_of(some.cosines, log_odds, some.targets), card=card)


def told(scores: np.ndarray, same: np.ndarray, sets: np.ndarray, part: np.ndarray, number: dict) -> dict:
    by_set = {
        name: round(float(average_precision_score(same[rows], scores[rows])), 4)
        for name, place in number.items()
        if (rows := (sets == place) & (part != TRAIN) & (part != DEV)).any()
    }
    return gains(scores, same, sets, part, number) | {"held_out_average_precision": by_set}


if __name__ == "__main__":
    main()
