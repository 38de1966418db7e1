"""The judge: alignment against brute force, the network against PyTorch, laws of symmetry and padding, files."""

from dataclasses import replace

import numpy as np
import pytest

from textsiam.arrays import N_ALONE, product
from textsiam.encoding.encoder import Encoder
from textsiam.errors import BrokenModel, EncoderMismatch
from textsiam.scoring.judging import pair_blocks
from textsiam.scoring.judging.alignment import features
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.judging.network import Network
from textsiam.scoring.judging.pair_blocks import Words, blocks

TEXTS = [
    "Is Anna taller than Bob?",
    "Is Bob taller than Anna?",
    "How do I reset my password?",
    "I forgot my password, how can I change it?",
    "How do I reset my password without the app?",
    "pay",
    "?",
    "Why is the train from Lima to Cusco late on Sundays, and whom can I ask about it?",
]
FIRST, SECOND = (side.ravel() for side in np.meshgrid(np.arange(len(TEXTS)), np.arange(len(TEXTS))))


@pytest.fixture(scope="module")
def encoder():
    """The embedded default in fp32."""
    return Encoder.load(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def tokens(encoder):
    """The tokens of all texts."""
    return encoder.tokens(TEXTS)


@pytest.fixture(scope="module")
def rarity():
    """A weight for each token, of no particular kind."""
    return np.random.default_rng(0).uniform(0.5, 9, 30_522).astype(np.float32)


@pytest.fixture(scope="module")
def judge(encoder, tokens, rarity):
    """A judge with random weights: what it says is nonsense, how it computes is not."""
    rng = np.random.default_rng(1)
    (some,) = blocks(Words.of([tokens]), np.array([0]), np.array([1]), rarity)
    columns = tuple(features(some))
    shapes = {"project": (2, 384, 6), "sharpness": (2,), "compare": (2, 14, 5), "compare_bias": (2, 5)}
    shapes |= {"join": (2, 10 + len(columns), 7), "join_bias": (2, 7), "out": (2, 7), "out_bias": (2,)}
    weights = {name: np.asarray(rng.normal(0, 0.5, shape), dtype=np.float32) for name, shape in shapes.items()}
    weights["sharpness"] += 9
    means, scales = (
        rng.normal(size=len(columns)).astype(np.float32),
        rng.uniform(0.5, 2, len(columns)).astype(np.float32),
    )
    return Judge(encoder.fingerprint, 8.0, -6.0, 0.5, rarity, columns, means, scales, Network(weights), {"sets": {}})


def of_all(tokens, rarity, first=FIRST, second=SECOND):
    """Every feature of every pair."""
    found = {}
    for block in blocks(Words.of([tokens]), first, second, rarity):
        for name, values in features(block).items():
            found.setdefault(name, np.zeros(len(first), np.float32))[block.rows] = values
    return found


def by_hand(tokens, rarity, a, b):
    """Some features of one pair, by loops over its tokens."""
    sides = []
    for row in (a, b):
        kept = np.flatnonzero(tokens.words[tokens.of(row)]) + tokens.of(row).start
        vectors = tokens.vectors[kept].astype(np.float64)
        sides.append((tokens.ids[kept], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)))
    (ids_a, one), (ids_b, other) = sides
    table = np.array([[x @ y for y in other] for x in one])
    best_a, best_b = table.argmax(1), table.argmax(0)
    mutual = [i for i in range(len(ids_a)) if best_b[best_a[i]] == i]
    crossed = sum(best_a[i] > best_a[j] for i in mutual for j in mutual if i < j)
    gaps = []
    for ids, best in ((ids_a, table.max(1)), (ids_b, table.max(0))):
        weights = rarity[ids]
        gaps.append((weights * (1 - best)).sum() / weights.sum())
    roles = [
        1 - max((table[i, j] for j in range(len(ids_b)) if ids_a[i] == ids_b[j]), default=1) for i in range(len(ids_a))
    ]
    n_pairs = len(mutual) * (len(mutual) - 1) // 2
    return {
        "gap_low": min(gaps),
        "gap_high": max(gaps),
        "inversions": crossed / max(n_pairs, 1),
        "shift": max((abs(i / len(ids_a) - best_a[i] / len(ids_b)) for i in mutual), default=0),
        "mutual_low": len(mutual) / max(len(ids_a), len(ids_b)),
        "widest_role_first": max(roles),
        "length_high": np.log1p(max(len(ids_a), len(ids_b))),
    }


def test_alignment_equals_loops_over_tokens(tokens, rarity):
    """Oracle: brute force over every pair of tokens, for every pair of texts."""
    found = of_all(tokens, rarity)
    for pair, (a, b) in enumerate(zip(FIRST.tolist(), SECOND.tolist(), strict=True)):
        for name, expected in by_hand(tokens, rarity, a, b).items():
            if name == "widest_role_first":
                ends = found["widest_role_low"][pair], found["widest_role_high"][pair]
                assert min(abs(expected - end) for end in ends) < 1e-5
            else:
                assert found[name][pair] == pytest.approx(expected, abs=1e-5), (name, TEXTS[a], TEXTS[b])


def test_a_text_beside_itself_has_no_gap(tokens, rarity):
    """No gap, no inversion, no rest; every token is its own partner."""
    same = np.arange(len(TEXTS))
    found = of_all(tokens, rarity, same, same)
    for name in ("gap_high", "widest_gap_high", "inversions", "shift", "widest_role_high", "rest_weight_high"):
        np.testing.assert_allclose(found[name], 0, atol=1e-5)
    for name in ("mutual_low", "shared_low", "rare_cosine"):
        np.testing.assert_allclose(found[name], 1, atol=1e-5)


def test_swapping_the_texts_changes_rounding_at_most(tokens, rarity):
    """Every feature is symmetric."""
    here, there = of_all(tokens, rarity), of_all(tokens, rarity, SECOND, FIRST)
    for name, values in here.items():
        np.testing.assert_allclose(values, there[name], atol=1e-5, err_msg=name)


def test_roles_tell_who_is_taller(tokens, rarity):
    """The same words in other roles: shared entirely, yet some change their context or their order."""
    found = of_all(tokens, rarity, np.array([0]), np.array([1]))
    assert found["shared_low"][0] == 1
    assert found["inversions"][0] > 0.1


def test_the_judge_is_symmetric_to_the_bit(judge, tokens):
    """In fp32 swapping all texts changes no bit, whatever stands in the same block."""
    assert (judge(tokens, FIRST, SECOND) == judge(tokens, SECOND, FIRST)).all()


def test_blocks_change_nothing(judge, tokens, monkeypatch):
    """One pair at a time, in small blocks, in one block: the same to 1e-4; no pair is lost."""
    whole = judge(tokens, FIRST, SECOND)
    monkeypatch.setattr(pair_blocks, "N_CELLS", 300)
    np.testing.assert_allclose(judge(tokens, FIRST, SECOND), whole, atol=1e-4)
    alone = [judge(tokens, FIRST[[pair]], SECOND[[pair]])[0] for pair in range(len(FIRST))]
    np.testing.assert_allclose(alone, whole, atol=1e-4)


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 23, 90, 3_000])
@pytest.mark.parametrize(("k", "m"), [(0, 3), (3, 0), (5, 4), (384, 96), (194, 96), (N_ALONE, 2)])
def test_small_products_are_products(rows, k, m):
    """Whatever the pieces, of matrices, of stacks of them and of transposed ones."""
    rng = np.random.default_rng(0)
    rows = min(rows, 3) if k == N_ALONE else rows
    a, b = rng.normal(size=(rows, k)), rng.normal(size=(k, m))
    np.testing.assert_allclose(product(a, b), a @ b, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(product(np.stack([a, -a]), np.stack([b, b])), np.stack([a @ b, -a @ b]), atol=1e-9)
    np.testing.assert_allclose(product(a, b.T.copy().T), a @ b, rtol=1e-10, atol=1e-10)


def test_the_network_equals_pytorch(judge, tokens, rarity):
    """Oracle: the modules that are fitted; what both say counts."""
    import torch

    from textsiam.training.judges import judge_fitting

    modules = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(judge_fitting, "WIDTHS", {"project": 6, "compare": 5, "join": 7})
        for net in range(2):
            of = {name: torch.tensor(weights[net]) for name, weights in judge.network.weights.items()}
            module = judge_fitting._Module(384, len(judge.columns), 1).eval()
            named = {"project.weight": of["project"].T, "sharpness": of["sharpness"], "slopes": torch.zeros(1)}
            named |= {"compare.weight": of["compare"].T, "compare.bias": of["compare_bias"], "offsets": torch.zeros(1)}
            named |= {"join.weight": of["join"].T, "join.bias": of["join_bias"]}
            named |= {"out.weight": of["out"][None], "out.bias": of["out_bias"][None]}
            module.load_state_dict(named)
            modules.append(module)
            for name, weight in module.weights().items():
                np.testing.assert_array_equal(weight, of[name])
    with torch.no_grad():
        for block in blocks(Words.of([tokens]), FIRST, SECOND, rarity):
            described = judge.described(features(block))
            said = np.stack([module(block, torch.from_numpy(described)).numpy() for module in modules])
            expected = np.where((said > 0).all(0), said.min(0), np.where((said < 0).all(0), said.max(0), 0))
            np.testing.assert_allclose(judge.network(block, described), expected, atol=1e-4)


def test_without_a_share_it_is_cosine(judge, tokens):
    """Share 0: log-odds are a line in the cosine, and the tokens are not read."""
    cosines = (tokens.embeddings[FIRST] * tokens.embeddings[SECOND]).sum(1)
    np.testing.assert_allclose(replace(judge, share=0)(tokens, FIRST, SECOND), 8 * cosines - 6, atol=1e-5)


def test_unusable_texts_and_no_pairs(judge, encoder):
    """NaN for a pair with an unusable text, its neighbours as alone; no pairs give an empty array."""
    tokens = encoder.tokens(["pay", None, "order"])
    found = judge(tokens, np.array([0, 0, 0]), np.array([1, 2, 0]))
    assert np.isnan(found).tolist() == [True, False, False]
    assert judge(tokens, np.array([], dtype=int), np.array([], dtype=int)).shape == (0,)


def test_a_file_gives_it_back(judge, tokens, tmp_path):
    """Plain numbers in half precision: what it says changes by less than .02; a second time round, by nothing."""
    file = tmp_path / "judge.safetensors"
    file.write_bytes(judge.to_bytes())
    again = Judge.from_file(file)
    np.testing.assert_allclose(again(tokens, FIRST, SECOND), judge(tokens, FIRST, SECOND), atol=0.02)
    assert again.to_bytes() == judge.to_bytes()
    assert again.card == judge.card


def test_damaged_files_are_refused(judge, tmp_path):
    """Cut short, of another kind, of another version, without a tensor: one clear error each."""
    file = tmp_path / "judge.safetensors"
    whole = judge.to_bytes()
    lacking = Network(dict(judge.network.weights))
    for content in (whole[:500], b"{}", b""):
        file.write_bytes(content)
        with pytest.raises(BrokenModel, match="Fit it again"):
            Judge.from_file(file)
    file.write_bytes(whole.replace(b'version\\": 1', b'version\\": 2'))
    with pytest.raises(BrokenModel, match="is of version 2"):
        Judge.from_file(file)
    with pytest.raises(ValueError, match="lacks out_bias"):
        Network({name: weight for name, weight in lacking.weights.items() if name != "out_bias"})
    with pytest.raises(ValueError, match="do not fit"):
        Network({**lacking.weights, "out": np.zeros(3, np.float32)})


def test_it_belongs_to_its_encoder(judge):
    """Another encoder's vectors mean something else."""
    judge.check(judge.encoder)
    with pytest.raises(EncoderMismatch, match="Fit a judge"):
        judge.check("another")
