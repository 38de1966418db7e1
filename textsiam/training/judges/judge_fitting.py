"""Fits a judge: the network that corrects cosine, on labelled pairs of several data sets at once.

Each data set has its own slope and offset from cosine to log-odds, so that the network learns what all sets share, and not which
set a pair comes from. The judge keeps their means. Several nets are fitted, one after another, from different first weights and
in different orders; what they agree on counts. Token vectors are computed once and kept in half precision; so is what the judge
holds, so that a judge that was saved and loaded says the same to the bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, gelu

from textsiam.data.pairs import Pairs
from textsiam.encoding.encoder import Encoder, Progress
from textsiam.errors import UnreadableInput
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.judging.network import Network, Weights
from textsiam.scoring.judging.pair_blocks import Block, Side
from textsiam.training.judges.judge_adapting import told_of
from textsiam.training.judges.judge_pairs import JudgePairs, halved

N_PAIRS_A_STEP, N_PAIRS_A_POOL = 64, 2_048  # the pairs of a step are of similar length: neighbours in a sorted pool
WIDTHS = {"project": 96, "compare": 96, "join": 64}
# Units are scaled to the norm of MiniLM's token vectors.
_START = {"slope": 8.0, "cosine": 0.7, "sharpness": 10.0, "norm": 5.0}


@dataclass(frozen=True, eq=False)
class _Net:
    """One net as it was fitted, with its own slope and offset from cosine to log-odds."""

    weights: dict[str, Weights]
    slope: float
    offset: float


def fit_network_judge(
    encoder: Encoder,
    sets: Mapping[str, Pairs] | JudgePairs,
    *,
    weights: Mapping[str, float] | None = None,
    share: float = 0.4,
    n_nets: int = 3,
    n_epochs: int = 3,
    learning_rate: float = 2e-3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Judge:
    """A judge for this encoder, fitted on these data sets.

    Parameters
    ----------
    encoder
        Gives the vectors; it does not change.
    sets
        Name → pairs with labels, or with scores from 0 to 1 that count as the probability of the same meaning; or what
        `JudgePairs.of` made of them. A set of n pairs weighs as √n: large sets do not drown small ones.
    weights
        Name of a set → how many times as much it weighs; 1 for those that are not named.
    share
        How much of what the network says the judge adds to cosine's log-odds, in [0, 1].
    n_nets
        How many nets must agree; time grows with them.
    n_epochs, learning_rate
        Of each net, by AdamW with one cycle.
    seed
        Of the first weights and the order of pairs.
    progress
        Called with (steps done, steps in all).

    Raises
    ------
    UnreadableInput
        If there are no pairs, a set has neither labels nor scores in [0, 1], all its pairs mean the same or all do not, or
        `weights` names a set that is not there.
    UnsupportedModel
        If the encoder's backend gives no vectors of tokens.

    Examples
    --------
    >>> from textsiam.data.readers import read_pairs
    >>> from textsiam.samples import PAIRS
    >>> judge = fit_network_judge(Encoder.load(), {"samples": read_pairs(PAIRS)}, n_epochs=1)
    >>> judge.share, judge.card["sets"]["samples"]["pairs"] == len(read_pairs(PAIRS))
    (0.4, True)
    """
    of = sets if isinstance(sets, JudgePairs) else JudgePairs.of(encoder, sets)
    weights = weights or {}
    if unknown := {*weights} - {*of.names}:
        raise UnreadableInput(
            f"Weights are given for {sorted(unknown)}, but the data sets are {list(of.names)}. Use their names."
        )
    columns, values = of.features()
    begun = Judge(
        encoder=encoder.fingerprint,
        slope=_START["slope"],
        offset=0.0,
        share=share,
        rarity=of.rarity,
        columns=columns,
        means=halved(values.mean(0)),
        scales=halved(values.std(0) + np.float32(1e-6)),
        network=_network([_Module(encoder.dim, len(columns), 1).weights()]),
        card=_card(of, weights) | {"nets": n_nets, "epochs": n_epochs, "learning_rate": learning_rate, "seed": seed},
    )
    described = begun.described(dict(zip(columns, values.T, strict=True)))
    weighted = _weighted(of, weights)
    nets = []
    for net in range(n_nets):
        told = progress and partial(_told, progress, net, n_nets)
        nets.append(_fit(of, described, weighted, n_epochs, learning_rate, seed * n_nets + net, told))
    return replace(begun, **_together(nets))


def tune_judge(
    judge: Judge,
    encoder: Encoder,
    pairs: Pairs | JudgePairs,
    *,
    share: float = 1.0,
    n_epochs: int = 2,
    learning_rate: float = 2e-3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Judge:
    """The judge with its network fitted further, on these pairs. What it knew of other kinds of text fades.

    Parameters are those of `fit_network_judge`, `judge` the one to begin with; its rarity, the scales of its features and its
    candidate threshold stay. How much the network counts is for pairs to say that it has not learnt: `textsiam.fit_judge`.

    Raises
    ------
    ValueError
        If the judge has no network, or one of other widths than those of this version.

    Examples
    --------
    >>> from textsiam import Siamese, read_pairs
    >>> from textsiam.samples import PAIRS
    >>> model = Siamese.load()
    >>> tuned = tune_judge(model.judge, model.encoder, read_pairs(PAIRS), n_epochs=1)
    >>> tuned.columns == model.judge.columns, tuned.card["tuned"]["epochs"]
    (True, 1)
    """
    network = judge.network
    if network is None or not can_tune(judge, encoder):
        raise ValueError("The judge has no network that can be fitted further. Fit a new one (family 'network').")
    of = JudgePairs.of(encoder, {"pairs": pairs}) if isinstance(pairs, Pairs) else pairs
    of = replace(of, rarity=judge.rarity)
    columns, values = of.features()
    described, weighted = judge.described(dict(zip(columns, values.T, strict=True))), _weighted(of, {})
    nets, n_nets = [], len(network.weights["out_bias"])
    for net in range(n_nets):
        start = _Net({name: of_all[net] for name, of_all in network.weights.items()}, judge.slope, judge.offset)
        follow = progress and partial(_told, progress, net, n_nets)
        nets.append(_fit(of, described, weighted, n_epochs, learning_rate, seed * n_nets + net, follow, start))
    told = {"pairs": len(of), "positive": round(float(of.targets.mean()), 4), "epochs": n_epochs}
    card = told_of(judge, "tuned", told | {"learning_rate": learning_rate, "seed": seed})
    return replace(judge, encoder=encoder.fingerprint, share=share, linear=None, card=card, **_together(nets))


def can_tune(judge: Judge | None, encoder: Encoder) -> bool:
    """Whether the judge has a network that `tune_judge` can begin with."""
    if judge is None or judge.network is None:
        return False
    module = _Module(encoder.dim, len(judge.columns), 1).weights()
    return all(weight.shape == judge.network.weights[name].shape[1:] for name, weight in module.items())


def _told(progress: Progress, net: int, n_nets: int, done: int, total: int) -> None:
    progress(net * total + done, n_nets * total)


def _network(nets: Sequence[Mapping[str, Weights]]) -> Network:
    return Network({name: halved(np.stack([net[name] for net in nets])) for name in nets[0]})


def _together(nets: Sequence[_Net]) -> dict[str, Any]:
    """What a judge holds of these. Log-odds of nets with other slopes are stretched to the slopes' mean."""
    slope = float(np.exp(np.mean([np.log(net.slope) for net in nets])))
    offset = float(np.mean([net.offset * slope / net.slope for net in nets]))
    stretched = [
        net.weights | {name: net.weights[name] * np.float32(slope / net.slope) for name in ("out", "out_bias")}
        for net in nets
    ]
    return {"slope": slope, "offset": offset, "network": _network(stretched)}


def _card(of: JudgePairs, weights: Mapping[str, float]) -> dict[str, Any]:
    rows = {of.names[number]: of.sets == number for number in np.unique(of.sets).tolist()}
    return {
        "sets": {
            name: {"pairs": int(at.sum()), "positive": float(of.targets[at].mean()), "weight": weights.get(name, 1.0)}
            for name, at in rows.items()
        }
    }


class _Module(nn.Module):
    """`textsiam.scoring.judging.network.Network` in PyTorch, with a slope and an offset for each data set."""

    def __init__(self, dim: int, n_features: int, n_sets: int, dropout: float = 0.1) -> None:
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
        found = gelu(self.compare(compared), approximate="tanh") * mask
        # What is dropped is dropped for all tokens of a text.
        found = found * self.dropout(found.new_ones(len(found), 1, found.shape[2]))
        return (weights * found).sum(1) / torch.from_numpy(side.n)[:, None].sqrt(), found.amax(1).clamp(min=0)

    def weights(self) -> dict[str, Weights]:
        """As the network takes them."""
        return {name: weight.detach().numpy().copy() for name, weight in self._by_name().items()}

    def begin(self, net: _Net) -> None:
        """Begin as this net was fitted, on every data set."""
        with torch.no_grad():
            for name, weight in self._by_name().items():
                weight.copy_(torch.as_tensor(net.weights[name]))
            self.slopes.fill_(net.slope)
            self.offsets.fill_(net.offset + net.slope * _START["cosine"])

    def _by_name(self) -> dict[str, Tensor]:
        found = {"project": self.project.weight.T, "sharpness": self.sharpness, "compare": self.compare.weight.T}
        found |= {"compare_bias": self.compare.bias, "join": self.join.weight.T, "join_bias": self.join.bias}
        return found | {"out": self.out.weight[0], "out_bias": self.out.bias[0]}


def _fit(
    of: JudgePairs,
    described: Float[np.ndarray, "k f"],
    weighted: Float[np.ndarray, " k"],
    n_epochs: int,
    learning_rate: float,
    seed: int,
    progress: Progress | None,
    start: _Net | None = None,
) -> _Net:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    module = _Module(of.words.units.shape[1], described.shape[1], len(of.names))
    if start is not None:
        module.begin(start)
    steps = [rows for _ in range(n_epochs) for rows in _steps(of, rng)]
    own = [module.slopes, module.offsets]
    shared = [weight for name, weight in module.named_parameters() if name not in ("slopes", "offsets")]
    optimizer = torch.optim.AdamW([{"params": shared, "weight_decay": 0.05}, {"params": own, "weight_decay": 0.0}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [learning_rate, 3e-2], total_steps=len(steps) + 1)
    module.train()
    for done, rows in enumerate(steps, 1):
        block = of.words.block(rows, of.left[rows], of.right[rows], of.rarity)
        sets = torch.from_numpy(of.sets[rows])
        cosines, targets, weight = (torch.from_numpy(values[rows]) for values in (of.cosines, of.targets, weighted))
        log_odds = (
            module.slopes[sets] * (cosines - _START["cosine"])
            + module.offsets[sets]
            + module(block, torch.from_numpy(described[rows]))
        )
        loss = (binary_cross_entropy_with_logits(log_odds, targets, reduction="none") * weight).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if progress:
            progress(done, len(steps))
    present = torch.from_numpy(np.unique(of.sets))
    slope = float(module.slopes.detach()[present].clamp(min=1).log().mean().exp())
    offset = float(module.offsets.detach()[present].mean()) - slope * _START["cosine"]
    return _Net(module.weights(), slope, offset)


def _weighted(of: JudgePairs, weights: Mapping[str, float]) -> Float[np.ndarray, " k"]:
    """The weight of each pair; 1 on average."""
    times = np.array([weights.get(name, 1.0) for name in of.names])
    found = times[of.sets] * np.bincount(of.sets)[of.sets] ** -0.5
    return np.asarray(found / found.mean(), dtype=np.float32)


def _steps(of: JudgePairs, rng: np.random.Generator) -> list[Int[np.ndarray, " m"]]:
    """The pairs of each step of one epoch: all pairs in random order, those of a step of similar length."""
    longest = np.maximum(of.words.n[of.left], of.words.n[of.right])
    steps = []
    for pool in np.array_split(rng.permutation(len(longest)), max(1, len(longest) // N_PAIRS_A_POOL)):
        ordered = pool[np.argsort(longest[pool], kind="stable")]
        steps += [ordered[start : start + N_PAIRS_A_STEP] for start in range(0, len(ordered), N_PAIRS_A_STEP)]
    return [steps[place] for place in rng.permutation(len(steps))]
