# Each target stands alone on a fresh machine: it makes .venv with plain pip and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# An already installed torch is honoured: where $(PYTHON) has one that pyproject.toml admits, .venv borrows it instead of downloading.
SITE := $(shell $(PYTHON) -c "import torch; v = torch.__version__.split('.'); print('--system-site-packages' if (2, 5) <= (int(v[0]), int(v[1])) < (3, 0) else '')" 2>/dev/null)
# One thread per process: results are the same on every machine, and two workers do not fight for cores.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

.PHONY: demo test slow lint types format docs wheel clean

demo: $(VENV)/installed-verify
	$(BIN)/mobo search experiments/searches/quickstart.toml
	run=$$(ls -td runs/quickstart-* | head -n 1) && \
	  $(BIN)/mobo pick $$run --device nucleo-l4r5zi --export exported/$$(basename $$run) --verify && \
	  echo && $(BIN)/mobo front $$run && echo "report: $$run/report.html"

# A worker a core, eight at most: each of them imports torch (half a GB). A worker that is done takes tests from the end of
# another's list, so most tests of a module stay together and build what they share once.
PARALLEL := -n logical --maxprocesses 8 --dist worksteal

# Compiled once: every worker, and every process that a test starts, imports the same modules.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest

# `make test TESTS=tests/hw_models` runs some of them.
TESTS ?=

test: $(VENV)/installed-dev
	$(PYTEST) -q -m "not slow" $(PARALLEL) --durations=10 $(TESTS)

slow: $(VENV)/installed-dev
	$(PYTEST) -q -m slow $(PARALLEL) --durations=10 $(TESTS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages of the public API, from the docstrings.
docs: $(VENV)/installed-dev
	$(BIN)/python .ci/build_docs.py build/docs

# What a release is: the source archive and a wheel of mobo, envs and hw_models with all the data they read.
wheel: $(VENV)/installed-dev
	rm -rf dist build/lib build/bdist.*
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/created:
	$(PYTHON) -m venv $(SITE) $(VENV)
	touch $@

# The constraints pin what was tested; torch is named first so that the pinned build is taken before anything else asks for torch.
$(VENV)/installed: $(VENV)/created pyproject.toml constraints.txt
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet $(if $(SITE),,-c constraints.txt) -e .
	touch $@

# The interpreters, an emulator and a compiler for Cortex-M, all from pip (a download of about 120 MB).
$(VENV)/installed-verify: $(VENV)/installed
	$(BIN)/python -m pip install --quiet $(if $(SITE),,-c constraints.txt) -e ".[export,verify]"
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet $(if $(SITE),,-c constraints.txt) -e ".[board,dev,docs,export,onnx,peers,release,tasks,tensorboard,verify]"
	touch $@
