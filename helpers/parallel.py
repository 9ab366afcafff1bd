"""Load parallel text: sentences in two languages, line by line, with word alignments where there are any.

Readers meet this through `helpers.data`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

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


def load_corpus(directory, read_lines):
    """Load every split of a directory; see `helpers.data.load_parallel`."""
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: no such directory; expected one with train.*, dev.* and test.* inside")
    source, target = languages(directory)
    names = sorted({path.stem for path in directory.glob(f"*.{source}")})
    missing = [name for name in SPLITS if name not in names]
    if missing:
        raise FileNotFoundError(f"{directory}: {missing[0]}.{source} is missing")
    return {name: load_split(directory, name, source, target, read_lines) for name in names}


def languages(directory):
    """Return the two language codes of a corpus, the source first: from `en_ja`, else in alphabetical order."""
    codes = sorted({path.suffix[1:] for path in directory.glob("train.*") if re.fullmatch(r"\.[a-z]{2}", path.suffix)})
    if len(codes) != 2:
        raise ValueError(
            f"{directory}: found train.* in the languages {codes}; there must be two, such as train.en, train.ja"
        )
    return codes[::-1] if directory.name == "_".join(codes[::-1]) else codes


def load_split(directory, name, source, target, read_lines):
    """Load one split and check that its files belong together."""
    columns = {}
    for suffix in (source, target, "romaji", "align"):
        path = directory / f"{name}.{suffix}"
        if path.exists() or suffix in (source, target):
            columns[suffix] = read_lines(path)
            check_lines(path, columns[suffix], columns[source], f"{name}.{source}")
    alignment = None
    if "align" in columns:
        rows = zip(columns["align"], columns[source], columns[target])
        alignment = [read_links(directory / f"{name}.align", i, *row) for i, row in enumerate(rows, 1)]
    if "romaji" in columns:
        for i, (a, b) in enumerate(zip(columns["romaji"], columns[target]), 1):
            if len(a.split()) != len(b.split()):
                raise ValueError(f"{directory / name}.romaji, line {i}: not as many tokens as in {name}.{target}")
    return ParallelText(columns[source], columns[target], columns.get("romaji"), alignment)


def check_lines(path, lines, first, first_name):
    """Raise a `ValueError` unless there are as many lines as in the first file, and none is empty."""
    if len(lines) != len(first):
        raise ValueError(f"{path}: {len(lines)} lines, but {first_name} has {len(first)}; line i must translate line i")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ValueError(f"{path}, line {number}: the line is empty")


def read_links(path, number, links, source, target):
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
