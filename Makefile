# Every command of the project. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := $(VENV)/.ready
SITE := $(VENV)/.site
export PYTHONPATH := $(CURDIR)
export JUPYTER_PLATFORM_DIRS := 1

.PHONY: help run lab test sync bench badges colab book slides handout look repeat clean

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

$(READY): requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(SITE): $(READY) .ci/site-requirements.txt
	$(BIN)/python -m pip install --quiet --requirement requirements.txt --requirement .ci/site-requirements.txt
	touch $@

run: $(READY)  ## execute the chapters into build/, as notebooks and HTML pages, and print a table (CHAPTER=05 for one)
	$(BIN)/python .ci/notebooks.py run $(CHAPTER)

lab: $(READY)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=notebooks

test: $(READY)  ## run the checks and tests of CI; `make colab` is its other half
	$(BIN)/ruff check helpers .ci data notebooks/text
	$(BIN)/ruff format --check helpers .ci data
	$(BIN)/python .ci/notebooks.py check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbval -n 2 --dist loadfile

sync: $(READY)  ## pair every notebook with its text and execute it in place (CHAPTER=05 for one)
	$(BIN)/python .ci/notebooks.py sync $(CHAPTER)

bench: $(READY)  ## print the speed comparisons
	$(BIN)/python .ci/bench.py

badges:  ## write the repository's address and the setup cell everywhere (REPO=owner/name; else git's origin)
	$(PYTHON) .ci/badges.py $(REPO) $(if $(REPO),$(BRANCH))

colab: $(READY)  ## play the chapters, each alone, on a runtime like Colab's (CHAPTER=05 for one)
	$(BIN)/python .ci/colab.py $(CHAPTER) $(if $(REQUIREMENTS),--requirements $(REQUIREMENTS))

book: $(SITE)  ## build the website into build/book; needs no network
	$(BIN)/python .ci/book.py

slides: $(SITE)  ## make a deck of every chapter in build/slides; needs no network
	$(BIN)/python .ci/slides.py

handout: $(READY)  ## write copies for students, without solutions, and for the instructor, with them
	$(BIN)/python .ci/handout.py

look: book slides  ## build the website and the slides, then open them and the notebooks in Chromium and measure (WHAT=book, slides or lab for one)
	$(BIN)/python .ci/look.py $(WHAT)

repeat: $(READY)  ## execute the whole series ten times in different surroundings, and compare every output (an hour)
	$(BIN)/python .ci/repeat.py

clean:  ## delete what the other commands made
	rm -rf $(VENV) build
