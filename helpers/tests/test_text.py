"""The tokenizer and its inverse, and a vocabulary that does not know every word."""

import random

import pytest

from helpers.text import Tokenizer, Vocabulary

SENTENCES = {  # in any script: tokens, and as text again
    "Hello, world!": ("hello , world !", "hello, world!"),
    'A man\'s dog (brown) isn’t "here".': ('a man ’ s dog ( brown ) isn ’ t " here " .', 'a man’s dog (brown) isn’t "here".'),
    "Er sagt: „Hallo“, und geht.": ("er sagt : „ hallo “ , und geht .", "er sagt: „hallo“, und geht."),
    "At 10:30 I paid 3.5 for 1,000 T-shirts...": (
        "at 10:30 i paid 3.5 for 1,000 t-shirts . . .", "at 10:30 i paid 3.5 for 1,000 t-shirts..."),
    "हिन्दी में लिखा है।": ("हिन्दी में लिखा है ।", "हिन्दी में लिखा है।"),
    "¿Qué tal, ﬁ?": ("¿ qué tal , ﬁ ?", "¿qué tal, ﬁ?"),
    "Cafe\u0301": ("caf\u00e9", "caf\u00e9"),
    "Кот, «пёс»": ("кот , « пёс »", "кот, «пёс»"),
    "犬 は 水 を 飲み ます 。": ("犬 は 水 を 飲み ます 。", "犬 は 水 を 飲み ます。"),
    "say 'so' \u200b now": ("say ' so ' now", "say 'so' now"),
    "": ("", ""),
}  # fmt: skip


@pytest.mark.parametrize("text", SENTENCES)
def test_tokens_and_text_again(text):
    tokens, again = SENTENCES[text]
    assert Tokenizer().tokenize(text) == tokens
    assert Tokenizer().detokenize(tokens) == again


def test_text_made_of_tokens_gives_the_same_tokens():
    """For whatever somebody may type: letters, marks, quotation marks, signs."""
    draw, letters = random.Random(0), "aбé'’-.,:\"(“”„)«»3 5 !%¿ \u0301क्\u200d😀_/=\u0338‘‚\0"
    for tokenizer in (Tokenizer(), Tokenizer(lower_case=False)):
        for _ in range(5000):
            tokens = tokenizer.tokenize("".join(draw.choice(letters) for _ in range(draw.randint(1, 9))))
            assert tokenizer.tokenize(tokenizer.detokenize(tokens)) == tokens


def test_case_is_kept_on_request():
    assert Tokenizer(lower_case=False).tokenize("The Dog.") == "The Dog ."


@pytest.mark.parametrize("method", ["tokenize", "detokenize"])
@pytest.mark.parametrize("text", [None, 3, ["a"]])
def test_the_tokenizer_wants_text(method, text):
    with pytest.raises(TypeError, match="text is"):
        getattr(Tokenizer(), method)(text)


def test_rare_words_become_unknown():
    vocabulary = Vocabulary.from_sentences(["the cat sat", "the dog sat"], min_count=2)
    assert vocabulary.symbols == ["<PAD>", "<BOS>", "<EOS>", "<UNK>", "sat", "the"] and vocabulary.unk_id == 3
    assert vocabulary.encode("the cow sat") == [1, 5, 3, 4, 2]
    assert vocabulary.decode([1, 5, 3, 4, 2, 0]) == "the <UNK> sat"
    assert vocabulary.unknown_in(["the cow sat", "a cow"]) == {"cow": 2, "a": 1}
    assert vocabulary.unknown_in(["the cow sat", "a cow"]).total() == 3


def test_without_unknown_nothing_changes():
    vocabulary = Vocabulary.from_sentences(["the cat sat"])
    assert vocabulary.symbols == ["<PAD>", "<BOS>", "<EOS>", "cat", "sat", "the"] and vocabulary.unk_id is None
    with pytest.raises(ValueError, match="unknown symbol 'cow' at position 1"):
        vocabulary.encode("the cow")


def test_a_vocabulary_is_made_again_from_its_own_symbols():
    for vocabulary in (
        Vocabulary.from_words(["cat"]),
        Vocabulary.from_sentences(["a b", "b c"]),
        Vocabulary.from_sentences(["a b", "b c"], min_count=2),
    ):
        again = Vocabulary(vocabulary.symbols, vocabulary.separator, vocabulary.max_length)
        assert again.symbols == vocabulary.symbols and again.unk_id == vocabulary.unk_id
    assert Vocabulary(["b", "a"], unknown=True).symbols[3:] == ["<UNK>", "a", "b"]


def test_a_text_that_holds_special_symbols_can_not_name_them():
    vocabulary = Vocabulary.from_sentences(["a <UNK> <PAD> b <EOS>", "a b"], unknown=True)
    assert vocabulary.symbols[3:] == ["<UNK>", "a", "b"]
    assert vocabulary.encode("a <PAD> <EOS> <UNK> b") == [1, 4, 3, 3, 3, 5, 2]
    ids = vocabulary.encode("a <PAD> b")
    assert vocabulary.decode(ids) == "a <UNK> b" and vocabulary.encode(vocabulary.decode(ids)) == ids
    with pytest.raises(ValueError, match="symbols holds one of <PAD>"):
        Vocabulary.from_sentences(["a <PAD>"])
    ours = Vocabulary.from_sentences(["a <UNK>"])  # a word like any other, where there is no unknown one
    assert ours.unk_id is None and ours.decode(ours.encode("a <UNK>")) == "a <UNK>"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_count": 0}, "min_count=0"),
        ({"min_count": 9}, "no word that occurs 9 times"),
        ({"min_count": 2, "unknown": False}, "unknown=False and min_count=2"),
    ],
)
def test_counts_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_sentences(["a a b"], **options)
