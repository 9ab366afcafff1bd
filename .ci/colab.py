"""Play a fresh Colab runtime: each chapter and study alone in an empty folder, as one click on its badge opens it.

    colab.py [CHAPTER] [--requirements FILE]     (`make colab`, `make colab CHAPTER=01`)

The runtime is a virtual environment of its own, `.venv/colab`, with the packages of `.ci/colab-requirements.txt` and
nothing else of the series: what the notebooks need beyond them, their setup cell must fetch. The repository's address
is stamped into a snapshot of this checkout, and git is told that GitHub is that snapshot. The outputs are compared by
nbval, as in `make test`.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import badges

sys.path.insert(0, str(badges.ROOT))
from helpers.start import PACKAGES

ROOT = badges.ROOT
REQUIREMENTS = ROOT / ".ci" / "colab-requirements.txt"
RUNTIME = ROOT / ".venv" / "colab"
WHEELS = ROOT / ".venv" / "colab-wheels"
ADDRESS = "example/flycatcher"
BIN = "Scripts" if os.name == "nt" else "bin"
STUB = '"""Stands for the package that tells a program that it runs in Colab."""\n'


def call(*command, **more):
    """Run a command that must succeed; show what it said if it does not."""
    done = subprocess.run([str(c) for c in command], capture_output=True, encoding="utf-8", **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def borrow_torch(requirements):
    """Lend the runtime this environment's PyTorch by links, unless another version is asked for: it is 750 MB."""
    import torch

    if not {"torch", f"torch=={torch.__version__.split('+')[0]}"} & set(requirements.split()):
        return
    here = Path(torch.__file__).parents[1]
    there = Path(call(RUNTIME / BIN / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for folder in [here / "torch", here / "torchgen", here / "functorch", *here.glob("torch-*.dist-info")]:
        if folder.exists():
            (there / folder.name).symlink_to(folder, target_is_directory=True)


def make_runtime(requirements=REQUIREMENTS):
    """Make the runtime, unless it is there and made from these requirements; return whether it had to be made."""
    wanted = requirements.read_text(encoding="utf-8")
    made_of = wanted + str(PACKAGES) + sys.version + str(ROOT)  # its links to PyTorch lead nowhere in a moved folder
    mark, seal = RUNTIME / "made-from", hashlib.sha256(made_of.encode()).hexdigest()
    if mark.exists() and mark.read_text(encoding="utf-8") == seal:
        return False
    shutil.rmtree(RUNTIME, ignore_errors=True)
    shutil.rmtree(WHEELS, ignore_errors=True)
    call(sys.executable, "-m", "venv", RUNTIME)
    borrow_torch(wanted)
    call(RUNTIME / BIN / "python", "-m", "pip", "install", "-q", "--no-compile", "--requirement", requirements)
    # What the setup cell installs is fetched once, so that a play needs no network and is repeatable.
    call(RUNTIME / BIN / "python", "-m", "pip", "download", "-q", "--no-deps", "-d", WHEELS, *PACKAGES.values())
    (RUNTIME / "requirements.txt").write_text(wanted, encoding="utf-8")
    mark.write_text(seal, encoding="utf-8")
    return True


def installed():
    """Return {package: version} of the runtime."""
    listed = json.loads(call(RUNTIME / BIN / "python", "-m", "pip", "list", "--format=json"))
    return {row["name"]: row["version"] for row in listed}


def uninstall_brought():
    """Take out of the runtime what an earlier play has installed; return what is left, {package: version}."""
    before = installed()
    brought = installed_by_play(before, (RUNTIME / "requirements.txt").read_text(encoding="utf-8"))
    if brought:
        call(RUNTIME / BIN / "python", "-m", "pip", "uninstall", "-q", "-y", *brought)
    return {name: version for name, version in before.items() if name not in brought}


def installed_by_play(names, requirements):
    """Return which of the installed packages are the setup cell's and not the runtime's own."""
    own = {name.lower() for name in re.findall(r"^([\w-]+)", requirements, flags=re.M)}
    wanted = {package.split("==")[0].lower() for package in PACKAGES.values()} - own
    return [name for name in names if name.lower() in wanted]


def snapshot(folder):
    """Write this checkout as it lies here, uncommitted work included, into a repository with a stamped address."""
    names = call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    badges.stamp(folder, ADDRESS, "main")
    who = ["-c", "user.name=Play", "-c", "user.email=play@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*who, "commit", "-q", "-m", "snapshot"]):
        call("git", *command, cwd=folder)


def kernel(folder, python, environment):
    """Write the description of a kernel called `colab` below `folder`; return what JUPYTER_PATH must be to find it."""
    place = folder / "jupyter" / "kernels" / "colab" / "kernel.json"
    place.parent.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    place.write_text(
        json.dumps({"argv": command, "display_name": "Colab", "language": "python", "env": environment}),
        encoding="utf-8",
    )
    return str(folder / "jupyter")


def like_colab(folder, repository):
    """Return what sets a Colab kernel's environment apart: it says that it is one, and GitHub is `repository`."""
    stub = folder / "site" / "google" / "colab"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text(STUB, encoding="utf-8")
    return {
        "PYTHONPATH": str(folder / "site"),
        "PATH": f"{RUNTIME / BIN}{os.pathsep}{os.environ['PATH']}",
        "COLAB_RELEASE_TAG": "release-colab-play",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # no remarks of the debugger's
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(WHEELS),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{ADDRESS}",
    }


def compare(notebook, jupyter_path):
    """Run a notebook in the kernel `colab`, in its own folder; return whether every output is as stored, and what was said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GIT_", "VIRTUAL_ENV"))}
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-kernel-name=colab", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-p", "no:xdist", "--tb=short", f"--rootdir={notebook.parent}", notebook.name],
        cwd=notebook.parent, env=kept | {"JUPYTER_PATH": jupyter_path}, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    return done.returncode == 0, (done.stdout + done.stderr).strip()


def play(chapter):
    """Open one chapter alone in a fresh runtime and run all of it; return whether all went well, and what is to be said."""
    before = uninstall_brought()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        repository, content = folder / "github", folder / "content"
        repository.mkdir()
        content.mkdir()
        snapshot(repository)
        shutil.copy(repository / chapter.relative_to(ROOT), content)
        jupyter_path = kernel(folder, RUNTIME / BIN / "python", like_colab(folder, repository))
        good, said = compare(content / chapter.name, jupyter_path)
        said = said.splitlines()[-1:] if good else [said]
        left = sorted({p.name for p in content.iterdir()} - {"__pycache__"})
        if left != sorted([chapter.name, "flycatcher"]):
            good, said = False, [*said, f"beside the notebook lie {left}, not the clone alone"]
    after = installed()
    touched = {name: after.get(name) for name, version in before.items() if after.get(name) != version}
    if touched:
        good, said = False, [*said, f"the setup cell touched what was preinstalled: {touched}"]
    return good, "\n".join(said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter", nargs="?", default="", help="how the notebook's name begins, as 01; all if left out")
    parser.add_argument("--requirements", type=Path, default=REQUIREMENTS, help="what the runtime brings along")
    wanted = parser.parse_args()
    folders = (ROOT / "notebooks", ROOT / "notebooks" / "studies")
    chapters = [path for folder in folders for path in sorted(folder.glob(f"{wanted.chapter}*.ipynb"))]
    if not chapters:
        sys.exit(f"no notebook begins with {wanted.chapter!r}")
    begin = time.perf_counter()
    if make_runtime(wanted.requirements.resolve()):
        print(f"made a runtime like Colab's in {time.perf_counter() - begin:.0f} s", flush=True)
    failed = []
    for chapter in chapters:
        good, said = play(chapter)
        print(f"{chapter.name}: {said}", flush=True)
        failed += [chapter.name] * (not good)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
