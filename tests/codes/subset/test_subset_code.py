"""Subset codes and the exhaustive check of their definition."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from flower_coded.codes import SubsetCode
from flower_coded.codes.subset.column_sums import column_sums, pack_columns
from flower_coded.errors import ParameterError

BCC_1_2_3 = ["110", "101", "011"]


@st.composite
def matrices(draw: st.DrawFn, max_models: int = 7, max_users: int = 6) -> NDArray[np.bool_]:
    shape = draw(st.integers(1, max_models)), draw(st.integers(1, max_users))
    bits = draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    matrix = np.array(bits).reshape(shape)
    matrix[~matrix.any(axis=1), 0] = True
    return matrix


def naive_verdict(matrix: NDArray[np.bool_], kind: str, k: int) -> bool:
    """Definition 1, word for word."""
    users = range(matrix.shape[1])
    sums = [
        tuple(matrix[:, chosen].any(axis=1))
        for size in range(1, k + 1)
        for chosen in combinations(users, size)
    ]
    everything = (True,) * len(matrix)
    holds = bool(matrix.any(axis=0).all()) and everything not in sums
    if kind != "detection":
        holds = holds and not any(
            tuple(np.logical_xor(one, other)) == everything for one in sums for other in sums
        )
    return holds and (kind != "tracking" or len(set(sums)) == len(sums))


@given(matrix=matrices(), k=st.integers(1, 3), kind=st.sampled_from(["detection", "correction", "tracking"]))
def test_verify__agrees_with_the_definition(matrix: NDArray[np.bool_], k: int, kind: str) -> None:
    k = min(k, matrix.shape[1])
    found = SubsetCode(matrix).verify(kind, k)
    assert found.holds == naive_verdict(matrix, kind, k)
    assert found.holds == (found.counterexample is None) == (found.reason == "")


@given(matrix=matrices(max_models=5), k=st.integers(1, 3))
def test_verify__names_columns_that_do_violate_it(matrix: NDArray[np.bool_], k: int) -> None:
    code = SubsetCode(matrix)
    k = min(k, code.num_users)
    found = code.verify("tracking", k)
    if found.counterexample is None:
        return
    one, other = found.counterexample
    assert all(size <= k for size in (len(one), len(other)))
    reached = code.reach(one)
    violations = {
        "no model": not reached.any(),
        "reach every": bool(reached.all()),
        "exactly those": np.array_equal(reached, ~code.reach(other)),
        "same models": np.array_equal(reached, code.reach(other)) and one != other,
    }
    assert [holds for words, holds in violations.items() if words in found.reason] == [True]


@pytest.mark.parametrize("num_models", [63, 64, 65, 130])
def test_verify__sees_the_last_row_across_word_boundaries(num_models: int) -> None:
    matrix = np.ones((num_models, 2), dtype=bool)
    matrix[-1, 0] = False
    assert SubsetCode(matrix).verify("detection", 1).counterexample == ((1,), ())
    matrix[0, 1] = False
    assert SubsetCode(matrix).verify("detection", 1).holds
    assert SubsetCode(matrix).verify("detection", 2).counterexample == ((0, 1), ())
    assert SubsetCode(matrix).verify("tracking", 1).holds
    twins = np.ones((num_models, 3), dtype=bool)
    twins[-1, :2] = twins[0, 2] = False
    assert SubsetCode(twins).verify("tracking", 1).counterexample == ((0,), (1,))


def test_verify__finds_complementary_users_of_a_partition() -> None:
    found = SubsetCode(["1100", "0011"]).verify("correction", 1)
    assert found.counterexample == ((0,), (2,))
    assert not found


def test_verify__asks_for_the_row_weight() -> None:
    code = SubsetCode(BCC_1_2_3)
    assert code.verify("correction", 1, row_weight=2).holds
    found = code.verify("correction", 1, row_weight=3)
    assert found.reason == "model 0 accepts only 2 users, fewer than 3"


def test_verify__names_an_unused_user() -> None:
    found = SubsetCode(["10", "10"]).verify("detection", 1)
    assert found.counterexample == ((1,), ())
    assert "no model accepts user 1" in found.reason


def test_verify__refuses_what_it_cannot_enumerate() -> None:
    code = SubsetCode(np.eye(200, dtype=bool))
    with pytest.raises(ParameterError, match=r"64684950|have \d+ such sets"):
        code.verify("tracking", 5)


@pytest.mark.parametrize(("kind", "k"), [(None, 1), ("custom", 1), ("correction", None), ("correction", 4)])
def test_verify__needs_a_property_and_a_number_of_attackers(kind: str | None, k: int | None) -> None:
    with pytest.raises(ParameterError):
        SubsetCode(BCC_1_2_3).verify(kind, k)


def test_column_sums__are_in_order_of_size_then_of_columns() -> None:
    sums = column_sums(pack_columns(np.eye(3, dtype=bool)), 3)
    assert sums.words[:, 0].tolist() == [0b001, 0b010, 0b100, 0b011, 0b101, 0b110, 0b111]
    assert [sums.columns_of(i) for i in range(7)] == [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


def test_subset_code__lists_models_and_users() -> None:
    code = SubsetCode(["1101", "0011"])
    assert code.users_of(0).tolist() == [0, 1, 3]
    assert code.models_of(3).tolist() == [0, 1]
    assert code.reach([0, 2]).tolist() == [True, True]
    assert code.reach([]).tolist() == [False, False]
    assert (code.row_weight, code.data_utilization, code.training_cost) == (2, 0.5, 1.25)
    for ask, index in ((code.users_of, 2), (code.models_of, 4), (code.models_of, -1)):
        with pytest.raises(ParameterError):
            ask(index)


def test_subset_code__keeps_a_copy_that_cannot_be_written() -> None:
    matrix = np.eye(3, dtype=bool)
    code = SubsetCode(matrix)
    matrix[0, 1] = True
    assert not code.matrix[0, 1]
    with pytest.raises(ValueError, match="read-only"):
        code.matrix[0, 1] = True


@pytest.mark.parametrize(
    "matrix",
    [
        [[0, 2]],
        [0, 1],
        np.zeros((2, 0)),
        np.zeros((0, 2)),
        [[1, 1], [0, 0]],
        ["10", "1"],
        ["12"],
        [[float("nan"), 1.0]],
    ],
)
def test_subset_code__refuses_what_is_no_code(matrix: object) -> None:
    with pytest.raises(ParameterError):
        SubsetCode(matrix)  # type: ignore[arg-type]


def test_subset_code__refuses_unknown_kinds_and_impossible_attackers() -> None:
    with pytest.raises(ParameterError, match="kind must be one of"):
        SubsetCode(BCC_1_2_3, kind="bdc")
    with pytest.raises(ParameterError, match="num_attackers must lie in"):
        SubsetCode(BCC_1_2_3, num_attackers=4)


def test_alike__tells_which_columns_are_equal() -> None:
    generator = np.random.default_rng(4)
    for _ in range(20):
        code = SubsetCode(np.vstack([generator.random((3, 9)) < 0.5, np.ones((1, 9), bool)]))
        columns = code.matrix.T.tolist()
        assert code.alike.tolist() == [[one == other for other in columns] for one in columns]
    with pytest.raises(ValueError, match="read-only"):
        code.alike[0, 0] = False
