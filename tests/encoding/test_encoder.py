"""Texts → embeddings: order, batch and padding change nothing; pooling is what it says; cuts are counted."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textsiam import Encoder
from textsiam.encoding.backends import BACKENDS
from textsiam.encoding.model_folder.layout import read_folder
from textsiam.encoding.pytorch.twin import POOLINGS
from textsiam.encoding.tokenizing import batches_of
from textsiam.errors import UnsupportedModel

ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "modernbert")


@pytest.fixture(scope="module")
def tiny(tiny_transformer):
    return Encoder.load(tiny_transformer("bert"), device="cpu", dtype="float32")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batch_composition_changes_nothing(tiny_transformer, architecture, texts):
    """In fp32 a text's vector is the same alone and among others, to 1e-5, for any encoder."""
    encoder = Encoder.load(tiny_transformer(architecture), device="cpu", dtype="float32")
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert together.dtype == np.float32


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equal_to_sentence_transformers(tiny_transformer, architecture, texts):
    """Oracle, for every architecture: a plain transformers folder, mean pooling."""
    from sentence_transformers import SentenceTransformer

    folder = tiny_transformer(architecture)
    expected = SentenceTransformer(str(folder), device="cpu").encode(texts)
    np.testing.assert_allclose(Encoder.load(folder, device="cpu", dtype="float32").encode(texts), expected, atol=1e-5)


@given(order=st.permutations(range(6)), budget=st.sampled_from([1, 16, 50, 4096]))
@settings(deadline=None, max_examples=25)
def test_order_and_budget_change_nothing(tiny, order, budget):
    """Rows come back in the order given, whatever the batches."""
    words = ["pay", "my order", "how do i reset", "where is the refund of my order", "password", "a b c d e f g h"]
    expected = tiny.encode(words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(tiny.backend), "token_budget", budget)
        np.testing.assert_allclose(tiny.encode([words[place] for place in order]), expected[list(order)], atol=1e-5)


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=200),
    budget=st.integers(1, 300),
    padding=st.integers(0, 300),
)
def test_batches_hold_every_row_once_within_the_budget(lengths, budget, padding):
    """No row is lost or doubled, and no batch of several rows exceeds the budget in padded tokens."""
    lengths = np.array(lengths)
    batches = list(batches_of(lengths, budget, padding))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= budget for rows in batches)
    assert all(len(rows) in {1, 2, 4} or len(rows) % 8 == 0 for rows in batches[:-1])


def test_distinct_texts_are_encoded_once(tiny, monkeypatch):
    """A thousand copies cost as much as one."""
    rows = []
    embed = type(tiny.backend).embed_many
    monkeypatch.setattr(
        type(tiny.backend),
        "embed_many",
        lambda self, batches: rows.extend(len(ids) for ids, _ in batches) or embed(self, batches),
    )
    vectors = tiny.encode(["pay", "order"] * 1_000)
    assert sum(rows) == 2
    assert (vectors[::2] == vectors[0]).all()


def test_the_next_texts_are_tokenised_before_the_last_are_waited_for(tiny, monkeypatch):
    """Where a backend computes elsewhere; rows, what was cut and the progress are those of one that does not."""
    told = []

    class Elsewhere:
        """The same backend, as a GPU would: it takes all batches at once, and tells when it is asked and waited for."""

        offloads = True

        def __getattr__(self, name):
            return getattr(tiny.backend, name)

        def embed_many(self, batches):
            told.append("asked")
            found = list(tiny.backend.embed_many(batches))
            return (told.append("waited for") or vectors for vectors in found)

    monkeypatch.setattr("textsiam.encoding.tokenizing.N_TEXTS_A_CALL", 3)
    texts = ["pay", "my order", "how do i reset", "where is the refund of my order", "password", "a b c", "pay " * 70]
    elsewhere = Encoder(tiny.folder, Elsewhere())
    told.clear()
    expected, done = tiny.embed(texts), []
    found = elsewhere.embed(texts, progress=lambda *of: done.append(of))
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-6)
    assert found.cut.tolist() == expected.cut.tolist() == [False] * 6 + [True]
    assert told[:3] == ["asked", "asked", "waited for"]
    assert done == sorted(done)
    assert done[-1] == (7, 7)


def test_unusable_values_get_nan_and_lose_nobody(tiny, caplog):
    """None, numbers and blanks are reported by position; their neighbours are encoded."""
    with caplog.at_level(logging.WARNING, "textsiam"):
        vectors = tiny.encode(["pay", None, " ", 3, "order"])
    assert np.isnan(vectors[1:4]).all()
    np.testing.assert_allclose(vectors[[0, 4]], tiny.encode(["pay", "order"]), atol=1e-6)
    assert "3 of 5 texts are unusable and get NaN: positions 1, 2, 3" in caplog.text


def test_cut_texts_are_counted(tiny, caplog):
    """Exactly the maximum is not cut; one token more is."""
    limit = tiny.folder.max_length
    with caplog.at_level(logging.WARNING, "textsiam"):
        exact, over = tiny.encode([" ".join(["pay"] * (limit - 2)), " ".join(["pay"] * (limit - 1))])
    np.testing.assert_allclose(exact, over, atol=1e-6)
    assert f"1 of 2 texts exceed {limit} tokens and were cut: positions 1" in caplog.text


def test_no_texts_give_no_vectors(tiny):
    """(0, dim), and no failure."""
    assert tiny.encode([]).shape == (0, 32)


def test_a_text_without_known_tokens_is_finite(tiny):
    """Characters that the tokenizer does not know still give a vector."""
    assert np.isfinite(tiny.encode(["مرحبا", "👋🏽", "?"])).all()


def test_progress_counts_texts(tiny):
    """From some to all, never falling."""
    reports = []
    tiny.encode([f"pay {n}" for n in range(300)], progress=lambda done, total: reports.append((done, total)))
    assert reports[-1] == (300, 300)
    assert reports == sorted(reports)


def test_mean_pooling_equals_a_loop_and_ignores_padding():
    """The mean over real tokens only, against NumPy row by row; cls and max likewise."""
    rng = np.random.default_rng(0)
    tokens, lengths = rng.normal(size=(4, 7, 5)).astype(np.float32), [7, 3, 1, 5]
    mask = (np.arange(7) < np.array(lengths)[:, None]).astype(np.int64)
    expected = {
        "mean": [row[:n].mean(0) for row, n in zip(tokens, lengths, strict=True)],
        "cls": [row[0] for row in tokens],
        "max": [row[:n].max(0) for row, n in zip(tokens, lengths, strict=True)],
    }
    for name, pool in POOLINGS.items():
        found = pool(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()
        np.testing.assert_allclose(found, expected[name], atol=1e-6)
        garbled = np.where(mask[..., None] == 1, tokens, 1e6).astype(np.float32)
        np.testing.assert_allclose(pool(torch.from_numpy(garbled), torch.from_numpy(mask)).numpy(), found, atol=1e-6)


def test_the_twin_trains(tiny_transformer):
    """One module for both sentences: gradients reach its weights through pooling and normalisation."""
    from textsiam.encoding.pytorch.twin import load_twin

    twin = load_twin(read_folder(tiny_transformer("bert")), "cpu", "float32", trainable=True).train()
    ids = torch.tensor([[2, 12, 13, 3], [2, 15, 3, 0]])
    first, second = twin(ids, (ids != 0).long())
    (first @ second).backward()
    assert all(torch.isfinite(p.grad).all() for p in twin.parameters() if p.grad is not None)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in twin.parameters())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_lower_precision_is_close_and_named(model, dtype):
    """The same decisions up to the class's rounding; the class is told."""
    low = Encoder.load(dtype=dtype, device="cpu")
    texts = ["How do I reset my password?", "Where is my parcel?"]
    assert low.precision == dtype
    assert np.abs(low.encode(texts) - model.encode(texts)).max() < 2e-2


def test_backends_are_a_table(tiny_transformer):
    """Every row of BACKENDS gives the same vectors; an object may be handed in; an unknown name is refused."""
    folder = read_folder(tiny_transformer("bert"))
    expected = Encoder(folder, device="cpu", dtype="float32").encode(["pay"])
    for name, load in BACKENDS.items():
        by_name, by_object = Encoder(folder, name, device="cpu", dtype="float32"), load(folder, "cpu", "float32")
        assert by_name.backend_name == name
        np.testing.assert_allclose(by_name.encode(["pay"]), expected, atol=1e-5)
        np.testing.assert_allclose(Encoder(folder, by_object).encode(["pay"]), expected, atol=1e-5)
    with pytest.raises(ValueError, match="no backend 'abacus'"):
        Encoder(folder, "abacus")
    with pytest.raises(ValueError, match="cannot use the device"):
        Encoder(folder, device="cuda:77")
    with pytest.raises(ValueError, match="does not know the dtype"):
        Encoder(folder, dtype="float8")


def test_prompts_are_put_before_texts(tiny_transformer, tmp_path):
    """By name, by text, by the model's default; an unknown name is refused. Oracle: sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    st_model = SentenceTransformer(str(tiny_transformer("bert")), device="cpu", prompts={"query": "how do i "})
    st_model.save_pretrained(str(tmp_path / "prompted"))
    encoder = Encoder.load(tmp_path / "prompted", device="cpu", dtype="float32")
    expected = st_model.encode(["pay"], prompt_name="query")
    np.testing.assert_allclose(encoder.encode(["pay"], prompt="query"), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(["pay"], prompt="how do i "), expected, atol=1e-5)
    assert np.abs(encoder.encode(["pay"]) - expected).max() > 1e-3
    with pytest.raises(UnsupportedModel, match="no prompt named 'passage'"):
        encoder.encode(["pay"], prompt="passage")
    st_model.default_prompt_name = "query"
    st_model.save_pretrained(str(tmp_path / "default"))
    np.testing.assert_allclose(Encoder.load(tmp_path / "default", dtype="float32").encode(["pay"]), expected, atol=1e-5)
