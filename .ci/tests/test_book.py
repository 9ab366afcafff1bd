"""The website's sources: links, alternative texts, the glossary. `make look` opens the built pages in a browser."""

import re
import shutil

import badges
import book
import chapters
import nbformat
import pytest
import torch
from chapters import NOTEBOOKS, ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.playground import explore


@pytest.mark.parametrize("path", chapters.pages(), ids=lambda path: path.stem)
def test_a_page_shows_nothing_from_another_server_and_every_figure_has_an_alternative_text(path):
    for cell in book.page(path).cells:
        if cell.cell_type == "markdown":
            assert not re.findall(r"!\[[^\]]*\]\(http", cell.source)
        elif chapters.has_picture(cell):
            alt = cell.metadata["mystnb"]["image"]["alt"]
            assert len(alt) > 20 and not set("$`*\n") & set(alt), alt


def test_links_lead_to_pages_of_the_site_or_to_the_repository():
    some = chapters.chapters()[0].name
    name, branch = badges.address()
    assert book.link(f"notebooks/{some}", ROOT) == some
    assert book.link(f"../{some}#glossary", NOTEBOOKS / "solutions") == f"../{some}#glossary"
    assert book.link("notebooks/solutions", ROOT) == "solutions/index.md"
    assert book.link("data/README.md", ROOT) == f"https://github.com/{name}/blob/{branch}/data/README.md"
    assert book.link("https://arxiv.org/abs/1706.03762", ROOT) == "https://arxiv.org/abs/1706.03762"
    assert book.link("notebooks/99_not_yet.ipynb", ROOT).startswith("https://github.com/")


def test_a_study_is_a_page_with_a_place_in_the_contents(tmp_path, monkeypatch):
    some = chapters.chapters()[0]
    (tmp_path / "studies").mkdir()
    for place in (some.name, "studies/01_a_question.ipynb"):
        shutil.copy(some, tmp_path / place)
    monkeypatch.setattr(chapters, "NOTEBOOKS", tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in chapters.pages()] == [
        some.name,
        "studies/01_a_question.ipynb",
    ]
    assert "1. Attention basics <studies/01_a_question>" in book.contents()
    assert book.link("studies/01_a_question.ipynb", tmp_path) == "studies/01_a_question.ipynb"
    assert book.link(f"../{some.name}", tmp_path / "studies") == f"../{some.name}"


def test_code_is_not_mistaken_for_a_link():
    assert book.relinked("`x[0](README.md)` and [this](README.md)", ROOT) == "`x[0](README.md)` and [this](index.md)"


def test_the_landing_page_has_a_card_for_every_chapter_and_a_line_for_every_study():
    text = book.landing()
    for path in chapters.chapters():
        says = book.about(path)
        assert f"<{path.stem}>" in text and says["Time"] in text
        assert f"blob/{badges.address()[1]}/notebooks/{path.name}" in text and f"slides/{path.stem[:2]}.html" in text
        assert text.count(f"- {says['You will be able to'].split(';')[0].strip()}") == 1
    for path in chapters.studies():
        assert f"](studies/{path.name}): {book.question(path)[:40]}" in text and len(book.question(path)) > 40
    assert "<!--" not in text and "badge.svg" not in text and "](../" not in text
    assert not re.findall(r"\]\(https://github", text)
    assert len(re.findall(r"\[Open in Colab\]\(https://colab", text)) == len(chapters.chapters())


def test_the_playground_page_shows_the_views_of_the_executed_chapters(tmp_path, monkeypatch):
    view = explore([torch.eye(2).expand(1, 2, 2)], ["a", "b"], title="A view").data
    output = new_output("execute_result", {"text/html": view})
    other = new_output("execute_result", {"text/html": "<iframe srcdoc='BertViz'></iframe>"})
    cells = [
        new_markdown_cell("# 3. Heads"),
        new_markdown_cell("**Look** with [this](03_heads.ipynb)."),
        new_code_cell("explore(weights, tokens)", outputs=[other, output]),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "03_heads.ipynb")
    monkeypatch.setattr(chapters, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(book, "SOURCE", tmp_path)
    text = book.playground()
    assert (tmp_path / "playground-1.html").read_text(encoding="utf-8") == view
    assert "## A view" in text and "[chapter 3](03_heads.ipynb)" in text and text.count(":file:") == 1
    assert text.index("**Look** with") < text.index(":file: playground-1.html")
    assert "Playground <playground>" in book.contents()
    monkeypatch.setattr(book, "playgrounds", list)
    assert "playground" not in book.contents()


def test_terms_are_read_from_a_table():
    table = "## Glossary\n\n| term | meaning |\n|---|---|\n| **mask** | says who may attend |\n| head | one attention |"
    notebook = new_notebook(cells=[new_markdown_cell(table)])
    assert book.terms(notebook) == [("mask", "says who may attend"), ("head", "one attention")]


def test_the_glossary_holds_the_terms_of_every_chapter_with_a_way_back():
    text = book.glossary()
    for path in chapters.chapters():
        terms = book.terms(chapters.read(path))
        assert len(terms) >= 8, path.stem
        assert text.count(f"({path.name}#glossary)") == len(terms)
    initials = re.findall(r"^## (.)$", text, flags=re.M)
    assert initials == sorted(set(initials))


def test_an_alternative_text_is_the_title_and_what_to_see():
    cells = [
        new_markdown_cell("Draw it."),
        new_code_cell('attention_heatmap(w, tokens, title="Where `the` looks")\nplt.show()'),
        new_markdown_cell("See the row of *sat*: it is $w_1$. More text. And more."),
    ]
    assert chapters.alternative_text(cells, 1) == "Figure: Where the looks. See the row of sat: it is w_1. More text."
    cells[1].source = "plt.plot(x)"
    assert chapters.alternative_text(cells, 1).startswith("Figure: Draw it. See the row")


def test_what_show_was_told_is_the_alternative_text_and_the_width_of_the_page():
    about = {"alt": "Weights `w` fall from $1$ to 0.", "width": 400, "height": 300}
    figure = new_output("display_data", {"image/png": "", "text/plain": "F"}, metadata={"image/png": about})
    cells = [new_markdown_cell("Draw it."), new_code_cell('plot(title="A title of it")', outputs=[figure])]
    assert chapters.alternative_text(cells, 1) == "Weights w fall from 1 to 0."
    assert book.picture(cells, 1) == {"alt": "Weights w fall from 1 to 0.", "width": "400px"}
    cells[1].outputs[0].metadata = {}
    assert book.picture(cells, 1) == {"alt": "Figure: A title of it."}


def test_figures_are_numbered_so_that_they_can_be_cited():
    for path in chapters.pages():
        shown = [c.metadata["mystnb"]["figure"] for c in book.page(path).cells if chapters.has_picture(c)]
        kind = {"studies": "S", "solutions": "L"}.get(path.parent.name, "")
        names = [f"{kind}{chapters.number(path)}.{i}" for i in range(1, len(shown) + 1)]
        assert [figure["caption"].partition("]")[0] for figure in shown] == [f"[Figure {name}" for name in names]
        assert [figure["name"] for figure in shown] == [f"figure-{name.replace('.', '-').lower()}" for name in names]


def test_a_glossary_has_one_form():
    for path in chapters.chapters():
        cell = next(c for c in chapters.read(path).cells if re.match("## Glossary", c.source))
        assert cell.source.splitlines()[2:4] == ["| term | meaning |", "|---|---|"], path.stem


def test_folded_text_is_markdown_too():
    opened = chapters.open_details("<details><summary>Hint</summary>Use $x$.</details>")
    assert opened == "<details><summary>Hint</summary>\n\nUse $x$.\n\n</details>"
    assert chapters.open_details(opened) == opened


def spans(text):
    return [tuple(int(end) for end in re.split("-", span)) for span in text]


@pytest.mark.parametrize("path", chapters.chapters(), ids=lambda path: path.stem)
def test_the_plan_of_90_minutes_follows_the_deck(path):
    text = (book.SETTINGS / "teachers.md").read_text(encoding="utf-8")
    plan = re.search(rf"^## Chapter {chapters.number(path)}:.*?(?=^## )", text, flags=re.M | re.S)[0]
    rows = re.findall(r"^\| (\d+-\d+) \| (\d+-\d+) \|", plan, flags=re.M)
    minutes, numbers = (spans(column) for column in zip(*rows))
    slides = slides_of(path)
    assert [start for start, _ in minutes] == [0, *[end for _, end in minutes[:-1]]] and minutes[-1][1] == 90
    assert [start for start, _ in numbers] == [1, *[end + 1 for _, end in numbers[:-1]]]
    assert numbers[-1][1] == len(slides), "a slide more or less: change the plan in .github/book/teachers.md, too"
    said = [int(number) for number in re.findall(r"\((\d+)\)", slides[0].partition("Note:")[2])]
    assert said == [end - start for start, end in minutes], "the notes of the first slide and the plan differ"
    bugs = re.findall(r"^## Bug (\d)", "\n".join(slides), flags=re.M)
    assert re.findall(r"\d", re.search(r"[Bb]ugs ([^|]*) in pairs", plan)[1]) == bugs


def slides_of(path):
    text = (chapters.ROOT / ".github" / "slides" / f"{path.stem[:2]}.md").read_text(encoding="utf-8")
    return re.split(r"^---$\n", text, flags=re.M)
