"""The surroundings in which `make repeat` runs the tests."""

import ast
import subprocess
import sys

import nbformat
import pytest
import repeat
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output

PROBE = """
import os

def test_probe():
    for name, value in {variables!r}.items():
        assert os.environ[name] == value
    assert {passes}
"""


@pytest.mark.parametrize(("name", "passes"), [("portable", True), ("two", True), ("native", False)])
def test_each_sets_what_it_says_and_tells_a_failure(tmp_path, name, passes, capsys):
    probe = PROBE.format(variables=repeat.SURROUNDINGS[name][1], passes=passes)
    (tmp_path / "test_probe.py").write_text(probe, encoding="utf-8")
    same, summary = repeat.turn(name, [str(tmp_path / "test_probe.py")])
    assert same == passes and ("1 passed" if passes else "1 failed") in summary
    assert ("FAILED" in capsys.readouterr().out) == (not passes)


@pytest.mark.parametrize(("number", "passes"), [("0.12345", False), ("0.125", True)])
def test_a_number_beside_a_rounding_edge_fails(tmp_path, number, passes):
    digits = 2 if number == "0.125" else 4  # an eighth comes out exact on every processor
    cell = new_code_cell(f"import torch\n\nprint(f'{{torch.tensor({number}):.{digits}f}}')", execution_count=1)
    cell.outputs = [new_output("stream", text=f"{torch.tensor(float(number)):.{digits}f}\n")]
    nbformat.write(
        new_notebook(cells=[cell], metadata={"kernelspec": {"name": "python3", "display_name": "Python"}}),
        tmp_path / "probe.ipynb",
    )
    same, summary = repeat.turn("edges", [str(tmp_path / "probe.ipynb")])
    assert same == passes and ("1 passed" if passes else "1 failed") in summary


def test_busy_keeps_the_cores_busy_and_lets_them_go(monkeypatch):
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args: started.append(popen(*args)) or started[-1])
    with repeat.load(2):
        assert [process.poll() for process in started] == [None, None]
    assert all(process.poll() is not None for process in started)


def test_an_unknown_name_is_refused():
    done = subprocess.run(
        [sys.executable, repeat.__file__, "nowhere"], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 2 and "portable" in done.stderr


def lacks_an_encoding(call):
    """Say whether a call reads or writes text in whatever encoding the machine prefers."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    named = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
    if name == "open":
        mode = getattr(call.args[1], "value", "") if len(call.args) > 1 else named.get("mode", "r")
        return isinstance(call.func, ast.Name) and "b" not in str(mode) and "encoding" not in named
    return "encoding" not in named and (name in {"read_text", "write_text"} or named.get("text") is True)


def test_every_text_has_an_encoding():
    """So that `ascii` passes, and Windows."""
    root = repeat.ROOT
    files = [path for place in ("helpers", ".ci", "data", "notebooks/text") for path in (root / place).rglob("*.py")]
    calls = [
        (path.relative_to(root).as_posix(), node.lineno)
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and lacks_an_encoding(node)
    ]
    assert not calls
