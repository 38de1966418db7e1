"""Text → token ids, and which texts lose something: ends beyond the maximum length, characters without a token.

Also decides which texts are tokenised in one call, and which are computed in one batch. Embeddings are the work of a backend.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from tokenizers import Encoding, normalizers
from tokenizers import Tokenizer as RustTokenizer

from textsiam.encoding.model_folder.folder import read_object
from textsiam.errors import BrokenModel, UnsupportedModel

Batch = tuple[Int[np.ndarray, "_ _"], Int[np.ndarray, "_ _"]]  # padded ids, and a mask: 1 where a token is

# Texts tokenised in one call: enough to keep the tokenizer's threads busy, few enough to show progress. Long texts are
# limited by their characters, because the tokenizer holds about a hundred bytes per token, cut or not.
N_TEXTS_A_CALL, N_CHARACTERS_A_CALL = 8_192, 2_000_000

_FEW = 8  # with this many texts or fewer, starting the tokenizer's threads takes longer than they save


@dataclass(frozen=True)
class Tokens:
    """Token ids of n texts one after another, where each text ends, which were cut, and which have an unknown token.

    One flat array: for questions, a list of lists takes three times the memory.
    """

    ids: Int[np.ndarray, " total"]
    ends: Int[np.ndarray, " n"]
    cut: Bool[np.ndarray, " n"]
    unknown: Bool[np.ndarray, " n"]

    @cached_property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Number of tokens of each text, with special tokens."""
        return np.diff(self.ends, prepend=0)

    def padded(
        self, rows: Int[np.ndarray, " m"], pad_id: int
    ) -> tuple[Int[np.ndarray, "m length"], Int[np.ndarray, "m length"]]:
        """The ids of these texts as one array, padded on the right, and its mask (1 where a token is)."""
        lengths = self.lengths[rows]
        mask = np.arange(max(1, lengths.max())) < lengths[:, None]
        ids = np.full(mask.shape, pad_id, dtype=np.int64)
        ids[mask] = self.ids[self.places(rows)]
        return ids, mask.astype(np.int64)

    def places(self, rows: Int[np.ndarray, " m"]) -> Int[np.ndarray, " k"]:
        """Where the tokens of these texts stand in `ids`, text after text."""
        return places_of(self.ends[rows], self.lengths[rows])


class Tokenizer:
    """A model's own tokenizer, read from `folder` by the `tokenizers` library.

    If there is no ``tokenizer.json``, or ``tokenizer_config.json`` overrides its normalisation, transformers converts the
    folder's tokenizer. Texts of more than `max_length` tokens, with special tokens, are cut on the right, or on the left if the
    tokenizer's ``truncation_side`` says so. `lowercase` lower-cases before the model's own normalisation.

    Raises `BrokenModel` if ``tokenizer.json`` cannot be read or has ids without an embedding in the model, or if `max_length`
    leaves no room for text; `UnsupportedModel` if the folder's tokenizer has no fast form.
    """

    def __init__(self, folder: Path, max_length: int, *, lowercase: bool = False) -> None:
        self._tokenizer = _read(folder)
        self.max_length = max_length
        if lowercase:
            own = self._tokenizer.normalizer
            self._tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own else [])])
        _check(self._tokenizer, folder, max_length)
        found = (self._tokenizer.token_to_id(token) for token in ("[UNK]", "<unk>"))
        self._unknown_ids = np.array([token for token in found if token is not None], dtype=np.int32)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length, direction=_side(self._tokenizer, folder))

    def __call__(self, texts: list[str]) -> Tokens:
        """Token ids of the texts. A text without tokens of its own keeps the special tokens."""
        if len(texts) <= _FEW:
            encodings = [self._tokenizer.encode(text) for text in texts]
        else:
            encodings = self._tokenizer.encode_batch_fast(texts)
        return self._tokens(encodings)

    def _tokens(self, encodings: Sequence[Encoding]) -> Tokens:
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32, int(lengths.sum()))
        # Only texts of max_length tokens can have overflow. Reading `overflowing` copies it.
        cut = np.fromiter(
            (len(encoding) >= self.max_length and bool(encoding.overflowing) for encoding in encodings),
            np.bool_,
            len(encodings),
        )
        owner = np.repeat(np.arange(len(encodings)), lengths)
        is_unknown = (ids[:, None] == self._unknown_ids).any(1)  # faster than np.isin for one or two ids
        unknown = np.bincount(owner[is_unknown], minlength=len(encodings)) > 0
        return Tokens(ids, lengths.cumsum(), cut, unknown)

    def with_spans(self, texts: Sequence[str], before: str = "") -> tuple[Tokens, Int[np.ndarray, "total 2"]]:
        """The tokens of the texts, with `before` before each; and first and last character (exclusive) of each token.

        The characters are counted without `before`. They are (0, 0) for tokens that stand for none of the text: special ones, and
        those of `before`.
        """
        encodings = self._tokenizer.encode_batch([before + text for text in texts])  # the fast form leaves them out
        places = [place for encoding in encodings for place in encoding.offsets]
        spans = np.array(places, dtype=np.int32).reshape(-1, 2) - len(before)
        return self._tokens(encodings), np.where(spans[:, 1:] > 0, np.maximum(spans, 0), 0)

    def pad_id(self) -> int:
        """The id of the padding token, or 0 if there is none: masked places are never read."""
        for token in ("[PAD]", "<pad>", "<|padding|>"):
            if (found := self._tokenizer.token_to_id(token)) is not None:
                return found
        return 0


def _read(folder: Path) -> RustTokenizer:
    file = folder / "tokenizer.json"
    if file.exists():
        try:
            tokenizer = RustTokenizer.from_file(str(file))
        except Exception as error:  # noqa: BLE001  the Rust side raises bare Exception
            raise BrokenModel(f"{file} cannot be read: {error}. Restore it from the model's source.") from None
        if _agrees(tokenizer, folder):
            return tokenizer
    from transformers import AutoTokenizer

    try:
        whole = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001  wrong values raise errors of any type
        raise BrokenModel(
            f"{folder} has no tokenizer that transformers can read: {error}. Restore its tokenizer files."
        ) from None
    if (found := getattr(whole, "backend_tokenizer", None)) is None:
        raise UnsupportedModel(
            f"The tokenizer in {folder} has no fast form. Save it as tokenizer.json with transformers."
        )
    return RustTokenizer.from_str(found.to_str())


def _agrees(tokenizer: RustTokenizer, folder: Path) -> bool:
    """Whether ``tokenizer.json`` normalises as transformers would.

    transformers 5 builds the normaliser of BERT's tokenizers again from ``tokenizer_config.json``, so that an edited
    ``do_lower_case`` wins over ``tokenizer.json``. If the two files differ, transformers decides, which takes longer.
    """
    config = read_object(folder / "tokenizer_config.json", {})
    own = tokenizer.normalizer
    if not isinstance(own, normalizers.BertNormalizer):
        return config.get("tokenizer_class") not in ("BertTokenizer", "BertTokenizerFast")
    return (own.lowercase, own.strip_accents, own.handle_chinese_chars) == (
        config.get("do_lower_case", True),
        config.get("strip_accents"),
        config.get("tokenize_chinese_chars", True),
    )


def _side(tokenizer: RustTokenizer, folder: Path) -> str:
    """The side on which long texts are cut, from ``tokenizer_config.json``, else ``tokenizer.json``, else right."""
    file = folder / "tokenizer_config.json"
    side = read_object(file, {}).get("truncation_side") or (tokenizer.truncation or {}).get("direction", "right")
    if side not in ("left", "right"):
        raise BrokenModel(f"{file} cuts on the side {side!r}. Set truncation_side to left or right.")
    return str(side)


def _check(tokenizer: RustTokenizer, folder: Path, max_length: int) -> None:
    n_special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if max_length <= n_special:
        raise BrokenModel(
            f"The model in {folder} reads at most {max_length} tokens, of which {n_special} are special: no room for text. "
            "Set a larger max_seq_length."
        )
    # The embedding table has vocab_size rows: transformers refuses weights of another size.
    n_rows = read_object(folder / "config.json", {}).get("vocab_size")
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if isinstance(n_rows, int) and largest >= n_rows:
        raise BrokenModel(
            f"The tokenizer in {folder} gives token ids up to {largest}, but the embedding table has {n_rows} rows "
            "(vocab_size in config.json). Restore tokenizer.json and config.json from the same model."
        )


def places_of(ends: Int[np.ndarray, " m"], lengths: Int[np.ndarray, " m"]) -> Int[np.ndarray, " k"]:
    """The places of the tokens of texts with these ends and lengths in one flat array, text after text.

    Examples
    --------
    >>> places_of(np.array([9, 3]), np.array([2, 3]))
    array([7, 8, 0, 1, 2])
    """
    before = lengths.cumsum() - lengths  # number of tokens in earlier texts
    return np.repeat(ends - lengths - before, lengths) + np.arange(lengths.sum())


def batches_of(
    lengths: Int[np.ndarray, " n"], token_budget: int, padding_budget: int
) -> Iterator[Int[np.ndarray, " m"]]:
    """Rows of each batch, longest first: rows of similar length, within both budgets.

    All batches but the last have a round number of rows (`rounded_down`), because every new shape costs a backend time and
    memory.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        rows = order[start : start + max(1, token_budget // longest)]
        size = int(np.searchsorted(np.cumsum(longest - lengths[rows]), padding_budget, side="right"))
        if start + size < len(order):
            size = rounded_down(size)
        yield rows[:size]
        start += size


def rounded_down(n: int) -> int:
    """The largest of 1, 2, 4 and the multiples of 8 that is not above `n`.

    Examples
    --------
    >>> [rounded_down(n) for n in (1, 3, 7, 8, 30)]
    [1, 2, 4, 8, 24]
    """
    return n - n % 8 if n >= 8 else 1 << (n.bit_length() - 1)  # noqa: PLR2004


def rounded_up(n: int) -> int:
    """The smallest of 1, 2, 4 and the multiples of 8 that is not below `n`.

    Examples
    --------
    >>> [rounded_up(n) for n in (1, 3, 7, 8, 30)]
    [1, 4, 8, 8, 32]
    """
    return -(-n // 8) * 8 if n > 4 else 1 << (n - 1).bit_length()  # noqa: PLR2004


def calls_of(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges (start, stop) of texts to tokenise together."""
    start = n_characters = 0
    for place, text in enumerate(texts):
        n_characters += len(text)
        if place - start == N_TEXTS_A_CALL or (n_characters > N_CHARACTERS_A_CALL and place > start):
            yield start, place
            start, n_characters = place, len(text)
    if len(texts):
        yield start, len(texts)
