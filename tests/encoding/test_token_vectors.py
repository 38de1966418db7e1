"""Token vectors: those of transformers, from the pass that makes the embeddings, each with its place in the text."""

import numpy as np
import pytest

from textsiam.encoding.backends import BACKENDS
from textsiam.encoding.encoder import Encoder
from textsiam.encoding.model_folder.layout import read_folder
from textsiam.errors import UnreadableInput, UnsupportedModel

TEXTS = [
    "How do I pay?",
    "Where is the refund of my order?",
    "pay",
    "Straße, naïve café: 5 €",
    "How do I pay?",
    "pay " * 70,
]


@pytest.fixture(scope="module", params=BACKENDS)
def encoder(request):
    """The embedded default in fp32."""
    return Encoder.load(backend=request.param, device="cpu", dtype="float32")


def expected(folder, texts, max_length):
    """transformers' own hidden states, one text at a time, and its offsets."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    for text in texts:
        given = tokenizer(
            text, return_tensors="pt", truncation=True, max_length=max_length, return_offsets_mapping=True
        )
        spans = given.pop("offset_mapping")[0].numpy()
        with torch.inference_mode():
            yield given["input_ids"][0].numpy(), spans, model(**given).last_hidden_state[0].numpy()


@pytest.mark.parametrize("n", [6, 60, 600])
def test_they_equal_those_of_transformers(encoder, n):
    """To 1e-5 in fp32, of few texts (packed) and of many (padded); ids, places and embeddings too."""
    texts = (TEXTS * 100)[:n]
    tokens = encoder.tokens(texts)
    np.testing.assert_allclose(tokens.embeddings, encoder.encode(texts), atol=1e-5)
    of_six = list(expected(encoder.folder.transformer, TEXTS, encoder.folder.max_length))
    for row in range(n):
        ids, spans, vectors = of_six[row % 6]
        assert tokens.ids[tokens.of(row)].tolist() == ids.tolist()
        assert tokens.spans[tokens.of(row)].tolist() == spans.tolist()
        np.testing.assert_allclose(tokens.vectors[tokens.of(row)], vectors, atol=1e-5)
    assert len(tokens) == n


def test_parts_of_them_are_those_of_fewer_texts(encoder):
    """A slice has its texts alone, from the first, the middle or none."""
    tokens = encoder.tokens(TEXTS)
    for rows in (slice(0, 2), slice(2, 5), slice(5, None), slice(3, 3), slice(None)):
        part, alone = tokens[rows], encoder.tokens(TEXTS[rows])
        for name in ("ids", "spans", "ends", "lengths", "cut", "unknown"):
            np.testing.assert_array_equal(getattr(part, name), getattr(alone, name))
        np.testing.assert_allclose(part.vectors, alone.vectors, atol=1e-5)
        np.testing.assert_allclose(part.embeddings, alone.embeddings, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ["bert", "roberta", "xlm-roberta", "distilbert", "mpnet"])
def test_every_architecture(tiny_transformer, architecture, backend):
    """Packed and padded in PyTorch, and in OpenVINO: the same as transformers."""
    encoder = Encoder(read_folder(tiny_transformer(architecture)), backend, device="cpu", dtype="float32")
    texts = ["pay", "my order", "how do i reset my password"]
    tokens = encoder.tokens(texts)
    for row, (ids, _, vectors) in enumerate(expected(encoder.folder.transformer, texts, encoder.folder.max_length)):
        assert tokens.ids[tokens.of(row)].tolist() == ids.tolist()
        np.testing.assert_allclose(tokens.vectors[tokens.of(row)], vectors, atol=1e-5)


def test_they_pool_to_the_embeddings(encoder):
    """The mean of a text's token vectors, normalised, is its embedding: one pass made both."""
    tokens = encoder.tokens(TEXTS)
    means = np.stack([tokens.vectors[tokens.of(row)].mean(0) for row in range(len(TEXTS))])
    np.testing.assert_allclose(means / np.linalg.norm(means, axis=1, keepdims=True), tokens.embeddings, atol=1e-5)


def test_each_token_points_into_its_text(encoder):
    """Without special tokens and the prompt, the places of the tokens hold every visible character of the text."""
    for prompt in (None, "query: "):
        tokens = encoder.tokens(TEXTS[:5], prompt=prompt)
        for row, text in enumerate(TEXTS[:5]):
            spans = tokens.spans[tokens.of(row)][tokens.words[tokens.of(row)]]
            assert "".join(text[start:end] for start, end in spans) == text.replace(" ", "")
    assert not tokens.words[0]


def test_unusable_and_cut_texts_keep_their_rows(encoder, caplog):
    """A value that is no text has no tokens and NaN; its neighbours lose nothing; a cut text is marked and logged."""
    tokens = encoder.tokens([None, "pay", " ", "pay " * 999])
    assert tokens.lengths.tolist() == [0, 3, 0, encoder.folder.max_length]
    assert tokens.cut.tolist() == [False, False, False, True]
    assert np.isnan(tokens.embeddings).all(1).tolist() == [True, False, True, False]
    assert "2 of 4 texts are unusable" in caplog.text
    assert "exceed" in caplog.text


def test_nothing_and_one_string(encoder):
    """No texts give empty arrays; a string instead of a list is refused."""
    tokens = encoder.tokens([])
    assert tokens.vectors.shape == tokens.embeddings.shape == (0, encoder.dim)
    assert tokens.spans.shape == (0, 2)
    with pytest.raises(UnreadableInput, match="one string"):
        encoder.tokens("pay")


def test_many_texts_are_told_in_parts(encoder, monkeypatch):
    """Parts that are tokenised one after another are the same as one, and progress rises to the end."""
    done = []
    whole = encoder.tokens(TEXTS)
    monkeypatch.setattr("textsiam.encoding.tokenizing.N_TEXTS_A_CALL", 2)
    parts = encoder.tokens(TEXTS, progress=lambda *of: done.append(of))
    assert done == [(2, 6), (4, 6), (6, 6)]
    assert parts.ends.tolist() == whole.ends.tolist()
    assert parts.spans.tolist() == whole.spans.tolist()
    np.testing.assert_allclose(parts.vectors, whole.vectors, atol=1e-5)


def test_bf16_is_near(encoder):
    """In bf16 a token's vector has a cosine above .98 with the fp32 one."""
    half = Encoder.load(backend=encoder.backend_name, device="cpu", dtype="bfloat16").tokens(TEXTS).vectors
    exact = encoder.tokens(TEXTS).vectors
    cosines = (half * exact).sum(1) / np.linalg.norm(half, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.min() > 0.98


def test_a_backend_without_them_is_refused(encoder):
    """A backend of one's own needs `tokens_many` for this alone; the error says so."""

    class Own:
        """The same backend, with embeddings alone."""

        precision, token_budget, padding_budget = "float32", 512, 32

        def embed(self, ids, mask):
            return encoder.backend.embed(ids, mask)

        def embed_many(self, batches):
            return encoder.backend.embed_many(batches)

    with pytest.raises(UnsupportedModel, match="tokens_many"):
        Encoder(encoder.folder, Own()).tokens(["pay"])
