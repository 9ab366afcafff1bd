"""A translator that one keeps: model, vocabularies and tokenizers in one object, and that in one file."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from helpers.common import check_choice, check_texts
from helpers.seq2seq import Seq2Seq
from helpers.text import Tokenizer, Vocabulary
from helpers.transformer import Transformer, TransformerConfig
from helpers.translation import translate_texts

FORMAT, VERSION = "flycatcher translator", 1


@dataclass(frozen=True)
class Translator:
    """All that it takes to translate a sentence as people write it.

    Args:
        model: a `Transformer` or a `Seq2Seq`.
        source_vocabulary, target_vocabulary: the `Vocabulary` of each side.
        source_tokenizer, target_tokenizer: the `Tokenizer` of each side; None where text comes and goes tokenized.
        source_bos: whether the model reads `<BOS>` before the source, as it was trained (those of chapters 2 and 4 do not).

    Raises:
        TypeError, ValueError: something else, or a vocabulary of another size than the model's.
    """

    model: Transformer | Seq2Seq
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    source_tokenizer: Tokenizer | None = None
    target_tokenizer: Tokenizer | None = None
    source_bos: bool = True

    def __post_init__(self):
        check_choice("source_bos", self.source_bos, (True, False))
        kinds = {
            "model": (Transformer, Seq2Seq), "source_vocabulary": (Vocabulary,), "target_vocabulary": (Vocabulary,),
            "source_tokenizer": (Tokenizer, type(None)), "target_tokenizer": (Tokenizer, type(None)),
        }  # fmt: skip
        for name, kind in kinds.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                wanted = " or ".join(k.__name__ for k in kind)
                raise TypeError(f"{name} is {type(value).__name__}; it must be a {wanted} of helpers")
        settings = _settings(self.model)
        for side in ("source", "target"):
            size, vocabulary = settings[f"{side}_vocab_size"], getattr(self, f"{side}_vocabulary")
            if size != len(vocabulary):
                raise ValueError(f"{side}_vocabulary has {len(vocabulary)} symbols; the model was made for {size}")

    def tokenize(self, texts):
        """Return sentences as the model's source vocabulary wants them: a list of strings, tokens between spaces."""
        texts, tokenizer = check_texts("texts", texts), self.source_tokenizer
        return [tokenizer.tokenize(text) for text in texts] if tokenizer else texts

    def encode(self, texts):
        """Return the ids (N, S) of sentences as people write them, on the model's device.

        Raises:
            ValueError: a sentence is empty, or holds a word that the vocabulary lacks and it has no `<UNK>`.
        """
        device = next(self.model.parameters()).device
        ids = self.source_vocabulary.encode_batch(self.tokenize(texts), device)
        return ids if self.source_bos else ids[:, 1:]

    def translate(self, texts, **options):
        """Translate sentences as people write them, a list of strings; return a list of strings.

        Args:
            texts: a list of N sentences.
            **options: as in `helpers.translation.translate_texts`: `beam_size=4`, ...

        Raises:
            ValueError: as `encode`, or a sentence is longer than the model can read.
        """
        written = translate_texts(self.model, self.encode(texts), self.target_vocabulary, **options)
        tokenizer = self.target_tokenizer
        return [tokenizer.detokenize(text) for text in written] if tokenizer else written


def _settings(model):
    """Return the arguments that make a model of the same form."""
    if isinstance(model, Transformer):
        return asdict(model.config)
    encoder, embedding = model.encoder, model.embedding
    return {
        "source_vocab_size": encoder.embedding.num_embeddings, "target_vocab_size": embedding.num_embeddings,
        "hidden_size": model.bridge.in_features, "embedding_size": embedding.embedding_dim, "attention": model.kind,
        "bidirectional": encoder.backward_gru is not None, "dropout": model.dropout.p, "pad_id": model.pad_id,
        "input_feeding": model.input_feeding,
    }  # fmt: skip


def save_translator(path, translator):
    """Write a `Translator` into one file, which `torch.load(path, weights_only=True)` can read, too.

    The file is written beside and then moved, so that at no time half a file lies there.

    Args:
        path: of the file; an older one is replaced.
        translator: a `Translator`.

    Raises:
        TypeError: not a `Translator`.
        FileNotFoundError: there is no such folder.
    """
    if not isinstance(translator, Translator):
        raise TypeError(f"translator is {type(translator).__name__}, not a Translator")
    path, t = Path(path), translator
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path={path}: there is no folder {path.parent}")
    content = {"format": FORMAT, "version": VERSION, "kind": type(t.model).__name__, "settings": _settings(t.model)}
    for side in ("source", "target"):
        vocabulary, tokenizer = getattr(t, f"{side}_vocabulary"), getattr(t, f"{side}_tokenizer")
        content[f"{side}_vocabulary"] = {n: getattr(vocabulary, n) for n in ("symbols", "separator", "max_length")}
        content[f"{side}_tokenizer"] = None if tokenizer is None else asdict(tokenizer)
    content |= {"source_bos": t.source_bos, "weights": {n: w.cpu() for n, w in t.model.state_dict().items()}}
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_translator(path, device="cpu"):
    """Return the `Translator` that `save_translator` wrote, its model in evaluation mode.

    Nothing in the file is executed: it holds numbers and text (PyTorch's `weights_only`).

    Args:
        path: of the file.
        device: where the model is wanted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, is of another version, or damaged; names the file and says what.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes PyTorch say
        raise ValueError(f"{path}: damaged, or no file that save_translator wrote ({type(error).__name__})") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path}: its format is {found!r}, not {FORMAT!r}; save_translator writes that")
    if content.get("version") != VERSION:
        raise ValueError(f"{path}: version {content.get('version')!r} of the format; this edition reads {VERSION}")
    try:
        settings, parts = content["settings"], {"source_bos": content["source_bos"]}
        for side in ("source", "target"):
            parts[f"{side}_vocabulary"] = Vocabulary(**content[f"{side}_vocabulary"])
            tokenizer = content[f"{side}_tokenizer"]
            parts[f"{side}_tokenizer"] = None if tokenizer is None else Tokenizer(**tokenizer)
        makers = {
            "Transformer": lambda: Transformer(TransformerConfig(**settings)),
            "Seq2Seq": lambda: Seq2Seq(**settings),
        }
        with torch.random.fork_rng(devices=[]):  # the numbers that a fresh model draws are nobody's business
            model = makers[content["kind"]]()
        model.load_state_dict(content["weights"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: damaged ({type(error).__name__}: {str(error).split(chr(10))[0]})") from error
    return Translator(model.to(device).eval(), **parts)
