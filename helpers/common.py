"""Checks of what comes in, which every module makes in the same words, and evaluation mode."""

import math
import numbers
from contextlib import contextmanager

import torch


def check_size(name, value, least=1):
    """Raise unless `value` is a whole number of at least `least`: a `TypeError` or `ValueError` that names `name`."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)  # NumPy's integers are Integral, too
    if not whole or value < least:
        wanted = "a positive whole number" if least == 1 else f"a whole number of at least {least}"
        raise (ValueError if whole else TypeError)(f"{name}={value!r} must be {wanted}")


def check_number(name, value, low=None, high=None, above=None, below=None):
    """Raise unless `value` is a finite number within the bounds given: a `TypeError` or `ValueError` that names it."""
    bounds = {"at least": low, "above": above, "at most": high, "below": below}
    wanted = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number:
        raise TypeError(f"{name}={value!r} must be a number{' ' * bool(wanted)}{wanted}")
    inside = (
        math.isfinite(value)
        and (low is None or value >= low)
        and (above is None or value > above)
        and (high is None or value <= high)
        and (below is None or value < below)
    )
    if not inside:
        raise ValueError(f"{name}={value!r} must be {wanted or 'a finite number'}")


def check_choice(name, value, choices):
    """Raise a `TypeError` or `ValueError` that names `name` unless `value` is one of `choices`."""
    same_type = [choice for choice in choices if type(choice) is type(value)]
    if value not in same_type:
        kind = ValueError if same_type else TypeError
        raise kind(f"{name}={value!r} is not one of {', '.join(map(str, choices))}")


def check_texts(name, values, least=1):
    """Return `values` as a list; raise an error that names `name` unless they are strings, at least `least` of them.

    A string alone is a `TypeError`: its letters would pass for a list of strings.
    """
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} must be a list of strings, not {values!r}")
    values = list(values)
    wrong = [value for value in values if not isinstance(value, str)]
    if wrong:
        raise TypeError(f"{name} holds {wrong[0]!r}; {name} must be a list of strings")
    if len(values) < least:
        raise ValueError(f"{name} is empty; at least one string is needed")
    return values


def check_special(vocab_size=None, **ids):
    """Raise unless the ids of special symbols are whole numbers, differ, and lie in the vocabulary."""
    for name, value in ids.items():
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            raise TypeError(f"{name}={value!r} must be a whole number, the id of a symbol")
        if value < 0 or (vocab_size is not None and value >= vocab_size):
            size = "" if vocab_size is None else f", below the vocabulary's {vocab_size}"
            raise ValueError(f"{name}={value} must be an id: at least 0{size}")
    if len(set(ids.values())) < len(ids):
        raise ValueError(f"{', '.join(f'{name}={value}' for name, value in ids.items())}: the ids must differ")


def check_tensor(name, value, shape, floating=True):
    """Raise unless `value` is a non-empty tensor with as many axes as `shape` names, such as "T_q, T_k"."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} is {type(value).__name__}, not a tensor ({shape})")
    axes = shape.split(", ")
    fits = value.dim() >= len(axes) - 1 if "..." in axes else value.dim() == len(axes)
    if not fits or value.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(value.shape)}; it must be ({shape}) and not empty")
    if floating and not value.is_floating_point():
        raise TypeError(f"{name} has dtype {value.dtype}; it must be floating point")


def check_tokens(tokens, name="tokens", max_length=None):
    """Raise a `TypeError` or `ValueError` that names `name` unless it is a non-empty (B, T) tensor of integer ids."""
    if not isinstance(tokens, torch.Tensor):
        raise TypeError(f"{name} is {type(tokens).__name__}, not a tensor of ids (B, T)")
    if tokens.dtype != torch.int64:
        raise TypeError(f"{name} has dtype {tokens.dtype}; ids are torch.int64")
    if tokens.dim() != 2 or tokens.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(tokens.shape)}; it must be (B, T) and hold at least one token")
    if max_length is not None and tokens.size(1) > max_length:
        raise ValueError(f"{name} has {tokens.size(1)} positions, more than max_length={max_length}")


def check_ids(tokens, name, vocab_size):
    """Raise a `ValueError` that names `name` if an id of `tokens` is outside the vocabulary; on a GPU this waits."""
    if tokens.is_meta:
        return
    low, high = (int(n) for n in tokens.aminmax())
    if low < 0 or high >= vocab_size:
        raise ValueError(
            f"{name} holds the id {high if low >= 0 else low}, outside the vocabulary of {vocab_size} ({name} has ids "
            f"from {low} to {high}; they must be from 0 to {vocab_size - 1})"
        )


def check_sequences(tokens, name, vocab_size, max_length, pad_id, anywhere=False):
    """Raise an error that names `name` unless `tokens` are ids (B, T) of the vocabulary, padded on the right only.

    Looking at ids makes a GPU wait, so it is done on the CPU, and elsewhere only where `anywhere` asks for it. Returns
    whether it looked.
    """
    check_tokens(tokens, name, max_length)
    looks = tokens.device.type == "cpu" or (anywhere and not tokens.is_meta)
    if looks:
        check_ids(tokens, name, vocab_size)
        words = tokens != pad_id  # (B, T)
        broken = (words[:, 1:] & ~words[:, :-1]).any(dim=1).nonzero().flatten().tolist()  # rows
        if broken:  # positions would be counted from the padding
            row = tokens[broken[0]].tolist()
            raise ValueError(f"{name} row {broken[0]} is {row}; padding ({pad_id}) must stand on the right")
    return looks


@contextmanager
def evaluating(model):
    """Put a model into evaluation mode, and afterwards, whatever happened, every part back into its own mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
