# `make demo` sets everything up and tags a piece of music; `make test` passes all checks. Both are quick the second time.
#   make demo FILE=song.mp3   the same with a file of yours
#   make setup                the set-up alone: .venv with taggram and all that the demo and the tests need
#   make test-slow            the checks that take minutes
#   make browser              Debian's Chromium, which the tests of pages drive (as root)
#   make docs                 the pages in docs/models and the list of networks, made from the code
#   make clean                removes what these made, but for the weights in the user's cache

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
DEMO := build/demo
SONG := $(DEMO)/demo_song.wav
FILE ?=

.PHONY: setup weights demo test lint test-slow browser docs clean

setup: $(VENV)/set-up

$(VENV)/set-up: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "taggram needs Python 3.11 or newer; make PYTHON=... names one")'
	$(PYTHON) -m venv $(VENV)
	@echo 'installing torch and others, which takes some minutes'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,write,beets,cluster,dev]'
	@echo done > $@

demo: setup $(if $(FILE),,$(SONG))
	@$(BIN)/taggram tag --top 8 --hop-s 1 --picture $(DEMO) -- '$(subst ','\'',$(or $(FILE),$(SONG)))'

$(SONG): taggram/apps/demo_song.py $(VENV)/set-up
	@mkdir -p $(DEMO)
	@$(BIN)/python -m taggram.apps.demo_song $@

# Tests that need the weights skip, saying so, where they cannot be had.
weights: setup
	@$(BIN)/taggram models get musicnn.mtt || echo 'tests that need weights will skip'

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pydoclint --quiet taggram
	$(BIN)/codespell

test: lint weights
	$(BIN)/python -m pytest -m 'not slow' --numprocesses auto --dist loadfile

test-slow: setup weights
	$(BIN)/python -m pytest -m slow

# Tests of pages skip, saying so, where there is no Chromium.
browser:
	command -v chromium || { apt-get update && apt-get install --yes --no-install-recommends chromium; }

docs: setup
	$(BIN)/python -m taggram.models._facts
	$(BIN)/python docs/make_model_pages.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
