"""What users of similar projects report as silently wrong: the right value, kept as a test."""

import copy
import json
import math
import pickle
import threading
import time

import pytest
import torch
from torch import nn

from helpers.batches import shuffled_batches
from helpers.bertviz_views import head_views, load_attention, save_attention
from helpers.collect import collect_attention, collecting_attention
from helpers.common import evaluating
from helpers.data import load_parallel
from helpers.generation import generate
from helpers.layers import TokenEmbedding
from helpers.seq2seq import Seq2Seq
from helpers.training import evaluate, fit, fit_all, token_loss
from helpers.transformer import MiniFormer, Transformer, TransformerConfig

IDS = torch.tensor([[1, 3, 2, 0], [1, 4, 3, 2]])


def epoch(*tensors, pad_id=None):
    return list(shuffled_batches(tensors, 2, torch.Generator().manual_seed(0), pad_id))


def test_nothing_is_cut_that_is_not_known_to_be_padding():
    left = torch.tensor([[0, 0, 5, 6], [0, 7, 8, 9]])
    labels, masks = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0]]), torch.tensor([[True, False, False, False]] * 2)
    for pad_id in (None, 0, 9):
        (ids, columns, booleans), = epoch(left, labels, masks, pad_id=pad_id)  # fmt: skip
        assert ids.shape == columns.shape == booleans.shape == (2, 4)
    (ids, columns), = epoch(IDS % 4, labels, pad_id=3)  # fmt: skip
    assert ids.shape == columns.shape == (2, 4)
    short = torch.tensor([[1, 2, 0, 0], [1, 0, 0, 0]])
    (ids, columns), = epoch(short, labels, pad_id=0)  # fmt: skip
    assert ids.shape == columns.shape == (2, 2), "labels stay as wide as their ids"


def test_training_uses_the_models_own_padding():
    seen = []

    class Model(nn.Module):
        pad_id = 9

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

    def loss(model, ids):
        seen.append(ids.clone())
        return model.weight * ids.sum(), torch.tensor(ids.numel())

    fit(Model(), torch.tensor([[0, 0, 0, 9]]), IDS, loss, epochs=1, lr=1e-3, progress=False)
    assert seen[0].tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("make", [
    lambda: Transformer(TransformerConfig(5, 5)), lambda: Seq2Seq(5, 5, 4), lambda: MiniFormer(5)])  # fmt: skip
def test_padding_on_the_left_is_refused(make):
    left = torch.tensor([[0, 3, 4]])
    inputs = (left,) if isinstance(model := make(), MiniFormer) else (left, IDS[:1])
    with pytest.raises(ValueError, match="row 0 is .* must stand on the right"):
        model(*inputs)


def test_the_loss_of_a_half_precision_model_does_not_depend_on_the_batch_size():
    torch.manual_seed(0)
    model, ids = MiniFormer(30).to(torch.bfloat16), torch.randint(3, 30, (300, 8))
    losses = [evaluate(model, ids, batch_size=size) for size in (300, 100)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    logits = torch.randn(64, 16, 30).to(torch.float16)
    exact = token_loss(logits.double(), torch.ones(64, 16, dtype=torch.long), 0)[0]
    assert float(token_loss(logits, torch.ones(64, 16, dtype=torch.long), 0)[0]) == pytest.approx(
        float(exact), rel=1e-4
    )


@pytest.mark.parametrize("wrong", [{"clip": 0}, {"clip": -1}, {"weight_decay": -0.1}])
def test_numbers_that_would_stop_or_reverse_learning_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        fit(MiniFormer(5), IDS, IDS, epochs=1, lr=1e-3, progress=False, **wrong)


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_logits_that_are_no_numbers_are_no_translation(strategy):
    with pytest.raises(FloatingPointError, match="logits hold NaN"):
        generate(
            lambda tokens, state: (torch.full((len(tokens), 5), math.nan), state),
            None,
            2,
            max_length=3,
            strategy=strategy,
        )


def test_a_model_of_nan_is_blamed_before_the_learning_rate():
    model = MiniFormer(5)
    nn.init.constant_(model.output.weight, math.nan)
    with pytest.raises(FloatingPointError, match="before the first step: look at the model's weights"):
        fit(model, IDS, IDS, epochs=1, lr=1e-3, progress=False)


def test_frozen_parts_stay_in_evaluation_mode():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3)).train()
    model[1].eval()
    with evaluating(model):
        assert not model[0].training
    assert model.training and model[0].training and not model[1].training


def test_a_model_made_on_meta_and_loaded_computes_the_same():
    real = MiniFormer(5).eval()
    with torch.device("meta"):
        empty = MiniFormer(5).eval()
    empty = empty.to_empty(device="cpu")
    empty.load_state_dict(real.state_dict())
    assert torch.equal(empty(IDS), real(IDS))
    embed = TokenEmbedding(5, 4, 6)
    assert embed.double()(IDS).dtype == torch.float64 and embed.bfloat16()(IDS).dtype == torch.bfloat16


class Louder(nn.MultiheadAttention):
    def forward(self, *inputs, **named):
        output, weights = super().forward(*inputs, **named)
        return 2 * output, weights


def test_collecting_leaves_copies_pickles_subclasses_and_itself_alone():
    x = torch.randn(1, 3, 8)
    model = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    with collecting_attention(model) as outer:
        twin = copy.deepcopy(model)
        again = pickle.loads(pickle.dumps(model))
        twin(x)
        again(x)
        assert outer == {}
        with collecting_attention(model) as inner:
            model(x)
        assert torch.equal(inner["self_attn"], outer["self_attn"])
    twin(x)
    assert set(outer) == {"self_attn"}
    louder = Louder(8, 2, batch_first=True)
    assert collect_attention(louder, x, x, x).attention["Louder"].shape == (1, 2, 3, 3)


def test_lines_end_where_an_editor_says_so(tmp_path):
    odd = ["a\u2028b", "c\u0085d", "e\x0cf", "g\u00a0h\u3000i"]
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.xx").write_bytes(("\ufeff" + "\r\n".join(odd) + "\r\n").encode())
        (tmp_path / f"{split}.yy").write_bytes(b"j\nk\nl\nm")
        (tmp_path / f"._{split}.xx").write_bytes(b"\x00\x05\x16\x07")
    corpus = load_parallel(tmp_path)
    assert set(corpus) == {"train", "dev", "test"}
    assert corpus["train"].source == ["a b", "c d", "e f", "g h i"] and corpus["train"].target == ["j", "k", "l", "m"]


def test_stop_reaches_every_model_within_a_batch():
    batches = []

    def job(seconds):
        def loss(model, ids):
            time.sleep(seconds)
            if seconds == 0:
                raise RuntimeError("stop")
            batches.append(ids)
            return model(ids).sum(), torch.tensor(1)

        return {"model": MiniFormer(5), "train": IDS.repeat(400, 1), "validation": IDS, "loss": loss, "epochs": 9, "lr": 1e-3,
                "batch_size": 2}  # fmt: skip

    with pytest.raises(RuntimeError, match="stop"):
        fit_all([job(0.05), job(0)])
    assert len(batches) < 100  # of 3,600 and more
    assert threading.active_count() < 20


WEIGHTS = [torch.full((1, 2, 3, 3), 1 / 3)]


@pytest.mark.parametrize("arguments, says", [
    ({"attention": {"layer": WEIGHTS[0]}, "tokens": list("abc")}, "attention is dict; it must be a list"),
    ({"attention": [WEIGHTS[0].repeat(2, 1, 1, 1)], "tokens": list("abc")}, "attention, layer 1, holds a batch of 2"),
    ({"attention": [WEIGHTS[0][0]], "tokens": list("abc")}, r"attention, layer 1 has shape \(2, 3, 3\)"),
    ({"attention": WEIGHTS, "tokens": [1, 2, 3]}, r"tokens is \[1, 2, 3\]; it must be a list of strings"),
    ({"attention": WEIGHTS, "tokens": "abc"}, "tokens is 'abc'; it must be a list of strings"),
    ({"attention": WEIGHTS, "tokens": list("ab")}, "tokens holds 2 tokens"),
    ({"cross_attention": WEIGHTS, "encoder_tokens": list("abc"), "decoder_tokens": list("ab")}, "decoder_tokens holds 2"),
    ({"tokens": list("abc")}, "attention is missing"),
])  # fmt: skip
def test_a_view_names_what_is_wrong(arguments, says):
    with pytest.raises((TypeError, ValueError), match=says):
        head_views({"": arguments})


def test_tokens_are_data_and_never_markup():
    tokens = ["</script>", "$$", "<b>"]
    page = head_views({"": {"attention": WEIGHTS, "tokens": tokens}}).data.replace("&quot;", '"').replace("&amp;", "&")
    assert "\\u003c/script>" in page and "\\u003cb>" in page and '"$$"' in page
    assert json.loads(r'["\u003c/script>", "\u003cb>"]') == ["</script>", "<b>"]
    plain = head_views({"": {"attention": WEIGHTS, "tokens": list("abc")}}).data
    assert page.count("</script>") == plain.count("</script>")


def test_saved_weights_can_be_read_by_others(tmp_path):
    path, plain = tmp_path / "weights.json", tmp_path / "plain.txt"
    save_attention(path, WEIGHTS, list("abc"))
    plain.write_text("", encoding="utf-8")
    assert path.stat().st_mode == plain.stat().st_mode
    assert torch.equal(load_attention(path)[0][0], WEIGHTS[0][0])
