"""Speed comparisons, each a ratio between two ways of doing the same thing in one run. Called by `make bench`."""

import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench_seq2seq import compare_seq2seq
from bench_transformer import compare_generation, compare_training_step

from helpers.attention import MultiHeadAttention
from helpers.data import load_words, split_words
from helpers.text import Vocabulary
from helpers.training import fit, next_token_loss, seed_everything, token_loss
from helpers.transformer import MiniFormer, Transformer, TransformerConfig


class WordDataset(Dataset):
    """The plain recipe's data: one padded word at a time."""

    def __init__(self, tokens):
        self.tokens = tokens

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        return self.tokens[index, :-1], self.tokens[index, 1:]


def plain_training(model, predict, train, validation, epochs=100):
    """Train as many a tutorial does: batches of 16 from a DataLoader, Adam at 1e-3, no schedule.

    Returns the validation loss per token after each epoch, and the seconds all of it took.
    """
    loader = DataLoader(WordDataset(train), batch_size=16, shuffle=True)
    check = DataLoader(WordDataset(validation), batch_size=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses, start = [], time.perf_counter()
    for _ in range(epochs):
        model.train()
        for inputs, targets in loader:
            logits = predict(model, inputs)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for inputs, targets in check:
                logits = predict(model, inputs)
                total += F.cross_entropy(
                    logits.flatten(0, 1), targets.flatten(), ignore_index=0, reduction="sum"
                ).item()
                count += (targets != 0).sum().item()
        losses.append(total / count)
    return losses, time.perf_counter() - start


def copying_loss(model, tokens):
    """Chapter 5, section 5.3: the whole word goes into the encoder and is asked of the decoder."""
    return token_loss(model(tokens[:, :-1], tokens[:, :-1]), tokens[:, 1:], pad_id=0)


def compare_training(name, make, predict, loss, required, **recipe):
    """Print how much sooner the series' training reaches the loss that the plain recipe ends at."""
    split = split_words()
    vocabulary = Vocabulary.from_words(load_words())
    train, validation = vocabulary.encode_batch(split.train), vocabulary.encode_batch(split.validation)
    seed_everything(0)
    losses, plain_seconds = plain_training(make(), predict, train, validation)
    seed_everything(0)
    history = fit(make(), train, validation, loss, progress=False, **recipe)
    reached = [s for s, value in zip(history.seconds, history.validation, strict=True) if value <= losses[-1]]
    if not reached:
        print(f"{name}: plain ends at {losses[-1]:.4f}; the series' training got only to {history.best:.4f}")
        return False
    ratio = plain_seconds / reached[0]
    print(
        f"{name}: plain recipe {plain_seconds:.1f} s to a validation loss of {losses[-1]:.4f} (its best was "
        f"{min(losses):.4f}); the series' training was there after {reached[0]:.2f} s (best: {history.best:.4f}): "
        f"{ratio:.0f} times sooner, {required} required"
    )
    return ratio >= required


def compare_multi_head_attention(turns=25):
    """Print how `MultiHeadAttention` compares with `nn.MultiheadAttention`, forward and backward, turn by turn.

    d_model 256, 8 heads, length 256, batch 8; a ratio is the median of PyTorch's time over ours within one turn.
    """
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(256, 8, batch_first=True)
    ours = MultiHeadAttention.from_torch(theirs)
    x = torch.randn(8, 256, 256, requires_grad=True)
    ways = {
        "without weights": (
            lambda: theirs(x, x, x, need_weights=False)[0],
            lambda: ours(x, x, x, need_weights=False)[0],
        ),
        "with weights": (lambda: theirs(x, x, x)[0], lambda: ours(x, x, x)[0]),
    }
    ratios = {name: [] for name in ways}
    for turn in range(turns + 2):
        for name, pair in ways.items():
            seconds = []
            for way in pair if turn % 2 else pair[::-1]:  # each goes first as often
                start = time.perf_counter()
                way().sum().backward()
                seconds.append(time.perf_counter() - start)
            if turn >= 2:  # two turns to warm up
                first, second = seconds
                ratios[name].append(first / second if turn % 2 else second / first)
    good = True
    for name, values in ratios.items():
        ratio = statistics.median(values)
        print(f"multi-head attention {name}: {ratio:.2f} times nn.MultiheadAttention's speed, 1 required")
        good = good and ratio >= 1
    return good


def main():
    """Run every comparison; exit with 1 if one falls short."""
    size = len(Vocabulary.from_words(load_words()))
    config = TransformerConfig(size, size)
    good = [
        compare_training(
            "MiniFormer", lambda: MiniFormer(size, dropout=0.1), lambda model, x: model(x), next_token_loss,
            required=15, epochs=40, lr=1e-2, weight_decay=1.0,
        ),
        compare_training(
            "FullTransformer that is given the answer", lambda: Transformer(config), lambda model, x: model(x, x),
            copying_loss, required=8, epochs=20, lr=1e-2, weight_decay=1.0, batch_size=32,
        ),
    ]  # fmt: skip
    good += [compare_multi_head_attention(), compare_training_step(), compare_generation()]
    good.append(compare_seq2seq())  # last: it sets the number of threads to one
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
