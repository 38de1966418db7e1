"""Runs in processes of their own: killed at any moment and called again, interrupted by Ctrl-C, spread over two processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

RUN = """
import os, signal, sys
import numpy as np
from textsiam import Pairs, Siamese, train
from transformers import TrainerCallback

folder, output, moment = sys.argv[1:4]
rng = np.random.default_rng(0)
words = ["pay", "reset", "password", "order", "refund", "where", "how", "my", "the", "is", *"abcdefghijklmnop"]
pairs = Pairs(*([" ".join(rng.choice(words, 6)) for _ in range(96)] for _ in range(2)), labels=[0, 1] * 48)

class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if moment == f"step {state.global_step}":
            os.kill(os.getpid(), signal.SIGKILL)
        if moment == f"interrupt {state.global_step}":
            os.kill(os.getpid(), signal.SIGINT)
    def on_train_end(self, args, state, control, **_):
        if moment == "end":
            os.kill(os.getpid(), signal.SIGKILL)

if moment.startswith("file"):  # in the middle of a checkpoint: after so many of its files
    import torch
    save, left = torch.save, [int(moment.split()[1])]
    def dying(what, where, *rest, **more):
        left[0] -= 1
        if left[0] < 0:
            with open(where, "wb") as half:
                half.write(b"half a file")
            os.kill(os.getpid(), signal.SIGKILL)
        return save(what, where, *rest, **more)
    torch.save = dying

settings = dict(max_steps=12, batch_size=8, evaluations=4, dropout=0.1, keep=0.2, patience=3, learning_rate=1e-3)
settings |= eval(sys.argv[4]) if len(sys.argv) > 4 else {}
loss = settings.pop("loss", None)
validation = settings.pop("validation", None)
train(Siamese.load(folder, device="cpu"), pairs, loss=loss, validation=validation, output=output, callbacks=[Kill()], **settings)
"""


# Importing takes most of such a run: one process imports, and forks for each run.
FORKS = """
import json, os, sys, traceback
import accelerate, datasets, safetensors.torch, scipy.stats, sklearn.metrics, torch
from transformers import AutoModel, AutoTokenizer, Trainer, TrainingArguments
from textsiam import Pairs, Siamese, train
from textsiam.training.trainer import TwinTrainer

code = sys.stdin.readline()
for line in sys.stdin:
    log, *arguments = json.loads(line)
    child = os.fork()
    if not child:
        said, status = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1
        os.dup2(said, 1), os.dup2(said, 2)
        sys.argv = ["run.py", *arguments]
        try:
            exec(compile(json.loads(code), "run.py", "exec"), {"__name__": "__main__"})
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

LAUNCHER = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]


@pytest.fixture(scope="module")
def run():
    """One run in a process of its own; its exit code and what it said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-W", "ignore", "-c", FORKS]
    forks = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    print(json.dumps(RUN), file=forks.stdin, flush=True)

    def forked(folder, output, moment="never", settings="{}"):
        log = output.with_suffix(".log")
        print(json.dumps([str(log), str(folder), str(output), moment, settings]), file=forks.stdin, flush=True)
        return int(forks.stdout.readline()), log.read_text(encoding="utf-8")

    yield forked
    forks.communicate()
    assert forks.returncode == 0


def run_two(folder, output, settings):
    """One run spread over two processes; its exit code and what it said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    script = output.parent / "run.py"
    script.write_text(RUN, encoding="utf-8")
    command = [sys.executable, *LAUNCHER, str(script), str(folder), str(output), "never", settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stderr


def weights(folder: Path):
    return load_file(folder / "model.safetensors")


def same(first: Path, second: Path):
    return all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())


@pytest.fixture(scope="module")
def uninterrupted(run, tiny_transformer, tmp_path_factory):
    folder, output = tiny_transformer("bert"), tmp_path_factory.mktemp("whole") / "tuned"
    code, said = run(folder, output)
    assert code == 0, said
    return folder, output


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        "step 2",
        "file 4",
        "end",
        *(pytest.param(moment, marks=pytest.mark.long) for moment in ("step 7", "file 0", "file 5")),
    ],
)
def test_a_killed_run_goes_on_to_the_same_weights(run, uninterrupted, tmp_path, moment):
    """kill -9 between checkpoints, in the middle of the first one, in later ones, and after the last step: bit-equal."""
    folder, whole = uninterrupted
    code, said = run(folder, tmp_path / "tuned", moment)
    assert code == -signal.SIGKILL, said
    assert not (tmp_path / "tuned").exists()
    assert (tmp_path / "tuned.checkpoints").is_dir()
    code, said = run(folder, tmp_path / "tuned")
    assert code == 0, said
    assert same(whole, tmp_path / "tuned")
    assert not (tmp_path / "tuned.checkpoints").exists()


@pytest.mark.slow
def test_patience_is_remembered(run, tiny_transformer, tmp_path):
    """A run that early stopping ends, killed between its evaluations, ends at the same step with the same weights."""
    folder, settings = (
        tiny_transformer("bert"),
        "{'patience': 2, 'max_steps': 30, 'evaluations': 10, 'learning_rate': 5.0}",
    )
    code, said = run(folder, tmp_path / "whole", settings=settings)
    assert code == 0, said
    run(folder, tmp_path / "tuned", "step 8", settings)
    code, said = run(folder, tmp_path / "tuned", settings=settings)
    assert code == 0, said
    curves = [curve_of(tmp_path / name) for name in ("whole", "tuned")]
    assert curves[0] == curves[1]
    assert curves[0][-1][0] < 30
    assert same(tmp_path / "whole", tmp_path / "tuned")


def curve_of(folder):
    return json.loads((folder / "textsiam.json").read_text(encoding="utf-8"))["training"]["validation_curve"]


@pytest.mark.slow
def test_ctrl_c_loses_nothing(run, uninterrupted, tmp_path):
    """The step under way is finished and saved; the same call goes on to the same weights."""
    folder, whole = uninterrupted
    code, said = run(folder, tmp_path / "tuned", "interrupt 5")
    assert code != 0
    assert "KeyboardInterrupt" in said
    assert (tmp_path / "tuned.checkpoints" / "checkpoint-6" / "complete.json").exists()
    code, said = run(folder, tmp_path / "tuned")
    assert code == 0, said
    assert same(whole, tmp_path / "tuned")


@pytest.mark.slow
def test_other_settings_do_not_go_on_from_these_checkpoints(run, uninterrupted, tmp_path):
    """The run says what differs; restart throws them away."""
    folder, _ = uninterrupted
    run(folder, tmp_path / "tuned", "step 5")
    code, said = run(folder, tmp_path / "tuned", settings="{'learning_rate': 0.5}")
    assert code != 0
    assert "unfinished run with other settings (learning_rate 0.001 → 0.5)" in said
    code, said = run(folder, tmp_path / "tuned", settings="{'learning_rate': 0.5, 'restart': True}")
    assert code == 0, said


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        "multiple_negatives_ranking",
        pytest.param("online_contrastive", marks=pytest.mark.long),
        pytest.param("cosent", marks=pytest.mark.long),
    ],
)
def test_two_processes_make_the_update_of_one_with_twice_the_batch(run, tiny_transformer, tmp_path, loss):
    """torchrun over gloo: in-batch negatives, hard pairs and rankings reach across processes, with their gradients.

    In fp32: in bf16 each process rounds its own share of the gradients.
    """
    common = f"'loss': '{loss}', 'dropout': 0.0, 'keep': 0.0, 'max_steps': 5, 'validation': False, 'bf16': False"
    folder = tiny_transformer("bert")
    code, said = run(folder, tmp_path / "one", settings=f"{{{common}, 'batch_size': 16}}")
    assert code == 0, said
    code, said = run_two(folder, tmp_path / "two", f"{{{common}, 'batch_size': 8}}")
    assert code == 0, said
    one, two, start = weights(tmp_path / "one"), weights(tmp_path / "two"), weights(folder)
    moved = max(float((one[name] - start[name]).abs().max()) for name in one)
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert moved > 1e-3
    assert apart < 0.02 * moved  # Adam turns rounding of gradients near zero into steps
    assert sum(float((one[name] - two[name]).abs().sum()) for name in one) < 1e-3 * sum(
        float((one[name] - start[name]).abs().sum()) for name in one
    )


@pytest.mark.slow
def test_two_processes_validate_choose_and_keep_together(tiny_transformer, tmp_path):
    """The default way, over two processes: one result, no checkpoint left, metrics of the whole held-out part."""
    folder = tiny_transformer("bert")
    code, said = run_two(folder, tmp_path / "two", "{'batch_size': 4, 'patience': 2}")
    assert code == 0, said
    told = json.loads((tmp_path / "two" / "textsiam.json").read_text(encoding="utf-8"))["training"]
    assert told["hyperparameters"]["processes"] == 2
    assert told["metrics"]["pairs"]["rows"] == told["split"]["validation_rows"] > 5
    assert not (tmp_path / "two.checkpoints").exists()
