"""The parts that the play of a fresh Colab runtime is made of; `make colab` plays, because that needs the network."""

import subprocess
import sys

import colab
import colab_versions
import nbformat
import pytest
from colab import ROOT
from nbformat.v4 import new_code_cell, new_notebook, new_output

FREEZE = """# Made up, in the form of Colab's list.
absl-py==1.4.0
bertviz==1.5.0
google-colab @ file:///colabtools/dist/google_colab-1.0.0.tar.gz
ipykernel==6.17.1
ipython==7.34.0
matplotlib==3.10.0
numpy==2.1.3
Pandas==2.2.2
scikit-image==0.25.2
torch @ https://example.org/whl/cpu/torch-2.11.0%2Bcpu-cp313-cp313-manylinux_2_28_x86_64.whl#sha256=00ff
torchvision @ https://example.org/whl/cpu/torchvision-0.26.0%2Bcpu-cp313-cp313-manylinux_2_28_x86_64.whl#sha256=00ff
"""


@pytest.mark.parametrize(("stored", "good"), [("yes here\n", True), ("yes there\n", False)])
def test_a_difference_is_seen_in_the_kernel_that_was_asked_for(tmp_path, stored, good):
    """The kernel gets the environment of its description and none of Python's variables, in the notebook's folder."""
    source = "import os\nprint(os.environ['PROBE'], os.path.basename(os.getcwd()), *os.environ.get('PYTHONPATH', ''))"
    notebook = new_notebook(
        cells=[new_code_cell(source, outputs=[new_output("stream", text=stored)], execution_count=1)]
    )
    (tmp_path / "here").mkdir()
    nbformat.write(notebook, tmp_path / "here" / "one.ipynb")
    path = colab.kernel(tmp_path, sys.executable, {"PROBE": "yes"})
    same, said = colab.compare(tmp_path / "here" / "one.ipynb", path)
    assert same == good, said
    assert said.splitlines()[-1].startswith("1 passed" if good else "1 failed")
    assert good or ("yes here" in said and "yes there" in said)


def test_only_what_a_play_brought_is_taken_out_again():
    names = ["bertviz", "lxml", "numpy", "XStatic-jQuery", "sacrebleu"]
    assert colab.installed_by_play(names, "numpy==2.1.3\nlxml\n") == ["bertviz", "XStatic-jQuery", "sacrebleu"]


def test_the_versions_of_today_are_read():
    versions = colab_versions.frozen(FREEZE)
    assert versions["torch"] == "2.11.0" and versions["numpy"] == "2.1.3" and versions["scikit-image"] == "0.25.2"
    wanted = colab_versions.today(
        versions, "# a remark\nnumpy==1.0\npandas==1.0\nlxml\ntorch==2.13.0\n", ["bertviz", "mpld3"]
    )
    assert wanted == "numpy==2.1.3\npandas==2.2.2\ntorch==2.11.0\nbertviz==1.5.0\n"  # it has no lxml and no mpld3
    assert colab_versions.python_version("Ubuntu 22.04.5 LTS\nPython 3.13.5\nR version 4.5.1") == "3.13"


def test_a_list_of_another_form_is_refused():
    with pytest.raises(ValueError, match="lists no torch, numpy"):
        colab_versions.today(colab_versions.frozen('[{"name": "torch", "version": "2.11.0"}]'), "", [])
    with pytest.raises(ValueError, match="names no Python"):
        colab_versions.python_version("Ubuntu")


def test_the_list_is_read_before_anything_is_installed(tmp_path):
    """The weekly job reads it with the runner's own Python, to know which Python to take."""
    freeze, system = tmp_path / "freeze", tmp_path / "system"
    freeze.write_text(FREEZE, encoding="utf-8")
    system.write_text("Python 3.13.5\n", encoding="utf-8")
    bare = [sys.executable, "-S", str(ROOT / ".ci" / "colab_versions.py")]  # -S: no installed package is seen
    done = subprocess.run([*bare, tmp_path / "today.txt", freeze, system], capture_output=True, encoding="utf-8")
    assert (done.stdout, done.stderr) == ("python=3.13\n", "")
    assert "bertviz==1.5.0\n" in (tmp_path / "today.txt").read_text(encoding="utf-8")
