"""The layout of `helpers`: one door for each name, modules that can be read at a sitting, arrows that go one way."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import jupytext
import pytest

HELPERS = Path(__file__).resolve().parent.parent
MODULES = {path.stem: path for path in sorted(HELPERS.glob("*.py")) if path.stem != "__init__"}
READERS = [
    *sorted((HELPERS.parent / "notebooks" / "text").rglob("*.py")),
    *sorted(HELPERS.rglob("*.py")),
    *sorted((HELPERS.parent / ".ci").rglob("*.py")),
]


def tree_of(path):
    if path.is_relative_to(HELPERS.parent / "notebooks"):
        cells = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
        return ast.parse("\n".join(cell for cell in cells if not cell.lstrip().startswith("%")))
    return ast.parse(path.read_text(encoding="utf-8"))


def defined_in(path):
    """Return the names that a module defines itself, not those it imports."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            names |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return names


DEFINED = {name: defined_in(path) for name, path in MODULES.items()}


def taken_from_helpers(path):
    """Yield (module, name) of everything that a file takes from `helpers`, by import or as an attribute."""
    tree, doors = tree_of(path), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("helpers."):
            module = node.module.split(".")[1]
            if module in MODULES:
                yield from ((module, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "helpers":
            doors |= {alias.asname or alias.name: alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = doors.get(node.value.id)
            if module in MODULES:
                yield module, node.attr


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.relative_to(HELPERS.parent).as_posix())
def test_a_name_is_imported_from_where_it_is_defined(path):
    elsewhere = sorted({f"{m}.{n}" for m, n in taken_from_helpers(path) if n not in DEFINED[m]} - PATCHED)
    assert not elsewhere, f"{path.name} takes {', '.join(elsewhere)} from modules that do not define them"


PATCHED = {"start.torch", "start.subprocess"}  # a test looks through the module at what it imported


def test_a_module_can_be_read_at_a_sitting_and_there_are_few():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    long = {name: n for name, n in lines.items() if n > 400}
    assert not long, long
    assert len(MODULES) + 1 <= 22, sorted(MODULES)


def test_arrows_between_modules_go_one_way():
    arrows = {}
    for name, path in MODULES.items():
        imported = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        arrows[name] = {
            module
            for node in imported
            if isinstance(node, ast.ImportFrom) and node.module
            for module in ([node.module.split(".")[1]] if node.module.startswith("helpers.") else
                           [alias.name for alias in node.names] if node.module == "helpers" else [])
        }  # fmt: skip
    list(TopologicalSorter(arrows).static_order())  # raises CycleError, which names the circle


def test_the_table_in_the_package_names_every_module():
    table = (HELPERS / "__init__.py").read_text(encoding="utf-8")
    named = {line.split()[0] for line in table.splitlines() if line.startswith("    ")}
    assert set(MODULES) <= named, sorted(set(MODULES) - named)
