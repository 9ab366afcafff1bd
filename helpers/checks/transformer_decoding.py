"""The exercises of chapter 4 on decoding: the nucleus, one step with a cache, a draft, beam search."""

import math

import torch

from helpers.attention import scaled_dot_product_attention
from helpers.checks.core import Exercise, then
from helpers.checks.shared import After, Writes, random

# Nucleus sampling


def nucleus(logits, p):
    ordered, order = logits.sort(dim=-1, descending=True)  # (B, V)
    chances = ordered.softmax(dim=-1)
    before = chances.cumsum(dim=-1) - chances  # what the more probable ones have together
    dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= p)
    return logits.masked_fill(dropped, -math.inf)


check_nucleus = Exercise(
    nucleus,
    cases=[
        (torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.8),
        (torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.5),
        (torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.95),
        (torch.tensor([[0.1, 0.6, 0.3], [0.25, 0.05, 0.7]]).log(), 0.65),
        (torch.tensor([[2.0]]), 0.5),
        (torch.tensor([[-7.0, -9.0, -8.0], [30.0, 10.0, 20.0]]), 0.9),
        (random(4, 7, seed=1), 0.7),
        (random(3, 3, seed=2), 0.4),
        (random(3, 9, seed=3, scale=5.0), 1e-6),
        (random(2, 6, seed=4), 1.0),
        (torch.tensor([[0.0, -math.inf, 1.0, -math.inf, 2.0]]), 0.8),
        (random(5, 12, seed=5).double(), 0.9),
    ],
    meaning="Where the model is sure few tokens are left to draw from, where it is not, many.",
    mistakes=[
        ("before >= p -> before + chances >= p", "the token that passes p belongs to the nucleus: the smallest set whose"
         " probabilities sum to AT LEAST p"),
        ("scatter(-1, order, before >= p) -> logical_or(before >= p)", "this is in the order of the sorting: bring it back to"
         " the order of the vocabulary, for instance with scatter"),
        ("descending=True -> descending=False", "begin with the MOST probable token: descending=True"),
        (", -math.inf) -> , 0.0)", "0 is an ordinary logit, e^0 = 1: the others get -inf"),
        (", -math.inf) -> , -1e4)", "a large negative number is no promise, other logits may lie below it: -inf"),
        ("before >= p -> chances < p", "p is not a limit for a single probability, but for their sum"),
        ("ordered.softmax(dim=-1) -> ordered", "logits are not yet probabilities: softmax first"),
        (then(lambda logits: logits.softmax(-1)), "logits are asked for, -inf and all: the softmax comes later"),
        (then(lambda logits: logits == -math.inf), "this is the mask; put -inf where it is True"),
        (lambda logits, p: logits, "nothing is filtered: all outside the nucleus get -inf"),
    ],
).check  # fmt: skip


# One step with a cache


def cached_attention(x, cache, w_q, w_k, w_v, num_heads):
    three = (x @ w for w in (w_q, w_k, w_v))  # (B, 1, d_model) each
    query, key, value = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in three)  # (B, H, 1, D)
    if cache is not None:
        key = torch.cat([cache[0], key], dim=2)  # (B, H, t + 1, D)
        value = torch.cat([cache[1], value], dim=2)
    output, weights = scaled_dot_product_attention(query, key, value)
    joined = output.transpose(1, 2).flatten(2)  # (B, 1, d_model)
    return joined, (key, value)


def _step_case(batch, num_heads, head_dim, earlier, seed, scale=1.0):
    d_model = num_heads * head_dim
    weights = tuple(random(d_model, d_model, seed=seed + i, scale=d_model**-0.5) for i in range(3))
    cache = None
    for i in range(earlier):
        _, cache = cached_attention(random(batch, 1, d_model, seed=seed + 10 + i), cache, *weights, num_heads)
    return random(batch, 1, d_model, seed=seed + 5, scale=scale), cache, *weights, num_heads


def _grown(key, value):
    """Return the edits that let the cache grow in another way."""
    return (f"torch.cat([cache[0], key], dim=2) -> {key}", f"torch.cat([cache[1], value], dim=2) -> {value}")


_one = torch.ones(1, 1)
_attend = "attention(query, key, value)"
_join = "output.transpose(1, 2).flatten(2)"
_seen = "attention(query, key{0}, value{0})"

check_cached_attention = Exercise(
    cached_attention,
    cases=[
        (torch.tensor([[[3.0]]]), None, _one, _one, _one, 1),
        (torch.tensor([[[0.0]]]), (torch.tensor([[[[2.0]]]]), torch.tensor([[[[4.0]]]])), _one, _one, _one, 1),
        _step_case(1, 1, 2, 1, 1),
        _step_case(1, 2, 2, 0, 20),
        _step_case(1, 2, 2, 2, 40),
        _step_case(2, 2, 2, 3, 60),
        _step_case(3, 4, 3, 6, 80),
        _step_case(2, 3, 4, 1, 100),
        _step_case(2, 2, 4, 9, 120, scale=30.0),
        _step_case(4, 2, 1, 3, 140),  # B = t + 1
        _step_case(1, 2, 3, 150, 160),
    ],
    meaning="One query, one new key, one new value: the past is looked up and not computed again.",
    mistakes=[
        (_grown("key", "value"), "the cache is replaced by the new key and value: append them"),
        (_grown("torch.cat([cache[0][:, :, :-1], key], dim=2)", "torch.cat([cache[1][:, :, :-1], value], dim=2)"), "the newest"
         " key and value of the cache are overwritten: append instead"),
        (_grown("cache[0]", "cache[1]"), "the new key and value never get into the cache"),
        (_grown("torch.cat([key, cache[0]], dim=2)", "torch.cat([value, cache[1]], dim=2)"), "the new key and value go to the"
         " end, in the order of the tokens"),
        (_grown("cache[0] + key", "cache[1] + value"), "append, do not add: the cache grows by one position"),
        (f"{_attend} -> {_seen.format('[:, :, : max(1, key.size(2) - 1)]')}", "the new token attends to itself too: append"
         " first, then attend, and mask nothing"),
        (f"{_attend} -> {_seen.format('[:, :, -1:]')}", "the new token attends to itself only: use all the keys in the cache"),
        (f"{_attend} -> {_seen.format('[:, :, :1]')}", "a causal mask of shape (1, t + 1) leaves only the first key"
         " (is_causal=True does the same): the newest token may see everything, no mask is needed"),
        (f"{_attend} -> attention(query.expand_as(key), key, value, torch.ones(key.size(2), key.size(2),"
         " dtype=torch.bool).tril())", "a square causal mask makes t + 1 rows out of one: there is a single query, and it may"
         " see everything, so no mask is needed"),
        ("(key, value)\n -> cache or (key, value)\n", "return the cache with the new key and value in it"),
        ("(key, value)\n -> (key[:, :, -1:], value[:, :, -1:])\n", "return the whole cache, not the new key and value alone"),
        ("(key, value)\n -> (value, key)\n", "the new cache is (keys, values), in this order"),
        ("(w_q, w_k, w_v)) -> (w_k, w_q, w_v))", "queries and keys are exchanged"),
        ("(w_q, w_k, w_v)) -> (w_q, w_v, w_k))", "keys and values are exchanged"),
        ("(w_q, w_k, w_v)) -> (w_q, w_q, w_v))", "the cache holds queries where keys belong: x @ w_k"),
        ("x @ w for -> x @ w.T for", "the matrices are in the paper's layout: x @ w_q, without a transpose"),
        (("(-1, (num_heads, -1)).transpose(1, 2) -> (-1, (-1, num_heads)).permute(0, 3, 1, 2)", f"{_join} ->"
          " output.permute(0, 2, 3, 1).flatten(2)"), "a head gets neighbouring features: unflatten(-1, (num_heads, -1)), then"
         " transpose(1, 2)"),
        (f"{_join} -> output.permute(0, 2, 3, 1).flatten(2)", "the heads' features are interleaved: first all of head 1, then"
         " all of head 2"),
        (f"{_attend} -> attention(query * query.size(-1) ** 0.5, key, value)", "the scores are not divided by √head_dim"),
        (f"{_attend} -> attention(query / num_heads**0.5, key, value)", "divide by √head_dim, not by √d_model"),
        (f"{_join} -> (weights.mean(1, keepdim=True) @ value).transpose(1, 2).flatten(2)", "the weights are averaged over the"
         " heads; each head uses its own"),
        (f"{_join} -> output", "join the heads: (B, H, 1, D) → (B, 1, d_model)"),
        (then(lambda result: result[::-1]), "return (output, cache), in this order"),
    ],
    tolerance=1e-4,
).check  # fmt: skip


# A draft is checked


def accept(draft, logits):
    written = []
    for place, own in enumerate(logits.argmax(dim=-1).tolist()):  # (k + 1, V) → k + 1 numbers
        written.append(own)
        if place == len(draft) or own != draft[place]:
            break
    return written


def _opinions(*likeliest, seed=0, vocabulary=10):
    """Return logits (k + 1, V) whose largest numbers stand at the given ids."""
    logits = random(len(likeliest), vocabulary, seed=seed)
    return logits.scatter(1, torch.tensor(likeliest).unsqueeze(1), 9.0)


def _listed(function):
    """Accept the tokens as a tensor or a tuple too."""

    def answer(*arguments):
        got = function(*arguments)
        if isinstance(got, torch.Tensor) and got.dim() == 1 and not got.is_floating_point():
            return got.tolist()
        return [x.item() if isinstance(x, torch.Tensor) else x for x in got] if isinstance(got, tuple | list) else got

    return answer


check_accept = Exercise(
    accept,
    cases=[
        (torch.tensor([4, 7, 5]), _opinions(4, 7, 2, 9)),
        (torch.tensor([4, 7, 5]), _opinions(4, 7, 5, 9, seed=1)),
        (torch.tensor([4, 7, 5]), _opinions(3, 7, 5, 9, seed=2)),
        (torch.tensor([4, 7, 5]), _opinions(4, 2, 5, 9, seed=3)),
        (torch.tensor([6]), _opinions(6, 6, seed=4)),
        (torch.tensor([6]), _opinions(2, 6, seed=5)),
        (torch.tensor([], dtype=torch.long), _opinions(8, seed=6)),
        (torch.tensor([1, 2, 3, 4, 5, 6]), _opinions(1, 2, 3, 4, 0, 6, 7, seed=7)),
        (torch.tensor([2, 2, 2]), _opinions(2, 2, 2, 2, seed=8)),
        (torch.tensor([4, 7, 5, 1]), _opinions(4, 0, 0, 1, 3, seed=9)),
    ],
    meaning="One call of the large model writes up to k + 1 tokens, and they are those that it would have written alone.",
    mistakes=[
        ("written.append(own) -> written.append(own if place == len(draft) else draft[place].item())", "where the two differ the"
         " large model is right: its token is added, not the draft's"),
        ("own != draft[place] -> False", "what follows a rejected token is void: the large model read the wrong token there"),
        ("place == len(draft) or own != draft[place] -> place == len(draft) - 1 or own != draft[place]", "if the whole draft is"
         " accepted, the last row of logits gives one more token"),
        (lambda draft, logits: accept(draft, logits)[:-1], "after the accepted tokens comes one more, the large model's own"),
        (lambda draft, logits: [*draft.tolist(), logits[-1].argmax().item()], "compare the draft with what the large model"
         " would write: row i of the logits is its opinion on the token at place i"),
        (lambda draft, logits: accept(draft[1:], logits), "row i of the logits speaks of place i of the draft, not of place"
         " i + 1"),
        ("argmax -> argmin", "the LARGEST logit is the likeliest token"),
        (lambda draft, logits: len(accept(draft, logits)) - 1, "return the tokens, not their number"),
        (lambda draft, logits: [t for t, o in zip(draft.tolist(), logits.argmax(-1).tolist()) if t == o], "stop at the first"
         " token that the large model would not have written, and add its own there"),
    ],
    view=_listed,
).check  # fmt: skip


# Beam search


def beam_search(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
    def score(hypothesis):
        tokens, total = hypothesis
        length = len(tokens) - 1  # <BOS> is not counted
        return total / ((5 + length) / 6) ** length_penalty

    def ended(hypothesis):
        return hypothesis[0][-1] == eos_id

    beam = [([bos_id], 0.0)]
    for _ in range(max_length):
        running = [h for h in beam if not ended(h)]
        candidates = [h for h in beam if ended(h)]
        if not running:
            break
        log_probs = next_log_probs(torch.tensor([tokens for tokens, _ in running]))  # (rows, t) → (rows, V)
        for (tokens, total), row in zip(running, log_probs.tolist()):
            candidates += [(tokens + [token], total + gain) for token, gain in enumerate(row)]
        beam = sorted(candidates, key=score, reverse=True)[:beam_size]
    return max(beam, key=score)[0][1:]


_trap = {1: {3: 0.6, 4: 0.4}, 3: {2: 0.4, 3: 0.3, 4: 0.3}, 4: {2: 0.9, 3: 0.05, 4: 0.05}}
_early = {1: {2: 0.4, 3: 0.35, 4: 0.25}, 3: {4: 0.95, 3: 0.05}, 4: {2: 0.9, 3: 0.1}}
_endless = {1: {3: 0.5, 4: 0.5}, 3: {3: 0.6, 4: 0.4}, 4: {3: 0.7, 4: 0.3}}
_children = "[(tokens + [token], total + gain) for token, gain in enumerate(row)]"
_penalty = "((5 + length) / 6) ** length_penalty"
_cut = "[:beam_size]"


def _beam_case(model, beam_size, max_length, length_penalty, bos_id=1, eos_id=2):
    return model, beam_size, max_length, bos_id, eos_id, length_penalty


check_beam_search = Exercise(
    beam_search,
    cases=[
        _beam_case(After(_trap), 1, 3, 0.0),
        _beam_case(After(_trap), 2, 3, 0.0),
        _beam_case(After(_trap), 2, 1, 0.0),
        _beam_case(After(_early), 2, 4, 0.0),
        _beam_case(After(_early), 3, 4, 1.0),
        _beam_case(After(_early), 9, 4, 0.6),
        _beam_case(After(_endless), 2, 6, 0.6),
        *[
            _beam_case(Writes(seed, eos_bonus=bonus, sharpness=sharpness), size, length, alpha)
            for seed, size, length, alpha, bonus, sharpness in [
                (200, 2, 4, 0.0, 0.0, 1.5), (210, 3, 5, 0.6, 0.0, 1.5), (230, 1, 6, 0.6, 0.0, 1.5),
                (250, 10, 3, 0.6, 0.0, 1.5), (260, 3, 7, 1.5, 1.5, 1.5), (280, 2, 5, 1.0, -1.0, 1.5),
                # chosen so that every known mistake shows, and no two of them alike
                (720, 2, 4, 1.0, 0.0, 0.7), (110, 4, 5, 1.0, 2.0, 1.5), (269, 4, 6, 2.0, 0.5, 0.7),
                (501, 2, 6, 1.5, 1.0, 0.7), (503, 2, 6, 1.5, 1.0, 0.7),  # where it matters what a length counts
                (503, 4, 6, 1.0, 0.5, 0.7), (506, 4, 6, 1.0, 0.5, 0.7),  # three children of one hypothesis stay
            ]
        ],
        _beam_case(Writes(400, never=(5, 6), eos_id=0), 3, 5, 0.6, bos_id=5, eos_id=0),
    ],
    meaning="A wider view costs beam_size times the work, and with one hypothesis it is greedy.",
    mistakes=[
        (f"{_cut} -> [:1]", "this is greedy: only one hypothesis survives (or are all of them copies of the same one? At first"
         " there is one <BOS>, not beam_size)"),
        (f"{_children} -> sorted({_children}, key=score)[-1 if len(running) > 1 else 0 :]", "the children of all hypotheses"
         " compete for the places: a good one may have two in the beam, a bad one none"),
        (f"{_children} -> sorted({_children}, key=score)[-max(1, beam_size - 1) :]", "each hypothesis may have as many children"
         " in the beam as it is wide; here it has fewer"),
        ("total + gain -> total + math.exp(gain)", "add log-probabilities, not probabilities"),
        ("total + gain -> gain", "a hypothesis is worth the sum of the log-probabilities of all its tokens, not of the last"),
        ("reverse=True -> reverse=False", "the LARGEST scores stay in the beam"),
        ("candidates = [h for h in beam if ended(h)] -> candidates = []", "a finished hypothesis keeps its place: it goes on"
         " competing, unchanged"),
        (("candidates = [h for h in beam if ended(h)] -> candidates = []", "running = [h for h in beam if not ended(h)] ->"
          " running = beam"), "a finished hypothesis is extended: <EOS> ends it"),
        (("beam = [([bos_id], 0.0)] -> beam, aside = [([bos_id], 0.0)], []", f"{_cut} -> {_cut}\n        aside += [h for h in"
          " beam if ended(h)]\n        beam = [h for h in beam if not ended(h)]", "max(beam, -> max(beam + aside,"),
         "a finished hypothesis is put aside and its place given to another: it keeps its place in the beam, or loses it to a"
         " better one"),
        (f"{_cut} -> {_cut}\n        if any(map(ended, beam)):\n            break", "this stops as soon as one hypothesis is"
         " finished: others may still be better"),
        (f"{_cut} -> {_cut}\n        if ended(beam[0]):\n            break", "this stops as soon as the best hypothesis is"
         " finished: with a length penalty a longer one may still overtake it"),
        ("max(beam, -> max([h for h in beam if ended(h)] or beam,", "at max_length unfinished hypotheses count like finished"
         " ones: return the best of all"),
        (f" / {_penalty} -> ", "the length penalty changes nothing here: divide by ((5 + length) / 6)^length_penalty, and let"
         " the length of a finished hypothesis stay as it is"),
        ("sorted(candidates, key=score -> sorted(candidates, key=lambda h: h[1]", "the length penalty belongs into every"
         " ranking, not only into the last"),
        ("max(beam, key=score) -> max(beam, key=lambda h: h[1])", "the result is the best by the penalised score, too"),
        ("total / ( -> total * (", "divide by the length penalty; the numbers are negative, so multiplying favours short ones"
         " even more"),
        (f"{_penalty} -> length", "this ranks by the mean; the penalty is ((5 + length) / 6)^length_penalty"),
        ("((5 + length) / 6) -> length", "the penalty is ((5 + length) / 6)^length_penalty, not length^length_penalty"),
        (" ** length_penalty -> ", "length_penalty is the exponent of (5 + length) / 6"),
        ("len(tokens) - 1 -> len(tokens)", "the length counts the tokens written, <BOS> not among them"),
        ("len(tokens) - 1 -> len(tokens) - 1 - (tokens[-1] == eos_id)", "the length counts the tokens written, <EOS> among"
         " them"),
        ("range(max_length) -> range(max(1, max_length - 1))", "max_length counts the tokens written, <BOS> not among them: one"
         " more"),
        ("range(max_length) -> range(max_length + 1)", "one token too many: max_length counts the tokens written"),
        ("[0][1:] -> [0]", "<BOS> only starts the model: leave it out of the result"),
        ("return max(beam, key=score)[0][1:] -> return [t for t in max(beam, key=score)[0][1:] if t != eos_id]", "<EOS> belongs"
         " to the result"),
    ],
).check  # fmt: skip
