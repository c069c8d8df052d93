# Two commands on a bare machine with Python 3.11: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
DEVELOPED := .venv/developed
# Constrains build environments too, so that an install in a year is the install of today.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start hundreds of Pythons: each would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check proofs schedules fuzz faults kills mirrors slurm bench bench-full learning solved large-arm lock wheel clean

demo: $(INSTALLED)
	$(BIN)/grownn run demo
	$(BIN)/grownn export results/demo -o results/demo/incumbent.yaml
	$(BIN)/grownn evaluate results/demo/incumbent.yaml --seeds 100-104
	$(BIN)/grownn report results/demo
	@echo "Next: open results/demo/report/index.html; $(BIN)/grownn table results/demo; $(BIN)/grownn studies"

test: $(DEVELOPED)
	$(BIN)/pytest -n 2 --dist worksteal

check: $(DEVELOPED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Slower proofs, not part of `make test`; those of the table of faults are `make faults`.
proofs: $(DEVELOPED)
	$(BIN)/pytest -n 2 --dist worksteal -m 'slow and not row' --ignore tests/slurm --ignore tests/fuzz --ignore tests/test_schedules.py

# 40,000 random schedules of results, losses, kills and damage; three quarters of an hour on one core.
schedules: $(DEVELOPED)
	$(BIN)/pytest -m slow tests/test_schedules.py

# Damaged and foreign files and input, thousands of each kind: ten minutes.
fuzz: $(DEVELOPED)
	$(BIN)/pytest -n 2 --dist worksteal -m slow tests/fuzz --timeout 3000

# Every row of the table of faults, injected for real; the last line is JSON. Rows that need root, Slurm or a C compiler
# are skipped where there is none, and fail if GROWNN_FAULTS=required.
faults: $(DEVELOPED)
	$(BIN)/pytest -n 2 --dist worksteal -m row --faults --timeout 3000

# SIGKILLs at random instants: `make kills KILLS=1000`; the last line is JSON.
KILLS ?= 60
SEED ?= 1000
kills: $(DEVELOPED)
	$(BIN)/python tests/kills.py --kills $(KILLS) --seed $(SEED)

# Opens a mirror with DeepCAVE, whose dependencies want Python 3.10 and an environment of their own.
PYTHON310 ?= python3.10
DEEPCAVE := .venv/deepcave
mirrors: $(DEVELOPED) $(DEEPCAVE)/installed
	GROWNN_DEEPCAVE=$(CURDIR)/$(DEEPCAVE)/bin/python $(BIN)/pytest -m 'slow or not slow' tests/report/test_mirror_smac.py

$(DEEPCAVE)/installed:
	$(PYTHON310) -m venv $(DEEPCAVE)
	env -u PIP_CONSTRAINT $(DEEPCAVE)/bin/pip install --quiet deepcave==1.4.1
	touch $@

# On two real Slurms of two nodes each; as root, with Debian's slurm-wlm and munge.
slurm: $(DEVELOPED)
	GROWNN_SLURM=required $(BIN)/pytest -n 2 --dist worksteal -m 'slow or not slow' tests/slurm

# Benchmarks. Against Stable-Baselines3, on one core: the cases with targets, in five minutes where nothing else runs; and all
# of them, in 20, with the table written.
bench: $(DEVELOPED)
	$(BIN)/python -m benchmarks.segments

bench-full: $(DEVELOPED)
	$(BIN)/python -m benchmarks.segments --full --write

# Does ours learn as well as Stable-Baselines3's? Twenty minutes on two cores.
learning: $(DEVELOPED)
	$(BIN)/python -m benchmarks.learning --write

# Do the bundled settings solve their tasks? Twenty minutes on two cores.
solved: $(DEVELOPED)
	$(BIN)/python -m benchmarks.solved --write

large-arm: $(DEVELOPED)
	$(BIN)/python benchmarks/large_arm.py

wheel: $(DEVELOPED)
	$(BIN)/pip wheel --no-deps --wheel-dir dist .

lock: $(DEVELOPED)
	{ head -1 constraints.txt; $(BIN)/pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf .venv dist

$(INSTALLED): pyproject.toml constraints.txt grownn_hpo/native/kernels.c grownn_hpo/native/build.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@

$(DEVELOPED): $(INSTALLED)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@
