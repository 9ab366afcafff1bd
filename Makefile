# Every command of the project. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PYTHONPATH := $(CURDIR)
export JUPYTER_PLATFORM_DIRS := 1

.PHONY: help run lab test sync bench clean

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

$(READY): requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

run: $(READY)  ## execute the chapters into build/, as notebooks and HTML pages, and print a table (CHAPTER=05 for one)
	$(BIN)/python .ci/notebooks.py run $(CHAPTER)

lab: $(READY)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=notebooks

test: $(READY)  ## run everything that CI runs
	$(BIN)/ruff check helpers .ci data notebooks/text
	$(BIN)/ruff format --check helpers .ci data
	$(BIN)/python .ci/notebooks.py check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbval -n 2 --dist loadfile

sync: $(READY)  ## pair every notebook with its text and execute it in place (CHAPTER=05 for one)
	$(BIN)/python .ci/notebooks.py sync $(CHAPTER)

bench: $(READY)  ## print the speed comparisons
	$(BIN)/python .ci/bench.py

clean:  ## delete what the other commands made
	rm -rf $(VENV) build
