"""The geometric median against its optimality condition and known places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flower_coded.aggregation import geometric_median, locate_geometric_median
from flower_coded.errors import ParameterError


def test_the_angle_at_the_fermat_point_is_120_degrees() -> None:
    # Corners (0,0), (4,0), (0,4): by symmetry the point is (t, t), where the three unit vectors sum to zero.
    # (0,0) pulls along the diagonal with 1, so each other with 1/2 along it: t = 4 / (3 + sqrt 3).
    corners = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    np.testing.assert_allclose(geometric_median(corners, tolerance=1e-10), [4 / (3 + 3**0.5)] * 2, rtol=1e-8)


@pytest.mark.parametrize("obtuse", [[5.0, 3.0], [1.0, 5.0]])
def test_a_corner_of_at_least_120_degrees_is_the_point_itself(obtuse: list[float]) -> None:
    result = locate_geometric_median(np.array([[0.0, 0.0], [1.0, 1.0], obtuse]))
    np.testing.assert_allclose(result.point, [1.0, 1.0])
    assert result.has_converged


def test_a_start_at_a_vector_that_is_not_the_answer_is_left() -> None:
    # The coordinate median of these is (0,0), itself a vector, while the other four pull to the upper right.
    vectors = np.array([[0.0, 0.0], [9.0, -1.0], [-1.0, 9.0], [8.0, -1.0], [-1.0, 8.0]])
    assert np.array_equal(np.median(vectors, axis=0), [0.0, 0.0])
    result = locate_geometric_median(vectors)
    assert result.has_converged
    assert result.point.min() > 0.5
    pulls = (vectors - result.point) / np.linalg.norm(vectors - result.point, axis=1, keepdims=True)
    np.testing.assert_allclose(pulls.sum(axis=0), 0.0, atol=1e-4)


def test_vectors_on_a_line_have_their_median() -> None:
    line = np.array([[0.0], [1.0], [2.0], [50.0], [1000.0]]) * np.array([[3.0, 4.0]])
    np.testing.assert_allclose(geometric_median(line), [6.0, 8.0], rtol=1e-5)


def test_a_majority_at_one_place_is_the_point_at_once() -> None:
    result = locate_geometric_median(np.array([[1.0, 2.0]] * 3 + [[9.0, 9.0], [-4.0, 1.0]]))
    np.testing.assert_array_equal(result.point, [1.0, 2.0])
    assert (result.num_iterations, result.has_converged) == (0, True)


@given(arrays(np.float64, (9, 3), elements=st.floats(-10, 10)))
def test_the_pulls_of_all_vectors_cancel(data: np.ndarray) -> None:
    vectors = data + np.random.default_rng(0).normal(size=data.shape) * 10
    result = locate_geometric_median(vectors, tolerance=1e-9, max_iterations=2000)
    distances = np.linalg.norm(vectors - result.point, axis=1)
    if distances.min() > 1e-3 * distances.max():
        pulls = (vectors - result.point) / distances[:, None]
        assert np.linalg.norm(pulls.sum(axis=0)) < 1e-4
    else:  # at a vector the pulls of the others may add up to one
        others = distances > distances.min()
        pulls = (vectors - result.point)[others] / distances[others, None]
        assert np.linalg.norm(pulls.sum(axis=0)) < 1 + 1e-3


def test_an_iteration_that_is_cut_short_says_so() -> None:
    vectors = np.random.default_rng(0).normal(size=(8, 3)) ** 3
    result = locate_geometric_median(vectors, max_iterations=2, tolerance=1e-12)
    assert (result.num_iterations, result.has_converged) == (2, False)
    assert result.last_step > 1e-12


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"smoothing": 0.0}, "smoothing"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"max_iterations": 0}, "max_it"),
    ],
)
def test_parameters_out_of_range_are_refused(options: dict[str, float], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        geometric_median(np.eye(3), **options)  # type: ignore[arg-type]
