"""Encoding, reconstruction at the precision of float64, hiding noise, and the degree check."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.codes.real.analog_lagrange import (
    AnalogLagrangeCode,
    draw_complex_gaussian,
    relative_error,
    to_decibel,
    verify_degree,
)
from flower_coded.errors import DecodingError, ParameterError

PAPER = AnalogLagrangeCode(num_workers=31, num_blocks=5, num_colluders=3, degree=2, noise_scale=1e6)


def gram(matrices):
    return np.swapaxes(matrices, -1, -2) @ matrices


def test_dimension__is_that_of_the_papers_two_settings() -> None:
    # (k + t - 1) D + 1: 7 * 2 + 1 = 15 of Figures 2-4, 3 * 2 + 1 = 7 of Table II.
    assert (PAPER.dimension, PAPER.num_correctable) == (15, 8)
    small = AnalogLagrangeCode(num_workers=11, num_blocks=3, num_colluders=1)
    assert (small.dimension, small.num_correctable) == (7, 2)


def test_encoding_matrix__is_the_lagrange_basis_as_a_product_of_differences() -> None:
    points = PAPER.data_points
    for worker in (0, 7, 30):
        for index in range(8):
            others = np.delete(points, index)
            product = np.prod((PAPER.worker_points[worker] - others) / (points[index] - others))
            assert PAPER.encoding_matrix[worker, index] == pytest.approx(product, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("noise_scale", "decibel"), [(1.0, -138.0), (1e4, -65.0), (1e6, -25.0)])
def test_reconstruct__reaches_the_float64_level_of_the_specification(noise_scale, decibel) -> None:
    generator = np.random.default_rng(1)
    code = replace(PAPER, noise_scale=noise_scale)
    blocks = generator.standard_normal((50, 5, 20, 5))
    rebuilt = code.reconstruct(gram(code.encode(blocks, generator=generator)))
    error = relative_error(rebuilt, gram(blocks), num_axes=3).mean()
    assert to_decibel(error) == pytest.approx(decibel, abs=3.0)


@given(
    num_blocks=st.integers(1, 4),
    num_colluders=st.integers(0, 3),
    degree=st.integers(1, 3),
    spare=st.integers(0, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_k_results_rebuild_any_polynomial(num_blocks, num_colluders, degree, spare, seed) -> None:
    generator = np.random.default_rng(seed)
    needed = (num_blocks + num_colluders - 1) * degree + 1
    # A prime step spreads the points; radius 1.3 keeps data points off the unit circle.
    code = AnalogLagrangeCode(
        num_workers=max(needed + spare, 2),
        num_blocks=num_blocks,
        num_colluders=num_colluders,
        degree=degree,
        noise_scale=1.0,
        radius=1.3,
    )
    blocks = generator.standard_normal((num_blocks, 2, 3))
    shares = code.encode(blocks, generator=generator)
    present = np.ones(code.num_workers, bool)
    present[generator.permutation(code.num_workers)[: min(spare, 2)]] = False
    results = np.where(present[:, None, None], shares**degree, np.nan)
    assert np.allclose(code.reconstruct(results, present), blocks**degree, rtol=1e-4, atol=1e-4)


def test_encode__hides_nothing_without_colluders_and_something_with_them() -> None:
    open_code = AnalogLagrangeCode(num_workers=5, num_blocks=3, num_colluders=0, degree=1)
    blocks = np.zeros((3, 2, 2))
    assert not open_code.encode(blocks).any()
    assert PAPER.encode(np.zeros((5, 2, 2))).any()


def test_encode__draws_other_noise_every_time_from_the_system() -> None:
    blocks = np.zeros((5, 2, 2))
    assert not np.array_equal(PAPER.encode(blocks), PAPER.encode(blocks))


def test_draw_noise__has_standard_deviation_sigma_over_root_t() -> None:
    noise = PAPER.draw_noise((200, 100))
    assert noise.std() == pytest.approx(1e6 / np.sqrt(3), rel=0.02)
    # Circular: real and imaginary part are uncorrelated and equally large.
    assert abs((noise**2).mean()) < 0.02 * (abs(noise) ** 2).mean()


def test_draw_complex_gaussian__from_a_generator_repeats() -> None:
    first, second = (draw_complex_gaussian((4, 2), np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape == (4, 2)


def test_encode__runs_on_torch_and_agrees() -> None:
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    blocks, noise = generator.standard_normal((5, 6, 4)), PAPER.draw_noise((6, 4), generator)
    expected = PAPER.encode(blocks, noise)
    shares = PAPER.encode(torch.from_numpy(blocks), torch.from_numpy(noise))
    assert np.allclose(shares.numpy(), expected, rtol=1e-12)
    rebuilt = PAPER.reconstruct(shares.swapaxes(-1, -2) @ shares)
    assert np.allclose(rebuilt.numpy(), PAPER.reconstruct(gram(expected)), rtol=1e-3, atol=1.0)


def test_reconstruct__refuses_fewer_results_than_it_needs() -> None:
    present = np.arange(31) < 14
    with pytest.raises(DecodingError, match="received 14, needed 15"):
        PAPER.reconstruct(np.zeros((31, 5, 5), complex), present)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"num_workers": 14}, "num_workers"),
        ({"num_blocks": 0}, "num_blocks"),
        ({"num_colluders": -1}, "num_colluders"),
        ({"degree": 0}, "degree"),
        ({"noise_scale": 0.0}, "noise_scale"),
        ({"radius": float("nan")}, "radius"),
        ({"radius": 1.0}, "radius"),  # β = 1: the first data point is the first worker's point
    ],
)
def test_code__refuses_parameters_out_of_range(change, name) -> None:
    with pytest.raises(ParameterError) as caught:
        replace(PAPER, **change)
    assert caught.value.name == name


@pytest.mark.parametrize(
    "blocks", [np.zeros((4, 2, 2)), np.zeros((5, 2)), np.full((5, 2, 2), np.nan)], ids=["k", "axes", "nan"]
)
def test_encode__refuses_blocks_that_do_not_fit(blocks) -> None:
    with pytest.raises(ParameterError):
        PAPER.encode(blocks)


def test_encode__refuses_noise_of_another_shape() -> None:
    with pytest.raises(ParameterError):
        PAPER.encode(np.zeros((5, 2, 2)), np.zeros((2, 2, 2), complex))


@pytest.mark.parametrize(
    ("function", "degree"),
    [
        (gram, 2),
        (lambda x: x @ np.swapaxes(x, -1, -2) @ x, 3),
        (lambda x: 3.0 + 0 * x, 0),
        (lambda x: x * x - x + 1, 2),
    ],
)
def test_verify_degree__accepts_polynomials_and_names_a_degree_too_small(function, degree) -> None:
    verify_degree(function, (4, 3), degree)
    if degree:
        with pytest.raises(ParameterError, match="function"):
            verify_degree(function, (4, 3), degree - 1)


@pytest.mark.parametrize("function", [abs, np.conj, np.reciprocal, np.exp])
def test_verify_degree__refuses_what_is_no_polynomial(function) -> None:
    with pytest.raises(ParameterError):
        verify_degree(function, (2, 2), 3)


def test_noise__is_drawn_in_little_more_memory_than_it_takes() -> None:
    code = AnalogLagrangeCode(num_workers=31, num_blocks=1, num_colluders=4, noise_scale=10.0)
    tracemalloc.start()
    try:
        noise = code.draw_noise((2000, 50))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < noise.nbytes + 2**23
    assert abs(float(noise.std()) / 5.0 - 1) < 0.02
