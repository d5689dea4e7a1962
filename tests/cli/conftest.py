"""The Flower app that ends as it is told, and a runner for the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from flower_coded.cli.scenario import Scenario, find_scenario


@pytest.fixture
def endings() -> Scenario:
    return find_scenario(str(Path(__file__).parent / "apps" / "endings"))
