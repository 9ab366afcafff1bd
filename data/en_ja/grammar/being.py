"""Sentences with "to be": there is, is somewhere, is big, is a doctor."""

from __future__ import annotations

from .activities import alike, time_phrase
from .clauses import Sentence, finish, topic
from .lexicon import ADJECTIVES, ANIMALS, NOUNS, PARENTS, PRODUCE
from .nouns import adjective_form, described, joined, noun_phrase, pick_adjective, pick_number, place_phrase
from .people import subject_phrase
from .places import PLACE_PREPOSITIONS, WHERE
from .qualities import ADJECTIVE_PAIRS, ADJECTIVES_OF, COLOURS, PASSING, QUALITIES
from .verbs import be, masu, nominal, quality
from .words import Dice, EnglishWord, JapaneseWord, Phrase, en, ja, particle

ALL_OWNERS = ["my", "our", "his", "her"]
STANDING = ["tree", "piano", *PLACE_PREPOSITIONS]  # what stands somewhere does so today as well
_SMALL = ["room", "kitchen", "house", "tree", "garden"]
_NARROW = ["table", "chair", "box", "bag", "car"]  # no room for six cats


def be_there(animate: bool, past: bool, verb: list[EnglishWord], negation: list[EnglishWord]) -> list[JapaneseWord]:
    """い ます for what lives, あり ます for what does not."""
    return [particle("い" if animate else "あり", verb), masu(past, bool(negation), verb + negation)]


def existing(dice: Dice) -> Sentence:
    """There is … somewhere. In Japanese the place comes first, with に, and "no" is the ending of the verb."""
    noun = dice.pick(
        [n for n in WHERE if n not in PARENTS + ["teacher", "doctor", "friend", "station", "river", "mountain"]]
        + ["book"] * 8
        + ["chair", "hat", "box"]
    )  # so that 十 冊 and 二 つ come up
    entry, spot = NOUNS[noun], dice.pick(WHERE[noun])
    past, asking = noun not in STANDING and dice.chance(0.25), dice.chance(0.12)
    none = not asking and dice.chance(0.14)
    denied: list[EnglishWord] = []
    if none:
        what = noun_phrase(dice, noun, "no", plural=bool(entry.plural))
        denied = what.english[:1]
    elif entry.plural and dice.chance(0.62):
        most = 3 if spot[1] in _NARROW else 6 if entry.animate and spot[1] in _SMALL else 10
        many = most > 3 and (asking or dice.chance(0.2))
        number = "many" if many else pick_number(dice, noun, most)
        others = [
            n
            for n in WHERE
            if NOUNS[n].kind == entry.kind
            and NOUNS[n].plural
            and n != noun
            and spot in WHERE[n]
            and alike(noun, n)
            and not {"bear", "monkey"} & {noun, n}  # no cows beside them
        ]
        if others and number not in ("many", "one") and dice.chance(0.12 * dice.richness):
            other = dice.pick(others)
            what = joined(
                noun_phrase(dice, noun, "", number=number),
                noun_phrase(dice, other, "", number=pick_number(dice, other, most)),
            )
        else:
            what = noun_phrase(
                dice,
                noun,
                "",
                number=number,
                plural=number == "many",
                adjective=pick_adjective(dice, noun),
                floating=True,
            )
    else:
        what = noun_phrase(dice, noun, "" if entry.mass else "a", adjective=pick_adjective(dice, noun, 0.3))

    place = place_phrase(dice, *spot, "に", ALL_OWNERS)
    verb, there = en(be(what, past)), en("there")
    time = time_phrase(dice, "past") if past and dice.chance(0.35) else Phrase()
    japanese = (
        time.japanese + place.japanese + what.japanese + [particle("は" if none else "が", what.heads)] + what.floating
    )
    japanese += be_there(entry.animate, past, verb, denied)
    if asking:
        return finish(Phrase(verb + there + what.english + place.english + time.english, japanese), asking=True)
    if not time.english and dice.chance(0.1):
        return finish(Phrase(place.english + there + verb + what.english, japanese))
    return finish(Phrase(there + verb + what.english + place.english + time.english, japanese))


def locating(dice: Dice) -> Sentence:
    """The … is somewhere, or: where is the …?"""
    noun = dice.pick([n for n in WHERE if n not in ("river", "mountain", "station")])
    animate, past = NOUNS[noun].animate, noun not in STANDING and dice.chance(0.25)
    subject = described(dice, noun, "topic", ALL_OWNERS)
    verb = en(be(subject, past))
    choice = dice.weighted({"where": 14, "ask": 10, "not": 14, "say": 70})
    if choice == "where":
        where = en("where")
        japanese = topic(subject) + [ja("どこ", where), particle("に", where)] + be_there(animate, past, verb, [])
        return finish(Phrase(where + verb + subject.english, japanese), asking=True)
    place = place_phrase(dice, *dice.pick(WHERE[noun]), "に", ALL_OWNERS)
    negation = en("not") if choice == "not" else []
    japanese = topic(subject) + place.japanese + be_there(animate, past, verb, negation)
    if choice == "ask":
        return finish(Phrase(verb + subject.english + place.english, japanese), asking=True)
    time = time_phrase(dice, "past") if past and dice.chance(0.3) else Phrase()
    return finish(Phrase(subject.english + verb + negation + place.english + time.english, time.japanese + japanese))


def copula(subject: Phrase, predicate, past: bool, choice: str = "say", time: Phrase | None = None) -> Sentence:
    """Subject + "to be" + predicate, as a statement, a denial ("not") or a question ("ask").

    `predicate(verb, negation)` gives the English and the Japanese of the rest.
    """
    verb, negation = en(be(subject, past)), en("not") if choice == "not" else []
    english, japanese = predicate(verb, negation)
    time = time or Phrase()
    start = verb + subject.english if choice == "ask" else subject.english + verb + negation
    return finish(Phrase(start + english + time.english, time.japanese + topic(subject) + japanese), choice == "ask")


def saying_quality(dice: Dice, adjective: str, noun: str, subject: Phrase, past: bool, very: bool = False):
    """A predicate for `copula`: "(very) red". "very" stays out of denials, where Japanese would need あまり."""

    def predicate(verb: list[EnglishWord], negation: list[EnglishWord]):
        source, degree = en(adjective), en("very") if very and not negation and adjective not in COLOURS else []
        dice.note("adjective", adjective, noun, source + subject.heads)
        strength = [ja("とても", degree)] if degree else []
        return degree + source, strength + quality(adjective, past, negation, verb, source)

    return predicate


def saying_two(dice: Dice, first: str, second: str, noun: str, subject: Phrase, past: bool):
    """A predicate for `copula`: "red and sweet", 赤く て 甘い です, 静か で きれい です."""

    def predicate(verb: list[EnglishWord], negation: list[EnglishWord]):
        one, word, two = en(first), en("and"), en(second)
        dice.note("adjective", first, noun, one + subject.heads)
        dice.note("adjective", second, noun, two + subject.heads)
        stem, ending = ADJECTIVES[first].split()
        opening = (
            [ja(stem, one), particle("で", word)]
            if ending == "な"
            else [ja(adjective_form(stem, "く"), one), particle("て", word)]
        )
        return one + word + two, opening + quality(second, past, negation, verb, two)

    return predicate


def saying_what(what: Phrase):
    """A predicate for `copula`: "a doctor"."""
    return lambda verb, negation: (what.english, what.japanese + nominal(False, negation, verb))


def this() -> Phrase:
    """これ as a subject."""
    word = en("this")
    return Phrase(word, [ja("これ", word)], word)


def describing(dice: Dice) -> Sentence:
    """Something is big, was not delicious, is red and sweet; somebody is busy."""
    if dice.chance(0.14):
        first, second = dice.pick(ADJECTIVE_PAIRS)
        noun = dice.pick([n for n in QUALITIES[first] if n in QUALITIES[second]])
        subject, past = _plain_subject(dice, noun), second in PASSING and dice.chance(0.3)
        return copula(subject, saying_two(dice, first, second, noun, subject, past), past)
    adjective = dice.pick(
        [*QUALITIES]
        + "busy busy busy young young expensive expensive heavy heavy cute sweet interesting interesting".split()
        + ["cold"] * 9  # so that 冷たく comes up
    )
    noun = dice.pick(QUALITIES[adjective])
    person = NOUNS[noun].kind in ("adult", "kid")
    choice = dice.weighted({"not": 38, "ask": 12, "say": 56})
    if choice == "not" and person and adjective not in ("busy", "young", "famous"):
        choice = "say"  # kept civil
    past, time = adjective in PASSING and dice.chance(0.45), None
    if adjective in ("busy", "kind", "young", "famous") and dice.chance(0.45):
        name = (
            "you"
            if choice == "ask"
            else dice.pick(["he", "she", "they", "mother", "father"] + ["i", "we"] * (adjective == "busy"))
        )
        noun, subject = name, subject_phrase(dice, name, "topic")
    elif choice == "say" and not past and noun in ANIMALS + PRODUCE and adjective not in COLOURS and dice.chance(0.25):
        subject = noun_phrase(dice, noun, "", plural=True)
    else:
        subject = _plain_subject(dice, noun)
    if adjective in ("busy", "cold", "quiet") and past and dice.chance(0.5):
        time = time_phrase(dice, "past")
    return copula(subject, saying_quality(dice, adjective, noun, subject, past, dice.chance(0.25)), past, choice, time)


def _plain_subject(dice: Dice, noun: str) -> Phrase:
    """A known subject without an adjective of its own."""
    richness, dice.richness = dice.richness, 0.0
    modified = 0.25 if NOUNS[noun].kind in ("animal", "thing", "fruit", "vegetable") else 0.0
    subject = described(dice, noun, "topic", ALL_OWNERS, modified=modified)
    dice.richness = richness
    return subject


_SHOWN = [
    n
    for n, entry in NOUNS.items()
    if entry.kind in ("animal", "fruit", "vegetable", "snack", "place", "thing") and n not in ("bus", "train", "room")
]
_BELONGING = "book letter picture pencil hat bag chair piano car bicycle dog cat rabbit house school".split()


def naming(dice: Dice) -> Sentence:
    """This is my hat. He is a doctor."""
    choice = dice.weighted({"not": 16, "ask": 14, "say": 70})
    if dice.chance(0.6):
        noun = dice.pick(_SHOWN)
        owner = dice.pick(["my", "his", "her"] if choice != "ask" else ["his", "her"])
        determiner = owner if noun in _BELONGING and dice.chance(0.5) else "a"
        return copula(
            this(),
            saying_what(noun_phrase(dice, noun, determiner, adjective=pick_adjective(dice, noun, 0.45))),
            False,
            choice,
        )
    name = dice.pick(["he", "she", "i", "they", "man", "woman", "mother", "father", "friend"])
    if choice == "ask" and (name == "i" or dice.chance(0.3)):
        name = "you"
    work = dice.pick(
        ["teacher"]
        if name in ("mother", "father")
        else ["student", "teacher"]
        if name == "they"
        else ["doctor", "teacher", "student"]
    )
    work = dice.pick(["doctor", work]) if name in ("mother", "father") else work
    subject = (
        subject_phrase(dice, name, "topic")
        if name not in ("man", "woman")
        else noun_phrase(dice, name, dice.pick(["the", "this"]))
    )
    adjective = dice.pick([a for a in ADJECTIVES_OF[work] if a != "busy"]) if dice.chance(0.35) else ""
    if subject.plural:
        what = noun_phrase(dice, work, "", plural=True, adjective=adjective)
        what.japanese = [word for word in what.japanese if word.text != "たち"]  # a calling, not a group
    else:
        what = noun_phrase(dice, work, "a", adjective=adjective)
    return copula(subject, saying_what(what), False, choice)
