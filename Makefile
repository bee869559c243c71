# make run · test · lab · notebooks · outputs · gallery · site · browser · ledger · paper   (needs Python 3.11 or newer, and make)
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY = .venv/bin/python
SHELL = /bin/bash
.SHELLFLAGS = -euo pipefail -c
unexport PYTHONPATH  # the course uses what is in .venv, and nothing else
TRAIN_MINUTES ?= 10

PYTEST = $(PY) -m pytest --outcomes runs/outcomes.json
# stored outputs are of the tier mini: only cells marked NBVAL_CHECK_OUTPUT must come out the same
NBVAL = GCVOS_TIER=smoke $(PYTEST) --nbval-lax
LEDGER = $(PY) tests/ledger.py

.PHONY: run test lab notebooks outputs gallery site browser ledger paper clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[course,test,site,browser]'
	touch $@

run: .venv/ready
	$(PY) -m gcvos_mini.show.gallery --clips bunny --out runs/bunny.html
	@echo "Open runs/bunny.html and click on the rabbit. Next: $(TRAIN_MINUTES) minutes of training."
	$(PY) -m gcvos_mini.toy --out runs/embedded
	$(PY) -m gcvos_mini.train --config mini --stage embedded --backbone imagenet --data runs/embedded \
	    --out runs/mini --minutes $(TRAIN_MINUTES)
	$(PY) -m gcvos_mini.evaluate --data runs/embedded --year 2017 --split val \
	    --checkpoint runs/mini/last.safetensors --out runs/mini/eval --overwrite
	$(PY) -m gcvos_mini.evaluate --data runs/embedded --year 2017 --split val \
	    --checkpoint first-mask --out runs/mini/copy --overwrite
	$(PY) -m gcvos_mini.show.report --run runs/mini --data runs/embedded --out runs/report.html
	$(MAKE) --no-print-directory notebooks
	@echo "Open runs/report.html (scores, masks, key maps) and runs/notebooks/*.html"

# the paper's two stages on GPUS graphics cards, then DAVIS 2016: about a day on four
GPUS ?= 1
BACKBONE ?= imagenet
LAUNCH = $(PY) -m accelerate.commands.launch --num_processes $(GPUS) --mixed_precision bf16 -m
paper: .venv/ready
	@test -n "$(STILLS)" -a -n "$(DAVIS)" || { echo "error: make paper STILLS='DIR...' DAVIS=DIR [GPUS=4]"; exit 2; }
	$(LAUNCH) gcvos_mini.train --config paper --stage stills --backbone $(BACKBONE) \
	    --data $(STILLS) --out runs/paper-stills --workers 8 $(PAPER_OPTIONS)
	$(LAUNCH) gcvos_mini.train --config paper --stage videos \
	    --init runs/paper-stills/last.safetensors --data $(DAVIS) --out runs/paper --workers 8 $(PAPER_OPTIONS)
	$(PY) -m gcvos_mini.evaluate --data $(DAVIS) --year 2016 --split val \
	    --checkpoint runs/paper/last.safetensors --out runs/paper/davis2016

notebooks: .venv/ready
	mkdir -p runs/notebooks
	$(PY) -m jupyter nbconvert --to html --execute --output-dir runs/notebooks notebooks/*.ipynb

outputs: .venv/ready  # what the repository stores and people see: run before a commit of notebooks
	GCVOS_TIER=mini $(PY) notebooks/store.py notebooks/*.ipynb

gallery: .venv/ready  # one page for people without Python: clicks are dot products in its script
	$(PY) -m gcvos_mini.show.gallery --out runs/gallery.html

site: gallery  # the course as pages, with the page of `make browser` if that was made before;
               # REPOSITORY=https://github.com/OWNER/NAME adds buttons and links
	$(PY) docs/site/assemble.py runs/site-source --gallery runs/gallery.html \
	    --browser runs/browser/site
	$(PY) -m sphinx -W --keep-going -q -d runs/site-pickles runs/site-source runs/site
	@echo "Open runs/site/index.html"

browser: .venv/ready  # the network in any browser: runs/browser/site, runs/browser/gcvos.html
	$(PY) browser/build.py --out runs/browser

test: .venv/ready
	rm -f runs/outcomes.json
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PYTEST) tests
	$(NBVAL) notebooks/*.ipynb
	$(LEDGER) runs/outcomes.json --check

ledger: .venv/ready  # runs what tests/claims.toml names; a check that fails shows in docs/claims.md
	rm -f runs/outcomes.json
	-$(PYTEST) $$($(LEDGER) --tests)
	-$(NBVAL) $$($(LEDGER) --notebooks)
	$(LEDGER) runs/outcomes.json

lab: .venv/ready
	$(PY) -m jupyter lab notebooks

clean:
	rm -rf .venv runs
