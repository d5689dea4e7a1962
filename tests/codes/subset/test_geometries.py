"""Finite geometries as codes, and columns repeated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.codes import SubsetCode
from flower_coded.codes.subset.geometries import affine_matrix, num_hyperplanes, projective_matrix
from flower_coded.codes.subset.stretching import best_row_weight, stretch


@pytest.mark.parametrize(("dimension", "order"), [(1, 3), (2, 2), (2, 3), (2, 4), (3, 2), (3, 3), (4, 2)])
def test_projective_matrix__is_a_geometry(dimension: int, order: int) -> None:
    matrix = projective_matrix(dimension, order)
    assert matrix.shape == (num_hyperplanes(dimension, order),) * 2
    assert (matrix.sum(axis=1) == order**dimension).all()  # a hyperplane's complement is an affine space
    met = (~matrix).astype(int) @ (~matrix).T.astype(int)
    # Two hyperplanes meet in a subspace of one dimension less.
    assert np.unique(met[~np.eye(len(met), dtype=bool)]).tolist() == [
        (order ** (dimension - 1) - 1) // (order - 1)
    ]
    assert SubsetCode(matrix).guarantees.detected >= dimension


@pytest.mark.parametrize(("dimension", "order", "row_weight"), [(2, 3, 6), (3, 2, 4), (2, 4, 12), (4, 2, 8)])
def test_affine_matrix__detects_as_many_as_it_has_dimensions(
    dimension: int, order: int, row_weight: int
) -> None:
    code = SubsetCode(affine_matrix(dimension, order))
    assert code.num_users == order**dimension
    assert code.num_models == num_hyperplanes(dimension, order) - 1
    assert code.verify("detection", dimension, row_weight=row_weight)
    assert not code.verify("detection", dimension + 1)


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 12))
def test_stretch__gives_a_code_of_the_row_weight_or_none(seed: int, num_users: int, row_weight: int) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.random((5, 4)) < 0.6
    found = stretch(matrix, row_weight, num_users)
    if found is None:
        return
    assert found.shape == (5, num_users)
    assert row_weight <= found.sum(axis=1).min() <= best_row_weight(matrix, num_users)
    assert {column.tobytes() for column in found.T} <= {column.tobytes() for column in matrix.T}


@pytest.mark.parametrize("num_users", [5, 6, 7, 8])
def test_stretch__finds_the_best_shares(num_users: int) -> None:
    matrix = np.array([[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0]], dtype=bool)
    shares = [
        share for share in np.ndindex(*[num_users + 1] * 4) if sum(share) == num_users
    ]  # every way to share the users out
    best = max((matrix @ np.array(share)).min() for share in shares)
    assert stretch(matrix, best + 1, num_users) is None
    found = stretch(matrix, int(best), num_users)
    assert found is not None
    assert found.sum(axis=1).min() == best
