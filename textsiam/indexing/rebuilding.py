"""An index for another encoder: all vectors anew from the texts that it keeps, a block at a time, resumed after a kill.

Until the last moment the old vectors answer; then the new ones, with clusters made from them, take their place in one
transaction.
"""

from collections.abc import Sequence
from typing import Any

from textsiam.encoding.encoder import Progress
from textsiam.errors import UnreadableInput
from textsiam.indexing.changing import Rule
from textsiam.indexing.ledger import Item
from textsiam.indexing.opened import encoder_key, rows_of
from textsiam.indexing.regrouping import regroup
from textsiam.indexing.store import Place, Store, Vectors
from textsiam.matching.exact import MAX_MATCHES
from textsiam.scoring.siamese import Siamese

_N_AT_ONCE = 8_192


def rebuild(place: Place, store: Store, model: Siamese, told: dict[str, Any], progress: Progress | None) -> None:
    """Make all vectors with this model's encoder, `told` being what the index shall know of it.

    Raises
    ------
    UnreadableInput
        If the index keeps no texts.
    """
    if not told["keep_texts"]:
        raise UnreadableInput(
            f"The index at {place} keeps no texts, so no vectors can be made from them. Make a new index from your source."
        )
    key = encoder_key(told)
    n_done, n = store.read(lambda: (store.ledger.n_until(_last(store, key)), len(store.ledger)))
    if progress:
        progress(n_done, n)  # what an interrupted rebuild has done already
    while True:
        block, last, n = store.read(lambda: _next(store, key))
        if len(block) < _N_AT_ONCE:
            break
        vectors = _encoded(model, told, block)
        store.write(lambda: _stage(store, key, last, block, vectors))  # noqa: B023  called at once
        if progress:
            n_done += len(block)
            progress(min(n_done, n), n)
    store.write(lambda: _finish(store, model, told))
    if progress:
        progress(n, n)


def _next(store: Store, key: str) -> tuple[list[Item], int, int]:
    """The next texts to encode, the last row that was staged, and how many texts there are."""
    last = _last(store, key)
    return store.ledger.after(last, _N_AT_ONCE), last, len(store.ledger)


def _last(store: Store, key: str) -> int:
    """The last row staged for this encoder; -1 for none, as after a compaction, which numbers rows anew."""
    told = store.ledger.told("rebuild")
    return int(told["last"]) if told and told["key"] == key else -1


def _stage(store: Store, key: str, last: int, block: Sequence[Item], vectors: Vectors) -> None:
    if _last(store, key) != last:
        return  # somebody was faster, or compacted: look again
    if last < 0:
        store.unstage()
    store.stage(rows_of(block), vectors)
    store.ledger.tell("rebuild", {"key": key, "last": max([last, *(item.row for item in block)])})


def _finish(store: Store, model: Siamese, told: dict[str, Any]) -> None:
    key = encoder_key(told)
    while block := store.ledger.after(_last(store, key), _N_AT_ONCE):  # others may have added some
        _stage(store, key, _last(store, key), block, _encoded(model, told, block))
    if _last(store, key) < 0:
        store.unstage()
    store.switch(told["dim"], told["similarity"])
    store.ledger.tell("rebuild", None)
    store.ledger.tell("settings", told)
    store.ledger.tell("encoder", key)
    items = list(store.ledger.all_items())
    found = store.checksums(rows_of(items))
    store.ledger.sum_up((item.row, checksum or 0) for item, checksum in zip(items, found, strict=True))
    regroup(store, Rule(told["threshold"], told["similarity"], MAX_MATCHES))


def _encoded(model: Siamese, told: dict[str, Any], block: Sequence[Item]) -> Vectors:
    return model.encoder.embed([item.text or "" for item in block], prompt=told["prompt"]).embeddings
