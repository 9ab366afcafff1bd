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

from helpers.checks import attention_basics as checks

print("checks:", len([name for name in dir(checks) if name.startswith("check_")]))


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 1 · softmax
#
# Subtract the largest score of each row. This multiplies numerator and denominator by the same number
# $e^{-\max}$, so the result stays. Now the largest exponent is 0, and nothing overflows; the sum is at least 1, so nothing
# is divided by zero. `amax` gives the values only, `keepdim=True` keeps the axis for broadcasting.

# %%
def softmax(scores):
    exps = (scores - scores.amax(dim=-1, keepdim=True)).exp()  # (..., n) - (..., 1) → (..., n)
    return exps / exps.sum(dim=-1, keepdim=True)


assert checks.check_softmax(softmax)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 2 · scaled dot-product attention
#
# Two lines deserve a word. The forbidden scores become the lowest *finite* number: in a row that is masked throughout,
# all scores are then equal and the softmax is an even average instead of NaN. The second `masked_fill` turns that
# average into zeros. In all other rows it changes nothing, because their forbidden weights are 0 already.

# %%
def my_attention(query, key, value, mask=None):
    scores = (
        query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    )  # (..., T_q, d_k) → (..., T_q, T_k)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ value, weights  # (..., T_q, d_v), (..., T_q, T_k)


assert checks.check_attention(my_attention)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 3 · causal mask
#
# A column of positions (the queries) against a row of positions (the keys): broadcasting compares every pair.
# `torch.ones(length, length, dtype=torch.bool).tril()` is the same.

# %%
def causal_mask(length):
    position = torch.arange(length)
    return position.unsqueeze(1) >= position  # (length, 1) >= (length,) → (length, length)


assert checks.check_causal_mask(causal_mask)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 4 · padding mask for a batch
#
# The same trick with three axes. "Less than" and not "at most": a sequence of length 1 has its only token at position 0.

# %%
def padding_mask(lengths, max_length):
    position = torch.arange(max_length, device=lengths.device)
    return position < lengths.view(-1, 1, 1)  # (max_length,) < (B, 1, 1) → (B, 1, max_length)


assert checks.check_padding_mask(padding_mask)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 5 · layer norm
#
# All over the last axis; the mean of the squares, which divides by d_model; ε under the root.

# %%
def my_layer_norm(x, weight, bias, eps):
    centred = x - x.mean(dim=-1, keepdim=True)  # (..., d_model) - (..., 1)
    variance = (centred**2).mean(dim=-1, keepdim=True)  # (..., d_model) → (..., 1)
    return weight * centred / torch.sqrt(variance + eps) + bias


assert checks.check_layer_norm(my_layer_norm)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 6 · position encoding
#
# One column of angles for each pair. With an odd width there is one sine more than there are cosines: the slice
# `[:, : d_model // 2]` takes exactly as many angles as there are odd columns.

# %%
def position_encoding(length, d_model):
    position = torch.arange(length).unsqueeze(1)  # (length, 1)
    angle = position / 10000 ** (torch.arange(0, d_model, 2) / d_model)  # (length, ⌈d_model/2⌉)
    encoding = torch.empty(length, d_model)
    encoding[:, 0::2] = angle.sin()
    encoding[:, 1::2] = angle[:, : d_model // 2].cos()
    return encoding


assert checks.check_position_encoding(position_encoding)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 7 · the block
#
# In both orders the second half starts from the *new* `x`. In pre-norm the sum is taken with `x` itself, which has not
# been normalised: that is the straight way for the gradient.

# %%
def my_block(x, attend, feed_forward, norm_1, norm_2, norm_first):
    if norm_first:
        x = x + attend(norm_1(x))
        return x + feed_forward(norm_2(x))
    x = norm_1(x + attend(x))
    return norm_2(x + feed_forward(x))


assert checks.check_block(my_block)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 8 · the leak test
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

# %% [markdown]
# Back to [chapter 1](../01_attention_basics.ipynb).
