"""Choose slides from the cells of a chapter that has no deck written by hand (see `slides.py`).

A lecture of 90 minutes carries 30 to 45 slides, a chapter has well over a hundred cells. So a deck is a choice: every
section, every figure, every question to the room, and the steps that matter; the rest of the text and code stands in
the speaker notes (press S), beside the slide where it belongs. The choice follows from the notebook: cells marked
"slide" or "subslide" weigh more, cells marked "skip" are left out.
"""

import ast
import base64
import html
import re
import struct

import chapters
from nbconvert.filters import strip_ansi
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

AT_LEAST, USUAL, AT_MOST = 30, 42, 45  # slides a chapter
PROSE_BESIDE, PROSE_ALONE = 380, 900  # characters of prose on a slide with code or a figure, and without
COLUMNS = 108  # characters of code and output that fit side by side at 16 pixels
LONGEST_CODE, LONGEST_OUTPUT = 27, 12  # lines


class Unit:
    """What may become one slide: prose, the code that it introduces, and what that printed or drew."""

    def __init__(self, section):
        self.section, self.prose, self.code, self.leads, self.caption = section, [], [], False, ""

    def __repr__(self):
        return f"Unit({self.section!r}, {self.title()!r}, {len(self.code)} code cells)"

    @property
    def text(self):
        return "\n\n".join(cell.source for cell in self.prose)

    @property
    def drawn(self):
        return [cell for cell in self.code if chapters.has_picture(cell) or chapters.has_view(cell)]

    def title(self):
        """Return the unit's own title: its heading, else the bold words that it begins with, else its figure's."""
        if found := re.search(r"^#{1,4} +(.+)$", self.text, flags=re.M):
            return found[1]
        if found := re.match(r"\*\*(?!Remember|Predict)([^*]{3,60}?)[.:?]?\*\*", self.text):
            return found[1] + ("?" if self.text[found.start() : found.end()].endswith("?**") else "")
        if self.drawn and (named := chapters.titles(self.drawn[0].source)) and not named[0].endswith("..."):
            return named[0]
        return "Predict first" if self.asks else ""

    @property
    def asks(self):
        return "predict first" in self.text.lower()

    def take_caption(self, cell):
        """Take a Markdown cell after the figure as what is said of it; return whether it is the one that says "See ...".

        An assertion may stand between the two: what leads on to it ends in a colon, and is no caption.
        """
        said = chapters.without_badge(cell.source).split("\n\n")[0]
        final = said.startswith("See ")
        if final or not (self.caption or said.endswith(":")):
            self.caption = said
        return final

    def weight(self):
        """Return how much the unit deserves a slide."""
        level = re.match(r"(#+) ", self.text.strip())
        weight = {1: 1000, 2: 500, 3: 60}.get(len(level[1]), 0) if level else 0
        weight += 95 * bool(self.drawn) + 40 * self.asks + 30 * self.leads
        weight += 12 * ("$$" in self.text or "\n|" in self.text) + 5 * bool(self.code)
        weight += 8 * any(re.search(r"^(class|def) ", cell.source, flags=re.M) for cell in self.code)
        return weight - 25 * (bool(self.code) and all(map(only_checks, self.code)))


def only_checks(cell):
    """Say whether a cell does nothing but assert and print."""
    for node in ast.parse(cell.source).body:
        printing = isinstance(node, ast.Expr) and getattr(getattr(node.value, "func", None), "id", "") == "print"
        if not (isinstance(node, (ast.Assert, ast.For)) or printing):
            return False
    return True


def only_prepares(cell):
    """Say whether a cell is the setup cell or imports for the whole chapter."""
    lines = [line for line in cell.source.splitlines() if line.strip()]
    return "setup" in chapters.tags(cell) or sum(line.startswith(("import ", "from ")) for line in lines) > 4


def remembered(source):
    """Return the sentence to remember if a Markdown cell ends with one: a last paragraph all in bold."""
    last = source.strip().split("\n\n")[-1].strip()
    return last if re.fullmatch(r"\*\*[^*]+(\*[^*\s][^*]*\*[^*]+)*\*\*", last) and len(last) > 40 else ""


def units(notebook):
    """Return the units of a notebook in order, and the sentence to remember of each section."""
    found, takeaways, section, unit, pictured = [], {}, "", None, None
    cells = [c for c in notebook.cells if c.source.strip()]
    for index, cell in enumerate(cells):
        kind = chapters.slide_type(cell)
        if kind == "skip" or (cell.cell_type == "code" and only_prepares(cell)):
            unit = None
            continue
        if cell.cell_type == "markdown":
            following = cells[index + 1] if index + 1 < len(cells) else None
            if following is not None and following.cell_type == "code" and only_prepares(following):
                continue  # a word about a cell that no slide shows
            if heading := re.search(r"^#{1,2} +(.+)$", cell.source, flags=re.M):
                section = heading[1]
            if last := remembered(cell.source):
                takeaways[section] = last
            starts = kind in ("slide", "subslide")
            if unit is None or unit.code or starts:
                if unit is not None and unit.drawn and not any(map(chapters.has_view, unit.drawn)):
                    pictured = unit
                if starts or (pictured is not None and pictured.take_caption(cell)):
                    pictured = None
                unit = Unit(section)
                unit.leads = starts
                found.append(unit)
            if last != cell.source.strip():
                unit.prose.append(cell)
        else:
            if unit is None:
                unit = Unit(section)
                found.append(unit)
            unit.code.append(cell)
    return [u for u in found if u.prose or u.code], takeaways


def chosen(all_units):
    """Return the indices of the units that become slides, in order."""
    weights = [unit.weight() for unit in all_units]
    must = sum(weight >= 50 for weight in weights)
    number = min(max(USUAL, must), AT_MOST, len(all_units))
    ranked = sorted(range(len(all_units)), key=lambda i: (-weights[i], i))
    return sorted(ranked[:number])


def markdown(text):
    """Return Markdown as HTML; MathJax reads the formulas in it. Links into the repository lead nowhere from a deck."""
    return markdown2html_mistune(re.sub(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:)[^)]*\)", r"\1", text))


def blocks(text):
    """Return the paragraphs of Markdown: formulas between double dollars, tables and lists are one block each."""
    return [block for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]


def on_slide(text, room):
    """Return the blocks of prose that go onto a slide, and whether anything was left out.

    Formulas, tables and questions to the room always go; sentences as long as there is room. Answers never: they are
    for the notes.
    """
    text = re.sub(r"<details>\s*<summary>(Predict first[^<]*)</summary>", r"**\1**\n\n<details>", text)
    text, answers = re.subn(r"<details>.*?</details>", "", text, flags=re.S)
    text = re.sub(r"^#{1,4} .*$", "", text, flags=re.M)
    kept, left_out = [], answers > 0
    for block in blocks(text):
        if block.startswith(("$$", "|")) or "predict first" in block.lower():
            kept.append(block)
            continue
        sentences = [block] if re.match(r"[-*\d]+\.? ", block) else re.split(r"(?<=[.!?:])\s+(?=[A-Z*`\"(])", block)
        taken = []
        for sentence in sentences:
            if room - len(sentence) < 0 and (taken or kept):
                left_out = True
                break
            taken.append(sentence)
            room -= len(sentence)
        if taken:
            kept.append(" ".join(taken))
        if len(taken) < len(sentences):
            left_out, room = True, 0
    return kept, left_out


def printed(cell):
    """Return what a cell printed, as plain text; a progress bar is not worth a slide."""
    text = ""
    for output in cell.outputs:
        data = output.get("data", {})
        if output.output_type == "stream" and output.name == "stdout":
            text += output.text
        elif "text/plain" in data and not {"image/png", "text/html"} & set(data):
            text += data["text/plain"] + "\n"
    lines = [line.split("\r")[-1] for line in strip_ansi(text).splitlines()]
    return "\n".join(line for line in lines if not re.search(r"\d+%\|", line)).strip("\n")


def shortened(text, most):
    """Return at most so many lines of a text, and a line that says so if there were more."""
    lines = text.splitlines()
    return "\n".join(lines if len(lines) <= most else [*lines[: most - 1], "..."])


def shown_code(source):
    """Return a cell's code as a slide shows it: without the assertions at its end if it is long, cut if it must be."""
    lines = re.sub(r"\n{3,}", "\n\n", source.strip()).splitlines()
    while len(lines) > LONGEST_CODE - 8 and re.match(r"assert |torch\.testing\.assert", lines[-1]):
        lines.pop()
    if len(lines) > LONGEST_CODE:
        ends = [
            i for i in range(8, LONGEST_CODE) if not lines[i].strip() or re.match(r"(    )?(def|class|for) ", lines[i])
        ]
        lines = [*lines[: ends[-1] if ends else LONGEST_CODE - 1], "# ... (goes on in the notebook)"]
    return "\n".join(lines)


def code_html(source):
    formatter = HtmlFormatter(nowrap=True)
    return f'<pre class="code">{highlight(source, PythonLexer(), formatter).rstrip()}</pre>'


def figure_html(cells, cell):
    """Return a cell's figures or its view, and whether it is wide."""
    parts, wide = [], False
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            width, height = struct.unpack(">II", base64.b64decode(data["image/png"])[16:24])
            wide = wide or width > 1.75 * height
            alt = html.escape(chapters.alternative_text(cells, cells.index(cell)), quote=True)
            style = f"height: min(var(--fig), {1.5 * height:.0f}px)"
            parts.append(f'<img alt="{alt}" style="{style}" src="data:image/png;base64,{data["image/png"]}">')
        elif "<iframe" in data.get("text/html", ""):
            wide = True
            parts.append(data["text/html"])
    return f'<div class="figure">{"".join(parts)}</div>', wide


def slide(unit, cells, title, kicker, takeaway, notes, answer=""):
    """Return one slide as HTML."""
    figures = [figure_html(cells, cell) for cell in unit.drawn]
    codes = [] if figures else ([cell for cell in unit.code if printed(cell)] or unit.code)[:2]
    alone = not (figures or codes)
    text = chapters.without_badge(unit.text)
    if unit.asks and "</details>" in text:  # the slide ends with the question
        text = text[: text.index("</details>") + len("</details>")]
    kept, _ = on_slide(text, PROSE_ALONE if alone or unit.asks else PROSE_BESIDE)
    if kept and (found := re.match(r"\*\*([^*]+)([.:?]\*\*|\*\*[.:?])\s*", kept[0])) and found[1] == title.rstrip("?"):
        kept[0] = kept[0][found.end() :]  # the title says it already
    prose = [f'<div data-goes="{2 if i else 4}">{markdown(block)}</div>' for i, block in enumerate(kept) if block]
    if alone or unit.asks:
        prose = [re.sub(r' data-goes="\d"', "", part) for part in prose]
    if unit.drawn and unit.caption and not unit.caption.startswith(("#", "|", "<", "**")):
        said = re.sub(r"\s[A-Z][^.?!:]*(:|\?|next cell[^.]*\.)\s*$", "", unit.caption)  # leads on to what is not here
        kept, _ = on_slide(said, 260)
        prose += [f'<div data-goes="3">{markdown(block)}</div>' for block in kept]
    listings = []
    for cell in codes:
        source, output = shown_code(cell.source), shortened(printed(cell), LONGEST_OUTPUT)
        out = f'<pre class="out" data-goes="5">{html.escape(output)}</pre>' if output else ""
        width = max(map(len, source.splitlines())) + max(map(len, output.splitlines()), default=0)
        if out and width <= COLUMNS:
            parts = f'<div class="wide">{code_html(source)}</div><div class="narrow">{out}</div>'
            listings.append(f'<div class="columns listing">{parts}</div>')
        else:
            listings.append(f"<div>{code_html(source)}{out}</div>")
        if unit.asks or len(listings) > 1:
            listings[-1] = f'<div data-goes="1">{listings[-1]}</div>'
    if unit.asks and listings:  # the room answers before it sees
        listings = [f'<div class="fragment">{listing}</div>' for listing in listings]
    if takeaway:
        hidden = " fragment" if unit.asks else ""
        takeaway = f'<div class="takeaway{hidden}" data-goes="6">{markdown(takeaway)}</div>'
    if answer:
        kept, _ = on_slide(answer, PROSE_BESIDE)
        listings += [f'<div class="fragment answer" data-goes="1">{"".join(map(markdown, kept))}</div>']
    head = f"<h1>{markdown_inline(title)}</h1>" if kicker is None else f"<h2>{markdown_inline(title)}</h2>"
    kicker = f'<p class="kicker">{markdown_inline(kicker)}</p>' if kicker else ""
    if figures and any(wide for _, wide in figures):
        body = "".join([*prose[:1], '<div class="below">', *[f for f, _ in figures], "</div>", *prose[1:]])
    elif figures:
        body = f'<div class="columns"><div class="text">{"".join(prose)}</div>{"".join(f for f, _ in figures)}</div>'
    else:
        body = "".join([*prose, *listings])
    notes = f'<aside class="notes">{notes}</aside>' if notes else ""
    return f"<section>{kicker}{head}{body}{takeaway or ''}{notes}</section>"


def markdown_inline(text):
    """Return one line of Markdown as HTML without a paragraph around it."""
    return re.sub(r"^<p>|</p>\s*$", "", markdown(text).strip())


def notes_of(unit):
    """Return what the lecturer reads: all the prose, answers included, and the code with what it printed."""
    text = re.sub(r"</?details>|<summary>(.*?)</summary>", lambda m: f"\n\n**{m[1]}:** " if m[1] else "", unit.text)
    text = re.sub(r"^#{1,4} .*$", "", chapters.without_badge(text), flags=re.M)
    parts = [markdown(text)]
    for cell in unit.code:
        parts.append(f"<pre>{html.escape(cell.source)}</pre>")
        if output := printed(cell):
            parts.append(f"<pre>{html.escape(shortened(output, 30))}</pre>")
    return "".join(parts)


def explanation(untaken):
    """Return the first folded text among the units that have no slide of their own: there a bug is explained."""
    folds = (re.match(r"<details>\s*<summary>.*?</summary>(.*?)</details>", u.text.strip(), re.S) for u in untaken)
    return next((fold[1].strip() for fold in folds if fold), "")


def slides(notebook):
    """Return the slides of a chapter, each as HTML."""
    all_units, takeaways = units(notebook)
    picked = chosen(all_units)
    if not AT_LEAST <= len(picked) <= AT_MOST:
        raise ValueError(
            f"{len(picked)} slides, not {AT_LEAST} to {AT_MOST}: the notebook marks too few or too many cells"
        )
    result, times = [], {}
    for place, index in enumerate(picked):
        unit = all_units[index]
        until = picked[place + 1] if place + 1 < len(picked) else len(all_units)
        notes = "".join([notes_of(unit), *map(notes_of, all_units[index + 1 : until])])
        times[unit.section] = times.get(unit.section, 0) + 1
        own = unit.title()
        title = own or f"{unit.section} ({times[unit.section]})"
        kicker = None if place == 0 else (unit.section if own and own != unit.section else "")
        last = until == len(all_units) or all_units[until].section != unit.section
        takeaway = takeaways.get(unit.section) if last else None
        notes += markdown(takeaway) if takeaway else ""
        answer = explanation(all_units[index + 1 : until])
        result.append(slide(unit, notebook.cells, title, kicker, takeaway, notes, answer))
    return result


def deck(path, resources="files"):
    """Return a chapter's deck as an HTML page and the number of its slides."""
    notebook = chapters.read(path)
    parts = slides(notebook)
    name = html.escape(chapters.plain(notebook.cells[0].source.splitlines()[0]))
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<link rel="stylesheet" href="{resources}/reveal.css"><link rel="stylesheet" href="{resources}/pygments.css">
<link rel="stylesheet" href="{resources}/slides.css">
<script>window.MathJax = {{ tex: {{ inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]] }}, svg: {{ fontCache: "local" }},
  options: {{ enableMenu: false, skipHtmlTags: ["script", "style", "pre", "code", "iframe"] }} }};</script>
<script src="{resources}/mathjax.js"></script><script src="{resources}/reveal.js"></script>
<script src="{resources}/notes.js"></script><script src="{resources}/slides.js"></script>
</head><body><div class="reveal"><div class="slides">
{chr(10).join(parts)}
</div></div></body></html>
"""
    return page, len(parts)
