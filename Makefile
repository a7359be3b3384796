PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo demo-real test test-all lint docs install

# An environment, the install, and RLSD on the embedded lab.
demo: $(VENV)/.installed
	$(BIN)/python scripts/fit.py --objective rlsd

# A language model of 135M parameters on word problems: warm start, preflight, RLSD; docs/real-model.md. A quarter of an
# hour.
WORDS := --task word_problems --task.path real/problems/train.jsonl --task.val_path real/problems/val.jsonl

demo-real: real/sft/hf/config.json
	$(BIN)/python scripts/preflight.py --objective rlsd --experiment real --context solution $(WORDS) \
	    --model real/sft/hf --groups 8 --output real/preflight.html
	$(BIN)/python scripts/fit.py --objective rlsd --experiment real --context solution $(WORDS) \
	    --model real/sft/hf --run_dir real/rlsd

real/smollm2/config.json: | $(VENV)/.installed-real
	$(BIN)/python scripts/small_model.py --output real/smollm2

real/problems/train.jsonl: | $(VENV)/.installed-real
	$(BIN)/python examples/word_problems.py real/problems

real/sft/hf/config.json: | real/smollm2/config.json real/problems/train.jsonl
	$(BIN)/python scripts/fit.py --objective sft --experiment real_sft $(WORDS) \
	    --model real/smollm2 --run_dir real/sft

# What must pass everywhere; on 2 cores.
test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not slow and not gpu" -n 2

# The same and the slow ones: two processes, interruption, full fuzzing.
test-all: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# The documentation site, in site/; any broken link or missing page fails.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

install: $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.installed-real: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[real]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[test]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[test,dev]"
	touch $@ $(VENV)/.installed $(VENV)/.installed-test

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	touch $@ $(VENV)/.installed
