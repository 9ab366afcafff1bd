"""Sentences with a relative clause: behind the noun in English, before it in Japanese."""

from __future__ import annotations

from .activities import WITH_OBJECT, activity, add_time, animal_verbs, time_phrase
from .being import ALL_OWNERS, copula, saying_quality, saying_what, this
from .clauses import Sentence, english_tail, finish, relative, statement
from .lexicon import ANIMALS, KIDS, NOUNS, PRONOUNS, VERBS
from .nouns import noun_phrase, place_phrase
from .people import choose_person, owners_for, subject_phrase
from .places import PLACES, WHERE
from .qualities import ADJECTIVES_OF, BARRED, PASSING
from .verbs import Clause, be
from .words import Dice, Phrase, en, particle
from .world import OBJECTS

_PEOPLE = ["man", "woman", "boy", "girl", "child", "student", "teacher"]
_PEOPLE_DO = [*WITH_OBJECT, "go", "live", "live", "swim", "sing", "work", "have_pet", "eat", "walk", "play"]
_LASTING = ("live", "work", "have_pet")
# What becomes of a thing after it was bought, made, written or found.
_AFTER = {
    "buy": {
        "fruit": ["eat", "wash"],
        "vegetable": ["eat", "wash"],
        "snack": ["eat"],
        "food": ["eat"],
        "drink": ["drink"],
    },
    "make": {"snack": ["eat"], "food": ["eat"]},
}


def _with_clause(head: Phrase, clause: Phrase) -> Phrase:
    """Put a relative clause behind the English noun and before the Japanese phrase."""
    return Phrase(head.english + clause.english, clause.japanese + head.japanese, head.heads, plural=head.plural)


def _who_did(dice: Dice, name: str, aspect: str, timed: bool) -> tuple[str, Phrase]:
    """The verb and "the dog that ate the cake", "the woman who lives in the town", "the cat that is under the table".

    Only a clause that opens the sentence is `timed`: 彼 は 毎日 … 男 の 子 を 見 ました would give the day to the seeing.
    """
    head = noun_phrase(dice, name, "the", plural=bool(NOUNS[name].plural) and aspect != "habit" and dice.chance(0.15))
    who = "that" if name in ANIMALS else "who"
    if aspect == "be":
        place, verb, word = place_phrase(dice, *dice.pick(WHERE[name]), "に", ALL_OWNERS), en(be(head, False)), en(who)
        return "be", _with_clause(head, Phrase(word + verb + place.english, place.japanese + [particle("いる", verb)]))
    verbs = animal_verbs(name) if name in ANIMALS else _PEOPLE_DO
    verbs = [
        v
        for v in verbs
        if aspect in VERBS[v].aspects
        and v not in (("work", "have_pet") if name in KIDS else () if name == "student" else ("play",))
        and (timed or aspect != "habit" or v in _LASTING)
    ]
    verb, clause = "", None
    while clause is None or not english_tail(clause):  # "the cat that walked" points at no cat
        verb = dice.pick(verbs)
        clause = activity(dice, name, verb, aspect)
    clause.adverb, clause.time_first = None, False
    if not timed:
        clause.time = None
    elif aspect == "habit" and not clause.time and verb not in _LASTING:
        clause.time = time_phrase(dice, "habit")  # "the man who buys four eggs" asks: when?
    return verb, _with_clause(head, relative(clause, head, who))


def _free_pronouns(phrase: Phrase) -> list[str]:
    """Pronouns whose possessive is not in `phrase`: 私 は 私 の 先生 と … would be clumsy."""
    words = {word.text for word in phrase.english}
    taken = {"i", "we"} if words & {"my", "our"} else set()
    return [name for name, row in PRONOUNS.items() if name not in taken and row[0] not in words]


def relating_subject(dice: Dice) -> Sentence:
    """A relative clause whose subject is the noun: 魚 を 食べ た 猫."""
    name = dice.pick([n for n in ANIMALS if animal_verbs(n)] + _PEOPLE * 3)
    animal = name in ANIMALS
    aspect = dice.weighted({"past": 46, "continuous": 26, "be": 14, "habit": 0 if animal else 34})
    doing = [v for v in animal_verbs(name) if "continuous" in VERBS[v].aspects] if animal else []
    kind = dice.weighted(
        {
            "quality": 40 if ADJECTIVES_OF[name] else 0,
            "seen": 30 if aspect != "habit" or name not in KIDS else 0,
            "does": 22 if aspect == "past" and len(set(doing)) > 1 else 0,
            "is": 30 if name in ("man", "woman") else 0,
        }
    )
    verb, subject = _who_did(dice, name, aspect, timed=kind != "seen")
    if kind == "seen":
        seeing = "see" if animal or dice.chance(0.4) else "meet"
        clause = Clause(seeing, "past", object=subject)
        dice.note("object", seeing, name, subject.heads)
        add_time(dice, clause, 0.2)
        clause.time_first = True  # at the end it would belong to the relative clause
        return finish(statement(subject_phrase(dice, dice.pick(_free_pronouns(subject)), "topic"), clause))
    if kind == "does":
        # Not "the fish that swam is swimming".
        clause = activity(dice, name, dice.pick([v for v in doing if v != verb]), "continuous")
        return finish(statement(subject, clause))
    if kind == "is":
        what = noun_phrase(
            dice,
            *dice.pick([("doctor", "a"), ("teacher", "a"), ("teacher", "my"), ("friend", "my"), ("teacher", "our")]),
        )
        return copula(subject, saying_what(what), False, dice.pick(["say", "say", "say", "not"]))
    adjective = dice.pick(ADJECTIVES_OF[name])
    predicate = saying_quality(dice, adjective, name, subject, False, dice.chance(0.15))
    return copula(subject, predicate, False, dice.pick(["say", "say", "say", "say", "not"]) if animal else "say")


def relating_object(dice: Dice) -> Sentence:
    """A relative clause whose object is the noun: 母 が 作っ た ケーキ."""
    verb = dice.weighted(
        {"buy": 8, "make": 6, "write": 5, "read": 4, "eat": 4, "see": 4, "wash": 3, "find": 5, "drink": 2, "carry": 3}
    )
    maker = choose_person(dice, verb)
    noun = dice.pick(
        [
            n
            for n in OBJECTS[verb]
            if n not in ("bus", "train", "river", "mountain")
            and NOUNS[n].kind not in ("adult", "kid")
            and not (maker in KIDS and (verb, n) == ("write", "book"))
        ]
    )
    lasting = verb in ("read", "write", "make", "carry") and dice.chance(0.2)
    clause = Clause(verb, "continuous" if lasting else "past")
    owners = owners_for(maker)
    places = [
        spot for spot in PLACES.get(verb, []) if not (verb == "make" and NOUNS[noun].kind == "thing") and verb != "wash"
    ]
    if places and dice.chance(0.2 * dice.richness):
        clause.place = place_phrase(dice, *dice.pick(places), "で", owners)
    after = [] if lasting else _what_follows(verb, noun)
    gone = verb in ("eat", "drink")  # of what is gone one says how it was
    adjectives = [a for a in ADJECTIVES_OF[noun] if a not in BARRED.get(verb, ()) and (not gone or a in PASSING)]
    plural = bool(NOUNS[noun].plural) and dice.chance(0.2)
    kind = dice.weighted(
        {"quality": 45 if adjectives else 0, "act": 40 if after else 0, "this": 0 if plural or gone else 14}
    )
    # The time must open the sentence, or it reads with the other verb; and a book is not written in a morning.
    timed = not lasting and kind != "act" and (verb, noun) != ("write", "book")
    if timed and dice.chance(0.25 * dice.richness):
        clause.time = time_phrase(dice, "past", verb)
    head = noun_phrase(dice, noun, "the", plural=plural)
    dice.note("object", verb, noun, head.heads)
    whole = _with_clause(head, relative(clause, head, "that", subject=subject_phrase(dice, maker, "topic")))
    if kind == "act":
        return _then(dice, dice.pick(after), maker, noun, whole)
    choice = dice.pick(["say", "say", "say", "say", "say", "say", "not"])
    if kind == "this":
        return copula(this(), saying_what(whole), False, "ask" if dice.chance(0.12) else choice)
    adjective = dice.pick(adjectives)
    past = gone or (adjective in PASSING and not lasting and dice.chance(0.7))
    return copula(whole, saying_quality(dice, adjective, noun, whole, past, dice.chance(0.15)), past, choice)


def _what_follows(verb: str, noun: str) -> list[str]:
    """What somebody may do to a thing that was bought, made, written or found."""
    after = list(_AFTER.get(verb, {}).get(NOUNS[noun].kind, []))
    after += ["read"] * 2 if noun in ("book", "letter") and verb in ("buy", "write", "find") else []
    return after + (["carry"] if verb in ("make", "buy", "find") and noun in OBJECTS["carry"] else [])


def _then(dice: Dice, verb: str, maker: str, noun: str, whole: Phrase) -> Sentence:
    """Somebody else eats, reads or carries it."""
    person = choose_person(dice, verb)
    free = [name for name in _free_pronouns(whole) if name != maker and not {name, maker} <= {"i", "we"}]
    if person == maker or (person in PRONOUNS and person not in free) or (person in KIDS and noun == "coffee"):
        person = dice.pick(free or ["student"])
    clause = Clause(
        verb,
        dice.pick(["past", "past", "continuous"]),
        object=whole,
        negative=dice.chance(0.1),
    )
    if verb == "read" and clause.aspect == "past":
        clause.time = time_phrase(dice, "past", verb)
        clause.time_first = True
    dice.note("object", verb, noun, whole.heads)
    return finish(statement(subject_phrase(dice, person, "topic"), clause))
