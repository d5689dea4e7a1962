"""Claims are capped and odd metrics left out, and neither stops a run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.strategies.client_metrics import aggregate_client_metrics, capped_weights
from flower_coded.wire.validation import Accepted, Update


def aggregated(
    reported: list[dict[str, Any]], weights: list[float] | None = None
) -> tuple[MetricRecord, int]:
    accepted = [
        Accepted(7, index, Update({}, 1.0, MetricRecord({"n": 7} | each)))
        for index, each in enumerate(reported)
    ]
    counts = weights or [1.0] * len(accepted)
    metrics, left_out = aggregate_client_metrics(accepted, counts, "n", aggregate_metricrecords)
    assert all(each.code == "metrics" for each in left_out)
    return metrics, len(left_out)


def test_capped_weights__bounds_a_boaster() -> None:
    assert capped_weights([], 10) == []
    assert capped_weights([50], 10) == [50]
    assert capped_weights([40, 50, 60, 1e11], 2) == [40, 50, 60, 110]  # median 55


@given(st.lists(st.floats(1e-6, 1e12), min_size=3, max_size=9), st.floats(1, 100))
def test_capped_weights__never_raises_a_claim_and_keeps_those_up_to_the_median(
    claims: list[float], ratio: float
) -> None:
    capped = capped_weights(claims, ratio)
    median = float(np.median(claims))
    assert all(after <= before for after, before in zip(capped, claims, strict=True))
    assert all(after == before for after, before in zip(capped, claims, strict=True) if before <= median)
    assert max(capped) <= ratio * median


def test_metrics_are_weighted_by_what_replies_count() -> None:
    metrics, num_left_out = aggregated([{"loss": 1.0}, {"loss": 4.0}], [2.0, 1.0])
    assert (dict(metrics), num_left_out) == ({"loss": 2.0}, 0)


@pytest.mark.parametrize(
    "odd",
    [
        {"acc": 1.0},
        {"loss": [1.0, 2.0]},
        {"loss": math.nan},
        {"loss": math.inf},
        {},
        {"loss": 1.0, "x": math.nan},
    ],
)
def test_a_reply_that_reports_something_else_is_left_out(odd: dict[str, Any]) -> None:
    metrics, num_left_out = aggregated([odd, {"loss": 1.0}, {"loss": 3.0}])
    assert (dict(metrics), num_left_out) == ({"loss": 2.0}, 1)


def test_a_metric_that_others_do_not_report_is_dropped_and_its_sender_counts() -> None:
    assert aggregated([{"loss": 5.0, "x": 1}, {"loss": 1.0}, {"loss": 3.0}]) == (
        MetricRecord({"loss": 3.0}),
        0,
    )


def test_who_has_no_examples_is_no_part_of_the_mean() -> None:
    assert aggregated([{"loss": 5.0}, {"loss": 1.0}], [0.0, 2.0]) == (MetricRecord({"loss": 1.0}), 0)
    assert aggregated([{"loss": 5.0}], [0.0]) == (MetricRecord(), 0)


def test_a_function_of_the_users_gets_whole_replies_and_may_fail() -> None:
    content = RecordDict({"m": MetricRecord({"n": 3}), "more": ConfigRecord({"name": "ada"})})
    accepted = [Accepted(7, 0, Update({}, 3.0, content["m"], content))]

    def names(contents: list[RecordDict], key: str) -> MetricRecord:
        assert key == "n"
        return MetricRecord({each["more"]["name"]: each["m"][key] for each in contents})

    assert aggregate_client_metrics(accepted, [1.0], "n", names) == (MetricRecord({"ada": 3}), [])
    del content["more"]
    assert aggregate_client_metrics(accepted, [1.0], "n", names) == (MetricRecord(), [])


def test_lists_of_one_length_are_averaged() -> None:
    metrics, num_left_out = aggregated([{"v": [1.0, 2.0]}, {"v": [3.0, 4.0]}, {"v": [0.0]}])
    assert (dict(metrics), num_left_out) == ({"v": [2.0, 3.0]}, 1)


def test_nothing_to_aggregate_is_an_empty_record() -> None:
    assert aggregated([]) == (MetricRecord(), 0)
    assert aggregated([{"loss": math.nan}]) == (MetricRecord(), 1)
