"""Decks written by hand: what they fetch from the notebooks, and what fails the build. `make look` measures them."""

import base64
import io
import re

import chapters
import pytest
import slides
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAYAAAD0In+KAAAAEUlEQVR4nGP4z8DwHwQZoAwAP9QF+xtDBFkAAAAASUVORK5CYII="  # 2 by 1


def a_notebook():
    about = {"image/png": {"alt": "A line that rises & falls."}}
    picture = new_output("display_data", {"image/png": PIXEL, "text/plain": "F"}, metadata=about)
    source = "def f(x):\n    y = x + 1\n    return y\n\n\nprint(f(1))\nassert f(1) == 2"
    printed = [new_output("stream", text="one\ntwo <b>\nthree\n")]
    return new_notebook(
        cells=[
            new_markdown_cell("# 1. Title"),
            new_code_cell(source, metadata={"tags": ["sum"]}, outputs=printed),
            new_code_cell("plot()", metadata={"tags": ["line", "nbval-ignore-output"]}, outputs=[picture]),
            new_code_cell("1", metadata={"tags": ["twice"]}),
            new_code_cell("2", metadata={"tags": ["twice"]}),
        ]
    )


@pytest.mark.parametrize("path", chapters.chapters(), ids=lambda path: path.stem)
def test_a_written_deck_finds_its_cells_has_25_to_32_slides_with_notes_and_asks_nothing_of_the_network(path):
    parts = slides.slides(path, chapters.read(path))
    assert 25 <= len(parts) <= 32
    assert all("\nNote:\n" in part and re.search(r"^##? ", part, flags=re.M) for part in parts)
    whole = "".join(parts)
    assert "{{" not in re.sub(r"<pre.*?</pre>", "", whole, flags=re.S)
    assert 'alt=""' not in whole and 'alt="Figure"' not in whole
    assert not re.findall(r'(?:src|href)="https?:', whole)
    assert sum('class="predict"' in part and "next fragment" in part for part in parts) >= 3


def test_code_output_and_figures_come_from_the_cell_with_the_tag():
    text = slides.filled("{{code: sum}}\n{{output: sum: two ... three}}\n{{figure: line: 50%}}", a_notebook())
    shown = re.sub(r"</?span[^>]*>", "", text)
    assert "def f(x):\n    y = x + 1" in shown and "print(f(1))" in shown and "assert" not in shown
    assert '<pre class="out">two &lt;b&gt;\nthree</pre>' in shown
    assert 'alt="A line that rises &amp; falls."' in text and "--ratio: 2.0000" in text
    assert text.count("cover fragment") == 1 and "left: 50.0%; width: 50.4%" in text


def test_a_picture_loses_its_margins_and_a_drawing_its_title_and_covers_stay_where_they_are():
    image = Image.new("RGB", (400, 300), "white")
    image.paste("black", (180, 20, 220, 40))  # the title of a drawing
    image.paste("black", (100, 100, 300, 200))
    file = io.BytesIO()
    image.save(file, "png")
    picture = base64.b64encode(file.getvalue()).decode()
    assert slides.trimmed(picture, untitled=False)[1:] == ((200, 180), 100, 400)
    assert slides.trimmed(picture, untitled=True)[1:] == ((200, 100), 100, 400)
    notebook = a_notebook()
    notebook.cells[2].outputs[0].data["image/png"] = picture
    assert "--ratio: 1.1111; --width: 100" in slides.filled("{{figure: line}}", notebook)
    notebook.cells[2].source = "diagrams.soft_lookup(query, keys, values, names)\nshow('A look-up.')"
    text = slides.filled("{{figure: line: 25% 50%}}", notebook)
    assert "--ratio: 2.0000; --width: 100" in text
    assert "left: 0.0%; width: 50.4%" in text and "left: 50.0%; width: 50.4%" in text
    assert not slides.DRAWING.search("ax.grid(True)")


def test_a_row_of_numbers_is_shown_without_the_word_tensor():
    notebook = a_notebook()
    notebook.cells[1].outputs = [
        new_output("stream", text="w tensor([0.1, 0.9]), m tensor([[1, 2],\n        [3, 4]])\n")
    ]
    assert slides.filled("{{output: sum}}", notebook) == (
        '<pre class="out">w [0.1, 0.9], m tensor([[1, 2],\n        [3, 4]])</pre>'
    )


def test_a_view_may_be_named_by_the_id_of_its_cell():
    notebook = a_notebook()
    notebook.cells[3].outputs = [new_output("display_data", {"text/html": "<iframe title='x'></iframe>"})]
    assert "<iframe title='x'>" in slides.filled(f"{{{{view: {notebook.cells[3].id}}}}}", notebook)


def test_some_lines_of_code_lose_their_indent():
    code = re.sub(r"<[^>]+>", "", slides.filled("{{code: sum: y = ... return}}", a_notebook()))
    assert code == "y = x + 1\nreturn y"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{code: product}}", "0 cells have the tag 'product'; a slide needs exactly one"),
        ("{{code: twice}}", "2 cells have the tag 'twice'"),
        ("{{output: line}}", "the cell 'line' prints nothing"),
        ("{{figure: sum}}", "the cell 'sum' has 0 pictures"),
        ("{{view: sum}}", "the cell 'sum' has 0 views"),
        ("{{code: sum: z = ... return}}", "the cell 'sum' has no lines 'z = ... return' any more"),
        ("{{table: sum}}", "there are figure, code, output and view, and no table"),
    ],
)
def test_what_is_not_there_fails_the_build_in_a_sentence_that_names_the_slide(text, message, tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "DECKS", tmp_path)
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    (tmp_path / "01.md").write_text(f"# One\n---\n## Two\n\n{text}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"01.md, slide 2: {message}")):
        slides.slides(chapters.chapters()[0], a_notebook())


def test_a_chapter_without_a_deck_fails_the_build_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "DECKS", tmp_path)
    path = chapters.chapters()[0]
    with pytest.raises(ValueError, match=f"{path.stem} has no deck: write .github/slides/01.md"):
        slides.deck(path)


def test_what_a_room_cannot_read_fails_the_build():
    notebook = a_notebook()
    notebook.cells[1].source = "\n".join(f"x{i} = {i}" for i in range(13))
    with pytest.raises(ValueError, match="13 lines of up to 8 characters, not 12 of 80"):
        slides.filled("{{code: sum}}", notebook)


def test_long_lines_of_code_are_broken_and_their_shapes_go_above():
    row = "    x = f(" + "a, " * 22 + "b)  # (B, T, d_model) → (B, T, d_ff)"
    assert slides.broken([row]) == ["    # (B, T, d_model) → (B, T, d_ff)", row.split("  # ")[0]]
    assert max(map(len, slides.broken([f"y = ({'a, ' * 40})"]))) <= slides.COLUMNS


def test_a_formula_is_kept_from_markdown_and_code_from_being_a_formula():
    whole = slides.slide(
        "## $a_i$ and $b_i$\n\n$$\nx < \\\\\n  y_1\n$$\n\n`$HOME` costs\n\nNote:\nSay $c$.", new_notebook()
    )
    assert re.findall(r'data-(\w+)="([^"]*)"', whole.split("<script")[1]) == [
        ("inline", "a_i"), ("inline", "b_i"), ("display", "x &lt; \\\\ y_1"), ("inline", "c"),
    ]  # fmt: skip
    assert "`$HOME`" in whole


def test_what_the_next_key_shows_is_a_fragment():
    whole = slides.slide("## One\n\nQuestion?\n\n. . .\nAnswer.\n\n. . .\nWhy.\n\nNote:\nWait.", new_notebook())
    assert whole.count('<div class="next fragment">') == whole.count("</div>") == 2
    assert whole.index("Answer.") < whole.index("Why.") < whole.index("Note:")
