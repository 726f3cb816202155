# make search   sets everything up, runs the default search, ends with what it found
# make test     sets everything up, compiles the kernels once, runs all tests: fast ones first, two at a time; Ray's alone
# make docs     builds the documentation as a site, in site/; broken links are errors
# make gpu-check    ten minutes on a GPU: all that is claimed of it, measured (DRY=1: every part on a CPU, in small)
# make gpu-wheels   fetches what a GPU machine without a network may lack, for it

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: setup search test check docs gpu-check gpu-wheels clean

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

# The site, in site/; a broken link is an error (with --quiet it would not be: warnings are not counted then).
docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Without setup: the machine has its own torch, and perhaps no network. OUT, BUDGET, NPZ and DRY may be given.
gpu-check:
	$(PYTHON) benchmarks/gpu_check.py --out $(or $(OUT),gpu-check-$(shell date +%Y%m%d-%H%M%S)) \
	  --budget-seconds $(or $(BUDGET),570) $(if $(NPZ),--npz $(NPZ)) $(if $(DRY),--dry-run)

gpu-wheels:
	$(PYTHON) benchmarks/gpu/wheels.py .wheels

clean:
	rm -rf $(VENV) build dist site .wheels src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
