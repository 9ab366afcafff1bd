# %% [markdown] slideshow={"slide_type": "slide"}
# # Solutions to chapter 2, Seq2Seq with Bahdanau and Luong attention
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/solutions/02_seq2seq_attention_solutions.ipynb)
#
# One way to solve each exercise of [chapter 2](../02_seq2seq_attention.ipynb), with the reason for every line that is
# easily left out. The checks accept any right answer. Exercises 3 to 7 are tried out on translators, twelve small ones, which
# are trained here: that takes most of the minute that this notebook runs.

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
# What the solutions need. `Seq2Seq` and `MultiplicativeAttention` are the finished versions of what the chapter builds.

# %%
import numpy as np

from helpers import analysis, plots, translation
from helpers.checks import seq2seq_alignment, seq2seq_attention
from helpers.classic_attention import MultiplicativeAttention
from helpers.data import load_parallel
from helpers.plots import show
from helpers.seq2seq import Seq2Seq
from helpers.text import Vocabulary
from helpers.training import fit_all, seed_everything

plots.use_style()
torch.set_num_threads(1)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 1 · the location score
#
# The cut comes first: a softmax over all M positions would give weight to positions that this batch does not have. Forbidden
# scores become the lowest *finite* number, because a row of $-\infty$ is NaN, and the last step turns the even average of a
# wholly masked sentence into zeros.


# %%
def location_weights(states, w, mask):
    scores = states @ w[: mask.size(1)].T  # (B, T, H) @ (H, S) → (B, T, S)
    mask = mask.unsqueeze(1)  # (B, S) → (B, 1, S): the axis of the steps
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).masked_fill(~mask, 0.0)


assert seq2seq_attention.check_location_weights(location_weights)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 2 · local attention
#
# The window is a second mask, one for each step. With $\sigma = D / 2$ the exponent $-(s - p)^2 / (2 \sigma^2)$ is
# $-2 ((s - p) / D)^2$, so that a key at the edge of the window keeps $e^{-2} = 0.135$ of its weight. The bell curve is a function of $p$ that has a
# gradient: that is how the paper's model learns *where* to look, which a hard window alone could not teach.


# %%
def local_weights(scores, centres, half_width, mask):
    distance = torch.arange(scores.size(-1)) - centres.unsqueeze(-1)  # (S,) - (B, T, 1) → (B, T, S)
    allowed = (distance.abs() <= half_width) & mask.unsqueeze(1)
    weights = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(dim=-1)
    return weights.masked_fill(~allowed, 0.0) * (-2 * (distance / half_width) ** 2).exp()


assert seq2seq_attention.check_local_weights(local_weights)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 3 · alignment error
#
# Rows and columns are cut off first: a map may well give its largest weight to `<EOS>`, which the gold alignment does not
# know. `enumerate` counts the rows, which are target positions; in a pair the source comes first.


# %%
def alignment_error(weights, gold, source_length, target_length):
    best = weights[:target_length, :source_length].argmax(dim=-1).tolist()
    guess = {(source, target) for target, source in enumerate(best)}
    return 1 - 2 * len(guess & gold) / (len(guess) + len(gold))


assert seq2seq_alignment.check_alignment_error(alignment_error)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 4 · the links of least error
#
# `unique` returns the limits in rising order, so `<=` lets the highest of equals win. With the lowest limit everything is a link, with the
# highest only one weight is.


# %%
def least_error(weights, gold):
    best = (2.0, 0.0)
    for limit in weights.unique().tolist():
        links = {(source, target) for target, source in (weights >= limit).nonzero().tolist()}
        error = 1 - 2 * len(links & gold) / (len(links) + len(gold))
        if error <= best[0]:
            best = (error, limit)
    return best


assert seq2seq_alignment.check_least_error(least_error)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Translators to try things on
#
# Twelve, on 2,000 pairs: three seeds each without attention dropout and with 10, 20 and 30 per cent. In training the weights are
# dropped and the context is computed once more from what is left.


# %%
def dropped_weights(weights, p, training):  # exercise 7
    if not training:
        return weights
    kept = torch.rand_like(weights) >= p  # True with probability 1 - p
    return weights * kept / (1 - p)


class DroppedAttention(MultiplicativeAttention):
    """Luong's attention with the concat score, which drops weights in training."""

    def __init__(self, size, p):
        super().__init__(size, size, "concat")
        self.p = p

    def forward(self, query, keys, mask=None, projected=None):
        context, weights = super().forward(query, keys, mask, projected)
        if self.training and self.p:
            context = dropped_weights(weights, self.p, True) @ keys  # → (B, T, H)
        return context, weights


# %% tags=["nbval-ignore-output"]
corpus = load_parallel("en_ja")
english = Vocabulary.from_sentences(corpus["train"].source)
japanese = Vocabulary.from_sentences(corpus["train"].target)
data = {
    name: (english.encode_batch(part.source, device)[:, 1:], japanese.encode_batch(part.target, device))
    for name, part in corpus.items()
}
train, dev, test = (
    tuple(t[:n] for t in data[name]) for name, n in (("train", 2000), ("dev", 250), ("test", 1000))
)
SEEDS, SHARES = (0, 1, 2), (0.0, 0.1, 0.2, 0.3)
models = {}
for p in SHARES:
    for seed in SEEDS:
        seed_everything(seed)
        models[p, seed] = Seq2Seq(len(english), len(japanese), hidden_size=64, attention="luong-concat")
        models[p, seed].attention = DroppedAttention(64, p)
        models[p, seed].to(device)
same = {
    "train": train,
    "validation": dev,
    "loss": translation.translation_loss,
    "epochs": 8,
    "lr": 0.01,
    "batch_size": 48,
}
histories = fit_all(
    [{"model": model, "seed": seed} | same for (_, seed), model in models.items()], "12 translators"
)

# %% [markdown]
# What the three without dropout reach on the test set, and the two kinds of alignment error of exercises 3 and 4:

# %% tags=["nbval-ignore-output"]
references, gold = corpus["test"].target, corpus["test"].alignment
sizes = [(len(a.split()), len(b.split())) for a, b in zip(corpus["test"].source, references)]


def judged(model):
    texts = translation.translate_texts(model, test[0], japanese)
    weights = translation.forced_weights(model, *test)  # a list of (T, S)
    return texts, weights, translation.bleu(texts, references).score


results = {key: judged(model) for key, model in models.items()}
plain = [results[0.0, seed] for seed in SEEDS]
print("BLEU", [round(bleu, 1) for _, _, bleu in plain])
for _, weights, _ in plain:
    few = list(zip(weights, gold, sizes))[:200]  # 200 sentences
    largest = sum(alignment_error(w, g, *n) for w, g, n in few) / 200
    least = sum(least_error(w[: n[1], : n[0]], g)[0] for w, g, n in few) / 200
    print(f"mean error: largest weights {largest:.3f}, limit of least error {least:.3f}")
    assert least < largest - 0.03

# %% [markdown]
# The second is lower: its limit was chosen for each sentence with the gold links in sight.


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 5 · coverage
#
# `target_mask.unsqueeze(-1)` silences whole rows, `* source_mask` whole columns. The second use of `source_mask` is the
# one that is forgotten: padding received 0, and 0 is less than any limit, but padding is not a word.


# %%
def coverage(weights, target_mask, source_mask, least):
    total = (weights * target_mask.unsqueeze(-1)).sum(dim=1)  # (B, T, S) → (B, S)
    total = total * source_mask
    forgotten = ((total < least) & source_mask).sum(dim=1)  # (B, S) → (B,)
    return total, forgotten


assert seq2seq_attention.check_coverage(coverage)

# %% [markdown]
# Which English words receive less than half a step's weight in all? The shares, of the words that the gold alignment links to
# something in Japanese, and of those that it links to nothing, such as articles:

# %% tags=["nbval-ignore-output"]
source_mask, target_mask = (test[0] != 0).cpu(), (test[1][:, 1:] != 0).cpu()
places = [(n, i) for n, (length, _) in enumerate(sizes) for i in range(length)]
rows, columns = zip(*places)
linked = torch.tensor([any(i == source for source, _ in gold[n]) for n, i in places])
for _, weights, _ in plain:
    total, _ = coverage(torch.stack(weights), target_mask, source_mask, least=0.5)
    gone = (total[rows, columns] < 0.5).float()
    with_link, without = gone[linked].mean(), gone[~linked].mean()
    print(f"passed over: with a link {with_link:.3f}, without {without:.3f}")
    assert without > 1.5 * with_link > 0

# %% [markdown]
# Words that Japanese leaves out are passed over more often. But some words that have a translation are passed
# over too. Nothing need be lost by that: an annotation knows the words around it, so the decoder may look at a neighbour. Low coverage is a question and no verdict.


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 6 · short, medium, long
#
# `bucketize` counts how many edges lie below a length, which is the number of its group; a length *equal* to an edge
# belongs to the group that the edge closes. The mean of no numbers is NaN in PyTorch, and that is what we want here.


# %%
def by_length(lengths, values, edges):
    group = torch.bucketize(lengths, torch.tensor(edges))  # (N,), 0 to len(edges)
    members = [group == number for number in range(len(edges) + 1)]
    return torch.stack([values[m].mean() for m in members]), torch.stack([m.sum() for m in members])


assert seq2seq_alignment.check_by_length(by_length)

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### The experiment
#
# Texts of one sentence, and of two, three and five sentences joined, up to 54 words. No such text was in training. Entropy is
# a share of the largest possible, the logarithm of the number of words with `<EOS>`, so that a longer source does not look less sure for its length alone.

# %% tags=["nbval-ignore-output"]
texts, answers = [], []
for joined, number in ((1, 200), (2, 100), (3, 100), (5, 100)):
    for first in range(number):
        chosen = [(first * joined + k) % 1000 for k in range(joined)]
        texts.append(" ".join(corpus["test"].source[i] for i in chosen))
        answers.append(" ".join(references[i] for i in chosen))
words = torch.tensor([len(text.split()) for text in texts])
EDGES = (13, 22, 34)
batch = english.encode_batch(texts, device)[:, 1:], japanese.encode_batch(answers, device)
group = torch.bucketize(words, torch.tensor(EDGES))
print("words:", words.min().item(), "to", words.max().item())


# %%
def relative(w, answer, number):
    """The mean entropy of one text's steps, as a share of the largest possible."""
    return analysis.attention_entropy(w[: len(answer.split()), : number + 1]).mean() / np.log(number + 1)


# %% tags=["nbval-ignore-output"]
for seed in SEEDS:
    model = models[0.0, seed]
    weights = translation.forced_weights(model, *batch)
    entropy = torch.stack([relative(*text) for text in zip(weights, answers, words.tolist())])
    means, counts = by_length(words, entropy, EDGES)
    written = np.array(translation.translate_texts(model, batch[0], japanese, max_length=120))
    parts = [(group == k).numpy() for k in range(4)]
    right = np.array(answers)
    bleus = [translation.bleu(list(written[part]), list(right[part])).score for part in parts]
    print(f"seed {seed}: relative entropy {[round(m, 2) for m in means.tolist()]}",
          f"BLEU {[round(b, 1) for b in bleus]}")  # fmt: skip
    assert bleus[1] < 0.5 * bleus[0] and means[0] < means[1] < 1.5 * means[0]

# %% [markdown]
# The groups go up to 13, 22, 34 and 54 words. In the second, mostly two sentences, BLEU is below half of what it is in the first, while
# the relative entropy rises by less than half: how sharply a model looks says little about whether it is lost. In training `<EOS>` always came after the first full stop. Count the words that it
# writes here, and train it on joined sentences: that experiment is yours.


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 7 · dropped attention weights
#
# The function stands above. One random number for each weight. Dividing by $1 - p$ keeps the *expected* weight the same, so that
# nothing has to be changed in evaluation. It does not keep the sum of a row: with luck a row adds up to more than 1, and a row
# may lose everything.

# %%
assert seq2seq_attention.check_dropped_weights(dropped_weights)

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### The experiment
#
# > **Predict first.** Which share will be best? Decide, then go on.
#
# The runs come in threes that share their seed, their first weights and the order of their sentences. So look at the
# *differences* from 0 per cent within a seed.

# %% tags=["nbval-ignore-output"]
gains, fewer = {}, {}
for p in SHARES[1:]:
    name = f"{p:.0%} dropped"
    error = {
        q: [translation.alignment_error_rate(results[q, s][1], gold, sizes) for s in SEEDS]
        for q in (0.0, p)
    }
    gains[name] = analysis.seed_interval([results[p, s][2] - results[0.0, s][2] for s in SEEDS])
    fewer[name] = analysis.seed_interval([a - b for a, b in zip(error[p], error[0.0])])
    points = [round(results[p, s][2] - results[0.0, s][2], 1) for s in SEEDS]
    print(f"{name:12} BLEU {points} {gains[name]}   alignment error {fewer[name]}")
    assert p < 0.3 or max(points) < 0
plots.interval_plot(
    gains, "BLEU, difference from 0 %", "Attention dropout, three seeds", {"no change": 0}
)
show(
    "Three intervals: the difference in BLEU from no dropout, for 10, 20 and 30 per cent of "
    "the weights dropped."
)

# %% [markdown]
# The dot is the mean difference over three seeds, the line its 95 per cent interval. With 30 per cent BLEU falls for every
# seed. An interval that holds 0 decides nothing. That is the result for 2,000 pairs and eight epochs. Whether dropout pays
# when a model is trained until it overfits is the next experiment, and it is yours: try forty epochs.
#
# Back to [chapter 2](../02_seq2seq_attention.ipynb).
