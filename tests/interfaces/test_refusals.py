"""Refusals that no other test meets: each says what is wrong, what came and what to do, and touches nothing."""

import json
import shutil
import socket
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from textsiam import (
    Index,
    Matches,
    Pairs,
    Siamese,
    Threshold,
    Triplets,
    evaluate,
    find_duplicates,
    mine_negatives,
    read_pairs,
    read_texts,
    score_pairs,
    train,
)
from textsiam.auditing.audit import start_audit
from textsiam.data.hashes import TextHashes
from textsiam.errors import (
    BrokenIndex,
    BrokenModel,
    NotCalibrated,
    TooManyMatches,
    UnreadableInput,
    UnsupportedModel,
)
from textsiam.interfaces.cli import app
from textsiam.matching.join.exact import top_k_join
from textsiam.scoring.evidence.scored_pairs import ScoredPairs

ONE, SCORE = np.array([0]), np.array([0.8], dtype=np.float32)
TEXTS = ["how do i pay", "where is my order", "can i reset my password", "refund the order"]


@pytest.fixture(scope="module")
def tiny(tiny_transformer):
    return Siamese.load(tiny_transformer("bert"), device="cpu", dtype="float32")


@pytest.fixture
def folder(tiny, tmp_path):
    """A saved model to be spoilt."""
    tiny.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def index(tiny, tmp_path):
    with Index.create(tmp_path / "index", tiny, threshold=0.999) as made:
        made.add(["a", "b"], TEXTS[:2])
        yield made


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: Matches(ONE, ONE, SCORE, 1).verified(lambda *_: []), NotCalibrated, "no decision"),
        (
            lambda: Matches(ONE, ONE, SCORE, 1, decision=np.array(["review"])).verified(lambda *_: []),
            ValueError,
            "These matches have no texts to judge",
        ),
        (lambda: top_k_join(np.eye(3, dtype=np.float32), k=0), ValueError, "k is at least 1, but got 0"),
        (lambda: TextHashes.of("one text"), UnreadableInput, "got one string: 'one text'. Put it in a list"),
        (lambda: TextHashes.from_bytes(b"123"), BrokenModel, "3 bytes that are not a rising list"),
        (lambda: TextHashes.from_bytes(bytes(16)), BrokenModel, "not a rising list of hashes"),
        (lambda: read_texts({"q": ["a", "b"], "id": [1]}), UnreadableInput, "q has 2, id has 1. Align them"),
        (lambda: read_pairs({"left": ["a"], "right": ["b"]}), UnreadableInput, "name them (--first and --second"),
        (
            lambda: ScoredPairs(Pairs(["a", "b"], ["b", "c"], labels=[1, 0]), SCORE, ONE),
            UnreadableInput,
            "2 pairs, 1 scores and 1 components",
        ),
    ],
    ids=lambda of: of if isinstance(of, str) else "",
)
def test_of_columns_and_values(call, error, told):
    with pytest.raises(error) as caught:
        call()
    assert told in str(caught.value)


def test_a_header_of_blanks_is_none(tmp_path):
    (tmp_path / "a.csv").write_text(",,\na,b,c\n")
    with pytest.raises(UnreadableInput, match="no readable header"):
        read_texts(tmp_path / "a.csv")


def test_data_without_columns_is_told_so():
    """A stream of `datasets` that was given no features knows none."""
    import datasets

    stream = datasets.IterableDataset.from_generator(lambda: iter([{"text": "a"}]))
    with pytest.raises(UnreadableInput, match="does not know its columns"):
        read_texts(stream)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda index: index.search(TEXTS, k=0), ValueError, "k is at least 1, but got 0"),
        (lambda index: index.search(TEXTS, searcher="magic"), ValueError, "no searcher 'magic'. Use one of"),
        (lambda index: index.add(["c"]), UnreadableInput, "Ids were given alone"),
        (lambda index: index.add(["c"], TEXTS), UnreadableInput, "the columns have [1, 4] rows"),
        (lambda index: index.add(["c", "d", "e"], ["pay"] * 3, max_matches=2), TooManyMatches, "Allow more"),
        (lambda index: index.export("out.xyz"), UnreadableInput, "names no format by its ending"),
    ],
    ids=lambda of: of if isinstance(of, str) else "",
)
def test_of_an_index(index, call, error, told):
    """And it holds what it held."""
    with pytest.raises(error) as caught:
        call(index)
    assert told in str(caught.value)
    assert len(index) == 2
    assert index.verify(repair=False)


def test_an_index_has_a_prompt_of_its_own(index, tiny):
    with pytest.raises(ValueError, match="An index uses its own prompt and search"):
        find_duplicates(tiny, TEXTS, against=index, prompt="query")


def test_an_index_without_a_model_encodes_nothing(index, tmp_path):
    with (
        Index.open(tmp_path / "index") as there,
        pytest.raises(ValueError, match="opened without a model, so texts cannot be encoded"),
    ):
        there.add(["c"], TEXTS[:1])


def test_vectors_without_texts_cannot_be_made_anew(tiny, tmp_path):
    """By another encoder: the ids are named, and the index stays as it was."""
    other = replace(tiny, similarity="dot")
    with Index.create(tmp_path / "index", tiny, threshold=0.999) as made:
        made.add(["a"], embeddings=tiny.encode(TEXTS[:1]))
        with pytest.raises(UnreadableInput, match="holds 1 vectors whose texts it was not given"):
            Index.rebuild(tmp_path / "index", other, threshold=0.9)
        assert "a" in made


def test_approximate_search_is_for_cosine(tiny, tmp_path):
    with (
        Index.create(tmp_path / "index", replace(tiny, similarity="dot"), threshold=0.9) as made,
        pytest.raises(ValueError, match="Approximate search is for cosine, but this index compares by dot"),
    ):
        made.approximate(threshold=0.9)


def test_an_index_of_another_layout_is_left_alone(index, tmp_path):
    index.close()
    import sqlite3

    (file,) = (file for file in (tmp_path / "index").iterdir() if file.suffix in {".db", ".sqlite"})
    with sqlite3.connect(file) as there:
        there.execute("update meta set value = json_set(value, '$.schema', 99) where key = 'settings'")
    there.close()
    with pytest.raises(BrokenIndex, match=r"has layout 99, but this textsiam reads"):
        Index.open(tmp_path / "index")


def spoil(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("spoiling", "error", "told"),
    [
        (lambda model: (model / "tokenizer.json").write_text("{"), BrokenModel, "cannot be read"),
        (lambda model: (model / "1_Pooling" / "config.json").unlink(), BrokenModel, "config.json is missing"),
        (lambda model: spoil(model / "config.json", hidden_act="magic"), BrokenModel, "Restore"),
        (
            lambda model: spoil(model / "sentence_bert_config.json", transformer_task="fill-mask"),
            UnsupportedModel,
            "is a model for 'fill-mask'",
        ),
        (
            lambda model: spoil(model / "config_sentence_transformers.json", similarity_fn_name="magic"),
            UnsupportedModel,
            "compares by 'magic'",
        ),
        (
            lambda model: spoil(model / "1_Pooling" / "config.json", pooling_mode=["mean", "max"]),
            UnsupportedModel,
            "pools by mean and max",
        ),
        (
            lambda model: spoil(model / "1_Pooling" / "config.json", include_prompt=False),
            UnsupportedModel,
            "leaves the prompt out",
        ),
    ],
    ids=["tokenizer", "no pooling", "no such layer", "task", "similarity", "two poolings", "prompt"],
)
def test_of_a_model_folder(folder, spoiling, error, told):
    """Of another's folder: of ours the alteration itself would be told."""
    (folder / "textsiam.json").unlink()
    spoiling(folder)
    with pytest.raises(error) as caught:
        Siamese.load(folder, device="cpu", dtype="float32").encode(["pay"])
    assert told in str(caught.value)


@pytest.mark.parametrize("fault", ["missing", "infinite"])
def test_of_weights(tiny_transformer, tmp_path, fault):
    """A tensor that is not there would be random, and one infinite number makes every vector NaN."""
    model = tmp_path / "model"
    shutil.copytree(tiny_transformer("bert"), model)
    tensors = load_file(model / "model.safetensors")
    name = next(name for name in tensors if name.endswith("query.weight"))
    if fault == "missing":
        del tensors[name]
    else:
        tensors[name][0, 0] = float("inf")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BrokenModel, match=name.replace(".", r"\.")):
        Siamese.load(model, device="cpu", dtype="float32", backend="pytorch").encode(["pay"])


def positives(n=6):
    return Pairs([f"how do i pay {n}" for n in range(n)], [f"how can i pay {n}" for n in range(n)])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda model: mine_negatives(model, positives(), n=0), "at least one negative, but got 0"),
        (lambda model: train(model, {"a": (positives(), None, "half")}), "share of a is a number above 0"),
        (lambda model: train(model, positives(), hard_negatives=1, link_score=-1.0), "safe hard negative"),
    ],
    ids=["negatives", "share", "none safe"],
)
def test_of_training(tiny, call, told):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are what is tested
        call(tiny)
    assert told in str(caught.value)


def test_several_processes_need_one_folder(tiny, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes train together, but no output was named"):
        train(tiny, positives())


def test_patience_without_anything_held_out_is_said(tiny, caplog):
    triplets = Triplets(["how do i pay"] * 2, ["how can i pay"] * 2, [["refund", "order"]])
    train(tiny, triplets, validation=False, patience=2, max_steps=1, batch_size=2)
    assert "patience has no effect" in caplog.text


def test_an_evaluation_where_the_threshold_was_chosen_says_so(tiny):
    """Its figures flatter."""
    pairs = Pairs(TEXTS, TEXTS, labels=[1, 1, 0, 1])
    scored = score_pairs(tiny, pairs, on="faq")
    model = replace(tiny, threshold=Threshold(0.9, "cosine", "precision ≥ 0.90", {"on": "faq"}))
    notes = evaluate(model, scored).notes
    assert any("chosen on data of this name" in note for note in notes)


def test_an_audit_tells_what_it_holds(tiny):
    found = find_duplicates(tiny, ["pay", "pay", "pay"], threshold=0.9)
    audit = start_audit(found, n=2)
    assert repr(audit) == "Audit(2 of 3 matches drawn, labelled: none)"
    assert repr(audit.label({1: 1}, "ann")).endswith("labelled: ann 1)")


def shown(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


def test_a_plan_that_no_number_of_labels_fulfils_says_so():
    code, said = shown("audit", "plan", "--precision", "0.9", "--expected", "0.8")
    assert (code, "no number of labels is enough" in said) == (0, True), said


def test_encode_without_files_teaches():
    code, said = shown("encode", "-o", "vectors.parquet")
    assert (code, "Give files, or - for standard input" in said) == (2, True), said


def test_a_service_needs_a_free_port_and_a_token_that_is_one(tmp_path):
    (tmp_path / "token").write_text("\n")
    code, said = shown("serve", "--token-file", tmp_path / "token")
    assert (code, "The token is empty" in said) == (2, True), said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = shown("serve", "--port", taken.getsockname()[1])
    assert (code, "Use another port (--port)" in said) == (2, True), said


def test_an_output_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "q.csv").write_text("question\npay\npay\n")
    (tmp_path / "out.csv").mkdir()
    code, said = shown("duplicates", tmp_path / "q.csv", "--repeats-only", "-o", tmp_path / "out.csv")
    assert (code, "The output is a folder" in said) == (2, True), said
