# These need a clone and Python 3.11 or later (3.10 with CONSTRAINTS=constraints-oldest.txt).
PYTHON ?= python3
# The versions to install; constraints-oldest.txt has the oldest supported ones.
CONSTRAINTS ?= constraints.txt
BIN := .venv/bin
# Waiting threads sleep instead of spinning, which is many times faster on shared cores.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint docs dist install

# Compress, score, time and report, offline, in about ten minutes; writes out/demo/leaderboard.html.
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

# Builds from the commit and not from the folder, so that nothing else can get into the packages.
# The wheel is built from the source distribution. Works offline.
dist: .venv/.installed
	@test -z "$$(git status --porcelain)" || { \
	    echo "make dist: uncommitted changes; commit or remove them first" >&2; exit 2; }
	rm -rf dist build/dist
	mkdir -p build/dist
	git archive HEAD | tar -x -C build/dist
	$(BIN)/python -m build --no-isolation --outdir dist build/dist
	rm -rf build/dist
	$(BIN)/twine check --strict dist/*

install: .venv/.installed

# The stamp is written last, so that an incomplete environment is made again.
.venv/.installed: setup.cfg $(CONSTRAINTS)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c $(CONSTRAINTS) -e '.[test]'
	@# kenlm comes as C++ source.
	@if command -v c++ >/dev/null; then \
	    $(BIN)/pip install -q -c $(CONSTRAINTS) -e '.[lm]'; \
	else \
	    echo "no C++ compiler: the extra lm is not installed, and its tests are skipped"; \
	fi
	touch $@
