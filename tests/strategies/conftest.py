"""What the strategy tests share: the quickstart ClientApp, and a client whose arithmetic is done by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp


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
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        step = context.node_config["partition-id"] + 1
        arrays = {
            name: Array(np.asarray(each.numpy() + step, each.dtype))
            for name, each in message.content["arrays"].items()
        }
        metrics = MetricRecord({"num-examples": 10 * step, "loss": 1.0 / step})
        return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        step = context.node_config["partition-id"] + 1
        metrics = MetricRecord({"num-examples": 10 * step, "accuracy": step / 10})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    @app.query("flower_coded_identity")
    def identify(message: Message, context: Context) -> Message:
        identity = ConfigRecord({"partition-id": context.node_config["partition-id"]})
        return Message(RecordDict({"identity": identity}), reply_to=message)

    return app
