"""MiniFormer: the smallest honest Transformer language model. Readers meet it through `helpers.transformer`."""

from torch import nn

from helpers.attention import causal_mask, check_tokens, padding_mask
from helpers.transformer_layers import EncoderLayer, TokenEmbedding


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
