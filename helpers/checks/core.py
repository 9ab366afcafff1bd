"""What every checker does: run the cases from small to large, compare, and recognise known mistakes.

An exercise is a *reference* (a plain right function that a student can read), a table of *cases* (arguments, from small
to large) and a table of *known mistakes*, each with its hint. `Exercise(...).check` is what the notebook imports:

    def share(scores, mask):
        weights = scores.exp() * mask
        return weights / weights.sum(-1, keepdim=True)

    check_share = Exercise(
        share,
        cases=[
            (torch.tensor([0.0, 0.6931]), torch.tensor([True, True])),
            (random(2, 3, seed=1), torch.tensor([True, False, True])),
        ],
        meaning="What is masked gets nothing.",
        mistakes=[
            (" * mask -> ", "the mask is not used"),  # an edit of the reference: the text on the left occurs once in it
            ((" * mask -> ", "(-1, keepdim=True) -> () * mask"), "the mask comes too late"),  # two edits at once
            (then(lambda weights: weights.T), "the result is transposed"),  # what is done to the right result
            (lambda scores, mask: scores.softmax(0) * mask, "softmax over the last axis"),  # a wrong function
        ],
        gradient=True,  # then the task must say that gradients are compared
    ).check

Cases decide what is noticed: a mistake that no case shows is accepted. So give masks of every shape that is allowed, T_q
other than T_k, batches larger than one, padding on the left, lengths 1, zeros, equal numbers, values exactly at a bound.
Stand-ins for models, `random` and the mistakes with masks are in `helpers.checks.shared`; `helpers.tests.checking.examine`
tries an exercise with right and wrong answers and with every small change of its reference.
"""

import contextlib
import copy
import functools
import inspect
import io
import linecache
import random as python_random
import textwrap
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import helpers.checks as package
from helpers.checks.compare import WIDTH, changed, difference, inputs, show, tell


@dataclass
class Exercise:
    """One exercise: what a right function does, and what wrong ones do.

    Args:
        reference: a right answer, a function with `def`; its name and arguments are those of the task.
        cases: tuples of arguments, from small to large.
        meaning: one sentence for a right answer: what it now allows or shows.
        mistakes: pairs (mistake, hint). A mistake is an edit "old -> new" of the reference's text, several of them, what
            `then` makes, or a function.
        tolerance: the largest difference that still counts as equal; or a function from a case's arguments to it.
        gradient: whether the gradients with respect to floating-point inputs are compared too.
        view: a function from a function to a function: what of an answer is compared, where several are right.
        name: what the reader is asked to write, if it is not the reference's name.
    """

    reference: object
    cases: list
    meaning: str
    mistakes: list = field(default_factory=list)
    tolerance: object = 1e-5
    gradient: bool = False
    view: object = None
    name: str = ""

    def __post_init__(self):
        self.name = self.name or self.reference.__name__

    def check(self, function):
        """Print ✓ or ✗ and return True, False, or None when nothing has been written yet."""
        if not callable(function):
            print(f"✗ {self.name}: expected a function, got {type(function).__name__}")
            return False
        with undisturbed():
            return self._verdict(function)

    def _verdict(self, function):
        for number, case in enumerate(self.cases):
            answer = self._run(function, case)
            if number == 0 and is_stub(answer.error):
                print(f"not written yet: {self.name}")
                return None
            fault = self._fault(function, number, answer)
            if fault:
                return self._wrong(case, answer, **fault)
        for case in self.cases if self.gradient else ():
            problem = self._gradient_problem(function, case)
            if problem:
                answer = self._run(function, case)
                return self._wrong(case, answer, got="the right values, but not the right gradient", problem=problem)
        print(f"✓ {self.name}: right{', and so are the gradients' if self.gradient else ''}. {self.meaning}")
        return True

    def _run(self, function, case):
        return run(self.view(present(function)) if self.view else present(function), case)

    def _fault(self, function, number, answer):
        """Return what is wrong with an answer to a case, as arguments of `_wrong`, or None."""
        case = self.cases[number]
        if isinstance(answer.error, ReturnedNoneError):
            return {"got": "None", "problem": "returned None: is `return` missing?"}
        if answer.error is not None:
            line = own_line(answer.error, function)
            return {"got": f"{type(answer.error).__name__}: {answer.error}", "problem": line and f"in {line}"}
        for name, before, after in zip(self._names(case), case, answer.given):
            if changed(before, after):
                return {"problem": f"an input was changed: `{name}`", "hint": IN_PLACE}
        problem = difference(self._run(self.reference, case).value, answer.value, self._allowed(case))
        return problem and {"problem": problem, "hint": self._hint(function, number)}

    def _names(self, case):
        parameters = inspect.signature(self.reference).parameters.values()
        names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
        return [*names, *(f"argument {i + 1}" for i in range(len(names), len(case)))][: len(case)]

    def _allowed(self, case):
        return self.tolerance(*case) if callable(self.tolerance) else self.tolerance

    def function_of(self, mistake):
        """Return the wrong function that an entry of `mistakes` stands for."""
        if isinstance(mistake, str | tuple):
            return edited(self.reference, *([mistake] if isinstance(mistake, str) else mistake))
        if isinstance(mistake, Then):
            return lambda *case: mistake.change(self.reference(*case))
        return mistake

    def _hint(self, function, failing):
        """Return the hint of the mistake that does what the answer does on every input; of one that nearly does, a guess.

        Only the inputs tell on which the answer or the mistake is not right.
        """
        answers, right = self._runs(function), self._known[0]
        best, guess = 0.5, None
        for made, (_, hint) in zip(self._known[1:], self.mistakes):
            same = [self._alike(*three) for three in zip(answers, made, self.cases)]
            if not same[failing]:
                continue
            if all(same):
                return hint
            telling = [
                s for s, a, m, r, case in zip(same, answers, made, right, self.cases)
                if not (self._alike(a, r, case) and self._alike(m, r, case))
            ]  # fmt: skip
            if sum(telling) / len(telling) > best:
                best = sum(telling) / len(telling)
                guess = f"a guess, which fits {sum(same)} of {len(same)} inputs: {hint}"
        return None if isinstance(right[failing].value, bool) else guess  # to agree on True and False says little

    def _runs(self, function):
        return [self._run(function, case) for case in self.cases]

    @functools.cached_property
    def _known(self):
        """What becomes of the cases: by the reference, and by each mistake."""
        return [self._runs(self.reference), *(self._runs(self.function_of(mistake)) for mistake, _ in self.mistakes)]

    def _alike(self, one, other, case):
        if one.error is not None or other.error is not None:
            return type(one.error) is type(other.error)
        return difference(other.value, one.value, self._allowed(case)) is None

    def _gradient_problem(self, function, case):
        names = self._names(case)
        expected = gradients(self.reference, case, names)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                got = gradients(function, case, names)
        except Exception as error:  # right values do not save a backward pass
            return LOST_STEP if is_in_place(error) else f"the gradient fails: {type(error).__name__}: {error}"
        if got is None:
            if all(right is None or not right.any() for right in expected.values()):
                return None
            return "no gradient flows back from the output to the inputs (was the result detached, or made by a copy?)"
        for name, right in expected.items():
            if got[name] is None and right is not None and right.abs().max() > 0:
                return f"no gradient reaches `{name}` (was something detached, or made by a copy?)"
            if got[name] is not None and right is not None:
                problem = difference(right, got[name], max(self._allowed(case), 1e-4))
                if problem:
                    return f"gradient with respect to `{name}`: {problem}"
        return None

    def _wrong(self, case, answer, got=None, problem=None, hint=None):
        package.last_case = copy.deepcopy(case)
        print(f"✗ {self.name}")
        tell("input:", "\n".join(inputs(self._names(case), case)))
        tell("expected:", show(self._run(self.reference, case).value))
        tell("got:", got or show(answer.value))
        tell("problem:", problem)
        tell("hint:", hint)
        tell("printed:", "\n".join(line[: WIDTH - 12] for line in answer.printed.splitlines()[:8]))
        tell("try:", f"from helpers import checks; {self.name}(*checks.last_case)")
        return False


# Making wrong functions


@dataclass
class Then:
    """A mistake: the right result, and then a change of it. In the tables it is written `then(change)`."""

    change: object


then = Then


def edited(function, *edits):
    """Return the function with its source text changed: each edit is "old -> new", and the old text occurs once."""
    source = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        old, arrow, new = edit.partition(" -> ")
        if not arrow or source.count(old) != 1:
            raise ValueError(
                f"{edit!r}: the old text must occur once in {function.__name__}: {source.count(old)} times"
            )
        source = source.replace(old, new)
    return compiled(source, function, "; ".join(edits))


def compiled(source, function, title):
    """Return what a changed source text of a function defines, among the names that the function sees."""
    file, names = f"<{title}>", dict(function.__globals__)
    linecache.cache[file] = len(source), None, source.splitlines(True), file
    exec(compile(source, file, "exec"), names)
    return names[function.__name__]


# Running an answer


@dataclass
class Outcome:
    """What became of a call: a value or an error, the arguments afterwards, and what was printed."""

    value: object = None
    error: Exception = None
    given: tuple = ()
    printed: str = ""


class ReturnedNoneError(Exception):
    """A function came to its end without `return`."""


def present(function):
    """Return the function, made to raise an error where it returns None, or `...` as a stub does."""

    def call(*arguments):
        got = function(*arguments)
        if got is None:
            raise ReturnedNoneError
        if got is Ellipsis:
            raise NotImplementedError
        return got

    return call


def run(function, case):
    """Return the outcome of calling a function on a copy of the case."""
    given, printed = copy.deepcopy(case), io.StringIO()
    torch.default_generator.manual_seed(0)  # a function that draws numbers draws the same ones each time
    try:
        with contextlib.redirect_stdout(printed):
            value = function(*given)
    except Exception as error:  # whatever a reader's code may raise is part of the answer
        return Outcome(error=error, given=given, printed=printed.getvalue())
    return Outcome(value, None, given, printed.getvalue())


@contextlib.contextmanager
def undisturbed():
    """Check on the CPU, in float32, with gradients on; and leave all of that and the random numbers as they were."""
    python, numpy, cpu = python_random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    dtype, threads, device = torch.get_default_dtype(), torch.get_num_threads(), torch.get_default_device()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad(), contextlib.ExitStack() as stack:
            if device.type != "cpu":
                stack.enter_context(torch.device("cpu"))
            yield
    finally:
        python_random.setstate(python), np.random.set_state(numpy), torch.set_rng_state(cpu)
        if gpu:
            torch.cuda.set_rng_state_all(gpu)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def is_stub(error):
    """Return whether this is what the untouched cell raises; with a message it is an error like any other."""
    return isinstance(error, NotImplementedError) and not error.args


def own_line(error, function):
    """Return "line N: its text" for the last line of the reader's own code on the way to an error, or None."""
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(__file__).parents[1])
    mine = [f for f in frames if code and f.filename == code.co_filename] or [
        f for f in frames if not f.filename.startswith(ours) and "site-packages" not in f.filename
    ]
    return f"line {mine[-1].lineno}: {mine[-1].line}" if mine else None


IN_PLACE = "work on a copy: an operation that ends in an underscore, or `x += ...`, changes the caller's tensor"

LOST_STEP = (
    "the values are right, but an in-place step (`/=`, `*=`, `+=`, or a name that ends in an underscore) destroys what"
    " the gradient needs; write `x = x / ...` instead of `x /= ...`"
)


def is_in_place(error):
    """Return whether autograd complains about a tensor that was overwritten."""
    return isinstance(error, RuntimeError) and any(word in str(error) for word in ("in-place", "inplace"))


def gradients(function, case, names):
    """Return the gradients of a weighted sum of the outputs, by the name of the input, or None if there are none."""
    case = copy.deepcopy(case)
    inputs = {n: x for n, x in zip(names, case) if isinstance(x, torch.Tensor) and x.is_floating_point()}
    for x in inputs.values():
        x.requires_grad_()
    outputs = function(*case)
    outputs = [x for x in (outputs if isinstance(outputs, tuple | list) else (outputs,)) if isinstance(x, torch.Tensor)]
    generator = torch.Generator().manual_seed(0)
    total = sum((x.cpu() * torch.rand(x.shape, generator=generator)).sum() for x in outputs)
    if not isinstance(total, torch.Tensor) or not total.requires_grad:
        return None
    return dict(zip(inputs, torch.autograd.grad(total, list(inputs.values()), allow_unused=True)))
