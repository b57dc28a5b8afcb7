# Everything lives in .venv; PYTHON is the interpreter that makes it (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup run test test-long faults faults-short overload soak screenshots check bench bench-stores bench-dashboards clean

$(VENV)/run.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(VENV)/long.stamp: $(VENV)/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,long]'
	@touch $@

setup: $(VENV)/dev.stamp  ## what running and developing need

run: $(VENV)/run.stamp  ## all services; WORKERS=3 for three workers
	@exec $(BIN)/python -m deploy.run $(if $(WORKERS),--concurrency worker=$(WORKERS))

# Many tests wait for processes, so four run at once on two cores. In the order of their names: by
# default the files with the fewest tests come last, and those run long.
test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: $(VENV)/long.stamp  ## real clients, browsers and others' servers
	$(BIN)/python -m pytest -m long -n 2 --dist loadfile $(ARGS)

# About 25 minutes; such as ARGS="--stores jsonl,redis --rounds 100 --seed 7" for others.
faults: $(VENV)/dev.stamp  ## ends processes under load, and writes the table of docs/reliability.md
	$(BIN)/python -m tests.faults --page docs/reliability.md $(ARGS)

overload: $(VENV)/dev.stamp  ## twice what the store takes for a minute; writes to the same page
	$(BIN)/python -m tests.faults.overload --page docs/reliability.md $(ARGS)

soak: $(VENV)/dev.stamp  ## 2,000 events/s for ten minutes; ARGS="--minutes 60 --store postgresql"
	$(BIN)/python -m tests.faults.soak --page docs/reliability.md $(ARGS)

faults-short: $(VENV)/dev.stamp
	$(BIN)/python -m tests.faults --rounds 3 --stores jsonl,redis,sqlite $(ARGS)

screenshots: $(VENV)/long.stamp  ## the dashboard's pictures in docs/
	$(BIN)/python -m tests.dashboard.screenshots

# mypy reads the types of what the long tests use, too.
check: $(VENV)/long.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/dev.stamp  ## measures, and writes the tables of docs/benchmarks.md
	$(BIN)/python -m bench $(ARGS)

bench-stores: $(VENV)/dev.stamp  ## loads every store with 10 million events; N=1000000 for fewer
	$(BIN)/python -m bench.stores $(if $(N),--count $(N)) $(ARGS)

bench-dashboards: $(VENV)/dev.stamp  ## how long dashboards wait on a million events; N=100000 for fewer
	$(BIN)/python -m bench.dashboards $(if $(N),--count $(N)) $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
