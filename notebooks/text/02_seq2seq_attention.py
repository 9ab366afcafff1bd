# %% [markdown] slideshow={"slide_type": "slide"}
# # 2. Seq2Seq: why attention was invented
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/02_seq2seq_attention.ipynb)
#
# A network reads an English sentence, keeps one vector of it, and writes Japanese from that vector. What does one vector lose?
# You build that network, then the two attentions that mend it. You train it without attention and with it, on the same budget,
# and hold the attention map against the truth, which is known for this corpus.

# %% [markdown]
# | | |
# |---|---|
# | **You will be able to** | say what one fixed vector loses, with numbers; build Bahdanau's and Luong's attention and tell them apart; build a translator whose padding changes nothing, and train it; judge it by exact match, BLEU and alignment error |
# | **Time** | 70 minutes to read; about a minute to run on two CPU cores; exercises 85 minutes more, their two experiments 50 |
# | **You need** | chapter 1 (query, key, value, masks, entropy, embedding, logits, `fit`); `nn.Module`. Recurrent networks are explained here, and no Japanese is needed |

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
# One import cell. What comes from `helpers` loads, trains, draws and measures. The networks you build here, and compare with
# the finished ones.

# %% tags=["nbval-ignore-output"]
import math
import re

import numpy as np
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from helpers import analysis, model_diagrams, plots, translation
from helpers.analysis import bootstrap_interval
from helpers.attention import scaled_dot_product_attention
from helpers.classic_attention import MultiplicativeAttention
from helpers.data import load_parallel
from helpers.plots import show
from helpers.seq2seq import Seq2Seq
from helpers.text import Vocabulary
from helpers.training import fit, seed_everything
from helpers.translation import translation_loss

plots.use_style()
torch.set_num_threads(1)
torch.backends.cudnn.allow_tf32 = False  # newer GPUs would round inside a GRU
torch.set_printoptions(precision=4, sci_mode=False)
print("PyTorch", torch.__version__)

# %% [markdown]
# The network of 2014 (Cho et al.; Sutskever et al.), which this chapter starts from and mends. A GRU is a cell that section 2.2
# builds:

# %% tags=["encoder-decoder"]
model_diagrams.encoder_decoder(["the", "cat", "sleeps"], ["neko", "wa", "ne", "masu"])
show("An encoder hands one vector, the bottleneck, to a decoder that writes four words.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.1 Two languages, and who translates whom
#
# **What makes translation more than a look-up, word by word?** Here is one pair of the corpus, with the Japanese again in
# Latin letters (*romaji*). A small grammar wrote the corpus for this series, so it is known which words translate which.
# Each such pair of words is a **link**.

# %%
corpus = load_parallel("en_ja")
test = corpus["test"]
example = test.source.index("they will eat a banana in his garden .")
english, japanese = test.source[example].split(), test.romaji[example].split()
print(" ".join(english), "\n" + test.target[example], "\n" + " ".join(japanese))
for source, target in sorted(test.alignment[example], key=lambda link: link[1]):
    print(f"{english[source]} → {japanese[target]}", end="   ")

# %% [markdown]
# The verb `tabe` (eat) comes last but for its ending `masu`, which stands for "will" here, and the full stop. "in his garden"
# comes before it, turned round: *his*, *garden*, *in*. The article "a" has no partner, and "they" has two: `karera` and the
# particle `wa`, which marks the topic.
#
# All links of a sentence are its **alignment**; the right one is called **gold**. Draw it: rows are Japanese words, columns
# English ones.

# %% tags=["gold"]
gold = torch.zeros(len(japanese), len(english))
for source, target in test.alignment[example]:
    gold[target, source] = 1.0
title = "The gold alignment: who translates whom"
plots.attention_heatmap(gold, japanese, english, title, xlabel="English word", ylabel="Japanese word")
show("The gold alignment as a matrix; its marks run far from the diagonal.")

# %% [markdown]
# If word order were the same, the marks would lie on a diagonal. How far from it is the whole test set? The
# **alignment error rate** of links $A$ against gold links $G$ (Och and Ney 2003, all gold links being sure) is
#
# $$\text{AER} = 1 - \frac{2\,|A \cap G|}{|A| + |G|}$$
#
# $A \cap G$ are the links in both, and $|A|$ is how many $A$ has. 0 is perfect, 1 is nothing right. The *source* is the English
# sentence, the *target* the Japanese one. The diagonal links target word $j$ to source word $j \cdot S / T$, rounded, where $S$
# and $T$ count the words and $j$ starts from 0.

# %% tags=["diagonal"]
lengths = {name: [(len(a.split()), len(b.split())) for a, b in zip(part.source, part.target)]
           for name, part in corpus.items()}  # fmt: skip
guess = [translation.diagonal_alignment(*pair) for pair in lengths["test"]]
diagonal_error = translation.error_rate(guess, test.alignment)
print(f"alignment error rate of the diagonal: {diagonal_error:.3f}")

# %% [markdown] slideshow={"slide_type": "subslide"}
# An error of nearly three quarters. You train on 20,000 pairs of 3 to 12 English words. *dev* is for choosing, *test*
# for judging. Three more sets are harder: *new* has pairs of words that never met in training, such as "black cat";
# *longer* has 13 to 16 words; *patterns* has sentences whose **pattern** never occurred, the pattern being the sentence
# with each word replaced by its kind (noun, verb, ...).

# %%
for name, part in corpus.items():
    words = [pair[0] - 1 for pair in lengths[name]]  # without the "." or "?"
    print(f"{name:9}{len(part):7,} pairs of {min(words):2} to {max(words)} English words")
assert ["black cat" in " ".join(corpus[name].source) for name in ("train", "new")] == [False, True]

# %% [markdown]
# **How much of the test needs no learning?** Take the training sentences as long as yours that differ from yours in the fewest
# words, and exchange those words in their translations. `exchange_words` does that. No number is fitted, but it is told the
# gold links of the training pairs, which no model here sees. **Exact match** is the share of sentences that equal the corpus's
# own translation, the *reference*, word for word. It means something here, because each sentence has just one in all the corpus.

# %% tags=["scissors"]
SETS = ("test", "new", "longer", "patterns")
every = [text for name in SETS for text in corpus[name].source]
texts, exchanged = iter(translation.exchange_words(every, corpus["train"])), {}
for name in SETS:
    written = [next(texts) for _ in corpus[name].source]
    exchanged[name] = translation.exact_match(written, corpus[name].target)
    print(f"{name:9} exact match without learning {exchanged[name]:.3f}")
one_for_each = {pair for part in corpus.values() for pair in zip(part.source, part.target)}
assert len(one_for_each) == len({english for english, _ in one_for_each})

# %% [markdown]
# So nearly half of *test* is within reach of a clerk with scissors. (*longer* gets 0 because no training sentence is as long.)
# Keep these numbers in mind when a model gets 0.9.
#
# Each language gets its own numbering of words. Every target is wrapped in `<BOS>` and `<EOS>`, the signs for begin and
# end. The source drops its `<BOS>`, so that column $i$ of a map is word $i$.

# %%
en = Vocabulary.from_sentences(corpus["train"].source)
ja = Vocabulary.from_sentences(corpus["train"].target)
PAD, BOS, EOS = en.pad_id, en.bos_id, en.eos_id
data = {name: (en.encode_batch(part.source, device)[:, 1:], ja.encode_batch(part.target, device))
        for name, part in corpus.items()}  # fmt: skip
print(len(en), "English and", len(ja), "Japanese symbols")
print(en.tokens(data["train"][0][0]))

# %% [markdown]
# > **Remember.** The words of two languages correspond, but not in order, not one to one, and some to nothing.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.2 The bottleneck
#
# **How did networks translate before attention?** With a **recurrent network**. It reads one word after the other and
# carries along a **state**, a vector $h$ that each word changes.

# %% tags=["recurrent"]
model_diagrams.recurrent_network(["the", "cat", "ate", "the", "egg", "."])
show("A recurrent cell as a loop and, unrolled, once for each of six words, handing on its state.")

# %% [markdown]
# The plainest cell (after Elman 1990) adds what the new word $x_t$ and the old state $h_{t-1}$ say. tanh squeezes the sum
# between $-1$ and $1$. The matrices $W$ and $U$ and the bias $b$ are learned:
#
# $$h_t = \tanh(W x_t + U h_{t-1} + b)$$

# %%
seed_everything(0)
rnn = nn.RNN(3, 2)  # words of 3 features, a state of 2
words, h = torch.randn(4, 3), torch.zeros(2)
for x in words:
    h = (rnn.weight_ih_l0 @ x + rnn.bias_ih_l0 + rnn.weight_hh_l0 @ h + rnn.bias_hh_l0).tanh()
    print("state", h.detach())
assert torch.allclose(h, rnn(words)[0][-1], atol=1e-6)

# %% [markdown] slideshow={"slide_type": "subslide"}
# The whole state is written anew at every word: nothing protects what an early word left there. The **gated recurrent unit**, GRU (Cho et al. 2014,
# section 2.3), computes a proposal $n$ and, for each feature, a number $z$ between 0 and 1 that says how much of the old
# state *stays*:
#
# $$h_t = (1 - z) \odot n + z \odot h_{t-1}, \qquad z = \sigma(W_z x_t + U_z h_{t-1}), \quad
# r = \sigma(W_r x_t + U_r h_{t-1}), \quad n = \tanh(W_n x_t + r \odot U_n h_{t-1})$$
#
# $\odot$ multiplies entry by entry; $\sigma(a) = 1 / (1 + e^{-a})$ lies between 0 and 1; $r$ says how much of the old state
# the proposal may see. All $W$ and $U$ are learned. (Each product has a bias too. PyTorch, followed here, has $r$ after the
# product $U_n h$; the paper before it.)

# %% tags=["gru"]
seed_everything(0)
cell = nn.GRUCell(3, 2)
x, h = torch.randn(1, 3), torch.tensor([[0.9, -0.5]])
r_x, z_x, n_x = F.linear(x, cell.weight_ih, cell.bias_ih).chunk(3, dim=1)  # W x, its three parts
r_h, z_h, n_h = F.linear(h, cell.weight_hh, cell.bias_hh).chunk(3, dim=1)  # U h
r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
n = (n_x + r * n_h).tanh()
h_new = (1 - z) * n + z * h
print("stays", z.detach(), " proposal", n.detach(), " new state", h_new.detach())
assert torch.allclose(h_new, cell(x, h), atol=1e-6)

# %% [markdown] slideshow={"slide_type": "subslide"}
# **The encoder** is a GRU over the source. Two things make it better. One GRU reads from the left and a second from the
# right, so that each state knows both sides of its word (Bahdanau et al. 2015, section 3.2). And sentences in a batch have
# unequal lengths: the reader from the right would begin with the padding. `pack_padded_sequence` tells `nn.GRU` where
# each sentence ends, and padding is never read.


# %%
class Encoder(nn.Module):
    def __init__(self, vocab_size, size):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, size)
        self.gru = nn.GRU(size, size // 2, batch_first=True, bidirectional=True)

    def forward(self, source):
        lengths, x = (source != PAD).sum(1).cpu(), self.embedding(source)  # (B,) and (B, S, E)
        x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states, last = self.gru(x)
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=source.size(1))
        return states, last.transpose(0, 1).flatten(1)  # the last states: (2, B, H/2) → (B, H)


# %% [markdown]
# Is padding harmless? Encode a sentence alone and with four `<PAD>` behind it; then the same without packing.

# %%
seed_everything(0)
encoder = Encoder(len(en), 64)
sleeps = en.encode_batch(["the cat often sleeps ."])[:, 1:]  # (1, S)
padded = F.pad(sleeps, (0, 4), value=PAD)
summary, padded_summary = encoder(sleeps)[1], encoder(padded)[1]
careless = encoder.gru(encoder.embedding(padded))[1].transpose(0, 1).flatten(1)
print(f"with packing padding moves the summary by {(summary - padded_summary).abs().max():.6f},")
print(f"without by {(summary - careless).abs().max():.2f}")
assert torch.allclose(summary, padded_summary, atol=1e-6)

# %% [markdown] slideshow={"slide_type": "subslide"}
# **The decoder** is another GRU. The last states of the two readers, end to end, are the **context vector**. A layer, `bridge`,
# makes the decoder's first state of it. The decoder reads the word written last, at first `<BOS>`, and from its state the
# **read-out**, two layers, makes logits for the next word. So that the vector need not be remembered, it also enters every step
# (Cho et al. 2014, section 2.2) and the read-out. This is the picture at the head of the chapter, made as strong as is fair. In
# training the decoder reads the *right* last word instead of its own: **teacher forcing**. The right words are known, so
# `decode` takes one word or all at once.


# %% tags=["encoder-decoder-code"]
class EncoderDecoder(nn.Module):
    pad_id = PAD

    def __init__(self, source_vocab_size, target_vocab_size, size):
        super().__init__()
        self.encoder = Encoder(source_vocab_size, size)
        self.bridge = nn.Linear(size, size)
        self.embedding = nn.Embedding(target_vocab_size, size)
        self.gru = nn.GRU(2 * size, size, batch_first=True)
        self.readout = nn.Linear(2 * size, size)
        self.output = nn.Linear(size, target_vocab_size)

    def encode(self, source):
        _, summary = self.encoder(source)
        return self.bridge(summary).tanh().unsqueeze(0), summary.unsqueeze(1)  # (1, B, H) and (B, 1, H)

    def decode(self, target, state, context):
        context = context.expand(-1, target.size(1), -1)  # at every step: (B, 1, H) → (B, T, H)
        states, state = self.gru(torch.cat([self.embedding(target), context], dim=-1), state)
        logits = self.output(self.readout(torch.cat([context, states], dim=-1)).tanh())  # (B, T, V)
        return logits, state, None

    def forward(self, source, target):
        logits, _, weights = self.decode(target, *self.encode(source))
        return logits, weights

    def generate(self, source):
        return greedy(self, source)


# %% [markdown]
# To write by itself it takes the likeliest word at each step (*greedily*) and reads it at the next, until `<EOS>`.

# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def greedy(model, source, max_length=40):
    state, *memory = model.encode(source)
    word = torch.full((len(source), 1), BOS, device=source.device)  # (B, 1)
    words, done = [], torch.zeros_like(word, dtype=torch.bool)
    while len(words) < max_length and not done.all():
        logits, state, _ = model.decode(word, state, *memory)
        word = logits.argmax(dim=-1).masked_fill(done, PAD)
        words.append(word)
        done = done | (word == EOS)
    return torch.cat(words, dim=1)  # (B, T)


seed_everything(0)
fixed = EncoderDecoder(len(en), len(ja), 64).to(device)
print(f"{sum(p.numel() for p in fixed.parameters()):,} parameters; untrained it writes:")
print(ja.decode(fixed.generate(data["test"][0][:1])[0])[:60])

# %% [markdown] slideshow={"slide_type": "subslide"}
# **The loss** is the mean cross-entropy over the *real* target words, `<EOS>` counted and padding not, in *nats* (natural
# logarithm). `translation_loss` returns sum and number, so that batches are added up before dividing. More padding must
# not move it.

# %%
with torch.no_grad():
    source, target = (t[:8] for t in data["test"])
    loss, count = translation_loss(fixed, source, target)
    more, more_count = translation_loss(fixed, F.pad(source, (0, 3)), F.pad(target, (0, 5)))
print(f"{loss / count:.2f} nats a word; a uniform guess pays ln {len(ja)} = {math.log(len(ja)):.2f}")
torch.testing.assert_close(loss, more)
assert count == more_count == sum(n for _, n in lengths["test"][:8]) + 8  # and one <EOS> each

# %% [markdown]
# Train it: all 20,000 pairs, four times over. The model of section 2.5 will get the same pairs, epochs and learning rate. Four
# epochs are few: the loss on *dev* is still falling when they end. What follows compares equal training, not the best that either
# model could become.

# %% tags=["nbval-ignore-output"]
BUDGET = {"epochs": 4, "batch_size": 64, "lr": 1e-2, "validation": tuple(t[:250] for t in data["dev"])}
history = {"one vector": fit(fixed, data["train"], loss=translation_loss, **BUDGET)}
assert history["one vector"].best_epoch == 3  # the last one, counted from 0

# %% [markdown] slideshow={"slide_type": "subslide"}
# Beside exact match there is **BLEU** (Papineni et al. 2002, section 2.3): the shares of the translations' runs of 1, 2, 3 and
# 4 words that occur in the reference, multiplied, and the fourth root taken. A run counts at most as often as the reference has
# it, and all sentences are counted together. If the translations have $c$ words and the references $r > c$, the score is
# multiplied by $e^{1 - r/c}$. It goes from 0 to 100, and scores compare only if computed alike: `bleu` also returns a
# *signature* that says how (Post 2018).

# %%
score = translation.bleu(["犬 は 水 を 飲み ます 。"], ["犬 は 水 を 飲み ました 。"])
runs = [6 / 7, 4 / 6, 3 / 5, 2 / 4]  # runs of 1, 2, 3 and 4 words that the reference has too
print(f"BLEU {score.score:.1f}, exact match 0; {score.signature.rsplit('|', 1)[0]}")
assert abs(score.score - 100 * math.prod(runs) ** 0.25) < 1e-4
cut_off = translation.bleu(["犬 は 水 を 飲み"], ["犬 は 水 を 飲み ました 。"]).score  # all right, but 5 words of 7
assert abs(cut_off - 100 * math.exp(1 - 7 / 5)) < 1e-4

# %% [markdown]
# > **Predict first.** The model translates the sets. On which sentences will one vector of 64 numbers do, and on which not?
# > Decide, then go on.
#
# <details><summary>Answer</summary>
#
# Short sentences fit, long ones less, and sentences that are new in some way least of all.
#
# </details>


# %% tags=["nbval-ignore-output"]
def judge(model):
    """Print and return which sentences of each set a model translates exactly right."""
    right = {}
    for name in SETS:
        texts, references = translation.translate_texts(model, data[name][0], ja), corpus[name].target
        right[name] = np.array([float(a == b) for a, b in zip(texts, references)])
        bleu = translation.bleu(texts, references).score
        print(f"{name:9} exact match {right[name].mean():.3f}, BLEU {bleu:.1f}; "
              f"without learning {exchanged[name]:.3f}")  # fmt: skip
    return right


fixed_right = judge(fixed)
assert abs(fixed_right["new"].mean() - exchanged["new"]) < 0.1
# %% [markdown]
# Now sort the test sentences by their number of English words:

# %% tags=["one-vector", "nbval-ignore-output"]
size_of = np.array([pair[0] - 1 for pair in lengths["test"]])
members = [(size_of >= a) & (size_of <= b) for a, b in ((3, 5), (6, 6), (7, 7), (8, 8), (9, 12))]
middles = [size_of[rows].mean() for rows in members]
curves = {"one vector": [bootstrap_interval(fixed_right["test"][rows]) for rows in members]}
title = "One vector: short sentences fit, long ones do not"
plots.interval_curves(middles, curves, "English words", "exact match", title)
show("Exact match of the model with one vector falls as sentences get longer.")
harder = [fixed_right[name].mean() for name in ("new", "longer", "patterns")]
assert curves["one vector"][0].mean > 0.88 and 0.62 > curves["one vector"][-1].mean > max(harder)

# %% [markdown]
# Each group stands at its mean length. The upright line is a 95 per cent *bootstrap* interval: the sentences are drawn again
# and again with replacement, and 95 of 100 such means lie inside. It knows nothing of other trainings. Nine of ten sentences of 3 to 5 words
# are right, and of those of 9 to 12 hardly more than half. On each of the three harder sets it is still less; on *new* one vector
# gets about as many right as the clerk with scissors. But a long sentence also has more words to get wrong. Whether the *vector*
# loses them, a model that keeps more than that vector will tell, on the same budget: section 2.5.
#
# > **Remember.** A fixed context vector has the same size for every sentence.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.3 Bahdanau: look again at every step
#
# **Why hand over one state, when the encoder had one at every word?** Keep them all. Bahdanau, Cho and Bengio (2015) call them
# *annotations*, $h_1, \dots, h_S$. Each step of the decoder takes a weighted average of them and chooses the weights anew. You
# know this from chapter 1: the decoder's state, now called $s$, is the query, the annotations are keys and values.

# %% tags=["bahdanau"]
SHOWN = ["the", "cat", "ate", "the", "egg"]
model_diagrams.bahdanau_step(SHOWN, [0.05, 0.05, 0.1, 0.1, 0.7], "wa", "tamago")
show("One step of Bahdanau's decoder: the state before the step asks, and the context enters the GRU.")

# %% [markdown]
# (The weights of this drawing and of the one in section 2.4 are invented, to show the way of the data.) The score is a small
# network with one hidden layer (section 3.1 and appendix A.1.2):
#
# $$e_j = v^\top \tanh(W q + U h_j), \qquad \alpha_j = \frac{e^{e_j}}{\sum_m e^{e_m}}, \qquad c = \sum_j \alpha_j h_j$$
#
# $q$ is the query. $e_j$ is the score (the $e$ below an exponent is the number 2.718), $\alpha_j$ the weight, $c$ the context; $W$, $U$
# and $v$ are learned. $Wq$ and $Uh_j$ are added: this is **additive attention**.
#
# **With a pencil.** Five keys of two numbers, and a query that asks for the second number. $U$ turns the sign of the first.

# %% tags=["pencil"] slideshow={"slide_type": "subslide"}
keys = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.5, 0.0], [0.0, -1.0]])  # (S, 2)
query = torch.tensor([0.0, 1.0])
W, U = torch.eye(2), torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
v = torch.tensor([1.0, 3.0])
inside = (W @ query + keys @ U.T).tanh()  # (2,) + (S, 2) → (S, 2): the query is added to every key
scores = inside @ v  # (S, 2) @ (2,) → (S,)
weights = scores.softmax(dim=0)
context = weights @ keys  # (S,) @ (S, 2) → (2,)
print("scores ", scores, "\nweights", weights, "\ncontext", context)

# %% [markdown]
# Take the third key. $Wq = (0, 1)$ and $Uh = (0, 2)$, so inside tanh stands $(0, 3)$, which becomes $(0, 0.9951)$, and
# $v = (1, 3)$ makes $2.985$ of it. For the second it is $\tanh(-2) + 3 \tanh(1) = 1.321$.

# %%
assert abs(scores[2] - 2.9852) < 1e-4 and abs(scores[1] - 1.3208) < 1e-4
no_tanh, no_query = (W @ query + keys @ U.T) @ v, keys @ U.T @ v
torch.testing.assert_close(no_tanh.softmax(dim=0), no_query.softmax(dim=0))
plots.weight_bars({"weights": weights}, ["k1", "k2", "k3", "k4", "k5"], "One query, five keys")
show("Bars of five attention weights: k3 has about half, k1 about a quarter.")

# %% [markdown]
# See the first bar: its key is zero, and still it gets a quarter. The query is *added*, so it alone brings a score of
# $3 \tanh(1) = 2.285$. Without tanh it would add the same to every score, and the softmax would not notice the query at all.


# %% [markdown] slideshow={"slide_type": "subslide"}
# **As a module**, for a batch and for one query each. As in chapter 1 a forbidden score becomes the lowest number there is,
# and a forbidden weight exactly 0.

# %% tags=["additive"]
def masked_softmax(scores, mask):
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).masked_fill(~mask, 0.0)


class Additive(nn.Module):
    def __init__(self, query_size, key_size, hidden_size):
        super().__init__()
        self.query_proj = nn.Linear(query_size, hidden_size, bias=False)  # W
        self.key_proj = nn.Linear(key_size, hidden_size, bias=False)  # U
        self.v = nn.Linear(hidden_size, 1, bias=False)

    def forward(self, query, keys, mask):
        query = self.query_proj(query).unsqueeze(1)  # (B, D_q) → (B, 1, H)
        together = query + self.key_proj(keys)  # (B, 1, H) + (B, S, H) → (B, S, H)
        weights = masked_softmax(self.v(together.tanh()).squeeze(-1), mask)  # (B, S, H) → (B, S)
        return (weights.unsqueeze(1) @ keys).squeeze(1), weights  # (B, 1, S) @ (B, S, D) → (B, D)


# %% [markdown]
# Two queries of two sentences. The second sentence has three words and gives nothing to its padding:

# %%
seed_everything(0)
queries, keys = torch.randn(2, 4), torch.randn(2, 5, 6)  # states of width 4, annotations of width 6
mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
print(Additive(4, 6, 8)(queries, keys, mask)[1].detach())

# %% [markdown] slideshow={"slide_type": "subslide"}
# **Which state asks?** The one *before* the step, $s_{t-1}$. The context goes into the GRU, beside the word written last,
# $y_{t-1}$ (section 3.1, equations 4 to 6; $[a; b]$ puts two vectors end to end):
#
# $$c_t = \text{attend}(s_{t-1}, h), \qquad s_t = \text{GRU}(s_{t-1}, [y_{t-1}; c_t])$$
#
# So step $t$ waits for step $t-1$, even when all words are known. The read-out here is simpler than the paper's: a tanh layer of
# $[c_t; s_t]$, where the paper (appendix A.2.2) has a maxout layer, which keeps the larger of each two numbers
# and sees $y_{t-1}$ too.


# %%
class BahdanauDecoder(nn.Module):
    def __init__(self, vocab_size, size):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, size)
        self.attention = Additive(size, size, size)
        self.gru = nn.GRUCell(2 * size, size)
        self.readout = nn.Linear(2 * size, size)
        self.output = nn.Linear(size, vocab_size)

    def step(self, word, state, annotations, mask):
        context, weights = self.attention(state, annotations, mask)  # the state before the step asks
        state = self.gru(torch.cat([self.embedding(word), context], dim=-1), state)  # → (B, H)
        logits = self.output(self.readout(torch.cat([context, state], dim=-1)).tanh())  # (B, V)
        return logits, state, weights

    def forward(self, target, state, annotations, mask):
        steps = []
        for t in range(target.size(1)):
            *step, weights = self.step(target[:, t], state, annotations, mask)
            state = step[1]
            steps.append((step[0], weights))
        return [torch.stack(part, dim=1) for part in zip(*steps)]  # (B, T, V) and (B, T, S)


# %% [markdown]
# Against the finished model in `helpers`, with weights copied by name (`nn.GRU` says `weight_ih_l0`, `nn.GRUCell`
# `weight_ih`):

# %%
seed_everything(0)
finished = Seq2Seq(len(en), len(ja), hidden_size=64, attention="bahdanau").eval()
weights_of = {name.replace("_l0", ""): p for name, p in finished.state_dict().items()}
mine = BahdanauDecoder(len(ja), 64)
mine.load_state_dict({name: weights_of[name] for name in mine.state_dict()})
source, target = (t[:8].cpu() for t in data["test"])
state = finished.encode(source)
ours = mine(target[:, :-1], state.hidden, state.memory.annotations, source != PAD)
for a, b in zip(ours, finished(source, target[:, :-1]), strict=True):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
print("logits", tuple(ours[0].shape), "and weights", tuple(ours[1].shape), "are equal to 1e-5")

# %% [markdown]
# > **Remember.** Keep every state of the encoder, and let each step of the decoder choose among them.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.4 Luong: ask after the step
#
# **Must the score be a network, and must every step wait?** Luong, Pham and Manning (2015, section 3.1) try three scores for
# a state $q$ and an annotation $h$:
#
# $$\text{dot: } q^\top h \qquad\quad \text{general: } q^\top W h \qquad\quad \text{concat: } v^\top \tanh(W [q; h])$$
#
# The first two are **multiplicative attention**. All ask with the state *after* the step, for all steps at once if the states
# are known.
#
# > **Predict first.** When does *general* give the same weights as *dot*? How does *concat* differ from Bahdanau's score?
# > Decide, then go on.
#
# <details><summary>Answer</summary>
#
# General with $W = I$ is dot. Concat *is* the additive score, its two matrices side by side in one. Only the state that asks
# is another.
#
# </details>


# %%
class Luong(nn.Module):
    def __init__(self, size, score):
        super().__init__()
        self.kind = score
        if score == "general":
            self.key_proj = nn.Linear(size, size, bias=False)
        if score == "concat":
            self.pair_proj = nn.Linear(2 * size, size, bias=False)
            self.v = nn.Linear(size, 1, bias=False)

    def score(self, query, keys):  # (B, T, H) and (B, S, H) → (B, T, S)
        if self.kind == "dot":
            return query @ keys.transpose(1, 2)
        if self.kind == "general":
            return query @ self.key_proj(keys).transpose(1, 2)
        for_query, for_key = self.pair_proj.weight.chunk(2, dim=1)  # W [q; h] = W_q q + W_h h
        together = (query @ for_query.T).unsqueeze(2) + (keys @ for_key.T).unsqueeze(1)  # (B, T, S, H)
        return self.v(together.tanh()).squeeze(-1)

    def forward(self, query, keys, mask):
        weights = masked_softmax(self.score(query, keys), mask)  # (B, T, S)
        return weights @ keys, weights  # (B, T, S) @ (B, S, H) → (B, T, H)


# %% [markdown] slideshow={"slide_type": "subslide"}
# Three steps of a decoder ask five words, with each score, beside `helpers`. Printed are the weights of step 2:

# %% tags=["scores"]
seed_everything(1)
states, keys, mask = torch.randn(1, 3, 4), torch.randn(1, 5, 4), torch.ones(1, 1, 5, dtype=torch.bool)
scorers = {kind: Luong(4, kind) for kind in ("dot", "general", "concat")}
step = {}
for kind, module in scorers.items():
    theirs = MultiplicativeAttention(4, 4, kind)
    theirs.load_state_dict(module.state_dict())
    torch.testing.assert_close(module(states, keys, mask), theirs(states, keys, mask))
    step[kind] = module(states, keys, mask)[1][0, 1]
    print(f"{kind:8}{sum(p.numel() for p in module.parameters()):3} parameters,", step[kind].detach())

# %% [markdown]
# Now *general* with the identity beside *dot*, *concat* beside Bahdanau's score with copied weights, and *dot* beside chapter 1's
# attention, its division undone. All three pairs are equal:

# %%
dot, general, concat = scorers.values()
additive = Additive(4, 4, 4)
with torch.no_grad():
    general.key_proj.weight.copy_(torch.eye(4))
    additive.query_proj.weight.copy_(concat.pair_proj.weight[:, :4])
    additive.key_proj.weight.copy_(concat.pair_proj.weight[:, 4:])
    additive.v.weight.copy_(concat.v.weight)
torch.testing.assert_close(general(states, keys, mask), dot(states, keys, mask))
bahdanau = additive(states[:, 1], keys, mask[:, 0])[1]  # the weights of step 2
torch.testing.assert_close(bahdanau, concat(states, keys, mask)[1][:, 1])
scaled = scaled_dot_product_attention(states * math.sqrt(4), keys, keys)  # its division undone
torch.testing.assert_close(dot(states, keys, mask), scaled)

# %% [markdown] slideshow={"slide_type": "subslide"}
# **The step.** Context and state are combined into what the step has found, $\tilde h_t = \tanh(W_c [c_t; s_t])$ (equation 5),
# which gives the logits.

# %% tags=["luong"]
model_diagrams.luong_step(SHOWN, [0.05, 0.05, 0.1, 0.1, 0.7], "wa", "tamago")
show("One step of Luong's decoder: the state after the step asks; a dashed arrow feeds the next step.")

# %% [markdown]
# The dashed arrow is **input feeding** (section 3.3): what the last step found is fed to the next, beside the word, so that the
# decoder knows where it has looked. That is the paper's full model, and it goes step by step like Bahdanau's. *Without* it, as
# here, the GRU reads only words, and in training all its steps run in one call. (The paper also has
# *local* attention, over a window around a predicted position, and a *location* score, which looks at the state alone:
# exercises 2 and 1.)

# %%
seed_everything(2)
plain, fed, combine = nn.GRUCell(4, 4), nn.GRUCell(8, 4), nn.Linear(8, 4)
words = torch.randn(1, 3, 4)  # three words that are known


def found_by(cell, feeding, annotations):  # Luong's steps with dot: the last state, and what it found
    state, found = torch.zeros(1, 4), torch.zeros(1, 4)
    for word in words.unbind(1):
        state = cell(torch.cat([word, found], dim=-1) if feeding else word, state)
        context, _ = dot(state.unsqueeze(1), annotations, mask)
        found = combine(torch.cat([context.squeeze(1), state], dim=-1)).tanh()
    return state, found


for name, cell in (("plain", plain), ("fed", fed)):
    before, after = (found_by(cell, name == "fed", source)[0] for source in (keys, keys + 1))
    print(f"{name:6} the last state moves by {(before - after).abs().max():.3f} when the source changes")
    assert torch.equal(before, after) == (name == "plain")

# %% [markdown]
# Without feeding the states do not depend on what attention saw: they can be computed first, all at once.
#
# | | Bahdanau 2015 | Luong 2015 |
# |---|---|---|
# | query | the state before the step | the state after it |
# | score | additive | dot, general or concat |
# | the context goes | into the GRU of this step and the read-out | into the read-out; with input feeding into the next step |
# | in training | step by step | all steps at once, without input feeding |
# | parameters of the score | $2H^2 + H$ | 0, $H^2$ or $2H^2 + H$ |
#
# (For width $H$ everywhere.)
#
# > **Remember.** Bahdanau asks before the step and adds; Luong asks after it. The rest is the same average.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.5 The translator
#
# **What does attention buy, on the same budget?** Take the class of section 2.2 and change what is marked. The score is concat,
# the additive one in Luong's order, so that all steps run at once. The GRU starts from the fixed vector, but no longer reads it
# at every step.


# %% tags=["translator"]
class Translator(nn.Module):
    pad_id = PAD

    def __init__(self, source_vocab_size, target_vocab_size, size, score="concat"):
        super().__init__()
        self.encoder = Encoder(source_vocab_size, size)
        self.bridge = nn.Linear(size, size)
        self.embedding = nn.Embedding(target_vocab_size, size)
        self.attention = Luong(size, score)  # new
        self.gru = nn.GRU(size, size, batch_first=True)  # new: it reads words only
        self.readout = nn.Linear(2 * size, size)
        self.output = nn.Linear(size, target_vocab_size)

    def encode(self, source):
        annotations, summary = self.encoder(source)  # new: every state is kept
        mask = (source != PAD).unsqueeze(1)  # new: (B, 1, S)
        return self.bridge(summary).tanh().unsqueeze(0), annotations, mask

    def decode(self, target, state, annotations, mask):
        states, state = self.gru(self.embedding(target), state)  # (B, T, H)
        context, weights = self.attention(states, annotations, mask)  # new: a context for each step
        logits = self.output(self.readout(torch.cat([context, states], dim=-1)).tanh())
        return logits, state, weights  # new: the weights, (B, T, S)

    def forward(self, source, target):
        logits, _, weights = self.decode(target, *self.encode(source))
        return logits, weights

    def generate(self, source):
        return greedy(self, source)


# %% [markdown]
# Is it `helpers.seq2seq`? There the reader from the right is a GRU of its own, over sentences reversed *within their own
# length*, which needs no packing; so two names differ. With copied weights the numbers are the same, padding included, for both
# models that you have built.

# %%
def copied(finished):
    """The weights of `helpers.seq2seq.Seq2Seq` under the names that are used here."""
    weights = {name + "_reverse" * ("backward" in name): p for name, p in finished.state_dict().items()}
    return {re.sub("(forward|backward)_", "", name): p for name, p in weights.items()}


for kind, build in (("none", EncoderDecoder), ("luong-concat", Translator)):
    seed_everything(0)
    finished = Seq2Seq(len(en), len(ja), hidden_size=64, attention=kind).eval()
    mine = build(len(en), len(ja), 64)
    mine.load_state_dict(copied(finished))
    ours, theirs = mine(source, target[:, :-1]), finished(source, target[:, :-1])
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-5, rtol=0)
    assert torch.equal(mine.generate(source), finished.generate(source, max_length=40))
    print(f"{build.__name__:15}{sum(p.numel() for p in mine.parameters()):8,} parameters; equal")
torch.testing.assert_close(ours[1], theirs[1], atol=1e-5, rtol=0)

# %% [markdown] slideshow={"slide_type": "subslide"}
# Train it on the same pairs, for the same four epochs:

# %% tags=["nbval-ignore-output"]
seed_everything(0)
translator = Translator(len(en), len(ja), 64).to(device)
history["attention"] = fit(translator, data["train"], loss=translation_loss, **BUDGET)
plots.loss_curves(history, title="The same pairs, the same epochs")
show("Training and validation loss over four epochs; the curves of the model with attention end lower.")
assert history["attention"].best < 0.5 * history["one vector"].best

# %% [markdown]
# > **Predict first.** Where will attention help most: on short test sentences, on long ones, on *new*, on *longer*, on
# > *patterns*? Decide, then go on.
#
# <details><summary>Answer</summary>
#
# On long sentences and on all three harder sets; least on short ones.
#
# </details>

# %% tags=["attention-scores", "nbval-ignore-output"]
right = judge(translator)
gap = {name: right[name].mean() - fixed_right[name].mean() for name in SETS}
assert right["test"].mean() > 0.9 and min(SETS, key=lambda name: right[name].mean()) == "longer"
assert min(gap[name] for name in ("new", "longer", "patterns")) > max(0.4, gap["test"] + 0.1)

# %% [markdown]
# On each of the three harder sets attention gets at least 40 of 100 sentences more right than one vector did in section 2.2. And
# by length:

# %% tags=["by-length", "nbval-ignore-output"]
curves["attention"] = [bootstrap_interval(right["test"][rows]) for rows in members]
title = "What the vector loses, attention keeps"
plots.interval_curves(middles, curves, "English words", "exact match", title)
ahead = [a.mean - b.mean for a, b in zip(curves["attention"], curves["one vector"])]
print(f"attention is ahead by {ahead[0]:.2f} on 3 to 5 words, by {ahead[-1]:.2f} on 9 to 12")
assert ahead[0] < 0.12 < 0.3 < ahead[-1]
show("Exact match by length: nearly equal on short sentences; on long ones one vector is far behind.")

# %% [markdown]
# At the left the two are close: a short sentence nearly fits into 64 numbers. At the right they are not, although the model with
# attention has *fewer* parameters. A wider vector is tried in [study 2](studies/02_additive_or_multiplicative.ipynb). It still
# has one size for every sentence; attention keeps as many vectors as there are words.

# %% [markdown]
# Three promises of the trained model, checked on 20 test sentences. A sentence alone and in a padded batch has the same
# probabilities and weights, to 1e-5; more padding writes the same words; and there is no **leak**: a later target word moves no
# earlier output.

# %%
source, target = (t[:20] for t in data["test"])
logits, weights = translator(source, target[:, :-1])
p = logits.softmax(dim=-1)
for row in range(len(source)):
    words, steps = int((source[row] != PAD).sum()), int((target[row] != PAD).sum()) - 1
    alone = translator(source[row : row + 1, :words], target[row : row + 1, :steps])
    torch.testing.assert_close(alone[0][0].softmax(dim=-1), p[row, :steps], atol=1e-5, rtol=0)
    torch.testing.assert_close(alone[1][0], weights[row, :steps, :words], atol=1e-5, rtol=0)
assert torch.equal(translator.generate(source), translator.generate(F.pad(source, (0, 5), value=PAD)))
leak = analysis.find_leak(lambda t: translator(source[:1].expand(len(t), -1), t)[0], target)
assert leak is None

# %% [markdown]
# > **Remember.** On an equal budget one vector comes close to attention on short sentences; on long ones and on new ones it does not.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.6 Reading the map
#
# **Is the map right?** The model reads a test sentence and is fed the reference. Colours are its weights, frames the gold links: a
# bright cell in a frame is right. A query writes a Japanese word, a key is an English one.

# %% tags=["map", "nbval-ignore-output"]
source, target = data["test"]
maps = translation.forced_weights(translator, source, target)  # 1,000 times (T, S)
rows, columns = japanese + ["<EOS>"], english + ["<EOS>"]
weights_here, title = maps[example][: len(rows), : len(columns)], "Colour: the model. Frames: the truth"
ax = plots.attention_heatmap(weights_here, rows, columns, title, xlabel="key", ylabel="query")
plots.outline_links(ax, test.alignment[example])
show("The attention map with gold links framed: content words are bright in their frames.")
content = [japanese.index(word) for word in ("karera", "niwa", "banana", "tabe")]
assert all((int(weights_here[row].argmax()), row) in test.alignment[example] for row in content)

# %% [markdown]
# Nothing in the loss speaks of links, and still `karera`, `niwa`, `banana` and `tabe` each look most at the word that they
# translate, out of order as they are. Look at the small words, too. How good are all the maps? Link each Japanese word to the
# English *word* with the largest weight, and compare with the gold links. `<EOS>` is left out before the largest weight is looked
# for: a word that looks most at it is linked to its second choice.

# %% tags=["errors", "nbval-ignore-output"]
main_error = translation.alignment_error_rate(maps, test.alignment, lengths["test"])
sentences = zip(test.target, translation.links_of(maps, lengths["test"]), test.alignment)
hits = [(text.split()[j], (i, j) in true) for text, links, true in sentences for i, j in links]
particles = set("はをがにでのとへ")  # wa, o, ga, ni, de, no, to, e
particle = np.mean([hit for word, hit in hits if word in particles])
other = np.mean([hit for word, hit in hits if word not in particles])
print(f"alignment error rate {main_error:.3f}; the diagonal has {diagonal_error:.3f}")
print(f"largest weight is a gold link: particles {particle:.2f}, other words {other:.2f}")
assert main_error < 0.65 * diagonal_error and particle < 0.5 < 0.67 < other

# %% [markdown]
# Far better than the diagonal, and not the truth: fewer than half of the particles are linked to their word, and of the other
# words more than two thirds. One reading, which no cell here tests: a particle often follows from the words written so far, and
# needs little of the source; but weights must add up to 1, so they go somewhere. To which word a particle belongs is also a
# convention of the gold links.

# %% [markdown] slideshow={"slide_type": "subslide"}
# **Does a sure look go with a right word?** For each step take the *entropy* of its weights (chapter 1), the largest weight,
# and the *effective number of positions* $e^{\text{entropy}}$. *longer* is where the model gets fewest sentences right. Feed it the
# reference, and sort the steps by entropy into four equal groups.

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    source, target = data["longer"]
    logits, weights = translator(source, target[:, :-1])
real = target[:, 1:] != PAD
entropy, largest = analysis.attention_entropy(weights)[real], weights.amax(dim=-1)[real]
correct = (logits.argmax(dim=-1) == target[:, 1:])[real].float()
print(f"{len(correct):,} steps, {correct.mean():.3f} right; means: entropy {entropy.mean():.2f},",
      f"largest {largest.mean():.2f}, effective positions {entropy.exp().mean():.1f}")  # fmt: skip
edges = entropy.quantile(torch.tensor([0.25, 0.5, 0.75], device=device))
quarter = torch.bucketize(entropy, edges)  # 0 to 3
sentence = real.nonzero()[:, 0]  # to which each step belongs

# %% [markdown]
# The corpus was drawn sentence by sentence, not step by step. So the intervals draw *sentences* anew. Each sentence gives one number to
# each group: the share of its steps there that are right.

# %% tags=["entropy", "nbval-ignore-output"]
by_quarter = {}
for k, name in enumerate(("lowest entropy", "second", "third", "highest entropy")):
    here = sentence[quarter == k]
    number, good = here.bincount(minlength=1000), here.bincount(correct[quarter == k], 1000)
    by_quarter[name] = bootstrap_interval((good / number)[number > 0].cpu())
plots.interval_plot(by_quarter, "share of right words", "Sure looks and right words")
show("Four groups of steps by entropy, and the share of right words in each, with intervals.")
lowest, *_, highest = by_quarter.values()
assert lowest.low > highest.high and highest.mean > 0.9

# %% [markdown]
# The quarter with the lowest entropy is right more often than the quarter with the highest; but even of the highest more than nine
# of ten steps are right. Entropy is a hint, and no confidence score.

# %% [markdown]
# > **Remember.** Draw the truth on the map. Attention weights are evidence about alignment, not alignment.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.7 Toward self-attention
#
# **If looking back is so useful, what are the GRUs still for?** They make each annotation know its neighbours, one word after
# the other: word 12 waits for eleven steps. But attention can do that as well. Let the words of *one* sentence ask each other:
# the queries come from the same place as the keys. (The embeddings are the untrained ones of section 2.2; see the shapes.)

# %% tags=["self-attention"]
embedded = encoder.embedding(sleeps)  # (1, S, 64)
mixed, weights = scaled_dot_product_attention(embedded, embedded, embedded)
print("every word at once:", tuple(mixed.shape), "weights", tuple(weights.shape))

# %% [markdown]
# No step waits for another, and the way from any word to any other is one step long. That is **self-attention**. With it, and
# with chapter 1's positions for the order, the recurrent network can go (Vaswani et al. 2017). Chapter 3 takes it apart,
# chapter 4 builds the translator that is made of it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.8 Bug clinic
#
# Each cell runs, has the right shapes, and is wrong. Find the mistake and a small test that shows it; then unfold.
# `exposes` runs a test on the wrong version, which must fail, and on the right one, which must pass.


# %%
def exposes(test, wrong, right):
    assert not test(wrong), "the test does not notice the bug"
    assert test(right), "the test rejects the right version"
    print(f"the test {test.__name__!r} fails on the wrong version and passes on the right one")


# %% [markdown]
# ### Bug 1
#
# Luong's attention for a batch of padded sentences.

# %% tags=["bug-1"]
def bug_1(query, keys, mask):
    weights = (query @ keys.transpose(1, 2)).softmax(dim=-1)
    return weights @ (keys * mask.transpose(1, 2)), weights


seed_everything(0)
query, keys = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2]).unsqueeze(1)  # (B, 1, S)
print([tuple(t.shape) for t in bug_1(query, keys, mask)])


# %% [markdown]
# <details><summary>The mistake</summary>
#
# Padding adds nothing to the context, but it takes its share of the weights: those of the words no longer add up to 1. Mask the
# scores, before the softmax.
#
# The test: cut the padding off, and nothing must change.
#
# </details>

# %%
def padding_changes_nothing(attend):
    short = attend(query[1:], keys[1:, :3], mask[1:, :, :3])[0]
    return torch.allclose(attend(query, keys, mask)[0][1:], short, atol=1e-6)


exposes(padding_changes_nothing, bug_1, Luong(8, "dot"))
print("the words' weights add up to", bug_1(query, keys, mask)[1][1, :, :3].sum(-1))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 2
#
# One step of Bahdanau's decoder.

# %% tags=["bug-2"]
decoder = BahdanauDecoder(len(ja), 8)


def bug_2(word, state, annotations, mask):
    state = decoder.gru(torch.cat([decoder.embedding(word), torch.zeros_like(state)], dim=-1), state)
    context, weights = decoder.attention(state, annotations, mask)
    return decoder.output(decoder.readout(torch.cat([context, state], dim=-1)).tanh()), state, weights


before = torch.randn(2, 8)  # the state before the step
print([tuple(t.shape) for t in bug_2(torch.tensor([5, 6]), before, keys, mask[:, 0])])


# %% [markdown]
# <details><summary>The mistake</summary>
#
# It asks with the state *after* the step. That is Luong's order, and the context never enters the GRU: another model than the one
# whose name it bears.
#
# The test: before the step the decoder has not read this step's word, so the weights must not depend on it.
#
# </details>

# %%
def the_state_before_asks(step):
    one, other = (step(torch.tensor(words), before, keys, mask[:, 0])[2] for words in ([5, 6], [7, 8]))
    return torch.equal(one, other)


exposes(the_state_before_asks, bug_2, decoder.step)


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 3
#
# A decoder fills a tensor of logits step by step. `predict(t)` gives the logits of target position `t`; position 0 is `<BOS>`.

# %%
pairs = tuple(t[:6].cpu() for t in data["test"])


def bug_3(predict, target):
    logits = torch.zeros(*target.shape, len(ja))
    for t in range(1, target.size(1)):
        logits[:, t] = predict(t)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD)


print(f"loss {bug_3(lambda t: torch.randn(6, len(ja)), pairs[1]):.2f}")


# %% [markdown]
# <details><summary>The mistake</summary>
#
# Position 0 of the logits stays zero and is counted: it costs $\ln V$ for each sentence, whatever the model does, so a perfect model
# has a loss too. How high that floor is depends on the sentences' lengths.
#
# The test: a perfect model pays nothing.
#
# </details>

# %%
def a_perfect_model_pays_nothing(loss):
    answer = 100.0 * F.one_hot(pairs[1], len(ja))
    return bool(loss(lambda t: answer[:, t], pairs[1]) < 1e-4)


def right_loss(predict, target):
    logits = torch.stack([predict(t) for t in range(1, target.size(1))], dim=1)
    return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)


exposes(a_perfect_model_pays_nothing, bug_3, right_loss)
floor = bug_3(lambda t: 100.0 * F.one_hot(pairs[1], len(ja))[:, t], pairs[1])
torch.testing.assert_close(floor, 6 * torch.tensor(len(ja)).log() / (pairs[1] != PAD).sum())


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 4
#
# PyTorch's recurrent layers keep the batch in the second axis, unless told otherwise. Scores (S, B) come in, weights (S, B) go out.

# %%
def bug_4(scores):
    return scores.softmax(dim=1)


scores = torch.randn(5, 3)  # five source words, three sentences
print(tuple(bug_4(scores).shape))


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The softmax runs over the *batch*: sentences compete for every position. Here the keys are axis 0.
#
# The test: a sentence's weights must not depend on who else is in the batch.
#
# </details>

# %%
def neighbours_do_not_matter(weigh):
    return torch.allclose(weigh(scores)[:, :1], weigh(scores[:, :1]), atol=1e-6)


exposes(neighbours_do_not_matter, bug_4, lambda scores: scores.softmax(dim=0))


# %% [markdown] slideshow={"slide_type": "slide"}
# ### Bug 5
#
# How good is the model with one vector on longer sentences?

# %% tags=["bug-5", "nbval-ignore-output"]
@torch.no_grad()
def bug_5(model, source, target):
    words = model(source, target[:, :-1])[0].argmax(dim=-1)  # (B, T)
    return [ja.decode(row) for row in words]


few, references = tuple(t[:250] for t in data["longer"]), corpus["longer"].target[:250]
too_good = translation.bleu(bug_5(fixed, *few), references).score
written = translation.translate_texts(fixed, few[0], ja)
honest = translation.bleu(written, references).score
print(f"BLEU as above {too_good:.1f}, really {honest:.1f}")
assert too_good > honest + 3
assert len({translation.exact_match(texts, references) for texts in (bug_5(fixed, *few), written)}) == 1


# %% [markdown]
# <details><summary>The mistake</summary>
#
# Teacher forcing was left on: the model reads the right words while it is examined, so after each mistake it is put back on the right
# way. (Exact match would not show it: up to its first mistake it reads the same words either way.)
#
# The test: a translation must not change when the reference does.
#
# </details>

# %%
def the_reference_is_not_needed(translate):
    other = few[1].roll(1, dims=0)  # somebody else's reference
    return translate(fixed, *few) == translate(fixed, few[0], other)


exposes(the_reference_is_not_needed, bug_5, lambda m, s, t: translation.translate_texts(m, s, ja))


# %% [markdown]
# > **Remember.** Padded against alone, perfect against zero, another reference, other neighbours: four small questions find four of
# > these five bugs.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2.9 Exercises
#
# Write each function in its stub, run the cell, then run the check. It prints ✓, or the smallest input on which your answer is wrong,
# and often what the mistake is. Any right answer counts. The solutions are in
# [a notebook of their own](solutions/02_seq2seq_attention_solutions.ipynb).
#
# $B$ sentences in the batch, $S$ source words, $T$ target steps, $H$ the width.

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 1 · the location score (warm-up, 10 minutes)
#
# Luong's first score looks at the state alone (section 3.1, equation 8): the weights are $\text{softmax}(W s)$, one number for each
# *position*, whatever word stands there. Write `location_weights(states, w, mask)`. `states` is (B, T, H); `w` is (M, H), where M is the
# longest source that the model can read; `mask` is (B, S), `True` = may attend, and S is at most M. Only the first S numbers count. Return
# the weights, (B, T, S): rows add up to 1, padding gets 0, and a sentence that is masked throughout gets zeros. Gradients are
# compared too.
#
# In: `states = [[[1.]]]`, `w = [[0.], [0.6931], [5.]]`, `mask = [[True, True]]` · out: `[[[0.3333, 0.6667]]]`.
#
# <details><summary>Hint</summary>
#
# Cut before the softmax, and mask before it too.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def location_weights(states, w, mask):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.seq2seq_attention import check_location_weights

check_location_weights(location_weights)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 2 · local attention (core, 20 minutes)
#
# A long source need not be read as a whole: local attention looks at a window around a position $p$ that the model predicts (Luong
# et al. 2015, section 3.2, equation 10). Write `local_weights(scores, centres, half_width, mask)`. `scores` is (B, T, S); `centres` is (B, T),
# positions that need not be whole; `half_width` is the paper's $D$; `mask` is (B, S). Keys with $|s - p| > D$ are forbidden like padding.
# The softmax runs over the allowed keys; then each weight is multiplied by $e^{-(s-p)^2 / (2\sigma^2)}$ with $\sigma = D / 2$, and the rows
# are *not* made to add up to 1 again, as in the paper. Where nothing is allowed, return zeros. Gradients are compared too.
#
# In: `scores = [[[0., 0., 0.]]]`, `centres = [[0.]]`, `half_width = 1`, all words real · out: `[[[0.5, 0.0677, 0.]]]` (because
# $0.5 \cdot e^{-2} = 0.0677$).
#
# <details><summary>Hint</summary>
#
# `torch.arange(S)` minus the centres with a new last axis is (B, T, S).
#
# </details>

# %% slideshow={"slide_type": "skip"}
def local_weights(scores, centres, half_width, mask):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.seq2seq_attention import check_local_weights

check_local_weights(local_weights)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 3 · alignment error (core, 10 minutes)
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
from helpers.checks.seq2seq_alignment import check_alignment_error

check_alignment_error(alignment_error)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 4 · the links of least error (core, 15 minutes)
#
# The largest weight of each row gives one link a word. Gold has words with two. So take as links *all* weights that are at least a limit, and
# choose the limit that does best. Write `least_error(weights, gold)` for one sentence, `<EOS>` and padding cut off already: `weights` is (T, S), and
# `gold` is a set of pairs (source, target). Try every number that occurs in `weights` as the limit. Return the smallest alignment error
# rate and its limit, two numbers; of limits with equal errors the highest.
#
# In: `weights = [[0.1, 0.9], [0.6, 0.4]]`, `gold = {(1, 0), (0, 1), (1, 1)}` · out: `0.0` and `0.4`.
#
# Why it is only a lower bound: the limit was chosen with the gold links in sight.
#
# <details><summary>Hint</summary>
#
# `weights.unique()` are the limits, in rising order. The links of one limit: `(weights >= limit).nonzero()`, rows first.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def least_error(weights, gold):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.seq2seq_alignment import check_least_error

check_least_error(least_error)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 5 · coverage: does every source word get attention? (core, 10 minutes)
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
from helpers.checks.seq2seq_attention import check_coverage

check_coverage(coverage)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6 · short, medium, long (core, 10 minutes; the experiment 20 more)
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
from helpers.checks.seq2seq_alignment import check_by_length

check_by_length(by_length)


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

# %% [markdown]
# ## The chapter in one line

# %% tags=["headline", "nbval-ignore-output"]
for name in SETS:
    print(f"{name:9} exact match: one vector {fixed_right[name].mean():.3f},",
          f"attention {right[name].mean():.3f}, without learning {exchanged[name]:.3f}")  # fmt: skip
print(f"alignment error: attention {main_error:.3f}, diagonal {diagonal_error:.3f}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What you now know
#
# 1. One fixed vector is nearly enough for short sentences. On an equal budget it loses many long ones, new combinations, lengths and
#    patterns.
# 2. Attention keeps every state of the encoder. Bahdanau asks before the step and adds; Luong asks after it, so that without input feeding
#    all steps run at once.
# 3. Concat is the additive score; general with $W = I$ is dot; dot is chapter 1's attention without its scale.
# 4. Padding must change nothing: not the encoder, not the weights, not the loss.
# 5. Attention weights align words far better than the diagonal, and are not the truth.
#
# Which score is best, on how much data, and why? [Study 2](studies/02_additive_or_multiplicative.ipynb) measures it. The next chapter,
# [multi-head attention](03_multi_head_attention.ipynb), gives attention several heads.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Glossary
#
# | term | meaning |
# |---|---|
# | link, alignment | a pair of words that translate each other; all links of a sentence |
# | alignment error rate | $1 - 2\lvert A \cap G\rvert / (\lvert A\rvert + \lvert G\rvert)$ for guessed links $A$ and gold links $G$ |
# | pattern | a sentence with each word replaced by its kind |
# | recurrent network, state | reads one word after the other; the vector that it carries along |
# | GRU | recurrent network whose gates say how much of the old state stays |
# | read-out | the layers that make logits of the decoder's state and the context |
# | encoder, decoder | the network that reads the source; the one that writes the target |
# | context vector | what the decoder knows of the source at a step |
# | annotation | the encoder's state at one source word |
# | additive, multiplicative | score by a small network; by a product |
# | input feeding | what a step found is fed to the next |
# | teacher forcing | feeding the decoder the right last word instead of its own |
# | greedy | taking the likeliest word at each step |
# | exact match, BLEU | share of sentences right word for word; geometric mean of the shares of runs of 1 to 4 words that occur in the reference, times 100 |

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - Bahdanau, Cho and Bengio, *Neural Machine Translation by Jointly Learning to Align and Translate* (2015):
#   [arXiv:1409.0473](https://arxiv.org/abs/1409.0473). Decoder and score: section 3.1, equations 4 to 6, appendix A.1.2. Encoder: section 3.2.
# - Luong, Pham and Manning, *Effective Approaches to Attention-based Neural Machine Translation* (2015):
#   [arXiv:1508.04025](https://arxiv.org/abs/1508.04025). Context and state: equation 5. Scores: section 3.1. Local attention: section
#   3.2. Input feeding: section 3.3.
# - Cho et al., *Learning Phrase Representations using RNN Encoder-Decoder* (2014), sections 2.2 and 2.3. Sutskever, Vinyals and Le,
#   *Sequence to Sequence Learning with Neural Networks* (2014). Elman, *Finding Structure in Time* (1990).
# - Och and Ney, *A Systematic Comparison of Various Statistical Alignment Models* (2003), evaluation methodology.
# - Papineni et al., *BLEU* (2002), section 2.3. Post, *A Call for Clarity in Reporting BLEU Scores* (2018), section 3.
# - Britz, Goldie, Luong and Le, *Massive Exploration of Neural Machine Translation Architectures* (2017): scores compared at scale.
# - Tu et al., *Modeling Coverage for Neural Machine Translation* (2016), section 3 (exercise 5). Srivastava et al., *Dropout* (2014)
#   (exercise 7). Vaswani et al., *Attention Is All You Need* (2017).
