"""The exercises of chapter 1: softmax, masks, biases, rotary positions, a longer key sequence, leaks, blocks."""

import math
from dataclasses import dataclass

import torch

from helpers.attention import causal_mask as right_causal_mask
from helpers.attention import scaled_dot_product_attention
from helpers.checks.core import Exercise, then
from helpers.checks.shared import HONEST, LEAKY, Looks, one_leak, random

# Stable softmax


def softmax(scores):
    exps = (scores - scores.amax(-1, keepdim=True)).exp()
    return exps / exps.sum(-1, keepdim=True)


check_softmax = Exercise(
    softmax,
    cases=[
        (torch.tensor([0.0, 0.6931]),),
        (torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]]),),
        (torch.tensor([[2.0], [-1.0]]),),
        (random(2, 3, 5, seed=1),),
        (random(2, 1, 3, 3, seed=2),),
        (torch.tensor([-3.0, -3.0, -1.0]),),
        (torch.tensor([1e4, 0.0, -1e4]),),
        (torch.tensor([-1e4, -1e4, -1e4 - 1]),),
        (torch.tensor([[1e4, 1e4 - 1], [-1e4, -1e4 - 1]]),),
        (torch.tensor([[0.0, -math.inf], [2.0, 2.0]]),),
        (random(2, 3, seed=3).double(),),
    ],
    meaning="Shifting by the row's maximum changes nothing but the overflow.",
    mistakes=[
        (("(-1, keepdim=True)).exp() -> ()).exp()", ".sum(-1, keepdim=True) -> .sum()"), "the sum runs over the whole"
         " tensor; each row (last axis, keepdim=True) needs its own"),
        (lambda scores: scores.softmax(0), "the softmax runs over the first axis; it belongs over the last, dim=-1"),
        (lambda scores: scores / scores.sum(-1, keepdim=True), "exponentiate before you divide by the sum"),
        (" - scores.amax(-1, keepdim=True) -> ", "e to the power of 10000 overflows: subtract each row's largest score"
         " first"),
        (".amax(-1, keepdim=True) -> .max()", "subtract the largest score of each row, not of the whole tensor: a row far"
         " below it underflows to 0 / 0"),
        (".amax(-1, keepdim=True) -> .abs().amax(-1, keepdim=True)", "subtract the largest score, not the largest"
         " absolute value: a row of very negative scores underflows to 0 / 0"),
        (".amax(-1, keepdim=True) -> .mean(-1, keepdim=True)", "subtract the largest score, not the mean: what lies far"
         " above the mean still overflows"),
        (then(lambda weights: weights.log()), "this is the logarithm of the softmax"),
    ],
    tolerance=lambda scores: 1e-3 if (scores.abs() == 1e4).any() else 1e-5,  # through the logarithm, 1e4 loses digits
    gradient=True,
).check  # fmt: skip


# A padding mask for a batch


def padding_mask(lengths, max_length):
    position = torch.arange(max_length)
    return position < lengths.view(-1, 1, 1)


check_padding_mask = Exercise(
    padding_mask,
    cases=[
        (torch.tensor([1, 3]), 3),
        (torch.tensor([2]), 2),
        (torch.tensor([1]), 1),
        (torch.tensor([4, 1, 3, 2]), 4),
        (torch.tensor([3, 3, 1]), 6),
        (torch.tensor([2, 1, 3]), 3),
        (torch.tensor([0, 2]), 3),
        (torch.tensor([300, 1]), 300),
    ],
    meaning="The axis of length 1 lets it meet a causal mask with `&`.",
    mistakes=[
        ("position < -> position <=", "one position too many: position lengths[b] is padding"),
        ("position < -> position + 1 <", "one position too few"),
        ("position < -> position >=", "turned round: True means a real token"),
        (then(lambda mask: mask.squeeze(1)), "the axis for the queries is missing: (B, 1, max_length)"),
        (then(lambda mask: mask.transpose(1, 2)), "this masks the queries (rows); the padded keys are columns:"
         " (B, 1, max_length)"),
        ("arange(max_length) -> arange(int(lengths.max()))", "the mask ends with the longest sequence; it must be"
         " max_length wide"),
        (then(lambda mask: mask.flip(-1)), "padding stands on the right"),
        (then(lambda mask: mask.float()), "the mask must be boolean"),
        (then(lambda mask: mask.expand(-1, mask.size(-1), -1)), "right, but keep the middle axis at length 1: broadcasting"
         " fills it in"),
    ],
).check  # fmt: skip


# A sliding window


def sliding_window(length, width):
    position = torch.arange(length)
    back = position.unsqueeze(1) - position
    return (back >= 0) & (back < width)


check_sliding_window = Exercise(
    sliding_window,
    cases=[(3, 2), (1, 1), (4, 1), (3, 3), (2, 5), (6, 3), (300, 257)],
    meaning="Each row has at most `width` True, so the work grows with the length and not with its square.",
    mistakes=[
        ("back < width -> back <= width", "one token too many: the `width` tokens include the query itself"),
        ("back < width -> back < width - 1", "one token too few: itself and the `width - 1` tokens before it"),
        ("(back >= 0) & (back < width) -> back < width", "the future is visible: a token sees itself and what is before"),
        ("(back >= 0) & (back < width) -> back >= 0", "this is the causal mask; `width` is not used"),
        ("(back >= 0) & (back < width) -> back.abs() < width", "the window reaches into the future: only itself and what"
         " is before"),
        ("back >= 0 -> back > 0", "a token may attend to itself: the diagonal is True"),
        ("position.unsqueeze(1) - position -> position - position.unsqueeze(1)", "rows are queries, columns are keys; here"
         " they have changed places"),
        (then(lambda mask: ~mask), "turned round: True means may attend"),
        (then(lambda mask: mask.float()), "the mask must be boolean"),
    ],
).check  # fmt: skip


# A price for distance


def distance_bias(slopes, length):
    position = torch.arange(length)
    back = position.unsqueeze(1) - position
    bias = -slopes.view(-1, 1, 1) * back
    return bias.masked_fill(back < 0, -math.inf)


check_distance_bias = Exercise(
    distance_bias,
    cases=[
        (torch.tensor([0.5]), 3),
        (torch.tensor([1.0]), 1),
        (torch.tensor([0.25, 0.5]), 2),
        (torch.tensor([0.5, 0.25, 0.125]), 3),
        (torch.tensor([0.0, 1.0]), 4),
        (torch.tensor([2.0, 0.5, 0.25, 0.125]), 6),
        (torch.tensor([0.0625]), 300),
    ],
    meaning="Added to the scores it is a causal mask and a preference for what is near.",
    mistakes=[
        ("-slopes -> slopes", "the further away, the smaller the bias must be: minus slope times distance"),
        ("bias.masked_fill(back < 0, -math.inf) -> bias", "what is later than the query is not hidden"),
        ("back < 0 -> back <= 0", "a token may attend to itself, at no price"),
        ("-math.inf -> 0.0", "a bias of 0 hides nothing: what is later gets minus infinity"),
        ("-math.inf -> -1e9", "what is later gets minus infinity, -math.inf, not just a low number"),
        ("* back -> * back**2", "the price is the distance times the slope, not its square"),
        ("* back -> * (back + 1)", "the distance of a token to itself is 0"),
        ("position.unsqueeze(1) - position -> position - position.unsqueeze(1)", "rows are queries, columns are keys; here"
         " they have changed places"),
        (lambda slopes, length: distance_bias(slopes, length).sum(0, keepdim=True), "each slope makes a matrix of its own:"
         " (H, length, length)"),
    ],
).check  # fmt: skip


# Rotary positions


def rotate(x, positions):
    a, b = x[..., 0::2], x[..., 1::2]
    omega = 10000 ** (-torch.arange(0, x.size(-1), 2) / x.size(-1))
    angle = positions.unsqueeze(1) * omega
    turned = a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()
    return torch.stack(turned, dim=-1).flatten(-2)


check_rotate = Exercise(
    rotate,
    cases=[
        (torch.tensor([[1.0, 0.0]]), torch.tensor([1])),
        (torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([0])),
        (torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([1])),
        (random(3, 4, seed=1), torch.arange(3)),
        (random(2, 3, 6, seed=2), torch.tensor([5, 0, 2])),
        (random(2, 2, 4, 8, seed=3), torch.arange(4)),
        (random(4, 4, seed=4), torch.arange(4)),
        (random(5, 2, seed=5), 40 + torch.arange(5)),
        (random(3, 4, seed=6), torch.tensor([0, 300, 5000])),
    ],
    meaning="Turn queries and keys, and their dot product depends on the distance alone.",
    mistakes=[
        ("a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos() -> a * angle.cos() + b * angle.sin(), b *"
         " angle.cos() - a * angle.sin()", "turned the other way: the first number of a pair is a cos φ - b sin φ"),
        ("a * angle.sin() + b * angle.cos() -> a * angle.sin() - b * angle.cos()", "the second number of a pair is a sin φ"
         " + b cos φ"),
        (("x[..., 0::2], x[..., 1::2] -> x.chunk(2, -1)", "stack(turned, dim=-1).flatten(-2) -> cat(turned, dim=-1)"),
         "columns i and i + d/2 are paired here, as some libraries do; the task pairs neighbours, 2i and"
         " 2i + 1"),
        ("torch.stack(turned, dim=-1).flatten(-2) -> torch.cat(turned, dim=-1)", "the turned numbers must go back to the"
         " columns they came from: first numbers into the even ones, second into the odd ones"),
        ("torch.arange(0, x.size(-1), 2) -> torch.arange(x.size(-1) // 2)", "the exponent is 2i / d; this is i / d"),
        ("(-torch.arange -> (torch.arange", "ω gets smaller from pair to pair: the exponent is negative"),
        ("positions.unsqueeze(1) -> torch.arange(len(positions)).unsqueeze(1)", "use `positions`, not the numbers of the"
         " rows"),
        ("positions.unsqueeze(1) -> (positions + 1).unsqueeze(1)", "at position 0 nothing is turned"),
        (lambda x, positions: x + rotate(x, positions), "the turned vector takes the place of x; it is not added to it"),
    ],
    tolerance=1e-4,
    gradient=True,
).check  # fmt: skip


# Queries that continue a longer sequence of keys


def continue_attention(query, key, value):
    T_q, T_k = query.size(-2), key.size(-2)
    mask = torch.ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q)
    return scaled_dot_product_attention(query, key, value, mask)[0]


def _q_k_v(*batch, T_q, T_k, d=4, d_v=3, seed=0):
    shapes = (T_q, d), (T_k, d), (T_k, d_v)
    return tuple(random(*batch, *shape, seed=seed + i) for i, shape in enumerate(shapes))


check_continue_attention = Exercise(
    continue_attention,
    cases=[
        (torch.tensor([[0.0]]), torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[3.0], [6.0], [9.0]])),
        _q_k_v(T_q=1, T_k=1),
        _q_k_v(T_q=2, T_k=2, seed=10),
        _q_k_v(T_q=2, T_k=3, seed=20),
        _q_k_v(T_q=2, T_k=4, seed=30),
        _q_k_v(2, T_q=3, T_k=5, seed=40),
        _q_k_v(2, 2, T_q=2, T_k=5, seed=50),
        _q_k_v(3, T_q=3, T_k=9, seed=60),
    ],
    meaning="This is what lets a model write word by word without computing its past again.",
    mistakes=[
        (".tril(T_k - T_q) -> .tril()", "the first query is taken for position 0, but the queries are the LAST positions:"
         " query i stands at position T_k - T_q + i"),
        (".tril(T_k - T_q) -> ", "the new tokens see what comes after them"),
        (".tril(T_k - T_q) -> .tril(T_k - T_q - 1)", "a token may attend to itself"),
        (".tril(T_k - T_q) -> .tril(T_k - T_q + 1)", "each query sees one token of its future"),
        (".tril(T_k - T_q) -> .triu(T_k - T_q)", "this hides the past and shows the future"),
        ("[0] -> ", "return the output alone, without the weights"),
        ("query, key, value, mask -> query * query.size(-1) ** 0.5, key, value, mask", "the scores are not divided by √d_k"),
    ],
    gradient=True,
).check  # fmt: skip


# The leak test


def leaks(attend, x):
    expected = attend(x)  # (T, d_model) → (T, d)
    for position in range(1, len(x)):
        changed = x.clone()
        changed[position] += 1.0
        moved = attend(changed)[:position] - expected[:position]  # the outputs before it
        if moved.abs().max() > 1e-4:
            return True
    return False


@dataclass(frozen=True)
class FeatureLeak:
    """A causal sum; and feature `start` of the last token is added to the features `end` of the first output."""

    start: int
    end: tuple

    def __call__(self, x):
        output = torch.tanh(x).cumsum(0)
        output[0, self.end] += x[-1, self.start]
        return output


@dataclass(frozen=True)
class Attention:
    """Causal self-attention; with a late mask the weights are zero in the right places, and it leaks all the same."""

    late_mask: bool

    def __call__(self, x):
        mask = right_causal_mask(len(x))
        if self.late_mask:
            return ((x @ x.T).softmax(-1) * mask) @ x
        return scaled_dot_product_attention(x, x, x, mask)[0]


_models = [
    *[(Looks(title, rule), length) for length in (3, 6) for title, rule in (HONEST | LEAKY).items()],
    *[(Looks(*one_leak(i, j)), 4) for j in range(4) for i in range(j)],
    *[(Looks(*one_leak(i, j)), 6) for i, j in ((1, 3), (1, 5), (2, 4), (0, 1), (4, 5))],
    (FeatureLeak(1, (0, 1)), 4), (FeatureLeak(0, (1,)), 4),
    *[(Looks(f"causal, and {part} of the next", lambda i, j, T, part=part: (j <= i) + part * (j == i + 1)), 4)
      for part in (0.01, 1e-6)],
    (Attention(late_mask=False), 6), (Attention(late_mask=True), 6), (Attention(late_mask=False), 1),
]  # fmt: skip
_before = ("attend(changed)[:position] -> attend(changed){0}", "expected[:position] -> expected{0}")

check_leaks = Exercise(
    leaks,
    cases=[(model, random(length, 2, seed=length)) for model, length in _models],
    meaning="This test asks the outputs, so no trick with the weights deceives it.",
    mistakes=[
        (tuple(edit.format("") for edit in _before), "the changed position itself always moves: look only at the outputs"
         " before it"),
        (("range(1, len(x)) -> range(len(x) - 1)", *(edit.format("[position + 1 :]") for edit in _before)), "this finds"
         " outputs that depend on an EARLIER position; that is allowed"),
        (then(lambda leak: not leak), "turned round: True means that something leaks"),
        ("range(1, len(x)) -> [len(x) - 1]", "only the last position is changed; change each in turn"),
        ("range(1, len(x)) -> [1]", "only the second position is changed; change each in turn"),
        ("moved.abs().max() -> moved.max()", "an output that falls has moved too: take the absolute value"),
        ("moved.abs().max() -> moved.sum().abs()", "movements up and down cancel in a sum: take the absolute value of each"
         " difference first"),
        ("changed[position] += -> changed[position, 0] +=", "only the first feature is changed; change the whole vector"),
        ("moved.abs() -> moved[:, 0].abs()", "only the first feature of the outputs is looked at; look at all"),
        ("range(1, len(x)) -> (1, len(x) - 1)", "only the second and the last position are changed; change each in turn"),
        ("moved.abs() -> moved[[0, -1]].abs()", "only the first output and the one just before the changed position are"
         " looked at; look at all before it"),
        ("moved.abs() -> moved[-1].abs()", "only the output just before the changed position is looked at; look at all"
         " before it"),
        ("moved.abs() -> moved[0].abs()", "only the first output is looked at; look at all before the changed position"),
        (("range(1, len(x)) -> [len(x) - 1]", "moved.abs() -> moved[0].abs()"), "only the last position is changed and only"
         " the first output looked at; change each position, and look at all outputs before it"),
        ("> 1e-4 -> > 0", "differences below 1e-4 count as none: rounding is not a leak"),
        ("> 1e-4 -> > 0.1", "a small leak is a leak: only differences below 1e-4 count as none"),
        (lambda attend, x: True, "True for everything?"),
        (lambda attend, x: False, "False for everything?"),
    ],
).check  # fmt: skip


# Attention in blocks


def attention_in_blocks(query, blocks):
    largest = torch.full((len(query), 1), -math.inf)
    total, output = torch.zeros(len(query), 1), torch.zeros(len(query), blocks[0][1].size(-1))
    for key, value in blocks:
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
        new = torch.maximum(largest, scores.amax(-1, keepdim=True))
        kept, exps = (largest - new).exp(), (scores - new).exp()
        total = kept * total + exps.sum(-1, keepdim=True)
        output = kept * output + exps @ value
        largest = new
    return output / total


def _blocks(T_q, *sizes, d=4, d_v=3, scale=1.0, seed=0):
    blocks = [
        (scale * random(n, d, seed=seed + 2 * i + 1), random(n, d_v, seed=seed + 2 * i + 2))
        for i, n in enumerate(sizes)
    ]
    return random(T_q, d, seed=seed), blocks


def _mean_of_blocks(query, blocks):
    return torch.stack([scaled_dot_product_attention(query, key, value)[0] for key, value in blocks]).mean(0)


def _one_number_each(keys, values):
    return torch.tensor([[1.0]]), [(torch.tensor([[k]]), torch.tensor([[v]])) for k, v in zip(keys, values)]


check_attention_in_blocks = Exercise(
    attention_in_blocks,
    cases=[
        _one_number_each([0.0, 0.6931], [3.0, 6.0]),
        _one_number_each([0.5], [1.0]),
        _one_number_each([2.0, 1.0, 3.0], [1.0, 2.0, 3.0]),
        _blocks(1, 2, 2),
        _blocks(2, 3, seed=10),
        _blocks(3, 2, 3, 1, seed=20),
        _blocks(4, 1, 5, 2, 2, d=6, d_v=2, scale=3.0, seed=40),
        _one_number_each([1e4, 1e4 - 1, -1e4], [1.0, 2.0, 3.0]),
        _one_number_each([-1e4, -1e4 - 1], [1.0, 2.0]),
        _one_number_each([-1e4, 1e4, 1e4 + 1], [1.0, 2.0, 3.0]),
        (torch.tensor([[1.0], [0.0]]), [(torch.tensor([[1e4], [1e4 + 1]]), torch.tensor([[1.0], [2.0]]))] * 2),
        (torch.tensor([[1.0], [-1.0]]), [(torch.tensor([[1e4], [-1e4]]), torch.tensor([[1.0], [2.0]]))] * 2),
    ],
    meaning="The weights of all keys are never in memory at once, and the result is the same.",
    mistakes=[
        ("kept * total -> total", "when the largest score grows, the sum so far must be multiplied by e^(m - m')"),
        ("kept * output -> output", "when the largest score grows, the output so far must be multiplied by e^(m - m')"),
        (("kept * total -> total", "kept * output -> output"), "when the largest score grows, the sum and the output so far"
         " must be multiplied by e^(m - m')"),
        ("torch.maximum(largest, scores.amax(-1, keepdim=True)) -> torch.zeros_like(largest)",
         "large scores overflow, very negative ones vanish: subtract the largest score so far"),
        (_mean_of_blocks, "each block counts alike here; a block whose keys match better must count more"),
        (" / math.sqrt(query.size(-1)) -> ", "the scores are not divided by √d_k"),
        ("output / total -> output", "divide by the sum of the exponentials at the end"),
        ("torch.maximum(largest, scores.amax(-1, keepdim=True)) -> scores.amax(-1, keepdim=True)", "the largest score SO"
         " FAR: a later block may have a smaller one"),
        ("scores.amax(-1, keepdim=True) -> scores.amax()", "each query has its own largest score"),
    ],
).check  # fmt: skip
