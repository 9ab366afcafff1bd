"""Pairing: a cell keeps its id when its text is edited, because translations hang on the id, and no edit is lost."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / ".ci" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(*sources):
    return [new_markdown_cell(s) if s.startswith("#") else new_code_cell(s) for s in sources]


def test_an_edited_cell_keeps_its_id_and_the_others_theirs(tool):
    old = cells("# one", "a = 1", "# two", "b = 2", "# three")
    new = cells("# one", "a = 1", "# two, said better", "b = 3", "# three")
    tool.paired(new_notebook(cells=new), new_notebook(cells=old))
    assert [c.id for c in new] == [c.id for c in old]


def test_a_new_cell_gets_a_new_id_and_moves_nobody_elses(tool):
    old = cells("# one", "a = 1", "# two", "b = 2")
    new = cells("# one", "a = 1", "# between", "c = 3", "# two", "b = 2")
    tool.paired(new_notebook(cells=new), new_notebook(cells=old))
    assert [new[i].id for i in (0, 1, 4, 5)] == [c.id for c in old]
    assert len({c.id for c in new}) == len(new)


def test_a_removed_cell_takes_only_its_own_id_along(tool):
    old = cells("# one", "a = 1", "# two", "b = 2")
    new = cells("# one", "# two", "b = 2")
    tool.paired(new_notebook(cells=new), new_notebook(cells=old))
    assert [c.id for c in new] == [old[0].id, old[2].id, old[3].id]


def test_outputs_stay_with_their_cell(tool):
    old = cells("a = 1", "b = 2")
    old[1].outputs, old[1].execution_count = [new_output("stream", text="x")], 7
    new = cells("z = 0", "a = 1", "b = 2")
    tool.paired(new_notebook(cells=new), new_notebook(cells=old))
    assert new[2].outputs[0].text == "x" and new[2].execution_count == 7 and not new[0].outputs


def test_the_committed_notebooks_are_valid_and_their_ids_unique(tool):
    for text in tool.texts():
        notebook = nbformat.read(tool.notebook_of(text), as_version=4)
        nbformat.validate(notebook)
        ids = [cell.id for cell in notebook.cells]
        assert len(set(ids)) == len(ids), text
        assert "widgets" not in notebook.metadata


TEXT = """# %% [markdown]
# A title.

# %%
import os

print(os.environ.get("FLYCATCHER_PROBE", "one"))

# %% tags=["nbval-ignore-output"]
print(os.environ.get("FLYCATCHER_PROBE", "one"), "but not compared")
"""


@pytest.fixture
def text(tool, tmp_path, monkeypatch):
    """A text twin in a series of its own, paired and executed."""
    for name, path in {"ROOT": ".", "NOTEBOOKS": "notebooks", "TEXT": "notebooks/text", "BUILD": "build"}.items():
        monkeypatch.setattr(tool, name, tmp_path / path)
    twin = tmp_path / "notebooks" / "text" / "01_probe.py"
    twin.parent.mkdir(parents=True)
    twin.write_text(TEXT, encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("numpy==1\n", encoding="utf-8")
    tool.sync("1")
    return twin


def printed(tool, text):
    return [cell.outputs[0].text.strip() for cell in tool.read_notebook(tool.notebook_of(text)).cells[1:]]


def edit_notebook(tool, text, old, new):
    path = tool.notebook_of(text)
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")


def test_sync_with_nothing_edited_changes_nothing(tool, text, monkeypatch):
    notebook = tool.notebook_of(text)
    edit_notebook(tool, text, "one but not compared", "one on another processor")
    before = notebook.read_bytes()
    tool.sync("01")
    assert notebook.read_bytes() == before and text.read_text(encoding="utf-8") == TEXT


def test_sync_with_nothing_edited_leaves_the_picture_of_the_readme(tool, text, monkeypatch):
    monkeypatch.setattr(tool, "PICTURE", text.parent / "picture.png")
    text.write_text(
        '# %% tags=["picture", "nbval-ignore-output"]\nimport os\n\nfrom IPython.display import Image\n\n'
        'Image(data=b"\\x89PNG" + os.environ.get("FLYCATCHER_PROBE", "one").encode(), format="png")\n',
        encoding="utf-8",
    )
    tool.sync("01")
    assert tool.PICTURE.read_bytes() == b"\x89PNGone"
    monkeypatch.setenv("FLYCATCHER_PROBE", "another processor")
    tool.sync("01")
    assert tool.PICTURE.read_bytes() == b"\x89PNGone"


def test_sync_names_a_compared_output_that_changed(tool, text, monkeypatch, capsys):
    monkeypatch.setenv("FLYCATCHER_PROBE", "two")
    tool.sync("01")
    assert printed(tool, text) == ["two", "one but not compared"]
    assert "prints something else here than where it was stored" in capsys.readouterr().out


@pytest.mark.parametrize("edited", ["code", "requirements.txt", "helpers/playground/view.mjs"])
def test_no_output_outlives_what_it_came_from(tool, text, monkeypatch, edited):
    monkeypatch.setenv("FLYCATCHER_PROBE", "two")
    if edited == "code":
        text.write_text(TEXT.replace("but not", "and not"), encoding="utf-8")
    else:
        (tool.ROOT / edited).parent.mkdir(parents=True, exist_ok=True)
        (tool.ROOT / edited).write_text("numpy==2\n", encoding="utf-8")
    tool.sync("01")
    assert printed(tool, text) == ["two", "two and not compared" if edited == "code" else "two but not compared"]


def test_an_edit_made_in_the_notebook_goes_to_the_text(tool, text):
    edit_notebook(tool, text, "A title.", "A better title.")
    tool.sync("01")
    assert text.read_text(encoding="utf-8") == TEXT.replace("A title.", "A better title.")
    assert "A better title." in tool.read_notebook(tool.notebook_of(text)).cells[0].source


def test_a_pasted_picture_is_not_thrown_away_without_a_word(tool, text):
    notebook = tool.read_notebook(tool.notebook_of(text))
    notebook.cells[0].attachments = {"a.png": {"image/png": "AA=="}}
    nbformat.write(notebook, tool.notebook_of(text))
    before = tool.notebook_of(text).read_bytes()
    with pytest.raises(SystemExit, match="has a pasted picture.*KEEP=text"):
        tool.sync("01")
    assert tool.notebook_of(text).read_bytes() == before


def test_an_edit_of_the_setup_cell_is_not_thrown_away_without_a_word(tool, text):
    path = tool.notebook_of(text)
    notebook = tool.read_notebook(path)
    notebook.cells.append(nbformat.v4.new_code_cell("device = 7", metadata={"tags": ["setup"]}))
    nbformat.write(notebook, path)
    with pytest.raises(SystemExit, match="setup cell was edited.*make badges.*KEEP=text"):
        tool.sync("01")


def test_two_edits_are_refused_until_one_is_chosen(tool, text):
    edit_notebook(tool, text, "A title.", "A better title.")
    text.write_text(TEXT.replace("A title.", "The best title."), encoding="utf-8")
    before = tool.notebook_of(text).read_bytes()
    with pytest.raises(SystemExit, match="both were edited: nothing was written.*KEEP=text"):
        tool.sync("01")
    assert tool.notebook_of(text).read_bytes() == before
    tool.sync("01", keep="notebook")
    assert "A better title." in text.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (r"[\s\S]+", "", "is damaged"),
        (r"^\{", "<<<<<<< ours\n{", "is damaged"),
        ('"nbformat_minor": 5', '"nbformat_minor": 0', "has format 4.0, not 4.5"),
        ('"cells"', '"zells"', "is damaged"),
    ],
)
def test_a_broken_notebook_is_named(tool, text, old, new, says):
    path = tool.notebook_of(text)
    path.write_text(re.sub(old, new, path.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    for command in (lambda: tool.sync("01"), lambda: tool.run("01"), lambda: tool.read_notebook(path)):
        with pytest.raises(ValueError, match=f"^notebooks/01_probe.ipynb {says}.*`git checkout"):
            command()


def test_a_chapter_that_is_not_there_is_refused(tool):
    for chapter in ("99", "nonsense", "solutions/05"):
        with pytest.raises(SystemExit, match="the numbers are 01, 02, 03, 04, 05, 06"):
            tool.texts(chapter)


def test_a_study_without_a_chapter_is_found_and_run_by_its_number(tool, monkeypatch, tmp_path, capsys):
    (text,) = tool.texts("6")
    assert text.parent.name == "studies" and text.name.startswith("06_")
    executed = []
    monkeypatch.setattr(tool, "BUILD", tmp_path)
    monkeypatch.setattr(tool, "execute", lambda notebook, directory: executed.append(directory.name) or (1.0, 2.0))
    tool.run("06")
    assert executed == ["studies"] and {path.name for path in tmp_path.iterdir()} >= {
        f"{text.stem}.ipynb",
        f"{text.stem}.html",
        "mathjax.js",
    }
    tool.run("05")
    assert executed == ["studies", "notebooks"]  # of a chapter, the chapter alone
    capsys.readouterr()
    assert tool.texts("5") == tool.texts("05") and len(tool.texts("5")) > 1


def test_writing_a_notebook_back_into_its_text_changes_nothing(tool, monkeypatch):
    written = {}
    monkeypatch.setattr(Path, "write_text", lambda path, content, **_: written.update({path: content}))
    for text in tool.texts():
        tool.carry(text)
        assert written[text] == text.read_text(encoding="utf-8"), text


def test_jupyterlab_at_the_root_opens_a_notebook_newer_than_its_text_and_leaves_the_text_alone(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)  # where a pairing would stand
    (tmp_path / "notebooks" / "text").mkdir(parents=True)
    notebook = Path(shutil.copy(next(ROOT.glob("notebooks/01*.ipynb")), tmp_path / "notebooks"))
    text = Path(shutil.copy(next(ROOT.glob("notebooks/text/01*.py")), tmp_path / "notebooks" / "text"))
    os.utime(notebook, (text.stat().st_mtime + 3600,) * 2)
    manager, before = jupytext.TextFileContentsManager(root_dir=str(tmp_path)), text.read_bytes()
    opened = manager.get(f"notebooks/{notebook.name}")  # Jupytext would refuse with HTTP 400
    manager.save(opened, f"notebooks/{notebook.name}")
    assert any(cell.get("outputs") for cell in opened["content"]["cells"]) and text.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_without_a_word(tool, text, tmp_path):
    text.write_text("# %%\nimport time, pathlib\n\npathlib.Path('begun').touch()\ntime.sleep(600)\n", encoding="utf-8")
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "notebooks.py", tmp_path / ".ci")
    command = [sys.executable, shutil.copy(ROOT / ".ci" / "command.py", tmp_path / ".ci"), "notebooks", "sync", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    while not (tmp_path / "notebooks" / "begun").exists():
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[0] == b"" and process.returncode == 130
