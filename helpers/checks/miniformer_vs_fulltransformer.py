"""The exercises of chapter 5."""

import math

import torch

from helpers.checks.core import Exercise, then
from helpers.checks.shared import random


def _causal_weights(*shape, seed=0):
    """Return random causal attention weights, (..., T, T)."""
    future = torch.ones(shape[-2:], dtype=torch.bool).triu(1)
    return random(*shape, seed=seed, scale=2.0).masked_fill(future, -math.inf).softmax(-1)


# A bigram model from a table of counts


def bigram_probabilities(counts, k):
    smoothed = counts + k / counts.size(1)  # (V, V)
    return smoothed / smoothed.sum(dim=1, keepdim=True)


_counts = torch.randint(0, 9, (6, 6), generator=torch.Generator().manual_seed(0)).float()

check_bigram_probabilities = Exercise(
    bigram_probabilities,
    cases=[
        (torch.tensor([[2.0, 0.0], [0.0, 0.0]]), 2.0),
        (torch.tensor([[3.0]]), 1.0),
        (torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 4.0]]), 0.5),
        (_counts, 8.0),
        (_counts, 6.0),
        (100 * _counts, 0.01),
        (_counts + 1, 0.0),
    ],
    meaning="No letter is impossible any more, and each row still sums to 1.",
    mistakes=[
        (("k / counts.size(1) -> k", "smoothed.sum(dim=1, keepdim=True) -> (counts.sum(dim=1, keepdim=True) + k)"), "k is"
         " shared by the V letters: each gets k/V"),
        ("k / counts.size(1) -> k", "k in all, not k for each letter"),
        ("dim=1 -> dim=0", "divide each row by its own total: dim=1"),
        (" + k / counts.size(1) -> ", "without smoothing unseen pairs get 0, and empty rows NaN"),
        (".sum(dim=1, keepdim=True) -> .sum()", "divide each row by its own total, not by that of all"),
        ("smoothed.sum(dim=1, keepdim=True) -> counts.sum(dim=1, keepdim=True)", "the total of a row grows by k too: divide"
         " by the sum of the smoothed counts"),
        ("dim=1, keepdim=True -> dim=1", "keepdim=True is missing: without it the totals are divided along the columns"),
        (lambda counts, k: (counts / counts.sum(1, keepdim=True).clamp(min=1) + k / counts.size(1)) / (1 + k), "mix k with"
         " the counts, not with the probabilities: a row with many counts is smoothed less"),
        (then(lambda p: p.T), "row i is what follows symbol i; here it is the columns"),
    ],
).check  # fmt: skip


# Temperature


def with_temperature(logits, temperature):
    if temperature == 0:
        best = logits.argmax(dim=-1)  # (B,), the first of several that are equal
        return torch.nn.functional.one_hot(best, logits.size(-1)).to(logits.dtype)
    return (logits / temperature).softmax(dim=-1)


_shared_first = """best = (logits == logits.max(-1, keepdim=True).values).float()
        return best / best.sum(-1, keepdim=True)"""
_best = """best = logits.argmax(dim=-1)  # (B,), the first of several that are equal
        return torch.nn.functional.one_hot(best, logits.size(-1)).to(logits.dtype)"""

check_with_temperature = Exercise(
    with_temperature,
    cases=[
        (torch.tensor([[0.0, 1.0]]), 1.0),
        (torch.tensor([[0.0, 1.0]]), 0.5),
        (torch.tensor([[-2.0], [5.0]]), 2.0),
        (torch.tensor([[0.0, 1.0], [2.0, -1.0]]), 0.0),
        (torch.tensor([[3.0, 1.0, 3.0], [-200.0, 500.0, 0.0]]), 0.0),
        (torch.tensor([[-4.0, -3.0, -3.0], [0.0, 0.0, 0.0]]), 0),
        (torch.tensor([[1.0, 1.0000002], [0.5, 0.5]]), 0.0),
        (torch.tensor([[0.0, 0.002], [0.001, 0.0]]), 0.001),
        (torch.tensor([[0.0, 2.0, -math.inf], [-math.inf, 1.0, 1.0]]), 2.0),
        (torch.tensor([[-math.inf, 2.0, 1.0], [-math.inf, -math.inf, -7.0]]), 0.0),
        (random(4, 29), 1.5),
        (random(3, 3, seed=1), 30.0),
        (torch.tensor([[1e30, -1e30, 0.0]]), 0.1),
        (torch.tensor([[300.0, 299.0, -5.0], [-300.0, -299.0, -500.0]]), 1.0),
        (random(2, 5, seed=2).double(), 0.7),
    ],
    meaning="Low temperatures sharpen, high ones flatten, 0 chooses.",
    mistakes=[
        ("logits / temperature -> logits", "the temperature is not used"),
        ("logits / temperature -> logits * temperature", "divide by the temperature; multiplying sharpens where it should"
         " flatten"),
        ("(logits / temperature).softmax(dim=-1) -> logits.softmax(dim=-1) / temperature", "divide the logits, before the"
         " softmax; now the rows no longer sum to 1"),
        ("softmax(dim=-1) -> softmax(dim=0)", "softmax over the symbols, the last axis; not over the batch"),
        ("temperature == 0 -> False", "at temperature 0 this divides by zero: treat it apart"),
        (f"{_best} -> return (logits / 1e-6).softmax(-1)", "of equal logits, the first one gets all the probability; dividing"
         " by a small number shares it among them"),
        (f"{_best} -> {_shared_first}", "of equal logits, the first one gets all the probability"),
        ("temperature == 0 -> temperature < 0.01", "only temperature 0 means the largest alone; small ones still share"),
        ("(logits / temperature) -> (logits.softmax(-1) / temperature)", "one softmax, over the logits divided by the"
         " temperature"),
        ("logits.argmax(dim=-1) -> logits.size(-1) - 1 - logits.flip(-1).argmax(dim=-1)", "of equal logits, the FIRST one"
         " gets all the probability"),
    ],
).check  # fmt: skip


# Attention to the letter before


def mean_to_previous(weights, lengths):
    previous = weights.diagonal(offset=-1, dim1=-2, dim2=-1)  # (B, H, T, T) → (B, H, T - 1)
    real = torch.arange(1, weights.size(-1)) < lengths.unsqueeze(1)  # (B, T - 1)
    return (previous * real.unsqueeze(1)).sum(dim=(0, 2)) / real.sum()  # (H,)


def _mean_of_word_means(weights, lengths):
    previous = weights.diagonal(offset=-1, dim1=-2, dim2=-1)
    real = (torch.arange(1, weights.size(-1)) < lengths.unsqueeze(1)).unsqueeze(1)
    return ((previous * real).sum(2) / real.sum(2).clamp(min=1)).mean(0)


check_mean_to_previous = Exercise(
    mean_to_previous,
    cases=[
        (_causal_weights(1, 1, 3, 3), torch.tensor([3])),
        (_causal_weights(1, 2, 2, 2, seed=5), torch.tensor([2])),
        (_causal_weights(2, 1, 4, 4, seed=1), torch.tensor([4, 2])),
        (_causal_weights(3, 4, 9, 9, seed=2), torch.tensor([9, 5, 2])),
        (_causal_weights(3, 3, 4, 4, seed=3), torch.tensor([2, 4, 1])),  # B = H = T - 1, and a word of one letter
        (_causal_weights(2, 2, 8, 8, seed=4), torch.tensor([3, 5])),  # wider than the longest word
        (_causal_weights(5, 2, 6, 6, seed=6), torch.tensor([6, 6, 6, 6, 6])),
    ],
    meaning="One number a head, in which padding has no say.",
    mistakes=[
        (lambda weights, lengths: weights.diagonal(offset=-1, dim1=-2, dim2=-1).mean((0, 2)), "positions of padding are"
         " counted"),
        ("offset=-1 -> offset=1", "rows are queries: offset -1, below the diagonal"),
        (_mean_of_word_means, "weigh every position alike: a mean of the words' means favours short words"),
        (then(lambda means: means.mean()), "one number for each head, not one for all"),
        ("< lengths.unsqueeze(1) -> <= lengths.unsqueeze(1)", "position `length` is padding already: use <, not <="),
        ("real.sum() -> real.numel()", "divide by the number of real positions; padding is no position"),
        ("real.sum() -> lengths.sum()", "the first letter of a word has none before it: it is not counted"),
        ("real.sum() -> len(lengths)", "divide by the number of positions, not of words"),
        (lambda w, n: (w.diagonal(dim1=-2, dim2=-1) * (torch.arange(w.size(-1)) < n[:, None])[:, None]).sum((0, 2)) / n.sum(),
         "that is the weight on the own position; the one before is at offset -1"),
        (" / real.sum() -> ", "this is the sum; divide by the number of real positions"),
    ],
).check  # fmt: skip


# Normalised entropy


def normalised_entropy(weights):
    entropy = -torch.special.xlogy(weights, weights).sum(dim=-1)  # (T, T) → (T,)
    visible = torch.arange(1, len(weights) + 1)
    return torch.where(visible > 1, entropy / visible.clamp(min=2).log(), 0.0)


_divided = "torch.where(visible > 1, entropy / visible.clamp(min=2).log(), 0.0)"

check_normalised_entropy = Exercise(
    normalised_entropy,
    cases=[
        (torch.tensor([[1.0, 0.0], [0.5, 0.5]]),),
        (torch.tensor([[1.0]]),),
        (torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]),),
        (torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.5, 0.0, 0.5]]),),  # a 0 among what is visible
        (_causal_weights(7, 7),),
        (_causal_weights(60, 60, seed=1),),
        (_causal_weights(4, 4, seed=2).double(),),
    ],
    meaning="0 means one position, 1 means all alike, whatever the length.",
    mistakes=[
        (f"{_divided} -> entropy", "divide by the logarithm of the number of visible positions"),
        (f"{_divided} -> entropy / math.log(max(2, len(weights)))", "row i sees i + 1 positions, not all T"),
        ("torch.special.xlogy(weights, weights) -> (weights * weights.log())", "0 · ln 0 is NaN on a computer:"
         " torch.special.xlogy gives 0"),
        (f"{_divided} -> entropy / visible.log()", "the first row divides by ln 1 = 0: it sees one position, give it 0"),
        (f"{_divided} -> entropy / visible", "divide by the logarithm of the number of visible positions, not by the"
         " number"),
        ("-torch -> torch", "an entropy is not negative: mind the sign"),
        ("torch.arange(1, len(weights) + 1) -> torch.arange(2, len(weights) + 2)", "row i sees i + 1 positions, counted from"
         " 0; this divides by one more"),
        ("torch.arange(1, len(weights) + 1) -> (weights > 0).sum(-1)", "a position with weight 0 is visible all the same:"
         " row i sees i + 1"),
        (f"{_divided} -> (entropy / visible.log())[1:]", "the first row is missing: give it 0"),
        (then(lambda rows: rows.mean()), "one number for each row, (T,)"),
    ],
).check  # fmt: skip


# Spread a head evenly


def spread_head(weights, visible, head):
    number = visible.sum(dim=-1, keepdim=True)  # (T, T) → (T, 1)
    spread = weights.clone()  # (H, T, T)
    spread[head] = visible / number.clamp(min=1)
    return spread


def _visible(length, *nothing):
    """Return a causal mask in which the queries `nothing` may attend to nothing."""
    mask = torch.ones(length, length).tril().bool()
    mask[list(nothing)] = False
    return mask


_far = _visible(5) & (torch.arange(5) > 1)  # the first two queries see nothing, the first two keys are hidden

check_spread_head = Exercise(
    spread_head,
    cases=[
        (_causal_weights(1, 2, 2), _visible(2), 0),
        (_causal_weights(2, 3, 3, seed=1), _visible(3), 1),
        (_causal_weights(3, 4, 4, seed=2), _visible(4, 2), 0),
        (_causal_weights(3, 5, 5, seed=3), _far, 2),
        (_causal_weights(4, 4, 4, seed=4), torch.ones(4, 4).bool(), 3),  # nothing hidden; H = T
        (_causal_weights(2, 1, 1, seed=5), _visible(1), 1),
        (_causal_weights(2, 6, 6, seed=6).double(), _visible(6), 0),
        (_causal_weights(3, 3, 3, seed=7), torch.zeros(3, 3).bool(), 1),
    ],
    meaning="The reference that every pattern is held against: a head that prefers nothing.",
    mistakes=[
        ("visible / number.clamp(min=1) -> visible / number", "a query that may attend to nothing divides by 0: give it"
         " zeros"),
        ("visible / number.clamp(min=1) -> 1 / len(visible)", "spread over what each query may attend to, not over all T"),
        ("visible / number.clamp(min=1) -> visible.float()", "each row must sum to 1: divide by the number of visible"
         " positions"),
        ("visible / number.clamp(min=1) -> weights[head].mean(-1, keepdim=True) * visible", "the row's mean weight is 1/T;"
         " divide 1 by the number of visible positions"),
        ("visible.sum(dim=-1, keepdim=True) -> visible.sum(dim=0, keepdim=True)", "rows are queries: count along the last"
         " axis"),
        ("spread[head] = -> spread[:] =", "only one head is spread; the others stay"),
        ("return spread -> return spread[head]", "return the weights of all heads, (H, T, T)"),
        ("spread[head] = -> spread[head - 1] =", "heads count from 0 here: `head` is the index"),
        ("number.clamp(min=1) -> (weights[head] > 0).sum(-1, keepdim=True).clamp(min=1)", "a weight of 0 may be visible all"
         " the same: count `visible`"),
    ],
).check  # fmt: skip


# Remove an edge


def without_edge(scores, offset):
    position = torch.arange(len(scores))
    distance = position.unsqueeze(1) - position  # (T, T), from query i back to key j
    visible = (distance >= 0) & (distance != offset)
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~visible, lowest).softmax(dim=-1) * visible


_softmax = "scores.masked_fill(~visible, lowest).softmax(dim=-1) * visible"

check_without_edge = Exercise(
    without_edge,
    cases=[
        (torch.zeros(3, 3), 1),
        (torch.zeros(3, 3), 0),
        (torch.zeros(1, 1), 0),
        (torch.zeros(1, 1), 1),
        (random(5, 5, scale=3.0), 2),
        (random(6, 6, seed=1, scale=3.0), 0),
        (random(4, 4, seed=4), 3),
        (random(3, 3, seed=5), 3),  # no query has such an edge
        (random(3, 3, seed=6), 10),
        (random(4, 4, seed=2, scale=1e4), 1),
        (random(4, 4, seed=3) - 1e6, 1),
        (random(7, 7, seed=7).double(), 4),
    ],
    meaning="With this intervention you ask what an edge does.",
    mistakes=[
        (f"{_softmax} -> scores.masked_fill(distance < 0, lowest).softmax(dim=-1) * visible", "remove the edge before the"
         " softmax, so that the others share its weight"),
        ("fill(~visible, lowest).softmax(dim=-1) * visible -> fill(~visible, -math.inf).softmax(dim=-1)", "a row with nothing"
         " left is NaN: give it zeros"),
        (" * visible -> ", "a row with nothing left became an average of everything: give it zeros"),
        ("distance != offset -> distance < offset", "only the one edge at that distance goes, not all that lie further back"),
        ("distance != offset -> distance <= offset", "only the one edge at that distance goes, not all that lie further"
         " back, and it does go"),
        ("distance != offset -> distance == offset", "this keeps the one edge and removes the others"),
        ("distance != offset -> distance != -offset", "the edge lies before the query: i - j = offset, below the diagonal"),
        ("(distance >= 0) & (distance != offset) -> distance != offset", "the mask of the future is missing"),
        ("(distance >= 0) -> (distance > 0)", "a query sees its own position too, if offset is not 0"),
        ("fill(~visible, lowest) -> fill(~visible, -1e4)", "the number that stands for a forbidden score is not low enough:"
         " fill with torch.finfo(scores.dtype).min"),
        ("fill(~visible, lowest) -> fill(~visible, 0.0)", "a score of 0 is not \"no weight\": e to the power of 0 is 1"),
        (f"{_softmax} -> (scores.masked_fill(distance < 0, lowest).softmax(dim=-1) * visible).softmax(dim=-1)", "one softmax,"
         " over the scores"),
    ],
    gradient=True,
).check  # fmt: skip


# Is the difference luck?


def paired_interval(a, b, draws):
    means = (b - a)[draws].mean(dim=1)  # (N,)[(R, N)] → (R, N) → (R,)
    return torch.quantile(means, torch.tensor([0.05, 0.95], dtype=means.dtype))


def _losses(number, seed, gap=0.0):
    common = random(number, seed=seed) + 2
    return common, common + gap + 0.3 * random(number, seed=seed + 50)


def _draws(rows, number, seed=0):
    return torch.randint(0, number, (rows, number), generator=torch.Generator().manual_seed(seed))


def _unpaired(a, b, draws):
    return torch.quantile(b[draws].mean(1) - a[draws.roll(1, 0)].mean(1), torch.tensor([0.05, 0.95], dtype=a.dtype))


check_paired_interval = Exercise(
    paired_interval,
    cases=[
        (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 2.0]), torch.tensor([[0, 0], [0, 1], [1, 1]])),
        (torch.tensor([1.0]), torch.tensor([4.0]), torch.tensor([[0], [0]])),
        (*_losses(5, 1), _draws(11, 5)),
        (*_losses(7, 2, gap=1.0), _draws(7, 7, seed=1)),  # R = N
        (*_losses(30, 3), _draws(40, 30, seed=2)),
        (*_losses(12, 4, gap=-0.5), _draws(101, 12, seed=3)),
        (*(x.double() for x in _losses(9, 5)), _draws(21, 9, seed=4)),
    ],
    meaning="If 0 lies outside, the difference is more than the luck of which words were drawn.",
    mistakes=[
        ("(b - a)[draws].mean(dim=1) -> (a - b)[draws].mean(dim=1)", "the difference is b - a"),
        ("mean(dim=1) -> mean(dim=0)", "a mean for each row of `draws`: over the last axis"),
        ("(b - a)[draws].mean(dim=1) -> (b - a)", "the words have to be drawn: index the differences with `draws`"),
        ("mean(dim=1) -> sum(dim=1)", "the mean difference of a draw, not the sum"),
        ("[0.05, 0.95] -> [0.1, 0.9]", "the middle 90 per cent leaves 5 per cent at each end"),
        ("[0.05, 0.95] -> [0.025, 0.975]", "that holds the middle 95 per cent; 90 were asked for"),
        ("[0.05, 0.95] -> [0.95, 0.05]", "first the low end, then the high one"),
        (_unpaired, "the word that was drawn for `a` must be the one that was drawn for `b`"),
        (lambda a, b, draws: torch.stack([(b - a)[draws].mean(1).min(), (b - a)[draws].mean(1).max()]), "the smallest and the"
         " largest hold all of the differences, not the middle 90 per cent"),
        (lambda a, b, draws: torch.quantile((b - a)[draws].flatten(), torch.tensor([0.05, 0.95], dtype=a.dtype)), "first the"
         " mean of each draw, then the quantiles of the means"),
    ],
).check  # fmt: skip
