"""The Python side of the playground; `.ci/look_playground.py` opens its views in a browser."""

import html
import json
import re
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn

from helpers.collect import collect_attention
from helpers.playground import explore, play
from helpers.text import Vocabulary
from helpers.transformer import MiniFormer, Transformer, TransformerConfig

LETTERS = Vocabulary.from_words(["flycatcher", "apple"], max_length=12)
EVIL = '</script><img src=x onerror="alert(1)">&amp;'
ENGLISH = Vocabulary.from_sentences(["the boy reads .", EVIL.replace(" ", "_")])
JAPANESE = Vocabulary.from_sentences(["shounen ga yomu 。"])


@pytest.fixture
def mini():
    torch.manual_seed(0)
    return MiniFormer(len(LETTERS), 8, 2, max_length=12)


@pytest.fixture
def translator():
    torch.manual_seed(0)
    return Transformer(TransformerConfig(len(ENGLISH), len(JAPANESE), 8, 2, 16, 1, tie_embeddings=True))


def page_of(view):
    """Return the page inside a view."""
    return html.unescape(re.search('srcdoc="([^"]*)"', view.data).group(1))


def data_of(view):
    """Return the data and the numbers that a view carries."""
    page = page_of(view)
    data = json.loads(re.search('<script type="application/json" id="data">(.*?)</script>', page).group(1))
    return data, dict(re.findall('data-numbers="([^"]*)" data-kind="[^"]*">([^<]*)<', page))


def weights(*shape):
    return torch.rand(*shape).softmax(-1)


def test_the_same_input_gives_the_same_bytes(mini, translator):
    for make in (
        lambda: play({"a": mini, "b": mini}, LETTERS, text="apple"),
        lambda: play(translator, ENGLISH, JAPANESE),
        lambda: explore([torch.full((2, 3, 3), 1 / 3)], ["a", "b", "c"]),
    ):
        assert make().data == make().data


def test_a_view_without_its_weights_is_small_and_asks_no_network(mini, translator):
    words = play(mini, LETTERS, carry_weights=False)
    sentences = play(translator, ENGLISH, JAPANESE, carry_weights=False)
    for view in (words, sentences, explore([torch.full((2, 3, 3), 1 / 3)], ["a", "b", "c"])):
        assert len(view.data) < 150_000
        addresses = set(re.findall(r"https?://[^\s\"'<]+", page_of(view)))
        assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of SVG, which nobody fetches
    assert data_of(words)[1] == {}


def test_tokens_are_data_and_never_markup(translator):
    tokens = [EVIL, "b"]
    view = explore([weights(1, 2, 2)], tokens, title=EVIL)
    assert view.data.count("<iframe") == view.data.count("</iframe") == 1
    assert "<img" not in page_of(view).replace(html.escape(EVIL), "")
    assert data_of(view)[0]["kinds"][0]["keys"] == tokens
    page = page_of(play(translator, ENGLISH, JAPANESE, text=EVIL.replace(" ", "_")))
    assert "<img" not in page
    assert page.count("</script>") == len(re.findall("<script ", page))


def test_the_numbers_are_the_models(mini):
    import base64

    for precision, dtype, tolerance in (("float32", "<f4", 0), ("float16", "<f2", 1e-3)):
        data, numbers = data_of(play(mini, LETTERS, precision=precision))
        (packed,) = numbers.values()
        array = np.frombuffer(base64.b64decode(packed), dtype=dtype)
        first = 0
        for name, rows, columns in data["models"][0]["tensors"]:
            wanted = mini.state_dict()[name].numpy().ravel()
            assert np.allclose(array[first : first + rows * columns], wanted, atol=tolerance, rtol=tolerance)
            first += rows * columns
        assert first == len(array) == sum(p.numel() for p in mini.parameters())


def test_a_view_knows_whether_sources_begin_with_bos(translator):
    for begins in (True, False):
        assert data_of(play(translator, ENGLISH, JAPANESE, source_bos=begins))[0]["source_bos"] is begins


def test_shared_numbers_travel_once(mini, translator):
    assert len(data_of(play({"a": mini, "b": mini}, LETTERS))[1]) == 1
    shapes = data_of(play(translator, ENGLISH, JAPANESE))[0]["models"][0]["tensors"]
    assert "output.weight" not in [name for name, *_ in shapes]
    assert sum(rows * columns for _, rows, columns in shapes) == sum(p.numel() for p in translator.parameters())


def test_a_model_of_the_readers_own_is_played_if_it_computes_the_same(mini):
    class Own(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.embed, self.layers, self.norm, self.output = mini.embed, mini.layers, mini.norm, mini.output
            self.max_length, self.pad_id, self.scale = mini.max_length, mini.pad_id, scale

        def forward(self, tokens):
            return mini(tokens) * self.scale

    assert data_of(play(Own(1), LETTERS))[1] == data_of(play(mini, LETTERS))[1]
    with pytest.raises(ValueError, match="computes something else"):
        play(Own(2), LETTERS)


def test_playing_leaves_model_and_random_state_alone(mini):
    mini.train()
    before = torch.get_rng_state()
    play(mini, LETTERS)
    assert mini.training and torch.equal(before, torch.get_rng_state())


def test_every_form_of_attention():
    a, b = weights(2, 3, 3), weights(2, 3, 3)
    words, cross = ["x", "y", "z"], weights(2, 2, 3)
    output = namedtuple("Output", "logits attentions")(None, (a[None], b[None]))
    for form in ([a, b], (a[None], b[None]), {"layers.0": a, "layers.1": b[None]}, output):
        data, _ = data_of(explore(form, words))
        assert [kind["kind"] for kind in data["kinds"]] == ["self"]
        assert data == data_of(explore([a, b], words))[0]
        assert np.allclose(np.array(data["kinds"][0]["layers"]) / 10_000, torch.stack([a, b]), atol=1e-4)
    names = {"encoder": [a], "decoder": [weights(2, 2, 2)], "cross": [cross]}
    kinds = data_of(explore(names, words, ["p", "q"]))[0]["kinds"]
    assert [(kind["kind"], kind["queries"], kind["keys"]) for kind in kinds] == [
        ("encoder", words, words),
        ("decoder", ["p", "q"], ["p", "q"]),
        ("cross", ["p", "q"], words),
    ]


def test_what_collect_attention_finds_is_sorted_by_kind(mini, translator):
    ids = torch.tensor([LETTERS.encode("apple")])
    tokens = LETTERS.tokens(ids)
    (kind,) = data_of(explore(collect_attention(mini, ids), tokens))[0]["kinds"]
    assert kind["kind"] == "self" and kind["causal"] and [len(layer) for layer in kind["layers"]] == [2]
    source, target = torch.tensor([[1, 3, 4, 2]]), torch.tensor([[1, 3]])
    kinds = data_of(explore(collect_attention(translator, source, target), list("abcd"), list("xy")))[0]["kinds"]
    assert [(kind["kind"], kind["causal"]) for kind in kinds] == [
        ("encoder", False),
        ("decoder", True),
        ("cross", False),
    ]
    torchs = nn.Transformer(8, 2, 1, 2, 16, batch_first=True).eval()
    found = collect_attention(torchs, torch.rand(1, 4, 8), torch.rand(1, 2, 8))
    kinds = data_of(explore(found, list("abcd"), list("xy")))[0]["kinds"]
    assert [(kind["kind"], len(kind["layers"])) for kind in kinds] == [("encoder", 1), ("decoder", 2), ("cross", 2)]


@pytest.mark.parametrize(
    "attention, tokens, error, words",
    [
        (None, ["a"], TypeError, "attention is NoneType"),
        ({}, ["a"], TypeError, "not empty"),
        ([], ["a"], TypeError, "attention is list"),
        (["x"], ["a"], TypeError, "layer 1 is str"),
        ([weights(2, 3, 3)], ["a", "b"], ValueError, r"must be \(H, 2, 2\)"),
        ([weights(2, 3, 3)], "abc", TypeError, "tokens must be a list of strings"),
        ([weights(2, 3, 3)], [1, 2, 3], TypeError, "tokens must be a list of strings"),
        ([weights(2, 3, 3)], [], ValueError, "tokens is empty"),
        ([weights(2, 1, 3, 3)], list("abc"), ValueError, "holds 2 sequences"),
        ([weights(3, 3)], list("abc"), ValueError, "has shape"),
        ([torch.full((1, 1, 1), torch.nan)], ["a"], ValueError, "lie in 0..1"),
        ([torch.full((1, 1, 1), 2.0)], ["a"], ValueError, "lie in 0..1"),
        ([torch.full((1, 1, 1), -1.0)], ["a"], ValueError, "lie in 0..1"),
        ([weights(12, 300, 300)], ["a"] * 300, ValueError, "fewer tokens"),
    ],
)
def test_explore_names_what_is_wrong(attention, tokens, error, words):
    with pytest.raises(error, match=words):
        explore(attention, tokens)


def test_play_names_what_is_wrong(mini, translator):
    for model, arguments, error, words in [
        (None, {}, TypeError, "NoneType"),
        ({}, {}, ValueError, "empty dictionary"),
        (nn.Linear(2, 2), {}, TypeError, "not built like"),
        (mini, {"target_vocabulary": JAPANESE}, ValueError, "does not translate"),
        (MiniFormer(5, 8), {}, ValueError, "made for 5 symbols"),
        (translator, {}, ValueError, "symbols, but the vocabulary has"),
        (mini, {"text": "Fly"}, ValueError, "unknown symbol 'F'"),
        (mini, {"text": ""}, ValueError, "text is empty"),
        (MiniFormer(len(LETTERS), 8, max_length=4), {"text": "apple"}, ValueError, "reads at most 3"),
        (mini, {"precision": "int8"}, ValueError, "precision='int8'"),
        ({"a": mini}, {"with_answer": ["b"]}, ValueError, "names 'b'"),
    ]:
        with pytest.raises(error, match=words):
            play(model, LETTERS, **arguments)
    with torch.no_grad():
        mini.output.bias[0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        play(mini, LETTERS)
