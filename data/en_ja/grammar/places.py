"""Where things and animals are, and where people do what they do."""

from __future__ import annotations

from .lexicon import GROWN_UPS, KIDS, PARENTS, PRODUCE

# Preposition of each place. Only these are places that one is "in", "at" or "on" as a whole.
PLACE_PREPOSITIONS = {
    place: preposition
    for preposition, places in {
        "in": "garden park house kitchen room river town",
        "at": "school library station shop hospital zoo",
        "on": "farm mountain",
    }.items()
    for place in places.split()
}

# Where each animal is met. "under tree" is a spot: a preposition and a thing.
_ANIMAL_PLACES = {
    "dog": "garden park house kitchen room,under table,under tree,near house,near chair,under chair",
    "cat": "garden park house kitchen room,under table,on table,on chair,in box,under tree,on car,under car",
    "rabbit": "garden park farm zoo,in box,under tree,near tree,near house",
    "mouse": "kitchen house room,under table,in box,under chair,in bag",
    "monkey": "mountain zoo,near river,near tree",
    "frog": "garden river park,near river,under tree",
    "fish": "river",
    "bird": "garden park mountain zoo,near river,near tree,on car,near station",
    "duck": "river park farm,near river,near house",
    "penguin": "zoo",
    "horse": "farm,near tree,near river,under tree",
    "cow": "farm,near river,under tree,near tree",
    "sheep": "farm mountain,near river,under tree",
    "bear": "mountain zoo,near river,near tree",
    "elephant": "zoo,near tree",
}
_PEOPLE_PLACES = (
    "park garden house kitchen room library station shop school hospital zoo farm,"
    "near station,under tree,near river,near school"
)
_SMALL_THING = "room kitchen house,on table,on chair,under table,under chair,in box,in bag"
_PRODUCE_PLACES = "kitchen shop,on table,in box,in bag"
_THING_PLACES = {
    "book": "library room house school,on table,on chair,in box,in bag,under chair",
    "letter": "room house,on table,in box,in bag",
    "newspaper": "room library kitchen,on table,on chair,in bag,under table",
    "picture": "room library house school,on table,in box",
    "pencil": "room school,on table,under table,in box,in bag,under chair",
    "flower": "garden park room mountain,on table,near house,near river,under tree",
    "tree": "garden park farm mountain,near house,near river,near school,near station",
    "hat": _SMALL_THING,
    "bag": "room kitchen house,on table,on chair,under table,under chair,in car",
    "box": "room kitchen house,on table,on chair,under table,in car",
    "chair": "room kitchen garden library,near table,under tree",
    "table": "room kitchen garden library,under tree",
    "piano": "room house school",
    "car": "shop,near house,near station,under tree,near park",
    "bicycle": "park shop,near house,near station,under tree,near school",
    "school": "town,near station,near river,near park",
    "library": "town,near station,near school,near park",
    "hospital": "town,near station,near school,near river",
    "park": "town,near station,near school,near house",
    "shop": "town,near station,near park,near school,near house",
    "zoo": "town,near station,near mountain,near river",
    "station": "town,near park,near river,near hospital",
    "house": "town,near station,near river,near park,near mountain",
    "farm": "near river,near mountain,near town",
    "river": "near house,near town,near school",
    "mountain": "near town,near house",
    "bread": "kitchen shop,on table,in bag,in box",
    "rice": "kitchen,on table",
    "milk": "kitchen shop,on table",
    "tea": "kitchen,on table",
    "coffee": "kitchen,on table",
    "water": "kitchen,on table",
}


def _spots(text: str) -> list[tuple[str, str]]:
    """Read "park garden,under tree" into (preposition, noun) pairs."""
    spots = []
    for index, part in enumerate(text.split(",")):
        words = part.split()
        if index == 0 and words[0] not in ("near", "on", "under"):
            spots += [(PLACE_PREPOSITIONS[word], word) for word in words]
        elif words[0] in ("near", "on", "under", "in"):
            spots.append((words[0], words[1]))
    return spots


# Where each noun can be: noun → list of (preposition, noun).
WHERE: dict[str, list[tuple[str, str]]] = {}
for _table in (_ANIMAL_PLACES, _THING_PLACES):
    for _noun, _text in _table.items():
        WHERE[_noun] = _spots(_text)
for _noun in PRODUCE + ["egg", "cake"]:
    WHERE[_noun] = _spots(_PRODUCE_PLACES)
for _noun in GROWN_UPS + KIDS + PARENTS:
    WHERE[_noun] = _spots(_PEOPLE_PLACES)

# Where people do them. Verbs of seeing use WHERE of what is seen.
_PLACES = {
    "eat": "kitchen park garden room house",
    "drink": "kitchen garden room park",
    "buy": "shop station town",
    "read": "library room park garden school house",
    "write": "room library school",
    "make": "kitchen",
    "wash": "garden kitchen",
    "meet": "station park library school shop hospital zoo",
    "find": "garden park room school house station kitchen",
    "play_piano": "school room house",
    "sing": "park garden room school",
    "sleep": "room house garden",
    "run": "park garden",
    "swim": "river",
    "walk": "park garden town",
    "play": "park garden room river school house",
    "work": "hospital school library shop station zoo farm",
    "ride": "park town",
}
PLACES = {verb: [(PLACE_PREPOSITIONS[p], p) for p in text.split()] for verb, text in _PLACES.items()}
PLACES["live"] = [("in", "town")] * 2 + [("near", place) for place in ("station", "river", "park", "school")]
DESTINATIONS = "school park library station shop hospital zoo mountain river town farm".split()
