"""The training loop: it learns, it repeats itself, it keeps the best epoch, it counts tokens, it stops and goes on."""

import threading
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from helpers.seq2seq import Seq2Seq
from helpers.text import Vocabulary
from helpers.training import (
    History,
    evaluate,
    fit,
    fit_all,
    next_token_loss,
    one_cycle,
    seed_everything,
    token_loss,
)
from helpers.transformer import MiniFormer, Transformer, TransformerConfig
from helpers.translation import translation_loss

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


class Interrupted:
    """The next-token loss, and somebody who presses Stop at its n-th call in training."""

    def __init__(self, at):
        self.left = at

    def __call__(self, model, tokens):
        self.left -= model.training
        if self.left == 0 and model.training:
            raise KeyboardInterrupt
        return next_token_loss(model, tokens)


BATCHES = 4  # an epoch of 32 words, 8 at a time


def run(model=None, dropout=0.2, **changes):
    if model is None:
        seed_everything(0)
        model = MiniFormer(len(VOCABULARY), d_model=16, dropout=dropout)
    recipe = {"epochs": 4, "lr": 1e-2, "batch_size": 8, "progress": False} | changes
    return model, fit(model, TOKENS, TOKENS, **recipe)


def same(model, other):
    return all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))


def test_stop_returns_what_there_is(capsys):
    model, history = run(loss=Interrupted(2 * BATCHES + 2))
    assert len(history.train) == len(history.validation) == len(history.seconds) == 2
    assert not model.training
    assert evaluate(model, TOKENS) == pytest.approx(history.best, abs=1e-6)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith("Stopped in epoch 3 of 4.") and "resume=history" in said


@pytest.mark.parametrize("at", [1, BATCHES])
def test_stop_before_one_whole_epoch_is_an_interrupt(at, capsys):
    with pytest.raises(KeyboardInterrupt):
        run(loss=Interrupted(at))
    assert capsys.readouterr().out == ""


def test_the_event_always_ends_in_an_interrupt():
    stop, calls = threading.Event(), []

    def loss(model, tokens):
        calls.append(stop.set() if len(calls) > 2 * BATCHES + 2 else None)
        return next_token_loss(model, tokens)

    with pytest.raises(KeyboardInterrupt):
        run(loss=loss, stop=stop)


def by_words(**changes):
    return {"words_per_batch": 40, "accumulate": 2} | changes


@pytest.mark.parametrize("recipe", [{}, by_words(), {"schedule": None, "clip": None, "lr": 0.3}])
def test_two_epochs_and_two_more_are_four(recipe, tmp_path):
    whole, history = run(**recipe)
    first, begun = run(pause_after=2, **recipe)
    assert len(begun.train) == 2 and begun.train == history.train[:2] and history.state is None
    assert evaluate(first, TOKENS) == pytest.approx(begun.best, abs=1e-6)
    torch.save(vars(begun), tmp_path / "begun.pt")
    fresh = MiniFormer(len(VOCABULARY), d_model=16, dropout=0.2)
    for model, kept in ((first, begun), (fresh, History(**torch.load(tmp_path / "begun.pt", weights_only=True)))):
        torch.rand(3), first(TOKENS)  # what happens in between does not matter
        _, resumed = run(model, resume=kept, **recipe)
        assert (resumed.train, resumed.validation) == (history.train, history.validation)
        assert resumed.best_epoch == history.best_epoch and same(model, whole)
        assert resumed.seconds == sorted(resumed.seconds) and len(begun.train) == 2


def test_what_was_stopped_goes_on_exactly():
    whole, history = run()
    model, begun = run(loss=Interrupted(3 * BATCHES + 3))
    _, again = run(model, resume=begun, loss=Interrupted(2))  # stopped again before an epoch is whole: nothing is lost
    assert again == begun
    _, resumed = run(model, resume=again)
    assert (resumed.train, resumed.validation) == (history.train, history.validation) and same(model, whole)


def test_only_what_can_go_on_exactly_goes_on():
    model, done = run()
    with pytest.raises(ValueError, match="resume has nothing to go on with: its 4 epochs"):
        run(model, resume=done)
    _, begun = run(pause_after=1)
    for change in ({"epochs": 8}, {"lr": 0.1}, {"batch_size": 9}, by_words(), {"autocast": torch.bfloat16}):
        with pytest.raises(ValueError, match=rf"resume was trained with .*{next(iter(change))}="):
            run(model, resume=begun, **change)
    with pytest.raises(TypeError, match="resume is list"):
        run(model, resume=[])


def test_patience_ends_what_no_longer_improves(capsys):
    _, history = run(lr=0.5, clip=None, schedule=None, epochs=60, patience=2)
    assert len(history.train) == history.best_epoch + 3 < 60
    assert capsys.readouterr().out == ""
    assert len(run(patience=60)[1].train) == 4


def test_accumulated_gradients_are_those_of_one_large_batch():
    def gradients(**recipe):  # those of the only step; clipping and AdamW would hide a wrong factor
        model, _ = run(dropout=0.0, epochs=1, clip=None, **recipe)
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    large = gradients(batch_size=32)
    assert torch.allclose(gradients(batch_size=8, accumulate=4), large, atol=1e-6)
    assert torch.allclose(gradients(words_per_batch=300), large, atol=1e-6)
    assert torch.allclose(gradients(words_per_batch=70, accumulate=5), large, atol=1e-6)
    assert not torch.allclose(gradients(batch_size=8), large, atol=1e-2)
    sizes = set()

    def loss(model, tokens):
        sizes.add(len(tokens))
        return next_token_loss(model, tokens)

    run(batch_size=4, accumulate=4, loss=loss, epochs=1)
    assert max(sizes - {len(TOKENS)}) == 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_has_its_loss_in_full_precision(dtype):
    seen = set()

    def loss(model, tokens):
        logits = model(tokens[:, :-1])
        total, count = token_loss(logits, tokens[:, 1:], 0)
        seen.add((model.training, logits.dtype, total.dtype))
        return total, count

    model, history = run(autocast=dtype, loss=loss)
    assert seen == {(True, dtype, torch.float32), (False, torch.float32, torch.float32)}
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert history.best == pytest.approx(run()[1].best, rel=0.05)


def test_batches_by_words_learn_as_well():
    model, history = run(words_per_batch=70)
    assert history.best == pytest.approx(run()[1].best, rel=0.1)
    assert evaluate(model, TOKENS, words_per_batch=20) == pytest.approx(history.best, abs=1e-5)


def test_the_default_loss_says_what_it_is_for():
    translator = Transformer(TransformerConfig(len(VOCABULARY), len(VOCABULARY)))
    for data in (TOKENS, (TOKENS, TOKENS)):
        with pytest.raises(TypeError, match="Transformer reads source and target, .* needs loss=translation_loss"):
            fit(translator, data, data, epochs=1, lr=1e-3)
        with pytest.raises(TypeError, match="loss is next_token_loss"):
            evaluate(translator, data)
    with pytest.raises(TypeError, match="train holds 2"):
        fit(MiniFormer(len(VOCABULARY)), (TOKENS, TOKENS), TOKENS, epochs=1, lr=1e-3)


@pytest.mark.parametrize("make", [
    lambda: Transformer(TransformerConfig(len(VOCABULARY), len(VOCABULARY), d_model=16)),
    lambda: Seq2Seq(len(VOCABULARY), len(VOCABULARY), hidden_size=16, attention="luong-dot"),
])  # fmt: skip
def test_both_kinds_of_translator_learn_with_the_loss_that_is_named(make):
    seed_everything(0)
    model, pair, smooth = make(), (TOKENS, TOKENS), partial(translation_loss, label_smoothing=0.3)
    options = {"epochs": 2, "lr": 1e-2, "words_per_batch": 150, "progress": False}
    history = fit(model, pair, pair, smooth, **options)
    assert history.validation[1] < history.validation[0]
    assert history.best == pytest.approx(evaluate(model, pair, translation_loss), abs=1e-5), "plain in evaluation mode"
    model.train()
    assert smooth(model, *pair)[0] > translation_loss(model, *pair)[0] * 1.05


def test_the_bar_counts_batches_and_words(capsys):
    run(progress=True, epochs=2)
    last = capsys.readouterr().out.rstrip().split("\r")[-1]
    assert last.startswith("100%") and f"{2 * BATCHES}/{2 * BATCHES}" in last
    assert " words/s, train " in last and ", validation " in last and len(last) <= 88
