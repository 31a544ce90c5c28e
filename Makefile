# Every target sets up what it needs in .venv; `make serve` and `make test` work from a clean clone.
PYTHON ?= python3
PORT ?= 8888
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
BUILD_INPUTS := setup.cfg setup.py pyproject.toml $(shell find pykaldi_server/kaldi/csrc pykaldi_server/kaldi/bindings -name '*.cc' -o -name '*.h')

# The core built with the address and undefined behaviour sanitizers, and the tests that use it most.
ASAN := build/asan
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
ASAN_TESTS := $(wildcard $(addprefix tests/kaldi/,fstext decoder lat lm matrix feat online2/test_endpoint.py))

.PHONY: setup serve test test-asan lint types setup-bench bench docs clean

setup: $(STAMP)

$(STAMP): $(BUILD_INPUTS)
	@$(PYTHON) scripts/check_system.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(STAMP)

serve: setup
	$(BIN)/pykaldi-server serve --port $(PORT)

test: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# Python itself is not built with the sanitizers, so their library comes first, and its own leaks do not count.
test-asan: setup
	$(BIN)/python -m pip install --quiet 'setuptools >= 68' 'pybind11 >= 2.12'
	CFLAGS='$(SANITIZERS) -fno-omit-frame-pointer -g' LDFLAGS='$(SANITIZERS)' \
		$(BIN)/python setup.py --quiet build --build-base $(ASAN) --build-lib $(ASAN)/lib
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
		PYTHONPATH=$(ASAN)/lib $(BIN)/pytest $(PYTEST_ARGS) $(ASAN_TESTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# What is compared with: Vosk, its Korean model, and packages that measure. The slow tests want them, too.
setup-bench: setup
	$(BIN)/python scripts/install_extra.py bench

bench: setup-bench
	$(BIN)/python scripts/bench/whole_path.py
	$(BIN)/python scripts/bench/acoustic.py
	$(BIN)/python scripts/bench/vosk.py

docs: setup
	$(BIN)/python scripts/check_docs.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pykaldi_server tests scripts -name __pycache__ -prune -exec rm -rf {} +
	find pykaldi_server -name '*.so' -delete
