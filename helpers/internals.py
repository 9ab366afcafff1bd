"""What goes on inside a Transformer while it runs. Readers meet it as `Transformer.inspect`."""

from contextlib import ExitStack
from typing import NamedTuple


class Internals(NamedTuple):
    """What `Transformer.inspect` returns. Every dictionary has the keys "encoder" and "decoder"; attention "cross" too.

    The tensors still hang on the graph, so that gradients can flow through them.
    """

    logits: object  # (B, T, V)
    attention: dict  # a list with one tensor of weights a layer: (B, H, S, S), (B, H, T, T), for "cross" (B, H, T, S)
    activations: dict  # a list with one tensor a layer: the feed-forward network after its ReLU, (B, S or T, d_ff)
    stream: dict  # a list with the embedded tokens and what leaves each layer: L + 1 times (B, S or T, d_model)
    last_hidden: dict  # what leaves the stack, after its final norm if it has one, (B, S or T, d_model)


def run_with_internals(model, source, target, **masks):
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
