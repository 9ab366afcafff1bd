"""The exercises of chapter 3: heads split and joined, PyTorch's layout and the paper's, loop and fused, GQA."""

import math

import torch
from torch.nn import functional as F

from helpers.attention import causal_mask, scaled_dot_product_attention
from helpers.checks.core import Exercise, then
from helpers.checks.shared import random, real


def _counted(*shape):
    return torch.arange(float(math.prod(shape))).view(shape)


# 1. Split into heads


def _split(x, num_heads):
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _split_alternating(x, num_heads):
    return x.unflatten(-1, (-1, num_heads)).permute(0, 3, 1, 2)


_split_heads = Exercise(
    name="split_heads",
    reference=_split,
    cases=[
        (torch.tensor([[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]]), 2),
        (torch.tensor([[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]]), 1),
        (_counted(2, 3, 4), 4),
        (random(2, 4, 4, seed=1), 2),
        (random(3, 5, 12, seed=2), 3),
        (random(1, 1, 6, seed=3), 2),
    ],
    meaning="No number is computed: the features of a token are only shared out.",
    mistakes=[
        (lambda x, h: x.reshape(x.size(0), h, x.size(1), -1), "tokens are mixed into heads: first (B, T, H, D), then"
         " transpose(1, 2); one view to (B, H, T, D) cuts in memory order"),
        (lambda x, h: x.unflatten(-1, (h, -1)), "this is (B, T, H, D): transpose(1, 2) is missing"),
        (_split_alternating, "a head gets neighbouring features: view(B, T, num_heads, head_dim), not"
         " view(B, T, head_dim, num_heads)"),
        (lambda x, h: _split(x, h).flip(1), "the heads are in reverse order"),
        (lambda x, h: _split(x, h).transpose(-2, -1), "the last two axes are exchanged: (B, H, T, D), not (B, H, D, T)"),
        (lambda x, h: _split(x, h).transpose(0, 1), "the batch comes first: (B, H, T, D)"),
        (lambda x, h: _split(x, x.size(-1) // h), "num_heads is the number of heads, not the width of one"),
        (lambda x, h: _split(x, h).flatten(0, 1), "keep batch and heads apart: (B, H, T, D)"),
    ],
    gradient=True,
)  # fmt: skip


def check_split_heads(function):
    """Check `split_heads(x, num_heads)`: (B, T, d_model) → (B, H, T, D)."""
    return _split_heads.check(function)


# 2. Join the heads


def _join(heads):
    return heads.transpose(1, 2).flatten(2)


_join_heads = Exercise(
    name="join_heads",
    reference=_join,
    cases=[
        (torch.tensor([[[[1.0, 2.0], [5.0, 6.0]], [[3.0, 4.0], [7.0, 8.0]]]]),),
        (_counted(2, 3, 4, 2),),
        (random(2, 4, 4, 3, seed=1),),
        (random(3, 1, 5, 4, seed=2),),
        (random(1, 6, 1, 2, seed=3),),
    ],
    meaning="Splitting and joining undo each other.",
    mistakes=[
        (lambda h: h.reshape(h.size(0), h.size(2), -1), "transpose(1, 2) is missing: the reshape cuts in memory order, and"
         " one row holds several tokens of one head"),
        (lambda h: h.permute(0, 2, 3, 1).flatten(2), "the heads' features are interleaved: first all of head 1, then all"
         " of head 2"),
        (lambda h: h.transpose(1, 2), "still four axes: merge the last two"),
        (lambda h: _join(h.flip(1)), "the heads are in reverse order"),
        (lambda h: h.sum(1), "the heads are put side by side, not added"),
        (lambda h: h.mean(1), "the heads are put side by side, not averaged"),
        (lambda h: h.transpose(1, 2).flatten(1), "merge heads and features only: (B, T, H · D)"),
    ],
    gradient=True,
)  # fmt: skip


def check_join_heads(function):
    """Check `join_heads(heads)`: (B, H, T, D) → (B, T, H · D)."""
    return _join_heads.check(function)


# From PyTorch's packed matrix to the paper's matrices


def unpack(in_proj_weight, num_heads):
    matrices = []
    for third in in_proj_weight.chunk(3):
        heads = third.unflatten(0, (num_heads, -1))  # (d_model, d_model) → (H, D, d_model)
        matrices.append(heads.transpose(1, 2))  # (H, d_model, D)
    return tuple(matrices)


def _unpack_heads_first(in_proj_weight, num_heads):
    d_model = in_proj_weight.size(1)
    blocks = in_proj_weight.view(num_heads, 3, d_model // num_heads, d_model).transpose(2, 3)
    return tuple(blocks[:, i] for i in range(3))


check_unpack = Exercise(
    unpack,
    cases=[
        (_counted(6, 2), 2),
        (_counted(6, 2), 1),
        (_counted(3, 1), 1),
        (random(12, 4, seed=1), 2),
        (random(24, 8, seed=2), 4),
        (random(24, 8, seed=2), 8),
        (random(27, 9, seed=3), 3),
        (random(36, 12, seed=4).double(), 2),
    ],
    meaning="Now you can write the paper's formula with any PyTorch model's numbers.",
    mistakes=[
        (".transpose(1, 2) -> ", "PyTorch stores outputs in rows: transpose inside each head, (H, D, d_model) →"
         " (H, d_model, D)"),
        (("third.unflatten(0, -> third.unflatten(1,", "transpose(1, 2) -> transpose(0, 1)"), "the heads are cut out of the"
         " columns; in PyTorch's layout a head is a block of ROWS of its third"),
        (_unpack_heads_first, "first come all queries, then all keys, then all values; heads are cut inside each third"),
        (("(0, (num_heads, -1)) -> (0, (-1, num_heads))", "heads.transpose(1, 2) -> heads.permute(1, 2, 0)"), "a head gets"
         " neighbouring rows: unflatten(0, (num_heads, -1)), not (-1, num_heads)"),
        (then(lambda three: (three[1], three[0], three[2])), "queries and keys are exchanged: the order is query, key,"
         " value"),
        (then(lambda three: three[::-1]), "the order is query, key, value; here it is reversed"),
        (lambda in_proj_weight, num_heads: tuple(third.T for third in in_proj_weight.chunk(3)), "the heads are missing:"
         " each result is (H, d_model, D)"),
        ("heads.transpose(1, 2) -> heads.reshape(num_heads, in_proj_weight.size(1), -1)", "a reshape does not exchange"
         " axes: use transpose(1, 2)"),
        (then(lambda three: tuple(W.flip(0) for W in three)), "the heads are in reverse order"),
    ],
).check  # fmt: skip


# And back


def pack(W_Q, W_K, W_V):
    thirds = []
    for W in (W_Q, W_K, W_V):
        heads = W.transpose(1, 2)  # (H, d_model, D) → (H, D, d_model)
        thirds.append(heads.flatten(0, 1))  # (d_model, d_model)
    return torch.cat(thirds)


def _three(num_heads, d_model, seed):
    return tuple(random(num_heads, d_model, d_model // num_heads, seed=seed + i) for i in range(3))


check_pack = Exercise(
    pack,
    cases=[
        unpack(_counted(6, 2), 2), _three(1, 2, 1), _three(1, 1, 1), _three(2, 4, 4), _three(4, 8, 7), _three(8, 8, 7),
        _three(3, 9, 10), tuple(W.double() for W in _three(2, 12, 13)),
    ],
    meaning="Whatever your own heads are called, PyTorch can run them.",
    mistakes=[
        ("W.transpose(1, 2) -> W.reshape(len(W), -1, W.size(1))", "transpose inside each head first: (H, d_model, D) →"
         " (H, D, d_model); a reshape does not exchange axes"),
        (("W.transpose(1, 2) -> W.transpose(0, 1)", "heads.flatten(0, 1) -> heads.flatten(1)"), "this is the paper's"
         " layout, side by side; PyTorch stores it transposed"),
        (lambda q, k, v: torch.cat([torch.cat([q[i].T, k[i].T, v[i].T]) for i in range(len(q))]), "all queries first, then"
         " all keys, then all values; here they change from head to head"),
        ("in (W_Q, W_K, W_V) -> in (W_K, W_Q, W_V)", "queries and keys are exchanged"),
        (lambda q, k, v: pack(v, k, q), "the order is query, key, value; here it is reversed"),
        (then(lambda packed: packed.T), "the whole matrix is transposed: it must be (3 · d_model, d_model)"),
        ("W.transpose(1, 2) -> W.permute(2, 0, 1)", "the rows of the heads are interleaved: first all rows of head 1"),
        ("W.transpose(1, 2) -> W.flip(0).transpose(1, 2)", "the heads are in reverse order"),
    ],
).check  # fmt: skip


# 5. Multi-head attention by loop


def _loop_like(scale=1.0, join=lambda heads: torch.cat(heads, -1), values=2, mix=True, turned=False, order=1):
    """Return multi-head attention by loop, or a version of it with a mistake."""

    def by_loop(x, W_Q, W_K, W_V, W_O):
        heads = []
        for i in range(len(W_Q)):
            parts = (x @ W_Q[i], x @ W_K[i], x @ W_V[i])
            factor = 1.0 if scale is None else scale
            query = parts[0] * (math.sqrt(W_Q.size(-1) / W_Q.size(1)) if factor == "d_model" else factor)
            heads.append(scaled_dot_product_attention(query, parts[1], parts[values])[0])
        joined = join(heads[::order])
        return joined @ (W_O.T if turned else W_O) if mix else joined

    return by_loop


def _unscaled(x, W_Q, W_K, W_V, W_O):
    heads = [((x @ q) @ (x @ k).transpose(-2, -1)).softmax(-1) @ (x @ v) for q, k, v in zip(W_Q, W_K, W_V)]
    return torch.cat(heads, -1) @ W_O


def _averaged_first(x, W_Q, W_K, W_V, W_O):
    weights = sum(scaled_dot_product_attention(x @ q, x @ k, x)[1] for q, k in zip(W_Q, W_K)) / len(W_Q)
    return torch.cat([weights @ (x @ v) for v in W_V], -1) @ W_O


def _over_queries(x, W_Q, W_K, W_V, W_O):
    D = W_Q.size(-1)
    heads = [
        ((x @ q) @ (x @ k).transpose(-2, -1) / math.sqrt(D)).softmax(-2) @ (x @ v) for q, k, v in zip(W_Q, W_K, W_V)
    ]
    return torch.cat(heads, -1) @ W_O


def _loop_case(batch, length, num_heads, d_model, seed):
    return (random(batch, length, d_model, seed=seed), *_three(num_heads, d_model, seed + 1), random(
        d_model, d_model, seed=seed + 4))  # fmt: skip


_by_loop = Exercise(
    name="by_loop",
    reference=_loop_like(),
    cases=[
        (torch.tensor([[[0.0], [0.6931]]]), *(torch.ones(1, 1, 1) for _ in range(3)), torch.ones(1, 1)),
        _loop_case(1, 3, 1, 4, 1),
        _loop_case(1, 3, 2, 4, 2),
        _loop_case(2, 5, 4, 8, 3),
        _loop_case(3, 4, 3, 9, 4),
    ],
    meaning="This is the paper's section 3.2.2, word for word.",
    mistakes=[
        (_unscaled, "the scores are not divided by the root of head_dim"),
        (_loop_like(scale="d_model"), "divide by the root of head_dim (the last axis of W_Q), not of d_model"),
        (_averaged_first, "the weights are averaged over the heads before the values: each head must use its own"),
        (_over_queries, "the softmax runs over the queries; it belongs over the keys, dim=-1"),
        (_loop_like(mix=False), "the output projection W_O is missing"),
        (_loop_like(turned=True), "W_O is in the paper's layout: joined @ W_O, without a transpose"),
        (_loop_like(order=-1), "the heads are joined in reverse order"),
        (_loop_like(join=lambda heads: torch.stack(heads, -1).flatten(-2)), "the heads' features are interleaved: use"
         " torch.cat along the last axis"),
        (_loop_like(values=1), "the keys are averaged; it should be the values"),
    ],
    gradient=True,
)  # fmt: skip


def check_by_loop(function):
    """Check `by_loop(x, W_Q, W_K, W_V, W_O)`: multi-head attention, one head after the other."""
    return _by_loop.check(function)


# 6. Multi-head attention, fused


def _fused_like(order=(0, 1, 2), split=_split, join=_join, width="head", turned=False, biases=(1, 1), average=False,
                use_mask=True):  # fmt: skip
    """Return fused multi-head attention, or a version of it with a mistake."""

    def fused(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask=None):
        parts = F.linear(x, in_weight, in_bias * biases[0]).chunk(3, dim=-1)
        q, k, v = (split(parts[i], num_heads) for i in order)
        if width == "model":
            q = q / math.sqrt(num_heads)
        if turned and mask is not None:
            mask = ~mask
        output, weights = scaled_dot_product_attention(q, k, v, mask if use_mask else None)
        if average:
            weights = weights.mean(1)
        return F.linear(join(output), out_weight, out_bias * biases[1]), weights

    return fused


def _fused_case(batch, length, num_heads, d_model, seed, mask=None):
    return (
        random(batch, length, d_model, seed=seed),
        random(3 * d_model, d_model, seed=seed + 1), random(3 * d_model, seed=seed + 2),
        random(d_model, d_model, seed=seed + 3), random(d_model, seed=seed + 4), num_heads,
        *(() if mask is None else (mask,)),
    )  # fmt: skip


_fused = Exercise(
    name="fused",
    reference=_fused_like(),
    cases=[
        _fused_case(1, 2, 1, 2, 1),
        _fused_case(1, 3, 2, 4, 2),
        _fused_case(2, 4, 4, 8, 3),
        _fused_case(2, 4, 4, 8, 4, causal_mask(4)),
        _fused_case(3, 5, 3, 9, 5, torch.eye(5, dtype=torch.bool)),
    ],
    meaning="This is nn.MultiheadAttention.",
    mistakes=[
        (_fused_like(order=(1, 0, 2)), "queries and keys are exchanged: the packed order is query, key, value"),
        (_fused_like(order=(2, 1, 0)), "the packed order is query, key, value; here it is reversed"),
        (_fused_like(width="model"), "the scale is the root of head_dim, not of d_model"),
        (_fused_like(split=lambda x, h: x.reshape(x.size(0), h, x.size(1), -1)), "tokens are mixed into heads: first"
         " (B, T, H, D), then transpose(1, 2)"),
        (_fused_like(join=lambda o: o.reshape(o.size(0), o.size(2), -1)), "before the heads are joined,"
         " transpose(1, 2) is missing"),
        (_fused_like(biases=(0, 1)), "in_proj_bias is not used"),
        (_fused_like(biases=(1, 0)), "out_proj_bias is not used"),
        (_fused_like(average=True), "return each head's weights, (B, H, T, T), not their average"),
        (_fused_like(turned=True), "the mask is turned round: True means may attend"),
        (_fused_like(use_mask=False), "the mask is not used"),
        (lambda *a: _fused_like()(*a)[::-1], "return (output, weights), in this order"),
    ],
    tolerance=1e-4,
    gradient=True,
)  # fmt: skip


def check_fused(function):
    """Check `fused(x, in_proj_weight, in_proj_bias, out_proj_weight, out_proj_bias, num_heads, mask=None)`."""
    return _fused.check(function)


# What one head adds


def part_of_head(heads, out_proj_weight, head):
    D = heads.size(-1)
    columns = out_proj_weight[:, head * D : (head + 1) * D]  # (d_model, D)
    return heads[:, head] @ columns.T  # (B, T, D) @ (D, d_model) → (B, T, d_model)


def _all_heads(heads, out_proj_weight, head):
    return F.linear(heads.transpose(1, 2).flatten(2), out_proj_weight)


def _part_case(batch, num_heads, length, head_dim, head, seed):
    d_model = num_heads * head_dim
    return random(batch, num_heads, length, head_dim, seed=seed), random(d_model, d_model, seed=seed + 1), head


_two_heads = torch.tensor([[[[1.0]], [[10.0]]]])

check_part_of_head = Exercise(
    part_of_head,
    cases=[
        (_two_heads, torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 1),
        (_two_heads, torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 0),
        _part_case(1, 1, 2, 3, 0, 7),
        _part_case(1, 2, 3, 2, 0, 1),
        _part_case(2, 4, 3, 2, 2, 2),
        _part_case(2, 3, 5, 3, 2, 3),
        _part_case(3, 3, 3, 3, 1, 4),
        _part_case(2, 2, 1, 4, 1, 5),
        _part_case(4, 8, 2, 1, 5, 6),
    ],
    meaning="The output is a sum over heads; this is one term of it.",
    mistakes=[
        ("out_proj_weight[:, head * D : (head + 1) * D] -> out_proj_weight[head * D : (head + 1) * D].T", "in PyTorch's"
         " layout the COLUMNS of the matrix read the joined heads; the rows make the output's features"),
        ("head * D : (head + 1) * D -> head :: heads.size(1)", "a head's features stand side by side after joining:"
         " columns head · D to (head + 1) · D"),
        (lambda heads, w, head: _all_heads(heads, w, head) - part_of_head(heads, w, head), "this is what is left when the"
         " head is switched off; wanted is what the head itself adds"),
        (lambda heads, w, head: part_of_head(heads, w, heads.size(1) - 1 - head), "the heads are counted from the other"
         " end"),
        (_all_heads, "this is the output of all heads together"),
        (lambda heads, w, head: _all_heads(heads, w, head) / heads.size(1), "the heads do not add equal shares: use this"
         " head's columns"),
        (" @ columns.T -> ", "this is the head's result before the output projection"),
        (lambda heads, w, head: part_of_head(heads, w, max(head - 1, 0)), "heads are counted from 0"),
        ("heads[:, head] -> heads[:, 0]", "the columns are those of the head, but the results are those of the first head"),
    ],
    gradient=True,
).check  # fmt: skip


# Grouped-query attention


def grouped_query_attention(query, key, value, mask=None):
    times = query.size(1) // key.size(1)  # H / G
    keys = key.repeat_interleave(times, dim=1)  # (B, G, T_k, D) → (B, H, T_k, D)
    values = value.repeat_interleave(times, dim=1)
    output, _ = scaled_dot_product_attention(query, keys, values, mask)
    return output  # (B, H, T_q, D)


def _group_means(query, key, value, mask=None):
    times = query.size(1) // key.size(1)
    mean = query.unflatten(1, (-1, times)).mean(2).repeat_interleave(times, dim=1)
    return grouped_query_attention(mean, key, value, mask)


def _widened(how):
    """Return the edits that make H heads of keys and values out of G in another way."""
    call = "{}.repeat_interleave(times, dim=1)"
    return tuple(f"{call.format(name)} -> {name}{how}" for name in ("key", "value"))


def _grouped_case(batch, heads, groups, queries, keys, head_dim, seed, mask=None):
    sizes = ((heads, queries), (groups, keys), (groups, keys))
    tensors = (random(batch, *size, head_dim, seed=seed + i) for i, size in enumerate(sizes))
    return *tensors, *(() if mask is None else (mask,))


_by_head = torch.stack([causal_mask(3), torch.eye(3, dtype=torch.bool)]).repeat(2, 1, 1).unsqueeze(0)  # (1, 4, 3, 3)
_some = random(2, 4, 3, 5, seed=9) > 0
_some[..., 2] = True
_uses = "(query, keys, values, mask)"

check_grouped_query_attention = Exercise(
    grouped_query_attention,
    cases=[
        (torch.zeros(1, 4, 1, 1), torch.ones(1, 2, 1, 1), torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)),
        _grouped_case(1, 2, 2, 3, 3, 4, 1),
        _grouped_case(1, 4, 1, 2, 3, 2, 2),
        _grouped_case(2, 6, 3, 4, 5, 4, 3),
        _grouped_case(3, 6, 2, 1, 4, 9, 10),
        _grouped_case(2, 4, 2, 3, 3, 4, 4, causal_mask(3)),
        _grouped_case(2, 4, 2, 3, 3, 4, 5, _by_head),
        _grouped_case(2, 4, 2, 3, 5, 4, 6, causal_mask(5)[2:]),  # T_q is not T_k
        _grouped_case(2, 4, 2, 3, 5, 4, 7, real(5, 2).view(2, 1, 1, 5)),  # B = G, padding
        _grouped_case(2, 4, 2, 3, 5, 4, 8, real(3, 5).flip(1).view(2, 1, 1, 5) & causal_mask(5)[2:]),
        _grouped_case(2, 4, 2, 3, 5, 4, 11, _some),
        _grouped_case(4, 4, 2, 2, 4, 3, 12, real(4, 1, 3, 2).view(4, 1, 1, 4)),  # B = H = T_k
        _grouped_case(2, 4, 4, 1, 3, 2, 13, real(3, 1).view(2, 1, 1, 3)),
    ],
    meaning="With G = H it is multi-head attention, with G = 1 multi-query attention.",
    mistakes=[
        (_widened(".repeat(1, times, 1, 1)"), "neighbouring query heads share a group: repeat_interleave, not repeat"),
        (_widened("[:, :1]"), "every head uses group 0; each group serves its own H / G heads"),
        (_widened(".mean(1, keepdim=True)"), "the groups are averaged; they are separate"),
        (_widened(".flip(1).repeat_interleave(times, dim=1)"), "the groups are in reverse order"),
        (_group_means, "the queries of a group are averaged; each query head attends by itself"),
        (f"{_uses} -> (query * query.size(-1) ** 0.5, keys, values, mask)", "the scores are not divided by √head_dim"),
        (f"{_uses} -> (query / times**0.5, keys, values, mask)", "the scale is √head_dim, whatever the number of groups"),
        (f"{_uses} -> (query, keys, values, None)", "the mask is not used"),
        (f"{_uses} -> (query, keys, values, None if mask is None else ~mask)", "the mask is turned round: True means may"
         " attend"),
        (f"{_uses} -> (query, keys, keys, mask)", "the keys are averaged; it should be the values"),
    ],
    gradient=True,
).check  # fmt: skip
