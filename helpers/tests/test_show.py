"""`plots.show`: one sharp PNG with its alternative text, whatever the backend."""

import base64
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient

from helpers import plots

ROOT = Path(__file__).parents[2]

CELL = """from helpers import plots
import matplotlib.pyplot as plt
{prepare}
_, ax = plt.subplots(figsize=({width}, 3))
ax.plot([1, 2]); ax.set_title("a line")
plots.show("A line that   rises.")"""


def outputs_of(prepare="plots.use_style()", width=5):
    """Run the cell in a fresh kernel."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.format(prepare=prepare, width=width))])
    NotebookClient(notebook, resources={"metadata": {"path": str(ROOT)}}, allow_errors=True).execute()
    return notebook.cells[0].outputs


@pytest.mark.parametrize("backend", [None, "Agg"])
def test_a_notebook_shows_one_picture_with_its_text(monkeypatch, backend):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    if backend:
        monkeypatch.setenv("MPLBACKEND", backend)
    (output,) = outputs_of()  # one output: no warning, no second copy of the figure
    about = output.metadata["image/png"]
    assert about["alt"] == "A line that rises."
    png = base64.b64decode(output.data["image/png"])
    assert int.from_bytes(png[16:20], "big") in (2 * about["width"], 2 * about["width"] - 1, 2 * about["width"] + 1)
    assert 450 < about["width"] < 550


def test_too_wide_a_figure_is_refused():
    (output,) = outputs_of(width=12)
    assert output.ename == "ValueError" and "a column of text holds 864" in output.evalue


def test_outside_a_notebook_it_closes_the_figure_without_a_warning():
    code = CELL.format(prepare="", width=5) + "\nassert not plt.get_fignums()"
    run = [sys.executable, "-W", "error::UserWarning", "-c", "import matplotlib; matplotlib.use('Agg')\n" + code]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("text", ["", "  ", None])
def test_an_empty_text_is_refused(text):
    with pytest.raises(ValueError, match="say in a sentence what the figure shows"):
        plots.show(text)


def test_without_a_figure_it_says_so():
    plt.close("all")
    with pytest.raises(ValueError, match="no figure to show"):
        plots.show("Nothing.")
