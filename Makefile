# make help        what there is
PYTHON ?= python3
export PYTHON
IN := .venv/bin/python -m
SLOW := engine or prefect or fault or ceph
QUICK := not ($(SLOW)) and not server

.DEFAULT_GOAL := help
.PHONY: help setup setup-gpu setup-peers fmt check unit test test-quick smoke test-s3 bench demo up migration lock clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## the control environment (.venv): API, flows, command line, tests
	@infra/setup.sh control

setup-gpu: ## the engines' environment (.venv-gpu): without CUDA unless there is a GPU
	@infra/setup.sh gpu

setup-peers: setup-gpu ## what benchmarks compare with (.venv-peers)
	@infra/setup.sh peers

fmt: setup ## format the code and put imports in order
	$(IN) ruff check --quiet --fix-only .
	$(IN) ruff format .

check: setup ## what needs no running: format, lint, types, who imports whom
	$(IN) ruff format --check .
	$(IN) ruff check .
	$(IN) mypy
	.venv/bin/lint-imports

unit: setup ## the tests that take seconds
	$(IN) pytest -n auto -m "$(QUICK)"

test: setup setup-gpu ## every test, with real vLLM, Prefect, Postgres and kill -9
	@$(MAKE) --no-print-directory --jobs=2 test-quick smoke
	$(IN) pytest --durations=30 -m "($(SLOW)) and not ceph"

test-quick: setup
	$(IN) pytest -n auto -m "not ($(SLOW))"

smoke: setup setup-gpu # ahead of the tests that use it: it takes one core a minute or two
	$(IN) tests.smoke_fixture

test-s3: setup ## the object store against a real S3 server (Ceph, from Debian's packages)
	$(IN) pytest -m ceph

bench: setup setup-gpu setup-peers ## every figure of README's table, each beside its peer
	$(IN) tests.benchmarks

demo: setup setup-gpu ## a yard from nothing, one batch through it, everything stopped (S3=1: bytes in S3)
	$(IN) infra.demo.run $(if $(S3),--s3)

up: setup setup-gpu ## a yard on this machine until Ctrl-C
	.venv/bin/yard up

migration: setup ## write a migration after a change of tables: make migration m="why"
	$(IN) orchestrator.embedded.revision "$(m)"

lock: setup ## pin every environment anew after a change of dependencies
	infra/lock.sh

clean: ## remove what tools left; environments and data (.venv*, .yard) stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
