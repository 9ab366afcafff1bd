"""What the exercises of several chapters share: random inputs, masks, mistakes with masks, stand-ins for models."""

from dataclasses import dataclass, field

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


# Stand-ins for a model. Each counts how often it is asked, so that a loop without an end ends in an error.

PATIENCE = 60


def _check_prefixes(model, prefixes, rows=None):
    model.calls += 1
    if model.calls > PATIENCE:
        raise RuntimeError(f"the model was asked {PATIENCE} times: does the loop end?")
    if not isinstance(prefixes, torch.Tensor) or prefixes.dim() != 2:
        shape = tuple(prefixes.shape) if isinstance(prefixes, torch.Tensor) else type(prefixes).__name__
        raise ValueError(f"the model reads whole prefixes, (rows, t); it was given {shape}")
    if prefixes.is_floating_point() or prefixes.dtype == torch.bool:
        raise TypeError(f"prefixes are token ids, whole numbers; these are {prefixes.dtype}")
    if prefixes.size(1) == 0:
        raise ValueError("a prefix begins with <BOS>; these are empty")
    if rows is not None and prefixes.size(0) != rows:
        raise ValueError(f"this model continues {rows} rows; it was given {prefixes.size(0)}")


@dataclass
class Writes:
    """A stand-in for a model whose next token depends on all tokens so far; the ids in `never` do not occur."""

    seed: int
    rows: int = None
    vocab_size: int = 8
    never: tuple = (0, 1)
    eos_id: int = 2
    eos_bonus: float = 0.0
    sharpness: float = 1.5
    calls: int = field(default=0, compare=False, repr=False)

    def __call__(self, prefixes):
        _check_prefixes(self, prefixes, self.rows)
        length, width = prefixes.size(1), 6
        if prefixes.size(0) == 0:
            return torch.zeros(0, self.vocab_size)
        table, output = (
            random(self.vocab_size, width, seed=self.seed),
            random(width, self.vocab_size, seed=self.seed + 1),
        )
        source = 0.0 if self.rows is None else random(self.rows, width, seed=self.seed + 2)
        place = torch.cos(torch.arange(1.0, length + 1).unsqueeze(1) * torch.arange(1.0, width + 1))  # (t, width)
        hidden = torch.tanh((table[prefixes] * place).sum(1) + source)  # (rows, t, width) → (rows, width)
        logits = self.sharpness * hidden @ output
        logits[:, self.eos_id] += self.eos_bonus
        logits[:, list(self.never)] = -1e4
        return logits if self.rows is not None else logits.log_softmax(-1)


@dataclass
class After:
    """A stand-in for a model that looks at the last token only: `chances[last][next]` is a probability."""

    chances: dict
    vocab_size: int = 5
    calls: int = field(default=0, compare=False, repr=False)

    def __call__(self, prefixes):
        _check_prefixes(self, prefixes)
        table = torch.full((self.vocab_size, self.vocab_size), 1e-6)
        for last, row in self.chances.items():
            for following, chance in row.items():
                table[last, following] = chance
        return table.log()[prefixes[:, -1]]  # (rows, t) → (rows, V)
