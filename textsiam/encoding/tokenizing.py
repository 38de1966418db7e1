"""Text → token ids, with the count of texts that were cut to the model's maximum length."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import normalizers

from textsiam.errors import BrokenModel, UnsupportedModel


@dataclass(frozen=True)
class Tokens:
    """Token ids of n texts end to end, where each text ends, and which texts were cut.

    Flat, because a list of lists costs thirty times the memory of the ids themselves.
    """

    ids: Int[np.ndarray, " total"]
    ends: Int[np.ndarray, " n"]
    cut: Bool[np.ndarray, " n"]

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Tokens of each text, special tokens included."""
        return np.diff(self.ends, prepend=0)

    def padded(
        self, rows: Int[np.ndarray, " m"], pad_id: int
    ) -> tuple[Int[np.ndarray, "m length"], Int[np.ndarray, "m length"]]:
        """The ids of these texts as one array, padded on the right, and its mask (1 where a token is)."""
        lengths = self.lengths[rows]
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(mask.shape, pad_id, dtype=np.int64)
        starts = self.ends[rows] - lengths
        ids[mask] = np.concatenate(
            [self.ids[start : start + length] for start, length in zip(starts, lengths, strict=True)]
        )
        return ids, mask.astype(np.int64)


class Tokenizer:
    """A model's own tokenizer, read by the `tokenizers` library.

    Parameters
    ----------
    folder
        Where ``tokenizer.json`` is; without one, transformers converts what the folder has.
    max_length
        Longest sequence in tokens, special tokens included; longer texts are cut on the right.
    lowercase
        Lower-case before the model's own normalisation.

    Raises
    ------
    BrokenModel
        If ``tokenizer.json`` cannot be read.
    UnsupportedModel
        If the folder's tokenizer has no fast form.
    """

    def __init__(self, folder: Path, max_length: int, *, lowercase: bool = False) -> None:
        self._tokenizer = _read(folder)
        self.max_length = max_length
        if lowercase:
            own = self._tokenizer.normalizer
            self._tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own else [])])
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)

    def __call__(self, texts: list[str]) -> Tokens:
        """Token ids of the texts; a text that tokenises to nothing keeps its special tokens."""
        encodings = self._tokenizer.encode_batch_fast(texts)
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32, int(lengths.sum()))
        # A text of exactly max_length tokens has no overflow; asking the others for theirs would copy it.
        cut = np.fromiter(
            (len(encoding) >= self.max_length and bool(encoding.overflowing) for encoding in encodings),
            np.bool_,
            len(encodings),
        )
        return Tokens(ids, lengths.cumsum(), cut)

    def pad_id(self) -> int:
        """The id of the padding token; 0 where the tokenizer names none, for masked places are never read."""
        for token in ("[PAD]", "<pad>", "<|padding|>"):
            if (found := self._tokenizer.token_to_id(token)) is not None:
                return found
        return 0


def _read(folder: Path) -> RustTokenizer:
    file = folder / "tokenizer.json"
    if file.exists():
        try:
            return RustTokenizer.from_file(str(file))
        except Exception as error:  # noqa: BLE001  the Rust side raises bare Exception
            raise BrokenModel(f"{file} cannot be read: {error}. Restore it from where the model came from.") from None
    from transformers import AutoTokenizer

    try:
        found = getattr(AutoTokenizer.from_pretrained(str(folder), local_files_only=True), "backend_tokenizer", None)
    except (OSError, ValueError, KeyError) as error:
        raise BrokenModel(
            f"{folder} has no tokenizer that transformers can read: {error}. Restore its tokenizer files."
        ) from None
    if found is None:
        raise UnsupportedModel(
            f"The tokenizer in {folder} has no fast form. Save it once as tokenizer.json with transformers."
        )
    return RustTokenizer.from_str(found.to_str())
