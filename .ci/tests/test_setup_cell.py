"""The setup cell as a stranger runs it: alone in an empty folder, with one thing wrong at a time. No test has a network.

Each test runs the cell in a Python of its own. Git is told, by a configuration of the test's own, that GitHub lies
somewhere on this machine.
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from helpers import start

ROOT = Path(__file__).resolve().parents[2]
CELL = (ROOT / ".ci" / "setup_cell.py").read_text(encoding="utf-8").split(f"\n# {'-' * 118}\n")[1]
STAMPED = CELL.replace('"your_account/flycatcher"', '"example/flycatcher"')
FETCHING = STAMPED.split("\nfrom helpers")[0]  # what does not wait for PyTorch
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other ways to forbid, and no shell scripts")


def git(*arguments, cwd):
    """Run git as somebody with a name, free of the settings of whoever runs the tests."""
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository that has `helpers`, as GitHub would hold it."""
    work = tmp_path_factory.mktemp("origin")
    shutil.copytree(ROOT / "helpers", work / "helpers", ignore=shutil.ignore_patterns("tests", "__pycache__"))
    shutil.copy(ROOT / "requirements.txt", work)
    git("init", "-q", "-b", "main", cwd=work)
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", "the series", cwd=work)
    return work.as_uri()


@pytest.fixture
def alone(tmp_path):
    """An empty folder to be alone in."""
    folder = tmp_path / "content"
    folder.mkdir()
    return folder


def run(cell, folder, github=None, path=None, **more):
    """Run a cell in a folder; `github` is where git finds https://github.com/example/flycatcher instead."""
    config = folder.parent / "gitconfig"
    config.write_text(
        f'[url "{github}"]\n\tinsteadOf = https://github.com/example/flycatcher\n' if github else "", encoding="utf-8"
    )
    present = folder.parent / "present"  # the packages that Colab lacks, as empty modules, so that pip is not called
    for module in start.PACKAGES:
        (present / module.replace(".", "/")).mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"GIT_CONFIG_GLOBAL": str(config), "GIT_CONFIG_NOSYSTEM": "1", "PYTHONPATH": str(present)}
    environment |= {"PIP_NO_INDEX": "1", "LC_ALL": "C", "PATH": os.environ["PATH"] if path is None else str(path)}
    return subprocess.run(
        [sys.executable, "-c", cell], cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=120,
        start_new_session=True, **more,
    )  # fmt: skip


def sentence(done):
    """Return what a student reads last: the error's message."""
    assert done.returncode == 1, done.stdout + done.stderr
    kind, message = done.stderr.strip().splitlines()[-1].split(": ", 1)
    assert kind in {"AssertionError", "RuntimeError"}, done.stderr
    return message


def left(folder):
    return sorted(p.name for p in folder.iterdir())


class Refusing(BaseHTTPRequestHandler):
    """A GitHub that knows no repository: 404, or 401 as GitHub itself says about one that may be private."""

    status = 404

    def do_GET(self):
        self.send_response(self.status)
        if self.status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="GitHub"')
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(params=[404, 401])
def refusing(request):
    handler = type("Handler", (Refusing,), {"status": request.param})
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/nobody/nothing"
    server.shutdown()
    server.server_close()


def test_alone_it_fetches_the_series_and_names_the_device(alone, origin):
    done = run(STAMPED, alone, origin)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Device: ") and done.stdout.count("\n") == 1
    assert left(alone) == ["flycatcher"]
    count = ["git", "rev-list", "--count", "HEAD"]
    assert subprocess.run(count, cwd=alone / "flycatcher", capture_output=True, encoding="utf-8").stdout == "1\n"


def test_the_second_run_does_nothing(alone, origin):
    again = "import os\nos.environ['PATH'] = ''\nbefore = sys.path[:]\n" + FETCHING + "\nassert sys.path == before"
    done = run(FETCHING + "\n" + again, alone, origin)  # without git the second could not fetch
    assert done.returncode == 0, done.stderr
    done = run(FETCHING + "\nprint(sys.path[0])", alone, path="")  # a new kernel, beside the clone
    assert done.stdout.strip() == str(alone / "flycatcher"), done.stderr


@pytest.mark.parametrize("folder", [".", "notebooks", "notebooks/solutions"])
def test_inside_a_clone_it_looks_upward(folder):
    done = subprocess.run(
        [sys.executable, "-c", FETCHING + "\nprint(sys.path[0])"], cwd=ROOT / folder, capture_output=True, encoding="utf-8",
        env={**os.environ, "PATH": "", "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.stdout.strip() == str(ROOT), done.stderr


def test_the_placeholder_is_named_plainly(alone, origin):
    placeholder = CELL.replace(re.search(r'REPOSITORY, BRANCH = ("[^"]+")', CELL).group(1), '"your_account/flycatcher"')
    assert "your_account is a placeholder" in sentence(run(placeholder, alone, origin))
    assert not left(alone)


def test_no_git(alone, origin):
    assert sentence(run(STAMPED, alone, origin, path="")).startswith("git is missing: install it")
    assert not left(alone)


def test_no_network(alone):
    message = sentence(run(STAMPED, alone, "http://127.0.0.1:1/example/flycatcher"))  # nothing listens on port 1
    assert message.startswith("No answer: check the network and try again. (fatal:")
    assert not left(alone)


def test_no_such_repository(alone, refusing):
    message = sentence(run(STAMPED, alone, refusing))
    assert message.startswith("There is no branch main at https://github.com/example/flycatcher")
    assert not left(alone)


def test_no_such_branch(alone, origin):
    cell = re.sub(r'(REPOSITORY, BRANCH = "[^"]+"), "[^"]+"', r'\1, "attic"', STAMPED)
    assert sentence(run(cell, alone, origin)).startswith("There is no branch attic at https://github.com/example")
    assert not left(alone)


@pytest.mark.parametrize("place", [".", "flycatcher"])
def test_an_old_clone_is_called_old(alone, origin, place):
    (alone / place / "helpers").mkdir(parents=True)
    (alone / place / "helpers" / "start.py").write_text('"""As it was in the first edition."""\n', encoding="utf-8")
    message = sentence(run(STAMPED, alone, origin))
    assert message.startswith(f"{alone / place} is an old or unfinished copy of the series: delete it (or `git pull`")


def test_an_unfinished_clone_is_not_used(alone, origin):
    (alone / "flycatcher" / ".git").mkdir(parents=True)
    assert "is an old or unfinished copy" in sentence(run(STAMPED, alone, origin))


@pytest.mark.parametrize("before", ["", "import helpers; "])
def test_a_helpers_py_beside_the_notebook_is_not_taken_for_ours(alone, before):
    (alone / "helpers.py").write_text("", encoding="utf-8")
    shutil.copytree(ROOT / "helpers", alone / "flycatcher" / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", alone / "flycatcher")
    done = run(before + f"import sys; sys.path.append({str(alone / 'flycatcher')!r})\n" + STAMPED, alone)
    assert done.returncode == 0, done.stderr


def test_a_kernel_without_torch_is_named(monkeypatch):
    monkeypatch.setattr(start, "is_there", lambda module: module != "torch")
    with pytest.raises(RuntimeError, match="no PyTorch in this kernel's Python, .*Type `make lab` in"):
        start.prepare()


def without_the_right_to_write_everywhere():
    """Drop root's capability to write where the permissions forbid it (CAP_DAC_OVERRIDE), for what is started next."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


@posix
def test_a_read_only_folder(alone, origin):
    alone.chmod(0o555)
    root = os.geteuid() == 0
    if root and sys.platform != "linux":
        pytest.skip("root may write everywhere")
    done = run(STAMPED, alone, origin, preexec_fn=without_the_right_to_write_everywhere if root else None)
    alone.chmod(0o755)
    assert sentence(done) == f"{alone} is read-only: move this notebook elsewhere."
    assert not left(alone)


@posix
def test_a_clone_cut_off_half_way_is_never_taken_for_a_whole_one(alone, origin):
    tools = alone.parent / "tools"
    tools.mkdir()
    half = f"for part; do :; done\nmkdir -p $part/helpers\ncp {ROOT}/helpers/*.py $part/helpers\nkill -9 $$\n"
    (tools / "git").write_text("#!/bin/sh\n" + half, encoding="utf-8")
    (tools / "git").chmod(0o755)
    assert "try again" in sentence(run(STAMPED, alone, origin, path=f"{tools}:/usr/bin:/bin"))
    assert left(alone) == ["flycatcher.part"]
    done = run(FETCHING, alone, origin)  # and the next try clears it away
    assert done.returncode == 0, done.stderr
    assert left(alone) == ["flycatcher"]


def wheel(folder):
    """Write a package that claims to depend on another numpy."""
    with zipfile.ZipFile(folder / "flycatcher_probe-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("flycatcher_probe.py", "")
        info = "flycatcher_probe-1.0.dist-info"
        metadata = "Metadata-Version: 2.1\nName: flycatcher-probe\nVersion: 1.0\nRequires-Dist: numpy==0.1\n"
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def offline_pip(tmp_path, monkeypatch):
    """A pip that knows one folder only, and installs into another."""
    (tmp_path / "shelf").mkdir()
    settings = {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path / "shelf"), "TARGET": str(tmp_path / "installed")}
    for name, value in settings.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path


def test_installing_brings_nothing_that_was_not_asked_for(offline_pip):
    wheel(offline_pip / "shelf")
    start.install(["flycatcher-probe==1.0"])
    assert [name for name in left(offline_pip / "installed") if name.startswith("flycatcher")]
    assert not [name for name in left(offline_pip / "installed") if "numpy" in name]


def test_a_failed_install_says_what_to_do(offline_pip):
    with pytest.raises(RuntimeError, match="^pip could not install flycatcher-probe==1.0: check the network") as failed:
        start.install(["flycatcher-probe==1.0"])
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            "error: externally-managed-environment\n\n× This environment is externally managed",
            "the system manages this",
        ),
        (f"{sys.executable}: No module named pip", "this Python has no pip. Give it one with"),
        ("ERROR: No matching distribution found for bertviz", "check the network"),
    ],
)
def test_what_pip_says_decides_what_to_do(monkeypatch, said, remedy):
    failed = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(start.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match=f"^pip could not install bertviz: {remedy}"):
        start.install(["bertviz"])


def test_only_what_is_missing_is_installed(monkeypatch):
    asked = []
    monkeypatch.setattr(start, "install", asked.extend)
    monkeypatch.setattr(start, "is_there", lambda module: module not in {"mpld3", "lxml"})
    start.prepare()
    assert asked == [start.PACKAGES["mpld3"], start.PACKAGES["lxml"]]
    monkeypatch.setattr(start, "is_there", lambda module: True)
    start.prepare()
    assert len(asked) == 2


def test_an_ipykernel_that_was_only_imported_is_no_kernel(monkeypatch):
    import ipykernel  # noqa: F401 as some other test may have done in this process

    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(start, "missing_packages", list)
    start.prepare()


def test_a_package_that_an_uninstall_left_empty_is_missing(tmp_path, monkeypatch):
    (tmp_path / "flycatcher_probe" / "pkg").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert start.is_there("flycatcher_probe") and not start.is_there("flycatcher_probe.pkg.jquery")
    assert not start.is_there("no_flycatcher_probe.pkg.jquery")


def test_the_gpu_is_named_and_so_is_the_way_to_one(monkeypatch, capsys):
    monkeypatch.setattr(start, "missing_packages", list)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    start.prepare()
    assert re.fullmatch(r"Device: cpu .*T4.*\n", capsys.readouterr().out)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    start.prepare()
    assert capsys.readouterr().out == "Device: cuda (Tesla T4)\n"


def test_the_versions_are_those_of_the_requirements():
    """So that a clone on one's own machine, after `make`, lacks nothing, and Colab gets what was tested."""
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert {start.PACKAGES[name] for name in ("bertviz", "mpld3", "xstatic.pkg.jquery", "sacrebleu")} < set(pins)


def test_the_cell_asks_for_the_edition_that_is_there():
    assert f'if "\\nEDITION = {start.EDITION}\\n" in f.read_text' in CELL


def test_the_cell_is_short_and_needs_only_the_standard_library():
    finding = [line for line in CELL.split("\nfrom helpers")[0].splitlines() if line and not line.startswith("#")]
    assert len(finding) < 25
    imported = re.findall(r"^(?:import|from) (\w+)", "\n".join(finding), flags=re.M)
    assert set(imported) <= sys.stdlib_module_names


def test_a_figure_is_in_the_page_whatever_backend_the_shell_asks_for(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    drawing = "import matplotlib.pyplot as plt\n\nplt.plot([1, 2])\nplt.show()"
    notebook = new_notebook(cells=[new_code_cell(CELL), new_code_cell(drawing)])
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    assert ["image/png" in output.data for output in notebook.cells[1].outputs] == [True]
