"""The setup cell, and in it the repository's address: this is the one place for both.

What stands below the dashes is the first code cell of every notebook. `make badges` copies it there; the address and
ROOMS it writes itself, the rest is edited here. The owner `your_account` is a placeholder: GitHub allows no underscore
in an account's name, so nobody can register it and no notebook ever runs a stranger's code.
"""

# ruff: noqa: E402, F401
# ----------------------------------------------------------------------------------------------------------------------
# The same in every chapter: find the series or fetch it, install what is missing, name the device.
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY, BRANCH = "your_account/flycatcher", "main"  # on GitHub
ROOMS = """analysis attention checks data generation plots seq2seq start text training
    transformer""".split()  # in helpers/
here, clone, part = Path.cwd(), Path.cwd() / "flycatcher", Path.cwd() / "flycatcher.part"
found = [p for p in (here, *here.parents, clone) if {*ROOMS} <= {f.stem for f in p.glob("helpers/*")}]
if not found:
    url = f"https://github.com/{REPOSITORY}"
    assert not clone.exists(), f"{clone} is an old or unfinished copy: delete it and try again."
    assert "your_account" not in url, "your_account is a placeholder: open this notebook in a clone."
    assert shutil.which("git"), f"git is missing: install it, or work in an unpacked ZIP of {url}."
    shutil.rmtree(part, ignore_errors=True)  # what a try that was cut off has left
    command = ["git", "clone", "-q", "--depth=1", f"--branch={BRANCH}", url, str(part)]
    git = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert "could not create" not in git.stderr, f"{here} is read-only: move this notebook elsewhere."
    unknown = "not found" in git.stderr or "Username" in git.stderr
    assert not unknown, f"There is no branch {BRANCH} at {url}: check the two, above in this cell."
    assert git.returncode == 0, f"No answer: check the network and try again. ({git.stderr.strip()})"
    part.rename(clone)
sys.path[:0] = [str(p) for p in [*found, clone][:1] if str(p) not in sys.path]

import torch

from helpers.start import prepare

device = prepare()
