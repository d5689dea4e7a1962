"""Imports point down only: read from the import statements themselves (DESIGN: layers)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "flower_coded"

EVERYWHERE = {"errors", "rendezvous", "threads"}
# What each part may import of this package, besides itself and those.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "threads": set(),
    "rendezvous": set(),
    "codes": {"crypto"},
    "crypto": set(),
    "aggregation": {"codes"},
    "attacks": {"aggregation", "codes", "crypto"},
    "protocols": {"codes", "crypto", "aggregation", "attacks"},
    "lesson": {"codes", "crypto"},
    "learning": {"codes", "aggregation", "attacks", "protocols"},
    "wire": {"codes", "crypto", "aggregation", "attacks", "protocols"},
    "strategies": {"codes", "crypto", "aggregation", "attacks", "protocols", "learning", "wire"},
    "clients": {"codes", "crypto", "aggregation", "attacks", "protocols", "learning", "wire"},
    "reporting": {"codes", "crypto", "aggregation", "attacks", "protocols", "lesson", "learning"},
    "testing": set(),
    "experiment": {"codes", "attacks", "learning", "strategies", "clients", "reporting", "wire"},
    "sweep": {
        "codes",
        "aggregation",
        "attacks",
        "learning",
        "wire",
        "strategies",
        "clients",
        "testing",
        "reporting",
        "experiment",
    },
    "__main__": {"cli"},
    "cli": {"codes", "crypto", "aggregation", "attacks", "protocols", "learning", "reporting", "sweep"},
}
MATHEMATICS = {*EVERYWHERE, "codes", "crypto", "aggregation", "attacks", "protocols", "lesson"}
NO_FLOWER = {"learning", "reporting"}
FLOWER_MAY_BE_IMPORTED_BY = {"wire", "strategies", "clients", "testing", "experiment", "sweep", "cli"}

FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported_names(tree: ast.AST) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"line {node.lineno}: relative imports hide the layer; write the whole name"
            )
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def module_level_imports(tree: ast.Module) -> list[str]:
    def outside_type_checking(statements: list[ast.stmt]) -> list[ast.stmt]:
        kept: list[ast.stmt] = []
        for statement in statements:
            if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
                kept += statement.orelse
            elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                kept.append(statement)
        return kept

    return [name for statement in outside_type_checking(tree.body) for name in imported_names(statement)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_only(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        assert not [n for n in imported_names(ast.parse(path.read_text())) if n.startswith("flower_coded.")]
        return
    assert part in ALLOWED, f"{part} has no place in the layers; add it to ALLOWED with what it may import"
    for name in imported_names(ast.parse(path.read_text())):
        pieces = name.split(".")
        if (
            pieces[0] == "flower_coded"
            and len(pieces) > 1
            and pieces[1] not in {part, *EVERYWHERE, "__version__"}
        ):
            assert pieces[1] in ALLOWED[part], f"{path.relative_to(PACKAGE)} imports {name}: that points up"
        if pieces[0] == "flwr":
            assert part in FLOWER_MAY_BE_IMPORTED_BY, f"{path.relative_to(PACKAGE)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_mathematics_imports_neither_flower_nor_torch_at_module_level(path: Path) -> None:
    part = part_of(path)
    forbidden = (
        {"flwr", "torch", "torchvision"} if part in MATHEMATICS else {"flwr"} if part in NO_FLOWER else set()
    )
    roots = {name.split(".")[0] for name in module_level_imports(ast.parse(path.read_text()))}
    assert not roots & forbidden, (
        f"{path.relative_to(PACKAGE)} imports {sorted(roots & forbidden)} at module level"
    )


@pytest.mark.parametrize("module", ["encoded_gd", "robust_alcc", "ramp_krum", "attack_mod", "identity"])
def test_a_client_that_does_not_train_loads_neither_torch_nor_scipy_nor_a_strategy(module: str) -> None:
    """In a deployment every message starts a process."""
    code = (
        f"import sys, flower_coded.clients.{module}\n"
        "print(*[m for m in sys.modules if m.startswith(('torch', 'scipy', 'flower_coded.strategies'))])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


@pytest.mark.parametrize(
    "name",
    ["EncodedGradientDescent", "RobustALCC", "RampSharedMultiKrum", "RuleAggregation", "ValidatedReplies"],
)
def test_a_strategy_that_does_not_train_loads_no_torch(name: str) -> None:
    """Settings are refused in less than two seconds, of which torch alone takes one."""
    code = (
        f"import sys; from flower_coded.strategies import {name}; import flower_coded.reporting\n"
        "print(*[m for m in sys.modules if m.split('.')[0] in {'torch', 'matplotlib', 'sklearn'}])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_every_public_strategy_can_be_imported_and_nothing_else() -> None:
    import flower_coded.strategies as strategies

    assert all(getattr(strategies, name).__name__ == name for name in strategies.__all__)
    with pytest.raises(AttributeError, match="no attribute 'FedCoded'"):
        _ = strategies.FedCoded


def test_no_two_parts_import_each_other() -> None:
    both_ways = {
        frozenset({part, other})
        for part, allowed in ALLOWED.items()
        for other in allowed
        if part in ALLOWED.get(other, set())
    }
    assert not both_ways
