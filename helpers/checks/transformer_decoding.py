"""The exercises of chapter 4 on decoding: greedy, top-k filtering, one step with a cache, beam search."""

import math
from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

from helpers.attention import scaled_dot_product_attention
from helpers.checks.core import Exercise


def _random(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Stand-ins for a model. Each counts how often it is asked, so that a loop without an end ends in an error.

PATIENCE = 60


def _check_prefixes(model, prefixes, rows=None):
    model.calls += 1
    if model.calls > PATIENCE:
        raise RuntimeError(f"the model was asked {PATIENCE} times: does the loop end?")
    if not isinstance(prefixes, torch.Tensor) or prefixes.dim() != 2:
        shape = tuple(prefixes.shape) if isinstance(prefixes, torch.Tensor) else type(prefixes).__name__
        raise ValueError(f"the model reads whole prefixes, (rows, t); it was given {shape}")
    if prefixes.is_floating_point() or prefixes.dtype == torch.bool:
        raise TypeError(f"prefixes are token ids, whole numbers; these are {prefixes.dtype}")
    if prefixes.size(1) == 0:
        raise ValueError("a prefix begins with <BOS>; these are empty")
    if rows is not None and prefixes.size(0) != rows:
        raise ValueError(f"this model continues {rows} rows; it was given {prefixes.size(0)}")


@dataclass
class Says:
    """A stand-in for a model that writes one given row after the other, whatever stands in the prefix."""

    rows: tuple
    vocab_size: int = 10
    calls: int = field(default=0, compare=False, repr=False)

    def __call__(self, prefixes):
        _check_prefixes(self, prefixes, len(self.rows))
        at = min(prefixes.size(1), len(self.rows[0])) - 1
        return F.one_hot(torch.tensor([row[at] for row in self.rows]), self.vocab_size).float()


@dataclass
class Writes:
    """A stand-in for a model whose next token depends on all tokens so far; the ids in `never` do not occur."""

    seed: int
    rows: int = None
    vocab_size: int = 8
    never: tuple = (0, 1)
    eos_id: int = 2
    eos_bonus: float = 0.0
    sharpness: float = 1.5
    calls: int = field(default=0, compare=False, repr=False)

    def __call__(self, prefixes):
        _check_prefixes(self, prefixes, self.rows)
        length, width = prefixes.size(1), 6
        if prefixes.size(0) == 0:
            return torch.zeros(0, self.vocab_size)
        table, output = (
            _random(self.vocab_size, width, seed=self.seed),
            _random(width, self.vocab_size, seed=self.seed + 1),
        )
        source = 0.0 if self.rows is None else _random(self.rows, width, seed=self.seed + 2)
        place = torch.cos(torch.arange(1.0, length + 1).unsqueeze(1) * torch.arange(1.0, width + 1))  # (t, width)
        hidden = torch.tanh((table[prefixes] * place).sum(1) + source)  # (rows, t, width) → (rows, width)
        logits = self.sharpness * hidden @ output
        logits[:, self.eos_id] += self.eos_bonus
        logits[:, list(self.never)] = -1e4
        return logits if self.rows is not None else logits.log_softmax(-1)


@dataclass
class After:
    """A stand-in for a model that looks at the last token only: `chances[last][next]` is a probability."""

    chances: dict
    vocab_size: int = 5
    calls: int = field(default=0, compare=False, repr=False)

    def __call__(self, prefixes):
        _check_prefixes(self, prefixes)
        table = torch.full((self.vocab_size, self.vocab_size), 1e-6)
        for last, row in self.chances.items():
            for following, chance in row.items():
                table[last, following] = chance
        return table.log()[prefixes[:, -1]]  # (rows, t) → (rows, V)


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
        (_random(4, 7, seed=1), 3),
        (_random(3, 9, seed=2, scale=1e4), 4),
        (_random(5, 3, seed=3) - 100.0, 1),
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


# 6. One step with a key-value cache


def _split(x, num_heads):
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _alternating(x, num_heads):
    return x.unflatten(-1, (-1, num_heads)).permute(0, 3, 1, 2)


def _join(heads):
    return heads.transpose(1, 2).flatten(2)


def _grown(old, new):
    return torch.cat([old, new], dim=2)


def _step_like(
    split=_split, join=_join, grow=_grown, seen=lambda old, new, all: all, order=(0, 1, 2), scale=1.0, turned=False,
    mask=lambda length: None, result="cache", over_queries=False,
):  # fmt: skip
    """Return a step with a cache, or a version of it with a mistake."""

    def step(x, cache, w_q, w_k, w_v, num_heads):
        weights = [w.T if turned else w for w in (w_q, w_k, w_v)]
        q, new_k, new_v = (split(x @ weights[i], num_heads) for i in order)
        k, v = (new_k, new_v) if cache is None else (grow(cache[0], new_k), grow(cache[1], new_v))
        old_k, old_v = (new_k, new_v) if cache is None else cache
        factor = num_heads**-0.5 if scale == "d_model" else q.size(-1) ** 0.5 if scale is None else scale
        seen_k, seen_v = seen(old_k, new_k, k), seen(old_v, new_v, v)
        output = scaled_dot_product_attention(q * factor, seen_k, seen_v, mask(seen_k.size(2)))[0]
        kept = {"cache": (k, v), "old": (old_k, old_v), "new": (new_k, new_v), "exchanged": (v, k)}[result]
        return join(output), kept

    return step


def _first_only(length):
    """The upper left corner of a causal mask: what `is_causal=True` makes of one query and many keys."""
    return torch.ones(1, length, dtype=torch.bool).tril()


def _square_mask(x, cache, w_q, w_k, w_v, num_heads):
    """Adds the causal mask of the whole prefix to one row of scores, which broadcasts to as many rows as there are keys."""
    keys, values = kept = _step_like()(x, cache, w_q, w_k, w_v, num_heads)[1]
    scores = _split(x @ w_q, num_heads) @ keys.transpose(-2, -1) / keys.size(-1) ** 0.5  # (B, H, 1, t + 1)
    future = torch.ones(keys.size(2), keys.size(2), dtype=torch.bool).triu(1)
    return _join(scores.masked_fill(future, -math.inf).softmax(-1) @ values), kept


def _overwrite_last(old, new):
    return torch.cat([old[:, :, :-1], new], dim=2)


def _averaged_weights(x, cache, w_q, w_k, w_v, num_heads):
    output, kept = _step_like()(x, cache, w_q, w_k, w_v, num_heads)
    weights = scaled_dot_product_attention(_split(x @ w_q, num_heads), kept[0], kept[1])[1].mean(1, keepdim=True)
    return _join(weights @ kept[1]), kept


def _one_head(x, cache, w_q, w_k, w_v, num_heads):
    kept = _step_like()(x, cache, w_q, w_k, w_v, num_heads)[1]
    return scaled_dot_product_attention(x @ w_q, _join(kept[0]), _join(kept[1]))[0], kept


def _uncounted(x, cache, w_q, w_k, w_v, num_heads):
    """Keeps the keys of the tokens as they come in, not projected."""
    plain = _split(x, num_heads)
    kept = _step_like()(x, cache, w_q, w_k, w_v, num_heads)[0]
    grown = (plain, plain) if cache is None else (_grown(cache[0], plain), _grown(cache[1], plain))
    return kept, grown


def _step_case(batch, num_heads, head_dim, earlier, seed, scale=1.0):
    d_model = num_heads * head_dim
    weights = tuple(_random(d_model, d_model, seed=seed + i, scale=d_model**-0.5) for i in range(3))
    cache = None
    for i in range(earlier):
        _, cache = _step_like()(_random(batch, 1, d_model, seed=seed + 10 + i), cache, *weights, num_heads)
    return _random(batch, 1, d_model, seed=seed + 5, scale=scale), cache, *weights, num_heads


_one = torch.ones(1, 1)

_cached_step = Exercise(
    name="cached_step",
    reference=_step_like(),
    cases=[
        (torch.tensor([[[3.0]]]), None, _one, _one, _one, 1),
        (torch.tensor([[[0.0]]]), (torch.tensor([[[[2.0]]]]), torch.tensor([[[[4.0]]]])), _one, _one, _one, 1),
        _step_case(1, 1, 2, 1, 1),
        _step_case(1, 2, 2, 0, 20),
        _step_case(1, 2, 2, 2, 40),
        _step_case(2, 2, 2, 3, 60),
        _step_case(3, 4, 3, 6, 80),
        _step_case(2, 3, 4, 1, 100),
        _step_case(2, 2, 4, 9, 120, scale=30.0),
    ],
    meaning="One query, one new key, one new value: the past is looked up and not computed again.",
    mistakes=[
        (_step_like(grow=lambda old, new: new), "the cache is replaced by the new key and value: append them"),
        (_step_like(grow=_overwrite_last), "the newest key and value of the cache are overwritten: append instead"),
        (_step_like(grow=lambda old, new: old), "the new key and value never get into the cache"),
        (_step_like(grow=lambda old, new: torch.cat([new, old], dim=2)), "the new key and value go to the end, in the order"
         " of the tokens"),
        (_step_like(grow=lambda old, new: old + new), "append, do not add: the cache grows by one position"),
        (_step_like(grow=lambda old, new: torch.cat([old, new], dim=1), join=lambda o: o[:, :1].transpose(1, 2).flatten(2)),
         "the cache grows along the axis of the heads; positions are axis 2 of (B, H, t, D)"),
        (_step_like(seen=lambda old, new, all: old), "the new token attends to itself too: append first, then attend, and"
         " mask nothing"),
        (_step_like(seen=lambda old, new, all: new), "the new token attends to itself only: use all the keys in the cache"),
        (_step_like(mask=_first_only), "a causal mask of shape (1, t + 1) leaves only the first key (is_causal=True does"
         " the same): the newest token may see everything, no mask is needed"),
        (_square_mask, "a square causal mask makes t + 1 rows out of one: there is a single query, and it may see everything,"
         " so no mask is needed"),
        (_step_like(result="old"), "return the cache with the new key and value in it"),
        (_step_like(result="new"), "return the whole cache, not the new key and value alone"),
        (_step_like(result="exchanged"), "the new cache is (keys, values), in this order"),
        (_uncounted, "keep the projected keys and values, x @ w_k and x @ w_v, so that nothing is computed twice"),
        (_step_like(order=(1, 0, 2)), "queries and keys are exchanged"),
        (_step_like(order=(0, 2, 1)), "keys and values are exchanged"),
        (_step_like(order=(0, 0, 2)), "the cache holds queries where keys belong: x @ w_k"),
        (_step_like(turned=True), "the matrices are in the paper's layout: x @ w_q, without a transpose"),
        (_step_like(split=_alternating, join=lambda o: o.permute(0, 2, 3, 1).flatten(2)), "a head gets neighbouring"
         " features: unflatten(-1, (num_heads, -1)), then transpose(1, 2)"),
        (_step_like(join=lambda o: o.permute(0, 2, 3, 1).flatten(2)), "the heads' features are interleaved: first all of"
         " head 1, then all of head 2"),
        (_step_like(scale=None), "the scores are not divided by √head_dim"),
        (_step_like(scale="d_model"), "divide by √head_dim, not by √d_model"),
        (_one_head, "this attends with one wide head; each head has weights of its own"),
        (_averaged_weights, "the weights are averaged over the heads; each head uses its own"),
        (_step_like(join=lambda o: o), "join the heads: (B, H, 1, D) → (B, 1, d_model)"),
        (lambda *a: _step_like()(*a)[::-1], "return (output, cache), in this order"),
    ],
    tolerance=1e-4,
)  # fmt: skip


def check_cached_step(function):
    """Check `cached_step(x, cache, w_q, w_k, w_v, num_heads)`: the last row of causal attention, and the new cache."""
    return _cached_step.check(function)


# 7. Beam search


def _penalised(total, length, alpha):
    return total / ((5 + length) / 6) ** alpha


def _beam_like(
    rank=_penalised, last=None, finished="keep", joint=True, stop="all", first=0, keep_bos=False, keep_eos=True,
    add=lambda total, gain: total + gain, beam=lambda size: size, prefer=False, worst=False, extra=0,
):  # fmt: skip
    """Return beam search, or a version of it with a mistake. A hypothesis: its tokens, log-probability and length."""

    def search(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
        def score(hypothesis, rank=rank):
            return rank(hypothesis[1], hypothesis[2] + first, length_penalty)

        def ended(hypothesis):
            return hypothesis[2] > 0 and hypothesis[0][-1] == eos_id

        beam_size, hypotheses, aside = beam(beam_size), [([bos_id], 0.0, 0)], []
        for _ in range(max(1, max_length + extra)):
            running = [h for h in hypotheses if finished == "extend" or not ended(h)]
            if not running:
                break
            gains = next_log_probs(torch.tensor([h[0] for h in running])).tolist()
            families = [
                [(tokens + [v], add(total, gain), length + 1) for v, gain in enumerate(row)]
                for (tokens, total, length), row in zip(running, gains)
            ]
            if not joint and len(families) > 1:
                families = [[max(family, key=score)] for family in families]
            kept = [h for h in hypotheses if ended(h) and finished == "keep"]
            candidates = kept + [child for family in families for child in family]
            hypotheses = sorted(candidates, key=score, reverse=not worst)[:beam_size]
            if finished == "aside":
                aside += [h for h in hypotheses if ended(h)]
                hypotheses = [h for h in hypotheses if not ended(h)]
            elif stop == "first" and any(ended(h) for h in hypotheses) or stop == "best" and ended(hypotheses[0]):
                break
        hypotheses = hypotheses + aside
        if prefer:
            hypotheses = [h for h in hypotheses if ended(h)] or hypotheses
        tokens = max(hypotheses, key=lambda h: score(h, last or rank))[0][0 if keep_bos else 1 :]
        return tokens if keep_eos or tokens[-1] != eos_id else tokens[:-1]

    return search


def _unpenalised(total, length, alpha):
    return total


_trap = {1: {3: 0.6, 4: 0.4}, 3: {2: 0.4, 3: 0.3, 4: 0.3}, 4: {2: 0.9, 3: 0.05, 4: 0.05}}
_early = {1: {2: 0.4, 3: 0.35, 4: 0.25}, 3: {4: 0.95, 3: 0.05}, 4: {2: 0.9, 3: 0.1}}


def _beam_case(model, beam_size, max_length, length_penalty, bos_id=1, eos_id=2):
    return model, beam_size, max_length, bos_id, eos_id, length_penalty


_beam_search = Exercise(
    name="beam_search",
    reference=_beam_like(),
    cases=[
        _beam_case(After(_trap), 1, 3, 0.0),
        _beam_case(After(_trap), 2, 3, 0.0),
        _beam_case(After(_trap), 2, 1, 0.0),
        _beam_case(After(_early), 2, 4, 0.0),
        _beam_case(After(_early), 3, 4, 1.0),
        _beam_case(After(_early), 9, 4, 0.6),
        *[
            _beam_case(Writes(seed, eos_bonus=bonus, sharpness=sharpness), size, length, alpha)
            for seed, size, length, alpha, bonus, sharpness in [
                (200, 2, 4, 0.0, 0.0, 1.5), (210, 3, 5, 0.6, 0.0, 1.5), (230, 1, 6, 0.6, 0.0, 1.5),
                (250, 10, 3, 0.6, 0.0, 1.5), (260, 3, 7, 1.5, 1.5, 1.5), (280, 2, 5, 1.0, -1.0, 1.5),
                # chosen so that every known mistake shows, and no two of them alike
                (720, 2, 4, 1.0, 0.0, 0.7), (110, 4, 5, 1.0, 2.0, 1.5), (269, 4, 6, 2.0, 0.5, 0.7),
            ]
        ],
        _beam_case(Writes(400, never=(5, 6), eos_id=0), 3, 5, 0.6, bos_id=5, eos_id=0),
    ],
    meaning="A wider view costs beam_size times the work, and with one hypothesis it is greedy.",
    mistakes=[
        (_beam_like(beam=lambda size: 1), "this is greedy: only one hypothesis survives (or are all of them copies of the"
         " same one? At first there is one <BOS>, not beam_size)"),
        (_beam_like(joint=False), "the children of all hypotheses compete for the places: a good one may have two in the"
         " beam, a bad one none"),
        (_beam_like(add=lambda total, gain: total + math.exp(gain)), "add log-probabilities, not probabilities"),
        (_beam_like(add=lambda total, gain: gain), "a hypothesis is worth the sum of the log-probabilities of all its"
         " tokens, not of the last"),
        (_beam_like(worst=True), "the LARGEST scores stay in the beam"),
        (_beam_like(finished="drop"), "a finished hypothesis keeps its place: it goes on competing, unchanged"),
        (_beam_like(finished="extend"), "a finished hypothesis is extended: <EOS> ends it"),
        (_beam_like(finished="aside"), "a finished hypothesis is put aside and its place given to another: it keeps its"
         " place in the beam, or loses it to a better one"),
        (_beam_like(stop="first"), "this stops as soon as one hypothesis is finished: others may still be better"),
        (_beam_like(stop="best"), "this stops as soon as the best hypothesis is finished: with a length penalty a longer one"
         " may still overtake it"),
        (_beam_like(prefer=True), "at max_length unfinished hypotheses count like finished ones: return the best of all"),
        (_beam_like(rank=_unpenalised), "the length penalty changes nothing here: divide by"
         " ((5 + length) / 6)^length_penalty, and let the length of a finished hypothesis stay as it is"),
        (_beam_like(rank=_unpenalised, last=_penalised), "the length penalty belongs into every ranking, not only into the"
         " last"),
        (_beam_like(last=_unpenalised), "the result is the best by the penalised score, too"),
        (_beam_like(rank=lambda t, n, a: t * ((5 + n) / 6) ** a), "divide by the length penalty; the numbers are negative,"
         " so multiplying favours short ones even more"),
        (_beam_like(rank=lambda t, n, a: t / n), "this ranks by the mean; the penalty is ((5 + length) / 6)^length_penalty"),
        (_beam_like(rank=lambda t, n, a: t / n**a), "the penalty is ((5 + length) / 6)^length_penalty, not"
         " length^length_penalty"),
        (_beam_like(rank=lambda t, n, a: t / ((5 + n) / 6)), "length_penalty is the exponent of (5 + length) / 6"),
        (_beam_like(first=1), "the length counts the tokens written, <BOS> not among them"),
        (_beam_like(extra=-1), "max_length counts the tokens written, <BOS> not among them: one more"),
        (_beam_like(extra=1), "one token too many: max_length counts the tokens written"),
        (_beam_like(keep_bos=True), "<BOS> only starts the model: leave it out of the result"),
        (_beam_like(keep_eos=False), "<EOS> belongs to the result"),
    ],
)  # fmt: skip


def _listed(function):
    """Accept the tokens as a tensor or a tuple too."""

    def answer(*arguments):
        got = function(*arguments)
        if isinstance(got, torch.Tensor) and got.dim() == 1 and not got.is_floating_point():
            return got.tolist()
        return [x.item() if isinstance(x, torch.Tensor) else x for x in got] if isinstance(got, tuple | list) else got

    return answer if callable(function) else function


def check_beam_search(function):
    """Check `beam_search(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty)`: a list of tokens."""
    return _beam_search.check(_listed(function))
