"""The exercises of chapter 1: softmax, attention, masks, layer norm, positions, the block, the leak test."""

import math
from dataclasses import dataclass

import torch

from helpers.attention import causal_mask as right_causal_mask
from helpers.attention import scaled_dot_product_attention
from helpers.checks.core import Exercise, then
from helpers.checks.shared import HONEST, LEAKY, Looks, one_leak, random
from helpers.layers import sinusoidal_encoding

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


# 2. Scaled dot-product attention


def _attention_like(scale=None, dim=-1, late=False, infinite=False, inverted=False, ignore_mask=False):
    """Return attention with a mistake."""

    def attend(query, key, value, mask=None):
        factor = scale(query, key) if scale else 1 / math.sqrt(query.size(-1))
        scores = query @ key.transpose(-2, -1) * factor
        if mask is None or ignore_mask:
            weights = scores.softmax(dim)
        elif late:
            weights = scores.softmax(dim) * mask
        else:
            blocked = mask if inverted else ~mask
            filled = scores.masked_fill(blocked, -math.inf if infinite else torch.finfo(scores.dtype).min)
            weights = filled.softmax(dim) if infinite else filled.softmax(dim).masked_fill(blocked, 0.0)
        return weights @ value, weights

    return attend


def _lowest_only(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    weights = (scores if mask is None else scores.masked_fill(~mask, -1e9)).softmax(-1)
    return weights @ value, weights


def _filled(number):
    """Return attention that fills forbidden scores with a number."""

    def attend(query, key, value, mask=None):
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
        if mask is None:
            weights = scores.softmax(-1)
        else:
            weights = scores.masked_fill(~mask, number).softmax(-1).masked_fill(~mask, 0.0)
        return weights @ value, weights

    return attend


def _mask_turned(query, key, value, mask=None):
    turn = mask is not None and mask.dim() > 1 and mask.size(-2) == 1
    return scaled_dot_product_attention(query, key, value, mask.transpose(-2, -1) if turn else mask)


_some = torch.tensor([[True, False, True], [True, True, False], [False, True, True]])
_causal_3 = right_causal_mask(3)
_per_sequence = torch.tensor([[[True, True, False]], [[True, False, True]]])  # (2, 1, 3), as a padding mask
_none = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])

_attention = Exercise(
    name="my_attention",
    reference=scaled_dot_product_attention,
    cases=[
        (torch.tensor([[1.0]]), torch.tensor([[0.0], [0.6931]]), torch.tensor([[3.0], [6.0]])),
        (random(2, 4, seed=1), random(3, 4, seed=2), random(3, 2, seed=3)),
        (random(2, 3, 4, seed=4), random(2, 3, 4, seed=5), random(2, 3, 4, seed=6)),
        (random(3, 2, seed=7), random(3, 2, seed=8), random(3, 2, seed=9), _some),
        (random(2, 4, 8, seed=10), random(2, 4, 8, seed=11), random(2, 4, 5, seed=12), right_causal_mask(4)),
        (random(2, 2, 3, 4, seed=13), random(2, 2, 3, 4, seed=14), random(2, 2, 3, 4, seed=15),
         _some.expand(2, 1, 3, 3)),
        (random(3, 4, seed=16, scale=100.0), random(3, 4, seed=17, scale=100.0), random(3, 4, seed=18), _some),
        (random(3, 4, seed=19), random(3, 4, seed=20), random(3, 4, seed=21), _none),
        (random(2, 3, 4, seed=22), random(2, 3, 4, seed=23), random(2, 3, 4, seed=24), _per_sequence),
        (random(3, 4, seed=25), random(3, 4, seed=26), random(3, 4, seed=27), torch.tensor([True, False, True])),
        (random(3, 4, seed=28), random(3, 4, seed=29), random(3, 4, seed=30), torch.tensor([[True, True, False]])),
        (random(2, 2, 3, seed=31), random(2, 4, 3, seed=32), random(2, 4, 5, seed=33)),
        (torch.full((3, 1), -1e3), torch.tensor([[1e3], [2e3], [3e3]]), random(3, 2, seed=34), _causal_3),
        (torch.full((3, 1), 1e3), torch.tensor([[1e3], [2e3], [3e3]]), random(3, 2, seed=35), _causal_3),
    ],
    meaning="This one function is the heart of every Transformer.",
    mistakes=[
        (_attention_like(scale=lambda q, k: 1.0), "the scores are not divided by √d_k"),
        (_attention_like(scale=lambda q, k: 1 / q.size(-1)), "divide by the square root of d_k, not by d_k"),
        (_attention_like(scale=lambda q, k: 1 / math.sqrt(k.size(-2))), "divide by the root of the width of a query"
         " (last axis), not by the root of the number of keys"),
        (_attention_like(scale=lambda q, k: math.sqrt(q.size(-1))), "divide by √d_k instead of multiplying"),
        (_attention_like(dim=-2), "the softmax runs over the queries; it belongs over the keys, dim=-1"),
        (_attention_like(dim=1), "dim=1 holds the keys only without a batch; write dim=-1"),
        (_attention_like(dim=0), "the softmax runs over the first axis; it belongs over the keys, dim=-1"),
        (_attention_like(late=True), "the mask comes after the softmax, so the rows no longer add up to 1"),
        (_attention_like(inverted=True), "the mask is turned round: True means may attend"),
        (_attention_like(ignore_mask=True), "the mask is not used"),
        (_filled(-1e4), "the number that stands for a forbidden score is not low enough: allowed scores may be lower"
         " still; fill with torch.finfo(scores.dtype).min"),
        (_mask_turned, "a mask (B, 1, T) hides keys, which are columns; do not transpose it"),
        (_attention_like(infinite=True), "a row that is masked throughout is 0 / 0: fill with torch.finfo(...).min and"
         " set the forbidden weights to 0 after the softmax"),
        (_lowest_only, "a row that is masked throughout became an average of everything: set the forbidden weights to"
         " 0 after the softmax"),
        (lambda *a: scaled_dot_product_attention(*a)[::-1], "return (output, weights), in this order"),
    ],
    gradient=True,
)  # fmt: skip


def check_attention(function):
    """Check `my_attention(query, key, value, mask=None)`: output and weights."""
    return _attention.check(function)


# 3. Causal mask

_causal_mask = Exercise(
    name="causal_mask",
    reference=right_causal_mask,
    cases=[(2,), (1,), (3,), (17,)],
    meaning="Row i has i + 1 True: a token sees itself and what comes before.",
    mistakes=[
        (lambda n: right_causal_mask(n).T, "this shows the future and hides the past: rows are queries, and key j is"
         " allowed where j <= i"),
        (lambda n: right_causal_mask(n).tril(-1), "a token may attend to itself: the diagonal is True"),
        (lambda n: ~right_causal_mask(n), "turned round: True means may attend"),
        (lambda n: right_causal_mask(n).float(), "the mask must be boolean: dtype=torch.bool, or a comparison"),
        (lambda n: torch.zeros(n, n).masked_fill(~right_causal_mask(n), -math.inf), "this is the additive form (0 and"
         " -inf); here the mask is boolean"),
        (lambda n: right_causal_mask(n).unsqueeze(0), "two axes are enough: (length, length)"),
    ],
)  # fmt: skip


def check_causal_mask(function):
    """Check `causal_mask(length)`: boolean, True = may attend."""
    return _causal_mask.check(function)


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


# 5. Layer norm


def _layer_norm_like(dim=-1, unbiased=False, where="under the root", affine=True, detached=False):
    """Return layer norm, or a version of it with a mistake."""

    def layer_norm(x, weight, bias, eps):
        axes = tuple(range(x.dim())) if dim is None else dim
        mean, variance = x.mean(axes, keepdim=True), x.var(axes, keepdim=True, unbiased=unbiased)
        if detached:
            mean, variance = mean.detach(), variance.detach()
        spread = {
            "under the root": torch.sqrt(variance + eps),
            "outside": torch.sqrt(variance) + eps,
            "nowhere": torch.sqrt(variance),
            "no root": variance + eps,
        }[where]
        normalised = (x - mean) / spread
        return weight * normalised + bias if affine else normalised

    return layer_norm


def _mean_of_squares(x, weight, bias, eps):
    mean = x.mean(-1, keepdim=True)
    variance = (x * x).mean(-1, keepdim=True) - mean * mean
    return weight * (x - mean) / torch.sqrt(variance.clamp(min=0) + eps) + bias


_layer_norm = Exercise(
    name="my_layer_norm",
    reference=_layer_norm_like(),
    cases=[
        (torch.tensor([[5.0, 6.0, 7.0, 8.0]]), torch.ones(4), torch.zeros(4), 1e-5),
        (torch.tensor([[1.0, 2.0, 3.0], [30.0, 10.0, 20.0]]), torch.ones(3), torch.zeros(3), 1e-5),
        (random(2, 3, 5, seed=1), random(5, seed=2), random(5, seed=3), 1e-5),
        (random(2, 4, seed=4, scale=1e-3), torch.ones(4), torch.zeros(4), 1e-5),
        (torch.full((2, 4), 3.0), torch.ones(4), random(4, seed=5), 1e-5),
        (random(4, seed=6, scale=0.5), random(4, seed=7), random(4, seed=8), 0.1),
        (random(4, 4, seed=9), random(4, seed=10), random(4, seed=11), 1e-5),
        (1000 + torch.tensor([[1.125, -2.25, 3.375, 1.75], [2.125, 0.375, -1.25, -1.25]]), torch.ones(4), torch.zeros(4), 1e-5),
    ],
    meaning="Each token alone, over its features.",
    mistakes=[
        (_layer_norm_like(dim=None), "the statistics are taken over the whole tensor; each token (last axis,"
         " keepdim=True) needs its own"),
        (_layer_norm_like(dim=-2), "the statistics are taken over the tokens (down the columns); use the features,"
         " dim=-1"),
        (_layer_norm_like(unbiased=True), "the variance is divided by d_model - 1: use unbiased=False"),
        (_layer_norm_like(where="no root"), "divide by the square root of the variance"),
        (_layer_norm_like(where="outside"), "eps goes under the root: sqrt(variance + eps)"),
        (_layer_norm_like(where="nowhere"), "eps is missing: a token whose features are all alike is 0 / 0"),
        (_layer_norm_like(affine=False), "weight and bias are not used"),
        (_mean_of_squares, "the mean of the squares minus the square of the mean loses its digits when the numbers are"
         " large and close together: square the differences x - mean"),
        (lambda x, w, b, e: w * (_layer_norm_like(affine=False)(x, w, b, e) + b), "multiply by weight first, then add"
         " bias"),
    ],
    tolerance=1e-4,
    gradient=True,
)  # fmt: skip


def check_layer_norm(function):
    """Check `my_layer_norm(x, weight, bias, eps)` over the last axis."""
    return _layer_norm.check(function)


# 6. Position encoding


def _encoding_like(base=10000.0, exponent=lambda column, d_model: (column - column % 2) / d_model, first=0, swap=False):
    """Return the position encoding, written column by column, or a version of it with a mistake."""

    def encoding(length, d_model):
        column = torch.arange(d_model, dtype=torch.float64)
        angle = (torch.arange(length, dtype=torch.float64) + first).unsqueeze(1) / base ** exponent(column, d_model)
        even = (column % 2 == 0) != swap
        return torch.where(even, angle.sin(), angle.cos()).float()

    return encoding


def _by_formula(length, d_model):
    """The paper's two formulas, number by number: section 3.5."""
    table = torch.zeros(length, d_model)
    for p in range(length):
        for column in range(d_model):
            angle = p / 10000 ** (2 * (column // 2) / d_model)
            table[p, column] = math.sin(angle) if column % 2 == 0 else math.cos(angle)
    return table


def _halves(length, d_model):
    encoding = _encoding_like()(length, d_model)
    return torch.cat([encoding[:, 0::2], encoding[:, 1::2]], dim=1)


_position_encoding = Exercise(
    name="position_encoding",
    reference=_by_formula,
    cases=[(2, 4), (1, 2), (3, 5), (4, 1), (10, 8), (50, 33)],
    meaning="A table of clock hands: each pair of columns turns at its own speed.",
    mistakes=[
        (_encoding_like(swap=True), "sines belong into the even columns (0, 2, ...), cosines into the odd ones"),
        (_encoding_like(first=1), "the first position is 0, not 1"),
        (_encoding_like(exponent=lambda c, d: c / d), "a sine and the cosine beside it share one angle: the exponent is"
         " 2i / d_model in both"),
        (_encoding_like(exponent=lambda c, d: (c // 2) / d), "the exponent is 2i / d_model; this is i / d_model"),
        (_encoding_like(exponent=lambda c, d: 2 * (c - c % 2) / d), "the exponent is doubled: the even column numbers"
         " 0, 2, 4, ... are already 2i"),
        (_encoding_like(exponent=lambda c, d: -(c - c % 2) / d), "divide by the power instead of multiplying"),
        (_encoding_like(base=1000.0), "the base is 10000"),
        (_halves, "sines and cosines alternate, column by column; here all sines come first"),
        (lambda n, d: sinusoidal_encoding(n, d + d % 2), "an odd d_model needs one cosine less: d_model columns"),
        (lambda n, d: sinusoidal_encoding(d, n).T, "rows are positions, columns are features"),
    ],
    tolerance=1e-4,
)  # fmt: skip


def check_position_encoding(function):
    """Check `position_encoding(length, d_model)`: sinusoidal, any width."""
    return _position_encoding.check(function)


# 7. The block


@dataclass(frozen=True)
class Times:
    """A stand-in for a sublayer that multiplies by a number."""

    factor: float

    def __call__(self, x):
        return self.factor * x


@dataclass(frozen=True)
class Mix:
    """A stand-in for a sublayer: mixes tokens and features, not linearly."""

    seed: int

    def __call__(self, x):
        return torch.tanh(x @ random(x.size(-1), x.size(-1), seed=self.seed) + x.mean(-2, keepdim=True))


@dataclass(frozen=True)
class Norm:
    """A stand-in for a layer norm whose weight and bias come from a seed."""

    seed: int

    def __call__(self, x):
        d_model = x.size(-1)
        weight, bias = random(d_model, seed=self.seed), random(d_model, seed=self.seed + 1)
        return torch.nn.functional.layer_norm(x, (d_model,), weight, bias)


def _right_block(x, attend, feed_forward, norm_1, norm_2, norm_first):
    if norm_first:
        x = x + attend(norm_1(x))
        return x + feed_forward(norm_2(x))
    x = norm_1(x + attend(x))
    return norm_2(x + feed_forward(x))


def _without_residual(x, attend, feed_forward, norm_1, norm_2, norm_first):
    if norm_first:
        return feed_forward(norm_2(attend(norm_1(x))))
    return norm_2(feed_forward(norm_1(attend(x))))


def _normalised_residual(x, attend, feed_forward, norm_1, norm_2, norm_first):
    if norm_first:
        y = norm_1(x)
        x = y + attend(y)
        y = norm_2(x)
        return y + feed_forward(y)
    return _right_block(x, attend, feed_forward, norm_1, norm_2, norm_first)


def _feed_forward_lost(x, attend, feed_forward, norm_1, norm_2, norm_first):
    if norm_first:
        x = x + attend(norm_1(x))
        return x + norm_2(x)
    return _right_block(x, attend, feed_forward, norm_1, norm_2, norm_first)


def _parallel(x, attend, feed_forward, norm_1, norm_2, norm_first):
    if norm_first:
        y = x + attend(norm_1(x))
        return x + feed_forward(norm_2(y))
    y = norm_1(x + attend(x))
    return norm_2(x + feed_forward(y))


def _side_by_side(x, attend, feed_forward, norm_1, norm_2, norm_first):
    if norm_first:
        return x + attend(norm_1(x)) + feed_forward(norm_2(x))
    return _right_block(x, attend, feed_forward, norm_1, norm_2, norm_first)


def _norm_inside(x, attend, feed_forward, norm_1, norm_2, norm_first):
    if norm_first:
        return _right_block(x, attend, feed_forward, norm_1, norm_2, norm_first)
    x = x + norm_1(attend(x))
    return x + norm_2(feed_forward(x))


_doubling = (Times(2.0), Times(2.0), Times(2.0), Times(2.0))
_mixing = (Mix(1), Mix(2), Norm(3), Norm(5))

_block = Exercise(
    name="my_block",
    reference=_right_block,
    cases=[
        (torch.tensor([[[1.0]]]), *_doubling, True),
        (torch.tensor([[[1.0]]]), *_doubling, False),
        (random(1, 2, 3, seed=10), *_mixing, True),
        (random(1, 2, 3, seed=11), *_mixing, False),
        (random(2, 5, 8, seed=12, scale=10.0), *_mixing, True),
        (random(2, 5, 8, seed=13, scale=10.0), *_mixing, False),
    ],
    meaning="With attention and a feed-forward network in it, this is a Transformer block.",
    mistakes=[
        (_without_residual, "the residual connections are missing: x + sublayer(...)"),
        (_normalised_residual, "in pre-norm the residual adds x itself, not norm(x)"),
        (_feed_forward_lost, "the normalised input is added where the feed-forward network's output belongs"),
        (_parallel, "the second residual starts from the result of the first, not from the original x"),
        (_side_by_side, "the feed-forward network reads the result of the attention half, not the original x"),
        (_norm_inside, "in post-norm the norm comes after the sum: norm(x + sublayer(x))"),
        (lambda *a: _right_block(*a[:5], not a[5]), "the two orders are exchanged"),
        (lambda *a: _right_block(*a[:5], True), "norm_first=False is not handled: post-norm is norm(x + sublayer(x))"),
        (lambda *a: _right_block(*a[:5], False), "norm_first=True is not handled: pre-norm is x + sublayer(norm(x))"),
        (lambda *a: _right_block(*a[:4], a[3], a[5]), "norm_1 is used twice; each sublayer has its own layer norm"),
        (lambda x, a, f, n, m, first: _right_block(x, f, a, n, m, first), "attention comes first, then feed-forward"),
    ],
    tolerance=1e-4,
    gradient=True,
)  # fmt: skip


def check_block(function):
    """Check `my_block(x, attend, feed_forward, norm_1, norm_2, norm_first)`."""
    return _block.check(function)


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
class Causal:
    """A causal sum, and what `extra(x)` adds to it."""

    and_more: str

    def __call__(self, x):
        extra = torch.zeros_like(x)
        if self.and_more == "feature 1 of the last to the first":
            extra[0] = x[-1, 1]
        elif self.and_more == "the last to feature 1 of the first":
            extra[0, 1] = x[-1, 0]
        elif self.and_more == "a hundredth of the next":
            extra[:-1] = 1e-2 * x[1:]
        elif self.and_more == "rounding of one millionth":
            extra[:-1] = 1e-6 * torch.tanh(x[1:])
        return torch.tanh(x).cumsum(0) + extra


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
    *[(Causal(kind), 4) for kind in ("feature 1 of the last to the first", "the last to feature 1 of the first",
                                     "a hundredth of the next", "rounding of one millionth")],
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
