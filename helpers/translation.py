"""What to train a translator on and how to judge it: exact match, BLEU, and alignment against the gold links."""

import inspect
import warnings
from collections import Counter
from typing import NamedTuple

import torch

from helpers.common import check_number, check_size, check_tensor, check_texts, check_tokens, evaluating
from helpers.text import UNK
from helpers.training import token_loss


def translation_loss(model, source, target, label_smoothing=0.0):
    """The loss of a translator on pairs: (sum in nats, number of target words, `<EOS>` counted and padding not).

    Args:
        model: a `Seq2Seq` or a `Transformer`: `model(source, target)` gives logits, or (logits, weights); with `pad_id`.
        source: ids, (B, S).
        target: ids, (B, T + 1), from `<BOS>` to `<EOS>`: all but the last are fed, all but the first are asked for.
        label_smoothing: as in `token_loss`, but in training only: in evaluation mode the loss is the plain one, which
            can be compared. For `fit`: `functools.partial(translation_loss, label_smoothing=0.1)`.
    """
    check_number("label_smoothing", label_smoothing, low=0, below=1)
    made = model(source, target[:, :-1])
    logits = made[0] if isinstance(made, tuple) else made  # (B, T, V)
    return token_loss(logits, target[:, 1:], model.pad_id, label_smoothing if model.training else 0.0)


class Bleu(NamedTuple):
    """A BLEU score from 0 to 100, and the signature that says how it was computed (Post 2018, section 3)."""

    score: float
    signature: str


def bleu(hypotheses, references):
    """Return the corpus BLEU (Papineni et al. 2002, section 2.3) of tokenised translations, by sacrebleu.

    The tokens are taken as they stand, separated by spaces (sacrebleu's tokenize="none"). Beside the usual n-gram
    precisions up to 4 words nothing is tuned; the signature tells. A warning says so if the two sides look as if they
    were tokenized differently.

    Args:
        hypotheses: the translations, N strings.
        references: the right ones, N strings; or a list of several such lists, each with a right one for each sentence.

    Returns:
        `Bleu(score, signature)`.

    Raises:
        ValueError: not equally many, or none.
        TypeError: a list of something other than strings.
    """
    from sacrebleu.metrics import BLEU  # imported here: chapters without translation do not need it installed

    several = isinstance(references, (list, tuple)) and len(references) and not isinstance(references[0], str)
    sides = [_check_pairs(hypotheses, side)[1] for side in (references if several else [references])]
    hypotheses = check_texts("hypotheses", hypotheses)
    for what, measure in FORMS.items():
        seen = measure(hypotheses), measure(sides[0])
        if None not in seen and seen[0] != seen[1]:
            warnings.warn(
                f"bleu: the hypotheses have {what[seen[0]]}, the references {what[seen[1]]}: the score is too low. Write "
                "both sides in one way",
                stacklevel=2,
            )
    metric = BLEU(tokenize="none", force=True)  # force: it warns about text that ends in " .", as all of ours does
    return Bleu(metric.corpus_score(hypotheses, sides).score, str(metric.get_signature()))


def _punctuation_is_apart(texts):
    """Return whether most commas and the like stand apart from the word before them; None where there are none."""
    ends = [word for text in texts for word in text.split() if word[-1] in ".,;:!?。、，！？"]
    stuck = sum(len(word) > 1 and word[-2].isalnum() for word in ends)
    return None if not ends else 2 * stuck < len(ends)


def _has_capitals(texts):
    """Return whether one text in five has a capital (True) or none has (False); None between the two. `<UNK>` is none."""
    texts = [text.replace(UNK, "") for text in texts]
    share = sum(text != text.lower() for text in texts) / len(texts)
    cased = any(text.lower() != text.upper() for text in texts)
    return True if share > 0.2 else None if share or not cased else False


FORMS = {  # what is compared, by (False, True); and the measure
    ("punctuation stuck to the words", "punctuation apart"): _punctuation_is_apart,
    ("no capitals", "capitals"): _has_capitals,
}


def exact_match(hypotheses, references):
    """Return the share of translations that equal their reference word for word, from 0 to 1.

    Raises:
        ValueError, TypeError: as `bleu`.
    """
    hypotheses, references = _check_pairs(hypotheses, references)
    return sum(a.split() == b.split() for a, b in zip(hypotheses, references)) / len(references)


def exchange_words(sources, train):
    """Translate without learning anything: take the nearest training sentences and exchange words in them.

    The nearest are those as long as the sentence that differ from it in the fewest words. In the translation of each, the
    usual translation of a word that differs gives way to that of the new word, where the gold links say that it stands.
    Those in which every word could be exchanged are preferred, and the commonest result wins; of equals the first.

    Args:
        sources: the sentences to translate, a list of strings.
        train: a `ParallelText` with gold links.

    Returns:
        a list of strings; "" where no training sentence is as long.

    Raises:
        TypeError: sources that are not a list of strings.
        ValueError: no sources, or a corpus without links.
    """
    sources = check_texts("sources", sources)
    if getattr(train, "alignment", None) is None:
        raise ValueError("train must be a ParallelText with gold links (alignment)")
    pairs = [(a.split(), b.split()) for a, b in zip(train.source, train.target)]
    usual = _usual_translations(pairs, train.alignment)
    vocabulary = {word: number for number, word in enumerate(sorted({word for a, _ in pairs for word in a}))}
    rows = {}
    for row, (a, _) in enumerate(pairs):
        rows.setdefault(len(a), []).append(row)
    ids = {n: torch.tensor([[vocabulary[w] for w in pairs[r][0]] for r in chosen]) for n, chosen in rows.items()}
    result = []
    for sentence in sources:
        words = sentence.split()
        if len(words) not in rows:
            result.append("")
            continue
        differing = (ids[len(words)] != torch.tensor([vocabulary.get(w, -1) for w in words])).sum(1)  # (N,)
        nearest = [rows[len(words)][i] for i in (differing == differing.min()).nonzero().flatten().tolist()]
        tries = [_exchanged(words, *pairs[row], train.alignment[row], usual) for row in nearest]
        least = min(missing for missing, _ in tries)
        result.append(Counter(text for missing, text in tries if missing == least).most_common(1)[0][0])
    return result


def _usual_translations(pairs, alignment):
    """Return for each source word the target word that it goes with most: by Dice's coefficient over the links."""
    both, source, target, usual = Counter(), Counter(), Counter(), {}
    for (a, b), links in zip(pairs, alignment):
        source.update(a), target.update(b)
        both.update({(a[i], b[j]) for i, j in links})
    for (word, other), number in sorted(both.items()):
        usual[word] = max(usual.get(word, (0, "")), (2 * number / (source[word] + target[other]), other))
    return {word: other for word, (_, other) in usual.items()}


def _exchanged(words, source, target, links, usual):
    """Return how many differing words could not be exchanged, and the translation with the others exchanged."""
    target, missing = list(target), 0
    for i, (old, new) in enumerate(zip(source, words)):
        if old != new:
            places = [j for k, j in links if k == i and target[j] == usual.get(old)]
            missing += not places or new not in usual
            for j in places:
                target[j] = usual.get(new, "")
    return missing, " ".join(word for word in target if word)


def links_of(weights, lengths=None):
    """Turn attention weights into links: each target word to the one source word with the largest weight.

    Only where the model was fed the reference (teacher forcing) does row j speak of the reference's word j.

    Args:
        weights: a list of (T, S) tensors, one a sentence, or one tensor (B, T, S).
        lengths: for each sentence (number of source words, number of target words): rows and columns after them, those
            of `<EOS>` and of padding, are dropped before the largest weight is looked for. None to keep everything.

    Returns:
        a list with a set of links (source position, target position) for each sentence.

    Raises:
        ValueError: not as many lengths as sentences, or lengths that the weights do not have.
    """
    if lengths is not None and len(lengths) != len(weights):
        raise ValueError(f"lengths holds {len(lengths)} pairs, weights {len(weights)} sentences")
    result = []
    for number, matrix in enumerate(weights):
        check_tensor(f"weights[{number}]", matrix, "T, S")
        if lengths is not None:
            words, targets = lengths[number]
            if not (1 <= words <= matrix.size(1) and 1 <= targets <= matrix.size(0)):
                raise ValueError(
                    f"lengths[{number}] says {words} source and {targets} target words, the weights are "
                    f"{tuple(matrix.shape)}"
                )
            matrix = matrix[:targets, :words]  # (T, S) → without <EOS> and padding
        result.append({(i, j) for j, i in enumerate(matrix.argmax(dim=-1).tolist())})
    return result


def error_rate(guess, gold):
    """Return 1 - 2 |A ∩ G| / (|A| + |G|) over all sentences together (Och and Ney 2003, evaluation methodology).

    Their measure knows sure and merely possible links; here every gold link is sure, so both sets are G.

    Args:
        guess, gold: for each sentence a set of links (source position, target position).
    """
    if len(guess) != len(gold) or not len(gold):
        raise ValueError(f"guess holds {len(guess)} sentences, gold {len(gold)}; equally many, at least one, needed")
    common = sum(len(a & g) for a, g in zip(guess, gold))
    total = sum(len(a) + len(g) for a, g in zip(guess, gold))
    if total == 0:
        raise ValueError("there are no links at all, neither guessed nor gold")
    return 1 - 2 * common / total


def alignment_error_rate(weights, gold, lengths=None):
    """Return the alignment error rate of attention weights: 0 is perfect, 1 is nothing right.

    Args:
        weights, lengths: see `links_of`.
        gold: for each sentence the set of links (source position, target position), as `load_parallel` gives them.

    Raises:
        ValueError: not equally many sentences, or shapes that do not fit.
    """
    return error_rate(links_of(weights, lengths), gold)


def diagonal_alignment(source_length, target_length):
    """Return the links of the guess that word order is the same: target word j to source word round(j · S / T)."""
    check_size("source_length", source_length)
    check_size("target_length", target_length)
    ratio, last = source_length / target_length, source_length - 1
    return {(min(last, round(j * ratio)), j) for j in range(target_length)}


@torch.no_grad()
def forced_weights(model, source, target, batch_size=250, layer=None, head=None):
    """Return the attention weights of a translator that is fed the reference, a list of N tensors (T, S) on the CPU.

    A recurrent model has one map a sentence. Of a Transformer's cross-attention it is by default the last layer's, the
    mean over its heads; each row adds up to 1 in either case.

    Args:
        model: `model(source, target) -> (logits, weights)`, or a `Transformer`; its mode is put back afterwards.
        source: ids, (N, S).
        target: ids, (N, T + 1), from `<BOS>` to `<EOS>`; row j of the weights belongs to the word at j + 1.
        batch_size: sentences at a time.
        layer, head: of a Transformer, counted from 1.

    Raises:
        ValueError: a layer or head that the model has not.
        TypeError: the model returns no weights (B, T, S), as `Seq2Seq(attention="none")`.
    """
    check_tokens(source, "source")
    check_tokens(target, "target")
    check_size("batch_size", batch_size)
    many = "return_attention" in inspect.signature(getattr(model, "forward", model)).parameters
    for name, value in (("layer", layer), ("head", head)):
        if value is not None:
            check_size(name, value)
            if not many:
                raise ValueError(f"{name}={value}: {type(model).__name__} has one map a sentence; leave {name} out")
    result = []
    with evaluating(model):
        for first in range(0, len(source), batch_size):
            rows = slice(first, first + batch_size)
            inputs = source[rows], target[rows, :-1]
            output = model(*inputs, return_attention=True) if many else model(*inputs)
            weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            if isinstance(weights, dict) and weights.get("cross"):
                weights = _one_map(weights["cross"], layer, head)
            if not isinstance(weights, torch.Tensor) or weights.dim() != 3:
                raise TypeError(f"model ({type(model).__name__}) returns no weights (B, T, S) beside its logits")
            result.extend(weights.cpu())
    return result


def _one_map(cross, layer, head):
    """Return one map a sentence, (B, T, S), of cross-attention: layers of (B, H, T, S)."""
    sizes = {"layer": (layer, len(cross)), "head": (head, cross[0].size(1))}
    for name, (value, most) in sizes.items():
        if value is not None and value > most:
            raise ValueError(f"{name}={value}, but the model has {most}")
    chosen = cross[(layer or len(cross)) - 1]  # (B, H, T, S)
    return chosen.mean(dim=1) if head is None else chosen[:, head - 1]


def translate_texts(model, source, vocabulary, batch_size=250, **options):
    """Translate ids (N, S) and return N texts, in order.

    Args:
        model: a `Transformer`, a `Seq2Seq`, or any model with their `generate`.
        source: ids, (N, S).
        vocabulary: the target's `Vocabulary`.
        batch_size: sentences at a time.
        **options: as in `helpers.generation.generate`, the same for either model: `beam_size=4`, `strategy="sample"`,
            `max_length`, ...
    """
    check_tokens(source, "source")
    check_size("batch_size", batch_size)
    return [vocabulary.decode(row) for part in source.split(int(batch_size)) for row in model.generate(part, **options)]


def _check_pairs(hypotheses, references):
    """Return both as lists of strings, equally many and at least one."""
    hypotheses, references = check_texts("hypotheses", hypotheses, 0), check_texts("references", references, 0)
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"hypotheses holds {len(hypotheses)} sentences, references {len(references)}; equally many, at least one"
        )
    return hypotheses, references
