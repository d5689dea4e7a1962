"""The frozen part of a model: what is told apart, put together, and refused."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from flower_coded.errors import ParameterError
from flower_coded.wire.frozen import (
    FROZEN_DIGEST_KEY,
    check_frozen,
    frozen_part,
    merge_frozen,
    state_digest,
)

WHOLE = {"a": np.zeros((2, 3)), "b": np.ones(2, np.float32), "c": np.array(5)}


def test_parts_come_together_in_the_order_of_the_whole() -> None:
    merged = merge_frozen(WHOLE, {"b": np.full(2, 7, np.float32)})
    assert list(merged) == ["a", "b", "c"]
    assert merged["b"].tolist() == [7, 7]
    assert merged["a"] is WHOLE["a"]


@pytest.mark.parametrize(
    ("trained", "named"), [({"d": np.zeros(1)}, "d"), ({"a": np.zeros((3, 2))}, r"\(2, 3\)")]
)
def test_what_does_not_belong_is_refused_by_name(trained: dict[str, np.ndarray], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        merge_frozen(WHOLE, trained)


@pytest.mark.parametrize(
    "other",
    [
        {**WHOLE, "b": np.array([1, 1.0000001], np.float32)},
        {**WHOLE, "c": np.array([5])},
        {**WHOLE, "b": np.ones(2)},
        {"a": WHOLE["a"], "bb": WHOLE["b"], "c": WHOLE["c"]},
        frozen_part(WHOLE, {"c": None}),
    ],
)
def test_a_digest_knows_values_shapes_types_and_names(other: dict[str, np.ndarray]) -> None:
    assert state_digest(other) != state_digest(WHOLE)


def test_another_network_is_refused_with_both_digests_and_no_word_is_no_refusal() -> None:
    check_frozen(RecordDict({"config": ConfigRecord({"lr": 0.1})}), WHOLE)
    check_frozen(RecordDict({"config": ConfigRecord({FROZEN_DIGEST_KEY: state_digest(WHOLE)})}), WHOLE)
    with pytest.raises(ParameterError, match=f"{state_digest(WHOLE)}.*same pretrained network|pretrained"):
        check_frozen(RecordDict({"config": ConfigRecord({FROZEN_DIGEST_KEY: "0" * 32})}), WHOLE)
