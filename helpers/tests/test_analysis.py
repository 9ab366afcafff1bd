"""The measurements, each against a value worked out another way."""

import math
from pathlib import Path

import bertviz
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy import stats

from helpers import bertviz_views, plots
from helpers.analysis import (
    NGram,
    attention_distance,
    attention_entropy,
    attention_to,
    attention_to_first,
    attention_to_previous,
    attention_to_self,
    bootstrap_interval,
    pick,
    seed_interval,
    word_regression,
)
from helpers.attention import causal_mask
from helpers.transformer import MiniFormer, Transformer, TransformerConfig

WEIGHTS = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])


def test_measures_by_hand():
    third = -(0.2 * math.log(0.2) + 0.3 * math.log(0.3) + 0.5 * math.log(0.5))
    torch.testing.assert_close(attention_entropy(WEIGHTS), torch.tensor([0.0, math.log(2), third]))
    normalised = torch.tensor([torch.nan, 1.0, third / math.log(3)])
    torch.testing.assert_close(attention_entropy(WEIGHTS, causal_mask(3)), normalised, equal_nan=True)
    torch.testing.assert_close(attention_distance(WEIGHTS), torch.tensor([0.0, 0.5, 0.7]))
    torch.testing.assert_close(attention_to_previous(WEIGHTS), torch.tensor([torch.nan, 0.5, 0.3]), equal_nan=True)
    torch.testing.assert_close(attention_to_self(WEIGHTS), torch.tensor([1.0, 0.5, 0.5]))
    torch.testing.assert_close(attention_to_first(WEIGHTS), torch.tensor([1.0, 0.5, 0.2]))


def test_measures_keep_the_leading_axes():
    weights = WEIGHTS.expand(4, 2, 3, 3)
    assert attention_entropy(weights, causal_mask(3)).shape == (4, 2, 3)
    assert attention_to_previous(weights).shape == attention_distance(weights).shape == (4, 2, 3)


def test_entropy_equals_scipy():
    weights = torch.rand(5, 7).softmax(-1)
    np.testing.assert_allclose(attention_entropy(weights).numpy(), stats.entropy(weights.numpy(), axis=1), rtol=1e-5)


def test_the_seed_interval_is_students():
    values = [2.28, 2.27, 2.31, 2.25, 2.29]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    interval = seed_interval(values)
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    assert interval.excludes(2.4) and not interval.excludes(2.28)
    assert str(interval) == "2.280 [2.252, 2.308]"


@pytest.mark.parametrize(("interval", "size"), [(seed_interval, 5), (bootstrap_interval, 100)])
def test_intervals_catch_the_true_mean_as_often_as_they_promise(interval, size):
    generator = np.random.default_rng(0)
    options = {"resamples": 300} if interval is bootstrap_interval else {}
    caught = [not interval(generator.normal(1.0, 2.0, size), **options).excludes(1.0) for _ in range(400)]
    assert 0.91 < np.mean(caught) < 0.98


def test_bertviz_page_is_complete_and_always_the_same():
    torch.manual_seed(0)
    tokens, letters = torch.randint(3, 29, (1, 5)), list("abcde")
    mini = MiniFormer(29)(tokens, return_attention=True)[1]
    full = Transformer(TransformerConfig(29, 29))(tokens, tokens, return_attention=True)[1]
    views = {
        "one": {"attention": mini, "tokens": letters},
        "two": {f"{kind}_attention": full[kind] for kind in full}
        | {"encoder_tokens": letters, "decoder_tokens": letters},
    }
    page = bertviz_views.head_views(views).data
    assert page == bertviz_views.head_views(views).data
    assert "<script src=" not in page and "bertviz-0" in page and "bertviz-1" in page


def test_plots_draw_what_they_are_given():
    ax = plots.attention_heatmap(WEIGHTS, list("abc"), title="t")
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("key", "query", "t")
    mesh = ax.collections[0]
    assert mesh.get_clim() == (0, 1) and mesh.get_cmap().name == "viridis"
    figure = plots.head_grid([WEIGHTS.expand(1, 4, 3, 3)] * 2, list("abc"))
    assert len(figure.axes) == 8 + 1  # the colour bar
    plt.close("all")


def test_interval_curves_draw_a_line_and_a_bar_for_each_of_few_x_and_a_band_for_many():
    results = {"a": [seed_interval([1.0, 1.1, 1.2]), seed_interval([2.0, 2.1, 2.2])]}
    ax = plots.interval_curves([1, 2], results, "x", "y", "t")
    assert ax.get_title() == "t" and len(ax.lines) == 1 + 2 and not ax.collections
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1.1, 2.1])
    ax = plots.interval_curves(range(10), {"a": results["a"] * 5}, "x", "y", "t")
    assert len(ax.lines) == 1 and len(ax.collections) == 1
    plt.close("all")


@pytest.mark.parametrize("theirs", bertviz_views.PATCHES)
def test_what_is_patched_is_still_in_bertviz(theirs):
    folder = Path(bertviz.__file__).parent
    assert any(theirs in (folder / name).read_text(encoding="utf-8") for name in ("head_view.js", "model_view.js"))


def test_bertviz_counts_from_one_and_starts_where_it_is_told():
    weights = {f"{kind}_attention": [torch.eye(3).view(1, 1, 3, 3)] * 2 for kind in ("decoder", "encoder", "cross")}
    view = weights | {"encoder_tokens": list("abc"), "decoder_tokens": list("abc")}
    for start, place in ((None, 1), ("encoder", 0), ("cross", 2)):  # the menu: encoder, decoder, cross
        page = bertviz_views.model_view(**view, **({"start": start} if start else {})).data
        assert f"&quot;default_filter&quot;: &quot;{place}&quot;" in page
        assert "config.layers[i] + 1" in page and ".text(config.layers[i])" not in page
    with pytest.raises(ValueError, match="start='memory' is not among the attentions given: decoder, encoder, cross"):
        bertviz_views.model_view(**view, start="memory")
    page = bertviz_views.head_views({"": view | {"layer": 2, "heads": [1]}}).data
    assert "&quot;layer&quot;: 1, &quot;heads&quot;: [0]" in page


def test_model_view_is_a_complete_page_and_always_the_same():
    torch.manual_seed(0)
    attention = MiniFormer(29, num_heads=2, num_layers=2)(torch.randint(3, 29, (1, 5)), return_attention=True)[1]
    page = bertviz_views.model_view(attention, list("abcde")).data
    assert page == bertviz_views.model_view(attention, list("abcde")).data
    heads = bertviz_views.head_views({"": {"attention": attention, "tokens": list("abcde")}}).data
    assert page != heads and "<script src=" not in page


def test_matrix_blocks_name_their_blocks():
    ax = plots.matrix_blocks(torch.arange(24.0).view(6, 4), {"Q": 2, "K": 2, "V": 2}, title="t")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Q", "K", "V"]
    assert len(ax.texts) == 24 and ax.get_title() == "t"
    plt.close("all")


def test_word_regression_learns_words_pairs_and_ends_and_knows_no_structure():
    texts = ["a b", "b a", "a c", "c a"] * 5
    for labels, right in (([1, 0, 1, 0] * 5, 1.0), ([1, 1, 0, 0] * 5, 1.0)):  # the first word; a word
        (logits,) = word_regression(texts, labels, texts)
        assert ((logits > 0) == torch.tensor(labels, dtype=torch.bool)).float().mean() == right
    far = [f"{x} m n o p q r {y} m n o p q" for x in "ab" for y in "cd"] * 5
    (logits,) = word_regression(far, [0, 1, 1, 0] * 5, far)  # whether two words are different: not a sum
    assert logits.abs().max() < 0.1
    (strict,) = word_regression(texts, [1, 0, 1, 0] * 5, ["z"], penalty=100.0)
    assert strict.shape == (1,) and abs(float(strict)) < 0.1  # a word that was never seen says nothing


@pytest.mark.parametrize("labels", [[1, 0], [0, 2, 1]])
def test_word_regression_names_wrong_labels(labels):
    with pytest.raises(ValueError, match="labels must be 3 numbers, each 0 or 1"):
        word_regression(["a", "b", "c"], labels, ["a"])


def test_attention_to_reads_one_weight_of_each_head():
    layers = [torch.rand(3, 2, 4, 5), torch.rand(3, 1, 4, 5)]
    query, key = torch.tensor([0, 3, 1]), torch.tensor([4, 0, 2])
    found = attention_to(layers, query, key)
    assert found.shape == (3, 3)
    for row in range(3):
        expected = torch.cat([layer[row, :, query[row], key[row]] for layer in layers])
        assert torch.equal(found[row], expected)


def test_pick_takes_allowed_places_each_as_often():
    allowed = torch.tensor([[False, True, True, False], [True, False, False, False], [False] * 4])
    places = torch.stack([pick(allowed, seed) for seed in range(400)])
    assert set(places[:, 0].tolist()) == {1, 2} and 140 < int((places[:, 0] == 1).sum()) < 260
    assert (places[:, 1:] == 0).all()
    assert torch.equal(pick(allowed, 7), pick(allowed, 7))


def test_counting_is_the_formula():
    model = NGram(2, ["ab", "aa"], k=2, letters=3)
    assert model.questions("ab") == [(("<BOS>",), "a"), (("a",), "b"), (("b",), "<EOS>")]
    alone = {"a": (3 + 2 / 3) / 8, "b": (1 + 2 / 3) / 8, "<EOS>": (2 + 2 / 3) / 8}  # 3, 1 and 2 of 6
    for letter, after_a in (("a", 1), ("b", 1), ("<EOS>", 1)):
        assert model.probability((), letter) == pytest.approx(alone[letter])
        assert model.probability(("a",), letter) == pytest.approx((after_a + 2 * alone[letter]) / 5)
    assert model.probability(("z",), "a") == pytest.approx(alone["a"])
    expected = -sum(math.log(model.probability((before,), after)) for before, after in ("ab", ("b", "<EOS>")))
    expected -= math.log(model.probability(("<BOS>",), "a"))
    assert model.loss(["ab"]) == pytest.approx(expected / 3)
