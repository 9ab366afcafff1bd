"""From text to tensors: the vocabulary, encoding and padding."""

import torch

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
        symbols = sorted(set(symbols))
        if not symbols:
            raise ValueError("symbols is empty; a vocabulary needs at least one symbol")
        if {PAD, BOS, EOS} & set(symbols):
            raise ValueError(f"symbols holds one of {PAD}, {BOS}, {EOS}; those are added by the vocabulary itself")
        self.symbols = [PAD, BOS, EOS, *symbols]
        self.separator = separator
        self.max_length = max_length
        self._ids = {symbol: number for number, symbol in enumerate(self.symbols)}

    @classmethod
    def from_words(cls, words, max_length=16):
        """Number the letters that occur in `words`. The default leaves room for 14 letters, `<BOS>` and `<EOS>`."""
        return cls({letter for word in words for letter in word}, separator="", max_length=max_length)

    @classmethod
    def from_sentences(cls, sentences, max_length=None):
        """Number the words that occur in `sentences`, which are tokenised: one space between two words."""
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
        symbols = []
        for number in torch.as_tensor(ids).flatten().tolist():
            if not 0 <= number < len(self.symbols):
                raise ValueError(f"id {number} is outside the vocabulary of {len(self.symbols)} symbols")
            if number == self.eos_id:
                break
            if number not in (self.pad_id, self.bos_id):
                symbols.append(self.symbols[number])
        return self.separator.join(symbols)

    def tokens(self, ids):
        """Return every id's symbol, the special ones too: what stands on the axes of a heat map."""
        return [self.symbols[number] for number in torch.as_tensor(ids).flatten().tolist()]

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
        if isinstance(texts, str):
            raise TypeError(f"texts is one string ({texts!r}), not a list of strings")
        rows = [self.encode(text) for text in texts]
        if not rows:
            raise ValueError("texts is an empty list; a batch needs at least one text")
        longest = max(map(len, rows))
        padded = [row + [self.pad_id] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.long, device=device)  # (B, T)
