"""The exercises of chapter 2."""

import math

import torch
from torch.nn import functional as F

from helpers.checks.compare import difference
from helpers.checks.core import Exercise, then
from helpers.checks.shared import random, real


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
        random(B, query_size, seed=seed), random(B, T, key_size, seed=seed + 1),
        random(query_size, hidden, seed=seed + 2), random(key_size, hidden, seed=seed + 3),
        random(hidden, seed=seed + 4), mask,
    )  # fmt: skip


_one = torch.ones(1, 1)
_low_scores = (
    torch.ones(2, 1), torch.tensor([[[1.0], [2.0], [3.0]], [[3.0], [1.0], [2.0]]]), _one, _one,
    torch.tensor([-1e6]), real(2, 3),
)  # fmt: skip

_additive_weights = Exercise(
    name="additive_weights",
    reference=_additive_like(),
    cases=[
        (torch.zeros(1, 1), torch.tensor([[[0.0], [0.854]]]), _one, _one, torch.ones(1), real(2)),
        _additive_case(real(3), 2, 2, 2, 1),
        _additive_case(real(3, 2), 2, 2, 2, 6),
        _additive_case(real(1, 4, 2), 3, 5, 4, 11),
        _low_scores,
        _additive_case(real(3, 0), 4, 4, 4, 16),
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
        random(B, steps, state_size, seed=seed), random(B, T, key_size, seed=seed + 1),
        random(state_size, key_size, seed=seed + 2), mask,
    )  # fmt: skip


_luong_context = Exercise(
    name="luong_context",
    reference=_luong_like(),
    cases=[
        (torch.ones(1, 1, 1), torch.tensor([[[0.0], [0.6931]]]), _one, real(2)),
        _luong_case(real(3), 2, 2, 2, 1),
        _luong_case(real(3, 2), 2, 2, 2, 4),
        _luong_case(real(5, 1, 3), 4, 3, 2, 7),
        (torch.full((1, 2, 1), 1e3), torch.tensor([[[-3e3], [-2e3], [-1e3]]]), _one, real(2, width=3)),
        _luong_case(real(2, 0), 3, 4, 4, 10),
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
        (random(1, 2, 3, seed=1), torch.tensor([[2, 0]]), 0),
        (random(2, 3, 4, seed=2), torch.tensor([[1, 3, 2], [2, 0, 0]]), 0),
        (random(2, 3, 4, seed=3), torch.tensor([[0, 3, 2], [2, 0, 1]]), 1),
        (random(3, 2, 3, seed=4), torch.tensor([[1, 2], [0, 0], [2, 0]]), 0),
        (1e4 * torch.tensor([[[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]]), torch.tensor([[2, 0]]), 1),
        (random(4, 6, 11, seed=5), torch.randint(0, 11, (4, 6), generator=torch.Generator().manual_seed(6)), 10),
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


# Short, medium, long


def by_length(lengths, values, edges):
    group = torch.bucketize(lengths, torch.tensor(edges))  # (N,), 0 to len(edges)
    members = [group == number for number in range(len(edges) + 1)]
    means = [values[m].mean() for m in members]
    return torch.stack(means), torch.stack([m.sum() for m in members])


def _groups_case(number, longest, edges, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (number,), generator=generator)
    return lengths, torch.randn(number, generator=generator), edges


def _sorted_thirds(lengths, values, edges):
    parts = lengths.argsort(stable=True).tensor_split(len(edges) + 1)
    return torch.stack([values[p].mean() for p in parts]), torch.tensor([len(p) for p in parts])


check_by_length = Exercise(
    by_length,
    cases=[
        (torch.tensor([3, 5, 9]), torch.tensor([1.0, 0.0, 0.5]), (5,)),
        (torch.tensor([4, 9, 6, 3, 8, 6]), torch.tensor([1.0, 4.0, 2.0, 5.0, 3.0, 8.0]), (5, 8)),
        (torch.tensor([2, 9, 12]), torch.tensor([1.0, 0.25, 0.5]), (3, 6)),
        (torch.tensor([7]), torch.tensor([-2.0]), (7,)),
        (torch.tensor([0, 1, 1, 2, 60]), torch.tensor([3.0, -1.0, 1.0, -4.0, 1.0]), (1, 2)),
        _groups_case(40, 16, (5, 8), 1),
        _groups_case(60, 16, (3, 6, 9, 12), 2),
        _groups_case(5, 4, (6, 9), 3),
        _groups_case(50, 1000, (10, 300), 4),
    ],
    meaning="An empty group says NaN, so that nobody takes it for a result.",
    mistakes=[
        ("torch.tensor(edges)) -> torch.tensor(edges), right=True)", "the upper edge belongs to the group: length <= edge"),
        ("values[m].mean() -> values[m].sum()", "this is the sum of each group; wanted is its mean"),
        ("values[m].mean() -> values[m].sum() / m.sum().clamp(min=1)", "the mean of an empty group is NaN, not 0"),
        ("group == number -> group <= number", "each group also holds the shorter ones: its lengths lie ABOVE the edge"
         " before"),
        ("range(len(edges) + 1) -> range(len(edges))", "the last group is missing: what is longer than the last edge"),
        ("range(len(edges) + 1) -> range(1, len(edges) + 1)", "the first group is missing: what is no longer than the"
         " first edge"),
        ("range(len(edges) + 1) -> reversed(range(len(edges) + 1))", "the groups are in reverse order: short first"),
        (_sorted_thirds, "these groups are equally large; here the edges say where one ends"),
        ("[m.sum() for m in members] -> [m.float().mean() for m in members]", "return how many there are, not their"
         " share"),
        ("bucketize(lengths -> bucketize(values", "the groups go by length, not by value"),
        (then(lambda result: result[::-1]), "return (means, counts), in this order"),
        ("values[m].mean() -> values.mean()", "every group shows the mean of all: choose its values first"),
    ],
).check  # fmt: skip


# Alignment error


def alignment_error(weights, gold, source_length, target_length):
    words = weights[:target_length, :source_length]
    best = words.argmax(dim=-1).tolist()
    guess = {(source, target) for target, source in enumerate(best)}
    return 1 - 2 * len(guess & gold) / (len(guess) + len(gold))


def _alignment_case(target, source, target_length, source_length, links, seed):
    """Return arguments whose gold links are every second link of the map and some others, so that there is a score."""
    generator = torch.Generator().manual_seed(seed)
    weights = random(target, source, seed=seed, scale=2.0).softmax(-1)
    best = weights[:target_length, :source_length].argmax(-1).tolist()
    gold = {(source, target) for target, source in list(enumerate(best))[::2]}
    for _ in range(links):
        gold.add(tuple(int(torch.randint(n, (1,), generator=generator)) for n in (source_length, target_length)))
    return weights, gold, source_length, target_length


_links_above = "guess = {(i, j) for j, i in (words > %s).nonzero().tolist()}"
_guess = "guess = {(source, target) for target, source in enumerate(best)}"
_rate = "1 - 2 * len(guess & gold) / (len(guess) + len(gold))"

check_alignment_error = Exercise(
    alignment_error,
    cases=[
        (torch.tensor([[0.1, 0.7, 0.2], [0.1, 0.6, 0.3]]), {(1, 0), (2, 1)}, 3, 2),
        (torch.tensor([[1.0]]), {(0, 0)}, 1, 1),
        (torch.tensor([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3]]), {(0, 0)}, 3, 2),
        (torch.tensor([[0.3, 0.4, 0.3], [0.2, 0.2, 0.6]]), set(), 3, 2),
        (torch.tensor([[0.8, 0.2, 0.0], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]]), {(0, 0), (1, 1), (1, 0)}, 2, 2),
        (torch.tensor([[0.4, 0.1, 0.5], [0.0, 0.3, 0.7]]), {(0, 0), (1, 1)}, 2, 2),
        (torch.tensor([[0.2, 0.8], [0.9, 0.1]]), {(1, 0), (0, 1)}, 2, 2),
        (torch.tensor([[0.2, 0.8], [0.9, 0.1]]), {(0, 0), (1, 1)}, 2, 2),
        _alignment_case(6, 5, 4, 3, 2, 1),
        _alignment_case(9, 7, 8, 7, 6, 2),
        _alignment_case(7, 9, 7, 8, 12, 3),
        _alignment_case(20, 30, 18, 29, 20, 4),
    ],
    meaning="0: every link is right and none is missing. 1: nothing is right.",
    mistakes=[
        ("{(source, target) for -> {(target, source) for", "a link is (source, target); here it is turned round"),
        ("[:target_length, :source_length] -> [:, :source_length]", "the rows after target_length (<EOS>, padding) have no"
         " link: leave them out"),
        ("[:target_length, :source_length] -> [:target_length]", "the columns after source_length (<EOS>, padding) are no"
         " words: cut them off before argmax"),
        ("[:target_length, :source_length] -> ", "the lengths are not used"),
        ("[:target_length, :source_length] -> [:source_length, :target_length]", "the two lengths are exchanged: rows are"
         " target words"),
        (("argmax(dim=-1) -> argmax(dim=0)", "(source, target) for target, source -> (source, target) for source, target"),
         "each TARGET word (row) looks for its source word, not the other way round"),
        (f"{_guess} -> {_links_above % 0.5}", "every target word has one link, to its largest weight, however small that"
         " is"),
        (f"{_guess} -> {_links_above % 0.0}", "only the largest weight of a row is a link, not every weight"),
        (f"{_rate} -> 1 - len(guess & gold) / len(guess)", "this is 1 - precision: links that are missing cost nothing"),
        (f"{_rate} -> 1 - len(guess & gold) / max(len(gold), 1)", "this is 1 - recall: links too many cost nothing"),
        (then(lambda error: 1 - error), "this is the agreement; the error is 1 minus it"),
        ("1 - 2 * len -> 1 - len", "the links found count twice: once for each of the two sets"),
        (f"{_rate} -> 1 - len(guess & gold) / len(guess | gold)", "divide by the sizes of the two sets added up, not by"
         " the size of their union"),
    ],
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
