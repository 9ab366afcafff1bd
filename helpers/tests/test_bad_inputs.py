"""What a reader may pass by mistake: each gets an error that names the argument and what it should be."""

import json

import pytest
import torch
from torch import nn

from helpers import bertviz_views, plots
from helpers.analysis import attention_entropy, bootstrap_interval, find_leak, seed_interval
from helpers.attention import MultiHeadAttention, causal_mask, padding_mask, scaled_dot_product_attention
from helpers.layers import DecoderLayer, EncoderLayer, sinusoidal_encoding
from helpers.text import Vocabulary
from helpers.training import evaluate, fit, paper_learning_rate, paper_schedule, token_loss
from helpers.transformer import MiniFormer, Transformer, TransformerConfig

X = torch.randn(2, 3, 8)
TOKENS = torch.ones(2, 3, dtype=torch.long)
VOCABULARY = Vocabulary.from_words(["cat", "dog"])


def full():
    return Transformer(TransformerConfig(9, 9, max_length=4)).eval()


BAD_INPUTS = {
    "indivisible heads": (lambda: MultiHeadAttention(64, 5), ValueError, "num_heads=5 does not divide d_model=64"),
    "no heads": (lambda: MultiHeadAttention(64, 0), ValueError, "num_heads=0"),
    "query of rank 2": (lambda: MultiHeadAttention(8, 2)(X[0], X, X), ValueError, r"query has shape \(3, 8\)"),
    "ids for vectors": (
        lambda: MultiHeadAttention(8, 2)(X.long(), X, X),
        TypeError,
        "query has dtype torch.int64; attention needs floating point",
    ),
    "empty batch": (lambda: MultiHeadAttention(8, 2)(X[:0], X, X), ValueError, r"query has shape \(0, 3, 8\)"),
    "batches that differ": (
        lambda: MultiHeadAttention(8, 2)(X, X[:1], X[:1]),
        ValueError,
        "batch and positions disagree",
    ),
    "mask of numbers": (
        lambda: MultiHeadAttention(8, 2)(X, X, X, torch.ones(3, 3)),
        TypeError,
        "mask is torch.float32; masks are torch.bool",
    ),
    "mask of a wrong shape": (
        lambda: scaled_dot_product_attention(X, X, X, causal_mask(4)),
        ValueError,
        r"mask has shape \(4, 4\), which does not broadcast to the scores \(2, 3, 3\)",
    ),
    "widths that differ": (
        lambda: scaled_dot_product_attention(X, X[..., :4], X),
        ValueError,
        "query has 8 features, key has 4",
    ),
    "no keys": (
        lambda: scaled_dot_product_attention(X, X[:, :0], X[:, :0]),
        ValueError,
        r"key has shape \(2, 0, 8\); it must be",
    ),
    "mask of no length": (lambda: causal_mask(0), ValueError, "length=0 must be a positive whole number"),
    "padding mask of vectors": (lambda: padding_mask(X, 0), TypeError, "tokens has dtype torch.float32"),
    "not an nn.MultiheadAttention": (
        lambda: MultiHeadAttention.from_torch(nn.Linear(2, 2)),
        TypeError,
        "module is Linear",
    ),
    "extra keys in PyTorch's module": (
        lambda: MultiHeadAttention.from_torch(nn.MultiheadAttention(4, 2, add_zero_attn=True)),
        ValueError,
        "add_zero_attn",
    ),
    "words for tokens": (lambda: MiniFormer(9)(["cat"]), TypeError, "tokens is list, not a tensor"),
    "one word without a batch": (lambda: MiniFormer(9)(TOKENS[0]), ValueError, r"tokens has shape \(3,\)"),
    "floats for tokens": (lambda: MiniFormer(9)(TOKENS.float()), TypeError, "tokens has dtype torch.float32"),
    "an empty batch of tokens": (lambda: MiniFormer(9)(TOKENS[:0]), ValueError, r"tokens has shape \(0, 3\)"),
    "too long a sequence": (
        lambda: MiniFormer(9, max_length=2)(TOKENS),
        ValueError,
        "tokens has 3 positions, more than max_length=2",
    ),
    "a source that is too long": (
        lambda: full()(torch.ones(2, 5, dtype=torch.long), TOKENS),
        ValueError,
        "source has 5 positions, more than max_length=4",
    ),
    "source and target that differ": (
        lambda: full()(TOKENS, TOKENS[:1]),
        ValueError,
        "source holds 2 sequences, target 1",
    ),
    "a width that is not a number": (lambda: TransformerConfig(9, 9, d_model="64"), TypeError, "d_model='64'"),
    "heads that do not divide": (
        lambda: TransformerConfig(9, 9, num_heads=5),
        ValueError,
        "num_heads=5 does not divide",
    ),
    "dropout of everything": (lambda: TransformerConfig(9, 9, dropout=1.0), ValueError, "dropout=1.0"),
    "a source of padding": (
        lambda: full()(torch.tensor([[3, 4], [0, 0]]), TOKENS[:, :2]),
        ValueError,
        "source holds nothing but padding in row 1",
    ),
    "a source of padding to translate": (
        lambda: full().generate(torch.zeros(2, 3, dtype=torch.long)),
        ValueError,
        "source holds nothing but padding in row 0",
    ),
    "a source of floats": (lambda: full()(TOKENS.float(), TOKENS), TypeError, "source has dtype torch.float32"),
    "a target of floats": (lambda: full()(TOKENS, TOKENS.float()), TypeError, "target has dtype torch.float32"),
    "a target that is too long": (
        lambda: full()(TOKENS, torch.ones(2, 5, dtype=torch.long)),
        ValueError,
        "target has 5 positions, more than max_length=4",
    ),
    "an id that the source's vocabulary lacks": (
        lambda: full()(TOKENS * 9, TOKENS),
        ValueError,
        "source holds the id 9, outside the vocabulary of 9",
    ),
    "a negative id": (lambda: full()(TOKENS, -TOKENS), ValueError, "target holds the id -1"),
    "a source that is too long to translate": (
        lambda: full().generate(torch.ones(2, 5, dtype=torch.long)),
        ValueError,
        "source has 5 positions, more than max_length=4",
    ),
    "words to translate": (lambda: full().generate(["the cat"]), TypeError, "source is list, not a tensor"),
    "more tokens than the model can read": (
        lambda: full().generate(TOKENS, 5),
        ValueError,
        "max_length=5 is more than the model's max_length=4",
    ),
    "no tokens to write": (
        lambda: full().generate(TOKENS, 0),
        ValueError,
        "max_length=0 must be a positive whole number",
    ),
    "half a token": (lambda: full().generate(TOKENS, 2.5), TypeError, "max_length=2.5 must be a positive whole number"),
    "a strategy that is none": (
        lambda: full().generate(TOKENS, strategy="best"),
        ValueError,
        "strategy='best' is not one of greedy, sample, beam",
    ),
    "a beam of nothing": (
        lambda: full().generate(TOKENS, strategy="beam", beam_size=0),
        ValueError,
        "beam_size=0 must be a positive whole number",
    ),
    "more candidates than there are": (
        lambda: full().generate(TOKENS, strategy="sample", top_k=10),
        ValueError,
        "top_k=10 is more than the vocabulary of 9",
    ),
    "a temperature of 0": (
        lambda: full().generate(TOKENS, strategy="sample", temperature=0.0),
        ValueError,
        "temperature=0.0 must be above 0",
    ),
    "one vocabulary of two sizes": (
        lambda: TransformerConfig(9, 8, shared_vocabulary=True),
        ValueError,
        "shared_vocabulary=True needs one size, but source_vocab_size=9 and target_vocab_size=8",
    ),
    "tied to what": (lambda: TransformerConfig(9, 9, tie_embeddings="output"), TypeError, "tie_embeddings='output'"),
    "padding outside the vocabulary": (lambda: TransformerConfig(9, 9, pad_id=9), ValueError, "pad_id=9"),
    "not an nn.Transformer": (
        lambda: Transformer.from_torch(nn.Linear(2, 2), nn.Embedding(9, 2), nn.Embedding(9, 2), nn.Linear(2, 9)),
        TypeError,
        "module is Linear, not nn.Transformer",
    ),
    "an embedding of another width": (
        lambda: Transformer.from_torch(
            nn.Transformer(8, 2, 1, 1, 8, batch_first=True), nn.Embedding(9, 4), nn.Embedding(9, 8), nn.Linear(8, 9)
        ),
        ValueError,
        "source_embedding has 4 features, module has d_model=8",
    ),
    "an output for another vocabulary": (
        lambda: Transformer.from_torch(
            nn.Transformer(8, 2, 1, 1, 8, batch_first=True), nn.Embedding(9, 8), nn.Embedding(9, 8), nn.Linear(8, 7)
        ),
        ValueError,
        "output goes from 8 to 7",
    ),
    "stacks of unequal height": (
        lambda: Transformer.from_torch(
            nn.Transformer(8, 2, 2, 1, 8, batch_first=True), nn.Embedding(9, 8), nn.Embedding(9, 8), nn.Linear(8, 9)
        ),
        ValueError,
        "2 encoder and 1 decoder layers",
    ),
    "another activation": (
        lambda: EncoderLayer.from_torch(nn.TransformerEncoderLayer(8, 2, 8, activation="gelu")),
        ValueError,
        "EncoderLayer has ReLU",
    ),
    "a layer of the wrong kind": (
        lambda: DecoderLayer.from_torch(nn.TransformerEncoderLayer(8, 2, 8)),
        TypeError,
        "layer is TransformerEncoderLayer, not TransformerDecoderLayer",
    ),
    "a layer without biases": (
        lambda: EncoderLayer.from_torch(nn.TransformerEncoderLayer(8, 2, 8, bias=False)),
        ValueError,
        "bias=False",
    ),
    "smoothing of everything": (
        lambda: token_loss(X, TOKENS, 0, label_smoothing=1.0),
        ValueError,
        "label_smoothing=1.0 must be at least 0 and below 1",
    ),
    "a step before the first": (lambda: paper_learning_rate(0), ValueError, "step=0 must be at least 1"),
    "a warm-up of more than everything": (lambda: paper_schedule(0, 10, warmup=1.5), ValueError, "warmup=1.5"),
    "positions of no length": (lambda: sinusoidal_encoding(0, 4), ValueError, "length=0"),
    "unknown letter": (lambda: VOCABULARY.encode("cow"), ValueError, "unknown symbol 'w' at position 2 of 'cow'"),
    "a word that is too long": (
        lambda: VOCABULARY.encode("cat" * 5),
        ValueError,
        "'catcatcatcatcat' has 15 symbols; .* more than max_length=16",
    ),
    "an empty word": (lambda: VOCABULARY.encode(""), ValueError, "text is empty"),
    "not a word": (lambda: VOCABULARY.encode(3), TypeError, "text is int"),
    "no words": (lambda: VOCABULARY.encode_batch([]), ValueError, "texts is empty"),
    "one word for many": (
        lambda: VOCABULARY.encode_batch("cat"),
        TypeError,
        "texts must be a list of strings, not 'cat'",
    ),
    "an id outside": (lambda: VOCABULARY.decode([1, 99]), ValueError, "id 99 is outside the vocabulary"),
    "a vocabulary of nothing": (lambda: Vocabulary([]), ValueError, "symbols is empty"),
    "no epochs": (lambda: fit(MiniFormer(9), TOKENS, TOKENS, epochs=0, lr=1e-3), ValueError, "epochs=0"),
    "a learning rate of 0": (
        lambda: fit(MiniFormer(9), TOKENS, TOKENS, epochs=1, lr=0),
        ValueError,
        "lr=0 must be above 0",
    ),
    "no training data": (
        lambda: fit(MiniFormer(9), TOKENS[:0], TOKENS, epochs=1, lr=1),
        ValueError,
        "train has tensors",
    ),
    "data that is no tensor": (lambda: evaluate(MiniFormer(9), [[1, 2]]), TypeError, "data must be a tensor"),
    "logits that do not fit": (lambda: token_loss(X, TOKENS[:, :2], 0), ValueError, "do not fit targets"),
    "scores for weights": (lambda: attention_entropy(X * 5), ValueError, "attention weights lie in 0..1"),
    "one seed": (lambda: seed_interval([2.3]), ValueError, "at least two finite numbers"),
    "a loss that is NaN": (lambda: bootstrap_interval([2.3, float("nan")]), ValueError, "finite"),
    "a leak test in training mode": (
        lambda: find_leak(lambda t: nn.functional.dropout(torch.ones(2, 3, 4)), torch.tensor([[1, 2, 3], [1, 3, 0]])),
        ValueError,
        "call its eval",
    ),
    "heat map of three axes": (lambda: plots.attention_heatmap(X, ["a"]), ValueError, r"weights has shape \(2, 3, 8\)"),
    "tokens that do not fit": (
        lambda: plots.attention_heatmap(torch.eye(3), ["a", "b"]),
        ValueError,
        "there are 2 query tokens and 2 key tokens",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_a_bad_input_gets_a_clear_error(name):
    call, kind, message = BAD_INPUTS[name]
    with pytest.raises(kind, match=message):
        call()


GOOD = {"tokens": ["a", "b"], "attentions": [[[[1.0, 0.0], [0.5, 0.5]]]]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", 'must be an object with the keys "tokens" and "attentions"'),
        (json.dumps(GOOD | {"extra": 1}), "and no others"),
        (json.dumps(GOOD | {"tokens": []}), "tokens must be a list of strings"),
        (json.dumps(GOOD | {"tokens": ["a", 3]}), "tokens must be a list of strings"),
        (
            json.dumps(GOOD | {"tokens": ["a", "b", "c"]}),
            r"layer 0 has shape \(1, 2, 2\), not \(heads, T, T\) with T=3",
        ),
        (json.dumps(GOOD | {"attentions": []}), "attentions must be a list of layers"),
        (json.dumps(GOOD | {"attentions": [[[[1.0], [0.5, 0.5]]]]}), "layer 0 is not a regular array"),
        (json.dumps(GOOD | {"attentions": [[[[1.0, 0.0], [0.5, 7.0]]]]}), "layer 0 holds a number that is not in 0..1"),
        (json.dumps(GOOD).replace("0.5", "NaN", 1), "layer 0 holds a number that is not in 0..1"),
    ],
)
def test_a_corrupt_attention_file_is_named(tmp_path, content, message):
    path = tmp_path / "attention.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        bertviz_views.load_attention(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_utf8_or_not_there_is_named(tmp_path):
    path = tmp_path / "attention.json"
    with pytest.raises(FileNotFoundError, match="attention.json"):
        bertviz_views.load_attention(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not a JSON file"):
        bertviz_views.load_attention(path)


def test_attention_comes_back_as_it_was_saved(tmp_path):
    attention = [torch.rand(1, 2, 3, 3).softmax(-1), torch.rand(2, 3, 3).softmax(-1)]
    bertviz_views.save_attention(tmp_path / "a.json", attention, ["x", "y", "z"])
    layers, tokens = bertviz_views.load_attention(tmp_path / "a.json")
    assert tokens == ["x", "y", "z"]
    assert torch.equal(layers[0], attention[0][0]) and torch.equal(layers[1], attention[1])


def test_a_failed_save_leaves_what_was_there_and_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    bertviz_views.save_attention(path, [torch.eye(2).unsqueeze(0)], ["a", "b"])
    before = path.read_bytes()
    with pytest.raises(ValueError):
        bertviz_views.save_attention(path, [torch.full((1, 2, 2), 9.0)], ["a", "b"])

    def full_disk(*arguments, **named):
        raise OSError("no space left on device")

    monkeypatch.setattr(json, "dump", full_disk)
    with pytest.raises(OSError):
        bertviz_views.save_attention(path, [torch.eye(2).unsqueeze(0)], ["a", "b"])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
