"""The client's answer to the roster query: which partition it holds.

Flower's node ids are drawn anew in every run, so a strategy asks each node for its partition id before the
first round and orders the users by it. An app that does not answer still takes part, in an order that
differs from run to run.
"""

from __future__ import annotations

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from flower_coded.errors import ParameterError
from flower_coded.wire.keys import IDENTITY_MESSAGE_TYPE, IDENTITY_RECORD, PARTITION_ID_KEY

__all__ = ["answer_identity", "identity_mod", "partition_of", "register_identity"]


def answer_identity(message: Message, context: Context) -> Message:
    """Reply with a ConfigRecord ``{"partition-id": int}``."""
    partition_id, _ = partition_of(context)
    record = ConfigRecord({PARTITION_ID_KEY: partition_id})
    return Message(RecordDict({IDENTITY_RECORD: record}), reply_to=message)


def register_identity(app: ClientApp) -> ClientApp:
    """Let a ClientApp that is written with decorators answer the roster query; returns the app.

    Examples
    --------
    >>> app = register_identity(ClientApp())
    """
    app.query(IDENTITY_MESSAGE_TYPE.split(".")[1])(answer_identity)
    return app


def identity_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Answer the roster query in an app that is made with ``client_fn``, whose mods see every message."""
    if message.metadata.message_type == IDENTITY_MESSAGE_TYPE:
        return answer_identity(message, context)
    return call_next(message, context)


def partition_of(context: Context) -> tuple[int, int]:
    """Partition id of this node and the number of partitions.

    Raises
    ------
    ParameterError
        If the node does not know them: a deployment must be told.
    """
    found = [context.node_config.get(key) for key in ("partition-id", "num-partitions")]
    partition_id, num_partitions = found
    if not (isinstance(partition_id, int) and isinstance(num_partitions, int)):
        raise ParameterError(
            "node configuration",
            "must have partition-id and num-partitions",
            dict(context.node_config),
            hint='start the SuperNode with --node-config "partition-id=0 num-partitions=12"',
        )
    return partition_id, num_partitions
