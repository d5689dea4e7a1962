"""Judge ONE reply alone: accepted content, or a record that says which node failed and why.

Flower's own helpers compare all replies with each other, and one odd record ends the run. Here a reply is
compared with what the strategy expects, never with other replies; a bad one costs its sender the place in
this round and nothing else. What it leaves out: whether an accepted update is *honest*. That is what the
codes are for.
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

__all__ = [
    "DEFAULT_MAX_WEIGHT",
    "REASON_CODES",
    "Accepted",
    "Rejected",
    "Update",
    "judge",
    "judge_arrays",
    "judge_metrics",
    "read_weight",
    "the_only_record",
]

REASON_CODES = (
    "no-reply",  # silent until the timeout
    "error-reply",  # the client raised, or Flower could not reach it
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
    "protocol",  # a system's own checks: a share, an opening, a proof that does not verify
)

DEFAULT_MAX_WEIGHT = 1e12  # more examples than any node holds: a larger claim is no claim

T = TypeVar("T")


@dataclass(frozen=True)
class Rejected:
    """A reply that was not used, or that never came.

    Parameters
    ----------
    node_id : int
        Flower's id of the sender.
    user : int or None
        Its number in the roster, if it has one.
    reason : str
        What was wrong, in words.
    code : str
        The kind of fault, one of :data:`REASON_CODES`.
    model : int or None
        Which model of an ensemble the reply was for.

    Examples
    --------
    >>> print(Rejected(81, 3, "'bias' has shape (2,), expected (3,)", "shape", model=0))
    user 3 (node 81), model 0: 'bias' has shape (2,), expected (3,) [shape]
    """

    node_id: int
    user: int | None
    reason: str
    code: str = "protocol"
    model: int | None = None

    def __str__(self) -> str:
        who = f"node {self.node_id}" if self.user is None else f"user {self.user} (node {self.node_id})"
        which = "" if self.model is None else f", model {self.model}"
        return f"{who}{which}: {self.reason} [{self.code}]"


@dataclass(frozen=True)
class Accepted(Generic[T]):
    """A reply that passed its check.

    Parameters
    ----------
    node_id, user, model
        As in :class:`Rejected`.
    content
        What the check returned.
    """

    node_id: int
    user: int | None
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
        The claimed number of examples, finite and above 0; 1.0 where none is asked for.
    metrics : MetricRecord
        The reply's metrics as they came.
    """

    state: dict[str, NDArray[np.generic]]
    weight: float
    metrics: MetricRecord = field(default_factory=MetricRecord)


def judge(
    message: Message,
    check: Callable[[RecordDict], T],
    *,
    user: int | None = None,
    model: int | None = None,
) -> Accepted[T] | Rejected:
    """Apply ``check`` to the content of one reply.

    Parameters
    ----------
    message : Message
        A reply, or an error reply.
    check : callable
        Takes the content, returns what the strategy needs from it, raises ``MalformedReplyError`` otherwise.
        Any other exception is a defect of the check and is not caught.
    user, model : int, optional
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
    >>> judge(reply, lambda content: content, user=0).reason
    "ValueError: No query function registered with name 'default'"
    """
    node_id = message.metadata.src_node_id
    if message.has_error():
        return Rejected(node_id, user, _last_line(message.error.reason), "error-reply", model)
    if not message.has_content():
        return Rejected(node_id, user, "the reply is empty", "no-content", model)
    try:
        return Accepted(node_id, user, check(message.content), model)
    except MalformedReplyError as error:
        return Rejected(node_id, user, error.reason, error.code, model)


def judge_arrays(
    message: Message,
    template: Mapping[str, ArrayTemplate],
    *,
    user: int | None = None,
    model: int | None = None,
    weighted_by_key: str | None = "num-examples",
    max_weight: float = DEFAULT_MAX_WEIGHT,
) -> Accepted[Update] | Rejected:
    """Judge a training reply: one ArrayRecord as in ``template`` and one MetricRecord with a weight.

    Parameters
    ----------
    message : Message
        The reply.
    template : mapping of str to ArrayTemplate
        What the arrays must look like; see :func:`~flower_coded.wire.array_reading.template_of`.
    user, model : int, optional
        For the record.
    weighted_by_key : str or None
        Where the metrics hold the number of examples; None asks for no MetricRecord.
    max_weight : float
        The largest number of examples that is believed.

    Returns
    -------
    Accepted holding an Update, or Rejected
        Record names are free, as in Flower's FedAvg; ConfigRecords are ignored.

    Examples
    --------
    >>> from flwr.app import Array, ArrayRecord
    >>> from flwr.clientapp import ClientApp
    >>> from flower_coded.wire.array_reading import template_of
    >>> from flower_coded.testing import InProcessGrid
    >>> app = ClientApp()
    >>> @app.train()
    ... def train(message, context):
    ...     arrays = ArrayRecord({"w": Array(np.ones(3))})
    ...     return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord()}), reply_to=message)
    >>> grid = InProcessGrid(app, 1)
    >>> [reply] = grid.send_and_receive([Message(RecordDict(), grid.node_ids[0], "train")], timeout=1)
    >>> judge_arrays(reply, template_of({"w": np.zeros(3)}), user=0).reason
    "the metrics hold no 'num-examples'"
    """

    def check(content: RecordDict) -> Update:
        record = the_only_record(content.array_records, "ArrayRecord")
        metrics, weight = MetricRecord(), 1.0
        if weighted_by_key is not None:
            metrics = the_only_record(content.metric_records, "MetricRecord")
            weight = read_weight(metrics, weighted_by_key, max_weight)
        return Update(read_array_record(record, template), weight, metrics)

    return judge(message, check, user=user, model=model)


def judge_metrics(
    message: Message,
    *,
    user: int | None = None,
    model: int | None = None,
    weighted_by_key: str = "num-examples",
    max_weight: float = DEFAULT_MAX_WEIGHT,
) -> Accepted[Update] | Rejected:
    """Judge an evaluation reply: exactly one MetricRecord with a weight; see :func:`judge_arrays`."""

    def check(content: RecordDict) -> Update:
        metrics = the_only_record(content.metric_records, "MetricRecord")
        return Update({}, read_weight(metrics, weighted_by_key, max_weight), metrics)

    return judge(message, check, user=user, model=model)


def the_only_record(records: Mapping[str, T], kind: str) -> T:
    """Return the single record of a kind; raise MalformedReplyError where there is none or more than one."""
    if len(records) != 1:
        raise MalformedReplyError("record-count", f"expected one {kind}, received {len(records)}")
    return next(iter(records.values()))


def read_weight(metrics: MetricRecord, key: str, max_weight: float = DEFAULT_MAX_WEIGHT) -> float:
    """Read a claimed number of examples: one finite number above 0 and at most ``max_weight``.

    Raises
    ------
    MalformedReplyError
        With code ``metrics`` (absent, or a list) or ``num-examples`` (not a number that can be).

    Examples
    --------
    >>> read_weight(MetricRecord({"num-examples": 32}), "num-examples")
    32.0
    >>> read_weight(MetricRecord({"num-examples": -1}), "num-examples")
    Traceback (most recent call last):
        ...
    flower_coded.errors.MalformedReplyError: 'num-examples' is -1, expected a number above 0 and at most 1e+12
    """
    if key not in metrics:
        raise MalformedReplyError("metrics", f"the metrics hold no {key!r}")
    claim = metrics[key]
    if isinstance(claim, list):
        raise MalformedReplyError("metrics", f"{key!r} is a list of {len(claim)}, expected a single number")
    if not (math.isfinite(claim) and 0 < claim <= max_weight):
        raise MalformedReplyError(
            "num-examples", f"{key!r} is {claim:.6g}, expected a number above 0 and at most {max_weight:g}"
        )
    return float(claim)


def _last_line(reason: str | None) -> str:
    """Return the line of an error text that names the exception (remote tracebacks run over pages)."""
    lines = [line.strip() for line in (reason or "").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "the node reported an error without a reason"
