.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
SOAK_MINUTES ?= 60

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed ## Make .venv with everything; .venv/bin/transfusion works afterwards

$(VENV)/.installed: pyproject.toml .ci/setup
	bash .ci/setup $(VENV)
	@touch $@

demo: setup ## Run the quick experiment on the embedded platform and print its tables
	@$(BIN)/python -m transfusion_client.demo

format: setup ## Format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: setup ## Formatting, lint, types, import contracts, OpenAPI, references and migrations in step, secrets, requirements
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy core/transfusion_core api/transfusion_api worker/transfusion_worker clients/transfusion_client
	$(BIN)/lint-imports
	$(BIN)/python -m transfusion_api.openapi --check
	$(BIN)/python -m transfusion_api.reference --check
	$(BIN)/python -m pytest tests/core/db/test_engine.py -k migrations
	$(BIN)/python .ci/audit.py

# Hundreds of processes: each would compile what it imports anew where Python is told to keep nothing.
test: export PYTHONDONTWRITEBYTECODE =
test: setup ## Run the whole suite
	bash .ci/servers
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: setup ## Run the benchmarks, one after the other
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

soak: setup ## The long form of the fault tests; SOAK_MINUTES=60 of them with a fault every 20 s
	TRANSFUSION_SOAK=1 TRANSFUSION_SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python -m pytest tests/faults tests/core/db/test_claims.py tests/core/db/test_state_machine.py tests/api/test_app.py tests/api/test_state_machine.py tests/system/test_backup.py tests/system/test_compose.py tests/system/test_real_data.py tests/system/test_service.py tests/system/test_upgrade.py
	TRANSFUSION_SOAK=1 $(BIN)/python tests/benchmarks/bench_load.py crowd beats
	$(BIN)/python tests/benchmarks/soak_hours.py

screenshots: setup ## Pictures of every page, to be looked at, in screenshots/
	PYTHONPATH=tests $(BIN)/python tests/screenshots.py

lock: setup ## Write deploy/requirements anew: pinned and hashed, without addresses
	@for part in api worker; do $(BIN)/uv pip compile pyproject.toml --extra $$part --generate-hashes --no-annotate \
	  --no-header --no-emit-index-url --no-emit-find-links --python-version 3.11 -q -o deploy/requirements/$$part.txt; done
	@echo 'setuptools>=77' | $(BIN)/uv pip compile - --generate-hashes --no-annotate --no-header --no-emit-index-url \
	  --no-emit-find-links --python-version 3.11 -q -o deploy/requirements/build.txt
	@awk -f deploy/requirements/without_gpu.awk deploy/requirements/worker.txt >deploy/requirements/worker-cpu.txt

digests: setup ## Write deploy/compose.digests.yml: the images of docker-compose.yml by the digests that this machine has pulled
	@$(BIN)/python deploy/digests.py >deploy/compose.digests.yml.part && mv deploy/compose.digests.yml.part deploy/compose.digests.yml
	@cat deploy/compose.digests.yml

up: setup ## Start the embedded platform on port 8000
	$(BIN)/transfusion up

.PHONY: help setup demo format check test bench soak screenshots lock digests up
