"""Make a reveal.js deck of every chapter, build/slides/NN.html: `make slides`. Works without a network.

A deck is Markdown written by hand, .github/slides/NN.md: slides between lines `---`, what the lecturer says after
`Note:`, and `. . .` where the next key is to show the rest. What the chapter computed is not copied into it but fetched
from the executed notebook, by a tag of the cell, each on a line of its own:

    {{figure: tag}}  {{figure: tag: 40% 70%}}      its picture; or shown up to 40 per cent of its width, 70, all of it
    {{code: tag}}    {{code: tag: first ... last}} its code without assertions; or from one line to another
    {{output: tag}}  {{output: tag: first ... last}}  what it printed
    {{view: tag}}                                  what moves in the page; also by the cell's id
"""

import ast
import base64
import html
import io
import re
import shutil
import sys
import textwrap
import time

import chapters
from nbconvert.filters import strip_ansi
from PIL import Image, ImageOps
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

SLIDES = chapters.BUILD / "slides"
DECKS = chapters.ROOT / ".github" / "slides"
HERE = chapters.ROOT / ".ci"
LINES, COLUMNS = 12, 80  # of code or output: what a room can read
FETCHED = re.compile(r"^\{\{(\w+): *([\w-]+)(?:: *(.+?))?\}\}$", re.M)
TITLE = 64  # pixels from the top of a drawing, twice as fine as it is shown, that its title takes
MODULES = [chapters.ROOT / "helpers" / f"{name}.py" for name in ("diagrams", "model_diagrams")]
TITLED = re.findall(
    r"^def (\w+)\(.*?title=", "\n".join(path.read_text(encoding="utf-8") for path in MODULES), flags=re.M
)
DRAWING = re.compile(rf"\b({'|'.join(TITLED)})\(")
FORMULA = re.compile(r"```.*?```|`[^`\n]*`|\$\$(.+?)\$\$|\$([^$\n]+)\$", re.S)


def written(path):
    """Return where the deck of a chapter lies."""
    found = DECKS / f"{path.stem[:2]}.md"
    if not found.exists():
        raise ValueError(f"{path.stem} has no deck: write .github/slides/{found.name}")
    return found


def cell_of(notebook, tag):
    """Return the one cell that has a tag."""
    found = [cell for cell in notebook.cells if tag in (*chapters.tags(cell), cell.id)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} cells have the tag {tag!r}; a slide needs exactly one")
    return found[0]


def part(text, lines, tag):
    """Return the rows of a text, or those between two of them, each named by words that stand in it: `first ... last`."""
    rows = text.splitlines()
    if not lines:
        return rows
    first, _, last = (words.strip() for words in lines.partition("..."))
    starts = [i for i, row in enumerate(rows) if first in row]
    ends = [i for i, row in enumerate(rows) if (last or first) in row and starts and i >= starts[0]]
    if not ends:
        raise ValueError(f"the cell {tag!r} has no lines {lines!r} any more")
    return textwrap.dedent("\n".join(rows[starts[0] : ends[0] + 1])).splitlines()


def readable(rows, tag):
    """Return rows as one text if a room can read it."""
    longest = max(map(len, rows), default=0)
    if len(rows) > LINES or longest > COLUMNS:
        raise ValueError(f"{tag!r}: {len(rows)} lines of up to {longest} characters, not {LINES} of {COLUMNS}")
    return "\n".join(rows)


def without_assertions(source):
    """Return code without the assertions of its top level."""
    rows = source.splitlines()
    for node in ast.parse(source).body:
        called = ast.unparse(node.value.func) if isinstance(getattr(node, "value", None), ast.Call) else ""
        if isinstance(node, ast.Assert) or called == "torch.testing.assert_close":
            rows[node.lineno - 1 : node.end_lineno] = [None] * (node.end_lineno - node.lineno + 1)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(row for row in rows if row is not None)).strip()


def broken(rows):
    """Return code whose long rows are broken at a comma or a call; shapes at their end go above, other remarks go."""
    shown = []
    for row in rows:
        code, mark, remark = row.partition("  # ")
        indent = " " * (len(row) - len(row.lstrip()))
        if len(row) > COLUMNS and mark:
            shown += [f"{indent}# {remark}"] if remark.startswith("(") else []
            row = code.rstrip()
        while len(row) > COLUMNS and (cut := max(row.rfind(", ", 0, COLUMNS) + 1, row.rfind(").", 0, COLUMNS) + 1)):
            shown.append(row[:cut])
            row = f"{indent}        {row[cut:].strip()}"
        shown.append(row)
    return shown


def code(cell, lines, tag):
    shown = readable(broken(part(without_assertions(cell.source), lines, tag)), tag)
    return f'<pre class="code">{highlight(shown, PythonLexer(), HtmlFormatter(nowrap=True)).rstrip()}</pre>'


def output(cell, lines, tag):
    text = strip_ansi("".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout"))
    text = "\n".join(row for row in text.splitlines() if not re.search(r"\d+%\|", row))  # no progress bars
    text = re.sub(r"\btensor\((\[[^()\n]*\])\)", r"\1", text)  # a row of numbers; a matrix keeps its columns
    if not text.strip():
        raise ValueError(f"the cell {tag!r} prints nothing")
    how = {"width": COLUMNS, "subsequent_indent": "    ", "drop_whitespace": False}
    rows = [line for row in part(text.rstrip(), lines, tag) for line in textwrap.wrap(row, **how) or [""]]
    return f'<pre class="out">{html.escape(readable(rows, tag))}</pre>'


def trimmed(picture, untitled):
    """Return a picture without its white margins, larger on a slide, and its place in the whole: left and width.

    Args:
        picture: PNG as base64, twice as fine as it is shown.
        untitled: whether it is a drawing, whose title the slide's own replaces.
    """
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    ink = ImageOps.invert(image.convert("L")).point(lambda value: 255 if value > 8 else 0)
    if untitled:
        ink.paste(0, (0, 0, image.width, min(TITLE, image.height // 2)))
    left, top, right, bottom = ink.getbbox() or (0, 0, *image.size)
    file = io.BytesIO()
    image.crop((left, top, right, bottom)).quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        file, "png"
    )
    return base64.b64encode(file.getvalue()).decode(), (right - left, bottom - top), left, image.width


def figure(cell, steps, tag, cells=()):
    """Return a cell's picture, the right part of it covered until the next key if there are steps."""
    pictures = [o["data"]["image/png"] for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    if len(pictures) != 1:
        raise ValueError(f"the cell {tag!r} has {len(pictures)} pictures; a slide shows one")
    picture, (width, height), left, whole = trimmed(pictures[0], bool(DRAWING.search(cell.source)))
    alt = html.escape(chapters.alternative_text(cells, cells.index(cell)), quote=True)
    at = [(int(step) * whole / 100 - left) * 100 / width for step in re.findall(r"(\d+)%", steps or "")]
    covers = "".join(
        f'<i class="cover fragment fade-out" style="left: {start:.1f}%; width: {end - start + 0.4:.1f}%"></i>'
        for start, end in zip(at, [*at[1:], 100])
    )
    picture = f'<img alt="{alt}" src="data:image/png;base64,{picture}">'
    style = f"--ratio: {width / height:.4f}; --width: {width // 2}"
    return f'<div class="figure"><div class="frame" style="{style}">{picture}{covers}</div></div>'


def view(cell, _, tag):
    frames = [o["data"]["text/html"] for o in cell.outputs if "<iframe" in o.get("data", {}).get("text/html", "")]
    if len(frames) != 1:
        raise ValueError(f"the cell {tag!r} has {len(frames)} views; a slide shows one")
    one_line = re.sub(r"\s*\n\s*", "&#10;", frames[0])  # Markdown ends a block of HTML at an empty line
    return f'<div class="view">{one_line}</div>'


def filled(text, notebook):
    """Return a deck's Markdown with what it fetches from the notebook."""

    def fetched(found):
        kind, tag, rest = found.groups()
        cell = cell_of(notebook, tag)
        if kind == "figure":
            return figure(cell, rest, tag, notebook.cells)
        if kind not in ("code", "output", "view"):
            raise ValueError(f"there are figure, code, output and view, and no {kind}")
        return {"code": code, "output": output, "view": view}[kind](cell, rest, tag)

    return FETCHED.sub(fetched, text)


def formula(found):
    """Return a formula as an element that Markdown leaves alone and deck.js typesets; code is left as it is."""
    tex = found[1] or found[2]
    if not tex:
        return found[0]
    kind, tex = "display" if found[1] else "inline", re.sub(r"\s+", " ", tex.strip())
    return f'<span class="tex" data-{kind}="{html.escape(tex, quote=True)}"></span>'


def slide(text, notebook):
    """Return one slide as reveal.js reads it: Markdown in a script element."""
    shown, mark, notes = text.strip().partition("\nNote:")
    shown = FORMULA.sub(formula, shown)
    pieces = re.split(r"^\. \. \.$\n", shown, flags=re.M)
    shown = "".join(
        [pieces[0], *(f'\n<div class="next fragment">\n\n{piece.strip()}\n\n</div>\n' for piece in pieces[1:])]
    )
    whole = filled(shown, notebook) + (f"\n\nNote:\n{FORMULA.sub(formula, notes)}" if mark else "")
    whole = whole.replace("</script>", "__SCRIPT_END__")
    return f'<section data-markdown><script type="text/template">\n{whole}\n</script></section>'


def slides(path, notebook):
    """Return the slides of a deck that was written by hand."""
    found, wrong = [], []
    name = written(path).relative_to(chapters.ROOT).as_posix()
    for number, text in enumerate(re.split(r"^---$\n", written(path).read_text(encoding="utf-8"), flags=re.M), start=1):
        try:
            found.append(slide(text, notebook))
        except ValueError as error:
            wrong.append(f"{name}, slide {number}: {error}")
    if wrong:
        raise ValueError("\n".join(wrong))
    return found


def deck(path, resources="files"):
    """Return a chapter's deck as an HTML page and the number of its slides."""
    notebook = chapters.read(path)
    parts = slides(path, notebook)
    name = html.escape(chapters.plain(notebook.cells[0].source.splitlines()[0]))
    styles = "".join(f'<link rel="stylesheet" href="{resources}/{n}.css">\n' for n in ("reveal", "pygments", "deck"))
    scripts = "".join(
        f'<script src="{resources}/{n}.js"></script>\n' for n in ("mathjax", "reveal", "markdown", "notes", "deck")
    )
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
{styles}<script>window.MathJax = {{ startup: {{ typeset: false }}, svg: {{ fontCache: "local" }},
  options: {{ enableMenu: false }} }};</script>
{scripts}</head><body><div class="reveal"><div class="slides">
{chr(10).join(parts)}
</div></div></body></html>
"""
    return page, len(parts)


def write_resources(folder):
    """Copy what the decks share: reveal.js, MathJax, our own style."""
    folder.mkdir(parents=True)
    reveal = chapters.package_file("sphinx-revealjs", "sphinx_revealjs/_static/revealjs")
    for source in ("dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js", "plugin/markdown/markdown.js"):
        shutil.copy(reveal / source, folder)
    shutil.copy(chapters.mathjax(), folder / "mathjax.js")
    for name in ("deck.css", "deck.js"):
        shutil.copy(HERE / name, folder)
    style = HtmlFormatter(style="a11y-high-contrast-light").get_style_defs("pre.code")
    (folder / "pygments.css").write_text(style, encoding="utf-8")


def write(folder):
    """Write every chapter's deck into a folder; return the names of the files and the numbers of slides."""
    shutil.rmtree(folder, ignore_errors=True)
    write_resources(folder / "files")
    numbers = {}
    for path in chapters.chapters():
        page, number = deck(path)
        name = f"{path.stem[:2]}.html"
        (folder / name).write_text(page, encoding="utf-8")
        numbers[name] = number
    return numbers


def main():
    begin = time.perf_counter()
    for name, number in write(SLIDES).items():
        print(f"{(SLIDES / name).relative_to(chapters.ROOT)}: {number} slides")
    print(f"{time.perf_counter() - begin:.0f} s; S shows the speaker notes")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(str(error))
