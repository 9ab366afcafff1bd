# %% [markdown] slideshow={"slide_type": "slide"}
# # Solutions to chapter 3, multi-head attention taken apart
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/solutions/03_multi_head_attention_solutions.ipynb)
#
# One way to solve each exercise of [chapter 3](../03_multi_head_attention.ipynb), with the reason for every line that is
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
from torch.nn import functional as F

from helpers.attention import scaled_dot_product_attention
from helpers.checks import multi_head_attention as checks

print("checks:", len([name for name in dir(checks) if name.startswith("check_")]))


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 1 · split into heads
#
# First the features of each token are cut into heads, and the axis of the tokens stays where it is. Only then do the two
# middle axes change places. `unflatten(-1, (num_heads, -1))` is `view` on the last axis alone; the `-1` inside is
# computed, and there is an error if the width does not divide.


# %%
def split_heads(x, num_heads):
    x = x.unflatten(-1, (num_heads, -1))  # (B, T, d_model) → (B, T, H, D)
    return x.transpose(1, 2)  # (B, T, H, D) → (B, H, T, D)


assert checks.check_split_heads(split_heads)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 2 · join the heads
#
# The same two steps backwards. After the transpose the numbers no longer lie in memory in the order of the axes, so `view`
# would raise an error; `flatten` copies.


# %%
def join_heads(heads):
    return heads.transpose(1, 2).flatten(2)  # (B, H, T, D) → (B, T, H, D) → (B, T, H · D)


assert checks.check_join_heads(join_heads)
x = torch.arange(24.0).view(2, 3, 4)
assert torch.equal(join_heads(split_heads(x, 2)), x)
print("joining undoes splitting")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 3 · from PyTorch's packed matrix to the paper's
#
# The rows of each third are the outputs, so a head is a block of rows. `unflatten(0, ...)` gives the heads an axis of
# their own. The transpose inside each head turns PyTorch's layout (output, input) into the paper's (input, output).


# %%
def unpack(in_proj_weight, num_heads):
    thirds = in_proj_weight.chunk(3)  # (3 · d_model, d_model) → three (d_model, d_model)
    blocks = [third.unflatten(0, (num_heads, -1)) for third in thirds]  # (H, D, d_model) each
    return tuple(block.transpose(1, 2) for block in blocks)  # (H, d_model, D) each


assert checks.check_unpack(unpack)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 4 · and back
#
# Each step of exercise 3, undone in reverse order.


# %%
def pack(W_Q, W_K, W_V):
    blocks = [W.transpose(1, 2) for W in (W_Q, W_K, W_V)]  # (H, d_model, D) → (H, D, d_model)
    thirds = [block.flatten(0, 1) for block in blocks]  # (H, D, d_model) → (d_model, d_model)
    return torch.cat(thirds)  # (3 · d_model, d_model)


assert checks.check_pack(pack)
weight = torch.nn.MultiheadAttention(12, 3).in_proj_weight
assert torch.equal(pack(*unpack(weight, 3)), weight)
print("there and back: the same matrix")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 5 · multi-head attention by loop
#
# The paper's formula. `scaled_dot_product_attention` divides by the root of the last axis of the queries, which is
# `head_dim`, because the head's query is already narrow.


# %%
def by_loop(x, W_Q, W_K, W_V, W_O):
    heads = []
    for i in range(len(W_Q)):
        head, _ = scaled_dot_product_attention(x @ W_Q[i], x @ W_K[i], x @ W_V[i])  # (B, T, D)
        heads.append(head)
    return torch.cat(heads, dim=-1) @ W_O  # (B, T, H · D) @ (H · D, d_model) → (B, T, d_model)


assert checks.check_by_loop(by_loop)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 6 · multi-head attention, fused
#
# One product, three slices in the order query, key, value, each split into heads. The (T, T) mask broadcasts over batch
# and heads.


# %%
def fused(x, in_proj_weight, in_proj_bias, out_proj_weight, out_proj_bias, num_heads, mask=None):
    qkv = F.linear(x, in_proj_weight, in_proj_bias)  # (B, T, d_model) → (B, T, 3 · d_model)
    q, k, v = (split_heads(part, num_heads) for part in qkv.chunk(3, dim=-1))  # (B, H, T, D) each
    output, weights = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(join_heads(output), out_proj_weight, out_proj_bias), weights


assert checks.check_fused(fused)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 7 · what one head adds
#
# In the joined vector, head $i$ fills the places $i D$ to $(i + 1) D$. A matrix in PyTorch's layout reads its input with
# its columns, so those columns belong to the head.


# %%
def part_of_head(heads, out_proj_weight, head):
    D = heads.size(-1)
    columns = out_proj_weight[:, head * D : (head + 1) * D]  # (d_model, D)
    return F.linear(heads[:, head], columns)  # (B, T, D) → (B, T, d_model)


assert checks.check_part_of_head(part_of_head)
heads, weight = torch.randn(2, 3, 5, 4), torch.randn(12, 12)
whole = F.linear(join_heads(heads), weight)
torch.testing.assert_close(sum(part_of_head(heads, weight, i) for i in range(3)), whole)
print("the parts of all heads add up to the output")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 8 · grouped-query attention
#
# `repeat_interleave(2)` turns groups 0, 1 into 0, 0, 1, 1, so that neighbouring query heads share. (`repeat` would give
# 0, 1, 0, 1.) A fast implementation does not copy; it gives the groups an axis of their own and lets broadcasting share.
# PyTorch's own function does it with `enable_gqa=True`.


# %%
def grouped_query_attention(query, key, value, mask=None):
    times = query.size(1) // key.size(1)  # H / G
    key = key.repeat_interleave(times, dim=1)  # (B, G, T_k, D) → (B, H, T_k, D)
    value = value.repeat_interleave(times, dim=1)  # (B, G, T_k, D) → (B, H, T_k, D)
    return scaled_dot_product_attention(query, key, value, mask)[0]


assert checks.check_grouped_query_attention(grouped_query_attention)
q, k, v = torch.randn(2, 8, 5, 4), torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4)
expected = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
torch.testing.assert_close(grouped_query_attention(q, k, v), expected, atol=1e-6, rtol=1e-5)
print("equal to PyTorch's enable_gqa=True")

# %% [markdown]
# Back to [chapter 3](../03_multi_head_attention.ipynb).
