"""The leakage bound: covariance against samples, monotone in the noise, choice of noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flower_coded.codes.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.analog_privacy import (
    colluder_covariance,
    leakage_bits,
    noise_scale_for,
    worst_leakage,
)
from flower_coded.errors import ParameterError

CODE = AnalogLagrangeCode(num_workers=31, num_blocks=5, num_colluders=3, noise_scale=7.0)
WORKERS = np.array([7, 8, 9])


def held_by(workers, data_scale, num_samples=200_000):
    """What workers hold at independent matrix positions, from the encoder itself; shape (s, samples)."""
    generator = np.random.default_rng(5)
    blocks = data_scale * generator.standard_normal((5, 1, num_samples))
    return CODE.encode(blocks, generator=generator)[workers, 0]


@pytest.mark.parametrize("data_scale", [0.0, 2.0])
def test_colluder_covariance__is_that_of_samples_from_the_encoder(data_scale) -> None:
    samples = held_by(WORKERS, data_scale)
    sampled = samples @ samples.conj().T / samples.shape[1]
    expected = colluder_covariance(CODE, WORKERS, data_power=data_scale**2)
    assert np.allclose(sampled, expected, atol=0.01 * abs(expected).max())


def test_leakage_bits__is_what_sampled_gaussian_data_tell() -> None:
    """Uncorrelated Gaussian data reach the bound: I = h(u) - h(u | x), from two sampled covariances."""

    def log_det(samples: np.ndarray) -> float:
        stacked = np.concatenate([samples.real, samples.imag])
        return float(np.linalg.slogdet(stacked @ stacked.T / samples.shape[1])[1])

    sampled_bits = (log_det(held_by(WORKERS, 2.0)) - log_det(held_by(WORKERS, 0.0))) / (2 * np.log(2))
    bound = leakage_bits(CODE, WORKERS, data_bound=2.0, are_blocks_uncorrelated=True)
    assert sampled_bits == pytest.approx(float(bound), rel=0.01)


def test_leakage_bits__holds_for_equal_blocks_where_the_uncorrelated_form_does_not() -> None:
    """All blocks equal: x = c (1, ..., 1) with covariance r² 11ᵀ, whose largest eigenvalue is k r²."""
    rows = CODE.encoding_matrix[WORKERS]
    signal, noise = rows[:, :5].sum(axis=1), rows[:, 5:]
    stacked = np.concatenate([signal.real, signal.imag])
    covariance = 49.0 / 3 * noise @ noise.conj().T
    real = 0.5 * np.block([[covariance.real, -covariance.imag], [covariance.imag, covariance.real]])
    exact = 0.5 * np.log2(1 + stacked @ np.linalg.solve(real, stacked))
    assert exact <= leakage_bits(CODE, WORKERS, data_bound=1.0)


def test_leakage_bits__of_complex_data_is_larger_than_of_real_data() -> None:
    real = leakage_bits(CODE, WORKERS, data_bound=1.0)
    assert real < leakage_bits(CODE, WORKERS, data_bound=1.0, is_data_real=False)


def test_leakage_bits__grows_with_the_set_of_colluders() -> None:
    one, two, three = (leakage_bits(CODE, WORKERS[:size], data_bound=1.0) for size in (1, 2, 3))
    assert 0 < one < two < three


def test_leakage_bits__of_several_sets_is_that_of_each() -> None:
    sets = np.array([[0, 1, 2], [7, 8, 9], [3, 14, 25]])
    together = leakage_bits(CODE, sets, data_bound=1.0)
    assert together.tolist() == [float(leakage_bits(CODE, one, data_bound=1.0)) for one in sets]


def test_worst_leakage__is_at_least_every_set_and_reached_by_the_one_it_names() -> None:
    worst = worst_leakage(CODE, data_bound=1.0)
    generator = np.random.default_rng(0)
    sets = np.array([generator.permutation(31)[:3] for _ in range(200)])
    assert leakage_bits(CODE, sets, data_bound=1.0).max() <= worst.bits
    assert leakage_bits(CODE, np.array(worst.workers), data_bound=1.0) == pytest.approx(worst.bits)


def test_noise_scale_for__is_the_smallest_that_keeps_the_promise() -> None:
    scale = noise_scale_for(CODE, 1e-3, data_bound=1.0)
    assert worst_leakage(replace(CODE, noise_scale=scale), data_bound=1.0).bits <= 1e-3
    assert worst_leakage(replace(CODE, noise_scale=0.99 * scale), data_bound=1.0).bits > 1e-3


@pytest.mark.parametrize(
    "call",
    [
        lambda: leakage_bits(replace(CODE, num_colluders=0), WORKERS, data_bound=1.0),
        lambda: leakage_bits(CODE, np.arange(4), data_bound=1.0),
        lambda: noise_scale_for(CODE, 0.0, data_bound=1.0),
        lambda: noise_scale_for(CODE, 1e-40, data_bound=1.0),
        lambda: worst_leakage(replace(CODE, num_workers=200, num_colluders=9), data_bound=1.0),
    ],
    ids=["nothing-hidden", "too-many", "zero-bits", "unreachable", "too-many-sets"],
)
def test_privacy__refuses_what_it_cannot_bound(call) -> None:
    with pytest.raises(ParameterError):
        call()
