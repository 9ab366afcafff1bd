"""Trying an exercise: with right answers, with wrong ones, and with every small change of its reference.

A chapter's author writes, for each exercise:

    def test_share():
        examine(check_share, right=[share_by_loop, share_in_place], wrong=[share_of_all], same=["1 → 2"])

`same` lists the changes that make no difference on any allowed input, in the words in which a failing test prints them.
"""

import ast
import contextlib
import inspect
import io
import random
import re
import signal
import textwrap
import time

import numpy as np
import torch

from helpers.checks.core import compiled

SECONDS = 0.5  # what a check may take
HINT = re.compile(r"  hint:(.*?)(?=\n  \w+:|\Z)", re.DOTALL)


def examine(check, right, wrong, same=(), mutate=True):
    """Assert that an exercise accepts, rejects and explains as it should; return the hints that `wrong` got."""
    exercise = check.__self__
    assert len(right) >= 2 and len(exercise.mistakes) + len(wrong) >= 5
    for answer in (exercise.reference, *right):
        for about in SURROUNDINGS:
            with about():
                before = state()
                begin = time.process_time()
                verdict, text = said(check, answer)
                assert verdict is True, f"{naming(answer)} was rejected:\n{text}"
                assert time.process_time() - begin < SECONDS, f"{naming(answer)} took too long"
                assert text.startswith("✓ ") and state() == before
    assert said(check, stub) == (None, f"not written yet: {exercise.name}\n")
    for answer in (unfinished, returns_nothing, elsewhere):
        rejected(check, answer)
    assert "is `return` missing?" in rejected(check, returns_nothing)
    for answer in (exercise.function_of(mistake) for mistake, _ in exercise.mistakes):
        rejected(check, answer)
    for mistake, hint in exercise.mistakes:
        given = hint_in(rejected(check, exercise.function_of(mistake)))
        assert given == " ".join(hint.split()), f"{mistake!r} should be told {hint!r}, and was told {given!r}"
    if mutate:
        kept = [what for what, mutant in mutants(exercise.reference) if said(check, mutant)[0] is not False]
        unknown = [what for what in kept if what not in same]
        assert not unknown, f"{exercise.name} accepts its reference with these changes: {unknown}"
        assert set(same) <= set(kept), f"these are rejected or no change: {set(same) - set(kept)}"
    return [hint_in(rejected(check, answer)) for answer in wrong]


def rejected(check, answer):
    """Assert that an answer is rejected with a readable explanation, and return that."""
    before, begin = state(), time.process_time()
    verdict, text = said(check, answer)
    assert verdict is False, f"{naming(answer)} was not rejected: {text}"
    assert time.process_time() - begin < SECONDS, f"{naming(answer)} took too long"
    assert state() == before and "input:" in text and "expected:" in text
    assert max(map(len, text.splitlines())) <= 120, text
    assert not re.search(r"object at 0x|<function|Traceback", text), text
    return text


def said(check, answer):
    """Return the verdict and what was printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), limit(5):
        verdict = check(answer)
    return verdict, printed.getvalue()


def hint_in(text):
    """Return the hint in a verdict, or None."""
    found = HINT.search(text)
    return found and " ".join(found.group(1).split())


def naming(answer):
    return getattr(answer, "__name__", repr(answer))


# Around a check


def state():
    """Return what a check must leave alone."""
    return (
        random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(), torch.get_default_dtype(), torch.get_num_threads(),
    )  # fmt: skip


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SURROUNDINGS = (contextlib.nullcontext, torch.no_grad, torch.inference_mode, lambda: default_dtype(torch.float64))


@contextlib.contextmanager
def limit(seconds):
    """Stop what has no end, by the processor's time and not the clock's (where the operating system has an alarm)."""
    if not hasattr(signal, "SIGPROF"):
        yield
        return

    def stop(*_):
        raise TimeoutError(f"no verdict after {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


# Answers to any exercise


def stub(*arguments):
    raise NotImplementedError


def unfinished(*arguments):
    raise NotImplementedError("the mask comes next")


def returns_nothing(*arguments):
    "A function without `return`."


def elsewhere(*arguments):
    return torch.zeros(2, 3, device="meta")


# Small changes of a reference

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.And: ast.Or,
    ast.Or: ast.And,
}  # fmt: skip


def mutants(function):
    """Yield pairs (what was changed, the changed function), one for each small change of the source text."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    docstrings = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    for node in list(ast.walk(tree)):
        if not isinstance(node, ast.expr) or id(node) in docstrings:
            continue
        for other in changes(node):
            old, new = ast.unparse(node), ast.unparse(other)
            if old == new:
                continue
            changed = ast.unparse(Exchange(node, other).visit(tree))
            what = f"{old} → {new}"
            with contextlib.suppress(SyntaxError):
                yield what, compiled(changed, function, what)


class Exchange(ast.NodeTransformer):
    """Puts one expression in the place of another, in a new tree: nodes on the way are copied."""

    def __init__(self, old, new):
        self.old, self.new = old, new

    def visit(self, node):
        if node is self.old:
            return self.new
        fields = {
            name: [self.visit(x) if isinstance(x, ast.AST) else x for x in value]
            if isinstance(value, list)
            else self.visit(value)
            if isinstance(value, ast.AST)
            else value
            for name, value in ast.iter_fields(node)
        }
        return ast.copy_location(type(node)(**fields), node)


def changes(node):
    """Yield expressions to put in the place of this one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield from (ast.Constant(node.value + step) for step in (1, -1))
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield from (ast.Compare(node.left, [op()], node.comparators) for op in COMPARISONS[type(node.ops[0])])
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        yield from (node.left, node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(OPERATORS[type(node.op)](), node.values)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and not is_module(node.func.value):
            yield node.func.value  # x.f(...) → x
        elif node.args:
            yield node.args[0]  # f(x) → x
        symmetric = isinstance(node.func, ast.Attribute) and node.func.attr == "transpose"
        for i in range(0 if symmetric else len(node.args) - 1):
            swapped = [*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]]
            yield ast.Call(node.func, swapped, node.keywords)


def is_module(node):
    return isinstance(node, ast.Name) and node.id in ("torch", "F", "math", "np", "nn")
