# Nothing is needed before these but a clone and Python 3.10 or later.
PYTHON ?= python3
BIN := .venv/bin
# Threads that wait sleep: where cores are shared, spinning ones make everything many times slower.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint install

# The whole path, offline, in a few minutes: out/demo/leaderboard.html.
demo: .venv/.installed
	$(BIN)/s3prl-compress run recipes/demo.yaml

# With SPEECH_DATA=folder the tests on real speech run, too. Two processes of one thread each take
# less time than one of two: the models are tiny. Files stay whole, for their fixtures' sake.
test: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: .venv/.installed

# The stamp comes last, so that a half-made environment is made again.
.venv/.installed: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt -e '.[test]'
	touch $@
