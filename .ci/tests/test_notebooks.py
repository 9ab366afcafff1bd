"""Pairing: a cell keeps its id and outputs when its text is edited, because translations hang on the id."""

import importlib.util
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

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
    tool.keep_identity(new, old)
    assert [c.id for c in new] == [c.id for c in old]


def test_a_new_cell_gets_a_new_id_and_moves_nobody_elses(tool):
    old = cells("# one", "a = 1", "# two", "b = 2")
    new = cells("# one", "a = 1", "# between", "c = 3", "# two", "b = 2")
    tool.keep_identity(new, old)
    assert [new[i].id for i in (0, 1, 4, 5)] == [c.id for c in old]
    assert len({c.id for c in new}) == len(new)


def test_a_removed_cell_takes_only_its_own_id_along(tool):
    old = cells("# one", "a = 1", "# two", "b = 2")
    new = cells("# one", "# two", "b = 2")
    tool.keep_identity(new, old)
    assert [c.id for c in new] == [old[0].id, old[2].id, old[3].id]


def test_outputs_stay_with_their_cell(tool):
    old = cells("a = 1", "b = 2")
    old[1].outputs, old[1].execution_count = [new_output("stream", text="x")], 7
    new = cells("z = 0", "a = 1", "b = 2")
    tool.keep_identity(new, old)
    assert new[2].outputs[0].text == "x" and new[2].execution_count == 7 and not new[0].outputs


def test_the_committed_notebooks_are_valid_and_their_ids_unique(tool):
    for text in tool.texts():
        notebook = nbformat.read(tool.notebook_of(text), as_version=4)
        nbformat.validate(notebook)
        ids = [cell.id for cell in notebook.cells]
        assert len(set(ids)) == len(ids), text
        assert "widgets" not in notebook.metadata
