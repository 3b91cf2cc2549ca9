# All set-up happens here: `make quickstart` and `make test` need python3 (>= 3.10), make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A process of tests per core, whole files each, those that start many processes first; a process
# that crashes ends all, and its test is named.
WORKERS ?= logical
SIDE_BY_SIDE := -n $(WORKERS) --maxprocesses=4 --dist=loadfile --no-loadscope-reorder
SIDE_BY_SIDE += --max-worker-restart=0

# Keep compiled modules although the caller's environment may forbid it: every process that the
# tests start would compile the package anew, half a second each.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: install install-test quickstart quality test test-slow lint docs clean help

help:
	@echo "make quickstart  set up, train on rendered faces, evaluate, export (minutes, CPU)"
	@echo "make quality     set up, compare MagFace with ArcFace on spoilt faces (10 minutes, CPU)"
	@echo "make test        set up, ruff, mypy, pytest"
	@echo "make test-slow   the tests that take minutes"
	@echo "make install     set up .venv with the CPU build of Paddle, ONNX export, plots"
	@echo "make lint        ruff and mypy"
	@echo "make docs        build the documentation as a site in build/site"

# A stamp that is newer than setup.py says that the environment is whole.
$(VENV)/installed: setup.py requirements.txt plsc/__init__.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=23" setuptools wheel
	$(BIN)/python -m pip install --quiet -e ".[cpu,onnx,plot]"
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -e ".[test]"
	@touch $@

install: $(VENV)/installed

install-test: $(VENV)/installed-test

quickstart: install
	$(BIN)/python tools/quickstart.py

quality: install-test
	$(BIN)/python tools/quality_experiment.py

lint: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE)

test-slow: install-test
	$(BIN)/python -m pytest -q -m "slow and not gpu"

docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	$(BIN)/zensical build --strict

clean:
	rm -rf $(VENV) build dist *.egg-info
