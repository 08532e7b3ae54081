# `make help` lists the targets.

PYTHON ?= python3
CORES ?= all
MEMORY ?= 6000
WORKERS ?= logical
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
PRESET ?=
ARCHIVE ?=
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready
LIGHT := $(VENV)/.light
LATEX := latexmk texlive-publishers texlive-fonts-recommended texlive-latex-extra
APT := apt-get install --no-install-recommends --yes
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -n)
LIMITS = --default-resources mem_mb=2400 disk_mb=1000 --resources mem_mb=$(MEMORY) --scheduler greedy \
  --cores $(CORES) --rerun-incomplete
SNAKEMAKE = snakemake $(if $(PRESET),--configfile workflow/presets/$(PRESET).yaml) $(LIMITS)

export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# glibc hands large blocks back after each operation; to fetch them anew takes a tenth of the time on a CPU.
export MALLOC_MMAP_THRESHOLD_ := 1073741824
export MALLOC_TRIM_THRESHOLD_ := 1073741824
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

.PHONY: help
help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile \
	  | while IFS=$$'\t' read -r target text; do printf '  make %-12s %s\n' "$$target" "$$text"; done
	@echo
	@echo "  CORES=2 limits the cores, MEMORY=12000 (MB) allows more jobs of 3 GB at a time,"
	@echo "  WORKERS=1 runs one test at a time,"
	@echo "  PRESET=smoke chooses another study of workflow/presets/,"
	@echo "  PYTHON=python3.12 chooses the interpreter of a new $(VENV)."

# Virtual environment ---------------------------------------------------------------------------

define make-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "Python can't make virtual environments: apt-get install python3-venv"; exit 1; }
endef

$(READY): requirements.lock pyproject.toml
	$(make-venv)
	@echo "Installing the packages of requirements.lock into $(VENV); this takes some minutes ..."
	@$(BIN)/python -m pip install --quiet --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Enough for figures and tables: without torch and all else that a study is run with.
$(LIGHT): requirements.lock pyproject.toml
	$(make-venv)
	@echo "Installing what draws figures into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --constraint requirements.lock setuptools
	@$(BIN)/python -m pip install --quiet --constraint requirements.lock --no-build-isolation --editable .
	@touch $@

.PHONY: install
install: $(READY)  ## make the virtual environment from the lock

.PHONY: lock
lock: $(READY)  ## write the lock anew from what the virtual environment holds
	@{ echo "# Made by 'make lock', installed by 'make install'."; \
	  $(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//'; } > requirements.lock

# The study -------------------------------------------------------------------------------------

.PHONY: reproduce
reproduce: $(READY) have-latex  ## run the whole study: data, edits, figures, tables, report, paper
	@$(SNAKEMAKE)
	@$(MAKE) --no-print-directory provenance
	@clme timings
	@command -v latexmk >/dev/null || { echo; \
	  echo "The paper's PDF needs LaTeX:  $(APT) $(LATEX)"; echo "and then:  make paper"; }

# What made each result: jobs, code, environments, run times. Made anew only when a result has changed.
.PHONY: provenance
provenance: results/provenance.html
results/provenance.html: $(READY) $(wildcard results/timings.parquet)
	@$(SNAKEMAKE) --report $@ --quiet all

# LaTeX is installed where that needs no password; without it everything but the PDF is made.
.PHONY: have-latex
have-latex:
	@command -v latexmk >/dev/null || ! command -v apt-get >/dev/null || ! $(AS_ROOT) true 2>/dev/null || { \
	  echo "Installing LaTeX for the paper's PDF ..."; \
	  { $(AS_ROOT) apt-get update -qq && $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive $(APT) -qq $(LATEX); } >/dev/null \
	  || echo "LaTeX could not be installed; everything but the PDF will be made."; }

.PHONY: paper
paper: $(READY)  ## typeset the paper of the study (needs LaTeX)
	@command -v latexmk >/dev/null || { echo "latexmk is missing:  $(APT) $(LATEX)" >&2; exit 1; }
	@$(SNAKEMAKE) results/paper.pdf

.PHONY: archive
archive: $(READY)  ## pack the results that figures and tables are made from: results/archive.zip
	@$(SNAKEMAKE) results/archive.zip

.PHONY: figures
figures: $(if $(wildcard $(READY)),$(READY),$(LIGHT))  ## draw all figures and tables from results: make figures ARCHIVE=FILE
	@$(if $(ARCHIVE),clme unpack '$(ARCHIVE)' --output results)
	@clme exhibits

.PHONY: tuning
tuning: $(READY)  ## search the embedded model's hyperparameters: tuning/*/results/tuning.md
	@for search in tune tune-weights; do \
	  snakemake --configfile workflow/presets/$$search.yaml --directory tuning/$$search $(LIMITS) \
	    -- results/tuning.md; done

.PHONY: bench
bench: $(READY)  ## measure this engine against one that edits one request at a time: docs/performance.md
	@$(SNAKEMAKE) --config editors=all -- $$(python benchmarks/engine --needed)
	@python benchmarks/engine --reduced bfloat16
	@python benchmarks/engine/scaling.py
	@python benchmarks/engine/page.py

.PHONY: equality
equality: $(READY)  ## compare every case's greedy outputs with those of editing one request at a time (hours)
	@$(SNAKEMAKE) --config editors=all -- $$(python benchmarks/engine/equality.py --needed)
	@python benchmarks/engine/equality.py
	@python benchmarks/engine/page.py

.PHONY: unlock
unlock: $(READY)  ## let a run go on after one that was killed (no other may be running here)
	@$(SNAKEMAKE) --unlock

.PHONY: clean
clean:  ## delete all results and the virtual environment
	rm -rf $(VENV) .snakemake tuning
	find results -mindepth 1 ! -name .gitkeep -delete

# Quality ---------------------------------------------------------------------------------------

.PHONY: lint
lint: $(READY)  ## check style, types and the workflow
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow/rules
	snakemake --lint

.PHONY: test
test: $(READY) lint  ## check everything: lint, types, tests
	pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# Part of `make test` where SLURM is installed; here it is an error if it isn't.
.PHONY: test-slurm
test-slurm: $(READY)  ## test on a real SLURM of two nodes on this machine (needs root, slurm-wlm and munge)
	@tests/slurm/cluster check
	pytest -m slurm

# Bytecode differs from version to version, and with it how a renamed program is compared with the original.
.PHONY: test-pythons
test-pythons:  ## check the renaming of variables on each Python that is installed: PYTHONS="python3.12 ..."
	@for python in $(PYTHONS); do \
	  $$python -c '' 2>/dev/null || { echo "$$python is not installed"; continue; }; \
	  echo "$$($$python --version):"; folder=$$(mktemp -d); \
	  $$python -m venv $$folder; \
	  $$folder/bin/python -m pip install --quiet --constraint requirements.lock libcst pytest hypothesis; \
	  PYTHONPATH=workflow $$folder/bin/python -m pytest --quiet --noconftest -p no:cacheprovider \
	    tests/datasets/test_renaming*.py; \
	  rm -r $$folder; \
	done
