"""The pieces every sentence is made of: words, phrases, links, romanisation and dice.

An English and a Japanese sentence are built together. Each Japanese word remembers the English
words that it stands for (its *sources*), so the word alignment is read off at the end: it is
never guessed. An English word that no Japanese word names, such as an article, is aligned to nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(eq=False)
class EnglishWord:
    """One English token. Compared by identity: two "the" in one sentence are two words."""

    text: str


@dataclass(eq=False)
class JapaneseWord:
    """One Japanese token, its romanisation, and the English words it is aligned to."""

    text: str
    romaji: str
    sources: tuple[EnglishWord, ...]


@dataclass
class Phrase:
    """A phrase in both languages, with the grammar that its neighbours need to know.

    `heads` are the English words that a case particle after this phrase links to.
    `floating` holds a number and its counter when they stand after the particle (りんご を 三 個).
    `mark` is the particle that the phrase takes as a subject: は when known, が when just noticed.
    """

    english: list[EnglishWord] = field(default_factory=list)
    japanese: list[JapaneseWord] = field(default_factory=list)
    heads: list[EnglishWord] = field(default_factory=list)
    floating: list[JapaneseWord] = field(default_factory=list)
    person: int = 3
    plural: bool = False
    mark: str = "は"


# Kana to letters: one row of the kana table at a time, vowels in the order a i u e o.
_ROWS = {
    "あいうえお": "a i u e o",
    "かきくけこ": "ka ki ku ke ko",
    "さしすせそ": "sa shi su se so",
    "たちつてと": "ta chi tsu te to",
    "なにぬねの": "na ni nu ne no",
    "はひふへほ": "ha hi fu he ho",
    "まみむめも": "ma mi mu me mo",
    "やゆよ": "ya yu yo",
    "らりるれろ": "ra ri ru re ro",
    "わん": "wa n",
    "がぎぐげご": "ga gi gu ge go",
    "ざじずぜぞ": "za ji zu ze zo",
    "だぢづでど": "da ji zu de do",
    "ばびぶべぼ": "ba bi bu be bo",
    "ぱぴぷぺぽ": "pa pi pu pe po",
}
_LETTERS = {kana: letters for row, text in _ROWS.items() for kana, letters in zip(row, text.split(), strict=True)}
_SMALL = {"ゃ": "ya", "ゅ": "yu", "ょ": "yo"}


def romanise(kana: str, following: str = "") -> str:
    """Spell kana in ASCII: Hepburn consonants, long vowels as the kana write them.

    `following` is the kana of the next token; a final っ doubles that token's first consonant.
    コーヒー → koohii, おとうさん → otousan, いっ (before ぴき) → ip.
    """
    # Katakana lie exactly 0x60 above hiragana in Unicode; the long-vowel mark ー has no partner.
    kana = "".join(chr(ord(c) - 0x60) if "ァ" <= c <= "ヶ" else c for c in kana)
    letters = ""
    for index, character in enumerate(kana):
        if character in _SMALL:  # き + ゃ → kya, but し + ゃ → sha
            letters = letters[:-1] + (
                _SMALL[character][1:] if letters.endswith(("shi", "chi", "ji")) else _SMALL[character]
            )
        elif character == "ー":
            letters += letters[-1]
        elif character == "っ":
            rest = romanise(kana[index + 1 :] or following)
            letters += "t" if rest.startswith("ch") else rest[0]
        else:
            sound = _LETTERS[character]
            letters += (
                "'" if letters.endswith("n") and kana[index - 1] == "ん" and sound[0] in "aiueoy" else ""
            ) + sound
    return letters


# Three particles are spelled in one way and pronounced in another.
_PARTICLES = {"は": "wa", "を": "o", "へ": "e", "では": "dewa"}


def en(text: str) -> list[EnglishWord]:
    """One `EnglishWord` for each word of `text`."""
    return [EnglishWord(word) for word in text.split()]


def ja(written: str, sources: list[EnglishWord], following: str = "") -> JapaneseWord:
    """A content word, written as "kanji/kana" (or only "kana"), aligned to `sources`."""
    surface, _, kana = written.partition("/")
    return JapaneseWord(surface, romanise(kana or surface, following), tuple(sources))


def particle(surface: str, sources: list[EnglishWord]) -> JapaneseWord:
    """A particle, with the romanisation of its pronunciation."""
    return JapaneseWord(surface, _PARTICLES.get(surface) or romanise(surface), tuple(sources))


def kana_words(text: str, sources: list[EnglishWord]) -> list[JapaneseWord]:
    """Several words written in kana, all aligned to the same `sources`."""
    return [particle(word, sources) for word in text.split()]


class Dice:
    """The one source of chance, and the record of which words it brought together.

    Only `random.Random.random` is used: Python promises that its sequence never changes,
    which it does not promise for `choice`, `sample` or `shuffle`.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.richness = 1.0  # multiplies the chance of every optional phrase; higher makes longer sentences
        self.notes: list[tuple[tuple[str, str, str], list[EnglishWord]]] = []

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def pick(self, items):
        return items[int(self._random.random() * len(items))]

    def weighted(self, weights: dict):
        """Pick a key of `weights` with probability proportional to its value."""
        mark = self._random.random() * sum(weights.values())
        for item, weight in weights.items():
            mark -= weight
            if mark < 0:
                return item
        return item

    def shuffled(self, items: list) -> list:
        """A new list in random order."""
        keys = [self._random.random() for _ in items]
        return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__)]

    def note(self, kind: str, first: str, second: str, words: list[EnglishWord]) -> None:
        """Record that `first` and `second` met in a construction, for the `new` split.

        `words` are the English words that show it: a phrase that was made and not used does not count.
        """
        self.notes.append(((kind, first, second), words))
