"""Fits a judge: the network that corrects cosine, on labelled pairs of several data sets at once.

Each data set has its own slope and offset from cosine to log-odds, so that the network learns what all sets share, and not which
set a pair comes from. The judge keeps their means. Token vectors are computed once and kept in half precision.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, gelu

from textsiam.data.pairs import Pairs
from textsiam.data.texts import distinct
from textsiam.encoding.encoder import Encoder, Progress
from textsiam.encoding.tokenizing import calls_of
from textsiam.errors import UnreadableInput
from textsiam.scoring.judging.alignment import features
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.judging.network import Network
from textsiam.scoring.judging.pair_blocks import Block, Side, Words, blocks

N_PAIRS_A_STEP, N_PAIRS_A_POOL = 64, 2_048  # the pairs of a step are of similar length: neighbours in a sorted pool
WIDTHS = {"project": 96, "compare": 96, "join": 64}
_START = {
    "slope": 8.0,
    "cosine": 0.7,
    "sharpness": 10.0,
    "norm": 5.0,
}  # the norm of MiniLM's token vectors: units are scaled to it


@dataclass(frozen=True, eq=False)
class _Material:
    """The pairs of all sets, one after another."""

    words: Words
    left: Int[np.ndarray, " k"]
    right: Int[np.ndarray, " k"]
    cosines: Float[np.ndarray, " k"]
    targets: Float[np.ndarray, " k"]
    sets: Int[np.ndarray, " k"]
    weights: Float[np.ndarray, " k"]


def fit_judge(
    encoder: Encoder,
    sets: Mapping[str, Pairs],
    *,
    share: float = 0.25,
    n_epochs: int = 3,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Judge:
    """A judge for this encoder, fitted on these data sets.

    Parameters
    ----------
    encoder
        Gives the vectors; it does not change.
    sets
        Name → pairs with labels, or with scores from 0 to 1 that count as the probability of the same meaning. A set of n pairs
        weighs as √n: large sets do not drown small ones.
    share
        How much of what the network says the judge adds to cosine's log-odds, in [0, 1].
    n_epochs, learning_rate
        Of the network, by AdamW with one cycle.
    seed
        Of the first weights and the order of pairs.
    progress
        Called with (steps done, steps in all).

    Raises
    ------
    UnreadableInput
        If there are no pairs, a set has neither labels nor scores in [0, 1], or all its pairs mean the same or all do not.
    UnsupportedModel
        If the encoder's backend gives no vectors of tokens.

    Examples
    --------
    >>> from textsiam.data.readers import read_pairs
    >>> from textsiam.samples import PAIRS
    >>> judge = fit_judge(Encoder.load(), {"samples": read_pairs(PAIRS)}, n_epochs=1)
    >>> judge.share, judge.card["sets"]["samples"]["pairs"] == len(read_pairs(PAIRS))
    (0.25, True)
    """
    targets = {name: _targets(name, pairs) for name, pairs in sets.items()}
    if not targets:
        raise UnreadableInput("A judge is fitted on labelled pairs, but none were given. Give at least one data set.")
    material, rarity = _material(encoder, sets, targets)
    columns, values = _features(material, rarity)
    means, scales = values.mean(0), values.std(0) + 1e-6
    torch.manual_seed(seed)
    module = _Module(encoder.dim, len(columns), len(sets))
    judge = Judge(
        encoder.fingerprint, _START["slope"], 0.0, share, rarity, columns, means, scales, Network(module.weights()), {}
    )
    described = judge.described(dict(zip(columns, values.T, strict=True)))
    _fit(module, material, rarity, described, n_epochs, learning_rate, seed, progress)
    slope = float(module.slopes.detach().clamp(min=1).log().mean().exp())
    offset = float(module.offsets.detach().mean()) - slope * _START["cosine"]
    card = {
        "sets": {name: {"pairs": len(pairs), "positive": float(targets[name].mean())} for name, pairs in sets.items()},
        "epochs": n_epochs, "learning_rate": learning_rate, "seed": seed,
    }  # fmt: skip
    return Judge(
        encoder.fingerprint,
        float(slope),
        float(offset),
        share,
        rarity,
        columns,
        means,
        scales,
        Network(module.weights()),
        card,
    )


def _targets(name: str, pairs: Pairs) -> Float[np.ndarray, " n"]:
    given = pairs.labels if pairs.labels is not None else pairs.scores
    if given is None or not len(pairs):
        raise UnreadableInput(
            f"The pairs of {name!r} have no labels. Give a column of 0 and 1, or of scores from 0 to 1."
        )
    targets = np.asarray(given, dtype=np.float32)
    if targets.min() < 0 or targets.max() > 1 or targets.min() == targets.max():
        raise UnreadableInput(
            f"A judge learns from targets between 0 and 1, of both kinds, but those of {name!r} lie in "
            f"[{targets.min():g}, {targets.max():g}]. Scale them, or add pairs of the other kind."
        )
    return targets


def _material(
    encoder: Encoder, sets: Mapping[str, Pairs], targets: Mapping[str, Float[np.ndarray, " n"]]
) -> tuple[_Material, Float[np.ndarray, " vocabulary"]]:
    """The pairs with the tokens of their texts, and how rare each token is among these texts."""
    first = [text for pairs in sets.values() for text in pairs.first]
    second = [text for pairs in sets.values() for text in pairs.second]
    texts, rows = distinct([*first, *second])
    left, right = rows[: len(first)], rows[len(first) :]
    embeddings = np.empty((len(texts), encoder.dim), dtype=np.float32)

    def parts() -> Iterator[Any]:
        for start, stop in calls_of(texts):
            tokens = encoder.tokens(texts[start:stop])
            embeddings[start:stop] = tokens.embeddings
            yield tokens

    words = Words.of(parts(), np.float16)
    owners = np.repeat(np.arange(len(texts)), words.n)
    held = np.unique(np.stack([owners, words.ids]), axis=1)[1]
    rarity = np.log((len(texts) + 1) / (np.bincount(held, minlength=int(words.ids.max(initial=0)) + 1) + 1))
    sizes = np.array([len(pairs) for pairs in sets.values()])
    which = np.repeat(np.arange(len(sets)), sizes)
    weights = sizes[which] ** -0.5
    return _Material(
        words, left, right, (embeddings[left] * embeddings[right]).sum(1), np.concatenate(list(targets.values())), which,
        (weights / weights.mean()).astype(np.float32),
    ), rarity.astype(np.float32)  # fmt: skip


def _features(
    of: _Material, rarity: Float[np.ndarray, " vocabulary"]
) -> tuple[tuple[str, ...], Float[np.ndarray, "k f"]]:
    columns: dict[str, Float[np.ndarray, " k"]] = {}
    for block in blocks(of.words, of.left, of.right, rarity):
        for name, found in features(block).items():
            columns.setdefault(name, np.zeros(len(of.left), dtype=np.float32))[block.rows] = found
    return tuple(columns), np.stack(list(columns.values()), axis=1)


class _Module(nn.Module):
    """`textsiam.scoring.judging.network.Network` in PyTorch, with a slope and an offset for each data set."""

    def __init__(self, dim: int, n_features: int, n_sets: int, dropout: float = 0.2) -> None:
        super().__init__()
        d, h, w = WIDTHS["project"], WIDTHS["compare"], WIDTHS["join"]
        self.project = nn.Linear(dim, d, bias=False)
        self.compare, self.join, self.out = nn.Linear(2 * d + 2, h), nn.Linear(2 * h + n_features, w), nn.Linear(w, 1)
        self.sharpness = nn.Parameter(torch.tensor(_START["sharpness"]))
        self.slopes, self.offsets = (
            nn.Parameter(torch.full((n_sets,), _START["slope"])),
            nn.Parameter(torch.zeros(n_sets)),
        )
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            self.project.weight *= _START["norm"]
            self.out.weight.zero_()  # the start is cosine alone
            self.out.bias.zero_()

    def forward(self, block: Block, described: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
        one, other = (self.project(torch.from_numpy(side.units)) for side in (block.left, block.right))
        cosines = torch.from_numpy(block.cosines)
        sides = (
            self._compared(block.left, one, other, cosines),
            self._compared(block.right, other, one, cosines.transpose(1, 2)),
        )
        (sum_one, top_one), (sum_other, top_other) = sides
        joined = torch.cat([sum_one + sum_other, torch.maximum(top_one, top_other), described], dim=1)
        log_odds: Tensor = self.out(self.dropout(gelu(self.join(joined), approximate="tanh")))
        return log_odds[:, 0]

    def _compared(
        self,
        side: Side,
        tokens: Float[Tensor, "b n d"],
        others: Float[Tensor, "b m d"],
        cosines: Float[Tensor, "b n m"],
    ) -> tuple[Float[Tensor, "b h"], Float[Tensor, "b h"]]:
        weights, mask = torch.from_numpy(side.weights)[..., None], torch.from_numpy(side.mask)[..., None]
        attention = torch.softmax((cosines * self.sharpness).masked_fill(cosines <= -1, -1e4), dim=2)
        mixture = attention @ others
        compared = torch.cat([tokens * mixture, (tokens - mixture).abs(), cosines.amax(2)[..., None], weights], dim=2)
        found = self.dropout(gelu(self.compare(compared), approximate="tanh")) * mask
        return (weights * found).sum(1) / torch.from_numpy(side.n)[:, None].sqrt(), found.amax(1).clamp(min=0)

    def weights(self) -> dict[str, Float[np.ndarray, "..."]]:
        """As the network takes them."""
        found = {"project": self.project.weight.T, "sharpness": self.sharpness, "compare": self.compare.weight.T}
        found |= {"compare_bias": self.compare.bias, "join": self.join.weight.T, "join_bias": self.join.bias}
        found |= {"out": self.out.weight[0], "out_bias": self.out.bias[0]}
        return {name: weight.detach().numpy().copy() for name, weight in found.items()}


def _fit(
    module: _Module,
    of: _Material,
    rarity: Float[np.ndarray, " vocabulary"],
    described: Float[np.ndarray, "k f"],
    n_epochs: int,
    learning_rate: float,
    seed: int,
    progress: Progress | None,
) -> None:
    rng = np.random.default_rng(seed)
    steps = [rows for _ in range(n_epochs) for rows in _steps(of, rng)]
    own = [module.slopes, module.offsets]
    shared = [weight for name, weight in module.named_parameters() if name not in ("slopes", "offsets")]
    optimizer = torch.optim.AdamW([{"params": shared, "weight_decay": 0.05}, {"params": own, "weight_decay": 0.0}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [learning_rate, 3e-2], total_steps=len(steps) + 1)
    module.train()
    for done, rows in enumerate(steps, 1):
        block = of.words.block(rows, of.left[rows], of.right[rows], rarity)
        sets = torch.from_numpy(of.sets[rows])
        cosines, targets, weights = (torch.from_numpy(values[rows]) for values in (of.cosines, of.targets, of.weights))
        log_odds = (
            module.slopes[sets] * (cosines - _START["cosine"])
            + module.offsets[sets]
            + module(block, torch.from_numpy(described[rows]))
        )
        loss = (binary_cross_entropy_with_logits(log_odds, targets, reduction="none") * weights).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if progress:
            progress(done, len(steps))
    module.eval()


def _steps(of: _Material, rng: np.random.Generator) -> list[Int[np.ndarray, " m"]]:
    """The pairs of each step of one epoch: all pairs in random order, those of a step of similar length."""
    longest = np.maximum(of.words.n[of.left], of.words.n[of.right])
    steps = []
    for pool in np.array_split(rng.permutation(len(longest)), max(1, len(longest) // N_PAIRS_A_POOL)):
        ordered = pool[np.argsort(longest[pool], kind="stable")]
        steps += [ordered[start : start + N_PAIRS_A_STEP] for start in range(0, len(ordered), N_PAIRS_A_STEP)]
    return [steps[place] for place in rng.permutation(len(steps))]
