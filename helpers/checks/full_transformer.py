"""The exercises of chapter 4 on training and layers: the schedule, RMSNorm, label smoothing."""

import torch
from torch.nn import functional as F

from helpers.checks.core import Exercise, then
from helpers.checks.shared import random

# The schedule


def warmup_lr(step, d_model, warmup):
    rise, fall = step * warmup**-1.5, step**-0.5
    return d_model**-0.5 * min(rise, fall)


def _linear_after(step, d_model, warmup):
    peak = (d_model * warmup) ** -0.5
    return peak * step / warmup if step <= warmup else peak * max(0.0, 2 - step / warmup)


check_warmup_lr = Exercise(
    warmup_lr,
    cases=[
        (1, 4, 1), (1, 4, 4), (2, 4, 1), (4, 4, 4), (16, 4, 4), (5, 4, 4), (1, 512, 4000), (3999, 512, 4000),
        (4000, 512, 4000), (4001, 512, 4000), (100_000, 512, 4000), (7, 100, 10), (25, 36, 9), (3, 1, 7),
    ],
    meaning="The rate rises for `warmup` steps, to 1/√(d_model · warmup), and then falls with 1/√step.",
    mistakes=[
        ("min( -> max(", "the smaller of the two, min: max falls while it should rise"),
        ("d_model**-0.5 * -> ", "the factor d_model^-0.5 is missing: wide models take smaller steps"),
        ("d_model**-0.5 -> d_model**0.5", "the power of d_model is -0.5: wide models take smaller steps, not larger ones"),
        ("d_model**-0.5 -> d_model**-1", "divide by the root of d_model, not by d_model"),
        ("warmup**-1.5 -> warmup**-0.5", "the power of warmup is -1.5, so that both branches meet at step = warmup"),
        ("warmup**-1.5 -> warmup**-1", "step / warmup reaches 1 at the end of the warm-up, but the other branch is only"
         " warmup^-0.5 there: the power of warmup is -1.5"),
        ("step**-0.5 -> step**-1", "after the warm-up the rate falls with the root of the step: step^-0.5"),
        (lambda step, d_model, warmup: warmup_lr(step - 1, d_model, warmup) if step > 1 else 0.0,
         "step counts from 1 already: nothing has to"
         " be subtracted"),
        ("rise, fall = -> step = step + 1\n    rise, fall =", "step counts from 1 already: nothing has to be added"),
        ("min(rise, fall) -> fall", "the rate does not rise: the other branch is step · warmup^-1.5 (mind the sign), and the"
         " smaller of the two counts"),
        ("min(rise, fall) -> rise", "this rises for ever: the other branch is step^-0.5 (mind the sign), and the smaller of"
         " the two counts"),
        (_linear_after, "after the warm-up the rate falls with step^-0.5, not along a straight line"),
    ],
    tolerance=lambda step, d_model, warmup: 1e-5 * warmup_lr(step, d_model, warmup),
).check  # fmt: skip


# RMSNorm


def rms_norm(x, weight, eps):
    mean_square = x.square().mean(dim=-1, keepdim=True)  # (..., d_model) → (..., 1)
    return x / (mean_square + eps).sqrt() * weight


check_rms_norm = Exercise(
    rms_norm,
    cases=[
        (torch.tensor([[3.0, 4.0]]), torch.tensor([1.0, 2.0]), 0.0),
        (torch.tensor([[1.0, 1.0], [0.0, 2.0]]), torch.tensor([1.0, 1.0]), 3.0),
        (random(5, seed=1), random(5, seed=2), 1e-6),
        (random(3, 3, seed=3) + 2, random(3, seed=4), 1e-6),
        (random(2, 3, 4, seed=5, scale=1e-3), random(4, seed=6), 1e-5),
        (torch.zeros(1, 3), torch.ones(3), 1e-5),
        (random(2, 2, 3, 6, seed=7, scale=50.0), random(6, seed=8), 1e-6),
    ],
    meaning="No mean, no bias: every vector gets the length √d_model, and then each feature its own weight.",
    mistakes=[
        ("x.square().mean -> x.mean", "the mean of the SQUARES, not of x"),
        ("x.square().mean(dim=-1, keepdim=True) -> x.var(dim=-1, unbiased=False, keepdim=True)", "this is the variance: RMSNorm"
         " does not take the mean away, neither in x nor in the root"),
        (lambda x, weight, eps: F.layer_norm(x, x.shape[-1:], weight, eps=eps), "this is layer norm: RMSNorm does not take"
         " the mean away"),
        ("(mean_square + eps).sqrt() -> (mean_square.sqrt() + eps)", "eps stands inside the root"),
        ("(mean_square + eps).sqrt() -> mean_square.sqrt()", "eps is missing: zeros would be divided by 0"),
        ("(mean_square + eps).sqrt() -> (mean_square + eps)", "the root is missing"),
        (".mean(dim=-1, keepdim=True) -> .sum(dim=-1, keepdim=True)", "the mean of the squares, not their sum: the length"
         " becomes √d_model, not 1"),
        (".mean(dim=-1, keepdim=True) -> .mean()", "each vector for itself: the mean goes over the last axis"),
        (".mean(dim=-1, keepdim=True) -> .mean(dim=0, keepdim=True)", "the mean goes over the features, the last axis"),
        (" * weight -> ", "the weights are missing"),
        (" * weight -> / weight", "multiply by the weights"),
        (" * weight -> * (1 + weight)", "the weights multiply as they are (some models learn weight - 1; this task does not)"),
    ],
    gradient=True,
).check  # fmt: skip


# Label smoothing


def smoothed_loss(logits, target, smoothing, pad_id):
    log_p = logits.log_softmax(dim=-1)  # (B, T, V)
    V = logits.size(-1)
    right = log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)  # (B, T)
    loss = -(1 - smoothing) * right - smoothing / V * log_p.sum(dim=-1)
    return loss[target != pad_id].mean()


def _without_padding_class(logits, target, smoothing, pad_id):
    log_p = logits.log_softmax(-1)
    right = log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    others = log_p.sum(-1) - log_p[..., pad_id]
    loss = -(1 - smoothing) * right - smoothing / (logits.size(-1) - 1) * others
    return loss[target != pad_id].mean()


def _without_padding_logit(logits, target, smoothing, pad_id):
    kept = [v for v in range(logits.size(-1)) if v != pad_id]
    index = (target - (target > pad_id).long()).clamp(max=len(kept) - 1)
    return smoothed_loss(logits[..., kept], index.masked_fill(target == pad_id, -1 % len(kept)), smoothing, -1)


_small = torch.tensor([[[0.0, 0.0, 0.6931]]])  # probabilities 1/4, 1/4 and 1/2
_two = torch.tensor([[[0.0, 0.0, 0.6931], [0.0, 2.0, 1.0]]])
_mean = "loss[target != pad_id].mean()"
_real = "(target != pad_id)"
_formula = "-(1 - smoothing) * right - smoothing / V * log_p.sum(dim=-1)"

check_smoothed_loss = Exercise(
    smoothed_loss,
    cases=[
        (_small, torch.tensor([[2]]), 0.0, 0),
        (_small, torch.tensor([[2]]), 0.3, 0),
        (_two, torch.tensor([[2, 0]]), 0.0, 0),
        (_two, torch.tensor([[2, 0]]), 0.3, 0),
        (_two, torch.tensor([[0, 2]]), 0.3, 0),  # padding on the left
        (random(2, 4, 6, seed=1), torch.tensor([[3, 1, 5, 2], [4, 0, 0, 0]]), 0.1, 0),
        (random(3, 3, 7, seed=2, scale=3.0), torch.tensor([[0, 5, 6], [1, 6, 6], [3, 2, 0]]), 0.2, 6),
        (random(3, 2, 5, seed=6), torch.tensor([[1, 3], [3, 3], [4, 0]]), 0.1, 3),  # a sentence of padding
        (random(2, 3, 5, seed=3), torch.tensor([[1, 2, 3], [4, 1, 2]]), 0.1, 0),
        (random(2, 3, 5, seed=7), torch.tensor([[0, 2, 1], [3, 1, 4]]), 0.2, 0),
        (random(2, 3, 4, seed=4), torch.tensor([[1, 2, 0], [3, 0, 0]]), 1.0, 0),
        (random(4, 4, 4, seed=5), torch.tensor([[1, 2, 3, 0], [2, 2, 1, 1], [3, 0, 0, 0], [1, 0, 0, 0]]), 0.4, 0),
        (torch.tensor([[[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]]]), torch.tensor([[2, 1]]), 0.3, 0),
    ],
    meaning="The best this loss can be is no longer 0: certainty is punished, whoever is right.",
    mistakes=[
        (f"{_mean} -> loss.mean()", "padding is counted: take the mean over the real tokens only"),
        (f"{_mean} -> (loss * {_real}).mean()", "divide by the number of real tokens, not by B · T"),
        (f"{_mean} -> ((loss * {_real}).sum(1) / {_real}.sum(1).clamp(min=1)).mean()", "every real token counts alike: one"
         " mean over all of them, not one mean for each sentence first"),
        (".mean() -> .sum()", "this is the sum; take the mean over the real tokens"),
        ("pad_id].mean() -> pad_id]", "one number for the whole batch: the mean over the real tokens"),
        ("!= pad_id -> != 0", "padding has the id pad_id, which need not be 0"),
        (f"{_formula} -> -(1 - smoothing - smoothing / (V - 1)) * right - smoothing / (V - 1) * log_p.sum(dim=-1)", "here the"
         " other V - 1 classes share the smoothing; in this definition all V do, the right one too: smoothing / V each"),
        (_without_padding_class, "all V classes get smoothing / V, the padding class too (F.cross_entropy makes no exception"
         " for it)"),
        ("-(1 - smoothing) * -> -", "the right token keeps 1 - smoothing; here the targets add up to more than 1"),
        (" - smoothing / V * log_p.sum(dim=-1) -> ", "the other classes get nothing: each gets smoothing / V"),
        (f"{_formula} -> -right", "smoothing is not used"),
        (f"{_formula} -> -smoothing * right - (1 - smoothing) / V * log_p.sum(dim=-1)", "1 - smoothing goes to the right"
         " token, and smoothing to all classes; here they are exchanged"),
        (" / V -> ", "smoothing is shared by the V classes: smoothing / V each"),
        (f"{_formula} -> -((1 - smoothing) * right.exp() + smoothing / V).log()", "smooth the target, not the prediction: the"
         " mean is taken of logarithms, not inside one"),
        (f"{_mean} -> -(1 - smoothing) * right[{_real}].mean() - smoothing * log_p.mean()", "the smoothing term counts padding:"
         " both terms are means over the real tokens"),
        ("log_softmax(dim=-1) -> log_softmax(dim=1)", "the softmax runs over the positions; it belongs over the classes,"
         " dim=-1"),
        (".log_softmax(dim=-1) -> ", "logits are not yet log-probabilities: log_softmax first"),
        ("log_softmax(dim=-1) -> softmax(dim=-1).log()", "the softmax underflows to 0, whose logarithm is -inf: use"
         " log_softmax"),
        ("logits.log_softmax(dim=-1) -> (logits.softmax(dim=-1) + 1e-9).log()", "a small number inside the logarithm bounds"
         " the loss: use log_softmax, which needs none"),
        (then(lambda loss: -loss), "the sign: a loss is MINUS the log-probability"),
    ],
    tolerance=1e-4,
    gradient=True,
).check  # fmt: skip
