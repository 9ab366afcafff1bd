"""The training loop: it learns, it repeats itself, it keeps the best epoch, and it counts tokens."""

import pytest
import torch
from torch.nn import functional as F

from helpers.text import Vocabulary
from helpers.training import (
    evaluate,
    fit,
    fit_all,
    next_token_loss,
    one_cycle,
    seed_everything,
    shuffled_batches,
    token_loss,
)
from helpers.transformer import MiniFormer

WORDS = ["banana", "ananas", "nana", "bandana", "cabana", "savanna", "anna", "hannah"] * 4
VOCABULARY = Vocabulary.from_words(WORDS)
TOKENS = VOCABULARY.encode_batch(WORDS)


def trained(seed=0, **changes):
    seed_everything(seed)
    model = MiniFormer(len(VOCABULARY), d_model=16)
    return model, fit(model, TOKENS, TOKENS, **{"epochs": 8, "lr": 1e-2, "batch_size": 8, "progress": False} | changes)


def test_it_learns_and_repeats_itself_exactly():
    (model, history), (again, history_again) = trained(), trained()
    assert history.validation[-1] < 0.6 * history.validation[0]
    assert history.validation == history_again.validation
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
    assert not model.training
    assert trained(seed=1)[1].validation != history.validation


def test_the_best_epoch_is_restored():
    model, history = trained(epochs=12, lr=0.3, clip=None, schedule=None)
    assert history.best == min(history.validation)
    assert evaluate(model, TOKENS) == pytest.approx(history.best, abs=1e-6)
    assert len(history.train) == len(history.seconds) == 12


def test_every_example_comes_once_an_epoch_whatever_the_batch_size():
    numbers = torch.arange(1, 54).unsqueeze(1)
    tokens = torch.cat([numbers, numbers % 7 * (numbers % 3), numbers * 0], dim=1)
    labels = torch.arange(1, 54)
    for batch_size in (1, 5, 8, 100):
        batches = list(shuffled_batches((tokens, labels), batch_size, torch.Generator().manual_seed(0), pad_id=0))
        assert sorted(int(n) for batch, _ in batches for n in batch[:, 0]) == labels.tolist()
        assert all(torch.equal(batch[:, 0], label) for batch, label in batches)
        assert all((batch[:, -1] != 0).any() for batch, _ in batches)  # nothing but padding was cut off


def test_loss_per_token_does_not_depend_on_padding_or_batches():
    model, _ = trained(epochs=1)
    wider = F.pad(TOKENS, (0, 3))
    assert evaluate(model, TOKENS) == pytest.approx(evaluate(model, wider), abs=1e-5)
    assert evaluate(model, TOKENS, batch_size=3) == pytest.approx(evaluate(model, TOKENS), abs=1e-5)
    total, count = next_token_loss(model, TOKENS)
    assert int(count) == sum(len(word) + 1 for word in WORDS)
    assert (total / count).item() == pytest.approx(evaluate(model, TOKENS), abs=1e-5)


def test_token_loss_by_hand():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]]))
    total, count = token_loss(logits, torch.tensor([[1, 0]]), pad_id=0)
    assert (float(total), int(count)) == (pytest.approx(1.386294, abs=1e-5), 1)


def test_evaluation_puts_the_mode_back():
    model = MiniFormer(len(VOCABULARY), dropout=0.5).train()
    assert evaluate(model, TOKENS) == evaluate(model, TOKENS)
    assert model.training
    with pytest.raises(ZeroDivisionError):
        evaluate(model, TOKENS, loss=lambda model, tokens: 1 / 0)
    assert model.training


def test_the_schedule_rises_and_falls():
    shares = [one_cycle(step, 100) for step in range(100)]
    assert shares.index(max(shares)) in (24, 25) and max(shares) == 1
    assert shares[0] > 0 and 0 <= shares[-1] < 0.01
    assert all(a <= b for a, b in zip(shares[:24], shares[1:25])) and all(
        a >= b for a, b in zip(shares[25:], shares[26:])
    )


def test_a_loss_that_explodes_is_an_error():
    def broken(model, tokens):
        total, count = next_token_loss(model, tokens)
        steps.append(total)
        return total * (1.0 if len(steps) < 3 else float("inf")), count

    steps = []
    with pytest.raises(FloatingPointError, match="not a finite number in epoch 0"):
        trained(loss=broken)
    with pytest.raises(FloatingPointError, match="the loss is inf before the first step"):
        trained(loss=broken)


def jobs(**changes):
    recipe = {"train": TOKENS, "validation": TOKENS, "epochs": 2, "lr": 1e-2, "batch_size": 8} | changes
    models = []
    for seed in range(4):
        seed_everything(seed)
        models.append(MiniFormer(len(VOCABULARY), d_model=16))
    return [{"model": model, "seed": seed} | recipe for seed, model in enumerate(models)]


def test_models_trained_side_by_side_are_those_trained_one_after_the_other(capsys):
    together, alone = jobs(), jobs()
    histories = fit_all(together, "four models")
    for job, history, other in zip(together, histories, alone):
        assert fit(**other, progress=False).validation == history.validation
        assert all(torch.equal(a, b) for a, b in zip(job["model"].parameters(), other["model"].parameters()))
    assert len({history.best for history in histories}) == 4
    assert "four models" in capsys.readouterr().out


def test_one_that_fails_stops_those_that_have_not_begun():
    def explodes(model, tokens):
        raise FloatingPointError("here")

    failing = [jobs(loss=explodes)[0], *jobs(epochs=50)[1:]]
    before = [p.detach().clone() for p in failing[3]["model"].parameters()]
    with pytest.raises(FloatingPointError, match="here"):
        fit_all(failing, side_by_side=1)
    assert all(torch.equal(a, b) for a, b in zip(before, failing[3]["model"].parameters()))
