"""Build the English-Japanese parallel corpus of the series.

    python data/en_ja/build.py            write every corpus file again, byte for byte the same
    python data/en_ja/build.py --check    compare with the files on disk; exit 1 when they differ

Only the standard library is used. The grammar is in `grammar/`. This file draws sentences, splits them and checks them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grammar import actions, being, relatives
from grammar.patterns import pattern
from grammar.promises import LONGEST, LONGEST_TRAINED, SHORTEST, SIZES, Pair, check, statistics
from grammar.words import Dice
from grammar.world import HELD_OUT

FOLDER = Path(__file__).resolve().parent
SEED = 7

# How often each construction is drawn.
CONSTRUCTIONS = {
    actions.doing: 12,
    actions.doing_to: 24,
    actions.moving: 8,
    actions.giving: 8,
    actions.feeling: 14,
    actions.animals_doing: 14,
    actions.asking: 9,
    actions.joining: 9,
    being.existing: 15,
    being.locating: 8,
    being.describing: 15,
    being.naming: 4,
    relatives.relating_subject: 11,
    relatives.relating_object: 10,
}
_HELD_OUT = {(kind, *words) for kind, pairs in HELD_OUT.items() for words in pairs}


def derive(dice: Dice) -> Pair:
    """Draw one sentence pair from the grammar and read its alignment off the sources of its words."""
    dice.notes.clear()
    construction = dice.weighted(CONSTRUCTIONS)
    english, japanese = construction(dice)
    index = {id(word): i for i, word in enumerate(english)}
    links = {(index[id(source)], j) for j, word in enumerate(japanese) for source in word.sources}
    facts = {fact for fact, words in dice.notes if all(id(word) in index for word in words)}
    return Pair(
        tuple(word.text for word in english),
        tuple(word.text for word in japanese),
        tuple(word.romaji for word in japanese),
        tuple(sorted(links)),
        construction.__name__,
        frozenset(facts & _HELD_OUT),
    )


def build_corpus() -> dict[str, list[Pair]]:
    """All splits, checked. The same list on every machine: see `words.Dice`."""
    dice, seen = Dice(SEED), {}
    ordinary, new = [], {fact: [] for fact in sorted(_HELD_OUT)}
    share = SIZES["new"] // len(new)  # each held-out combination gives as many sentences as any other
    wanted = SIZES["train"] + SIZES["dev"] + SIZES["test"]
    while len(ordinary) < wanted or any(len(found) < share for found in new.values()):
        pair = derive(dice)
        if not SHORTEST <= pair.length <= LONGEST_TRAINED or not _is_first(pair, seen):
            continue
        if len(pair.held_out) == 1:
            found = new[next(iter(pair.held_out))]
            if len(found) < share:
                found.append(pair)
        elif not pair.held_out and len(ordinary) < wanted:
            ordinary.append(pair)

    dice.richness = 2.4
    longer: list[Pair] = []
    taken = {pair.japanese for pair in ordinary}
    while len(longer) < SIZES["longer"]:
        pair = derive(dice)
        fits = LONGEST_TRAINED < pair.length <= LONGEST and not pair.held_out and pair.japanese not in taken
        if fits and _is_first(pair, seen):
            longer.append(pair)

    corpus = _split(dice, ordinary)
    corpus["longer"] = longer
    corpus["new"] = dice.shuffled([pair for found in new.values() for pair in found])
    corpus["patterns"] = _unseen_patterns(dice, corpus, seen)
    check(corpus)
    return corpus


def _unseen_patterns(dice: Dice, corpus: dict[str, list[Pair]], seen: dict) -> list[Pair]:
    """Pairs as long as those of train, in whose pattern no sentence of train was written: words exchanged do not help."""
    trained = {pattern(pair.english) for pair in corpus["train"]}
    taken = {pair.japanese for pairs in corpus.values() for pair in pairs}
    dice.richness, found = 1.0, []
    while len(found) < SIZES["patterns"]:
        pair = derive(dice)
        fits = SHORTEST <= pair.length <= LONGEST_TRAINED and not pair.held_out and pair.japanese not in taken
        if fits and pattern(pair.english) not in trained and _is_first(pair, seen):
            found.append(pair)
    return found


def _is_first(pair: Pair, seen: dict[tuple[str, ...], Pair]) -> bool:
    """True when this English sentence has not come up before. It must never come up with another translation."""
    known = seen.setdefault(pair.english, pair)
    if (known.japanese, known.alignment) != (pair.japanese, pair.alignment):
        raise ValueError(
            f"two translations of {' '.join(pair.english)!r}: {' '.join(known.japanese)} and {' '.join(pair.japanese)}"
        )
    return known is pair


def _split(dice: Dice, pairs: list[Pair]) -> dict[str, list[Pair]]:
    """Train, dev and test. Pairs that share their Japanese ("a dog", "the dog") stay together in one split."""
    groups: dict[tuple[str, ...], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.japanese, []).append(pair)
    corpus: dict[str, list[Pair]] = {"train": [], "dev": [], "test": []}
    for group in dice.shuffled(list(groups.values())):
        room = [name for name in ("test", "dev") if len(corpus[name]) + len(group) <= SIZES[name]]
        corpus[room[0] if room else "train"] += group
    return {name: dice.shuffled(pairs) for name, pairs in corpus.items()}


def render(corpus: dict[str, list[Pair]]) -> dict[str, bytes]:
    """File name → content: UTF-8, one sentence a line, "\\n" after each."""
    files = {}
    for name, pairs in corpus.items():
        lines = [pair.lines() for pair in pairs]
        for ending in ("en", "ja", "romaji", "align"):
            files[f"{name}.{ending}"] = "".join(line[ending] + "\n" for line in lines).encode("utf-8")
    return files


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them with `--check`. Returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if any(argument != "--check" for argument in arguments):
        print(__doc__)
        return 2
    corpus = build_corpus()
    files = render(corpus)
    if "--check" in arguments:
        differing = [
            name
            for name, content in files.items()
            if not (FOLDER / name).is_file() or (FOLDER / name).read_bytes() != content
        ]
        if differing:
            print(f"not what build.py makes: {', '.join(differing)}; run python data/en_ja/build.py")
            return 1
        print(f"{len(files)} files are what build.py makes")
        return 0
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)
    print(statistics(corpus))
    return 0


if __name__ == "__main__":
    sys.exit(main())
