"""The drawings of whole models, in the language of `helpers.diagrams`: recurrent networks, the Transformer, two models."""

import numpy as np

from helpers.diagrams import (
    EDGES,
    INK,
    LARGE,
    QUIET,
    SMALL,
    SYMBOL,
    WRONG,
    arrow,
    badge,
    blank,
    box,
    brace,
    canvas,
    chain,
    frame,
    grid,
    label,
    layer,
    tensor,
)


def recurrent_network(tokens, cell="RNN", title="A recurrent network reads one word at a time"):
    """Draw a recurrent network as a loop, and unrolled over its words.

    Args:
        tokens: up to about 7 strings.
        cell: the name of the cell.
    """
    ax = canvas(864, 280, title)
    unit = 600 / len(tokens)
    loop, word = box(ax, 90, 140, cell, "module", 60, 44), box(ax, 90, 55, "word", "tokens", 74, 30)
    arrow(ax, word.top, loop.bottom)
    arrow(ax, loop.right, loop.top, (150, 140), (150, 190), (90, 190))
    label(ax, 120, 202, "state", SMALL)
    label(ax, 192, 140, "=", LARGE)
    state = blank(ax, 235, 140, 3, 1, "state", name="$h_0$")
    for t, token in enumerate(tokens):
        x = 235 + unit * (t + 0.5)
        part = box(ax, x, 140, cell, "module", min(60, unit - 42), 44)
        word = box(ax, x, 55, token, "tokens", min(unit - 6, 90), 30, SMALL)
        arrow(ax, word.top, part.bottom)
        arrow(ax, state.right, part.left)
        state = blank(ax, x + unit / 2, 140, 3, 1, "state", name=f"$h_{{{t + 1}}}$")
        arrow(ax, part.right, state.left)
    label(ax, 530, 225, "the same cell at every word; its state is all that it remembers", color=QUIET)
    return ax


def encoder_decoder(source, target, title="An encoder, a decoder, and one vector between them"):
    """Draw an encoder that reads, the one vector that it hands over, and the decoder that writes.

    Args:
        source: the words that are read.
        target: the words that are written, without the special ones.
    """
    below, above = [*source, "<BOS>", *target], [*target, "<EOS>"]
    unit, read = 714 / len(below), len(source)
    ax = canvas(864, 320, title)
    wide = [max(map(len, words)) * 8.5 > unit for words in (source, below[read:])]
    last = None
    places = [20 + unit * (i + 0.5) + 110 * (i >= read) for i in range(len(below))]
    for i, x in enumerate(places):
        part, low = box(ax, x, 150, "GRU", "module", min(unit - 20, 60), 40), 18 * (i % 2) * wide[i >= read]
        arrow(ax, (x, 90 - low), part.bottom)
        label(ax, x, 80 - low, below[i])
        if i >= read:
            arrow(ax, part.top, (x, 206 + low))
            label(ax, x, 216 + low, above[i - read])
        if i == read:
            vector = grid(ax, (x + places[i - 1]) / 2, 150, np.zeros((4, 1)), "state", (20, 20), written=False)
            arrow(ax, last.right, vector.left)
            frame(ax, vector.x, 150, 40, 100, color=INK, line="-")
            label(ax, vector.x - 20, 225, "one vector:\nthe bottleneck", weight="bold")
            last = vector
        if i:
            arrow(ax, last.right, part.left)
        last = part
    brace(ax, places[0] - 25, places[read - 1] + 25, 38, "encoder: reads", below=True)
    brace(ax, places[read] - 25, places[-1] + 25, 38, "decoder: writes; each word is its next input", below=True)
    return ax


def _steps(ax, texts, places):
    """Number the steps at their places, and say in the upper left corner what they are."""
    for number, (text, place) in enumerate(zip(texts, places), 1):
        y = ax.get_ylim()[1] - 32 - 28 * number
        for point in ((30, y), place):
            badge(ax, *point, number)
        label(ax, 48, y, text, ha="left")


def _look(ax, source, weights, query, *via):
    """Draw the encoder's states, the weights that a query gives them, and the context, which is returned."""
    weights = tensor(weights)
    unit = 560 / len(source)
    everybody = frame(ax, 560, 175, 576, 44, color=EDGES["query"])
    arrow(ax, query, everybody.left, *via, color=EDGES["query"])
    context = blank(ax, 560, 285, 1, 4, "value")
    label(ax, 520, 285, "context", ha="right")
    for i, word in enumerate(source):
        x = 280 + unit * (i + 0.5)
        state = blank(ax, x, 100, 3, 1, "key")
        label(ax, x, 60, word, SMALL)
        label(ax, x + 12, 100, f"$h_{{{i + 1}}}$", SYMBOL, ha="left")
        weight = grid(ax, x, 175, weights[i], "weights")
        arrow(ax, state.top, weight.bottom)
        arrow(ax, weight.top, context.bottom, width=0.6 + 9 * float(weights[i]), color=EDGES["value"], head=False)
    brace(ax, 280, 840, 42, "the encoder's states: keys and values in one", below=True)
    return context


def bahdanau_step(source, weights, last_word, next_word, title="Bahdanau: the state before the step asks"):
    """Draw one step of Bahdanau's decoder.

    Args:
        source: S words.
        weights: (S,), the attention weights of the step.
        last_word, next_word: what was written before, and what is written now.
    """
    ax = canvas(864, 610, title)
    before = blank(ax, 110, 285, 1, 4, "query")
    label(ax, 120, 320, "state before $s_{t-1}$", SYMBOL, ha="left")
    context = _look(ax, source, weights, before.bottom, (110, 175))
    gru, word = box(ax, 560, 375, "GRU", width=90), box(ax, 740, 375, f"last word: {last_word}", "tokens", 170)
    arrow(ax, before.top, gru.left, (110, 375))
    arrow(ax, context.top, gru.bottom)
    arrow(ax, word.left, gru.right)
    after = blank(ax, 560, 435, 1, 4)
    label(ax, 600, 435, "state after $s_t$", SYMBOL, ha="left")
    arrow(ax, gru.top, after.bottom)
    readout, out = box(ax, 560, 490, "read-out", width=110), box(ax, 560, 550, f"next word: {next_word}", "tokens", 170)
    arrow(ax, after.top, readout.bottom)
    arrow(ax, context.right, readout.right, (846, 285), (846, 490))
    arrow(ax, readout.top, out.bottom)
    steps = ("the state before the step asks", "each encoder state gets a weight", "their mixture is the context",
             "the state moves on", "state and context give the next word")  # fmt: skip
    _steps(ax, steps, ((110, 225), (248, 175), (612, 285), (500, 375), (490, 490)))
    return ax


def luong_step(source, weights, last_word, next_word, input_feeding=True, title="Luong: the state after the step asks"):
    """Draw one step of Luong's decoder.

    Args:
        source, weights, last_word, next_word: as for `bahdanau_step`.
        input_feeding: whether the step is also fed what the step before it has found.
    """
    ax = canvas(864, 580, title)
    state = blank(ax, 110, 175, 1, 4, "query")
    label(ax, 120, 208, "state after $s_t$", SYMBOL, ha="left")
    context = _look(ax, source, weights, state.right)
    gru, word = box(ax, 110, 105, "GRU", width=80), box(ax, 110, 35, f"last word: {last_word}", "tokens", 160)
    before = blank(ax, 28, 105, 4, 1)
    label(ax, 28, 150, "$s_{t-1}$", SYMBOL)
    combine = box(ax, 560, 375, "combine", width=110)
    found = blank(ax, 560, 440, 1, 4)
    out = box(ax, 560, 510, f"next word: {next_word}", "tokens", 170)
    for start, end in ((word.top, gru.bottom), (before.right, gru.left), (gru.top, state.bottom),
                       (context.top, combine.bottom), (combine.top, found.bottom), (found.top, out.bottom)):  # fmt: skip
        arrow(ax, start, end)
    arrow(ax, state.top, combine.left, (110, 375))
    label(ax, 520, 440, r"what the step found $\tilde{h}_t$", SYMBOL, ha="right")
    if input_feeding:
        fed = blank(ax, 215, 105, 4, 1)
        arrow(ax, fed.left, gru.right, line="--")
        label(ax, 215, 150, r"$\tilde{h}_{t-1}$", SYMBOL)
        arrow(ax, found.right, (712, 440), line="--")
        label(ax, 718, 440, "input feeding:\nto the next step", ha="left", size=SMALL)
    steps = ("the state moves on", "the state after the step asks", "each encoder state gets a weight",
             "their mixture is the context", "state and context are combined")  # fmt: skip
    _steps(ax, steps, ((60, 80), (180, 175), (248, 175), (612, 285), (490, 375)))
    return ax


def three_attentions(source, target, title="Three attentions: whose queries, whose keys"):
    """Draw the encoder's self-attention, the decoder's masked one, and the cross-attention, one query of each.

    Args:
        source: the words that the encoder reads.
        target: the words that the decoder has read so far.
    """
    ax = canvas(864, 430, title)
    panels = (
        ("encoder self-attention", source, source, "the whole source", 148),
        ("masked self-attention", target, target, "only what is written", 440),
        ("cross-attention", target, source, "the whole source", 712),
    )
    for number, (name, queries, keys, sees, x) in enumerate(panels):
        label(ax, x, 345, name, weight="bold")
        label(ax, x, 322, f"sees {sees}", color=QUIET)
        asking, unit = len(queries) // 2, min(64, 256 / max(len(queries), len(keys)))
        places = [[x + unit * (i - (len(words) - 1) / 2) for i in range(len(words))] for words in (queries, keys)]
        for i, word in enumerate(queries):
            box(ax, places[0][i], 270, word, "query" if i == asking else "norm", unit - 4, 28, 10)
        for j, word in enumerate(keys):
            seen = number != 1 or j <= asking
            box(ax, places[1][j], 150, word, "key" if seen else "norm", unit - 4, 28, 10)
            if seen:
                arrow(ax, (places[1][j], 164), (places[0][asking], 256), color=EDGES["key"])
        label(ax, x, 296, "queries", SMALL, EDGES["query"])
        label(ax, x, 122, "keys and values", SMALL, EDGES["key"])
    encoder = frame(ax, 148, 244, 276, 284, "encoder")
    frame(ax, 576, 244, 556, 284, "decoder")
    arrow(ax, encoder.bottom, (712, 110), (148, 40), (712, 40))
    label(ax, 430, 54, "the encoder's output: memory")
    return ax


def _sections(ax, sections):
    """Write beside the parts of the map where they are built."""
    places = {
        "tokens": (432, 40), "embedding": (432, 98), "encoder layer": (40, 280), "decoder layer": (832, 330),
        "masks": (488, 226), "final norm": (670, 588), "output": (620, 655), "decoding": (670, 712),
    }  # fmt: skip
    for part, section in sections.items():
        if part not in places:
            raise ValueError(f"sections names {part!r}; the parts are {', '.join(places)}")
        label(ax, *places[part], section, color=EDGES["query"], weight="bold")


def transformer_map(sections=None, num_layers="N", title="The Transformer, as it is built here"):
    """Draw the encoder-decoder with pre-norm layers and a norm after each stack.

    Args:
        sections: a dictionary from part ("tokens", "embedding", "encoder layer", "decoder layer", "masks",
            "final norm", "output", "decoding") to the section that builds it, written beside it.
        num_layers: how many layers each stack has.

    Raises:
        ValueError: a part that is not on the map.
    """
    ax, stream = canvas(864, 765, title), {"width": 3, "color": "#777777"}
    stacks = (
        ("encoder", "source: ids (B, S)", 120, 1, "right", ("self-attention", "feed-forward")),
        ("decoder", "target so far: ids (B, T)", 744, -1, "left",
         ("masked self-attention", "cross-attention", "feed-forward")),
    )  # fmt: skip
    norms = []
    for name, ids, x, side, ha, sublayers in stacks:
        embedding = box(ax, x, 98, "embedding · √d + positions", width=236, size=SMALL)
        chain(ax, box(ax, x, 40, ids, "tokens", 200), embedding)
        parts, top = layer(ax, x, 150, sublayers, True, side)
        frame(ax, x + 110 * side, (top + 160) / 2, 324, top - 112, f"{num_layers} × {name} layer", ha=ha)
        norms.append(box(ax, x, top + 54, "norm", "norm", 84, 26))
        arrow(ax, embedding.top, (x, 150), head=False, **stream)
        arrow(ax, (x, top), norms[-1].bottom, **stream)
    arrow(ax, norms[0].top, parts[1].left, (120, 500), (432, 500), (432, parts[1].y))
    label(ax, 276, 508, "memory (B, S, d_model):\nkeys and values", va="bottom")
    output = box(ax, 744, 655, "output: logits (B, T, V)", width=190)
    chain(ax, norms[1], output)
    arrow(ax, output.top, (744, 700))
    label(ax, 744, 712, "next token")
    _sections(ax, sections or {})
    return ax


def cache_step(tokens, title="One step of decoding, without a cache and with one"):
    """Draw what the last of the tokens makes a decoder compute, read, and compute again.

    Args:
        tokens: the tokens read so far, the new one last.
    """
    ax, count = canvas(864, 370, title), len(tokens)
    unit = min(64, 320 / count)
    rows = (("queries", "query", 262), ("keys", "key", 202), ("values", "value", 142))
    said = (f"computes {3 * count} vectors in each layer,\n{3 * count - 3} of them again",
            f"computes 3 vectors in each layer,\nreads {2 * count - 2} that are kept")  # fmt: skip
    for cached, (name, x) in enumerate((("without a cache", 105), ("with a cache", 535))):
        label(ax, x + unit * count / 2, 318, name, weight="bold")
        label(ax, x + unit * count / 2, 42, said[cached], color=INK if cached else WRONG)
        for plural, kind, y in rows:
            label(ax, x - 10, y, plural, ha="right")
            for j in range(count - 1):
                place = x + unit * (j + 0.5)
                if not cached:
                    box(ax, place, y, "again", "wrong", unit - 8, 36, 10.5, color=WRONG)
                elif kind != "query":
                    box(ax, place, y, "read", "norm", unit - 8, 36, 10.5, line="--", color=EDGES[kind])
            box(ax, x + unit * (count - 0.5), y, "new", kind, unit - 8, 36, 10.5)
        for j, token in enumerate(tokens):
            label(ax, x + unit * (j + 0.5), 96, token, SMALL, weight="bold" if j == count - 1 else "normal")
    return ax


def _letters(ax, x, y, symbols, unit, known, marked=None):
    """Draw symbols side by side, those that are known filled, the marked one red; return the boxes."""
    parts = []
    for i, symbol in enumerate(symbols):
        kind = "wrong" if i == marked else "tokens" if i in known else "norm"
        how = {"rotation": 90, "size": 8.5} if symbol == "BOS" else {}
        how["color"] = WRONG if i == marked else INK if i in known else "#767676"
        line = "-" if i in known else ":"
        parts.append(box(ax, x + unit * (i + 0.5), y, symbol, kind, unit - 3, 32, line=line, **how))
    return parts


def two_models(word, position, sizes=("1 layer, 1 head", "2 + 2 layers, 4 heads"), title=None):
    """Draw what MiniFormer and FullTransformer read before they say a letter of a word.

    Args:
        word: the word.
        position: how many of its letters are written.
        sizes: what is said of the two.
    """
    ax = canvas(864, 400, title or f"What comes after {word[:position]!r}? Two models, two ways to read")
    symbols, every, known = ["BOS", *word], range(len(word) + 1), range(position + 1)
    unit = min(24, 250 / len(symbols))
    for name, size, x in zip(("MiniFormer", "FullTransformer"), sizes, (25 + unit * len(symbols) / 2, 570)):
        label(ax, x, 352, name, weight="bold")
        label(ax, x, 330, size, color=QUIET)
    tops = []
    for x in (25, 590):
        label(ax, x + unit * len(symbols) / 2, 26, "causal self-attention", SMALL, QUIET)
        column = _letters(ax, x, 60, symbols, unit, known)
        node = box(ax, column[position].x, 160, "", "attention", unit - 3, 32)
        for letter in column[: position + 1]:
            chain(ax, letter, node, width=1.1)
        tops.append(node)
    label(ax, 305 + unit * len(symbols) / 2, 26, "encoder: self-attention in both directions", SMALL, QUIET)
    source = _letters(ax, 305, 60, symbols, unit, every)
    for part in _letters(ax, 305, 160, [""] * len(every), unit, every):
        for letter in source:
            chain(ax, letter, part, width=0.4, color="#aaaaaa", head=False)
    around = frame(ax, 305 + unit * len(symbols) / 2, 160, unit * len(symbols) + 8, 44, color=INK)
    cross = box(ax, tops[1].x, 225, "", "attention", unit - 3, 32)
    arrow(ax, around.top, cross.left, (around.x, 225))
    label(ax, around.x + 10, 237, "cross-attention to every letter", SMALL, ha="left")
    chain(ax, tops[0], box(ax, tops[0].x, 285, "next letter?", "tokens", 110))
    chain(ax, tops[1], cross, box(ax, cross.x, 285, "next letter?", "tokens", 110))
    return ax


def leak_path(word, position, masked=(), title=None):
    """Draw the way by which the next letter reaches the decoder that is asked for it, in red; or that there is none.

    Args:
        word: the word, which is both source and target.
        position: how many of its letters are written; the next one is asked for.
        masked: where the future is hidden: "cross", "encoder", both or neither.
    """
    if unknown := sorted({*masked} - {"cross", "encoder"}):
        raise ValueError(f"masked names {unknown}; the places are 'cross' and 'encoder'")
    answer, leaks = word[position], len({*masked}) < 2
    if not title and leaks:
        title = f"The answer {answer!r} {'still ' if masked else ''}reaches the decoder that is asked for it"
    ax, symbols = canvas(864, 380, title or f"No way is left for the answer {answer!r}"), ["BOS", *word]
    unit, every, through = min(36, 390 / len(symbols)), range(len(symbols)), position + ("cross" not in masked)
    middle, color, width = 25 + unit * len(symbols) / 2, *((WRONG, 3) if leaks else (INK, 1.4))
    source, target = (
        _letters(ax, 25, 70, symbols, unit, every, position + 1),
        _letters(ax, 455, 70, symbols, unit, range(position + 1)),
    )
    memory = _letters(ax, 25, 180, [""] * len(symbols), unit, every, through if leaks else None)
    node = box(ax, target[position].x, 240, "", "wrong" if leaks else "attention", unit - 3, 32)
    out = box(ax, node.x, 310, f"next: {answer}" if leaks else "next: ?", "wrong" if leaks else "tokens", 90)
    for letter in target[: position + 1]:
        chain(ax, letter, node)
    chain(ax, source[position + leaks], memory[through], color=color, width=width)
    arrow(ax, memory[through].top, node.left, (memory[through].x, 240), color=color, width=width)
    chain(ax, node, out, color=color, width=width)
    cross = "cross-attention" + (", the future hidden" if "cross" in masked else ", nothing hidden")
    encoder = "encoder: " + ("the future hidden" if "encoder" in masked else "the whole word, in both directions")
    label(ax, memory[through].x + 10, 254, cross, SMALL, color, ha="left")
    label(ax, middle, 36, encoder, SMALL, QUIET)
    label(ax, middle + 430, 36, "decoder: the letters so far", SMALL, QUIET)
    return ax
