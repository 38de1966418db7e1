"""Texts at the door of an index: which can come in, which are there already, which must wait outside and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Shaped

from textsiam.data.texts import Fault, SetAside, as_list, fault_of
from textsiam.errors import UnreadableInput
from textsiam.indexing.changes.change import Arrival
from textsiam.indexing.storage.ledger import Item, hash_of


@dataclass(eq=False)
class Arrivals:
    """Usable ids and texts, each id once, with their positions in what the caller gave; `faults` are the others."""

    n: int
    arrivals: list[Arrival] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # empty where only vectors came
    faults: dict[int, Fault] = field(default_factory=dict)  # by row: asked again, the same is told once

    @classmethod
    def of(
        cls,
        ids: Iterable[object],
        texts: Iterable[object] | None,
        vectors: Shaped[np.ndarray, "n dim"] | None,
        *,
        keep: bool,
        unfit: str = "",
    ) -> "Arrivals":
        """Those of these columns; texts are kept with them or not.

        Raises
        ------
        UnreadableInput
            If the columns differ in length, or there are neither texts nor vectors.
        """
        if texts is None and vectors is None:
            raise UnreadableInput("Ids came alone. Give their texts, or vectors made of them (embeddings=).")
        names = as_list(ids)
        given = None if texts is None else as_list(texts)
        lengths = {len(column) for column in (names, given, vectors) if column is not None}
        if len(lengths) > 1:
            raise UnreadableInput(
                f"Each text needs one id, but columns of {sorted(lengths)} rows came. Align them row by row."
            )
        told = cls(len(names))
        seen: dict[str, int] = {}
        for place, name in enumerate(names):
            value = given[place] if given is not None else None
            fault = fault_of_id(name) or ("" if given is None else fault_of(value))
            if not fault and any(mark in f"{name}{value}" for mark in unfit):
                fault = "holds a character that this database cannot store (NUL)"
            if not fault:
                number = hash_of(str(value) if given is not None else vectors[place].tobytes())  # type: ignore[index]
                if seen.get(str(name), number) != number:
                    fault = f"id {str(name)!r} came before with another text"
            if fault:
                told._set_aside(place, fault)
            elif str(name) not in seen:
                seen[str(name)] = number
                told.arrivals.append(Arrival(str(name), number, str(value) if keep and given is not None else None))
                told.places.append(place)
                if given is not None:
                    told.texts.append(str(value))
        return told

    def __len__(self) -> int:
        return len(self.arrivals)

    @property
    def set_aside(self) -> SetAside:
        """The rows that could not be used."""
        return SetAside(tuple(self.faults[row] for row in sorted(self.faults)))

    def new(self, numbers: Sequence[int], there: Iterable[Item]) -> list[int]:
        """Those of these arrivals whose id is not among the items; an id with another text is told as a fault."""
        known = {item.id: item for item in there}
        new = []
        for number in numbers:
            arrival = self.arrivals[number]
            item = known.get(arrival.id)
            if item is None:
                new.append(number)
                self.faults.pop(self.places[number] + 1, None)
            elif item.hash != arrival.hash:
                reason = f"id {arrival.id!r} is in the index with another text (update changes it)"
                self._set_aside(self.places[number], reason)
        return new

    def changed(self, numbers: Sequence[int], there: Iterable[Item]) -> tuple[list[int], list[Item]]:
        """Those of these arrivals whose text is another than that of their item, and the items; unknown ids are faults."""
        known = {item.id: item for item in there}
        pairs = []
        for number in numbers:
            arrival = self.arrivals[number]
            item = known.get(arrival.id)
            if item is None:
                reason = f"id {arrival.id!r} is not in the index (add puts it there)"
                self._set_aside(self.places[number], reason)
            elif item.hash != arrival.hash:
                pairs.append((number, item))
                self.faults.pop(self.places[number] + 1, None)
        return [number for number, _ in pairs], [item for _, item in pairs]

    def _set_aside(self, place: int, reason: str) -> None:
        self.faults[place + 1] = Fault("texts", place + 1, reason)


def fault_of_id(name: object) -> str:
    """Why this is no id, or ``""`` if it is one.

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
