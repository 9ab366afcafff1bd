"""Tokens of any script on a picture: what to write where the font has no glyph."""

import functools
import re
import unicodedata
import warnings

from matplotlib import font_manager, rcParams

PLAIN = {"。": ".", "、": ",", "「": '"', "」": '"'}
SPELLED = re.compile(r"(?:LETTER|SYLLABLE|VOWEL SIGN|SOUND MARK)(?: SMALL| CAPITAL)? (\w+)$")  # ends of Unicode's names


def drawable(tokens):
    """Return tokens that the font of the pictures can write, as strings.

    A character that it lacks is spelled as Unicode names it (は becomes ha) or by its number (犬 becomes U+72AC). The
    first time there is a warning, which names a font that is installed and has it, if there is one.

    Args:
        tokens: anything that can be made strings.
    """
    tokens = [str(token) for token in tokens]
    known = _characters(_families())
    lacking = [c for token in tokens for c in token if ord(c) not in known and not c.isspace()]
    if lacking:
        _warn_once(lacking[0])
    return ["".join(c if c not in lacking else _spelled(c) for c in token) for token in tokens]


def _families():
    """Return the names of the fonts that matplotlib tries one after the other."""
    found = []
    for family in rcParams["font.family"]:
        found += rcParams.get(f"font.{family}", [family])
    return tuple(found)


@functools.cache
def _characters(families):
    """Return the numbers of the characters that at least one of these fonts has."""
    properties = font_manager.FontProperties
    paths = {font_manager.findfont(properties())}  # the last resort
    for family in families:
        try:
            paths.add(font_manager.findfont(properties(family=[family]), fallback_to_default=False))
        except ValueError:
            continue  # not installed
    return frozenset().union(*(font_manager.get_font(path).get_charmap() for path in paths))


def _spelled(character):
    """Return the letters that stand for a character."""
    plain = PLAIN.get(character, unicodedata.normalize("NFKC", character))
    if plain.isascii():
        return plain
    name = SPELLED.search(unicodedata.name(character, ""))
    return name[1].lower() if name else f"U+{ord(character):04X}"


WARNED = []  # once in a session


def _warn_once(character):
    """Say that a character is missing, and which installed font has it."""
    if WARNED:
        return
    WARNED.append(character)
    fonts = (
        font for font in font_manager.fontManager.ttflist if "Last Resort" not in font.name
    )  # which has boxes only
    having = (font.name for font in fonts if _has(font.fname, character))
    name = next(having, None)
    advice = f"plt.rcParams['font.sans-serif'] = [{name!r}]" if name else "no installed font has it; Noto Sans would"
    warnings.warn(
        f"the pictures' font has no {character} (U+{ord(character):04X}): such characters are spelled. To see it: {advice}",
        stacklevel=4,
    )


def _has(path, character):
    """Say whether a font file has a character; one that can't be read has none."""
    try:
        return ord(character) in font_manager.get_font(path).get_charmap()
    except (OSError, RuntimeError):
        return False
