# Everything runs in .venv, which `make setup` builds from what pyproject.toml declares.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Nodes are started hundreds of times here: what Python compiles is kept, even where the environment says not to.
unexport PYTHONDONTWRITEBYTECODE
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-long sim lint format proto check-generated bench chaos power fuzz clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[node,dev]'
	touch $(STAMP)

demo: setup   ## three acts: a migration that survives kill -9; a plan that survives a partition; owners frozen and cut off
	@echo 'Act one: a migration. The leader is killed, and the agent.'
	@$(BIN)/python examples/migration/demo.py $(if $(SOURCE),--source $(SOURCE))
	@printf '\nAct two: three agents plan together, through a partition.\n'
	@$(BIN)/python examples/plan/demo.py
	@printf '\nAct three: a payer is frozen and thawed; a scout is cut off and comes home.\n'
	@$(BIN)/python examples/owners/demo.py

test: setup   ## every test but the long ones: real nodes, one cluster at a time, and beside them those that compute
	$(BIN)/python -m pytest

test-long: setup   ## the long tests alone: searches over seeds, every byte changed
	$(BIN)/python -m pytest -m long

SIM := $(BIN)/python -m tallystick_node.sim
NODES ?= 3,5
sim: setup   ## whole clusters under virtual time and faults: 100 seeds of three nodes, 100 of five; or SEEDS=a..b, NODES=3,5
	$(if $(SEEDS),$(SIM) $(SEEDS) --nodes $(NODES),$(SIM) 0..100 --nodes 3 && $(SIM) 100..200 --nodes 5)

lint: setup   ## style, types, import contracts, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate.py --check

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: setup   ## regenerate the code made from proto/ and the blocking client
	$(BIN)/python scripts/generate.py

bench: setup   ## the figures in docs/reference/benchmarks.md
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench --contexts

chaos: setup   ## random faults under load for MINUTES, every answer judged
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT))

power: setup   ## power loss of all nodes at once, ROUNDS times; needs root
	$(BIN)/python -m tests.power --rounds $(or $(ROUNDS),50)

fuzz: setup   ## hostile updates against admission and pycrdt: SECONDS=60, or INPUTS=1000000
	$(BIN)/python -m tests.fuzz $(if $(INPUTS),--inputs $(INPUTS),--seconds $(or $(SECONDS),60)) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT))

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
