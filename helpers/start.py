"""What the setup cell does once the series' files are there: install what is missing and name the device."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Raised when notebooks need what an older `helpers` lacks; the setup cell, in .ci/setup_cell.py, asks for it.
EDITION = 2

# What Colab lacks of what the series uses: {the module that is imported: the package that pip is asked for}. A package
# that is there already is left alone, whatever its version; the others come in the version of requirements.txt.
_WANTED = {
    "bertviz": "bertviz",
    "mpld3": "mpld3",
    "xstatic.pkg.jquery": "XStatic-jQuery",
    "sacrebleu": "sacrebleu",
    "portalocker": "portalocker",  # this one and the next three are what sacrebleu imports
    "colorama": "colorama",
    "tabulate": "tabulate",
    "lxml": "lxml",
}
_PINS = dict(re.findall(r"^([\w-]+)(==\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), flags=re.M))
PACKAGES = {module: package + _PINS.get(package, "") for module, package in _WANTED.items()}


def is_there(module):
    """Say whether a module can be imported. It may be one in a package, as in `xstatic.pkg.jquery`."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package is there
        return False


def missing_packages():
    """Return what pip must be asked for, a list of strings; empty when everything is there."""
    return [package for module, package in PACKAGES.items() if not is_there(module)]


def install(packages):
    """Install packages, and nothing that they depend on: numpy and torch stay what they are.

    Args:
        packages: what pip is asked for, a list of strings.

    Raises:
        RuntimeError: pip did not manage to; says what to do, and what pip said last.
    """
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check", *packages]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise RuntimeError(f"pip could not install {' '.join(packages)}: {_remedy(done.stderr)} pip said: {last}")
    importlib.invalidate_caches()  # Python remembers which folders it found no package in


def _remedy(said):
    """Return what to do when pip has said this."""
    if "externally-managed-environment" in said:
        return f"the system manages this Python and lets nobody add packages. {_other_kernel()}"
    if "No module named pip" in said:
        return f"this Python has no pip. Give it one with `{sys.executable} -m ensurepip`, then run this cell again."
    return "check the network, then run this cell again."


def _other_kernel():
    return f"Type `make lab` in {ROOT}: it opens the notebooks with a Python that has everything."


def prepare():
    """Install what is missing, and print the device in one line and what to do for a GPU.

    Raises:
        RuntimeError: PyTorch is missing, or pip could not install something; says what to do.
    """
    if not is_there("torch"):
        raise RuntimeError(f"There is no PyTorch in this kernel's Python, {sys.executable}. {_other_kernel()}")
    packages = missing_packages()
    if packages:
        install(packages)
    if "ipykernel" in sys.modules and "inline" not in os.environ.get("MPLBACKEND", "inline"):
        from IPython import get_ipython

        if shell := get_ipython():  # none where ipykernel was imported and is not what runs
            shell.run_line_magic("matplotlib", "inline")  # figures in the page, whatever MPLBACKEND asks for
    import torch

    if torch.cuda.is_available():
        print(f"Device: cuda ({torch.cuda.get_device_name()})")
    else:
        print("Device: cpu (in Colab: Runtime, Change runtime type, T4 gives a GPU)")
