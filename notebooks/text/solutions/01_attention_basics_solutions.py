# %% [markdown] slideshow={"slide_type": "slide"}
# # Solutions to chapter 1, attention basics
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/solutions/01_attention_basics_solutions.ipynb)
#
# One way to solve each exercise of [chapter 1](../01_attention_basics.ipynb), with the reason for every line that is
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

from helpers.attention import scaled_dot_product_attention
from helpers.checks import attention_basics as checks

print("checks:", len([name for name in dir(checks) if name.startswith("check_")]))


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 1 · a softmax that does not overflow
#
# Subtract the largest score of each row. This multiplies numerator and denominator by the same number $e^{-\max}$, so the
# result stays. Now the largest exponent is 0, and nothing overflows; the sum is at least 1, so nothing is divided by zero.
# `amax` gives the values only, `keepdim=True` keeps the axis for broadcasting.

# %%
def softmax(scores):
    exps = (scores - scores.amax(dim=-1, keepdim=True)).exp()  # (..., n) - (..., 1) → (..., n)
    return exps / exps.sum(dim=-1, keepdim=True)


assert checks.check_softmax(softmax)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 2 · padding mask for a batch
#
# Every position against every length, by broadcasting. "Less than" and not "at most": a sequence of length 1 has its only
# token at position 0.

# %%
def padding_mask(lengths, max_length):
    position = torch.arange(max_length, device=lengths.device)
    return position < lengths.view(-1, 1, 1)  # (max_length,) < (B, 1, 1) → (B, 1, max_length)


assert checks.check_padding_mask(padding_mask)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 3 · a sliding window
#
# `back` says how many places before the query the key stands. Negative numbers are the future, 0 is the token itself. With
# a window of `width` tokens the furthest allowed is `width - 1` back.

# %%
def sliding_window(length, width):
    position = torch.arange(length)
    back = position.unsqueeze(1) - position  # (length, 1) - (length,) → (length, length)
    return (back >= 0) & (back < width)


assert checks.check_sliding_window(sliding_window)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 4 · a price for distance
#
# The same `back`, times minus the slope of each head. The mask comes last: multiplying a distance of infinity by a slope
# of 0 would give NaN. The paper takes slopes that halve from head to head, 1/2, 1/4, 1/8, ...

# %%
def distance_bias(slopes, length):
    position = torch.arange(length, device=slopes.device)
    back = position.unsqueeze(1) - position  # (length, length)
    bias = -slopes.view(-1, 1, 1) * back  # (H, 1, 1) * (length, length) → (H, length, length)
    return bias.masked_fill(back < 0, -math.inf)


assert checks.check_distance_bias(distance_bias)

# %% [markdown]
# Look at what it does to four equal scores: what is nearer gets more, and what is later gets nothing.

# %%
print(distance_bias(torch.tensor([0.5]), 4)[0].softmax(dim=-1))


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 5 · rotary positions
#
# Each pair is turned by its own angle. The angles are a table, positions by pairs. `stack` puts the two numbers of a pair
# side by side on a new last axis, and `flatten(-2)` lays the pairs in a row again.

# %%
def rotate(x, positions):
    a, b = x[..., 0::2], x[..., 1::2]  # (..., T, d) → (..., T, d/2), two of them
    pairs = torch.arange(0, x.size(-1), 2, device=x.device)
    omega = 10000 ** (-pairs / x.size(-1))  # (d/2,)
    angle = positions.unsqueeze(1) * omega  # (T, 1) * (d/2,) → (T, d/2)
    turned = a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()
    return torch.stack(turned, dim=-1).flatten(-2)  # (..., T, d/2, 2) → (..., T, d)


assert checks.check_rotate(rotate)

# %% [markdown]
# Why it works: turning the query by $p\,\omega$ and the key by $r\,\omega$ leaves between them the angle $(p - r)\,\omega$
# and what there was before. So the dot product of *one* query with *one* key, put at all places, depends on the distance
# alone: every diagonal is constant. Unlike the sines that are added to the tokens, this holds for any query and key.

# %%
generator = torch.Generator().manual_seed(0)
query, key = torch.randn(2, 8, generator=generator)
places = torch.arange(20)
scores = rotate(query.expand(20, 8), places) @ rotate(key.expand(20, 8), places).T  # (20, 20)
for distance in range(-19, 20):
    along = scores.diagonal(distance)
    assert along.max() - along.min() < 1e-4


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 6 · go on where you stopped
#
# Query $i$ stands at position $T_k - T_q + i$, so the triangle is shifted to the right by $T_k - T_q$. The bare `tril()` is
# aligned at the upper left corner, and so is `is_causal=True` of PyTorch's function: with one query and many keys it
# would let the newest token see only the very first. No error says so.

# %%
def continue_attention(query, key, value):
    T_q, T_k = query.size(-2), key.size(-2)
    mask = torch.ones(T_q, T_k, dtype=torch.bool, device=query.device).tril(T_k - T_q)
    return scaled_dot_product_attention(query, key, value, mask)[0]


assert checks.check_continue_attention(continue_attention)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 7 · the leak test
#
# Each position from the second on is changed in turn, and all outputs before it are compared. A copy is changed, never
# `x` itself. `bool(...)` turns a tensor with one boolean into Python's `True` or `False`.

# %%
def leaks(attend, x):
    expected = attend(x)  # (T, d_model) → (T, d)
    for position in range(1, len(x)):
        changed = x.clone()
        changed[position] += 1.0
        moved = (attend(changed)[:position] - expected[:position]).abs()  # (position, d)
        if bool(moved.max() > 1e-4):
            return True
    return False


assert checks.check_leaks(leaks)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 8 · attention in blocks
#
# All exponentials so far count from the largest score so far, $m$. When a block brings a larger one, $m'$, everything
# kept must be multiplied by $e^{m - m'}$: that is what `kept` does. At first $m = -\infty$, so `kept` is 0 and the zeros
# stay zeros. In the end the sum of weighted values is divided by the sum of the exponentials: the softmax, done last.

# %%
def attention_in_blocks(query, blocks):
    largest = torch.full((len(query), 1), -math.inf)
    total, output = torch.zeros(len(query), 1), torch.zeros(len(query), blocks[0][1].size(-1))
    for key, value in blocks:
        scores = query @ key.T / math.sqrt(query.size(-1))  # (T_q, n)
        new = torch.maximum(largest, scores.amax(dim=-1, keepdim=True))  # (T_q, 1)
        kept, exps = (largest - new).exp(), (scores - new).exp()
        total = kept * total + exps.sum(dim=-1, keepdim=True)  # (T_q, 1)
        output = kept * output + exps @ value  # (T_q, d_v)
        largest = new
    return output / total


assert checks.check_attention_in_blocks(attention_in_blocks)

# %% [markdown]
# Back to [chapter 1](../01_attention_basics.ipynb).
