"""The exercises of chapter 1: right answers by several routes, wrong ones of the kind that students write."""

import numpy as np
import torch

from helpers.checks.attention_basics import check_leaks, check_padding_mask, check_softmax
from helpers.tests.checking import examine


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
    examine(
        check_softmax,
        right=[softmax_by_logarithm, softmax_row_by_row, softmax_in_double, softmax_in_place],
        wrong=[softmax_with_a_floor, softmax_clamped, softmax_over_axis_1, softmax_less_the_smallest, softmax_base_2,
               softmax_of_numpy, softmax_detached_maximum_lost],
    )  # fmt: skip


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
    examine(
        check_padding_mask,
        right=[padding_by_loop, padding_by_lists, padding_by_sum],
        wrong=[padding_of_a_square_batch, padding_up_to_eight_bits, padding_of_at_least_one, padding_as_numbers,
               padding_on_two_axes, padding_from_one, padding_squeezed],
    )  # fmt: skip


# The leak test


def leaks(attend, x):
    expected = attend(x)
    for position in range(1, len(x)):
        changed = x.clone()
        changed[position] += 1.0
        if bool((attend(changed)[:position] - expected[:position]).abs().max() > 1e-4):
            return True
    return False


def leaks_by_derivative(attend, x):
    jacobian = torch.autograd.functional.jacobian(attend, x)  # (T, d, T, d_model)
    return bool(jacobian.abs().amax(dim=(1, 3)).triu(1).max() > 1e-4)


def leaks_as_a_tensor(attend, x):
    moved = [torch.tensor(0.0)]
    for position in range(1, len(x)):
        changed = x.clone()
        changed[position] += 1.0
        moved.append((attend(changed) - attend(x))[:position].abs().max())
    return (torch.stack(moved) > 1e-4).any()


def leaks_by_noise(attend, x):
    for position in range(1, len(x)):
        changed = torch.cat([x[:position], torch.randn_like(x[position:])])
        if not torch.allclose(attend(changed)[:position], attend(x)[:position], atol=1e-4, rtol=0):
            return True
    return False


def leaks_by_cutting(attend, x):
    """Compares with the outputs of the sequence that ends before the change."""
    return any(not torch.allclose(attend(x[:n]), attend(x)[:n], atol=1e-4) for n in range(1, len(x)))


def leaks_in_double(attend, x):
    return np.bool_(leaks(attend, x.double()))


def leaks_with(moves, limit=1e-4, positions=None, change=slice(None)):
    """Return a leak test that measures each change by `moves(moved)`, a function of the outputs before it."""

    def test(attend, x):
        for position in positions(len(x)) if positions else range(1, len(x)):
            changed = x.clone()
            changed[position, change] += 1.0
            if moves((attend(changed) - attend(x))[:position]) > limit:
                return True
        return False

    return test


def test_leaks():
    examine(
        check_leaks,
        right=[leaks, leaks_by_derivative, leaks_as_a_tensor, leaks_by_noise, leaks_in_double, leaks_by_cutting,
               lambda a, x: leaks_as_a_tensor(a, x).numpy()[()], lambda a, x: int(leaks(a, x)),
               lambda a, x: leaks_as_a_tensor(a, x).reshape(1)],
        wrong=[
            lambda a, x: bool(a(x)[0].abs().sum() > 0),
            lambda a, x: bool((a(x.flip(0)) - a(x)).abs().max() > 1e-4),
            lambda a, x: bool((a(x[:-1]) - a(x)[:-1]).abs().max() > 5),
            lambda a, x: len(x) > 4,
            lambda a, x: (leaks(a, x), 0),
            lambda a, x: "True" if leaks(a, x) else "False",
            leaks_with(lambda moved: moved.max()),
            leaks_with(lambda moved: moved.mean().abs()),
            leaks_with(lambda moved: moved.sum(0).abs().max()),
            leaks_with(lambda moved: moved[:, 0].abs().max()),
            leaks_with(lambda moved: moved.abs().max(), change=0),
            leaks_with(lambda moved: moved.abs().max(), positions=lambda length: range(2, length)),
            leaks_with(lambda moved: moved.abs().max(), positions=lambda length: range(1, length - 1)),
            leaks_with(lambda moved: max(moved[0].abs().max(), moved[-1].abs().max())),
            leaks_with(lambda moved: moved[1:].abs().sum()),
            leaks_with(lambda moved: moved.abs().max(), limit=0.0),
            leaks_with(lambda moved: moved.abs().max(), limit=0.05),
            leaks_with(lambda moved: moved.abs().mean(), limit=0.01),
        ],
        same=["1.0 → 2.0", "moved.abs().max() > 0.0001 → moved.abs().max() >= 0.0001"],
    )  # fmt: skip
