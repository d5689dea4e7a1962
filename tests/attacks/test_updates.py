"""Attacks on updates against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks import (
    ALittleIsEnough,
    GaussianNoise,
    IneffectiveAttackWarning,
    InnerProductManipulation,
    NotANumber,
    SignFlip,
    little_is_enough_z,
)
from flower_coded.errors import ParameterError

# Mean (22.4, 4.2). Squared deviations: 501.76 + 457.96 + 416.16 + 179.56 + 6021.76 and 17.64 + 33.64 + 3.24
# + 4.84 + 1.44 over 5 updates: variances 1515.44 and 12.16.
KNOWN = np.array([[0.0, 0.0], [1.0, 10.0], [2.0, 6.0], [9.0, 2.0], [100.0, 3.0]])
MEAN, DEVIATION = np.array([22.4, 4.2]), np.sqrt([1515.44, 12.16])
GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("num_users", "num_attackers", "expected"),
    [(50, 24, 1.4261), (20, 4, 0.1573), (100, 20, 0.2858), (20, 8, 0.6745)],
)
def test_z_max_has_its_published_values(num_users: int, num_attackers: int, expected: float) -> None:
    assert little_is_enough_z(num_users, num_attackers) == pytest.approx(expected, abs=5e-5)
    assert ALittleIsEnough(num_users, num_attackers).z_max == pytest.approx(expected, abs=5e-5)


def test_a_void_attack_warns_and_sends_the_mean() -> None:
    assert little_is_enough_z(10, 2) == pytest.approx(0.0, abs=1e-12)
    with pytest.warns(IneffectiveAttackWarning, match="10 users and 2 attackers"):
        attack = ALittleIsEnough(10, 2)
    np.testing.assert_allclose(attack.craft(KNOWN[0], KNOWN, GENERATOR), MEAN)


def test_a_given_z_does_not_warn() -> None:
    crafted = ALittleIsEnough(10, 2, z=1.5).craft(KNOWN[0], KNOWN, GENERATOR)
    np.testing.assert_allclose(crafted, MEAN - 1.5 * DEVIATION)


def test_little_is_enough_is_z_max_deviations_below_the_mean() -> None:
    crafted = ALittleIsEnough(50, 24).craft(KNOWN[0], KNOWN, GENERATOR)
    np.testing.assert_allclose(crafted, MEAN - 1.4260769 * DEVIATION, rtol=1e-6)


@pytest.mark.parametrize("num_attackers", [0, 11, 20])
def test_no_attackers_and_majorities_are_refused(num_attackers: int) -> None:
    with pytest.raises(ParameterError, match="num_attackers"):
        ALittleIsEnough(20, num_attackers)


def test_sign_flip_reverses_the_own_update_or_the_mean() -> None:
    np.testing.assert_allclose(SignFlip(3.0).craft(KNOWN[1], KNOWN, GENERATOR), [-3.0, -30.0])
    np.testing.assert_allclose(SignFlip(0.5, of_mean=True).craft(KNOWN[1], KNOWN, GENERATOR), -0.5 * MEAN)


def test_inner_product_manipulation_is_the_reversed_mean() -> None:
    crafted = InnerProductManipulation(0.1).craft(KNOWN[1], KNOWN, GENERATOR)
    np.testing.assert_allclose(crafted, -0.1 * MEAN)
    assert crafted @ MEAN < 0


def test_gaussian_noise_has_its_deviation_and_nothing_of_the_update() -> None:
    own = np.full(20_000, 50.0, np.float32)
    crafted = GaussianNoise(4.0).craft(own, own[None], np.random.default_rng(0))
    assert crafted.mean() == pytest.approx(0.0, abs=0.1)
    assert crafted.std() == pytest.approx(4.0, rel=0.03)


def test_not_a_number_is_nowhere_a_number() -> None:
    assert np.isnan(NotANumber().craft(KNOWN[0], KNOWN, GENERATOR)).all()


@pytest.mark.parametrize("scale", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_positive_number_is_refused(scale: float) -> None:
    for attack in (SignFlip, GaussianNoise, InnerProductManipulation):
        with pytest.raises(ParameterError, match="scale"):
            attack(scale)


def test_an_update_too_large_for_its_type_is_the_largest_of_it() -> None:
    known = np.array([[6e4, -6e4, 1.0]], np.float16)
    crafted = SignFlip(2.0).craft(known[0], known, GENERATOR)
    np.testing.assert_array_equal(crafted, np.array([-65504, 65504, -2], np.float16))
