# make run · make test · make lab · make notebooks · make gallery · make ledger · make paper   (needs Python 3.11 or newer, and make)
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

.PHONY: run test paper ledger lab notebooks gallery clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[course,test]'
	touch $@

run: .venv/ready
	$(PY) -m gcvos_mini.toy --out runs/embedded
	$(PY) -m gcvos_mini.train --config mini --stage embedded --trunk imagenet --data runs/embedded \
	    --out runs/mini --minutes $(TRAIN_MINUTES)
	rm -rf runs/mini/eval runs/mini/copy  # of earlier weights
	$(PY) -m gcvos_mini.evaluate --data runs/embedded --year 2017 --split val \
	    --checkpoint runs/mini/last.safetensors --height 144 --out runs/mini/eval
	$(PY) -m gcvos_mini.evaluate --data runs/embedded --year 2017 --split val \
	    --checkpoint first-mask --out runs/mini/copy
	$(PY) -m gcvos_mini.report --run runs/mini --data runs/embedded --out runs/report.html
	$(MAKE) --no-print-directory notebooks
	@echo "Look at runs/report.html (scores, masks, key maps) and runs/notebooks/*.html"

# the paper's two stages on GPUS graphics cards, then DAVIS 2016: about a day on four
GPUS ?= 1
LAUNCH = $(PY) -m accelerate.commands.launch --num_processes $(GPUS) --mixed_precision bf16 -m
paper: .venv/ready
	@test -n "$(STILLS)" -a -n "$(DAVIS)" || { echo "error: make paper STILLS='DIR...' DAVIS=DIR [GPUS=4]"; exit 2; }
	$(LAUNCH) gcvos_mini.train --config paper --stage stills --trunk imagenet \
	    --data $(STILLS) --out runs/paper-stills --workers 8 $(PAPER_OPTIONS)
	$(LAUNCH) gcvos_mini.train --config paper --stage videos \
	    --init runs/paper-stills/last.safetensors --data $(DAVIS) --out runs/paper --workers 8 $(PAPER_OPTIONS)
	$(PY) -m gcvos_mini.evaluate --data $(DAVIS) --year 2016 --split val \
	    --checkpoint runs/paper/last.safetensors --out runs/paper/davis2016

notebooks: .venv/ready
	mkdir -p runs/notebooks
	$(PY) -m jupyter nbconvert --to html --execute --output-dir runs/notebooks notebooks/*.ipynb

gallery: .venv/ready  # one page for people without Python: clicks are dot products in its script
	$(PY) -m gcvos_mini.gallery --out runs/gallery.html

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
