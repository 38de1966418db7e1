# Two commands from a fresh checkout: `make demo` shows it, `make test` checks all of it.
# Both need Python >= 3.11, make and a package registry; all else they install themselves, into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP     = $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
SOURCES := $(shell find textsiam -type f -not -name '*.pyc') pyproject.toml constraints.txt README.md LICENSE

.PHONY: demo test bench format lint types layers unit doctest bare clean

demo: $(VENV)/.package
	$(BIN)/textsiam duplicates --sample

test: $(VENV)/.package $(VENV)/.tools
	@$(MAKE) --no-print-directory format lint types layers bare doctest unit

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

# -P: the checkout's own folder stays off the path, so that the wheel is what is tested.
unit:
	TEXTSIAM_WHEEL=1 OMP_NUM_THREADS=1 $(BIN)/python -P -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder

doctest:
	OMP_NUM_THREADS=1 $(BIN)/python -P -m pytest --doctest-modules --pyargs textsiam -p no:cacheprovider -o testpaths= -q -n 2

# Without extras, and even without a single dependency, the package can be imported and names its version.
bare:
	rm -rf $(VENV)/bare && $(PYTHON) -m venv $(VENV)/bare
	$(VENV)/bare/bin/python -m pip --disable-pip-version-check install --quiet --no-deps dist/*.whl
	cd $(VENV) && bare/bin/python -c 'import textsiam; print("bare import of textsiam", textsiam.__version__)'

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
