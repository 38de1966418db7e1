"""What cannot go well is refused before the run, what goes wrong in it stops with the rows named, and nothing is lost."""

import csv
import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerCallback
from typer.testing import CliRunner

from textsiam import LOSSES, Pairs, Siamese, folds, mine_negatives, split, train
from textsiam.encoding.pytorch.twin import load_twin
from textsiam.interfaces.cli import app
from textsiam.training.losses import Distillation
from textsiam.training.run import _named

QUICK = dict(batch_size=8, max_steps=4, evaluations=2)


def made_up(n=80):
    """Pairs of random words; every second one is labelled 1."""
    rng = np.random.default_rng(0)
    words = ["pay", "reset", "password", "order", "refund", "where", "how", "my", *"abcdefghijklmnopqrstuvwxyz"]
    first, second = ([" ".join(rng.choice(words, 6)) for _ in range(n)] for _ in range(2))
    return Pairs(first, second, labels=[row % 2 for row in range(n)])


@pytest.fixture(scope="module")
def start(tiny_transformer):
    return Siamese.load(tiny_transformer("bert"), device="cpu", dtype="float32")


def write(path, pairs, **columns):
    rows = zip(pairs.first, pairs.second, pairs.labels, *columns.values(), strict=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["sentence1", "sentence2", "label", *columns], *rows])
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


class Stop(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        control.should_training_stop = state.global_step >= self.step


@pytest.mark.parametrize("validation", [None, False])
def test_a_run_that_diverges_says_so_and_replaces_nothing(start, tmp_path, validation):
    """Whether found at an evaluation or at the end: the model in the output's place is as it was."""
    train(start, made_up(), output=tmp_path / "good", validation=False, max_steps=1, batch_size=8)
    before = (tmp_path / "good" / "model.safetensors").read_bytes()
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train(
            start, made_up(), output=tmp_path / "good", validation=validation, learning_rate=1e30, max_steps=2,
            batch_size=8, keep=0.0, restart=True,
        )  # fmt: skip
    assert (tmp_path / "good" / "model.safetensors").read_bytes() == before


def test_the_command_says_divergence_in_a_line(tiny_transformer, tmp_path):
    """Exit code 2, no traceback."""
    file = write(tmp_path / "p.csv", made_up())
    done = run(
        "train", file, "-o", tmp_path / "m", "--model", tiny_transformer("bert"), "--no-validation", "--learning-rate",
        "1e30", "--max-steps", 2, "--keep", 0, "--batch-size", 8, "--no-bf16",
    )  # fmt: skip
    assert done.exit_code == 2
    assert "lower the learning rate" in done.stderr
    assert "Traceback" not in done.stderr


def test_all_batches_of_an_update_are_named(start):
    """Where gradients are accumulated, the batch at fault need not be the last."""

    @dataclass(frozen=True)
    class Broken:
        kinds: ClassVar[tuple[str, ...]] = ("labels",)

        def __call__(self, batch):
            return (batch.first - batch.second).pow(2).sum(1).mul(0).sqrt().sum()  # the root of zero: NaN gradients

    with pytest.raises(FloatingPointError, match="gradient became NaN") as told:
        train(
            start, made_up(24), loss=Broken(), validation=False, max_steps=1, batch_size=8, bf16=False,
            arguments={"gradient_accumulation_steps": 3},
        )  # fmt: skip
    assert all(f" {row}," in f"{told.value},".replace(";", ",") for row in range(1, 25))


def test_a_class_from_the_table_is_its_default_object(start):
    """`LOSSES` holds classes."""
    told = train(start, made_up(), loss=LOSSES["contrastive"], **QUICK).training
    assert told["data"]["pairs"]["loss"] == "Contrastive(margin=0.5, distance='cosine')"


def test_a_loss_that_gives_no_number_is_refused(start):
    """A row of numbers is no loss."""

    class Rowwise:
        kinds = ("labels",)

        def __call__(self, batch):
            return (batch.first * batch.second).sum(1)

    with pytest.raises(ValueError, match="one number as a tensor"):
        train(start, made_up(), loss=Rowwise(), validation=False, **QUICK)


def test_positives_that_all_mean_the_same_are_refused(start):
    """There is nothing to rank them against, and the loss would be 0."""
    with pytest.raises(ValueError, match="all 10 of pairs mean the same"):
        train(start, Pairs(["how do i pay"] * 10, ["can i pay"] * 10), **QUICK)


def test_a_teacher_of_other_dimensions_is_refused_before_the_run(start, model):
    """Embeddings of 384 dimensions cannot be matched by 32; their similarities can."""
    begun = []
    watch = type("Watch", (TrainerCallback,), {"on_train_begin": lambda *_, **__: begun.append(1)})()
    with pytest.raises(ValueError, match="into 384 dimensions, the student into 32"):
        train(start, made_up(), loss=Distillation("embeddings"), teacher=model, callbacks=[watch], **QUICK)
    assert not begun
    told = train(start, made_up(), loss="distillation", teacher=model, **QUICK).training
    assert told["hyperparameters"]["teacher"] == "model"


WRONG = {
    "dict(loss=lambda batch: batch.first.sum())": "a callable with a tuple `kinds`",
    "dict(loss=0.5)": "a callable with a tuple `kinds`",
    "dict(loss='contrastiv')": "There is no loss 'contrastiv'",
    "dict(arguments={'save_total_limit': 1})": "save_total_limit is at least 2",
    "dict(arguments={'gradient_checkpointing': True})": "Use recompute for gradient_checkpointing",
    "dict(arguments={'learning': 1})": "TrainingArguments have no learning",
    "dict(arguments=[1])": "a mapping from names",
    "dict(batch_size=2.5)": "batch_size is a whole number, at least 1, but got 2.5",
    "dict(epochs='1')": "epochs is a number above 0, but got '1'",
    "dict(keep=1.5)": "keep is a share from 0 to 1",
    "dict(bf16=1)": "bf16 is True or False",
    "dict(seed=-1)": "A seed is a whole number from 0",
    "dict(hard_negatives=2)": "Hard negatives are mined for positives without labels",
    "dict(recipe_is='slow')": "There is no hyper-parameter recipe_is",
}


def test_settings_that_mean_nothing_are_refused(tiny_transformer):
    """Before the run, by name, with what was given. In a process of its own: here the check of shapes would speak first."""
    code = (
        "import sys\nfrom textsiam import Pairs, Siamese, train\n"
        "start = Siamese.load(sys.argv[1], device='cpu')\n"
        "pairs = Pairs(['how do i pay', 'refund'] * 4, ['pay', 'my order'] * 4, labels=[0, 1] * 4)\n"
        "for settings in sys.argv[2:]:\n"
        "    try:\n        train(start, pairs, **{'max_steps': 1, **eval(settings)})\n"
        "    except ValueError as error:\n        print(str(error).replace(chr(10), ' '))\n"
        "    else:\n        print('not refused')\n"
    )
    command = [sys.executable, "-c", code, str(tiny_transformer("bert")), *WRONG]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for settings, message, line in zip(WRONG, WRONG.values(), done.stdout.splitlines(), strict=True):
        assert message in line, (settings, line)


def test_the_start_is_never_overwritten(start, tmp_path):
    """Its folder cannot be the output: what it holds would no longer be what the caller has loaded."""
    start.save(tmp_path / "mine")
    with pytest.raises(FileExistsError, match="is the model to start from"):
        train(tmp_path / "mine", made_up(), output=tmp_path / "mine", **QUICK)


def test_a_callback_that_stops_the_run_keeps_the_steps_made(start, tmp_path):
    """The weights are those of the last step, not of the last checkpoint, and the record says so."""
    how = dict(validation=False, batch_size=8, keep=0.0, bf16=False, max_steps=20, evaluations=4)
    stopped = train(start, made_up(), output=tmp_path / "a", callbacks=[Stop(7)], **how)
    assert stopped.training["steps"] == 7
    assert train(start, made_up(), callbacks=[Stop(2)], **how).training["steps"] == 2
    caught = {}

    class Catch(Stop):
        def on_step_end(self, args, state, control, model=None, **_):
            super().on_step_end(args, state, control)
            if state.global_step == self.step:
                caught.update({name: value.clone() for name, value in model.state_dict().items()})

    again = train(start, made_up(), output=tmp_path / "b", callbacks=[Catch(7)], **how)
    saved = load_file(again.encoder.folder.transformer / "model.safetensors")
    assert all(torch.equal(value, caught[f"twin.transformer.{name}"]) for name, value in saved.items())


def test_the_validation_metric_is_measured_as_often_as_asked(start):
    """Four times in 7 steps, not 7."""
    told = train(start, made_up(), max_steps=7, batch_size=8, evaluations=4).training
    assert [step for step, _ in told["validation_curve"]] == [2, 4, 6, 7]


def test_what_the_trainer_was_told_is_in_the_record(start):
    """More than the recipe can change a result."""
    told = train(start, made_up(), arguments={"gradient_accumulation_steps": 2}, **QUICK).training
    assert told["hyperparameters"]["gradient_accumulation_steps"] == "2"


def test_settings_are_told_apart_without_addresses():
    """The same loss in another process has the same name; another function or weight another one."""

    @dataclass(frozen=True)
    class Fn:
        fn: object

    assert _named(Fn(np.mean)) == _named(Fn(np.mean)) != _named(Fn(np.sum))
    assert " at 0x" not in _named(Fn(lambda x: x))
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert _named(one) != _named(other)
    other.load_state_dict(one.state_dict())
    assert _named(one) == _named(other)


def test_rows_set_aside_are_told_wherever_they_were_read(start, tmp_path, caplog):
    """In the log, the record and the card: also for grades that stand in a column called label."""
    caplog.set_level(logging.WARNING, logger="textsiam")
    pairs = made_up()
    graded = datasets.Dataset.from_dict(
        {"sentence1": pairs.first, "sentence2": pairs.second, "label": [k % 11 / 2 for k in range(80)]}
    )
    tuned = train(start, graded, output=tmp_path / "m", validation=False, **QUICK)
    assert tuned.training["split"]["rows_set_aside"] == 80 - tuned.training["split"]["train_rows"] > 60
    assert "label is not 0 or 1" in caplog.text
    assert "grades go into a column named score" in caplog.text
    assert "were unusable" in (tmp_path / "m" / "README.md").read_text(encoding="utf-8")


def test_the_command_never_overwrites_its_input(tiny_transformer, tmp_path):
    """Nor takes a file twice, nor options that contradict each other."""
    file = write(tmp_path / "p.csv", made_up())
    before = file.read_bytes()
    for wrong, message in (
        (["--set-aside", file], "is also an input"),
        ([file], "was given twice"),
        (["--validation", file, "--no-validation"], "Give one of them"),
    ):
        done = run("train", file, "-o", tmp_path / "m", "--model", tiny_transformer("bert"), "--max-steps", 1, *wrong)
        assert done.exit_code == 2
        assert message in " ".join(done.stderr.replace("│", " ").split())
    assert file.read_bytes() == before


def test_splits_of_one_file_train_and_validate(tiny_transformer, tmp_path):
    """--split names the rows to learn from, --validation-split those held out; rows set aside in either are told."""
    pairs = made_up()
    file = write(tmp_path / "p.csv", pairs, split=["train"] * 60 + ["dev"] * 20)
    done = run(
        "train", file, "--split", "train", "--validation", file, "--validation-split", "dev", "-o", tmp_path / "m",
        "--model", tiny_transformer("bert"), "--max-steps", 1, "--batch-size", 8, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)["summary"]["training"]["split"]
    assert (told["validation_rows"], told["carved"]) == (20, False)
    assert told["train_rows"] + told["rows_left_out"] == 60


def test_only_the_first_of_several_processes_speaks(tiny_transformer, tmp_path, monkeypatch):
    """Standard output holds one JSON object, not one a process."""
    file = write(tmp_path / "p.csv", made_up())
    monkeypatch.setenv("RANK", "1")
    done = run("train", file, "-o", tmp_path / "m", "--model", tiny_transformer("bert"), "--max-steps", 1, "--json")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


def test_verbs_take_whatever_can_be_read(start):
    """split, folds and mining read lists, data sets and files, as train does."""
    rows = list(zip(made_up().first, made_up().second, made_up().labels.tolist(), strict=True))
    assert len(split(rows).train) > 40
    assert len(folds(rows, 2)) == 2
    assert len(mine_negatives(start, rows, margin=-1.0)) > 0
    told = train(start, {"a": [made_up(), "contrastive", 0.5], "b": rows}, **QUICK).training
    assert told["data"]["a"]["share"] == 0.5


def test_a_large_component_does_not_hide_safe_negatives(start):
    """More texts of the anchor's own component than candidates are usually looked at: one beyond them is still found."""
    chain = [f"how do i pay {'my order ' * (k % 5)}{letter}" for k, letter in enumerate("abcdefghijklmnopqrstuvwxyz")]
    pairs = Pairs([*chain[:-1], "refund"], [*chain[1:], "where is the refund"])
    mined = mine_negatives(start, pairs, margin=-2.0)
    assert len(mined) == len(pairs)
    assert set(mined.negatives[0][:-1]) <= {"refund", "where is the refund"}


def test_a_transformer_that_ignores_the_attention_runs_padded(tiny_transformer, monkeypatch):
    """Some releases of transformers only log that an architecture's attention cannot be exchanged."""
    from textsiam.encoding.model_folder.layout import read_folder

    folder = read_folder(tiny_transformer("bert"))
    expected = load_twin(folder, "cpu", "float32").embed(
        np.array([[7, 8, 9], [7, 8, 0]]), np.array([[1, 1, 1], [1, 1, 0]])
    )
    monkeypatch.setattr("transformers.PreTrainedModel.set_attn_implementation", lambda *_: None)
    twin = load_twin(folder, "cpu", "float32")
    assert not twin.packs
    found = twin.embed(np.array([[7, 8, 9], [7, 8, 0]]), np.array([[1, 1, 1], [1, 1, 0]]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
