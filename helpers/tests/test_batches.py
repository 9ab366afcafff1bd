"""Batches: every example once, no more words than allowed, and alike in length on both sides."""

import pytest
import torch

from helpers.batches import WordBatches, shuffled_batches


def corpus(number=2000, longest=40, seed=0):
    """Pairs of sentences whose lengths are as those of a real corpus: related, and never equal."""
    random = torch.Generator().manual_seed(seed)
    source_length = (torch.rand(number, generator=random) ** 2 * (longest - 5) + 4).long()
    target_length = (source_length + torch.randint(-3, 4, (number,), generator=random)).clamp(min=3)
    pair = []
    for lengths, width in ((source_length, longest), (target_length, longest + 3)):
        ids = torch.randint(3, 50, (number, width), generator=random)
        pair.append(ids.masked_fill(torch.arange(width) >= lengths.unsqueeze(1), 0))
    return (*pair, torch.arange(number))


def padding(batches, side):
    return 1 - sum(int((b[side] != 0).sum()) for b in batches) / sum(b[side].numel() for b in batches)


def test_every_example_comes_once_an_epoch_whatever_the_batch_size():
    numbers = torch.arange(1, 54).unsqueeze(1)
    tokens = torch.cat([numbers, numbers % 7 * (numbers % 3), numbers * 0], dim=1)
    labels = torch.arange(1, 54)
    for batch_size in (1, 5, 8, 100):
        batches = list(shuffled_batches((tokens, labels), batch_size, torch.Generator().manual_seed(0), pad_id=0))
        assert sorted(int(n) for batch, _ in batches for n in batch[:, 0]) == labels.tolist()
        assert all(torch.equal(batch[:, 0], label) for batch, label in batches)
        assert all((batch[:, -1] != 0).any() for batch, _ in batches)  # nothing but padding was cut off


@pytest.mark.parametrize("words, accumulate", [(60, 1), (500, 1), (500, 3), (100_000, 1)])
def test_batches_by_words_hold_every_example_once_and_no_more_words(words, accumulate):
    source, target, number = corpus()
    batches = WordBatches((source, target, number), words, pad_id=0, accumulate=accumulate)
    shuffler = torch.Generator().manual_seed(0)
    orders = []
    for epoch in (batches.in_order(), batches.shuffled(shuffler), batches.shuffled(shuffler)):
        epoch = list(epoch)
        assert len(epoch) == len(batches)
        orders.append([int(n) for batch in epoch for n in batch[2]])
        assert sorted(orders[-1]) == number.tolist()
        for s, t, n in epoch:
            assert (s[:, -1] != 0).any() and (t[:, -1] != 0).any()
            assert torch.equal(s, source[n, : s.size(1)]) and not source[n, s.size(1) :].any()
            assert torch.equal(t, target[n, : t.size(1)]) and not target[n, t.size(1) :].any()
            parts = list(zip(s.chunk(accumulate), t.chunk(accumulate)))
            assert all(a.numel() + b.numel() <= words or len(a) == 1 for a, b in parts)
    assert orders[0] != orders[1] != orders[2]


def test_examples_are_alike_on_both_sides():
    data = corpus(5000)
    by_number = list(shuffled_batches(data, 64, torch.Generator().manual_seed(0), pad_id=0))
    by_words = list(WordBatches(data, 2000, pad_id=0).shuffled(torch.Generator().manual_seed(0)))
    assert padding(by_number, 1) > 0.15
    assert padding(by_words, 0) < 0.03 and padding(by_words, 1) < 0.1
    sets = [frozenset(b[2].tolist()) for b in by_words]
    again = [frozenset(b[2].tolist()) for b in WordBatches(data, 2000, 0).shuffled(torch.Generator().manual_seed(1))]
    assert len(set(sets) & set(again)) < len(sets) / 3, "most batches are made anew in every epoch"


def test_a_very_long_line_travels_alone():
    source, target, number = corpus(300)
    wide = [torch.cat([t, torch.zeros(300, 2000, dtype=torch.long)], dim=1) for t in (source, target)]
    wide[0][17, :2000] = 5
    batches = list(WordBatches((*wide, number), 600, pad_id=0).shuffled(torch.Generator().manual_seed(0)))
    (alone,) = [b for b in batches if b[0].size(1) == 2000]
    assert alone[2].tolist() == [17]
    assert all(b[0].numel() + b[1].numel() <= 600 for b in batches if b is not alone)


def test_one_tensor_and_labels_as_wide_as_their_ids():
    source, _, _ = corpus(100)
    labels = (source == 7).long()  # zeros, which are no padding here
    for ids, columns in WordBatches((source, labels), 300, pad_id=0).shuffled(torch.Generator().manual_seed(0)):
        assert ids.shape == columns.shape and torch.equal((ids == 7).long(), columns)
    assert sum(len(b[0]) for b in WordBatches((source,), 300, pad_id=0).in_order()) == 100
    with pytest.raises(ValueError, match="tensors holds no ids"):
        WordBatches((source.float(),), 300, pad_id=0)
    with pytest.raises(ValueError, match="pad_id is None"):
        WordBatches((source,), 300, pad_id=None)
