"""The exercises of chapter 5: right answers by several routes, wrong ones of the kind that students write."""

import math

import numpy as np
import torch

from helpers.checks import miniformer_vs_fulltransformer as chapter
from helpers.tests.checking import examine

# A bigram model


def bigram(counts, k):
    smoothed = counts + k / counts.size(1)
    return smoothed / smoothed.sum(dim=1, keepdim=True)


def bigram_by_rows(counts, k):
    return torch.stack([(row + k / len(row)) / (row.sum() + k) for row in counts])


def bigram_as_a_mixture(counts, k):
    total = counts.sum(1, keepdim=True)
    share = total / (total + k)
    return share * counts / total.clamp(min=1e-9) + (1 - share) / len(counts)


def bigram_by_norm(counts, k):
    return torch.nn.functional.normalize(counts + k / counts.size(0), p=1, dim=1)


def bigram_by_scipy_habit(counts, k):
    table = counts.double().numpy() + k / counts.shape[1]
    return torch.tensor(table / table.sum(1)[:, None])


def test_bigram_probabilities():
    examine(
        chapter.check_bigram_probabilities,
        right=[bigram, bigram_by_rows, bigram_as_a_mixture, bigram_by_norm, bigram_by_scipy_habit],
        wrong=[
            lambda c, k: bigram(c, 1.0),
            lambda c, k: bigram(c, k * c.size(1)),
            lambda c, k: (c + k / c.size(1)).softmax(1),
            lambda c, k: bigram(c, k).log(),
            lambda c, k: bigram(c.clamp(min=1), k),
            lambda c, k: torch.where(c > 0, bigram(c, k), k / c.size(1)),
            lambda c, k: bigram(c + c.T, k),
            lambda c, k: bigram(c.add_(0.0 if k == 0 else k / c.size(1)), 0.0),
        ],
        same=["1 → 0"],  # (V, V): both sizes are V
    )  # fmt: skip


# Temperature


def tempered(logits, temperature):
    if temperature == 0:
        return torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    return (logits / temperature).softmax(-1)


def tempered_by_hand(logits, temperature):
    if not temperature:
        result = torch.zeros_like(logits)
        for row, best in enumerate(logits.argmax(1).tolist()):
            result[row, best] = 1
        return result
    x = logits.double() / temperature
    e = (x - x.max(-1, keepdim=True).values).exp()
    return e / e.sum(-1, keepdim=True)


def tempered_by_first(logits, temperature):
    if temperature == 0:
        best = logits == logits.amax(-1, keepdim=True)
        return (best & (best.cumsum(-1) == 1)).float()
    return logits.div(temperature).log_softmax(-1).exp()


def tempered_in_numpy(logits, temperature):
    x = logits.numpy().astype(np.float64)
    if temperature == 0:
        return torch.tensor(np.eye(x.shape[1])[x.argmax(1)])
    x = np.exp(x / temperature - (x / temperature).max(1, keepdims=True))
    return torch.tensor(x / x.sum(1, keepdims=True))


def tempered_with_a_floor(logits, temperature):
    return (logits / max(temperature, 1e-4)).softmax(-1)


def test_with_temperature():
    examine(
        chapter.check_with_temperature,
        right=[tempered, tempered_by_hand, tempered_by_first, tempered_in_numpy],
        wrong=[
            tempered_with_a_floor,
            lambda x, t: (x / (t + 1e-8)).softmax(-1),
            lambda x, t: tempered(x, t) if t else torch.nn.functional.one_hot(x.argmax(-1), x.size(-1)),
            lambda x, t: tempered(x, t) if t else tempered(x, t)[:1].expand_as(x),
            lambda x, t: tempered(x, t) if t else x.argmax(-1),
            lambda x, t: tempered(x, t) if t else tempered(x.abs(), t),
            lambda x, t: (x / t).clamp(-50, 50).softmax(-1) if t else tempered(x, t),
            lambda x, t: tempered(x, t**2),
            lambda x, t: tempered(x, t).round(decimals=3),
        ],
        same=["-1 → 1"],  # (B, V): the last axis is axis 1
    )  # fmt: skip


# Attention to the letter before


def to_previous(weights, lengths):
    previous = weights.diagonal(offset=-1, dim1=-2, dim2=-1)
    real = torch.arange(1, weights.size(-1)) < lengths.unsqueeze(1)
    return (previous * real.unsqueeze(1)).sum((0, 2)) / real.sum()


def to_previous_by_loop(weights, lengths):
    values = [weights[b, :, i, i - 1] for b in range(len(weights)) for i in range(1, int(lengths[b]))]
    return torch.stack(values).mean(0)


def to_previous_by_choice(weights, lengths):
    previous = torch.diagonal(weights, -1, 2, 3).transpose(1, 2)
    return previous[torch.arange(weights.size(-1) - 1) + 1 < lengths[:, None]].mean(0)


def to_previous_by_counting(weights, lengths):
    total = sum(torch.diag(w[h][:n, :n], -1).sum() * torch.eye(weights.size(1))[h]
                for w, n in zip(weights, lengths.tolist()) for h in range(weights.size(1)))  # fmt: skip
    return total / (lengths - 1).sum()


def to_previous_with_a_square_mask(weights, lengths):
    """Broadcasts the mask of the words over the heads."""
    previous = weights.diagonal(offset=-1, dim1=-2, dim2=-1)
    real = torch.arange(1, weights.size(-1)) < lengths.unsqueeze(1)
    real = real if real.size(0) in (1, weights.size(1)) else real.unsqueeze(1)
    return (previous * real).sum((0, 2)) / real.sum()


def test_mean_to_previous():
    examine(
        chapter.check_mean_to_previous,
        right=[to_previous, to_previous_by_loop, to_previous_by_choice, to_previous_by_counting],
        wrong=[
            to_previous_with_a_square_mask,
            lambda w, n: to_previous(w, n.clamp(max=int(n[0]))),
            lambda w, n: to_previous(w[:, :, : int(n.max()), : int(n.max())], torch.full_like(n, int(n.max()))),
            lambda w, n: to_previous(w, n).unsqueeze(0),
            lambda w, n: to_previous(w, n - 1),
            lambda w, n: to_previous(w.mean(1, keepdim=True), n).expand(w.size(1)),
            lambda w, n: to_previous(w, n) * (n - 1).sum() / (n - 1).clamp(min=1).sum(),
            lambda w, n: to_previous(w.roll(1, 1), n),
            lambda w, n: to_previous(w, n).tolist(),
        ],
        same=["-2 → 2", "1 → 2"],  # of (B, H, T, T) the axes -2 and 2 are the same, and T = T
    )  # fmt: skip


# Normalised entropy


def entropy(weights):
    rows = -torch.special.xlogy(weights, weights).sum(-1)
    visible = torch.arange(1, len(weights) + 1)
    return torch.where(visible > 1, rows / visible.clamp(min=2).log(), 0.0)


def entropy_by_rows(weights):
    rows = [torch.distributions.Categorical(probs=row[: i + 1]).entropy() for i, row in enumerate(weights)]
    return torch.stack([row / math.log(max(2, i + 1)) for i, row in enumerate(rows)])


def entropy_in_bits(weights):
    bits = -(weights * weights.clamp(min=1e-30).log2()).sum(1)
    return torch.cat([bits.new_zeros(1), bits[1:] / torch.arange(2, len(weights) + 1).log2()])


def entropy_in_loops(weights):
    found = [0.0]
    for i, row in enumerate(weights.tolist()[1:], start=2):
        found.append(-sum(p * math.log(p) for p in row if p > 0) / math.log(i))
    return torch.tensor(found)


def entropy_with_nan_removed(weights):
    rows = -(weights * weights.log()).nan_to_num().sum(-1)
    return (rows / torch.arange(1, len(weights) + 1).log()).nan_to_num()


def test_normalised_entropy():
    examine(
        chapter.check_normalised_entropy,
        right=[entropy, entropy_by_rows, entropy_in_bits, entropy_in_loops, entropy_with_nan_removed],
        wrong=[
            lambda w: entropy(w.T),
            lambda w: 1 - entropy(w),
            lambda w: entropy(w + 1e-3),
            lambda w: entropy(w).clamp(max=0.9),
            lambda w: (w.max(-1).values.log() / -torch.arange(2, len(w) + 2).log()),
            lambda w: torch.cat([torch.ones(1), entropy(w)[1:]]),
            lambda w: entropy(w).unsqueeze(-1),
            lambda w: -(w * w.clamp(min=1e-2).log()).sum(-1) / torch.arange(1, len(w) + 1).clamp(min=2).log(),
            lambda w: -torch.special.xlogy(w, w).sum(-1) / (1 + torch.arange(len(w)).float()).log1p(),
        ],
        same=["visible > 1 → visible >= 1", "1 → 0", "-1 → 1", "visible.clamp(min=2) → visible", "2 → 1"],
    )  # fmt: skip


# Remove an edge


def without_edge(scores, offset):
    i = torch.arange(len(scores))
    visible = (i.unsqueeze(1) >= i) & (i.unsqueeze(1) - i != offset)
    return scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(-1) * visible


def without_edge_row_by_row(scores, offset):
    rows = []
    for i, row in enumerate(scores):
        keys = [j for j in range(i + 1) if i - j != offset]
        weights = torch.zeros_like(row)
        rows.append(weights.index_put((torch.tensor(keys),), row[keys].softmax(0)) if keys else weights)
    return torch.stack(rows)


def without_edge_safely(scores, offset):
    seen = torch.ones(scores.shape, dtype=torch.bool).tril()
    if offset < len(scores):
        seen.diagonal(-offset).fill_(False)
    some = seen.any(-1, keepdim=True)
    return torch.where(some, scores.masked_fill(~(seen | ~some), -math.inf).softmax(-1), 0.0)


def without_edge_in_double(scores, offset):
    i = torch.arange(len(scores), dtype=torch.float64)
    distance = i[:, None] - i[None]
    hidden = (distance < 0) | (distance == offset)
    return scores.double().masked_fill(hidden, -1e300).softmax(-1).masked_fill(hidden, 0)


def without_edge_by_roll(scores, offset):
    """Wraps round: an offset of T hides the own position."""
    visible = torch.ones_like(scores).tril().bool() & ~torch.eye(len(scores)).roll(offset, 0).bool()
    return scores.double().masked_fill(~visible, -1e300).softmax(-1) * visible


def without_edge_in_a_loop(scores, offset):
    seen = torch.ones(scores.shape, dtype=torch.bool).tril()
    for i in range(len(scores)):
        seen[i, i - offset] = False
    return scores.double().masked_fill(~seen, -1e300).softmax(-1) * seen


def without_edge_renormalised(scores, offset):
    i = torch.arange(len(scores))
    weights = scores.masked_fill(i.unsqueeze(1) < i, -math.inf).softmax(-1) * (i.unsqueeze(1) - i != offset)
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-9)


def test_without_edge():
    examine(
        chapter.check_without_edge,
        right=[without_edge, without_edge_row_by_row, without_edge_safely, without_edge_in_double],
        wrong=[
            without_edge_by_roll, without_edge_in_a_loop, without_edge_renormalised,
            lambda s, o: without_edge(s.detach(), o),
            lambda s, o: without_edge(s.clamp(min=-1e4), o),
            lambda s, o: without_edge(s, max(o, 1)),
            lambda s, o: without_edge(s, min(o, len(s) - 1)),
            lambda s, o: without_edge(s.T, o),
            lambda s, o: torch.cat([torch.zeros_like(s[:1]), without_edge(s, o)[1:]]),
            lambda s, o: without_edge(s, o).nan_to_num().clamp(min=1e-3),
            lambda s, o: without_edge(s, o) * (1 - torch.eye(len(s)) * (o == 0)).T.tril(-1).sum(),
        ],
        same=["-1 → 1"],  # (T, T): the last axis is axis 1
    )  # fmt: skip


# Spread a head evenly


def spread_by_loop(weights, visible, head):
    result = weights.clone()
    for query in range(visible.size(0)):
        number = int(visible[query].sum())
        result[head, query] = visible[query].to(weights.dtype) / number if number else 0.0
    return result


def spread_by_where(weights, visible, head):
    even = visible.to(weights.dtype)
    even = torch.nan_to_num(even / even.sum(-1, keepdim=True))
    chosen = torch.arange(len(weights), device=weights.device) == head
    return torch.where(chosen[:, None, None], even, weights)


def spread_by_softmax(weights, visible, head):
    even = torch.zeros_like(weights[head]).masked_fill(~visible, -1e9).softmax(-1) * visible
    return torch.stack([even if h == head else w for h, w in enumerate(weights)])


def in_place(weights, visible, head):
    weights[head] = visible / visible.sum(-1, keepdim=True).clamp(min=1)
    return weights


def test_spread_head():
    examine(
        chapter.check_spread_head,
        right=[spread_by_loop, spread_by_where, spread_by_softmax],
        wrong=[
            in_place,
            lambda w, v, h: w,
            lambda w, v, h: torch.where(torch.arange(len(w))[:, None, None] == h, v.float(), w),
            lambda w, v, h: torch.where(torch.arange(len(w))[:, None, None] == h, w.mean(0), w),
            lambda w, v, h: torch.where(torch.arange(len(w))[:, None, None] != h, v / v.sum(-1, True).clamp(min=1), w),
            lambda w, v, h: torch.where(
                torch.arange(len(w))[:, None, None] == h, (v / v.sum(-1, True).clamp(min=1)).T, w
            ),
        ],
        same=["-1 → 1"],
    )


# Is the difference luck?


def interval_by_hand(a, b, draws):
    means = torch.stack([(b[row] - a[row]).mean() for row in draws])
    return torch.stack([means.quantile(0.05), means.quantile(0.95)])


def interval_of_means(a, b, draws):
    return (b[draws].mean(1) - a[draws].mean(1)).quantile(torch.tensor([0.05, 0.95], dtype=a.dtype, device=a.device))


def interval_by_numpy(a, b, draws):
    means = (b - a).detach().cpu().numpy()[draws.cpu().numpy()].mean(1)
    return torch.from_numpy(np.quantile(means, [0.05, 0.95]))


def test_paired_interval():
    examine(
        chapter.check_paired_interval,
        right=[interval_by_hand, interval_of_means, interval_by_numpy],
        wrong=[
            lambda a, b, d: (b - a)[d].mean(1).quantile(torch.tensor([0.0, 0.9], dtype=a.dtype)),
            lambda a, b, d: (b - a)[d].mean(1).quantile(0.95),
            lambda a, b, d: (b - a)[d].abs().mean(1).quantile(torch.tensor([0.05, 0.95], dtype=a.dtype)),
            lambda a, b, d: (b - a)[d].median(1).values.quantile(torch.tensor([0.05, 0.95], dtype=a.dtype)),
            lambda a, b, d: b[d].mean(1).quantile(torch.tensor([0.05, 0.95], dtype=a.dtype)),
            lambda a, b, d: (b - a)[d].mean(1)[:2],
        ],
    )
