"""Pair, execute and check the notebooks. Called by the Makefile: `notebooks.py run|sync|check|seal [CHAPTER]`.

Every notebook carries two seals in its metadata. `cells` stands for its cells as `sync` wrote them: another sum, and
somebody has edited the notebook since. `made_from` stands for what its outputs came from besides its own code.
"""

import argparse
import asyncio
import base64
import contextlib
import copy
import hashlib
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import jupytext
import nbformat
import psutil
from jupytext.combine import map_outputs_to_inputs
from nbclient import NotebookClient

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
SEALS = "flycatcher"
WIDEST = 105  # characters in a line of code; more is cut off on the page
KEPT_CELL_METADATA = {"tags", "slideshow", "cellView", "jupyter"}


def texts(chapter=""):
    """Return the text twins of one chapter, its solutions and its study, or of all; a study may have no chapter."""
    chapter = chapter and chapter.zfill(2)
    there = sorted({path.name[:2] for path in TEXT.rglob("*.py")})
    if chapter and chapter not in there:
        sys.exit(f"there is no chapter {chapter}; the numbers are {', '.join(there)}")
    return sorted(TEXT.rglob(f"{chapter}*.py"), key=lambda path: (path.parent != TEXT, path))


def notebook_of(text):
    """Return where the notebook of a text twin lies."""
    return NOTEBOOKS / text.relative_to(TEXT).with_suffix(".ipynb")


def read_notebook(path):
    """Return a notebook.

    Raises:
        ValueError: the file is not a notebook of format 4.5; the message names it and says what it may be.
    """
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=nbformat.NO_CONVERT)
        if (notebook.get("nbformat"), notebook.get("nbformat_minor")) == (4, 5):
            nbformat.validate(notebook)
            return notebook
        found = f"has format {notebook.get('nbformat')}.{notebook.get('nbformat_minor')}, not 4.5"
    except Exception as error:  # whatever a damaged file makes nbformat say
        found = f"is damaged (empty? marks of a merge?): {str(error).splitlines()[0]}"
    name = path.relative_to(ROOT).as_posix()
    raise ValueError(f"{name} {found}. `git checkout {name}` brings back the last good one")


def kept_metadata(cell):
    """Return what a cell's metadata says to readers and tools; jupytext adds notes of its own about blank lines."""
    return {key: value for key, value in cell.metadata.items() if key in KEPT_CELL_METADATA}


def contents(cells):
    """Return what the text twin has of some cells: all but ids and outputs, the setup cell left out."""
    kept = [(cell.cell_type, cell.source, kept_metadata(cell)) for cell in cells]
    return [cell for cell in kept if "setup" not in cell[2].get("tags", [])]  # `make badges` writes that one


def code(cells):
    """Return the code of some cells, in order."""
    return [source for kind, source, _ in contents(cells) if kind == "code"]


def seal(*things):
    """Return what stands for anything that JSON can hold."""
    return hashlib.sha256(json.dumps(things, sort_keys=True).encode()).hexdigest()[:12]


def made_from():
    """Return the seal of what outputs come from besides a notebook's own code: helpers, data, versions."""
    files = [ROOT / "requirements.txt", *ROOT.glob("helpers/**/*.py"), *ROOT.glob("data/**/*.[!mp]*")]
    files += [path for path in ROOT.glob("helpers/playground/*") if path.suffix in {".mjs", ".css", ".html"}]
    names = {path.relative_to(ROOT).as_posix(): path for path in files if "tests" not in path.parts}
    return seal([(name, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in sorted(names.items())])


def paired(fresh, old):
    """Give the cells that a text describes the ids, outputs and counts of the cells they come from.

    An edited cell keeps its id, because translations hang on it.
    """
    for cell, index in zip(fresh.cells, map_outputs_to_inputs(fresh.cells, old.cells)):
        if index is not None:
            cell.id = old.cells[index].id
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = old.cells[index].outputs, old.cells[index].execution_count
    for cell in fresh.cells:
        cell.metadata = nbformat.from_dict(kept_metadata(cell))
    fresh.nbformat, fresh.nbformat_minor = 4, 5
    return fresh


def edited_side(text, keep=""):
    """Return which of the two was edited since they were last paired: "text", "notebook", or "" for neither."""
    path = notebook_of(text)
    if not path.exists():
        return "text"
    old, fresh = read_notebook(path), jupytext.read(text)
    if not keep:
        refuse_what_a_text_cannot_hold(path.name, fresh, old)
    said, stored = contents(fresh.cells), contents(old.cells)
    if said == stored:
        return ""
    last = old.metadata.get(SEALS, {}).get("cells")
    sides = {"text": seal(said) != last, "notebook": seal(stored) != last}
    if keep or all(sides.values()):
        return keep or sys.exit(
            f"{path.name} and its text differ, and both were edited: nothing was written. Say which to keep: "
            f"`make sync CHAPTER={path.name[:2]} KEEP=text` or `KEEP=notebook`; the other's edits are then lost"
        )
    return next(side for side, edited in sides.items() if edited)


def refuse_what_a_text_cannot_hold(name, fresh, old):
    """Leave with a sentence if a notebook has a pasted picture, or a setup cell of its own: `sync` would lose them."""
    why = "KEEP=text throws it away"
    for cell in old.cells:
        if cell.get("attachments"):
            sys.exit(f"{name}: cell {cell.id} has a pasted picture; draw it in code, or put it beside. {why}")
    setups = [[c.source for c in side.cells if "setup" in c.metadata.get("tags", [])] for side in (fresh, old)]
    if setups[0] != setups[1]:
        sys.exit(f"{name}: its setup cell was edited; it is made from .ci/setup_cell.py by `make badges`. {why}")


def carry(text):
    """Write a notebook's cells into its text; what was not edited keeps its form there, blank lines included."""
    notebook, before = read_notebook(notebook_of(text)), jupytext.read(text)
    for cell, index in zip(notebook.cells, map_outputs_to_inputs(notebook.cells, before.cells)):
        kept, form = kept_metadata(cell), {} if index is None else before.cells[index].metadata
        form = {
            key: kept.get(key, value) for key, value in form.items() if key in kept or key not in KEPT_CELL_METADATA
        }
        cell.metadata = nbformat.from_dict(form | kept)
    notebook.metadata = before.metadata
    text.write_text(jupytext.writes(notebook, fmt="py:percent").rstrip("\n") + "\n", encoding="utf-8")


def told(cell):
    """Return what nbval compares of a cell's outputs: all but pictures, tracebacks and counts."""
    streams, shown = {}, []
    for output in cell.outputs:
        if output.output_type == "stream":
            streams[output.name] = streams.get(output.name, "") + output.text
        elif "data" in output:
            shown.append({kind: data for kind, data in output.data.items() if kind != "image/png"})
    return streams, shown


def keep_outputs(notebook, old):
    """Put back the stored outputs, if nothing was edited that they come from; yield cells that now say another thing.

    What a processor's rounding changes is in cells that are not compared, and in figures.
    """
    unedited = old.metadata.get(SEALS, {}) == {"cells": seal(contents(old.cells)), "made_from": made_from()}
    if not unedited or code(old.cells) != code(notebook.cells):
        return
    stored = [cell for cell in old.cells if cell.cell_type == "code"]
    for cell, before in zip([cell for cell in notebook.cells if cell.cell_type == "code"], stored):
        if "nbval-ignore-output" in cell.metadata.get("tags", []) or told(cell) == told(before):
            cell.outputs, cell.execution_count = before.outputs, before.execution_count
        else:
            yield cell


def execute(notebook, directory):
    """Execute a notebook in place; return seconds and the kernel's peak memory in MiB."""
    client = NotebookClient(
        notebook, timeout=None, kernel_name="python3", record_timing=False, coalesce_streams=True,
        resources={"metadata": {"path": str(directory)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # no remarks on how the kernel talks to us
    )  # fmt: skip

    def stop_at_once(**_):
        with contextlib.suppress(NotImplementedError):  # on Windows KeyboardInterrupt comes through
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, os._exit, 130)

    client.on_notebook_start = stop_at_once  # nbclient's own handler ends in a page of errors
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
    """Return the first line that the cell tagged `headline` printed."""
    for cell in notebook.cells:
        if "headline" in cell.metadata.get("tags", []):
            said = "".join(o.text for o in cell.outputs if o.output_type == "stream").strip()
            return " ".join(said.split("\n")[0].split())
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


def sync(chapter, keep=""):
    """Write every notebook anew from its text and execute it where it lies; an edit made in a notebook goes to the text."""
    rows, sides = [], {text: edited_side(text, keep) for text in texts(chapter)}
    for text, side in sides.items():
        path = notebook_of(text)
        if side == "notebook":
            carry(text)
            print(f"{text.relative_to(ROOT)}: taken over what was edited in the notebook", flush=True)
        old = read_notebook(path) if path.exists() else nbformat.v4.new_notebook()
        notebook = paired(jupytext.read(text), copy.deepcopy(old))
        seconds, peak = execute(notebook, path.parent)
        for cell in keep_outputs(notebook, old):
            print(f"{path.relative_to(ROOT)}: cell {cell.id} prints something else here than where it was stored")
        notebook.metadata[SEALS] = {"cells": seal(contents(notebook.cells)), "made_from": made_from()}
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        save_picture(notebook)
        rows.append((text.stem, len(notebook.cells), f"{seconds:.0f}", f"{peak:.0f}", headline(notebook)))
        print(f"{path.relative_to(ROOT)}: paired and executed in {seconds:.0f} s", flush=True)
    table(rows)


def run(chapter):
    """Execute the chapters as a reader would, into build/, and write each as an HTML page; a study where it is named alone."""
    from pages import write as write_page  # here, because `sync` and `check` do without

    rows, chosen = [], texts(chapter)
    for text in [text for text in chosen if text.parent == TEXT] or chosen:
        print(f"executing {text.stem} ...", flush=True)
        notebook = read_notebook(notebook_of(text))
        BUILD.mkdir(exist_ok=True)
        seconds, peak = execute(notebook, notebook_of(text).parent)
        nbformat.write(notebook, BUILD / f"{text.stem}.ipynb")
        write_page(notebook, BUILD / f"{text.stem}.html")
        rows.append((text.stem, len(notebook.cells), f"{seconds:.0f}", f"{peak:.0f}", headline(notebook)))
    table(rows)
    print(f"The notebooks with their outputs, and the same as HTML pages, are in {BUILD.name}/.")


def seal_all():
    """Seal every notebook as it lies: its outputs are known to be those of today's helpers, because `make test` passed."""
    for path in map(notebook_of, texts()):
        notebook = read_notebook(path)
        notebook.metadata[SEALS] = {"cells": seal(contents(notebook.cells)), "made_from": made_from()}
        nbformat.write(notebook, path)


def differences(text):
    """Yield what is wrong with one notebook: it must say what its text says, in the series' own setting."""
    path = notebook_of(text)
    name = path.relative_to(ROOT)
    if not path.exists():
        yield f"{name}: missing; `make sync` makes it from {text.relative_to(ROOT)}"
        return
    fresh, stored = jupytext.read(text).cells, read_notebook(path)
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
    if {key: value for key, value in stored.metadata.items() if key != SEALS} != METADATA:
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


def check():
    """Exit with 1 and a list if a notebook, a setup cell, a badge or a link is not as it should be."""
    from badges import problems  # here, because it is found only when this file is run as a program

    wrong = []
    for path in [notebook_of(text) for text in texts()]:
        try:
            path.exists() and read_notebook(path)
        except ValueError as error:
            wrong.append(str(error))
    if not wrong:  # the rest reads them all
        wrong = [*(d for text in texts() for d in differences(text)), *problems(), *broken_links()]
    strays = {p.stem for p in NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts} - {
        t.stem for t in texts()
    }
    wrong += [f"notebooks: {stem}.ipynb has no text in notebooks/text" for stem in sorted(strays)]
    print("\n".join(wrong) if wrong else f"{len(texts())} notebooks are paired, executed and linked")
    sys.exit(bool(wrong))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "sync", "check", "seal"])
    parser.add_argument("chapter", nargs="?", default="", help="its number, as 05; all if left out")
    parser.add_argument("--keep", default="", choices=["text", "notebook"], help="which wins where both were edited")
    given = parser.parse_args()
    if given.command == "check":
        check()
    elif given.command == "seal":
        seal_all()
    elif given.command == "run":
        run(given.chapter)
    else:
        sync(given.chapter, given.keep)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        os._exit(130)  # at once, without what threads and kernels have to say; make says that it was stopped
