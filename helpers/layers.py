"""What a Transformer is stacked from: positions, embedding, feed-forward network, encoder and decoder layer."""

import copy
import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from helpers.attention import MultiHeadAttention
from helpers.common import check_choice, check_number, check_size


def sinusoidal_encoding(length, d_model):
    """Return the sinusoidal position encoding, (length, d_model) ("Attention Is All You Need", section 3.5).

    Even columns hold sines, odd columns cosines; their wavelengths grow from 2π to 10000 · 2π. An odd `d_model` ends
    on a sine.
    """
    check_size("length", length)
    check_size("d_model", d_model)
    position = torch.arange(length, dtype=torch.float32).unsqueeze(1)  # (length,) → (length, 1)
    even = torch.arange(0, d_model, 2, dtype=torch.float32)  # (⌈d_model/2⌉,)
    angle = position / 10000 ** (even / d_model)  # (length, ⌈d_model/2⌉)
    encoding = torch.zeros(length, d_model)
    encoding[:, 0::2] = angle.sin()
    encoding[:, 1::2] = angle[:, : d_model // 2].cos()
    return encoding


class TokenEmbedding(nn.Module):
    """Embedding times √d_model, plus the position encoding, then dropout (the paper's sections 3.4, 3.5, 5.4)."""

    def __init__(self, vocab_size, d_model, max_length, dropout=0.0):
        super().__init__()
        for name, size in (("vocab_size", vocab_size), ("d_model", d_model), ("max_length", max_length)):
            check_size(name, size)
        check_number("dropout", dropout, low=0, below=1)
        self.embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)  # so that embedding · √d_model has variance 1
        # Not a buffer: a model that is made on the meta device and then loaded would keep garbage in it.
        self.positions = sinusoidal_encoding(max_length, d_model)
        self.dropout = nn.Dropout(dropout)
        self.scale = math.sqrt(d_model)

    def forward(self, tokens, first=0):
        """(B, T) → (B, T, d_model); the first of the tokens stands at position `first`."""
        x = self.embedding(tokens) * self.scale
        if self.positions.device != x.device:
            self.positions = sinusoidal_encoding(*self.positions.shape).to(x.device)
        return self.dropout(x + self.positions[first : first + tokens.size(1)].to(x.dtype))


class FeedForward(nn.Sequential):
    """Two linear maps with a ReLU between them, the same at every position (the paper's section 3.3, equation 2)."""

    def __init__(self, d_model, d_ff):
        check_size("d_model", d_model)
        check_size("d_ff", d_ff)
        super().__init__(nn.Linear(d_model, d_ff), nn.ReLU(), nn.Linear(d_ff, d_model))


class Layer(nn.Module):
    """What both kinds of layer share: where the layer norm of a residual connection stands.

    norm_first=False is the paper's order, LayerNorm(x + Sublayer(x)); norm_first=True is pre-norm,
    x + Sublayer(LayerNorm(x)). Dropout acts on the sublayer's output, as in the paper's section 5.4, and nowhere else:
    PyTorch's layers also drop attention weights and hidden units.
    """

    def __init__(self, dropout, norm_first):
        super().__init__()
        check_number("dropout", dropout, low=0, below=1)
        check_choice("norm_first", norm_first, (True, False))
        self.dropout = nn.Dropout(dropout)
        self.norm_first = norm_first

    def before(self, norm, x):
        """Return what goes into the sublayer."""
        return norm(x) if self.norm_first else x

    def after(self, norm, x, sublayer_output):
        """Return what comes out of the residual connection."""
        x = x + self.dropout(sublayer_output)
        return x if self.norm_first else norm(x)

    @classmethod
    def from_torch(cls, layer):
        """Return a copy of the `nn.TransformerEncoderLayer` or `nn.TransformerDecoderLayer` that has this layer's parts.

        In evaluation mode the copy computes the same. In training PyTorch's layer drops hidden units too.

        Raises:
            TypeError: `layer` is something else.
            ValueError: its activation is not ReLU, or its linear maps have no bias.
        """
        if not isinstance(layer, cls.counterpart):
            raise TypeError(f"layer is {type(layer).__name__}, not {cls.counterpart.__name__}")
        if layer.activation is not F.relu and not isinstance(layer.activation, nn.ReLU):
            raise ValueError(f"layer has the activation {layer.activation}; {cls.__name__} has ReLU")
        if layer.linear1.bias is None:
            raise ValueError(f"layer was made with bias=False; {cls.__name__} has biases")
        ours = cls(
            layer.self_attn.embed_dim, layer.self_attn.num_heads, layer.linear1.out_features,
            layer.dropout1.p, layer.norm_first,
        )  # fmt: skip
        ours.self_attention = MultiHeadAttention.from_torch(layer.self_attn)
        if hasattr(ours, "cross_attention"):
            ours.cross_attention = MultiHeadAttention.from_torch(layer.multihead_attn)
            ours.norm_3 = copy.deepcopy(layer.norm3)
        ours.feed_forward[0], ours.feed_forward[2] = copy.deepcopy(layer.linear1), copy.deepcopy(layer.linear2)
        ours.norm_1, ours.norm_2 = copy.deepcopy(layer.norm1), copy.deepcopy(layer.norm2)
        return ours.train(layer.training)


class EncoderLayer(Layer):
    """Self-attention, then feed-forward, each inside a residual connection. (B, T, d_model) → (B, T, d_model)."""

    counterpart = nn.TransformerEncoderLayer

    def __init__(self, d_model, num_heads, d_ff, dropout=0.0, norm_first=True):
        super().__init__(dropout, norm_first)
        self.self_attention = MultiHeadAttention(d_model, num_heads)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.norm_1, self.norm_2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def forward(self, x, mask=None, need_weights=True):
        y = self.before(self.norm_1, x)
        y, weights = self.self_attention(y, y, y, mask, need_weights)
        x = self.after(self.norm_1, x, y)
        y = self.feed_forward(self.before(self.norm_2, x))
        return self.after(self.norm_2, x, y), weights


class LayerCache(NamedTuple):
    """What a decoder layer keeps while generating, so that nothing is projected twice.

    The self-attention's keys and values grow by one position a step, (B, H, t, D), and are None at first; the
    cross-attention's, (B, H, S, D), are made once for a source.
    """

    self_key: torch.Tensor | None
    self_value: torch.Tensor | None
    cross_key: torch.Tensor
    cross_value: torch.Tensor


class DecoderLayer(Layer):
    """Masked self-attention, cross-attention to the encoder's output ("memory"), then feed-forward.

    The two attentions are two modules: sharing one would run, train, and be wrong.
    """

    counterpart = nn.TransformerDecoderLayer

    def __init__(self, d_model, num_heads, d_ff, dropout=0.0, norm_first=True):
        super().__init__(dropout, norm_first)
        self.self_attention = MultiHeadAttention(d_model, num_heads)
        self.cross_attention = MultiHeadAttention(d_model, num_heads)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.norm_1, self.norm_2, self.norm_3 = nn.LayerNorm(d_model), nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def forward(self, x, memory, mask=None, memory_mask=None, need_weights=True):
        """All positions at once: the one step that begins with an empty cache."""
        return self.step(x, self.empty_cache(memory), mask, memory_mask, need_weights)[:3]

    def empty_cache(self, memory):
        """Return the cache before the first position of the target. `memory`: (B, S, d_model)."""
        return LayerCache(None, None, *self.cross_attention.project(memory, memory))

    def step(self, x, cache, mask=None, memory_mask=None, need_weights=True):
        """Run t new positions that follow the ones in `cache`.

        Args:
            x: the new positions, (B, t, d_model).
            cache: a `LayerCache` of the positions before, n of them.
            mask: which positions the new ones may attend to, broadcasts to (B, t, n + t); one new position may attend
                to all and needs none.
            memory_mask: which positions of the memory, broadcasts to (B, t, S).
            need_weights: whether the attention weights are wanted.

        Returns:
            x (B, t, d_model), the weights of self-attention and cross-attention (or None), and the longer cache.
        """
        y = self.before(self.norm_1, x)
        key, value = self.self_attention.project(y, y)  # (B, t, d_model) → (B, H, t, D), two of them
        if cache.self_key is not None:
            key = torch.cat([cache.self_key, key], dim=2)  # (B, H, n, D), (B, H, t, D) → (B, H, n + t, D)
            value = torch.cat([cache.self_value, value], dim=2)
        y, self_weights = self.self_attention(y, key, value, mask, need_weights)
        x = self.after(self.norm_1, x, y)
        y = self.before(self.norm_2, x)
        y, cross_weights = self.cross_attention(y, cache.cross_key, cache.cross_value, memory_mask, need_weights)
        x = self.after(self.norm_2, x, y)
        y = self.feed_forward(self.before(self.norm_3, x))
        cache = LayerCache(key, value, cache.cross_key, cache.cross_value)
        return self.after(self.norm_3, x, y), self_weights, cross_weights, cache
