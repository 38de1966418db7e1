"""Shards of texts → shards of vectors: one encoder a worker, which encodes each distinct text of its shards once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from textsiam.distributing.repeats import Repeats
from textsiam.distributing.sources import Shard
from textsiam.distributing.workspace import Workspace, key_of
from textsiam.encoding.encoder import Encoder
from textsiam.errors import EncoderMismatch
from textsiam.scoring.siamese import Siamese


@dataclass(frozen=True)
class Recipe:
    """How a worker makes its encoder, and what its vectors depend on.

    Parameters
    ----------
    source
        A folder or name that means the same on every machine; None for the default.
    fingerprint, precision
        Of the encoder that asks: a worker whose own differ refuses.
    """

    source: str | None
    backend: str
    device: str | None
    dtype: str | None
    prompt: str | None
    fingerprint: str
    precision: str

    @classmethod
    def of(
        cls, model: Siamese, source: str | None = None, *, device: str | None = None, prompt: str | None = None
    ) -> "Recipe":
        """The recipe for encoders like this model's.

        Parameters
        ----------
        source
            What workers shall load. Default: the folder of this model, which must be there on every machine.

        Raises
        ------
        ValueError
            If the model decides in int8: pairs near a threshold would have to be scored again across machines.
        """
        encoder = model.encoder
        if model.rescorer is not None or encoder.precision == "int8":
            raise ValueError("Several machines do not compute in int8. Name a dtype: float32 or bfloat16.")
        place = source or str(encoder.folder.path)
        return cls(
            place, encoder.backend_name, device, encoder.precision, prompt, encoder.fingerprint, encoder.precision
        )


class Encoded(NamedTuple):
    """A file of ``row`` (counted in the shard), ``embedding, cut, unknown, length`` in the workspace, and what it took."""

    name: str
    shard: Shard
    n: int  # distinct texts
    n_cut: int  # rows, repeats included
    n_unknown: int
    n_tokens: int
    seconds: float
    reused: bool


class ShardEncoder:
    """One encoder, made once in the worker's process.

    Raises
    ------
    EncoderMismatch
        If this machine's model or its precision is not that of the one who asks.
    """

    def __init__(self, work: Workspace, recipe: Recipe, repeats: Sequence[str]) -> None:
        self.work, self.recipe, self.repeats = work, recipe, Repeats(work, repeats)
        self.encoder = Encoder.load(recipe.source, backend=recipe.backend, device=recipe.device, dtype=recipe.dtype)
        own = (self.encoder.fingerprint, self.encoder.precision)
        if own != (recipe.fingerprint, recipe.precision):
            raise EncoderMismatch(
                f"This machine's model is {own[0][:12]} in {own[1]}, but {recipe.fingerprint[:12]} in {recipe.precision} was "
                "asked for. Put the same model on every machine, or name a dtype that all compute."
            )

    def encode(self, shard: Shard) -> Encoded:
        """Encode the shard's texts that did not come before, unless that is done."""
        started = time.perf_counter()
        distinct = self.repeats.distinct(shard.start, shard.stop)
        rows = shard.start + np.flatnonzero(distinct)
        sizes = self.repeats.groups(rows).sizes
        name = vectors_name(self.recipe, shard, rows)
        reused = name in self.work
        if not reused:
            texts = self.work.read(shard.name, "text")["text"]
            some = [text for text, first in zip(texts, distinct.tolist(), strict=True) if first]
            found = self.encoder.embed(some, prompt=self.recipe.prompt)
            columns = {
                "row": rows - shard.start,
                "embedding": found.embeddings,
                "cut": found.cut,
                "unknown": found.unknown,
            }
            self.work.write(name, {**columns, "length": found.lengths})
        told = self.work.read(name, "cut", "unknown", "length")
        n_cut, n_unknown = (int(sizes[told[what]].sum()) for what in ("cut", "unknown"))
        seconds = time.perf_counter() - started
        return Encoded(name, shard, len(rows), n_cut, n_unknown, int(told["length"].sum()), seconds, reused)


def vectors_name(recipe: Recipe, shard: Shard, rows: Any) -> str:
    """The file of a shard's vectors, by all that they depend on."""
    made = (recipe.fingerprint, recipe.precision, recipe.prompt)
    first = key_of(np.asarray(rows - shard.start).tolist())
    return f"vectors/{key_of(*made, shard.name, first)}.arrow"
