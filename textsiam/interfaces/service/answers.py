"""The package's verbs, asked by requests and told as bodies. Every function here is called by a thread of its own."""

import base64
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from textsiam.data.pairs import Pairs
from textsiam.data.texts import fault_of
from textsiam.encoding.embedded import name_of
from textsiam.encoding.encoder import Encoded
from textsiam.errors import TooManyMatches
from textsiam.interfaces.service import bodies
from textsiam.interfaces.service.batching import BatchedEncoder, Batcher
from textsiam.interfaces.service.limits import Limits, Refused
from textsiam.interfaces.service.scale import scale_of
from textsiam.matching.duplicates import Progress, find_duplicates
from textsiam.matching.matches import Matches
from textsiam.scoring.siamese import Siamese
from textsiam.scoring.similarity import SIMILARITIES
from textsiam.scoring.thresholds import Threshold, decisions
from textsiam.scoring.words import spans_of

if TYPE_CHECKING:
    from textsiam.evaluation.audit import Audit
    from textsiam.indexing.index import Index


_N_JOINS = 4  # requests for duplicates at once: each may take a core and a quarter of a gigabyte
_N_ERASURES = 4_000  # texts encoded to explain one request: a text without each of its words


class Answers:
    """One model, perhaps with an index, and its answers.

    Parameters
    ----------
    model
        What answers.
    index
        Opened with `shared(model)`; None: there is none.
    limits
        What one request may ask for.
    batcher
        What encodes.
    """

    def __init__(self, model: Siamese, index: "Index | None", limits: Limits, batcher: Batcher) -> None:
        self.model, self.index, self.limits, self.batcher = model, index, limits, batcher
        self.name = name_of(model.encoder.folder.path)
        self.started = int(time.time())
        self.scale = scale_of(model)
        self._joining = threading.BoundedSemaphore(_N_JOINS)

    def models(self) -> bodies.ModelsBody:
        """The one model."""
        one = bodies.ModelBody(id=self.name, created=self.started, owned_by="textsiam")
        return bodies.ModelsBody(data=[one])

    def embeddings(self, asked: bodies.EmbeddingsRequest) -> bodies.EmbeddingsBody:
        """A vector for each text."""
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        self._check(texts, "input", self.limits.texts)
        encoder = self.model.encoder
        if asked.dimensions not in (None, encoder.dim):
            raise Refused(
                400,
                f"This model's vectors have {encoder.dim} numbers, not {asked.dimensions}. Leave dimensions out.",
                param="dimensions",
            )
        encoded = self._encoded(texts)
        n_tokens = int(encoded.lengths.sum())
        as_told = _as_base64 if asked.encoding_format == "base64" else _as_numbers
        told = [
            bodies.EmbeddingBody(index=place, embedding=as_told(vector))
            for place, vector in enumerate(encoded.embeddings)
        ]
        usage = bodies.Usage(prompt_tokens=n_tokens, total_tokens=n_tokens)
        return bodies.EmbeddingsBody(
            data=told, model=self.name, usage=usage, truncated=_places(encoded.cut), set_aside=_faults_of(texts)
        )

    def similarity(self, asked: bodies.SimilarityRequest) -> bodies.SimilarityBody:
        """Each first text with each second one."""
        self._check(asked.first, "first", self.limits.texts)
        self._check(asked.second, "second", self.limits.texts)
        n = len(asked.first)
        if n * len(asked.second) > self.limits.pairs:
            raise Refused(
                400, f"An answer may hold {self.limits.pairs:,} scores, but {n * len(asked.second):,} were asked for."
            )
        encoded = self._encoded([*asked.first, *asked.second])
        wide = encoded.embeddings.astype(np.float64)
        scores = SIMILARITIES[self.model.similarity].matrix(wide[:n], wide[n:]).astype(np.float32)
        return bodies.SimilarityBody(
            similarity=self.model.similarity,
            scores=[[_number(score) for score in row] for row in scores.tolist()],
            truncated_first=_places(encoded.cut[:n]),
            truncated_second=_places(encoded.cut[n:]),
        )

    def pairs(self, asked: bodies.PairsRequest) -> bodies.PairsBody:
        """Score, probability and decision of each pair."""
        first, second = zip(*asked.pairs, strict=True)
        self._check(first, "pairs", self.limits.texts)
        self._check(second, "pairs", self.limits.texts)
        if asked.explain and len(first) > self.limits.explained:
            raise Refused(
                400,
                f"{self.limits.explained} pairs of a request are explained, but {len(first)} came.",
                param="explain",
            )
        if asked.explain and (n := sum(_n_erasures(text) for pair in asked.pairs for text in pair)) > _N_ERASURES:
            raise Refused(400, f"{n:,} words are more than are explained at once. Shorten the texts.", param="explain")
        faults = [fault_of(a) or fault_of(b) for a, b in asked.pairs]
        scores, cut = np.full(len(first), np.nan, dtype=np.float32), np.zeros(len(first), dtype=np.bool_)
        if good := [place for place, fault in enumerate(faults) if not fault]:
            usable = Pairs([first[place] for place in good], [second[place] for place in good])
            scores[good], cut[good] = self.model.score_rows(*usable.unique())
        told = self._told(scores)
        explained = (
            [one.to_json() for one in self.model.explain(first, second)] if asked.explain else [None] * len(first)
        )
        return bodies.PairsBody(
            pairs=[
                bodies.PairBody(**one, fault=fault or None, explanation=why)
                for one, fault, why in zip(told, faults, explained, strict=True)
            ],
            accept=_threshold(self.model.threshold),
            reject=_threshold(self.model.reject_threshold),
            truncated=_places(cut),
        )

    def duplicates(self, asked: bodies.DuplicatesRequest, progress: Progress | None = None) -> bodies.DuplicatesBody:
        """Which texts mean the same."""
        self._check(asked.texts, "texts", self.limits.duplicates)
        against = self._index() if asked.against_index else None
        with self._joining:
            found = self._limited(
                lambda: find_duplicates(
                    self.model,
                    asked.texts,
                    against=against,
                    threshold=asked.threshold,
                    max_matches=self.limits.pairs,
                    progress=progress,
                )
            )
        own = self.model.threshold.value if self.model.threshold else None
        lowest = asked.threshold if asked.threshold is not None else against.threshold if against is not None else own
        groups = [] if against is not None else [rows.tolist() for rows in map(np.asarray, found.clusters().groups())]
        return bodies.DuplicatesBody(
            threshold=lowest or 0.0,
            pairs=_matches(found, by_id=against is not None),
            clusters=groups,
            set_aside=_faults_of(asked.texts),
            truncated=sorted(found.cut),
        )

    def index_told(self) -> bodies.IndexBody:
        """What the index holds."""
        index = self._index()
        return bodies.IndexBody(**index.counts(), threshold=index.threshold)

    def add(self, asked: bodies.AddRequest) -> bodies.AddBody:
        """Texts into the index."""
        ids, texts = [one.id for one in asked.items], [one.text for one in asked.items]
        self._check(ids, "items", self.limits.texts)
        self._check(texts, "items", self.limits.texts)
        index = self._index()
        found = self._limited(lambda: index.add(ids, texts, max_matches=self.limits.pairs), "Add fewer at once.")
        return bodies.AddBody(
            added=found.added or 0,
            in_index=len(index),
            pairs=_matches(found, by_id=True),
            set_aside=[bodies.FaultBody(position=fault.row - 1, reason=fault.reason) for fault in found.set_aside],
            truncated=sorted(found.cut),
        )

    def search(self, asked: bodies.SearchRequest) -> bodies.SearchBody:
        """Texts looked up in the index."""
        self._check(asked.texts, "texts", self.limits.texts)
        index = self._index()
        found = self._limited(
            lambda: index.search(asked.texts, k=asked.k, threshold=asked.threshold, max_matches=self.limits.pairs)
        )
        return bodies.SearchBody(
            threshold=asked.threshold if asked.threshold is not None or asked.k else index.threshold,
            pairs=_matches(found, by_id=True),
            recall=found.recall,
            set_aside=_faults_of(asked.texts),
            truncated=sorted(found.cut),
        )

    def remove(self, asked: bodies.RemoveRequest) -> bodies.RemoveBody:
        """Texts out of the index."""
        self._check(asked.ids, "ids", self.limits.duplicates)
        index = self._index()
        return bodies.RemoveBody(removed=index.remove(asked.ids), in_index=len(index))

    def audit(self, asked: bodies.AuditRequest) -> bodies.AuditBody:
        """Which pairs of a join are to be labelled."""
        started = self._audit(asked)
        return bodies.AuditBody(sample=[int(name) for name in started.pairs.id_a])

    def finish(self, asked: bodies.FinishRequest) -> bodies.FinishBody:
        """What the labels of a sample prove."""
        started = self._audit(asked)
        numbers = {int(name): number for number, name in enumerate(started.pairs.id_a, 1)}
        labels = {numbers[one.position]: one.is_same for one in asked.labels if one.position in numbers}
        if not labels:
            raise Refused(409, "No pair of the sample has a label. Label some of it first.", param="labels")
        told = started.label(labels).finish(asked.precision, asked.confidence)
        return bodies.FinishBody(
            threshold=bodies.ThresholdBody(value=told.threshold.value, guarantee=told.threshold.guarantee),
            precision=_number(told.precision.value),
            precision_low=_number(told.precision.low),
            precision_high=_number(told.precision.high),
            labelled=told.n_labels,
            wrong=told.n_wrong,
            not_labelled=told.n_unlabelled,
        )

    def _audit(self, asked: bodies.AuditRequest) -> "Audit":
        from textsiam.evaluation.audit import start_audit

        n = len(asked.scores)
        if n > self.limits.pairs:
            raise Refused(
                400, f"An audit takes {self.limits.pairs:,} pairs, but {n:,} came. Raise the threshold.", param="scores"
            )
        rows, nothing = np.arange(n), ["-"] * n  # who labels has the texts
        scores = np.array(asked.scores, dtype=np.float32)
        matches = Matches(rows, rows, scores, n, n, left_texts=nothing, right_texts=nothing)
        return start_audit(matches, n=min(asked.n, n), seed=asked.seed)

    def _index(self) -> "Index":
        if self.index is None:
            raise Refused(404, "This service has no index. Start it with one: textsiam serve --index FOLDER.")
        return self.index

    def _encoded(self, texts: Sequence[str]) -> Encoded:
        """All of them, with NaN and no tokens for those that are unusable."""
        vectors = np.full((len(texts), self.model.encoder.dim), np.nan, dtype=np.float32)
        cut, unknown = np.zeros((2, len(texts)), dtype=np.bool_)
        lengths = np.zeros(len(texts), dtype=np.int64)
        if good := [place for place, text in enumerate(texts) if not fault_of(text)]:
            encoded = self.model.encoder.embed([texts[place] for place in good])
            vectors[good], lengths[good] = encoded.embeddings, encoded.lengths
            cut[good], unknown[good] = encoded.cut, encoded.unknown
        return Encoded(vectors, cut, unknown, lengths)

    def _check(self, texts: Sequence[str], param: str, n_most: int) -> None:
        """Refuse more than is taken on; texts that are unusable are told with the answer."""
        if len(texts) > n_most:
            raise Refused(
                400, f"A request may hold {n_most:,} texts here, but {len(texts):,} came. Send several.", param=param
            )
        most = self.limits.characters
        long = next((place for place, text in enumerate(texts) if len(text) > most), None)
        if long is not None:
            raise Refused(
                400,
                f"A text may have {most:,} characters, but the one at position {long} has {len(texts[long]):,}. Shorten it.",
                param=param,
            )

    def _told(self, scores: np.ndarray) -> list[dict[str, Any]]:
        model, nothing = self.model, [None] * len(scores)
        probabilities = model.calibrated(scores).tolist() if model.calibrator else nothing
        decided = decisions(scores, model.threshold, model.reject_threshold).tolist() if model.threshold else nothing
        return [
            {"score": _number(score), "probability": _number(probability), "decision": decision}
            for score, probability, decision in zip(scores.tolist(), probabilities, decided, strict=True)
        ]

    def _limited(
        self, work: Callable[[], Matches], remedy: str = "Raise the threshold, or send fewer texts."
    ) -> Matches:
        try:
            return work()
        except TooManyMatches:
            raise Refused(400, f"More than {self.limits.pairs:,} pairs match. {remedy}") from None


def shared(model: Siamese, batcher: Batcher) -> Siamese:
    """The model, its texts encoded together with those of other threads, also where pairs are scored again."""
    rescorer = model.rescorer
    if rescorer:
        rescorer = replace(rescorer, encoder=BatchedEncoder(batcher, rescorer.encoder))
    return replace(model, encoder=BatchedEncoder(batcher), rescorer=rescorer)


def _matches(found: Matches, *, by_id: bool) -> list[bodies.MatchBody]:
    ids = found.id_columns()[1] if by_id else found.right.tolist()
    texts = (found.text_columns() or (None, None))[1] if by_id else None
    nothing = [None] * len(found)
    columns = zip(
        found.left.tolist(),
        ids,
        found.score.tolist(),
        nothing if found.probability is None else found.probability.tolist(),
        nothing if found.decision is None else found.decision.tolist(),
        nothing if texts is None else texts,
        strict=True,
    )
    return [
        bodies.MatchBody(
            left=left, right=right, score=score, probability=_number(probability), decision=decision, text=text
        )
        for left, right, score, probability, decision, text in columns
    ]


def _n_erasures(text: str) -> int:
    return len(spans_of(text)) if not fault_of(text) else 0


def _threshold(threshold: Threshold | None) -> bodies.ThresholdBody | None:
    return None if threshold is None else bodies.ThresholdBody(value=threshold.value, guarantee=threshold.guarantee)


def _faults_of(texts: Sequence[str]) -> list[bodies.FaultBody]:
    return [
        bodies.FaultBody(position=place, reason=fault) for place, text in enumerate(texts) if (fault := fault_of(text))
    ]


def _as_numbers(vector: Float[np.ndarray, " dim"]) -> list[float] | None:
    return None if np.isnan(vector[0]) else vector.tolist()


def _as_base64(vector: Float[np.ndarray, " dim"]) -> str | None:
    return None if np.isnan(vector[0]) else base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _places(flags: np.ndarray) -> list[int]:
    return np.flatnonzero(flags).tolist()


def _number(value: float | None) -> float | None:
    return None if value is None or value != value else float(value)  # noqa: PLR0124  NaN
