"""Draw everything that the two modules of drawings can draw, measure it, and lay it on sheets, build/look/drawings-*.png."""

import itertools
import sys
from pathlib import Path

import matplotlib

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    matplotlib.use("Agg")

import chapters
import matplotlib.pyplot as plt
import torch
from matplotlib.patches import FancyArrowPatch, Patch
from matplotlib.text import Text

from helpers import diagrams as draw
from helpers import model_diagrams as models

BUILD = Path(__file__).resolve().parents[1] / "build" / "look"
WIDEST, SMALLEST = 864, 8.0  # pixels at 100 dpi, points
X = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]])
Q, K, V = torch.tensor([[1.0, 0], [0, 2], [2, 1]]), torch.tensor([[0.0, 1], [2, 1], [0, 2]]), torch.eye(3)[:, :2] * 4
WORDS, WRITTEN = "the cat eats the fish".split(), "<BOS> neko wa sakana o".split()
WEIGHTS = [0.03, 0.08, 0.05, 0.1, 0.74]
SECTIONS = ("tokens", "embedding", "encoder layer", "decoder layer", "masks", "final norm", "output", "decoding")

GALLERY = {
    "soft_lookup": lambda: draw.soft_lookup([0, 2, 1], torch.eye(3), [1, 2, 4], ["apple", "pear", "plum"]),
    "soft_lookup, wide": lambda: draw.soft_lookup(
        [0.5, -1.25, 2],
        torch.randn(5, 3, generator=torch.manual_seed(0)),
        torch.eye(5)[:, :2],
        ["k1", "k2", "k3", "k4", "k5"],
    ),
    "attention_steps": lambda: draw.attention_steps(X, Q, K, V, ["the", "cat", "sat"]),
    "attention_steps, scaled": lambda: draw.attention_steps(X, Q, K, V, ["the", "cat", "sat"], scaled=True),
    "mask_gallery": lambda: draw.mask_gallery([*WORDS[:4], "<PAD>"]),
    "late_mask": lambda: draw.late_mask(Q @ K.T, ["the", "cat", "sat"]),
    "blocks": draw.blocks,
    "recurrent_network": lambda: models.recurrent_network(WORDS),
    "recurrent_network, long": lambda: models.recurrent_network([*WORDS, "again", "<EOS>"], cell="GRU"),
    "encoder_decoder": lambda: models.encoder_decoder(WORDS, [*WRITTEN[1:], "tabemasu"]),
    "bahdanau_step": lambda: models.bahdanau_step(WORDS, WEIGHTS, "wa", "sakana"),
    "luong_step": lambda: models.luong_step(WORDS, WEIGHTS, "wa", "sakana"),
    "luong_step, not fed": lambda: models.luong_step(WORDS, WEIGHTS, "wa", "sakana", input_feeding=False),
    "split_heads": lambda: draw.split_heads(["the", "cat", "sat"]),
    "split_heads, four": lambda: draw.split_heads(WORDS[:4], 8, 4, torch.eye(4).expand(4, 4, 4)),
    "three_attentions": lambda: models.three_attentions(WORDS[:3], WRITTEN[:4]),
    "transformer_map": lambda: models.transformer_map({part: "4.2" for part in SECTIONS}, num_layers=2),
    "cache_step": lambda: models.cache_step(WRITTEN),
    "two_models": lambda: models.two_models("flycatcher", 5),
    "leak_path": lambda: models.leak_path("flycatcher", 5),
    "leak_path, half mended": lambda: models.leak_path("flycatcher", 5, masked=("cross",)),
    "leak_path, mended": lambda: models.leak_path("flycatcher", 5, masked=("cross", "encoder")),
}


def boxes_of(figure):
    """Return the texts of a figure with their places in pixels, and the places of its patches."""
    renderer = figure.canvas.get_renderer()
    texts = [
        (t, t.get_window_extent(renderer)) for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()
    ]
    solid = [p for p in figure.findobj(Patch) if not isinstance(p, FancyArrowPatch) and p.zorder >= 3]
    return texts, [p.get_window_extent(renderer) for p in solid]


def smallest_text(figure):
    """Return the smallest letters of a figure in points; a subscript is 0.7 of its symbol."""
    texts, _ = boxes_of(figure)
    sizes = [t.get_fontsize() * (0.7 if "$" in t.get_text() and "_" in t.get_text() else 1) for t, _ in texts]
    return min(sizes)


def faults(figure):
    """Yield what is wrong: too wide; small letters; texts outside the picture or their box, on each other, on an arrow."""
    figure.canvas.draw()
    texts, boxes = boxes_of(figure)
    width, height = figure.get_size_inches() * figure.dpi
    if width > WIDEST:
        yield f"{width:.0f} pixels wide"
    if (size := smallest_text(figure)) < SMALLEST:
        yield f"letters of {size:.1f} points"
    for text, place in texts:
        name = repr(text.get_text())
        if place.x0 < 0 or place.y0 < 0 or place.x1 > width or place.y1 > height:
            yield f"{name} leaves the picture"
        middle = ((place.x0 + place.x1) / 2, (place.y0 + place.y1) / 2)
        around = [box for box in boxes if box.contains(*middle)]
        if around and not any(box.x0 <= place.x0 and place.x1 <= box.x1 for box in around):
            yield f"{name} is wider than its box"
        if not around and any(arrow_crosses(patch, place) for patch in figure.findobj(FancyArrowPatch)):
            yield f"an arrow runs through {name}"
        if not around and any(
            box.x0 < place.x1 - 1 and place.x0 < box.x1 - 1 and box.y0 < place.y1 - 3 and place.y0 < box.y1 - 3
            for box in boxes
        ):
            yield f"{name} lies on a box"
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 3:
            yield f"{one.get_text()!r} lies on {other.get_text()!r}"


def arrow_crosses(patch, place):
    """Return whether an arrow's line runs through a text's place, two pixels of its edge left out."""
    points = patch.get_transform().transform_path(patch.get_path()).interpolated(50).vertices
    inside = (points > [place.x0 + 2, place.y0 + 3]) & (points < [place.x1 - 2, place.y1 - 3])
    return bool(inside.all(axis=1).any())


def sheet(pages, width, columns, name):
    """Lay pictures on one sheet in columns of a width, as a column of text or a phone shows them."""
    from PIL import Image

    small = [page.resize((width, page.height * width // page.width), Image.LANCZOS) for page in pages]
    stacks = [small[i::columns] for i in range(columns)]
    whole = Image.new(
        "RGB", (columns * (width + 8), max(sum(p.height + 8 for p in stack) for stack in stacks)), "#777777"
    )
    for number, stack in enumerate(stacks):
        y = 0
        for page in stack:
            whole.paste(page, ((width + 8) * number, y))
            y += page.height + 8
    whole.save(BUILD / name)


def look():
    """Write each drawing and sheets of them all, print what was measured, and return what is wrong with each."""
    from PIL import Image

    from helpers.plots import use_style

    use_style()
    BUILD.mkdir(parents=True, exist_ok=True)
    pages, wrong = [], {}
    for name, make in GALLERY.items():
        figure = make().figure
        wrong[f"drawing {name}"], size = list(faults(figure)), smallest_text(figure)
        path = BUILD / f"drawing-{name.replace(', ', '-').replace(' ', '-')}.png"
        figure.savefig(path, dpi=100)
        plt.close(figure)
        pages.append(Image.open(path).convert("RGB"))
        print(f"{name:26} {pages[-1].width:4} x {pages[-1].height:4}  {size:4.1f} pt")
    for width, columns in ((WIDEST, 2), (WIDEST // 2, 3), (390, 4)):
        sheet(pages, width, columns, f"drawings-{width}.png")
    print(f"{len(pages)} drawings: build/look/drawings-432.png shows them at half width, -864 and -390 at others")
    return wrong | stored()


def stored():
    """Return what is wrong with the figures in the notebooks: wider than a column of text, or without a text of their own."""
    wrong, widths = {}, []
    for path in chapters.pages():
        cells = chapters.read(path).cells
        for cell in (cell for cell in cells if chapters.has_picture(cell)):
            for about in chapters.about_pictures(cell):
                widths.append(about.get("width", WIDEST + 1))
                problems = ["drawn without plots.show"] if "width" not in about else []
                problems += [f"{widths[-1]} pixels wide"] if "width" in about and widths[-1] > WIDEST else []
                problems += [] if about.get("alt") else ["no alternative text"]
                wrong.setdefault(f"{path.stem}, cell {cell.id}", []).extend(problems)
    print(f"{len(widths)} figures in the notebooks, up to {max(widths)} pixels wide")
    return wrong


def main():
    """Look at the drawings alone."""
    wrong = [f"{name}: {problem}" for name, problems in look().items() for problem in problems]
    print("\n".join(wrong) or "nothing is wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
