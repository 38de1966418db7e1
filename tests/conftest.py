"""Shared fixtures. Shapes in signatures are checked at run time, so a wrong shape fails by name."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

checker = ModuleType("checker")
checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int where a float is asked for, as in PEP 484
sys.modules["checker"] = checker
install_import_hook("textsiam", "checker.check")

import pytest  # noqa: E402  the hook must come before anything that imports textsiam

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("TEXTSIAM_SHARED", ROOT.parent / "shared" / "data"))
NO_DATA = f"the real data is not at {SHARED}"
LEFT_OUT = {
    "long": "a larger or a further case of what is tested anyway: `make test-long` runs it",
    "soak": "the same for hours: `make soak` runs it",
}

# Whole files go to a worker: those that take longest go first, so that none of them is left for the end.
LONGEST = {f"test_{name}.py" for name in ("notebooks", "readme", "resume", "fine_tuning", "service", "estimators")}

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<pad>", "<unk>", "<s>", "</s>", "?", "!", ".", "how", "do"]
WORDS += ["i", "pay", "reset", "my", "password", "where", "is", "order", "the", "a", "can", "refund", "##s", "##ing"]
WORDS += list("abcdefghijklmnopqrstuvwxyz") + [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs the real data where there is none, and what `-m` must ask for by its name: `long` and `soak`."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
    for item in items:
        if not SHARED.is_dir() and item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason=NO_DATA))
        for name, reason in LEFT_OUT.items():
            if name not in config.option.markexpr and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """What was imported until now stays: the garbage collector, which every training run calls, need not look at it again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were not run, for want of the real data or of time."""
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for reason in LEFT_OUT.values():
        if n_left_out := sum(reason in told for told in reasons):
            terminalreporter.write_line(f"{n_left_out} left out: {reason}")
    skipped = [told for told in reasons if NO_DATA in told]
    terminalreporter.write_line(
        f"tests on real data: {'all run' if SHARED.is_dir() else f'{len(skipped)} skipped, {NO_DATA}'}"
    )


@pytest.fixture(scope="session")
def shared() -> Path:
    return SHARED


@pytest.fixture
def in_threads():
    """Call a function with 0, 1, … at once, each in a thread of its own; what one of them raises is raised here."""

    def call(work, n):
        faults = []

        def caught(number):
            try:
                work(number)
            except BaseException as error:  # noqa: BLE001  whatever it is
                faults.append(error)

        threads = [threading.Thread(target=caught, args=(number,)) for number in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]

    return call


_remembers = False


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of encoding compute everything."""
    global _remembers  # noqa: PLW0603
    _remembers = item.path.parent.name != "encoding"


@pytest.fixture(scope="session", autouse=True)
def computed_once():
    """The default model is compiled once for each dtype and encodes no list of texts twice: most of the time went there.

    What is remembered is what the same computation gave before, of the same tokens by the same backend. A backend that a test
    replaces or watches is asked every time.
    """
    from textsiam.encoding.encoder import Encoder
    from textsiam.encoding.model_folder import finding

    begin, ask, find, default = Encoder.__init__, Encoder._ask, finding.embedded_model, finding.embedded_model()
    hashes = finding.SHA256
    encoders: dict[object, Encoder] = {}
    computed: dict[object, list[object]] = {}

    def remembering_begin(self, folder, backend="auto", *, device=None, dtype=None):
        if not _remembers or folder.path != default or not isinstance(backend, str):
            begin(self, folder, backend, device=device, dtype=dtype)
            return
        key = backend, str(device), str(dtype)
        if key not in encoders:
            encoders[key] = Encoder.__new__(Encoder)
            begin(encoders[key], folder, backend, device=device, dtype=dtype)
            encoders[key].fingerprint  # noqa: B018  hashes all weights: once
        self.__dict__.update(encoders[key].__dict__ | {"folder": folder})

    def remembering_ask(self, tokens):
        is_ours = type(self.backend).embed_many.__module__.startswith("textsiam.")
        if not (_remembers and is_ours and self.folder.path == default and len(tokens.ends) < 5_000):
            return ask(self, tokens)
        key = type(self.backend), self.precision, tokens.ids.tobytes(), tokens.ends.tobytes()
        if key not in computed:
            computed[key] = list(ask(self, tokens))
        return iter(computed[key])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Encoder, "__init__", remembering_begin)
        patched.setattr(Encoder, "_ask", remembering_ask)
        patched.setattr(
            finding, "embedded_model", lambda: default if _remembers and finding.SHA256 is hashes else find()
        )
        yield


@pytest.fixture(scope="session")
def model():
    """The embedded default in fp32."""
    from textsiam import Siamese

    return Siamese.load(dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def cosine():
    """The default's encoder as it decided before it had a judge: by cosine alone, calibrated and certified."""
    from textsiam import Calibrator, Siamese, Threshold

    record = json.loads((Path(__file__).parent / "samples" / "cosine_evidence.json").read_text(encoding="utf-8"))
    thresholds = (Threshold.from_json(record[name]) for name in ("threshold", "reject_threshold"))
    encoder = Siamese.load(dtype="float32", device="cpu").encoder
    return Siamese(encoder, "cosine", Calibrator.from_json(record["calibrator"]), *thresholds)


@pytest.fixture(scope="session")
def judged():
    """The embedded default with a judge of its own, all vetoes, probabilities, and thresholds that nobody certified."""
    from textsiam import Siamese, Threshold, read_pairs
    from textsiam.samples import PAIRS
    from textsiam.scoring.calibration import Calibrator
    from textsiam.scoring.judging.vetoes import CUT, VETOES
    from textsiam.training.judges.judge_fitting import fit_network_judge

    model = Siamese.load(dtype="float32", device="cpu")
    judge = replace(fit_network_judge(model.encoder, {"sample": read_pairs(PAIRS)}, n_epochs=1), candidates=0.6)
    made = model.with_judge(judge).with_vetoes([*VETOES, CUT])
    made = replace(made, calibrator=Calibrator((-4.0, -1.0, 0.5, 2.5, 4.0), (0.01, 0.2, 0.5, 0.95, 1.0)))
    of = "log-odds", "precision as it comes"
    return made.with_thresholds(Threshold(0.5, *of), Threshold(-1.0, *of))


@pytest.fixture(scope="session")
def tiny_transformer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of tiny random encoders of several architectures, as transformers saves them."""
    made: dict[str, Path] = {}

    def make(architecture: str = "bert") -> Path:
        if architecture not in made:
            made[architecture] = _write_tiny(tmp_path_factory.mktemp(architecture) / "model", architecture)
        return made[architecture]

    return make


def _write_tiny(folder: Path, architecture: str) -> Path:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    old = architecture in {"roberta", "xlm-roberta", "mpnet"}
    cls, sep, pad, unk = ("<s>", "</s>", "<pad>", "<unk>") if old else ("[CLS]", "[SEP]", "[PAD]", "[UNK]")
    places = {word: place for place, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(places, unk_token=unk))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}", special_tokens=[(cls, places[cls]), (sep, places[sep])]
    )
    # No dropout: sentence-transformers and we are both in eval mode, but a config should not matter.
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    if architecture == "distilbert":
        sizes = dict(dim=32, n_layers=2, n_heads=4, hidden_dim=48)
    config = AutoConfig.for_model(
        architecture, vocab_size=len(WORDS), max_position_embeddings=66, pad_token_id=places[pad], **sizes
    )
    for name in ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        if getattr(config, name, None) is not None:
            setattr(config, name, places[cls] if name[0] in "bc" else places[sep])
    folder.mkdir(parents=True)
    AutoModel.from_config(config).eval().save_pretrained(folder)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token=cls, sep_token=sep, pad_token=pad, unk_token=unk, model_max_length=48
    )
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def texts() -> list[str]:
    return [
        "How do I pay?",
        "how do i reset my password",
        "Where is my order!",
        "refund",
        "Can I pay the order a second time, and where is the refund of my order? " * 2,
        "pay pay pay",
    ]


class Service:
    """A process that serves over HTTP, started as a user starts it; in fp32."""

    def __init__(self, *arguments, environment=None):
        command = [
            sys.executable,
            "-m",
            "textsiam",
            "serve",
            "--port",
            "0",
            "--device",
            "cpu",
            "--dtype",
            "float32",
            *map(str, arguments),
        ]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
        )
        self.lines = []
        self.url = ""
        for line in self.process.stderr:
            self.lines.append(line)
            if "http://" in line:
                self.url = line.split()[-1]
                break
        assert self.url, self.lines
        self.following = threading.Thread(target=self._follow, daemon=True)
        self.following.start()
        import httpx

        self.client = httpx.Client(base_url=self.url, timeout=60)

    def _follow(self):
        self.lines.extend(self.process.stderr)

    def stop(self):
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        self.following.join()
        self.process.stderr.close()
        return code


@pytest.fixture(scope="session")
def serving() -> type[Service]:
    return Service
