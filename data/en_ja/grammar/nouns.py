"""Noun phrases and place phrases, in both languages at once."""

from __future__ import annotations

from .lexicon import ADJECTIVES, COUNTER_READINGS, GENERIC_PEOPLE, NOUNS, NUMBERS, OWN_PARENT, PRONOUNS
from .places import PLACE_PREPOSITIONS, WHERE
from .qualities import ADJECTIVES_OF
from .words import Dice, EnglishWord, JapaneseWord, Phrase, en, ja, particle

_POSSESSIVES = {row[0]: row[1] for row in PRONOUNS.values() if row[0]} | {"your": "あなた"}
_RELATIONS = {"on": "上/うえ", "under": "下/した", "near": "近く/ちかく", "in": "中/なか"}
_SHARED = ["dog", "cat", "car", "house", "garden", "school", "teacher", "room"]  # what "our" is said of
_NOT_OF_PLACES = ("heavy", "cheap", "expensive", "interesting")  # true of a table, but odd in "on the … table"
_OWN = _SHARED + "rabbit bird friend book letter pencil hat bag chair bicycle piano picture".split()


def counted(number: EnglishWord, counter: str) -> list[JapaneseWord]:
    """The number and its counter, with the sound changes of their readings; both link to the number."""
    if number.text == "many":
        return [ja("たくさん", [number])]
    readings = COUNTER_READINGS[counter].split(",")[list(NUMBERS).index(number.text)].split()
    digit = NUMBERS[number.text]
    if len(readings) == 1:  # 一人 hitori and 二人 futari cannot be cut in two
        return [ja(f"{digit}{counter}/{readings[0]}", [number])]
    return [ja(f"{digit}/{readings[0]}", [number], following=readings[1]), ja(f"{counter}/{readings[1]}", [number])]


def adjective_word(adjective: str, source: list[EnglishWord]) -> list[JapaneseWord]:
    """An adjective before its noun: 大きい, or 静か な."""
    stem, ending = ADJECTIVES[adjective].split()
    if ending == "な":
        return [ja(stem, source), particle("な", source)]
    return [ja(adjective_form(stem, "い"), source)]


def adjective_form(stem: str, ending: str) -> str:
    """Add an ending to both the kanji and the kana of a stem: 大き/おおき + く → 大きく/おおきく."""
    return "/".join(part + ending for part in stem.split("/"))


def noun_phrase(
    dice: Dice,
    noun: str,
    determiner: str = "the",
    *,
    number: str = "",
    plural: bool = False,
    adjective: str = "",
    floating: bool = False,
    modifier: Phrase | None = None,
) -> Phrase:
    """Build one noun phrase.

    English: determiner, number, adjective, noun, modifier ("the two black cats under the table").
    Japanese: modifier, owner の, number counter の, adjective, noun (テーブル の 下 の 二 匹 の 黒い 猫).
    With `floating` the number and counter wait in `Phrase.floating`, to follow the case particle.
    """
    entry = NOUNS[noun]
    plural = plural or number not in ("", "one")
    head, number_words, adjective_words = en(entry.plural if plural else entry.singular), en(number), en(adjective)
    following = (number_words + adjective_words + head)[0].text
    if determiner == "a" and following[0] in "aeiou":
        determiner = "an"
    determiner_words = en(determiner.removesuffix("~"))

    japanese = list(modifier.japanese) if modifier else []
    silent = determiner.endswith("~")  # "he washed his car": the owner is the subject, and is not said
    determiner = determiner.removesuffix("~")
    own_parent = noun in OWN_PARENT and determiner == "my"
    if determiner == "this":
        japanese.append(ja("この", determiner_words))
    elif determiner in _POSSESSIVES and not own_parent and not silent:
        japanese += [ja(_POSSESSIVES[determiner], determiner_words), particle("の", determiner_words)]
    count = counted(number_words[0], entry.counter) if number else []
    if count and not floating:
        japanese += count + [particle("の", number_words)]
    if adjective:
        japanese += adjective_word(adjective, adjective_words)
        dice.note("adjective", adjective, noun, adjective_words + head)
    japanese.append(ja(OWN_PARENT[noun], determiner_words + head) if own_parent else ja(entry.japanese, head))
    if plural and not number and determiner != "no" and noun in GENERIC_PEOPLE:
        japanese.append(ja("たち", head))  # 子ども たち: people as a group, without a number
    if number:
        dice.note("number", number, noun, number_words + head)
    return Phrase(
        english=determiner_words + number_words + adjective_words + head + (modifier.english if modifier else []),
        japanese=japanese,
        heads=head,
        floating=count if floating else [],
        plural=plural,
    )


def pick_number(dice: Dice, noun: str, most: int = 10) -> str:
    """A number that is not more than `most`; small ones come up more often."""
    weights = {
        "two": 28,
        "three": 24,
        "four": 15,
        "five": 14,
        "six": 13,
        "ten": 50 if noun == "book" else 16,  # 十 冊 is the one word that is spelled jus
        "one": 24 if NOUNS[noun].counter == "人" else 5,
    }
    sizes = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "ten": 10}
    # Ten with the counter つ would be 十 (tou), without a counter: left out.
    return dice.weighted(
        {
            number: weight
            for number, weight in weights.items()
            if sizes[number] <= most and not (number == "ten" and NOUNS[noun].counter == "つ")
        }
    )


def pick_adjective(dice: Dice, noun: str, probability: float = 0.24, barred: tuple[str, ...] = ()) -> str:
    """Perhaps an adjective that suits `noun` and is not `barred` by the verb."""
    choices = [adjective for adjective in ADJECTIVES_OF[noun] if adjective not in barred]
    if NOUNS[noun].kind in ("adult", "kid"):
        probability *= 0.6  # people have few adjectives here, and they should not all be kind
    return dice.pick(choices) if choices and dice.chance(min(0.6, probability * dice.richness)) else ""


def possessives_for(noun: str, allowed: list[str]) -> list[str]:
    """Which of the `allowed` possessives suit `noun`. "my~" is "my" in a sentence about me: see `noun_phrase`."""
    if noun in OWN_PARENT:
        return [owner for owner in allowed if owner[:3] != "our"]
    return [owner for owner in allowed if noun in (_SHARED if owner[:3] == "our" else _OWN)]


# The forms that a noun takes in each use, with their weights; those that do not suit the noun are left out.
_FORMS = {
    "topic": {"the": 44, "the plural": 16, "owner": 22, "this": 7, "the number": 6},
    "new": {"a": 50, "number": 26, "many": 10},
    "object": {"the": 27, "a": 27, "number": 20, "bare plural": 6, "the plural": 6, "owner": 12, "this": 5, "many": 4},
    "usual object": {"bare plural": 55, "number": 8, "a": 10, "owner": 8, "the": 3},
    "eaten object": {"the": 30, "a": 29, "number": 22, "bare plural": 6, "the plural": 6, "owner": 12, "many": 4},
    "single object": {"the": 40, "a": 34, "owner": 18, "this": 8},
    "denied object": {"the": 40, "a": 14, "bare plural": 20, "owner": 14, "this": 10},
    "denied possession": {"a": 60, "bare plural": 30},
    "owned object": {"a": 50, "number": 32, "many": 8},
    "wanted object": {"a": 60, "number": 20, "this": 10},
    "companion": {"the": 30, "owner": 50},
}


def described(
    dice: Dice,
    noun: str,
    use: str,
    owners: list[str],
    most: int = 10,
    modified: float = 0.0,
    barred: tuple[str, ...] = (),
    floating: bool = True,
) -> Phrase:
    """A noun phrase with determiner, number, adjective and modifier chosen to suit its use.

    `use` is a key of `_FORMS`, or "general" (all of the kind, bare plural). `owners` are the possessives
    that may appear, `most` the greatest number, `modified` the chance of "the cat *under the table*",
    `barred` the adjectives that would not suit the verb. A number in an object floats behind が and を,
    but not behind に (`floating`).
    A "new" subject takes が, every other は.
    """
    entry = NOUNS[noun]
    owners = possessives_for(noun, owners)
    if entry.kind == "parent" or (noun == "friend" and use != "new"):  # nobody is just "the friend"
        return noun_phrase(dice, noun, dice.pick(owners or ["my"]), adjective=pick_adjective(dice, noun, 0.1))
    adjective = pick_adjective(dice, noun, barred=barred)
    if use == "general":
        return noun_phrase(dice, noun, "", plural=not entry.mass, adjective=adjective)
    if entry.mass:
        return noun_phrase(
            dice,
            noun,
            dice.pick(["", "the"])
            if use in ("object", "eaten object", "denied object")
            else "the"
            if use == "topic"
            else "",
            adjective=adjective,
        )
    counted_too = bool(entry.counter and entry.plural)
    form = dice.weighted(
        {
            form: weight
            for form, weight in _FORMS[use].items()
            if (counted_too or form in ("the", "a", "owner", "this"))
            and (owners or form != "owner")
            and (most > 4 or form != "many")
            and not (counted_too and use == "usual object" and form == "the")  # "buys the potato every day"
        }
    )
    owner = dice.pick(owners) if form == "owner" else ""
    numbers = {"number": pick_number(dice, noun, most), "many": "many", "the number": dice.pick(["two", "three"])}
    number = numbers.get(form, "")
    modifier = None
    spots = [spot for spot in WHERE.get(noun, []) if spot[1] not in PLACE_PREPOSITIONS]
    if form == "the" and spots and dice.chance(modified):
        modifier = place_phrase(dice, *dice.pick(spots), "の")  # the cat under the table
    determiner = owner or {"number": "", "many": "", "bare plural": ""}.get(form, form.split()[0])
    phrase = noun_phrase(
        dice,
        noun,
        determiner,
        number=number,
        plural=form in ("many", "bare plural", "the plural"),
        adjective=adjective,
        floating=floating and use.endswith("object"),
        modifier=modifier,
    )
    phrase.mark = "が" if use == "new" else "は"
    return phrase


def joined(first: Phrase, second: Phrase) -> Phrase:
    """Join two noun phrases: "and" is と. A particle after them links to both heads."""
    word = en("and")
    return Phrase(
        first.english + word + second.english,
        first.japanese + [particle("と", word)] + second.japanese,
        first.heads + second.heads,
        plural=True,
        mark=first.mark,
    )


def place_phrase(dice: Dice, preposition: str, noun: str, mark: str, owners: list[str] | None = None) -> Phrase:
    """A place, with the particle `mark` (に to be there, で to act there, を to pass through, の before a noun).

    The particle and the の 上 of "on" all link to the English preposition.
    """
    word = en(preposition)
    whole = PLACE_PREPOSITIONS.get(noun) == preposition or preposition in ("to", "from")
    if noun == "school" and whole and not dice.chance(0.15):
        place = noun_phrase(dice, noun, "")  # at school, to school: no article
    else:
        owners = possessives_for(noun, owners or [])
        owned = owners and noun in PLACE_PREPOSITIONS and dice.chance(0.3)
        place = noun_phrase(
            dice,
            noun,
            dice.pick(owners) if owned else "the",
            adjective=pick_adjective(dice, noun, 0.12, barred=_NOT_OF_PLACES),
        )
    relation = [] if whole else [particle("の", word), ja(_RELATIONS[preposition], word)]
    return Phrase(word + place.english, place.japanese + relation + [particle(mark, word)], place.heads)
