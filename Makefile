# Two commands do everything on a fresh machine, after a clone:
#   make demo    install into .venv, then design yeast promoters with the packaged models
#   make test    install what tests need, then run them
# Both need Python 3.11 or newer and a package index. PYTHON=... chooses the interpreter.
# NUM=32 makes the demo shorter.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The first interpreter that is new enough and can make a virtual environment.
FIND_PYTHON = for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null; then break; fi; python=; done

.PHONY: help
help: ## Say what can be made.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

# ---- installing: again only when pyproject.toml or constraints.txt change ----

$(BIN)/python:
	@$(FIND_PYTHON); [ -n "$$python" ] || { echo "make: needs Python 3.11 or newer with venv;" \
		"install it or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }; \
	echo "$$python -m venv $(VENV)"; "$$python" -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: install install-dev
install: $(VENV)/.installed ## Install designkit into .venv.
install-dev: $(VENV)/.installed-dev ## And what checks and tests need.

# ---- the main job ----

DEMO := out/demo
DESIGNKIT := $(BIN)/designkit
GUIDE := model:yeast-expression
JUDGE := model:yeast-expression-holdout
NUM := 64
DRAW := --num $(NUM) --seed 1
SCORE := $(DESIGNKIT) score --reward $(JUDGE) --model yeast-promoter

.PHONY: demo
demo: $(VENV)/.installed ## Design yeast promoters three ways and compare them: out/demo/.
	@rm -rf $(DEMO) && mkdir -p $(DEMO)
	@echo; echo "1. Draw $(NUM) promoters: unguided, the best of 10 by the guide, and steered by the guide."
	$(DESIGNKIT) sample yeast-promoter --method ancestral --reward $(GUIDE) $(DRAW) -o $(DEMO)/ancestral.csv
	$(DESIGNKIT) sample yeast-promoter --method best_of_n --set candidates=10 --reward $(GUIDE) $(DRAW) -o $(DEMO)/best_of_n.csv
	$(DESIGNKIT) sample --preset yeast-promoter-svdd $(DRAW) -o $(DEMO)/svdd.csv
	@echo; echo "2. Score them with the judge, which the guide's training data never touched, and by likelihood."
	$(SCORE) $(DEMO)/ancestral.csv -o $(DEMO)/ancestral.scored.csv
	$(SCORE) $(DEMO)/best_of_n.csv -o $(DEMO)/best_of_n.scored.csv
	$(SCORE) $(DEMO)/svdd.csv -o $(DEMO)/svdd.scored.csv
	$(DESIGNKIT) score $(DEMO)/svdd.csv --reward gc -o $(DEMO)/svdd.fasta
	@echo; echo "3. What did guidance buy?"
	$(DESIGNKIT) report $(DEMO)/*.scored.csv -o $(DEMO)/summary.md
	@echo; echo "Designs and their records are in $(DEMO)/: svdd.fasta, svdd.scored.csv, summary.md, ..."

# ---- checks and tests ----

.PHONY: check lint format-check types test docs clean
check: lint format-check types ## ruff and mypy.
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
format-check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
types: $(VENV)/.installed-dev
	$(BIN)/mypy -p designkit

test: $(VENV)/.installed-dev ## The default test suite.
	$(BIN)/pytest -q -n auto --dist loadfile

docs: $(VENV)/.installed ## Write docs/cli.md and docs/builtin-rewards.md anew from the program.
	$(BIN)/python docs/_generate_cli.py

clean: ## Remove .venv, caches and results.
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
