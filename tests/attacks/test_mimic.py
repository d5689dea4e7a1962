"""Mimic: Oja's direction, the client that is copied, and what is remembered."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks import Memory, Mimic, StatefulAttack
from flower_coded.errors import ParameterError

NUM_CLIENTS, DIMENSION = 6, 8


def rounds(count: int, seed: int = 0) -> list[np.ndarray]:
    """Clients with places of their own along one axis, little noise elsewhere."""
    generator = np.random.default_rng(seed)
    places = np.array([0.5, -1.0, 3.0, 0.2, -0.7, 1.0])
    axis = np.zeros(DIMENSION)
    axis[2] = 1.0
    return [
        np.outer(places, axis) + 0.1 * generator.normal(size=(NUM_CLIENTS, DIMENSION)) for _ in range(count)
    ]


def run(attack: Mimic, updates: list[np.ndarray], seed: int = 1) -> tuple[list[np.ndarray], Memory]:
    memory: Memory = {}
    sent = []
    for known in updates:
        crafted, memory = attack.craft_with_memory(
            known[0], known, np.zeros(DIMENSION), memory, np.random.default_rng(seed)
        )
        sent.append(crafted)
    return sent, memory


def test_one_step_follows_ojas_rule() -> None:
    # First round, t = 0: mean = mean of the round, z = sum_i a_i <a_i, z_0> normalized, a_i = x_i - mean.
    known = rounds(1)[0]
    start = np.random.default_rng(1).standard_normal(DIMENSION)
    start /= np.linalg.norm(start)
    apart = known - known.mean(axis=0)
    expected = sum(row * (row @ start) for row in apart)
    expected /= np.linalg.norm(expected)
    _, memory = run(Mimic(), [known])
    np.testing.assert_allclose(memory["direction"], expected, atol=1e-12)
    np.testing.assert_allclose(memory["scores"], known @ expected, atol=1e-12)


def test_the_second_step_weighs_the_old_direction_by_one_half() -> None:
    first, second = rounds(2)
    _, before = run(Mimic(), [first])
    mean = (first.mean(axis=0) + second.mean(axis=0)) / 2
    apart = second - mean
    expected = before["direction"] / 2 + (apart.T @ (apart @ before["direction"])) / 2
    _, after = run(Mimic(), [first, second])
    np.testing.assert_allclose(after["direction"], expected / np.linalg.norm(expected), atol=1e-12)
    np.testing.assert_allclose(after["mean"], mean, atol=1e-12)


def test_the_direction_becomes_the_top_eigenvector() -> None:
    updates = rounds(20)
    _, memory = run(Mimic(warm_up=20), updates)
    stacked = np.concatenate(updates)
    _, _, axes = np.linalg.svd(stacked - stacked.mean(axis=0))
    assert abs(memory["direction"] @ axes[0]) > 0.99  # a random direction has 0.35


def test_the_client_that_stands_out_is_copied_exactly() -> None:
    updates = rounds(5)
    sent, _ = run(Mimic(warm_up=3), updates)
    for crafted, known in zip(sent, updates, strict=True):
        np.testing.assert_array_equal(crafted, known[2])


def test_after_the_warm_up_the_client_stays_whatever_happens() -> None:
    updates = rounds(2) + [each[::-1].copy() for each in rounds(4)]
    sent, memory = run(Mimic(warm_up=2), updates)
    np.testing.assert_array_equal(sent[-1], updates[-1][2])
    assert memory["rounds"][0] == 2
    sent, memory = run(Mimic(warm_up=6), updates)
    np.testing.assert_array_equal(sent[-1], updates[-1][3])  # two rounds at place 2, four at place 3


def test_colluders_who_see_the_same_send_the_same() -> None:
    first, _ = run(Mimic(), rounds(4))
    second, _ = run(Mimic(), rounds(4))
    np.testing.assert_array_equal(np.stack(first), np.stack(second))


def test_another_number_of_clients_starts_afresh() -> None:
    known = rounds(1)[0]
    _, memory = run(Mimic(), [known, known])
    _, memory = Mimic().craft_with_memory(
        known[0], known[:4], np.zeros(DIMENSION), memory, np.random.default_rng(0)
    )
    assert (memory["rounds"][0], len(memory["scores"])) == (1, 4)


def test_equal_updates_leave_a_direction() -> None:
    _, memory = run(Mimic(), [np.ones((3, DIMENSION))])
    assert np.linalg.norm(memory["direction"]) == pytest.approx(1.0)


def test_mimic_remembers_and_wants_a_warm_up() -> None:
    assert isinstance(Mimic(), StatefulAttack)
    with pytest.raises(ParameterError, match="warm_up"):
        Mimic(0)
