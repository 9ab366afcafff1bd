"""Speed comparisons, each a ratio between two ways of doing the same thing in one run: `make bench`.

The series claims that its code is no slower than PyTorch's own modules, and its training sooner at the goal than the plain
recipe. Here is what that means in numbers; a comparison that falls short makes the command fail.
"""

import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from helpers.attention import MultiHeadAttention, causal_mask
from helpers.data import load_words, split_words
from helpers.layers import TokenEmbedding
from helpers.text import Vocabulary
from helpers.training import fit, next_token_loss, seed_everything, token_loss
from helpers.transformer import MiniFormer, Transformer, TransformerConfig

WORDS, D_MODEL, HEADS, D_FF, LAYERS = 300, 256, 8, 1024, 3


def said(name, ratio, required, details=""):
    """Print one comparison; return whether it is good enough."""
    print(f"{name}: {ratio:.2f} times as fast, {required} required{details}", flush=True)
    return ratio >= required


def ratio_of(theirs, ours, turns, warm_up=1):
    """Return the median over turns of the seconds of `theirs` over those of `ours`; each goes first as often."""
    ratios = []
    for turn in range(turns + warm_up):
        seconds = {}
        for way in (theirs, ours) if turn % 2 else (ours, theirs):
            start = time.perf_counter()
            way()
            seconds[way] = time.perf_counter() - start
        if turn >= warm_up:
            ratios.append(seconds[theirs] / seconds[ours])
    return statistics.median(ratios)


def plain_training(model, predict, train, validation, epochs=100):
    """Train as many a tutorial does: batches of 16 from a DataLoader, Adam at 1e-3, no schedule.

    Returns the validation loss per token after the last epoch, and the seconds all of it took.
    """
    loader = DataLoader(TensorDataset(train), batch_size=16, shuffle=True)
    optimizer, start = torch.optim.Adam(model.parameters(), lr=1e-3), time.perf_counter()
    for _ in range(epochs):
        model.train()
        for (tokens,) in loader:
            logits = predict(model, tokens[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            logits, targets = predict(model, validation[:, :-1]), validation[:, 1:]
            last = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0).item()
    return last, time.perf_counter() - start


def compare_training(name, make, predict, loss, required, **recipe):
    """Compare how soon the series' training reaches the loss at which the plain recipe ends."""
    split, vocabulary = split_words(), Vocabulary.from_words(load_words())
    train, validation = vocabulary.encode_batch(split.train), vocabulary.encode_batch(split.validation)
    seed_everything(0)
    goal, plain_seconds = plain_training(make(), predict, train, validation)
    seed_everything(0)
    history = fit(make(), train, validation, loss, progress=False, **recipe)
    reached = [seconds for seconds, value in zip(history.seconds, history.validation) if value <= goal]
    if not reached:
        print(f"{name}: the plain recipe ends at {goal:.4f}, the series' training got only to {history.best:.4f}")
        return False
    details = f" (a loss of {goal:.4f} after {plain_seconds:.1f} s and {reached[0]:.2f} s)"
    return said(f"{name} against the plain recipe", plain_seconds / reached[0], required, details)


def copying_loss(model, tokens):
    """Return the loss of the leak in chapter 5: the whole word goes into the encoder and is asked of the decoder."""
    return token_loss(model(tokens[:, :-1], tokens[:, :-1]), tokens[:, 1:], pad_id=0)


def compare_recipes():
    """Compare the series' training with the plain recipe, for both models of chapter 5."""
    size = len(Vocabulary.from_words(load_words()))
    mini = compare_training(
        "MiniFormer", lambda: MiniFormer(size, dropout=0.1), lambda model, x: model(x), next_token_loss,
        required=15, epochs=40, lr=1e-2, weight_decay=1.0,
    )  # fmt: skip
    full = compare_training(
        "FullTransformer that is given the answer", lambda: Transformer(TransformerConfig(size, size)),
        lambda model, x: model(x, x), copying_loss, required=8, epochs=20, lr=1e-2, weight_decay=1.0, batch_size=32,
    )  # fmt: skip
    return mini and full


def compare_multi_head_attention():
    """Compare `MultiHeadAttention` with `nn.MultiheadAttention`, forward and backward: batch 8, length 256."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(D_MODEL, HEADS, batch_first=True)
    ours, x, good = MultiHeadAttention.from_torch(theirs), torch.randn(8, 256, D_MODEL, requires_grad=True), True
    for weights in (False, True):
        ratio = ratio_of(
            lambda: theirs(x, x, x, need_weights=weights)[0].sum().backward(),  # noqa: B023 - called in this turn
            lambda: ours(x, x, x, need_weights=weights)[0].sum().backward(),  # noqa: B023
            turns=25, warm_up=2,
        )  # fmt: skip
        good &= said(f"multi-head attention, {'with' if weights else 'without'} weights", ratio, 1)
    return good


class TorchTransformer(nn.Module):
    """`nn.Transformer` between our embeddings and an output layer: the same sizes as ours."""

    def __init__(self, max_length, dropout):
        super().__init__()
        self.source_embed = TokenEmbedding(WORDS, D_MODEL, max_length, dropout)
        self.target_embed = TokenEmbedding(WORDS, D_MODEL, max_length, dropout)
        self.transformer = nn.Transformer(D_MODEL, HEADS, LAYERS, LAYERS, D_FF, dropout, batch_first=True)
        self.output = nn.Linear(D_MODEL, WORDS)

    def forward(self, source, target):
        padded = source == 0
        y = self.transformer(
            self.source_embed(source), self.target_embed(target), tgt_mask=~causal_mask(target.size(1)),
            src_key_padding_mask=padded, memory_key_padding_mask=padded, tgt_key_padding_mask=target == 0,
        )  # fmt: skip
        return self.output(y)


def training_step(model, tokens):
    """Return a function that makes one step of a model."""
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step():
        loss, count = token_loss(model(tokens[:, :-1], tokens[:, :-1]), tokens[:, 1:], pad_id=0)
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()

    return step


def compare_training_step():
    """Compare a training step of ours with `nn.Transformer`'s: batch 32, 3 + 3 layers, post-norm, no weights asked for."""
    good = True
    for length, dropout in ((32, 0.1), (32, 0.0), (64, 0.1), (64, 0.0)):
        torch.manual_seed(0)
        tokens = torch.randint(3, WORDS, (32, length + 1))
        lengths = torch.randint(length // 2, length + 1, (32, 1))
        tokens = tokens.masked_fill(torch.arange(length + 1) >= lengths, 0)
        sizes = (WORDS, WORDS, D_MODEL, HEADS, D_FF, LAYERS, dropout)
        ours = Transformer(TransformerConfig(*sizes, max_length=length, norm_first=False))
        theirs = TorchTransformer(length, dropout)
        ratio = ratio_of(training_step(theirs, tokens), training_step(ours, tokens), turns=7)
        good &= said(f"training step against nn.Transformer, length {length}, dropout {dropout}", ratio, 1)
    return good


@torch.no_grad()
def compare_generation(length=256, batch_size=4):
    """Compare generating with the key-value cache and without; both must give the same tokens."""
    torch.manual_seed(0)
    sizes = (WORDS, WORDS, D_MODEL, HEADS, D_FF, LAYERS)
    model = Transformer(TransformerConfig(*sizes, max_length=length)).eval()
    model.output.bias[2] = -1e9  # never <EOS>: every sentence gets its full length
    source, tokens = torch.randint(3, WORDS, (batch_size, 32)), {}

    def generate(use_cache):
        tokens[use_cache] = model.generate(source, length, use_cache=use_cache)

    ratio = ratio_of(lambda: generate(False), lambda: generate(True), turns=1, warm_up=0)
    same = torch.equal(tokens[True], tokens[False])
    return said(f"{length} tokens with the cache against without", ratio, 5, f"; the same tokens: {same}") and same


def main():
    """Run every comparison; exit with 1 if one falls short."""
    print(f"This takes five to eight minutes ({torch.get_num_threads()} threads).", flush=True)
    start = time.perf_counter()
    comparisons = (compare_multi_head_attention, compare_training_step, compare_generation, compare_recipes)
    good = [compare() for compare in comparisons]
    print(f"{sum(good)} of {len(good)} groups are good enough, after {time.perf_counter() - start:.0f} s")
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
