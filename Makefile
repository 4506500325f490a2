# `make demo` and `make test` work on a machine that has only Python >= 3.11 and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SLIDE ?=
DEMO_OUT ?= demo
PROCESSES := -n logical --maxprocesses 4

.DEFAULT_GOAL := help
.PHONY: help install demo test check check-full reliability reliability-quick format lint types layers tidy bench viewer docker-rehearsal clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

install: $(INSTALLED)  ## .venv with everything that users and developers need

$(INSTALLED): pyproject.toml setup.py wsi/_area.c
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 to 3.13 is needed; this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12 ..." if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	rm -f wsi/*.so
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	-@$(BIN)/python -m service.viewer.build
	@touch $@

demo: $(INSTALLED)  ## a slide goes in, a heatmap comes out: make demo [SLIDE=path] [DEMO_OUT=folder]
	$(BIN)/python -m service.demo --out '$(DEMO_OUT)' $(if $(SLIDE),--slide '$(SLIDE)')

test: $(INSTALLED)  ## the tests, without the slow ones
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -q -m "not slow" $(PROCESSES) --dist loadfile

check: format lint types layers test  ## format, lint, types, layers, tests

check-full: check reliability-quick  ## check, and what is slower: what CI runs
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -q -m slow tests/models/test_recipes.py $(PROCESSES) --dist worksteal --durations=15
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -q -m "slow and not reliability" --ignore=tests/models/test_recipes.py $(PROCESSES) --dist loadfile --durations=15

reliability-quick: $(INSTALLED)  ## kills, full disks, hostile files, load: minutes; a report at its end
	$(BIN)/python -m pytest -q -m reliability tests/reliability --durations=15

reliability: $(INSTALLED)  ## the same with the full numbers: hours
	WSI_RELIABILITY=full WSI_RELIABILITY_SLIDES=10000 \
	$(BIN)/python -m pytest -q -m reliability tests/reliability --timeout=0

format: $(INSTALLED)
	$(BIN)/ruff format --check --quiet . || { echo "run 'make tidy'"; exit 1; }

lint: $(INSTALLED)
	$(BIN)/ruff check --quiet .

types: $(INSTALLED)
	$(BIN)/mypy

layers: $(INSTALLED)
	$(BIN)/lint-imports

tidy: $(INSTALLED)  ## formats, and mends what the linter can
	$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

bench: $(INSTALLED)  ## seconds a stage and the floors, for a phantom of 40,000 px
	$(BIN)/python -m benchmarks.slide --size 40000

viewer:  ## builds the page at /viewer where its sources changed (needs Node 18 and npm)
	$(PYTHON) -m service.viewer.build

docker-rehearsal:  ## the images' install steps in a Debian root (as root; needs debootstrap)
	$(PYTHON) docker/rehearse.py docker/api.Dockerfile --check "$$(cat docker/answers.sh)"
	$(PYTHON) docker/rehearse.py docker/worker.Dockerfile --check 'wsi doctor'

clean:  ## removes what was made, .venv too
	rm -rf $(VENV) wsi/*.so demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	cd service/viewer && rm -rf dist dist.partial node_modules .test
