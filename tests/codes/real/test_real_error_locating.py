"""Real error-locating codes: construction, encoding, location, recovery, refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.codes.real.real_error_locating import RealErrorLocatingCode
from flower_coded.codes.real.staged_location import LocatorMatrix, locate_errors, robust_tolerance
from flower_coded.errors import DecodingError, ParameterError

CODES = [
    RealErrorLocatingCode(7, 2),
    RealErrorLocatingCode(8, 2, 1),
    RealErrorLocatingCode(15, 5),
    RealErrorLocatingCode(15, 5, 2),
    RealErrorLocatingCode(31, 15),
    RealErrorLocatingCode(9, 0, 4),
    RealErrorLocatingCode(7, 2, locator="vandermonde"),
    RealErrorLocatingCode(7, 2, locator="vandermonde", nodes=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)),
]
codes = pytest.mark.parametrize("code", CODES, ids=repr)
KINDS = ["gaussian", "huge", "tiny", "constant", "reversed", "proportional", "one block", "mixed sizes"]


def corrupt(words: np.ndarray, liars: np.ndarray, kind: str, generator: np.random.Generator) -> np.ndarray:
    spoilt, count = words.copy(), len(liars)
    noise = generator.standard_normal((count, words.shape[1]))
    scale = np.abs(words).max()
    if kind in ("gaussian", "huge", "tiny"):
        spoilt[liars] += {"gaussian": 1.0, "huge": 1e12, "tiny": 1e-3}[kind] * scale * noise
    elif kind == "constant":
        spoilt[liars] = 1.0
    elif kind == "reversed":
        spoilt[liars] *= -1.0
    elif kind == "proportional":
        spoilt[liars] += noise[:, :1] * noise[:1]
    elif kind == "one block":
        spoilt[liars, generator.integers(words.shape[1])] += 1.0 + np.abs(noise[:, 0])
    else:
        spoilt[liars] += noise * np.logspace(-3, 12, count)[:, None] * scale
    return spoilt


@codes
def test_generator__is_a_basis_of_the_null_space_with_plain_rows(code: RealErrorLocatingCode) -> None:
    assert np.abs(code.locator_matrix.check @ code.generator).max() < 1e-12
    np.testing.assert_array_equal(code.generator[code.systematic_workers], np.eye(code.block_size))
    # Sparse as the echelon form of the paper: one entry at each systematic worker, all q at the other k.
    assert np.count_nonzero(code.generator) <= code.block_size * (1 + code.num_checks)


def test_generator__has_any_q_rows_independent() -> None:
    code = RealErrorLocatingCode(8, 2, 1)
    smallest = min(
        np.linalg.svd(code.generator[list(rows)], compute_uv=False)[-1]
        for rows in itertools.combinations(range(8), code.block_size)
    )
    assert smallest > 0.05


@pytest.mark.parametrize("shape", [(15, 5), (31, 5), (31, 10), (51, 17)])
def test_generator__is_far_better_conditioned_than_with_the_last_workers_plain(
    shape: tuple[int, int],
) -> None:
    code = RealErrorLocatingCode(*shape)
    basis = np.linalg.svd(code.locator_matrix.check)[2][code.num_checks :].T
    last = basis @ np.linalg.inv(basis[-code.block_size :])
    generator = np.random.default_rng(0)
    ours, papers, orthonormal = [], [], []
    for _ in range(100):
        kept = generator.permutation(code.num_workers)[code.num_errors :]
        ours.append(code.condition(np.isin(np.arange(code.num_workers), kept, invert=True)))
        papers.append(np.linalg.cond(last[kept]))
        orthonormal.append(np.linalg.cond(basis[kept]))
    assert max(ours) < 5 * max(orthonormal)
    assert max(papers) > 20 * max(ours)


@codes
def test_encode__equals_the_paper_s_matrix_s_i_times_a(code: RealErrorLocatingCode) -> None:
    matrix = np.random.default_rng(0).standard_normal((2 * code.block_size + 1, 3))
    shares = code.encode(matrix)
    blocks = code.num_blocks(len(matrix))
    for worker in range(code.num_workers):
        # Equation (7): the worker's row of F_perp repeated along the diagonal, cut at the last row.
        encoding = np.kron(np.eye(blocks), code.generator[worker])[:, : len(matrix)]
        np.testing.assert_allclose(
            shares[worker], encoding @ matrix, atol=1e-12 * np.abs(code.generator).max()
        )


@codes
def test_encode_row__appends_to_the_encoding_from_scratch(code: RealErrorLocatingCode) -> None:
    matrix = np.random.default_rng(0).standard_normal((3 * code.block_size + 2, 4))
    shares = np.zeros((code.num_workers, code.num_blocks(len(matrix)), 4))
    for index, row in enumerate(matrix):
        block, additions = code.encode_row(index, row)
        touched = np.flatnonzero(additions.any(axis=1))
        assert len(touched) <= code.num_checks + 1
        shares[:, block] += additions
    scratch = code.encode(matrix)
    np.testing.assert_allclose(shares, scratch, atol=1e-12 * np.abs(scratch).max())


@codes
def test_decode__gives_the_product_of_honest_workers_and_names_nobody(code: RealErrorLocatingCode) -> None:
    generator = np.random.default_rng(0)
    matrix, vectors = generator.standard_normal((23, 4)), generator.standard_normal((4, 2))
    decoded = code.decode(code.encode(matrix) @ vectors, 23)
    np.testing.assert_allclose(decoded.values, matrix @ vectors, atol=1e-9)
    assert not decoded.location.dropped.any()
    assert decoded.location.residual <= 1


@settings(max_examples=60)
@given(
    num_workers=st.integers(3, 31),
    data=st.data(),
    kind=st.sampled_from(KINDS),
    num_rows=st.integers(1, 80),
    seed=st.integers(0, 2**32 - 1),
)
def test_decode__corrects_every_number_of_liars_and_stragglers_it_promises(
    num_workers: int, data: st.DataObject, kind: str, num_rows: int, seed: int
) -> None:
    num_errors = data.draw(st.integers(1, (num_workers - 1) // 2))
    num_erasures = data.draw(st.integers(0, num_workers - 2 * num_errors - 1))
    workers = data.draw(st.permutations(range(num_workers)))
    code = RealErrorLocatingCode(num_workers, num_errors, num_erasures)
    generator = np.random.default_rng(seed)
    truth = generator.standard_normal(num_rows)
    liars = np.array(workers[:num_errors])
    words = corrupt(code.encode(truth), liars, kind, generator)
    erased = np.isin(np.arange(num_workers), workers[num_errors : num_errors + num_erasures])
    words[erased] = np.nan
    before = words.copy()
    decoded = code.decode(words, num_rows, erased=erased)
    assert np.linalg.norm(decoded.values - truth) <= 1e-9 * np.linalg.norm(truth)
    assert set(np.flatnonzero(decoded.location.corrupt)) <= set(liars.tolist())
    if kind in ("gaussian", "huge", "tiny"):
        assert set(np.flatnonzero(decoded.location.corrupt)) == set(liars.tolist())
    np.testing.assert_array_equal(words, before)


def count_named(shape: tuple[int, int], kind: str, trials: int) -> int:
    code, generator, named = RealErrorLocatingCode(*shape), np.random.default_rng(0), 0
    for _ in range(trials):
        liars = np.sort(generator.permutation(code.num_workers)[: code.num_errors])
        words = corrupt(code.encode(generator.standard_normal(40 * code.block_size)), liars, kind, generator)
        named += np.array_equal(np.flatnonzero(code.locate(words).corrupt), liars)
    return named


@pytest.mark.parametrize("shape", [(15, 5), (31, 10), (31, 15), (51, 25)])
def test_locate__names_all_independent_liars(shape: tuple[int, int]) -> None:
    assert count_named(shape, "gaussian", 40) == 40
    assert count_named(shape, "proportional", 10) == 10


@pytest.mark.experiment
@pytest.mark.parametrize("shape", [(15, 5), (31, 10), (31, 15), (51, 25)])
def test_locate__names_all_independent_liars_in_999_of_1000_trials(shape: tuple[int, int]) -> None:
    assert count_named(shape, "gaussian", 2000) >= 1998


@pytest.mark.experiment
@pytest.mark.parametrize("kind", ["gaussian", "tiny", "huge", "proportional", "constant", "reversed"])
def test_decode__never_returns_a_wrong_product_with_one_liar_too_many(kind: str) -> None:
    code, generator, refused = RealErrorLocatingCode(15, 5), np.random.default_rng(0), 0
    for _ in range(2000):
        truth = generator.standard_normal(50)
        words = corrupt(code.encode(truth), generator.permutation(15)[:6], kind, generator)
        try:
            np.testing.assert_allclose(code.decode(words, 50).values, truth, atol=1e-9)
        except DecodingError:
            refused += 1
    assert refused > 1900


@pytest.mark.parametrize("kind", ["gaussian", "tiny", "proportional", "constant"])
def test_decode__refuses_one_liar_too_many(kind: str) -> None:
    code, generator = RealErrorLocatingCode(15, 5), np.random.default_rng(0)
    for _ in range(50):
        truth = generator.standard_normal(50)
        words = corrupt(code.encode(truth), generator.permutation(15)[:6], kind, generator)
        with pytest.raises(DecodingError, match="more workers deviate"):
            code.decode(words, 50)


@pytest.mark.parametrize("kind", KINDS)
def test_locate__names_liars_of_long_words_whether_they_lie_everywhere_or_once(kind: str) -> None:
    # 4,000 blocks: enough that evenly spread ones are looked at first, and one of odd number is not.
    code, generator = RealErrorLocatingCode(15, 5), np.random.default_rng(0)
    truth = generator.standard_normal(4000 * code.block_size)
    words = corrupt(code.encode(truth), np.array([2, 7, 9]), kind, generator)
    words[4, 1237] += 1.0
    words[11, 3] -= 5.0
    decoded = code.decode(words, len(truth))
    assert np.flatnonzero(decoded.location.corrupt).tolist() == [2, 4, 7, 9, 11]
    assert np.linalg.norm(decoded.values - truth) <= 1e-9 * np.linalg.norm(truth)


def test_decode__trades_a_missing_straggler_for_half_a_liar() -> None:
    # k = 2 * 2 + 2 = 6: three liars and nobody missing, or one liar and four missing.
    code, generator = RealErrorLocatingCode(9, 2, 2), np.random.default_rng(0)
    truth = generator.standard_normal(30)
    three = corrupt(code.encode(truth), np.array([0, 3, 5]), "gaussian", generator)
    assert np.flatnonzero(code.decode(three, 30).location.corrupt).tolist() == [0, 3, 5]
    one = corrupt(code.encode(truth), np.array([8]), "gaussian", generator)
    erased = np.isin(np.arange(9), [1, 2, 3, 4])
    assert np.flatnonzero(code.decode(one, 30, erased=erased).location.corrupt).tolist() == [8]
    with pytest.raises(DecodingError, match="too many workers are missing: received 2, needed 3"):
        code.decode(one, 30, erased=np.arange(9) < 7)


@pytest.mark.parametrize("sign", [1, -1])
def test_decode__corrects_liars_at_the_edge_of_overflow(sign: int) -> None:
    code, generator = RealErrorLocatingCode(15, 5), np.random.default_rng(0)
    truth = generator.standard_normal(40)
    words = code.encode(truth)
    words[[0, 3, 8]] = np.finfo(float).max * np.array([1, sign, sign])[:, None]
    words[[9, 11]] += 1e-3
    decoded = code.decode(words, 40)
    assert np.flatnonzero(decoded.location.corrupt).tolist() == [0, 3, 8, 9, 11]
    np.testing.assert_allclose(decoded.values, truth, atol=1e-12)


def test_decode__does_not_name_suspects_who_told_the_truth() -> None:
    code, generator = RealErrorLocatingCode(15, 5), np.random.default_rng(0)
    truth = generator.standard_normal(40)
    words = corrupt(code.encode(truth), np.array([2, 3]), "gaussian", generator)
    right = code.decode(words, 40, suspects=np.isin(np.arange(15), [2, 3, 9]))
    assert np.flatnonzero(right.location.corrupt).tolist() == [2, 3]
    assert right.location.num_stages == 0
    wrong = code.decode(words, 40, suspects=np.isin(np.arange(15), [2, 9]))
    assert np.flatnonzero(wrong.location.corrupt).tolist() == [2, 3]
    np.testing.assert_allclose(wrong.values, truth, atol=1e-12)


def test_decode__leaves_errors_below_the_tolerance_alone() -> None:
    code, generator = RealErrorLocatingCode(15, 5), np.random.default_rng(0)
    truth = generator.standard_normal(40)
    words = code.encode(truth)
    words[4] += 1e-7
    assert not code.decode(words, 40, tolerance=1e-6).location.corrupt.any()
    assert np.flatnonzero(code.decode(words, 40).location.corrupt).tolist() == [4]


def test_locate_single__agrees_with_the_paper_on_few_workers() -> None:
    generator = np.random.default_rng(0)
    for code in (RealErrorLocatingCode(15, 5), RealErrorLocatingCode(9, 3, locator="vandermonde")):
        liars = generator.permutation(code.num_workers)[: code.num_errors]
        words = corrupt(code.encode(generator.standard_normal(60)), liars, "gaussian", generator)
        assert np.flatnonzero(code.locate_single(words, generator)).tolist() == sorted(liars.tolist())
        assert not code.locate_single(code.encode(generator.standard_normal(60)), generator).any()


def test_locate_single__looks_past_erasures() -> None:
    code, generator = RealErrorLocatingCode(11, 3, 2), np.random.default_rng(0)
    words = corrupt(code.encode(generator.standard_normal(30)), np.array([1, 6, 7]), "gaussian", generator)
    erased = np.isin(np.arange(11), [0, 9])
    words[erased] = np.inf
    assert np.flatnonzero(code.locate_single(words, generator, erased=erased)).tolist() == [1, 6, 7]


def test_locate_errors__refuses_what_is_no_number() -> None:
    code = RealErrorLocatingCode(7, 2)
    words = code.encode(np.arange(9.0))
    words[3, 0] = np.nan
    with pytest.raises(ParameterError, match="must be finite where not erased"):
        code.locate(words)
    with pytest.raises(ParameterError, match="shape"):
        code.locate(words[:5])
    with pytest.raises(ParameterError, match="shape"):
        code.decode(words, num_rows=99)


def test_locate_errors__serves_a_complex_code_with_noise_of_a_known_size() -> None:
    # A (16, 8) DFT code with circular noise: four errors of 300 times the noise.
    nodes = np.exp(2j * np.pi * np.arange(16) / 16)
    locator = LocatorMatrix(nodes[None] ** np.arange(8)[:, None])
    generator = np.random.default_rng(0)
    noise = 0.01 * (generator.standard_normal((16, 50)) + 1j * generator.standard_normal((16, 50)))
    words = noise
    words[[1, 2, 9, 12]] += 3 * generator.standard_normal((4, 50))
    found = locate_errors(locator, words, tolerance=0.08, noise=0.015)
    assert np.flatnonzero(found.corrupt).tolist() == [1, 2, 9, 12]


def test_robust_tolerance__is_not_moved_by_a_minority() -> None:
    words = np.ones((9, 4))
    calm = robust_tolerance(words)
    words[:4] = 1e12
    assert robust_tolerance(words) == calm


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((6, 3), "num_workers must exceed 2 \\* num_errors \\+ num_erasures = 6"),
        ((6, 0), "at least 1"),
        ((6, -1), "num_errors must not be negative"),
        ((6, 1, 0, "fourier"), "'dft', 'vandermonde' or 'random'"),
        ((6, 1, 0, "random"), "secret must be given"),
        ((3, 1, 0, "vandermonde", (1.0, 2.0)), "must be 3 numbers"),
        ((3, 1, 0, "dft", (1.0, 2.0, 3.0)), "Vandermonde locator only"),
    ],
)
def test_parameters__are_refused_with_a_requirement(arguments: tuple, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        RealErrorLocatingCode(*arguments)


def test_nodes__must_be_distinct() -> None:
    code = RealErrorLocatingCode(3, 1, locator="vandermonde", nodes=(1.0, 1.0, 2.0))
    with pytest.raises(ParameterError, match="distinct"):
        _ = code.locator_matrix


@codes
def test_repr__rebuilds_the_code(code: RealErrorLocatingCode) -> None:
    assert eval(repr(code)) == code


@codes
def test_encode__refuses_a_matrix_that_is_empty_or_not_finite(code: RealErrorLocatingCode) -> None:
    for matrix in (np.zeros((0, 2)), np.array([[np.inf]])):
        with pytest.raises(ParameterError, match="matrix"):
            code.encode(matrix)
