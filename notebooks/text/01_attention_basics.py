# %% [markdown] slideshow={"slide_type": "slide"}
# # 1. Attention basics: from a dot product to a Transformer block
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/01_attention_basics.ipynb)
#
# You know Python and you know what a tensor is. At the end of this chapter you write attention from an empty cell,
# you say why each line is there, and you find the bug in somebody else's version. Nothing is taken on trust: every
# claim that can be measured is measured in the cell beside it.

# %% [markdown]
# | | |
# |---|---|
# | **You will be able to** | compute attention by hand, as a loop and as a matrix product; explain the scale, the masks and the position encoding; build a Transformer block that equals PyTorch's; recognise ten bugs that leave the shape right |
# | **Time** | about 40 seconds to run on two CPU cores; three to four hours to read, with the exercises |
# | **You need** | Python, PyTorch tensors (shapes, `@`, broadcasting), and to have seen a small `nn.Module` and one training loop |

# %% [markdown]
# The next cell finds the files of the series and chooses a device. It is the same in every chapter, and you need not
# read it.

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
# One import cell. What comes from `helpers` is drawing, training and measuring; attention itself you build here, and
# you compare it with `helpers` and with PyTorch when it is done. One thread, so that numbers repeat.

# %% tags=["nbval-ignore-output"]
import inspect
import math

import matplotlib.pyplot as plt
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from helpers import attention as finished_attention
from helpers import layers as finished_layers
from helpers.analysis import attention_entropy, find_leak, seed_interval
from helpers.plots import attention_heatmap, interval_curves, interval_plot, use_style
from helpers.training import fit, seed_everything

use_style()
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False)
print("PyTorch", torch.__version__)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.1 A soft dictionary
#
# **What does attention do that a Python dictionary does not?** A dictionary answers only if your key is exactly one of
# its keys. Look at what it says to a key that is merely close.

# %%
prices = {"apple": 1.0, "pear": 2.0, "plum": 4.0}
print(prices["pear"], prices.get("pear-plum hybrid"))

# %% [markdown]
# You can write the same look-up as arithmetic. Give each fruit a vector with a single 1, its **key**. Write what you
# are looking for as a vector too, the **query**. The **dot product** of two vectors (multiply them entry by entry, and
# add up) is 1 where query and key agree and 0 elsewhere. What you get back are the **values**, here the prices.

# %%
keys = torch.eye(3)  # one row a fruit: apple, pear, plum
values = torch.tensor([1.0, 2.0, 4.0])
query = torch.tensor([0.0, 1.0, 0.0])  # pear
match = keys @ query  # (3, 3) @ (3,) → (3,)
print("match:", match, " answer:", match @ values)
assert match @ values == prices["pear"]

# %% [markdown]
# Nothing in this arithmetic asks for an exact key. Ask for something that is 0.7 pear and 0.3 plum, and you get 0.7 of
# one price and 0.3 of the other: a **weighted average**.

# %%
query = torch.tensor([0.0, 0.7, 0.3])
match = keys @ query
print("match:", match, " answer:", match @ values)
assert torch.isclose(match @ values, torch.tensor(0.7 * 2 + 0.3 * 4))

# %% [markdown]
# But a dot product may be any number. Write larger numbers into the query, and the "average" leaves the range of the
# prices.

# %%
query = torch.tensor([0.0, 2.0, 1.0])
match = keys @ query
print("match:", match, " answer:", match @ values, " dearest fruit:", values.max())
assert match @ values > values.max()

# %% [markdown] slideshow={"slide_type": "slide"}
# An average needs weights that are at least 0 and add up to 1. The **softmax** makes such weights out of any numbers
# $s_1, \dots, s_n$: exponentiate each one, then divide by the sum.
#
# $$\operatorname{softmax}(s)_j = \frac{e^{s_j}}{\sum_{m=1}^{n} e^{s_m}}$$
#
# The largest number gets the largest weight, but every entry gets some. That is why the dictionary is called *soft*.

# %%
weights = match.exp() / match.exp().sum()
print("weights:", weights, " sum:", weights.sum(), " answer:", weights @ values)
assert torch.allclose(weights, match.softmax(dim=0))
assert values.min() < weights @ values < values.max()
assert weights.argmax() == match.argmax() and weights.min() > 0

# %% [markdown] slideshow={"slide_type": "slide"}
# **Where do queries, keys and values come from?** In most of this chapter all three are computed from the same tokens (a
# **token** is one piece of text, here a word). This is the example that you carry through the chapter: three tokens,
# each a vector of `d_model = 4` numbers, its **features**. Here the numbers are chosen so that you can read them. In a
# trained model they are learned.

# %%
tokens = ["the", "cat", "sat"]
X = torch.tensor(
    [  # article, noun, verb, has content
        [1.0, 0.0, 0.0, 0.0],  # the
        [0.0, 1.0, 0.0, 1.0],  # cat
        [0.0, 0.0, 1.0, 1.0],  # sat
    ]
)
print(X)
print(tuple(X.shape), "= (T, d_model): T tokens, d_model numbers for each")

# %% [markdown] slideshow={"slide_type": "slide"}
# Each token plays three parts, and each part has its own matrix:
#
# | part | in words | matrix | shape |
# |---|---|---|---|
# | query | what I look for | $Q = X W_Q$ | $(T, d_k)$ |
# | key | what I offer | $K = X W_K$ | $(T, d_k)$ |
# | value | what I hand over | $V = X W_V$ | $(T, d_v)$ |
#
# $d_k$ is the width of a query and of a key: both have the same width, because they meet in a dot product. $d_v$ is the
# width of a value. Here both are 2. A model would learn the three matrices $W_Q$, $W_K$ and $W_V$; these are chosen, so
# that a verb looks for a noun.

# %%
W_query = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 1.0]])  # (d_model, d_k)
W_key = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 1.0], [0.0, 1.0]])  # (d_model, d_k)
W_value = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 0.0], [0.0, 1.0]])  # (d_model, d_v)
Q, K, V = X @ W_query, X @ W_key, X @ W_value  # (T, d_model) → (T, d_k), (T, d_k), (T, d_v)
for name, matrix in (("Q", Q), ("K", K), ("V", V)):
    print(name, matrix.tolist())

# %% [markdown] slideshow={"slide_type": "slide"}
# **One row with a pencil.** Take the token "sat". Its row of $X$ is $(0, 0, 1, 1)$, so its query is the sum of the
# third and the fourth row of $W_Q$: $(2, 0) + (0, 1) = (2, 1)$. Its dot products with the three keys $(0, 1)$, $(2, 1)$
# and $(0, 2)$ are its **scores**:
#
# $$2 \cdot 0 + 1 \cdot 1 = 1, \qquad 2 \cdot 2 + 1 \cdot 1 = 5, \qquad 2 \cdot 0 + 1 \cdot 2 = 2$$
#
# $e^1 = 2.718$, $e^5 = 148.413$ and $e^2 = 7.389$ add up to $158.520$. So the **attention weights** of "sat" are
# $0.0171$, $0.9362$ and $0.0466$. Its output is the average of the three values under these weights:
#
# $$0.0171 \cdot (1, 0) + 0.9362 \cdot (0, 4) + 0.0466 \cdot (2, 1) \approx (0.11, 3.79)$$
#
# The next cell does the same three steps: scores, softmax, average. See whether the pencil was right.

# %%
scores_sat = K @ Q[2]  # (T, d_k) @ (d_k,) → (T,)
weights_sat = scores_sat.softmax(dim=0)  # (T,)
output_sat = weights_sat @ V  # (T,) @ (T, d_v) → (d_v,)
print("scores ", scores_sat, "\nweights", weights_sat, "\noutput ", output_sat)
assert torch.allclose(weights_sat, torch.tensor([0.0171, 0.9362, 0.0466]), atol=1e-4)
assert torch.allclose(output_sat, torch.tensor([0.11, 3.79]), atol=5e-3)

# %% [markdown]
# "sat" takes almost everything from "cat": the verb has found its noun.
#
# **Remember: attention is a dictionary look-up in which every entry answers, in proportion to how well its key matches
# the query.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.2 Scores, softmax, output
#
# **How do you do it for all tokens at once?** Put the dot product of query $i$ and key $j$ into row $i$ and column $j$
# of one matrix. That matrix is $Q K^\top$, where $K^\top$ is $K$ with rows and columns exchanged. Check that its last
# row is the row from your pencil.

# %%
scores = Q @ K.transpose(-2, -1)  # (T, d_k) @ (d_k, T) → (T, T)
print(scores)
assert torch.equal(scores[2], torch.tensor([1.0, 5.0, 2.0]))

# %% [markdown]
# Each row holds the scores of one query. So the softmax runs along a row: over the **keys**, the last axis, `dim=-1`.
# Every row of the weights adds up to 1.

# %%
weights = scores.softmax(dim=-1)  # (T, T)
print(weights, "\nrow sums:", weights.sum(dim=-1))
assert torch.allclose(weights.sum(dim=-1), torch.ones(3))


# %% [markdown]
# The last step averages the values: row $i$ of the output is the average of all rows of $V$ under the weights of row
# $i$. All three steps fit into one function, and it gives back both the output and the weights. The comments say the
# shapes: $T_q$ queries, $T_k$ keys, and `...` for any axes in front. Such an axis holds, for example, the sequences of a
# **batch**: several sequences that are computed at once.

# %%
def attention(Q, K, V):
    scores = Q @ K.transpose(-2, -1)  # (..., T_q, d_k) @ (..., d_k, T_k) → (..., T_q, T_k)
    weights = scores.softmax(dim=-1)
    return weights @ V, weights  # (..., T_q, T_k) @ (..., T_k, d_v) → (..., T_q, d_v)


output, weights = attention(Q, K, V)
print(output)
assert torch.allclose(output[2], output_sat)

# %% [markdown]
# A **heat map** shows the weights at a glance. Rows are queries, columns are keys. Read one row from left to right.

# %%
attention_heatmap(weights, tokens, title="Where each token looks (no scale yet)", values=True)
plt.show()
assert weights[2, 1] > 0.9  # "sat" looks at "cat"
assert weights[0].argmax() == 1 and 2 * Q[0, 0] == Q[2, 0]  # "the" too, half as loudly

# %% [markdown]
# See the row of "sat": nearly all of its weight lies on "cat". "the" looks at the noun too: the chosen $W_Q$ lets an
# article ask for nouns, as it does a verb, only half as loudly.

# %% [markdown] slideshow={"slide_type": "slide"}
# **Predict first.** What if the softmax runs over the other axis, `dim=-2`? Does it raise an error? Is the shape
# different? What do the rows add up to?
#
# <details><summary>Answer</summary>
#
# No error, and the same shape. But now each *column* adds up to 1: each key hands out weight 1 among the queries, so a
# query's total can be more or less than 1.
#
# </details>

# %%
wrong = scores.softmax(dim=-2)
print("shape:", tuple(wrong.shape))
print("row sums:", wrong.sum(dim=-1), " column sums:", wrong.sum(dim=-2))
assert wrong.shape == weights.shape and torch.allclose(wrong.sum(dim=-2), torch.ones(3))
assert wrong.sum(dim=-1).min() < 0.9 and wrong.sum(dim=-1).max() > 1.1

# %% [markdown]
# How do you notice? With a test that knows one right answer: if all values are equal, so is every average of them. Call
# it the **constant-value test**. You meet it again in the bug clinic.

# %%
ones = torch.ones(3, 1)
print("over the keys:   ", (weights @ ones).flatten())
print("over the queries:", (wrong @ ones).flatten())
assert torch.allclose(weights @ ones, ones) and not torch.allclose(wrong @ ones, ones, atol=0.1)

# %% [markdown]
# There is a second symptom. A token's weights should depend on its *own* query. Over the wrong axis, a change to the
# query of "the" also moves the weights of "sat".

# %%
changed = Q.clone()
changed[0] = torch.tensor([0.0, 3.0])
changed_scores = changed @ K.T
right_moves = (changed_scores.softmax(-1) - weights)[2].abs().max()
wrong_moves = (changed_scores.softmax(-2) - wrong)[2].abs().max()
print(f"weights of 'sat' move: over the keys {right_moves:.4f}, over the queries {wrong_moves:.4f}")
assert right_moves == 0 and wrong_moves > 0.05


# %% [markdown] slideshow={"slide_type": "slide"}
# **Three ways to write it.** A loop over queries and keys says most plainly what happens. No matrix product is in it.

# %%
def attention_loop(Q, K, V):
    output = torch.zeros(len(Q), V.size(1))
    for i in range(len(Q)):
        exps = torch.zeros(len(K))
        for j in range(len(K)):
            score = 0.0
            for c in range(Q.size(1)):
                score += float(Q[i, c] * K[j, c])
            exps[j] = math.exp(score)
        for j in range(len(K)):
            output[i] += exps[j] / exps.sum() * V[j]
    return output


print(attention_loop(Q, K, V))


# %% [markdown]
# `torch.einsum` names every axis with a letter: `q` for queries, `k` for keys, `d` for the width. A letter that is
# missing on the right of the arrow is summed over. So `"qd,kd->qk"` says: for each query and key, multiply along `d` and
# add up.

# %%
def attention_einsum(Q, K, V):
    weights = torch.einsum("qd,kd->qk", Q, K).softmax(dim=-1)
    return torch.einsum("qk,kd->qd", weights, V)


print(attention_einsum(Q, K, V))

# %% [markdown]
# The loop, the matrix product and `einsum` agree, and so does PyTorch's own function. (`scale=1.0` switches off
# something that the next section adds. `assert_close` raises an error if two tensors differ by more than rounding.)

# %%
torch.testing.assert_close(attention_loop(Q, K, V), output)
torch.testing.assert_close(attention_einsum(Q, K, V), output)
torch.testing.assert_close(F.scaled_dot_product_attention(Q, K, V, scale=1.0), output)
print("loop == matrix product == einsum == PyTorch")

# %% [markdown]
# **Remember: scores are $Q K^\top$, the softmax runs over the keys, and each row of the weights is an average.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.3 Why divide by √d?
#
# **Why are the scores divided by $\sqrt{d_k}$?** The paper that introduced the **Transformer**, a model made of layers
# of attention (section 1.7 builds one such layer), is "Attention Is All You Need" (Vaswani et al. 2017); from here on
# it is "the paper". Its formula has one thing that yours has not:
#
# $$\operatorname{Attention}(Q, K, V) = \operatorname{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V$$
#
# **Predict first.** Draw queries and keys at random, and let their width $d_k$ grow. What happens to the softmax if you
# do *not* divide: does it become flat (all weights alike), or sharp (one weight near 1), or does it stay as it is?
#
# <details><summary>Answer</summary>
#
# It becomes sharp. Many people guess "flat". A dot product is a sum of $d_k$ products; the more of them, the further
# the sum strays from zero. Large *differences* between scores are what makes a softmax **one-hot**: one weight is near
# 1, all others are near 0.
#
# </details>

# %% [markdown]
# Begin with the size of the scores. The **variance** of a list of numbers is the mean squared distance from their mean.
# Each entry of a query or key here is drawn with mean 0 and variance 1. A product of two such independent entries also
# has variance 1, and the variances of independent terms add up. So $q \cdot k$ should have variance $d_k$, and the ratio
# of the two should be near 1. (`seed_everything(0)` starts the random numbers at a fixed place, so that you see what is
# printed here.)

# %%
seed_everything(0)
for d_k in (1, 16, 256):
    q, k = torch.randn(20_000, d_k), torch.randn(20_000, d_k)
    ratio = (q * k).sum(-1).var().item() / d_k
    assert 0.9 < ratio < 1.1
    print(f"d_k = {d_k:3}: variance of q·k divided by d_k is {ratio:.2f}")

# %% [markdown]
# Dividing by $\sqrt{d_k}$ divides the variance by $d_k$: back to 1, whatever the width. Look at what that means for one
# query with four keys.

# %%
small = torch.tensor([0.5, -0.3, 1.2, 0.1])  # scores of the size that d_k = 1 gives
for factor in (1, 4, 16):  # √d_k for d_k = 1, 16, 256
    print(f"scores x {factor:2}: weights", (factor * small).softmax(-1))
assert (16 * small).softmax(-1).max() > 0.99 and small.softmax(-1).max() < 0.5

# %% [markdown]
# Why is sharp bad? Because of the **gradient**, by which the model learns. The derivative of weight $w_i$ with respect
# to score $s_j$ is $w_i (1 - w_i)$ if $i = j$, and $-w_i w_j$ otherwise. If one weight is 1 and the others are 0 (**one-hot**), *all*
# of these are 0. Check the formula against PyTorch's automatic derivative.

# %%
w = small.softmax(-1)
by_formula = torch.diag(w) - torch.outer(w, w)  # (4, 4): row i, column j
by_autograd = torch.autograd.functional.jacobian(lambda s: s.softmax(-1), small)
torch.testing.assert_close(by_formula, by_autograd)
for factor in (1, 4, 16):
    w = (factor * small).softmax(-1)
    largest = (torch.diag(w) - torch.outer(w, w)).abs().max()
    print(f"scores x {factor:2}: largest derivative {largest:.4f}")
assert by_formula.abs().max() > 0.2 and largest < 1e-4  # scores x 1, scores x 16


# %% [markdown] slideshow={"slide_type": "slide"}
# Now measure properly: random queries, 16 keys for each, widths from 1 to 1024, five seeds (five different starts of
# the random numbers). Three things say how a softmax does: the variance of its scores; the **entropy** of its weights
# $-\sum_j w_j \ln w_j$, which is $\ln 16 = 2.77$ when all sixteen are alike and 0 when one has everything (its unit,
# with the natural logarithm, is the *nat*); and the size of its derivative, the square root of the sum of squares of
# all entries. Of that, take the *median* (half of the queries lie below it, so it describes the typical query), the
# mean, and the share of queries above 0.1.

# %%
def measure(d_k, scaled, seed):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(500, 1, d_k, generator=generator)
    k = torch.randn(500, 16, d_k, generator=generator)
    scores = (q @ k.transpose(1, 2)).squeeze(1)  # (500, 1, 16) → (500, 16)
    if scaled:
        scores = scores / math.sqrt(d_k)
    w = scores.softmax(-1)
    derivative = torch.diag_embed(w) - w.unsqueeze(2) * w.unsqueeze(1)  # (500, 16, 16)
    size = derivative.flatten(1).norm(dim=1)  # (500, 16, 16) → (500,)
    return {
        "variance of the scores": scores.var().item(),
        "entropy (nats)": attention_entropy(w).mean().item(),
        "median derivative": size.median().item(),
        "mean derivative": size.mean().item(),
        "share above 0.1": (size > 0.1).float().mean().item(),
    }


for name, number in measure(64, scaled=True, seed=0).items():
    print(f"{name:22} {number:.2f}")

# %% [markdown]
# Run it for every width, with and without the scale. `seed_interval` turns the five results into a mean and an interval
# in which the true mean lies with 95 per cent confidence (Student's t).

# %% tags=["nbval-ignore-output"]
widths = [1, 4, 16, 64, 256, 1024]
labels = {"without the scale": False, "with the scale": True}
results = {}
for label, scaled in labels.items():
    for d_k in widths:
        results[label, d_k] = [measure(d_k, scaled, seed) for seed in range(5)]


def over_seeds(label, d_k, name):
    return seed_interval([run[name] for run in results[label, d_k]])


for name in results["with the scale", 1024][0]:
    means = [over_seeds(label, 1024, name).mean for label in labels]
    print(f"{name:22} at d_k = 1024: without the scale {means[0]:.1e}, with it {means[1]:.1e}")

# %% [markdown]
# The same as curves; the bands are the intervals.

# %%
panels = {
    "variance of the scores": ("Unscaled scores grow ...", "xy"),
    "entropy (nats)": ("... the weights become one-hot ...", "x"),
    "median derivative": ("... the typical gradient dies ...", "xy"),
    "mean derivative": ("... and the mean gradient shrinks", "xy"),
}
fig, axes = plt.subplots(2, 2, figsize=(12, 8.5), layout="constrained")
for ax, (name, (title, log)) in zip(axes.flat, panels.items()):
    curve = {label: [over_seeds(label, d_k, name) for d_k in widths] for label in labels}
    interval_curves(widths, curve, "width $d_k$", name, title, log=log, ax=ax)
plt.show()

# %% [markdown]
# See the blue lines: without the scale the variance grows with $d_k$, the entropy falls towards 0, and the derivative of
# the typical query dies (below, on logarithmic axes). With the scale all of them stay where they are.
#
# The median alone would exaggerate. At $d_k = 16$ it is still above where it began. And at 1024 the *mean* derivative is
# about a sixth of what it is with the scale: to about one query in six or seven a gradient is left. The next cell holds
# the text to these statements.

# %%
for d_k in widths:
    for run in results["without the scale", d_k]:
        assert 0.75 < run["variance of the scores"] / d_k < 1.25
    for run in results["with the scale", d_k]:
        assert 0.75 < run["variance of the scores"] < 1.25 and 2.2 < run["entropy (nats)"] < 2.6
        assert 0.24 < run["median derivative"] < 0.34 and 0.24 < run["mean derivative"] < 0.34
for run, scaled_run in zip(results["without the scale", 1024], results["with the scale", 1024]):
    assert run["entropy (nats)"] < 0.2 and run["median derivative"] < 5e-4
    assert 0.1 < run["mean derivative"] / scaled_run["mean derivative"] < 0.25
    assert 0.08 < run["share above 0.1"] < 0.22
for run_1, run_16 in zip(results["without the scale", 1], results["without the scale", 16]):
    assert run_16["median derivative"] > run_1["median derivative"]
print("without the scale: variance ~ d_k, entropy → 0, typical derivative → 0, mean → a sixth")
print("with the scale: all of them stay put")


# %% [markdown]
# So you add the scale to your function. One line is new.

# %%
def attention(Q, K, V):
    scores = Q @ K.transpose(-2, -1)  # (..., T_q, d_k) @ (..., d_k, T_k) → (..., T_q, T_k)
    scores = scores / math.sqrt(Q.size(-1))  # new
    weights = scores.softmax(dim=-1)
    return weights @ V, weights  # (..., T_q, T_k) @ (..., T_k, d_v) → (..., T_q, d_v)


output, weights = attention(Q, K, V)
print(weights)
torch.testing.assert_close(output, F.scaled_dot_product_attention(Q, K, V))
assert 0.845 < weights[2, 1] < 0.855

# %% [markdown]
# "sat" still looks mostly at "cat", now with weight 0.85 instead of 0.94. And the plain call of PyTorch's function, no
# `scale` given, agrees with yours.
#
# **Remember: without the scale wide queries make large scores, large scores make a one-hot softmax, and a one-hot
# softmax passes hardly any gradient on.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.4 Masks
#
# **How do you forbid a look?** There are two common reasons to. A model that predicts the next word must not see it: a
# token may attend only to itself and to what comes before. That is the **causal mask**. And sequences of different
# length that share one tensor are filled up with a meaningless token, the **padding**, which nobody should attend to:
# the **padding mask**. A **mask** is a boolean matrix; `True` means "may attend".

# %%
causal = torch.ones(3, 3, dtype=torch.bool).tril()  # tril keeps the lower triangle and diagonal
print(causal)
assert torch.equal(causal, finished_attention.causal_mask(3))

# %% [markdown]
# For padding, take two sequences of token ids; 0 is the padding. Row `b` of the mask belongs to sequence `b`. The axis
# of length 1 in the middle says "the same for every query"; broadcasting fills it in.

# %%
ids = torch.tensor([[5, 7, 6], [8, 4, 0]])  # (B, T): B sequences; the second has two real tokens
padding = (ids != 0).unsqueeze(1)  # (B, T) → (B, 1, T)
both = causal & padding  # (T, T) & (B, 1, T) → (B, T, T)
print(both[1])
assert torch.equal(padding, finished_attention.padding_mask(ids, pad_id=0))
assert not both[1, :, 2].any()  # nobody may look at the padding

# %% [markdown]
# A weight must become 0, and the rest of the row must still add up to 1. So the mask acts *before* the softmax: a
# forbidden score becomes $-\infty$, and $e^{-\infty} = 0$.

# %%
scores = Q @ K.T / math.sqrt(2)
masked = scores.masked_fill(~causal, float("-inf"))  # ~ is "not": fill where one may NOT attend
weights = masked.softmax(dim=-1)
print(masked, "\n", weights)
assert (weights[~causal] == 0).all() and torch.allclose(weights.sum(-1), torch.ones(3))

# %% [markdown]
# As a heat map: the dark triangle is what the mask hides.

# %%
attention_heatmap(weights, tokens, title="A causal mask: nothing above the diagonal", values=True)
plt.show()
assert weights[0].tolist() == [1, 0, 0]

# %% [markdown]
# See the first row: "the" can only look at itself, so its weight there is 1, whatever its scores are.

# %% [markdown]
# You also meet masks written as numbers, to be *added* to the scores: 0 where one may attend, $-\infty$ where not. That
# is the same mask in other clothes. Here is the causal mask in this form, and beside it the padding mask of the second
# sequence above, whose last token is padding.

# %%
additive = torch.zeros(3, 3).masked_fill(~causal, float("-inf"))
additive_padding = torch.zeros(1, 3).masked_fill(~padding[1], float("-inf"))
print("causal:\n", additive, "\npadding:\n", additive_padding)
torch.testing.assert_close((scores + additive).softmax(-1), weights)
both_added = (scores + additive + additive_padding).softmax(-1)
torch.testing.assert_close(both_added, scores.masked_fill(~both[1], float("-inf")).softmax(-1))

# %% [markdown] slideshow={"slide_type": "slide"}
# **Predict first.** What is wrong with computing the softmax first, and then setting the forbidden weights to 0?
#
# <details><summary>Answer</summary>
#
# Two things. The rows no longer add up to 1. And worse, the forbidden tokens are still in the *denominator* of the
# softmax: change the future, and the weights of the past change. The information leaks although every forbidden weight
# is exactly 0.
#
# </details>

# %%
late = scores.softmax(dim=-1) * causal  # mask after the softmax
print(late, "\nrow sums:", late.sum(-1))
assert (late[~causal] == 0).all() and late.sum(-1)[0] < 0.5

# %% [markdown]
# If you divide each row by its sum afterwards, you get the right weights back, as long as something is left to divide
# by: with large scores the allowed weights can round to zero, and the row becomes NaN ("not a number").

# %%
renormalised = late / late.sum(-1, keepdim=True)
torch.testing.assert_close(renormalised, weights)
extreme = torch.tensor([[0.0, 200.0], [0.0, 0.0]])
late_extreme = extreme.softmax(-1) * torch.ones(2, 2).tril()
print(late_extreme / late_extreme.sum(-1, keepdim=True))
assert (late_extreme / late_extreme.sum(-1, keepdim=True))[0].isnan().all()

# %% [markdown]
# **What if a query may attend to nothing?** That happens: a row of padding with everything masked. With $-\infty$ in the
# whole row the softmax is $0/0$. And one such row is enough to spoil the gradient of *every* value.

# %%
nothing = torch.tensor([[True, True], [False, False]])
two_values = torch.ones(2, 1, requires_grad=True)
broken = torch.zeros(2, 2).masked_fill(~nothing, float("-inf")).softmax(-1)
(broken @ two_values).sum().backward()
print(broken, "\ngradient:", two_values.grad.flatten())
assert broken[1].isnan().all() and two_values.grad.isnan().all()


# %% [markdown]
# The convention of this series: such a query gets zero weights, and therefore a zero output. Use the lowest finite
# number instead of $-\infty$, then set the forbidden weights to exactly 0. This is the complete function. It takes
# queries and keys of different number, and any axes in front.

# %%
def attention(Q, K, V, mask=None):
    scores = Q @ K.transpose(-2, -1)  # (..., T_q, d_k) @ (..., d_k, T_k) → (..., T_q, T_k)
    scores = scores / math.sqrt(Q.size(-1))
    if mask is None:
        weights = scores.softmax(dim=-1)
    else:
        lowest = torch.finfo(scores.dtype).min  # new
        weights = scores.masked_fill(~mask, lowest).softmax(dim=-1).masked_fill(~mask, 0.0)  # new
    return weights @ V, weights  # (..., T_q, T_k) @ (..., T_k, d_v) → (..., T_q, d_v)


print(attention(torch.zeros(2, 1), torch.zeros(2, 1), torch.ones(2, 1), nothing)[1])

# %% [markdown]
# What does PyTorch's own function give to such a row? It depends on the version: older ones answer NaN, newer ones
# zeros. If yours gives a number, it has to be the same as ours.

# %% tags=["nbval-ignore-output"]
zeros, ones = torch.zeros(2, 1), torch.ones(2, 1)
theirs = F.scaled_dot_product_attention(zeros, zeros, ones, attn_mask=nothing)
print("PyTorch's output:", theirs.flatten())
if theirs.isfinite().all():
    torch.testing.assert_close(attention(zeros, zeros, ones, nothing)[0], theirs)
else:
    print("this version of PyTorch answers NaN: mask such rows yourself")

# %% [markdown] slideshow={"slide_type": "slide"}
# **Three-way agreement.** What you built, what `helpers` holds and what PyTorch computes are the same function: with
# batches, with other widths, with causal and with random masks.

# %%
seed_everything(0)
q, k, v = torch.randn(2, 5, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 6)  # d_k = 8, d_v = 6
random_mask = torch.rand(2, 5, 5) < 0.5
random_mask[..., 0] = True  # nobody is left without a key
for mask in (None, finished_attention.causal_mask(5), random_mask):
    mine, my_weights = attention(q, k, v, mask)
    theirs, their_weights = finished_attention.scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(my_weights, their_weights)
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(mine, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
few = q[:, :2]  # two queries, five keys
torch.testing.assert_close(attention(few, k, v)[0], F.scaled_dot_product_attention(few, k, v))
print("attention == helpers == torch.nn.functional, with and without masks;", tuple(mine.shape))


# %% [markdown] slideshow={"slide_type": "slide"}
# **The leak test.** Looking at weights is not enough, as the late mask has shown. The test that counts changes a token
# and asks which *outputs* move. Under a causal mask, a change at position $j$ must not move any output before $j$.

# %%
def rows_that_move(attend, position):
    changed = X.clone()
    changed[position] += torch.tensor([0.5, -1.0, 2.0, 1.0])
    difference = (attend(changed) - attend(X)).abs().amax(dim=-1)  # (T, d_v) → (T,)
    return [tokens[i] for i in range(3) if difference[i] > 1e-6]


def causal_attend(X):
    return attention(X @ W_query, X @ W_key, X @ W_value, causal)[0]


for position in range(3):
    print(f"change {tokens[position]!r}: moves", rows_that_move(causal_attend, position))
assert rows_that_move(causal_attend, 2) == ["sat"] and rows_that_move(causal_attend, 0) == tokens


# %% [markdown]
# Now the late mask. Its forbidden weights are all 0, and it leaks nevertheless: a change at the last token, "sat", moves
# the tokens before it.

# %%
def late_attend(X):
    scores = (X @ W_query) @ (X @ W_key).T / math.sqrt(2)
    return (scores.softmax(-1) * causal) @ (X @ W_value)


print("change 'sat': moves", rows_that_move(late_attend, 2))
assert rows_that_move(late_attend, 2) == tokens

# %% [markdown]
# Later chapters use this test, as `helpers.analysis.find_leak`. It takes a function from token ids to outputs,
# changes each position in turn, and then also runs each sequence without its padding. It returns `None` or the worst
# leak. Here a random table gives each id a vector; an id looks its row up (this is called an **embedding**).

# %%
seed_everything(0)
table = torch.randn(10, 4)  # ten ids, d_model = 4


def model(ids, use_padding_mask=True, use_causal_mask=True):
    x = table[ids]  # (B, T) → (B, T, d_model)
    mask = torch.ones(len(ids), ids.size(1), ids.size(1), dtype=torch.bool)
    if use_causal_mask:
        mask = mask & finished_attention.causal_mask(ids.size(1))
    if use_padding_mask:
        mask = mask & finished_attention.padding_mask(ids, pad_id=0)
    return attention(x, x, x, mask)[0]


print("both masks:    ", find_leak(model, ids))
print("no causal mask:", find_leak(lambda ids: model(ids, use_causal_mask=False), ids))
assert find_leak(model, ids) is None
assert find_leak(lambda ids: model(ids, use_causal_mask=False), ids).kind == "future"

# %% [markdown]
# When does padding need a mask of its own? Under a causal mask, padding on the right is future anyway: no real token
# sees it, with or without a padding mask. Without the causal mask it matters. Then the leak test runs a sequence with
# and without its padding, and the real tokens must not notice. (With no mask at all the future leaks too; `find_leak`
# names the leak that moves an output most.)

# %%
padded = torch.tensor([[8, 4, 0, 0, 0]])
print("causal mask only:", find_leak(lambda ids: model(ids, use_padding_mask=False), padded))
print("no mask:         ", find_leak(lambda ids: model(ids, False, False), padded))
assert find_leak(lambda ids: model(ids, use_padding_mask=False), padded) is None
assert find_leak(lambda ids: model(ids, False, False), padded).kind == "padding"

# %% [markdown]
# The same by hand: the two real tokens alone, and with three that are padding.

# %%
alone = torch.tensor([[8, 4]])
moved = {}
for use_padding_mask in (True, False):
    x = model(alone, use_padding_mask, use_causal_mask=False)
    y = model(padded, use_padding_mask, use_causal_mask=False)[:, :2]
    moved[use_padding_mask] = (x - y).abs().max().item()
    print(f"padding mask {use_padding_mask}: real tokens move by {moved[use_padding_mask]:.4f}")
assert moved[True] < 1e-6
assert moved[False] > 0.1


# %% [markdown]
# **Remember: mask before the softmax, and trust the outputs that move rather than the weights that are zero.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.5 Order
#
# **Does attention know which word comes first?** Shuffle the tokens and see. **Self-attention** is attention in which
# queries, keys and values come from the same tokens; its only inputs are the rows of $X$.
#
# <details><summary>Predict first: what happens to the output when the rows of X are shuffled?</summary>
#
# The rows of the output are shuffled in the same way, and their numbers do not change. "cat sat the" is to
# self-attention the same as "the cat sat".
#
# </details>

# %%
def self_attend(X):
    return attention(X @ W_query, X @ W_key, X @ W_value)[0]


order = torch.tensor([1, 2, 0])  # cat, sat, the
print("as it was:\n", self_attend(X), "\nshuffled:\n", self_attend(X[order]))
torch.testing.assert_close(self_attend(X[order]), self_attend(X)[order])

# %% [markdown]
# This property is called **permutation equivariance**. The proof is short. Let the matrix $P$ shuffle rows, so that
# $P^\top P$ is the identity matrix.
#
# - The queries of $PX$ are $P X W_Q = P Q$: the old ones, shuffled. Likewise the keys are $P K$ and the values $P V$.
# - So the scores are $P Q (P K)^\top = P Q K^\top P^\top = P S P^\top$: the old scores $S$ with rows and columns
#   shuffled.
# - The softmax treats each row alone, and within a row each entry alike: it exponentiates every entry and divides by a
#   sum, and a sum does not know the order. So $\operatorname{softmax}(P S P^\top) = P \operatorname{softmax}(S) P^\top
#   = P A P^\top$, with $A$ for the old weights.
# - The output is $P A P^\top P V = P\,(A V)$: the old output with its rows shuffled.
#
# Check it for a hundred random orders of six random tokens.

# %%
seed_everything(0)
many = torch.randn(6, 4)
for _ in range(100):
    P = torch.eye(6)[torch.randperm(6)]
    torch.testing.assert_close(self_attend(P @ many), P @ self_attend(many))
print("100 random orders: attention(PX) == P attention(X)")


# %% [markdown] slideshow={"slide_type": "slide"}
# So the position has to be *written into* the tokens. The paper adds to the token at position $p$ a vector of sines and
# cosines, the **sinusoidal position encoding** (the paper's section 3.5):
#
# $$\mathrm{PE}(p, 2i) = \sin\!\left(\frac{p}{10000^{2i/d_{model}}}\right), \qquad
#   \mathrm{PE}(p, 2i+1) = \cos\!\left(\frac{p}{10000^{2i/d_{model}}}\right)$$
#
# $i = 0, 1, 2, \dots$ numbers the pairs of columns. Each pair is a clock hand: the first turns by one radian per
# position, each later one more slowly.

# %%
def sinusoidal_encoding(length, d_model):
    position = torch.arange(length).unsqueeze(1)  # (length,) → (length, 1)
    even = torch.arange(0, d_model, 2)  # the numbers 2i: (⌈d_model/2⌉,)
    angle = position / 10000 ** (even / d_model)  # (length, ⌈d_model/2⌉)
    encoding = torch.zeros(length, d_model)
    encoding[:, 0::2] = angle.sin()
    encoding[:, 1::2] = angle[:, : d_model // 2].cos()  # an odd d_model has one cosine less
    return encoding


print(sinusoidal_encoding(3, 4))

# %% [markdown]
# Row 0 is easy to check by hand: the sine of 0 is 0 and the cosine of 0 is 1. An odd width works too: it ends on a sine.
# Check every number against the two formulas, written out one by one.

# %%
assert sinusoidal_encoding(1, 4).tolist() == [[0, 1, 0, 1]]
for length, d_model in ((1, 1), (3, 5), (50, 64), (7, 33)):
    one_by_one = torch.zeros(length, d_model)
    for p in range(length):
        for column in range(d_model):
            angle = p / 10000 ** (2 * (column // 2) / d_model)
            one_by_one[p, column] = math.cos(angle) if column % 2 else math.sin(angle)
    at_once = sinusoidal_encoding(length, d_model)
    torch.testing.assert_close(at_once, one_by_one, atol=1e-5, rtol=1e-5)
print("the table equals math.sin and math.cos, number by number")

# %% [markdown]
# And your function equals the finished one in `helpers`.

# %%
for length, d_model in ((1, 1), (3, 5), (50, 64), (7, 33)):
    assert sinusoidal_encoding(length, d_model).shape == (length, d_model)
    theirs = finished_layers.sinusoidal_encoding(length, d_model)
    torch.testing.assert_close(sinusoidal_encoding(length, d_model), theirs)
print(sinusoidal_encoding(2, 5))

# %% [markdown]
# Draw it for 40 positions and width 32. Each row is one position.

# %%
encoding = sinusoidal_encoding(40, 32)
plt.figure(figsize=(7, 4.2))
plt.imshow(encoding, cmap="viridis", aspect="auto", vmin=-1, vmax=1)
plt.colorbar(label="value, -1 to 1")
plt.title("Sinusoidal encoding: quick columns left, slow columns right")
plt.xlabel("column")
plt.ylabel("position")
plt.grid(False)
plt.show()

# %% [markdown]
# See the stripes on the left: these columns change from one position to the next and tell neighbours apart. The columns
# on the right hardly change over 40 positions; only long distances move them. How far does each column move?

# %%
travel = encoding.amax(dim=0) - encoding.amin(dim=0)  # (40, 32) → (32,): largest minus smallest
print("first two columns:", travel[:2], " last two:", travel[-2:])
assert (travel[:2] > 1.9).all() and (travel[-2:] < 0.01).all()

# %% [markdown] slideshow={"slide_type": "slide"}
# **Why sines?** Take the dot product of the encodings of positions $p$ and $r$. With $\sin a \sin b + \cos a \cos b =
# \cos(a - b)$ each pair of columns contributes $\cos((p - r)\,\omega_i)$, where $\omega_i = 10000^{-2i/d_{model}}$.
# Only the distance $p - r$ is left. So all entries on a diagonal of the matrix of dot products are equal. This needs an
# even `d_model`: the last sine of an odd width lacks its cosine.

# %%
products = encoding @ encoding.T  # (40, 32) @ (32, 40) → (40, 40)
for distance in range(40):
    diagonal = products.diagonal(distance)
    assert diagonal.max() - diagonal.min() < 1e-3
print("width 32, distance 0, 1, 2, 3, 10:", products[0, [0, 1, 2, 3, 10]])
one_wide = sinusoidal_encoding(40, 1)
step = (one_wide @ one_wide.T).diagonal(1)  # all pairs of neighbours
print(f"width 1, distance 1: from {step.min():.2f} to {step.max():.2f}")
assert step.max() - step.min() > 0.9
assert products[0].argmax() == 0 and products[0, 3:].max() < 0.8 * products[0, 0]

# %% [markdown]
# Draw the dot products of position 20 with all others, as shares of the largest.

# %%
_, ax = plt.subplots(figsize=(7, 3.8))
ax.plot(range(-20, 20), products[20] / products[20, 20])
ax.set(xlabel="distance from position 20", ylabel="dot product (share of the largest)")
ax.set(title="The dot product of two encodings depends on their distance")
plt.show()

# %% [markdown]
# See the peak at distance 0. The fall on both sides is not even, there are bumps; but from distance 3 on nothing passes
# 80 per cent of the peak. So a query that carries a position can find the keys around it, without anybody having told it
# about distance. It does so only as far as the rest lets it: a token is the sum of a word and a position, and the
# learned matrices $W_Q$ and $W_K$ decide how much of the position reaches the score.

# %% [markdown]
# With positions added, self-attention is no longer blind to order: shuffled tokens now give other numbers.

# %%
with_positions = self_attend(X + sinusoidal_encoding(3, 4))
shuffled = self_attend(X[order] + sinusoidal_encoding(3, 4))
change = (shuffled - with_positions[order]).abs().max()
print(f"the output for the same word changes by up to {change:.4f}")
assert change > 0.1

# %% [markdown]
# **Remember: attention sees a set. Order exists only if you add it.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.6 The typical patterns
#
# **What can a head look for?** (A **head** is one attention with its own queries, keys and values.) Clark et al. (2019,
# section 3) looked into a trained model, BERT. They found heads for the previous or the next token, and heads that
# spread their weight widely. You make such patterns here by *choosing* queries and keys, and the function from section
# 1.4 does the rest. Of the five patterns below, "previous token" and "global" are of the kinds they found; the other
# three show what queries and keys can express, whether or not a model learns it. None needs a special mechanism, and no
# matrix of weights is typed in.

# %%
sentence = "The cat sat on the mat today .".split()
T = len(sentence)
position = sinusoidal_encoding(T, 64)
print(T, "tokens:", sentence)


# %% [markdown]
# **Local:** query and key are both the position encoding. Near positions have similar encodings, so each token looks at
# itself and its neighbours. The factor sets how sharply.

# %%
def pattern(query, key):
    return attention(query, key, torch.zeros(T, 1))[1]  # only the weights; the values do not matter


local = pattern(4 * position, position)
print(local[3])
assert torch.equal(local.argmax(-1), torch.arange(T))
for p in range(T):
    assert local[p, max(p - 1, 0) : p + 2].sum() > 0.8  # itself and its neighbours

# %% [markdown]
# **Previous token:** the query at position $p$ is the encoding of position $p - 1$. One step to the side, and the head
# looks back. (The first token has no predecessor; position -1 is wrapped to the end by `roll`, so it looks at the last.)

# %%
previous = pattern(40 * position.roll(1, dims=0), position)
print(previous.argmax(-1))
assert torch.equal(previous.argmax(-1)[1:], torch.arange(T - 1))
assert previous[0].argmax() == T - 1  # the first token looks at the last

# %% [markdown]
# **Global:** queries of zeros. Every score is 0, so all weights are alike, and the output is the plain average.

# %%
everything = pattern(torch.zeros(T, 64), position)
print(everything[0])
assert torch.allclose(everything, torch.full((T, T), 1 / T))

# %% [markdown]
# **Halves:** one number a token: +1 in the first half of the sentence, -1 in the second. Equal signs give a positive
# product. Each half looks at itself.

# %%
half = torch.where(torch.arange(T) < T // 2, 1.0, -1.0).unsqueeze(1)  # (T,) → (T, 1)
halves = pattern(2 * half, half)
print(halves[0])
assert (halves[:4, :4].sum(-1) > 0.95).all() and (halves[4:, 4:].sum(-1) > 0.95).all()

# %% [markdown]
# **Content, "find the same word":** each different word gets a vector with a single 1, as the fruits did. Upper and
# lower case count as the same word. So "The" and "the" find each other across the sentence.

# %%
words = sorted({word.lower() for word in sentence})
numbers = [words.index(word.lower()) for word in sentence]
one_hot = torch.eye(len(words))[numbers]  # (T, number of words)
same_word = pattern(12 * one_hot, one_hot)
print(same_word[0])
assert abs(same_word[0, 0] - same_word[0, 4]) < 1e-6 and same_word[0, [0, 4]].sum() > 0.9

# %% [markdown] slideshow={"slide_type": "slide"}
# All of them side by side. Rows are queries, columns are keys.

# %%
patterns = {"local": local, "previous": previous, "global": everything, "halves": halves}
patterns["same word"] = same_word
fig, axes = plt.subplots(2, 3, figsize=(14, 10))
for ax, (name, matrix) in zip(axes.flat, patterns.items()):
    attention_heatmap(matrix, sentence, title=f"Pattern: {name}", ax=ax)
axes.flat[-1].set_visible(False)
plt.show()

# %% [markdown]
# See how different five results of the same formula look: a soft diagonal, a diagonal one step to the side, an even
# field, two blocks, and a diagonal with two extra spots where "The" meets "the".

# %% [markdown]
# Three numbers describe a row of weights: its largest weight, its entropy (section 1.3), and $e^{\text{entropy}}$, the
# **effective number of positions**: 8 if all eight tokens count alike, 1 if a single one counts.

# %%
print("pattern     largest weight   entropy   effective positions")
effective = {}
for name, matrix in patterns.items():
    entropy = attention_entropy(matrix)  # (T, T) → (T,)
    effective[name] = entropy.exp().mean().item()
    largest = matrix.amax(-1).mean()
    print(f"{name:10} {largest:10.2f} {entropy.mean():13.2f} {effective[name]:14.1f}")
assert abs(effective["global"] - 8) < 1e-3 and 4 <= effective["halves"] < 5
assert effective["previous"] < 1.2 and effective["same word"] > 1.2
assert effective["same word"] < effective["local"]
assert effective["local"] < effective["halves"]

# %% [markdown]
# **Remember: a pattern of attention is a choice of queries and keys. Learning means finding that choice.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.7 The block
#
# **Why is attention alone not enough?** Given its weights, attention only averages: it moves information between tokens
# and computes nothing new with it. A Transformer **block** therefore has two parts. Attention moves; a **feed-forward**
# network, the same for every token, computes. Around both stand two helpers that let you stack many blocks: the
# **residual connection** and **layer normalisation**. You meet them one at a time.

# %% [markdown] slideshow={"slide_type": "slide"}
# **Layer normalisation** keeps the numbers of a token at one size (Ba et al. 2016). For one token $x$ with $d$ numbers,
# subtract their mean $\mu$ and divide by their spread:
#
# $$\operatorname{LayerNorm}(x) = \gamma \cdot \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta, \qquad
#   \mu = \frac1d \sum_c x_c, \qquad \sigma^2 = \frac1d \sum_c (x_c - \mu)^2$$
#
# $\gamma$ and $\beta$ are learned, one number of each for every feature; they start at 1 and 0. $\varepsilon$ (epsilon)
# is small, and it keeps you from dividing by zero. Do it by hand for $(5, 6, 7, 8)$: the mean is 6.5, the variance is
# 1.25.

# %%
x = torch.tensor([5.0, 6.0, 7.0, 8.0])
by_hand = (x - 6.5) / math.sqrt(1.25 + 1e-5)
print(by_hand)
torch.testing.assert_close(by_hand, nn.LayerNorm(4)(x).detach())
rounded = torch.tensor([-1.3416, -0.4472, 0.4472, 1.3416])
torch.testing.assert_close(by_hand, rounded, atol=1e-4, rtol=0)


# %% [markdown]
# Three details matter. **Which axis:** the last one, the features. Each token is normalised alone, whatever stands
# beside it. **Which variance:** divide by $d$ and not by $d - 1$; `var` needs `unbiased=False`.

# %%
def layer_norm(x, eps=1e-5):
    mean = x.mean(dim=-1, keepdim=True)  # (..., d_model) → (..., 1)
    variance = x.var(dim=-1, keepdim=True, unbiased=False)  # (..., d_model) → (..., 1)
    return (x - mean) / torch.sqrt(variance + eps)


two_tokens = torch.stack([x, 100 * x])  # (4,) → (2, 4)
print(layer_norm(two_tokens))
torch.testing.assert_close(layer_norm(two_tokens), F.layer_norm(two_tokens, (4,)))
torch.testing.assert_close(layer_norm(two_tokens)[0], layer_norm(two_tokens)[1], atol=1e-4, rtol=0)
assert ((x - x.mean()) / x.std()).abs().max() < layer_norm(x).abs().max()
print("with d - 1:", (x - x.mean()) / x.std())

# %% [markdown]
# The second token is a hundred times larger, and comes out the same. The last line shows the wrong variance: all numbers
# are too small.
#
# **Where ε goes:** under the root. You notice the difference where the spread is small.

# %%
tiny = torch.tensor([0.0, 0.001, 0.002, 0.003])
inside = layer_norm(tiny)
outside = (tiny - tiny.mean()) / (tiny.std(unbiased=False) + 1e-5)
print("under the root:", inside, "\noutside:       ", outside)
torch.testing.assert_close(inside, F.layer_norm(tiny, (4,)))
assert outside[3] > 2.5 * inside[3]
assert layer_norm(torch.full((4,), 5.0)).tolist() == [0, 0, 0, 0]  # no spread: zeros, not NaN

# %% [markdown] slideshow={"slide_type": "slide"}
# **The feed-forward network** (the paper's section 3.3, equation 2) widens each token from `d_model` to `d_ff` numbers,
# applies an **activation function** (a fixed function of one number whose graph is not a straight line, applied to every
# number alone), and narrows it again:
#
# $$\operatorname{FFN}(x) = \max(0,\, x W_1 + b_1)\, W_2 + b_2$$
#
# $W_1$ and $W_2$ are learned matrices, $b_1$ and $b_2$ learned vectors, the *biases*; `nn.Linear` holds one matrix and
# one bias. The network is applied to every token separately: all tokens at once or one by one gives the same.

# %%
seed_everything(0)
feed_forward = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 4))
together = feed_forward(X)  # (T, d_model) → (T, d_ff) → (T, d_model)
one_by_one = torch.stack([feed_forward(token) for token in X])
print(tuple(X.shape), "→", tuple(together.shape))
torch.testing.assert_close(together, one_by_one)

# %% [markdown]
# The activation function $\max(0, x)$ is called **ReLU**. Newer models often use **GELU**, $x \cdot \Phi(x)$, where
# $\Phi(x)$ is the probability that a standard normal number is below $x$ (Hendrycks and Gimpel 2016). Draw both.

# %%
line = torch.linspace(-4, 4, 200)
_, ax = plt.subplots(figsize=(6.5, 3.8))
ax.plot(line, F.relu(line), label="ReLU")
ax.plot(line, F.gelu(line), "--", label="GELU")
ax.set(xlabel="input", ylabel="output", title="ReLU is exactly flat on the left, GELU is not")
ax.legend()
plt.show()

# %% [markdown]
# See the left side. ReLU is flat there: its derivative is 0. GELU dips below zero and has a slope.

# %%
normal = torch.distributions.Normal(0.0, 1.0)
torch.testing.assert_close(F.gelu(line), line * normal.cdf(line), atol=1e-5, rtol=1e-4)
point = torch.tensor(-2.0, requires_grad=True)
(relu_slope,) = torch.autograd.grad(F.relu(point), point)
(gelu_slope,) = torch.autograd.grad(F.gelu(point), point)
print(f"slope at -2: ReLU {relu_slope:.4f}, GELU {gelu_slope:.4f}")
print(f"lowest value of GELU: {F.gelu(line).min():.2f}")
assert relu_slope == 0 and gelu_slope < -0.05
assert F.gelu(line).min() < -0.1


# %% [markdown] slideshow={"slide_type": "slide"}
# **Where do dead ReLUs come from?** Each of the numbers between the two matrices belongs to one **unit**: a column of
# $W_1$, its bias and the ReLU behind it. A ReLU unit is **dead** if the input of its ReLU is negative for every example.
# Then its output and its gradient are 0, and more training on the same examples cannot wake it. Are units dead from the
# beginning, or do they die? Train a small network with 64 units to imitate a random matrix (its target is `x @ matrix`),
# with three learning rates, on ten seeds, and count.
#
# <details><summary>Predict first: with which learning rate do units die?</summary>
#
# With the largest. A step that is too long can push the bias of a unit so far below zero that no example reaches the
# other side. From there no gradient brings it back.
#
# </details>

# %%
def train_small(activation, lr, seed, steps=100, bias_learns=True):
    seed_everything(seed)
    first, second = nn.Linear(16, 64), nn.Linear(64, 16)
    first.bias.requires_grad_(bias_learns)
    x, matrix = torch.randn(512, 16), torch.randn(16, 16) / 4
    optimizer = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=lr)
    for step in range(steps + 1):
        loss = (second(activation(first(x))) - x @ matrix).pow(2).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        if step < steps:  # the last round only leaves its gradient behind
            optimizer.step()
    is_dead = (first(x) <= 0).all(dim=0)  # (512, 64) → (64,): negative for all 512 examples
    return first, is_dead


untrained = [train_small(F.relu, 0.1, seed, steps=0)[1] for seed in range(5)]
print("dead before training:", [int(is_dead.sum()) for is_dead in untrained])

# %% [markdown]
# Now the ten seeds, for ReLU with three learning rates and for GELU with the largest of them.

# %% tags=["nbval-ignore-output"]
cases = {
    "ReLU, learning rate 0.01": (F.relu, 0.01),
    "ReLU, learning rate 0.1": (F.relu, 0.1),
    "ReLU, learning rate 0.3": (F.relu, 0.3),
    "GELU, learning rate 0.3": (F.gelu, 0.3),
}
trained = {name: [train_small(*case, seed) for seed in range(10)] for name, case in cases.items()}
dead = {}
for name, runs in trained.items():
    dead[name] = [is_dead.float().mean().item() for _, is_dead in runs]
for name, shares in dead.items():
    print(f"{name:24} mean {sum(shares) / 10:.2f}; seeds:", *(f"{x:.2f}" for x in sorted(shares)))

# %% [markdown]
# The numbers are shares of the 64 units: the mean, then the ten seeds in order of size. Read the third line against the
# others. Units do not start dead. A learning rate that is too large kills them, on one seed none or a few and on
# another many. No weight of a dead unit gets any gradient. Under the same learning rate hardly any GELU unit ends up
# negative for all examples: a slope is left to pull it back.

# %%
assert not any(is_dead.any() for is_dead in untrained)
assert max(dead["ReLU, learning rate 0.01"] + dead["ReLU, learning rate 0.1"]) == 0
relu_dead = dead["ReLU, learning rate 0.3"]
assert sum(relu_dead) / 10 > 0.08 and sum(share > 0 for share in relu_dead) >= 6
assert min(relu_dead) < 0.1 and max(relu_dead) > 0.25
for first, is_dead in trained["ReLU, learning rate 0.3"]:
    assert (first.weight.grad[is_dead] == 0).all() and (first.bias.grad[is_dead] == 0).all()
assert sum(dead["GELU, learning rate 0.3"]) / 10 < 0.03
print("no unit begins dead; a too large learning rate kills ReLU units, and hardly any GELU units")

# %% [markdown]
# Was it the bias? Test the cause: forbid the bias to learn, leave everything else as it is, and count again.

# %% tags=["nbval-ignore-output"]
frozen = [train_small(F.relu, 0.3, seed, bias_learns=False)[1] for seed in range(10)]
frozen_dead = [is_dead.float().mean().item() for is_dead in frozen]
print(f"bias learns:    mean {sum(relu_dead) / 10:.2f}")
print(f"bias is frozen: mean {sum(frozen_dead) / 10:.2f}")

# %% [markdown]
# With a frozen bias hardly a unit dies. So it is the bias that carries a unit out of reach of the examples.

# %%
assert sum(frozen_dead) / 10 < 0.05 and sum(relu_dead) / 10 > 0.08
print("a frozen bias keeps nearly all units alive")


# %% [markdown] slideshow={"slide_type": "slide"}
# **The residual connection** (He et al. 2016) adds the input of a part to its output: $x + f(x)$ instead of $f(x)$. Its
# derivative is $1 + f'(x)$. In a stack of layers the gradient is a product of such factors. Without the 1 a product of
# many small numbers vanishes; with it there is always a straight way through. Measure it: 24 feed-forward layers with
# PyTorch's usual initial weights, and the size of the gradient that reaches the first matrix of each layer. The switch
# `larger` draws larger initial weights (He et al. 2015): their size is chosen so that a ReLU layer keeps the size of
# what passes through it.

# %% tags=["nbval-ignore-output"]
def new_layer(larger=False):
    first, second = nn.Linear(32, 64), nn.Linear(64, 32)
    if larger:
        nn.init.normal_(first.weight, std=math.sqrt(2 / 32))  # 2: the ReLU lets half of it through
        nn.init.normal_(second.weight, std=math.sqrt(1 / 64))
        nn.init.zeros_(first.bias)
        nn.init.zeros_(second.bias)
    return nn.Sequential(first, nn.ReLU(), second)


def gradient_sizes(residual, normalised, larger, seed):
    seed_everything(seed)
    layers = [new_layer(larger) for _ in range(24)]
    x, direction = torch.randn(64, 32), torch.randn(64, 32)
    for layer in layers:
        y = layer(layer_norm(x) if normalised else x)
        x = x + y if residual else y
    (x * direction).mean().backward()  # any loss will do: this one weighs the outputs at random
    return [layer[0].weight.grad.norm().item() for layer in layers]


print([f"{size:.0e}" for size in gradient_sizes(False, False, False, seed=0)[::6]])
print("in layers 1, 7, 13 and 19")

# %% [markdown]
# Compare five stacks, on five seeds each: with and without the residual, with and without layer norm, and the plain
# stack with larger initial weights.

# %% tags=["nbval-ignore-output"]
stacks = {
    "plain": (False, False, False),
    "plain, larger initial weights": (False, False, True),
    "layer norm only": (False, True, False),
    "residual only": (True, False, False),
    "residual and layer norm": (True, True, False),
}
sizes, ratios = {}, {}
for name, stack in stacks.items():
    sizes[name] = [gradient_sizes(*stack, seed) for seed in range(5)]
    ratios[name] = [run[0] / run[-1] for run in sizes[name]]
for name, numbers in ratios.items():
    print(f"{name:30} first layer / last layer:", *[f"{number:.2g}" for number in numbers])

# %% [markdown]
# The same layer by layer. The vertical axis is a logarithm: one unit down is a factor of ten.

# %%
bands = {}
for name, runs in sizes.items():
    logs = [[math.log10(run[i]) for run in runs] for i in range(24)]
    bands[name] = [seed_interval(layer) for layer in logs]
title = "Plain, with the usual weights, loses its gradient"
interval_curves(range(1, 25), bands, "layer", "log10 of the gradient's size", title)
plt.show()

# %% [markdown]
# See the plain stack: layer 24 gets a gradient, and the layers before it less and less, until next to nothing is left
# for the first. The two stacks with a residual stay level.
#
# Notice what this does *not* say. Larger initial weights also keep the gradient, at least at the start of training: it
# was the small weights that made it vanish. The residual needs no such tuning. Layer norm alone keeps the gradient from
# vanishing here too: the first layer gets some per cent, or most, of what the last one gets. But how much depends on
# the luck of the initial weights, far more than with both. The next cell checks each of these statements.

# %%
assert all(ratio < 1e-9 for ratio in ratios["plain"])
assert all(0.2 < ratio < 5 for ratio in ratios["plain, larger initial weights"])
assert all(0.5 < ratio < 2 for ratio in ratios["residual only"])
assert all(1 / 3 < ratio < 3 for ratio in ratios["residual and layer norm"])
assert all(0.01 < ratio < 2 for ratio in ratios["layer norm only"])
spread = {name: max(numbers) / min(numbers) for name, numbers in ratios.items()}
assert spread["layer norm only"] > 2 * spread["residual and layer norm"]
print("plain: vanishes; larger weights or residual: level; layer norm alone: scatters")

# %% [markdown] slideshow={"slide_type": "slide"}
# **Where does the layer norm stand?** Call the attention or the feed-forward network a *sublayer*. There are two orders:
#
# - **post-norm**, the paper's: $\operatorname{LayerNorm}(x + \operatorname{Sublayer}(x))$
# - **pre-norm**, which most later models use: $x + \operatorname{Sublayer}(\operatorname{LayerNorm}(x))$
#
# In pre-norm nothing stands on the straight way of the residual. Its price: nothing has normalised what leaves the last
# block, so a pre-norm model needs one more layer norm at the very end.

# %%
seed_everything(0)
token = 10 * torch.randn(1, 32)
sublayer = nn.Linear(32, 32)
post = layer_norm(token + sublayer(token))
pre = token + sublayer(layer_norm(token))
for name, x in (("input", token), ("post-norm", post), ("pre-norm", pre)):
    print(f"standard deviation of {name}: {x.std(unbiased=False):.1f}")
assert abs(post.std(unbiased=False) - 1) < 1e-3 and pre.std() > 5


# %% [markdown]
# Now put the block together, bottom up. First attention as a module with learned matrices. After the values have been
# averaged, a fourth matrix, the output projection, mixes their features.

# %%
class SingleHeadAttention(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.query_proj = nn.Linear(d_model, d_model)
        self.key_proj = nn.Linear(d_model, d_model)
        self.value_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x, mask=None):
        q, k, v = self.query_proj(x), self.key_proj(x), self.value_proj(x)  # (B, T, d_model) each
        output, weights = attention(q, k, v, mask)  # (B, T, d_model), (B, T, T)
        return self.out_proj(output), weights


output, weights = SingleHeadAttention(8)(torch.randn(2, 5, 8))
print(tuple(output.shape), tuple(weights.shape))
assert output.shape == (2, 5, 8) and weights.shape == (2, 5, 5)


# %% [markdown]
# Then your layer norm with its learned `weight` (γ) and `bias` (β).

# %%
class LayerNorm(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        return self.weight * layer_norm(x) + self.bias


print(LayerNorm(4)(torch.tensor([5.0, 6.0, 7.0, 8.0])).data)


# %% [markdown] slideshow={"slide_type": "slide"}
# And the block, with both orders. Each of the two sublayers has its own layer norm.

# %%
class Block(nn.Module):
    def __init__(self, d_model, d_ff, norm_first=True):
        super().__init__()
        self.self_attention = SingleHeadAttention(d_model)
        widen, narrow = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)
        self.feed_forward = nn.Sequential(widen, nn.ReLU(), narrow)
        self.norm_1, self.norm_2 = LayerNorm(d_model), LayerNorm(d_model)
        self.norm_first = norm_first

    def forward(self, x, mask=None):
        if self.norm_first:
            x = x + self.self_attention(self.norm_1(x), mask)[0]
            return x + self.feed_forward(self.norm_2(x))
        x = self.norm_1(x + self.self_attention(x, mask)[0])
        return self.norm_2(x + self.feed_forward(x))


block = Block(d_model=8, d_ff=32)
print(tuple(block(torch.randn(2, 5, 8)).shape))
print(sum(p.numel() for p in block.parameters()), "parameters")
assert block(torch.randn(2, 5, 8)).shape == (2, 5, 8)


# %% [markdown] slideshow={"slide_type": "slide"}
# **Three-way agreement.** `nn.TransformerEncoderLayer` with one head is the same block. PyTorch keeps the three matrices
# for queries, keys and values in one tall matrix; apart from that, only the names differ.

# %%
def copy_from_pytorch(theirs):
    state = theirs.state_dict()
    named = {}
    for kind in ("weight", "bias"):
        parts = state[f"self_attn.in_proj_{kind}"].chunk(3)  # → three (d_model, ...)
        for name, part in zip(("query", "key", "value"), parts):
            named[f"self_attention.{name}_proj.{kind}"] = part
        named[f"self_attention.out_proj.{kind}"] = state[f"self_attn.out_proj.{kind}"]
        named[f"feed_forward.0.{kind}"] = state[f"linear1.{kind}"]
        named[f"feed_forward.2.{kind}"] = state[f"linear2.{kind}"]
        named[f"norm_1.{kind}"] = state[f"norm1.{kind}"]
        named[f"norm_2.{kind}"] = state[f"norm2.{kind}"]
    return named


print(list(copy_from_pytorch(nn.TransformerEncoderLayer(8, 1, 32)))[:4], "...")

# %% [markdown]
# Compare all three: your `Block`, `EncoderLayer` from `helpers`, PyTorch's. Every parameter is random, the layer norms'
# too, so that nothing agrees by accident. Mind the mask: to `nn.TransformerEncoderLayer` `True` means "blocked", the
# opposite of ours, hence the `~`. Its mask is called `src_mask`, for "source". `batch_first=True` says that our tensors
# are (B, T, d_model) and not (T, B, d_model). Dropout sets numbers chosen at random to 0 in training; `dropout=0.0`
# turns it off.

# %%
seed_everything(0)
mask = finished_attention.causal_mask(5)
for norm_first in (True, False):
    theirs = nn.TransformerEncoderLayer(
        8, 1, 32, dropout=0.0, batch_first=True, norm_first=norm_first
    )
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.5)
    mine = Block(8, 32, norm_first)
    helper = finished_layers.EncoderLayer(8, 1, 32, norm_first=norm_first)
    mine.load_state_dict(copy_from_pytorch(theirs))
    helper.load_state_dict(copy_from_pytorch(theirs))
    x = torch.randn(2, 5, 8)
    for m, their_m in ((None, None), (mask, ~mask)):
        torch.testing.assert_close(mine(x, m), theirs(x, src_mask=their_m), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(mine(x, m), helper(x, m)[0], atol=1e-4, rtol=1e-4)
    print(f"norm_first={norm_first}: Block == helpers == nn.TransformerEncoderLayer")

# %% [markdown]
# **Remember: attention moves information between tokens, the feed-forward network computes inside each token, and the
# residual keeps a straight way open past both.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.8 It learns
#
# **Does attention find the right queries and keys by itself?** Take the smallest task that needs it: the dictionary of
# section 1.1, but learned. The model reads 8 pairs of a key and a value, then a question, and has to give the value that
# belongs to the question. Keys and values are ids from 0 to 15; every example draws new pairs, so nothing can be learned
# by heart.
#
# There are two versions. Asked **by content**, the question names a key. Asked **by position**, it names a place: "what
# is the value of pair number 3?"

# %%
PAIRS, IDS = 8, 16


def make_examples(number, by, seed):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.rand(number, IDS, generator=generator).argsort(dim=1)[:, :PAIRS]  # no id twice
    values = torch.rand(number, IDS, generator=generator).argsort(dim=1)[:, :PAIRS]
    place = torch.randint(PAIRS, (number,), generator=generator)
    rows = torch.arange(number)
    question = keys[rows, place] if by == "content" else place
    pairs = torch.stack([keys, values], dim=2)  # (N, 8), (N, 8) → (N, 8, 2)
    examples = pairs, question, values[rows, place]  # (N, 8, 2), (N,), (N,)
    return tuple(tensor.to(device) for tensor in examples)


pairs, question, answer = make_examples(1, by="content", seed=0)
print("key: value", dict(pairs[0].tolist()))
print("question:", question.item(), " answer:", answer.item())
assert dict(pairs[0].tolist())[question.item()] == answer.item()


# %% [markdown]
# The model: each pair becomes one vector, the sum of an embedding of its key, one of its value, and its position. The
# question becomes the query. What attention has found stands beside the question itself, and a small feed-forward
# network reads both. So every variant below is told the question. Out come one score for each of the 16 values (such
# scores are called *logits*) and the attention weights.
#
# Three switches take away one thing each: the attention (then all weights are alike), the positions, the scale. The
# fourth, `init`, chooses the initial weights of the three **projections** (the learned $W_Q$, $W_K$ and $W_V$):
# "xavier" (Glorot and Bengio 2010, section 4.2) keeps the variance of what passes through them; "default" is what
# PyTorch does by itself, and is smaller.

# %%
class LookUp(nn.Module):
    def __init__(self, attend=True, positions=True, scale=True, init="xavier", d_model=32):
        super().__init__()
        self.key_embedding = nn.Embedding(IDS, d_model)
        self.value_embedding = nn.Embedding(IDS, d_model)
        self.question_embedding = nn.Embedding(IDS, d_model)
        self.query_proj = nn.Linear(d_model, d_model)
        self.key_proj = nn.Linear(d_model, d_model)
        self.value_proj = nn.Linear(d_model, d_model)
        if init == "xavier":
            for projection in (self.query_proj, self.key_proj, self.value_proj):
                nn.init.xavier_uniform_(projection.weight)
        self.output = nn.Sequential(nn.Linear(2 * d_model, 64), nn.ReLU(), nn.Linear(64, IDS))
        encoding = sinusoidal_encoding(PAIRS, d_model) * positions
        self.register_buffer("encoding", encoding)  # a buffer is not learned
        self.attend, self.scale = attend, scale

    def forward(self, pairs, question):
        x = self.key_embedding(pairs[..., 0]) + self.value_embedding(pairs[..., 1])
        x = x + self.encoding  # (B, 8, d_model)
        asked = self.question_embedding(question)  # (B,) → (B, d_model)
        q = self.query_proj(asked).unsqueeze(1)  # (B, d_model) → (B, 1, d_model)
        if not self.attend:
            q = torch.zeros_like(q)  # a query of zeros looks at everything alike
        if not self.scale:
            q = q * math.sqrt(q.size(-1))  # undoes the division in `attention`
        found, weights = attention(q, self.key_proj(x), self.value_proj(x))  # ..., (B, 1, 8)
        both = torch.cat([found.squeeze(1), asked], dim=-1)  # (B, 2 d_model)
        return self.output(both), weights.squeeze(1)  # (B, 16), (B, 8)


logits, weights = LookUp().to(device)(pairs, question)
print("scores for the 16 values:", tuple(logits.shape))
print("weights on the 8 pairs:", tuple(weights.shape))


# %% [markdown]
# Train once and look. `fit` is the training loop of the series: it wants a model, examples for training, examples for
# **validation** (which are not trained on and say how well it goes), and a loss. An **epoch** is one pass over all
# training examples. A softmax turns the logits into probabilities. The loss is the **cross-entropy**, minus the
# logarithm of the probability that the model gives to the right value. `loss` returns its sum and the number of
# examples; `fit` divides, so the printed numbers are means. At the end `fit` puts back the weights of the epoch that did
# best on the validation examples. **Accuracy** is the share of right answers, here on 500 examples that training has
# not seen.

# %% tags=["nbval-ignore-output"]
def loss(model, pairs, question, answer):
    return F.cross_entropy(model(pairs, question)[0], answer, reduction="sum"), len(answer)


def train(by, seed, progress=False, **switches):
    seed_everything(seed)
    model = LookUp(**switches).to(device)
    data = make_examples(2500, by, seed), make_examples(300, by, seed + 1000)
    history = fit(model, *data, loss, epochs=8, lr=0.01, seed=seed, progress=progress)
    pairs, question, answer = make_examples(500, by, seed + 2000)
    accuracy = (model(pairs, question)[0].argmax(-1) == answer).float().mean().item()
    return model, accuracy, history


model, accuracy, history = train("content", seed=0, progress=True)
print("validation loss by epoch:", *[f"{x:.2f}" for x in history.validation])
print(f"accuracy {accuracy:.3f}")

# %% [markdown] slideshow={"slide_type": "slide"}
# **Where does it look?** Take one list of pairs and ask for each of its keys in turn.

# %%
pairs, _, _ = make_examples(1, "content", seed=5000)
questions = pairs[0, :, 0].sort().values  # (8,)
with torch.no_grad():
    weights = model(pairs.expand(8, -1, -1), questions)[1]  # (8, 8): a row for each question
rows, columns = [f"{k}?" for k in questions.tolist()], [f"{k}: {v}" for k, v in pairs[0].tolist()]
attention_heatmap(weights, rows, columns, title="Each question finds its pair")
plt.show()
assert torch.equal(pairs[0, weights.argmax(dim=-1), 0], questions)  # looked at: the key asked for

# %% [markdown]
# See one bright cell in every row, in the column whose key is the one asked for. The model has invented the dictionary
# look-up. This is measured: over 500 new examples, the mean weight on the right pair.

# %%
pairs, question, answer = make_examples(500, "content", seed=6000)
with torch.no_grad():
    weights = model(pairs, question)[1]  # (500, 8)
on_the_right_pair = weights[pairs[..., 0] == question.unsqueeze(1)].mean().item()
assert accuracy > 0.98 and on_the_right_pair > 0.9
print("accuracy above 98 per cent, mean weight on the right pair above 0.9")

# %% [markdown] slideshow={"slide_type": "slide"}
# **Predict first.** Take away one thing at a time. Which of these still learn the task?
#
# 1. by content, without attention (a plain average of all pairs)
# 2. by content, without positions
# 3. by position, without positions
# 4. by content, without the scale
#
# <details><summary>Answer</summary>
#
# 1 fails, although it is told the question: an average of the pairs still says which values are present, but not which
# key goes with which. One right in eight is the best that this allows. 2 learns: content does not need order. 3 fails,
# for the reason of section 1.5: the pairs are a set. 4 learns, with these initial weights, more slowly and less surely,
# because it starts with a sharp softmax.
#
# </details>

# %% tags=["nbval-ignore-output"]
variants = {
    "by content": ("content", {}),
    "by content, no positions": ("content", {"positions": False}),
    "by content, no scale": ("content", {"scale": False}),
    "smaller init": ("content", {"init": "default"}),
    "smaller init, no scale": ("content", {"init": "default", "scale": False}),
    "by position": ("position", {}),
    "by content, no attention": ("content", {"attend": False}),
    "by position, no positions": ("position", {"positions": False}),
}
runs = {}
for name, (by, switches) in tqdm(variants.items(), file=sys.stdout, ncols=88):
    runs[name] = [train(by, seed, **switches)[1:] for seed in range(5)]
accuracies = {name: [accuracy for accuracy, _ in results] for name, results in runs.items()}
for name, numbers in accuracies.items():
    print(f"{name:26} accuracy {seed_interval(numbers)}")

# %% [markdown]
# As a picture, with the best that an average of the pairs allows as the dotted line. ("Smaller init" is by content too,
# with PyTorch's own initial weights; more about it below.)

# %%
interval_plot(
    {name: seed_interval(numbers) for name, numbers in accuracies.items()},
    "accuracy on new examples (5 seeds, 95% interval)",
    "Attention finds the value; an average does not",
    references={"1 of 8 values": 1 / 8},
)
plt.show()

# %% [markdown]
# See the last two rows, at the dotted line or below: the model without attention, and the model that is asked for a
# position and has none. They do no better than a guess among the eight values present. Among the others only "by
# content, no scale" may stop short of the right edge: most of its seeds get there, and whether one lags is luck. (An
# interval that passes 1 is an honest sign of few seeds: Student's formula does not know where accuracy ends.)

# %%
for name in ("by content", "by content, no positions", "by position"):
    assert min(accuracies[name]) > 0.97
for name in ("by content, no attention", "by position, no positions"):
    assert min(accuracies[name]) > 0.03 and max(accuracies[name]) < 0.2
assert sum(accuracy > 0.9 for accuracy in accuracies["by content, no scale"]) >= 3
print("learned: by content, with or without positions; by position")
print("learned by most seeds: by content, without the scale")
print("not learned: without attention; by position without positions")

# %% [markdown] slideshow={"slide_type": "slide"}
# **And the scale?** Look at how the model without it learns: the validation loss after two of the eight epochs, seed
# by seed. And look at it with PyTorch's own, smaller initial weights as well.

# %% tags=["nbval-ignore-output"]
after_two = {}
for name in ("by content", "by content, no scale", "smaller init", "smaller init, no scale"):
    after_two[name] = [history.validation[1] for _, history in runs[name]]
    print(f"{name:22}", *[f"{x:.2f}" for x in after_two[name]])


# %% [markdown]
# With the first initial weights, "xavier", the model without the scale is behind on every seed, and far behind on nearly
# every one. Does it start with a sharp softmax, as section 1.3 says? Look at the mean largest weight *before* any
# training, for three widths; one of eight alike would be 0.125.

# %% tags=["nbval-ignore-output"]
def sharpness(seed, d_model, **switches):
    seed_everything(seed)
    model = LookUp(d_model=d_model, **switches).to(device)
    pairs, question, _ = make_examples(500, "content", seed)
    with torch.no_grad():
        return model(pairs, question)[1].amax(dim=-1).mean().item()


sharp = {}
for init in ("xavier", "default"):
    for scale in (True, False):
        for d_model in (16, 32, 256):
            case = init, scale, d_model
            sharp[case] = [sharpness(seed, d_model, init=init, scale=scale) for seed in range(5)]
        means = [seed_interval(sharp[init, scale, d_model]).mean for d_model in (16, 32, 256)]
        print(f"{init:8} scale {scale!s:5}: at width 16, 32, 256:", *[f"{x:.2f}" for x in means])

# %% [markdown]
# It does, and the sharper the wider it is. With the scale the start is nearly the same at every width: that is what the
# scale does.
#
# How much it helps depends on the initial weights. With the smaller ones the model without the scale starts less sharp,
# and its mean loss after two epochs is lower than with "xavier": it may still be behind, but in the end every seed
# reaches the top. (All this is one task and one layer, and shows no more than that.)

# %%
scaled, unscaled = after_two["by content"], after_two["by content, no scale"]
assert all(slow > fast for fast, slow in zip(scaled, unscaled))
assert sum(slow > 3 * fast for fast, slow in zip(scaled, unscaled)) >= 4
assert sum(unscaled) > 3 * sum(scaled)
assert max(sharp["xavier", True, 32]) < 0.55 and min(sharp["xavier", False, 32]) > 0.8
print("xavier, no scale: a sharp start, more than three times the mean loss after two epochs")
for init in ("xavier", "default"):
    with_scale = [seed_interval(sharp[init, True, d_model]).mean for d_model in (16, 32, 256)]
    assert max(with_scale) - min(with_scale) < 0.1
    assert min(sharp[init, False, 256]) > max(sharp[init, False, 16]) + 0.1
print("with the scale the start does not depend on the width, without it it does")
assert min(accuracies["smaller init"] + accuracies["smaller init, no scale"]) > 0.97
assert sum(after_two["smaller init, no scale"]) < 0.6 * sum(unscaled)
assert max(sharp["default", False, 32]) < min(sharp["xavier", False, 32]) - 0.1
print("smaller initial weights, no scale: a softer start, and every seed reaches the top")


# %% [markdown]
# **Remember: attention learns whom to ask. An average cannot, and without positions nobody can be asked for by place.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.9 Bug clinic
#
# **Would you notice?** Attention code that is wrong usually runs, has the right shape, and often even trains. Here are
# ten versions that people really write. Each one runs, and its shape is right. Find the mistake before you unfold the
# answer and read on. Below each stands the small test that exposes it: it must fail on the wrong version *and* pass on
# the right one, and `exposes` checks both.

# %%
def exposes(test, wrong, right):
    assert not test(wrong), "the test does not notice the bug"
    assert test(right), "the test rejects the right version"
    print(f"the test {test.__name__!r} fails on the wrong version and passes on the right one")


seed_everything(0)
q, k, v = torch.randn(2, 6, 64), torch.randn(2, 6, 64), torch.randn(2, 6, 64)  # (B, T, d_model)
print("material for the clinic:", tuple(q.shape))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 1
#
# The plainest attention there is. What is missing?

# %%
def bug_1(q, k, v):
    return (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v


print(tuple(bug_1(q, k, v).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The scale. Write `q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))`. With width 64 the scores are eight times too large.
#
# The test: repeat all features four times, and divide them by √2. Each dot product doubles (4 / 2), the width is four
# times as large, and √4 = 2. So scaled attention does not change. The test looks at the effect of the width and at
# nothing else. Versions with other bugs may pass: one whose scores are three times too large, or one that just gives
# back `v`. So further assertions compare with PyTorch.
#
# </details>

# %%
def width_does_not_matter(attend):
    wide_q, wide_k = (x.repeat(1, 1, 4) / 2**0.5 for x in (q, k))  # (B, T, 64) → (B, T, 256)
    return torch.allclose(attend(wide_q, wide_k, v), attend(q, k, v), atol=1e-4)


exposes(width_does_not_matter, bug_1, lambda q, k, v: attention(q, k, v)[0])
assert width_does_not_matter(lambda q, k, v: attention(3 * q, k, v)[0])  # other bugs may pass
assert width_does_not_matter(lambda q, k, v: v)
reference = F.scaled_dot_product_attention(q, k, v)
assert torch.allclose(attention(q, k, v)[0], reference, atol=1e-5)
assert not torch.allclose(bug_1(q, k, v), reference, atol=0.1)


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 2
#
# This one has the scale.

# %%
def bug_2(q, k, v):
    weights = (q @ k.transpose(-2, -1) / q.size(-1) ** 0.5).softmax(dim=1)
    return weights @ v


print(tuple(bug_2(q, k, v).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# `dim=1`. In a matrix (T, T) axis 1 holds the keys; in a batch (B, T, T) it holds the queries. Always write `dim=-1`.
#
# The test is the constant-value test of section 1.2.
#
# </details>

# %%
def equal_values_come_out_unchanged(attend):
    return torch.allclose(attend(q, k, torch.ones_like(v)), torch.ones_like(v), atol=1e-5)


exposes(equal_values_come_out_unchanged, bug_2, lambda q, k, v: attention(q, k, v)[0])


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 3
#
# A layer norm, in two lines.

# %%
def bug_3(x):
    return (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + 1e-5)


print(tuple(bug_3(q).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# `x.mean()` and `x.var()` without `dim=-1, keepdim=True` are taken over the whole tensor: all tokens, all sequences of
# the batch. A token's output then depends on its neighbours and on the rest of the batch. It is also a leak from the
# future.
#
# </details>
#
# The test changes one token and looks at the others.

# %%
def tokens_are_normalised_alone(norm):
    changed = q.clone()
    changed[0, 5] = 10 * changed[0, 5]
    return torch.allclose(norm(changed)[0, :5], norm(q)[0, :5], atol=1e-6)


exposes(tokens_are_normalised_alone, bug_3, layer_norm)
changed = q.clone()
changed[0, 5] = 10 * changed[0, 5]
assert (bug_3(changed)[1] - bug_3(q)[1]).abs().max() > 0.1  # the other sequence moves too


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 4
#
# The second half of a pre-norm block: norm, feed-forward, residual. It even checks a shape.

# %%
class Bug4(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = LayerNorm(64)
        self.feed_forward = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x):
        normalised = self.norm(x)
        output = self.feed_forward(normalised)
        assert output.shape == x.shape
        return x + normalised


print(tuple(Bug4()(q).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# `return x + normalised` should be `return x + output`. The result of the feed-forward network is computed and thrown
# away. The network never gets a gradient, so it never trains, and no error says so.
#
# </details>
#
# The test belongs in every project: after one backward pass every parameter has a gradient that is not zero.
#
# One parameter is an exception: the bias of the keys. It adds the same number to all scores of a row, and a softmax does
# not notice. Its true gradient is 0, and what you find there is rounding. So the test asks for at least 1e-7, and skips
# the key bias. Your own `Block` shows it.

# %%
class Fixed4(Bug4):
    def forward(self, x):
        return x + self.feed_forward(self.norm(x))


def every_parameter_gets_a_gradient(make):
    module = make()
    (module(q) ** 2).mean().backward()
    for name, p in module.named_parameters():
        if name.endswith("key_proj.bias"):
            continue
        if p.grad is None or p.grad.norm() < 1e-7:
            return False
    return True


exposes(every_parameter_gets_a_gradient, Bug4, Fixed4)
assert every_parameter_gets_a_gradient(lambda: Block(64, 64))
block = Block(64, 64)
(block(q) ** 2).mean().backward()
assert block.self_attention.key_proj.bias.grad.norm() < 1e-7  # rounding
assert block.self_attention.query_proj.bias.grad.norm() > 1e-7


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 5
#
# In a notebook, names live on after their cell. `K` is still the matrix of three keys from section 1.1. Here this
# function is called with that very matrix, and its answer is right to the last digit.

# %%
def bug_5(query, key, value):
    scores = query @ K.transpose(-2, -1) / math.sqrt(query.size(-1))
    return scores.softmax(dim=-1) @ value


print("right:", torch.equal(bug_5(Q, K, V), attention(Q, K, V)[0]), tuple(bug_5(Q, K, V).shape))
assert torch.equal(bug_5(Q, K, V), attention(Q, K, V)[0])


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The argument is called `key`, but the body says `K`. It works as long as the notebook remembers the old `K`, and it
# ignores the keys that you give it. Restart the **kernel** (the Python process behind a notebook), run this cell without
# section 1.1, and you get a `NameError`. "Run all" does not help: it defines the old `K` again.
#
# </details>
#
# The test: an argument that matters must change the result. Try each of the three. And Python can tell you which names a
# function takes from outside; here only `math` should be among them.

# %%
def every_argument_matters(attend):
    step = 1.5 * X[:, :2]
    results = [attend(Q + step, K, V), attend(Q, K + step, V), attend(Q, K, V + 1)]
    return all(not torch.allclose(result, attend(Q, K, V)) for result in results)


exposes(every_argument_matters, bug_5, lambda q, k, v: attention(q, k, v)[0])
from_outside = sorted(inspect.getclosurevars(bug_5).globals)
print("names from outside:", from_outside)
assert from_outside == ["K", "math"]


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 6
#
# This one has the scale and the right axis.

# %%
def bug_6(q, k, v):
    scores = q @ (k // math.sqrt(k.size(-1))).transpose(-2, -1)
    return scores.softmax(dim=-1) @ v


print(tuple(bug_6(q, k, v).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# One character is too many: `//` is division with rounding down. Divided by 8, all keys become 0 or -1: nearly
# everything they knew is gone. In training you would notice, because PyTorch has no derivative for `//` and raises an
# error; in a model that is only used, you would not.
#
# </details>
#
# The test compares with PyTorch on random input. It is the most useful test of this clinic: it catches bugs 1 and 2 too.

# %%
def agrees_with_pytorch(attend):
    return torch.allclose(attend(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-5)


exposes(agrees_with_pytorch, bug_6, lambda q, k, v: attention(q, k, v)[0])
assert not agrees_with_pytorch(bug_1) and not agrees_with_pytorch(bug_2)
print("different numbers in the keys of bug 6:", (k // 8).unique().tolist())
assert (k // 8).unique().tolist() == [-1, 0]
try:
    bug_6(q, k.clone().requires_grad_(), v).sum().backward()
except RuntimeError as error:
    assert "derivative" in str(error)
    print("in training: an error about a missing derivative")
else:
    raise AssertionError("bug 6 trains without an error")


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 7
#
# *Several heads* means: cut the 64 features into `num_heads = 4` slices of `head_dim = 16`, let each slice attend by
# itself, and put the results side by side again. Below, `B`, `T`, `H`, `D` are the numbers of sequences, tokens, heads,
# and features of a head. Who attends to whom here?

# %%
def bug_7(q, k, v, num_heads=4):
    B, T, d_model = q.shape
    q, k, v = (x.view(B, T, num_heads, -1) for x in (q, k, v))  # (B, T, d_model) → (B, T, H, D)
    return attention(q, k, v)[0].reshape(B, T, d_model)


print(tuple(bug_7(q, k, v).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The split lacks `.transpose(1, 2)`. The function attends over the axis before the last. Here that is H, not T: each
# token's *heads* attend to one another, and no token ever sees another token.
#
# The test: without a mask, changing the last token must move the output of the first.
#
# </details>

# %%
def right_heads(q, k, v, num_heads=4):
    B, T, d_model = q.shape
    q, k, v = (x.view(B, T, num_heads, -1) for x in (q, k, v))  # (B, T, d_model) → (B, T, H, D)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, T, H, D) → (B, H, T, D)
    output = attention(q, k, v)[0].transpose(1, 2)  # (B, H, T, D) → (B, T, H, D)
    return output.reshape(B, T, d_model)  # (B, T, H, D) → (B, T, d_model)


def tokens_see_one_another(attend):
    changed_k, changed_v = k.clone(), v.clone()
    changed_k[:, 5], changed_v[:, 5] = 2.0, 2.0
    before, after = attend(q, k, v)[:, 0], attend(q, changed_k, changed_v)[:, 0]
    return not torch.allclose(after, before, atol=1e-4)


exposes(tokens_see_one_another, bug_7, right_heads)


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 8
#
# Now the split is right. Look at the way back.

# %%
def bug_8(q, k, v, num_heads=4):
    B, T, d_model = q.shape
    q, k, v = (x.view(B, T, num_heads, -1) for x in (q, k, v))  # (B, T, d_model) → (B, T, H, D)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, T, H, D) → (B, H, T, D)
    return attention(q, k, v)[0].reshape(B, T, d_model)


print(tuple(bug_8(q, k, v).shape))
print("would the test of bug 7 notice?", not tokens_see_one_another(bug_8))
assert tokens_see_one_another(bug_8)


# %% [markdown]
# <details><summary>The mistake</summary>
#
# `reshape` straight from (B, H, T, D) cuts the numbers in memory order. The first row of the result then holds the first
# four *tokens* of the first head instead of the four *heads* of the first token. `.transpose(1, 2)` must come first.
#
# The test does one head alone, on its own slice of the features, and looks for the result in that slice.
#
# </details>

# %%
def heads_land_in_their_slices(attend):
    alone = [attention(q[..., s], k[..., s], v[..., s])[0] for s in (slice(0, 16), slice(48, 64))]
    together = attend(q, k, v)
    return torch.allclose(together[..., :16], alone[0], atol=1e-5) and torch.allclose(
        together[..., 48:], alone[1], atol=1e-5
    )


exposes(heads_land_in_their_slices, bug_8, right_heads)
first_head = attention(q[..., :16], k[..., :16], v[..., :16])[0]  # (B, T, D)
assert torch.allclose(bug_8(q, k, v)[:, 0], first_head[:, :4].flatten(1), atol=1e-5)


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 9
#
# A causal mask, added to the scores. `mask` is `True` where one may attend.

# %%
def bug_9(q, k, v):
    mask = finished_attention.causal_mask(q.size(1))
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)) + mask * -1e9
    return scores.softmax(dim=-1) @ v


print(tuple(bug_9(q, k, v).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The sign: `mask * -1e9` pushes down what one *may* see. Each token but the last sees only its future. The last has no
# future: all its scores are pushed down alike, the -1e9 swallows what was left of them in rounding, and it sees all six
# tokens with weight 1/6. Write `~mask * -1e9`, or better `masked_fill(~mask, ...)`. A model that is trained to predict
# the next word would simply read that word off.
#
# </details>
#
# The test is the leak test: change the last token, and no earlier output may move.

# %%
def the_future_is_hidden(attend):
    changed_k, changed_v = k.clone(), v.clone()
    changed_k[:, 5], changed_v[:, 5] = 2.0, 2.0
    return torch.allclose(attend(q, changed_k, changed_v)[:, :5], attend(q, k, v)[:, :5], atol=1e-5)


mask = finished_attention.causal_mask(6)
exposes(the_future_is_hidden, bug_9, lambda q, k, v: attention(q, k, v, mask)[0])
identity = torch.eye(6).expand(2, 6, 6)  # with these values the output is the weights
seen = bug_9(q, k, identity)
assert (seen[:, :5].tril() == 0).all()  # tokens 0 to 4: nothing of themselves and before
torch.testing.assert_close(seen[:, 5], torch.full((2, 6), 1 / 6))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 10
#
# Add the positions to the tokens.

# %%
def bug_10(x):
    x += sinusoidal_encoding(x.size(-2), x.size(-1))
    return x


print(tuple(bug_10(torch.zeros(3, 4)).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# `x += ...` works *in place*: it changes the caller's tensor. If that tensor is used again (for the residual, in the
# next epoch, in the next cell), the positions are in it twice. Write `x = x + ...` or `return x + ...`.
#
# The test calls it twice with the same input.
#
# </details>

# %%
def twice_gives_the_same(add_positions):
    x = torch.zeros(3, 4)
    first = add_positions(x).clone()
    return torch.equal(add_positions(x), first)


exposes(twice_gives_the_same, bug_10, lambda x: x + sinusoidal_encoding(x.size(-2), x.size(-1)))


# %% [markdown]
# **Remember: the shape proves nothing. Compare with a reference, change one input and see what moves, and look at the
# gradients.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.10 Exercises
#
# Write each function in its stub, run the cell, then run the check below it. A check prints ✓, or the smallest input on
# which your answer is wrong, and often what the mistake is. Any right answer counts, by whatever route. The solutions
# are in [a notebook of their own](solutions/01_attention_basics_solutions.ipynb).

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 1 · softmax (warm-up, 10 minutes)
#
# Write `softmax(scores)` over the last axis, so that it also works for scores of ±10000. Use tensor operations, so that
# gradients flow, and do it without `torch.softmax` (that is not checked: it is your exercise).
#
# In: `[0.0, 0.6931]` · out: `[0.3333, 0.6667]` (because $e^{0.6931} = 2$).
#
# <details><summary>Hint</summary>
#
# $e^{10000}$ is infinite in floating point, and infinity divided by infinity is NaN. But if you subtract the same number
# from all scores of a row, its softmax stays the same. Which number makes sure that nothing overflows?
#
# </details>

# %% slideshow={"slide_type": "skip"}
def softmax(scores):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_softmax

check_softmax(softmax)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 2 · scaled dot-product attention (core, 15 minutes)
#
# Write `my_attention(query, key, value, mask=None)`. It returns the output (..., T_q, d_v) and the weights (..., T_q,
# T_k). The mask is boolean, `True` = may attend; a query that may attend to nothing gets zero weights and a zero
# output. Use tensor operations, so that gradients flow. Do not call a ready-made attention function (that is not
# checked).
#
# In: `query = [[1.0]]`, `key = [[0.0], [0.6931]]`, `value = [[3.0], [6.0]]` · out: `[[5.0]]` and `[[0.3333, 0.6667]]`.
#
# <details><summary>Hint</summary>
#
# Four steps: scores, scale, mask, softmax over the keys. A row of $-\infty$ makes NaN. See section 1.4 for the cure.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def my_attention(query, key, value, mask=None):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_attention

check_attention(my_attention)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 3 · causal mask (warm-up, 5 minutes)
#
# Write `causal_mask(length)`: boolean, (length, length), `True` where the query in the row may attend to the key in the
# column.
#
# In: `2` · out: `[[True, False], [True, True]]`.
#
# <details><summary>Hint</summary>
#
# Compare `torch.arange(length)` as a column with itself as a row.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def causal_mask(length):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_causal_mask

check_causal_mask(causal_mask)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 4 · padding mask for a batch (core, 10 minutes)
#
# You know how long each sequence of the batch is. Write `padding_mask(lengths, max_length)`: boolean, (B, 1,
# max_length), `True` where the key is a real token.
#
# In: `lengths = tensor([1, 3])`, `max_length = 3` · out: `[[[True, False, False]], [[True, True, True]]]`.
#
# <details><summary>Hint</summary>
#
# Compare the positions 0, 1, 2, ... as (1, 1, max_length) with the lengths as (B, 1, 1). Position `lengths[b]` is
# already padding.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def padding_mask(lengths, max_length):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_padding_mask

check_padding_mask(padding_mask)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 5 · layer norm (core, 10 minutes)
#
# Write `my_layer_norm(x, weight, bias, eps)` for $x$ of shape (..., d_model); `weight` and `bias` are (d_model,). Use
# tensor operations, so that gradients flow. Do not call `F.layer_norm` (that is not checked).
#
# In: `[[5., 6., 7., 8.]]`, ones, zeros, `1e-5` · out: `[[-1.3416, -0.4472, 0.4472, 1.3416]]`.
#
# <details><summary>Hint</summary>
#
# Mean and variance over the last axis, with `keepdim=True`; divide the squares by d_model; ε goes under the root.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def my_layer_norm(x, weight, bias, eps):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_layer_norm

check_layer_norm(my_layer_norm)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6 · position encoding (core, 15 minutes)
#
# Write `position_encoding(length, d_model)`: (length, d_model), sines in the even columns, cosines in the odd ones. It
# has to work for an odd `d_model`.
#
# In: `2, 4` · out: `[[0, 1, 0, 1], [0.8415, 0.5403, 0.0100, 0.99995]]`
# (rounded; with four decimals PyTorch prints the last number as 0.9999).
#
# <details><summary>Hint</summary>
#
# First a table of angles, one column for each *pair*. `encoding[:, 0::2]` and `encoding[:, 1::2]` are the even and the
# odd columns; count how many of each there are.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def position_encoding(length, d_model):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_position_encoding

check_position_encoding(position_encoding)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 7 · the block (core, 15 minutes)
#
# Write `my_block(x, attend, feed_forward, norm_1, norm_2, norm_first)`. The four in the middle are functions from
# (B, T, d_model) to (B, T, d_model): the two sublayers and their layer norms. `norm_first=True` is pre-norm, `False` is
# post-norm (section 1.7). Use tensor operations, so that gradients flow.
#
# In (all four double their input, pre-norm, x = 1): $1 + 2 \cdot 2 \cdot 1 = 5$, then $5 + 2 \cdot 2 \cdot 5 = 25$ ·
# out: 25.
#
# <details><summary>Hint</summary>
#
# Two residual connections. The second one starts from the result of the first, not from the original $x$.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def my_block(x, attend, feed_forward, norm_1, norm_2, norm_first):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_block

check_block(my_block)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 8 · the leak test (stretch, 20 minutes)
#
# Write `leaks(attend, x)`. `attend` is any function from (T, d_model) to (T, d): it may use attention, a norm, anything.
# Return `True` if the output at some position depends on a *later* position, and `False` if not. Differences below 1e-4
# count as none.
#
# In: `attend = lambda x: x.cumsum(0)` (sums up to here) · out: `False`. `attend = lambda x: x - x.mean(0)` · out:
# `True`.
#
# <details><summary>Hint</summary>
#
# Change one position in a copy of `x` and compare the outputs *before* it. One position is not enough: some leaks look
# only one step ahead, some reach only one output, some only one feature.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def leaks(attend, x):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_leaks

check_leaks(leaks)

# %% [markdown]
# ## The chapter in one line
#
# The headline of this chapter, measured in section 1.8 on five seeds:

# %% tags=["headline", "nbval-ignore-output"]
with_attention, without_attention = (
    seed_interval(accuracies[name]) for name in ("by content", "by content, no attention")
)
print(f"look-up by key: accuracy {with_attention} with attention, {without_attention} without")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What you now know
#
# 1. Attention is a soft dictionary: $\operatorname{softmax}(Q K^\top / \sqrt{d_k})\, V$, with the softmax over the keys.
# 2. The scale keeps the scores at variance 1; without it wide queries make the typical softmax one-hot, with hardly any
#    gradient.
# 3. A mask acts before the softmax. Whether it works is shown by the outputs that move, not by the weights.
# 4. Attention sees a set; the position encoding adds the order.
# 5. A block is attention and a feed-forward network, each with a residual connection and a layer norm, and yours equals
#    PyTorch's.
#
# In the next chapter a sentence in one language attends to a sentence in another.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Glossary
#
# | term | meaning |
# |---|---|
# | feature | one of the numbers of a token's vector |
# | batch | several sequences that are computed at once |
# | epoch | one pass over all training examples |
# | validation | measuring on examples that are not trained on |
# | token | one piece of text, here a word; for the model, one vector |
# | query, key, value | what a token looks for, what it offers, what it hands over |
# | score | dot product of a query and a key; before the softmax it is divided by $\sqrt{d_k}$ |
# | one-hot | one entry is 1 (for a softmax: nearly 1), all others are 0 |
# | logits | scores before the softmax that gives probabilities |
# | cross-entropy | minus the logarithm of the probability given to the right answer |
# | softmax | turns a row of numbers into positive weights that add up to 1 |
# | attention weights | the softmax of the scores; row = query, column = key |
# | self-attention | attention in which queries, keys and values come from the same tokens |
# | mask | boolean matrix, `True` = may attend; causal: only itself and before; padding: only real tokens |
# | leak test | change one token and see which outputs move |
# | entropy | how spread out the weights are; $e^{\text{entropy}}$ is the effective number of positions |
# | permutation-equivariant | shuffling the inputs shuffles the outputs and changes nothing else |
# | position encoding | vector added to a token that says where it stands |
# | embedding | table with one vector for each id |
# | head | one attention with its own queries, keys and values |
# | activation function | fixed function of one number, applied to every number alone: ReLU, GELU |
# | feed-forward network | two matrices with an activation function between them, applied to every token alone |
# | dead unit | a ReLU unit that is 0 for every example, and has no gradient |
# | residual connection | $x + f(x)$ |
# | layer normalisation | each token shifted and scaled to mean 0 and variance 1 |
# | post-norm, pre-norm | layer norm after the residual sum, or before the sublayer |
# | block | attention and feed-forward, with their residual connections and layer norms |

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - Vaswani et al., *Attention Is All You Need* (2017): [arXiv:1706.03762](https://arxiv.org/abs/1706.03762). Scaled
#   dot-product attention: section 3.2.1, equation 1 (and footnote 4 on the variance of a dot product). Where masks are
#   used: section 3.2.3. Feed-forward network: section 3.3, equation 2. Embeddings: section 3.4. Position encoding:
#   section 3.5. Residual connections and post-norm: section 3.1.
# - Bahdanau, Cho and Bengio, *Neural Machine Translation by Jointly Learning to Align and Translate* (2015), section
#   3.1: attention before the Transformer.
# - Glorot and Bengio, *Understanding the Difficulty of Training Deep Feedforward Neural Networks* (2010), section 4.2:
#   the initial weights called "xavier".
# - Ba, Kiros and Hinton, *Layer Normalization* (2016), section 3.
# - He et al., *Deep Residual Learning for Image Recognition* (2016), section 3.1.
# - He et al., *Delving Deep into Rectifiers* (2015), section 2.2: larger initial weights for ReLU layers.
# - Hendrycks and Gimpel, *Gaussian Error Linear Units* (2016), section 2.
# - Clark et al., *What Does BERT Look At?* (2019), section 3: the patterns of trained heads.
# - Xiong et al., *On Layer Normalization in the Transformer Architecture* (2020), section 3: pre-norm and post-norm.
#
# Next: [chapter 2](02_seq2seq_attention.ipynb), where attention translates.
