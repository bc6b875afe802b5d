# Two commands for a machine that has only Python 3.11 to 3.13, git and make:
#
#     make demo    sets everything up and runs the pipeline on its own servers, until Ctrl-C
#     make test    sets everything up and runs every check and every test
#
# Both work in .venv and skip what is already done. They need only GNU make 3.81 and a POSIX sh.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
LOCK := requirements-dev.lock
UV ?= $(shell command -v uv || echo $(BIN)/uv)

# The first of these that runs and fits is used; or name one: make demo PYTHON=/path/to/python3.12
PYTHON ?= python3.13 python3.12 python3.11 python3
# They are run, not looked up: a version manager may provide a command that only says the version is missing.
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

EXAMPLE ?= shop
SOAK_SECONDS ?= 1800
FAULT_SEEDS ?= 1 2 3 4 5 6 7 8 9 10
FAULT_HOLD ?= 60
FAULT_LISTINGS ?= 20000
FAULT_KEPT ?= 60

# Tests mostly wait for servers, so three run at a time. One at a time: make test PARALLEL=
PARALLEL := -n 3 --dist worksteal

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start hundreds of workers. With cached bytecode a start takes a second, without it five.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo example test secured releases faults soak bench scaling lint unit format install lock clean always

help:
	@echo "make demo     set up, then run the whole pipeline with live sample listings, until Ctrl-C (DEMO_SECONDS=20: for 20 s)"
	@echo "make example  set up, then run an example on its own servers: EXAMPLE=shop, blog or homes (EXAMPLE_FLAGS=--stay)"
	@echo "make test     set up, then run every check and every test"
	@echo "make secured  set up, then run the acceptance tests on TLS-only servers, with the least rights of docs/security.md"
	@echo "make releases set up, then test every release of Typesense that we imitate: changes, reconcile, verify, kill -9"
	@echo "make faults   set up, then run the fault suite with three replicas, once per seed (FAULT_SEEDS='1 2 3 4 5 6 7 8 9 10')"
	@echo "make soak     set up, then inject faults in random order under load, for SOAK_SECONDS=1800 (SOAK_FLAGS='--seed 7')"
	@echo "make bench    set up, then measure side by side: raw imports, two scripts, tsync-stream (BENCH_FLAGS='--only burst')"
	@echo "make scaling  set up, then measure the effect of more replicas and more documents (SCALING_FLAGS='--replicas 1 2')"
	@echo "make lint     set up, then run ruff, mypy and import-linter"
	@echo "make unit     set up, then run the fast tests, which need no servers"
	@echo "make format   format the code, and fix what ruff can fix"
	@echo "make lock     resolve the dependencies again (LOCK_FLAGS=--upgrade: to the newest releases)"
	@echo "make clean    remove .venv, the caches, and the data of the demo's servers (.tsync)"

demo: install
	@$(BIN)/python -m tsync_stream.demo

example: install
	@$(BIN)/python -m examples.$(EXAMPLE) $(EXAMPLE_FLAGS)

# Every process of the test run collects all tests. Beside the checks, which leave a processor idle, their bytecode is
# made once, so that not each of these processes has to make it.
test: install
	@$(BIN)/python -m pytest --collect-only -qq >/dev/null 2>&1 & \
		$(MAKE) --no-print-directory lint; checked=$$?; wait; exit $$checked
	@echo "==> pytest"
	@$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_FLAGS)

secured: install
	@$(BIN)/python -m pytest tests/acceptance $(PARALLEL) --secured $(PYTEST_FLAGS)

releases: install
	@$(BIN)/python -m pytest tests/acceptance/test_releases.py $(PARALLEL) --all-releases $(PYTEST_FLAGS)

faults: install
	@for seed in $(FAULT_SEEDS); do \
		echo "==> seed $$seed"; \
		$(BIN)/python -m pytest tests/faults $(PARALLEL) --fault-replicas 3 --fault-seed $$seed \
			--fault-hold $(FAULT_HOLD) --fault-listings $(FAULT_LISTINGS) --fault-kept $(FAULT_KEPT) $(PYTEST_FLAGS) || exit 1; \
	done

soak: install
	@$(BIN)/python -m tests.faults.soak --seconds $(SOAK_SECONDS) $(SOAK_FLAGS)

bench: install
	@$(BIN)/python -m bench $(BENCH_FLAGS)

scaling: install
	@$(BIN)/python -m bench.scaling $(SCALING_FLAGS)

unit: install
	@$(BIN)/python -m pytest tests/unit $(PYTEST_FLAGS)

lint: install
	@echo "==> ruff check"
	@$(BIN)/ruff check .
	@echo "==> ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "==> mypy"
	@$(BIN)/mypy
	@echo "==> lint-imports"
	@$(BIN)/lint-imports --no-logo

format: install
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

install: $(INSTALLED)

# "always" if the Python that .venv was made with is gone.
$(INSTALLED): $(LOCK) pyproject.toml $(if $(shell $(BIN)/python -m pip --version 2>/dev/null),,always)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		found=; \
		for candidate in $(PYTHON); do \
			if $$candidate -c '$(FITS)' >/dev/null 2>&1; then found=$$candidate; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "No Python that fits was found. tsync-stream needs Python 3.11, 3.12 or 3.13, with its venv module." >&2; \
			for candidate in $(PYTHON); do \
				echo "  $$candidate: $$($$candidate --version 2>&1 | head -n 1)" >&2; \
			done; \
			echo "Debian, Ubuntu: apt-get install python3 python3-venv. Elsewhere: python.org/downloads." >&2; \
			echo "Or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
			exit 1; \
		fi; \
		echo "==> Making $(VENV) with $$($$found --version)"; \
		$$found -m venv --clear $(VENV); \
	}
	@echo "==> Installing the locked requirements into $(VENV): about 200 MB to download the first time"
	@$(BIN)/python -m pip install --require-hashes --only-binary :all: --no-compile -r $(LOCK)
	@echo "==> Installing tsync-stream itself"
	@$(BIN)/python -m pip install --quiet --no-deps --no-index --no-build-isolation --editable .
	@touch $@

always:

# One resolution for all platforms and for Python 3.11 to 3.13. requirements.lock is for installing the product alone.
lock: export UV_CUSTOM_COMPILE_COMMAND := make lock
lock: $(if $(findstring $(BIN),$(UV)),$(BIN)/uv,)
	$(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--quiet $(LOCK_FLAGS) --extra embedded --extra otel --extra dev --output-file $(LOCK)
	$(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--quiet --no-annotate --constraint $(LOCK) --output-file requirements.lock

$(BIN)/uv: | install
	@$(BIN)/python -m pip install --quiet uv

clean:
	rm -rf $(VENV) .tsync .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
