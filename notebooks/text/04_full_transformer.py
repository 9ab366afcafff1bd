# %% [markdown] slideshow={"slide_type": "slide"}
# # 4. The full Transformer, from scratch
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/04_full_transformer.ipynb)
#
# You build the model of "Attention Is All You Need" (Vaswani et al. 2017; below just "the paper") piece by piece. You
# know that it is right, because each piece equals PyTorch's with the same weights, and because you can account for every
# parameter. Then you teach it to translate, let it write, make it write fast, and look at what happens inside.

# %% [markdown]
# | | |
# |---|---|
# | **You will be able to** | build both kinds of layer and the whole model; find a bug from a parameter count; choose norm order, warm-up and label smoothing for reasons that you have measured; decode greedily, by sampling and with a beam; derive a key-value cache; use instruments on a trained model |
# | **Time** | about two and a half minutes to run on two CPU cores; four to five hours to read, with the exercises |
# | **You need** | [chapter 1](01_attention_basics.ipynb) (attention, masks, positions), [chapter 2](02_seq2seq_attention.ipynb) (encoder and decoder, teacher forcing, BLEU, alignment error rate) and [chapter 3](03_multi_head_attention.ipynb) (multi-head attention) |

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
# One import cell. `MultiHeadAttention` is what you built in chapter 3. What comes from `helpers.transformer` is the
# finished model, which you compare with yours. One thread, so that numbers repeat.

# %% tags=["nbval-ignore-output"]
import copy
import math
import time
import warnings

import matplotlib.pyplot as plt
from torch import nn
from torch.nn import functional as F

from helpers import analysis, architecture_plot, bertviz_views, layers, plots, translation
from helpers.attention import MultiHeadAttention, causal_mask, padding_mask
from helpers.data import load_parallel
from helpers.layers import FeedForward, sinusoidal_encoding
from helpers.seq2seq import Seq2Seq
from helpers.text import Vocabulary
from helpers.training import (
    evaluate,
    fit,
    fit_all,
    one_cycle,
    paper_learning_rate,
    paper_schedule,
    seed_everything,
    token_loss,
)
from helpers.transformer import Transformer, TransformerConfig

plots.use_style()
torch.set_num_threads(1)
warnings.filterwarnings("ignore", "enable_nested_tensor")  # nn.Transformer, about a fast path
torch.set_printoptions(precision=4, sci_mode=False)
print("PyTorch", torch.__version__)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.1 The map
#
# **What are the parts, and what flows between them?** The **encoder** reads the source sentence, all of it at once. The
# **decoder** writes the target sentence, one token after the other, and looks at what the encoder has made of the
# source. Each is a stack of $N$ equal layers (the paper has $N = 6$). The blue numbers say which section builds what.

# %% tags=["nbval-ignore-output"]
SECTIONS = {
    "tokens": "4.6", "embedding": "4.2", "encoder layer": "4.3", "decoder layer": "4.4",
    "masks": "4.6", "output": "4.2, 4.7", "decoding": "4.10, 4.11",
}  # fmt: skip
architecture_plot.architecture_map(SECTIONS)
plt.show()

# %% [markdown]
# See three kinds of attention (green). In *self-attention* queries, keys and values come from the same sequence. In
# *masked self-attention* no position sees what comes after it. In *cross-attention* the queries come from the decoder,
# and keys and values from the encoder's output, the **memory**. Around each green and each red box runs a bypass: what
# goes in is added to what comes out (a **residual connection**, He et al. 2016), and a **layer norm** (Ba et al. 2016)
# keeps the sum in range.
#
# In the comments on shapes, $B$ is the number of sentences in a batch, $S$ of source positions, $T$ of target
# positions, and $V$ of symbols in a vocabulary. `d_model` is the width of every arrow in the map.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it will learn
#
# You know the corpus from chapter 2: short English sentences and their Japanese translations, with the right word
# alignment. In the first column stand the numbers of pairs. *longer* has sentences longer than any in training, *new*
# has combinations of words that training does not have.

# %%
corpus = load_parallel("en_ja")
english = Vocabulary.from_sentences(corpus["train"].source)
japanese = Vocabulary.from_sentences(corpus["train"].target)
romaji = {}  # the Latin spelling of each Japanese token, for the axes of pictures
for ja, roman in zip(corpus["train"].target, corpus["train"].romaji):
    romaji.update(zip(ja.split(), roman.split()))
for name, part in corpus.items():
    print(f"{len(part):6} {name:7} {part.source[0]}  →  {part.romaji[0]}")
print(len(english), "English and", len(japanese), "Japanese symbols")

# %% [markdown]
# Every split becomes two tensors of ids, padded with `<PAD>`. A target goes from `<BOS>` to `<EOS>`. A source has no
# `<BOS>`, so that position $i$ of the source is word $i$.

# %%
data = {
    name: (english.encode_batch(part.source, device)[:, 1:], japanese.encode_batch(part.target, device))
    for name, part in corpus.items()
}
PAD = Vocabulary.pad_id
print({name: (tuple(source.shape), tuple(target.shape)) for name, (source, target) in data.items()})
MAX_LENGTH = 32  # every sentence of every split fits, and so does what the models write
assert all(ids.size(1) <= MAX_LENGTH for pair in data.values() for ids in pair)

# %% [markdown]
# **Remember: two stacks, three kinds of attention, and one arrow, the memory, from the first stack into every layer of
# the second.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.2 From ids to vectors, and back
#
# **A word and its place must share one vector. Which of them is louder?** Chapter 1 built the *positional encoding*:
# sines and cosines, a fixed vector for each position, added to the word's **embedding** (its learned vector). The paper
# does one more thing, without giving a reason: it multiplies the embedding by $\sqrt{d_\text{model}}$ (section 3.4).
# Measure both signals at the base model's width. The embedding starts with entries of standard deviation
# $1/\sqrt{d_\text{model}}$.

# %%
seed_everything(0)
d_model = 512
embedding = nn.Embedding(1000, d_model)
nn.init.normal_(embedding.weight, std=d_model**-0.5)
positions = sinusoidal_encoding(50, d_model)
words = embedding.weight.detach()
loud = {"word": words, "word · √d_model": words * math.sqrt(d_model), "position": positions}
for name, signal in loud.items():
    print(f"{name:16} root of the mean square: {signal.square().mean().sqrt():.4f}")

# %% [markdown]
# A position is always $\sqrt{1/2} = 0.71$ loud: the mean of $\sin^2$ and $\cos^2$. A raw word is sixteen times quieter,
# a scaled one a little louder. What follows from that? Put every word at a random position, and ask for the word whose
# embedding is most like the sum.
#
# **Predict first.** How often do you get the right word back, without the factor and with it?
#
# <details><summary>Answer</summary>
#
# With the factor, always. Without it the position drowns the word, and most answers are wrong.
#
# </details>

# %%
place = torch.randint(50, (1000,))


def recovered(scale):
    mixed = words * scale + positions[place]  # (1000, d_model)
    guess = (mixed @ words.T).argmax(dim=1)  # the embedding with the largest dot product
    return (guess == torch.arange(1000)).float().mean().item()


without, with_factor = recovered(1.0), recovered(math.sqrt(d_model))
print(f"word recovered: {without:.2f} without the factor, {with_factor:.2f} with it")
assert without < 0.2 and with_factor > 0.99

# %% [markdown]
# A model could learn longer embeddings by itself. But then, why do they start so small? Because of the other end of the
# model. The **output layer** turns the decoder's vector $h$ into one number for each symbol, its **logit**: the dot
# product of $h$ with that symbol's row. After a layer norm the entries of $h$ have variance 1, so rows with entries of
# variance $1/d_\text{model}$ give logits of variance 1, a good place to start. And the paper uses *the same matrix* at
# both ends.

# %%
h = F.layer_norm(torch.randn(200, d_model), (d_model,))
logits = h @ words.T  # (200, d_model) @ (d_model, V) → (200, V)
long_rows = logits * math.sqrt(d_model)
print(f"variance of the logits: {logits.var():.2f}; with long rows: {long_rows.var():.0f}")
assert 0.9 < logits.var() < 1.1

# %% [markdown] slideshow={"slide_type": "slide"}
# **Weight tying** (Press and Wolf 2017): embedding and output layer are both of shape $(V, d_\text{model})$, one row a
# symbol, so let them be one and the same parameter. In PyTorch that is one assignment. The gradients of both uses add
# up.

# %%
class TiedEnds(nn.Module):
    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)
        self.output = nn.Linear(d_model, vocab_size, bias=False)
        self.output.weight = self.embedding.weight  # one parameter with two names

    def embed(self, ids):
        x = self.embedding(ids) * math.sqrt(self.embedding.embedding_dim)  # (B, T) → (B, T, d_model)
        return x + sinusoidal_encoding(*x.shape[1:]).to(x)


# %% [markdown]
# Count its parameters. A parameter with two names counts once.

# %%
def count(module):
    return sum(p.numel() for p in module.parameters())


ends = TiedEnds(37_000, 512)
print(f"{count(ends):,} parameters, not twice as many")
assert count(ends) == 37_000 * 512 == 18_944_000

# %% [markdown]
# The paper's base model has about 37,000 symbols and $d_\text{model} = 512$. So tying saves 18,944,000 parameters. As its
# two languages share one vocabulary, a third matrix, the source's embedding, is the same one too, and that saves as much
# again. (Our two languages share no symbols but the special ones. Here only the target's two ends are tied.)

# %%
ids = data["dev"][1][:2, :6].cpu()
small_ends, theirs = TiedEnds(len(japanese), 64), layers.TokenEmbedding(len(japanese), 64, 32)
theirs.embedding.load_state_dict(small_ends.embedding.state_dict())
torch.testing.assert_close(small_ends.embed(ids), theirs(ids))
print("mine == helpers.layers.TokenEmbedding:", tuple(theirs(ids).shape))

# %% [markdown]
# **Remember: short rows make good logits, long rows make audible words. The factor √d_model lets one matrix be both.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.3 The encoder layer
#
# **What does a layer do to a vector?** It asks the other positions (self-attention), and then thinks about the answer by
# itself (a **feed-forward network**, the same at every position: to `d_ff` numbers, ReLU, and back). Grow it in three
# steps. First, the two sublayers alone. `FeedForward` is `Linear`, `ReLU`, `Linear` (the paper's equation 2).

# %%
class Plain(nn.Module):
    def __init__(self, d_model, num_heads, d_ff):
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, num_heads)
        self.feed_forward = FeedForward(d_model, d_ff)

    def forward(self, x, mask=None):
        x, _ = self.self_attention(x, x, x, mask)  # (B, S, d_model) → (B, S, d_model)
        return self.feed_forward(x)  # (B, S, d_model) → (B, S, d_ff) → (B, S, d_model)


# %% [markdown]
# Is that a good layer? Push ten random vectors through a stack of fresh ones. How large do they come out, and how alike?

# %%
def depth_test(make, depth=6):
    seed_everything(0)
    x = torch.randn(1, 10, 64)
    for _ in range(depth):
        x = make()(x)
    alike = F.cosine_similarity(x[0, :-1], x[0, 1:], dim=-1).mean()
    print(
        f"after {depth} layers: root mean square {x.square().mean().sqrt():.3f}, "
        f"cosine of neighbours {alike:.3f}"
    )
    return x


plain = depth_test(lambda: Plain(64, 4, 256))

# %% [markdown]
# Ten different vectors went in. After six layers they are small and all point the same way. Which sublayer does it?
# Leave the feed-forward network out, and two layers of attention are enough:

# %%
class AttentionOnly(Plain):
    def forward(self, x, mask=None):
        return self.self_attention(x, x, x, mask)[0]  # (B, S, d_model) → (B, S, d_model)


averaged = depth_test(lambda: AttentionOnly(64, 4, 256), depth=2)
assert F.cosine_similarity(averaged[0, :-1], averaged[0, 1:], dim=-1).mean() > 0.98

# %% [markdown]
# Attention averages, and averages of averages are alike. What the words were is lost. So keep it: *add* the input to
# each sublayer's output.

# %%
class Residual(Plain):
    def forward(self, x, mask=None):
        y, _ = self.self_attention(x, x, x, mask)
        x = x + y  # new
        return x + self.feed_forward(x)  # new


residual = depth_test(lambda: Residual(64, 4, 256))
assert F.cosine_similarity(plain[0, :-1], plain[0, 1:], dim=-1).mean() > 0.99
assert F.cosine_similarity(residual[0, :-1], residual[0, 1:], dim=-1).mean() < 0.9
assert residual.square().mean() > 4

# %% [markdown]
# Something of each word is left. But each addition makes the vectors longer. The paper puts a layer norm behind each sum:
# $\operatorname{LayerNorm}(x + \operatorname{Sublayer}(x))$, called **post-norm**. Most models today put it before the
# sublayer: $x + \operatorname{Sublayer}(\operatorname{LayerNorm}(x))$, **pre-norm**. Section 4.9 measures which is
# easier to train. A switch, `norm_first`, chooses. **Dropout** (in training, numbers set to 0 at random) acts on each
# sublayer's output (section 5.4 of the paper).

# %%
class EncoderLayer(nn.Module):
    def __init__(self, d_model, num_heads, d_ff, dropout=0.0, norm_first=True):
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, num_heads)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.norm_1, self.norm_2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)  # new
        self.dropout = nn.Dropout(dropout)  # new
        self.norm_first = norm_first

    def sublayer(self, x, norm, function):  # new
        if self.norm_first:
            return x + self.dropout(function(norm(x)))  # pre-norm
        return norm(x + self.dropout(function(x)))  # post-norm, the paper's

    def forward(self, x, mask=None):
        x = self.sublayer(x, self.norm_1, lambda y: self.self_attention(y, y, y, mask)[0])
        return self.sublayer(x, self.norm_2, self.feed_forward)


normed = depth_test(lambda: EncoderLayer(64, 4, 256, norm_first=False))
assert 0.95 < normed.square().mean().sqrt() < 1.05

# %% [markdown] slideshow={"slide_type": "slide"}
# **Three-way agreement.** PyTorch has `nn.TransformerEncoderLayer`. Give your layer its weights; the names differ, the
# parts are the same.

# %%
def take_weights(mine, theirs):
    mine.self_attention = MultiHeadAttention.from_torch(theirs.self_attn)
    mine.feed_forward[0].load_state_dict(theirs.linear1.state_dict())
    mine.feed_forward[2].load_state_dict(theirs.linear2.state_dict())
    mine.norm_1.load_state_dict(theirs.norm1.state_dict())
    mine.norm_2.load_state_dict(theirs.norm2.state_dict())
    if hasattr(theirs, "multihead_attn"):  # a decoder layer has one more attention, one more norm
        mine.cross_attention = MultiHeadAttention.from_torch(theirs.multihead_attn)
        mine.norm_3.load_state_dict(theirs.norm3.state_dict())
    return mine.eval()


# %% [markdown]
# One trap: norms begin as ones and zeros, biases as zeros, all alike, so a mix-up would not show. Make them random.

# %%
def shake(module):
    for parameter in module.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=1.0, std=0.3)
    return module.eval()

# %% [markdown]
# Both norm orders, with a padding mask. (PyTorch's masks say True for "blocked", as chapter 3 found: hence the `~`.) A
# padded position's own output is nobody's business, so compare at the real ones.

# %%
seed_everything(0)
x = torch.randn(2, 7, 16)
real = torch.arange(7) < torch.tensor([[7], [4]])  # (B, S): the second sentence has four words
for norm_first in (True, False):
    theirs = nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True, norm_first=norm_first)
    mine = take_weights(EncoderLayer(16, 4, 32, norm_first=norm_first), shake(theirs))
    output = mine(x, mask=real.unsqueeze(1))  # mask: (B, 1, S)
    torch.testing.assert_close(
        output[real], theirs(x, src_key_padding_mask=~real)[real], atol=1e-5, rtol=0
    )
    helper = layers.EncoderLayer.from_torch(theirs)(x, real.unsqueeze(1))[0]
    torch.testing.assert_close(output, helper, atol=1e-5, rtol=0)
    print(f"norm_first={norm_first}: mine == helpers == nn.TransformerEncoderLayer")

# %% [markdown]
# **Remember: attention mixes positions, the feed-forward network works inside each, the residual connection keeps what
# was there, and the norm keeps it in range.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.4 The decoder layer
#
# **How does the decoder consult the source?** By one more attention between the two sublayers that you have. Begin with
# the encoder layer, and hand it a causal mask: that is *masked self-attention*. Then add **cross-attention**: queries
# from the decoder, keys and values from the memory.

# %%
class DecoderLayer(EncoderLayer):
    def __init__(self, d_model, num_heads, d_ff, dropout=0.0, norm_first=True):
        super().__init__(d_model, num_heads, d_ff, dropout, norm_first)
        self.cross_attention = MultiHeadAttention(d_model, num_heads)  # new: a module of its own
        self.norm_3 = nn.LayerNorm(d_model)  # new

    def forward(self, x, memory, mask=None, memory_mask=None):
        x = self.sublayer(x, self.norm_1, lambda y: self.self_attention(y, y, y, mask)[0])
        x = self.sublayer(  # new
            x, self.norm_2, lambda y: self.cross_attention(y, memory, memory, memory_mask)[0]
        )
        return self.sublayer(x, self.norm_3, self.feed_forward)


seed_everything(0)
x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16)  # T = 5, S = 7
print(tuple(DecoderLayer(16, 4, 32)(x, memory, causal_mask(5)).shape))

# %% [markdown]
# The output is as long as the target, whatever the length of the memory. Look at the cross-attention's weights: a row for
# each target position, a column for each source position.

# %%
weights = DecoderLayer(16, 4, 32).cross_attention(x, memory, memory)[1]
print(tuple(weights.shape), "= (B, heads, T, S)")
assert weights.shape == (2, 4, 5, 7)

# %% [markdown]
# The agreement, again for both norm orders, now with a causal mask and a mask over the memory.

# %%
for norm_first in (True, False):
    theirs = nn.TransformerDecoderLayer(16, 4, 32, 0.0, batch_first=True, norm_first=norm_first)
    mine = take_weights(DecoderLayer(16, 4, 32, norm_first=norm_first), shake(theirs))
    output = mine(x, memory, causal_mask(5), real.unsqueeze(1))
    expected = theirs(x, memory, tgt_mask=~causal_mask(5), memory_key_padding_mask=~real)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)
    helper = layers.DecoderLayer.from_torch(theirs)(x, memory, causal_mask(5), real.unsqueeze(1))[0]
    torch.testing.assert_close(output, helper, atol=1e-5, rtol=0)
    print(f"norm_first={norm_first}: mine == helpers == nn.TransformerDecoderLayer")

# %% [markdown]
# **Remember: a decoder layer is an encoder layer that may not look ahead, with a second attention whose keys and values
# come from the source.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.5 Counting
#
# **Does your model have as many parameters as the paper's?** A count is the cheapest test there is: it needs no data and
# no training. Table 3 of the paper says 65 million for the base model: $N = 6$, $d_\text{model} = 512$, 8 heads,
# $d_\text{ff} = 2048$. Count the parts. On the `meta` device a module has shapes but no numbers, so it costs no memory.

# %%
with torch.device("meta"):
    layer = DecoderLayer(512, 8, 2048)
parts = {"attention": layer.self_attention, "feed-forward": layer.feed_forward, "norm": layer.norm_1}
sizes = {name: count(part) for name, part in parts.items()}
print(sizes)
assert sizes["attention"] == 4 * (512**2 + 512)  # four projections, each a matrix and a bias
assert sizes["feed-forward"] == 512 * 2048 + 2048 + 2048 * 512 + 512

# %% [markdown] slideshow={"slide_type": "subslide"}
# Now the whole. `TransformerConfig.base()` holds the paper's sizes; 37,000 is the paper's "about 37000 tokens" (section
# 5.1).

# %%
with torch.device("meta"):
    base = Transformer(TransformerConfig.base())
table = [
    ("embeddings and output, one matrix", 1, 37_000 * 512),
    ("attention in the encoder", 6, sizes["attention"]),
    ("self-attention in the decoder", 6, sizes["attention"]),
    ("cross-attention in the decoder", 6, sizes["attention"]),
    ("feed-forward networks", 12, sizes["feed-forward"]),
    ("layer norms", 6 * 2 + 6 * 3, sizes["norm"]),
]

# %% [markdown]
# The rows added up, beside the count of the model:

# %%
for name, number, size in table:
    print(f"{name:34} {number:3} × {size:10,} = {number * size:10,}")
total = sum(number * size for _, number, size in table)
print(f"{'total':34} {total:29,}")
assert total == count(base) == 63_082_496

# %% [markdown]
# 63.1 million, not 65. PyTorch's `nn.Transformer` also ends each stack with a layer norm, which the paper does not
# mention; those are 2,048 parameters, too few to matter. Where are the missing 1.9 million? An honest answer begins with
# what else the paper says. Table 3 gives counts for other sizes as well. For each of them: which vocabulary would
# explain its number, rounded to a million?

# %%
TABLE_3 = [  # parameters in millions, and what is changed against the base model
    (65, {}), (36, {"num_layers": 2}), (50, {"num_layers": 4}), (80, {"num_layers": 8}),
    (28, {"d_model": 256}), (168, {"d_model": 1024}), (53, {"d_ff": 1024}), (90, {"d_ff": 4096}),
    (213, {"d_model": 1024, "d_ff": 4096, "num_heads": 16}),
]  # fmt: skip
print(len(TABLE_3), "models")

# %% [markdown]
# Count each, and solve for the number of symbols: once for half a million less than the paper says, once for half a
# million more.

# %%
fits = []
for millions, changes in TABLE_3:
    with torch.device("meta"):
        model = Transformer(TransformerConfig.base(**changes))
    width = model.config.d_model
    layers = count(model) - 37_000 * width
    fits.append([(1e6 * (millions + half) - layers) / width for half in (-0.5, 0.5)])
    print(
        f"{millions:4} M, ours {count(model) / 1e6:6.1f} M: "
        f"{fits[-1][0]:7,.0f} to {fits[-1][1]:7,.0f} symbols  {changes}"
    )

# %% [markdown]
# The first eight rows agree, and closely. What vocabulary would explain all eight?

# %%
low, high = max(fit[0] for fit in fits[:8]), min(fit[1] for fit in fits[:8])
print(
    f"eight rows fit a vocabulary of {low:,.0f} to {high:,.0f}; "
    f"the last row needs {fits[8][0]:,.0f} to {fits[8][1]:,.0f}"
)
assert 37_500 < low < high < 42_000 and fits[8][1] < 37_000

# %% [markdown]
# So the layers are right: doubling them, widening them, changing `d_ff` moves our count as it moves the paper's. What is
# left grows with $d_\text{model}$ alone, as if there were some 4,000 more symbols than the text says. That is our
# inference, not something the paper states. And it does not fit the *big* model (213 million), which has *fewer* than
# 37,000 symbols would give. The rows (B) have narrower queries and keys. Our attention has no setting for that, but the
# count needs none: take away what 18 query and key projections lose.

# %%
for d_k, millions in ((16, 58), (32, 60)):
    narrow = total - 18 * 2 * (512 + 1) * (512 - 8 * d_k)  # matrix and bias, 8 heads
    row = [(1e6 * (millions + half) - narrow) / 512 + 37_000 for half in (-0.5, 0.5)]
    print(f"d_k {d_k}: {millions} M, ours {narrow / 1e6:.1f} M: {row[0]:,.0f} to {row[1]:,.0f} symbols")
    assert row[0] < low < high < row[1]

# %% [markdown]
# They agree with the eight. Nobody outside can settle the rest from the paper; the honest statement is "63.1 million for
# what the text describes".

# %% [markdown] slideshow={"slide_type": "slide"}
# ### The detective piece
#
# Somebody shows you an implementation. It has 6 + 6 layers, width 512, 8 heads, `d_ff` 2048, 37,000 symbols, everything
# tied. It trains without an error. It reports **56,778,752** parameters: "about 57 million, close enough". Is it?
#
# **Predict first.** What could be missing? You have the table above.
#
# <details><summary>A way to find it</summary>
#
# Take the difference to yours. Then ask which parts of the table, in what number, make exactly that difference.
#
# </details>

# %%
missing = total - 56_778_752
suspects = {
    "all biases of attention": 18 * 4 * 512,
    "two encoder layers": 2 * (sizes["attention"] + sizes["feed-forward"] + 2 * sizes["norm"]),
    "d_ff 1536 in place of 2048": 12 * 512 * (2 * 512 + 1),
    "three feed-forward networks": 3 * sizes["feed-forward"],
    "six attention modules": 6 * sizes["attention"],
}
print(f"missing: {missing:,}")

# %% [markdown]
# How far off is each?

# %%
for name, size in suspects.items():
    print(f"{name:28} {size:10,}  off by {size - missing:+,}")
assert missing == suspects["six attention modules"]

# %% [markdown]
# Look at how close the others come: two encoder layers differ by 1,024 in six million. Rounded to millions, four of the
# five are the same. The exact number names one: **six attention modules**, $6 \cdot 4 \cdot (512^2 + 512)$. The encoder has
# six, the decoder twelve. Which six are missing, without touching the number of layers? Look at the code.

# %%
class SharedDecoderLayer(DecoderLayer):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.cross_attention = self.self_attention  # one module, used twice


with torch.device("meta"):
    stack = nn.ModuleList(SharedDecoderLayer(512, 8, 2048) for _ in range(6))
print(f"{total - count(base.decoder_layers) + count(stack):,}")
assert total - count(base.decoder_layers) + count(stack) == 56_778_752

# %% [markdown]
# A constructor that passes one `attention` object to both places does this without a warning: shapes fit, gradients flow.
# But "what do I look for in my own sentence?" and "what do I look for in the other language?" now have the same answer.
# What that costs early in training is measured in section 4.9.
#
# **Remember: count exactly. A rounded count forgives what an exact one convicts.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.6 Masks for batches
#
# **Which mask goes where?** Sentences of a batch differ in length, on both sides. Here are two pairs, with the ids of
# padding, 0, at the end of the shorter ones. The source loses its `<BOS>` here, the target its last column, as in training.

# %%
source = english.encode_batch(["where is the monkey ?", "the bear swims ."])[:, 1:]
target = japanese.encode_batch(["猿 は どこ に い ます か 。", "熊 は 泳ぎ ます 。"])[:, :-1]
print(source, "\n", target)

# %% [markdown]
# Three attentions, three masks, each of shape (B, queries, keys) after broadcasting. The *keys'* sequence decides what is
# padding: in cross-attention these are the source's words, although the queries are the target's.
#
# | attention | queries | keys | mask | shape |
# |---|---|---|---|---|
# | encoder | source | source | source padding | (B, 1, S) |
# | decoder, self | target | target | causal **and** target padding | (B, T, T) |
# | decoder, cross | target | source | source padding | (B, 1, S) |

# %%
source_mask = padding_mask(source, PAD)  # (B, S) → (B, 1, S)
target_mask = causal_mask(target.size(1)) & padding_mask(target, PAD)  # (T, T) & (B, 1, T) → (B, T, T)
print("source", tuple(source_mask.shape), " target", tuple(target_mask.shape))
print(target_mask[1].int())
assert not target_mask[1, :, -1].any() and source_mask[1].sum() == source.size(1) - 1

# %% [markdown]
# Take a wrong one, the target's mask for the cross-attention: with $S \neq T$ it raises an error.

# %%
layer = DecoderLayer(16, 4, 32)
x, memory = torch.randn(2, target.size(1), 16), torch.randn(2, source.size(1), 16)
print(tuple(layer(x, memory, target_mask, source_mask).shape), "with the source's mask")
try:
    layer(x, memory, target_mask, target_mask)
except ValueError as error:
    print("with the target's mask:", error)

# %% [markdown]
# When the two lengths happen to agree it raises none, and hides the wrong words. Cut the target to the source's length:

# %%
S = source.size(1)
x, cut = x[:, :S], target_mask[:, :S, :S]
correct, wrong = (layer(x, memory, cut, mask) for mask in (source_mask, cut))
same = torch.allclose(correct, wrong, atol=0.1)
print("the same shape:", correct.shape == wrong.shape, " the same numbers:", same)
assert correct.shape == wrong.shape and not same

# %% [markdown]
# So test with lengths that differ.
#
# **Remember: a mask belongs to the keys. Queries at padded positions compute something, and the loss ignores it.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.7 The whole
#
# **Do the parts work together?** Assemble them. First what it has: the ends of both languages and the two stacks. In
# pre-norm nothing has normalised the last sum, so each stack ends with one more norm.

# %%
class Parts(nn.Module):
    def __init__(self, source_size, target_size, d_model, num_heads, d_ff, num_layers):
        super().__init__()
        self.source_ends = TiedEnds(source_size, d_model)
        self.target_ends = TiedEnds(target_size, d_model)
        del self.source_ends.output  # nothing is written in the source language
        sizes = (d_model, num_heads, d_ff)
        self.encoder_layers = nn.ModuleList(EncoderLayer(*sizes) for _ in range(num_layers))
        self.decoder_layers = nn.ModuleList(DecoderLayer(*sizes) for _ in range(num_layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)


print(f"{count(Parts(len(english), len(japanese), 32, 4, 64, num_layers=2)):,} parameters")

# %% [markdown]
# Then what flows through it: the source up the first stack, the memory into every layer of the second, with the masks of
# section 4.6.

# %%
class MyTransformer(Parts):
    def encode(self, source):
        x = self.source_ends.embed(source)  # (B, S) → (B, S, d_model)
        for layer in self.encoder_layers:
            x = layer(x, padding_mask(source, PAD))
        return self.encoder_norm(x)

    def target_mask(self, target):
        return causal_mask(target.size(1)) & padding_mask(target, PAD)  # (T, T) & (B, 1, T) → (B, T, T)

    def forward(self, source, target):
        memory = self.encode(source)  # (B, S) → (B, S, d_model)
        y = self.target_ends.embed(target)  # (B, T) → (B, T, d_model)
        for layer in self.decoder_layers:
            y = layer(y, memory, self.target_mask(target), padding_mask(source, PAD))
        return self.target_ends.output(self.decoder_norm(y))  # (B, T, d_model) → (B, T, V)

# %% [markdown]
# A fresh one, on the two pairs of the last section: one row of logits for each target position.

# %%
seed_everything(0)
mine = MyTransformer(len(english), len(japanese), 32, 4, 64, num_layers=2).eval()
print(tuple(mine(source, target).shape), "= (B, T, V)")
assert mine(source, target).shape == (*target.shape, len(japanese))

# %% [markdown]
# **It equals the helpers' model.** The parts have the same names, except for the two ends.

# %%
SMALL = TransformerConfig(
    len(english), len(japanese), 32, 4, 64, max_length=MAX_LENGTH, tie_embeddings=True
)
helper = Transformer(SMALL).eval()
weights = {
    name.replace("source_ends", "source_embed").replace("target_ends.emb", "target_embed.emb")
    .replace("target_ends.out", "out"): tensor
    for name, tensor in mine.state_dict().items()
}  # fmt: skip
helper.load_state_dict(weights)
torch.testing.assert_close(mine(source, target), helper(source, target), atol=1e-5, rtol=0)
assert count(mine) == count(helper)
print("mine == helpers.transformer.Transformer")

# %% [markdown]
# **It equals `nn.Transformer`,** in both norm orders, to $10^{-5}$. `Transformer.from_torch` copies the weights, as
# `take_weights` above; `nn.Transformer` has no embeddings and no output layer, so they come along.

# %%
def pytorchs(norm_first):
    module = nn.Transformer(32, 4, 2, 2, 64, 0.0, batch_first=True, norm_first=norm_first)
    return (
        shake(module),
        nn.Embedding(len(english), 32),
        nn.Embedding(len(japanese), 32),
        nn.Linear(32, len(japanese)),
    )


# %% [markdown]
# And its logits: the vectors go in from outside, the masks are turned around, and the output layer comes last.

# %%
def their_logits(module, source_embedding, target_embedding, output):
    x = source_embedding(source) * 32**0.5 + sinusoidal_encoding(source.size(1), 32)
    y = target_embedding(target) * 32**0.5 + sinusoidal_encoding(target.size(1), 32)
    padded = source == PAD
    return output(module(
        x, y, tgt_mask=~causal_mask(target.size(1)), src_key_padding_mask=padded,
        memory_key_padding_mask=padded, tgt_key_padding_mask=target == PAD,
    ))  # fmt: skip

# %% [markdown]
# Each order once, compared at the real positions.

# %% tags=["nbval-ignore-output"]
for norm_first in (True, False):
    seed_everything(0)
    parts = pytorchs(norm_first)
    ours, theirs = Transformer.from_torch(*parts)(source, target), their_logits(*parts)
    at_words = target != PAD
    difference = (ours - theirs)[at_words].abs().max()
    print(f"norm_first={norm_first}: largest difference {difference:.1e}")
    assert difference < 1e-5

# %% [markdown] slideshow={"slide_type": "slide"}
# **Leak tests on the assembled model.** Equality says that you made the same model. The leak test asks whether the model
# sees what it must not: it changes one token at a time and watches the other outputs. `find_leak` does it for every
# position, and for padding.

# %%
sentences = data["dev"][1][:6, :-1].cpu()
sources = data["dev"][0][:6].cpu()
padded_first = sources[sources[:, -1] == PAD][:1]  # one source with padding in it
for number in range(3):
    one = sources[number : number + 1]
    leak = analysis.find_leak(lambda t, one=one: mine(one.expand(len(t), -1), t), sentences)
    assert leak is None
print("no target token reaches an earlier output")

# %% [markdown]
# And the source's padding: one sentence with it and without.

# %%
words = int((padded_first != PAD).sum())
alone, together = mine(padded_first[:, :words], sentences[:1]), mine(padded_first, sentences[:1])
print("the source's padding moves nothing:", bool((alone - together).abs().max() < 1e-5))
assert (alone - together).abs().max() < 1e-5

# %% [markdown]
# Would the test notice? Give the decoder a mask that is one diagonal too generous.

# %%
class Generous(MyTransformer):
    def target_mask(self, target):
        ones = torch.ones(target.size(1), target.size(1), dtype=torch.bool)
        return ones.tril(diagonal=1) & padding_mask(target, PAD)  # one diagonal too many


generous = Generous(len(english), len(japanese), 32, 4, 64, 2).eval()
leak = analysis.find_leak(lambda t: generous(sources[:1].expand(len(t), -1), t), sentences)
print("the generous mask: a", leak.kind, "leak from position", leak.changed)
assert leak is not None and leak.kind == "future"

# %% [markdown]
# **Remember: equal to PyTorch, equal in count, no leaks. Only now is training worth its time.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.8 Training
#
# **What exactly is minimised?** The decoder is fed the right target up to each position (*teacher forcing*, chapter 2)
# and asked for the next token: in go all columns but the last, asked for are all columns but the first. The loss is the
# mean cross-entropy over **real** tokens; a padded position asks nothing.
#
# One thing is added. With **label smoothing** (Szegedy et al. 2016, section 7; the paper's section 5.4 takes
# $\varepsilon = 0.1$) the right token is not asked to have probability 1. The target distribution is
#
# $$q(k) = (1 - \varepsilon)\,[k = \text{right}] + \varepsilon / V$$
#
# over all $V$ symbols. By hand, for one token:

# %%
def smoothed_loss(logits, right, smoothing):
    log_p = logits.log_softmax(dim=-1)  # (V,)
    return -(1 - smoothing) * log_p[right] - smoothing * log_p.mean()


# %% [markdown]
# Three ways to the same number:

# %%
logits = torch.tensor([0.0, 1.0, 3.0, 0.5])
mine = smoothed_loss(logits, 2, 0.1)
total, tokens = token_loss(logits.view(1, 1, 4), torch.tensor([[2]]), pad_id=0, label_smoothing=0.1)
torch.testing.assert_close(mine, total)
torch.testing.assert_close(mine, F.cross_entropy(logits, torch.tensor(2), label_smoothing=0.1))
print(f"by hand {mine:.4f} == helpers {total:.4f} == PyTorch")

# %% [markdown]
# **Predict first.** A perfect model: it always knows the right token. Which loss does it have with smoothing, and which
# probability should it give to the right token?
#
# <details><summary>Answer</summary>
#
# Cross-entropy is smallest when the prediction equals the target distribution: $0.9 + 0.1/V$ for the right token. The
# loss is then the entropy of $q$, the **floor**. It is not 0, so smoothed and plain losses must not be compared.
#
# </details>

# %%
V = len(japanese)
right, wrong = 0.9 + 0.1 / V, 0.1 / V
floor = -right * math.log(right) - (V - 1) * wrong * math.log(wrong)
best = torch.full((V,), math.log(wrong))
best[5] = math.log(right)
print(f"V = {V}: the right token gets {right:.4f}, the floor is {floor:.4f} nats")
sure = 100 * F.one_hot(torch.tensor(5), V).float()
print(f"a model that is surer than that pays {smoothed_loss(sure, 5, 0.1):.2f} nats")
torch.testing.assert_close(smoothed_loss(best, 5, 0.1), torch.tensor(floor), atol=1e-4, rtol=0)

# %% [markdown] slideshow={"slide_type": "slide"}
# **The learning rate** changes over training. The paper's rule (section 5.3, equation 3) rises linearly for `warmup`
# steps (the **warm-up**), then falls with the inverse square root of the step:
#
# $$\text{rate} = d_\text{model}^{-0.5} \cdot \min\left(\text{step}^{-0.5},\; \text{step} \cdot \text{warmup}^{-1.5}\right)$$
#
# Our runs are short, so we train with the *one-cycle* rule of `helpers.training` (after Smith and Topin 2018, whose rate
# falls along a straight line): the same rise, then half a cosine down to 0. Both are shown as shares of their peak.

# %%
steps = range(1, 1001)
peak = paper_learning_rate(250, 512, 250)
fig, ax = plt.subplots(figsize=(7.5, 3.6))
ax.plot(steps, [paper_learning_rate(n, 512, 250) / peak for n in steps], label="the paper's equation 3")
ax.plot(steps, [one_cycle(n - 1, 1000) for n in steps], label="one-cycle")
title = "Two schedules: the same warm-up, different ends"
ax.set(xlabel="step", ylabel="share of the peak", title=title)
ax.legend()
plt.show()
assert abs(paper_learning_rate(1000, 512, 250) / peak - 0.5) < 1e-9  # √(250 / 1000)
assert all(
    abs(paper_schedule(n - 1, 1000) - paper_learning_rate(n, 512, 250) / peak) < 1e-9 for n in steps
)

# %% [markdown]
# See the common rise, and how one-cycle reaches 0 while the paper's rule is still at half its peak: four times the
# warm-up steps, half the rate.

# %% [markdown] slideshow={"slide_type": "slide"}
# **The model.** Width 64, 4 heads, `d_ff` 256, 2 + 2 layers, pre-norm, output and target embedding tied. All choices
# were made on the *dev* sentences. `fit` is the series' training loop; it shuffles, cuts batches of sentences of like
# length, and clips gradients.

# %%
CONFIG = TransformerConfig(
    len(english), len(japanese), d_model=64, num_heads=4, d_ff=256, num_layers=2,
    max_length=MAX_LENGTH, tie_embeddings=True,
)  # fmt: skip


def make_loss(smoothing):
    def loss(model, source, target):
        logits = model(source, target[:, :-1])  # (B, T, V)
        return token_loss(logits, target[:, 1:], PAD, label_smoothing=smoothing)

    return loss


plain_loss, smooth_loss = make_loss(0.0), make_loss(0.1)
print(f"{count(Transformer(CONFIG)):,} parameters")

# %% [markdown]
# Five epochs over the 20,000 pairs, on one CPU core. The other core meanwhile trains an opponent for the next section, the
# main model of chapter 2: a GRU encoder and decoder with Luong's concat attention, made as large as the Transformer.
# (`fit_all` calls `fit` for several models side by side; the bar is the Transformer's.) Expect about a minute.

# %% tags=["nbval-ignore-output"]
seed_everything(0)
model = Transformer(CONFIG).to(device)
rnn = Seq2Seq(len(english), len(japanese), hidden_size=104, attention="luong-concat").to(device)
recipe = {"train": data["train"], "validation": data["dev"], "epochs": 5, "batch_size": 64}
history, rnn_history = fit_all([
    {"model": model, "loss": smooth_loss, "lr": 5e-3, "progress": True, **recipe},
    {"model": rnn, "loss": translation.translation_loss, "lr": 1e-2, **recipe},
])  # fmt: skip
plain_dev_loss = evaluate(model, data["dev"], plain_loss)
print(f"dev loss of the Transformer {history.best:.3f} smoothed, {plain_dev_loss:.3f} plain")

# %% [markdown]
# The curves, and the floor as a dotted line.

# %% tags=["nbval-ignore-output"]
plots.loss_curves(
    {"Transformer": history}, {"floor of the smoothed loss": floor}, title="Learning to translate"
)
plt.show()

# %% [markdown]
# See both curves come down to the dotted line, the floor. Nobody can go below it: it is the smoothed loss of a model
# that knows everything.

# %%
assert floor < history.best < floor + 0.15
assert plain_dev_loss < 0.25
print("the dev loss ends within 0.15 nats of the floor, and not below it")

# %% [markdown] slideshow={"slide_type": "slide"}
# **And what did smoothing do to its confidence?** Take the trained weights and train on for 20 steps, with smoothing and
# without, three times each with other batches. Then ask for the median probability of the right token on dev sentences.

# %%
@torch.no_grad()
def probability_of_right(model, name="dev", number=300):
    source, target = (ids[:number] for ids in data[name])
    p = model(source, target[:, :-1]).softmax(-1)  # (B, T, V)
    p = p.gather(2, target[:, 1:].unsqueeze(2)).squeeze(2)  # (B, T, V) → (B, T)
    return p[target[:, 1:] != PAD]


few, dev_300 = (tuple(ids[:n] for ids in data[part]) for part, n in (("train", 1280), ("dev", 300)))
print(f"{len(few[0])} pairs are {len(few[0]) // 64} batches of 64")

# %% [markdown]
# Both ways, from the same weights.

# %% tags=["nbval-ignore-output"]
confidence = {"smoothed": [], "not smoothed": []}
for seed in range(3):
    for values, loss in zip(confidence.values(), (smooth_loss, plain_loss)):
        further = copy.deepcopy(model)
        fit(further, few, dev_300, loss, epochs=1, lr=1e-3, batch_size=64, seed=seed, progress=False)
        values.append(probability_of_right(further).median().item())
for name, values in confidence.items():
    print(
        f"20 more steps, {name:12}: median probability of the right token "
        f"{analysis.seed_interval(values)}"
    )

# %% [markdown]
# For every one of the three seeds:

# %%
assert all(abs(p - right) < 0.03 for p in confidence["smoothed"])
assert all(p > 0.95 for p in confidence["not smoothed"])
print(f"smoothed: about {right:.2f}, as the formula says; not smoothed: above 0.95")

# %% [markdown]
# With smoothing the model is as sure as it was told to be, 0.9, and twenty steps without it are enough to make it surer.
# Section 4.10 meets a place where the other 0.1 does harm.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### The ladder so far
#
# **Is it better than chapter 2's models?** Compare fairly. The opponent is chapter 2's main model, made wider until it
# had about as many parameters. It was given as many epochs, and a core of its own; it keeps chapter 2's learning rate
# and its loss without smoothing.

# %% tags=["nbval-ignore-output"]
seconds = {"Transformer": history.seconds[-1], "GRU + concat": rnn_history.seconds[-1]}
sizes = {"Transformer": count(model), "GRU + concat": count(rnn)}
for label, took in seconds.items():
    print(f"{label:14}{sizes[label]:9,} parameters, {took:4.0f} s")

# %% [markdown]
# Both translate the three sets, greedily. **Exact match** is the share of sentences that are right word for word, BLEU as
# in chapter 2.

# %% tags=["nbval-ignore-output"]
SETS = {"test": "test", "longer": "longer", "new": "new combinations"}
results = {}
for label, candidate in {"Transformer": model, "GRU + concat": rnn}.items():
    for name in SETS:
        hypotheses = translation.translate_texts(candidate, data[name][0], japanese)
        bleu = translation.bleu(hypotheses, corpus[name].target).score
        match = translation.exact_match(hypotheses, corpus[name].target)
        results[label, name] = match, bleu, hypotheses
print(len(results), "times translated")

# %% [markdown]
# The table:

# %% tags=["nbval-ignore-output"]
print(f"{'':16}{'parameters':>11}{'seconds':>9}" + "".join(f"{name:>22}" for name in SETS.values()))
for label, took in seconds.items():
    row = "".join(
        f"    {100 * results[label, n][0]:5.1f} % BLEU {results[label, n][1]:5.1f}" for n in SETS
    )
    print(f"{label:16}{sizes[label]:11,}{took:9.0f}{row}")

# %% [markdown]
# Two models, one seed each: the spread over *sentences* can be given, by the bootstrap of the difference on each set.

# %% tags=["nbval-ignore-output"]
def rights(label, name):
    return [float(a == b) for a, b in zip(results[label, name][2], corpus[name].target)]


for name, title in SETS.items():
    pairs = zip(rights("Transformer", name), rights("GRU + concat", name))
    gain = analysis.bootstrap_interval([a - b for a, b in pairs])
    print(f"{title:17} exact match, Transformer minus GRU: {gain}")

# %% [markdown]
# What the text below may say, as assertions that leave room for another seed:

# %%
assert results["Transformer", "test"][0] >= 0.97 and results["Transformer", "test"][1] > 98
assert results["Transformer", "new"][0] > 0.9 > 0.8 > results["Transformer", "longer"][0]
assert 0.9 < count(rnn) / count(model) < 1.1
gap = {name: results["Transformer", name][0] - results["GRU + concat", name][0] for name in SETS}
assert abs(gap["test"]) < 0.03 and gap["longer"] < 0
lost = {label: results[label, "test"][0] - results[label, "new"][0] for label in seconds}
assert max(lost.values()) < 0.1  # what new combinations cost
print("Transformer: at least 97 % exact on the test set, over 90 % on new, below 80 % on longer")

# %% [markdown]
# So at this size, on this corpus, a recurrent model with attention is as good a translator: on the test set the two lie
# close together. New combinations of known words cost each of them a few points at most, in the run stored here the
# Transformer fewer. Sentences longer than any in training cost far more, and there the Transformer is behind. (The
# recurrent model has no position vectors to get used to. Whether that is the reason is not shown here.) The paper's
# case for its model was that it trains in parallel and translates better *at its size*; this corpus is too small to ask
# that. Look at what goes wrong with longer sentences: print the first two wrong translations and their references.

# %% tags=["nbval-ignore-output"]
wrong_ones = [i for i, ok in enumerate(rights("Transformer", "longer")) if not ok]
for i in wrong_ones[:2]:
    print(corpus["longer"].source[i])
    print("  right:", " ".join(romaji[t] for t in corpus["longer"].target[i].split()))
    print("  model:", " ".join(romaji[t] for t in results["Transformer", "longer"][2][i].split()))

# %% [markdown]
# How does being right depend on the number of source words?

# %% tags=["nbval-ignore-output"]
by_length = {label: {} for label in ("Transformer", "GRU + concat")}
for label, shares in by_length.items():
    for name in ("test", "longer"):
        for sentence, ok in zip(corpus[name].source, rights(label, name)):
            shares.setdefault(len(sentence.split()) - 1, []).append(ok)
print({n: len(oks) for n, oks in sorted(by_length["Transformer"].items())}, "sentences")

# %% [markdown]
# The share that is right, for each length:

# %% tags=["nbval-ignore-output"]
fig, ax = plt.subplots(figsize=(7.5, 4))
for label, shares in by_length.items():
    lengths = sorted(shares)
    ax.plot(lengths, [sum(shares[n]) / len(shares[n]) for n in lengths], "o-", label=label)
ax.axvline(12.5, color="0.35", linestyle=":")
ax.annotate("longest in training", (12.4, 0.05), ha="right", fontsize="small")
title = "Right translations by sentence length"
ax.set(xlabel="English words", ylabel="exact match", ylim=(0, 1.02), title=title)
ax.legend()
plt.show()

# %% [markdown]
# See both lines fall beyond the dotted line, the Transformer's faster. Its sinusoids have values for the new positions,
# but no weight was ever trained on those. That cannot be the whole story: the recurrent model falls without any
# positions, and the Transformer's line begins to fall before the dotted line.
#
# **Remember: compare at equal size and equal data, name the time, and ask for sentences that are unlike the training
# set, too.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.9 Four choices, measured
#
# **Pre-norm or post-norm? Warm-up or none? Tied or not? And what does the shared attention module cost?** Such questions
# have answers for a given size, data and time, and this section has little of all three: width 32, and for the first
# three questions 64 steps on 1,024 pairs, with three seeds for each setting. (The fourth is measured apart, longer.)
# So read the answers as "here, early in training". What counts is the *difference* to the reference setting,
# seed by seed, with its interval (Student's t, as in chapter 1).

# %%
small_train = tuple(ids[:1024] for ids in data["train"])
SEEDS = range(3)


def fresh_model(seed, **sizes):
    seed_everything(seed)
    config = {"d_model": 32, "d_ff": 64, "max_length": MAX_LENGTH, "tie_embeddings": True} | sizes
    return Transformer(TransformerConfig(len(english), len(japanese), **config)).to(device)


print(f"{count(fresh_model(0)):,} parameters")

# %% [markdown]
# All are trained alike, except for what is in `options`.

# %%
def job(model, seed, train=small_train, **options):
    recipe = {"validation": dev_300, "loss": plain_loss, "epochs": 4, "lr": 1e-2, "batch_size": 64}
    return {"model": model, "seed": seed, "train": train} | recipe | options


def no_warmup(step, total_steps):
    return one_cycle(step, total_steps, warmup=0.0)


print(f"{4 * len(small_train[0]) // 64} steps a run")

# %% [markdown]
# Six settings: the reference, and five that differ from it in what their names say. (An output layer that is not tied also
# has a bias and starts with its own numbers.)

# %%
SETTINGS = {  # what is changed in the model, and in its training
    "reference: pre-norm, 2 + 2, warm-up, tied": ({}, {}),
    "no warm-up": ({}, {"schedule": no_warmup}),
    "post-norm": ({"norm_first": False}, {}),
    "pre-norm, 6 + 6": ({"num_layers": 6}, {}),
    "post-norm, 6 + 6": ({"num_layers": 6, "norm_first": False}, {}),
    "not tied": ({"tie_embeddings": False}, {}),
}
print(len(SETTINGS), "settings with", len(SEEDS), "seeds each")

# %% [markdown]
# Train them all, two at a time. The runs of one setting are those of its three seeds.

# %% tags=["nbval-ignore-output"]
jobs = [job(fresh_model(seed, **sizes), seed, **options)
        for sizes, options in SETTINGS.values() for seed in SEEDS]  # fmt: skip
histories = iter(fit_all(jobs, "18 models"))
runs = {name: [next(histories).best for _ in SEEDS] for name in SETTINGS}

# %% [markdown]
# The differences to the reference, with their intervals. A negative number is better than the reference.

# %% tags=["nbval-ignore-output"]
reference, *others = runs


def difference(name, against=reference):
    return analysis.seed_interval([a - b for a, b in zip(runs[name], runs[against])])


print(f"dev loss of the reference: {analysis.seed_interval(runs[reference])} nats a token")
for name in others:
    print(f"{name:30} {difference(name)}")

# %% [markdown]
# The same as a picture. Left of the dotted line is better.

# %% tags=["nbval-ignore-output"]
shown = {name: difference(name) for name in others}
label = "dev loss, minus the reference's (nats a token)"
plots.interval_plot(shown, label, "What each change does, 3 seeds", {"": 0})
plt.show()

# %% [markdown]
# What the text below may say, as assertions:

# %%
deep = difference("post-norm, 6 + 6", against="pre-norm, 6 + 6")
assert deep.mean > 0.3 and difference("post-norm, 6 + 6").mean > 0.5
assert 0 < difference("post-norm").mean < 0.5  # 2 + 2 layers: a little behind
assert difference("not tied").mean < -0.1
print("post-norm with 6 + 6 layers is at least 0.3 nats behind pre-norm with 6 + 6")

# %% [markdown]
# The fourth question needs more steps: after 64 the reference itself is a poor model, and a bug cannot spoil what has not
# been learned. So compare the shared attention module after four times as many steps, on 4,096 pairs, with five seeds.

# %%
def share_attention(model):
    for layer in model.decoder_layers:
        layer.cross_attention = layer.self_attention
    return model


more_pairs = tuple(ids[:4096] for ids in data["train"])
jobs = []
for seed in range(5):
    jobs.append(job(fresh_model(seed), seed, more_pairs))
    jobs.append(job(share_attention(fresh_model(seed)), seed, more_pairs))
print(len(jobs), "models,", 4 * 4096 // 64, "steps each")

# %% [markdown]
# Every second one has the shared module.

# %% tags=["nbval-ignore-output"]
losses = [history.best for history in fit_all(jobs, "10 models")]
own, shared = losses[::2], losses[1::2]
cost = analysis.seed_interval([a - b for a, b in zip(shared, own)])
print(f"dev loss after 256 steps: {analysis.seed_interval(own)}; with the shared module {cost} more")

# %% [markdown]
# The sign of the mean, and its order of size:

# %%
assert 0 < cost.mean < 0.5
print("after 256 steps the shared module is behind")

# %% [markdown]
# - **Norm order.** With 2 + 2 layers post-norm is a little behind. With 6 + 6 layers it is far behind pre-norm of the
#   same depth (at this peak rate; no other was tried). Section 4.12 looks at the gradients of both.
# - **Warm-up.** At this size, with clipped gradients and AdamW, it makes no difference that three seeds could show. That
#   says nothing about the paper's model.
# - **Tying.** Not tied learns faster in these few steps. Tying saves parameters, 9 thousand here (268 rows of 32, and
#   the 268 biases of an output layer of its own) and 19 million in the paper's model; it is no law that it also helps.
# - **The shared attention module.** After 256 steps it costs something like a tenth of a nat, with the interval printed
#   above. The model learns all the same, so a learning curve without the right one beside it would not give the bug
#   away. That is the point of the detective piece: the count convicts it before any training. (What it costs a fully
#   trained model is not measured here.)
#
# Three seeds and 64 steps are little, and so are five and 256. An interval that contains 0 means "not shown", never "no
# effect".
#
# **Remember: with six layers the norm's place matters far more than with two. And ask of each famous trick at which
# size it was found.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.10 Decoding
#
# **The model gives probabilities. How do they become a sentence?** Token by token: feed what is written, choose the next
# token, append it, until `<EOS>`. The simplest choice is the likeliest token, **greedy decoding**. This is the whole
# loop, for a batch; a row that has ended gets padding.

# %%
@torch.no_grad()
def greedy(model, source, max_length):
    tokens = torch.full((len(source), 1), Vocabulary.bos_id, device=source.device)
    ended = torch.zeros(len(source), dtype=torch.bool, device=source.device)
    for _ in range(max_length):
        last = model(source, tokens)[:, -1].argmax(dim=-1)  # (B, t, V) → (B, V) → (B,)
        last = last.masked_fill(ended, PAD)
        tokens = torch.cat([tokens, last.unsqueeze(1)], dim=1)  # (B, t), (B, 1) → (B, t + 1)
        ended = ended | (last == Vocabulary.eos_id)
        if ended.all():
            break
    return tokens[:, 1:]

# %% [markdown]
# `generate` of the helpers does the same and more. On twenty sentences:

# %% tags=["nbval-ignore-output"]
some = data["test"][0][:20]
written = greedy(model, some, MAX_LENGTH - 1)
assert torch.equal(written, model.generate(some))
print("my loop == generate:", tuple(written.shape), japanese.decode(written[0]))

# %% [markdown]
# **Sampling** draws the next token with its probability. Two dials make it tamer: a **temperature** $\tau$ divides the
# logits ($\tau < 1$ sharpens), and **top-k** draws among the $k$ likeliest only (Fan et al. 2018; Holtzman et al. 2020
# discuss why the unlikely tail spoils text). **Beam search** keeps the best `beam_size` beginnings instead of one, and
# ranks them by $\log p$ divided by a **length penalty** $((5 + n)/6)^\alpha$ (Wu et al. 2016, equation 14; the paper
# takes a beam of 4 and $\alpha = 0.6$, section 6.1). Without it short sentences win: each further token costs probability.

# %%
WAYS = {
    "greedy": {},
    "sample": {"strategy": "sample"},
    "sample, temperature 0.5": {"strategy": "sample", "temperature": 0.5},
    "sample, top-k 3": {"strategy": "sample", "top_k": 3},
    "beam 4": {"strategy": "beam"},
}
print(", ".join(WAYS))

# %% [markdown]
# All five on one sentence, a long one with new combinations of words:

# %% tags=["nbval-ignore-output"]
longest = max(range(100), key=lambda i: len(corpus["new"].source[i]))
print("source:                  ", corpus["new"].source[longest])
print("reference:               ", " ".join(romaji[t] for t in corpus["new"].target[longest].split()))
for name, options in WAYS.items():
    seed_everything(0)
    text = japanese.decode(model.generate(data["new"][0][longest : longest + 1], **options)[0])
    print(f"{name:25}", " ".join(romaji[t] for t in text.split()))

# %% [markdown]
# **Predict first.** On the test set greedy is right in over 97 per cent of the sentences. How often is a *sampled*
# translation right, when label smoothing has taught the model to give the right token a probability of 0.9?
#
# <details><summary>Answer</summary>
#
# A sentence has about ten tokens and an end. If each is right with probability 0.9, all of them are with
# $0.9^{11} \approx 0.31$. Sharpening by temperature, or cutting off the tail, brings it back.
#
# </details>

# %% tags=["nbval-ignore-output"]
share_right = {}
for name, options in WAYS.items():
    seed_everything(0)
    share_right[name] = translation.exact_match(
        translation.translate_texts(model, data["test"][0][:300], japanese, **options),
        corpus["test"].target[:300],
    )
    print(f"{name:25} {100 * share_right[name]:5.1f} % of 300 test sentences right")

# %% [markdown]
# The differences are large, so the bounds can be wide:

# %%
assert share_right["sample"] < 0.6 < 0.85 < share_right["sample, temperature 0.5"]
assert abs(share_right["beam 4"] - share_right["greedy"]) < 0.03
print("plain sampling: fewer than 60 % right; sharpened: over 85 %; beam within 3 points of greedy")

# %% [markdown]
# A translation has one right answer here, so sampling can only lose. Where many answers are right (stories, dialogue), it
# is what keeps text from repeating itself. And the beam? It finds likelier sentences. Are they better ones? Measure both
# on the set where the model is unsure: the *longer* sentences.

# %%
@torch.no_grad()
def log_probability(model, source, tokens):
    start = torch.full_like(tokens[:, :1], Vocabulary.bos_id)
    logits = model(source, torch.cat([start, tokens[:, :-1]], dim=1))  # (B, T, V)
    chosen = logits.log_softmax(-1).gather(2, tokens.unsqueeze(2)).squeeze(2)  # (B, T)
    return (chosen * (tokens != PAD)).sum(dim=1)  # (B,)


# %% [markdown]
# Greedy, and beams with three penalties.

# %%
hard = data["longer"][0][:200]
outputs = {"greedy": model.generate(hard)}
for alpha in (0.0, 0.6, 2.0):
    outputs[f"beam 4, α = {alpha}"] = model.generate(hard, strategy="beam", length_penalty=alpha)
print(len(hard), "sentences, written in", len(outputs), "ways")

# %% [markdown]
# How likely, how long, how often right:

# %% tags=["nbval-ignore-output"]
log_p = {name: log_probability(model, hard, tokens) for name, tokens in outputs.items()}
for name, tokens in outputs.items():
    texts = [japanese.decode(t) for t in tokens]
    right_now = translation.exact_match(texts, corpus["longer"].target[:200])
    words_each = (tokens > 2).sum(1).float().mean()
    print(
        f"{name:15} log p {log_p[name].mean():6.2f}, {words_each:.1f} words, "
        f"{100 * right_now:.1f} % right"
    )

# %% [markdown]
# Compare the columns: the likelier sentences are not clearly the better ones. (And likelier only on average: a beam may
# lose the sentence that greedy finds.)

# %%
likelier = (log_p["beam 4, α = 0.0"] - log_p["greedy"]).mean()
words_of = {name: (tokens > 2).sum(1).float().mean() for name, tokens in outputs.items()}
assert likelier > 0 and words_of["beam 4, α = 0.0"] <= words_of["beam 4, α = 2.0"]
print("on average the beam finds likelier sentences, no shorter with α = 2 than with α = 0")

# %% [markdown]
# **Remember: decoding is a search for a likely sentence; whether likely is right is the model's business. Sample with
# care from a model that was trained with label smoothing.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.11 The key-value cache
#
# **Greedy decoding runs the whole decoder again for every token. What of that is new?** Append one token to a target and
# compare the decoder's outputs before and after.

# %%
source, target = (ids[:4] for ids in data["test"])
with torch.no_grad():
    five, six = model(source, target[:, :5]), model(source, target[:, :6])
moved = (six[:, :5] - five).abs().max()
print("the first five rows are as before:", bool(moved < 1e-4))
assert moved < 1e-4

# %% [markdown]
# Nothing changes, because of the causal mask: earlier positions cannot see the new token, in any layer. So their keys and
# values in every layer are the same as a step ago. The new token needs only
#
# - its own query, key and value: one row of each projection,
# - the **cached** keys and values of the positions before, to attend to,
# - the keys and values of the memory, computed **once** for the sentence.
#
# No causal mask is needed: the newest token may see everything that is there. (In a batch, cross-attention must still
# not see the source's padding.) Take the first decoder layer's self-attention and do it by hand. `_split` makes heads,
# (B, t, d_model) → (B, H, t, D).

# %%
def attend_from(attention, x, keys, values):  # keys and values are already projected, (B, H, t, D)
    q = attention._split(attention.query_proj(x))  # (B, 1, d_model) → (B, H, 1, D)
    weights = (q @ keys.transpose(-2, -1) / math.sqrt(q.size(-1))).softmax(dim=-1)  # (B, H, 1, t)
    return attention.out_proj((weights @ values).transpose(1, 2).flatten(2))  # (B, 1, d_model)

# %% [markdown]
# Six random vectors: first all of them attend at once, then the last one alone, with a cache of five. (`project` makes
# keys and values, split into heads.)

# %%
attention = model.decoder_layers[0].self_attention
seed_everything(0)
x = torch.randn(2, 6, 64, device=device)
with torch.no_grad():
    whole, _ = attention(x, x, x, causal_mask(6, device))
    keys, values = attention.project(x[:, :5], x[:, :5])  # the cache after five tokens
    new_key, new_value = attention.project(x[:, 5:], x[:, 5:])  # one row each
    keys, values = torch.cat([keys, new_key], dim=2), torch.cat([values, new_value], dim=2)
    last = attend_from(attention, x[:, 5:], keys, values)
torch.testing.assert_close(last, whole[:, 5:], atol=1e-5, rtol=0)
print("one row, from the cache == the last row of the whole:", tuple(last.shape))

# %% [markdown] slideshow={"slide_type": "subslide"}
# A step through the whole decoder, then. For each layer the cache holds four tensors: own keys and values, which grow,
# and the memory's, which do not.

# %%
@torch.no_grad()
def start_cache(model, source):
    memory, _ = model.encode(source)  # once a sentence
    return [
        (None, None, *layer.cross_attention.project(memory, memory))
        for layer in model.decoder_layers
    ]


print("tensors a layer:", len(start_cache(model, data["test"][0][:1])[0]))

# %% [markdown]
# One step for all rows of a batch: a layer at a time, each with its three sublayers.

# %%
@torch.no_grad()
def cached_step(model, last, position, caches):
    x = model.target_embed(last.unsqueeze(1), first=position)  # (B,) → (B, 1, d_model)
    new_caches = []
    for layer, (keys, values, memory_keys, memory_values) in zip(model.decoder_layers, caches):
        y = layer.norm_1(x)
        new_key, new_value = layer.self_attention.project(y, y)
        keys = new_key if keys is None else torch.cat([keys, new_key], dim=2)
        values = new_value if values is None else torch.cat([values, new_value], dim=2)
        x = x + attend_from(layer.self_attention, y, keys, values)
        x = x + attend_from(layer.cross_attention, layer.norm_2(x), memory_keys, memory_values)
        x = x + layer.feed_forward(layer.norm_3(x))
        new_caches.append((keys, values, memory_keys, memory_values))
    return model.output(model.decoder_norm(x))[:, 0], new_caches  # (B, V)

# %% [markdown]
# Run it beside the uncached loop on one sentence (so there is no padding to hide).

# %% tags=["nbval-ignore-output"]
one = data["test"][0][:1]
one = one[:, one[0] != PAD]
caches, last, tokens = start_cache(model, one), torch.tensor([Vocabulary.bos_id], device=device), []
while len(tokens) < MAX_LENGTH - 1 and (not tokens or tokens[-1] != Vocabulary.eos_id):
    logits, caches = cached_step(model, last, len(tokens), caches)
    last = logits.argmax(dim=-1)
    tokens.append(int(last))
assert tokens == greedy(model, one, MAX_LENGTH - 1)[0].tolist()
print("cached == uncached:", japanese.decode(tokens))

# %% [markdown]
# `generate` has the same cache, with masks for batches and for every strategy. Same tokens with and without, for all of
# them:

# %% tags=["nbval-ignore-output"]
for name, options in WAYS.items():
    written = []
    for use_cache in (True, False):
        seed_everything(0)
        written.append(model.generate(data["test"][0][:30], use_cache=use_cache, **options))
    assert torch.equal(*written)
    print(f"{name:25} the same {tuple(written[0].shape)} tokens")

# %% [markdown] slideshow={"slide_type": "slide"}
# **What is it worth?** Time one step at growing lengths, for an untrained model of width 128 that can read 512 tokens (its
# weights do not matter for the clock). Without the cache a step computes all positions again.

# %%
seed_everything(0)
long_config = TransformerConfig(len(english), len(japanese), 128, 4, 256, max_length=512)
long_model = Transformer(long_config).to(device).eval()
long_source = data["test"][0][:4]
random_target = torch.randint(3, len(japanese), (4, 512), device=device)
print(f"{count(long_model):,} parameters")

# %% [markdown]
# The clock: the fastest of seven runs, which is the one that was disturbed least.

# %% tags=["nbval-ignore-output"]
def milliseconds(function, *arguments):
    times = []
    for _ in range(7):
        start = time.perf_counter()
        function(*arguments)
        if device.type == "cuda":
            torch.cuda.synchronize()  # a GPU works on after the call has returned
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


print(f"a pause of 2 ms takes {milliseconds(time.sleep, 0.002):.0f} ms")

# %% [markdown]
# The cache grows token by token; at six lengths one more step is timed, both ways.

# %% tags=["nbval-ignore-output"]
lengths = [1, 64, 128, 256, 384, 512]
cached_ms, anew_ms = [], []
with torch.no_grad():
    state = long_model.start(long_source)
    anew = long_model.start_anew(long_source)
    for t in range(1, 513):
        before = state
        state = long_model.step(random_target[:, t - 1], before)[1]
        if t in lengths:
            cached_ms.append(milliseconds(long_model.step, random_target[:, t - 1], before))
            prefix = anew | {"target": random_target[:, : t - 1]}
            anew_ms.append(milliseconds(long_model.step_anew, random_target[:, t - 1], prefix))
print(len(cached_ms), "and", len(anew_ms), "times")

# %% [markdown]
# The table:

# %% tags=["nbval-ignore-output"]
for t, with_cache, without_cache in zip(lengths, cached_ms, anew_ms):
    print(f"token {t:3}: {with_cache:5.1f} ms with the cache, {without_cache:6.1f} ms without")

# %% [markdown]
# The same as a picture.

# %% tags=["nbval-ignore-output"]
fig, ax = plt.subplots(figsize=(7.5, 4))
ax.plot(lengths, anew_ms, "o-", label="without a cache")
ax.plot(lengths, cached_ms, "o-", label="with the cache")
ax.set(xlabel="number of the token", ylabel="milliseconds", title="Time for one more token, batch of 4")
ax.legend()
plt.show()

# %% [markdown]
# Times differ from machine to machine. On a CPU the ratios are large enough to assert. (On a GPU they were not
# measured.)

# %%
if device.type == "cpu":
    assert anew_ms[-1] > 5 * anew_ms[0] and anew_ms[-1] > 5 * cached_ms[-1]
    assert cached_ms[-1] - cached_ms[0] < (anew_ms[-1] - anew_ms[0]) / 5
    print("token 512 without a cache: over 5 times token 1, and over 5 times the cached step")

# %% [markdown]
# See one line rise and the other stay almost flat: attending to 512 keys costs little beside projecting 512 rows. A
# sentence of $n$ tokens costs about $n$ steps with a cache, and about $n^2/2$ rows of work without.
#
# **And memory?** Each layer keeps keys and values, $d_\text{model}$ numbers each, for every target position and every
# source position. In bytes, at 4 a number:
#
# $$2 \cdot N \cdot (T + S) \cdot d_\text{model} \cdot B \cdot 4$$

# %%
def cache_bytes(config, T, S, B):
    return 2 * config.num_layers * (T + S) * config.d_model * B * 4


held = sum(t.numel() * t.element_size() for layer in state["layers"] for t in layer)
by_formula = cache_bytes(long_config, 512, long_source.size(1), 4)
print(f"by formula {by_formula:,} bytes, held {held:,} bytes")
assert held == by_formula
base_bytes = cache_bytes(TransformerConfig.base(), 512, 512, 1)
print(f"the base model, 512 + 512 tokens: {base_bytes / 2**20:.0f} MiB a sentence")

# %% [markdown]
# Every step has to read all of it, and that, not arithmetic, is what limits large models when they write (Shazeer 2019,
# section 2.4, and the remedy, one key and value for all heads).
#
# **Remember: under a causal mask the past does not change, so its keys and values need to be computed once.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.12 Instruments
#
# **What goes on inside the trained model?** `model.inspect(source, target)` runs it once and returns, besides the
# logits, the attention weights of every layer, the feed-forward networks' hidden units after the ReLU, and the
# **residual stream**: the vector of each position after the embedding and after each layer.

# %%
source, target = (ids[:300] for ids in data["test"])
with torch.no_grad():
    inside = model.inspect(source, target[:, :-1])
for name in ("attention", "activations", "stream"):
    shapes = {kind: tuple(tensors[0].shape) for kind, tensors in getattr(inside, name).items()}
    print(f"{name:12}{shapes}")

# %% [markdown]
# ### Does cross-attention align words?
#
# Chapter 2 found attention weights that come much closer to the alignment than the diagonal does. Here are $2 \cdot 4$
# heads of cross-attention. One care is needed. The decoder's position $j$ reads target word $j - 1$
# (position 0 reads `<BOS>`) and *predicts* word $j$. So row $j$ of the weights belongs to the word that is predicted.
# Compare with the other reading, row $j + 1$ for word $j$, too: the row that has just *read* the word.

# %%
gold = corpus["test"].alignment[:300]
lengths = [
    (len(a.split()), len(b.split())) for a, b in zip(corpus["test"].source[:300], corpus["test"].target)
]
diagonal = [translation.diagonal_alignment(s, t) for s, t in lengths]
diagonal_error = translation.error_rate(diagonal, gold)
print(f"guessing the diagonal: {diagonal_error:.3f} (0 is perfect)")

# %% [markdown]
# Every head gets a rate of its own: a dictionary from (layer, head), counted from 1.

# %%
def error_of_heads(cross, shift):
    return {
        (layer + 1, head + 1): translation.alignment_error_rate(weights[:, head, shift:], gold, lengths)
        for layer, weights in enumerate(cross)
        for head in range(weights.size(1))
    }

# %% [markdown]
# Both readings.

# %% tags=["nbval-ignore-output"]
predicting, reading = (error_of_heads(inside.attention["cross"], shift) for shift in (0, 1))
print("layer  head   row that predicts   row that has read")
for (layer, head), rate in predicting.items():
    print(f"{layer:5}{head:6}{rate:20.3f}{reading[layer, head]:20.3f}")

# %% [markdown]
# Beside them the mean over the heads of the second layer, and the recurrent model's only set of weights.

# %% tags=["nbval-ignore-output"]
mean_of_heads = translation.alignment_error_rate(inside.attention["cross"][-1].mean(1), gold, lengths)
rnn_weights = translation.forced_weights(rnn, source, target)
rnn_error = translation.alignment_error_rate(rnn_weights, gold, lengths)
best_predicting = min(predicting, key=predicting.get)
print(f"mean over the heads of layer 2: {mean_of_heads:.3f}; GRU + concat: {rnn_error:.3f}")
print(f"best (layer, head): {best_predicting}, {predicting[best_predicting]:.3f}")

# %% [markdown]
# Read the numbers. In layer 2 all four heads point at the source of the word that is about to be written, far better than
# the diagonal; in layer 1 at most one does. The row that has just *read* a word tells little. And the mean over the
# heads of layer 2 is better than any single head: an alignment need not lie in one of them. The recurrent model has one
# set of attention weights, and in this run they come closer still: compare the last numbers.

# %%
assert min(predicting.values()) < diagonal_error - 0.2 and best_predicting[0] == 2
assert min(predicting.values()) < min(reading.values())
assert mean_of_heads < min(predicting.values())
print("best head: layer 2, far better than the diagonal; the mean of its layer: better still")

# %% [markdown]
# The best of the heads on one sentence, with a dot at every gold link.

# %% tags=["nbval-ignore-output"]
example = next(i for i in range(300) if 8 <= lengths[i][0] <= 9)
layer, head = best_predicting
S, T = lengths[example]
weights = inside.attention["cross"][layer - 1][example, head - 1, :T, :S]
english_words = corpus["test"].source[example].split()
romaji_words = [romaji[t] for t in corpus["test"].target[example].split()]
print(" ".join(english_words), "→", " ".join(romaji_words))

# %% [markdown]
# Draw it.

# %% tags=["nbval-ignore-output"]
title = f"Cross-attention, layer {layer}, head {head}, and gold links"
ax = plots.attention_heatmap(weights, romaji_words, english_words, title)
links = [(i + 0.5, j + 0.5) for i, j in gold[example]]
ax.plot(*zip(*links), "o", color="white", markeredgecolor="black")
plt.show()
at_end = inside.attention["cross"][layer - 1][example, head - 1, T - 1, S]
print(f"the row of the last word gives <EOS>, which has no column here, {at_end:.2f}")

# %% [markdown]
# See the rows, each labelled with the word that is being written: the content words look at their dots. Particles such as
# "na" and "wa" look elsewhere, and the number printed says where the row of the full stop looks.

# %% [markdown]
# **And all of it at once.** BertViz's model view (Vig 2019) draws every head of both layers; the menu chooses encoder,
# decoder or cross-attention, a click enlarges a head. Where it does not show (GitHub runs no scripts), the picture below
# has the cross-attention.

# %% tags=["nbval-ignore-output"]
def of_example(kind, rows, columns):
    return [weights[example : example + 1, :, :rows, :columns] for weights in inside.attention[kind]]


print(tuple(of_example("cross", T, S)[0].shape), "= (1, heads, T, S)")

# %% [markdown]
# The view:

# %% tags=["nbval-ignore-output"]
view = {
    "encoder_attention": of_example("encoder", S, S), "decoder_attention": of_example("decoder", T, T),
    "cross_attention": of_example("cross", T, S), "encoder_tokens": english_words,
    "decoder_tokens": ["<BOS>", *romaji_words[:-1]],
}  # fmt: skip
bertviz_views.model_view(**view, display_mode="light")

# %% [markdown]
# The same cross-attention as a static picture.

# %% tags=["nbval-ignore-output"]
title = "Cross-attention of every head; rows are labelled by the token read"
plots.head_grid(view["cross_attention"], view["decoder_tokens"], english_words, title, size=3.2)
plt.show()

# %% [markdown]
# See the heads of layer 2 agree where a content word is about to be written, and those of layer 1 differ. Mind the
# labels: here each row carries the word just read, so it belongs to the label below it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### How large is the stream?
#
# In pre-norm each layer *adds* to the stream and nothing makes it smaller. In post-norm every sum is normalised. Measure
# the root of the mean square after each layer: of the trained model, and of fresh ones with six layers.

# %% tags=["nbval-ignore-output"]
def sizes_of_stream(model, kind):
    with torch.no_grad():
        stream = model.inspect(source[:50], target[:50, :-1]).stream[kind]
    at_words = (source[:50] if kind == "encoder" else target[:50, :-1]) != PAD
    return [x[at_words].square().mean().sqrt().item() for x in stream]


print([round(value, 2) for value in sizes_of_stream(model, "decoder")], "in the trained model")

# %% [markdown]
# Now two fresh models with six layers, one for each norm order.

# %% tags=["nbval-ignore-output"]
def six_layers(norm_first, seed=0):
    seed_everything(seed)
    sizes = {"num_layers": 6, "norm_first": norm_first, "max_length": MAX_LENGTH, "tie_embeddings": True}
    return Transformer(TransformerConfig(len(english), len(japanese), 64, 4, 256, **sizes)).to(device)


fresh = {"pre-norm": six_layers(True), "post-norm": six_layers(False)}
streams = {name: sizes_of_stream(m, "decoder") for name, m in fresh.items()}
for name, values in {
    **streams,
    "trained, pre-norm, 2 layers": sizes_of_stream(model, "decoder"),
}.items():
    print(f"{name:28}", [round(v, 2) for v in values])

# %% [markdown]
# The two fresh models as a picture.

# %%
fig, ax = plt.subplots(figsize=(7.5, 3.8))
for name, values in streams.items():
    ax.plot(range(7), values, "o-", label=name)
title, label = "The residual stream of a fresh model", "after how many layers of the decoder"
ax.set(xlabel=label, ylabel="root mean square", title=title, ylim=(0, None))
ax.legend()
plt.show()
assert all(b > a for a, b in zip(streams["pre-norm"], streams["pre-norm"][1:]))
assert all(abs(v - 1) < 0.02 for v in streams["post-norm"][1:])

# %% [markdown]
# See pre-norm climb and post-norm stay at 1. In the fresh pre-norm model the last layer adds less, in proportion, than
# the first. Training changes that: in the trained model (printed above) each of the two layers about doubles the stream.

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### How large are the gradients?
#
# Xiong et al. (2020) explain the need for warm-up by the gradients at the start: in post-norm those near the output are
# large, in pre-norm they are smaller, the more so the more layers the model has. Measure it for six layers: the norm of
# the gradient of each decoder layer's feed-forward weights, on one batch, before any training, three seeds.

# %%
def gradients_by_layer(norm_first, seed):
    fresh = six_layers(norm_first, seed)
    total, number = plain_loss(fresh, *(ids[:64] for ids in data["train"]))
    (total / number).backward()
    return [layer.feed_forward[2].weight.grad.norm().item() for layer in fresh.decoder_layers]

# %% [markdown]
# For both norm orders, six layers of three seeds each:

# %% tags=["nbval-ignore-output"]
gradients = {
    name: list(zip(*[gradients_by_layer(norm_first, seed) for seed in range(3)]))
    for name, norm_first in (("pre-norm", True), ("post-norm", False))
}
last = {name: sum(values[-1]) / 3 for name, values in gradients.items()}
print({name: round(value, 3) for name, value in last.items()}, "in the last layer")

# %% [markdown]
# All six layers, as means over the seeds with their intervals.

# %%
curves = {name: [analysis.seed_interval(v) for v in values] for name, values in gradients.items()}
labels = "decoder layer", "norm of the gradient", "Gradients of a fresh model, 3 seeds"
plots.interval_curves(range(1, 7), curves, *labels, log="y")
plt.show()

# %% [markdown]
# Compare the last layer with the first, in the mean over the seeds:

# %%
growth = {name: sum(v[-1]) / sum(v[0]) for name, v in gradients.items()}
assert growth["post-norm"] > 2 > 1.5 > growth["pre-norm"] and last["post-norm"] > 1.5 * last["pre-norm"]
print("post-norm: the last layer's gradient is over twice the first's; pre-norm: it is not")

# %% [markdown]
# See post-norm's gradients grow towards the output; pre-norm's do not. For plain gradient descent that is trouble: a
# step that suits the first layers is too large for the last ones. But our runs use AdamW, which divides each gradient
# by its own recent size (chapter 2), and post-norm with 6 + 6 layers fell behind in section 4.9 although it had a
# warm-up. So the gradients go together with the trouble; that they cause it is not shown here.

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Do units die?
#
# A hidden unit whose ReLU gives 0 for every input passes no gradient: it is **dead**, and stays so unless something
# before it changes. Count the units of the small model that are 0 at every token of 300 dev sentences, over 40 steps of
# training, under two initialisations: PyTorch's own, and one whose hidden biases all begin at -2.

# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def dead_share(model):
    active = model.inspect(dev_300[0], dev_300[1][:, :-1]).activations
    dead = [
        (x.flatten(0, 1) == 0).all(dim=0) for layers in active.values() for x in layers
    ]  # (d_ff,) a layer
    return torch.cat(dead).float().mean().item()


print(f"dead units of the trained model: {100 * dead_share(model):.0f} %")

# %% [markdown]
# The second initialisation:

# %% tags=["nbval-ignore-output"]
def with_biases(model, bias):
    for layer in (*model.encoder_layers, *model.decoder_layers):
        if bias is not None:
            nn.init.constant_(layer.feed_forward[0].bias, bias)
    return model


print(f"dead at the start: {100 * dead_share(with_biases(fresh_model(0), -2.0)):.0f} %")

# %% [markdown]
# The loop is the one inside `fit`, cut down to what is needed.

# %%
def watch_units(bias, seed, steps=40, every=10):
    model = with_biases(fresh_model(seed), bias)
    optimizer, shares = torch.optim.AdamW(model.parameters(), lr=1e-2), [dead_share(model)]
    for step in range(steps):
        rows = torch.randint(len(small_train[0]), (64,))
        total, number = plain_loss(model, *(ids[rows.to(device)] for ids in small_train))
        optimizer.zero_grad()
        (total / number).backward()
        optimizer.step()
        if (step + 1) % every == 0:
            shares.append(dead_share(model))
    return shares

# %% [markdown]
# Three seeds each.

# %% tags=["nbval-ignore-output"]
dead = {
    name: list(zip(*[watch_units(bias, seed) for seed in range(3)]))
    for name, bias in (("PyTorch's initialisation", None), ("all biases -2", -2.0))
}
print({name: [f"{100 * sum(v) / 3:.1f}" for v in values] for name, values in dead.items()})

# %% [markdown]
# The curves, with their intervals:

# %% tags=["nbval-ignore-output"]
curves = {
    name: [analysis.seed_interval(100 * torch.tensor(v)) for v in values]
    for name, values in dead.items()
}
plots.interval_curves(
    range(0, 41, 10), curves, "step", "dead units, %", "Dead units over training, 3 seeds"
)
plt.show()

# %% [markdown]
# What the text below says, as assertions with room for other seeds:

# %%
means = {name: [sum(v) / 3 for v in values] for name, values in dead.items()}
assert max(means["PyTorch's initialisation"]) < 0.1 and means["PyTorch's initialisation"][-1] < 0.03
assert means["all biases -2"][0] > 0.8 and means["all biases -2"][-1] > 0.5
print("dead: with PyTorch's initialisation under 3 % at the end, with biases of -2 over 50 %")

# %% [markdown]
# See the two curves. With PyTorch's initialisation practically every unit is used by some token; a few fall silent in the
# first steps, which have no warm-up here, and come back. With biases of -2 nine units in ten begin dead. A dead unit gets
# no gradient itself. Only what comes before it learns, and so few come back to life: a bad start lasts.
#
# **Remember: an instrument answers a question that you asked before you looked. Ask which row, which head, which seed.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.13 Bug clinic
#
# Eight bugs. Every one of them runs. Find each before you open the fold, and then look at the test that exposes it. The
# first you know: **the shared attention module**, found by counting (4.5), its cost measured (4.9).
#
# ### Bug 2: a loss that improves when you pad

# %% tags=["nbval-ignore-output"]
def careless_loss(logits, targets):
    log_p = logits.log_softmax(-1)
    each = -log_p.gather(2, targets.unsqueeze(2)).squeeze(2)  # (B, T)
    return (each * (targets != PAD)).mean()


target = data["dev"][1][:64]
with torch.no_grad():
    logits = model(data["dev"][0][:64], target[:, :-1])
print(f"{careless_loss(logits, target[:, 1:]):.4f}")

# %% [markdown]
# <details><summary>The bug</summary>
#
# The padded positions add nothing to the sum, but `mean` divides by them too. The loss depends on how much padding the
# batch happens to have.
#
# </details>
#
# The test: append columns of padding. Nothing may change.

# %%
def mean_loss(logits, targets):
    total, number = token_loss(logits, targets, PAD)
    return total / number


wider = (F.pad(logits, (0, 0, 0, 10)), F.pad(target[:, 1:], (0, 10), value=PAD))
for loss in (careless_loss, mean_loss):
    narrow, wide = loss(logits, target[:, 1:]), loss(*wider)
    print(f"{loss.__name__:13} the same with ten more columns: {bool((narrow - wide).abs() < 1e-6)}")
    assert ((narrow - wide).abs() < 1e-6) == (loss is mean_loss)

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 3: too good, and useless

# %%
def wonderful_loss(model, source, target):
    logits = model(source, target)
    return token_loss(logits, target, PAD)


seed_everything(0)
copier = Transformer(SMALL).to(device)
fit(copier, small_train, dev_300, wonderful_loss, epochs=3, lr=1e-2, batch_size=64, progress=False)
print("dev loss below 0.2:", evaluate(copier, dev_300, wonderful_loss) < 0.2)

# %% [markdown]
# <details><summary>The bug</summary>
#
# The targets are not shifted. Position $j$ reads token $j$ and is asked for token $j$. The mask is right, and `find_leak`
# finds nothing, because the answer comes in through the front door. The decoder sees the token that it should predict.
#
# </details>
#
# Two tests. Let it write, from its own tokens. And ask for a loss on the shifted target.

# %%
assert evaluate(copier, dev_300, wonderful_loss) < 0.2
assert analysis.find_leak(lambda t: copier(dev_300[0][:1].expand(len(t), -1), t), dev_300[1][:5]) is None
translations = [japanese.decode(row) for row in copier.generate(dev_300[0][:100])]
print(f"right translations: {translation.exact_match(translations, corpus['dev'].target[:100]):.2f}")
assert translation.exact_match(translations, corpus["dev"].target[:100]) == 0
assert evaluate(copier, dev_300, plain_loss) > 3

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 4: a layer norm for most occasions

# %%
def careless_norm(x, eps=1e-5):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (x.var(dim=-1, unbiased=False, keepdim=True).sqrt() + eps)


seed_everything(0)
x = torch.randn(3, 64)
print(
    f"largest difference to F.layer_norm: {(careless_norm(x) - F.layer_norm(x, (64,))).abs().max():.4f}"
)

# %% [markdown]
# <details><summary>The bug</summary>
#
# The epsilon is outside the root: $\sqrt{\sigma^2} + \epsilon$ in place of $\sqrt{\sigma^2 + \epsilon}$. For inputs of
# ordinary size nobody sees it. For quiet ones it matters: with $\sigma = 0.001$ the right version divides by
# $\sqrt{10^{-6} + 10^{-5}} \approx 0.0033$, the careless one by $0.00101$. And at $\sigma = 0$ the gradient of the root is
# infinite: NaN.
#
# </details>
#
# The test: a quiet input, and the gradient of a constant one.

# %%
def theirs(x):
    return F.layer_norm(x, (64,))


for norm in (careless_norm, theirs):
    quiet, constant = norm(0.001 * x).std(), torch.ones(1, 64, requires_grad=True)
    norm(constant).square().sum().backward()
    print(
        f"{norm.__name__:13} a quiet input comes out with {quiet:.2f}; "
        f"gradient finite: {bool(constant.grad.isfinite().all())}"
    )
    assert (quiet > 0.9) == (norm is careless_norm) == (not constant.grad.isfinite().all())

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 5: two masks are added

# %%
lowest = torch.finfo(torch.float32).min
causal = torch.zeros(3, 3).masked_fill(~causal_mask(3), lowest)
padding = torch.tensor([lowest, lowest, 0.0])  # padded on the left: two tokens of padding, one word
both = causal + padding
print((torch.zeros(3, 3) + both).softmax(dim=-1))

# %% [markdown]
# <details><summary>The bug</summary>
#
# `lowest` was chosen to avoid $-\infty$. But lowest + lowest *is* $-\infty$. Look at the first row. Key 0 is padding, key 2
# is the future: each is blocked by one mask, and holds lowest. Key 1 is both, and holds $-\infty$. The softmax sees two
# equal scores and shares the weight between a padded key and the future: a leak. With $-\infty$ in both masks the row is
# NaN.
#
# </details>
#
# The test: a row that may see nothing must give weights of 0, and no key that is blocked may get any. Combine masks as
# booleans, with `&`.

# %%
allowed = causal_mask(3) & (padding == 0)
with_infinity = torch.where(causal < 0, -torch.inf, 0.0) + torch.where(padding < 0, -torch.inf, 0.0)
x = torch.ones(1, 3, 4)
right_weights = MultiHeadAttention(4, 1)(x, x, x, allowed)[1][0, 0]  # (B, H, T, T) → (T, T)
print("added, lowest:", both.softmax(-1)[0].tolist())
print("added, -inf:  ", with_infinity.softmax(-1)[0].tolist())
print("booleans:     ", right_weights[0].tolist())
assert (
    both.isinf().any()
    and both.softmax(-1)[0, 2] == 0.5
    and with_infinity.softmax(-1)[0].isnan().all()
)
assert (right_weights[~allowed] == 0).all()

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 6: decoding that grows and grows

# %%
@torch.no_grad()
def careless_greedy(model, source, steps):
    tokens = torch.full((len(source), 1), Vocabulary.bos_id, device=source.device)
    shapes = [tuple(tokens.shape)]
    for _ in range(steps):
        best = model(source, tokens).argmax(dim=-1)
        tokens = torch.cat([tokens, best], dim=1)
        shapes.append(tuple(tokens.shape))
        if (best[:, -1] == Vocabulary.eos_id).all():
            break
    return tokens, shapes


tokens, shapes = careless_greedy(model, data["dev"][0][:2], 4)
print(shapes)

# %% [markdown]
# <details><summary>The bug</summary>
#
# Two of them. `argmax` gives the next token of *every* position, (B, t), and all of them are appended: the length
# doubles. Only the last position's is wanted. And it stops only if all rows write `<EOS>` at the same step; a row that
# ended earlier goes on writing, and so it may never happen.
#
# </details>
#
# Two tests. Each step adds one column. And each row has nothing but padding after its end.

# %%
added = [b[1] - a[1] for a, b in zip(shapes, shapes[1:])]
print("columns added by the careless loop:", added)
assert added != [1] * len(added)

# %% [markdown]
# The second test needs a loop that has only the second bug: it appends the last position's token, and forgets who has
# ended.

# %%
@torch.no_grad()
def half_repaired(model, source, steps):
    tokens = torch.full((len(source), 1), Vocabulary.bos_id, device=source.device)
    for _ in range(steps):
        best = model(source, tokens)[:, -1].argmax(dim=-1)  # (B, t, V) → (B, V) → (B,)
        tokens = torch.cat([tokens, best.unsqueeze(1)], dim=1)  # (B, t), (B, 1) → (B, t + 1)
        if (best == Vocabulary.eos_id).all():
            break
    return tokens[:, 1:]


def quiet_after_end(tokens):
    is_end = tokens == Vocabulary.eos_id
    behind = is_end.cumsum(dim=1) > is_end.long()  # (B, T): after the row's first <EOS>
    return bool((tokens[behind] == PAD).all())

# %% [markdown]
# On forty sentences, which end at different steps:

# %%
for loop in (half_repaired, greedy):
    quiet = quiet_after_end(loop(model, data["dev"][0][:40], MAX_LENGTH - 1))
    print(f"{loop.__name__:13} nothing but padding after the end: {quiet}")
    assert quiet == (loop is greedy)

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 7: the same question, another answer
#
# A model with dropout 0.1 was trained, and now it translates. (Here: the trained model with dropout switched in.)

# %%
def after_training(model):
    dropped = copy.deepcopy(model)
    for module in dropped.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.1
    dropped.train()  # as training left it
    return dropped


dropped, questions = after_training(model), data["dev"][0][:100]
first, second = (greedy(dropped, questions, MAX_LENGTH - 1) for _ in range(2))
print("the same translations twice:", first.shape == second.shape and torch.equal(first, second))

# %% [markdown]
# <details><summary>The bug</summary>
#
# `eval()` was forgotten: dropout is still at work while the model writes. (`generate` of the helpers switches it off by
# itself and puts the mode back.)
#
# </details>
#
# The test: ask twice. And the cost, in exact matches:

# %%
def right_share(model):
    texts = [japanese.decode(row) for row in greedy(model, questions, MAX_LENGTH - 1)]
    return translation.exact_match(texts, corpus["dev"].target[:100])


forgotten, remembered = right_share(dropped), right_share(dropped.eval())
print("eval() forgotten costs at least 5 points:", remembered - forgotten >= 0.05)
assert remembered - forgotten >= 0.05 and remembered == right_share(dropped)

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 8: smoothing the padding
#
# Label smoothing, written as target distributions.

# %% tags=["nbval-ignore-output"]
def careless_smoothing(logits, targets, smoothing=0.1):
    wanted = torch.full_like(logits, smoothing / logits.size(-1))  # (B, T, V)
    wanted.scatter_add_(2, targets.unsqueeze(2), torch.full_like(wanted[..., :1], 1 - smoothing))
    each = -(wanted * logits.log_softmax(-1)).sum(-1)  # (B, T)
    return each.sum() / (targets != PAD).sum()


print(tuple(logits.shape), f"{careless_smoothing(logits, target[:, 1:]):.2f}")

# %% [markdown]
# <details><summary>The bug</summary>
#
# The padded positions have a target too: 0.9 for `<PAD>`, and the rest spread. `ignore_index` left them out for you; a
# loss written as distributions has to do it itself. Here padding is in the sum, while the division is by the number of
# real tokens.
#
# </details>
#
# The test is that of bug 2, and equality with PyTorch's. A finer point: by this definition the *class* `<PAD>` gets
# $\varepsilon / V$ at every real position, as in PyTorch. With 268 symbols that is nothing. With five symbols it is 2
# per cent, and a sampled text of 30 tokens would contain padding in almost every second case; `generate` never writes
# it.

# %%
def right_smoothing(logits, targets):
    total, number = token_loss(logits, targets, PAD, label_smoothing=0.1)
    return total / number


for loss in (careless_smoothing, right_smoothing):
    moved = (loss(logits, target[:, 1:]) - loss(*wider)).abs() > 1e-4
    print(f"{loss.__name__:18} moves with ten more columns of padding: {bool(moved)}")
    assert moved == (loss is careless_smoothing)
expected = F.cross_entropy(
    logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD, label_smoothing=0.1
)
torch.testing.assert_close(right_smoothing(logits, target[:, 1:]), expected)
assert 1 - 0.98**30 > 0.45

# %% [markdown] slideshow={"slide_type": "skip"}
# ## 4.14 Exercises
#
# Write each function in its stub, run the cell, then run the check below it. A check prints ✓, or the smallest input on
# which your answer is wrong, and often what the mistake is. Any right answer counts, by whatever route. The solutions
# are in [a notebook of their own](solutions/04_full_transformer_solutions.ipynb).

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 1 · the schedule (warm-up, 5 minutes)
#
# Write `warmup_lr(step, d_model, warmup)`, the learning rate of Vaswani et al. 2017, section 5.3, equation 3:
#
# $$d_{\text{model}}^{-0.5} \cdot \min\left(\text{step}^{-0.5},\; \text{step} \cdot \text{warmup}^{-1.5}\right)$$
#
# Steps count from 1. The result is a number.
#
# In: `4, 4, 4` · out: `0.25`. In: `16, 4, 4` · out: `0.125`. In: `1, 4, 4` · out: `0.0625`.
#
# <details><summary>Hint</summary>
#
# The two branches meet where step = warmup. Before that the second is smaller, after it the first.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def warmup_lr(step, d_model, warmup):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.full_transformer import check_warmup_lr

check_warmup_lr(warmup_lr)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 2 · label smoothing (core, 15 minutes)
#
# Write `smoothed_loss(logits, target, smoothing, pad_id)`. `logits` is (B, T, V), `target` is (B, T) with the right
# ids, and places that hold `pad_id` are padding. Return one number: the mean loss over the real tokens.
#
# Several definitions go by this name. Take this one (Szegedy et al. 2016, section 7; PyTorch's too): the target gives
# every one of the V classes, the right one and the padding class among them, `smoothing` / V. The right one gets the
# other `1 - smoothing` on top. The loss of a token is the cross-entropy with that target. Use tensor operations, so
# that gradients flow, and do it without `F.cross_entropy` (that is not checked).
#
# In: `logits = [[[0., 0., 0.6931]]]` (probabilities ¼, ¼, ½), `target = [[2]]`, smoothing 0.3 · out:
# $-0.8 \ln \frac12 - 0.1 \ln \frac14 - 0.1 \ln \frac14 = 0.8318$.
#
# <details><summary>Hint</summary>
#
# `log_softmax` once. Of each token you need two numbers: the log-probability of the right class (`gather`), and the
# mean log-probability of all classes. Pick the real tokens before you take the mean.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def smoothed_loss(logits, target, smoothing, pad_id):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.full_transformer import check_smoothed_loss

check_smoothed_loss(smoothed_loss)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 3 · one decoder layer (core, 20 minutes)
#
# Write `decoder_layer(x, memory, layer, self_mask, memory_mask)`. `x` is (B, T, d_model), what the decoder has so far;
# `memory` is (B, S, d_model), the encoder's output. The parts come in `layer`:
#
# - `layer.self_attention(query, key, value, mask)` and `layer.cross_attention(...)` return `(output, weights)`, like
#   `helpers.attention.MultiHeadAttention`;
# - `layer.feed_forward(x)`, and the layer norms `layer.norm_1`, `layer.norm_2`, `layer.norm_3`, in the order of the
#   sublayers;
# - `layer.norm_first`: `True` is pre-norm, `False` is post-norm.
#
# Return (B, T, d_model). A mask may be `None`. There is no dropout. Use tensor operations, so that gradients flow.
#
# Example, one token and one source token, so that each attention returns its values times a number: `x` is 1, `memory`
# is 10, self-attention doubles, cross-attention triples, the feed-forward network multiplies by 5, the norms double.
# Pre-norm: $1 + 2 \cdot 2 = 5$, then $5 + 3 \cdot 10 = 35$, then $35 + 5 \cdot 70 = 385$ · out: 385.
#
# <details><summary>Hint</summary>
#
# Three sublayers, each inside a residual connection. In cross-attention only the queries come from `x`; `memory` goes
# in as it is.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def decoder_layer(x, memory, layer, self_mask, memory_mask):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.full_transformer import check_decoder_layer

check_decoder_layer(decoder_layer)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 4 · greedy decoding (core, 20 minutes)
#
# Write `greedy(next_logits, batch_size, max_length, bos_id, eos_id, pad_id)`. `next_logits(tokens)` is the model: it
# reads all prefixes, (B, t), each beginning with `bos_id`, and returns the logits (B, V) of the token that comes next.
# It always wants all B rows.
#
# Start with one `bos_id` a row and append the likeliest token, again and again. A row that has written `eos_id` gets
# `pad_id` from then on, whatever the model says. Stop when every row has ended, and at `max_length` tokens. Return the
# tokens (B, T) without the `bos_id`; T is at most `max_length`.
#
# In: a model that writes `5, <EOS>, 7, 7` into the first row and `4, 6, 4, <EOS>` into the second, with `<EOS>` = 2 and
# `<PAD>` = 0 · out: `[[5, 2, 0, 0], [4, 6, 4, 2]]`.
#
# <details><summary>Hint</summary>
#
# Keep a boolean (B,) that says which rows have ended, and never set it back. Append first, then ask whether all have
# ended: the last `<EOS>` belongs to the result.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def greedy(next_logits, batch_size, max_length, bos_id, eos_id, pad_id):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.transformer_decoding import check_greedy

check_greedy(greedy)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 5 · top-k filtering (warm-up, 5 minutes)
#
# Write `top_k_filter(logits, k)`. In each row of `logits`, (B, V), the `k` largest stay as they are and all others
# become $-\infty$. Do not change the tensor that comes in. Where logits at the border are equal, you may keep just
# enough of them or all of them.
#
# In: `[[1., 3., 2.]]`, `k = 2` · out: `[[-inf, 3., 2.]]`.
#
# <details><summary>Hint</summary>
#
# `logits.topk(k, dim=-1)` returns values and places, sorted. The last of the values is the limit.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def top_k_filter(logits, k):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.transformer_decoding import check_top_k_filter

check_top_k_filter(top_k_filter)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6 · one step with a cache (core, 20 minutes)
#
# Write `cached_step(x, cache, w_q, w_k, w_v, num_heads)`: causal self-attention for the newest token alone. `x` is (B,
# 1, d_model). `cache` is `None` at the first token, and then a pair: the keys and the values of all earlier tokens, (B,
# H, t, D) each. The matrices are (d_model, d_model) in the paper's layout: the query is `x @ w_q`. There are no biases
# and no output projection.
#
# Return the output, (B, 1, d_model), and the new cache, a pair of (B, H, t + 1, D). The output is the last row of what
# causal attention over all t + 1 tokens returns. Leave the old cache as it is: a beam may still need it.
#
# In: `x = [[[0.]]]`, a cache with the key 2 and the value 4, all matrices 1, one head · out: `[[[2.]]]` and a cache
# with the keys 2, 0 and the values 4, 0. (The query is 0, so both scores are 0, and the output is the mean of 4 and 0.)
#
# <details><summary>Hint</summary>
#
# Project, split into heads, append along the axis of the positions, attend, join. Do you need a mask? Ask which keys
# the newest token may see.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def cached_step(x, cache, w_q, w_k, w_v, num_heads):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.transformer_decoding import check_cached_step

check_cached_step(cached_step)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 7 · beam search (stretch, 40 minutes)
#
# Write `beam_search(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty)` for one sentence.
# `next_log_probs(prefixes)` is the model: it reads any number of prefixes of the same length, (n, t), each beginning
# with `bos_id`, and returns the log-probabilities (n, V) of the token that comes next.
#
# A *hypothesis* is a list of tokens with the sum of their log-probabilities. It is finished when it ends in `eos_id`.
#
# 1. Begin with one empty hypothesis: only `bos_id`.
# 2. The candidates are the finished hypotheses, unchanged, and every unfinished one extended by each of the V tokens.
# 3. Keep the `beam_size` best candidates by $\log P \,/\, ((5 + n) / 6)^\alpha$, where $n$ is the number of tokens
#    (`<EOS>` counted, `<BOS>` not) and $\alpha$ is `length_penalty` (Wu et al. 2016, equation 14).
# 4. Go on with step 2 until all hypotheses kept are finished or `max_length` tokens have been written.
#
# Return the best hypothesis kept, finished or not, as a list of ids without `bos_id`.
#
# Example: the first token is a (0.6) or b (0.4). After a comes `<EOS>` (0.4), a (0.3) or b (0.3); after b comes `<EOS>`
# (0.9). With `beam_size` 1 and without a penalty · out: a, `<EOS>`, of probability 0.6 · 0.4 = 0.24. With `beam_size` 2
# · out: b, `<EOS>`, of probability 0.4 · 0.9 = 0.36.
#
# <details><summary>Hint</summary>
#
# Python's own lists will do: `(tokens, log_probability)` pairs, `sorted(candidates, key=...,
# reverse=True)[:beam_size]`. All unfinished hypotheses have the same length, so one `torch.tensor` holds them. The
# children of all hypotheses compete together: a good one may have two of them in the next beam, a bad one none.
#
# </details>


# %% slideshow={"slide_type": "skip"}
def beam_search(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.transformer_decoding import check_beam_search

check_beam_search(beam_search)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What you now know
#
# - The Transformer is two stacks of residual sublayers. Each piece you built equals PyTorch's, and so does the whole.
# - An exact parameter count is a test: it convicted a shared module that shapes and gradients had let pass, before any
#   training.
# - Masks belong to keys, losses to real tokens, and a smoothed loss has a floor.
# - Comparisons need equal size, equal data and several seeds. At this size no effect of warm-up could be shown, and a
#   recurrent model translates the test set as well.
# - Under a causal mask the past does not change. That is all there is to the key-value cache.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## The chapter in one line
#
# The headline of this chapter, measured in section 4.8 on one seed:

# %% tags=["headline", "nbval-ignore-output"] slideshow={"slide_type": "skip"}
print(
    "exact match: "
    + ", ".join(f"{name} {100 * results['Transformer', name][0]:.1f} %" for name in SETS)
    + f"; BLEU on test {results['Transformer', 'test'][1]:.1f}"
)

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Glossary
#
# - **memory**: the encoder's output, what cross-attention takes its keys and values from.
# - **residual connection**: what goes into a sublayer is added to what comes out. **residual stream**: the vector of a
#   position as it passes through these sums.
# - **post-norm, pre-norm**: the layer norm behind the sum (the paper), or before the sublayer.
# - **weight tying**: the embedding and the output layer are one matrix.
# - **logit**: a number for each symbol, before the softmax.
# - **label smoothing**: the target distribution gives the right token $1 - \varepsilon + \varepsilon / V$ and each other
#   $\varepsilon / V$. **floor**: the lowest loss that a smoothed target allows, its entropy.
# - **warm-up**: the learning rate rises from almost 0 in the first steps.
# - **exact match**: share of translations that are right word for word.
# - **greedy decoding, sampling, temperature, top-k, beam search, length penalty**: ways from probabilities to a sentence
#   (4.10).
# - **key-value cache**: keys and values of earlier positions, kept while generating.
# - **dead unit**: a hidden unit whose ReLU gives 0 for every input.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - Vaswani et al. 2017, [*Attention Is All You Need*](https://arxiv.org/abs/1706.03762): sections 3.1 to 3.5 (the model),
#   5.1 (vocabulary), 5.3 (schedule, equation 3), 5.4 (dropout, label smoothing), 6.1 (beam), table 3 (counts).
# - He et al. 2016, *Deep Residual Learning for Image Recognition*: section 3, residual connections.
# - Ba et al. 2016, *Layer Normalization*: section 3.
# - Press and Wolf 2017, *Using the Output Embedding to Improve Language Models*: section 3, weight tying.
# - Szegedy et al. 2016, *Rethinking the Inception Architecture for Computer Vision*: section 7, label smoothing.
# - Xiong et al. 2020, *On Layer Normalization in the Transformer Architecture*: section 3, gradients at the start.
# - Smith and Topin 2018, *Super-Convergence*: the one-cycle schedule.
# - Wu et al. 2016, *Google's Neural Machine Translation System*: section 7, equation 14, length penalty.
# - Fan et al. 2018, *Hierarchical Neural Story Generation*: section 5.4, top-k sampling. Holtzman et al. 2020, *The
#   Curious Case of Neural Text Degeneration*: sections 2 and 3.
# - Shazeer 2019, *Fast Transformer Decoding: One Write-Head is All You Need*: section 2.4.
# - Vig 2019, *A Multiscale Visualization of Attention in the Transformer Model*: BertViz.
#
# Next: [chapter 5](05_miniformer_vs_fulltransformer.ipynb), where a loss is too good to be true.
