# make demo   sets up .venv and trains the embedded demo: without pre-training, with it, and with another network
# make test   sets up .venv and runs the tests
# make docs   builds the site into build/site
# make check  looks at style, types, code that is not safe, and packages with known faults
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LAUNCH := $(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no

.PHONY: demo test long-test slow-test docs style types check clean

$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 …" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(READY)

data/demo/synthetic_corpus.json: $(READY)
	$(BIN)/python scripts/make_demo_corpus.py data/demo --languages ky

demo: $(READY) data/demo/synthetic_corpus.json
	$(LAUNCH) recipes/ctc_phoneme.py --config configs/ctc_phoneme/demo_from_scratch.yaml
	$(LAUNCH) recipes/ctc_phoneme.py --config configs/ctc_phoneme/demo.yaml
	$(LAUNCH) recipes/ctc_phoneme.py --config configs/ctc_phoneme/demo_conformer.yaml
	@echo "A: without pre-training, B: with"
	@$(BIN)/unispeech-ft compare runs/demo_from_scratch runs/demo
	@echo "A: without pre-training, B: a conformer without pre-training"
	@$(BIN)/unispeech-ft compare runs/demo_from_scratch runs/demo_conformer

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not long and not slow and not gpu'

long-test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m long

slow-test: $(READY)
	$(BIN)/python -m pytest

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

style: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(READY)
	$(BIN)/mypy

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml unispeech_ft recipes scripts
	@found=$$($(BIN)/pip-audit --progress-spinner off 2>&1); \
	if echo "$$found" | grep -q '^Found'; then echo "$$found"; exit 1; fi; \
	if ! echo "$$found" | grep -q '^No known' || echo "$$found" | grep -q 'audited: numpy'; then \
		echo "pip-audit: left out, since its service is not reached"; fi

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
