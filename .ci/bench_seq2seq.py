"""Seq2Seq at the size of real parallel text: the Luong decoder at once against stepped, and memory over an epoch."""

import statistics
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from helpers.seq2seq import Seq2Seq
from helpers.text import Vocabulary
from helpers.training import seed_everything, shuffled_batches
from helpers.translation import translation_loss

PAIRS, SOURCE_WORDS, TARGET_WORDS, HIDDEN = 50_000, 4_000, 5_000, 256
BATCH_SIZE = 16  # all steps at once it is as fast as larger ones; the ratio falls as batches grow (3.6 at 8, 1.8 at 32)
TIMED_BATCHES, EPOCH_BATCHES = 20, 120  # a whole epoch is 3,125 batches: minutes on two cores
REQUIRED_RATIO, ALLOWED_GROWTH = 2.0, 0.10


def generated_text(seed=0):
    """Return `PAIRS` pairs as padded ids: 5 to 25 source words and about as many target words, by Zipf's law."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(5, 26, PAIRS)
    sides = []
    for words, extra in ((SOURCE_WORDS, 0), (TARGET_WORDS, draw.integers(-2, 6, PAIRS))):
        shares = 1 / np.arange(1, words + 1)
        number = (lengths + extra)[:, None]
        place = np.arange(int(number.max()) + 1)[None]
        ids = draw.choice(words, p=shares / shares.sum(), size=(PAIRS, place.size)) + 3
        ids = np.where(place == number, Vocabulary.eos_id, np.where(place < number, ids, Vocabulary.pad_id))
        sides.append(torch.from_numpy(ids))
    source, target = sides
    return source, torch.cat([torch.full((PAIRS, 1), Vocabulary.bos_id), target], dim=1)


def decode_seconds(model, batch, stepped):
    """Return the seconds of the decoder's forward and backward pass; the encoder's are left out of both ways."""
    source, target = batch
    with torch.no_grad():
        state = model.encode(source)
    encode, model.encode = model.encode, lambda source: state  # both ways start from the same encoded sentences
    try:
        start = time.perf_counter()
        logits, _ = model(source, target[:, :-1], stepped=stepped)
        targets = target[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=model.pad_id)
        loss.backward()
        return time.perf_counter() - start
    finally:
        model.encode = encode
        model.zero_grad()


def compare_decoders(model, batches):
    """Return the median over batches of the stepped decoder's time over that of all steps at once."""
    ratios, words = [], 0
    for number, batch in enumerate(batches):
        at_once, stepped = (decode_seconds(model, batch, way) for way in (False, True))
        if number >= 2:  # two batches to warm up
            ratios.append(stepped / at_once)
            words = max(words, int((batch[1][:, 1:] != model.pad_id).sum() / at_once))
    return statistics.median(ratios), words


def memory_growth(model, batches):
    """Train over the batches; return resident memory of the last third over the middle third, minus 1, and its peak.

    The first third is left out: the allocator is still meeting lengths that it has not seen.
    """
    process, samples = psutil.Process(), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    for source, target in batches:
        loss, count = translation_loss(model, source, target)
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
        samples.append(process.memory_info().rss)
    third = len(samples) // 3
    return max(samples[2 * third :]) / max(samples[third : 2 * third]) - 1, max(samples)


def compare_seq2seq():
    """Print the ratio and the growth, each with what is required; return whether both are met."""
    torch.set_num_threads(1)
    seed_everything(0)
    model = Seq2Seq(SOURCE_WORDS + 3, TARGET_WORDS + 3, hidden_size=HIDDEN, attention="luong-general")
    train = generated_text()
    epoch = shuffled_batches(train, BATCH_SIZE, torch.Generator().manual_seed(0))  # bucketed by length
    ratio, words = compare_decoders(model, islice(epoch, TIMED_BATCHES + 2))
    print(
        f"Luong decoder, {PAIRS:,} generated pairs, hidden {HIDDEN}, batches of {BATCH_SIZE}, forward and backward: all "
        f"steps at once {ratio:.1f} times the stepped decoder's words a second (up to {words:,}), {REQUIRED_RATIO:.0f} required"
    )
    growth, peak = memory_growth(model, islice(epoch, EPOCH_BATCHES))
    print(
        f"memory over {EPOCH_BATCHES} batches of the epoch: peak {peak / 2**20:.0f} MiB, growth of the last third "
        f"{growth:+.1%}, at most {ALLOWED_GROWTH:.0%} allowed"
    )
    return ratio >= REQUIRED_RATIO and growth <= ALLOWED_GROWTH


if __name__ == "__main__":
    sys.exit(not compare_seq2seq())
