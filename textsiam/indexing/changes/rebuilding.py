"""An index for another encoder: all vectors are made again from the texts that it keeps, a block at a time, also after a kill.

Until the last moment the old vectors answer; then the new ones, with clusters made from them, replace them in one transaction.
"""

from collections.abc import Sequence
from typing import Any

from textsiam.arrays import Vectors
from textsiam.encoding.encoder import Progress
from textsiam.errors import IndexLocked, UnreadableInput
from textsiam.indexing.changes.clusters import regroup
from textsiam.indexing.open_index import Opened, encoder_key, made_key
from textsiam.indexing.storage.ledger import Item, rows_of
from textsiam.indexing.storage.store import Place, Store
from textsiam.scoring.siamese import Siamese

_N_AT_ONCE = 8_192


def rebuild(place: Place, store: Store, model: Siamese, settings: dict[str, Any], progress: Progress | None) -> None:
    """Make all vectors with this model's encoder; `settings` are those that the index will have.

    Raises UnreadableInput if the index keeps no texts, or not all of them; IndexLocked if another process began a rebuild with
    another encoder meanwhile.
    """
    if not settings["keep_texts"]:
        raise UnreadableInput(
            f"The index at {place} keeps no texts, so its vectors cannot be made again. Make a new index."
        )
    if n_without := store.read(store.ledger.n_without_text):
        raise UnreadableInput(
            f"The index at {place} holds {n_without:,} vectors whose texts it was not given, so they cannot be made again. "
            "Remove them, or make a new index from your source."
        )
    key = encoder_key(settings)
    _begin(store, key)
    n_done, n = store.read(lambda: _done(store, key))
    if progress:
        progress(n_done, n)  # what an interrupted rebuild has done already
    while True:
        block, last, n = store.read(lambda: _next(store, key))
        if last is None:  # a compaction has given the rows other numbers
            _begin(store, key, again=True)
            n_done = 0
            continue
        if len(block) >= _N_AT_ONCE:
            vectors = _encoded(model, settings, block)
            store.write(lambda: _stage(store, key, last, block, vectors))  # noqa: B023  called at once
            n_done += len(block)
        elif store.write(lambda: _finish(place, store, model, settings)):
            break
        if progress:
            progress(min(n_done, n), n)
    if progress:
        progress(n, n)


def _done(store: Store, key: str) -> tuple[int, int]:
    """How many texts are staged, of how many."""
    last = _last(store, key)
    return 0 if last is None else store.ledger.n_until(last), len(store.ledger)


def _begin(store: Store, key: str, *, again: bool = False) -> None:
    """Record, before anything is staged, for which encoder it will be; what was staged for it before stays."""

    def begin() -> None:
        under_way = store.ledger.value("rebuild")
        if again and under_way and under_way["key"] != key:
            raise IndexLocked("Another process rebuilds this index with another encoder. Wait for it, or stop it.")
        if not under_way or under_way["key"] != key:
            store.ledger.put("rebuild", {"key": key, "last": -1})

    store.write(begin)


def _next(store: Store, key: str) -> tuple[list[Item], int | None, int]:
    """The next texts to encode, the last row that was staged, and how many texts there are."""
    last = _last(store, key)
    return [] if last is None else store.ledger.after(last, _N_AT_ONCE), last, len(store.ledger)


def _last(store: Store, key: str) -> int | None:
    """The last row staged for this encoder, -1 before the first; None if what was staged no longer counts."""
    under_way = store.ledger.value("rebuild")
    return int(under_way["last"]) if under_way and under_way["key"] == key else None


def _stage(store: Store, key: str, last: int, block: Sequence[Item], vectors: Vectors) -> None:
    if _last(store, key) != last:
        return  # another process was faster, or compacted: look again
    if last < 0:
        store.unstage()
    store.stage(rows_of(block), vectors)
    store.ledger.put("rebuild", {"key": key, "last": max([last, *(item.row for item in block)])})


def _finish(place: Place, store: Store, model: Siamese, settings: dict[str, Any]) -> bool:
    """The new vectors take over; False if those staged no longer count."""
    key = encoder_key(settings)
    if (last := _last(store, key)) is None:
        return False
    while block := store.ledger.after(last, _N_AT_ONCE):  # others may have added some
        _stage(store, key, last, block, _encoded(model, settings, block))
        last = block[-1].row
    if last < 0:
        store.unstage()
    store.switch(settings["dim"], settings["similarity"])
    store.ledger.put("rebuild", None)
    store.ledger.put("settings", settings)
    store.ledger.put("made", made_key(settings))
    items = list(store.ledger.all_items())
    found = store.view.checksums(rows_of(items))
    store.ledger.sum_up((item.row, checksum or 0) for item, checksum in zip(items, found, strict=True))
    now = Opened(place, store, settings, model)
    regroup(store, now.rule, now.decide)
    return True


def _encoded(model: Siamese, settings: dict[str, Any], block: Sequence[Item]) -> Vectors:
    texts = [item.text for item in block if item.text is not None]
    if len(texts) < len(block):
        missing = [item.id for item in block if item.text is None]
        raise UnreadableInput(
            f"The texts of {', '.join(missing[:5])} were not given to the index, so their vectors cannot be made again. Remove "
            "them."
        )
    return model.encoder.embed(texts, prompt=settings["prompt"]).embeddings
