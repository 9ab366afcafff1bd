"""For the tests of what `.ci` makes out of the notebooks."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tool(name):
    """Import a program of `.ci`."""
    sys.path.insert(0, str(ROOT / ".ci"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / ".ci"))
