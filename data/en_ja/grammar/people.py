"""The subject of a sentence: who, known or new, and whose things may be spoken of."""

from __future__ import annotations

from .lexicon import ANIMALS, GENERIC_PEOPLE, GROWN_UPS, KIDS, PARENTS, PRONOUNS
from .nouns import described
from .verbs import Clause
from .words import Dice, Phrase, en, ja

_FEELINGS = ("like", "want", "have", "have_pet")


def choose_person(dice: Dice, verb: str) -> str:
    """A pronoun or a noun that can be the subject of `verb`."""
    if verb == "want":
        return "i"  # 欲しい tells a feeling: it is said of oneself, or asked of the listener
    groups = {"pronoun": 44, "kid": 20, "adult": 22, "parent": 14}
    if verb == "play":
        groups = {"pronoun": 30, "kid": 50}
    elif verb == "work":
        groups.pop("kid")
    members = {"pronoun": list(PRONOUNS), "kid": KIDS, "adult": GROWN_UPS, "parent": PARENTS}
    return dice.pick(members[dice.weighted(groups)])


def owners_for(name: str) -> list[str]:
    """The possessives that may stand in a sentence about `name`; "~" marks the subject's own."""
    if name in ("i", "he", "she"):
        own = PRONOUNS[name][0]
        return [own + "~", own + "~"] + [other for other in ("my", "his", "her") if other != own]
    others = {"we": ["our~", "his", "her"], "they": ["my", "our", "his", "her"], "you": ["my", "his", "her"]}
    return others.get(name, ["my", "our"])


def subject_phrase(dice: Dice, name: str, use: str) -> Phrase:
    """The subject `name`; `use` as in `nouns.described`."""
    if name == "you":
        return Phrase(en("you"), person=2)
    if name in PRONOUNS:
        words = en(name)
        _, japanese, person, plural = PRONOUNS[name]
        return Phrase(words, [ja(japanese, words)], words, person=person, plural=plural)
    return described(dice, name, use, ["my", "our", "his", "her"])


def subject_use(dice: Dice, name: str, clause: Clause) -> str:
    """Is the subject already known, just noticed, or a whole kind?"""
    noticed = (
        clause.aspect in ("past", "continuous") and not clause.negative and clause.verb not in ("have", "have_pet")
    )
    if noticed and name in ANIMALS + KIDS + ["man", "woman", "student"] and dice.chance(0.28):
        return "new"
    if (
        clause.aspect == "habit"
        and not clause.negative
        and name in ANIMALS + GENERIC_PEOPLE
        and clause.verb not in _FEELINGS
        and dice.chance(0.3)
    ):
        return "general"
    return "topic"
