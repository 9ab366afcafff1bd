"""The exercises of chapter 3: PyTorch's layout and the paper's, einsum, shared keys, one head, one edge, own sentences."""

import math

import torch
from torch.nn import functional as F

from helpers.attention import causal_mask, scaled_dot_product_attention
from helpers.checks.core import Exercise, then
from helpers.checks.shared import random, real
from helpers.data import load_agreement, load_labelled


def _counted(*shape):
    return torch.arange(float(math.prod(shape))).view(shape)


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
        (_counted(6, 2), 2), (_counted(6, 2), 1), (_counted(3, 1), 1), (random(12, 4, seed=1), 2),
        (random(24, 8, seed=2), 4), (random(24, 8, seed=2), 8), (random(27, 9, seed=3), 3),
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


# All heads by einsum


def by_einsum(x, W_Q, W_K, W_V, W_O):
    query = torch.einsum("btm,hmd->bhtd", x, W_Q)
    key = torch.einsum("btm,hmd->bhtd", x, W_K)
    value = torch.einsum("btm,hmd->bhtd", x, W_V)
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key) / math.sqrt(W_Q.size(-1))
    weights = scores.softmax(-1)
    return torch.einsum("bhqk,bhkd,hdm->bqm", weights, value, W_O)


def _heads_case(batch, length, num_heads, d_model, head_dim, seed):
    shapes = [(batch, length, d_model)] + [(num_heads, d_model, head_dim)] * 3 + [(num_heads, head_dim, d_model)]
    return tuple(random(*shape, seed=seed + i) for i, shape in enumerate(shapes))


_ones = torch.ones(1, 1, 1)

check_by_einsum = Exercise(
    by_einsum,
    cases=[
        (torch.tensor([[[0.0], [0.6931]]]), _ones, _ones, _ones, _ones),
        _heads_case(1, 3, 1, 4, 4, 1),
        _heads_case(1, 3, 2, 4, 2, 11),
        _heads_case(2, 5, 4, 8, 2, 21),
        _heads_case(3, 3, 3, 3, 3, 31),  # every axis is 3
        _heads_case(2, 4, 2, 6, 5, 41),  # heads wider than their share
    ],
    meaning="Four equations, no axis moved by hand.",
    mistakes=[
        (" / math.sqrt(W_Q.size(-1)) -> ", "the scores are not divided by the root of head_dim"),
        ("math.sqrt(W_Q.size(-1)) -> math.sqrt(W_Q.size(1))", "divide by the root of head_dim (the last axis of W_Q), not of"
         " d_model"),
        ("scores.softmax(-1) -> scores.softmax(-2)", "the softmax runs over the queries; it belongs over the keys"),
        ("scores.softmax(-1) -> scores.softmax(1)", "the softmax runs over the heads; it belongs over the keys"),
        ("scores.softmax(-1) -> scores.softmax(-1).mean(1, keepdim=True).expand_as(scores)", "the weights are averaged over"
         " the heads before they meet the values: each head uses its own"),
        ('"btm,hmd->bhtd", x, W_V -> "btm,hmd->bhtd", x, W_K', "the keys are averaged; it should be the values"),
        ('hdm->bqm", weights, value, W_O -> hdm->bqm", weights, value, W_O.flip(0)', "each head has its own block of W_O, in"
         " the same order"),
        (then(lambda output: output / 2), "the heads add their parts; there is nothing to divide by"),
    ],
    gradient=True,
).check  # fmt: skip


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


# Multi-query attention


def multi_query_attention(x, W_Q, W_K, W_V):
    query = torch.einsum("btm,hmd->bhtd", x, W_Q)
    key, value = x @ W_K, x @ W_V  # (B, T, d_model) @ (d_model, D) → (B, T, D), the same for every head
    output, _ = scaled_dot_product_attention(query, key.unsqueeze(1), value.unsqueeze(1))
    return output  # (B, H, T, D)


def _multi_query_case(batch, length, num_heads, d_model, head_dim, seed):
    shapes = ((batch, length, d_model), (num_heads, d_model, head_dim), (d_model, head_dim), (d_model, head_dim))
    return tuple(random(*shape, seed=seed + i) for i, shape in enumerate(shapes))


_a_query_is = "scaled_dot_product_attention(query,"

check_multi_query_attention = Exercise(
    multi_query_attention,
    cases=[
        (torch.tensor([[[0.0], [0.6931]]]), torch.tensor([[[1.0]], [[0.0]]]), torch.ones(1, 1), torch.ones(1, 1)),
        _multi_query_case(1, 3, 1, 4, 4, 1),
        _multi_query_case(1, 3, 2, 4, 2, 11),
        _multi_query_case(2, 3, 2, 4, 2, 51),  # B = H
        _multi_query_case(2, 5, 4, 8, 2, 21),
        _multi_query_case(3, 3, 3, 3, 3, 31),  # B = H = T
        _multi_query_case(4, 2, 4, 6, 3, 41),  # B = H
    ],
    meaning="A cache of keys and values is H times as small.",
    mistakes=[
        ((".unsqueeze(1), value -> .unsqueeze(0), value", "value.unsqueeze(1) -> value.unsqueeze(0)"), "the axis of the heads"
         " comes after the batch: unsqueeze(1), so that every head of a sequence meets that sequence's keys"),
        (f"{_a_query_is} -> {_a_query_is[:-6]}query * query.size(-1) ** 0.5,", "the scores are not divided by the root of"
         " head_dim"),
        (f"{_a_query_is} -> {_a_query_is[:-6]}query.mean(1, keepdim=True).expand_as(query),", "the queries are averaged over"
         " the heads; each head asks for itself"),
        ("key.unsqueeze(1), value.unsqueeze(1) -> key.unsqueeze(1), key.unsqueeze(1)", "the keys are averaged; it should be"
         " the values"),
        (then(lambda output: output.transpose(1, 2)), "the axis of the heads comes before that of the tokens: (B, H, T, D)"),
        (then(lambda output: output.transpose(1, 2).flatten(2)), "the heads stay apart here: (B, H, T, D)"),
        (then(lambda output: output.sum(1)), "the heads stay apart here: (B, H, T, D), not their sum"),
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


# Cutting an edge


def cut_edge(weights, query, key):
    kept = torch.ones(weights.shape[-2:], dtype=torch.bool)
    kept[query, key] = False
    left = weights * kept
    total = left.sum(-1, keepdim=True)
    return left / total.clamp(min=1e-30)  # where nothing is left, 0 and not NaN


def _weights(*shape, seed):
    return random(*shape, seed=seed, scale=2.0).softmax(-1)


_one_key_only = torch.eye(3).view(1, 1, 3, 3)
_padded = torch.cat([_weights(2, 2, 3, 3, seed=5), torch.zeros(2, 2, 3, 2)], -1)  # two keys are masked
_empty_row = _weights(1, 2, 3, 3, seed=8) * torch.tensor([1.0, 0.0, 1.0]).unsqueeze(1)

check_cut_edge = Exercise(
    cut_edge,
    cases=[
        (torch.tensor([[[[0.5, 0.3, 0.2]]]]), 0, 0),
        (torch.tensor([[[[0.5, 0.25, 0.25], [0.0, 0.5, 0.5], [0.2, 0.2, 0.6]]]]), 1, 2),
        (_one_key_only, 1, 1),  # all the weight lies on the edge
        (_weights(2, 3, 4, 5, seed=1), 2, 3),
        (_weights(3, 2, 4, 4, seed=2), 3, 0),
        (_weights(1, 1, 3, 3, seed=3), 0, 2),
        (_padded, 2, 1),
        (_empty_row, 0, 1),  # another row is empty from the start
        (_weights(2, 2, 1, 4, seed=6), 0, 0),
    ],
    meaning="It is what a mask before the softmax would have given.",
    mistakes=[
        ("left / total.clamp(min=1e-30) -> left", "the rest of the row no longer adds up to 1: divide by what is left"),
        ("left / total.clamp(min=1e-30) -> left / total", "0 / 0: where all the weight lay on the"
         " edge, the row becomes zeros"),
        ("kept[query, key] = False -> kept[:, key] = False", "only this query loses its edge, not every query"),
        ("kept[query, key] = False -> kept[query] = False", "the query loses one edge, not all"),
        ("kept[query, key] = False -> kept[key, query] = False", "rows are queries, columns are keys"),
        ("left / total.clamp(min=1e-30) -> left.softmax(-1)", "a second softmax: what is left is"
         " weights already, so only divide by their sum"),
        ("left / total.clamp(min=1e-30) -> left / total.mean(1, keepdim=True).clamp(min=1e-30)",
         "every head divides by its own rest"),
    ],
).check  # fmt: skip


# Your own sentences


def check_sentences(path):
    """Print ✓ if a file of labelled sentences can be put to the classifiers of chapter 3, else ✗ and why not."""
    if path is None or path is Ellipsis:
        print("not written yet: the path of your sentences")
        return None
    try:
        labels, texts = load_labelled(path)
    except (FileNotFoundError, ValueError) as error:
        return _not_yet(error)
    splits = load_agreement()
    known = {word for text in splits["train"].text for word in text.split()}
    trained = {text for name in ("train", "validation") for text in splits[name].text}
    if set(labels) != {"singular", "plural"}:
        return _not_yet(f"the labels are {sorted(set(labels))}; use singular and plural, and both")
    for number, text in enumerate(texts, 1):
        strange = [word for word in text.split() if word not in known]
        if strange:
            return _not_yet(f"line {number}: the models do not know {strange[0]!r}; their words are {sorted(known)}")
        if text in trained:
            return _not_yet(f"line {number}: the models were trained on {text!r}")
        if texts.index(text) + 1 < number:
            return _not_yet(f"line {number}: {text!r} stands already in line {texts.index(text) + 1}")
    if len(texts) < 8:
        return _not_yet(f"{len(texts)} sentences are few: write at least 8")
    print(f"✓ {len(texts)} sentences, {labels.count('plural')} of them plural; the models have seen none of them")
    return True


def _not_yet(problem):
    print(f"✗ {problem}")
    return False
