"""The exercises of chapter 2: right answers by several routes, wrong ones of the kind that students write."""

from fractions import Fraction

import numpy as np
import torch
from torch.nn import functional as F

from helpers.checks.seq2seq_alignment import check_alignment_error, check_by_length, check_least_error
from helpers.checks.seq2seq_attention import (
    check_coverage,
    check_dropped_weights,
    check_local_weights,
    check_location_weights,
)
from helpers.tests.checking import examine

# Coverage


def coverage(weights, target_mask, source_mask, least):
    total = (weights * target_mask.unsqueeze(-1)).sum(dim=1) * source_mask
    return total, ((total < least) & source_mask).sum(dim=1)


def coverage_by_loop(weights, target_mask, source_mask, least):
    total = torch.einsum("bqk,bq->bk", weights, target_mask.float()).masked_fill(~source_mask, 0.0)
    forgotten = [sum(bool(t < least) for t, real in zip(row, m) if real) for row, m in zip(total, source_mask)]
    return total, torch.tensor(forgotten, dtype=torch.float)


def coverage_by_filling(weights, target_mask, source_mask, least):
    total = weights.masked_fill(~(target_mask.unsqueeze(2) & source_mask.unsqueeze(1)), 0.0).sum(1)
    return [total, torch.where(source_mask, total, torch.inf).lt(least).sum(-1).int()]


def coverage_by_matmul(weights, target_mask, source_mask, least):
    total = (target_mask.to(weights).unsqueeze(1) @ weights).squeeze(1) * source_mask.to(weights)
    return total, source_mask.sum(1) - ((total >= least) & source_mask).sum(1)


def coverage_in_double(weights, target_mask, source_mask, least):
    return coverage(weights.double(), target_mask, source_mask, least)


def coverage_of_lengths(weights, target_mask, source_mask, least):
    """Takes the masks for lengths: padding always on the right."""
    rows = [w[: int(t.sum())].sum(0) for w, t in zip(weights, target_mask)]
    total = torch.stack([F.pad(row[: int(s.sum())], (0, len(s) - int(s.sum()))) for row, s in zip(rows, source_mask)])
    return total, torch.tensor([int((row[: int(s.sum())] < least).sum()) for row, s in zip(total, source_mask)])


def coverage_by_sign(weights, target_mask, source_mask, least):
    total, _ = coverage(weights, target_mask, source_mask, least)
    return total, ((total > 0) & (total < least)).sum(1)


def coverage_renormalised(weights, target_mask, source_mask, least):
    kept = weights * source_mask.unsqueeze(1)
    return coverage(kept / kept.sum(-1, keepdim=True), target_mask, source_mask, least)


def coverage_squeezed(weights, target_mask, source_mask, least):
    total, forgotten = coverage(weights, target_mask, source_mask, least)
    return total.squeeze(), forgotten.squeeze()


def coverage_of_all_sentences(weights, target_mask, source_mask, least):
    total = weights[target_mask].sum(0) * source_mask
    return total, ((total < least) & source_mask).sum(1)


def test_coverage():
    examine(
        check_coverage,
        right=[coverage, coverage_by_loop, coverage_by_filling, coverage_by_matmul, coverage_in_double],
        wrong=[
            coverage_of_lengths, coverage_by_sign, coverage_renormalised, coverage_squeezed, coverage_of_all_sentences,
            lambda w, t, s, least: coverage(w, t, s, least)[0],
            lambda w, t, s, least: coverage(w, t, s, 0.5),
            lambda w, t, s, least: coverage(w.detach(), t, s, least),
            lambda w, t, s, least: coverage(w.mul_(t.unsqueeze(-1)), t, s, least),
            lambda w, t, s, least: coverage(w.round(), t, s, least),
            lambda w, t, s, least: (coverage(w, t, s, least)[0], coverage(w, t, s, least)[1] > 0),
            lambda w, t, s, least: (coverage(w, t, s, least)[0], coverage(w, t, s, least)[1] / s.sum(1)),
            lambda w, t, s, least: (coverage(w, t, s, least)[0], coverage(w, t, s + 1e-6 < least)[1]),
        ],
    )  # fmt: skip


# Short, medium, long


def by_length(lengths, values, edges):
    group = torch.bucketize(lengths, torch.tensor(edges))
    members = [group == g for g in range(len(edges) + 1)]
    return torch.stack([values[m].mean() for m in members]), torch.stack([m.sum() for m in members])


def by_limits(lengths, values, edges):
    means, counts = [], []
    for low, high in zip((-float("inf"), *edges), (*edges, float("inf"))):
        chosen = [v for n, v in zip(lengths.tolist(), values.tolist()) if low < n <= high]
        means.append(sum(chosen) / len(chosen) if chosen else float("nan"))
        counts.append(len(chosen))
    return torch.tensor(means), torch.tensor(counts)


def by_one_hot(lengths, values, edges):
    group = (lengths.unsqueeze(1) > torch.tensor(edges)).sum(1)
    members = F.one_hot(group, len(edges) + 1).to(values)
    return [values @ members / members.sum(0), members.sum(0)]


def by_scatter(lengths, values, edges):
    group = torch.bucketize(lengths, torch.tensor(edges))
    counts = torch.bincount(group, minlength=len(edges) + 1)
    return torch.zeros(len(edges) + 1).index_add(0, group, values) / counts, counts


def by_numpy(lengths, values, edges):
    group = np.digitize(lengths.numpy(), edges, right=True)
    chosen = [values.numpy()[group == g] for g in range(len(edges) + 1)]
    means = [c.mean(dtype=np.float64) if len(c) else np.nan for c in chosen]
    return torch.tensor(means), torch.tensor([len(c) for c in chosen])


def by_running_mean(lengths, values, edges):
    """Divides by the number in all groups so far."""
    means, counts = by_length(lengths, values, edges)
    return means * counts / counts.cumsum(0), counts


def by_present_groups(lengths, values, edges):
    means, counts = by_length(lengths, values, edges)
    return means[counts > 0], counts[counts > 0]


def by_median(lengths, values, edges):
    group = torch.bucketize(lengths, torch.tensor(edges))
    members = [values[group == g] for g in range(len(edges) + 1)]
    return torch.stack([m.median() if len(m) else torch.tensor(torch.nan) for m in members]), by_length(
        lengths, values, edges)[1]  # fmt: skip


def by_neighbours(lengths, values, edges):
    """Puts a length to the group of the nearest edge."""
    group = (lengths.unsqueeze(1) - torch.tensor(edges)).abs().argmin(1)
    members = [group == g for g in range(len(edges) + 1)]
    return torch.stack([values[m].mean() for m in members]), torch.stack([m.sum() for m in members])


def by_unique_lengths(lengths, values, edges):
    means, counts = by_length(lengths, values, edges)
    kinds = by_length(lengths.unique(), torch.zeros(len(lengths.unique())), edges)[1]
    return means, kinds


def test_by_length():
    examine(
        check_by_length,
        right=[by_length, by_limits, by_one_hot, by_scatter, by_numpy],
        wrong=[
            by_running_mean, by_present_groups, by_median, by_neighbours, by_unique_lengths,
            lambda n, v, edges: by_length(n, v, edges[:1]),
            lambda n, v, edges: by_length(n, v, (5, 8)),
            lambda n, v, edges: by_length(n, v, edges)[0],
            lambda n, v, edges: tuple(x.tolist() for x in by_length(n, v, edges)),
            lambda n, v, edges: by_length(n, v, tuple(e - 1 for e in edges)),
            lambda n, v, edges: by_length(n, v.sort().values, edges),
            lambda n, v, edges: by_length(n.clamp(max=16), v, edges),
            lambda n, v, edges: by_length(n, v.abs(), edges),
        ],
    )  # fmt: skip


# Alignment error


def error(weights, gold, source_length, target_length):
    best = weights[:target_length, :source_length].argmax(dim=-1).tolist()
    guess = {(source, target) for target, source in enumerate(best)}
    return 1 - 2 * len(guess & gold) / (len(guess) + len(gold))


def error_by_tables(weights, gold, source_length, target_length):
    guess, truth = torch.zeros(2, target_length, source_length)
    guess[torch.arange(target_length), weights[:target_length, :source_length].max(-1).indices] = 1
    for i, j in gold:
        truth[j, i] = 1
    return 1 - 2 * (guess * truth).sum() / (guess.sum() + truth.sum())


def error_as_fraction(weights, gold, source_length, target_length):
    both = sum((int(weights[j, :source_length].argmax()), j) in gold for j in range(target_length))
    return 1 - Fraction(2 * both, target_length + len(gold))


def error_by_precision_and_recall(weights, gold, source_length, target_length):
    guess = {(int(row[:source_length].argmax()), j) for j, row in enumerate(weights[:target_length])}
    if not guess & gold:
        return 1
    precision, recall = len(guess & gold) / len(guess), len(guess & gold) / len(gold)
    return 1 - 2 / (1 / precision + 1 / recall)


def error_without_gold(weights, gold, source_length, target_length):
    return error(weights, gold, source_length, target_length) if gold else 0.0


def error_losing_gold(weights, gold, source_length, target_length):
    best = weights[:target_length, :source_length].argmax(dim=-1).tolist()
    size, hits = len(gold), 0
    for j, i in enumerate(best):
        if (i, j) in gold:
            gold.remove((i, j))
            hits += 1
    return 1 - 2 * hits / (len(best) + size)


def error_of_linked_words(weights, gold, source_length, target_length):
    best = weights[:target_length, :source_length].argmax(-1).tolist()
    guess = {(i, j) for j, i in enumerate(best) if any(j == target for _, target in gold)}
    return 1 - 2 * len(guess & gold) / (len(guess) + len(gold)) if gold else 1.0


def error_masked_late(weights, gold, source_length, target_length):
    best = weights.argmax(-1).tolist()
    guess = {(i, j) for j, i in enumerate(best) if i < source_length and j < target_length}
    return 1 - 2 * len(guess & gold) / max(len(guess) + len(gold), 1)


def error_from_one(weights, gold, source_length, target_length):
    best = weights[:target_length, :source_length].argmax(-1).tolist()
    guess = {(i + 1, j + 1) for j, i in enumerate(best)}
    return 1 - 2 * len(guess & gold) / (len(guess) + len(gold))


def test_alignment_error():
    examine(
        check_alignment_error,
        right=[error, error_by_tables, error_as_fraction, error_by_precision_and_recall, lambda *a: np.float64(error(*a))],
        wrong=[
            error_without_gold, error_losing_gold, error_of_linked_words, error_masked_late, error_from_one,
            lambda w, g, s, t: 0.5,
            lambda w, g, s, t: error(-w, g, s, t),
            lambda w, g, s, t: 100 * error(w, g, s, t),
            lambda w, g, s, t: round(error(w, g, s, t), 1),
            lambda w, g, s, t: error(w[:, 1:], g, s, t),
            lambda w, g, s, t: str(error(w, g, s, t)),
            lambda w, g, s, t: len(g) * error(w, g, s, t),
        ],
        same=["-1 → 1"],  # (T_q, T_k): the last axis is axis 1
    )  # fmt: skip


# Dropped attention weights


def dropped_by_bernoulli(weights, p, training):
    return weights * torch.bernoulli(torch.full_like(weights, 1 - p)) / (1 - p) if training else weights.clone()


def dropped_by_choice(weights, p, training):
    keep = torch.rand(weights.shape) < 1 - p
    return torch.where(keep, weights / (1 - p), 0.0) if training else weights


def dropped_by_numpy(weights, p, training):
    draws = np.random.random(tuple(weights.shape)) >= p
    return weights * torch.tensor(draws) * (1 / (1 - p)) if training else weights


own = torch.Generator()
own.seed()


def dropped_by_own_draws(weights, p, training):
    return weights * (torch.rand(weights.shape, generator=own) >= p) / (1 - p) if training else weights


def dropped_in_place(weights, p, training):
    if training:
        weights *= torch.rand_like(weights) >= p
        weights /= 1 - p
    return weights


def dropped_before_the_softmax(weights, p, training):
    scores = weights.clamp(min=1e-9).log()
    return scores.masked_fill((torch.rand_like(weights) < p) & training, -torch.inf).softmax(-1)


def dropped_in_pairs(weights, p, training):
    draws = torch.rand(*weights.shape[:-1], (weights.size(-1) + 1) // 2).repeat_interleave(2, -1)
    return weights * (draws[..., : weights.size(-1)] >= p) / (1 - p) if training else weights


def dropped_and_seeded(weights, p, training):
    torch.manual_seed(0)
    return F.dropout(weights, p, training)


def dropped_through_a_copy(weights, p, training):
    return F.dropout(torch.tensor(weights.tolist()), p, training)


def test_dropped_weights():
    examine(
        check_dropped_weights,
        right=[F.dropout, dropped_by_bernoulli, dropped_by_choice, dropped_by_numpy, dropped_by_own_draws],
        wrong=[
            dropped_in_place, dropped_before_the_softmax, dropped_in_pairs, dropped_and_seeded, dropped_through_a_copy,
            lambda w, p, training: F.dropout(w, 0.2, training),
            lambda w, p, training: F.dropout(w.unsqueeze(0), p, training),
            lambda w, p, training: F.dropout(w, p / 2, training) * (1 - p / 2) / (1 - p) if training else w,
            lambda w, p, training: F.dropout(w, p, training) + (0.01 if training else 0.0),
            lambda w, p, training: F.dropout(w.round(decimals=1), p, training),
            lambda w, p, training: F.dropout(w, p, training).tolist(),
            lambda w, p, training: torch.zeros_like(w) if training and p else w,
            lambda w, p, training: F.dropout(w, p, training) * (1 - p),
        ],
        same=["torch.rand_like(weights) >= p → torch.rand_like(weights) > p"],  # equal once in 2 ** 24 draws
    )  # fmt: skip


# The location score


def location_by_step(states, w, mask):
    rows = []
    for state, m in zip(states, mask):
        scores = torch.einsum("th,sh->ts", state, w[: len(m)])
        row = torch.zeros_like(scores)
        if m.any():
            row = row.index_put((torch.arange(len(scores))[:, None], m.nonzero().T), scores[:, m].softmax(-1))
        rows.append(row)
    return torch.stack(rows)


def location_by_padding(states, w, mask):
    full = F.pad(mask, (0, len(w) - mask.size(1))).unsqueeze(1)
    scores = (states @ w.T).masked_fill(~full, torch.finfo(states.dtype).min)
    return (scores.softmax(-1) * full)[..., : mask.size(1)]


def test_location_weights():
    examine(
        check_location_weights,
        right=[location_by_step, location_by_padding],
        wrong=[
            lambda s, w, m: location_by_padding(s, w, m).mean(1, keepdim=True).expand(-1, s.size(1), -1),
            lambda s, w, m: location_by_padding(s[:, -1:], w, m),
            lambda s, w, m: location_by_padding(s, w, m).transpose(1, 2),
            lambda s, w, m: location_by_padding(s, w, m).detach(),
            lambda s, w, m: location_by_padding(s / s.size(-1) ** 0.5, w, m),
        ],
    )  # fmt: skip


# Local attention


def local_by_loop(scores, centres, half_width, mask):
    result = torch.zeros_like(scores)
    for b in range(scores.size(0)):
        for t in range(scores.size(1)):
            p = centres[b, t]
            inside = [s for s in range(scores.size(2)) if mask[b, s] and abs(s - p) <= half_width]
            if inside:
                weights = scores[b, t, inside].softmax(0)
                bell = torch.stack([torch.exp(-((s - p) ** 2) / (2 * (half_width / 2) ** 2)) for s in inside])
                result = result.index_put((torch.tensor(b), torch.tensor(t), torch.tensor(inside)), weights * bell)
    return result


def local_by_where(scores, centres, half_width, mask):
    distance = torch.arange(scores.size(-1)).view(1, 1, -1) - centres[..., None]
    inside = torch.logical_and(mask[:, None], distance.abs() <= half_width)
    top = torch.where(inside, scores, torch.tensor(-torch.inf)).amax(-1, keepdim=True).nan_to_num(neginf=0.0)
    exp = torch.where(inside, (torch.where(inside, scores, top) - top).exp(), torch.zeros(()))
    return exp / exp.sum(-1, keepdim=True).clamp(min=1e-30) * torch.exp(-2 * (distance / half_width).square())


def test_local_weights():
    examine(
        check_local_weights,
        right=[local_by_loop, local_by_where],
        wrong=[
            lambda s, c, d, m: local_by_where(s, c[:, :1].expand_as(c), d, m),
            lambda s, c, d, m: local_by_where(s, c.floor(), d, m),
            lambda s, c, d, m: local_by_where(s, c, d + 1, m),
            lambda s, c, d, m: local_by_where(s, c, d, m).detach(),
            lambda s, c, d, m: local_by_where(torch.zeros_like(s), c, d, m),
        ],
    )  # fmt: skip


# The links of least error


def least_by_sorting(weights, gold):
    order = sorted(((w, i, j) for j, row in enumerate(weights.tolist()) for i, w in enumerate(row)), reverse=True)
    links, results = set(), []
    for position, (w, i, j) in enumerate(order):
        links.add((i, j))
        if position + 1 == len(order) or order[position + 1][0] < w:
            results.append((1 - 2 * len(links & gold) / (len(links) + len(gold)), -w))
    error, limit = min(results)
    return error, -limit


def least_by_tensors(weights, gold):
    wanted = torch.zeros_like(weights, dtype=torch.bool)
    for i, j in gold:
        wanted[j, i] = True
    limits = weights.flatten().unique().flip(0)
    links = weights.unsqueeze(0) >= limits.view(-1, 1, 1)
    errors = 1 - 2 * (links & wanted).sum((1, 2)) / (links.sum((1, 2)) + len(gold))
    return errors.min(), limits[errors.argmin()]


def test_least_error():
    examine(
        check_least_error,
        right=[least_by_sorting, least_by_tensors],
        wrong=[
            lambda w, g: (least_by_sorting(w, g)[0], 0.5),
            lambda w, g: least_by_sorting(w.amax(-1, keepdim=True).expand_as(w), g),
            lambda w, g: (round(least_by_sorting(w, g)[0], 1), least_by_sorting(w, g)[1]),
            lambda w, g: least_by_sorting(w / w.amax(), g),
            lambda w, g: (1 - least_by_sorting(w, g)[0], least_by_sorting(w, g)[1]),
        ],
        same=["weights.unique().tolist() → weights.unique()", "2.0 → 3.0", "2.0 → 1.0", "0.0 → 1.0", "0.0 → -1.0"],
    )
