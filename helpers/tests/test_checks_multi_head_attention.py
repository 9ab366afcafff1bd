"""The checkers of chapter 3 accept right answers by any route, and reject the stub and plausible wrong ones."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers.attention import scaled_dot_product_attention
from helpers.checks import multi_head_attention as checks

EXERCISES = {
    "split_heads": checks._split_heads,
    "join_heads": checks._join_heads,
    "by_loop": checks._by_loop,
    "fused": checks._fused,
}


def check(name):
    return getattr(checks, f"check_{name}")


# Right answers, each by two routes: the solution's and another.


def split_by_unflatten(x, num_heads):
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def split_by_chunks(x, num_heads):
    return torch.stack(x.chunk(num_heads, dim=-1), dim=1)


def join_by_flatten(heads):
    return heads.transpose(1, 2).flatten(2)


def join_by_cat(heads):
    return torch.cat(heads.unbind(1), dim=-1)


def unpack_by_unflatten(in_proj_weight, num_heads):
    return tuple(third.unflatten(0, (num_heads, -1)).transpose(1, 2) for third in in_proj_weight.chunk(3))


def pack_by_transpose(W_Q, W_K, W_V):
    return torch.cat([W.transpose(1, 2).flatten(0, 1) for W in (W_Q, W_K, W_V)])


def loop_of_heads(x, W_Q, W_K, W_V, W_O):
    heads = [scaled_dot_product_attention(x @ q, x @ k, x @ v)[0] for q, k, v in zip(W_Q, W_K, W_V)]
    return torch.cat(heads, dim=-1) @ W_O


def sum_of_heads(x, W_Q, W_K, W_V, W_O):
    total = 0
    for q, k, v, o in zip(W_Q, W_K, W_V, W_O.chunk(len(W_Q))):
        total = total + F.scaled_dot_product_attention(x @ q, x @ k, x @ v) @ o
    return total


def fused_by_chunks(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask=None):
    q, k, v = (split_by_unflatten(p, num_heads) for p in F.linear(x, in_weight, in_bias).chunk(3, dim=-1))
    output, weights = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(join_by_flatten(output), out_weight, out_bias), weights


def fused_by_einsum(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask=None):
    B, T, d_model = x.shape
    qkv = (x @ in_weight.T + in_bias).view(B, T, 3, num_heads, -1)
    scores = torch.einsum("bqhd,bkhd->bhqk", qkv[:, :, 0], qkv[:, :, 1]) * (d_model // num_heads) ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(-1)
    output = torch.einsum("bhqk,bkhd->bqhd", weights, qkv[:, :, 2]).flatten(2)
    return output @ out_weight.T + out_bias, weights


RIGHT = {
    "split_heads": [split_by_unflatten, split_by_chunks],
    "join_heads": [join_by_flatten, join_by_cat],
    "by_loop": [loop_of_heads, sum_of_heads],
    "fused": [fused_by_chunks, fused_by_einsum],
}

# Wrong answers that are no known mistake: the checker finds them by what they return.
WRONG = {
    "split_heads": [
        lambda x, h: split_by_unflatten(x, 2),
        lambda x, h: split_by_unflatten(x, h).detach(),
        lambda x, h: split_by_unflatten(x, h).tolist(),
        lambda x, h: split_by_unflatten(x.flip(1), h),
        lambda x, h: x,
    ],
    "join_heads": [
        lambda h: h[:, 0],
        lambda h: join_by_flatten(h).detach(),
        lambda h: join_by_flatten(h.flip(2)),
        lambda h: join_by_flatten(h).transpose(1, 2),
        lambda h: h,
    ],
    "by_loop": [
        lambda x, q, k, v, o: loop_of_heads(x, q[:1], k[:1], v[:1], o[: q.size(-1)]),
        lambda x, q, k, v, o: loop_of_heads(x, k, q, v, o),
        lambda x, q, k, v, o: loop_of_heads(x, q, k, v, o).detach(),
        lambda x, q, k, v, o: (loop_of_heads(x, q, k, v, o), None),
        lambda x, q, k, v, o: x,
        lambda x, q, k, v, o: loop_of_heads(x[:1].expand_as(x), q, k, v, o),
    ],
    "fused": [
        lambda x, w, b, o, c, h, m=None: fused_by_chunks(x, w, b, o, c, 1, m),
        lambda x, w, b, o, c, h, m=None: fused_by_chunks(x, w, b, o.T, c, h, m),
        lambda x, w, b, o, c, h, m=None: fused_by_chunks(x, w, b, o, c, h, m)[0],
        lambda x, w, b, o, c, h: fused_by_chunks(x, w, b, o, c, h),
        lambda x, w, b, o, c, h, m=None: fused_by_chunks(x.detach(), w, b, o, c, h, m),
        lambda x, w, b, o, c, h, m=None: fused_by_chunks(x, w, b, o, c, h, m if m is None else m.T),
    ],
}


@pytest.mark.parametrize("seed", range(5))
def test_the_solutions_agree_with_pytorch(seed):
    torch.manual_seed(seed)
    num_heads, d_model, length = [(1, 4), (2, 8), (4, 8), (3, 12), (8, 16)][seed] + (seed + 2,)
    theirs = nn.MultiheadAttention(d_model, num_heads, batch_first=True, dtype=torch.float64).eval()
    nn.init.normal_(theirs.in_proj_bias)
    nn.init.normal_(theirs.out_proj.bias)
    x = torch.randn(2, length, d_model, dtype=torch.float64)
    mask = torch.rand(length, length) < 0.6
    mask[:, 0] = True
    expected = theirs(x, x, x, attn_mask=~mask, average_attn_weights=False)
    for answer in RIGHT["fused"]:
        got = answer(x, theirs.in_proj_weight, theirs.in_proj_bias, theirs.out_proj.weight, theirs.out_proj.bias,
                     num_heads, mask)  # fmt: skip
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)
    matrices = unpack_by_unflatten(theirs.in_proj_weight, num_heads)
    assert torch.equal(pack_by_transpose(*matrices), theirs.in_proj_weight)
    nn.init.zeros_(theirs.in_proj_bias)
    nn.init.zeros_(theirs.out_proj.bias)
    got = loop_of_heads(x, *matrices, theirs.out_proj.weight.T)
    torch.testing.assert_close(got, theirs(x, x, x)[0], atol=1e-12, rtol=0)
