"""Greedy and top-k decoding of chapter 4, and the way by which its notebook imports two other exercises."""

import math

import torch

from helpers.checks.core import Exercise
from helpers.checks.full_transformer import check_beam_search, check_cached_step
from helpers.checks.shared import Says, Writes, random

__all__ = ["check_beam_search", "check_cached_step", "check_greedy", "check_top_k_filter"]


# 4. Greedy decoding


def _greedy_like(
    stop="all", pad=True, remember=True, keep_eos=True, keep_bos=False, fill="pad", extra=0, whole=True, eos_first=True,
    shortest=False,
):  # fmt: skip
    """Return greedy decoding, or a version of it with a mistake."""

    def decode(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
        tokens = torch.full((batch_size, 1), bos_id)
        done = torch.zeros(batch_size, dtype=torch.bool)
        for _ in range(max(1, max_length + extra)):
            chosen = (
                next_logits(tokens if whole else tokens[:, -1:]) if not shortest else -next_logits(tokens)
            ).argmax(-1)
            if pad:
                chosen = chosen.masked_fill(done, pad_id if fill == "pad" else eos_id)
            ends = chosen == eos_id
            if not keep_eos:
                chosen = chosen.masked_fill(ends, pad_id)
            done = done | ends if remember else ends
            if stop == "all before the end" and done.all():
                break
            tokens = torch.cat([tokens, chosen.unsqueeze(1)], dim=1)
            if stop == "all" and done.all() or stop == "any" and done.any() or stop == "first" and done[0]:
                break
        return tokens if keep_bos else tokens[:, 1:]

    return decode


def _ended_later(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    """Goes on until every row has ended, then cuts: a row without an end is not cut, and there the loop never ends."""
    return _greedy_like(extra=4)(next_logits, batch_size, max_length, bos_id, eos_id, pad_id)


_ids = {"bos": 1, "eos": 2, "pad": 0}


def _greedy_case(model, batch_size, max_length, bos_id=1, eos_id=2, pad_id=0):
    return model, batch_size, max_length, bos_id, eos_id, pad_id


_greedy = Exercise(
    name="greedy",
    reference=_greedy_like(),
    cases=[
        _greedy_case(Says(((5, 2, 7, 7),)), 1, 4),
        _greedy_case(Says(((5, 6, 7, 8),)), 1, 3),
        _greedy_case(Says(((5, 2, 7, 7, 7, 7), (4, 6, 4, 2, 7, 7))), 2, 6),
        _greedy_case(Says(((6, 4, 5, 2, 7, 7), (2, 7, 7, 7, 7, 7), (3, 2, 9, 9, 9, 9))), 3, 5),
        _greedy_case(Says(((3, 4), (2, 5))), 2, 1),
        _greedy_case(Says(((1, 3, 8, 8), (3, 8, 8, 8))), 2, 4, bos_id=0, eos_id=3, pad_id=9),
        _greedy_case(Writes(1, rows=4), 4, 10),
        _greedy_case(Writes(5, rows=5, never=(4, 5), eos_id=0, eos_bonus=1.0), 5, 8, bos_id=4, eos_id=0, pad_id=5),
        _greedy_case(Writes(9, rows=3, eos_bonus=-1e4), 3, 12),
    ],
    meaning="Each row ends at its own <EOS>, the batch with its last row, and nothing after that costs time.",
    mistakes=[
        (_greedy_like(keep_bos=True), "<BOS> only starts the model: leave it out of the result"),
        (_greedy_like(pad=False), "a row that has ended gets <PAD>, whatever the model says"),
        (_greedy_like(remember=False), "a row that has ended stays ended: remember it (done = done | ended), or it begins"
         " again after one <PAD>"),
        (_greedy_like(pad=False, remember=False), "a row that has ended stays ended and gets <PAD>: remember which rows"
         " have met <EOS>"),
        (_greedy_like(stop="never"), "stop as soon as all rows have ended"),
        (_greedy_like(stop="never", pad=False), "nothing ever ends: stop each row at <EOS>, and the loop when all rows have"
         " ended"),
        (_greedy_like(stop="any"), "this stops with the first row that ends; wait for all of them"),
        (_greedy_like(stop="first"), "this waits for the first row only; wait for all of them"),
        (_greedy_like(stop="all before the end"), "the last <EOS> belongs to the result: append first, then ask whether all"
         " rows have ended"),
        (_greedy_like(keep_eos=False), "<EOS> itself belongs to the result; padding comes after it"),
        (_greedy_like(fill="eos"), "after <EOS> comes pad_id, not another eos_id"),
        (_greedy_like(whole=False), "the model reads the whole prefix, not its last token"),
        (_greedy_like(extra=-1), "max_length counts the tokens written, <BOS> not among them: one more"),
        (_greedy_like(extra=1), "one token too many: max_length counts the tokens written"),
        (_ended_later, "max_length is not kept: a row that has no <EOS> by then is cut"),
        (_greedy_like(shortest=True), "argmax, not argmin: the token with the LARGEST logit"),
    ],
)  # fmt: skip


def check_greedy(function):
    """Check `greedy(next_logits, batch_size, max_length, bos_id, eos_id, pad_id)`: tokens (B, T), T ≤ max_length."""
    return _greedy.check(function)


# 5. Top-k filtering


def _top_k_right(logits, k):
    return logits.masked_fill(logits < logits.topk(k, dim=-1).values[:, -1:], -math.inf)


def _top_k_valid(logits, k, got):
    """Return whether `got` keeps a row's k largest logits, or these and others that equal the smallest of them."""
    if not isinstance(got, torch.Tensor) or got.shape != logits.shape or not got.is_floating_point():
        return False
    smallest = logits.topk(k, dim=-1).values[:, -1:]
    kept = got == logits
    proper = (kept | (got == -math.inf)) & (kept | (logits <= smallest)) & (~kept | (logits >= smallest))
    return bool(proper.all() and (kept.sum(-1) >= k).all())


def _either_way(function):
    """Make one answer out of the right ones for ties: all the equal logits kept, or just enough of them."""

    def answer(logits, k):
        before = logits.clone()
        got = function(logits, k)
        return _top_k_right(before, k) if _top_k_valid(before, k, got) else got

    return answer if callable(function) else function


def _fill_like(fill=-math.inf, threshold=lambda x, k: x.topk(k, dim=-1).values[:, -1:], keep=torch.ge):
    """Return top-k filtering, or a version of it with a mistake."""
    return lambda logits, k: logits.masked_fill(~keep(logits, threshold(logits, k)), fill)


def _scattered_back(logits, k):
    best = logits.topk(k, dim=-1)
    return torch.full_like(logits, -math.inf).scatter(-1, best.indices, best.values.softmax(-1))


_top_k_filter = Exercise(
    name="top_k_filter",
    reference=_top_k_right,
    cases=[
        (torch.tensor([[1.0, 3.0, 2.0]]), 2),
        (torch.tensor([[1.0, 3.0, 2.0]]), 1),
        (torch.tensor([[1.0, 3.0, 2.0]]), 3),
        (torch.tensor([[-3.0, -1.0, -2.0], [30.0, 10.0, 20.0]]), 2),
        (torch.tensor([[2.0, 2.0, 1.0, 0.0], [0.0, 1.0, 1.0, 2.0]]), 2),
        (torch.tensor([[5.0, 5.0, 5.0, 1.0]]), 2),
        (random(4, 7, seed=1), 3),
        (random(3, 9, seed=2, scale=1e4), 4),
        (random(5, 3, seed=3) - 100.0, 1),
        (torch.tensor([[0.0, -math.inf, 1.0, -math.inf, 2.0]]), 2),
    ],
    meaning="After the softmax the rest has probability exactly 0, and the k best keep their proportions.",
    mistakes=[
        (lambda x, k: x, "nothing is filtered: all but the k largest get -inf"),
        (_fill_like(fill=0.0), "0 is an ordinary logit, e^0 = 1: the others get -inf"),
        (_fill_like(fill=-1e4), "a large negative number is no promise, other logits may lie below it: -inf"),
        (_fill_like(keep=torch.gt), "the k-th largest belongs to the k largest: compare with >=, not with >"),
        (_fill_like(keep=torch.le), "this keeps the small ones"),
        (_fill_like(threshold=lambda x, k: x.topk(min(k + 1, x.size(-1))).values[:, -1:]), "one too many is kept"),
        (_fill_like(threshold=lambda x, k: (-x).topk(k).values[:, -1:].neg(), keep=torch.le), "this keeps the k smallest"),
        (_fill_like(threshold=lambda x, k: x.topk(k).values[:, :1]), "only the largest is kept: the limit is the LAST of"
         " the k values that topk returns"),
        (_fill_like(threshold=lambda x, k: x.flatten().topk(k).values[-1]), "each row has its own k largest; this looks"
         " for k in the whole batch"),
        (_fill_like(threshold=lambda x, k: x[:1].topk(k).values[:, -1:]), "each row has its own limit; this takes the first"
         " row's for all"),
        (_fill_like(threshold=lambda x, k: x.topk(min(k, len(x)), dim=0).values[-1:]), "the k largest of each row: dim=-1"),
        (_fill_like(threshold=lambda x, k: x.max(-1, keepdim=True).values - k), "k counts tokens; here it is a distance from"
         " the largest logit"),
        (lambda x, k: _top_k_right(x, k).softmax(-1), "logits are asked for, -inf and all: the softmax comes later"),
        (_scattered_back, "the logits that are kept stay as they are"),
        (lambda x, k: x.topk(k, dim=-1).values, "the result has all V places: -inf where a logit is dropped"),
        (lambda x, k: x.topk(k, dim=-1).indices, "these are places; the logits themselves are asked for, (B, V)"),
        (lambda x, k: x >= x.topk(k, dim=-1).values[:, -1:], "this is the mask; put -inf where it is False"),
    ],
)  # fmt: skip


def check_top_k_filter(function):
    """Check `top_k_filter(logits, k)`: (B, V) → (B, V); Fan et al. 2018, section 5.4."""
    return _top_k_filter.check(_either_way(function))
