"""An encoder that keeps what it has encoded: cross-validation asks for the same texts again and again."""

import hashlib
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

    Several threads may use one. Pickled, it is the plain encoder. Texts are known by a hash of 128 bits and not kept:
    a long one takes no more memory than a short one.

    Parameters
    ----------
    encoder
        Whose tokenizer and backend are used.
    n_texts
        Between so many texts and half of them are remembered, those that were asked for last; 4 · dim + 300 bytes each.

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
        self._young: dict[bytes, _Known] = {}
        self._old: dict[bytes, _Known] = {}
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str], *, prompt: str | None = None, progress: Progress | None = None) -> Encoded:
        """As `Encoder.embed`."""
        before = self.prompt_text(prompt)
        unique, rows = distinct(texts)
        keys = [_key(before + text) for text in unique]
        with self._lock:
            known = [self._young.get(key) or self._old.get(key) for key in keys]
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
            for place, key in enumerate(keys):
                told = known[place] or _Known(
                    embeddings[place].copy(), bool(cut[place]), bool(unknown[place]), int(lengths[place])
                )
                self._young[key] = told
                if len(self._young) >= max(1, self.n_texts // 2):
                    self._young, self._old = {}, self._young
        return Encoded(embeddings, cut, unknown, lengths)[rows]


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
