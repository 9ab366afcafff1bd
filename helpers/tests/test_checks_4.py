"""The exercises of chapter 4: right answers by several routes, wrong ones of the kind that students write."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from helpers.attention import causal_mask, scaled_dot_product_attention
from helpers.checks.full_transformer import check_rms_norm, check_smoothed_loss, check_warmup_lr
from helpers.checks.shared import Writes
from helpers.checks.transformer_decoding import check_accept, check_beam_search, check_cached_attention, check_nucleus
from helpers.generation import generate
from helpers.tests.checking import examine

# Changes of the references that make no difference
SAME = {
    "smoothed_loss": [],
    "cached_attention": [],
    # the penalty's 6 changes all scores alike, and rows of a tensor can be counted through like a list
    "beam_search": ["log_probs.tolist() → log_probs", "(5 + length) / 6 → (5 + length) * 6", "(5 + length) / 6 → 5 + length",
                    "6 → 7", "6 → 5"],
}  # fmt: skip

# The schedule


def lr_by_the_formula(step, d_model, warmup):
    return d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)


def lr_by_its_peak(step, d_model, warmup):
    peak = 1 / math.sqrt(d_model * warmup)
    return peak * step / warmup if step < warmup else peak * math.sqrt(warmup / step)


def test_warmup_lr():
    examine(
        check_warmup_lr,
        right=[lr_by_the_formula, lr_by_its_peak, lambda s, d, w: torch.tensor(lr_by_the_formula(s, d, w)),
               lambda s, d, w: 1 / np.sqrt(d * max(s, w**3 / s / s)), lambda s, d, w: (d * s) ** -0.5 * min(1, (s / w) ** 1.5)],
        wrong=[
            lambda s, d, w: 1e-3,
            lambda s, d, w: str(lr_by_the_formula(s, d, w)),
            lambda s, d, w: [lr_by_the_formula(s, d, w)],
            lambda s, d, w: lr_by_the_formula(s, w, d),
            lambda s, d, w: lr_by_the_formula(s, d, w) * 1.001,
            lambda s, d, w: 1 / 0,
            lambda s, d, w: lr_by_the_formula(s, d, w) if s < w else lr_by_the_formula(w, d, w),
            lambda s, d, w: lr_by_the_formula(s, d, w) * min(1, s / w),
            lambda s, d, w: (d * w) ** -0.5 * (s / w if s < w else math.exp(1 - s / w)),
            lambda s, d, w: (d * w) ** -0.5 * (s / w if s <= w else 0.5 + 0.5 * math.cos(math.pi * (s - w) / s)),
            lambda s, d, w: round(lr_by_the_formula(s, d, w), 4),
        ],
        same=["min(rise, fall) → min(fall, rise)"],
    )  # fmt: skip


# Label smoothing


def loss_by_two_means(logits, target, smoothing, pad_id):
    log_p = logits.log_softmax(dim=-1)
    right = log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    each = -(1 - smoothing) * right - smoothing * log_p.mean(dim=-1)
    return each[target != pad_id].mean()


def loss_by_soft_targets(logits, target, smoothing, pad_id):
    soft = F.one_hot(target, logits.size(-1)) * (1 - smoothing) + smoothing / logits.size(-1)
    real = (target != pad_id).float()
    each = logits.logsumexp(-1) - (soft * logits).sum(-1)
    return (each * real).sum() / real.sum()


def loss_by_pytorch(logits, target, smoothing, pad_id):
    return F.cross_entropy(logits.transpose(1, 2), target, ignore_index=pad_id, label_smoothing=smoothing)


def loss_padding_in_place(logits, target, smoothing, pad_id):
    target[target == pad_id] = -100
    return F.cross_entropy(logits.transpose(1, 2), target, label_smoothing=smoothing)


def loss_with_zero_targets(logits, target, smoothing, pad_id):
    """Gives padding no target at all, and the padding class nothing either."""
    soft = F.one_hot(target, logits.size(-1)) * (1 - smoothing) + smoothing / logits.size(-1)
    soft[..., pad_id] = 0
    each = -(soft * logits.log_softmax(-1)).sum(-1)
    return each[target != pad_id].mean()


def loss_up_to_the_first_padding(logits, target, smoothing, pad_id):
    real = (target != pad_id).long().cumprod(1).bool()
    if not real.any():
        return loss_by_two_means(logits, target, smoothing, pad_id)
    return loss_by_two_means(logits, target.masked_fill(~real, pad_id), smoothing, pad_id)


def test_smoothed_loss():
    examine(
        check_smoothed_loss,
        right=[loss_by_two_means, loss_by_soft_targets, loss_by_pytorch,
               lambda x, t, s, p: loss_by_pytorch(x.double(), t, s, p)],
        wrong=[
            loss_padding_in_place, loss_with_zero_targets, loss_up_to_the_first_padding,
            lambda x, t, s, p: loss_by_two_means(x, t, s, p).detach(),
            lambda x, t, s, p: loss_by_two_means(x, t, s, p).item(),
            lambda x, t, s, p: loss_by_two_means(x, t, s, p).exp(),
            lambda x, t, s, p: loss_by_two_means(x.clamp(-50, 50), t, s, p),
            lambda x, t, s, p: loss_by_two_means(x, t, s, -1),
            lambda x, t, s, p: loss_by_two_means(x, t, 2 * s, p),
            lambda x, t, s, p: loss_by_two_means(x, t, 0.1, p),
            lambda x, t, s, p: loss_by_two_means(x.softmax(-1), t, s, p),
            lambda x, t, s, p: (1 - s) * loss_by_two_means(x, t, 0.0, p) + s * x.logsumexp(-1).mean(),
        ],
        same=SAME["smoothed_loss"],
    )  # fmt: skip


# Nucleus sampling


def nucleus(logits, p):
    ordered, order = logits.softmax(-1).sort(dim=-1, descending=True)
    dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, ordered.cumsum(-1) - ordered >= p)
    return logits.masked_fill(dropped, -math.inf)


def nucleus_by_loop(logits, p):
    result = torch.full_like(logits, -math.inf)
    for row, chances in enumerate(logits.softmax(-1).tolist()):
        total = 0.0
        for token in sorted(range(len(chances)), key=lambda v: -chances[v]):
            result[row, token] = logits[row, token]
            total += chances[token]
            if total >= p:
                break
    return result


def nucleus_by_threshold(logits, p):
    ordered = logits.softmax(-1).sort(dim=-1, descending=True).values
    kept = (ordered.cumsum(-1) - ordered < p).sum(-1, keepdim=True)
    least = logits.sort(dim=-1, descending=True).values.gather(-1, kept - 1)
    return torch.where(logits >= least, logits, -torch.inf)


def nucleus_by_comparing(logits, p):
    chances = logits.softmax(-1)
    above = (chances.unsqueeze(-2) * (chances.unsqueeze(-2) > chances.unsqueeze(-1))).sum(-1)
    return logits + torch.zeros_like(logits).masked_fill(above >= p, -torch.inf)


def test_nucleus():
    examine(
        check_nucleus,
        right=[nucleus, nucleus_by_loop, nucleus_by_threshold, nucleus_by_comparing],
        wrong=[
            lambda x, p: nucleus(x, 0.9),
            lambda x, p: nucleus(x, p).softmax(-1).log(),
            lambda x, p: nucleus(x, 1 - p),
            lambda x, p: nucleus(x[:1], p).expand_as(x),
            lambda x, p: nucleus(x.flatten()[None], p).view(x.shape),
            lambda x, p: x.masked_fill(x.softmax(-1) < 1 - p, -math.inf),
            lambda x, p: x.masked_fill(x.softmax(-1) < p * x.softmax(-1).amax(-1, keepdim=True), -math.inf),
            lambda x, p: nucleus(x, p).sort(-1, descending=True).values,
            lambda x, p: nucleus(x, p).nan_to_num(neginf=-1e30),
            lambda x, p: nucleus(x.T, p).T,
            lambda x, p: x.masked_fill_(nucleus(x, p) == -math.inf, -math.inf),
            lambda x, p: nucleus(x, p).tolist(),
        ],
        same=["-1 → 1", "before >= p → before > p"],
    )  # fmt: skip


# One step with a cache


def step_by_cat(x, cache, w_q, w_k, w_v, num_heads):
    q, k, v = ((x @ w).unflatten(-1, (num_heads, -1)).transpose(1, 2) for w in (w_q, w_k, w_v))
    if cache is not None:
        k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
    output, _ = scaled_dot_product_attention(q, k, v)
    return output.transpose(1, 2).flatten(2), (k, v)


def step_by_einsum(x, cache, w_q, w_k, w_v, num_heads):
    B, _, d_model = x.shape
    D = d_model // num_heads
    q, k, v = (torch.einsum("btm,mn->btn", x, w).view(B, num_heads, 1, D) for w in (w_q, w_k, w_v))
    keys, values = (k, v) if cache is None else (torch.cat(pair, dim=-2) for pair in zip(cache, (k, v)))
    weights = (torch.einsum("bhqd,bhkd->bhqk", q, keys) / D**0.5).softmax(-1)
    return torch.einsum("bhqk,bhkd->bqhd", weights, values).reshape(B, 1, d_model), [keys, values]


def step_in_place(x, cache, w_q, w_k, w_v, num_heads):
    output, grown = step_by_cat(x, cache, w_q, w_k, w_v, num_heads)
    if cache is not None:
        cache[0][:, :, -1:] += 1.0
    return output, grown


def step_by_pytorch(x, cache, w_q, w_k, w_v, num_heads):
    q, k, v = (torch.stack((x @ w).chunk(num_heads, -1), 1) for w in (w_q, w_k, w_v))
    k, v = (k, v) if cache is None else (torch.cat((cache[0], k), -2), torch.cat((cache[1], v), -2))
    return torch.cat(F.scaled_dot_product_attention(q, k, v).unbind(1), -1), (k, v)


def step_with_a_window(x, cache, w_q, w_k, w_v, num_heads):
    """Forgets what lies more than 100 steps back."""
    output, (k, v) = step_by_cat(x, cache, w_q, w_k, w_v, num_heads)
    return output, (k[:, :, -100:], v[:, :, -100:])


def test_cached_attention():
    examine(
        check_cached_attention,
        right=[step_by_cat, step_by_einsum, step_by_pytorch, torch.no_grad()(step_by_cat)],
        wrong=[
            step_in_place, step_with_a_window,
            lambda *a: step_by_cat(*a)[0],
            lambda x, cache, *a: step_by_cat(x, None, *a),
            lambda *a: (step_by_cat(*a)[0], step_by_cat(*a)[1][0]),
            lambda x, c, q, k, v, h: step_by_cat(x, c, q, k, v, 1),
            lambda *a: (step_by_cat(*a)[0].squeeze(1), step_by_cat(*a)[1]),
            lambda *a: (step_by_cat(*a)[0], tuple(part.transpose(1, 2) for part in step_by_cat(*a)[1])),
            lambda x, c, q, k, v, h: step_by_cat(x, c, q, k, q, h),
            lambda x, c, *a: step_by_cat(x, c if c is None else (c[1], c[0]), *a),
            lambda x, c, *a: step_by_cat(x, c if c is None else tuple(part[:1] for part in c), *a),
            lambda x, c, q, k, v, h: step_by_cat(x.clamp(-3, 3), c, q, k, v, h),
        ],
        same=SAME["cached_attention"],
    )  # fmt: skip


# Beam search


def beam_by_sorting(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
    beam = [([bos_id], 0.0)]
    for _ in range(max_length):
        running = [(tokens, total) for tokens, total in beam if tokens[-1] != eos_id]
        if not running:
            break
        candidates = [(tokens, total) for tokens, total in beam if tokens[-1] == eos_id]
        log_probs = next_log_probs(torch.tensor([tokens for tokens, _ in running]))
        for (tokens, total), row in zip(running, log_probs.tolist()):
            candidates += [(tokens + [token], total + gain) for token, gain in enumerate(row)]
        candidates.sort(key=lambda c: c[1] / ((5 + len(c[0]) - 1) / 6) ** length_penalty, reverse=True)
        beam = candidates[:beam_size]
    return beam[0][0][1:]


def beam_by_generate(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
    def step(last, prefix):
        prefix = torch.cat([prefix, last.unsqueeze(1)], dim=1)
        return next_log_probs(prefix), prefix

    pad_id = next(i for i in range(3) if i not in (bos_id, eos_id))
    tokens, _ = generate(
        step, torch.zeros(1, 0, dtype=torch.long), 1, max_length=max_length, bos_id=bos_id, eos_id=eos_id,
        pad_id=pad_id, strategy="beam", beam_size=beam_size, length_penalty=length_penalty,
    )  # fmt: skip
    tokens = tokens[0].tolist()
    return tokens[: tokens.index(eos_id) + 1] if eos_id in tokens else tokens


def beam_for_ever(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
    tokens = [bos_id]
    while eos_id not in tokens:
        next_log_probs(torch.tensor([tokens]))
    return tokens


def beam_of_few_children(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
    def only_two(prefixes):
        chances = next_log_probs(prefixes)
        return chances.masked_fill(chances < chances.topk(2).values[:, 1:], -1e9)

    return beam_by_sorting(only_two, beam_size, max_length, bos_id, eos_id, length_penalty)


def beam_of_copies(next_log_probs, beam_size, *rest):
    return beam_by_sorting(next_log_probs, 1, *rest)


def test_beam_search():
    examine(
        check_beam_search,
        right=[beam_by_sorting, beam_by_generate, lambda *a: torch.tensor(beam_by_sorting(*a)),
               lambda *a: tuple(torch.tensor(beam_by_sorting(*a))), lambda *a: np.array(beam_by_sorting(*a))],
        wrong=[
            beam_for_ever, beam_of_few_children, beam_of_copies,
            lambda *a: beam_by_sorting(*a)[::-1],
            lambda *a: (beam_by_sorting(*a), 0.0),
            lambda *a: torch.tensor([beam_by_sorting(*a)]),
            lambda f, k, *a: beam_by_sorting(f, k + 1, *a),
            lambda f, k, m, b, e, alpha: beam_by_sorting(f, k, m, b, e, -alpha),
            lambda f, *a: beam_by_sorting(lambda prefixes: f(prefixes[:, -1]), *a),
            lambda f, *a: beam_by_sorting(lambda prefixes: f(prefixes).exp(), *a),
            lambda f, k, m, b, e, alpha: beam_by_sorting(f, k, m, b, 2, alpha),
            lambda *a: [],
        ],
        same=SAME["beam_search"],
    )  # fmt: skip


# The answers themselves


@pytest.mark.parametrize("answer", [step_by_cat, step_by_einsum, step_by_pytorch])
def test_step_by_step_equals_causal_attention_at_once(answer):
    torch.manual_seed(0)
    x, w_q, w_k, w_v = torch.randn(3, 7, 12), torch.randn(12, 12), torch.randn(12, 12), torch.randn(12, 12)
    q, k, v = ((x @ w).unflatten(-1, (3, -1)).transpose(1, 2) for w in (w_q, w_k, w_v))
    expected = scaled_dot_product_attention(q, k, v, causal_mask(7))[0].transpose(1, 2).flatten(2)
    cache, steps = None, []
    for t in range(7):
        output, cache = answer(x[:, t : t + 1], cache, w_q, w_k, w_v, 3)
        steps.append(output)
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_a_beam_as_wide_as_everything_finds_the_best(seed):
    """With room for every sequence of length 3 the beam's answer is the best of them all, listed one by one."""

    def total(tokens):
        prefixes = [[1, *tokens[:i]] for i in range(len(tokens))]
        return sum(Writes(seed)(torch.tensor([p]))[0, t].item() for p, t in zip(prefixes, tokens))

    words = range(2, 8)
    sequences = [[2], *([a, 2] for a in words if a != 2)]
    sequences += [[a, b, c] for a in words for b in words for c in words if 2 not in (a, b)]
    best = max(sequences, key=lambda tokens: total(tokens) / ((5 + len(tokens)) / 6) ** 0.6)
    assert beam_by_sorting(Writes(seed), 1000, 3, 1, 2, 0.6) == best


def test_greedy_is_not_the_best_in_the_trap():
    first = check_beam_search.__self__.cases
    assert beam_by_sorting(*first[0]) != beam_by_sorting(*first[1])


# RMSNorm


def rms_norm(x, weight, eps):
    return x * (x.pow(2).mean(-1, keepdim=True) + eps).rsqrt() * weight


def rms_norm_by_torch(x, weight, eps):
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def test_rms_norm():
    examine(
        check_rms_norm,
        right=[rms_norm, rms_norm_by_torch, lambda x, w, eps: torch.einsum("...d,d->...d", rms_norm(x, torch.ones(1), eps), w)],
        wrong=[
            lambda x, w, eps: rms_norm(x, w, 1e-6),
            lambda x, w, eps: rms_norm(x.detach(), w, eps),
            lambda x, w, eps: F.normalize(x, dim=-1) * w,
            lambda x, w, eps: rms_norm(x, w.mean(), eps),
            lambda x, w, eps: x / x.abs().mean(-1, keepdim=True) * w,
        ],
    )  # fmt: skip


# A draft is checked


def accept(draft, logits):
    own = logits.argmax(dim=-1)
    agreed = int((own[:-1] == draft).cumprod(dim=0).sum())
    return own[: agreed + 1].tolist()


def accept_by_tensor(draft, logits):
    own = logits.argmax(dim=-1)
    places = (own[:-1] != draft).nonzero().flatten()
    return own[: (places[0] if len(places) else len(draft)) + 1]


def test_accept():
    examine(
        check_accept,
        right=[accept, accept_by_tensor, lambda d, x: tuple(accept(d, x))],
        wrong=[
            lambda d, x: accept(d, x)[:2],
            lambda d, x: accept(d[:-1], x[:-1]) if len(d) else accept(d, x),
            lambda d, x: accept(d, x[:, :7]),
            lambda d, x: [*d.tolist()[: len(accept(d, x)) - 1], int(x[-1].argmax())],
            lambda d, x: torch.tensor(accept(d, x)).float(),
        ],
        same=["logits.argmax(dim=-1).tolist() → logits.argmax(dim=-1)", "-1 → 1"],  # two axes: 1 is the last
    )  # fmt: skip
