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
import math
import tempfile
from pathlib import Path

from torch.nn import functional as F

from helpers.attention import scaled_dot_product_attention
from helpers.checks import multi_head_attention as checks

print("checks:", len([name for name in dir(checks) if name.startswith("check_")]))


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 1 · from PyTorch's packed matrix to the paper's
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
# ## Exercise 2 · and back
#
# Each step of exercise 1, undone in reverse order.


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
# ## Exercise 3 · all heads by `einsum`
#
# Name the axes once: b batch, t token, m model, h head, d width of a head; q and k for the tokens that ask and answer.
# What stands on the left and not on the right is summed. In the last line `k` goes because the values are averaged, `d`
# because the output projection multiplies, and `h` because the heads *add* their parts (section 3.3): joining and
# mixing at once.


# %%
def by_einsum(x, W_Q, W_K, W_V, W_O):
    query, key, value = (torch.einsum("btm,hmd->bhtd", x, W) for W in (W_Q, W_K, W_V))
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key) / math.sqrt(W_Q.size(-1))
    weights = scores.softmax(-1)  # (B, H, T, T)
    return torch.einsum("bhqk,bhkd,hdm->bqm", weights, value, W_O)


assert checks.check_by_einsum(by_einsum)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 4 · what one head adds
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
whole = F.linear(heads.transpose(1, 2).flatten(2), weight)  # joined, then mixed
torch.testing.assert_close(sum(part_of_head(heads, weight, i) for i in range(3)), whole)
print("the parts of all heads add up to the output")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 5 · multi-query attention
#
# Keys and values get an axis of length 1 where the queries have their heads; it broadcasts. The axis stands *behind* the
# batch: `unsqueeze(0)` would run when there are as many sequences as heads, and mix them up.


# %%
def multi_query_attention(x, W_Q, W_K, W_V):
    query = x.unsqueeze(1) @ W_Q  # (B, 1, T, d_model) @ (H, d_model, D) → (B, H, T, D)
    key, value = ((x @ W).unsqueeze(1) for W in (W_K, W_V))  # (B, T, D) → (B, 1, T, D)
    return scaled_dot_product_attention(query, key, value)[0]


assert checks.check_multi_query_attention(multi_query_attention)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 6 · grouped-query attention
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

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 7 · cut an edge after the fact
#
# $e^{s_1} / (e^{s_1} + e^{s_2} + e^{s_3})$ without the first summand is $e^{s_2} / (e^{s_2} + e^{s_3})$ and so on: the
# others keep their ratios, so divide by what is left. Where nothing is left, 0 is divided by a tiny number and stays 0.


# %%
def cut_edge(weights, query, key):
    weights = weights.clone()
    weights[..., query, key] = 0.0
    left = weights[..., query, :].sum(-1, keepdim=True)  # (B, H, 1)
    weights[..., query, :] /= left.clamp(min=1e-30)
    return weights


assert checks.check_cut_edge(cut_edge)
q, k, v = torch.randn(3, 1, 2, 5, 4).unbind()
mask = torch.ones(5, 5, dtype=torch.bool)
mask[3, 1] = False
before = scaled_dot_product_attention(q, k, v)[1]
after = scaled_dot_product_attention(q, k, v, mask)[1]
torch.testing.assert_close(cut_edge(before, 3, 1), after)
print("equal to a mask before the softmax")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 8 · your own sentences
#
# Eight sentences for the check; put them to the models in the chapter. What they cannot know is a word order that their
# grammar has not: two relative clauses in front, as in the seventh, or several finite verbs behind one another, as in the
# eighth.

# %%
SENTENCES = """singular\tthe fox near the judges that the boys see
plural\tthe geese that followed the writer
singular\tbeside the foxes the writer
plural\tnow the judges with the child
plural\twhen the wolf slept the geese near the fox
singular\tthe goose behind the foxes beside the geese
singular\tnear the dogs that saw the boys that the girls like the cat
plural\tthe boys that the dog that the cat that the mouse hears sees likes
"""
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "mine.tsv"
    path.write_text(SENTENCES, encoding="utf-8")
    assert checks.check_sentences(path)

# %% [markdown]
# Back to [chapter 3](../03_multi_head_attention.ipynb).
