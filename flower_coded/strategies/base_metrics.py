"""Weights and metrics that clients claim: capped, and averaged over those that report the same things.

Flower's metric helpers stop the run where two clients report different metrics. Here the metrics reported
by most replies are averaged; the others are left out of the average, and counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from flwr.app import MetricRecord, RecordDict

from flower_coded.strategies.judging import Update

__all__ = ["aggregate_client_metrics", "capped_weights"]

MetricsAggregation = Callable[[list[RecordDict], str], MetricRecord]
_Signature = tuple[tuple[str, int], ...]


def capped_weights(claims: Sequence[float], max_claim_ratio: float) -> list[float]:
    """Cap claimed numbers of examples at ``max_claim_ratio`` times their median.

    The weight is the client's own word. Uncapped, one client that claims 10**9 examples *is* the average of
    every model it reaches; capped, it counts as at most ``max_claim_ratio`` ordinary clients.

    Parameters
    ----------
    claims : sequence of float
        Positive.
    max_claim_ratio : float
        At least 1.

    Returns
    -------
    list of float

    Examples
    --------
    >>> capped_weights([100, 120, 1e9], max_claim_ratio=10)
    [100.0, 120.0, 1200.0]
    """
    if not claims:
        return []
    cap = max_claim_ratio * float(np.median(claims))
    return [min(float(claim), cap) for claim in claims]


def aggregate_client_metrics(
    updates: Sequence[Update],
    weights: Sequence[float],
    weighted_by_key: str,
    aggregate: MetricsAggregation,
) -> tuple[MetricRecord, int]:
    """Aggregate the metrics of accepted replies.

    Parameters
    ----------
    updates : sequence of Update
        Accepted replies, in canonical order.
    weights : sequence of float
        What each counts, in place of its claim.
    weighted_by_key : str
        Where the claim stands in the metrics.
    aggregate : callable
        Flower's ``(list[RecordDict], weighted_by_key) -> MetricRecord``; it sees the MetricRecords of the
        replies that agree on what they report, all values finite.

    Returns
    -------
    metrics : MetricRecord
        Empty where nothing was left to aggregate.
    num_left_out : int
        Replies that report something else than most, or a value that is not finite.

    Examples
    --------
    >>> from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords
    >>> reported = [{"n": 1, "loss": 1.0}, {"n": 1, "loss": 3.0}, {"n": 1, "acc": 0.5}]
    >>> updates = [Update({}, 1.0, MetricRecord(each)) for each in reported]
    >>> aggregate_client_metrics(updates, [1, 1, 1], "n", aggregate_metricrecords)
    ({'loss': 2.0}, 1)
    """
    signatures = [_signature(update.metrics) for update in updates]
    counts = Counter(each for each in signatures if each is not None)
    if not counts:
        return MetricRecord(), len(updates)
    common, _ = counts.most_common(1)[0]  # of equals the first seen, in canonical order
    agreeing = [
        RecordDict({"metrics": MetricRecord({**update.metrics, weighted_by_key: float(weight)})})
        for update, weight, signature in zip(updates, weights, signatures, strict=True)
        if signature == common
    ]
    return MetricRecord(dict(aggregate(agreeing, weighted_by_key))), len(updates) - len(agreeing)


def _signature(metrics: MetricRecord) -> _Signature | None:
    """Names with lengths (-1 for a single number); None where a value is not finite."""
    lengths = {}
    for name, value in metrics.items():
        if not all(math.isfinite(each) for each in (value if isinstance(value, list) else [value])):
            return None
        lengths[name] = len(value) if isinstance(value, list) else -1
    return tuple(sorted(lengths.items()))
