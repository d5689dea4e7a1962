"""One row per aggregation rule, the same checks for all: a new rule is a class and a row here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flower_coded import aggregation
from flower_coded.aggregation import (
    AGGREGATION_RULES,
    PRE_AGGREGATIONS,
    blocks,
    coordinates,
    get_aggregation_rule,
)
from flower_coded.errors import DecodingError, ParameterError

NUM_BYZANTINE = 2
NAMES = (
    *AGGREGATION_RULES,
    *(f"{step}+{rule}" for step in PRE_AGGREGATIONS for rule in AGGREGATION_RULES),
    "bucketing+nearest-neighbor-mixing+median",
)
RULES = {name: get_aggregation_rule(name, num_byzantine=NUM_BYZANTINE) for name in NAMES}
ROBUST = [name for name in NAMES if not name.endswith("mean") or "trimmed" in name]
rules = pytest.mark.parametrize("name", RULES)


def updates(dtype: str = "float64", count: int = 15) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(count, 13)).astype(dtype)


def aggregate(name: str, vectors: Any, seed: int = 3) -> Any:
    return RULES[name].aggregate(vectors, np.random.default_rng(seed))


@rules
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rules_give_one_float64_vector_and_modify_no_input(name: str, dtype: str) -> None:
    vectors = updates(dtype)
    result = aggregate(name, vectors)
    assert (result.shape, result.dtype) == ((13,), np.float64)
    assert not np.shares_memory(result, vectors)
    np.testing.assert_array_equal(vectors, updates(dtype))


@rules
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rules_give_a_tensor_for_tensors_and_the_same_numbers(name: str, dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(updates()).to(dtype).requires_grad_()
    result = aggregate(name, tensor)
    assert isinstance(result, torch.Tensor)
    assert result.dtype == torch.float64
    expected = aggregate(name, tensor.detach().double().numpy())
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12)


@rules
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_rules_stay_on_the_gpu_and_give_the_same_numbers(name: str) -> None:
    tensor = torch.from_numpy(updates()).cuda()
    result = aggregate(name, tensor)
    assert result.is_cuda
    np.testing.assert_allclose(result.cpu().numpy(), aggregate(name, updates()), rtol=1e-9)


@rules
def test_rules_give_the_same_by_the_way_other_devices_take(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = aggregate(name, updates())
    monkeypatch.setattr(blocks, "host_view", lambda vectors: None)
    monkeypatch.setattr(coordinates, "host_view", lambda vectors: None)
    result = aggregate(name, torch.from_numpy(updates()))
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-9)


@rules
def test_rules_give_the_same_with_several_threads(name: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(15, 60_000)).astype(np.float32)
    threaded = get_aggregation_rule(name, num_byzantine=NUM_BYZANTINE, num_threads=2)
    result = threaded.aggregate(vectors, np.random.default_rng(3))
    np.testing.assert_allclose(result, aggregate(name, vectors), rtol=0, atol=1e-10)


@rules
@settings(max_examples=15)
@given(
    data=arrays(np.float64, (15, 3), elements=st.floats(-10, 10)),
    shift=arrays(np.float64, 3, elements=st.floats(-1e3, 1e3)),
)
def test_rules_move_with_the_vectors(name: str, data: np.ndarray, shift: np.ndarray) -> None:
    vectors = data + np.random.default_rng(1).normal(size=data.shape) * 10  # no ties
    moved = aggregate(name, vectors + shift)
    np.testing.assert_allclose(moved, aggregate(name, vectors) + shift, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in NAMES if "bucketing" not in name])
@settings(max_examples=15)
@given(order=st.permutations(range(15)))
def test_rules_ignore_the_order_of_the_vectors(name: str, order: list[int]) -> None:
    vectors = updates()
    np.testing.assert_allclose(
        aggregate(name, vectors[order]), aggregate(name, vectors), rtol=1e-6, atol=1e-9
    )


@rules
def test_rules_scale_with_the_vectors(name: str) -> None:
    for factor in (1e-9, 1e9):
        np.testing.assert_allclose(
            aggregate(name, factor * updates()), factor * aggregate(name, updates()), rtol=1e-9
        )


@rules
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_rules_leave_out_rows_that_are_not_finite(name: str, poison: float, as_tensor: bool) -> None:
    vectors = updates()
    vectors[4, 2] = vectors[9] = poison
    result = np.asarray(aggregate(name, torch.from_numpy(vectors) if as_tensor else vectors))
    assert np.isfinite(result).all()
    honest = np.delete(vectors, [4, 9], axis=0)
    assert (result >= honest.min(axis=0)).all()
    assert (result <= honest.max(axis=0)).all()


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("size", [1e4, 1e12, 1e160, 1e300])
def test_robust_rules_stay_with_the_honest_when_liars_are_huge(name: str, size: float) -> None:
    honest = updates(count=13)
    liars = size * np.random.default_rng(0).normal(size=(NUM_BYZANTINE, 13))
    result = aggregate(name, np.vstack([liars[:1], honest, liars[1:]]))
    assert np.abs(result).max() < 3 * np.abs(honest).max()


@rules
def test_rules_refuse_an_array_of_another_dimension(name: str) -> None:
    with pytest.raises(ParameterError, match=r"\(n, d\)"):
        aggregate(name, np.zeros((15, 2, 2)))


@rules
def test_rules_refuse_when_nothing_is_finite(name: str) -> None:
    with pytest.raises(DecodingError, match="no vector is finite"):
        aggregate(name, np.full((15, 2), np.nan))


@pytest.mark.parametrize("name", ["krum", "multi-krum", "nearest-neighbor-mixing+krum"])
def test_krum_says_so_when_more_rows_than_expected_are_not_finite(name: str) -> None:
    vectors = updates()
    vectors[: NUM_BYZANTINE + 1] = np.nan
    with pytest.raises(DecodingError, match="more vectors are not finite"):
        aggregate(name, vectors)


@rules
def test_the_representation_of_a_rule_rebuilds_it(name: str) -> None:
    assert eval(repr(RULES[name]), vars(aggregation)) == RULES[name]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [(name, "num_threads", 0) for name in NAMES]
    + [(name, "num_byzantine", -1) for name in NAMES if hasattr(RULES[name], "num_byzantine")]
    + [(name, "bucket_size", 0) for name in NAMES if hasattr(RULES[name], "bucket_size")],
)
def test_rules_refuse_counts_out_of_range(name: str, key: str, value: int) -> None:
    with pytest.raises(ParameterError, match=key):
        get_aggregation_rule(name, **{"num_byzantine": NUM_BYZANTINE, key: value})
