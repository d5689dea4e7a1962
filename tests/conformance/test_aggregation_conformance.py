"""One row per aggregation rule, the same checks for all: a new rule is a class and a row here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
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
    RoundContext,
    get_aggregation_rule,
)
from flower_coded.errors import DecodingError, ParameterError

COUNT, DIMENSION, NUM_BYZANTINE = 23, 13, 2


@dataclass(frozen=True)
class Row:
    """What holds for a rule, or for a step before one.

    Parameters
    ----------
    parameters : dict
        Beside ``num_byzantine``.
    moves : bool
        It gives ``v`` more where every vector is ``v`` more: no rule that asks for lengths does.
    scales : bool
        It gives ``c`` times as much where every vector is ``c`` times as long.
    has_order : bool
        It asks for the order of the vectors.
    is_robust : bool
        Two huge liars do not move it.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    moves: bool = True
    scales: bool = True
    has_order: bool = False
    is_robust: bool = True


ROWS = {
    "mean": Row(is_robust=False),
    "median": Row(),
    "trimmed-mean": Row(),
    "mean-around-median": Row(),
    "krum": Row(),
    "multi-krum": Row(),
    "bulyan": Row(),
    "geometric-median": Row(),
    "centered-clipping": Row(),
    "norm-clipping": Row(moves=False),
    "minimum-diameter": Row(has_order=True),  # between subsets of the same diameter
    "monna": Row({"pivot": 5}, has_order=True),
    "covariance-filter": Row(),
    "smallest-eigenvalue": Row(),
    "divide-and-conquer": Row(is_robust=False),  # one huge liar may hide another of another direction
    "sign-guard": Row({"coordinate_share": 1.0}, moves=False),
    "flame": Row({"noise_factor": 0.0}, moves=False),
    "fools-gold": Row(moves=False, is_robust=False),
    "fl-trust": Row(moves=False, scales=False),
}
STEPS = {
    "nearest-neighbor-mixing": Row(),
    "bucketing": Row(has_order=True),
    "static-clipping": Row(moves=False),
    "adaptive-clipping": Row(moves=False),
}
# Behind a step: one rule of each kind (sums, ranks, distances, iterations, directions).
BEHIND_STEPS = (
    "mean",
    "median",
    "mean-around-median",
    "krum",
    "geometric-median",
    "covariance-filter",
    "fl-trust",
)
NAMES = (
    *ROWS,
    *(f"{step}+{rule}" for step in STEPS for rule in BEHIND_STEPS),
    "bucketing+nearest-neighbor-mixing+median",
    "adaptive-clipping+nearest-neighbor-mixing+mean-around-median",
)


def rows_of(name: str) -> list[Row]:
    *steps, rule = name.split("+")
    return [*(STEPS[step] for step in steps), ROWS[rule]]


def is_robust(name: str) -> bool:
    # Mixing, clipping and buckets do not make the mean robust.
    return ROWS[name.rsplit("+", maxsplit=1)[-1]].is_robust and name != "bucketing+monna"


def made(name: str, **others: Any) -> Any:
    parameters = {key: value for row in rows_of(name) for key, value in row.parameters.items()}
    return get_aggregation_rule(name, **{"num_byzantine": NUM_BYZANTINE, **parameters, **others})


RULES = {name: made(name) for name in NAMES}
ROBUST = [name for name in NAMES if is_robust(name)]
rules = pytest.mark.parametrize("name", RULES)


def updates(dtype: str = "float64", count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(7).normal(0.3, 1.0, size=(count, DIMENSION)).astype(dtype)


def aggregate(name: str, vectors: Any, seed: int = 3, rule: Any = None) -> Any:
    dimension = len(vectors[0]) if isinstance(vectors, list) else vectors.shape[-1]
    root = np.full(dimension, 0.3)
    is_tensor = isinstance(vectors[0], torch.Tensor)
    context = RoundContext(
        generator=np.random.default_rng(seed),
        root_update=torch.from_numpy(root).to(vectors[0].device) if is_tensor else root,
    )
    return (rule or RULES[name]).aggregate_in_round(vectors, context)[0]


def test_every_registered_rule_has_its_row() -> None:
    assert tuple(ROWS) == AGGREGATION_RULES
    assert tuple(STEPS) == PRE_AGGREGATIONS


@rules
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rules_give_one_float64_vector_and_modify_no_input(name: str, dtype: str) -> None:
    vectors = updates(dtype)
    result = aggregate(name, vectors)
    assert (result.shape, result.dtype) == ((DIMENSION,), np.float64)
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
    for module, content in list(sys.modules.items()):
        if module.startswith("flower_coded.aggregation.") and hasattr(content, "host_view"):
            monkeypatch.setattr(content, "host_view", lambda vectors: None)
    result = aggregate(name, torch.from_numpy(updates()))
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-9)


@rules
def test_rules_give_the_same_with_several_threads(name: str) -> None:
    vectors = np.random.default_rng(0).normal(0.1, 1.0, size=(COUNT, 30_000)).astype(np.float32)
    result = aggregate(name, vectors, rule=made(name, num_threads=2))
    np.testing.assert_allclose(result, aggregate(name, vectors), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in NAMES if all(row.moves for row in rows_of(name))])
@settings(max_examples=15)
@given(
    data=arrays(np.float64, (COUNT, 3), elements=st.floats(-10, 10)),
    shift=arrays(np.float64, 3, elements=st.floats(-1e3, 1e3)),
)
def test_rules_move_with_the_vectors(name: str, data: np.ndarray, shift: np.ndarray) -> None:
    vectors = data + np.random.default_rng(1).normal(size=data.shape) * 10  # no ties
    moved = aggregate(name, vectors + shift)
    np.testing.assert_allclose(moved, aggregate(name, vectors) + shift, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in NAMES if not any(row.has_order for row in rows_of(name))])
@settings(max_examples=5)
@given(order=st.permutations(range(COUNT)))
def test_rules_ignore_the_order_of_the_vectors(name: str, order: list[int]) -> None:
    vectors = updates()
    np.testing.assert_allclose(
        aggregate(name, vectors[order]), aggregate(name, vectors), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("name", [name for name in NAMES if all(row.scales for row in rows_of(name))])
def test_rules_scale_with_the_vectors(name: str) -> None:
    for factor in (1e-9, 1e9):
        np.testing.assert_allclose(
            aggregate(name, factor * updates()), factor * aggregate(name, updates()), rtol=1e-9
        )


@pytest.mark.parametrize("name", NAMES)
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
    honest = updates(count=COUNT - NUM_BYZANTINE)
    liars = size * np.random.default_rng(0).normal(size=(NUM_BYZANTINE, DIMENSION))
    result = aggregate(name, np.vstack([liars[:1], honest, liars[1:]]))
    assert np.abs(result).max() < 3 * np.abs(honest).max()


@rules
def test_rules_refuse_an_array_of_another_dimension(name: str) -> None:
    with pytest.raises(ParameterError, match=r"\(n, d\)"):
        aggregate(name, np.zeros((COUNT, 2, 2)))


@rules
def test_rules_refuse_when_nothing_is_finite(name: str) -> None:
    with pytest.raises(DecodingError, match="no vector is finite"):
        aggregate(name, np.full((COUNT, 2), np.nan))


@pytest.mark.parametrize("name", ["krum", "multi-krum", "nearest-neighbor-mixing+krum"])
def test_krum_says_so_when_more_rows_than_expected_are_not_finite(name: str) -> None:
    vectors = updates()
    vectors[: NUM_BYZANTINE + 1] = np.nan
    with pytest.raises(DecodingError, match="more vectors are not finite"):
        aggregate(name, vectors)


@rules
@pytest.mark.parametrize("of_tensors", [False, True])
def test_rules_take_lists_of_vectors(name: str, of_tensors: bool) -> None:
    vectors: Sequence[Any] = list(torch.from_numpy(updates()) if of_tensors else updates())
    result = aggregate(name, vectors)
    assert isinstance(result, torch.Tensor) == of_tensors
    np.testing.assert_array_equal(np.asarray(result), np.asarray(aggregate(name, updates())))


@rules
@pytest.mark.parametrize(
    "vectors",
    [[[1.0, 2.0], [1.0]], [["a", "b"], ["c", "d"]], [], [[1j, 2.0]], [torch.ones(2), torch.ones(3)]],
)
def test_rules_refuse_lists_that_are_no_vectors(name: str, vectors: list[Any]) -> None:
    context = RoundContext(np.random.default_rng(0), root_update=np.ones(2))
    with pytest.raises(ParameterError):
        RULES[name].aggregate_in_round(vectors, context)


@rules
@pytest.mark.parametrize("value", [0.0, 0.25])
def test_rules_give_what_all_send_or_refuse(name: str, value: float) -> None:
    # Identical updates: no distance, no spread, no direction for zero.
    try:
        result = aggregate(name, np.full((COUNT, DIMENSION), value))
    except (DecodingError, ParameterError):
        assert "fools-gold" in name or ("fl-trust" in name and value == 0.0)
    else:
        expected = 0.3 if name.endswith("fl-trust") else value  # scaled to the root update's length
        np.testing.assert_allclose(result, expected, rtol=1e-12)


@rules
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_rules_answer_few_vectors_or_refuse(name: str, count: int) -> None:
    try:
        result = aggregate(name, updates(count=count))
    except (DecodingError, ParameterError):
        return
    assert np.isfinite(result).all()


@rules
def test_rules_answer_ties(name: str) -> None:
    corners = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    vectors = np.tile(corners, (6, 1))[:COUNT]
    if name == "fools-gold":  # everybody has a twin
        with pytest.raises(DecodingError, match="alike"):
            aggregate(name, vectors)
        return
    result = aggregate(name, vectors)
    assert ((result >= -1e-12) & (result <= 2.0)).all()


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
        made(name, **{key: value})
