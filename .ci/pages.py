"""A notebook as an HTML page that needs no network: what `make run` writes into build/.

nbconvert's own pages fetch MathJax and more from the network, are all called "Notebook", have no alternative texts
(its template does not read them from an output's metadata, and neither does JupyterLab 4.6), and show the setup cell.
"""

import copy
import html
import re
import shutil

import chapters
import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import TagRemovePreprocessor

MATHJAX = """<script>
window.MathJax = {
    tex: {inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]], processEscapes: true},
    svg: {fontCache: "global"}, options: {enableMenu: false}
};
</script>
<script defer src="mathjax.js"></script>
<style>
:root {
    --jp-cell-prompt-not-active-font-color: #595959; --jp-mirror-editor-comment-color: #2f6565;
    --jp-mirror-editor-number-color: #006b00; --jp-mirror-editor-operator-color: #7a1fb8;
}
body.jp-Notebook { max-width: 1000px; margin: auto; }
body.jp-Notebook a:not(.anchor-link) { text-decoration: underline !important; }
.jp-InputPrompt, .jp-OutputPrompt { opacity: 1 !important; }
img { max-width: 100%; height: auto; }
summary { cursor: pointer; }
@media (max-width: 700px) { mjx-container[display="true"], table { display: block; max-width: 100%; overflow-x: auto; } }
</style>"""


def title(notebook):
    """Return the first heading of a notebook."""
    headings = (re.match(r"#\s+(.+)", cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    return next((chapters.plain(heading[1]) for heading in headings if heading), "Notebook")


def with_alternative_texts(cells, index):
    """Return the outputs of a cell, its pictures as HTML with the texts that they have in the notebook."""
    outputs = []
    for output in cells[index].outputs:
        if "image/png" in output.get("data", {}):
            about = output.metadata.get("image/png", {})
            alt = html.escape(chapters.alternative_text(cells, index), quote=True)
            size = "".join(f' {name}="{about[name]}"' for name in ("width", "height") if name in about)
            picture = f'<img alt="{alt}"{size} src="data:image/png;base64,{output.data["image/png"].strip()}">'
            output = nbformat.v4.new_output("display_data", {"text/html": picture})
        outputs.append(output)
    return outputs


def folded(cell):
    """Return the setup cell as a fold, and its outputs without the code."""
    fold = f"<details><summary>Setup cell</summary>\n\n```python\n{cell.source}\n```\n\n</details>"
    return [nbformat.v4.new_markdown_cell(fold), cell]


def page(notebook):
    """Return a notebook as HTML; beside it belongs `mathjax.js`, which `write` puts there."""
    notebook, cells = copy.deepcopy(notebook), []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            cell.source = chapters.without_badge(cell.source)
        if cell.cell_type == "code":
            cell.outputs = with_alternative_texts(notebook.cells, index)
        cells += folded(cell) if "setup" in chapters.tags(cell) else [cell]
    notebook.cells = cells
    exporter = HTMLExporter(require_js_url="", jquery_url="", anchor_link_text="#")
    exporter.register_preprocessor(TagRemovePreprocessor(remove_input_tags={"setup"}, enabled=True))
    text, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title(notebook)}})
    text = re.sub(r"<!-- Load mathjax -->.*<!-- End of mathjax configuration -->", lambda _: MATHJAX, text, flags=re.S)
    text = re.sub(r'<script src=""></script>', "", text)
    text = re.sub(r"<thead>\s*<tr>\s*(?:<th[^>]*></th>\s*)+</tr>\s*</thead>", "", text)  # a head without a word
    text = re.sub(r"<th[^>]*></th>", "<td></td>", text)  # a head with some
    return re.sub(r'<script type="module">(?:(?!</script>).)*mermaid.*?</script>', "", text, flags=re.S)


def write(notebook, path):
    """Write a notebook as an HTML page, and MathJax beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(notebook), encoding="utf-8")
    shutil.copy(chapters.mathjax(), path.parent / "mathjax.js")
