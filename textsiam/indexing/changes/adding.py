"""Texts into an index: which can go in, which are there already, which are set aside and why; then a few at a time.

Each part is encoded first, outside of any transaction, then compared and committed together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from textsiam.arrays import Found, Vector
from textsiam.data.texts import Fault, SetAside, fault_of
from textsiam.encoding.encoder import Progress
from textsiam.errors import TooManyMatches, UnreadableInput
from textsiam.indexing.changes.clusters import Arrival, change
from textsiam.indexing.open_index import Opened, make_if_large
from textsiam.indexing.search.searching import answer
from textsiam.indexing.storage.ledger import Item, hash_of, rows_of
from textsiam.matching.join.tiles import joined
from textsiam.matching.matches import Matches
from textsiam.scoring.scorer import Judgement

# Texts that are encoded, compared and committed together: what an interruption can cost. Vectors that are given cost less.
N_AT_ONCE = 8_192
N_VECTORS_AT_ONCE = 32_768


class Picked(NamedTuple):
    """Which of some arrivals go in, which items they replace, and why others do not go in."""

    numbers: list[int]
    replaced: list[Item]
    faults: list[Fault]


# Chooses among these arrivals, given the items that have their ids.
Pick = Callable[[Sequence[int], Sequence[Item]], Picked]


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Usable ids and texts, each id once, with their positions in what the caller gave; `faults` are the others."""

    n: int
    arrivals: Sequence[Arrival]
    places: Sequence[int]
    texts: Sequence[str]  # empty where only vectors were given
    faults: Sequence[Fault]

    @classmethod
    def of(
        cls,
        ids: Sequence[object],
        texts: Sequence[object] | None,
        vectors: Shaped[np.ndarray, "n dim"] | None,
        *,
        keep: bool,
        unfit: str = "",
    ) -> "Arrivals":
        """Those of these columns.

        Raises UnreadableInput if the columns differ in length, or there are neither texts nor vectors.

        Parameters
        ----------
        keep
            Whether texts are kept with them.
        unfit
            Characters that no text or id may hold.
        """
        if texts is None and vectors is None:
            raise UnreadableInput("Ids were given alone. Give their texts, or vectors made of them (embeddings=).")
        values = [None] * len(ids) if texts is None else texts
        lengths = {len(column) for column in (ids, values, vectors) if column is not None}
        if len(lengths) > 1:
            raise UnreadableInput(
                f"Each text needs one id, but the columns have {sorted(lengths)} rows. Align them row by row."
            )
        faults, usable = [], []
        for place, (name, value) in enumerate(zip(ids, values, strict=True)):
            fault = fault_of_id(name) or ("" if texts is None else fault_of(value))
            if not fault and unfit and not set(unfit).isdisjoint(f"{name}{value}"):
                fault = "holds a character that this database cannot store (NUL)"
            if fault:
                faults.append(Fault("texts", place + 1, fault))
            else:
                usable.append(place)
        content = [vectors[place].tobytes() if texts is None else str(texts[place]) for place in usable]  # type: ignore[index]
        arrivals: dict[str, tuple[Arrival, int]] = {}
        for place, number in zip(usable, list(map(hash_of, content)), strict=True):
            name = str(ids[place])
            text = str(values[place]) if keep and texts is not None else None
            first, _ = arrivals.setdefault(name, (Arrival(name, number, text), place))
            if first.hash != number:
                faults.append(Fault("texts", place + 1, f"id {name!r} was given before with another text"))
        places = [place for _, place in arrivals.values()]
        kept = [] if texts is None else [str(texts[place]) for place in places]
        return cls(len(ids), [arrival for arrival, _ in arrivals.values()], places, kept, faults)

    def __len__(self) -> int:
        return len(self.arrivals)

    def new(self, numbers: Sequence[int], there: Sequence[Item]) -> Picked:
        """Those of these arrivals whose id is not among the items; an id with another text is a fault."""
        known = {item.id: item.hash for item in there}
        new = [number for number in numbers if self.arrivals[number].id not in known]
        arrivals = [(number, self.arrivals[number]) for number in numbers]
        others = [number for number, arrival in arrivals if known.get(arrival.id, arrival.hash) != arrival.hash]
        return Picked(new, [], self._faults(others, "is in the index with another text (update changes it)"))

    def changed(self, numbers: Sequence[int], there: Sequence[Item]) -> Picked:
        """Those of these arrivals whose text differs from that of their item, with the items; an unknown id is a fault."""
        known = {item.id: item for item in there}
        unknown = [number for number in numbers if self.arrivals[number].id not in known]
        pairs = [(number, known[self.arrivals[number].id]) for number in numbers if self.arrivals[number].id in known]
        pairs = [(number, item) for number, item in pairs if item.hash != self.arrivals[number].hash]
        faults = self._faults(unknown, "is not in the index (add puts it there)")
        return Picked([number for number, _ in pairs], [item for _, item in pairs], faults)

    def _faults(self, numbers: Sequence[int], reason: str) -> list[Fault]:
        return [
            Fault("texts", self.places[number] + 1, f"id {self.arrivals[number].id!r} {reason}") for number in numbers
        ]


def fault_of_id(name: object) -> str:
    """Why this cannot be an id, or ``""`` if it can.

    Examples
    --------
    >>> fault_of_id("q1"), fault_of_id(7), fault_of_id(None)
    ('', '', 'id is null')
    """
    if isinstance(name, int | np.integer) and not isinstance(name, bool):
        return ""
    fault = fault_of(name)
    if not fault and "\0" in str(name):
        fault = "not to be stored (it holds NUL)"
    return f"id is {fault}" if fault else ""


class _Part(NamedTuple):
    """What became of some arrivals, all committed together."""

    found: Found  # number of the arrival, row, score
    items: list[Item]  # the rows found, as the commit left them
    judgement: Judgement | None  # of what was found, if the model decides
    n_rows: int
    n_added: int = 0
    cut: Sequence[int] = ()  # positions in what the caller gave
    unknown: Sequence[int] = ()
    faults: Sequence[Fault] = ()


@dataclass(frozen=True, eq=False)
class Writing:
    """One call of `add` or `update`.

    Parameters
    ----------
    at
        The index.
    arrivals
        What should go in.
    vectors
        (n, dim), one for each usable arrival, or None: texts are encoded.
    pick
        Chooses among them.
    max_matches
        The most matches in all.
    strict
        Raise instead of setting anything aside.
    """

    at: Opened
    arrivals: Arrivals
    vectors: Float[np.ndarray, "n dim"] | None
    pick: Pick
    max_matches: int
    strict: bool = field(kw_only=True)

    def run(self, texts: Sequence[Any] | None, ids: Sequence[Any], progress: Progress | None) -> Matches:
        """Do it; the matches."""
        if self.strict:
            self._refuse_faults()
        parts: list[_Part] = []
        left, n_at_once = self.max_matches, N_AT_ONCE if self.vectors is None else N_VECTORS_AT_ONCE
        for start in range(0, len(self.arrivals), n_at_once):
            numbers = range(start, min(start + n_at_once, len(self.arrivals)))
            parts.append(self._part(numbers, left, progress))
            left -= len(parts[-1].found[0])
            if progress:
                progress(numbers.stop, len(self.arrivals))
        if len(self.arrivals) >= N_AT_ONCE:
            make_if_large(self.at)
        found, items, judgement, n_right = self._as_of_now(parts)
        return answer(
            self.at.model,
            (np.asarray(self.arrivals.places, dtype=np.int64)[found[0]], *found[1:]),
            items,
            self.arrivals.n,
            n_right,
            judgement=judgement,
            by_score=not self.at.settings.get("decides"),
            left_ids=[str(name) for name in ids],
            left_texts=texts,
            cut=[place for part in parts for place in part.cut],
            unknown=[place for part in parts for place in part.unknown],
            set_aside=self._set_aside([fault for part in parts for fault in part.faults]),
            added=sum(part.n_added for part in parts),
        )

    def _set_aside(self, faults: Sequence[Fault]) -> SetAside:
        return SetAside(tuple(sorted([*self.arrivals.faults, *faults], key=lambda fault: fault.row)))

    def _refuse_faults(self) -> None:
        """Raise `BadRows` for what would be set aside, before anything is written."""
        store, names = self.at.store, [arrival.id for arrival in self.arrivals.arrivals]
        picked = store.read(lambda: self.pick(range(len(names)), store.ledger.items("id", names)), self.at.made)
        self._set_aside(picked.faults).refuse()

    def _part(self, numbers: range, left: int, progress: Progress | None) -> _Part:
        """Encode these arrivals and commit them, if no more than `left` matches are found."""
        store, arrivals = self.at.store, self.arrivals.arrivals

        def look() -> tuple[Picked, dict[str, Vector], int]:
            picked = self.pick(numbers, store.ledger.items("id", [arrivals[number].id for number in numbers]))
            texts = [self.arrivals.texts[number] for number in picked.numbers] if self.vectors is None else []
            return picked, self.at.known(texts), store.ledger.state.n_rows

        # What is there already need not be encoded; what another process adds meanwhile is seen below.
        (waiting, _, faults), known, n_rows = store.read(look, self.at.made)
        if not waiting:
            return _Part(joined([]), [], None, n_rows, faults=faults)
        report = (lambda n, _: progress(numbers.start + n, len(self.arrivals))) if progress else None
        vectors, cut, unknown = self._encoded(waiting, known, report)
        place = {number: place for place, number in enumerate(waiting)}
        rule = self.at.rule._replace(max_matches=left)

        def work() -> _Part:
            chosen, replaced, faults = self.pick(waiting, store.ledger.items("id", [arrivals[n].id for n in waiting]))
            some = [arrivals[number] for number in chosen]
            rows = [place[number] for number in chosen]
            found, items, judgement = change(store, rule, replaced, some, vectors[rows], self.at.decide)
            found = np.asarray(chosen, dtype=np.int64)[found[0]], *found[1:]
            return _Part(found, items, judgement, store.ledger.state.n_rows, len(chosen), cut, unknown, faults)

        try:
            part = store.write(work, self.at.made)
        except TooManyMatches:
            kept = f"The first {numbers.start:,} texts are in the index; the others are not. " if numbers.start else ""
            raise TooManyMatches(
                f"{kept}More than {self.max_matches:,} pairs reach {rule.threshold:g}. Allow more (--max-matches, "
                "max_matches=), or give fewer texts at once."
            ) from None
        return part._replace(faults=[*faults, *part.faults])

    def _as_of_now(self, parts: Sequence[_Part]) -> tuple[Found, list[Item], Judgement | None, int]:
        """All matches, the items that they match, what the model said of them, and how many rows there are.

        After several commits rows may have other numbers, and texts that were matched may be gone: they are looked up again, by
        id and hash, and without a timeout, as what was committed must be reported.
        """
        if len(parts) == 1:
            return parts[0].found, parts[0].items, parts[0].judgement, parts[0].n_rows
        store, names = self.at.store, [item.id for part in parts for item in part.items]

        def look_up() -> tuple[dict[str, Item], int]:
            return {item.id: item for item in store.ledger.items("id", names)}, store.ledger.state.n_rows

        now, n_rows = store.read(look_up, endlessly=True)
        found: list[Found] = []
        judged: list[Judgement] = []
        for part in parts:
            left, right, scores = part.found
            there = [now.get(item.id) for item in part.items]
            pairs = zip(part.items, there, strict=True)
            rows = [new.row if new is not None and new.hash == item.hash else -1 for item, new in pairs]
            right = np.array(rows, dtype=np.int64)[np.searchsorted(rows_of(part.items), right)]
            found.append((left[right >= 0], right[right >= 0], scores[right >= 0]))
            judged += [part.judgement.take(np.flatnonzero(right >= 0))] if part.judgement else []
        return joined(found), list(now.values()), Judgement.joined(judged) if judged else None, n_rows

    def _encoded(
        self, numbers: Sequence[int], known: Mapping[str, Vector], progress: Progress | None
    ) -> tuple[Float[np.ndarray, "n dim"], list[int], list[int]]:
        """Vectors of these arrivals; positions of the texts that were cut, and of those with unknown characters."""
        if self.vectors is not None:
            return self.at.store.view.stored(self.vectors[numbers]), [], []
        encoded = self.at.encode([self.arrivals.texts[number] for number in numbers], known, progress=progress)
        return encoded.embeddings, self._places(numbers, encoded.cut), self._places(numbers, encoded.unknown)

    def _places(self, numbers: Sequence[int], flags: Bool[np.ndarray, " n"]) -> list[int]:
        return [self.arrivals.places[numbers[row]] for row in np.flatnonzero(flags).tolist()]
