"""A sentence pair, what the corpus promises, and how far from a diagonal its alignments are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .patterns import pattern

SIZES = {"train": 20_000, "dev": 1_000, "test": 1_000, "longer": 1_000, "new": 1_000, "patterns": 1_000}
SHORTEST, LONGEST_TRAINED, LONGEST = 3, 12, 16  # English words, without the final punctuation
RAREST = {"english": 20, "japanese": 20, "romaji": 5}  # every word is seen at least so often in train


@dataclass(frozen=True)
class Pair:
    """One sentence in both languages. `alignment` holds (English index, Japanese index) links."""

    english: tuple[str, ...]
    japanese: tuple[str, ...]
    romaji: tuple[str, ...]
    alignment: tuple[tuple[int, int], ...]
    construction: str
    held_out: frozenset[tuple[str, str, str]] = frozenset()

    @property
    def length(self) -> int:
        """English words, without the final "." or "?"."""
        return len(self.english) - 1

    def lines(self) -> dict[str, str]:
        """The line of this pair in each of the four files of its split."""
        return {
            "en": " ".join(self.english),
            "ja": " ".join(self.japanese),
            "romaji": " ".join(self.romaji),
            "align": " ".join(f"{i}-{j}" for i, j in self.alignment),
        }


def check(corpus: dict[str, list[Pair]]) -> None:
    """Raise `ValueError` when the corpus breaks one of its promises."""

    def promise(kept: bool, broken: str) -> None:
        if not kept:
            raise ValueError(f"the corpus breaks a promise: {broken}")

    homes: dict[str, dict[tuple[str, ...], str]] = {"english": {}, "japanese": {}}
    for name, pairs in corpus.items():
        for pair in pairs:
            for side in homes:
                sentence = getattr(pair, side)
                home = homes[side].setdefault(sentence, name)
                promise(home == name, f"{' '.join(sentence)!r} is in {home} and in {name}")
            promise(len(pair.japanese) == len(pair.romaji), f"one romaji token for each Japanese token: {pair}")
            promise(all(text.isascii() and text for text in pair.romaji), f"romaji is ASCII: {pair.romaji}")
            promise(
                {j for _, j in pair.alignment} == set(range(len(pair.japanese))),
                f"every Japanese token is aligned: {pair}",
            )
            promise(max(i for i, _ in pair.alignment) < len(pair.english), f"links stay inside the sentence: {pair}")
            low, high = (LONGEST_TRAINED + 1, LONGEST) if name == "longer" else (SHORTEST, LONGEST_TRAINED)
            promise(low <= pair.length <= high, f"{name} has {low} to {high} words: {pair.english}")
            promise(
                len(pair.held_out) == (1 if name == "new" else 0),
                f"held-out combinations are in new only: {name}, {pair}",
            )
        promise(len({pair.english for pair in pairs}) == len(pairs), f"pairs of {name} are distinct")
        promise(len(pairs) == SIZES[name], f"{name} has {len(pairs)} pairs, not {SIZES[name]}")
    trained = {pattern(pair.english) for pair in corpus["train"]}
    for pair in corpus["patterns"]:
        promise(pattern(pair.english) not in trained, f"no sentence of train has this pattern: {pair.english}")
    for side in ("english", "japanese", "romaji"):
        counts = Counter(word for pair in corpus["train"] for word in getattr(pair, side))
        for name, pairs in corpus.items():
            unseen = sorted({word for pair in pairs for word in getattr(pair, side)} - set(counts))
            promise(not unseen, f"{name} has words that train does not have: {unseen}")
        rare = sorted((count, word) for word, count in counts.items() if count < RAREST[side])
        promise(not rare, f"each {side} word is {RAREST[side]} times in train, but: {rare}")


def diagonal(pair: Pair) -> set[tuple[int, int]]:
    """The guess that word order is the same: Japanese token j links to English token round(j · E / J)."""
    length, last = len(pair.english) / len(pair.japanese), len(pair.english) - 1
    return {(min(last, round(j * length)), j) for j in range(len(pair.japanese))}


def alignment_error_rate(pairs: list[Pair], guess=diagonal) -> float:
    """1 - 2 |guess ∩ gold| / (|guess| + |gold|), over all pairs: every gold link is a sure link."""
    common = total = 0
    for pair in pairs:
        guessed = guess(pair)
        common += len(guessed & set(pair.alignment))
        total += len(guessed) + len(pair.alignment)
    return 1 - 2 * common / total


def has_crossing(pair: Pair) -> bool:
    """True when two links cross: one goes from an earlier English word to a later Japanese word."""
    return any(i < k and j > m for i, j in pair.alignment for k, m in pair.alignment)


def statistics(corpus: dict[str, list[Pair]]) -> str:
    """The numbers of the data card."""
    lines = []
    for name, pairs in corpus.items():
        words = [
            len({word for pair in pairs for word in getattr(pair, side)}) for side in ("english", "japanese", "romaji")
        ]
        crossing = sum(map(has_crossing, pairs)) / len(pairs)
        mean = [
            sum(len(getattr(pair, side)) for pair in pairs) / len(pairs)
            for side in ("english", "japanese", "alignment")
        ]
        lines.append(
            f"{name:7} {len(pairs):6} pairs, types en/ja/romaji {words}, mean tokens en {mean[0]:.2f} ja {mean[1]:.2f}, "
            f"links {mean[2]:.2f}, with a crossing {crossing:.4f}, diagonal AER {alignment_error_rate(pairs):.4f}"
        )
    lengths = Counter(pair.length for pairs in corpus.values() for pair in pairs)
    lines.append("English words: " + ", ".join(f"{length}: {lengths[length]}" for length in sorted(lengths)))
    return "\n".join(lines)
