"""Detection and correction codes for every feasible (k, r, n), and the baselines."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.codes import (
    SubsetCode,
    backdoor_correction_code,
    backdoor_detection_code,
    correction_bound,
    detection_bound,
    partition_code,
    random_code,
)
from flower_coded.codes.subset.constructions import minimal_matrix
from flower_coded.codes.subset.known_codes import known_matrix, known_parameters
from flower_coded.errors import ParameterError

KINDS = {
    "detection": (backdoor_detection_code, detection_bound),
    "correction": (backdoor_correction_code, correction_bound),
}
LISTED = [(n, k) for n in range(2, 17) for k in range(1, n) if n <= 10 or k <= 4]


@pytest.mark.parametrize("rows", ["paper", "fewest"])
@pytest.mark.parametrize("kind", KINDS)
def test_codes_of_up_to_16_users__hold_their_definition_exhaustively(kind: str, rows: str) -> None:
    construct, bound = KINDS[kind]
    for num_users, num_attackers in LISTED:
        for row_weight in range(1, num_users - num_attackers + 1):
            parameters = (num_attackers, row_weight, num_users)
            code = construct(*parameters, rows=rows)
            assert code.verify(kind, row_weight=row_weight), parameters
            assert code.num_models >= bound(*parameters), parameters


@pytest.mark.parametrize("kind", KINDS)
def test_codes_of_up_to_10_users__are_proved_to_have_the_fewest_rows(kind: str) -> None:
    construct, bound = KINDS[kind]
    for num_users, num_attackers in LISTED[: LISTED.index((11, 1))]:
        for row_weight in range(1, num_users - num_attackers + 1):
            parameters = (num_attackers, row_weight, num_users)
            assert construct(*parameters, rows="fewest").num_models == bound(*parameters), parameters


# Fewer rows than the paper's: found by us or by others before, see docs/codes.md.
@pytest.mark.parametrize(
    ("parameters", "num_models"),
    [
        ((4, 4, 12), 14),
        ((4, 3, 12), 9),
        ((4, 5, 12), 24),
        ((4, 6, 12), 41),
        ((2, 8, 12), 12),
        ((2, 9, 12), 24),
        ((2, 5, 10), 6),
        ((2, 4, 8), 6),
        ((2, 5, 9), 8),
        ((2, 10, 15), 13),
        ((2, 11, 15), 19),
        ((2, 9, 16), 8),
        ((2, 11, 16), 15),
        ((2, 12, 16), 20),
        ((3, 3, 7), 12),
        ((2, 13, 24), 7),
        ((2, 25, 50), 6),
        ((2, 33, 50), 13),
        ((2, 75, 100), 21),
        ((2, 750, 1000), 21),
        ((3, 12, 24), 14),
        ((3, 48, 96), 14),
    ],
)
def test_backdoor_correction_code__with_fewest_rows(
    parameters: tuple[int, int, int], num_models: int
) -> None:
    code = backdoor_correction_code(*parameters, rows="fewest")
    assert code.num_models == num_models
    assert code.verify(row_weight=parameters[1])


@pytest.mark.parametrize(("parameters", "num_models"), [((3, 2, 6), 6), ((3, 3, 9), 7)])
def test_backdoor_detection_code__with_fewest_rows(parameters: tuple[int, int, int], num_models: int) -> None:
    assert backdoor_detection_code(*parameters, rows="fewest").num_models == num_models


@given(st.integers(1, 3), st.integers(1, 12), st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_fewest_rows__are_never_more_than_the_papers(k: int, r: int, more: int) -> None:
    parameters = (k, r, k + r + more)
    for kind, (construct, bound) in KINDS.items():
        fewest = construct(*parameters, rows="fewest")
        assert fewest.verify(kind, row_weight=r)
        assert bound(*parameters) <= fewest.num_models <= construct(*parameters, rows="paper").num_models


def test_listed_codes__hold_their_definition_exhaustively() -> None:
    for kind, k, r, n, num_models in known_parameters():
        matrix = known_matrix(kind, k, r, n)
        assert matrix is not None
        assert matrix.shape == (num_models, n)
        assert SubsetCode(matrix).verify(kind, k, row_weight=r), (kind, k, r, n)


def test_rows__must_be_known() -> None:
    with pytest.raises(ParameterError, match="rows must be one of fewest, paper"):
        backdoor_correction_code(2, 2, 6, rows="most")


# The paper's own codes (Figures 3 and 5), and (2, 4, 16), for which its Corollary 5.1 asks for -2 columns.
@pytest.mark.parametrize(
    ("parameters", "num_models"),
    [
        ((4, 4, 12), 15),
        ((2, 6, 12), 6),
        ((2, 4, 8), 6),
        ((1, 11, 16), 4),
        ((2, 4, 16), 4),
        ((1, 1, 2), 3),
        ((2, 1, 3), 4),
        ((3, 1, 4), 5),
        ((1, 2, 3), 3),
        ((2, 2, 4), 6),
        ((3, 2, 5), 10),
    ],
)
def test_backdoor_correction_code__has_the_papers_number_of_models(
    parameters: tuple[int, int, int], num_models: int
) -> None:
    code = backdoor_correction_code(*parameters, rows="paper")
    assert code.num_models == num_models
    assert code.verify(row_weight=parameters[1])


@pytest.mark.parametrize("num_attackers", [1, 2, 3, 5])
@pytest.mark.parametrize("row_weight", [1, 2, 4])
def test_minimal_matrix__has_every_row_with_k_zeros_once(num_attackers: int, row_weight: int) -> None:
    matrix = minimal_matrix(num_attackers, row_weight)
    assert matrix.shape == (comb(num_attackers + row_weight, num_attackers), num_attackers + row_weight)
    assert (matrix.sum(axis=1) == row_weight).all()
    assert len(np.unique(matrix, axis=0)) == len(matrix)


def test_minimal_matrix__follows_the_papers_recursion() -> None:
    # H(2,2) = [[1, H(2,1)], [0, H(1,2)]] with H(2,1) = I_3 and H(1,2) = [[1, I_2], [0, 1 1]].
    assert minimal_matrix(2, 2).astype(int).tolist() == [
        [1, 1, 0, 0],
        [1, 0, 1, 0],
        [1, 0, 0, 1],
        [0, 1, 1, 0],
        [0, 1, 0, 1],
        [0, 0, 1, 1],
    ]


def test_backdoor_correction_code__costs_the_same_for_ten_times_the_users() -> None:
    large = backdoor_correction_code(2, 60, 120)
    assert large.num_models == backdoor_correction_code(2, 6, 12).num_models == 6
    assert large.verify(row_weight=60)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            (4, 4, 7),
            r"row_weight = 8; received 7 .*\(3, 4, 7\), \(4, 3, 7\) or \(4, 4, 8\)",
        ),
        ((1, 3, 3), r"nearest feasible \(k, r, n\): \(1, 2, 3\) or \(1, 3, 4\)"),
        ((5, 1, 1), r"nearest feasible \(k, r, n\): \(5, 1, 6\)"),
        ((0, 2, 4), "num_attackers must be at least 1"),
        ((1, 0, 4), "row_weight must be at least 1"),
        ((1, 2.5, 4), "row_weight must be a whole number"),
        ((True, 2, 4), "num_attackers must be a whole number"),
        ((30, 30, 60), "must lead to at most 100000 models"),
    ],
)
def test_infeasible_parameters__are_refused_with_what_would_work(
    parameters: tuple[int, int, int], message: str
) -> None:
    for construct in (backdoor_detection_code, backdoor_correction_code):
        with pytest.raises(ParameterError, match=message):
            construct(*parameters)
        with pytest.raises(ParameterError, match=message):
            construct(*parameters, rows="fewest")


@given(st.integers(1, 9), st.integers(0, 8))
def test_partition_code__shares_no_user_and_leaves_none_out(num_groups: int, more: int) -> None:
    code = partition_code(num_groups, num_groups + more)
    assert (code.matrix.sum(axis=0) == 1).all()
    sizes = code.matrix.sum(axis=1)
    assert sizes.max() - sizes.min() <= 1


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 5), st.integers(0, 2**32))
def test_random_code__has_constant_row_weight(models: int, weight: int, more: int, seed: int) -> None:
    code = random_code(models, weight, weight + more, seed)
    assert code.matrix.shape == (models, weight + more)
    assert (code.matrix.sum(axis=1) == weight).all()
    assert code == random_code(models, weight, weight + more, seed)


def test_baselines__refuse_impossible_sizes() -> None:
    with pytest.raises(ParameterError, match="num_groups must be at most num_users = 4"):
        partition_code(5, 4)
    with pytest.raises(ParameterError, match="row_weight must be at most num_users = 4"):
        random_code(3, 5, 4, seed=0)
