# Parley's everyday commands. Each target calls one script; `make` lists them.
SHELL := /bin/bash
BIN := .venv/bin
QUESTION ?= What is 1234 * 56?

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast generated faults soak families gen lint rules client images test-images test-pods

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install everything into .venv
	@deploy/setup.sh

run: setup ## start Parley, ask one question, then serve until Ctrl-C (ONCE=1 stops after the answer)
	@$(BIN)/parley up $(if $(ONCE),--once,--ask) "$(QUESTION)"

test: ## the whole suite with coverage: the real engine, Envoy and a browser included
	@deploy/setup.sh --dev
	@tests/run.sh

test-fast: ## the tests that need no engine, Envoy or browser
	@tests/run.sh -m "not slow"

generated: ## send REQUESTS=5000 requests made from the descriptors, others each time
	@GENERATED_REQUESTS=$(or $(REQUESTS),5000) $(BIN)/python -m pytest -q -s tests/inference/test_any_request.py

faults: ## kill and stop every process of a platform under load, and say what its clients saw (long)
	@$(BIN)/python -m tests.faults

soak: ## use a platform for MINUTES=60 and say whether anything grew (long)
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60)

families: ## run a tiny model of each of six large families in the real engine (long)
	@$(BIN)/python -m pytest -q -s tests/families/check_families.py

gen: ## generate the stubs, those of the clients too, the API reference, the guide's tables and the dashboards
	@$(BIN)/python protos/generate.py
	@$(BIN)/python -m protos.generate_clients
	@$(BIN)/python docs/generate.py
	@$(BIN)/python -m deploy.observability.dashboards

client: ## build the wheel for programs, parley-client, into dist/
	@cd clients/python && ../../$(BIN)/python -m hatchling build --target wheel --directory ../../dist

rules: ## check Prometheus' rules and play them through (needs promtool)
	@deploy/observability/check.sh

lint: ## every check that needs no running process
	@deploy/lint.sh

images: ## build the container images and show their sizes (needs a container engine; deploy/docker/engine.sh brings one)
	@deploy/docker/build.sh

test-images: ## build the images and bring Compose's profiles up, without a GPU (long; deploy/docker/engine.sh brings an engine)
	@$(BIN)/python -m pytest -q -s tests/deploy/check_images.py tests/deploy/check_production.py

test-pods: ## build the images and play the pods of deploy/kubernetes, without a GPU (long; deploy/docker/engine.sh brings an engine)
	@$(BIN)/python -m pytest -q -s tests/deploy/check_pods.py
