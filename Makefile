# `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
KEEP := OHMYKUBE_HOME,OHMYKUBE_CACHE_DIR,OHMYKUBE_MIRROR,NO_COLOR,CI,GOPROXY,GOFLAGS,GOSUMDB,http_proxy,https_proxy,no_proxy
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=$(KEEP))
GATE := PYTHONPATH=tools $(BIN)/python -m gate
ARGS ?=

##@ Use

.PHONY: up
up: privileged ## Make a cluster of 1 + 2 nodes; installs what is missing first (ARGS="--workers 1")
	@tools/bootstrap.sh run
	@$(AS_ROOT) $(BIN)/ohmykube doctor --fix
	@$(AS_ROOT) $(BIN)/ohmykube up $(ARGS)

.PHONY: down
down: privileged ## Remove the cluster and everything made for it (ARGS="--name dev")
	@tools/bootstrap.sh run
	@$(AS_ROOT) $(BIN)/ohmykube down --yes $(ARGS)

##@ Test

.PHONY: test
test: packages dev ## What CI runs, less what passed before (FULL=1: all; ARGS="path or -k": what you name)
	@$(GATE) all $(if $(filter-out 0,$(FULL)),--full) -- $(ARGS)

.PHONY: packages
packages: $(if $(ARGS),understood) ## Only install the Debian packages that the tests need
	@tools/packages.sh $(or $(PACKAGES),test)
nightly: packages
nightly: PACKAGES := nightly

.PHONY: understood
understood: dev
	@$(GATE) $(or $(filter nightly,$(MAKECMDGOALS)),all) --check -- $(ARGS)

.PHONY: lint unit static contract molecule e2e nightly
lint: dev ## Static gates: ruff, mypy, import-linter, ansible-lint, yamllint and others
unit: dev ## Unit tests
static: dev ## Tests of the repository itself, and of the gate
contract: dev ## Providers and other seams, fakes and real ones
molecule: dev ## Roles on real nodes
e2e: dev ## Real clusters through every way in
nightly: dev ## All of it anew, and the slow ones: every Kubernetes minor, many nodes, mutants
lint unit static contract molecule e2e nightly:
	@$(GATE) $@ $(if $(filter-out 0,$(FULL)),--full) -- $(ARGS)

.PHONY: mutants
mutants: dev ## Whether tests notice changed lines (ARGS="--seed 1 --count 20")
	@PYTHONPATH=tools $(BIN)/python tools/mutants.py $(ARGS)

.PHONY: bench
bench: dev ## Speed and memory against the floor, JSON on stdout
	@PYTHONPATH=. $(BIN)/python tests/bench/run.py $(ARGS)

.PHONY: audit
audit: dev ## Known vulnerabilities of the pinned packages; asks an advisory service
	@$(BIN)/python tools/audit.py $(ARGS)

##@ Work

.PHONY: dev
dev: ## Only make the development environment in .venv
	@tools/bootstrap.sh dev

.PHONY: format
format: dev ## Sort imports and format Python
	@$(BIN)/ruff check --fix --quiet . && $(BIN)/ruff format .

.PHONY: docs
docs: dev ## Regenerate the generated pages of docs/
	@$(BIN)/python -m ohmykube.config.reference > docs/configuration.md.new
	@mv docs/configuration.md.new docs/configuration.md
	@$(BIN)/python tools/error_register.py

.PHONY: changelog
changelog: dev ## Gather the changelog's fragments into CHANGELOG.md for the version in galaxy.yml
	@$(BIN)/python tools/changelog.py release

UV := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-header $(if $(UPGRADE),--upgrade)

.PHONY: requirements
requirements: dev ## Pin the requirements anew, with hashes (UPGRADE=1 takes newer versions)
	$(UV) --extra dev --output-file requirements/dev.txt pyproject.toml
	$(UV) --constraints requirements/dev.txt --output-file requirements/run.txt \
		pyproject.toml requirements/build.in
	for name in uv collection-docs audit mutants; do \
		$(UV) --constraints requirements/dev.txt --output-file "requirements/$$name.txt" \
			--no-emit-package yattag "requirements/$$name.in"; done  # has no wheel, is not needed
	$(UV) --output-file requirements/galaxy-importer.txt requirements/galaxy-importer.in
	for core in 2.20 2.21; do \
		$(subst 3.11,3.12,$(UV)) --output-file "requirements/ansible-$$core.txt" "requirements/ansible-$$core.in"; done
	for core in 2.19 2.20 2.21; do \
		$(BIN)/python tools/sanity.py $$([ $$core = 2.19 ] || echo --core $$core) --pins | \
			$(UV) --output-file "requirements/sanity-$$core.txt" -; done

.PHONY: dist
dist: dev ## Build the wheel, the sdist and the collection into dist/
	@rm -rf dist && $(BIN)/hatchling build
	@$(BIN)/ansible-galaxy collection build --output-path dist .

.PHONY: release
release: dist ## Complete dist/ for a release: notes, bill of materials, sums (TAG=v1.2.3)
	@$(BIN)/python tools/release.py "$(TAG)"

.PHONY: clean
clean: ## Remove build products and caches of the tools; keeps .venv and clusters
	@rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis \
		.ansible .coverage .coverage.*
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.PHONY: privileged
privileged:
	@[ "$$(id -u)" = 0 ] || command -v sudo >/dev/null || { \
		echo "error: nodes are made as root, and sudo is not installed" >&2; \
		echo "  next: become root (su -), then run the same command again" >&2; exit 1; }

.PHONY: help
help: ## Show this
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
