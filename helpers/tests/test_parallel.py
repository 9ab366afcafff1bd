"""The English-Japanese corpus: what its data card promises, and what is said about files that are wrong."""

import subprocess
import sys

import pytest

from helpers.data import DATA_DIRECTORY, load_parallel


@pytest.fixture(scope="module")
def corpus():
    return load_parallel("en_ja")


@pytest.fixture
def small(tmp_path):
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.de").write_text("ein hund\nzwei hunde\n", encoding="utf-8")
        (tmp_path / f"{name}.fr").write_text("un chien\ndeux chiens\n", encoding="utf-8")
    return tmp_path


def test_the_corpus_is_what_the_script_builds():
    script = DATA_DIRECTORY / "en_ja" / "build.py"
    result = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, encoding="utf-8")
    assert result.returncode == 0, result.stdout + result.stderr


def test_sizes_and_lengths(corpus):
    assert {name: len(text) for name, text in corpus.items()} == {
        "train": 20_000, "dev": 1_000, "test": 1_000, "longer": 1_000, "new": 1_000, "patterns": 1_000,
    }  # fmt: skip
    lengths = {name: [len(s.split()) - 1 for s in text.source] for name, text in corpus.items()}  # without . or ?
    assert min(map(min, lengths.values())) == 3 and max(lengths["longer"]) == 16
    assert max(lengths["train"]) == 12 < min(lengths["longer"])


def test_no_sentence_is_in_two_splits_and_every_word_is_in_train(corpus):
    for side in ("source", "target"):
        seen = {}
        words = {w for sentence in getattr(corpus["train"], side) for w in sentence.split()}
        for name, text in corpus.items():
            for sentence in getattr(text, side):
                assert seen.setdefault(sentence, name) == name
                assert words.issuperset(sentence.split())


def test_a_sentence_has_one_translation(corpus):
    translations = {}
    for text in corpus.values():
        assert len(set(zip(text.source, text.target))) == len(text)
        for a, b in zip(text.source, text.target):
            assert translations.setdefault(a, b) == b


def test_every_japanese_token_is_aligned_and_romanised(corpus):
    for text in corpus.values():
        for target, romaji, links in zip(text.target, text.romaji, text.alignment):
            assert {j for _, j in links} == set(range(len(target.split())))
            assert romaji.isascii()


def test_any_directory_of_that_form_is_read(small):
    corpus = load_parallel(small)
    assert corpus["dev"].source == ["ein hund", "zwei hunde"] and corpus["dev"].target[1] == "deux chiens"
    assert corpus["test"].alignment is None
    (small / "train.align").write_text("0-0 1-1\n0-0\n", encoding="utf-8")
    assert load_parallel(small)["train"].alignment == [{(0, 0), (1, 1)}, {(0, 0)}]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("dev.fr", b"un chien\n", "dev.fr: 1 lines, but dev.de has 2"),
        ("test.de", b"ein hund\n\n", "test.de, line 2: the line is empty"),
        ("train.fr", b"un chien\n\xe9t\xe9\n", "train.fr: not UTF-8 text"),
        ("train.it", b"un cane\ndue cani\n", "there must be two"),
        ("dev.align", b"0-0\n0:1\n", "dev.align, line 2: '0:1' is not a link"),
        ("dev.align", b"0-0\n0-9\n", "line 2: link 0-9 points outside its sentences"),
        ("dev.align", b"0-0\n", "dev.align: 1 lines, but dev.de has 2"),
        ("dev.romaji", b"a b\na\n", "dev.romaji, line 2: not as many tokens"),
        ("dev.fr", b"", "dev.fr: the file is empty"),
    ],
)
def test_a_wrong_file_is_named(small, file, content, message):
    (small / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_parallel(small)


def test_a_missing_file_or_directory_is_named(small):
    (small / "dev.fr").unlink()
    with pytest.raises(FileNotFoundError, match="dev.fr"):
        load_parallel(small)
    (small / "dev.de").unlink()
    with pytest.raises(FileNotFoundError, match="dev.de is missing"):
        load_parallel(small)
    with pytest.raises(FileNotFoundError, match="no such directory"):
        load_parallel(small / "nowhere")
