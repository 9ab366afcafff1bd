"""What the code imports is declared, each package once: nothing works only because another package brings it along."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest
from badges import ROOT

FILES = {
    folder: sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)
    for folder in (".ci", ".github", "data", "helpers", "notebooks/text")
}
OWN = {"helpers"} | {path.stem for folder in (".ci", "data") for path in FILES[folder]}
OWN |= {path.parent.name for path in FILES["data"] if path.stem == "__init__"}
ELSEWHERE = {"google"}  # Colab's own, asked for only there


def declared(*names):
    """Return the packages that requirement files name, as pip compares names."""
    found = []
    for name in names:
        found += re.findall(r"^([A-Za-z][\w.-]*)", (ROOT / name).read_text(encoding="utf-8"), flags=re.M)
    return [re.sub(r"[-_.]+", "-", name).lower() for name in found]


def imported(path):
    """Return the modules that a file imports from outside the standard library and this repository."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - OWN - ELSEWHERE


@pytest.mark.parametrize("folder", FILES)
def test_every_import_is_declared(folder):
    brought_by = packages_distributions()
    known = set(declared("requirements.txt", ".ci/site-requirements.txt"))
    for path in FILES[folder]:
        for module in imported(path):
            packages = {re.sub(r"[-_.]+", "-", name).lower() for name in brought_by.get(module, [module])}
            assert packages & known, f"{path.relative_to(ROOT)} imports {module}, which no requirements name"


def test_a_package_has_one_pin():
    names = declared("requirements.txt", ".ci/site-requirements.txt")
    assert len(set(names)) == len(names)
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"#|[\w.-]+==\d|$", line) for line in lines)


def test_a_pin_stands_in_one_place():
    """So that Dependabot's change of a pin is not red because another file repeats the old one."""
    pinned = "|".join(map(re.escape, declared("requirements.txt", ".ci/site-requirements.txt")))
    repeated = re.compile(rf"\b(?:{pinned})==\d", re.I)
    others = [path for pattern in ("*.py", "*.md", "*.yml") for path in ROOT.rglob(pattern)]
    for path in [*others, ROOT / "Makefile"]:
        if not {".venv", "build", "tests"} & set(path.relative_to(ROOT).parts):
            found = repeated.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path.relative_to(ROOT)} repeats the pin of {found[0][:-3]}"
