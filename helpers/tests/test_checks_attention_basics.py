"""The checkers of chapter 1 accept right answers by any route, and reject the stub and plausible wrong ones."""

import math

import pytest
import torch
from torch.nn import functional as F

from helpers.checks import attention_basics as checks

EXERCISES = {
    "attention": checks._attention,
    "causal_mask": checks._causal_mask,
    "layer_norm": checks._layer_norm,
    "position_encoding": checks._position_encoding,
    "block": checks._block,
}


def check(name):
    return getattr(checks, f"check_{name}")


# Right answers, each by two routes: the solution's and another.


def attention_finite(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ value, weights


def attention_einsum(query, key, value, mask=None):
    scores = torch.einsum("...qd,...kd->...qk", query * query.size(-1) ** -0.5, key)
    allowed = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand(scores.shape)
    empty = ~allowed.any(-1, keepdim=True)
    exps = torch.where(allowed, scores, -torch.inf).masked_fill(empty, 0.0).softmax(-1) * ~empty
    return torch.einsum("...qk,...kd->...qd", exps, value), exps


def causal_by_comparison(length):
    return torch.arange(length).unsqueeze(1) >= torch.arange(length)


def causal_by_loop(length):
    return torch.tensor([[j <= i for j in range(length)] for i in range(length)])


def layer_norm_by_hand(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return weight * centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps) + bias


def layer_norm_pytorch(x, weight, bias, eps):
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def encoding_by_slices(length, d_model):
    angle = torch.arange(length).unsqueeze(1) / 10000 ** (torch.arange(0, d_model, 2) / d_model)
    encoding = torch.empty(length, d_model)
    encoding[:, 0::2], encoding[:, 1::2] = angle.sin(), angle[:, : d_model // 2].cos()
    return encoding


def encoding_by_loop(length, d_model):
    encoding = torch.zeros(length, d_model)
    for p in range(length):
        for c in range(d_model):
            angle = p / 10000 ** ((c - c % 2) / d_model)
            encoding[p, c] = math.cos(angle) if c % 2 else math.sin(angle)
    return encoding


def block_in_two_branches(x, attend, feed_forward, norm_1, norm_2, norm_first):
    if norm_first:
        x = x + attend(norm_1(x))
        return x + feed_forward(norm_2(x))
    x = norm_1(x + attend(x))
    return norm_2(x + feed_forward(x))


def block_in_a_loop(x, attend, feed_forward, norm_1, norm_2, norm_first):
    for sublayer, norm in ((attend, norm_1), (feed_forward, norm_2)):
        x = torch.add(x, sublayer(norm(x))) if norm_first else norm(sublayer(x) + x)
    return x


def attention_as_a_list(query, key, value, mask=None):
    return list(attention_finite(query, key, value, mask))


RIGHT = {
    "attention": [attention_finite, attention_einsum, attention_as_a_list],
    "causal_mask": [causal_by_comparison, causal_by_loop],
    "layer_norm": [layer_norm_by_hand, layer_norm_pytorch],
    "position_encoding": [encoding_by_slices, encoding_by_loop],
    "block": [block_in_two_branches, block_in_a_loop],
}


def attention_filled(query, key, value, mask=None, number=-100.0):
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    if mask is None:
        return scores.softmax(-1) @ value, scores.softmax(-1)
    weights = scores.masked_fill(~mask, number).softmax(-1) * mask
    return weights @ value, weights


def attention_with_turned_mask(query, key, value, mask=None):
    turned = mask.transpose(1, 2) if mask is not None and mask.dim() == 3 else mask
    return attention_finite(query, key, value, turned)


def attention_of_square_scores(query, key, value, mask=None):
    return attention_finite(query, key[..., : query.size(-2), :], value[..., : query.size(-2), :], mask)


def layer_norm_detached(x, weight, bias, eps, which):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    mean = mean.detach() if "mean" in which else mean
    variance = variance.detach() if "variance" in which else variance
    return weight * (x - mean) / torch.sqrt(variance + eps) + bias


def layer_norm_without_keepdim_on_squares(x, weight, bias, eps):
    if x.dim() == 2 and x.size(0) == x.size(1):
        return weight * (x - x.mean(-1)) / torch.sqrt(x.var(-1, unbiased=False) + eps) + bias
    return layer_norm_by_hand(x, weight, bias, eps)


# Wrong answers that are no known mistake: the checker finds them by what they return.
WRONG = {
    "attention": [
        lambda q, k, v, m=None: attention_finite(q, k, v, m)[0],
        lambda q, k, v, m=None: attention_finite(k, q, v, m),
        lambda q, k, v: attention_finite(q, k, v),
        lambda q, k, v, m=None: attention_finite(q, k, v.detach(), m),
        lambda q, k, v, m=None: (F.scaled_dot_product_attention(q, k, v, attn_mask=m), q),
        lambda q, k, v, m=None: attention_finite(q.clamp(-3, 3), k, v, m),
        lambda q, k, v, m=None: attention_finite(q, k, v, m if m is None or m.dim() > 2 else m.T),
        attention_filled,
        lambda q, k, v, m=None: attention_filled(q, k, v, m, -1e5),
        attention_with_turned_mask,
        attention_of_square_scores,
        lambda q, k, v, m=None: attention_finite(q, k, v, m if m is None or m.dim() > 1 else m.unsqueeze(-1)),
    ],
    "causal_mask": [
        lambda n: torch.ones(n, n, dtype=torch.bool),
        lambda n: torch.eye(n, dtype=torch.bool),
        lambda n: torch.ones(n, n, dtype=torch.bool).tril(1),
        lambda n: causal_by_loop(n).tolist(),
        lambda n: causal_by_loop(n - 1),
    ],
    "layer_norm": [
        lambda x, w, b, e: (x - x.mean(-1)) / x.std(-1),
        lambda x, w, b, e: w * (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + e) + b,
        lambda x, w, b, e: layer_norm_pytorch(x, w, b, 1e-5),
        lambda x, w, b, e: layer_norm_pytorch(x, w, b, e) - b,
        lambda x, w, b, e: w * x / torch.sqrt((x**2).mean(-1, keepdim=True) + e) + b,
        lambda x, w, b, e: x,
        lambda x, w, b, e: layer_norm_pytorch(x, b, w, e),
        lambda x, w, b, e: layer_norm_detached(x, w, b, e, "mean and variance"),
        lambda x, w, b, e: layer_norm_detached(x, w, b, e, "mean"),
        lambda x, w, b, e: layer_norm_detached(x, w, b, e, "variance"),
        layer_norm_without_keepdim_on_squares,
    ],
    "position_encoding": [
        lambda n, d: torch.zeros(n, d),
        lambda n, d: encoding_by_slices(n, d).cumsum(0),
        lambda n, d: encoding_by_slices(n, d)[:, : d // 2 * 2],
        lambda n, d: encoding_by_slices(n, d) * math.sqrt(d),
        lambda n, d: torch.sin(torch.arange(n).unsqueeze(1) / 10000 ** (torch.arange(d) / d)),
        lambda n, d: encoding_by_slices(n, 2 * d)[:, :d],
    ],
    "block": [
        lambda x, a, f, n, m, first: x,
        lambda x, a, f, n, m, first: block_in_a_loop(x, a, f, m, n, first),
        lambda x, a, f, n, m, first: block_in_a_loop(x, a, a, n, m, first),
        lambda x, a, f, n, m, first: block_in_a_loop(x, a, f, n, m, first).detach(),
        lambda x, a, f, n, m, first: n(block_in_a_loop(x, a, f, n, m, first)),
        lambda x, a, f, n, m, first: block_in_a_loop(x, a, lambda y: 0 * y, n, m, first),
    ],
}


# Right values, and a backward pass that fails.


def attention_masked_in_place(query, key, value, mask=None):
    if mask is None:
        return attention_finite(query, key, value)
    weights = (query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))).masked_fill(~mask, -1e30).softmax(-1)
    weights *= mask
    return weights @ value, weights


def block_added_in_place(x, attend, feed_forward, norm_1, norm_2, norm_first):
    x = x.clone()
    if norm_first:
        x += attend(norm_1(x))
        x += feed_forward(norm_2(x))
        return x
    x = norm_1(x + attend(x))
    return norm_2(x + feed_forward(x))


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("attention", attention_masked_in_place),
        ("block", block_added_in_place),
    ],
)
def test_an_in_place_step_is_named_and_does_not_stop_the_notebook(name, answer, capsys):
    assert check(name)(answer) is False
    printed = capsys.readouterr().out
    assert "the values are right, but an in-place step" in printed and "write `x = x / ...`" in printed


@pytest.mark.parametrize(
    ("name", "stub"),
    [("attention", "my_attention"), ("layer_norm", "my_layer_norm"), ("block", "my_block")],
)
def test_messages_use_the_name_of_the_stub(name, stub, capsys):
    check(name)(lambda *arguments: ...)
    assert capsys.readouterr().out == f"not written yet: {stub}\n"
