"""How the code is organised: imports stay light, folders and files stay small, names tell, and one pair crosses few files."""

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.main import get_command

import textsiam
from textsiam import Threshold
from textsiam.interfaces.cli import app
from textsiam.training.recipe import Recipe

ROOT = Path(__file__).parent.parent
_spec = importlib.util.spec_from_file_location("house", ROOT / "benchmarks" / "house.py")
house = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(house)
MODULES = {name: path for name, path in house.modules(ROOT).items() if path.stem not in {"__init__", "__main__"}}
# Small modules with one importer that are a noun all the same: an interface that frameworks call, or a literal table.
SMALL_BY_RIGHT = {
    "textsiam.interfaces.estimators.pair_scorer": "a public estimator",
    "textsiam.interfaces.estimators.sentence_encoder": "a public estimator",
    "textsiam.scoring.explaining.features": "the table FEATURES",
}
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


def test_a_folder_holds_at_most_fifteen_files():
    """One file per verb (`interfaces/commands`) excepted."""
    sizes = Counter(path.parent.relative_to(ROOT).as_posix() for path in MODULES.values())
    sizes.pop("textsiam/interfaces/commands")
    assert {folder: n for folder, n in sizes.items() if n > 15} == {}


def test_a_file_holds_at_most_250_lines_of_code():
    """Docstrings, comments, imports and blank lines are free."""
    sizes = {name: house.code_lines(path) for name, path in MODULES.items()}
    assert {name: n for name, n in sizes.items() if n > 250} == {}


def test_no_splinters():
    """A module under 50 lines of code has two importers, or is a command, an interface or a table."""
    importers = Counter(other for others in house.imports(ROOT, type_checking=True).values() for other in others)
    small = {name for name, path in MODULES.items() if importers[name] < 2 and house.code_lines(path) < 50}
    small = {name for name in small if not name.startswith("textsiam.interfaces.commands.")}
    assert small - set(SMALL_BY_RIGHT) == set()
    assert set(SMALL_BY_RIGHT) - small == set(), "no longer small: strike it from the list"


def test_no_name_is_borne_by_two_modules():
    """A newcomer finds a file by its name; a command's file may bear the name of its verb."""
    stems = Counter(path.stem for path in MODULES.values() if path.parent.name != "commands")
    assert {stem: n for stem, n in stems.items() if n > 1} == {}


def test_no_circles_of_imports():
    """Imports inside functions count; those for the type checker alone do not."""
    assert house.circles(house.imports(ROOT)) == []


def test_code_lines_are_counted_as_said(tmp_path):
    """The counter itself, on a file with everything that is free."""
    file = tmp_path / "some.py"
    file.write_text('"""Module.\n\nMore.\n"""\n\nimport os\nfrom a import (\n    b,\n)\n\n# why\nX = 1  # code\n\n\n'
                    'def f():\n    """Doc."""\n    return """a\n    b"""\n')  # fmt: skip
    assert house.code_lines(file) == 4


def test_one_pairs_road_crosses_few_files(cosine, model):
    """From `Siamese.decide` down, by tracing calls: by cosine; by the judge, which reads both texts; with all vetoes."""
    assert len(road_of(cosine)) <= 10
    assert len(road_of(model.with_vetoes(()).with_thresholds(Threshold(0.0, "log-odds"), None))) <= 17
    assert len(road_of(model)) <= 23


def road_of(model):
    package = Path(textsiam.__file__).parent
    files = []

    def follow(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and package in path.parents and path not in files:
            files.append(path)

    model.decide(["Where is it?"], ["Where was it?"])  # the first one also builds the encoder's graph
    sys.setprofile(follow)
    try:
        model.decide(["How do I pay?"], ["How can I pay?"])
    finally:
        sys.setprofile(None)
    road = [str(path.relative_to(package)) for path in files]
    assert road[0] == "scoring/scorer.py"
    return road


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
    allowed = {
        "textsiam",
        "tests",
        "notebooks",
        "benchmarks",
        "pyproject.toml",
        "README.md",
        "Makefile",
        "LICENSE",
        "NOTICE",
    }
    allowed |= {"CHANGELOG.md", "CONTRIBUTING.md", "constraints.txt", ".ci", ".gitignore"}
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True).stdout
    assert {line.split("/")[0] for line in listed.splitlines()} <= allowed


def test_the_changelog_knows_this_version():
    """A released number has its lines."""
    assert f"## {textsiam.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
