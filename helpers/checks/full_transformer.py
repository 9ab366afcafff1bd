"""The exercises of chapter 4 on training and on layers: the schedule, label smoothing, one decoder layer."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from helpers.attention import causal_mask, scaled_dot_product_attention
from helpers.checks.core import Exercise


def _random(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# 1. The schedule


def _schedule_like(choose=min, scale=-0.5, rise=-1.5, fall=-0.5, first=0):
    """Return the paper's schedule, or a version of it with a mistake."""

    def rate(step, d_model, warmup):
        step = step + first
        return d_model**scale * choose(step**fall if step else 0.0, step * warmup**rise)

    return rate


def _linear_after(step, d_model, warmup):
    peak = (d_model * warmup) ** -0.5
    return peak * step / warmup if step <= warmup else peak * max(0.0, 2 - step / warmup)


_warmup_lr = Exercise(
    name="warmup_lr",
    reference=_schedule_like(),
    cases=[
        (1, 4, 1), (1, 4, 4), (4, 4, 4), (16, 4, 4), (5, 4, 4), (1, 512, 4000), (3999, 512, 4000), (4000, 512, 4000),
        (4001, 512, 4000), (100_000, 512, 4000), (7, 100, 10), (25, 36, 9),
    ],
    meaning="The rate rises for `warmup` steps, to 1/√(d_model · warmup), and then falls with 1/√step.",
    mistakes=[
        (_schedule_like(choose=max), "the smaller of the two, min: max falls while it should rise"),
        (_schedule_like(scale=0.0), "the factor d_model^-0.5 is missing: wide models take smaller steps"),
        (_schedule_like(scale=0.5), "the power of d_model is -0.5: wide models take smaller steps, not larger ones"),
        (_schedule_like(scale=-1.0), "divide by the root of d_model, not by d_model"),
        (_schedule_like(rise=-0.5), "the power of warmup is -1.5, so that both branches meet at step = warmup"),
        (_schedule_like(rise=-1.0), "step / warmup reaches 1 at the end of the warm-up, but the other branch is only"
         " warmup^-0.5 there: the power of warmup is -1.5"),
        (_schedule_like(fall=-1.0), "after the warm-up the rate falls with the root of the step: step^-0.5"),
        (_schedule_like(first=-1), "step counts from 1 already: nothing has to be subtracted"),
        (_schedule_like(first=1), "step counts from 1 already: nothing has to be added"),
        (lambda s, d, w: d**-0.5 * s**-0.5, "the rate does not rise: the other branch is step · warmup^-1.5 (mind the sign), and"
         " the smaller of the two counts"),
        (lambda s, d, w: d**-0.5 * s * w**-1.5, "this rises for ever: the other branch is step^-0.5 (mind the sign), and the"
         " smaller of the two counts"),
        (lambda s, d, w: d**-0.5 * min(s, w) * w**-1.5, "this stays at its peak: after the warm-up step^-0.5 takes over"),
        (_linear_after, "after the warm-up the rate falls with step^-0.5, not along a straight line"),
    ],
    tolerance=lambda step, d_model, warmup: 1e-5 * _schedule_like()(step, d_model, warmup),
)  # fmt: skip


def check_warmup_lr(function):
    """Check `warmup_lr(step, d_model, warmup)`: "Attention Is All You Need", section 5.3, equation 3."""
    return _warmup_lr.check(function)


# 2. Label smoothing


def _loss_right(logits, target, smoothing, pad_id):
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=pad_id, label_smoothing=smoothing)


def _parts_of(logits, target, dim=-1, log=F.log_softmax):
    """Return the log-probabilities (B, T, V) and those of the right tokens, (B, T)."""
    log_p = log(logits, dim)
    return log_p, log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)


def _loss_like(right=lambda s, V: 1 - s, every=lambda s, V: s / V, mean="tokens", **how):
    """Return the loss with weight `right` on the right token and `every` on each class, or one with a mistake."""

    def loss(logits, target, smoothing, pad_id):
        log_p, chosen = _parts_of(logits, target, **how)
        V, real = logits.size(-1), target != (0 if mean == "id 0" else pad_id)
        each = -right(smoothing, V) * chosen - every(smoothing, V) * log_p.sum(-1)  # (B, T)
        if mean == "places":
            return each.mean()
        if mean == "places, padding at 0":
            return each.where(real, 0.0).mean()
        if mean == "sentences":
            return (each.where(real, 0.0).sum(1) / real.sum(1)).mean()
        if mean == "sum":
            return each[real].sum()
        return each[real] if mean == "none" else each[real].mean()

    return loss


def _without_padding_class(logits, target, smoothing, pad_id):
    log_p, chosen = _parts_of(logits, target)
    others = log_p.sum(-1) - log_p[..., pad_id]
    each = -(1 - smoothing) * chosen - smoothing / (logits.size(-1) - 1) * others
    return each[target != pad_id].mean()


def _without_padding_logit(logits, target, smoothing, pad_id):
    kept = [v for v in range(logits.size(-1)) if v != pad_id]
    log_p = logits[..., kept].log_softmax(-1)
    index = (target - (target > pad_id).long()).clamp(max=len(kept) - 1).unsqueeze(-1)
    each = -(1 - smoothing) * log_p.gather(-1, index).squeeze(-1) - smoothing * log_p.mean(-1)
    return each[target != pad_id].mean()


def _smoothed_prediction(logits, target, smoothing, pad_id):
    chosen = _parts_of(logits, target)[1].exp()
    each = -((1 - smoothing) * chosen + smoothing / logits.size(-1)).log()
    return each[target != pad_id].mean()


def _smoothed_later(logits, target, smoothing, pad_id):
    log_p, chosen = _parts_of(logits, target)
    return -(1 - smoothing) * chosen[target != pad_id].mean() - smoothing * log_p.mean()


def _log_of_softmax(logits, dim):
    return logits.softmax(dim).log()


def _log_with_epsilon(logits, dim):
    return (logits.softmax(dim) + 1e-9).log()


_small = torch.tensor([[[0.0, 0.0, 0.6931]]])  # probabilities 1/4, 1/4 and 1/2
_two = torch.tensor([[[0.0, 0.0, 0.6931], [0.0, 2.0, 1.0]]])

_smoothed_loss = Exercise(
    name="smoothed_loss",
    reference=_loss_right,
    cases=[
        (_small, torch.tensor([[2]]), 0.0, 0),
        (_small, torch.tensor([[2]]), 0.3, 0),
        (_two, torch.tensor([[2, 0]]), 0.0, 0),
        (_two, torch.tensor([[2, 0]]), 0.3, 0),
        (_random(2, 4, 6, seed=1), torch.tensor([[3, 1, 5, 2], [4, 0, 0, 0]]), 0.1, 0),
        (_random(3, 3, 7, seed=2, scale=3.0), torch.tensor([[0, 5, 6], [1, 6, 6], [3, 2, 0]]), 0.2, 6),
        (_random(2, 3, 5, seed=3), torch.tensor([[1, 2, 3], [4, 1, 2]]), 0.1, 0),
        (_random(2, 3, 4, seed=4), torch.tensor([[1, 2, 0], [3, 0, 0]]), 1.0, 0),
        (torch.tensor([[[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]]]), torch.tensor([[2, 1]]), 0.3, 0),
    ],
    meaning="The best this loss can be is no longer 0: certainty is punished, whoever is right.",
    mistakes=[
        (_loss_like(mean="places"), "padding is counted: take the mean over the real tokens only"),
        (_loss_like(mean="places, padding at 0"), "divide by the number of real tokens, not by B · T"),
        (_loss_like(mean="sentences"), "every real token counts alike: one mean over all of them, not one mean for each"
         " sentence first"),
        (_loss_like(mean="sum"), "this is the sum; take the mean over the real tokens"),
        (_loss_like(mean="none"), "one number for the whole batch: the mean over the real tokens"),
        (_loss_like(mean="id 0"), "padding has the id pad_id, which need not be 0"),
        (_loss_like(right=lambda s, V: 1 - s - s / (V - 1), every=lambda s, V: s / (V - 1)), "here the other V - 1 classes"
         " share the smoothing; in this definition all V do, the right one too: smoothing / V each"),
        (_without_padding_class, "all V classes get smoothing / V, the padding class too (F.cross_entropy makes no"
         " exception for it)"),
        (_without_padding_logit, "the softmax runs over all V classes, the padding class too"),
        (_loss_like(right=lambda s, V: 1.0), "the right token keeps 1 - smoothing; here the targets add up to more than 1"),
        (_loss_like(every=lambda s, V: 0.0), "the other classes get nothing: each gets smoothing / V"),
        (_loss_like(right=lambda s, V: 1.0, every=lambda s, V: 0.0), "smoothing is not used"),
        (_loss_like(right=lambda s, V: s, every=lambda s, V: (1 - s) / V), "1 - smoothing goes to the right token, and"
         " smoothing to all classes; here they are exchanged"),
        (_loss_like(every=lambda s, V: s), "smoothing is shared by the V classes: smoothing / V each"),
        (_smoothed_prediction, "smooth the target, not the prediction: the mean is taken of logarithms, not inside one"),
        (_smoothed_later, "the smoothing term counts padding: both terms are means over the real tokens"),
        (_loss_like(dim=1), "the softmax runs over the positions; it belongs over the classes, dim=-1"),
        (_loss_like(log=lambda x, dim: x), "logits are not yet log-probabilities: log_softmax first"),
        (_loss_like(log=_log_of_softmax), "the softmax underflows to 0, whose logarithm is -inf: use log_softmax"),
        (_loss_like(log=_log_with_epsilon), "a small number inside the logarithm bounds the loss: use log_softmax, which"
         " needs none"),
        (lambda x, t, s, p: -_loss_right(x, t, s, p), "the sign: a loss is MINUS the log-probability"),
    ],
    tolerance=1e-4,
    gradient=True,
)  # fmt: skip


def check_smoothed_loss(function):
    """Check `smoothed_loss(logits, target, smoothing, pad_id)`: Szegedy et al. 2015, section 7; over real tokens."""
    return _smoothed_loss.check(function)


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
                part @ _random(d_model, d_model, seed=self.seed + i) for i, part in enumerate((query, key, value))
            )
        output, weights = scaled_dot_product_attention(query, key, value, mask)
        return self.factor * output, weights


@dataclass(frozen=True)
class Network:
    """A stand-in for a feed-forward network whose weights come from a seed."""

    seed: int

    def __call__(self, x):
        return torch.tanh(x @ _random(x.size(-1), x.size(-1), seed=self.seed))


@dataclass(frozen=True)
class Norm:
    """A stand-in for a layer norm whose weight and bias come from a seed."""

    seed: int

    def __call__(self, x):
        d_model = x.size(-1)
        return F.layer_norm(x, (d_model,), _random(d_model, seed=self.seed), _random(d_model, seed=self.seed + 1))


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
    x = _random(batch, length, d_model, seed=seed, scale=scale)
    return x, _random(batch, source, d_model, seed=seed + 1, scale=scale), _mixing(norm_first), self_mask, memory_mask


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
