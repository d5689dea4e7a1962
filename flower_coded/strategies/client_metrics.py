"""Counts and metrics that clients report: capped, and aggregated over those that report the same things.

Flower's metric helpers stop the run where two clients report different metrics. Here the metrics that most
replies report are aggregated; who reports something else, or a value that is not finite, is left out of the
aggregate and named. A user's own function gets the replies as they came, as FedAvg would give them; where
it fails on them, the round loses its metrics and nothing else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from logging import WARNING

import numpy as np
from flwr.app import MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords

from flower_coded.wire.validation import Accepted, Rejected, Update

__all__ = [
    "aggregate_client_metrics",
    "capped_weights",
    "finite_lengths",
    "most_common_lengths",
    "noting_left_out",
]

MetricsAggregation = Callable[[list[RecordDict], str], MetricRecord]
Lengths = dict[str, int]


def capped_weights(counts: Sequence[float], max_claim_ratio: float) -> list[float]:
    """Cap reported counts of examples at ``max_claim_ratio`` times the median of those that are not zero.

    The count is the client's own word. Uncapped, one client that reports 10**9 examples *is* the average of
    every model it reaches; capped, it counts as at most ``max_claim_ratio`` ordinary clients.

    Parameters
    ----------
    counts : sequence of float
        Not negative.
    max_claim_ratio : float
        At least 1.

    Returns
    -------
    list of float

    Examples
    --------
    >>> capped_weights([100, 120, 0, 1e9], max_claim_ratio=10)
    [100.0, 120.0, 0.0, 1200.0]
    """
    positive = [count for count in counts if count > 0]
    cap = max_claim_ratio * float(np.median(positive)) if positive else 0.0
    return [min(float(count), cap) for count in counts]


def aggregate_client_metrics(
    accepted: Sequence[Accepted[Update]],
    weights: Sequence[float],
    weighted_by_key: str,
    aggregate: MetricsAggregation,
) -> tuple[MetricRecord, list[Rejected]]:
    """Aggregate the metrics of accepted replies.

    Parameters
    ----------
    accepted : sequence of Accepted
        In canonical order.
    weights : sequence of float
        What each counts; who counts nothing is no part of the mean.
    weighted_by_key : str
        Where the count stands in the metrics.
    aggregate : callable
        Flower's ``(list[RecordDict], weighted_by_key) -> MetricRecord``. Flower's own mean is given the
        capped weights; a user's function the replies as they came, of those that agree on what they report.

    Returns
    -------
    metrics : MetricRecord
        Empty where nothing was left to aggregate.
    left_out : list of Rejected
        Who lacks a metric that most report, or reports a value that is not finite.

    Examples
    --------
    >>> reported = [{"n": 1, "loss": 1.0}, {"n": 1, "loss": 3.0}, {"n": 1, "acc": 0.5}]
    >>> accepted = [Accepted(7, i, Update({}, 1.0, MetricRecord(each))) for i, each in enumerate(reported)]
    >>> metrics, left_out = aggregate_client_metrics(accepted, [1, 1, 1], "n", aggregate_metricrecords)
    >>> metrics, [str(each) for each in left_out]
    ({'loss': 2.0}, ["participant 2 (node 7): reports no 'loss' as most do [metrics]"])
    """
    lengths = [finite_lengths(each.content.metrics, but=weighted_by_key) for each in accepted]
    common = most_common_lengths(lengths)
    pairs = list(zip(accepted, lengths, strict=True))
    faults = [_fault(each.content.metrics, own, common, but=weighted_by_key) for each, own in pairs]
    left_out = [
        Rejected(each.node_id, each.participant, fault, "metrics", each.model)
        for each, fault in zip(accepted, faults, strict=True)
        if fault
    ]
    is_mean = aggregate is aggregate_metricrecords
    contents = [
        _weighted(each.content, common, weighted_by_key, weight)
        if is_mean
        else RecordDict(dict(each.content.content))
        for each, weight, fault in zip(accepted, weights, faults, strict=True)
        if not fault and weight > 0
    ]
    if not contents:
        return MetricRecord(), left_out
    try:
        return MetricRecord(dict(aggregate(contents, weighted_by_key))), left_out
    except Exception as error:  # a user's function on what strangers sent: it may raise anything
        if is_mean:
            raise
        log(WARNING, "metrics are left out: %r raised %s: %s", aggregate, type(error).__name__, error)
        return MetricRecord(), left_out


def noting_left_out(metrics: MetricRecord, left_out: Sequence[Rejected]) -> MetricRecord:
    """Name in the log whose metrics are left out, and count them: their updates are used all the same."""
    for each in left_out:
        log(WARNING, "metrics are left out: %s", each)
    return MetricRecord({**metrics, "metrics-left-out": len(left_out)}) if left_out else metrics


def finite_lengths(metrics: MetricRecord, *, but: str = "") -> Lengths:
    """Lengths (-1 for a single number) of the metrics whose values are all finite, sorted by name."""
    lengths = {}
    for name, value in sorted(metrics.items()):
        values = value if isinstance(value, list) else [value]
        if name != but and all(math.isfinite(each) for each in values):
            lengths[name] = len(value) if isinstance(value, list) else -1
    return lengths


def most_common_lengths(reports: Sequence[Lengths]) -> Lengths:
    """Names and lengths that most replies report; of equals, those of the first."""
    counts = Counter(tuple(each.items()) for each in reports)
    return dict(counts.most_common(1)[0][0]) if counts else {}


def _weighted(update: Update, names: Iterable[str], key: str, weight: float) -> RecordDict:
    values = {name: update.metrics[name] for name in names}
    return RecordDict({"metrics": MetricRecord({**values, key: float(weight)})})


def _fault(metrics: MetricRecord, own: Lengths, common: Lengths, *, but: str) -> str:
    """Say what is wrong with a reply's metrics; names are a peer's choice and are cut short."""
    for name in metrics:
        if name != but and name not in own:
            return f"reports a {name[:60]!r} that is not finite"
    for name, length in common.items():
        if own.get(name) != length:
            return f"reports no {name[:60]!r} as most do"
    return ""
