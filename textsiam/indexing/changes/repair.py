"""Whether an index is sound: finds damage, and repairs what can be made again from its texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textsiam.arrays import Rows, Vector, Vectors
from textsiam.encoding.encoder import Progress
from textsiam.indexing.changes.clusters import regroup
from textsiam.indexing.open_index import Opened
from textsiam.indexing.storage.ledger import Item, rows_of
from textsiam.scoring.similarity import scores_of

_N_AT_ONCE = 16_384


@dataclass(frozen=True)
class Soundness:
    """What `Index.verify` found; true if nothing was wrong.

    Parameters
    ----------
    n
        Texts in the index.
    damaged
        Ids whose vector is missing or differs from what was written.
    lost
        Those of them whose text is not kept, so that the vector cannot be made again.
    misplaced
        Ids whose cluster, keeper or score is not what the vectors give: two keepers match, another keeper is better, or the score
        differs. Checked completely only where no vector is damaged; where a judge decides below fp32, only score and keeper.
    ledger
        What the database finds wrong with itself; that cannot be repaired.
    repaired
        Whether what could be repaired was: damaged vectors made again from their texts, lost ones removed, misplaced texts placed
        again.
    """

    n: int
    damaged: Sequence[str] = ()
    lost: Sequence[str] = ()
    misplaced: Sequence[str] = ()
    ledger: str = ""
    repaired: bool = False

    def __bool__(self) -> bool:
        return not (self.damaged or self.misplaced or self.ledger)

    def __str__(self) -> str:
        if self:
            return f"{self.n:,} texts, all sound"
        parts = []
        if self.ledger:
            parts.append(f"the database is damaged ({self.ledger}): restore the index from a copy, or make a new one")
        if repairable := len(self.damaged) - len(self.lost):
            parts.append(f"{repairable:,} damaged vectors, {self._did('made again from their texts')}")
        if self.lost:
            parts.append(
                f"{len(self.lost):,} vectors lost whose texts are not kept, {self._did('removed')}: add them again"
            )
        if self.misplaced:
            parts.append(f"{len(self.misplaced):,} texts in a wrong cluster, {self._did('placed again')}")
        return f"{self.n:,} texts: {'; '.join(parts)}"

    def _did(self, what: str) -> str:
        return f"now {what}" if self.repaired else f"not yet {what}"


def verify(at: Opened, *, repair: bool, progress: Progress | None = None) -> Soundness:
    """Read everything once, and with `repair` repair it (see `Index.verify`)."""
    if repair:
        at.store.read(lambda: at.store.view.check_caches(), at.made)  # noqa: PLW0108  the view of then
    found = at.store.read(lambda: _examined(at, progress), at.made)
    if found or not repair or found.ledger:
        return found
    repaired = None
    while repaired is None:
        repaired = at.store.write(lambda: _repaired(at), at.made)
    return repaired


def _examined(at: Opened, progress: Progress | None) -> Soundness:
    items = list(at.store.ledger.all_items())
    keepers = {item.cluster: item for item in items if item.score is None}
    damaged: list[Item] = []
    misplaced: list[str] = []
    for start in range(0, len(items), _N_AT_ONCE):
        block = items[start : start + _N_AT_ONCE]
        found = at.store.view.checksums(rows_of(block))
        sound = [item for item, checksum in zip(block, found, strict=True) if item.checksum == checksum]
        damaged += [item for item, checksum in zip(block, found, strict=True) if item.checksum != checksum]
        misplaced += _misplaced(at, sound, keepers)
        if progress:
            progress(start + len(block), len(items))
    # Below fp32 a judge's log-odds depend a little on what else is read, and a pair at a threshold is decided either way.
    is_exact = at.decide is None or at.settings["precision"] == "float32"
    if not damaged and not misplaced and is_exact:
        misplaced = regroup(at.store, at.rule, at.decide, write=False)
    return Soundness(
        len(items),
        [item.id for item in damaged],
        [item.id for item in damaged if item.text is None],
        misplaced,
        at.store.fault(),
    )


def _misplaced(at: Opened, items: Sequence[Item], keepers: dict[int, Item]) -> list[str]:
    """Ids of members without a keeper, or with another score to it than was written."""
    alone = [item.id for item in items if item.cluster not in keepers]
    members = [item for item in items if item.score is not None and item.cluster in keepers]
    theirs = [keepers[item.cluster] for item in members]
    checked = zip(members, theirs, at.store.view.checksums(rows_of(theirs)), strict=True)
    pairs = [(member, keeper) for member, keeper, found in checked if keeper.checksum == found]
    if not pairs:
        return alone
    first, second = (at.store.view.vectors(rows_of(side)) for side in zip(*pairs, strict=True))
    each = np.arange(len(pairs))
    scores = scores_of(at.settings["similarity"], first, second, each, each).tolist()
    off = [item.id for (item, _), score in zip(pairs, scores, strict=True) if score != item.score]
    several = [item.id for item in items if item.score is None and keepers[item.cluster] is not item]
    return alone + off + several


def _repaired(at: Opened) -> Soundness | None:
    """Make vectors again, remove lost texts, place all again; in one transaction. None: call again in another one."""
    store, ledger = at.store, at.store.ledger
    if not ledger.may_stage():
        return None
    found = _examined(at, None)  # once more, while no other process writes
    lost = set(found.lost)
    items = [item for item in ledger.all_items() if item.id not in lost]
    if found.damaged:
        ids = set(found.damaged)
        again = {item.row: item.text or "" for item in items if item.id in ids}
        made = dict(zip(again, _encoded(at, list(again.values())), strict=True))
        gone = rows_of(ledger.items("id", list(found.lost)))
        ledger.delete(gone.tolist())
        store.drop(gone)
        with store.staging():
            for start in range(0, len(items), _N_AT_ONCE):
                rows = rows_of(items[start : start + _N_AT_ONCE])
                store.stage(rows, _filled(at, rows, made))
        ledger.sum_up((row, store.view.summed(vector[None])[0]) for row, vector in made.items())
        store.switch(at.settings["dim"], at.settings["similarity"])
    moved = regroup(store, at.rule, at.decide)
    return Soundness(found.n, found.damaged, found.lost, found.misplaced or moved, found.ledger, repaired=True)


def _encoded(at: Opened, texts: list[str]) -> Vectors:
    """Vectors of texts, encoded even if the index seems to have them."""
    if not texts:
        return np.empty((0, at.settings["dim"]), dtype=np.float32)
    return at.store.view.stored(at.needed().encoder.embed(texts, prompt=at.settings["prompt"]).embeddings)


def _filled(at: Opened, rows: Rows, made: dict[int, Vector]) -> Vectors:
    """The vectors of rows: those made again, the others as they are."""
    vectors = np.empty((len(rows), at.settings["dim"]), dtype=np.float32)
    is_made = np.isin(rows, list(made))
    vectors[~is_made] = at.store.view.vectors(rows[~is_made])
    for place in np.flatnonzero(is_made).tolist():
        vectors[place] = made[int(rows[place])]
    return vectors
