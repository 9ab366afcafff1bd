"""How results are compared, and how they are shown."""

import math
import textwrap
from numbers import Number

import numpy as np
import torch

WIDTH = 116  # characters in a line of a verdict


def difference(expected, got, tolerance):
    """Return a sentence that says how `got` differs from `expected`, or None when they agree."""
    if isinstance(got, torch.Tensor) and got.device.type == "meta" and not isinstance(expected, torch.Tensor):
        return "the result is on the device meta, which keeps shapes and no numbers"
    if isinstance(expected, tuple | list):
        numbers = isinstance(got, torch.Tensor | np.ndarray) and getattr(got, "is_meta", False) is False
        if numbers and not any(isinstance(x, torch.Tensor) for x in expected):
            got = got.tolist()
        if not isinstance(got, tuple | list) or len(got) != len(expected):
            return f"expected {len(expected)} results, got {len(got) if isinstance(got, tuple | list) else 'one'}"
        return next((p for p in (difference(a, b, tolerance) for a, b in zip(expected, got)) if p), None)
    if isinstance(expected, dict):
        if not isinstance(got, dict) or got.keys() != expected.keys():
            return f"expected the keys {list(expected)}, got {show(got, 60)}"
        found = ((k, difference(v, got[k], tolerance)) for k, v in expected.items())
        return next((f"{k}: {p}" for k, p in found if p), None)
    if isinstance(expected, torch.Tensor):
        return tensor_difference(expected, got, tolerance)
    if isinstance(expected, set):
        got = {plain(x) for x in got} if isinstance(got, set | frozenset) else got
        return None if expected == got else f"{show(got)} is not {show(expected)}"
    got = plain(got)
    if isinstance(expected, bool):
        return None if isinstance(got, Number) and got == expected else f"{got!r} is not {expected!r}"
    if isinstance(expected, float) and isinstance(got, Number) and not isinstance(got, complex):
        near = math.isclose(expected, got, rel_tol=tolerance, abs_tol=tolerance) or expected == got
        return None if near or expected != expected and got != got else f"{float(got):.6g} is not {expected:.6g}"
    if isinstance(expected, int) and isinstance(got, int) and not isinstance(got, bool):
        return None if got == expected else f"{got} is not {expected}"
    return None if type(expected) is type(got) and expected == got else f"{got!r} is not {expected!r}"


def plain(value):
    """Return Python's own number or boolean for a one-element tensor or a NumPy scalar, and anything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.item() if value.numel() == 1 and value.device.type != "meta" else value
    return value.item() if isinstance(value, np.generic | np.ndarray) and value.size == 1 else value


def tensor_difference(expected, got, tolerance):
    """`difference` for tensors: type, shape, NaN, values."""
    if not isinstance(got, torch.Tensor):
        return f"expected a tensor, got {type(got).__name__}"
    if got.shape != expected.shape:
        return f"expected shape {tuple(expected.shape)}, got {tuple(got.shape)}"
    if "meta" in (got.device.type, expected.device.type):
        return "the result is on the device meta, which keeps shapes and no numbers"
    if (got.dtype == torch.bool) != (expected.dtype == torch.bool) or got.is_complex():
        return f"expected dtype {expected.dtype}, got {got.dtype}"
    if expected.is_floating_point() and not got.is_floating_point():
        return f"expected floating-point numbers, got {got.dtype}"
    if got.is_floating_point() and torch.finfo(got.dtype).eps > 1e-4:  # half precision, by the reader's own choice
        tolerance = max(tolerance, 8 * torch.finfo(got.dtype).eps)
    a, b = (x.detach().to_dense().cpu().double() for x in (expected, got))
    if b.isnan().any() and not a.isnan().any():
        return f"{int(b.isnan().sum())} of {b.numel()} numbers are NaN"
    wrong = ~torch.isclose(b, a, rtol=tolerance, atol=tolerance, equal_nan=True)
    if not wrong.any():
        return None
    where = tuple(wrong.nonzero()[0].tolist())
    first = (
        f"{int(wrong.sum())} of {wrong.numel()} numbers differ; the first, at {list(where)}," if where else "the number"
    )
    is_bool = expected.dtype == torch.bool
    x, y = (str(bool(t[where])) if is_bool else f"{t[where]:.4f}" for t in (b, a))
    x, y = (x, y) if x != y else (f"{b[where]:.9g}", f"{a[where]:.9g}")
    return f"{first} is {x}, not {y}"


def changed(before, after):
    """Return whether an argument is no longer what it was; of what is neither numbers nor a container, nothing is known."""
    if isinstance(before, torch.nn.Module):
        return before.training != after.training or changed(before.state_dict(), after.state_dict())
    if isinstance(before, tuple | list):
        return len(before) != len(after) or any(changed(a, b) for a, b in zip(before, after))
    if isinstance(before, dict):
        return before.keys() != after.keys() or any(changed(before[k], after[k]) for k in before)
    if isinstance(before, torch.Tensor | np.ndarray):
        return bool(difference(torch.as_tensor(before), torch.as_tensor(after), 0.0))
    return isinstance(before, set | Number | str) and before != after


# Showing


def tell(label, text):
    """Print a label and a text beside it, in lines that fit; nothing where there is no text."""
    for number, line in enumerate(text.splitlines() if text else ()):
        for part in textwrap.wrap(line, WIDTH - 12, break_on_hyphens=False) or [""]:
            print(f"  {label if number == 0 else '':9} {part}")
            label = ""


def inputs(names, case):
    """Return lines that show a case: one for all arguments if that fits, otherwise one for each."""
    shown = [f"{name} = {show(argument, WIDTH - 15 - len(name))}" for name, argument in zip(names, case)]
    return shown if len(", ".join(shown)) > WIDTH - 12 else [", ".join(shown)]


def show(value, room=WIDTH - 12):
    """Return a text of at most `room` characters for a value: a small tensor with its numbers, a large one by its shape."""
    if isinstance(value, np.ndarray):
        value = torch.as_tensor(value) if value.dtype.kind in "biuf" else value.tolist()
    if isinstance(value, torch.Tensor):
        usual = value.dtype in (torch.float32, torch.long, torch.bool)
        kind = "" if usual else f" ({str(value.dtype).removeprefix('torch.')})"
        text = "" if value.numel() > 150 or value.device.type == "meta" else nested(value.detach().to_dense().tolist())
        return text + kind if text and len(text + kind) <= room else f"tensor of shape {tuple(value.shape)}{kind}"
    if isinstance(value, tuple | list) and any(isinstance(x, torch.Tensor) for x in value):
        text = "(" + ", ".join(show(x, room) for x in value) + ")"
        if len(text) > room:
            text = "(" + ", ".join(show(x, max(30, room // len(value) - 4)) for x in value) + ")"
    else:
        text = nested(value) if isinstance(value, tuple | list | float | Number) else repr(value)
    return text if len(text) <= room else text[: room - 1] + "…"


def nested(value):
    """Return nested lists of numbers as text, with four decimals; booleans as T and a dot."""
    if isinstance(value, list) and value and all(isinstance(x, bool) for x in value):
        return "[" + " ".join("T" if x else "·" for x in value) + "]"
    if isinstance(value, tuple | list):
        text = ", ".join(nested(x) for x in value)
        return f"[{text}]" if isinstance(value, list) else f"({text}{',' * (len(value) == 1)})"
    value = plain(value)
    return repr(round(value, 4) if isinstance(value, float) else value)
