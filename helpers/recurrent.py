"""The recurrent encoder of `helpers.seq2seq`: one state for each word of a sentence, and one for all of it."""

import torch
from torch import nn


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
        summary = pick(annotations, last).squeeze(1)  # the state after the last word, (B, H)
        if self.backward_gru is not None:
            place = torch.arange(source.size(1), device=source.device)
            reverse = torch.where(place < length, length - 1 - place, place)  # (B, S): 2 1 0 3 for length 3 of 4
            states = self.backward_gru(self.dropout(self.embedding(source.gather(1, reverse))))[0]
            annotations = torch.cat([annotations, pick(states, reverse)], dim=-1)  # 2 times (B, S, H/2) → (B, S, H)
            summary = torch.cat([summary, pick(states, last).squeeze(1)], dim=-1)  # 2 times (B, H/2) → (B, H)
        return annotations.masked_fill(~mask.unsqueeze(-1), 0.0), summary


def pick(states, index):
    """Return the states (B, I, H) at the positions `index` (B, I) out of (B, S, H)."""
    return states.gather(1, index.unsqueeze(-1).expand(-1, -1, states.size(-1)))
