"""One training loop for every chapter, its losses and its learning rates."""

import inspect
import math
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from helpers.batches import WordBatches, as_tensors, shuffled_batches
from helpers.common import check_choice, check_number, check_size, check_special, check_tensor, check_tokens, evaluating


def one_cycle(step, total_steps, warmup=0.25):
    """Return the share of the peak learning rate at `step`: a linear rise, then half a cosine down to zero.

    After Smith and Topin, "Super-Convergence" (2018).
    """
    check_number("step", step, low=0)
    check_size("total_steps", total_steps)
    check_number("warmup", warmup, low=0, high=1)
    rise = max(1, round(warmup * total_steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total_steps - rise)))


def paper_learning_rate(step, d_model=512, warmup_steps=4000):
    """Return the learning rate of "Attention Is All You Need", equation 3; `step` counts from 1.

    It rises linearly for `warmup_steps` steps and then falls with the inverse square root of the step.

    Raises:
        ValueError: an argument is below 1.
    """
    for name, value in (("step", step), ("d_model", d_model), ("warmup_steps", warmup_steps)):
        check_number(name, value, low=1)
    return d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5)


def paper_schedule(step, total_steps, warmup=0.25):
    """Return equation 3 as a share of its peak, for `fit(schedule=...)`; `step` counts from 0.

    The peak itself, d_model^-0.5 · warmup_steps^-0.5, goes into `fit(lr=...)`; so `d_model` does not matter here.

    Args:
        step: 0 to total_steps - 1.
        total_steps: how many there are.
        warmup: the share of them in which the rate rises (the paper's base model: 4,000 of 100,000, section 5.3).

    Raises:
        ValueError: `warmup` is not above 0 and at most 1.
    """
    check_number("warmup", warmup, above=0, high=1)
    check_size("total_steps", total_steps)
    warmup_steps = max(1, round(warmup * total_steps))
    return paper_learning_rate(step + 1, 1, warmup_steps) * warmup_steps**0.5


def token_loss(logits, targets, pad_id, label_smoothing=0.0):
    """Return the summed cross-entropy over real tokens, in nats, and their number.

    Sum and number are kept apart so that whoever adds up several batches divides once, by all their tokens.

    Args:
        logits: (B, T, V).
        targets: ids, (B, T); positions that hold `pad_id` count for nothing.
        label_smoothing: the share ε of the target that is taken from the right token and spread evenly over all V
            classes, so that it keeps 1 - ε + ε/V (Szegedy et al. 2016, section 7; the paper's section 5.4 has 0.1).
            Padding is one of the classes, as in PyTorch.

    Returns:
        the sum, in float32 where the logits are half as precise, and the number of tokens.

    Raises:
        ValueError: shapes that do not fit, or a share that is none.
    """
    check_tensor("logits", logits, "B, T, V")
    check_tokens(targets, "targets")
    check_special(pad_id=pad_id)
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} do not fit targets {tuple(targets.shape)}: (B, T, V) and (B, T)"
        )
    check_number("label_smoothing", label_smoothing, low=0, below=1)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()  # a sum of thousands of losses needs more than their 8 or 11 bits
    logits, targets = logits.flatten(0, 1), targets.flatten()  # (B, T, V), (B, T) → (B · T, V), (B · T,)
    loss = F.cross_entropy(logits, targets, ignore_index=pad_id, label_smoothing=label_smoothing, reduction="sum")
    return loss, (targets != pad_id).sum()


def next_token_loss(model, tokens):
    """The loss of a language model that reads `tokens[:, :-1]` and predicts `tokens[:, 1:]`: (sum in nats, tokens)."""
    check_tokens(tokens)
    return token_loss(model(tokens[:, :-1]), tokens[:, 1:], model.pad_id)


def seed_everything(seed):
    """Seed Python, NumPy and PyTorch (every device), so that an experiment begins the same each time."""
    check_size("seed", seed, least=0)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@dataclass
class History:
    """What happened in training, one entry an epoch. Losses are in nats per token."""

    train: list = field(default_factory=list)
    validation: list = field(default_factory=list)
    seconds: list = field(default_factory=list)  # since the start of training
    best_epoch: int = 0  # counted from 0; its weights are the ones the model ends with
    # What `fit(resume=...)` goes on from, None when all epochs are done; `torch.save(vars(history), path)` keeps it on
    # disk, and `History(**torch.load(path))` brings it back.
    state: dict | None = field(default=None, repr=False, compare=False)

    @property
    def best(self):
        """The lowest validation loss, in nats per token."""
        return self.validation[self.best_epoch]


@torch.no_grad()
def evaluate(model, data, loss=next_token_loss, batch_size=512, words_per_batch=None):
    """Return the loss in nats per token over all of `data`, in evaluation mode.

    Args:
        model: the model; its mode is put back afterwards.
        data: a tensor (N, T), or a tuple of tensors with N rows each.
        loss: `loss(model, *batch) -> (sum, number of tokens)`.
        batch_size, words_per_batch: how much at a time, as in `fit`; the result does not depend on it.
    """
    tensors = as_tensors(data, "data")
    check_size("batch_size", batch_size)
    _check_loss(loss, model, tensors, "data")
    if words_per_batch is None:
        batches = zip(*(t.split(int(batch_size)) for t in tensors))
    else:
        batches = WordBatches(tensors, words_per_batch, getattr(model, "pad_id", None)).in_order()
    with evaluating(model):
        parts = [loss(model, *batch) for batch in batches]
    return _per_token(parts)


def _check_loss(loss, model, tensors, name):
    """Raise a `TypeError` where the default loss gets a model, or data, of another kind than it is for."""
    if loss is next_token_loss:
        inputs = inspect.signature(model.forward).parameters.values() if isinstance(model, nn.Module) else ()
        needed = [p.name for p in inputs if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
        if len(needed) > 1 or len(tensors) > 1:
            raise TypeError(
                f"loss is next_token_loss, for a model that reads one tensor; {type(model).__name__} reads "
                f"{' and '.join(needed)}, {name} holds {len(tensors)}: a translator needs loss=translation_loss (of "
                "helpers.translation), another model your own loss(model, *batch) -> (sum, number of tokens)"
            )


def _per_token(parts):
    """Return the mean loss of a list of (sum, number of tokens), added up in double precision."""
    sums, counts = (torch.stack([torch.as_tensor(x).detach().cpu().double() for x in column]) for column in zip(*parts))
    return float(sums.sum() / counts.sum())


def fit(
    model, train, validation, loss=next_token_loss, *, epochs, lr, batch_size=64, schedule=one_cycle, weight_decay=0.01,
    clip=1.0, seed=0, progress=True, stop=None, words_per_batch=None, accumulate=1, autocast=None, patience=None,
    pause_after=None, resume=None,
):  # fmt: skip
    """Train a model; leave it in evaluation mode, with the weights of the epoch that did best on the validation data.

    All data lies on the model's device as one tensor, and a batch is cut out of it by indices: on models this small a
    loader that fetches item by item takes as long as the model. Padding is known by the model's `pad_id`, if it has
    one: batches are then cut to their longest example.

    Stopped by hand (`KeyboardInterrupt`) after at least one whole epoch, it says so and returns as if it had ended
    there; what the broken epoch did is dropped. Stopped earlier it raises `KeyboardInterrupt`. To go on, call it again
    with the same arguments and `resume`: on a CPU 2 + 2 epochs equal 4 to the last digit. In a loop of several calls a
    stop ends one and the next begins; `fit_all` ends as a whole.

    Args:
        model: the model, on the device where the data is.
        train, validation: a tensor (N, T) each, or a tuple of tensors with N rows.
        loss: `loss(model, *batch) -> (sum, number of tokens)`, by default the next-token loss.
        epochs, batch_size: how often over the data, and in how many examples at a time.
        lr: the peak learning rate of AdamW.
        schedule: `schedule(step, total_steps) -> share of lr`, or None for a constant rate.
        weight_decay: AdamW's, on matrices only.
        clip: the largest norm of the gradient of all parameters together, or None.
        seed: of the order of the examples.
        progress: whether to draw a progress bar, which counts batches.
        stop: a `threading.Event`; once it is set, training ends before the next batch with a `KeyboardInterrupt`.
        words_per_batch: in place of `batch_size`, how many ids of all tensors together, padding included, a batch
            holds at most (see `helpers.batches.WordBatches`); an example that is longer travels alone.
        accumulate: how many batches make one step of AdamW. Their gradients are weighted by tokens, so the step is that
            of one batch as large as all of them, at the memory of one.
        autocast: `torch.bfloat16` or `torch.float16`: mixed precision in training, not in validation nor in the loss.
        patience: training ends after so many epochs without a lower validation loss. None for never.
        pause_after: return after so many epochs of this call; `resume` goes on.
        resume: the `History` of an unfinished call; model and PyTorch's random state become those of its last epoch.

    Returns:
        A `History`.

    Raises:
        FloatingPointError: the loss is no longer a finite number; names the epoch.
        ValueError, TypeError: data or numbers that make no sense; a loss, or a history, of another kind of training.
    """
    train, validation = as_tensors(train, "train"), as_tensors(validation, "validation")
    sizes = {"epochs": epochs, "batch_size": batch_size, "accumulate": accumulate}
    options = {"words_per_batch": words_per_batch, "patience": patience, "pause_after": pause_after}
    for name, value in (sizes | {name: size for name, size in options.items() if size is not None}).items():
        check_size(name, value)
    check_number("lr", lr, above=0)
    check_size("seed", seed, least=0)
    check_number("weight_decay", weight_decay, low=0)
    check_number("clip", 1.0 if clip is None else clip, above=0)
    check_choice("autocast", autocast, (None, torch.bfloat16, torch.float16))
    _check_loss(loss, model, train, "train")
    pad_id, device = getattr(model, "pad_id", None), train[0].device
    shuffler = torch.Generator().manual_seed(seed)
    if words_per_batch is None:
        batches = partial(shuffled_batches, train, batch_size * accumulate, shuffler, pad_id)
        steps_per_epoch = math.ceil(len(train[0]) / (batch_size * accumulate))
    else:
        by_words = WordBatches(train, words_per_batch, pad_id, accumulate)
        batches, steps_per_epoch = partial(by_words.shuffled, shuffler), len(by_words)
    parameters = list(model.parameters())
    matrices = [p for p in parameters if p.requires_grad and p.dim() > 1]
    others = [p for p in parameters if p.requires_grad and p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, fused=True)
    share = (lambda step: schedule(step, epochs * steps_per_epoch)) if schedule else (lambda step: 1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    scaler = torch.amp.GradScaler(device.type, enabled=autocast is torch.float16)  # or small gradients become 0
    precision = partial(torch.autocast, device.type, autocast) if autocast else nullcontext
    numbers = {"lr": lr, "weight_decay": weight_decay, "clip": clip, "seed": seed, "steps in an epoch": steps_per_epoch}
    settings = sizes | numbers | {"words_per_batch": words_per_batch, "autocast": str(autocast)}
    stateful = {"model": model, "optimizer": optimizer, "schedule": scheduler, "scaler": scaler}
    history = History() if resume is None else _taken_up(resume, settings, stateful, shuffler)
    first, start, said = len(history.train), time.perf_counter() - (history.seconds or [0.0])[-1], ""
    last = epochs if pause_after is None else min(epochs, first + pause_after)

    bar = tqdm(
        total=epochs * steps_per_epoch, initial=first * steps_per_epoch, file=sys.stdout, disable=not progress,
        mininterval=0.5, ncols=88, bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
    )  # fmt: skip
    try:
        for epoch in range(first, last):
            model.train()
            parts, words, began = [], 0, time.perf_counter()
            for batch in batches():
                optimizer.zero_grad()
                counts = []
                for part in zip(*(t.chunk(accumulate) for t in batch)):
                    if stop is not None and stop.is_set():
                        raise KeyboardInterrupt
                    with precision():
                        part_loss, count = loss(model, *part)
                    if not parts and epoch == 0 and not math.isfinite(part_loss.detach()):
                        raise FloatingPointError(
                            f"the loss is {part_loss:g} before the first step: look at the model's weights and the data"
                        )
                    counts.append(count)
                    scaler.scale(part_loss / counts[0]).backward()
                    parts.append((part_loss.detach(), count))
                _step(parameters, optimizer, scaler, clip, counts)
                scheduler.step()
                words = words + sum(counts)
                if bar.update():  # it draws: only then look at numbers, for which a GPU has to be waited for
                    bar.set_postfix_str(f"{_rate(words, began)}{said}", refresh=False)
            rate = _rate(words, began)
            losses = _per_token(parts), evaluate(model, validation, loss, words_per_batch=words_per_batch)
            if not all(map(math.isfinite, losses)):
                raise FloatingPointError(
                    f"the loss is not a finite number in epoch {epoch}; lower lr={lr} or clip={clip}"
                )
            # One assignment, so that an interrupt finds either the old epoch or the new one, whole.
            history = _longer(history, *losses, time.perf_counter() - start, settings, stateful, shuffler)
            said = f", train {losses[0]:.3f}, validation {losses[1]:.3f}"
            bar.set_postfix_str(rate + said)
            if patience is not None and epoch - history.best_epoch >= patience:
                break
    except KeyboardInterrupt:
        if not history.train or (stop is not None and stop.is_set()):
            raise
        bar.close()
        print(
            f"Stopped in epoch {len(history.train) + 1} of {epochs}. The model has the weights of epoch "
            f"{history.best_epoch + 1}, validation loss {history.best:.3f}; fit(..., resume=history) goes on."
        )
    bar.close()
    model.load_state_dict(history.state["best"])
    model.eval()
    if len(history.train) == epochs:
        history.state = None
    return history


def _step(parameters, optimizer, scaler, clip, counts):
    """Step by the gradient of the mean over the tokens of all parts; it was collected in units of the first's."""
    if len(counts) > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(counts[0] / sum(counts))
    scaler.unscale_(optimizer)
    if clip is not None:
        nn.utils.clip_grad_norm_(parameters, clip, foreach=True)
    scaler.step(optimizer)
    scaler.update()


def _rate(words, began):
    return f"{int(words) / (time.perf_counter() - began):,.0f} words/s"


def _copied(state):
    """Return a copy of a state_dict: tensors in dictionaries and lists; `copy.deepcopy` takes seven times as long."""
    if isinstance(state, torch.Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return [_copied(value) for value in state] if isinstance(state, list) else state


def _longer(history, train, validation, seconds, settings, stateful, shuffler):
    """Return the history with one epoch more, and copies of all that the next epoch begins with."""
    state = {name: _copied(part.state_dict()) for name, part in stateful.items()}
    state |= {"settings": settings, "order": shuffler.get_state(), "random": torch.get_rng_state()}
    state["cuda"] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    better = not history.validation or validation < history.best
    state["best"] = state["model"] if better else history.state["best"]
    columns = [*history.train, train], [*history.validation, validation], [*history.seconds, seconds]
    return History(*columns, len(history.train) if better else history.best_epoch, state)


def _taken_up(history, settings, stateful, shuffler):
    """Put everything back to where an unfinished history ends, and return the history."""
    if not isinstance(history, History):
        raise TypeError(f"resume is {type(history).__name__}, not the History that fit returned")
    if history.state is None:
        raise ValueError(f"resume has nothing to go on with: its {len(history.train)} epochs were all there were to be")
    then = history.state["settings"]
    changed = [f"{name}={then[name]!r}, now {value!r}" for name, value in settings.items() if then[name] != value]
    if changed:
        raise ValueError(f"resume was trained with {'; '.join(changed)}; it goes on with the same numbers only")
    for name, part in stateful.items():
        part.load_state_dict(_copied(history.state[name]))
    shuffler.set_state(history.state["order"].cpu())
    torch.set_rng_state(history.state["random"].cpu())
    if history.state["cuda"]:
        torch.cuda.set_rng_state_all([state.cpu() for state in history.state["cuda"]])
    return history


def fit_all(jobs, label=None, side_by_side=2):
    """Train several models, two at a time, one on each core of a small machine; return their histories in order.

    It pays off with `torch.set_num_threads(1)`: models this small give a second thread too little to do. Models with
    dropout do not repeat exactly, because those that train side by side draw from one stream of random numbers.

    Args:
        jobs: for each model the arguments of `fit`, as a dictionary.
        label: words before a progress bar that counts models; None for no such bar.
        side_by_side: how many at a time.

    Raises:
        What `fit` raises; models whose turn has not come are then not trained.
    """
    check_size("side_by_side", side_by_side)
    stop = threading.Event()
    with ThreadPoolExecutor(side_by_side) as pool:
        running = [pool.submit(fit, **({"progress": False, "stop": stop} | job)) for job in jobs]
        try:
            bar = tqdm(as_completed(running), label, len(jobs), file=sys.stdout, ncols=88, disable=label is None)
            for done in bar:
                done.result()
        except BaseException:  # also when the reader stops the cell: those that run end within a batch
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [one.result() for one in running]
