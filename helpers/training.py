"""One training loop for every chapter, its losses and its learning rates."""

import copy
import math
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from helpers.common import check_number, check_size, check_special, check_tensor, check_tokens, evaluating


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

    @property
    def best(self):
        """The lowest validation loss, in nats per token."""
        return self.validation[self.best_epoch]


def _as_tensors(data, name):
    """Return `data` as a tuple of tensors with equally many rows: one row an example."""
    tensors = (data,) if isinstance(data, torch.Tensor) else tuple(data)
    if not tensors or not all(isinstance(t, torch.Tensor) for t in tensors):
        raise TypeError(f"{name} must be a tensor or a tuple of tensors with one row an example")
    rows = {len(t) for t in tensors}
    if len(rows) != 1 or 0 in rows:
        raise ValueError(f"{name} has tensors of {sorted(rows)} rows; they must have equally many, at least one")
    return tensors


def shuffled_batches(tensors, batch_size, shuffler, pad_id=None):
    """Yield one epoch of batches: each a list of tensors, every example once, in random order.

    With `pad_id` examples of like length travel together, and columns on the right in which a batch has only padding
    are cut off: on the names of chapter 5 that saves about a third of the work. Pools of 16 shuffled batches are
    sorted by length, cut into batches, and the batches shuffled again.

    Args:
        tensors: a tuple of tensors with N rows.
        batch_size: examples in a batch.
        shuffler: a `torch.Generator` on the CPU, so that the order is the same on every device.
        pad_id: the id of padding in all tensors of ids (int64, (N, T)); None: nothing is sorted, nothing cut. Tensors
            of equal width stay equally wide, so that labels go on fitting the ids that they belong to.
    """
    check_size("batch_size", batch_size)
    batch_size, device = int(batch_size), tensors[0].device
    width = [t.size(1) if t.dim() == 2 and t.dtype == torch.int64 and pad_id is not None else None for t in tensors]
    last = [None if w is None else _last_word(t, pad_id).cpu() for t, w in zip(tensors, width)]
    order = torch.randperm(len(tensors[0]), generator=shuffler)
    if last[0] is not None:
        order = torch.cat([pool[last[0][pool].argsort()] for pool in order.split(16 * batch_size)])
    batches = order.split(batch_size)
    for number in torch.randperm(len(batches), generator=shuffler).tolist():
        rows = batches[number]
        needed = {}
        for w, n in zip(width, last):
            if w is not None:
                needed[w] = max(needed.get(w, 1), int(n[rows].max()))
        rows_there = rows.to(device)
        yield [t[rows_there] if w is None else t[rows_there, : needed[w]] for t, w in zip(tensors, width)]


def _last_word(ids, pad_id):
    """Return how many columns each row of ids (N, T) needs: up to its last token that is not padding."""
    place = torch.arange(1, ids.size(1) + 1, device=ids.device)
    return ((ids != pad_id) * place).amax(dim=1)  # (N, T) → (N,)


@torch.no_grad()
def evaluate(model, data, loss=next_token_loss, batch_size=512):
    """Return the loss in nats per token over all of `data`, in evaluation mode.

    Args:
        model: the model; its mode is put back afterwards.
        data: a tensor (N, T), or a tuple of tensors with N rows each.
        loss: `loss(model, *batch) -> (sum, number of tokens)`.
        batch_size: examples at a time; the result does not depend on it.
    """
    tensors = _as_tensors(data, "data")
    check_size("batch_size", batch_size)
    with evaluating(model):
        parts = [loss(model, *part) for part in zip(*(t.split(int(batch_size)) for t in tensors))]
    return _per_token(parts)


def _per_token(parts):
    """Return the mean loss of a list of (sum, number of tokens), added up in double precision."""
    sums, counts = (torch.stack([torch.as_tensor(x).detach().cpu().double() for x in column]) for column in zip(*parts))
    return float(sums.sum() / counts.sum())


def fit(
    model,
    train,
    validation,
    loss=next_token_loss,
    *,
    epochs,
    lr,
    batch_size=64,
    schedule=one_cycle,
    weight_decay=0.01,
    clip=1.0,
    seed=0,
    progress=True,
    stop=None,
):
    """Train a model; leave it in evaluation mode, with the weights of the epoch that did best on the validation data.

    All data lies on the model's device as one tensor, and a batch is cut out of it by indices: on models this small a
    loader that fetches item by item takes as long as the model.

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
        progress: whether to draw a progress bar.
        stop: a `threading.Event`; once it is set, training ends before the next batch with a `KeyboardInterrupt`.

    Padding is known by the model's `pad_id`, if it has one: batches are then cut to their longest example.

    Returns:
        A `History`.

    Raises:
        FloatingPointError: the loss is no longer a finite number; names the epoch.
        ValueError, TypeError: data or numbers that make no sense.
    """
    train, validation = _as_tensors(train, "train"), _as_tensors(validation, "validation")
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        check_size(name, value)
    check_number("lr", lr, above=0)
    check_size("seed", seed, least=0)
    check_number("weight_decay", weight_decay, low=0)
    if clip is not None:
        check_number("clip", clip, above=0)
    steps_per_epoch = math.ceil(len(train[0]) / batch_size)
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, fused=True)
    share = (lambda step: schedule(step, epochs * steps_per_epoch)) if schedule else (lambda step: 1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    shuffler = torch.Generator().manual_seed(seed)
    pad_id = getattr(model, "pad_id", None)
    history, best_weights, start = History(), None, time.perf_counter()

    bar = tqdm(range(epochs), file=sys.stdout, disable=not progress, mininterval=0.5, ncols=88)
    for epoch in bar:
        model.train()
        parts = []
        for batch in shuffled_batches(train, batch_size, shuffler, pad_id):
            if stop is not None and stop.is_set():
                raise KeyboardInterrupt
            batch_loss, batch_count = loss(model, *batch)
            if not parts and epoch == 0 and not math.isfinite(batch_loss.detach()):
                raise FloatingPointError(
                    f"the loss is {float(batch_loss)} before the first step: look at the model's weights and the data"
                )
            optimizer.zero_grad()
            (batch_loss / batch_count).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip, foreach=True)
            optimizer.step()
            scheduler.step()
            parts.append((batch_loss.detach(), batch_count))
        history.train.append(_per_token(parts))
        history.validation.append(evaluate(model, validation, loss))
        history.seconds.append(time.perf_counter() - start)
        if not math.isfinite(history.train[-1]) or not math.isfinite(history.validation[-1]):
            raise FloatingPointError(
                f"the loss is not a finite number in epoch {epoch}; lower lr={lr} or clip gradients"
            )
        if best_weights is None or history.validation[-1] < history.best:
            history.best_epoch, best_weights = epoch, copy.deepcopy(model.state_dict())
        bar.set_postfix_str(f"train {history.train[-1]:.3f}, validation {history.validation[-1]:.3f}")
    model.load_state_dict(best_weights)
    model.eval()
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
