"""One reply at a time: every way of being wrong has its code, and a right one comes back decoded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_coded.strategies.judging import Accepted, Rejected, judge, judge_arrays, judge_metrics
from flower_coded.testing import InProcessGrid
from flower_coded.wire.array_reading import template_of

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


def code_of(verdict: Accepted[Any] | Rejected) -> str:
    assert isinstance(verdict, Rejected)
    assert verdict.user == 4
    assert verdict.reason
    return verdict.code


def test_judge_arrays__decodes_a_good_reply() -> None:
    message = reply_with(("model", arrays(GOOD)), ("stats", EIGHT), ("extra", ConfigRecord({"a": 1})))
    verdict = judge_arrays(message, TEMPLATE, user=4, model=2)
    assert isinstance(verdict, Accepted)
    assert (verdict.user, verdict.model, verdict.node_id) == (4, 2, message.metadata.src_node_id)
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
def test_judge_arrays__names_the_fault(contents: list[tuple[str, Any]], code: str) -> None:
    assert code_of(judge_arrays(reply_with(*contents), TEMPLATE, user=4)) == code


@pytest.mark.parametrize("claim", [0, -1, -0.5, math.nan, math.inf, -math.inf, 1e13, 2**62])
def test_judge_arrays__believes_no_impossible_number_of_examples(claim: float) -> None:
    metrics = MetricRecord({"num-examples": claim})
    message = reply_with(("a", arrays(GOOD)), ("m", metrics))
    assert code_of(judge_arrays(message, TEMPLATE, user=4)) == "num-examples"
    assert code_of(judge_metrics(reply_with(("m", metrics)), user=4)) == "num-examples"


def test_judge_arrays__can_do_without_a_weight() -> None:
    verdict = judge_arrays(reply_with(("a", arrays(GOOD))), TEMPLATE, weighted_by_key=None)
    assert isinstance(verdict, Accepted)
    assert verdict.content.weight == 1.0


def test_judge_metrics__takes_one_metric_record() -> None:
    verdict = judge_metrics(reply_with(("m", EIGHT)), user=4)
    assert isinstance(verdict, Accepted)
    assert verdict.content.weight == 8.0
    assert code_of(judge_metrics(reply_with(), user=4)) == "record-count"


def test_judge__takes_the_last_line_of_a_remote_traceback() -> None:
    text = "Traceback (most recent call last):\n  File ...\nValueError: no data here\n\n"
    verdict = judge_arrays(reply_with(error=Error(2, text)), TEMPLATE, user=4)
    assert code_of(verdict) == "error-reply"
    assert isinstance(verdict, Rejected)
    assert verdict.reason == "ValueError: no data here"
    assert code_of(judge_arrays(reply_with(error=Error(0)), TEMPLATE, user=4)) == "error-reply"


def test_judge__does_not_hide_a_defect_of_the_check() -> None:
    def check(content: RecordDict) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        judge(reply_with(), check)


def test_judge__an_empty_message_has_no_content() -> None:
    message = reply_with()
    message.__dict__["_content"] = None
    assert code_of(judge_arrays(message, TEMPLATE, user=4)) == "no-content"
