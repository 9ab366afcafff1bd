"""What the website, the slides and the handouts share: the chapters that are there, and small repairs of their text."""

import ast
import re
from importlib.metadata import distribution
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
BUILD = ROOT / "build"

BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\((?P<url>[^)\s]*)\)\n*", re.I)
DRAWING_WORDS = {"title", "set_title", "suptitle"}


def chapters():
    """Return the paths of the chapters' notebooks, in order: whatever is there, no list is kept anywhere."""
    return sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))


def studies():
    """Return the paths of the studies' notebooks, in order; the last has no chapter of its own."""
    return sorted((NOTEBOOKS / "studies").glob("[0-9]*.ipynb"))


def solutions():
    """Return the paths of the notebooks with solutions, in order of their chapters."""
    return [path for path in map(solutions_of, chapters()) if path]


def pages():
    """Return the paths of all notebooks: chapters, studies, solutions."""
    return [*chapters(), *studies(), *solutions()]


def solutions_of(chapter):
    """Return the path of a chapter's solutions, or `None` if there are none yet."""
    path = NOTEBOOKS / "solutions" / f"{chapter.stem}_solutions.ipynb"
    return path if path.exists() else None


def read(path):
    """Return a notebook."""
    return nbformat.read(path, as_version=4)


def number(path):
    """Return the chapter's number as the reader knows it: 1 for `01_attention_basics.ipynb`."""
    return int(path.stem.split("_")[0])


def without_badge(text):
    """Return Markdown without its Colab badge, whose picture lies on another server."""
    return BADGE.sub("", text)


def open_details(text):
    """Return Markdown in which the inside of `<details>` is Markdown, too: it needs an empty line on both sides."""
    text = re.sub(r"</summary>[ ]*\n?(?=[^\n])", "</summary>\n\n", text)
    return re.sub(r"(?<=[^\n])\n?</details>", "\n\n</details>", text)


def tags(cell):
    """Return a cell's tags."""
    return cell.metadata.get("tags", [])


def has_picture(cell):
    """Say whether a cell has drawn a figure."""
    return cell.cell_type == "code" and any("image/png" in o.get("data", {}) for o in cell.outputs)


def about_pictures(cell):
    """Return what the outputs of a cell say about their figures: `alt`, `width` and `height`, if `show` drew them."""
    return [o.metadata.get("image/png", {}) for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]


def has_view(cell):
    """Say whether a cell has drawn a dynamic view (BertViz)."""
    return cell.cell_type == "code" and any("<iframe" in o.get("data", {}).get("text/html", "") for o in cell.outputs)


def titles(source):
    """Return the titles that a cell's code gives to its figure, in order: what a sighted reader sees above it.

    It finds `title="..."`, `title = "..."`, `ax.set_title("...")`, `plt.title("...")`; where there is none of these,
    whatever else in the code reads like a title: a few words that begin with a capital letter or go on from one.
    """
    tree = ast.parse(source)
    in_pieces = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    words, found = [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in in_pieces:
            words.append(node)
        elif isinstance(node, ast.keyword) and node.arg == "title":
            found.append(node.value)
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "title":
            found.append(node.value)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in DRAWING_WORDS and node.args:
            found.append(node.args[0])
    found = [node for node in found if any(node is word for word in words)]
    found = found or [node for node in words if re.match(r"([A-Z0-9]|\.\.\. ).* .* ", node.value)]
    return list(dict.fromkeys(node.value for node in sorted(found, key=lambda node: (node.lineno, node.col_offset))))


def plain(markdown):
    """Return Markdown as plain text on one line: no emphasis, no code marks, no links, no dollar signs."""
    text = re.sub(r"<[^>]+>", " ", markdown)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^\s*(#+|\||>)\s*", "", text, flags=re.M)
    text = text.replace("**", "").replace("`", "").replace("$", "").replace("\\", "")
    return re.sub(r"\s+", " ", re.sub(r"(?<!\w)\*|\*(?!\w)", "", text)).strip()


def sentences(markdown, how_many):
    """Return the first sentences of Markdown as plain text."""
    parts = re.split(r"(?<=[.!?:])\s+(?=[A-Z\"*(])", plain(markdown))
    return " ".join(parts[:how_many])


def alternative_text(cells, index):
    """Return what to say to a reader who does not see the figure of cell `index`.

    What `helpers.plots.show` was told. A figure that was not shown by it: its title, and the sentence below it that says
    what to see; without a title, the sentence above it.
    """
    stored = [about["alt"] for about in about_pictures(cells[index]) if about.get("alt")]
    if stored:
        return plain(" ".join(stored))
    said = [plain(title).rstrip(". ") for title in titles(cells[index].source)]
    if not said and index and cells[index - 1].cell_type == "markdown":
        said = [sentences(re.sub(r"^#+ .*$", "", cells[index - 1].source, flags=re.M), 1).rstrip(".:")]
    after = next((c for c in cells[index + 1 : index + 3] if c.cell_type == "markdown"), None)
    if after is not None and not after.source.lstrip().startswith(("#", "|", "-", "<", "**")):
        said.append(sentences(after.source.strip().split("\n\n")[0], 2).rstrip(":"))
    said = [part if part.endswith((".", "?", "!")) else part + "." for part in said if part]
    return "Figure: " + " ".join(said) if said else "Figure"


def package_file(package, path):
    """Return where a file or a folder of an installed package lies."""
    found = Path(distribution(package).locate_file(path))
    if not found.exists():
        raise FileNotFoundError(f"{found}: not there; install .ci/site-requirements.txt")
    return found


def mathjax():
    """Return MathJax in one file that needs no fonts beside it."""
    return package_file("sphinx-mathjax-offline", "sphinx-mathjax-offline/static/mathjax/tex-svg-full.js")
