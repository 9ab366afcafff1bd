"""The exercises of chapter 2 on weights: by position, in a window, added up, dropped."""

import math

import torch

from helpers.checks.compare import difference
from helpers.checks.core import Exercise, then
from helpers.checks.shared import random, real

# The location score


def location_weights(states, w, mask):
    scores = states @ w[: mask.size(1)].T  # (B, T, H) @ (H, S) → (B, T, S)
    mask = mask.unsqueeze(1)  # (B, S) → (B, 1, S)
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1).masked_fill(~mask, 0.0)


def _location_case(mask, steps, width, positions, seed, scale=1.0):
    return (
        random(len(mask), steps, width, seed=seed, scale=scale), random(positions, width, seed=seed + 1), mask,
    )  # fmt: skip


def _softmax_before_the_cut(states, w, mask):
    weights = (states @ w.T).softmax(-1)[..., : mask.size(1)]
    return weights * mask.unsqueeze(1)


_LOW = "scores.masked_fill(~mask, torch.finfo(scores.dtype).min)"

check_location_weights = Exercise(
    location_weights,
    cases=[
        (torch.ones(1, 1, 1), torch.tensor([[0.0], [0.6931], [5.0]]), real(2)),
        _location_case(real(3), 2, 2, 3, 1),
        _location_case(real(3, 2), 2, 3, 4, 3),  # B = T
        _location_case(real(4, 1, 2), 1, 4, 9, 5),
        _location_case(real(3, 0), 3, 2, 5, 7),
        (torch.ones(1, 2, 1), torch.tensor([[-2e5], [-1e5], [-3e5]]), real(2, width=3)),
        _location_case(torch.tensor([[False, True, True], [True, False, True]]), 4, 3, 3, 9),
    ],
    meaning="A score that never reads the words: it can only learn that the sentence is read from left to right.",
    mistakes=[
        ((_LOW + " -> scores", ".masked_fill(~mask, 0.0) -> "), "the mask is not used: padding gets weight"),
        (("mask = mask.unsqueeze(1) -> mask = ~mask.unsqueeze(1)"), "the mask is turned round: True means may attend"),
        (_LOW + " -> scores", "the mask comes after the softmax, so the weights no longer add up to 1"),
        (_softmax_before_the_cut, "the softmax ran over all positions that the model knows: cut to the S of this batch"
         " first"),
        ("w[: mask.size(1)] -> w[-mask.size(1) :]", "the first S rows of w belong to the first S positions; these are the"
         " last ones"),
        ("torch.finfo(scores.dtype).min -> -1e4", "the number that stands for a forbidden score is not low enough: allowed"
         " scores may be lower still; fill with torch.finfo(scores.dtype).min"),
        (("torch.finfo(scores.dtype).min -> -torch.inf", ".masked_fill(~mask, 0.0) -> "), "a sentence that is masked throughout"
         " is 0 / 0: fill with torch.finfo(...).min and set the forbidden weights to 0 after the softmax"),
        (".masked_fill(~mask, 0.0) -> ", "a sentence that is masked throughout became an average of everything: set the"
         " forbidden weights to 0 after the softmax"),
        (".softmax(-1) -> .softmax(1)", "the softmax runs over the decoder's steps; it belongs over the positions"),
    ],
    gradient=True,
).check  # fmt: skip


# Local attention


def local_weights(scores, centres, half_width, mask):
    distance = torch.arange(scores.size(-1)) - centres.unsqueeze(-1)  # (S,) - (B, T, 1) → (B, T, S)
    allowed = (distance.abs() <= half_width) & mask.unsqueeze(1)
    weights = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(-1)
    weights = weights.masked_fill(~allowed, 0.0)
    return weights * (-2 * (distance / half_width) ** 2).exp()  # (s - p)² / (2 σ²) with σ = D / 2


def _local_case(mask, steps, half_width, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(len(mask), steps, generator=generator) * (mask.size(1) - 1)
    return random(len(mask), steps, mask.size(1), seed=seed + 1, scale=scale), centres, half_width, mask


_bell = " * (-2 * (distance / half_width) ** 2).exp()"
_fill = "scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(-1)"

check_local_weights = Exercise(
    local_weights,
    cases=[
        (torch.zeros(1, 1, 3), torch.zeros(1, 1), 1, real(3)),
        (torch.zeros(1, 1, 5), torch.tensor([[2.0]]), 2, real(5)),  # exactly the width: inside
        _local_case(real(4), 2, 2, 1),
        _local_case(real(5, 3), 2, 2, 3),
        _local_case(real(6, 2), 3, 3, 5, scale=3.0),
        (torch.full((1, 1, 4), -1e5), torch.tensor([[1.5]]), 1, real(4)),
        (random(1, 3, 5, seed=7), torch.tensor([[9.0, 4.0, 1.0]]), 2, real(2, width=5)),  # for two steps nothing is allowed
        _local_case(torch.tensor([[True, False, True, True], [False, True, True, False]]), 4, 3, 8),
    ],
    meaning="The cost of a step no longer grows with the source.",
    mistakes=[
        (" & mask.unsqueeze(1) -> ", "padding inside the window gets weight: the mask is not used"),
        ("(distance.abs() <= half_width) & mask.unsqueeze(1) -> mask.unsqueeze(1).expand_as(scores)", "the window is not used:"
         " keys farther than half_width are forbidden"),
        (_bell + " -> ", "the bell curve is missing: weights fall with the distance from the centre"),
        ("(-2 * (distance -> (-(distance", "the exponent is -(s - p)² / (2σ²) with σ = half_width / 2, which is -2 ((s - p) /"
         " half_width)²"),
        ("(-2 * (distance -> (-0.5 * (distance", "σ is half_width / 2, not half_width"),
        ("<= half_width -> < half_width", "a key at a distance of exactly half_width is inside the window"),
        ("centres.unsqueeze(-1) -> centres.round().unsqueeze(-1)", "a centre need not be a whole number: do not round it"),
        (_fill + " -> scores.softmax(-1)", "the softmax runs over the allowed keys only: forbid the others before it"),
        (then(lambda w: w / w.sum(-1, keepdim=True).clamp(min=1e-9)), "the rows are not made to add up to 1 again after the bell"
         " curve"),
        ("weights = weights.masked_fill(~allowed, 0.0) -> pass", "where nothing is allowed the weights are 0: set the forbidden"
         " ones to 0 after the softmax"),
        (_fill + " -> (scores * (-2 * (distance / half_width) ** 2).exp()).masked_fill(~allowed, -1e9).softmax(-1)", "the bell"
         " curve multiplies the weights, not the scores"),
    ],
    gradient=True,
).check  # fmt: skip


# Coverage


def coverage(weights, target_mask, source_mask, least):
    total = (weights * target_mask.unsqueeze(-1)).sum(dim=1)  # (B, T_q, T_k) → (B, T_k)
    total = total * source_mask
    forgotten = (total < least) & source_mask
    return total, forgotten.sum(dim=1)  # (B, T_k), (B,)


def _coverage_case(target_mask, source_mask, seed, least=0.5, leak=False):
    """Return arguments; with `leak` padding receives weight too, as from a model without a mask."""
    weights = random(len(target_mask), target_mask.size(1), source_mask.size(1), seed=seed, scale=2.0).softmax(-1)
    if not leak:
        weights = weights * source_mask.unsqueeze(1)
        weights = weights / weights.sum(-1, keepdim=True)
    return weights, target_mask, source_mask, least


_each_weight = "((weights * target_mask.unsqueeze(-1)).amax(1) < least)"

check_coverage = Exercise(
    coverage,
    cases=[
        (torch.tensor([[[0.75, 0.25], [0.875, 0.125]]]), real(2), real(2), 0.5),
        (torch.tensor([[[1.0]]]), real(1), real(1), 1.0),  # exactly the limit: not below it
        (torch.tensor([[[0.5, 0.375, 0.125], [0.25, 0.5, 0.25], [0.125, 0.75, 0.125]]]), real(2, width=3), real(3), 0.75),
        _coverage_case(real(3, 2), real(3, 2), 1),
        _coverage_case(real(2, 5, 3), real(4, 2, 1), 2),
        _coverage_case(real(3, 3), real(3, 2), 3, least=0.3, leak=True),
        _coverage_case(real(6, 4), real(7, 5), 4, least=0.8),
        _coverage_case(real(3, 1, 2).flip(1), real(1, 3, 2).flip(1), 5, leak=True),  # B = T_q = T_k, padding on the left
        _coverage_case(torch.tensor([[True, False, True], [False, False, False]]), real(4, 2), 6, leak=True),
        _coverage_case(real(4, 2), real(2, 5), 7, least=0.0),
    ],
    meaning="A forgotten word is a question: is it untranslatable, left out, or does its neighbour stand for it?",
    mistakes=[
        (" * target_mask.unsqueeze(-1) -> ", "the steps after the end of the translation are counted: use target_mask"),
        ("target_mask.unsqueeze(-1) -> target_mask.unsqueeze(1)", "target_mask belongs to the steps: unsqueeze(-1) gives"
         " (B, T_q, 1), while (B, 1, T_q) hides source words"),
        (("total = total * source_mask -> pass", " & source_mask -> "), "padding is counted among the forgotten words, and"
         " keeps what it received"),
        ("total = total * source_mask -> pass", "padding keeps what it received: it must be 0"),
        (" & source_mask -> ", "padding is counted among the forgotten words: a real word is one where source_mask is"
         " True"),
        ("total * source_mask -> total * source_mask / target_mask.sum(1, keepdim=True).clamp(min=1)", "this is the mean"
         " over the steps; coverage is the total"),
        ("unsqueeze(-1)).sum( -> unsqueeze(-1)).amax(", "this is the largest weight of each word; coverage is the total"),
        (f"(total < least) -> {_each_weight}", "a word is forgotten when its TOTAL is below the limit, not when each"
         " weight is"),
        ("unsqueeze(-1)).sum(dim=1) -> unsqueeze(-1)).sum(dim=2)", "this is the total of each step, which is 1; add up over the"
         " steps, dim=1"),
        ("total < least -> total >= least", "these are the words that are covered; wanted are those below the limit"),
        ("total < least -> total <= least", "below the limit means less than it: a word that received exactly `least` is"
         " not forgotten"),
        (then(lambda result: result[::-1]), "return (total, forgotten), in this order"),
        (then(lambda result: (result[0], result[1].sum())), "one number for each sentence: (B,)"),
    ],
    gradient=True,
).check  # fmt: skip


# Dropped attention weights


def dropped_weights(weights, p, training):
    if not training:
        return weights
    kept = torch.rand_like(weights) >= p
    return weights * kept / (1 - p)


def _in_words(drop):
    """Return what right answers have in common, in words: the draws themselves differ from answer to answer."""

    def described(weights, p, training):
        got = drop(weights, p, training)
        wrong_kind = difference(weights, got, 1e30)  # type, shape and NaN only
        if wrong_kind or not training or p == 0:
            return got if wrong_kind else {"a weight is": _factor(weights, got, 0.0 if training else p)}
        many = weights.repeat(12, 20, 7)  # what is allowed below is six standard errors
        draws = torch.stack([drop(many.clone(), p, True) for _ in range(5)])
        alive = (many[0] > 0).all(0)  # columns that held no 0 before
        return {
            "a weight that is kept is": _factor(many, draws[0], p),
            "zeros:": _zeros(draws[..., alive] == 0, many[..., alive], p),
            "gradient:": _gradient(drop, many, p),
        }

    return described


def _factor(weights, got, p):
    kept = (got != 0) & (weights != 0)
    a, b = weights[kept], got[kept]
    known = {
        "as it was": 1.0,
        "divided by 1 - p": 1 / (1 - p),
        "divided by p": 1 / (p or 1),
        "multiplied by 1 - p": 1 - p,
    }
    sums = got.sum(-1)
    name = next((name for name, factor in known.items() if not difference(a * factor, b, 1e-5)), "something else")
    if name == "something else" and ((sums - 1).abs() < 1e-4).logical_or(sums == 0).all():
        return "made to add up to 1 in its row"
    return name if p == 0 or (kept == (weights != 0)).all() or name != "as it was" else "as it was, undivided"


def _zeros(zeros, weights, p):
    """Describe which weights are 0: `zeros` is (5 calls, B, T_q, T_k)."""
    share, room = zeros.float().mean().item(), 6 * math.sqrt(p * (1 - p) / zeros[0].numel())
    together = [(zeros & zeros.roll(1, axis)).float().mean().item() - share**2 for axis in (3, 2, 1)]
    large = weights > weights.median()
    if share in (0, 1):
        return "none" if share == 0 else "everywhere"
    if all(torch.equal(zeros[0], other) for other in zeros):
        return "the same at every call"
    if (zeros.all(-1) | ~zeros.any(-1)).all():
        return "in whole rows"
    for axis, excess in zip(("neighbours in a row", "all steps", "all sentences"), together):
        if abs(excess) > 2 * room:
            return f"alike in {axis}"
    if abs(zeros[:, large].float().mean() - zeros[:, ~large].float().mean()) > 3 * room:
        return "different in number for large and small weights"
    if abs(share - p) > room:
        return "a share of 1 - p" if abs(share - (1 - p)) < room else f"a share of {share:.2f}"
    counts = zeros.sum((1, 2, 3))
    return "always equally many" if (counts == counts[0]).all() else "a share of p, each by a draw of its own"


def _gradient(drop, weights, p):
    x = weights.clone().requires_grad_()
    output = drop(x, p, True)
    if not output.requires_grad:
        return "none"
    right = (output != 0) / (1 - p)
    got = torch.autograd.grad(output.sum(), x)[0]
    return "wrong" if difference(right, got * (weights != 0), 1e-4) else "1 / (1 - p) where kept, 0 elsewhere"


_small_weights = torch.tensor([[[0.5, 0.3, 0.2]]])

check_dropped_weights = Exercise(
    dropped_weights,
    view=_in_words,
    cases=[
        (_small_weights, 0.2, False),
        (_small_weights, 0.0, True),
        (_small_weights, 0.2, True),
        (torch.tensor([[[0.7, 0.3, 0.0], [0.1, 0.2, 0.7]]]), 0.3, True),
        (random(2, 3, 4, seed=1).softmax(-1), 0.7, True),
        (random(2, 3, 4, seed=1).softmax(-1), 0.3, False),
    ],
    meaning="The decoder can no longer lean on one word, and on average nothing changes.",
    mistakes=[
        ("not training -> False", "in evaluation (training=False) nothing is dropped and nothing divided: return the"
         " weights as they are"),
        (("return weights\n -> return weights * (1 - p)\n", " / (1 - p) -> "), "divide by 1 - p in training and do nothing"
         " in evaluation; here it is the other way round"),
        ("not training -> True", "nothing is dropped"),
        (" / (1 - p) -> ", "the kept weights are divided by 1 - p, so that the weight of each word stays the same on"
         " average"),
        ("(1 - p) -> (p or 1)", "divide by 1 - p, the share that is kept, not by p"),
        ((">= p -> < (p or 1)", "(1 - p) -> (p or 1)"), "p is the share that is dropped; here it is the share that is kept"),
        ("/ (1 - p) -> / (weights * kept).sum(-1, keepdim=True).clamp(min=1e-9)", "the rows are made to add up to 1 again:"
         " only divide by 1 - p. A row that loses all its weights stays 0"),
        ("rand_like(weights) -> rand(*weights.shape[:-1], 1)", "whole rows are dropped together: every single weight gets"
         " a draw of its own"),
        ("rand_like(weights) -> rand(weights.size(0), 1, weights.size(2))", "all steps of a sentence lose the same keys:"
         " every single weight gets a draw of its own"),
        ("rand_like(weights) -> rand(weights.shape[1:])", "all sentences lose the same weights: every single weight gets a"
         " draw of its own"),
        ("rand_like(weights) -> rand(weights.shape, generator=torch.Generator().manual_seed(0))", "the same weights are"
         " dropped at every call: draw anew each time"),
        ("torch.rand_like(weights) >= p -> (torch.randperm(weights.numel()) >= p * weights.numel()).view(weights.shape)",
         "each weight is dropped by its own draw, so that their number varies; here it is always the same"),
        ("rand_like(weights) -> rand_like(weights) ** (1 + (weights < weights.median()))", "large and small weights are"
         " dropped alike; here it depends on their size"),
        ("return weights * kept -> return weights.detach() * kept", "the gradient of a kept weight is 1 / (1 - p), that of"
         " a dropped one 0 (was the result detached?)"),
    ],
).check  # fmt: skip
