"""The judge: cosine's log-odds, corrected by what the tokens of both texts say."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from textsiam.encoding.token_vectors import TokenVectors
from textsiam.errors import BrokenModel, EncoderMismatch
from textsiam.scoring.judging.alignment import features
from textsiam.scoring.judging.network import Network
from textsiam.scoring.judging.pair_blocks import Block, Rows, Words, blocks
from textsiam.scoring.similarity import scores_of

VERSION = 1
_TABLES = ("rarity", "means", "scales")
_WIDEST = 4  # a feature counts as at most this many standard deviations from its mean


@dataclass(frozen=True, eq=False)
class Judge:
    """Log-odds that two texts mean the same, from their embeddings and the vectors of their tokens.

    log-odds = slope · cosine + offset + share · network(tokens, alignment) + linear · alignment. Cosine is the start, and what was learnt only
    corrects it: on texts unlike those of the fitting, a judge that replaces cosine loses more than it gains (benchmarks/LOG.md).
    The network is several nets, and only what all of them say counts.

    Parameters
    ----------
    encoder
        The fingerprint of the encoder whose vectors it reads.
    slope, offset
        Cosine → log-odds.
    share
        How much of the network's correction counts, from 0 (cosine alone) to 1.
    rarity
        (vocabulary,) fp32: how rare each token is, as the logarithm of the inverse share of texts that hold it.
    columns, means, scales
        The names of the alignment's features, and each one's mean and standard deviation over the pairs of the fitting.
    network
        See `textsiam.scoring.judging.network.Network`; None: the judge has no network.
    card
        What it was fitted on, as plain values.
    candidates
        The lowest cosine of a pair that it accepts: a search reads no pair below it.
    linear
        (f,) what each feature adds, in standard deviations from its mean; None: nothing.

    Examples
    --------
    >>> weights = {name: np.zeros(shape, np.float32) for name, shape in {
    ...     "project": (1, 384, 2), "sharpness": 1, "compare": (1, 6, 3), "compare_bias": (1, 3), "join": (1, 7, 4),
    ...     "join_bias": (1, 4), "out": (1, 4), "out_bias": 1}.items()}
    >>> from textsiam.encoding.encoder import Encoder
    >>> encoder = Encoder.load()
    >>> one = np.ones(1, np.float32)
    >>> judge = Judge(encoder.fingerprint, 8, -6, 0.25, one, ("inversions",), one, one, Network(weights), {})
    >>> judge(encoder.tokens(["How do I pay?"]), np.array([0]), np.array([0])).round(3)
    array([2.], dtype=float32)
    """

    encoder: str
    slope: float
    offset: float
    share: float
    rarity: Float[np.ndarray, " vocabulary"]
    columns: tuple[str, ...]
    means: Float[np.ndarray, " f"]
    scales: Float[np.ndarray, " f"]
    network: Network | None
    card: dict[str, Any]
    candidates: float = -1.0
    linear: Float[np.ndarray, " f"] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that its log-odds depend on."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def __call__(self, tokens: TokenVectors, left: Rows, right: Rows) -> Float[np.ndarray, " k"]:
        """The log-odds of the pairs of texts ``left[i]``, ``right[i]``, (k,) fp32; NaN where a text was unusable.

        Swapping the texts changes nothing.
        """
        cosines = scores_of("cosine", tokens.embeddings, tokens.embeddings, left, right)
        # One order for each pair, so that rounding is the same whichever way it is given.
        ranks = _ranks(tokens)
        first, second = (np.where(ranks[left] <= ranks[right], *both) for both in ((left, right), (right, left)))
        return self.log_odds(cosines, Words.of([tokens]), first, second)

    def log_odds(
        self, cosines: Float[np.ndarray, " k"], words: Words, left: Rows, right: Rows
    ) -> Float[np.ndarray, " k"]:
        """The same, of cosines and words that are at hand; swapping the texts may change rounding."""
        corrections = np.zeros(len(left), dtype=np.float32)
        for block, told, described in self._blocks(words, left, right):
            corrections[block.rows] = self.share * told
            if self.linear is not None:
                corrections[block.rows] += described @ self.linear
        return np.asarray(self.slope * cosines + self.offset + corrections).astype(np.float32)

    def _blocks(
        self, words: Words, left: Rows, right: Rows
    ) -> Iterator[tuple[Block, Float[np.ndarray, " b"], Float[np.ndarray, "b f"]]]:
        """Each block of pairs with what the network says and the features as it takes them."""
        has_network = self.network is not None and self.share
        for block in blocks(words, left, right, self.rarity) if has_network or self.linear is not None else ():
            described = self.described(features(block))
            yield block, self._told(block, described), described

    def _told(self, block: Block, described: Float[np.ndarray, "b f"]) -> Float[np.ndarray, " b"]:
        if self.network is None or not self.share:
            return np.zeros(len(block.rows), dtype=np.float32)
        return self.network(block, described)

    def parts(self, words: Words, left: Rows, right: Rows) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k f"]]:
        """What the network says of each pair before its share, and the features as it takes them: what adapting fits on."""
        told, described = (
            np.zeros(len(left), dtype=np.float32),
            np.zeros((len(left), len(self.columns)), dtype=np.float32),
        )
        for block in blocks(words, left, right, self.rarity):
            described[block.rows] = self.described(features(block))
            told[block.rows] = self._told(block, described[block.rows])
        return told, described

    def described(self, found: dict[str, Float[np.ndarray, " b"]]) -> Float[np.ndarray, "b f"]:
        """The features as the network takes them: in standard deviations from their means."""
        values = np.stack([found[name] for name in self.columns], axis=1)
        return np.asarray(np.clip((values - self.means) / self.scales, -_WIDEST, _WIDEST)).astype(np.float32)

    def check(self, fingerprint: str) -> None:
        """Raise `EncoderMismatch` if the judge reads the vectors of another encoder."""
        if fingerprint != self.encoder:
            raise EncoderMismatch(
                f"The judge was fitted to the encoder {self.encoder[:12]}…, but this one is {fingerprint[:12]}…, whose vectors "
                "mean something else. Fit a judge for it."
            )

    def to_bytes(self) -> bytes:
        """The judge as a safetensors file: weights and tables in fp16, all else as JSON in its metadata."""
        from safetensors.numpy import save

        tables = {name: getattr(self, name) for name in _TABLES} | dict(self.network.weights if self.network else {})
        tables |= {} if self.linear is None else {"linear": self.linear}
        about = {
            name: getattr(self, name)
            for name in ("encoder", "slope", "offset", "share", "columns", "card", "candidates")
        }
        halves = {name: np.asarray(values, dtype=np.float16, order="C") for name, values in tables.items()}
        return bytes(save(halves, {"judge": json.dumps(about | {"version": VERSION})}))

    @classmethod
    def from_file(cls, file: Path) -> "Judge":
        """The judge that `to_bytes` wrote.

        Raises
        ------
        BrokenModel
            If the file cannot be read, or is of a version that this textsiam does not know.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "numpy") as content:
                about = json.loads(content.metadata()["judge"])
                version = about.pop("version")
                values = {name: content.get_tensor(name).astype(np.float32) for name in content.keys()}  # noqa: SIM118
            tables = {name: values.pop(name) for name in _TABLES} | {"linear": values.pop("linear", None)}
            columns = tuple(about.pop("columns"))
            judge = cls(**about, columns=columns, **tables, network=Network(values) if values else None)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise BrokenModel(f"The judge in {file} cannot be read: {error}. Fit it again.") from error
        if version != VERSION:
            raise BrokenModel(
                f"The judge in {file} is of version {version}, but this textsiam reads {VERSION}. Fit it again."
            )
        return judge


def _ranks(tokens: TokenVectors) -> Rows:
    """A number for each text; texts with the same tokens have the same."""
    keys = [tokens.ids[tokens.of(row)].tobytes() for row in range(len(tokens))]
    return np.unique(np.array(keys, dtype=object), return_inverse=True)[1]
