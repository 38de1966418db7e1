"""An open index: its store, its settings, and the model that encodes for it; what all verbs of an index begin with."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from textsiam.encoding.encoder import Encoded, Progress
from textsiam.errors import EncoderMismatch, MissingExtra
from textsiam.indexing.storage.ledger import hash_of
from textsiam.indexing.storage.store import Place, Store
from textsiam.matching.rule import Rule
from textsiam.scoring.siamese import Siamese

logger = logging.getLogger("textsiam")

RECALL = 0.99  # of an approximate search, at least

Result = TypeVar("Result")


@dataclass(eq=False)
class Opened:
    """An index as one process has it open."""

    place: Place
    store: Store
    told: dict[str, Any]
    model: Siamese | None

    def read(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, all seen at one moment.

        Raises
        ------
        EncoderMismatch
            If the index was rebuilt with another encoder since it was opened.
        """
        return self.store.read(lambda: self._same(work))

    def write(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, its changes made for good or not at all; errors are those of `read`."""
        return self.store.write(lambda: self._same(work))

    def rule(self, max_matches: int) -> Rule:
        """What counts as a match here."""
        return Rule(self.told["threshold"], self.told["similarity"], max_matches)

    def needed(self) -> Siamese:
        """The model.

        Raises
        ------
        ValueError
            If the index was opened without one.
        """
        if self.model is None:
            raise ValueError(
                f"The index at {self.place} was opened without a model, so texts cannot be encoded. "
                "Open it with one: Index.open(folder, Siamese.load())."
            )
        return self.model

    def encode(self, texts: Sequence[str], model: Siamese | None = None, progress: Progress | None = None) -> Encoded:
        """Embeddings as they will be stored. A text that is in the index keeps its vector: equal texts have equal vectors.

        Raises
        ------
        ValueError
            If the index was opened without a model.
        """
        model = model or self.needed()
        known = self.read(lambda: self._known(texts))
        new = [place for place, text in enumerate(texts) if text not in known]
        encoded = model.encoder.embed([texts[place] for place in new], prompt=self.told["prompt"], progress=progress)
        embeddings = np.empty((len(texts), self.told["dim"]), dtype=np.float32)
        cut, unknown = np.zeros((2, len(texts)), dtype=np.bool_)
        lengths = np.zeros(len(texts), dtype=np.int64)
        embeddings[new], lengths[new] = self.store.stored(encoded.embeddings), encoded.lengths
        cut[new], unknown[new] = encoded.cut, encoded.unknown
        there = [place for place, text in enumerate(texts) if text in known]
        if there:
            before = model.encoder.prompt_text(self.told["prompt"])
            tokens = model.encoder.tokenizer([before + texts[place] for place in there])
            cut[there], unknown[there], lengths[there] = tokens.cut, tokens.unknown, tokens.lengths
            embeddings[there] = [known[texts[place]] for place in there]
        return Encoded(embeddings, cut, unknown, lengths)

    def _known(self, texts: Sequence[str]) -> dict[str, Any]:
        """The vectors of those texts that are in the index."""
        by_hash = {hash_of(text): text for text in texts}
        rows = {
            by_hash[item.hash]: item.row
            for item in self.store.ledger.items("hash", list(by_hash))
            if item.text is None or item.text == by_hash[item.hash]
        }
        return dict(zip(rows, self.store.vectors(np.array(list(rows.values()), dtype=np.int64)), strict=True))

    def _same(self, work: Callable[[], Result]) -> Result:
        if self.store.ledger.told("made") != made_key(self.told):
            raise EncoderMismatch(
                f"The index at {self.place} was rebuilt since it was opened, with another encoder or threshold. Open it again."
            )
        return work()


def make_if_large(at: Opened) -> None:
    """Make what approximate search needs if the index has become so large; without it the search stays exact."""
    try:
        if at.read(at.store.is_large):
            at.read(lambda: at.store.make_fast(float(at.told["threshold"]), RECALL))
    except (MissingExtra, ValueError, OSError) as error:  # what was added is safe all the same
        logger.warning("Search stays exact: %s", error)


def encoder_key(told: dict[str, Any]) -> str:
    """What vectors must have in common to be compared."""
    return f"{told['fingerprint']} {told['precision']} {told['similarity']}"


def made_key(told: dict[str, Any]) -> str:
    """What an open index relies on: its encoder and its threshold."""
    return f"{encoder_key(told)} {told['threshold']!r}"
