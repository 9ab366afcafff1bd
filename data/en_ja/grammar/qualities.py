"""What each adjective is said of."""

from __future__ import annotations

from .lexicon import NOUNS, PRODUCE

# Adjective → what it is said of.
_QUALITIES = {
    "big": (
        "dog rabbit bear horse cow elephant fish bird box bag chair table house car tree flower park zoo "
        "library school hospital station river mountain town garden kitchen farm apple orange carrot "
        "potato onion tomato peach hat cake piano picture room shop"
    ),
    "small": (
        "dog cat rabbit mouse bird frog fish penguin horse monkey duck box bag chair table house car "
        "bicycle tree flower park library school hospital station town garden kitchen farm room apple egg "
        "potato hat river cake shop picture"
    ),
    "new": (
        "book hat chair table car bicycle house school library hospital station shop pencil piano bag bus "
        "train park zoo"
    ),
    "old": (
        "book letter hat chair table car bicycle house school library hospital station piano picture tree "
        "town newspaper bag box bus train shop"
    ),
    "red": "apple flower hat car bicycle box pencil chair bag bus train tomato",
    "white": "cat dog rabbit horse bird sheep mouse duck flower house car hat box chair table cow bag egg",
    "black": "cat dog rabbit horse bird cow bear hat car box bicycle piano pencil bag chair",
    "cute": "cat dog rabbit bird duck penguin child hat monkey sheep bag",
    "young": "man woman doctor teacher",
    "busy": "man woman doctor teacher student",
    "kind": "teacher doctor man woman boy girl student friend",
    "expensive": "car hat bicycle piano picture book bag cake peach shop",
    "cheap": "car hat bicycle book bread apple orange banana egg potato onion pencil bag tomato shop",
    "delicious": " ".join(PRODUCE[:4]) + " tomato potato carrot bread rice cake egg tea coffee milk water",
    "sweet": "apple orange banana peach tomato cake",
    "cold": "water milk tea coffee",
    "heavy": "bag box book chair table piano",
    "interesting": "book letter picture newspaper",
    "beautiful": "flower bird garden park picture house river mountain town tree horse fish hat bag",
    "quiet": "park town library room garden house hospital shop",
    "famous": "picture book doctor teacher shop park zoo school mountain river town library hospital",
}
QUALITIES = {adjective: nouns.split() for adjective, nouns in _QUALITIES.items()}
ADJECTIVES_OF = {noun: [a for a, nouns in QUALITIES.items() if noun in nouns] for noun in NOUNS}

# Pairs of adjectives that are said together: "the apple is red and sweet".
_PAIRS = """
red sweet, red big, big heavy, small cute, white cute, black big, quiet beautiful, big beautiful, cheap
delicious, sweet delicious, cold delicious, small quiet, big quiet, young kind, old heavy, old small, new big,
new beautiful, black heavy, white small, famous beautiful, small cheap, kind busy, young famous, heavy black,
sweet big, sweet cheap
"""
ADJECTIVE_PAIRS = [tuple(pair.split()) for pair in _PAIRS.replace("\n", " ").split(",")]

# Adjectives that do not suit the object of a verb: nobody writes an old letter, and no horse looks at prices.
BARRED = {
    "write": ("old", "new", "beautiful"),
    "make": ("old", "new", "expensive", "cheap", "heavy", "sweet"),
    "find": ("expensive", "cheap", "cute", "interesting"),
    "wash": ("expensive", "cheap", "new", "delicious", "sweet"),
    "give": ("heavy", "cheap"),
    "carry": ("cheap",),
    "see": ("delicious",),
    "animal": ("cheap", "expensive", "delicious"),
    "eat": ("beautiful", "cheap", "expensive"),
}
# What nobody adds to what was not done: "i do not want delicious oranges".
PRAISE = ("delicious", "sweet", "beautiful", "interesting", "cute", "cheap", "kind", "famous")
# Qualities that pass, and so are said in the past; the others only now and then.
PASSING = ["delicious", "sweet", "cold", "interesting", "busy", "beautiful", "quiet", "heavy", "expensive", "cheap"]
COLOURS = ["red", "white", "black"]
