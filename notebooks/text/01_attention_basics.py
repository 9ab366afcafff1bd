# %% [markdown] slideshow={"slide_type": "slide"}
# # 1. Attention basics: from a dot product to a Transformer block
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/01_attention_basics.ipynb)
#
# You know Python and you know what a tensor is. At the end of this chapter you can write attention from an empty cell,
# say why each line is there, and find the bug in somebody else's version. The claims that matter are measured, in the
# cell beside them.

# %% [markdown]
# | | |
# |---|---|
# | **You will be able to** | compute attention by hand and as a matrix product; say what the scale, the masks and the positions are for; build a Transformer block that equals PyTorch's; spot five bugs that leave the shape right |
# | **Time** | 25 seconds to run on two CPU cores; 75 minutes to read; two and a half hours for the exercises |
# | **You need** | Python, PyTorch tensors (shapes, `@`, broadcasting), and to have seen an `nn.Module` and a training loop |

# %% [markdown]
# The next cell finds the files and chooses a device. You need not read it.

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
# What comes from `helpers` draws, trains and measures. Attention you build here, and you compare it with the finished
# version in `helpers` and with PyTorch's.

# %% tags=["nbval-ignore-output"]
import math

import matplotlib.pyplot as plt
from torch import nn
from torch.nn import functional as F

from helpers import attention as finished_attention
from helpers import diagrams
from helpers import layers as finished_layers
from helpers.analysis import attention_entropy
from helpers.plots import attention_heatmap, interval_plot, show, use_style
from helpers.training import fit, seed_everything

use_style()
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False)
print("PyTorch", torch.__version__)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.1 A soft dictionary
#
# **What does attention do that a Python dictionary does not?** A dictionary answers only if your key is exactly one of
# its keys. Ask for something close, and you get nothing.

# %% tags=["dictionary"]
prices = {"apple": 1.0, "pear": 2.0, "plum": 4.0}
print(prices["pear"], prices.get("pear-plum hybrid"))

# %% [markdown]
# Attention is a dictionary that always answers. Read the drawing from left to right. What you look for, the **query**,
# meets every **key**. The better a key matches, the larger the **weight** of its **value** in the answer. (The box named
# softmax comes in a moment.)

# %% tags=["picture", "soft-lookup"]
fruits, hybrid = list(prices), [0.0, 2.0, 1.0]  # twice as much pear as plum
diagrams.soft_lookup(hybrid, torch.eye(3), [1.0, 2.0, 4.0], fruits, query_name="hybrid")
show("A query meets three keys; softmax turns scores into weights, which mix three values.")

# %% [markdown]
# Each fruit gets a vector with a single 1 as its key, and its price as its value. The **dot
# product** of two vectors (multiply them entry by entry, then add up) is 1 where query and key agree and 0 elsewhere: the
# exact look-up. But nothing asks for an *exact* key. Ask for 0.7 pear and 0.3 plum, and you get a **weighted average**.
# Ask as in the drawing, and the "average" leaves the range of the prices.

# %%
keys = torch.eye(3)  # one row a fruit: apple, pear, plum
values = torch.tensor([1.0, 2.0, 4.0])
for query in ([0.0, 1.0, 0.0], [0.0, 0.7, 0.3], hybrid):
    scores = keys @ torch.tensor(query)  # (3, 3) @ (3,) → (3,)
    print("scores:", scores, " answer:", scores @ values)
assert scores @ values > values.max()

# %% [markdown] slideshow={"slide_type": "slide"}
# An average needs weights that are at least 0 and add up to 1. The **softmax** makes them out of any numbers
# $s_1, \dots, s_n$: exponentiate each one, then divide by the sum.
#
# $$\operatorname{softmax}(s)_j = \frac{e^{s_j}}{\sum_{m=1}^{n} e^{s_m}}$$
#
# The largest score gets the largest weight, but every entry gets some. That makes the dictionary *soft*.

# %% tags=["softmax"]
weights = scores.exp() / scores.exp().sum()
print("weights:", weights, " sum:", weights.sum(), " answer:", weights @ values)
assert torch.allclose(weights, scores.softmax(dim=0))
assert torch.equal(weights.argsort(), scores.argsort()) and weights.min() > 0
assert values.min() < weights @ values < values.max()

# %% [markdown] slideshow={"slide_type": "slide"}
# **Where do queries, keys and values come from?** From the text itself. A **token** is one piece of text, here a word.
# You carry the three tokens of "the cat sat" through the chapter. Each is a vector of `d_model = 4` numbers, its
# **features**, chosen so that you can read them. In a trained model they are learned. One row a token, they make the
# matrix $X$.

# %%
tokens = ["the", "cat", "sat"]
X = torch.tensor([  # article, noun, verb, has content
    [1.0, 0.0, 0.0, 0.0],  # the
    [0.0, 1.0, 0.0, 1.0],  # cat
    [0.0, 0.0, 1.0, 1.0],  # sat
])  # fmt: skip
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
# Queries and keys have the same width $d_k$, because they meet in a dot product. $d_v$ is the width of a value. A model
# learns the three matrices. Here they are chosen, 2 wide, so that a verb looks for a noun.

# %%
W_query = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 1.0]])  # (d_model, d_k)
W_key = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 1.0], [0.0, 1.0]])  # (d_model, d_k)
W_value = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 0.0], [0.0, 1.0]])  # (d_model, d_v)
Q, K, V = X @ W_query, X @ W_key, X @ W_value  # (T, d_model) → (T, d_k), (T, d_k), (T, d_v)
print("Q", Q.tolist(), "\nK", K.tolist(), "\nV", V.tolist())

# %% [markdown] slideshow={"slide_type": "slide"}
# **One row with a pencil.** The row of "sat" in $X$ is $(0, 0, 1, 1)$, so its query is the third plus the fourth row of
# $W_Q$: $(2, 0) + (0, 1) = (2, 1)$. Its dot products with the keys $(0, 1)$, $(2, 1)$ and $(0, 2)$ are its **scores**:
#
# $$2 \cdot 0 + 1 \cdot 1 = 1, \qquad 2 \cdot 2 + 1 \cdot 1 = 5, \qquad 2 \cdot 0 + 1 \cdot 2 = 2$$
#
# $e^1 = 2.718$, $e^5 = 148.413$ and $e^2 = 7.389$ add up to $158.520$. Divide by that, and you have the **attention
# weights** of "sat". They average the three values:
#
# $$0.0171 \cdot (1, 0) + 0.9362 \cdot (0, 4) + 0.0466 \cdot (2, 1) \approx (0.11, 3.79)$$

# %%
scores_sat = K @ Q[2]  # (T, d_k) @ (d_k,) → (T,)
weights_sat = scores_sat.softmax(dim=0)  # (T,)
output_sat = weights_sat @ V  # (T,) @ (T, d_v) → (d_v,)
print("scores ", scores_sat, "\nweights", weights_sat, "\noutput ", output_sat)
assert torch.allclose(scores_sat.exp(), torch.tensor([2.718, 148.413, 7.389]), atol=1e-3)
assert torch.allclose(weights_sat, torch.tensor([0.0171, 0.9362, 0.0466]), atol=1e-4)
assert torch.allclose(output_sat, torch.tensor([0.11, 3.79]), atol=5e-3)

# %% [markdown]
# "sat" takes nearly everything from "cat": the verb has found its noun.
#
# > **Remember.** Attention is a look-up in which every entry answers, as loudly as its key matches the query.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.2 Scores, softmax, output
#
# **How do you do it for all tokens at once?** With matrices. The drawing holds the same three tokens. Find the row of
# "sat" in every matrix: it is your pencil's. ($\otimes$ is a matrix product.)

# %% tags=["attention-steps"]
diagrams.attention_steps(X, Q, K, V, tokens)
show("X becomes queries, keys, values; queries and keys give scores; their weights mix the values.")

# %% [markdown]
# The dot product of query $i$ and key $j$ stands in row $i$ and column $j$ of $Q K^\top$. ($K^\top$ is $K$ with rows and
# columns exchanged.) Each row holds the scores of one query, so the softmax runs along a row: over the **keys**, the
# last axis, `dim=-1`.

# %%
scores = Q @ K.transpose(-2, -1)  # (T, d_k) @ (d_k, T) → (T, T)
weights = scores.softmax(dim=-1)  # (T, T)
print(scores, "\n", weights, "\nrow sums:", weights.sum(dim=-1))
assert torch.equal(scores[2], scores_sat) and torch.allclose(weights[2], weights_sat)
assert torch.allclose(weights.sum(dim=-1), torch.ones(3))


# %% [markdown]
# Last, row $i$ of the weights averages the rows of $V$. Three lines make a function. Its comments say `...` for any
# axes in front: a **batch**, for example, is B sequences computed at once, a tensor of shape (B, T, d_model).

# %% tags=["attention-first", "nbval-ignore-output"]
def attention(Q, K, V):
    scores = Q @ K.transpose(-2, -1)  # (..., T, d_k) @ (..., d_k, T) → (..., T, T)
    weights = scores.softmax(dim=-1)
    return weights @ V, weights  # (..., T, T) @ (..., T, d_v) → (..., T, d_v)


output, weights = attention(Q, K, V)
print(output)
assert torch.allclose(output[2], output_sat)

# %% [markdown]
# A **heat map** shows the weights at a glance. Rows are queries, columns are keys. Read one row from left to right.

# %% tags=["heat-map"]
attention_heatmap(weights, tokens, title="Where each token looks (no scale yet)", values=True)
show("Heat map of three queries and three keys; 'sat' gives 0.94 of its weight to 'cat'.")
assert 0.93 < weights[2, 1] < 0.94 and weights[0].argmax() == 1 and weights[0, 1] < 0.8

# %% [markdown]
# See the row of "sat": nearly all of it lies on "cat". "the" looks at it too, less sharply.

# %% [markdown] slideshow={"slide_type": "slide"}
# > **Predict first.** What if the softmax runs over the other axis, `dim=-2`? An error? Another shape? What do the rows
# > add up to? Decide, then go on.
#
# <details><summary>Answer</summary>
#
# No error, and the same shape. But now each *column* adds up to 1: each key hands out its weight among the queries, and
# a query may end up with more or less than 1.
#
# </details>

# %% tags=["wrong-axis"]
wrong = scores.softmax(dim=-2)
print(tuple(wrong.shape), "sums of rows:", wrong.sum(dim=-1), "of columns:", wrong.sum(dim=-2))
assert wrong.shape == weights.shape and torch.allclose(wrong.sum(dim=-2), torch.ones(3))
assert wrong.sum(dim=-1).min() < 0.9 and wrong.sum(dim=-1).max() > 1.1
assert torch.allclose((wrong @ torch.ones(3, 1)).flatten(), wrong.sum(dim=-1))

# %% [markdown]
# How do you notice? With a test whose right answer you know: if all values are 1, so is every average of them. Call it
# the **constant-value test**. Here it has just failed: the row sums are what the wrong weights make of values of 1.


# %% [markdown] slideshow={"slide_type": "slide"}
# **Another way to write it.** `torch.einsum` names every axis with a letter: `q` for queries, `k` for keys, `d` for the
# width. A letter that is missing behind the arrow is summed over. So `"qd,kd->qk"` says: for each query and key, multiply
# along `d` and add up. It agrees with yours but for rounding, and so does PyTorch's own function. (`scale=1.0` switches
# off what the next section adds.)

# %% tags=["nbval-ignore-output"]
def attention_einsum(Q, K, V):
    weights = torch.einsum("qd,kd->qk", Q, K).softmax(dim=-1)
    return torch.einsum("qk,kd->qd", weights, V)


print(attention_einsum(Q, K, V))
torch.testing.assert_close(attention_einsum(Q, K, V), output)
torch.testing.assert_close(F.scaled_dot_product_attention(Q, K, V, scale=1.0), output)

# %% [markdown]
# > **Remember.** Scores are $Q K^\top$, the softmax runs over the keys, and each row of the output is an average of
# > values.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.3 Why divide by √d?
#
# **What goes wrong when the vectors get wide?** The paper that introduced the **Transformer**, "Attention Is All You
# Need" (Vaswani et al. 2017; from here on "the paper"), has one thing in its formula that yours has not:
#
# $$\operatorname{Attention}(Q, K, V) = \operatorname{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V$$
#
# > **Predict first.** Draw queries and keys at random and let their width $d_k$ grow. If you do *not* divide, does the
# > softmax become flat (all weights alike) or sharp (one weight near 1), or does it stay as it is? Decide, then go on.
#
# <details><summary>Answer</summary>
#
# Sharp. A dot product is a sum of $d_k$ products; the more there are, the further the sum strays from zero. Large
# *differences* between scores make one weight large and all others small.
#
# </details>

# %% [markdown]
# The **variance** of a list of numbers is the mean squared distance from their mean. A product of two independent random
# entries, each of mean 0 and variance 1, has variance 1 too. The variances of independent terms add up. So $q \cdot k$
# has variance $d_k$. Dividing the scores by $\sqrt{d_k}$ divides their variance by $d_k$: back to 1 at any width.
# Draw 20,000 scores and take the softmax of 16 at a time; what comes of the division stands in brackets.
# (`seed_everything(0)` makes the random numbers the same each time.)

# %% tags=["variance"]
seed_everything(0)
for d_k in (1, 16, 256):
    scores = (torch.randn(20_000, d_k) * torch.randn(20_000, d_k)).sum(-1).view(-1, 16)  # (1250, 16)
    scaled = scores / math.sqrt(d_k)
    sharp, soft = (row.softmax(-1).amax(-1).mean().item() for row in (scores, scaled))
    variances = f"variance {scores.var():6.2f} ({scaled.var():.2f})"
    print(f"d_k = {d_k:3}: {variances}, largest weight {sharp:.2f} ({soft:.2f})")
    assert 0.9 < scaled.var() < 1.1 and soft < 0.4
assert sharp > 0.8

# %% [markdown]
# Without the division the softmax gets sharp. Let four scores grow: the weights become **one-hot**, one near 1 and all
# others near 0. Watch the derivatives too. A weight $w_i$ has the derivative $w_i (1 - w_i)$ with respect to its own
# score, and $-w_i w_j$ with respect to another: in a one-hot row all of them are near 0.

# %% tags=["one-hot"]
for factor in (1, 4, 16):  # √d_k for d_k = 1, 16, 256
    scores = torch.tensor([0.5, -0.3, 1.2, 0.1]).mul(factor).requires_grad_()
    weights = scores.softmax(-1)
    weights[2].backward()
    largest = scores.grad.abs().max()
    print(f"scores x {factor:2}: weights {weights.data}, largest derivative {largest:.4f}")
    formulas = weights[2] * (torch.eye(4)[2] - weights)  # at 2: w_2 (1 - w_2), elsewhere: -w_2 w_j
    torch.testing.assert_close(scores.grad, formulas.data, atol=1e-6, rtol=0)
assert weights.max() > 0.99 and largest < 1e-4


# %% [markdown] slideshow={"slide_type": "slide"}
# So does the gradient die? Not quite. A model learns queries and keys, not scores. The derivative of the score
# $q \cdot k_j$ with respect to $q$ is $k_j$; with the scale it is $k_j / \sqrt{d_k}$. Whatever passes the softmax without
# the scale arrives $\sqrt{d_k}$ times as large. Which of the two wins? Measure at the query: 500 random queries, 16 keys
# for each, and the size of the gradient that each query gets (its length as a vector).

# %%
def gradients_at_queries(d_k, scaled, seed):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(500, 1, d_k, generator=generator).requires_grad_()
    k = torch.randn(500, 16, d_k, generator=generator)
    v = torch.randn(500, 16, 1, generator=generator)  # one number a value, one number an output
    divide = math.sqrt(d_k) if scaled else 1.0
    scores = q @ k.transpose(-2, -1) / divide  # (500, 1, d_k) @ (500, d_k, 16) → (500, 1, 16)
    scores.retain_grad()  # keep this gradient too
    (scores.softmax(-1) @ v).sum().backward()
    torch.testing.assert_close(q.grad, scores.grad @ k / divide)  # k_j / √d_k, or k_j
    return q.grad.norm(dim=-1).flatten().sort().values  # (500,): from the smallest to the largest


# %% [markdown]
# Four widths, five seeds (starts of the random numbers): the mean gradient without the scale as a multiple of the one
# with it; the same for the **median**, the query in the middle; and the share of the whole that goes to the tenth of the
# queries that gets most (in brackets with the scale).

# %% tags=["nbval-ignore-output"]
def without_against_with(d_k, seed):
    without, scaled = gradients_at_queries(d_k, False, seed), gradients_at_queries(d_k, True, seed)
    ratios = without.mean() / scaled.mean(), without.median() / scaled.median()
    return torch.stack([*ratios, without[-50:].sum() / without.sum(), scaled[-50:].sum() / scaled.sum()])


runs = {}
for d_k in (16, 64, 256, 1024):
    runs[d_k] = torch.stack([without_against_with(d_k, seed) for seed in range(5)])
    mean, median, top, scaled = runs[d_k].mean(dim=0).tolist()
    print(f"d_k {d_k:4}: mean x {mean:.1f}, median x {median:.2g}, top tenth {top:.0%} ({scaled:.0%})")
assert all((run[:, 0] > 2.5).all() for run in runs.values())
assert (runs[16][:, 1] > 2).all() and (runs[256][:, 1] < 0.5).all() and (runs[1024][:, 1] < 0.01).all()
assert 0.75 < runs[1024][:, 2].mean() < 0.9 and all((run[:, 3] < 0.22).all() for run in runs.values())

# %% [markdown]
# Without the scale the *mean* gradient is larger, at every width. But at 256 the query in the middle gets less, and at
# 1024 next to nothing: a tenth of the queries gets about four fifths of it all. The gradient does not die, it is badly
# spread. Sort the queries of one seed.

# %% tags=["gradients"]
_, ax = plt.subplots(figsize=(7.5, 4))
without, scaled = (gradients_at_queries(1024, divided, seed=0) for divided in (False, True))
ax.semilogy(without, "--", label="without the scale")
ax.semilogy(scaled, label="with the scale")
title = "$d_k$ = 1024: without the scale a tenth of the queries gets most"
ax.set(xlabel="500 queries, sorted", ylabel="size of the gradient", ylim=(1e-6, 300), title=title)
ax.legend()
show("Sorted gradients: level with the scale; without it spread from below a millionth to above ten.")
assert without[0] < 1e-6 and without[-1] > 10 and scaled[-1] < 25 * scaled[0]
assert (without < scaled / 100).sum() > 250 and (without[-50:] > 4 * scaled[-50:]).all()

# %% [markdown]
# See the dashed line. More than half of it lies below a hundredth of the other; on the right it stands far above. So you
# divide, here the queries, which divides every score.

# %%
output, weights = attention(Q / math.sqrt(Q.size(-1)), K, V)
print(weights)
torch.testing.assert_close(output, F.scaled_dot_product_attention(Q, K, V))
assert 0.845 < weights[2, 1] < 0.855

# %% [markdown]
# "sat" gives "cat" 0.85 now instead of 0.94, and the plain call of PyTorch's function agrees with yours.
#
# > **Remember.** Wide queries make large scores, and large scores a one-hot softmax: at width 1024 without the scale most
# > queries get next to no gradient, and a few get far too much.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.4 Masks
#
# **How do you forbid a look?** A model that predicts the next word must not see it: a token may attend only to itself and
# to what comes before. That is the **causal mask**. And sequences of different length that share a tensor are filled up
# with a meaningless token, the **padding**, that nobody should attend to: the **padding mask**. A **mask** is a boolean
# matrix, and `True` means "may attend".

# %% tags=["mask-gallery"]
diagrams.mask_gallery(["the", "cat", "sat", "<PAD>"], padding="<PAD>")
show("Four masks for 'the cat sat' and one padding token: none, causal, padding, and both together.")

# %% [markdown]
# `tril` keeps the lower triangle with its diagonal. For padding take two sequences of **ids**, whole numbers
# that stand for tokens; 0 is the padding. The axis of length 1 says "the same for every query": broadcasting fills it in.

# %%
causal = torch.ones(3, 3, dtype=torch.bool).tril()
ids = torch.tensor([[5, 7, 6], [8, 4, 0]])  # (B, T): the second sequence has two real tokens
padding = (ids != 0).unsqueeze(1)  # (B, T) → (B, 1, T)
both = causal & padding  # (T, T) & (B, 1, T) → (B, T, T)
print(causal, "\n", both[1])
assert torch.equal(causal, finished_attention.causal_mask(3))
assert torch.equal(padding, finished_attention.padding_mask(ids, pad_id=0))

# %% [markdown]
# A forbidden weight must become 0, and the rest of the row must still add up to 1. So the mask acts *before* the softmax:
# a forbidden score becomes $-\infty$, and $e^{-\infty} = 0$. You also meet masks written as numbers that are *added* to
# the scores, 0 where one may attend and $-\infty$ where not: the same mask in other clothes.

# %% tags=["masking"]
scores = Q @ K.T / math.sqrt(2)
masked = scores.masked_fill(~causal, float("-inf"))  # ~ is "not": fill where one may NOT attend
weights = masked.softmax(dim=-1)
print(masked, "\n", weights)
additive = torch.zeros(3, 3).masked_fill(~causal, float("-inf"))
torch.testing.assert_close((scores + additive).softmax(dim=-1), weights)
assert (weights[~causal] == 0).all() and torch.allclose(weights.sum(-1), torch.ones(3))

# %% [markdown] slideshow={"slide_type": "slide"}
# > **Predict first.** Somebody computes the softmax first and then sets the forbidden weights to 0. What is wrong with
# > that? Decide, then go on.
#
# <details><summary>Answer</summary>
#
# The rows no longer add up to 1. Worse, the forbidden tokens are still in the *denominator* of the softmax: change the
# future, and the weights of the past change. Information leaks although every forbidden weight is exactly 0.
#
# </details>

# %% tags=["late-mask"]
late = scores.softmax(dim=-1) * causal  # the mask after the softmax
diagrams.late_mask(scores, tokens, causal)
show("Mask before and after the softmax; after it, forbidden weights are 0 but two rows miss some.")
assert (late[~causal] == 0).all() and (late.sum(-1)[:2] < 0.5).all() and late.sum(-1)[2] > 0.999


# %% [markdown]
# See the sums in red: what is missing went to the future. But every forbidden weight is 0, so a map of the weights looks
# right. What finds this bug is the **leak test**: change one token, and ask which *outputs* move. Here "sat", the last,
# changes. Nobody before it may notice.

# %% tags=["leak-test"]
def causal_attend(X, late):
    scores = (X @ W_query) @ (X @ W_key).T / math.sqrt(2)
    early = scores.masked_fill(~causal, float("-inf")).softmax(-1)
    return (scores.softmax(-1) * causal if late else early) @ (X @ W_value)


changed = X.clone()
changed[2] += torch.tensor([0.5, -1.0, 2.0, 1.0])
moved = {}
for late in (False, True):
    difference = (causal_attend(changed, late) - causal_attend(X, late)).abs()  # (T, d_v)
    moved[late] = [token for token, row in zip(tokens, difference) if row.max() > 1e-6]
    print(f"mask {'after' if late else 'before'} the softmax: moves", moved[late])
assert moved[False] == ["sat"] and moved[True] == tokens

# %% [markdown] slideshow={"slide_type": "slide"}
# **What if a query may attend to nothing?** It happens: a sequence that is all padding. A row of $-\infty$ gives $0/0$,
# which is NaN ("not a number"). And one such row spoils the gradient of *every* value.

# %%
nothing = torch.tensor([[True, True], [False, False]])
two_values = torch.ones(2, 1, requires_grad=True)
broken = torch.zeros(2, 2).masked_fill(~nothing, float("-inf")).softmax(-1)
(broken @ two_values).sum().backward()
print(broken, "\ngradient:", two_values.grad.flatten())
assert broken[1].isnan().all() and two_values.grad.isnan().all()


# %% [markdown]
# The convention of this series: such a query gets zero weights and a zero output, and every gradient stays finite. Fill
# with the lowest finite number instead of $-\infty$, then set the forbidden weights to exactly 0. The complete function
# also takes a number of queries, $T_q$, that differs from the number of keys, $T_k$.

# %% tags=["attention"]
def attention(Q, K, V, mask=None):
    scores = Q @ K.transpose(-2, -1)  # (..., T_q, d_k) @ (..., d_k, T_k) → (..., T_q, T_k)
    scores = scores / math.sqrt(Q.size(-1))
    if mask is None:
        weights = scores.softmax(dim=-1)
    else:
        lowest = torch.finfo(scores.dtype).min  # new
        weights = scores.masked_fill(~mask, lowest).softmax(dim=-1).masked_fill(~mask, 0.0)  # new
    return weights @ V, weights  # (..., T_q, T_k) @ (..., T_k, d_v) → (..., T_q, d_v)


ones = torch.ones(3, 2, 1, requires_grad=True)  # queries, keys, values: two of each
output, weights = attention(*ones, nothing)
print("weights:", weights.tolist(), " output:", output.flatten().tolist())
(gradient,) = torch.autograd.grad(output.sum(), ones)
assert (weights[1] == 0).all() and output[1] == 0 and gradient.isfinite().all()

# %% [markdown]
# Does the padding mask work? Two tokens alone, and the same two with three of padding behind them, must give the same.

# %%
seed_everything(0)
alone = torch.randn(1, 2, 4)  # (B, T, d_model)
padded = torch.cat([alone, torch.randn(1, 3, 4)], dim=1)  # (1, 5, 4)
real = torch.tensor([[[True, True, False, False, False]]])  # (B, 1, T)
expected = attention(alone, alone, alone)[0]
for name, mask in (("with", real), ("without", None)):
    shift = (attention(padded, padded, padded, mask)[0][:, :2] - expected).abs().max().item()
    print(f"{name} the padding mask: real tokens move by {shift:.4f}")
    assert shift < 1e-6 if name == "with" else shift > 0.1

# %% [markdown] slideshow={"slide_type": "slide"}
# **Three-way agreement.** What you built, what `helpers` holds and what PyTorch computes are the same function: in
# batches, with other widths, with causal and with random masks, and with fewer queries than keys.

# %%
seed_everything(0)
q, k, v = torch.randn(2, 5, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 6)  # d_k = 8, d_v = 6
random_mask = torch.rand(2, 5, 5) < 0.5
random_mask[..., 0] = True  # nobody is left without a key
two, two_mask = q[:, :2], random_mask[:, :2]  # two queries, five keys
for queries, mask in ((q, None), (q, torch.ones(5, 5).tril() > 0), (q, random_mask), (two, two_mask)):
    mine = attention(queries, k, v, mask)
    theirs = finished_attention.scaled_dot_product_attention(queries, k, v, mask)
    torch.testing.assert_close(mine, theirs)  # output and weights
    torch.testing.assert_close(mine[0], F.scaled_dot_product_attention(queries, k, v, attn_mask=mask))

# %% [markdown]
# > **Remember.** Mask before the softmax, and trust the outputs that move rather than the weights that are zero.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.5 Order
#
# **Does attention know which word comes first?** In **self-attention** queries, keys and values come from the same
# tokens; its only input is the rows of $X$.
#
# > **Predict first.** Shuffle the rows of $X$. What happens to the output? Decide, then go on.
#
# <details><summary>Answer</summary>
#
# Its rows are shuffled in the same way, and no number changes. "cat sat the" is to self-attention the same as "the cat
# sat".
#
# </details>

# %% tags=["shuffled"]
def self_attend(X):
    return attention(X @ W_query, X @ W_key, X @ W_value)[0]


order = torch.tensor([1, 2, 0])  # cat, sat, the
print("as it was:\n", self_attend(X), "\nshuffled:\n", self_attend(X[order]))
torch.testing.assert_close(self_attend(X[order]), self_attend(X)[order])

# %% [markdown]
# This is called **permutation equivariance**. The proof takes three lines, for attention without a mask. (A causal mask
# breaks it: the order decides who may look at whom.) Let the matrix $P$ shuffle rows, so that $P^\top P$ is the identity.
#
# - Queries, keys and values of $PX$ are the old ones, shuffled: $PQ$, $PK$, $PV$.
# - The scores are $P Q (P K)^\top = P (Q K^\top) P^\top$: the old ones, rows and columns shuffled. The softmax treats
#   every entry of a row alike, so the weights $A$ become $P A P^\top$.
# - The output is $P A P^\top P V = P\,(A V)$: the old one, shuffled.

# %%
seed_everything(0)
for _ in range(100):
    many, P = torch.randn(6, 4), torch.eye(6)[torch.randperm(6)]
    torch.testing.assert_close(self_attend(P @ many), P @ self_attend(many))
assert (causal_attend(X[order], late=False) - causal_attend(X, late=False)[order]).abs().max() > 0.1


# %% [markdown] slideshow={"slide_type": "slide"}
# So the position has to be *written into* the tokens. The paper (section 3.5) adds to the token at position $p$ a vector
# of sines and cosines, the **sinusoidal position encoding**:
#
# $$\mathrm{PE}(p, 2i) = \sin(p\,\omega_i), \qquad \mathrm{PE}(p, 2i+1) = \cos(p\,\omega_i), \qquad
#   \omega_i = 10000^{-2i/d_{model}}$$
#
# $i = 0, 1, 2, \dots$ numbers the pairs of columns. Each pair is a clock hand: the first turns by one radian per
# position, each later one more slowly.

# %%
def sinusoidal_encoding(length, d_model):
    position = torch.arange(length).unsqueeze(1)  # (length,) → (length, 1)
    omega = 10000 ** (-torch.arange(0, d_model, 2) / d_model)  # (d_model/2,)
    encoding = torch.zeros(length, d_model)
    encoding[:, 0::2] = (position * omega).sin()
    encoding[:, 1::2] = (position * omega).cos()
    return encoding


print(sinusoidal_encoding(3, 4).round(decimals=2))
assert sinusoidal_encoding(1, 4).tolist() == [[0, 1, 0, 1]]  # sin 0 and cos 0
torch.testing.assert_close(sinusoidal_encoding(50, 64), finished_layers.sinusoidal_encoding(50, 64))

# %% [markdown]
# **Why sines?** First, take the dot product of the encodings of positions $p$ and $r$. By
# $\sin a \sin b + \cos a \cos b = \cos(a - b)$ each pair of columns contributes $\cos((p - r)\,\omega_i)$. Only the
# *distance* is left.

# %%
encoding = sinusoidal_encoding(40, 32)
products = encoding @ encoding.T  # (40, 32) @ (32, 40) → (40, 40)
distance = torch.arange(40).unsqueeze(1) - torch.arange(40)  # (40, 1) - (40,) → (40, 40)
cosines = (distance.unsqueeze(-1) * 10000 ** (-torch.arange(0, 32, 2) / 32)).cos()  # (40, 40, 16)
torch.testing.assert_close(products, cosines.sum(-1), atol=1e-3, rtol=0)
print("distance 0, 1, 2, 3, 10:", *(f"{p:.2f}" for p in products[0, [0, 1, 2, 3, 10]]))

# %% [markdown]
# The encoding, one position a row, and the dot products of position 20 with all others:

# %% tags=["encoding-figure"]
fig, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.6))
fig.colorbar(left.imshow(encoding, cmap="viridis", aspect="auto", vmin=-1, vmax=1), ax=left)
left.grid(False)
left.set(title="Quick columns, slow columns", xlabel="column", ylabel="position")
right.plot(range(-20, 20), products[20] / products[20, 20])
right.set(title="Near positions match best", xlabel="distance from 20", ylabel="share of the largest")
show("Left: stripes, quick in the first columns, slow in the last. Right: a peak at distance 0.")
assert products[0].argmax() == 0 and products[0, 3:].max() < 0.8 * products[0, 0]
steps = encoding.diff(dim=0).abs().mean(dim=0)  # (32,): how much a column changes from row to row
assert steps[0] > 0.5 and (steps[-8:] < 0.02).all() and (steps[0::2].diff() < 0).all()

# %% [markdown]
# See the quick stripes on the left, which tell neighbours apart, and the slow ones, which only a long way moves. On the
# right the keys around a query match it best: from distance 3 on nothing reaches 80 per cent of the peak.
#
# The second reason is the paper's own: $\mathrm{PE}(p + k)$ is a *linear* function of $\mathrm{PE}(p)$. To go $k$ steps
# on, turn each hand by $k\,\omega_i$. One matrix does that for every $p$, so a learned matrix *can* express "three
# further on".

# %%
angles = 3 * 10000 ** (-torch.arange(0, 32, 2) / 32)  # how far each hand turns in three steps
turn = torch.block_diag(*[torch.tensor([[a.cos(), a.sin()], [-a.sin(), a.cos()]]) for a in angles])
print("first hand, from position 0 to 3:", encoding[0, :2], "→", (turn @ encoding[0])[:2])
torch.testing.assert_close(encoding[:-3] @ turn.T, encoding[3:], atol=1e-5, rtol=0)

# %% [markdown]
# With positions added, self-attention is no longer blind to order.

# %%
here = sinusoidal_encoding(3, 4)
change = (self_attend(X[order] + here) - self_attend(X + here)[order]).abs().max()
print(f"the output for the same word changes by up to {change:.4f}")
assert change > 0.1

# %% [markdown]
# Two other ways: **learned positions** are a table with one trained vector a position (the paper tried them too: table 3,
# row E). **Rotary positions** (Su et al. 2021) turn queries and keys, so that positions enter the score only as a
# distance; exercise 5 builds them.
#
# > **Remember.** Attention without a mask sees a set. Order exists only if you add it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.6 Patterns
#
# **What can one attention look for?** One attention with its own queries, keys and values is called a **head**. Clark et
# al. (2019, section 3) found in a trained model, BERT, heads for the token before or after, heads that spread widely, and
# many that look at special tokens such as separators. Here you make patterns only by *choosing* queries and keys:
#
# - **Local**: query and key are the position encoding. Near positions match best. The factors 4, 2 and 12 below
#   sharpen the softmax, as in section 1.3.
# - **Global**: queries of zeros. All scores are 0, and all weights alike.
# - **Halves**: one number a token, +1 in the first half and -1 in the second. Equal signs give a positive product.
# - **Content**, "find the same word": each word gets a vector with a single 1, as the fruits did.

# %%
sentence = "The cat sat on the mat today .".split()
T = len(sentence)
position = sinusoidal_encoding(T, 64)
half = torch.where(torch.arange(T) < T // 2, 1.0, -1.0).unsqueeze(1)  # (T,) → (T, 1)
words = sorted({word.lower() for word in sentence})
one_hot = torch.eye(len(words))[[words.index(word.lower()) for word in sentence]]  # (T, words)
choices = {
    "local": (4 * position, position),
    "global": (torch.zeros(T, 64), position),
    "halves": (2 * half, half),
    "content": (12 * one_hot, one_hot),
}
patterns = {name: attention(query, key, key)[1] for name, (query, key) in choices.items()}

# %% [markdown]
# Rows are queries, columns are keys.

# %% tags=["patterns"]
fig, axes = plt.subplots(2, 2, figsize=(8.6, 8))
for ax, (name, matrix) in zip(axes.flat, patterns.items()):
    attention_heatmap(matrix, sentence, title=f"Pattern: {name}", ax=ax)
show("Four patterns: soft diagonal, even field, two blocks, diagonal with 'The' and 'the' linked.")
assert patterns["local"].diagonal().min() > 0.3 and (patterns["global"] == 1 / T).all()
assert all((patterns["halves"][s, s].sum(-1) > 0.95).all() for s in (slice(0, 4), slice(4, 8)))
assert torch.allclose(patterns["content"][0, [0, 4]], torch.tensor(0.5), atol=0.05)
assert (patterns["content"].diagonal()[[1, 2, 3, 5, 6, 7]] > 0.9).all()

# %% [markdown]
# One formula, four patterns. In the last, "The" and "the" find each other.
#
# The **entropy** of a row of weights is $-\sum_j w_j \ln w_j$, and $e^{\text{entropy}}$ is the
# **effective number of positions**: 8 if all eight tokens count alike, 1 if a single one counts.

# %%
for name, matrix in (patterns | {"one each": torch.eye(T)}).items():
    print(f"{name:8} effective positions: {attention_entropy(matrix).exp().mean():.1f}")
assert abs(attention_entropy(patterns["global"]).exp() - 8).max() < 1e-3

# %% [markdown]
# > **Remember.** A pattern of attention is a choice of queries and keys. Learning means finding that choice.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.7 The block
#
# **Why is attention alone not enough?** Given its weights, attention only averages: it moves information between tokens
# and computes nothing new with it. A Transformer **block** therefore has two parts. Attention moves; a **feed-forward
# network**, the same for every token, computes. Call them *sublayers*. Around each stand two aids: a **residual
# connection** adds the sublayer's input to its output, $x + f(x)$, and a **layer norm** keeps the numbers at one size.

# %% tags=["blocks"]
diagrams.blocks()
show("Pre-norm and post-norm: attention and feed-forward, each with a bypass and a norm.")

# %% [markdown]
# See where the norm stands. In **post-norm**, the paper's order, it comes after the sum: $\operatorname{LayerNorm}(x +
# f(x))$. In **pre-norm** it comes before the sublayer, $x + f(\operatorname{LayerNorm}(x))$, and nothing stands on the
# straight way up. Xiong et al. (2020) show that post-norm needs small learning rates at the start, and pre-norm does not.

# %% [markdown] slideshow={"slide_type": "slide"}
# **Layer normalisation** (Ba et al. 2016). For one token $x$ with $d$ numbers, subtract their mean $\mu$ and divide by
# their spread:
#
# $$\operatorname{LayerNorm}(x) = \gamma \cdot \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta, \qquad
#   \mu = \frac1d \sum_c x_c, \qquad \sigma^2 = \frac1d \sum_c (x_c - \mu)^2$$
#
# $\gamma$ and $\beta$ are learned, one number of each a feature; they start at 1 and 0. The small $\varepsilon$, under the
# root, keeps you from dividing by zero. Mean and variance are taken over the *features*, the last axis, so that each
# token is normalised alone; the variance is divided by $d$ and not by $d - 1$ (`unbiased=False`).

# %%
class LayerNorm(nn.Module):
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))  # γ
        self.bias = nn.Parameter(torch.zeros(d_model))  # β
        self.eps = eps

    def forward(self, x):
        mean = x.mean(dim=-1, keepdim=True)  # (..., d_model) → (..., 1)
        variance = x.var(dim=-1, keepdim=True, unbiased=False)  # (..., d_model) → (..., 1)
        return self.weight * (x - mean) / torch.sqrt(variance + self.eps) + self.bias


# %% [markdown]
# By hand for $(5, 6, 7, 8)$: the mean is 6.5 and the variance 1.25, so the first number is $-1.5 / \sqrt{1.25} =
# -1.3416$. A token a hundred times as large comes out the same. PyTorch agrees, also for a tiny token and for one without
# any spread, where the details show.

# %%
x = torch.tensor([5.0, 6.0, 7.0, 8.0])
print(LayerNorm(4)(torch.stack([x, 100 * x])).data)
assert x.mean() == 6.5 and x.var(unbiased=False) == 1.25
expected = torch.tensor([-1.3416, -0.4472, 0.4472, 1.3416])
torch.testing.assert_close(LayerNorm(4)(x).data, expected, atol=1e-4, rtol=0)
for token in (x, 100 * x, x / 10_000, torch.full((4,), 5.0)):
    torch.testing.assert_close(LayerNorm(4)(token), nn.LayerNorm(4)(token))

# %% [markdown] slideshow={"slide_type": "slide"}
# **The feed-forward network** (the paper's section 3.3, equation 2) widens each token from `d_model` to `d_ff` numbers,
# sets the negative ones to 0 (the **activation function** $\max(0, \cdot)$, called **ReLU**), and narrows it again:
#
# $$\operatorname{FFN}(x) = \max(0,\, x W_1 + b_1)\, W_2 + b_2$$
#
# $W_1$, $W_2$ and the vectors $b_1$, $b_2$ are learned; `nn.Linear` holds a matrix and such a vector, its *bias*. Every
# token is treated alone: all at once or one by one gives the same.

# %%
seed_everything(0)
feed_forward = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 4))
together = feed_forward(X)  # (T, d_model) → (T, d_ff) → (T, d_model)
torch.testing.assert_close(together, torch.stack([feed_forward(token) for token in X]))
print(tuple(X.shape), "→", tuple(together.shape), "the same, token by token")


# %% [markdown] slideshow={"slide_type": "slide"}
# Now the block. First attention as a module with learned matrices. A fourth one, the output projection, mixes the
# features of what attention has found.

# %%
class SingleHeadAttention(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.query_proj, self.key_proj = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.value_proj, self.out_proj = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def forward(self, x, mask=None):
        q, k, v = self.query_proj(x), self.key_proj(x), self.value_proj(x)  # (B, T, d_model) each
        output, weights = attention(q, k, v, mask)  # (B, T, d_model), (B, T, T)
        return self.out_proj(output), weights


# %% [markdown]
# Then the block, in both orders, as in the drawing.

# %% tags=["block"]
class Block(nn.Module):
    def __init__(self, d_model, d_ff, norm_first=True):
        super().__init__()
        self.self_attention = SingleHeadAttention(d_model)
        self.feed_forward = nn.Sequential(nn.Linear(d_model, d_ff), nn.ReLU(), nn.Linear(d_ff, d_model))
        self.norm_1, self.norm_2 = LayerNorm(d_model), LayerNorm(d_model)
        self.norm_first = norm_first

    def forward(self, x, mask=None):
        if self.norm_first:
            x = x + self.self_attention(self.norm_1(x), mask)[0]
            return x + self.feed_forward(self.norm_2(x))
        x = self.norm_1(x + self.self_attention(x, mask)[0])
        return self.norm_2(x + self.feed_forward(x))


# %% [markdown] slideshow={"slide_type": "slide"}
# **Three-way agreement.** `nn.TransformerEncoderLayer` with one head is the same block, and so is `EncoderLayer` in
# `helpers`, whose `from_torch` copies PyTorch's weights. All parameters are random, so that nothing agrees by accident.
# Mind the mask: to `nn.TransformerEncoderLayer` `True` means "blocked", hence the `~`. `batch_first` says that tensors
# are (B, T, d_model). `dropout` (random zeros in training) is off.

# %%
seed_everything(0)
mask = finished_attention.causal_mask(5)
x = torch.randn(2, 5, 8)
for norm_first in (True, False):
    theirs = nn.TransformerEncoderLayer(8, 1, 32, dropout=0.0, batch_first=True, norm_first=norm_first)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.5)
    helper, mine = finished_layers.EncoderLayer.from_torch(theirs), Block(8, 32, norm_first)
    mine.load_state_dict(helper.state_dict())
    for m, their_m in ((None, None), (mask, ~mask)):
        torch.testing.assert_close(mine(x, m), theirs(x, src_mask=their_m), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(mine(x, m), helper(x, m)[0], atol=1e-4, rtol=1e-4)

# %% [markdown]
# What do the residual and the norm buy in a deep stack? [Study 1](studies/01_why_a_deep_stack_trains.ipynb) stacks 24
# feed-forward layers, with and without each of the two.
#
# > **Remember.** Attention moves information between tokens, the feed-forward network computes inside each token, and the
# > residual keeps a straight way open past both.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.8 It learns
#
# **Does attention find queries and keys by itself?** Take a small task that needs it: the dictionary of section 1.1, but
# learned. The model reads 8 pairs of a key and a value, then one of the keys as a question, and has to give its value.
# Keys and values are ids from 0 to 15, drawn anew for every example, so that no key's value can be learned by heart.

# %% tags=["look-up-task"]
PAIRS, IDS = 8, 16


def make_examples(number, seed, by="content"):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.rand(number, IDS, generator=generator).argsort(dim=1)[:, :PAIRS]  # no id twice
    values = torch.rand(number, IDS, generator=generator).argsort(dim=1)[:, :PAIRS]
    place, rows = torch.randint(PAIRS, (number,), generator=generator), torch.arange(number)
    question = keys[rows, place] if by == "content" else place
    pairs = torch.stack([keys, values], dim=2)  # (N, 8), (N, 8) → (N, 8, 2)
    return tuple(t.to(device) for t in (pairs, question, values[rows, place]))  # (N, 8, 2), (N,), (N,)


pairs, question, answer = make_examples(1, seed=0)
print("key: value", dict(pairs[0].tolist()))
print("question:", question.item(), " answer:", answer.item())
assert dict(pairs[0].tolist())[question.item()] == answer.item()


# %% [markdown]
# The model. An **embedding** is a table with one learned vector for each id. A pair becomes the sum of the vectors of its
# key and its value; the question becomes the query. What attention has found and the question itself go through a small
# network, and out comes one score for each of the 16 values (such scores are called *logits*).

# %%
class LookUp(nn.Module):
    def __init__(self, d_model=32):
        super().__init__()
        self.key_embedding, self.value_embedding = nn.Embedding(IDS, d_model), nn.Embedding(IDS, d_model)
        self.question_embedding = nn.Embedding(IDS, d_model)
        self.query_proj, self.key_proj, self.value_proj = (nn.Linear(d_model, d_model) for _ in range(3))
        self.output = nn.Sequential(nn.Linear(2 * d_model, 64), nn.ReLU(), nn.Linear(64, IDS))

    def embed(self, pairs):
        return self.key_embedding(pairs[..., 0]) + self.value_embedding(pairs[..., 1])  # (B, 8, d_model)

    def forward(self, pairs, question):
        x, asked = self.embed(pairs), self.question_embedding(question)  # (B, 8, d_model), (B, d_model)
        q = self.query_proj(asked).unsqueeze(1)  # (B, d_model) → (B, 1, d_model)
        found, weights = attention(q, self.key_proj(x), self.value_proj(x))  # (B, 1, d_model), (B, 1, 8)
        both = torch.cat([found.squeeze(1), asked], dim=-1)  # (B, 2 d_model)
        return self.output(both), weights.squeeze(1)  # (B, 16), (B, 8)


# %% [markdown]
# `fit` is the training loop of the series. `loss` returns a sum and the number of examples. It is the **cross-
# entropy**: minus the logarithm of the probability that the softmax of the logits gives to the right value. An
# **epoch** is one pass over all training examples. After each, `fit` measures the loss on **validation** examples,
# which are not trained on; in the end it puts back the weights of the best epoch. **Accuracy** is the share of right
# answers on 500 more examples.

# %% tags=["nbval-ignore-output"]
def loss(model, pairs, question, answer):
    return F.cross_entropy(model(pairs, question)[0], answer, reduction="sum"), len(answer)


@torch.no_grad()
def accuracy(model, pairs, question, answer):
    return (model(pairs, question)[0].argmax(-1) == answer).float().mean().item()


def train(model, seed, by="content", progress=False):
    data = make_examples(2500, seed, by), make_examples(300, seed + 1000, by)
    fit(model.to(device), *data, loss, epochs=8, lr=0.01, seed=seed, progress=progress)
    return accuracy(model, *make_examples(500, seed + 2000, by))


seed_everything(0)
model = LookUp()
print(f"accuracy {train(model, seed=0, progress=True):.3f}")

# %% [markdown] slideshow={"slide_type": "slide"}
# **Where does it look?** Take one new list of pairs and ask for each of its keys in turn.

# %% tags=["look-up-map"]
pairs, _, _ = make_examples(1, seed=5000)
questions = pairs[0, :, 0].sort().values  # (8,)
with torch.no_grad():
    weights = model(pairs.expand(8, -1, -1), questions)[1]  # (8, 8): a row for each question
rows, columns = [f"{k}?" for k in questions.tolist()], [f"{k}: {v}" for k, v in pairs[0].tolist()]
title = "Each question finds its pair"
attention_heatmap(weights, rows, columns, title, xlabel="key: value", ylabel="question")
show("One bright cell in every row, in the column whose key is the one asked for.")
assert torch.equal(pairs[0, weights.argmax(dim=-1), 0], questions)  # looked at: the key asked for
assert weights.amax(dim=-1).min() > 0.8

# %% [markdown]
# See one bright cell in every row: the key asked for. The model has learned the dictionary look-up.


# %% [markdown] slideshow={"slide_type": "slide"}
# **Is it really the attention?** Change one thing at a time. `WithPositions` adds the position encoding to the pairs, so
# that one can ask by place: "what is the value of pair number 3?" `WithoutAttention` asks with zeros, and so looks at all
# pairs alike, as the global pattern does.

# %%
class WithPositions(LookUp):
    def embed(self, pairs):
        return super().embed(pairs) + sinusoidal_encoding(PAIRS, 32).to(pairs.device)


class WithoutAttention(LookUp):
    def __init__(self):
        super().__init__()
        for parameter in self.query_proj.parameters():
            nn.init.zeros_(parameter).requires_grad_(False)  # zero, and not learned


assert (WithoutAttention().to(device)(pairs, question)[1] - 1 / 8).abs().max() < 1e-6


# %% [markdown]
# > **Predict first.** Which of these learn the task: (1) by content, without attention; (2) by content, with positions;
# > (3) by place, with positions; (4) by place, without positions? Decide, then go on.
#
# <details><summary>Answer</summary>
#
# 1 fails, although it is told the question: an average of all pairs says which values are present, but not which key goes
# with which. One right in eight is the best that allows. 2 learns: positions do not disturb. 3 learns. 4 fails, for the
# reason of section 1.5: without positions the pairs are a set.
#
# </details>

# %% tags=["nbval-ignore-output"]
variants = {
    "by content": ("content", LookUp),
    "by content, with positions": ("content", WithPositions),
    "by place, with positions": ("place", WithPositions),
    "by content, no attention": ("content", WithoutAttention),
    "by place, no positions": ("place", LookUp),
}
accuracies = {}
for name, (by, kind) in variants.items():
    accuracies[name] = []
    for seed in range(5):
        seed_everything(seed)
        accuracies[name].append(train(kind(), seed, by))
    print(f"{name:27}", *[f"{share:.2f}" for share in accuracies[name]])

# %% [markdown]
# One point a seed, a stroke for the mean, a dotted line for a guess among the eight values present:

# %% tags=["controls"]
title = "Attention finds the value; an average does not"
interval_plot(accuracies, "accuracy on new examples", title, references={"1 of 8 values": 1 / 8})
show("Points of five seeds: three variants near accuracy 1, two near one in eight.")
assert all(min(shares) > 0.97 for shares in list(accuracies.values())[:3])
assert all(0.03 < share < 0.2 for shares in list(accuracies.values())[3:] for share in shares)

# %% [markdown]
# See the two rows below: no seed is far from the guess.
#
# > **Remember.** Attention learns whom to ask. An average cannot, and without positions nobody can be asked for by place.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.9 Bug clinic
#
# **Would you notice?** Five wrong versions run and return the right shape. Find the mistake, then unfold the answer. Below
# each stands a small test that it fails. The right versions come after the last bug.

# %%
seed_everything(0)
q, k, v = torch.randn(2, 6, 64), torch.randn(2, 6, 64), torch.randn(2, 6, 64)  # (B, T, d_model)


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 1: attention for a batch

# %% tags=["bug-1"]
def bug_1(q, k, v):
    weights = (q @ k.transpose(-2, -1) / q.size(-1) ** 0.5).softmax(dim=1)
    return weights @ v


# %% [markdown]
# <details><summary>The mistake</summary>
#
# `dim=1`. In a matrix (T, T) axis 1 holds the keys; in a batch (B, T, T) it holds the queries. Always write `dim=-1`.
#
# </details>
#
# The test is the constant-value test of section 1.2.

# %%
def equal_values_come_out_unchanged(attend):
    return torch.allclose(attend(q, k, torch.ones_like(v)), torch.ones_like(v), atol=1e-5)


print("shape", tuple(bug_1(q, k, v).shape), " passes:", equal_values_come_out_unchanged(bug_1))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 2: a causal mask, added to the scores
#
# `mask` is `True` where one may attend.

# %% tags=["bug-2"]
def bug_2(q, k, v):
    mask = finished_attention.causal_mask(q.size(1))
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)) + mask * -1e9
    return scores.softmax(dim=-1) @ v


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The sign: `mask * -1e9` pushes down what one *may* see. Every token but the last sees only its future. Write
# `~mask * -1e9`, or better `masked_fill(~mask, ...)`.
#
# </details>
#
# The test is the leak test: change the last token, and no earlier output may move.

# %%
def the_future_is_hidden(attend):
    changed_k, changed_v = k.clone(), v.clone()
    changed_k[:, 5], changed_v[:, 5] = 2.0, 2.0
    return torch.allclose(attend(q, changed_k, changed_v)[:, :5], attend(q, k, v)[:, :5], atol=1e-5)


print("shape", tuple(bug_2(q, k, v).shape), " passes:", the_future_is_hidden(bug_2))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 3: a layer norm in one line

# %%
def bug_3(x):
    return (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + 1e-5)


# %% [markdown]
# <details><summary>The mistake</summary>
#
# `x.mean()` and `x.var()` without `dim=-1, keepdim=True` run over the whole tensor: all tokens, all sequences of the
# batch. A token's output then depends on its neighbours, the later ones too, and on the rest of the batch.
#
# </details>
#
# The test changes one token and looks at all others.

# %%
def tokens_are_normalised_alone(norm):
    changed = q.clone()
    changed[0, 5] *= 10
    moved = (norm(changed) - norm(q)).abs().amax(dim=-1) > 1e-6  # (2, 6)
    print(moved.sum().item(), "of", moved.numel(), "tokens move", end="; ")
    return moved.sum().item() == 1


print("shape", tuple(bug_3(q).shape), " passes:", tokens_are_normalised_alone(bug_3))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 4: the second half of a pre-norm block
#
# It even checks a shape.

# %% tags=["bug-4"]
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


# %% [markdown]
# <details><summary>The mistake</summary>
#
# It returns `x + normalised` and not `x + output`. The network's result is thrown away. It never gets a gradient, never
# trains, and no error says so.
#
# </details>
#
# The test: after one backward pass every parameter tensor has a gradient that is not zero. (One exception: the bias of
# the keys. It adds the same number to all scores of a row, which no softmax notices.)

# %%
def every_parameter_gets_a_gradient(make):
    module = make()
    (module(q) ** 2).mean().backward()
    needed = [p for name, p in module.named_parameters() if not name.endswith("key_proj.bias")]
    return all(p.grad is not None and p.grad.norm() > 1e-7 for p in needed)


print("shape", tuple(Bug4()(q).shape), " passes:", every_parameter_gets_a_gradient(Bug4))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 5: add the positions

# %%
def bug_5(x):
    x += sinusoidal_encoding(x.size(-2), x.size(-1))
    return x


# %% [markdown]
# <details><summary>The mistake</summary>
#
# `x += ...` works *in place*: it changes the caller's tensor. Used again, that tensor has the positions twice. Write
# `return x + ...`.
#
# </details>
#
# The test calls it twice with the same input.

# %%
def twice_gives_the_same(add_positions):
    x = torch.zeros(3, 4)
    first = add_positions(x).clone()
    return torch.equal(add_positions(x), first)


print("shape", tuple(bug_5(torch.zeros(3, 4)).shape), " passes:", twice_gives_the_same(bug_5))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### The right versions
#
# Unfold all five answers first. A test must fail on the wrong version *and* pass on the right one. The last lines check
# what the answers say.

# %%
past, block, module = finished_attention.causal_mask(6), Block(64, 64), Bug4()
versions = {
    equal_values_come_out_unchanged: (bug_1, lambda q, k, v: attention(q, k, v)[0]),
    the_future_is_hidden: (bug_2, lambda q, k, v: attention(q, k, v, past)[0]),
    tokens_are_normalised_alone: (bug_3, LayerNorm(64)),
    every_parameter_gets_a_gradient: (lambda: module, lambda: block),
    twice_gives_the_same: (bug_5, lambda x: x + sinusoidal_encoding(x.size(-2), x.size(-1))),
}
for test, (wrong, right) in versions.items():
    assert test(right) and not test(wrong)
torch.testing.assert_close(bug_2(q, k, v)[:, :5], attention(q, k, v, ~past)[0][:, :5])  # only the future
assert all(p.grad is None for p in module.feed_forward.parameters())
assert block.self_attention.key_proj.bias.grad.norm() < 1e-7  # the exception
x = torch.zeros(3, 4)
assert bug_5(bug_5(x)) is x and torch.equal(x, 2 * sinusoidal_encoding(3, 4))

# %% [markdown]
# > **Remember.** The shape proves nothing. Use an input whose answer you know, change one token and see what moves, look
# > at the gradients, call it twice.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1.10 Exercises
#
# None of these has been solved above. Write each function in its stub, run the cell, then run the check below it. A check
# prints ✓, or the smallest input on which your answer is wrong. Any right answer counts, by whatever route. The solutions
# are in [a notebook of their own](solutions/01_attention_basics_solutions.ipynb).

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 1 · a softmax that does not overflow (warm-up, 10 minutes)
#
# The softmax of section 1.1 fails for scores of 10000: $e^{10000}$ is infinite in floating point, and infinity divided by
# infinity is NaN. Write `softmax(scores)` over the last axis so that it works for scores of ±10000. Use tensor
# operations, because gradients are compared too, and do it without `torch.softmax`.
#
# In: `[0.0, 0.6931]` · out: `[0.3333, 0.6667]` (because $e^{0.6931} = 2$).
#
# <details><summary>Hint</summary>
#
# If you subtract the same number from all scores of a row, its softmax stays the same. Which number makes sure that
# nothing overflows?
#
# </details>

# %% slideshow={"slide_type": "skip"}
def softmax(scores):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_softmax

check_softmax(softmax)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 2 · padding mask for a batch (warm-up, 10 minutes)
#
# You know how long each sequence of the batch is. Write `padding_mask(lengths, max_length)`: boolean, (B, 1,
# max_length), `True` where the key is a real token.
#
# In: `lengths = tensor([1, 3])`, `max_length = 3` · out: `[[[True, False, False]], [[True, True, True]]]`.
#
# <details><summary>Hint</summary>
#
# Compare the positions 0, 1, 2, ... as (max_length,) with the lengths as (B, 1, 1). Position `lengths[b]` is already
# padding.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def padding_mask(lengths, max_length):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_padding_mask

check_padding_mask(padding_mask)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 3 · a sliding window (warm-up, 10 minutes)
#
# With a long text, attention over everything gets expensive. Many models let a token see only the last few: itself and
# the `width - 1` tokens before it. Write `sliding_window(length, width)`: boolean, (length, length), `True` = may attend.
#
# In: `3, 2` · out: `[[True, False, False], [True, True, False], [False, True, True]]`.
#
# <details><summary>Hint</summary>
#
# Take `torch.arange(length)` as a column (the queries) and as a row (the keys). Their difference says how far back the
# key stands. Which differences are allowed?
#
# </details>

# %% slideshow={"slide_type": "skip"}
def sliding_window(length, width):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_sliding_window

check_sliding_window(sliding_window)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 4 · a price for distance (core, 15 minutes)
#
# Press et al. (2022) drop the position encoding and *add* a number to each score instead: minus the distance between
# query and key, times a slope. They call it ALiBi. Each head has a slope of its own, so some look far and some stay near.
# Write `distance_bias(slopes, length)` for H heads: (H, length, length), with `slopes` of shape (H,). What is later than
# the query gets $-\infty$, so that the bias is the causal mask too.
#
# In: `slopes = tensor([0.5])`, `length = 3` · out: `[[[0, -inf, -inf], [-0.5, 0, -inf], [-1, -0.5, 0]]]`.
#
# <details><summary>Hint</summary>
#
# First the distances, (length, length), as in exercise 3. Then the slopes as (H, 1, 1). Mask last: $0 \cdot \infty$ is
# NaN.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def distance_bias(slopes, length):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_distance_bias

check_distance_bias(distance_bias)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 5 · rotary positions (core, 25 minutes)
#
# Su et al. (2021) do not add a position, they *turn* queries and keys by it. Columns $2i$ and $2i + 1$ are one pair $(a,
# b)$. At position $p$ it is turned by the angle $\varphi = p\,\omega_i$, with the $\omega_i$ of section 1.5 ($d$ in place
# of $d_{model}$): it becomes $(a \cos\varphi - b \sin\varphi,\; a \sin\varphi + b \cos\varphi)$. Write `rotate(x,
# positions)` for $x$ of shape (..., T, d) with an even $d$, and `positions` of shape (T,). Gradients are compared.
#
# In: `x = [[1.0, 0.0]]`, `positions = tensor([1])` · out: `[[0.5403, 0.8415]]` (the cosine and the sine of 1).
#
# <details><summary>Hint</summary>
#
# Cut $x$ into `x[..., 0::2]` and `x[..., 1::2]`, turn, and put the two results back in turn: `torch.stack` along a new
# last axis and `flatten` do that.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def rotate(x, positions):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_rotate

check_rotate(rotate)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6 · go on where you stopped (core, 15 minutes)
#
# A model that writes word by word has keys and values for *all* words so far, and queries only for the new ones, the
# last. Write `continue_attention(query, key, value)`: causal attention for queries (..., T_q, d_k) that are the *last*
# T_q of the T_k positions of the keys. Return the output, (..., T_q, d_v). You may call `attention`. Gradients are
# compared.
#
# In: `query = [[0.0]]`, `key = [[1.0], [2.0], [3.0]]`, `value = [[3.0], [6.0], [9.0]]` · out: `[[6.0]]` (one query, the
# last, sees all three).
#
# <details><summary>Hint</summary>
#
# At which position does the first query stand? `torch.ones(T_q, T_k).tril()` has it at position 0, which is wrong as
# soon as T_k is larger than T_q.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def continue_attention(query, key, value):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_continue_attention

check_continue_attention(continue_attention)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 7 · the leak test (core, 20 minutes)
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


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 8 · attention in blocks (stretch, 40 minutes)
#
# The weights of 100,000 tokens are a matrix of ten thousand million numbers. FlashAttention (Dao et al. 2022) never
# stores it: it takes keys and values block by block and keeps only running results. Write `attention_in_blocks(query,
# blocks)`. `blocks` is a list of pairs (key, value) of shapes (n, d_k) and (n, d_v), where $n$ may differ from block to
# block. Return the output, (T_q, d_v), as if all blocks were one. Scores may be as large as ±10000. Look at each block
# once.
#
# In: `query = [[1.0]]`, `blocks = [([[0.0]], [[3.0]]), ([[0.6931]], [[6.0]])]` · out: `[[5.0]]` (weights 1/3 and 2/3).
#
# <details><summary>Hint</summary>
#
# Keep three things for each query: the largest score so far $m$, the sum $\ell$ of $e^{s - m}$, and the sum $o$ of
# $e^{s - m}$ times the values. A new block may raise $m$ to $m'$. By which factor must $\ell$ and $o$ be multiplied so
# that they count from $m'$?
#
# </details>

# %% slideshow={"slide_type": "skip"}
def attention_in_blocks(query, blocks):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.attention_basics import check_attention_in_blocks

check_attention_in_blocks(attention_in_blocks)

# %% [markdown]
# ## The chapter in one line
#
# What section 1.8 measured, the lowest and the highest of five seeds:

# %% tags=["headline", "nbval-ignore-output"]
with_it, without_it = accuracies["by content"], accuracies["by content, no attention"]
print(f"look-up by key: accuracy {min(with_it):.2f} to {max(with_it):.2f} with attention,", end=" ")
print(f"{min(without_it):.2f} to {max(without_it):.2f} without")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What you now know
#
# 1. Attention is a soft dictionary: $\operatorname{softmax}(Q K^\top / \sqrt{d_k})\, V$, with the softmax over the keys.
# 2. The scale keeps the scores of random queries and keys at variance 1. Without it wide queries make a one-hot softmax,
#    and the gradient goes to a few of them.
# 3. A mask acts before the softmax. Whether it works is shown by the outputs that move, not by the weights.
# 4. Attention without a mask sees a set; the position encoding adds the order.
# 5. A block is attention and a feed-forward network, each with a residual connection and a layer norm, and yours equals
#    PyTorch's.
#
# **Where to go.** [Study 1](studies/01_why_a_deep_stack_trains.ipynb) asks what lets 24 layers learn. In
# [chapter 2](02_seq2seq_attention.ipynb) a sentence in one language attends to a sentence in another.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Glossary
#
# | term | meaning |
# |---|---|
# | activation function | fixed function of one number between two matrices, here ReLU: $\max(0, x)$ |
# | attention weights | the softmax of the scores; row = query, column = key |
# | batch | several sequences that are computed at once |
# | block | attention and feed-forward, with their residual connections and layer norms |
# | cross-entropy | minus the logarithm of the probability given to the right answer |
# | embedding | table with one vector for each id |
# | entropy | how spread out the weights are; $e^{\text{entropy}}$ is the effective number of positions |
# | epoch | one pass over all training examples |
# | feature | one of the numbers of a token's vector |
# | feed-forward network | two matrices with an activation function between them, applied to every token alone |
# | head | one attention with its own queries, keys and values |
# | layer normalisation | each token shifted and scaled to mean 0 and variance 1 |
# | leak test | change one token and see which outputs move |
# | logits | scores before the softmax that gives probabilities |
# | mask | boolean matrix, `True` = may attend; causal: only itself and before; padding: only real tokens |
# | one-hot | one entry is 1 (for a softmax: nearly 1), all others are 0 |
# | permutation-equivariant | shuffling the inputs shuffles the outputs and changes nothing else |
# | position encoding | vector added to a token that says where it stands |
# | post-norm, pre-norm | layer norm after the residual sum, or before the sublayer |
# | query, key, value | what a token looks for, what it offers, what it hands over |
# | residual connection | $x + f(x)$ |
# | score | dot product of a query and a key; before the softmax it is divided by $\sqrt{d_k}$ |
# | self-attention | attention in which queries, keys and values come from the same tokens |
# | softmax | turns a row of numbers into positive weights that add up to 1 |
# | token | one piece of text, here a word; for the model, one vector |
# | validation | measuring on examples that are not trained on |

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - Vaswani et al., *Attention Is All You Need* (2017): [arXiv:1706.03762](https://arxiv.org/abs/1706.03762). Scaled
#   dot-product attention: section 3.2.1, equation 1 (and footnote 4 on the variance of a dot product). Masks: section
#   3.2.3. Feed-forward network: section 3.3, equation 2. Position encoding: section 3.5; learned positions: table 3, row
#   E. Residual connections and post-norm: section 3.1.
# - Ba, Kiros and Hinton, *Layer Normalization* (2016), section 3.
# - Clark et al., *What Does BERT Look At?* (2019), section 3: what trained heads look at.
# - Dao et al., *FlashAttention* (2022), section 3.1: attention block by block.
# - Press, Smith and Lewis, *Train Short, Test Long* (2022), section 3: ALiBi.
# - Su et al., *RoFormer: Enhanced Transformer with Rotary Position Embedding* (2021), section 3.
# - Xiong et al., *On Layer Normalization in the Transformer Architecture* (2020), section 3: pre-norm and post-norm.
