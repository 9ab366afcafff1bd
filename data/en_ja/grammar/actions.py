"""Sentences about doing: statements, negations and questions with a verb; two actions joined."""

from __future__ import annotations

from .activities import (
    FEELING,
    GIVING,
    MEMORABLE,
    MOVING,
    WITH_OBJECT,
    WITHOUT_OBJECT,
    activity,
    add_time,
    animal_verbs,
    choose_aspect,
    choose_object,
    object_phrase,
    time_phrase,
    to_place,
)
from .clauses import Sentence, english_tail, finish, question, statement, te_join, verb_phrase_in_plain_form
from .lexicon import ANIMALS, GROWN_UPS, KIDS, NUMBERS, VERBS
from .nouns import joined, noun_phrase, place_phrase
from .people import choose_person, owners_for, subject_phrase, subject_use
from .places import PLACES, WHERE
from .verbs import Clause
from .words import Dice, EnglishWord, Phrase, en, ja, particle
from .world import DRINKS, EATS, OBJECTS

# Who is mentioned together with whom.
_PAIRS = {
    "man": ["woman"],
    "woman": ["man"],
    "boy": ["girl"],
    "girl": ["boy"],
    "teacher": ["student"],
    "dog": ["cat"],
    "cat": ["dog"],
    "horse": ["cow"],
    "cow": ["sheep", "horse"],
    "duck": ["bird"],
    "sheep": ["cow"],
}


def _acting(dice: Dice, verbs: dict[str, int], name: str = "") -> Sentence:
    """Somebody does something: statement, negation or question."""
    verb = dice.pick(animal_verbs(name)) if name else dice.weighted(verbs)
    name = name or choose_person(dice, verb)
    if verb == "come" and name in ("i", "we"):
        verb = "go"  # 来る is towards the speaker
    aspect = choose_aspect(dice, verb, animal=name in ANIMALS)
    asking = dice.chance(0.1)
    if asking and name not in ANIMALS and (name in ("i", "we") or dice.chance(0.6)):
        name = "you"
    if verb == "sleep" and name in ("i", "we", "you") and aspect == "continuous":
        aspect = "past"  # who sleeps does not say so
    if verb == "sleep" and name not in ANIMALS and aspect == "habit":
        aspect = "past"  # that people sleep every day need not be said
    # "cannot" is heard more often than "can not" would be; to look for and not find is another word, 見つからない.
    denying = (
        0.0
        if verb == "find" or (aspect == "can" and name in ANIMALS)
        else 0.6
        if aspect == "can"
        else 0.25
        if verb == "want"
        else 0.15
    )
    clause = activity(dice, name, verb, aspect, negative=not asking and dice.chance(denying))
    if asking:
        clause.time_first = False
        return finish(question(subject_phrase(dice, name, "topic"), clause), asking=True)
    subject = subject_phrase(dice, name, subject_use(dice, name, clause))
    return finish(statement(_with_another(dice, name, subject, clause), clause))


def _with_another(dice: Dice, name: str, first: Phrase, clause: Clause) -> Phrase:
    """Sometimes add a second subject of the same sort: "the boy and the girl"."""
    determiner = first.english[0].text.removesuffix("n")
    simple = len(first.english) == 2 and determiner in ("the", "a") and not first.plural
    if name not in _PAIRS or not simple or not dice.chance(0.25):
        return first
    other = dice.pick(_PAIRS[name])
    if any(word.text == other for word in english_tail(clause)):
        return first  # "the boy and the girl saw the girl"
    return joined(first, noun_phrase(dice, other, determiner))


def doing(dice: Dice) -> Sentence:
    """The children played in the park."""
    return _acting(dice, WITHOUT_OBJECT)


def doing_to(dice: Dice) -> Sentence:
    """My father read the newspaper."""
    return _acting(dice, WITH_OBJECT)


def moving(dice: Dice) -> Sentence:
    """He went to the zoo by bus."""
    return _acting(dice, MOVING)


def giving(dice: Dice) -> Sentence:
    """She gave a flower to the teacher."""
    return _acting(dice, GIVING)


def feeling(dice: Dice) -> Sentence:
    """I like cats. I want a new hat. She has two dogs. He likes to swim."""
    return _liking_to(dice) if dice.chance(0.3) else _acting(dice, FEELING)


def animals_doing(dice: Dice) -> Sentence:
    """Three birds are singing near the river."""
    return _acting(dice, {}, dice.pick([animal for animal in ANIMALS if animal_verbs(animal)]))


def _liking_to(dice: Dice) -> Sentence:
    """ "likes to swim": the verb in its dictionary form, made a noun by の, which links to "to"."""
    verb = dice.pick(
        "eat drink buy read write see see see make meet ride go run run swim walk play sing sleep sleep play_piano".split()
    )
    name = choose_person(dice, verb)
    clause = activity(dice, name, verb, "habit")
    people = KIDS + GROWN_UPS + ["children", "boys", "girls", "students", "teachers"]
    # Nobody likes to see just three birds, to write the letter or to look at people.
    while clause.object and (
        _is_one(clause.object, verb) or (verb == "see" and clause.object.heads[-1].text in people)
    ):
        clause = activity(dice, name, verb, "habit")
    clause.time = clause.adverb = clause.means = None
    subject, to = subject_phrase(dice, name, "topic"), en("to")
    like = Clause("like", "habit", negative=dice.chance(0.15))
    english, japanese = verb_phrase_in_plain_form(clause)
    like.object = Phrase(to + english, japanese + [particle("の", to)], to)
    return finish(statement(subject, like))


def _is_one(phrase: Phrase, verb: str) -> bool:
    """True when the phrase speaks of these things and not of all of the kind; one may like to meet one's friend."""
    words = {word.text for word in phrase.english}
    if words & {"piano", "bus", "train", "newspaper", "river", "mountain"}:
        return False
    if verb == "meet":
        return not words & {"friend", "mother"}
    return bool(words & {"the", "a", "an", "this", "many", "my", "his", "her", "our", *NUMBERS})


def asking(dice: Dice) -> Sentence:
    """A question word: first in English, in the place of its answer in Japanese."""
    word = dice.weighted({"what": 10, "who": 7, "where": 9, "when": 5})
    return {"what": _what, "who": _who, "where": _where, "when": _when}[word](dice, en(word))


def _asked(dice: Dice, verb: str, aspect: str, name: str = "") -> tuple[str, Clause]:
    """Whom a question is about, and the clause asked about: no adverb, and the time last in English."""
    name = name or choose_person(dice, verb)
    if name in ("i", "we") or (name not in ANIMALS and dice.chance(0.35)):
        name = "you"
    clause = activity(dice, name, verb, aspect)
    clause.adverb, clause.time_first = None, False
    if aspect == "habit" and verb not in ("work", "live") and not clause.time:
        clause.time = time_phrase(dice, "habit")
    return name, clause


def _what(dice: Dice, word: list[EnglishWord]) -> Sentence:
    verb = dice.pick(["eat", "eat", "drink", "buy", "buy", "read", "write", "see", "make", "wash", "find", "carry"])
    aspect = choose_aspect(dice, verb, ("habit", "past", "continuous", "will"))
    animal = (
        dice.pick(sorted(EATS))
        if verb == "eat" and dice.chance(0.4)
        else dice.pick(sorted(DRINKS))
        if verb == "drink" and dice.chance(0.2)
        else ""
    )
    name, clause = _asked(dice, verb, "past" if animal and aspect == "will" else aspect, animal)
    clause.means = clause.destination = clause.place = None
    places = WHERE[name] if name in ANIMALS else PLACES.get(verb, [])
    if verb not in ("wash", "carry", "see") and places and dice.chance(0.35):
        clause.place = place_phrase(dice, *dice.pick(places), "で", owners_for(name))
    clause.object = Phrase([], [ja("何/なに", word)], word)
    return finish(question(subject_phrase(dice, name, "topic"), clause, Phrase(word)), asking=True)


def _who(dice: Dice, word: list[EnglishWord]) -> Sentence:
    verb = dice.pick("eat drink buy read write make wash find carry ride play_piano sing sleep swim go live".split())
    aspect = "habit" if verb == "live" else choose_aspect(dice, verb, ("past", "continuous"))
    clause = activity(dice, "they", verb, aspect)
    clause.adverb, clause.time_first = None, False
    return finish(statement(Phrase(word, [ja("誰/だれ", word)], word, mark="が"), clause), asking=True)


def _where(dice: Dice, word: list[EnglishWord]) -> Sentence:
    verb = dice.pick("buy buy read meet find play work live go go eat see".split())
    name, clause = _asked(
        dice, verb, "habit" if verb in ("work", "live") else choose_aspect(dice, verb, ("past", "will"))
    )
    clause.place = clause.destination = clause.companion = None
    mark = {"go": "へ", "live": "に"}.get(verb, "で")
    setattr(clause, "destination" if verb == "go" else "place", Phrase([], [ja("どこ", word), particle(mark, word)]))
    if verb == "work":
        clause.time = None
    return finish(question(subject_phrase(dice, name, "topic"), clause, Phrase(word)), asking=True)


def _when(dice: Dice, word: list[EnglishWord]) -> Sentence:
    verb = dice.pick("go go buy meet see write come read".split())
    name, clause = _asked(dice, verb, choose_aspect(dice, verb, ("past", "will")))
    clause.time, clause.adverb = None, Phrase([], [ja("いつ", word)])
    return finish(question(subject_phrase(dice, name, "topic"), clause, Phrase(word)), asking=True)


# What is done first, and what may follow: verb and object or place, twice. "-" leaves the object open.
_SEQUENCES = [
    line.split()
    for line in """
go shop buy -|go shop buy -|go town buy -|go library read book|go park run -|go park walk -|go park play -|go river swim -
go zoo see elephant|go zoo see penguin|go zoo see bear|go zoo see monkey|go farm see cow|go farm see sheep|go farm ride horse
go mountain see flower|go mountain see bird|go station meet -|go school meet -|go hospital meet doctor|go school play_piano piano
eat - drink -|eat - go school|drink - read newspaper|drink milk sleep -|read book sleep -|read newspaper go station
make cake drink tea|make bread eat egg|buy flower go hospital|buy book go park|write letter go school|wash apple make cake
wash car go shop|meet friend play -|meet friend go zoo|swim river sleep -|sing - walk -|ride train go mountain|ride bus go farm
""".strip()
    .replace("\n", "|")
    .split("|")
]


def _step(dice: Dice, name: str, verb: str, what: str, aspect: str, by_vehicle: bool) -> Clause:
    """One of two actions."""
    clause, owners = Clause(verb, aspect), owners_for(name)
    if verb == "go":
        clause.destination = to_place(dice, what, owners)
        if by_vehicle and dice.chance(0.15 * dice.richness):
            by, vehicle = en("by"), noun_phrase(dice, dice.pick(["bus", "train", "car", "bicycle"]), "")
            clause.means = Phrase(by + vehicle.english, vehicle.japanese + [particle("で", by)])
    elif verb == "swim" and what == "river":
        clause.place = place_phrase(dice, "in", "river", "で")
    elif verb in OBJECTS:
        noun = choose_object(dice, verb, name, "habit") if what == "-" else what
        clause.object = object_phrase(dice, verb, noun, clause, owners)
    return clause


def joining(dice: Dice) -> Sentence:
    """Two actions, one after the other: 店 へ 行っ て パン を 買い ました."""
    first, first_what, second, second_what = dice.pick(_SEQUENCES)
    name = choose_person(dice, "play" if "play" in (first, second) else "go")
    aspects = {"past": 60, "will": 20}
    if all("habit" in VERBS[verb].aspects and verb not in ("read", "see") for verb in (first, second)):
        aspects["habit"] = 14
    aspect = dice.weighted(aspects)
    first_clause = _step(dice, name, first, first_what, aspect, by_vehicle=True)
    second_clause = _step(dice, name, second, second_what, aspect, by_vehicle=first != "ride")
    ambiguous = "read" in (first, second) and aspect == "past" and first == "read"  # "they read books and slept"
    if second != "sleep" or aspect != "will":
        add_time(dice, first_clause, sure=ambiguous or aspect == "habit")
    first_clause.adverb = None
    if first_clause.time and second not in MEMORABLE:
        first_clause.time = time_phrase(dice, aspect, second)
    return finish(te_join(subject_phrase(dice, name, "topic"), first_clause, second_clause))
