"""The exercises of chapter 4."""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from helpers.attention import causal_mask, scaled_dot_product_attention
from helpers.checks.core import Exercise, then
from helpers.checks.shared import After, Writes, random

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


# Nucleus sampling


def nucleus(logits, p):
    ordered, order = logits.sort(dim=-1, descending=True)  # (B, V)
    chances = ordered.softmax(dim=-1)
    before = chances.cumsum(dim=-1) - chances  # what the more probable ones have together
    dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= p)
    return logits.masked_fill(dropped, -math.inf)


check_nucleus = Exercise(
    nucleus,
    cases=[
        (torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.8),
        (torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.5),
        (torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.95),
        (torch.tensor([[0.1, 0.6, 0.3], [0.25, 0.05, 0.7]]).log(), 0.65),
        (torch.tensor([[2.0]]), 0.5),
        (torch.tensor([[-7.0, -9.0, -8.0], [30.0, 10.0, 20.0]]), 0.9),
        (random(4, 7, seed=1), 0.7),
        (random(3, 3, seed=2), 0.4),
        (random(3, 9, seed=3, scale=5.0), 1e-6),
        (random(2, 6, seed=4), 1.0),
        (torch.tensor([[0.0, -math.inf, 1.0, -math.inf, 2.0]]), 0.8),
        (random(5, 12, seed=5).double(), 0.9),
    ],
    meaning="Where the model is sure few tokens are left to draw from, where it is not, many.",
    mistakes=[
        ("before >= p -> before + chances >= p", "the token that passes p belongs to the nucleus: the smallest set whose"
         " probabilities sum to AT LEAST p"),
        ("scatter(-1, order, before >= p) -> logical_or(before >= p)", "this is in the order of the sorting: bring it back to"
         " the order of the vocabulary, for instance with scatter"),
        ("descending=True -> descending=False", "begin with the MOST probable token: descending=True"),
        (", -math.inf) -> , 0.0)", "0 is an ordinary logit, e^0 = 1: the others get -inf"),
        (", -math.inf) -> , -1e4)", "a large negative number is no promise, other logits may lie below it: -inf"),
        ("before >= p -> chances < p", "p is not a limit for a single probability, but for their sum"),
        ("ordered.softmax(dim=-1) -> ordered", "logits are not yet probabilities: softmax first"),
        (then(lambda logits: logits.softmax(-1)), "logits are asked for, -inf and all: the softmax comes later"),
        (then(lambda logits: logits == -math.inf), "this is the mask; put -inf where it is True"),
        (lambda logits, p: logits, "nothing is filtered: all outside the nucleus get -inf"),
    ],
).check  # fmt: skip


# One step with a cache


def cached_step(x, cache, w_q, w_k, w_v, num_heads):
    three = (x @ w for w in (w_q, w_k, w_v))  # (B, 1, d_model) each
    query, key, value = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in three)  # (B, H, 1, D)
    if cache is not None:
        key = torch.cat([cache[0], key], dim=2)  # (B, H, t + 1, D)
        value = torch.cat([cache[1], value], dim=2)
    output, weights = scaled_dot_product_attention(query, key, value)
    joined = output.transpose(1, 2).flatten(2)  # (B, 1, d_model)
    return joined, (key, value)


def _step_case(batch, num_heads, head_dim, earlier, seed, scale=1.0):
    d_model = num_heads * head_dim
    weights = tuple(random(d_model, d_model, seed=seed + i, scale=d_model**-0.5) for i in range(3))
    cache = None
    for i in range(earlier):
        _, cache = cached_step(random(batch, 1, d_model, seed=seed + 10 + i), cache, *weights, num_heads)
    return random(batch, 1, d_model, seed=seed + 5, scale=scale), cache, *weights, num_heads


def _grown(key, value):
    """Return the edits that let the cache grow in another way."""
    return (f"torch.cat([cache[0], key], dim=2) -> {key}", f"torch.cat([cache[1], value], dim=2) -> {value}")


_one = torch.ones(1, 1)
_attend = "attention(query, key, value)"
_join = "output.transpose(1, 2).flatten(2)"
_seen = "attention(query, key{0}, value{0})"

check_cached_step = Exercise(
    cached_step,
    cases=[
        (torch.tensor([[[3.0]]]), None, _one, _one, _one, 1),
        (torch.tensor([[[0.0]]]), (torch.tensor([[[[2.0]]]]), torch.tensor([[[[4.0]]]])), _one, _one, _one, 1),
        _step_case(1, 1, 2, 1, 1),
        _step_case(1, 2, 2, 0, 20),
        _step_case(1, 2, 2, 2, 40),
        _step_case(2, 2, 2, 3, 60),
        _step_case(3, 4, 3, 6, 80),
        _step_case(2, 3, 4, 1, 100),
        _step_case(2, 2, 4, 9, 120, scale=30.0),
        _step_case(4, 2, 1, 3, 140),  # B = t + 1
        _step_case(1, 2, 3, 150, 160),
    ],
    meaning="One query, one new key, one new value: the past is looked up and not computed again.",
    mistakes=[
        (_grown("key", "value"), "the cache is replaced by the new key and value: append them"),
        (_grown("torch.cat([cache[0][:, :, :-1], key], dim=2)", "torch.cat([cache[1][:, :, :-1], value], dim=2)"), "the newest"
         " key and value of the cache are overwritten: append instead"),
        (_grown("cache[0]", "cache[1]"), "the new key and value never get into the cache"),
        (_grown("torch.cat([key, cache[0]], dim=2)", "torch.cat([value, cache[1]], dim=2)"), "the new key and value go to the"
         " end, in the order of the tokens"),
        (_grown("cache[0] + key", "cache[1] + value"), "append, do not add: the cache grows by one position"),
        (f"{_attend} -> {_seen.format('[:, :, : max(1, key.size(2) - 1)]')}", "the new token attends to itself too: append"
         " first, then attend, and mask nothing"),
        (f"{_attend} -> {_seen.format('[:, :, -1:]')}", "the new token attends to itself only: use all the keys in the cache"),
        (f"{_attend} -> {_seen.format('[:, :, :1]')}", "a causal mask of shape (1, t + 1) leaves only the first key"
         " (is_causal=True does the same): the newest token may see everything, no mask is needed"),
        (f"{_attend} -> attention(query.expand_as(key), key, value, torch.ones(key.size(2), key.size(2),"
         " dtype=torch.bool).tril())", "a square causal mask makes t + 1 rows out of one: there is a single query, and it may"
         " see everything, so no mask is needed"),
        ("(key, value)\n -> cache or (key, value)\n", "return the cache with the new key and value in it"),
        ("(key, value)\n -> (key[:, :, -1:], value[:, :, -1:])\n", "return the whole cache, not the new key and value alone"),
        ("(key, value)\n -> (value, key)\n", "the new cache is (keys, values), in this order"),
        ("(w_q, w_k, w_v)) -> (w_k, w_q, w_v))", "queries and keys are exchanged"),
        ("(w_q, w_k, w_v)) -> (w_q, w_v, w_k))", "keys and values are exchanged"),
        ("(w_q, w_k, w_v)) -> (w_q, w_q, w_v))", "the cache holds queries where keys belong: x @ w_k"),
        ("x @ w for -> x @ w.T for", "the matrices are in the paper's layout: x @ w_q, without a transpose"),
        (("(-1, (num_heads, -1)).transpose(1, 2) -> (-1, (-1, num_heads)).permute(0, 3, 1, 2)", f"{_join} ->"
          " output.permute(0, 2, 3, 1).flatten(2)"), "a head gets neighbouring features: unflatten(-1, (num_heads, -1)), then"
         " transpose(1, 2)"),
        (f"{_join} -> output.permute(0, 2, 3, 1).flatten(2)", "the heads' features are interleaved: first all of head 1, then"
         " all of head 2"),
        (f"{_attend} -> attention(query * query.size(-1) ** 0.5, key, value)", "the scores are not divided by √head_dim"),
        (f"{_attend} -> attention(query / num_heads**0.5, key, value)", "divide by √head_dim, not by √d_model"),
        (f"{_join} -> (weights.mean(1, keepdim=True) @ value).transpose(1, 2).flatten(2)", "the weights are averaged over the"
         " heads; each head uses its own"),
        (f"{_join} -> output", "join the heads: (B, H, 1, D) → (B, 1, d_model)"),
        (then(lambda result: result[::-1]), "return (output, cache), in this order"),
    ],
    tolerance=1e-4,
).check  # fmt: skip


# Beam search


def beam_search(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
    def score(hypothesis):
        tokens, total = hypothesis
        length = len(tokens) - 1  # <BOS> is not counted
        return total / ((5 + length) / 6) ** length_penalty

    def ended(hypothesis):
        return hypothesis[0][-1] == eos_id

    beam = [([bos_id], 0.0)]
    for _ in range(max_length):
        running = [h for h in beam if not ended(h)]
        candidates = [h for h in beam if ended(h)]
        if not running:
            break
        log_probs = next_log_probs(torch.tensor([tokens for tokens, _ in running]))  # (rows, t) → (rows, V)
        for (tokens, total), row in zip(running, log_probs.tolist()):
            candidates += [(tokens + [token], total + gain) for token, gain in enumerate(row)]
        beam = sorted(candidates, key=score, reverse=True)[:beam_size]
    return max(beam, key=score)[0][1:]


_trap = {1: {3: 0.6, 4: 0.4}, 3: {2: 0.4, 3: 0.3, 4: 0.3}, 4: {2: 0.9, 3: 0.05, 4: 0.05}}
_early = {1: {2: 0.4, 3: 0.35, 4: 0.25}, 3: {4: 0.95, 3: 0.05}, 4: {2: 0.9, 3: 0.1}}
_endless = {1: {3: 0.5, 4: 0.5}, 3: {3: 0.6, 4: 0.4}, 4: {3: 0.7, 4: 0.3}}
_children = "[(tokens + [token], total + gain) for token, gain in enumerate(row)]"
_penalty = "((5 + length) / 6) ** length_penalty"
_cut = "[:beam_size]"


def _beam_case(model, beam_size, max_length, length_penalty, bos_id=1, eos_id=2):
    return model, beam_size, max_length, bos_id, eos_id, length_penalty


check_beam_search = Exercise(
    beam_search,
    cases=[
        _beam_case(After(_trap), 1, 3, 0.0),
        _beam_case(After(_trap), 2, 3, 0.0),
        _beam_case(After(_trap), 2, 1, 0.0),
        _beam_case(After(_early), 2, 4, 0.0),
        _beam_case(After(_early), 3, 4, 1.0),
        _beam_case(After(_early), 9, 4, 0.6),
        _beam_case(After(_endless), 2, 6, 0.6),
        *[
            _beam_case(Writes(seed, eos_bonus=bonus, sharpness=sharpness), size, length, alpha)
            for seed, size, length, alpha, bonus, sharpness in [
                (200, 2, 4, 0.0, 0.0, 1.5), (210, 3, 5, 0.6, 0.0, 1.5), (230, 1, 6, 0.6, 0.0, 1.5),
                (250, 10, 3, 0.6, 0.0, 1.5), (260, 3, 7, 1.5, 1.5, 1.5), (280, 2, 5, 1.0, -1.0, 1.5),
                # chosen so that every known mistake shows, and no two of them alike
                (720, 2, 4, 1.0, 0.0, 0.7), (110, 4, 5, 1.0, 2.0, 1.5), (269, 4, 6, 2.0, 0.5, 0.7),
                (501, 2, 6, 1.5, 1.0, 0.7), (503, 2, 6, 1.5, 1.0, 0.7),  # where it matters what a length counts
                (503, 4, 6, 1.0, 0.5, 0.7), (506, 4, 6, 1.0, 0.5, 0.7),  # three children of one hypothesis stay
            ]
        ],
        _beam_case(Writes(400, never=(5, 6), eos_id=0), 3, 5, 0.6, bos_id=5, eos_id=0),
    ],
    meaning="A wider view costs beam_size times the work, and with one hypothesis it is greedy.",
    mistakes=[
        (f"{_cut} -> [:1]", "this is greedy: only one hypothesis survives (or are all of them copies of the same one? At first"
         " there is one <BOS>, not beam_size)"),
        (f"{_children} -> sorted({_children}, key=score)[-1 if len(running) > 1 else 0 :]", "the children of all hypotheses"
         " compete for the places: a good one may have two in the beam, a bad one none"),
        (f"{_children} -> sorted({_children}, key=score)[-max(1, beam_size - 1) :]", "each hypothesis may have as many children"
         " in the beam as it is wide; here it has fewer"),
        ("total + gain -> total + math.exp(gain)", "add log-probabilities, not probabilities"),
        ("total + gain -> gain", "a hypothesis is worth the sum of the log-probabilities of all its tokens, not of the last"),
        ("reverse=True -> reverse=False", "the LARGEST scores stay in the beam"),
        ("candidates = [h for h in beam if ended(h)] -> candidates = []", "a finished hypothesis keeps its place: it goes on"
         " competing, unchanged"),
        (("candidates = [h for h in beam if ended(h)] -> candidates = []", "running = [h for h in beam if not ended(h)] ->"
          " running = beam"), "a finished hypothesis is extended: <EOS> ends it"),
        (("beam = [([bos_id], 0.0)] -> beam, aside = [([bos_id], 0.0)], []", f"{_cut} -> {_cut}\n        aside += [h for h in"
          " beam if ended(h)]\n        beam = [h for h in beam if not ended(h)]", "max(beam, -> max(beam + aside,"),
         "a finished hypothesis is put aside and its place given to another: it keeps its place in the beam, or loses it to a"
         " better one"),
        (f"{_cut} -> {_cut}\n        if any(map(ended, beam)):\n            break", "this stops as soon as one hypothesis is"
         " finished: others may still be better"),
        (f"{_cut} -> {_cut}\n        if ended(beam[0]):\n            break", "this stops as soon as the best hypothesis is"
         " finished: with a length penalty a longer one may still overtake it"),
        ("max(beam, -> max([h for h in beam if ended(h)] or beam,", "at max_length unfinished hypotheses count like finished"
         " ones: return the best of all"),
        (f" / {_penalty} -> ", "the length penalty changes nothing here: divide by ((5 + length) / 6)^length_penalty, and let"
         " the length of a finished hypothesis stay as it is"),
        ("sorted(candidates, key=score -> sorted(candidates, key=lambda h: h[1]", "the length penalty belongs into every"
         " ranking, not only into the last"),
        ("max(beam, key=score) -> max(beam, key=lambda h: h[1])", "the result is the best by the penalised score, too"),
        ("total / ( -> total * (", "divide by the length penalty; the numbers are negative, so multiplying favours short ones"
         " even more"),
        (f"{_penalty} -> length", "this ranks by the mean; the penalty is ((5 + length) / 6)^length_penalty"),
        ("((5 + length) / 6) -> length", "the penalty is ((5 + length) / 6)^length_penalty, not length^length_penalty"),
        (" ** length_penalty -> ", "length_penalty is the exponent of (5 + length) / 6"),
        ("len(tokens) - 1 -> len(tokens)", "the length counts the tokens written, <BOS> not among them"),
        ("len(tokens) - 1 -> len(tokens) - 1 - (tokens[-1] == eos_id)", "the length counts the tokens written, <EOS> among"
         " them"),
        ("range(max_length) -> range(max(1, max_length - 1))", "max_length counts the tokens written, <BOS> not among them: one"
         " more"),
        ("range(max_length) -> range(max_length + 1)", "one token too many: max_length counts the tokens written"),
        ("[0][1:] -> [0]", "<BOS> only starts the model: leave it out of the result"),
        ("return max(beam, key=score)[0][1:] -> return [t for t in max(beam, key=score)[0][1:] if t != eos_id]", "<EOS> belongs"
         " to the result"),
    ],
).check  # fmt: skip


# 3. One decoder layer


@dataclass(frozen=True, repr=False)
class Times:
    """A stand-in for a layer norm or a feed-forward network that multiplies by a number."""

    factor: float

    def __repr__(self):
        return f"x · {self.factor:g}"

    def __call__(self, x):
        return self.factor * x


@dataclass(frozen=True, repr=False)
class Attention:
    """A stand-in for multi-head attention: `Attention(factor)` multiplies the values, with a seed it mixes."""

    factor: float
    seed: int = None

    def __repr__(self):
        return f"weights · value · {self.factor:g}" if self.seed is None else f"Attention(seed={self.seed})"

    def __call__(self, query, key, value, mask=None, need_weights=True):
        if self.seed is not None:
            d_model = query.size(-1)
            query, key, value = (
                part @ random(d_model, d_model, seed=self.seed + i) for i, part in enumerate((query, key, value))
            )
        output, weights = scaled_dot_product_attention(query, key, value, mask)
        return self.factor * output, weights


@dataclass(frozen=True)
class Network:
    """A stand-in for a feed-forward network whose weights come from a seed."""

    seed: int

    def __call__(self, x):
        return torch.tanh(x @ random(x.size(-1), x.size(-1), seed=self.seed))


@dataclass(frozen=True)
class Norm:
    """A stand-in for a layer norm whose weight and bias come from a seed."""

    seed: int

    def __call__(self, x):
        d_model = x.size(-1)
        return F.layer_norm(x, (d_model,), random(d_model, seed=self.seed), random(d_model, seed=self.seed + 1))


@dataclass(frozen=True)
class Parts:
    """What a decoder layer is made of."""

    norm_first: bool
    self_attention: object = Attention(2.0)
    cross_attention: object = Attention(3.0)
    feed_forward: object = Times(5.0)
    norm_1: object = Times(2.0)
    norm_2: object = Times(2.0)
    norm_3: object = Times(2.0)


def _mixing(norm_first):
    return Parts(norm_first, Attention(1.0, 20), Attention(1.0, 30), Network(40), Norm(50), Norm(60), Norm(70))


def _layer_like(
    self_part="self_attention", cross_part="cross_attention", norms=("norm_1", "norm_2", "norm_3"), pre=None,
    residual=(True, True, True), of_norm=False, memory_norm=False, cross="memory", masks=("self", "memory"),
    order="scf", bare_keys=False, norm_inside=False, parallel=False,
):  # fmt: skip
    """Return a decoder layer, or a version of it with a mistake."""

    def decode(x, memory, layer, self_mask=None, memory_mask=None):
        norm_first = layer.norm_first if pre is None else (not layer.norm_first if pre == "exchanged" else pre)
        given = {"self": self_mask, "memory": memory_mask, "none": None}
        norm = dict(zip("scf", (getattr(layer, name) for name in norms)))
        kept = dict(zip("scf", residual))
        start = x

        def sublayer(kind, y, bare):
            if kind == "s":
                key = bare if bare_keys else y
                return getattr(layer, self_part)(y, key, key, given[masks[0]])[0]
            if kind == "f":
                return layer.feed_forward(y)
            seen = norm["c"](memory) if memory_norm and norm_first else memory
            query, key, value = {
                "memory": (y, seen, seen), "x": (y, y, y), "turned": (seen, y, y), "keys only": (y, seen, y),
                "values only": (y, y, seen),
            }[cross]  # fmt: skip
            return getattr(layer, cross_part)(query, key, value, given[masks[1]])[0]

        for kind in order:
            come = start if parallel and kind == "c" else x
            y = norm[kind](come) if norm_first else come
            made = sublayer(kind, y, come)
            if norm_inside and not norm_first:
                made = norm[kind](made)
            base = y if of_norm else x
            x = base + made if kept[kind] else made
            x = x if norm_first or norm_inside else norm[kind](x)
        return x

    return decode


def _layer_case(batch, length, source, seed, norm_first, self_mask=None, memory_mask=None, d_model=4, scale=1.0):
    x = random(batch, length, d_model, seed=seed, scale=scale)
    return x, random(batch, source, d_model, seed=seed + 1, scale=scale), _mixing(norm_first), self_mask, memory_mask


_real = torch.tensor([[[True, True, False]], [[True, False, False]]])  # (2, 1, 3), as a padding mask
_real_5 = torch.tensor([[[True, True, True, True, True]], [[True, True, False, False, False]]])

_decoder_layer = Exercise(
    name="decoder_layer",
    reference=_layer_like(),
    cases=[
        (torch.tensor([[[1.0]]]), torch.tensor([[[10.0]]]), Parts(norm_first=True), None, None),
        (torch.tensor([[[1.0]]]), torch.tensor([[[10.0]]]), Parts(norm_first=False), None, None),
        _layer_case(1, 2, 2, 1, True),
        _layer_case(1, 2, 2, 3, False),
        _layer_case(2, 3, 3, 5, True, causal_mask(3), _real),
        _layer_case(2, 3, 3, 7, False, causal_mask(3), _real),
        _layer_case(2, 4, 5, 9, True, causal_mask(4), _real_5, d_model=6, scale=10.0),
        _layer_case(2, 4, 5, 11, False, causal_mask(4), _real_5, d_model=6, scale=10.0),
    ],
    meaning="Stack six of these on an encoder and you have the paper's decoder.",
    mistakes=[
        (_layer_like(cross_part="self_attention"), "self_attention is used for both; cross_attention has weights of its"
         " own"),
        (_layer_like(self_part="cross_attention"), "cross_attention is used for both; self_attention has weights of its"
         " own"),
        (_layer_like(self_part="cross_attention", cross_part="self_attention"), "the two attentions are exchanged"),
        (_layer_like(memory_norm=True), "memory goes in as it is: only x passes through a layer norm here"),
        (_layer_like(cross="x"), "in cross-attention keys and values come from memory, not from x"),
        (_layer_like(cross="turned"), "in cross-attention the queries come from x, keys and values from memory; here it"
         " is the other way round"),
        (_layer_like(cross="keys only"), "the values of cross-attention come from memory too"),
        (_layer_like(cross="values only"), "the keys of cross-attention come from memory too"),
        (_layer_like(residual=(False, False, False)), "the residual connections are missing: x + sublayer(...)"),
        (_layer_like(residual=(False, True, True)), "the residual connection around self-attention is missing"),
        (_layer_like(residual=(True, False, True)), "the residual connection around cross-attention is missing"),
        (_layer_like(residual=(True, True, False)), "the residual connection around the feed-forward network is missing"),
        (_layer_like(of_norm=True), "in pre-norm the residual adds x itself, not norm(x)"),
        (_layer_like(masks=("memory", "self")), "the masks are exchanged: self_mask goes to self-attention, memory_mask to"
         " cross-attention"),
        (_layer_like(masks=("none", "memory")), "self_mask is not used: every token sees its future"),
        (_layer_like(masks=("self", "none")), "memory_mask is not used: the padding of the source is attended to"),
        (_layer_like(masks=("none", "none")), "the masks are not used"),
        (_layer_like(pre="exchanged"), "the two orders are exchanged: norm_first=True is x + sublayer(norm(x))"),
        (_layer_like(pre=True), "norm_first=False is not handled: post-norm is norm(x + sublayer(x))"),
        (_layer_like(pre=False), "norm_first=True is not handled: pre-norm is x + sublayer(norm(x))"),
        (_layer_like(norm_inside=True), "in post-norm the norm comes after the sum: norm(x + sublayer(x))"),
        (_layer_like(norms=("norm_1", "norm_1", "norm_1")), "norm_1 is used three times; each sublayer has its own"),
        (_layer_like(norms=("norm_1", "norm_3", "norm_2")), "norm_2 belongs to cross-attention, norm_3 to the feed-forward"
         " network"),
        (_layer_like(norms=("norm_1", "norm_2", "norm_2")), "norm_2 is used twice; the feed-forward network has norm_3"),
        (_layer_like(order="csf"), "the order is self-attention, cross-attention, feed-forward; here cross-attention comes"
         " first"),
        (_layer_like(order="sfc"), "the order is self-attention, cross-attention, feed-forward; here cross-attention comes"
         " last"),
        (_layer_like(order="sf"), "cross-attention is missing: this is an encoder layer"),
        (_layer_like(order="cf"), "self-attention is missing"),
        (_layer_like(order="sc"), "the feed-forward network is missing"),
        (_layer_like(bare_keys=True), "in pre-norm queries, keys and values of self-attention are all normalised"),
        (_layer_like(parallel=True), "the queries of cross-attention come from the result of the self-attention half, not"
         " from the original x"),
    ],
    tolerance=1e-4,
    gradient=True,
)  # fmt: skip


def check_decoder_layer(function):
    """Check `decoder_layer(x, memory, layer, self_mask, memory_mask)`: (B, T, d_model), both norm orders."""
    return _decoder_layer.check(function)
