"""The checkers of chapter 4 accept right answers by any route, and reject the stub and plausible wrong ones."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers.attention import MultiHeadAttention, causal_mask, scaled_dot_product_attention
from helpers.checks import full_transformer as layers
from helpers.checks import transformer_decoding as decoding
from helpers.generation import generate
from helpers.layers import DecoderLayer

EXERCISES = {
    "warmup_lr": layers._warmup_lr,
    "smoothed_loss": layers._smoothed_loss,
    "decoder_layer": layers._decoder_layer,
    "greedy": decoding._greedy,
    "top_k_filter": decoding._top_k_filter,
    "cached_step": decoding._cached_step,
    "beam_search": decoding._beam_search,
}


def check(name):
    return getattr(layers, f"check_{name}", None) or getattr(decoding, f"check_{name}")


# Right answers, each by two routes: the solution's and another.


def lr_by_the_formula(step, d_model, warmup):
    return d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)


def lr_by_its_peak(step, d_model, warmup):
    peak = 1 / math.sqrt(d_model * warmup)
    return peak * step / warmup if step < warmup else peak * math.sqrt(warmup / step)


def loss_by_two_means(logits, target, smoothing, pad_id):
    log_p = logits.log_softmax(dim=-1)
    right = log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    each = -(1 - smoothing) * right - smoothing * log_p.mean(dim=-1)
    return each[target != pad_id].mean()


def loss_by_soft_targets(logits, target, smoothing, pad_id):
    soft = F.one_hot(target, logits.size(-1)) * (1 - smoothing) + smoothing / logits.size(-1)
    real = (target != pad_id).float()
    each = logits.logsumexp(-1) - (soft * logits).sum(-1)
    return (each * real).sum() / real.sum()


def loss_by_pytorch(logits, target, smoothing, pad_id):
    return F.cross_entropy(logits.transpose(1, 2), target, ignore_index=pad_id, label_smoothing=smoothing)


def layer_in_two_branches(x, memory, layer, self_mask, memory_mask):
    if layer.norm_first:
        y = layer.norm_1(x)
        x = x + layer.self_attention(y, y, y, self_mask)[0]
        x = x + layer.cross_attention(layer.norm_2(x), memory, memory, memory_mask)[0]
        return x + layer.feed_forward(layer.norm_3(x))
    x = layer.norm_1(x + layer.self_attention(x, x, x, self_mask)[0])
    x = layer.norm_2(x + layer.cross_attention(x, memory, memory, memory_mask)[0])
    return layer.norm_3(x + layer.feed_forward(x))


def layer_in_a_loop(x, memory, layer, self_mask, memory_mask):
    sublayers = (
        (layer.norm_1, lambda y: layer.self_attention(y, y, y, mask=self_mask)[0]),
        (layer.norm_2, lambda y: layer.cross_attention(y, memory, memory, mask=memory_mask)[0]),
        (layer.norm_3, layer.feed_forward),
    )
    for norm, sublayer in sublayers:
        x = x + sublayer(norm(x)) if layer.norm_first else norm(x + sublayer(x))
    return x


def greedy_by_appending(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    tokens = torch.full((batch_size, 1), bos_id)
    ended = torch.zeros(batch_size, dtype=torch.bool)
    for _ in range(max_length):
        chosen = next_logits(tokens).argmax(dim=-1)
        chosen = chosen.masked_fill(ended, pad_id)
        tokens = torch.cat([tokens, chosen.unsqueeze(1)], dim=1)
        ended = ended | (chosen == eos_id)
        if ended.all():
            break
    return tokens[:, 1:]


def greedy_into_a_table(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    table = torch.full((batch_size, max_length + 1), pad_id)
    table[:, 0] = bos_id
    length = 0
    while length < max_length and not (table == eos_id).any(dim=1).all():
        chosen = next_logits(table[:, : length + 1]).topk(1).indices[:, 0].tolist()
        for row, token in enumerate(chosen):
            if eos_id not in table[row, 1 : length + 1].tolist():
                table[row, length + 1] = token
        length += 1
    return table[:, 1 : length + 1]


def greedy_by_generate(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    def step(last, prefix):
        prefix = torch.cat([prefix, last.unsqueeze(1)], dim=1)
        return next_logits(prefix), prefix

    state = torch.zeros(batch_size, 0, dtype=torch.long)
    return generate(step, state, batch_size, max_length=max_length, bos_id=bos_id, eos_id=eos_id, pad_id=pad_id)[0]


def top_k_by_threshold(logits, k):
    smallest = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < smallest, -math.inf)


def top_k_by_scatter(logits, k):
    best = logits.topk(k, dim=-1)
    return torch.full_like(logits, -math.inf).scatter(-1, best.indices, best.values)


def top_k_by_addition(logits, k):
    dropped = logits.argsort(dim=-1, descending=True, stable=True)[:, k:]
    return logits + torch.zeros_like(logits).scatter(-1, dropped, -math.inf)


def step_by_cat(x, cache, w_q, w_k, w_v, num_heads):
    q, k, v = ((x @ w).unflatten(-1, (num_heads, -1)).transpose(1, 2) for w in (w_q, w_k, w_v))
    if cache is not None:
        k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
    output, _ = scaled_dot_product_attention(q, k, v)
    return output.transpose(1, 2).flatten(2), (k, v)


def step_by_einsum(x, cache, w_q, w_k, w_v, num_heads):
    B, _, d_model = x.shape
    D = d_model // num_heads
    q, k, v = (torch.einsum("btm,mn->btn", x, w).view(B, num_heads, 1, D) for w in (w_q, w_k, w_v))
    keys, values = (k, v) if cache is None else (torch.cat(pair, dim=-2) for pair in zip(cache, (k, v)))
    weights = (torch.einsum("bhqd,bhkd->bhqk", q, keys) / D**0.5).softmax(-1)
    return torch.einsum("bhqk,bhkd->bqhd", weights, values).reshape(B, 1, d_model), [keys, values]


def beam_by_sorting(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
    beam = [([bos_id], 0.0)]
    for _ in range(max_length):
        running = [(tokens, total) for tokens, total in beam if tokens[-1] != eos_id]
        if not running:
            break
        candidates = [(tokens, total) for tokens, total in beam if tokens[-1] == eos_id]
        log_probs = next_log_probs(torch.tensor([tokens for tokens, _ in running]))
        for (tokens, total), row in zip(running, log_probs.tolist()):
            candidates += [(tokens + [token], total + gain) for token, gain in enumerate(row)]
        candidates.sort(key=lambda c: c[1] / ((5 + len(c[0]) - 1) / 6) ** length_penalty, reverse=True)
        beam = candidates[:beam_size]
    return beam[0][0][1:]


def beam_by_generate(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
    def step(last, prefix):
        prefix = torch.cat([prefix, last.unsqueeze(1)], dim=1)
        return next_log_probs(prefix), prefix

    pad_id = bos_id  # whatever is never written
    tokens, _ = generate(
        step, torch.zeros(1, 0, dtype=torch.long), 1, max_length=max_length, bos_id=bos_id, eos_id=eos_id,
        pad_id=pad_id, strategy="beam", beam_size=beam_size, length_penalty=length_penalty,
    )  # fmt: skip
    tokens = tokens[0].tolist()
    return tokens[: tokens.index(eos_id) + 1] if eos_id in tokens else tokens


RIGHT = {
    "warmup_lr": [lr_by_the_formula, lr_by_its_peak, lambda s, d, w: torch.tensor(lr_by_the_formula(s, d, w))],
    "smoothed_loss": [loss_by_two_means, loss_by_soft_targets, loss_by_pytorch],
    "decoder_layer": [layer_in_two_branches, layer_in_a_loop],
    "greedy": [greedy_by_appending, greedy_into_a_table, greedy_by_generate],
    "top_k_filter": [top_k_by_threshold, top_k_by_scatter, top_k_by_addition],
    "cached_step": [step_by_cat, step_by_einsum, torch.no_grad()(step_by_cat)],
    "beam_search": [
        beam_by_sorting,
        beam_by_generate,
        lambda *a: torch.tensor(beam_by_sorting(*a)),
        lambda *a: tuple(torch.tensor(beam_by_sorting(*a))),
    ],
}


# Wrong answers that are no known mistake: the checker finds them by what they return.


def greedy_for_ever(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    tokens = torch.full((batch_size, 1), bos_id)
    while not (tokens == eos_id).any(dim=1).all():
        tokens = torch.cat([tokens, next_logits(tokens).argmax(-1, keepdim=True)], dim=1)
    return tokens[:, 1:]


def greedy_of_flat_tokens(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    return next_logits(torch.full((batch_size,), bos_id))


def beam_for_ever(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
    tokens = [bos_id]
    while eos_id not in tokens:
        next_log_probs(torch.tensor([tokens]))
    return tokens


def top_k_in_place(logits, k):
    return logits.masked_fill_(logits < logits.topk(k, dim=-1).values[:, -1:], -math.inf)


def step_in_place(x, cache, w_q, w_k, w_v, num_heads):
    output, grown = step_by_cat(x, cache, w_q, w_k, w_v, num_heads)
    if cache is not None:
        cache[0][:, :, -1:] += 1.0
    return output, grown


def loss_padding_in_place(logits, target, smoothing, pad_id):
    target[target == pad_id] = -100
    return F.cross_entropy(logits.transpose(1, 2), target, label_smoothing=smoothing)


WRONG = {
    "warmup_lr": [
        lambda s, d, w: 1e-3,
        lambda s, d, w: str(lr_by_the_formula(s, d, w)),
        lambda s, d, w: [lr_by_the_formula(s, d, w)],
        lambda s, d, w: lr_by_the_formula(s, w, d),
        lambda s, d, w: lr_by_the_formula(s, d, w) * 1.001,
        lambda s, d, w: 1 / 0,
    ],
    "smoothed_loss": [
        loss_padding_in_place,
        lambda x, t, s, p: loss_by_two_means(x, t, s, p).detach(),
        lambda x, t, s, p: loss_by_two_means(x, t, s, p).item(),
        lambda x, t, s, p: loss_by_two_means(x, t, s, p).exp(),
        lambda x, t, s, p: loss_by_two_means(x.clamp(-50, 50), t, s, p),
        lambda x, t, s, p: loss_by_two_means(x, t, s, -1),
        lambda x, t, s, p: loss_by_two_means(x, t, 2 * s, p),
    ],
    "decoder_layer": [
        lambda x, m, layer, a, b: x,
        lambda x, m, layer, a, b: layer_in_a_loop(x, m, layer, a, b).detach(),
        lambda x, m, layer, a, b: layer_in_a_loop(x, m.detach(), layer, a, b),
        lambda x, m, layer, a, b: layer_in_a_loop(m, x, layer, a, b),
        lambda x, m, layer, a, b: (layer_in_a_loop(x, m, layer, a, b), None),
        lambda x, m, layer, a, b: layer_in_a_loop(x, m, layer, a if a is None else ~a, b),
        lambda x, m, layer, a, b: x.add_(layer_in_a_loop(x, m, layer, a, b)),
        lambda x, m, layer, a, b: x + layer.self_attention(x, x, x, a),
    ],
    "greedy": [
        greedy_for_ever,
        greedy_of_flat_tokens,
        lambda *a: greedy_by_appending(*a).tolist(),
        lambda *a: greedy_by_appending(*a).T,
        lambda *a: greedy_by_appending(*a).flip(1),
        lambda *a: greedy_by_appending(*a[:3], 1, 2, 0),
        lambda f, *a: greedy_by_appending(lambda tokens: f(tokens.float()), *a),
    ],
    "top_k_filter": [
        top_k_in_place,
        lambda x, k: top_k_by_threshold(x, 1),
        lambda x, k: top_k_by_threshold(x, k).tolist(),
        lambda x, k: top_k_by_threshold(x, k)[:1],
        lambda x, k: top_k_by_threshold(x, k).nan_to_num(neginf=-1e30),
        lambda x, k: top_k_by_threshold(x, k).sort(-1).values,
        lambda x, k: top_k_by_threshold(x, x.size(-1) - k),
    ],
    "cached_step": [
        step_in_place,
        lambda *a: step_by_cat(*a)[0],
        lambda x, cache, *a: step_by_cat(x, None, *a),
        lambda *a: (step_by_cat(*a)[0], step_by_cat(*a)[1][0]),
        lambda x, c, q, k, v, h: step_by_cat(x, c, q, k, v, 1),
        lambda *a: (step_by_cat(*a)[0].squeeze(1), step_by_cat(*a)[1]),
        lambda *a: (step_by_cat(*a)[0], tuple(part.transpose(1, 2) for part in step_by_cat(*a)[1])),
    ],
    "beam_search": [
        beam_for_ever,
        lambda *a: beam_by_sorting(*a)[::-1],
        lambda *a: (beam_by_sorting(*a), 0.0),
        lambda *a: torch.tensor([beam_by_sorting(*a)]),
        lambda f, k, *a: beam_by_sorting(f, k + 1, *a),
        lambda f, k, m, b, e, alpha: beam_by_sorting(f, k, m, b, e, -alpha),
        lambda f, *a: beam_by_sorting(lambda prefixes: f(prefixes[:, -1]), *a),
        lambda *a: [],
    ],
}


@pytest.mark.parametrize("name", ["greedy", "beam_search"])
def test_a_loop_without_an_end_is_ended_and_named(name, capsys):
    assert check(name)(WRONG[name][0]) is False
    assert "does the loop end?" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "answer"), [
    ("smoothed_loss", loss_padding_in_place), ("top_k_filter", top_k_in_place), ("cached_step", step_in_place),
])  # fmt: skip
def test_a_changed_input_is_named(name, answer, capsys):
    assert check(name)(answer) is False
    assert "an input was changed" in capsys.readouterr().out


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_layer_agrees_with_helpers_and_with_pytorch(norm_first):
    torch.manual_seed(0)
    theirs = nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=norm_first).double()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    x, memory = torch.randn(2, 4, 8, dtype=torch.double), torch.randn(2, 5, 8, dtype=torch.double)
    hidden = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    expected = theirs(x, memory, tgt_mask=~causal_mask(4), memory_key_padding_mask=hidden)
    layer = SimpleNamespace(
        self_attention=MultiHeadAttention.from_torch(theirs.self_attn),
        cross_attention=MultiHeadAttention.from_torch(theirs.multihead_attn),
        feed_forward=nn.Sequential(theirs.linear1, nn.ReLU(), theirs.linear2),
        norm_1=theirs.norm1, norm_2=theirs.norm2, norm_3=theirs.norm3, norm_first=norm_first,
    )  # fmt: skip
    own = DecoderLayer(8, 2, 16, norm_first=norm_first)
    for answer in RIGHT["decoder_layer"]:
        got = answer(x, memory, layer, causal_mask(4), ~hidden.unsqueeze(1))
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)
        y, m = torch.randn(2, 4, 8), torch.randn(2, 5, 8)
        torch.testing.assert_close(answer(y, m, own, causal_mask(4), None), own(y, m, causal_mask(4))[0])


@pytest.mark.parametrize("answer", RIGHT["cached_step"])
def test_step_by_step_equals_causal_attention_at_once(answer):
    torch.manual_seed(0)
    x, w_q, w_k, w_v = torch.randn(3, 7, 12), torch.randn(12, 12), torch.randn(12, 12), torch.randn(12, 12)
    q, k, v = ((x @ w).unflatten(-1, (3, -1)).transpose(1, 2) for w in (w_q, w_k, w_v))
    expected = scaled_dot_product_attention(q, k, v, causal_mask(7))[0].transpose(1, 2).flatten(2)
    cache, steps = None, []
    for t in range(7):
        output, cache = answer(x[:, t : t + 1], cache, w_q, w_k, w_v, 3)
        steps.append(output)
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_a_beam_of_one_is_greedy(seed):
    def ask():
        return decoding.Writes(seed, eos_bonus=0.5)

    one = beam_by_sorting(ask(), 1, 8, 1, 2, 0.6)
    assert one == greedy_by_appending(ask(), 1, 8, 1, 2, 0)[0].tolist()


@pytest.mark.parametrize("seed", range(20))
def test_a_beam_as_wide_as_everything_finds_the_best(seed):
    """With room for every sequence of length 3 the beam's answer is the best of them all, listed one by one."""

    def total(tokens):
        prefixes = [[1, *tokens[:i]] for i in range(len(tokens))]
        return sum(decoding.Writes(seed)(torch.tensor([p]))[0, t].item() for p, t in zip(prefixes, tokens))

    words = range(2, 8)
    sequences = [[2], *([a, 2] for a in words if a != 2)]
    sequences += [[a, b, c] for a in words for b in words for c in words if 2 not in (a, b)]
    best = max(sequences, key=lambda tokens: total(tokens) / ((5 + len(tokens)) / 6) ** 0.6)
    assert beam_by_sorting(decoding.Writes(seed), 1000, 3, 1, 2, 0.6) == best


def test_greedy_is_not_the_best_in_the_trap():
    first = decoding._beam_search.cases
    assert beam_by_sorting(*first[0]) != beam_by_sorting(*first[1])


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_either_way_with_ties_is_right_but_not_more_or_less(k, capsys):
    logits = torch.tensor([[5.0, 5.0, 5.0, 1.0]])
    assert decoding._top_k_valid(logits, k, top_k_by_scatter(logits, k))
    assert decoding._top_k_valid(logits, k, top_k_by_threshold(logits, k))
    assert k == 4 or not decoding._top_k_valid(logits, k, logits)
    assert not decoding._top_k_valid(logits, k, torch.full_like(logits, -math.inf))
