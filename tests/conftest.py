"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("project", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("project")


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """The directory with the real data sets, named by FLOWER_CODED_DATA; tests skip where it is absent."""
    directory = Path(os.environ.get("FLOWER_CODED_DATA", "data"))
    if not directory.is_dir():
        pytest.skip(f"no data directory at {directory}; set FLOWER_CODED_DATA to one (see docs/data.md)")
    return directory


@pytest.fixture(autouse=True)
def _level_of_flowers_log() -> Iterator[None]:
    """Commands and scenarios quiet Flower's logger; no test hands that on to the next."""
    logger = logging.getLogger("flwr")
    level = logger.level
    yield
    logger.setLevel(level)
