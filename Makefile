# evolcoder: two commands from a fresh clone.
#   make quickstart   environment, then the whole loop on this machine, then a table and a report
#   make test         environment, then all tests
#   make docs         environment of its own, then the site in build/site; a broken link ends it
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# torch is named with its version so that every machine gets the one that was tested. On a machine without a
# GPU a CPU build is enough: make quickstart PIP_TORCH="--index-url <an index of CPU builds> torch==2.13.0"
PIP_TORCH ?= torch==2.13.0
SET ?=

.PHONY: quickstart test lint format check docs clean

quickstart: $(VENV)/.quickstart
	$(BIN)/evolcoder run quickstart $(foreach pair,$(SET),--set $(pair))

# Two processes, each of one thread and up to 5 GB: JOBS=8 where there is more. A file's tests stay together.
JOBS ?= 2

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

format: $(VENV)/.dev
	$(BIN)/ruff check --fix src tests bench
	$(BIN)/ruff format src tests bench

# The site's packages want nothing of the project's heavy ones: a small environment of its own.
docs: build/docs-venv/.done
	NO_MKDOCS_2_WARNING=1 build/docs-venv/bin/mkdocs build --strict

build/docs-venv/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv build/docs-venv
	build/docs-venv/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt -e '.[docs]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.quickstart: pyproject.toml constraints.txt requirements-files.txt | $(BIN)/python
	$(PIP) install --progress-bar off -q -c constraints.txt $(PIP_TORCH)
	$(PIP) install --progress-bar off -q -c constraints.txt -e '.[quickstart]'
	$(PIP) install --progress-bar off -q --no-deps -r requirements-files.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.quickstart
	$(PIP) install --progress-bar off -q -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist
