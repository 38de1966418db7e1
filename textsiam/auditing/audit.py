"""An audit: a random sample of a join's matches, labelled by people, that certifies a threshold for that join.

Labels of curated pairs say nothing about a join of other texts, because its share of true pairs differs. Here the population is
what the join found. Matches may share texts: chance is in the sample alone. An audit knows nothing about what the join missed.

Informative pairs can be labelled too, to train on. They never enter a certificate or an estimate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from textsiam.auditing.labelling import (
    NOT_GIVEN,
    UNRESOLVED,
    Agreement,
    Labels,
    agreements,
    check_labeller,
    consensus,
    label_of,
)
from textsiam.auditing.sampling import AUDIT, N_LABELS, N_STRATA, TRAINING, Design, Sampled, draw_sample
from textsiam.data.pairs import Pairs
from textsiam.errors import EncoderMismatch, UnreadableInput
from textsiam.matching.matches import Matches
from textsiam.scoring.thresholds import LOG_ODDS

if TYPE_CHECKING:
    from textsiam.auditing.result import AuditResult
    from textsiam.scoring.siamese import Siamese

TOLERANCE = 0.02  # scores in bf16 on a GPU differ from those in fp32 by less
_ODDS_A_COSINE = 10  # log-odds move by as much where cosine moves by 1


@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """A sample of a join's matches and the labels given so far. Labelling returns a new audit.

    Parameters
    ----------
    design
        How the sample was drawn.
    pairs
        The pairs to label.
    join
        What is known about the join, as plain values: ``threshold``, ``similarity``, ``encoder`` (fingerprint, or empty),
        ``n_texts``.
    labels
        Labeller → (pairs,) labels: 1, 0, -1 for skipped, -2 for not given.

    Examples
    --------
    >>> from textsiam.matching.duplicates import find_repeats
    >>> audit = start_audit(find_repeats(["How do I pay?", "how do I pay?", "How do I PAY?"]), n=2)
    >>> audit.label({1: 1, 2: 0}, "ann").n_labelled("ann"), audit.n_labelled("ann")
    (2, 0)
    """

    design: Design
    pairs: Sampled
    join: Mapping[str, Any]
    labels: Labels = field(default_factory=dict)

    def label(self, labels: Mapping[int, object], labeller: str = "me") -> "Audit":
        """The audit with these labels added: pair number → 1, 0, ``"skip"``, or None to remove one. The last label counts.

        Raises
        ------
        ValueError
            If there is no such pair, if a label is none of these, or if the labeller's name cannot be part of a column's name.
        """
        check_labeller(labeller)
        own = self._by(labeller).copy()
        for number, label in labels.items():
            if not 1 <= number <= len(self.pairs):
                raise ValueError(
                    f"Pairs have numbers from 1 to {len(self.pairs)}, but {number} was given. Give one of them."
                )
            if (value := label_of(label)) is None:
                raise ValueError(f"A label is 1, 0 or skip, but pair {number} got {label!r}. Give one of these.")
            own[number - 1] = value
        return replace(self, labels={**self.labels, labeller: own})

    def unlabelled(self, labeller: str, purpose: str = AUDIT) -> list[int]:
        """The numbers of the pairs that this labeller has not labelled or skipped, in the order to show them."""
        own = self._by(labeller)
        return [int(place) + 1 for place in np.flatnonzero((own == NOT_GIVEN) & self._of(purpose))]

    def n_labelled(self, labeller: str, purpose: str = AUDIT) -> int:
        """How many pairs this labeller has labelled or skipped."""
        return int(self._of(purpose).sum()) - len(self.unlabelled(labeller, purpose))

    def _by(self, labeller: str) -> np.ndarray:
        return np.asarray(self.labels.get(labeller, np.full(len(self.pairs), NOT_GIVEN)))

    def _of(self, purpose: str) -> np.ndarray:
        return np.asarray((self.pairs.cell >= 0) == (purpose == AUDIT))

    def consensus(self) -> Int[np.ndarray, " cells"]:
        """The draw of each cell: 1 or 0 by majority, -1 without a majority, -2 if nobody labelled it."""
        decided = np.full(len(self.design), NOT_GIVEN)
        drawn = self._of(AUDIT)
        decided[self.pairs.cell[drawn]] = consensus(self.labels, len(self.pairs))[drawn]
        return decided

    def status(self) -> dict[str, Any]:
        """The progress of the audit, as plain values."""
        decided = self.consensus()
        return {
            "drawn": len(self.design),
            "informative": len(self.pairs) - len(self.design),
            "labellers": {
                name: {purpose: self.n_labelled(name, purpose) for purpose in (AUDIT, TRAINING)} for name in self.labels
            },
            "decided": int((decided >= 0).sum()),
            "unresolved": int((decided == UNRESOLVED).sum()),
            "not_labelled": int((decided == NOT_GIVEN).sum()),
            "agreement": [one.to_json() for one in self.agreements()],
        }

    def agreements(self) -> list[Agreement]:
        """How well each two labellers agree on the random sample."""
        return agreements({name: own[self._of(AUDIT)] for name, own in self.labels.items()})

    def training_pairs(self) -> Pairs | None:
        """The informative pairs with a label by majority, to train on; None if there are none."""
        decided = consensus(self.labels, len(self.pairs))
        places = np.flatnonzero(self._of(TRAINING) & (decided >= 0)).tolist()
        if not places:
            return None
        first, second = ([texts[place] for place in places] for texts in (self.pairs.text_a, self.pairs.text_b))
        return Pairs(first, second, labels=decided[places])

    def finish(self, precision: float = 0.95, confidence: float = 0.95) -> "AuditResult":
        """What the labels prove and what they suggest; see `textsiam.auditing.result.AuditResult`.

        Raises
        ------
        UnreadableInput
            If no pair of the random sample has a label by majority.
        ValueError
            If the precision or confidence is not in (0, 1).
        """
        from textsiam.auditing.result import judge

        return judge(self, precision, confidence)

    def certify(self, model: "Siamese", precision: float = 0.95, confidence: float = 0.95) -> "Siamese":
        """The model with the threshold that this audit proves for it, or with the record that it proves none.

        Raises
        ------
        EncoderMismatch
            If the model scores the sample's pairs differently from the join.
        UnreadableInput, ValueError
            As `finish` does.
        """
        threshold = self.finish(precision, confidence).threshold
        if self.join["similarity"] != model.scale:
            raise EncoderMismatch(
                f"The join was cut by {self.join['similarity']}, but this model decides by {model.scale}. Audit a join that was "
                "made without --threshold, or take the model without its judge (with_judge(None))."
            )
        own = model.judgement(self.pairs.text_a, self.pairs.text_b).deciding
        tolerance = TOLERANCE * (_ODDS_A_COSINE if model.judge else 1)
        if len(other := np.flatnonzero(~(np.abs(own - self.pairs.score) <= tolerance))):
            place = int(other[0])
            raise EncoderMismatch(
                f"The join was made with another model: with this one {len(other):,} of {len(own):,} pairs score otherwise "
                f"(pair {place + 1}: {self.pairs.score[place]:.4f} in the join, {own[place]:.4f} by the model). Name the "
                "join's own model, or join again with this one and audit that."
            )
        threshold = replace(threshold, similarity=model.scale, encoder=model.decision_fingerprint)
        return replace(model, threshold=threshold)

    def save(self, folder: str | Path) -> None:
        """Write the audit to a new folder, or its labels to its own folder; each file is written whole or not at all.

        Raises
        ------
        FileExistsError
            If the folder holds something else.
        OSError
            If a file cannot be written.
        """
        from textsiam.auditing.audit_folder import write_audit

        write_audit(self, Path(folder))

    @classmethod
    def open(cls, folder: str | Path) -> "Audit":
        """The audit in a folder.

        Raises
        ------
        UnreadableInput
            If the folder holds no audit, one of another version, or an altered one.
        """
        from textsiam.auditing.audit_folder import read_audit

        return cls(*read_audit(Path(folder)))

    def __repr__(self) -> str:
        n = len(self.design)
        by = ", ".join(f"{name} {self.n_labelled(name):,}" for name in self.labels)
        return f"Audit({n:,} of {self.design.n_matches:,} matches drawn, labelled: {by or 'none'})"


def start_audit(
    matches: Matches,
    *,
    n: int = N_LABELS,
    n_strata: int = N_STRATA,
    allocation: str = "root",
    n_informative: int = 0,
    threshold: float | None = None,
    model: "Siamese | None" = None,
    seed: int = 0,
) -> Audit:
    """A random sample of a join's matches, to be labelled.

    Parameters
    ----------
    matches
        All matches of the join, with texts. Where a judge has read them, its log-odds are what is sampled and cut; pairs that a
        veto holds are left out, for they are never accepted.
    n
        How many matches to draw; all of them if there are fewer. See `textsiam.auditing.labelling.plan_labels`.
    n_strata, allocation
        How labels are spread over the scores: see `textsiam.auditing.sampling.draw_sample`.
    n_informative
        How many more pairs to label for training: those not drawn whose probability is nearest to one half or, without
        probabilities, whose score is nearest to the model's threshold.
    threshold, model
        The threshold and the model of the join, for the audit's record. Default: the lowest score, and no model.
    seed
        Of the draws, of the order in which pairs are shown, and of ties.

    Raises
    ------
    UnreadableInput
        If there is no match, if a score is not finite, or if the matches have no texts.
    ValueError
        If a number is out of range, if a score lies below the threshold, or if neither probabilities nor a threshold show
        which pairs are informative.

    Examples
    --------
    >>> from textsiam import Siamese, find_duplicates, read_texts
    >>> from textsiam.samples import QUESTIONS
    >>> matches = find_duplicates(Siamese.load(), read_texts(QUESTIONS), threshold=0.6)
    >>> audit = start_audit(matches, n=30)
    >>> audit = audit.label({number: audit.pairs.score[number - 1] > 0.7 for number in audit.unlabelled("me")})
    >>> 0.5 < audit.finish(precision=0.5).precision.value < 1
    True
    """
    if matches.left_texts is None or (matches.n_right is not None and matches.right_texts is None):
        raise UnreadableInput("People label texts, but these matches have none. Join texts, or give the texts by id.")
    if n_informative < 0:
        raise ValueError(f"The number of informative pairs is 0 or more, but got {n_informative}. Give another number.")
    matches, scale = _acceptable(matches), "cosine" if model is None else model.similarity
    if matches.log_odds is not None:
        matches, scale = replace(matches, score=matches.log_odds), LOG_ODDS
    design = draw_sample(matches.score, n, n_strata=n_strata, allocation=allocation, seed=seed)
    lowest = float(matches.score.min())
    if threshold is not None and np.float32(threshold) > np.float32(lowest):
        raise ValueError(
            f"The join's threshold {threshold:g} lies above its lowest score {lowest:.6f}. Give the threshold of the join, or "
            "leave it out."
        )
    cells = np.random.default_rng([seed, 2]).permutation(len(design))
    informative = _informative(matches, design.place, n_informative, model, seed)
    places = np.concatenate([design.place[cells], informative])
    taken = matches.take(places)
    texts = taken.text_columns()
    assert texts is not None  # noqa: S101  refused above
    id_a, id_b = taken.id_columns()
    text_a, text_b = ([str(text) for text in column] for column in texts)
    cell = np.concatenate([cells, np.full(len(informative), -1)])
    sampled = Sampled(id_a, id_b, text_a, text_b, taken.score, cell)
    join = {
        "threshold": lowest if threshold is None else threshold,
        "similarity": scale,
        "encoder": "" if model is None else model.decision_fingerprint,
        "n_texts": [matches.n_left] if matches.n_right is None else [matches.n_left, matches.n_right],
    }
    return Audit(design, sampled, join)


def _acceptable(matches: Matches) -> Matches:
    """The matches that no veto holds."""
    if matches.reason is None or not (matches.reason != "").any():
        return matches
    return matches.take(np.flatnonzero(matches.reason == ""))


def _informative(
    matches: Matches, drawn: Int[np.ndarray, " cells"], n: int, model: "Siamese | None", seed: int
) -> Int[np.ndarray, " informative"]:
    """The places of the matches that the model is least sure of, except those drawn; ties in random order."""
    if not n:
        return np.empty(0, dtype=np.int64)
    if matches.probability is not None and np.isfinite(matches.probability).any():
        doubt = np.abs(matches.probability - 0.5)
    elif model is not None and model.threshold is not None and model.threshold.value is not None:
        doubt = np.abs(matches.score - model.threshold.value)
    else:
        raise ValueError(
            "Informative pairs are those that a model is unsure about, but the matches have no probability, and no model with "
            "a threshold was given. Join with a calibrated model, or give a model."
        )
    order = np.lexsort((np.random.default_rng([seed, 3]).random(len(matches)), doubt))
    return order[~np.isin(order, drawn)][:n]
