"""The house: imports stay light, one pair's road is short, and the frame is what it says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import textsiam
from textsiam.interfaces.cli import app
from textsiam.training.recipe import Recipe

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "sklearn", "scipy.stats", "datasets")


def loaded_by(code):
    """Which heavy modules a fresh interpreter has loaded after running the code."""
    program = f"{code}\nimport json, sys; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "code",
    [
        "import textsiam",
        "from typer.testing import CliRunner; from textsiam.interfaces.cli import app; CliRunner().invoke(app, ['--help'])",
        "import textsiam; textsiam.read_texts(['a']); textsiam.Pairs(['a'], ['b']); textsiam.find_repeats(['a', 'a'])",
        "import numpy as np, textsiam; textsiam.threshold_join(np.eye(3), threshold=0.5).clusters()",
    ],
    ids=["import", "help", "reading", "joining"],
)
def test_light_things_load_nothing_heavy(code):
    """No torch, transformers, sklearn, scipy.stats or datasets before something needs them."""
    assert loaded_by(code) == []


def test_the_inference_path_loads_no_training_library():
    """Scoring needs torch and transformers, but neither datasets nor scikit-learn nor scipy.stats."""
    code = "from textsiam import Siamese; Siamese.load().score(['a'], ['b'])"
    assert not {"sklearn", "datasets", "scipy.stats"} & set(loaded_by(code))


def test_one_pairs_road_crosses_at_most_nine_files(model):
    """From `Siamese.decide` down, counted by tracing calls."""
    package = Path(textsiam.__file__).parent
    files = []

    def follow(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and package in path.parents and path not in files:
            files.append(path)

    sys.setprofile(follow)
    try:
        model.decide(["How do I pay?"], ["How can I pay?"])
    finally:
        sys.setprofile(None)
    road = [str(path.relative_to(package)) for path in files]
    assert road[0] == "scoring/scorer.py"
    assert len(road) <= 9, road


def test_the_tests_run_against_the_installed_package():
    """With TEXTSIAM_WHEEL set (as `make test` does), the checkout's own folder is not what is tested."""
    import os

    if os.environ.get("TEXTSIAM_WHEEL"):
        assert ROOT not in Path(textsiam.__file__).parents or ".venv" in textsiam.__file__


def test_every_command_and_option_is_documented():
    """README names every command; every option has a help text."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, command in get_command(app).commands.items():
        assert f"textsiam {name}" in readme, name
        for option in command.params:
            assert getattr(option, "help", None), (name, option.name)


def test_the_help_of_train_tells_the_recipes_defaults():
    """Options without a default of their own leave it to the recipe, whose number is in the text."""
    for option in get_command(app).commands["train"].params:
        default = getattr(Recipe, option.name, None)
        if isinstance(default, (int, float)) and not isinstance(default, bool):
            assert option.help.endswith(f"Default: {default:g}."), option.name


def test_every_table_and_error_is_used():
    """An error type that nothing raises would be a promise that nobody keeps."""
    source = "".join(path.read_text(encoding="utf-8") for path in Path(textsiam.__file__).parent.rglob("*.py"))
    for name in re.findall(r"^class (\w+)\(TextsiamError", source, re.MULTILINE):
        assert len(re.findall(rf"\b{name}\b", source)) > 1, name


def test_the_root_holds_the_frame_and_nothing_else():
    """What lies at the root is what the frame names."""
    allowed = {"textsiam", "tests", "notebooks", "benchmarks", "pyproject.toml", "README.md", "Makefile", "LICENSE"}
    allowed |= {"CHANGELOG.md", "CONTRIBUTING.md", "constraints.txt", ".ci", ".gitignore"}
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True).stdout
    assert {line.split("/")[0] for line in listed.splitlines()} <= allowed


def test_the_changelog_knows_this_version():
    """A released number has its lines."""
    assert f"## {textsiam.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
