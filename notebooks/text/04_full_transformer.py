# %% [markdown] slideshow={"slide_type": "slide"}
# # 4. The full Transformer, from scratch
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/04_full_transformer.ipynb)
#
# You build the model of "Attention Is All You Need" (Vaswani et al. 2017; below just "the paper") piece by piece. You
# account for every parameter, and you check that it computes what PyTorch's computes. Then you teach it to translate,
# make it write fast, and look inside.

# %% [markdown]
# | | |
# |---|---|
# | **You will be able to** | build both kinds of layer and the whole model; find a bug from a parameter count; mask a batch of pairs; train with label smoothing; decode greedily, by sampling and with a beam; build a key-value cache; ask a trained model which head aligns words |
# | **Time** | a minute to a minute and a half to run on two CPU cores; 75 minutes to read; another two hours with the exercises |
# | **You need** | [chapter 1](01_attention_basics.ipynb) (attention, masks, positions), [chapter 2](02_seq2seq_attention.ipynb) (encoder and decoder, teacher forcing, BLEU, alignment error) and [chapter 3](03_multi_head_attention.ipynb) (multi-head attention) |

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
# `MultiHeadAttention` is the module that yours equalled in chapter 3: it is called with queries, keys, values and a mask,
# and its fifth argument says whether it returns the weights. `FeedForward` and `sinusoidal_encoding` come from chapter 1.
# With the finished versions of this chapter's classes, in `layers` and `transformer`, you compare yours.

# %% tags=["nbval-ignore-output"]
import statistics
import timeit
import warnings

from torch import nn
from torch.nn import functional as F

from helpers import analysis, diagrams, layers, model_diagrams, plots, transformer, translation
from helpers.attention import MultiHeadAttention, causal_mask, masked_softmax, padding_mask
from helpers.bertviz_views import head_views
from helpers.data import load_parallel
from helpers.layers import FeedForward, sinusoidal_encoding
from helpers.playground import play
from helpers.plots import show
from helpers.seq2seq import Seq2Seq
from helpers.text import Vocabulary
from helpers.training import evaluate, fit, fit_all, seed_everything, token_loss
from helpers.transformer import TransformerConfig

plots.use_style()
torch.set_num_threads(1)
warnings.filterwarnings("ignore", "enable_nested_tensor")  # nn.Transformer, about a fast path

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.1 The map
#
# **What are the parts, and what flows between them?** The **encoder** reads the source sentence, all of it at once. The
# **decoder** writes the target sentence, one token after the other, and looks at what the encoder has made of the source.
# Each is a stack of $N$ layers of one form, every one with its own weights. The blue numbers say which section builds
# what. The norms stand where you will train with them. The paper has them elsewhere (4.3).

# %% tags=["transformer-map"]
SECTIONS = {"tokens": "4.1", "embedding": "4.2", "encoder layer": "4.3", "decoder layer": "4.4"}
SECTIONS |= {"masks": "4.6", "final norm": "4.7", "output": "4.2", "decoding": "4.9"}
model_diagrams.transformer_map(SECTIONS)
show("Map: two stacks of layers; the encoder's output goes into every cross-attention.")

# %% [markdown]
# Follow the grey lines upwards. They are the **residual stream**: one vector for each token, to which every *sublayer*
# (an attention or a feed-forward network) adds. Three kinds of attention read it. In *self-attention* queries, keys and
# values come from one sequence. In *masked self-attention* no position sees what comes after it. In *cross-attention* the
# queries come from the decoder, keys and values from the encoder's output, the **memory**.
#
# In the comments on shapes, $B$ is the number of sentences in a batch, $S$ of source positions, $T$ of target positions
# and $V$ of symbols in a vocabulary. Between the embeddings and the output layer every arrow is `d_model` wide.

# %% [markdown] slideshow={"slide_type": "slide"}
# **What it will learn.** You know the corpus from chapter 2: English sentences with their Japanese translations and the
# right word alignment. *new* has combinations of words, and *patterns* has sentence patterns, that training does not
# have. The sentences of *longer* are longer than any in training.

# %%
corpus = load_parallel("en_ja")
english = Vocabulary.from_sentences(corpus["train"].source)
japanese = Vocabulary.from_sentences(corpus["train"].target)
for name, part in corpus.items():
    print(f"{len(part):6} {name:9} {part.source[0]}  →  {part.romaji[0]}")

# %% [markdown]
# Every split becomes two tensors of ids, padded with `<PAD>`. A target goes from `<BOS>` to `<EOS>`. A source ends in
# `<EOS>` too, but has no `<BOS>`, so that position $i$ of the source is word $i$.

# %%
PAD, BOS, EOS = Vocabulary.pad_id, Vocabulary.bos_id, Vocabulary.eos_id
MAX_LENGTH, data = 32, {}  # every sentence fits, and so does what the models write
for name, part in corpus.items():
    source = english.encode_batch(part.source, device)[:, 1:]
    data[name] = source, japanese.encode_batch(part.target, device)
    print(name, tuple(source.shape), tuple(data[name][1].shape))
    assert (source[:, 0] > EOS).all() and (data[name][1][:, 0] == BOS).all()
assert (data["longer"][0] != PAD).sum(1).min() > data["train"][0].size(1)

# %% [markdown]
# > **Remember.** Two stacks, three kinds of attention, and one arrow, the memory, from the first stack into every layer of
# > the second.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.2 From ids to vectors, and back
#
# **A word and its place must share one vector. Which of them is louder?** Chapter 1 added a *position encoding* to each
# word's **embedding** (its learned vector). The paper does one more thing, without giving a reason: it multiplies the
# embedding by $\sqrt{d_\text{model}}$ (section 3.4). Measure both signals at the paper's width, 512. The embedding starts
# with entries of standard deviation $1/\sqrt{d_\text{model}}$.

# %%
seed_everything(0)
words, positions = torch.randn(1000, 512) * 512**-0.5, sinusoidal_encoding(50, 512)
for name, signal in {"word": words, "word · √512": words * 512**0.5, "position": positions}.items():
    print(f"{name:12} root of the mean square: {signal.square().mean().sqrt():.3f}")

# %% [markdown]
# A position is always $\sqrt{1/2} \approx 0.71$ loud, because it is made of sines and cosines. A raw word is sixteen times
# quieter, a scaled one a little louder. Put every word at a random position, and ask for the word whose embedding is
# most like the sum.
#
# > **Predict first.** How often do you get the right word back, without the factor and with it? Decide, then go on.

# %% tags=["recovered"]
place = torch.randint(50, (1000,))


def recovered(scale):
    mixed = words * scale + positions[place]  # (1000, 512)
    guess = (mixed @ words.T).argmax(dim=1)  # the embedding with the largest dot product
    return (guess == torch.arange(1000)).float().mean().item()


without, with_it = recovered(1.0), recovered(512**0.5)
print(f"word recovered: {without:.0%} without the factor, {with_it:.0%} with it")
assert without < 0.1 and with_it > 0.99

# %% [markdown]
# Without the factor the position drowns the word. Then why do embeddings start so small? Because of the other end of the
# model. The **output layer** turns the decoder's vector $h$ into one **logit** for each symbol: the dot product of $h$
# with that symbol's row. After a layer norm the entries of $h$ have variance 1. So with entries of variance
# $1/d_\text{model}$ in a row, the $d_\text{model}$ products add up to a logit of variance 1, a good place to start. And the
# paper uses *the same matrix* at both ends.

# %% [markdown] slideshow={"slide_type": "slide"}
# **Weight tying** (Press and Wolf 2017): embedding and output layer are both of shape $(V, d_\text{model})$, one row a
# symbol, so let them be one parameter with two names. The gradients of both uses add up. First the embedding, with the
# paper's **dropout** on the sum (section 5.4: in training, numbers are set to 0 at random).

# %%
class TokenEmbedding(nn.Module):
    def __init__(self, vocab_size, d_model, dropout=0.0):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids, first=0):  # the first of the ids stands at position `first`
        x = self.embedding(ids) * self.embedding.embedding_dim**0.5  # (B, T) → (B, T, d_model)
        positions = sinusoidal_encoding(first + ids.size(1), x.size(-1))[first:]
        return self.dropout(x + positions.to(x))


# %% [markdown]
# Tying is one assignment. A parameter with two names counts once.

# %% tags=["tied"]
def count(module):
    return sum(p.numel() for p in module.parameters())


ends = nn.ModuleList([TokenEmbedding(37_000, 512), nn.Linear(512, 37_000, bias=False)])
before = count(ends)
ends[1].weight = ends[0].embedding.weight
print(f"{before:,} parameters, tied {count(ends):,}")
assert count(ends) == 37_000 * 512 == before // 2
h = F.layer_norm(torch.randn(20, 512), (512,))
assert abs(ends[1](h).var().item() - 1) < 0.05  # logits of variance 1

# %% [markdown]
# The paper's base model has about 37,000 symbols (section 5.1), so tying saves it 18,944,000 parameters. Its two languages
# share one vocabulary, so the source's embedding is the same matrix too, and as many are saved again. (Here only the
# target's two ends are tied.)

# %% [markdown]
# > **Remember.** Short rows make good logits, long rows make audible words. The factor $\sqrt{d_\text{model}}$ lets one
# > matrix be both.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.3 The encoder layer
#
# **What does a layer do to a vector?** It asks the other positions (self-attention), and then it works on the answer alone
# (the **feed-forward network**, the same at every position: to `d_ff` numbers, ReLU, and back; the paper's equation 2).
# Begin with nothing else: push ten random vectors through a stack of fresh ones. How large do they come out, and how
# alike are neighbours? (A cosine of 1 means the same direction.) Two controls run beside it: each sublayer alone.

# %% tags=["plain-stack", "nbval-ignore-output"]
def describe(x):
    alike = F.cosine_similarity(x[0, :-1], x[0, 1:], dim=-1).mean().item()
    return x.square().mean().sqrt().item(), alike


def plain_stack(attention, feed_forward, depth):
    seed_everything(0)
    x = torch.randn(1, 10, 64)
    for _ in range(depth):
        x = MultiHeadAttention(64, 4)(x, x, x)[0] if attention else x  # (B, S, d_model)
        x = FeedForward(64, 256)(x) if feed_forward else x  # the same shape
    return describe(x)


found = {}
for name, parts in {"both": (1, 1), "attention": (1, 0), "feed-forward": (0, 1)}.items():
    for depth in (2, 6):
        size, alike = found[name, depth] = plain_stack(*parts, depth)
        print(f"{name:13}{depth} layers: root mean square {size:.3f}, cosine {alike:.3f}")
assert max(found["both", 6][0], found["feed-forward", 2][0]) < 0.1 < 0.2 < found["attention", 6][0]
assert min(found["both", 6][1], found["feed-forward", 6][1]) > 0.9995
assert found["feed-forward", 2][1] < 0.9 < 0.98 < found["attention", 2][1]

# %% [markdown]
# Ten different vectors went in. After six layers neighbours point the same way, to three decimals, and are small. Attention
# makes them *alike*, within two layers: it averages, and averages of averages agree (Dong, Cordonnier and Loukas 2021 prove
# it for attention alone). The feed-forward network makes them *small*, within two layers, and after six alike as well.
#
# So keep them: **add** the input to each sublayer's output, a **residual connection** (He et al. 2016). And because sums
# grow, put in a **layer norm** (Ba et al. 2016). The paper puts it behind each sum, **post-norm**. Most models today put
# it in front of each sublayer, **pre-norm**.

# %% tags=["blocks"]
diagrams.blocks()
show("An encoder layer with norms before the sublayers, and one with norms after the sums.")

# %% [markdown]
# Yours can do both. What both kinds of layer need stands in a class of its own. Dropout acts on each sublayer's output, as
# in the paper's section 5.4.

# %% tags=["encoder-layer"]
class Layer(nn.Module):
    def __init__(self, dropout, norm_first):
        super().__init__()
        self.dropout, self.norm_first = nn.Dropout(dropout), norm_first

    def around(self, sublayer, norm, x):
        if self.norm_first:
            return x + self.dropout(sublayer(norm(x)))  # pre-norm
        return norm(x + self.dropout(sublayer(x)))  # post-norm, the paper's


class EncoderLayer(Layer):
    def __init__(self, d_model, num_heads, d_ff, dropout=0.0, norm_first=True):
        super().__init__(dropout, norm_first)
        self.self_attention = MultiHeadAttention(d_model, num_heads)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.norm_1, self.norm_2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def forward(self, x, mask=None):
        x = self.around(lambda y: self.self_attention(y, y, y, mask, False)[0], self.norm_1, x)
        return self.around(self.feed_forward, self.norm_2, x)


seed_everything(0)
stack = [EncoderLayer(64, 4, 256) for _ in range(6)]
size, alike = describe(nn.Sequential(*stack)(torch.randn(1, 10, 64)))
print(f"six encoder layers: root mean square {size:.1f}, cosine {alike:.1f}")
assert alike < 0.9 and size > 1.3  # after six layers neighbours still differ, and the sums have grown
assert MultiHeadAttention(64, 4)(*torch.randn(3, 1, 10, 64), None, False)[1] is None  # no weights

# %% [markdown]
# (The `False` says that no weights are wanted.) Now neighbours differ after six layers, and are not small. You go on with
# pre-norm. Which order learns better is a question of [study 4](studies/04_from_2017_to_today.ipynb).

# %% [markdown]
# > **Remember.** Attention mixes positions, the feed-forward network works inside each, the residual connection keeps what
# > was there, and the norm keeps in range what a sublayer reads.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.4 The decoder layer
#
# **How does the decoder consult the source?** By one more attention. The drawing has the three kinds side by side, with one
# query in each. See where the keys and values of the third come from.

# %% tags=["three-attentions"]
model_diagrams.three_attentions(["the", "bear", "swims", "."], ["<BOS>", "kuma", "wa", "oyogi"])
show("Three attentions: in cross-attention the keys and values come from the source.")

# %% [markdown]
# So the decoder layer is an encoder layer that gets a causal mask, with a second attention between its two sublayers:

# %% tags=["decoder-layer"]
class DecoderLayer(Layer):
    def __init__(self, d_model, num_heads, d_ff, dropout=0.0, norm_first=True):
        super().__init__(dropout, norm_first)
        self.self_attention = MultiHeadAttention(d_model, num_heads)
        self.cross_attention = MultiHeadAttention(d_model, num_heads)  # new: a module of its own
        self.feed_forward = FeedForward(d_model, d_ff)
        self.norm_1, self.norm_2, self.norm_3 = (nn.LayerNorm(d_model) for _ in range(3))  # new: three

    def forward(self, x, memory, mask=None, memory_mask=None):
        def consult(y):  # new: (B, T, d_model) asks (B, S, d_model)
            return self.cross_attention(y, memory, memory, memory_mask, False)[0]

        x = self.around(lambda y: self.self_attention(y, y, y, mask, False)[0], self.norm_1, x)
        x = self.around(consult, self.norm_2, x)  # new
        return self.around(self.feed_forward, self.norm_3, x)


# %% [markdown] slideshow={"slide_type": "slide"}
# **Three-way agreement.** Your layer, the one of `helpers` and PyTorch's should compute the same from the same weights.
# `from_torch` makes a copy of PyTorch's layer whose parts have your names, so the weights go over *by name*. One trap: norms begin as ones
# and zeros, the biases of attention as zeros, all alike. `shake` makes them random, or a mix-up would not show. (PyTorch's
# masks say True for "blocked", hence the `~`. Encoder layers have their turn with the whole model, in 4.7.)

# %%
def shake(module):
    for parameter in module.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=1.0, std=0.3)
    return module.eval()


seed_everything(0)
y, x = torch.randn(2, 5, 16), torch.randn(2, 7, 16)  # T = 5, S = 7
real, past = torch.arange(7) < torch.tensor([[7], [4]]), causal_mask(5)  # (B, S), (T, T)
for norm_first in (True, False):
    theirs = shake(nn.TransformerDecoderLayer(16, 4, 32, 0.0, batch_first=True, norm_first=norm_first))
    helper = layers.DecoderLayer.from_torch(theirs)
    mine = DecoderLayer(16, 4, 32, norm_first=norm_first)
    mine.load_state_dict(helper.state_dict())
    output = mine(y, x, past, real.unsqueeze(1))  # masks (T, T) and (B, 1, S)
    expected = theirs(y, x, tgt_mask=~past, memory_key_padding_mask=~real)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(output, helper(y, x, past, real.unsqueeze(1))[0], atol=1e-5, rtol=0)
    print(f"norm_first={norm_first}: mine == helpers == nn.TransformerDecoderLayer", tuple(output.shape))

# %% [markdown]
# > **Remember.** A decoder layer is an encoder layer that may not look ahead, with a second attention whose keys and values
# > come from the source.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.5 Counting
#
# **Does your model have as many parameters as the paper's?** A count is the cheapest test there is: no data, no training.
# Table 3 of the paper says 65 million for the base model: $N = 6$, $d_\text{model} = 512$, 8 heads, $d_\text{ff} = 2048$,
# and "about 37000 tokens" (section 5.1). On the `meta` device a module has shapes but no numbers, so it costs no memory.

# %%
with torch.device("meta"):
    layer = DecoderLayer(512, 8, 2048)
    base = transformer.Transformer(TransformerConfig.base())
attention, feed_forward = count(layer.self_attention), count(layer.feed_forward)
norm, biases = count(layer.norm_1), 18 * 4 * 512
assert attention == 4 * (512 * 512 + 512)  # four matrices, four biases

# %% tags=["counting"]
table = {
    "embeddings and output, one matrix": (1, 37_000 * 512), "attention in the encoder": (6, attention),
    "self-attention in the decoder": (6, attention), "cross-attention in the decoder": (6, attention),
    "feed-forward networks": (12, feed_forward), "layer norms": (6 * 2 + 6 * 3, norm),
}  # fmt: skip
for name, (number, size) in table.items():
    print(f"{name:34} {number:3} × {size:10,} = {number * size:10,}")
total = sum(number * size for number, size in table.values())
print(f"{'total':34} {total:29,}\n{'of these, biases of attention':34} {biases:29,}")
assert total == count(base) == 63_082_496 and total - biases == 63_045_632

# %% [markdown] slideshow={"slide_type": "slide"}
# **The detective piece.** Somebody shows you an implementation, with biases like yours: 6 + 6 layers, width 512, 8 heads,
# `d_ff` 2048, 37,000 symbols, everything tied. It trains without an error. It reports **56,778,752** parameters: "about
# 57 million, close enough".
#
# > **Predict first.** Which part is missing? Take the difference, and ask which rows of the table, in what number, make
# > exactly that. Write your suspect down, then go on.

# %% [markdown]
# Meanwhile, be exact about what is ours. The paper's equations for attention have no biases. PyTorch's attention has, and
# so has ours: 36,864 numbers here. Without them, what the text describes has **63,045,632** parameters, and table 3 says
# 65 million. The text does not settle the rest.
#
# Now the suspects:

# %% tags=["detective"]
missing = total - 56_778_752
suspects = {
    "two encoder layers": 2 * (attention + feed_forward + 2 * norm),
    "three feed-forward networks": 3 * feed_forward, "six attention modules": 6 * attention,
}  # fmt: skip
for name, size in suspects.items():
    print(f"{name:28} {size:10,}  off by {size - missing:+,}")
    assert round((total - size) / 1e6) == 57
assert [name for name, size in suspects.items() if size == missing] == ["six attention modules"]

# %% [markdown]
# With one of the three gone you would report 57 million. The exact number leaves one suspect. How can six attention modules be
# gone, with all the layers in place? The count does not say which six. Make a mistake that loses six:

# %% tags=["one-module"]
with torch.device("meta"):
    stack = nn.ModuleList(DecoderLayer(512, 8, 2048) for _ in range(6))
for layer in stack:
    layer.cross_attention = layer.self_attention  # one module, used twice
layer(*torch.empty(2, 1, 9, 512, device="meta"))  # no error
print(f"{total - count(base.decoder_layers) + count(stack):,}")
assert total - count(base.decoder_layers) + count(stack) == 56_778_752

# %% [markdown]
# Every shape fits, so nothing raises an error. But "what do I look for in my own sentence?" and "what do I look for in the
# other language?" now have one answer.
#
# > **Remember.** Count exactly. A rounded count forgives what an exact one convicts.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.6 Masks for batches
#
# **Which mask goes where?** Sentences of a batch differ in length, on both sides. Here are two pairs. Padding, id 0,
# fills up the shorter ones. The target loses its last column, as in training (4.8).

# %%
source = english.encode_batch(["where is the monkey ?", "the bear swims ."])[:, 1:]
target = japanese.encode_batch(["猿 は どこ に い ます か 。", "熊 は 泳ぎ ます 。"])[:, :-1]
print(source, target, sep="\n")

# %% [markdown]
# Three attentions, three masks. The *keys'* sequence decides what is padding: in cross-attention these are the source's
# words, although the queries are the target's.
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
assert not target_mask[1, :, 7:].any() and target_mask[1, 8, :7].all()

# %% tags=["target-mask"]
roman_tokens = ["<BOS>", "kuma", "wa", "oyogi", "masu", ".", "<EOS>", "<PAD>", "<PAD>"]
ax = diagrams.canvas(864, 380, "The decoder's own mask for the second pair: filled = may look")
diagrams.grid(ax, 470, 140, target_mask[1], "mask", (28, 28), roman_tokens, roman_tokens, written=False)
show("A mask: everything above the diagonal is hidden, and the two columns of padding.")

# %% [markdown]
# See that padded *columns* are hidden, and that padded *rows* are left alone: what a padded query computes, the loss will
# ignore. What if you mix two masks up, and give cross-attention the target's? First with $S \neq T$, then where the two
# lengths agree:

# %%
S, T = source.size(1), target.size(1)
layer, x, memory = DecoderLayer(16, 4, 32), torch.randn(2, S, 16), torch.randn(2, S, 16)
try:
    layer(torch.randn(2, T, 16), memory, None, target_mask)
except ValueError as error:
    print(error)
right, wrong = (layer(x, memory, None, mask) for mask in (source_mask, target_mask[:, :S, :S]))
print("the same shape:", right.shape == wrong.shape, " close:", torch.allclose(right, wrong, atol=0.1))

# %% [markdown]
# With $S \neq T$ you get an error. With lengths that agree it runs, and hides the wrong words.
#
# > **Remember.** A mask belongs to the keys. Test with lengths that differ.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.7 The whole
#
# **Do the parts work together?** Assemble them. A `TransformerConfig` is a record of sizes. In pre-norm nothing has
# normalised the last sum, so each stack ends with one more norm. In post-norm it ends without one, unless `final_norm` says
# otherwise.

# %% tags=["transformer"]
class Transformer(nn.Module):
    pad_id = PAD

    def __init__(self, config):
        super().__init__()
        c = self.config = config
        self.source_embed = TokenEmbedding(c.source_vocab_size, c.d_model, c.dropout)
        self.target_embed = TokenEmbedding(c.target_vocab_size, c.d_model, c.dropout)
        sizes = (c.d_model, c.num_heads, c.d_ff, c.dropout, c.norm_first)
        self.encoder_layers = nn.ModuleList(EncoderLayer(*sizes) for _ in range(c.num_layers))
        self.decoder_layers = nn.ModuleList(DecoderLayer(*sizes) for _ in range(c.num_layers))
        final = c.norm_first if c.final_norm is None else c.final_norm
        norm = nn.LayerNorm if final else nn.Identity
        self.encoder_norm, self.decoder_norm = norm(c.d_model), norm(c.d_model)
        self.output = nn.Linear(c.d_model, c.target_vocab_size, bias=False)
        self.output.weight = self.target_embed.embedding.weight  # tied

    def encode(self, source):
        mask = padding_mask(source, PAD)  # (B, 1, S)
        x = self.source_embed(source)  # (B, S) → (B, S, d_model)
        for layer in self.encoder_layers:
            x = layer(x, mask)
        return self.encoder_norm(x)

    def decode(self, target, memory, memory_mask):
        mask = causal_mask(target.size(1), target.device) & padding_mask(target, PAD)  # (B, T, T)
        x = self.target_embed(target)  # (B, T) → (B, T, d_model)
        for layer in self.decoder_layers:
            x = layer(x, memory, mask, memory_mask)
        return self.output(self.decoder_norm(x))  # (B, T, d_model) → (B, T, V)

    def forward(self, source, target):
        return self.decode(target, self.encode(source), padding_mask(source, PAD))


# %% [markdown]
# Make a small one and compare it with the one in `helpers`. The parts have the same names, so the weights go over by name.

# %%
def config(**sizes):
    sizes = {"max_length": MAX_LENGTH, "tie_embeddings": True} | sizes
    return TransformerConfig(len(english), len(japanese), **sizes)


def finished(model):
    copy = transformer.Transformer(model.config).to(device)
    copy.load_state_dict(model.state_dict())
    return copy.eval()


source, target = source.to(device), target.to(device)
for norm_first in (False, True):
    seed_everything(0)
    small = Transformer(config(d_model=32, num_heads=4, d_ff=64, num_layers=2, norm_first=norm_first))
    small = small.to(device).eval()
    torch.testing.assert_close(small(source, target), finished(small)(source, target), atol=1e-5, rtol=0)
    print(f"{norm_first=}: mine == helpers.transformer.Transformer", tuple(small(source, target).shape))

# %% [markdown] slideshow={"slide_type": "slide"}
# **It equals `nn.Transformer`** in both norm orders. That has no embeddings and no output layer, so the vectors go in from
# outside, and the logits are made outside. It has a norm after each stack in both orders, so the copy has, too.

# %%
padded, at_words = source == PAD, target != PAD
ends = small.source_embed.embedding, small.target_embed.embedding, small.output
for norm_first in (True, False):
    seed_everything(0)
    theirs = nn.Transformer(32, 4, 2, 2, 64, 0.0, batch_first=True, norm_first=norm_first)
    helper = transformer.Transformer.from_torch(shake(theirs), *ends)
    mine = Transformer(helper.config)
    mine.load_state_dict(helper.state_dict())  # by name
    mine, theirs = mine.to(device).eval(), theirs.to(device)
    expected = mine.output(theirs(
        mine.source_embed(source), mine.target_embed(target), tgt_mask=~causal_mask(T, device),
        src_key_padding_mask=padded, memory_key_padding_mask=padded, tgt_key_padding_mask=~at_words,
    ))  # fmt: skip
    torch.testing.assert_close(mine(source, target)[at_words], expected[at_words], atol=1e-4, rtol=0)
    print(f"{norm_first=}: mine == nn.Transformer")

# %% [markdown]
# Equal *in evaluation mode*. In training the three differ in what they drop, and they start from different numbers:
#
# | | the paper | yours, `helpers` | `nn.Transformer` |
# |---|---|---|---|
# | norm | behind the sum, none after the stacks | either; after the stacks in pre-norm | either; one after each stack |
# | dropout on embedding plus position | yes (5.4) | yes | none: embeddings are not in it |
# | dropout on each sublayer's output | yes (5.4) | yes | yes |
# | dropout on attention weights, on hidden units | not mentioned | no | yes |
# | biases in attention | none in the equations | yes | yes |
# | matrices begin as | not mentioned | attention: Xavier; feed-forward: as `nn.Linear` does | all: Xavier |
#
# (*Xavier*, Glorot and Bengio 2010: random weights between $\pm\sqrt{6 / (\text{inputs} + \text{outputs})}$, so that signals
# keep their variance.)

# %% [markdown] slideshow={"slide_type": "slide"}
# **Does it see what it must not?** Equality says that you made the same model. A leak test needs no other model.
# `find_leak` changes one target token at a time: no output before it may move. Then it takes the padding away: no output
# at a real token may move. After that the source: a sentence alone, and the same one padded in a batch.

# %%
sentences, some = data["dev"][1][:6, :-1], data["dev"][0][:6]


def leak_of(model, one):
    return analysis.find_leak(lambda t: model(one.expand(len(t), -1), t), sentences)


together = small(some, sentences)
for row, words in enumerate((some != PAD).sum(1).tolist()):
    assert leak_of(small, some[row : row + 1]) is None
    alone = small(some[row : row + 1, :words], sentences[row : row + 1])
    torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=0)
print("no leak; alone == in a batch")

# %% [markdown]
# > **Remember.** Equal to PyTorch, equal in count, no leaks. Only now is training worth its time.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.8 Training
#
# **What exactly is minimised?** The decoder is fed the right target up to each position (*teacher forcing*, chapter 2) and
# asked for the next token: in go all columns but the last, asked for are all but the first. The loss is the mean
# cross-entropy over **real** tokens.
#
# One thing is added. With **label smoothing** (Szegedy et al. 2016, section 7; the paper's section 5.4 takes
# $\varepsilon = 0.1$) the right token is not asked to have probability 1. The target distribution over the $V$ symbols is
#
# $$q(k) = (1 - \varepsilon)\,[k = \text{right}] + \varepsilon / V$$
#
# where the bracket is 1 for the right token and 0 for all others.
#
# > **Predict first.** A perfect model always knows the right token. What is its loss now, and which probability should it
# > give to the right token? Decide, then go on.

# %% tags=["floor"]
V, epsilon = len(japanese), 0.1
q = epsilon / V + (1 - epsilon) * F.one_hot(torch.tensor(5), V).double()  # say that symbol 5 is right
floor = F.cross_entropy(q.log(), torch.tensor(5), label_smoothing=epsilon).item()
print(f"the right token gets {q[5]:.4f}, the loss is {floor:.4f} nats")
assert abs(floor + (q * q.log()).sum().item()) < 1e-9

# %% [markdown]
# A cross-entropy is smallest where the prediction equals the target, so the best loss is the entropy of $q$, the **floor**.
# It is not 0: smoothed and plain losses must not be compared.
#
# `fit` of chapter 1 lets the learning rate rise in a straight line for a quarter of the steps, and fall along half a
# cosine to 0 (*one-cycle*, Smith and Topin 2018). The paper's own rule (equation 3) is exercise 1. The model: width 64,
# 4 heads, `d_ff` 128, 2 + 2 layers, no dropout.

# %%
def smooth_loss(model, source, target):
    return token_loss(model(source, target[:, :-1]), target[:, 1:], PAD, label_smoothing=epsilon)


seed_everything(0)
model = Transformer(config(d_model=64, num_heads=4, d_ff=128, num_layers=2)).to(device)
rnn = Seq2Seq(len(english), len(japanese), hidden_size=90, attention="luong-concat").to(device)
print(f"{count(model):,} parameters; chapter 2's model, made as large: {count(rnn):,}")

# %% [markdown]
# Train the class that you built for five epochs over the 20,000 pairs. On the other core chapter 2's translator trains, a
# GRU with attention, with 1 per cent fewer parameters, on the same pairs for as many epochs, with its loss of chapter 2,
# which is not smoothed. (`fit_all` trains several models side by side.) On two free cores expect about a minute.

# %% tags=["learning", "nbval-ignore-output"]
recipe = {"train": data["train"], "validation": data["dev"], "epochs": 5, "batch_size": 64}
history, rnn_history = fit_all([
    {"model": model, "loss": smooth_loss, "lr": 5e-3, "progress": True, **recipe},
    {"model": rnn, "loss": translation.translation_loss, "lr": 1e-2, **recipe},
])  # fmt: skip
plots.loss_curves({"Transformer": history}, {"the floor": floor}, title="Learning to translate")
show("Training and validation loss over five epochs: both fall and end just above the dotted floor.")
assert history.best < floor + 0.08

# %% [markdown]
# See both curves come close to the dotted line. No loss can go below it: it is the loss of a model that
# knows every right token.

# %% [markdown] slideshow={"slide_type": "slide"}
# **Does it translate?** Let both write, greedily as in chapter 2, and count the sentences that are right word for word. For
# speed your weights go into the finished model, which computes the same (4.7) and has a cache (4.10).

# %% tags=["translates", "nbval-ignore-output"]
ready = finished(model)
SETS = ("test", "new", "patterns", "longer")
written, right, bleu = {}, {}, {}
for label, candidate in {"Transformer": ready, "GRU": rnn}.items():
    for name in SETS:
        texts = written[label, name] = translation.translate_texts(candidate, data[name][0], japanese)
        right[label, name] = torch.tensor([a == b for a, b in zip(texts, corpus[name].target)]).double()
        bleu[label, name] = translation.bleu(texts, corpus[name].target).score
share = {key: values.mean().item() for key, values in right.items()}
for name in SETS:
    gain = analysis.bootstrap_interval((right["Transformer", name] - right["GRU", name]).tolist())
    row = [f"{m} {share[m, name]:.3f} (BLEU {bleu[m, name]:.1f})" for m in ("Transformer", "GRU")]
    print(f"{name:9}{', '.join(row)}; difference {gain}")
ours, theirs = ([share[label, name] for name in SETS] for label in ("Transformer", "GRU"))
assert ours[0] >= 0.97 and abs(ours[0] - theirs[0]) < 0.02 and ours[3] < theirs[3] - 0.08
assert ours[0] - 0.015 > max(ours[1:3]) and all(min(b, c) - 0.08 > d for _, b, c, d in (ours, theirs))

# %% [markdown]
# On the test set the two lie close together, so at this size, on such sentences, a recurrent model with
# attention translates as well. New combinations of words and new patterns cost the Transformer some points each. Sentences
# longer than any in training cost far more, and there the Transformer is behind: with five other seeds, too. (The recurrent model has no
# position vectors to get used to. Whether that is the reason is not shown here.) The paper's case for its model is that it
# translates better and trains in less time (abstract), on millions of sentence pairs (5.1). This corpus is too small to
# ask that. (The intervals, 95 per cent, speak of other sentences, not of other seeds.)

# %% [markdown]
# > **Remember.** Compare at equal size and equal data, and ask for sentences that are unlike the training set, too.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.9 Decoding
#
# **The model gives probabilities. How do they become a sentence?** Token by token: feed what is written, choose the next
# token, append it, until `<EOS>`. The simplest choice is the likeliest token, **greedy decoding**. This is the whole loop for
# a batch. A row that has ended gets padding, and `<PAD>` and `<BOS>` are never chosen before that.

# %% tags=["greedy"]
@torch.no_grad()
def greedy(model, source, max_length=MAX_LENGTH):
    memory, memory_mask = model.encode(source), padding_mask(source, PAD)
    tokens = torch.full((len(source), 1), BOS, device=source.device)
    ended = torch.zeros(len(source), dtype=torch.bool, device=source.device)
    while tokens.size(1) <= max_length and not ended.all():
        logits = model.decode(tokens, memory, memory_mask)[:, -1]  # (B, t, V) → (B, V)
        logits[:, [PAD, BOS]] = -torch.inf
        chosen = logits.argmax(dim=-1).masked_fill(ended, PAD)
        tokens = torch.cat([tokens, chosen.unsqueeze(1)], dim=1)  # (B, t), (B, 1) → (B, t + 1)
        ended = ended | (chosen == EOS)
    return tokens[:, 1:]


# %% [markdown]
# It writes what the finished model wrote on the test set: your class, your loop.

# %% tags=["nbval-ignore-output"]
mine = [japanese.decode(row) for part in data["test"][0].split(250) for row in greedy(model, part)]
agree = translation.exact_match(mine, written["Transformer", "test"])
match = translation.exact_match(mine, corpus["test"].target)
print(f"my class, my loop: exact match {match:.3f}; the same text as the finished model: {agree:.3f}")
assert match >= 0.97 and agree > 0.99

# %% [markdown]
# **Sampling** draws the next token with its probability. Two dials make it tamer: a **temperature** $\tau$ divides the logits
# ($\tau < 1$ sharpens), and **top-k** draws among the $k$ likeliest only (Fan et al. 2018, section 5.4). **Beam search**
# keeps the best `beam_size` beginnings instead of one and ranks them, $n$ tokens long, by log-probability over a **length
# penalty** $((5 + n)/6)^\alpha$ (Wu et al. 2016, equation 14; the paper takes a beam of 4 and $\alpha = 0.6$, section 6.1).
# Without it short sentences have the advantage, because each further token costs probability. `generate` of the finished
# model has them all; you write the beam in exercise 7.
#
# > **Predict first.** Greedy is right in nearly every test sentence. How often is a *sampled* translation right, when label
# > smoothing has taught the model to give the right token a probability of about 0.9? Decide, then go on.

# %% tags=["ways", "nbval-ignore-output"]
ways, accuracy, sample = {"greedy": {}, "beam 4": {"strategy": "beam"}}, {}, {"strategy": "sample"}
ways |= {"sample": sample, "sample, temperature 0.5": sample | {"temperature": 0.5}}
ways |= {"sample, top-k 3": sample | {"top_k": 3}, "beam 1": {"strategy": "beam", "beam_size": 1}}
for name, options in ways.items():
    seed_everything(0)
    texts = translation.translate_texts(ready, data["test"][0][:300], japanese, **options)
    accuracy[name] = translation.exact_match(texts, corpus["test"].target[:300])
    print(f"{name:24} {accuracy[name]:.2f} of 300 test sentences right")
assert texts == written["Transformer", "test"][:300]  # a beam of 1 is greedy
source, target = data["test"]
p = ready(source, target[:, :-1]).softmax(-1).gather(2, target[:, 1:, None])[target[:, 1:] != PAD]
p, length = p.mean().item(), len(p) / 1000
assert abs(accuracy["sample"] - p**length) < 0.1 and abs(p - 0.9) < 0.03
assert min(accuracy["beam 4"], accuracy["sample, temperature 0.5"]) > accuracy["greedy"] - 0.04
assert 0.8 < accuracy["sample, top-k 3"] < accuracy["greedy"]

# %% [markdown]
# Every token of a sentence has to be right, so the probabilities multiply: about 0.9 for each of ten or eleven tokens leaves
# about 0.3. Sharpening brings the rest back, and cutting off the tail most of it. One answer counts as right here, and the
# likeliest token nearly always belongs to it, so a draw of another one mostly loses. In open-ended text, such as stories, the
# likeliest words repeat themselves, and sampling helps (Holtzman et al. 2020). And a beam of 1 is greedy.
#
# > **Remember.** Greedy and beam look for a likely sentence, sampling draws one; whether likely is right is the model's business.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.10 The key-value cache
#
# **Greedy decoding runs the whole decoder again for every token. What of that is new?** In 4.7 `find_leak` changed a token, and
# nothing before it moved. Earlier positions cannot see the new token, in any layer. So their keys and values in every
# layer are those of a step ago.

# %% tags=["cache"]
model_diagrams.cache_step(["<BOS>", "kuma", "wa", "oyogi", "masu"])
show("A decoding step: without a cache all is computed again, with one only the newest column.")

# %% [markdown]
# The newest token needs one row of each projection, the **cached** keys and values before it, and the keys and values of the
# memory, made once for the sentence. It needs no causal mask: it may see everything that is there. The method `project` of
# `MultiHeadAttention` makes keys and values, split into heads, and the attention takes them as they are.

# %% tags=["cached-step"]
@torch.no_grad()
def empty_cache(model, source):
    memory, caches = model.encode(source), []
    for layer in model.decoder_layers:
        key, value = layer.cross_attention.project(memory, memory)  # (B, S, d_model) → (B, H, S, D)
        caches.append((key[:, :, :0], value[:, :, :0], key, value))  # no own keys and values yet
    return caches


@torch.no_grad()
def cached_step(model, last, position, caches, memory_mask):
    x, grown = model.target_embed(last.unsqueeze(1), first=position), []  # (B,) → (B, 1, d_model)
    for layer, (keys, values, *memory) in zip(model.decoder_layers, caches):
        y = layer.norm_1(x)
        new_key, new_value = layer.self_attention.project(y, y)  # (B, 1, d_model) → (B, H, 1, D)
        keys, values = torch.cat([keys, new_key], dim=2), torch.cat([values, new_value], dim=2)
        x = x + layer.self_attention(y, keys, values)[0]
        x = x + layer.cross_attention(layer.norm_2(x), *memory, memory_mask)[0]
        x = x + layer.feed_forward(layer.norm_3(x))
        grown.append((keys, values, *memory))
    return model.output(model.decoder_norm(x))[:, 0], grown  # (B, V)


# %% [markdown]
# (The step is pre-norm, as your model is.) The same numbers? Feed the right target token by token, and compare with all positions at once, in a batch with padding.

# %%
source, target = (ids[:30] for ids in data["test"])


def cached_logits(model, source, target, step=cached_step):
    caches, mask, rows = empty_cache(model, source), padding_mask(source, PAD), []
    for position in range(target.size(1)):
        logits, caches = step(model, target[:, position], position, caches, mask)
        rows.append(logits)
    return torch.stack(rows, dim=1)  # T times (B, V) → (B, T, V)


with torch.no_grad():
    real, whole = target != PAD, model(source, target)
torch.testing.assert_close(cached_logits(model, source, target)[real], whole[real], atol=1e-3, rtol=0)
print("cached == uncached:", tuple(whole.shape))

# %% [markdown] slideshow={"slide_type": "slide"}
# **What is it worth?** Time one step at growing lengths, both ways, the median of seven. (The tokens are random: the clock
# does not read them. A GPU works on after a call has returned, so there these numbers say little.)

# %% tags=["cache-times", "nbval-ignore-output"]
def milliseconds(function, *arguments):
    return 1000 * statistics.median(timeit.repeat(lambda: function(*arguments), number=1, repeat=7))


source, random_target = data["test"][0][:4], torch.randint(3, V, (4, 512), device=device)
mask, caches = padding_mask(source, PAD), empty_cache(model, source)
with torch.no_grad():
    memory = model.encode(source)
    for t in range(1, 513):
        last = random_target[:, t - 1]
        if t in (1, 64, 256, 512):
            cached = milliseconds(cached_step, model, last, t - 1, caches, mask)
            anew = milliseconds(model.decode, random_target[:, :t], memory, mask)
            print(f"token {t:3}: {cached:5.1f} ms with the cache, {anew:6.1f} ms without")
        _, caches = cached_step(model, last, t - 1, caches, mask)
assert device.type != "cpu" or anew > 3 * cached

# %% [markdown]
# Without the cache all the rows are computed anew, with it there is one. On a CPU the last token costs at least three times as
# much without the cache.
#
# **And memory?** Each layer keeps keys and values, $d_\text{model}$ numbers each, for every position of target and source:
# $2 \cdot N \cdot (T + S) \cdot d_\text{model} \cdot B$ numbers of 4 bytes.

# %% tags=["cache-memory"]
assert sum(t.numel() for layer in caches for t in layer) == 2 * 2 * (512 + source.size(1)) * 64 * 4
held = 2 * 6 * (512 + 512) * 512 * 4 / 2**20
read = 4 * (count(base.decoder_layers) + count(base.output) - 6 * 2 * (512 * 512 + 512)) / 2**20
print(f"base model, 512 + 512 tokens: a step reads {read:.0f} MiB of weights and {held:.0f} of cache")

# %% [markdown]
# Every step reads the whole cache, the output layer's weights, and the decoder's but for those that made the memory's keys and
# values. A batch shares the weights, but each sentence has its own cache: for one sentence the weights are most of what is
# read, for a hundred the cache is. Shazeer (2019, section 2.4) counts both terms; his remedy, one key and value for all heads, makes the second smaller.
#
# > **Remember.** Under a causal mask the past does not change, so its keys and values need to be computed once.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.11 Inside
#
# **Which head aligns words?** `inspect` of the finished model runs it once and keeps what passes through: the attention
# weights of every layer, the hidden units of the feed-forward networks after their ReLU, and what leaves each stack.

# %%
source, target = data["test"][0][:300], data["test"][1][:300]
with torch.no_grad():
    inside = ready.inspect(source, target[:, :-1])
for name in ("attention", "activations", "last_hidden"):
    for kind, kept in getattr(inside, name).items():
        print(f"{name:12}{kind:8}", tuple((kept[0] if isinstance(kept, list) else kept).shape))

# %% [markdown]
# Chapter 2 compared attention weights with the gold links. Here are 2 · 4 heads of cross-attention. One care is needed:
# position $j$ of the decoder reads word $j - 1$ and *writes* word $j$. So row $j$ belongs to the word that is written, here
# and in the pictures below. How wrong is each head, and the mean of the heads of a layer? (A guess for comparison is the
# *diagonal*: word for word, in the same order.)

# %% tags=["heads", "nbval-ignore-output"]
test, gold = corpus["test"], corpus["test"].alignment[:300]
lengths = [(len(a.split()), len(b.split())) for a, b in zip(test.source[:300], test.target)]
diagonal_error = translation.error_rate([translation.diagonal_alignment(s, t) for s, t in lengths], gold)
errors, means = {}, {}
for layer, weights in enumerate(inside.attention["cross"], start=1):
    for head, one in enumerate(weights.unbind(1), start=1):
        errors[layer, head] = translation.alignment_error_rate(one, gold, lengths)
        print(f"layer {layer}, head {head}: {errors[layer, head]:.3f}")
    means[layer] = translation.alignment_error_rate(weights.mean(1), gold, lengths)
    print(f"layer {layer}, mean of the heads: {means[layer]:.3f}")
rnn_weights = translation.forced_weights(rnn, source, target)
rnn_error = translation.alignment_error_rate(rnn_weights, gold, lengths)
print(f"for comparison: the diagonal {diagonal_error:.3f}, the GRU's one attention {rnn_error:.3f}")
assert max(errors.values()) < diagonal_error and min(errors.values()) < 0.45
assert min(errors, key=errors.get)[0] == 2

# %% [markdown]
# Every head beats the diagonal. The best one is in layer 2: with five other seeds, too. In this run the mean of that layer's
# heads is better still, and the GRU, with one attention only, comes closest to the gold links. (With the other seeds the mean
# is better in three of five, the GRU closest in four.) Draw the best head, with a frame around every gold link:

# %% tags=["best-head", "nbval-ignore-output"]
example, (S, T) = next((i, both) for i, both in enumerate(lengths) if both[0] == 9 and both[1] <= 11)
tokens = {"decoder_tokens": test.romaji[example].split(), "encoder_tokens": test.source[example].split()}
cross = [weights[example : example + 1, :, :T, :S].cpu() for weights in inside.attention["cross"]]
layer, head = min(errors, key=errors.get)
ax = plots.attention_heatmap(cross[layer - 1][0, head - 1], *tokens.values())
ax.set(xlabel="English word", ylabel="word written", title=f"Layer {layer}, head {head}; frames: gold")
plots.outline_links(ax, gold[example])
show("Heat map, words written × English words: most bright cells lie inside gold frames.")

# %% [markdown] slideshow={"slide_type": "subslide"}
# See most words look into their frames. **To look for yourself:** BertViz (Vig 2019) draws the weights of all heads as lines.
# Choose a layer, click a colour to switch a head off, point at a word. (GitHub shows no moving parts; the picture above has
# the best head's weights.)

# %% tags=["nbval-ignore-output"]
head_views({"Cross-attention": {"cross_attention": cross, "layer": layer, **tokens}})

# %% [markdown]
# **To play with.** Below runs the model that you have just trained, in the page: no kernel, no network. Type an English
# sentence with words of the corpus, see the translation and every head, cut an edge, and watch what the next word becomes.
# (Its numbers are rounded to 16 bits.)

# %% tags=["nbval-ignore-output"]
view = {"precision": "float16", "title": "Your translator", "source_bos": False}
play(model, english, japanese, text=test.source[example], **view)

# %% [markdown]
# > **Remember.** Ask which row, which head, and compare with the truth and with a guess.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.12 Bug clinic
#
# **Would you notice?** Here are five pieces of code that run and are wrong. Find the mistake before you unfold the answer,
# and stop at the fold: the cell below it holds the test. `exposes` runs a small test that must fail on the wrong version
# *and* pass on the right one.

# %%
def exposes(test, wrong, right):
    assert not test(wrong), "the test does not notice the bug"
    assert test(right), "the test rejects the right version"
    print(f"{test.__name__}: fails on the wrong version, passes on the right one")


# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 1: too good, and useless
#
# The loss is almost 0, and no translation is right.

# %% tags=["bug-1", "nbval-ignore-output"]
def wonderful_loss(model, source, target):
    return token_loss(model(source, target), target, PAD)


few, dev = (tuple(ids[:n] for ids in data[name]) for name, n in (("train", 1024), ("dev", 100)))
seed_everything(0)
copier = Transformer(config(d_model=32, num_heads=4, d_ff=64, num_layers=2)).to(device)
fit(copier, few, dev, wonderful_loss, epochs=4, lr=1e-2, batch_size=64, progress=False)
texts = translation.translate_texts(finished(copier), dev[0], japanese)
match = translation.exact_match(texts, corpus["dev"].target[:100])
low = evaluate(copier, dev, wonderful_loss)
print(f"dev loss {low:.2f}, translations that are right: {match:.2f}")
assert low < 0.5 and match < 0.05 and leak_of(copier, some[:1]) is None

# %% [markdown]
# <details><summary>The mistake</summary>
#
# The target is not shifted. Position $j$ reads token $j$ and is asked for token $j$. The mask is right, and `find_leak`
# finds nothing, because the answer comes in through the front door.
#
# The test looks at the data: what is asked for must be what is fed, one place further on.
#
# </details>

# %%
def asked_is_fed_later(pairs):
    fed, asked = pairs(data["dev"][1][:5])
    return torch.equal(fed[:, 1:], asked[:, :-1]) and not torch.equal(fed, asked)


exposes(asked_is_fed_later, lambda ids: (ids, ids), lambda ids: (ids[:, :-1], ids[:, 1:]))


# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 2: smoothing by hand
#
# Label smoothing, written out. It trains, and its number is too high.

# %%
def bug_2(logits, targets):
    wanted = torch.full_like(logits, epsilon / V)  # (B, T, V)
    wanted.scatter_add_(2, targets.unsqueeze(2), torch.full_like(logits[..., :1], 1 - epsilon))
    each = -(wanted * logits.log_softmax(-1)).sum(-1)  # (B, T)
    return each.sum() / (targets != PAD).sum()


# %% [markdown]
# <details><summary>The mistake</summary>
#
# Padded positions have a target too: 0.9 for `<PAD>`, and the rest spread. `ignore_index` left them out for you; a loss
# written as distributions has to do it itself. Here they are in the sum, and not in the number that it is divided by.
#
# The test appends columns of padding. Nothing may change.
#
# </details>

# %%
def fixed_2(logits, targets):
    return F.cross_entropy(logits.mT, targets, ignore_index=PAD, label_smoothing=epsilon)


def padding_changes_nothing(loss):
    targets = data["dev"][1][:8, 1:]
    logits = torch.randn(*targets.shape, V, generator=torch.Generator().manual_seed(0)).to(device)
    wider = F.pad(logits, (0, 0, 0, 10)), F.pad(targets, (0, 10), value=PAD)
    return abs(loss(logits, targets) - loss(*wider)).item() < 1e-4


exposes(padding_changes_nothing, bug_2, fixed_2)


# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 3: no infinities
#
# Infinities are dangerous, so somebody hides with the lowest finite number.

# %% tags=["bug-3"]
def bug_3(scores, causal, padding):
    lowest = torch.finfo(scores.dtype).min
    blocked = torch.zeros_like(scores).masked_fill(~causal, lowest)
    blocked = blocked + torch.zeros_like(scores).masked_fill(~padding, lowest)
    return (scores + blocked).softmax(dim=-1)


# %% [markdown]
# <details><summary>The mistake</summary>
#
# `lowest` was chosen to avoid $-\infty$. But lowest + lowest *is* $-\infty$. Take a sentence padded on the left and its first
# row: the padded key holds lowest, the later word holds lowest, the key that is both holds $-\infty$. The softmax sees two
# equal scores and shares the weight between padding and the future. Combine masks as booleans, with `&`.
#
# The test: no key that is hidden gets any weight, not even in a row that may see nothing.
#
# </details>

# %%
def hidden_keys_get_nothing(attend):
    causal, padding = causal_mask(3), torch.tensor([False, False, True])  # two of padding, one word
    return bool((attend(torch.zeros(3, 3), causal, padding)[~(causal & padding)] == 0).all())


exposes(hidden_keys_get_nothing, bug_3, lambda scores, a, b: masked_softmax(scores, a & b))


# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 4: a loop that writes
#
# Greedy decoding for a whole batch. One sentence alone comes out right.

# %%
@torch.no_grad()
def bug_4(model, source, max_length=MAX_LENGTH):
    tokens = torch.full((len(source), 1), BOS, device=source.device)
    for _ in range(max_length):
        chosen = model(source, tokens)[:, -1].argmax(dim=-1)  # (B, t, V) → (B, V) → (B,)
        tokens = torch.cat([tokens, chosen.unsqueeze(1)], dim=1)
        if (chosen == EOS).all():
            break
    return tokens[:, 1:]


# %% [markdown]
# <details><summary>The mistake</summary>
#
# It stops only if all rows write `<EOS>` at the same step. A row that has ended goes on writing, its end is one token among
# others, and the loop may run to the last position that is allowed.
#
# The test: behind a row's first end stands nothing but padding.
#
# </details>

# %%
def quiet_after_the_end(loop):
    tokens = loop(model, data["dev"][0][:40])
    return bool((tokens[:, 1:][(tokens == EOS).cumsum(dim=1)[:, :-1] > 0] == PAD).all())


exposes(quiet_after_the_end, bug_4, greedy)


# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Bug 5: a fast step
#
# The cached step, made simpler: does the newest token need any mask?

# %% tags=["bug-5"]
def bug_5(model, last, position, caches, memory_mask):
    return cached_step(model, last, position, caches, None)  # the newest token may see everything


# %% [markdown]
# <details><summary>The mistake</summary>
#
# The newest token may see all *target* positions so far, and its self-attention needs no mask. Cross-attention does: in a
# batch the shorter sources end in padding, and their keys and values lie in the cache like all others.
#
# The test is the one of section 4.10, cached = uncached, with a batch that holds padding.
#
# </details>

# %%
def cached_is_uncached(step):
    source, target = (ids[:5] for ids in data["dev"])
    with torch.no_grad():
        difference = cached_logits(model, source, target, step) - model(source, target)
    return difference[target != PAD].abs().max().item() < 1e-3


exposes(cached_is_uncached, bug_5, cached_step)

# %% [markdown]
# > **Remember.** Look at what is fed and what is asked. More padding, a hidden key, a row that has ended, a batch of unequal
# > lengths: these four inputs find the other four bugs.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4.13 Exercises
#
# Exercises 3 and 5 write out by hand what you have used above; the others are new. Write each function in its stub, run
# the cell, then run the check below it. A check prints ✓, or the smallest input on which your answer is wrong. Any right
# answer counts, by whatever route. The solutions are in
# [a notebook of their own](solutions/04_full_transformer_solutions.ipynb).

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 1 · the paper's schedule (warm-up, 5 minutes)
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
# ### Exercise 2 · RMSNorm (warm-up, 10 minutes)
#
# Most models of today leave the mean in and divide by the root of the mean square only (Zhang and Sennrich 2019, equation
# 4): $x / \sqrt{\operatorname{mean}(x^2) + \epsilon} \cdot w$. Write `rms_norm(x, weight, eps)` for $x$ of shape (...,
# d_model) and weights of shape (d_model,). Gradients are compared.
#
# In: `x = [[3.0, 4.0]]`, `weight = [1.0, 2.0]`, `eps = 0.0` · out: `[[0.8485, 2.2627]]`, because the mean of 9 and 16 is
# 12.5 and its root 3.5355.
#
# <details><summary>Hint</summary>
#
# The mean goes over the last axis and keeps it (`keepdim=True`). $\epsilon$ stands inside the root.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def rms_norm(x, weight, eps):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.full_transformer import check_rms_norm

check_rms_norm(rms_norm)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 3 · label smoothing (core, 15 minutes)
#
# Write `smoothed_loss(logits, target, smoothing, pad_id)`. `logits` is (B, T, V), `target` is (B, T) with the right ids,
# and places that hold `pad_id` are padding. Return one number: the mean loss over the real tokens, with the target
# distribution of section 4.8 over all V classes, the padding class among them. Do it without `F.cross_entropy` (that is
# not checked). Gradients are compared.
#
# In: `logits = [[[0., 0., 0.6931]]]` (probabilities ¼, ¼, ½), `target = [[2]]`, `smoothing = 0.3`, `pad_id = 0` · out:
# $-0.8 \ln \frac12 - 0.1 \ln \frac14 - 0.1 \ln \frac14 = 0.8318$.
#
# <details><summary>Hint</summary>
#
# `log_softmax` once. Of each token you need two numbers: the log-probability of the right class (`gather`), and the mean
# log-probability of all classes. Pick the real tokens before you take the mean.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def smoothed_loss(logits, target, smoothing, pad_id):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.full_transformer import check_smoothed_loss

check_smoothed_loss(smoothed_loss)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 4 · nucleus sampling (core, 20 minutes)
#
# Top-k keeps the same number of tokens whether the model is sure or not. Holtzman et al. (2020, section 3.1) keep the
# **nucleus**: the fewest likeliest tokens whose probabilities add up to at least $p$. Write `nucleus(logits, p)`: in each
# row of `logits`, (B, V), the nucleus stays as it is and all others become $-\infty$. Do not change the tensor that comes
# in.
#
# In: `logits` with the probabilities `[[0.5, 0.3, 0.2]]`, `p = 0.7` · out: the first two stay, the third is $-\infty$. With
# `p = 0.4` only the first stays.
#
# <details><summary>Hint</summary>
#
# Sort the probabilities, largest first, and add them up with `cumsum`. A token belongs to the nucleus if the sum *before* it
# is still below $p$. Then back to the old places: `scatter`.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def nucleus(logits, p):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.transformer_decoding import check_nucleus

check_nucleus(nucleus)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 5 · one step with a cache, from the matrices (core, 20 minutes)
#
# Write `cached_attention(x, cache, w_q, w_k, w_v, num_heads)`: causal self-attention for the newest token alone, without a
# ready-made attention. `x` is (B, 1, d_model). `cache` is `None` at the first token, and then a pair: the keys and the
# values of all earlier tokens, (B, H, t, D) each. The matrices are (d_model, d_model) in the paper's layout: the query is
# `x @ w_q`. There are no biases and no output projection.
#
# Return the output, (B, 1, d_model), and the new cache, a pair of (B, H, t + 1, D). Leave the old cache as it is: a beam may
# still need it.
#
# In: `x = [[[0.]]]`, a cache with the key 2 and the value 4, all matrices 1, one head · out: `[[[2.]]]` and a cache with the
# keys 2, 0 and the values 4, 0. (The query is 0, so both scores are 0, and the output is the mean of 4 and 0.)
#
# <details><summary>Hint</summary>
#
# Project, split into heads, append along the axis of the positions, attend, join. Do you need a mask? Ask which keys the
# newest token may see.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def cached_attention(x, cache, w_q, w_k, w_v, num_heads):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.transformer_decoding import check_cached_attention

check_cached_attention(cached_attention)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6 · a draft is checked (core, 20 minutes)
#
# A cache does one token a step. Leviathan, Kalman and Matias (2023) let a small model write a draft of $k$ tokens, and the
# large one reads them all *at once*: its logits at each place say what it would have written itself. For greedy decoding the
# rule is short: take the draft as long as it is what the large model would write, then add the large model's own next
# token. Write `accept(draft, logits)`. `draft` is (k,), and `logits` is (k + 1, V): row $i$ is the large model's opinion on
# the token *at* place $i$, after the first $i$ tokens of the draft. Return the ids that are now written, a list of 1 to
# k + 1 numbers.
#
# In: `draft = [4, 7, 5]`, and the likeliest tokens of the four rows are 4, 7, 2, 9 · out: `[4, 7, 2]`. What follows a
# rejected token is void, even if it agrees.
#
# <details><summary>Hint</summary>
#
# Walk along the places. Which row do you ask for the token that is added at the end?
#
# </details>

# %% slideshow={"slide_type": "skip"}
def accept(draft, logits):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.transformer_decoding import check_accept

check_accept(accept)


# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 7 · beam search (stretch, 40 minutes)
#
# Write `beam_search(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty)` for one sentence.
# `next_log_probs(prefixes)` is the model: it reads any number of prefixes of the same length, (n, t), each beginning with
# `bos_id`, and returns the log-probabilities (n, V) of the token that comes next.
#
# A *hypothesis* is a list of tokens with the sum of their log-probabilities. It is finished when it ends in `eos_id`.
#
# 1. Begin with one empty hypothesis: only `bos_id`.
# 2. The candidates are the finished hypotheses, unchanged, and every unfinished one extended by each of the V tokens.
# 3. Keep the `beam_size` best candidates by $\log P \,/\, ((5 + n) / 6)^\alpha$, where $n$ is the number of tokens (`<EOS>`
#    counted, `<BOS>` not) and $\alpha$ is `length_penalty` (Wu et al. 2016, equation 14).
# 4. Go on with step 2 until all hypotheses kept are finished or `max_length` tokens have been written.
#
# Return the best hypothesis kept, finished or not, as a list of ids without `bos_id`.
#
# Example: the first token is a (0.6) or b (0.4). After a comes `<EOS>` (0.4), a (0.3) or b (0.3); after b comes `<EOS>`
# (0.9). With `beam_size` 1 and without a penalty · out: a, `<EOS>`, of probability 0.6 · 0.4 = 0.24. With `beam_size` 2 ·
# out: b, `<EOS>`, of probability 0.4 · 0.9 = 0.36.
#
# <details><summary>Hint</summary>
#
# Python's own lists will do: `(tokens, log_probability)` pairs, `sorted(candidates, key=..., reverse=True)[:beam_size]`. All
# unfinished hypotheses have the same length, so one `torch.tensor` holds them. The children of all hypotheses compete
# together: a good one may have two of them in the next beam, a bad one none.
#
# </details>

# %% slideshow={"slide_type": "skip"}
def beam_search(next_log_probs, beam_size, max_length, bos_id, eos_id, length_penalty):
    raise NotImplementedError


# %% tags=["check"] slideshow={"slide_type": "skip"}
from helpers.checks.transformer_decoding import check_beam_search

check_beam_search(beam_search)

# %% [markdown] slideshow={"slide_type": "skip"}
# ## The chapter in one line
#
# What section 4.8 measured, on one seed:

# %% tags=["headline", "nbval-ignore-output"] slideshow={"slide_type": "skip"}
matches = [f"{name} {100 * share['Transformer', name]:.1f} %" for name in SETS]
print(f"exact match: {', '.join(matches)}; BLEU on test {bleu['Transformer', 'test']:.1f}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What you now know
#
# 1. The Transformer is two stacks of residual sublayers. Your decoder layer computes what PyTorch's computes, and so does
#    the whole, in both norm orders.
# 2. An exact parameter count is a test: it convicted a shared module that the shapes had let pass.
# 3. Masks belong to keys, losses to real tokens, and a smoothed loss has a floor.
# 4. At this size and on this corpus a recurrent model with attention translates the test set as well.
# 5. Under a causal mask the past does not change. That is all there is to the key-value cache.
#
# **Where to go.** [Study 4](studies/04_from_2017_to_today.ipynb) asks what the choices of 2017 and of today cost and buy. In
# [chapter 5](05_miniformer_vs_fulltransformer.ipynb) a loss is too good to be true.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Glossary
#
# | term | meaning |
# |---|---|
# | beam search, beam size | keeping that many best beginnings of a sentence while writing |
# | cross-attention | queries from the decoder, keys and values from the memory |
# | dropout | in training, numbers are set to 0 at random |
# | feed-forward network | two matrices with a ReLU between them, the same at every position |
# | floor | the lowest loss that a smoothed target allows, its entropy |
# | greedy decoding | taking the likeliest token at each step |
# | key-value cache | keys and values of earlier positions, kept while generating |
# | label smoothing | the target gives the right token $1 - \varepsilon + \varepsilon / V$ and each other $\varepsilon / V$ |
# | length penalty | what a log-probability is divided by, so that long sentences can win |
# | logit | a number for each symbol, before the softmax |
# | memory | the encoder's output, what cross-attention takes its keys and values from |
# | pre-norm, post-norm | layer norm before the sublayer, or behind the sum (the paper) |
# | residual connection, stream | what goes in is added to what comes out; the vector that passes through these sums |
# | sampling, temperature, top-k | drawing the next token; dividing the logits first; among the k likeliest only |
# | weight tying | embedding and output layer are one matrix |
# | Xavier initialisation | weights drawn so that the variance is kept, by the number of inputs and outputs |

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - Vaswani et al., *Attention Is All You Need* (2017): [arXiv:1706.03762](https://arxiv.org/abs/1706.03762). Sections 3.1 to
#   3.5 (the model), 5.1 (vocabulary), 5.3 (schedule, equation 3), 5.4 (dropout, label smoothing), 6.1 (beam), table 3 (counts).
# - He et al., *Deep Residual Learning for Image Recognition* (2016), section 3. Ba, Kiros and Hinton, *Layer Normalization*
#   (2016), section 3. Glorot and Bengio, *Understanding the difficulty of training deep feedforward neural networks* (2010),
#   equation 16: Xavier initialisation.
# - Dong, Cordonnier and Loukas, *Attention is not all you need: pure attention loses rank doubly exponentially with depth*
#   (2021), section 2.
# - Press and Wolf, *Using the Output Embedding to Improve Language Models* (2017), section 3: weight tying.
# - Szegedy et al., *Rethinking the Inception Architecture for Computer Vision* (2016), section 7: label smoothing.
# - Wu et al., *Google's Neural Machine Translation System* (2016), section 7, equation 14: length penalty.
# - Fan, Lewis and Dauphin, *Hierarchical Neural Story Generation* (2018), section 5.4: top-k sampling. Holtzman et al., *The
#   Curious Case of Neural Text Degeneration* (2020), section 3.1: nucleus sampling.
# - Smith and Topin, *Super-Convergence* (2018): the one-cycle learning rate.
# - Shazeer, *Fast Transformer Decoding: One Write-Head is All You Need* (2019), section 2.4: what a step reads.
# - Leviathan, Kalman and Matias, *Fast Inference from Transformers via Speculative Decoding* (2023), section 2.
# - Zhang and Sennrich, *Root Mean Square Layer Normalization* (2019), equation 4.
# - Vig, *A Multiscale Visualization of Attention in the Transformer Model* (2019): BertViz.
