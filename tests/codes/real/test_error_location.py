"""Primitives of error location over the real and complex numbers."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.codes.real.error_location import (
    locator_polynomials,
    locator_values,
    null_space,
    numerical_rank,
    singular_space,
    smallest,
    subspace_residuals,
    syndromes,
    window_syndromes,
)
from flower_coded.errors import ParameterError


def complex_dft(num_workers: int, num_checks: int) -> np.ndarray:
    return np.exp(2j * np.pi * np.outer(np.arange(num_checks), np.arange(num_workers)) / num_workers)


def errors_at(rows: list[int], num_workers: int, columns: int, rank: int, seed: int = 3) -> np.ndarray:
    generator = np.random.default_rng(seed)
    errors = np.zeros((num_workers, columns))
    errors[rows] = generator.standard_normal((len(rows), rank)) @ generator.standard_normal((rank, columns))
    return errors


def test_syndromes__refuses_words_of_another_length() -> None:
    with pytest.raises(ParameterError, match=r"shape \(\.\.\., 5, p\)"):
        syndromes(np.eye(2, 5), np.zeros((4, 1)))


def test_window_syndromes__has_the_hankel_matrix_of_a_geometric_series() -> None:
    windows = window_syndromes(np.array([[1.0], [3.0], [9.0], [27.0], [81.0]]), 3)
    assert windows.tolist() == [[1, 3, 9], [3, 9, 27], [9, 27, 81]]
    with pytest.raises(ParameterError):
        window_syndromes(np.zeros((4, 1)), 5)


def test_locator_polynomials__has_its_roots_at_the_errors_of_each_word_alone() -> None:
    # Batch of words with different supports: one polynomial each.
    check, supports = complex_dft(11, 6), [[0, 4, 9], [1, 2, 3], [5, 7, 10]]
    words = np.stack([errors_at(rows, 11, 1, 1, seed) for seed, rows in enumerate(supports)])
    polynomials = locator_polynomials(syndromes(check, words), 3)
    assert polynomials.shape == (3, 4)
    marks = smallest(locator_values(polynomials, np.exp(2j * np.pi * np.arange(11) / 11)), 3)
    assert [np.flatnonzero(row).tolist() for row in marks] == supports


def test_subspace_residuals__finds_more_than_half_as_many_independent_errors_as_checks() -> None:
    check, rows = complex_dft(12, 6), [0, 2, 3, 7, 11]
    values = syndromes(check, errors_at(rows, 12, 20, rank=5))
    residuals = subspace_residuals(check, values, 5)
    assert np.flatnonzero(residuals < 1e-10).tolist() == rows
    assert residuals[[1, 4, 5, 6, 8, 9, 10]].min() > 0.01


def test_subspace_residuals__needs_windows_when_errors_are_proportional() -> None:
    check, rows = complex_dft(12, 8), [1, 2, 6, 10]
    values = syndromes(check, errors_at(rows, 12, 20, rank=1))
    blind = subspace_residuals(check, values, 1)
    assert blind.min() > 0.1
    seeing = subspace_residuals(check, window_syndromes(values, 5), 4)
    assert np.flatnonzero(seeing < 1e-10).tolist() == rows


def test_subspace_residuals__projects_out_erased_columns() -> None:
    check, rows, erased = complex_dft(12, 6), [1, 5], np.isin(np.arange(12), [0, 8])
    words = errors_at(rows, 12, 9, rank=2)
    words[erased] = 1e3 * np.random.default_rng(0).standard_normal((2, 9))
    residuals = subspace_residuals(check, syndromes(check, words), 2 + 2)
    assert np.flatnonzero(residuals < 1e-10).tolist() == [0, 1, 5, 8]
    residuals = subspace_residuals(check, syndromes(check, words), 2, erased)
    assert np.isinf(residuals[erased]).all()
    assert np.flatnonzero(residuals < 1e-10).tolist() == rows


def test_numerical_rank__is_batched_and_takes_a_level_for_each() -> None:
    sizes = np.array([[5.0, 1.0, 0.1], [5.0, 1.0, 0.1]])
    assert numerical_rank(sizes, np.array([0.5, 2.0])).tolist() == [2, 1]
    assert numerical_rank(np.zeros((2, 3))).tolist() == [0, 0]


def test_singular_space__agrees_when_the_fast_driver_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = np.random.default_rng(0).standard_normal((2, 4, 3))
    left, sizes = singular_space(matrices)

    def give_up(*_: object, **__: object) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", give_up)
    again_left, again_sizes = singular_space(matrices)
    np.testing.assert_allclose(again_sizes, sizes, rtol=1e-12)
    np.testing.assert_allclose(np.abs(again_left), np.abs(left), atol=1e-12)


def test_null_space__is_orthonormal_and_annihilated() -> None:
    matrix = np.random.default_rng(1).standard_normal((3, 7)) + 1j
    basis = null_space(matrix)
    np.testing.assert_allclose(matrix @ basis, 0, atol=1e-13)
    np.testing.assert_allclose(basis.conj().T @ basis, np.eye(4), atol=1e-13)
    assert null_space(np.zeros((0, 3))).tolist() == np.eye(3).tolist()
