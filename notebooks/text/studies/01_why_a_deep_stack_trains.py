# %% [markdown] slideshow={"slide_type": "slide"}
# # Study 1: why a deep stack trains
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/studies/01_why_a_deep_stack_trains.ipynb)
#
# **Question.** Chapter 1 builds a block with three devices around its sublayers: a residual connection, a layer norm, and
# the scale $\sqrt{d_k}$. What do they do that lets a deep stack learn, and which of them could a better start replace?
#
# **Design.** Part 1: stacks of 24 feed-forward layers. Residual or not, layer norm or not, small or large initial
# weights: eight stacks, five seeds each, equal in size, data and steps, each with the better of two learning rates.
# Before training: the size of the numbers, the size of the gradients, and how much of the input is still found at the
# top. After training: the loss, beside two reference points. *Three controls*: large weights alone keep the gradient
# level (if that were enough, they would train); two stacks keep the input, and no gradient passes below their top layer
# (if the gradient did not matter, they would do as well as with it); and a plain stack starts as the identity (if a
# residual were needed, it would not train). Part 2: the look-up of chapter 1 with and without the scale. *Control*: the
# same two starts made by the initial weights.
#
# **Answer.** First of all the input must reach the top. Every uncut stack but "small, plain" has a level gradient; the four
# whose input is lost learn next to nothing, or worse, and the other four train. The gradient then mends what the start has spoilt:
# without it a residual stack, in which 0.7 of the input arrives, ends at about twice the loss; an identity stack, in which all
# arrives, loses nothing. The residual gives input and gradient as long as the weights are small; layer norm makes it bear
# large ones; an identity start gives both without either. The scale, too, works through the start.

# %% [markdown]
# | | |
# |---|---|
# | **Time** | about 85 seconds to run on two CPU cores; 25 minutes to read |
# | **You need** | chapter 1 |

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

# %% tags=["nbval-ignore-output"]
import math

import matplotlib.pyplot as plt
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from helpers.plots import interval_plot, show, use_style
from helpers.training import fit, seed_everything

use_style()
torch.set_num_threads(1)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. Three starts
#
# A layer is the feed-forward network of chapter 1: widen from 32 to 64 numbers, ReLU, narrow again. `draw` makes the
# initial weights and biases of all 24 layers, in one of three ways.
#
# - **small**: what `nn.Linear` does by itself, uniform numbers up to $\pm 1/\sqrt{n}$ for $n$ inputs.
# - **large**: normal numbers whose size is chosen so that a ReLU layer keeps the size of what passes through it (He et
#   al. 2015, section 2.2).
# - **identity**: the first matrix makes $(x, -x)$, the ReLU keeps the positive parts, and the second subtracts them:
#   $\max(0, x) - \max(0, -x) = x$. Nothing random is left.

# %%
DEPTH, WIDTH, HIDDEN, SEEDS = 24, 32, 64, range(5)


def draw(weights, seed):
    """Return W_1 (24, 32, 64), b_1 (24, 1, 64), W_2 (24, 64, 32) and b_2 (24, 1, 32)."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (DEPTH, WIDTH, HIDDEN), (DEPTH, 1, HIDDEN), (DEPTH, HIDDEN, WIDTH), (DEPTH, 1, WIDTH)
    if weights == "small":
        sizes = WIDTH**-0.5, WIDTH**-0.5, HIDDEN**-0.5, HIDDEN**-0.5
        return [(2 * torch.rand(shape, generator=generator) - 1) * n for shape, n in zip(shapes, sizes)]
    sizes = (2 / WIDTH) ** 0.5, 0.0, HIDDEN**-0.5, 0.0  # 2: the ReLU lets half of it through
    W_1, b_1, W_2, b_2 = (torch.randn(shape, generator=generator) * n for shape, n in zip(shapes, sizes))
    if weights == "identity":
        W_1 = torch.cat([torch.eye(WIDTH), -torch.eye(WIDTH)], dim=1).repeat(DEPTH, 1, 1)
        W_2 = W_1.transpose(1, 2).clone()
    return W_1, b_1, W_2, b_2


W_1, _, W_2, _ = draw("identity", seed=0)
x = torch.randn(5, WIDTH)
assert torch.equal(F.relu(x @ W_1[0]) @ W_2[0], x)

# %% [markdown]
# The five seeds run side by side: the second axis of every weight is the seed, $S$. A stack returns what stands after
# every layer, the input first.

# %%
class Stacks(nn.Module):
    def __init__(self, weights, residual, normalised, cut=False, seeds=SEEDS):
        super().__init__()
        drawn = zip(*(draw(weights, seed) for seed in seeds))
        self.weights = nn.ParameterList(torch.stack(each, dim=1) for each in drawn)  # (24, S, ...)
        self.residual, self.normalised, self.cut = residual, normalised, cut

    def forward(self, x):
        states = [x]
        for W_1, b_1, W_2, b_2 in zip(*self.weights):
            if self.cut and len(states) == DEPTH:  # before the top layer: no gradient goes further down
                x = x.detach()
            y = F.layer_norm(x, (WIDTH,)) if self.normalised else x  # (S, N, 32)
            y = F.relu(y @ W_1 + b_1) @ W_2 + b_2  # (S, N, 32) → (S, N, 64) → (S, N, 32)
            x = x + y if self.residual else y
            states.append(x)
        return states


# %% [markdown]
# Eleven stacks: the eight of the design, one that starts as the identity, and two that are *cut*. These are the
# same as "identity, plain" and "small, residual" on the way up, but no gradient passes below their top layer, so the 23
# layers under it stay as they were drawn.

# %%
kinds = {"identity, plain": ("identity", False, False)}
kinds["identity, cut"] = ("identity", False, False, True)
kinds["residual, cut"] = ("small", True, False, True)
for weights in ("small", "large"):
    kinds[f"{weights}, plain"] = (weights, False, False)
    kinds[f"{weights}, norm"] = (weights, False, True)
    kinds[f"{weights}, residual"] = (weights, True, False)
    kinds[f"{weights}, both"] = (weights, True, True)


def numbers(*shape, stream, seeds=SEEDS):
    """Return normal random numbers, (S, *shape): each seed and each stream has its own."""
    generators = [torch.Generator().manual_seed(1000 * stream + seed) for seed in seeds]
    return torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2. Before the first step
#
# Three measures, none of which needs any training.
#
# - **Size of the numbers** after each layer: their standard deviation, the root of the variance.
# - **Size of the gradient** that reaches the first matrix of each layer. The loss weighs the outputs at random.
# - **How much of the input is found** after each layer: the share of the input's variance that the best linear map from
#   this layer back to the input explains (least squares, on 1024 inputs). 1 means that nothing is lost. A layer of pure
#   noise would get 33 / 1024 = 0.03, for its 32 numbers and a constant.

# %%
def found(state, x):
    state = (state / state.std(dim=(1, 2), keepdim=True)).cpu().double()
    state = torch.cat([state, torch.ones_like(state[..., :1])], dim=-1)  # (S, N, 32) → (S, N, 33)
    x = x.cpu().double()
    best = torch.linalg.lstsq(state, x, rcond=1e-6, driver="gelsd").solution  # (S, 33, 32)
    return 1 - (state @ best - x).square().mean(dim=(1, 2)) / x.var(dim=(1, 2))  # (S,)


def before_training(kind, seeds=SEEDS):
    stacks = Stacks(*kinds[kind], seeds=seeds).to(device)
    x, direction = (numbers(1024, WIDTH, stream=stream, seeds=seeds) for stream in (1, 2))
    states = stacks(x)
    (states[-1] * direction).mean(dim=(1, 2)).sum().backward()
    return {
        "size": torch.stack([state.detach().std(dim=(1, 2)) for state in states]).cpu(),  # (25, S)
        "gradient": stacks.weights[0].grad.flatten(2).norm(dim=-1).cpu(),  # (24, S, 32, 64) → (24, S)
        "found": torch.stack([found(state.detach(), x) for state in states]),  # (25, S)
    }


# %% tags=["nbval-ignore-output"]
start = {kind: before_training(kind) for kind in tqdm(kinds, file=sys.stdout, ncols=88)}
for cut, whole in (("identity, cut", "identity, plain"), ("residual, cut", "small, residual")):
    torch.testing.assert_close(start[cut]["found"], start[whole]["found"], atol=1e-4, rtol=0)
    assert (start[cut]["gradient"][:-1] == 0).all() and (start[cut]["gradient"][-1] > 0).all()

# %% [markdown]
# Draw a measure layer by layer: one line a seed, without the residual on the left and with it on the right. (The cut
# stacks are left out: but for the gradient theirs are the same.)

# %%
STYLES = {"identity, plain": "k:", "small, plain": "C0-", "large, plain": "C1-", "small, norm": "C2--"}
STYLES |= {"large, norm": "C3--", "small, residual": "C0-", "large, residual": "C1-"}
STYLES |= {"small, both": "C2--", "large, both": "C3--"}


def draw_by_layer(name, ylabel, log=True):
    fig, axes = plt.subplots(1, 2, figsize=(8.6, 4), sharey=True)
    for kind in STYLES:
        ax, lines = axes[int(kinds[kind][1])], start[kind][name]
        layers = range(25 - len(lines), 25)
        ax.plot(layers, lines[:, 1:], STYLES[kind], alpha=0.5)
        ax.plot(layers, lines[:, 0], STYLES[kind], label=kind)
    for ax, title in zip(axes, ("without a residual", "with a residual")):
        ax.set(title=title, xlabel="layer", yscale="log" if log else "linear")
        ax.legend(fontsize="small")
    axes[0].set_ylabel(ylabel)
    return axes


# %% [markdown] slideshow={"slide_type": "slide"}
# **The size of the numbers.**

# %%
draw_by_layer("size", "standard deviation")
show("Size by layer: below 10, but with a residual and large weights it grows from 1 to thousands.")

# %% [markdown]
# See the solid line that climbs on the right: a residual with large weights. Every layer adds about as much variance as
# there is already, so a layer multiplies the size by about $\sqrt 2$, and 24 layers by thousands. With layer norm in
# front of each sublayer it grows to 5 at most (each layer adds the same amount, whatever has come before). So the
# residual is not free of tuning: it is the norm that frees it.

# %%
top_size = {kind: measured["size"][-1] for kind, measured in start.items()}
growth = top_size["large, residual"] ** (1 / DEPTH)  # by which factor, layer by layer
assert top_size["large, residual"].min() > 1500 and 1.35 < growth.min() and growth.max() < 1.5
assert 4 < top_size["large, both"].min() and top_size["large, both"].max() < 6.5
assert all(size.max() < 3 for kind, size in top_size.items() if not kind.startswith("large, "))
assert all(start[kind]["size"].max() < 10 for kind in kinds if kind != "large, residual")

# %% [markdown] slideshow={"slide_type": "slide"}
# **The size of the gradients.**

# %%
draw_by_layer("gradient", "size of the gradient")
show("Gradient by layer: it falls by some thirteen orders of magnitude, for the small plain stack only.")

# %% [markdown]
# See the line that falls to the left: small weights, plain. Some thirteen orders of magnitude lie between the last layer
# and the first. This is the well-known *vanishing gradient*. In every other stack drawn here the first layer gets about a
# third to six times what the last one gets: large weights alone keep the gradient, layer norm alone does, and so does the
# residual.

# %% tags=["nbval-ignore-output"]
ratio = {kind: start[kind]["gradient"][0] / start[kind]["gradient"][-1] for kind in STYLES}
for kind, ratios in ratio.items():
    print(f"{kind:16} first layer / last layer:", *[f"{r:.2g}" for r in ratios])
assert 1e-15 < ratio["small, plain"].min() and ratio["small, plain"].max() < 1e-12
assert all(0.05 < r.min() and r.max() < 10 for kind, r in ratio.items() if kind != "small, plain")

# %% [markdown]
# If a level gradient were what counts, "large, plain" and both stacks with the norm alone would train. Remember that bet.

# %% [markdown] slideshow={"slide_type": "slide"}
# **What is found of the input.**

# %%
draw_by_layer("found", "share of the input found", log=False)
show("Left: only the identity keeps the input. Right: small weights keep most, large ones 0.4 or 0.1.")

# %% [markdown]
# See the left side. Random weights, small or large, with norm or without, hide two fifths of the input from a linear map in the
# first layer, and more than four fifths within ten. Only the identity keeps it. On the right a copy of the input travels along: under
# small weights 0.7 and more of it is found at the top. Large weights drown it. A layer norm, which keeps what each layer
# adds at one size, saves about 0.4.

# %% tags=["nbval-ignore-output"]
at_the_top = {kind: measured["found"][-1] for kind, measured in start.items()}
for kind, shares in at_the_top.items():
    print(f"{kind:16} found at the top:", *[f"{share:.2f}" for share in shares])
random = ["small, plain", "large, plain", "small, norm", "large, norm"]  # and no residual
for after, low, high in ((1, 0.5, 0.65), (10, 0.0, 0.2), (DEPTH, 0.0, 0.12)):
    assert all(low < share < high for kind in random for share in start[kind]["found"][after])
kept = {"identity, plain": 0.999, "small, residual": 0.68, "small, both": 0.78, "large, both": 0.33}
assert all(at_the_top[kind].min() > share for kind, share in kept.items())
assert at_the_top["large, residual"].max() < 0.2 and at_the_top["large, both"].max() < 0.55

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3. After training
#
# The task: imitate a small random network, two matrices with a ReLU between them. Every step brings 32 new examples.
# Above the stack stands one learned matrix, with a layer norm before it where the stack has layer norms. Two reference
# points: always say the mean, and the best linear map of the input, which needs no layer at all.

# %% tags=["nbval-ignore-output"]
def new_teacher(seeds=SEEDS):
    T_1 = numbers(WIDTH, HIDDEN, stream=3, seeds=seeds) * (2 / WIDTH) ** 0.5
    T_2 = numbers(HIDDEN, WIDTH, stream=4, seeds=seeds) * HIDDEN**-0.5
    return lambda x: F.relu(x @ T_1) @ T_2  # (S, N, 32) → (S, N, 32)


x = numbers(4096, WIDTH, stream=5)
y = new_teacher()(x)
y = y - y.mean(dim=1, keepdim=True)
linear = torch.linalg.lstsq(x, y).solution  # (S, 32, 32)
references = {"say the mean": y.square().mean(dim=(1, 2)).cpu()}
references["best linear map"] = (y - x @ linear).square().mean(dim=(1, 2)).cpu()
for name, losses in references.items():
    print(f"{name:15}", *[f"{loss:.2f}" for loss in losses])


# %% [markdown]
# Each stack gets 300 steps of Adam with two learning rates, and keeps the one that is better on 1024 validation examples.
# Printed are the losses on 1024 other examples. A loss that is not finite would be an error, not a result.

# %%
def train(kind, lr, seeds=SEEDS):
    stacks, teacher = Stacks(*kinds[kind], seeds=seeds).to(device), new_teacher(seeds)
    read_out = nn.Parameter(numbers(WIDTH, WIDTH, stream=6, seeds=seeds) * WIDTH**-0.5)
    optimizer = torch.optim.Adam([*stacks.parameters(), read_out], lr=lr)

    def losses(x):
        top = stacks(x)[-1]
        top = F.layer_norm(top, (WIDTH,)) if stacks.normalised else top
        return (top @ read_out - teacher(x)).square().mean(dim=(1, 2))  # (S,)

    for step in range(300):
        loss = losses(numbers(32, WIDTH, stream=100 + step, seeds=seeds)).sum()
        if not loss.isfinite():
            raise FloatingPointError(f"{kind}: the loss is not finite in step {step}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        validation, test = (losses(numbers(1024, WIDTH, stream=i, seeds=seeds)).cpu() for i in (8, 7))
    return validation.mean().item(), test


# %% [markdown]
# > **Predict first.** You know from the first cell which stacks train. Will any do *far worse* than "say the mean"? Will
# > any beat the best linear map on every seed? And how far do the two cut stacks get? Decide, then go on.

# %% tags=["nbval-ignore-output"]
trained = {}
for kind in tqdm(kinds, file=sys.stdout, ncols=88):
    trained[kind] = min((train(kind, lr) for lr in (0.001, 0.003)), key=lambda tried: tried[0])[1]
for kind, losses in trained.items():
    print(f"{kind:16} loss after training:", *[f"{loss:.3g}" for loss in losses])

# %% [markdown]
# The same against what was found of the input before the first step. One point is one seed.

# %%
_, ax = plt.subplots(figsize=(8.4, 4.6))
for (kind, losses), marker in zip(trained.items(), "*phovs^DPX<"):
    ax.semilogy(at_the_top[kind], losses, marker, linestyle="", label=kind, markersize=8)
for name, losses in references.items():
    ax.axhline(losses.mean(), color="0.35", linestyle=":")
    ax.annotate(name, (0.35, losses.mean()), ha="right", va="bottom", fontsize="small")
ax.set(xlabel="share of the input found at the top, before training", ylabel="loss after training")
ax.set(title="What reaches the top at the start can be learned", xlim=(-0.02, 1.04))
ax.legend(fontsize="small", ncols=2)
show(
    "Loss against the share found: where a third or more is found the loss is low; "
    "elsewhere it is not."
)

# %% [markdown]
# See the two groups. Where at least a third of the input reaches the top, the stack learns; with the gradient the loss
# comes near the best linear map's, and "small, residual" falls below it on every seed. Where the input is lost,
# the loss stays near "say the mean", or far above it, where the numbers have exploded. The bet on the gradient is lost:
# "large, plain" has a level one and learns next to nothing. And the residual is not the only way: the identity start has
# none, and trains too.
#
# What, then, is the gradient good for? "residual, cut" starts with as much of the input as "small, residual", and ends
# with about twice its loss: the 23 layers that cannot learn keep disturbing what passes. "identity, cut" has nothing to
# mend and does even better than with the gradient. For this task one layer that learns is enough, if all of the input
# reaches it.

# %%
mean, linear = references["say the mean"], references["best linear map"]
both = ["small, residual", "small, both", "large, both", "identity, plain"]
assert all((trained[kind] < 0.45 * mean).all() for kind in both)
assert (trained["small, residual"] < linear).all()
lost = [kind for kind in kinds if kind not in both and "cut" not in kind]
assert all((trained[kind] > 0.8 * mean).all() for kind in lost) and trained["large, residual"].min() > 50
assert all((trained[kind] < 1.1 * mean).all() for kind in lost if kind != "large, residual")
halfway = trained["residual, cut"]
assert ((0.45 * mean < halfway) & (halfway < 0.65 * mean)).all()
assert (halfway > 1.7 * trained["small, residual"]).all()
assert (trained["identity, cut"] < linear).all()
assert (trained["identity, cut"] < trained["identity, plain"]).all()

# %% [markdown]
# What this does not say: a loss near the best linear map needs no more than an input at the top and the matrix above
# it, so those that stay above it have not yet shown what their layers can learn. The task needs one layer; where depth is
# needed, the gradient may count for more. 300 steps are the beginning of training, and two learning rates are few. "Lost" means
# lost to a linear map: such a stack may learn after many more steps, or with a better start than the three tried here.
# Xiong et al. (2020) and He et al. (2016) tell what the norm and the residual do in full-size models.
#
# > **Remember.** Ask two questions before the first step: does the input reach the top, and does the gradient reach the
# > bottom? The second alone is not enough. With small weights the residual gives both, and the layer norm makes it bear
# > large ones.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4. Is the scale a start, too?
#
# Chapter 1 showed what happens without $\sqrt{d_k}$: random queries and keys give a softmax that is nearly one-hot, and
# the gradient goes to a few queries. But a model may *begin* with small queries. So compare four versions of the look-up:
# with and without the scale, each from both starts. $W_Q / \sqrt{d_k}$ *without* the scale begins with the same function
# as the usual model; $W_Q \cdot \sqrt{d_k}$ *with* the scale begins as sharp as a model without it.
#
# The model is chapter 1's, with a matrix of scores in full view. Its three projections start by the rule called "xavier"
# (Glorot and Bengio 2010, section 4.2), which keeps the variance of what passes through them.

# %%
PAIRS, IDS = 8, 16


class LookUp(nn.Module):
    def __init__(self, divide, times, d_model=32):
        super().__init__()
        self.key_embedding, self.value_embedding = nn.Embedding(IDS, d_model), nn.Embedding(IDS, d_model)
        self.question_embedding = nn.Embedding(IDS, d_model)
        self.query_proj, self.key_proj, self.value_proj = (nn.Linear(d_model, d_model) for _ in range(3))
        for projection in (self.query_proj, self.key_proj, self.value_proj):
            nn.init.xavier_uniform_(projection.weight)
        with torch.no_grad():
            self.query_proj.weight.mul_(times)
            self.query_proj.bias.mul_(times)
        self.output = nn.Sequential(nn.Linear(2 * d_model, 64), nn.ReLU(), nn.Linear(64, IDS))
        self.divide = divide

    def forward(self, pairs, question):
        x = self.key_embedding(pairs[..., 0]) + self.value_embedding(pairs[..., 1])  # (B, 8, d_model)
        asked = self.question_embedding(question)  # (B, d_model)
        q, k = self.query_proj(asked).unsqueeze(1), self.key_proj(x)  # (B, 1, d_model), (B, 8, d_model)
        weights = (q @ k.transpose(-2, -1) / self.divide).softmax(dim=-1)  # (B, 1, 8)
        found = (weights @ self.value_proj(x)).squeeze(1)  # (B, d_model)
        return self.output(torch.cat([found, asked], dim=-1)), weights.squeeze(1)  # (B, 16), (B, 8)


# %% [markdown]
# The examples are those of chapter 1, asked by content. What is recorded: the mean largest weight before training, where
# 1/8 is even and 1 is one-hot, and the validation loss after two of the eight epochs.

# %%
def make_examples(number, seed):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.rand(number, IDS, generator=generator).argsort(dim=1)[:, :PAIRS]  # no id twice
    values = torch.rand(number, IDS, generator=generator).argsort(dim=1)[:, :PAIRS]
    place, rows = torch.randint(PAIRS, (number,), generator=generator), torch.arange(number)
    pairs = torch.stack([keys, values], dim=2)  # (N, 8), (N, 8) → (N, 8, 2)
    return tuple(t.to(device) for t in (pairs, keys[rows, place], values[rows, place]))


def loss(model, pairs, question, answer):
    return F.cross_entropy(model(pairs, question)[0], answer, reduction="sum"), len(answer)


def at_the_start(divide, times, seed, d_model=32):
    seed_everything(seed)
    model, examples = LookUp(divide, times, d_model).to(device), make_examples(300, seed + 1000)
    with torch.no_grad():
        return model, examples, model(*examples[:2])[1].amax(dim=-1).mean().item()


def sharpness_and_loss(divide, times, seed):
    model, examples, sharpness = at_the_start(divide, times, seed)
    data = make_examples(2500, seed), examples
    history = fit(model, *data, loss, epochs=8, lr=0.01, seed=seed, progress=False)
    return sharpness, history.validation[1]


# %% tags=["nbval-ignore-output"]
root = math.sqrt(32)
versions = {
    "scale (usual)": (root, 1.0),
    "no scale, small start": (1.0, 1 / root),
    "no scale": (1.0, 1.0),
    "scale, large start": (root, root),
}
results = {}
for name, version in tqdm(versions.items(), file=sys.stdout, ncols=88):
    results[name] = torch.tensor([sharpness_and_loss(*version, seed) for seed in SEEDS])  # (S, 2)
for name, (sharpness, losses) in ((name, result.T) for name, result in results.items()):
    print(f"{name:22} largest weight {sharpness.mean():.2f}, loss:", *[f"{loss:.2f}" for loss in losses])

# %%
points = {name: result[:, 1] for name, result in results.items()}
title = "The start decides, with or without the scale"
interval_plot(points, "validation loss after two of eight epochs", title)
show("Two soft starts near loss 0, two sharp starts between 0.3 and 2, five points each.")

# %% [markdown]
# See the pairs: the upper two start soft, the lower two sharp, and the loss goes with the start and not with the scale.

# %%
soft, sharp = ("scale (usual)", "no scale, small start"), ("no scale", "scale, large start")
for i in soft:
    for j in sharp:
        assert (results[i][:, 1] < results[j][:, 1]).all()  # on every seed
        assert results[j][:, 1].mean() > 3 * results[i][:, 1].mean()
for one, other in (soft, sharp):  # the same start
    torch.testing.assert_close(results[one][:, 0], results[other][:, 0], atol=1e-4, rtol=0)

# %% [markdown]
# Why then divide by $\sqrt{d_k}$, if small initial weights do as well? Because "small" depends on the width. Here is the
# mean largest weight before training at three widths, with the same rule for the initial weights.

# %% tags=["nbval-ignore-output"]
at_widths = {}
for scaled in (True, False):
    for d_model in (16, 32, 256):
        divide = math.sqrt(d_model) if scaled else 1.0
        starts = [at_the_start(divide, 1.0, seed, d_model)[2] for seed in SEEDS]
        at_widths[scaled, d_model] = sum(starts) / len(starts)
        print(f"scaled {scaled!s:5}, width {d_model:3}: largest weight {at_widths[scaled, d_model]:.2f}")
assert abs(at_widths[True, 256] - at_widths[True, 16]) < 0.1
assert at_widths[False, 256] > at_widths[False, 16] + 0.1

# %% [markdown]
# > **Remember.** The scale works through the start: it makes the first softmax about equally soft at every width.

# %% [markdown]
# ## The study in one line

# %% tags=["headline", "nbval-ignore-output"]
level, identity = trained["large, plain"].mean(), trained["identity, plain"].mean()
print(f"24 plain layers: loss {level:.2f} with a level gradient,", end=" ")
print(f"{identity:.2f} with the input at the top")

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - Glorot and Bengio, *Understanding the Difficulty of Training Deep Feedforward Neural Networks* (2010), section 4.2:
#   the initial weights called "xavier".
# - He et al., *Delving Deep into Rectifiers* (2015), section 2.2: initial weights for ReLU layers.
# - He et al., *Deep Residual Learning for Image Recognition* (2016), section 3.1.
# - Xiong et al., *On Layer Normalization in the Transformer Architecture* (2020), section 3.
#
# Back to [chapter 1](../01_attention_basics.ipynb), or on to [chapter 2](../02_seq2seq_attention.ipynb).
