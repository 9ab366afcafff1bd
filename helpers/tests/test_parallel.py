"""The English-Japanese corpus: what its data card promises, and what is said about files that are wrong."""

import gzip
import subprocess
import sys
import warnings

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


DOG = "ein hund\nzwei hunde\n"


def write(**files):
    """Return what writes files, `train_de="..."` for `train.de`; bytes as they are, None deletes."""

    def damage(folder):
        for name, content in files.items():
            path = folder / name.replace("_", ".")
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def turn_into_folder(folder):
    (folder / "dev.fr").unlink()
    (folder / "dev.fr").mkdir()


MALFORMED = {  # what is wrong: (how, what load_parallel is told, what it says)
    "a line too few": (write(dev_fr="un chien\n"), {}, "dev.fr: 1 lines, but dev.de has 2; .*, and line 2 stands alone"),
    "a line too many": (write(dev_fr="a\nb\nc\n"), {}, "dev.fr: 3 lines, but dev.de has 2; .*, and line 3 stands alone"),
    "an empty line": (write(test_de="ein hund\n\n"), {}, "test.de, line 2: the line is empty; empty='drop'"),
    "a line of spaces": (write(test_fr=" \u3000\nun chien\n"), {}, "test.fr, line 1: the line is empty"),
    "nothing but empty lines": (write(dev_fr="un\n\n", dev_de="\nein"), {"empty": "drop"}, "dev.de: no pair is left"),
    "an empty file": (write(dev_fr=b""), {}, "dev.fr: the file is empty"),
    "Latin-1": (write(train_fr=b"un chien\n\xe9t\xe9\n"), {}, "train.fr: not UTF-8 text .byte 9 is 0xe9, in line 2"),
    "UTF-16": (write(train_fr=DOG.encode("utf-16")), {}, "train.fr, line 1: not UTF-8 text but UTF-16"),
    "zeros": (write(train_fr=b"un\nchien\0\n"), {}, "train.fr, line 2: a zero byte"),
    "ends of an old Mac": (write(dev_de=DOG.replace("\n", "\r")), {}, "dev.de, line 1: the lines end in a carriage return"),
    "a merge": (write(dev_de="ein hund\n<<<<<<< HEAD\n"), {}, "dev.de, line 2: a mark of an unfinished merge"),
    "a web page": (write(dev_de="<!DOCTYPE html>\n<p>Not found\n"), {}, "dev.de, line 1: the beginning of a web page"),
    "a pointer": (write(dev_de="version https://git-lfs.github.com/spec/v1\noid\n"), {}, "dev.de, line 1: a pointer of Git"),
    "packed but not so": (write(dev_de=None, dev_de_gz=DOG), {}, "dev.de.gz: not a whole gzip file"),
    "half a packed file": (write(dev_de=None, dev_de_gz=gzip.compress(DOG.encode())[:-9]), {}, "dev.de.gz: not a whole gzip"),
    "Latin-1, packed": (
        write(dev_de=None, dev_de_gz=gzip.compress(b"ein\nw\xfcrde\n")), {}, "dev.de.gz: not UTF-8 text .*in line 2"),
    "a long line": (
        write(train_de="ein hund\n" + "sehr " * 300 + "\n"), {"max_words": 200}, "train.de, line 2: 300 words, more than max"),
    "three languages": (write(train_it=DOG), {}, "there must be two, .*or source= and target= say which"),
    "three, and one named": (write(train_it=DOG), {"source": "it"}, "say both source= and target="),
    "one language": (write(train_fr=None), {}, "train.* in the languages .'de'.; there must be two"),
    "a language that is not there": (write(), {"source": "ru"}, "source='ru', but train.* is in de, fr"),
    "one language twice": (write(), {"source": "fr", "target": "fr"}, "source='fr' and target='fr' must differ"),
    "a link": (write(dev_align="0-0\n0:1\n"), {}, "dev.align, line 2: '0:1' is not a link"),
    "a link outside": (write(dev_align="0-0\n0-9\n"), {}, "dev.align, line 2: link 0-9 points outside its sentences"),
    "links missing": (write(dev_align="0-0\n"), {}, "dev.align: 1 lines, but dev.de has 2"),
    "an empty line of links": (write(dev_align="0-0\n\n"), {"empty": "drop"}, "dev.align, line 2: the line is empty"),
    "other letters": (write(dev_romaji="a b\na\n"), {}, "dev.romaji, line 2: not as many tokens as in dev.fr"),
    "no dev set": (write(dev_de=None, dev_fr=None), {}, "dev.de is missing .or val.de."),
    "one side missing": (write(dev_fr=None), {}, "dev.fr: no such file$"),
    "a folder": (turn_into_folder, {}, "dev.fr: no such file$"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_corpus_gets_a_sentence_that_names_file_and_line(small, case):
    damage, options, message = MALFORMED[case]
    damage(small)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_parallel(small, **options)


def test_a_missing_directory_is_named_and_only_our_own_files_are_fetched_again(small, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no such directory"):
        load_parallel(small / "nowhere")
    monkeypatch.setattr("helpers.data.DATA_DIRECTORY", small.parent)
    (small / "dev.fr").unlink()
    with pytest.raises(FileNotFoundError, match="dev.fr: no such file$"):
        load_parallel(small.name)  # a folder of the reader's own in data/
    small.rename(small.parent / "en_ja")
    with pytest.raises(FileNotFoundError, match="check out data/ again"):
        load_parallel("en_ja")


def test_val_is_another_name_of_dev_and_files_may_be_packed(small):
    expected = load_parallel(small)
    for path in [*small.glob("dev.*"), *small.glob("train.de")]:
        name = f"{path.name.replace('dev', 'val')}.gz"
        (small / name).write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert load_parallel(small) == expected


def test_a_missing_test_set_is_a_warning(small):
    for path in small.glob("test.*"):
        path.rename(small / path.name.replace("test", "test_2016_flickr"))
    with pytest.warns(UserWarning, match="there is no test.de; found dev, test_2016_flickr, train"):
        corpus = load_parallel(small)
    assert set(corpus) == {"train", "dev", "test_2016_flickr"}


def test_languages_and_directions(small, tmp_path):
    for split in ("train", "dev", "test"):
        (small / f"{split}.pt-BR").write_text("um cachorro\ndois cachorros\n", encoding="utf-8")
    corpus = load_parallel(small, "pt-BR", "de")
    assert corpus["test"].source[0] == "um cachorro" and corpus["test"].target[0] == "ein hund"
    for path in small.glob("*.fr"):
        path.unlink()
    assert load_parallel(small)["train"].source[0] == "ein hund"
    assert load_parallel(small, target="de")["train"].source[0] == "um cachorro"
    assert load_parallel(small, source="pt-BR") == load_parallel(small, target="de")


def test_the_other_direction_of_our_corpus(corpus):
    back = load_parallel("en_ja", source="ja")
    for name in ("dev", "longer"):
        there, here = corpus[name], back[name]
        assert (there.source, there.target, there.romaji) == (here.target, here.source, here.romaji)
        assert here.alignment == [{(j, i) for i, j in links} for links in there.alignment]


def test_empty_lines_are_dropped_in_pairs_and_counted(small):
    (small / "train.de").write_text("ein\n\nzwei\ndrei\n", encoding="utf-8")
    (small / "train.fr").write_text("un\ndeux\n \ntrois\n", encoding="utf-8")
    (small / "train.align").write_text("0-0\n\n0-0\n0-0\n", encoding="utf-8")
    with pytest.warns(UserWarning, match="dropped 2 pairs of train, empty or too long"):
        train = load_parallel(small, empty="drop")["train"]
    assert (train.source, train.target, len(train.alignment)) == (["ein", "drei"], ["un", "trois"], 2)


def test_long_lines_are_cut_or_dropped(small):
    (small / "train.de").write_text("ein sehr großer hund\nein hund\n", encoding="utf-8")
    (small / "train.align").write_text("0-0 3-1\n1-1\n", encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cut = load_parallel(small, max_words=2, too_long="cut")["train"]
        assert cut.source == ["ein sehr", "ein hund"] and cut.alignment == [{(0, 0)}, {(1, 1)}]
        assert load_parallel(small, max_words=4)["train"].source[0] == "ein sehr großer hund"
    with pytest.warns(UserWarning, match="dropped 1 pairs of train"):
        dropped = load_parallel(small, max_words=2, too_long="drop")["train"]
    assert (dropped.source, dropped.target, dropped.alignment) == (["ein hund"], ["deux chiens"], [{(1, 1)}])
