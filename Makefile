# Every target sets itself up first; `make` alone lists them.
PY := .venv/bin/python
STAMP := .venv/.ready

.PHONY: help setup demo test check bench rows api corpus format
help:
	@echo "make setup   install what is needed (Debian packages, virtual environment)"
	@echo "make demo    build, run, rebuild and change the example project with the embedded engine"
	@echo "make test    the whole suite, root and network tests included"
	@echo "make check   format, lint, types, import contracts, unit tests (no root, no network)"
	@echo "make bench   ratios against the peers at hand (PEER_BUILDKITD=, PEER_BUILDCTL=)"
	@echo "make rows    rows of the specification proved by tests, by area (SPECIFICATION=FILE)"
	@echo "make corpus  compare the Dockerfile frontend with the corpus (CORPUS=DIR, DUMP=OUT)"
	@echo "make api     regenerate the wire types from the .proto files"

setup: $(STAMP)
$(STAMP): scripts/setup scripts/packages.txt pyproject.toml
	@scripts/setup

demo: setup
	@$(PY) scripts/demo.py

check: setup
	.venv/bin/ruff format --check -q src tests scripts bench
	.venv/bin/ruff check -q src tests scripts bench
	.venv/bin/mypy
	PYTHONPATH=src .venv/bin/lint-imports --no-cache
	.venv/bin/pytest -n auto -m "not root and not net and not slow"

test: check
	.venv/bin/pytest -n 2 --dist loadgroup -m "root or net or slow"

bench: setup
	@$(PY) -m bench $(BENCH)

rows: setup
	@$(PY) scripts/rows.py

corpus: setup
	@$(PY) scripts/corpus.py

api: setup
	@$(PY) scripts/api.py

format: setup
	.venv/bin/ruff format src tests scripts bench
	.venv/bin/ruff check --fix src tests scripts bench
