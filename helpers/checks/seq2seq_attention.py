"""The exercises of chapter 2, first half: both scores, the loss without padding, dropped attention weights.

The second half is in `helpers.checks.seq2seq_decoding`.
"""

import copy
import math

import torch
from torch.nn import functional as F

from helpers.checks.compare import difference, show
from helpers.checks.core import Exercise, Outcome


def _random(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _mask(*lengths, width=None):
    """Return which of the words are real, (B, width), True = may attend."""
    return torch.arange(width or max(lengths)) < torch.tensor(lengths).unsqueeze(1)


def _softmax_like(scores, mask, how="right", dim=-1):
    """Return the weights of scores (..., T_k) under a mask of the same shape, or what a mistake makes of them."""
    lowest = torch.finfo(scores.dtype).min
    if how == "ignored":
        return scores.softmax(dim)
    if how == "late":
        return scores.softmax(dim) * mask
    if how == "times":
        return (scores * mask).softmax(dim)
    if how == "infinite":
        return scores.masked_fill(~mask, -math.inf).softmax(dim)
    if how == "average":
        return scores.masked_fill(~mask, lowest).softmax(dim)
    if how == "inverted":
        mask = ~mask
    return scores.masked_fill(~mask, -1e4 if how == "high" else lowest).softmax(dim).masked_fill(~mask, 0.0)


def _mask_mistakes(attend):
    """Return the mistakes that any attention can make with a mask: `attend(how)` makes one."""
    return [
        (attend("ignored"), "the mask is not used: padding gets weight"),
        (attend("inverted"), "the mask is turned round: True means may attend"),
        (attend("late"), "the mask comes after the softmax, so the weights no longer add up to 1"),
        (attend("times"), "a score of 0 is not \"no weight\": e to the power of 0 is 1. Fill the forbidden scores with"
         " torch.finfo(scores.dtype).min"),
        (attend("infinite"), "a sentence that is masked throughout is 0 / 0: fill with torch.finfo(...).min and set the"
         " forbidden weights to 0 after the softmax"),
        (attend("average"), "a sentence that is masked throughout became an average of everything: set the forbidden"
         " weights to 0 after the softmax"),
        (attend("high"), "the number that stands for a forbidden score is not low enough: allowed scores may be lower"
         " still; fill with torch.finfo(scores.dtype).min"),
    ]  # fmt: skip


# 1. Additive weights


def _tanh_of_sum(q, k, v):
    return torch.tanh(q + k) @ v


def _additive_like(how="right", dim=-1, score=_tanh_of_sum):
    """Return additive attention weights, or a version of them with a mistake."""

    def weights(query, keys, w_query, w_key, v, mask):
        q = (query @ w_query).unsqueeze(1)  # (B, D_q) → (B, 1, H)
        return _softmax_like(score(q, keys @ w_key, v), mask, how, dim)

    return weights


def _additive_case(mask, query_size, key_size, hidden, seed):
    B, T = mask.shape
    return (
        _random(B, query_size, seed=seed), _random(B, T, key_size, seed=seed + 1),
        _random(query_size, hidden, seed=seed + 2), _random(key_size, hidden, seed=seed + 3),
        _random(hidden, seed=seed + 4), mask,
    )  # fmt: skip


_one = torch.ones(1, 1)
_low_scores = (
    torch.ones(2, 1), torch.tensor([[[1.0], [2.0], [3.0]], [[3.0], [1.0], [2.0]]]), _one, _one,
    torch.tensor([-1e6]), _mask(2, 3),
)  # fmt: skip

_additive_weights = Exercise(
    name="additive_weights",
    reference=_additive_like(),
    cases=[
        (torch.zeros(1, 1), torch.tensor([[[0.0], [0.854]]]), _one, _one, torch.ones(1), _mask(2)),
        _additive_case(_mask(3), 2, 2, 2, 1),
        _additive_case(_mask(3, 2), 2, 2, 2, 6),
        _additive_case(_mask(1, 4, 2), 3, 5, 4, 11),
        _low_scores,
        _additive_case(_mask(3, 0), 4, 4, 4, 16),
        _additive_case(torch.tensor([[True, False, True, False], [False, True, True, True]]), 6, 4, 8, 21),
    ],
    meaning="For one state of the decoder, these weights say where to read.",
    mistakes=[
        *_mask_mistakes(_additive_like),
        (_additive_like(dim=0), "the softmax runs over the batch: each sentence needs weights of its own, over its keys"),
        (_additive_like(score=lambda q, k, v: (q + k) @ v), "tanh is forgotten: without it the query adds the same number"
         " to all scores of a sentence, and the softmax ignores it"),
        (_additive_like(score=lambda q, k, v: (torch.tanh(q) + torch.tanh(k)) @ v), "first the sum, then tanh: with tanh"
         " of each alone the query adds the same number to all scores of a sentence"),
        (_additive_like(score=lambda q, k, v: torch.tanh((q + k) @ v)), "tanh acts on the hidden vector, before v turns it"
         " into one number"),
        (_additive_like(score=lambda q, k, v: torch.tanh(q * k) @ v), "additive: the two projections are added, not"
         " multiplied"),
        (_additive_like(score=lambda q, k, v: torch.tanh(q + k).sum(-1)), "v is not used: the score is the dot product of"
         " v and the hidden vector"),
        (_additive_like(score=lambda q, k, v: torch.tanh(q + k) @ v / math.sqrt(len(v))), "additive scores are not divided"
         " by a square root: that belongs to dot products"),
        (lambda q, k, w, u, v, m: torch.tanh((q @ w).unsqueeze(1) + k @ u) @ v, "these are the scores; the softmax is"
         " missing"),
        (lambda *a: _additive_like()(*a).unsqueeze(1), "one query a sentence: the weights are (B, T_k)"),
    ],
    gradient=True,
)  # fmt: skip


def check_additive_weights(function):
    """Check `additive_weights(query, keys, w_query, w_key, v, mask)`: (B, T_k)."""
    return _additive_weights.check(function)


# 2. The general score, all steps at once


def _luong_like(how="right", dim=-1, w=lambda w: w, scale=1.0, values=lambda keys, w: keys):
    """Return Luong's general attention over all decoder steps, or a version of it with a mistake."""

    def attend(states, keys, matrix, mask):
        scores = states @ w(matrix) @ keys.transpose(1, 2) * (scale(keys) if callable(scale) else scale)
        weights = _softmax_like(scores, mask.unsqueeze(1), how, dim)  # (B, T_q, T_k)
        return weights @ values(keys, matrix), weights

    return attend


def _mask_without_axis(states, keys, w, mask):
    weights = _softmax_like(states @ w @ keys.transpose(1, 2), mask)
    return weights @ keys, weights


def _last_step_only(states, keys, w, mask):
    return _luong_like()(states[:, -1:], keys, w, mask)


def _luong_case(mask, steps, state_size, key_size, seed):
    B, T = mask.shape
    return (
        _random(B, steps, state_size, seed=seed), _random(B, T, key_size, seed=seed + 1),
        _random(state_size, key_size, seed=seed + 2), mask,
    )  # fmt: skip


_luong_context = Exercise(
    name="luong_context",
    reference=_luong_like(),
    cases=[
        (torch.ones(1, 1, 1), torch.tensor([[[0.0], [0.6931]]]), _one, _mask(2)),
        _luong_case(_mask(3), 2, 2, 2, 1),
        _luong_case(_mask(3, 2), 2, 2, 2, 4),
        _luong_case(_mask(5, 1, 3), 4, 3, 2, 7),
        (torch.full((1, 2, 1), 1e3), torch.tensor([[[-3e3], [-2e3], [-1e3]]]), _one, _mask(2, width=3)),
        _luong_case(_mask(2, 0), 3, 4, 4, 10),
        _luong_case(torch.tensor([[False, True, True], [True, False, True]]), 3, 5, 4, 13),
    ],
    meaning="No loop over the steps: two products of matrices serve the whole sentence.",
    mistakes=[
        *_mask_mistakes(_luong_like),
        (_mask_without_axis, "the mask lacks the axis of the queries: mask.unsqueeze(1) is (B, 1, T_k). Without it a batch"
         " as large as the number of steps gives no error, and step i obeys the mask of sentence i"),
        (_luong_like(dim=1), "the softmax runs over the decoder's steps; it belongs over the keys, dim=-1"),
        (_luong_like(dim=0), "the softmax runs over the batch; it belongs over the keys, dim=-1"),
        (_luong_like(w=lambda w: w.T), "W is transposed: the score is the state times W times the key, and a square W"
         " hides the mistake"),
        (_luong_like(w=lambda w: torch.eye(len(w))), "W is not used: this is the dot score"),
        (_luong_like(scale=lambda keys: 1 / math.sqrt(keys.size(-1))), "the general score is not divided by a square root:"
         " that came with the Transformer"),
        (_luong_like(values=lambda keys, w: keys @ w.T), "the context is the weighted sum of the keys as they are, without"
         " W"),
        (_last_step_only, "return a context for every step, (B, T_q, E), not only for the last"),
        (lambda *a: _luong_like()(*a)[::-1], "return (context, weights), in this order"),
    ],
    gradient=True,
)  # fmt: skip


def check_luong_context(function):
    """Check `luong_context(states, keys, w, mask)`: context (B, T_q, E) and weights (B, T_q, T_k)."""
    return _luong_context.check(function)


# 3. The loss over real words only


def _each_loss(logits, target):
    return F.cross_entropy(logits.transpose(1, 2), target, reduction="none")  # (B, T)


def _right_loss(logits, target, pad_id):
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=pad_id)


def _loss_divided(by):
    """Return the summed loss of the real words, divided by the wrong number."""

    def loss(logits, target, pad_id):
        return (_each_loss(logits, target) * (target != pad_id)).sum() / by(target)

    return loss


def _sentence_means(logits, target, pad_id):
    real = target != pad_id
    return ((_each_loss(logits, target) * real).sum(1) / real.sum(1).clamp(min=1)).mean()


def _log_of_softmax(logits, target, pad_id):
    chosen = -logits.softmax(-1).log().gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return chosen[target != pad_id].mean()


def _zeroed_logits(logits, target, pad_id):
    return _each_loss(logits * (target != pad_id).unsqueeze(-1), target).mean()


def _shifted(logits, target, pad_id):
    return _right_loss(logits[:, :-1], target[:, 1:], pad_id)


_sequence_loss = Exercise(
    name="sequence_loss",
    reference=_right_loss,
    cases=[
        (torch.tensor([[[0.0, 0.6931]]]), torch.tensor([[1]]), 0),
        (_random(1, 2, 3, seed=1), torch.tensor([[2, 0]]), 0),
        (_random(2, 3, 4, seed=2), torch.tensor([[1, 3, 2], [2, 0, 0]]), 0),
        (_random(2, 3, 4, seed=3), torch.tensor([[0, 3, 2], [2, 0, 1]]), 1),
        (_random(3, 2, 3, seed=4), torch.tensor([[1, 2], [0, 0], [2, 0]]), 0),
        (1e4 * torch.tensor([[[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]]), torch.tensor([[2, 0]]), 1),
        (_random(4, 6, 11, seed=5), torch.randint(0, 11, (4, 6), generator=torch.Generator().manual_seed(6)), 10),
    ],
    meaning="A batch with more padding no longer looks easier.",
    mistakes=[
        (lambda x, y, pad: _each_loss(x, y).mean(), "padding is counted like a word"),
        (_loss_divided(lambda y: y.numel()), "the sum leaves padding out, but it is divided by all positions: divide by"
         " the number of real words"),
        (_sentence_means, "this is the mean of the sentences' means: short sentences weigh too much. Divide once, by all"
         " real words of the batch"),
        (_loss_divided(lambda y: 1), "this is the sum; divide by the number of real words"),
        (_loss_divided(len), "divide by the number of real words, not by the number of sentences"),
        (lambda x, y, pad: _right_loss(x, y, 0), "pad_id need not be 0: use the argument"),
        (_log_of_softmax, "the softmax underflows to 0, whose logarithm is -inf: take log_softmax, or cross_entropy, which"
         " contains it"),
        (lambda x, y, pad: _right_loss(x.softmax(-1), y, pad), "cross_entropy wants the logits: it contains the softmax,"
         " and here it is applied twice"),
        (_zeroed_logits, "logits of 0 are no way to leave a word out: their loss is the logarithm of the vocabulary size"),
        (lambda x, y, pad: _right_loss(x.transpose(1, 2).reshape(x.shape), y, pad), "a reshape mixes positions and"
         " vocabulary: flatten(0, 1) keeps the vocabulary last"),
        (lambda x, y, pad: -_right_loss(x, y, pad), "the sign: the loss is MINUS the logarithm of the probability"),
        (lambda x, y, pad: _right_loss(x, y, pad).exp(), "this is the perplexity; the loss is its logarithm"),
        (_shifted, "do not shift: logits[:, t] already belongs to target[:, t]"),
    ],
    gradient=True,
)  # fmt: skip


def check_sequence_loss(function):
    """Check `sequence_loss(logits, target, pad_id)`: the mean over the real words of the batch."""
    return _sequence_loss.check(function)


# 7. Dropped attention weights


class _Words(str):
    """A text that is shown without quotation marks."""

    __repr__ = str.__str__


_EVALUATION = "in evaluation (training=False) nothing is dropped and nothing divided: return the weights as they are"
_OLD = "divide by 1 - p in training and do nothing in evaluation; here it is the other way round"
_NONE = "nothing is dropped"
_PLAIN = "the kept weights are divided by 1 - p, so that the weight of each word stays the same on average"
_BY_P = "divide by 1 - p, the share that is kept, not by p"
_SWAPPED = "p is the share that is dropped; here it is the share that is kept"
_RENORMALISED = "the rows are made to add up to 1 again: only divide by 1 - p. A row that loses all its weights stays 0"
_ROWS = "whole rows are dropped together: every single weight gets a draw of its own"
_STEPS = "all steps of a sentence lose the same keys: every single weight gets a draw of its own"
_BATCH = "all sentences lose the same weights: every single weight gets a draw of its own"
_FIXED = "the same weights are dropped at every call: draw anew each time"
_BY_SIZE = "large and small weights are dropped alike; here it depends on their size"
_EXACT = "each weight is dropped by its own draw, so that their number varies; here it is always the same"
_DETACHED = "the gradient of a kept weight is 1 / (1 - p), that of a dropped one 0 (was the result detached?)"


def _renormalised(weights, p, training):
    kept = weights * (torch.rand(weights.shape) >= p) if training else weights
    return kept / kept.sum(-1, keepdim=True)


def _dropped_like(draw=torch.rand_like, divide=lambda p: 1 - p):
    """Return dropout of weights with other draws, or divided by something else."""
    return lambda weights, p, training: weights * (draw(weights) >= p) / divide(p) if training else weights


def _old_dropout(weights, p, training):
    return weights * (torch.rand(weights.shape) >= p) if training else weights * (1 - p)


def _share_exactly(weights):
    """Return ranks from 0 to 1 in random order: a fixed share of them is below p."""
    return (torch.randperm(weights.numel()) / weights.numel()).view(weights.shape)


class _DropoutExercise(Exercise):
    """An exercise whose right answers are random: what is compared is what all of them have in common."""

    def check(self, function):
        if not callable(function):
            return super().check(function)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for case in self.cases:
                given = copy.deepcopy(case)
                try:
                    got = function(*given)
                    if got is None or got is Ellipsis:
                        raise NotImplementedError
                    problem, hint = self._fault(function, case, got)
                except NotImplementedError:
                    print(f"not written yet: {self.name}")
                    return None
                except Exception as error:  # whatever a reader's code may raise is part of the answer
                    return self._wrong(case, self._expected(*case), _Words(f"{type(error).__name__}: {error}"))
                if problem or hint:
                    return self._wrong(case, self._expected(*case), show(got), problem, hint)
                if difference(case, given, 0.0):
                    return self._wrong(case, self._expected(*case), "an input was changed", hint="work on a copy")
        print(f"✓ {self.name}: right on {len(self.cases)} cases. {self.meaning}")
        return True

    def _wrong(self, case, expected, got, problem=None, hint=None):
        return super()._wrong(case, Outcome(), str(got), problem, hint)

    def _expected(self, weights, p, training):
        if not training or p == 0:
            return weights
        return _Words(f"each weight alone either 0 (probability {p}) or divided by {1 - p:.4g}")

    def _fault(self, function, case, got):
        """Return (problem, hint): what is wrong, and how it comes about where that is known; or (None, None)."""
        weights, p, training = case
        problem = difference(weights, got, 1e30)  # type, shape and NaN only
        if problem:
            broken = isinstance(got, torch.Tensor) and got.shape == weights.shape and got.isnan().any()
            return problem, _RENORMALISED if broken else None
        if not training or p == 0:
            problem = difference(weights, got, 1e-5)
            scaled = not training and not difference(weights * (1 - p), got, 1e-5)
            return problem, problem and (_OLD if scaled else _EVALUATION if not training else None)
        kept = got != 0
        problem = difference(weights * kept / (1 - p), got, 1e-5)
        if problem:
            share = float((function(torch.full((100, 100), 0.01), p, True) == 0).float().mean())
            return problem, self._scale_hint(weights, got, kept, p, share)
        return self._draw_fault(function, weights, p, ~kept) if weights.numel() > 1000 else (None, None)

    def _scale_hint(self, weights, got, kept, p, share):
        if share == 0:
            return _NONE
        if not difference(weights * kept, got, 1e-5):
            return _PLAIN
        if not difference(weights * kept / p, got, 1e-5):
            return _SWAPPED if abs(share - (1 - p)) < 0.05 else _BY_P
        sums = got.sum(-1)
        return _RENORMALISED if bool(((sums - 1).abs() < 1e-4).logical_or(sums == 0).all()) else None

    def _draw_fault(self, function, weights, p, dropped):
        """Look at many draws (N in all); what is allowed is six standard errors."""
        rate, N = dropped.float().mean().item(), dropped.numel()
        room = 6 * math.sqrt(p * (1 - p) / N)
        if rate == 0:
            return "no weight is 0", _NONE
        for axis, hint in ((2, _ROWS), (1, _STEPS), (0, _BATCH)):
            both = (dropped & dropped.roll(1, axis)).float().mean().item()
            if abs(both - rate * rate) > 2 * room:
                return f"neighbours are dropped together {both:.3f} of the time, not {rate * rate:.3f}", hint
        large = weights > weights.median()
        if abs(dropped[large].float().mean() - dropped[~large].float().mean()) > 3 * room:
            return "large and small weights are not dropped alike", _BY_SIZE
        if abs(rate - p) > room:
            return f"{rate:.3f} of the weights are 0, not {p}", _SWAPPED if abs(rate - (1 - p)) < room else None
        again = [function(weights.clone(), p, True) == 0 for _ in range(4)]
        if all(torch.equal(dropped, other) for other in again):
            return "five calls, five times the same zeros", _FIXED
        if all(other.sum() == dropped.sum() for other in again):
            return f"five calls, each time {int(dropped.sum())} zeros", _EXACT
        x = weights.clone().requires_grad_()
        output = function(x, p, True)
        gradient = torch.autograd.grad(output.sum(), x)[0] if output.requires_grad else torch.full_like(x, torch.nan)
        wrong = difference((output != 0) / (1 - p), gradient, 1e-4)
        return (f"gradient: {wrong}", _DETACHED) if wrong else (None, None)


_small_weights = torch.tensor([[[0.5, 0.3, 0.2]]])
_many_weights = _random(40, 25, 20, seed=3).softmax(-1)

_dropped_weights = _DropoutExercise(
    name="dropped_weights",
    reference=F.dropout,
    cases=[
        (_small_weights, 0.2, False),
        (_small_weights, 0.0, True),
        (_small_weights, 0.2, True),
        (_random(2, 3, 4, seed=1).softmax(-1).masked_fill(~_mask(4, 2).unsqueeze(1), 0.0), 0.3, True),
        (_many_weights, 0.2, True),
        (_many_weights, 0.7, True),
        (_many_weights, 0.3, False),
    ],
    meaning="The decoder can no longer lean on one word, and on average nothing changes.",
    mistakes=[
        (lambda w, p, training: F.dropout(w, p), _EVALUATION),
        (_old_dropout, _OLD),
        (lambda w, p, training: w, _NONE),
        (_dropped_like(divide=lambda p: 1.0), _PLAIN),
        (_dropped_like(divide=lambda p: p or 1.0), _BY_P),
        (lambda w, p, training: F.dropout(w, 1 - p, training) if p else w, _SWAPPED),
        (_renormalised, _RENORMALISED),
        (_dropped_like(lambda w: torch.rand(w.shape[:-1]).unsqueeze(-1)), _ROWS),
        (_dropped_like(lambda w: torch.rand(w.size(0), 1, w.size(-1))), _STEPS),
        (_dropped_like(lambda w: torch.rand(w.shape[1:])), _BATCH),
        (_dropped_like(lambda w: torch.rand(w.shape, generator=torch.Generator().manual_seed(0))), _FIXED),
        (_dropped_like(lambda w: w.flatten().argsort().argsort().view(w.shape) / w.numel()), _BY_SIZE),
        (_dropped_like(_share_exactly), _EXACT),
        (lambda w, p, training: F.dropout(w, p, training).detach(), _DETACHED),
    ],
)  # fmt: skip


def check_dropped_weights(function):
    """Check `dropped_weights(weights, p, training)`: dropout of attention weights."""
    return _dropped_weights.check(function)
