"""An in-process grid that counts what crosses it: bytes both ways, and processor time of the clients.

What it leaves out: Flower's framing of messages, a few hundred bytes each, and the roster's question.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from flwr.app import ArrayRecord, Message, RecordDict

from flower_coded.testing import InProcessGrid

__all__ = ["MeteredGrid", "content_bytes"]

_BYTES_PER_NUMBER = 8


class MeteredGrid(InProcessGrid):
    """Counts train messages and replies; parameters are those of :class:`InProcessGrid`.

    Attributes
    ----------
    bytes_to_clients, bytes_to_server : int
        Content of train messages, and of what came back.
    client_seconds : float
        Processor time spent in clients, all of them together.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.bytes_to_clients = self.bytes_to_server = 0
        self.client_seconds = 0.0

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Deliver messages, as the base class does, and measure."""
        listed = list(messages)
        self.bytes_to_clients += sum(content_bytes(each.content) for each in listed if _is_train(each))
        started = time.process_time()
        message_ids = super().push_messages(listed)
        self.client_seconds += time.process_time() - started
        return message_ids

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Deliver messages and collect replies, as the base class does, and measure."""
        replies = list(super().send_and_receive(messages, timeout=timeout))
        answers = [each for each in replies if each.has_content() and _is_train(each)]
        self.bytes_to_server += sum(content_bytes(each.content) for each in answers)
        return replies


def content_bytes(content: RecordDict) -> int:
    """Count the bytes of a message's content: arrays as serialized, numbers as 8, text and bytes as they are.

    Examples
    --------
    >>> from flwr.app import MetricRecord
    >>> content_bytes(RecordDict({"metrics": MetricRecord({"loss": 0.5, "counts": [1, 2, 3]})}))
    32
    """
    total = 0
    for record in content.values():
        if isinstance(record, ArrayRecord):
            total += sum(len(array.data) for array in record.values())
        else:
            total += sum(_value_bytes(value) for value in record.values())
    return total


def _value_bytes(value: Any) -> int:
    if isinstance(value, list):
        return sum(_value_bytes(each) for each in value)
    if isinstance(value, str):
        return len(value.encode())
    return len(value) if isinstance(value, bytes) else _BYTES_PER_NUMBER


def _is_train(message: Message) -> bool:
    return message.metadata.message_type.split(".")[0] == "train"
