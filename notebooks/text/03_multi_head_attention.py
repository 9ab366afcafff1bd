# %% [markdown] slideshow={"slide_type": "slide"}
# # 3. Multi-head attention taken apart: the paper's way, PyTorch's way, and the weights of every head
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/03_multi_head_attention.ipynb)
#
# The paper describes several small attentions side by side. PyTorch holds one packed matrix and cuts it up. At the end
# of this chapter you go from either to the other by hand, you get every head's attention weights out of any
# Transformer that you meet, and you judge what a head does by measuring it instead of by looking at it.

# %% [markdown]
# | | |
# |---|---|
# | **You will be able to** | take `nn.MultiheadAttention` apart and put it together again; say what heads cost and what they buy; read the weights of every head of any `nn.Transformer...` module; switch heads off and measure what is lost |
# | **Time** | about 70 seconds to run on two CPU cores; about three hours to read, with the exercises |
# | **You need** | [chapter 1](01_attention_basics.ipynb): scaled dot-product attention, masks, the Transformer block |

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
# One import cell. `scaled_dot_product_attention` is the function that you wrote in chapter 1. The multi-head attention
# of `helpers` is what you build here; you compare the two when yours is done.

# %% tags=["nbval-ignore-output"]
import copy
import math
import time

import matplotlib.pyplot as plt
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from helpers import analysis, bertviz_views, collect, plots
from helpers.attention import MultiHeadAttention, causal_mask, scaled_dot_product_attention
from helpers.data import load_words, split_words
from helpers.layers import TokenEmbedding
from helpers.text import Vocabulary
from helpers.training import fit, seed_everything
from helpers.transformer import MiniFormer

plots.use_style()
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False)
print("PyTorch", torch.__version__)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3.1 Two descriptions of one thing
#
# **You read the paper, then you print the parameters of `nn.MultiheadAttention`. Why do they not match?** The paper
# ("Attention Is All You Need", section 3.2.2) writes:
#
# $$\operatorname{MultiHead}(Q, K, V) = \operatorname{Concat}(\text{head}_1, \dots, \text{head}_h)\, W^O, \qquad
#   \text{head}_i = \operatorname{Attention}(Q W_i^Q,\, K W_i^K,\, V W_i^V)$$
#
# A **head** is one attention with its own three matrices. $h$ is the number of heads. $W_i^Q$, $W_i^K$ and $W_i^V$
# belong to head $i$ and turn vectors of width `d_model` into narrow ones, of width `head_dim = d_model / h`.
# $\operatorname{Concat}$ puts the results of the heads side by side. $W^O$, the **output projection**, mixes them. So
# with two heads there are $3 \cdot 2 + 1 = 7$ matrices. Look at what PyTorch has.

# %%
for name, parameter in nn.MultiheadAttention(4, 2, bias=False).named_parameters():
    print(name, tuple(parameter.shape))

# %% [markdown] slideshow={"slide_type": "slide"}
# Two matrices instead of seven. They describe the same computation; this table is the map for the next two sections.
# `T` is the number of tokens.
#
# | step | the paper | PyTorch |
# |---|---|---|
# | parameters | $3h$ matrices, (`d_model`, `head_dim`) each, and $W^O$ | `in_proj_weight`, (3 · `d_model`, `d_model`), and `out_proj.weight` |
# | project | $3h$ small products, $X W_i^Q$ and so on | one large product, `F.linear(X, in_proj_weight)` |
# | make heads | nothing to do: they are separate | cut the result into slices, move the slices to an axis of their own |
# | attend | $h$ times, on (T, `head_dim`) | once, on (h, T, `head_dim`) |
# | join | $\operatorname{Concat}$ | move the axis back, merge |
# | mix | $\operatorname{Concat}(\dots)\, W^O$ | `F.linear(joined, out_proj.weight)` |
#
# `F.linear(X, W)` is $X W^\top$. PyTorch stores its matrices transposed, the outputs in the rows. Keep that in mind,
# because every conversion passes through it.

# %%
paper = 3 * 2 * (4 * 2) + 4 * 4  # 3h matrices of (d_model, head_dim), and W_O of (d_model, d_model)
pytorch = sum(p.numel() for p in nn.MultiheadAttention(4, 2, bias=False).parameters())
print("numbers to learn, paper:", paper, " PyTorch:", pytorch)
assert paper == pytorch

# %% [markdown]
# **Remember: the paper has many small matrices, PyTorch has the same numbers in one packed matrix.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3.2 PyTorch's way, to the digit
#
# **Can you compute by hand what `nn.MultiheadAttention` computes?** Take five tokens of width 4, two heads, no biases.
# With the same seed you get the numbers below. `eval()` switches dropout off; `batch_first=True` says that the batch is
# the first axis.

# %%
torch.manual_seed(55)
X = torch.randn(1, 5, 4)  # (B, T, d_model)
theirs = nn.MultiheadAttention(4, 2, bias=False, batch_first=True).eval()
print(X)

# %% [markdown] slideshow={"slide_type": "slide"}
# **The packed matrix** has 12 rows. The first four make the queries, the next four the keys, the last four the values.
# Inside each four, the first two rows belong to head 1, the other two to head 2. The picture draws a line between the
# blocks.

# %%
W_packed = theirs.in_proj_weight.detach()  # (3 · d_model, d_model)
NAMES = ["Q1", "Q2", "K1", "K2", "V1", "V2"]
blocks = {f"rows of {name}": 2 for name in NAMES}
plots.matrix_blocks(W_packed, blocks, title="in_proj_weight is six matrices, stacked")
plt.show()

# %% [markdown]
# See six blocks of two rows. Each block is the matrix of one head for one part. The columns are the four numbers of a
# token.

# %% [markdown]
# **One product** makes everything at once: each token gets 12 new numbers.

# %%
QKV = F.linear(X, W_packed)  # (1, 5, 4) @ (4, 12) → (1, 5, 12)
print(tuple(QKV.shape))
torch.testing.assert_close(QKV, X @ W_packed.T)

# %% [markdown]
# The rows of the matrix have become columns of the result. Now each block is a pair of *columns*, and each row is a
# token.

# %%
plots.matrix_blocks(QKV[0], None, {name: 2 for name in NAMES}, title="QKV: a row for each token")
plt.show()

# %% [markdown] slideshow={"slide_type": "slide"}
# **Cut it up, axis by axis.** First `view`: the 12 numbers of a token become 6 groups of 2. `view` moves nothing in
# memory. It only says how to count. Watch it on the numbers 0 to 11.

# %%
print(torch.arange(12).view(6, 2))

# %% [markdown]
# On `QKV` the last axis splits in two, and the axis of the tokens stays where it is.

# %%
groups = QKV.view(1, 5, 6, 2)  # (B, T, 12) → (B, T, 6, D)
print(groups[0, 0], "← token 0: a row each for Q1, Q2, K1, K2, V1, V2")
assert torch.equal(groups[0, 0].flatten(), QKV[0, 0])

# %% [markdown]
# Then `transpose(1, 2)`: the groups come before the tokens. And `unbind(1)` takes the tensor apart along that axis, into
# six tensors.

# %%
by_group = groups.transpose(1, 2)  # (B, T, 6, D) → (B, 6, T, D)
Q1, Q2, K1, K2, V1, V2 = by_group.unbind(1)  # six times (B, T, D)
print("by_group", tuple(by_group.shape), " Q1", tuple(Q1.shape))
print(Q1)

# %% [markdown]
# Is `Q1` what the picture says, the first two columns of `QKV`? And `V2` the last two? The next cell compares.

# %%
for i, part in enumerate((Q1, Q2, K1, K2, V1, V2)):
    assert torch.equal(part, QKV[..., 2 * i : 2 * i + 2])
print("each of the six is its pair of columns")

# %% [markdown] slideshow={"slide_type": "slide"}
# **Each head attends by itself,** exactly as in chapter 1. The scale is $\sqrt 2$, the root of `head_dim`: a dot
# product of two head-wide vectors has two terms.

# %%
weights_1 = (Q1 @ K1.transpose(-2, -1) / math.sqrt(2)).softmax(dim=-1)  # (B, T, T)
weights_2 = (Q2 @ K2.transpose(-2, -1) / math.sqrt(2)).softmax(dim=-1)  # (B, T, T)
print("head 1:", weights_1[0])
print("head 2:", weights_2[0])

# %% [markdown]
# With this seed the first row of head 1 is 0.0424, 0.2048, 0.3446, 0.2414, 0.1667; the next cell checks that. In the
# picture, rows are queries and columns are keys.

# %%
_, axes = plt.subplots(1, 2, figsize=(10.5, 4.4))
for number, (weights, ax) in enumerate(zip((weights_1, weights_2), axes), 1):
    title = f"Head {number} has weights of its own"
    plots.attention_heatmap(
        weights[0], [f"token {i}" for i in range(5)], title=title, values=True, ax=ax
    )
plt.show()
first_row = torch.tensor([0.0424, 0.2048, 0.3446, 0.2414, 0.1667])
torch.testing.assert_close(weights_1[0, 0], first_row, atol=5e-5, rtol=0)

# %% [markdown]
# See how the two maps differ: the same five tokens, two different answers to "who looks where".

# %% [markdown] slideshow={"slide_type": "slide"}
# **Join and mix.** Each head averages its own values, (5, 2). Side by side they are as wide as a token again, (5, 4). The
# output projection mixes the four columns.

# %%
head_1, head_2 = weights_1 @ V1, weights_2 @ V2  # (B, T, T) @ (B, T, D) → (B, T, D)
joined = torch.cat([head_1, head_2], dim=-1)  # twice (B, T, D) → (B, T, d_model)
output = F.linear(joined, theirs.out_proj.weight)  # (B, T, d_model)
print("joined", tuple(joined.shape), " first row of the output:", output[0, 0].detach())
expected = torch.tensor([0.3529, 0.0220, 0.0969, -0.1303])
torch.testing.assert_close(output[0, 0], expected, atol=5e-5, rtol=0)

# %% [markdown]
# Now ask PyTorch. By default it hands back the *mean* of the heads' weights; `average_attn_weights=False` asks for each
# head.

# %%
their_output, their_weights = theirs(X, X, X, average_attn_weights=False)
print("PyTorch:", their_output[0, 0].detach(), tuple(their_weights.shape), "= (B, H, T, T)")
torch.testing.assert_close(output, their_output, atol=1e-6, rtol=0)
torch.testing.assert_close(torch.stack([weights_1, weights_2], 1), their_weights, atol=1e-6, rtol=0)

# %% [markdown]
# **Remember: one product, then `view` and `transpose`. Nothing else separates PyTorch's packed matrix from six tensors
# that you can name.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3.3 The paper's way, with the same numbers
#
# **Where in the packed matrix is the paper's $W_1^Q$?** In its block of rows, transposed. `chunk(3)` cuts the packed
# matrix into the thirds for queries, keys and values; `chunk(2)` cuts each third into its heads; `.T` turns PyTorch's
# layout into the paper's.

# %%
thirds = W_packed.chunk(3)  # (12, 4) → three (4, 4)
W_Q, W_K, W_V = ([block.T for block in third.chunk(2)] for third in thirds)  # two (4, 2) each
W_O = theirs.out_proj.weight.detach().T  # (d_model, d_model)
print("W_Q of head 1:", tuple(W_Q[0].shape))
print(W_Q[0])

# %% [markdown]
# With these the formula reads as it stands in the paper. Each head is computed alone. It never sees the other's
# numbers.

# %%
heads = []
for i in range(2):
    head, _ = scaled_dot_product_attention(X @ W_Q[i], X @ W_K[i], X @ W_V[i])  # (B, T, D)
    heads.append(head)
multi_head = torch.cat(heads, dim=-1) @ W_O  # (B, T, d_model) @ (d_model, d_model)
print(multi_head[0, 0])
torch.testing.assert_close(multi_head, their_output, atol=1e-6, rtol=0)

# %% [markdown]
# **Why is it the same?** Because of how a matrix product treats blocks. Put matrices side by side, and the products
# come out side by side:
#
# $$X\,[\,W_1 \;\; W_2\,] = [\,X W_1 \;\; X W_2\,]$$
#
# So one large product and $h$ small ones make the same numbers.

# %%
side_by_side = torch.cat([*W_Q, *W_K, *W_V], dim=1)  # six (4, 2) → (4, 12)
torch.testing.assert_close(X @ side_by_side, QKV)
assert torch.equal(side_by_side, W_packed.T)
print("six matrices side by side are in_proj_weight, transposed")

# %% [markdown]
# The output projection has the same property the other way round. Cut $W^O$ into blocks of *rows*, $W_i^O$, one for each
# head, and the concatenation turns into a sum:
#
# $$\operatorname{Concat}(\text{head}_1, \dots, \text{head}_h)\, W^O = \sum_i \text{head}_i\, W_i^O$$
#
# Each head *adds* its part to the output. In section 3.8 you switch a head off by taking its part away.

# %%
parts = [head @ block for head, block in zip(heads, W_O.chunk(2))]  # (B, T, D) @ (D, d_model)
torch.testing.assert_close(sum(parts), their_output, atol=1e-6, rtol=0)
for name, part in zip(("head 1 adds", "head 2 adds", "sum        "), (*parts, sum(parts))):
    print(name, part[0, 0])


# %% [markdown] slideshow={"slide_type": "slide"}
# ### As modules
#
# First the paper's way: a list of small matrices, and a loop. `xavier_uniform_` fills a matrix with small random
# numbers, of variance 2 / (rows + columns).


# %%
class HeadsInALoop(nn.Module):
    def __init__(self, d_model, num_heads):
        super().__init__()
        shapes = [(d_model, d_model // num_heads)] * num_heads
        self.W_query, self.W_key, self.W_value = (
            nn.ParameterList(nn.init.xavier_uniform_(torch.empty(shape)) for shape in shapes)
            for _ in range(3)
        )
        self.W_out = nn.Parameter(nn.init.xavier_uniform_(torch.empty(d_model, d_model)))

    def forward(self, x, mask=None):
        heads = []
        for W_q, W_k, W_v in zip(self.W_query, self.W_key, self.W_value):
            head, _ = scaled_dot_product_attention(x @ W_q, x @ W_k, x @ W_v, mask)  # (B, T, D)
            heads.append(head)
        return torch.cat(heads, dim=-1) @ self.W_out  # (B, T, H · D) → (B, T, d_model)


loop = HeadsInALoop(4, 2)
for parameters, matrices in zip((loop.W_query, loop.W_key, loop.W_value), (W_Q, W_K, W_V)):
    for parameter, matrix in zip(parameters, matrices):
        parameter.data = matrix.clone()
loop.W_out.data = W_O.clone()
torch.testing.assert_close(loop(X), their_output, atol=1e-6, rtol=0)
print("the loop == nn.MultiheadAttention:", tuple(loop(X).shape))


# %% [markdown]
# Then PyTorch's way, with the biases that it has by default. The heads get an axis of their own, (B, H, T, D), so that
# one call of chapter 1's function serves them all: it attends over the last two axes and leaves those in front alone.


# %%
class FusedHeads(nn.Module):
    def __init__(self, d_model, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.in_proj = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x, mask=None):
        B, T, d_model = x.shape
        qkv = self.in_proj(x)  # (B, T, d_model) → (B, T, 3 · d_model)
        qkv = qkv.view(B, T, 3, self.num_heads, -1)  # → (B, T, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # → (3, B, H, T, D), then three times (B, H, T, D)
        output, weights = scaled_dot_product_attention(q, k, v, mask)  # (B, H, T, D), (B, H, T, T)
        joined = output.transpose(1, 2).reshape(B, T, d_model)  # → (B, T, H, D) → (B, T, d_model)
        return self.out_proj(joined), weights


fused_output, fused_weights = FusedHeads(8, 2)(torch.randn(3, 5, 8))
print(tuple(fused_output.shape), tuple(fused_weights.shape))
assert fused_output.shape == (3, 5, 8) and fused_weights.shape == (3, 2, 5, 5)

# %% [markdown]
# **Three-way agreement.** Yours, `helpers`, PyTorch. A trap first: PyTorch starts with biases of zero, so a copy that
# *forgets the biases* would pass. Fill them with random numbers before you compare.


# %%
def a_module_with_biases(d_model, num_heads, seed=0, **options):
    torch.manual_seed(seed)
    module = nn.MultiheadAttention(d_model, num_heads, batch_first=True, **options).eval()
    assert (module.in_proj_bias == 0).all() and (module.out_proj.bias == 0).all()  # the trap
    nn.init.normal_(module.in_proj_bias)
    nn.init.normal_(module.out_proj.bias)
    return module


print(a_module_with_biases(4, 2).in_proj_bias.data)

# %% [markdown]
# Now copy the parameters and compare, for several sizes and with a causal mask. `from_torch` is the copy that `helpers`
# has; the line before it is yours.

# %%
for d_model, num_heads in ((4, 1), (8, 2), (16, 4), (24, 8)):
    module = a_module_with_biases(d_model, num_heads)
    mine = FusedHeads(d_model, num_heads)
    state = {k.replace("in_proj_", "in_proj."): v for k, v in module.state_dict().items()}
    mine.load_state_dict(state)
    helper = MultiHeadAttention.from_torch(module)
    x, mask = torch.randn(3, 6, d_model), causal_mask(6)
    expected = module(x, x, x, attn_mask=~mask, average_attn_weights=False)
    for result in (mine(x, mask), helper(x, x, x, mask)):
        torch.testing.assert_close(result, expected, atol=2e-6, rtol=0)
    print(f"d_model={d_model}, heads={num_heads}: FusedHeads == helpers == nn.MultiheadAttention")

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Which is faster?
#
# **Predict first.** The width stays at 128. You go from 1 head to 16. Who suffers: the loop, the fused module, or
# PyTorch's `F.scaled_dot_product_attention`, which gives no weights?
#
# <details><summary>Answer</summary>
#
# Most of all those who *make the weights*, loop or not: there is a (T, T) matrix for each head, and with long sequences that is
# where the time goes. `F.scaled_dot_product_attention` works through the keys in pieces and never stores that matrix. The
# loop's own price, many small operations instead of a few large ones, shows only when sequences are short.
#
# </details>
#
# The five ways, on the same input. "Fused" is the module of `helpers`: the heads on an axis of their own, as in
# `FusedHeads`, but queries, keys and values from three products. The loop has no biases.


# %%
def five_ways(num_heads, d_model=128):
    seed_everything(0)
    loop = HeadsInALoop(d_model, num_heads).to(device)
    module = nn.MultiheadAttention(d_model, num_heads, batch_first=True).to(device)
    fused = MultiHeadAttention.from_torch(module)
    return {
        "loop over heads": lambda x: loop(x),
        "fused, with weights": lambda x: fused(x, x, x)[0],
        "fused, F.scaled_dot_product_attention": lambda x: fused(x, x, x, need_weights=False)[0],
        "nn.MultiheadAttention, with weights": lambda x: module(x, x, x)[0],
        "nn.MultiheadAttention, without": lambda x: module(x, x, x, need_weights=False)[0],
    }


HEADS = (1, 2, 4, 8, 16)
ways = {num_heads: five_ways(num_heads) for num_heads in HEADS}
print("\n".join(ways[1]))

# %% [markdown]
# Time is measured forward and backward together, turn by turn, so that a disturbance hits all alike. What counts is the
# *ratio* inside one run: the median time divided by that of the fastest way with one head.


# %% tags=["nbval-ignore-output"]
def seconds(way, x):
    start = time.perf_counter()
    way(x).sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def relative_times(x, turns=11):
    times = {(name, h): [] for h in HEADS for name in ways[h]}
    for _ in range(turns):
        for name, h in times:
            times[name, h].append(seconds(ways[h][name], x))
    median = {key: sorted(values)[turns // 2] for key, values in times.items()}
    least = min(median[name, 1] for name in ways[1])
    return {key: value / least for key, value in median.items()}


long = torch.randn(2, 256, 128, device=device, requires_grad=True)  # (B, T, d_model)
short = torch.randn(2, 16, 128, device=device, requires_grad=True)
for title, x in {"256 tokens": long, "16 tokens": short}.items():
    relative = relative_times(x)
    print(f"{title:38}", *(f"{h:5}" for h in HEADS), "heads")
    for name in ways[1]:
        print(f"  {name:36}", *(f"{relative[name, h]:5.1f}" for h in HEADS))
    if x is long:
        relative_long = relative

# %% [markdown]
# With 256 tokens, the loop pays no clear price for being a loop: whether it or the fused module that makes the same
# weights is ahead with 16 heads changes from run to run. With 16 tokens the loop is clearly slower, because there the
# number of operations counts. Now the memory. Count it exactly: the bytes that PyTorch keeps for the backward
# pass. It lets you watch each tensor that it saves.


# %% tags=["nbval-ignore-output"]
def mebibytes_kept(way, x):
    kept = {}

    def save(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        way(x)
    return sum(kept.values()) / 2**20


memory = {(name, h): mebibytes_kept(ways[h][name], long) for name, h in relative_long}
for name in ways[1]:
    print(f"{name:38}", *(f"{memory[name, h]:5.1f}" for h in HEADS), "MiB")

# %% [markdown]
# Both as curves, for the 256 tokens.

# %% tags=["nbval-ignore-output"]
_, axes = plt.subplots(1, 2, figsize=(14, 4.6))
labels = ("time, fastest with one head = 1", "MiB kept for the backward pass")
for ax, numbers, label in zip(axes, (relative_long, memory), labels):
    for name, line in zip(ways[1], ("o-", "s--", "o-", "^:", "s--")):
        ax.plot(HEADS, [numbers[name, h] for h in HEADS], line, label=name)
    ax.set_xscale("log", base=2)
    ax.set(xlabel="number of heads", ylabel=label, xticks=HEADS, xticklabels=HEADS, ylim=(0, None))
axes[0].set_title("256 tokens: making the weights costs time")
axes[1].set_title("... and memory")
axes[1].legend(fontsize="small")
plt.show()

# %% [markdown]
# See the right panel: the three ways that make the weights climb along the same slope, and the two others stay on the
# floor. In the left panel all five climb, but those that make the weights climb faster. The next cell checks the memory,
# which is the same on every machine.

# %%
_, WITH, WITHOUT, *_ = ways[1]  # two of the five names
assert memory[WITH, 16] > 4 * memory[WITH, 1] and memory[WITHOUT, 16] < 1.2 * memory[WITHOUT, 1]
growth = memory[WITH, 16] - memory[WITH, 8]
one_matrix = 256 * 256 * 4 / 2**20  # (T, T) numbers of 4 bytes, in MiB
assert abs(growth / (2 * 8 * one_matrix) - 1) < 0.1  # 8 more heads, each of 2 sequences
print("making the weights stores one (T, T) matrix a head; not making them stores none")

# %% [markdown]
# **Remember: many small products and one large one are the same algebra. With long sequences, what costs is asking for the weights.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3.4 The corners
#
# **What do you have to know before you swap one multi-head attention for another?** Eight corners where two right
# implementations can disagree. In each you compare `nn.MultiheadAttention` with the one from `helpers`, with copied
# weights; `same` allows differences of 2e-6, a few roundings.


# %%
def same(a, b):
    torch.testing.assert_close(a, b, atol=2e-6, rtol=0)
    return "equal"


module = a_module_with_biases(8, 2)
helper = MultiHeadAttention.from_torch(module)
torch.manual_seed(1)
x = torch.randn(2, 4, 8)  # (B, T, d_model)
print("no mask:", same(helper(x, x, x)[0], module(x, x, x)[0]))

# %% [markdown]
# **Corner 1, the biases.** There is one for queries, keys, values, and the output. One of the four has no effect
# whatever. Which? *Predict first.*
#
# <details><summary>Answer</summary>
#
# The key's. It adds $q \cdot b$ to every score of query $q$, the same number for all keys. A softmax does not change
# when all its scores move together.
#
# </details>

# %%
for name, rows in {"query": slice(0, 8), "key": slice(8, 16), "value": slice(16, 24)}.items():
    changed = copy.deepcopy(module)
    changed.in_proj_bias.data[rows] += 1.0
    moves = (changed(x, x, x)[0] - module(x, x, x)[0]).abs().max()
    print(f"another {name} bias moves the output by {moves:.4f}")
    assert (moves < 1e-5) == (name == "key")

# %% [markdown] slideshow={"slide_type": "slide"}
# **Corner 2, what True means.** For `nn.MultiheadAttention` a mask's `True` is *blocked*. For
# `F.scaled_dot_product_attention` and for this series it is *may attend*. Passing a mask the wrong way round raises no
# error.

# %%
mask = causal_mask(4)  # True = may attend
right, wrong = (module(x, x, x, attn_mask=m, average_attn_weights=False) for m in (~mask, mask))
print("blocked where ~mask:", same(helper(x, x, x, mask)[0], right[0]))
print("the last row of head 1 with the mask turned round:", wrong[1][0, 0, -1].detach())
assert right[1][0, 0].triu(1).abs().max() == 0 and wrong[1][0, 0, -1].isnan().all()

# %% [markdown]
# The last token may see everything. Turned round, it may see nothing, and you get NaN. That is luck: with another mask
# there would be no NaN to warn you.

# %% [markdown] slideshow={"slide_type": "slide"}
# **Corner 3, two masks together.** `attn_mask` is about pairs of positions, `key_padding_mask`, of shape (B, T), about
# padded keys. A key must be allowed by both. With "may attend" masks that is a plain `&`.

# %%
real = torch.tensor([[True, True, True, True], [True, True, False, False]])  # (B, T)
theirs_both = module(x, x, x, attn_mask=~mask, key_padding_mask=~real, average_attn_weights=False)
ours_both = helper(x, x, x, mask & real.unsqueeze(1))  # (T, T) & (B, 1, T) → (B, T, T)
print("output:", same(ours_both[0], theirs_both[0]))
print("weights:", same(ours_both[1], theirs_both[1]))

# %% [markdown]
# **Corner 4, a query that may see nothing.** There is no right answer. `helpers` gives zero weights, so the output is
# just the bias of the output projection. PyTorch gives different answers *from the same module*, depending on what you
# ask for. Block everything for the second token:

# %%
nothing_for_1 = torch.ones(4, 4, dtype=torch.bool)
nothing_for_1[1] = False
asked = module(x, x, x, attn_mask=~nothing_for_1)[0]
not_asked = module(x, x, x, attn_mask=~nothing_for_1, need_weights=False)[0]
ours = helper(x, x, x, nothing_for_1)[0]
results = {"need_weights=True": asked, "need_weights=False": not_asked, "helpers": ours}
for name, result in results.items():
    print(f"{name:19} token 1: {result[0, 1, :3].detach()}  token 2: {result[0, 2, :3].detach()}")
assert asked[:, 1].isnan().all() and ours.isfinite().all()
print("elsewhere:", same(ours[:, [0, 2, 3]], asked[:, [0, 2, 3]]))

# %% [markdown]
# With the weights asked for, token 1 is NaN. Without, PyTorch 2.13 happens to agree with `helpers`, but only while it
# keeps track of gradients. Under `no_grad` the module takes a shortcut, its *fast path*, and NaN is back.

# %%
with torch.no_grad():
    fast = module(x, x, x, attn_mask=~nothing_for_1, need_weights=False)[0]
print("need_weights=False under no_grad, token 1:", fast[0, 1, :3])
print("does the answer depend on no_grad?", bool(fast.isnan().any() != not_asked.isnan().any()))

# %% [markdown] slideshow={"slide_type": "slide"}
# **Corner 5, `average_attn_weights`.** By default the weights come back averaged over the heads, (B, T, T). No head
# computes that average; it is a summary for pictures.

# %%
averaged, separate = module(x, x, x)[1], module(x, x, x, average_attn_weights=False)[1]
print(tuple(averaged.shape), tuple(separate.shape))
print("mean over heads:", same(separate.mean(dim=1), averaged))
print("helpers:", same(helper(x, x, x)[1], separate))

# %% [markdown]
# **Corner 6, `kdim` and `vdim`.** If keys and values come from somewhere else, as in a decoder that looks at an encoder,
# they may have another width. Then nothing can be packed: PyTorch keeps three separate matrices, under other names. Code
# that reads `in_proj_weight` finds `None`.

# %%
other = a_module_with_biases(8, 2, kdim=5, vdim=3)
query, key, value = torch.randn(2, 4, 8), torch.randn(2, 6, 5), torch.randn(2, 6, 3)
print("in_proj_weight:", other.in_proj_weight, " k_proj_weight:", tuple(other.k_proj_weight.shape))
print(same(MultiHeadAttention.from_torch(other)(query, key, value)[0], other(query, key, value)[0]))

# %% [markdown]
# **Corner 7, dropout in training.** Dropout acts on the attention *weights*, after the softmax: each is set to 0 with
# probability $p$, and the others grow by $1/(1-p)$. The weights that you get back are those. Their rows no longer add up
# to 1. Forget `eval()`, and you plot noise.

# %% tags=["nbval-ignore-output"]
dropping = a_module_with_biases(8, 2, dropout=0.5).train()
torch.manual_seed(3)
dropped_output, dropped = dropping(x, x, x, average_attn_weights=False)
print(dropped[0, 0].detach(), "\nrow sums:", dropped[0, 0].sum(-1).detach())

# %% [markdown]
# Both implementations draw the same random numbers here, so they can be compared even now. And each weight is either 0
# or twice what it is without dropout.

# %%
ours = MultiHeadAttention.from_torch(dropping)  # first, because making it draws random numbers too
torch.manual_seed(3)
ours = ours(x, x, x)
same(ours[0], dropped_output), same(ours[1], dropped)
full = dropping.eval()(x, x, x, average_attn_weights=False)[1]
kept = dropped > 0
torch.testing.assert_close(dropped[kept], 2 * full[kept])
assert 0.25 < kept.float().mean() < 0.75 and (dropped.sum(-1) - 1).abs().max() > 0.1
print("each weight is 0 or doubled; rows do not add up to 1")

# %% [markdown] slideshow={"slide_type": "slide"}
# **Corner 8, `batch_first=False`,** the default. Then the module reads (T, B, d_model). Give it (B, T, d_model) and there
# is no error: it takes your sequences for positions, and tokens attend across the batch. The test: change sequence 1 and
# see whether sequence 0 moves.

# %%
forgot = nn.MultiheadAttention(8, 2).eval()  # batch_first is missing
forgot.load_state_dict(module.state_dict())
changed = x.clone()
changed[1] += 1.0
for name, attend in {"batch_first=True": module, "forgotten": forgot}.items():
    moves = (attend(changed, changed, changed)[0] - attend(x, x, x)[0])[0].abs().max()
    print(f"{name:17} sequence 0 moves by {moves:.4f}")
    assert (moves > 0.01) == (attend is forgot)
x_first = x.transpose(0, 1)  # (B, T, d_model) → (T, B, d_model)
exchanged = forgot(x_first, x_first, x_first)[0].transpose(0, 1)  # back to (B, T, d_model)
print("with the axes exchanged:", same(exchanged, module(x, x, x)[0]))

# %% [markdown]
# **Remember: before you trust a swap, compare outputs with random biases, with masks, and with a second sequence in the
# batch.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3.5 The cost is the same, so why heads?
#
# **Are eight heads eight times as expensive as one?** They share the width: `head_dim` is `d_model / h`. Count the
# numbers to learn, and the multiplications. `FlopCounterMode` watches every matrix product; it counts a multiplication
# and its addition as two operations.

# %%
x = torch.randn(2, 16, 64)
for h in (1, 2, 4, 8):
    counted = MultiHeadAttention(64, h)
    with FlopCounterMode(display=False) as counter:
        counted(x, x, x)
    parameters = sum(p.numel() for p in counted.parameters())
    multiplications = counter.get_total_flops() // 2
    print(f"{h} heads: {parameters:,} parameters, {multiplications:,} multiplications")
    assert parameters == 4 * (64 * 64 + 64)
    assert multiplications == 2 * (4 * 16 * 64 * 64 + 2 * 16 * 16 * 64)

# %% [markdown]
# Neither depends on $h$. The last line of the cell spells the multiplications out, for each of the 2 sequences: four
# projections of $T \cdot d_{\text{model}}^2$, and two products, scores and averages, of $h \cdot T^2 \cdot D =
# T^2 \cdot d_{\text{model}}$, where $D$ is `head_dim`. (The softmax is not counted, and it does grow with $h$: section 3.3
# measured that.)

# %% [markdown] slideshow={"slide_type": "slide"}
# **So what do heads buy?** One head has one softmax, so one pattern a query. Take the look-up of chapter 1: 8 pairs of a
# key and a value, and a question. Now ask for *two* keys at once, and want both values, in order.

# %%
PAIRS, IDS = 8, 16


def make_examples(number, seed):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.rand(number, IDS, generator=generator).argsort(dim=1)[:, :PAIRS]  # no id twice
    values = torch.rand(number, IDS, generator=generator).argsort(dim=1)[:, :PAIRS]
    places = torch.rand(number, PAIRS, generator=generator).argsort(dim=1)[:, :2]
    pairs = torch.stack([keys, values], dim=2)  # (N, 8, 2)
    questions, answers = keys.gather(1, places), values.gather(1, places)  # (N, 2), (N, 2)
    return tuple(tensor.to(device) for tensor in (pairs, questions, answers))


pairs, questions, answers = make_examples(1, seed=0)
print("pairs:", dict(pairs[0].tolist()))
print("questions:", questions[0].tolist(), " answers:", answers[0].tolist())


# %% [markdown]
# The model is a single multi-head attention of width 32. The sum of the two questions' embeddings is its one query. The
# output layer gives two rows of 16 scores, one row for each answer. Only `num_heads` will vary.


# %%
class TwoLookUps(nn.Module):
    def __init__(self, num_heads, d_model=32):
        super().__init__()
        self.key_embedding, self.value_embedding, self.first, self.second = (
            nn.Embedding(IDS, d_model) for _ in range(4)
        )
        self.attend = MultiHeadAttention(d_model, num_heads)
        self.output = nn.Linear(d_model, 2 * IDS)

    def forward(self, pairs, questions):
        keys, values = pairs.unbind(-1)  # (B, 8, 2) → twice (B, 8)
        x = self.key_embedding(keys) + self.value_embedding(values)  # (B, 8, d_model)
        query = self.first(questions[:, 0]) + self.second(questions[:, 1])  # (B, d_model)
        found, weights = self.attend(query.unsqueeze(1), x, x)  # (B, 1, d_model), (B, H, 1, 8)
        logits = self.output(found.squeeze(1)).unflatten(-1, (2, IDS))  # (B, 2, 16)
        return logits, weights.squeeze(2)  # (B, H, 1, 8) → (B, H, 8)


sizes = {h: sum(p.numel() for p in TwoLookUps(h).parameters()) for h in (1, 2, 4, 8)}
print("parameters:", sizes)
assert len(set(sizes.values())) == 1

# %% [markdown] slideshow={"slide_type": "slide"}
# **Predict first.** Can one head of width 32 do it? It is as wide as two heads of 16 together.
#
# <details><summary>Answer</summary>
#
# No. Its one row of weights has to serve both questions. If it looks at both pairs alike, their values come back mixed and
# nobody can tell which was asked first. If it looks more at one, a linear output layer can read that one only. The training below finds that giving up one question is the better deal.
#
# </details>
#
# Five seeds for each number of heads. What counts as right is both answers.


# %% tags=["nbval-ignore-output"]
def two_loss(model, pairs, questions, answers):
    logits, _ = model(pairs, questions)
    loss = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="sum")
    return loss, answers.numel()


@torch.no_grad()
def two_right(model, seed):
    pairs, questions, answers = make_examples(1000, seed)
    return (model(pairs, questions)[0].argmax(-1) == answers).float()  # (1000, 2)


look_ups = {}
for h in tqdm((1, 2, 4, 8), file=sys.stdout, ncols=80):
    for seed in range(5):
        seed_everything(seed)
        look_ups[h, seed] = TwoLookUps(h).to(device)
        data = make_examples(2500, seed), make_examples(300, seed + 1000)
        fit(look_ups[h, seed], *data, two_loss, epochs=10, lr=0.01, seed=seed, progress=False)
both = {}
for h in (1, 2, 4, 8):
    rights = [two_right(look_ups[h, seed], seed + 2000) for seed in range(5)]  # five (1000, 2)
    both[h] = [right.prod(1).mean().item() for right in rights]
for h, numbers in both.items():
    print(f"{h} heads: both answers right {analysis.seed_interval(numbers)}")

# %% [markdown]
# The same as a picture.

# %% tags=["nbval-ignore-output"]
intervals = {f"heads: {h}": analysis.seed_interval(numbers) for h, numbers in both.items()}
plots.interval_plot(
    intervals,
    "share with both answers right (5 seeds, 95% interval)",
    "Two look-ups need more than one head",
)
plt.show()

# %% [markdown]
# One head stays near the left edge. Two can be enough, and more do no harm. Look at how the single head fails: the share
# right for the first and for the second question, seed by seed.

# %% tags=["nbval-ignore-output"]
rights = [two_right(look_ups[1, seed], seed + 2000) for seed in range(5)]
single = torch.stack([right.mean(0) for right in rights])  # (5, 2)
for seed, (first, second) in enumerate(single.tolist()):
    print(f"seed {seed}: first question {first:.2f}, second question {second:.2f}")

# %% [markdown]
# It serves one question perfectly and guesses the other. Which one it picks depends on the seed.

# %%
assert max(both[1]) < 0.15 and min(both[4] + both[8]) > 0.95
assert sum(share > 0.95 for share in both[2]) >= 4
assert single.amax(1).min() > 0.95 and single.amin(1).max() < 0.2
print("one head: one question always, the other by guessing; four or eight heads: both")

# %% [markdown]
# **Two heads *can*. Do they always?** The two have to find different questions, and nobody tells them to. Train ten more
# models with two heads and count.


# %% tags=["nbval-ignore-output"]
def train_two_look_ups(num_heads, seed):
    seed_everything(seed)
    model = TwoLookUps(num_heads).to(device)
    data = make_examples(2500, seed), make_examples(300, seed + 1000)
    fit(model, *data, two_loss, epochs=10, lr=0.01, seed=seed, progress=False)
    return model, two_right(model, seed + 2000).prod(1).mean().item()


more = [train_two_look_ups(2, seed) for seed in tqdm(range(5, 15), file=sys.stdout, ncols=80)]
more_models, ten_more = zip(*more)
print("both answers right, seed by seed:", [f"{share:.2f}" for share in ten_more])

# %% [markdown]
# Most do. When one fails, it fails like a single head: both heads have fallen for the same question, and training does
# not lead out of it. More heads than questions leave room for that; but four and eight had only five seeds each, and on those
# five two heads did not fail either.

# %%
failed = [share for share in ten_more if share < 0.95]
assert len(failed) <= 4 and max(failed, default=0) < 0.2
print("most seeds solve it with two heads; a seed that fails is as bad as one head")

# %% [markdown]
# **Who does what?** In the model with two heads, measure the mean weight of each head on the pair of each question. In
# the heat map, rows are heads, columns are the pairs asked for.


# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def weight_on_asked(model, seed):
    pairs, questions, _ = make_examples(1000, seed)
    weights = model(pairs, questions)[1]  # (N, H, 8)
    asked = pairs[..., 0].unsqueeze(1) == questions.unsqueeze(2)  # (N, 2, 8): where each stands
    return torch.einsum("nhp,nqp->hq", weights, asked.float()) / len(pairs)  # (H, 2)


best = max(range(5), key=both[2].__getitem__)
share = weight_on_asked(look_ups[2, best], seed=3000)
title = "Each head serves one question"
plots.attention_heatmap(share, ["head 1", "head 2"], ["first", "second"], title=title, values=True)
plt.show()

# %% [markdown]
# See one bright cell in each row and in each column. Nobody assigned the questions; the division of labour was learned. On
# every seed that solves the task:

# %%
solved = [seed for seed in range(5) if both[2][seed] > 0.95]
for seed in solved:
    share = weight_on_asked(look_ups[2, seed], seed=3000)
    assert share.amax(1).min() > 0.8 and share.argmax(1).unique().numel() == 2
print("on every seed that solves the task, one head for each question")

# %% [markdown]
# And the models with two heads that failed, among the ten more? If both heads fell for the same question, the two rows of
# the heat map have their bright cell in the same column.

# %% tags=["nbval-ignore-output"]
for model, right in zip(more_models, ten_more):
    if right < 0.95:
        share = weight_on_asked(model, seed=3000)
        print("a model that fails:", [[f"{cell:.2f}" for cell in row] for row in share.tolist()])
        assert share.amax(1).min() > 0.5 and share.argmax(1).unique().numel() == 1

# %% [markdown]
# **Remember: heads cost no parameters and no multiplications. They buy one look-up each.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3.6 Weights out of any module
#
# **You have somebody's `nn.TransformerEncoder`. Where are its attention weights?** Nowhere: its layers ask their
# attention for the output only. Put a **forward hook** on the attention of the first layer, a function that PyTorch
# calls with what goes in and what comes out.

# %%
torch.manual_seed(0)
layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False).eval()
x = torch.randn(2, 5, 16)
seen = []
attend = encoder.layers[0].self_attn
handle = attend.register_forward_hook(lambda module, args, output: seen.append(output))
encoder(x)
handle.remove()
print("output:", tuple(seen[0][0].shape), " weights:", seen[0][1])
assert seen[0][1] is None

# %% [markdown]
# The layer calls its attention with `need_weights=False`. And in the mode that you use a finished model in, `eval()` and
# no gradients, the attention module is not called at all: a **fast path**, one fused operation, does the whole layer.
# Count the calls.

# %%
from unittest import mock

MHA = nn.MultiheadAttention
with mock.patch.object(MHA, "forward", autospec=True, side_effect=MHA.forward) as spy:
    slow = encoder(x)
    print("calls with gradients:   ", spy.call_count)
    spy.reset_mock()
    with torch.no_grad():
        fast = encoder(x)
    print("calls without gradients:", spy.call_count)
assert spy.call_count == 0
torch.testing.assert_close(slow, fast, atol=1e-5, rtol=0)

# %% [markdown]
# Same output, no call. So there are two obstacles: nobody asks for the weights, and on the fast path nobody could. There
# are three ways around them.

# %% [markdown] slideshow={"slide_type": "slide"}
# **Way 1, a forward pre-hook.** It runs *before* the module and may change the arguments. `with_kwargs=True` shows it
# those given by name. A second hook keeps the result. (While a hook is attached, PyTorch leaves the fast path.)


# %%
def ask_for_weights(module, args, kwargs):
    return args, kwargs | {"need_weights": True, "average_attn_weights": False}


def keep_weights(module, args, output):
    by_hook.append(output[1])


by_hook, handles = [], []
for layer in encoder.layers:
    handles.append(layer.self_attn.register_forward_pre_hook(ask_for_weights, with_kwargs=True))
    handles.append(layer.self_attn.register_forward_hook(keep_weights))
with torch.no_grad():
    encoder(x)
for handle in handles:
    handle.remove()
print([tuple(weights.shape) for weights in by_hook])


# %% [markdown] slideshow={"slide_type": "slide"}
# **Way 2, a subclass** that asks for the weights itself and remembers them. You put it in the place of the original, with
# its parameters.


# %%
class Remembers(nn.MultiheadAttention):
    weights = None

    def forward(self, *args, **kwargs):
        kwargs |= {"need_weights": True, "average_attn_weights": False}
        output, self.weights = super().forward(*args, **kwargs)
        return output, self.weights


twin = copy.deepcopy(encoder)
for layer in twin.layers:
    state = layer.self_attn.state_dict()
    layer.self_attn = Remembers(16, 4, batch_first=True).eval()
    layer.self_attn.load_state_dict(state)
with torch.no_grad():
    twin(x)
print("after a run without gradients:", twin.layers[0].self_attn.weights)

# %% [markdown]
# `None`: without a hook the fast path goes past the subclass as well. Such code works while you train, and goes silent
# when you evaluate. Switch the fast path off.

# %%
torch.backends.mha.set_fastpath_enabled(False)
with torch.no_grad():
    twin(x)
torch.backends.mha.set_fastpath_enabled(True)
by_subclass = [layer.self_attn.weights for layer in twin.layers]
print([tuple(weights.shape) for weights in by_subclass])

# %% [markdown]
# **Way 3, compute them again.** All you need is what goes into each attention. Here each layer's input is the output of
# the layer before. (With `norm_first=True` the attention's input is `layer.norm1(inputs)` instead.)

# %%
by_recomputing, inputs = [], x
with torch.no_grad():
    for layer in encoder.layers:
        attend = MultiHeadAttention.from_torch(layer.self_attn)
        by_recomputing.append(attend(inputs, inputs, inputs)[1])
        inputs = layer(inputs)
assert len(by_hook) == 2
for a, b, c in zip(by_hook, by_subclass, by_recomputing, strict=True):
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    torch.testing.assert_close(a, c, atol=1e-6, rtol=0)
print("three ways, the same weights")

# %% [markdown] slideshow={"slide_type": "slide"}
# **The finished tool** is `collect.collect_attention(model, *inputs)`. It finds every attention module that is
# PyTorch's or the one of `helpers`, runs the model, and returns the output and a dictionary from module name to
# weights, (B, H, T_q, T_k).

# %%
output, attention = collect.collect_attention(encoder, x)
for name, weights in attention.items():
    print(name, tuple(weights.shape))
for a, b in zip(by_hook, attention.values(), strict=True):
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)

# %% [markdown]
# It has to work on whatever you meet, and leave no trace. An encoder-decoder has three kinds of attention; the names say
# which is which. (`multihead_attn` is PyTorch's name for the decoder's look at the encoder; `MiniFormer` is a small
# Transformer of `helpers`.)

# %%
torch.manual_seed(0)
x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
letters = torch.tensor([[1, 4, 5, 6, 2]])
candidates = {
    "nn.TransformerEncoder": (encoder, (x,)),
    "nn.Transformer": (nn.Transformer(16, 4, 1, 1, 32, batch_first=True).eval(), (memory, x)),
    "helpers' MiniFormer": (MiniFormer(9, num_heads=2).eval(), (letters,)),
}
candidates["nn.TransformerDecoder"] = candidates["nn.Transformer"][0].decoder, (x, memory)
for name, (model, inputs) in candidates.items():
    expected = model(*inputs)
    output, attention = collect.collect_attention(model, *inputs)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=0)
    print(f"{name:22}", {name: tuple(weights.shape) for name, weights in attention.items()})

# %% [markdown]
# Inside is a **context manager**, `collect.collecting_attention(model)`. It prepares the model when its `with` block
# begins and puts everything back when the block ends, however it ends. Look: an error in the middle, and nothing is left
# behind.

# %%
try:
    with collect.collecting_attention(encoder) as attention:
        encoder(x)
        raise KeyError("something goes wrong")
except KeyError:
    print("kept until the error:", list(attention))
assert "forward" not in vars(encoder.layers[0].self_attn)
assert torch.backends.mha.get_fastpath_enabled()
print("the modules are as before, the fast path is on again")

# %% [markdown]
# And it says what is wrong when there is nothing to collect.

# %%
try:
    collect.collect_attention(nn.Linear(2, 2), torch.randn(1, 2))
except ValueError as error:
    print(error)

# %% [markdown]
# **Remember: the weights do not lie around in a model. You have to ask before it runs, and keep it off the fast path.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3.7 Animal or plant? A classifier to look into
#
# **What do the heads of a trained model look at?** Train one. It reads a name letter by letter and says whether it names
# an animal, or a fruit or vegetable. The words and their split are the same in the whole series: the model trains on
# the first part, the *validation* words decide when to stop, the *test* words judge.

# %%
words, split = load_words(), split_words()
vocabulary = Vocabulary.from_words(words)


def encode(names):
    is_animal = torch.tensor([float(words[name] == "animal") for name in names], device=device)
    return vocabulary.encode_batch(names, device), is_animal  # ids (N, T), (N,)


train, validation, test = (encode(names) for names in split)
for name, (ids, is_animal) in zip(split._fields, (train, validation, test)):
    print(f"{name:10} {len(ids)} words, {is_animal.mean():.1%} animals")
print(vocabulary.tokens(vocabulary.encode("gooseberry")))

# %% [markdown]
# `<BOS>` and `<EOS>` mark the beginning and the end of a word; short words are filled up with `<PAD>`. About
# seven names in ten are animals, so whoever always says "animal" is right that often. That is the first reference point.

# %% [markdown]
# **The second reference point: counting pieces.** Cut each name into pieces of 1 to $n$ letters, its beginning marked
# `^` and its end `$`. *Logistic regression* gives each piece a number; the sum of a name's numbers, through the sigmoid
# function $1/(1+e^{-z})$, is the probability of "animal".


# %%
def pieces(name, n):
    marked = f"^{name}$"
    return {marked[i : i + k] for k in range(1, n + 1) for i in range(len(marked) - k + 1)}


print(sorted(pieces("crab", 2)))


# %% [markdown]
# The numbers are those with the lowest *cross-entropy* (minus the logarithm of the probability given to the right answer)
# plus a penalty $\frac{\lambda}{2} \lVert w \rVert^2$ that keeps them small. This problem has a single best solution, and
# LBFGS, a classical optimiser, finds it, so there is no seed.


# %%
def fit_pieces(n, penalty):
    known = sorted({piece for name in split.train for piece in pieces(name, n)})
    index = {piece: i for i, piece in enumerate(known)}
    rows = []
    for names in split:
        X = torch.zeros(len(names), len(index), device=device)
        for row, name in enumerate(names):
            X[row, [index[piece] for piece in pieces(name, n) if piece in index]] = 1.0
        rows.append(X)
    w = torch.zeros(len(index), device=device, requires_grad=True)
    b = torch.zeros((), device=device, requires_grad=True)
    optimizer = torch.optim.LBFGS([w, b], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(rows[0] @ w + b, train[1], reduction="sum")
        loss = loss + penalty / 2 * (w**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return [(X @ w + b).detach() for X in rows], dict(zip(index, w.tolist()))


print(len(fit_pieces(1, 1.0)[1]), "pieces of one letter or mark")

# %% [markdown]
# How long the pieces, how strong the penalty? The validation words choose, by their cross-entropy.

# %%
grid = {(n, penalty): fit_pieces(n, penalty) for n in (1, 2, 3, 4) for penalty in (1.0, 3.0, 10.0)}
on_validation = {
    key: F.binary_cross_entropy_with_logits(logits[1], validation[1])
    for key, (logits, _) in grid.items()
}
chosen = min(on_validation, key=on_validation.get)
pieces_logits, pieces_weights = grid[chosen]
print("chosen: pieces of up to", chosen[0], "letters, penalty", chosen[1])
ranked = sorted(pieces_weights, key=pieces_weights.get)
print("most plant: ", ranked[:8])
print("most animal:", ranked[:-9:-1])
assert sum(piece.endswith("$") for piece in ranked[:8] + ranked[-8:]) >= 4

# %% [markdown]
# Look at the pieces: several are word endings, such as `ry$`. Now its score on the test words, as accuracy and as cross-entropy in *nats* (the logarithm is the natural one).


# %%
def scores_of(logits, is_animal):
    """Accuracy and cross-entropy, word by word: two (N,)."""
    loss = F.binary_cross_entropy_with_logits(logits, is_animal, reduction="none")
    return ((logits > 0) == (is_animal > 0)).float(), loss


always = torch.logit(train[1].mean()).expand(len(test[1]))  # the same answer for every word
references = {"always 'animal'": scores_of(always, test[1])}
references["letter pieces"] = scores_of(pieces_logits[2], test[1])
for name, (right, loss) in references.items():
    print(f"{name:16} accuracy {right.mean():.3f}, loss {loss.mean():.3f} nats")


# %% [markdown] slideshow={"slide_type": "slide"}
# **The Transformer.** Letters become vectors with positions added (chapter 1's encoding); two layers of four heads; the
# mean over the real tokens; one number. PyTorch's padding mask says `True` for blocked.


# %%
class AnimalOrPlant(nn.Module):
    def __init__(self, d_model=32, num_heads=4, num_layers=2, dropout=0.2):
        super().__init__()
        self.embed = TokenEmbedding(len(vocabulary), d_model, max_length=16, dropout=dropout)
        layer = nn.TransformerEncoderLayer(
            d_model, num_heads, 2 * d_model, dropout, batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(d_model)
        self.encoder = nn.TransformerEncoder(layer, num_layers, norm, enable_nested_tensor=False)
        self.output = nn.Linear(d_model, 1)

    def forward(self, ids):
        padding = ids == vocabulary.pad_id  # (B, T)
        x = self.encoder(self.embed(ids), src_key_padding_mask=padding)  # (B, T) → (B, T, d_model)
        x = x.masked_fill(padding.unsqueeze(-1), 0.0).sum(1)  # (B, T, d_model) → (B, d_model)
        mean = x / (~padding).sum(1, keepdim=True)
        return self.output(mean).squeeze(-1)  # (B, d_model) → (B,)


print(f"{sum(p.numel() for p in AnimalOrPlant().parameters()):,} parameters")
print(tuple(AnimalOrPlant().to(device)(test[0][:3]).shape))

# %% [markdown]
# Five seeds. `fit` is the series' training loop; it keeps the weights of the epoch that does best on the validation
# words. The recipe, too, was chosen on those.


# %% tags=["nbval-ignore-output"]
def animal_loss(model, ids, is_animal):
    return F.binary_cross_entropy_with_logits(model(ids), is_animal, reduction="sum"), len(ids)


models = []
for seed in tqdm(range(5), file=sys.stdout, ncols=80):
    seed_everything(seed)
    models.append(AnimalOrPlant().to(device))
    recipe = {"epochs": 20, "lr": 5e-3, "weight_decay": 0.1}
    fit(models[-1], train, validation, animal_loss, seed=seed, progress=False, **recipe)
with torch.no_grad():
    by_word = [scores_of(model(test[0]), test[1]) for model in models]
accuracies, losses = ([s[i].mean().item() for s in by_word] for i in (0, 1))
print("accuracy", analysis.seed_interval(accuracies))
print("loss    ", analysis.seed_interval(losses), "nats")

# %% [markdown]
# The intervals are over the five seeds; the dotted lines are the two reference points.

# %% tags=["nbval-ignore-output"]
_, axes = plt.subplots(1, 2, figsize=(13, 2.6))
names = "accuracy", "loss in nats"
for i, (ax, name, values) in enumerate(zip(axes, names, (accuracies, losses))):
    marks = {label: scores[i].mean().item() for label, scores in references.items()}
    interval = {"Transformer": analysis.seed_interval(values)}
    plots.interval_plot(interval, name, f"{name.capitalize()} on the test words", marks, ax)
plt.show()

# %% [markdown]
# See where the interval lies: between the two dotted lines, in both panels. The Transformer is better than always saying
# "animal", and *worse* than counting letter pieces.

# %% [markdown] slideshow={"slide_type": "slide"}
# **How sure is that?** Take the difference, Transformer minus pieces, and ask twice: would *other seeds* change the
# verdict? Would *other words*? For the seeds, one difference each. For the words, the mean over the seeds of each
# word's difference, resampled (the *bootstrap*: draw 211 words with replacement, again and again).

# %% tags=["nbval-ignore-output"]
difference = {}
for i, name in enumerate(("accuracy", "loss")):
    per_word = torch.stack([scores[i] for scores in by_word])  # (5, N)
    per_word = per_word - references["letter pieces"][i]
    over_seeds = analysis.seed_interval(per_word.mean(1).tolist())
    over_words = analysis.bootstrap_interval(per_word.mean(0).cpu().numpy())
    difference[name] = over_seeds, over_words
    print(f"{name:9} over seeds {over_seeds}   over words {over_words}")

# %% [markdown]
# The verdict, as assertions. "Lower loss" and "higher accuracy" are better.

# %%
assert all(difference["loss"][i].low > 0.01 for i in (0, 1))
assert difference["accuracy"][0].mean < -0.01
right, loss = references["always 'animal'"]
assert sum(accuracies) / 5 > right.mean() + 0.01 and max(losses) < loss.mean() - 0.03
print("every seed has a lower loss than always saying 'animal'")
print("the loss is higher than that of letter pieces, over other seeds and over other words")

# %% [markdown]
# The loss decides it. For the accuracy the interval over words comes close to zero: 211 words are few.
#
# Why does the simple model win? A likely reason, not tested here: it is *given* the pieces. The Transformer would have
# to discover that neighbouring letters belong together, from 737 words. What follows asks what its heads have
# discovered. Keep in mind that they are the heads of a mediocre model.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Look first
#
# The weights of all eight heads of the first model for a word that it was not trained on.

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    word = vocabulary.encode_batch(["flycatcher"], device)
    logit, attention = collect.collect_attention(models[0], word)
letters = vocabulary.tokens(word[0])
title = "'flycatcher' in eight heads"
plots.head_grid(list(attention.values()), letters, title=title, size=2.6)
plt.show()

# %% [markdown]
# Rows are queries, columns are keys. You see vertical stripes more than diagonals: what gets weight seems to depend on
# the key, less on who asks. Measure that impression. Two rows of weights $a$ and $b$ differ by $\frac12 \sum_j |a_j -
# b_j|$, the share of the weight that would have to move. For each word and head, take the mean row of all queries. How
# far is it from an even row? That is the keys' part, the stripes. How far are the single rows from it? That is the
# queries' part.


# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def collected(model, ids):
    attention = collect.collect_attention(model, ids).attention
    return torch.cat(list(attention.values()), dim=1)  # L times (B, H, T, T) → (B, L · H, T, T)


def stripes_and_rest(weights, real):
    """The keys' part and the queries' part, averaged over words, heads and queries."""
    rows = real[:, None, :, None].float()  # (B, 1, T, 1)
    mean_row = (weights * rows).sum(2, keepdim=True) / rows.sum(2, keepdim=True)  # (B, H, 1, T)
    even = (real / real.sum(1, keepdim=True))[:, None, None, :]  # (B, 1, 1, T)
    stripes = (mean_row - even).abs().sum(-1) / 2  # (B, H, 1)
    rest = (weights - mean_row).abs().sum(-1) / 2  # (B, H, T)
    counted = rows.squeeze(-1).expand(rest.shape)
    return stripes.mean().item(), ((rest * counted).sum() / counted.sum()).item()


real = test[0] != vocabulary.pad_id  # (N, T)
all_weights = [collected(model, test[0]) for model in models]  # five (N, 8, T, T)
stripes, rest = zip(*(stripes_and_rest(weights, real) for weights in all_weights))
print("the keys' part:   ", analysis.seed_interval(stripes))
print("the queries' part:", analysis.seed_interval(rest))

# %% [markdown]
# Compare the two lines: is one part clearly larger?

# %%
assert 0.08 < min(stripes) and max(stripes) < 0.35 and 0.12 < min(rest) and max(rest) < 0.4
assert abs(analysis.seed_interval([s - r for s, r in zip(stripes, rest)]).mean) < 0.1
print("the two parts are about as large, and neither is large: most weight lies as in an even head")

# %% [markdown]
# So the impression was half right. The stripes are real, but the queries move as much weight as the keys do. And both
# parts together are small: a sharp head would have to move nearly all of its weight.

# %% [markdown] slideshow={"slide_type": "slide"}
# The same weights in BertViz. Left, the *head view*: queries on the left, keys on the right; point at a letter to see
# its lines alone, click on a colour to hide a head. Right, the *model view*: all heads of all layers; click on one to
# enlarge it. (GitHub shows no moving parts; the heat maps above show the same.)

# %% tags=["nbval-ignore-output"]
layers = list(attention.values())
view = {"attention": layers, "tokens": letters}
whole = view | {"whole_model": True, "display_mode": "light"}
bertviz_views.head_views({"Head view": view, "Model view": whole}, height=410)

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Then measure
#
# **Is there a "previous letter" head, a "first letter" head, a "word ending" head?** Define each kind by the keys that
# it would look at. Take the mean weight on those keys, over all queries of all test words (those that have such a key).
# Compare it with a head that spreads its weight evenly over the real tokens of the word, and with a perfect one:
#
# $$\text{score} = \frac{\text{weight on the keys} - \text{weight of an even head}}{1 - \text{weight of an even head}}$$
#
# So 0 means "no more than an even head", and 1 "looks at nothing else".


# %%
def targets(real):
    """For each kind, the keys that it looks at: boolean, broadcasts to (B, T, T)."""
    T = real.size(1)
    key = torch.arange(T, device=real.device)
    query = key.unsqueeze(1)  # (T, 1)
    length = real.sum(1).view(-1, 1, 1)  # (B, 1, 1), <BOS> and <EOS> counted
    return {
        "own letter": (key == query).unsqueeze(0),
        "letter before": (key == query - 1).unsqueeze(0),
        "first letter": (key == 1).view(1, 1, T),
        "<BOS>": (key == 0).view(1, 1, T),
        "word ending": (key >= length - 3) & (key < length),  # the last two letters and <EOS>
    }


for name, target in targets(torch.ones(1, 6, dtype=torch.bool)).items():
    print(f"{name:14} seen from position 3 of 6:", target.expand(1, 6, 6)[0, 3].int().tolist())

# %% [markdown]
# First try the measure where you know the answer: on heads made to be perfect, and on even ones.


# %%
def kinds(weights, real):
    """The score of each head for each kind: name → (H,)."""
    even = (real / real.sum(1, keepdim=True))[:, None, None, :]  # (B, 1, 1, T)
    result = {}
    for name, target in targets(real).items():
        target = (target & real.unsqueeze(1)).unsqueeze(1)  # (B, 1, T, T)
        counted = target.any(-1) & real[:, None, :]  # (B, 1, T): real queries that have such a key
        shares = [
            ((w * target).sum(-1) * counted).sum((0, 2)) / counted.sum() for w in (weights, even)
        ]
        result[name] = (shares[0] - shares[1]) / (1 - shares[1])  # (H,)
    return result


real = test[0] != vocabulary.pad_id  # (N, T)
evenly = (real / real.sum(1, keepdim=True))[:, None, None, :].expand(-1, 1, real.size(1), -1)
for name, target in targets(real).items():
    perfect = (target & real.unsqueeze(1)).float()
    perfect = (perfect / perfect.sum(-1, keepdim=True).clamp(min=1)).unsqueeze(1)  # (N, 1, T, T)
    of_perfect, of_even = kinds(perfect, real)[name].item(), kinds(evenly, real)[name].item()
    print(f"{name:14} perfect head {of_perfect:.2f}, even head {abs(of_even):.2f}")
    assert abs(of_perfect - 1) < 1e-3 and abs(of_even) < 1e-3

# %% [markdown]
# Now the eight heads of the first model.

# %% tags=["nbval-ignore-output"]
table = [kinds(weights, real) for weights in all_weights]  # five dictionaries
HEAD_NAMES = [f"layer {layer}, head {head}" for layer in (1, 2) for head in (1, 2, 3, 4)]
first = torch.stack(list(table[0].values()), dim=1).cpu()  # (8, kinds)
for name, row in zip(HEAD_NAMES, first.tolist()):
    print(f"{name}  ", *(f"{kind} {value:5.2f}  " for kind, value in zip(table[0], row)))

# %% [markdown]
# This is one model. Head 1 of another seed is another head: heads have no names across seeds. So ask of each model for
# its *most devoted* head of each kind, and compare the five.

# %% tags=["nbval-ignore-output"]
devoted = {kind: [t[kind].max().item() for t in table] for kind in table[0]}
rows = {kind: analysis.seed_interval(values) for kind, values in devoted.items()}
title = "The most devoted head of each kind (5 seeds, 95% interval)"
marks = {"even": 0.0, "perfect": 1.0}
plots.interval_plot(rows, "score (0 = even head, 1 = perfect head)", title, marks)
plt.show()
for kind, values in devoted.items():
    print(f"{kind:14}", [f"{value:.2f}" for value in values])

# %% [markdown]
# See how near the left edge all of them lie. There is no "letter before" head: not even the most devoted one of eight gives
# the letter before noticeably more than an even head does. The other kinds get a little, on average less than a
# seventh of the way to perfect, and that is the *largest of eight* each time, which flatters. Whoever looks at the pictures long enough finds
# specialists. The numbers do not.

# %%
assert max(devoted["letter before"]) < 0.08
assert all(max(values) < 0.4 and sum(values) / 5 < 1 / 7 for values in devoted.values())
assert sum(devoted["word ending"]) / 5 > 0.02
print("no head is near 0.5 of anything; letter before: none above 0.08")

# %% [markdown] slideshow={"slide_type": "slide"}
# **Is the measure blind, or does this task need no neighbours?** Give the same encoder another task: some letters are
# hidden (a `<BOS>` stands in their place), and it has to fill them in. For that, neighbours should matter. *Predict
# first:* what will the most devoted "letter before" head do?


# %% tags=["nbval-ignore-output"]
class FillIn(AnimalOrPlant):
    def __init__(self):
        super().__init__(dropout=0.1)
        self.output = nn.Linear(32, len(vocabulary))

    def forward(self, ids):
        padding = ids == vocabulary.pad_id
        x = self.encoder(self.embed(ids), src_key_padding_mask=padding)  # (B, T) → (B, T, d_model)
        return self.output(x)  # (B, T, d_model) → (B, T, V)


def fill_loss(model, ids):
    hidden = (ids > vocabulary.eos_id) & (torch.rand(ids.shape).to(ids.device) < 0.2)  # (B, T)
    logits = model(ids.masked_fill(hidden, vocabulary.bos_id))[hidden]  # (number hidden, V)
    return F.cross_entropy(logits, ids[hidden], reduction="sum"), int(hidden.sum())


fillers = []
for seed in tqdm(range(5), file=sys.stdout, ncols=80):
    seed_everything(seed)
    fillers.append(FillIn().to(device))
    recipe = {"epochs": 30, "lr": 1e-2, "weight_decay": 0.1}
    fit(fillers[-1], train[0], validation[0], fill_loss, seed=seed, progress=False, **recipe)
fill_table = [kinds(collected(model, test[0]), real) for model in fillers]
fill_devoted = {kind: [t[kind].max().item() for t in fill_table] for kind in table[0]}
for kind in devoted:
    classifier, filler = (analysis.seed_interval(d[kind]) for d in (devoted, fill_devoted))
    print(f"{kind:14} classifier {classifier}   fills in letters {filler}")

# %% [markdown]
# The measure is not blind. The same architecture on the same words looks more at the letter before when its task asks for
# it: still far from a perfect head, but several times as much as in the classifier. (The recipe differs too: less
# dropout, a higher learning rate, more epochs. So the task need not be the whole reason.) The difference of the two, with its
# interval over the five seeds:

# %% tags=["nbval-ignore-output"]
pairs_of_seeds = zip(fill_devoted["letter before"], devoted["letter before"])
more = analysis.seed_interval([filler - classifier for filler, classifier in pairs_of_seeds])
print("letter before, most devoted head, filling in minus classifying:", more)

# %% [markdown]
# The interval has to lie above zero.

# %%
assert more.low > 0.015 and sum(fill_devoted["letter before"]) > 2 * sum(devoted["letter before"])
print("heads trained to fill in letters look more at the letter before than the classifier's do")

# %% [markdown]
# **Remember: name a head after you have measured it against an even spread, on many words, on several seeds.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3.8 Which heads matter?
#
# **A head has a clear pattern. Does the model use it?** Switch it off and see what is lost. Section 3.3 showed that each
# head adds $\text{head}_i W_i^O$ to the output. Set its slice of the output projection to zero, and it adds nothing.


# %%
def switch_off(out_proj, head, num_heads):
    D = out_proj.in_features // num_heads
    out_proj.weight.data[:, head * D : (head + 1) * D] = 0.0  # in PyTorch's layout: columns


small = copy.deepcopy(theirs)  # the module of section 3.2
switch_off(small.out_proj, head=0, num_heads=2)
print("without head 1:", small(X, X, X)[0][0, 0].detach(), "\nhead 2 adds:   ", parts[1][0, 0])
torch.testing.assert_close(small(X, X, X)[0], parts[1], atol=1e-6, rtol=0)

# %% [markdown] slideshow={"slide_type": "slide"}
# **Try the method where you know the answer.** In section 3.5, two heads share two questions. Switch one off: exactly the
# question that it looks up must be lost. There are two rows for each seed that has solved the task.

# %% tags=["nbval-ignore-output"]
lost_as_predicted = []
for seed in solved:
    serves = weight_on_asked(look_ups[2, seed], seed=3000).argmax(1).tolist()  # by each head
    for head in (0, 1):
        without = copy.deepcopy(look_ups[2, seed])
        switch_off(without.attend.out_proj, head, num_heads=2)
        right = two_right(without, seed + 2000).mean(0).tolist()
        lost_as_predicted.append((right[serves[head]], right[1 - serves[head]]))
for lost, kept in lost_as_predicted:
    print(f"the question that the head served: {lost:.2f} right; the other: {kept:.2f}")

# %% [markdown]
# One question in sixteen is what guessing gives. So the method finds what is there to be found:

# %%
for lost, kept in lost_as_predicted:
    assert lost < 0.25 and kept > 0.9
print("one head off at a time: each time its own question is lost and the other kept")

# %% [markdown] slideshow={"slide_type": "slide"}
# **Now the classifier,** eight heads in each of five models. First all of them at once: what is attention worth here?


# %% tags=["nbval-ignore-output"]
def without_heads(model, heads):
    """A copy of the classifier in which the heads (0 to 7, layer after layer) add nothing."""
    twin = copy.deepcopy(model)
    for head in heads:
        switch_off(twin.encoder.layers[head // 4].self_attn.out_proj, head % 4, num_heads=4)
    return twin


@torch.no_grad()
def scores_without(model, heads, data=test):
    return scores_of(without_heads(model, heads)(data[0]), data[1])


none = [scores_without(model, range(8)) for model in models]
gain = [(s[0] - n[0]).mean().item() for s, n in zip(by_word, none)]
gain_loss = [(n[1] - s[1]).mean().item() for s, n in zip(by_word, none)]
print("accuracy that all heads together are worth:", analysis.seed_interval(gain))
print("nats that all heads together are worth:    ", analysis.seed_interval(gain_loss))

# %% [markdown]
# The loss has to be clearly above zero; of the accuracy, the mean is compared with what there was to win.

# %%
assert analysis.seed_interval(gain_loss).low > 0.01
always_right = references["always 'animal'"][0].mean().item()
assert sum(gain) > 0.5 * sum(accuracy - always_right for accuracy in accuracies)
print("without any attention the models lose accuracy, and their loss grows, on average over seeds")

# %% [markdown]
# That is more than half of the accuracy that the Transformer had over always saying "animal". A caution: the models were never trained to do
# without. A model trained without attention might do better than these do when it is taken away.

# %% [markdown]
# **Predict first.** Together the heads are worth something. How many of the 40 single heads will show a change in accuracy
# that is clearly not zero?
#
# <details><summary>Answer</summary>
#
# Hardly any. All eight together are worth about 0.04; an eighth of that is far less than 211 words can show. Of 40
# intervals at 95 per cent, about two would exclude zero by luck even if every head's true effect were zero.
#
# </details>

# %% tags=["nbval-ignore-output"]
changes = []  # (seed, head, interval of the change in accuracy, of the change in loss)
for seed, model in enumerate(models):
    for head in range(8):
        scores = zip(scores_without(model, [head]), by_word[seed])  # accuracy, then loss
        both_changes = [analysis.bootstrap_interval((b - a).cpu().numpy()) for b, a in scores]
        changes.append((seed, head, *both_changes))
for seed, head, accuracy, loss in changes[:8]:
    print(f"seed {seed}, {HEAD_NAMES[head]}: accuracy {accuracy}, loss {loss}")
clear = sum(accuracy.excludes(0) for _, _, accuracy, _ in changes)
clear_loss = sum(loss.excludes(0) for _, _, _, loss in changes)
print(f"intervals that exclude 0: {clear} of 40 for accuracy, {clear_loss} of 40 for loss")

# %% [markdown]
# These intervals are over the *words*: would other test words show the change too? Count how many intervals exclude zero, and compare with the two that
# luck allows.

# %%
biggest = max(abs(accuracy.mean) for _, _, accuracy, _ in changes)
assert clear <= 8 and biggest < 0.08
print("of 40 heads, few or none make a difference alone that 211 words can show")

# %% [markdown] slideshow={"slide_type": "slide"}
# **A pruning curve.** Remove one head after the other and watch the loss. The order: first those whose absence hurts
# least *on the validation words*; the curve is drawn on the test words, because whoever chooses and judges on the same
# words fools himself. For comparison: random order, and the reverse order, the most useful first.


# %% tags=["nbval-ignore-output"]
def curve(model, order):
    return [scores_without(model, order[:n])[1].mean().item() for n in range(9)]


damage = [[scores_without(m, [h], validation)[1].mean().item() for h in range(8)] for m in models]
orders = {"least useful first": [], "random order": [], "most useful first": []}
for seed, (model, numbers) in enumerate(zip(models, damage)):
    order = sorted(range(8), key=numbers.__getitem__)
    seed_everything(seed)
    shuffled = [curve(model, torch.randperm(8).tolist()) for _ in range(4)]
    orders["least useful first"].append(curve(model, order))
    orders["most useful first"].append(curve(model, order[::-1]))
    orders["random order"].append([sum(values) / 4 for values in zip(*shuffled)])
bands = {name: [analysis.seed_interval(v) for v in zip(*runs)] for name, runs in orders.items()}
plots.interval_curves(
    range(9), bands, "heads removed", "test loss in nats", "What is lost when heads are removed"
)
plt.show()

# %% [markdown]
# The three curves lie on one another. Remove four of the eight heads, and on average about half of what attention gives
# is gone, or less, whichever four they are. An order found on 105 validation words is no better than a random one. It
# is not the pruning curve of the papers (Voita et al. 2019, section 6; Michel et al. 2019, section 4), where many heads
# of a large, well trained model go at hardly any cost.

# %%
half = [orders[name][seed][4] - orders[name][seed][0] for name in orders for seed in range(5)]
whole_loss = sum(run[8] - run[0] for run in orders["random order"]) / 5
assert sum(half) / 15 < 0.55 * whole_loss
gap = [a[4] - b[4] for a, b in zip(orders["least useful first"], orders["most useful first"])]
assert abs(sum(gap) / 5) < 0.012
print(
    "four of eight heads: about half of the whole loss or less; the order makes no clear difference"
)

# %% [markdown] slideshow={"slide_type": "slide"}
# **Does a head's score predict what its absence costs?** For each model take its eight heads and correlate: the score of
# section 3.7 with the change in test loss. The rank correlation (Spearman's) is 1 if both order the heads alike, 0 if
# they have nothing to do with each other. Five models, five correlations, one interval. "Sharpness" is one minus the
# entropy of a head's weights as a share of the largest possible.


# %% tags=["nbval-ignore-output"]
def ranks(values):
    return torch.as_tensor(values).cpu().double().argsort().argsort().double()


def rank_correlation(a, b):
    return torch.corrcoef(torch.stack([ranks(a), ranks(b)]))[0, 1].item()


for t, weights in zip(table, all_weights):
    share = analysis.attention_entropy(weights, real[:, None, None, :])  # (N, 8, T), 1 = even
    t["sharpness"] = 1 - (share * real[:, None, :]).sum((0, 2)) / real.sum()
test_damage = [[c[3].mean for c in changes if c[0] == seed] for seed in range(5)]  # (5, 8)
correlations = {
    kind: analysis.seed_interval([rank_correlation(t[kind], d) for t, d in zip(table, test_damage)])
    for kind in table[0]
}
title = "Does the score predict the damage? (5 seeds, 95% interval)"
plots.interval_plot(correlations, "rank correlation over eight heads", title, {"nothing": 0.0})
plt.show()

# %% [markdown]
# See how wide the intervals are, and that all six, or all but one, hold zero. With five models of eight heads, no score predicts the damage, and
# these data could not show a weak connection if there were one. "We found none" is not "there is none".

# %%
assert sum(interval.excludes(0) for interval in correlations.values()) <= 1  # of six at 95 per cent
assert all(abs(interval.mean) < 0.75 for interval in correlations.values())
print("no score predicts what a head's absence costs, as far as five models can tell")

# %% [markdown]
# **Remember: a pattern is not a purpose (compare Jain and Wallace 2019). Switch the head off, compare with an interval, and try the method first where
# you know the answer.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3.9 Bug clinic
#
# **Which bugs raise no error?** Below are seven wrong versions. Each runs, and each returns the right shape. Read the
# code, find the mistake, and only then open the answer. Behind each stands a small test. `exposes` runs it on both
# versions: it must fail on the wrong one and pass on the right one.


# %%
def exposes(test, wrong, right):
    assert not test(wrong), "the test does not notice the bug"
    assert test(right), "the test rejects the right version"
    print(f"the test {test.__name__!r} fails on the wrong version and passes on the right one")


patient = a_module_with_biases(16, 4, seed=5)  # d_model = 16, H = 4, D = 4
W_in, b_in = patient.in_proj_weight.detach(), patient.in_proj_bias.detach()
x = torch.randn(2, 6, 16)  # (B, T, d_model)
print("material for the clinic:", tuple(x.shape), tuple(W_in.shape))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 1
#
# Split into heads: from (B, T, d_model) to (B, H, T, D).


# %%
def bug_1(x, num_heads=4):
    B, T, d_model = x.shape
    return x.view(B, num_heads, T, d_model // num_heads)


print(tuple(bug_1(x).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# `view` does not move an axis, it only counts anew. Here the first head gets the first $T \cdot D$ numbers in memory: all
# the features of the first one or two tokens. Tokens mix into heads. First `view(B, T, num_heads, D)`, then
# `transpose(1, 2)`.
#
# </details>
#
# The test: write each token's number into all its features. After the split, row $t$ of every head must hold only $t$.


# %%
def right_1(x, num_heads=4):
    B, T, d_model = x.shape
    x = x.view(B, T, num_heads, d_model // num_heads)  # (B, T, d_model) → (B, T, H, D)
    return x.transpose(1, 2)  # (B, T, H, D) → (B, H, T, D)


def rows_stay_tokens(split):
    numbered = torch.arange(6.0).view(1, 6, 1).expand(2, 6, 16).contiguous()  # (B, T, d_model)
    return bool((split(numbered) == torch.arange(6.0).view(1, 1, 6, 1)).all())


print(bug_1(torch.arange(6.0).view(1, 6, 1).expand(1, 6, 16).contiguous())[0, 0, :, 0], "in head 1")
exposes(rows_stay_tokens, bug_1, right_1)


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 2
#
# The packed projection, taken apart. What is wrong with the names?


# %%
def bug_2(x, W, b, num_heads=4):
    k, q, v = F.linear(x, W, b).chunk(3, dim=-1)  # (B, T, 3 · d_model) → three (B, T, d_model)
    q, k, v = (right_1(part, num_heads) for part in (q, k, v))
    return scaled_dot_product_attention(q, k, v)


print([tuple(result.shape) for result in bug_2(x, W_in, b_in)])


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The order in the packed matrix is queries, keys, values. Here queries and keys are exchanged, so the scores are
# transposed: every token looks at whoever looks for *it*. A model trained like this learns just as well; a model whose
# weights are *copied* in goes wrong.
#
# </details>
#
# The test is corner 1 of section 3.4: a key bias has no effect on the weights. Change the middle third of the bias.


# %%
def right_2(x, W, b, num_heads=4):
    q, k, v = (right_1(part, num_heads) for part in F.linear(x, W, b).chunk(3, dim=-1))
    return scaled_dot_product_attention(q, k, v)


def the_key_bias_does_nothing(attend):
    b = b_in.clone()
    b[16:32] += 1.0
    return torch.allclose(attend(x, W_in, b)[1], attend(x, W_in, b_in)[1], atol=1e-5)


exposes(the_key_bias_does_nothing, bug_2, right_2)


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 3
#
# The scores. The formula says: divide by the square root of the width.


# %%
def bug_3(q, k):  # (B, H, T, D)
    d_model = q.size(1) * q.size(3)
    return q @ k.transpose(-2, -1) / math.sqrt(d_model)  # (B, H, T, T)


q, k, v = (right_1(part) for part in F.linear(x, W_in, b_in).chunk(3, dim=-1))  # three (B, H, T, D)
print(tuple(bug_3(q, k).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The width of *a head's* vectors counts, `head_dim`, and not `d_model`. With one head there is no difference, so a test
# with one head does not see it. With $h$ heads the scores are $\sqrt h$ times too small, and the softmax is too flat.
#
# </details>
#
# The test: for random queries and keys of variance 1, scores have variance 1, whatever the number of heads.


# %%
def right_3(q, k):
    return q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))


def scores_have_variance_one(score):
    torch.manual_seed(0)
    for h in (1, 4, 16):
        queries, keys = torch.randn(2, 8, h, 32, 16)
        if not 0.8 < score(queries, keys).var() < 1.25:
            return False
    return True


exposes(scores_have_variance_one, bug_3, right_3)


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 4
#
# This author took the weights that `nn.MultiheadAttention` returns, and applied them.


# %%
def bug_4(q, k, v):
    weights = scaled_dot_product_attention(q, k, v)[1]  # (B, H, T, T)
    weights = weights.mean(dim=1, keepdim=True)  # (B, 1, T, T), as average_attn_weights=True
    return weights @ v  # (B, 1, T, T) @ (B, H, T, D) → (B, H, T, D)


print(tuple(bug_4(q, k, v).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# Averaged *before* the values, all heads look at the same place. There is one softmax pattern left, as if there were one
# head (and a blurred one). The weights may be averaged for a picture, after they have been used.
#
# </details>
#
# The test: heads are separate. Change the query of head 1; only head 1's result may move.


# %%
def right_4(q, k, v):
    return scaled_dot_product_attention(q, k, v)[0]


def heads_do_not_touch(attend):
    changed = q.clone()
    changed[:, 0] += 2.0
    moved = (attend(changed, k, v) - attend(q, k, v)).abs().amax(dim=(0, 2, 3))  # (H,)
    return bool(moved[0] > 0.01 and moved[1:].max() < 1e-6)


exposes(heads_do_not_touch, bug_4, right_4)


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 5
#
# The way back: from (B, H, T, D) to (B, T, d_model).


# %%
def bug_5(heads):
    B, H, T, D = heads.shape
    return heads.reshape(B, T, H * D)


print(tuple(bug_5(right_4(q, k, v)).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The counterpart of bug 1: without `.transpose(1, 2)` the reshape cuts in memory order, and one row of the result holds
# several *tokens* of one head. (`view` would not have complained either: nothing had been transposed.)
#
# </details>
#
# The test: fill head $i$ with the number $i$. Each token must then read 0 0 0 0 1 1 1 1 2 2 2 2 3 3 3 3.


# %%
def right_5(heads):
    return heads.transpose(1, 2).flatten(2)  # (B, H, T, D) → (B, T, H, D) → (B, T, H · D)


def every_token_has_every_head(join):
    numbered = torch.arange(4.0).view(1, 4, 1, 1).expand(2, 4, 6, 4)  # (B, H, T, D)
    return bool((join(numbered) == torch.arange(4.0).repeat_interleave(4)).all())


exposes(every_token_has_every_head, bug_5, right_5)


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 6
#
# Weights for a picture, from a classifier that has just been trained.


# %%
def bug_6(module, x):
    return module(x, x, x, average_attn_weights=False)[1]  # (B, H, T, T)


trained = copy.deepcopy(patient).train()
trained.dropout = 0.3
print(tuple(bug_6(trained, x).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The module is still in training mode. Dropout has set part of the weights to 0 and enlarged the rest; the next call
# gives another picture. Call `eval()` first.
#
# </details>
#
# The test: weights are weights. Each row adds up to 1, and asking twice gives the same.


# %%
def right_6(module, x):
    was_training = module.training
    weights = module.eval()(x, x, x, average_attn_weights=False)[1]
    module.train(was_training)
    return weights


def rows_add_up_and_stay(extract):
    first, second = extract(trained, x), extract(trained, x)
    ones = torch.ones(2, 4, 6)
    return torch.equal(first, second) and torch.allclose(first.sum(-1), ones, atol=1e-5)


exposes(rows_add_up_and_stay, bug_6, right_6)


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 7
#
# Parameters copied from `nn.MultiheadAttention` into a loop over heads. Shapes fit. With a fresh module even the numbers
# agree.


# %%
def bug_7(module, x, num_heads=4):
    heads = []
    for i in range(num_heads):
        thirds = module.in_proj_weight.chunk(3)  # three (d_model, d_model)
        q, k, v = (x @ third.chunk(num_heads)[i].T for third in thirds)  # (B, T, D) each
        heads.append(scaled_dot_product_attention(q, k, v)[0])
    return F.linear(torch.cat(heads, dim=-1), module.out_proj.weight)


fresh = nn.MultiheadAttention(16, 4, batch_first=True).eval()
agrees = torch.allclose(bug_7(fresh, x), fresh(x, x, x)[0], atol=1e-6)
print(tuple(bug_7(fresh, x).shape), " equal to a fresh module:", agrees)


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The biases are forgotten, all of them. They start at zero, so a comparison with a fresh module proves nothing. After
# training it is wrong.
#
# </details>
#
# The test compares with biases that are not zero, as section 3.3 did.


# %%
def right_7(module, x, num_heads=4):
    heads = []
    for i in range(num_heads):
        thirds = zip(module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3))
        q, k, v = (F.linear(x, W.chunk(num_heads)[i], b.chunk(num_heads)[i]) for W, b in thirds)
        heads.append(scaled_dot_product_attention(q, k, v)[0])
    return F.linear(torch.cat(heads, dim=-1), module.out_proj.weight, module.out_proj.bias)


def agrees_with_random_biases(attend):
    return torch.allclose(attend(patient, x), patient(x, x, x)[0], atol=1e-5)


exposes(agrees_with_random_biases, bug_7, right_7)

# %% [markdown]
# **Remember: number the tokens, number the heads, change one thing and see what moves. Each takes three lines, and no
# shape check replaces it.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3.10 Exercises
#
# Write each function in its stub, run the cell, then run the check below it. A check prints ✓, or the smallest input on
# which your answer is wrong, and often what the mistake is. Any right answer counts, by whatever route. The solutions
# are in [a notebook of their own](solutions/03_multi_head_attention_solutions.ipynb).

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 1 · split into heads (warm-up, 5 minutes)
#
# Write `split_heads(x, num_heads)`: from (B, T, d_model) to (B, H, T, D).
#
# In: `[[[1, 2, 3, 4], [5, 6, 7, 8]]]`, 2 heads · out: `[[[[1, 2], [5, 6]], [[3, 4], [7, 8]]]]`.
#
# <details><summary>Hint</summary>
#
# Two steps, `view` (or `unflatten`) and `transpose`. The axis of the tokens is not touched by the first.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def split_heads(x, num_heads):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.multi_head_attention import check_split_heads

check_split_heads(split_heads)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 2 · join the heads (warm-up, 5 minutes)
#
# Write `join_heads(heads)`: from (B, H, T, D) to (B, T, H · D), so that it undoes exercise 1.
#
# In: `[[[[1, 2], [5, 6]], [[3, 4], [7, 8]]]]` · out: `[[[1, 2, 3, 4], [5, 6, 7, 8]]]`.
#
# <details><summary>Hint</summary>
#
# The same two steps, backwards. After a `transpose`, `view` raises an error; `reshape` and `flatten` copy if they must.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def join_heads(heads):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.multi_head_attention import check_join_heads

check_join_heads(join_heads)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 3 · from PyTorch's packed matrix to the paper's (core, 15 minutes)
#
# Write `unpack(in_proj_weight, num_heads)`. In: (3 · d_model, d_model), PyTorch's. Out: three tensors `W_Q, W_K, W_V` of
# shape (H, d_model, D), so that `x @ W_Q[i]` is the query of head $i$.
#
# In: the numbers 0 to 11 as a (6, 2) matrix, 2 heads · out: `W_Q = [[[0], [1]], [[2], [3]]]`, and so on.
#
# <details><summary>Hint</summary>
#
# `chunk(3)`, then cut the rows of each third into heads: (d_model, d_model) → (H, D, d_model). What is left is a
# transpose inside each head.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def unpack(in_proj_weight, num_heads):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.multi_head_attention import check_unpack

check_unpack(unpack)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 4 · and back (core, 10 minutes)
#
# Write `pack(W_Q, W_K, W_V)`: from three (H, d_model, D) to (3 · d_model, d_model).
#
# In: the three tensors that exercise 3 makes of the numbers 0 to 11 · out: the (6, 2) matrix with 0 to 11.
#
# <details><summary>Hint</summary>
#
# Transpose inside each head, merge heads and their rows, stack the three.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def pack(W_Q, W_K, W_V):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.multi_head_attention import check_pack

check_pack(pack)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 5 · multi-head attention by loop (core, 15 minutes)
#
# Write `by_loop(x, W_Q, W_K, W_V, W_O)` as the paper does, one head after the other, without biases. `x` is (B, T,
# d_model), the first three are (H, d_model, D), `W_O` is (H · D, d_model). Return (B, T, d_model). You may use
# `scaled_dot_product_attention`.
#
# In: `x = [[[0.], [0.6931]]]` and all four matrices 1 · out: `[[[0.3466], [0.4283]]]`: the first token's scores are both
# 0, so it takes the mean of 0 and 0.6931.
#
# <details><summary>Hint</summary>
#
# `for i in range(len(W_Q))`, collect the heads in a list, `torch.cat` along the last axis.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def by_loop(x, W_Q, W_K, W_V, W_O):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.multi_head_attention import check_by_loop

check_by_loop(by_loop)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6 · multi-head attention, fused (core, 20 minutes)
#
# Write `fused(x, in_proj_weight, in_proj_bias, out_proj_weight, out_proj_bias, num_heads, mask=None)` with PyTorch's
# layout. The mask is (T, T), `True` = may attend. Return the output (B, T, d_model) and the weights (B, H, T, T). No
# loop over heads, and no ready-made multi-head attention.
#
# Example: with the parameters of a module `m = nn.MultiheadAttention(4, 2, batch_first=True)` the results are those of
# `m(x, x, x, attn_mask=~mask, average_attn_weights=False)`.
#
# <details><summary>Hint</summary>
#
# `F.linear`, `chunk(3, dim=-1)`, exercise 1 three times, `scaled_dot_product_attention`, exercise 2, `F.linear`.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def fused(x, in_proj_weight, in_proj_bias, out_proj_weight, out_proj_bias, num_heads, mask=None):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.multi_head_attention import check_fused

check_fused(fused)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 7 · what one head adds (core, 10 minutes)
#
# Write `part_of_head(heads, out_proj_weight, head)`: what head number `head` adds to the output, (B, T, d_model).
# `heads` is (B, H, T, D), the results of all heads; `out_proj_weight` is (d_model, H · D), PyTorch's layout; no bias.
#
# In: `heads = [[[[1.]], [[10.]]]]` (two heads, one token), `out_proj_weight = [[1., 2.], [3., 4.]]`, head 1 (the
# second) · out: `[[[20., 40.]]]`.
#
# <details><summary>Hint</summary>
#
# Which *columns* of `out_proj_weight` read this head? The parts of all heads must add up to the whole output.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def part_of_head(heads, out_proj_weight, head):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.multi_head_attention import check_part_of_head

check_part_of_head(part_of_head)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 8 · grouped-query attention (stretch, 25 minutes)
#
# Large models let several query heads share one head of keys and values (Ainslie et al. 2023): fewer keys and values to
# keep while text is generated. Write `grouped_query_attention(query, key, value, mask=None)`. `query` is (B, H, T_q, D),
# `key` and `value` are (B, G, T_k, D), and G divides H. The first H / G query heads use group 0, the next H / G group 1,
# and so on. Return the output, (B, H, T_q, D). The mask broadcasts to (B, H, T_q, T_k), `True` = may attend.
#
# In: 4 query heads of zeros and the values 1 (group 0) and 2 (group 1), one key each · out: 1, 1, 2, 2.
#
# <details><summary>Hint</summary>
#
# Neighbouring query heads share a group: `repeat_interleave` and not `repeat`. Or give the groups an axis of their own:
# (B, G, H / G, T_q, D) against (B, G, 1, T_k, D).
#
# </details>


# %% slideshow={"slide_type": "skip"}
def grouped_query_attention(query, key, value, mask=None):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.multi_head_attention import check_grouped_query_attention

check_grouped_query_attention(grouped_query_attention)

# %% [markdown]
# ## The chapter in one line
#
# The headline of this chapter, measured in sections 3.5 and 3.7 on five seeds:

# %% tags=["headline", "nbval-ignore-output"]
print(
    f"two look-ups: one head {analysis.seed_interval(both[1])}, "
    f"two heads {analysis.seed_interval(both[2])}; "
    f"animal or plant: Transformer {analysis.seed_interval(accuracies)}, "
    f"letter pieces {references['letter pieces'][0].mean():.3f}"
)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What you now know
#
# 1. The paper's many small matrices and PyTorch's packed one are the same numbers; `view` and `transpose` lead from one to
#    the other, and your version, `helpers` and PyTorch agree to rounding.
# 2. Heads cost no parameters and no multiplications. Each buys one look-up: two questions need two heads.
# 3. Masks, biases, averaged weights, training mode and `batch_first` are where right implementations differ silently.
# 4. Attention weights have to be asked for before the model runs; `collect_attention` asks any module and leaves no trace.
# 5. What a head looks at and what it is good for are two questions. Both are measured: against an even spread, and by
#    switching it off.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Glossary
#
# | term | meaning |
# |---|---|
# | head | one attention with its own queries, keys and values, `head_dim` wide |
# | multi-head attention | several heads on the same tokens, their results joined and mixed |
# | `head_dim` | `d_model` divided by the number of heads |
# | packed projection | the matrices for queries, keys and values of all heads, stacked into one |
# | output projection | the matrix that mixes the joined heads; each head has a slice of it |
# | fused | done by one operation instead of several: one product for all heads; and in `F.scaled_dot_product_attention` the whole attention, which then never stores the weights |
# | fast path | PyTorch's fused code, used in `eval()` without gradients; that of the encoder layer calls no attention module |
# | forward hook, pre-hook | function that PyTorch calls after, or before, a module runs |
# | context manager | what stands behind `with`: prepares something, and puts it back however the block ends |
# | `key_padding_mask` | PyTorch's mask for padded keys, (B, T), `True` = blocked |
# | average of heads | mean of the heads' weights; a summary that no head computes |
# | logistic regression | sum of one learned number a feature, through a sigmoid |
# | ablation | switching a part off to see what it was good for |
# | pruning | removing parts, those needed least first |
# | rank correlation | agreement of two orders, from -1 to 1 |
# | grouped-query attention | several query heads share one head of keys and values |

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - Vaswani et al., *Attention Is All You Need* (2017): [arXiv:1706.03762](https://arxiv.org/abs/1706.03762). Multi-head
#   attention: section 3.2.2. The scale: section 3.2.1, equation 1. How many heads: section 6.2, table 3, rows (A).
# - PyTorch documentation:
#   [MultiheadAttention](https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html) (masks,
#   `average_attn_weights`, when the fast path is taken),
#   [scaled_dot_product_attention](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html)
#   (masks with the opposite meaning, `enable_gqa`),
#   [TransformerEncoderLayer](https://docs.pytorch.org/docs/stable/generated/torch.nn.TransformerEncoderLayer.html) (fast path).
# - Voita et al., *Analyzing Multi-Head Self-Attention: Specialized Heads Do the Heavy Lifting, the Rest Can Be Pruned*
#   (2019), sections 5 and 6: roles of heads, and pruning.
# - Michel, Levy and Neubig, *Are Sixteen Heads Really Better than One?* (2019), sections 3 and 4: switching heads off, and
#   pruning.
# - Jain and Wallace, *Attention is not Explanation* (2019), section 4.
# - Vig, *A Multiscale Visualization of Attention in the Transformer Model* (2019), sections 3.1 and 3.2: BertViz.
# - Ainslie et al., *GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints* (2023),
#   section 2.2.
#
# Next: [chapter 4](04_full_transformer.ipynb), the full Transformer from scratch.
