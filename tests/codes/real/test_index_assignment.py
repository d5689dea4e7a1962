"""Problem 2: the paper's sets, the chord distance, the heuristic against exact search."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from flower_coded.codes.real.index_assignment import AssignmentProblem, evaluation_order
from flower_coded.errors import ParameterError


def naive_objective(indices, num_workers, num_liars, noise_variance, eta, distance) -> float:
    """Problem 2 as the paper writes it, without logarithms."""
    gamma = 2 / (
        2 + eta * sum(1 - math.cos(2 * math.pi * step / num_workers) for step in range(1, num_liars + 1))
    )
    terms = []
    for liars in itertools.combinations(indices, num_liars):
        products = [
            math.prod(distance(other, liar) ** 2 for liar in liars) for other in indices if other not in liars
        ]
        terms.append(max(math.exp(-eta * product * gamma / (4 * noise_variance)) for product in products))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("noise_variance", [1.0, 0.5])
def test_solve__gives_the_sets_of_table_2(noise_variance) -> None:
    solution = AssignmentProblem(11, 5, 2, noise_variance).solve()
    assert [index + 1 for index in solution.indices] == [1, 3, 6, 9, 11]
    assert solution.is_exact


@pytest.mark.parametrize("noise_variance", [1.0, 0.5, 0.1, 0.01])
def test_solve__with_chords_gives_1_3_5_7_9_up_to_rotation_and_reflection(noise_variance) -> None:
    problem = AssignmentProblem(11, 5, 2, noise_variance, distance="chord")
    solution = problem.solve_exactly()
    assert [index + 1 for index in solution.indices] == [1, 3, 5, 7, 9]
    turned = (11 - np.array(solution.indices) + 4) % 11
    assert problem.log_objective(np.sort(turned)) == pytest.approx(solution.log_objective)


@pytest.mark.parametrize("distance", ["index", "chord"])
def test_log_objective__is_the_papers_formula(distance) -> None:
    metrics = {
        "index": lambda i, j: abs(i - j),
        "chord": lambda i, j: abs(np.exp(2j * np.pi * i / 11) - np.exp(2j * np.pi * j / 11)),
    }
    problem = AssignmentProblem(11, 5, 2, 1.0, distance=distance)
    sets = np.array([[0, 1, 2, 3, 4], [0, 2, 5, 8, 10], [1, 2, 6, 7, 9]])
    expected = [naive_objective(one, 11, 2, 1.0, 10.0, metrics[distance]) for one in sets]
    assert np.exp(problem.log_objective(sets)).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("sizes", [(11, 5, 2), (13, 6, 2), (15, 6, 3), (19, 5, 2)])
@pytest.mark.parametrize("distance", ["index", "chord"])
def test_solve_by_exchange__reaches_the_exact_objective(sizes, distance) -> None:
    problem = AssignmentProblem(*sizes, noise_variance=0.1, distance=distance)
    exact, heuristic = problem.solve_exactly(), problem.solve_by_exchange()
    assert not heuristic.is_exact
    assert heuristic.log_objective == pytest.approx(exact.log_objective)


def test_solve__uses_the_heuristic_where_exact_search_is_too_long() -> None:
    problem = AssignmentProblem(31, 12, 2, 0.1, distance="chord")
    solution = problem.solve()
    assert not solution.is_exact
    assert solution.log_objective <= float(problem.log_objective(np.arange(12)))


def test_solve_by_exchange__stops_at_once_when_every_index_is_taken() -> None:
    assert AssignmentProblem(5, 5, 2, 1.0).solve_by_exchange().indices == (0, 1, 2, 3, 4)


def test_evaluation_order__gives_the_chosen_indices_to_the_unreliable_and_every_index_once() -> None:
    order = evaluation_order(11, np.array([8, 1, 2, 3, 4]), (0, 2, 5, 8, 10))
    assert sorted(order.tolist()) == list(range(11))
    assert order[[1, 2, 3, 4, 8]].tolist() == [0, 2, 5, 8, 10]


@pytest.mark.parametrize(
    "call",
    [
        lambda: AssignmentProblem(1, 2, 1, 1.0),
        lambda: AssignmentProblem(11, 5, 5, 1.0),
        lambda: AssignmentProblem(11, 12, 2, 1.0),
        lambda: AssignmentProblem(11, 5, 2, 0.0),
        lambda: AssignmentProblem(11, 5, 2, 1.0, distance="radial"),
        lambda: AssignmentProblem(60, 40, 12, 1.0),
        lambda: evaluation_order(5, np.array([0, 1]), (0,)),
        lambda: evaluation_order(5, np.array([0, 9]), (0, 1)),
    ],
)
def test_index_assignment__refuses_what_does_not_fit(call) -> None:
    with pytest.raises(ParameterError):
        call()
