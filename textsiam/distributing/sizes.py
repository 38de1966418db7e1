"""How the work is cut into tasks."""

from dataclasses import dataclass

_MOST_BYTES = 2 << 30  # a block's vectors


@dataclass(frozen=True)
class Sizes:
    """How the work is cut: texts a shard, vectors a block of the join, rows a part of the match table.

    Without a block's size it grows with the texts, from 8,192 vectors on, whatever the workers are, so that another cluster goes
    on with what one has done.
    """

    shard: int = 16_384
    block: int | None = None
    part: int = 1_048_576

    def block_of(self, n: int, dim: int = 384) -> int:
        """Vectors a block where there are n in all: about an eighth of them, at most 262,144; of very many a 512th, at most 2 GB.

        Examples
        --------
        >>> Sizes().block_of(1_000), Sizes().block_of(100_000), Sizes().block_of(10**7), Sizes().block_of(10**9)
        (8192, 16384, 262144, 1398101)
        """
        some, few = (1 << max(0, (n - 1) // parts).bit_length() for parts in (8, 512))
        return self.block or min(max(8_192, min(some, 262_144), few), _MOST_BYTES // (4 * dim))
