"""The play of a fresh Colab runtime, with the shortest chapter; and the parts it is made of."""

import importlib
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]

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


@pytest.fixture(scope="module")
def ci():
    sys.path.insert(0, str(ROOT / ".ci"))
    yield importlib.import_module
    sys.path.remove(str(ROOT / ".ci"))


@pytest.mark.skipif(sys.platform != "linux", reason="Colab is Linux")
def test_a_chapter_runs_alone_in_a_fresh_runtime_and_says_what_is_stored(ci):
    colab = ci("colab")
    colab.make_runtime()
    seconds, differences, setup = colab.play(ROOT / "notebooks" / "01_attention_basics.ipynb")
    assert setup.startswith("Device: ") and setup.count("\n") == 1
    assert not differences
    assert seconds < 600


def test_a_difference_is_seen_where_nbval_would_see_it(ci):
    differences = ci("colab").differences

    def notebook(text, tags=(), image="old"):
        outputs = [new_output("stream", text=text), new_output("display_data", {"image/png": image, "text/plain": "F"})]
        return new_notebook(cells=[new_code_cell("1", outputs=outputs, metadata={"tags": list(tags)})])

    assert not differences(notebook("0.5"), notebook("0.5", image="new"))
    assert [number for number, _, _ in differences(notebook("0.5"), notebook("0.6"))] == [1]
    assert not differences(notebook("0.5", ["nbval-ignore-output"]), notebook("0.6", ["nbval-ignore-output"]))


def test_text_that_comes_in_pieces_is_one_text(ci):
    pieces = nbformat.from_dict({"outputs": [new_output("stream", text="a"), new_output("stream", text="b")]})
    whole = nbformat.from_dict({"outputs": [new_output("stream", text="ab")]})
    assert ci("colab").told(pieces) == ci("colab").told(whole) == ({"stdout": "ab"}, [])


def test_only_what_a_play_brought_is_taken_out_again(ci):
    names = ["bertviz", "lxml", "numpy", "XStatic-jQuery", "sacrebleu"]
    assert ci("colab").installed_by_play(names, "numpy==2.1.3\nlxml\n") == ["bertviz", "XStatic-jQuery", "sacrebleu"]


def test_the_versions_of_today_are_read(ci):
    tool = ci("colab_versions")
    versions = tool.frozen(FREEZE)
    assert versions["torch"] == "2.11.0" and versions["numpy"] == "2.1.3" and versions["scikit-image"] == "0.25.2"
    wanted = tool.today(versions, "# a remark\nnumpy==1.0\npandas==1.0\nlxml\ntorch==2.13.0\n", ["bertviz", "mpld3"])
    assert wanted == "numpy==2.1.3\npandas==2.2.2\ntorch==2.11.0\nbertviz==1.5.0\n"  # it has no lxml and no mpld3
    assert tool.python_version("Ubuntu 22.04.5 LTS\nPython 3.13.5\nR version 4.5.1") == "3.13"


def test_a_list_of_another_form_is_refused(ci):
    tool = ci("colab_versions")
    with pytest.raises(ValueError, match="lists no torch, numpy"):
        tool.today(tool.frozen('[{"name": "torch", "version": "2.11.0"}]'), "", [])
    with pytest.raises(ValueError, match="names no Python"):
        tool.python_version("Ubuntu")


def test_the_setup_cells_packages_are_read_without_importing_them(ci):
    from helpers.start import PACKAGES

    names = ci("colab_versions").setup_packages((ROOT / "helpers" / "start.py").read_text())
    assert names == [package.split("==")[0] for package in PACKAGES.values()]
