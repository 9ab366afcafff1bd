"""The checkers of chapter 2 accept right answers by any route, and reject the stub and plausible wrong ones."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from helpers.checks import seq2seq_attention, seq2seq_decoding

EXERCISES = {
    "additive_weights": seq2seq_attention._additive_weights,
    "luong_context": seq2seq_attention._luong_context,
    "sequence_loss": seq2seq_attention._sequence_loss,
    "coverage": seq2seq_decoding._coverage,
    "by_length": seq2seq_decoding._by_length,
    "alignment_error": seq2seq_decoding._alignment_error,
    "dropped_weights": seq2seq_attention._dropped_weights,
    "greedy": seq2seq_decoding._greedy,
}


def check(name):
    module = seq2seq_attention if hasattr(seq2seq_attention, f"check_{name}") else seq2seq_decoding
    return getattr(module, f"check_{name}")


# Right answers, each by two routes: the solution's and another.


def masked_softmax(scores, mask):
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).masked_fill(~mask, 0.0)


def additive_by_broadcast(query, keys, w_query, w_key, v, mask):
    hidden = torch.tanh((query @ w_query).unsqueeze(1) + keys @ w_key)
    return masked_softmax(hidden @ v, mask)


def additive_by_sentence(query, keys, w_query, w_key, v, mask):
    rows = []
    for q, k, m in zip(query, keys, mask):
        joined = torch.cat([q.expand(len(k), -1), k], dim=1) @ torch.cat([w_query, w_key])
        scores = (torch.tanh(joined) * v).sum(-1)
        row = torch.zeros_like(scores)
        if m.any():
            row = row.index_put((m,), scores[m].softmax(0))
        rows.append(row)
    return torch.stack(rows)


def luong_by_products(states, keys, w, mask):
    weights = masked_softmax(states @ w @ keys.transpose(1, 2), mask.unsqueeze(1))
    return weights @ keys, weights


def luong_step_by_step(states, keys, w, mask):
    steps = [masked_softmax(torch.einsum("be,bte->bt", s @ w, keys), mask) for s in states.unbind(1)]
    weights = torch.stack(steps, dim=1)
    return [torch.einsum("bqk,bke->bqe", weights, keys), weights]


def loss_by_choice(logits, target, pad_id):
    real = target != pad_id
    return F.cross_entropy(logits[real], target[real])


def loss_by_gather(logits, target, pad_id):
    real = (target != pad_id).float()
    chosen = logits.log_softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return -(chosen * real).sum() / real.sum()


def coverage_by_product(weights, target_mask, source_mask, least):
    total = (weights * target_mask.unsqueeze(-1)).sum(dim=1) * source_mask
    return total, ((total < least) & source_mask).sum(dim=1)


def coverage_by_loop(weights, target_mask, source_mask, least):
    total = torch.einsum("bqk,bq->bk", weights, target_mask.float()).masked_fill(~source_mask, 0.0)
    forgotten = [sum(bool(t < least) for t, real in zip(row, m) if real) for row, m in zip(total, source_mask)]
    return total, torch.tensor(forgotten, dtype=torch.float)


def groups_by_bucketize(lengths, values, edges):
    group = torch.bucketize(lengths, torch.tensor(edges))
    members = [group == g for g in range(len(edges) + 1)]
    return torch.stack([values[m].mean() for m in members]), torch.stack([m.sum() for m in members])


def groups_by_limits(lengths, values, edges):
    means, counts = [], []
    for low, high in zip((-float("inf"), *edges), (*edges, float("inf"))):
        chosen = [v for n, v in zip(lengths.tolist(), values.tolist()) if low < n <= high]
        means.append(sum(chosen) / len(chosen) if chosen else float("nan"))
        counts.append(len(chosen))
    return torch.tensor(means), torch.tensor(counts)


def error_by_sets(weights, gold, source_length, target_length):
    best = weights[:target_length, :source_length].argmax(dim=-1).tolist()
    guess = {(source, target) for target, source in enumerate(best)}
    return 1 - 2 * len(guess & gold) / (len(guess) + len(gold))


def error_by_tables(weights, gold, source_length, target_length):
    guess, truth = torch.zeros(2, target_length, source_length)
    guess[torch.arange(target_length), weights[:target_length, :source_length].max(-1).indices] = 1
    for i, j in gold:
        truth[j, i] = 1
    return 1 - 2 * (guess * truth).sum() / (guess.sum() + truth.sum())


def dropped_by_draws(weights, p, training):
    if not training:
        return weights
    kept = torch.rand_like(weights) >= p
    return weights * kept / (1 - p)


def dropped_by_pytorch(weights, p, training):
    return F.dropout(weights, p, training=training)


def dropped_by_bernoulli(weights, p, training):
    return weights * torch.bernoulli(torch.full_like(weights, 1 - p)) / (1 - p) if training else weights.clone()


def greedy_in_columns(step, state, batch_size, max_length, bos_id, eos_id, pad_id):
    tokens = torch.full((batch_size,), bos_id)
    done = torch.zeros(batch_size, dtype=torch.bool)
    words = []
    while len(words) < max_length and not done.all():
        logits, state = step(tokens, state)
        tokens = logits.argmax(dim=-1).masked_fill(done, pad_id)
        words.append(tokens)
        done = done | (tokens == eos_id)
    return torch.stack(words, dim=1)


def greedy_in_lists(step, state, batch_size, max_length, bos_id, eos_id, pad_id):
    rows, said = [[] for _ in range(batch_size)], [bos_id] * batch_size
    for _ in range(max_length):
        logits, state = step(torch.tensor(said), state)
        said = logits.softmax(-1).max(-1).indices.tolist()
        for row, word in zip(rows, said):
            if eos_id not in row:
                row.append(word)
        if all(eos_id in row for row in rows):
            break
    longest = max(map(len, rows))
    return torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows])


RIGHT = {
    "additive_weights": [additive_by_broadcast, additive_by_sentence],
    "luong_context": [luong_by_products, luong_step_by_step],
    "sequence_loss": [
        loss_by_choice,
        loss_by_gather,
        lambda x, y, pad: F.cross_entropy(x.transpose(1, 2), y, ignore_index=pad),
    ],
    "coverage": [coverage_by_product, coverage_by_loop],
    "by_length": [groups_by_bucketize, groups_by_limits],
    "alignment_error": [error_by_sets, error_by_tables, lambda *a: np.float64(error_by_sets(*a))],
    "dropped_weights": [dropped_by_draws, dropped_by_pytorch, dropped_by_bernoulli],
    "greedy": [greedy_in_columns, greedy_in_lists],
}


def loss_with(how):
    """Return the right loss of changed logits."""
    return lambda logits, target, pad_id: loss_by_choice(how(logits), target, pad_id)


def greedy_recording(change):
    """Return the greedy loop with its result changed."""
    return lambda *arguments: change(greedy_in_columns(*arguments))


def greedy_forgetful(step, state, batch_size, max_length, bos_id, eos_id, pad_id):
    tokens, words = torch.full((batch_size,), bos_id), []
    done = torch.zeros(batch_size, dtype=torch.bool)
    for _ in range(max_length):
        logits, state = step(tokens, state)
        tokens = logits.argmax(dim=-1).masked_fill(done, pad_id)
        words.append(tokens)
        done = tokens == eos_id  # only of this step
        if done.all():
            break
    return torch.stack(words, dim=1)


def greedy_trimmed(step, state, batch_size, max_length, bos_id, eos_id, pad_id):
    def deaf(logits, state):
        return logits, state

    rows = []
    tokens, done = torch.full((batch_size,), bos_id), torch.zeros(batch_size, dtype=torch.bool)
    for _ in range(max_length):
        logits, state = deaf(*step(tokens, state))
        tokens = logits.argmax(dim=-1).masked_fill(done, pad_id)
        rows.append(tokens)
        done = done | (tokens == eos_id)
    words = torch.stack(rows, dim=1)
    return words[:, : int((words != pad_id).any(0).sum())]


def dropped_in_place(weights, p, training):
    if training:
        weights *= torch.rand_like(weights) >= p
        weights /= 1 - p
    return weights


def dropped_before_the_softmax(weights, p, training):
    scores = weights.clamp(min=1e-9).log()
    return scores.masked_fill((torch.rand_like(weights) < p) & training, -torch.inf).softmax(-1)


def dropped_in_pairs(weights, p, training):
    draws = torch.rand(*weights.shape[:-1], (weights.size(-1) + 1) // 2).repeat_interleave(2, -1)
    return weights * (draws[..., : weights.size(-1)] >= p) / (1 - p) if training else weights


# Wrong answers that are no known mistake: the checker finds them by what they return.
WRONG = {
    "additive_weights": [
        lambda q, k, w, u, v, m: additive_by_broadcast(q, k, w, u, v, m).detach(),
        lambda q, k, w, u, v, m: additive_by_broadcast(q, k, u, w, v, m),
        lambda q, k, w, u, v, m: additive_by_broadcast(q, k.flip(1), w, u, v, m),
        lambda q, k, w, u, v, m: additive_by_broadcast(q[:1].expand_as(q), k, w, u, v, m),
        lambda q, k, w, u, v, m: additive_by_broadcast(q, k, w, u, v.abs(), m),
        lambda q, k, w, u, v, m: additive_by_broadcast(q, k, w, u, v, m[:1].expand_as(m)),
        lambda q, k, w, u, v, m: masked_softmax(torch.sigmoid((q @ w).unsqueeze(1) + k @ u) @ v, m),
        lambda q, k, w, u, v, m: F.softmax(masked_softmax((q @ w).unsqueeze(1).add(k @ u).tanh() @ v, m), -1),
    ],
    "luong_context": [
        lambda s, k, w, m: luong_by_products(s, k, w, m)[0],
        lambda s, k, w, m: luong_by_products(s.detach(), k, w, m),
        lambda s, k, w, m: luong_by_products(s, k, w.abs(), m),
        lambda s, k, w, m: (luong_by_products(s, k, w, m)[0].sum(1), luong_by_products(s, k, w, m)[1]),
        lambda s, k, w, m: luong_by_products(s, k * m.unsqueeze(-1), w, torch.ones_like(m)),
        lambda s, k, w, m: luong_by_products(s[:, :1].expand_as(s), k, w, m),
        lambda s, k, w, m: luong_by_products(torch.tanh(s), k, w, m),
    ],
    "sequence_loss": [
        lambda x, y, pad: loss_by_choice(x, y, pad).item(),
        loss_with(lambda x: x.detach()),
        loss_with(lambda x: x.clamp(-50, 50)),
        loss_with(lambda x: x / 2),
        lambda x, y, pad: (x.argmax(-1) == y)[y != pad].float().mean(),
        lambda x, y, pad: F.cross_entropy(x[:, -1], y[:, -1]),
        lambda x, y, pad: loss_by_choice(x.flip(1), y, pad),
    ],
    "coverage": [
        lambda w, t, s, least: coverage_by_product(w, t, s, least)[0],
        lambda w, t, s, least: coverage_by_product(w, t, s, 0.5),
        lambda w, t, s, least: coverage_by_product(w.detach(), t, s, least),
        lambda w, t, s, least: coverage_by_product(w.mul_(t.unsqueeze(-1)), t, s, least),
        lambda w, t, s, least: coverage_by_product(w.round(), t, s, least),
        lambda w, t, s, least: (coverage_by_product(w, t, s, least)[0], coverage_by_product(w, t, s, least)[1] > 0),
    ],
    "by_length": [
        lambda n, v, edges: groups_by_bucketize(n, v, edges[:1]),
        lambda n, v, edges: groups_by_bucketize(n, v, (5, 8)),
        lambda n, v, edges: groups_by_bucketize(n, v, edges)[0],
        lambda n, v, edges: tuple(x.tolist() for x in groups_by_bucketize(n, v, edges)),
        lambda n, v, edges: groups_by_bucketize(n, v, tuple(e - 1 for e in edges)),
        lambda n, v, edges: groups_by_bucketize(n, v.sort().values, edges),
    ],
    "alignment_error": [
        lambda w, g, s, t: 0.5,
        lambda w, g, s, t: error_by_sets(-w, g, s, t),
        lambda w, g, s, t: 100 * error_by_sets(w, g, s, t),
        lambda w, g, s, t: round(error_by_sets(w, g, s, t), 1),
        lambda w, g, s, t: error_by_sets(w[:, 1:], g, s, t),
        lambda w, g, s, t: str(error_by_sets(w, g, s, t)),
    ],
    "dropped_weights": [
        dropped_in_place,
        dropped_before_the_softmax,
        dropped_in_pairs,
        lambda w, p, training: F.dropout(w, 0.2, training),
        lambda w, p, training: F.dropout(w.unsqueeze(0), p, training),
        lambda w, p, training: F.dropout(w, p / 2, training) * (1 - p / 2) / (1 - p) if training else w,
        lambda w, p, training: F.dropout(w, p, training) + (0.01 if training else 0.0),
        lambda w, p, training: F.dropout(w.round(decimals=1), p, training),
        lambda w, p, training: F.dropout(w, p, training).tolist(),
        lambda w, p, training: torch.zeros_like(w) if training and p else w,
    ],
    "greedy": [
        greedy_forgetful,
        greedy_trimmed,
        greedy_recording(lambda words: words.tolist()),
        greedy_recording(lambda words: words[:, :1]),
        greedy_recording(lambda words: words.flip(0)),
        lambda step, state, B, *a: greedy_in_columns(lambda t, s: step(t[:, None], s), state, B, *a),
        lambda step, state, B, n, bos, eos, pad: greedy_in_columns(step, state, B, n, eos, eos, pad),
        lambda step, state, *a: greedy_in_columns(lambda t, s: (-step(t, s)[0], step(t, s)[1]), state, *a),
    ],
}


@pytest.mark.parametrize("seed", range(5))
def test_dropped_weights_are_judged_alike_whatever_the_draws(seed):
    """The caller's random numbers neither change the verdict nor are used up by it."""
    torch.manual_seed(seed)
    state = torch.random.get_rng_state()
    for answer in RIGHT["dropped_weights"]:
        assert check("dropped_weights")(answer) is True
    draws = torch.Generator()  # a source that the checker cannot seed
    draws.seed()

    def with_own_generator(weights, p, training):
        return weights * (torch.rand(weights.shape, generator=draws) >= p) / (1 - p) if training else weights

    assert check("dropped_weights")(with_own_generator) is True
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", ["additive_weights", "luong_context", "sequence_loss", "coverage"])
def test_a_lost_gradient_is_named(name, capsys):
    solution = RIGHT[name][0]

    def detached(*arguments):
        outputs = solution(*arguments)
        return tuple(x.detach() for x in outputs) if isinstance(outputs, tuple) else outputs.detach()

    assert check(name)(detached) is False
    assert "no gradient flows back" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "answer", "named"),
    [
        ("coverage", WRONG["coverage"][3], "an input was changed"),
        ("dropped_weights", dropped_in_place, "an input was changed"),
        ("greedy", greedy_trimmed, "step was called although every sentence had ended"),
    ],
)
def test_a_careless_answer_is_told_why(name, answer, named, capsys):
    assert check(name)(answer) is False
    assert named in capsys.readouterr().out


def test_what_is_no_function_is_named(capsys):
    assert check("dropped_weights")(torch.ones(1)) is False
    assert "expected a function, got Tensor" in capsys.readouterr().out


def test_the_greedy_loop_meets_sentences_that_end_at_different_steps():
    """The cases hold what the exercise is about: an early end, a late one, and none before max_length."""
    ends = [
        (row.index(eos) if eos in row else None)
        for step, state, B, n, bos, eos, pad in EXERCISES["greedy"].cases
        for row in greedy_in_columns(step, state, B, n, bos, eos, pad).tolist()
    ]
    assert {0, 1, 2, None} <= set(ends) and max(e for e in ends if e is not None) >= 5
