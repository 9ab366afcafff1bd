"""Verb phrases: who does what, with which object, where, with whom and when."""

from __future__ import annotations

from .lexicon import ANIMALS, GROWN_UPS, KIDS, NOUNS, PARENTS, PRODUCE, TIMES, VERBS
from .nouns import described, joined, noun_phrase, pick_adjective, place_phrase
from .people import owners_for
from .places import DESTINATIONS, PLACES, WHERE
from .qualities import BARRED, PRAISE
from .verbs import Clause
from .words import Dice, Phrase, en, ja, particle
from .world import DOES, DRINKS, EATS, GROWN_UP_OBJECTS, MOST, OBJECTS, TOGETHER, USUAL_OBJECTS

# The verbs of people, one group for each construction, with how often each is drawn.
WITH_OBJECT = {
    "eat": 11,
    "drink": 6,
    "buy": 10,
    "read": 8,
    "write": 6,
    "see": 12,
    "make": 6,
    "wash": 7,
    "find": 5,
    "carry": 6,
    "meet": 7,
    "ride": 6,
    "play_piano": 4,
}
WITHOUT_OBJECT = {"sleep": 3, "run": 5, "swim": 6, "walk": 5, "play": 6, "sing": 5, "work": 6, "live": 5}
MOVING = {"go": 10, "come": 4, "walk": 3}
GIVING = {"give": 6, "show": 4}
FEELING = {"like": 8, "want": 6, "have": 6, "have_pet": 5}
_ASPECTS = {"habit": 30, "past": 50, "continuous": 34, "past continuous": 7, "will": 18, "can": 12}
# Verbs that take company, that may have two objects, and that one remembers (or plans) for a week.
SOCIABLE = ["go", "play", "walk", "swim", "run", "sing", "live"]
TWO_OBJECTS = ["eat", "drink", "buy", "see", "make", "wash", "like", "want", "have_pet"]
PREPOSITIONS = ["on", "under", "near", "in"]
MEMORABLE = ["buy", "see", "make", "meet", "go", "come", "find", "write", "ride", "swim", "give", "show"]
_OPEN = [("in", "garden"), ("in", "park"), ("on", "farm"), ("at", "zoo"), ("on", "mountain")]  # room enough to run
_FEED = sorted({food for foods in EATS.values() for food in foods})


def choose_aspect(dice: Dice, verb: str, allowed: tuple[str, ...] = tuple(_ASPECTS), animal: bool = False) -> str:
    """An aspect that the verb has; animals make no plans, so no "will" for them."""
    allowed = tuple(a for a in allowed if a in ("habit", "past", "continuous", "can")) if animal else allowed
    known = VERBS[verb].aspects + (("past continuous",) if "continuous" in VERBS[verb].aspects else ())
    return dice.weighted({a: weight for a, weight in _ASPECTS.items() if a in known and a in allowed})


def time_phrase(dice: Dice, tense: str, verb: str = "") -> Phrase:
    """A time that suits the tense; "last week" and "next week" only with what one remembers for a week."""
    english = dice.pick([time for time in TIMES[tense] if "week" not in time or verb in MEMORABLE])
    words = en(english)
    return Phrase(words, [ja(TIMES[tense][english], words)])


def add_time(dice: Dice, clause: Clause, probability: float = 0.42, sure: bool = False) -> None:
    """Perhaps say when; the time agrees with the tense. "now" and "often" stay behind the topic."""
    tense = {"past continuous": "past", "continuous": "now", "can": ""}.get(clause.aspect, clause.aspect)
    if clause.negative and tense in ("habit", "now"):
        return  # "not every morning" and "every morning not" would be two things
    if not tense or not (sure or dice.chance(min(0.9, probability * dice.richness))):
        return
    # よく 働く is "works hard" and よく 寝る "sleeps well": no "often" with these.
    if tense == "now" or (tense == "habit" and clause.verb not in ("work", "sleep") and dice.chance(0.35)):
        words = en("now" if tense == "now" else "often")
        clause.adverb = Phrase(words, [ja("今/いま" if tense == "now" else "よく", words)])
    else:
        clause.time = time_phrase(dice, tense, clause.verb if clause.aspect != "past continuous" else "")
        clause.time_first = dice.chance(0.4)


def add_company(dice: Dice, clause: Clause, name: str, owners: list[str]) -> None:
    """Perhaps say with whom: と."""
    if name in ANIMALS or not dice.chance(0.14 * dice.richness):
        return
    if clause.verb == "live":  # with one's own people only
        owners = [owner for owner in owners if owner[-1] == "~"]
        if not owners or name == "we":
            return
    if clause.verb in ("walk", "run") and dice.chance(0.4):
        noun = "dog"
    else:
        noun = dice.pick(
            [n for n in ["friend", "friend", "mother", "father", "boy", "girl", "teacher", "child"] if n != name]
        )
    if (noun in PARENTS and name in ("we", "they", "you")) or (clause.verb == "live" and noun not in PARENTS):
        noun = "friend"
    word = en("with")
    whom = described(dice, noun, "companion", owners)
    clause.companion = Phrase(word + whom.english, whom.japanese + [particle("と", word)])


def choose_object(dice: Dice, verb: str, name: str, aspect: str) -> str:
    """A noun that `name` may do this to."""
    nouns = OBJECTS[verb]
    if name in ANIMALS:
        nouns = EATS[name] if verb == "eat" else DRINKS[name]
    if aspect == "habit" and name in ANIMALS:
        nouns = [noun for noun in nouns if noun not in ("cake", "egg")] or nouns  # a treat is not a habit
    elif aspect == "habit" and verb in USUAL_OBJECTS:
        nouns = USUAL_OBJECTS[verb]
    elif aspect == "past" and verb == "have":
        nouns = ["car", "bicycle", "piano"]
    elif aspect != "past" and verb == "see":  # to see people tomorrow is to meet them, and not 見る
        nouns = [noun for noun in nouns if noun not in KIDS + GROWN_UPS]
    if name in KIDS and verb != "play_piano":
        nouns = [noun for noun in nouns if noun not in GROWN_UP_OBJECTS and (verb, noun) != ("write", "book")]
    return dice.pick([noun for noun in nouns if noun != name])


def object_phrase(dice: Dice, verb: str, noun: str, clause: Clause, owners: list[str], animal: bool = False) -> Phrase:
    """The object, in a form that suits the verb and the tense."""
    phrase = _object_form(dice, verb, noun, clause, owners, animal)
    dice.note("object", VERBS[verb].english[0], noun, phrase.heads)
    return phrase


def _object_form(dice: Dice, verb: str, noun: str, clause: Clause, owners: list[str], animal: bool) -> Phrase:
    if verb == "play_piano":
        return noun_phrase(dice, noun, "the")
    if noun in ("bus", "train"):
        return noun_phrase(dice, noun, dice.pick(["the", "a"]) if clause.aspect == "past" else "the")
    if verb == "like":
        entry = NOUNS[noun]
        general = entry.mass or (entry.plural and dice.chance({"thing": 0.4, "animal": 0.85}.get(entry.kind, 1.0)))
        owners = [owner for owner in owners if owner[-1] != "~"]
        return described(dice, noun, "general" if general else "topic", owners, barred=("delicious",))
    if verb in ("eat", "drink", "buy", "make", "write", "want", "have", "have_pet"):
        owners = []  # "i ate his egg" is a quarrel, not an example
    use = {"want": "wanted object", "have": "owned object", "have_pet": "owned object"}.get(verb, "object")
    if clause.negative:
        use = "denied possession" if verb in ("have", "have_pet") else "denied object"
        if verb == "ride":
            use = "single object"
        if clause.aspect == "habit" and use == "denied object" and (NOUNS[noun].mass or NOUNS[noun].plural):
            use = "general"  # "he does not eat apples": none at all
    elif verb == "ride":
        use = "single object"
    elif clause.aspect == "habit" and verb not in ("want", "have", "have_pet"):
        use = "general" if animal else "usual object"  # no mouse counts its apples
    elif _is_gone(clause):
        use = "eaten object"
    most = 2 if noun in ("car", "bicycle", "horse") else MOST.get(verb, 10)
    barred = BARRED["animal"] if animal else BARRED.get(verb, ())
    if clause.negative:
        barred += PRAISE
    elif verb in ("eat", "drink") and clause.aspect not in ("past", "continuous"):
        barred += ("delicious",)  # one tastes it first
    # "saw the cat under the table", but not with verbs that bring a place of their own.
    modified = 0.08 if verb in ("see", "carry") and not animal else 0.0
    return described(
        dice, noun, use, owners, most=most, modified=modified, barred=barred, floating=VERBS[verb].particle != "に"
    )


def _two_objects(dice: Dice, verb: str, first: str, second: str, aspect: str) -> Phrase:
    """ "bread and milk", "the hat and the bag", "a cat and a dog": the same determiner twice."""
    owning = verb in ("have", "have_pet", "want")
    general = verb == "like" or (aspect == "habit" and not owning)
    determiner = "" if general else "a" if owning else dice.pick(["the", "a"])
    phrases = []
    for noun in (first, second):
        entry = NOUNS[noun]
        own = "" if entry.mass and determiner == "a" else determiner or ("" if entry.mass or entry.plural else "the")
        phrase = noun_phrase(
            dice,
            noun,
            own,
            plural=general and bool(entry.plural),
            adjective="" if verb == "like" else pick_adjective(dice, noun, 0.12, BARRED.get(verb, ())),
        )
        dice.note("object", VERBS[verb].english[0], noun, phrase.heads)
        phrases.append(phrase)
    return joined(*phrases)


def alike(noun: str, other: str) -> bool:
    """True when the two are spoken of in one breath: a bus and a tree are not."""
    kinds = {NOUNS[noun].kind, NOUNS[other].kind}
    return kinds != {"thing"} or any({noun, other} <= set(group) for group in TOGETHER)


def _places_for(name: str, verb: str, noun: str) -> list[tuple[str, str]]:
    """Where `name` may do it; `noun` is the object or ""."""
    if name in ANIMALS:
        if verb == "swim":
            return [("at", "zoo") if name == "penguin" else ("in", "river")]
        if verb in ("walk", "run", "play"):
            return [spot for spot in WHERE[name] if spot in _OPEN]
        return [spot for spot in WHERE[name] if verb == "sleep" or spot[1] not in ("box", "bag", "car")]
    if verb == "see":
        people = [("in", "park"), ("in", "town"), ("at", "station")] if noun in KIDS + GROWN_UPS else []
        return WHERE[noun] if noun in ANIMALS else people
    if verb == "wash":
        return [("on", "farm")] if noun == "horse" else [("in", "kitchen" if noun in PRODUCE else "garden")]
    if verb == "make" and noun not in ("cake", "bread"):
        return [("at", "school"), ("in", "room")]
    if verb == "ride" and noun != "bicycle":
        return [("on", "farm")] if noun == "horse" else []
    return PLACES.get(verb, [])


def activity(dice: Dice, name: str, verb: str, aspect: str, negative: bool = False) -> Clause:
    """A verb phrase about `name`, without its subject: verb, object, place, company, time."""
    clause, owners, noun = Clause(verb, aspect, negative), owners_for(name), ""
    if verb in OBJECTS and verb not in GIVING:
        noun = choose_object(dice, verb, name, aspect)
        others = [
            other for other in OBJECTS[verb] if NOUNS[other].kind == NOUNS[noun].kind and other not in (noun, name)
        ]
        others = [other for other in others if alike(noun, other)]
        if (
            name not in ANIMALS + KIDS
            and others
            and verb in TWO_OBJECTS
            and not negative  # "not A and B" would be も … も
            and dice.chance(0.12 * dice.richness)
        ):
            clause.object = _two_objects(dice, verb, noun, dice.pick(others), aspect)
            noun = "" if verb == "see" else noun  # two animals need not live in one place
        else:
            clause.object = object_phrase(dice, verb, noun, clause, owners, name in ANIMALS)
    places = _places_for(name, verb, noun)
    if clause.object and any(word.text in PREPOSITIONS for word in clause.object.english):
        places = []  # "the apple on the table" is place enough
    if verb in MOVING and not (verb == "walk" and (name in ANIMALS or dice.chance(0.6))):
        add_destination(dice, clause, owners)
    elif verb == "carry" and dice.chance(0.4):
        clause.destination = to_place(dice, dice.pick(["kitchen", "room", "garden", "house", "school"]), owners)
    elif verb in GIVING:
        add_recipient(dice, clause, name, owners)
    elif places and (
        verb == "live" or (verb, aspect) == ("sleep", "habit") or dice.chance(min(0.9, 0.42 * dice.richness))
    ):
        mark = {"live": "に", "walk": "を"}.get(verb, "で")
        if verb == "write" and noun == "book":
            places = [("in", "library"), ("in", "room")]
        preposition, place = dice.pick(places)
        clause.place = place_phrase(dice, preposition, place, mark, owners)
    if noun == "letter" and verb == "write" and not clause.place and dice.chance(0.4):
        word, pencil = en("with"), noun_phrase(dice, "pencil", "a")
        clause.means = Phrase(word + pencil.english, pencil.japanese + [particle("で", word)])
    if verb in SOCIABLE and not (clause.object or clause.means):
        add_company(dice, clause, name, owners)
    if negative and aspect == "habit" and not (clause.object or clause.place or clause.destination):
        clause.negative = False  # "the monkeys do not sleep" would be news
    if verb not in FEELING and verb != "live":
        # "they swim" and "we buy three apples" ask: when? And "they read books" has two readings.
        needs_time = (aspect == "habit" and not _is_custom(clause)) or (verb == "read" and aspect == "past")
        if (verb, noun) != ("write", "book") or aspect == "continuous":  # nobody writes a book in a morning
            add_time(dice, clause, sure=needs_time and not clause.negative)
    return clause


def _is_custom(clause: Clause) -> bool:
    """True when the simple present needs no time: what all of a kind do, and work."""
    if clause.object:  # bare: "eats apples", "drinks water"
        articles = ("the", "a", "an", "one", "two", "three", "four", "five", "six", "ten", "many", "this", "water")
        return not any(word.text in articles for word in clause.object.english)
    return clause.verb == "work" or (bool(clause.place) and clause.verb not in MOVING)


def _is_gone(clause: Clause) -> bool:
    """True when the object is gone by the time it is spoken of: nobody points at an egg that was eaten."""
    return clause.verb in ("eat", "drink", "see") and clause.aspect == "past" and not clause.negative


def to_place(dice: Dice, noun: str, owners: list[str], mark: str = "へ") -> Phrase:
    return place_phrase(dice, "to", noun, mark, owners)


def add_destination(dice: Dice, clause: Clause, owners: list[str]) -> None:
    """Say where to (へ), or from where to where (から … まで), and perhaps by what (で)."""
    if clause.verb == "walk":
        start, goal = dice.shuffled(["station", "school", "park", "library", "house", "shop", "hospital"])[:2]
        origin, goal = place_phrase(dice, "from", start, "から", owners), to_place(dice, goal, owners, "まで")
        clause.destination = Phrase(origin.english + goal.english, origin.japanese + goal.japanese)
        return
    if clause.verb == "come":
        # One "comes" to where the speaker is or belongs.
        goal = dice.pick(["house", "house", "school", "library", "park", "town", "farm"])
        clause.destination = to_place(dice, goal, [owner for owner in owners if owner in ("my", "our")])
    else:
        clause.destination = to_place(dice, dice.pick(DESTINATIONS), owners)
    if dice.chance(0.22 * dice.richness):
        word, vehicle = en("by"), noun_phrase(dice, dice.pick(["bus", "train", "car", "bicycle"]), "")
        clause.means = Phrase(word + vehicle.english, vehicle.japanese + [particle("で", word)])


def add_recipient(dice: Dice, clause: Clause, name: str, owners: list[str]) -> None:
    """Say what is given or shown, and to whom (に)."""
    # To my own people and animals it would be くれる and not あげる, and to a teacher 差し上げる.
    givers = [owner for owner in owners if owner[-1] == "~" or owner in ("his", "her")]
    if clause.verb == "give" and (clause.aspect == "habit" or dice.chance(0.4)):
        animal = dice.pick([animal for animal in EATS if animal not in ("mouse", "bear")])
        noun, whom = dice.pick(EATS[animal]), described(dice, animal, "topic", givers)
    else:
        noun = choose_object(dice, clause.verb, name, "past")
        people = ["boy", "girl", "child", "woman", "man", "student"]
        if clause.verb == "show":
            people += ["teacher", "friend"] + (["mother", "father"] if name not in ("we", "they", "you") else [])
            allowed = owners
        else:
            allowed = givers
            people += ["friend"] if allowed else []
        person = dice.pick([p for p in people if p != name])
        whom = described(dice, person, "topic", allowed)
    clause.object = object_phrase(dice, clause.verb, noun, clause, [], animal=noun in _FEED)
    word = en("to")
    clause.recipient = Phrase(word + whom.english, whom.japanese + [particle("に", word)])


def animal_verbs(name: str) -> list[str]:
    verbs = [verb for verb, animals in DOES.items() if name in animals]
    verbs += ["sing_bird"] * 3 * (name == "bird")
    return verbs + ["eat"] * 3 * (name in EATS) + ["drink"] * (name in DRINKS)
