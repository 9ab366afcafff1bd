"""Load what lies in `data/`, checked line by line: words, parallel text, sentences about agreement, your own text."""

import gzip
import random
import re
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from helpers.common import check_choice, check_size

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
    dropped, and every kind of space counts as a space. A file whose name ends in `.gz` is unpacked.

    Raises:
        FileNotFoundError: there is no such file; says where it was expected.
        ValueError: the file is not UTF-8 text, holds nothing, or is no text of the kind (a web page, marks of a merge).
    """
    path = Path(path)
    if not path.is_file():
        ours = path.resolve().parent in (DATA_DIRECTORY, DATA_DIRECTORY / "en_ja", DATA_DIRECTORY / "agreement")
        advice = "; it belongs to the repository, so check out data/ again" if ours else ""
        raise FileNotFoundError(f"{path}: no such file{advice}")
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: not a whole gzip file ({error})") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{path}, line 1: not UTF-8 text but UTF-16; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, start = error.object[: error.start].count(b"\n") + 1, error.start
        raise ValueError(
            f"{path}: not UTF-8 text (byte {start} is {error.object[start]:#04x}, in line {line})"
        ) from error
    if not text.strip():
        raise ValueError(f"{path}: the file is empty")
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if len(lines) == 1 and "\r" in lines[0]:
        raise ValueError(f"{path}, line 1: the lines end in a carriage return alone; save the file with LF or CRLF")
    for number, line in enumerate(lines, 1):
        for what, found in NO_TEXT.items():
            if found(line):
                raise ValueError(f"{path}, line {number}: {what}: {line[:40]!r}")
    return [re.sub(r"[^\S \t]", " ", line) for line in lines]


NO_TEXT = {  # what a line holds that is no sentence, and how to see it
    "a zero byte, so this is no text file": lambda line: "\0" in line,
    "a mark of an unfinished merge": lambda line: line.startswith(("<<<<<<< ", ">>>>>>> ")),
    "the beginning of a web page, not the file itself": lambda line: line[:14].lower().startswith(("<!doctype html", "<html")),
    "a pointer of Git LFS, not the file itself": lambda line: line.startswith("version https://git-lfs"),
}  # fmt: skip


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


def load_parallel(
    name_or_directory="en_ja", source=None, target=None, *, empty="refuse", max_words=None, too_long="refuse"
):
    """Return a parallel corpus as a dictionary from split to `ParallelText`.

    Args:
        name_or_directory: a folder of `data/`, or any directory with `train.en, train.ja, dev.*, test.*`: one sentence
            a line, line i translating line i; `.gz` behind the name if it is packed. `val` is another name of `dev`. A
            missing test set is a warning. Further splits, and `.romaji` and `.align` beside a split, are loaded where
            they are. An end such as `en`, `deu`, `pt-BR` or `zh_Hans` names the language.
        source, target: the languages to translate from and to; needed only where there are more than two, or for the
            other direction. By default the source is the first of a directory name such as `en_ja`, else the first in
            alphabetical order.
        empty: what to do about an empty line: "refuse", or "drop" it and its translation; a warning says how many.
        max_words: most words of a line, words being what spaces separate; None for no limit.
        too_long: what to do about a longer line: "refuse", "drop" it and its translation, or "cut" it.

    Raises:
        FileNotFoundError: the directory or a file is missing.
        ValueError: files of one split have unequal numbers of lines, a line is empty or too long, a file is not UTF-8,
            an alignment does not fit, or a language is not there; names file and line.
    """
    check_choice("empty", empty, ("refuse", "drop"))
    check_choice("too_long", too_long, ("refuse", "drop", "cut"))
    if max_words is not None:
        check_size("max_words", max_words)
    known = DATA_DIRECTORY / str(name_or_directory)
    directory = known if known.is_dir() else Path(name_or_directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: no such directory; expected one with train.*, dev.* and test.* inside")
    pair = _languages(directory, source, target)
    suffixes = tuple(f".{pair[0]}{packed}" for packed in ("", ".gz"))
    paths = sorted(path.name for path in directory.glob("[!.]*"))  # not macOS's "._train.en"
    files = {name.removesuffix(suffix): name for name in paths for suffix in suffixes if name.endswith(suffix)}
    names = {name: name for name in files}  # from split to how its files are called
    if "dev" not in names:
        names["dev"] = next((names.pop(name) for name in ("val", "valid", "validation") if name in names), None)
    missing = [name for name in ("train", "dev") if not names.get(name)]
    if missing:
        or_val = f" (or val.{pair[0]})" * (missing[0] == "dev")
        raise FileNotFoundError(f"{directory}: {missing[0]}.{pair[0]} is missing{or_val}")
    if "test" not in names:
        warnings.warn(f"{directory}: there is no test.{pair[0]}; found {', '.join(sorted(names))}", stacklevel=2)
    splits = {}
    for name in sorted(names):
        splits[name], dropped = _load_split(directory, names[name], pair, empty, max_words, too_long)
        if dropped:
            warnings.warn(f"{directory}: dropped {dropped} pairs of {name}, empty or too long", stacklevel=2)
    return splits


@dataclass(frozen=True)
class ParallelText:
    """One split: sentence i of `source` is translated by sentence i of `target`. Tokens are separated by one space.

    `romaji` holds the tokens in ASCII letters, one for one, of Japanese or, where that is neither side, of the target;
    `alignment` holds for each pair the set of (source position, target position) that translate each other. Either may
    be None.
    """

    source: list[str]
    target: list[str]
    romaji: list[str] | None = None
    alignment: list[set[tuple[int, int]]] | None = None

    def __len__(self):
        return len(self.source)


LANGUAGE = re.compile(r"train\.([a-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*)(?:\.gz)?")
NO_LANGUAGE = {"txt", "tsv", "csv", "gz", "zip", "bpe", "tok", "md"}  # ends of file names


def _languages(directory, source, target):
    """Return the language codes of a corpus, the source first: as asked for, else from `en_ja`, else by alphabet."""
    matches = [LANGUAGE.fullmatch(path.name) for path in directory.iterdir()]
    there = sorted({match[1] for match in matches if match} - NO_LANGUAGE)
    if source is None and target is None:
        if len(there) != 2:
            raise ValueError(
                f"{directory}: found train.* in the languages {there}; there must be two, such as train.en, train.ja, or "
                "source= and target= say which"
            )
        return _in_order(directory, there)
    for name, code in (("source", source), ("target", target)):
        if code is not None and code not in there:
            raise ValueError(f"{directory}: {name}={code!r}, but train.* is in {', '.join(there) or 'no language'}")
    rest = [code for code in there if code not in (source, target)]
    if None in (source, target) and len(rest) != 1:
        raise ValueError(f"{directory}: {there} are its languages; say both source= and target=")
    pair = [source or rest[0], target or rest[0]]
    if source == target:
        raise ValueError(f"{directory}: source={source!r} and target={target!r} must differ")
    return pair


def _in_order(directory, codes):
    """Return two language codes, the source first, where nobody says which it is; links stand in this order, too."""
    first, second = sorted(codes)
    return [second, first] if directory.name in (f"{second}_{first}", f"{second}-{first}") else [first, second]


def _load_split(directory, name, pair, empty, max_words, too_long):
    """Load one split and check that its files belong together; return it and how many pairs were dropped."""
    columns, paths = _read_columns(directory, name, pair)
    kept = _rows_to_keep(columns, paths, pair, empty, max_words, too_long)
    alphabet = "ja" if "ja" in pair else pair[1]
    for row in kept if "romaji" in columns else ():
        if len(columns["romaji"][row].split()) != len(columns[alphabet][row].split()):
            raise ValueError(f"{paths['romaji']}, line {row + 1}: not as many tokens as in {paths[alphabet].name}")
    alignment = _read_alignment(columns, paths["align"], pair, kept) if "align" in columns else None
    texts = {code: [lines[row] for row in kept] for code, lines in columns.items()}
    if max_words is not None:
        texts = {code: [" ".join(line.split()[:max_words]) for line in lines] for code, lines in texts.items()}
        alignment = alignment and [{link for link in links if max(link) < max_words} for links in alignment]
    split = ParallelText(texts[pair[0]], texts[pair[1]], texts.get("romaji"), alignment)
    return split, len(columns[pair[0]]) - len(kept)


def _read_columns(directory, name, pair):
    """Return the lines and the path of each file of a split: its two languages and, where they are, romaji and links."""
    columns, paths = {}, {}
    for suffix in (*pair, "romaji", "align"):
        plain, packed = directory / f"{name}.{suffix}", directory / f"{name}.{suffix}.gz"
        path = packed if packed.exists() and not plain.exists() else plain
        if path.exists() or suffix in pair:
            columns[suffix], paths[suffix] = _read_lines(path), path
            here, first = len(columns[suffix]), len(columns[pair[0]])
            if here != first:
                advice = f"line i must translate line i, and line {min(here, first) + 1} stands alone"
                raise ValueError(f"{path}: {here} lines, but {paths[pair[0]].name} has {first}; {advice}")
    return columns, paths


def _rows_to_keep(columns, paths, pair, empty, max_words, too_long):
    """Return the rows of a split that stay; refuse an empty line or a long one unless it may be dropped or cut."""
    dropped = set()
    for suffix, lines in columns.items():
        for row, line in enumerate(lines):
            words = len(line.split())
            here = f"{paths[suffix]}, line {row + 1}"
            if not words and (empty == "refuse" or suffix not in pair) and row not in dropped:
                advice = "; empty='drop' leaves out such pairs" if suffix in pair else ""
                raise ValueError(f"{here}: the line is empty{advice}")
            long = max_words is not None and words > max_words and suffix in pair
            if long and too_long == "refuse":
                raise ValueError(f"{here}: {words} words, more than max_words={max_words}; too_long= says what to do")
            if not words or (long and too_long == "drop"):
                dropped.add(row)
    kept = [row for row in range(len(columns[pair[0]])) if row not in dropped]
    if not kept:
        raise ValueError(f"{paths[pair[0]]}: no pair is left, every line is empty or too long")
    return kept


def _read_alignment(columns, path, pair, kept):
    """Return the links of the rows that stay as (source position, target position), whichever the file has first."""
    first, second = _in_order(path.parent, pair)
    rows = [(row + 1, columns["align"][row], columns[first][row], columns[second][row]) for row in kept]
    alignment = [_read_links(path, *row) for row in rows]
    return alignment if first == pair[0] else [{(j, i) for i, j in links} for links in alignment]


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
