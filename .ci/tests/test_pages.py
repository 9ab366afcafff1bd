"""The pages of `make run`: complete without a network, called what the chapter is called, every picture described."""

import base64
import re

import nbformat
import pages
import pytest

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000"
        "050001a5f645400000000049454e44ae426082"
    )
).decode()


def figure(alt=None, **size):
    metadata = {"image/png": {"alt": alt} | size} if alt else {}
    return nbformat.v4.new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"}, metadata=metadata)


def notebook():
    v4 = nbformat.v4
    cells = [
        v4.new_markdown_cell(
            '# 1. Attention: the $d_k$ of "it"\n\n'
            "[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/x)"
        ),
        v4.new_code_cell("import the_setup", metadata={"tags": ["setup"]}, outputs=[
            v4.new_output("stream", name="stdout", text="on the cpu")]),
        v4.new_markdown_cell("A formula $a_1 < b_2$ and another:\n\n$$\\sum_j w_j v_j$$"),
        v4.new_code_cell("plots.show('x')", outputs=[figure('Two "arrows".', width=400, height=300)]),
        v4.new_code_cell("ax.set_title('A line')\nplt.show()", outputs=[figure()]),
        v4.new_markdown_cell("See how it rises."),
    ]  # fmt: skip
    return v4.new_notebook(cells=cells)


@pytest.fixture(scope="module")
def text():
    return pages.page(notebook())


def test_the_page_is_called_what_the_chapter_is_called(text):
    assert re.search(r"<title>1. Attention: .*of &quot;it&quot;</title>|<title>1. Attention: .*of \"it\"</title>", text)


def test_nothing_is_fetched(text):
    fetched = re.findall(r'(?:src|href)="((?:https?:)?//[^"]*)"', text) + re.findall(r"import\S* from ['\"]https", text)
    assert fetched == [] and "cdnjs" not in text and '<script defer src="mathjax.js">' in text


def test_formulas_are_left_to_mathjax_as_they_are(text):
    assert "$a_1 &lt; b_2$" in text and "$$\\sum_j w_j v_j$$" in text


def test_every_picture_has_its_text_and_its_size(text):
    pictures = re.findall(r"<img [^>]*>", text)
    assert len(pictures) == 2
    assert 'alt="Two &quot;arrows&quot;."' in pictures[0] or "alt='Two \"arrows\".'" in pictures[0]
    assert 'width="400"' in pictures[0] and "A line. See how it rises." in pictures[1]


def test_the_setup_cell_is_folded_and_its_output_is_there(text):
    assert text.count("the_setup") == 1 and "<details><summary>Setup cell</summary>" in text and "on the cpu" in text


def test_a_head_without_a_word_is_none():
    table = nbformat.v4.new_markdown_cell("# T\n\n| | words |\n|---|---|\n| a | 1 |")
    text = pages.page(nbformat.v4.new_notebook(cells=[table]))
    assert "<th>words</th>" in text and "<th></th>" not in text


def test_the_notebook_stays_as_it_is(tmp_path):
    before = notebook()
    after = nbformat.from_dict(before)
    pages.write(after, tmp_path / "page.html")
    assert after.cells == before.cells and (tmp_path / "mathjax.js").stat().st_size > 100_000
