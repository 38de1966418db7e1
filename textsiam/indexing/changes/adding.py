"""Texts into the index, a few at a time: encoded first, then compared and committed together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from textsiam.arrays import Found, Rows
from textsiam.encoding.encoder import Encoded, Progress
from textsiam.errors import TooManyMatches
from textsiam.indexing.changes.arrivals import Arrivals
from textsiam.indexing.changes.change import change
from textsiam.indexing.open_index import Opened, make_if_large
from textsiam.indexing.search.searching import answer
from textsiam.indexing.storage.ledger import Item, rows_of
from textsiam.matching.join.exact import joined
from textsiam.matching.matches import Matches

# Which of some arrivals go in, given the items that have their ids, and which items they replace.
Pick = Callable[[Sequence[int], Sequence[Item]], tuple[list[int], list[Item]]]

# Texts that are encoded, compared and committed together: what an interruption can cost. Vectors that are given cost less.
N_AT_ONCE = 8_192
N_VECTORS_AT_ONCE = 32_768


class Writing:
    """One call of `add` or `update`.

    Parameters
    ----------
    at
        The index.
    arrivals
        What shall go in.
    vectors
        (n, dim), one for each usable arrival, or None: texts are encoded.
    pick
        Chooses among them.
    max_matches
        The most matches in all.
    strict
        Refuse to set anything aside.
    """

    def __init__(
        self,
        at: Opened,
        arrivals: Arrivals,
        vectors: Float[np.ndarray, "n dim"] | None,
        pick: Pick,
        max_matches: int,
        *,
        strict: bool,
    ) -> None:
        self.at, self.arrivals, self.vectors, self.pick, self.max_matches = at, arrivals, vectors, pick, max_matches
        self.strict = strict
        self._left = max_matches
        self._n_written = 0
        self._met: list[
            tuple[str, int]
        ] = []  # id and hash of the texts that were matched: rows may be numbered anew meanwhile
        self._cut: list[int] = []
        self._unknown: list[int] = []

    def run(self, texts: Sequence[Any] | None, ids: Sequence[Any], progress: Progress | None) -> Matches:
        """Do it, and tell the matches."""
        if self.strict:
            self._refuse_faults()
        found: list[Found] = []
        n_at_once = N_AT_ONCE if self.vectors is None else N_VECTORS_AT_ONCE
        for start in range(0, len(self.arrivals), n_at_once):
            numbers = list(range(start, min(start + n_at_once, len(self.arrivals))))
            found.append(self._part(numbers, start, progress))
            self._left -= len(found[-1][0])
            if progress:
                progress(numbers[-1] + 1, len(self.arrivals))
        if len(self.arrivals) >= N_AT_ONCE:
            make_if_large(self.at)
        left, met, scores = joined(found)
        # Of the store itself, and endlessly: what was committed is told, whoever is at work or has rebuilt the index meanwhile.
        items, rows, n_right = self.at.store.read(self._look_up, endlessly=True)
        there = rows[met] >= 0  # the others were removed since
        return answer(
            self.at.model,
            (np.asarray(self.arrivals.places, dtype=np.int64)[left[there]], rows[met[there]], scores[there]),
            items,
            self.arrivals.n,
            n_right,
            left_ids=[str(name) for name in ids],
            left_texts=texts,
            cut=self._cut,
            unknown=self._unknown,
            set_aside=self.arrivals.set_aside,
            added=self._n_written,
        )

    def _refuse_faults(self) -> None:
        """Raise `BadRows` for what would be set aside, before anything is written."""
        names = [arrival.id for arrival in self.arrivals.arrivals]
        self.at.read(lambda: self.pick(range(len(names)), self.at.store.ledger.items("id", names)))
        self.arrivals.set_aside.refuse()

    def _part(self, numbers: list[int], n_before: int, progress: Progress | None) -> Found:
        """Encode these arrivals and commit them; number of each match's arrival, place of its text in `_met`, score."""
        ledger = self.at.store.ledger
        ids = [self.arrivals.arrivals[number].id for number in numbers]
        # What is there already need not be encoded; what another process adds meanwhile is seen below.
        waiting, _ = self.at.read(lambda: self.pick(numbers, ledger.items("id", ids)))
        if not waiting:
            return joined([])
        report = (lambda n, _: progress(n_before + n, len(self.arrivals))) if progress else None
        vectors = self._encoded(waiting, report)
        place = {number: place for place, number in enumerate(waiting)}

        def work() -> tuple[int, Found, list[Item]]:
            chosen, replaced = self.pick(waiting, ledger.items("id", [self.arrivals.arrivals[n].id for n in waiting]))
            some = [place[number] for number in chosen]
            arrivals = [self.arrivals.arrivals[number] for number in chosen]
            rule = self.at.rule(self._left)
            found = change(self.at.store, rule, rows_of(replaced), arrivals, vectors[some])
            met = ledger.items("row", np.unique(found[1]).tolist())
            return len(chosen), (np.asarray(chosen, dtype=np.int64)[found[0]], *found[1:]), met

        try:
            n, (left, right, scores), met = self.at.write(work)
        except TooManyMatches:
            kept = f"The first {n_before:,} texts are in the index; the others are not. " if n_before else ""
            raise TooManyMatches(
                f"{kept}More than {self.max_matches:,} pairs reach {self.at.told['threshold']:g}. Allow more (--max-matches, "
                "max_matches=), or give fewer texts at once."
            ) from None
        self._n_written += n
        n_before, rows = len(self._met), np.array([item.row for item in met], dtype=np.int64)
        self._met += [(item.id, item.hash) for item in met]
        return left, n_before + np.searchsorted(rows, right), scores

    def _look_up(self) -> tuple[list[Item], Rows, int]:
        """What was met, as it is now: its items, the row of each one met or -1, and how many rows there are."""
        ledger = self.at.store.ledger
        items = {item.id: item for item in ledger.items("id", [name for name, _ in self._met])}
        there = [items.get(name) for name, _ in self._met]
        same = zip(there, self._met, strict=True)
        rows = [item.row if item is not None and item.hash == met[1] else -1 for item, met in same]
        return list(items.values()), np.array(rows, dtype=np.int64), ledger.n_rows

    def _encoded(self, numbers: list[int], progress: Progress | None) -> Float[np.ndarray, "n dim"]:
        if self.vectors is not None:
            return self.at.store.stored(self.vectors[numbers])
        encoded: Encoded = self.at.encode([self.arrivals.texts[number] for number in numbers], progress=progress)
        self._cut += self._places(numbers, encoded.cut)
        self._unknown += self._places(numbers, encoded.unknown)
        return encoded.embeddings

    def _places(self, numbers: list[int], flags: Bool[np.ndarray, " n"]) -> list[int]:
        return [self.arrivals.places[numbers[row]] for row in np.flatnonzero(flags).tolist()]
