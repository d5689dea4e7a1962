"""Replies that are malformed on purpose, to see that a strategy drops them singly and says whose they were.

Threat model: a saboteur, or a client with a bug; it knows nothing. Each maker takes a well-formed train
reply and the message it answers and returns what is sent instead. ``silence`` is Flower's clean way to be a
client that has dropped out: an error reply, at once. ``no-reply`` really says nothing, and the server waits
for its time limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord
from numpy.typing import NDArray

from flower_coded.errors import FlowerCodedError

__all__ = ["MALFORMED_NAMES", "SILENCE_CODE", "DeliberateError", "make_malformed"]

SILENCE_CODE = 1000  # outside the codes that Flower itself uses


class DeliberateError(FlowerCodedError):
    """Raised by a client whose behavior is ``exception``."""


def make_malformed(name: str, reply: Message, message: Message) -> Message | None:
    """Turn a well-formed reply into a malformed one.

    Parameters
    ----------
    name : str
        One of :data:`MALFORMED_NAMES`.
    reply : Message
        The honest reply; changed in place where something of it is still used.
    message : Message
        The message that it answers.

    Returns
    -------
    Message or None
        None is no reply at all.

    Raises
    ------
    DeliberateError
        If the behavior is ``exception``.
    """
    return _MAKERS[name](reply, message)


def _wrong_shape(reply: Message, message: Message) -> Message:
    return _with_arrays(reply, lambda array: np.concatenate([np.atleast_1d(array), np.atleast_1d(array)]))


def _infinite(reply: Message, message: Message) -> Message:
    return _with_arrays(reply, lambda array: np.full_like(array, np.inf))


def _huge(reply: Message, message: Message) -> Message:
    """Fill with the largest number of the type: finite by itself, infinite as soon as two are added."""

    def fill(array: NDArray[Any]) -> NDArray[Any]:
        if np.issubdtype(array.dtype, np.floating):
            return np.full_like(array, np.finfo(array.dtype).max)
        return np.full_like(array, np.iinfo(array.dtype).max)

    return _with_arrays(reply, fill)


def _wrong_keys(reply: Message, message: Message) -> Message:
    for name, record in list(reply.content.array_records.items()):
        reply.content[name] = ArrayRecord({f"{key}.renamed": array for key, array in record.items()})
    return reply


def _negative_num_examples(reply: Message, message: Message) -> Message:
    for record in reply.content.metric_records.values():
        for key in [key for key in record if key.replace("_", "-") == "num-examples"]:
            record[key] = -1
    return reply


def _no_num_examples(reply: Message, message: Message) -> Message:
    for record in reply.content.metric_records.values():
        for key in [key for key in record if key.replace("_", "-") == "num-examples"]:
            del record[key]
    return reply


def _no_metrics(reply: Message, message: Message) -> Message:
    for name in list(reply.content.metric_records):
        reply.content[name] = MetricRecord()
    return reply


def _silence(reply: Message, message: Message) -> Message:
    return Message(Error(SILENCE_CODE, "silent on purpose"), reply_to=message)


def _no_reply(reply: Message, message: Message) -> None:
    return None


def _exception(reply: Message, message: Message) -> Message:
    raise DeliberateError("raised on purpose by a client whose attack is 'exception'")


def _with_arrays(reply: Message, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Message:
    for name, record in list(reply.content.array_records.items()):
        reply.content[name] = ArrayRecord(
            {key: Array(change(array.numpy())) for key, array in record.items()}
        )
    return reply


_MAKERS: dict[str, Callable[[Message, Message], Message | None]] = {
    "wrong-shape": _wrong_shape,
    "infinite": _infinite,
    "huge": _huge,
    "wrong-keys": _wrong_keys,
    "negative-num-examples": _negative_num_examples,
    "no-num-examples": _no_num_examples,
    "no-metrics": _no_metrics,
    "silence": _silence,
    "no-reply": _no_reply,
    "exception": _exception,
}

MALFORMED_NAMES = tuple(_MAKERS)
