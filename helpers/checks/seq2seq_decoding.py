"""The greedy loop of chapter 2, and the way by which its notebook imports three other exercises."""

from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

from helpers.checks.core import Exercise
from helpers.checks.seq2seq_attention import check_alignment_error, check_by_length, check_coverage

__all__ = ["check_alignment_error", "check_by_length", "check_coverage", "check_greedy"]


# 8. The greedy loop


@dataclass(frozen=True)
class Script:
    """A decoder that has learned its lines by heart: sentence b is `lines[b]`, and then it goes on with word 4.

    Its state is how many words it has said, (B,).
    """

    lines: tuple
    strict: bool = field(default=False, repr=False)  # whether it refuses to go on when all have ended

    def __call__(self, tokens, state):
        said = state.tolist()
        if self.strict and all(n >= len(line) for n, line in zip(said, self.lines)):
            raise RuntimeError("step was called although every sentence had ended")
        words = [line[n] if n < len(line) else 4 for n, line in zip(said, self.lines)]
        return F.one_hot(torch.tensor(words), 10).float(), state + 1


@dataclass(frozen=True)
class Chain:
    """A decoder whose next word depends on the one before and on its state, a tuple of one tensor (B,)."""

    seed: int

    def __call__(self, tokens, state):
        if tokens.shape != state[0].shape:
            raise ValueError(
                f"tokens has shape {tuple(tokens.shape)}; it must be {tuple(state[0].shape)}, one word each"
            )
        generator = torch.Generator().manual_seed(self.seed)
        by_word, by_state = torch.randn(2, 10, 10, generator=generator)
        return by_word[tokens] + by_state[state[0]], ((3 * state[0] + tokens + 1) % 10,)


def _greedy_like(stop="all have ended", padding=True, first=False, feed="word", keep_state=True, steps=0, eos=True,
                 dim=-1, ids=None, fill=None):  # fmt: skip
    """Return the greedy loop, or a version of it with a mistake."""

    def greedy(step, state, batch_size, max_length, bos_id, eos_id, pad_id):
        bos_id, eos_id, pad_id = ids or (bos_id, eos_id, pad_id)
        begin = tokens = torch.full((batch_size,), bos_id)
        done = torch.zeros(batch_size, dtype=torch.bool)
        words = [tokens] if first else []
        for _ in range(max_length + steps):
            logits, new = step(begin if feed == "begin" else tokens, state)
            state = new if keep_state else state
            said = logits.argmax(dim)
            tokens = said.masked_fill(done, eos_id if fill == "eos" else pad_id) if padding else said
            words.append(tokens if eos else tokens.masked_fill(tokens == eos_id, pad_id))
            done = done | (said == eos_id)
            ended = {"all have ended": done.all(), "one has ended": done.any(), "never": False,
                     "all end together": (said == eos_id).all()}[stop]  # fmt: skip
            if ended:
                break
        return torch.stack(words, dim=1)  # (B, T)

    return greedy


def _greedy_transposed(*arguments):
    return _greedy_like()(*arguments).T


def _start(batch_size):
    return torch.zeros(batch_size, dtype=torch.long)


_greedy = Exercise(
    name="greedy",
    reference=_greedy_like(),
    cases=[
        (Script(((5, 2),)), _start(1), 1, 4, 1, 2, 0),
        (Script(((5, 2), (6, 7, 2))), _start(2), 2, 5, 1, 2, 0),
        (Script(((5, 6, 7, 8, 2),)), _start(1), 1, 3, 1, 2, 0),
        (Script(((2,), (5, 2))), _start(2), 2, 6, 1, 2, 0),
        (Chain(103), (torch.tensor([0, 4, 9]),), 3, 8, 1, 2, 0),
        (Chain(11), (torch.tensor([0, 5, 8, 3]),), 4, 9, 3, 4, 6),
        (Script(((5, 6, 2), (7, 2), (8, 9, 5, 2)), strict=True), _start(3), 3, 50, 1, 2, 0),
    ],
    meaning="Each sentence of the batch ends by itself, and the loop ends with the last.",
    mistakes=[
        (_greedy_like(stop="one has ended"), "the loop ends with the first sentence that ends: wait for all of them"),
        (_greedy_like(stop="all end together", padding=False), "the sentences end at different steps: remember which have"
         " ended, for instance done = done | (tokens == eos_id)"),
        (_greedy_like(padding=False), "after <EOS> a sentence goes on: put pad_id there"),
        (_greedy_like(fill="eos"), "after the first <EOS> comes pad_id, not more <EOS>"),
        (_greedy_like(stop="never"), "the loop runs to max_length: end it when every sentence has ended"),
        (_greedy_like(first=True), "<BOS> is what the loop begins with; it is no part of the translation"),
        (_greedy_like(eos=False), "<EOS> itself is kept; padding begins after it"),
        (_greedy_like(keep_state=False), "the new state is not handed on to the next step"),
        (_greedy_like(feed="begin"), "every step gets <BOS>; from the second on it gets the word chosen last"),
        (_greedy_like(steps=1), "at most max_length words: this is one too many"),
        (_greedy_like(steps=-1), "at most max_length words: this is one too few"),
        (_greedy_like(dim=0), "argmax runs over the sentences; it belongs over the vocabulary, dim=-1"),
        (_greedy_like(ids=(1, 2, 0)), "the ids of <BOS>, <EOS> and padding are arguments: use bos_id, eos_id, pad_id"),
        (_greedy_transposed, "the batch comes first: (B, T); stack with dim=1"),
    ],
)  # fmt: skip


def check_greedy(function):
    """Check `greedy(step, state, batch_size, max_length, bos_id, eos_id, pad_id)`: ids (B, T)."""
    return _greedy.check(function)
