"""The exercises of chapter 3: heads split and joined, PyTorch's layout and the paper's, loop and fused, GQA."""

import math

import torch
from torch.nn import functional as F

from helpers.attention import causal_mask, scaled_dot_product_attention
from helpers.checks.core import Exercise


def _random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


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
        (_random(2, 4, 4, seed=1), 2),
        (_random(3, 5, 12, seed=2), 3),
        (_random(1, 1, 6, seed=3), 2),
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
        (_random(2, 4, 4, 3, seed=1),),
        (_random(3, 1, 5, 4, seed=2),),
        (_random(1, 6, 1, 2, seed=3),),
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


# 3. From PyTorch's packed matrix to the paper's matrices


def _unpack_right(in_proj_weight, num_heads):
    thirds = in_proj_weight.chunk(3)
    return tuple(third.unflatten(0, (num_heads, -1)).transpose(1, 2) for third in thirds)


def _unpack_heads_first(weight, num_heads):
    d_model = weight.size(1)
    blocks = weight.view(num_heads, 3, d_model // num_heads, d_model).transpose(2, 3)
    return tuple(blocks[:, i] for i in range(3))


def _unpack_columns(weight, num_heads):
    return tuple(third.unflatten(1, (num_heads, -1)).transpose(0, 1) for third in weight.chunk(3))


_unpack = Exercise(
    name="unpack",
    reference=_unpack_right,
    cases=[
        (_counted(6, 2), 2),
        (_counted(6, 2), 1),
        (_random(12, 4, seed=1), 2),
        (_random(24, 8, seed=2), 4),
        (_random(27, 9, seed=3), 3),
    ],
    meaning="Now you can write the paper's formula with any PyTorch model's numbers.",
    mistakes=[
        (lambda w, h: tuple(t.unflatten(0, (h, -1)) for t in w.chunk(3)), "PyTorch stores outputs in rows: transpose"
         " inside each head, (H, D, d_model) → (H, d_model, D)"),
        (_unpack_columns, "the heads are cut out of the columns; in PyTorch's layout a head is a block of ROWS of its"
         " third"),
        (_unpack_heads_first, "first come all queries, then all keys, then all values; heads are cut inside each third"),
        (lambda w, h: tuple(_unpack_right(w, h)[i] for i in (1, 0, 2)), "queries and keys are exchanged: the order is"
         " query, key, value"),
        (lambda w, h: tuple(_unpack_right(w, h)[i] for i in (2, 1, 0)), "the order is query, key, value; here it is"
         " reversed"),
        (lambda w, h: tuple(t.T for t in w.chunk(3)), "the heads are missing: each result is (H, d_model, D)"),
        (lambda w, h: tuple(t.unflatten(0, (h, -1)).reshape(h, w.size(1), -1) for t in w.chunk(3)), "a reshape does not"
         " exchange axes: use transpose(1, 2)"),
        (lambda w, h: tuple(t.flip(0) for t in _unpack_right(w, h)), "the heads are in reverse order"),
    ],
)  # fmt: skip


def check_unpack(function):
    """Check `unpack(in_proj_weight, num_heads)`: (3 · d_model, d_model) → three (H, d_model, D)."""
    return _unpack.check(function)


# 4. And back


def _pack_right(W_Q, W_K, W_V):
    return torch.cat([W.transpose(1, 2).flatten(0, 1) for W in (W_Q, W_K, W_V)])


def _three(num_heads, d_model, seed):
    return tuple(_random(num_heads, d_model, d_model // num_heads, seed=seed + i) for i in range(3))


_pack = Exercise(
    name="pack",
    reference=_pack_right,
    cases=[_unpack_right(_counted(6, 2), 2), _three(1, 2, 1), _three(2, 4, 4), _three(4, 8, 7), _three(3, 9, 10)],
    meaning="Whatever your own heads are called, PyTorch can run them.",
    mistakes=[
        (lambda q, k, v: torch.cat([W.flatten(0, 1).T if W.size(0) == 1 else W.permute(0, 1, 2).reshape(-1, W.size(1))
                                    for W in (q, k, v)]), "transpose inside each head first: (H, d_model, D) →"
         " (H, D, d_model)"),
        (lambda q, k, v: torch.cat([W.transpose(0, 1).flatten(1) for W in (q, k, v)]), "this is the paper's layout, side"
         " by side; PyTorch stores it transposed"),
        (lambda q, k, v: torch.cat([torch.cat([q[i].T, k[i].T, v[i].T]) for i in range(len(q))]), "all queries first, then"
         " all keys, then all values; here they change from head to head"),
        (lambda q, k, v: _pack_right(k, q, v), "queries and keys are exchanged"),
        (lambda q, k, v: _pack_right(v, k, q), "the order is query, key, value; here it is reversed"),
        (lambda q, k, v: _pack_right(q, k, v).T, "the whole matrix is transposed: it must be (3 · d_model, d_model)"),
        (lambda q, k, v: torch.cat([W.permute(2, 0, 1).flatten(0, 1) for W in (q, k, v)]), "the rows of the heads are"
         " interleaved: first all rows of head 1"),
    ],
)  # fmt: skip


def check_pack(function):
    """Check `pack(W_Q, W_K, W_V)`: three (H, d_model, D) → (3 · d_model, d_model)."""
    return _pack.check(function)


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
    return (_random(batch, length, d_model, seed=seed), *_three(num_heads, d_model, seed + 1), _random(
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
        _random(batch, length, d_model, seed=seed),
        _random(3 * d_model, d_model, seed=seed + 1), _random(3 * d_model, seed=seed + 2),
        _random(d_model, d_model, seed=seed + 3), _random(d_model, seed=seed + 4), num_heads,
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


# 7. What one head adds


def _part_like(cut="columns", head=lambda head, number: head, turned=False):
    """Return what one head adds to the output, or a version of it with a mistake."""

    def part(heads, out_weight, which):
        D = heads.size(-1)
        i = head(which, heads.size(1))
        block = out_weight[:, i * D : (i + 1) * D] if cut == "columns" else out_weight[i * D : (i + 1) * D].T
        return heads[:, which] @ (block if turned else block.T)

    return part


def _others(heads, out_weight, which):
    kept = heads.clone()
    kept[:, which] = 0.0
    return F.linear(_join(kept), out_weight)


def _interleaved(heads, out_weight, which):
    return heads[:, which] @ out_weight[:, which :: heads.size(1)].T


def _part_case(batch, num_heads, length, head_dim, head, seed):
    d_model = num_heads * head_dim
    return _random(batch, num_heads, length, head_dim, seed=seed), _random(d_model, d_model, seed=seed + 1), head


_part_of_head = Exercise(
    name="part_of_head",
    reference=_part_like(),
    cases=[
        (torch.tensor([[[[1.0]], [[10.0]]]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 1),
        (torch.tensor([[[[1.0]], [[10.0]]]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 0),
        _part_case(1, 2, 3, 2, 0, 1),
        _part_case(2, 4, 3, 2, 2, 2),
        _part_case(2, 3, 5, 3, 2, 3),
    ],
    meaning="The output is a sum over heads; this is one term of it.",
    mistakes=[
        (_part_like(cut="rows"), "in PyTorch's layout the COLUMNS of the matrix read the joined heads; the rows make the"
         " output's features"),
        (_interleaved, "a head's features stand side by side after joining: columns head · D to (head + 1) · D"),
        (_others, "this is what is left when the head is switched off; wanted is what the head itself adds"),
        (_part_like(head=lambda head, number: number - 1 - head), "the heads are counted from the other end"),
        (lambda h, w, i: F.linear(_join(h), w), "this is the output of all heads together"),
        (lambda h, w, i: F.linear(_join(h), w) / h.size(1), "the heads do not add equal shares: use this head's columns"),
        (lambda h, w, i: h[:, i], "this is the head's result before the output projection"),
        (lambda h, w, i: _part_like()(h, w, max(i - 1, 0)), "heads are counted from 0"),
    ],
    gradient=True,
)  # fmt: skip


def check_part_of_head(function):
    """Check `part_of_head(heads, out_proj_weight, head)`: (B, T, d_model)."""
    return _part_of_head.check(function)


# 8. Grouped-query attention


def _grouped_like(widen=lambda x, times: x.repeat_interleave(times, dim=1), scale=1.0, use_mask=True, turned=False):
    """Return grouped-query attention, or a version of it with a mistake."""

    def attend(query, key, value, mask=None):
        times = query.size(1) // key.size(1)
        if turned and mask is not None:
            mask = ~mask
        factor = 1 / math.sqrt(times) if scale == "groups" else scale
        return scaled_dot_product_attention(
            query * factor, widen(key, times), widen(value, times), mask if use_mask else None
        )[0]

    return attend


def _group_means(query, key, value, mask=None):
    G, times = key.size(1), query.size(1) // key.size(1)
    mean = query.unflatten(1, (G, times)).mean(2)
    mask = mask if mask is None or mask.dim() < 4 or mask.size(1) == 1 else mask[:, ::times]
    return scaled_dot_product_attention(mean, key, value, mask)[0].repeat_interleave(times, dim=1)


def _grouped_unscaled(query, key, value, mask=None):
    return _grouped_like(scale=math.sqrt(query.size(-1)))(query, key, value, mask)


def _grouped_case(batch, heads, groups, queries, keys, head_dim, seed, mask=None):
    return (
        _random(batch, heads, queries, head_dim, seed=seed),
        _random(batch, groups, keys, head_dim, seed=seed + 1),
        _random(batch, groups, keys, head_dim, seed=seed + 2), *(() if mask is None else (mask,)),
    )  # fmt: skip


_by_head = torch.stack([causal_mask(3), torch.eye(3, dtype=torch.bool)]).repeat(2, 1, 1).unsqueeze(0)  # (1, 4, 3, 3)

_grouped_query_attention = Exercise(
    name="grouped_query_attention",
    reference=_grouped_like(),
    cases=[
        (torch.zeros(1, 4, 1, 1), torch.ones(1, 2, 1, 1), torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)),
        _grouped_case(1, 2, 2, 3, 3, 4, 1),
        _grouped_case(1, 4, 1, 2, 3, 2, 2),
        _grouped_case(2, 6, 3, 4, 5, 4, 3),
        _grouped_case(2, 4, 2, 3, 3, 4, 4, causal_mask(3)),
        _grouped_case(2, 4, 2, 3, 3, 4, 5, _by_head),
    ],
    meaning="With G = H it is multi-head attention, with G = 1 multi-query attention.",
    mistakes=[
        (_grouped_like(widen=lambda x, times: x.repeat(1, times, 1, 1)), "neighbouring query heads share a group:"
         " repeat_interleave, not repeat"),
        (_grouped_like(widen=lambda x, times: x[:, :1].expand(-1, x.size(1) * times, -1, -1)), "every head uses group 0;"
         " each group serves its own H / G heads"),
        (_grouped_like(widen=lambda x, times: x.mean(1, keepdim=True).expand(-1, x.size(1) * times, -1, -1)),
         "the groups are averaged; they are separate"),
        (_grouped_like(widen=lambda x, times: x.flip(1).repeat_interleave(times, dim=1)), "the groups are in reverse"
         " order"),
        (_group_means, "the queries of a group are averaged; each query head attends by itself"),
        (_grouped_unscaled, "the scores are not divided by √head_dim"),
        (_grouped_like(scale="groups"), "the scale is √head_dim, whatever the number of groups"),
        (_grouped_like(use_mask=False), "the mask is not used"),
        (_grouped_like(turned=True), "the mask is turned round: True means may attend"),
    ],
    gradient=True,
)  # fmt: skip


def check_grouped_query_attention(function):
    """Check `grouped_query_attention(query, key, value, mask=None)`: H query heads, G heads of keys and values."""
    return _grouped_query_attention.check(function)
