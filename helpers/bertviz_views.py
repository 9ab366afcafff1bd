"""BertViz: its head view and model view as a page that needs no network, and attention weights as JSON files."""

import html
import json
import os
import re
import tempfile
from importlib.resources import files
from pathlib import Path

import torch

from helpers.common import check_tensor

KINDS = ("encoder", "decoder", "cross")  # the order of BertViz's menu

# What BertViz's page says, and what it says here: layers and heads count from 1, the menu shows what is seen first, the
# model view is as wide as its frame, and what a click enlarges stays inside.
PATCHES = {
    ".val(layer).text(layer)": ".val(layer).text(layer + 1)",
    ".text(config.heads[i])": ".text(config.heads[i] + 1)",
    ".text(config.layers[i])": ".text(config.layers[i] + 1)",
    'config.layers[layerIndex] + ", Head " + config.heads[headIndex]': (
        '(config.layers[layerIndex] + 1) + ", Head " + (config.heads[headIndex] + 1)'
    ),
    "config.filter = params['default_filter'];": (
        "config.filter = params['default_filter']; $(`#${params['root_div_id']} #filter`).val(config.filter);"
    ),
    "const DIV_WIDTH = 970;": (
        "const DIV_WIDTH = Math.max(320, Math.min(970, $(`#${params['root_div_id']}`).get(0).clientWidth));"
    ),
    "7 * (12 / config.totalHeads)": "Math.max(7, Math.min(16, DIV_WIDTH / config.totalHeads / 9))",
    "x = leftPos + THUMBNAIL_PADDING - DETAIL_WIDTH + 8;": (
        "x = Math.max(0, Math.min(maxX - DETAIL_WIDTH, leftPos + THUMBNAIL_PADDING - DETAIL_WIDTH + 8));"
    ),
}
# The frame is as high as what is in it.
GROW = """new ResizeObserver(() => {
    try { frameElement.style.height = document.body.offsetHeight + 16 + "px"; } catch (error) {}
}).observe(document.body);"""


def head_views(views, height=380):
    """Return several head views side by side: one copy of the libraries, which are most of the size, serves all.

    Layers and heads count from 1, as in the series' figures.

    Args:
        views: a dictionary from heading to a dictionary of BertViz's arguments: `attention`, a list with one tensor a
            layer, (1, H, T, T), and `tokens`, T strings; for an encoder-decoder `encoder_attention`,
            `decoder_attention`, `cross_attention`, `encoder_tokens`, `decoder_tokens`. Also `start`, "encoder",
            "decoder" or "cross", the attention seen first (default: the one that is named first), and `layer` and
            `heads`. With `"whole_model": True` it is BertViz's model view instead, every head of every layer as a small
            picture (Vig 2019, section 3.2).
        height: of the frame in pixels, until it has grown to what is in it.

    Raises:
        TypeError, ValueError: attention that is no list of weights (1, H, T_q, T_k), or tokens that are no strings or not
            as many; names the argument.
    """
    from IPython.display import HTML

    columns = [_column(number, heading, dict(arguments)) for number, (heading, arguments) in enumerate(views.items())]
    scripts = [
        files("xstatic.pkg.jquery").joinpath("data", "jquery.slim.min.js").read_text(encoding="utf-8"),
        files("mpld3").joinpath("js", "d3.v5.min.js").read_text(encoding="utf-8"),
        # BertViz asks require.js for the two libraries; they are here already.
        "function requirejs(names, run) { run(jQuery, d3); } requirejs.config = function () {}; var require = requirejs;",
    ]
    head = "".join(f"<script>{script}</script>" for script in scripts)
    style = "margin: 8px; background: white; color: black; font-family: sans-serif"  # white on a dark page too
    body = f"<div style='display: flex; flex-wrap: wrap; gap: 8px'>{''.join(columns)}</div><script>{GROW}</script>"
    page = f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{head}</head><body style="{style}">{body}</body></html>'
    page = page.replace("&", "&amp;").replace('"', "&quot;")
    return HTML(
        '<div><iframe title="BertViz: attention weights as lines" '
        'style="width: 100%; border: 0; background: white; color-scheme: light" '
        f'height="{height}" srcdoc="{page}"></iframe></div>'
    )


def _column(number, heading, arguments):
    """Return one view as HTML: BertViz's own, patched."""
    import bertviz  # here, because importing it takes a while

    whole_model = arguments.pop("whole_model", False)
    named = [name.removesuffix("_attention") for name in arguments if name.removesuffix("_attention") in KINDS]
    start = arguments.pop("start", named[0] if named else None)
    if start is not None and start not in named:
        raise ValueError(f"start={start!r} is not among the attentions given: {', '.join(named) or 'one alone'}")
    for name in {"layer", "heads"} & set(arguments):  # BertViz counts from 0
        arguments[name] = arguments[name] - 1 if name == "layer" else [head - 1 for head in arguments[name]]
    if whole_model:
        arguments.setdefault("display_mode", "light")
    arguments = {name: value for name, value in arguments.items() if value is not None}
    _check_view(arguments)
    arguments = {name: _rounded(value) for name, value in arguments.items()}
    draw = bertviz.model_view if whole_model else bertviz.head_view
    view = draw(**arguments, html_action="return", prettify_tokens=False).data
    for name in arguments:
        if name.endswith("tokens"):  # data, never markup: "</script>" would end BertViz's own
            for token in {token for token in arguments[name] if "<" in token}:
                view = view.replace(json.dumps(token), json.dumps(token).replace("<", "\\u003c"))
    view = re.sub(r"<script src=[^>]*></script>", "", view)  # require.js from the network
    view = re.sub(r"bertviz-[0-9a-f]{32}", f"bertviz-{number}", view)  # the random id would differ every time
    for theirs, ours in PATCHES.items():
        view = view.replace(theirs, ours)
    if start is not None:
        first = [kind for kind in KINDS if kind in named].index(start)
        view = view.replace('"default_filter": "0"', f'"default_filter": "{first}"')
    style = "flex: 3; min-width: min(100%, 420px)" if whole_model else "flex: 1; min-width: min(100%, 340px)"
    return f"<div style='{style}'><b>{html.escape(heading)}</b>{view}</div>"


def _check_view(arguments):
    """Raise unless every attention is a list of layers (1, H, T_q, T_k) that fits its tokens."""
    found = [name for name in arguments if name.endswith("attention")]
    if not found:
        raise ValueError("attention is missing: a list with one tensor a layer, (1, H, T_q, T_k)")
    for name in found:
        layers, kind = arguments[name], name.removesuffix("attention")
        if not isinstance(layers, (list, tuple)) or not layers:
            raise TypeError(f"{name} is {type(layers).__name__}; it must be a list with one tensor a layer")
        queries, keys = {"cross_": ("decoder_", "encoder_")}.get(kind, (kind, kind))
        for number, layer in enumerate(layers, start=1):
            check_tensor(f"{name}, layer {number}", layer, "1, H, T_q, T_k")
            if len(layer) != 1:
                raise ValueError(f"{name}, layer {number}, holds a batch of {len(layer)}; a view shows one sequence")
            for axis, side in ((2, queries), (3, keys)):
                tokens = arguments.get(f"{side}tokens")
                if not isinstance(tokens, (list, tuple)) or not all(isinstance(token, str) for token in tokens):
                    raise TypeError(f"{side}tokens is {tokens!r}; it must be a list of strings")
                if layer.size(axis) != len(tokens):
                    raise ValueError(
                        f"{side}tokens holds {len(tokens)} tokens; {name}, layer {number}, has shape {tuple(layer.shape)}"
                    )


def model_view(attention=None, tokens=None, height=500, **named):
    """Return BertViz's model view: every head of every layer at once; a click enlarges one (Vig 2019, section 3.2).

    Args as in a view of `head_views`; `display_mode="light"` (the default here) or `"dark"` sets the background.
    """
    return head_views({"": {"attention": attention, "tokens": tokens, "whole_model": True, **named}}, height)


def _rounded(value):
    """Round attention weights to four digits, which is more than a line's shade can show, to keep the page small."""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], torch.Tensor):
        return [(layer.detach().double().cpu() * 1e4).round() / 1e4 for layer in value]
    return value


def save_attention(path, attention, tokens):
    """Write attention weights as JSON: `{"tokens": [...], "attentions": [layers][heads][query][key]}`.

    The file appears whole or not at all.

    Args:
        path: the file to write.
        attention: a list with one tensor a layer, (H, T, T) or (1, H, T, T).
        tokens: T strings.
    """
    layers = [torch.as_tensor(layer).detach().cpu() for layer in attention]
    layers = [layer.squeeze(0) if layer.dim() == 4 else layer for layer in layers]
    content = {"tokens": list(tokens), "attentions": [layer.tolist() for layer in layers]}
    _check_content(content, "attention and tokens")
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # readable as any new file is, not for its writer alone
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load_attention(path):
    """Read what `save_attention` wrote: a list with one tensor a layer, (H, T, T), and the list of tokens.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not JSON, or not of that form; says what is wrong.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # covers text that is not UTF-8, too
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    _check_content(content, str(path))
    return [torch.tensor(layer) for layer in content["attentions"]], content["tokens"]


def _check_content(content, name):
    """Raise a `ValueError` unless `content` has the form that `save_attention` writes."""
    if not isinstance(content, dict) or set(content) != {"tokens", "attentions"}:
        raise ValueError(f'{name}: must be an object with the keys "tokens" and "attentions" and no others')
    tokens, layers = content["tokens"], content["attentions"]
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"{name}: tokens must be a list of strings, at least one")
    if not isinstance(layers, list) or not layers:
        raise ValueError(f"{name}: attentions must be a list of layers, at least one")
    for number, layer in enumerate(layers):
        try:
            weights = torch.tensor(layer, dtype=torch.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: layer {number} is not a regular array of numbers ({error})") from error
        if weights.dim() != 3 or weights.shape[1:] != (len(tokens), len(tokens)) or len(weights) == 0:
            raise ValueError(
                f"{name}: layer {number} has shape {tuple(weights.shape)}, not (heads, T, T) with T={len(tokens)}"
            )
        if not ((weights >= 0) & (weights <= 1 + 1e-4)).all():
            raise ValueError(f"{name}: layer {number} holds a number that is not in 0..1")
