# %% [markdown] slideshow={"slide_type": "slide"}
# # 2. Seq2Seq: why attention was invented
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/02_seq2seq_attention.ipynb)
#
# A network reads an English sentence, keeps one vector of it, and writes Japanese from that vector. It fails, and you
# measure where. Then you meet the two attentions that cured it, train a translator that gets at least 95 of 100
# unseen sentences exactly right, and check its alignments against the truth, which for this corpus is known.

# %% [markdown]
# | | |
# |---|---|
# | **You will be able to** | say what a fixed context vector loses, with numbers; build Bahdanau's and Luong's attention and say how they differ; build and train a translator whose padding changes nothing; judge it by exact match, BLEU and alignment error; recognise six bugs of sequence-to-sequence code |
# | **Time** | about two minutes to run on two CPU cores; three to four hours to read, with the exercises |
# | **You need** | chapter 1: query, key, value, masks, entropy of attention weights; `nn.Module` and a training loop. Recurrent networks are explained here, and no Japanese is needed |

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
# One import cell. What comes from `helpers` loads, trains, draws and measures. Bahdanau's attention and his decoder
# you build here, and then compare with `helpers`. Luong's attention comes from `helpers`; you write it in exercise 2.
# One thread for each computation, so that numbers repeat.

# %% tags=["nbval-ignore-output"]
import math
import statistics
import time

import matplotlib.pyplot as plt
import numpy as np
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from helpers import analysis, attention, classic_attention, plots, translation
from helpers.analysis import bootstrap_interval, seed_interval
from helpers.data import load_parallel
from helpers.seq2seq import KINDS, Seq2Seq
from helpers.text import Vocabulary
from helpers.training import fit, fit_all, seed_everything, token_loss
from helpers.translation import translation_loss

plots.use_style()
torch.set_num_threads(1)
torch.backends.cudnn.allow_tf32 = False  # newer GPUs would round inside a GRU
torch.set_printoptions(precision=4, sci_mode=False)
print("PyTorch", torch.__version__)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.1 Two languages, and who translates whom
#
# **What makes translation more than a look-up, word by word?** Look at one pair of the corpus: English, Japanese, and
# the Japanese again in Latin letters (*romaji*). The corpus was made for this series by a small grammar, so for every
# pair it is known which words translate which. Each such pair of words is a **link**.

# %%
corpus = load_parallel("en_ja")
test = corpus["test"]
example = test.source.index("the kind boy will play in my house .")
print(test.source[example], "\n" + test.target[example], "\n" + test.romaji[example])
english, japanese = test.source[example].split(), test.romaji[example].split()
for source, target in sorted(test.alignment[example], key=lambda link: link[1]):
    print(f"{english[source]} → {japanese[target]}", end="   ")

# %% [markdown]
# Read the links from left to right. "play" is the fifth word in English and almost the last in Japanese: the verb comes
# at the end. "in my house" comes before it, turned round: *my*, *house*, *in*. The article "the" has no partner, and "boy"
# has two: `otokonoko` and the particle `wa`, a little word that marks the topic.
#
# All links of a sentence are its **alignment**; the one that is known to be right is called **gold**. Draw it as a
# matrix. Rows are Japanese words, columns English ones. If word order were the same, you would see a diagonal.

# %%
gold = torch.zeros(len(japanese), len(english))
for source, target in test.alignment[example]:
    gold[target, source] = 1.0
plots.attention_heatmap(gold, japanese, english, title="The gold alignment: who translates whom")
plt.show()

# %% [markdown]
# See the mark of "play": far down and not on the diagonal. How far from a diagonal is the corpus as a whole? The
# **alignment error rate** of a set of links $A$ against the gold links $G$ is
#
# $$\text{AER} = 1 - \frac{2\,|A \cap G|}{|A| + |G|}$$
#
# 0 is perfect, 1 is nothing right (Och and Ney 2003, evaluation methodology, for the case that all gold links are
# sure). The reference point for every map in this chapter is the guess that word order is the same: with $S$ source and $T$
# target words, target word $j$ is linked to source word $j \cdot S / T$, rounded.

# %%
lengths = {name: [(len(a.split()), len(b.split())) for a, b in zip(part.source, part.target)]
           for name, part in corpus.items()}  # fmt: skip
guess = [translation.diagonal_alignment(*pair) for pair in lengths["test"]]
diagonal_error = translation.error_rate(guess, test.alignment)
print(f"alignment error rate of the diagonal: {diagonal_error:.3f}")
assert round(diagonal_error, 3) == 0.734

# %% [markdown] slideshow={"slide_type": "subslide"}
# Nearly three of four links are wrong if you assume the same order. There are 20,000 pairs of 3 to 12 English words to
# train on, and four sets to judge by. *longer* has 13 to 16 words, more than any sentence in training; *new* has
# combinations such as "black cat" that never occur in training, though each word does. *dev* is looked at while a model
# trains, to keep its best epoch; *test* only afterwards.

# %%
for name, part in corpus.items():
    words = [pair[0] - 1 for pair in lengths[name]]  # without the "." or "?"
    print(f"{name:7}{len(part):7,} pairs of {min(words)} to {max(words)} English words")
assert not any("black cat" in text for text in corpus["train"].source)
assert any("black cat" in text for text in corpus["new"].source)

# %% [markdown]
# Each language gets its own numbering of words. Every target is wrapped in `<BOS>` (beginning of sequence) and `<EOS>`
# (end of sequence). The source keeps its `<EOS>` and drops `<BOS>`, so that column $i$ of a map is word $i$.

# %%
en = Vocabulary.from_sentences(corpus["train"].source)
ja = Vocabulary.from_sentences(corpus["train"].target)
data = {name: (en.encode_batch(part.source, device)[:, 1:], ja.encode_batch(part.target, device))
        for name, part in corpus.items()}  # fmt: skip
source, target = data["train"]
print(len(en), "English and", len(ja), "Japanese symbols;", tuple(source.shape), tuple(target.shape))
print(en.tokens(source[0]))

# %% [markdown]
# **Remember: the words of two languages correspond, but not in order, not one to one, and some to nothing.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.2 The bottleneck
#
# **How did networks translate before attention?** With a **recurrent network**. It reads one word after the other and
# keeps a **state**, a vector $h$ that is updated at each word. The kind used here is the *gated recurrent unit*, **GRU**
# (Cho et al. 2014, section 2.3). At each step it computes a proposal $n$ for a new state, and a number between 0 and 1 for
# each feature, the *update gate* $z$, that says how much of the old state stays:
#
# $$h_t = (1 - z) \odot n + z \odot h_{t-1}$$
#
# $\odot$ multiplies entry by entry. $z$ and $n$ are computed from the new word $x_t$ and the old state $h_{t-1}$:
#
# $$z = \sigma(W_z x_t + U_z h_{t-1}), \quad r = \sigma(W_r x_t + U_r h_{t-1}), \quad
# n = \tanh(W_n x_t + r \odot U_n h_{t-1})$$
#
# $\sigma(a) = 1 / (1 + e^{-a})$ squeezes any number between 0 and 1. The *reset gate* $r$ says how much of the old state
# the proposal may see. (Each product also has a bias. The paper has $U_n (r \odot h_{t-1})$, the gate before the product;
# PyTorch, followed here, has it after.) The next cell takes one step by these formulas.

# %%
seed_everything(0)
cell = nn.GRUCell(3, 2)  # words of 3 features, a state of 2
x, h = torch.randn(1, 3), torch.tensor([[0.9, -0.5]])
from_word = F.linear(x, cell.weight_ih, cell.bias_ih)  # W x, for the three parts at once
from_state = F.linear(h, cell.weight_hh, cell.bias_hh)  # U h
(r_x, z_x, n_x), (r_h, z_h, n_h) = from_word.chunk(3, dim=1), from_state.chunk(3, dim=1)
r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
n = (n_x + r * n_h).tanh()
h_new = (1 - z) * n + z * h
print("update gate", z.detach(), " proposal", n.detach(), " new state", h_new.detach())
assert torch.allclose(h_new, cell(x, h), atol=1e-6)

# %% [markdown] slideshow={"slide_type": "subslide"}
# `nn.GRU` takes all the steps of a sequence in one call. Read a short and a long sentence, and look at what remains: the
# last state. It has the same size, however long the sentence is.

# %%
seed_everything(0)
embed_source, encoder = nn.Embedding(len(en), 64), nn.GRU(64, 64, batch_first=True)
for text in ("the cat sleeps .", "the cat that ate the egg is not cute ."):
    ids = en.encode_batch([text])[:, 1:]  # (1, S)
    states, last = encoder(embed_source(ids))  # (1, S) → (1, S, 64) → (1, S, 64) and (1, 1, 64)
    assert torch.equal(last[0], states[:, -1]) and last.numel() == 64
    print(f"{ids.size(1):2} symbols → states {tuple(states.shape)}, last state {tuple(last.shape)}")

# %% [markdown]
# The plain **encoder-decoder** (Cho et al. 2014; Sutskever et al. 2014) takes that last state as *context vector*. A
# second GRU, the **decoder**, starts from it and writes: it reads the word written last, first `<BOS>`, and its state
# gives logits for the next word. In training it reads the right words, not its own; that is called **teacher forcing**.

# %%
embed_target, decoder = nn.Embedding(len(ja), 64), nn.GRU(64, 64, batch_first=True)
output = nn.Linear(64, len(ja))
ids = ja.encode_batch(["猫 は 寝 ます 。"])  # <BOS>, five words, <EOS>
states, _ = decoder(embed_target(ids[:, :-1]), last)  # starts from the encoder's last state
logits = output(states)  # (1, T, 64) → (1, T, V)
print("fed:  ", ja.tokens(ids[0, :-1]), "\nasked:", ja.tokens(ids[0, 1:]))
print("logits", tuple(logits.shape))
assert logits.shape == (1, 6, len(ja))

# %% [markdown]
# Everything the decoder will ever know of the English sentence went through that one vector. `Seq2Seq` in `helpers` with
# `attention="none"` is this model, made as strong as is fair: two GRUs read the source, one in each direction, and the
# context vector enters *every* step of the decoder, so that it need not be remembered. It is trained with the same loop
# as all models of the series. Here are four of them, with vectors of 16 to 128 numbers, trained alike and
# briefly. (`fit_all` trains two models at a time, one on each CPU core.)

# %%
SMALL = 3_500  # pairs
some, dev_250 = (tuple(t[:n] for t in data[part]) for part, n in (("train", SMALL), ("dev", 250)))


def job(model, pairs, **options):
    same_for_all = {"validation": dev_250, "loss": translation_loss, "lr": 1e-2}
    return {"model": model, "train": pairs} | same_for_all | options


print(f"{len(some[0]):,} pairs to train on, {len(dev_250[0])} to stop by")

# %% [markdown]
# One seed and the same pairs for all four:

# %% tags=["nbval-ignore-output"]
plain = {}
for size in (16, 32, 64, 128):
    seed_everything(0)
    plain[size] = Seq2Seq(len(en), len(ja), hidden_size=size, attention="none").to(device)
jobs = [job(model, some, epochs=3, batch_size=32) for model in plain.values()]
plain_losses = [history.best for history in fit_all(jobs, "no attention")]
print("validation loss a word:", [round(loss, 2) for loss in plain_losses])

# %% [markdown]
# How good are they? Two measures. **Exact match** is the share of sentences that equal the corpus's own translation, the
# **reference**, word for word; it means something here because the grammar has just one for each sentence. **BLEU**
# (Papineni et al. 2002, section 2.3) takes the shares of the translation's runs of 1, 2, 3 and 4 words that occur in the
# reference, multiplies the four and takes the fourth root; texts that are too short are marked down. It goes from 0 to
# 100. BLEU scores are comparable only if computed alike, so `bleu` also returns a *signature* that says how (Post 2018).

# %%
hypotheses, references = ["犬 は 水 を 飲み ます 。"], ["犬 は 水 を 飲み ました 。"]
score = translation.bleu(hypotheses, references)
match = translation.exact_match(hypotheses, references)
print(f"one wrong word of seven: BLEU {score.score:.1f}, exact match {match:.0f}")
print(score.signature.rsplit("|", 1)[0])
runs = [6 / 7, 4 / 6, 3 / 5, 2 / 4]  # runs of 1, 2, 3 and 4 words that the reference has too
assert abs(score.score - 100 * math.prod(runs) ** 0.25) < 1e-4

# %% [markdown] slideshow={"slide_type": "subslide"}
# **Predict first.** Each model translates the 1,000 test sentences. Does a larger context vector help? And which
# sentences suffer most?
#
# <details><summary>Answer</summary>
#
# It helps a lot, and long sentences suffer most: what must go through the vector grows with the sentence, the vector does
# not.
#
# </details>

# %% tags=["nbval-ignore-output"]
source, target = data["test"]
written = {size: translation.translate_texts(model, source, ja) for size, model in plain.items()}
plain_bleu = {size: translation.bleu(texts, test.target).score for size, texts in written.items()}
for size, texts in written.items():
    match = translation.exact_match(texts, test.target)
    print(f"context vector of {size:3}: BLEU {plain_bleu[size]:5.1f}, exact match {match:.3f}")

# %% [markdown]
# Now sort the test sentences by their number of English words, and count the right ones in each group.

# %% tags=["nbval-ignore-output"]
words = np.array([pair[0] - 1 for pair in lengths["test"]])
groups = {"3-5": (3, 5), "6": (6, 6), "7": (7, 7), "8": (8, 8), "9-12": (9, 12)}
by_length = {}
for size, texts in written.items():
    right = np.array([float(a == b) for a, b in zip(texts, test.target)])
    within = [right[(words >= a) & (words <= b)] for a, b in groups.values()]
    by_length[size] = [bootstrap_interval(values) for values in within]
curves = {f"{size} numbers": intervals for size, intervals in by_length.items()}
title = "Without attention, length is fatal"
plots.interval_curves(list(groups), curves, "English words", "exact match", title)
plt.show()

# %% [markdown]
# Each line is one model. Its band is a 95 per cent *bootstrap* interval: the sentences are drawn again and again, with
# replacement, and 95 of 100 such draws have their mean inside. The lines of the larger vectors fall from left to
# right; those of the small ones lie at the bottom, near 0.
#
# Is that the vector's doing? Exact match can't tell. A long sentence has more words to get wrong, so *any* model gets
# fewer long ones entirely right. BLEU counts runs of words, and does not fall just because a sentence has more of them.

# %% tags=["nbval-ignore-output"]
members = [np.flatnonzero((words >= a) & (words <= b)) for a, b in groups.values()]


def bleu_by_length(texts):
    """BLEU of each group of test sentences, the shortest sentences first."""
    pairs = [([texts[i] for i in rows], [test.target[i] for i in rows]) for rows in members]
    return [translation.bleu(*pair).score for pair in pairs]


length_bleu = {size: bleu_by_length(texts) for size, texts in written.items()}
for size, scores in length_bleu.items():
    print(f"context vector of {size:3}: BLEU", [round(score, 1) for score in scores])

# %% [markdown]
# For every model the longest group has the lowest BLEU too. So it is not only that there are more words to get wrong.

# %%
best, worst = by_length[128][0], by_length[128][-1]
assert best.low > worst.high and length_bleu[128][-1] < 0.8 * length_bleu[128][0]
assert plain_bleu[128] > plain_bleu[64] > plain_bleu[16] + 5
print("long sentences lose, in exact match and in BLEU; a larger vector helps")

# %% [markdown]
# **Remember: a fixed context vector has the same size for every sentence. Long sentences do not fit.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.3 Bahdanau: look again at every step
#
# **Why squeeze the sentence into its last state, when the encoder had a state at every word?** Keep them all. Bahdanau,
# Cho and Bengio (2015) call them *annotations* $h_1, \dots, h_S$, one a source word. At each step the decoder takes an
# average of them, and chooses the weights anew. You know this from chapter 1: the decoder's state is the query, the
# annotations are the keys, and they are also the values.
#
# What is different is the score. Query and key go through a small network with one hidden layer (section 3.1 and
# appendix A.1.2 of the paper):
#
# $$e_j = v^\top \tanh(W q + U h_j), \qquad \alpha_j = \frac{e^{e_j}}{\sum_m e^{e_m}}, \qquad c = \sum_j \alpha_j h_j$$
#
# $e_j$ is the score, $\alpha_j$ the attention weight, $c$ the context. $W$, $U$ and $v$ are learned. Because $Wq$ and
# $Uh_j$ are added, this is **additive attention**. Query and key need not have the same width.

# %% [markdown] slideshow={"slide_type": "subslide"}
# **With a pencil.** A sentence of five positions, annotations of two numbers, chosen so that you can read them: the first
# number says "I am an animal", the second "I am a verb". The query asks for a verb.

# %%
tokens = ["the", "dog", "drank", "water", "."]
keys = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.5, 0.0], [0.0, -1.0]])  # (S, 2)
query = torch.tensor([0.0, 1.0])  # the decoder's state: "now the verb"
W, U = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
v = torch.tensor([1.0, 3.0])
inside = (W @ query + keys @ U.T).tanh()  # (2,) + (S, 2) → (S, 2): the query is added to every key
print(inside)

# %% [markdown]
# Take "drank". $Wq = (0, 1)$ and $Uh = (0, 2)$, so inside the tanh stands $(0, 3)$, and $\tanh$ makes $(0, 0.9951)$ of it.
# With $v = (1, 3)$ the score is $2.985$. For "dog" it is $\tanh(-2) + 3 \tanh(1) = 1.321$. Three steps, as in chapter 1:
# scores, softmax, average.

# %%
scores = inside @ v  # (S, 2) @ (2,) → (S,)
weights = scores.softmax(dim=0)
context = weights @ keys  # (S,) @ (S, 2) → (2,)
print("scores ", scores, "\nweights", weights, "\ncontext", context)
assert abs(scores[2] - 2.9852) < 1e-4 and abs(scores[1] - 1.3208) < 1e-4
assert weights.argmax() == 2 and torch.isclose(weights.sum(), torch.tensor(1.0))

# %% [markdown]
# The same five weights as bars:

# %%
plots.weight_bars({"weights": weights}, tokens, "One step of the decoder: it asks for a verb")
plt.show()

# %% [markdown]
# See the bar of "drank": the largest, but not everything. It has about half of the weight. Even "the", whose key is zero,
# gets a quarter: the query is *added* to every key, so it alone brings the score $3 \tanh(1) = 2.285$.


# %% [markdown] slideshow={"slide_type": "subslide"}
# **As a module.** First only the scores, for a batch. B sentences, S source words (the keys), and one query for each
# sentence. The query gets an axis of length 1, so that it is added to every key.

# %%
class Additive(nn.Module):
    def __init__(self, query_size, key_size, hidden_size):
        super().__init__()
        self.query_proj = nn.Linear(query_size, hidden_size, bias=False)  # W
        self.key_proj = nn.Linear(key_size, hidden_size, bias=False)  # U
        self.v = nn.Linear(hidden_size, 1, bias=False)

    def scores(self, query, keys):
        query = self.query_proj(query).unsqueeze(1)  # (B, D_q) → (B, 1, H)
        together = query + self.key_proj(keys)  # (B, 1, H) + (B, S, H) → (B, S, H)
        return self.v(together.tanh()).squeeze(-1)  # (B, S, H) → (B, S, 1) → (B, S)


seed_everything(0)
queries, keys = torch.randn(2, 4), torch.randn(2, 5, 6)  # states of width 4, annotations of width 6
print(tuple(Additive(4, 6, 8).scores(queries, keys).shape))

# %% [markdown]
# Second, the mask: padding must not get weight. As in chapter 1 a forbidden score becomes the lowest number there is, and
# a forbidden weight exactly 0.


# %%
class Additive(Additive):
    def forward(self, query, keys, mask):
        scores = self.scores(query, keys)
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)  # new: mask, (B, S)
        weights = scores.softmax(dim=-1).masked_fill(~mask, 0.0)  # (B, S)
        context = (weights.unsqueeze(1) @ keys).squeeze(1)  # (B, 1, S) @ (B, S, D) → (B, D)
        return context, weights


mine = Additive(4, 6, 8)
mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])  # the second sentence has three words
context, weights = mine(queries, keys, mask)
print(weights.detach())
assert (weights[1, 3:] == 0).all() and torch.allclose(weights.sum(1), torch.ones(2))

# %% [markdown]
# Is it the module in `helpers`? The parameters have the same names, so the weights can be copied in one line.

# %%
theirs = classic_attention.AdditiveAttention(4, 6, 8)
theirs.load_state_dict(mine.state_dict())
for ours, other in zip(mine(queries, keys, mask), theirs(queries, keys, mask)):
    torch.testing.assert_close(ours, other)
print("the module here and helpers.classic_attention.AdditiveAttention agree")

# %% [markdown] slideshow={"slide_type": "subslide"}
# **Which state asks?** In the paper it is the decoder's state *before* the step, $s_{t-1}$. The context then goes into the
# GRU together with the word written last, $y_{t-1}$ (section 3.1, equations 4 to 6, where $i$ counts the steps):
#
# $$c_t = \text{attend}(s_{t-1}, h), \qquad s_t = \text{GRU}(s_{t-1}, [y_{t-1}; c_t])$$
#
# $[a; b]$ puts two vectors end to end. So step $t$ needs $s_{t-1}$, which needs $c_{t-1}$, and so on: the decoder has
# to go step by step, even when all words are known. One thing can be done beforehand: $U h_j$ is the same at every step
# (appendix A.1.2). `helpers` computes it once and hands it over as `projected`.

# %%
projected = theirs.project_keys(keys)  # once for the sentence
again = theirs(queries, keys, mask, projected)[1]
torch.testing.assert_close(again, weights)
print("with U h computed beforehand the weights are the same:", torch.allclose(again, weights))

# %% [markdown]
# **Remember: keep every state of the encoder, and let each step of the decoder choose among them.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.4 Luong: the same with a product
#
# **Must the score be a network?** Luong, Pham and Manning (2015, section 3.1) try three scores for a state $q$ and an
# annotation $h$:
#
# $$\text{dot: } q^\top h \qquad\quad \text{general: } q^\top W h \qquad\quad \text{concat: } v^\top \tanh(W [q; h])$$
#
# The first two are **multiplicative attention**. All three ask with the state *after* the step:
#
# | | Bahdanau 2015 | Luong 2015 |
# |---|---|---|
# | query | state before the step, $s_{t-1}$ | state after the step, $s_t$ |
# | score | additive | dot, general or concat |
# | the context goes | into the GRU of this step | into the output only: $\tanh(W_c [c_t; s_t])$, equation 5 |
# | so the decoder | must go step by step | in training reads all words in one call, then attends for all steps at once |
# | parameters of the score | $2 H^2 + H$ | 0, $H^2$, or $2 H^2 + H$ |
# | cost of T × S scores | T · S · H tanh | dot, general: T · S · H multiplications, one matrix product; concat: as additive |
#
# ($W_c$ is learned. The last two rows are for states, annotations and hidden layer all of width $H$, and T steps over S
# source words. The paper also has *input feeding*,
# section 3.3, which puts the context back into the next step; here it is left out.)

# %% [markdown]
# The three scores side by side, on the same states. Three steps of a decoder ask five source words; the weights of the
# second step are drawn.

# %%
seed_everything(1)
states, keys = torch.randn(1, 3, 4), torch.randn(1, 5, 4)  # (B, T, H) and (B, S, H)
luong = classic_attention.MultiplicativeAttention
scorers = {kind: luong(4, 4, kind) for kind in ("dot", "general", "concat")}
step = {}
for kind, module in scorers.items():
    context, weights = module(states, keys)  # all three steps at once: (1, 3, 4) and (1, 3, 5)
    step[kind] = weights[0, 1]
    size = sum(p.numel() for p in module.parameters())
    print(f"{kind:8}{size:3} parameters", [round(w, 3) for w in step[kind].tolist()])
plots.weight_bars(step, tokens, "Three scores on the same states, none of them trained")
plt.show()

# %% [markdown]
# See that they disagree: an untrained score has no reason to prefer what another prefers. But are they really different
# families? **Predict first.** When does "general" give the same weights as "dot"? And how does "concat" differ from
# additive attention?
#
# <details><summary>Answer</summary>
#
# General with $W = I$ is dot. Concat *is* additive attention: cut $W = [W_1\ W_2]$ in two, then
# $W [q; h] = W_1 q + W_2 h$. Only the state that asks is another.
#
# </details>

# %%
dot, general, concat = scorers.values()
additive = classic_attention.AdditiveAttention(4, 4, 4)
with torch.no_grad():
    general.key_proj.weight.copy_(torch.eye(4))
    additive.query_proj.weight.copy_(concat.pair_proj.weight[:, :4])  # the columns for the query
    additive.key_proj.weight.copy_(concat.pair_proj.weight[:, 4:])  # the columns for the key
    additive.v.weight.copy_(concat.v.weight)
torch.testing.assert_close(general(states, keys), dot(states, keys))
torch.testing.assert_close(additive(states, keys), concat(states, keys))
print("general with W = I is dot; concat with its matrix cut in two is additive")

# %% [markdown]
# And "dot" is the attention of chapter 1, without its scale: PyTorch's own function with `scale=1.0` gives the same.

# %%
context, weights = dot(states, keys)
torch.testing.assert_close(context, F.scaled_dot_product_attention(states, keys, keys, scale=1.0))
scaled = attention.scaled_dot_product_attention(states * math.sqrt(4), keys, keys)  # undo the division
torch.testing.assert_close((context, weights), scaled)
print("dot equals PyTorch's attention with scale 1")

# %% [markdown]
# **Remember: Bahdanau adds and asks before the step; Luong multiplies and asks after it. The rest is the same average.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.5 The translator
#
# **What does a whole translator need?** An encoder, a decoder, a loss, and a few habits that keep them honest. Take them
# one by one.
#
# **The encoder** reads in both directions, so that each annotation knows what stands left and right of its word
# (Bahdanau et al. 2015, section 3.2). The trap is padding. A GRU that reads a padded batch from right to left starts
# with the padding. Look at what that does to the annotation of "cat": once the sentence is alone, once it is padded.

# %%
seed_everything(0)
both = nn.GRU(64, 32, batch_first=True, bidirectional=True)
alone = en.encode_batch(["the cat sleeps ."])[:, 1:]  # (1, S)
padded = F.pad(alone, (0, 4))  # four <PAD> on the right
first, second = both(embed_source(alone))[0][0, 1], both(embed_source(padded))[0][0, 1]
print("forward half moves by ", f"{(first - second)[:32].abs().max():.4f}")
print("backward half moves by", f"{(first - second)[32:].abs().max():.4f}")
assert (first - second)[:32].abs().max() < 1e-6 and (first - second)[32:].abs().max() > 1e-3

# %% [markdown]
# The cure in `helpers`: reverse each sentence *within its own length*, let a second GRU read that from left to right, and
# turn its states round again. Padding then always comes last, after everything that counts. With L words, position $t$ of
# the reversed sentence is position $L - 1 - t$.

# %%
length, place = (padded != 0).sum(1, keepdim=True), torch.arange(padded.size(1))
reverse = torch.where(place < length, length - 1 - place, place)
print("order:", reverse[0].tolist(), "\nwords:", en.tokens(padded.gather(1, reverse)[0]))

# %% [markdown]
# `Seq2Seq.encode` does this. It returns the state that the decoder starts from, and a *memory*: the annotations, the
# mask, and $U h$ for all steps. With padding and without, the annotations must agree.

# %%
seed_everything(0)
model = Seq2Seq(len(en), len(ja), hidden_size=64, attention="bahdanau").eval()
annotations = model.encode(padded).memory.annotations
torch.testing.assert_close(annotations[:, : alone.size(1)], model.encode(alone).memory.annotations)
assert (annotations[:, alone.size(1) :] == 0).all()
print("annotations", tuple(annotations.shape), "- padding changes nothing")

# %% [markdown] slideshow={"slide_type": "subslide"}
# **The decoder** in Bahdanau's order: attend with the old state, put the context beside the word, take a step of the GRU.
# The logits come from context and new state together. Here is one step.


# %%
class Decoder(nn.Module):
    def __init__(self, vocab_size, hidden_size):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        self.attention = Additive(hidden_size, hidden_size, hidden_size)
        self.gru = nn.GRUCell(2 * hidden_size, hidden_size)
        self.readout = nn.Linear(2 * hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, vocab_size)

    def step(self, tokens, hidden, annotations, mask):
        context, weights = self.attention(hidden, annotations, mask)  # the query is the state before
        x = torch.cat([self.embedding(tokens), context], dim=-1)  # (B, E) and (B, H) → (B, E + H)
        hidden = self.gru(x, hidden)  # (B, H)
        logits = self.output(self.readout(torch.cat([context, hidden], dim=-1)).tanh())  # (B, V)
        return logits, hidden, weights


print(sum(p.numel() for p in Decoder(len(ja), 64).parameters()), "parameters")

# %% [markdown]
# And all steps, with teacher forcing: step $t$ reads the right word $t - 1$, whatever the step before would have said.


# %%
class Decoder(Decoder):
    def forward(self, target, hidden, annotations, mask):
        all_logits, all_weights = [], []
        for t in range(target.size(1)):
            logits, hidden, weights = self.step(target[:, t], hidden, annotations, mask)
            all_logits.append(logits)
            all_weights.append(weights)
        return torch.stack(all_logits, dim=1), torch.stack(all_weights, dim=1)  # (B, T, V), (B, T, S)


mine = Decoder(len(ja), 64)
source, target = (t[:8].cpu() for t in data["test"])
state = model.encode(source)
logits, weights = mine(target[:, :-1], state.hidden, state.memory.annotations, source != 0)
print("logits", tuple(logits.shape), " weights", tuple(weights.shape))

# %% [markdown]
# Does it equal the finished model? Copy the weights by name (`nn.GRU` calls its parameters `weight_ih_l0`, `nn.GRUCell`
# calls them `weight_ih`), and compare logits and attention weights.

# %%
finished = {name.replace("_l0", ""): p for name, p in model.state_dict().items()}
mine.load_state_dict({name: finished[name] for name in mine.state_dict()})
ours = mine(target[:, :-1], state.hidden, state.memory.annotations, source != 0)
for a, b in zip(ours, model(source, target[:, :-1])):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
print("the decoder here equals helpers.seq2seq to 1e-5")

# %% [markdown] slideshow={"slide_type": "subslide"}
# **Luong's decoder needs no loop.** Its GRU reads only words, and in training all of them are known: one call of `nn.GRU`
# gives every state, one call of the attention every context. Run it at once and step by step: the same numbers.

# %%
luong = Seq2Seq(len(en), len(ja), hidden_size=64, attention="luong-concat").eval()
at_once = luong(source, target[:, :-1])
stepped = luong(source, target[:, :-1], stepped=True)
for a, b in zip(at_once, stepped):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
print("all steps at once equal one step after the other, to 1e-5")

# %% [markdown] slideshow={"slide_type": "subslide"}
# **The loss** is the mean cross-entropy over the *real* target words, `<EOS>` counted, padding not. `token_loss` returns
# sum and number, so that batches can be added up before dividing. (It is measured in *nats*: the logarithm is the natural
# one.) Append padding, and it must not move.

# %%
with torch.no_grad():
    loss, count = translation_loss(model, source, target)
    more, more_count = translation_loss(model, F.pad(source, (0, 3)), F.pad(target, (0, 5)))
print(f"{loss / count:.4f} nats a word over {int(count)} words")
print(f"a uniform guess would pay ln {len(ja)} = {math.log(len(ja)):.4f}")
torch.testing.assert_close(loss, more)
assert count == more_count == sum(n for _, n in lengths["test"][:8]) + 8  # and one <EOS> each

# %% [markdown] slideshow={"slide_type": "slide"}
# **Teacher forcing** is a ratio: with 1 the decoder is always fed the right word, with 0 always its own last word, with
# 0.5 a coin decides at each word (*scheduled sampling*, Bengio et al. 2015, section 2.4, lowers the ratio in the course of
# training). The fear: a model that has only seen right words may not recover from a wrong one. The price: a model that is
# fed its own words sees, at first, rubbish. The same small model, little data and five epochs, three seeds for each ratio.

# %% tags=["nbval-ignore-output"]
def train_forced(ratio, seed, pairs=800, epochs=5):
    seed_everything(seed)
    model = Seq2Seq(len(en), len(ja), hidden_size=32, attention="luong-concat").to(device)

    def loss(model, source, target):
        logits, _ = model(source, target[:, :-1], teacher_forcing=ratio if model.training else 1.0)
        return token_loss(logits, target[:, 1:], pad_id=0)

    start, little = time.perf_counter(), tuple(t[:pairs] for t in data["train"])
    fit(model, little, dev_250, loss, epochs=epochs, lr=2e-2, batch_size=32, seed=seed, progress=False)
    seconds = time.perf_counter() - start
    texts = translation.translate_texts(model, data["dev"][0][:500], ja)
    return translation.bleu(texts, corpus["dev"].target[:500]).score, seconds


# %% [markdown]
# Nine runs. For each ratio: BLEU of what the model writes by itself, and the time.

# %% tags=["nbval-ignore-output"]
forced = {}
for ratio, seed in tqdm([(r, s) for r in (1.0, 0.5, 0.0) for s in range(3)], file=sys.stdout, ncols=88):
    forced.setdefault(ratio, []).append(train_forced(ratio, seed))
for ratio, runs in forced.items():
    bleus, seconds = zip(*runs)
    print(f"ratio {ratio}: BLEU {seed_interval(bleus)}, {statistics.mean(seconds):.1f} s")

# %% [markdown]
# The order of the three means:

# %%
mean_bleu = {ratio: statistics.mean(bleu for bleu, _ in runs) for ratio, runs in forced.items()}
assert mean_bleu[1.0] > mean_bleu[0.5] + 1 and mean_bleu[0.5] > mean_bleu[0.0]
print("early in training, the more right words are fed, the faster it learns")

# %% [markdown]
# None of them is a translator yet; what you see is the start of learning, and it says nothing of what the ratio does to a
# model that is nearly done. Ratio 1 is also the only one that lets Luong's decoder run all steps at
# once. So this chapter trains with ratio 1, and judges with ratio 0: what a model writes by itself.

# %% [markdown] slideshow={"slide_type": "subslide"}
# **Gradient clipping**: if the gradient of all parameters together is longer than 1, it is cut to length 1. A recurrent
# network multiplies through its steps, so a gradient can explode (Pascanu et al. 2013, section 3.2). Does it here? Train
# with and without clipping, first with *AdamW* (the optimiser inside `fit`: it divides the gradient of each parameter by
# that gradient's recent size), then with plain gradient descent and a large step.

# %%
def clipping(optimizer_class, lr, clip, steps=40):
    """Return the loss of the last steps and the longest gradient seen."""
    seed_everything(0)
    model = Seq2Seq(len(en), len(ja), hidden_size=32, attention="bahdanau").to(device)
    optimizer, losses, norms = optimizer_class(model.parameters(), lr=lr), [], []
    for number in range(steps):
        batch = tuple(t[16 * number : 16 * number + 16] for t in data["train"])
        loss, count = translation_loss(model, *batch)
        optimizer.zero_grad()
        (loss / count).backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), clip)))
        optimizer.step()
        losses.append(float(loss.detach() / count))
    return statistics.mean(losses[-5:]), max(norms)


# %% [markdown]
# Six runs: two optimisers, each cut at 0.1, at 1, and not at all.

# %% tags=["nbval-ignore-output"]
clipped = {}
for name, optimizer, lr in (("AdamW", torch.optim.AdamW, 1e-2), ("descent", torch.optim.SGD, 4.0)):
    for clip in (0.1, 1.0, math.inf):
        clipped[name, clip] = clipping(optimizer, lr, clip)
        loss, norm = clipped[name, clip]
        print(f"{name:8} clipped at {clip:3}: loss at the end {loss:5.2f}, longest gradient {norm:6.1f}")

# %% [markdown]
# Three statements about the six runs, as assertions:

# %%
assert clipped["AdamW", math.inf][1] < 1  # nothing to cut at length 1
assert abs(clipped["AdamW", 0.1][0] - clipped["AdamW", math.inf][0]) < 0.5
assert not clipped["descent", math.inf][0] < clipped["descent", 1.0][0] + 1
print("AdamW: no matter, even cut at 0.1; plain descent with a large step: without clipping it fails")

# %% [markdown]
# With AdamW no gradient here is longer than 1: there is nothing to cut. Cut at 0.1, far below the longest gradient, the
# loss ends in nearly the same place: AdamW divides a gradient by its own recent size, so its length hardly counts.
# Plain descent with a large step does explode, and clipping saves it. Clipping does no harm here, and stays on.

# %% [markdown] slideshow={"slide_type": "slide"}
# **Now train.** The main model gets all 20,000 pairs. Its attention is concat: the additive score, asked in Luong's order,
# so that all steps run at once. (Section 2.6 shows that this is a good choice.) While one CPU core is at it, the other
# trains what section 2.6 compares: five kinds times three seeds on 3,500 pairs, and a few more on 1,000. Expect a minute
# or two on a CPU.

# %% tags=["nbval-ignore-output"]
MAIN_RECIPE = {"epochs": 6, "batch_size": 64}
SMALL_RECIPE, TINY_RECIPE = {"epochs": 4, "batch_size": 32}, {"epochs": 8, "batch_size": 32}
SEEDS, TINY = range(3), 1_000
tiny = tuple(t[:TINY] for t in data["train"])


def new_model(kind, seed, size):
    seed_everything(seed)
    return Seq2Seq(len(en), len(ja), hidden_size=size, attention=kind).to(device)


translator = new_model("luong-concat", 0, 64)
compared = {(kind, seed): new_model(kind, seed, 48) for seed in SEEDS for kind in KINDS}
on_little = {(kind, seed): new_model(kind, seed, 48)
             for seed in SEEDS for kind in ("luong-general", "luong-concat")}  # fmt: skip

# %% [markdown]
# Now all 22, two at a time. The curve is the main model's.

# %% tags=["nbval-ignore-output"]
jobs = [job(translator, data["train"], **MAIN_RECIPE)]
jobs += [job(model, some, seed=seed, **SMALL_RECIPE) for (kind, seed), model in compared.items()]
jobs += [job(model, tiny, seed=seed, **TINY_RECIPE) for (kind, seed), model in on_little.items()]
histories = fit_all(jobs, "22 models")
plots.loss_curves({"main model": histories[0]}, title="The translator learns")
plt.show()

# %% [markdown]
# Training and validation loss fall together: the model does not just learn its 20,000 pairs by heart. Now let it
# translate the test set, greedily: at each step the likeliest word, until `<EOS>`.

# %% tags=["nbval-ignore-output"]
source, target = data["test"]
translations = translation.translate_texts(translator, source, ja)
main_match = translation.exact_match(translations, test.target)
main_bleu = translation.bleu(translations, test.target)
print(f"exact match {main_match:.3f}, BLEU {main_bleu.score:.1f}\n{main_bleu.signature}")
for text in ("the kind boy will play in my house .", "there are two cats on the car ."):
    print(text, "→", ja.decode(translator.translate(en.encode_batch([text], device)[:, 1:])[0][0]))

# %% [markdown]
# The bar for the main model:

# %%
assert main_match >= 0.95 and main_bleu.score > 95
print("at least 95 of 100 unseen sentences are exactly right")

# %% [markdown]
# Three promises to check on the trained model. A sentence alone and in a padded batch: the same. Beam search with one
# beam (keep the 1 best beginning): the same as greedy. And no **leak**: changing a later target word moves no earlier
# output.

# %%
batch = data["test"][0][:20]
tokens, weights = translator.translate(batch)
for row in range(len(batch)):
    length = int((batch[row] != 0).sum())
    alone, alone_weights = translator.translate(batch[row : row + 1, :length])
    steps = alone.size(1)
    assert torch.equal(alone[0], tokens[row, :steps]) and (tokens[row, steps:] == 0).all()
    assert torch.allclose(alone_weights[0], weights[row, :steps, :length], atol=1e-5)
leak = analysis.find_leak(lambda t: translator(batch[:1].expand(len(t), -1), t)[0], data["test"][1][:20])
assert torch.equal(tokens, translator.translate(batch, beam_size=1)[0]) and leak is None
print("alone = in a batch; beam 1 = greedy; leak:", leak)

# %% [markdown]
# And a wider beam, on 400 sentences: does keeping four beginnings help?

# %% tags=["nbval-ignore-output"]
beamed = translation.translate_texts(translator, source[:400], ja, beam_size=4)
match = {"greedy": translation.exact_match(translations[:400], test.target[:400]),
         "beam of 4": translation.exact_match(beamed, test.target[:400])}  # fmt: skip
print({name: round(value, 3) for name, value in match.items()}, "exact match on 400 sentences")
assert abs(match["greedy"] - match["beam of 4"]) < 0.03

# %% [markdown]
# A wider beam keeps four beginnings at each step and returns the best whole sentence (with the length penalty of Wu et
# al. 2016, equation 14, which keeps it from preferring short sentences). Here it hardly matters.
#
# **Remember: padding must change nothing, the loss counts real words only, and a translator is judged on what it writes by
# itself.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.6 Head to head
#
# **Which attention is best?** Five kinds, the same 3,500 pairs, the same 4 epochs, the same width of 48, three seeds
# each. That is a small budget, a sixth of the main model's data; so the numbers below say who learns fast from little,
# and not where each would end. First the reference points, without which a BLEU means nothing. **Retrieval** translates
# nothing: it finds the training sentence whose words are most like those of the test sentence, and answers with that
# sentence's translation.

# %%
def bags(source):
    """How often each word occurs: (N, S) → (N, V), each row of length 1."""
    counts = torch.zeros(len(source), len(en), device=source.device)
    counts.scatter_add_(1, source, torch.ones_like(source, dtype=torch.float))
    return F.normalize(counts[:, 3:], dim=1)  # without the special symbols


shared = bags(data["test"][0]) @ bags(some[0]).T  # (1000, V) @ (V, 3500) → (1000, 3500)
nearest = (10_000 * shared).round().argmax(dim=1).tolist()  # ties go to the first, on every machine
retrieved = [corpus["train"].target[i] for i in nearest]
retrieval_bleu = translation.bleu(retrieved, test.target).score
retrieval_match = translation.exact_match(retrieved, test.target)
print(f"retrieval: BLEU {retrieval_bleu:.1f}, exact match {retrieval_match:.3f}")
assert 10 < retrieval_bleu < 60 and retrieval_match < 0.1

# %% [markdown]
# Then every model on the whole test set, and on its longest quarter. The alignment error compares the weights' largest
# entry in each row with the gold links. For that the decoder is *fed the reference*: only then does row $j$ speak of the
# reference's word $j$.

# %%
order = sorted(range(len(test)), key=lambda i: lengths["test"][i][0])
longest = order[-len(order) // 4 :]
print(len(longest), "longest sentences,", lengths["test"][longest[0]][0] - 1, "English words or more")


# %% [markdown]
# `judge` puts the measures of one model into a dictionary.

# %%
def judge(model, name="test"):
    source, target = data[name]
    texts, right = translation.translate_texts(model, source, ja), corpus[name].target
    bleu = translation.bleu(texts, right).score
    result = {"BLEU": bleu, "exact match": translation.exact_match(texts, right)}
    if name == "test":
        chosen = [texts[i] for i in longest], [right[i] for i in longest]
        result["BLEU, longest"] = translation.bleu(*chosen).score
    if model.attention is not None:
        weights = translation.forced_weights(model, source, target)
        gold = corpus[name].alignment
        result["alignment error"] = translation.alignment_error_rate(weights, gold, lengths[name])
    return result


# %% [markdown]
# Fifteen models, each judged on 1,000 sentences:

# %% tags=["nbval-ignore-output"]
results = {key: judge(model) for key, model in tqdm(compared.items(), file=sys.stdout, ncols=88)}
of_kind = {kind: {name: seed_interval([results[kind, seed][name] for seed in SEEDS])
                  for name in results[kind, 0]} for kind in KINDS}  # fmt: skip
for name in ("BLEU", "BLEU, longest", "exact match", "alignment error"):
    print(name)
    for kind in KINDS:
        print(f"    {kind:14}", of_kind[kind].get(name, "-"))

# %% [markdown]
# Each line is a mean over three seeds with its 95 per cent interval. Three seeds give wide intervals. (One of them may
# even reach below 0, where no share can lie: it is made of a mean and a spread, and knows no limits.) To compare two
# kinds, take the differences seed by seed, and believe in one whose interval excludes 0; that follows below the
# figure.

# %% tags=["nbval-ignore-output"]
intervals = {kind: of_kind[kind]["BLEU, longest"] for kind in KINDS}
ax = plots.interval_plot(intervals, "BLEU on the longest quarter", "Three seeds, 3,500 pairs, 4 epochs")
for row, kind in enumerate(KINDS):
    ax.plot([results[kind, seed]["BLEU, longest"] for seed in SEEDS], [row] * 3, "k.", markersize=5)
plt.show()

# %% [markdown]
# Points are seeds. See the distance between "none" and the additive scores, and how far apart the seeds of "dot" lie:
# one is hardly better than "none", two are close to the additive scores. "dot" has no parameters of its own, so the
# states themselves must become comparable. "general" has a matrix, and is behind too. Why is not measured here.

# %% tags=["nbval-ignore-output"]
for kind in KINDS[1:]:
    long_bleu = {k: [results[k, seed]["BLEU, longest"] for seed in SEEDS] for k in (kind, "none")}
    gains = [a - b for a, b in zip(*long_bleu.values())]
    print(f"{kind:14} gains on the longest quarter", [round(g, 1) for g in gains], seed_interval(gains))

# %% [markdown]
# For the two additive kinds the gain is large for every seed. Of the products "general" gains less in the run stored
# here, and "dot" next to nothing for one seed.

# %%
for kind in ("bahdanau", "luong-concat"):
    for seed in SEEDS:
        assert results[kind, seed]["BLEU, longest"] > results["none", seed]["BLEU, longest"] + 20
print("additive attention beats no attention by more than 20 BLEU on long sentences, for every seed")

# %% [markdown]
# The gain on *all* sentences is about as large. So is it length that attention helps with, or just everything? Take
# BLEU on the longest group of section 2.2 as a share of BLEU on the shortest: 1 would mean that length costs nothing.

# %% tags=["nbval-ignore-output"]
kept = {}
for kind in ("none", "bahdanau", "luong-concat"):
    texts = [translation.translate_texts(compared[kind, seed], data["test"][0], ja) for seed in SEEDS]
    kept[kind] = [scores[-1] / scores[0] for scores in map(bleu_by_length, texts)]
    print(f"{kind:14} keeps {seed_interval(kept[kind])} of its BLEU on the longest sentences")
size, large = sum(p.numel() for p in plain[128].parameters()), length_bleu[128]
print(f"none, {size:,} parameters: BLEU {plain_bleu[128]:.1f}, keeps {large[-1] / large[0]:.3f}")

# %% [markdown]
# The claim has two parts: what is kept, and where retrieval stands.

# %%
assert min(kept["luong-concat"] + kept["bahdanau"]) > max([*kept["none"], large[-1] / large[0]])
assert of_kind["none"]["BLEU"].high < retrieval_bleu < of_kind["luong-concat"]["BLEU"].low
print("without attention length costs more; that model is worse than retrieval, and concat is better")

# %% [markdown]
# Both are true: at this size additive attention helps everywhere, and it loses less on long sentences. Two reference
# points keep you modest. In BLEU retrieval is better than the small model without attention, and close to the
# multiplicative scores; but hardly one of its sentences is exactly right. And the model of section 2.2 with a context
# vector of 128 numbers and five times the parameters nearly catches up in BLEU, with 3 epochs instead of 4: a
# bottleneck can be widened. But it loses about as much on long sentences as the small one.

# %% [markdown] slideshow={"slide_type": "subslide"}
# What does each cost? Parameters, time for a batch in training, and memory: the megabytes that are kept from the forward
# pass for the backward pass. Time is measured on eight batches, the same for all.

# %% tags=["nbval-ignore-output"]
def cost(model, batch=64):
    """Seconds of one training pass, eight times, and the megabytes kept for the backward pass."""
    seconds, kept = [], {}

    def pack(t):
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    for number in range(8):
        pair = tuple(t[batch * number : batch * (number + 1)] for t in some)
        start = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(pack if number == 7 else lambda t: t, lambda t: t):
            translation_loss(model, *pair)[0].backward()
        if device.type == "cuda":
            torch.cuda.synchronize()  # a GPU works on after the call has returned
        seconds.append(time.perf_counter() - start)
    model.zero_grad()
    return statistics.median(seconds), sum(kept.values()) / 2**20


# %% [markdown]
# Each line: parameters, the time over three models with its interval, the memory (it is the same for every seed).

# %% tags=["nbval-ignore-output"]
costs = {kind: [cost(compared[kind, seed]) for seed in SEEDS] for kind in KINDS}
for kind, runs in costs.items():
    size = sum(p.numel() for p in compared[kind, 0].parameters())
    milliseconds = seed_interval([1000 * seconds for seconds, _ in runs])
    print(f"{kind:14}{size:8,} parameters, {milliseconds} ms a batch, {runs[0][1]:5.1f} MB")

# %% [markdown]
# Additive scores keep more memory than products. That can be counted, and holds on every machine; the times are those of
# this one.

# %%
products = ("luong-dot", "luong-general")
assert min(costs[k][0][1] for k in ("bahdanau", "luong-concat")) > max(costs[k][0][1] for k in products)
print("additive scores keep more memory")

# %% [markdown] slideshow={"slide_type": "subslide"}
# **Folklore on trial.** "Additive attention is better with little data, multiplicative with much." Compare *general* with
# *concat*: the same decoder, only the score differs. On 1,000 pairs (8 epochs) and on 3,500 (4 epochs); a difference for
# each seed, and its interval. **Predict first**: what sign do you expect at each size?
#
# <details><summary>Answer</summary>
#
# The folklore predicts concat ahead on 1,000, and general ahead or catching up on 3,500. Read below what came out.
#
# </details>

# %% tags=["nbval-ignore-output"]
difference = {}
for size, models in ((TINY, on_little), (SMALL, compared)):
    bleus = {}
    for kind in ("luong-concat", "luong-general"):
        bleus[kind] = [judge(models[kind, seed])["BLEU"] for seed in SEEDS]
        print(f"{size:5} pairs, {kind:13}: BLEU {seed_interval(bleus[kind])}")
    difference[size] = seed_interval([a - b for a, b in zip(*bleus.values())])
    print(f"{size:5} pairs, concat minus general: {difference[size]}")

# %% [markdown]
# What can be asserted of the two differences, and of concat against none:

# %%
assert difference[SMALL].mean > 3 and difference[SMALL].mean > difference[TINY].mean
assert of_kind["luong-concat"]["BLEU"].mean > of_kind["none"]["BLEU"].mean + 20
print("the additive score is ahead on 3,500 pairs, and by more than on 1,000")

# %% [markdown]
# The folklore's second half is not borne out here: on 3,500 pairs the additive score is clearly ahead, by more than on
# 1,000, where the interval is wide and may include 0. What made the lead larger is not separated: 3,500 pairs
# are also more steps of training (440 against 256). And both corpora are small, with one learning rate for all; the
# folklore may mean millions of pairs. What the product does win is cost: fewer parameters, less memory, less time.
#
# **Remember: a head-to-head needs seeds, equal budgets and reference points; and its result holds for that budget.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.7 Reading the map
#
# **Is the map right?** The main model reads a test sentence and is fed the reference. Colours are attention weights, frames
# are the gold links: a bright cell inside a frame is right. Look for the place where verb and object cross.

# %% tags=["nbval-ignore-output"]
source, target = data["test"]
maps = translation.forced_weights(translator, source, target)  # 1,000 times (T, S)


def show_map(i, ax=None, title=None, name="test", weights=None):
    part = corpus[name]
    rows, columns = part.romaji[i].split() + ["<EOS>"], part.source[i].split() + ["<EOS>"]
    weights = (maps if weights is None else weights)[i][: len(rows), : len(columns)]
    ax = plots.attention_heatmap(weights, rows, columns, title=title or part.source[i], ax=ax)
    return plots.outline_links(ax, part.alignment[i])


crossing = test.source.index("her father can make delicious bread in the kitchen .")
show_map(crossing, title="Colour: the model. Frames: the truth")
plt.show()

# %% [markdown]
# Read the columns "make" and "bread". In English the verb comes first, in Japanese `pan o` (bread) comes before
# `tsukuru` (make), and the bright cells cross over with the frames. Next, a *counter*: with a number Japanese puts a
# word that depends on what is counted. Two cats are `ni hiki`, and `hiki` is for small animals. The gold links give
# both words to "two". In the same sentence a place moves to the front. Which English word does `hiki` look at?

# %% tags=["nbval-ignore-output"]
two_cats = test.source.index("there are two cats on the car .")
show_map(two_cats, title="Two cats on the car: counter and place")
plt.show()

# %% [markdown]
# The place, `kuruma no ue ni`, comes first. The last row is the step that writes `<EOS>`: it has no gold link. What does
# the model look at when it stops? See the bottom right corner. How good are the maps as a whole? Compare with the diagonal, and
# look at what kind of word goes wrong: for each frequent word the share of its strongest cells that are links.

# %% tags=["nbval-ignore-output"]
main_error = translation.alignment_error_rate(maps, test.alignment, lengths["test"])
links = translation.links_of(maps, lengths["test"])
print(f"alignment error rate {main_error:.3f}; the diagonal has {diagonal_error:.3f}")
spelled = dict(zip(" ".join(corpus["train"].target).split(), " ".join(corpus["train"].romaji).split()))
hits, seen = {}, {}
for sentence, guess, gold in zip(test.target, links, test.alignment):
    for i, j in guess:
        word = sentence.split()[j]
        seen[word], hits[word] = seen.get(word, 0) + 1, hits.get(word, 0) + ((i, j) in gold)
common = sorted(seen, key=seen.get, reverse=True)[:14]
print("   ".join(f"{spelled[word]} {hits[word] / seen[word]:.2f}" for word in [*common, "匹"]))

# %% [markdown]
# `wa`, `o` and `ga` hardly ever lie on a link, and all three are particles. But so is `de`, which mostly does. Count
# all particles apart from all other words; the next cell counts, and the one after it prints the shares.

# %%
particles = set("はをがにでのとへ")  # wa, o, ga, ni, de, no, to, e: in Latin letters "two" is ni as well
share = {}
groups = {"particles": particles & set(seen), "other words": set(seen) - particles - {"。", "か"}}
for name, chosen in groups.items():
    share[name] = sum(hits[w] for w in chosen) / sum(seen[w] for w in chosen)
assert main_error <= diagonal_error / 2
print("the map's error is at most half of the diagonal's")

# %% [markdown]
# Where does a particle look instead of at its link? One suspicion: at the end of the source. First the two shares,
# then the weight on the end.

# %% tags=["nbval-ignore-output"]
print({name: round(value, 3) for name, value in share.items()})
at_the_end = {name: [] for name in groups}
for m, (s, _), words in zip(maps, lengths["test"], test.target):
    for j, word in enumerate(words.split()):
        for name in groups:
            if word in groups[name]:
                at_the_end[name].append(float(m[j, s - 1 : s + 1].sum()))
parked = {name: statistics.mean(values) for name, values in at_the_end.items()}
print("weight on the source's last mark and its <EOS>:", {k: round(v, 3) for k, v in parked.items()})
at_end = np.mean([float(m[t, s - 1 : s + 1].sum()) for m, (s, t) in zip(maps, lengths["test"])])
print(f"the same at the step that writes <EOS>: {at_end:.2f}")
assert share["particles"] < share["other words"] and parked["particles"] > parked["other words"]
assert at_end > 0.5

# %% [markdown]
# To stop, the model looks mostly at the end of the source. The strongest cell of a particle is far less often a link
# than that of another word, and a particle puts about three times the weight on the end. Why? One guess: after
# `otousan` (father) the decoder knows by itself that `wa` comes, and needs little of the source. That can be tested.
# Take the choice away: give every source word the same weight, and count the words that are written right.

# %%
class Even(nn.Module):
    """An attention that may no longer choose: every word of the source gets the same weight."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.project_keys = inner, inner.project_keys

    def forward(self, query, keys, mask, projected=None):
        even = (mask / mask.sum(-1, keepdim=True)).expand_as(self.inner(query, keys, mask, projected)[1])
        return even @ keys, even


# %% [markdown]
# Count the right words once with the weights that the model learned, and once with even weights.

# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def right_share():
    """Share of right words, the translator being fed the reference: of particles, of other words."""
    right = (translator(source, target[:, :-1])[0].argmax(-1) == target[:, 1:]).tolist()
    places = [(w, hit) for text, row in zip(test.target, right) for w, hit in zip(text.split(), row)]
    return {name: statistics.mean(hit for w, hit in places if w in groups[name]) for name in groups}


own, usual = right_share(), translator.attention
translator.attention = Even(usual)
even, translator.attention = right_share(), usual
for name in groups:
    print(f"{name:12} right with its own weights {own[name]:.3f}, with even weights {even[name]:.3f}")

# %% [markdown]
# If the guess is right, particles lose much less than other words:

# %%
assert own["particles"] - even["particles"] < 0.5 * (own["other words"] - even["other words"])
print("without a choice of words, particles suffer less than half as much as other words")

# %% [markdown]
# The guess holds: particles need the look far less. The weights must still add up to 1, so they go somewhere, often
# to the end. (That `wa` belongs to its noun is also a convention of the gold links.) And `hiki`: its row
# looks at "cats" instead of "two", and has a reason, since the animal decides the counter. The weights know far more
# than the diagonal, and still they are not the gold links: nothing in the loss asks them to be.

# %% [markdown] slideshow={"slide_type": "subslide"}
# **Does a sure look go with a right word?** For each step take three statistics of its weights: the *entropy* (chapter
# 1), the largest weight, and the *effective number of positions* $e^{\text{entropy}}$. Then ask whether the word was
# right, the model being fed the reference. The main model makes few mistakes, so take a Bahdanau model of section 2.6.

# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def steps_of(model, source, target):
    """For each real step: its sentence's number, entropy, largest weight, whether the word was right."""
    logits, weights = model(source, target[:, :-1])
    real = target[:, 1:] != 0
    sentence = torch.arange(len(source), device=source.device).unsqueeze(1).expand_as(real)
    right = (logits.argmax(-1) == target[:, 1:]).float()
    columns = (sentence, analysis.attention_entropy(weights), weights.amax(-1), right)
    return tuple(column[real].cpu().numpy() for column in columns)


sentence, entropy, largest, right = steps_of(compared["bahdanau", 0], source, target)
print(f"{len(right):,} steps: {right.mean():.3f} right; entropy {entropy.mean():.2f}, largest weight "
      f"{largest.mean():.2f}, effective positions {np.exp(entropy).mean():.2f} on average")

# %% [markdown]
# Sort the steps by entropy into four equal groups, and look at the share of right words in each.

# %% tags=["nbval-ignore-output"]
edges = np.quantile(entropy, [0, 0.25, 0.5, 0.75, 1])
quarter = np.clip(np.searchsorted(edges, entropy, side="right") - 1, 0, 3)
names = ("lowest", "second", "third", "highest")
labels = [f"{name} (up to {edges[k + 1]:.2f} nats)" for k, name in enumerate(names)]
shares = {labels[k]: bootstrap_interval(right[quarter == k]) for k in range(4)}
plots.interval_plot(shares, "share of right words", "Words by the entropy of their attention weights")
plt.show()
assert shares[labels[0]].low > shares[labels[3]].high

# %% [markdown]
# See the first row: the quarter of steps with the lowest entropy is right most often, the highest clearly less often.
#
# One number for it is the *correlation* between entropy and being right: from -1 (one falls exactly as the other rises)
# over 0 (no linear relation) to 1. Its interval must not pretend that the words of one
# sentence are independent: so whole *sentences* are drawn again with replacement.

# %% tags=["nbval-ignore-output"]
def correlation_interval(x, y, group, resamples=300):
    """Correlation, and its 95 per cent bootstrap interval over groups."""
    members = [np.flatnonzero(group == g) for g in np.unique(group)]
    draw, values = np.random.default_rng(0), []
    for _ in range(resamples):
        rows = np.concatenate([members[i] for i in draw.integers(len(members), size=len(members))])
        values.append(np.corrcoef(x[rows], y[rows])[0, 1])
    return float(np.corrcoef(x, y)[0, 1]), *np.quantile(values, [0.025, 0.975])


found = correlation_interval(entropy, right, sentence)
print("correlation of entropy and right word: {:.3f} [{:.3f}, {:.3f}]".format(*found))

# %% [markdown]
# An interval below 0, and far from -1:

# %%
assert found[2] < 0 and found[0] > -0.6
print("lower entropy goes with a right word: the interval lies below 0, and far from -1")

# %% [markdown]
# A sure look and a right word go together, but loosely: entropy is a hint, and no confidence score.
#
# **Remember: draw the truth on the map. Attention weights are evidence about alignment, not alignment.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.8 Longer than training, and new combinations
#
# **Where does it break?** Nothing in training had more than 12 English words, and "black cat" was never there. Here is the
# main model on all three sets, beside a small model of each kind.

# %% tags=["nbval-ignore-output"]
far = {}
shown = {"main": translator, **{f"small {kind}": compared[kind, 0] for kind in KINDS}}
for label, model in tqdm(shown.items(), file=sys.stdout, ncols=88):
    far[label] = {name: judge(model, name) for name in ("test", "longer", "new")}
for label, row in far.items():
    cells = [f"{name} {r['exact match']:.3f} {r['BLEU']:5.1f} {r.get('alignment error', math.nan):.3f}"
             for name, r in row.items()]  # fmt: skip
    print(f"{label:20}", "   ".join(cells))

# %% [markdown]
# In each group: exact match, BLEU, alignment error ("none" has no weights, so no error: `nan`). The small models are
# the first seeds of section 2.6, and for "dot" that is the one that learned little. On *new* the main model loses
# something; on *longer* it loses more. What does its attention do there? Look at the first translation of a longer
# sentence that goes wrong, with the model fed its own words.

# %% tags=["nbval-ignore-output"]
source, target = data["longer"]
own = translation.translate_texts(translator, source, ja)
wrong = next(i for i, text in enumerate(own) if text != corpus["longer"].target[i])
spelled = dict(zip(" ".join(corpus["train"].target).split(), " ".join(corpus["train"].romaji).split()))
tokens, weights = translator.translate(source[wrong : wrong + 1])
rows = [spelled.get(word, word) for word in ja.tokens(tokens[0])]
columns = corpus["longer"].source[wrong].split() + ["<EOS>"]
print("reference:", corpus["longer"].romaji[wrong])
missing = set(corpus["longer"].romaji[wrong].split()) - set(rows)
partners = {i: columns[i] for i, j in corpus["longer"].alignment[wrong]
            if corpus["longer"].romaji[wrong].split()[j] in missing}  # fmt: skip
print("missing:  ", sorted(missing))
sums = weights[0].sum(0).tolist()
print("sum of the columns:", {word: round(sums[i], 2) for i, word in partners.items()})
title = "A longer sentence, translated wrongly"
plots.attention_heatmap(weights[0, :, : len(columns)], rows, columns, title=title)
plt.show()

# %% [markdown]
# The last printed line says how much weight the English partners of the missing words got, over all rows. In the run
# stored here they were looked at: `de` gave way to `ni`, which looks at the same "in", and other rows looked at
# "pencil", which is left out. So what is left out need not be unseen. What is typical? Two measures over all sentences: the **coverage** of a
# source word, that is the sum of its column (below 0.2 counts as "never looked at"), and the length of the translation
# against the reference.

# %% tags=["nbval-ignore-output"]
def look(name):
    """Entropy in nats and as a share of ln S; share of linked words with coverage below 0.2; length."""
    means, missed, ratio = [], [], []
    for first in range(0, len(data[name][0]), 250):
        batch = data[name][0][first : first + 250]
        tokens, weights = translator.translate(batch)
        for visible in (None, (batch != 0).unsqueeze(1)):
            means.append(float(analysis.attention_entropy(weights, visible)[tokens != 0].mean()))
        for row, steps in enumerate((tokens != 0).sum(1).tolist()):
            linked = sorted({a for a, _ in corpus[name].alignment[first + row]})
            missed += (weights[row].sum(0)[linked] < 0.2).float().tolist()
            ratio.append(steps / (lengths[name][first + row][1] + 1))
    return [statistics.mean(values) for values in (means[::2], means[1::2], missed, ratio)]


# %% [markdown]
# Entropy needs care: among more words the same kind of look has a larger entropy, up to $\ln S$. So it is printed in nats
# and as a share of the largest possible.

# %% tags=["nbval-ignore-output"]
looks = {name: look(name) for name in ("test", "new", "longer")}
for name, (nats, share_of_largest, missed, ratio) in looks.items():
    print(f"{name:7} entropy {nats:.3f} nats, {share_of_largest:.3f} of the largest possible, "
          f"never looked at {missed:.3f}, length {ratio:.3f}")

# %% [markdown]
# What the text says about the three sets, as assertions:

# %%
assert far["main"]["longer"]["exact match"] < far["main"]["test"]["exact match"] - 0.05
assert far["main"]["longer"]["exact match"] < far["main"]["new"]["exact match"]
assert looks["longer"][3] < looks["test"][3] - 0.005
assert abs(looks["longer"][1] - looks["test"][1]) < 0.08
assert far["small luong-concat"]["longer"]["BLEU"] > far["small none"]["longer"]["BLEU"] + 10
print("longer sentences are harder for the main model; of the small ones, much harder without attention")

# %% [markdown]
# Beyond the lengths it knows, the translations come out too short on average: words are left out. In nats the look is less
# sure there, but nearly all of that is the number of words to choose from; as a share of the largest possible entropy it
# hardly moves. Words never looked at stay rare, a few per cent on all three sets. On *new* the length stays about right.
#
# **Remember: a score on the usual test set says nothing of longer sentences. Ask for them separately.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.9 Toward self-attention
#
# **If a decoder may look at every word of the source, why may a word not look at every word of its own sentence?** In this
# chapter queries and keys come from two languages. Nothing in the formula asks for that.
#
# | | attention between encoder and decoder | self-attention |
# |---|---|---|
# | queries from | states of the decoder | the sentence itself |
# | keys and values from | states of the encoder | the sentence itself |
# | weights | target words × source words | words × words of one sentence |
# | says | what to translate next | which words belong together |
# | order comes from | the recurrent networks | position encodings (chapter 1) |
# | steps that wait for one another | as many as words: those of the recurrent networks | none |
#
# Try it with what you have: let the main model's annotations attend to each other, with the scaled dot product of
# chapter 1.

# %% tags=["nbval-ignore-output"]
text = "the small cat that ate the egg is not cute ."
ids = en.encode_batch([text], device)[:, 1:]
with torch.no_grad():
    annotations = translator.encode(ids).memory.annotations  # (1, S, 64)
    others = ~torch.eye(ids.size(1), dtype=torch.bool, device=device)  # hide each word from itself
    _, weights = attention.scaled_dot_product_attention(annotations, annotations, annotations, others)
plots.attention_heatmap(weights[0], en.tokens(ids[0]), title="A sentence attends to itself")
plt.show()

# %% [markdown]
# Each row is a word, and says which other words are like it. (A mask hides each word from itself.)
# Nobody trained this. Mostly neighbours find each other; count how often, over 200 sentences.

# %% tags=["nbval-ignore-output"]
near = []
for row in data["test"][0][:200]:
    ids = row[row != 0].unsqueeze(0)  # (1, S)
    with torch.no_grad():
        keys = translator.encode(ids).memory.annotations
    others = ~torch.eye(ids.size(1), dtype=torch.bool, device=device)
    top = attention.scaled_dot_product_attention(keys, keys, keys, others)[1][0].argmax(-1).cpu()
    near += ((top - torch.arange(len(top))).abs() == 1).tolist()
print(f"the largest weight lies on a neighbour in {statistics.mean(near):.2f} of the rows")
assert statistics.mean(near) > 0.6

# %% [markdown]
# Chapter 3 gives queries, keys and values matrices of their own, several sets of them. Chapter 4 throws the recurrent
# networks out, and translates this corpus with attention alone.
#
# **Remember: attention was invented to look from one sentence into another. Let a sentence look into itself, and no word
# has to wait for the state of the word before.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.10 Bug clinic
#
# **Would you notice?** Six versions that people really write. Each runs, and has the right shape. Find the mistake before
# you unfold the answer. Below each stands the test that exposes it: it must fail on the wrong version and pass on the
# right one, and `exposes` checks both.

# %%
def exposes(test, wrong, right):
    assert not test(wrong), "the test does not notice the bug"
    assert test(right), "the test rejects the right version"
    print(f"the test {test.__name__!r} fails on the wrong version and passes on the right one")


seed_everything(0)
clinic = Seq2Seq(len(en), len(ja), hidden_size=32, attention="bahdanau").eval()
pairs = tuple(t[:6].cpu() for t in data["test"])
print("material for the clinic:", *(tuple(t.shape) for t in pairs))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 1
#
# Luong's attention for a whole batch.

# %%
def bug_1(states, annotations, mask):
    weights = (states @ annotations.transpose(1, 2)).softmax(dim=-1)
    return weights @ (annotations * mask.unsqueeze(-1)), weights


states, annotations = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
print(tuple(bug_1(states, annotations, mask)[0].shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The padded annotations are set to 0 in the average, but padding still *gets weight*, so the weights of the words add up to
# less than 1, and the context shrinks with the amount of padding. The mask belongs before the softmax.
#
# The test: a sentence and its padded copy must get the same context.
#
# </details>

# %%
def padding_changes_nothing(attend):
    short = attend(states[1:], annotations[1:, :3], mask[1:, :3])[0]
    return torch.allclose(attend(states, annotations, mask)[0][1:], short, atol=1e-6)


scorer = classic_attention.MultiplicativeAttention(8, 8, "dot")
exposes(padding_changes_nothing, bug_1, lambda q, k, m: scorer(q, k, m.unsqueeze(1)))
print("weight of the words, with the bug:", bug_1(states, annotations, mask)[1][1, :, :3].sum(-1))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 2
#
# Bahdanau's decoder, one step.

# %%
def bug_2(model, tokens, hidden, memory):
    no_context = torch.zeros_like(hidden)
    hidden = cell_of(model)(torch.cat([model.embedding(tokens), no_context], -1), hidden)
    context, weights = model.attention(hidden, memory.annotations, memory.mask)
    return hidden, context, weights


def cell_of(model):
    cell = nn.GRUCell(model.gru.input_size, model.gru.hidden_size)
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in model.gru.state_dict().items()})
    return cell


state = clinic.encode(pairs[0])
first_words = pairs[1][:, 1]
print([tuple(t.shape) for t in bug_2(clinic, first_words, state.hidden, state.memory)])


# %% [markdown]
# <details><summary>The mistake</summary>
#
# It asks with the state *after* the step. That is Luong's order, and the context never enters the GRU. It trains, and it
# is another model than the one whose name it bears.
#
# The test: before the step the decoder has not read the word fed at this step. So in Bahdanau's order the weights must
# not depend on that word.
#
# </details>

# %%
def the_state_before_asks(step):
    words = (first_words, first_words + 1)
    one, other = (step(clinic, tokens, state.hidden, state.memory)[2] for tokens in words)
    return torch.equal(one, other)


def right_step(model, tokens, hidden, memory):
    context, weights = model.attention(hidden, memory.annotations, memory.mask)
    x = torch.cat([model.embedding(tokens), context], dim=-1)
    return cell_of(model)(x, hidden), context, weights


exposes(the_state_before_asks, bug_2, right_step)
right_weights = clinic(pairs[0], first_words.unsqueeze(1))[1][:, 0]
mine = right_step(clinic, first_words, state.hidden, state.memory)[2]
assert torch.allclose(mine, right_weights, atol=1e-6)


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 3
#
# A decoder that fills a tensor of logits step by step, and its loss. `predict(t)` gives the logits for target position
# `t`; position 0 is `<BOS>`.

# %%
def bug_3(predict, target):
    logits = torch.zeros(*target.shape, len(ja))
    for t in range(1, target.size(1)):
        logits[:, t] = predict(t)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=0)


seed_everything(0)
print(f"loss {bug_3(lambda t: torch.randn(len(pairs[1]), len(ja)), pairs[1]):.4f}")


# %% [markdown]
# <details><summary>The mistake</summary>
#
# Position 0 of the logits stays zero and is counted: it costs $\ln V$ for each sentence, whatever the model does. No
# gradient comes from it, so training works; but the loss has a floor, and it depends on the sentences' lengths. Cut
# position 0 off both.
#
# The test: a perfect model has loss 0.
#
# </details>

# %%
def a_perfect_model_pays_nothing(loss):
    answer = 100.0 * F.one_hot(pairs[1], len(ja))
    return bool(loss(lambda t: answer[:, t], pairs[1]) < 1e-4)


def right_loss(predict, target):
    logits = torch.stack([predict(t) for t in range(1, target.size(1))], dim=1)
    return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=0)


exposes(a_perfect_model_pays_nothing, bug_3, right_loss)
floor = bug_3(lambda t: 100.0 * F.one_hot(pairs[1][:, t], len(ja)), pairs[1])
words = int((pairs[1] != 0).sum())
print(f"the floor: {floor:.4f} = {len(pairs[1])} · ln {len(ja)} / {words}")
assert abs(floor - len(pairs[1]) * math.log(len(ja)) / words) < 1e-3


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 4
#
# Many old programs keep the batch in the second axis. Scores (S, B) come in, weights (S, B) go out.

# %%
def bug_4(scores):
    return scores.softmax(dim=1)


scores = torch.randn(5, 3)  # five source words, three sentences
print(tuple(bug_4(scores).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The softmax runs over the *batch*: the sentences compete with each other for every position. Here the keys are axis 0.
#
# The test: a sentence's weights must not depend on who else is in the batch. (In a batch of one every weight would be
# 1.)
#
# </details>

# %%
def neighbours_do_not_matter(weigh):
    return torch.allclose(weigh(scores)[:, :1], weigh(scores[:, :1]), atol=1e-6)


exposes(neighbours_do_not_matter, bug_4, lambda scores: scores.softmax(dim=0))
assert torch.equal(bug_4(scores[:, :1]), torch.ones(5, 1))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 5
#
# How good is the translator? BLEU on the first 250 test sentences.

# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def bug_5(model, source, target):
    words = model(source, target[:, :-1])[0].argmax(dim=-1)  # (B, T)
    return [ja.decode(row) for row in words]


few = tuple(t[:250] for t in data["test"])
weak = compared["bahdanau", 0]
too_good = translation.bleu(bug_5(weak, *few), test.target[:250]).score
honest = translation.bleu(translation.translate_texts(weak, few[0], ja), test.target[:250]).score
print(f"BLEU as above {too_good:.1f}, really {honest:.1f}")


# %% [markdown]
# <details><summary>The mistake</summary>
#
# Teacher forcing was left on: the model gets the right words while it is examined, so after each mistake it is put back
# on the right way. The score is too good. (Exact match would not show it: up to its first mistake the model is fed the
# same words either way.)
#
# The test: a translation must not change when the reference does.
#
# </details>

# %%
def the_reference_is_not_needed(translate):
    other = few[1].roll(1, dims=0)  # somebody else's reference
    return translate(weak, *few) == translate(weak, few[0], other)


exposes(
    the_reference_is_not_needed, bug_5,
    lambda model, s, t: translation.translate_texts(model, s, ja),
)
assert too_good > honest + 1
exact = [translation.exact_match(texts, test.target[:250])
         for texts in (bug_5(weak, *few), translation.translate_texts(weak, few[0], ja))]  # fmt: skip
assert exact[0] == exact[1]
print("exact match is the same either way")


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 6
#
# A demonstration, as it stands in many a notebook: a model, made-up data, and a loss that falls.

# %% tags=["nbval-ignore-output"]
def bug_6(source, target):
    seed_everything(0)
    return torch.randint(3, len(ja), target.shape)  # "targets", to keep the example short


def falling_loss(make_targets, steps=60):
    """Train on 64 sentences; return the loss before, after, and after on 200 other sentences."""
    source, target = (t[:264].cpu() for t in data["train"])
    target = make_targets(source, target)
    seed_everything(0)
    model = Seq2Seq(len(en), len(ja), hidden_size=64, attention="luong-concat")
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    for number in range(steps):
        rows = slice(16 * (number % 4), 16 * (number % 4) + 16)
        loss, count = translation_loss(model, source[rows], target[rows])
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
        losses.append(float(loss.detach() / count))
    with torch.no_grad():
        loss, count = translation_loss(model, source[64:], target[64:])
    return losses[0], losses[-1], float(loss / count)


# %% [markdown]
# See both losses fall.

# %% tags=["nbval-ignore-output"]
nonsense, sense = falling_loss(bug_6), falling_loss(lambda source, target: target)
for name, three in (("random targets", nonsense), ("real targets", sense)):
    print(f"{name:15} loss {three[0]:.2f} → {three[1]:.2f}, on other sentences {three[2]:.2f}")


# %% [markdown]
# <details><summary>The mistake</summary>
#
# Random targets have nothing to do with the source: there is nothing to learn but the examples themselves. The loss
# falls because a model can learn 64 sentences by heart. It shows that gradients flow, and nothing else.
#
# The test: on sentences that it has not trained on, a model must do better than a uniform guess, $\ln V$, by at least 1
# nat.
#
# </details>

# %%
def it_learned_something(losses):
    return losses[2] < math.log(len(ja) - 3) - 1


exposes(it_learned_something, nonsense, sense)
assert nonsense[1] < 0.2 * nonsense[0] and nonsense[2] > math.log(len(ja) - 3) + 1


# %% [markdown]
# **Remember: padded against alone, perfect against zero, other reference, other neighbours: four small questions find most
# bugs of a translator.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.11 Exercises
#
# Write each function in its stub, run the cell, then run the check below it. A check prints ✓, or the smallest input on
# which your answer is wrong, and often what the mistake is. Any right answer counts, by whatever route. The solutions
# are in [a notebook of their own](solutions/02_seq2seq_attention_solutions.ipynb).
#
# The letters for shapes: $B$ sentences in the batch, $T_k$ source words (the keys), $T_q$ target steps (the queries).

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 1 · additive weights (warm-up, 10 minutes)
#
# Write `additive_weights(query, keys, w_query, w_key, v, mask)`, Bahdanau's attention weights for one step of the decoder
# (Bahdanau et al. 2015, section 3.1 and appendix A.1.2). `query` is (B, D_q), one state of the decoder for each sentence;
# `keys` is (B, T_k, D_k). The matrices are multiplied from the right: `query @ w_query` and `keys @ w_key` are both H
# wide, and so is `v`. `mask` is (B, T_k), `True` = may attend. Return the weights, (B, T_k): each row adds up to 1,
# padding gets 0, and a sentence that is masked throughout gets zeros. Use tensor operations, so that gradients flow.
#
# In: `query = [[0.]]`, `keys = [[[0.], [0.854]]]`, everything else 1 and `True` · out: `[[0.3333, 0.6667]]` (because
# $\tanh 0.854 = 0.6931$ and $e^{0.6931} = 2$).
#
# A right answer means that a decoder can ask every source word how well it fits, whatever the lengths in the batch.
#
# <details><summary>Hint</summary>
#
# The query needs an axis for the keys: (B, H) → (B, 1, H). Add, tanh, product with `v`, mask, softmax over the keys. A
# row of $-\infty$ makes NaN: fill with `torch.finfo(scores.dtype).min`, and set the forbidden weights to 0 afterwards.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def additive_weights(query, keys, w_query, w_key, v, mask):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.seq2seq_attention import check_additive_weights

check_additive_weights(additive_weights)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 2 · the general score, all steps at once (core, 15 minutes)
#
# Write `luong_context(states, keys, w, mask)`, Luong's attention with the "general" score (Luong et al. 2015, section
# 3.1): the score of state $s$ and key $h$ is $s^\top W h$. `states` is (B, T_q, D), all steps of the decoder; `keys` is
# (B, T_k, E); `w` is (D, E); `mask` is (B, T_k), `True` = may attend. Return the context (B, T_q, E), the weighted sums of
# the keys, and the weights (B, T_q, T_k). A sentence that is masked throughout gets zeros. Use tensor operations and no
# loop over the steps (the loop is not checked).
#
# In: `states = [[[1.]]]`, `keys = [[[0.], [0.6931]]]`, `w = [[1.]]` · out: `[[[0.4621]]]` and `[[[0.3333, 0.6667]]]`.
#
# A right answer means that the decoder need not wait: the whole sentence takes two products of matrices.
#
# <details><summary>Hint</summary>
#
# (B, T_q, D) @ (D, E) @ (B, E, T_k). The mask lacks an axis: (B, T_k) → (B, 1, T_k). Without that axis a batch of two
# sentences and two steps gives no error, only wrong weights.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def luong_context(states, keys, w, mask):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.seq2seq_attention import check_luong_context

check_luong_context(luong_context)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 3 · the loss over real words only (core, 10 minutes)
#
# Write `sequence_loss(logits, target, pad_id)`: the mean cross-entropy over the real words of the whole batch. `logits`
# is (B, T, V), `target` is (B, T) with ids, and a position that holds `pad_id` counts for nothing: neither in the sum, nor
# in the number it is divided by, nor in the gradient. `logits[:, t]` already belongs to `target[:, t]`; do not shift.
#
# In: `logits = [[[0., 0.6931]]]`, `target = [[1]]`, `pad_id = 0` · out: `0.4055`, minus the logarithm of 2/3.
#
# A right answer means that the loss of a batch no longer depends on how much padding happens to be in it.
#
# <details><summary>Hint</summary>
#
# A mean of the sentences' means is something else: a word in a short sentence would count more. Choose the real
# positions with a boolean mask, or look up `ignore_index` in the documentation of `F.cross_entropy`.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def sequence_loss(logits, target, pad_id):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.seq2seq_attention import check_sequence_loss

check_sequence_loss(sequence_loss)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 4 · coverage: does every source word get attention? (core, 10 minutes)
#
# Each step spreads a weight of 1 over the source. Add up over the steps what a source word received: that total is its
# *coverage* (the idea of Tu et al. 2016, section 3). Write `coverage(weights, target_mask, source_mask, least)`.
# `weights` is (B, T_q, T_k); the masks (B, T_q) and (B, T_k) are `True` at real words. Return the totals, (B, T_k), with 0
# at padding, and for each sentence how many real source words received less than `least`, (B,). Steps that are padding
# count for nothing. Use tensor operations, so that gradients flow: a coverage can be trained on.
#
# In: `weights = [[[0.75, 0.25], [0.875, 0.125]]]`, all words real, `least = 0.5` · out: `[[1.625, 0.375]]` and `[1]`.
#
# A right answer means that you can list the words that a translation passed over.
#
# <details><summary>Hint</summary>
#
# `target_mask.unsqueeze(-1)` is (B, T_q, 1): it silences whole steps. Padding received 0, which is less than `least`,
# but it is not a forgotten word.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def coverage(weights, target_mask, source_mask, least):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.seq2seq_decoding import check_coverage

check_coverage(coverage)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 5 · short, medium, long (core, 10 minutes; the experiment 20 more)
#
# One mean over a test set hides where a model fails. Write `by_length(lengths, values, edges)`: `lengths` is (N,), whole
# numbers; `values` is (N,); `edges` is a tuple of whole numbers that rise. With `edges = (5, 8)` there are three groups:
# up to 5, above 5 and up to 8, above 8. Return the mean value of each group and how many are in it, two tensors of
# `len(edges) + 1` numbers. The mean of an empty group is NaN.
#
# In: lengths `[3, 5, 9]`, values `[1., 0., 0.5]`, edges `(5,)` · out: `[0.5, 0.5]` and `[2, 1]`.
#
# A right answer means that you can ask "for whom is it good?" of any measure, one value a sentence. Then do it: take a
# translator of this chapter and report, for short, medium and long test sentences, the mean entropy of its weights and
# its BLEU, over three seeds and with an interval (`analysis.seed_interval`).
#
# <details><summary>Hint</summary>
#
# `torch.bucketize(lengths, torch.tensor(edges))` gives each length the number of its group. BLEU is no mean over
# sentences: compute `translation.bleu` once for each group, on all its sentences.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def by_length(lengths, values, edges):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.seq2seq_decoding import check_by_length

check_by_length(by_length)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6 · alignment error (core, 15 minutes)
#
# Write `alignment_error(weights, gold, source_length, target_length)` for one sentence. `weights` is (T_q, T_k), rows are
# target words. Only the first `target_length` rows and `source_length` columns are words; the others belong to `<EOS>`
# and padding. Each target word is linked to the source word with its largest weight; that gives a set $A$ of pairs
# (source, target), counted from 0. `gold` is the set $G$ of the right pairs. Return the alignment error rate, a number
# (Och and Ney 2003, with all gold links sure):
#
# $$1 - \frac{2\,|A \cap G|}{|A| + |G|}$$
#
# In: `weights = [[0.1, 0.7, 0.2], [0.1, 0.6, 0.3]]`, `gold = {(1, 0), (2, 1)}`, lengths 3 and 2 · out: `0.5`, because
# $A$ is `{(1, 0), (1, 1)}`.
#
# A right answer means that a map is no longer a matter of taste: it has a number.
#
# <details><summary>Hint</summary>
#
# Cut the rows and columns off *before* `argmax`. A row number is a target position, and in a pair the source comes first.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def alignment_error(weights, gold, source_length, target_length):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.seq2seq_decoding import check_alignment_error

check_alignment_error(alignment_error)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 7 · dropped attention weights (core, 10 minutes; the experiment 30 more)
#
# *Dropout* sets numbers to 0 at random while a model trains, so that it can't lean on any one of them (Srivastava et al.
# 2014). Write `dropped_weights(weights, p, training)`, dropout of attention weights. In training each single weight
# becomes 0 with probability `p`, by a draw of its own, new at every call; a weight that is kept is divided by $1 - p$, so
# that each stays the same *on average*. The rows are not made to add up to 1 again. With `training=False` the weights are
# returned as they are. `p` is at least 0 and less than 1. Use tensor operations, so that gradients flow. Do it without
# `F.dropout` (that is not checked).
#
# In: `[[[0.5, 0.3, 0.2]]]`, `p = 0.2`, training, the second one dropped · out: `[[[0.625, 0., 0.25]]]`.
#
# A right answer means that the decoder sometimes has to do without its favourite word, and that evaluation sees the
# weights unchanged.
#
# <details><summary>Hint</summary>
#
# `torch.rand_like(weights) >= p` is `True` with probability $1 - p$, for each weight alone.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def dropped_weights(weights, p, training):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.seq2seq_attention import check_dropped_weights

check_dropped_weights(dropped_weights)

# %% [markdown] slideshow={"slide_type": "skip"}
# **The experiment.** Is attention dropout good for this translator, and how much of it? Train on 2,000 sentence pairs
# with 0, 10, 20 and 30 per cent, at least three seeds each, all else equal. Report BLEU and the alignment error rate with
# an interval; then the *differences* from 0 per cent, seed by seed, with an interval of their own. Write down what you
# expect before you run it. The next cell is yours; the solutions have one way to do it and what came out.

# %% slideshow={"slide_type": "skip"}
# Your experiment. Before training, model.attention = YourAttention(...) exchanges a model's attention,
# for instance for a class that inherits from MultiplicativeAttention and drops weights in training.


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 8 · the greedy loop (stretch, 20 minutes)
#
# Write `greedy(step, state, batch_size, max_length, bos_id, eos_id, pad_id)`, which translates a whole batch.
# `step(tokens, state)` takes the last word of every sentence, (B,), and returns logits (B, V) and the new state. What a
# state is made of is none of your business: hand it on. Begin with `bos_id`; take the likeliest word each time; a
# sentence ends with its first `eos_id`, and after that comes `pad_id`. Stop when all sentences have ended (the next call
# of `step` would be wasted, and may raise an error), or after `max_length` words. Return the words, (B, T), with `eos_id`
# and without `bos_id`.
#
# Example, with `eos_id` 2 and `pad_id` 0: the decoder says 5, 2 in the first sentence and 6, 7, 2 in the second · out:
# `[[5, 2, 0], [6, 7, 2]]`.
#
# A right answer means that you can run any step-by-step decoder, of this chapter or of later ones.
#
# <details><summary>Hint</summary>
#
# Keep a boolean `done`, (B,), that only ever turns `True`. Put `pad_id` where `done` was `True` *before* the step, append,
# then update `done`.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def greedy(step, state, batch_size, max_length, bos_id, eos_id, pad_id):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.seq2seq_decoding import check_greedy

check_greedy(greedy)

# %% [markdown]
# ## The chapter in one line
#
# The headline of this chapter, from sections 2.5 and 2.6:

# %% tags=["headline", "nbval-ignore-output"]
with_attention, without = (of_kind[kind]["BLEU, longest"] for kind in ("luong-concat", "none"))
print(f"longest sentences: BLEU {with_attention} with concat attention, {without} without")
print(f"main model: exact match {main_match:.3f}")
print(f"alignment error: main model {main_error:.3f}, diagonal {diagonal_error:.3f}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What you now know
#
# 1. A fixed context vector loses long sentences; attention keeps every state of the encoder and chooses among them at each
#    step.
# 2. Bahdanau adds and asks with the state before the step; Luong multiplies and asks with the state after it, so that all
#    steps run at once. Concat is additive attention; general with $W = I$ is dot.
# 3. Padding must change nothing: not the encoder, not the weights, not the loss.
# 4. A translator is judged on what it writes by itself, over seeds, beside retrieval and the diagonal, and on sentences
#    longer than those in training.
# 5. Attention weights align words far better than the diagonal, and are not the truth; a sure look goes with a right word,
#    loosely.
#
# In the next chapter attention gets several heads.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Glossary
#
# | term | meaning |
# |---|---|
# | link, alignment | a pair of words that translate each other; all links of a sentence |
# | alignment error rate | $1 - 2\lvert A \cap G\rvert / (\lvert A\rvert + \lvert G\rvert)$ for guessed links $A$ and gold links $G$ |
# | recurrent network, state | reads one word after the other; the vector that it carries along |
# | GRU | recurrent network whose gates say how much of the old state stays |
# | encoder, decoder | the network that reads the source; the one that writes the target |
# | context vector | what the decoder knows of the source at a step |
# | annotation | the encoder's state at one source word |
# | additive, multiplicative | score by a small network, by a product |
# | teacher forcing | feeding the decoder the right last word instead of its own |
# | scheduled sampling | drawing at each word whether to feed the right one |
# | gradient clipping | cutting a long gradient to a fixed length |
# | greedy, beam search | taking the likeliest word each time; keeping several beginnings |
# | exact match, BLEU | share of sentences that are right word for word; share of runs of 1 to 4 words that occur in the reference |
# | coverage | sum of the attention weights that a source word gets over all steps |

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - Bahdanau, Cho and Bengio, *Neural Machine Translation by Jointly Learning to Align and Translate* (2015):
#   [arXiv:1409.0473](https://arxiv.org/abs/1409.0473). Decoder and additive score: section 3.1, equations 4 to 6, and
#   appendix A.1.2. Encoder in both directions: section 3.2.
# - Luong, Pham and Manning, *Effective Approaches to Attention-based Neural Machine Translation* (2015):
#   [arXiv:1508.04025](https://arxiv.org/abs/1508.04025). Context and state: section 3, equation 5. Scores: section 3.1.
#   Input feeding: section 3.3.
# - Cho et al., *Learning Phrase Representations using RNN Encoder-Decoder* (2014), sections 2.2 and 2.3.
# - Sutskever, Vinyals and Le, *Sequence to Sequence Learning with Neural Networks* (2014), section 2.
# - Bengio, Vinyals, Jaitly and Shazeer, *Scheduled Sampling* (2015), section 2.4.
# - Pascanu, Mikolov and Bengio, *On the Difficulty of Training Recurrent Neural Networks* (2013), section 3.2.
# - Och and Ney, *A Systematic Comparison of Various Statistical Alignment Models* (2003), evaluation methodology.
# - Papineni et al., *BLEU* (2002), section 2.3. Post, *A Call for Clarity in Reporting BLEU Scores* (2018), section 3.
# - Wu et al., *Google's Neural Machine Translation System* (2016), section 7, equation 14.
# - Tu et al., *Modeling Coverage for Neural Machine Translation* (2016), section 3 (exercise 4).
# - Srivastava et al., *Dropout* (2014) (exercise 7).
#
# Next: [chapter 3](03_multi_head_attention.ipynb), multi-head attention taken apart.
