"""Losses over tokens: the cross-entropy, with label smoothing or without. Readers meet this through `helpers.training`."""

import torch
from torch.nn import functional as F


def token_loss(logits, targets, pad_id, label_smoothing=0.0, smooth_padding=True):
    """Return the summed cross-entropy over real tokens, in nats, and their number.

    Sum and number are kept apart so that whoever adds up several batches divides once, by all their tokens.

    Args:
        logits: (B, T, V).
        targets: ids, (B, T); positions that hold `pad_id` count for nothing.
        label_smoothing: the share ε of the target that is taken from the right token and spread evenly over all K
            classes, so that it keeps 1 - ε + ε/K (Szegedy et al. 2016, section 7; the paper's section 5.4 has 0.1).
        smooth_padding: whether padding is one of the K = V classes, as in PyTorch; if not, K = V - 1, for padding is
            never right.

    Raises:
        ValueError: shapes that do not fit, or a share that is none.
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} do not fit targets {tuple(targets.shape)}: (B, T, V) and (B, T)"
        )
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing!r} must be at least 0 and below 1")
    logits, targets = logits.flatten(0, 1), targets.flatten()  # (B, T, V), (B, T) → (B · T, V), (B · T,)
    real = targets != pad_id
    by_pytorch = label_smoothing if smooth_padding else 0.0
    loss = F.cross_entropy(logits, targets, ignore_index=pad_id, label_smoothing=by_pytorch, reduction="sum")
    if label_smoothing > 0 and not smooth_padding:
        padding = torch.tensor(pad_id, device=logits.device)
        log_p = logits.log_softmax(dim=-1).index_fill(-1, padding, 0.0)
        spread = log_p.sum(dim=-1).masked_fill(~real, 0.0)  # (B · T, V) → (B · T,)
        evenly = -spread.sum() / (logits.size(-1) - 1)  # the cross-entropy if every other class were equally right
        loss = (1 - label_smoothing) * loss + label_smoothing * evenly
    return loss, real.sum()


def next_token_loss(model, tokens):
    """The loss of a language model that reads `tokens[:, :-1]` and predicts `tokens[:, 1:]`: (sum in nats, tokens)."""
    return token_loss(model(tokens[:, :-1]), tokens[:, 1:], model.pad_id)
