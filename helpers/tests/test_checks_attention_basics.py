"""The checkers of chapter 1 accept right answers by any route, and reject the stub and plausible wrong ones."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from helpers.checks import attention_basics as checks
from helpers.checks.compare import difference

EXERCISES = {
    "softmax": checks.check_softmax.__self__,
    "attention": checks._attention,
    "causal_mask": checks._causal_mask,
    "padding_mask": checks.check_padding_mask.__self__,
    "layer_norm": checks._layer_norm,
    "position_encoding": checks._position_encoding,
    "block": checks._block,
    "leaks": checks._leaks,
}


def check(name):
    return getattr(checks, f"check_{name}")


# Right answers, each by two routes: the solution's and another.


def softmax_shifted(scores):
    exps = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    return exps / exps.sum(dim=-1, keepdim=True)


def softmax_by_logarithm(scores):
    return (scores - scores.logsumexp(dim=-1, keepdim=True)).exp()


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


def padding_by_comparison(lengths, max_length):
    return torch.arange(max_length) < lengths.view(-1, 1, 1)


def padding_by_loop(lengths, max_length):
    mask = torch.zeros(len(lengths), 1, max_length, dtype=torch.bool)
    for row, length in enumerate(lengths.tolist()):
        mask[row, 0, :length] = True
    return mask


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


def leaks_by_change(attend, x):
    expected = attend(x)
    for position in range(1, len(x)):
        changed = x.clone()
        changed[position] += 1.0
        if bool((attend(changed)[:position] - expected[:position]).abs().max() > 1e-4):
            return True
    return False


def leaks_by_derivative(attend, x):
    jacobian = torch.autograd.functional.jacobian(attend, x)  # (T, d, T, d_model)
    sizes = jacobian.abs().amax(dim=(1, 3))  # (T, T)
    return bool(sizes.triu(1).max() > 1e-4)


def attention_as_a_list(query, key, value, mask=None):
    return list(attention_finite(query, key, value, mask))


def leaks_as_a_tensor(attend, x):
    moved = []
    for position in range(1, len(x)):
        changed = x.clone()
        changed[position] += 1.0
        moved.append((attend(changed) - attend(x))[:position].abs().max())
    return (torch.stack(moved) > 1e-4).any()


RIGHT = {
    "softmax": [softmax_shifted, softmax_by_logarithm],
    "attention": [attention_finite, attention_einsum, attention_as_a_list],
    "causal_mask": [causal_by_comparison, causal_by_loop],
    "padding_mask": [padding_by_comparison, padding_by_loop],
    "layer_norm": [layer_norm_by_hand, layer_norm_pytorch],
    "position_encoding": [encoding_by_slices, encoding_by_loop],
    "block": [block_in_two_branches, block_in_a_loop],
    "leaks": [
        leaks_by_change,
        leaks_by_derivative,
        leaks_as_a_tensor,
        lambda a, x: leaks_as_a_tensor(a, x).numpy()[()],
        lambda a, x: int(leaks_by_change(a, x)),
        lambda a, x: leaks_as_a_tensor(a, x).reshape(1),
    ],
}


def softmax_exps(scores):
    return (scores - scores.amax(dim=-1, keepdim=True)).exp()


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


def leaks_with(moves, limit=1e-4, positions=None, change=slice(None)):
    """Return a leak test that measures each change by `moves(moved)`, a function of the outputs before it."""

    def leaks(attend, x):
        for position in positions(len(x)) if positions else range(1, len(x)):
            changed = x.clone()
            changed[position, change] += 1.0
            if moves((attend(changed) - attend(x))[:position]) > limit:
                return True
        return False

    return leaks


# Wrong answers that are no known mistake: the checker finds them by what they return.
WRONG = {
    "softmax": [
        lambda s: s.sigmoid(),
        lambda s: s.softmax(dim=-1).round(decimals=2),
        lambda s: s.clamp(-80, 80).softmax(dim=-1),
        lambda s: s.softmax(dim=-1).detach(),
        lambda s: s.sub_(s.amax(-1, keepdim=True)).softmax(-1),
        lambda s: s.softmax(dim=-1).tolist(),
        lambda s: (s - s.amax(-1)).softmax(-1),
        lambda s: s.softmax(-1) / (1 + 1e-4),
        lambda s: (e := softmax_exps(s)) / (e.sum(-1, keepdim=True) + 1e-4),
    ],
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
    "padding_mask": [
        lambda n, m: torch.ones(len(n), 1, m, dtype=torch.bool),
        lambda n, m: padding_by_loop(n, m).long(),
        lambda n, m: padding_by_loop(n.sort().values, m),
        lambda n, m: padding_by_loop(n[:1].expand(len(n)), m),
        lambda n, m: padding_by_loop(n.clamp(min=1), m),
        lambda n, m: padding_by_loop(n, m).unsqueeze(1),
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
    "leaks": [
        lambda a, x: bool(a(x)[0].abs().sum() > 0),
        lambda a, x: bool((a(x.flip(0)) - a(x)).abs().max() > 1e-4),
        lambda a, x: bool((a(x[:-1]) - a(x)[:-1]).abs().max() > 5),
        lambda a, x: len(x) > 4,
        lambda a, x: (leaks_by_change(a, x), 0),
        lambda a, x: "True" if leaks_by_change(a, x) else "False",
        leaks_with(lambda moved: moved.max()),
        leaks_with(lambda moved: moved.sum().abs()),
        leaks_with(lambda moved: moved.mean().abs()),
        leaks_with(lambda moved: moved.sum(0).abs().max()),
        leaks_with(lambda moved: moved[:, 0].abs().max()),
        leaks_with(lambda moved: moved.abs().max(), change=0),
        leaks_with(lambda moved: moved.abs().max(), positions=lambda length: (1, length - 1)),
        leaks_with(lambda moved: max(moved[0].abs().max(), moved[-1].abs().max())),
        leaks_with(lambda moved: moved.abs().max(), limit=0.0),
        leaks_with(lambda moved: moved.abs().max(), limit=0.1),
    ],
}


# Right values, and a backward pass that fails.


def softmax_divided_in_place(scores):
    exps = softmax_exps(scores)
    exps /= exps.sum(-1, keepdim=True)
    return exps


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
        ("softmax", softmax_divided_in_place),
        ("attention", attention_masked_in_place),
        ("block", block_added_in_place),
    ],
)
def test_an_in_place_step_is_named_and_does_not_stop_the_notebook(name, answer, capsys):
    assert check(name)(answer) is False
    printed = capsys.readouterr().out
    assert "the values are right, but an in-place step" in printed and "write `x = x / ...`" in printed


def test_another_error_in_the_backward_pass_is_shown(capsys):
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(context, scores):
            return scores.softmax(-1)

        @staticmethod
        def backward(context, gradient):
            raise ValueError("no backward pass here")

    assert checks.check_softmax(Broken.apply) is False
    assert "no backward pass here" in capsys.readouterr().out


@pytest.mark.parametrize("got", [True, 1, 1.0, torch.tensor(True), torch.tensor([1]), np.True_, np.array([True])])
def test_a_boolean_counts_in_every_form(got):
    assert difference(True, got, 0.0) is None and difference(False, got, 0.0)


@pytest.mark.parametrize("got", ["True", 2, 0.5, torch.tensor([True, True]), [True], torch.tensor([0.3])])
def test_what_is_no_boolean_does_not_count_as_one(got):
    assert difference(True, got, 0.0) and difference(False, got, 0.0)


def test_several_numbers_are_no_number():
    assert difference(1.0, torch.ones(2), 1e-5)


@pytest.mark.parametrize(
    ("name", "stub"),
    [("attention", "my_attention"), ("layer_norm", "my_layer_norm"), ("block", "my_block"), ("leaks", "leaks")],
)
def test_messages_use_the_name_of_the_stub(name, stub, capsys):
    check(name)(lambda *arguments: ...)
    assert capsys.readouterr().out == f"not written yet: {stub}\n"
