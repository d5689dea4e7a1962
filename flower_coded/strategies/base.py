"""What every strategy of this package starts from: judging replies singly, a roster, and a round's record.

This module gathers :mod:`~flower_coded.wire.array_reading`,
:mod:`~flower_coded.strategies.judging` and :mod:`~flower_coded.strategies.roster`, and adds the form in
which rejections reach the log and the metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from logging import WARNING

from flwr.app import MetricRecord
from flwr.common.logger import log

from flower_coded.strategies.judging import (
    DEFAULT_MAX_WEIGHT,
    REASON_CODES,
    Accepted,
    Rejected,
    Update,
    judge,
    judge_arrays,
    judge_metrics,
    read_weight,
    the_only_record,
)
from flower_coded.strategies.roster import IDENTITY_MESSAGE_TYPE, Roster, assemble_roster, wait_for_nodes
from flower_coded.wire.array_reading import ArrayTemplate, read_array, read_array_record, template_of

__all__ = [
    "DEFAULT_MAX_WEIGHT",
    "IDENTITY_MESSAGE_TYPE",
    "REASON_CODES",
    "Accepted",
    "ArrayTemplate",
    "Rejected",
    "Roster",
    "Update",
    "assemble_roster",
    "judge",
    "judge_arrays",
    "judge_metrics",
    "log_rejections",
    "read_array",
    "read_array_record",
    "read_weight",
    "rejection_metrics",
    "template_of",
    "the_only_record",
    "wait_for_nodes",
]


def log_rejections(server_round: int, rejected: Iterable[Rejected]) -> None:
    """Write one warning per rejected reply to Flower's log."""
    for each in rejected:
        log(WARNING, "round %d: rejected %s", server_round, each)


def rejection_metrics(rejected: Sequence[Rejected]) -> MetricRecord:
    """Summarize rejections as numbers, which is all a MetricRecord holds.

    Parameters
    ----------
    rejected : sequence of Rejected
        Of one round.

    Returns
    -------
    MetricRecord
        ``rejected-replies`` (count), ``rejected-users`` (sorted users, each once) or, for senders without
        a seat, ``rejected-nodes``; and ``rejected-<code>`` (count) per kind of fault. Lists that would be
        empty are left out.

    Examples
    --------
    >>> rejection_metrics([Rejected(9, 2, "nan", "not-finite"), Rejected(9, 2, "silent", "no-reply")])
    {'rejected-replies': 2, 'rejected-users': [2], 'rejected-no-reply': 1, 'rejected-not-finite': 1}
    """
    users = sorted({each.user for each in rejected if each.user is not None})
    nodes = sorted({each.node_id for each in rejected if each.user is None})
    counts = Counter(each.code for each in rejected)
    metrics = MetricRecord({"rejected-replies": len(rejected)})
    if users:
        metrics["rejected-users"] = users
    if nodes:
        metrics["rejected-nodes"] = nodes
    for code in sorted(counts):
        metrics[f"rejected-{code}"] = counts[code]
    return metrics
