"""DFT codes: syndromes, counting, the localizers, erasures, restriction, and the residual test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.codes.real.analog_lagrange import draw_complex_gaussian
from flower_coded.codes.real.dft_code import DFTCode
from flower_coded.codes.real.dft_correction import count_word_errors, erasure_filter, fit_errors
from flower_coded.errors import DecodingError, ParameterError

CODE = DFTCode(num_workers=31, dimension=15)
LOCALIZERS = ["independent", "joint", "average", "subspace"]


def corrupted(
    num_liars, repetitions=20, *, noise_std=1e-6, seed=0, scale=30.0, code=CODE, words=25, liars=None
):
    """Random words, errors of unit-variance-times-scale at random or given workers, precision noise."""
    generator = np.random.default_rng(seed)
    coefficients = generator.standard_normal((repetitions, code.dimension, words))
    sent = code.encode(coefficients)
    is_liar = np.zeros((repetitions, code.num_workers), bool)
    order = (
        generator.random(is_liar.shape).argsort(axis=1) if liars is None else np.array([liars] * repetitions)
    )
    np.put_along_axis(is_liar, order[:, :num_liars], values=True, axis=1)
    errors = scale * (1 + draw_complex_gaussian(sent.shape, generator)) * is_liar[..., None]
    return sent, sent + errors + noise_std * draw_complex_gaussian(sent.shape, generator), is_liar


def test_check_matrix__has_orthonormal_rows_and_annihilates_every_word() -> None:
    assert np.allclose(CODE.check_matrix @ CODE.check_matrix.conj().T, np.eye(16), atol=1e-12)
    sent, _, _ = corrupted(0)
    assert abs(CODE.syndromes(sent)).max() < 1e-12


def test_encode__evaluates_the_polynomial_at_the_workers_points() -> None:
    coefficients = np.arange(15.0)[:, None]
    point = np.exp(-2j * np.pi * 4 / 31)
    assert CODE.encode(coefficients)[4, 0] == pytest.approx(np.polyval(coefficients[::-1, 0], point))


@pytest.mark.parametrize("localizer", LOCALIZERS)
@pytest.mark.parametrize("num_liars", [0, 1, 3, 8])
def test_correct__removes_what_well_separated_liars_added(localizer, num_liars) -> None:
    liars = [0, 4, 8, 12, 16, 20, 24, 28]
    sent, received, is_liar = corrupted(num_liars, liars=liars)
    corrected = CODE.correct(received, noise_std=1e-6, localizer=localizer)
    assert np.array_equal(corrected.located, is_liar)
    assert corrected.is_trusted.all()
    assert abs(corrected.words - sent).max() < 1e-4


def test_correct__with_erasures_located_beside_them() -> None:
    # 2 A + s = 2 * 5 + 6 = 16 = N - K
    erased = np.isin(np.arange(31), [1, 6, 7, 13, 22, 30])
    for localizer in LOCALIZERS:
        sent, received, is_liar = corrupted(5, liars=[3, 10, 16, 19, 26])
        received[:, erased] = np.nan
        corrected = CODE.correct(received, noise_std=1e-6, localizer=localizer, erased=erased)
        assert np.array_equal(corrected.located, is_liar), localizer
        assert abs(corrected.words - sent).max() < 1e-3, localizer


def test_correct__looks_only_at_workers_that_may_lie() -> None:
    candidates = np.arange(31) < 12
    _, received, is_liar = corrupted(4, liars=[1, 4, 5, 11], noise_std=1.0, scale=3.0, repetitions=50)
    corrected = CODE.correct(
        received, noise_std=1.0, localizer="independent", num_errors=4, candidates=candidates
    )
    assert not corrected.located[:, ~candidates].any()
    restricted = CODE.correct(received, noise_std=1.0, candidates=candidates, num_errors=4)
    assert (restricted.located == is_liar).all(axis=1).mean() >= 0.9


@given(
    num_liars=st.integers(0, 4),
    num_erased=st.integers(0, 4),
    rank=st.integers(1, 3),
    exponent=st.integers(-3, 3),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25)
def test_decode__finds_any_liars_within_the_radius(num_liars, num_erased, rank, exponent, seed) -> None:
    generator = np.random.default_rng(seed)
    code = DFTCode(num_workers=19, dimension=7)  # 2 * 4 + 4 = 12 checks
    sent = code.encode(generator.standard_normal((7, 6)))
    places = generator.permutation(19)
    liars, erased = places[:num_liars], np.isin(np.arange(19), places[num_liars : num_liars + num_erased])
    mixing = draw_complex_gaussian((num_liars, rank), generator)
    received = sent + 1e-10 * draw_complex_gaussian(sent.shape, generator)
    received[liars] += 10.0**exponent * mixing @ draw_complex_gaussian((rank, 6), generator)
    received[erased] = np.inf
    decoded = code.decode(received, noise_std=1e-10, erased=erased)
    assert np.flatnonzero(decoded.located).tolist() == sorted(liars)
    assert np.allclose(decoded.words, sent, atol=1e-5)


def test_decode__finds_proportional_errors_of_v_colluders() -> None:
    sent, received, _ = corrupted(0, 1)
    liars = [2, 3, 9, 14, 15, 20, 27, 30]
    received = received[0]
    received[liars] += np.outer(np.arange(1, 9), np.arange(1, 26))
    decoded = CODE.decode(received, noise_std=1e-6)
    assert np.flatnonzero(decoded.located).tolist() == liars
    assert abs(decoded.words - sent[0]).max() < 1e-3


def test_decode__finds_a_small_error_behind_huge_ones() -> None:
    sent, received, _ = corrupted(0, 1, noise_std=1e-13)
    received = received[0]
    received[[3, 17]] += 1e12 * np.random.default_rng(0).standard_normal((2, 25))
    received[9] += 1e-3
    decoded = CODE.decode(received, noise_std=1e-13)
    assert np.flatnonzero(decoded.located).tolist() == [3, 9, 17]
    assert abs(decoded.words - sent[0]).max() < 1e-9


@pytest.mark.parametrize(("num_liars", "num_erased"), [(9, 0), (12, 0), (31, 0), (5, 7), (1, 15)])
def test_correct__says_beyond_the_radius_that_it_cannot_be_trusted(num_liars, num_erased) -> None:
    generator = np.random.default_rng(1)
    places = generator.permutation(31)
    erased = np.isin(np.arange(31), places[:num_erased])
    _, received, _ = corrupted(0, 200, noise_std=1e-3)
    liars = generator.permuted(np.tile(places[num_erased:], (200, 1)), axis=1)[:, :num_liars]
    errors = np.zeros_like(received)
    np.put_along_axis(
        errors, liars[..., None], 30 * draw_complex_gaussian((200, num_liars, 25), generator), 1
    )
    corrected = CODE.correct(received + errors, noise_std=1e-3, erased=erased)
    assert (~corrected.is_trusted).mean() >= 0.99


def test_correct__trusts_within_the_radius_as_often_as_it_says() -> None:
    _, received, is_liar = corrupted(4, 2000, noise_std=0.1, words=9)
    corrected = CODE.correct(received, noise_std=0.1, num_errors=4, significance=0.01)
    right = (corrected.located == is_liar).all(axis=1)
    assert right.mean() > 0.99
    # A chi-squared test at 1 %: 2000 draws, standard deviation 0.22 %.
    assert (~corrected.is_trusted[right]).mean() == pytest.approx(0.01, abs=0.01)


def test_decode__raises_beyond_the_radius() -> None:
    _, received, _ = corrupted(9, 1, noise_std=0.1)
    with pytest.raises(DecodingError):
        CODE.decode(received[0], noise_std=0.1)


def test_decode__raises_with_fewer_results_than_coefficients() -> None:
    with pytest.raises(DecodingError, match="received 14, needed 15"):
        CODE.decode(np.zeros((31, 2), complex), noise_std=1.0, erased=np.arange(31) >= 14)


def test_decode__raises_when_the_errors_point_at_reliable_workers() -> None:
    _, received, _ = corrupted(2, 1, liars=[20, 25])
    with pytest.raises(DecodingError):
        CODE.decode(received[0], noise_std=1e-6, candidates=np.arange(31) < 10)


def test_decode__takes_a_noise_level_for_each_word() -> None:
    sent, received, _ = corrupted(3, 1, liars=[1, 2, 3])
    factors = 10.0 ** np.arange(-6, 19)
    decoded = CODE.decode(received[0] * factors, noise_std=1e-6 * factors)
    assert np.flatnonzero(decoded.located).tolist() == [1, 2, 3]
    assert np.allclose(decoded.words / factors, sent[0], atol=1e-3)


def test_count_word_errors__counts_each_word_alone_and_ignores_noise() -> None:
    sent, received, _ = corrupted(3, 50, liars=[0, 10, 20], noise_std=0.01)
    received[:, 10, :5] = sent[:, 10, :5]
    counts = CODE.count_errors(received, noise_std=0.01)
    assert (counts[:, :5] == 2).mean() > 0.99
    assert (counts[:, 5:] == 3).mean() > 0.99
    assert count_word_errors(np.zeros((1, 4)), 1e-3).tolist() == [0, 0, 0, 0]


def test_erasure_filter__silences_erased_workers_and_keeps_powers_consecutive() -> None:
    erased = np.isin(np.arange(31), [4, 5, 19])
    filtered = erasure_filter(CODE.nodes, erased, 16) @ CODE.check_matrix
    assert abs(filtered[:, erased]).max() < 1e-12
    kept = filtered[:, ~erased]
    assert np.allclose(kept[1:] / kept[:-1], CODE.nodes[~erased])


def test_fit_errors__with_as_many_and_with_different_numbers_of_places_agree() -> None:
    _, received, is_liar = corrupted(4, 6)
    values = CODE.syndromes(received)
    errors, left = fit_errors(CODE.check_matrix, values, is_liar)
    for repetition in range(6):
        places = is_liar[repetition]
        expected = np.linalg.lstsq(CODE.check_matrix[:, places], values[repetition], rcond=None)[0]
        assert np.allclose(errors[repetition, places], expected, atol=1e-9)
        assert not errors[repetition, ~places].any()
    uneven = is_liar.copy()
    uneven[0] = False
    assert np.allclose(fit_errors(CODE.check_matrix, values, uneven)[0][1:], errors[1:], atol=1e-8)
    assert np.allclose(left, values - CODE.check_matrix @ errors)


@pytest.mark.parametrize("localizer", LOCALIZERS)
@pytest.mark.parametrize("num_errors", [5, None])
def test_correct__on_torch_gives_what_numpy_gives(localizer, num_errors) -> None:
    torch = pytest.importorskip("torch")
    _, received, _ = corrupted(5, 8, noise_std=1e-3)
    options = {"noise_std": 1e-3, "localizer": localizer, "num_errors": num_errors}
    expected = CODE.correct(received, **options)
    found = CODE.correct(torch.from_numpy(received), **options)
    assert np.array_equal(found.located_per_word.numpy(), expected.located_per_word)
    assert np.allclose(found.words.numpy(), expected.words, atol=1e-6)
    assert np.array_equal(found.is_trusted, expected.is_trusted)


def test_correct__on_a_gpu_gives_what_numpy_gives() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here; the same code is tested on the CPU")
    _, received, _ = corrupted(5, 8, noise_std=1e-3)
    expected = CODE.correct(received, noise_std=1e-3)
    found = CODE.correct(torch.from_numpy(received).cuda(), noise_std=1e-3)
    assert np.array_equal(found.located.cpu().numpy(), expected.located)
    assert np.allclose(found.words.cpu().numpy(), expected.words, atol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: DFTCode(5, 6),
        lambda: DFTCode(5, 0),
        lambda: CODE.encode(np.zeros((3, 2))),
        lambda: CODE.correct(np.zeros((30, 2)), noise_std=1.0),
        lambda: CODE.correct(np.full((31, 2), np.nan), noise_std=1.0),
        lambda: CODE.correct(np.zeros((31, 2)), noise_std=1.0, localizer="best"),
        lambda: CODE.correct(np.zeros((31, 2)), noise_std=1.0, num_errors=np.array([1, 2])),
    ],
)
def test_dft_code__refuses_what_does_not_fit(call) -> None:
    with pytest.raises(ParameterError):
        call()
