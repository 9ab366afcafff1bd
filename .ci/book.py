"""Build the website into build/book: `make book`. Needs no network, and neither do its readers."""

import re
import shutil
import sys
import time
from pathlib import Path

import badges
import chapters
import nbformat
from repeat import SURROUNDINGS

ROOT, BUILD = chapters.ROOT, chapters.BUILD
SOURCE, SITE = BUILD / "book-source", BUILD / "book"
SETTINGS = ROOT / ".github" / "book"


def github(path):
    """Return the address of a file of the repository on GitHub."""
    name, branch = badges.address()
    return f"https://github.com/{name}/blob/{branch}/{path}"


def link(target, base):
    """Return where a link of a committed file must point to on the site.

    Notebooks are pages of the site; everything else of the repository is read on GitHub.

    Args:
        target: what is written in the file.
        base: the folder that it is written in.
    """
    if re.match(r"[a-z]+:|#", target):
        return target
    path, _, anchor = target.partition("#")
    path = (base / path).resolve()
    anchor = "#" + anchor if anchor else ""
    if path == chapters.NOTEBOOKS / "solutions":
        return f"solutions/index.md{anchor}"
    if path.suffix == ".ipynb" and path.is_relative_to(chapters.NOTEBOOKS) and path.exists():
        page = path.relative_to(chapters.NOTEBOOKS)
        inside = base.is_relative_to(chapters.NOTEBOOKS) and base != chapters.NOTEBOOKS
        return ("../" if inside else "") + page.as_posix() + anchor
    if path == ROOT / "README.md":
        return f"index.md{anchor}"
    if path.parent == SETTINGS and path.suffix == ".md":
        return path.name + anchor
    if path == ROOT / ".github" / "picture.png":
        return "_static/picture.png"
    return github(path.relative_to(ROOT).as_posix()) + anchor


def relinked(text, base):
    """Return Markdown whose links lead to the right place on the site; code is left alone."""
    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.S)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"\]\(([^)\s]+)\)", lambda m: f"]({link(m[1], base)})", parts[i])
    return "".join(parts)


def page(path):
    """Return a notebook as a page of the site: repaired links, alternative texts, the setup cell folded."""
    notebook, figures = chapters.read(path), 0
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            cell.source = relinked(chapters.open_details(chapters.without_badge(cell.source)), path.parent)
        if "setup" in chapters.tags(cell):
            cell.metadata["tags"] = [*chapters.tags(cell), "hide-input"]
        if chapters.has_picture(cell):
            figures += 1
            cell.metadata["mystnb"] = {"image": picture(notebook.cells, index), "figure": numbered(path, figures)}
    return notebook


def numbered(path, number):
    """Return the caption by which a figure can be cited, and the name that leads to it: `page.html#figure-2-3`."""
    kind = {"studies": "S", "solutions": "L"}.get(path.parent.name, "")
    name = f"{kind}{chapters.number(path)}.{number}"
    return {
        "caption": f"[Figure {name}](#figure-{name.replace('.', '-').lower()})",
        "name": f"figure-{name.replace('.', '-').lower()}",
    }


def picture(cells, index):
    """Return how the site shows the figures of cell `index`: their alternative text and, if `show` stored it, the width."""
    widths = {about["width"] for about in chapters.about_pictures(cells[index]) if "width" in about}
    image = {"alt": chapters.alternative_text(cells, index)}
    return (
        image | {"width": f"{widths.pop()}px"} if len(widths) == 1 else image
    )  # half the pixels: sharp on a good screen


def landing():
    """Return the landing page: its text is in .github/book/index.md, the chapters describe themselves."""
    text = relinked((SETTINGS / "index.md").read_text(encoding="utf-8"), SETTINGS)
    first = chapters.chapters()[0]
    for mark, part in {
        "colab": colab(first),
        "first": first.name,
        "chapters": "\n".join(map(card, chapters.chapters())),
        "studies": "\n".join(
            f"- [{title(path)}](studies/{path.name}): {question(path)}" for path in chapters.studies()
        ),
    }.items():
        text = text.replace(f"<!-- {mark} -->", part)
    if not playgrounds():
        text = "\n".join(line for line in text.splitlines() if "playground.md" not in line)
    return text + "\n" + contents()


def colab(path):
    """Return the address that opens a notebook in Colab: that of the last release, as in the README, if there is one."""
    name, branch = badges.address()
    opened = badges.release_of((ROOT / "README.md").read_text(encoding="utf-8"), (name, branch)) or branch
    return f"https://colab.research.google.com/github/{name}/blob/{opened}/{path.relative_to(ROOT).as_posix()}"


def about(path):
    """Return what the small table at a notebook's beginning says: a dictionary from "Time" and the like."""
    for cell in chapters.read(path).cells[:4]:
        if rows := re.findall(r"^\|\s*\*\*(.+?)\*\*\s*\|\s*(.+?)\s*\|\s*$", cell.source, flags=re.M):
            return {key: re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", value) for key, value in rows}
    return {}


def card(path):
    """Return a chapter's card: what you will be able to do, how long it takes, and the ways to it."""
    says = about(path)
    able = [f"- {part.strip()}" for part in says.get("You will be able to", "").split(";") if part.strip()]
    ways = [f"[Read]({path.name})", f"[Open in Colab]({colab(path)})"]
    ways.append(f'<a href="_sources/{path.name}" download>Notebook</a>')
    ways.append(f'<a href="slides/{path.stem[:2]}.html">Slides</a>')
    lines = [f":::{{grid-item-card}} [{chapters.number(path)}. {called(path)}]({path.name})", "", *able, ""]
    return "\n".join([*lines, says.get("Time", ""), "", "```{card-footer}", " · ".join(ways), "```", ":::"])


def question(path):
    """Return the question that a study asks, which stands in its first cell; "" if it asks none."""
    found = re.search(
        r"\*\*(?:The )?question\.\*\*\s*(.+?)(?:\n\n|\Z)", chapters.read(path).cells[0].source, re.S | re.I
    )
    return relinked(re.sub(r"\s+", " ", found[1]), path.parent).replace("](../", "](") if found else ""


def called(path):
    """Return what the README calls a chapter, else its title."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = dict((stem, name) for name, stem in re.findall(r"\[([^\]]+)\]\(notebooks/([^)]+)\.ipynb\)", readme))
    return names.get(path.stem, title(path))


def playgrounds():
    """Return the playground views that the executed chapters hold: (chapter, number of the cell, its HTML)."""
    found = []
    for path in chapters.chapters():
        for index, cell in enumerate(chapters.read(path).cells):
            for output in cell.get("outputs", []):
                text = output.get("data", {}).get("text/html", "")
                if "<iframe" in text and "id=&quot;data&quot;" in text:
                    found.append((path, index, text))
    return found


def playground():
    """Write the views of `playgrounds` as files, and return the page that shows them."""
    text = relinked((SETTINGS / "playground.md").read_text(encoding="utf-8"), SETTINGS)
    for number, (path, index, view) in enumerate(playgrounds(), start=1):
        (SOURCE / f"playground-{number}.html").write_text(view, encoding="utf-8")
        name = re.search(r'<iframe title="([^"]*)"', view)[1]
        name = called(path) if name in ("Playground", "Attention") else name
        before = next(c.source for c in chapters.read(path).cells[index - 1 :: -1] if c.cell_type == "markdown")
        text += (
            f"\n## {name}\n\n{relinked(before, path.parent)}\n\nFrom [chapter {chapters.number(path)}]({path.name}).\n\n"
            f"```{{raw}} html\n:file: playground-{number}.html\n```\n"
        )
    return text


def contents():
    """Return the site's table of contents; a chapter is called there what the README calls it."""
    lines = ["```{toctree}", ":hidden:", ":caption: Chapters", ""]
    lines += [f"{chapters.number(path)}. {called(path)} <{path.stem}>" for path in chapters.chapters()]
    if chapters.studies():
        lines += ["```", "", "```{toctree}", ":hidden:", ":caption: Studies", ""]
        names = {path: title(path).partition(":")[0] for path in chapters.studies()}  # what follows is on the page
        lines += [f"{chapters.number(path)}. {name} <studies/{path.stem}>" for path, name in names.items()]
    lines += ["```", "", "```{toctree}", ":hidden:", ":caption: Solutions", "", "All solutions <solutions/index>"]
    lines += [f"Chapter {chapters.number(path)} <solutions/{path.stem}>" for path in chapters.solutions()]
    lines += ["```", "", "```{toctree}", ":hidden:", ":caption: Beside them", ""]
    lines += ["Playground <playground>"] if playgrounds() else []
    lines += ["Glossary <glossary>", "For teachers <teachers>", "How this is made <making>", "```", ""]
    return "\n".join(lines)


def title(path):
    """Return a notebook's title without its number."""
    first = chapters.read(path).cells[0].source.splitlines()[0]
    words = re.sub(r"^#\s*(Study\s+)?(\d+[.:]\s*)?", "", first)
    return words[0].upper() + words[1:]


def solutions_page():
    """Return the page that lists the solutions."""
    lines = [
        "# Solutions",
        "",
        "One way to solve each exercise, with the reason for every line that is not obvious.",
        "",
    ]
    lines += [f"- [{title(path)}]({path.name})" for path in chapters.solutions()]
    return "\n".join([*lines, ""])


def terms(notebook):
    """Return the (term, meaning) pairs of a chapter's glossary, which is a table."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.match(r"#+ Glossary\s*$", cell.source.strip().splitlines()[0]):
            text = cell.source.split("\n", 1)[1]
            rows = re.findall(r"^\|\s*(.+?)\s*(?<!\\)\|\s*(.+?)\s*\|\s*$", text, flags=re.M)
            rows = [row for row in rows if not set(row[0]) <= set("-: ") and row[0].lower() != "term"]
            return [(term.strip("* "), meaning) for term, meaning in rows]
    return []


def glossary():
    """Return the glossary page: the terms of all chapters in one alphabet, each with its way back."""
    entries = {}
    for path in chapters.chapters():
        for term, meaning in terms(chapters.read(path)):
            back = f"[Chapter {chapters.number(path)}]({path.name}#glossary)"
            entries.setdefault(term.lower(), (term, []))[1].append(f"{meaning.rstrip('.')}. *{back}*")
    lines = ["# Glossary", "", "The terms of all chapters, each with a link to the glossary that it comes from.", ""]
    initial = ""
    for key in sorted(entries, key=lambda k: re.sub(r"[^a-z]", "", k)):
        first = re.sub(r"[^a-z]", "", key)[:1].upper()
        if first != initial:
            initial = first
            lines += [f"## {initial}", ""]
        term, meanings = entries[key]
        lines += [term, *[f": {meaning}\n" for meaning in meanings]]
    return "\n".join(lines)


def write_source():
    """Write what Sphinx reads into build/book-source."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for folder in ("solutions", "studies"):
        (SOURCE / folder).mkdir(parents=True)
    shutil.copy(SETTINGS / "conf.py", SOURCE)
    for folder in ("_static", "_templates"):
        shutil.copytree(SETTINGS / folder, SOURCE / folder)
    shutil.copy(chapters.mathjax(), SOURCE / "_static" / "mathjax.js")
    shutil.copy(ROOT / ".github" / "picture.png", SOURCE / "_static")
    for path in chapters.pages():
        nbformat.write(page(path), SOURCE / path.relative_to(chapters.NOTEBOOKS))
    pages = {"index": landing(), "glossary": glossary(), "solutions/index": solutions_page()}
    for name in ("teachers", "making"):
        pages[name] = relinked((SETTINGS / f"{name}.md").read_text(encoding="utf-8"), SETTINGS)
    rows = [f"| `{name}` | {stands_for} |" for name, (stands_for, _) in SURROUNDINGS.items()]
    table = "\n".join(["| `IN=` | stands for |", "|---|---|", *rows])
    pages["making"] = pages["making"].replace("<!-- surroundings -->", table)
    if playgrounds():
        pages["playground"] = playground()
    name, _ = badges.address()
    pages["teachers"] = pages["teachers"].replace("<!-- decks -->", decks()).replace("your_account/flycatcher", name)
    for name, text in pages.items():
        (SOURCE / f"{name}.md").write_text(text, encoding="utf-8")


def decks():
    """Return links to the decks, which lie beside the pages."""
    names = {path.stem[:2]: title(path) for path in chapters.chapters()}
    return "\n".join(
        f'- <a href="slides/{stem}.html">Slides of chapter {int(stem)}: {n}</a>' for stem, n in names.items()
    )


def main():
    import slides  # these two need .ci/site-requirements.txt; the tests read this file without
    from sphinx.cmd.build import main as sphinx

    begin = time.perf_counter()
    write_source()
    shutil.rmtree(SITE, ignore_errors=True)
    wrong = sphinx(["-q", "-W", "--keep-going", "-b", "html", "-d", str(BUILD / "book-cache"), str(SOURCE), str(SITE)])
    for path in chapters.pages():  # what a reader downloads is the notebook itself, not the page made from it
        shutil.copy(path, SITE / "_sources" / path.relative_to(chapters.NOTEBOOKS))
    slides.write(SITE / "slides")
    pages = len(list(SITE.rglob("*.html")))
    where = Path(SITE / "index.html").relative_to(ROOT)
    print(f"{pages} pages in {time.perf_counter() - begin:.0f} s: open {where}")
    sys.exit(wrong)


if __name__ == "__main__":
    main()
