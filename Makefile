# make run · make test · make lab · make notebooks · make ledger   (needs Python 3.11 or newer, and make)
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY = .venv/bin/python
SHELL = /bin/bash
.SHELLFLAGS = -euo pipefail -c
unexport PYTHONPATH  # the course uses what is in .venv, and nothing else
TRAIN_MINUTES ?= 10

STRICT = $(wildcard notebooks/0[234]_*.ipynb)  # stored outputs must come out the same
LAX = $(filter-out $(STRICT),$(wildcard notebooks/*.ipynb))
PYTEST = $(PY) -m pytest --outcomes runs/outcomes.json
NBVAL = GCVOS_TIER=smoke $(PYTEST)
LEDGER = $(PY) tests/ledger.py

.PHONY: run test ledger lab notebooks clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[course,test]'
	touch $@

run: .venv/ready
	$(PY) -m gcvos_mini.toy --out runs/embedded
	$(PY) -m gcvos_mini.train --config mini --stage embedded --trunk imagenet --data runs/embedded \
	    --out runs/mini --minutes $(TRAIN_MINUTES)
	$(PY) -m gcvos_mini.evaluate --data runs/embedded --year 2017 --split val \
	    --checkpoint runs/mini/last.safetensors --out runs/mini/eval
	$(PY) -m gcvos_mini.evaluate --data runs/embedded --year 2017 --split val \
	    --checkpoint first-mask --out runs/mini/copy
	$(PY) -m gcvos_mini.report --run runs/mini --data runs/embedded --out runs/report.html
	$(MAKE) --no-print-directory notebooks
	@echo "Look at runs/report.html (scores, masks, key maps) and runs/notebooks/*.html"

notebooks: .venv/ready
	mkdir -p runs/notebooks
	$(PY) -m jupyter nbconvert --to html --execute --output-dir runs/notebooks notebooks/*.ipynb

test: .venv/ready
	rm -f runs/outcomes.json
	$(PY) -m ruff check .
	$(PYTEST) tests
	$(NBVAL) --nbval $(STRICT)
	$(NBVAL) --nbval-lax $(LAX)
	$(LEDGER) runs/outcomes.json --check

ledger: .venv/ready  # runs what tests/claims.toml names; a check that fails shows in README
	rm -f runs/outcomes.json
	-$(PYTEST) $$($(LEDGER) --tests)
	-$(NBVAL) --nbval $(STRICT)
	-$(NBVAL) --nbval-lax $(filter $(LAX),$(shell $(LEDGER) --notebooks))
	$(LEDGER) runs/outcomes.json

lab: .venv/ready
	$(PY) -m jupyter lab notebooks

clean:
	rm -rf .venv runs
