PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
RAY := .venv-ray/.ready
# pip reads these; the second is for the isolated environment that builds moola itself.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo check test test-all gpu ray bench

help: ## show this
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

setup: $(READY) ## make .venv with everything, pinned by constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(READY)

demo: $(READY) ## the default job: bars to report (minutes the first time, seconds the second)
	$(BIN)/moola run

check: $(READY) ## format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: $(READY) ## the default tests
	$(BIN)/pytest -n logical --dist loadfile

test-all: $(READY) ## the default tests and the slow ones
	$(BIN)/pytest -n logical --dist loadfile -m 'not gpu'

gpu: $(READY) ## tests that need a CUDA device
	$(BIN)/pytest -m gpu

# Ray wants versions of its own, so it has an environment of its own, which sees the other one behind them.
$(RAY): $(READY)
	$(PYTHON) -m venv .venv-ray
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" > "$$(.venv-ray/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/moola.pth"
	env -u PIP_CONSTRAINT .venv-ray/bin/python -m pip install --quiet --disable-pip-version-check ray==2.60.0 hydra-ray-launcher==1.2.2
	touch $(RAY)

ray: $(RAY) ## tests that need Ray, in an environment of its own
	.venv-ray/bin/python -m pytest -m ray

bench: $(READY) ## every benchmark, quick: one table, one JSON file each in benchmarks/out
	for name in startup data training self_supervised market evidence label_issues review neighbours pod_transfer sweeps; do $(BIN)/python benchmarks/$$name.py --quick --json benchmarks/out/$$name.json || exit 1; done
