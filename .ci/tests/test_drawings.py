"""The drawings: every one is legible, nothing lies on anything, and what is written in them is true."""

import inspect

import drawings
import matplotlib

matplotlib.use("Agg")
import matplotlib.colors
import matplotlib.pyplot as plt
import pytest
import torch

from helpers import diagrams, model_diagrams, plots


@pytest.fixture(autouse=True)
def style():
    plots.use_style()
    yield
    plt.close("all")


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_every_drawing_is_in_the_gallery():
    own = [(n, f) for module in (diagrams, model_diagrams) for n, f in vars(module).items()]
    public = {n for n, f in own if "diagrams" in (getattr(f, "__module__", None) or "") and n.islower()}
    primitives = {
        "canvas",
        "label",
        "box",
        "grid",
        "blank",
        "arrow",
        "chain",
        "operation",
        "badge",
        "frame",
        "brace",
        "layer",
        "tensor",
    }
    drawn = {name.split(",")[0] for name in drawings.GALLERY}
    assert {name for name in public - primitives if not name.startswith("_")} == drawn and len(drawn) == 15


@pytest.mark.parametrize("module", [diagrams, model_diagrams], ids=["diagrams", "model_diagrams"])
def test_a_drawing_is_read_at_one_look(module):
    own = [function for function in vars(module).values() if getattr(function, "__module__", "") == module.__name__]
    lines = {function.__name__: len(inspect.getsource(function).splitlines()) for function in own if callable(function)}
    assert {name: count for name, count in lines.items() if count >= 35} == {}


def test_every_figure_in_a_notebook_fits_the_column_and_has_its_text():
    assert {name: wrong for name, wrong in drawings.stored().items() if wrong} == {}


@pytest.mark.parametrize("name", drawings.GALLERY)
def test_a_drawing_is_legible(name):
    assert list(drawings.faults(drawings.GALLERY[name]().figure)) == []


PLANTED = {
    "lies on 'two'": lambda ax: (diagrams.label(ax, 200, 90, "one"), diagrams.label(ax, 205, 92, "two")),
    "leaves the picture": lambda ax: diagrams.label(ax, 5, 90, "a long text at the edge"),
    "wider than its box": lambda ax: diagrams.box(ax, 200, 90, "a long text in a small box", width=50),
    "letters of 7.0 points": lambda ax: diagrams.label(ax, 200, 90, "small", size=7),
    "an arrow runs through": lambda ax: (diagrams.label(ax, 200, 90, "hit"), diagrams.arrow(ax, (90, 90), (300, 90))),
    "lies on a box": lambda ax: (diagrams.box(ax, 200, 90, ""), diagrams.label(ax, 262, 90, "beside")),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault):
    ax = diagrams.canvas(400, 200, "a canvas")
    assert list(drawings.faults(ax.figure)) == []
    PLANTED[fault](ax)
    assert any(fault in found for found in drawings.faults(ax.figure))


def test_too_wide_a_drawing_is_found():
    assert any("pixels wide" in fault for fault in drawings.faults(diagrams.canvas(1000, 200, "wide").figure))


def test_query_key_and_value_differ_in_lightness_too():
    colors = torch.tensor([matplotlib.colors.to_rgb(diagrams.FILLS[kind]) for kind in ("query", "key", "value")])
    grey = colors @ torch.tensor([0.2126, 0.7152, 0.0722])  # (3, 3) @ (3,) → (3,)
    assert grey[0] > grey[1] + 0.05 > grey[2] + 0.1


def test_the_look_up_writes_what_it_computes():
    ax = diagrams.soft_lookup([0.0, 2, 1], torch.eye(3), [1.0, 2, 4], ["apple", "pear", "plum"])
    weights = torch.tensor([0.0, 2, 1]).softmax(0)
    expected = [f"{weight:.2f}" for weight in weights] + [f"{float(weights @ torch.tensor([1.0, 2, 4])):.2f}"]
    assert set(expected) <= set(words(ax))


def test_a_late_mask_leaves_rows_that_miss_something():
    scores = torch.tensor([[0.0, 2], [1, 1]])
    written = words(diagrams.late_mask(scores, ["a", "b"]))
    assert f"{scores.softmax(-1)[0, 0]:.2f}" == "0.12" and written.count("0.12") == 3 and written.count("1.00") == 4


def test_the_cache_counts():
    written = words(model_diagrams.cache_step(["a", "b", "c"]))
    assert written.count("again") == 6 and written.count("read") == 4 and written.count("new") == 6
    assert "computes 9 vectors in each layer,\n6 of them again" in written


def test_the_leak_is_red_until_both_places_are_masked():
    def red(masked):
        ax = model_diagrams.leak_path("flycatcher", 5, masked)
        return sum(matplotlib.colors.to_hex(p.get_edgecolor()) == diagrams.WRONG for p in ax.patches)

    assert red(()) == red(("cross",)) == red(("encoder",)) > 4
    assert red(("cross", "encoder")) == 1  # the letter itself
    with pytest.raises(ValueError, match=r"masked names \['decoder'\]; the places are 'cross' and 'encoder'"):
        model_diagrams.leak_path("flycatcher", 5, ("decoder",))


def test_the_map_names_its_sections_and_refuses_an_unknown_part():
    ax = model_diagrams.transformer_map({part: f"9.{i}" for i, part in enumerate(drawings.SECTIONS)}, num_layers=6)
    assert {f"9.{i}" for i in range(len(drawings.SECTIONS))} <= set(words(ax)) and "6 × decoder layer" in words(ax)
    with pytest.raises(ValueError, match="sections names 'attic'; the parts are tokens"):
        model_diagrams.transformer_map({"attic": "1"})
