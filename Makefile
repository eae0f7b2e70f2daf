# `make help` lists the targets. Everything is installed into .venv.

SHELL = /bin/bash

# README's rows of what fits together: up to Python 3.11, TensorFlow 2.15 (A); from
# 3.12 on, 2.21 with Keras 2 (B) or with Keras 3 (C, the library only).
# $(call fits,FIRST,LAST): true of a Python 3.FIRST to 3.LAST that can make a venv.
fits = -c 'import sys, venv, ensurepip; \
	sys.exit(not (3, $(1)) <= sys.version_info[:2] <= (3, $(2)))' 2>/dev/null
first = $(shell for python in $(3) python3; do \
	$$python $(call fits,$(1),$(2)) && { echo $$python; break; }; done)
PYTHON_A := $(call first,9,11,python3.11 python3.10 python3.9)
PYTHON_B := $(call first,12,13,python3.13 python3.12)
PYTHON ?= $(or $(PYTHON_A),$(PYTHON_B))
NONE_FITS = { echo "error: no Python 3.9 to 3.13 with its venv module found\
	 (tried '$(PYTHON)'); install python3.11, or name one:\
	 make PYTHON=/path/to/python3.11" >&2; exit 2; }

# For flags of your own: make demo ARGS="--seed=1"
ARGS ?=
BENCHMARKS ?= ptb_train ptb_infer rhn bidaf sparse_infer
# Two processes for the tests; TESTS="tests/core/test_groups.py -k table" for some.
JOBS ?= 2
TESTS ?=
# Another folder of recorded numbers: make test GOLDEN=/path/to/golden/open
GOLDEN ?=

.PHONY: help demo demo-rhn demo-bidaf test test-row-b test-row-c test-all rows \
	check docs bench rivals clean
.DELETE_ON_ERROR:

help:
	@echo "make demo        install and run the whole pipeline on built-in data"
	@echo "make demo-rhn    the same for Recurrent Highway Networks"
	@echo "make demo-bidaf  the same for question answering"
	@echo "make test        install and run all tests"
	@echo "make test-all    all tests on every row of README's table"
	@echo "make check       lint, types and documentation, in .venv-check"
	@echo "make docs        the documentation site, into build/site"
	@echo "make bench       benchmarks beside their rivals, in .venv-bench"
	@echo "make rivals      the same models given to other pruning libraries"
	@echo "make clean       remove the environments and caches; runs/ stays"

# $(call install,PYTHON,ENVIRONMENT,REQUIREMENTS)
define install
	@"$(1)" $(call fits,9,13) || $(NONE_FITS)
	@echo "installing into $(2) with $(1); takes some minutes once"
	@"$(1)" -m venv $(2)
	@$(2)/bin/python -m pip install --quiet $(addprefix -r ,$(3))
	@$(2)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $(2)/.stamp
endef

.venv/.stamp: requirements.txt setup.py pyproject.toml
	$(call install,$(PYTHON),.venv,requirements.txt)

.venv-row-b/.stamp: requirements.txt setup.py pyproject.toml
	$(call install,$(PYTHON_B),.venv-row-b,requirements.txt)

.venv-row-c/.stamp: requirements-keras3.txt setup.py pyproject.toml
	$(call install,$(PYTHON_B),.venv-row-c,requirements-keras3.txt)

# Without TensorFlow and without the package: ready in seconds.
.venv-check/.stamp: requirements-dev.txt
	@"$(PYTHON)" $(call fits,9,13) || $(NONE_FITS)
	@"$(PYTHON)" -m venv .venv-check
	@.venv-check/bin/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

.venv-bench/.stamp: requirements.txt benchmarks/requirements.txt setup.py pyproject.toml
	$(call install,$(PYTHON),.venv-bench,requirements.txt benchmarks/requirements.txt)

# Each library to be compared with has an environment of its own.
.venv-tfmot/.stamp: benchmarks/rivals/requirements-tfmot.txt
	@"$(PYTHON_A)" -m venv .venv-tfmot
	@.venv-tfmot/bin/python -m pip install --quiet -r $<
	@touch $@

.venv-torch-pruning/.stamp: benchmarks/rivals/requirements-torch-pruning.txt
	@"$(PYTHON_A)" -m venv .venv-torch-pruning
	@.venv-torch-pruning/bin/python -m pip install --quiet -r $<
	@touch $@

demo: .venv/.stamp
	.venv/bin/python -m ptb.ptb_word_lm --flagfile=ptb/flags/demo_dense.flags $(ARGS)
	.venv/bin/python -m ptb.ptb_word_lm --flagfile=ptb/flags/demo.flags $(ARGS)

demo-rhn: .venv/.stamp
	.venv/bin/python -m rhns.rhn_train --flagfile=rhns/flags/demo_dense.flags $(ARGS)
	.venv/bin/python -m rhns.rhn_train --flagfile=rhns/flags/demo.flags $(ARGS)

demo-bidaf: .venv/.stamp
	.venv/bin/python -m bidaf.cli --flagfile=bidaf/flags/demo_dense.flags $(ARGS)
	.venv/bin/python -m bidaf.cli --flagfile=bidaf/flags/demo.flags $(ARGS)

# $(call pytest,ENVIRONMENT)
pytest = $(1)/bin/python -m pytest -n $(JOBS) --dist loadscope $(TESTS) \
	$(if $(GOLDEN),--golden_dir=$(GOLDEN))

test: .venv/.stamp
	$(call pytest,.venv)

# All but the slowest; MARK= for all.
test-row-b: MARK = not slow
test-row-b: .venv-row-b/.stamp
	$(call pytest,.venv-row-b) $(if $(MARK),-m "$(MARK)")

test-row-c: .venv-row-c/.stamp
	$(call pytest,.venv-row-c) -m keras3

test-all:
	$(if $(PYTHON_A),$(MAKE) test PYTHON=$(PYTHON_A))
	$(if $(PYTHON_B),$(MAKE) test-row-b test-row-c MARK=)

# Which rows there is a Python for.
rows:
	@echo $(if $(PYTHON_A),A) $(if $(PYTHON_B),B C)

check: .venv-check/.stamp docs
	.venv-check/bin/ruff format --check .
	.venv-check/bin/ruff check .
	.venv-check/bin/mypy

docs: .venv-check/.stamp
	NO_MKDOCS_2_WARNING=1 .venv-check/bin/mkdocs build --quiet --strict

bench: .venv-bench/.stamp
	set -e; for name in $(BENCHMARKS); do \
	.venv-bench/bin/python -m benchmarks.$$name $(ARGS); done

rivals: .venv/.stamp .venv-tfmot/.stamp .venv-torch-pruning/.stamp
	.venv/bin/python -m benchmarks.rivals --tfmot=.venv-tfmot/bin/python \
	--torch_pruning=.venv-torch-pruning/bin/python $(ARGS)

clean:
	rm -rf .venv .venv-row-b .venv-row-c .venv-bench .venv-check .venv-tfmot .venv-torch-pruning build dist *.egg-info .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
