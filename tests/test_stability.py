"""The page on stability speaks of packages that are there, and of every package that users import from."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "stability.md").read_text()
PUBLIC = re.findall(r"^\| `(flower_coded\.[a-z_.]+)` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_can_be_imported_from_where_the_page_says(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_examples_import_only_what_a_module_calls_public() -> None:
    """Whoever copies an example writes what the page promises."""
    root = Path(__file__).parents[1]
    pages = [root / "README.md", *(root / "docs").glob("*.md")]
    blocks = [
        block for page in pages for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    ]
    imports = [
        (node.module or "", alias.name)
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flower_coded")
        for alias in node.names
    ]
    assert len(imports) > 50
    hidden = {
        (module, name) for module, name in imports if name not in importlib.import_module(module).__all__
    }
    assert not hidden
