"""From text to tensors: the tokenizer, the vocabulary, encoding and padding."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

import torch

from helpers.common import check_choice, check_size, check_texts

PAD, BOS, EOS, UNK = "<PAD>", "<BOS>", "<EOS>", "<UNK>"

# Marks (accents, the vowel signs of many scripts) belong to words, but Python's \w leaves them out.
MARKS = "".join(c for c in map(chr, range(0x300, 0xFFF0)) if unicodedata.category(c)[0] == "M") + "\u200c\u200d"
LETTER = rf"[\w{MARKS}]"
TOKEN = re.compile(rf"\d+(?:[.,:]\d+)+|{LETTER}+(?:-{LETTER}+)*|\S")
APOSTROPHE = re.compile(rf"(?<={LETTER})['’](?={LETTER})")
INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")  # soft hyphen, spaces without width, byte order mark
QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "'", "„": "“", "‚": "‘", "«": "»", "»": "«", "‹": "›", "›": "‹"}
TO_THE_LEFT = set(".,;:!?…%‰°、。，．！？；：،؛؟।॥”›»")


@dataclass(frozen=True)
class Tokenizer:
    """Set punctuation apart, in any script, and put it back. Scripts without spaces need a segmenter before it.

    Ours: sacremoses has finer rules, language by language, but is one more package to install in Colab.

    A word is a run of letters, digits and marks, hyphens inside; numbers such as 3.5 and 10:30 stay whole. An
    apostrophe inside a word becomes the token ’, any other the quotation mark '. Soft hyphens and the like are dropped.

    Args:
        lower_case: whether to write everything in lower case, which `detokenize` can't undo.
    """

    lower_case: bool = True

    def __post_init__(self):
        check_choice("lower_case", self.lower_case, (True, False))

    def tokenize(self, text):
        """Return the tokens of a text, one space between two.

        Raises:
            TypeError: `text` is not a string.
        """
        if not isinstance(text, str):
            raise TypeError(f"text is {type(text).__name__}, not a string: {text!r}")
        text = unicodedata.normalize("NFC", INVISIBLE.sub("", text))
        text = unicodedata.normalize("NFC", text.lower()) if self.lower_case else text
        inside = APOSTROPHE.sub("\0", text.replace("\0", " ")).replace("’", "'").replace("\0", "’")
        return " ".join(TOKEN.findall(inside))

    def detokenize(self, text):
        """Return tokens as text: no space before a comma or after a bracket; tokenized again it gives the same tokens.

        Raises:
            TypeError: `text` is not a string.
        """
        if not isinstance(text, str):
            raise TypeError(f"text is {type(text).__name__}, not a string: {text!r}")
        result, glued, open_quotes = "", True, []
        for token in text.split():
            closes = bool(open_quotes) and token == QUOTES[open_quotes[-1]]
            opens = not closes and token in QUOTES
            if closes:
                open_quotes.pop()
            elif opens:
                open_quotes.append(token)
            kind = unicodedata.category(token[0]) if len(token) == 1 else ""
            left = token == "’" or closes or (not opens and (token in TO_THE_LEFT or kind == "Pe"))
            result += token if glued or left else f" {token}"
            glued = token == "’" or opens or (not closes and (kind == "Ps" or token in "¿¡"))
        return result


class Vocabulary:
    """A numbering of symbols: the letters of words, or the words of sentences.

    Ids 0, 1 and 2 are `<PAD>`, `<BOS>` (beginning of sequence) and `<EOS>` (end of sequence), with `unknown` id 3 is
    `<UNK>` (a symbol that the vocabulary lacks); the others follow in sorted order, so that the same data gives the
    same numbers on every machine.

    Args:
        symbols: the symbols, in any order, without the special ones; or another vocabulary's `symbols`, with them.
        separator: what stands between two symbols of a text: "" for letters, " " for words.
        max_length: the longest encoded text allowed, `<BOS>` and `<EOS>` counted; None for no limit.
        unknown: whether there is an `<UNK>`; else a symbol that the vocabulary lacks is an error.
    """

    pad_id, bos_id, eos_id = 0, 1, 2

    def __init__(self, symbols, separator="", max_length=None, unknown=False):
        symbols = check_texts("symbols", symbols)
        check_choice("unknown", unknown, (True, False))
        if not isinstance(separator, str):
            raise TypeError(f"separator={separator!r} must be a string")
        if max_length is not None:
            check_size("max_length", max_length)
        special = [PAD, BOS, EOS]
        if symbols[:3] == special:  # those of another vocabulary
            unknown = unknown or symbols[3:4] == [UNK]
            symbols = symbols[4:] if symbols[3:4] == [UNK] else symbols[3:]
        special += [UNK] * unknown
        symbols = sorted(set(symbols))
        if any(not symbol or (separator and separator in symbol) for symbol in symbols):
            raise ValueError(f"symbols holds an empty symbol, or one with the separator {separator!r} in it")
        if set(special) & set(symbols):
            raise ValueError(f"symbols holds one of {', '.join(special)}; those are added by the vocabulary itself")
        self.unk_id = special.index(UNK) if unknown else None
        self.symbols = [*special, *symbols]
        self.separator = separator
        self.max_length = max_length
        self._ids = {symbol: number for number, symbol in enumerate(self.symbols) if number >= len(special)}

    @classmethod
    def from_words(cls, words, max_length=16):
        """Number the letters that occur in `words`. The default leaves room for 14 letters, `<BOS>` and `<EOS>`."""
        words = check_texts("words", words)
        return cls({letter for word in words for letter in word}, separator="", max_length=max_length)

    @classmethod
    def from_sentences(cls, sentences, max_length=None, min_count=1, unknown=None):
        """Number the words that occur in `sentences`, which are tokenized: one space between two words.

        Args:
            sentences: a list of strings.
            max_length: as for the class.
            min_count: how often a word must occur to get a number.
            unknown: whether there is an `<UNK>` for all others; by default where `min_count` leaves words out.

        Raises:
            TypeError, ValueError: no list of strings, numbers that make no sense, a sentence that holds a special
                symbol (unless there is an `<UNK>`, which it then becomes), or no word that is frequent enough.
        """
        sentences = check_texts("sentences", sentences)
        check_size("min_count", min_count)
        check_choice("unknown", unknown, (True, False, None))
        unknown = min_count > 1 if unknown is None else unknown
        if min_count > 1 and not unknown:
            raise ValueError(f"unknown=False and min_count={min_count}: rare words need an <UNK>")
        counts = Counter(word for sentence in sentences for word in sentence.split())
        words = {word for word, n in counts.items() if n >= min_count}
        words -= {PAD, BOS, EOS, UNK} if unknown else set()
        if not words:
            raise ValueError(f"sentences has no word that occurs {min_count} times or more (min_count)")
        return cls(words, " ", max_length, unknown)

    def __len__(self):
        return len(self.symbols)

    def __repr__(self):
        return f"Vocabulary({len(self)} symbols: {' '.join(self.symbols[:6])} ...)"

    def split(self, text):
        """Cut a text into its symbols."""
        return list(text) if self.separator == "" else text.split()

    def unknown_in(self, texts):
        """Return a `Counter` of the symbols of `texts` that the vocabulary lacks; `.total()` says how many they are."""
        symbols = (symbol for text in check_texts("texts", texts) for symbol in self.split(text))
        return Counter(symbol for symbol in symbols if symbol not in self._ids)

    def encode(self, text):
        """Return the ids of `<BOS>`, the symbols of `text`, `<EOS>` as a list of integers.

        A symbol that the vocabulary lacks is an `<UNK>` where there is one. A text can't name `<PAD>` and the like.

        Raises:
            TypeError: `text` is not a string.
            ValueError: `text` is empty, holds a symbol that the vocabulary lacks, or is too long; names it.
        """
        if not isinstance(text, str):
            raise TypeError(f"text is {type(text).__name__}, not a string: {text!r}")
        symbols = self.split(text)
        if not symbols:
            raise ValueError("text is empty; there is nothing to encode")
        if self.unk_id is None:
            for place, symbol in enumerate(symbols):
                if symbol not in self._ids:
                    raise ValueError(f"unknown symbol {symbol!r} at position {place} of {text!r}")
        if self.max_length is not None and len(symbols) + 2 > self.max_length:
            raise ValueError(
                f"{text!r} has {len(symbols)} symbols; with <BOS> and <EOS> that is more than max_length={self.max_length}"
            )
        return [self.bos_id, *(self._ids.get(symbol, self.unk_id) for symbol in symbols), self.eos_id]

    def decode(self, ids):
        """Return the text of `ids`: a leading `<BOS>` and padding are dropped, and it ends before the first `<EOS>`.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        symbols = self.tokens(ids)
        if EOS in symbols:
            symbols = symbols[: symbols.index(EOS)]
        return self.separator.join(symbol for symbol in symbols if symbol not in (PAD, BOS))

    def tokens(self, ids):
        """Return every id's symbol, the special ones too: what stands on the axes of a heat map.

        Raises:
            TypeError: `ids` are not whole numbers.
            ValueError: an id is outside the vocabulary.
        """
        ids = torch.as_tensor(ids)
        if ids.numel() and (ids.is_floating_point() or ids.dtype == torch.bool):
            raise TypeError(f"ids has dtype {ids.dtype}; ids are whole numbers")
        numbers = [int(number) for number in ids.flatten().tolist()]
        outside = [number for number in numbers if not 0 <= number < len(self.symbols)]
        if outside:
            raise ValueError(f"ids: id {outside[0]} is outside the vocabulary of {len(self.symbols)} symbols")
        return [self.symbols[number] for number in numbers]

    def encode_batch(self, texts, device=None):
        """Encode texts into one tensor, padded on the right with `<PAD>` to the longest.

        Args:
            texts: a list of B texts.
            device: where the tensor is made.

        Returns:
            ids, (B, T) of dtype int64.

        Raises:
            ValueError: the list is empty, or a text can't be encoded (see `encode`).
        """
        rows = [self.encode(text) for text in check_texts("texts", texts)]
        longest = max(map(len, rows))
        padded = [row + [self.pad_id] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.long, device=device)  # (B, T)
