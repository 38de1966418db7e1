"""Answers requests with the package's functions, one method per route, each request in a thread of its own.

The docstrings of these methods are the descriptions in the OpenAPI schema. An audit takes two requests; the service keeps nothing
between them.
"""

import base64
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from textsiam.data.texts import fault_of
from textsiam.encoding.encoder import Encoded
from textsiam.interfaces.service import bodies
from textsiam.interfaces.service.batching import BatchedEncoder, Batcher
from textsiam.interfaces.service.bodies import fault_bodies, judgements, match_bodies, number, places, threshold_body
from textsiam.interfaces.service.limits import Limits, Refused, asked_for
from textsiam.interfaces.service.page import Scale
from textsiam.matching.duplicates import StageProgress, check_threshold, find_duplicates, threshold_of
from textsiam.matching.matches import Matches
from textsiam.scoring.explaining.erasure import spans_of
from textsiam.scoring.siamese import Siamese
from textsiam.scoring.similarity import SIMILARITIES

if TYPE_CHECKING:
    from textsiam.auditing.audit import Audit
    from textsiam.indexing.index import Index


_N_JOINS = 4  # requests for duplicates at a time: each may use one core and 256 MB
_N_ERASURES = 4_000  # texts encoded to explain one request: each text without each of its words


class Answers:
    """The answers of one model, as `shared` returns it; and of an index opened with that model, if any."""

    def __init__(
        self, model: Siamese, index: "Index | None", limits: Limits, batcher: Batcher, *, scale: Scale
    ) -> None:
        self.model, self._index, self.limits, self.batcher = model, index, limits, batcher
        self.name = model.encoder.name
        self.started = int(time.time())
        self.scale = scale
        self._joining = threading.BoundedSemaphore(_N_JOINS)

    def models(self) -> bodies.ModelsBody:
        """The served model."""
        one = bodies.ModelBody(id=self.name, created=self.started, owned_by="textsiam")
        return bodies.ModelsBody(data=[one])

    def embeddings(self, asked: bodies.EmbeddingsRequest) -> bodies.EmbeddingsBody:
        """Texts → vectors, in the form of OpenAI's API."""
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        self.limits.check(texts, "input", self.limits.texts)
        encoder = self.model.encoder
        if asked.dimensions not in (None, encoder.dim):
            raise Refused(
                400,
                f"This model's vectors have {encoder.dim} numbers, but got dimensions={asked.dimensions}. Leave dimensions out.",
                param="dimensions",
            )
        encoded = self._encoded(texts)
        n_tokens = int(encoded.lengths.sum())
        vectors = [
            bodies.EmbeddingBody(index=place, embedding=_formatted(vector, asked.encoding_format))
            for place, vector in enumerate(encoded.embeddings)
        ]
        usage = bodies.Usage(prompt_tokens=n_tokens, total_tokens=n_tokens)
        return bodies.EmbeddingsBody(
            data=vectors, model=self.name, usage=usage, truncated=places(encoded.cut), set_aside=fault_bodies(texts)
        )

    def similarity(self, asked: bodies.SimilarityRequest) -> bodies.SimilarityBody:
        """The similarity of every text with every other text of a second list."""
        self.limits.check(asked.first, "first", self.limits.texts)
        self.limits.check(asked.second, "second", self.limits.texts)
        n = len(asked.first)
        if n * len(asked.second) > self.limits.pairs:
            raise Refused(
                400,
                f"An answer may hold {self.limits.pairs:,} scores, but this needs {n * len(asked.second):,}. Send fewer texts.",
            )
        encoded = self._encoded([*asked.first, *asked.second])
        wide = encoded.embeddings.astype(np.float64)
        scores = SIMILARITIES[self.model.similarity].matrix(wide[:n], wide[n:]).astype(np.float32)
        return bodies.SimilarityBody(
            similarity=self.model.similarity,
            scores=[[number(score) for score in row] for row in scores.tolist()],
            truncated_first=places(encoded.cut[:n]),
            truncated_second=places(encoded.cut[n:]),
        )

    def pairs(self, asked: bodies.PairsRequest) -> bodies.PairsBody:
        """Score, probability and decision of pairs; on request with an explanation."""
        first, second = zip(*asked.pairs, strict=True)
        self.limits.check(first, "pairs", self.limits.texts)
        self.limits.check(second, "pairs", self.limits.texts)
        if asked.explain and len(first) > self.limits.explained:
            raise Refused(
                400,
                f"A request may explain {self.limits.explained} pairs, but got {len(first)}. Send fewer.",
                param="explain",
            )
        if asked.explain and (n := sum(_n_erasures(text) for pair in asked.pairs for text in pair)) > _N_ERASURES:
            raise Refused(
                400, f"A request may explain {_N_ERASURES:,} words, but got {n:,}. Shorten the texts.", param="explain"
            )
        faults = [fault_of(a) or fault_of(b) for a, b in asked.pairs]
        judged = self.model.judgement(first, second)
        cut = judged.cut if judged.cut is not None else np.zeros(len(first), dtype=np.bool_)
        explanations = (
            [one.to_json() for one in self.model.explain(first, second)] if asked.explain else [None] * len(first)
        )
        return bodies.PairsBody(
            pairs=[
                bodies.PairBody(score=number(score), fault=fault or None, explanation=told, **said)
                for score, said, fault, told in zip(
                    judged.score.tolist(), judgements(judged), faults, explanations, strict=True
                )
            ],
            accept=threshold_body(self.model.threshold),
            reject=threshold_body(self.model.reject_threshold),
            truncated=places(cut),
        )

    def duplicates(
        self, asked: bodies.DuplicatesRequest, progress: StageProgress | None = None
    ) -> bodies.DuplicatesBody:
        """Pairs of these texts that mean the same."""
        self.limits.check(asked.texts, "texts", self.limits.duplicates)
        if asked.threshold is not None:
            with asked_for("threshold"):
                check_threshold(asked.threshold, self.model.similarity)
        against = self._opened if asked.against_index else None
        how: dict[str, Any] = dict(against=against, threshold=asked.threshold, max_matches=self.limits.pairs)
        with self._turn_to_join(), self.limits.matching():
            found = find_duplicates(self.model, asked.texts, progress=progress, **how)
        by_index = against is not None and asked.threshold is None
        groups = [] if against is not None else found.clusters().groups()
        return bodies.DuplicatesBody(
            threshold=self._opened.threshold if by_index else threshold_of(self.model, asked.threshold),
            decided=not found.by_score,
            pairs=match_bodies(found, by_id=against is not None),
            clusters=groups,
            set_aside=fault_bodies(asked.texts),
            truncated=sorted(found.cut),
        )

    def audit(self, asked: bodies.AuditRequest) -> bodies.AuditBody:
        """Draw pairs of a join to label."""
        started = self._audit(asked)
        return bodies.AuditBody(sample=[int(name) for name in started.pairs.id_a])

    def finish(self, asked: bodies.FinishRequest) -> bodies.FinishBody:
        """Certify a threshold by their labels, or say that none is proven."""
        started = self._audit(asked)
        numbers = {int(name): place for place, name in enumerate(started.pairs.id_a, 1)}
        labels = {numbers[one.position]: one.is_same for one in asked.labels if one.position in numbers}
        if not labels:
            raise Refused(409, "No pair of the sample has a label. Label some pairs first.", param="labels")
        result = started.label(labels).finish(asked.precision, asked.confidence)
        return bodies.FinishBody(
            threshold=bodies.ThresholdBody(
                value=result.threshold.value, scale=None, guarantee=result.threshold.guarantee
            ),
            precision=number(result.precision.value),
            precision_low=number(result.precision.low),
            precision_high=number(result.precision.high),
            labelled=result.n_labels,
            wrong=result.n_wrong,
            not_labelled=result.n_unlabelled,
        )

    def index(self) -> bodies.IndexBody:
        """The index's size and settings."""
        return bodies.IndexBody(**self._opened.counts(), threshold=self._opened.threshold)

    def add(self, asked: bodies.AddRequest) -> bodies.AddBody:
        """Add texts to the index; returns what each matches there."""
        ids, texts = [one.id for one in asked.items], [one.text for one in asked.items]
        self.limits.check(ids, "items", self.limits.texts)
        self.limits.check(texts, "items", self.limits.texts)
        index = self._opened
        with self.limits.matching("Add fewer texts at a time."):
            found = index.add(ids, texts, max_matches=self.limits.pairs)
        return bodies.AddBody(
            added=found.added or 0,
            in_index=len(index),
            decided=not found.by_score,
            pairs=match_bodies(found, by_id=True),
            set_aside=[bodies.FaultBody(position=fault.row - 1, reason=fault.reason) for fault in found.set_aside],
            truncated=sorted(found.cut),
        )

    def search(self, asked: bodies.SearchRequest) -> bodies.SearchBody:
        """The texts of the index that mean the same as these."""
        self.limits.check(asked.texts, "texts", self.limits.texts)
        index = self._opened
        if asked.threshold is not None:
            with asked_for("threshold"):
                check_threshold(asked.threshold, index.settings["similarity"])
        with self.limits.matching():
            found = index.search(asked.texts, k=asked.k, threshold=asked.threshold, max_matches=self.limits.pairs)
        return bodies.SearchBody(
            threshold=asked.threshold if asked.threshold is not None or asked.k else index.threshold,
            decided=not found.by_score,
            pairs=match_bodies(found, by_id=True),
            recall=found.recall,
            set_aside=fault_bodies(asked.texts),
            truncated=sorted(found.cut),
        )

    def remove(self, asked: bodies.RemoveRequest) -> bodies.RemoveBody:
        """Remove texts from the index."""
        self.limits.check(asked.ids, "ids", self.limits.duplicates)
        return bodies.RemoveBody(removed=self._opened.remove(asked.ids), in_index=len(self._opened))

    @property
    def _opened(self) -> "Index":
        """The index; Refused with 404 if the service has none."""
        if self._index is None:
            raise Refused(404, "This service has no index. Start it with one: textsiam serve --index FOLDER.")
        return self._index

    def _audit(self, asked: bodies.AuditRequest) -> "Audit":
        from textsiam.auditing.audit import start_audit

        n = len(asked.scores)
        if n > self.limits.pairs:
            raise Refused(
                400, f"An audit takes {self.limits.pairs:,} pairs, but got {n:,}. Raise the threshold.", param="scores"
            )
        rows, nothing = np.arange(n), ["-"] * n  # only the client has the texts
        scores = np.array(asked.scores, dtype=np.float32)
        matches = Matches(rows, rows, scores, n, n, left_texts=nothing, right_texts=nothing)
        return start_audit(matches, n=min(asked.n, n), seed=asked.seed)

    @contextmanager
    def _turn_to_join(self) -> Iterator[None]:
        if not self._joining.acquire(timeout=self.limits.deadline_s):
            raise Refused(
                503,
                f"At most {_N_JOINS} requests for duplicates run at a time, and none ended within {self.limits.deadline_s:g} "
                "seconds. Try again later.",
                retry_s=5,
            )
        try:
            yield
        finally:
            self._joining.release()

    def _encoded(self, texts: Sequence[str]) -> Encoded:
        """All texts encoded; unusable ones have NaN and no tokens."""
        encoded = Encoded.blank(len(texts), self.model.encoder.dim)
        if good := [place for place, text in enumerate(texts) if not fault_of(text)]:
            encoded.put(good, self.model.encoder.embed([texts[place] for place in good]))
        return encoded


def shared(model: Siamese, batcher: Batcher) -> Siamese:
    """The model with encoders that batch the texts of all threads, also for pairs that are scored again."""
    rescorer = model.rescorer
    if rescorer:
        rescorer = replace(rescorer, encoder=BatchedEncoder(batcher, rescorer.encoder))
    return replace(model, encoder=BatchedEncoder(batcher), rescorer=rescorer)


def _n_erasures(text: str) -> int:
    return len(spans_of(text)) if not fault_of(text) else 0


def _formatted(vector: Float[np.ndarray, " dim"], form: str) -> list[float] | str | None:
    if np.isnan(vector[0]):
        return None
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()
