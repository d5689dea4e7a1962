"""Fixtures of the scenarios' tests."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest
from coded_backdoor_scenario import SCENARIO


@pytest.fixture
def coded_backdoor_on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(SCENARIO))
    logging.getLogger("flwr").setLevel(logging.ERROR)
    yield
    logging.getLogger("flwr").setLevel(logging.INFO)
    for name in [name for name in sys.modules if name.split(".")[0] == "coded_backdoor"]:
        del sys.modules[name]
