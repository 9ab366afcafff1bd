"""What the exercises of several chapters share: random inputs, masks, mistakes with masks."""

import torch


def random(*shape, seed=0, scale=1.0):
    """Return normal random numbers, the same for the same seed."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def real(*lengths, width=None):
    """Return which tokens are real, (B, T), for sentences of these lengths."""
    return torch.arange(width or max(lengths)) < torch.tensor(lengths).unsqueeze(1)


def mask_mistakes(call="masked_softmax(scores, mask)"):
    """Return what can go wrong with a mask, as edits of a reference that contains `call` with its two names."""
    scores, mask = call.partition("(")[2].rstrip(")").split(", ")
    lowest = "torch.finfo(torch.float32).min"
    return [
        (f"{call} -> {scores}.softmax(-1)", "the mask is not used"),
        (f"{call} -> masked_softmax({scores}, ~{mask})", "the mask is turned round: True means may attend"),
        (f"{call} -> {scores}.softmax(-1) * {mask}", "the mask comes after the softmax, so the weights no longer add up"
         " to 1"),
        (f"{call} -> ({scores} * {mask}).softmax(-1)", "a score of 0 is not \"no weight\": e to the power of 0 is 1. Fill"
         " the forbidden scores with torch.finfo(scores.dtype).min"),
        (f"{call} -> {scores}.masked_fill(~{mask}, float('-inf')).softmax(-1)", "a row that is masked throughout is 0 / 0:"
         " fill with torch.finfo(...).min and set the forbidden weights to 0 after the softmax"),
        (f"{call} -> {scores}.masked_fill(~{mask}, {lowest}).softmax(-1)", "a row that is masked throughout became an"
         " average of everything: set the forbidden weights to 0 after the softmax"),
        (f"{call} -> {scores}.masked_fill(~{mask}, -1e4).softmax(-1) * {mask}", "the number that stands for a forbidden"
         " score is not low enough: allowed scores may be lower still; fill with torch.finfo(scores.dtype).min"),
    ]  # fmt: skip
