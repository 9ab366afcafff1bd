"""Judging translations: alignment error by hand, BLEU against its definition, and the diagonal of the data card."""

import math
import warnings
from collections import Counter

import matplotlib
import pytest
import torch

from helpers import plots, translation
from helpers.data import ParallelText, load_parallel
from helpers.seq2seq import Seq2Seq
from helpers.text import Vocabulary
from helpers.transformer import Transformer, TransformerConfig

WEIGHTS = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]])  # links 0-0, 2-1, 1-2
GOLD = {(0, 0), (1, 1), (2, 1), (1, 2)}


def test_alignment_error_rate_by_hand():
    assert translation.links_of([WEIGHTS]) == [{(0, 0), (2, 1), (1, 2)}]
    assert translation.alignment_error_rate([WEIGHTS], [GOLD]) == pytest.approx(1 - 2 * 3 / (3 + 4))
    assert translation.alignment_error_rate([WEIGHTS], [{(1, 0), (0, 1), (0, 2)}]) == 1
    assert translation.alignment_error_rate([WEIGHTS], translation.links_of([WEIGHTS])) == 0
    both = translation.alignment_error_rate([WEIGHTS, WEIGHTS[:1]], [GOLD, {(1, 0)}])  # over all links, not sentences
    assert both == pytest.approx(1 - 2 * 3 / (4 + 5))


def test_rows_and_columns_behind_the_words_are_dropped_first():
    padded = torch.zeros(2, 5, 5)
    padded[0, :3, :3] = WEIGHTS
    padded[1, :1, :2] = torch.tensor([0.1, 0.2])
    padded[:, :, 3] = 0.9  # <EOS> takes most of every row and gets no link
    lengths = [(3, 3), (2, 1)]
    assert translation.links_of(padded, lengths) == [{(0, 0), (2, 1), (1, 2)}, {(1, 0)}]
    assert translation.alignment_error_rate(padded, [GOLD, {(1, 0)}], lengths) == pytest.approx(1 - 2 * 4 / (4 + 5))


def test_the_diagonal_on_the_real_test_set_is_the_data_cards():
    test = load_parallel()["test"]
    guess = [translation.diagonal_alignment(len(a.split()), len(b.split())) for a, b in zip(test.source, test.target)]
    assert round(translation.error_rate(guess, test.alignment), 3) == 0.739
    assert translation.error_rate(test.alignment, test.alignment) == 0


def bleu_by_definition(hypotheses, references):
    """Papineni et al. 2002, section 2.3, without smoothing: for texts whose counts are all above 0."""
    logs, c, r = [], sum(len(h.split()) for h in hypotheses), sum(len(x.split()) for x in references)
    for n in range(1, 5):
        right = total = 0
        for hypothesis, reference in zip(hypotheses, references):
            grams = [Counter(zip(*(t.split()[k:] for k in range(n)))) for t in (hypothesis, reference)]
            right += sum((grams[0] & grams[1]).values())
            total += sum(grams[0].values())
        logs.append(math.log(right / total))
    return 100 * min(1.0, math.exp(1 - r / c)) * math.exp(sum(logs) / 4)


def test_bleu_equals_its_definition():
    references = ["猫 が 二 匹 い ます 。", "犬 は 水 を 飲み ました 。"]
    hypotheses = ["猫 が 三 匹 い ます 。", "犬 は 水 を 飲み ます 。"]
    for candidates in (hypotheses, ["猫 が 二 匹 い ます", references[1]]):
        result = translation.bleu(candidates, references)
        assert result.score == pytest.approx(bleu_by_definition(candidates, references), abs=1e-6)
    assert translation.bleu(references, references).score == pytest.approx(100)
    assert "tok:none" in result.signature and "version:" in result.signature


def test_exact_match():
    assert translation.exact_match(["a b", "a c", "a  b "], ["a b", "a b", "a b"]) == pytest.approx(2 / 3)
    assert translation.exact_match(["a"], ["a b"]) == 0


def test_forced_weights_and_translated_texts_do_not_depend_on_the_batch():
    corpus = load_parallel()["test"]
    sources, targets = corpus.source[:12], corpus.target[:12]
    english, japanese = Vocabulary.from_sentences(sources), Vocabulary.from_sentences(targets)
    source, target = english.encode_batch(sources)[:, 1:], japanese.encode_batch(targets)
    torch.manual_seed(0)
    model = Seq2Seq(len(english), len(japanese), hidden_size=16, attention="luong-dot", dropout=0.5).train()
    few, many = (translation.forced_weights(model, source, target, batch_size=size) for size in (5, 100))
    assert model.training and len(few) == 12 and few[0].shape == (target.size(1) - 1, source.size(1))
    torch.testing.assert_close(torch.stack(few), torch.stack(many), atol=1e-5, rtol=0)
    texts = translation.translate_texts(model, source, japanese, batch_size=5, max_length=8)
    assert texts == translation.translate_texts(model, source, japanese, max_length=8)
    assert texts[7] == japanese.decode(model.translate(source[7:8], max_length=8)[0][0])
    config = TransformerConfig(len(english), len(japanese), d_model=16, d_ff=16, max_length=32)
    other = Transformer(config).requires_grad_(False).eval()
    for parameter in other.parameters():  # livelier than at birth, so that the texts differ
        parameter.mul_(2.0)
    texts = translation.translate_texts(other, source, japanese, batch_size=5, max_length=8)
    assert texts == [japanese.decode(row) for row in other.generate(source, max_length=8)]
    assert len(set(texts)) > 6


def two_models():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "attention": "luong-dot"}
    lively = (
        Transformer(TransformerConfig(9, 9, d_model=16, num_heads=2, d_ff=16, max_length=8)),
        Seq2Seq(9, 9, **sizes),
    )
    for model in lively:
        for parameter in model.requires_grad_(False).eval().parameters():
            parameter.mul_(2.0)
    return lively


IDS = torch.tensor([[1, 3, 4, 5, 2], [1, 6, 7, 2, 0], [1, 8, 8, 2, 0]])


def test_both_kinds_of_model_take_the_same_options():
    vocabulary, source = Vocabulary.from_words(["abcdef"]), torch.randint(3, 9, (60, 5))
    for model in two_models():

        def texts(model=model, **options):
            return translation.translate_texts(model, source, vocabulary, max_length=8, **options)

        assert texts() == texts(strategy="greedy") == texts(beam_size=1) == texts(strategy="beam", beam_size=1)
        assert texts(beam_size=4) == texts(strategy="beam") == texts(strategy="beam", beam_size=4) != texts()
        draws = [texts(strategy="sample", top_k=3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
        assert draws[0] == draws[1] != draws[2]
        with pytest.raises(ValueError, match="strategy='best'"):
            texts(strategy="best")


def test_forced_weights_of_a_transformer_are_its_cross_attention():
    model, target = two_models()[0], torch.tensor([[1, 4, 5, 2], [1, 6, 2, 0], [1, 7, 2, 0]])
    cross = model(IDS, target[:, :-1], return_attention=True)[1]["cross"]  # 2 layers, (B, H, T, S)
    for options, expected in (
        ({}, cross[1].mean(1)), ({"layer": 1}, cross[0].mean(1)), ({"layer": 1, "head": 2}, cross[0][:, 1]),
        ({"head": 1, "batch_size": 2}, cross[1][:, 0]),
    ):  # fmt: skip
        found = torch.stack(translation.forced_weights(model, IDS, target, **options))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.sum(-1), torch.ones(3, 3))
    for options, message in (
        ({"layer": 3}, "layer=3, but the model has 2"),
        ({"head": 3}, "head=3, but the model has 2"),
    ):
        with pytest.raises(ValueError, match=message):
            translation.forced_weights(model, IDS, target, **options)
    with pytest.raises(ValueError, match="layer=1: Seq2Seq has one map a sentence"):
        translation.forced_weights(two_models()[1], IDS, target, layer=1)
    for silent in (Seq2Seq(9, 9, hidden_size=4, attention="none"), LogitsAlone()):
        with pytest.raises(TypeError, match="returns no weights"):
            translation.forced_weights(silent, IDS, target)


class LogitsAlone(torch.nn.Module):
    def forward(self, source, target):
        return torch.zeros(*target.shape, 9)


def test_several_references_can_only_help():
    hypotheses, first, second = ["a b c d e"], ["a b c x e"], ["a b c d y"]
    one, both = translation.bleu(hypotheses, first), translation.bleu(hypotheses, [first, second])
    assert both.score > one.score and "nrefs:1" in one.signature and "nrefs:2" in both.signature
    assert translation.bleu(hypotheses, [first]) == one
    with pytest.raises(ValueError, match="hypotheses holds 1 sentences, references 2"):
        translation.bleu(hypotheses, [first, ["a", "b"]])


@pytest.mark.parametrize(
    ("hypotheses", "references", "warning"),
    [
        (["a dog , running ."], ["a dog, running."], "the hypotheses have punctuation apart, the references "),
        (
            ["a dog, running."],
            ["a dog , running ."],
            "the hypotheses have punctuation stuck to the words, the references",
        ),
        (["a dog runs ."], ["A dog runs ."], "the hypotheses have no capitals, the references capitals"),
        (["a dog runs ."], ["a dog runs ."], None),
        (["a a a"], ["a dog runs ."], None),
        (["犬 は"], ["犬 は 。"], None),
        (["a <UNK> runs ."], ["a dog runs ."], None),
        (["a dog"] * 9, [*["a dog"] * 8, "Anna runs"], None),
    ],
)
def test_sides_that_are_tokenized_differently_are_told(hypotheses, references, warning):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        translation.bleu(hypotheses, references)
    said = [str(w.message) for w in caught]
    assert (warning in said[0]) if warning else not said, said


def test_gold_links_are_framed_where_they_belong_and_one_step_is_drawn_as_bars():
    matplotlib.use("agg")
    ax = plots.attention_heatmap(WEIGHTS, ["a", "b", "c"], ["x", "y", "z"])
    plots.outline_links(ax, {(2, 1), (0, 0)})
    corners = {(int(patch.get_x()), int(patch.get_y())) for patch in ax.patches}
    assert corners == {(2, 1), (0, 0)}  # column = source word, row = target word
    ax = plots.weight_bars({"dot": WEIGHTS[0], "concat": WEIGHTS[1]}, ["x", "y", "z"], "two scores")
    assert [round(bar.get_height(), 1) for bar in ax.patches] == [0.7, 0.2, 0.1, 0.1, 0.3, 0.6]


def test_words_are_exchanged_in_the_nearest_sentence():
    links = {(0, 0), (1, 2), (2, 1)}
    train = ParallelText(
        ["a sees b", "a sees c", "b has a", "a sees b now"], ["A B S", "A C S", "B A H", "A B S N"], None,
        [links, links, links, links | {(3, 3)}],
    )  # fmt: skip
    assert translation.exchange_words(["c sees b", "a has c", "a sees b"], train) == ["C B S", "A C H", "A B S"]
    assert translation.exchange_words(["a sees"], train) == [""]  # none is as long
    assert translation.exchange_words(["x sees b"], train) == ["B S"]  # nobody knows x


BAD = {
    "bars without tokens": (
        lambda: plots.weight_bars({"dot": WEIGHTS[0]}, ["x"], "title"),
        ValueError,
        r"weights of 'dot' have shape \(3,\); there are 1 tokens",
    ),
    "unequal numbers": (lambda: translation.bleu(["a"], ["a", "b"]), ValueError, "hypotheses holds 1 sentences, references 2"),
    "none": (lambda: translation.exact_match([], []), ValueError, "at least one"),
    "one string": (lambda: translation.bleu("a b", ["a b"]), TypeError, "hypotheses must be a list of strings"),
    "ids": (lambda: translation.exact_match([[1]], ["a"]), TypeError, "hypotheses must be a list of strings"),
    "fewer gold": (lambda: translation.alignment_error_rate([WEIGHTS], []), ValueError, "guess holds 1 sentences, gold 0"),
    "fewer lengths": (lambda: translation.links_of([WEIGHTS], []), ValueError, "lengths holds 0 pairs, weights 1"),
    "too long": (lambda: translation.links_of([WEIGHTS], [(4, 3)]), ValueError, "says 4 source and 3 target words"),
    "rank": (lambda: translation.links_of(WEIGHTS), ValueError, r"weights\[0\] has shape \(3,\)"),
    "no links": (lambda: translation.error_rate([set()], [set()]), ValueError, "no links at all"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
