"""Checkers for the exercises of chapter 5."""

import math

import torch

from helpers.checks.core import Exercise


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _causal_weights(*shape, seed=0):
    """Random causal attention weights of shape (..., T, T)."""
    scores = torch.randn(*shape, generator=_generator(seed)) * 2
    future = torch.ones(shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(-1)


# Exercise 1


def _perplexity(mean_losses, letters):
    return math.exp(sum(m * n for m, n in zip(mean_losses, letters)) / sum(letters))


PERPLEXITY = Exercise(
    name="perplexity",
    reference=_perplexity,
    cases=[([0.0], [3]), ([0.0, 2.0], [1, 1]), ([1.5, 2.5], [40, 400]), ([3.0, 1.0, 2.0], [1, 1000, 5])],
    meaning="However the words are cut into batches, the number is the same.",
    mistakes=[
        (lambda m, n: math.exp(sum(m) / len(m)), "weigh each batch's loss by its number of letters (bug 3)"),
        (lambda m, n: sum(a * b for a, b in zip(m, n)) / sum(n), "that is the loss; the perplexity is its exponential"),
        (lambda m, n: sum(math.exp(a) * b for a, b in zip(m, n)) / sum(n), "first the mean, then the exponential"),
        (lambda m, n: 2 ** (sum(a * b for a, b in zip(m, n)) / sum(n)), "the losses are in nats: use e, not 2"),
        (lambda m, n: math.exp(sum(a * b for a, b in zip(m, n)) / len(m)), "divide by the number of all letters"),
    ],
)


# Exercise 2


def _bigram_probabilities(counts, k):
    return (counts + k / counts.size(1)) / (counts.sum(1, keepdim=True) + k)


BIGRAM = Exercise(
    name="bigram_probabilities",
    reference=_bigram_probabilities,
    cases=[
        (torch.tensor([[2.0, 0.0], [0.0, 0.0]]), 2.0),
        (torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 4.0]]), 0.5),
        (torch.randint(0, 9, (6, 6), generator=_generator()).float(), 8.0),
    ],
    meaning="No letter is impossible any more, and each row still sums to 1.",
    mistakes=[
        (lambda c, k: (c + k) / (c.sum(1, keepdim=True) + k), "k is shared by the V letters: each gets k/V"),
        (lambda c, k: (c + k) / (c.sum(1, keepdim=True) + k * c.size(1)), "k in all, not k for each letter"),
        (lambda c, k: (c + k / c.size(1)) / (c.sum(0, keepdim=True) + k), "divide each row by its own total: dim=1"),
        (lambda c, k: c / c.sum(1, keepdim=True), "without smoothing unseen pairs get 0, and empty rows NaN"),
        (lambda c, k: (c + k / c.size(1)) / (c.sum() + k), "divide each row by its own total, not by that of all"),
    ],
)


# Exercise 3


def _with_temperature(logits, temperature):
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.size(-1)).to(logits.dtype)
    return (logits / temperature).softmax(-1)


TEMPERATURE = Exercise(
    name="with_temperature",
    reference=_with_temperature,
    cases=[
        (torch.tensor([[0.0, 1.0]]), 1.0),
        (torch.tensor([[0.0, 1.0]]), 0.5),
        (torch.tensor([[3.0, 1.0, 3.0], [-200.0, 500.0, 0.0]]), 0.0),
        (torch.randn(4, 29, generator=_generator()), 1.5),
        (torch.tensor([[1e30, -1e30, 0.0]]), 0.1),
    ],
    meaning="Low temperatures sharpen, high ones flatten, 0 chooses.",
    mistakes=[
        (lambda x, t: x.softmax(-1), "the temperature is not used"),
        (lambda x, t: (x * t).softmax(-1), "divide by the temperature; multiplying sharpens where it should flatten"),
        (lambda x, t: x.softmax(-1) / t, "divide the logits, before the softmax; now the rows no longer sum to 1"),
        (lambda x, t: (x / t).softmax(0), "softmax over the symbols, the last axis; not over the batch"),
        (lambda x, t: (x / t).softmax(-1), "at temperature 0 this divides by zero: treat it apart"),
        (
            lambda x, t: (
                (x == x.max(-1, keepdim=True).values).float() / (x == x.max(-1, keepdim=True).values).sum(-1, True)
                if t == 0
                else (x / t).softmax(-1)
            ),
            "of equal logits, the first one gets all the probability",
        ),
    ],
)


# Exercise 4


def _mean_to_previous(weights, lengths):
    previous = weights.diagonal(offset=-1, dim1=-2, dim2=-1)  # (B, H, T - 1)
    real = torch.arange(1, weights.size(-1)) < lengths.unsqueeze(1)  # (B, T - 1)
    return (previous * real.unsqueeze(1)).sum((0, 2)) / real.sum()


def _mean_of_word_means(weights, lengths):
    previous = weights.diagonal(offset=-1, dim1=-2, dim2=-1)
    real = (torch.arange(1, weights.size(-1)) < lengths.unsqueeze(1)).unsqueeze(1)
    return ((previous * real).sum(2) / real.sum(2)).mean(0)


MEAN_TO_PREVIOUS = Exercise(
    name="mean_to_previous",
    reference=_mean_to_previous,
    cases=[
        (_causal_weights(1, 1, 3, 3), torch.tensor([3])),
        (_causal_weights(2, 1, 4, 4, seed=1), torch.tensor([4, 2])),
        (_causal_weights(3, 4, 9, 9, seed=2), torch.tensor([9, 5, 2])),
    ],
    meaning="One number a head, in which padding has no say: the basis of every profile in 5.7.",
    mistakes=[
        (lambda w, n: w.diagonal(offset=-1, dim1=-2, dim2=-1).mean((0, 2)), "positions of padding are counted"),
        (lambda w, n: _mean_to_previous(w.transpose(-1, -2), n), "rows are queries: offset -1, below the diagonal"),
        (_mean_of_word_means, "weigh every position alike: a mean of the words' means favours short words"),
        (lambda w, n: _mean_to_previous(w, n).mean(), "one number for each head, not one for all"),
        (lambda w, n: _mean_to_previous(w, n + 1), "position `length` is padding already: use <, not <="),
        (
            lambda w, n: (
                (w.diagonal(dim1=-2, dim2=-1) * (torch.arange(w.size(-1)) < n[:, None])[:, None]).sum((0, 2)) / n.sum()
            ),
            "that is the weight on the own position; the one before is at offset -1",
        ),
    ],
)


# Exercise 5


def _normalised_entropy(weights):
    entropy = -torch.special.xlogy(weights, weights).sum(-1)
    visible = torch.arange(1, weights.size(-1) + 1)
    return torch.where(visible > 1, entropy / visible.clamp(min=2).log(), 0.0)


ENTROPY = Exercise(
    name="normalised_entropy",
    reference=_normalised_entropy,
    cases=[
        (torch.tensor([[1.0, 0.0], [0.5, 0.5]]),),
        (torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]),),
        (_causal_weights(7, 7),),
    ],
    meaning="0 means one position, 1 means all alike, whatever the length.",
    mistakes=[
        (lambda w: -torch.special.xlogy(w, w).sum(-1), "divide by the logarithm of the number of visible positions"),
        (lambda w: -torch.special.xlogy(w, w).sum(-1) / math.log(w.size(-1)), "row i sees i + 1 positions, not all T"),
        (lambda w: -(w * w.log()).sum(-1), "0 · ln 0 is NaN on a computer: torch.special.xlogy gives 0"),
        (
            lambda w: -torch.special.xlogy(w, w).sum(-1) / torch.arange(1, len(w) + 1).log(),
            "the first row divides by ln 1 = 0: it sees one position, give it 0",
        ),
        (
            lambda w: -torch.special.xlogy(w, w).sum(-1) / torch.arange(1, len(w) + 1),
            "divide by the logarithm of the number of visible positions, not by the number",
        ),
        (lambda w: -_normalised_entropy(w), "an entropy is not negative: mind the sign"),
    ],
)


# Exercise 6


class _Model:
    """A model for the leak test, shown by its name. Output i is a random embedding of the tokens in `reach(i)`."""

    def __init__(self, name, reach):
        self.name, self.reach = name, reach
        self.table = torch.randn(10, 3, generator=_generator(5))

    def __call__(self, tokens):
        x = self.table[tokens]  # (B, T) → (B, T, 3)
        length = tokens.size(1)
        return torch.stack([x[:, self.reach(i, length)].sum(1) for i in range(length)], dim=1)

    def __repr__(self):
        return f"<{self.name}>"

    def __deepcopy__(self, memo):
        return self


_MODELS = {
    "a model that sees only its own token": lambda i, t: [i],
    "a causal model": lambda i, t: list(range(i + 1)),
    "a model whose first output sees the second token": lambda i, t: [0, 1] if i == 0 else [i],
    "a model that sees one step ahead": lambda i, t: [i, min(i + 1, t - 1)],
    "a model whose first output sees the last token": lambda i, t: [i, t - 1] if i == 0 else [i],
    "a model that sees everything": lambda i, t: list(range(t)),
    "a causal model that looks two back": lambda i, t: [i, max(0, i - 2)],
    "a model that sees two steps ahead": lambda i, t: [i, min(i + 2, t - 1)],
}


def _leaks_future(model, tokens):
    expected = model(tokens)
    for position in range(1, tokens.size(1)):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % 10
        if not torch.equal(model(changed)[:, :position], expected[:, :position]):
            return True
    return False


def _changes_only(position):
    """A leak test that changes one position only."""

    def test(model, tokens):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % 10
        end = position % tokens.size(1)
        return not torch.equal(model(changed)[:, :end], model(tokens)[:, :end])

    return test


def _compares_everything(model, tokens):
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 10
    return not torch.equal(model(changed), model(tokens))


def _writes_a_constant(model, tokens):
    for position in range(1, tokens.size(1)):
        changed = tokens.clone()
        changed[:, position] = 0
        if not torch.equal(model(changed)[:, :position], model(tokens)[:, :position]):
            return True
    return False


def _looks_later(model, tokens):
    changed = tokens.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 10
    return not torch.equal(model(changed)[:, 1:], model(tokens)[:, 1:])


LEAK = Exercise(
    name="leaks_future",
    reference=_leaks_future,
    cases=[
        *[(_Model(name, reach), torch.tensor([[1, 2, 3]])) for name, reach in _MODELS.items()],
        *[
            (_Model(name, reach), torch.randint(0, 10, (2, 6), generator=_generator(1)))
            for name, reach in _MODELS.items()
        ],
        *[(_Model(name, reach), torch.zeros(2, 4, dtype=torch.long)) for name, reach in _MODELS.items()],
    ],
    meaning="You can now test any model that predicts the next token, whoever built it.",
    mistakes=[
        (
            _compares_everything,
            "some models are honest: compare only outputs before the changed position, the others may move",
        ),
        (_looks_later, "change a later token and look at earlier outputs, not the other way round"),
        (_changes_only(-1), "the leak may reach one step ahead only: try every position, not just the last"),
        (_changes_only(1), "the leak may come from far ahead: try every position, not just one"),
        (_writes_a_constant, "the new id may equal the old: then nothing was changed"),
        (lambda model, tokens: False, "some of the models do leak: change later tokens and compare earlier outputs"),
    ],
)


# Exercise 7


def _without_edge(scores, offset):
    i = torch.arange(len(scores))
    visible = (i.unsqueeze(1) >= i) & (i.unsqueeze(1) - i != offset)
    return scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(-1) * visible


def _zeroed_afterwards(scores, offset):
    i = torch.arange(len(scores))
    causal = scores.masked_fill(i.unsqueeze(1) < i, -math.inf).softmax(-1)
    return causal * (i.unsqueeze(1) - i != offset)


def _everything_beyond(scores, offset):
    i = torch.arange(len(scores))
    distance = i.unsqueeze(1) - i
    visible = (distance >= 0) & (distance < offset)
    return scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(-1) * visible


def _nan_row(scores, offset):
    i = torch.arange(len(scores))
    visible = (i.unsqueeze(1) >= i) & (i.unsqueeze(1) - i != offset)
    return scores.masked_fill(~visible, -math.inf).softmax(-1)


def _ahead(scores, offset):
    return _nan_row(scores, -offset) if offset else _without_edge(scores, offset)


def _not_causal(scores, offset):
    i = torch.arange(len(scores))
    return scores.masked_fill(i.unsqueeze(1) - i == offset, -math.inf).softmax(-1)


WITHOUT_EDGE = Exercise(
    name="without_edge",
    reference=_without_edge,
    cases=[
        (torch.zeros(3, 3), 1),
        (torch.zeros(3, 3), 0),
        (torch.randn(5, 5, generator=_generator()) * 3, 2),
        (torch.randn(6, 6, generator=_generator(1)) * 3, 0),
        (torch.randn(4, 4, generator=_generator(2)) * 1e4, 1),
    ],
    meaning="That is the intervention of 5.8: with it you ask what an edge does.",
    gradient=True,
    mistakes=[
        (_zeroed_afterwards, "remove the edge before the softmax, so that the others share its weight"),
        (_nan_row, "a row with nothing left is NaN: give it zeros"),
        (_everything_beyond, "only the one edge at that distance goes, not all that lie further back"),
        (_ahead, "the edge lies before the query: i - j = offset, below the diagonal"),
        (_not_causal, "the mask of the future is missing"),
        (lambda s, o: torch.zeros_like(s) + _zeroed_afterwards(s, o).softmax(-1), "one softmax, over the scores"),
    ],
)


def check_perplexity(function):
    """Check exercise 1 of chapter 5."""
    return PERPLEXITY.check(function)


def check_bigram_probabilities(function):
    """Check exercise 2 of chapter 5."""
    return BIGRAM.check(function)


def check_with_temperature(function):
    """Check exercise 3 of chapter 5."""
    return TEMPERATURE.check(function)


def check_mean_to_previous(function):
    """Check exercise 4 of chapter 5."""
    return MEAN_TO_PREVIOUS.check(function)


def check_normalised_entropy(function):
    """Check exercise 5 of chapter 5."""
    return ENTROPY.check(function)


def check_leaks_future(function):
    """Check exercise 6 of chapter 5."""
    return LEAK.check(function)


def check_without_edge(function):
    """Check exercise 7 of chapter 5."""
    return WITHOUT_EDGE.check(function)
