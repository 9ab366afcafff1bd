"""Measurements: what attention weights do, whether a model leaks, and how sure a mean is."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch.nn import functional as F

from helpers.attention import check_mask
from helpers.common import check_number, check_size, check_special, check_tensor, check_texts, check_tokens


def _check_weights(weights):
    """Raise unless `weights` is a floating-point tensor (..., T_q, T_k) of numbers from 0 to 1."""
    check_tensor("weights", weights, "..., T_q, T_k")
    if not (weights.min() >= 0 and weights.max() <= 1 + 1e-4):
        raise ValueError(f"weights runs from {weights.min():.4g} to {weights.max():.4g}; attention weights lie in 0..1")


def attention_entropy(weights, visible=None):
    """Return the entropy of each query's weights: in nats, or as a share of the largest possible.

    Args:
        weights: (..., T_q, T_k).
        visible: None for nats; or a mask, True = may attend, that broadcasts to the weights. Then the entropy is
            divided by the logarithm of the number of visible keys, so that 0 means "one key" and 1 "all alike", however
            many there are; a query that sees fewer than two keys has no choice and gets NaN.

    Returns:
        (..., T_q).
    """
    _check_weights(weights)
    entropy = -torch.special.xlogy(weights, weights).sum(-1)  # (..., T_q, T_k) → (..., T_q)
    if visible is None:
        return entropy
    check_mask(visible, weights.shape, "visible")
    number = visible.expand(weights.shape).sum(-1)  # (..., T_q)
    return torch.where(number > 1, entropy / number.clamp(min=2).log(), torch.nan)


def attention_distance(weights):
    """Return the mean distance |i - j| between query position i and key position j under the weights, (..., T_q)."""
    _check_weights(weights)
    queries, keys = weights.shape[-2:]
    i = torch.arange(queries, device=weights.device).unsqueeze(1)
    j = torch.arange(keys, device=weights.device)
    return (weights * (i - j).abs()).sum(-1)


def attention_to_offset(weights, offset):
    """Return the weight that query i gives to key i + offset, (..., T_q); NaN where there is no such key."""
    _check_weights(weights)
    if not isinstance(offset, int) or isinstance(offset, bool):
        raise TypeError(f"offset={offset!r} must be a whole number")
    result = torch.full_like(weights[..., 0], torch.nan)
    for i in range(weights.size(-2)):
        if 0 <= i + offset < weights.size(-1):
            result[..., i] = weights[..., i, i + offset]
    return result


def attention_to(attention, query, key):
    """Return the weight that one query of each sequence gives to one key, in every head of every layer.

    Args:
        attention: the weights of each layer, (B, H, T_q, T_k).
        query, key: a position for each sequence, (B,).

    Returns:
        (B, H of the first layer + H of the second and so on).
    """
    for layer in attention:
        check_tensor("attention", layer, "B, H, T_q, T_k")
    rows = torch.arange(len(query), device=query.device)
    return torch.cat([weights[rows, :, query, key] for weights in attention], dim=1)


def pick(allowed, seed=0):
    """Return one of the allowed places of each row, at random: (B, T) → (B,); 0 where a row allows none."""
    check_tensor("allowed", allowed, "B, T", floating=False)
    if allowed.dtype != torch.bool:
        raise TypeError(f"allowed has dtype {allowed.dtype}; it must be torch.bool, True = may be chosen")
    check_size("seed", seed, least=0)
    generator = torch.Generator().manual_seed(seed)
    return ((1 - torch.rand(allowed.shape, generator=generator).to(allowed.device)) * allowed).argmax(1)


def attention_to_self(weights):
    """Return the weight that each query gives to its own position, (..., T_q)."""
    return attention_to_offset(weights, 0)


def attention_to_previous(weights):
    """Return the weight that each query gives to the position before it, (..., T_q); NaN for the first."""
    return attention_to_offset(weights, -1)


def attention_to_first(weights):
    """Return the weight that each query gives to position 0, where `<BOS>` stands, (..., T_q)."""
    _check_weights(weights)
    return weights[..., 0]


class NGram:
    """A model that predicts the next letter of a word by counting, smoothed by shorter histories.

    p(c | h) = (count(h, c) + k p(c | h')) / (count(h) + k), where h' is the history h without its first letter, and the
    empty history is mixed with the uniform guess (MacKay and Peto 1995).

    Args:
        n: the order: a letter is predicted from the n - 1 symbols before it.
        words: the words to count in.
        k: how many counts weigh as much as the shorter history.
        letters: how many symbols can come next, the end of the word included.
    """

    def __init__(self, n, words, k, letters=27):
        check_size("n", n)
        check_number("k", k, above=0)
        check_size("letters", letters)
        self.n, self.k, self.letters, self.counts, self.totals = n, k, letters, Counter(), Counter()
        for history, letter in [question for word in words for question in self.questions(word)]:
            for start in range(n):  # the whole history, then shorter and shorter ones
                self.counts[history[start:], letter] += 1
                self.totals[history[start:]] += 1

    def questions(self, word):
        """Return all (history, next letter) of a word as a list; the word ends with "<EOS>"."""
        symbols = ["<BOS>"] * (self.n - 1) + list(word) + ["<EOS>"]
        return [(tuple(symbols[i - self.n + 1 : i]), symbols[i]) for i in range(self.n - 1, len(symbols))]

    def probability(self, history, letter):
        """Return p(letter | history) for a tuple of at most n - 1 symbols."""
        shorter = self.probability(history[1:], letter) if history else 1 / self.letters
        count, total = self.counts[history, letter], self.totals[history]
        return (count + self.k * shorter) / (total + self.k)

    def loss(self, words):
        """Return the cross-entropy on words, in nats a symbol, their ends counted."""
        asked = [question for word in words for question in self.questions(word)]
        return -sum(math.log(self.probability(*question)) for question in asked) / len(asked)


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that the true mean is thought to lie in."""

    mean: float
    low: float
    high: float

    def __str__(self):
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def excludes(self, number):
        """Whether `number` lies outside the interval."""
        return not self.low <= number <= self.high


def _sample(values):
    try:
        values = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"values={values!r} must be a row of numbers") from None
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"values has shape {values.shape}; at least two finite numbers in one row are needed")
    return values


def bootstrap_interval(values, confidence=0.95, resamples=2000, seed=0):
    """Return the percentile bootstrap interval of a mean (Efron and Tibshirani 1993, section 13.3), an `Interval`.

    For many values: words, sentences, positions. For the handful that a few seeds give it comes out too narrow; use
    `seed_interval` there.
    """
    values = _sample(values)
    check_number("confidence", confidence, above=0, below=1)
    check_size("resamples", resamples)
    chosen = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    means = values[chosen].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def seed_interval(values, confidence=0.95):
    """Return Student's t interval of a mean, an `Interval`: for the few values that several seeds give."""
    values = _sample(values)
    check_number("confidence", confidence, above=0, below=1)
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


@dataclass(frozen=True)
class Leak:
    """What `find_leak` found: `changed` is the position that was changed, `moved` the output that should not have."""

    kind: str
    changed: int
    moved: int
    by: float

    def __str__(self):
        what = {"future": "a change at", "padding": "the padding from"}[self.kind]
        return f"{self.kind} leak: {what} position {self.changed} moved the output at position {self.moved} by {self.by:.4f}"


@torch.no_grad()
def find_leak(model, tokens, pad_id=0, tolerance=1e-4):
    """Look for an output that depends on what it must not see: a later token, or padding.

    Each position in turn gets other tokens, and no earlier output may move. Then each sequence is run without its
    padding, and no output at a real token may move.

    Args:
        model: what is to be tested: `model(tokens) -> (B, T, ...)`. Wrap a model of two inputs:
            `find_leak(lambda t: transformer(t, t), tokens)`.
        tokens: ids, (B, T), padded on the right with `pad_id`.
        pad_id: the id of the padding symbol.
        tolerance: outputs that differ by less are equal; floating-point sums in another order differ a little.

    Returns:
        None when nothing leaks, otherwise the `Leak` that moved an output most.
    """
    check_tokens(tokens)
    check_special(pad_id=pad_id)
    check_number("tolerance", tolerance, low=0)
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    try:
        output = model(tokens)
        check_tensor("model(tokens)", output, "B, T, ..., D", floating=False)
        if output.shape[:2] != tokens.shape:
            raise ValueError(
                f"model(tokens) has shape {tuple(output.shape)}; it must be {tuple(tokens.shape)} and more"
            )
        if not output.isfinite().all():
            raise ValueError("model(tokens) holds NaN or infinity; a leak cannot be told from it")
        if not torch.equal(output, model(tokens)):
            raise ValueError("the model answers the same tokens differently each time: call its eval() first (dropout)")
        leaks = [*_future_leaks(model, tokens, pad_id), *_padding_leaks(model, tokens, pad_id)]
    finally:
        if was_training:
            model.train()
    worst = max(leaks, key=lambda leak: leak.by, default=None)
    return worst if worst is not None and worst.by > tolerance else None


def _future_leaks(model, tokens, pad_id):
    """Change one position at a time; report for each the earlier output that moved most."""
    expected = model(tokens)
    ids = tokens[tokens != pad_id].unique()  # sorted
    if len(ids) < 2:
        raise ValueError("tokens holds fewer than two different symbols; nothing can be exchanged for anything else")
    for position in range(1, tokens.size(1)):
        column = tokens[:, position].contiguous()
        another = ids[(torch.searchsorted(ids, column) + 1) % len(ids)]
        changed = tokens.clone()
        changed[:, position] = torch.where(column == pad_id, column, another)
        moved = (model(changed) - expected)[:, :position].abs().flatten(2).amax(-1).amax(0)  # (position,)
        yield Leak("future", position, int(moved.argmax()), float(moved.max()))


def _padding_leaks(model, tokens, pad_id):
    """Run each sequence without its padding; report the real token whose output moved most."""
    expected = model(tokens)
    lengths = (tokens != pad_id).sum(1).tolist()
    for row, length in enumerate(lengths):
        if 0 < length < tokens.size(1):
            alone = model(tokens[row : row + 1, :length])[0]
            moved = (alone - expected[row, :length]).abs().flatten(1).amax(-1)  # (length,)
            yield Leak("padding", length, int(moved.argmax()), float(moved.max()))


def _word_features(text):
    """The words of a text, its pairs of neighbours, and its first and last four words with their places."""
    words = text.split()
    ends = [f"{place}: {word}" for place, word in enumerate(words[:4])]
    ends += [f"-{place}: {word}" for place, word in enumerate(words[:-5:-1], 1)]
    return {*words, *(f"{a} {b}" for a, b in zip(words, words[1:])), *ends}


def word_regression(texts, labels, *others, penalty=1.0):
    """Fit a logistic regression on words, neighbours and ends of texts: a reference point that knows no structure.

    Each feature that occurs in `texts` gets a number; the sum of a text's numbers, through the sigmoid, is the
    probability of the label 1. The numbers minimise the cross-entropy plus `penalty` / 2 times the sum of their
    squares; there is one such minimum, so there is no seed.

    Args:
        texts: N strings, words separated by spaces.
        labels: N numbers, 0 or 1.
        *others: further lists of texts.
        penalty: how strongly the numbers are kept small.

    Returns:
        a list with the log-odds of label 1 for each list of `others`, (N,) each.

    Raises:
        TypeError, ValueError: texts that are no list of strings, not as many labels as texts, or a label not 0 or 1.
    """
    texts = check_texts("texts", texts)
    check_number("penalty", penalty, low=0)
    labels = torch.as_tensor(labels, dtype=torch.float32)
    if len(labels) != len(texts) or not ((labels == 0) | (labels == 1)).all():
        raise ValueError(f"labels must be {len(texts)} numbers, each 0 or 1, one for each text")
    features = [_word_features(text) for text in texts]
    numbers = {name: number for number, name in enumerate(sorted(set().union(*features)))}
    weights = torch.zeros(len(numbers) + 1, requires_grad=True)  # the last one is added to every text

    def table(features):
        X = torch.zeros(len(features), len(numbers) + 1)
        X[:, -1] = 1.0
        for row, names in enumerate(features):
            X[row, [numbers[name] for name in names if name in numbers]] = 1.0
        return X

    X = table(features)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(X @ weights, labels, reduction="sum")
        loss = loss + penalty / 2 * (weights[:-1] ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return [table([_word_features(text) for text in other]) @ weights.detach() for other in others]
