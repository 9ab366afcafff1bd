"""Pictures: the one heat map, the grid of heads, curves, intervals, gold links on a map."""

import base64
import io

import matplotlib.pyplot as plt
import seaborn as sns
import torch
from IPython import get_ipython
from IPython.display import display
from matplotlib.patches import Rectangle

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
        xticklabels=list(key_tokens), yticklabels=list(query_tokens), linewidths=0.3, annot_kws={"fontsize": "small"},
        cbar_kws={"shrink": 0.8},
    )  # fmt: skip
    ax.tick_params(axis="x", rotation=0 if all(len(token) <= 2 for token in key_tokens) else 90)
    ax.tick_params(axis="y", rotation=0)


def attention_heatmap(weights, query_tokens, key_tokens=None, title="Attention weights", values=False, ax=None):
    """Draw attention weights: rows are queries, columns are keys, colour from 0 to 1.

    Args:
        weights: (T_q, T_k).
        query_tokens: T_q strings.
        key_tokens: T_k strings (default: the query tokens).
        title: what the picture shows.
        values: whether to write each weight into its cell.
        ax: where to draw (default: a new figure).

    Returns:
        the matplotlib axes.
    """
    if ax is None:
        rows, columns = len(query_tokens), len(query_tokens if key_tokens is None else key_tokens)
        _, ax = plt.subplots(figsize=(max(4.6, 0.5 * columns + 2.2), max(2.2, 0.45 * rows + 1.4)))
    _draw(ax, weights, query_tokens, key_tokens, values)
    ax.set(xlabel="key", ylabel="query", title=title)
    return ax


def head_grid(attention, query_tokens, key_tokens=None, title="Attention weights of every head", size=2.9):
    """Draw every head of every layer: a row of heat maps for each layer.

    Args:
        attention: a list with one tensor a layer, (H, T_q, T_k) or (1, H, T_q, T_k).
        query_tokens, key_tokens: as for `attention_heatmap`.
        title: what the picture shows.
        size: width of one heat map in inches.

    Returns:
        the matplotlib figure.
    """
    layers = [torch.as_tensor(layer).detach() for layer in attention]
    layers = [layer.squeeze(0) if layer.dim() == 4 else layer for layer in layers]
    if not layers or any(layer.dim() != 3 for layer in layers):
        raise ValueError("attention must be a list with one tensor a layer, (H, T_q, T_k) for one sequence")
    rows, columns = len(layers), max(len(layer) for layer in layers)
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, size * rows + 0.5), squeeze=False)
    for row, layer in enumerate(layers):
        for column in range(columns):
            ax = axes[row, column]
            if column >= len(layer):
                ax.set_visible(False)
                continue
            _draw(ax, layer[column], query_tokens, key_tokens, colorbar=False)
            ax.set_title(f"layer {row + 1}, head {column + 1}")
            if row == rows - 1:
                ax.set_xlabel("key")
            else:
                ax.set_xticks([])
            if column == 0:
                ax.set_ylabel("query")
            else:
                ax.set_yticks([])
    figure.suptitle(title)
    return figure


def loss_curves(histories, references=None, title="Loss in training", ax=None):
    """Draw training (dashed) and validation loss (full line, best epoch marked) in nats per token.

    Args:
        histories: a dictionary from label to `helpers.training.History`.
        references: a dictionary from label to a loss, drawn as horizontal dotted lines.
        title: what the picture shows.
        ax: where to draw (default: a new figure).

    Returns:
        the matplotlib axes.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 4.5))
    for color, (label, history) in zip(PALETTE, histories.items()):
        epochs = range(1, len(history.train) + 1)
        ax.plot(epochs, history.train, "--", color=color, label=f"{label}, training")
        ax.plot(epochs, history.validation, color=color, label=f"{label}, validation")
        ax.plot(history.best_epoch + 1, history.best, "o", color=color)
    for label, loss in (references or {}).items():
        ax.axhline(loss, color="0.35", linestyle=":")
        ax.annotate(label, (0.01, loss), xycoords=("axes fraction", "data"), ha="left", va="bottom", fontsize="small")
    ax.set(xlabel="epoch", ylabel="nats per token", title=title)
    ax.legend(fontsize="small")
    return ax


def interval_plot(intervals, xlabel, title, references=None, ax=None):
    """Draw means with their intervals, one row a label.

    Args:
        intervals: a dictionary from label to `helpers.analysis.Interval`.
        xlabel: the quantity and its unit.
        title: what the picture shows.
        references: a dictionary from label to a number, drawn as vertical dotted lines.
        ax: where to draw (default: a new figure).

    Returns:
        the matplotlib axes.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 0.45 * len(intervals) + 1.6))
    for row, interval in enumerate(intervals.values()):
        ax.plot([interval.low, interval.high], [row, row], color=PALETTE[0], linewidth=2.5)
        ax.plot(interval.mean, row, "o", color=PALETTE[0])
    for label, number in (references or {}).items():
        ax.axvline(number, color="0.35", linestyle=":")
        ax.annotate(label, (number, 1), xycoords=("data", "axes fraction"), ha="right", va="top", rotation=90,
                    fontsize="small")  # fmt: skip
    ax.set_yticks(range(len(intervals)), list(intervals))
    ax.set_ylim(len(intervals) - 0.5, -0.5)
    ax.set(xlabel=xlabel, title=title)
    return ax


def interval_curves(x, curves, xlabel, ylabel, title, log="", ax=None):
    """Draw means over `x` as lines and their intervals as bands.

    Args:
        x: the numbers along the horizontal axis.
        curves: a dictionary from label to a list of `helpers.analysis.Interval`, one for each x.
        xlabel, ylabel: the quantities and their units.
        title: what the picture shows.
        log: the axes with a logarithmic scale: "", "x", "y" or "xy".
        ax: where to draw (default: a new figure).

    Returns:
        the matplotlib axes.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 4.5))
    for color, (label, intervals) in zip(PALETTE, curves.items()):
        ax.plot(x, [i.mean for i in intervals], "o-", color=color, label=label, markersize=4)
        ax.fill_between(x, [i.low for i in intervals], [i.high for i in intervals], color=color, alpha=0.25, lw=0)
    if "x" in log:
        ax.set_xscale("log", base=2)
    if "y" in log:
        ax.set_yscale("log")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend(fontsize="small")
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
    if ax is None:
        _, ax = plt.subplots(figsize=(0.62 * columns + 1.6, 0.36 * rows + 1.2))
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
    if ax is None:
        _, ax = plt.subplots(figsize=(max(6.5, 0.9 * len(tokens) + 1.5), 3.2))
    width = 0.8 / len(steps)
    for number, (label, weights) in enumerate(steps.items()):
        weights = torch.as_tensor(weights).detach().float().cpu()
        if weights.shape != (len(tokens),):
            raise ValueError(f"weights of {label!r} have shape {tuple(weights.shape)}; there are {len(tokens)} tokens")
        places = [position - 0.4 + width * (number + 0.5) for position in range(len(tokens))]
        bars = ax.bar(places, weights.tolist(), width, color=PALETTE[number], label=label)
        if len(steps) == 1:
            ax.bar_label(bars, [f"{w:.2f}" for w in weights.tolist()], fontsize="small")
    ax.set_xticks(range(len(tokens)), tokens)
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
    figure.savefig(
        file, format="png", dpi=2 * figure.dpi, bbox_inches="tight", facecolor="white", metadata={"Software": None}
    )
    plt.close(figure)
    width, height = (round(int.from_bytes(file.getvalue()[i : i + 4], "big") / 2) for i in (16, 20))  # PNG's header
    if width > WIDEST:
        raise ValueError(f"the figure is {width} pixels wide; a column of text holds {WIDEST}: make it narrower")
    picture = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": repr(figure)}
    about = {"alt": " ".join(alternative_text.split()), "width": width, "height": height}
    display(picture, metadata={"image/png": about}, raw=True)
