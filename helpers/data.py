"""Load what lies in `data/`, checked line by line: words, parallel text, sentences about agreement, your own text."""

import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

DATA_DIRECTORY = Path(__file__).resolve().parent.parent / "data"

WORD_FILES = {"animal": "animals.txt", "fruit": "fruits.txt", "vegetable": "vegetables.txt"}
WORD_PATTERN = re.compile(r"[a-z]{3,14}")

SPLIT_SEED = 5  # the one place where the split of the words is decided
SPLIT_SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


class Split(NamedTuple):
    """Three disjoint lists of words."""

    train: list[str]
    validation: list[str]
    test: list[str]


def _read_lines(path):
    """Return the lines of a UTF-8 text file without their line ends.

    A line ends where an editor says so, with LF or CRLF, and nowhere else: `str.splitlines` would also cut at form
    feeds and at U+2028, and then line i of one language no longer translates line i of the other. A byte order mark is
    dropped, and every kind of space counts as a space.

    Raises:
        FileNotFoundError: there is no such file; says where it was expected.
        ValueError: the file is not UTF-8 or holds nothing.
    """
    path = Path(path)
    if not path.is_file():
        ours = DATA_DIRECTORY in path.resolve().parents
        advice = "; it belongs to the repository, so check out data/ again" if ours else ""
        raise FileNotFoundError(f"{path}: no such file{advice}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start} is {error.object[error.start]:#04x})") from error
    if not text.strip():
        raise ValueError(f"{path}: the file is empty")
    lines = text.removesuffix("\n").split("\n")
    return [re.sub(r"[^\S \t]", " ", line.removesuffix("\r")) for line in lines]


def load_words(directory=DATA_DIRECTORY):
    """Return the names of animals, fruits and vegetables as a dictionary from word to kind.

    Args:
        directory: the folder with `animals.txt`, `fruits.txt` and `vegetables.txt`.

    Returns:
        `{"aardvark": "animal", ..., "zucchini": "vegetable"}`; `list(...)` of it gives the words.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line is not one lower-case word of 3 to 14 letters, is out of order, or stands twice
            (inside a file or across files). The message names file and line.
    """
    kinds, places = {}, {}
    for kind, name in WORD_FILES.items():
        path = Path(directory) / name
        previous = ""
        for number, word in enumerate(_read_lines(path), 1):
            here = f"{path}, line {number}"
            if not WORD_PATTERN.fullmatch(word):
                raise ValueError(f"{here}: {word!r} is not one lower-case word of 3 to 14 letters a-z")
            if word in places:
                raise ValueError(f"{here}: {word!r} stands already in {places[word]}")
            if word < previous:
                raise ValueError(f"{here}: {word!r} comes after {previous!r}; the file must be sorted")
            kinds[word], places[word], previous = kind, here, word
    return kinds


def split_words(words=None):
    """Return the series' one split of the words: 70 per cent train, 10 validation, 20 test.

    Models that are compared must be trained on the same words, so no chapter shuffles for itself.

    Args:
        words: the words to split, in any order (default: all of `load_words()`).

    Returns:
        `Split(train, validation, test)`, the same for the same set of words on every machine.

    Raises:
        ValueError: a word stands twice, or there are fewer than 10.
    """
    words = list(load_words() if words is None else words)
    if len(set(words)) != len(words):
        twice = next(word for word in words if words.count(word) > 1)
        raise ValueError(f"words holds {twice!r} more than once; a copy could end up on both sides of the split")
    if len(words) < 10:
        raise ValueError(f"words holds {len(words)} words; a split into three parts needs at least 10")
    words = sorted(words)
    random.Random(SPLIT_SEED).shuffle(words)
    first = round(SPLIT_SHARES["train"] * len(words))
    second = first + round(SPLIT_SHARES["validation"] * len(words))
    return Split(words[:first], words[first:second], words[second:])


def load_parallel(name_or_directory="en_ja"):
    """Return a parallel corpus as a dictionary from split to `ParallelText`.

    Args:
        name_or_directory: a folder of `data/`, or any directory with `train.en, train.ja, dev.*, test.*`: tokenised,
            one sentence a line, any two languages with two-letter codes. Further splits, and `.romaji` and `.align`
            beside a split, are loaded where they are. The source language is the first of a directory name such as
            `en_ja`, else the first in alphabetical order.

    Raises:
        FileNotFoundError: the directory or a file is missing.
        ValueError: files of one split have unequal numbers of lines, a line is empty, a file is not UTF-8, or an
            alignment does not fit; names file and line.
    """
    known = DATA_DIRECTORY / str(name_or_directory)
    return _load_corpus(known if known.is_dir() else name_or_directory)


SPLITS = ("train", "dev", "test")  # what every corpus has; it may have more


@dataclass(frozen=True)
class ParallelText:
    """One split: sentence i of `source` is translated by sentence i of `target`. Tokens are separated by one space.

    `romaji` holds the target's tokens in ASCII letters, one for one, or is None; `alignment` holds for each pair the
    set of (source position, target position) that translate each other, or is None.
    """

    source: list[str]
    target: list[str]
    romaji: list[str] | None = None
    alignment: list[set[tuple[int, int]]] | None = None

    def __len__(self):
        return len(self.source)


def _load_corpus(directory):
    """Load every split of a directory; see `load_parallel`."""
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: no such directory; expected one with train.*, dev.* and test.* inside")
    source, target = _languages(directory)
    names = sorted({path.stem for path in directory.glob(f"[!.]*.{source}")})  # not macOS's "._train.en"
    missing = [name for name in SPLITS if name not in names]
    if missing:
        raise FileNotFoundError(f"{directory}: {missing[0]}.{source} is missing")
    return {name: _load_split(directory, name, source, target) for name in names}


def _languages(directory):
    """Return the two language codes of a corpus, the source first: from `en_ja`, else in alphabetical order."""
    codes = sorted({path.suffix[1:] for path in directory.glob("train.*") if re.fullmatch(r"\.[a-z]{2}", path.suffix)})
    if len(codes) != 2:
        raise ValueError(
            f"{directory}: found train.* in the _languages {codes}; there must be two, such as train.en, train.ja"
        )
    return codes[::-1] if directory.name == "_".join(codes[::-1]) else codes


def _load_split(directory, name, source, target):
    """Load one split and check that its files belong together."""
    columns = {}
    for suffix in (source, target, "romaji", "align"):
        path = directory / f"{name}.{suffix}"
        if path.exists() or suffix in (source, target):
            columns[suffix] = _read_lines(path)
            _check_lines(path, columns[suffix], columns[source], f"{name}.{source}")
    alignment = None
    if "align" in columns:
        rows = zip(columns["align"], columns[source], columns[target])
        alignment = [_read_links(directory / f"{name}.align", i, *row) for i, row in enumerate(rows, 1)]
    if "romaji" in columns:
        for i, (a, b) in enumerate(zip(columns["romaji"], columns[target]), 1):
            if len(a.split()) != len(b.split()):
                raise ValueError(f"{directory / name}.romaji, line {i}: not as many tokens as in {name}.{target}")
    return ParallelText(columns[source], columns[target], columns.get("romaji"), alignment)


def _check_lines(path, lines, first, first_name):
    """Raise a `ValueError` unless there are as many lines as in the first file, and none is empty."""
    if len(lines) != len(first):
        raise ValueError(f"{path}: {len(lines)} lines, but {first_name} has {len(first)}; line i must translate line i")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ValueError(f"{path}, line {number}: the line is empty")


def _read_links(path, number, links, source, target):
    """Return the set of links of one line, `0-0 1-3` in the file (Pharaoh format)."""
    result = set()
    for link in links.split():
        match = re.fullmatch(r"(\d+)-(\d+)", link)
        if not match:
            raise ValueError(f"{path}, line {number}: {link!r} is not a link such as 0-3")
        i, j = int(match[1]), int(match[2])
        if i >= len(source.split()) or j >= len(target.split()):
            raise ValueError(f"{path}, line {number}: link {link} points outside its sentences")
        result.add((i, j))
    return result


AGREEMENT_SPLITS = ("train", "validation", "test", "structures", "nouns")


@dataclass(frozen=True)
class Agreement:
    """One split of `data/agreement`: `text[i]` is a sentence up to its verb, words separated by one space.

    `plural[i]` says whether its subject is, `subject[i]` is the subject's place among the words, counted from 0, and
    `attractors[i]` counts the other nouns, those that are plural beside a singular subject or the other way round.
    """

    text: list[str]
    plural: list[bool]
    subject: list[int]
    attractors: list[int]

    def __len__(self):
        return len(self.text)


class Labelled(NamedTuple):
    """Texts and their labels, line by line."""

    labels: list[str]
    texts: list[str]


def load_agreement(directory=DATA_DIRECTORY / "agreement"):
    """Return the sentences about number agreement as a dictionary from split to `Agreement`.

    The splits are `train`, `validation` and `test`; `structures`, sentences built in ways that `train` has not; and
    `nouns`, whose other nouns are in `train` only ever the subject.

    Args:
        directory: the folder with `train.tsv` and so on: number, text, the subject's place, attractors.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line has not four columns, or one of them makes no sense; names file and line.
    """
    return {name: _load_agreement_split(Path(directory) / f"{name}.tsv") for name in AGREEMENT_SPLITS}


def load_labelled(path):
    """Return labelled texts, one `label<TAB>text` a line, as `Labelled(labels, texts)`: for sentences of your own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not a label, one tab and a text; names file and line.
    """
    labels, texts = zip(*(columns for _, columns in _rows(path, ("label", "text"))))
    return Labelled(list(labels), list(texts))


def _load_agreement_split(path):
    """Load one file of `data/agreement` and check each line."""
    text, plural, subject, attractors = [], [], [], []
    for here, (number, sentence, place, others) in _rows(path, ("number", "text", "subject", "attractors")):
        if number not in ("singular", "plural"):
            raise ValueError(f"{here}: {number!r} is neither 'singular' nor 'plural'")
        words = sentence.split(" ")
        if not all(words):
            raise ValueError(f"{here}: two spaces together, or one at an end, in {sentence!r}")
        for name, value, limit in (("subject", place, len(words)), ("attractors", others, len(words))):
            if not re.fullmatch("[0-9]+", value) or int(value) >= limit:
                raise ValueError(f"{here}: {name} is {value!r}, not a whole number from 0 to {limit - 1}")
        text.append(sentence)
        plural.append(number == "plural")
        subject.append(int(place))
        attractors.append(int(others))
    return Agreement(text, plural, subject, attractors)


def _rows(path, names):
    """Yield for each line of a table where it stands and its columns, none of them empty."""
    expected = "<TAB>".join(names)
    for number, line in enumerate(_read_lines(path), 1):
        here = f"{path}, line {number}"
        columns = line.split("\t")
        if len(columns) != len(names):
            raise ValueError(f"{here}: {len(columns) - 1} tabs, expected {len(names) - 1}, as in {expected}: {line!r}")
        for name, column in zip(names, columns):
            if not column.strip():
                raise ValueError(f"{here}: the {name} is empty, expected {expected}: {line!r}")
        yield here, columns
