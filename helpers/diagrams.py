"""The drawings: what goes where, before its formula. Each draws the numbers or the tokens that it is given.

One language for all. Arrows are data on its way. Query blue, key orange, value green, weights viridis, what is wrong
red; the three also differ in lightness, and every part says its name. Shapes stand below what has them. Like the
charts in `helpers.plots`, a drawing ends with `show`.

The primitives are our own, on matplotlib: schemdraw, drawsvg and graphviz draw boxes and arrows well, but no matrix with
its numbers, and Colab lacks the first two.

Units are pixels at 100 dpi, from the lower left corner.
"""

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path

from helpers.attention import causal_mask

FILLS = {
    "query": "#d3e6f7", "key": "#f8c878", "value": "#7cc6a2", "plain": "#f4f4f4", "attention": "#e3dbf2",
    "module": "#e6e6e6", "norm": "#ffffff", "tokens": "#fffbe8", "state": "#d9d9d9", "wrong": "#f9d0cc", "mask": "#5f7386",
}  # fmt: skip
EDGES = {"query": "#0b5394", "key": "#9c5700", "value": "#0a5c3f", "attention": "#5b4a8a", "wrong": "#b3001b"}
INK, QUIET, WRONG = "#222222", "#666666", EDGES["wrong"]
SMALL, USUAL, SYMBOL, LARGE = 11.0, 12.0, 13.5, 14.5  # points; a subscript of a symbol is 0.7 of it


def tensor(numbers):
    return torch.as_tensor(numbers).detach().float().cpu()


class Part(NamedTuple):
    """Something drawn: its centre and its size. Arrows begin and end in the middle of its edges."""

    x: float
    y: float
    width: float
    height: float

    left = property(lambda part: (part.x - part.width / 2, part.y))
    right = property(lambda part: (part.x + part.width / 2, part.y))
    top = property(lambda part: (part.x, part.y + part.height / 2))
    bottom = property(lambda part: (part.x, part.y - part.height / 2))


def canvas(width, height, title):
    """Return empty axes whose units are pixels, with a title on top."""
    figure = plt.figure(figsize=(width / 100, height / 100), dpi=100, layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    label(ax, width / 2, height - 18, title, LARGE, weight="bold")
    return ax


def label(ax, x, y, text, size=USUAL, color=INK, **how):
    """Write a text around a point; `how` goes to matplotlib."""
    how = {"ha": "center", "va": "center", "linespacing": 1.25, "zorder": 5} | how
    ax.text(x, y, text, fontsize=size, color=color, **how)


def box(ax, x, y, text, kind="module", width=120, height=34, size=USUAL, line="-", **how):
    """Draw a module or a token: a box with rounded corners and its name."""
    corner = (x - width / 2 + 4, y - height / 2 + 4)
    style = {"fc": FILLS[kind], "ec": EDGES.get(kind, "#555555"), "lw": 1.2, "linestyle": line, "zorder": 3}
    ax.add_patch(FancyBboxPatch(corner, width - 8, height - 8, boxstyle="round,pad=4,rounding_size=5", **style))
    label(ax, x, y, text, size, **how)
    return Part(x, y, width, height)


def _cell(ax, place, number, kind, digits, size):
    """Draw one cell of a grid; `digits` is the number's format, "" for none."""
    hidden = np.isnan(number) or (kind == "mask" and not number)
    fill = plt.cm.viridis(number) if kind == "weights" and not hidden else FILLS.get(kind, kind)
    corner, width, height = (place.left[0], place.bottom[1]), place.width, place.height
    style = {"fc": "white" if hidden else fill, "ec": EDGES.get(kind, "#555555"), "hatch": "////" if hidden else None}
    ax.add_patch(Rectangle(corner, width, height, lw=0.9, zorder=3, **style))
    if digits and not hidden:
        text = digits.format(number) if np.isfinite(number) else "−∞"
        label(ax, place.x, place.y, text, size, "white" if kind == "weights" and number < 0.6 else INK)


def grid(ax, x, y, numbers, kind="plain", cell=None, rows=(), columns=(), written=True, name="", shape="", size=SMALL):
    """Draw a matrix as cells: their numbers, the names of rows and columns, its name above and its shape below.

    Args:
        ax, x, y: where its centre is.
        numbers: (R, C). The kind "weights" colours them from 0 to 1; NaN is an empty, hatched cell.
        kind: what it holds, which gives the colour.
        cell: width and height of a cell.
        written: whether the numbers are written.
    """
    numbers = np.atleast_2d(tensor(numbers).numpy())
    finite = numbers[np.isfinite(numbers)]
    digits = "{:.0f}" if kind != "weights" and (finite == finite.round()).all() else "{:.2f}"
    width, height = cell or ((28 if digits == "{:.0f}" else 44) if written else 16, 26 if written else 16)
    part = Part(x, y, width * numbers.shape[1], height * numbers.shape[0])
    left, top = part.left[0], part.top[1]
    for (i, j), number in np.ndenumerate(numbers):
        place = Part(left + (j + 0.5) * width, top - (i + 0.5) * height, width, height)
        _cell(ax, place, number, kind, digits if written else "", size)
    for i, text in enumerate(rows):
        label(ax, left - 6, top - (i + 0.5) * height, text, size, ha="right")
    for j, text in enumerate(columns):
        short = len(text) * 8 <= width
        label(ax, left + (j + 0.5) * width, top + 6, text, size, va="bottom", rotation=0 if short else 90)
    above = top + (25 if len(columns) else 6)
    label(ax, x, above, name, SYMBOL if "$" in name else USUAL, va="bottom")
    label(ax, x, part.bottom[1] - 7, shape, SMALL, QUIET, va="top")
    return part


def blank(ax, x, y, height, width, kind="state", **how):
    """Draw so many rows and columns of cells without numbers: a vector or a matrix of that shape."""
    return grid(ax, x, y, np.zeros((height, width)), kind, written=False, **how)


def arrow(ax, start, end, *via, width=1.4, color=INK, line="-", head=True):
    """Draw an arrow, straight or through the points `via`; its width may carry a weight."""
    how = {"arrowstyle": "-|>" if head else "-", "mutation_scale": 9 + 1.6 * width, "lw": width, "color": color}
    how |= {"linestyle": line, "zorder": 2, "capstyle": "butt", "joinstyle": "miter", "fill": head and not via}
    ax.add_patch(FancyArrowPatch(path=Path([start, *via, end]), **how))


def chain(ax, *parts, **how):
    """Draw an arrow from each part up to the next."""
    for below, above in zip(parts, parts[1:]):
        arrow(ax, below.top, above.bottom, **how)


def operation(ax, x, y, sign):
    """Draw an operation on what comes in: a circle with its sign."""
    ax.add_patch(Circle((x, y), 11, fc="white", ec=INK, lw=1.3, zorder=4))
    label(ax, x, y, sign, LARGE)
    return Part(x, y, 22, 22)


def badge(ax, x, y, number):
    """Draw the number of a step."""
    ax.add_patch(Circle((x, y), 10, fc=INK, ec="none", zorder=6))
    label(ax, x, y, str(number), SMALL, "white", weight="bold", zorder=7)


def frame(ax, x, y, width, height, text="", color="#888888", line="--", ha="left"):
    """Draw a frame around parts, its name in an upper corner."""
    ax.add_patch(
        Rectangle((x - width / 2, y - height / 2), width, height, fc="none", ec=color, ls=line, lw=1.2, zorder=1)
    )
    label(ax, x + (width / 2 - 8) * (1 if ha == "right" else -1), y + height / 2 - 14, text, color=QUIET, ha=ha)
    return Part(x, y, width, height)


def brace(ax, start, end, y, text, below=False):
    """Draw a bracket from one x to another, with a text at its middle."""
    tip = -6 if below else 6
    ax.plot([start, start, end, end], [y, y + tip, y + tip, y], color=QUIET, lw=1.2, zorder=2)
    label(ax, (start + end) / 2, y + 1.7 * tip, text, SMALL, va="top" if below else "bottom")


def soft_lookup(query, keys, values, names, weights=None, query_name="", title="A soft look-up: every entry answers"):
    """Draw one query against keys, the weights as widths of arrows, and the mixed value.

    Args:
        query: (d_k,).
        keys: (n, d_k).
        values: (n,) or (n, d_v).
        names: n strings.
        weights: (n,); default: the softmax of the dot products.
        query_name: what is looked for.
    """
    query, keys, values = (tensor(numbers) for numbers in (query, keys, values))
    values, scores, step = values.reshape(len(names), -1), keys @ query, 70
    weights = scores.softmax(0) if weights is None else tensor(weights)
    middle = 20 + step * len(names) / 2
    ax = canvas(864, 115 + step * len(names), title)
    asks = grid(ax, 85, middle, query, "query", name="query", shape=query_name)
    bar = box(ax, 450, middle, "softmax", "norm", 34, step * len(names) - 16, rotation=90)
    total, mixed = operation(ax, 705, middle, "+"), grid(ax, 800, middle, weights @ values, "value", name="output")
    arrow(ax, total.right, mixed.left)
    for text, x in (("keys", 265), ("scores", 370), ("weights", 530), ("values", 625)):
        label(ax, x, 48 + step * len(names), text, weight="bold", va="baseline")
    for i, name in enumerate(names):
        y = middle + step * ((len(names) - 1) / 2 - i)
        key, value = grid(ax, 265, y, keys[i], "key", name=name), grid(ax, 625, y, values[i], "value")
        score, weight = grid(ax, 370, y, scores[i]), grid(ax, 530, y, weights[i], "weights")
        for start, end in ((asks.right, key.left), (key.right, score.left), (score.right, (bar.left[0], y))):
            arrow(ax, start, end)
        arrow(ax, (bar.right[0], y), weight.left)
        label(ax, (weight.right[0] + value.left[0]) / 2, y, "×", LARGE)
        arrow(ax, value.right, total[:2], width=0.8 + 9 * float(weights[i]), color=EDGES["value"], head=False)
    return ax


def _matrix(ax, x, y, numbers, kind, name, **how):
    """Draw a matrix with its shape below."""
    return grid(ax, x, y, numbers, kind, name=name, shape=str(tuple(numbers.shape)), **how)


def attention_steps(X, Q, K, V, tokens, scaled=False, title="Attention for all tokens: project, compare, softmax, mix"):
    """Draw X → Q, K, V → scores → weights → output, with numbers and shapes.

    Args:
        X: (T, d_model).
        Q, K: (T, d_k).
        V: (T, d_v).
        tokens: T strings.
        scaled: whether the scores are divided by √d_k.
    """
    X, Q, K, V = (tensor(numbers) for numbers in (X, Q, K, V))
    weights = (Q @ K.T / (Q.size(1) ** 0.5 if scaled else 1)).softmax(-1)
    step = 26 * len(tokens) + 62
    low, middle, high = (40 + 13 * len(tokens) + step * row for row in range(3))
    between = (middle + high) / 2
    ax = canvas(864, high + 13 * len(tokens) + 72, title)
    x = _matrix(ax, 115, middle, X, "plain", "$X$", rows=tokens)
    compare, mix = operation(ax, 375, between, "×"), operation(ax, 735, between, "×")
    s = _matrix(ax, 458, between, Q @ K.T, "plain", "scores")
    w = _matrix(ax, 640, between, weights, "weights", "weights")
    o = _matrix(ax, 808, between, weights @ V, "value", "output")
    ends = {"query": (Q, high, compare.top, compare.x), "key": (K, middle, compare.bottom, compare.x),
            "value": (V, low, mix.bottom, mix.x)}  # fmt: skip
    for (kind, (numbers, y, end, turn)), name, plural in zip(ends.items(), "QKV", ("queries", "keys", "values")):
        part = _matrix(ax, 290, y, numbers, kind, f"${name}$ {plural}")
        arrow(ax, x.right, part.left)
        label(ax, 210, (x.y + y) / 2 + (18 if y >= x.y else -18), f"$W_{name}$", SYMBOL)
        arrow(ax, part.right, end, (turn, y))
    for start, end in ((compare, s), (s, w), (w, mix), (mix, o)):
        arrow(ax, start.right, end.left)
    label(ax, (s.right[0] + w.left[0]) / 2, between + 8, "softmax", SMALL, va="bottom")
    if scaled:
        label(ax, (s.right[0] + w.left[0]) / 2, between + 27, r"÷ $\sqrt{d_k}$", SYMBOL, va="bottom")
    return ax


def mask_gallery(tokens, padding="<PAD>", title="Who may look at whom: four masks"):
    """Draw four masks over the same tokens: none, causal, padding, and both.

    Args:
        tokens: T strings.
        padding: the token that stands for padding.
    """
    size, cell = len(tokens), min(30, 140 / len(tokens))
    everything = np.ones((size, size))
    causal, real = np.tril(everything), everything * [token != padding for token in tokens]
    panels = {
        "none": (everything, "everybody sees\neverybody"), "causal": (causal, "nobody sees\nwhat comes later"),
        "padding": (real, "nobody sees\nthe padding"), "both": (causal * real, "neither the future\nnor the padding"),
    }  # fmt: skip
    ax = canvas(864, cell * size + 236, title)
    middle = 115 + cell * size / 2
    for number, (name, (mask, rule)) in enumerate(panels.items()):
        x = 136 + 210 * number
        part = grid(ax, x, middle, mask, "mask", (cell, cell), tokens, tokens, written=False)
        label(ax, x, part.top[1] + 78, name, weight="bold")
        label(ax, x, part.bottom[1] - 10, rule, va="top")
    for x, mark, text in ((190, 1, "may look"), (330, 0, "hidden")):
        grid(ax, x, 26, [[mark]], "mask", (20, 20), written=False)
        label(ax, x + 18, 26, text, ha="left")
    label(ax, 450, 26, "row: who looks (query)   column: at whom (key)", ha="left")
    return ax


def late_mask(scores, tokens, mask=None, title="A mask after the softmax comes too late"):
    """Draw the mask before the softmax above the mask after it, with the sum of each row of weights.

    Args:
        scores: (T, T).
        tokens: T strings.
        mask: boolean (T, T), True = may attend; default: causal.
    """
    scores = torch.as_tensor(scores).detach().float()
    mask = causal_mask(len(tokens)) if mask is None else mask
    hidden, nothing = scores.masked_fill(~mask, -torch.inf), torch.tensor(torch.nan)
    right, all_weights = hidden.softmax(-1), scores.softmax(-1)
    lanes = (
        ("right", INK, hidden, "scores, masked", right, "mask", "softmax"),
        ("wrong", WRONG, all_weights, "weights over all keys", all_weights, "softmax", "mask"),
    )
    tall = 26 * len(tokens) + 124
    ax = canvas(864, 2 * tall + 40, title)
    for lane, (verdict, color, second, name, last, first_step, second_step) in enumerate(lanes):
        y = tall * (1.5 - lane) - 14
        label(ax, 24, y, verdict, weight="bold", color=color, rotation=90)
        a = grid(ax, 170, y, scores, rows=tokens, columns=tokens, name="scores")
        b = grid(ax, 430, y, second, "weights" if lane else "plain", columns=tokens, name=name)
        c = grid(ax, 680, y, torch.where(mask, last, nothing), "weights", columns=tokens, name="weights")
        for start, end, text in ((a, b, first_step), (b, c, second_step)):
            arrow(ax, start.right, end.left, color=color)
            label(ax, (start.right[0] + end.left[0]) / 2, y + 13, text, color=color)
        label(ax, c.right[0] + 40, c.top[1] + 6, "sum", SMALL, va="bottom")
        for i, total in enumerate((last * mask).sum(-1)):
            color = INK if abs(total - 1) < 1e-4 else WRONG
            label(ax, c.right[0] + 40, c.top[1] - 26 * (i + 0.5), f"{total:.2f}", SMALL, color)
        note = "The rest went to the future, whose scores are still in the sum." if lane else "Each row adds up to 1."
        label(ax, 525, c.bottom[1] - 20, note, color=WRONG if lane else INK)
    return ax


def layer(ax, x, y, sublayers, norm_first, side):
    """Draw a layer upwards from (x, y): the stream, and beside it a detour for each sublayer; return them and its top."""
    beside, parts, bottom = x + 145 * side, [], y
    for name in sublayers:
        kind = "attention" if "attention" in name else "module"
        part = box(ax, beside, y + (76 if norm_first else 50), name, kind, 184, size=11.5)
        total = operation(ax, x, y + (112 if norm_first else 86), "+")
        first = part
        if norm_first:
            first = box(ax, beside, y + 34, "norm", "norm", 84, 26)
            arrow(ax, first.top, part.bottom)
        else:
            box(ax, x, y + 118, "norm", "norm", 84, 26)
        arrow(ax, (x, y + 8), first.bottom, (beside, y + 8))
        arrow(ax, part.top, total.right if side > 0 else total.left, (beside, total.y))
        y += 128 if norm_first else 140
        parts.append(part)
    arrow(ax, (x, bottom - 4), (x, y + 4), width=3, color="#777777", head=False)
    return parts, y


def blocks(sublayers=("self-attention", "feed-forward"), title="One block, with the norm before or after"):
    """Draw one block with its norms before the sublayers, and beside it one with the norms after the sums.

    Args:
        sublayers: what a block holds, from below.
    """
    ax = canvas(864, 140 * len(sublayers) + 190, title)
    sides = (
        ("pre-norm", "x + sublayer(norm(x))", "nothing stands on the stream but sums", True, 120),
        ("post-norm", "norm(x + sublayer(x))", "every norm stands on the stream", False, 560),
    )
    for name, formula, remark, norm_first, x in sides:
        label(ax, x + 75, 140 * len(sublayers) + 140, name, LARGE, weight="bold")
        label(ax, x + 75, 140 * len(sublayers) + 116, formula)
        label(ax, x + 75, 20, remark, color=QUIET)
        box(ax, x, 58, "x", "tokens", 70, 30)
        _, top = layer(ax, x, 78, sublayers, norm_first, 1)
        arrow(ax, (x, top), (x, top + 22), width=3, color="#777777")
        label(ax, x + 12, top + 14, "to the next block", SMALL, QUIET, ha="left")
    return ax


def _slices(ax, y, size, width, head, start):
    """Draw what a head has of queries, keys and values, in a frame to which an arrow leads, and which is returned."""
    for number, kind in enumerate(("query", "key", "value")):
        name = f"${'QKV'[number]}_{head}$"
        blank(ax, 248 + 8 * width + number * (16 * width + 12), y - 8, size, width, kind, name=name)
    around = frame(ax, 260 + 24 * width, y, 48 * width + 48, 16 * size + 46)
    arrow(ax, start, around.left)
    return around


def split_heads(tokens, d_model=8, num_heads=2, weights=None, title="Split the width, attend in each head, join"):
    """Draw how queries, keys and values are cut into heads, how each head attends, and how the outputs are joined.

    Args:
        tokens: T strings.
        d_model, num_heads: the width, and how many slices it is cut into.
        weights: (H, T, T); default: no numbers, each head its own diagonal.
    """
    size, width, shape, drawn = len(tokens), d_model // num_heads, f"({len(tokens)}, {d_model})", weights is not None
    diagonals = torch.stack([torch.eye(size).roll(-head, 1) for head in range(num_heads)])
    maps, cell = (tensor(weights), (34, 24)) if drawn else (diagonals, (18, 18))
    lane, step = cell[1] * size + 64, 16 * size + 60
    middle = max(num_heads * lane, 3 * step) / 2 + 16
    ax = canvas(864, 2 * middle + 38, title)
    for number, kind in enumerate(("query", "key", "value")):
        how = {"kind": kind, "rows": tokens, "name": f"${'QKV'[number]}$", "shape": shape, "size": 9.5}
        whole = blank(ax, 110, middle + step * (1 - number), size, d_model, **how)
        for x in whole.left[0] + 16 * width * np.arange(1, num_heads):
            ax.plot([x, x], [whole.bottom[1] - 4, whole.top[1] + 4], color=INK, lw=2.6, zorder=4)
    joined = blank(ax, 782, middle, size, d_model, "value", name="joined", shape=shape)
    y, high, low = joined.bottom[1] - 62, middle + 1.3 * step, middle - 1.3 * step
    ax.plot([182, 190, 190, 182], [high, high, low, low], color=QUIET, lw=1.4)
    arrow(ax, (782, y + 38), box(ax, 782, y, "$W_O$", width=70, size=SYMBOL).top)
    arrow(ax, (782, y - 17), (782, y - 43))
    label(ax, 782, y - 53, "output")
    for head in range(num_heads):
        y = middle + lane * ((num_heads - 1) / 2 - head)
        slices = _slices(ax, y, size, width, head + 1, (190, middle))
        pattern = grid(ax, 535, y, maps[head], "weights", cell, written=drawn, name=f"weights {head + 1}", size=9)
        out = blank(ax, 645, y, size, width, "value")
        label(ax, out.right[0], out.top[1] + 6, f"head {head + 1}", ha="right", va="bottom")
        for start, end in ((slices, pattern), (pattern, out), (out, joined)):
            arrow(ax, start.right, end.left)
    return ax
