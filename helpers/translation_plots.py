"""Pictures of translation: attention weights with the gold alignment on top, and one step's weights as bars.

Readers meet this through `helpers.plots`, which knows the series' heat map.
"""

import matplotlib.pyplot as plt
import seaborn as sns
import torch
from matplotlib.patches import Rectangle

COLORS = sns.color_palette("colorblind")


def outline_links(ax, links, color=COLORS[1]):
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
        bars = ax.bar(places, weights.tolist(), width, color=COLORS[number], label=label)
        if len(steps) == 1:
            ax.bar_label(bars, [f"{w:.2f}" for w in weights.tolist()], fontsize="small")
    ax.set_xticks(range(len(tokens)), tokens)
    ax.set(ylim=(0, 1.08), xlabel="key", ylabel="weight", title=title)
    ax.grid(axis="x", visible=False)
    if len(steps) > 1:
        ax.legend(fontsize="small")
    return ax
