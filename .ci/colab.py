"""Play a fresh Colab runtime: each chapter alone in an empty folder, as one click on its badge opens it.

    colab.py [CHAPTER] [--requirements FILE]     (`make colab`, `make colab CHAPTER=01`)

The runtime is a virtual environment of its own, `.venv/colab`, with the packages of `.ci/colab-requirements.txt` and
nothing else of the series: what the notebooks need beyond them, their setup cell must fetch. The repository's address
is stamped into a snapshot of this checkout, and git is told that GitHub is that snapshot.
"""

import argparse
import copy
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
import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = badges.ROOT
REQUIREMENTS = ROOT / ".ci" / "colab-requirements.txt"
RUNTIME = ROOT / ".venv" / "colab"
SHELF = ROOT / ".venv" / "colab-shelf"
ADDRESS = "example/flycatcher"
BIN = "Scripts" if os.name == "nt" else "bin"
STUB = '"""Stands for the package that tells a program that it runs in Colab."""\n'


def call(*command, **more):
    """Run a command that must succeed; show what it said if it does not."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def packages():
    """Return the setup cell's packages, {module: what pip is asked for}."""
    sys.path.insert(0, str(ROOT))
    from helpers.start import PACKAGES

    return PACKAGES


def borrow_torch(requirements):
    """Lend the runtime this environment's PyTorch by links, if it is the version asked for: it is 750 MB."""
    import torch

    if f"torch=={torch.__version__.split('+')[0]}" not in requirements.split():
        return
    here = Path(torch.__file__).parents[1]
    there = Path(call(RUNTIME / BIN / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for folder in [here / "torch", here / "torchgen", here / "functorch", *here.glob("torch-*.dist-info")]:
        if folder.exists():
            (there / folder.name).symlink_to(folder, target_is_directory=True)


def make_runtime(requirements=REQUIREMENTS):
    """Make the runtime, unless it is there and made from these requirements; return whether it had to be made."""
    wanted = requirements.read_text(encoding="utf-8")
    mark, seal = RUNTIME / "made-from", hashlib.sha256((wanted + str(packages()) + sys.version).encode()).hexdigest()
    if mark.exists() and mark.read_text() == seal:
        return False
    shutil.rmtree(RUNTIME, ignore_errors=True)
    shutil.rmtree(SHELF, ignore_errors=True)
    call(sys.executable, "-m", "venv", RUNTIME)
    borrow_torch(wanted)
    call(RUNTIME / BIN / "python", "-m", "pip", "install", "-q", "--no-compile", "--requirement", requirements)
    # What the setup cell installs is laid on a shelf, so that a play fetches nothing and is repeatable.
    call(RUNTIME / BIN / "python", "-m", "pip", "download", "-q", "--no-deps", "-d", SHELF, *packages().values())
    (RUNTIME / "requirements.txt").write_text(wanted)
    mark.write_text(seal)
    return True


def installed():
    """Return {package: version} of the runtime."""
    listed = json.loads(call(RUNTIME / BIN / "python", "-m", "pip", "list", "--format=json"))
    return {row["name"]: row["version"] for row in listed}


def freshen():
    """Take out of the runtime what an earlier play has installed; return what is left, {package: version}."""
    before = installed()
    brought = installed_by_play(before, (RUNTIME / "requirements.txt").read_text())
    if brought:
        call(RUNTIME / BIN / "python", "-m", "pip", "uninstall", "-q", "-y", *brought)
    return {name: version for name, version in before.items() if name not in brought}


def installed_by_play(names, requirements):
    """Return which of the installed packages are the setup cell's and not the runtime's own."""
    own = {name.lower() for name in re.findall(r"^([\w-]+)", requirements, flags=re.M)}
    wanted = {package.split("==")[0].lower() for package in packages().values()} - own
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


def environment(folder, repository):
    """Return the environment of a Colab kernel in `folder`, for which GitHub is `repository`."""
    stub = folder / "site" / "google" / "colab"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text(STUB)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GIT_", "VIRTUAL_ENV"))}
    return kept | {
        "PYTHONPATH": str(folder / "site"),
        "PATH": f"{RUNTIME / BIN}{os.pathsep}{os.environ['PATH']}",
        "COLAB_RELEASE_TAG": "release-colab-play",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # no remarks of the debugger's
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(SHELF),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{ADDRESS}",
    }


class Kernels(KernelSpecManager):
    """Knows one kernel, the runtime's."""

    def get_kernel_spec(self, kernel_name):
        command = [str(RUNTIME / BIN / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Colab", language="python", name=kernel_name)


def told(cell):
    """Return what nbval compares of a cell's outputs: all but pictures, tracebacks and counts."""
    streams, shown = {}, []
    for output in cell.outputs:
        if output.output_type == "stream":
            streams[output.name] = streams.get(output.name, "") + output.text
        elif "data" in output:
            shown.append({kind: data for kind, data in output.data.items() if kind != "image/png"})
    return {name: text for name, text in streams.items() if text.strip()}, shown


def differences(stored, played):
    """Return (number of the cell, stored, played) wherever nbval would see a difference."""
    found = []
    for number, (old, new) in enumerate(zip(stored.cells, played.cells), 1):
        if old.cell_type == "code" and not {"nbval-ignore-output", "nbval-skip"} & set(old.metadata.get("tags", [])):
            if told(old) != told(new):
                found.append((number, told(old), told(new)))
    return found


def play(chapter):
    """Open one chapter alone in a fresh runtime and run all of it.

    Returns:
        The seconds it took, the list of differences from the stored outputs, and what the setup cell printed.

    Raises:
        CellExecutionError: a cell raised an error.
        AssertionError: something else than the clone was left behind, or a preinstalled package was touched.
    """
    before = freshen()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        repository, content = folder / "github", folder / "content"
        repository.mkdir()
        content.mkdir()
        snapshot(repository)
        shutil.copy(repository / "notebooks" / chapter.name, content)
        stored = nbformat.read(content / chapter.name, as_version=4)
        played = copy.deepcopy(stored)
        for cell in played.cells:
            if cell.cell_type == "code":
                cell.outputs = []
        manager = AsyncKernelManager(kernel_spec_manager=Kernels(), kernel_name="colab")
        client = NotebookClient(
            played, km=manager, timeout=None, record_timing=False, coalesce_streams=True,
            resources={"metadata": {"path": str(content)}},
        )  # fmt: skip
        begin = time.perf_counter()
        client.execute(env=environment(folder, repository), cleanup_kc=True)
        seconds = time.perf_counter() - begin
        clone = sorted(p.name for p in content.iterdir())
        assert clone == sorted([chapter.name, "flycatcher"]), f"the play left {clone}"
    after = installed()
    touched = {name: after.get(name) for name, version in before.items() if after.get(name) != version}
    assert not touched, f"the setup cell touched what was preinstalled: {touched}"
    first = next(cell for cell in played.cells if badges.is_setup(cell))
    return seconds, differences(stored, played), "".join(o.text for o in first.outputs if o.get("name") == "stdout")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter", nargs="?", default="", help="how the notebook's name begins, as 01; all if left out")
    parser.add_argument("--requirements", type=Path, default=REQUIREMENTS, help="what the runtime brings along")
    wanted = parser.parse_args()
    begin = time.perf_counter()
    if make_runtime(wanted.requirements.resolve()):
        print(f"made a runtime like Colab's in {time.perf_counter() - begin:.0f} s", flush=True)
    failed = []
    chapters = sorted((ROOT / "notebooks").glob(f"{wanted.chapter}*.ipynb"))
    for chapter in chapters or sys.exit(f"no notebook begins with {wanted.chapter!r}"):
        try:
            seconds, found, setup = play(chapter)
        except CellExecutionError as error:
            print(f"{chapter.name}: {error}", flush=True)
            failed.append(chapter.name)
            continue
        print(f"{chapter.name}: {seconds:.0f} s, {len(found)} outputs differ. {setup.strip()}", flush=True)
        for number, old, new in found:
            print(f"  cell {number}: stored {old}\n  {' ' * len(f'cell {number}')}  played {new}", flush=True)
        failed += [chapter.name] * bool(found)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
