"""Pair, execute and check the notebooks. Called by the Makefile: `notebooks.py run|sync|check [CHAPTER]`."""

import base64
import re
import sys
import threading
import time
from pathlib import Path

import jupytext
import nbformat
import psutil
from nbclient import NotebookClient
from nbconvert import HTMLExporter

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
TEXT = NOTEBOOKS / "text"
BUILD = ROOT / "build"
PICTURE = ROOT / ".github" / "picture.png"

METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4", "provenance": []},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WIDEST = 105  # characters in a line of code; more is cut off on the page
KEPT_CELL_METADATA = {"tags", "slideshow", "cellView", "jupyter"}


def texts(chapter=""):
    """Return the text twins of one chapter and its solutions, or of all."""
    found = sorted(TEXT.glob(f"{chapter}*.py")) + sorted(TEXT.glob(f"solutions/{chapter}*.py"))
    if not found:
        sys.exit(
            f"no notebook begins with {chapter!r}; there are: {', '.join(p.stem for p in sorted(TEXT.glob('*.py')))}"
        )
    return found


def notebook_of(text):
    """Return where the notebook of a text twin lies."""
    return NOTEBOOKS / text.relative_to(TEXT).with_suffix(".ipynb")


def paired(text):
    """Return the notebook that a text twin describes, with the cell ids and outputs of the one on disk."""
    fresh = jupytext.read(text)
    path = notebook_of(text)
    old = nbformat.read(path, as_version=4).cells if path.exists() else []
    keep_identity(fresh.cells, old)
    for cell in fresh.cells:
        cell.metadata = nbformat.from_dict(kept_metadata(cell))
    fresh.nbformat, fresh.nbformat_minor = 4, 5
    return fresh


def kept_metadata(cell):
    """Return what a cell's metadata says to readers and tools; jupytext adds notes of its own about blank lines."""
    return {key: value for key, value in cell.metadata.items() if key in KEPT_CELL_METADATA}


def keep_identity(cells, old):
    """Give each cell the id and the outputs of the cell it comes from.

    Cells with the same source are the same cell. Between two of those, what is left is matched in order, kind by
    kind: an edited cell keeps its id, because translations hang on it.
    """
    matched = {}
    start = 0
    by_source = {(c.cell_type, c.source): i for i, c in reversed(list(enumerate(old)))}
    for new_index, cell in enumerate(cells):
        old_index = by_source.get((cell.cell_type, cell.source))
        if old_index is not None and old_index >= start:
            matched[new_index], start = old_index, old_index + 1
    anchors = [(-1, -1), *sorted(matched.items()), (len(cells), len(old))]
    for (new_a, old_a), (new_b, old_b) in zip(anchors, anchors[1:]):
        for kind in ("markdown", "code", "raw"):
            new_gap = [i for i in range(new_a + 1, new_b) if cells[i].cell_type == kind]
            old_gap = [i for i in range(old_a + 1, old_b) if old[i].cell_type == kind]
            if len(new_gap) == len(old_gap):  # otherwise cells came or went, and nobody can say which
                matched.update(zip(new_gap, old_gap))
    used = set()
    for new_index, cell in enumerate(cells):
        if new_index in matched:
            previous = old[matched[new_index]]
            cell.id = previous.id
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = previous.outputs, previous.execution_count
        while cell.id in used:
            cell.id = nbformat.v4.new_code_cell().id
        used.add(cell.id)


def execute(notebook, directory):
    """Execute a notebook in place; return seconds and the kernel's peak memory in MiB."""
    client = NotebookClient(
        notebook, timeout=None, kernel_name="python3", record_timing=False, coalesce_streams=True,
        resources={"metadata": {"path": str(directory)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # no remarks on how the kernel talks to us
    )  # fmt: skip
    peak, done = [0.0], threading.Event()

    def watch():
        while not done.wait(0.1):
            provisioner = client.km and client.km.provisioner
            try:
                memory = psutil.Process(provisioner.pid).memory_info().rss if provisioner else 0
                peak[0] = max(peak[0], memory / 2**20)
            except psutil.Error:
                pass  # the kernel is starting or has gone

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    begin = time.perf_counter()
    try:
        client.execute()
    finally:
        done.set()
        watcher.join()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text.strip()]
    notebook.metadata = nbformat.from_dict(METADATA)  # last, because executing writes the kernel's own into it
    return time.perf_counter() - begin, peak[0]


def headline(notebook):
    """Return what the cell tagged `headline` printed."""
    for cell in notebook.cells:
        if "headline" in cell.metadata.get("tags", []):
            return "".join(o.text for o in cell.outputs if o.output_type == "stream").strip()
    return ""


def save_picture(notebook):
    """Write the figure of the cell tagged `picture`, if there is one, to where the README shows it."""
    for cell in notebook.cells:
        if "picture" in cell.metadata.get("tags", []):
            images = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
            PICTURE.write_bytes(base64.b64decode(images[0]))


def table(rows):
    """Print rows as a table with aligned columns."""
    rows = [("chapter", "cells", "seconds", "peak MiB", "headline"), *rows]
    widths = [max(len(str(row[i])) for row in rows) for i in range(5)]
    for row in rows:
        print(
            "  ".join(str(x).ljust(w) if i in (0, 4) else str(x).rjust(w) for i, (x, w) in enumerate(zip(row, widths)))
        )


def sync(chapter):
    """Write every notebook anew from its text and execute it where it lies."""
    rows = []
    for text in texts(chapter):
        path = notebook_of(text)
        notebook = paired(text)
        seconds, peak = execute(notebook, path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        save_picture(notebook)
        rows.append((text.stem, len(notebook.cells), f"{seconds:.0f}", f"{peak:.0f}", headline(notebook)))
        print(f"{path.relative_to(ROOT)}: paired and executed in {seconds:.0f} s", flush=True)
    table(rows)


def run(chapter):
    """Execute the chapters as a reader would, into build/, and write each as an HTML page."""
    rows = []
    for text in texts(chapter):
        if text.parent != TEXT:
            continue
        print(f"executing {text.stem} ...", flush=True)
        notebook = nbformat.read(notebook_of(text), as_version=4)
        BUILD.mkdir(exist_ok=True)
        seconds, peak = execute(notebook, NOTEBOOKS)
        nbformat.write(notebook, BUILD / f"{text.stem}.ipynb")
        page, _ = HTMLExporter().from_notebook_node(notebook)
        (BUILD / f"{text.stem}.html").write_text(page, encoding="utf-8")
        rows.append((text.stem, len(notebook.cells), f"{seconds:.0f}", f"{peak:.0f}", headline(notebook)))
    table(rows)
    print(f"The notebooks with their outputs, and the same as HTML pages, are in {BUILD.name}/.")


def differences(text):
    """Yield what is wrong with one notebook: it must say what its text says, in the series' own setting."""
    path = notebook_of(text)
    name = path.relative_to(ROOT)
    if not path.exists():
        yield f"{name}: missing; `make sync` makes it from {text.relative_to(ROOT)}"
        return
    fresh, stored = jupytext.read(text).cells, nbformat.read(path, as_version=4)
    if len(fresh) != len(stored.cells):
        yield f"{name}: {len(stored.cells)} cells, but {len(fresh)} in its text; run `make sync`"
    for number, (a, b) in enumerate(zip(fresh, stored.cells), 1):
        wide = [line for line in a.source.splitlines() if len(line) > WIDEST] if a.cell_type == "code" else []
        if wide:
            yield f"{name}: cell {number} ({b.id}) has a line of {len(wide[0])} characters: {wide[0].strip()[:40]}..."
        if (a.cell_type, a.source, kept_metadata(a)) != (b.cell_type, b.source, dict(b.metadata)):
            yield f"{name}: cell {number} ({b.id}) differs from its text; run `make sync`"
        if b.cell_type == "code" and b.source.strip() and b.execution_count is None:
            yield f"{name}: cell {number} ({b.id}) is not executed; run `make sync`"
    if dict(stored.metadata) != METADATA:
        yield f"{name}: notebook metadata differs from the series'; run `make sync`"
    if path.stat().st_size > 1_500_000:
        yield f"{name}: {path.stat().st_size / 1e6:.2f} MB, more than 1.5 MB"


def broken_links():
    """Yield links to files of the repository that are not there."""
    pages = [(p, p.read_text(encoding="utf-8"), p.parent) for p in [ROOT / "README.md", *ROOT.glob("data/**/*.md")]]
    for text in texts():
        prose = "\n".join(c.source for c in jupytext.read(text).cells if c.cell_type == "markdown")
        pages.append((text, prose, notebook_of(text).parent))
    for page, prose, base in pages:
        prose = re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", prose, flags=re.S))
        for target in re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose):
            target = re.sub(r"^https://colab\.research\.google\.com/github/[^/]+/[^/]+/blob/[^/]+/", f"{ROOT}/", target)
            if not re.match(r"[a-z]+:|#", target) and not (base / target.split("#")[0]).exists():
                yield f"{page.relative_to(ROOT)}: link to {target}, which is not there"


def check(_):
    """Exit with 1 and a list if a notebook, a setup cell, a badge or a link is not as it should be."""
    from badges import problems  # here, because it is found only when this file is run as a program

    wrong = [*(d for text in texts() for d in differences(text)), *problems(), *broken_links()]
    strays = {p.stem for p in NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts} - {
        t.stem for t in texts()
    }
    wrong += [f"notebooks: {stem}.ipynb has no text in notebooks/text" for stem in sorted(strays)]
    print("\n".join(wrong) if wrong else f"{len(texts())} notebooks are paired, executed and linked")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    command, chapter = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    {"run": run, "sync": sync, "check": check}[command](chapter)
