"""The sentences about number agreement: what the card promises, and what is said about a file that is wrong."""

import re
import runpy
import shutil

import pytest

from helpers.data import AGREEMENT_SPLITS, DATA_DIRECTORY, load_agreement, load_labelled

BUILD = DATA_DIRECTORY / "agreement" / "build.py"


@pytest.fixture(scope="module")
def splits():
    return load_agreement()


@pytest.fixture(scope="module")
def grammar():
    return runpy.run_path(str(BUILD))


@pytest.fixture(scope="module")
def forms(grammar):
    """From each form of a noun to (the noun, whether plural)."""
    nouns = grammar["NOUNS"] + grammar["ALONE"]
    return {form: (one, form == many) for one, many in nouns for form in (one, many)}


@pytest.fixture
def copy(tmp_path):
    for name in AGREEMENT_SPLITS:
        shutil.copy(DATA_DIRECTORY / "agreement" / f"{name}.tsv", tmp_path)
    return tmp_path


def test_the_script_writes_these_files(grammar):
    for name, text in grammar["tables"]().items():
        assert (BUILD.parent / name).read_text(encoding="utf-8") == text


def test_the_splits_are_as_large_as_promised(splits):
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 6000, "validation": 600, "test": 2000, "structures": 1000, "nouns": 1000
    }  # fmt: skip
    for number in range(5):
        assert splits["test"].attractors.count(number) == 400
        assert splits["structures"].attractors.count(number) == 200
        assert splits["nouns"].attractors.count(number) == (250 if number else 0)
    assert sum(number >= 2 for number in splits["train"].attractors) > 1500
    for split in splits.values():
        assert 0.47 < sum(split.plural) / len(split) < 0.53


def test_label_place_and_attractors_are_right(splits, forms):
    for split in splits.values():
        for text, plural, place, attractors in zip(split.text, split.plural, split.subject, split.attractors):
            words = text.split()
            assert forms[words[place]][1] == plural
            others = [forms[word][1] for i, word in enumerate(words) if word in forms and i != place]
            assert sum(other != plural for other in others) == attractors


def test_no_sentence_comes_twice_even_with_other_numbers(splits, forms, grammar):
    bare = {form: noun for form, (noun, _) in forms.items()}
    bare |= {many: one for one, many, _ in grammar["SEEING"]}
    seen = [" ".join(bare.get(word, word) for word in text.split()) for split in splits.values() for text in split.text]
    assert len(set(seen)) == len(seen)


def test_every_word_of_every_split_is_trained_on(splits):
    known = {word for text in splits["train"].text for word in text.split()}
    assert len(known) == 83
    for split in splits.values():
        assert {word for text in split.text for word in text.split()} <= known


def skeleton(text, forms, grammar):
    """A sentence with its words replaced by their kinds; what says nothing of its structure is left out."""
    kinds = {word: "p" for word in grammar["PLACES"]} | {word: "i" for word in grammar["SLEEPING"]}
    kinds |= {form: kind for verbs in grammar["SEEING"] for form, kind in zip(verbs, ("see", "see", "v"))}
    kinds |= dict.fromkeys(forms, "n") | dict.fromkeys(
        grammar["OPENINGS"] + grammar["ADJECTIVES"] + grammar["ADVERBS"] + ["the"], ""
    )
    return " ".join(filter(None, (kinds.get(word, word) for word in text.split())))


def test_structures_are_new_and_some_nouns_are_trained_on_only_alone(splits, forms, grammar):
    def skeletons(name):
        return {skeleton(text, forms, grammar) for text in splits[name].text}

    assert not skeletons("structures") & skeletons("train")
    assert skeletons("nouns") <= skeletons("train")
    rare = {form for nouns in grammar["ALONE"] for form in nouns}
    for name in ("train", "validation", "test", "structures", "nouns"):
        split = splits[name]
        for text, place in zip(split.text, split.subject):
            words = text.split()
            beside = {word for i, word in enumerate(words) if word in forms and i != place}
            assert beside <= rare if name == "nouns" else not beside & rare
            assert words[place] not in rare or not beside


def test_counting_singular_and_plural_nouns_tells_nothing(splits, forms):
    """In sentences with nouns of both numbers the subject has the number of the majority half of the time."""
    split, right = splits["train"], []
    for text, plural in zip(split.text, split.plural):
        nouns = [forms[word][1] for word in text.split() if word in forms]
        if 0 < sum(nouns) < len(nouns) and 2 * sum(nouns) != len(nouns):
            right.append((2 * sum(nouns) > len(nouns)) == plural)
    assert len(right) > 1500
    assert abs(sum(right) / len(right) - 0.5) < 0.05


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("plural\tthe cats\t1", "line 6001: 2 tabs, expected 3, as in number<TAB>text<TAB>subject<TAB>attractors"),
        ("dual\tthe cats\t1\t0", "'dual' is neither 'singular' nor 'plural'"),
        ("plural\tthe  cats\t1\t0", "two spaces together"),
        ("plural\tthe cats\t2\t0", "subject is '2', not a whole number from 0 to 1"),
        ("plural\tthe cats\t1\t-1", "attractors is '-1'"),
        ("plural\t \t1\t0", "the text is empty"),
    ],
)
def test_a_wrong_line_is_named(copy, line, message):
    with open(copy / "train.tsv", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=re.escape(message)):
        load_agreement(copy)


def test_a_missing_file_is_named(copy):
    (copy / "nouns.tsv").unlink()
    with pytest.raises(FileNotFoundError, match="nouns.tsv: no such file"):
        load_agreement(copy)


def test_labelled_sentences(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text("good\tthe film was short\nbad\tthe film was long\n", encoding="utf-8")
    labels, texts = load_labelled(path)
    assert labels == ["good", "bad"]
    assert texts == ["the film was short", "the film was long"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("good the film\n", "mine.tsv, line 1: 0 tabs, expected 1, as in label<TAB>text: 'good the film'"),
        ("good\ta\nbad\tb\tc\n", "line 2: 2 tabs"),
        ("\tthe film\n", "line 1: the label is empty"),
        ("good\t\n", "line 1: the text is empty"),
        ("good\ta\n\nbad\tb\n", "line 2: 0 tabs"),
        ("", "mine.tsv: the file is empty"),
    ],
)
def test_a_wrong_file_of_labelled_sentences_is_named(tmp_path, content, message):
    path = tmp_path / "mine.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        load_labelled(path)
    with pytest.raises(FileNotFoundError, match="other.tsv: no such file"):
        load_labelled(tmp_path / "other.tsv")
