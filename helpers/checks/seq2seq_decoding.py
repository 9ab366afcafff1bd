"""The exercises of chapter 2, second half: coverage, groups by length, alignment error, the greedy loop.

The first half is in `helpers.checks.seq2seq_attention`.
"""

from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

from helpers.checks.core import Exercise


def _random_weights(*shape, seed=0, scale=2.0):
    return (scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).softmax(-1)


def _mask(*lengths, width=None):
    """Return which of the words are real, (B, width)."""
    return torch.arange(width or max(lengths)) < torch.tensor(lengths).unsqueeze(1)


# 4. Coverage


def _coverage_like(steps="real", words="real", total=lambda w: w.sum(1), below=lambda t, least: t < least):
    """Return coverage, or a version of it with a mistake."""

    def coverage(weights, target_mask, source_mask, least):
        if steps == "real":
            weights = weights * target_mask.unsqueeze(-1)  # (B, T_q, T_k) * (B, T_q, 1)
        elif steps == "other axis":
            weights = weights * target_mask.unsqueeze(1)
        received = total(weights)
        if words == "real":
            received = received * source_mask
        forgotten = below(received, least)
        return received, (forgotten if words == "counted" else forgotten & source_mask).sum(1)

    return coverage


def _mean_of_steps(weights, target_mask, source_mask, least):
    received = _coverage_like()(weights, target_mask, source_mask, least)[0] / target_mask.sum(1, keepdim=True)
    return received, ((received < least) & source_mask).sum(1)


def _each_weight(weights, target_mask, source_mask, least):
    received = _coverage_like()(weights, target_mask, source_mask, least)[0]
    highest = (weights * target_mask.unsqueeze(-1)).amax(1)
    return received, ((highest < least) & source_mask).sum(1)


def _coverage_case(target_lengths, source_lengths, seed, least=0.5, leak=False):
    target_mask, source_mask = _mask(*target_lengths), _mask(*source_lengths)
    weights = _random_weights(len(target_lengths), target_mask.size(1), source_mask.size(1), seed=seed)
    if not leak:
        weights = weights * source_mask.unsqueeze(1)
        weights = weights / weights.sum(-1, keepdim=True)
    return weights, target_mask, source_mask, least


_coverage = Exercise(
    name="coverage",
    reference=_coverage_like(),
    cases=[
        (torch.tensor([[[0.75, 0.25], [0.875, 0.125]]]), _mask(2), _mask(2), 0.5),
        (torch.tensor([[[0.5, 0.375, 0.125], [0.25, 0.5, 0.25], [0.125, 0.75, 0.125]]]), _mask(2, width=3), _mask(3), 0.5),
        _coverage_case((3, 2), (3, 2), 1),
        _coverage_case((2, 5, 3), (4, 2, 1), 2),
        _coverage_case((3, 3), (3, 2), 3, least=0.3, leak=True),
        _coverage_case((6, 4), (7, 5), 4, least=0.8),
    ],
    meaning="A forgotten word is a question: is it untranslatable, left out, or does its neighbour stand for it?",
    mistakes=[
        (_coverage_like(steps="all"), "the steps after the end of the translation are counted: use target_mask"),
        (_coverage_like(steps="other axis"), "target_mask belongs to the steps: unsqueeze(-1) gives (B, T_q, 1), while"
         " (B, 1, T_q) hides source words"),
        (_coverage_like(words="counted"), "padding is counted among the forgotten words, and keeps what it received"),
        (_coverage_like(words="kept"), "padding keeps what it received: it must be 0"),
        (lambda w, t, s, least: ((w * t.unsqueeze(-1)).sum(1) * s, (((w * t.unsqueeze(-1)).sum(1) * s) < least).sum(1)),
         "padding is counted among the forgotten words: a real word is one where source_mask is True"),
        (_mean_of_steps, "this is the mean over the steps; coverage is the total"),
        (_coverage_like(total=lambda w: w.amax(1)), "this is the largest weight of each word; coverage is the total"),
        (_each_weight, "a word is forgotten when its TOTAL is below the limit, not when each weight is"),
        (_coverage_like(total=lambda w: w.sum(-1)), "this is the total of each step, which is 1; add up over the steps,"
         " dim=1"),
        (_coverage_like(below=lambda t, least: t >= least), "these are the words that are covered; wanted are those below"
         " the limit"),
        (lambda *a: _coverage_like()(*a)[::-1], "return (total, forgotten), in this order"),
        (lambda *a: (_coverage_like()(*a)[0], _coverage_like()(*a)[1].sum()), "one number for each sentence: (B,)"),
    ],
    gradient=True,
)  # fmt: skip


def check_coverage(function):
    """Check `coverage(weights, target_mask, source_mask, least)`: total (B, T_k) and number forgotten (B,)."""
    return _coverage.check(function)


# 5. Short, medium, long


def _groups_like(right=False, measure=torch.mean, cumulative=False, groups=lambda edges: range(len(edges) + 1)):
    """Return mean and count by length, or a version of it with a mistake."""

    def by_length(lengths, values, edges):
        number = torch.bucketize(lengths, torch.tensor(edges), right=right)
        members = [number <= g if cumulative else number == g for g in groups(edges)]
        return torch.stack([measure(values[m]) for m in members]), torch.stack([m.sum() for m in members])

    return by_length


def _shares(lengths, values, edges):
    means, counts = _groups_like()(lengths, values, edges)
    return means, counts / len(lengths)


def _sorted_thirds(lengths, values, edges):
    parts = lengths.argsort(stable=True).tensor_split(len(edges) + 1)
    return torch.stack([values[p].mean() for p in parts]), torch.tensor([len(p) for p in parts])


def _groups_of_values(lengths, values, edges):
    return _groups_like()(values, values, edges)


def _groups_case(number, longest, edges, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (number,), generator=generator)
    return lengths, torch.randn(number, generator=generator), edges


_by_length = Exercise(
    name="by_length",
    reference=_groups_like(),
    cases=[
        (torch.tensor([3, 5, 9]), torch.tensor([1.0, 0.0, 0.5]), (5,)),
        (torch.tensor([4, 9, 6, 3, 8, 6]), torch.tensor([1.0, 4.0, 2.0, 5.0, 3.0, 8.0]), (5, 8)),
        (torch.tensor([2, 9, 12]), torch.tensor([1.0, 0.25, 0.5]), (3, 6)),
        _groups_case(40, 16, (5, 8), 1),
        _groups_case(60, 16, (3, 6, 9, 12), 2),
        _groups_case(5, 4, (6, 9), 3),
    ],
    meaning="An empty group says NaN, so that nobody takes it for a result.",
    mistakes=[
        (_groups_like(right=True), "the upper edge belongs to the group: length <= edge"),
        (_groups_like(measure=torch.sum), "this is the sum of each group; wanted is its mean"),
        (_groups_like(measure=lambda x: x.mean() if len(x) else x.sum()), "the mean of an empty group is NaN, not 0"),
        (_groups_like(cumulative=True), "each group also holds the shorter ones: its lengths lie ABOVE the edge before"),
        (_groups_like(groups=lambda edges: range(len(edges))), "the last group is missing: what is longer than the last"
         " edge"),
        (_groups_like(groups=lambda edges: range(1, len(edges) + 1)), "the first group is missing: what is no longer than"
         " the first edge"),
        (_groups_like(groups=lambda edges: range(len(edges), -1, -1)), "the groups are in reverse order: short first"),
        (_sorted_thirds, "these groups are equally large; here the edges say where one ends"),
        (_shares, "return how many there are, not their share"),
        (_groups_of_values, "the groups go by length, not by value"),
        (lambda *a: _groups_like()(*a)[::-1], "return (means, counts), in this order"),
        (lambda *a: (_groups_like()(*a)[0].nan_to_num(0.0) * 0 + a[1].mean(), _groups_like()(*a)[1]), "every group shows"
         " the mean of all: choose its values first"),
    ],
)  # fmt: skip


def check_by_length(function):
    """Check `by_length(lengths, values, edges)`: means and counts, one for each group."""
    return _by_length.check(function)


# 6. Alignment error rate


def _aligned(weights, source_length, target_length):
    """Return the links of a map: each real target word and the real source word that it looks at most."""
    best = weights[:target_length, :source_length].argmax(-1).tolist()
    return {(i, j) for j, i in enumerate(best)}


def _error(both, guess, gold):
    return 1 - 2 * both / (guess + gold)


def _alignment_like(guess=_aligned, rate=_error):
    """Return the alignment error, or a version of it with a mistake."""

    def alignment_error(weights, gold, source_length, target_length):
        links = guess(weights, source_length, target_length)
        return float(rate(len(links & gold), len(links), len(gold)))

    return alignment_error


def _from_the_source(weights, source_length, target_length):
    best = weights[:target_length, :source_length].argmax(0).tolist()
    return set(enumerate(best))


def _above(limit):
    def links(weights, source_length, target_length):
        return {(i, j) for j, i in (weights[:target_length, :source_length] > limit).nonzero().tolist()}

    return links


def _alignment_case(target, source, target_length, source_length, links, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = _random_weights(target, source, seed=seed)
    gold = set(
        sorted(_aligned(weights, source_length, target_length))[::2]
    )  # some right ones, so that there is a score
    for _ in range(links):
        i, j = (int(torch.randint(n, (1,), generator=generator)) for n in (source_length, target_length))
        gold.add((i, j))
    return weights, gold, source_length, target_length


_alignment_error = Exercise(
    name="alignment_error",
    reference=_alignment_like(),
    cases=[
        (torch.tensor([[0.1, 0.7, 0.2], [0.1, 0.6, 0.3]]), {(1, 0), (2, 1)}, 3, 2),
        (torch.tensor([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3]]), {(0, 0)}, 3, 2),
        (torch.tensor([[0.8, 0.2, 0.0], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]]), {(0, 0), (1, 1), (1, 0)}, 2, 2),
        (torch.tensor([[0.4, 0.1, 0.5], [0.0, 0.3, 0.7]]), {(0, 0), (1, 1)}, 2, 2),
        (torch.tensor([[0.2, 0.8], [0.9, 0.1]]), {(1, 0), (0, 1)}, 2, 2),
        (torch.tensor([[0.2, 0.8], [0.9, 0.1]]), {(0, 0), (1, 1)}, 2, 2),
        _alignment_case(6, 5, 4, 3, 2, 1),
        _alignment_case(9, 7, 8, 7, 6, 2),
        _alignment_case(7, 9, 7, 8, 12, 3),
    ],
    meaning="0: every link is right and none is missing. 1: nothing is right.",
    mistakes=[
        (_alignment_like(lambda *a: {(j, i) for i, j in _aligned(*a)}), "a link is (source, target); here it is turned"
         " round"),
        (_alignment_like(lambda w, s, t: _aligned(w, s, len(w))), "the rows after target_length (<EOS>, padding) have no"
         " link: leave them out"),
        (_alignment_like(lambda w, s, t: _aligned(w, w.size(1), t)), "the columns after source_length (<EOS>, padding) are"
         " no words: cut them off before argmax"),
        (_alignment_like(lambda w, s, t: _aligned(w, w.size(1), len(w))), "the lengths are not used"),
        (_alignment_like(lambda w, s, t: _aligned(w, t, s)), "the two lengths are exchanged: rows are target words"),
        (_alignment_like(_from_the_source), "each TARGET word (row) looks for its source word, not the other way round"),
        (_alignment_like(_above(0.5)), "every target word has one link, to its largest weight, however small that is"),
        (_alignment_like(_above(0.0)), "only the largest weight of a row is a link, not every weight"),
        (_alignment_like(rate=lambda both, guess, gold: 1 - both / max(guess, 1)), "this is 1 - precision: links that are"
         " missing cost nothing"),
        (_alignment_like(rate=lambda both, guess, gold: 1 - both / gold), "this is 1 - recall: links too many cost"
         " nothing"),
        (_alignment_like(rate=lambda both, guess, gold: 1 - _error(both, guess, gold)), "this is the agreement; the error"
         " is 1 minus it"),
        (_alignment_like(rate=lambda both, guess, gold: 1 - both / (guess + gold)), "the links found count twice: once for"
         " each of the two sets"),
        (_alignment_like(rate=lambda both, guess, gold: 1 - both / (guess + gold - both)), "divide by the sizes of the two"
         " sets added up, not by the size of their union"),
    ],
)  # fmt: skip


def check_alignment_error(function):
    """Check `alignment_error(weights, gold, source_length, target_length)`: a number from 0 to 1."""
    return _alignment_error.check(function)


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
