# `make help` lists the targets. Everything is installed into .venv.

SHELL = /bin/bash

# $(call fits,NEWEST): true of a Python from 3.9 to 3.NEWEST that can make a venv.
fits = -c 'import sys, venv, ensurepip; \
	sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, $(1)))' 2>/dev/null
# Up to 3.11, requirements.txt has TensorFlow 2.15; from 3.12 on, 2.21.
PYTHON ?= $(shell \
	for python in python3.11 python3.10 python3.9 python3; do \
	$$python $(call fits,11) && { echo $$python; exit; }; done; \
	for python in python3.13 python3.12 python3; do \
	$$python $(call fits,13) && { echo $$python; exit; }; done)
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

.PHONY: help demo demo-rhn demo-bidaf test check docs bench clean
.DELETE_ON_ERROR:

help:
	@echo "make demo        install and run the whole pipeline on built-in data"
	@echo "make demo-rhn    the same for Recurrent Highway Networks"
	@echo "make demo-bidaf  the same for question answering"
	@echo "make test        install and run all tests"
	@echo "make check       lint, types and documentation, in .venv-check"
	@echo "make docs        the documentation site, into build/site"
	@echo "make bench       benchmarks beside their rivals, in .venv-bench"
	@echo "make clean       remove the environments and caches; runs/ stays"

# $(call install,ENVIRONMENT,REQUIREMENTS)
define install
	@"$(PYTHON)" $(call fits,13) || $(NONE_FITS)
	@echo "installing into $(1) with $(PYTHON); takes some minutes once"
	@"$(PYTHON)" -m venv $(1)
	@$(1)/bin/python -m pip install --quiet $(addprefix -r ,$(2))
	@$(1)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $(1)/.stamp
endef

.venv/.stamp: requirements.txt setup.py pyproject.toml
	$(call install,.venv,requirements.txt)

# Without TensorFlow and without the package: ready in seconds.
.venv-check/.stamp: requirements-dev.txt
	@"$(PYTHON)" $(call fits,13) || $(NONE_FITS)
	@"$(PYTHON)" -m venv .venv-check
	@.venv-check/bin/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

.venv-bench/.stamp: requirements.txt benchmarks/requirements.txt setup.py pyproject.toml
	$(call install,.venv-bench,requirements.txt benchmarks/requirements.txt)

demo: .venv/.stamp
	.venv/bin/python -m ptb.ptb_word_lm --flagfile=ptb/flags/demo_dense.flags $(ARGS)
	.venv/bin/python -m ptb.ptb_word_lm --flagfile=ptb/flags/demo.flags $(ARGS)

demo-rhn: .venv/.stamp
	.venv/bin/python -m rhns.rhn_train --flagfile=rhns/flags/demo_dense.flags $(ARGS)
	.venv/bin/python -m rhns.rhn_train --flagfile=rhns/flags/demo.flags $(ARGS)

demo-bidaf: .venv/.stamp
	.venv/bin/python -m bidaf.cli --flagfile=bidaf/flags/demo_dense.flags $(ARGS)
	.venv/bin/python -m bidaf.cli --flagfile=bidaf/flags/demo.flags $(ARGS)

test: .venv/.stamp
	.venv/bin/python -m pytest -n $(JOBS) --dist loadscope $(TESTS) \
	$(if $(GOLDEN),--golden_dir=$(GOLDEN))

check: .venv-check/.stamp docs
	.venv-check/bin/ruff format --check .
	.venv-check/bin/ruff check .
	.venv-check/bin/mypy

docs: .venv-check/.stamp
	NO_MKDOCS_2_WARNING=1 .venv-check/bin/mkdocs build --quiet --strict

bench: .venv-bench/.stamp
	set -e; for name in $(BENCHMARKS); do \
	.venv-bench/bin/python -m benchmarks.$$name $(ARGS); done

clean:
	rm -rf .venv .venv-bench .venv-check build dist *.egg-info .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
