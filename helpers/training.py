"""One training loop for every chapter."""

import copy
import math
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from helpers.losses import next_token_loss, token_loss  # noqa: F401  (part of this room's contract)
from helpers.masks import check_size
from helpers.modes import evaluating
from helpers.schedules import one_cycle, paper_learning_rate, paper_schedule  # noqa: F401  (this, too)
from helpers.text import Vocabulary


def seed_everything(seed):
    """Seed Python, NumPy and PyTorch (every device), so that an experiment begins the same each time."""
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


def as_tensors(data, name):
    """Return `data` as a tuple of tensors with equally many rows: one row an example."""
    tensors = (data,) if isinstance(data, torch.Tensor) else tuple(data)
    if not tensors or not all(isinstance(t, torch.Tensor) for t in tensors):
        raise TypeError(f"{name} must be a tensor or a tuple of tensors with one row an example")
    rows = {len(t) for t in tensors}
    if len(rows) != 1 or 0 in rows:
        raise ValueError(f"{name} has tensors of {sorted(rows)} rows; they must have equally many, at least one")
    return tensors


def shuffled_batches(tensors, batch_size, shuffler):
    """Yield one epoch of batches: each a list of tensors, every example once, in random order.

    Examples of like length travel together, and columns in which a batch has only padding are cut off: on the names of
    chapter 5 that saves about a third of the work. Pools of 16 shuffled batches are sorted by length, cut into
    batches, and the batches shuffled again.

    Args:
        tensors: a tuple of tensors with N rows; those of ids (N, T) are padded on the right with `Vocabulary.pad_id`.
        batch_size: examples in a batch.
        shuffler: a `torch.Generator` on the CPU, so that the order is the same on every device.
    """
    device = tensors[0].device
    ids = [t.dim() == 2 and not t.is_floating_point() for t in tensors]
    lengths = [(t != Vocabulary.pad_id).sum(1).cpu() if is_ids else None for t, is_ids in zip(tensors, ids)]
    order = torch.randperm(len(tensors[0]), generator=shuffler)
    if ids[0]:
        pools = [pool[lengths[0][pool].argsort()] for pool in order.split(16 * batch_size)]
        order = torch.cat(pools)
    batches = order.split(batch_size)
    for number in torch.randperm(len(batches), generator=shuffler).tolist():
        rows = batches[number]
        batch = [t[rows.to(device)] for t in tensors]
        yield [t[:, : int(n[rows].max())] if is_ids else t for t, n, is_ids in zip(batch, lengths, ids)]


@torch.no_grad()
def evaluate(model, data, loss=next_token_loss, batch_size=512):
    """Return the loss in nats per token over all of `data`, in evaluation mode.

    Args:
        model: the model; its mode is put back afterwards.
        data: a tensor (N, T), or a tuple of tensors with N rows each.
        loss: `loss(model, *batch) -> (sum, number of tokens)`.
        batch_size: examples at a time; the result does not depend on it.
    """
    tensors = as_tensors(data, "data")
    total, count = 0.0, 0
    with evaluating(model):
        for first in range(0, len(tensors[0]), batch_size):
            batch_loss, batch_count = loss(model, *(t[first : first + batch_size] for t in tensors))
            total, count = total + batch_loss, count + batch_count
    return float(total / count)


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

    Returns:
        A `History`.

    Raises:
        FloatingPointError: the loss is no longer a finite number; names the epoch.
        ValueError, TypeError: data or numbers that make no sense.
    """
    train, validation = as_tensors(train, "train"), as_tensors(validation, "validation")
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        check_size(name, value)
    if not lr > 0:
        raise ValueError(f"lr={lr!r} must be positive")
    device = train[0].device
    steps_per_epoch = math.ceil(len(train[0]) / batch_size)
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, fused=True)
    share = (lambda step: schedule(step, epochs * steps_per_epoch)) if schedule else (lambda step: 1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    shuffler = torch.Generator().manual_seed(seed)
    history, best_weights, start = History(), None, time.perf_counter()

    bar = tqdm(range(epochs), file=sys.stdout, disable=not progress, mininterval=0.5, ncols=88)
    for epoch in bar:
        model.train()
        total, count = torch.zeros((), device=device), torch.zeros((), device=device)
        for batch in shuffled_batches(train, batch_size, shuffler):
            batch_loss, batch_count = loss(model, *batch)
            optimizer.zero_grad()
            (batch_loss / batch_count).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip, foreach=True)
            optimizer.step()
            scheduler.step()
            total, count = total + batch_loss.detach(), count + batch_count
        history.train.append(float(total / count))
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
    with ThreadPoolExecutor(side_by_side) as pool:
        running = [pool.submit(fit, **({"progress": False} | job)) for job in jobs]
        try:
            bar = tqdm(as_completed(running), label, len(jobs), file=sys.stdout, ncols=88, disable=label is None)
            for done in bar:
                done.result()
        except BaseException:  # also when the reader stops the cell
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [one.result() for one in running]
