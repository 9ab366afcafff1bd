"""Write the sentences of `data/agreement`, or with `--check` compare them with what lies there.

Each sentence stops in front of its verb. A small grammar makes it, so the number of its subject is known, and so is the
place of the subject. Standard library only; the same bytes on every machine.
"""

import random
import sys
from collections import Counter
from pathlib import Path

NOUNS = """bird/birds boy/boys cat/cats child/children cow/cows dog/dogs farmer/farmers girl/girls horse/horses
    king/kings man/men mouse/mice nurse/nurses teacher/teachers wolf/wolves woman/women"""
ALONE = "fox/foxes goose/geese judge/judges writer/writers"
SEEING = """chases/chase/chased follows/follow/followed hears/hear/heard helps/help/helped likes/like/liked
    sees/see/saw"""  # present of one, of several, past
SLEEPING = "left slept smiled waited".split()  # nobody is slept or smiled: no object can follow
PLACES = "behind beside near with".split()
ADJECTIVES = "brave clever happy old small young".split()
OPENINGS = "here now then today".split()
ADVERBS = "clearly perhaps really still".split()

NOUNS, ALONE, SEEING = ([entry.split("/") for entry in text.split()] for text in (NOUNS, ALONE, SEEING))

# `S` is the subject, `1` to `4` are other noun phrases, `p` a preposition, `v` a past tense with an object, `i` one
# without, `see1` a present tense that agrees with noun phrase 1. The past tense never tells a number.
FRONTS = ["", "p 1", "p 1 p 2", "when 1 i", "when 1 p 2 i"]
MODIFIERS = [
    "",
    "p 3",
    "that v 3",
    "that 3 see3",
    "p 3 p 4",
    "p 3 that v 4",
    "p 3 that 4 see4",
    "that v 3 p 4",
    "that v 3 that 4 see4",
    "that 3 see3 p 4",
]
LONG = [
    "S p 1 p 2 p 3",
    "S p 1 that v 2 p 3",
    "S that v 1 p 2 p 3",
    "S p 1 p 2 p 3 that v 4",
    "S that v 1 p 2 that 3 see3",
]
NEW_FRONTS = ["p 1 that v 2", "p 1 that 2 see2", "when 1 that v 2 i"]
NEW_MODIFIERS = ["that 3 p 4 see3", "that 3 that v 4 see3", "that 3 that 4 see4 see3"]

USUAL = [f"{front} S {modifier}".split() for front in FRONTS for modifier in MODIFIERS] + [
    text.split() for text in LONG
]
NEW = [f"{front} S {modifier}".split() for front in NEW_FRONTS for modifier in MODIFIERS[:4] + NEW_MODIFIERS[:1]]
NEW += [f"{front} S {modifier}".split() for front in FRONTS for modifier in NEW_MODIFIERS]

SHARES = {1: 10, 2: 25, 3: 30, 4: 20, 5: 15}  # sentences of each number of nouns, in per cent
SPLITS = {  # name: sentences (of each number of attractors, where a dictionary), structures, the nouns beside the subject
    "train": (6000, USUAL, NOUNS),
    "validation": (600, USUAL, NOUNS),
    "test": (dict.fromkeys(range(5), 400), USUAL, NOUNS),
    "structures": (dict.fromkeys(range(5), 200), NEW, NOUNS),
    "nouns": (dict.fromkeys(range(1, 5), 250), USUAL, ALONE),
}


def others(structure):
    """Return the digits of a structure: its nouns beside the subject."""
    return [symbol for symbol in structure if symbol.isdigit()]


def sentence(structures, nouns, rng):
    """Make one sentence: (its words without their numbers, whether plural, words, the subject's place, attractors)."""
    sizes = sorted({1 + len(others(structure)) for structure in structures})
    size = rng.choices(sizes, [SHARES[size] for size in sizes])[0]
    structure = rng.choice([structure for structure in structures if 1 + len(others(structure)) == size])
    plural = rng.random() < 0.5
    # As many attractors as there may be, each number as often: then counting nouns tells nothing about the subject.
    attractors = set(rng.sample(others(structure), rng.randrange(size)))
    subjects = ALONE if size == 1 and rng.random() < 0.5 else NOUNS
    plurals = {"S": plural, **{symbol: plural != (symbol in attractors) for symbol in others(structure)}}
    chosen = {"S": rng.choice(subjects)}
    left = [noun for noun in nouns if noun != chosen["S"]]
    chosen |= zip(others(structure), rng.sample(left, size - 1))  # no noun twice
    opening = [rng.choice(OPENINGS)] if rng.random() < 0.25 else []
    lemmas, words, place = [*opening], [*opening], None
    for symbol in structure:
        if symbol in plurals:
            noun = chosen[symbol]
            adjective = [rng.choice(ADJECTIVES)] if rng.random() < 0.1 else []
            lemmas += ["the", *adjective, noun[0]]
            words += ["the", *adjective, noun[plurals[symbol]]]
            place = len(words) - 1 if symbol == "S" else place
        elif symbol.startswith("see"):
            verb = rng.choice(SEEING)
            lemmas, words = [*lemmas, verb[0]], [*words, verb[plurals[symbol[3:]]]]
        else:
            verbs = {"p": PLACES, "i": SLEEPING, "v": [forms[2] for forms in SEEING]}
            word = rng.choice(verbs.get(symbol, [symbol]))
            lemmas, words = [*lemmas, word], [*words, word]
    adverb = [rng.choice(ADVERBS)] if rng.random() < 0.25 else []
    return " ".join(lemmas + adverb), plural, " ".join(words + adverb), place, len(attractors)


def tables():
    """Return the text of each file. No sentence comes twice, in no split, not even with other numbers."""
    seen, result = set(), {}
    for seed, (name, (number, structures, nouns)) in enumerate(SPLITS.items()):
        rng, lines, counts = random.Random(seed), [], Counter()
        total = sum(number.values()) if isinstance(number, dict) else number
        while len(lines) < total:
            lemmas, plural, words, place, attractors = sentence(structures, nouns, rng)
            enough = isinstance(number, dict) and counts[attractors] >= number.get(attractors, 0)
            if enough or lemmas in seen:
                continue
            seen.add(lemmas)
            counts[attractors] += 1
            lines.append(f"{'plural' if plural else 'singular'}\t{words}\t{place}\t{attractors}\n")
        result[f"{name}.tsv"] = "".join(lines)
    return result


def main(arguments):
    here = Path(__file__).resolve().parent
    if arguments not in ([], ["--check"]):
        sys.exit("usage: build.py [--check]")
    for name, text in tables().items():
        if not arguments:
            (here / name).write_text(text, encoding="utf-8", newline="\n")
        elif (here / name).read_text(encoding="utf-8") != text:
            sys.exit(f"{here / name} is not what this script writes")


if __name__ == "__main__":
    main(sys.argv[1:])
