# One verb per job. The first one creates .venv; nothing but Python 3.11 or newer, git and make is needed.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1; then command -v $$p; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.dev-installed
OUT ?= demo-run
JOBS ?= 4

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test cover packages unit lint types floors wheel bench soak clean

help:  ## say what each verb does
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer (with venv) is needed; set PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)  ## run both stages for real on a small built-in data set (OUT=demo-run)
	@$(BIN)/kdcache demo --out $(OUT)

test: lint types floors packages  ## everything that a change must pass
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not gpu and not soak"

cover: $(STAMP)  ## the same tests, and what part of the library they run (a quarter slower)
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not gpu and not soak" --cov --cov-report=term

packages: $(STAMP)  ## Debian packages that some tests need, where they can be installed
	@tests/support/debian-packages.sh
	@tests/support/azurite.sh $(VENV)

unit: $(STAMP)  ## the quick part of the tests
	@$(BIN)/python -m pytest -q tests/unit -m "not slow and not gpu and not soak"

lint: $(STAMP)  ## ruff: rules and format
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet

types: $(STAMP)  ## mypy, strict
	@$(BIN)/mypy --no-error-summary

floors: $(STAMP)  ## import-linter: who may import whom
	@$(BIN)/lint-imports > $(VENV)/floors.log 2>&1 || { cat $(VENV)/floors.log; exit 1; }

wheel: $(STAMP)  ## build dist/*.whl
	@$(BIN)/python -m build --wheel --no-isolation > $(VENV)/wheel.log 2>&1 || { cat $(VENV)/wheel.log; exit 1; }
	@ls dist/*.whl

bench: $(STAMP)  ## measure what docs/benchmarks.md reports
	@$(BIN)/python -m tests.benchmarks

soak: $(STAMP)  ## long fault runs: kills, damage, restarts
	@$(BIN)/python -m pytest -q -m soak --timeout 7200

clean:  ## remove what make made, .venv too
	@rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage .coverage.* demo-run
