"""Attention weights out of any module: what every head did while a model ran."""

import functools
import inspect
import types
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import nn

from helpers.attention import MultiHeadAttention

KINDS = (nn.MultiheadAttention, MultiHeadAttention)


class Collected(NamedTuple):
    """What `collect_attention` returns."""

    output: object  # what the model returns by itself
    attention: dict  # from the name of an attention module to its weights, (B, H, T_q, T_k), in the order of use


@contextmanager
def collecting_attention(model):
    """Keep the attention weights of every head while the `with` block runs the model.

        with collecting_attention(model) as attention:
            model(x)
        attention["layers.0.self_attn"]  # (B, H, T_q, T_k)

    Inside the block PyTorch's fused fast path is off, because it never makes the weights. Afterwards, also after an
    exception, everything is as it was. The caller of an attention module gets what it asked for, averaged weights or
    none. (PyTorch's nested-tensor path sets outputs at padding to zero; inside the block they are computed.)

    Args:
        model: any module with `nn.MultiheadAttention` or `helpers.attention.MultiHeadAttention` in it.

    Yields:
        a dictionary from module name to weights, detached, (B, H, T_q, T_k), or (H, T_q, T_k) for input without a
        batch axis; in the order of use. The second use of a module has "#2" after its name, and so on. In training
        the weights are those after dropout.

    Raises:
        TypeError: `model` is not a module.
        ValueError: there is no attention module in it.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {type(model).__name__}, not an nn.Module")
    names = {
        id(module): name or type(module).__name__ for name, module in model.named_modules() if isinstance(module, KINDS)
    }
    if not names:
        raise ValueError(
            f"model ({type(model).__name__}) holds no attention module; looked for nn.MultiheadAttention and "
            "helpers.attention.MultiHeadAttention"
        )
    collected = {}
    with ExitStack() as undo:
        undo.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        # The classes are wrapped and not the modules, so that a copy made inside the block is an ordinary one, the
        # model can be pickled, blocks can be nested, and subclasses that call their class's `forward` are seen.
        for kind in KINDS:
            undo.callback(setattr, kind, "forward", kind.forward)
            kind.forward = _keeping_weights(kind.forward, names, collected)
        for module in model.modules():
            own = vars(module).get("forward")
            if id(module) in names and own is not None:  # somebody gave this one module a `forward` of its own
                undo.callback(setattr, module, "forward", own)
                module.forward = types.MethodType(_keeping_weights(staticmethod(own), names, collected), module)
        yield collected


def _keeping_weights(forward, names, collected):
    """Wrap a class's `forward`: make the weights, keep those of the modules in `names`, return what is wanted."""
    static = isinstance(forward, staticmethod)
    signature = inspect.signature(forward.__func__ if static else forward)

    @functools.wraps(forward)
    def wrapped(module, *arguments, **named):
        inputs = arguments if static else (module, *arguments)
        if id(module) not in names:
            return forward(*inputs, **named)
        call = signature.bind(*inputs, **named)
        call.apply_defaults()
        wanted, average = call.arguments["need_weights"], call.arguments.get("average_attn_weights", False)
        call.arguments["need_weights"] = True
        if "average_attn_weights" in call.arguments:
            call.arguments["average_attn_weights"] = False
        output, weights = forward(*call.args, **call.kwargs)
        name = names[id(module)]
        use = 1 + sum(key == name or key.startswith(f"{name}#") for key in collected)
        collected[name if use == 1 else f"{name}#{use}"] = weights.detach()
        if not wanted:
            return output, None
        return output, weights.mean(dim=-3) if average else weights  # (B, H, T_q, T_k) → (B, T_q, T_k)

    return wrapped


def collect_attention(model, *inputs, **named):
    """Run a model and return its output and the attention weights of every head.

    The model runs twice: once for the weights, and once untouched for the output, which is therefore exactly what
    `model(*inputs, **named)` returns, whatever path PyTorch takes. Random numbers are drawn as if it had run once.

    Args:
        model: any module with attention in it: `nn.TransformerEncoder`, `nn.TransformerDecoder`, `nn.Transformer`,
            their layers, the models of `helpers.transformer`, or your own around them.
        *inputs, **named: what the model is called with.

    Returns:
        `Collected(output, attention)`; for `attention` see `collecting_attention`.

    Raises:
        TypeError, ValueError: as `collecting_attention`; also ValueError if the model used none of its attention.
    """
    devices = {p.device for p in getattr(model, "parameters", list)() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)), collecting_attention(model) as attention:
        model(*inputs, **named)
    if not attention:
        raise ValueError(f"model ({type(model).__name__}) holds attention modules, but called none of them")
    return Collected(model(*inputs, **named), attention)
