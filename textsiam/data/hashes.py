"""Which texts were seen before, as hashes: enough to recognise a text, not enough to read it.

The hashes have no secret key, so anyone who guesses a text can check the guess. If it is confidential that a model saw certain
texts, publish the model without its ``training_texts.hashes``.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Shaped

from textsiam.data.texts import normalise
from textsiam.errors import BrokenModel, UnreadableInput

N_BYTES = 8


@dataclass(frozen=True, eq=False)
class TextHashes:
    """A set of texts, each as 8 bytes of the BLAKE2 hash of its normalised form.

    Two different texts share a hash with probability 2⁻⁶⁴. With a million texts on each side, one comparison in 10⁷ has such
    an error.

    Parameters
    ----------
    hashes
        (n,) unsigned 64-bit numbers, sorted, each once.

    Examples
    --------
    >>> seen = TextHashes.of(["How do I pay?", "Where is my parcel?"])
    >>> len(seen), seen.holds(["how do I  pay?", "Why?"])
    (2, array([ True, False]))
    """

    hashes: Shaped[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))

    def __post_init__(self) -> None:
        object.__setattr__(self, "hashes", np.unique(self.hashes.astype(np.uint64)))

    @classmethod
    def of(cls, texts: Iterable[str]) -> "TextHashes":
        """The hashes of these texts. Texts that are equal after `normalise` have the same hash."""
        return cls(_hashed(texts))

    def holds(self, texts: Iterable[str]) -> Bool[np.ndarray, " m"]:
        """For each text, whether the set holds it or one that is equal after `normalise`."""
        return np.isin(_hashed(texts), self.hashes)

    def __or__(self, other: "TextHashes") -> "TextHashes":
        return TextHashes(np.union1d(self.hashes, other.hashes))

    def __len__(self) -> int:
        return len(self.hashes)

    def to_bytes(self) -> bytes:
        """The hashes as little-endian bytes, for a file."""
        return self.hashes.astype("<u8").tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> "TextHashes":
        """The set that `to_bytes` wrote. Raises `BrokenModel` if these are not whole hashes in rising order."""
        if len(content) % N_BYTES == 0:
            hashes = np.frombuffer(content, dtype="<u8").astype(np.uint64)
            if (hashes[1:] > hashes[:-1]).all():
                return cls(hashes)
        raise BrokenModel(
            f"The hashes of the training texts are {len(content):,} bytes that are not a rising list of hashes. "
            "Restore the file from the model's source."
        )


def _hashed(texts: Iterable[str]) -> Shaped[np.ndarray, " n"]:
    if isinstance(texts, str):
        raise UnreadableInput(f"Expected a list of texts, but got one string: {texts[:40]!r}. Put it in a list.")
    digests = [hashlib.blake2b(normalise(text).encode("utf-8"), digest_size=N_BYTES).digest() for text in texts]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
