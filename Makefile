# What one types here. Everything lives in .venv and build/; both may be deleted at any time.
#
#   make demo                    a plant, two gateways, the centre: the whole way of a sample, live
#   make test  [TESTS=path]      all tests but the long ones
#   make check                   format, lint, types, import contracts, the browser's part
#   make fault [ROUNDS=50] [SEED=1]   kill, cut and repeat at random moments; nothing may be lost
#   make bench                   the figures, one JSON line each, to build/bench.jsonl
#   make hil RIG=name            against a rig of real devices
#   make setup | lock | clean    environment | pin libraries anew (UPGRADE=1) | remove what was made
#
# YES=1 lets it install missing system packages without asking; PYTHON= chooses the interpreter.

PYTHON ?=
YES ?=
TESTS ?=
ROUNDS ?= 50
SEED ?=
RIG ?=
export PYTHON YES

RUN := .venv/bin/python

.PHONY: help setup environment demo test check bench fault hil lock clean
.DEFAULT_GOAL := help

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

setup:
	@sh setup/packages.sh run
	@sh setup/environment.sh

demo: setup
	@$(RUN) -m aggregator demo

# All of them on as many workers as there are cores, file by file; a few by name in one process.
SPREAD := -n auto --dist loadfile
test: setup
	$(RUN) -m pytest $(if $(TESTS),$(TESTS),$(SPREAD))

# $(call tool,COMMAND,PACKAGE): runs the environment's tool, else the one on PATH. A missing tool is
# a failure in CI, elsewhere a skip that names the package. Each runs, whatever the others found.
tool = @set -- $(1); \
	if [ -x .venv/bin/$$1 ]; then first=.venv/bin/$$1; else first=$$(command -v $$1 || true); fi; \
	if [ -z "$$first" ]; then \
	    if [ "$$CI" = true ]; then echo "check: $$1 is missing (package $(2))" >&2; exit 1; fi; \
	    echo "check: $$1 skipped, package $(2) is not installed (make setup installs it)"; exit 0; \
	fi; \
	shift; echo "check: $(1)"; "$$first" "$$@"

.PHONY: check-format check-lint check-types check-imports check-ui-types check-ui-tests
check:
	@$(MAKE) --no-print-directory --keep-going check-format check-lint check-types check-imports \
	    check-ui-types check-ui-tests

check-format:
	$(call tool,ruff format --check --quiet,ruff)
check-lint:
	$(call tool,ruff check --quiet,ruff)
check-types:
	$(call tool,mypy --no-error-summary,mypy)
check-imports:
	$(call tool,lint-imports --no-logo,import-linter)

# As above, for what npm installed; Node stands in .venv.
browser-tool = @tool=aggregator/ui/node_modules/.bin/$(firstword $(1)); \
	if [ ! -x $$tool ]; then \
	    if [ "$$CI" = true ]; then echo "check: $$tool is missing (make setup)" >&2; exit 1; fi; \
	    echo "check: $(1) skipped, the browser's part is not set up (make setup does it)"; exit 0; \
	fi; \
	echo "check: $(1)"; cd aggregator/ui && PATH="$(CURDIR)/.venv/bin:$$PATH" node_modules/.bin/$(1)

check-ui-types:
	$(call browser-tool,tsc --noEmit)
check-ui-tests:
	$(call browser-tool,vitest run --silent --reporter=dot)

fault: setup
	@sh setup/packages.sh fault front
	FAULT_ROUNDS=$(ROUNDS) FAULT_SEED=$(SEED) $(RUN) -m pytest tests/fault -m fault $(SPREAD)

bench: setup
	@mkdir -p build
	PYTHONPATH=. $(RUN) tests/bench/run.py

hil:
	@echo "make hil runs the tests marked 'hil' against a rig: real devices on a bench, described in hil/."
	@echo "No rig is described yet. The plants of hil/ need none: see hil/README.md and make demo."
	@exit 2

lock:
	@UPGRADE=$(UPGRADE) sh setup/lock.sh

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
