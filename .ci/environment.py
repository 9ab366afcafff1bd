"""Make the virtual environment .venv if it is not there or not right: `environment.py [FILE]`, called by the Makefile.

FILE names more requirements. What was installed, by which Python, stands in .venv/made-from.json, which is written last:
another Python, a pin that moved or an interruption, and the environment is made anew. Standard library only, and nothing
that a Python too old to be used could not read: it must get as far as saying so.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "Scripts" if os.name == "nt" else "bin", "python")
MARK = os.path.join(VENV, "made-from.json")
BASE = "requirements.txt"
OLDEST, NEWEST = (3, 11), (3, 14)  # the README and the workflows say the same
ALONE = "# without its dependencies"  # how requirements.txt marks a package


def runs(python):
    """Say whether a Python of this name is there and can be started."""
    return bool(shutil.which(python)) and not subprocess.call([python, "-c", ""], stderr=subprocess.DEVNULL)


def refusal(version, system, machine, runs=runs):
    """Return why this Python or machine cannot be used, in a sentence that says what to type; None if it can."""
    if system == "Darwin" and machine == "x86_64":
        return "PyTorch is no longer made for Intel Macs (or this Python is one of theirs): use the Colab badges."
    if OLDEST <= version <= NEWEST:
        return None
    supported = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    there = [name for name in supported if runs(name)]
    remedy = f"type `make lab PYTHON={there[0]}`" if there else "install one of them from https://www.python.org"
    (a, b), (c, d), (e, f) = OLDEST, NEWEST, version
    return f"Flycatcher needs Python {a}.{b} to {c}.{d}, and this is Python {e}.{f}: {remedy}."


def read(path):
    """Return the text of a file of the repository."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def seal(path):
    """Return what stands for the packages of a file of requirements; remarks do not count."""
    wanted = [line for line in read(path).splitlines() if line and not line.startswith("#")]
    return hashlib.sha256("\n".join(wanted).encode("utf-8")).hexdigest()[:16]


def made_from():
    """Return what the environment was made from; nothing if it is not there, not whole, or its Python is gone."""
    try:
        with open(MARK, encoding="utf-8") as file:
            made = json.load(file)
        command = [PYTHON, "-c", "import sys; print(list(sys.version_info[:2]))"]
        works = json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL).decode())
        return made if works == made["python"] and OLDEST <= tuple(works) <= NEWEST else {}
    except (OSError, ValueError, KeyError, subprocess.CalledProcessError):
        return {}


def fits(made, wanted, python_named):
    """Say whether an environment can stay: its requirements are today's, and so is what the command line named."""
    python_moved = python_named and made.get("python") != wanted["python"]
    torch_moved = wanted["torch"] and made.get("torch") != wanted["torch"]
    return made.get(BASE) == wanted[BASE] and not python_moved and not torch_moved


def call(command):
    """Run a command that must succeed. Ctrl-C ends this program, which then ends the command, so only make speaks."""
    subprocess.check_call(command, start_new_session=True)


def install(files, torch):
    """Install files of requirements; a package marked so without what it depends on."""
    lines = [line for path in files for line in read(path).splitlines()]
    alone = [line.split("#")[0].strip() for line in lines if line.endswith(ALONE)]
    usual = [line.split("#")[0].strip() for line in lines if not line.endswith(ALONE)]
    # Python compiles a module when it is first used; compiling all of them here would double the time.
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]
    if torch:  # uv knows where each build of PyTorch lies, pip would have to be told
        call(pip + ["uv"])
        build = [line for line in usual if line.startswith("torch")]
        call([PYTHON, "-m", "uv", "pip", "install", "--python", PYTHON, "--torch-backend", torch] + build)
    call(pip + [line for line in usual if line])
    if alone:
        call(pip + ["--no-deps"] + alone)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("more", nargs="?", help="a file of requirements beyond requirements.txt")
    parser.add_argument("--torch", default="", choices=["", "cpu"], help="cpu for PyTorch without CUDA")
    parser.add_argument("--python-named", action="store_true", help="this Python was asked for, and no other will do")
    given = parser.parse_args()
    if os.path.islink(VENV):
        return  # somebody's own, not ours to make anew
    version = sys.version_info[:2]
    made = made_from()
    wanted = {"python": list(version), "torch": given.torch or made.get("torch", ""), BASE: seal(BASE)}
    files = [BASE] + ([given.more] if given.more else [])
    stays = fits(made, wanted, given.python_named)
    if stays and all(made.get(path) == seal(path) for path in files):
        return
    why = refusal(version, platform.system(), platform.machine())
    if why and not stays:
        sys.exit(why)
    if not stays:
        size = "1.8 GB on disk" if wanted["torch"] else "on Linux 2.8 GB to fetch and 6.2 GB on disk; TORCH=cpu: 1.8 GB"
        print(f"Making .venv with Python {platform.python_version()} ({size}). This takes some minutes.", flush=True)
        if os.path.exists(MARK):
            os.remove(MARK)  # first, so that what is half made is never taken for whole
        call([sys.executable, "-m", "venv", "--clear", VENV])
    install(files, wanted["torch"])
    made = dict(made if stays else wanted, **{path: seal(path) for path in files})
    with open(MARK, "w", encoding="utf-8") as file:
        json.dump(made, file)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"`{' '.join(error.cmd[1:5])}` failed, see above; the next `make` begins anew.")
    except KeyboardInterrupt:
        os._exit(130)
