# %% [markdown] slideshow={"slide_type": "slide"}
# # Solutions to chapter 4, the full Transformer
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/solutions/04_full_transformer_solutions.ipynb)
#
# One way to solve each exercise of [chapter 4](../04_full_transformer.ipynb), with the reason for every line that is
# easily left out. Other ways are as good: the checks accept any right answer.

# %% [markdown]
# The setup cell is the same in every notebook of the series.

# %% cellView="form" jupyter={"source_hidden": true} tags=["setup", "nbval-ignore-output"]
# @title Setup, the same in every chapter: find the series or fetch it, name the device
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY, BRANCH = "your_account/flycatcher", "main"  # on GitHub
here, clone, part = Path.cwd(), Path.cwd() / "flycatcher", Path.cwd() / "flycatcher.part"
found = [f for p in (here, *here.parents, clone) for f in p.glob("helpers/start.py")]
series = [f.parents[1] for f in found if "\nEDITION = 2\n" in f.read_text(encoding="utf-8")]
if not series:
    url = f"https://github.com/{REPOSITORY}"
    old = f"{found[0].parents[1] if found else clone} is an old or unfinished copy of the series"
    assert not found and not clone.exists(), f"{old}: delete it (or `git pull` in it) and try again."
    assert "your_account" not in url, "your_account is a placeholder: open this notebook in a clone."
    assert shutil.which("git"), f"git is missing: install it, or work in an unpacked ZIP of {url}."
    shutil.rmtree(part, ignore_errors=True)  # what a try that was cut off has left
    command = ["git", "clone", "-q", "--depth=1", f"--branch={BRANCH}", url, str(part)]
    git = subprocess.run(command, stderr=subprocess.PIPE, encoding="utf-8", errors="replace")
    assert "could not create" not in git.stderr, f"{here} is read-only: move this notebook elsewhere."
    unknown = "not found" in git.stderr or "Username" in git.stderr
    assert not unknown, f"There is no branch {BRANCH} at {url}: check the two, above in this cell."
    assert git.returncode == 0, f"No answer: check the network and try again. ({git.stderr.strip()})"
    series = [part.rename(clone)]
sys.path[:] = dict.fromkeys([str(series[0]), *sys.path])  # before a helpers.py beside this notebook
sys.modules.pop("helpers", None)  # which may have been imported by now

from helpers.start import prepare

prepare()
import torch

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# %% [markdown]
# What the solutions need.

# %%
import math
from types import SimpleNamespace

from torch import nn
from torch.nn import functional as F

from helpers import generation
from helpers.attention import MultiHeadAttention, causal_mask, scaled_dot_product_attention
from helpers.checks import full_transformer as layer_checks
from helpers.checks import transformer_decoding as decoding_checks
from helpers.training import seed_everything

names = {n for checks in (layer_checks, decoding_checks) for n in dir(checks) if n.startswith("check_")}
print("checks:", len(names))


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 1 · the schedule
#
# The formula as it stands. At step = warmup both branches are equal, $\text{warmup}^{-0.5}$, so the peak is
# $1 / \sqrt{d_{\text{model}} \cdot \text{warmup}}$. With the paper's numbers, 512 and 4000, that is 0.0007.


# %%
def warmup_lr(step, d_model, warmup):
    return d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)


assert layer_checks.check_warmup_lr(warmup_lr)
for step in (1, 2000, 4000, 16000, 100_000):
    print(f"step {step:6}: {warmup_lr(step, 512, 4000):.7f}")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 2 · label smoothing
#
# The cross-entropy with the smoothed target is a sum over V classes, but nearly all of them have the same weight,
# `smoothing` / V. So two numbers a token are enough: the log-probability of the right class, and the mean over all
# classes, times `smoothing`. `log_softmax` never takes the logarithm of 0, whatever the logits. The real tokens are
# picked before the mean, so that padding is neither in the sum nor in the count.


# %%
def smoothed_loss(logits, target, smoothing, pad_id):
    log_p = logits.log_softmax(dim=-1)  # (B, T, V)
    right = log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)  # (B, T, V) → (B, T, 1) → (B, T)
    each = -(1 - smoothing) * right - smoothing * log_p.mean(dim=-1)  # (B, T)
    return each[target != pad_id].mean()


assert layer_checks.check_smoothed_loss(smoothed_loss)
seed_everything(0)
logits, target = torch.randn(3, 5, 8), torch.tensor([[4, 7, 5, 2, 0], [6, 2, 0, 0, 0], [3, 1, 4, 5, 2]])
theirs = F.cross_entropy(logits.transpose(1, 2), target, ignore_index=0, label_smoothing=0.1)
torch.testing.assert_close(smoothed_loss(logits, target, 0.1, 0), theirs)
print("equal to F.cross_entropy(label_smoothing=0.1, ignore_index=0)")

# %% [markdown]
# The best prediction is now the smoothed target itself, and its loss is not 0 but the entropy of that target. A model
# that is more certain than that pays for it, although it is right:

# %%
V, smoothing = 8, 0.1
for certainty in (0.5, 0.9, 1 - smoothing + smoothing / V, 0.99, 0.999):
    p = torch.full((1, 1, V), (1 - certainty) / (V - 1))
    p[..., 3] = certainty
    loss = smoothed_loss(p.log(), torch.tensor([[3]]), smoothing, pad_id=0)
    print(f"right class {certainty:.4f}: loss {loss:.4f}")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 3 · one decoder layer
#
# Three sublayers that differ in one thing only: what they read. So they are three small functions of `y`, and the loop
# around them holds the residual connection and the two norm orders. `memory` has passed through the encoder's own layer
# norm; it goes in as it is. The two attentions are two modules with weights of their own.


# %%
def decoder_layer(x, memory, layer, self_mask, memory_mask):
    sublayers = [
        (layer.norm_1, lambda y: layer.self_attention(y, y, y, self_mask)[0]),
        (layer.norm_2, lambda y: layer.cross_attention(y, memory, memory, memory_mask)[0]),
        (layer.norm_3, layer.feed_forward),
    ]
    for norm, sublayer in sublayers:
        x = x + sublayer(norm(x)) if layer.norm_first else norm(x + sublayer(x))  # (B, T, d_model)
    return x


assert layer_checks.check_decoder_layer(decoder_layer)

# %% [markdown]
# With the weights of PyTorch's layer it gives PyTorch's output, in both norm orders. Mind the masks: PyTorch's `True`
# means blocked.


# %%
def parts_of(theirs):
    return SimpleNamespace(
        self_attention=MultiHeadAttention.from_torch(theirs.self_attn),
        cross_attention=MultiHeadAttention.from_torch(theirs.multihead_attn),
        feed_forward=nn.Sequential(theirs.linear1, nn.ReLU(), theirs.linear2),
        norm_1=theirs.norm1, norm_2=theirs.norm2, norm_3=theirs.norm3, norm_first=theirs.norm_first,
    )


seed_everything(0)
x, memory = torch.randn(2, 4, 16), torch.randn(2, 5, 16)
padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
for norm_first in (True, False):
    theirs = nn.TransformerDecoderLayer(16, 4, 32, dropout=0.0, batch_first=True, norm_first=norm_first)
    expected = theirs(x, memory, tgt_mask=~causal_mask(4), memory_key_padding_mask=padding)
    got = decoder_layer(x, memory, parts_of(theirs), causal_mask(4), ~padding.unsqueeze(1))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    print("equal to nn.TransformerDecoderLayer with norm_first =", norm_first)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 4 · greedy decoding
#
# Four lines decide whether this is right. `masked_fill` comes before the append: a row that has ended gets padding. The
# `|` remembers: without it a row ends, gets one `<PAD>`, which is no `<EOS>`, and begins again. The question whether
# all have ended comes after the append, so that the last `<EOS>` is in the result. And the loop counts to `max_length`
# by itself, so that a model that never ends does no harm.


# %%
def greedy(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    tokens = torch.full((batch_size, 1), bos_id)
    ended = torch.zeros(batch_size, dtype=torch.bool)
    for _ in range(max_length):
        chosen = next_logits(tokens).argmax(dim=-1)  # (B, t) → (B, V) → (B,)
        chosen = chosen.masked_fill(ended, pad_id)
        tokens = torch.cat([tokens, chosen.unsqueeze(1)], dim=1)  # (B, t) → (B, t + 1)
        ended = ended | (chosen == eos_id)
        if ended.all():
            break
    return tokens[:, 1:]


assert decoding_checks.check_greedy(greedy)

# %% [markdown]
# A toy model for a comparison with `helpers.generation`: random numbers for each pair of tokens that follow each other,
# and a random preference for each row. The ids 0 and 1 are `<PAD>` and `<BOS>`, which nobody writes; 2 is `<EOS>`.

# %%
seed_everything(0)
preference, table = torch.randn(6, 12), torch.randn(12, 12)
preference[:, :2] = -math.inf


def next_logits(tokens):
    return preference + table[tokens].mean(dim=1)  # (B, t) → (B, t, V) → (B, V)


def step(last, prefix):
    prefix = torch.cat([prefix, last.unsqueeze(1)], dim=1)  # (B, t) → (B, t + 1)
    return next_logits(prefix), prefix


nothing = torch.zeros(6, 0, dtype=torch.long)
expected, _ = generation.generate(step, nothing, 6, max_length=10)
assert torch.equal(greedy(next_logits, 6, 10, bos_id=1, eos_id=2, pad_id=0), expected)
print("equal to helpers.generation.generate, lengths", (expected != 0).sum(1).tolist())


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 5 · top-k filtering
#
# `topk` sorts, so the last of its values is the smallest that stays. The slice `[:, -1:]` keeps the axis, and each row
# is compared with its own limit. `masked_fill` without an underscore returns a new tensor. This version keeps all
# logits that equal the limit; `scatter` with the places that `topk` returns keeps exactly `k`.


# %%
def top_k_filter(logits, k):
    limit = logits.topk(k, dim=-1).values[:, -1:]  # (B, V) → (B, k) → (B, 1)
    return logits.masked_fill(logits < limit, -math.inf)


assert decoding_checks.check_top_k_filter(top_k_filter)
logits = torch.tensor([[1.0, 3.0, 2.0]])
print("kept:", top_k_filter(logits, 2), " probabilities:", top_k_filter(logits, 2).softmax(-1))


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 6 · one step with a cache
#
# The new token asks with one query, so there is one row of scores. A causal mask allows that row everything: all the
# keys are in the past or its own. So there is no mask. (`F.scaled_dot_product_attention(..., is_causal=True)` would be
# wrong: it lays the mask's first row over the one query and leaves a single key.) `torch.cat` makes new tensors, and
# the old cache stays as it was.


# %%
def cached_step(x, cache, w_q, w_k, w_v, num_heads):
    parts = [(x @ w).unflatten(-1, (num_heads, -1)) for w in (w_q, w_k, w_v)]  # (B, 1, H, D) each
    q, k, v = (part.transpose(1, 2) for part in parts)  # (B, 1, H, D) → (B, H, 1, D)
    if cache is not None:
        k = torch.cat([cache[0], k], dim=2)  # (B, H, t, D) → (B, H, t + 1, D)
        v = torch.cat([cache[1], v], dim=2)  # (B, H, t, D) → (B, H, t + 1, D)
    output, _ = scaled_dot_product_attention(q, k, v)  # (B, H, 1, D)
    return output.transpose(1, 2).flatten(2), (k, v)  # (B, 1, d_model)


assert decoding_checks.check_cached_step(cached_step)

# %% [markdown]
# Seven steps, one after the other, against causal attention over all seven tokens at once:

# %%
seed_everything(0)
x, (w_q, w_k, w_v) = torch.randn(2, 7, 12), torch.randn(3, 12, 12) / math.sqrt(12)
q, k, v = ((x @ w).unflatten(-1, (3, -1)).transpose(1, 2) for w in (w_q, w_k, w_v))
at_once = scaled_dot_product_attention(q, k, v, causal_mask(7))[0].transpose(1, 2).flatten(2)
cache, rows = None, []
for t in range(7):
    row, cache = cached_step(x[:, t : t + 1], cache, w_q, w_k, w_v, num_heads=3)
    rows.append(row)
torch.testing.assert_close(torch.cat(rows, dim=1), at_once, atol=1e-5, rtol=1e-5)
print("equal; the cache holds keys of shape", tuple(cache[0].shape))


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 7 · beam search
#
# A hypothesis is a pair of a list and a number. Each round splits the beam into what is finished and what goes on. The
# finished ones are candidates as they are, so they keep their place until something better comes. The others bring V
# children each. All candidates are sorted together, by one rule. `len(tokens) - 1` leaves `<BOS>` out of the length.
# After the last round the beam is still sorted, so its first hypothesis is the best.


# %%
def beam_search(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
    def score(hypothesis):
        tokens, log_p = hypothesis
        return log_p / ((5 + len(tokens) - 1) / 6) ** length_penalty

    beam = [([bos_id], 0.0)]
    for _ in range(max_length):
        candidates = [h for h in beam if h[0][-1] == eos_id]
        running = [h for h in beam if h[0][-1] != eos_id]
        if not running:
            break
        gains = next_log_probs(torch.tensor([tokens for tokens, _ in running]))  # (n, t) → (n, V)
        for (tokens, log_p), row in zip(running, gains.tolist()):
            candidates += [(tokens + [token], log_p + gain) for token, gain in enumerate(row)]
        beam = sorted(candidates, key=score, reverse=True)[:beam_size]
    return beam[0][0][1:]


assert decoding_checks.check_beam_search(beam_search)

# %% [markdown]
# The toy model of exercise 4 again, with its first row: a beam of one is greedy, and a wider one agrees with
# `helpers.generation` (which fills a short row up with `<PAD>`).


# %%
def next_log_probs(prefixes):
    return (preference[:1] + table[prefixes].mean(dim=1)).log_softmax(dim=-1)


def beam_step(last, prefix):
    prefix = torch.cat([prefix, last.unsqueeze(1)], dim=1)
    return next_log_probs(prefix), prefix


one = beam_search(next_log_probs, 1, 10, bos_id=1, eos_id=2, length_penalty=0.6)
assert one == greedy(next_log_probs, 1, 10, bos_id=1, eos_id=2, pad_id=0)[0].tolist()
for size in (2, 4, 8):
    how = {"max_length": 10, "strategy": "beam", "beam_size": size, "length_penalty": 0.6}
    expected = generation.generate(beam_step, nothing[:1], 1, **how)[0][0]
    found = beam_search(next_log_probs, size, 10, 1, 2, 0.6)
    assert found == expected[expected != 0].tolist()
    print(f"beam of {size}: {found}")
print("a beam of 1 is greedy:", one)

# %% [markdown]
# Back to [chapter 4](../04_full_transformer.ipynb).
