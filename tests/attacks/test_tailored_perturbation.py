"""The tailored perturbation and the attack on Krum against searches over fine grids."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.aggregation import get_aggregation_rule, krum
from flower_coded.attacks import (
    PERTURBATIONS,
    IneffectiveAttackWarning,
    KrumAttack,
    MinMax,
    MinSum,
    TailoredPerturbation,
)
from flower_coded.attacks.tailored_perturbation import largest_factor
from flower_coded.errors import ParameterError

GENERATOR = np.random.default_rng(0)
kinds = pytest.mark.parametrize("perturbation", PERTURBATIONS)


def honest_updates(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, 1.0, size=(10, 60))


def harm(rule: str, honest: np.ndarray, crafted: np.ndarray) -> float:
    aggregate = get_aggregation_rule(rule, num_byzantine=2).aggregate(np.vstack([honest, crafted, crafted]))
    return float(np.linalg.norm(aggregate - honest.mean(axis=0)))


@kinds
@pytest.mark.parametrize("rule", ["krum", "multi-krum"])
def test_a_selection_rule_takes_the_copies_and_would_not_take_them_a_step_further(
    rule: str, perturbation: str
) -> None:
    honest = honest_updates()
    crafted = TailoredPerturbation(12, 2, rule, perturbation=perturbation).craft(honest[0], honest, GENERATOR)
    mean, made = honest.mean(axis=0), get_aggregation_rule(rule, num_byzantine=2)

    def num_selected(sent: np.ndarray) -> int:
        return int((np.asarray(made.select(np.vstack([honest, sent, sent]))) >= 10).sum())

    wanted = 1 if rule == "krum" else 2
    assert num_selected(crafted) == wanted
    assert num_selected(mean + 1.001 * (crafted - mean)) < wanted
    # Along the direction that it is said to have.
    expected = {"deviation": -honest.std(axis=0), "sign": -np.sign(mean), "unit": -mean}[perturbation]
    cosine = (crafted - mean) @ expected / np.linalg.norm(crafted - mean) / np.linalg.norm(expected)
    assert cosine == pytest.approx(1.0)


@kinds
@pytest.mark.parametrize("rule", ["median", "trimmed-mean", "multi-krum"])
def test_who_knows_the_rule_does_as_much_harm_as_who_does_not(rule: str, perturbation: str) -> None:
    for seed in range(3):
        honest = honest_updates(seed)
        tailored = TailoredPerturbation(12, 2, rule, perturbation=perturbation)
        own = harm(rule, honest, tailored.craft(honest[0], honest, GENERATOR))
        for agnostic in (MinMax(perturbation), MinSum(perturbation)):
            assert own >= 0.95 * harm(rule, honest, agnostic.craft(honest[0], honest, GENERATOR))


def test_equal_updates_leave_nothing_to_hide_behind() -> None:
    same = np.ones((5, 3))
    with pytest.warns(IneffectiveAttackWarning):
        crafted = TailoredPerturbation(7, 2).craft(same[0], same, GENERATOR)
    np.testing.assert_array_equal(crafted, same[0])


@pytest.mark.parametrize("limit", [3e-7, 1e-4, 0.3, 1.0, 7.7, 5e5])
def test_the_largest_factor_is_found_over_many_orders_of_magnitude(limit: float) -> None:
    found = largest_factor(lambda factor: factor <= limit)
    assert found <= limit
    assert found == pytest.approx(limit, rel=2e-4) or limit < 2**-20


def test_a_perturbation_is_one_of_three() -> None:
    with pytest.raises(ParameterError, match="deviation, sign, unit"):
        TailoredPerturbation(7, 2, perturbation="signs")


def test_krum_takes_the_vector_against_the_sign_of_the_mean() -> None:
    honest = honest_updates()
    crafted = KrumAttack(12, 2).craft(honest[0], honest, GENERATOR)
    step = np.abs(crafted[0])
    np.testing.assert_allclose(crafted, -step * np.sign(honest.mean(axis=0)))
    np.testing.assert_array_equal(krum(np.vstack([honest, crafted, crafted]), 2), crafted)
    farther = 2 * crafted  # the halving before
    assert not np.array_equal(krum(np.vstack([honest, farther, farther]), 2), farther)


def test_the_attack_on_krum_gives_up_at_a_step_of_a_hundred_thousandth() -> None:
    # Nine honest updates are the same: nothing but what they are is ever nearer to them.
    honest = np.full((10, 4), 3.0)
    crafted = KrumAttack(12, 2).craft(honest[0], honest, GENERATOR)
    assert 0.5e-5 < np.abs(crafted[0]) <= 1e-5
