"""Tracking codes: small ones known beforehand, a construction for every feasible choice, and lower bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.codes import SubsetCode, backdoor_tracking_code, tracking_bound
from flower_coded.codes.subset.column_search import search_columns
from flower_coded.codes.subset.known_codes import known_tracking_matrix, tracking_parameters
from flower_coded.codes.subset.row_search import separate_by_rows
from flower_coded.codes.subset.separable import kautz_singleton_matrix
from flower_coded.codes.subset.tracking import disjunct_tracking_matrix
from flower_coded.errors import ParameterError


def test_known_codes__hold_their_definition_exhaustively() -> None:
    for k, r, n, num_models in tracking_parameters():
        matrix = known_tracking_matrix(k, r, n)
        assert matrix is not None
        assert matrix.shape == (num_models, n)
        assert SubsetCode(matrix).verify("tracking", k, row_weight=r), (k, r, n)
        assert tracking_bound(k, r, n) <= num_models


# The paper's BTC(2,2,8) has 4 + 7 rows. Seven are least: 36 sums need 36 <= 2^(m-1) - 1. For (1,11,16),
# 16 sums need 16 <= 2^(m-1) - 1, so six are least. For (2,4,16), 136 sums need m >= 9.
@pytest.mark.parametrize(
    ("parameters", "num_models", "bound"),
    [((2, 2, 8), 7, 7), ((1, 11, 16), 6, 6), ((2, 4, 16), 10, 9)],
)
def test_backdoor_tracking_code__has_few_models_beside_the_bound(
    parameters: tuple[int, int, int], num_models: int, bound: int
) -> None:
    code = backdoor_tracking_code(*parameters)
    assert (code.num_models, tracking_bound(*parameters)) == (num_models, bound)
    assert code.verify(row_weight=parameters[1])


@pytest.mark.parametrize(("num_attackers", "most_users"), [(1, 16), (2, 11), (3, 9), (4, 7)])
def test_backdoor_tracking_code__exists_for_every_feasible_choice(
    num_attackers: int, most_users: int
) -> None:
    for num_users in range(num_attackers + 1, most_users + 1):
        for row_weight in range(1, num_users - num_attackers + 1):
            parameters = (num_attackers, row_weight, num_users)
            code = backdoor_tracking_code(*parameters)
            assert code.verify("tracking", row_weight=row_weight), parameters
            assert code.num_models >= tracking_bound(*parameters), parameters


@pytest.mark.experiment
@pytest.mark.parametrize("num_attackers", [1, 2, 3, 4])
def test_backdoor_tracking_code__exists_for_all_up_to_16_users(num_attackers: int) -> None:
    test_backdoor_tracking_code__exists_for_every_feasible_choice(num_attackers, 16)


@settings(max_examples=8)
@given(k=st.integers(1, 2), r=st.integers(1, 4), more=st.integers(0, 4))
def test_disjunct_tracking_matrix__works_whatever_the_row_weight(k: int, r: int, more: int) -> None:
    matrix = disjunct_tracking_matrix(k, r, k + r + more)
    assert SubsetCode(matrix).verify("tracking", k, row_weight=r)


def test_backdoor_tracking_code__uses_a_disjunct_matrix_for_very_many_users() -> None:
    code = backdoor_tracking_code(3, 3, 300)  # 4.5 million sums are not looked at one by one
    assert code.num_models == len(kautz_singleton_matrix(300, 3)) == 49  # q = 7, d = 3: 7 places


def test_backdoor_tracking_code__gives_every_user_a_model_where_that_is_least() -> None:
    assert np.array_equal(backdoor_tracking_code(4, 1, 12).matrix, np.eye(12, dtype=bool))


def test_backdoor_tracking_code__is_reproducible() -> None:
    assert backdoor_tracking_code(2, 3, 18, seed=3) == backdoor_tracking_code(2, 3, 18, seed=3)


def test_backdoor_tracking_code__refuses_the_infeasible() -> None:
    with pytest.raises(ParameterError, match=r"nearest feasible \(k, r, n\)"):
        backdoor_tracking_code(2, 7, 8)


def test_search_columns__finds_seven_rows_for_the_papers_toy() -> None:
    matrix = search_columns(2, 2, 8, 7, np.random.default_rng(0))
    assert matrix is not None
    assert SubsetCode(matrix).verify("tracking", 2, row_weight=2)


def test_search_columns__admits_that_six_rows_are_too_few() -> None:
    assert search_columns(2, 2, 8, 6, np.random.default_rng(0), max_lookups=1 << 23) is None


@given(st.integers(0, 2**32), st.integers(1, 2), st.integers(2, 5))
@settings(max_examples=10)
def test_search_columns__keeps_what_it_promises(seed: int, k: int, r: int) -> None:
    generator = np.random.default_rng(seed)
    matrix = search_columns(k, r, 8, 9, generator, max_lookups=1 << 23)
    if matrix is not None:
        assert SubsetCode(matrix).verify("tracking", k, row_weight=r)


@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 6))
@settings(max_examples=15)
def test_separate_by_rows__adds_only_heavy_rows_and_only_as_needed(seed: int, k: int, r: int) -> None:
    num_users = k + r + seed % 3
    start = np.ones((1, num_users), dtype=bool)
    matrix = separate_by_rows(start, k, r, np.random.default_rng(seed))
    code = SubsetCode(matrix)
    assert np.array_equal(matrix[:1], start)
    assert code.row_weight >= r
    assert len(np.unique(matrix, axis=0)) == len(matrix)
    found = code.verify("tracking", k)
    assert found.holds or "same models" not in found.reason
