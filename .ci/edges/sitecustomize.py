"""Mark each printed number that lies beside a rounding edge: `repeat.py edges` has every kernel run this file as it starts.

What leaves a tensor as a number is printed as always, unless a change by 6e-7 of itself, a few units in float32's last
place, would print something else. Then EDGE stands behind it, and nbval sees an output that differs from the stored one.
"""

import math
import sys

OFF = 6e-7


def beside_an_edge(value, form):
    """Say whether a small change would give another `form(value)`; halves, quarters and so on are exact everywhere."""
    exact = not math.isfinite(value) or value * 1024 == int(value * 1024)
    return not exact and any(form(value * (1 + sign * OFF)) != form(value) for sign in (-1, 1))


class Number(float):
    """A float that marks itself in print; what is multiplied or added goes on being one."""

    def __format__(self, spec):
        value = float(self)
        return format(value, spec) + " EDGE" * beside_an_edge(value, lambda v: format(v, spec))

    def __repr__(self):
        return format(self, "")

    def __round__(self, digits=None):
        value = float(self)
        return self if beside_an_edge(value, lambda v: round(v, digits)) else round(value, digits)


def marked(value):
    """Return a float as a Number, in lists too, and anything else as it is."""
    if isinstance(value, list):
        return [marked(each) for each in value]
    return Number(value) if type(value) is float else value


def marking(operation):
    return lambda *values: marked(operation(*values))


for name in ("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__"):
    setattr(Number, name, marking(getattr(float, name)))

if any("ipykernel" in argument for argument in sys.orig_argv):
    from torch import Tensor

    Tensor.item, Tensor.tolist = marking(Tensor.item), marking(Tensor.tolist)
