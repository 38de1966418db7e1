"""Shards of texts → shards of vectors: each process loads one encoder, and encodes each distinct text once."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from textsiam.arrays import Rows
from textsiam.data.texts import SetAside
from textsiam.distributing.shard_repeats import Repeats
from textsiam.distributing.shard_sources import Shard
from textsiam.distributing.tasks import FATAL
from textsiam.distributing.workspace import Workspace, key_of
from textsiam.encoding.encoder import Encoder
from textsiam.errors import EncoderMismatch
from textsiam.scoring.siamese import Siamese


@dataclass(frozen=True)
class Recipe:
    """How a worker loads its encoder, and what the vectors depend on.

    Parameters
    ----------
    source
        A folder or name that means the same on every machine; None is the default model.
    fingerprint, precision
        Of the encoder of the process that asks; a worker with others raises EncoderMismatch.
    """

    source: str | None
    backend: str
    device: str | None
    dtype: str | None
    prompt: str | None
    prompt_text: str
    fingerprint: str
    precision: str

    @classmethod
    def of(
        cls, model: Siamese, source: str | None = None, *, device: str | None = None, prompt: str | None = None
    ) -> "Recipe":
        """The recipe for the encoder of this model.

        Raises ValueError if the model computes in int8: pairs near a threshold would have to be scored again, across machines.
        Workers load `source`. Default: the folder of this model, which must exist on every machine.
        """
        encoder = model.encoder
        if model.rescorer is not None or encoder.precision == "int8":
            raise ValueError("Several machines do not compute in int8. Name a dtype: float32 or bfloat16.")
        place = source or str(encoder.folder.path)
        made = encoder.backend_name, device, encoder.precision, prompt, encoder.prompt_text(prompt)
        return cls(place, *made, encoder.fingerprint, encoder.precision)


class Encoded(NamedTuple):
    """A file of ``row`` (in the shard), ``embedding, cut, unknown, length`` in the workspace, and what it took."""

    name: str
    shard: Shard
    n: int  # distinct texts
    n_cut: int  # rows, repeats included
    n_unknown: int
    n_tokens: int
    dim: int
    seconds: float
    reused: bool


@dataclass(frozen=True)
class EncodedTexts:
    """The usable texts of all sources and their vectors, in files of a workspace; row numbers count the texts in order.

    Parameters
    ----------
    several
        Whether there are several sources; then ids start with the source's name.
    encoded
        The vectors of the distinct texts of each shard.
    repeats
        The files of rows that repeat an earlier text.
    n_renamed
        How many ids repeat an earlier one.
    mapping
        Which column of the first source has which role.
    """

    work: Workspace
    shards: list[Shard]
    several: bool
    encoded: list[Encoded]
    repeats: list[str]
    n_distinct: int
    set_aside: SetAside
    n_renamed: int
    mapping: dict[str, str]

    def __len__(self) -> int:
        return sum(shard.n for shard in self.shards)

    @property
    def n_cut(self) -> int:
        """Texts longer than the model's maximum."""
        return sum(of.n_cut for of in self.encoded)

    @property
    def n_unknown(self) -> int:
        """Texts with characters that the model does not know."""
        return sum(of.n_unknown for of in self.encoded)

    def of(self, rows: Rows, column: str = "id") -> list[str]:
        """The ids of these rows, or with another `column` their texts."""
        found = np.empty(len(rows), dtype=object)
        for place, mine in self.by_shard(rows):
            shard = self.shards[place]
            values = self.work.table(shard.name, column).column(column).take(rows[mine] - shard.start).to_pylist()
            before = f"{shard.source}:" if self.several and column == "id" else ""
            found[mine] = [before + value for value in values] if before else values
        return found.tolist()

    def by_shard(self, rows: Rows) -> Iterator[tuple[int, Rows]]:
        """The number of each shard that has some of these rows, and the places of those among them."""
        owner = np.searchsorted([shard.start for shard in self.shards], rows, side="right") - 1
        return ((number, np.flatnonzero(owner == number)) for number in np.unique(owner).tolist())


def encode_shard(work: Workspace, recipe: Recipe, repeats: Sequence[str], shard: Shard) -> Encoded:
    """Encode the texts of a shard that repeat no earlier text, unless the workspace holds their vectors already.

    Raises ValueError if a vector has a NaN or infinite number; EncoderMismatch or OSError as `encoder_of`.
    """
    started = time.perf_counter()
    encoder, known = encoder_of(recipe), Repeats(work, repeats)
    distinct = known.distinct(shard.start, shard.stop)
    rows = shard.start + np.flatnonzero(distinct)
    sizes = known.sizes(rows)
    name = vectors_name(recipe, shard, rows)
    reused = name in work
    if not reused:
        texts = work.read(shard.name, "text")["text"]
        some = [text for text, first in zip(texts, distinct.tolist(), strict=True) if first]
        found = encoder.embed(some, prompt=recipe.prompt)
        if len(wrong := np.flatnonzero(~np.isfinite(found.embeddings).all(1))):
            raise ValueError(
                f"the model gives {len(wrong):,} texts vectors with NaN or infinity, such as {some[wrong[0]]!r}"
            )
        columns = {"embedding": found.embeddings, "cut": found.cut, "unknown": found.unknown, "length": found.lengths}
        work.write(name, {"row": rows - shard.start, **columns})
    told = work.read(name, "cut", "unknown", "length")
    n_cut, n_unknown = (int(sizes[told[what]].sum()) for what in ("cut", "unknown"))
    seconds, n_tokens = time.perf_counter() - started, int(told["length"].sum())
    return Encoded(name, shard, len(rows), n_cut, n_unknown, n_tokens, encoder.dim, seconds, reused)


@lru_cache(maxsize=1)
def encoder_of(recipe: Recipe) -> Encoder:
    """The encoder of this process for a recipe: the first call loads it, later calls return it. It stays until the process ends.

    Raises EncoderMismatch if this machine's model, precision or prompt is not the recipe's; OSError if the encoder cannot be
    loaded for another reason, such as too little memory: another try may succeed.
    """
    try:
        encoder = load(recipe)
    except (*FATAL, OSError):
        raise
    except Exception as error:
        raise OSError(
            f"This machine cannot load the model: {error}. Free some memory, or use fewer workers."
        ) from error
    own = (encoder.fingerprint, encoder.precision)
    if own != (recipe.fingerprint, recipe.precision):
        raise EncoderMismatch(
            f"This machine's model is {own[0][:12]} in {own[1]}, but {recipe.fingerprint[:12]} in {recipe.precision} was "
            "asked for. Put the same model on every machine, or name a dtype that all of them compute."
        )
    if (before := encoder.prompt_text(recipe.prompt)) != recipe.prompt_text:
        raise EncoderMismatch(
            f"This machine's model puts {before!r} before a text, but {recipe.prompt_text!r} was asked for. Put the same "
            "model on every machine."
        )
    return encoder


def load(recipe: Recipe) -> Encoder:
    """A new encoder for a recipe, on any GPU that this process may use."""
    device = recipe.device and recipe.device.partition(":")[0]  # Ray shows a worker only its own GPU
    return Encoder.load(recipe.source, backend=recipe.backend, device=device, dtype=recipe.dtype)


def vectors_name(recipe: Recipe, shard: Shard, rows: Any) -> str:
    """The file of a shard's vectors; its name is a hash of all that they depend on."""
    made = (recipe.fingerprint, recipe.precision, recipe.prompt_text)
    first = key_of(np.asarray(rows - shard.start).tolist())
    return f"vectors/{key_of(*made, shard.name, first)}.arrow"
