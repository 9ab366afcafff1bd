"""The checkers of chapter 5: right answers pass, stubs are told apart, wrong ones get the hint for their mistake."""

import pytest
import torch

from helpers.checks import miniformer_vs_fulltransformer as chapter
from helpers.checks.core import Exercise

EXERCISES = {e.name: e for e in vars(chapter).values() if isinstance(e, Exercise)}


def other_perplexity(mean_losses, letters):
    return (torch.tensor(mean_losses) @ torch.tensor(letters).float() / sum(letters)).exp()


def other_bigram(counts, k):
    rows = [(row + k / len(row)) / (row.sum() + k) for row in counts]
    return torch.stack(rows)


def other_temperature(logits, temperature):
    if temperature == 0:
        result = torch.zeros_like(logits)
        for row, best in enumerate(logits.argmax(1).tolist()):
            result[row, best] = 1
        return result
    x = logits / temperature
    e = (x - x.max(-1, keepdim=True).values).exp()
    return e / e.sum(-1, keepdim=True)


def other_mean_to_previous(weights, lengths):
    values = [weights[b, :, i, i - 1] for b in range(len(weights)) for i in range(1, int(lengths[b]))]
    return torch.stack(values).mean(0)


def other_entropy(weights):
    rows = [torch.distributions.Categorical(probs=row[: i + 1]).entropy() for i, row in enumerate(weights)]
    return torch.stack([row / torch.tensor(max(2.0, i + 1.0)).log() for i, row in enumerate(rows)])


def other_leak(model, tokens):
    """Change everything after each position at once."""
    for position in range(tokens.size(1) - 1):
        changed = tokens.clone()
        changed[:, position + 1 :] = 9 - changed[:, position + 1 :]
        if (model(changed)[:, : position + 1] != model(tokens)[:, : position + 1]).any():
            return True
    return False


def other_without_edge(scores, offset):
    visible = torch.ones_like(scores).tril().bool() & ~torch.eye(len(scores)).roll(offset, 0).bool()
    return torch.nan_to_num(scores.double(), nan=0).masked_fill(~visible, -1e300).softmax(-1).float() * visible


OTHERS = {
    "perplexity": other_perplexity,
    "bigram_probabilities": other_bigram,
    "with_temperature": other_temperature,
    "mean_to_previous": other_mean_to_previous,
    "normalised_entropy": other_entropy,
    "leaks_future": other_leak,
    "without_edge": other_without_edge,
}
CHECKS = {name: getattr(chapter, f"check_{name}") for name in EXERCISES}


@pytest.mark.parametrize("name", EXERCISES)
def test_right_answers_pass_by_any_route(name, capsys):
    assert CHECKS[name](EXERCISES[name].reference) is True
    assert CHECKS[name](OTHERS[name]) is True
    assert capsys.readouterr().out.count("✓") == 2


@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_is_not_written_yet(name, capsys):
    def stub(*arguments):
        raise NotImplementedError

    assert CHECKS[name](stub) is None
    assert CHECKS[name](lambda *arguments: None) is False
    assert capsys.readouterr().out.startswith(f"not written yet: {name}\n✗ ")


@pytest.mark.parametrize("name", EXERCISES)
def test_each_known_mistake_is_rejected_with_its_own_hint(name, capsys):
    mistakes = EXERCISES[name].mistakes
    assert len(mistakes) >= 5
    for mistake, hint in mistakes:
        assert CHECKS[name](mistake) is False
        assert hint in capsys.readouterr().out


@pytest.mark.parametrize("name", EXERCISES)
def test_an_answer_that_fails_or_is_of_the_wrong_kind_is_rejected(name, capsys):
    def crash(*arguments):
        return 1 / 0

    assert CHECKS[name](crash) is False
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert CHECKS[name]("a string") is False
    assert CHECKS[name](lambda *arguments: "a string") is False


def test_a_detached_result_is_noticed(capsys):
    right = EXERCISES["without_edge"].reference
    assert CHECKS["without_edge"](lambda scores, offset: right(scores.detach(), offset)) is False
    assert "no gradient flows back" in capsys.readouterr().out


def test_changing_an_input_is_noticed(capsys):
    def in_place(scores, offset):
        result = EXERCISES["without_edge"].reference(scores, offset)
        with torch.no_grad():
            scores.add_(1)
        return result

    assert CHECKS["without_edge"](in_place) is False
    assert "an input was changed" in capsys.readouterr().out
