# bqgate's commands. `make help` lists them; continuous integration (.ci/run) runs `make test` and `make test-long` on the
# oldest Python that it finds, and `make smoke` on every newer one.

# The Python that virtual environments are made with; 3.11 or newer.
PYTHON ?= python3
# Handed to `bqgate demo`, pytest and the benchmarks: make demo ARGS=--once
ARGS ?=
# How often `make races` runs each race.
REPETITIONS ?= 2000
# The first seed of `make chaos` (drawn where there is none), how many runs it makes, and the commit whose gates it runs.
SEED ?=
RUNS ?= 1
REVISION ?=
# The one script of benchmarks/ that `make bench` runs, without its suffix (all of them where none is named).
ONLY ?=
# How many seconds `make soak` loads a gate.
SOAK_S ?= 1200
# How many histories `make simulate` runs, from SEED (or 1) on.
HISTORIES ?= 10000

VENV := .venv
BIN := $(VENV)/bin
# Both cores to the end: a worker that has done its part takes over from the other's.
PYTEST_BOTH := $(BIN)/pytest -q -n 2 --dist worksteal
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
SETUP := $(VENV)/.set-up-dev
SETUP_DEMO := $(VENV)/.set-up-demo
SETUP_DBT := .venv-dbt/.set-up
SETUP_IBIS := .venv-ibis/.set-up
SETUP_AUDIT := .venv-audit/.set-up
SETUP_NODE := tests/clients/node/node_modules/.set-up
CODE := bqgate tests benchmarks
# An environment of its own for each Python that is tried, beside the one that is worked in.
VENV_OF_PYTHON = .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# Bytecode is kept, whatever the environment says: compiling the gate takes longer than starting it, and tests start
# hundreds.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(SETUP) ## make .venv with everything that development needs

.PHONY: setup-dbt
setup-dbt: $(SETUP_DBT) ## make .venv-dbt for the test that dbt runs through the gate

.PHONY: setup-ibis
setup-ibis: $(SETUP_IBIS) ## make .venv-ibis for the tests of clients that bring the Storage Read API

.PHONY: setup-node
setup-node: ## install Google's Node client for its test, where npm is on PATH
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(SETUP_NODE); \
	else echo 'make: npm is not on PATH: the tests with the Node client will be SKIPPED; install Node 18 or newer' >&2; fi

.PHONY: fmt
fmt: $(SETUP) ## format, and fix what can be fixed safely
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

# Types and walls are tests (tests/house), so that they are checked beside the others and not before them.
.PHONY: style
style: $(SETUP)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)

.PHONY: lint
lint: style ## style, types and walls alone
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: check
check: style ## what to run before every commit: style, types, walls, house rules, unit and contract tests
	$(PYTEST_BOTH) -m 'not long' tests/house tests/unit tests/contracts $(ARGS)

.PHONY: test
test: style setup-node ## everything but what takes long
	$(PYTEST_BOTH) -m 'not long' $(ARGS)

.PHONY: test-long
test-long: $(SETUP) setup-dbt setup-ibis setup-node ## what takes long: dbt, bq, the docs in all clients, faults at every moment, a fuzzed API
	$(PYTEST_BOTH) -m 'long and not alone' $(ARGS)
	$(BIN)/pytest -q -m alone $(ARGS)

.PHONY: attacks
attacks: $(SETUP) ## the tests that docs/threat_model.md names, and no others
	$(PYTEST_BOTH) $$(grep -o 'tests/[^` ]*::[a-z0-9_]*' docs/threat_model.md | sort -u) $(ARGS)

.PHONY: smoke
smoke: ## the same on another Python, in short, and its wheel and demo: make smoke PYTHON=python3.12
	@$(MAKE) --no-print-directory smoke-in-venv VENV=$(VENV_OF_PYTHON)

.PHONY: smoke-in-venv
smoke-in-venv: $(SETUP)
	$(PYTEST_BOTH) -m 'not slow and not long' tests/house tests/unit tests/contracts $(ARGS)
	$(BIN)/pytest -q tests/smoke/wheel.py

.PHONY: audit
audit: ## look for known vulnerabilities in the pinned packages; says so where it cannot, and fails only where it finds one
	@$(MAKE) --no-print-directory $(SETUP_AUDIT) || rm -f .venv-audit/bin/pip-audit
	@.ci/audit .venv-audit/bin/pip-audit constraints*.txt

.PHONY: demo
demo: $(SETUP_DEMO) ## a BigQuery stand-in, the gate, and three customers' queries (ARGS=--once ends by itself)
	$(BIN)/bqgate demo $(ARGS)

.PHONY: first-query
first-query: $(SETUP) ## walk and time the newcomer's path, from the clone to the rows of an own query; downloads anew
	$(BIN)/pytest -q -s tests/smoke/first_query.py $(ARGS)

.PHONY: bench
bench: $(SETUP) ## measure, figures beside goals, in some 25 minutes: make bench ONLY=gated_queries ARGS='--rounds 1'
	@set -e; for script in benchmarks/$(or $(ONLY),*).py; do echo "== $$script"; $(BIN)/python $$script $(ARGS); done

.PHONY: soak
soak: $(SETUP) ## what grows: 100,000 refused and throttled queries, then full load: make soak SOAK_S=1200
	$(BIN)/pytest -q -s tests/soak/refusals.py
	$(BIN)/python -m benchmarks.gated.soak --seconds $(SOAK_S) $(ARGS)

.PHONY: races
races: $(SETUP) ## repeated queries race, audited against what upstream billed: make races REPETITIONS=2000; takes hours
	REPETITIONS=$(REPETITIONS) $(BIN)/pytest -q -s --tb=line --show-capture=no -o timeout=36000 tests/path/test_repeats.py $(ARGS)

.PHONY: chaos
chaos: $(SETUP) ## everything breaks while queries run, then an audit: make chaos SEED=7 RUNS=20; a minute a run
	$(BIN)/python -m tests.chaos --runs $(RUNS) $(if $(SEED),--seed $(SEED)) $(if $(REVISION),--revision $(REVISION)) $(ARGS)

.PHONY: simulate
simulate: $(SETUP) ## the money path under simulated crashes and losses: make simulate SEED=1 HISTORIES=10000
	PYTHONPATH=. $(BIN)/python -m tests.simulation $(or $(SEED),1) $(HISTORIES)

.PHONY: constraints
constraints: $(SETUP) ## write constraints.txt from what is installed in .venv
	{ echo '# Versions that the tests passed with. Made from an installed checkout: `make constraints`.'; \
	  $(BIN)/python -m pip freeze --disable-pip-version-check --exclude-editable; } > constraints.txt

.PHONY: clean
clean: ## remove what the other commands made
	rm -rf $(VENV) .venv-* tests/clients/node/node_modules dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# Stamps: a virtual environment is made once, and completed when what it is made from has changed.

$(SETUP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[dev]'
	@touch $(SETUP) $(SETUP_DEMO)

# A newcomer waits for this one. Compiling all of it takes a third of the time; what the demo imports is compiled then.
$(SETUP_DEMO): pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing bqgate and the stand-in into $(VENV); this is done once, and takes a minute or two.'
	$(BIN)/python $(PIP_INSTALL) --no-compile --constraint constraints.txt --editable '.[sandbox]'
	@touch $@

$(BIN)/python:
	$(call make-venv,$(VENV))

$(SETUP_IBIS): constraints-ibis.txt
	$(call make-venv,.venv-ibis)
	.venv-ibis/bin/python $(PIP_INSTALL) --constraint constraints-ibis.txt bigquery-magics \
	  google-cloud-bigquery-storage 'ibis-framework[bigquery]' pandas-gbq sqlalchemy-bigquery
	@touch $@

$(SETUP_DBT): constraints-dbt.txt
	$(call make-venv,.venv-dbt)
	.venv-dbt/bin/python $(PIP_INSTALL) --constraint constraints-dbt.txt 'dbt-core<1.12' 'dbt-bigquery<1.12'
	@touch $@

$(SETUP_AUDIT): constraints-audit.txt
	$(call make-venv,.venv-audit)
	.venv-audit/bin/python $(PIP_INSTALL) --constraint constraints-audit.txt pip-audit
	@touch $@

# No lock file: its URLs would be those of one registry. package.json pins the version.
$(SETUP_NODE): tests/clients/node/package.json
	npm install --prefix tests/clients/node --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

define make-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'make: bqgate needs Python 3.11 or newer, and "$(PYTHON)" is not;' \
	       'install one, or name it: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@$(PYTHON) -m venv $(1) || { \
	  echo 'make: $(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv' >&2; exit 1; }
endef
