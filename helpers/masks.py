"""Masks, the softmax that obeys them, and checks of what comes in.

Masks are boolean, True = may attend, and broadcast to the scores (..., T_q, T_k). Readers meet this through
`helpers.attention`.
"""

import torch


def causal_mask(length, device=None):
    """Return the mask under which position i may attend to positions 0..i: lower triangular, (length, length).

    Raises:
        ValueError: `length` is not a positive whole number.
    """
    check_size("length", length)
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def padding_mask(tokens, pad_id):
    """Return the mask that hides padded keys from every query.

    Args:
        tokens: ids, (B, T).
        pad_id: the id of the padding symbol.

    Returns:
        (B, 1, T), True where a token is real; the axis of length 1 broadcasts over the queries, so
        `causal_mask(T) & padding_mask(tokens, pad_id)` is (B, T, T).
    """
    check_tokens(tokens)
    return (tokens != pad_id).unsqueeze(1)  # (B, T) → (B, 1, T)


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


def check_size(name, value):
    """Raise a `ValueError` that names `name` unless `value` is a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} must be a positive whole number")


def check_mask(mask, shape):
    """Raise unless `mask` is None or a boolean tensor that broadcasts to `shape`."""
    if mask is None:
        return
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise TypeError(f"mask is {kind}; masks are torch.bool, True = may attend")
    fits = mask.dim() <= len(shape) and all(m in (1, s) for m, s in zip(mask.shape[::-1], shape[::-1]))
    if not fits:
        raise ValueError(f"mask has shape {tuple(mask.shape)}, which does not broadcast to the scores {tuple(shape)}")


def masked_softmax(scores, mask=None):
    """Return softmax(scores) along the keys, the last axis, with no weight where `mask` is False.

    Args:
        scores: (..., T_q, T_k), floating point.
        mask: None, or boolean, broadcasts to the scores, True = may attend.

    Returns:
        weights, as the scores; each row sums to 1, or is 0 throughout where the mask allows nothing (not NaN).

    Raises:
        TypeError: a mask that is not boolean.
        ValueError: a mask that does not broadcast to the scores.
    """
    check_mask(mask, scores.shape)
    if mask is None:
        return scores.softmax(dim=-1)
    # The lowest finite score and not -inf: a row of -inf would make NaN, in the gradient too.
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(dim=-1).masked_fill(~mask, 0.0)
