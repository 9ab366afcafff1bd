"""Generation against models whose probabilities are a table, so that the right answer can be found by trying all."""

import itertools
import math
from typing import NamedTuple

import pytest
import torch

from helpers.generation import generate, keep_top_k, select_rows

V, LONGEST = 6, 5  # symbols, of which 0, 1, 2 are <PAD>, <BOS>, <EOS>


class Seen(NamedTuple):
    """What a table model remembers: which table is its own, and every token so far."""

    table: torch.Tensor  # (N,)
    tokens: torch.Tensor  # (N, t)


def table_model(seed, batch_size, vocab_size=V, sharpness=2.0):
    """Return `step` and its first state; the logits depend on the row's own table, the place, and the last token."""
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(batch_size, LONGEST + 1, vocab_size, vocab_size, generator=generator)

    def step(tokens, state):
        place = state.tokens.size(1)
        state = Seen(state.table, torch.cat([state.tokens, tokens.unsqueeze(1)], dim=1))
        return logits[state.table, place, tokens], state

    return step, Seen(torch.arange(batch_size), torch.zeros(batch_size, 0, dtype=torch.long)), logits


def all_sequences(logits, alpha):
    """Every sequence that one table can write, with its rank; the best first."""
    log_probabilities = logits.double().clone()
    log_probabilities[:, :, [0, 1]] = -math.inf
    log_probabilities = log_probabilities.log_softmax(-1)
    found = []
    for length in range(1, LONGEST + 1):
        for body in itertools.product(range(3, V), repeat=length - 1):
            for last in (2,) if length < LONGEST else (2, *range(3, V)):
                sequence = (*body, last)
                before = (1, *sequence)
                total = sum(log_probabilities[t, before[t], sequence[t]].item() for t in range(length))
                found.append((total / ((5 + length) / 6) ** alpha, sequence))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_wide_enough_finds_the_best_of_all_sequences(seed, alpha):
    step, state, logits = table_model(seed, 2)
    tokens, _ = generate(
        step, state, 2, max_length=LONGEST, strategy="beam", beam_size=4 * 3**LONGEST, length_penalty=alpha
    )
    for row in range(2):
        best = all_sequences(logits[row], alpha)[0][1]
        assert tuple(tokens[row].tolist()) == best + (0,) * (tokens.size(1) - len(best))


def test_greedy_can_miss_the_best_sequence_and_a_wider_beam_is_never_worse_here():
    missed = 0
    for seed in range(30):
        step, state, logits = table_model(seed, 1)
        ranks = {sequence: rank for rank, sequence in all_sequences(logits[0], 0.6)}
        found = []
        for beam_size in (1, 500):
            tokens, _ = generate(step, state, 1, max_length=LONGEST, strategy="beam", beam_size=beam_size)
            found.append(ranks[tuple(token for token in tokens[0].tolist() if token)])
        assert found[1] >= found[0]
        missed += found[1] > found[0] + 1e-9
    assert missed >= 5


@pytest.mark.parametrize("seed", range(20))
def test_a_beam_of_one_is_greedy_and_so_is_sampling_with_one_token_or_near_zero_temperature(seed):
    step, state, _ = table_model(seed, 7)
    greedy, _ = generate(step, state, 7, max_length=LONGEST)
    options = [
        dict(strategy="beam", beam_size=1),
        dict(strategy="sample", top_k=1),
        dict(strategy="sample", temperature=1e-4),
    ]
    for option in options:
        tokens, _ = generate(step, state, 7, max_length=LONGEST, **option)
        assert torch.equal(tokens, greedy)


@pytest.mark.parametrize("option", [dict(), dict(strategy="beam", beam_size=3)])
@pytest.mark.parametrize("seed", range(10))
def test_a_row_alone_gives_what_it_gives_in_a_batch(seed, option):
    step, state, _ = table_model(seed, 5)
    together, _ = generate(step, state, 5, max_length=LONGEST, **option)
    for row in range(5):
        index = torch.tensor([row])
        alone, _ = generate(step, select_rows(state, index), 1, max_length=LONGEST, **option)
        assert torch.equal(alone[0], together[row, : alone.size(1)]) and not together[row, alone.size(1) :].any()


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_rows_end_in_eos_then_padding_and_the_state_belongs_to_the_tokens_returned(strategy):
    for seed in range(20):
        step, state, _ = table_model(seed, 6)
        tokens, state = generate(step, state, 6, max_length=LONGEST, strategy=strategy)
        assert tokens.size(1) <= LONGEST
        for row in tokens.tolist():
            length = row.index(2) + 1 if 2 in row else len(row)
            assert not {0, 1, 2} & set(row[: length - 1]) and row[length - 1] not in (0, 1)
            assert set(row[length:]) <= {0}
        assert state.table.tolist() == list(range(6))
        # A step was shown <BOS> and then each token but the last, by the very beginning that was returned.
        assert (state.tokens[:, 0] == 1).all() and torch.equal(state.tokens[:, 1 : tokens.size(1)], tokens[:, :-1])
        assert tokens[:, -1].any()


def test_it_ends_early_when_all_rows_have():
    calls = []

    def step(tokens, state):
        calls.append(1)
        return torch.nn.functional.one_hot(torch.full_like(tokens, 2), V).float() * 9, state

    for strategy in ("greedy", "beam"):
        calls.clear()
        tokens, _ = generate(step, None, 3, max_length=50, strategy=strategy, beam_size=1)
        assert tokens.tolist() == [[2]] * 3 and len(calls) == 1


def test_sampling_follows_the_probabilities_the_temperature_and_top_k():
    logits = torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, 0.5])

    def step(tokens, state):
        return logits.expand(len(tokens), -1), state

    for temperature, top_k in ((1.0, None), (0.5, None), (2.0, 3)):
        generator = torch.Generator().manual_seed(0)
        tokens, _ = generate(
            step,
            None,
            20_000,
            max_length=1,
            strategy="sample",
            temperature=temperature,
            top_k=top_k,
            generator=generator,
        )
        allowed = logits.clone()
        allowed[[0, 1]] = -math.inf
        expected = (keep_top_k(allowed, top_k or V) / temperature).softmax(0)
        shares = tokens.flatten().bincount(minlength=V) / 20_000
        assert torch.allclose(shares, expected, atol=0.012)
        assert ((shares > 0) == (expected > 0)).all()


def test_keep_top_k():
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0]])
    kept = keep_top_k(logits, 2)
    assert kept[0].tolist() == [-math.inf, 3.0, 2.0]
    assert kept[1].isfinite().sum() == 2
    assert torch.equal(keep_top_k(logits, 3), logits)


def test_select_rows_goes_into_nested_states_and_leaves_numbers():
    state = {"a": [torch.arange(3), (None, 4)], "b": Seen(torch.arange(3), torch.eye(3))}
    picked = select_rows(state, torch.tensor([2, 2]))
    assert picked["a"][0].tolist() == [2, 2] and picked["a"][1] == (None, 4)
    assert isinstance(picked["b"], Seen) and picked["b"].tokens.shape == (2, 3)
    with pytest.raises(TypeError, match="state holds a str"):
        select_rows("text", torch.tensor([0]))


@pytest.mark.parametrize(
    ("option", "error", "message"),
    [
        (dict(max_length=0), ValueError, "max_length=0"),
        (dict(max_length=2.5), TypeError, "max_length=2.5 must be"),
        (dict(strategy="best"), ValueError, "strategy='best'"),
        (dict(strategy="beam", beam_size=0), ValueError, "beam_size=0"),
        (dict(beam_size=True), TypeError, "beam_size=True must be"),
        (dict(strategy="sample", top_k=V + 1), ValueError, "top_k=7 is more than the vocabulary of 6"),
        (dict(strategy="sample", top_k=0), ValueError, "top_k=0"),
        (dict(strategy="sample", temperature=0.0), ValueError, "temperature=0.0"),
        (dict(strategy="sample", temperature=math.nan), ValueError, "temperature=nan"),
        (dict(strategy="beam", length_penalty=-1.0), ValueError, "length_penalty=-1.0"),
    ],
)
def test_bad_arguments_are_named(option, error, message):
    step, state, _ = table_model(0, 1)
    with pytest.raises(error, match=message):
        generate(step, state, 1, **{"max_length": 3, **option})


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_it_runs_on_the_meta_device(strategy):
    def step(tokens, state):
        return torch.zeros(len(tokens), V, device="meta"), state

    tokens, _ = generate(step, None, 2, max_length=4, strategy=strategy, device="meta")
    assert tokens.is_meta and tokens.shape == (2, 4)
