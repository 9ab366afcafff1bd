"""Pictures: the one heat map, the grid of heads, curves, intervals, gold links on a map."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from IPython import get_ipython
from IPython.display import display
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
from PIL import Image

from helpers.glyphs import drawable

PALETTE = sns.color_palette("colorblind")
WIDEST = 864  # pixels: the column of text on the site and in Jupyter


def use_style():
    """Set the series' look: sizes that stay readable at half width and in a projector, about 100 dpi, PNG."""
    sns.set_theme(style="whitegrid", palette="colorblind", font_scale=1.15)
    plt.rcParams.update(
        {"figure.dpi": 100, "savefig.dpi": 100, "axes.titlesize": "medium", "figure.constrained_layout.use": True}
    )


def _matrix(weights, query_tokens, key_tokens):
    """Return weights as a NumPy matrix after checking that it fits its tokens."""
    weights = torch.as_tensor(weights).detach().float().cpu()
    if weights.dim() != 2:
        raise ValueError(f"weights has shape {tuple(weights.shape)}; a heat map shows one matrix (T_q, T_k)")
    if tuple(weights.shape) != (len(query_tokens), len(key_tokens)):
        raise ValueError(
            f"weights has shape {tuple(weights.shape)}, but there are {len(query_tokens)} query tokens and "
            f"{len(key_tokens)} key tokens"
        )
    return weights.numpy()


def _draw(ax, weights, query_tokens, key_tokens, values=False, colorbar=True):
    key_tokens = query_tokens if key_tokens is None else key_tokens
    sns.heatmap(
        _matrix(weights, query_tokens, key_tokens),
        ax=ax, vmin=0, vmax=1, cmap="viridis", square=True, cbar=colorbar, annot=values, fmt=".2f",
        xticklabels=drawable(key_tokens), yticklabels=drawable(query_tokens), linewidths=0.3, annot_kws={"fontsize": "small"},
        cbar_kws={"shrink": 0.8, "label": "weight"},
    )  # fmt: skip
    _fit_labels(ax)


def _fit_labels(ax):
    """Make the tokens fit their cells; each for itself, so that one long token does not lay the letters on their sides."""
    place = ax.get_window_extent()
    cell = min(place.width / np.ptp(ax.get_xlim()), place.height / np.ptp(ax.get_ylim())) * 72 / ax.figure.dpi  # points
    size = min(max(cell * 0.95, 8), FontProperties(size=plt.rcParams["xtick.labelsize"]).get_size_in_points())
    for tick in ax.get_xticklabels():
        tick.set(fontsize=size, rotation=0 if len(tick.get_text()) * 0.7 * size <= max(cell - 3, size) else 90)
    for tick in ax.get_yticklabels():
        tick.set(fontsize=size, rotation=0)


def attention_heatmap(
    weights,
    query_tokens,
    key_tokens=None,
    title="Attention weights",
    values=False,
    ax=None,
    xlabel="key",
    ylabel="query",
):
    """Draw attention weights: rows are queries, columns are keys, colour from 0 to 1.

    Args:
        weights: (T_q, T_k).
        query_tokens: T_q strings.
        key_tokens: T_k strings (default: the query tokens).
        title: what the picture shows.
        values: whether to write each weight into its cell.
        ax: where to draw (default: a new figure).
        xlabel, ylabel: what columns and rows are, where they are not keys and queries.

    Returns:
        the matplotlib axes.
    """
    if ax is None:
        rows, columns = len(query_tokens), len(query_tokens if key_tokens is None else key_tokens)
        _, ax = plt.subplots(figsize=(min(8.4, max(4.6, 0.5 * columns + 2.2)), max(2.2, 0.45 * rows + 1.4)))
    _draw(ax, weights, query_tokens, key_tokens, values)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return ax


def head_grid(
    attention,
    query_tokens,
    key_tokens=None,
    title="Attention weights of every head",
    size=2.9,
    xlabel="key",
    ylabel="query",
):
    """Draw every head of every layer, four in a row at most, with one colour bar.

    Args:
        attention: a list with one tensor a layer, (H, T_q, T_k) or (1, H, T_q, T_k).
        query_tokens, key_tokens, xlabel, ylabel: as for `attention_heatmap`.
        title: what the picture shows.
        size: the greatest width of one heat map in inches.

    Returns:
        the matplotlib figure.
    """
    layers = [layer.squeeze(0) if layer.dim() == 4 else layer for layer in map(torch.as_tensor, attention)]
    if not layers or any(layer.dim() != 3 for layer in layers):
        raise ValueError("attention must be a list with one tensor a layer, (H, T_q, T_k) for one sequence")
    columns = min(4, max(len(layer) for layer in layers))
    heads = [
        (None, None) if head >= len(layer) else (f"layer {number}, head {head + 1}", layer[head])
        for number, layer in enumerate(layers, 1)
        for head in range(-(-len(layer) // columns) * columns)  # whole rows: a layer begins on the left
    ]
    rows, size = len(heads) // columns, min(size, 7.6 / columns)
    shape = layers[0].shape[1] / layers[0].shape[2]
    figure, axes = plt.subplots(
        rows, columns, figsize=(size * columns + 0.8, (size * shape + 0.2) * rows + 1.1), squeeze=False
    )
    for place, (ax, (name, weights)) in enumerate(zip(axes.flat, heads)):
        ax.set_visible(weights is not None)
        if weights is None:
            continue
        _draw(ax, weights, query_tokens, key_tokens, colorbar=False)
        ax.set_title(name, fontsize="small")
        lowest, first = (heads + [(None, None)] * columns)[place + columns][1] is None, place % columns == 0
        ax.set(xlabel=xlabel if lowest else "", ylabel=ylabel if first else "")
        ax.tick_params(labelbottom=lowest, labelleft=first)
    figure.colorbar(axes[0, 0].collections[0], ax=axes, label="weight", shrink=min(1, 0.8 * columns / rows), aspect=25)
    figure.suptitle(title)
    if figure.get_layout_engine() is not None:
        figure.get_layout_engine().execute(figure)  # the cells have their size only now
    for ax in axes.flat:
        _fit_labels(ax)
    return figure


def _name_lines(ax, lines):
    """Write the name of each line at its right end, beside the axes, moved apart where they would touch.

    Args:
        lines: (name, last y, colour) for each.
    """
    ax.autoscale_view()
    step = 1.3 * 10 * ax.figure.dpi / 72 / ax.get_window_extent().height  # a line of text, in parts of the height
    to_fraction = ax.transData + ax.transAxes.inverted()
    ordered = sorted((float(to_fraction.transform((1, y))[1]), name, color) for name, y, color in lines)
    places, highest = [], 1.0
    for place, _, _ in ordered:
        places.append(max(place, places[-1] + step) if places else place)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], highest)
        highest = places[i] - step
    for place, (_, name, color) in zip(places, ordered):
        ax.annotate(name, (1.01, place), xycoords="axes fraction", va="center", fontsize="small", color=color)


def loss_curves(histories, references=None, title="Loss in training", ax=None):
    """Draw training (dashed) and validation loss (full line, best epoch marked) in nats per token, named at their ends.

    Args:
        histories: a dictionary from label to `helpers.training.History`.
        references: a dictionary from label to a loss, drawn as horizontal dotted lines.
        title: what the picture shows.
        ax: where to draw (default: a new figure).

    Returns:
        the matplotlib axes.
    """
    ax = ax or plt.subplots(figsize=(7.5, 4.5))[1]
    names = [(label, loss, "0.35") for label, loss in (references or {}).items()]
    for _, loss, color in names:
        ax.axhline(loss, color=color, linestyle=":")
    for color, (label, history) in zip(PALETTE, histories.items()):
        epochs = range(1, len(history.train) + 1)
        ax.plot(epochs, history.train, "--", color=color)
        ax.plot(epochs, history.validation, color=color)
        ax.plot(history.best_epoch + 1, history.best, "o", color=color)
        names.append((label, history.validation[-1], color))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel="nats per token (dashed: training)", title=title)
    _name_lines(ax, names)
    return ax


def interval_plot(intervals, xlabel, title, references=None, ax=None):
    """Draw means with their intervals, one row a label; where a row holds the values themselves, the points.

    Args:
        intervals: a dictionary from label to `helpers.analysis.Interval`, or to the few values of which it is the mean.
        xlabel: the quantity and its unit.
        title: what the picture shows.
        references: a dictionary from label to a number, drawn as vertical dotted lines, named above the picture.
        ax: where to draw (default: a new figure).

    Returns:
        the matplotlib axes.
    """
    ax = ax or plt.subplots(figsize=(7.5, 0.45 * len(intervals) + 1.6 + 0.2 * len(references or {})))[1]
    for row, interval in enumerate(intervals.values()):
        if hasattr(interval, "low"):
            ax.plot([interval.low, interval.high], [row, row], color=PALETTE[0], linewidth=2.5)
            ax.plot(interval.mean, row, "o", color=PALETTE[0])
        else:
            values = torch.as_tensor(interval, dtype=torch.float64)
            ax.plot(values, [row] * len(values), "o", color=PALETTE[0], alpha=0.6, markersize=5)
            ax.plot(values.mean(), row, "|", color="black", markersize=16, markeredgewidth=2)
    ordered = sorted((references or {}).items(), key=lambda item: -item[1])
    for level, (label, number) in enumerate(ordered):
        ax.axvline(number, color="0.35", linestyle=":")
        ax.annotate(label, (number, 1), (0, 3 + 13 * level), xycoords=("data", "axes fraction"),
                    textcoords="offset points", ha="center", va="bottom", fontsize="small",
                    arrowprops={"arrowstyle": "-", "color": "0.35", "linestyle": ":", "shrinkA": 0},
                    bbox={"fc": "white", "ec": "none", "pad": 0.5}, zorder=3 + level)  # fmt: skip
    ax.set_yticks(range(len(intervals)), list(intervals))
    ax.set_ylim(len(intervals) - 0.5, -0.5)
    ax.set(xlabel=xlabel)
    ax.set_title(title, pad=6 + 13 * len(ordered))
    return ax


def interval_curves(x, curves, xlabel, ylabel, title, log="", ax=None):
    """Draw means over `x` as lines, named at their ends, with intervals: bands over many x, bars over eight and fewer.

    Args:
        x: the numbers along the horizontal axis.
        curves: a dictionary from label to a list of `helpers.analysis.Interval`, one for each x; or of the few values
            themselves, which are drawn as points.
        xlabel, ylabel: the quantities and their units.
        title: what the picture shows.
        log: the axes with a logarithmic scale: "", "x", "y" or "xy".
        ax: where to draw (default: a new figure).

    Returns:
        the matplotlib axes.
    """
    ax = ax or plt.subplots(figsize=(7.5, 4.5))[1]
    if "x" in log:
        ax.set_xscale("log", base=2)
    if "y" in log:
        ax.set_yscale("log")
    names = []
    for number, (color, (label, numbers)) in enumerate(zip(PALETTE, curves.items())):
        beside = ScaledTranslation((number - (len(curves) - 1) / 2) * 5 / 72, 0, ax.figure.dpi_scale_trans)
        moved = ax.transData + beside if len(x) <= 8 else ax.transData  # so that curves do not cover each other
        raw = not hasattr(numbers[0], "low")
        means = [float(torch.as_tensor(n, dtype=torch.float64).mean()) if raw else n.mean for n in numbers]
        ax.plot(x, means, "-" if raw else "o-", color=color, markersize=4, transform=moved)
        for place, n in zip(x, numbers):
            if raw:
                ax.plot([place] * len(n), n, "o", color=color, markersize=4, alpha=0.6, transform=moved)
            elif len(x) <= 8:
                ax.plot([place, place], [n.low, n.high], color=color, linewidth=2, transform=moved)
        if not raw and len(x) > 8:
            ax.fill_between(x, [n.low for n in numbers], [n.high for n in numbers], color=color, alpha=0.25, lw=0)
        names.append((label, means[-1], color))
        ends = [(min(n), max(n)) if raw else (n.low, n.high) for n in numbers]
        ax.update_datalim([(place, y) for place, pair in zip(x, ends) for y in (*pair,)])
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if len(curves) > 1:
        _name_lines(ax, names)
    return ax


def matrix_blocks(matrix, row_blocks=None, column_blocks=None, title="", ax=None):
    """Draw a small matrix with its numbers, and lines between blocks of rows or columns that have a name each.

    Args:
        matrix: (rows, columns).
        row_blocks, column_blocks: a dictionary from name to number of rows or columns, in order; None for no blocks.
        title: what the picture shows.
        ax: where to draw (default: a new figure).

    Returns:
        the matplotlib axes.
    """
    matrix = torch.as_tensor(matrix).detach().float().cpu()
    rows, columns = matrix.shape
    ax = ax or plt.subplots(figsize=(min(8.4, 0.62 * columns + 1.6), 0.36 * rows + 1.2))[1]
    limit = float(matrix.abs().max())
    sns.heatmap(matrix.numpy(), ax=ax, vmin=-limit, vmax=limit, cmap="vlag", annot=True, fmt=".2f", cbar=False,
                annot_kws={"fontsize": "small"})  # fmt: skip
    for blocks, size, line, ticks in (
        (row_blocks, rows, ax.axhline, ax.set_yticks),
        (column_blocks, columns, ax.axvline, ax.set_xticks),
    ):
        if blocks is None:
            ticks([i + 0.5 for i in range(size)], range(size))
            continue
        if sum(blocks.values()) != size:
            raise ValueError(f"the blocks {blocks} add up to {sum(blocks.values())}, but there are {size}")
        end, middles = 0, []
        for width in blocks.values():
            middles.append(end + width / 2)
            end += width
            if end < size:
                line(end, color="black", linewidth=2.5)
        ticks(middles, list(blocks))
    ax.tick_params(axis="both", rotation=0, length=0)
    ax.set_title(title)
    return ax


def outline_links(ax, links, color=PALETTE[1]):
    """Draw a frame around each gold link (source position, target position) of a heat map that is there already.

    Args:
        ax: the axes of `attention_heatmap`: rows are target words, columns source words.
        links: a set of (source position, target position).
        color: of the frames.

    Returns:
        the matplotlib axes.
    """
    for i, j in links:
        ax.add_patch(Rectangle((i + 0.06, j + 0.06), 0.88, 0.88, fill=False, edgecolor=color, linewidth=2.2))
    return ax


def weight_bars(steps, tokens, title, ax=None):
    """Draw the attention weights of one step, or of several beside each other, as bars over the source words.

    Args:
        steps: a dictionary from label to weights (T_k,).
        tokens: T_k strings.
        title: what the picture shows.
        ax: where to draw (default: a new figure).

    Returns:
        the matplotlib axes.
    """
    ax = ax or plt.subplots(figsize=(min(8.4, max(6.5, 0.9 * len(tokens) + 1.5)), 3.2))[1]
    width = 0.8 / len(steps)
    for number, (label, weights) in enumerate(steps.items()):
        weights = torch.as_tensor(weights).detach().float().cpu()
        if weights.shape != (len(tokens),):
            raise ValueError(f"weights of {label!r} have shape {tuple(weights.shape)}; there are {len(tokens)} tokens")
        places = [position - 0.4 + width * (number + 0.5) for position in range(len(tokens))]
        bars = ax.bar(places, weights.tolist(), width, color=PALETTE[number], label=label)
        if len(steps) == 1:
            ax.bar_label(bars, [f"{w:.2f}" for w in weights.tolist()], fontsize="small")
    ax.set_xticks(range(len(tokens)), drawable(tokens))
    ax.set(ylim=(0, 1.08), xlabel="key", ylabel="weight", title=title)
    ax.grid(axis="x", visible=False)
    if len(steps) > 1:
        ax.legend(fontsize="small")
    return ax


def show(alternative_text):
    """End a figure's cell: display the current figure as one PNG with its alternative text, and close it.

    The picture is twice as fine as it is shown, so that it stays sharp on a good screen. The text goes into the
    output's metadata, where nbconvert's classic pages and the series' own pages and site find it. Works with every
    backend; outside a notebook the figure opens in a window if there is one.

    Args:
        alternative_text: what the figure shows, for readers who do not see it.

    Raises:
        ValueError: an empty text, no figure, or a figure wider than `WIDEST` pixels.
    """
    if not isinstance(alternative_text, str) or not alternative_text.strip():
        raise ValueError(f"alternative_text is {alternative_text!r}; say in a sentence what the figure shows")
    if not plt.get_fignums():
        raise ValueError("there is no figure to show; draw one in the same cell")
    figure = plt.gcf()
    shell = get_ipython()
    if getattr(shell, "kernel", None) is None:
        if plt.get_backend().lower() not in ("agg", "pdf", "ps", "svg", "template"):
            plt.show()
        plt.close(figure)
        return
    file = io.BytesIO()
    pad = 0.05 if figure.get_layout_engine() else 0  # a drawing is as wide as its canvas
    figure.savefig(file, format="png", dpi=2 * figure.dpi, bbox_inches="tight", pad_inches=pad, facecolor="white")
    plt.close(figure)
    picture, file = Image.open(file).convert("RGB"), io.BytesIO()
    width, height = picture.width // 2, picture.height // 2
    if width > WIDEST:
        raise ValueError(f"the figure is {width} pixels wide; a column of text holds {WIDEST}: make it narrower")
    # 256 colours, none further off than 6 of 255: a third of the size, and notebooks stay below 1.5 MB
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    picture = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": repr(figure)}
    about = {"alt": " ".join(alternative_text.split()), "width": width, "height": height}
    display(picture, metadata={"image/png": about}, raw=True)
