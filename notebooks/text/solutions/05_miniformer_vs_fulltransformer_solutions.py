# %% [markdown] slideshow={"slide_type": "slide"}
# # 5. MiniFormer against FullTransformer: solutions
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/solutions/05_miniformer_vs_fulltransformer_solutions.ipynb)
#
# One way for each exercise of chapter 5. Another way is as good if the check says ✓.

# %% [markdown]
# Run the setup first, as in the chapter.

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

# %%
from helpers.checks import miniformer_vs_fulltransformer as checks

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 1: a bigram model from a table of counts
#
# `k` is shared out evenly, `k / V` for each of the V symbols, so each row's total grows by exactly `k`. A row without
# counts becomes uniform.


# %%
def bigram_probabilities(counts, k):
    smoothed = counts + k / counts.size(1)  # (V, V)
    return smoothed / smoothed.sum(dim=1, keepdim=True)  # each row by its own total


checks.check_bigram_probabilities(bigram_probabilities)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 2: temperature, also 0
#
# `argmax` returns the first of several equal maxima, which is what the task asks for.


# %%
def with_temperature(logits, temperature):
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(dim=-1), logits.size(-1)).float()
    return (logits / temperature).softmax(dim=-1)


checks.check_with_temperature(with_temperature)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 3: attention to the letter before, padding left out
#
# Query `i` (from 1 on) is real when `i < length`. Sum over words and positions, divide by how many were counted.


# %%
def mean_to_previous(weights, lengths):
    previous = weights.diagonal(offset=-1, dim1=-2, dim2=-1)  # (B, H, T, T) → (B, H, T - 1)
    real = torch.arange(1, weights.size(-1)) < lengths.unsqueeze(1)  # (B, T - 1)
    return (previous * real.unsqueeze(1)).sum(dim=(0, 2)) / real.sum()  # (H,)


checks.check_mean_to_previous(mean_to_previous)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 4: normalised entropy
#
# The first row would divide 0 by ln 1 = 0. `torch.where` chooses 0 there, and `clamp` keeps the other branch finite.


# %%
def normalised_entropy(weights):
    entropy = -torch.special.xlogy(weights, weights).sum(dim=-1)  # (T, T) → (T,)
    visible = torch.arange(1, len(weights) + 1)
    return torch.where(visible > 1, entropy / visible.clamp(min=2).log(), 0.0)


checks.check_normalised_entropy(normalised_entropy)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 5: spread a head evenly
#
# Each row of `visible` divided by its number of True; `clamp` keeps an empty row at 0 instead of 0/0. `clone` first, so
# that the weights that came in stay as they were.


# %%
def spread_head(weights, visible, head):
    number = visible.sum(dim=-1, keepdim=True)  # (T, T) → (T, 1)
    spread = weights.clone()  # (H, T, T)
    spread[head] = visible / number.clamp(min=1)
    return spread


checks.check_spread_head(spread_head)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 6: remove an edge
#
# The distance from query `i` to key `j` is `i - j`. Visible is what lies at distance 0 or more, except at `offset`. The
# lowest finite number stands in for minus infinity, and the product with the mask turns a row with nothing left into
# zeros instead of NaN.


# %%
def without_edge(scores, offset):
    positions = torch.arange(len(scores))
    distance = positions.unsqueeze(1) - positions  # (T, T)
    visible = (distance >= 0) & (distance != offset)
    return (
        scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(dim=-1) * visible
    )


checks.check_without_edge(without_edge)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 7: is the difference luck?
#
# The difference comes first, so a word that is drawn is drawn for both models at once: what is hard about a word cancels.


# %%
def paired_interval(a, b, draws):
    means = (b - a)[draws].mean(dim=1)  # (N,)[(R, N)] → (R, N) → (R,)
    return torch.quantile(means, torch.tensor([0.05, 0.95], dtype=means.dtype))


checks.check_paired_interval(paired_interval)
