# %% [markdown] slideshow={"slide_type": "slide"}
# # 5. MiniFormer against FullTransformer, on words like "flycatcher"
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/05_miniformer_vs_fulltransformer.ipynb)
#
# A small model and one twelve times larger learn to spell the names of animals, fruits and vegetables. The large one
# reaches a loss that is too good to be true, and you find out why. Then the two are compared fairly, you look inside
# both while they read "flycatcher", and you replace an impression from pictures with numbers.

# %% [markdown]
# | | |
# |---|---|
# | **You will be able to** | say what a loss in nats means and what to compare it with; build and train a small causal Transformer; smell, prove and mend a leak; compare models over seeds; measure what attention does instead of eyeing it |
# | **Time** | about 2 minutes to run on a 2-core CPU; about three hours to read, with the exercises |
# | **You need** | Python, PyTorch tensors, and what attention, causal masks, residual connections and layer norm are; each is recalled in a sentence when it comes |

# %% [markdown]
# ## Setup
#
# Run this cell first. It finds the series' files, or fetches them when you are in Colab.

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
# Everything else that this chapter uses:

# %%
import math
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
from torch import nn
from tqdm import tqdm

from helpers import analysis, bertviz_views, plots
from helpers.attention import causal_mask, scaled_dot_product_attention
from helpers.checks import miniformer_vs_fulltransformer as checks
from helpers.data import load_words, split_words
from helpers.layers import FeedForward, TokenEmbedding
from helpers.text import Vocabulary
from helpers.training import evaluate, fit, next_token_loss, seed_everything, token_loss
from helpers.transformer import MiniFormer, Transformer, TransformerConfig

plots.use_style()
print("imported")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.1 The words, and what a loss means
#
# What is there to learn? About a thousand names, each a word of 3 to 14 letters. They are split once, for the whole
# series: 70 per cent to train on, 10 per cent to decide when to stop (*validation*), 20 per cent to judge by (*test*).

# %%
words = load_words()
split = split_words(words)
lengths = [len(word) for word in words]
assert 1000 <= len(words) <= 1100 and (min(lengths), max(lengths)) == (3, 14)
assert [round(10 * len(part) / len(words)) for part in split] == [7, 1, 2]
print({name: len(part) for name, part in split._asdict().items()})
print("to train on:", ", ".join(split.train[:6]))
assert "flycatcher" in split.test and "gnatcatcher" in split.train and "greenfly" in split.train
print("flycatcher:", words["flycatcher"], "- among the test words:", "flycatcher" in split.test)

# %% [markdown]
# No model below trains on "flycatcher" (on "gnatcatcher" and "greenfly", yes: parts of the word are known). Look at how a word becomes numbers: one id a letter, with `<BOS>`
# (*beginning of sequence*) before and `<EOS>` (*end of sequence*) after. The id 0 is `<PAD>`: it fills up short words.

# %%
vocabulary = Vocabulary.from_words(words)
ids = vocabulary.encode("flycatcher")
print(vocabulary.tokens(ids))
print(ids)

# %% [markdown]
# The task at each position: given everything up to here, which letter is next? One word of ten letters is eleven
# questions, the last one being "does it end here?". That is *next-token prediction*; with letters as tokens you could
# say next-letter prediction.

# %%
tokens = vocabulary.tokens(ids)
for position in range(4):
    print("".join(tokens[: position + 1]).ljust(12), "→", tokens[position + 1])

# %% [markdown]
# All words of a part become one tensor of shape (N, T): N words, T positions (the longest word of the part, and two),
# padded on the right. It lies on the device once, and batches are cut out of it.

# %%
train, validation, test = (vocabulary.encode_batch(part, device) for part in split)
print(tuple(train.shape), tuple(validation.shape), tuple(test.shape))
print(vocabulary.decode(train[0]), train[0].tolist())

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What is a loss of 2.3?
#
# A model gives each possible next letter a probability. Its **loss** on one letter is $-\ln p$, where $p$ is what it
# gave to the letter that really came. The unit is the *nat*. A sure and right model pays 0; whoever gives the right
# letter one chance in ten pays $\ln 10 \approx 2.3$. The mean over all letters (and ends) is the **cross-entropy**.
#
# $e^{\text{loss}}$ is called **perplexity**: the number of equally likely letters that would be as hard to guess. Whoever
# knows nothing guesses among 26 letters and the end.
#
# How low can a loss go? Whoever knows the true probabilities $p$ of what comes next, and nothing more, pays on average
# their **entropy**, $H = -\sum_c p_c \ln p_c$: 0 when one letter is certain, $\ln 27$ when all are alike.

# %%
uniform_loss = math.log(27)
print(f"knowing nothing: {uniform_loss:.4f} nats a letter, perplexity {math.exp(uniform_loss):.0f}")
print(f"one chance in ten: {-math.log(0.1):.4f} nats")


def entropy_of(counts):
    shares = [count / sum(counts.values()) for count in counts.values()]
    return -sum(share * math.log(share) for share in shares)


print(f"entropy of 27 equal shares: {entropy_of(Counter(range(27))):.4f} nats a letter")

# %% [markdown]
# **Is 2.3 good?** A number alone cannot say. You need something honest and simple to compare with: counting. A
# **unigram** model knows how often each letter occurs. A **bigram** model knows how often each letter follows each
# other letter, a **trigram** model looks at the last two letters, and an **n-gram** model at the last $n-1$.

# %%
endings = [word + "." for word in split.train]  # "." stands for the end
pairs = [(word[i : i + 2], word[i + 2]) for word in endings for i in range(len(word) - 2)]
print("after 'er':", Counter(letter for pair, letter in pairs if pair == "er").most_common(6))

# %% [markdown]
# Counts alone give probability 0 to whatever was not seen, and one such letter makes the loss infinite. The cure is to
# **smooth**: mix the counts after a history $h$ with what the shorter history $h'$ (its first letter dropped) says,
#
# $$p(c \mid h) = \frac{\text{count}(h, c) + k \, p(c \mid h')}{\text{count}(h) + k}$$
#
# With few counts the shorter history decides, with many the counts do; $k$ says how many are many (MacKay and Peto
# 1995). The last resort, the empty history, is mixed with the uniform guess.


# %%
def questions(word, n):
    """All (history, next letter) of a word, the history being the n - 1 symbols before."""
    symbols = ["<BOS>"] * (n - 1) + list(word) + ["<EOS>"]
    return [(tuple(symbols[i - n + 1 : i]), symbols[i]) for i in range(n - 1, len(symbols))]


print(questions("cat", 3))

# %% [markdown]
# A model of order $n$ counts each letter after its whole history and after every shorter one. `probability` is the
# formula above, applied again and again until the history is empty.

# %%
class NGram:
    def __init__(self, n, words, k):
        self.n, self.k, self.counts, self.totals = n, k, Counter(), Counter()
        for history, letter in [question for word in words for question in questions(word, n)]:
            for start in range(n):  # the whole history, then shorter and shorter ones
                self.counts[history[start:], letter] += 1
                self.totals[history[start:]] += 1

    def probability(self, history, letter):
        shorter = self.probability(history[1:], letter) if history else 1 / 27
        count, total = self.counts[history, letter], self.totals[history]
        return (count + self.k * shorter) / (total + self.k)


trigram = NGram(3, split.train, k=8)
er = ("e", "r")
print("'er' came", trigram.totals[er], "times, then the end", trigram.counts[er, "<EOS>"], "times")

# %% [markdown]
# What does a trigram model trained on our words think comes after "er"? The letter "d" never came there in training, and
# still gets a share.

# %%
for letter in ["<EOS>", "r", "m", "d"]:
    print(f"p({letter:5} | e r) = {trigram.probability(er, letter):.4f}")
assert trigram.counts[er, "d"] == 0 < trigram.probability(er, "d")
together = sum(trigram.probability(er, c) for c in [*"abcdefghijklmnopqrstuvwxyz", "<EOS>"])
assert abs(together - 1) < 1e-9
print(f"all 27 together: {together:.4f}")

# %% [markdown]
# Now every order from 1 to 5. The validation words choose $k$; the test words, which nothing has seen, give the loss.


# %%
def ngram_loss(model, words):
    everything = [question for word in words for question in questions(word, model.n)]
    return sum(-math.log(model.probability(*question)) for question in everything) / len(everything)


ngrams, on_validation, best_ngram = {}, {}, {}
for n, name in enumerate(["unigram", "bigram", "trigram", "4-gram", "5-gram"], start=1):
    models = [NGram(n, split.train, k) for k in (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)]
    best = min(models, key=lambda model: ngram_loss(model, split.validation))
    best_ngram[name], on_validation[name] = best, ngram_loss(best, split.validation)
    ngrams[name] = ngram_loss(best, split.test)
    perplexity = math.exp(ngrams[name])
    print(f"{name:8} k = {best.k:2}  test loss {ngrams[name]:.4f}  perplexity {perplexity:.1f}")

# %% [markdown]
# Each letter of context helps, and less than the one before. The next cell states that as assertions: if it were false,
# this notebook would stop here.

# %%
losses = list(ngrams.values())
gains = [a - b for a, b in zip([uniform_loss, *losses], losses)]
assert all(gain > 0 for gain in gains)
assert gains[1] > gains[2] > gains[3] > gains[4]
assert 2.345 < ngrams["trigram"] < 2.355 and 2.265 < ngrams["5-gram"] < 2.275
print("gain from each further letter of context:", [f"{gain:.3f}" for gain in gains[1:]])

# %% [markdown]
# **A loss means nothing alone. Here, 3.30 is ignorance, 2.35 is what two letters of context give, and a 5-gram, which sees
# four, gets 2.27.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.2 MiniFormer: the smallest honest model
#
# Can a model with attention beat counting? MiniFormer has one layer with one attention head, and vectors of width 32
# (`d_model`). It reads the letters so far and predicts the next one. Let us build it from pieces. First, each letter becomes
# a vector (its *embedding*, learned), and a vector for its position is added (fixed sines and cosines, nothing to learn).
# Without positions, the last letters of "act" and "cat" would look the same to one layer of attention. In the comments on
# shapes, B is the number of words in a batch, T of positions, V of symbols, and later H of heads.

# %%
seed_everything(0)
inputs = vocabulary.encode_batch(["flycatcher"])[:, :-1]  # (1, 11): everything but <EOS>
embed = TokenEmbedding(len(vocabulary), d_model=32, max_length=16)
x = embed(inputs)  # (B, T) → (B, T, d_model)
print(tuple(inputs.shape), "→", tuple(x.shape))

# %% [markdown] slideshow={"slide_type": "subslide"}
# Second, attention. Each position makes a *query* (what it looks for), a *key* (what it offers) and a *value* (what it
# hands over). The **causal mask** lets position $i$ attend to positions $0..i$ only, because the next letter must not
# be seen: it is the answer.

# %%
query_proj, key_proj, value_proj = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
mask = causal_mask(inputs.size(1))
output, weights = scaled_dot_product_attention(query_proj(x), key_proj(x), value_proj(x), mask)
print("output", tuple(output.shape), " weights", tuple(weights.shape))
assert (weights[0, 3, 4:] == 0).all() and (weights[0, 3, :4] > 0).all()
print("row of the letter 'y':", [round(w, 2) for w in weights[0, 3].tolist()])

# %% [markdown]
# Position 3 holds "y". It spreads its weight over `<BOS>`, "f", "l" and "y"; everything to the right gets exactly 0.
# Third, the pieces of one layer: attention and a feed-forward network (two linear maps with a ReLU between them), each
# with its input normalised before (*layer norm*: each position's vector is brought to mean 0 and variance 1, then scaled
# and shifted by learned numbers; done before, it is called *pre-norm*) and its output added to what came in (a *residual
# connection*).


# %%
class OneHeadLayer(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.query_proj = nn.Linear(d_model, d_model)
        self.key_proj = nn.Linear(d_model, d_model)
        self.value_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        self.feed_forward = FeedForward(d_model, 4 * d_model)
        self.norm_1, self.norm_2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def forward(self, x, mask):
        y = self.norm_1(x)
        q, k, v = self.query_proj(y), self.key_proj(y), self.value_proj(y)
        y, weights = scaled_dot_product_attention(q, k, v, mask)
        x = x + self.out_proj(y)
        return x + self.feed_forward(self.norm_2(x)), weights


layer = OneHeadLayer(32)
print(tuple(layer(x, mask)[0].shape), sum(p.numel() for p in layer.parameters()), "parameters")

# %% [markdown] slideshow={"slide_type": "subslide"}
# Last, the whole: embed, one layer, one more norm, and a linear map from 32 numbers to a score (*logit*) for each of the 29
# symbols (26 letters and three special ones). Softmax over the logits gives the probabilities. (`<PAD>` and `<BOS>` never come next; the model has to learn
# that.)


# %%
class MyMiniFormer(nn.Module):
    def __init__(self, vocab_size, d_model=32, max_length=16):
        super().__init__()
        self.embed = TokenEmbedding(vocab_size, d_model, max_length)
        self.layer = OneHeadLayer(d_model)
        self.norm = nn.LayerNorm(d_model)
        self.output = nn.Linear(d_model, vocab_size)

    def forward(self, tokens):
        x = self.embed(tokens)  # (B, T) → (B, T, d_model)
        x, weights = self.layer(x, causal_mask(tokens.size(1), tokens.device))
        return self.output(self.norm(x))  # (B, T, d_model) → (B, T, V)


mine = MyMiniFormer(len(vocabulary))
print("logits", tuple(mine(inputs).shape))

# %% [markdown]
# `helpers.transformer.MiniFormer` is the same with as many heads and layers as you like. (It also hides padding. Padding
# stands on the right, where the causal mask hides it from every letter already.) Is it the same? Copy its weights into
# yours, one after the other, and compare the outputs.

# %%
theirs = MiniFormer(len(vocabulary)).eval()
mine.load_state_dict(dict(zip(mine.state_dict(), theirs.state_dict().values())))
difference = (mine(inputs) - theirs(inputs)).abs().max()
assert difference < 1e-5
print("the two agree to 1e-5:", bool(difference < 1e-5))

# %% [markdown]
# And the layer equals PyTorch's own, `nn.TransformerEncoderLayer` with one head, once its weights are copied. Note that
# PyTorch's masks say True for "blocked", ours for "may attend".

# %%
pytorch = nn.TransformerEncoderLayer(32, 1, 128, dropout=0.0, batch_first=True, norm_first=True)
qkv = [mine.layer.query_proj, mine.layer.key_proj, mine.layer.value_proj]
with torch.no_grad():
    pytorch.self_attn.in_proj_weight.copy_(torch.cat([proj.weight for proj in qkv]))
    pytorch.self_attn.in_proj_bias.copy_(torch.cat([proj.bias for proj in qkv]))
pytorch.self_attn.out_proj.load_state_dict(mine.layer.out_proj.state_dict())
pytorch.linear1.load_state_dict(mine.layer.feed_forward[0].state_dict())
pytorch.linear2.load_state_dict(mine.layer.feed_forward[2].state_dict())
pytorch.norm1.load_state_dict(mine.layer.norm_1.state_dict())
pytorch.norm2.load_state_dict(mine.layer.norm_2.state_dict())
difference = (pytorch(x, src_mask=~mask) - mine.layer(x, mask)[0]).abs().max()
assert difference < 1e-5
print("nn.TransformerEncoderLayer agrees to 1e-5:", bool(difference < 1e-5))

# %% [markdown] slideshow={"slide_type": "subslide"}
# How large is it? Count by part. The assertion spells the sum out: 29 embeddings of 32; four projections with bias (33 · 32
# each), two feed-forward maps, two norms of 2 · 32; the last norm; the output with bias.

# %%
for name, part in theirs.named_children():
    print(f"{name:8}{sum(p.numel() for p in part.parameters()):8,}")
mini_size = sum(p.numel() for p in theirs.parameters())
print(f"{'all':8}{mini_size:8,}")
assert mini_size == 29 * 32 + (4 * 33 * 32 + 33 * 128 + 129 * 32 + 4 * 32) + 2 * 32 + 33 * 29

# %% [markdown]
# Before training, check for a **leak**: does any output depend on what it must not see? `find_leak` changes one letter
# after the other and looks whether an *earlier* output moves; then it removes padding and looks again.

# %%
leak = analysis.find_leak(theirs, test[:20].cpu())
print("leak:", leak)
assert leak is None

# %% [markdown] slideshow={"slide_type": "subslide"}
# Now train. `fit` goes over the shuffled words again and again (each time is an *epoch*) with AdamW, a common variant of
# gradient descent, and keeps the weights of the epoch with the lowest validation loss. The learning rate rises and falls
# once (*one-cycle*), and gradients longer than 1 are cut to length 1. Two things work against learning the words by heart:
# *dropout* sets numbers to 0 at random in training, *weight decay* shrinks the weights a little at each step.

# %% tags=["nbval-ignore-output"]
MINI_RECIPE = {"epochs": 40, "lr": 1e-2, "weight_decay": 1.0}
seed_everything(0)
mini = MiniFormer(len(vocabulary), dropout=0.1).to(device)
mini_history = fit(mini, train, validation, **MINI_RECIPE)
print(f"test loss {evaluate(mini, test):.3f} nats")

# %% [markdown]
# The curve shows training and validation loss for each epoch. At first the training loss lies higher: it is taken while the
# epoch runs, with dropout. In the end it lies lower: the model knows its training words better than others.

# %% tags=["nbval-ignore-output"]
references = {name: on_validation[name] for name in ("bigram", "trigram")}
plots.loss_curves({"MiniFormer": mini_history}, references, title="MiniFormer learns to spell")
plt.show()

# %% [markdown]
# The dot marks the epoch whose weights are kept. The dotted lines are the counting models' losses on the same validation
# words.

# %%
assert mini_history.train[0] > mini_history.validation[0]
assert mini_history.train[-1] < mini_history.validation[-1] - 0.1
print("first epoch: training loss above validation loss; last epoch: more than 0.1 nats below it")

# %% [markdown]
# One run proves little: another seed gives other initial weights and another order of the words. So train five and ask
# for every one of them. With several seeds you also get an **interval** for the mean over all seeds one could have taken,
# on these words: $\bar x \pm 2.78\, s/\sqrt 5$ for five values with standard deviation $s$ (Student's t). It is a recipe that
# catches the true mean in 95 of 100 uses, if the values are roughly bell-shaped.

# %% tags=["nbval-ignore-output"]
SEEDS = range(5)
minis = [mini]
for seed in SEEDS[1:]:
    seed_everything(seed)
    minis.append(MiniFormer(len(vocabulary), dropout=0.1).to(device))
    fit(minis[-1], train, validation, seed=seed, progress=False, **MINI_RECIPE)
mini_losses = [evaluate(model, test) for model in minis]
print("test losses:", [f"{loss:.3f}" for loss in mini_losses])
print("mean [interval]:", analysis.seed_interval(mini_losses))

# %% [markdown]
# Every seed has to beat the trigram by 0.05 nats, or the next cell stops the notebook.

# %%
assert all(loss < ngrams["trigram"] - 0.05 for loss in mini_losses)
assert abs(sum(mini_losses) / 5 - ngrams["5-gram"]) < 0.03
print("every seed beats the trigram by 0.05 nats; the mean is within 0.03 nats of the 5-gram")

# %% [markdown]
# Two things are true at once. MiniFormer is clearly better than counting pairs and triples. And on the test words it is
# level with counting after *four* letters, well smoothed, although it may look at the whole word. With so few words,
# counting is hard to beat.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Names that do not exist
#
# A model that predicts the next letter can also write: draw a letter from its probabilities, append it, ask again.
# Dividing the logits by a **temperature** before the softmax makes the draw bolder (above 1) or more timid (below 1).


# %%
@torch.no_grad()
def sample_names(model, number, temperature):
    tokens = torch.full((number, 1), vocabulary.bos_id, device=device)
    for _ in range(14):
        logits = model(tokens)[:, -1] / temperature  # (number, T, V) → (number, V): the last one's
        logits[:, [vocabulary.pad_id, vocabulary.bos_id]] = -math.inf  # never drawn
        drawn = logits.softmax(-1).multinomial(1)  # (number, V) → (number, 1)
        tokens = torch.cat([tokens, drawn], dim=1)  # (number, T) → (number, T + 1)
    return [vocabulary.decode(row) for row in tokens]


print("decode stops at the first <EOS>:", vocabulary.decode([1, 5, 3, 22, 2, 7, 7]))

# %% [markdown]
# **Predict first:** the five MiniFormers write 2,000 names at temperature 0.25. How many *different* ones will there be,
# and how many will be copies of training words?
#
# <details><summary>Answer</summary>
# A timid draw follows the most likely letters again and again, so hundreds of the 2,000 are repetitions. But the most
# likely letters rarely spell a word that was there: few are copies. The cell below counts.
# </details>

# %% tags=["nbval-ignore-output"]
seed_everything(0)
different, copied = {}, {}
for temperature in (0.25, 0.5, 1.0):
    names = [name for model in minis for name in sample_names(model, 400, temperature)]
    different[temperature] = len(set(names))
    copied[temperature] = sum(name in split.train for name in names) / len(names)
    print(f"at {temperature}: {different[temperature]} different, {copied[temperature]:.1%} copied")
    invented = sorted({name for name in names if name not in words and len(name) > 3})
    print("    new, such as", *invented[:: len(invented) // 7])

# %% [markdown]
# Both halves of the answer, checked:

# %%
assert different[0.25] < 1200 < different[0.5] < different[1.0]
assert max(copied.values()) < 0.08
print("the lower the temperature, the fewer different names; copies stay below 8 per cent")

# %% [markdown]
# **MiniFormer is honest: it predicts from the past alone, beats the trigram, and writes names of its own.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.3 FullTransformer: bigger, and suddenly brilliant
#
# The Transformer of "Attention Is All You Need" has two halves. The **encoder** reads one sequence (the *source*), every
# position attending to every other. The **decoder** writes another (the *target*): a causal language model like MiniFormer,
# with one more attention in each layer, **cross-attention**, whose queries come from the decoder and whose keys and
# values come from the encoder's output. In translation the source is the English sentence, the target the Japanese.
#
# FullTransformer has 2 encoder and 2 decoder layers with 4 heads each, vectors of width 64 and a feed-forward width of
# 128.

# %%
V = len(vocabulary)
config = TransformerConfig(source_vocab_size=V, target_vocab_size=V)
full_size = sum(p.numel() for p in Transformer(config).parameters())
print(config)
print(f"{full_size:,} parameters, {full_size / mini_size:.1f} times MiniFormer's")

# %% [markdown]
# Our task has only one sequence. So a beginner gives the word to both: the encoder reads it, the decoder predicts it
# letter by letter, causally masked as it should be. The code runs, the shapes are right, the loss falls.


# %%
def beginners_loss(model, tokens):
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    logits = model(inputs, inputs)  # source: the word; target: the same word
    return token_loss(logits, targets, vocabulary.pad_id)


print("the decoder reads", vocabulary.tokens(ids[:4]), "... and the encoder reads the same")

# %% [markdown]
# Train it with the same `fit` (half the epochs, smaller batches, no dropout), and look at the loss.

# %% tags=["nbval-ignore-output"]
COPY_RECIPE = {"lr": 1e-2, "weight_decay": 1.0, "batch_size": 32}
seed_everything(0)
beginner = Transformer(config).to(device)
beginner_history = fit(beginner, train, validation, beginners_loss, epochs=20, **COPY_RECIPE)
beginner_loss = evaluate(beginner, test, beginners_loss)
print(f"test loss {beginner_loss:.3f} nats; MiniFormer's: {mini_losses[0]:.3f} nats")

# %% [markdown]
# The loss is less than a fiftieth of MiniFormer's, on test words that the model never saw.

# %%
assert beginner_loss < mini_losses[0] / 50
print("FullTransformer's test loss is less than a fiftieth of MiniFormer's")

# %% [markdown] slideshow={"slide_type": "subslide"}
# **Predict first.** Is the encoder-decoder that much better a speller? Write down your explanation before you go on.
#
# <details><summary>A hint, not yet the answer</summary>
# Which letter does the model have to predict first? What would it have to know to be sure of it?
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.4 Too good to be true
#
# Smell first. Before the first letter, an honest model has seen `<BOS>` and nothing else. So it gives the *same*
# probabilities for every word. What is the least that one set of probabilities can cost on these words? The best set are
# the shares $q_c$ with which the letters really come first, and then the mean loss is their entropy,
# $-\sum_c q_c \ln q_c$. No other set does better (Gibbs' inequality). That is arithmetic, not luck.
#
# The first letter alone then sets a floor under the loss of the whole test: even a model that got everything else right
# for nothing would pay it once a word.

# %%
first_entropy = entropy_of(Counter(word[0] for word in split.test))
asked = sum(len(word) + 1 for word in split.test)
floor = first_entropy * len(split.test) / asked
print(f"entropy of the first letters: {first_entropy:.4f} nats")
print(f"the floor, spread over all letters and ends: {floor:.4f} nats a letter")

# %% [markdown]
# What do the two models pay for the first letter alone?


# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def first_letter_loss(model, *inputs):
    return nn.functional.cross_entropy(model(*inputs)[:, 0], test[:, 1]).item()


mini_first = first_letter_loss(mini, test[:, :-1])
beginner_first = first_letter_loss(beginner, test[:, :-1], test[:, :-1])
print(f"MiniFormer {mini_first:.3f}  FullTransformer {beginner_first:.3f}  entropy {first_entropy:.3f}")

# %%
assert mini_first > first_entropy > 10 * beginner_first
assert min(mini_losses) > floor > 10 * beginner_loss
print("FullTransformer pays less than a tenth of what any honest model must")

# %% [markdown] slideshow={"slide_type": "subslide"}
# Nobody can *predict* the first letter of a word that somebody else chose. So the model does not predict; it looks.
# Where? Ask the cross-attention, while the model reads "flycatcher". Rows are the decoder's positions, columns the
# encoder's; each map is one head of one layer.

# %%
word = vocabulary.encode_batch(["flycatcher"], device)[:, :-1]  # (1, 11)
letters = vocabulary.tokens(word)
with torch.no_grad():
    _, cheating = beginner(word, word, return_attention=True)
for kind, layers in cheating.items():
    print(f"{kind:8}", [tuple(weights.shape) for weights in layers])

# %% tags=["picture", "nbval-ignore-output"]
title = "Cross-attention of the model with the brilliant loss"
plots.head_grid(cheating["cross"], letters, title=title)
plt.show()

# %% [markdown]
# In most maps, see the bright line one step right of the diagonal. The position that has read "f" and must predict "l" attends to
# the encoder's position of "l". The encoder was given the whole word, so the answer stands there. (In the last row
# there is nothing to find: the end, `<EOS>`, is not in the source.)
#
# One picture is an anecdote. Measure the weight on the next position over all test words, for each head.

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    _, attention = beginner(test[:, :-1], test[:, :-1], return_attention=True)
real = test[:, 2:] != vocabulary.pad_id  # the queries whose next symbol is a letter
cross = torch.cat(attention["cross"], dim=1)  # two (B, 4, T, T) → (B, 8, T, T)
to_next = analysis.attention_to_offset(cross, +1)[:, :, :-1]  # (B, 8, T - 1)
to_next = to_next.transpose(1, 2)[real].mean(0)  # (B, T - 1, 8) → (real positions, 8) → (8,)
print("mean weight on the next letter, by head:", [f"{weight:.2f}" for weight in to_next.tolist()])

# %%
assert to_next.max() > 0.5
print("at least one head puts more than half its weight on the very letter that is asked for")

# %% [markdown] slideshow={"slide_type": "subslide"}
# A picture makes you suspect. A **leak test** proves: change one letter, and see whether an earlier output moves. In
# an honest model it cannot.

# %% tags=["nbval-ignore-output"]
leak = analysis.find_leak(lambda tokens: beginner(tokens, tokens), test[:50, :-1])
print(leak)

# %%
assert leak is not None and leak.kind == "future" and leak.changed == leak.moved + 1
print("the leak test says:", leak.kind, "- the output just before the changed letter moved most")

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Mending it, first try
#
# The decoder looks ahead through the cross-attention. So hide the future there: let decoder position $i$ attend to
# encoder positions $0..i$ only.
#
# **Predict first:** is the model honest now?
#
# <details><summary>Think about what an encoder position contains, then open</summary>
# It is not. The encoder attends in both directions. Its output at position 3 has already taken in positions 4, 5, 6.
# Hiding the later *positions* does not hide the later *letters*.
# </details>


# %%
def seq2seq_loss(hide_in_encoder, hide_in_cross):
    def loss(model, tokens):
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        past = causal_mask(inputs.size(1), inputs.device)
        source_mask = past if hide_in_encoder else None
        memory_mask = past if hide_in_cross else None
        logits = model(inputs, inputs, source_mask, memory_mask)
        return token_loss(logits, targets, vocabulary.pad_id)

    return loss


half_mended_loss, honest_loss = seq2seq_loss(False, True), seq2seq_loss(True, True)
print("the mask for both places, on four letters:", causal_mask(4).int().tolist())

# %% [markdown]
# Train a fresh network with the mask in the cross-attention only.

# %% tags=["nbval-ignore-output"]
seed_everything(0)
half_mended = Transformer(config).to(device)
fit(half_mended, train, validation, half_mended_loss, epochs=12, **COPY_RECIPE)
half_loss = evaluate(half_mended, test, half_mended_loss)
print(f"test loss {half_loss:.3f} nats")

# %% [markdown]
# That is still far below the floor of an honest model. The leak test agrees:


# %%
def half_mended_model(tokens):
    return half_mended(tokens, tokens, memory_mask=causal_mask(tokens.size(1), device))


leak = analysis.find_leak(half_mended_model, test[:50, :-1])
assert half_loss < floor / 2
assert leak is not None and leak.kind == "future"
print("still less than half of what an honest model must pay, and still a leak of the", leak.kind)

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Mending it for good
#
# The encoder must not see the future either. With both masks, position $i$ of every layer knows the letters $0..i$ and
# nothing else. (What is left of the encoder is a second causal stack, which the decoder consults.) The honest task is
# harder, and 737 words are few for 173,000 numbers, so this recipe uses more dropout and a lower learning rate, chosen on
# the validation words.

# %% tags=["nbval-ignore-output"]
FULL_RECIPE = {"epochs": 20, "lr": 5e-3, "weight_decay": 1.0}
honest_config = TransformerConfig(len(vocabulary), len(vocabulary), dropout=0.2)
seed_everything(0)
full = Transformer(honest_config).to(device)
full_history = fit(full, train, validation, honest_loss, **FULL_RECIPE)
print(f"test loss {evaluate(full, test, honest_loss):.3f} nats")


# %% [markdown]
# Is it honest now? Ask the leak test, and look whether the loss is of MiniFormer's kind.

# %%
def honest_model(model):
    def predict(tokens):
        past = causal_mask(tokens.size(1), tokens.device)
        return model(tokens, tokens, source_mask=past, memory_mask=past)

    return predict


assert analysis.find_leak(honest_model(full), test[:50, :-1]) is None
assert abs(evaluate(full, test, honest_loss) - mini_losses[0]) < 0.08
print("no leak, and a loss within 0.08 nats of MiniFormer's")

# %% [markdown]
# Look at the three curves together: the same network with the answer and without, and MiniFormer.

# %% tags=["nbval-ignore-output"]
curves = {"given the answer": beginner_history, "honest": full_history, "MiniFormer": mini_history}
references = {"trigram": on_validation["trigram"]}
plots.loss_curves(curves, references, title="The same network, given the answer or not")
plt.show()

# %% [markdown]
# The curve of the model that is given the answer falls below 1 within ten epochs and ends near 0. Both honest models end
# near 2.4,
# below the trigram's line. (That is on the validation words, which are harder than the test words; compare losses on the
# same words only.)

# %%
assert max(min(mini_history.validation), min(full_history.validation)) < on_validation["trigram"] - 0.05
assert on_validation["trigram"] > ngrams["trigram"] + 0.1
assert min(beginner_history.validation[:10]) < 1 and beginner_history.validation[-1] < 0.1
assert all(abs(history.best - 2.4) < 0.08 for history in (mini_history, full_history))
print("both honest models are below the trigram by 0.05 nats on the validation words, too")

# %% [markdown]
# **Copying is not predicting. When a loss is too good, find out what the model can see before you believe it.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.5 The fair comparison
#
# MiniFormer or FullTransformer: who spells better? Same words, same split, no leak, each with a recipe chosen on the
# validation words, five seeds each.

# %% tags=["nbval-ignore-output"]
fulls = [full]
for seed in SEEDS[1:]:
    seed_everything(seed)
    fulls.append(Transformer(honest_config).to(device))
    fit(fulls[-1], train, validation, honest_loss, seed=seed, progress=False, **FULL_RECIPE)
full_losses = [evaluate(model, test, honest_loss) for model in fulls]
print("test losses:", [f"{loss:.3f}" for loss in full_losses])

# %% [markdown]
# The table. The seconds are those of one training run on the machine that executed this notebook.

# %% tags=["nbval-ignore-output"]
mini_mean, full_mean = analysis.seed_interval(mini_losses), analysis.seed_interval(full_losses)
print("                 parameters   seconds   test loss, mean of 5 seeds [95% interval]")
print(f"MiniFormer       {mini_size:10,}   {mini_history.seconds[-1]:7.1f}   {mini_mean}")
print(f"FullTransformer  {full_size:10,}   {full_history.seconds[-1]:7.1f}   {full_mean}")
for name, loss in ngrams.items():
    print(f"{name:40}{loss:.3f}")

# %% [markdown]
# Two intervals side by side do not yet answer the question. What is asked is the **difference**: take it seed by seed
# (two runs with the same seed read the words in the same order) and give its interval. If that excludes 0, the
# difference is more than the luck of the seeds.

# %% tags=["nbval-ignore-output"]
gap = analysis.seed_interval([b - a for a, b in zip(mini_losses, full_losses)])
verdict = "more than the luck of the seeds" if gap.excludes(0) else "could be luck"
print("FullTransformer minus MiniFormer:", gap, "nats:", verdict)

# %% [markdown]
# With twelve times the parameters, FullTransformer is not better; it is a little worse.

# %%
assert full_size > 11 * mini_size
assert gap.mean > 0 and gap.low > -0.005
print("twelve times the parameters bought nothing here")

# %% [markdown]
# The same as a picture; the dotted lines are the counting models on the same words.

# %% tags=["nbval-ignore-output"]
references = {name: ngrams[name] for name in ("trigram", "5-gram")}
both = {"MiniFormer": mini_mean, "FullTransformer": full_mean}
plots.interval_plot(both, "test loss, nats per letter", "Test loss over five seeds", references)
plt.show()

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### And on other words?
#
# These intervals tell how far the *training* is a matter of luck. There is a second kind of luck: which 211 words
# happened to be the test. For that, compare **word by word**, and draw 211 words again and again out of the 211, with
# replacement (the *bootstrap*): how much does the mean difference move?

# %%
def letter_losses(logits, targets):
    """Loss at every position, (B, T), from logits (B, V, T); 0 where there is padding."""
    pad_id = vocabulary.pad_id
    return nn.functional.cross_entropy(logits, targets, reduction="none", ignore_index=pad_id)


@torch.no_grad()
def loss_by_word(models, predict):
    """Summed loss of each test word, mean over the models, (N,)."""
    logits = [predict(model, test[:, :-1]).transpose(1, 2) for model in models]  # each (N, V, T)
    losses = [letter_losses(x, test[:, 1:]) for x in logits]  # each (N, T)
    return torch.stack(losses).mean(0).sum(1).cpu()  # (N, T) → (N,)


def ngram_by_word(model):
    return torch.tensor([ngram_loss(model, [word]) * (len(word) + 1) for word in split.test])


print("a loss for each of", len(ngram_by_word(best_ngram["bigram"])), "test words")

# %% [markdown]
# Take from each of three rivals MiniFormer's loss, word by word. A positive difference speaks for MiniFormer.

# %% tags=["nbval-ignore-output"]
by_word = {
    "FullTransformer": loss_by_word(fulls, lambda model, tokens: honest_model(model)(tokens)),
    "trigram": ngram_by_word(best_ngram["trigram"]),
    "5-gram": ngram_by_word(best_ngram["5-gram"]),
}
mini_by_word = loss_by_word(minis, lambda model, tokens: model(tokens))
on_words = {}
for name, losses in by_word.items():
    per_letter = (losses - mini_by_word) * len(test) / asked  # asked: letters and ends of all words
    on_words[name] = analysis.bootstrap_interval(per_letter.numpy())
    print(f"{name:16} minus MiniFormer: {on_words[name]} nats a letter")

# %%
assert on_words["trigram"].low > 0 and on_words["FullTransformer"].low > -0.01
assert on_words["5-gram"].low < 0 < on_words["5-gram"].high
print("over other words, too, MiniFormer beats the trigram; against the 5-gram it could go either way")

# %% [markdown]
# On other words, too, FullTransformer would hardly come out ahead, and MiniFormer's lead over the trigram would survive.
# Against the 5-gram nothing is decided.
#
# **Say "better" only when the interval of the difference excludes zero, and say over what: other seeds, or other words.
# On these words, twelve times the parameters bought nothing.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.6 Looking inside "flycatcher"
#
# Where do the two honest models look while they read? Both get the right letters as input, whatever they would have
# predicted themselves; that is called **teacher forcing**. Ask each for its attention weights.

# %%
word_mask = causal_mask(word.size(1), device)
with torch.no_grad():
    _, mini_attention = mini(word, return_attention=True)
    _, full_attention = full(word, word, word_mask, word_mask, return_attention=True)
for who, layers in {"MiniFormer": mini_attention, "FullTransformer": full_attention["decoder"]}.items():
    print(f"{who:16}", [tuple(weights.shape) for weights in layers])

# %% tags=["nbval-ignore-output"]
plots.attention_heatmap(mini_attention[0][0, 0], letters, title='MiniFormer reads "flycatcher"')
plt.show()

# %% [markdown]
# Each row is a position that has just read its letter and must predict the next. The upper right is dark: the future is
# hidden. In at least half of the rows the brightest cell lies just left of the diagonal: the position before.

# %%
brightest = mini_attention[0][0, 0, 1:].argmax(-1).cpu()  # (10,): for each row after the first
before_it = int((brightest == torch.arange(10)).sum())
assert before_it >= 5
print("the position before is the brightest in at least half of the ten rows")

# %% tags=["nbval-ignore-output"]
title = "FullTransformer's decoder reads 'flycatcher'"
plots.head_grid(full_attention["decoder"], letters, title=title)
plt.show()

# %% [markdown]
# Eight maps instead of one, and they differ: no two have the brightest cell at the same place in every row.

# %%
maps = torch.cat(full_attention["decoder"], dim=1)[0]  # two (1, 4, T, T) → (8, T, T)
assert len(maps[:, 1:].argmax(-1).unique(dim=0)) == 8
print("eight heads, eight different patterns of brightest cells")

# %% [markdown] slideshow={"slide_type": "subslide"}
# Enlarge one row: the letter "a", from which both must predict "t". For FullTransformer, take the mean over the eight
# heads. Which earlier letters get weight?

# %% tags=["nbval-ignore-output"]
at_a = letters.index("a")
mean_map = torch.cat(full_attention["decoder"], dim=1).mean(1)  # two (1, 4, T, T) → (1, T, T)
rows = torch.stack([mini_attention[0][0, 0, at_a], mean_map[0, at_a]])  # (2, T)
who = ["MiniFormer", "FullTransformer (mean)"]
plots.attention_heatmap(rows, who, letters, title='The row of "a": who looks where?', values=True)
plt.show()

# %% [markdown]
# MiniFormer gives the largest weight to "c", the letter before. In FullTransformer's mean no letter gets as much.

# %%
assert rows[0].argmax() == at_a - 1
assert rows[1].max() < rows[0].max()
print("the brightest cell of the two rows is MiniFormer's, on the letter before")

# %% [markdown]
# The same in BertViz's head view: the tokens twice, queries on the left, keys on the right; the stronger a line, the
# larger the weight. Point at a letter to see its lines alone; click on a colour to hide that head. For FullTransformer
# choose the layer, and whether you look at the encoder, the decoder or the cross-attention. (GitHub shows no moving
# parts; the heat maps above show MiniFormer and the decoder.)

# %% tags=["nbval-ignore-output"]
of_mini = {"attention": mini_attention, "tokens": letters}
of_full = {f"{kind}_attention": full_attention[kind] for kind in ("decoder", "cross", "encoder")}
of_full |= {"encoder_tokens": letters, "decoder_tokens": letters}
bertviz_views.head_views({"MiniFormer": of_mini, "FullTransformer": of_full})

# %% [markdown]
# To look at the weights elsewhere, save them: a JSON file with the tokens and, for each layer, head and query, one
# number for each key. Read back, they are the same.

# %%
with TemporaryDirectory() as folder:
    path = Path(folder) / "flycatcher.json"
    bertviz_views.save_attention(path, mini_attention, letters)
    layers_read, tokens_read = bertviz_views.load_attention(path)
assert tokens_read == letters and torch.equal(layers_read[0], mini_attention[0][0].cpu())
print("saved, read back, equal:", [tuple(layer.shape) for layer in layers_read])

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.7 Numbers for an impression
#
# Whoever looks at such pictures comes away with an impression: "MiniFormer looks hard at the previous letter,
# FullTransformer spreads out, because it has more heads." That is three claims, from one word and one seed. Measure
# them, over all test words and all five seeds.
#
# For every query: the weight on its **own** letter, on the letter **before** it, and on `<BOS>`; the mean **distance**
# it looks back, in letters; and the **entropy** of its weights $w_{ij}$, divided by the largest possible:
# $-\sum_j w_{ij} \ln w_{ij} \,/ \ln(i + 1)$. So 0 means "one position only", 1 means "all alike". Queries before the second letter see too
# little to choose from and are left out.


# %%
def profile(weights, tokens):
    """Mean behaviour of weights (B, H, T, T) at the positions that predict a letter or the end."""
    counted = tokens[:, 1:] != vocabulary.pad_id  # (B, T)
    counted[:, :2] = False
    visible = causal_mask(weights.size(-1), weights.device)
    measures = {
        "own letter": analysis.attention_to_self(weights),
        "letter before": analysis.attention_to_previous(weights),
        "<BOS>": analysis.attention_to_first(weights),
        "distance": analysis.attention_distance(weights),
        "entropy": analysis.attention_entropy(weights, visible),
    }  # five times (B, H, T)
    return {name: m.transpose(1, 2)[counted].mean().item() for name, m in measures.items()}


past = causal_mask(test.size(1) - 1, device)
even = past / past.sum(-1, keepdim=True)  # (T, T): the weights of a model that prefers nothing
even_profile = profile(even.expand(len(test), 1, -1, -1), test)
print({name: round(value, 4) for name, value in even_profile.items()})

# %% [markdown]
# That is the reference point: a head that spreads its weight evenly over everything visible. Now the models. For
# FullTransformer take the decoder's self-attention, all 8 heads, and separately the *mean map* that one gets by
# averaging the heads first, as people often do before they draw.


# %%
@torch.no_grad()
def decoder_weights(model):
    inputs = test[:, :-1]
    if isinstance(model, MiniFormer):
        layers = model(inputs, return_attention=True)[1]
    else:
        layers = model(inputs, inputs, past, past, return_attention=True)[1]["decoder"]
    return torch.cat(layers, dim=1)  # layers of (B, H, T, T) → (B, layers · H, T, T)


print("MiniFormer     ", tuple(decoder_weights(mini).shape))
print("FullTransformer", tuple(decoder_weights(full).shape))

# %% [markdown]
# One profile for each seed, one interval for each measure:

# %% tags=["nbval-ignore-output"]
def over_seeds(profiles):
    return {name: analysis.seed_interval([p[name] for p in profiles]) for name in profiles[0]}


mini_profiles = [profile(decoder_weights(model), test) for model in minis]
head_profiles = [profile(decoder_weights(model), test) for model in fulls]
map_profiles = [profile(decoder_weights(model).mean(1, keepdim=True), test) for model in fulls]
intervals = {
    "MiniFormer": over_seeds(mini_profiles),
    "FullTransformer, each head": over_seeds(head_profiles),
    "FullTransformer, mean map": over_seeds(map_profiles),
}
for who, row in intervals.items():
    print(who)
    for name, interval in row.items():
        print(f"    {name:14} {interval}   even: {even_profile[name]:.3f}")

# %% [markdown]
# "Each head" and "mean map" agree in four of the five measures. They must: those measures are weights, or weights times
# distances added up, and the mean of such sums is the same sum of the mean weights. The entropy is not.

# %%
for heads, mean_map_of in zip(head_profiles, map_profiles):
    same = {name for name in heads if abs(heads[name] - mean_map_of[name]) < 1e-4}
    assert same == set(heads) - {"entropy"} and mean_map_of["entropy"] > heads["entropy"]
print("the same but for the entropy, which is higher in the mean map")

# %% [markdown]
# The two measures of the impression, as a picture:

# %% tags=["nbval-ignore-output"]
_, axes = plt.subplots(2, 1, figsize=(7.5, 5))
for ax, name in zip(axes, ["letter before", "entropy"]):
    rows = {who: row[name] for who, row in intervals.items()}
    plots.interval_plot(rows, name, f"{name}, over the test words", {"even": even_profile[name]}, ax)
plt.show()

# %% [markdown]
# Read the two panels against the three claims.
#
# 1. *MiniFormer looks hard at the letter before.* True: about twice what an even spread would give.
# 2. *FullTransformer spreads out.* True for where the weight goes: the letter before gets less of it than in MiniFormer.
#    Not true for how sharply its heads look: one by one, their weights are on average *less* even than MiniFormer's. Only the
#    mean map is flatter. That a mean of maps has at least the mean of their entropies is a theorem; how much more, is the
#    finding.
# 3. *Because of the heads.* Not yet known. The two models differ in heads, in layers, in width and in having an encoder.

# %%
before = {who: row["letter before"] for who, row in intervals.items()}
assert before["MiniFormer"].low > 1.7 * even_profile["letter before"]
assert before["MiniFormer"].low > before["FullTransformer, each head"].high + 0.05
pairs = list(zip(mini_profiles, head_profiles, map_profiles))
sharper = analysis.seed_interval([head["entropy"] - mini["entropy"] for mini, head, _ in pairs])
flatter = analysis.seed_interval([mean["entropy"] - mini["entropy"] for mini, _, mean in pairs])
assert sharper.high < 0 < flatter.low
print("against MiniFormer's entropy: FullTransformer's heads lower on average, the mean map higher")

# %% [markdown]
# Two cautions. "Each head" is itself a mean over eight heads, and FullTransformer has other ways to the letter before,
# through its encoder and its cross-attention. So look at the most devoted head, and at the cross-attention.

# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def cross_weights(model):
    inputs = test[:, :-1]
    return torch.cat(model(inputs, inputs, past, past, return_attention=True)[1]["cross"], dim=1)


devoted = []
for weights in map(decoder_weights, fulls):
    of_head = [profile(weights[:, [head]], test)["letter before"] for head in range(8)]
    devoted.append(max(of_head))
in_cross = [profile(cross_weights(model), test)["letter before"] for model in fulls]
print("letter before: the head that looks there most", analysis.seed_interval(devoted))
print("letter before: mean of the cross-attention   ", analysis.seed_interval(in_cross))

# %% [markdown]
# Compare the one with MiniFormer's only head, the other with the mean of the decoder's heads.

# %%
assert analysis.seed_interval(devoted).high < before["MiniFormer"].low
assert abs(analysis.seed_interval(in_cross).mean - before["FullTransformer, each head"].mean) < 0.08
print("even its most devoted head looks there less than MiniFormer's only one,")
print("and the cross-attention about as much as the mean of the decoder's heads")

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Taking the causes apart
#
# To know what does it, vary the parts separately. Train all eight combinations of 1 or 4 heads, 1 or 2 layers (of each
# stack), and *decoder-only* (one causal stack, like MiniFormer) or encoder-decoder (honest, with both masks). The number
# of heads does not change the number of parameters; each head gets a narrower slice. Layers and an encoder do add
# parameters, so those models get a smaller width: about 15,000 parameters each. So for layers and encoder, what is measured
# is the part *in exchange for* width. Same recipe for all, five seeds each, and a training so short that the losses come
# only near the trigram's.

# %%
KINDS = ["decoder-only", "encoder-decoder"]
WIDTHS = {(KINDS[0], 1): 32, (KINDS[0], 2): 24, (KINDS[1], 1): 20, (KINDS[1], 2): 16}


def build(heads, layers, kind):
    width = WIDTHS[kind, layers]
    if kind == "decoder-only":
        return MiniFormer(V, width, heads, layers, dropout=0.1).to(device), next_token_loss
    config = TransformerConfig(V, V, width, heads, 4 * width, layers, dropout=0.1)
    return Transformer(config).to(device), honest_loss


for (kind, layers), width in WIDTHS.items():
    size = sum(p.numel() for p in build(4, layers, kind)[0].parameters())
    assert 13_000 < size < 17_000
    assert size == sum(p.numel() for p in build(1, layers, kind)[0].parameters())
    print(f"{kind:15} {layers} layer(s), width {width}: {size:,} parameters")

# %% [markdown]
# Forty trainings: eight models, five seeds. Each gives a test loss and a profile.

# %% tags=["nbval-ignore-output"]
ABLATION_RECIPE = {"epochs": 15, "lr": 1.5e-2, "weight_decay": 0.5, "progress": False}
combinations = [(heads, layers, kind) for heads in (1, 4) for layers in (1, 2) for kind in KINDS]
ablation = {}
for combination in tqdm(combinations, file=sys.stdout, ncols=80):
    for seed in SEEDS:
        seed_everything(seed)
        model, loss = build(*combination)
        fit(model, train, validation, loss, seed=seed, **ABLATION_RECIPE)
        result = {"test loss": evaluate(model, test, loss)}
        ablation[combination, seed] = result | profile(decoder_weights(model), test)

# %% [markdown]
# All eight, with their intervals. Look down the columns: where does the weight on the letter before fall?

# %% tags=["nbval-ignore-output"]
for combination in combinations:
    row = over_seeds([ablation[combination, seed] for seed in SEEDS])
    shown = [f"{name} {row[name]}" for name in ("test loss", "letter before", "entropy")]
    print("{} head(s), {} layer(s), {:15}".format(*combination), *shown, sep="  ")
    assert abs(row["test loss"].mean - ngrams["trigram"]) < 0.1

# %% [markdown]
# The **effect** of a factor is the mean of the four models that have it minus the mean of the four that do not. Each
# seed gives one such number; five seeds give an interval.

# %%
LEVELS = {"4 heads, not 1": (0, 1, 4), "2 layers, not 1": (1, 1, 2), "encoder-decoder": (2, *KINDS)}


def effect(factor, name):
    place, low, high = LEVELS[factor]

    def mean_of(level, seed):
        return sum(ablation[c, seed][name] for c in combinations if c[place] == level) / 4

    return analysis.seed_interval([mean_of(high, seed) - mean_of(low, seed) for seed in SEEDS])


print("factors:", ", ".join(LEVELS))

# %% [markdown]
# Three factors, three measures, nine effects. Which of their intervals exclude 0?

# %% tags=["nbval-ignore-output"]
measures = ["letter before", "entropy", "test loss"]
effects = {name: {factor: effect(factor, name) for factor in LEVELS} for name in measures}
for name, row in effects.items():
    for factor, interval in row.items():
        note = "" if interval.excludes(0) else "   (could be nothing)"
        print(f"{name:14} {factor:16} {interval}{note}")

# %% [markdown]
# The nine as a picture. An interval that crosses the dotted line could be nothing.

# %% tags=["nbval-ignore-output"]
_, axes = plt.subplots(3, 1, figsize=(8, 6.5))
for ax, (name, row) in zip(axes, effects.items()):
    plots.interval_plot(row, f"change in {name}", f"What changes the {name}?", {"none": 0.0}, ax)
plt.show()

# %% [markdown]
# Read the intervals, and say no more than they do. (Of nine intervals at 95 per cent, one may exclude 0 by luck.)
#
# - **The letter before** gets less weight with more heads, with more layers and with an encoder beside the decoder. No
#   single factor stands behind the picture.
# - **The entropy** of a head is higher with an encoder and with more layers. With more heads it is not.
# - **The loss** is higher with layers and with an encoder. Those models are narrower and have learned less in the same
#   time, and a model that has learned nothing has no preference for the letter before, as the next cell shows. For these
#   two factors the experiment cannot tell "has the part" from "has learned less". For the heads it can: with more heads the
#   loss is not higher.
#
# With only five seeds, an interval that ends close to 0 may reach it with five others. So the assertions ask less of some
# effects than this run shows.

# %%
HEADS, LAYERS, ENCODER = LEVELS
before_effects = effects["letter before"]
assert before_effects[HEADS].high < 0 and before_effects[ENCODER].high < 0
assert before_effects[LAYERS].mean < -0.01
assert effects["entropy"][HEADS].mean < 0.02 < effects["entropy"][ENCODER].mean
assert effects["test loss"][LAYERS].low > 0 and effects["test loss"][ENCODER].low > 0
assert effects["entropy"][LAYERS].mean > 0 and effects["test loss"][HEADS].mean < 0.01
untrained = []
for seed in SEEDS:
    seed_everything(seed)
    untrained.append(profile(decoder_weights(MiniFormer(V).to(device)), test)["letter before"])
assert abs(sum(untrained) / 5 - even_profile["letter before"]) < 0.05
print("heads and an encoder take weight from the letter before; more heads do not flatten a head")

# %% [markdown]
# And these small, briefly trained models are not MiniFormer and FullTransformer. The corner with 4 heads, 2 layers and
# an encoder should resemble FullTransformer. Does it?

# %% tags=["nbval-ignore-output"]
corner = over_seeds([ablation[(4, 2, "encoder-decoder"), seed] for seed in SEEDS])
real_one = intervals["FullTransformer, each head"]
for name in ("letter before", "entropy"):
    print(f"{name:14} corner {corner[name]}   FullTransformer {real_one[name]}")

# %%
assert corner["entropy"].low > real_one["entropy"].high
print("the corner's heads are flatter than FullTransformer's: width and training matter as well")

# %% [markdown]
# **An impression named one cause. Measured, heads are one of several things that go with less weight on the letter before;
# more heads do not make a head flatter; and for the two trained models "spreads out", in the sense of flatter maps, holds
# only for an average that no head computes.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.8 Is attention an explanation?
#
# MiniFormer gives the letter before a large weight. Does it also *use* it? A weight is not yet a cause: the value
# behind it may hold nothing new. So intervene. Remove the edge from each query to the letter before, let the softmax
# share its weight among the others, and measure what the loss does. As a control, remove the edge to another earlier
# position, chosen at random.


# %%
@torch.no_grad()
def losses_without(model, tokens, removed):
    """Loss at every position, (B, T), without the edges where `removed` (B, T, T) is True."""
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    mask = causal_mask(inputs.size(1), tokens.device) & ~removed
    x = model.embed(inputs)
    for layer in model.layers:
        x, _ = layer(x, mask)
    return letter_losses(model.output(model.norm(x)).transpose(1, 2), targets)  # (B, V, T) → (B, T)


nothing = torch.zeros(1, 1, 1, dtype=torch.bool, device=device)
same = losses_without(mini, test, nothing).sum().item() / asked
assert abs(same - evaluate(mini, test)) < 1e-4
print("with nothing removed, the loss is the test loss")

# %% [markdown]
# Three removals: the query's own letter, the letter before, and a random position further back (also `<BOS>`). To be fair
# to the control, only queries that have at least two letters further back count.


# %%
def edges(tokens, which, seed=0):
    """One removed edge for each query: boolean, (B, T, T)."""
    B, T = len(tokens), tokens.size(1) - 1
    positions = torch.arange(T)
    keys = {"own letter": positions, "letter before": positions - 1}.get(which)
    if keys is None:  # one at random among 0 .. i - 2
        generator = torch.Generator().manual_seed(seed)
        keys = (torch.rand(B, T, generator=generator) * (positions - 1)).long()
    return (positions == keys.unsqueeze(-1)).expand(B, T, T).to(tokens.device)


print(edges(test[:1, :6], "letter before")[0].int())

# %% [markdown]
# Remove each kind of edge from all five models, and average the change of the loss over all counted queries.

# %% tags=["nbval-ignore-output"]
counted = test[:, 1:] != vocabulary.pad_id
counted[:, :4] = False


def change_without(model, which, seed=0):
    """What the loss gains at each counted position when an edge goes, (positions,)."""
    changed = losses_without(model, test, edges(test, which, seed))
    return (changed - losses_without(model, test, nothing))[counted]


damage = {}
for which in ("own letter", "letter before", "random other"):
    changes = [change_without(model, which, seed).mean().item() for seed, model in enumerate(minis)]
    damage[which] = analysis.seed_interval(changes)
    print(f"{which:14} removed: loss changes by {damage[which]} nats")

# %% tags=["nbval-ignore-output"]
title = "MiniFormer without one edge, five seeds"
plots.interval_plot(damage, "change in loss, nats per letter", title, {"none": 0.0})
plt.show()

# %% [markdown]
# Compare the three: the letter before stands far off.

# %%
assert damage["letter before"].low > 3 * max(damage["random other"].high, 0.01)
assert damage["letter before"].low > 2 * damage["own letter"].high
own, previous = (intervals["MiniFormer"][name].mean for name in ("own letter", "letter before"))
share_of_damage = damage["own letter"].mean / damage["letter before"].mean
assert share_of_damage < 0.6 * own / previous  # less damage than its weight promises
print("the letter before costs over three times a random other edge, and over twice the own letter")

# %% [markdown]
# So here the largest weight does point at a cause. The own letter is the counter-example: it has about half the weight of
# the letter before, yet its edge costs only about a sixth as much. A likely reason: the own letter also arrives through the
# residual connection.
#
# Does the weight tell query by query? If it did, the queries with the largest weight on the letter before would be hurt
# most by losing it.

# %% tags=["nbval-ignore-output"]
correlations = []
for model in minis:
    weight = analysis.attention_to_previous(decoder_weights(model))[:, 0][counted]
    change = change_without(model, "letter before")
    correlations.append(torch.corrcoef(torch.stack([weight, change]))[0, 1].item())
correlation = analysis.seed_interval(correlations)
print("correlation of weight and damage, over queries:", correlation)

# %% [markdown]
# Positive in every seed, and far from 1. Part of the scatter is noise: the damage is measured on the one letter that came.
# Still, look at the quarter of the queries with the largest weights: for how many does losing the edge *help*?

# %% tags=["nbval-ignore-output"]
helped = []
for model in minis:
    weight = analysis.attention_to_previous(decoder_weights(model))[:, 0][counted]
    strongest = weight >= weight.quantile(0.75)
    helped.append((change_without(model, "letter before")[strongest] < 0).float().mean().item())
print("share of the strongest edges whose removal lowers the loss:", analysis.seed_interval(helped))

# %%
assert all(0.25 < value < 0.6 for value in correlations)
assert 0.1 < analysis.seed_interval(helped).mean < 0.5
print("correlation between 0.25 and 0.6; losing a strong edge helps in over a tenth of the cases")

# %% [markdown]
# **A large weight is a hint, an intervention is evidence. In this one-layer model the hint is right on average,
# misleading for the own letter, and weak for a single query.** (The evidence has a limit, too: a model with an edge
# removed is a model that was never trained.) In deeper models, where information moves between positions in every
# layer, be more careful still. Whether attention weights explain is disputed (Jain and Wallace 2019; Wiegreffe and
# Pinter 2019, both mostly on recurrent models).

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.9 Bug clinic
#
# Four bugs that ran, gave numbers of the right shape, and were believed. Find each before you open the fold. The first
# you know already: **the answer in the input** (5.3), proved by `find_leak` (5.4).
#
# ### Bug 2: which words were these tested on?
#
# Two people compare two models. Each shuffles the words and splits them. What is wrong?


# %%
def careless_split(words, seed):
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(seed)).tolist()
    shuffled = [words[i] for i in order]
    return shuffled[:737], shuffled[842:]  # to train on, to test on


train_a, test_a = careless_split(list(words), seed=1)
train_b, test_b = careless_split(list(words), seed=2)
print(len(train_a), len(test_a), len(train_b), len(test_b))

# %% [markdown]
# <details><summary>The bug</summary>
# Two seeds, two splits. Most of A's test words are among B's training words. Whoever then tests both models on the same
# words, A's, tests B on what it has learned by heart.
# </details>
#
# The test: no word may be on both sides. And what is it worth, roughly? MiniFormer's loss on words it was trained on,
# against words it was not, times the share of such words.

# %%
shared = len(set(test_a) & set(train_b)) / len(test_a)
print(f"share of A's test words that B was trained on: {shared:.2f}")
assert shared > 0.6
assert not set(split.test) & (set(split.train) | set(split.validation))

# %% tags=["nbval-ignore-output"]
advantages = [evaluate(model, test) - evaluate(model, train) for model in minis]
bonus = analysis.seed_interval(advantages)
print("what a model gains on words it was trained on:", bonus, "nats")

# %%
assert shared * bonus.low > 2 * gap.high
print("the undeserved gain is more than twice the difference that 5.5 was about")

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 3: the mean of what?
#
# A common way to report a loss: average the batches' losses. Find the bug.


# %%
def reported_loss(losses_of_batches):
    return sum(mean for mean, letters in losses_of_batches) / len(losses_of_batches)


# Two batches, each with its mean loss and its number of letters:
short_words, long_words = (1.5, 40), (2.5, 400)
print(f"{reported_loss([short_words, long_words]):.4f}")

# %% [markdown]
# <details><summary>The bug</summary>
# The batch of 40 letters counts as much as the one of 400. The mean per letter weighs each batch by its letters. And
# what is reported depends on how the words happened to be cut into batches.
# </details>
#
# The test: cut the same data into other batches, and the loss must not change.


# %%
def loss_per_letter(losses_of_batches):
    total = sum(mean * letters for mean, letters in losses_of_batches)
    return total / sum(letters for _, letters in losses_of_batches)


cut_otherwise = [(1.5, 40), (2.5, 200), (2.5, 200)]  # the same letters, in three batches
for loss in (reported_loss, loss_per_letter):
    print(f"{loss.__name__:16} {loss([short_words, long_words]):.4f} {loss(cut_otherwise):.4f}")
assert loss_per_letter(cut_otherwise) == loss_per_letter([short_words, long_words])
assert abs(evaluate(mini, test, batch_size=7) - evaluate(mini, test, batch_size=100)) < 1e-4

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 4: masked, but when?
#
# The weights on the future are zero, as they should be. Find the bug.


# %%
def late_masked_attention(query, key, value, mask):
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))  # (B, T, T)
    weights = scores.softmax(dim=-1).masked_fill(~mask, 0.0)
    return weights @ value, weights


seed_everything(0)
query, key, value = torch.randn(3, 1, 5, 8)  # three tensors of shape (1, 5, 8)
output, weights = late_masked_attention(query, key, value, causal_mask(5))
print(tuple(output.shape), [round(w, 4) for w in weights[0, 1].tolist()])

# %% [markdown]
# <details><summary>The bug</summary>
# The mask comes after the softmax. The scores of future keys are gone from the result but not from the sum that the
# softmax divides by. The rows no longer sum to 1, and worse: how far they fall short tells each position about the
# future. It is a leak.
# </details>
#
# Two tests expose it: the row sums, and a change of a future key.

# %%
other_key = key.clone()
other_key[0, 4] += 1.0  # the last position, which the first four must not see
for attend in (late_masked_attention, scaled_dot_product_attention):
    output, weights = attend(query, key, value, causal_mask(5))
    moved = (attend(query, other_key, value, causal_mask(5))[0] - output)[0, :4].abs().max()
    sums = [round(w, 4) for w in weights[0].sum(-1).tolist()]
    print(f"{attend.__name__}: row sums {sums}, an earlier output moves: {bool(moved > 1e-6)}")
    assert (moved > 0.01) == (attend is late_masked_attention)

# %% [markdown] slideshow={"slide_type": "skip"}
# ## 5.10 Exercises
#
# Write over `raise NotImplementedError`, run the cell, then run the check. A check says what is wrong on the smallest
# input that shows it. Solutions are in `notebooks/solutions`.
#
# ### Exercise 1: perplexity (warm-up, 5 minutes)
#
# Given the mean losses of some batches in nats and how many letters each batch had, return the perplexity over all
# letters. Example: `perplexity([0.0, 2.0], [1, 1])` is $e^1 \approx 2.7183$.
#
# <details><summary>Hint</summary>First the mean loss per letter (bug 3), then the exponential.</details>


# %% slideshow={"slide_type": "skip"}
def perplexity(mean_losses, letters):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
checks.check_perplexity(perplexity)

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 2: a bigram model from a table of counts (easy, 10 minutes)
#
# `counts` is a tensor (V, V): how often symbol `j` followed symbol `i`. Return the smoothed probabilities, (V, V): mix
# each row's counts with `k` times the uniform distribution, as in 5.1. Example: counts `[[2., 0.], [0., 0.]]` with
# `k=2` give `[[0.75, 0.25], [0.5, 0.5]]`.
#
# <details><summary>Hint</summary>Each row of the result sums to 1, also a row without any counts.</details>


# %% slideshow={"slide_type": "skip"}
def bigram_probabilities(counts, k):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
checks.check_bigram_probabilities(bigram_probabilities)

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 3: temperature (easy, 10 minutes)
#
# From logits (B, V) and a temperature, return the probabilities (B, V) to draw from. Temperature 0 means: all
# probability on the largest logit (the first, if several are equal).
#
# <details><summary>Hint</summary>Divide by the temperature before the softmax, and treat 0 apart. Dividing by a very
# small number instead overflows for large logits.</details>


# %% slideshow={"slide_type": "skip"}
def with_temperature(logits, temperature):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
checks.check_with_temperature(with_temperature)

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 4: attention to the letter before (medium, 15 minutes)
#
# From attention weights (B, H, T, T) and the words' `lengths` (B,), return one number for each head, (H,): the mean
# weight on the position before, over all words and all real positions from the second on. Positions at or after a
# word's length are padding and do not count.
#
# <details><summary>Hint</summary>`weights.diagonal(offset=-1, dim1=-2, dim2=-1)` is (B, H, T-1). Weigh every position
# alike, not every word.</details>


# %% slideshow={"slide_type": "skip"}
def mean_to_previous(weights, lengths):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
checks.check_mean_to_previous(mean_to_previous)

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 5: normalised entropy (medium, 15 minutes)
#
# For causal attention weights (T, T), return the entropy of each row divided by the logarithm of the number of visible
# positions, (T,). The first row sees one position only: give it 0.
#
# <details><summary>Hint</summary>$0 \ln 0$ counts as 0: `torch.special.xlogy` knows that. Row `i` sees `i + 1`
# positions.</details>


# %% slideshow={"slide_type": "skip"}
def normalised_entropy(weights):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
checks.check_normalised_entropy(normalised_entropy)

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6: a leak test of your own (medium, 20 minutes)
#
# `model(tokens)` maps ids (B, T) to outputs (B, T, V). Return True if some output depends on a later token, else False.
# You may call the model as often as you like. The ids run from 0 to 9.
#
# <details><summary>Hint</summary>Change one position, compare the outputs at all earlier positions. Try every position:
# a leak may reach only one step ahead, or only far. Choose a new id that differs from the old.</details>


# %% slideshow={"slide_type": "skip"}
def leaks_future(model, tokens):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
checks.check_leaks_future(leaks_future)

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 7: remove an edge (stretch, 20 minutes)
#
# From scores (T, T), before masking, return causal attention weights in which each query has lost its edge to the
# position `offset` letters before it; the rest shares the weight. Offset 1 is the letter before, 0 the own one. A query
# that loses its only edge gets zeros, not NaN. Offset 0 makes such a query: the first.
#
# <details><summary>Hint</summary>With `i = torch.arange(T)`, the distances are `i.unsqueeze(1) - i`. Compare them with 0 and
# with `offset`.</details>


# %% slideshow={"slide_type": "skip"}
def without_edge(scores, offset):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
checks.check_without_edge(without_edge)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What you now know
#
# - A loss needs a reference: ignorance, counting, the entropy of what cannot be known.
# - A loss that is too good is a finding about the input. Hiding positions does not hide what other positions have
#   already taken in; a leak test tells.
# - A comparison needs the same words, the same split, several seeds, and the interval of the difference. Here, a model
#   twelve times larger bought nothing.
# - Pictures of attention give impressions; profiles over all words and seeds give numbers, and an average over heads is
#   not a head.
# - To learn what an edge does, remove it.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## The chapter in one line
#
# The headline of this chapter, measured in section 5.5 on five seeds:

# %% tags=["headline", "nbval-ignore-output"] slideshow={"slide_type": "skip"}
print(f"test loss: MiniFormer {mini_mean}, FullTransformer {full_mean}, trigram {ngrams['trigram']:.3f}")

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Glossary
#
# - **nat**: unit of a loss made with the natural logarithm; $\ln 2$ nats are one bit.
# - **cross-entropy**: mean of $-\ln p$ over the symbols that really came.
# - **perplexity**: $e^{\text{cross-entropy}}$, the number of equally likely symbols that would be as hard.
# - **n-gram model**: predicts the next symbol from the last $n-1$ by counting.
# - **smoothing**: mixing in the counts of shorter histories, so that unseen symbols stay possible.
# - **causal mask**: position $i$ may attend to positions $0..i$.
# - **decoder-only**: one causal stack.
# - **encoder-decoder**: an encoder that reads a whole source, and a causal decoder that consults it by **cross-attention**.
# - **entropy**: $-\sum p \ln p$; what whoever knows the probabilities, and nothing else, pays on average.
# - **logit**: a score before the softmax.
# - **epoch**: one pass over the training data.
# - **dropout**: in training, numbers set to 0 at random.
# - **weight decay**: weights shrink a little at each step.
# - **teacher forcing**: the model gets the right past as input, not its own predictions.
# - **leak**: an output depends on something that it must not see.
# - **temperature**: what the logits are divided by before drawing.
# - **seed interval**: Student's t interval of a mean over seeds.
# - **bootstrap**: an interval from drawing the data again, with replacement.
# - **ablation**: taking a part away, or changing it alone, to learn what it does.
# - **attention profile** (ours): mean behaviour of attention weights over all test words.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - Vaswani et al. 2017, *Attention Is All You Need*: section 3.1 (encoder and decoder), 3.2.3 (the three uses of
#   attention), 5.4 (dropout).
# - MacKay and Peto 1995, *A Hierarchical Dirichlet Language Model*: the smoothing of 5.1.
# - Smith and Topin 2018, *Super-Convergence*: the one-cycle schedule.
# - Vig 2019, *A Multiscale Visualization of Attention in the Transformer Model*: BertViz, section 3.1.
# - Jain and Wallace 2019, *Attention is not Explanation*; Wiegreffe and Pinter 2019, *Attention is not not
#   Explanation*.
#
# This is the last chapter of the series.
