"""Fine-tuning: better on held-out rows, without leaks, from every kind of data; the start stays what it was."""

import json
import logging
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from textsiam import Pairs, Siamese, Threshold, Triplets, mine_negatives, read_pairs, split, train
from textsiam.data.linking import link
from textsiam.encoding.pytorch.twin import load_twin
from textsiam.samples import PAIRS
from textsiam.training.embedded_batch import EmbeddedBatch
from textsiam.training.losses import Logistic, MultipleNegativesRanking
from textsiam.training.towers import TextTower, text_preparer
from textsiam.training.trainer import TwinTrainer
from textsiam.training.training_tasks import Task

WORDS = ["pay", "reset", "password", "order", "refund", "where", "how", "my", "the", "is"]
QUICK = dict(batch_size=8, max_steps=4, evaluations=2)
QUICKEST = dict(batch_size=4, max_steps=1, validation=False)


def made_up(n=80, seed=0):
    """Pairs that mean the same if they share a word; the letters around it, which only distract, agree in the others."""
    rng = np.random.default_rng(seed)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    first, second = [], []
    for row in range(n):
        word, other = rng.choice(WORDS, 2, replace=False)
        around, elsewhere = rng.choice(letters, 5), rng.choice(letters, 5)
        first.append(" ".join([word, *around]))
        second.append(" ".join([word, *elsewhere] if row % 2 else [other, *around[:3], *elsewhere[:2]]))
    return Pairs(first, second, labels=[row % 2 for row in range(n)])


@pytest.fixture(scope="module")
def start(tiny_transformer):
    return Siamese.load(tiny_transformer("bert"), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def calibrated(start):
    return replace(start.calibrate(PAIRS), threshold=Threshold(0.9), reject_threshold=Threshold(0.5))


def weights(model):
    from safetensors.torch import load_file

    read = load_file(model.encoder.folder.transformer / "model.safetensors")
    # transformers 5.0 saves norms by the names of old; all read both.
    return {re.sub(r"gamma$", "weight", re.sub(r"beta$", "bias", name)): value for name, value in read.items()}


def test_training_makes_the_model_better_and_leaves_the_start_alone(start, tmp_path):
    """On rows it did not learn from; the record says so with intervals; nothing but the folder remains."""
    pairs, before = made_up(400), start.encode(["how do i pay", "refund"])
    tuned = train(start, pairs, output=tmp_path / "tuned", epochs=6, batch_size=16, learning_rate=2e-3, keep=0.0)
    assert np.array_equal(start.encode(["how do i pay", "refund"]), before)
    told = tuned.training
    metrics = told["metrics"]["pairs"]
    assert metrics["metric"] == "average_precision"
    assert metrics["after"][0] > metrics["before"][0]
    assert metrics["difference"][1] > 0  # the interval excludes zero
    assert metrics["after"][0] == pytest.approx(
        max(value for _, value in told["validation_curve"]), abs=1e-5
    )  # the best
    assert told["split"]["train_rows"] + told["split"]["validation_rows"] + told["split"]["rows_left_out"] == 400
    assert [entry.name for entry in tmp_path.iterdir()] == ["tuned"]
    assert "Loss: " in (tmp_path / "tuned" / "README.md").read_text(encoding="utf-8")


def test_the_result_is_a_model_folder_that_others_load(start, tmp_path):
    """Loaded again with the same vectors and record; sentence-transformers gives the same vectors; no pickle."""
    from sentence_transformers import SentenceTransformer

    tuned = train(start, made_up(), output=tmp_path / "tuned", **QUICK)
    texts = ["how do i pay", "where is my refund"]
    again = Siamese.load(tmp_path / "tuned", device="cpu", dtype="float32")
    assert np.array_equal(again.encode(texts), tuned.encode(texts))
    assert json.loads(json.dumps(tuned.training)) == again.training
    theirs = SentenceTransformer(str(tmp_path / "tuned"), device="cpu")
    assert np.abs(theirs.encode(texts) - tuned.encode(texts)).max() < 1e-5
    assert not [file for file in (tmp_path / "tuned").rglob("*") if file.suffix in (".bin", ".pt", ".pth", ".pkl")]
    assert "textsiam" not in (tmp_path / "tuned" / "config.json").read_text(
        encoding="utf-8"
    )  # how we attend is no one else's


def test_the_starts_threshold_is_not_carried_over(calibrated, caplog):
    """The start is calibrated; what is trained from it is not, and says so."""
    caplog.set_level(logging.WARNING, logger="textsiam")
    tuned = train(calibrated, read_pairs(PAIRS), **QUICKEST)
    assert (tuned.threshold, tuned.reject_threshold, tuned.calibrator) == (None, None, None)
    assert "calibrate and certify this model" in caplog.text


def test_the_same_seed_gives_the_same_weights(start):
    """And another seed others; dropout's random numbers too come from it."""
    first, second, other = (weights(train(start, made_up(), seed=seed, dropout=0.1, **QUICK)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_carved_tenth_shares_nothing_with_what_is_learned_from(start, monkeypatch):
    """Over all data sets of a mixture together, by text and by chain of positives."""
    seen = []
    monkeypatch.setattr(TwinTrainer, "train", lambda self, **_: seen.append((self.tasks, self.validation)))
    chain = Pairs([f"a{k}" for k in range(60)], [f"A{k}  " for k in range(60)])
    labelled = Pairs([f"a{k}" for k in range(60)], [f"b{k}" for k in range(60)], labels=[0, 1] * 30)
    train(start, {"chain": chain, "labelled": (labelled, "contrastive")}, keep=0.0, **QUICK)
    (learned, held), texts = seen[0], []
    for tasks in (learned, held):
        found = [
            Pairs([t.inputs[i] for i in t.columns[:, 0]], [t.inputs[i] for i in t.columns[:, 1]], labels=t.labels)
            for t in tasks
        ]
        texts.append(found)
    graph = link([*texts[0], *texts[1]])
    sides = [np.unique(np.concatenate([c.ravel() for c in part])) for part in (graph.columns[:2], graph.columns[2:])]
    assert len(held) == 2
    assert not np.intersect1d(*sides).size


def test_validation_that_would_leak_loses_no_held_out_row(start):
    """Rows to learn from that share a text or a chain with the validation data are left out, and counted."""
    pairs = made_up(100)
    held = Pairs([pairs.first[1].upper(), "x y z", "u v"], ["how is that", "z y x", "w w"], labels=[0, 1, 0])
    tuned = train(start, pairs, validation=held, **QUICK)
    assert tuned.training["split"] == {
        "carved": False, "train_rows": 99, "validation_rows": 3, "rows_left_out": 1, "rows_set_aside": 0,
        "link_score": None,
    }  # fmt: skip
    with pytest.raises(ValueError, match="no row is left to learn from"):
        train(start, pairs, validation=pairs, **QUICK)


@pytest.mark.parametrize(
    ("data", "loss", "metric"),
    [
        (made_up(), "Logistic", "average_precision"),
        (Pairs(made_up().first[1::2] * 2, made_up().second[1::2] * 2), "MultipleNegativesRanking", "reciprocal_rank"),
        (Pairs(made_up().first, made_up().second, scores=np.arange(80) % 6), "CoSENT", "spearman"),
        (
            Triplets(made_up().first, made_up(seed=1).first, [made_up(seed=2).first]),
            "MultipleNegativesRanking",
            "accuracy",
        ),
    ],
    ids=["labels", "positives", "scores", "triplets"],
)
def test_every_kind_of_data_trains_with_its_own_loss_and_metric(start, data, loss, metric):
    """Labelled, positives alone, graded, triplets; nothing need be said."""
    told = train(start, data, **QUICK).training
    assert told["data"]["pairs"]["loss"].startswith(loss)
    assert told["metrics"]["pairs"]["metric"] == metric


def test_several_data_sets_each_with_its_loss_and_share(start):
    """One data set a batch; the record names each; distillation from a teacher of other dimensions."""
    mixture = {
        "labelled": (made_up(), "online_contrastive", 0.5),
        "graded": (Pairs(made_up().first, made_up().second, scores=np.arange(80) % 6), "cosine_regression"),
        "taught": (made_up(seed=3), "distillation"),
    }
    told = train(start, mixture, teacher=Siamese.load(), **QUICK).training
    assert {name: of["loss"].partition("(")[0] for name, of in told["data"].items()} == {
        "labelled": "OnlineContrastive", "graded": "CosineRegression", "taught": "Distillation",
    }  # fmt: skip
    assert told["data"]["labelled"]["share"] == 0.5


def test_what_cannot_work_is_said_before_the_run(start):
    """Unknown losses and hyper-parameters, losses that cannot use the data, values out of range."""
    with pytest.raises(ValueError, match="no loss 'magic'. Use one of logistic"):
        train(start, made_up(), loss="magic")
    with pytest.raises(ValueError, match="no hyper-parameter epoch. There are: epochs"):
        train(start, made_up(), epoch=1)
    with pytest.raises(ValueError, match="learns from triplets, but pairs holds labelled pairs"):
        train(start, made_up(), loss="triplet")
    with pytest.raises(ValueError, match="keep is a share from 0 to 1, but got 2"):
        train(start, made_up(), keep=2)
    with pytest.raises(ValueError, match="random start has nothing worth keeping"):
        train(start, made_up(), random_start=True, lora=4)
    with pytest.raises(
        ValueError, match="max_steps cannot be given as TrainingArguments here. Use max_steps for max_steps"
    ):
        train(start, made_up(), arguments={"max_steps": 3})
    with pytest.raises(ValueError, match="teacher was given, but no loss learns from it"):
        train(start, made_up(), teacher=start)
    with pytest.raises(ValueError, match="validation cannot judge a model"):
        train(start, made_up(), validation=Pairs(["a", "b"], ["c", "d"], labels=[0, 0]))
    with pytest.raises(ValueError, match="needs a teacher"):
        train(start, made_up(), loss="distillation")


def test_a_loss_that_becomes_nan_stops_and_names_the_rows(start):
    """The row whose embedding is NaN, by its number in the source."""
    pairs = made_up(16)
    task = Task("faq", [*pairs.first, *pairs.second], np.stack([np.arange(16), np.arange(16) + 16], 1), Logistic(20.0, 0.5),
                labels=np.asarray(pairs.labels), rows=range(101, 117))  # fmt: skip
    prepare = text_preparer(start.encoder, 512)

    class Breaking(nn.Module):
        def __init__(self):
            super().__init__()
            self.tower = TextTower(load_twin(start.encoder.folder, "cpu", "float32"))

        def forward(self, groups, order, wrong):
            vectors = self.tower(groups, order)
            return torch.where(wrong[:, None], vectors * float("nan"), vectors)

    def prepared(texts):
        return {**prepare(texts), "wrong": torch.tensor([text == pairs.first[6] for text in texts])}

    with pytest.raises(FloatingPointError, match=r"loss became nan at step 1, on faq, rows 107. Look at"):
        TwinTrainer(Breaking(), [task], arguments(max_steps=3, per_device_train_batch_size=16), prepared).train()


def test_a_gradient_that_becomes_infinite_stops_before_the_weights(start):
    """A finite loss with a NaN gradient."""

    class Root:
        kinds = ("labels",)

        def __call__(self, batch: EmbeddedBatch):
            return ((batch.first - batch.first) ** 2).sum().sqrt()

    tower = nn.Linear(3, 2)
    task = Task("dots", list(torch.randn(8, 3)), np.arange(8).reshape(4, 2), Root(), labels=np.array([0, 1, 0, 1]))
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    with pytest.raises(FloatingPointError, match="gradient became NaN or infinite at step 1, on dots, rows"):
        TwinTrainer(tower, [task], arguments(max_steps=2, per_device_train_batch_size=4)).train()
    assert all(torch.equal(before[name], value) for name, value in tower.state_dict().items())


def arguments(**settings):
    import tempfile

    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=tempfile.mkdtemp(), use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
        remove_unused_columns=False, logging_nan_inf_filter=False, **settings,
    )  # fmt: skip


def test_any_tower_trains_by_the_same_loop():
    """An ``nn.Module`` over vectors instead of texts learns to ignore the coordinate that does not matter."""
    rng = np.random.default_rng(0)
    meaning = rng.normal(size=(64, 4))
    inputs = [torch.tensor([*meaning[k % 64], 8 * rng.normal()], dtype=torch.float32) for k in range(128)]
    task = Task("points", inputs, np.stack([np.arange(64), np.arange(64) + 64], 1), MultipleNegativesRanking())
    torch.manual_seed(0)
    tower = nn.Linear(5, 4, bias=False)
    trainer = TwinTrainer(
        tower, [task], arguments(max_steps=150, per_device_train_batch_size=32, learning_rate=0.05), validation=[task]
    )
    before = trainer.evaluate()["eval_metric"]
    trainer.train()
    assert trainer.evaluate()["eval_metric"] > max(0.9, before + 0.2)
    assert tower.weight[:, 4].norm() < 0.2 * tower.weight[:, :4].norm()


def test_recomputing_changes_the_memory_not_the_gradients(start):
    """Group by group again in the backward pass; dropout draws the same numbers."""
    from textsiam.training.towers import set_dropout

    twin = load_twin(start.encoder.folder, "cpu", "float32", trainable=True)
    set_dropout(twin, 0.2)
    prepared = text_preparer(start.encoder, 32)(["how do i pay", "refund", "where is my order ? a a a a a a", "the"])
    assert len(prepared["groups"]) > 1
    gradients = []
    for recompute in (False, True):
        tower = TextTower(twin, recompute=recompute).train()
        tower.zero_grad()
        torch.manual_seed(3)
        tower(**prepared).sum().backward()
        gradients.append({name: w.grad.clone() for name, w in twin.named_parameters() if w.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-7) for name in gradients[0])


def test_groups_change_nothing(start):
    """The tower's vectors are the encoder's, in order, whatever the group size; both twins go through one pass."""
    texts = ["how do i pay", "refund", "where is my order ? a b c d", "the", "pay pay"]
    expected = start.encode(texts)
    for n_tokens in (1, 16, 10_000):
        twin = load_twin(start.encoder.folder, "cpu", "float32", trainable=True)
        vectors = TextTower(twin).eval()(**text_preparer(start.encoder, n_tokens)(texts))
        assert np.abs(vectors.detach().numpy() - expected).max() < 1e-6


def test_lora_trains_adapters_and_merges_them(start):
    """The result has the start's architecture and no adapter; weights that no adapter touches are the start's."""
    tuned = train(start, made_up(), lora=4, keep=0.0, learning_rate=1e-2, **QUICK)
    old, new = weights(start), weights(tuned)
    assert old.keys() == new.keys()
    assert torch.equal(old["embeddings.word_embeddings.weight"], new["embeddings.word_embeddings.weight"])
    assert not torch.equal(*(w["encoder.layer.0.attention.self.query.weight"] for w in (old, new)))


def test_keep_mixes_the_starts_weights_in(start):
    """Share by share; 1 is the start itself; with LoRA too."""
    tuned, half, all_kept = (weights(train(start, made_up(), keep=keep, **QUICK)) for keep in (0.0, 0.5, 1.0))
    old = weights(start)
    for name, value in old.items():
        assert torch.allclose(half[name], (value + tuned[name]) / 2, atol=1e-6)
        assert torch.allclose(all_kept[name], value, atol=1e-7)
    train(start, made_up(), keep=0.5, lora=2, **QUICK)


def test_a_random_start_has_other_weights_of_the_same_shape(start):
    """By its seed; told in the record."""
    tuned = train(start, made_up(), random_start=True, seed=5, **QUICK)
    assert tuned.training["start"] == "random weights"
    assert tuned.training["hyperparameters"]["keep"] == 0
    old, new = weights(start), weights(tuned)
    assert {name: w.shape for name, w in old.items()} == {name: w.shape for name, w in new.items()}
    assert (old["embeddings.word_embeddings.weight"] - new["embeddings.word_embeddings.weight"]).abs().max() > 0.01


def test_early_stopping_and_the_best_checkpoint(start):
    """With a learning rate that ruins the model the first evaluation stays the best, and patience ends the run.

    In fp32, in which the result is judged: of a ruined model bf16 gives another metric.
    """
    how = dict(learning_rate=5.0, max_steps=40, evaluations=20, patience=2, batch_size=8, keep=0.0, bf16=False)
    tuned = train(start, made_up(200), **how)
    told = tuned.training
    steps = [step for step, _ in told["validation_curve"]]
    assert steps[-1] < 40
    best = max(value for _, value in told["validation_curve"])
    assert told["metrics"]["pairs"]["after"][0] == pytest.approx(best, abs=1e-5)


def test_mined_negatives_are_safe(start):
    """Never of the anchor's own component, never closer than the positive less the margin; labelled ones first."""
    pairs = made_up(60)
    mined = mine_negatives(start, pairs, n=2, margin=0.01)
    assert len(mined) > 4
    positive = dict(zip(pairs.rows, zip(pairs.first, pairs.second, strict=True), strict=True))
    graph = link(
        [
            pairs,
            Pairs(
                [*mined.anchors, *mined.anchors],
                [*mined.negatives[0], *mined.negatives[1]],
                labels=[0] * 2 * len(mined),
            ),
        ]
    )
    assert (graph.columns[1][:, 0] != graph.columns[1][:, 1]).all()
    for row, anchor, negative in zip(mined.rows, mined.anchors, mined.negatives[0], strict=True):
        own, other = start.score([anchor, anchor], [positive[row][1], negative])
        assert other <= own - 0.01 + 1e-6
    labelled = Pairs(["how do i pay", "how do i pay"], ["how i do pay", "refund"], labels=[1, 0])
    assert mine_negatives(start, labelled).negatives == [["refund"]]
    tuned = train(start, Pairs(pairs.first[1::2] * 2, pairs.second[1::2] * 2), hard_negatives=1, **QUICK)
    told = tuned.training
    assert told["data"]["pairs"]["holds"] == "triplets"
    assert (
        told["metrics"]["pairs"]["metric"] == "reciprocal_rank"
    )  # held-out rows stay pairs: mined ones flatter the start
    assert (
        told["split"]["train_rows"] + told["split"]["rows_without_hard_negatives"] + told["split"]["validation_rows"]
        == 60
    )


def test_mappings_are_told_from_columns(start, tmp_path):
    """Paths, data sets, frames and lists of rows by name are several data sets; lists and tuples of texts are columns."""
    import datasets
    import pandas as pd

    pairs = made_up(60)
    columns = {"question1": pairs.first, "question2": pairs.second, "label": [int(y) for y in pairs.labels]}
    pd.DataFrame(columns).to_csv(tmp_path / "a.csv", index=False)
    for data in (tmp_path / "a.csv", datasets.Dataset.from_dict(columns), pd.DataFrame(columns), dict(columns),
                 list(zip(*columns.values(), strict=True))):  # fmt: skip
        told = train(start, {"a": data, "b": (data, "contrastive")}, **QUICKEST).training
        assert set(told["data"]) == {"a", "b"}
    for columns_alone in (columns, {name: tuple(values) for name, values in columns.items()}):
        assert set(train(start, columns_alone, **QUICKEST).training["data"]) == {"pairs"}


def test_rows_that_can_judge_nothing_are_given_back(start):
    """Pairs all labelled 1 are positives, and judged as such; all labelled 0 hold nothing out."""
    pairs = made_up(80)
    told = train(start, Pairs(pairs.first, pairs.second, labels=[1] * 80), **QUICK).training
    assert told["metrics"]["pairs"]["metric"] == "reciprocal_rank"
    with pytest.raises(ValueError, match="every label of pairs is 0"):
        train(start, Pairs(pairs.first, pairs.second, labels=[0] * 80), **QUICK)


def test_the_default_loss_is_fitted_to_all_of_a_sorted_file(start):
    """Positives first or last: the same threshold, but for chance."""
    pairs = made_up(400)
    rows = np.argsort(np.asarray(pairs.labels), kind="stable")
    found = [
        train(start, pairs.take(order), validation=False, **QUICK).training["data"]["pairs"]["loss"]
        for order in (rows, rows[::-1])
    ]
    assert found[0] == found[1]


def test_a_folder_that_is_no_run_is_left_alone(start, tmp_path):
    """Somebody's own checkpoints beside the output are neither adopted nor removed, restart or not."""
    (tmp_path / "mine.checkpoints" / "checkpoint-500").mkdir(parents=True)
    (tmp_path / "mine.checkpoints" / "notes.txt").write_text("dear", encoding="utf-8")
    for restart in (False, True):
        with pytest.raises(FileExistsError, match="is no run of textsiam"):
            train(start, made_up(), output=tmp_path / "mine", restart=restart, **QUICK)
    assert (tmp_path / "mine.checkpoints" / "notes.txt").exists()


def test_texts_that_are_cut_are_counted(start, caplog):
    """Learned from as far as they are read, and said with their number."""
    caplog.set_level(logging.WARNING, logger="textsiam")
    pairs = made_up()
    long = Pairs([pairs.first[0] + " pay" * 400, *pairs.first[1:]], pairs.second, labels=pairs.labels)
    told = train(start, long, validation=False, **QUICK).training
    assert told["data"]["pairs"]["texts_cut"] == 1
    assert "1 of 160 texts of pairs exceed" in caplog.text


def test_a_loss_that_cannot_use_the_data_is_refused_before_negatives_are_mined(start, monkeypatch):
    """Mining is slow: what cannot be trained on is said first."""
    monkeypatch.setattr("textsiam.training.fine_tuning.mine_negatives", lambda *_, **__: pytest.fail("mined"))
    positives = Pairs(made_up().first, made_up().second)
    with pytest.raises(ValueError, match="Contrastive learns from labels, but pairs holds triplets"):
        train(start, positives, loss="contrastive", hard_negatives=1, **QUICK)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_of_several_processes_only_the_first_logs(calibrated, caplog, monkeypatch, rank):
    """The same warning eight times is one warning too many for seven."""
    caplog.set_level(logging.WARNING, logger="textsiam")
    monkeypatch.setenv("RANK", rank)
    train(calibrated, read_pairs(PAIRS), bf16=False, **QUICKEST)
    assert ("calibrate and certify" in caplog.text) == (rank == "0")


def test_the_random_state_of_the_caller_is_left_alone(start):
    """NumPy's and torch's go on where they stood. (Python's too; but here the check of shapes draws from it.)"""
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    train(start, made_up(), **QUICK)
    after = np.random.random(), torch.rand(1).item()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert after == (np.random.random(), torch.rand(1).item())  # noqa: NPY002


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.long
def test_real_pairs_make_the_default_better(model, shared):
    """Forty updates on labelled question pairs: better on held-out ones by more than chance."""
    parts = split(read_pairs(shared / "qqp_pairs.parquet", split="train"), seed=0)
    tuned = train(model, parts.train.take(range(2_560)), validation=parts.test, epochs=1, evaluations=1, keep=0.0)
    told = tuned.training["metrics"]["validation"]
    assert told["difference"][1] > 0
