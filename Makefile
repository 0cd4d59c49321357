# These need a clone and Python 3.10 or later, and nothing else.
PYTHON ?= python3
BIN := .venv/bin
# Waiting threads sleep instead of spinning, which is many times faster on shared cores.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint docs install

# Compress, score, time and report, offline, in a few minutes; writes out/demo/leaderboard.html.
demo: .venv/.installed
	$(BIN)/s3prl-compress run recipes/demo.yaml

# SPEECH_DATA=FOLDER also runs the tests on real speech. The models are tiny, so two processes with
# one thread each are faster than one process with two. A test file stays in one process, because its
# tests share fixtures.
test: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site, without network: docs/_build/html/index.html. Warnings are errors.
docs: .venv/.installed
	$(BIN)/sphinx-build --fail-on-warning --keep-going -q -d docs/_build/doctrees docs docs/_build/html

install: .venv/.installed

# The stamp is written last, so that an incomplete environment is made again.
.venv/.installed: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt -e '.[test]'
	touch $@
