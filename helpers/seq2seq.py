"""Recurrent encoder-decoder models: with a fixed context vector, with Bahdanau's attention, with Luong's."""

from typing import NamedTuple

import torch
from torch import nn

from helpers import generation
from helpers.attention import padding_mask
from helpers.classic_attention import AdditiveAttention, MultiplicativeAttention
from helpers.common import (
    check_choice,
    check_ids,
    check_number,
    check_sequences,
    check_size,
    check_special,
    check_tokens,
    evaluating,
)
from helpers.text import Vocabulary

KINDS = ("none", "bahdanau", "luong-dot", "luong-general", "luong-concat")


class Encoder(nn.Module):
    """A GRU over the source, or one in each direction (Bahdanau et al. 2015, section 3.2). Padding changes nothing.

    The backward GRU reads each sentence reversed within its own length, so padding always comes last, after all that
    counts. That needs no lengths on the CPU, as packed sequences do, and on small models it is a little faster.

    Args:
        vocab_size, embedding_size: of the source words.
        hidden_size: width H of an annotation; with two directions each makes half of it.
        bidirectional: whether to read in both directions.
        dropout: share of embedding features dropped in training.
    """

    def __init__(self, vocab_size, embedding_size, hidden_size, bidirectional=True, dropout=0.0):
        super().__init__()
        if bidirectional and hidden_size % 2:
            raise ValueError(f"hidden_size={hidden_size} must be even: each direction of the encoder makes half of it")
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        width = hidden_size // 2 if bidirectional else hidden_size
        self.forward_gru = nn.GRU(embedding_size, width, batch_first=True)
        self.backward_gru = nn.GRU(embedding_size, width, batch_first=True) if bidirectional else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, source, mask):
        """Return annotations (B, S, H) and summary (B, H) of ids (B, S), given where words are, (B, S)."""
        length = mask.sum(1, keepdim=True)  # (B, S) → (B, 1)
        last = (length - 1).clamp(min=0)
        annotations = self.forward_gru(self.dropout(self.embedding(source)))[0]  # (B, S) → (B, S, E) → (B, S, H)
        summary = _gather_states(annotations, last).squeeze(1)  # the state after the last word, (B, H)
        if self.backward_gru is not None:
            place = torch.arange(source.size(1), device=source.device)
            reverse = torch.where(place < length, length - 1 - place, place)  # (B, S): 2 1 0 3 for length 3 of 4
            states = self.backward_gru(self.dropout(self.embedding(source.gather(1, reverse))))[0]
            annotations = torch.cat(
                [annotations, _gather_states(states, reverse)], dim=-1
            )  # 2 times (B, S, H/2) → (B, S, H)
            summary = torch.cat([summary, _gather_states(states, last).squeeze(1)], dim=-1)  # 2 times (B, H/2) → (B, H)
        return annotations.masked_fill(~mask.unsqueeze(-1), 0.0), summary


def _gather_states(states, index):
    """Return the states (B, I, H) at the positions `index` (B, I) out of (B, S, H)."""
    return states.gather(1, index.unsqueeze(-1).expand(-1, -1, states.size(-1)))


class Memory(NamedTuple):
    """What the encoder hands to the decoder; N rows, one a sentence."""

    annotations: torch.Tensor  # the encoder's state at each source word, (N, S, H); 0 at padding
    summary: torch.Tensor  # its last state, the one fixed context vector, (N, H)
    projected: torch.Tensor | None  # what the attention makes of the annotations once for all steps, (N, S, ...)
    mask: torch.Tensor  # True where there is a source word, (N, 1, S)


class DecoderState(NamedTuple):
    """What the decoder carries from step to step."""

    hidden: torch.Tensor  # (N, H)
    memory: Memory
    weights: torch.Tensor | None  # the attention weights of the steps taken so far, (N, t, S)
    found: torch.Tensor | None = None  # with input feeding: the read-out of the last step, (N, H)


class Seq2Seq(nn.Module):
    """A GRU encoder, a GRU decoder, and between them one of five ways to carry the sentence over.

    All kinds start the decoder from the encoder's last state, and make the logits from the decoder's state h and a
    context c through tanh(W [c; h]) (Luong et al. 2015, section 3, equation 5). They differ in c:

    - "none": the encoder's last state at every step, which also enters each step of the GRU (Cho et al. 2014, section
      2.2): nothing is gained by having to remember it.
    - "bahdanau": additive attention; the query is the state before the step, and c enters the GRU's step (Bahdanau et
      al. 2015, section 3.1, equations 4 to 6). Each step waits for the one before. (The paper's own way from c and h
      to the logits is a maxout layer.)
    - "luong-dot", "luong-general", "luong-concat": the query is the state after the step, and c does not go back into
      the GRU (Luong et al. 2015, section 3.1), unless the paper's `input_feeding` is asked for. So all steps of the
      GRU run at once, and attention after them.

    Args:
        source_vocab_size, target_vocab_size: number of symbols, the special ones included.
        hidden_size: width H of the decoder, of an annotation and inside the attention.
        embedding_size: width of word embeddings (default: `hidden_size`).
        attention: one of the five kinds.
        bidirectional: whether the encoder reads in both directions; H is even then.
        dropout: share of features dropped in training, after the embeddings and before the logits.
        pad_id: the id of padding, which changes nothing anywhere.
        input_feeding: for Luong's kinds: whether tanh(W [c; h]) of a step enters the next one, beside the word (Luong
            et al. 2015, section 3.3; zeros before the first step). Then each step waits for the one before.

    Raises:
        ValueError: an unknown kind, a size below 1, an odd `hidden_size` with two directions, a dropout out of range,
            input feeding for another kind than Luong's.
    """

    def __init__(
        self, source_vocab_size, target_vocab_size, hidden_size=64, embedding_size=None, attention="bahdanau",
        bidirectional=True, dropout=0.0, pad_id=Vocabulary.pad_id, input_feeding=False,
    ):  # fmt: skip
        super().__init__()
        embedding_size = hidden_size if embedding_size is None else embedding_size
        sizes = {"source_vocab_size": source_vocab_size, "target_vocab_size": target_vocab_size}
        for name, size in {**sizes, "hidden_size": hidden_size, "embedding_size": embedding_size}.items():
            check_size(name, size)
        check_choice("attention", attention, KINDS)
        check_choice("bidirectional", bidirectional, (True, False))
        check_choice("input_feeding", input_feeding, (True, False))
        if input_feeding and not attention.startswith("luong"):
            raise ValueError(f"input_feeding=True goes with Luong's attention only; attention is {attention!r}")
        check_number("dropout", dropout, low=0, below=1)
        check_special(min(source_vocab_size, target_vocab_size), pad_id=pad_id)
        self.kind, self.pad_id, self.input_feeding = attention, pad_id, input_feeding
        self.encoder = Encoder(source_vocab_size, embedding_size, hidden_size, bidirectional, dropout)
        self.bridge = nn.Linear(hidden_size, hidden_size)
        self.embedding = nn.Embedding(target_vocab_size, embedding_size)
        if attention == "bahdanau":
            self.attention = AdditiveAttention(hidden_size, hidden_size, hidden_size)
        elif attention == "none":
            self.attention = None
        else:
            self.attention = MultiplicativeAttention(hidden_size, hidden_size, attention.removeprefix("luong-"))
        context_size = 0 if attention.startswith("luong") and not input_feeding else hidden_size
        self.gru = nn.GRU(embedding_size + context_size, hidden_size, batch_first=True)
        self.readout = nn.Linear(2 * hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, target_vocab_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, source, target):
        """Predict each next target word from the source and the target words so far.

        Args:
            source: ids, (B, S), padded on the right.
            target: ids, (B, T): `<BOS>` and the words, padded on the right.

        Returns:
            logits (B, T, V) and attention weights (B, T, S), which are None for the kind "none".

        Raises:
            TypeError: ids that are not integers.
            ValueError: shapes or ids that make no sense, a source row that is all padding or has a gap.
        """
        self._check(source, target)
        state = self.encode(source)
        x = self.dropout(self.embedding(target))  # (B, T) → (B, T, E)
        if self.kind == "bahdanau" or self.input_feeding:
            hidden, found, steps = state.hidden, state.found, []
            for t in range(target.size(1)):
                hidden, context, weights = self._advance(x[:, t], hidden, state.memory, found)
                found = self._find(hidden, context) if self.input_feeding else None
                steps.append((hidden, context, weights))
            hidden, context, weights = (
                torch.stack(part, dim=1) for part in zip(*steps)
            )  # T times (B, ...) → (B, T, ...)
        else:
            hidden, context, weights = self._all_at_once(x, state)
        return self._logits(self._find(hidden, context)), weights

    def encode(self, source):
        """Return the `DecoderState` before the first step for source ids (B, S)."""
        mask = padding_mask(source, self.pad_id)  # (B, 1, S)
        annotations, summary = self.encoder(source, mask.squeeze(1))
        projected = None if self.attention is None else self.attention.project_keys(annotations)
        weights = None if self.attention is None else annotations.new_zeros(len(source), 0, source.size(1))
        hidden = self.bridge(summary).tanh()  # (B, H) → (B, H)
        found = torch.zeros_like(hidden) if self.input_feeding else None
        return DecoderState(hidden, Memory(annotations, summary, projected, mask), weights, found)

    def step(self, tokens, state):
        """Take one step: the last tokens (N,) in, the logits (N, V) of the next ones out, and the new state."""
        x = self.dropout(self.embedding(tokens))  # (N,) → (N, E)
        hidden, context, weights = self._advance(x, state.hidden, state.memory, state.found)
        found = self._find(hidden, context)  # (N, H)
        if weights is not None:
            weights = torch.cat([state.weights, weights.unsqueeze(1)], dim=1)  # (N, t, S) → (N, t + 1, S)
        fed = found if self.input_feeding else None
        return self._logits(found), DecoderState(hidden, state.memory, weights, fed)

    @torch.no_grad()
    def generate(self, source, **options):
        """Return the tokens that `translate` returns, (B, T), without weights: what `Transformer.generate` returns."""
        return self.translate(source, **options)[0]

    def translate(self, source, max_length=None, beam_size=None, length_penalty=0.6, **options):
        """Translate, without dropout, each step fed with the model's own last word.

        Args:
            source: ids, (B, S), padded on the right.
            max_length: most tokens of a translation, `<EOS>` counted (default: 2 S + 10).
            beam_size, length_penalty, **options: as in `helpers.generation.generate`, strategy and sampling included;
                by default the likeliest word each time.

        Returns:
            tokens (B, T): words, `<EOS>`, then padding; and attention weights (B, T, S), 0 at padding, or None.
        """
        self._check(source)
        max_length = 2 * source.size(1) + 10 if max_length is None else max_length
        with evaluating(self):
            tokens, state = generation.generate(
                self.step, self.encode(source), len(source), max_length=max_length, pad_id=self.pad_id,
                device=source.device, beam_size=beam_size, length_penalty=length_penalty, **options,
            )  # fmt: skip
        if state.weights is None:
            return tokens, None
        weights = state.weights[:, : tokens.size(1)]  # a beam that lost may have taken more steps
        return tokens, weights.masked_fill((tokens == self.pad_id).unsqueeze(-1), 0.0)

    def _advance(self, x, hidden, memory, found=None):
        """Take one step of the GRU, with attention before or after it; return hidden, context, weights."""
        weights, context = None, memory.summary
        if self.kind == "bahdanau":
            context, weights = self.attention(hidden, memory.annotations, memory.mask, memory.projected)
        if self.gru.input_size > x.size(-1):  # the context, or what the last step found, goes in too
            x = torch.cat([x, found if self.input_feeding else context], dim=-1)  # (B, E) → (B, E + H)
        gru = self.gru
        hidden = torch.gru_cell(x, hidden, gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0)
        if self.kind.startswith("luong"):
            context, weights = self.attention(hidden, memory.annotations, memory.mask, memory.projected)
        return hidden, context, weights

    def _all_at_once(self, x, state):
        """Do what `_advance` does for every step of x (B, T, E) where no step waits for attention."""
        memory = state.memory
        if self.kind == "none":
            x = torch.cat([x, memory.summary.unsqueeze(1).expand(-1, x.size(1), -1)], dim=-1)  # → (B, T, E + H)
        hidden = self.gru(x, state.hidden.unsqueeze(0))[0]  # (B, T, ...) → (B, T, H)
        if self.kind == "none":
            return hidden, memory.summary.unsqueeze(1).expand_as(hidden), None
        return hidden, *self.attention(hidden, memory.annotations, memory.mask, memory.projected)

    def _find(self, hidden, context):
        return self.readout(torch.cat([context, hidden], dim=-1)).tanh()  # (..., 2 H) → (..., H)

    def _logits(self, found):
        return self.output(self.dropout(found))  # (..., H) → (..., V)

    def _check(self, source, target=None):
        vocab_size = self.encoder.embedding.num_embeddings
        if check_sequences(source, "source", vocab_size, None, self.pad_id, anywhere=True):
            empty = (source[:, 0] == self.pad_id).nonzero().flatten().tolist()
            if empty:
                raise ValueError(f"source holds nothing but padding in row {empty[0]}; there is nothing to translate")
        if target is None:
            return
        check_tokens(target, "target")
        check_ids(target, "target", self.embedding.num_embeddings)
        if len(source) != len(target):
            raise ValueError(f"source holds {len(source)} sentences, target {len(target)}; they go in pairs")
