# Every command of the project. `make help` lists them.
PYTHON ?= $(if $(filter Windows_NT,$(OS)),python,python3)
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python
export PYTHONPATH := $(CURDIR)
export JUPYTER_PLATFORM_DIRS := 1

# What a command may be told, as in `make run CHAPTER=05`. Anything else is refused, and so is a chapter that is not there.
KNOWN := PYTHON TORCH
KNOWN_badges := REPO BRANCH
KNOWN_colab := CHAPTER REQUIREMENTS
KNOWN_lab := OPTIONS
KNOWN_look := WHAT
KNOWN_margins := CHAPTER
KNOWN_repeat := CHAPTER IN
KNOWN_run := CHAPTER
KNOWN_sync := CHAPTER KEEP
KNOWN_test := CHAPTER
GIVEN := $(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $v)),$v))
$(foreach goal,$(or $(MAKECMDGOALS),help),$(foreach v,$(filter-out $(KNOWN) $(KNOWN_$(goal)),$(GIVEN)),\
	$(error make $(goal) takes $(or $(KNOWN_$(goal)),$(KNOWN)) and no $v)))
CHAPTERS := $(sort $(foreach text,$(notdir $(wildcard notebooks/text/*.py notebooks/text/studies/*.py)),$(firstword \
	$(subst _, ,$(text)))))
NUMBER := $(or $(filter $(CHAPTERS),$(CHAPTER) 0$(CHAPTER)),$(if $(CHAPTER),$(error \
	CHAPTER=$(CHAPTER): the numbers are $(CHAPTERS), a solution or study goes with its chapter)))
ENVIRONMENT = @$(PYTHON) .ci/environment.py $(if $(filter command,$(origin PYTHON)),--python-named) \
	$(if $(TORCH),--torch $(TORCH))

.PHONY: help environment site run lab lint test sync bench badges colab book slides handout look repeat margins clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

environment:
	$(ENVIRONMENT)

site:
	$(ENVIRONMENT) .ci/site-requirements.txt

run: environment  ## execute the chapters into build/, as notebooks and HTML pages, and print a table (5 minutes; CHAPTER=05 for one)
	@$(BIN) .ci/command.py notebooks run $(NUMBER)

lab: environment  ## open the notebooks in JupyterLab (OPTIONS=--allow-root, or any other of JupyterLab's)
	@$(BIN) -m nbformat.sign $(wildcard notebooks/*.ipynb notebooks/*/*.ipynb) >/dev/null 2>&1 || true
	@$(BIN) -m jupyterlab --notebook-dir=notebooks $(OPTIONS)

lint: environment  ## check the form of the code, and that notebooks, texts, badges and links agree
	$(BIN) -m ruff check helpers .ci data notebooks/text
	$(BIN) -m ruff format --check helpers .ci data
	$(BIN) .ci/command.py notebooks check

test: lint  ## run the checks and tests of CI (12 minutes; CHAPTER=05 for one chapter's notebooks); `make colab` is its other half
	OMP_NUM_THREADS=1 $(BIN) -m pytest --nbval -n 2 --dist loadfile --no-loadscope-reorder $(if $(NUMBER),$(wildcard notebooks/$(NUMBER)*.ipynb notebooks/*/$(NUMBER)*.ipynb))

sync: environment  ## pair every notebook with its text and execute it in place (10 minutes; CHAPTER=05 for one)
	@$(BIN) .ci/command.py notebooks sync $(NUMBER) $(if $(KEEP),--keep $(KEEP))

bench: environment  ## print the speed comparisons (5 to 8 minutes)
	$(BIN) .ci/command.py bench

badges:  ## write the repository's address and the setup cell everywhere (REPO=owner/name, else git's origin; BRANCH=main)
	@$(PYTHON) .ci/badges.py $(or $(REPO),origin) $(BRANCH)

colab: environment  ## play the chapters, each alone, on a runtime like Colab's (12 minutes; CHAPTER=05 for one)
	$(BIN) .ci/command.py colab $(NUMBER) $(if $(REQUIREMENTS),--requirements $(REQUIREMENTS))

book: site  ## build the website into build/book (1 minute); needs no network
	$(BIN) .ci/command.py book

slides: site  ## make a deck of every chapter in build/slides (half a minute); needs no network
	$(BIN) .ci/command.py slides

handout: environment  ## write copies for students, without solutions, and for the instructor, with them
	$(BIN) .ci/command.py handout

look: book slides  ## build the website and the slides, then open them and the notebooks in Chromium and measure, drawings too (20 minutes; WHAT=drawings, book, pages, slides or lab for one)
	$(BIN) .ci/command.py look $(WHAT)
	$(if $(WHAT),,$(BIN) .ci/command.py look_playground)

repeat: environment  ## run the tests in other surroundings: threads, locale, backend, instruction sets, rounding edges, busy cores (2 hours; IN=portable for one)
	@$(BIN) .ci/command.py repeat $(or $(IN),all) $(NUMBER)

margins: environment  ## run the notebooks with five other seeds and print how far each assertion is from failing (1 hour; CHAPTER=05 for one)
	@$(BIN) .ci/command.py margins $(NUMBER)

clean:  ## delete what the other commands made, .venv included; mends whatever is odd
	rm -rf .venv build
