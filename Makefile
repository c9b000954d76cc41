# Every target makes .venv by itself where it is needed; only python3 (3.11 or newer, with venv), make and git are presumed.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := engine plugins
STAMP := .venv/.postroad

export PYTHON
.DEFAULT_GOAL := help
.PHONY: bench-appengine bench-full bench-smtp bench-http crash model mutants power fuzz scale servers help demo test lint types check wheel bench docs format requirements clean
.DELETE_ON_ERROR:

help: ## show this list
	@echo "Postroad: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## watch real mail travel: accepted, retried, delivered, bounced
	@$(BIN)/postroad demo

test: $(STAMP) ## run the tests; ARGS="-k retry -x" goes to pytest
	@$(BIN)/pytest -n auto --maxprocesses 4 $(ARGS)

servers: ## unpack real mail servers into .servers, for tests/integration (Debian)
	@$(PYTHON) scripts/fetch_servers.py

lint: $(STAMP) ## ruff (rules and form), flake8-async
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "not formatted; run: make format" >&2; exit 1; }
	@$(BIN)/flake8 $(SOURCES)

types: $(STAMP) ## mypy and pyright, both strict
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/pyright --pythonpath $(BIN)/python

check: lint types test ## all of the above

wheel: $(STAMP) ## build the wheel and try it in an empty environment
	@$(BIN)/python scripts/try_wheel.py

bench: $(STAMP) ## messages a second, beside smtplib and Postfix; ARGS="--help" lists more
	@$(BIN)/python benchmarks/throughput.py $(ARGS)

bench-full: $(STAMP) ## every scenario beside every system that can be had, 25 to 60 minutes: writes benchmarks/RESULTS.md; ARGS="--short"
	@$(BIN)/python benchmarks/suite.py --publish $(ARGS)

fuzz: $(STAMP) ## fuzz the readers of strangers' bytes, 60 s each; SECONDS=5, TARGET=reply
	@scripts/fuzz.sh $(or $(SECONDS),60) $(TARGET)

bench-appengine: $(STAMP) ## mail.send_mail from 8 processes into one spool; ARGS="--help" lists more
	@$(BIN)/python benchmarks/appengine.py $(ARGS)

bench-smtp: $(STAMP) ## the SMTP transport alone, beside aiosmtplib, smtplib and smtp-source; ARGS="--help" lists more
	@$(BIN)/python benchmarks/smtp_client.py $(ARGS)

bench-http: $(STAMP) ## the HTTP transport beside bare httpx2, and messages a call; ARGS="--help" lists more
	@$(BIN)/python benchmarks/http_client.py $(ARGS)

crash: $(STAMP) ## kill an engine around every step and at random moments, 100 times; KILLS=1000 for more
	@POSTROAD_KILLS=$(or $(KILLS),100) $(BIN)/pytest -q -o faulthandler_timeout=0 tests/crash

model: $(STAMP) ## random lives of stores and engines against what they promised, 1,000 each; EXAMPLES=10000 for more
	@POSTROAD_MODEL_EXAMPLES=$(or $(EXAMPLES),1000) $(BIN)/pytest -q -o faulthandler_timeout=0 tests/model

power: $(STAMP) ## cut the power of a simulated disk 10,000 times; CUTS=100000 for more, SEED=n to begin with
	@POSTROAD_POWER_CUTS=$(or $(CUTS),10000) POSTROAD_POWER_SEED=$(or $(SEED),1) $(BIN)/pytest -q -s -o faulthandler_timeout=0 tests/power

mutants: $(STAMP) ## break each promise on purpose, in a copy, and see a test turn red; ONLY=sync for some, JOBS=1
	@$(BIN)/python tests/mutants/run_mutants.py $(if $(ONLY),--only "$(ONLY)") $(if $(JOBS),--jobs $(JOBS))

scale: $(STAMP) ## a million queued messages, large ones, troubled neighbours: memory and cost; ARGS="--help" lists more
	@$(BIN)/python benchmarks/scale.py $(ARGS)

docs: $(STAMP) ## write anew the parts of docs/ that are made from the code
	@$(BIN)/python -m postroad.configdoc > docs/configuration.md.new && mv docs/configuration.md.new docs/configuration.md
	@$(BIN)/python scripts/draw_states.py
	@$(BIN)/python scripts/write_contract.py
	@$(BIN)/python tests/faults/fault_page.py
	@$(BIN)/python tests/mutants/mutant_page.py
	@$(BIN)/python scripts/provider_table.py

format: $(STAMP) ## put the code into ruff's form
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format --quiet

requirements: $(STAMP) ## compile requirements/*.txt; UPGRADE=1 takes newer versions
	@scripts/compile_requirements.sh

clean: ## remove .venv and everything that was built
	@rm -rf .venv .servers build dist demo-run .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements/dev.txt pyproject.toml scripts/make_venv.sh
	@scripts/make_venv.sh
