"""Model replacement, Neurotoxin, projection: what becomes of a poisoned update."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks import ModelReplacement, Neurotoxin, NormProjection, StatefulAttack
from flower_coded.errors import ParameterError

GENERATOR = np.random.default_rng(0)
POISONED = np.array([0.5, -1.0, 2.0, 0.25])
HONEST = np.array([[3.0, 0.0, 0.0, 4.0], [0.0, 1.0, 0.0, 0.0]])


def test_the_mean_of_the_round_becomes_the_poisoned_model() -> None:
    # n = 10 clients, nine of them converged: the mean of one boosted update and nine zeros is the update.
    boosted = ModelReplacement(10.0).craft(POISONED, HONEST, GENERATOR)
    np.testing.assert_allclose(np.vstack([boosted, np.zeros((9, 4))]).mean(axis=0), POISONED)


def test_a_norm_bound_is_met_without_turning_the_update() -> None:
    bounded = ModelReplacement(10.0, norm_bound=3.0).craft(POISONED, HONEST, GENERATOR)
    assert np.linalg.norm(bounded) == pytest.approx(3.0)
    np.testing.assert_allclose(bounded / 3.0, POISONED / np.linalg.norm(POISONED))
    np.testing.assert_allclose(
        ModelReplacement(1.0, norm_bound=9.0).craft(POISONED, HONEST, GENERATOR), POISONED
    )


def test_neurotoxin_first_spares_what_the_known_honest_move() -> None:
    # Means of the two honest updates: 1.5, 0.5, 0, 2.
    sent = Neurotoxin(0.5).craft(POISONED, HONEST, GENERATOR)
    np.testing.assert_array_equal(sent, [0.0, -1.0, 2.0, 0.0])


def test_neurotoxin_then_spares_what_the_last_aggregate_moved() -> None:
    attack = Neurotoxin(0.25)
    _, memory = attack.craft_with_memory(POISONED, HONEST, np.array([1.0, 1, 1, 1]), {}, GENERATOR)
    sent, memory = attack.craft_with_memory(
        POISONED, HONEST, np.array([1.1, 0.9, -4.0, 1.0]), memory, GENERATOR
    )
    np.testing.assert_array_equal(sent, [0.5, -1.0, 0.0, 0.25])
    np.testing.assert_array_equal(memory["model"], [1.1, 0.9, -4.0, 1.0])
    assert isinstance(attack, StatefulAttack)
    assert not isinstance(ModelReplacement(2.0), StatefulAttack)


@pytest.mark.parametrize(("share", "spared"), [(0.001, 1), (0.3, 3), (0.99, 10)])
def test_neurotoxin_spares_the_rounded_share_and_at_least_one(share: float, spared: int) -> None:
    own = np.ones(10)
    assert (Neurotoxin(share).craft(own, np.arange(10.0)[None], GENERATOR) == 0).sum() == spared


def test_projection_pulls_onto_the_sphere_from_outside_only() -> None:
    # Honest norms are 5 and 1: the largest is the radius where none is given.
    far, near = 100 * POISONED, 0.01 * POISONED
    assert np.linalg.norm(NormProjection().craft(far, HONEST, GENERATOR)) == pytest.approx(5.0)
    assert np.linalg.norm(NormProjection(2.0).craft(far, HONEST, GENERATOR)) == pytest.approx(2.0)
    np.testing.assert_array_equal(NormProjection().craft(near, HONEST, GENERATOR), near)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ModelReplacement(0.0),
        lambda: ModelReplacement(2.0, norm_bound=-1.0),
        lambda: Neurotoxin(0.0),
        lambda: Neurotoxin(1.0),
        lambda: NormProjection(float("nan")),
    ],
)
def test_values_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(ParameterError):
        make()  # type: ignore[operator]
