"""Optimized ALIE and IPM against what ByzFL's optimized attacks send for the same updates.

The vectors were computed with ByzFL at commit 69bd1ac, ``Optimal_ALittleIsEnough`` and
``Optimal_InnerProductManipulation`` with ``f = 3``, ``pre_agg_list=[]`` or ``[NNM(f=3)]``. ByzFL adds
``tau sigma`` where this package, as the paper, subtracts it; its attack was therefore given the mirrored
updates, and its answer mirrored back. It divides the standard deviation by k - 1 where this package divides
by k: a first step longer by sqrt(k / (k - 1)) makes the same tries.
"""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.aggregation import coordinate_median
from flower_coded.attacks import OptimizedInnerProduct, OptimizedLittleIsEnough
from flower_coded.errors import ParameterError

UPDATES = np.array(
    [
        [0.198, -3.324, 0.252, 0.42],
        [2.136, -1.89, -0.053, -0.785],
        [1.749, -0.365, 0.773, -1.233],
        [0.042, -0.4, 0.703, -1.732],
        [0.916, -3.163, -0.129, -0.488],
        [0.287, -1.447, 0.437, -0.589],
        [1.41, -1.17, -1.143, -0.257],
        [0.019, -2.173, -0.789, 0.021],
        [0.962, -2.304, -0.548, -0.396],
    ]
)
BYZFL = {
    ("median", OptimizedLittleIsEnough): [
        -6.950554961847,
        -12.482354273950,
        -6.733067641550,
        -6.982338663788,
    ],
    ("trimmed-mean", OptimizedLittleIsEnough): [
        -6.950554961847,
        -12.482354273950,
        -6.733067641550,
        -6.982338663788,
    ],
    ("nearest-neighbor-mixing+trimmed-mean", OptimizedLittleIsEnough): [
        -0.779836093801,
        -4.043413202232,
        -1.455667909905,
        -1.906774227921,
    ],
    ("mean", OptimizedLittleIsEnough): [-4093748.235282, -5598524.131226, -3501107.596585, -3367207.485021],
    ("median", OptimizedInnerProduct): [-8.576666666666, 18.04, 0.552222222222, 5.598888888888],
    ("trimmed-mean", OptimizedInnerProduct): [-25.73, 54.12, 1.656666666666, 16.796666666666],
    ("nearest-neighbor-mixing+trimmed-mean", OptimizedInnerProduct): [0, 0, 0, 0],
    ("mean", OptimizedInnerProduct): [-4496634.836666, 9458137.48, 289522.932222, 2935424.658888],
}
kinds = pytest.mark.parametrize("kind", [OptimizedLittleIsEnough, OptimizedInnerProduct])
STEPS = {OptimizedLittleIsEnough: 10 * np.sqrt(9 / 8), OptimizedInnerProduct: 10.0}
GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(("rule", "kind"), BYZFL, ids=lambda value: getattr(value, "__name__", value))
def test_it_sends_what_byzfl_sends(rule: str, kind: type[OptimizedLittleIsEnough]) -> None:
    crafted = kind(12, 3, rule, first_step=STEPS[kind]).craft(UPDATES[0], UPDATES, GENERATOR)
    np.testing.assert_allclose(crafted, BYZFL[rule, kind], rtol=1e-8, atol=1e-9)


@kinds
def test_who_knows_everybody_leaves_the_attackers_own_out(kind: type[OptimizedLittleIsEnough]) -> None:
    everybody = np.insert(UPDATES, [0, 4, 9], 77.0, axis=0)  # rows 0, 5 and 11 are the attackers'
    attack = kind(12, 3, "median", attackers=(0, 5, 11), first_step=STEPS[kind])
    crafted = attack.craft(everybody[0], everybody, GENERATOR)
    np.testing.assert_allclose(crafted, BYZFL["median", kind], rtol=1e-8, atol=1e-9)


@kinds
def test_who_knows_two_draws_the_others_and_still_does_harm(kind: type[OptimizedLittleIsEnough]) -> None:
    honest = np.random.default_rng(1).normal(1.0, 0.3, size=(10, 200))
    crafted = kind(12, 2, "median").craft(honest[0], honest[:2], np.random.default_rng(3))
    harmed = coordinate_median(np.vstack([honest, crafted, crafted]))
    unharmed = coordinate_median(honest)
    mean = honest.mean(axis=0)
    assert np.linalg.norm(harmed - mean) > 1.3 * np.linalg.norm(unharmed - mean)
    again = kind(12, 2, "median").craft(honest[1], honest[:2], np.random.default_rng(3))
    np.testing.assert_array_equal(crafted, again)  # whichever colluder crafts it


@kinds
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"num_attackers": 0}, "num_attackers"),
        ({"num_attackers": 12}, "num_attackers"),
        ({"rule": "medain"}, "aggregation rule"),
        ({"rule": "krum", "num_attackers": 5}, "n >= 2 f"),
        ({"attackers": (1,)}, "attackers"),
        ({"attackers": (1, 12)}, "attackers"),
        ({"num_evaluations": 1}, "num_evaluations"),
        ({"first_step": 0.0}, "first_step"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    kind: type[OptimizedLittleIsEnough], parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        kind(**{"num_users": 12, "num_attackers": 2, **parameters})
