"""Separable matrices by Kautz and Singleton, by search, and with their rows made heavier."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.codes import SubsetCode, kautz_singleton_matrix, separable_matrix
from flower_coded.codes.subset.separable import raise_row_weight
from flower_coded.errors import ParameterError


def is_separable(matrix: np.ndarray, k: int) -> bool:
    sums = [
        matrix[:, chosen].any(axis=1).tobytes()
        for size in range(1, k + 1)
        for chosen in combinations(range(matrix.shape[1]), size)
    ]
    return len(set(sums)) == len(sums)


# Fewest of n and q (k (d - 1) + 1) over prime powers q with q^d >= n and q >= k (d - 1) + 1, by hand:
# n=1000, k=2: q=7, d=4 (7^4 = 2401): 49. n=64, k=2: q=8, d=2: 3 places, 24. n=20, k=2: q=5, d=2: 15.
# n=4096, k=3: q=8, d=4, but 10 places need q=11: 110; q=16, d=3, 7 places: 112; q=64, d=2, 4 places: 256.
@pytest.mark.parametrize(
    ("num_columns", "num_attackers", "num_rows"),
    [(1000, 2, 49), (64, 2, 24), (20, 2, 15), (4096, 3, 110), (5, 3, 5), (1, 1, 1)],
)
def test_kautz_singleton_matrix__takes_the_best_field(
    num_columns: int, num_attackers: int, num_rows: int
) -> None:
    matrix = kautz_singleton_matrix(num_columns, num_attackers)
    assert matrix.shape == (num_rows, num_columns)
    assert matrix.any(axis=1).all()
    assert len(set(matrix.sum(axis=0).tolist())) == 1


@pytest.mark.parametrize(("num_columns", "num_attackers"), [(40, 2), (120, 1), (60, 3)])
def test_kautz_singleton_matrix__is_disjunct(num_columns: int, num_attackers: int) -> None:
    matrix = kautz_singleton_matrix(num_columns, num_attackers).astype(int)
    common = matrix.T @ matrix  # rows that two columns share
    np.fill_diagonal(common, 0)
    # k columns cover at most k times the largest overlap, fewer than the ones of a column.
    assert (num_attackers * common.max(axis=1) < matrix.sum(axis=0)).all()


@pytest.mark.parametrize(
    ("num_columns", "num_attackers", "most_rows"), [(8, 2, 7), (12, 2, 10), (30, 1, 5), (7, 3, 7)]
)
def test_separable_matrix__is_separable_with_few_rows(
    num_columns: int, num_attackers: int, most_rows: int
) -> None:
    matrix = separable_matrix(num_columns, num_attackers)
    assert len(matrix) <= most_rows
    assert is_separable(matrix, num_attackers)
    assert matrix.any(axis=0).all()


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 2), st.integers(1, 4))
def test_raise_row_weight__tells_the_same_sets_apart(seed: int, k: int, r: int) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.random((5, k + r + 2)) < 0.3
    matrix[~matrix.any(axis=1), 0] = True
    heavier = raise_row_weight(matrix, k, r)
    assert heavier.sum(axis=1).min() >= r
    sets = [s for size in range(1, k + 1) for s in combinations(range(matrix.shape[1]), size)]
    for one, other in combinations(sets, 2):
        differed = (matrix[:, one].any(axis=1) != matrix[:, other].any(axis=1)).any()
        differ = (heavier[:, one].any(axis=1) != heavier[:, other].any(axis=1)).any()
        assert differ or not differed


@pytest.mark.parametrize("arguments", [(0, 1), (5, 0)])
def test_separable_matrices__refuse_bad_sizes(arguments: tuple[int, int]) -> None:
    for construct in (kautz_singleton_matrix, separable_matrix):
        with pytest.raises(ParameterError, match="must be at least 1"):
            construct(*arguments)


def test_separable_matrix__can_be_checked_as_a_code() -> None:
    found = SubsetCode(separable_matrix(8, 2)).verify("tracking", 2)
    assert found.holds or "same models" not in found.reason
