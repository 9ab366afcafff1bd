# %% [markdown] slideshow={"slide_type": "slide"}
# # Study 6: your own sentences
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/studies/06_your_own_sentences.ipynb)
#
# **Question.** You have two text files in which line $i$ of one translates line $i$ of the other. What does it take to make a
# translator of them that you can keep, how long will that last on your machine, and how good is it?
#
# **Design.** Everything below works on a folder of plain files. By default it writes the series' own corpus into one, in the
# direction that no chapter trains: Japanese to English, 10,000 pairs. One line points elsewhere. One Transformer, one seed.
# Reference points: the loss of word frequencies, and the BLEU of a translator that copies its nearest neighbour's translation.
# What would refute "it has learned to translate": a BLEU no better than that neighbour's.
#
# **Answer.** A page of code. On the corpus it is about a minute of one CPU core, and a BLEU of 83 beside the neighbour's 40; part
# of what is missing the Japanese does not say. On Multi30k, German to English, it is ten minutes of one core, and 38.

# %% [markdown]
# | | |
# |---|---|
# | **Time** | about a minute to run on one CPU core; 25 minutes to read |
# | **You need** | [chapter 4](../04_full_transformer.ipynb); no file of your own yet |

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
import statistics
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt

from helpers import plots
from helpers.data import load_parallel
from helpers.playground import play
from helpers.plots import show
from helpers.saving import Translator, load_translator, save_translator
from helpers.text import Tokenizer, Vocabulary
from helpers.training import fit, seed_everything
from helpers.transformer import Transformer, TransformerConfig
from helpers.translation import bleu, forced_weights, translate_texts, translation_loss

plots.use_style()
torch.set_num_threads(1)
print("PyTorch", torch.__version__)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. Your files
#
# **What must lie in the folder?** Text in UTF-8, one sentence a line: `train.de` and `train.en`, `dev.de` and `dev.en` (or
# `val`), `test.de` and `test.en`, with the codes of your two languages. They may be packed (`train.de.gz`). Train is learned
# from, dev says when it goes well, test is looked at once. No sentence should stand in two of them. If you have one pair of
# files, shuffle the pairs and cut off a thousand each for dev and test.
#
# These lines are yours to change. The first one points to your folder.

# %%
FOLDER = None  # your folder, as "/content/my_sentences"; None: the series' corpus
SOURCE, TARGET = "ja", "en"  # the ends of the file names: from, to
MIN_COUNT = 20  # how often a word must occur to be known; 2 is usual for real text
D_MODEL, HEADS = 64, 4  # width and heads; 128 and 8 for tens of thousands of real sentences
EPOCHS, RATE, WORDS = 5, 5e-3, 1000  # the peak learning rate; how many ids a batch may hold
MADE_UP = "xyzzy"  # a word that your corpus lacks, for section 6

# %% [markdown]
# **A real corpus to try.** Multi30k (Elliott et al. 2016) holds 29,000 descriptions of pictures, in German and English; its
# licence allows research. The next cell fetches it, 1.3 MB, where there is a network, and sets the lines above. Checksums make
# sure that you get the files that were measured. (Tests do not run this cell.)
#
# **What was measured on it**, with these settings, one seed, one core (words cut by a slightly simpler rule): 2.4 million
# parameters, 7 epochs, 589 seconds of computing, about 5,000 English words a second. BLEU on the test set: 37.6 greedily, 38.4
# with a beam of 4 (`nrefs:1|case:mixed|eff:no|tok:none|smooth:exp|version:2.6.0`, in lower case, on tokens). The recipe of many
# tutorials (`nn.Transformer` of the same sizes, batches of 128 padded to the longest, a constant rate) reads 1,850 words a
# second on that core, and after 900 seconds has a validation loss of 2.05 and a BLEU of 29.5, greedily. Here the third epoch
# ended at 1.93, after 264 seconds.

# %% tags=["nbval-skip"]
WITH_NETWORK = False  # True: fetch Multi30k and use it
COMMIT = "a3d2e0d26b56f3846f66a952536ffed4e401d05a"
ADDRESS = f"https://raw.githubusercontent.com/multi30k/dataset/{COMMIT}/data/task1/raw/"
SHA256 = {
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
}
if WITH_NETWORK:
    import hashlib
    from urllib.request import urlopen

    FOLDER = Path("multi30k")
    FOLDER.mkdir(exist_ok=True)
    for name, expected in SHA256.items():
        try:
            content = urlopen(ADDRESS + name, timeout=60).read()
        except OSError as error:
            gone = f"{name} could not be fetched from {ADDRESS} ({error}). Any folder of yours will do."
            raise RuntimeError(gone) from None
        found = hashlib.sha256(content).hexdigest()
        assert found == expected, f"{name} is another file today: its sum is {found}"
        (FOLDER / name.replace("test_2016_flickr", "test")).write_bytes(content)
    SOURCE, TARGET, MIN_COUNT, D_MODEL, HEADS = "de", "en", 2, 128, 8
    EPOCHS, RATE, WORDS = 7, 2e-3, 1500
print("With WITH_NETWORK = True everything below works on Multi30k.")

# %% [markdown]
# Without a folder of yours, the series' corpus is written as people write: with capitals, and commas stuck to words. (Japanese
# is written without spaces. These sentences come cut into words; for others you need a segmenter first.)

# %%
spelled = {}  # Japanese words in Latin letters, for the axes of pictures
if FOLDER is None:
    temporary = tempfile.TemporaryDirectory()  # goes away with the kernel
    FOLDER = Path(temporary.name)
    for name, part in load_parallel("en_ja", source="ja").items():
        if name in ("train", "dev", "test"):
            for code, side in (("ja", part.source), ("en", part.target)):
                lines = [Tokenizer().detokenize(line) for line in side[:10_000]]
                lines = [line[0].upper() + line[1:] for line in lines]
                (FOLDER / f"{name}.{code}").write_text("\n".join(lines), encoding="utf-8")
            for words, letters in zip(part.source, part.romaji):
                spelled |= dict(zip(words.split(), letters.split()))
print(sorted(path.name for path in Path(FOLDER).iterdir()))

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2. Read and look
#
# **What is in it?** `load_parallel` checks line by line. A file that is not UTF-8, a web page saved in place of a file, a
# missing line: each gets a sentence that names file and line. Empty lines are left out in pairs, and lines of more than 100
# words too, with a warning that counts them.

# %%
corpus = load_parallel(FOLDER, SOURCE, TARGET, empty="drop", max_words=100, too_long="drop")
for name, part in corpus.items():
    print(f"{len(part):6} pairs in {name:6} {part.source[0]}  →  {part.target[0]}")

# %% [markdown]
# **Tokens.** "Dog", "dog" and "dog." should be one word. A **tokenizer** writes everything in lower case and sets punctuation
# apart, in any script; its inverse puts it back (the case is lost). What must hold: text made of tokens gives the same tokens.

# %%
tokenizer = Tokenizer()
text = {
    name: [[tokenizer.tokenize(line) for line in side] for side in (part.source, part.target)]
    for name, part in corpus.items()
}
for line in (corpus["train"].target[1], text["train"][1][1]):
    print(line)
for side in text["train"]:
    assert all(tokenizer.tokenize(tokenizer.detokenize(line)) == line for line in side)

# %% [markdown]
# **Lengths, copies, and choices.** A sentence of test that also stands in train measures memory. And where train translates one
# sentence in several ways, no model can know which one a reference has.

# %%
for code, side in zip((SOURCE, TARGET), text["train"]):
    lengths = [len(line.split()) for line in side]
    print(f"{code}: {statistics.mean(lengths):.1f} tokens a line, longest {max(lengths)}")
known = set(text["train"][0])
copies = {name: sum(line in known for line in text[name][0]) for name in text if name != "train"}
print("sources that train holds, too:", copies)
translations = {}
for line, translation in zip(*text["train"]):
    translations.setdefault(line, set()).add(translation)
print("sources with several translations:", sum(len(kinds) > 1 for kinds in translations.values()))
line, kinds = max(translations.items(), key=lambda item: len(item[1]))
print(line, "→", *sorted(kinds))

# %% tags=["nbval-ignore-output"]
axes = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True)[1]
for ax, code, side in zip(axes, (SOURCE, TARGET), text["train"]):
    lengths = Counter(len(line.split()) for line in side)
    ax.bar(list(lengths), list(lengths.values()), width=1, color=plots.PALETTE[0])
    ax.set(xlabel="tokens in a line", title=f"train.{code}")
axes[0].set_ylabel("lines")
show("Histograms of the numbers of tokens in a line of the training set, for both languages.")

# %% [markdown]
# One hump, no tail. A second hump or a long tail is often a table, or two sentences on one line.
#
# Japanese has no articles and no plural, and one form for *reads* and *will read*: that is where the several translations come
# from. Keep it in mind when you read the score.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3. Vocabularies
#
# **Which words should the model know?** A word seen once teaches nothing, and costs a row of the embedding. A **minimum count**
# leaves rare words out. All of them become one symbol, `<UNK>` (unknown), so that the model also trains for words that it will
# not know. How much of dev would it not know?

# %%
for count in (1, 2, 5, 20, 50):
    row = [f"min_count {count:2}:"]
    for code, train_side, dev_side in zip((SOURCE, TARGET), text["train"], text["dev"]):
        words = Vocabulary.from_sentences(train_side, min_count=count, unknown=True)
        share = words.unknown_in(dev_side).total() / sum(len(line.split()) for line in dev_side)
        row.append(f"{len(words):6,} symbols of {code}, {share:6.2%} of dev unknown;")
    print(*row)

# %%
vocabularies = [
    Vocabulary.from_sentences(side, min_count=MIN_COUNT, unknown=True) for side in text["train"]
]
for words, side in zip(vocabularies, text["dev"]):
    print(words, "most frequent unknown:", words.unknown_in(side).most_common(3))

# %% [markdown]
# Ids, then. A sentence goes from `<BOS>` to `<EOS>` on both sides. (Chapters 2 and 4 left `<BOS>` out of the source.)

# %%
data = {
    name: tuple(words.encode_batch(side, device) for words, side in zip(vocabularies, sides))
    for name, sides in text.items()
}
longest = max(ids.size(1) for pair in data.values() for ids in pair)
print({name: [tuple(ids.shape) for ids in pair] for name, pair in data.items()})

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4. How long will it take?
#
# **Measure before you wait.** The model is chapter 4's, with dropout. Train one for an epoch on 400 pairs, once to warm
# up and once by the clock; the rest is a rule of three.

# %% tags=["nbval-ignore-output"]
def make():
    seed_everything(0)
    sizes = {"d_model": D_MODEL, "num_heads": HEADS, "d_ff": 2 * D_MODEL, "num_layers": 2}
    config = TransformerConfig(
        *map(len, vocabularies), **sizes, dropout=0.1, max_length=longest + 20, tie_embeddings=True
    )
    return Transformer(config).to(device)


recipe = {"loss": partial(translation_loss, label_smoothing=0.1), "lr": RATE, "words_per_batch": WORDS}
if device.type == "cuda" and D_MODEL >= 256:  # half precision, on wide models; not measured here
    recipe["autocast"] = torch.float16
model = make()
few = tuple(ids[:400] for ids in data["train"])
for _ in range(2):
    begin = time.perf_counter()
    fit(make(), few, few, epochs=1, progress=False, **recipe)
    seconds = time.perf_counter() - begin
minutes = seconds / 60 * len(corpus["train"]) / 400 * EPOCHS
size = sum(p.numel() for p in model.parameters())
print(f"{size:,} parameters; about {minutes:.1f} minutes on this machine")

# %% [markdown]
# If it is too long: fewer epochs first, then a smaller `D_MODEL`; a GPU in Colab costs nothing to try. If the memory is too
# small, halve `WORDS`: a batch holds at most so many ids, so a long sentence does not cost more than many short ones.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5. Train and judge
#
# The bar counts batches and says words a second. **Stop** ends it: the best weights so far stay, and `fit(...,
# resume=history)` goes on where it was. Does that give the same model as training without a break?

# %%
small = tuple(ids[:200] for ids in data["train"])
quiet = {"epochs": 2, "progress": False, **recipe}
whole = make()  # seeds as well, so that both draw the same dropout
fit(whole, small, small, **quiet)
halves = make()
half = fit(halves, small, small, pause_after=1, **quiet)
fit(halves, small, small, resume=half, **quiet)
if device.type == "cpu":  # a GPU adds in another order each time
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), halves.parameters()))
print("on a CPU, 1 + 1 epochs == 2 epochs, every digit")

# %% [markdown]
# It does, to the last digit. Now the real thing. The dotted line is the loss of a model that knows how frequent each word is,
# and nothing else.

# %% tags=["nbval-ignore-output"]
history = fit(model, data["train"], data["dev"], epochs=EPOCHS, **recipe)
targets = [data[name][1][:, 1:] for name in ("train", "dev")]
frequency = torch.bincount(targets[0][targets[0] > 0], minlength=len(vocabularies[1])) + 1.0
unigram = -(frequency / frequency.sum()).log()[targets[1][targets[1] > 0]].mean().item()
plots.loss_curves({"Transformer": history}, {"word frequencies": unigram}, "Loss, epoch by epoch")
show("Training and validation loss over the epochs, falling far below the loss of word frequencies.")

# %% [markdown]
# (The dashed line, training, is higher: it has dropout and label smoothing.) Is the full line still falling at the end? Then
# give it more epochs. Does it rise again? Fewer, or more dropout; the weights of the best epoch are kept.
#
# **BLEU** (chapter 2) compares with the references, here on tokens; the signature says how. The reference point translates
# nothing: it takes the training sentence with the largest share of words in common, and says *its* translation.

# %% tags=["nbval-ignore-output"]
exam, references = data["test"][0], text["test"][1]
written = {
    "greedy": translate_texts(model, exam, vocabularies[1]),
    "beam of 4": translate_texts(model, exam, vocabularies[1], beam_size=4),
}
bags = [set(line.split()) for line in text["train"][0]]


def nearest(line):
    words = set(line.split())
    return max(range(len(bags)), key=lambda i: len(words & bags[i]) / len(words | bags[i]))


first = slice(0, 200)  # of test: each looks at all of train
written["nearest"] = [text["train"][1][nearest(line)] for line in text["test"][0][first]]
scores = {name: bleu(lines[first], references[first]).score for name, lines in written.items()}
print("first 200:", {name: round(score, 1) for name, score in scores.items()})
for name in ("greedy", "beam of 4"):
    print("all of test:", name, bleu(written[name], references))
assert scores["beam of 4"] > scores["nearest"] + 10

# %% [markdown]
# The model beats its neighbour by a wide margin. The beam does not pay here: greedy is as good, to a few tenths. (On Multi30k
# it does.)
#
# **Where is it good?** A mean hides that. Sort test by length, cut it into thirds, and read the best and the worst of each. (One
# sentence's BLEU is a crude measure; for finding examples it will do.)

# %% tags=["nbval-ignore-output"]
best = written["beam of 4"]
order = sorted(range(len(best)), key=lambda i: len(references[i].split()))
third = len(order) // 3
thirds = {"short": order[:third], "middle": order[third:-third], "long": order[-third:]}
for name, rows in thirds.items():
    single = {i: bleu([best[i]], [references[i]]).score for i in rows}
    score = bleu([best[i] for i in rows], [references[i] for i in rows]).score
    right = statistics.mean(best[i] == references[i] for i in rows)
    print(f"{name}: BLEU {score:.1f}, {right:.0%} right to the word")
    for i in (max(single, key=single.get), min(single, key=single.get)):
        print(f"   {corpus['test'].source[i]}\n      wrote {best[i]}\n      asked {references[i]}")

# %% [markdown]
# Read the worst ones. Where only *reads* and *will read* differ, or one carrot and several, the source does not say, and a test set
# with several references for each sentence would count both as right. Where it says 明日, *tomorrow*, the mistake is the model's.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6. Keep it, and use it
#
# **What must go into the file?** The numbers, the sizes, both vocabularies and the tokenizers: without any of them the rest is
# useless. `Translator` holds all. The file is data, not code: `torch.load(weights_only=True)` reads it, so it is safe to send.
# Is what comes back the same?

# %%
translator = Translator(model, *vocabularies, tokenizer, tokenizer)
path = Path(FOLDER) / "translator.pt"
save_translator(path, translator)
loaded = load_translator(path, device)
sentences = corpus["test"].source[:100]
assert loaded.translate(sentences, beam_size=4) == translator.translate(sentences, beam_size=4)
print("loaded == saved, on", len(sentences), "sentences as they stand in the file")

# %% [markdown]
# Raw text goes in, and raw text comes out. Give it a sentence with a word that it has never met.

# %% tags=["nbval-ignore-output"]
sentence = corpus["dev"].source[2]
words = sentence.split()
words[len(words) // 2] = MADE_UP
raw = " ".join(words)
(tokens,) = loaded.tokenize([raw])
print("you type:    ", raw)
print("it reads:    ", loaded.source_vocabulary.decode(loaded.encode([raw])[0]))
print("it writes:   ", *loaded.translate([raw], beam_size=4))
print("without it:  ", *loaded.translate([sentence], beam_size=4))
assert loaded.source_vocabulary.unknown_in([tokens])[MADE_UP] == 1

# %% [markdown]
# A fluent sentence, and wrong: the place of the unknown word is filled with something from beside it, and nothing in the output
# tells you. So look at what the model *reads* before you trust what it writes.
#
# **Where did it look?** `forced_weights` feeds the translation and returns the cross-attention, here of the last layer, the mean
# over its heads. Each row is a word that it wrote, here greedily.

# %% tags=["nbval-ignore-output"]
source = loaded.encode([raw])
lines = translate_texts(loaded.model, source, vocabularies[1])
target = vocabularies[1].encode_batch(lines, device)
weights = forced_weights(loaded.model, source, target)[0]  # (T, S)
columns = [spelled.get(word, word) for word in ["<BOS>", *tokens.split(), "<EOS>"]]
rows = vocabularies[1].tokens(target[0, 1:])
title = "Cross-attention, last layer"
plots.attention_heatmap(weights, rows, columns, title, xlabel="source", ylabel="written")
show("Heat map: rows are the words written, columns the source words with the unknown one.")

# %% [markdown]
# See the column of the unknown word. Of all that was written, an article is what looked there; the noun behind it looked at
# another noun of the sentence, and repeated that one.
#
# (Words in a script that the pictures' font lacks are spelled out, with one warning that names a font that has them.)
#
# **To play with.** The model that you saved runs in the page. Type a sentence, tokenized, and point at a head.

# %% tags=["nbval-ignore-output"]
play(loaded.model, *vocabularies, text=tokens, precision="float16", title="Your own translator")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7. What to try next
#
# - **Subwords.** Cut rare words into frequent pieces (Sennrich et al. 2016), and `<UNK>` all but disappears. The files may come
#   cut already; the rest of this notebook stays as it is.
# - **More pairs.** Public collections: OPUS, Tatoeba.
# - **A wider model** (`D_MODEL`, `HEADS`) when training loss stays high; more dropout when validation loss rises.
# - **Several references** for each sentence, if you have them: `bleu(lines, [first, second])`.
# - **A recurrent model**: `Seq2Seq` goes through the same functions, saving included.

# %% [markdown]
# ## What you now know
#
# 1. Two text files, a page of code: read, tokenize, count, train, judge, keep.
# 2. Look first: lengths, copies between the splits, the share of unknown words.
# 3. Know the time before you wait, from a few batches; training can be stopped, and goes on exactly.
# 4. A BLEU means something beside a reference point, and with its signature.
# 5. A model without its vocabularies and its tokenizer is a heap of numbers. Keep them in one file.
#
# Back to [chapter 4](../04_full_transformer.ipynb).

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - Elliott, Frank, Sima'an and Specia, *Multi30K: Multilingual English-German Image Descriptions* (2016), section 2.
# - Papineni et al., *BLEU* (2002), section 2.3; Post, *A Call for Clarity in Reporting BLEU Scores* (2018), section 3.
# - Sennrich, Haddow and Birch, *Neural Machine Translation of Rare Words with Subword Units* (2016), section 3.
# - Vaswani et al., *Attention Is All You Need* (2017), sections 3.4 (tied embeddings) and 5.4 (label smoothing).
