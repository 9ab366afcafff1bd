"""Attention against PyTorch's: with copied weights the two agree."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers.attention import MultiHeadAttention, causal_mask, padding_mask, scaled_dot_product_attention


def random_mask(*shape):
    """A boolean mask in which every query may attend to at least one key."""
    mask = torch.rand(shape) < 0.6
    mask[..., 0] = True
    return mask


@pytest.mark.parametrize("seed", range(20))
def test_scaled_dot_product_attention_equals_pytorch(seed):
    torch.manual_seed(seed)
    b, h, t_q, t_k, d = (int(torch.randint(1, 9, ())) for _ in range(5))
    q, k, v = torch.randn(b, h, t_q, d), torch.randn(b, h, t_k, d), torch.randn(b, h, t_k, d + 1)
    for mask in (None, random_mask(t_q, t_k), random_mask(b, 1, t_q, t_k)):
        output, weights = scaled_dot_product_attention(q, k, v, mask)
        torch.testing.assert_close(output, F.scaled_dot_product_attention(q, k, v, attn_mask=mask), atol=1e-6, rtol=0)
        torch.testing.assert_close(weights.sum(-1), torch.ones(b, h, t_q))
        if mask is not None:
            assert weights.masked_select(~mask).eq(0).all()


def test_a_query_with_nothing_to_attend_to_gets_zeros_and_a_finite_gradient():
    q, k, v = (torch.randn(1, 3, 4, requires_grad=True) for _ in range(3))
    mask = torch.tensor([[True, False, False], [False, False, False], [True, True, True]])
    output, weights = scaled_dot_product_attention(q, k, v, mask)
    assert weights[0, 1].eq(0).all() and output[0, 1].eq(0).all()
    output.sum().backward()
    assert all(x.grad.isfinite().all() for x in (q, k, v))


@pytest.mark.parametrize("need_weights", [True, False])
def test_multi_head_attention_with_a_fully_masked_row_is_finite_either_way(need_weights):
    torch.manual_seed(0)
    attention = MultiHeadAttention(8, 2)
    x = torch.randn(2, 3, 8, requires_grad=True)
    mask = causal_mask(3)
    mask[1] = False
    output, _ = attention(x, x, x, mask, need_weights)
    torch.testing.assert_close(output[:, 1], attention.out_proj.bias.expand(2, 8))
    output.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_multi_head_attention_equals_pytorch(seed, bias):
    torch.manual_seed(seed)
    heads, width = [(1, 4), (2, 8), (4, 8), (8, 16)][seed % 4]
    b, t_q, t_k = (int(torch.randint(1, 9, ())) for _ in range(3))
    kdim, vdim = (None, None) if seed % 2 else (width + 3, width + 1)
    theirs = nn.MultiheadAttention(width, heads, bias=bias, batch_first=True, kdim=kdim, vdim=vdim).eval()
    if bias:
        nn.init.normal_(theirs.in_proj_bias)
        nn.init.normal_(theirs.out_proj.bias)
    ours = MultiHeadAttention.from_torch(theirs)
    query, key, value = (
        torch.randn(b, t_q, width),
        torch.randn(b, t_k, kdim or width),
        torch.randn(b, t_k, vdim or width),
    )
    padding = random_mask(b, t_k)
    for mask in (None, random_mask(t_q, t_k)):
        for keys in (None, padding):
            expected, expected_weights = theirs(
                query, key, value,
                attn_mask=None if mask is None else ~mask,
                key_padding_mask=None if keys is None else ~keys,
                average_attn_weights=False,
            )  # fmt: skip
            together = mask
            if keys is not None:
                together = keys[:, None] if mask is None else keys[:, None] & mask
            if together is not None and not together.expand(b, t_q, t_k).any(-1).all():
                continue  # PyTorch answers NaN where nothing may be attended to
            for need_weights in (True, False):
                output, weights = ours(query, key, value, together, need_weights)
                torch.testing.assert_close(output, expected, atol=1e-6, rtol=0)
            _, weights = ours(query, key, value, together)
            torch.testing.assert_close(weights, expected_weights, atol=1e-6, rtol=0)


def test_double_precision_agrees_to_twelve_digits():
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(32, 4, batch_first=True, dtype=torch.float64).eval()
    x = torch.randn(3, 7, 32, dtype=torch.float64)
    torch.testing.assert_close(
        MultiHeadAttention.from_torch(theirs)(x, x, x)[0], theirs(x, x, x)[0], atol=1e-12, rtol=0
    )


def test_self_attention_is_one_module_whatever_the_layout():
    theirs = nn.MultiheadAttention(8, 2).eval()  # (T, B, d_model)
    x = torch.randn(2, 5, 8)
    expected = theirs(*[x.transpose(0, 1)] * 3)[0].transpose(0, 1)
    torch.testing.assert_close(MultiHeadAttention.from_torch(theirs)(x, x, x)[0], expected, atol=1e-6, rtol=0)


def test_dropout_acts_in_training_only_and_the_weights_are_those_used():
    torch.manual_seed(0)
    attention = MultiHeadAttention(8, 2, dropout=0.5)
    x = torch.randn(4, 6, 8)
    output, weights = attention(x, x, x)
    assert (weights == 0).any()
    heads = attention._split(attention.value_proj(x))
    torch.testing.assert_close(attention.out_proj((weights @ heads).transpose(1, 2).flatten(2)), output)
    attention.eval()
    assert (attention(x, x, x)[1] > 0).all()


def test_masks():
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    tokens = torch.tensor([[1, 5, 2], [1, 2, 0]])
    assert padding_mask(tokens, 0).tolist() == [[[True, True, True]], [[True, True, False]]]
    assert (causal_mask(3) & padding_mask(tokens, 0)).shape == (2, 3, 3)
