"""ClientApps whose arithmetic is done by hand, for tests of strategies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from flower_coded.clients import register_identity

__all__ = ["echoing_app", "moving_app"]

Arrays = dict[str, NDArray[Any]]
Move = Callable[[int, Arrays, Message], Mapping[str, Any]]
Measure = Callable[[int], Mapping[str, float]]


def moving_app(
    move: Move,
    *,
    metrics: Measure = lambda me: {"num-examples": 10},
    evaluation: Measure | None = None,
    mods: Sequence[Any] = (),
) -> ClientApp:
    """Answer a training message with ``move(partition id, arrays, message)``, and know one's partition id.

    Parameters
    ----------
    move : callable
        ``(partition id, arrays by name, message) -> arrays by name``.
    metrics : callable
        Partition id to the metrics of a training reply; ten examples by default.
    evaluation : callable, optional
        The same of an evaluation reply; without it such messages are errors.
    mods : sequence of Mod
        Around both.
    """
    app = register_identity(ClientApp(mods=list(mods)))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        me = int(context.node_config["partition-id"])
        arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
        moved = {name: Array(np.asarray(array)) for name, array in move(me, arrays, message).items()}
        content = {"arrays": ArrayRecord(moved), "metrics": MetricRecord(dict(metrics(me)))}
        return Message(RecordDict(content), reply_to=message)

    if evaluation is not None:

        @app.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            measured = evaluation(int(context.node_config["partition-id"]))
            return Message(RecordDict({"metrics": MetricRecord(dict(measured))}), reply_to=message)

    return app


def echoing_app(note: Callable[[Message, Context], None] = lambda message, context: None) -> ClientApp:
    """Return the arrays as they came, after ``note`` has seen the message; no partition id is told."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        note(message, context)
        [arrays] = message.content.array_records.values()
        content = {"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}
        return Message(RecordDict(content), reply_to=message)

    return app
