# make test / make demo: each alone, on a new machine with Python 3.11 and a compiler.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO ?= demo
# Test processes side by side; as many as cores, but no more than help.
JOBS ?= 2

.PHONY: help env test test-all demo demo-short docs lint types format clean

help:
	@echo "make demo      the whole pipeline on generated data, ending in a gain report"
	@echo "make test      format, lint, types and the quick tests"
	@echo "make test-all  the slow tests too"
	@echo "make docs      the site in site/, with the pages of the demo (made first where it is absent)"
	@echo "make format    let ruff format and mend the code"

env: $(STAMP)

$(STAMP): setup.py
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing (about two minutes on a new machine)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=23.2"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@# Peers of tests; without what they ask for, since lvis would bring a second cv2.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "lvis>=0.5.3" "hotcoco>=1.3"
	@$(BIN)/python tools/compile_loops.py
	@touch $(STAMP)

lint: env
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: env
	@$(BIN)/mypy

test: lint types
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-all: lint types
	$(BIN)/python -m pytest -n $(JOBS)

demo: env
	@$(BIN)/python tools/run_demo.py --output $(DEMO)

demo-short: env
	@$(BIN)/python tools/run_demo.py --output $(DEMO) --short

$(DEMO)/report/gain.html: | env
	@$(BIN)/python tools/run_demo.py --output $(DEMO) --short

$(DEMO)/pages/cross/cross.html: $(DEMO)/report/gain.html
	@$(BIN)/python tools/cross_score.py --output $(@D) --dataset demo_val \
	    --register demo_val $(DEMO)/data/detection/annotations/instances_val.json $(DEMO)/data/detection/val \
	    --baseline $(DEMO)/baseline/config.yaml $(DEMO)/baseline/model_final.pth \
	    --candidate $(DEMO)/candidate/config.yaml $(DEMO)/candidate/model_final.pth

$(DEMO)/pages/scaling/scaling.html: docs/scaling/hashtag_posts.yaml | env
	@$(BIN)/python tools/plot_scaling.py $< --output $(@D)

docs: env $(DEMO)/pages/cross/cross.html $(DEMO)/pages/scaling/scaling.html
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	@NO_MKDOCS_2_WARNING=1 DEMO=$(abspath $(DEMO)) $(BIN)/python -m mkdocs build --quiet
	@echo "site/index.html"

format: env
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(DEMO) site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
