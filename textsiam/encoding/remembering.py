"""An encoder that keeps what it has encoded: cross-validation asks for the same texts again and again."""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from textsiam.data.texts import distinct
from textsiam.encoding.encoder import Encoded, Encoder, Progress


class _Known(NamedTuple):
    embedding: Float[np.ndarray, " dim"]
    cut: bool
    unknown: bool
    length: int


class RememberingEncoder(Encoder):
    """The same encoder, which encodes a text that it still remembers no second time.

    Several threads may use one. Pickled, it is the plain encoder.

    Parameters
    ----------
    encoder
        Whose tokenizer and backend are used.
    n_texts
        Between so many texts and half of them are remembered, those that were asked for last; 4 · dim bytes each.

    Examples
    --------
    >>> encoder = RememberingEncoder(Encoder.load(), 1_000)
    >>> first = encoder.encode(["How do I pay?"])
    >>> bool((encoder.encode(["Where is my parcel?", "How do I pay?"])[1] == first[0]).all())
    True
    """

    def __init__(self, encoder: Encoder, n_texts: int) -> None:
        self.__dict__.update(encoder.__dict__)
        self.n_texts = n_texts
        self._young: dict[str, _Known] = {}
        self._old: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str], *, prompt: str | None = None, progress: Progress | None = None) -> Encoded:
        """As `Encoder.embed`."""
        before = self.prompt_text(prompt)
        unique, rows = distinct(texts)
        with self._lock:
            known = [self._young.get(before + text) or self._old.get(before + text) for text in unique]
        new = [place for place, told in enumerate(known) if told is None]
        encoded = super().embed([unique[place] for place in new], prompt=prompt, progress=progress)
        embeddings = np.empty((len(unique), self.dim), dtype=np.float32)
        cut, unknown = np.zeros((2, len(unique)), dtype=np.bool_)
        lengths = np.zeros(len(unique), dtype=np.int64)
        embeddings[new], lengths[new] = encoded.embeddings, encoded.lengths
        cut[new], unknown[new] = encoded.cut, encoded.unknown
        for place, told in enumerate(known):
            if told is not None:
                embeddings[place], cut[place], unknown[place], lengths[place] = told
        with self._lock:
            for place, text in enumerate(unique):
                told = known[place] or _Known(
                    embeddings[place].copy(), bool(cut[place]), bool(unknown[place]), int(lengths[place])
                )
                self._young[before + text] = told
                if len(self._young) >= max(1, self.n_texts // 2):
                    self._young, self._old = {}, self._young
        return Encoded(embeddings, cut, unknown, lengths)[rows]
