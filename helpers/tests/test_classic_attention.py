"""Additive and multiplicative attention: against hand-written loops, against each other, and under masks."""

import math

import pytest
import torch

from helpers.attention import masked_softmax, padding_mask
from helpers.classic_attention import AdditiveAttention, MultiplicativeAttention

torch.manual_seed(0)
QUERY, KEYS = torch.randn(3, 4, 6), torch.randn(3, 5, 6)
TOKENS = torch.tensor([[5, 4, 3, 0, 0], [5, 4, 3, 2, 1], [5, 0, 0, 0, 0]])
MASK = padding_mask(TOKENS, 0)  # (3, 1, 5)
MODULES = {
    "additive": lambda: AdditiveAttention(6, 6, 7),
    "dot": lambda: MultiplicativeAttention(6, 6, "dot"),
    "general": lambda: MultiplicativeAttention(6, 6, "general"),
    "concat": lambda: MultiplicativeAttention(6, 6, "concat"),
}


@pytest.fixture(params=MODULES)
def module(request):
    torch.manual_seed(1)
    return MODULES[request.param]()


def by_hand(score, query, keys, mask):
    """The definition, one number at a time: context and weights of one query (D_q,) over keys (T_k, D_k)."""
    exps = [math.exp(float(score(query, k))) if allowed else 0.0 for k, allowed in zip(keys, mask)]
    weights = torch.tensor([e / sum(exps) for e in exps])
    return sum(w * k for w, k in zip(weights, keys)), weights


@torch.no_grad()
def test_each_equals_its_formula():
    additive, general, concat = (MODULES[name]() for name in ("additive", "general", "concat"))
    formulas = [
        (additive, lambda q, k: additive.v.weight[0] @ (additive.query_proj.weight @ q + additive.key_proj.weight @ k).tanh()),
        (MODULES["dot"](), lambda q, k: q @ k),
        (general, lambda q, k: q @ general.key_proj.weight @ k),
        (concat, lambda q, k: concat.v.weight[0] @ (concat.pair_proj.weight @ torch.cat([q, k])).tanh()),
    ]  # fmt: skip
    for module, score in formulas:
        context, weights = module(QUERY, KEYS, MASK)
        assert context.shape == (3, 4, 6) and weights.shape == (3, 4, 5)
        for b in range(3):
            for i in range(4):
                expected, expected_weights = by_hand(score, QUERY[b, i], KEYS[b], MASK[b, 0])
                torch.testing.assert_close(weights[b, i], expected_weights)
                torch.testing.assert_close(context[b, i], expected)


@torch.no_grad()
def test_general_with_the_identity_is_dot():
    dot, general = MODULES["dot"](), MODULES["general"]()
    general.key_proj.weight.copy_(torch.eye(6))
    for a, b in zip(dot(QUERY, KEYS, MASK), general(QUERY, KEYS, MASK)):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


@torch.no_grad()
def test_concat_is_additive_with_its_matrix_cut_in_two():
    concat = MultiplicativeAttention(6, 4, "concat")
    additive = AdditiveAttention(6, 4, 6)
    additive.query_proj.weight.copy_(concat.pair_proj.weight[:, :6])
    additive.key_proj.weight.copy_(concat.pair_proj.weight[:, 6:])
    additive.v.weight.copy_(concat.v.weight)
    for a, b in zip(concat(QUERY, KEYS[..., :4], MASK), additive(QUERY, KEYS[..., :4], MASK)):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_padding_never_gets_weight(module):
    huge = KEYS.masked_fill(~MASK.transpose(1, 2), 1e4)  # keys at padding that would win every softmax
    context, weights = module(QUERY, huge, MASK)
    assert (weights.masked_select(~MASK.expand_as(weights)) == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4))
    torch.testing.assert_close(context, module(QUERY, KEYS, MASK)[0])


def test_a_query_that_may_attend_to_nothing_gets_zeros_and_no_nan_in_the_gradient(module):
    query = QUERY.clone().requires_grad_()
    context, weights = module(query, KEYS, torch.zeros(3, 1, 5, dtype=torch.bool))
    assert (weights == 0).all() and (context == 0).all()
    context.sum().backward()
    assert query.grad.isfinite().all()


def test_one_step_equals_many(module):
    context, weights = module(QUERY, KEYS, MASK)
    projected = module.project_keys(KEYS)
    for t in range(4):
        for mask in (MASK, MASK.squeeze(1)):
            one_context, one_weights = module(QUERY[:, t], KEYS, mask, projected)
            assert one_context.shape == (3, 6) and one_weights.shape == (3, 5)
            torch.testing.assert_close(one_context, context[:, t])
            torch.testing.assert_close(one_weights, weights[:, t])


def test_widths_may_differ_and_gradients_reach_every_parameter():
    for module in (AdditiveAttention(6, 4, 3), *(MultiplicativeAttention(6, 4, s) for s in ("general", "concat"))):
        context, weights = module(QUERY, KEYS[..., :4], MASK)
        assert context.shape == (3, 4, 4) and weights.shape == (3, 4, 5)
        context.pow(2).sum().backward()
        assert all(p.grad.abs().max() > 0 for p in module.parameters())


def test_meta(module):
    context, weights = module.to("meta")(QUERY.to("meta"), KEYS.to("meta"), MASK.to("meta"))
    assert context.is_meta and weights.shape == (3, 4, 5)


def test_masked_softmax_without_a_mask_is_softmax():
    assert torch.equal(masked_softmax(QUERY), QUERY.softmax(-1))


BAD = {
    "unknown score": (lambda: MultiplicativeAttention(6, 6, "cosine"), ValueError, "score='cosine' is not one of dot"),
    "dot of unequal widths": (lambda: MultiplicativeAttention(6, 4, "dot"), ValueError, "query_size=6 and key_size=4"),
    "no width": (lambda: AdditiveAttention(0, 6, 6), ValueError, "query_size=0 must be a positive whole number"),
    "broken width": (lambda: AdditiveAttention(6, 6, 2.5), TypeError, "hidden_size=2.5 must be"),
    "query of another width": (
        lambda: AdditiveAttention(5, 6, 6)(QUERY, KEYS),
        ValueError,
        r"query has shape \(3, 4, 6\); it must be \(B, T_q, 5\)",
    ),
    "keys of rank 2": (lambda: MODULES["dot"]()(QUERY, KEYS[0]), ValueError, r"keys has shape \(5, 6\)"),
    "no keys": (lambda: MODULES["dot"]()(QUERY, KEYS[:, :0]), ValueError, "not empty"),
    "batches that differ": (lambda: MODULES["dot"]()(QUERY[:2], KEYS), ValueError, "query has a batch of 2, keys of 3"),
    "ids": (lambda: MODULES["dot"]()(QUERY.long(), KEYS.long()), TypeError, "query has dtype torch.int64"),
    "mask of numbers": (lambda: MODULES["dot"]()(QUERY, KEYS, MASK.float()), TypeError, "mask is torch.float32"),
    "mask that does not fit": (lambda: MODULES["dot"]()(QUERY, KEYS, MASK[..., :4]), ValueError, "does not broadcast"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
