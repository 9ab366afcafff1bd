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

from torch.nn import functional as F

from helpers import generation
from helpers.attention import causal_mask, scaled_dot_product_attention
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
# ## Exercise 2 · RMSNorm
#
# Two lines. `keepdim=True` keeps (..., 1), which broadcasts over the features. $\epsilon$ inside the root makes the norm of a
# vector of zeros zero, and its gradient finite.


# %%
def rms_norm(x, weight, eps):
    mean_square = x.square().mean(dim=-1, keepdim=True)  # (..., d_model) → (..., 1)
    return x / (mean_square + eps).sqrt() * weight


assert layer_checks.check_rms_norm(rms_norm)
seed_everything(0)
x, weight = torch.randn(2, 3, 8) + 2, torch.randn(8)
torch.testing.assert_close(rms_norm(x, weight, 1e-6), F.rms_norm(x, (8,), weight, 1e-6))
print("equal to F.rms_norm")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 3 · label smoothing
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
# ## Exercise 4 · nucleus sampling
#
# Sorted, largest first, the sum *before* a token decides: as long as it is below $p$, the token is needed. So the token that
# passes $p$ is in, and the likeliest one always is. `scatter` writes the verdict on each token back to its old place.


# %%
def nucleus(logits, p):
    ordered, order = logits.sort(dim=-1, descending=True)  # (B, V)
    chances = ordered.softmax(dim=-1)
    before = chances.cumsum(dim=-1) - chances
    dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= p)
    return logits.masked_fill(dropped, -math.inf)


assert decoding_checks.check_nucleus(nucleus)

# %% [markdown]
# A sure model and an unsure one. Top-k would keep the same number of both:

# %%
logits = torch.tensor([[0.9, 0.04, 0.03, 0.02, 0.01], [0.25, 0.22, 0.2, 0.18, 0.15]]).log()
for p in (0.5, 0.95):
    print(f"p = {p}: kept", nucleus(logits, p).isfinite().sum(dim=-1).tolist(), "of 5")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 5 · one step with a cache, from the matrices
#
# The new token asks with one query, so there is one row of scores. A causal mask allows that row everything: all the
# keys are in the past or its own. So there is no mask. (`F.scaled_dot_product_attention(..., is_causal=True)` would be
# wrong: it lays the mask's first row over the one query and leaves a single key.) `torch.cat` makes new tensors, and
# the old cache stays as it was.


# %%
def cached_attention(x, cache, w_q, w_k, w_v, num_heads):
    parts = [(x @ w).unflatten(-1, (num_heads, -1)) for w in (w_q, w_k, w_v)]  # (B, 1, H, D) each
    q, k, v = (part.transpose(1, 2) for part in parts)  # (B, 1, H, D) → (B, H, 1, D)
    if cache is not None:
        k = torch.cat([cache[0], k], dim=2)  # (B, H, t, D) → (B, H, t + 1, D)
        v = torch.cat([cache[1], v], dim=2)  # (B, H, t, D) → (B, H, t + 1, D)
    output, _ = scaled_dot_product_attention(q, k, v)  # (B, H, 1, D)
    return output.transpose(1, 2).flatten(2), (k, v)  # (B, 1, d_model)


assert decoding_checks.check_cached_attention(cached_attention)

# %% [markdown]
# Seven steps, one after the other, against causal attention over all seven tokens at once:

# %%
seed_everything(0)
x, (w_q, w_k, w_v) = torch.randn(2, 7, 12), torch.randn(3, 12, 12) / math.sqrt(12)
q, k, v = ((x @ w).unflatten(-1, (3, -1)).transpose(1, 2) for w in (w_q, w_k, w_v))
at_once = scaled_dot_product_attention(q, k, v, causal_mask(7))[0].transpose(1, 2).flatten(2)
cache, rows = None, []
for t in range(7):
    row, cache = cached_attention(x[:, t : t + 1], cache, w_q, w_k, w_v, num_heads=3)
    rows.append(row)
torch.testing.assert_close(torch.cat(rows, dim=1), at_once, atol=1e-5, rtol=1e-5)
print("equal; the cache holds keys of shape", tuple(cache[0].shape))


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 6 · a draft is checked
#
# The large model's own token is written at every place that is reached, whether it agrees with the draft or not: where it
# agrees the two are the same, and where it does not, the large model is right. The walk ends at the first difference, or
# behind the draft, where the last row gives one token for free.


# %%
def accept(draft, logits):
    written = []
    for place, own in enumerate(logits.argmax(dim=-1).tolist()):  # (k + 1, V) → k + 1 numbers
        written.append(own)
        if place == len(draft) or own != draft[place]:
            break
    return written


assert decoding_checks.check_accept(accept)

# %% [markdown]
# What is it good for? Two toy models, both random tables of what follows what; the small one is the large one with noise.
# The text is the large model's own, whatever the small one says, with fewer calls of the large one.

# %%
seed_everything(0)
large = torch.randn(12, 12)
small = large + 0.3 * torch.randn(12, 12)
alone, text, calls = [3], [3], 0
while len(alone) < 40:
    alone.append(large[alone[-1]].argmax().item())
while len(text) < 40:
    draft = [text[-1]]
    for _ in range(4):
        draft.append(small[draft[-1]].argmax().item())
    text += accept(torch.tensor(draft[1:]), large[draft])  # row i follows token i of the draft
    calls += 1
assert text[:40] == alone and calls < 39
print(f"39 tokens with {calls} calls of the large model, the same text")


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
# A toy model for a comparison with `helpers.generation`: a random preference, and random numbers for each pair of tokens
# that follow each other. The ids 0 and 1 are `<PAD>` and `<BOS>`, which nobody writes; 2 is `<EOS>`.

# %%
seed_everything(2)  # its four beams give four answers
preference, table = torch.randn(1, 12), torch.randn(12, 12)
preference[:, :2] = -math.inf


def next_log_probs(prefixes):
    return (preference + table[prefixes[:, -1]]).log_softmax(dim=-1)  # (n, t) → (n,) → (n, V)


def beam_step(last, prefix):
    prefix = torch.cat([prefix, last.unsqueeze(1)], dim=1)  # (n, t) → (n, t + 1)
    return next_log_probs(prefix), prefix


nothing = torch.zeros(1, 0, dtype=torch.long)
greedy, _ = generation.generate(beam_step, nothing, 1, max_length=10)
assert beam_search(next_log_probs, 1, 10, 1, 2, 0.6) == greedy[0].tolist()
for size in (2, 4, 8):
    how = {"max_length": 10, "strategy": "beam", "beam_size": size, "length_penalty": 0.6}
    expected = generation.generate(beam_step, nothing, 1, **how)[0][0]
    found = beam_search(next_log_probs, size, 10, 1, 2, 0.6)
    assert found == expected[expected != 0].tolist()
    print(f"beam of {size}: {found}")
print("a beam of 1 is greedy:", greedy[0].tolist())

# %% [markdown]
# Back to [chapter 4](../04_full_transformer.ipynb).
