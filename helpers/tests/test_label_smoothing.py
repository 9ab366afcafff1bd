"""Label smoothing against PyTorch's and against its definition; the paper's learning rate."""

import math

import pytest
import torch
from torch.nn import functional as F

from helpers.training import fit, next_token_loss, paper_learning_rate, paper_schedule, token_loss
from helpers.transformer import MiniFormer


def random_case(seed, pad_id):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(3, 5, 7, generator=generator)
    targets = torch.randint(0, 7, (3, 5), generator=generator)
    targets[0, 3:] = pad_id
    return logits.requires_grad_(), targets


@pytest.mark.parametrize("pad_id", [0, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_smoothing_over_every_class_is_pytorchs(pad_id, smoothing):
    for seed in range(10):
        logits, targets = random_case(seed, pad_id)
        total, count = token_loss(logits, targets, pad_id, smoothing)
        theirs = F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=pad_id, label_smoothing=smoothing, reduction="mean"
        )
        torch.testing.assert_close(total / count, theirs)
        (ours,) = torch.autograd.grad(total / count, logits)
        (expected,) = torch.autograd.grad(theirs, logits)
        torch.testing.assert_close(ours, expected)
        wanted = torch.full((3, 5, 7), smoothing / 7)
        wanted.scatter_add_(2, targets.unsqueeze(2), torch.full((3, 5, 1), 1 - smoothing))
        by_definition = -(wanted * logits.log_softmax(-1)).sum(-1)[targets != pad_id].sum()
        torch.testing.assert_close(total, by_definition)


def test_without_smoothing_it_is_the_plain_loss():
    logits, targets = random_case(0, 0)
    plain = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0, reduction="sum")
    assert torch.equal(token_loss(logits, targets, 0)[0], plain)


def test_the_floor_of_the_smoothed_loss_is_the_entropy_of_its_target():
    classes, smoothing = 7, 0.1
    right, wrong = 0.9 + smoothing / classes, smoothing / classes
    logits = torch.full((1, 1, classes), math.log(wrong))
    logits[..., 4] = math.log(right)
    loss, _ = token_loss(logits, torch.tensor([[4]]), 0, smoothing)
    assert loss.item() == pytest.approx(-right * math.log(right) - 6 * wrong * math.log(wrong), abs=1e-5)


def test_what_stands_at_padding_changes_neither_loss_nor_gradient():
    logits, targets = random_case(0, 0)
    total, _ = token_loss(logits, targets, 0, 0.1)
    (gradient,) = torch.autograd.grad(total, logits)
    assert (gradient[targets == 0] == 0).all()
    other = logits.detach().clone()
    other[targets == 0] = 99.0
    torch.testing.assert_close(token_loss(other, targets, 0, 0.1)[0], total.detach())


def test_the_papers_learning_rate():
    rates = [paper_learning_rate(step) for step in range(1, 20001)]
    assert max(rates) == rates[3999] == pytest.approx(512**-0.5 * 4000**-0.5)
    assert rates[1999] == pytest.approx(rates[3999] / 2) and rates[15999] == pytest.approx(rates[3999] / 2)


def test_the_schedule_is_equation_3_as_a_share_of_its_peak():
    peak = paper_learning_rate(100, 512, 100)
    for step in (0, 5, 99, 100, 399):
        share = paper_schedule(step, 400, warmup=0.25)
        assert share == pytest.approx(paper_learning_rate(step + 1, 512, 100) / peak)
    assert paper_schedule(99, 400) == 1 and paper_schedule(399, 400) == pytest.approx(0.5)


def test_a_model_trains_with_it():
    tokens = torch.tensor([[1, 3, 4, 3, 4, 2]] * 8)
    torch.manual_seed(0)
    history = fit(
        MiniFormer(5, d_model=8), tokens, tokens, next_token_loss, epochs=20, lr=1e-2, batch_size=4,
        schedule=paper_schedule, progress=False,
    )  # fmt: skip
    assert history.validation[-1] < 0.5 * history.validation[0]
