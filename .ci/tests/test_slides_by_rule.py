"""Slides by rule: how many, what is on them, and that answers are in the notes only. `make look` measures them in a browser."""

import re

import chapters
import pytest
import slides
import slides_by_rule
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

BY_RULE = [path for path in chapters.chapters() if not slides.written(path).exists()]


@pytest.fixture(scope="module", params=BY_RULE, ids=lambda path: path.stem)
def deck(request):
    notebook = chapters.read(request.param)
    return notebook, slides_by_rule.slides(notebook)


def test_a_chapter_has_30_to_45_slides_each_with_notes(deck):
    _, parts = deck
    assert 30 <= len(parts) <= 45
    assert all('<aside class="notes">' in part for part in parts)


def test_every_section_and_every_figure_is_on_a_slide(deck):
    notebook, parts = deck
    shown = "".join(re.sub(r"<aside.*?</aside>", "", part, flags=re.S) for part in parts)
    cells = [cell for cell in notebook.cells if chapters.slide_type(cell) != "skip"]
    figures = sum("image/png" in o.get("data", {}) for c in cells if c.cell_type == "code" for o in c.outputs)
    assert shown.count("<img ") == figures and 'alt=""' not in shown and 'alt="Figure"' not in shown
    assert shown.count("<iframe") == sum(map(chapters.has_view, cells))
    for cell in cells:
        if cell.cell_type == "markdown" and (heading := re.match(r"## (.+)", cell.source)) and heading[1] != "Setup":
            assert slides_by_rule.markdown_inline(heading[1]) in shown, heading[1]


def test_answers_stand_in_the_notes_and_nothing_is_asked_of_the_network(deck):
    _, parts = deck
    asked = [part for part in parts if re.search(r"<h2>Predict first|Predict first[.:]?</strong>", part)]
    assert asked
    for part in asked:
        shown = re.sub(r"<aside.*?</aside>", "", part, flags=re.S)
        assert "<details" not in shown and "<summary" not in shown
    assert not re.findall(r'(?:src|rel="stylesheet" href)="https?:', "".join(parts))


def test_a_unit_is_prose_with_the_code_it_introduces():
    notebook = new_notebook(
        cells=[
            new_markdown_cell("## 1.1 Sum\n\nAdd.", metadata={"slideshow": {"slide_type": "slide"}}),
            new_code_cell("print(1 + 1)", outputs=[new_output("stream", text="2\n")]),
            new_markdown_cell("Now subtract."),
            new_code_cell("assert 2 - 1 == 1"),
            new_markdown_cell("**Remember: adding and subtracting undo one another.**"),
            new_markdown_cell("## Exercises", metadata={"slideshow": {"slide_type": "skip"}}),
        ]
    )
    units, takeaways = slides_by_rule.units(notebook)
    assert [(unit.title(), len(unit.code), unit.leads) for unit in units] == [("1.1 Sum", 1, True), ("", 1, False)]
    assert takeaways == {"1.1 Sum": "**Remember: adding and subtracting undo one another.**"}
    assert units[0].weight() > units[1].weight()


def test_what_is_said_of_a_figure_is_found_behind_an_assertion():
    figure = new_code_cell("plot()")
    figure.outputs = [new_output("display_data", {"image/png": "", "text/plain": "<Figure>"})]
    cells = [
        new_markdown_cell("## 1.1 A section"), figure, new_markdown_cell("As an assertion:"),
        new_code_cell("assert True"), new_markdown_cell("See the line rise."),
        new_code_cell("print(1)"), new_markdown_cell("See something else."),
    ]  # fmt: skip
    found, _ = slides_by_rule.units(new_notebook(cells=cells))
    assert [unit.caption for unit in found] == ["See the line rise.", "", "", ""]


def test_a_folded_answer_never_reaches_the_slide_and_its_question_does():
    text = "**Predict first.** Does it grow?\n\n<details><summary>Answer</summary>\n\nIt shrinks.\n\n</details>"
    kept, left_out = slides_by_rule.on_slide(text, room=10)
    assert kept == ["**Predict first.** Does it grow?"] and left_out
    kept, _ = slides_by_rule.on_slide(
        "<details><summary>Predict first: does it grow?</summary>\n\nNo.\n\n</details>", room=10
    )
    assert kept == ["**Predict first: does it grow?**"]


def test_prose_is_cut_between_sentences_and_formulas_stay():
    kept, left_out = slides_by_rule.on_slide("One is one. Two is two.\n\n$$a = b$$\n\nThree is three.", room=12)
    assert kept == ["One is one.", "$$a = b$$"] and left_out


def test_long_code_and_long_output_are_shortened_and_say_so():
    long = "\n".join(["def f():", *(f"    x{i} = {i}" for i in range(20)), "", "def g():", *["    pass"] * 30])
    shown = slides_by_rule.shown_code(long)
    assert len(shown.splitlines()) <= slides_by_rule.LONGEST_CODE and shown.endswith("# ... (goes on in the notebook)")
    assert slides_by_rule.shown_code("a = 1\n\n\n\nb = 2") == "a = 1\n\nb = 2"
    assert slides_by_rule.shortened("\n".join("abcdef"), 4).splitlines() == ["a", "b", "c", "..."]


def test_a_progress_bar_is_not_printed():
    text = " 50%|█████     | 1/2\r100%|██████████| 2/2 [00:01<00:00]\nloss 0.5\n"
    assert slides_by_rule.printed(new_code_cell("fit()", outputs=[new_output("stream", text=text)])) == "loss 0.5"
