"""Checks of sizes and ids that every module makes, and evaluation mode."""

from contextlib import contextmanager

import torch


def check_size(name, value):
    """Raise a `ValueError` that names `name` unless `value` is a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} must be a positive whole number")


def check_tokens(tokens, name="tokens", max_length=None):
    """Raise a `TypeError` or `ValueError` that names `name` unless it is a non-empty (B, T) tensor of integer ids."""
    if not isinstance(tokens, torch.Tensor):
        raise TypeError(f"{name} is {type(tokens).__name__}, not a tensor of ids (B, T)")
    if tokens.dtype not in (torch.int64, torch.int32):
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


@contextmanager
def evaluating(model):
    """Put a model into evaluation mode, and afterwards, whatever happened, back into the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
