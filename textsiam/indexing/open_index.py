"""An open index: the place where its store lies, its settings, and the model that encodes for it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from textsiam.arrays import Vector
from textsiam.encoding.encoder import Encoded, Progress
from textsiam.errors import MissingExtra
from textsiam.indexing.storage.ledger import Ledger, hash_of
from textsiam.indexing.storage.store import Place, Store, is_address
from textsiam.matching.deciding import Decide, decided
from textsiam.matching.rule import Rule
from textsiam.scoring.siamese import Siamese

logger = logging.getLogger("textsiam")

RECALL = 0.99  # of an approximate search, at least


@dataclass(eq=False)
class Opened:
    """An index as one process has it open.

    Its store reads and writes for it: ``store.read(work, made)``.
    """

    place: Place
    store: Store
    settings: dict[str, Any]
    model: Siamese | None

    @cached_property
    def made(self) -> str:
        """What it relies on; reads and writes fail once the index was made again otherwise."""
        return made_key(self.settings)

    @cached_property
    def rule(self) -> Rule:
        """What counts as a match here."""
        return Rule(self.settings["threshold"], self.settings["similarity"])

    @property
    def decide(self) -> Decide | None:
        """Decides which candidates match, if the model does and not the score alone.

        Raises ValueError, when it is called, if the index was opened without a model.
        """
        if not self.settings.get("decides"):
            return None
        prompt = self.settings["prompt"]
        return lambda *found: decided(self.needed(), *found, by_score=False, prompt=prompt)

    def needed(self) -> Siamese:
        """The model.

        Raises ValueError if the index was opened without one.
        """
        if self.model is None:
            raise ValueError(
                f"The index at {self.place} was opened without a model, so texts cannot be encoded. "
                "Open it with one: Index.open(folder, Siamese.load())."
            )
        return self.model

    def known(self, texts: Sequence[str]) -> dict[str, Vector]:
        """The vectors of those texts that are in the index; within a transaction."""
        by_hash = {hash_of(text): text for text in texts}
        rows = {
            by_hash[item.hash]: item.row
            for item in self.store.ledger.items("hash", by_hash)
            if item.text is None or item.text == by_hash[item.hash]
        }
        if not rows:
            return {}
        return dict(zip(rows, self.store.view.vectors(np.array(list(rows.values()), dtype=np.int64)), strict=True))

    def encode(
        self,
        texts: Sequence[str],
        known: Mapping[str, Vector],
        model: Siamese | None = None,
        progress: Progress | None = None,
    ) -> Encoded:
        """Embeddings as they will be stored. A text that is `known` keeps its vector: equal texts have equal vectors.

        Raises ValueError if the index was opened without a model.
        """
        model = model or self.needed()
        prompt = self.settings["prompt"]
        new = [place for place, text in enumerate(texts) if text not in known]
        fresh = model.encoder.embed([texts[place] for place in new], prompt=prompt, progress=progress)
        encoded = Encoded.blank(len(texts), self.settings["dim"])
        encoded.put(new, replace(fresh, embeddings=self.store.view.stored(fresh.embeddings)))
        there = [place for place, text in enumerate(texts) if text in known] if known else []
        if there:
            tokens = model.encoder.tokenizer([model.encoder.prompt_text(prompt) + texts[place] for place in there])
            vectors = np.array([known[texts[place]] for place in there])
            encoded.put(there, Encoded(vectors, tokens.cut, tokens.unknown, tokens.lengths))
        return encoded


def create_store(place: Place, dim: int, similarity: str, stored_as: str, tell: Callable[[Ledger], None]) -> Store:
    """A new, empty store, whole or not at all; `tell` writes the settings into the ledger."""
    if is_address(place):
        from textsiam.indexing.storage.postgres_store import PostgresStore

        return PostgresStore.create(str(place), dim, similarity, stored_as, tell)
    from textsiam.indexing.storage.folder_store import SqliteStore

    return SqliteStore.create(Path(place).expanduser(), dim, similarity, stored_as, tell)


def open_store(place: Place, timeout_s: float) -> Store:
    """The existing store."""
    if is_address(place):
        from textsiam.indexing.storage.postgres_store import PostgresStore

        return PostgresStore(str(place), timeout_s)
    from textsiam.indexing.storage.folder_store import SqliteStore

    return SqliteStore(Path(place).expanduser(), timeout_s)


def make_if_large(at: Opened) -> None:
    """Make what approximate search needs if the index has grown large enough; without it the search stays exact."""
    try:
        if at.store.read(lambda: at.store.view.is_large(), at.made):  # noqa: PLW0108  the view of then
            at.store.read(lambda: at.store.view.make_fast(at.rule.threshold, RECALL), at.made)
    except (MissingExtra, ValueError, OSError) as error:  # what was added is safe all the same
        logger.warning("Search stays exact: %s", error)


def encoder_key(settings: Mapping[str, Any]) -> str:
    """What vectors must have in common to be compared."""
    return f"{settings['fingerprint']} {settings['precision']} {settings['similarity']}"


def made_key(settings: Mapping[str, Any]) -> str:
    """What an open index relies on: its encoder and its threshold, or what decides."""
    decides = settings.get("decides")
    return f"{encoder_key(settings)} {settings['threshold']!r}" + (f" {decides!r}" if decides else "")
