"""What every checker does: run the cases from small to large, compare, and recognise known mistakes.

A known mistake is given as a function that makes it. When an answer is wrong in the way of one of them on a case, the
hint for that mistake is shown.
"""

import copy
import math
from dataclasses import dataclass, field

import torch


@dataclass
class Exercise:
    """One exercise: what a right function does, and what wrong ones do.

    Args:
        name: what the reader is asked to write.
        reference: a right answer.
        cases: tuples of arguments, from small to large.
        meaning: one sentence for a right answer: what it now allows or shows.
        mistakes: pairs (function that makes the mistake, hint).
        tolerance: the largest difference that still counts as equal; or a function from a case's arguments to it.
        gradient: whether the gradients with respect to floating-point inputs are compared too.
    """

    name: str
    reference: object
    cases: list
    meaning: str
    mistakes: list = field(default_factory=list)
    tolerance: object = 1e-5
    gradient: bool = False

    def check(self, function):
        """Print ✓ or ✗ and return True, False, or None when nothing has been written yet."""
        if not callable(function):
            print(f"✗ {self.name}: expected a function, got {type(function).__name__}")
            return False
        for case in self.cases:
            expected, given = self.reference(*copy.deepcopy(case)), copy.deepcopy(case)
            try:
                got = function(*given)
            except NotImplementedError:
                got = None
            except Exception as error:  # whatever a reader's code may raise is part of the answer
                return self._wrong(case, expected, f"{type(error).__name__}: {error}")
            if got is None or got is Ellipsis:
                print(f"not written yet: {self.name}")
                return None
            problem = difference(expected, got, self._allowed(case))
            if problem:
                return self._wrong(case, expected, show(got), problem, self._hint(function, case, got))
            if difference(case, given, 0.0):
                return self._wrong(case, expected, "the right answer, but an input was changed", hint=IN_PLACE)
        for case in self.cases if self.gradient else ():
            problem = self._gradient_problem(function, case)
            if problem:
                expected = self.reference(*copy.deepcopy(case))
                return self._wrong(case, expected, "the right values, but no right gradient", problem)
        print(f"✓ {self.name}: right on {len(self.cases)} cases. {self.meaning}")
        return True

    def _allowed(self, case):
        return self.tolerance(*case) if callable(self.tolerance) else self.tolerance

    def _hint(self, function, case, got):
        """Return the hint of the mistake that behaves like the answer: on this case, and on most of the others."""
        best, best_agreement = None, 0
        for mistake, hint in self.mistakes:
            if self._agree(mistake, case, got):
                agreement = sum(self._agree(mistake, other, attempt(function, other)) for other in self.cases)
                if agreement > best_agreement:
                    best, best_agreement = hint, agreement
        return best

    def _agree(self, mistake, case, got):
        made = attempt(mistake, case)
        return made is not None and got is not None and not difference(made, got, self._allowed(case))

    def _gradient_problem(self, function, case):
        expected = gradients(self.reference, case)
        try:
            got = gradients(function, case)
        except Exception as error:  # right values do not save a backward pass
            return LOST_STEP if is_in_place(error) else f"the gradient fails: {type(error).__name__}: {error}"
        if got is None:
            return "no gradient flows back from the output to the inputs (was the result detached, or made by a copy?)"
        for a, b in zip(expected, got):
            problem = difference(a, b, max(self._allowed(case), 1e-4))
            if problem:
                return f"gradient: {problem}"
        return None

    def _wrong(self, case, expected, got, problem=None, hint=None):
        print(f"✗ {self.name}")
        print("  input:    " + ", ".join(show(argument) for argument in case))
        print(f"  expected: {show(expected)}")
        print(f"  got:      {got}")
        if problem:
            print(f"  problem:  {problem}")
        if hint:
            print(f"  hint:     {hint}")
        return False


IN_PLACE = "work on a copy: an operation that ends in an underscore, or `x += ...`, changes the caller's tensor"

LOST_STEP = (
    "the values are right, but an in-place step (`/=`, `*=`, `+=`, or a name that ends in an underscore) destroys what"
    " the gradient needs; write `x = x / ...` instead of `x /= ...`"
)


def is_in_place(error):
    """Return whether autograd complains about a tensor that was overwritten."""
    return isinstance(error, RuntimeError) and any(word in str(error) for word in ("in-place", "inplace"))


def attempt(function, case):
    """Return what the function makes of a copy of the case, or None if it fails."""
    try:
        return function(*copy.deepcopy(case))
    except Exception:  # a wrong answer need not survive every case
        return None


def gradients(function, case):
    """Return the gradients of a weighted sum of the outputs with respect to the floating-point inputs, or None."""
    case = copy.deepcopy(case)
    inputs = [x for x in case if isinstance(x, torch.Tensor) and x.is_floating_point()]
    for x in inputs:
        x.requires_grad_()
    outputs = function(*case)
    outputs = [x for x in (outputs if isinstance(outputs, tuple | list) else (outputs,)) if isinstance(x, torch.Tensor)]
    generator = torch.Generator().manual_seed(0)
    total = sum((x * torch.rand(x.shape, generator=generator)).sum() for x in outputs)
    if not isinstance(total, torch.Tensor) or not total.requires_grad:
        return None
    found = torch.autograd.grad(total, inputs, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found)]


def difference(expected, got, tolerance):
    """Return a sentence that says how `got` differs from `expected`, or None when they agree."""
    if isinstance(expected, tuple | list):
        if not isinstance(got, tuple | list) or len(got) != len(expected):
            return f"expected {len(expected)} results, got {len(got) if isinstance(got, tuple | list) else 'one'}"
        return next((p for p in (difference(a, b, tolerance) for a, b in zip(expected, got)) if p), None)
    if isinstance(expected, torch.Tensor):
        return tensor_difference(expected, got, tolerance)
    if isinstance(expected, bool | float):
        got = plain(got)
    if isinstance(expected, bool) and isinstance(got, int | float) and got in (0, 1):
        got = bool(got)
    if isinstance(expected, float) and isinstance(got, int | float):
        near = math.isclose(expected, got, rel_tol=tolerance, abs_tol=tolerance) or expected == got
        return None if near else f"{got:.6g} is not {expected:.6g}"
    return None if type(expected) is type(got) and expected == got else f"{got!r} is not {expected!r}"


def plain(value):
    """Return Python's own number or boolean for a one-element tensor or a NumPy scalar, and anything else as it is."""
    size = value.numel() if isinstance(value, torch.Tensor) else getattr(value, "size", None)
    return value.item() if hasattr(value, "item") and size == 1 else value


def tensor_difference(expected, got, tolerance):
    """`difference` for tensors: type, shape, NaN, values."""
    if not isinstance(got, torch.Tensor):
        return f"expected a tensor, got {type(got).__name__}"
    if got.shape != expected.shape:
        return f"expected shape {tuple(expected.shape)}, got {tuple(got.shape)}"
    if (got.dtype == torch.bool) != (expected.dtype == torch.bool):
        return f"expected dtype {expected.dtype}, got {got.dtype}"
    a, b = expected.detach().double(), got.detach().double()
    if b.isnan().any() and not a.isnan().any():
        return f"{int(b.isnan().sum())} of {b.numel()} numbers are NaN"
    wrong = ~torch.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
    if not wrong.any():
        return None
    where = tuple(wrong.nonzero()[0].tolist())
    return f"{int(wrong.sum())} of {wrong.numel()} numbers differ; the first at {list(where)}: {b[where]:.4f}, not {a[where]:.4f}"


def show(value, most=24):
    """Return a short text for a value: a small tensor with its numbers, a large one by its shape."""
    if isinstance(value, torch.Tensor):
        if value.numel() > most:
            return f"tensor of shape {tuple(value.shape)}"
        rounded = value.detach()
        if rounded.is_floating_point():
            return str([round(x, 4) for x in rounded.flatten().tolist()] if rounded.dim() == 1 else nested(rounded))
        return str(rounded.tolist())
    if isinstance(value, tuple):
        return "(" + ", ".join(show(x, most) for x in value) + ")"
    return repr(value)


def nested(tensor):
    """Return a tensor as nested lists with four decimals."""
    return round(tensor.item(), 4) if tensor.dim() == 0 else [nested(row) for row in tensor]
