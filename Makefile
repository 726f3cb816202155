# make search   sets everything up, runs the default search, ends with what it found
# make test     sets everything up, compiles the kernels once, runs all tests: fast ones first, two at a time; Ray's alone

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: setup search test check clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; install a newer one, or type make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

search: setup
	$(BIN)/lossforge search search_spaces/digits.toml

test: setup
	$(BIN)/python -c 'from lossforge.screening.descent import compile_kernels; compile_kernels()'
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow and not ray'
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'slow and not ray'
	$(BIN)/python -m pytest -m ray

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
