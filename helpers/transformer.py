"""The Transformer: the encoder-decoder, how it translates, and where its parts can be had.

The parts are in `transformer_layers`, the sizes in `transformer_config`, MiniFormer in `miniformer`.
"""

import torch
from torch import nn

from helpers import generation
from helpers.attention import causal_mask, check_tokens, padding_mask
from helpers.internals import run_with_internals
from helpers.masks import check_ids
from helpers.miniformer import MiniFormer  # noqa: F401  (part of this room's contract, as are the other two)
from helpers.modes import evaluating
from helpers.transformer_config import TransformerConfig  # noqa: F401
from helpers.transformer_copy import copy_of_torch
from helpers.transformer_layers import (  # noqa: F401
    DecoderLayer,
    EncoderLayer,
    FeedForward,
    Layer,
    LayerCache,
    TokenEmbedding,
    sinusoidal_encoding,
)


class Transformer(nn.Module):
    """The encoder-decoder of "Attention Is All You Need" (figure 1).

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
        final_norm = c.norm_first if c.final_norm is None else c.final_norm
        self.encoder_norm = nn.LayerNorm(c.d_model) if final_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(c.d_model) if final_norm else nn.Identity()
        self.output = nn.Linear(c.d_model, c.target_vocab_size, bias=not c.tie_embeddings)
        if c.shared_vocabulary:
            self.source_embed.embedding = self.target_embed.embedding
        if c.tie_embeddings:
            self.output.weight = self.target_embed.embedding.weight  # both (V, d_model); Press and Wolf 2017

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

        Raises:
            TypeError, ValueError: ids that are not whole numbers, that are outside the vocabulary, too many of them, a
                source of nothing but padding, or batches that differ in size.
        """
        self._check_source(source)
        self._check_ids(target, "target", self.config.target_vocab_size)
        if source.size(0) != target.size(0):
            raise ValueError(f"source holds {source.size(0)} sequences, target {target.size(0)}; they go in pairs")
        memory, encoder_weights = self.encode(source, source_mask, return_attention)
        visible = self._visible(source, memory_mask)  # (B, 1, S) or (B, T, S)
        x, self_weights, cross_weights = self.decode(target, memory, visible, return_attention)
        logits = self.output(x)  # (B, T, d_model) → (B, T, V)
        attention = {"encoder": encoder_weights, "decoder": self_weights, "cross": cross_weights}
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

    def decode(self, target, memory, memory_mask, return_attention=False):
        """Return the decoder's output, (B, T, d_model), and two lists of weights: self-attention, cross-attention."""
        x = self.target_embed(target)  # (B, T) → (B, T, d_model)
        mask = causal_mask(target.size(1), target.device) & padding_mask(target, self.config.pad_id)  # (B, T, T)
        attention = []
        for layer in self.decoder_layers:
            x, *weights = layer(x, memory, mask, memory_mask, need_weights=return_attention)
            attention.append(weights)
        return self.decoder_norm(x), *map(list, zip(*attention))

    def generate(
        self, source, max_length=None, strategy="greedy", top_k=None, temperature=1.0, beam_size=4, length_penalty=0.6,
        use_cache=True, bos_id=1, eos_id=2, generator=None,
    ):  # fmt: skip
        """Write a target for each source, in evaluation mode (the model's mode is put back).

        Args:
            source: ids, (B, S).
            max_length: most tokens a target may get, `<EOS>` counted (default: as many as the model can read).
            strategy, top_k, temperature, beam_size, length_penalty, bos_id, eos_id, generator: as in
                `helpers.generation.generate`.
            use_cache: whether to keep the keys and values of earlier positions, instead of computing them at each step.

        Returns:
            tokens (B, T) without `<BOS>`; each row ends in `<EOS>`, then `<PAD>`, or is cut at `max_length`.
        """
        self._check_source(source, anywhere=True)
        max_length = self.config.max_length if max_length is None else max_length
        if isinstance(max_length, int) and max_length > self.config.max_length:
            raise ValueError(f"max_length={max_length} is more than the model's max_length={self.config.max_length}")
        with evaluating(self), torch.no_grad():
            start, step = (self.start, self.step) if use_cache else (self.start_anew, self.step_anew)
            tokens, _ = generation.generate(
                step, start(source), len(source), max_length=max_length, bos_id=bos_id, eos_id=eos_id,
                pad_id=self.config.pad_id, device=source.device, strategy=strategy, top_k=top_k,
                temperature=temperature, beam_size=beam_size, length_penalty=length_penalty, generator=generator,
            )  # fmt: skip
        return tokens

    def start(self, source):
        """Return the state before the first target token: an empty cache for each decoder layer, and what is visible."""
        memory, _ = self.encode(source)
        layers = [layer.empty_cache(memory) for layer in self.decoder_layers]
        return {"position": 0, "layers": layers, "visible": self._visible(source)}

    def step(self, tokens, state):
        """Read one more target token a row, (N,); return the logits of the next, (N, V), and the new state."""
        x = self.target_embed(tokens.unsqueeze(1), first=state["position"])  # (N,) → (N, 1) → (N, 1, d_model)
        caches = []
        for layer, cache in zip(self.decoder_layers, state["layers"]):
            x, _, _, cache = layer.step(x, cache, memory_mask=state["visible"], need_weights=False)
            caches.append(cache)
        logits = self.output(self.decoder_norm(x)).squeeze(1)  # (N, 1, d_model) → (N, 1, V) → (N, V)
        return logits, state | {"position": state["position"] + 1, "layers": caches}

    def start_anew(self, source):
        """Return the state before the first target token for `step_anew`: the memory, and no tokens."""
        memory, _ = self.encode(source)
        return {"target": source[:, :0], "memory": memory, "visible": self._visible(source)}

    def step_anew(self, tokens, state):
        """As `step`, without a cache: run the decoder over everything written so far."""
        target = torch.cat([state["target"], tokens.unsqueeze(1)], dim=1)  # (N, t), (N, 1) → (N, t + 1)
        x, _, _ = self.decode(target, state["memory"], state["visible"])
        return self.output(x[:, -1]), state | {"target": target}  # (N, d_model) → (N, V)

    def inspect(self, source, target, **masks):
        """Run the model and return `helpers.internals.Internals`: logits, attention weights, ReLU outputs, stream.

        Args:
            source, target, **masks: as for a call of the model.
        """
        return run_with_internals(self, source, target, **masks)

    def _visible(self, source, mask=None):
        """Combine a mask with the source's padding mask."""
        padding = padding_mask(source, self.config.pad_id)  # (B, 1, S)
        return padding if mask is None else padding & mask

    def _check_ids(self, tokens, name, vocab_size, anywhere=False):
        """Check shape and ids; return whether it looked into the tensor.

        Looking makes a GPU wait, so it is done on the CPU, and elsewhere only where `anywhere` asks for it.
        """
        check_tokens(tokens, name, self.config.max_length)
        looks = tokens.device.type == "cpu" or (anywhere and not tokens.is_meta)
        if looks:
            check_ids(tokens, name, vocab_size)
        return looks

    def _check_source(self, source, anywhere=False):
        if self._check_ids(source, "source", self.config.source_vocab_size, anywhere):
            empty = (source == self.config.pad_id).all(dim=1).nonzero().flatten().tolist()
            if empty:
                raise ValueError(f"source holds nothing but padding in row {empty[0]}; there is nothing to attend to")

    @classmethod
    def from_torch(cls, module, source_embedding, target_embedding, output, max_length=512, pad_id=0):
        """Return a copy of an `nn.Transformer` with the embeddings and the output layer that it lacks.

        In evaluation mode the copy's logits are `output(module(...))` on embedded tokens, an embedding being
        `embedding(tokens) * √d_model + sinusoidal_encoding(...)`. (`nn.Transformer` ends each stack with a layer norm in
        both norm orders, which the paper does not.)

        Args:
            module: an `nn.Transformer` with as many encoder as decoder layers.
            source_embedding, target_embedding: `nn.Embedding`s, (V, d_model); the same one twice for one vocabulary.
            output: an `nn.Linear` from d_model to the target vocabulary; its weight may be the target embedding's.
            max_length: the longest sequence that the copy can read.
            pad_id: the id of padding.

        Raises:
            TypeError: not an `nn.Transformer`, or not such layers in it.
            ValueError: sizes that do not fit, or something in it that has no counterpart here; names it.
        """
        return copy_of_torch(cls, module, source_embedding, target_embedding, output, max_length, pad_id)
