"""What is decided before anything is installed: which Python will do, and whether .venv can stay."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import environment
import pytest

ROOT = Path(environment.ROOT)
with_make = pytest.mark.skipif(not shutil.which("make"), reason="there is no make here")


@pytest.fixture
def venv(tmp_path, monkeypatch):
    """A whole environment of this Python in a repository of its own, and the commands that were run since."""
    (tmp_path / "requirements.txt").write_text(
        "numpy==1  # a remark\ntorch==1\nbertviz==1  # without its dependencies\n", encoding="utf-8"
    )
    (tmp_path / "site.txt").write_text("sphinx==1\n", encoding="utf-8")
    monkeypatch.setattr(environment, "ROOT", str(tmp_path))
    monkeypatch.setattr(environment, "VENV", str(tmp_path / ".venv"))
    monkeypatch.setattr(environment, "MARK", str(tmp_path / ".venv" / "made-from.json"))
    monkeypatch.setattr(environment, "PYTHON", sys.executable)
    commands = []

    def call(command):
        commands.append(" ".join(map(str, command[1:])))
        (tmp_path / ".venv").mkdir(exist_ok=True)

    monkeypatch.setattr(environment, "call", call)
    make(monkeypatch)
    assert len(commands) == 3 and commands[0] == f"-m venv --clear {tmp_path / '.venv'}"
    assert commands[1].endswith("pip install --disable-pip-version-check --no-compile numpy==1 torch==1")
    assert commands[2].endswith("pip install --disable-pip-version-check --no-compile --no-deps bertviz==1")
    commands.clear()
    return tmp_path, commands


def make(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["environment.py", *options])
    environment.main()


def test_a_whole_environment_stays(venv, monkeypatch):
    pins = venv[0] / "requirements.txt"
    pins.write_text("# Another remark.\n" + pins.read_text(encoding="utf-8"), encoding="utf-8")
    make(monkeypatch)
    make(monkeypatch, "--python-named")
    assert venv[1] == []


def test_more_requirements_are_added_and_nothing_is_made_anew(venv, monkeypatch):
    make(monkeypatch, "site.txt")
    assert venv[1][0].endswith("numpy==1 torch==1 sphinx==1") and "--no-deps" in venv[1][1] and len(venv[1]) == 2
    make(monkeypatch, "site.txt")
    make(monkeypatch)
    assert len(venv[1]) == 2


@pytest.mark.parametrize("change", ["a pin moved", "older", "interrupted", "python gone", "another torch"])
def test_it_is_made_anew(venv, monkeypatch, change):
    root, commands = venv
    mark = root / ".venv" / "made-from.json"
    options = []
    if change == "a pin moved":
        (root / "requirements.txt").write_text("numpy==2\n", encoding="utf-8")
    elif change == "older":
        mark.write_text(json.dumps(json.loads(mark.read_text(encoding="utf-8")) | {"python": [3, 9]}), encoding="utf-8")
    elif change == "interrupted":
        mark.unlink()
    elif change == "python gone":
        monkeypatch.setattr(environment, "PYTHON", str(root / "nowhere"))
    else:
        options = ["--torch", "cpu"]
    make(monkeypatch, *options)
    assert commands[0].startswith("-m venv --clear")
    if options:
        backend = f"-m uv pip install --python {sys.executable} --torch-backend cpu torch==1"
        assert commands[1].endswith(" uv") and commands[2] == backend and commands[3].endswith(" numpy==1 torch==1")
    assert json.loads(mark.read_text(encoding="utf-8"))["python"] == list(sys.version_info[:2])


def test_one_without_cuda_is_made_anew_without_cuda(venv, monkeypatch, capsys):
    root, commands = venv
    mark = root / ".venv" / "made-from.json"
    mark.write_text(json.dumps(json.loads(mark.read_text(encoding="utf-8")) | {"torch": "cpu"}), encoding="utf-8")
    (root / "requirements.txt").write_text("torch==2\n", encoding="utf-8")
    make(monkeypatch)
    assert commands[2].endswith("--torch-backend cpu torch==2") and "(1.8 GB on disk)" in capsys.readouterr().out
    assert json.loads(mark.read_text(encoding="utf-8"))["torch"] == "cpu"


def test_a_linked_environment_is_left_alone(venv, monkeypatch):
    root, commands = venv
    (root / ".venv").rename(root / "mine")
    (root / "mine" / "made-from.json").unlink()
    (root / ".venv").symlink_to(root / "mine", target_is_directory=True)
    make(monkeypatch)
    assert commands == []


@pytest.mark.parametrize(
    ("version", "system", "machine", "there", "says"),
    [
        ((3, 9), "Linux", "x86_64", ["python3.12"], "3.11 to 3.14, and this is Python 3.9: type `make lab PYTHON=python3.12`."),
        ((3, 15), "Linux", "x86_64", [], "3.11 to 3.14, and this is Python 3.15: install one of them from"),
        ((3, 12), "Darwin", "x86_64", [], "Intel Macs"),
        ((3, 11), "Darwin", "arm64", [], None),
        ((3, 14), "Windows", "AMD64", [], None),
    ],
)  # fmt: skip
def test_a_python_that_will_not_do_is_named_before_anything_is_installed(version, system, machine, there, says):
    told = environment.refusal(version, system, machine, runs=there.__contains__)
    assert told is None if says is None else says in told and told.count(". ") == 0


def test_readme_and_this_file_name_the_same_pythons():
    (_, oldest), (_, newest) = environment.OLDEST, environment.NEWEST
    assert f"Python 3.{oldest} to 3.{newest}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"python-3.{oldest}_to_3.{newest}-" in (ROOT / "README.md").read_text(encoding="utf-8")  # the badge
    assert f'target-version = "py3{oldest}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@with_make
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("badges CHAPTER=05", "make badges takes REPO BRANCH and no CHAPTER"),
        ("run CHAPTER=99", "the numbers are 01 02 03 04 05 06"),
        ("run CHAPTER=nonsense", "the numbers are"),
        ("run CHAPTER=solutions/05", "the numbers are"),
        ("test CHAPTRE=05", "make test takes CHAPTER and no CHAPTRE"),
        ("lab CHAPTER=05", "make lab takes OPTIONS and no CHAPTER"),
    ],
)
def test_make_refuses_what_it_does_not_know_before_it_builds_anything(words, says):
    alone = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }  # not make's child
    command = ["make", *words.split()]
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 2 and says in done.stderr and not done.stdout


@with_make
@pytest.mark.parametrize("chapter", ["5", "05", "6"])
def test_make_takes_a_chapter_or_a_study_by_its_number(chapter):
    command = ["make", "--dry-run", "test", f"CHAPTER={chapter}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True)
    named = [Path(word).name for word in done.stdout.split() if word.endswith(".ipynb")]
    number = chapter[-1]
    assert named == [
        p.name for p in [*ROOT.glob(f"notebooks/0{number}*.ipynb"), *ROOT.glob(f"notebooks/*/0{number}*.ipynb")]
    ]
    assert named


@with_make
@pytest.mark.parametrize(
    ("words", "does", "never"),
    [
        ("test", "-m pytest --nbval", "colab.py"),  # after the installation it needs no network
        ("lab OPTIONS=--allow-root", "-m jupyterlab --notebook-dir=notebooks --allow-root", "allow-root "),
        ("lab", "-m nbformat.sign notebooks/", "allow-root"),  # the notebooks are trusted: their views move
    ],
)
def test_what_a_command_would_do(words, does, never):
    command = ["make", "--dry-run", *words.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True)
    assert does in done.stdout and never not in done.stdout


def test_opening_a_notebook_at_the_root_of_the_repository_pairs_nothing():
    assert "jupytext" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_while_a_command_is_loading_ends_it_without_a_word(tmp_path):
    shutil.copy(ROOT / ".ci" / "command.py", tmp_path)
    program = "import sys\n\nprint(*sys.argv[1:], flush=True)\nwhile True:\n    pass\n"
    (tmp_path / "loading.py").write_text(program, encoding="utf-8")
    command = [sys.executable, tmp_path / "command.py", "loading", "--as", "told"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout.readline() == b"--as told\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"" and process.wait(60) == -signal.SIGINT


def test_make_starts_every_long_program_so_that_ctrl_c_ends_it():
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    direct = set(re.findall(r"[.]ci/(\w+)[.]py", rules))
    assert direct == {"badges", "command", "environment"}, direct
    for name in re.findall(r"command[.]py (\w+)", rules):
        assert (ROOT / ".ci" / f"{name}.py").exists(), name


def test_readme_says_what_is_fetched_and_how_to_do_without_make():
    readme, source = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", ".ci/environment.py"))
    for size in ("2.8 GB", "6.2 GB", "1.8 GB"):
        assert size in readme and size in source
    for line in ("git clone", "cd flycatcher", "uv run --no-project", "-m pip install --requirement", "make clean"):
        assert line in readme
