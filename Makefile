# Every target sets up what it needs in .venv; `make serve` and `make test` work from a clean clone.
PYTHON ?= python3
PORT ?= 8888
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
BUILD_INPUTS := setup.cfg setup.py pyproject.toml $(shell find pykaldi_server/kaldi/csrc pykaldi_server/kaldi/bindings -name '*.cc' -o -name '*.h')

.PHONY: setup serve test lint types bench docs clean

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

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	$(BIN)/python scripts/bench/whole_path.py

docs: setup
	$(BIN)/python scripts/check_docs.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pykaldi_server tests scripts -name __pycache__ -prune -exec rm -rf {} +
	find pykaldi_server -name '*.so' -delete
