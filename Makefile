# All tasks of this repository, for people and CI. Needs cargo, python3 with venv, and a C compiler.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
EMULATORS := $(CARGO_TARGET_DIR)/emulators
VENV := $(EMULATORS)/venv
PROOFS := $(CARGO_TARGET_DIR)/proofs/venv
# How many pairs of policies `make test` and `make test-proofs` compare; PROOFS_SEED repeats a run.
PROOFS_PAIRS ?= 500
PROOFS_MANY ?= 20000
PROOFS_SEED ?=
JUDGE = "$(PROOFS)/bin/python" tests/proofs/judge.py "$(CARGO_TARGET_DIR)/debug/bailiwick" $(if $(PROOFS_SEED),--seed $(PROOFS_SEED))
CARGO ?= cargo
# CI builds once: incremental builds would only cost time and disk space.
ifdef CI
export CARGO_INCREMENTAL := 0
endif

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: check
check: ## Check, lint and test the core, without any SDK: the everyday command
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --no-default-features --all-targets -- -D warnings
	$(CARGO) test --locked --no-default-features

.PHONY: build
build: ## Build the program
	$(CARGO) build --locked

.PHONY: release
release: ## Build the release binary
	$(CARGO) build --locked --release

.PHONY: emulators
emulators: ## Install the AWS emulator under target/
	@PYTHON="$(PYTHON)" tests/emulators/setup.sh "$(VENV)"

.PHONY: solver
solver: ## Install the SMT solver under target/
	@PYTHON="$(PYTHON)" tests/emulators/setup.sh "$(PROOFS)" tests/proofs/requirements.txt

.PHONY: demo
demo: emulators build ## Plan, apply, drift and destroy against emulators
	@"$(VENV)/bin/python" examples/demo.py "$(CARGO_TARGET_DIR)/debug/bailiwick"

.PHONY: test
test: emulators solver ## Run all tests that need no real Kubernetes API server or Ceph gateway
	$(CARGO) test --locked --no-default-features --lib
	$(CARGO) test --locked
	"$(VENV)/bin/python" tests/emulators/test_aws.py
	PYTHON="$(VENV)/bin/python" tests/emulators/contract.sh double
	"$(PROOFS)/bin/python" -m unittest discover -s tests/proofs
	$(JUDGE) $(if $(PROOFS_SEED),,--seed 1) --pairs $(PROOFS_PAIRS)

.PHONY: test-proofs
test-proofs: solver build ## Compare verdicts on policies with an SMT solver: 20,000 random pairs
	"$(PROOFS)/bin/python" -m unittest discover -s tests/proofs
	$(JUDGE) --pairs $(PROOFS_MANY)

.PHONY: test-faults
test-faults: emulators ## Run thousands of disturbed applies, also on the AWS emulator
	FAULTS_RUNS=5000 $(CARGO) test --locked --no-default-features --test core faults:: -- --nocapture
	FAULTS_RUNS=1 FAULTS_EMULATED=50 $(CARGO) test --locked --test cloud faults:: -- --nocapture

.PHONY: lint
lint: ## Check formatting and lints of all builds and targets
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --no-default-features --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-default-features --no-deps

.PHONY: bench
bench: emulators release ## Measure policies, plans and applies, and compare them with Terraform
	# A separate folder: cargo also builds the program here, without AWS and Kubernetes support.
	$(CARGO) bench --locked --no-default-features --target-dir "$(CARGO_TARGET_DIR)/bench"
	"$(VENV)/bin/python" tools/bench/run.py "$(CARGO_TARGET_DIR)/release/bailiwick"

.PHONY: kube-assets
kube-assets: ## Build a real kube-apiserver into a cache outside the checkout
	@tests/emulators/kube_assets.sh

.PHONY: test-kube
test-kube: emulators ## Run the Kubernetes tests on a real kube-apiserver
	$(CARGO) test --locked --no-run
	assets=$$(tests/emulators/kube_assets.sh | tail -n 1); \
	PYTHON="$(VENV)/bin/python" tests/emulators/contract.sh real "$$assets"; \
	RUST_TEST_THREADS=1 "$(VENV)/bin/python" tests/emulators/kube_apiserver.py --assets "$$assets" --run \
	    $(CARGO) test --locked --test cloud e2e::

.PHONY: test-rgw
test-rgw: emulators ## Run the backend tests on a real Ceph RADOS Gateway (Debian 12 only)
	$(CARGO) test --locked --no-run --test cloud
	tests/emulators/rgw_assets.sh "$(EMULATORS)/rgw" || [ $$? = 75 ] # 75: not available here, and the script printed the reason
	[ ! -f "$(EMULATORS)/rgw/complete" ] || "$(VENV)/bin/python" tests/emulators/rgw.py --assets "$(EMULATORS)/rgw" --run \
	    $(CARGO) test --locked --test cloud backends:: -- --test-threads 1

.PHONY: schemas
schemas: build ## Regenerate the JSON Schemas
	for s in spec plan state drift access problems apply; do \
	    "$(CARGO_TARGET_DIR)/debug/bailiwick" schema $$s > schemas/$$s.schema.json; \
	done

.PHONY: clean
clean: ## Remove build results
	$(CARGO) clean
