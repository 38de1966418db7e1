"""False certificates and certificates found, on made-up populations whose true precision is known: at least 2,000 draws each.

Four structures of dependence: independent pairs; 10 pairs a component (labels and scores resemble each other within it);
component sizes that grow with the score; sizes that depend on the label. Three populations: ``flat`` (precision half a
point below the level at every cut, so every certificate is false), ``rising``, ``noisy`` (rising, but the closest twentieth
is labelled wrongly now and then). A certificate is false where the true precision at its cut, of one pair drawn from each
component, is below the level. Beside ours: the same tests with all pairs taken as independent, the naive rule (the lowest cut
whose precision on the labels reaches the level), and MAPIE's controllers on all pairs (on fewer draws: they are slow).

    python benchmarks/certify_simulation.py [--draws 2000] [--mapie 200]
"""

import argparse
import time
import warnings

import numpy as np
from record import record

from textsiam.scoring.evidence.certification import certify_scores, draw
from textsiam.scoring.evidence.intervals import binomial_interval

SIZES, LEVELS, CONFIDENCE, SEED = (60, 200, 800), (0.80, 0.95), 0.95, 0
STRUCTURES = ("independent", "ten a component", "size by score", "size by label")
POPULATIONS = ("flat", "rising", "noisy")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=2_000)
    parser.add_argument("--mapie", type=int, default=200)
    asked = parser.parse_args()
    started, rows = time.perf_counter(), []
    for structure in STRUCTURES:
        for population in POPULATIONS:
            for level in LEVELS:
                for n in SIZES:
                    rows.append(setting(structure, population, level, n, asked.draws, asked.mapie))
                    print(rows[-1], flush=True)
    worst = {rule: max(row[rule]["false"][0] for row in rows if rule in row) for rule in rows[0] if rule in RULES}
    figures = dict(confidence=CONFIDENCE, draws=asked.draws, mapie_draws=asked.mapie, worst_false=worst, settings=rows)
    record(
        "certify_simulation",
        "False certificates are at most 5 % whatever depends on what; how often a threshold is found",
        figures | {"seconds": round(time.perf_counter() - started)},
        SEED,
    )


def setting(structure: str, population: str, level: float, n: int, n_draws: int, n_mapie: int) -> dict:
    rng = np.random.default_rng(
        [SEED, STRUCTURES.index(structure), POPULATIONS.index(population), round(100 * level), n]
    )
    truth = true_precision(structure, population, level)
    told: dict = {"structure": structure, "population": population, "level": level, "labels": n}
    outcomes: dict[str, list[tuple[bool, bool]]] = {name: [] for name in RULES}
    n_components = []
    for k in range(n_draws):
        scores, labels, components = sample(structure, population, level, n, rng)
        n_components.append(int(components.max()) + 1)
        for name, rule in RULES.items():
            if name.startswith("mapie") and k >= n_mapie:
                continue
            cut = rule(scores, labels, components, level) if 0 < labels.sum() < len(labels) else None
            outcomes[name].append((cut is not None, cut is not None and truth(cut) < level))
    for name, found in outcomes.items():
        if found:
            is_found, is_false = np.array(found).T
            told[name] = {
                "found": round(float(is_found.mean()), 4),
                "false": [round(bound, 4) for bound in binomial_interval(int(is_false.sum()), len(is_false))],
                "draws": len(found),
            }
    return told | {"components": round(float(np.mean(n_components)), 1)}


def sample(
    structure: str, population: str, level: float, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n labelled pairs: scores, labels, components."""
    base, shared = rng.random(n), rng.random(n)  # one of each a component; n are more than enough
    if structure == "independent":
        sizes = np.ones(n, dtype=int)
    elif structure == "ten a component":
        sizes = np.full(n, 10)
    elif structure == "size by score":
        sizes = 1 + rng.poisson(12 * base**2)
    else:
        sizes = np.where(shared < 0.5, 1 + rng.poisson(8, n), 1)  # a small `shared` makes its labels 1
    components = np.repeat(np.arange(n), sizes)[:n]
    scores = np.clip(base[components] + (sizes[components] > 1) * rng.normal(0, 0.03, n), 0, 1)
    own = np.where(rng.random(n) < 0.8, shared[components], rng.random(n))  # four in five share their component's fate
    own = own if structure != "independent" else shared[components]
    return scores, (own < chance(population, level, scores)).astype(int), components


def chance(population: str, level: float, scores: np.ndarray) -> np.ndarray:
    """P(label = 1 | score)."""
    if population == "flat":
        return np.full(len(scores), level - 0.005)
    rising = 0.995 / (1 + np.exp(-14 * (scores - 0.5)))
    return np.where(scores > 0.95, level - 0.02, rising) if population == "noisy" else rising


def true_precision(structure: str, population: str, level: float, n: int = 400_000):
    """The precision at or above a cut, of one pair drawn from each component, from a large sample's chances."""
    rng = np.random.default_rng(123)
    scores, labels, components = sample(structure, population, level, n, rng)
    rows = draw(components, n, 1)
    order = rows[np.argsort(-scores[rows])]
    if structure == "size by label":  # here size tells of the label, so the chance given the score is not all
        means = np.cumsum(labels[order]) / np.arange(1, len(order) + 1)
    else:
        means = np.cumsum(chance(population, level, scores[order])) / np.arange(1, len(order) + 1)
    ordered = -scores[order]
    return lambda cut: float(means[max(int(np.searchsorted(ordered, -cut, side="right")) - 1, 0)])


def ours(scores, labels, components, level):
    return certify_scores(scores, labels, components, level=level, confidence=CONFIDENCE).value


def as_independent(scores, labels, _components, level):
    return certify_scores(scores, labels, None, level=level, confidence=CONFIDENCE).value


def naive(scores, labels, _components, level):
    order = np.argsort(-scores)
    means = np.cumsum(labels[order]) / np.arange(1, len(order) + 1)
    reach = np.flatnonzero(means >= level)
    return float(scores[order[reach[-1]]]) if len(reach) else None


def mapie(method: str):
    def rule(scores, labels, _components, level):
        from mapie.risk_control import BinaryClassificationController

        def told(x):
            return np.column_stack([1 - x[:, 0], x[:, 0]])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            controller = BinaryClassificationController(
                told, "precision", level, confidence_level=CONFIDENCE, fwer_method=method
            )
            controller.calibrate(scores[:, None], labels)
        return controller.best_predict_param if len(controller.valid_predict_params) else None

    return rule


RULES = {
    "ours": ours,
    "as independent": as_independent,
    "naive": naive,
    "mapie bonferroni_holm": mapie("bonferroni_holm"),
    "mapie fixed_sequence": mapie("fixed_sequence"),
}

if __name__ == "__main__":
    main()
