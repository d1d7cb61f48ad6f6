# Each target sets up all it needs in .venv, also on a fresh machine, then does its job.
#
#   make demo    score and rank real photographs, write demo/demo.png
#   make test    run the tests
#   make test-lowest  run the encoders' tests with the oldest versions that the floors allow, in .venv-lowest
#   make lint    ruff (lint and format) and mypy
#   make format  let ruff rewrite what it can
#   make docs    build the documentation strictly into site/
#   make docs-outputs  write into the pages what their code prints
#   make speed   measure the speed table of docs/speed.md
#   make clean   remove what the other targets wrote

VENV ?= .venv
LOWEST ?= .venv-lowest
LOWEST_TESTS := test_versions.py test_bundled.py test_checkpoint.py test_docs_trainers.py test_functional.py \
	test_losses.py test_metrics.py test_ranking.py test_rewards.py test_serving.py \
	test_serving_trainers.py test_signature.py test_watching.py
PYTHON ?= python3
BIN := $(VENV)/bin
PIP_FLAGS ?= --quiet

export OMP_NUM_THREADS ?= 2
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test test-lowest lint format docs docs-outputs speed clean
.DELETE_ON_ERROR:

demo: $(VENV)/.with-demo
	$(BIN)/unisim demo --output demo/demo.png

# Two processes of one thread each: most tests are too small to gain from a second thread.
test: $(VENV)/.with-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(PYTEST_FLAGS)

# The encoders, metrics, losses, rewards and their server with the oldest versions that the floors allow.
test-lowest: $(LOWEST)/.installed
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest --numprocesses 2 --dist worksteal $(PYTEST_FLAGS) \
		$(addprefix tests/,$(LOWEST_TESTS))

lint: $(VENV)/.with-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.with-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.with-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

docs-outputs: $(VENV)/.with-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet --write-docs tests/test_docs.py

speed: $(VENV)/.with-dev
	$(BIN)/python -m docs.experiments.speed.scoring

clean:
	rm -rf $(VENV) $(LOWEST) build dist site demo *.egg-info .mypy_cache .pytest_cache .ruff_cache

# One stamp a set of extras: a changed pyproject.toml installs again.
$(VENV)/.with-%: pyproject.toml | $(BIN)/python
	@echo "Installing unisim-metrics[$*] into $(VENV): some minutes the first time, torch is large"
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[$*]'
	@touch $@

$(LOWEST)/.installed: pyproject.toml tests/lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install $(PIP_FLAGS) --constraint tests/lowest.txt --editable '.[evaluate,diffusers,serve]' \
		hypothesis pytest pytest-xdist scikit-image scipy
	@touch $@

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) --upgrade 'pip>=24'
