# %% [markdown] slideshow={"slide_type": "slide"}
# # 5. MiniFormer against FullTransformer, on words like "flycatcher"
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/05_miniformer_vs_fulltransformer.ipynb)
#
# A small model and one twelve times larger learn to spell the names of animals, fruits and vegetables. The large one
# reaches a loss that is too good to be true, and you find out why. Then you compare the two fairly, and look inside both
# while they read a word that neither has ever seen.

# %% [markdown]
# | | |
# |---|---|
# | **You will be able to** | say what a loss in nats means and what to compare it with; train a small causal Transformer; smell, prove and mend a leak; compare models over seeds and over words; look into a model without fooling yourself |
# | **Time** | about a minute to run on two CPU cores; 75 minutes to read; another two hours with the exercises |
# | **You need** | chapters 1 and 4: causal masks, the encoder layer, the encoder-decoder |

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
# What earlier chapters built comes from `helpers`: the embedding with positions, the encoder layer, the Transformer.

# %%
import math
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
from torch import nn
from torch.nn import functional as F

from helpers import analysis, bertviz_views, model_diagrams, plots
from helpers import transformer as finished
from helpers.attention import causal_mask, padding_mask
from helpers.checks import miniformer_vs_fulltransformer as checks
from helpers.data import load_words, split_words
from helpers.layers import EncoderLayer, TokenEmbedding
from helpers.playground import play
from helpers.plots import show
from helpers.text import Vocabulary
from helpers.training import evaluate, fit, fit_all, seed_everything, token_loss
from helpers.transformer import Transformer, TransformerConfig

plots.use_style()
torch.set_num_threads(1)  # models this small give a second thread too little to do

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.1 The words, and what a loss means
#
# **What is there to learn?** About a thousand names, each a word of 3 to 14 letters. They are split once, for the whole
# series: 70 per cent to train on, 10 per cent to decide when to stop (*validation*), 20 per cent to judge by (*test*).

# %%
words = load_words()
split = split_words(words)
print({name: len(part) for name, part in split._asdict().items()})
print("to train on:", ", ".join(split.train[:6]))
assert [len(words), min(map(len, words)), max(map(len, words))] == [1053, 3, 14]
assert [round(100 * len(part) / len(words)) for part in split] == [70, 10, 20]
assert "flycatcher" in split.test and "gnatcatcher" in split.train and "greenfly" in split.train
print("flycatcher:", words["flycatcher"], "- among the test words:", "flycatcher" in split.test)

# %% [markdown]
# No model below trains on "flycatcher". On "gnatcatcher" and "greenfly", yes: the parts are known, the word is not.
#
# A word becomes one id a letter, with `<BOS>` (*beginning of sequence*) before and `<EOS>` (*end of sequence*) after. The
# task at each position: given everything up to here, which letter is next? A word of ten letters is eleven questions,
# the last one being "does it end here?".

# %% tags=["task"]
vocabulary = Vocabulary.from_words(words)
ids = vocabulary.encode("flycatcher")
letters = vocabulary.tokens(ids)
print(ids)
for position in range(4):
    print("".join(letters[: position + 1]).ljust(12), "→", letters[position + 1])
assert [len("flycatcher"), len(ids) - 1] == [10, 11] and [letters[0], letters[-1]] == ["<BOS>", "<EOS>"]

# %% [markdown]
# All words of a part become one tensor (N, T): N words, T positions, padded on the right with `<PAD>`, id 0.

# %%
train, validation, test = (vocabulary.encode_batch(part, device) for part in split)
V = len(vocabulary)  # 26 letters and three special symbols
print(tuple(train.shape), tuple(validation.shape), tuple(test.shape), V)
assert V == 26 + 3 and train[0].tolist() == vocabulary.encode(split.train[0]) + [0] * 3

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What is a loss of 2.3?
#
# A model gives each possible next letter a probability. Its **loss** on one letter is $-\ln p$, where $p$ is what it gave
# to the letter that came. The unit is the *nat*. A sure and right model pays 0; whoever gives the right letter one chance
# in ten pays $\ln 10 \approx 2.3$. The mean over all letters and ends is the **cross-entropy**.
#
# How low can it go? Whoever knows the true probabilities $p_c$ of what comes next, and nothing more, pays on average
# their **entropy**, $H = -\sum_c p_c \ln p_c$: 0 when one letter is certain, $\ln 27$ when 26 letters and the end are all
# alike.

# %% tags=["reference"]
def entropy_of(counts):
    shares = [count / sum(counts.values()) for count in counts.values()]
    return -sum(share * math.log(share) for share in shares)


uniform_loss = entropy_of(Counter(range(27)))
print(f"knowing nothing: {uniform_loss:.4f} nats a letter")
print(f"one chance in ten: {-math.log(0.1):.4f} nats")
assert math.isclose(uniform_loss, math.log(27)) and entropy_of({"a": 1}) == 0

# %% [markdown]
# **Is 2.3 good?** A number alone cannot say. You need something honest and simple to compare with: counting. A
# **unigram** model knows how often each letter occurs, a **bigram** model how often each follows each other, a
# **trigram** model looks at the last two, an **n-gram** model at the last $n-1$. What comes after "er" in the training
# words, "." being the end?

# %% tags=["after-er"]
endings = [word + "." for word in split.train]
pairs = [(word[i : i + 2], word[i + 2]) for word in endings for i in range(len(word) - 2)]
print(Counter(letter for pair, letter in pairs if pair == "er").most_common(6))

# %% [markdown]
# Counts alone give probability 0 to whatever was not seen, and one such letter makes the loss infinite. The cure is to
# **smooth**: mix the counts after a history $h$ with what the shorter history $h'$ (its first letter dropped) says.
#
# $$p(c \mid h) = \frac{\text{count}(h, c) + k \, p(c \mid h')}{\text{count}(h) + k}$$
#
# With few counts the shorter history decides, with many the counts do: with $k$ of them, both weigh the same. With no
# letter left to drop, $p(c \mid h')$ is $1/27$. The form is that of MacKay and Peto (1995). `analysis.NGram` is this
# formula. It has never seen a "d" after "er", and still gives it a chance.

# %%
trigram = analysis.NGram(3, split.train, k=8)
for letter in ["<EOS>", "r", "m", "d"]:
    print(f"p({letter:5} | e r) = {trigram.probability(('e', 'r'), letter):.4f}")
assert trigram.counts[("e", "r"), "d"] == 0 < trigram.probability(("e", "r"), "d")
by_hand = (8 * trigram.probability(("r",), "d")) / (trigram.totals["e", "r"] + 8)
assert math.isclose(by_hand, trigram.probability(("e", "r"), "d"))
assert math.isclose(trigram.probability((), "never counted"), 8 / 27 / (trigram.totals[()] + 8))

# %% [markdown]
# Now every order from 1 to 5. The validation words choose $k$; the test words, which nothing has seen, give the loss.

# %% tags=["ngrams"]
best_ngram = {}
for n, name in enumerate(["unigram", "bigram", "trigram", "4-gram", "5-gram"], start=1):
    models = [analysis.NGram(n, split.train, k) for k in (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)]
    best_ngram[name] = min(models, key=lambda model: model.loss(split.validation))
ngrams = {name: model.loss(split.test) for name, model in best_ngram.items()}
print({name: round(loss, 3) for name, loss in ngrams.items()})

# %% [markdown]
# Each letter of context helps, and less than the one before. The next cell asserts it: if it were false, this notebook
# would stop here. So it is with most of what this chapter claims.

# %%
losses = [uniform_loss, *ngrams.values()]
gains = [a - b for a, b in zip(losses, losses[1:])]
print("gain from each further letter of context:", [f"{gain:.3f}" for gain in gains[1:]])
assert gains[1] > gains[2] > gains[3] > gains[4] > 0
assert [f"{losses[n]:.2f}" for n in (0, 3, 5)] == ["3.30", "2.35", "2.27"]

# %% [markdown]
# > **Remember.** A loss means nothing alone. Here 3.30 is ignorance, 2.35 is what two letters of context give, and a
# > 5-gram, which sees four, gets 2.27.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.2 MiniFormer: the smallest honest model
#
# **Can a model with attention beat counting?** MiniFormer has one layer with one head and vectors of width 32. It reads
# the letters so far and predicts the next one. Nothing in it is new: the embedding with its positions, the causal mask,
# and the encoder layer of chapter 4, with its norms first. Follow "flycatcher" through the three.

# %%
seed_everything(0)
inputs = vocabulary.encode_batch(["flycatcher"])[:, :-1]  # (1, 11): everything but <EOS>
x = TokenEmbedding(V, d_model=32, max_length=16)(inputs)  # (B, T) → (B, T, d_model)
layer = EncoderLayer(d_model=32, num_heads=1, d_ff=128)
y, weights = layer(x, causal_mask(11))  # (B, T, d_model) and (B, H, T, T)
print(tuple(x.shape), tuple(y.shape), tuple(weights.shape))
print("row of the letter 'y':", [round(w, 2) for w in weights[0, 0, 3].tolist()])
assert letters[3] == "y" and (weights[0, 0, 3, :4] > 0).all() and (weights[0, 0, 3, 4:] == 0).all()

# %% [markdown]
# Position 3 holds "y". It spreads its weight over `<BOS>`, "f", "l" and "y"; everything to the right gets exactly 0.
#
# The whole model adds one more norm and a linear map from 32 numbers to a score (*logit*) for each of the 29 symbols.
# This class is the one that you train below.


# %% tags=["miniformer"]
class MiniFormer(nn.Module):
    def __init__(self, vocab_size, d_model=32, num_heads=1, num_layers=1, d_ff=128, dropout=0.0):
        super().__init__()
        self.pad_id, self.max_length = 0, 16
        self.embed = TokenEmbedding(vocab_size, d_model, self.max_length, dropout)
        sizes = (d_model, num_heads, d_ff, dropout)
        self.layers = nn.ModuleList(EncoderLayer(*sizes) for _ in range(num_layers))
        self.norm = nn.LayerNorm(d_model)
        self.output = nn.Linear(d_model, vocab_size)

    def forward(self, tokens, kept=True, return_attention=False):
        x, attention = self.embed(tokens), []  # (B, T) → (B, T, d_model)
        mask = causal_mask(tokens.size(1), tokens.device) & padding_mask(tokens, 0)  # (B, T, T)
        for layer in self.layers:
            x, weights = layer(x, mask & kept)  # `kept`: all edges, until section 5.8 cuts some
            attention.append(weights)
        logits = self.output(self.norm(x))  # (B, T, d_model) → (B, T, V)
        return (logits, attention) if return_attention else logits


print("logits", tuple(MiniFormer(V)(inputs).shape))

# %% [markdown]
# Is it right? `helpers.transformer.MiniFormer` has parts of the same names, so its weights can be copied *by name*. The
# outputs must agree; and the layer must agree with PyTorch's own, whose masks say True for "blocked".

# %%
mini, theirs = MiniFormer(V), finished.MiniFormer(V)
mini.load_state_dict(theirs.state_dict())
torch.testing.assert_close(mini(inputs), theirs(inputs))

pytorch = nn.TransformerEncoderLayer(32, 1, 128, 0.0, batch_first=True, norm_first=True)
ours = EncoderLayer.from_torch(pytorch)(x, causal_mask(11))[0]
torch.testing.assert_close(ours, pytorch(x, src_mask=~causal_mask(11)))
mini_size = sum(p.numel() for p in mini.parameters())
print(f"MiniFormer == helpers' == PyTorch's, {mini_size:,} parameters")

# %% [markdown]
# Before training, check for a **leak**: does any output depend on what it must not see? `find_leak` changes one letter
# after the other and looks whether an *earlier* output moves; then it removes padding and looks again. `None` means
# that it found nothing on the words it was given.

# %%
leak = analysis.find_leak(mini, test[:20].cpu())
print("leak:", leak)
assert leak is None

# %% [markdown] slideshow={"slide_type": "subslide"}
# Now train. `fit` goes over the shuffled words again and again and keeps the weights of the epoch that did best on the
# validation words; `lr` is the peak of its learning rate. Two things work against learning the words by heart: *dropout*
# sets numbers to 0 at random in training, *weight decay* shrinks the matrices at each step, by the learning rate times
# the decay: 1.0 here, where PyTorch's default is 0.01, because training is only 480 steps long. What goes in is each word
# without its last id, what is asked for is the word without `<BOS>`; `token_loss` returns the sum of the losses and the
# number of letters and ends, padding left out.


# %%
def next_letter_loss(model, tokens):
    return token_loss(model(tokens[:, :-1]), tokens[:, 1:], vocabulary.pad_id)


MINI_RECIPE = {"loss": next_letter_loss, "epochs": 40, "lr": 1e-2, "weight_decay": 1.0}
_, number = next_letter_loss(mini.to(device), train[:1])
assert number == len(split.train[0]) + 1  # its letters and its end, no padding

# %% tags=["nbval-ignore-output"]
seed_everything(0)
mini = MiniFormer(V, dropout=0.1).to(device)
mini_history = fit(mini, train, validation, **MINI_RECIPE)
print(f"test loss {evaluate(mini, test, next_letter_loss):.3f} nats")
assert math.ceil(len(train) / 64) * 40 == 480
assert torch.optim.AdamW([torch.ones(1)]).defaults["weight_decay"] == 0.01
kept = evaluate(mini, validation, next_letter_loss)
assert math.isclose(kept, min(mini_history.validation), abs_tol=1e-5)

# %% [markdown]
# One run proves little: another seed gives other initial weights and another order of the words. So train five, and ask
# for *every one* of them that it beats the trigram by 0.05 nats. (Two at a time train side by side and draw their dropout from
# one stream of random numbers: a loss differs by 0.01 or so from run to run.)


# %% tags=["five-seeds", "nbval-ignore-output"]
def train_more(make, seeds=(1, 2, 3, 4), **recipe):
    """Train models of a kind, one from each seed."""
    jobs = []
    for seed in seeds:
        seed_everything(seed)
        data = {"train": train, "validation": validation, "seed": seed}
        jobs.append({"model": make().to(device)} | data | recipe)
    fit_all(jobs, f"{len(seeds)} more")
    return [job["model"] for job in jobs]


minis = [mini, *train_more(lambda: MiniFormer(V, dropout=0.1), **MINI_RECIPE)]
mini_losses = [evaluate(model, test, next_letter_loss) for model in minis]
print("test losses:", [f"{loss:.3f}" for loss in mini_losses])
assert all(loss < ngrams["trigram"] - 0.05 for loss in mini_losses) and len(set(mini_losses)) == 5
assert abs(sum(mini_losses) / 5 - ngrams["5-gram"]) < 0.03

# %% [markdown]
# Two things are true at once. MiniFormer is better than counting pairs and triples, with every seed. And on these words
# it is level (within 0.03 nats) with counting after *four* letters, although it may look at the whole word.

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Names that do not exist
#
# A model that predicts the next letter can write: draw a letter from its probabilities, append it, ask again. Dividing
# the logits by a *temperature* below 1 makes the likely letters likelier.


# %% tags=["names", "nbval-ignore-output"]
@torch.no_grad()
def sample_names(model, number, temperature):
    tokens = torch.full((number, 1), vocabulary.bos_id, device=device)
    for _ in range(14):
        logits = model(tokens)[:, -1] / temperature  # (number, T, V) → (number, V): the last one's
        logits[:, [vocabulary.pad_id, vocabulary.bos_id]] = -math.inf  # never drawn
        drawn = logits.softmax(-1).multinomial(1)  # (number, V) → (number, 1)
        tokens = torch.cat([tokens, drawn], dim=1)  # (number, T) → (number, T + 1)
    return [vocabulary.decode(row) for row in tokens]


seed_everything(0)
names = [name for model in minis for name in sample_names(model, 100, temperature=0.7)]
print(*sorted({name for name in names if name not in words and len(name) > 3})[::40])
copied = sum(name in split.train for name in names) / len(names)
print(f"copied from the training words: {copied:.1%}")
logits = torch.tensor([2.0, 1.0])
assert copied < 0.1 and (logits / 0.7).softmax(0)[0] > logits.softmax(0)[0]

# %% [markdown]
# > **Remember.** MiniFormer is honest: it predicts from the past alone, beats the trigram, and writes names of its own.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.3 FullTransformer: bigger, and suddenly brilliant
#
# **Would a bigger model spell better?** FullTransformer is the encoder-decoder of chapter 4: two encoder and two decoder
# layers with four heads each, width 64. Its encoder reads a source, every position attending to every other; its decoder
# writes a target and consults the encoder by cross-attention.

# %%
config = TransformerConfig(source_vocab_size=V, target_vocab_size=V)
full_size = sum(p.numel() for p in Transformer(config).parameters())
print(f"{full_size:,} parameters, {full_size / mini_size:.1f} times MiniFormer's")
assert [config.num_layers, config.num_heads, config.d_model] == [2, 4, 64]

# %% [markdown]
# Our task has only one sequence. So a beginner gives the word to both halves: the encoder reads it, and the decoder,
# causally masked as it should be, predicts it letter by letter.

# %% tags=["two-models"]
model_diagrams.two_models("flycatcher", 5)
show("MiniFormer reads the letters written so far; FullTransformer's encoder reads the whole word.")

# %% [markdown]
# The code runs, the shapes are right, the loss falls. Train it with the same `fit`.


# %% tags=["beginner", "nbval-ignore-output"]
def beginners_loss(model, tokens):
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    logits = model(inputs, inputs)  # source: the word; target: the same word
    return token_loss(logits, targets, vocabulary.pad_id)


COPY_RECIPE = {"lr": 1e-2, "weight_decay": 1.0, "batch_size": 32}
seed_everything(0)
beginner = Transformer(config).to(device)
beginner_history = fit(beginner, train, validation, beginners_loss, epochs=20, **COPY_RECIPE)
beginner_loss = evaluate(beginner, test, beginners_loss)
print(f"test loss {beginner_loss:.3f} nats; MiniFormer's: {mini_losses[0]:.3f} nats")
assert beginner_loss < mini_losses[0] / 50 and beginner_history.train[-1] < beginner_history.train[0]

# %% [markdown] slideshow={"slide_type": "subslide"}
# Less than a fiftieth of MiniFormer's loss, on test words that the model never saw.
#
# > **Predict first.** Is the encoder-decoder that much better a speller? Write down your explanation before you go on.
# > A hint: which letter does the model have to predict first, and what would it have to know to be sure of it?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.4 Too good to be true
#
# **What is the least that any honest model must pay?** Before the first letter it has seen `<BOS>` and nothing else, so it
# gives the *same* probabilities for every word. The best such probabilities are the shares $q_c$ with which the letters
# really come first, and then the mean loss is their entropy (Gibbs' inequality: no other set does better). So the first
# letter alone sets a floor, even for a model that gets everything else right for nothing.

# %% tags=["floor"]
first_entropy = entropy_of(Counter(word[0] for word in split.test))
asked = sum(len(word) + 1 for word in split.test)
floor = first_entropy * len(split.test) / asked
print(f"entropy of the first letters: {first_entropy:.4f} nats")
print(f"the floor, spread over all letters and ends: {floor:.4f} nats a letter")

# %% [markdown]
# What do the two models pay for the first letter?

# %% tags=["first-letter", "nbval-ignore-output"]
seen = test[:, :-1]
with torch.no_grad():
    both = {"MiniFormer": mini(seen), "FullTransformer": beginner(seen, seen)}  # logits, (N, T, V)
first = {name: F.cross_entropy(logits[:, 0], test[:, 1]).item() for name, logits in both.items()}
print("paid for the first letter:", {name: round(loss, 3) for name, loss in first.items()})
assert first["MiniFormer"] > first_entropy > 10 * first["FullTransformer"]
assert min(mini_losses) > floor > 10 * beginner_loss
torch.testing.assert_close(both["MiniFormer"][:, 0], both["MiniFormer"][:1, 0].expand(len(test), V))

# %% [markdown] slideshow={"slide_type": "subslide"}
# FullTransformer pays less than a tenth of the floor. Nobody can be *sure* of the first letter of a word that somebody
# else chose. So the model does not predict; it looks. Where? Ask its cross-attention while it reads "flycatcher": rows
# are the decoder's positions, columns the encoder's, one map for each head of each layer.

# %% tags=["leak-maps", "nbval-ignore-output"]
word = vocabulary.encode_batch(["flycatcher"], device)[:, :-1]  # (1, 11)
read = vocabulary.tokens(word)
with torch.no_grad():
    _, cheating = beginner(word, word, return_attention=True)
maps = torch.cat(cheating["cross"], dim=1)[0]  # two (1, 4, T, T) → (8, T, T)
one_right = maps[:, :-1].argmax(-1) == torch.arange(1, len(read), device=device)  # (8, T - 1)
assert (one_right.float().mean(-1) > 0.5).sum() >= 5
plots.head_grid(cheating["cross"], read, title="Cross-attention of the model with the brilliant loss")
show("Eight maps of cross-attention; in most a bright line runs one step right of the diagonal.")

# %% [markdown]
# In most maps, and most of their rows, the largest weight lies one step right of the diagonal: the position that has read "f" and
# must predict "l" attends to the encoder's "l". The encoder was given the whole word, so the answer stands there.

# %% tags=["leak-path"]
model_diagrams.leak_path("flycatcher", 5)
show("In red, the way of the letter t: from the source through encoder and cross-attention.")

# %% [markdown] slideshow={"slide_type": "subslide"}
# One picture is an anecdote, and a picture makes you suspect. A **leak test** proves: change one letter, and see whether
# an earlier output moves. In an honest model it cannot; here the output just before the changed letter moves most.

# %% tags=["leak-test", "nbval-ignore-output"]
leak = analysis.find_leak(lambda tokens: beginner(tokens, tokens), test[:50, :-1])
print(leak)
assert leak is not None and leak.kind == "future" and leak.changed == leak.moved + 1

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### A first mend: mask the cross-attention
#
# The decoder looks ahead through the cross-attention. So hide the future there: let decoder position $i$ attend to
# encoder positions $0..i$ only.
#
# > **Predict first.** Is the model honest then? Think about what the encoder's output at position 3 is made of. Decide,
# > then go on.


# %%
def masked_cross_logits(model, inputs):
    past = causal_mask(inputs.size(1), inputs.device)
    return model(inputs, inputs, memory_mask=past)  # the decoder may not look ahead at the encoder


def masked_cross_loss(model, tokens):
    return token_loss(masked_cross_logits(model, tokens[:, :-1]), tokens[:, 1:], vocabulary.pad_id)



# %% tags=["masked-cross", "nbval-ignore-output"]
seed_everything(0)
masked_cross = Transformer(config).to(device)
fit(masked_cross, train, validation, masked_cross_loss, epochs=12, **COPY_RECIPE)
masked_cross_test = evaluate(masked_cross, test, masked_cross_loss)
leak = analysis.find_leak(lambda tokens: masked_cross_logits(masked_cross, tokens), test[:50, :-1])
print(f"test loss {masked_cross_test:.3f} nats; {leak}")
assert evaluate(beginner, test, masked_cross_loss) > 1  # without that way, the first model is lost
assert masked_cross_test < floor / 2 and leak is not None and leak.kind == "future"

# %% [markdown]
# It is not: less than half of the floor, and still a leak. The encoder attends in both directions, so its output at
# position 3 has already taken in every later position. Hiding the later *positions* does not hide the later *letters*.

# %% tags=["leak-path-half"]
model_diagrams.leak_path("flycatcher", 5, masked=("cross",))
show("With the cross-attention masked, the letter t still travels inside the encoder.")

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Mending the encoder too
#
# The encoder must not see the future either. With both masks, position $i$ of every layer knows the letters $0..i$ and
# nothing else. (What is left of the encoder is a second causal stack, which the decoder consults.) The honest task is
# harder, and 737 words are few for 173,277 numbers; so this recipe has more dropout and a lower learning rate.


# %% tags=["honest"]
def honest_logits(model, inputs):
    past = causal_mask(inputs.size(1), inputs.device)
    return model(inputs, inputs, source_mask=past, memory_mask=past)


def honest_loss(model, tokens):
    return token_loss(honest_logits(model, tokens[:, :-1]), tokens[:, 1:], vocabulary.pad_id)


# %% tags=["nbval-ignore-output"]
FULL_RECIPE = {"epochs": 20, "lr": 5e-3, "weight_decay": 1.0}
honest_config = TransformerConfig(V, V, dropout=0.2)
seed_everything(0)
full = Transformer(honest_config).to(device)
full_history = fit(full, train, validation, honest_loss, **FULL_RECIPE)
print(f"test loss {evaluate(full, test, honest_loss):.3f} nats")
assert FULL_RECIPE["lr"] < COPY_RECIPE["lr"] and honest_config.dropout > config.dropout

# %% [markdown]
# Honest now? Test it, and compare the three trainings.

# %% tags=["histories", "nbval-ignore-output"]
leak = analysis.find_leak(lambda tokens: honest_logits(full, tokens), test[:50, :-1])
print("leak:", leak)
assert leak is None
assert abs(evaluate(full, test, honest_loss) - mini_losses[0]) < 0.08
histories = {"given the answer": beginner_history, "honest": full_history, "MiniFormer": mini_history}
counting = {"trigram": best_ngram["trigram"].loss(split.validation)}
cheating_end, *honest_ends = [history.validation[-1] for history in histories.values()]
assert cheating_end < 0.1 and max(honest_ends) < counting["trigram"]
assert abs(honest_ends[0] - honest_ends[1]) < 0.1
assert evaluate(mini, validation, next_letter_loss) > evaluate(mini, test, next_letter_loss)
plots.loss_curves(histories, counting, title="The same network, given the answer or not")
show("The network that is given the answer falls to almost 0; the other two end together.")

# %% [markdown]
# No leak, and a test loss within 0.08 nats of MiniFormer's. The curve of the network that is given the answer ends near
# 0; the two honest ones ("honest" is FullTransformer with both masks) end within 0.1 nats of each other, below the
# trigram. (The curves show the validation words, which are harder: MiniFormer pays more for them than for the test
# words. Compare losses on the same words only.)

# %% [markdown]
# > **Remember.** Copying is not predicting. When a loss is too good, find out what the model can see before you believe
# > it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.5 The fair comparison
#
# **MiniFormer or FullTransformer: who spells better?** Same words, same split, no leak, five seeds each. MiniFormer
# trains 40 epochs, the large models 20: with 40, tried on three seeds, they do worse in the mean. The two differ
# in size *and* in structure. If the large one does not win, which of the two is to blame? A third model tells them apart, with
# four seeds: a **decoder-only** one of nearly FullTransformer's size, MiniFormer's class with width 64, four heads, three layers.

# %% tags=["nbval-ignore-output"]
fulls = [full, *train_more(lambda: Transformer(honest_config), loss=honest_loss, **FULL_RECIPE)]
DEEP_RECIPE = {"loss": next_letter_loss, "epochs": 20, "lr": 5e-3, "weight_decay": 1.0}
deeps = train_more(lambda: MiniFormer(V, 64, 4, 3, d_ff=256, dropout=0.2), (0, 1, 2, 3), **DEEP_RECIPE)

# %% [markdown]
# What each pays for the test words, over its seeds, beside counting:

# %% tags=["comparison", "nbval-ignore-output"]
full_losses = [evaluate(model, test, honest_loss) for model in fulls]
deep_losses = [evaluate(model, test, next_letter_loss) for model in deeps]
rivals = {"MiniFormer": mini_losses, "decoder-only": deep_losses, "FullTransformer": full_losses}
for (name, losses), model in zip(rivals.items(), (mini, deeps[0], full)):
    size = sum(p.numel() for p in model.parameters())
    assert name == "MiniFormer" or 10 < size / mini_size < 12
    print(f"{name:16}{size:9,} parameters   test loss {analysis.seed_interval(losses)}")
for name in ("trigram", "5-gram"):
    print(f"{name:38}test loss {ngrams[name]:.3f}")

# %% [markdown]
# Behind each mean stands an **interval** for the mean over all seeds one could have taken, on these words:
# $\bar x \pm 2.78\, s/\sqrt 5$ for five values of standard deviation $s$ (Student's t; it catches the true mean in 95
# of 100 uses, if the values are roughly bell-shaped).
#
# Two intervals side by side do not answer the question. What is asked is the **difference**: take it seed by seed. If its
# interval excludes 0, it is more than the luck of the seeds.

# %% tags=["differences", "nbval-ignore-output"]
intervals = {}
for name in ("decoder-only", "FullTransformer"):
    intervals[name] = analysis.seed_interval([b - a for a, b in zip(mini_losses, rivals[name])])
    print(f"{name} minus MiniFormer: {intervals[name]} nats")
assert all(interval.mean > 0 for interval in intervals.values())
spread = torch.tensor(mini_losses).std().item()  # s: MiniFormer's interval by hand
high = sum(mini_losses) / 5 + 2.776 * spread / math.sqrt(5)
assert math.isclose(analysis.seed_interval(mini_losses).high, high, rel_tol=1e-4)

# %% [markdown]
# Ten and twelve times the parameters are not better, with an encoder or without: both mean differences lie above 0.
# Whether an interval excludes 0 you see above.
#
# There is a second kind of luck: which 211 words happened to be the test. For that, compare **word by word**, and draw
# 211 words again and again out of the 211, with replacement (the *bootstrap*). The interval holds the middle 95 per
# cent of the mean differences.

# %%
def letter_losses(logits, targets):
    """The loss at every position, (B, T), from logits (B, T, V); 0 where there is padding."""
    logits, pad_id = logits.transpose(1, 2), vocabulary.pad_id  # (B, T, V) → (B, V, T)
    return F.cross_entropy(logits, targets, reduction="none", ignore_index=pad_id)


@torch.no_grad()
def loss_by_word(predictions):
    """The summed loss of each test word, mean over several models' logits, (N,)."""
    losses = [letter_losses(logits, test[:, 1:]).sum(1) for logits in predictions]
    return torch.stack(losses).mean(0).cpu()


def ngram_by_word(model):
    return torch.tensor([model.loss([word]) * (len(word) + 1) for word in split.test])


# %% tags=["over-words", "nbval-ignore-output"]
with torch.no_grad():
    of_mini = loss_by_word([model(seen) for model in minis])
    of_others = {"FullTransformer": loss_by_word([honest_logits(model, seen) for model in fulls])}
of_others |= {name: ngram_by_word(best_ngram[name]) for name in ("trigram", "5-gram")}
on_words = {}
for name, losses in of_others.items():
    per_letter = (losses - of_mini) * len(test) / asked  # asked: letters and ends of all test words
    on_words[name] = analysis.bootstrap_interval(per_letter.numpy())
    print(f"{name:16} minus MiniFormer: {on_words[name]} nats a letter")
assert on_words["trigram"].low > 0 and on_words["FullTransformer"].low > -0.01
assert on_words["5-gram"].low < 0 < on_words["5-gram"].high

# %% [markdown]
# Over other words, too, MiniFormer beats the trigram. Against the 5-gram nothing is decided: its interval holds 0.
#
# > **Remember.** Say "better" only when the interval of the difference excludes zero, and say over what: other seeds, or
# > other words. On these words, twelve times the parameters bought nothing.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.6 Inside words like "flycatcher"
#
# **What does each model expect, and where does it look?** Stop both at the "a": they have read "flyca". Both get the
# right letters as input, whatever they would have predicted themselves (*teacher forcing*).

# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def look(text):
    """Both models' logits (T, V) for a word, and their weights (heads, T, T)."""
    tokens = vocabulary.encode_batch([text], device)[:, :-1]
    seen = causal_mask(tokens.size(1), device)
    small, small_weights = mini(tokens, return_attention=True)
    large, large_weights = full(tokens, tokens, seen, seen, return_attention=True)
    decoder = torch.cat(large_weights["decoder"], dim=1)  # two (1, 4, T, T) → (1, 8, T, T)
    return {"MiniFormer": (small[0], small_weights[0][0]), "FullTransformer": (large[0], decoder[0])}


at_a = read.index("a")
for name, (logits, _) in look("flycatcher").items():
    p, order = logits[at_a].softmax(-1).sort(descending=True)
    print(f"{name:16}", *(f"{vocabulary.symbols[order[i]]} {p[i]:.2f}" for i in range(5)), sep="   ")
    assert p[0] < 0.5 and ids[6] in order[:5]  # "t"

# %% [markdown]
# Neither is sure: no letter gets half of the probability, and "t" is among the first five. Where in the word does each
# pay? Take the loss letter by letter.

# %% tags=["along", "nbval-ignore-output"]
answers, along = torch.tensor(ids[1:], device=device), {}
for name, (logits, _) in look("flycatcher").items():
    along[name] = F.cross_entropy(logits, answers, reduction="none").tolist()
    assert logits[6].softmax(-1)[vocabulary.eos_id] > 0.5
    assert max(along[name][:6]) < along[name][6] and max(along[name][7:]) < along[name][6] * 2 / 3
_, ax = plt.subplots(figsize=(7, 2.8))
for name, marker in (("MiniFormer", "o"), ("FullTransformer", "s")):
    ax.plot(along[name], marker=marker, label=name)
ax.set_xticks(range(11), [*"flycatcher", "end"])
ax.set(ylabel="loss, nats", title="Which letter was hard to guess?")
ax.legend()
show("Loss of both models at each letter of flycatcher; both peak at the second c.")

# %% [markdown]
# Both pay most at the same place: at the second "c", right after "flycat". Both give more than half of the probability
# to the end there, as a reader of animal names might. After it, no letter costs two thirds as much.

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Who looks where at "a"?
#
# MiniFormer has one head. FullTransformer's decoder has eight, two layers of four. Draw the row of "a" for *each* of
# them, and below for the mean of the eight, which people often draw instead.

# %% tags=["row-of-a", "nbval-ignore-output"]
inside = look("flycatcher")
mini_row, head_rows = inside["MiniFormer"][1][0, at_a], inside["FullTransformer"][1][:, at_a]
rows = torch.stack([mini_row, *head_rows, head_rows.mean(0)])[:, : at_a + 1]  # (10, 6): what is visible
names = ["MiniFormer", *(f"layer {n // 4 + 1}, head {n % 4 + 1}" for n in range(8)), "mean of the eight"]
axes_are = {"ylabel": "head", "xlabel": "letter read"}
on_c = rows[:, at_a - 1]
assert rows[0].argmax() == at_a - 1 and on_c[1:9].max() > 1.8 * on_c[9] and on_c[0] > on_c[9]
assert len(set(rows[1:9].argmax(-1).tolist())) >= 3 and rows[9].max() < 0.5
plots.attention_heatmap(rows, names, read[: at_a + 1], 'The row of "a"', values=True, **axes_are)
show("Ten rows of weights: MiniFormer, eight heads that differ, and their mean, which is flatter.")

# %% [markdown]
# MiniFormer looks most at "c", the letter before. The eight heads have three favourites or more between them. Their mean
# has none that gets half of the weight. It gives "c" less than MiniFormer does, and one of the eight gives "c" 1.8 times
# as much as the mean, or more. A mean of eight is smaller than the largest by arithmetic: it is an average that no head
# computes.

# %% [markdown] slideshow={"slide_type": "subslide"}
# Words like "flycatcher": two that were in training. One shares its end, the other ends with its beginning. How much
# weight does each head give to the letter before, at the "a" of "gnatcatcher" and at the "l" of "greenfly"?

# %% tags=["nbval-ignore-output"]
places, on_before = {"flycatcher": "fly|ca", "gnatcatcher": "gnat|ca", "greenfly": "green|fl"}, {}
heads_are = [f"{n // 4 + 1}.{n % 4 + 1} " for n in range(8)]  # layer.head
print("weight on the letter before ", "Mini", *heads_are)
for text, cut in places.items():
    row = len(cut.replace("|", ""))  # the position that has read so far; <BOS> is position 0
    on_before[text] = torch.cat([found[1][:, row, row - 1] for found in look(text).values()])  # (9,)
    print(f"{text:>20} at {cut[-1]}:  ", *(f"{weight:.2f}" for weight in on_before[text]))
assert "gnatcatcher"[-7:] == "flycatcher"[-7:] and "greenfly"[-3:] == "flycatcher"[:3]
assert (on_before["greenfly"] - on_before["flycatcher"]).abs().max() > 0.3

# %% [markdown]
# Read it by columns. From "flycatcher" to "greenfly" at least one head's weight changes by more than 0.3. One place does
# not tell what a head does; section 5.7 measures over all test words.
#
# The same weights in BertViz's head view: queries on the left, keys on the right; the stronger a line, the larger the
# weight. Point at a letter to see its lines alone; click on a colour to hide that head. (GitHub shows no moving parts.)

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    _, mini_attention = mini(word, return_attention=True)
    past = causal_mask(word.size(1), device)
    _, full_attention = full(word, word, past, past, return_attention=True)
decoder = {"attention": full_attention["decoder"], "tokens": read}
bertviz_views.head_views({"FullTransformer's decoder, two layers of four heads": decoder})

# %% [markdown]
# Better than looking is trying. The next view holds two models, MiniFormer and the one that was given the answer, with
# their numbers rounded to 16 bits. Type a word, and everything is computed anew in the page. Choose MiniFormer, cut an
# edge, switch its head off, and see what the next letter's probability does. Choose "given the answer", look at its
# cross-attention, then let its encoder read "the letters so far": the bright line goes, and so does the brilliance. It
# then pays more than twice what MiniFormer pays. (That does not make it the honest FullTransformer, which was trained
# that way.)

# %% tags=["nbval-ignore-output"]
models, cheats = {"MiniFormer": mini, "given the answer": beginner}, ["given the answer"]
assert evaluate(beginner, test, honest_loss) > 2 * mini_losses[0]
play(models, vocabulary, text="flycatcher", with_answer=cheats, precision="float16")

# %% [markdown]
# To look at weights elsewhere, save them: a JSON file with the tokens and, for each layer, head and query, one number a
# key. Read back, they are the same.

# %%
with TemporaryDirectory() as folder:
    path = Path(folder) / "flycatcher.json"
    bertviz_views.save_attention(path, mini_attention, read)
    layers_read, tokens_read = bertviz_views.load_attention(path)
assert tokens_read == read and torch.equal(layers_read[0], mini_attention[0][0].cpu())
print("saved, read back, equal:", [tuple(layer.shape) for layer in layers_read])

# %% [markdown]
# > **Remember.** Look at each head, not at their mean; and look at what a model predicts, not only at where it looks.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.7 Numbers for an impression
#
# **Was it this word, or is it so?** Whoever looks at such pictures comes away with an impression: "MiniFormer looks hard
# at the letter before, FullTransformer spreads out." Measure it over all test words and all five seeds.
#
# For every query that predicts a letter or the end: the weight on its **own** letter, on the letter **before**, on
# `<BOS>`; and the **entropy** of its weights $w_{ij}$ divided by the largest possible,
# $-\sum_j w_{ij} \ln w_{ij} \,/ \ln(i + 1)$: 0 means "one position only", 1 means "all alike". The first two queries see
# too little to choose from and are left out. First an *even* head, which spreads its weight over all that it may see: the
# reference point.


# %%
def profile(weights):
    """Mean behaviour of weights (N, H, T, T) on the test words."""
    counted = test[:, 1:] != vocabulary.pad_id  # (N, T)
    counted[:, :2] = False
    measures = {
        "own letter": analysis.attention_to_self(weights),
        "letter before": analysis.attention_to_previous(weights),
        "<BOS>": analysis.attention_to_first(weights),
        "entropy": analysis.attention_entropy(weights, past),
    }  # four times (N, H, T)
    return {name: m.transpose(1, 2)[counted].mean().item() for name, m in measures.items()}


past = causal_mask(seen.size(1), device)
even = (past / past.sum(-1, keepdim=True)).expand(len(test), 1, -1, -1)  # a head that prefers nothing
even_profile = profile(even)
print({name: round(value, 4) for name, value in even_profile.items()})
assert math.isclose(even_profile["entropy"], 1, rel_tol=1e-5)

# %% [markdown]
# Now the models: MiniFormer's head, FullTransformer's eight, measured one by one and then averaged, and their mean map.
# Each range goes from the lowest to the highest of five seeds.


# %% tags=["profiles", "nbval-ignore-output"]
@torch.no_grad()
def weights_of(model):
    if isinstance(model, MiniFormer):
        return torch.cat(model(seen, return_attention=True)[1], dim=1)
    attention = model(seen, seen, past, past, return_attention=True)[1]
    return torch.cat(attention["decoder"], dim=1)  # two (N, 4, T, T) → (N, 8, T, T)


profiles = {
    "MiniFormer": [profile(weights_of(model)) for model in minis],
    "FullTransformer, each head": [profile(weights_of(model)) for model in fulls],
    "FullTransformer, mean map": [profile(weights_of(model).mean(1, keepdim=True)) for model in fulls],
}
for who, of_seeds in profiles.items():
    ranges = {name: sorted(p[name] for p in of_seeds) for name in even_profile}
    print(f"{who:27}", *(f"{name} {values[0]:.2f}-{values[-1]:.2f}" for name, values in ranges.items()))
mini_p, head_p, mean_p = profiles.values()
assert all(1.6 < p["letter before"] / even_profile["letter before"] < 2.8 for p in mini_p)
assert all(a["letter before"] > b["letter before"] + 0.03 for a, b in zip(mini_p, head_p))
assert all(b["entropy"] < a["entropy"] < c["entropy"] for a, b, c in zip(mini_p, head_p, mean_p))

# %% [markdown]
# All this holds for every seed. *MiniFormer looks hard at the letter before*: true, about twice what an even head gives
# (between 1.6 and 2.8 times). *FullTransformer spreads out*: true for where the weight goes, the letter before gets less
# of it. Not true for how sharply its heads look: their entropies, one for each head, word and query, have a mean *below*
# MiniFormer's. Only the mean map is flatter. (That a mean of maps has at least the mean of their entropies is a theorem;
# how much more, is the finding.)

# %% [markdown]
# *Because of the heads?* The two differ in heads, layers, width and in having an encoder. Study 5, *Heads or structure?*,
# takes them apart.
#
# > **Remember.** A picture of one word gives an impression; a profile over all words and seeds gives numbers, beside an
# > even head's.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.8 Is attention an explanation?
#
# **MiniFormer gives the letter before a large weight. Does it use it?** A weight is not yet a cause: the value behind it
# may hold nothing new. So intervene. Remove the edge from each query to the letter before, let the softmax share its
# weight among the others, and measure how much the whole prediction changes:
# $\mathrm{KL} = \sum_c p_c \ln (p_c / p'_c)$ nats, where $p$ is what the model predicts with the edge and $p'$ without. It
# is 0 when nothing changes. As a control, remove the edge to a random position further back.


# %%
@torch.no_grad()
def change_without(model, removed):
    """KL at every position, (N, T), between predictions with all edges and without `removed`."""
    with_it = model(seen).log_softmax(-1)  # (N, T, V)
    without = model(seen, kept=~removed).log_softmax(-1)
    return F.kl_div(without, with_it, log_target=True, reduction="none").sum(-1)


nothing = torch.zeros(1, 1, 1, dtype=torch.bool, device=device)
assert change_without(mini, nothing).abs().max() < 1e-6
print("with nothing removed, nothing changes")

# %% [markdown]
# Three kinds of edges: to the query's own letter, to the letter before, to a random position among those further back.
# Only queries with at least two letters further back count: those from position 4 on.


# %%
def edges(which, seed=0):
    """One removed edge a query, boolean, (N, T, T)."""
    positions = torch.arange(seen.size(1))
    keys = {"own letter": positions, "letter before": positions - 1}.get(which)
    if keys is None:  # one at random among 0 .. i - 2
        generator = torch.Generator().manual_seed(seed)
        keys = (torch.rand(seen.shape, generator=generator) * (positions - 1)).long()
    return (positions == keys.unsqueeze(-1)).expand(len(seen), -1, -1).to(device)


counted = test[:, 1:] != vocabulary.pad_id
counted[:, :4] = False
print(int(counted.sum()), "queries count")
print("from position 4 is removed:", edges("letter before")[0, 4, :5].int().tolist())

# %% [markdown]
# Each kind, removed from all five models; the two numbers are the lowest and the highest of the five.

# %% tags=["damage", "nbval-ignore-output"]
damage = {}
for which in ("own letter", "letter before", "random other"):
    changes = [change_without(model, edges(which, seed)) for seed, model in enumerate(minis)]
    damage[which] = [change[counted].mean().item() for change in changes]
    low, high = min(damage[which]), max(damage[which])
    print(f"{which:14} removed: KL {low:.3f} to {high:.3f} nats")
assert min(damage["letter before"]) > 3 * max(damage["random other"] + damage["own letter"])
assert min(p["own letter"] for p in mini_p) > 0.15

# %% [markdown]
# With every seed the letter before counts for three times as much, or more: here the large weight does point at a cause.
# The own letter is the counter-example: it has 15 per cent of the weight or more, and its edge changes little. A likely
# reason: the own letter also arrives through the residual connection.
#
# Does the weight tell *query by query*? If it does, those with the largest weight on the letter before are changed
# most. The correlation of the two *orders* says so: 1 when they are the same, near 0 when one tells nothing about the
# other.

# %% tags=["nbval-ignore-output"]
correlations = []
for model in minis:
    weight = analysis.attention_to_previous(weights_of(model))[:, 0][counted]
    change = change_without(model, edges("letter before"))[counted]
    ranks = torch.stack([weight, change]).argsort().argsort().double()  # the rank of each query
    correlations.append(torch.corrcoef(ranks)[0, 1].item())
print("correlation by rank:", [round(c, 2) for c in correlations])
assert min(correlations) > 0.6

# %% [markdown]
# Above 0.6 for every seed: in this model the weight is a good guide, query by query. That is one layer and one kind of
# edge; in deeper models information moves between positions in every layer, and a model with an edge removed is one that
# was never trained.
#
# Whether attention explains is disputed. Jain and Wallace (2019) found other weights that give nearly the same
# predictions, and weights that hardly correlate with gradients. Wiegreffe and Pinter (2019) answered that such weights
# must be *trained* to count, and that a model with frozen even weights shows whether a task needs attention at all.
# Serrano and Smith (2019) erased weights, as you just did, and found their size a noisy sign of what matters. All three
# looked mostly at recurrent classifiers.
#
# > **Remember.** A large weight is a hint, an intervention is evidence. Here the hint is right for the letter before,
# > and promises too much for the own letter.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5.9 Bug clinic
#
# Four bugs that ran, gave numbers of the right shape, and were believed. The first you know: **the answer in the
# input** (5.3), proved by `find_leak`. Find each of the others before you open the fold, and before you read on: the
# cell below a fold is the test, and it tells.
#
# ### Bug 2: which words were these tested on?
#
# Two people compare two models. Each shuffles the words and splits them.


# %% tags=["bug-2"]
def careless_split(words, seed):
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(seed)).tolist()
    shuffled = [words[i] for i in order]
    return shuffled[:737], shuffled[842:]  # to train on, to test on


train_a, test_a = careless_split(list(words), seed=1)
train_b, test_b = careless_split(list(words), seed=2)
print(len(train_a), len(test_a), len(train_b), len(test_b))

# %% [markdown]
# <details><summary>The bug</summary>
#
# Two seeds, two splits. Most of A's test words are among B's training words, and a model pays less for a word that it
# has learned. The test: no word may be on both sides.
#
# </details>

# %% tags=["bug-2-test", "nbval-ignore-output"]
shared = len(set(test_a) & set(train_b)) / len(test_a)
bonus = [evaluate(m, test, next_letter_loss) - evaluate(m, train, next_letter_loss) for m in minis]
print(f"{shared:.0%} of A's test words were B's training words,")
print(f"and a model gains {min(bonus):.2f} nats a letter or more on words that it trained on")
assert shared > 0.6 and shared * min(bonus) > intervals["FullTransformer"].mean
assert not set(split.test) & (set(split.train) | set(split.validation))

# %% [markdown]
# The undeserved gain, a share of the test words times the gain on each, is larger than the difference that 5.5 was about.
#
# ### Bug 3: the mean of what?
#
# A common way to report a loss: average the batches' mean losses.


# %% tags=["bug-3"]
def reported_loss(batches):
    return sum(mean for mean, letters in batches) / len(batches)


short_words, long_words = (1.5, 40), (2.5, 400)  # mean loss of a batch, number of letters in it
print(f"{reported_loss([short_words, long_words]):.4f}")

# %% [markdown]
# <details><summary>The bug</summary>
#
# The batch of 40 letters counts as much as the one of 400, so what is reported depends on how the words happened to be
# cut into batches. The test: cut the same data otherwise, and the loss must not change.
#
# </details>

# %%
cut_otherwise = [short_words, (2.5, 200), (2.5, 200)]  # the same letters
print(f"{reported_loss(cut_otherwise):.4f}")
assert reported_loss(cut_otherwise) - reported_loss([short_words, long_words]) > 0.1
halves = [evaluate(mini, test, next_letter_loss, batch_size=size) for size in (7, 100)]
assert math.isclose(*halves, abs_tol=1e-4)

# %% [markdown]
# ### Bug 4: everything was copied
#
# Somebody writes MiniFormer's attention with other names, and copies trained weights into it in the order in which they
# stand. Every shape fits, nothing complains.


# %%
class Attention(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        names = ("to_key", "to_query", "to_value", "to_output")
        self.parts = nn.ModuleDict({name: nn.Linear(d_model, d_model) for name in names})

    def forward(self, x, mask):
        q, k, v = (self.parts[name](x) for name in ("to_query", "to_key", "to_value"))
        scores = q @ k.transpose(1, 2) / math.sqrt(x.size(-1))  # (B, T, T)
        weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
        return self.parts["to_output"](weights @ v), weights


trained, copy = mini.layers[0].self_attention.cpu(), Attention(32)
copy.load_state_dict(dict(zip(copy.state_dict(), trained.state_dict().values())))
print("copied", len(copy.state_dict()), "tensors")

# %% [markdown]
# <details><summary>The bug</summary>
#
# Copied by position. MiniFormer's layer lists the query's map first, this one the key's: the two are exchanged. The
# test: feed both the same numbers and compare; and copy by name.
#
# </details>

# %%
x = torch.randn(1, 5, 32)
right = trained(x, x, x, causal_mask(5))[0]
agrees = torch.allclose(copy(x, causal_mask(5))[0], right, atol=1e-4)
print("copied by position, the outputs agree:", agrees)
assert not agrees
for theirs, ours in {"query_proj": "to_query", "key_proj": "to_key", "value_proj": "to_value"}.items():
    copy.parts[ours].load_state_dict(trained.get_submodule(theirs).state_dict())
assert torch.allclose(copy(x, causal_mask(5))[0], right, atol=1e-4)
mini = mini.to(device)
print("copied by name, they do")

# %% [markdown] slideshow={"slide_type": "skip"}
# ## 5.10 Exercises
#
# Write over `raise NotImplementedError`, run the cell, then run the check. A check says what is wrong on the smallest
# input that shows it. Solutions are in `notebooks/solutions`.
#
# ### Exercise 1: a bigram model from a table of counts (easy, 10 minutes)
#
# `counts` is a tensor (V, V): how often symbol `j` followed symbol `i`. Return the smoothed probabilities, (V, V): mix
# each row's counts with `k` times the uniform distribution. Example: counts `[[2., 0.], [0., 0.]]` with `k=2` give
# `[[0.75, 0.25], [0.5, 0.5]]`.
#
# <details><summary>Hint</summary>Each row of the result sums to 1, also a row without any counts.</details>


# %% slideshow={"slide_type": "skip"}
def bigram_probabilities(counts, k):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
checks.check_bigram_probabilities(bigram_probabilities)

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 2: temperature, also 0 (easy, 10 minutes)
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
# ### Exercise 3: attention to the letter before, padding left out (medium, 15 minutes)
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
# ### Exercise 4: normalised entropy (medium, 15 minutes)
#
# For causal attention weights (T, T), return the entropy of each row divided by the logarithm of the number of visible
# positions, (T,). The first row sees one position only: give it 0.
#
# <details><summary>Hint</summary>$0 \ln 0$ counts as 0: `torch.special.xlogy` knows that. Row `i` sees `i + 1`
# positions, also where a weight is 0.</details>


# %% slideshow={"slide_type": "skip"}
def normalised_entropy(weights):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
checks.check_normalised_entropy(normalised_entropy)

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 5: spread a head evenly (medium, 15 minutes)
#
# The playground can make a head look at everything alike. Do it: from the weights of all heads, (H, T, T), and boolean
# `visible` (T, T), True = may attend, return the weights with head number `head` (counted from 0) spread evenly over what
# each query may attend to. The other heads stay, and so does the tensor that came in. A query that may attend to nothing
# gets zeros.
#
# <details><summary>Hint</summary>Each row of `visible`, divided by its number of True; a row without any must not divide
# by 0. Copy before you write.</details>


# %% slideshow={"slide_type": "skip"}
def spread_head(weights, visible, head):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
checks.check_spread_head(spread_head)

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6: remove an edge (medium, 20 minutes)
#
# From scores (T, T), before masking, return causal attention weights in which each query has lost its edge to the
# position `offset` letters before it; the rest shares the weight. Offset 1 is the letter before, 0 the own one. A query
# that loses its only edge gets zeros, not NaN. Gradients are compared, too.
#
# <details><summary>Hint</summary>With `i = torch.arange(T)`, the distances are `i.unsqueeze(1) - i`. Compare them with 0
# and with `offset`.</details>


# %% slideshow={"slide_type": "skip"}
def without_edge(scores, offset):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
checks.check_without_edge(without_edge)

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 7: is the difference luck? (stretch, 25 minutes)
#
# `a` and `b` hold the losses of two models on the same N words, (N,); `draws` (R, N) holds R rows of N word numbers, each
# drawn with replacement. Return the low and the high end of the interval that holds the middle 90 per cent of the R mean
# differences `b - a`, as a tensor (2,). A word that was drawn for `a` must be the same that was drawn for `b`.
#
# <details><summary>Hint</summary>Take the difference first: (N,). Index it with `draws`: (R, N). Then a mean for each row
# and `torch.quantile`.</details>


# %% slideshow={"slide_type": "skip"}
def paired_interval(a, b, draws):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
checks.check_paired_interval(paired_interval)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What you now know
#
# - A loss needs a reference: ignorance, counting, the entropy of what cannot be known.
# - A loss that is too good is a finding about the input. Hiding positions does not hide what other positions have already
#   taken in; a leak test tells.
# - A comparison needs the same words, the same split, several seeds, and the interval of the difference. Here ten to
#   twelve times the parameters bought nothing, with an encoder or without.
# - A mean over heads is not a head. Pictures give impressions; profiles over all words and seeds give numbers.
# - To learn what an edge does, remove it, and look at the whole prediction.

# %% [markdown] slideshow={"slide_type": "skip"}
# The chapter in one line, measured in 5.5 on five seeds:

# %% tags=["headline", "nbval-ignore-output"] slideshow={"slide_type": "skip"}
mini_mean, full_mean = analysis.seed_interval(mini_losses), analysis.seed_interval(full_losses)
print(f"test loss: MiniFormer {mini_mean}, FullTransformer {full_mean}, trigram {ngrams['trigram']:.3f}")

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Glossary
#
# | term | meaning |
# |---|---|
# | bootstrap | an interval from drawing the data again, with replacement |
# | causal mask | position $i$ may attend to positions $0..i$ |
# | cross-entropy | mean of $-\ln p$ over the symbols that really came |
# | decoder-only | one causal stack, no encoder |
# | dropout | in training, numbers set to 0 at random |
# | encoder-decoder | an encoder that reads a source, and a causal decoder that consults it by **cross-attention** |
# | entropy | $-\sum p \ln p$; what whoever knows the probabilities, and nothing else, pays on average |
# | epoch | one pass over the training data |
# | even head | the reference: a head that spreads its weight alike over all it may attend to |
# | KL | $\sum p \ln (p / p')$: how much a prediction $p'$ differs from $p$; 0 when they are the same |
# | leak | an output depends on something that it must not see |
# | logit | a score before the softmax |
# | n-gram model | predicts the next symbol from the last $n-1$ by counting |
# | nat | unit of a loss made with the natural logarithm; $\ln 2$ nats are one bit |
# | seed interval | Student's t interval of a mean over seeds |
# | smoothing | mixing in the counts of shorter histories, so that unseen symbols stay possible |
# | teacher forcing | the model gets the right past as input, not its own predictions |
# | temperature | what the logits are divided by before drawing |
# | weight decay | weights shrink a little at each step |

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - Vaswani et al. 2017, *Attention Is All You Need*: sections 3.1 (encoder and decoder), 3.2.3 (three uses of attention),
#   5.4 (dropout).
# - MacKay and Peto 1995, *A Hierarchical Dirichlet Language Model*: the form of the smoothing in 5.1.
# - Efron and Tibshirani 1993, *An Introduction to the Bootstrap*, section 13.3: the interval of 5.5.
# - Vig 2019, *A Multiscale Visualization of Attention in the Transformer Model*: BertViz.
# - Jain and Wallace 2019, *Attention is not Explanation*; Wiegreffe and Pinter 2019, *Attention is not not Explanation*;
#   Serrano and Smith 2019, *Is Attention Interpretable?*
#
# This is the last chapter. **Where to go:** study 5, *Heads or structure?*, takes the impression of 5.7 apart; in study 6 chapter
# 4's model waits for your own sentences.
