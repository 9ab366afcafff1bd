"""Batches of examples that are alike in length: by number of examples, or by number of words."""

import math

import torch

from helpers.common import check_size, check_special


def as_tensors(data, name):
    """Return `data`, a tensor or several, as a tuple of tensors with equally many rows: one row an example.

    Raises:
        TypeError, ValueError: it is something else; names it as `name`.
    """
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
    batch_size = int(batch_size)
    needed = _needed(tensors, pad_id)
    order = torch.randperm(len(tensors[0]), generator=shuffler)
    first = None if pad_id is None or not _holds_ids(tensors[0]) else _last_word(tensors[0], pad_id)
    if first is not None:
        order = torch.cat([pool[first[pool].argsort()] for pool in order.split(16 * batch_size)])
    batches = order.split(batch_size)
    for number in torch.randperm(len(batches), generator=shuffler).tolist():
        yield _take(tensors, batches[number], needed)


class WordBatches:
    """Batches by number of words: short examples travel in large batches, long ones in small batches.

    All examples are sorted by the length of the first tensor of ids, and those of equal length by that of the second,
    up and down in turn, so that neighbours are alike on both sides. Where one more example would make a batch hold
    too many ids, padding included, a new one begins. An example that alone holds more than that travels alone. In each
    epoch examples of equal lengths change places and so do the batches; how many there are does not change.

    Args:
        tensors: a tuple of tensors with N rows, at least one of them of ids (int64, (N, T)).
        words_per_batch: the most ids in a batch, over all tensors of ids together.
        pad_id: the id of padding.
        accumulate: into how many parts `torch.chunk` will cut a batch; each of them holds `words_per_batch` ids at most.

    Raises:
        TypeError, ValueError: no tensor of ids; numbers that are none.
    """

    def __init__(self, tensors, words_per_batch, pad_id, accumulate=1):
        check_size("words_per_batch", words_per_batch)
        check_size("accumulate", accumulate)
        if pad_id is None:
            raise ValueError("pad_id is None; batches by words need it, as an attribute of the model")
        check_special(pad_id=pad_id)
        if not any(map(_holds_ids, tensors)):
            raise ValueError("tensors holds no ids, (N, T) of torch.int64; batches by words need them")
        self.tensors, self.needed = tensors, _needed(tensors, pad_id)
        first, *others = self.needed.values()
        second = others[0] if others else torch.zeros_like(first)
        turns = torch.where(first % 2 == 0, second, second.max() - second)
        self.key = first * (second.max() + 1) + turns  # (N,)
        widths = torch.stack([self.needed[_width(t)] for t in tensors if _holds_ids(t)])  # (number of tensors, N)
        self.sizes = _cut(widths[:, self.key.argsort(stable=True)].T.tolist(), words_per_batch, accumulate)

    def __len__(self):
        """The number of batches in an epoch."""
        return len(self.sizes)

    def in_order(self):
        """Yield all batches from the shortest examples to the longest: for measuring."""
        for rows in self.key.argsort(stable=True).split(self.sizes):
            yield _take(self.tensors, rows, self.needed)

    def shuffled(self, shuffler):
        """Yield one epoch of batches in random order. `shuffler`: a `torch.Generator` on the CPU."""
        mixed = torch.randperm(len(self.key), generator=shuffler)
        batches = mixed[self.key[mixed].argsort(stable=True)].split(self.sizes)
        for number in torch.randperm(len(batches), generator=shuffler).tolist():
            yield _take(self.tensors, batches[number], self.needed)


def _cut(widths, words, parts):
    """Return the numbers of examples in batches that are cut from sorted examples, given each one's widths."""
    sizes, widest = [], None
    for row in widths:
        wider = row if widest is None else list(map(max, widest, row))
        if widest is not None and math.ceil((sizes[-1] + 1) / parts) * sum(wider) <= words:
            sizes[-1], widest = sizes[-1] + 1, wider
        else:
            sizes.append(1)
            widest = row
    return sizes


def _holds_ids(tensor):
    return tensor.dim() == 2 and tensor.dtype == torch.int64


def _width(tensor):
    return tensor.size(1)


def _needed(tensors, pad_id):
    """Return {width: columns that each row needs, (N,)}; tensors of equal width are cut together."""
    needed = {}
    for tensor in tensors:
        if pad_id is not None and _holds_ids(tensor):
            last = _last_word(tensor, pad_id)
            needed[_width(tensor)] = last.maximum(needed.get(_width(tensor), last))
    return needed


def _last_word(ids, pad_id):
    """Return how many columns each row of ids (N, T) needs: up to its last token that is not padding."""
    place = torch.arange(1, ids.size(1) + 1, device=ids.device)
    return ((ids != pad_id) * place).amax(dim=1).cpu()  # (N, T) → (N,)


def _take(tensors, rows, needed):
    """Return the rows of each tensor, without columns that hold only padding."""
    there = rows.to(tensors[0].device)
    cut = {width: max(1, int(last[rows].max())) for width, last in needed.items()}
    return [t[there, : cut[_width(t)]] if needed and _holds_ids(t) else t[there] for t in tensors]
