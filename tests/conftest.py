"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("project", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("project")


collect_ignore_glob = ["vectors/*"]
"""Known answers, and the scripts that made them with other packages."""

LONG_FAMILIES = (
    "conformance/test_strategies_conformance.py",
    "scenarios/",
    "strategies/test_validated.py",
    "sweep/test_execution.py",
    "sweep/test_resumable.py",
)
"""Hundreds of small trainings each: part of `make test`, not of `make check`."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the long families, each test of which is short."""
    if any(f"/tests/{family}" in item.path.as_posix() for family in LONG_FAMILIES):
        item.add_marker(pytest.mark.slow)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the long tests out to the workers first, so that none is left for one of them at the end."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    slow = [item for item in items if item.get_closest_marker("slow")]
    others = [item for item in items if not item.get_closest_marker("slow")]
    share = -(-len(others) // workers)
    items[:] = [
        item
        for worker in range(workers)
        for item in (*slow[worker::workers], *others[worker * share : (worker + 1) * share])
    ]


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """The directory with the real data sets, named by FLOWER_CODED_DATA; tests skip where it is absent."""
    directory = Path(os.environ.get("FLOWER_CODED_DATA", "data"))
    if not directory.is_dir():
        pytest.skip(f"no data directory at {directory}; set FLOWER_CODED_DATA to one (see docs/data.md)")
    return directory


@pytest.fixture(autouse=True)
def _threads_of_torch() -> Iterator[None]:
    """No test hands a number of torch's threads on to the next: the last bits of sums depend on it.

    Numba does, where it first runs a loop in parallel: its OpenMP pool tells torch's library, too.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 0
    yield
    if torch is not None and torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture
def one_thread_of_torch() -> None:
    """With more, torch divides the sums of a program that is alone among them: last bits may differ."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _level_of_flowers_log() -> Iterator[None]:
    """Commands and scenarios quiet Flower's logger; no test hands that on to the next."""
    logger = logging.getLogger("flwr")
    level = logger.level
    yield
    logger.setLevel(level)
