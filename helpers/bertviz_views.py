"""BertViz: its head view and model view as a page that needs no network, and attention weights as JSON files."""

import html
import json
import os
import re
import tempfile
from importlib.resources import files
from pathlib import Path

import torch


def head_views(views, height=380):
    """Return several head views side by side: one copy of the libraries, which are most of the size, serves all.

    Args:
        views: a dictionary from heading to a dictionary of `head_view`'s arguments; with `"whole_model": True` it is
            BertViz's model view instead, every head of every layer as a small picture (Vig 2019, section 3.2).
        height: of the tallest view, in pixels.
    """
    import bertviz  # here, because importing it takes a while
    from IPython.display import HTML

    columns = []
    for number, (heading, arguments) in enumerate(views.items()):
        arguments = {name: _rounded(value) for name, value in arguments.items()}
        whole_model = arguments.pop("whole_model", False)
        draw = bertviz.model_view if whole_model else bertviz.head_view
        view = draw(**arguments, html_action="return", prettify_tokens=False).data
        view = re.sub(r"<script src=[^>]*></script>", "", view)  # require.js from the network
        view = re.sub(r"bertviz-[0-9a-f]{32}", f"bertviz-{number}", view)  # the random id would differ every time
        # A model view is about a thousand pixels wide: make it smaller, and let it scroll where that is not enough.
        style = "flex: 3; min-width: 590px; overflow-x: auto; zoom: 0.6" if whole_model else "flex: 1; min-width: 290px"
        columns.append(f"<div style='{style}'><b>{html.escape(heading)}</b>{view}</div>")
    scripts = [
        files("xstatic.pkg.jquery").joinpath("data", "jquery.slim.min.js").read_text(encoding="utf-8"),
        files("mpld3").joinpath("js", "d3.v5.min.js").read_text(encoding="utf-8"),
        # BertViz asks require.js for the two libraries; they are here already.
        "function requirejs(names, run) { run(jQuery, d3); } requirejs.config = function () {}; var require = requirejs;",
    ]
    head = "".join(f"<script>{script}</script>" for script in scripts)
    body = f"<div style='display: flex; flex-wrap: wrap; font-family: sans-serif'>{''.join(columns)}</div>"
    page = f'<!DOCTYPE html><html><head><meta charset="utf-8">{head}</head><body>{body}</body></html>'
    page = page.replace("&", "&amp;").replace('"', "&quot;")
    return HTML(
        '<div><iframe title="BertViz head view" style="width: 100%; border: 0" '
        f'height="{height}" srcdoc="{page}"></iframe></div>'
    )


def model_view(attention=None, tokens=None, height=500, **named):
    """Return BertViz's model view: every head of every layer at once; a click enlarges one (Vig 2019, section 3.2).

    Args as for `head_view`; `display_mode="light"` or `"dark"` sets the background.
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
