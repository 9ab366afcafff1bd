"""Who does what to what: the small world in which the sentences are plausible.

A grammar alone would let the carrot read the dog.
"""

from __future__ import annotations

from .lexicon import ANIMALS, PRODUCE

# What each animal eats and does.
EATS = {
    "dog": "bread egg cake apple",
    "cat": "fish egg bread",
    "rabbit": "carrot apple grass potato",
    "mouse": "bread potato apple cake",
    "monkey": "banana apple orange potato peach",
    "bird": "bread apple orange",
    "duck": "bread grass fish",
    "penguin": "fish",
    "horse": "carrot apple grass",
    "cow": "grass potato",
    "sheep": "grass",
    "bear": "fish apple peach",
    "elephant": "banana apple grass orange",
}
EATS = {animal: foods.split() for animal, foods in EATS.items()}
DRINKS = {
    animal: ["milk", "water"] if animal in ("cat", "dog") else ["water"]
    for animal in ANIMALS
    if animal not in ("fish", "frog", "penguin")
}
_DOES = {
    "sleep": "dog cat rabbit mouse monkey bird duck horse cow sheep bear elephant penguin",
    "run": "dog cat rabbit mouse horse",
    "swim": "dog duck penguin bear fish frog",
    "walk": "dog cat duck penguin horse cow sheep bear elephant",
    "play": "dog cat rabbit monkey",
    "sing_bird": "bird",
}
DOES = {verb: animals.split() for verb, animals in _DOES.items()}

# What people do things to. Coffee, cars and furniture are for grown-ups.
_FOODS = PRODUCE + ["egg", "cake", "bread"]
OBJECTS = {
    "eat": _FOODS + ["rice", "fish"],
    "drink": ["water", "milk", "tea", "coffee"],
    "buy": _FOODS
    + "fish milk tea coffee book newspaper hat bag car bicycle flower pencil chair table picture box".split(),
    "read": ["book", "letter", "newspaper"],
    "write": ["letter", "book"],
    "see": ANIMALS + "flower tree picture river mountain boy girl teacher student man woman train bus".split(),
    "make": "cake bread box chair table hat bag".split(),
    "wash": "dog horse car bicycle apple carrot tomato potato hat bag".split(),
    "find": "hat book bag pencil letter box dog cat picture flower".split(),
    "carry": "box bag chair table water".split(),
    "meet": "teacher doctor student boy girl man woman friend mother father child".split(),
    "ride": "bicycle horse bus train".split(),
    "play_piano": ["piano"],
    "have_pet": "dog cat rabbit bird horse fish duck cow".split(),
    "have": "car bicycle book bag hat piano pencil picture chair box".split(),
    "like": ANIMALS
    + _FOODS
    + (
        "rice fish tea coffee milk water book flower tree picture hat car park town garden library zoo "
        "river mountain house train"
    ).split(),
    "want": (
        "apple orange peach banana cake bread milk water tea coffee book hat bag car bicycle dog cat "
        "piano chair table pencil flower picture box egg"
    ).split(),
    "give": "flower book hat apple orange banana picture cake bag pencil".split(),
    "show": "picture letter book hat flower dog cat bicycle car bag".split(),
}
# What they do it to as a habit: nobody buys a car every morning.
USUAL_OBJECTS = {
    "eat": [noun for noun in OBJECTS["eat"] if noun != "onion"],
    "buy": _FOODS + ["milk", "newspaper", "flower"],
    "make": ["cake", "bread"],
    "write": ["letter"],
    "read": ["book", "newspaper"],
}
# Things that are named together: "a book and a pencil".
TOGETHER = [
    ("book", "letter", "newspaper", "pencil", "picture"),
    ("hat", "bag", "book"),
    ("chair", "table", "box", "piano", "picture"),
    ("car", "bicycle"),
    ("flower", "tree"),
]
# The greatest number that is plausible with a verb.
MOST = dict(eat=3, have=4, have_pet=6, find=4, give=3, show=3, wash=5, want=3, carry=6, meet=5, make=6, write=4, read=4)
GROWN_UP_OBJECTS = ["coffee", "car", "table", "piano", "elephant", "cow"]

# Combinations kept out of training, for the `new` split: verb and object, adjective and noun, number and noun.
_HELD_OUT = {
    "object": """
        eat peach, eat onion, buy newspaper, buy banana, see penguin, see horse, make box, wash bicycle, find
        pencil, carry chair, meet doctor, have rabbit, like sheep, like coffee, buy hat, give orange, show
        flower, drink tea
    """,
    "adjective": """
        white horse, red hat, small house, old bag, black cat, new chair, big apple, cute penguin, beautiful
        bird, heavy box, kind doctor, famous park, cheap egg, interesting picture, quiet library, delicious
        orange
    """,
    "number": """
        three rabbit, two pencil, two horse, three apple, three book, two girl, three bird, two egg, two cow,
        two car, three chair, three dog, two letter, three student, three flower, two carrot
    """,
}
HELD_OUT = {kind: [tuple(pair.split()) for pair in text.split(",")] for kind, text in _HELD_OUT.items()}
