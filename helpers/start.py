"""What the setup cell does once the series' files are there: install what is missing, choose and name the device."""

import importlib.util
import subprocess
import sys

import torch

# What Colab lacks of what the series uses: the module that is imported, and what pip is asked for. The versions are
# those of requirements.txt; a package that is there already is left alone, whatever its version.
PACKAGES = {
    "bertviz": "bertviz==1.4.1",
    "mpld3": "mpld3==0.5.12",
    "xstatic.pkg.jquery": "XStatic-jQuery==3.7.1.1",
    "sacrebleu": "sacrebleu==2.6.0",
    "portalocker": "portalocker",  # this one and the next three are what sacrebleu imports
    "colorama": "colorama",
    "tabulate": "tabulate",
    "lxml": "lxml",
}


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
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise RuntimeError(
            f"pip could not install {' '.join(packages)}: check the network, then run this cell again. pip said: {last}"
        )
    importlib.invalidate_caches()  # Python remembers which folders it found no package in


def prepare():
    """Install what is missing, print the device in one line and what to do for a GPU, and return the device."""
    packages = missing_packages()
    if packages:
        install(packages)
    if torch.cuda.is_available():
        print(f"Device: cuda ({torch.cuda.get_device_name()})")
        return torch.device("cuda")
    print("Device: cpu (in Colab: Runtime, Change runtime type, T4 gives a GPU)")
    return torch.device("cpu")
