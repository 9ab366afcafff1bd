"""Verbs and predicates: tense, negation and politeness in both languages.

The stem links to the English verb; the ending links to the auxiliary and "not", or to the verb when there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .lexicon import ADJECTIVES, VERBS, Verb
from .nouns import adjective_form
from .words import EnglishWord, JapaneseWord, Phrase, en, ja, kana_words, particle

# Polite endings of ます, after a verb stem: (past, negative) → ending.
_MASU = {(False, False): "ます", (True, False): "ました", (False, True): "ません", (True, True): "ませんでした"}


@dataclass
class Clause:
    """What is said, before it is put in order. Every field but `verb` and `aspect` may be empty."""

    verb: str
    aspect: str  # habit, past, continuous, past continuous, will, can
    negative: bool = False
    object: Phrase | None = None
    recipient: Phrase | None = None
    destination: Phrase | None = None
    place: Phrase | None = None
    companion: Phrase | None = None
    means: Phrase | None = None
    adverb: Phrase | None = None  # often, now: after the topic in Japanese
    time: Phrase | None = None
    time_first: bool = False  # where English puts the time; Japanese puts it first always


@dataclass
class VerbGroup:
    """The words of one verb: English in two halves, because questions put the subject between."""

    auxiliaries: list[EnglishWord] = field(default_factory=list)
    negation: list[EnglishWord] = field(default_factory=list)
    main: list[EnglishWord] = field(default_factory=list)
    japanese: list[JapaneseWord] = field(default_factory=list)


def be(subject: Phrase, past: bool) -> str:
    """The form of "to be" that agrees with `subject`."""
    if past:
        return "were" if subject.plural or subject.person == 2 else "was"
    if subject.plural or subject.person == 2:
        return "are"
    return "am" if subject.person == 1 else "is"


def masu(past: bool, negative: bool, sources: list[EnglishWord]) -> JapaneseWord:
    return particle(_MASU[past, negative], sources)


def nominal(past: bool, negation: list[EnglishWord], verb: list[EnglishWord]) -> list[JapaneseWord]:
    """です and its forms after a noun or a な-adjective: です, でした, では あり ません, では あり ませんでした."""
    if negation:
        return kana_words("では あり", verb) + [masu(past, True, verb + negation)]
    return [particle("でした" if past else "です", verb)]


def i_adjective(
    stem: str, past: bool, negation: list[EnglishWord], verb: list[EnglishWord], source: list[EnglishWord]
) -> list[JapaneseWord]:
    """An い-adjective as predicate: 大きい です, 大きかっ た です, 大きく ない です, 大きく なかっ た です."""
    end = kana_words("た です" if past else "です", verb)
    if negation:
        return [
            ja(adjective_form(stem, "く"), source),
            particle("ない", negation) if not past else ja("なかっ", negation, following="た"),
        ] + end
    return [ja(adjective_form(stem, "かっ" if past else "い"), source, following="た")] + end


def quality(
    adjective: str, past: bool, negation: list[EnglishWord], verb: list[EnglishWord], source: list[EnglishWord]
) -> list[JapaneseWord]:
    """An adjective of either class as predicate."""
    stem, ending = ADJECTIVES[adjective].split()
    if ending == "な":
        return [ja(stem, source)] + nominal(past, negation, verb)
    return i_adjective(stem, past, negation, verb, source)


def verb_group(clause: Clause, subject: Phrase, *, question: bool = False, ending: str = "polite") -> VerbGroup:
    """Conjugate the verb of `clause` in both languages.

    `ending` is "polite" (飲み ます), "plain" (before a noun: 飲ん だ) or "te" (飲ん で, joining clauses).
    Links: the stem ← the verb; the ending ← the auxiliary and "not", or the verb when there is no auxiliary.
    """
    verb, aspect, negative = VERBS[clause.verb], clause.aspect, clause.negative
    base, third, past_form, ing = verb.english
    past = aspect in ("past", "past continuous")
    group = VerbGroup(negation=en("not") if negative else [])
    if aspect in ("continuous", "past continuous"):
        group.auxiliaries, group.main = en(be(subject, past)), en(ing)
    elif aspect in ("will", "can"):
        group.auxiliaries, group.main = en(aspect), en(base)
        if negative and aspect == "can":  # one English word for both: でき and ません link to it
            group.auxiliaries, group.negation = en("cannot"), []
    elif negative or question:
        does = "did" if past else "do" if subject.plural or subject.person != 3 else "does"
        group.auxiliaries, group.main = en(does), en(base)
    else:
        group.main = en(past_form if past else base if subject.plural or subject.person != 3 else third)
    group.japanese = japanese_verb(verb, group, aspect, past, ending)
    return group


def japanese_verb(verb: Verb, group: VerbGroup, aspect: str, past: bool, ending: str) -> list[JapaneseWord]:
    main, auxiliaries, negation = group.main, group.auxiliaries, group.negation
    closing = (auxiliaries or main) + negation  # what the ending links to
    negative = bool(negation) or any(word.text == "cannot" for word in auxiliaries)
    te, ta = ("で", "だ") if verb.voiced else ("て", "た")
    if verb.style == "na":
        return [ja(verb.polite, main)] + nominal(past, negation, auxiliaries or main)
    if verb.style == "i":
        return i_adjective(verb.polite, past, negation, auxiliaries or main, main)
    if ending == "te":
        return [ja(verb.joined, main, following="て")]  # the て itself is the word "and"
    if "continuous" in aspect or verb.state == "lasting" or (verb.state == "present" and aspect == "habit"):
        lasting = auxiliaries if "continuous" in aspect else main
        start = [ja(verb.joined, main, following="て"), particle(te, main)]
        if ending == "plain":
            return start + (kana_words("い た", lasting) if past else kana_words("いる", lasting))
        return start + [particle("い", lasting), masu(past, bool(negation), closing)]
    if aspect == "can":
        return [ja(verb.plain, main)] + kana_words("こと が でき", auxiliaries) + [masu(False, negative, closing)]
    if ending == "plain":
        return [ja(verb.joined, main, following="た"), particle(ta, main)] if past else [ja(verb.plain, main)]
    return [ja(verb.polite, main), masu(past, bool(negation), closing)]
