"""The exercises of chapter 3: right answers by several routes, wrong ones of the kind that students write."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers.attention import scaled_dot_product_attention
from helpers.checks.multi_head_attention import (
    check_by_einsum,
    check_cut_edge,
    check_grouped_query_attention,
    check_multi_query_attention,
    check_pack,
    check_part_of_head,
    check_sentences,
    check_unpack,
)
from helpers.data import load_agreement
from helpers.tests.checking import examine

# From PyTorch's matrix to the paper's, and back


def unpack(in_proj_weight, num_heads):
    return tuple(third.unflatten(0, (num_heads, -1)).transpose(1, 2) for third in in_proj_weight.chunk(3))


def unpack_by_loop(in_proj_weight, num_heads):
    d_model = in_proj_weight.size(1)
    D = d_model // num_heads
    starts = [[part * d_model + head * D for head in range(num_heads)] for part in range(3)]
    return [torch.stack([in_proj_weight[start : start + D].T for start in row]) for row in starts]


def unpack_by_columns(in_proj_weight, num_heads):
    return [torch.stack(third.T.chunk(num_heads, dim=1)) for third in in_proj_weight.split(in_proj_weight.size(1))]


def unpack_by_einsum(in_proj_weight, num_heads):
    blocks = in_proj_weight.view(3, num_heads, -1, in_proj_weight.size(1))
    return torch.einsum("phdm->phmd", blocks).unbind()


def unpack_numbered(in_proj_weight, num_heads):
    table = in_proj_weight.numpy().reshape(3, num_heads, -1, in_proj_weight.size(1))
    return tuple(torch.from_numpy(part).mT for part in table)


def unpack_by_memory_order(w, h):
    return tuple(third.reshape(h, -1, third.size(1) // h) for third in w.chunk(3))


def test_unpack():
    examine(
        check_unpack,
        right=[unpack, unpack_by_loop, unpack_by_columns, unpack_by_einsum, unpack_numbered],
        wrong=[
            unpack_by_memory_order,
            lambda w, h: unpack(w, h)[0],
            lambda w, h: torch.stack(unpack(w, h)),
            lambda w, h: unpack(w, 1),
            lambda w, h: w,
            lambda w, h: tuple(-x for x in unpack(w, h)),
            lambda w, h: unpack(w, w.size(1) // h),
            lambda w, h: tuple(x.transpose(0, 1) for x in unpack(w, h)),
            lambda w, h: tuple(x[:, : x.size(2)] for x in unpack(w, h)),
            lambda w, h: (unpack(w, h)[0],) * 3,
            lambda w, h: tuple(t.unflatten(1, (h, -1)).permute(1, 0, 2) for t in w.T.chunk(3, 0)),
        ],
        same=["tuple(matrices) → matrices"],  # a list is as good
    )  # fmt: skip


def pack(W_Q, W_K, W_V):
    return torch.cat([W.transpose(1, 2).flatten(0, 1) for W in (W_Q, W_K, W_V)])


def pack_side_by_side(W_Q, W_K, W_V):
    return torch.cat([head for W in (W_Q, W_K, W_V) for head in W], dim=1).T


def pack_into_a_table(W_Q, W_K, W_V):
    H, d_model, D = W_Q.shape
    packed = torch.empty(3, H, D, d_model)
    for part, W in enumerate((W_Q, W_K, W_V)):
        for head in range(H):
            packed[part, head] = W[head].T
    return packed.flatten(0, 2)


def pack_by_einsum(W_Q, W_K, W_V):
    return torch.einsum("phmd->phdm", torch.stack((W_Q, W_K, W_V))).reshape(-1, W_Q.size(1))


def test_pack():
    examine(
        check_pack,
        right=[pack, pack_side_by_side, pack_into_a_table, pack_by_einsum],
        wrong=[
            lambda q, k, v: pack(q, q, q),
            lambda q, k, v: torch.stack([q, k, v]),
            lambda q, k, v: pack(q.flip(1), k.flip(1), v.flip(1)),
            lambda q, k, v: pack(q, k, v).chunk(3),
            lambda q, k, v: pack(q, k, v)[: q.size(1)],
            lambda q, k, v: torch.cat([q, k, v]).flatten(0, 1),
            lambda q, k, v: torch.cat([q, k, v]).mT.reshape(3 * q.size(1), -1)[:, : q.size(2)],
            lambda q, k, v: torch.cat([torch.cat(list(W), 1) for W in (q, k, v)]),
            lambda q, k, v: pack(q, k, v).reshape(q.size(1), -1),
            lambda q, k, v: torch.cat([W.flatten(0, 1) for W in (q, k, v)], 1).T,
            lambda q, k, v: torch.stack([W.mT.flatten(0, 1) for W in (q, k, v)]),
            lambda q, k, v: torch.stack([W.mT.flatten(0, 1) for W in (q, k, v)], 1).flatten(0, 1),
        ],
    )  # fmt: skip


# All heads by einsum


def by_loop(x, W_Q, W_K, W_V, W_O):
    heads = [scaled_dot_product_attention(x @ q, x @ k, x @ v)[0] @ o for q, k, v, o in zip(W_Q, W_K, W_V, W_O)]
    return sum(heads)


def by_one_product(x, W_Q, W_K, W_V, W_O):
    q, k, v = (x.unsqueeze(1) @ W for W in (W_Q, W_K, W_V))
    return (F.scaled_dot_product_attention(q, k, v) @ W_O).sum(1)


def by_joining(x, W_Q, W_K, W_V, W_O):
    q, k, v = (torch.einsum("b t m, h m d -> b h t d", x, W) for W in (W_Q, W_K, W_V))
    joined = scaled_dot_product_attention(q, k, v)[0].transpose(1, 2).flatten(2)
    return joined @ W_O.flatten(0, 1)


def test_by_einsum():
    hints = examine(
        check_by_einsum,
        right=[by_loop, by_one_product, by_joining],
        wrong=[
            lambda x, q, k, v, o: by_loop(x, k, q, v, o),
            lambda x, q, k, v, o: by_loop(x, q, k, v, o)[:, :1],
            lambda x, q, k, v, o: by_loop(x, q, k, v, o).detach(),
            lambda x, q, k, v, o: by_loop(x, q[:1], k[:1], v[:1], o[:1]),
            lambda x, q, k, v, o: torch.stack([by_loop(x, *(W[i : i + 1] for W in (q, k, v, o))) for i in range(len(q))]),
            lambda x, q, k, v, o: by_loop(x, q, k, v, o.mean(0, keepdim=True).expand_as(o)),
            lambda x, q, k, v, o: x,
        ],
    )  # fmt: skip
    print(hints)


# Multi-query attention


def multi_query_by_loop(x, W_Q, W_K, W_V):
    return torch.stack([scaled_dot_product_attention(x @ W, x @ W_K, x @ W_V)[0] for W in W_Q], dim=1)


def multi_query_by_copies(x, W_Q, W_K, W_V):
    q, k, v = (x.unsqueeze(1) @ W for W in (W_Q, W_K.expand_as(W_Q), W_V.expand_as(W_Q)))
    return scaled_dot_product_attention(q, k, v)[0]


def multi_query_by_gqa(x, W_Q, W_K, W_V):
    q = x.unsqueeze(1) @ W_Q
    return F.scaled_dot_product_attention(q, (x @ W_K).unsqueeze(1), (x @ W_V).unsqueeze(1), enable_gqa=True)


def test_multi_query_attention():
    hints = examine(
        check_multi_query_attention,
        right=[multi_query_by_loop, multi_query_by_copies, multi_query_by_gqa],
        wrong=[
            lambda x, q, k, v: multi_query_by_loop(x, q, v, k),
            lambda x, q, k, v: multi_query_by_loop(x, q[:1], k, v),
            lambda x, q, k, v: multi_query_by_loop(x, q.flip(0), k, v),
            lambda x, q, k, v: multi_query_by_loop(x, q, k, v).detach(),
            lambda x, q, k, v: multi_query_by_loop(x, q, k, v) / len(q),
            lambda x, q, k, v: torch.stack([scaled_dot_product_attention(x @ W, x @ W, x @ v)[0] for W in q], dim=1),
        ],
    )  # fmt: skip
    print(hints)


# Cutting an edge


def cut_by_a_mask(weights, query, key):
    scores = weights.log()
    scores[..., query, key] = -torch.inf
    return scores.softmax(-1).nan_to_num(0.0)


def cut_one_row(weights, query, key):
    result = weights.clone()
    result[..., query, key] = 0.0
    row = result[..., query, :]
    total = row.sum(-1, keepdim=True)
    result[..., query, :] = torch.where(total == 0, torch.zeros_like(row), row / total)
    return result


def cut_by_loop(weights, query, key):
    result = weights.clone()
    for rows in result.flatten(0, 1):
        rows[query, key] = 0.0
        if rows[query].sum() > 0:
            rows[query] = rows[query] / rows[query].sum()
    return result


def test_cut_edge():
    hints = examine(
        check_cut_edge,
        right=[cut_by_a_mask, cut_one_row, cut_by_loop],
        wrong=[
            lambda w, q, k: w,
            lambda w, q, k: cut_one_row(w, q, w.size(-1) - 1 - k),
            lambda w, q, k: cut_one_row(w, q, k)[:, :1],
            lambda w, q, k: torch.cat([w[..., :k], w[..., k + 1 :]], -1),
            lambda w, q, k: cut_one_row(w, q, k).masked_fill(w == 0, 1 / w.size(-1)),
            lambda w, q, k: F.normalize(w.index_fill(-1, torch.tensor(k), 0.0), dim=-1),
            lambda w, q, k: torch.cat([cut_one_row(w[:1], q, k), w[1:]]),
        ],
        same=["-2 → 2"],
    )  # fmt: skip
    print(hints)


# Own sentences

GOOD = """singular	the cat near the dogs that the boys see
singular	the fox that the judges follow
singular	beside the geese the writer
plural	the foxes near the judge
plural	now the writers with the child
plural	when the wolf slept the geese near the fox
singular	the goose behind the foxes beside the geese
plural	the judges that followed the writer
"""


def test_own_sentences(tmp_path, capsys):
    path = tmp_path / "mine.tsv"

    def said(text):
        path.write_text(text, encoding="utf-8")
        return check_sentences(path), capsys.readouterr().out

    assert check_sentences(None) is None and capsys.readouterr().out.startswith("not written yet")
    assert check_sentences(tmp_path / "missing.tsv") is False and "no such file" in capsys.readouterr().out
    assert said(GOOD) == (True, "✓ 8 sentences, 4 of them plural; the models have seen none of them\n")
    trained = load_agreement()["train"]
    for text, message in {
        GOOD.replace("singular", "plural"): "use singular and plural",
        GOOD.replace("the fox that", "the elephant that"): "line 2: the models do not know 'elephant'",
        GOOD + f"singular\t{trained.text[0]}\n": "line 9: the models were trained on",
        GOOD + GOOD: "line 9: 'the cat near the dogs that the boys see' stands already in line 1",
        GOOD[: GOOD.index("plural\tthe judges")]: "7 sentences are few",
        GOOD.replace("\t", " "): "line 1: 0 tabs",
    }.items():
        verdict, printed = said(text)
        assert verdict is False and printed.startswith("✗ ") and message in printed


# What one head adds


def part_by_columns(heads, out_proj_weight, head):
    D = heads.size(-1)
    return F.linear(heads[:, head], out_proj_weight[:, head * D : (head + 1) * D])


def part_by_zeros(heads, out_proj_weight, head):
    alone = torch.zeros_like(heads)
    alone[:, head] = heads[:, head]
    return F.linear(alone.transpose(1, 2).flatten(2), out_proj_weight)


def part_by_chunks(heads, out_proj_weight, head):
    return heads.unbind(1)[head] @ out_proj_weight.T.chunk(heads.size(1))[head]


def part_by_einsum(heads, out_proj_weight, head):
    blocks = out_proj_weight.unflatten(1, heads.shape[1:4:2])
    return torch.einsum("bhtd,ohd->bhto", heads, blocks)[:, head]


def part_by_difference(heads, out_proj_weight, head):
    kept = torch.ones(heads.size(1)).index_fill(0, torch.tensor(head), 0.0).view(1, -1, 1, 1)
    whole, rest = ((h.transpose(1, 2).flatten(2)) @ out_proj_weight.T for h in (heads, heads * kept))
    return whole - rest


def test_part_of_head():
    examine(
        check_part_of_head,
        right=[part_by_columns, part_by_zeros, part_by_chunks, part_by_einsum, part_by_difference],
        wrong=[
            lambda h, w, i: part_by_columns(h, w.T, i),
            lambda h, w, i: part_by_columns(h, w, 0),
            lambda h, w, i: part_by_columns(h, w, i).detach(),
            lambda h, w, i: part_by_columns(h, w, i).sum(1),
            lambda h, w, i: torch.zeros_like(part_by_columns(h, w, i)),
            lambda h, w, i: h[i : i + 1, i] @ w[:, i * h.size(3) : (i + 1) * h.size(3)].T,
            lambda h, w, i: h[:, i] @ w[:, : h.size(3)].T,
            lambda h, w, i: h[:, i] @ w[:, i * h.size(1) : i * h.size(1) + h.size(3)].T,
            lambda h, w, i: h.transpose(1, 2)[:, i].flatten(1) @ w.T,
            lambda h, w, i: h.mean(1) @ w[:, i * h.size(3) : (i + 1) * h.size(3)].T,
            lambda h, w, i: part_by_columns(h, w, i) / h.size(1),
        ],
    )  # fmt: skip


# Grouped-query attention


def grouped(query, key, value, mask=None):
    times = query.size(1) // key.size(1)
    key, value = key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)
    return scaled_dot_product_attention(query, key, value, mask)[0]


def grouped_by_an_axis(query, key, value, mask=None):
    B, H, T, D = query.shape
    G = key.size(1)
    if mask is not None:
        mask = mask.expand(B, H, T, key.size(2)).unflatten(1, (G, H // G))
    parts = query.unflatten(1, (G, H // G))
    return scaled_dot_product_attention(parts, key.unsqueeze(2), value.unsqueeze(2), mask)[0].flatten(1, 2)


def grouped_by_loop(query, key, value, mask=None):
    B, H, T, D = query.shape
    mask = torch.ones(1, dtype=torch.bool) if mask is None else mask
    mask, heads = mask.expand(B, H, T, key.size(2)), []
    for h in range(H):
        g = h * key.size(1) // H
        scores = query[:, h] @ key[:, g].mT / D**0.5
        heads.append(scores.masked_fill(~mask[:, h], -torch.inf).softmax(-1) @ value[:, g])
    return torch.stack(heads, dim=1)


def grouped_by_index(query, key, value, mask=None):
    group = torch.arange(query.size(1)) // (query.size(1) // key.size(1))
    return F.scaled_dot_product_attention(query, key[:, group], value[:, group], mask)


def grouped_by_pytorch(query, key, value, mask=None):
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)


def grouped_with_a_mask_for_each_sentence(query, key, value, mask=None):
    """Thinks that a mask is (B, T_q, T_k)."""
    if mask is not None and mask.dim() == 2:
        mask = mask.expand(query.size(0), -1, -1).unsqueeze(1)
    return grouped(query, key, value, mask if mask is None or mask.size(-2) == 1 else mask[:1])


def grouped_with_the_mask_of_group_heads(query, key, value, mask=None):
    """Gives the heads of a group the mask of its first head."""
    times = query.size(1) // key.size(1)
    if mask is not None and mask.dim() == 4 and mask.size(1) > 1:
        mask = mask[:, ::times].repeat_interleave(times, dim=1)
    return grouped(query, key, value, mask)


def grouped_by_a_reshaped_query(query, key, value, mask=None):
    """Puts the query heads of a group one after the other in time, and forgets that a mask has rows."""
    B, H, T, D = query.shape
    long = query.reshape(B, key.size(1), -1, D)
    rows = mask if mask is None or mask.size(-2) == 1 else mask[..., -1:, :]
    if rows is not None and rows.dim() == 4 and rows.size(1) > 1:
        rows = rows[:, : key.size(1)]
    return scaled_dot_product_attention(long, key, value, rows)[0].view(B, H, T, D)


def grouped_with_a_low_number(query, key, value, mask=None):
    """Hides by adding, and too little."""
    times = query.size(1) // key.size(1)
    scores = query @ key.repeat_interleave(times, 1).mT / query.size(-1) ** 0.5
    scores = scores if mask is None else scores - 5.0 * ~mask
    return scores.softmax(-1) @ value.repeat_interleave(times, 1)


def test_grouped_query_attention():
    examine(
        check_grouped_query_attention,
        right=[grouped, grouped_by_an_axis, grouped_by_loop, grouped_by_index, grouped_by_pytorch],
        wrong=[
            grouped_with_a_mask_for_each_sentence, grouped_with_the_mask_of_group_heads, grouped_by_a_reshaped_query,
            grouped_with_a_low_number,
            lambda q, k, v, m=None: grouped(q, k, v),
            lambda q, k, v, m=None: grouped(q, k, v, m).detach(),
            lambda q, k, v, m=None: grouped(q, v, k, m),
            lambda q, k, v, m=None: (grouped(q, k, v, m), None),
            lambda q, k, v, m=None: grouped(q, k, v, m)[:, : k.size(1)],
            lambda q, k, v, m=None: v,
            lambda q, k, v, m=None: grouped(q, k, v.detach(), m),
            lambda q, k, v, m=None: grouped(q, k, v, m if m is None or m.dim() > 2 else m[: q.size(2)].tril()),
            lambda q, k, v, m=None: grouped(q, k, v, m if m is None or m.size(-1) != 5 else m.flip(-1)),
            lambda q, k, v, m=None: grouped(q, k, v.flip(2), m),
        ],
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_the_matrices_of_the_paper_do_what_pytorch_does(seed):
    torch.manual_seed(seed)
    num_heads, d_model, length = [(1, 4), (2, 8), (4, 8), (3, 12), (8, 16)][seed] + (seed + 2,)
    theirs = nn.MultiheadAttention(d_model, num_heads, bias=False, batch_first=True, dtype=torch.float64).eval()
    x = torch.randn(2, length, d_model, dtype=torch.float64)
    matrices = unpack(theirs.in_proj_weight, num_heads)
    assert torch.equal(pack(*matrices), theirs.in_proj_weight)
    heads = torch.stack([scaled_dot_product_attention(x @ q, x @ k, x @ v)[0] for q, k, v in zip(*matrices)], dim=1)
    parts = sum(part_by_columns(heads, theirs.out_proj.weight, head) for head in range(num_heads))
    torch.testing.assert_close(parts, theirs(x, x, x)[0], atol=1e-12, rtol=0)
