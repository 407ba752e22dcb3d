# Every target installs what it needs into .venv, with the interpreter that PYTHON names; it is looked for otherwise.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
RUNTIME := .venv/.runtime
SETUP := .venv/.installed
DEPLOY := .venv/.deploy
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help setup demo check check-deploy fmt test test-fast simulate chaos bench-quick bench-state lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(SETUP) ## Install everything, pinned by hash, into .venv

# The runtime alone takes a third of the time of all, and is enough for the demo.
$(RUNTIME): requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed (Debian: python3-venv); PYTHON=... names one" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) install --require-hashes -r requirements.lock && touch $@

$(SETUP): $(RUNTIME) requirements-dev.lock pyproject.toml hatch_build.py $(wildcard processor/*.pyx)
	$(PIP) install --require-hashes -r requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation --editable . && touch $@

# What only the checks of the deployment need: a browser's client, schemas of Kubernetes.
$(DEPLOY): $(SETUP) requirements-deploy.lock
	$(PIP) install --require-hashes -r requirements-deploy.lock && touch $@

demo: $(RUNTIME) ## Watch simulated carrier traffic become status changes; needs nothing but Python
	$(BIN)/python -m processor demo

check: $(SETUP) ## Look at format, lint and types
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy

fmt: $(SETUP) ## Format, and mend what can be mended
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

# Two processes, each with a broker of its own: most of these tests wait for a session or a transaction to run out.
test: $(SETUP) ## Run all tests, those on a real Apache Kafka included
	$(BIN)/pytest -n 2

test-fast: $(SETUP) ## Run the tests that need no broker
	$(BIN)/pytest -m "not broker"

check-deploy: $(DEPLOY) ## Check what is deployed around the worker: the operations page in a browser, and more
	$(BIN)/pytest -m deploy

simulate: $(SETUP) ## Run the loop under seeded schedules of faults, without a broker: SCHEDULES=10000
	$(BIN)/python -m tests.schedules --schedules $(or $(SCHEDULES),10000)

bench-state: $(SETUP) ## Measure restore, take-over and the size of state
	$(BIN)/python -m bench.restore
	$(BIN)/python -m bench.takeover
	$(BIN)/python -m bench.week

chaos: $(SETUP) ## Kill, freeze and cut off workers and their broker: SEEDS=20 runs of SECONDS=60
	$(BIN)/python -m tests.chaos --seeds $(or $(SEEDS),20) --seconds $(or $(SECONDS),60) $(if $(REPORT),--report $(REPORT))

bench-quick: $(SETUP) ## Measure CPU per event against the limit, on a real broker
	$(BIN)/python bench/quick.py

lock: $(SETUP) ## Pin the newest versions of all dependencies
	$(PIP) install uv
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	$(COMPILE) --extra dev --extra deploy --constraint requirements-dev.lock --output-file requirements-deploy.lock

clean: ## Remove what the other targets made
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build processor/*.so processor/*.c
