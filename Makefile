# Everything that a person or CI does with this repository. Needs cargo, python3 with venv, and a C compiler.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
EMULATORS := $(CARGO_TARGET_DIR)/emulators
VENV := $(EMULATORS)/venv
CARGO ?= cargo
# Debug information of our own code is for people; CI does without.
ifdef CI
export CARGO_INCREMENTAL := 0
endif

.PHONY: help
help: ## Tell what can be done
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: build
build: ## Build the program
	$(CARGO) build --locked

.PHONY: release
release: ## Build the program as it is shipped
	$(CARGO) build --locked --release

.PHONY: emulators
emulators: ## Install the AWS emulator into target/
	@PYTHON="$(PYTHON)" tests/emulators/setup.sh "$(VENV)"

.PHONY: demo
demo: emulators build ## Plan, apply, drift and destroy against emulators
	@"$(VENV)/bin/python" examples/demo.py "$(CARGO_TARGET_DIR)/debug/bailiwick"

.PHONY: test
test: emulators ## Run all tests but those that need a real Kubernetes API server
	$(CARGO) test --locked --no-default-features --lib
	$(CARGO) test --locked
	"$(VENV)/bin/python" tests/emulators/test_aws.py
	PYTHON="$(VENV)/bin/python" tests/emulators/contract.sh double

.PHONY: test-faults
test-faults: emulators ## Disturb more runs, on the AWS emulator too, and print a table
	FAULTS_RUNS=5000 $(CARGO) test --locked --no-default-features --test faults -- --nocapture
	FAULTS_RUNS=1 FAULTS_EMULATED=50 $(CARGO) test --locked --test faults emulator -- --nocapture

.PHONY: lint
lint: ## Check formatting and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --no-default-features --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets -- -D warnings

.PHONY: bench
bench: emulators release ## Measure policies, and plans and applies of an estate beside Terraform's
	# In a folder of its own: the program that it builds on the way has no AWS and Kubernetes support.
	$(CARGO) bench --locked --no-default-features --target-dir "$(CARGO_TARGET_DIR)/bench"
	"$(VENV)/bin/python" bench/run.py "$(CARGO_TARGET_DIR)/release/bailiwick"

.PHONY: kube-assets
kube-assets: ## Build a real kube-apiserver once, into a cache outside the checkout
	@tests/emulators/kube_assets.sh

.PHONY: test-kube
test-kube: emulators ## Run the contract suite and the end-to-end tests on a real kube-apiserver
	$(CARGO) test --locked --no-run
	assets=$$(tests/emulators/kube_assets.sh | tail -n 1); \
	PYTHON="$(VENV)/bin/python" tests/emulators/contract.sh real "$$assets"; \
	RUST_TEST_THREADS=1 "$(VENV)/bin/python" tests/emulators/kube_apiserver.py --assets "$$assets" --run \
	    $(CARGO) test --locked --test e2e

.PHONY: test-rgw
test-rgw: emulators ## Run the tests of state in a bucket on a real Ceph RADOS Gateway (Debian 12 only)
	$(CARGO) test --locked --no-run --test backends
	tests/emulators/rgw_assets.sh "$(EMULATORS)/rgw" || [ $$? = 75 ] # which has said that it cannot be had
	[ ! -f "$(EMULATORS)/rgw/complete" ] || "$(VENV)/bin/python" tests/emulators/rgw.py --assets "$(EMULATORS)/rgw" --run \
	    $(CARGO) test --locked --test backends -- s3 --test-threads 1

.PHONY: schemas
schemas: build ## Write the JSON Schemas anew
	for s in spec plan state drift; do \
	    "$(CARGO_TARGET_DIR)/debug/bailiwick" schema $$s > schemas/$$s.schema.json; \
	done

.PHONY: clean
clean: ## Remove everything that was built
	$(CARGO) clean
