"""Where Flower is met, no function is longer than a screen and no object holds more than a mind can."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "flower_coded"
FILES = sorted(path for part in ("wire", "strategies", "clients") for path in (PACKAGE / part).glob("*.py"))
MOST_LINES, MOST_ATTRIBUTES = 60, 15


def num_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines without the docstring."""
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    skipped = 0 if docstring is None else (docstring.end_lineno or 0) - docstring.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - skipped


def attributes(of: ast.ClassDef) -> set[str]:
    """What is assigned to ``self`` or declared in the class."""
    assigned = [
        target
        for node in ast.walk(of)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        for each in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for target in ast.walk(each)
    ]
    own = {
        node.attr
        for node in assigned
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    declared = {
        node.target.id
        for node in of.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return own | declared


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_functions_and_classes_stay_small(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name: num_lines(node) for node in functions if num_lines(node) > MOST_LINES}
    assert not long
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    large = {
        node.name: sorted(attributes(node)) for node in classes if len(attributes(node)) > MOST_ATTRIBUTES
    }
    assert not large
