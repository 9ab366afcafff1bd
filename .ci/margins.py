"""Print how far every assertion that hangs on a seed is from failing, on seeds that are not the notebook's.

    margins.py [WHICH] [--seeds 5]     (`make margins CHAPTER=05`; WHICH may be 05 or studies/05; all if left out)

Every cell of the notebook runs once as it is and once for each shift, 100 to 104: the shift is added to each seed that
PyTorch and NumPy are given. A false assertion does not end a run; the two sides of its comparisons are noted. Where they
differ from run to run, the assertion hangs on training or on drawn numbers and is a line of the table.
"""

import argparse
import ast
import functools
import json
import math
import numbers
import operator
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = ROOT / "notebooks" / "text"
SHIFTS = (100, 101, 102, 103, 104)
ORDERS = {"Lt": (operator.lt, -1), "LtE": (operator.le, -1), "Gt": (operator.gt, 1), "GtE": (operator.ge, 1)}


class Noted(ast.NodeTransformer):
    """Turns each `assert` into a call of `_note`, and each comparison of order in it into a call of `_compare`."""

    def visit_Assert(self, node):
        where = ast.Constant(ast.unparse(node.test)[:160])
        nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        test = ast.Lambda(nothing, Compared().visit(node.test))
        return ast.copy_location(ast.Expr(ast.Call(ast.Name("_note", ast.Load()), [where, test], [])), node)


class Compared(ast.NodeTransformer):
    def visit_Compare(self, node):
        self.generic_visit(node)
        names = [type(op).__name__ for op in node.ops]
        if not set(names) <= set(ORDERS):
            return node
        return ast.Call(
            ast.Name("_compare", ast.Load()), [ast.Constant(" ".join(names)), node.left, *node.comparators], []
        )


class Watch:
    """What one run of a notebook asserted: for each assertion whether it held, and its smallest margin."""

    def __init__(self):
        self.assertions, self.margins = [], []

    def compare(self, names, *values):
        for name, a, b in zip(names.split(), values, values[1:]):
            order, sign = ORDERS[name]
            result = order(a, b)
            try:
                self.margins.append((sign * (float(a) - float(b)), float(a), float(b)))
            except (TypeError, ValueError, RuntimeError):
                return result  # not two numbers: an array, a date, a set
            if not result:
                break
        return result

    def note(self, where, test):
        self.margins = []
        try:
            held = bool(test())
        except Exception as error:
            held, where = False, f"{where}: {type(error).__name__}: {error}"
        self.assertions.append((where, held, min(self.margins, default=None)))


def cells_of(text):
    """Return the code of a text twin, cell by cell; the setup cell and what never runs in CI left out."""
    import jupytext

    cells = [cell for cell in jupytext.read(text).cells if cell.cell_type == "code"]
    return [cell.source for cell in cells if not {"setup", "nbval-skip"} & set(cell.metadata.get("tags", []))]


def shift_seeds(shift):
    """Add a number to every seed that PyTorch and NumPy are given. Python's own splits the data, and stays."""
    import numpy
    import torch

    def shifted(function):
        def call(seed=None):
            return function(int(seed) + shift if isinstance(seed, numbers.Integral) else seed)  # else None, a generator

        return functools.wraps(function)(call)

    class Generator(torch.Generator):
        def manual_seed(self, seed):
            return super().manual_seed(seed + shift)

    torch.manual_seed, numpy.random.seed = shifted(torch.manual_seed), shifted(numpy.random.seed)
    numpy.random.default_rng, torch.Generator = shifted(numpy.random.default_rng), Generator


def run(text, shift):
    """Run all cells of a text twin with shifted seeds; return [(assertion, held, smallest margin or None)]."""
    import matplotlib
    import torch

    matplotlib.use("Agg")
    from matplotlib import pyplot

    warnings.simplefilter("ignore")
    shift_seeds(shift)
    watch = Watch()
    space = {"__name__": "__main__", "torch": torch, "device": torch.device("cpu")}
    space |= {"_note": watch.note, "_compare": watch.compare}
    for number, source in enumerate(cells_of(text), 1):
        try:
            exec(compile(ast.fix_missing_locations(Noted().visit(ast.parse(source))), f"cell {number}", "exec"), space)
        except Exception as error:
            watch.assertions.append((f"code cell {number} ends in {type(error).__name__}: {error}", False, None))
        pyplot.close("all")
    return watch.assertions


def child(text, shift):
    """Do a run in a process of its own, so that no seed or class of it reaches the next."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "assertions.json"
        command = [sys.executable, __file__, str(text), "--shift", str(shift), "--into", str(result)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT / "notebooks")
        return json.loads(result.read_text(encoding="utf-8"))


def worst_of(assertions):
    """Return {assertion: (held, margin)}: of those that a loop asserts many times the worst."""
    worst = {}
    for where, held, margin in assertions:
        new = held, tuple(margin) if margin else (math.inf,)
        worst[where] = min(worst.get(where, new), new)
    return worst


def table(runs):
    """Return the lines on the assertions that differ from run to run or fail, and how many fail in some run."""
    runs = [worst_of(assertions) for assertions in runs]
    lines, failed = [], 0
    for where in dict.fromkeys(where for run in runs for where in run):
        row = [run.get(where) for run in runs]
        missed = sum(entry is None or not entry[0] for entry in row)
        if len(set(row)) == 1 and not missed:
            continue
        failed += bool(missed)
        lines.append(f"{f'FAILS in {missed}' if missed else 'holds'}: {where}")
        for name, entry in zip(("own", *SHIFTS), row):
            held, margin = entry or (False, ())
            sides = "{1:.6g} against {2:.6g}, margin {0:.3g}".format(*margin) if len(margin) == 3 else ""
            said = sides or ("not reached" if entry is None else "holds" if held else "false")
            lines.append(f"    {name:>4}  {said}{'' if held or not sides else '   FAILS'}")
    return lines, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "which", nargs="?", default="", help="05 for a chapter and what goes with it, studies/05 for its study"
    )
    parser.add_argument("--seeds", type=int, default=len(SHIFTS), help="how many other seeds")
    parser.add_argument("--shift", type=int, help=argparse.SUPPRESS)  # how this program calls itself
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.shift is not None:
        given.into.write_text(json.dumps(run(Path(given.which), given.shift)), encoding="utf-8")
        return
    texts = [
        path for folder in ("", "studies", "solutions") for path in sorted((TEXT / folder).glob(f"{given.which}*.py"))
    ]
    if not texts:
        sys.exit(f"no text in notebooks/text begins with {given.which!r}")
    failed = 0
    for text in texts:
        runs = []
        for shift in (0, *SHIFTS[: given.seeds]):
            print(f"{text.stem}, {f'seeds + {shift}' if shift else 'as it is'} ...", file=sys.stderr, flush=True)
            runs.append(child(text, shift))
        lines, wrong = table(runs)
        print(f"{text.stem}: of {len(worst_of(runs[0]))} assertions these differ from seed to seed", *lines, sep="\n")
        failed += wrong
    sys.exit(f"{failed} do not hold on every seed" if failed else 0)


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = str(ROOT)
    sys.path.insert(0, str(ROOT))
    main()
