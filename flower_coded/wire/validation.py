"""Validate ONE reply alone: accepted content, or a record that says which node failed and why.

Flower's own helpers compare all replies with each other, and one odd record ends the run. Here a reply is
compared with what the strategy expects, never with other replies; a bad one costs its sender the place in
this round and nothing else. A reply is read by its content: one ArrayRecord and one MetricRecord, whatever
their names. What it leaves out: whether an accepted update is *honest*. That is what the codes are for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from flwr.app import Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from flower_coded.errors import MalformedReplyError
from flower_coded.wire.array_reading import ArrayTemplate, read_array_record
from flower_coded.wire.keys import STATE_MISSING_CODE

__all__ = [
    "DEFAULT_MAX_COUNT",
    "REASON_CODES",
    "Accepted",
    "Rejected",
    "Update",
    "read_arrays",
    "read_report",
    "read_reported_count",
    "read_update",
    "the_only_record",
    "validate",
]

REASON_CODES = (
    "no-reply",  # silent until the timeout
    "not-connected",  # known, but not there when the question was sent
    "error-reply",  # the client raised, or Flower could not reach it
    "state-missing",  # the node no longer has what an earlier message brought
    "no-content",
    "record-count",
    "keys",
    "shape",
    "dtype",
    "not-finite",
    "undecodable",
    "num-examples",
    "metrics",
    "duplicate",
    "unexpected",  # from somebody who was not asked
    "located",  # well-formed and wrong: a code's decoder says whose
    "protocol",  # a system's own checks: a share, an opening, a proof that does not verify
    "misbehavior",  # proven, by evidence that nothing but a lie explains
)

DEFAULT_MAX_COUNT = 1e12  # more examples than any node holds: a larger count is no count

T = TypeVar("T")

# What a client of Flower's older interface looks for in a message, in vain: a KeyError with one of these.
_OLDER_RECORDS = ("fitins.", "evaluateins.")
_OLDER_CLIENT = (
    "a ClientApp of Flower's older interface (client_fn, NumPyClient): "
    "write train and evaluate with @app.train() and @app.evaluate(), see docs/strategies.md"
)


@dataclass(frozen=True)
class Rejected:
    """A reply that was not used, or that never came.

    Parameters
    ----------
    node_id : int
        Flower's id of the sender.
    participant : int or None
        Its index, if it has one.
    reason : str
        What was wrong, in words.
    code : str
        The kind of fault, one of :data:`REASON_CODES`.
    model : int or None
        Which model of an ensemble the reply was for.

    Examples
    --------
    >>> print(Rejected(81, 3, "'bias' has shape (2,), expected (3,)", "shape", model=0))
    participant 3 (node 81), model 0: 'bias' has shape (2,), expected (3,) [shape]
    """

    node_id: int
    participant: int | None
    reason: str
    code: str = "protocol"
    model: int | None = None

    def __str__(self) -> str:
        known = self.participant is not None
        who = f"participant {self.participant} (node {self.node_id})" if known else f"node {self.node_id}"
        which = "" if self.model is None else f", model {self.model}"
        return f"{who}{which}: {self.reason} [{self.code}]"


@dataclass(frozen=True)
class Accepted(Generic[T]):
    """A reply that passed its check.

    Parameters
    ----------
    node_id, participant, model
        As in :class:`Rejected`; a participant always has an index.
    content
        What the check returned.
    """

    node_id: int
    participant: int
    content: T
    model: int | None = None


@dataclass(frozen=True)
class Update:
    """What a well-formed FedAvg-style reply holds.

    Parameters
    ----------
    state : dict of str to ndarray
        Decoded arrays, read-only, in the template's order; empty for an evaluation.
    weight : float
        The reported count of examples, finite and not negative; 1.0 where none is asked for.
    metrics : MetricRecord
        The reply's metrics as they came; empty where there are none.
    content : RecordDict
        The whole reply, for a user's own metrics function.
    """

    state: dict[str, NDArray[np.generic]]
    weight: float
    metrics: MetricRecord = field(default_factory=MetricRecord)
    content: RecordDict = field(default_factory=RecordDict)


def validate(
    message: Message, check: Callable[[RecordDict], T], *, participant: int, model: int | None = None
) -> Accepted[T] | Rejected:
    """Apply ``check`` to the content of one reply.

    Parameters
    ----------
    message : Message
        A reply, or an error reply.
    check : callable
        Takes the content, returns what the strategy needs from it, raises ``MalformedReplyError`` otherwise.
        Any other exception is a defect of the check and is not caught.
    participant : int
        Who was asked.
    model : int, optional
        For the record.

    Returns
    -------
    Accepted or Rejected

    Examples
    --------
    >>> from flower_coded.testing import InProcessGrid
    >>> from flwr.clientapp import ClientApp
    >>> grid = InProcessGrid(ClientApp(), 1)  # an app that answers nothing
    >>> question = Message(RecordDict(), grid.node_ids[0], "query")
    >>> [reply] = grid.send_and_receive([question], timeout=1)
    >>> validate(reply, lambda content: content, participant=0).reason
    "ValueError: No query function registered with name 'default'"
    """
    node_id = message.metadata.src_node_id
    if message.has_error():
        code = "state-missing" if message.error.code == STATE_MISSING_CODE else "error-reply"
        return Rejected(node_id, participant, _own_words(message.error.reason), code, model)
    if not message.has_content():
        return Rejected(node_id, participant, "the reply is empty", "no-content", model)
    try:
        return Accepted(node_id, participant, check(message.content), model)
    except MalformedReplyError as error:
        return Rejected(node_id, participant, error.reason, error.code, model)


def read_arrays(content: RecordDict, template: Mapping[str, ArrayTemplate]) -> dict[str, NDArray[np.generic]]:
    """Read the one ArrayRecord of a reply; its name is free.

    Examples
    --------
    >>> from flwr.app import Array, ArrayRecord
    >>> from flower_coded.wire.array_reading import template_of
    >>> content = RecordDict({"any": ArrayRecord({"w": Array(np.ones(1))})})
    >>> read_arrays(content, template_of({"w": np.zeros(1)}))
    {'w': array([1.])}
    """
    return read_array_record(the_only_record(content.array_records, "ArrayRecord"), template)


def read_update(
    content: RecordDict, template: Mapping[str, ArrayTemplate], *, weighted_by_key: str | None
) -> Update:
    """Read a training reply: one ArrayRecord as in ``template``, and its metrics.

    Parameters
    ----------
    content : RecordDict
        Of the reply. Records of other kinds are free.
    template : mapping of str to ArrayTemplate
        What the arrays must look like; see :func:`~flower_coded.wire.array_reading.template_of`.
    weighted_by_key : str or None
        Where the metrics hold the number of examples. None where examples do not count: then nothing about
        metrics is required, and metrics that are not one record are as good as none.

    Returns
    -------
    Update

    Raises
    ------
    MalformedReplyError
        If something else was sent.
    """
    metrics, weight = _read_metrics(content, weighted_by_key)
    return Update(read_arrays(content, template), weight, metrics, content)


def read_report(content: RecordDict, *, weighted_by_key: str | None) -> Update:
    """Read an evaluation reply, which is its one MetricRecord; see :func:`read_update`.

    Examples
    --------
    >>> content = RecordDict({"any": MetricRecord({"num-examples": 0, "loss": 2.0})})
    >>> read_report(content, weighted_by_key="num-examples").weight
    0.0
    """
    the_only_record(content.metric_records, "MetricRecord")
    metrics, weight = _read_metrics(content, weighted_by_key)
    return Update({}, weight, metrics, content)


def the_only_record(records: Mapping[str, T], kind: str) -> T:
    """Return the single record of a kind; raise MalformedReplyError where there is none or more than one."""
    if len(records) != 1:
        raise MalformedReplyError("record-count", f"expected one {kind}, received {len(records)}")
    return next(iter(records.values()))


def read_reported_count(metrics: MetricRecord, key: str, max_count: float = DEFAULT_MAX_COUNT) -> float:
    """Read a reported count of examples: one finite number, not negative and at most ``max_count``.

    Zero is a count: a node whose data set is empty says so, and weighs nothing.

    Raises
    ------
    MalformedReplyError
        With code ``metrics`` (absent, or a list) or ``num-examples`` (not a number that can be).

    Examples
    --------
    >>> read_reported_count(MetricRecord({"num-examples": 32}), "num-examples")
    32.0
    >>> read_reported_count(MetricRecord({"num-examples": -1}), "num-examples")
    Traceback (most recent call last):
        ...
    flower_coded.errors.MalformedReplyError: 'num-examples' is -1, expected a number from 0 to 1e+12
    """
    if key not in metrics:
        raise MalformedReplyError("metrics", f"the metrics hold no {key!r}")
    count = metrics[key]
    if isinstance(count, list):
        raise MalformedReplyError("metrics", f"{key!r} is a list of {len(count)}, expected a single number")
    if not (math.isfinite(count) and 0 <= count <= max_count):
        raise MalformedReplyError(
            "num-examples", f"{key!r} is {count:.6g}, expected a number from 0 to {max_count:g}"
        )
    return float(count)


def _read_metrics(content: RecordDict, weighted_by_key: str | None) -> tuple[MetricRecord, float]:
    records = content.metric_records
    if weighted_by_key is None:
        return (next(iter(records.values())) if len(records) == 1 else MetricRecord()), 1.0
    metrics = the_only_record(records, "MetricRecord")
    return metrics, read_reported_count(metrics, weighted_by_key)


def _own_words(reason: str | None) -> str:
    r"""Return what the client itself said, cut short: Flower and Ray wrap it in pages of traceback.

    Examples
    --------
    >>> _own_words("<class 'X'>:<'ray::run()\nException ClientAppException occurred. Message: no file'>")
    'no file'
    >>> _own_words("Traceback (most recent call last):\nValueError: no data")
    'ValueError: no data'
    >>> _own_words("KeyError: 'fitins.parameters'")[:49]
    "a ClientApp of Flower's older interface (client_f"
    """
    if any(name in (reason or "") for name in _OLDER_RECORDS):
        return _OLDER_CLIENT
    _, mark, said = (reason or "").rpartition("occurred. Message: ")
    lines = [line.strip() for line in said.removesuffix("'>").splitlines() if line.strip()]
    words = " ".join(lines if mark else lines[-1:])
    return words[:300] or "the node reported an error without a reason"
