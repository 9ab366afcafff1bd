"""Open the playground's views in a real browser, network off: `look_playground.py [numbers] [times] [use] [shots]`.

numbers: logits and attention weights against PyTorch, plain and with each of the reader's changes. times: a key stroke
to the finished picture. use: keyboard, touch, widths, bad input, axe. shots: pictures into build/look. The models have
random weights. Needs Chromium, as look.py does.
"""

import html
import re
import statistics
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from look import DESK, PHONE, SHOTS, SIDEWAYS, browser, page_of, violations

from helpers.attention import causal_mask, masked_softmax
from helpers.data import load_parallel, load_words
from helpers.playground import explore, play
from helpers.text import Vocabulary
from helpers.transformer import MiniFormer, Transformer, TransformerConfig

INPUTS, TOLERANCE = 200, 1e-4
LIMITS = {"words": 50, "translator": 200}  # milliseconds from a key stroke to the picture, on an idle machine


def scrambled(model, seed=0):
    """Give every parameter random numbers, the norms' too, so that none of them could be forgotten unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * parameter.std().nan_to_num(1.0) * torch.randn(parameter.shape, generator=generator)
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def models():
    """Return the models to compare, by name, with the arguments of `play` that they need."""
    words = Vocabulary.from_words(load_words())
    corpus = load_parallel()["dev"]
    english, japanese = Vocabulary.from_sentences(corpus.source), Vocabulary.from_sentences(corpus.target)
    late = MiniFormer(len(words), num_heads=4, num_layers=2)
    for layer in late.layers:
        layer.norm_first = False
    translator = {"d_model": 64, "num_heads": 4, "d_ff": 256, "max_length": 32}

    def full(**changes):
        return Transformer(TransformerConfig(len(words), len(words), **changes))

    def translating(**changes):
        return Transformer(TransformerConfig(len(english), len(japanese), **(translator | changes)))

    found = {
        "MiniFormer": (MiniFormer(len(words)), [words]),
        "MiniFormer, post-norm": (late, [words]),
        "FullTransformer": (full(), [words]),
        "FullTransformer, post-norm": (full(norm_first=False, shared_vocabulary=True), [words]),
        "translator": (translating(tie_embeddings=True), [english, japanese]),
        "translator, post-norm": (translating(norm_first=False, final_norm=True), [english, japanese]),
        "translator, float16": (translating(tie_embeddings=True), [english, japanese]),
    }
    found = {name: (scrambled(model), vocabularies) for name, (model, vocabularies) in found.items()}
    with torch.no_grad():
        for parameter in found["translator, float16"][0].parameters():
            parameter.copy_(parameter.half())  # the view rounds so, and then computes as finely as the others
    return found


@contextmanager
def changed(module, head, mode, cuts):
    """Change one head of a `MultiHeadAttention` by means of PyTorch alone, while the `with` block runs."""
    rows = slice(head * module.head_dim, (head + 1) * module.head_dim)
    kept, forward = {name: value.clone() for name, value in module.state_dict().items()}, module.forward
    with torch.no_grad():
        if mode == "off":
            module.out_proj.weight[:, rows] = 0  # nothing of the head comes out
        if mode == "even":
            module.query_proj.weight[rows] = 0  # all scores are 0
            module.query_proj.bias[rows] = 0

    def cutting(query, key, value, mask=None, need_weights=True):
        """As `forward`, with the cut edges masked in this head."""
        keys = key.size(-2)
        allowed = mask if mask.dim() < 3 else mask.unsqueeze(1)
        allowed = allowed.expand(query.size(0), module.num_heads, query.size(1), keys).clone()
        for i, j in cuts:
            if i < query.size(1) and j < keys:
                allowed[:, head, i, j] = False
        if mode != "mean":
            return forward(query, key, value, allowed)
        q = module.query_proj(query).unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
        k, v = (key, value) if key.dim() == 4 else module.project(key, value)
        weights = masked_softmax(q @ k.transpose(-2, -1) / module.head_dim**0.5, allowed)
        weights[:, head] = weights.mean(1)  # of all heads, with the cuts
        return module.out_proj((weights @ v).transpose(1, 2).flatten(2)), weights

    module.forward = cutting
    try:
        yield
    finally:
        del module.forward
        module.load_state_dict(kept)


def modules_of(model):
    """Return the attention modules of a model by kind."""
    if isinstance(model, MiniFormer):
        return {"self": [layer.self_attention for layer in model.layers]}
    return {
        "encoder": [layer.self_attention for layer in model.encoder_layers],
        "decoder": [layer.self_attention for layer in model.decoder_layers],
        "cross": [layer.cross_attention for layer in model.decoder_layers],
    }


def sample(model, count, generator):
    """Yield random inputs: ids with padding here and there, what is changed, and whether the masks of chapter 5 apply."""
    mini = isinstance(model, MiniFormer)
    source_size = model.output.out_features if mini else model.config.source_vocab_size
    longest = model.max_length if mini else model.config.max_length

    def draw(*bounds):
        return int(torch.randint(*bounds, (1,), generator=generator))

    def ids(size):
        drawn = torch.randint(1, size, (draw(1, longest + 1),), generator=generator)
        if len(drawn) > 1 and draw(2):
            drawn[draw(1, len(drawn)) :] = 0  # padding, on the right
        return drawn.tolist()

    modules = modules_of(model)
    for number in range(count):
        source = ids(source_size)
        past = not mini and bool(draw(2))
        target = source if mini or past else ids(model.config.target_vocab_size)
        if past:
            source = [min(token, source_size - 1) for token in source]
            target = [min(token, model.config.target_vocab_size - 1) for token in source]
        changes = []
        for kind in modules if number % 2 else []:  # every other input is without changes
            layer, head = draw(len(modules[kind])), draw(modules[kind][0].num_heads)
            mode = ["", "off", "even", "mean"][draw(4)]
            cuts = [(draw(longest), draw(longest)) for _ in range(draw(40))]
            changes.append((kind, layer, head, mode, cuts))
        yield {"source": source, "target": target, "past": past, "changes": changes}


def by_torch(model, case):
    """Return what PyTorch computes: logits and weights, flat."""
    modules = modules_of(model)
    with ExitStack() as undo, torch.no_grad():
        for kind, layer, head, mode, cuts in case["changes"]:
            undo.enter_context(changed(modules[kind][layer], head, mode, cuts))
        source, target = torch.tensor([case["source"]]), torch.tensor([case["target"]])
        if isinstance(model, MiniFormer):
            logits, attention = model(source, return_attention=True)
            attention = {"self": attention}
        else:
            past = causal_mask(source.size(1)) if case["past"] else None
            logits, attention = model(source, target, past, past, return_attention=True)
    for kind, layer, head, mode, _ in case["changes"]:
        if mode == "off":
            attention[kind][layer][0, head] = 0  # in the page a head that is off has no weights
    flat = {kind: torch.cat([layer.flatten() for layer in layers]) for kind, layers in attention.items()}
    return {"logits": logits.flatten(), **flat}


IN_PAGE = """cases => cases.map(({source, target, past, changes: list}) => {
    const [model] = flycatcher.models;
    const changes = new Map(list.map(([kind, layer, head, mode, cuts]) => [
        `${kind} ${layer} ${head}`, {mode, cuts: new Set(cuts.map(([i, j]) => `${i} ${j}`))}]));
    const result = model.encode ? model.forward(source, target, {past, changes}) : model.forward(source, changes);
    const flat = {logits: [...result.logits.data]};
    for (const [kind, layers] of Object.entries(result.attention)) {
        flat[kind] = layers.flat().flatMap(head => [...head.data]);
    }
    return flat;
})"""


@contextmanager
def shown(chromium, view, size=DESK, around="#ffffff"):
    """Show a view in a page; give the page, its frame, and the list of what goes wrong."""
    with tempfile.TemporaryDirectory() as folder, page_of(chromium, size) as (page, wrong):
        path = Path(folder) / "page.html"
        head = '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>page</title>'
        head += "<style>iframe { background: white }</style></head>"  # as the website's theme does, light or dark
        path.write_text(
            f'{head}<body style="margin: 0; background: {around}">{view.data}</body></html>', encoding="utf-8"
        )
        page.goto(path.as_uri())
        page.wait_for_function("() => frames[0].document.querySelector('#panels table')")
        yield page, page.frames[1], wrong


def look_at_numbers(chromium):
    """Compare logits, weights and greedy translations with PyTorch's."""
    problems = []
    print("model".ljust(28), "inputs  changed  padded  largest difference: logits, weights")
    for name, (model, vocabularies) in models().items():
        cases = list(sample(model, INPUTS, torch.Generator().manual_seed(1)))
        precision = "float16" if "float16" in name else "float32"
        with shown(chromium, play(model, *vocabularies, precision=precision)) as (_, frame, wrong):
            theirs = frame.evaluate(IN_PAGE, cases)
            if len(vocabularies) == 2:
                for case in cases:
                    written = frame.evaluate("source => flycatcher.models[0].generate(source).tokens", case["source"])
                    wanted = model.generate(torch.tensor([case["source"]]))[0].tolist()
                    if written[1:] != wanted:
                        problems.append(f"{name}: {case['source']} is translated to {written[1:]}, not {wanted}")
            problems += wrong
        largest = {"logits": 0.0, "weights": 0.0}
        for case, here in zip(cases, theirs, strict=True):
            for kind, values in by_torch(model, case).items():
                difference = (values - torch.tensor(here[kind])).abs().max().item()
                part = kind if kind == "logits" else "weights"
                largest[part] = max(largest[part], difference)
                if not difference <= TOLERANCE:
                    problems.append(f"{name}: {kind} differ by {difference:.2g} for {case}")
        number = sum(bool(case["changes"]) for case in cases)
        padded = sum(0 in case["source"] + case["target"] for case in cases)
        print(f"{name:28} {len(cases):6}  {number:7}  {padded:6}  {largest['logits']:.1e}, {largest['weights']:.1e}")
    return problems + look_at_sources(chromium)


def sentence_of_eight():
    """Return a sentence of eight words, for the translator."""
    return next(text for text in load_parallel()["dev"].source if len(text.split()) == 8)


def look_at_sources(chromium):
    """Compare what the view writes with the model's translation, of a source with `<BOS>` and of one without."""
    problems, translations = [], []
    model, (english, japanese) = models()["translator"]
    sentence = sentence_of_eight()
    for source_bos in (True, False):
        source = torch.tensor([english.encode(sentence)[not source_bos :]])
        translations.append(japanese.tokens(model.generate(source)[0]))
        with shown(chromium, play(model, english, japanese, text=sentence, source_bos=source_bos)) as (_, frame, _):
            said = frame.locator("#losses .token").all_inner_texts()
        if said != translations[-1][: len(said)] or len(said) < 2:
            problems.append(f"translator, source_bos={source_bos}: the view writes {said}, not {translations[-1]}")
    if translations[0] == translations[1]:
        problems.append("both sources have the same translation: take another sentence")
    return problems


STROKE = """async text => {
    const input = document.getElementById("text");
    const start = performance.now();
    input.value = text;
    input.dispatchEvent(new Event("input"));
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - start;
}"""


def views():
    """Return a view of each sort, and what is typed into it."""
    found = models()
    mini, (words,) = found["MiniFormer"]
    full, (english, japanese) = found["FullTransformer"][0], found["translator"][1]
    view = play({"MiniFormer": mini, "Full <b>": full}, words, text="flycatcher", with_answer=["Full <b>"])
    sentence = sentence_of_eight()
    ids = torch.tensor([words.encode("flycatcher")[:-1]])
    with torch.no_grad():
        attention = full(ids, ids, return_attention=True)[1]
    translating = play(found["translator"][0], english, japanese, text=sentence)
    explored = explore(attention, words.tokens(ids))
    return {"words": view, "translator": translating, "explore": explored}, sentence


def look_at_times(chromium):
    """Measure how long a key stroke takes until the picture is there."""
    problems = []
    shown_views, sentence = views()
    for name, text in (("words", "flycatcherflyc"[:14]), ("translator", sentence)):
        with shown(chromium, shown_views[name]) as (_, frame, wrong):
            if name == "words":
                frame.locator("label", has_text="Full").first.click()
            typed = [text[: n + 1] for n in range(len(text))] * (2 if name == "words" else 1)
            if name == "translator":
                typed = [" ".join(text.split()[: 1 + n % 8]) for n in range(24)]
            times = [frame.evaluate(STROKE, part) for part in typed]
            problems += wrong
        median = statistics.median(times)
        print(
            f"{name}: a key stroke to the picture takes {median:.0f} ms (median of {len(times)}; longest {max(times):.0f})"
        )
        if median > LIMITS[name]:
            problems.append(f"{name}: {median:.0f} ms a key stroke, more than {LIMITS[name]}")
    return problems


BAD = [
    "", " ", "   ", "\t", "Flycatcher", "fly catcher", "fly-catcher", "flycatcher1", "42", "é", "naïve", "ß", "ÿ",
    "日本語", "ひたき", "птица", "🐦", "fly🐦catcher", "👩‍👩‍👧", "a" * 15, "flycatcher" * 100, "a" * 20_000,
    "<b>bold</b>", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</script>", "&lt;b&gt;", "${1}",
    "\u202eylf", "fly\u0000", "__proto__", "toString",
]  # fmt: skip


def look_at_use(chromium):
    """Use the views by keyboard, by touch, with bad input; measure widths, ask axe."""
    problems = []

    def expect(true, what):
        if not true:
            problems.append(what)

    made, sentence = views()
    for name, view in made.items():
        for size in (DESK, PHONE):
            for around in ("#ffffff", "#121212"):
                with shown(chromium, view, size, around) as (page, frame, wrong):
                    theme = frame.evaluate("document.documentElement.dataset.theme")
                    expect(theme == ("light" if around == "#ffffff" else "dark"), f"{name} is {theme} on {around}")
                    expect(page.evaluate(SIDEWAYS) <= 0, f"{name} scrolls sideways at {size['width']}")
                    expect(frame.evaluate(SIDEWAYS) <= 0, f"{name} scrolls sideways inside at {size['width']}")
                    high = frame.evaluate("document.documentElement.scrollHeight - innerHeight")
                    expect(high <= 0, f"{name} is cut at {size['width']}: {high} pixels")
                    problems += wrong
        page_source = html.unescape(re.search('srcdoc="([^"]*)"', view.data).group(1))
        with tempfile.TemporaryDirectory() as folder, page_of(chromium, DESK) as (page, wrong):
            path = Path(folder) / "page.html"
            path.write_text(page_source, encoding="utf-8")
            page.goto(path.as_uri())
            page.wait_for_selector("#panels table")
            for theme in ("light", "dark"):
                page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
                problems += [f"{name}, {theme}: {line}" for line in violations(page)]
                if name != "explore":
                    page.click("[data-id='cut 0']")
                    page.click("[data-id='pin']") if page.locator("[data-id='pin']").count() else None
                    problems += [f"{name}, {theme}, changed: {line}" for line in violations(page)]
            problems += wrong

    # Bad input: a sentence, the last picture, and no markup.
    for name in ("words", "translator"):
        with shown(chromium, made[name]) as (page, frame, wrong):
            for text in BAD + (["a " * 40, "the the qqq"] if name == "translator" else []):
                before = frame.locator("#panels").inner_text()
                frame.evaluate(STROKE, text)
                said = frame.locator("#message").inner_text()
                expect(said.endswith((".", ":")), f"{name}: {text[:20]!r} gets no sentence, but {said!r}")
                expect(frame.locator("#panels").inner_text() == before, f"{name}: {text[:20]!r} changes the picture")
                expect(not frame.locator("img, b b, main script").count(), f"{name}: {text[:20]!r} became markup")
                expect(frame.evaluate(SIDEWAYS) <= 0, f"{name}: {text[:20]!r} scrolls sideways")
            frame.evaluate(STROKE, "fly" if name == "words" else sentence)
            expect(frame.locator("#message").inner_text() == "", f"{name}: does not recover")
            problems += wrong
    print(f"bad inputs: {len(BAD)} in each view with a model")

    # Everything by keyboard alone.
    with shown(chromium, made["words"]) as (page, frame, wrong):

        def focused():
            return frame.evaluate("document.activeElement.dataset.id ?? document.activeElement.id")

        def tab_to(wanted, most=90, key="Tab"):
            for _ in range(most):
                if re.fullmatch(wanted, focused() or ""):
                    return
                page.keyboard.press(key)
            problems.append(f"keyboard: {wanted} is not reached")

        def text_of(selector):
            return frame.locator(selector).inner_text()

        page.keyboard.press("Tab")
        tab_to("text")
        page.keyboard.press("End")
        page.keyboard.type("s")
        expect(frame.locator("#losses button").count() == 12, "keyboard: typing does not change the word")
        tab_to("model .*")
        page.keyboard.press("ArrowRight")
        expect(frame.locator("#kinds input").count() == 3, "keyboard: the arrow key does not change the model")
        expect(focused() == "model 1", f"keyboard: the focus is lost to {focused()!r}")
        tab_to("answer .*")
        with_answer = text_of("#losses-title")
        page.keyboard.press("ArrowLeft")
        expect(text_of("#losses-title") != with_answer, "keyboard: the encoder's switch changes nothing")
        tab_to("letter 3")
        page.keyboard.press("Enter")
        expect(frame.locator("[data-id='letter 3']").get_attribute("aria-pressed") == "true", "keyboard: letter")
        tab_to("temperature")
        bars = text_of("#next")
        page.keyboard.press("ArrowRight")
        expect(text_of("#next") != bars, "keyboard: the temperature changes nothing")
        tab_to("kind .*")
        page.keyboard.press("ArrowLeft")
        tab_to("map 1 2")
        page.keyboard.press("Space")
        expect("Layer 2, head 3" in text_of("#panels h3").capitalize().replace("layer", "Layer"), "keyboard: enlarge")
        tab_to("pin")
        page.keyboard.press("Enter")
        tab_to("map 0 1", key="Shift+Tab")
        page.keyboard.press("Enter")
        expect(frame.locator("#panels table").count() == 2, "keyboard: two heads side by side")
        tab_to("cell .*")
        place = focused()
        page.keyboard.press("ArrowDown")  # from there every key so far is still visible
        expect(focused() != place and focused().startswith("cell"), "keyboard: walking through the map")
        said = text_of("#words")
        losses = text_of("#losses-title")
        page.keyboard.press("x")
        expect("before your changes" in text_of("#losses-title") and losses, "keyboard: cutting an edge")
        expect(text_of("#words") != said, "the words do not follow")
        for mode in ("off", "even", "mean"):
            tab_to("head0 .*")
            losses = text_of("#losses-title")
            page.keyboard.press("ArrowRight")
            expect(mode in text_of(".map.changed .name"), f"keyboard: {mode}")
            expect(text_of("#losses-title") != losses or mode == "mean", f"keyboard: {mode} changes no loss")
        tab_to("cut 0")
        page.keyboard.press("Enter")
        tab_to("pin", key="Shift+Tab")
        page.keyboard.press("Enter")
        expect(frame.locator("#panels table").count() == 1, "keyboard: one head alone again")
        tab_to("back", key="Shift+Tab")
        page.keyboard.press("Enter")
        expect(not frame.locator("#changes button").count(), "keyboard: taking everything back")
        expect("before" not in text_of("#losses-title"), "keyboard: the losses are the model's own again")
        problems += wrong

    # The translator, step by step, and its suggestions.
    with shown(chromium, made["translator"]) as (page, frame, wrong):
        whole = frame.locator("#losses button").count()
        frame.get_by_text("start again").click()
        expect(frame.locator("#losses button").count() == 1, "translator: start again")
        frame.get_by_text("one word more").click()
        expect(frame.locator("#losses button").count() == min(2, whole), "translator: one word more")
        expect(frame.locator("#panels tbody tr").count() == min(2, whole), "translator: the attention of each step")
        frame.get_by_text("to the end").click()
        expect(frame.locator("#losses button").count() == whole, "translator: to the end")
        first = sentence.split()[0]
        frame.locator("#text").fill(first[:-1])
        offered = [option.get_attribute("value") for option in frame.locator("#suggestions option").all()]
        expect(f"{first} " in offered, f"translator: {first} is not offered, only {offered}")
        frame.locator("#text").fill(f"{first} ")
        expect(frame.locator("#message").inner_text() == "", "translator: a word picked is a word known")
        problems += wrong

    # Two views of a page share the numbers; the second may be there first.
    mini, (words,) = models()["MiniFormer"]
    both = type(made["words"])(play(mini, words, carry_weights=False).data + play(mini, words).data)
    with shown(chromium, both) as (page, frame, wrong):
        page.wait_for_function("() => frames[1].document.querySelector('#panels table')")
        texts = [page.frames[n].locator("#losses").inner_text() for n in (1, 2)]
        expect(texts[0] == texts[1] != "", "a view does not find the numbers of the other")
        problems += wrong

    # Touch.
    context = chromium.new_context(viewport=PHONE, offline=True, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.set_content(made["words"].data)
    frame = page.frames[1]
    frame.locator("[data-id='letter 2']").tap()
    frame.locator("[data-id='cell 0 4 1']").tap()
    frame.locator("[data-id='cut 0']").tap()
    expect(frame.locator("#changes button").count() == 1, "touch: cutting an edge")
    context.close()
    return problems


def look_at_shots(chromium):
    """Take pictures."""
    for name, view in views()[0].items():
        for size in (DESK, PHONE):
            for theme, around in (("light", "#ffffff"), ("dark", "#121212")):
                with shown(chromium, view, size, around) as (page, _, _):
                    page.wait_for_timeout(200)
                    page.screenshot(path=SHOTS / f"playground-{name}-{theme}-{size['width']}.png", full_page=True)
    return []


def main(what):
    """Look at what is asked for, print what is wrong, and exit with 1 if there is anything."""
    looks = {"numbers": look_at_numbers, "times": look_at_times, "use": look_at_use, "shots": look_at_shots}
    SHOTS.mkdir(parents=True, exist_ok=True)
    problems = []
    with browser() as chromium:
        for name in what or looks:
            problems += looks[name](chromium)
    for problem in problems:
        print(problem)
    print(f"playground: {len(problems)} problems; pictures in build/look")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main(sys.argv[1:])
