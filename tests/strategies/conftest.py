"""What the strategy tests share: the quickstart ClientApp, and a client whose arithmetic is done by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from flwr.app import Message
from flwr.clientapp import ClientApp
from toy_client_apps import moving_app


@pytest.fixture(scope="session")
def quickstart() -> ModuleType:
    """``quickstart_client.py`` beside this file, loaded as a project's own module would be."""
    path = Path(__file__).with_name("quickstart_client.py")
    spec = importlib.util.spec_from_file_location("quickstart_client", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def adding_app() -> ClientApp:
    """User ``j`` adds ``j + 1`` to every entry, claims ``10 (j + 1)`` examples, knows its partition id."""

    def add(me: int, arrays: dict[str, np.ndarray], message: Message) -> dict[str, np.ndarray]:
        return {name: np.asarray(array + me + 1, array.dtype) for name, array in arrays.items()}

    return moving_app(
        add,
        metrics=lambda me: {"num-examples": 10 * (me + 1), "loss": 1.0 / (me + 1)},
        evaluation=lambda me: {"num-examples": 10 * (me + 1), "accuracy": (me + 1) / 10},
    )
