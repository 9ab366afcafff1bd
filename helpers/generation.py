"""Generating one token after the other: greedy, sampling and beam search, for any model that can take a step.

A model is known here only by its `step(tokens, state) -> (logits, state)`: the last tokens (N,) go in, the logits (N, V)
of the next ones come out. What the model must remember (a recurrent state, the keys and values of earlier positions,
the prefix itself) travels in `state`.
"""

import math

import torch

from helpers.common import check_choice, check_number, check_size, check_special

STRATEGIES = ("greedy", "sample", "beam")


def select_rows(state, index):
    """Pick rows of everything in a state: tensors along their first axis, inside tuples, lists and dictionaries.

    Args:
        state: a tensor (N, ...), a tuple, named tuple, list or dictionary of states; None and numbers stay as they are.
        index: the rows wanted, (M,), in order and repeated at will.

    Raises:
        TypeError: something else is in the state.
    """
    if isinstance(state, torch.Tensor):
        return state.index_select(0, index)  # (N, ...) → (M, ...)
    if isinstance(state, dict):
        return {name: select_rows(part, index) for name, part in state.items()}
    if isinstance(state, (tuple, list)):
        parts = [select_rows(part, index) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    if state is None or isinstance(state, (int, float)):
        return state
    raise TypeError(f"state holds a {type(state).__name__}; it may hold tensors, tuples, lists, dictionaries, numbers")


@torch.no_grad()
def generate(
    step, state, batch_size, *, max_length, bos_id=1, eos_id=2, pad_id=0, device=None,
    strategy=None, top_k=None, temperature=1.0, beam_size=None, length_penalty=0.6, generator=None,
):  # fmt: skip
    """Write a sequence for each row of a batch; a row stops at its own `<EOS>`, the batch when all rows have.

    `<PAD>` and `<BOS>` are never written before the end, however likely the model finds them.

    Args:
        step: `step(tokens (N,), state) -> (logits (N, V), state)`. It returns a new state and leaves the old one alone.
        state: what the first step gets; tensors in it have N = `batch_size` rows (see `select_rows`).
        batch_size: number of sequences B.
        max_length: most tokens a sequence may get, `<EOS>` counted.
        bos_id, eos_id, pad_id: ids of the special tokens.
        device: where the tokens are made.
        strategy: "greedy" takes the likeliest token; "sample" draws one; "beam" keeps several beginnings. None: "beam"
            where `beam_size` says more than 1, else "greedy".
        top_k: sampling draws among the k likeliest tokens only (Fan et al. 2018, section 5.4); None for all.
        temperature: sampling divides the logits by it.
        beam_size: how many beginnings beam search keeps for each sequence (None: 4); 1 is greedy.
        length_penalty: alpha of Wu et al. 2016, equation 14; beam search ranks by log-probability over
            ((5 + length) / 6)^alpha, so 0 is the log-probability itself.
        generator: the random numbers for sampling.

    Returns:
        tokens (B, T), without `<BOS>`; each row ends in `<EOS>`, then `<PAD>`, or is cut at `max_length`. And the last
        state, its rows those of the sequences returned; where a row had ended, what steps added to it means nothing.

    Raises:
        ValueError, TypeError: an argument is out of its range; names it.
    """
    sizes = {"batch_size": batch_size, "max_length": max_length, "beam_size": beam_size, "top_k": top_k}
    for name, size in sizes.items():
        if name not in ("beam_size", "top_k") or size is not None:
            check_size(name, size)
    if strategy is None:
        strategy = "greedy" if beam_size in (None, 1) else "beam"
    check_choice("strategy", strategy, STRATEGIES)
    beam_size = 4 if beam_size is None else beam_size
    check_number("temperature", temperature, above=0)  # towards 0 sampling becomes greedy
    check_number("length_penalty", length_penalty, low=0)
    check_special(bos_id=bos_id, eos_id=eos_id, pad_id=pad_id)
    special = (bos_id, eos_id, pad_id)
    if strategy == "beam":
        return _beam(step, state, batch_size, beam_size, length_penalty, max_length, special, device)

    def choose(logits):
        if strategy == "greedy":
            return logits.argmax(dim=-1)  # (B, V) → (B,)
        kept = logits if top_k is None else keep_top_k(logits, top_k)
        probabilities = (kept / temperature).softmax(dim=-1)
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)  # (B, V) → (B, 1) → (B,)

    return _one_by_one(step, state, batch_size, choose, max_length, special, device)


def keep_top_k(logits, k):
    """Return the logits with all but each row's k largest set to -inf; of equal ones `torch.topk` decides.

    Raises:
        ValueError: `k` is below 1 or more than there are tokens.
    """
    check_size("top_k", k)
    if k > logits.size(-1):
        raise ValueError(f"top_k={k} is more than the vocabulary of {logits.size(-1)}")
    largest = logits.topk(k, dim=-1)
    return torch.full_like(logits, -math.inf).scatter(-1, largest.indices, largest.values)


def _one_by_one(step, state, batch_size, choose, max_length, special, device):
    """Extend every row by the token that `choose` picks from its logits."""
    bos_id, eos_id, pad_id = special
    last = torch.full((batch_size,), bos_id, dtype=torch.long, device=device)
    ended = torch.zeros(batch_size, dtype=torch.bool, device=device)
    tokens = []
    for _ in range(max_length):
        logits, state = step(last, state)
        last = choose(_forbid(logits, (bos_id, pad_id))).masked_fill(ended, pad_id)  # (B,)
        tokens.append(last)
        ended = ended | (last == eos_id)
        if not last.is_meta and ended.all():
            break
    return torch.stack(tokens, dim=1), state  # T times (B,) → (B, T)


def _beam(step, state, batch_size, beam_size, alpha, max_length, special, device):
    """Keep the `beam_size` best beginnings of every row; one that has ended keeps its place and its score.

    Scores are in double precision, so that beginnings of different probability never tie by rounding.
    """
    bos_id, eos_id, pad_id = special
    B, K = batch_size, beam_size
    row = torch.arange(B, device=device).unsqueeze(1)  # (B, 1)
    state = select_rows(state, row.expand(B, K).flatten())  # B rows → B·K rows, a row's beam side by side
    tokens = torch.full((B, K, 1), bos_id, dtype=torch.long, device=device)
    # At first all K beginnings are the same <BOS>: only one of them may have children.
    total = torch.full((B, K), -math.inf, dtype=torch.float64, device=device)
    total[:, 0] = 0.0
    length = torch.zeros(B, K, dtype=torch.float64, device=device)
    ended = torch.zeros(B, K, dtype=torch.bool, device=device)
    for _ in range(max_length):
        logits, state = step(tokens[:, :, -1].flatten(), state)
        V = logits.size(-1)
        gain = _forbid(logits.double(), (bos_id, pad_id)).log_softmax(dim=-1).view(B, K, V)
        # An ended beginning has a single child, itself with one more <PAD>, at no cost.
        gain = gain.masked_fill(ended.unsqueeze(-1), -math.inf)
        gain[:, :, pad_id] = gain[:, :, pad_id].masked_fill(ended, 0.0)
        child_total = total.unsqueeze(-1) + gain  # (B, K, 1) + (B, K, V) → (B, K, V)
        child_length = length + (~ended)  # (B, K)
        rank = child_total / ((5 + child_length) / 6).pow(alpha).unsqueeze(-1)
        best = rank.flatten(1).topk(K, dim=-1).indices  # (B, K·V) → (B, K)
        parent, token = best // V, best % V
        total = child_total.flatten(1).gather(1, best)
        length, ended = child_length.gather(1, parent), ended.gather(1, parent)
        tokens = torch.cat([tokens[row, parent], token.unsqueeze(-1)], dim=-1)  # (B, K, t) → (B, K, t + 1)
        state = select_rows(state, (row * K + parent).flatten())
        ended = ended | (token == eos_id)
        if not tokens.is_meta and ended.all():
            break
    # `topk` sorts, so the first of each beam is the best. Others may have been longer: cut off what is padding only.
    longest = tokens.size(2) - 1 if tokens.is_meta else int(length[:, 0].max())
    return tokens[:, 0, 1 : longest + 1], select_rows(state, row.squeeze(1) * K)


def _forbid(logits, ids):
    """Return the logits (N, V) with -inf for some tokens. NaN is no opinion that a token could be chosen by."""
    check_special(logits.size(-1), **dict(zip(("bos_id", "pad_id"), ids)))
    if not logits.is_meta and logits.isnan().any():
        raise FloatingPointError("the model's logits hold NaN; look at its weights and at what it reads")
    forbidden = torch.zeros(logits.size(-1), dtype=torch.bool, device=logits.device)
    forbidden[list(ids)] = True
    return logits.masked_fill(forbidden, -math.inf)
