"""From text to tensors: the vocabulary, encoding and padding."""

import torch

from helpers.common import check_size

PAD, BOS, EOS = "<PAD>", "<BOS>", "<EOS>"


class Vocabulary:
    """A numbering of symbols: the letters of words, or the words of sentences.

    Ids 0, 1 and 2 are `<PAD>`, `<BOS>` (beginning of sequence) and `<EOS>` (end of sequence); the symbols follow in
    sorted order, so that the same data gives the same numbers on every machine.

    Args:
        symbols: the symbols, in any order, without the three special ones.
        separator: what stands between two symbols of a text: "" for letters, " " for words.
        max_length: the longest encoded text allowed, `<BOS>` and `<EOS>` counted; None for no limit.
    """

    pad_id, bos_id, eos_id = 0, 1, 2

    def __init__(self, symbols, separator="", max_length=None):
        symbols = sorted(set(_strings("symbols", symbols)))
        if not isinstance(separator, str):
            raise TypeError(f"separator={separator!r} must be a string")
        if max_length is not None:
            check_size("max_length", max_length)
        if any(not symbol or (separator and separator in symbol) for symbol in symbols):
            raise ValueError(f"symbols holds an empty symbol, or one with the separator {separator!r} in it")
        if {PAD, BOS, EOS} & set(symbols):
            raise ValueError(f"symbols holds one of {PAD}, {BOS}, {EOS}; those are added by the vocabulary itself")
        self.symbols = [PAD, BOS, EOS, *symbols]
        self.separator = separator
        self.max_length = max_length
        self._ids = {symbol: number for number, symbol in enumerate(self.symbols)}

    @classmethod
    def from_words(cls, words, max_length=16):
        """Number the letters that occur in `words`. The default leaves room for 14 letters, `<BOS>` and `<EOS>`."""
        words = _strings("words", words)
        return cls({letter for word in words for letter in word}, separator="", max_length=max_length)

    @classmethod
    def from_sentences(cls, sentences, max_length=None):
        """Number the words that occur in `sentences`, which are tokenised: one space between two words."""
        sentences = _strings("sentences", sentences)
        return cls({word for sentence in sentences for word in sentence.split()}, separator=" ", max_length=max_length)

    def __len__(self):
        return len(self.symbols)

    def __repr__(self):
        return f"Vocabulary({len(self)} symbols: {' '.join(self.symbols[:6])} ...)"

    def split(self, text):
        """Cut a text into its symbols."""
        return list(text) if self.separator == "" else text.split()

    def encode(self, text):
        """Return the ids of `<BOS>`, the symbols of `text`, `<EOS>` as a list of integers.

        Raises:
            TypeError: `text` is not a string.
            ValueError: `text` is empty, holds a symbol that the vocabulary lacks, or is too long; names it.
        """
        if not isinstance(text, str):
            raise TypeError(f"text is {type(text).__name__}, not a string: {text!r}")
        symbols = self.split(text)
        if not symbols:
            raise ValueError("text is empty; there is nothing to encode")
        for place, symbol in enumerate(symbols):
            if symbol not in self._ids or symbol in (PAD, BOS, EOS):
                raise ValueError(f"unknown symbol {symbol!r} at position {place} of {text!r}")
        if self.max_length is not None and len(symbols) + 2 > self.max_length:
            raise ValueError(
                f"{text!r} has {len(symbols)} symbols; with <BOS> and <EOS> that is more than max_length={self.max_length}"
            )
        return [self.bos_id, *(self._ids[symbol] for symbol in symbols), self.eos_id]

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
        rows = [self.encode(text) for text in _strings("texts", texts)]
        longest = max(map(len, rows))
        padded = [row + [self.pad_id] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.long, device=device)  # (B, T)


def _strings(name, values):
    """Return `values` as a list, unless it is not one of strings, or empty; a string alone is no list of strings."""
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name}={values!r} must be a list of strings")
    values = list(values)
    wrong = [value for value in values if not isinstance(value, str)]
    if wrong:
        raise TypeError(f"{name} holds {wrong[0]!r}; it must be a list of strings")
    if not values:
        raise ValueError(f"{name} is empty; at least one string is needed")
    return values
