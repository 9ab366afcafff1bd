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
SMALL, USUAL, SYMBOL, LARGE = 9.5, 10.5, 12.0, 13.0  # points; a subscript of a symbol is 0.7 of it


def _tensor(numbers):
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


def grid(ax, x, y, numbers, kind="plain", cell=None, rows=(), columns=(), written=True, name="", shape="", size=SMALL):
    """Draw a matrix as cells: their numbers, the names of rows and columns, its name above and its shape below.

    Args:
        ax, x, y: where its centre is.
        numbers: (R, C). The kind "weights" colours them from 0 to 1; NaN is an empty, hatched cell.
        kind: what it holds, which gives the colour.
        cell: width and height of a cell.
        written: whether the numbers are written.
    """
    numbers = np.atleast_2d(_tensor(numbers).numpy())
    finite = numbers[np.isfinite(numbers)]
    digits = "{:.0f}" if kind != "weights" and (finite == finite.round()).all() else "{:.2f}"
    width, height = cell or ((28 if digits == "{:.0f}" else 42) if written else 16, 26 if written else 16)
    part = Part(x, y, width * numbers.shape[1], height * numbers.shape[0])
    left, top = part.left[0], part.top[1]
    for (i, j), number in np.ndenumerate(numbers):
        hidden = np.isnan(number) or (kind == "mask" and not number)
        fill = plt.cm.viridis(number) if kind == "weights" and not hidden else FILLS.get(kind, kind)
        ax.add_patch(
            Rectangle((left + j * width, top - (i + 1) * height), width, height, lw=0.9, zorder=3,
                      fc="white" if hidden else fill, ec=EDGES.get(kind, "#555555"), hatch="////" if hidden else None)
        )  # fmt: skip
        if written and not hidden:
            text = digits.format(number) if np.isfinite(number) else "−∞"
            light = kind == "weights" and number < 0.6
            label(ax, left + (j + 0.5) * width, top - (i + 0.5) * height, text, size, "white" if light else INK)
    for i, text in enumerate(rows):
        label(ax, left - 6, top - (i + 0.5) * height, text, size, ha="right")
    for j, text in enumerate(columns):
        short = len(text) * 7.5 <= width
        label(ax, left + (j + 0.5) * width, top + 6, text, size, va="bottom", rotation=0 if short else 90)
    above = top + (22 if len(columns) else 6)
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
    query, keys, values = (_tensor(numbers) for numbers in (query, keys, values))
    values, scores, step = values.reshape(len(names), -1), keys @ query, 70
    weights = scores.softmax(0) if weights is None else _tensor(weights)
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


def attention_steps(X, Q, K, V, tokens, scaled=False, title="Attention for all tokens: project, compare, softmax, mix"):
    """Draw X → Q, K, V → scores → weights → output, with numbers and shapes.

    Args:
        X: (T, d_model).
        Q, K: (T, d_k).
        V: (T, d_v).
        tokens: T strings.
        scaled: whether the scores are divided by √d_k.
    """
    X, Q, K, V = (_tensor(numbers) for numbers in (X, Q, K, V))
    weights = (Q @ K.T / (Q.size(1) ** 0.5 if scaled else 1)).softmax(-1)
    step = 26 * len(tokens) + 62
    low, middle, high = (40 + 13 * len(tokens) + step * row for row in range(3))
    between = (middle + high) / 2
    ax = canvas(864, high + 13 * len(tokens) + 72, title)

    def matrix(x, y, numbers, kind, name, **how):
        return grid(ax, x, y, numbers, kind, name=name, shape=str(tuple(numbers.shape)), **how)

    x = matrix(115, middle, X, "plain", "$X$", rows=tokens)
    compare, mix = operation(ax, 375, between, "×"), operation(ax, 735, between, "×")
    s, w = matrix(465, between, Q @ K.T, "plain", "scores"), matrix(635, between, weights, "weights", "weights")
    o = matrix(808, between, weights @ V, "value", "output")
    ends = {"query": (Q, high, compare.top, compare.x), "key": (K, middle, compare.bottom, compare.x),
            "value": (V, low, mix.bottom, mix.x)}  # fmt: skip
    for (kind, (numbers, y, end, turn)), name, plural in zip(ends.items(), "QKV", ("queries", "keys", "values")):
        part = matrix(290, y, numbers, kind, f"${name}$ {plural}")
        arrow(ax, x.right, part.left)
        label(ax, 210, (x.y + y) / 2 + (18 if y >= x.y else -18), f"$W_{name}$", SYMBOL)
        arrow(ax, part.right, end, (turn, y))
    for start, end in ((compare, s), (s, w), (w, mix), (mix, o)):
        arrow(ax, start.right, end.left)
    middle = (s.right[0] + w.left[0]) / 2
    label(ax, middle, between + 8, "softmax", SMALL, va="bottom")
    if scaled:
        label(ax, middle, between + 24, r"÷ $\sqrt{d_k}$", SYMBOL, va="bottom")
    return ax


def mask_gallery(tokens, padding="<PAD>", title="Who may look at whom: four masks"):
    """Draw four masks over the same tokens: none, causal, padding, and both.

    Args:
        tokens: T strings.
        padding: the token that stands for padding.
    """
    size, cell = len(tokens), min(28, 140 / len(tokens))
    everything = np.ones((size, size))
    causal, real = np.tril(everything), everything * [token != padding for token in tokens]
    panels = {
        "none": (everything, "everybody sees\neverybody"), "causal": (causal, "nobody sees\nwhat comes later"),
        "padding": (real, "nobody sees\nthe padding"), "both": (causal * real, "neither the future\nnor the padding"),
    }  # fmt: skip
    ax = canvas(864, cell * size + 220, title)
    middle = 115 + cell * size / 2
    for number, (name, (mask, rule)) in enumerate(panels.items()):
        x = 136 + 210 * number
        part = grid(ax, x, middle, mask, "mask", (cell, cell), tokens, tokens, written=False)
        label(ax, x, part.top[1] + 62, name, weight="bold")
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
    tall = 26 * len(tokens) + 120
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
        for i, total in enumerate((last * mask).sum(-1)):
            good = abs(total - 1) < 1e-4
            label(
                ax, c.right[0] + 40, y + 13 * (len(tokens) - 1 - 2 * i), f"{total:.2f}", SMALL, INK if good else WRONG
            )
        label(ax, c.right[0] + 40, c.top[1] + 6, "sum", SMALL, va="bottom")
        note = "The rest went to the future, whose scores are still in the sum." if lane else "Each row adds up to 1."
        label(ax, 525, c.bottom[1] - 20, note, color=color)
    return ax


def _layer(ax, x, y, sublayers, norm_first, side):
    """Draw a layer upwards from (x, y): the stream, and beside it a detour for each sublayer; return them and its top."""
    beside, parts, bottom = x + 145 * side, [], y
    for name in sublayers:
        kind = "attention" if "attention" in name else "module"
        part = box(ax, beside, y + (76 if norm_first else 50), name, kind, 178)
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
        _, top = _layer(ax, x, 78, sublayers, norm_first, 1)
        arrow(ax, (x, top), (x, top + 22), width=3, color="#777777")
        label(ax, x + 12, top + 14, "to the next block", SMALL, QUIET, ha="left")
    return ax


def recurrent_network(tokens, cell="RNN", title="A recurrent network reads one word at a time"):
    """Draw a recurrent network as a loop, and unrolled over its words.

    Args:
        tokens: up to about 7 strings.
        cell: the name of the cell.
    """
    ax = canvas(864, 280, title)
    unit = 600 / len(tokens)
    loop, word = box(ax, 90, 140, cell, "module", 60, 44), box(ax, 90, 55, "word", "tokens", 74, 30)
    arrow(ax, word.top, loop.bottom)
    arrow(ax, loop.right, loop.top, (150, 140), (150, 190), (90, 190))
    label(ax, 120, 202, "state", SMALL)
    label(ax, 192, 140, "=", LARGE)
    state = blank(ax, 235, 140, 3, 1, "state", name="$h_0$")
    for t, token in enumerate(tokens):
        x = 235 + unit * (t + 0.5)
        part = box(ax, x, 140, cell, "module", min(60, unit - 52), 44)
        word = box(ax, x, 55, token, "tokens", min(unit - 6, 90), 30, SMALL)
        arrow(ax, word.top, part.bottom)
        arrow(ax, state.right, part.left)
        state = blank(ax, x + unit / 2, 140, 3, 1, "state", name=f"$h_{{{t + 1}}}$")
        arrow(ax, part.right, state.left)
    label(ax, 530, 225, "the same cell at every word; its state is all that it remembers", color=QUIET)
    return ax


def encoder_decoder(source, target, title="An encoder, a decoder, and one vector between them"):
    """Draw an encoder that reads, the one vector that it hands over, and the decoder that writes.

    Args:
        source: the words that are read.
        target: the words that are written, without the special ones.
    """
    below, above = [*source, "<BOS>", *target], [*target, "<EOS>"]
    unit, read = 714 / len(below), len(source)
    ax = canvas(864, 320, title)
    wide = [max(map(len, words)) * 8.5 > unit for words in (source, below[read:])]
    last = None
    places = [20 + unit * (i + 0.5) + 110 * (i >= read) for i in range(len(below))]
    for i, x in enumerate(places):
        part, low = box(ax, x, 150, "GRU", "module", min(unit - 20, 60), 40), 18 * (i % 2) * wide[i >= read]
        arrow(ax, (x, 90 - low), part.bottom)
        label(ax, x, 80 - low, below[i])
        if i >= read:
            arrow(ax, part.top, (x, 206 + low))
            label(ax, x, 216 + low, above[i - read])
        if i == read:
            vector = grid(ax, (x + places[i - 1]) / 2, 150, np.zeros((4, 1)), "state", (20, 20), written=False)
            arrow(ax, last.right, vector.left)
            frame(ax, vector.x, 150, 40, 100, color=INK, line="-")
            label(ax, vector.x - 20, 225, "one vector:\nthe bottleneck", weight="bold")
            last = vector
        if i:
            arrow(ax, last.right, part.left)
        last = part
    brace(ax, places[0] - 25, places[read - 1] + 25, 38, "encoder: reads", below=True)
    brace(ax, places[read] - 25, places[-1] + 25, 38, "decoder: writes; each word is its next input", below=True)
    return ax


def _steps(ax, texts, places):
    """Number the steps at their places, and say in the upper left corner what they are."""
    for number, (text, place) in enumerate(zip(texts, places), 1):
        y = ax.get_ylim()[1] - 32 - 28 * number
        for point in ((30, y), place):
            badge(ax, *point, number)
        label(ax, 48, y, text, ha="left")


def _look(ax, source, weights, query, *via):
    """Draw the encoder's states, the weights that a query gives them, and the context, which is returned."""
    weights = _tensor(weights)
    unit = 560 / len(source)
    context = blank(ax, 560, 285, 1, 4, "value")
    label(ax, 520, 285, "context", ha="right")
    for i, word in enumerate(source):
        x = 280 + unit * (i + 0.5)
        state = blank(ax, x, 100, 3, 1, "key")
        label(ax, x, 60, word, SMALL)
        label(ax, x + 12, 100, f"$h_{{{i + 1}}}$", SYMBOL, ha="left")
        weight = grid(ax, x, 175, weights[i], "weights")
        arrow(ax, state.top, weight.bottom)
        arrow(ax, weight.top, context.bottom, width=0.6 + 9 * float(weights[i]), color=EDGES["value"], head=False)
        if i == 0:
            arrow(ax, query, weight.left, *via, color=EDGES["query"])
    brace(ax, 280, 840, 42, "the encoder's states: keys and values in one", below=True)
    return context


def bahdanau_step(source, weights, last_word, next_word, title="Bahdanau: the state before the step asks"):
    """Draw one step of Bahdanau's decoder.

    Args:
        source: S words.
        weights: (S,), the attention weights of the step.
        last_word, next_word: what was written before, and what is written now.
    """
    ax = canvas(864, 610, title)
    before = blank(ax, 110, 285, 1, 4, "query")
    label(ax, 120, 320, "state before $s_{t-1}$", SYMBOL, ha="left")
    context = _look(ax, source, weights, before.bottom, (110, 175))
    gru, word = box(ax, 560, 375, "GRU", width=90), box(ax, 740, 375, f"last word: {last_word}", "tokens", 170)
    arrow(ax, before.top, gru.left, (110, 375))
    arrow(ax, context.top, gru.bottom)
    arrow(ax, word.left, gru.right)
    after = blank(ax, 560, 435, 1, 4)
    label(ax, 600, 435, "state after $s_t$", SYMBOL, ha="left")
    arrow(ax, gru.top, after.bottom)
    readout, out = box(ax, 560, 490, "read-out", width=110), box(ax, 560, 550, f"next word: {next_word}", "tokens", 170)
    arrow(ax, after.top, readout.bottom)
    arrow(ax, context.right, readout.right, (846, 285), (846, 490))
    arrow(ax, readout.top, out.bottom)
    steps = ("the state before the step asks", "each encoder state gets a weight", "their mixture is the context",
             "the state moves on", "state and context give the next word")  # fmt: skip
    _steps(ax, steps, ((110, 225), (258, 175), (612, 285), (500, 375), (490, 490)))
    return ax


def luong_step(source, weights, last_word, next_word, input_feeding=True, title="Luong: the state after the step asks"):
    """Draw one step of Luong's decoder.

    Args:
        source, weights, last_word, next_word: as for `bahdanau_step`.
        input_feeding: whether the step is also fed what the step before it has found.
    """
    ax = canvas(864, 580, title)
    state = blank(ax, 110, 175, 1, 4, "query")
    label(ax, 120, 208, "state after $s_t$", SYMBOL, ha="left")
    context = _look(ax, source, weights, state.right)
    gru, word = box(ax, 110, 105, "GRU", width=80), box(ax, 110, 35, f"last word: {last_word}", "tokens", 160)
    before = blank(ax, 28, 105, 4, 1)
    label(ax, 28, 150, "$s_{t-1}$", SYMBOL)
    combine = box(ax, 560, 375, "combine", width=110)
    found = blank(ax, 560, 440, 1, 4)
    out = box(ax, 560, 510, f"next word: {next_word}", "tokens", 170)
    for start, end in ((word.top, gru.bottom), (before.right, gru.left), (gru.top, state.bottom),
                       (context.top, combine.bottom), (combine.top, found.bottom), (found.top, out.bottom)):  # fmt: skip
        arrow(ax, start, end)
    arrow(ax, state.top, combine.left, (110, 375))
    label(ax, 520, 440, r"what the step found $\tilde{h}_t$", SYMBOL, ha="right")
    if input_feeding:
        fed = blank(ax, 215, 105, 4, 1)
        arrow(ax, fed.left, gru.right, line="--")
        label(ax, 215, 150, r"$\tilde{h}_{t-1}$", SYMBOL)
        arrow(ax, found.right, (740, 440), line="--")
        label(ax, 746, 440, "input feeding:\nto the next step", ha="left", size=SMALL)
    steps = ("the state moves on", "the state after the step asks", "each encoder state gets a weight",
             "their mixture is the context", "state and context are combined")  # fmt: skip
    _steps(ax, steps, ((60, 80), (180, 175), (258, 202), (612, 285), (490, 375)))
    return ax


def split_heads(tokens, d_model=8, num_heads=2, weights=None, title="Split the width, attend in each head, join"):
    """Draw how queries, keys and values are cut into heads, how each head attends, and how the outputs are joined.

    Args:
        tokens: T strings.
        d_model, num_heads: the width, and how many slices it is cut into.
        weights: (H, T, T); default: no numbers, each head its own diagonal.
    """
    size, width, shape = len(tokens), d_model // num_heads, f"({len(tokens)}, {d_model})"
    diagonals = torch.stack([torch.eye(size).roll(-head, 1) for head in range(num_heads)])
    maps, cell = (diagonals, (18, 18)) if weights is None else (_tensor(weights), (34, 24))
    lane, step = cell[1] * size + 64, 16 * size + 60
    height = max(num_heads * lane, 3 * step) + 70
    ax, middle = canvas(864, height, title), height / 2 - 19
    for number, kind in enumerate(("query", "key", "value")):
        y, name = middle + step * (1 - number), "QKV"[number]
        whole = blank(ax, 110, y, size, d_model, kind, rows=tokens, name=f"${name}$", shape=shape)
        for head in range(1, num_heads):
            x = whole.left[0] + 16 * width * head
            ax.plot([x, x], [y - 8 * size - 4, y + 8 * size + 4], color=INK, lw=2.6, zorder=4)
    ends = [middle + 1.3 * step, middle - 1.3 * step]
    ax.plot([182, 190, 190, 182], [ends[0], *ends, ends[1]], color=QUIET, lw=1.4)
    joined = blank(ax, 782, middle, size, d_model, "value", name="joined", shape=shape)
    projection = box(ax, 782, joined.bottom[1] - 62, "$W_O$", width=70, size=SYMBOL)
    arrow(ax, (782, joined.bottom[1] - 24), projection.top)
    arrow(ax, projection.bottom, (782, projection.bottom[1] - 26))
    label(ax, 782, projection.bottom[1] - 36, "output")
    for head in range(num_heads):
        y = middle + lane * ((num_heads - 1) / 2 - head)
        for number, kind in enumerate(("query", "key", "value")):
            name = f"${'QKV'[number]}_{head + 1}$"
            blank(ax, 248 + 8 * width + number * (16 * width + 12), y - 8, size, width, kind, name=name)
        slices = frame(ax, 260 + 24 * width, y, 48 * width + 48, 16 * size + 46)
        pattern = grid(ax, 535, y, maps[head], "weights", cell, written=weights is not None, name=f"weights {head + 1}")
        out = blank(ax, 645, y, size, width, "value", name=f"head {head + 1}")
        arrow(ax, (190, middle), slices.left)
        for start, end in ((slices, pattern), (pattern, out), (out, joined)):
            arrow(ax, start.right, end.left)
    return ax


def three_attentions(source, target, title="Three attentions: whose queries, whose keys"):
    """Draw the encoder's self-attention, the decoder's masked one, and the cross-attention, one query of each.

    Args:
        source: the words that the encoder reads.
        target: the words that the decoder has read so far.
    """
    ax = canvas(864, 430, title)
    panels = (
        ("encoder self-attention", source, source, "the whole source", 148),
        ("masked self-attention", target, target, "only what is written", 440),
        ("cross-attention", target, source, "the whole source", 712),
    )
    for number, (name, queries, keys, sees, x) in enumerate(panels):
        label(ax, x, 345, name, weight="bold")
        label(ax, x, 322, f"sees {sees}", color=QUIET)
        asking, unit = len(queries) // 2, min(64, 256 / max(len(queries), len(keys)))
        places = [[x + unit * (i - (len(words) - 1) / 2) for i in range(len(words))] for words in (queries, keys)]
        for i, word in enumerate(queries):
            box(ax, places[0][i], 270, word, "query" if i == asking else "norm", unit - 5, 28, 9)
        for j, word in enumerate(keys):
            seen = number != 1 or j <= asking
            box(ax, places[1][j], 150, word, "key" if seen else "norm", unit - 5, 28, 9)
            if seen:
                arrow(ax, (places[1][j], 164), (places[0][asking], 256), color=EDGES["key"])
        label(ax, x, 296, "queries", SMALL, EDGES["query"])
        label(ax, x, 122, "keys and values", SMALL, EDGES["key"])
    encoder = frame(ax, 148, 244, 276, 284, "encoder")
    frame(ax, 576, 244, 556, 284, "decoder")
    arrow(ax, encoder.bottom, (712, 110), (148, 40), (712, 40))
    label(ax, 430, 54, "the encoder's output: memory")
    return ax


def transformer_map(sections=None, num_layers="N", title="The Transformer, as it is built here"):
    """Draw the encoder-decoder with pre-norm layers and a norm after each stack.

    Args:
        sections: a dictionary from part ("tokens", "embedding", "encoder layer", "decoder layer", "masks",
            "final norm", "output", "decoding") to the section that builds it, written beside it.
        num_layers: how many layers each stack has.

    Raises:
        ValueError: a part that is not on the map.
    """
    ax, stream = canvas(864, 765, title), {"width": 3, "color": "#777777"}
    stacks = (
        ("encoder", "source: ids (B, S)", 120, 1, "right", ("self-attention", "feed-forward")),
        ("decoder", "target so far: ids (B, T)", 744, -1, "left",
         ("masked self-attention", "cross-attention", "feed-forward")),
    )  # fmt: skip
    norms = []
    for name, ids, x, side, ha, sublayers in stacks:
        ids, embedding = box(ax, x, 40, ids, "tokens", 200), box(ax, x, 98, "embedding · √d + positions", width=230)
        chain(ax, ids, embedding)
        parts, top = _layer(ax, x, 150, sublayers, True, side)
        frame(ax, x + 110 * side, (top + 160) / 2, 324, top - 112, f"{num_layers} × {name} layer", ha=ha)
        norms.append(box(ax, x, top + 54, "norm", "norm", 84, 26))
        arrow(ax, embedding.top, (x, 150), head=False, **stream)
        arrow(ax, (x, top), norms[-1].bottom, **stream)
    arrow(ax, norms[0].top, parts[1].left, (120, 500), (432, 500), (432, parts[1].y))
    label(ax, 276, 508, "memory (B, S, d_model):\nkeys and values", va="bottom")
    output = box(ax, 744, 655, "output: logits (B, T, V)", width=190)
    chain(ax, norms[1], output)
    arrow(ax, output.top, (744, 700))
    label(ax, 744, 712, "next token")
    places = {
        "tokens": (432, 40), "embedding": (432, 98), "encoder layer": (40, 280), "decoder layer": (832, 330),
        "masks": (490, 226), "final norm": (670, norms[1].y), "output": (620, 655), "decoding": (670, 712),
    }  # fmt: skip
    for part, section in (sections or {}).items():
        if part not in places:
            raise ValueError(f"sections names {part!r}; the parts are {', '.join(places)}")
        label(ax, *places[part], section, color=EDGES["query"], weight="bold")
    return ax


def cache_step(tokens, title="One step of decoding, without a cache and with one"):
    """Draw what the last of the tokens makes a decoder compute, read, and compute again.

    Args:
        tokens: the tokens read so far, the new one last.
    """
    ax, count = canvas(864, 370, title), len(tokens)
    unit = min(64, 320 / count)
    rows = (("queries", "query", 262), ("keys", "key", 202), ("values", "value", 142))
    said = (f"computes {3 * count} vectors in each layer,\n{3 * count - 3} of them again",
            f"computes 3 vectors in each layer,\nreads {2 * count - 2} that are kept")  # fmt: skip
    for cached, (name, x) in enumerate((("without a cache", 105), ("with a cache", 535))):
        label(ax, x + unit * count / 2, 318, name, weight="bold")
        label(ax, x + unit * count / 2, 42, said[cached], color=INK if cached else WRONG)
        for plural, kind, y in rows:
            label(ax, x - 10, y, plural, ha="right")
            for j in range(count - 1):
                place = x + unit * (j + 0.5)
                if not cached:
                    box(ax, place, y, "again", "wrong", unit - 10, 36, 9, color=WRONG)
                elif kind != "query":
                    box(ax, place, y, "read", "norm", unit - 10, 36, 9, line="--", color=EDGES[kind])
            box(ax, x + unit * (count - 0.5), y, "new", kind, unit - 10, 36, 9)
        for j, token in enumerate(tokens):
            label(ax, x + unit * (j + 0.5), 96, token, SMALL, weight="bold" if j == count - 1 else "normal")
    return ax


def _letters(ax, x, y, symbols, unit, known, marked=None):
    """Draw symbols side by side, those that are known filled, the marked one red; return the boxes."""
    parts = []
    for i, symbol in enumerate(symbols):
        kind = "wrong" if i == marked else "tokens" if i in known else "norm"
        how = {"rotation": 90, "size": 8.5} if symbol == "BOS" else {}
        how["color"] = WRONG if i == marked else INK if i in known else "#767676"
        line = "-" if i in known else ":"
        parts.append(box(ax, x + unit * (i + 0.5), y, symbol, kind, unit - 3, 32, line=line, **how))
    return parts


def two_models(word, position, sizes=("1 layer, 1 head", "2 + 2 layers, 4 heads"), title=None):
    """Draw what MiniFormer and FullTransformer read before they say a letter of a word.

    Args:
        word: the word.
        position: how many of its letters are written.
        sizes: what is said of the two.
    """
    ax = canvas(864, 400, title or f"What comes after {word[:position]!r}? Two models, two ways to read")
    symbols, every, known = ["BOS", *word], range(len(word) + 1), range(position + 1)
    unit = min(24, 250 / len(symbols))
    for name, size, x in zip(("MiniFormer", "FullTransformer"), sizes, (25 + unit * len(symbols) / 2, 570)):
        label(ax, x, 352, name, weight="bold")
        label(ax, x, 330, size, color=QUIET)
    tops = []
    for text, x in (("causal self-attention", 25), ("causal self-attention", 590)):
        label(ax, x + unit * len(symbols) / 2, 26, text, SMALL, QUIET)
        column = _letters(ax, x, 60, symbols, unit, known)
        node = box(ax, column[position].x, 160, "", "attention", unit - 3, 32)
        for letter in column[: position + 1]:
            chain(ax, letter, node, width=1.1)
        tops.append(node)
    label(ax, 305 + unit * len(symbols) / 2, 26, "encoder: self-attention in both directions", SMALL, QUIET)
    source, memory = (
        _letters(ax, 305, y, letters, unit, every) for y, letters in ((60, symbols), (160, [""] * len(every)))
    )
    for part in memory:
        for letter in source:
            chain(ax, letter, part, width=0.4, color="#aaaaaa", head=False)
    around = frame(ax, 305 + unit * len(symbols) / 2, 160, unit * len(symbols) + 8, 44, color=INK)
    cross = box(ax, tops[1].x, 225, "", "attention", unit - 3, 32)
    arrow(ax, around.top, cross.left, (around.x, 225))
    label(ax, around.x + 10, 237, "cross-attention to every letter", SMALL, ha="left")
    chain(ax, tops[0], box(ax, tops[0].x, 285, "next letter?", "tokens", 110))
    chain(ax, tops[1], cross, box(ax, cross.x, 285, "next letter?", "tokens", 110))
    return ax


def leak_path(word, position, masked=(), title=None):
    """Draw the way by which the next letter reaches the decoder that is asked for it, in red; or that there is none.

    Args:
        word: the word, which is both source and target.
        position: how many of its letters are written; the next one is asked for.
        masked: where the future is hidden: "cross", "encoder", both or neither.
    """
    if unknown := sorted({*masked} - {"cross", "encoder"}):
        raise ValueError(f"masked names {unknown}; the places are 'cross' and 'encoder'")
    answer, leaks = word[position], len({*masked}) < 2
    if not title and leaks:
        title = f"The answer {answer!r} {'still ' if masked else ''}reaches the decoder that is asked for it"
    ax, symbols = canvas(864, 380, title or f"No way is left for the answer {answer!r}"), ["BOS", *word]
    unit, every, through = min(36, 390 / len(symbols)), range(len(symbols)), position + ("cross" not in masked)
    middle, color, width = 25 + unit * len(symbols) / 2, *((WRONG, 3) if leaks else (INK, 1.4))
    source, target = (
        _letters(ax, 25, 70, symbols, unit, every, position + 1),
        _letters(ax, 455, 70, symbols, unit, range(position + 1)),
    )
    memory = _letters(ax, 25, 180, [""] * len(symbols), unit, every, through if leaks else None)
    node = box(ax, target[position].x, 240, "", "wrong" if leaks else "attention", unit - 3, 32)
    out = box(ax, node.x, 310, f"next: {answer}" if leaks else "next: ?", "wrong" if leaks else "tokens", 90)
    for letter in target[: position + 1]:
        chain(ax, letter, node)
    chain(ax, source[position + leaks], memory[through], color=color, width=width)
    arrow(ax, memory[through].top, node.left, (memory[through].x, 240), color=color, width=width)
    chain(ax, node, out, color=color, width=width)
    cross = "cross-attention" + (", the future hidden" if "cross" in masked else ", nothing hidden")
    encoder = "encoder: " + ("the future hidden" if "encoder" in masked else "the whole word, in both directions")
    label(ax, memory[through].x + 10, 254, cross, SMALL, color, ha="left")
    label(ax, middle, 36, encoder, SMALL, QUIET)
    label(ax, middle + 430, 36, "decoder: the letters so far", SMALL, QUIET)
    return ax
