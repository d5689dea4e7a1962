"""Min-max and min-sum against the conditions that define them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flower_coded.attacks import PERTURBATIONS, IneffectiveAttackWarning, MinMax, MinSum
from flower_coded.errors import ParameterError

kinds = pytest.mark.parametrize("perturbation", PERTURBATIONS)
GENERATOR = np.random.default_rng(0)


def crowd(data: np.ndarray) -> np.ndarray:
    return data + np.random.default_rng(1).normal(size=data.shape)


def directions(known: np.ndarray) -> dict[str, np.ndarray]:
    mean = known.mean(axis=0)
    return {
        "deviation": -known.std(axis=0),
        "sign": -np.sign(mean),
        "unit": -mean / np.linalg.norm(mean),
    }


def largest_distance(x: np.ndarray, known: np.ndarray) -> float:
    return float(np.linalg.norm(x - known, axis=1).max())


def sum_of_squares(x: np.ndarray, known: np.ndarray) -> float:
    return float(((x - known) ** 2).sum())


@kinds
@settings(max_examples=30)
@given(data=arrays(np.float64, (6, 4), elements=st.floats(-3, 3)))
def test_min_max_takes_the_largest_step_within_the_largest_distance(
    perturbation: str, data: np.ndarray
) -> None:
    known = crowd(data)
    bound = max(largest_distance(row, known) for row in known)
    crafted = MinMax(perturbation).craft(known[0], known, GENERATOR)
    direction = directions(known)[perturbation]
    gamma = (crafted - known.mean(axis=0)) @ direction / (direction @ direction)
    np.testing.assert_allclose(crafted, known.mean(axis=0) + gamma * direction, atol=1e-9)
    assert largest_distance(crafted, known) == pytest.approx(bound, rel=1e-9)
    assert largest_distance(crafted + 1e-3 * direction, known) > bound


@kinds
@settings(max_examples=30)
@given(data=arrays(np.float64, (6, 4), elements=st.floats(-3, 3)))
def test_min_sum_takes_the_largest_step_within_the_largest_sum(perturbation: str, data: np.ndarray) -> None:
    known = crowd(data)
    bound = max(sum_of_squares(row, known) for row in known)
    crafted = MinSum(perturbation).craft(known[0], known, GENERATOR)
    direction = directions(known)[perturbation]
    gamma = (crafted - known.mean(axis=0)) @ direction / (direction @ direction)
    np.testing.assert_allclose(crafted, known.mean(axis=0) + gamma * direction, atol=1e-9)
    assert sum_of_squares(crafted, known) == pytest.approx(bound, rel=1e-9)
    assert sum_of_squares(crafted + 1e-3 * direction, known) > bound


def test_the_steps_by_hand() -> None:
    # (0,1) and (4,1): mean (2,1), largest distance 4, deviation (2,0). Min-max: 2 + 2 g = 4, g = 1,
    # x = (0,1). Min-sum: largest sum 16 = (2 - 2g)^2 + (2 + 2g)^2 = 8 + 8 g^2, g = 1: the same.
    known = np.array([[0.0, 1.0], [4.0, 1.0]])
    for attack in (MinMax(), MinSum()):
        np.testing.assert_allclose(attack.craft(known[0], known, GENERATOR), [0.0, 1.0])


def test_min_sum_is_never_bolder_than_min_max_here() -> None:
    known = np.random.default_rng(2).normal(1, 1, size=(10, 30))
    steps = [
        np.linalg.norm(attack.craft(known[0], known, GENERATOR) - known.mean(axis=0))
        for attack in (MinSum(), MinMax())
    ]
    assert steps[0] < steps[1]


@kinds
@pytest.mark.parametrize("attack", [MinMax, MinSum])
def test_one_known_update_voids_the_attack(attack: type[MinMax | MinSum], perturbation: str) -> None:
    known = np.array([[1.0, -2.0]])
    with pytest.warns(IneffectiveAttackWarning, match="all equal"):
        np.testing.assert_array_equal(attack(perturbation).craft(known[0], known, GENERATOR), known[0])


@pytest.mark.parametrize("attack", [MinMax, MinSum])
def test_an_unknown_direction_is_refused(attack: type[MinMax | MinSum]) -> None:
    with pytest.raises(ParameterError, match="deviation, sign, unit"):
        attack("std")


@pytest.mark.parametrize("attack", [MinMax(), MinSum()])
def test_updates_too_small_to_square_leave_nothing_but_their_mean(attack: MinMax | MinSum) -> None:
    known = np.array([[1e-170, 0.0], [3e-170, 0.0]])
    with pytest.warns(IneffectiveAttackWarning):
        sent = attack.craft(known[0], known, np.random.default_rng(0))
    np.testing.assert_allclose(sent, [2e-170, 0.0])
