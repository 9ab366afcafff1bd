"""The charts: letters upright, true names, one colour bar, at most 864 pixels, points where there are few."""

import warnings
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest
import torch

from helpers import glyphs, plots
from helpers.analysis import Interval

LETTERS = ["<BOS>", *"flycatcher"]
WEIGHTS = torch.full((11, 11), 1 / 11)


@pytest.fixture(autouse=True)
def style():
    plots.use_style()
    yield
    plt.close("all")


def width(figure):
    figure.canvas.draw()
    return figure.get_tightbbox().width * 100


def history(first, last):
    return SimpleNamespace(train=[first, last], validation=[first, last], best=last, best_epoch=1)


def test_one_long_token_does_not_turn_the_letters():
    ax = plots.attention_heatmap(WEIGHTS, LETTERS)
    assert [tick.get_rotation() for tick in ax.get_xticklabels()] == [90] + [0] * 10
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key", "query")


def test_axes_are_named_for_what_they_hold():
    ax = plots.attention_heatmap(
        torch.eye(2), ["head 1", "head 2"], ["first", "second"], xlabel="question", ylabel="head"
    )
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("question", "head")


@pytest.mark.parametrize("layers, heads", [(2, 4), (1, 8), (2, 1), (3, 5)])
def test_the_head_grid_fits_and_has_one_colour_bar(layers, heads):
    figure = plots.head_grid([WEIGHTS.expand(heads, 11, 11)] * layers, LETTERS)
    assert width(figure) <= 864
    shown = [ax for ax in figure.axes if ax.get_visible() and ax.get_title()]
    assert [ax.get_title() for ax in shown] == [
        f"layer {i}, head {j}" for i in range(1, layers + 1) for j in range(1, heads + 1)
    ]
    assert [ax.get_ylabel() for ax in figure.axes].count("weight") == 1
    letters = shown[0].get_yticklabels()
    boxes = [tick.get_window_extent() for tick in letters]
    assert all(above.y0 > below.y0 + 9 for above, below in zip(boxes, boxes[1:]))  # no letter on the next
    assert min(tick.get_fontsize() for tick in letters) >= 8


def test_seventeen_tokens_fit():
    tokens = [f"token{i}" for i in range(17)]
    assert width(plots.attention_heatmap(torch.eye(17), tokens).figure) <= 864
    assert width(plots.weight_bars({"weights": torch.ones(17) / 17}, tokens, "bars").figure) <= 864


def names(ax):
    ax.figure.canvas.draw()
    return {text.get_text(): text.get_window_extent() for text in ax.texts}


def test_epochs_are_whole_and_names_stand_beside_their_curves_without_touching():
    curves = {"one": history(3, 1.0), "two": history(3, 1.01), "three": history(3, 0.99)}
    ax = plots.loss_curves(curves, {"bigram": 1.0})
    assert all(float(tick).is_integer() for tick in ax.get_xticks())
    places = sorted(names(ax).items(), key=lambda item: item[1].y0)
    assert [name for name, _ in places] == ["three", "bigram", "one", "two"]
    assert all(above.y0 >= below.y1 - 3 for (_, below), (_, above) in zip(places, places[1:]))
    assert all(box.x0 >= ax.get_window_extent().x1 for _, box in places)


def test_few_values_are_points():
    ax = plots.interval_plot({"a": [0.1, 0.2, 0.6], "b": Interval(0.5, 0.4, 0.6)}, "score", "points", {"nothing": 0.3})
    assert ax.lines[0].get_xdata().tolist() == [0.1, 0.2, 0.6] and ax.lines[1].get_xdata()[0] == pytest.approx(0.3)
    assert names(ax)["nothing"].y0 >= ax.get_window_extent().y1  # above the data
    few = {"a": [Interval(0.5, 0.4, 0.6)] * 3, "b": [[0.5, 0.7]] * 3}
    ax = plots.interval_curves([1, 2, 4], few, "x", "y", "few", log="x")
    assert not ax.collections  # no band
    assert ax.get_ylim()[0] < 0.4 and ax.get_ylim()[1] > 0.7 and ax.get_xlim()[1] < 6
    ax = plots.interval_curves(range(9), {"a": [Interval(0.5, 0.4, 0.6)] * 9}, "x", "y", "many")
    assert len(ax.collections) == 1


def test_tokens_that_the_font_lacks_are_spelled_and_there_is_one_warning(monkeypatch):
    monkeypatch.setattr(glyphs, "WARNED", [])
    monkeypatch.setitem(plt.rcParams, "font.sans-serif", ["DejaVu Sans"])
    tokens = ["犬", "は", "飲み", "。", "Кот", "कल", "한국", "🐶", "caf\u00e9"]
    with pytest.warns(UserWarning, match=r"has no 犬 \(U\+72AC\): such characters are spelled"):
        ax = plots.attention_heatmap(torch.full((9, 9), 1 / 9), tokens)
    shown = [tick.get_text() for tick in ax.get_xticklabels()]
    assert shown == ["U+72AC", "ha", "U+98F2mi", ".", "Кот", "kala", "hangug", "U+1F436", "caf\u00e9"]
    assert shown == [tick.get_text() for tick in ax.get_yticklabels()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no second one, and matplotlib misses no glyph
        plots.head_grid([torch.full((2, 9, 9), 1 / 9)], tokens).canvas.draw()
        plots.weight_bars({"a": torch.full((9,), 1 / 9)}, tokens, "title").figure.canvas.draw()
        assert glyphs.drawable(["cat", 3, "a b"]) == ["cat", "3", "a b"]
