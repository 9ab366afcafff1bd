"""The playground: attention to look into, and the model that a chapter trained, running in the page.

`explore` shows attention weights of any model. `play` takes the model along: the reader types, and everything is computed
anew on each key stroke, in plain JavaScript (`model.mjs` computes, `view.mjs` shows). A view is a page of its own in an
`<iframe>`: it needs no kernel, no server and no network, and the same input gives the same bytes. GitHub shows no moving
parts, so a static picture belongs beside each view.

    explore(collect_attention(classifier, ids), vocabulary.tokens(ids))  # chapter 3, and any other model
    play(model, english, japanese, text="the boy reads a book .")  # chapter 4
    play({"MiniFormer": mini, "FullTransformer": full, "given the answer": beginner}, vocabulary,
         text="flycatcher", with_answer=["given the answer"])  # chapter 5
"""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import to_hex
from torch import nn

from helpers.common import check_texts, evaluating
from helpers.transformer import MiniFormer, Transformer

FOLDER = Path(__file__).parent
NAMES = {"self": "Self-attention", "encoder": "Encoder", "decoder": "Decoder", "cross": "Cross-attention"}
COLOURS = [to_hex(colormaps["viridis"](step / 63)) for step in range(64)]
MOST_WEIGHTS = 250_000  # of `explore`: 1.3 MB in the notebook at most


def explore(attention, tokens, target_tokens=None, title="Attention"):
    """Return a view of attention weights: every head of every layer, its numbers, and where each query looks.

        explore(collect_attention(classifier, ids), vocabulary.tokens(ids))
        explore(bert(**inputs, output_attentions=True), tokenizer.convert_ids_to_tokens(inputs["input_ids"][0]))
        explore({"cross": [weights]}, english_words, japanese_words)

    Args:
        attention: of one sequence, (H, T_q, T_k) or (1, H, T_q, T_k) a layer: a list of layers; what
            `collect_attention` returns; a dictionary of lists from "self", "encoder", "decoder" or "cross", as our
            models return; or the output of a Hugging Face model that was called with `output_attentions=True`.
        tokens: the strings that are attended to; of an encoder-decoder, the source.
        target_tokens: the target of an encoder-decoder, whose queries look; the same as `tokens` if left out.
        title: what a screen reader calls the view.

    Returns:
        what a notebook displays. Where the upper right of every square map of a kind is exactly 0, it counts as masked.

    Raises:
        TypeError: `attention` or the tokens are something else.
        ValueError: shapes that don't fit the tokens, more than one sequence, or numbers that are no weights.
    """
    source = check_texts("tokens", tokens)
    target = source if target_tokens is None else check_texts("target_tokens", target_tokens)
    kinds, number = [], 0
    for kind, layers in _by_kind(attention).items():
        queries = source if kind == "encoder" else target
        keys = target if kind in ("self", "decoder") else source
        layers = [_weights(f"{kind}, layer {n}", layer, queries, keys) for n, layer in enumerate(layers, start=1)]
        if not layers:
            raise ValueError(f"attention holds no layer of the kind {kind!r}")
        square = kind != "cross" and len(queries) > 1
        causal = square and all(not np.triu(layer, 1).any() for layer in layers)
        number += sum(layer.size for layer in layers)
        layers = [np.rint(layer.clip(0, 1) * 10_000).astype(int).tolist() for layer in layers]
        kinds.append({"kind": kind, "queries": queries, "keys": keys, "causal": causal, "layers": layers})
    if number > MOST_WEIGHTS:
        raise ValueError(f"attention holds {number:,} weights; show fewer tokens or layers ({MOST_WEIGHTS:,} fit)")
    return _view({"kinds": kinds}, [], title, 640)


def play(
    model, vocabulary, target_vocabulary=None, text=None, with_answer=(), carry_weights=True, precision="float32",
    title="Playground", source_bos=True,
):  # fmt: skip
    """Return a view in which the model itself runs: type a text, look at every head, cut an edge, see what changes.

        play(mini, vocabulary, text="flycatcher")
        play({"honest": full, "given the answer": beginner}, vocabulary, with_answer=["given the answer"])
        play(translator, english, japanese, text="the boy reads a book .")

    Args:
        model: a `MiniFormer` or a `Transformer`, or one with the same parts under the same names; or a dictionary of
            several, from name to model, which the reader can switch between. They must be in float precision or finer.
        vocabulary: the `Vocabulary` of what the reader types: of words, which the model reads and predicts letter by
            letter (a Transformer in its encoder and its decoder); or of the sentences that it translates.
        target_vocabulary: the `Vocabulary` of what a translator writes; None for words.
        text: what is typed first (default: the first symbol).
        with_answer: for words, the names of the Transformers whose encoder reads the whole word at first, as when they
            were trained "with the answer" (True: all). The others see no later letter in encoder and cross-attention,
            the two masks of chapter 5. A switch in the view changes it.
        carry_weights: whether the numbers travel in this view. False: it takes them from another view in the same page.
        precision: "float32", or "float16" for half the size; then the view runs the model rounded to float16 (on one
            word and one sentence, models like those of chapters 4 and 5 moved by 0.005 in a logit at most).
        title: what a screen reader calls the view.
        source_bos: whether a translator reads `<BOS>` before the source; chapter 4's is trained without it.

    Returns:
        what a notebook displays. It holds 5.3 bytes a parameter, or half of that in float16.

    Raises:
        TypeError: something that is no such model or vocabulary.
        ValueError: a vocabulary of another size than the model's, a text that can't be encoded, or a model that
            computes something else than `helpers.transformer` does with its numbers; says what.
    """
    models = model if isinstance(model, dict) else {type(model).__name__: model}
    if not models:
        raise ValueError("model is an empty dictionary; name at least one model")
    if precision not in ("float32", "float16"):
        raise ValueError(f"precision={precision!r} must be 'float32' or 'float16'")
    with_answer = set(models) if with_answer is True else set(with_answer or ())
    if with_answer - set(models):
        raise ValueError(f"with_answer names {sorted(with_answer - set(models))[0]!r}, which is not one of the models")
    text = vocabulary.symbols[3] if text is None else text
    ids = torch.tensor([vocabulary.encode(text)])
    described, numbers = [], {}
    for name, one in models.items():
        config, tensors = _describe(str(name), one, vocabulary, target_vocabulary, ids)
        flat = np.concatenate([tensor.ravel() for tensor in tensors.values()]).astype(
            "<f2" if "16" in precision else "<f4"
        )
        if not np.isfinite(flat).all():
            raise ValueError(f"{name} holds numbers that are not finite in {precision}")
        key = hashlib.sha256(flat.tobytes()).hexdigest()[:16]
        shapes = [[part, *(1, *tensor.shape)[-2:]] for part, tensor in tensors.items()]
        described.append(config | {"name": str(name), "answer": name in with_answer, "numbers": key, "tensors": shapes})
        numbers[key] = (key, precision, flat)
    data = {
        "models": described,
        "most": min(model.pop("most") for model in described),
        "text": text,
        "vocabulary": {"symbols": vocabulary.symbols, "separator": vocabulary.separator},
        "target": None if target_vocabulary is None else target_vocabulary.symbols,
        "source_bos": bool(source_bos),
    }
    return _view(data, numbers.values() if carry_weights else [], title, 1000)


def _describe(name, model, vocabulary, target_vocabulary, ids):
    """Return what `model.mjs` must know of a model besides its numbers, and its numbers: a dictionary of arrays."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"{name} is {type(model).__name__}, not a MiniFormer or a Transformer")
    try:
        with torch.random.fork_rng(devices=[]):
            twin, layer = _twin(model)
        state = {part: tensor.detach().float().cpu() for part, tensor in model.state_dict().items()}
        twin.load_state_dict(state)
    except (AttributeError, IndexError, RuntimeError, TypeError) as error:
        raise TypeError(f"{name} ({type(model).__name__}) is not built like helpers.transformer's: {error}") from error
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise ValueError(f"{name} holds numbers that are not finite")
    pairs = [(twin.output.out_features, target_vocabulary or vocabulary)]
    if isinstance(twin, MiniFormer):
        if target_vocabulary is not None:
            raise ValueError(f"{name} is a MiniFormer, which does not translate; leave target_vocabulary out")
        config, inputs, tied, shared = twin, [ids[:, :-1]], False, False
    else:
        pairs.append((twin.source_embed.embedding.num_embeddings, vocabulary))
        config, tied, shared = twin.config, twin.config.tie_embeddings, twin.config.shared_vocabulary
        inputs = [ids[:, :-1]] * 2 if target_vocabulary is None else [ids, ids[:, :1]]
    for size, one in pairs:
        if size != len(one):
            raise ValueError(f"{name} was made for {size} symbols, but the vocabulary has {len(one)}")
    most = config.max_length - (1 if target_vocabulary is None else 2)
    most = most if vocabulary.max_length is None else min(most, vocabulary.max_length - 2)
    if ids.size(1) - 2 > most:
        raise ValueError(f"text has {ids.size(1) - 2} symbols; {name} reads at most {most}")
    device = next(model.parameters()).device
    with evaluating(model), evaluating(twin), torch.no_grad():
        theirs, ours = model(*(part.to(device) for part in inputs)).float().cpu(), twin(*inputs)
    if theirs.shape != ours.shape or not torch.allclose(theirs, ours, rtol=1e-2, atol=1e-2):
        raise ValueError(f"{name} ({type(model).__name__}) computes something else than helpers.transformer's does")
    left_out = {"output.weight": tied, "source_embed.embedding.weight": shared}  # they stand in the target's embedding
    tensors = {part: tensor.numpy() for part, tensor in state.items() if not left_out.get(part, False)}
    settings = {
        "class": type(twin).__name__, "num_heads": layer.self_attention.num_heads, "norm_first": layer.norm_first,
        "max_length": config.max_length, "pad_id": config.pad_id, "bos_id": vocabulary.bos_id,
        "eos_id": vocabulary.eos_id, "tied": tied, "most": most,
    }  # fmt: skip
    return settings, tensors


def _twin(model):
    """Return a new model of `helpers.transformer` of the same sizes, and the first layer of `model`."""
    if hasattr(model, "source_embed"):
        return Transformer(model.config), model.encoder_layers[0]
    layer = model.layers[0]
    size, d_model = model.embed.embedding.weight.shape
    heads, d_ff = layer.self_attention.num_heads, layer.feed_forward[0].out_features
    twin = MiniFormer(size, d_model, heads, len(model.layers), model.max_length, d_ff, pad_id=model.pad_id)
    for one in twin.layers:
        one.norm_first = layer.norm_first
    return twin, layer


def _by_kind(attention):
    """Sort attention weights into a dictionary of lists of layers, by kind."""
    attention = getattr(attention, "attention", attention)  # what collect_attention returns
    for name, kind in (("attentions", "self"), ("encoder_attentions", "encoder")):
        if getattr(attention, name, None) is not None:  # what a Hugging Face model returns
            rest = {other: getattr(attention, f"{other}_attentions", None) for other in ("decoder", "cross")}
            found = {kind: getattr(attention, name), **rest}
            return {kind: list(layers) for kind, layers in found.items() if layers is not None}
    if isinstance(attention, dict):
        kinds = {}
        for name, layers in attention.items():
            cross = "cross" in name or "multihead_attn" in name  # the latter in nn.TransformerDecoderLayer
            kind = "cross" if cross else next((one for one in ("encoder", "decoder") if one in name), "self")
            kinds.setdefault(kind, []).extend([layers] if isinstance(layers, torch.Tensor) else layers)
        if kinds:
            return {kind: kinds[kind] for kind in NAMES if kind in kinds}
    elif isinstance(attention, (list, tuple)) and len(attention):
        return {"self": list(attention)}
    raise TypeError(
        f"attention is {type(attention).__name__}; it must be a list of layers, a dictionary of such lists that is not "
        "empty, what collect_attention returns, or the output of a Hugging Face model with output_attentions=True"
    )


def _weights(name, layer, queries, keys):
    """Return one layer's weights as an array (H, T_q, T_k), checked."""
    if not isinstance(layer, (torch.Tensor, np.ndarray)):
        raise TypeError(f"{name} is {type(layer).__name__}, not a tensor (H, T_q, T_k)")
    weights = torch.as_tensor(layer).detach().float().cpu().numpy()
    if weights.ndim == 4 and len(weights) != 1:
        raise ValueError(f"{name} holds {len(weights)} sequences; a view shows one, so pass that one: weights[:1]")
    weights = weights[0] if weights.ndim == 4 else weights
    if weights.ndim != 3 or weights.shape[1:] != (len(queries), len(keys)) or not len(weights):
        raise ValueError(
            f"{name} has shape {tuple(weights.shape)}; with these tokens it must be (H, {len(queries)}, {len(keys)})"
        )
    if not (weights.min() >= 0 and weights.max() <= 1 + 1e-3):  # NaN fails, too
        raise ValueError(f"{name} runs from {weights.min():.4g} to {weights.max():.4g}; attention weights lie in 0..1")
    return weights


def _view(data, numbers, title, height):
    """Return the page, as an HTML object: data and numbers are only ever read as text, so a token is never markup."""
    from IPython.display import HTML

    parts = {
        name: (FOLDER / name).read_text(encoding="utf-8")
        for name in ("style.css", "view.html", "model.mjs", "view.mjs")
    }
    model, view = (
        re.sub(r"^export |^import [^;]*;\n", "", parts[name], flags=re.M) for name in ("model.mjs", "view.mjs")
    )
    text = json.dumps(data | {"names": NAMES, "colours": COLOURS}, sort_keys=True, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    scripts = [f'<script type="application/json" id="data">{text}</script>']
    for key, kind, array in numbers:
        packed = base64.b64encode(array.tobytes()).decode("ascii")
        scripts.append(f'<script type="text/plain" data-numbers="{key}" data-kind="{kind}">{packed}</script>')
    page = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{parts['style.css']}</style></head><body><main><h1>{html.escape(title)}</h1>{parts['view.html']}</main>{''.join(scripts)}"
        f'<script type="module">{model}\n{view}</script></body></html>'
    )
    return HTML(
        f'<div><iframe title="{html.escape(title)}" style="width: 100%; border: 0; color-scheme: normal" '
        f'height="{height}" srcdoc="{page.replace("&", "&amp;").replace(chr(34), "&quot;")}"></iframe></div>'
    )
