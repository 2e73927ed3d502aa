# `make` alone lists the targets. Python and make are all that has to be installed.
#
# Another Python:      make setup PYTHON=python3.12
# Another PyTorch:     make setup TORCH=torch==2.6.0
#   with its index:    make setup TORCH='torch --index-url <the URL that PyTorch gives for your CUDA>'
# An environment that exists, with the PyTorch it holds:
#                      make test VENV=/path/to/env
# OpenMMLab's packages: make test-openmmlab, or any target with
#                      FAMILY=openmmlab VENV=.venv-openmmlab
#
# TORCH is whatever `pip install` takes. It is remembered in the environment, so that later calls
# of make keep it. TORCH=constraints.txt goes back to the pinned one, and an empty TORCH= means the
# one that is installed, which is also the default for an environment that make did not create.

PYTHON ?= python3
VENV ?= .venv
# Which host: onedl or openmmlab.
FAMILY ?= onedl
# mmcv's compiled ops, by the version of PyTorch they were compiled for.
WHEELS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mmseg_proto
PY := $(VENV)/bin/python
CHOICE := $(VENV)/.mmseg-proto-torch
STAMP := $(VENV)/.mmseg-proto-setup
FILTERED := $(VENV)/.mmseg-proto-constraints.txt
MMCV := $(shell sed -n 's/^mmcv==//p' constraints.txt)
# Progress bars where somebody looks at them, silence in a log.
PIP := $(PY) -m pip install --disable-pip-version-check $(if $(MAKE_TERMOUT),,--quiet)

ifeq ($(filter onedl openmmlab,$(FAMILY)),)
$(error Expected FAMILY to be onedl or openmmlab, but got $(FAMILY))
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-all test-openmmlab browser check format docs clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## create .venv and install everything, pinned

demo: $(STAMP) ## train and test a small prototype model on drawn scenes, beside softmax
	@$(PY) tools/demo.py

test: $(STAMP) ## run the tests that are quick enough for every change
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: $(STAMP) ## run every test
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-openmmlab: ## run the quick tests on OpenMMLab's packages, in an environment of their own
	@$(MAKE) --no-print-directory test FAMILY=openmmlab VENV=.venv-openmmlab

browser: ## install Chromium and its driver, in which tests open the report (Debian, as root)
	@if command -v chromium > /dev/null && command -v chromedriver > /dev/null; then exit 0; fi; \
	if ! command -v apt-get > /dev/null || [ "$$(id -u)" != 0 ]; then \
	  echo "Expected apt-get and root. Install by hand what gives the commands chromium and" \
	    "chromedriver; on Debian: sudo apt-get install chromium chromium-driver"; exit 1; fi; \
	echo "Installing Chromium and its driver"; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes \
	  --no-install-recommends chromium chromium-driver > /dev/null

check: $(STAMP) ## lint, formatting, types, and imports that go down only
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m pytest -q tests/test_layers.py

format: $(STAMP) ## format the code and mend what ruff can mend
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

docs: $(STAMP) ## build the pages of docs/ and the API reference; warnings are errors
	@$(PY) -W ignore -m sphinx -q -W --keep-going -b html -c docs . build/docs > /dev/null
	@echo "$(CURDIR)/build/docs/docs/index.html"

clean: ## remove caches and builds; .venv and what was trained in work_dirs stay
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find configs examples mmseg_proto tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || { \
	  echo "Expected Python 3.10 to 3.13, for which every pinned package has a wheel, but got:" \
	    "$$($(PYTHON) --version 2>&1). Name another one: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "This Python cannot create environments: its modules venv and ensurepip are missing."; \
	  echo "Debian and Ubuntu keep them apart: apt-get install python3-venv"; exit 1; }
	@echo "[1/4] Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo constraints.txt > $(CHOICE)

# Rewritten only when it changes, so that the stamp stays newer.
ifeq ($(origin TORCH),undefined)
$(CHOICE): | $(PY)
	@[ -e $@ ] || : > $@
else
$(CHOICE): FORCE | $(PY)
	@echo "$(TORCH)" | cmp -s - $@ || echo "$(TORCH)" > $@
endif

# onedl-mmcv, onedl-mmsegmentation and onedl-mim are built from source, in isolation on purpose: with
# PyTorch in sight, mmcv would spend a quarter of an hour on compiling ops that nothing here needs.
# --build-constraint pins what they and this package are built with; older pips do not know it.
# With another PyTorch its pin is dropped, and that of sympy, which some versions of PyTorch pin.
#
# OpenMMLab's mmcv has to have those ops, and its setup.py needs pkg_resources, which setuptools
# dropped. Its wheel is kept outside pip's cache, which does not know what PyTorch it was made for.
#
# mmcv asks for opencv-python, which needs libGL and libglib of the system. Where they are missing
# (slim images) the headless build of the same version takes its place. pip cannot be told so: it
# would install both, one over the other. `pip check` will miss opencv-python there; nothing else.
$(STAMP): pyproject.toml constraints.txt $(CHOICE) | $(PY)
	@choice="$$(cat $(CHOICE))"; cp constraints.txt $(FILTERED); \
	if [ "$$choice" = constraints.txt ]; then choice=torch; \
	else grep -vE '^(torch|sympy)==' constraints.txt > $(FILTERED); fi; \
	if [ $(FAMILY) = openmmlab ]; then sed -i.bak 's/^setuptools==.*/setuptools<80/' $(FILTERED); fi; \
	if [ -n "$$choice" ]; then echo "[2/4] Installing PyTorch (a large download): $$choice"; \
	else echo "[2/4] Keeping the PyTorch that is there"; fi; \
	$(PIP) --constraint $(FILTERED) pip && \
	if [ -n "$$choice" ]; then $(PIP) --constraint $(FILTERED) $$choice; fi
	@$(PY) -W ignore -c 'import torch' || { \
	  echo "Expected $(VENV) to hold PyTorch, but it cannot be imported. Name one: TORCH=torch"; \
	  exit 1; }
	@if [ $(FAMILY) = openmmlab ]; then \
	  wheels="$(WHEELS)/torch-$$($(PY) -W ignore -c 'import torch; print(torch.__version__)')"; \
	  $(PIP) --constraint $(FILTERED) ninja psutil setuptools wheel && \
	  { $(PIP) --no-index --find-links "$$wheels" --no-deps mmcv==$(MMCV) 2> /dev/null || { \
	    echo "      Compiling mmcv $(MMCV), 15 to 25 minutes on 2 cores; kept in $$wheels"; \
	    MMCV_WITH_OPS=1 $(PY) -m pip wheel --disable-pip-version-check --quiet --no-cache-dir \
	      --no-build-isolation --no-deps --wheel-dir "$$wheels" mmcv==$(MMCV) && \
	    $(PIP) --no-index --find-links "$$wheels" --no-deps mmcv==$(MMCV); }; }; \
	fi
	@echo "[3/4] Installing MMSegmentation ($(FAMILY)), this package and the developer's tools"
	@$(PIP) --constraint $(FILTERED) --build-constraint constraints.txt \
	  --editable '.[$(FAMILY),dev]'
	@$(PY) -c 'import cv2' 2>/dev/null || { \
	  echo "      OpenCV lacks system libraries here: using its headless build"; \
	  $(PY) -m pip uninstall --quiet --yes opencv-python opencv-python-headless && \
	  $(PIP) --constraint $(FILTERED) --no-deps opencv-python-headless; }
	@echo "[4/4] Checking the host"
# The host prints to stdout as it is imported, what it may not be able to import itself.
	@$(PY) -W ignore -c 'import mmseg_proto as m, sys, torch; \
	  print("      mmseg_proto", m.__version__, "with PyTorch", torch.__version__, file=sys.stderr)' \
	  > /dev/null
	@touch $(STAMP)
