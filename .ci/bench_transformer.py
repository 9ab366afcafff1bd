"""Speed of `helpers.transformer`, as ratios in one run; `bench.py` calls these."""

import resource
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from helpers.attention import causal_mask
from helpers.layers import TokenEmbedding
from helpers.training import token_loss
from helpers.transformer import Transformer, TransformerConfig

VOCABULARY, D_MODEL, HEADS, D_FF, LAYERS = 300, 256, 8, 1024, 3


def peak_memory():
    """Return the most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


class TorchTransformer(nn.Module):
    """`nn.Transformer` between our embeddings and an output layer: the same sizes as ours."""

    def __init__(self, max_length, dropout):
        super().__init__()
        self.source_embed = TokenEmbedding(VOCABULARY, D_MODEL, max_length, dropout)
        self.target_embed = TokenEmbedding(VOCABULARY, D_MODEL, max_length, dropout)
        self.transformer = nn.Transformer(
            D_MODEL, HEADS, LAYERS, LAYERS, D_FF, dropout, batch_first=True, norm_first=False
        )
        self.output = nn.Linear(D_MODEL, VOCABULARY)

    def forward(self, source, target):
        padded = source == 0
        y = self.transformer(
            self.source_embed(source), self.target_embed(target), tgt_mask=~causal_mask(target.size(1)),
            src_key_padding_mask=padded, memory_key_padding_mask=padded, tgt_key_padding_mask=target == 0,
        )  # fmt: skip
        return self.output(y)


def compare_training_step(turns=7):
    """Print how fast a training step of ours is against `nn.Transformer`'s; batch 32, lengths 32 and 64, post-norm.

    d_model 256, 8 heads, 3 + 3 layers, dropout 0.1 and 0, no weights asked for. A ratio is the median of theirs over
    ours within one turn.
    """
    good = True
    for length in (32, 64):
        for dropout in (0.1, 0.0):
            torch.manual_seed(0)
            tokens = torch.randint(3, VOCABULARY, (32, length + 1))
            lengths = torch.randint(length // 2, length + 1, (32, 1))
            tokens = tokens.masked_fill(torch.arange(length + 1) >= lengths, 0)
            config = TransformerConfig(
                VOCABULARY, VOCABULARY, D_MODEL, HEADS, D_FF, LAYERS, dropout, max_length=length, norm_first=False
            )
            models = [TorchTransformer(length, dropout), Transformer(config)]
            ways = [(model, torch.optim.AdamW(model.parameters(), fused=True)) for model in models]
            ratios, ours = [], []
            for turn in range(turns + 1):
                seconds = []
                for model, optimizer in ways if turn % 2 else ways[::-1]:  # each goes first as often
                    start = time.perf_counter()
                    loss, count = token_loss(model(tokens[:, :-1], tokens[:, :-1]), tokens[:, 1:], pad_id=0)
                    optimizer.zero_grad()
                    (loss / count).backward()
                    optimizer.step()
                    seconds.append(time.perf_counter() - start)
                if turn >= 1:  # one turn to warm up
                    theirs, own = seconds if turn % 2 else seconds[::-1]
                    ratios.append(theirs / own)
                    ours.append(own)
            ratio = statistics.median(ratios)
            print(
                f"training step, length {length}, dropout {dropout}: {statistics.median(ours):.3f} s, {ratio:.2f} times "
                f"nn.Transformer's speed, 1 required; peak memory {peak_memory():.0f} MiB"
            )
            good = good and ratio >= 1
    return good


@torch.no_grad()
def compare_generation(length=256, batch_size=4):
    """Print how much faster 256 tokens are generated with the key-value cache than without; 5 times is required."""
    torch.manual_seed(0)
    config = TransformerConfig(VOCABULARY, VOCABULARY, D_MODEL, HEADS, D_FF, LAYERS, max_length=length)
    model = Transformer(config).eval()
    model.output.bias[2] = -1e9  # never <EOS>: every sentence gets its 256 tokens
    source = torch.randint(3, VOCABULARY, (batch_size, 32))
    seconds, tokens = [], []
    for use_cache in (True, False):
        start = time.perf_counter()
        tokens.append(model.generate(source, length, use_cache=use_cache))
        seconds.append(time.perf_counter() - start)
    same, ratio = torch.equal(*tokens), seconds[1] / seconds[0]
    print(
        f"generating {length} tokens for {batch_size} sentences: {seconds[0]:.2f} s with the cache, {seconds[1]:.2f} s "
        f"without: {ratio:.1f} times as fast, 5 required; the same tokens: {same}; peak memory {peak_memory():.0f} MiB"
    )
    return same and ratio >= 5


if __name__ == "__main__":
    sys.exit(not all([compare_training_step(), compare_generation()]))
