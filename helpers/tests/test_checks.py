"""The machinery of the checkers: what a reader reads, and what is left alone."""

import fractions

import numpy as np
import pytest
import torch

from helpers import checks
from helpers.checks.attention_basics import check_padding_mask, check_softmax
from helpers.checks.compare import difference, show
from helpers.checks.core import Exercise, edited, then
from helpers.checks.shared import random
from helpers.tests.checking import mutants, rejected, said


def test_another_error_in_the_backward_pass_is_shown(capsys):
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(context, scores):
            return scores.softmax(-1)

        @staticmethod
        def backward(context, gradient):
            raise ValueError("no backward pass here")

    assert check_softmax(Broken.apply) is False
    assert "no backward pass here" in capsys.readouterr().out


@pytest.mark.parametrize("got", [True, 1, 1.0, torch.tensor(True), torch.tensor([1]), np.True_, np.array([True])])
def test_a_boolean_counts_in_every_form(got):
    assert difference(True, got, 0.0) is None and difference(False, got, 0.0)


@pytest.mark.parametrize("got", ["True", 2, 0.5, torch.tensor([True, True]), [True], torch.tensor([0.3])])
def test_what_is_no_boolean_does_not_count_as_one(got):
    assert difference(True, got, 0.0) and difference(False, got, 0.0)


def test_several_numbers_are_no_number():
    assert difference(1.0, torch.ones(2), 1e-5)


# What a reader reads


def softmax_of_nothing(scores):
    scores.softmax(-1)


def softmax_with_an_error(scores):
    total = scores.exp().sum(-1)
    return scores.exp() / total.unsqueeze(7)


def softmax_that_talks(scores):
    print("shape", tuple(scores.shape))
    return scores.exp() / scores.exp().sum()


def softmax_in_place(scores):
    scores -= scores.max()
    return scores.exp()


def test_a_missing_return_is_named():
    assert "returned None: is `return` missing?" in rejected(check_softmax, softmax_of_nothing)


def test_an_error_shows_the_line_of_the_readers_own_code():
    assert "return scores.exp() / total.unsqueeze(7)" in rejected(check_softmax, softmax_with_an_error)


def test_an_error_with_a_message_is_an_error():
    def half(scores):
        raise NotImplementedError("rows come next")

    assert "rows come next" in rejected(check_softmax, half)


def test_only_the_first_input_can_be_not_written_yet():
    def first_case_only(lengths, max_length):
        if max_length == 3 and len(lengths) == 2:
            return torch.arange(max_length) < lengths.view(-1, 1, 1)
        raise NotImplementedError

    rejected(check_padding_mask, first_case_only)


def test_what_was_printed_for_the_failing_input_is_shown_once():
    text = rejected(check_softmax, softmax_that_talks)
    assert text.count("shape") == 1 and "printed:  shape (2, 3)" in text


def test_a_changed_input_is_named_before_the_value():
    assert "an input was changed: `scores`" in rejected(check_softmax, softmax_in_place)


def test_a_wrong_gradient_says_for_which_argument():
    def weighted(values, weights):
        return values * weights

    check = Exercise(weighted, [(random(3, seed=1), random(3, seed=2))], "", gradient=True).check
    assert "no gradient reaches `weights`" in rejected(check, lambda v, w: v * w.detach())
    assert "gradient with respect to `values`" in rejected(check, lambda v, w: v.detach() * w + 2 * v - 2 * v.detach())


def test_the_failing_input_is_kept():
    rejected(check_softmax, softmax_that_talks)
    (scores,) = checks.last_case
    assert scores.shape == (2, 3) and said(check_softmax, lambda s: s.softmax(-1))[0] is True


def test_a_hint_that_fits_some_inputs_is_worded_as_a_guess():
    def half_right(scores):
        return scores.softmax(-1) if scores.dim() == 2 and scores.size(1) == 1 else scores.softmax(0)

    text = rejected(check_softmax, half_right)
    assert "hint:     a guess, which fits 10 of 11 inputs: the softmax runs over the first axis" in text


def test_what_is_no_function_is_named():
    assert said(check_softmax, torch.ones(1))[1] == "✗ softmax: expected a function, got Tensor\n"


@pytest.mark.parametrize(("value", "text"), [
    (torch.tensor([[True, False]]), "[[T ·]]"),
    (torch.tensor([1, 2]), "[1, 2]"),
    (torch.tensor([0.123456]), "[0.1235]"),
    (torch.zeros(40, 40), "tensor of shape (40, 40)"),
    (np.array([[1.5, 2.0]]), "[[1.5, 2.0]] (float64)"),
    ((torch.tensor([1.0]), 2), "([1.0], 2)"),
    ([np.float64(1.23456), 2], "[1.2346, 2]"),
    (torch.zeros(2, device="meta"), "tensor of shape (2,)"),
    ("a" * 500, "'" + "a" * 102 + "…"),
])  # fmt: skip
def test_values_are_shown_readably(value, text):
    assert show(value) == text


# What counts as equal


@pytest.mark.parametrize("got", [2.5, np.float32(2.5), fractions.Fraction(5, 2), torch.tensor(2.5), np.array([2.5])])
def test_a_number_counts_in_every_form(got):
    assert difference(2.5, got, 1e-5) is None and difference(2.6, got, 1e-5)


@pytest.mark.parametrize(
    "got", [[1, 2], (1, 2), torch.tensor([1, 2]), np.array([1, 2]), [np.int64(1), torch.tensor(2)]]
)
def test_a_list_of_numbers_counts_in_every_form(got):
    assert difference([1, 2], got, 0.0) is None and difference([1, 3], got, 0.0)


def test_half_precision_is_compared_as_such_and_whole_numbers_are_no_floats():
    x = random(50, seed=1)
    assert difference(x, x.half(), 1e-5) is None and difference(x, x.bfloat16(), 1e-5) is None
    assert difference(x, x.half() + 0.05, 1e-5)
    assert "floating-point" in difference(torch.ones(2), torch.ones(2, dtype=torch.long), 1e-5)


def test_numbers_that_differ_late_are_shown_with_their_digits():
    assert "1.00002003, not 1" in difference(torch.tensor([1.0]), torch.tensor([1.00002]), 1e-6)


# Edits


def double(x):
    return x + x


def test_an_edit_needs_its_old_text_exactly_once():
    assert edited(double, "x + x -> 3 * x")(2) == 6
    for edit in ("y -> z", "x -> 3", "no arrow"):
        with pytest.raises(ValueError, match="must occur once in double"):
            edited(double, edit)


def test_a_mistake_may_change_the_result():
    check = Exercise(double, [(1.0,), (2.0,)], "", [(then(lambda y: -y), "the sign"), ("x + x -> x", "twice")]).check
    assert "hint:     the sign" in rejected(check, lambda x: -2 * x)
    assert "hint:     twice" in rejected(check, lambda x: x)


def test_every_small_change_of_a_reference_is_made_once():
    def power(x, n=2):
        return -(x**n) if x > 1 else abs(x + 1)

    made = [what for what, _ in mutants(power)]
    assert {"x > 1 → x >= 1", "x ** n → x * n", "-x ** n → x ** n", "abs(x + 1) → x + 1", "x + 1 → x - 1", "1 → 2"} <= {
        *made
    }
