"""The exercises of chapter 2 on judging: the links of a map, and a measure by length."""

import torch

from helpers.checks.core import Exercise, then
from helpers.checks.shared import random

# Alignment error


def alignment_error(weights, gold, source_length, target_length):
    words = weights[:target_length, :source_length]
    best = words.argmax(dim=-1).tolist()
    guess = {(source, target) for target, source in enumerate(best)}
    return 1 - 2 * len(guess & gold) / (len(guess) + len(gold))


def _alignment_case(target, source, target_length, source_length, links, seed):
    """Return arguments whose gold links are every second link of the map and some others, so that there is a score."""
    generator = torch.Generator().manual_seed(seed)
    weights = random(target, source, seed=seed, scale=2.0).softmax(-1)
    best = weights[:target_length, :source_length].argmax(-1).tolist()
    gold = {(source, target) for target, source in list(enumerate(best))[::2]}
    for _ in range(links):
        gold.add(tuple(int(torch.randint(n, (1,), generator=generator)) for n in (source_length, target_length)))
    return weights, gold, source_length, target_length


_links_above = "guess = {(i, j) for j, i in (words > %s).nonzero().tolist()}"
_guess = "guess = {(source, target) for target, source in enumerate(best)}"
_rate = "1 - 2 * len(guess & gold) / (len(guess) + len(gold))"

check_alignment_error = Exercise(
    alignment_error,
    cases=[
        (torch.tensor([[0.1, 0.7, 0.2], [0.1, 0.6, 0.3]]), {(1, 0), (2, 1)}, 3, 2),
        (torch.tensor([[1.0]]), {(0, 0)}, 1, 1),
        (torch.tensor([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3]]), {(0, 0)}, 3, 2),
        (torch.tensor([[0.3, 0.4, 0.3], [0.2, 0.2, 0.6]]), set(), 3, 2),
        (torch.tensor([[0.8, 0.2, 0.0], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]]), {(0, 0), (1, 1), (1, 0)}, 2, 2),
        (torch.tensor([[0.4, 0.1, 0.5], [0.0, 0.3, 0.7]]), {(0, 0), (1, 1)}, 2, 2),
        (torch.tensor([[0.2, 0.8], [0.9, 0.1]]), {(1, 0), (0, 1)}, 2, 2),
        (torch.tensor([[0.2, 0.8], [0.9, 0.1]]), {(0, 0), (1, 1)}, 2, 2),
        _alignment_case(6, 5, 4, 3, 2, 1),
        _alignment_case(9, 7, 8, 7, 6, 2),
        _alignment_case(7, 9, 7, 8, 12, 3),
        _alignment_case(20, 30, 18, 29, 20, 4),
    ],
    meaning="0: every link is right and none is missing. 1: nothing is right.",
    mistakes=[
        ("{(source, target) for -> {(target, source) for", "a link is (source, target); here it is turned round"),
        ("[:target_length, :source_length] -> [:, :source_length]", "the rows after target_length (<EOS>, padding) have no"
         " link: leave them out"),
        ("[:target_length, :source_length] -> [:target_length]", "the columns after source_length (<EOS>, padding) are no"
         " words: cut them off before argmax"),
        ("[:target_length, :source_length] -> ", "the lengths are not used"),
        ("[:target_length, :source_length] -> [:source_length, :target_length]", "the two lengths are exchanged: rows are"
         " target words"),
        (("argmax(dim=-1) -> argmax(dim=0)", "(source, target) for target, source -> (source, target) for source, target"),
         "each TARGET word (row) looks for its source word, not the other way round"),
        (f"{_guess} -> {_links_above % 0.5}", "every target word has one link, to its largest weight, however small that"
         " is"),
        (f"{_guess} -> {_links_above % 0.0}", "only the largest weight of a row is a link, not every weight"),
        (f"{_rate} -> 1 - len(guess & gold) / len(guess)", "this is 1 - precision: links that are missing cost nothing"),
        (f"{_rate} -> 1 - len(guess & gold) / max(len(gold), 1)", "this is 1 - recall: links too many cost nothing"),
        (then(lambda error: 1 - error), "this is the agreement; the error is 1 minus it"),
        ("1 - 2 * len -> 1 - len", "the links found count twice: once for each of the two sets"),
        (f"{_rate} -> 1 - len(guess & gold) / len(guess | gold)", "divide by the sizes of the two sets added up, not by"
         " the size of their union"),
    ],
).check  # fmt: skip


# The links of least error


def least_error(weights, gold):
    best = (2.0, 0.0)
    for limit in weights.unique().tolist():  # rising, so that of equals the highest stays
        links = {(i, j) for j, i in (weights >= limit).nonzero().tolist()}
        error = 1 - 2 * len(links & gold) / (len(links) + len(gold))
        if error <= best[0]:
            best = (error, limit)
    return best


def _least_case(target, source, links, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = random(target, source, seed=seed, scale=2.0).softmax(-1)
    gold = {(source_, target_) for target_, source_ in enumerate(weights.argmax(-1).tolist())}
    for _ in range(links):
        gold.add(tuple(int(torch.randint(n, (1,), generator=generator)) for n in (source, target)))
    return weights, gold


check_least_error = Exercise(
    least_error,
    cases=[
        (torch.tensor([[0.1, 0.9], [0.6, 0.4]]), {(1, 0), (0, 1), (1, 1)}),
        (torch.tensor([[1.0]]), {(0, 0)}),
        (torch.tensor([[0.5, 0.5], [0.75, 0.25]]), {(0, 0)}),
        (torch.tensor([[0.75, 0.25], [0.5, 0.5]]), {(1, 0), (0, 1)}),
        (torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.1, 0.6]]), {(1, 0)}),
        (torch.tensor([[0.875, 0.125], [0.25, 0.75]]), {(0, 0), (1, 0)}),
        _least_case(3, 4, 2, 1),
        _least_case(6, 5, 4, 2),
        _least_case(8, 9, 9, 3),
        (torch.tensor([[0.6, 0.4], [0.3, 0.7]]), set()),
    ],
    meaning="What a map knows is more than its largest weights; but the limit was chosen with the answer in sight.",
    mistakes=[
        ("{(i, j) for -> {(j, i) for", "a link is (source, target), and a row is a target word: here they are turned round"),
        (">= limit -> > limit", "a weight that equals the limit is a link"),
        ("error <= best -> error < best", "of limits with equal errors the highest is wanted"),
        ("weights.unique().tolist() -> [0.1, 0.3, 0.5, 0.7, 0.9]", "try every number that occurs in the weights, not a few"
         " round ones"),
        ("1 - 2 * len(links & gold) / (len(links) + len(gold)) -> 1 - len(links & gold) / len(links)", "this is 1 - precision:"
         " links that are missing cost nothing"),
        ("1 - 2 * len(links & gold) / (len(links) + len(gold)) -> 1 - len(links & gold) / max(1, len(gold))", "this is 1 -"
         " recall: links too many cost nothing"),
        ("error <= best[0] -> error >= best[0] or limit == weights.min()", "this is the largest error; wanted is the smallest"),
        (then(lambda result: result[::-1]), "return (error, limit), in this order"),
        (then(lambda result: result[0]), "return two numbers: the error and its limit"),
    ],
).check  # fmt: skip


# Short, medium, long


def by_length(lengths, values, edges):
    group = torch.bucketize(lengths, torch.tensor(edges))  # (N,), 0 to len(edges)
    members = [group == number for number in range(len(edges) + 1)]
    means = [values[m].mean() for m in members]
    return torch.stack(means), torch.stack([m.sum() for m in members])


def _groups_case(number, longest, edges, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (number,), generator=generator)
    return lengths, torch.randn(number, generator=generator), edges


def _sorted_thirds(lengths, values, edges):
    parts = lengths.argsort(stable=True).tensor_split(len(edges) + 1)
    return torch.stack([values[p].mean() for p in parts]), torch.tensor([len(p) for p in parts])


check_by_length = Exercise(
    by_length,
    cases=[
        (torch.tensor([3, 5, 9]), torch.tensor([1.0, 0.0, 0.5]), (5,)),
        (torch.tensor([4, 9, 6, 3, 8, 6]), torch.tensor([1.0, 4.0, 2.0, 5.0, 3.0, 8.0]), (5, 8)),
        (torch.tensor([2, 9, 12]), torch.tensor([1.0, 0.25, 0.5]), (3, 6)),
        (torch.tensor([7]), torch.tensor([-2.0]), (7,)),
        (torch.tensor([0, 1, 1, 2, 60]), torch.tensor([3.0, -1.0, 1.0, -4.0, 1.0]), (1, 2)),
        _groups_case(40, 16, (5, 8), 1),
        _groups_case(60, 16, (3, 6, 9, 12), 2),
        _groups_case(5, 4, (6, 9), 3),
        _groups_case(50, 1000, (10, 300), 4),
    ],
    meaning="An empty group says NaN, so that nobody takes it for a result.",
    mistakes=[
        ("torch.tensor(edges)) -> torch.tensor(edges), right=True)", "the upper edge belongs to the group: length <= edge"),
        ("values[m].mean() -> values[m].sum()", "this is the sum of each group; wanted is its mean"),
        ("values[m].mean() -> values[m].sum() / m.sum().clamp(min=1)", "the mean of an empty group is NaN, not 0"),
        ("group == number -> group <= number", "each group also holds the shorter ones: its lengths lie ABOVE the edge"
         " before"),
        ("range(len(edges) + 1) -> range(len(edges))", "the last group is missing: what is longer than the last edge"),
        ("range(len(edges) + 1) -> range(1, len(edges) + 1)", "the first group is missing: what is no longer than the"
         " first edge"),
        ("range(len(edges) + 1) -> reversed(range(len(edges) + 1))", "the groups are in reverse order: short first"),
        (_sorted_thirds, "these groups are equally large; here the edges say where one ends"),
        ("[m.sum() for m in members] -> [m.float().mean() for m in members]", "return how many there are, not their"
         " share"),
        ("bucketize(lengths -> bucketize(values", "the groups go by length, not by value"),
        (then(lambda result: result[::-1]), "return (means, counts), in this order"),
        ("values[m].mean() -> values.mean()", "every group shows the mean of all: choose its values first"),
    ],
).check  # fmt: skip
