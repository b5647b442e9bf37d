# `make test` and `make demo` do all set-up themselves, in .venv, with plain venv and pip.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
# PyTorch's CPU build is a tenth of the default one; a wheel found locally (pip's find-links) is taken first.
TORCH ?= torch==2.13.0

.PHONY: setup test slow lint demo docs clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$(EXTRAS)]" "$(TORCH)"
	touch $@

test: setup lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup

slow: setup
	$(BIN)/python -m pytest -m "slow or not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: setup
	$(BIN)/python -m sensorium demo --out demo

docs: setup
	$(BIN)/python docs/build.py

clean:
	rm -rf $(VENV) .cache build dist
