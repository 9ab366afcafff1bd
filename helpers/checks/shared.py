"""What the exercises of several chapters share: random inputs, masks, mistakes with masks, stand-ins for models."""

from dataclasses import dataclass

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


@dataclass(frozen=True, repr=False)
class Looks:
    """A stand-in for a model: output i is a sum over the positions j, with the weights `rule(i, j, T)`.

    It reads vectors, (T, d), or with a vocabulary token ids, (B, T).
    """

    title: str
    rule: object
    vocabulary: int = 0

    def __repr__(self):
        return f"<a model: {self.title}>"

    def __call__(self, x):
        if self.vocabulary and (x.is_floating_point() or x.dim() != 2):
            raise TypeError(f"token ids are whole numbers, (B, T); these are {x.dtype}, {tuple(x.shape)}")
        vectors = random(self.vocabulary, 3, seed=5)[x] if self.vocabulary else x
        T = vectors.size(-2)
        weights = self.rule(torch.arange(T).unsqueeze(1), torch.arange(T), T)  # (T, T)
        return weights.to(vectors) @ torch.tanh(vectors)


HONEST = {
    "each token alone": lambda i, j, T: i == j,
    "itself and before": lambda i, j, T: j <= i,
    "only before": lambda i, j, T: j < i,
    "itself and two back": lambda i, j, T: (j == i) | (j == i - 2),
}
LEAKY = {
    "everything": lambda i, j, T: (i + j) > -1,
    "one step ahead": lambda i, j, T: j <= i + 1,
    "two steps ahead": lambda i, j, T: (j == i) | (j == i + 2),
    "only the first looks at the last": lambda i, j, T: (j == i) | ((i == 0) & (j == T - 1)),
    "the last but one looks at the last": lambda i, j, T: (j <= i) | ((i == T - 2) & (j == T - 1)),
    "the last lowers the first": lambda i, j, T: (j <= i).float() - ((i == 0) & (j == T - 1)).float(),
    "the last raises the first and lowers the second": lambda i, j, T: (
        (j <= i).float() + (j == T - 1) * ((i == 0).float() - (i == 1).float())
    ),
    "each output falls with the next token": lambda i, j, T: (j <= i).float() - (j == i + 1).float(),
}


def one_leak(output, position):
    """Return the title and the rule of a causal model with one more path, from a later position to an earlier output."""
    return (
        f"causal, but output {output} looks at {position}",
        lambda i, j, T: (j <= i) | ((i == output) & (j == position)),
    )
