"""The Transformer: positions, layers, MiniFormer (causal self-attention only) and the encoder-decoder Transformer."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from helpers.attention import MultiHeadAttention, causal_mask, check_tokens, padding_mask


def sinusoidal_encoding(length, d_model):
    """Return the sinusoidal position encoding, (length, d_model) ("Attention Is All You Need", section 3.5).

    Even columns hold sines, odd columns cosines; their wavelengths grow from 2π to 10000 · 2π. An odd `d_model` ends
    on a sine.
    """
    if length < 1 or d_model < 1:
        raise ValueError(f"length={length} and d_model={d_model} must both be at least 1")
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
        self.embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)  # so that embedding · √d_model has variance 1
        self.register_buffer("positions", sinusoidal_encoding(max_length, d_model), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.scale = math.sqrt(d_model)

    def forward(self, tokens):
        x = self.embedding(tokens) * self.scale + self.positions[: tokens.size(1)]  # (B, T) → (B, T, d_model)
        return self.dropout(x)


class FeedForward(nn.Sequential):
    """Two linear maps with a ReLU between them, the same at every position (the paper's section 3.3, equation 2)."""

    def __init__(self, d_model, d_ff):
        super().__init__(nn.Linear(d_model, d_ff), nn.ReLU(), nn.Linear(d_ff, d_model))


class Layer(nn.Module):
    """What both kinds of layer share: where the layer norm of a residual connection stands.

    norm_first=False is the paper's order, LayerNorm(x + Sublayer(x)); norm_first=True is pre-norm,
    x + Sublayer(LayerNorm(x)). Dropout acts on the sublayer's output, as in the paper's section 5.4, and nowhere else:
    PyTorch's layers also drop attention weights and hidden units.
    """

    def __init__(self, dropout, norm_first):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.norm_first = norm_first

    def before(self, norm, x):
        """Return what goes into the sublayer."""
        return norm(x) if self.norm_first else x

    def after(self, norm, x, sublayer_output):
        """Return what comes out of the residual connection."""
        x = x + self.dropout(sublayer_output)
        return x if self.norm_first else norm(x)


class EncoderLayer(Layer):
    """Self-attention, then feed-forward, each inside a residual connection. (B, T, d_model) → (B, T, d_model)."""

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


class DecoderLayer(Layer):
    """Masked self-attention, cross-attention to the encoder's output ("memory"), then feed-forward.

    The two attentions are two modules: sharing one would run, train, and be wrong.
    """

    def __init__(self, d_model, num_heads, d_ff, dropout=0.0, norm_first=True):
        super().__init__(dropout, norm_first)
        self.self_attention = MultiHeadAttention(d_model, num_heads)
        self.cross_attention = MultiHeadAttention(d_model, num_heads)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.norm_1, self.norm_2, self.norm_3 = nn.LayerNorm(d_model), nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def forward(self, x, memory, mask=None, memory_mask=None, need_weights=True):
        y = self.before(self.norm_1, x)
        y, self_weights = self.self_attention(y, y, y, mask, need_weights)
        x = self.after(self.norm_1, x, y)
        y = self.before(self.norm_2, x)
        y, cross_weights = self.cross_attention(y, memory, memory, memory_mask, need_weights)
        x = self.after(self.norm_2, x, y)
        y = self.feed_forward(self.before(self.norm_3, x))
        return self.after(self.norm_3, x, y), self_weights, cross_weights


class MiniFormer(nn.Module):
    """The smallest honest Transformer language model: causal self-attention only, no encoder and no decoder split.

    Args:
        vocab_size: number of symbols V, the special ones included.
        d_model, num_heads, num_layers: width, heads a layer, layers.
        max_length: the longest sequence it can read.
        d_ff: width of the feed-forward layer (default: 4 · d_model, the paper's ratio).
        dropout: as in the paper's section 5.4.
        pad_id: the id of padding, which is never attended to.
    """

    def __init__(
        self, vocab_size, d_model=32, num_heads=1, num_layers=1, max_length=16, d_ff=None, dropout=0.0, pad_id=0
    ):
        super().__init__()
        self.max_length, self.pad_id = max_length, pad_id
        self.embed = TokenEmbedding(vocab_size, d_model, max_length, dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, num_heads, d_ff or 4 * d_model, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.output = nn.Linear(d_model, vocab_size)

    def forward(self, tokens, return_attention=False):
        """Predict each next token.

        Args:
            tokens: ids, (B, T).
            return_attention: whether to return the attention weights too.

        Returns:
            logits (B, T, V); with `return_attention`, also a list with one (B, H, T, T) tensor of weights a layer.
        """
        check_tokens(tokens, max_length=self.max_length)
        mask = causal_mask(tokens.size(1), tokens.device) & padding_mask(tokens, self.pad_id)  # (B, T, T)
        x = self.embed(tokens)  # (B, T) → (B, T, d_model)
        attention = []
        for layer in self.layers:
            x, weights = layer(x, mask, need_weights=return_attention)
            attention.append(weights)
        logits = self.output(self.norm(x))  # (B, T, d_model) → (B, T, V)
        return (logits, attention) if return_attention else logits


@dataclass(frozen=True)
class TransformerConfig:
    """The sizes of a `Transformer`. The defaults are chapter 5's FullTransformer.

    Raises:
        ValueError: a size is not positive, or `num_heads` does not divide `d_model`.
    """

    source_vocab_size: int
    target_vocab_size: int
    d_model: int = 64
    num_heads: int = 4
    d_ff: int = 128
    num_layers: int = 2  # of the encoder, and as many of the decoder
    dropout: float = 0.0
    max_length: int = 16
    norm_first: bool = True
    pad_id: int = 0

    def __post_init__(self):
        sizes = ("source_vocab_size", "target_vocab_size", "d_model", "num_heads", "d_ff", "num_layers", "max_length")
        for name in sizes:
            size = getattr(self, name)
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name}={size!r} must be a positive whole number")
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide d_model={self.d_model}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout!r} must be at least 0 and below 1")


class Transformer(nn.Module):
    """The encoder-decoder of "Attention Is All You Need" (figure 1), built from the layers above.

    Args:
        config: a `TransformerConfig`.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        c = config
        self.source_embed = TokenEmbedding(c.source_vocab_size, c.d_model, c.max_length, c.dropout)
        self.target_embed = TokenEmbedding(c.target_vocab_size, c.d_model, c.max_length, c.dropout)
        sizes = (c.d_model, c.num_heads, c.d_ff, c.dropout, c.norm_first)
        self.encoder_layers = nn.ModuleList(EncoderLayer(*sizes) for _ in range(c.num_layers))
        self.decoder_layers = nn.ModuleList(DecoderLayer(*sizes) for _ in range(c.num_layers))
        # With pre-norm nothing has normalised the sum that leaves the last layer; with the paper's order it has been.
        self.encoder_norm = nn.LayerNorm(c.d_model) if c.norm_first else nn.Identity()
        self.decoder_norm = nn.LayerNorm(c.d_model) if c.norm_first else nn.Identity()
        self.output = nn.Linear(c.d_model, c.target_vocab_size)

    def forward(self, source, target, source_mask=None, memory_mask=None, return_attention=False):
        """Predict each next target token from the source and the target tokens so far.

        Padding is hidden everywhere and the target's future from the target; the two masks hide more.

        Args:
            source: ids, (B, S).
            target: ids, (B, T).
            source_mask: boolean, True = may attend, broadcasts to (B, S, S): what the encoder may see.
            memory_mask: the same for the decoder's look at the encoder, (B, T, S).
            return_attention: whether to return the attention weights too.

        Returns:
            logits (B, T, V); with `return_attention`, also a dictionary: "encoder", "decoder" and "cross" each hold a
            list with one tensor of weights a layer: (B, H, S, S), (B, H, T, T) and (B, H, T, S).
        """
        check_tokens(source, "source", self.config.max_length)
        check_tokens(target, "target", self.config.max_length)
        if source.size(0) != target.size(0):
            raise ValueError(f"source holds {source.size(0)} sequences, target {target.size(0)}; they go in pairs")
        memory, encoder_weights = self.encode(source, source_mask, return_attention)
        visible = self._visible(source, memory_mask)  # (B, 1, S) or (B, T, S)
        x = self.target_embed(target)  # (B, T) → (B, T, d_model)
        mask = causal_mask(target.size(1), target.device) & padding_mask(target, self.config.pad_id)  # (B, T, T)
        attention = {"encoder": encoder_weights, "decoder": [], "cross": []}
        for layer in self.decoder_layers:
            x, self_weights, cross_weights = layer(x, memory, mask, visible, need_weights=return_attention)
            attention["decoder"].append(self_weights)
            attention["cross"].append(cross_weights)
        logits = self.output(self.decoder_norm(x))  # (B, T, d_model) → (B, T, V)
        return (logits, attention) if return_attention else logits

    def encode(self, source, source_mask=None, return_attention=False):
        """Return the encoder's output ("memory"), (B, S, d_model), and a list of its attention weights."""
        mask = self._visible(source, source_mask)
        x = self.source_embed(source)  # (B, S) → (B, S, d_model)
        attention = []
        for layer in self.encoder_layers:
            x, weights = layer(x, mask, need_weights=return_attention)
            attention.append(weights)
        return self.encoder_norm(x), attention

    def _visible(self, source, mask):
        """Combine a mask with the source's padding mask."""
        padding = padding_mask(source, self.config.pad_id)  # (B, 1, S)
        return padding if mask is None else padding & mask
