# %% [markdown] slideshow={"slide_type": "slide"}
# # Solutions to chapter 2, Seq2Seq with Bahdanau and Luong attention
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/your_account/flycatcher/blob/main/notebooks/solutions/02_seq2seq_attention_solutions.ipynb)
#
# One way to solve each exercise of [chapter 2](../02_seq2seq_attention.ipynb), with the reason for every line that is
# easily left out. Other ways are as good: the checks accept any right answer. Exercises 4 to 8 are tried out on
# translators, twelve of which are trained here. That takes most of the minute that this notebook runs.

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
from collections import Counter

import matplotlib.pyplot as plt
from torch.nn import functional as F
from tqdm import tqdm

from helpers import analysis, plots, translation
from helpers.checks import seq2seq_attention as attention_checks
from helpers.checks import seq2seq_decoding as decoding_checks
from helpers.classic_attention import MultiplicativeAttention
from helpers.data import load_parallel
from helpers.seq2seq import Seq2Seq
from helpers.text import Vocabulary
from helpers.training import fit, seed_everything

plots.use_style()
torch.set_num_threads(1)
modules = (attention_checks, decoding_checks)
print("checks:", len({name for module in modules for name in dir(module) if name.startswith("check_")}))


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 1 · additive weights
#
# The query is one vector a sentence, the keys are several: the axis of length 1 lets broadcasting add the same query to
# every key. tanh is what makes it work. Without it the score is a sum of a number for the query and a number for the key;
# the query's number is the same for all keys, and the softmax ignores what all scores have in common.
#
# The mask comes before the softmax. Forbidden scores become the lowest *finite* number, because a row of $-\infty$ is
# NaN, and the last step turns the even average of a wholly masked sentence into zeros.

# %%
def masked_softmax(scores, mask):
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).masked_fill(~mask, 0.0)


def additive_weights(query, keys, w_query, w_key, v, mask):
    q = (query @ w_query).unsqueeze(1)  # (B, D_q) → (B, H) → (B, 1, H)
    hidden = torch.tanh(q + keys @ w_key)  # (B, 1, H) + (B, T_k, H) → (B, T_k, H)
    return masked_softmax(hidden @ v, mask)  # (B, T_k, H) @ (H,) → (B, T_k)


assert attention_checks.check_additive_weights(additive_weights)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 2 · the general score, all steps at once
#
# `keys.transpose(1, 2)` puts the width where the product needs it. The mask gets an axis for the queries. This is the
# line to remember: without it PyTorch reads (B, T_k) as (1, B, T_k), and when the batch happens to be as large as the
# number of steps, step $i$ of every sentence silently obeys the mask of sentence $i$.

# %%
def luong_context(states, keys, w, mask):
    scores = states @ w @ keys.transpose(1, 2)  # (B, T_q, D) @ (D, E) @ (B, E, T_k) → (B, T_q, T_k)
    weights = masked_softmax(scores, mask.unsqueeze(1))  # the mask: (B, T_k) → (B, 1, T_k)
    return weights @ keys, weights  # (B, T_q, T_k) @ (B, T_k, E) → (B, T_q, E)


assert attention_checks.check_luong_context(luong_context)


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 3 · the loss over real words only
#
# `logits[real]` keeps the rows of the real words and flattens batch and steps into one axis, which is what
# `cross_entropy` wants. Its mean then divides by the number of those rows. What was never chosen has no gradient.

# %%
def sequence_loss(logits, target, pad_id):
    real = target != pad_id  # (B, T)
    return F.cross_entropy(logits[real], target[real])  # (words, V) and (words,)


assert attention_checks.check_sequence_loss(sequence_loss)

# %% [markdown]
# `ignore_index` does the same. And the gradient at padding is exactly 0:

# %%
logits = torch.randn(2, 3, 5, requires_grad=True)
target = torch.tensor([[4, 2, 3], [1, 0, 0]])  # 0 is padding
loss = sequence_loss(logits, target, pad_id=0)
loss.backward()
torch.testing.assert_close(loss, F.cross_entropy(logits.transpose(1, 2), target, ignore_index=0))
print("gradient at padding:", logits.grad[target == 0].abs().max().item())

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Three translators to try things on
#
# Exercises 4 to 8 are about models, so here are some: `Seq2Seq` with Luong's dot score, trained on 2,000 sentence pairs for
# eight epochs, from three seeds. That is a tenth of the corpus, so that twelve of them can be trained in a minute. They
# are far from the best that this model can do.

# %%
corpus = load_parallel("en_ja")
english = Vocabulary.from_sentences(corpus["train"].source)
japanese = Vocabulary.from_sentences(corpus["train"].target)


def encoded(name, number=None):
    source = english.encode_batch(corpus[name].source[:number], device)[:, 1:]  # without <BOS>
    return source, japanese.encode_batch(corpus[name].target[:number], device)


train, dev, test = encoded("train", 2000), encoded("dev", 300), encoded("test")
sizes = [(len(s.split()), len(t.split())) for s, t in zip(corpus["test"].source, corpus["test"].target)]
print(f"{len(train[0])} pairs to train on, {len(test[0])} to test on")

# %% [markdown]
# A translator from a seed. `attention` may take the place of the model's own attention; exercise 7 needs that. The dot
# score has no parameters, so nothing is lost.

# %%
SEEDS = (0, 1, 2)


def translator(seed, attention=None):
    seed_everything(seed)
    model = Seq2Seq(len(english), len(japanese), hidden_size=64, attention="luong-dot")
    if attention is not None:
        model.attention = attention
    model = model.to(device)
    loss = translation.translation_loss
    history = fit(model, train, dev, loss, epochs=8, lr=0.01, batch_size=48, seed=seed, progress=False)
    return model, history


# %% [markdown]
# Three trainings:

# %% tags=["nbval-ignore-output"]
plain, histories = zip(*(translator(seed) for seed in tqdm(SEEDS, file=sys.stdout, ncols=80)))

# %% [markdown]
# What they reach on the test set, each number a mean over three seeds with its interval. The alignment error of the guess
# "word order is the same" is the reference point. The attention weights are those under teacher forcing, where row $j$
# belongs to the reference's word $j$.

# %% tags=["nbval-ignore-output"]
references, gold = corpus["test"].target, corpus["test"].alignment


def judged(model):
    translations = translation.translate_texts(model, test[0], japanese)
    weights = translation.forced_weights(model, *test)  # a list of (T_q, T_k)
    bleu = translation.bleu(translations, references).score
    return bleu, translation.alignment_error_rate(weights, gold, sizes), translations, weights


plain_results = [judged(model) for model in plain]
diagonal = translation.error_rate([translation.diagonal_alignment(*size) for size in sizes], gold)
print("BLEU            ", analysis.seed_interval([r[0] for r in plain_results]))
print("alignment error ", analysis.seed_interval([r[1] for r in plain_results]))
print(f"... of the diagonal {diagonal:.3f}")

# %% [markdown]
# They have learned something, and are far from perfect:

# %%
assert all(40 < r[0] < 75 for r in plain_results)
assert all(r[1] < 0.75 * diagonal for r in plain_results)
print("BLEU between 40 and 75, alignment error below three quarters of the diagonal's")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 4 · coverage
#
# `target_mask.unsqueeze(-1)` silences whole rows, `* source_mask` whole columns. The second use of `source_mask` is the
# one that is forgotten: padding received 0, and 0 is less than any limit, but padding is not a word.

# %%
def coverage(weights, target_mask, source_mask, least):
    total = (weights * target_mask.unsqueeze(-1)).sum(dim=1)  # (B, T_q, T_k) → (B, T_k)
    total = total * source_mask
    forgotten = ((total < least) & source_mask).sum(dim=1)  # (B, T_k) → (B,)
    return total, forgotten


assert decoding_checks.check_coverage(coverage)

# %% [markdown]
# Which English words receive less than half a step's weight in all? First the shares, each a mean over the three
# translators with its interval: of the words that the gold alignment links to something in Japanese, and of those that
# it links to nothing, such as articles. Then the words that the first translator passes over most, among those that occur
# at least 20 times in the test set and are linked every time.

# %% tags=["nbval-ignore-output"]
sources = corpus["test"].source
source_mask, target_mask = (test[0] != 0).cpu(), (test[1][:, 1:] != 0).cpu()  # 0 is padding
places = [(n, i, word) for n, sentence in enumerate(sources) for i, word in enumerate(sentence.split())]
rows, columns, words = zip(*places)
linked = torch.tensor([any(i == source for source, _ in gold[n]) for n, i, _ in places])  # (words,)


def passed_over(weights):
    total, _ = coverage(torch.stack(weights), target_mask, source_mask, least=0.5)  # (B, T_k)
    return total[rows, columns] < 0.5  # (words,)


passed = [passed_over(result[3]) for result in plain_results]
with_link, without_link = ([p[kind].float().mean().item() for p in passed] for kind in (linked, ~linked))
print("passed over, with a link   ", analysis.seed_interval(with_link))
print("passed over, without a link", analysis.seed_interval(without_link))
never = {word for word, link in zip(words, linked.tolist()) if not link}
seen, missed = Counter(words), Counter(w for w, gone in zip(words, passed[0].tolist()) if gone)
often = sorted((w for w in seen if seen[w] >= 20 and w not in never), key=lambda w: -missed[w] / seen[w])
print("most:", ", ".join(f"{w} {missed[w] / seen[w]:.0%}" for w in often[:6]))

# %% [markdown]
# On average, words that Japanese leaves out are passed over more often. But the list holds words that do have a
# translation and are passed over nearly every time. Nothing need be lost by that: an annotation knows the words around
# it, so the decoder may look at a neighbour. Low coverage is a question and no verdict.

# %%
assert sum(without_link) > sum(with_link)
assert min(with_link) > 0.05 and missed[often[0]] > 0.5 * seen[often[0]]
print("words without a link are passed over more often; of those with one, more than 5 per cent")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 5 · short, medium, long
#
# `bucketize` counts how many edges lie below a length, which is the number of its group; a length *equal* to an edge
# belongs to the group that the edge closes. The mean of no numbers is NaN in PyTorch, and that is what we want here.

# %%
def by_length(lengths, values, edges):
    group = torch.bucketize(lengths, torch.tensor(edges))  # (N,), 0 to len(edges)
    members = [group == number for number in range(len(edges) + 1)]
    means = torch.stack([values[m].mean() for m in members])
    return means, torch.stack([m.sum() for m in members])


assert decoding_checks.check_by_length(by_length)

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### The experiment
#
# Short is up to 6 English tokens (the final `.` counted), medium 7 to 9, long 10 and more. The entropy of a step is
# divided by the largest possible, $\log T_k$: a longer sentence has more words to spread over, and without the division
# it would look less sure for that alone. BLEU is computed once for each group; exact match is a mean like any other.

# %% tags=["nbval-ignore-output"]
lengths = torch.tensor([source for source, _ in sizes])
edges = (6, 9)
group = torch.bucketize(lengths, torch.tensor(edges))
rows_of = [(group == number).nonzero().flatten().tolist() for number in range(3)]


def relative_entropy(matrix, size):
    words = matrix[: size[1] + 1, : size[0] + 1]  # <EOS> counted, padding not
    return analysis.attention_entropy(words).mean() / torch.tensor(size[0] + 1.0).log()


def measured(result):
    _, _, translations, weights = result
    entropy = torch.stack([relative_entropy(w, size) for w, size in zip(weights, sizes)])
    exact = torch.tensor([float(a == b) for a, b in zip(translations, references)])
    pairs = [([translations[i] for i in rows], [references[i] for i in rows]) for rows in rows_of]
    bleu = [translation.bleu(*pair).score for pair in pairs]
    return by_length(lengths, entropy, edges)[0], by_length(lengths, exact, edges)[0], torch.tensor(bleu)


measures = [torch.stack(m) for m in zip(*map(measured, plain_results))]  # (seeds, groups) each
print("sentences:", *by_length(lengths, lengths.float(), edges)[1].tolist())
for name, numbers in zip(("entropy", "exact match", "BLEU"), measures):
    print(f"{name:12}", "   ".join(str(analysis.seed_interval(column)) for column in numbers.T.tolist()))

# %% [markdown]
# Exact match falls from group to group: more words, more chances to be wrong. BLEU does not: its mean is highest in the
# middle. A sentence of six tokens has only three runs of four, and one wrong word in its middle spoils all three. So
# compare BLEU between models, not between lengths. The relative entropy rises only a little: in long sentences the decoder
# is nearly as sure of where to look, and still translates them worse.

# %%
entropy, exact, bleu = measures
assert (exact[:, 0] - exact[:, 2] > 0.05).all()
assert bleu.mean(0).argmax() == 1 and (bleu[:, 1] > bleu[:, 2]).all()
assert (entropy[:, 2] / entropy[:, 0]).max() < 1.5
print("short to long: exact match falls with every seed; BLEU is highest in the middle")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 6 · alignment error
#
# Rows and columns are cut off first: a map may well give its largest weight to `<EOS>`, which the gold alignment does not
# know. `enumerate` counts the rows, which are target positions; in a pair the source comes first.

# %%
def alignment_error(weights, gold, source_length, target_length):
    best = weights[:target_length, :source_length].argmax(dim=-1).tolist()
    guess = {(source, target) for target, source in enumerate(best)}
    return 1 - 2 * len(guess & gold) / (len(guess) + len(gold))


assert decoding_checks.check_alignment_error(alignment_error)

# %% [markdown]
# The mean of the sentences' errors is not quite what `helpers.analysis` reports: that one adds up the links of all
# sentences and divides once, as Och and Ney do. For a single sentence the two agree.

# %% tags=["nbval-ignore-output"]
maps = plain_results[0][3]
errors = [alignment_error(w, links, *size) for w, links, size in zip(maps, gold, sizes)]
for i in range(50):
    theirs = translation.alignment_error_rate(maps[i : i + 1], gold[i : i + 1], sizes[i : i + 1])
    assert abs(errors[i] - theirs) < 1e-9
print(f"mean of the sentences {sum(errors) / len(errors):.3f}")
print(f"all links together    {plain_results[0][1]:.3f}")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 7 · dropped attention weights
#
# One random number for each weight. Dividing by $1 - p$ keeps the *expected* weight the same, so that nothing has to be
# changed in evaluation. It does not keep the sum of a row: with luck a row adds up to more than 1, and a row may lose
# everything.

# %%
def dropped_weights(weights, p, training):
    if not training:
        return weights
    kept = torch.rand_like(weights) >= p  # True with probability 1 - p
    return weights * kept / (1 - p)


assert attention_checks.check_dropped_weights(dropped_weights)

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### The experiment
#
# The attention is Luong's, and in training the context is computed once more, from the dropped weights. It changes no
# parameter, so the models with 0 per cent are the three translators from above.

# %%
class DroppedAttention(MultiplicativeAttention):
    """Luong's attention with the dot score, which drops weights in training."""

    def __init__(self, size, p):
        super().__init__(size, size, "dot")
        self.p = p

    def forward(self, query, keys, mask=None, projected=None):
        context, weights = super().forward(query, keys, mask, projected)
        if self.training:
            weights = dropped_weights(weights, self.p, training=True)
            context = weights @ keys  # (B, T_q, T_k) @ (B, T_k, D) → (B, T_q, D)
        return context, weights


# %% [markdown]
# *Predict first.* Which share will be best, and what will the alignment error do?
#
# <details><summary>What came out</summary>
#
# None of them helps, under these conditions. With 10 per cent nothing happens that three seeds could show; the more is
# dropped, the lower BLEU; and the alignment error moves so differently from seed to seed that nothing can be said.
#
# </details>

# %% tags=["nbval-ignore-output"]
shares = (0.0, 0.1, 0.2, 0.3)
results = {(0.0, seed): result[:2] for seed, result in zip(SEEDS, plain_results)}
runs = [(p, seed) for p in shares[1:] for seed in SEEDS]
for p, seed in tqdm(runs, file=sys.stdout, ncols=80):
    results[p, seed] = judged(translator(seed, DroppedAttention(64, p))[0])[:2]
print("BLEU and alignment error, three seeds each:")
for p in shares:
    bleu, error = (analysis.seed_interval([results[p, seed][i] for seed in SEEDS]) for i in range(2))
    print(f"p = {p:.1f}   BLEU {bleu}   alignment error {error}")

# %% [markdown]
# With three seeds the intervals are wide: seeds differ, and a bad seed is bad at every $p$. The runs come in threes that
# share their seed, their first weights and the order of their sentences. So look at the *differences* within a seed:

# %% tags=["nbval-ignore-output"]
gains, errors_less = {}, {}
for p in shares[1:]:
    name = f"{p:.0%} dropped"
    gains[name] = analysis.seed_interval([results[p, s][0] - results[0.0, s][0] for s in SEEDS])
    errors_less[name] = analysis.seed_interval([results[p, s][1] - results[0.0, s][1] for s in SEEDS])
    print(f"{name:12} BLEU {gains[name]}   alignment error {errors_less[name]}")
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8), sharey=True)
still = {"": 0}  # a dotted line
plots.interval_plot(gains, "BLEU, difference from 0 %", "More dropout, less BLEU", still, left)
title = "Alignment error: three seeds cannot tell"
plots.interval_plot(errors_less, "alignment error, difference", title, still, right)
plt.show()

# %% [markdown]
# The dot is the mean difference over three seeds, the line its interval, the dotted line no change. At 30 per cent the
# interval of BLEU excludes 0; at 10 and 20 per cent it does not, nor does any of the alignment error. That is the result
# for 2,000 pairs and eight epochs, after which the translators without dropout were still getting better. Whether dropout
# pays when a model is trained until it overfits is the next experiment, and it is yours: try forty epochs.

# %%
changes = [results[0.3, seed][0] - results[0.0, seed][0] for seed in SEEDS]
assert sum(changes) < 0
assert all(history.best_epoch == 7 for history in histories)
print("30 per cent dropped: BLEU falls on average; without dropout the last of eight epochs is the best")


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercise 8 · the greedy loop
#
# `done` only ever turns `True`: a sentence that has ended stays ended, whatever the decoder goes on to say. The order of
# the three lines matters. `pad_id` goes where `done` was `True` *before* this step, so that the first `eos_id` itself is
# kept. Looking at `done` in the head of the loop is what spares the last, useless call.

# %%
def greedy(step, state, batch_size, max_length, bos_id, eos_id, pad_id):
    tokens = torch.full((batch_size,), bos_id)  # (B,)
    done = torch.zeros(batch_size, dtype=torch.bool)
    words = []
    while len(words) < max_length and not done.all():
        logits, state = step(tokens, state)  # (B, V)
        tokens = logits.argmax(dim=-1).masked_fill(done, pad_id)  # (B, V) → (B,)
        words.append(tokens)
        done = done | (tokens == eos_id)
    return torch.stack(words, dim=1)  # T times (B,) → (B, T)


assert decoding_checks.check_greedy(greedy)

# %% [markdown]
# The loop knows nothing about attention, or about GRUs. It drives the chapter's model as well, because that model has a
# `step` of just this form, and it says the same as the model's own `translate`:

# %%
model, sentences = plain[0].cpu(), test[0][:100].cpu()
with torch.no_grad():
    state = model.encode(sentences)
    mine = greedy(model.step, state, 100, 40, english.bos_id, english.eos_id, english.pad_id)
assert torch.equal(mine, model.translate(sentences, max_length=40)[0])
print("100 sentences, word for word the same")

# %% [markdown]
# Back to [chapter 2](../02_seq2seq_attention.ipynb).
