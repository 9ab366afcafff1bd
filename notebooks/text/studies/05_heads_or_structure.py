# %% [markdown] slideshow={"slide_type": "slide"}
# # Study 5: heads or structure?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/studies/05_heads_or_structure.ipynb)
#
# **Question.** Chapter 5 found that FullTransformer gives the letter before less weight than MiniFormer does. The two differ
# in the number of heads, in layers, in width and in having an encoder. Which of these does it: the heads, or the structure?
#
# **Design.** All eight combinations of 1 or 4 heads, 1 or 2 layers, and decoder-only or encoder-decoder (honest, with
# both masks), 13,689 to 16,845 parameters each: what has more parts is narrower. Same words, same recipe, five seeds.
# Every model trains for 40 epochs, the learning rate falling to 0, and keeps its best epoch. The losses then show
# whether "has the part" is mixed with "has learned less". *Reference points*: an even head, and each model before
# training. *Controls*: the losses that the models reach, and the single heads behind the means.
#
# **Answer.** Both, and neither alone. At nearly equal size and loss, more heads, a second layer and an encoder *each*
# take weight from the letter before, in every seed. With one layer and no encoder, not even the most devoted of four
# heads looks there as much as the only head does: the job is shared. A second layer and an encoder also make the heads
# flatter; more heads do not. So the impression "more heads, therefore spread out" names one of three causes, and
# for flatness the wrong one.

# %% [markdown]
# | | |
# |---|---|
# | **Time** | about 100 seconds to run on two CPU cores; 15 minutes to read |
# | **You need** | chapter 5 |

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
import matplotlib.pyplot as plt

from helpers import analysis, plots
from helpers.attention import causal_mask
from helpers.data import load_words, split_words
from helpers.plots import show
from helpers.text import Vocabulary
from helpers.training import evaluate, fit_all, next_token_loss, seed_everything, token_loss
from helpers.transformer import MiniFormer, Transformer, TransformerConfig

plots.use_style()
torch.set_num_threads(1)

split = split_words()
vocabulary = Vocabulary.from_words(load_words())
train, validation, test = (vocabulary.encode_batch(part, device) for part in split)
V, SEEDS = len(vocabulary), range(5)
past = causal_mask(test.size(1) - 1, device)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. Eight models of one size
#
# The number of heads does not change the number of parameters: each head gets a narrower slice. Layers and an encoder
# do, so those models get a smaller width. For them, what is measured is the part *in exchange for* width.

# %%
KINDS = ["decoder-only", "encoder-decoder"]
WIDTHS = {(KINDS[0], 1): 32, (KINDS[0], 2): 24, (KINDS[1], 1): 20, (KINDS[1], 2): 16}
models = [(heads, layers, kind) for kind in KINDS for layers in (1, 2) for heads in (1, 4)]


def honest_loss(model, tokens):
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    mask = causal_mask(inputs.size(1), inputs.device)
    return token_loss(model(inputs, inputs, mask, mask), targets, vocabulary.pad_id)


def build(heads, layers, kind):
    width = WIDTHS[kind, layers]
    if kind == "decoder-only":
        return MiniFormer(V, width, heads, layers, dropout=0.1).to(device), next_token_loss
    config = TransformerConfig(V, V, width, heads, 4 * width, layers, dropout=0.1)
    return Transformer(config).to(device), honest_loss


for kind, layers in WIDTHS:  # all eight, 13,689 to 16,845 parameters
    sizes = [sum(p.numel() for p in build(heads, layers, kind)[0].parameters()) for heads in (1, 4)]
    assert sizes[0] == sizes[1] and 13_689 <= sizes[0] <= 16_845
    print(f"{kind:15} {layers} layer(s), width {WIDTHS[kind, layers]}: {sizes[0]:,} parameters")

# %% [markdown]
# What is measured for each: the test loss, and for each head of the decoder's self-attention the weight on the **letter
# before** and the normalised **entropy** (0: one position only, 1: all alike), over the test words, as in chapter 5.

# %%
@torch.no_grad()
def measure(model, loss):
    """The test loss, and for each head its weight on the letter before and its entropy."""
    seen, counted = test[:, :-1], test[:, 1:] != vocabulary.pad_id
    counted[:, :2] = False  # they see too little to choose from
    if isinstance(model, MiniFormer):
        layers = model(seen, return_attention=True)[1]
    else:
        layers = model(seen, seen, past, past, return_attention=True)[1]["decoder"]
    weights = torch.cat(layers, dim=1)  # layers of (N, H, T, T) → (N, layers · H, T, T)
    before, entropy = analysis.attention_to_previous(weights), analysis.attention_entropy(weights, past)
    heads = [m.transpose(1, 2)[counted].mean(0).cpu() for m in (before, entropy)]  # (N, H, T) → (H,)
    return {"test loss": evaluate(model, test, loss), "letter before": heads[0], "entropy": heads[1]}


even = past / past.sum(-1, keepdim=True)
counted = test[:, 1:] != vocabulary.pad_id
counted[:, :2] = False
even_before = analysis.attention_to_previous(even).expand_as(counted)[counted].mean().item()
print(f"an even head gives the letter before {even_before:.4f}, at entropy 1")

# %% [markdown]
# Forty trainings, two at a time, which draw their dropout from one stream: a mean loss differs by up to 0.02 from run to run.
# Measure each model before and after.

# %% tags=["nbval-ignore-output"]
RECIPE = {"epochs": 40, "lr": 1e-2, "weight_decay": 1.0, "train": train, "validation": validation}
jobs, untrained = [], {}
for model in models:
    for seed in SEEDS:
        seed_everything(seed)
        network, loss = build(*model)
        untrained[model, seed] = measure(network.eval(), loss)
        jobs.append({"model": network, "loss": loss, "seed": seed} | RECIPE)
fit_all(jobs, "forty models")
runs = [(model, seed) for model in models for seed in SEEDS]
trained = {run: measure(job["model"], job["loss"]) for run, job in zip(runs, jobs)}

# %% [markdown]
# For each model three intervals over its five seeds: test loss, weight on the letter before, entropy.

# %% tags=["nbval-ignore-output"]
def of_seeds(model, name, results=trained, choose=torch.mean):
    """One number a seed: a model's loss, or the mean (or another choice) over its heads."""
    return [float(choose(torch.as_tensor(results[model, seed][name]))) for seed in SEEDS]


for model in models:
    names = ("test loss", "letter before", "entropy")
    row = [analysis.seed_interval(of_seeds(model, name)) for name in names]
    print("{} head(s), {} layer(s), {:15}".format(*model), *row, sep="   ")

# %% [markdown]
# ## 2. Have all learned the same?
#
# A model that has learned nothing has no preference for the letter before. So a lower weight could simply mean "has
# learned less", and the losses must be looked at first.

# %% tags=["nbval-ignore-output"]
labels = {model: f"{model[0]} h, {model[1]} l, {model[2]}" for model in models}  # heads, layers, kind
losses = {labels[model]: of_seeds(model, "test loss") for model in models}
plots.interval_plot(losses, "test loss, nats per letter", "Eight models, one point a seed")
show("Test losses of eight models with five points each.")
means = [sum(values) / 5 for values in losses.values()]
print(f"the eight means lie within {max(means) - min(means):.3f} nats")
assert max(means) - min(means) < 0.08 and max(means) < 2.349  # the trigram's

# %% [markdown]
# Their means lie within 0.08 nats of each other, all below the trigram's 2.349.
#
# The **effect** of a part is the mean of the four models that have it minus the mean of the four that do not, seed by
# seed: five numbers. First on the loss.

# %% tags=["nbval-ignore-output"]
PARTS = {"4 heads, not 1": (0, 4), "2 layers, not 1": (1, 2), "an encoder": (2, KINDS[1])}


def effects(name):
    """For each part the five differences between the models that have it and those that do not."""
    result = {}
    for part, (place, level) in PARTS.items():
        with_it = [model for model in models if model[place] == level]
        without = [model for model in models if model[place] != level]
        has, lacks = (torch.tensor([of_seeds(m, name) for m in group]) for group in (with_it, without))
        result[part] = (has.mean(0) - lacks.mean(0)).tolist()  # (4, 5) → (5,)
    return result


on_loss = effects("test loss")
print({part: str(analysis.seed_interval(values)) for part, values in on_loss.items()})
assert sum(on_loss["an encoder"]) > 0 and abs(sum(on_loss["4 heads, not 1"])) / 5 < 0.01

# %% [markdown]
# With an encoder, the models, which are narrower, do a little worse in the mean. The number of heads changes the loss
# by less than 0.01. So "has learned less" does not explain what the heads do; for an encoder, a little of it remains.
#
# ## 3. What each part does to the letter before
#
# The same effects on the two measures of attention, drawn as points.

# %% tags=["nbval-ignore-output"]
before, entropy = effects("letter before"), effects("entropy")
_, axes = plt.subplots(2, 1, figsize=(7.5, 5))
for ax, name, found in zip(axes, ("letter before", "entropy"), (before, entropy)):
    plots.interval_plot(found, f"change in {name}", f"What changes the {name}?", {"nothing": 0.0}, ax)
    print(name, {part: str(analysis.seed_interval(values)) for part, values in found.items()})
show("Effects of heads, layers and an encoder, five points each, on two measures.")
assert all(value < 0 for values in before.values() for value in values)
of_heads, of_layers, of_encoder = (sum(values) / 5 for values in entropy.values())
assert min(of_layers, of_encoder) > 0.03 and abs(of_heads) < min(of_layers, of_encoder)

# %% [markdown]
# All fifteen points of the upper panel lie left of zero: more heads, a second layer and an encoder *each* take weight
# from the letter before. In the lower panel a second layer and an encoder make the heads flatter, by more than 0.03 in
# the mean. More heads change the entropy least; with other seeds their points lie on both sides of zero.
#
# ## 4. Is it the mean, or each head?
#
# With four heads, the weight on the letter before is a mean over heads. Perhaps one of the four does what the only head of
# the other model does, and three do something else? Look at the most devoted head of each.

# %% tags=["nbval-ignore-output"]
devoted = {labels[m]: of_seeds(m, "letter before", choose=torch.max) for m in models}
lines, title = {"even": even_before}, "The head of each model that looks there most"
plots.interval_plot(devoted, "letter before", title, lines)
show("The most devoted head of eight models; the only head of the one-layer decoder is highest.")
sharing = {}
for layers, kind in ((layers, kind) for kind in KINDS for layers in (1, 2)):
    one, four = (devoted[labels[heads, layers, kind]] for heads in (1, 4))
    sharing[kind, layers] = sum(one) / 5 - sum(four) / 5
    difference = f"best of one head minus best of four: {sharing[kind, layers]:+.3f}"
    print(f"{kind:15} {layers} layer(s): {difference}")
assert sharing.pop((KINDS[0], 1)) > 0 and max(map(abs, sharing.values())) < 0.07

# %% [markdown]
# With one layer and no encoder, no single head of four takes over the whole job: on the mean of five seeds, even the most
# devoted one gives the letter before less than the only head does. In the other three pairs the two lie within 0.07,
# on either side: there much of that weight has gone already, and a best of four has four tries a layer.
#
# ## 5. And before training?

# %% tags=["nbval-ignore-output"]
start = {labels[model]: of_seeds(model, "letter before", untrained) for model in models}
plots.interval_plot(start, "letter before", "The same models before training", lines)
show("Before training all eight models lie near the even head.")
assert all(abs(value - even_before) < 0.06 for values in start.values() for value in values)

# %% [markdown]
# Untrained, all eight are within 0.06 of the even head. What is measured in section 3 is learned.
#
# ## What this cannot say
#
# - A part comes in exchange for width here. "An encoder" means "an encoder and 12 or 8 numbers less in width".
# - Weights are not uses (chapter 5, section 5.8): an encoder-decoder has other ways to the letter before, through its
#   encoder and its cross-attention, and they are not counted here.
# - 737 words. On other data the letter before may matter more or less.

# %% tags=["headline", "nbval-ignore-output"]
found = {part: round(sum(values) / 5, 3) for part, values in before.items()}
print("effect on the weight on the letter before:", found)
