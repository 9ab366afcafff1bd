"""Attention: masks, the softmax that obeys them, scaled dot-product attention, multi-head attention.

Masks are boolean, True = may attend, and broadcast to the scores (..., T_q, T_k). A query that may attend to nothing
gets zero weights and a zero output.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from helpers.common import check_number, check_size, check_special, check_tensor, check_tokens


def causal_mask(length, device=None):
    """Return the mask under which position i may attend to positions 0..i: lower triangular, (length, length).

    Raises:
        ValueError: `length` is not a positive whole number.
    """
    check_size("length", length)
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def padding_mask(tokens, pad_id):
    """Return the mask that hides padded keys from every query.

    Args:
        tokens: ids, (B, T).
        pad_id: the id of the padding symbol.

    Returns:
        (B, 1, T), True where a token is real; the axis of length 1 broadcasts over the queries, so
        `causal_mask(T) & padding_mask(tokens, pad_id)` is (B, T, T).
    """
    check_tokens(tokens)
    check_special(pad_id=pad_id)
    return (tokens != pad_id).unsqueeze(1)  # (B, T) → (B, 1, T)


def check_mask(mask, shape, name="mask"):
    """Raise unless `mask` is None or a boolean tensor that broadcasts to `shape`."""
    if mask is None:
        return
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise TypeError(f"{name} is {kind}; masks are torch.bool, True = may attend")
    fits = mask.dim() <= len(shape) and all(m in (1, s) for m, s in zip(mask.shape[::-1], shape[::-1]))
    if not fits:
        raise ValueError(f"{name} has shape {tuple(mask.shape)}, which does not broadcast to the scores {tuple(shape)}")


def masked_softmax(scores, mask=None):
    """Return softmax(scores) along the keys, the last axis, with no weight where `mask` is False.

    Args:
        scores: (..., T_q, T_k), floating point.
        mask: None, or boolean, broadcasts to the scores, True = may attend.

    Returns:
        weights, as the scores; each row sums to 1, or is 0 throughout where the mask allows nothing (not NaN).

    Raises:
        TypeError: a mask that is not boolean.
        ValueError: a mask that does not broadcast to the scores.
    """
    check_tensor("scores", scores, "..., T_q, T_k")
    check_mask(mask, scores.shape)
    if mask is None:
        return scores.softmax(dim=-1)
    # The lowest finite score and not -inf: a row of -inf would make NaN, in the gradient too.
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(dim=-1).masked_fill(~mask, 0.0)


def scaled_dot_product_attention(query, key, value, mask=None):
    """Attend: softmax(Q Kᵀ / √d_k) V ("Attention Is All You Need", section 3.2.1, equation 1).

    Args:
        query: (..., T_q, D).
        key: (..., T_k, D).
        value: (..., T_k, D_v).
        mask: boolean, broadcasts to (..., T_q, T_k), True = may attend.

    Returns:
        output (..., T_q, D_v) and weights (..., T_q, T_k); each row of the weights sums to 1, or is 0 throughout
        where the mask allows nothing.

    Raises:
        TypeError: a mask that is not boolean.
        ValueError: shapes that do not fit, or no key to attend to.
    """
    check_tensor("query", query, "..., T_q, D")
    check_tensor("key", key, "..., T_k, D")
    check_tensor("value", value, "..., T_k, D_v")
    if query.size(-1) != key.size(-1):
        raise ValueError(f"query has {query.size(-1)} features, key has {key.size(-1)}; a dot product needs as many")
    if key.size(-2) != value.size(-2) or key.size(-2) == 0:
        raise ValueError(f"key has {key.size(-2)} positions, value has {value.size(-2)}; as many, at least one, needed")
    # The query is divided and not the scores: the same number, and (..., T_q, D) is the smaller tensor.
    query = query / math.sqrt(query.size(-1))
    scores = query @ key.transpose(-2, -1)  # (..., T_q, D) @ (..., D, T_k) → (..., T_q, T_k)
    weights = masked_softmax(scores, mask)
    return weights @ value, weights  # (..., T_q, T_k) @ (..., T_k, D_v) → (..., T_q, D_v)


class MultiHeadAttention(nn.Module):
    """Multi-head attention ("Attention Is All You Need", section 3.2.2).

    Args:
        d_model: width of the queries, of the output and of all heads together.
        num_heads: number of heads H; each is D = d_model / H wide.
        bias: whether the four projections add a bias.
        dropout: the share of attention weights that is dropped in training.
        kdim, vdim: widths of the keys and values that come in (default: d_model).

    Raises:
        ValueError: `num_heads` does not divide `d_model`.
    """

    def __init__(self, d_model, num_heads, bias=True, dropout=0.0, kdim=None, vdim=None):
        super().__init__()
        widths = {"d_model": d_model, "num_heads": num_heads, "kdim": kdim or d_model, "vdim": vdim or d_model}
        for name, size in widths.items():
            check_size(name, size)
        if d_model % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide d_model={d_model}")
        check_number("dropout", dropout, low=0, below=1)
        self.d_model, self.num_heads, self.head_dim = d_model, num_heads, d_model // num_heads
        self.query_proj = nn.Linear(d_model, d_model, bias=bias)
        self.key_proj = nn.Linear(kdim or d_model, d_model, bias=bias)
        self.value_proj = nn.Linear(vdim or d_model, d_model, bias=bias)
        self.out_proj = nn.Linear(d_model, d_model, bias=bias)
        self.dropout = nn.Dropout(dropout)
        for projection in (self.query_proj, self.key_proj, self.value_proj, self.out_proj):
            nn.init.xavier_uniform_(projection.weight)
            if bias:
                nn.init.zeros_(projection.bias)

    def forward(self, query, key, value, mask=None, need_weights=True):
        """Attend with every head.

        Args:
            query: (B, T_q, d_model).
            key: (B, T_k, kdim); or (B, H, T_k, D), as `project` has made it.
            value: (B, T_k, vdim); or (B, H, T_k, D), as `project` has made it.
            mask: boolean, True = may attend: (T_q, T_k), (B, T_q, T_k) or (B, H, T_q, T_k), or any shape that
                broadcasts to one of these.
            need_weights: without the weights a fused kernel does the work, which is faster.

        Returns:
            output (B, T_q, d_model) and weights (B, H, T_q, T_k), or None in place of the weights. In training the
            weights are those after dropout, as they were used.
        """
        self._check(query, key, value)
        q = self._split(self.query_proj(query))  # (B, T_q, d_model) → (B, H, T_q, D)
        k, v = (key, value) if key.dim() == 4 else self.project(key, value)  # (B, H, T_k, D) each
        if isinstance(mask, torch.Tensor) and mask.dim() == 3:
            mask = mask.unsqueeze(1)  # (B, T_q, T_k) → (B, 1, T_q, T_k): the same for every head
        if need_weights:
            output, weights = scaled_dot_product_attention(q, k, v, mask)
            if self.training and self.dropout.p > 0:
                weights = self.dropout(weights)
                output = weights @ v
        else:
            check_mask(mask, (q.size(0), self.num_heads, q.size(2), k.size(2)))
            dropout = self.dropout.p if self.training else 0.0
            output, weights = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout), None
        output = output.transpose(1, 2).flatten(2)  # (B, H, T_q, D) → (B, T_q, H, D) → (B, T_q, d_model)
        return self.out_proj(output), weights

    def project(self, key, value):
        """Return every head's keys and values, (B, H, T_k, D) each: what a cache keeps while generating."""
        return self._split(self.key_proj(key)), self._split(self.value_proj(value))

    def _split(self, x):
        return x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)  # (B, T, d_model) → (B, H, T, D)

    def _check(self, query, key, value):
        shapes = {"query": ("B", "T", self.d_model)}
        if isinstance(key, torch.Tensor) and key.dim() == 4:
            shapes["key"] = shapes["value"] = ("B", self.num_heads, "T", self.head_dim)
        else:
            shapes["key"] = ("B", "T", self.key_proj.in_features)
            shapes["value"] = ("B", "T", self.value_proj.in_features)
        for (name, shape), x in zip(shapes.items(), (query, key, value)):
            check_tensor(name, x, ", ".join(map(str, shape)), floating=False)
            fits = x.dim() == len(shape) and all(isinstance(n, str) or n == m for n, m in zip(shape, x.shape))
            if not fits or x.numel() == 0:
                wanted = ", ".join(str(n) for n in shape)
                raise ValueError(f"{name} has shape {tuple(x.shape)}; it must be ({wanted}) and not empty")
            if not x.is_floating_point():
                raise TypeError(f"{name} has dtype {x.dtype}; attention needs floating point (embed the ids first)")
        if key.shape[:-1] != value.shape[:-1] or query.size(0) != key.size(0):
            raise ValueError(
                f"batch and positions disagree: query {tuple(query.shape)}, key {tuple(key.shape)}, "
                f"value {tuple(value.shape)}"
            )

    @classmethod
    def from_torch(cls, module):
        """Return a copy of an `nn.MultiheadAttention`, weights included.

        Note the opposite conventions: `nn.MultiheadAttention` calls a mask's True "blocked", and its default layout
        is (T, B, d_model); here True is "may attend" and the layout is (B, T, d_model).

        Raises:
            TypeError: not an `nn.MultiheadAttention`.
            ValueError: it uses `add_bias_kv` or `add_zero_attn`, which have no counterpart here.
        """
        if not isinstance(module, nn.MultiheadAttention):
            raise TypeError(f"module is {type(module).__name__}, not nn.MultiheadAttention")
        if module.bias_k is not None or module.add_zero_attn:
            raise ValueError("module uses add_bias_kv or add_zero_attn, which MultiHeadAttention does not have")
        bias = module.in_proj_bias is not None
        copy = cls(module.embed_dim, module.num_heads, bias, module.dropout, kdim=module.kdim, vdim=module.vdim)
        copy = copy.to(module.out_proj.weight)  # device and precision first, so that copying loses nothing
        if module.in_proj_weight is not None:
            weights = module.in_proj_weight.chunk(3)  # (3 d_model, d_model) → three (d_model, d_model)
        else:
            weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        projections = (copy.query_proj, copy.key_proj, copy.value_proj)
        with torch.no_grad():
            for i, projection in enumerate(projections):
                projection.weight.copy_(weights[i])
                if bias:
                    projection.bias.copy_(module.in_proj_bias.chunk(3)[i])
            copy.out_proj.load_state_dict(module.out_proj.state_dict())
        return copy.train(module.training)
