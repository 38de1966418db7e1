"""Texts → embeddings: distinct texts once, ordered by token count, in batches of a token budget, order restored.

An encoder that keeps what it has encoded: cross-validation asks for the same texts again and again.
"""

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from textsiam.data.texts import as_list, distinct, fault_of
from textsiam.encoding.backends import BACKENDS, Backend, best
from textsiam.encoding.model_folder.finding import find_model, name_of
from textsiam.encoding.model_folder.folder import ModelFolder
from textsiam.encoding.model_folder.layout import read_folder
from textsiam.encoding.tokenizing import Tokenizer, Tokens, batches_of, calls_of
from textsiam.errors import UnsupportedModel

logger = logging.getLogger("textsiam")

Progress = Callable[[int, int], None]  # (done, total), called now and then
Asked = Iterator[tuple[Int[np.ndarray, " m"], Float[np.ndarray, "m dim"]]]  # rows, and their embeddings


class _Known(NamedTuple):
    embedding: Float[np.ndarray, " dim"]
    cut: bool
    unknown: bool
    length: int


@dataclass(frozen=True)
class Encoded:
    """Embeddings (n, dim) fp32; which of the n texts were cut to the maximum length; which hold unknown characters.

    `lengths` counts the tokens of each text, special ones and the prompt's included.

    An unknown character embeds like every other: texts that differ in such characters alone cannot be told apart.
    """

    embeddings: Float[np.ndarray, "n dim"]
    cut: Bool[np.ndarray, " n"]
    unknown: Bool[np.ndarray, " n"]
    lengths: Int[np.ndarray, " n"]

    @classmethod
    def blank(cls, n: int, dim: int) -> "Encoded":
        """`n` rows to fill with `put`; until then their embeddings are NaN and they hold no tokens."""
        cut, unknown = np.zeros((2, n), dtype=np.bool_)
        return cls(np.full((n, dim), np.nan, dtype=np.float32), cut, unknown, np.zeros(n, dtype=np.int64))

    def put(self, rows: slice | Sequence[int], encoded: "Encoded") -> None:
        """Write what was encoded for these rows, in their order."""
        self.embeddings[rows], self.lengths[rows] = encoded.embeddings, encoded.lengths
        self.cut[rows], self.unknown[rows] = encoded.cut, encoded.unknown

    def row(self, place: int) -> "_Known":
        """One row as plain values, copied: a view would keep the whole batch in memory."""
        row = self.embeddings[place].copy()
        return _Known(row, bool(self.cut[place]), bool(self.unknown[place]), int(self.lengths[place]))

    def __getitem__(self, rows: slice | Int[np.ndarray, " m"]) -> "Encoded":
        return Encoded(self.embeddings[rows], self.cut[rows], self.unknown[rows], self.lengths[rows])


class Encoder:
    """Texts → embeddings, by one model folder, one tokenizer and one backend.

    Several threads may use one. Pickled, it is read again from its folder, which must be there.

    Parameters
    ----------
    folder
        What the model folder says (`textsiam.encoding.model_folder.layout.read_folder`).
    backend
        A name from `textsiam.encoding.backends.BACKENDS`, ``"auto"`` for the best installed one, or an object with the methods of
        `textsiam.encoding.backends.Backend`.
    device, dtype
        Passed to the backend; None lets it choose.

    Raises
    ------
    BrokenModel, UnsupportedModel
        If the folder's files cannot be used.
    ValueError
        If there is no such backend, device or dtype.

    Examples
    --------
    >>> encoder = Encoder(read_folder(find_model()))
    >>> encoder.dim, encoder.encode(["How do I pay?"]).shape
    (384, (1, 384))
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # What was compiled cannot travel: another process reads the folder again.
        if self.backend_name not in BACKENDS:
            raise TypeError(
                f"An encoder with a backend of its own ({self.backend_name}) cannot be pickled. Make it where it is used."
            )
        return _read_again, (self.folder.path, self.backend_name, self._device, self.precision)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Encoder":
        return self  # nothing of it changes: a copy would read and compile the model again

    def __init__(
        self,
        folder: ModelFolder,
        backend: str | Backend = "auto",
        *,
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        if isinstance(backend, str) and backend not in {*BACKENDS, "auto"}:
            raise ValueError(f"There is no backend {backend!r}. Use one of {', '.join(['auto', *BACKENDS])}.")
        self.folder = folder
        self._device = None if device is None else str(device)
        self.tokenizer = Tokenizer(folder.transformer, folder.max_length, lowercase=folder.lowercase)
        if isinstance(backend, str):
            backend = (best if backend == "auto" else BACKENDS[backend])(folder, device, dtype)
        self.backend = backend
        self.dim = next(self._ask(self.tokenizer(["."])))[1].shape[1]

    @classmethod
    def load(
        cls,
        source: str | Path | None = None,
        *,
        backend: str = "auto",
        device: str | None = None,
        dtype: str | None = None,
    ) -> "Encoder":
        """The encoder of a folder, a Hub name, or the default (see `textsiam.encoding.model_folder.finding.find_model`).

        Examples
        --------
        >>> encoder = Encoder.load()
        >>> encoder.encode(["How do I pay?"]).shape
        (1, 384)
        """
        return cls(read_folder(find_model(source)), backend, device=device, dtype=dtype)

    @cached_property
    def fingerprint(self) -> str:
        """What the vectors depend on, as one hash; numbers made with one encoder are good for no other.

        Reads all weights once, unless the folder told their hashes.
        """
        return self.folder.fingerprint(self.folder.carried.get("files"))

    @property
    def name(self) -> str:
        """The model's name for people: its folder's or the Hub's, without the place where it lies."""
        return name_of(self.folder.path)

    @property
    def backend_name(self) -> str:
        """What computes the vectors: a name from `BACKENDS`, or of the caller's own class."""
        return str(getattr(self.backend, "name", type(self.backend).__name__))

    @property
    def precision(self) -> str:
        """The precision class of the vectors: only vectors of one class may be compared."""
        return self.backend.precision

    def release(self) -> None:
        """Give back the memory of what the backend can make again at the next call; nothing with backends that cannot."""
        if hasattr(self.backend, "release"):
            self.backend.release()

    def encode(
        self, texts: Iterable[object], *, prompt: str | None = None, progress: Progress | None = None
    ) -> Float[np.ndarray, "n dim"]:
        """One embedding a text, fp32, in the order given.

        Parameters
        ----------
        texts
            Strings. A value that is no usable text (None, empty, only whitespace, no string) gets a row of NaN; how many
            and which are logged as a warning. Texts longer than the model's maximum are cut, and logged likewise.
        prompt
            A name from the model's prompts, or the text itself, put before every text. Default: the model's default.
        progress
            Called with (texts done, texts in all) now and then.

        Returns
        -------
        embeddings
            (n, dim); (0, dim) for no texts; zeros for a text of which the tokenizer leaves no token. In fp32 a row differs by
            less than 1e-5 whatever else is encoded with it.

        Raises
        ------
        UnreadableInput
            If a single string came instead of a list.
        UnsupportedModel
            If the model cannot be used with a prompt of that name.

        Examples
        --------
        >>> vectors = Encoder.load().encode(["How do I pay?", "How do I pay?"])
        >>> bool((vectors[0] == vectors[1]).all())
        True
        """
        texts = as_list(texts)
        usable = [place for place, text in enumerate(texts) if not fault_of(text)]
        if len(usable) < len(texts):
            wrong = sorted(set(range(len(texts))) - set(usable))
            logger.warning("%d of %d texts are unusable and get NaN: positions %s", len(wrong), len(texts), _few(wrong))
        encoded = self.embed([str(texts[place]) for place in usable], prompt=prompt, progress=progress)
        if encoded.cut.any():
            cut = [usable[place] for place in np.flatnonzero(encoded.cut)]
            logger.warning(
                "%d of %d texts exceed %d tokens and were cut: positions %s",
                len(cut),
                len(texts),
                self.folder.max_length,
                _few(cut),
            )
        if len(usable) == len(texts):
            return encoded.embeddings
        embeddings = np.full((len(texts), self.dim), np.nan, dtype=np.float32)
        embeddings[usable] = encoded.embeddings
        return embeddings

    def embed(self, texts: Sequence[str], *, prompt: str | None = None, progress: Progress | None = None) -> Encoded:
        """Embeddings of usable texts, and which were cut; what `encode` does without its checks and its log."""
        before = self.prompt_text(prompt)
        unique, rows = distinct(texts)
        encoded = Encoded.blank(len(unique), self.dim)
        for part, tokens, asked in self._asked(unique, before):
            some = encoded[part]  # a view
            some.cut[:], some.unknown[:], some.lengths[:] = tokens.cut, tokens.unknown, tokens.lengths
            n_done = part.start
            for places, found in asked:
                some.embeddings[places] = found
                n_done += len(places)
                if progress:
                    progress(n_done * len(texts) // len(unique), len(texts))
        # Where no text repeats, the rows stand in order already: no copy of what may be gigabytes.
        return encoded if len(unique) == len(texts) else encoded[rows]

    def count_lost(self, texts: Iterable[str], *, prompt: str | None = None) -> tuple[int, int]:
        """How many of these usable texts would be cut, and how many hold unknown characters; tokenises only."""
        before = self.prompt_text(prompt)
        unique, rows = distinct(texts)
        parts = [self.tokenizer([before + text for text in unique[start:stop]]) for start, stop in calls_of(unique)]
        if not parts:
            return 0, 0
        cut, unknown = (
            np.concatenate(flags)[rows].sum() for flags in zip(*((p.cut, p.unknown) for p in parts), strict=True)
        )
        return int(cut), int(unknown)

    def _asked(self, texts: Sequence[str], prompt: str) -> Iterator[tuple[slice, Tokens, Asked]]:
        """Neighbouring texts, their tokens, and their embeddings on the way; the next are tokenised while a GPU computes."""
        ahead: deque[tuple[slice, Tokens, Asked]] = deque()
        n_ahead = int(getattr(self.backend, "offloads", False))
        for start, stop in calls_of(texts):
            tokens = self.tokenizer([prompt + text for text in texts[start:stop]])
            ahead.append((slice(start, stop), tokens, self._ask(tokens)))
            if len(ahead) > n_ahead:
                yield ahead.popleft()
        yield from ahead

    def _ask(self, tokens: Tokens) -> Asked:
        """Let the backend begin; which rows, and their embeddings, batch by batch."""
        places = list(batches_of(tokens.lengths, self.backend.token_budget, self.backend.padding_budget))
        found = self.backend.embed_many([tokens.padded(rows, self.tokenizer.pad_id()) for rows in places])
        return zip(places, found, strict=True)

    def prompt_text(self, prompt: str | None) -> str:
        """The text put before every text: that of the prompt named, else the model's default.

        Raises
        ------
        UnsupportedModel
            If the model has no prompt of that name.
        """
        prompts = self.folder.prompts
        if prompt is None:
            return prompts.get(self.folder.default_prompt or "", "")
        if prompt in prompts:
            return prompts[prompt]
        if prompt.isidentifier():
            raise UnsupportedModel(
                f"The model has no prompt named {prompt!r}; it has {', '.join(prompts) or 'none'}. "
                "Give one of them, or the text itself."
            )
        return prompt


def _read_again(folder: Path, backend: str, device: str | None, dtype: str) -> Encoder:
    return Encoder(read_folder(folder), backend, device=device, dtype=dtype)


def _few(places: Sequence[int], n: int = 10) -> str:
    return ", ".join(map(str, places[:n])) + (", …" if len(places) > n else "")


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
        encoded = Encoded.blank(len(unique), self.dim)
        encoded.put(new, super().embed([unique[place] for place in new], prompt=prompt, progress=progress))
        for place, told in enumerate(known):
            if told is not None:
                encoded.embeddings[place], encoded.cut[place], encoded.unknown[place], encoded.lengths[place] = told
        with self._lock:
            for place, key in enumerate(keys):
                self._young[key] = known[place] or encoded.row(place)
                if len(self._young) >= max(1, self.n_texts // 2):
                    self._young, self._old = {}, self._young
        return encoded[rows]


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
