"""Mark each printed number that lies beside a rounding edge: `repeat.py edges` has every kernel run this file as it starts.

What leaves a tensor as a number is printed as always, unless a change by 6e-7 of itself, a few units in float32's last
place, would print something else. Then EDGE stands behind it, and nbval sees an output that differs from the stored one.
"""

import math
import sys

OFF = 6e-7


class Number(float):
    """A float that marks itself in print; what is multiplied or added goes on being one."""

    def __format__(self, spec):
        value = float(self)
        text = format(value, spec)
        # Halves, quarters and so on come out exact on every processor.
        if not math.isfinite(value) or value * 1024 == int(value * 1024):
            return text
        beside = {format(value * (1 + sign * OFF), spec) for sign in (-1, 1)}
        return text if beside == {text} else f"{text} EDGE"

    def __repr__(self):
        return format(self, "")

    def __round__(self, digits=None):
        value = float(self)
        beside = {round(value * (1 + sign * OFF), digits) for sign in (-1, 1)}
        return round(value, digits) if beside == {round(value, digits)} else self


def number(operation):
    """Return the operation with Numbers in place of the floats that it returns, in lists too."""

    def wrapped(*values):
        result = operation(*values)
        if isinstance(result, list):
            return [number(lambda value: value)(value) for value in result]
        return Number(result) if type(result) is float else result

    return wrapped


for name in ("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__"):
    setattr(Number, name, number(getattr(float, name)))

if any("ipykernel" in argument for argument in sys.orig_argv):
    from torch import Tensor

    Tensor.item, Tensor.tolist = number(Tensor.item), number(Tensor.tolist)
