"""Open the website, the slides and the committed notebooks in a real browser: `look.py [drawings] [book] [pages] [slides] [lab]`.

The network is off. What fails is printed, pictures go to build/look. Needs Chromium (the variable CHROME may say where).
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import chapters
from pages import write as write_page

BUILD, SHOTS = chapters.BUILD, chapters.BUILD / "look"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
SLIDE = {"width": 1280, "height": 720}
SMALLEST = 24  # pixels: text on a slide is never smaller
AXE = {
    "preload": False,
    "resultTypes": ["violations"],
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]},
}

# Lines of BertViz, or heads of a playground, that are drawn in an embedded view.
ARCS = """() => [...document.querySelectorAll('iframe')].map(
    f => f.contentDocument ? f.contentDocument.querySelectorAll('svg line, #maps button').length : 0)"""
SIDEWAYS = "() => document.documentElement.scrollWidth - window.innerWidth"
TYPESET = "() => window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => true) : true"
FORMULAS = "() => [document.querySelectorAll('.math').length, document.querySelectorAll('mjx-container').length]"
# Formulas that are still text; what MathJax leaves alone does not count.
RAW = r"""() => [...document.querySelectorAll('.jp-MarkdownOutput')].filter(part =>
    /\$[^$]+\$|\\\(/.test(part.cloneNode(true).innerText)).length"""
# Pictures that say nothing to whoever does not see them; beside its own name, in a link home, a sign need not say it again.
WITHOUT_ALT = "() => [...document.images].filter(i => !i.alt.trim() && !i.closest('nav.home')).length"


def browser_path():
    """Return where Chromium is, or leave with a sentence that says what to do."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    found = os.environ.get("CHROME") or next((p for p in map(shutil.which, names) if p), None)
    if not found:
        sys.exit(
            "no Chromium found: install it (Debian: apt install chromium), or say where it is: CHROME=/path/to/chrome"
        )
    return found


@contextlib.contextmanager
def browser():
    """Give a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--allow-file-access-from-files", "--disable-gpu"]
        chromium = playwright.chromium.launch(executable_path=browser_path(), args=arguments)
        yield chromium
        chromium.close()


@contextlib.contextmanager
def page_of(chromium, size, offline=True):
    """Give a page without a network, and the list into which it writes whatever goes wrong."""
    context = chromium.new_context(viewport=size, offline=offline)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(f"error on the page: {error}"))
    page.on("requestfailed", lambda request: wrong.append(f"request failed: {request.url[:120]}"))
    page.on("request", lambda r: wrong.append(f"asks the network: {r.url[:120]}") if r.url.startswith("http") else None)
    try:
        yield page, wrong
    finally:
        context.close()


def violations(page):
    """Return what axe-core objects to, a line for each rule."""
    from axe_playwright_python.sync_playwright import Axe

    return [
        f"axe: {rule['id']} ({rule['impact']}), {len(rule['nodes'])} times, first {rule['nodes'][0]['target']}"
        for rule in Axe().run(page, options=AXE).response["violations"]
    ]


def arcs_drawn(page):
    """Return how many lines each BertViz view of a page has drawn, once they are there."""
    for frame in page.locator("iframe").all():
        frame.evaluate("frame => frame.scrollIntoView()")
    for _ in range(50):
        arcs = page.evaluate(ARCS)
        if all(arcs):
            break
        page.wait_for_timeout(100)
    return arcs


def look_at_drawings(_):
    """Draw whatever can be drawn and measure it, and the figures that the notebooks hold; return what is wrong."""
    import matplotlib

    matplotlib.use("Agg")
    sys.path.insert(0, str(chapters.ROOT))
    import drawings

    return drawings.look()


def look_at_pages(chromium):
    """Write the chapters' pages as `make run` does, from the notebooks as they lie, and open each; return what is wrong."""
    folder, wrong_pages = SHOTS / "pages", {}
    for path in chapters.chapters():
        target = folder / f"{path.stem}.html"
        write_page(chapters.read(path), target)
        for size in (DESK, PHONE):
            with page_of(chromium, size) as (page, wrong):
                page.goto(target.as_uri())
                page.evaluate(TYPESET)
                arcs_drawn(page)
                if page.title() in ("", "Notebook"):
                    wrong.append(f"is called {page.title()!r}")
                if raw := page.evaluate(RAW):
                    wrong.append(f"{raw} formulas are not typeset")
                if without := page.evaluate(WITHOUT_ALT):
                    wrong.append(f"{without} pictures without alternative text")
                if (sideways := page.evaluate(SIDEWAYS)) > 0:
                    wrong.append(f"scrolls {sideways} pixels sideways")
                wrong += violations(page) if size == DESK else []
                page.evaluate("scrollTo(0, 0)")
                page.screenshot(path=SHOTS / f"page-{path.stem}-{size['width']}.png")
            wrong_pages[f"{target.name} at {size['width']}"] = wrong
    print(f"{len(wrong_pages) // 2} pages of `make run`, each at two widths")
    return wrong_pages


def look_at_book(chromium):
    """Open every page of the site at two widths; return the rows of a table and what is wrong."""
    rows, wrong_pages = [], {}
    site = BUILD / "book"
    for path in sorted(p for p in site.rglob("*.html") if not {"_static", "slides"} & set(p.parts)):
        name = path.relative_to(site).as_posix()
        with page_of(chromium, DESK) as (page, wrong):
            page.goto(path.as_uri())
            page.evaluate(TYPESET)
            formulas, typeset = page.evaluate(FORMULAS)
            arcs = arcs_drawn(page)
            objections = violations(page)
            if typeset < formulas:
                wrong.append(f"{formulas - typeset} of {formulas} formulas are not typeset")
            if not all(arcs):
                wrong.append(f"BertViz has drawn nothing: {arcs}")
            if without := page.evaluate(WITHOUT_ALT):
                wrong.append(f"{without} pictures without alternative text")
            wrong += objections
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=SHOTS / f"book-{name.replace('/', '-')}-1280.png")
            problems = wrong
        with page_of(chromium, PHONE) as (page, wrong):
            page.goto(path.as_uri())
            page.evaluate(TYPESET)
            if (sideways := page.evaluate(SIDEWAYS)) > 0:
                wrong.append(f"scrolls {sideways} pixels sideways at {PHONE['width']}")
            page.screenshot(path=SHOTS / f"book-{name.replace('/', '-')}-390.png")
            problems = problems + [f"at {PHONE['width']}: {line}" for line in wrong]
        rows.append((name, typeset, sum(arcs), len(objections)))
        wrong_pages[name] = problems
    wrong_pages["ways from the landing page"] = ways(chromium)
    print("page".ljust(60), "formulas  BertViz lines  axe")
    for name, typeset, arcs, objections in rows:
        print(f"{name:60} {typeset:8}  {arcs:13}  {objections:3}")
    return wrong_pages


def ways(chromium):
    """Return which of the ways that begin on the landing page, one click each, do not lead where they say."""
    wrong, site, chapter = [], BUILD / "book", chapters.chapters()[2]
    with page_of(chromium, DESK) as (page, _):

        def click(name):
            page.goto((site / "index.html").as_uri())
            card = page.locator(".sd-card").nth(2)
            (card if name in ("Slides", "Notebook") else page).get_by_role("link", name=name, exact=True).click()

        click("Start with chapter 1")
        if not page.url.endswith(f"{chapters.chapters()[0].stem}.html"):
            wrong.append(f"'Start with chapter 1' leads to {page.url}")
        page.goto((site / "index.html").as_uri())
        colab = page.get_by_role("link", name="Open it in Colab").get_attribute("href")
        if (
            not colab.startswith("https://colab.research.google.com/github/")
            or chapters.chapters()[0].name not in colab
        ):
            wrong.append(f"'Open it in Colab' leads to {colab}")
        click("Slides")
        page.wait_for_function("() => window.ready === true", timeout=60_000)
        if "multi-head" not in page.title().lower():
            wrong.append(f"the third card's slides are {page.title()!r}")
        with page.expect_download() as download:
            click("Notebook")
        if Path(download.value.path()).read_bytes() != chapter.read_bytes():
            wrong.append("the third card's notebook is not the committed one")
    return wrong


# What a slide measures once it is shown, all fragments included: how far its parts reach, its smallest text, its arcs.
MEASURE = """() => {
    const slide = Reveal.getCurrentSlide(), seen = {right: 0, bottom: 0, left: 9999, top: 9999, smallest: 999, arcs: []};
    const scale = Reveal.getScale();
    for (const part of slide.querySelectorAll('*')) {
        if (part.closest('aside')) continue;
        const box = part.getBoundingClientRect(), style = getComputedStyle(part);
        if (!box.width || !box.height || style.display === 'none' || part.closest('mjx-assistive-mml')) continue;
        seen.right = Math.max(seen.right, box.right); seen.bottom = Math.max(seen.bottom, box.bottom);
        seen.left = Math.min(seen.left, box.left); seen.top = Math.min(seen.top, box.top);
        const text = [...part.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (text) seen.smallest = Math.min(seen.smallest, parseFloat(style.fontSize) * scale);
        if (part.tagName === 'PRE' && part.scrollWidth > part.clientWidth + 1) seen.right = 9999;
        if (part.tagName === 'IFRAME') seen.arcs.push(part.contentDocument.querySelectorAll('svg line, #maps button').length);
    }
    // Pixels of a letter of 11 points, the drawings' small print, on this slide.
    const frame = slide.querySelector('.frame');
    seen.letters = !frame ? 999 : frame.getBoundingClientRect().width * 11 * 100 / 72
        / parseFloat(getComputedStyle(frame).getPropertyValue('--width'));
    seen.scroll = [slide.scrollWidth - slide.clientWidth, slide.scrollHeight - slide.clientHeight];
    seen.notes = slide.querySelectorAll('aside.notes').length;
    seen.title = (slide.querySelector('h1, h2') || {innerText: ''}).innerText;
    // Words of prose, rows of the longest listing, sizes of text, keys that show nothing.
    const words = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT), sizes = new Set();
    seen.words = 0;
    while (words.nextNode()) {
        const {parentElement: parent, data} = words.currentNode;
        if (!data.trim() || parent.closest('aside, script, mjx-container, .view')) continue;
        sizes.add(Math.round(parseFloat(getComputedStyle(parent).fontSize)));
        if (!parent.closest('pre, h1, h2, table')) seen.words += data.trim().split(/\\s+/).length;
    }
    seen.sizes = [...sizes].sort((a, b) => a - b);
    seen.rows = Math.max(0, ...[...slide.querySelectorAll('pre')].map(pre => pre.innerText.trimEnd().split('\\n').length));
    const shows = part => part.getBoundingClientRect().width * part.getBoundingClientRect().height > 0;
    seen.empty = [...slide.querySelectorAll('.fragment')].filter(
        part => !shows(part) && ![...part.querySelectorAll('*')].some(shows)).length;
    return seen;
}"""


def too_much(seen):
    """Return what a slide has too much of."""
    limits = {"words": 40, "rows": 12, "empty": 0}
    wrong = [f"{seen[name]} {name}, not {most}" for name, most in limits.items() if seen[name] > most]
    if len(seen["sizes"]) > 3:
        wrong.append(f"text of {seen['sizes']} pixels, not of three sizes")
    return wrong


def look_at_slides(chromium):
    """Show every slide of every deck at 1280 x 720; return what is wrong, deck by deck."""
    wrong_decks = {}
    print(
        "deck".ljust(12),
        "slides  with notes  median words  most words  most rows  lowest pixel  pixels of text  in figures",
    )
    for path in sorted((BUILD / "slides").glob("*.html")):
        with page_of(chromium, SLIDE) as (page, wrong):
            page.goto(path.as_uri())
            page.wait_for_function("() => window.ready === true", timeout=60_000)
            number = page.evaluate("() => Reveal.getTotalSlides()")
            if not page.evaluate("() => document.querySelectorAll('mjx-container').length"):
                wrong.append("no formula is typeset")
            measured = []
            for index in range(number):
                page.evaluate("i => Reveal.slide(i, 0, 99)", index)
                if page.evaluate("() => Reveal.getCurrentSlide().querySelector('iframe') !== null"):
                    page.wait_for_timeout(1500)
                seen = page.evaluate(MEASURE)
                measured.append(seen)
                page.screenshot(path=SHOTS / f"slides-{path.stem}-{index + 1:02}.png")
                where = f"slide {index + 1} ({seen['title'][:40]})"
                if (
                    seen["right"] > SLIDE["width"]
                    or seen["bottom"] > SLIDE["height"]
                    or seen["left"] < 0
                    or seen["top"] < 0
                ):
                    wrong.append(f"{where} runs off: right {seen['right']:.0f}, bottom {seen['bottom']:.0f}")
                if max(seen["scroll"]) > 0:
                    wrong.append(f"{where} overflows by {seen['scroll']}")
                if seen["smallest"] < SMALLEST - 0.01:
                    wrong.append(f"{where} has text of {seen['smallest']:.1f} pixels")
                if not all(seen["arcs"]):
                    wrong.append(f"{where}: BertViz has drawn nothing")
                wrong += [f"{where}: {what}" for what in too_much(seen)]
            wrong += [v for v in violations(page) if any(r in v for r in ("image-alt", "color-contrast"))]
        words, rows = sorted(m["words"] for m in measured), max(m["rows"] for m in measured)
        sizes, lowest = sorted({size for m in measured for size in m["sizes"]}), max(m["bottom"] for m in measured)
        notes = sum(m["notes"] for m in measured)
        letters = sorted(m["letters"] for m in measured if m["letters"] < 999)
        row = f"{number:6}  {notes:10}  {words[number // 2]:12}  {words[-1]:10}  {rows:9}  {lowest:12.0f}"
        row += f"  {', '.join(map(str, sizes)):14}  median {letters[len(letters) // 2]:.0f}, least {letters[0]:.0f}"
        print(f"{path.name:12} {row}")
        if not 25 <= number <= 32 or notes < number:
            wrong.append(f"{number} slides, {notes} with notes: not 25 to 32, each with notes")
        wrong_decks[f"slides/{path.name}"] = wrong
    return wrong_decks


BADGE = '<svg xmlns="http://www.w3.org/2000/svg" width="117" height="20"/>'  # the one picture that comes from elsewhere
LAB_SETTINGS = {
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {
        "windowingMode": "none"
    },  # every cell is on the page
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False},
}


@contextlib.contextmanager
def jupyter_lab(folder):
    """Serve a folder with JupyterLab, with settings and signatures of its own; give the address."""
    with tempfile.TemporaryDirectory() as private, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY"))}
        for name in ("DATA", "CONFIG", "RUNTIME"):
            environment[f"JUPYTER_{name}_DIR"] = os.path.join(private, name.lower())
        environment["JUPYTERLAB_SETTINGS_DIR"] = os.path.join(private, "settings")
        for name, setting in LAB_SETTINGS.items():
            path = os.path.join(private, "settings", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                json.dump(setting, file)
        jupyter = [sys.executable, "-m", "jupyter"]
        notebooks = sorted(map(str, folder.rglob("*.ipynb")))
        subprocess.run([*jupyter, "trust", *notebooks], env=environment, check=True, capture_output=True)
        options = [
            "--no-browser",
            "--allow-root",
            f"--port={port}",
            "--IdentityProvider.token=",
            f"--ServerApp.root_dir={folder}",
        ]
        server = subprocess.Popen([*jupyter, "lab", *options], env=environment, stderr=subprocess.DEVNULL)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:  # a busy machine: what was seen counts, not how the server leaves
                server.kill()
                server.wait()


def look_at_lab(chromium):
    """Open each committed notebook in JupyterLab, trusted, without running anything; BertViz views must be drawn."""
    wrong_notebooks = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder) / "notebooks"
        shutil.copytree(chapters.NOTEBOOKS, folder, ignore=shutil.ignore_patterns("text", ".*"))
        with jupyter_lab(folder) as address, page_of(chromium, DESK, offline=False) as (page, wrong):
            page.route(lambda url: not url.startswith(address), lambda route: route.abort())
            page.route("**/colab-badge.svg", lambda route: route.fulfill(content_type="image/svg+xml", body=BADGE))
            for _ in range(100):
                with contextlib.suppress(Exception):
                    page.goto(f"{address}/lab", timeout=5000)
                    break
                time.sleep(0.3)
            for path in chapters.pages():
                cells = chapters.read(path).cells
                views, figures = sum(map(chapters.has_view, cells)), sum(map(chapters.has_picture, cells))
                del wrong[:]
                page.goto(f"{address}/lab/tree/{path.relative_to(chapters.NOTEBOOKS).as_posix()}?reset")
                page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
                page.wait_for_function(
                    f"() => document.querySelectorAll('.jp-Notebook .jp-Cell').length >= {len(cells)}"
                )
                arcs = arcs_drawn(page) if views else []
                pictures = page.evaluate("() => document.querySelectorAll('.jp-OutputArea img').length")
                problems = [w for w in wrong if address not in w and not w.endswith("colab-badge.svg")]
                if len(arcs) != views or not all(arcs):
                    problems.append(f"{views} BertViz views in the file, lines drawn in JupyterLab: {arcs}")
                if pictures < figures:
                    problems.append(f"{figures} figures in the file, {pictures} shown")
                page.screenshot(path=SHOTS / f"lab-{path.stem}.png")
                print(f"{path.stem:50} {len(cells):4} cells  {pictures:3} figures  BertViz lines {arcs}")
                wrong_notebooks[f"lab/{path.stem}"] = problems
    return wrong_notebooks


def main(what):
    """Look at what is asked for, print what is wrong, and exit with 1 if there is anything."""
    looks = {"drawings": look_at_drawings, "book": look_at_book, "pages": look_at_pages, "slides": look_at_slides}
    looks["lab"] = look_at_lab
    if unknown := sorted(set(what) - set(looks)):
        sys.exit(f"there is nothing to look at that is called {', '.join(unknown)}; there is {', '.join(looks)}")
    SHOTS.mkdir(parents=True, exist_ok=True)
    for name in what or ["book", "slides"]:
        if name in ("book", "slides") and not list((BUILD / name).glob("*.html")):
            sys.exit(f"there is nothing in build/{name}: run `make {name}` first")
    wrong = {}
    with browser() as chromium:
        for name in what or looks:
            wrong.update(looks[name](chromium))
    for name, problems in wrong.items():
        for problem in problems:
            print(f"{name}: {problem}")
    count = sum(map(len, wrong.values()))
    print(
        f"{count} things are wrong" if count else "nothing is wrong",
        f"- pictures in {SHOTS.relative_to(chapters.ROOT)}/",
    )
    sys.exit(bool(count))


if __name__ == "__main__":
    main(sys.argv[1:])
