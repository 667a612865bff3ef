# Two commands: `make demo` shows the main job on real ECGs, `make test` runs the tests. `make help` lists the rest.
# Settings: PYTHON (3.11 to 3.13), VENV (where to install), JOBS (test processes), TESTS (what to test).
# One's own data (examples/own_data): DATA, RATE, MODEL, RUN, PTBXL, PORT; ARGS goes to the command behind a target.

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
VENV ?= .venv
JOBS ?= 2
TESTS ?= tests
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --no-compile -c $(VENV)/constraints.txt
# A stamp per content of the files that decide what is installed: an unchanged set-up costs nothing.
CONTENT := $(shell cat pyproject.toml setup.py constraints.txt | cksum | cut -d' ' -f1)
CORE := $(VENV)/installed-core-$(CONTENT)
ALL := $(VENV)/installed-all-$(CONTENT)
HF := $(VENV)/installed-hf-$(CONTENT)
NOTEBOOK := $(VENV)/installed-notebook-$(CONTENT)
DATA ?= training_data
MODEL ?= Edoardo-BS/hubert-ecg-small
PTBXL ?= data/ptbxl
PORT ?= 8888

# A setting's text as one word of the shell, whatever characters a path has; $(value) keeps its dollar signs.
quote = '$(subst ','\'',$(1))'
setting = $(call quote,$(value $(1)))

.DEFAULT_GOAL := help
.PHONY: help install setup setup-dev demo test test-all lint clean prepare-data train train-from-scratch \
  ptbxl-setup jupyter build-jupyter run-jupyter docker

help:  ## this list
	@grep -hE '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/: .*## /\t/' | expand -t 20

install: $(CORE)  ## the package and what it needs, pinned, into VENV

demo: $(CORE)  ## preprocess, pretrain, fine-tune and validate on the ECGs of this repository (6 minutes, runs/demo)
	@$(BIN)/python examples/demo/demo.py

test: $(ALL)  ## the default test suite
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(TESTS)

test-all: $(ALL)  ## the default test suite and the tests marked slow
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "" $(TESTS)

setup: install  ## the same as install, HuBERT-ECG's name of it

setup-dev: $(ALL)  ## everything into VENV: all extras, pytest, ruff, mypy

lint: $(ALL)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

prepare-data: $(CORE)  ## record files in DATA/raw (RATE Hz, where they do not say it) -> tables in DATA/metadata, to type labels into
	$(BIN)/ecg-preprocess prepare $(call setting,DATA) $(if $(RATE),source_rate=$(RATE)) $(ARGS)

train: $(if $(shell test -e $(call setting,MODEL) && echo here),$(CORE),$(HF))  ## fine-tune HuBERT-ECG (MODEL: file, folder or hub name) on these tables
	$(call train,finetune_own,$(or $(value RUN),simple_training),--model $(call setting,MODEL),$(model_path))

train-from-scratch: $(CORE)  ## the same from random weights
	$(call train,scratch_own,$(or $(value RUN),from_scratch))

model_path = $(call quote,model.model_path=$(value MODEL))
run_dir = $(value DATA)/checkpoints/$(1)

# recipe, run, option of settings, setting
define train
	settings=$$($(BIN)/ecg-preprocess settings $(call setting,DATA) --run $(call quote,$(call run_dir,$(2))) $(3)) && \
	set -x && $(BIN)/ecg-train --config-name hubert/$(1) $(call quote,task.data=$(value DATA)/metadata) \
	  $(call quote,dataset.ecg_dir=$(value DATA)/processed) $(call quote,hydra.run.dir=$(call run_dir,$(2))) \
	  $(4) $$settings $(ARGS)
endef

ptbxl-setup: $(CORE)  ## a downloaded PTB-XL (PTBXL: folder or zip) -> data/ptbxl/processed and its labels
	$(BIN)/ecg-preprocess hubert ptbxl $(call setting,PTBXL) data/ptbxl $(ARGS)

jupyter: $(NOTEBOOK)  ## Jupyter with the notebooks of examples/notebooks, on port PORT
	$(BIN)/python -m notebook --port $(PORT) --notebook-dir examples/notebooks $(ARGS)

build-jupyter: docker  ## the same as a Docker image
	docker build -t ecg-signals-jupyter $(ARGS) .

run-jupyter: docker  ## start it; the repository is /workspace in there
	docker run --rm -it -p $(PORT):8888 -v "$(CURDIR)":/workspace $(ARGS) ecg-signals-jupyter

docker:
	@command -v docker > /dev/null || { echo "error: there is no docker; install it (docs.docker.com/engine/install)," \
	  "or without: make jupyter"; exit 1; }

clean:  ## remove caches and build folders; what you made (runs/, outputs/, data/, ...) and the environment stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find configs ecg_signals examples tests tools -name __pycache__ -prune -exec rm -rf {} +

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
	$(INSTALL) "$$(grep ^torch== $(VENV)/constraints.txt)" setuptools wheel
	$(INSTALL) --no-build-isolation $(1)
	@touch $@
endef

$(CORE): | $(BIN)/python
	$(call install,-e .)

$(ALL): | $(BIN)/python
	$(call install,-e '.[all$(comma)dev]')
	@touch $(CORE) $(HF)

$(HF): | $(BIN)/python
	$(call install,-e '.[hf]')
	@touch $(CORE)

$(NOTEBOOK): | $(BIN)/python
	$(call install,-e . notebook ipykernel)
	@touch $(CORE)

comma := ,
