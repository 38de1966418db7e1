"""Texts → embeddings: each distinct text once, sorted by token count, in batches of a token budget, order restored.

`RememberingEncoder` also keeps the embeddings, for callers such as cross-validation that encode the same texts repeatedly.
Tokens are the work of `textsiam.encoding.tokenizing`, and the model itself of a backend.
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

from textsiam.data.texts import as_list, distinct, fault_of, few
from textsiam.encoding.backends import BACKENDS, Backend, TokenBackend, best
from textsiam.encoding.model_folder.finding import find_model, name_of
from textsiam.encoding.model_folder.folder import ModelFolder
from textsiam.encoding.model_folder.layout import read_folder
from textsiam.encoding.token_vectors import TokenVectors, joined
from textsiam.encoding.tokenizing import Batch, Tokenizer, Tokens, batches_of, calls_of
from textsiam.errors import UnsupportedModel

logger = logging.getLogger("textsiam")

Progress = Callable[[int, int], None]  # (done, total), called from time to time
Asked = Iterator[tuple[Int[np.ndarray, " m"], Float[np.ndarray, "m dim"]]]  # rows, and their embeddings


class _Known(NamedTuple):
    embedding: Float[np.ndarray, " dim"]
    cut: bool
    unknown: bool
    length: int


@dataclass(frozen=True)
class Encoded:
    """Embeddings (n, dim) fp32; which of the n texts were cut to the maximum length; which have unknown characters.

    `lengths` counts the tokens of each text, with special tokens and the prompt. All unknown characters embed alike, so texts
    that differ only in such characters get the same embedding.
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
    """Texts → embeddings, with one model folder, one tokenizer and one backend.

    Several threads may share an encoder. Unpickling reads the model folder again, which must still exist.

    Parameters
    ----------
    folder
        The content of a model folder (`textsiam.encoding.model_folder.layout.read_folder`).
    backend
        A name from `textsiam.encoding.backends.BACKENDS`, ``"auto"`` for the best installed one, or an object with the methods of
        `textsiam.encoding.backends.Backend`.
    device, dtype
        Passed to the backend, which chooses if they are None.

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
        # A compiled model cannot be pickled: another process reads the folder again.
        if self.backend_name not in BACKENDS:
            raise TypeError(
                f"An encoder with a backend of its own ({self.backend_name}) cannot be pickled. Make it where it is used."
            )
        return _read_again, (self.folder.path, self.backend_name, self._device, self.precision)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Encoder":
        return self  # it never changes, and a copy would read and compile the model again

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
        """A hash of all that the vectors depend on. Scores and thresholds are valid only for encoders with the same hash.

        Reads all weights once, unless the folder holds their hashes.
        """
        return self.folder.fingerprint(self.folder.carried.get("files"))

    @property
    def name(self) -> str:
        """The model's name for people: its folder's or the Hub's, without the place where it lies."""
        return name_of(self.folder.path)

    @property
    def backend_name(self) -> str:
        """The backend's name: one from `BACKENDS`, or that of the caller's own class."""
        return str(getattr(self.backend, "name", type(self.backend).__name__))

    @property
    def precision(self) -> str:
        """The precision class of the vectors. Compare only vectors of the same class."""
        return self.backend.precision

    def release(self) -> None:
        """Free the backend's memory, if it can compile the model again at the next call; else do nothing."""
        if hasattr(self.backend, "release"):
            self.backend.release()

    def encode(
        self, texts: Iterable[object], *, prompt: str | None = None, progress: Progress | None = None
    ) -> Float[np.ndarray, "n dim"]:
        """One embedding per text, fp32, in the order of `texts`.

        Parameters
        ----------
        texts
            Strings. A value that is not a usable text (None, empty, only whitespace, not a string) gets a row of NaN. Texts
            longer than the model's maximum are cut. A warning is logged with the number and the positions of both.
        prompt
            A name from the model's prompts, or a text, to put before every text. Default: the model's default.
        progress
            Called with (texts done, texts in all) from time to time.

        Returns
        -------
        embeddings
            (n, dim); (0, dim) for no texts; zeros for a text of which the tokenizer leaves no token. In fp32 a row depends
            on the other texts by less than 1e-5.

        Raises
        ------
        UnreadableInput
            If `texts` is a single string.
        UnsupportedModel
            If the model has no prompt of that name.

        Examples
        --------
        >>> vectors = Encoder.load().encode(["How do I pay?", "How do I pay?"])
        >>> bool((vectors[0] == vectors[1]).all())
        True
        """
        texts = as_list(texts)
        usable = _usable(texts)
        encoded = self.embed([str(texts[place]) for place in usable], prompt=prompt, progress=progress)
        self._log_cut(encoded.cut, usable, len(texts))
        if len(usable) == len(texts):
            return encoded.embeddings
        embeddings = np.full((len(texts), self.dim), np.nan, dtype=np.float32)
        embeddings[usable] = encoded.embeddings
        return embeddings

    def tokens(
        self, texts: Iterable[object], *, prompt: str | None = None, progress: Progress | None = None
    ) -> TokenVectors:
        """The vectors of all tokens of the texts, and the embeddings that the same forward pass pools from them.

        Takes 4 · dim bytes per token; give long lists in parts, and each text once: repeated ones are computed again.
        In fp32 both equal those of transformers to 1e-5.

        Parameters
        ----------
        texts, prompt, progress
            As for `encode`. A value that is not a usable text gets no tokens, and NaN as its embedding.

        Raises
        ------
        UnreadableInput
            If `texts` is a single string.
        UnsupportedModel
            If the model has no prompt of that name, or its backend gives no vectors of tokens.

        Examples
        --------
        >>> tokens = Encoder.load().tokens(["How do I pay?", "Where is it?"])
        >>> tokens.vectors.shape, tokens.lengths, tokens.embeddings.shape
        ((13, 384), array([7, 6]), (2, 384))
        """
        if not isinstance(self.backend, TokenBackend):
            raise UnsupportedModel(
                f"The backend {self.backend_name} gives no vectors of tokens: it has no tokens_many. "
                f"Use one of {', '.join(BACKENDS)}."
            )
        self.prompt_text(prompt)  # raises, before the slow work
        texts = as_list(texts)
        usable = _usable(texts)
        given = [str(texts[place]) for place in usable]
        parts = []
        for start, stop in calls_of(given):
            parts.append(self._tokens_of(given[start:stop], prompt=prompt))
            if progress:
                progress(stop, len(given))
        found = joined(parts or [self._tokens_of([], prompt=prompt)])
        self._log_cut(found.cut, usable, len(texts))
        return found if len(usable) == len(texts) else found.among(len(texts), usable)

    def _tokens_of(self, texts: Sequence[str], *, prompt: str | None) -> TokenVectors:
        """The vectors of usable texts that are tokenised in one call."""
        tokens, spans = self.tokenizer.with_spans(texts, self.prompt_text(prompt))
        vectors = np.empty((len(tokens.ids), self.dim), dtype=np.float32)
        embeddings = np.empty((len(texts), self.dim), dtype=np.float32)
        places, batches = self._batches(tokens)
        for rows, batch, (pooled, states) in zip(places, batches, self.backend.tokens_many(batches), strict=True):  # type: ignore[attr-defined]
            embeddings[rows] = pooled
            vectors[tokens.places(rows)] = states[batch[1] == 1]
        return TokenVectors(vectors, tokens.ids, spans, tokens.ends, embeddings, tokens.cut, tokens.unknown)

    def embed(self, texts: Sequence[str], *, prompt: str | None = None, progress: Progress | None = None) -> Encoded:
        """Embeddings of usable texts, and which were cut: `encode` without its checks and its log."""
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
        # If no text repeats, the rows are already in order: do not copy what may be gigabytes.
        return encoded if len(unique) == len(texts) else encoded[rows]

    def count_lost(self, texts: Iterable[str], *, prompt: str | None = None) -> tuple[int, int]:
        """How many of these usable texts would be cut, and how many have unknown characters. Only tokenises."""
        before = self.prompt_text(prompt)
        unique, rows = distinct(texts)
        parts = [self.tokenizer([before + text for text in unique[start:stop]]) for start, stop in calls_of(unique)]
        if not parts:
            return 0, 0
        cut, unknown = (
            np.concatenate(flags)[rows].sum() for flags in zip(*((p.cut, p.unknown) for p in parts), strict=True)
        )
        return int(cut), int(unknown)

    def is_cut(self, texts: Sequence[str], *, prompt: str | None = None) -> Bool[np.ndarray, " n"]:
        """Which of these usable texts the model does not read to their end. Only long ones are tokenised."""
        before = self.prompt_text(prompt)
        cut = np.zeros(len(texts), dtype=np.bool_)
        # No tokenizer makes more tokens than there are bytes; a few are special tokens.
        long = [
            row for row, text in enumerate(texts) if len((before + text).encode("utf-8", "surrogatepass")) > self._short
        ]
        for start, stop in calls_of([texts[row] for row in long]):
            cut[long[start:stop]] = self.tokenizer([before + texts[row] for row in long[start:stop]]).cut
        return cut

    @property
    def _short(self) -> int:
        return self.folder.max_length - 8

    def _asked(self, texts: Sequence[str], prompt: str) -> Iterator[tuple[slice, Tokens, Asked]]:
        """Parts of the texts, their tokens and pending embeddings. The next part is tokenised while a GPU computes."""
        ahead: deque[tuple[slice, Tokens, Asked]] = deque()
        n_ahead = int(getattr(self.backend, "offloads", False))
        for start, stop in calls_of(texts):
            tokens = self.tokenizer([prompt + text for text in texts[start:stop]])
            ahead.append((slice(start, stop), tokens, self._ask(tokens)))
            if len(ahead) > n_ahead:
                yield ahead.popleft()
        yield from ahead

    def _ask(self, tokens: Tokens) -> Asked:
        """Start the backend. Gives rows and their embeddings, batch by batch."""
        places, batches = self._batches(tokens)
        return zip(places, self.backend.embed_many(batches), strict=True)

    def _batches(self, tokens: Tokens) -> tuple[list[Int[np.ndarray, " m"]], list[Batch]]:
        """The rows of each batch, and the batches as the backend takes them."""
        places = list(batches_of(tokens.lengths, self.backend.token_budget, self.backend.padding_budget))
        return places, [tokens.padded(rows, self.tokenizer.pad_id()) for rows in places]

    def _log_cut(self, cut: Bool[np.ndarray, " m"], usable: Sequence[int], n: int) -> None:
        if cut.any():
            rows = [usable[place] for place in np.flatnonzero(cut).tolist()]
            limit = self.folder.max_length
            logger.warning("%d of %d texts exceed %d tokens and were cut: positions %s", len(rows), n, limit, few(rows))

    def prompt_text(self, prompt: str | None) -> str:
        """The text to put before every text: that of the named prompt, or else the model's default.

        Raises `UnsupportedModel` if the model has no prompt of that name.
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


def _usable(texts: Sequence[object]) -> list[int]:
    """The positions of usable texts; those of others are logged."""
    usable = [place for place, text in enumerate(texts) if not fault_of(text)]
    if len(usable) < len(texts):
        wrong = sorted(set(range(len(texts))) - set(usable))
        logger.warning("%d of %d texts are unusable and get NaN: positions %s", len(wrong), len(texts), few(wrong))
    return usable


def _read_again(folder: Path, backend: str, device: str | None, dtype: str) -> Encoder:
    return Encoder(read_folder(folder), backend, device=device, dtype=dtype)


class RememberingEncoder(Encoder):
    """An encoder that remembers embeddings, and does not encode a text that it remembers again.

    Several threads may share it. Unpickling gives the plain encoder. Texts are recognised by a hash of 128 bits and not kept,
    so a long text takes no more memory than a short one.

    Parameters
    ----------
    encoder
        The encoder whose tokenizer and backend are used.
    n_texts
        Remember between half and all of this many texts, the most recent ones. Each takes 4 · dim + 300 bytes.

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
