"""The scenario coded-backdoor for tests: where it is, its settings, and the tables it writes."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path
from typing import Any

SCENARIO = Path(__file__).parents[2] / "scenarios" / "coded-backdoor"
SHORT = {"num-server-rounds": 1, "local-epochs": 1, "samples-per-user": 20}
SMALL = {
    "num-clients": 4,
    "tolerated-attackers": 1,
    "row-weight": 2,
    "attackers": "1",
    "baseline": "none",
    "under-attack": False,
}


def config_with(**changes: Any) -> dict[str, Any]:
    defaults = tomllib.loads((SCENARIO / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert set(changes) <= set(defaults)
    return {**defaults, **changes}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
