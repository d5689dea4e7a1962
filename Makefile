# Two commands do all the set-up on a fresh machine:
#   make demo   environment, install, the main scenario, a table and an HTML report
#   make test   environment, install, lint, types, tests
# make check is the short form of make test.
# Nothing but Python 3.11 or newer and make is needed; a second call does not install again.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV   := .venv
JOBS   ?= 2
BIN    := $(VENV)/bin
# One thread per process: the pools are outside BLAS, and internal threads only fight each other.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: help demo test check coverage lint types docs experiments bench clean
.DELETE_ON_ERROR:

help:
	@sed -n 1,6p Makefile

$(VENV)/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "flower_coded needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# The stamps are what keeps a second run from installing again.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing flower_coded into $(VENV) (several minutes the first time: torch is large)"
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing flower_coded with its test tools into $(VENV) (several minutes the first time: torch is large)"
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --editable '.[dev]'
	@touch $(VENV)/.installed $@

demo: $(VENV)/.installed
	$(BIN)/flower-coded demo

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy
	$(BIN)/mypy scenarios/contrastive-ecoc/compare.py

# For people at work: without runs through Flower and the long families of small trainings.
check: lint types
	$(BIN)/python -m pytest -m 'not experiment and not slow' --numprocesses $(JOBS) --dist worksteal

test: lint types
	$(BIN)/python -m pytest -m 'not experiment' --numprocesses $(JOBS) --dist worksteal

# The same tests under a tracer, which takes them half as long again.
coverage: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m 'not experiment' --numprocesses $(JOBS) --dist worksteal --cov --cov-report=term

# The site, in docs/_build; a warning is an error.
docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo "open docs/_build/index.html"

experiments: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m experiment

bench: $(VENV)/.installed-dev
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov docs/_build docs/api
