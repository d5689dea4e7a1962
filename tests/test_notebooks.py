"""The lesson runs through, with its defaults, without torch and without Flower."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))
HEAVY = ("torch", "torchvision", "flwr", "numba", "galois", "matplotlib", "ray")
MATHEMATICS = ("codes", "crypto", "aggregation", "attacks", "protocols")
WITHOUT = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
"""


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_through_on_the_mathematics_alone(notebook: Path) -> None:
    program = f"{WITHOUT}\nimport runpy\nrunpy.run_path({str(notebook)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_mathematics_imports_without_what_is_heavy() -> None:
    imports = "\n".join(f"import flower_coded.{name}" for name in MATHEMATICS)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + imports], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
