"""The machinery of the checkers: what a reader reads, what is left alone, and the exercises of chapter 1."""

import numpy as np
import torch

from helpers.checks.attention_basics import check_padding_mask, check_softmax
from helpers.tests.checking import examine

# Chapter 1


def softmax_by_logarithm(scores):
    return (scores - scores.logsumexp(dim=-1, keepdim=True)).exp()


def softmax_row_by_row(scores):
    rows = [row - row.max() for row in scores.reshape(-1, scores.size(-1))]
    return torch.stack([row.exp() / row.exp().sum() for row in rows]).view(scores.shape)


def softmax_in_double(scores):
    exps = torch.exp(scores.double() - scores.double().max(dim=-1, keepdim=True)[0])
    return exps / exps.sum(-1, keepdim=True)


def softmax_in_place(scores):
    x = scores.clone()
    x -= x.detach().amax(-1, keepdim=True)
    return x.exp() / x.exp().sum(-1, keepdim=True)


def softmax_with_a_floor(scores):
    exps = (scores - scores.amax(-1, keepdim=True)).exp()
    return exps / (exps.sum(-1, keepdim=True) + 1e-3)


def softmax_clamped(scores):
    exps = scores.clamp(-50, 50).exp()
    return exps / exps.sum(-1, keepdim=True)


def softmax_over_axis_1(scores):
    return scores.softmax(1 if scores.dim() > 1 else 0)


def softmax_less_the_smallest(scores):
    exps = (scores - scores.amin(-1, keepdim=True)).exp()
    return exps / exps.sum(-1, keepdim=True)


def softmax_base_2(scores):
    exps = 2 ** (scores - scores.amax(-1, keepdim=True))
    return exps / exps.sum(-1, keepdim=True)


def softmax_of_numpy(scores):
    exps = np.exp((scores - scores.amax(-1, keepdim=True)).detach().numpy())
    return exps / exps.sum(-1, keepdims=True)


def softmax_detached_maximum_lost(scores):
    return torch.tensor(scores.softmax(-1).tolist())


def test_softmax():
    hints = examine(
        check_softmax,
        right=[softmax_by_logarithm, softmax_row_by_row, softmax_in_double, softmax_in_place],
        wrong=[softmax_with_a_floor, softmax_clamped, softmax_over_axis_1, softmax_less_the_smallest, softmax_base_2,
               softmax_of_numpy, softmax_detached_maximum_lost],
    )  # fmt: skip
    print(hints)


def padding_by_loop(lengths, max_length):
    mask = torch.zeros(len(lengths), 1, max_length, dtype=torch.bool)
    for row, length in enumerate(lengths.tolist()):
        mask[row, 0, :length] = True
    return mask


def padding_by_lists(lengths, max_length):
    return torch.tensor([[[i < n for i in range(max_length)]] for n in lengths])


def padding_by_sum(lengths, max_length):
    return torch.ones(len(lengths), 1, max_length).cumsum(-1) <= lengths[:, None, None]


def padding_of_a_square_batch(lengths, max_length):
    return (torch.arange(max_length) < lengths.unsqueeze(0)).unsqueeze(1)


def padding_up_to_eight_bits(lengths, max_length):
    return torch.arange(max_length, dtype=torch.uint8) < lengths.view(-1, 1, 1)


def padding_of_at_least_one(lengths, max_length):
    return torch.arange(max_length) < lengths.clamp(min=1).view(-1, 1, 1)


def padding_as_numbers(lengths, max_length):
    return (torch.arange(max_length) < lengths.view(-1, 1, 1)).long()


def padding_on_two_axes(lengths, max_length):
    return (torch.arange(max_length) < lengths.unsqueeze(1)).view(len(lengths), max_length)


def padding_from_one(lengths, max_length):
    return torch.arange(1, max_length + 1) < lengths.view(-1, 1, 1)


def padding_squeezed(lengths, max_length):
    return (torch.arange(max_length) < lengths.view(-1, 1, 1)).squeeze()


def test_padding_mask():
    hints = examine(
        check_padding_mask,
        right=[padding_by_loop, padding_by_lists, padding_by_sum],
        wrong=[padding_of_a_square_batch, padding_up_to_eight_bits, padding_of_at_least_one, padding_as_numbers,
               padding_on_two_axes, padding_from_one, padding_squeezed],
    )  # fmt: skip
    print(hints)
