"""The checkers of chapter 4 accept right answers by any route, and reject the stub and plausible wrong ones."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from helpers.attention import MultiHeadAttention, causal_mask
from helpers.checks import full_transformer as layers
from helpers.checks import transformer_decoding as decoding
from helpers.generation import generate
from helpers.layers import DecoderLayer

EXERCISES = {
    "decoder_layer": layers._decoder_layer,
    "greedy": decoding._greedy,
    "top_k_filter": decoding._top_k_filter,
}


def check(name):
    return getattr(layers, f"check_{name}", None) or getattr(decoding, f"check_{name}")


# Right answers, each by two routes: the solution's and another.


def layer_in_two_branches(x, memory, layer, self_mask, memory_mask):
    if layer.norm_first:
        y = layer.norm_1(x)
        x = x + layer.self_attention(y, y, y, self_mask)[0]
        x = x + layer.cross_attention(layer.norm_2(x), memory, memory, memory_mask)[0]
        return x + layer.feed_forward(layer.norm_3(x))
    x = layer.norm_1(x + layer.self_attention(x, x, x, self_mask)[0])
    x = layer.norm_2(x + layer.cross_attention(x, memory, memory, memory_mask)[0])
    return layer.norm_3(x + layer.feed_forward(x))


def layer_in_a_loop(x, memory, layer, self_mask, memory_mask):
    sublayers = (
        (layer.norm_1, lambda y: layer.self_attention(y, y, y, mask=self_mask)[0]),
        (layer.norm_2, lambda y: layer.cross_attention(y, memory, memory, mask=memory_mask)[0]),
        (layer.norm_3, layer.feed_forward),
    )
    for norm, sublayer in sublayers:
        x = x + sublayer(norm(x)) if layer.norm_first else norm(x + sublayer(x))
    return x


def greedy_by_appending(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    tokens = torch.full((batch_size, 1), bos_id)
    ended = torch.zeros(batch_size, dtype=torch.bool)
    for _ in range(max_length):
        chosen = next_logits(tokens).argmax(dim=-1)
        chosen = chosen.masked_fill(ended, pad_id)
        tokens = torch.cat([tokens, chosen.unsqueeze(1)], dim=1)
        ended = ended | (chosen == eos_id)
        if ended.all():
            break
    return tokens[:, 1:]


def greedy_into_a_table(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    table = torch.full((batch_size, max_length + 1), pad_id)
    table[:, 0] = bos_id
    length = 0
    while length < max_length and not (table == eos_id).any(dim=1).all():
        chosen = next_logits(table[:, : length + 1]).topk(1).indices[:, 0].tolist()
        for row, token in enumerate(chosen):
            if eos_id not in table[row, 1 : length + 1].tolist():
                table[row, length + 1] = token
        length += 1
    return table[:, 1 : length + 1]


def greedy_by_generate(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    def step(last, prefix):
        prefix = torch.cat([prefix, last.unsqueeze(1)], dim=1)
        return next_logits(prefix), prefix

    state = torch.zeros(batch_size, 0, dtype=torch.long)
    return generate(step, state, batch_size, max_length=max_length, bos_id=bos_id, eos_id=eos_id, pad_id=pad_id)[0]


def top_k_by_threshold(logits, k):
    smallest = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < smallest, -math.inf)


def top_k_by_scatter(logits, k):
    best = logits.topk(k, dim=-1)
    return torch.full_like(logits, -math.inf).scatter(-1, best.indices, best.values)


def top_k_by_addition(logits, k):
    dropped = logits.argsort(dim=-1, descending=True, stable=True)[:, k:]
    return logits + torch.zeros_like(logits).scatter(-1, dropped, -math.inf)


RIGHT = {
    "decoder_layer": [layer_in_two_branches, layer_in_a_loop],
    "greedy": [greedy_by_appending, greedy_into_a_table, greedy_by_generate],
    "top_k_filter": [top_k_by_threshold, top_k_by_scatter, top_k_by_addition],
}


# Wrong answers that are no known mistake: the checker finds them by what they return.


def greedy_for_ever(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    tokens = torch.full((batch_size, 1), bos_id)
    while not (tokens == eos_id).any(dim=1).all():
        tokens = torch.cat([tokens, next_logits(tokens).argmax(-1, keepdim=True)], dim=1)
    return tokens[:, 1:]


def greedy_of_flat_tokens(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    return next_logits(torch.full((batch_size,), bos_id))


def top_k_in_place(logits, k):
    return logits.masked_fill_(logits < logits.topk(k, dim=-1).values[:, -1:], -math.inf)


WRONG = {
    "decoder_layer": [
        lambda x, m, layer, a, b: x,
        lambda x, m, layer, a, b: layer_in_a_loop(x, m, layer, a, b).detach(),
        lambda x, m, layer, a, b: layer_in_a_loop(x, m.detach(), layer, a, b),
        lambda x, m, layer, a, b: layer_in_a_loop(m, x, layer, a, b),
        lambda x, m, layer, a, b: (layer_in_a_loop(x, m, layer, a, b), None),
        lambda x, m, layer, a, b: layer_in_a_loop(x, m, layer, a if a is None else ~a, b),
        lambda x, m, layer, a, b: x.add_(layer_in_a_loop(x, m, layer, a, b)),
        lambda x, m, layer, a, b: x + layer.self_attention(x, x, x, a),
    ],
    "greedy": [
        greedy_for_ever,
        greedy_of_flat_tokens,
        lambda *a: greedy_by_appending(*a).tolist(),
        lambda *a: greedy_by_appending(*a).T,
        lambda *a: greedy_by_appending(*a).flip(1),
        lambda *a: greedy_by_appending(*a[:3], 1, 2, 0),
        lambda f, *a: greedy_by_appending(lambda tokens: f(tokens.float()), *a),
    ],
    "top_k_filter": [
        top_k_in_place,
        lambda x, k: top_k_by_threshold(x, 1),
        lambda x, k: top_k_by_threshold(x, k).tolist(),
        lambda x, k: top_k_by_threshold(x, k)[:1],
        lambda x, k: top_k_by_threshold(x, k).nan_to_num(neginf=-1e30),
        lambda x, k: top_k_by_threshold(x, k).sort(-1).values,
        lambda x, k: top_k_by_threshold(x, x.size(-1) - k),
    ],
}


@pytest.mark.parametrize("name", ["greedy"])
def test_a_loop_without_an_end_is_ended_and_named(name, capsys):
    assert check(name)(WRONG[name][0]) is False
    assert "does the loop end?" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "answer"), [
    ("top_k_filter", top_k_in_place),
])  # fmt: skip
def test_a_changed_input_is_named(name, answer, capsys):
    assert check(name)(answer) is False
    assert "an input was changed" in capsys.readouterr().out


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_layer_agrees_with_helpers_and_with_pytorch(norm_first):
    torch.manual_seed(0)
    theirs = nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=norm_first).double()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    x, memory = torch.randn(2, 4, 8, dtype=torch.double), torch.randn(2, 5, 8, dtype=torch.double)
    hidden = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    expected = theirs(x, memory, tgt_mask=~causal_mask(4), memory_key_padding_mask=hidden)
    layer = SimpleNamespace(
        self_attention=MultiHeadAttention.from_torch(theirs.self_attn),
        cross_attention=MultiHeadAttention.from_torch(theirs.multihead_attn),
        feed_forward=nn.Sequential(theirs.linear1, nn.ReLU(), theirs.linear2),
        norm_1=theirs.norm1, norm_2=theirs.norm2, norm_3=theirs.norm3, norm_first=norm_first,
    )  # fmt: skip
    own = DecoderLayer(8, 2, 16, norm_first=norm_first)
    for answer in RIGHT["decoder_layer"]:
        got = answer(x, memory, layer, causal_mask(4), ~hidden.unsqueeze(1))
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)
        y, m = torch.randn(2, 4, 8), torch.randn(2, 5, 8)
        torch.testing.assert_close(answer(y, m, own, causal_mask(4), None), own(y, m, causal_mask(4))[0])


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_either_way_with_ties_is_right_but_not_more_or_less(k, capsys):
    logits = torch.tensor([[5.0, 5.0, 5.0, 1.0]])
    assert decoding._top_k_valid(logits, k, top_k_by_scatter(logits, k))
    assert decoding._top_k_valid(logits, k, top_k_by_threshold(logits, k))
    assert k == 4 or not decoding._top_k_valid(logits, k, logits)
    assert not decoding._top_k_valid(logits, k, torch.full_like(logits, -math.inf))
