"""Slices hold their traps, suspected labels are those that something speaks against, and the worst pairs are the worst."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from textsiam import Pairs, read_pairs
from textsiam.evaluation.evaluation import evaluate
from textsiam.evaluation.slices import SLICES, measure_slices
from textsiam.evaluation.suspects import contradictions, disputed, find_suspects
from textsiam.samples import PAIRS
from textsiam.scoring.evidence.scored_pairs import ScoredPairs, score_pairs


@pytest.fixture(scope="module")
def model(cosine):
    """Decides by cosine alone: what is tested here does not depend on what decides."""
    return cosine


@pytest.fixture(scope="module")
def samples():
    return read_pairs(PAIRS)


TRAPS = {
    "numbers differ": ("Is the fee 5 % today?", "Is the fee 15 % today?"),
    "negation differs": ("Can I log in?", "Why can I not log in?"),
    "names differ": ("Is it open in Paris now?", "Is it open in London now?"),
    "long": ("word " * 40, "word " * 30),
    "cut": ("very long indeed " * 200, "short"),
    "few common words": ("Where is my parcel?", "When does refunding happen"),
    "many common words": ("How do I pay my bill?", "how do I pay my bill"),
}


@pytest.mark.parametrize("name", list(SLICES))
def test_a_slice_holds_its_trap_and_not_the_plain_pairs(model, name):
    """Chosen by the texts, whatever their labels."""
    plain = [
        (f"How do I change the colour of button {k}?", f"How can I alter the colour of button {k}?")
        for k in "abcdefghij"
    ]
    first, second = zip(*plain, TRAPS[name], strict=True)
    mask = SLICES[name].mask(model, Pairs(first, second))
    assert mask.tolist() == [False] * 10 + [True]


@pytest.mark.parametrize("name", list(SLICES))
def test_no_pairs_make_empty_slices(model, name):
    """Nothing fails on nothing."""
    assert len(SLICES[name].mask(model, Pairs([], []))) == 0


def test_slices_have_the_figures_of_their_rows(model, samples):
    """As if those rows alone were judged."""
    scores = model.score(samples.first, samples.second)
    for one in measure_slices(model, score_pairs(model, samples), n_draws=5):
        rows = SLICES[one.name].mask(model, samples)
        assert (one.n, one.n_positive) == (rows.sum(), samples.labels[rows].sum())
        if one.n and 0 < one.n_positive < one.n:
            expected = oracle.average_precision_score(samples.labels[rows], scores[rows])
            assert one.metrics["average_precision"].value == pytest.approx(expected, abs=1e-5)


def scored_of(pairs):
    return ScoredPairs(pairs, np.full(len(pairs), 0.5, dtype=np.float32), np.zeros(len(pairs), dtype=np.int64))


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh"), st.booleans()), min_size=1, max_size=25
    )
)
def test_broken_chains_are_networkxs_shortest_paths(rows):
    """A negative is suspected if and only if positives connect its texts, and the chain is as short as any."""
    first, second, labels = zip(*rows, strict=True)
    pairs = Pairs(first, [text.upper() for text in second], labels=[int(label) for label in labels])
    graph = nx.Graph((a, b) for a, b, label in rows if label)
    graph.add_nodes_from([*first, *second])
    found = {suspect.row: suspect for suspect in contradictions(scored_of(pairs)) if suspect.label == 0}
    for row, (a, b, label) in enumerate(rows, 1):
        if label:
            continue
        assert (row in found) == nx.has_path(graph, a, b)
        if row not in found:
            continue
        suspect, n_steps = found[row], nx.shortest_path_length(graph, a, b)
        if suspect.kind == "chain":
            chain = [text.lower() for text in suspect.chain]
            assert (chain[0], chain[-1], len(chain) - 1, len(suspect.rows)) == (a, b, n_steps, n_steps)
            assert n_steps > 1
            for step, evidence in zip(pairwise(chain), suspect.rows, strict=True):
                assert rows[evidence - 1][2]
                assert set(step) == set(rows[evidence - 1][:2])
        else:
            assert suspect.kind == ("same_text" if n_steps == 0 and suspect.rows == () else "conflict")


def test_conflicts_name_each_other():
    """The same pair, in either order and case, labelled both ways: every row of it is suspect and names the others."""
    pairs = Pairs(["a", "B", "c"], ["b", " A", "d"], labels=[1, 0, 1])
    found = contradictions(scored_of(pairs))
    assert [(suspect.row, suspect.kind, suspect.rows) for suspect in found] == [
        (1, "conflict", (2,)),
        (2, "conflict", (1,)),
    ]
    assert "labelled 1 in row 1" in str(found[1])


def test_a_sure_model_disputes_labels(model):
    """Equal texts labelled 0 have a probability near 1; unrelated ones labelled 1 near 0; the surest first."""
    first = ["How do I pay by card?", "Where is my parcel now?", "How can I pay?"]
    second = ["How do I pay by card!", "My cat likes the old piano", "How do I pay?"]
    scored = score_pairs(model, Pairs(first, second, labels=[0, 1, 1]))
    found = disputed(scored, model)
    assert {suspect.row for suspect in found} <= {1, 2}
    assert 2 in {suspect.row for suspect in found}
    assert all("probability" in suspect.why for suspect in found)


def test_without_probabilities_only_what_lies_beyond_the_others_is_disputed():
    """And nothing where fewer than a hundred of the other label say where that is."""
    n = 120
    scores = np.concatenate([np.linspace(0.0, 0.5, n), np.linspace(0.5, 1, n)]).astype(np.float32)
    scores[[0, -1]] = 1.5, -0.5  # a negative above all positives, a positive below all negatives
    labels = np.repeat([0, 1], n)
    pairs = Pairs([f"a{k}" for k in range(2 * n)], [f"b{k}" for k in range(2 * n)], labels=labels)
    scored = ScoredPairs(pairs, scores, np.arange(2 * n))
    assert {suspect.row for suspect in find_suspects(scored)} == {1, 2 * n}
    few = np.r_[0:20, 2 * n - 20 : 2 * n]
    assert disputed(ScoredPairs(pairs.take(few), scores[few], few)) == []


def test_the_worst_are_the_closest_negatives_and_the_farthest_positives(model, samples):
    """Each with its explanation, which tells the same score."""
    told = evaluate(model, samples, n_draws=1, n_worst=3).worst
    scores = model.score(samples.first, samples.second)
    high = np.sort(scores[samples.labels == 0])[::-1][:3]
    low = np.sort(scores[samples.labels == 1])[:3]
    np.testing.assert_allclose([pair.score for pair in told], [*high, *low], atol=1e-5)
    for pair in told:
        assert (pair.first, pair.second) == (samples.first[pair.row - 1], samples.second[pair.row - 1])
        assert pair.explanation.score == pytest.approx(pair.score, abs=1e-4)
