"""One dialect of errors: every public name, each argument given wrongly, and the answer names the argument."""

import ast
import importlib
import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.data import ParallelText
from helpers.text import Tokenizer, Vocabulary
from helpers.training import History
from helpers.transformer import MiniFormer, Transformer, TransformerConfig

HELPERS = Path(__file__).resolve().parent.parent
X, IDS = torch.randn(2, 3, 4), torch.tensor([[1, 3, 2], [1, 4, 2]])
WEIGHTS = torch.full((3, 3), 1 / 3)
VOCABULARY = Vocabulary.from_words(["ab"])
TRANSLATOR = Transformer(TransformerConfig(5, 5, max_length=4))

# Wrong values by kind of argument.
SIZE = ["3", 0, -1, 2.5, math.nan, True, [3], None]
OPTIONAL_SIZE = SIZE[:-1]
POSITIVE = ["0.1", 0, -1.0, math.nan, math.inf, [1], None]
SHARE = ["0.1", -0.1, 1.5, math.nan, [0.1], None]  # of 1 itself each function says for itself
ID = ["0", -1, 2.5, None, True]
SWITCH = ["yes", 2, 0.5]
TENSOR = ["x", None, [[0.5]], 1.0]
VECTORS = [*TENSOR, X.long(), X[0, 0], X[:0]]
TOKENS = ["ab", None, [[1]], IDS.float(), IDS[0], IDS[:0], IDS.to(torch.int32), IDS.bool()]
MASK = ["x", torch.ones(3, 3), torch.ones(7, 7, dtype=torch.bool)]
STRINGS = ["ab", None, [1], 3, []]


def fit_arguments(**changes):
    return {
        "model": MiniFormer(5),
        "train": IDS,
        "validation": IDS,
        "epochs": 1,
        "lr": 1e-3,
        "progress": False,
    } | changes


# For each public name: what it is called with, and the wrong values of each argument that it checks. A pair in place of
# the first dictionary is (what makes the object, what is called on it).
CALLS = {
    "common.check_size": ({"name": "n", "value": 3}, {}),
    "common.check_number": ({"name": "n", "value": 3}, {}),
    "common.check_choice": ({"name": "n", "value": 3, "choices": (3,)}, {}),
    "common.check_texts": ({"name": "n", "values": ["a"]}, {}),
    "common.check_special": ({}, {}),
    "common.check_tensor": ({"name": "n", "value": X, "shape": "B, T, D"}, {}),
    "common.check_tokens": ({"tokens": IDS}, {"tokens": TOKENS}),
    "common.check_ids": ({"tokens": IDS, "name": "tokens", "vocab_size": 5}, {}),
    "common.check_sequences": (
        {"tokens": IDS, "name": "tokens", "vocab_size": 5, "max_length": 9, "pad_id": 0}, {"tokens": TOKENS}),
    "common.evaluating": ({"model": nn.ReLU()}, {}),
    "data.load_words": ({}, {"directory": ["nowhere"]}),
    "data.split_words": ({}, {"words": [["ab"], ["a"] * 20]}),
    "data.load_parallel": (
        {},
        {"name_or_directory": ["nowhere"], "source": ["xx", 3, "en_"], "target": ["xx", 3], "empty": ["keep", None, 3],
         "max_words": OPTIONAL_SIZE, "too_long": ["keep", None, True]}),
    "data.load_agreement": ({}, {"directory": ["nowhere"]}),
    "data.load_labelled": ({"path": HELPERS / "nothing"}, {"path": ["nowhere"]}),
    "text.Vocabulary": (
        {"symbols": ["a"], "separator": "", "max_length": None},
        {"symbols": [*STRINGS, ["<PAD>"]], "separator": [None, 3], "max_length": OPTIONAL_SIZE, "unknown": SWITCH}),
    "text.Tokenizer": ({"lower_case": True}, {"lower_case": [*SWITCH, None]}),
    "attention.causal_mask": ({"length": 3}, {"length": SIZE}),
    "attention.padding_mask": ({"tokens": IDS, "pad_id": 0}, {"tokens": TOKENS, "pad_id": ID}),
    "attention.check_mask": ({"mask": None, "shape": (3, 3)}, {"mask": MASK}),
    "attention.masked_softmax": ({"scores": WEIGHTS, "mask": None}, {"scores": VECTORS[:-1], "mask": MASK}),
    "attention.scaled_dot_product_attention": (
        {"query": X, "key": X, "value": X, "mask": None},
        {"query": VECTORS, "key": VECTORS, "value": VECTORS, "mask": MASK}),
    "attention.MultiHeadAttention": (
        {"d_model": 8, "num_heads": 2, "dropout": 0.0, "kdim": None, "vdim": None},
        {"d_model": SIZE, "num_heads": [*SIZE, 3], "dropout": [*SHARE, 1.0], "kdim": ["4", -1], "vdim": ["4", -1]}),
    "classic_attention.ClassicAttention": ({"query_size": 4, "key_size": 4}, {"query_size": SIZE, "key_size": SIZE}),
    "classic_attention.AdditiveAttention": (
        {"query_size": 4, "key_size": 4, "hidden_size": 4}, {"query_size": SIZE, "key_size": SIZE, "hidden_size": SIZE}),
    "classic_attention.MultiplicativeAttention": (
        {"query_size": 4, "key_size": 4, "score": "dot"}, {"query_size": SIZE, "key_size": SIZE, "score": ["best", 3]}),
    "generation.select_rows": ({"state": X, "index": torch.tensor([0])}, {"state": ["x"]}),
    "generation.generate": (
        {"step": lambda tokens, state: (torch.zeros(len(tokens), 5), state), "state": None, "batch_size": 2,
         "max_length": 3, "bos_id": 1, "eos_id": 2, "pad_id": 0, "strategy": "sample", "top_k": 2, "temperature": 1.0,
         "beam_size": 2, "length_penalty": 0.6},
        {"batch_size": SIZE, "max_length": SIZE, "bos_id": [*ID, 2, 5], "eos_id": [*ID, 1], "pad_id": [*ID, 1, 5],
         "strategy": ["best", 3], "top_k": [*OPTIONAL_SIZE, 6], "temperature": POSITIVE, "beam_size": OPTIONAL_SIZE,
         "length_penalty": ["1", -1, math.nan, None]}),
    "generation.keep_top_k": ({"logits": X[0], "k": 2}, {}),  # calls it top_k, as `generate` does
    "seq2seq.Encoder": (
        {"vocab_size": 5, "embedding_size": 4, "hidden_size": 4}, {"hidden_size": [3]}),
    "seq2seq.Seq2Seq": (
        {"source_vocab_size": 5, "target_vocab_size": 5, "hidden_size": 4, "attention": "none", "dropout": 0.0},
        {"source_vocab_size": SIZE, "target_vocab_size": SIZE, "hidden_size": [*SIZE, 3], "embedding_size": OPTIONAL_SIZE,
         "attention": ["best", 3], "bidirectional": SWITCH, "dropout": [*SHARE, 1.0], "pad_id": [*ID, 5],
         "input_feeding": [*SWITCH, True]}),
    "layers.sinusoidal_encoding": ({"length": 3, "d_model": 4}, {"length": SIZE, "d_model": SIZE}),
    "layers.TokenEmbedding": (
        {"vocab_size": 5, "d_model": 4, "max_length": 6, "dropout": 0.0},
        {"vocab_size": SIZE, "d_model": SIZE, "max_length": SIZE, "dropout": [*SHARE, 1.0]}),
    "layers.FeedForward": ({"d_model": 4, "d_ff": 8}, {"d_model": SIZE, "d_ff": SIZE}),
    "layers.Layer": ({"dropout": 0.0, "norm_first": True}, {"dropout": [*SHARE, 1.0], "norm_first": SWITCH}),
    "layers.EncoderLayer": (
        {"d_model": 4, "num_heads": 2, "d_ff": 8, "dropout": 0.0, "norm_first": True},
        {"d_model": SIZE, "num_heads": SIZE, "d_ff": SIZE, "dropout": [*SHARE, 1.0], "norm_first": SWITCH}),
    "layers.DecoderLayer": (
        {"d_model": 4, "num_heads": 2, "d_ff": 8, "dropout": 0.0, "norm_first": True},
        {"d_model": SIZE, "num_heads": SIZE, "d_ff": SIZE, "dropout": [*SHARE, 1.0], "norm_first": SWITCH}),
    "transformer.MiniFormer": (
        {"vocab_size": 5, "d_model": 4, "num_heads": 2, "num_layers": 1, "max_length": 6, "d_ff": None},
        {"vocab_size": SIZE, "d_model": SIZE, "num_heads": SIZE, "num_layers": SIZE, "max_length": SIZE,
         "d_ff": OPTIONAL_SIZE, "dropout": [*SHARE, 1.0], "pad_id": [*ID, 5]}),
    "transformer.TransformerConfig": (
        {"source_vocab_size": 5, "target_vocab_size": 5},
        {"source_vocab_size": SIZE, "target_vocab_size": SIZE, "d_model": SIZE, "num_heads": [*SIZE, 5], "d_ff": SIZE,
         "num_layers": SIZE, "dropout": [*SHARE, 1.0], "max_length": SIZE, "norm_first": SWITCH, "pad_id": [*ID, 5],
         "tie_embeddings": SWITCH, "shared_vocabulary": SWITCH, "final_norm": SWITCH}),
    "transformer.Transformer": ({"config": TransformerConfig(5, 5)}, {"config": [None, 5, {"d_model": 4}]}),
    "training.one_cycle": (
        {"step": 0, "total_steps": 9, "warmup": 0.1},
        {"step": ["1", -1], "total_steps": SIZE, "warmup": SHARE}),
    "training.paper_learning_rate": (
        {"step": 1, "d_model": 4, "warmup_steps": 9}, {"step": SIZE[:3], "d_model": SIZE[:3], "warmup_steps": SIZE[:3]}),
    "training.paper_schedule": ({"step": 1, "total_steps": 9}, {"total_steps": SIZE, "warmup": [*SHARE, 0]}),
    "training.token_loss": (
        {"logits": torch.zeros(2, 3, 5), "targets": IDS, "pad_id": 0},
        {"logits": VECTORS, "targets": TOKENS, "pad_id": ID, "label_smoothing": [*SHARE, 1.0]}),
    "training.next_token_loss": ({"model": MiniFormer(5), "tokens": IDS}, {"tokens": TOKENS}),
    "training.seed_everything": ({"seed": 0}, {"seed": ["0", -1, 0.5, None]}),
    "batches.as_tensors": ({"data": IDS, "name": "data"}, {"data": ["x", (), [3], IDS[:0]]}),
    "batches.shuffled_batches": ({"tensors": (IDS,), "batch_size": 1, "shuffler": torch.Generator()}, {"batch_size": SIZE}),
    "batches.WordBatches": (
        {"tensors": (IDS,), "words_per_batch": 9, "pad_id": 0, "accumulate": 1},
        {"words_per_batch": SIZE, "pad_id": [*ID, None], "accumulate": SIZE}),
    "training.evaluate": (
        {"model": MiniFormer(5), "data": IDS},
        {"data": ["x", (), [3], IDS[:0]], "batch_size": SIZE, "words_per_batch": OPTIONAL_SIZE}),
    "training.fit": (
        fit_arguments(),
        {"train": ["x", (), IDS[:0], (IDS, IDS[:1])], "validation": ["x", ()], "epochs": SIZE, "lr": POSITIVE,
         "batch_size": SIZE, "weight_decay": ["1", -0.1, math.nan, None], "clip": POSITIVE[:-1], "seed": ["0", 0.5],
         "words_per_batch": OPTIONAL_SIZE, "accumulate": SIZE, "patience": OPTIONAL_SIZE, "pause_after": OPTIONAL_SIZE,
         "autocast": ["bfloat16", torch.float32, 16], "resume": ["x", 3, {}, History()]}),
    "training.fit_all": ({"jobs": [fit_arguments()]}, {"side_by_side": SIZE}),
    "translation.translation_loss": (
        {"model": None, "source": IDS, "target": IDS}, {"label_smoothing": [*SHARE, 1.0]}),
    "translation.bleu": (
        {"hypotheses": ["a b"], "references": ["a b"]}, {"hypotheses": STRINGS, "references": STRINGS}),
    "translation.exact_match": (
        {"hypotheses": ["a b"], "references": ["a b"]}, {"hypotheses": STRINGS, "references": STRINGS}),
    "translation.exchange_words": (
        {"sources": ["a b"], "train": ParallelText(["a b"], ["x y"], None, [{(0, 0), (1, 1)}])},
        {"sources": ["ab", None, [1], []], "train": ["x", None, ParallelText(["a b"], ["x y"])]}),
    "translation.links_of": ({"weights": [WEIGHTS]}, {"weights": [["x"], [X], [WEIGHTS[:0]]], "lengths": [[], [(9, 9)]]}),
    "translation.error_rate": ({"guess": [{(0, 0)}], "gold": [{(0, 0)}]}, {"guess": [[]], "gold": [[]]}),
    "translation.alignment_error_rate": ({"weights": [WEIGHTS], "gold": [{(0, 0)}]}, {"weights": [["x"]], "gold": [[]]}),
    "translation.diagonal_alignment": ({"source_length": 3, "target_length": 4}, {"source_length": SIZE, "target_length": SIZE}),
    "translation.forced_weights": (
        {"model": nn.ReLU(), "source": IDS, "target": IDS},
        {"source": TOKENS, "target": TOKENS, "batch_size": SIZE, "layer": [1, *OPTIONAL_SIZE], "head": [1, *OPTIONAL_SIZE]}),
    "translation.translate_texts": (
        {"model": None, "source": IDS, "vocabulary": VOCABULARY}, {"source": TOKENS, "batch_size": SIZE}),
    "saving.Translator": (
        {"model": TRANSLATOR, "source_vocabulary": VOCABULARY, "target_vocabulary": VOCABULARY, "source_tokenizer": None,
         "target_tokenizer": Tokenizer(), "source_bos": True},
        {"model": [None, "x", MiniFormer(5)], "source_vocabulary": [None, ["a"], Vocabulary.from_words(["abc"])],
         "target_vocabulary": [None, "ab"], "source_tokenizer": ["x", True], "target_tokenizer": [str], "source_bos": SWITCH}),
    "saving.save_translator": (
        {"path": "x", "translator": None}, {"translator": [None, TRANSLATOR, {"model": 1}]}),
    "saving.load_translator": ({"path": "nowhere"}, {"path": ["nowhere"]}),
    "glyphs.drawable": ({"tokens": ["a"]}, {}),
    "collect.collecting_attention": ({"model": MiniFormer(5)}, {"model": [None, "x", nn.ReLU()]}),
    "collect.collect_attention": ({"model": MiniFormer(5)}, {"model": [None, "x", nn.ReLU()]}),
    "analysis.attention_entropy": ({"weights": WEIGHTS}, {"weights": [*VECTORS, X, WEIGHTS * math.nan], "visible": MASK}),
    "analysis.attention_distance": ({"weights": WEIGHTS}, {"weights": [*VECTORS, X]}),
    "analysis.attention_to_offset": ({"weights": WEIGHTS, "offset": 1}, {"weights": [*VECTORS, X], "offset": ["1", 0.5, None]}),
    "analysis.attention_to_self": ({"weights": WEIGHTS}, {"weights": [*VECTORS, X]}),
    "analysis.attention_to_previous": ({"weights": WEIGHTS}, {"weights": [*VECTORS, X]}),
    "analysis.attention_to_first": ({"weights": WEIGHTS}, {"weights": [*VECTORS, X]}),
    "analysis.attention_to": (
        {"attention": [torch.rand(2, 1, 3, 3)], "query": torch.tensor([0, 1]), "key": torch.tensor([0, 1])},
        {"attention": [["x"], [X], [None]]}),
    "analysis.pick": ({"allowed": X[0] > 0}, {"allowed": ["x", None, X[0], X > 0], "seed": ["0", -1, 0.5, None]}),
    "analysis.word_regression": (
        {"texts": ["a", "b"], "labels": [0, 1]},
        {"texts": ["ab", None, 3, [1, 2]], "labels": [[0], [0, 2]], "penalty": ["1", -1, math.nan, None]}),
    "analysis.NGram": (
        {"n": 2, "words": ["ab"], "k": 1.0}, {"n": SIZE, "k": POSITIVE, "letters": SIZE}),
    "analysis.bootstrap_interval": (
        {"values": [1.0, 2.0]},
        {"values": ["x", None, [1.0], [1.0, math.nan], [[1.0, 2.0]]], "confidence": [*SHARE, 1.0], "resamples": SIZE}),
    "analysis.seed_interval": (
        {"values": [1.0, 2.0]}, {"values": ["x", None, [1.0], [1.0, math.nan], [[1.0, 2.0]]], "confidence": [*SHARE, 1.0]}),
    "analysis.find_leak": (
        {"model": MiniFormer(5).eval(), "tokens": IDS},
        {"model": [lambda tokens: tokens.float(), lambda tokens: torch.full((2, 3, 4), math.nan)], "tokens": TOKENS,
         "pad_id": ID, "tolerance": ["1", -1, math.nan, None]}),
}  # fmt: skip
RESULTS = {  # what functions return; nobody makes one by hand
    "data.Split", "data.ParallelText", "data.Agreement", "data.Labelled", "seq2seq.Memory",
    "seq2seq.DecoderState", "layers.LayerCache", "transformer.Internals", "training.History", "translation.Bleu",
    "collect.Collected", "analysis.Interval", "analysis.Leak",
}  # fmt: skip
ELSEWHERE = {
    "start",
    "plots",
    "diagrams",
    "model_diagrams",
    "bertviz_views",
    "playground",
}  # have tests of their own


def public_names():
    for path in sorted(HELPERS.glob("*.py")):
        if path.stem not in ELSEWHERE | {"__init__"}:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                    yield f"{path.stem}.{node.name}"


def test_every_public_name_is_in_the_table():
    assert set(public_names()) == set(CALLS) | RESULTS


def call(name, arguments):
    module, function = name.split(".")
    made = getattr(importlib.import_module(f"helpers.{module}"), function)(**arguments)
    if inspect.isgenerator(made):
        next(made)
    elif hasattr(made, "__enter__") and name == "collect.collecting_attention":
        with made:
            pass
    return made


CASES = [
    pytest.param(name, argument, value, id=f"{name}-{argument}-{number}")
    for name, (_, wrong) in CALLS.items()
    for argument, values in wrong.items()
    for number, value in enumerate(values)
]


@pytest.mark.parametrize("name, argument, value", CASES)
def test_a_wrong_argument_is_named(name, argument, value):
    with pytest.raises((TypeError, ValueError, FileNotFoundError)) as caught:
        call(name, CALLS[name][0] | {argument: value})
    wanted = r"nowhere" if value == "nowhere" else rf"\b{argument}\b"
    assert re.search(wanted, str(caught.value)), f"{name}({argument}={value!r}): {caught.value}"


@pytest.mark.parametrize("name", [name for name in CALLS if not name.startswith("common.")])
def test_numpy_integers_are_whole_numbers(name):
    arguments, wrong = CALLS[name]
    sizes = {
        key: np.int64(value) for key, value in arguments.items() if wrong.get(key) in (SIZE, OPTIONAL_SIZE) and value
    }
    if sizes:
        call(name, arguments | sizes)


def test_methods_speak_the_same_dialect():
    model = Transformer(TransformerConfig(5, 5, max_length=4)).eval()
    for argument, values in {
        "max_length": [*OPTIONAL_SIZE, 5],
        "beam_size": OPTIONAL_SIZE,
        "temperature": POSITIVE,
    }.items():
        for value in values:
            with pytest.raises((TypeError, ValueError), match=rf"\b{argument}\b"):
                model.generate(IDS, **{argument: value})
    for value in TOKENS:
        with pytest.raises((TypeError, ValueError), match="tokens"):
            MiniFormer(5)(value)
    for value in (TOKENS[0], [9], [-1], [0.5]):
        with pytest.raises((TypeError, ValueError), match="id|str"):
            VOCABULARY.tokens(value)
    for name in ("from_words", "from_sentences"):
        for value in STRINGS:
            with pytest.raises((TypeError, ValueError), match="words|sentences"):
                getattr(Vocabulary, name)(value)
