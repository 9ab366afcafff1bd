"""The word lists, their split, and what is said about a file that is wrong."""

import shutil

import pytest

from helpers.data import DATA_DIRECTORY, WORD_FILES, load_words, split_words
from helpers.text import Vocabulary


@pytest.fixture
def copy(tmp_path):
    for name in WORD_FILES.values():
        shutil.copy(DATA_DIRECTORY / name, tmp_path)
    return tmp_path


def test_the_lists_are_as_large_as_promised():
    words = load_words()
    kinds = list(words.values())
    assert kinds.count("animal") >= 600
    assert kinds.count("fruit") + kinds.count("vegetable") >= 250
    assert len(words) >= 1000
    assert words["flycatcher"] == "animal"


def test_no_regular_plural_beside_its_singular():
    words = load_words()
    plurals = [w for w in words for p in (w + "s", w + "es", w[:-1] + "ies") if p in words and p != w]
    assert plurals == []


def test_the_split_is_a_fixed_partition():
    words = list(load_words())
    split = split_words()
    assert sorted(sum(split, [])) == sorted(words)
    assert split == split_words(reversed(words))
    shares = [len(part) / len(words) for part in split]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.001)
    assert "flycatcher" in split.test  # chapter 5 looks inside a word that no model was trained on
    assert split.train[:3] == ["whitethroat", "nightingale", "redshank"]


def test_the_split_refuses_duplicates_and_tiny_sets():
    with pytest.raises(ValueError, match="'bee' more than once"):
        split_words(["bee"] + [f"word{i}" for i in range(20)] + ["bee"])
    with pytest.raises(ValueError, match="at least 10"):
        split_words(["bee", "cat"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Zebra", "line 736: 'Zebra' is not one lower-case word"),
        ("polar bear", "'polar bear' is not one lower-case word"),
        ("zz", "'zz' is not one lower-case word"),
        ("aardvark", "'aardvark' stands already in .*line 1"),
        ("aaa", "'aaa' comes after 'zebra'"),
        ("", "line 736: '' is not one lower-case word"),
    ],
)
def test_a_wrong_line_is_named(copy, line, message):
    with open(copy / "animals.txt", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=message):
        load_words(copy)


def test_a_word_in_two_files_is_named(copy):
    path = copy / "fruits.txt"
    path.write_text("\n".join(sorted([*path.read_text(encoding="utf-8").split(), "zebra"])) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="fruits.txt, line .*'zebra' stands already in .*animals.txt"):
        load_words(copy)


def test_a_missing_an_empty_and_a_binary_file_are_named(copy):
    (copy / "vegetables.txt").write_bytes(b"leek\n\xff\xfe\n")
    with pytest.raises(ValueError, match="vegetables.txt: not UTF-8 text .byte 5 is 0xff"):
        load_words(copy)
    (copy / "vegetables.txt").write_bytes(b"")
    with pytest.raises(ValueError, match="vegetables.txt: the file is empty"):
        load_words(copy)
    (copy / "vegetables.txt").unlink()
    with pytest.raises(FileNotFoundError, match="vegetables.txt: no such file"):
        load_words(copy)


def test_encoding_and_decoding_are_inverse_for_every_word():
    words = list(load_words())
    vocabulary = Vocabulary.from_words(words)
    assert len(vocabulary) == 29
    assert vocabulary.tokens(vocabulary.encode("cat")) == ["<BOS>", "c", "a", "t", "<EOS>"]
    batch = vocabulary.encode_batch(words)
    assert batch.shape == (len(words), max(map(len, words)) + 2)
    assert [vocabulary.decode(row) for row in batch] == words


def test_a_vocabulary_of_sentences():
    vocabulary = Vocabulary.from_sentences(["the cat sat .", "the dog ran ."])
    assert vocabulary.decode(vocabulary.encode("the dog sat .")) == "the dog sat ."
    assert len(vocabulary) == 3 + 6
