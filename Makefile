# Two commands: `make demo` shows the main job on real ECGs, `make test` runs the tests. `make help` lists the rest.
# Settings: PYTHON (3.11 to 3.13), VENV (where to install), JOBS (test processes), TESTS (what to test).

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
VENV ?= .venv
JOBS ?= 2
TESTS ?= tests
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# A stamp per content of the files that decide what is installed: an unchanged set-up costs nothing.
CONTENT := $(shell cat pyproject.toml setup.py constraints.txt | cksum | cut -d' ' -f1)
CORE := $(VENV)/installed-core-$(CONTENT)
ALL := $(VENV)/installed-all-$(CONTENT)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint clean

help:  ## this list
	@grep -hE '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/: .*## /\t/' | expand -t 12

install: $(CORE)  ## the package and what it needs, pinned, into VENV

demo: $(CORE)  ## preprocess, pretrain, fine-tune and validate on the ECGs of this repository (6 minutes, runs/demo)
	@$(BIN)/python examples/demo/demo.py

test: $(ALL)  ## the default test suite
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(TESTS)

test-all: $(ALL)  ## the default test suite and the tests marked slow
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "" $(TESTS)

lint: $(ALL)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:  ## remove runs/, caches and build folders; the virtual environment stays
	rm -rf runs outputs multirun build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "error: $(PYTHON) is not Python 3.11, 3.12 or 3.13. Type: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "+ $(PYTHON) -m venv $(VENV)"
	@torch=$$($(PYTHON) -c 'import torch; print(torch.__path__[0].rpartition("/")[0])' 2>/dev/null); \
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "error: $(PYTHON) cannot make a virtual environment; on Debian: apt install python3-venv"; exit 1; }; \
	if [ -n "$$torch" ]; then \
	  echo "$$torch" > $$($@ -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch_of_$(notdir $(PYTHON)).pth; fi

# constraints.txt pins everything. A torch that is already there, in VENV or in PYTHON, is kept.
define install
	@torch=$$($(BIN)/python -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null || echo 2.13.0); \
	sed "s/^torch==.*/torch==$$torch/" constraints.txt > $(VENV)/constraints.txt
	$(PIP) install -c $(VENV)/constraints.txt "$$(grep ^torch== $(VENV)/constraints.txt)"
	$(PIP) install -c $(VENV)/constraints.txt setuptools wheel
	$(PIP) install -c $(VENV)/constraints.txt --no-build-isolation $(1)
	@touch $@
endef

$(CORE): | $(BIN)/python
	$(call install,-e .)

$(ALL): | $(BIN)/python
	$(call install,-e '.[all$(comma)dev]')
	@touch $(CORE)

comma := ,
