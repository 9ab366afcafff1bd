"""The checkers of chapter 2 accept right answers by any route, and reject the stub and plausible wrong ones."""

import pytest
import torch
from torch.nn import functional as F

from helpers.checks import seq2seq_attention, seq2seq_decoding

EXERCISES = {
    "additive_weights": seq2seq_attention._additive_weights,
    "luong_context": seq2seq_attention._luong_context,
    "sequence_loss": seq2seq_attention._sequence_loss,
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


@pytest.mark.parametrize("name", ["additive_weights", "luong_context", "sequence_loss"])
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
        ("greedy", greedy_trimmed, "step was called although every sentence had ended"),
    ],
)
def test_a_careless_answer_is_told_why(name, answer, named, capsys):
    assert check(name)(answer) is False
    assert named in capsys.readouterr().out


def test_what_is_no_function_is_named(capsys):
    assert check("greedy")(torch.ones(1)) is False
    assert "expected a function, got Tensor" in capsys.readouterr().out


def test_the_greedy_loop_meets_sentences_that_end_at_different_steps():
    """The cases hold what the exercise is about: an early end, a late one, and none before max_length."""
    ends = [
        (row.index(eos) if eos in row else None)
        for step, state, B, n, bos, eos, pad in EXERCISES["greedy"].cases
        for row in greedy_in_columns(step, state, B, n, bos, eos, pad).tolist()
    ]
    assert {0, 1, 2, None} <= set(ends) and max(e for e in ends if e is not None) >= 5
