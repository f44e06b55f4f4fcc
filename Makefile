# Everything sets up its own environment in .venv; nothing needs to be prepared but Python 3.11 or newer.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := build/docs/bin
DOCS_READY := build/docs/.ready
# Most tests wait more than they work, so more processes than cores pay; those with a broker share one.
TEST_JOBS ?= -n 4 --dist loadgroup
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Pure rules: no loop, no socket, no clock. Every branch of them is tested.
PURE := relay/asyncapi/*.py,relay/cloudevents.py,relay/config/standins.py,relay/dyte.py,relay/events/drift.py,relay/events/schema.py,relay/expectations.py,relay/expression.py,relay/gate.py,relay/leases.py,relay/overrides.py,relay/pace.py,relay/payload.py,relay/preview.py,relay/publickey.py,relay/registration/answers.py,relay/registration/options.py,relay/registration/plan.py,relay/registration/url.py,relay/representation.py,relay/retry.py,relay/routing.py,relay/seat.py,relay/sensitive.py,relay/sinks/address.py,relay/sinks/curl.py,relay/sinks/kafka/message.py,relay/standard_webhooks.py,relay/views.py,relay/vocabulary.py

# What `make bench-smoke` tries: all but what another one tries as well.
SMOKE := accept,kafka,sinks,latency,drain,million,postgres

.DEFAULT_GOAL := help
.PHONY: help demo serve simulate test check format lint types layers tests-with-coverage crash fuzz properties million bench-outage bench-flood kafka kafka-jars nginx promtool asyncapi-parser audit schema lock docs docs-serve docs-links clean bench bench-smoke bench-soak wrk test-postgres-newest postgres

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: $(READY) ## the whole relay on embedded parts, with simulated meetings (KEEP=1 leaves it running)
	@$(BIN)/relay demo $(if $(KEEP),--keep)

serve: $(READY) ## run relay.yaml, trusting the simulator's key
	@RELAY_DYTE_PUBLIC_KEY="$$($(BIN)/relay simulate --print-key)" $(BIN)/relay serve

simulate: $(READY) ## post simulated meetings at a relay that `make serve` runs
	@$(BIN)/relay simulate

test: $(READY) ## run the tests
	@$(BIN)/python -m pytest -q $(TEST_JOBS)

test-postgres-newest: $(READY) ## what `make test` shows of the store on Debian's PostgreSQL, on the newest
	@RELAY_TEST_POSTGRES=newest $(BIN)/python -m pytest -q $(TEST_JOBS) -k ostgres tests/contract tests/integration/test_postgres_*.py

check: format lint types layers tests-with-coverage ## all that must hold before a commit

format: $(READY)
	@$(BIN)/ruff format --check .

lint: $(READY)
	@$(BIN)/ruff check .

types: $(READY)
	@$(BIN)/mypy

layers: $(READY)
	@$(BIN)/lint-imports

tests-with-coverage: $(READY)
	@$(BIN)/python -m pytest -q $(TEST_JOBS) --cov=relay --cov-branch --cov-report=
	@$(BIN)/coverage report --include='$(PURE)' --fail-under=100 --show-missing
	@echo "all of relay/, for information:" && $(BIN)/coverage report --format=total

crash: $(READY) ## kill relays CYCLES times under load and look for what was lost (POINTS=50; STORE=postgres NODES=3 MINUTES=10)
	@$(BIN)/python -m tests.crash $(if $(POINTS),--points $(POINTS),--cycles $(or $(CYCLES),50)) \
	    $(if $(STORE),--store $(STORE)) $(if $(NODES),--nodes $(NODES)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(FREEZE),--freeze) \
	    $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED))

fuzz: $(READY) ## N requests that no sender would write (N=1000000 for the long run)
	@$(BIN)/python -m tests.fuzz --count $(or $(N),20000) $(if $(SEED),--seed $(SEED))

bench: $(READY) ## measure the relay beside what one would write instead (ROUNDS=, SECONDS=, ONLY=accept,…)
	@$(BIN)/python -m bench $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) \
	    $(if $(ONLY),--only $(ONLY))

bench-smoke: $(READY) ## a little of what `make bench` measures, to see that it works
	@$(BIN)/python -m bench --short --only $(or $(ONLY),$(SMOKE))

bench-soak: $(READY) ## whether the relay grows over millions of events (EVENTS=5000000)
	@$(BIN)/python -m bench.soak $(if $(EVENTS),--events $(EVENTS)) $(if $(OUT),--out $(OUT))

bench-outage: $(READY) ## how long the sender waits with sinks that are healthy, that hang, and that have a backlog
	@$(BIN)/python -m bench --only latency

bench-flood: $(READY) ## what thousands of forged webhooks a second cost the genuine ones
	@$(BIN)/python -m bench.flood

properties: $(READY) ## the property tests with twenty times the examples
	@RELAY_LONG=1 $(BIN)/python -m pytest -q $(TEST_JOBS) --timeout=3600 tests/unit/test_config_properties.py \
	    tests/unit/test_event_properties.py tests/unit/test_gate.py tests/unit/test_slack_limits.py \
	    tests/contract/test_store_model.py tests/integration/test_sqlite_intake.py

million: $(READY) ## start on a million deliveries that wait, and measure (DELIVERIES, SECONDS)
	@$(BIN)/python -m tests.scale.million --deliveries $(or $(DELIVERIES),1000000) --seconds $(or $(SECONDS),60)

kafka: $(READY) ## run a real Kafka broker in the foreground (needs Java 17 and Maven)
	@$(BIN)/python -m tests.kafka

kafka-jars: $(READY) ## fetch what the broker of the tests needs, so that no test waits for it
	@$(BIN)/python -c 'from tests.kafka.real import prepare; prepare()'

wrk: $(READY) ## fetch wrk, which the benchmark posts with (Debian)
	@$(BIN)/python -m bench.wrk

nginx: $(READY) ## fetch nginx, before which the tests put relays (Debian)
	@$(BIN)/python -m tests.nginx

postgres: $(READY) ## fetch the PostgreSQL servers of the tests: Debian's (unless one is installed) and the newest (npm)
	@$(BIN)/python -m tests.postgres --fetch

promtool: $(READY) ## fetch Prometheus's promtool, which the tests of the alerts need (Debian)
	@$(BIN)/python -m tests.alerts.promtool

asyncapi-parser: $(READY) ## fetch the AsyncAPI project's parser, which judges our AsyncAPI documents (needs npm)
	@$(BIN)/python -m tests.asyncapi.parser

audit: ## look the pinned dependencies up in the databases of known holes (needs the network)
	@$(PYTHON) -m venv build/audit && build/audit/bin/pip install -q pip-audit
	@build/audit/bin/pip-audit --strict --require-hashes --disable-pip -r requirements/runtime.txt

docs: $(DOCS_READY) ## build the documentation site into build/site; every link is checked
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/python -m mkdocs build --strict

docs-serve: $(DOCS_READY) ## show the documentation site on http://127.0.0.1:8000 while you write
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/python -m mkdocs serve

docs-links: docs ## list the links of the site that lead elsewhere, which only a network could check
	@$(DOCS)/python -m docs.links build/site

schema: $(READY) ## write config/relay.schema.json anew
	@$(BIN)/relay schema > config/relay.schema.json

lock: ## pin all dependencies anew, with hashes
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header -q \
	    -o requirements/runtime.txt
	uv pip compile pyproject.toml --extra demo --group dev --universal --python-version 3.11 --generate-hashes \
	    --no-header -q -c requirements/runtime.txt -o requirements/dev.txt
	uv pip compile pyproject.toml --group docs --universal --python-version 3.11 --generate-hashes \
	    --no-header -q -c requirements/runtime.txt -o requirements/docs.txt

clean: ## forget the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist .coverage

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3"; exit 1; }
	@echo "setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DOCS_READY): requirements/docs.txt
	@echo "setting up build/docs …"
	@$(PYTHON) -m venv build/docs
	@$(DOCS)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/docs.txt
	@touch $@
