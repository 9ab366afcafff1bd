"""The new exercises of chapter 1: right answers by other routes, wrong ones, small changes of the references."""

import math

import pytest
import torch
from torch.nn import functional as F

from helpers.attention import scaled_dot_product_attention
from helpers.checks import attention_basics as checks
from helpers.tests.checking import examine


def window_by_loop(length, width):
    return torch.tensor([[0 <= i - j < width for j in range(length)] for i in range(length)])


def window_by_triangles(length, width):
    full = torch.ones(length, length, dtype=torch.bool)
    return full.tril() & full.triu(1 - width)


def window_of_two(length, width):
    return window_by_loop(length, 2)


def window_centred(length, width):
    position = torch.arange(length)
    return (position.unsqueeze(1) - position).abs() <= width // 2


def window_of_eight_bits(length, width):
    position = torch.arange(length).to(torch.int8)
    back = position.unsqueeze(1) - position
    return (back >= 0) & (back < width)


def window_added(length, width):
    return torch.zeros(length, length).masked_fill(~window_by_loop(length, width), -math.inf)


def test_sliding_window():
    examine(
        checks.check_sliding_window,
        right=[window_by_loop, window_by_triangles],
        wrong=[window_of_two, window_centred, window_of_eight_bits, window_added],
    )


def bias_by_loop(slopes, length):
    rows = [
        [[-m * (i - j) if j <= i else -math.inf for j in range(length)] for i in range(length)] for m in slopes.tolist()
    ]
    return torch.tensor(rows)


def bias_by_where(slopes, length):
    position = torch.arange(length)
    distance = (position - position[:, None]).float()
    return torch.where(distance <= 0, slopes[:, None, None] * distance, torch.tensor(-math.inf))


def bias_by_product_with_infinity(slopes, length):
    position = torch.arange(length)
    back = (position.unsqueeze(1) - position).float()
    return -slopes.view(-1, 1, 1) * back.masked_fill(back < 0, math.inf)


def bias_in_both_directions(slopes, length):
    position = torch.arange(length)
    return -slopes.view(-1, 1, 1) * (position.unsqueeze(1) - position).abs()


def bias_of_the_first_slope(slopes, length):
    return bias_by_loop(slopes[:1].expand(len(slopes)), length)


def bias_heads_last(slopes, length):
    return bias_by_loop(slopes, length).permute(1, 2, 0)


def bias_slopes_by_row(slopes, length):
    position = torch.arange(length)
    back = position.unsqueeze(1) - position
    return (-slopes.view(1, -1, 1) * back).masked_fill(back < 0, -math.inf)


def test_distance_bias():
    examine(
        checks.check_distance_bias,
        right=[bias_by_loop, bias_by_where],
        wrong=[bias_by_product_with_infinity, bias_in_both_directions, bias_of_the_first_slope, bias_heads_last,
               bias_slopes_by_row],
    )  # fmt: skip


def rotate_by_complex_numbers(x, positions):
    d = x.size(-1)
    angle = positions.double().unsqueeze(1) / 10000 ** (torch.arange(0, d, 2) / d)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2).to(x.dtype)


def rotate_by_matrices(x, positions):
    d, rows = x.size(-1), []
    for t, p in enumerate(positions.tolist()):
        turn = torch.zeros(d, d)
        for i in range(d // 2):
            angle = p * 10000 ** (-2 * i / d)
            turn[2 * i, 2 * i] = turn[2 * i + 1, 2 * i + 1] = math.cos(angle)
            turn[2 * i, 2 * i + 1], turn[2 * i + 1, 2 * i] = -math.sin(angle), math.sin(angle)
        rows.append((turn @ x[..., t, :].unsqueeze(-1)).squeeze(-1))
    return torch.stack(rows, dim=-2)


def rotate_only_the_first_pair(x, positions):
    return torch.cat([checks.rotate(x[..., :2], positions), x[..., 2:]], dim=-1)


def rotate_detached(x, positions):
    return checks.rotate(x.detach(), positions)


def rotate_all_alike(x, positions):
    angle = positions.unsqueeze(1)
    a, b = x[..., 0::2], x[..., 1::2]
    turned = a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()
    return torch.stack(turned, dim=-1).flatten(-2)


def rotate_over_the_batch(x, positions):
    return checks.rotate(x.transpose(0, -2), positions).transpose(0, -2) if x.dim() > 2 else checks.rotate(x, positions)


def test_rotate():
    examine(
        checks.check_rotate,
        right=[rotate_by_complex_numbers, rotate_by_matrices],
        wrong=[rotate_only_the_first_pair, rotate_detached, rotate_all_alike, rotate_over_the_batch],
    )


def test_dot_products_of_turned_vectors_depend_on_the_distance_alone():
    q, k = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    position = torch.arange(20)
    turned_q, turned_k = (checks.rotate(x.expand(20, 8), position) for x in (q, k))
    products = turned_q @ turned_k.T
    for distance in range(-19, 20):
        along = products.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-4, rtol=0)


def continue_by_position(query, key, value):
    keys = torch.arange(key.size(-2))
    queries = keys[-query.size(-2) :].unsqueeze(1)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=keys <= queries)


def continue_one_by_one(query, key, value):
    before, outputs = key.size(-2) - query.size(-2), []
    for i in range(query.size(-2)):
        seen = before + i + 1
        outputs.append(
            scaled_dot_product_attention(query[..., i : i + 1, :], key[..., :seen, :], value[..., :seen, :])[0]
        )
    return torch.cat(outputs, dim=-2)


def continue_by_is_causal(query, key, value):
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def continue_by_the_last_keys(query, key, value):
    T_q = query.size(-2)
    mask = torch.ones(T_q, T_q, dtype=torch.bool).tril()
    return scaled_dot_product_attention(query, key[..., -T_q:, :], value[..., -T_q:, :], mask)[0]


def continue_with_the_past_only(query, key, value):
    old = key.size(-2) - query.size(-2)
    mask = (torch.arange(key.size(-2)) < max(old, 1)).expand(query.size(-2), -1)
    return scaled_dot_product_attention(query, key, value, mask)[0]


def test_continue_attention():
    examine(
        checks.check_continue_attention,
        right=[continue_by_position, continue_one_by_one],
        wrong=[continue_by_is_causal, continue_by_the_last_keys, continue_with_the_past_only],
    )


def blocks_put_together(query, blocks):
    keys, values = zip(*blocks)
    return scaled_dot_product_attention(query, torch.cat(keys), torch.cat(values))[0]


def blocks_by_their_logsumexp(query, blocks):
    outputs, sizes = [], []
    for key, value in blocks:
        scores = query @ key.T / math.sqrt(query.size(-1))
        outputs.append(scores.softmax(-1) @ value)
        sizes.append(scores.logsumexp(-1))
    shares = torch.stack(sizes).softmax(0)  # (blocks, T_q)
    return (shares.unsqueeze(-1) * torch.stack(outputs)).sum(0)


def blocks_of_the_last(query, blocks):
    return scaled_dot_product_attention(query, *blocks[-1])[0]


def blocks_by_their_size(query, blocks):
    parts = [len(key) * scaled_dot_product_attention(query, key, value)[0] for key, value in blocks]
    return sum(parts) / sum(len(key) for key, _ in blocks)


def blocks_with_zero_for_the_first_maximum(query, blocks):
    largest, total, output = torch.zeros(len(query), 1), 0.0, 0.0
    for key, value in blocks:
        scores = query @ key.T / math.sqrt(query.size(-1))
        new = torch.maximum(largest, scores.amax(-1, keepdim=True))
        kept, exps = (largest - new).exp(), (scores - new).exp()
        total, output, largest = kept * total + exps.sum(-1, keepdim=True), kept * output + exps @ value, new
    return output / total


def test_attention_in_blocks():
    examine(
        checks.check_attention_in_blocks,
        right=[blocks_put_together, blocks_by_their_logsumexp],
        wrong=[blocks_of_the_last, blocks_by_their_size, blocks_with_zero_for_the_first_maximum],
        same=[  # two axes have a last one that is axis 1; what comes before the first block is multiplied by 0
            "torch.zeros(len(query), 1) → len(query)",
            "torch.zeros(len(query), blocks[0][1].size(-1)) → len(query)",
            "torch.maximum(largest, scores.amax(-1, keepdim=True)) → torch.maximum(scores.amax(-1, keepdim=True), largest)",
            "-1 → 1",
            "0 → -1",
        ],
    )


# Right values, and a backward pass that fails.


def softmax_divided_in_place(scores):
    exps = (scores - scores.amax(-1, keepdim=True)).exp()
    exps /= exps.sum(-1, keepdim=True)
    return exps


def continue_masked_in_place(query, key, value):
    T_q, T_k = query.size(-2), key.size(-2)
    mask = torch.ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q)
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    weights = scores.masked_fill(~mask, -1e30).softmax(-1)
    weights *= mask
    return weights @ value


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (checks.check_softmax, softmax_divided_in_place),
        (checks.check_continue_attention, continue_masked_in_place),
    ],
)
def test_an_in_place_step_is_named_and_does_not_stop_the_notebook(check, answer, capsys):
    assert check(answer) is False
    printed = capsys.readouterr().out
    assert "the values are right, but an in-place step" in printed and "write `x = x / ...`" in printed
