"""MiniFormer, and the Transformer: its sizes, how it translates, what goes on inside, and the copy of PyTorch's."""

from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import nn

from helpers import generation
from helpers.attention import causal_mask, padding_mask
from helpers.common import check_choice, check_number, check_sequences, check_size, check_special, evaluating
from helpers.layers import DecoderLayer, EncoderLayer, TokenEmbedding


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
        check_size("d_model", d_model)
        check_size("num_layers", num_layers)
        d_ff = 4 * d_model if d_ff is None else d_ff
        self.embed = TokenEmbedding(vocab_size, d_model, max_length, dropout)
        check_special(vocab_size, pad_id=pad_id)
        self.max_length, self.pad_id = max_length, pad_id
        self.layers = nn.ModuleList(EncoderLayer(d_model, num_heads, d_ff, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(d_model)
        self.output = nn.Linear(d_model, vocab_size)

    def forward(self, tokens, return_attention=False):
        """Predict each next token.

        Args:
            tokens: ids, (B, T).
            return_attention: whether to return the attention weights too.

        Returns:
            logits (B, T, V); with `return_attention`, also a list with one (B, H, T, T) tensor of weights a layer.

        Raises:
            TypeError, ValueError: as `Transformer.forward`.
        """
        check_sequences(tokens, "tokens", self.output.out_features, self.max_length, self.pad_id)
        mask = causal_mask(tokens.size(1), tokens.device) & padding_mask(tokens, self.pad_id)  # (B, T, T)
        x = self.embed(tokens)  # (B, T) → (B, T, d_model)
        attention = []
        for layer in self.layers:
            x, weights = layer(x, mask, need_weights=return_attention)
            attention.append(weights)
        logits = self.output(self.norm(x))  # (B, T, d_model) → (B, T, V)
        return (logits, attention) if return_attention else logits


QUIET = {"tie_embeddings": False, "shared_vocabulary": False, "final_norm": None}  # not printed when they are so


@dataclass(frozen=True, repr=False)
class TransformerConfig:
    """The sizes of a `Transformer`. The defaults are chapter 5's FullTransformer.

    Raises:
        TypeError, ValueError: a size that is no positive whole number, a switch that is neither True nor False,
            `num_heads` that does not divide `d_model`, or two settings that contradict each other.
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
    tie_embeddings: bool = False  # the output layer uses the target's embedding matrix, and has no bias
    shared_vocabulary: bool = False  # source and target use one embedding matrix
    final_norm: bool | None = None  # a norm after each stack; None: with pre-norm only, as pre-norm needs it

    def __repr__(self):
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        shown = [f"{name}={value!r}" for name, value in values.items() if name not in QUIET or value != QUIET[name]]
        return f"TransformerConfig({', '.join(shown)})"

    def __post_init__(self):
        sizes = ("source_vocab_size", "target_vocab_size", "d_model", "num_heads", "d_ff", "num_layers", "max_length")
        for name in sizes:
            check_size(name, getattr(self, name))
        for name in ("norm_first", "tie_embeddings", "shared_vocabulary"):
            check_choice(name, getattr(self, name), (True, False))
        check_choice("final_norm", self.final_norm, (True, False, None))
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide d_model={self.d_model}")
        check_number("dropout", self.dropout, low=0, below=1)
        check_special(min(self.source_vocab_size, self.target_vocab_size), pad_id=self.pad_id)
        if self.shared_vocabulary and self.source_vocab_size != self.target_vocab_size:
            raise ValueError(
                f"shared_vocabulary=True needs one size, but source_vocab_size={self.source_vocab_size} and "
                f"target_vocab_size={self.target_vocab_size}"
            )

    @classmethod
    def base(cls, **changes):
        """Return the base model of "Attention Is All You Need" (section 3 and the first row of table 3).

        One vocabulary of 37,000 symbols for both languages (section 5.1), one matrix for both embeddings and the
        output (section 3.4), the norm after each residual sum and none after the stacks. The paper gives no longest
        sequence; 512 here, which costs no parameters.

        Args:
            **changes: fields to set otherwise, such as `num_layers=2` for the row of table 3 with N = 2.
        """
        base = {
            "source_vocab_size": 37_000, "target_vocab_size": 37_000, "d_model": 512, "num_heads": 8, "d_ff": 2048,
            "num_layers": 6, "dropout": 0.1, "max_length": 512, "norm_first": False,
            "tie_embeddings": True, "shared_vocabulary": True,
        }  # fmt: skip
        return cls(**(base | changes))


class Internals(NamedTuple):
    """What `Transformer.inspect` returns. Every dictionary has the keys "encoder" and "decoder"; attention "cross" too.

    The tensors still hang on the graph, so that gradients can flow through them.
    """

    logits: object  # (B, T, V)
    attention: dict  # a list with one tensor of weights a layer: (B, H, S, S), (B, H, T, T), for "cross" (B, H, T, S)
    activations: dict  # a list with one tensor a layer: the feed-forward network after its ReLU, (B, S or T, d_ff)
    stream: dict  # a list with the embedded tokens and what leaves each layer: L + 1 times (B, S or T, d_model)
    last_hidden: dict  # what leaves the stack, after its final norm if it has one, (B, S or T, d_model)


class Transformer(nn.Module):
    """The encoder-decoder of "Attention Is All You Need" (figure 1).

    Args:
        config: a `TransformerConfig`.
    """

    def __init__(self, config):
        super().__init__()
        if not isinstance(config, TransformerConfig):
            raise TypeError(f"config is {type(config).__name__}, not a TransformerConfig")
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

    @property
    def pad_id(self):
        """The id of padding, the same in both vocabularies."""
        return self.config.pad_id

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
            TypeError, ValueError: ids that are not whole numbers, that are outside the vocabulary, too many of them,
                padding that is not on the right, a source of nothing but padding, or batches that differ in size. (On
                a GPU, where looking at ids makes it wait, their range and the padding are not looked at.)
        """
        self._check_source(source)
        check_sequences(target, "target", self.config.target_vocab_size, self.config.max_length, self.pad_id)
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
        self, source, max_length=None, strategy=None, top_k=None, temperature=1.0, beam_size=None, length_penalty=0.6,
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
        check_size("max_length", max_length)
        if max_length > self.config.max_length:
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
        """Run the model and return `Internals`: logits, attention weights, ReLU outputs, stream.

        Args:
            source, target, **masks: as for a call of the model.
        """
        return _run_with_internals(self, source, target, **masks)

    def _visible(self, source, mask=None):
        """Combine a mask with the source's padding mask."""
        padding = padding_mask(source, self.config.pad_id)  # (B, 1, S)
        return padding if mask is None else padding & mask

    def _check_source(self, source, anywhere=False):
        c = self.config
        if check_sequences(source, "source", c.source_vocab_size, c.max_length, c.pad_id, anywhere):
            empty = (source == c.pad_id).all(dim=1).nonzero().flatten().tolist()
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
        return _copy_of_torch(cls, module, source_embedding, target_embedding, output, max_length, pad_id)


def _run_with_internals(model, source, target, **masks):
    """Run a `Transformer` once and keep what passes through; see `Transformer.inspect`.

    Hooks do it, so that the model's own code stays free of book-keeping.
    """
    activations, stream, last_hidden = {}, {}, {}
    stacks = {
        "encoder": (model.source_embed, model.encoder_layers, model.encoder_norm),
        "decoder": (model.target_embed, model.decoder_layers, model.decoder_norm),
    }

    def keep(record, name):
        def hook(module, inputs, output):
            record.setdefault(name, []).append(output[0] if isinstance(output, tuple) else output)

        return hook

    with ExitStack() as undo:
        for name, (embed, layers, norm) in stacks.items():
            for layer in layers:
                undo.callback(layer.feed_forward[1].register_forward_hook(keep(activations, name)).remove)
            for module in (embed, *layers):
                undo.callback(module.register_forward_hook(keep(stream, name)).remove)
            undo.callback(norm.register_forward_hook(keep(last_hidden, name)).remove)
        logits, attention = model(source, target, return_attention=True, **masks)
    return Internals(logits, attention, activations, stream, {name: kept[0] for name, kept in last_hidden.items()})


def _copy_of_torch(transformer, module, source_embedding, target_embedding, output, max_length, pad_id):
    """Return a copy of `module` as an instance of the class `transformer`; see `Transformer.from_torch`."""
    if not isinstance(module, nn.Transformer):
        raise TypeError(f"module is {type(module).__name__}, not nn.Transformer")
    encoder, decoder = module.encoder.layers, module.decoder.layers
    if len(encoder) != len(decoder):
        raise ValueError(f"module has {len(encoder)} encoder and {len(decoder)} decoder layers; as many are needed")
    for name, part in (("source_embedding", source_embedding), ("target_embedding", target_embedding)):
        if part.weight.size(1) != module.d_model:
            raise ValueError(f"{name} has {part.weight.size(1)} features, module has d_model={module.d_model}")
    if tuple(output.weight.shape) != tuple(target_embedding.weight.shape):
        raise ValueError(
            f"output goes from {output.in_features} to {output.out_features}, not from d_model={module.d_model} to "
            f"the {target_embedding.num_embeddings} symbols of target_embedding"
        )
    first = encoder[0]
    copy = transformer(
        TransformerConfig(
            source_embedding.num_embeddings, target_embedding.num_embeddings, module.d_model, module.nhead,
            first.linear1.out_features, len(encoder), first.dropout1.p, max_length, first.norm_first, pad_id,
            tie_embeddings=output.weight is target_embedding.weight and output.bias is None,
            shared_vocabulary=source_embedding is target_embedding, final_norm=True,
        )
    )  # fmt: skip
    copy.encoder_layers = nn.ModuleList(EncoderLayer.from_torch(layer) for layer in encoder)
    copy.decoder_layers = nn.ModuleList(DecoderLayer.from_torch(layer) for layer in decoder)
    copy = copy.to(output.weight)  # device and precision, before the rest is copied
    with torch.no_grad():
        for ours, theirs in ((copy.source_embed, source_embedding), (copy.target_embed, target_embedding)):
            ours.embedding.weight.copy_(theirs.weight)
        copy.output.weight.copy_(output.weight)
        if copy.output.bias is not None:
            copy.output.bias.copy_(0.0 if output.bias is None else output.bias)
    copy.encoder_norm.load_state_dict(module.encoder.norm.state_dict())
    copy.decoder_norm.load_state_dict(module.decoder.norm.state_dict())
    return copy.train(module.training)
