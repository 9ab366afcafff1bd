"""The map of the Transformer, drawn box by box."""

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

LEFT, RIGHT, WIDTH = 2.6, 8.0, 3.4  # centres of the two stacks, and how wide a box is
COLORS = dict(zip(("tokens", "embedding", "attention", "feed-forward", "output"), sns.color_palette("pastel")))


def architecture_map(sections=None, num_layers="N", title="The Transformer: an encoder reads, a decoder writes"):
    """Draw the encoder-decoder of "Attention Is All You Need": boxes are parts, arrows are tensors.

    Args:
        sections: a dictionary from part ("tokens", "embedding", "encoder layer", "decoder layer", "masks", "output",
            "decoding") to the section that builds it, written beside it.
        num_layers: what is written at the stacks.
        title: what the picture shows.

    Returns:
        the matplotlib axes.

    Raises:
        ValueError: a part that is not on the map.
    """
    sections = sections or {}
    figure, ax = plt.subplots(figsize=(11, 8.6))

    def box(x, y, text, kind):
        patch = FancyBboxPatch(
            (x - WIDTH / 2, y - 0.34), WIDTH, 0.68, boxstyle="round,pad=0.04", fc=COLORS[kind], ec="0.3"
        )
        ax.add_patch(patch)
        ax.text(x, y, text, ha="center", va="center")

    def arrow(start, end, bend=0.0, style="-|>", line="-"):
        shape = {
            "arrowstyle": style,
            "mutation_scale": 14,
            "color": "0.25",
            "linestyle": line,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        ax.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", **shape))

    def residual(x, low, high, side):
        """The bypass around a box, from below it to the sum above it."""
        edge = x + side * (WIDTH / 2 + 0.3)
        ax.plot([x, edge, edge, x], [low, low, high, high], color="0.55", linewidth=1.5, zorder=0)
        ax.text(
            x,
            high,
            "+ norm",
            ha="center",
            va="center",
            fontsize="x-small",
            bbox={"fc": "white", "ec": "0.55", "pad": 1.5},
        )

    def column(x, names, first, side):
        for number, (text, kind) in enumerate(names):
            y = first + 1.35 * number
            box(x, y, text, kind)
            residual(x, y - 0.55, y + 0.62, side)
            ax.plot([x, x], [y - 0.75, y - 0.5], color="0.25", zorder=0)
            arrow((x, y - 0.55), (x, y - 0.36))
            ax.plot([x, x], [y + 0.36, y + 0.63], color="0.25", zorder=0)
        top = first + 1.35 * (len(names) - 1) + 0.95
        frame = FancyBboxPatch(
            (x - WIDTH / 2 - 0.5, first - 0.75), WIDTH + 1.0, top - first + 0.75, boxstyle="round,pad=0.05",
            fc="none", ec="0.45", linestyle="--",
        )  # fmt: skip
        ax.add_patch(frame)
        return top

    for x, language in ((LEFT, "source"), (RIGHT, "target so far")):
        box(x, 0.2, f"{language}: ids (B, {'S' if x == LEFT else 'T'})", "tokens")
        box(x, 1.3, "embedding · √d + positions", "embedding")
        arrow((x, 0.58), (x, 0.92))
        ax.plot([x, x], [1.66, 2.1], color="0.25")
    encoder = [("self-attention", "attention"), ("feed-forward", "feed-forward")]
    decoder = [
        ("masked self-attention", "attention"),
        ("cross-attention", "attention"),
        ("feed-forward", "feed-forward"),
    ]
    top_left, top_right = column(LEFT, encoder, 2.75, -1), column(RIGHT, decoder, 2.75, +1)
    ax.text(LEFT - WIDTH / 2 - 0.75, 3.6, f"{num_layers} x", ha="right", va="center")
    ax.text(RIGHT + WIDTH / 2 + 0.75, 4.2, f"{num_layers} x", ha="left", va="center")
    # The memory: out of the encoder's top, into every cross-attention.
    middle = (LEFT + RIGHT) / 2
    ax.plot([LEFT, LEFT, middle], [top_left, 6.0, 6.0], color="0.25")
    ax.plot([middle, middle], [6.0, 4.1], color="0.25")
    arrow((middle, 4.1), (RIGHT - WIDTH / 2 - 0.04, 4.1))
    ax.text(middle - 0.15, 6.15, "memory (B, S, d_model)", ha="right", fontsize="small")
    ax.text(middle + 0.1, 3.78, "keys, values", ha="center", fontsize="x-small")
    arrow((RIGHT, top_right), (RIGHT, 7.3))
    box(RIGHT, 7.66, "output: logits (B, T, V)", "output")
    arrow((RIGHT, 8.02), (RIGHT, 8.5))
    ax.text(RIGHT, 8.62, "next token", ha="center", va="bottom")
    places = {
        "tokens": (middle, 0.2), "embedding": (middle, 1.3), "encoder layer": (LEFT - 2.5, 4.4), "masks": (middle, 2.35),
        "decoder layer": (RIGHT + 2.6, 5.0), "output": (middle + 0.4, 7.66), "decoding": (RIGHT + 1.6, 8.7),
    }  # fmt: skip
    for part, section in sections.items():
        if part not in places:
            raise ValueError(f"sections names {part!r}; the parts are {', '.join(places)}")
        x, y = places[part]
        ax.text(x, y, section, ha="center", va="center", fontweight="bold", color=sns.color_palette("colorblind")[0],
                bbox={"fc": "white", "ec": "none", "pad": 1.0})  # fmt: skip
    ax.set(xlim=(-0.6, 11.2), ylim=(-0.4, 9.2), title=title)
    ax.set_aspect("equal")
    ax.axis("off")
    return ax
