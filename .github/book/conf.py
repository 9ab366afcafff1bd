"""Sphinx's settings for the website. `.ci/book.py` puts this file beside the pages that it prepares."""

import re
import sys
from pathlib import Path

from docutils import nodes

root = next(p for p in Path(__file__).resolve().parents if (p / ".ci" / "chapters.py").is_file())
sys.path.insert(0, str(root / ".ci"))
from badges import address  # noqa: E402

name, branch = address()

project = "Flycatcher"
author = "the authors of Flycatcher"
copyright = "2026, the authors of Flycatcher. Prose under CC BY 4.0, code under MIT, data under CC0"
language = "en"
extensions = ["myst_nb", "sphinx_copybutton", "sphinx_design", "sphinxext.opengraph"]
exclude_patterns = ["_build"]

nb_execution_mode = "off"  # the outputs are in the notebooks
nb_merge_streams = True
nb_code_prompt_show = "Show the setup cell"  # the only one that is folded
nb_code_prompt_hide = "Hide the setup cell"
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a chapter may jump from its title to a third-level heading in a bug clinic

# MathJax lies beside the pages: no network.
mathjax_path = "mathjax.js"
mathjax3_config = {"svg": {"fontCache": "global"}, "options": {"enableMenu": False}}

# What a link to a page shows elsewhere, and what a search engine says of it.
owner, _, repository = name.partition("/")
ogp_site_url = f"https://{owner.lower()}.github.io/{repository}/"
ogp_site_name = "Flycatcher"
ogp_image = "_static/picture.png"
ogp_image_alt = (
    "A query meets three keys; softmax turns the scores into weights, which mix three values into one output."
)
ogp_social_cards = {"enable": False}  # one picture for all pages, and no font to fetch
ogp_enable_meta_description = True

copybutton_selector = "div:not(.output) > div.highlight pre"  # code, not what it printed

html_theme = "sphinx_book_theme"
html_title = "Flycatcher"
html_favicon = "_static/flycatcher.svg"
html_static_path = ["_static"]
html_css_files = ["flycatcher.css"]
html_js_files = ["flycatcher.js"]
templates_path = ["_templates"]
html_sidebars = {"**": ["home.html", "search-button-field.html", "sbt-sidebar-nav.html"]}
html_copy_source = True  # the notebook itself, for the download button
html_show_sphinx = False
pygments_style = "a11y-high-contrast-light"
html_theme_options = {
    "repository_url": f"https://github.com/{name}",
    "repository_branch": branch,
    "path_to_docs": "notebooks",
    "use_repository_button": True,
    "use_edit_page_button": True,
    "use_download_button": True,
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "show_toc_level": 1,
    "footer_content_items": ["copyright.html"],
}
# What people edit is the text twin of a notebook; the glossary is gathered from all of them.
html_context = {
    "default_mode": "light",
    "edit_page_provider_name": "GitHub",
    "edit_page_url_template": f"https://github.com/{name}/"
    "{{ {'index.md': 'edit/BRANCH/.github/book/index.md', 'teachers.md': 'edit/BRANCH/.github/book/teachers.md', "
    "'making.md': 'edit/BRANCH/.github/book/making.md', 'playground.md': 'edit/BRANCH/.github/book/playground.md', "
    "'glossary.md': 'tree/BRANCH/notebooks/text', 'solutions/index.md': 'tree/BRANCH/notebooks/text/solutions'}"
    ".get(file_name, 'edit/BRANCH/notebooks/text/' ~ file_name.replace('.ipynb', '.py')) }}".replace("BRANCH", branch),
}


def tidy_tables(app, pagename, templatename, context, doctree):
    """Take empty header cells out of tables: a screen reader would announce them."""
    body = re.sub(
        r"<thead>\s*<tr[^>]*>(\s*<th[^>]*>\s*(<p></p>)?\s*</th>)+\s*</tr>\s*</thead>", "", context.get("body", "")
    )
    context["body"] = re.sub(r"<th[^>]*>\s*(<p></p>)?\s*</th>", "<td></td>", body)


def mark_callouts(app, doctree):
    """Give a block quote that begins in bold, as `> **Predict first.** ...`, the class of its first word."""
    for quote in doctree.findall(nodes.block_quote):
        first = next(
            (node for node in quote.findall() if node.astext() and isinstance(node, (nodes.strong, nodes.Text))), None
        )
        if isinstance(first, nodes.strong):
            word = re.sub(r"[^a-z]", "", first.astext().lower().split()[0])
            quote["classes"] += ["callout", f"callout-{word}"]


def setup(app):
    app.connect("doctree-read", mark_callouts)
    app.connect("html-page-context", tidy_tables)
