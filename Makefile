# From a fresh checkout: `make demo` shows what users see first, `make test` checks the package, `make test-long` runs what that
# leaves out: larger sizes, further cases, the lowest versions. `make soak` kills, damages and loads for hours.
# All need Python >= 3.11, make and a package registry; everything else they install themselves, into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP     = $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile -c constraints.txt
SOURCES := $(shell find textsiam -type f -not -name '*.pyc') pyproject.toml constraints.txt README.md LICENSE

# Bytecode is made of what is imported, once, instead of all that is installed, which took most of installing.
unexport PYTHONDONTWRITEBYTECODE
# Users' output is buffered.
unexport PYTHONUNBUFFERED

.PHONY: demo test test-long soak bench format lint types layers unit doctest bare coverage lowest lowest-quick clean

demo: $(VENV)/.package
	$(BIN)/textsiam duplicates --sample

test: $(VENV)/.package $(VENV)/.tools
# The doctests take one core, the checks of the text the other.
	@$(MAKE) --no-print-directory -j 2 doctest types format lint layers bare
	@$(MAKE) --no-print-directory unit

# Only what `make test` leaves out.
test-long: $(VENV)/.package $(VENV)/.tools
	@$(MAKE) --no-print-directory lowest-quick
	$(UNIT) tests -m long -n 2 --dist worksteal --ignore tests/distributing/test_ray.py
	$(UNIT) tests/distributing/test_ray.py -m long

# By hand: TEXTSIAM_KILLS, TEXTSIAM_SOAK_S and TEXTSIAM_BODIES choose other sizes.
soak: $(VENV)/.package $(VENV)/.tools
	$(UNIT) tests -m soak -s

# All measurements of speed beside the peers, and the pipelines beside TF-IDF, in turn; hours. Nothing else should run.
bench: $(VENV)/.package
	$(PIP) --group bench
	$(BIN)/python -m benchmarks

# The package as users get it: a wheel with the embedded model, installed outside the checkout.
$(VENV)/.package: $(SOURCES) | $(BIN)/python
	rm -rf dist && $(PIP) build hatchling
	$(BIN)/python -m build --quiet --wheel --no-isolation --outdir dist .
	$(PIP) --force-reinstall --no-deps dist/*.whl
	$(PIP) "$$(ls dist/*.whl)[model,fast]"
	@touch $@

# torch first and alone: the constraints name the release whose wheel is a CPU build where one lies at hand.
$(BIN)/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "textsiam needs Python 3.11 or newer"'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) torch

$(VENV)/.tools: pyproject.toml constraints.txt | $(VENV)/.package
	$(PIP) --group lint --group test
	@touch $@

format:
	$(BIN)/ruff format --check .

lint:
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

layers:
	$(BIN)/lint-imports --no-cache | tail -n 5

# PYTHONSAFEPATH keeps the checkout's own folder off the path, also for processes that tests start: the wheel is what is tested.
# A cluster's two workers take a core each, so its tests run alone.
UNIT = PYTHONSAFEPATH=1 TEXTSIAM_WHEEL=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest
unit:
	$(UNIT) tests -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/distributing/test_ray.py
	$(UNIT) tests/distributing/test_ray.py

# By hand: which branches no test takes, also in processes that it starts, but for those that are killed. On a full disk counting fails.
coverage: $(VENV)/.tools
	rm -rf $(VENV)/coverage && mkdir $(VENV)/coverage
	-PYTHONSAFEPATH=1 OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder -q --deselect tests/interfaces/test_bad_input.py::test_disk_full_on_output
	$(BIN)/coverage combine -q && $(BIN)/coverage report

doctest:
	OMP_NUM_THREADS=1 $(BIN)/python -P -m pytest --doctest-modules --pyargs textsiam -p no:cacheprovider -o testpaths= -q

# Without extras, and even without a single dependency, the package can be imported and names its version.
bare:
	rm -rf $(VENV)/bare && $(PYTHON) -m venv $(VENV)/bare
	$(VENV)/bare/bin/python -m pip --disable-pip-version-check install --quiet --no-deps dist/*.whl
	cd $(VENV) && bare/bin/python -c 'import textsiam; print("bare import of textsiam", textsiam.__version__)'

# The lowest versions that pyproject.toml allows lie in a folder that hides the tested ones; torch and the tools stay as they are.
# What old versions say of each other's age is no concern of ours.
LOWEST = $(abspath $(VENV)/lowest)
INTO_LOWEST = $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-compile --target $(LOWEST)
WITH_LOWEST = TEXTSIAM_LOWEST=$(LOWEST) PYTHONPATH=$(LOWEST) OMP_NUM_THREADS=1 $(BIN)/python -P -m pytest -p no:cacheprovider \
	-W ignore::DeprecationWarning -W ignore::FutureWarning -W "ignore:mtime may not be reliable:UserWarning"

$(VENV)/.lowest: tests/lowest.txt | $(VENV)/.tools
	rm -rf $(LOWEST) $(VENV)/.lowest-extras && $(INTO_LOWEST) -r $<
	@touch $@

$(VENV)/.lowest-extras: tests/lowest_extras.txt $(VENV)/.lowest
	$(INTO_LOWEST) --upgrade -r $<
	@touch $@

lowest-quick: $(VENV)/.lowest
	$(WITH_LOWEST) -q tests/test_lowest.py

# By hand, when a bound is moved or a new function of a library is used: the extras too, and the tests of all that meets libraries.
LOWEST_TESTS ?= test_lowest test_house data/test_readers encoding/test_encoder encoding/test_model_folder encoding/test_packing interfaces/test_cli \
	training/test_fine_tuning interfaces/test_estimators scoring/test_calibration evaluation/test_evaluation evaluation/test_report \
	encoding/test_openvino indexing/test_approximate interfaces/test_service
lowest: $(VENV)/.lowest-extras
	$(WITH_LOWEST) -n 2 --dist loadfile $(addprefix tests/,$(addsuffix .py,$(LOWEST_TESTS)))

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
