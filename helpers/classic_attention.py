"""The two attentions that came before the Transformer: additive (Bahdanau) and multiplicative (Luong).

Both compare one state of a decoder with every state of an encoder, and average the encoder's states. There is no
separate value: what is compared is what is handed over.
"""

import torch
from torch import nn

from helpers.attention import masked_softmax
from helpers.common import check_size

SCORES = ("dot", "general", "concat")


class ClassicAttention(nn.Module):
    """What both kinds share: the softmax over the keys, the mask, the average. A subclass says how to score."""

    def __init__(self, query_size, key_size):
        super().__init__()
        for name, size in (("query_size", query_size), ("key_size", key_size)):
            check_size(name, size)
        self.query_size, self.key_size = query_size, key_size

    def project_keys(self, keys):
        """Return what depends on the keys alone, (B, T_k, ...): computed once, it serves every step of a decoder."""
        raise NotImplementedError

    def score(self, query, projected):
        """Return the scores (B, T_q, T_k) of queries (B, T_q, D_q) against keys that went through `project_keys`."""
        raise NotImplementedError

    def forward(self, query, keys, mask=None, projected=None):
        """Average the keys, each weighted by how well it fits the query.

        Args:
            query: states of the decoder, (B, T_q, D_q); or one step's, (B, D_q).
            keys: states of the encoder, (B, T_k, D_k).
            mask: boolean, True = may attend, broadcasts to the weights: `padding_mask(source, pad_id)`, which is
                (B, 1, T_k), fits both kinds of query. For a single step (B, T_k) is allowed too.
            projected: `project_keys(keys)`, when you have it already.

        Returns:
            context and weights: (B, T_q, D_k) and (B, T_q, T_k), or (B, D_k) and (B, T_k) for one step. Where the mask
            allows nothing both are 0.

        Raises:
            TypeError: a query or keys that are not floating point, a mask that is not boolean.
            ValueError: shapes that do not fit.
        """
        self._check(query, keys)
        single = query.dim() == 2
        if single:
            query = query.unsqueeze(1)  # (B, D_q) → (B, 1, D_q)
            if isinstance(mask, torch.Tensor) and mask.dim() == 2:
                mask = mask.unsqueeze(1)  # (B, T_k) → (B, 1, T_k)
        scores = self.score(query, self.project_keys(keys) if projected is None else projected)
        weights = masked_softmax(scores, mask)  # (B, T_q, T_k)
        context = weights @ keys  # (B, T_q, T_k) @ (B, T_k, D_k) → (B, T_q, D_k)
        return (context.squeeze(1), weights.squeeze(1)) if single else (context, weights)

    def _check(self, query, keys):
        for name, x in (("query", query), ("keys", keys)):
            if not isinstance(x, torch.Tensor):
                raise TypeError(f"{name} is {type(x).__name__}, not a tensor")
            if not x.is_floating_point():
                raise TypeError(f"{name} has dtype {x.dtype}; attention needs floating point (embed the ids first)")
        if query.dim() not in (2, 3) or query.size(-1) != self.query_size or query.numel() == 0:
            raise ValueError(
                f"query has shape {tuple(query.shape)}; it must be (B, T_q, {self.query_size}) or (B, {self.query_size})"
            )
        if keys.dim() != 3 or keys.size(-1) != self.key_size or keys.numel() == 0:
            raise ValueError(f"keys has shape {tuple(keys.shape)}; it must be (B, T_k, {self.key_size}) and not empty")
        if query.size(0) != keys.size(0):
            raise ValueError(f"query has a batch of {query.size(0)}, keys of {keys.size(0)}; they must be alike")


class AdditiveAttention(ClassicAttention):
    """Bahdanau's attention: score(q, k) = vᵀ tanh(W q + U k) (Bahdanau et al. 2015, section 3.1, appendix A.1.2).

    The query is the decoder's state before the step. There is no bias, as in the paper, whose appendix also notes that
    U k does not depend on the step and can be computed once: see `project_keys`.

    Args:
        query_size, key_size: widths D_q and D_k.
        hidden_size: width of the layer inside, the paper's n'.

    Raises:
        ValueError: a size is not a positive whole number.
    """

    def __init__(self, query_size, key_size, hidden_size):
        super().__init__(query_size, key_size)
        check_size("hidden_size", hidden_size)
        self.query_proj = nn.Linear(query_size, hidden_size, bias=False)
        self.key_proj = nn.Linear(key_size, hidden_size, bias=False)
        self.v = nn.Linear(hidden_size, 1, bias=False)

    def project_keys(self, keys):
        return self.key_proj(keys)  # (B, T_k, D_k) → (B, T_k, hidden)

    def score(self, query, projected):
        together = self.query_proj(query).unsqueeze(2) + projected.unsqueeze(1)  # → (B, T_q, T_k, hidden)
        return self.v(together.tanh()).squeeze(-1)  # (B, T_q, T_k, hidden) → (B, T_q, T_k)


class MultiplicativeAttention(ClassicAttention):
    """Luong's global attention with one of the paper's three scores (Luong et al. 2015, section 3.1, below equation 7):

    dot: q · k; general: qᵀ W k; concat: vᵀ tanh(W [q; k]), which is additive attention, written with one matrix.
    The query is the decoder's state after the step.

    Args:
        query_size, key_size: widths D_q and D_k; "dot" needs them equal.
        score: "dot", "general" or "concat" (whose layer inside is D_q wide).

    Raises:
        ValueError: an unknown score, a size that is not a positive whole number, or "dot" with unequal sizes.
    """

    def __init__(self, query_size, key_size, score="general"):
        super().__init__(query_size, key_size)
        if score not in SCORES:
            raise ValueError(f"score={score!r} is not one of {', '.join(SCORES)}")
        if score == "dot" and query_size != key_size:
            raise ValueError(f"score='dot' needs query_size={query_size} and key_size={key_size} to be equal")
        self.kind = score
        if score == "general":
            self.key_proj = nn.Linear(key_size, query_size, bias=False)
        elif score == "concat":
            self.pair_proj = nn.Linear(query_size + key_size, query_size, bias=False)
            self.v = nn.Linear(query_size, 1, bias=False)

    def project_keys(self, keys):
        if self.kind == "dot":
            return keys
        if self.kind == "general":
            return self.key_proj(keys)  # (B, T_k, D_k) → (B, T_k, D_q)
        # W [q; k] = W_q q + W_k k: the right-hand columns of W belong to the keys.
        return keys @ self.pair_proj.weight[:, self.query_size :].T  # (B, T_k, D_k) → (B, T_k, D_q)

    def score(self, query, projected):
        if self.kind != "concat":
            return query @ projected.transpose(1, 2)  # (B, T_q, D_q) @ (B, D_q, T_k) → (B, T_q, T_k)
        query = query @ self.pair_proj.weight[:, : self.query_size].T  # (B, T_q, D_q) → (B, T_q, D_q)
        together = query.unsqueeze(2) + projected.unsqueeze(1)  # → (B, T_q, T_k, D_q)
        return self.v(together.tanh()).squeeze(-1)  # (B, T_q, T_k, D_q) → (B, T_q, T_k)
