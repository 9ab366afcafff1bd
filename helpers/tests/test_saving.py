"""A translator in one file: the same afterwards, and what is said about a file that is none."""

import inspect

import pytest
import torch

from helpers.saving import Translator, load_translator, save_translator
from helpers.seq2seq import Seq2Seq
from helpers.text import Tokenizer, Vocabulary
from helpers.transformer import Transformer, TransformerConfig

SOURCE = Vocabulary.from_sentences(["der hund", "der hund , ja !", "die katze !"], max_length=9, unknown=True)
TARGET = Vocabulary.from_sentences(["the dog , yes !", "the cat !"], min_count=2)


def transformer(**changes):
    torch.manual_seed(0)
    return Transformer(TransformerConfig(len(SOURCE), len(TARGET), 16, 2, 32, max_length=9, **changes))


def seq2seq(kind="bahdanau", **changes):
    torch.manual_seed(0)
    return Seq2Seq(len(SOURCE), len(TARGET), 16, attention=kind, **changes)


MODELS = {
    "Transformer": transformer,
    "tied, post-norm": lambda: transformer(tie_embeddings=True, norm_first=False, dropout=0.1),
    "bahdanau": seq2seq,
    "no attention": lambda: seq2seq("none", bidirectional=False),
    "luong": lambda: seq2seq("luong-concat", embedding_size=6, dropout=0.2),
    "luong, input feeding": lambda: seq2seq("luong-general", input_feeding=True),
}


@pytest.fixture
def translator():
    return Translator(transformer(), SOURCE, TARGET, Tokenizer(), Tokenizer())


@pytest.mark.parametrize("name", MODELS)
def test_what_is_loaded_translates_as_what_was_saved(name, tmp_path):
    made = Translator(MODELS[name](), SOURCE, TARGET, Tokenizer(), None, source_bos=name != "bahdanau")
    save_translator(tmp_path / "t.pt", made)
    before = torch.random.get_rng_state()
    loaded = load_translator(tmp_path / "t.pt")
    assert torch.equal(before, torch.random.get_rng_state())
    assert not loaded.model.training
    assert (loaded.source_vocabulary.symbols, loaded.source_vocabulary.max_length) == (SOURCE.symbols, 9)
    assert (loaded.target_tokenizer, loaded.source_tokenizer) == (None, Tokenizer())
    texts = ["Der Hund, ja!", "Die Kuh!"]
    assert (
        torch.equal(loaded.encode(texts), made.encode(texts)) and (loaded.encode(texts)[0, 0] == 1) == made.source_bos
    )
    for options in ({}, {"beam_size": 3, "max_length": 5}):
        assert loaded.translate(texts, **options) == made.translate(texts, **options)
    assert set(torch.load(tmp_path / "t.pt", weights_only=True)) >= {"format", "version", "weights"}


def test_every_argument_that_makes_a_seq2seq_is_in_the_file(tmp_path):
    save_translator(tmp_path / "t.pt", Translator(seq2seq(), SOURCE, TARGET))
    settings = torch.load(tmp_path / "t.pt", weights_only=True)["settings"]
    assert set(settings) == set(inspect.signature(Seq2Seq).parameters)


def test_sentences_come_and_go_as_people_write_them(translator):
    assert translator.tokenize(["Der Hund, ja!"]) == ["der hund , ja !"]
    assert translator.encode(["Der Wal!"]).tolist() == [SOURCE.encode("der wal !")]
    assert all(" ," not in text for text in translator.translate(["Der Hund, ja!"]))
    with pytest.raises(TypeError, match="texts must be a list of strings"):
        translator.translate("Der Hund")
    with pytest.raises(ValueError, match="more than max_length=9"):
        translator.translate(["der " * 20])


def test_no_half_file_and_the_old_one_stays(translator, tmp_path, monkeypatch):
    path = tmp_path / "t.pt"
    save_translator(path, translator)
    old = path.read_bytes()

    def full_disk(content, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_translator(path, translator)
    assert path.read_bytes() == old and [p.name for p in tmp_path.iterdir()] == ["t.pt"]


def change(**parts):
    """Return what writes a file whose content has some parts otherwise; None takes a part away."""

    def write(path):
        content = torch.load(path, weights_only=True) | parts
        torch.save({name: part for name, part in content.items() if part is not None}, path)

    return write


DAMAGED = {
    "empty": (lambda path: path.write_bytes(b""), "damaged, or no file that save_translator wrote"),
    "text": (lambda path: path.write_bytes(b"the dog"), "damaged, or no file"),
    "half": (lambda path: path.write_bytes(path.read_bytes()[:9000]), "damaged, or no file"),
    "a whole model": (lambda path: torch.save(transformer(), path), "damaged, or no file"),
    "weights alone": (lambda path: torch.save(transformer().state_dict(), path), "its format is None, not 'flycatcher tr"),
    "another format": (change(format="other"), "its format is 'other', not 'flycatcher translator'"),
    "a later version": (change(version=2), "version 2 of the format; this edition reads 1"),
    "another model": (change(kind="Mamba"), "damaged .KeyError: 'Mamba'"),
    "no weights": (change(weights=None), "damaged .KeyError: 'weights'"),
    "weights of another": (lambda path: change(weights=seq2seq().state_dict())(path), "damaged .RuntimeError"),
    "a setting too many": (change(target_tokenizer={"stemming": True}), "damaged .TypeError"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_another_file_is_refused_by_name(name, translator, tmp_path):
    damage, message = DAMAGED[name]
    path = tmp_path / "mine.pt"
    save_translator(path, translator)
    damage(path)
    with pytest.raises(ValueError, match=f"mine.pt: .*{message}"):
        load_translator(path)


def test_a_missing_folder_or_file_is_named(translator, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere"):
        save_translator(tmp_path / "nowhere" / "t.pt", translator)
    with pytest.raises(FileNotFoundError, match="t.pt: no such file"):
        load_translator(tmp_path / "t.pt")
