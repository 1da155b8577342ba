# `make demo` and `make test` do all the set-up. TORCH goes to `pip install`: name the build for your GPU there.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: demo site docs test test-gpu lint clean

demo: .venv/installed
	$(BIN)/saebench run demo --out runs/demo
	$(BIN)/saebench leaderboard build runs/demo --out runs/demo/board --board leaderboards/boards/world.yaml
	@echo
	@echo "board:  runs/demo/board/README.md"
	@echo "site:   runs/demo/board/site/index.html"
	@echo "figure: runs/demo/board/figures/world-blocks-1-hook_resid_post-loss_recovered-by-l0.png"

# The board of the world and its site, from the rows in git: open leaderboards/world/site/index.html.
site: .venv/installed
	$(BIN)/saebench leaderboard build leaderboards/results/world --out leaderboards/world --board leaderboards/boards/world.yaml

# The documentation as a site: open build/docs/index.html.
docs: .venv/installed
	$(BIN)/sphinx-build -q -W --keep-going docs build/docs

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-gpu: .venv/installed
	SAEBENCH_GPU=1 $(BIN)/python -m pytest tests/test_gpu.py

lint: .venv/installed
	$(BIN)/ruff check saebench evals tests benchmarks
	$(BIN)/pyright

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv runs
