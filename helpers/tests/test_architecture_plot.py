"""The map of the Transformer: every part is on it, and a section stands where it was asked for."""

import matplotlib
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from helpers import architecture_plot

PARTS = ("tokens", "embedding", "encoder layer", "decoder layer", "masks", "output", "decoding")


def test_the_map_names_its_parts_and_sections():
    sections = {part: f"9.{number}" for number, part in enumerate(PARTS)}
    ax = architecture_plot.architecture_map(sections, num_layers=6, title="a map")
    texts = [text.get_text() for text in ax.texts]
    assert {f"9.{number}" for number in range(len(PARTS))} <= set(texts)
    assert texts.count("feed-forward") == 2 and texts.count("cross-attention") == 1 and texts.count("6 x") == 2
    assert ax.get_title() == "a map"
    plt.close("all")


def test_without_sections_it_is_only_the_map():
    assert not any(text.get_text().startswith("4.") for text in architecture_plot.architecture_map().texts)
    plt.close("all")


def test_an_unknown_part_is_named():
    with pytest.raises(ValueError, match="sections names 'attic'; the parts are tokens"):
        architecture_plot.architecture_map({"attic": "1"})
    plt.close("all")
