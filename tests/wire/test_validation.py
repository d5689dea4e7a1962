"""One reply at a time: every way of being wrong has its code, and a right one comes back decoded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_coded.testing import InProcessGrid
from flower_coded.wire.array_reading import template_of
from flower_coded.wire.keys import STATE_MISSING_CODE
from flower_coded.wire.validation import (
    REASON_CODES,
    Accepted,
    Rejected,
    Update,
    read_report,
    read_update,
    validate,
)

TEMPLATE = template_of({"w": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float32)})
GOOD = {"w": np.ones((2, 2), np.float32), "b": np.ones(2, np.float32)}
EIGHT = MetricRecord({"num-examples": 8, "loss": 0.5})


def reply_with(*contents: tuple[str, Any], error: Error | None = None) -> Message:
    grid = InProcessGrid(ClientApp(), 1)
    question = Message(RecordDict(), grid.node_ids[0], "train")
    if error is not None:
        return Message(error, reply_to=question)
    return Message(RecordDict(dict(contents)), reply_to=question)


def arrays(state: dict[str, np.ndarray]) -> ArrayRecord:
    return ArrayRecord({name: Array(each) for name, each in state.items()})


def update_in(message: Message, key: str | None = "num-examples") -> Accepted[Update] | Rejected:
    return validate(
        message, lambda content: read_update(content, TEMPLATE, weighted_by_key=key), participant=4, model=2
    )


def report_in(message: Message, key: str | None = "num-examples") -> Accepted[Update] | Rejected:
    return validate(message, lambda content: read_report(content, weighted_by_key=key), participant=4)


def code_of(verdict: Accepted[Any] | Rejected) -> str:
    assert isinstance(verdict, Rejected)
    assert verdict.participant == 4
    assert verdict.reason
    assert verdict.code in REASON_CODES
    return verdict.code


def test_read_update__decodes_a_good_reply() -> None:
    message = reply_with(("model", arrays(GOOD)), ("stats", EIGHT), ("extra", ConfigRecord({"a": 1})))
    verdict = update_in(message)
    assert isinstance(verdict, Accepted)
    assert set(verdict.content.content) == {"model", "stats", "extra"}
    assert (verdict.participant, verdict.model, verdict.node_id) == (4, 2, message.metadata.src_node_id)
    assert (verdict.content.weight, verdict.content.metrics["loss"]) == (8.0, 0.5)
    assert list(verdict.content.state) == ["w", "b"]
    np.testing.assert_array_equal(verdict.content.state["w"], GOOD["w"])


@pytest.mark.parametrize(
    ("contents", "code"),
    [
        ([], "record-count"),
        ([("m", EIGHT)], "record-count"),
        ([("a", arrays(GOOD))], "record-count"),
        ([("a", arrays(GOOD)), ("b", arrays(GOOD)), ("m", EIGHT)], "record-count"),
        ([("a", arrays(GOOD)), ("m", EIGHT), ("n", EIGHT)], "record-count"),
        ([("a", arrays({"w": GOOD["w"]})), ("m", EIGHT)], "keys"),
        ([("a", arrays(GOOD | {"b": np.ones(3, np.float32)})), ("m", EIGHT)], "shape"),
        ([("a", arrays(GOOD | {"b": np.ones(2, np.int32)})), ("m", EIGHT)], "dtype"),
        ([("a", arrays(GOOD | {"b": np.full(2, np.nan, np.float32)})), ("m", EIGHT)], "not-finite"),
        ([("a", arrays(GOOD)), ("m", MetricRecord({"loss": 0.5}))], "metrics"),
        ([("a", arrays(GOOD)), ("m", MetricRecord({"num-examples": [8, 8]}))], "metrics"),
    ],
)
def test_read_update__names_the_fault(contents: list[tuple[str, Any]], code: str) -> None:
    assert code_of(update_in(reply_with(*contents))) == code


@pytest.mark.parametrize("claim", [-1, -0.5, math.nan, math.inf, -math.inf, 1e13, 2**62])
def test_read_update__believes_no_impossible_number_of_examples(claim: float) -> None:
    metrics = MetricRecord({"num-examples": claim})
    message = reply_with(("a", arrays(GOOD)), ("m", metrics))
    assert code_of(update_in(message)) == "num-examples"
    assert code_of(report_in(reply_with(("m", metrics)))) == "num-examples"


@pytest.mark.parametrize("metrics", [[], [("m", EIGHT), ("n", EIGHT)], [("m", MetricRecord())]])
def test_where_examples_do_not_count_nothing_about_metrics_is_asked(metrics: list[tuple[str, Any]]) -> None:
    verdict = update_in(reply_with(("a", arrays(GOOD)), *metrics), key=None)
    assert isinstance(verdict, Accepted)
    assert verdict.content.weight == 1.0


def test_a_count_of_zero_is_a_count() -> None:
    zero = ("m", MetricRecord({"num-examples": 0}))
    for verdict in (update_in(reply_with(("a", arrays(GOOD)), zero)), report_in(reply_with(zero))):
        assert isinstance(verdict, Accepted)
        assert verdict.content.weight == 0.0


def test_read_report__takes_one_metric_record() -> None:
    verdict = report_in(reply_with(("m", EIGHT)))
    assert isinstance(verdict, Accepted)
    assert verdict.content.weight == 8.0
    assert code_of(report_in(reply_with())) == "record-count"


def test_validate__takes_the_last_line_of_a_remote_traceback() -> None:
    text = "Traceback (most recent call last):\n  File ...\nValueError: no data here\n\n"
    verdict = update_in(reply_with(error=Error(2, text)))
    assert code_of(verdict) == "error-reply"
    assert isinstance(verdict, Rejected)
    assert verdict.reason == "ValueError: no data here"
    assert code_of(update_in(reply_with(error=Error(0)))) == "error-reply"


def test_validate__does_not_hide_a_defect_of_the_check() -> None:
    def check(content: RecordDict) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        validate(reply_with(), check, participant=4)


def test_a_node_that_has_lost_its_state_says_so() -> None:
    assert code_of(update_in(reply_with(error=Error(STATE_MISSING_CODE, "no share")))) == "state-missing"


def test_validate__an_empty_message_has_no_content() -> None:
    message = reply_with()
    message.__dict__["_content"] = None
    assert code_of(update_in(message)) == "no-content"
