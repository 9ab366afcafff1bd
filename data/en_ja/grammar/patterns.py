"""The pattern of an English sentence: each word replaced by its kind.

"the cat drank cold milk ." has the pattern "D N V A N .". Two sentences with one pattern differ in their words only, so a
translator that has seen the pattern may exchange the words and learn nothing.
"""

from __future__ import annotations

from .lexicon import ADJECTIVES, NOUNS, NUMBERS, PRONOUNS, TIMES, VERBS

_KINDS = {
    "D": ["a", "an", "the", "this", "no", "many", *(row[0] for row in PRONOUNS.values() if row[0])],
    "N": [form for noun in NOUNS.values() for form in (noun.singular, noun.plural)],
    "A": ADJECTIVES,
    "#": NUMBERS,
    "V": [form for verb in VERBS.values() for form in verb.english],
    "P": ["in", "on", "at", "under", "near", "to", "from", "with", "by"],
    "S": [*PRONOUNS, "you"],
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words}
_TIMES = {tuple(time.split()) for times in TIMES.values() for time in times}


def pattern(english: tuple[str, ...]) -> str:
    """The kinds of the words, separated by spaces. A time such as "every morning" is one "T"; other words stay."""
    kinds, i = [], 0
    while i < len(english):
        width = next((len(time) for time in _TIMES if english[i : i + len(time)] == time), 0)
        kinds.append("T" if width else _KIND_OF.get(english[i], english[i]))
        i += max(1, width)
    return " ".join(kinds)
