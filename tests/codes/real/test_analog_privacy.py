"""The leakage bound: covariance against samples, monotone in the noise, choice of noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.real.analog_privacy import (
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


@pytest.mark.parametrize(
    ("num_curious", "num_liars"), [(3, 0), (1, 2), (3, 2)], ids=["curious", "liars-among-them", "both"]
)
@pytest.mark.parametrize("num_blocks", [1, 2])
def test_leakage_bits__is_what_all_who_may_pool_learn_from_sampled_gaussian_data(
    num_curious, num_liars, num_blocks
) -> None:
    """Uncorrelated Gaussian data reach the bound: I = h(u) - h(u | x), from two sampled covariances.

    Who may pool is counted with the liars; the code's ``t`` is their number.
    """
    num_pooling = num_curious + num_liars
    code = AnalogLagrangeCode(15, num_blocks, num_pooling, noise_scale=20.0, radius=1.5)
    workers = np.sort(np.random.default_rng(num_pooling).permutation(15)[:num_pooling])

    def log_det(data_scale: float) -> float:
        generator = np.random.default_rng(5)
        blocks = data_scale * generator.standard_normal((num_blocks, 1, 200_000))
        held = code.encode(blocks, generator=generator)[workers, 0]
        stacked = np.concatenate([held.real, held.imag])
        return float(np.linalg.slogdet(stacked @ stacked.T / held.shape[1])[1])

    sampled_bits = (log_det(2.0) - log_det(0.0)) / (2 * np.log(2))
    bound = leakage_bits(code, workers, data_bound=2.0, are_blocks_uncorrelated=True)
    assert sampled_bits == pytest.approx(float(bound), rel=0.02, abs=2e-3)
    assert sampled_bits <= worst_leakage(code, data_bound=2.0).bits + 2e-3


def solved_by_pooling(code: AnalogLagrangeCode, blocks: np.ndarray, workers: np.ndarray) -> np.ndarray:
    """What workers who pool their shares solve for: real data, or complex, and complex noise."""
    shares = code.encode(blocks, generator=np.random.default_rng(1))[workers].reshape(len(workers), -1)
    rows = code.encoding_matrix[workers]
    unknown_is_real = np.arange(rows.shape[1]) < (code.num_blocks if not np.iscomplexobj(blocks) else 0)
    parts = [rows, 1j * rows[:, ~unknown_is_real]]
    system = np.concatenate(parts, axis=1)
    real_system = np.concatenate([system.real, system.imag])
    solution = np.linalg.lstsq(real_system, np.concatenate([shares.real, shares.imag]), rcond=None)[0]
    found = solution[: code.num_blocks] + 0j
    if np.iscomplexobj(blocks):
        found = found + 1j * solution[rows.shape[1] : rows.shape[1] + code.num_blocks]
    return found.reshape(blocks.shape)


@pytest.mark.parametrize(("num_blocks", "num_colluders"), [(1, 3), (2, 3), (3, 2), (4, 2), (5, 1)])
def test_privacy_cliff__is_where_pooled_shares_give_the_whole_table(num_blocks, num_colluders) -> None:
    """One share more than allowed leaks exactly; t + ceil(k/2) are the table, whatever the noise."""
    code = AnalogLagrangeCode(31, num_blocks, num_colluders, noise_scale=1e3, radius=1.5)
    blocks = np.random.default_rng(0).uniform(-1, 1, (num_blocks, 6, 4))
    workers = np.random.default_rng(2).permutation(31)
    assert code.privacy_cliff == num_colluders + -(-num_blocks // 2)
    recovered = solved_by_pooling(code, blocks, workers[: code.privacy_cliff])
    assert np.allclose(recovered, blocks, atol=1e-6)
    allowed = solved_by_pooling(code, blocks, workers[:num_colluders])
    assert abs(allowed - blocks).max() > 0.5
    if code.privacy_cliff > num_colluders + 1:
        between = solved_by_pooling(code, blocks, workers[: code.privacy_cliff - 1])
        assert abs(between - blocks).max() > 0.1


def test_privacy_cliff__of_packed_data_is_farther() -> None:
    code = AnalogLagrangeCode(31, 2, 3, noise_scale=1e3, radius=1.5)
    generator = np.random.default_rng(0)
    blocks = generator.uniform(-1, 1, (2, 6, 4)) + 1j * generator.uniform(-1, 1, (2, 6, 4))
    assert np.allclose(solved_by_pooling(code, blocks, np.arange(5) * 6), blocks, atol=1e-6)
    assert abs(solved_by_pooling(code, blocks, np.arange(4) * 6) - blocks).max() > 0.1


def test_check_pooling__counts_liars_among_those_who_may_pool() -> None:
    code = AnalogLagrangeCode(31, 2, 3)
    code.check_pooling(3)
    with pytest.raises(ParameterError, match="4 shares leak exactly, 4 give the whole table"):
        code.check_pooling(8)


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
