"""Coded products, messages, objectives, streaming and resources of encoded gradient descent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad

from flower_coded.codes import RealErrorLocatingCode
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.protocols.encoded_gradient import (
    Answer,
    Appended,
    EncodedGradientMaster,
    GrowingShare,
    LeastSquares,
    Logistic,
    Poisson,
    Product,
    Repetition,
    RobustCenter,
    answer,
    encode_matrix,
    encoded_resources,
    get_baseline,
    get_objective,
    get_step_size_rule,
    plain_resources,
    repetition_resources,
    smoothness,
)

CODE = RealErrorLocatingCode(9, 3, 1)


def data(num_rows: int = 40, num_columns: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((num_rows, num_columns)), generator.standard_normal(num_rows)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(-6, 6),
    spread=st.floats(0, 3),
    kind=st.sampled_from(["gaussian", "huge", "tiny", "constant", "reversed"]),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 12)),
    num_workers=st.integers(3, 31),
)
def test_gradient__is_exact_to_1e_9_with_all_liars_and_stragglers_and_any_scale_of_the_data(
    seed: int, scale: float, spread: float, kind: str, shape: tuple[int, int], num_workers: int
) -> None:
    generator = np.random.default_rng(seed)
    num_errors = int(generator.integers(1, (num_workers - 1) // 2 + 1))
    num_erasures = int(generator.integers(0, num_workers - 2 * num_errors))
    code = RealErrorLocatingCode(num_workers, num_errors, num_erasures)
    features = (
        10.0**scale * generator.standard_normal(shape) * 10.0 ** generator.uniform(-spread, spread, shape[1])
    )
    targets, weights = generator.standard_normal(shape[0]), generator.standard_normal(shape[1])
    master, shares = EncodedGradientMaster.begin(code, features, targets)
    order = generator.permutation(num_workers)
    liars, silent = order[:num_errors], set(order[num_errors : num_errors + num_erasures].tolist())

    def product(which: int, vector: np.ndarray) -> np.ndarray:
        answers = {share.worker: answer(share, Product(which, vector)).values for share in shares}
        size = max(np.abs(each).max() for each in answers.values())
        for liar in liars:
            noise = size * generator.standard_normal(answers[liar].shape)
            answers[liar] = {
                "gaussian": answers[liar] + noise,
                "huge": answers[liar] + 1e12 * noise,
                "tiny": answers[liar] + 1e-3 * noise,
                "constant": np.full_like(noise, size),
                "reversed": -answers[liar],
            }[kind]
        request = Product(which, vector)
        received = [Answer(*each) for each in answers.items() if each[0] not in silent]
        return master.decode(request, received).values

    differences = product(1, np.append(weights, 1.0))
    gradient = product(2, differences)
    expected = features.T @ (features @ weights - targets)
    error, length = np.linalg.norm(gradient - expected), np.linalg.norm(expected)
    # Where the sums cancel no float64 gradient is exact to 1e-9 of its length, only to that of its terms.
    terms = np.linalg.norm(np.abs(features).T @ (np.abs(features) @ np.abs(weights) + np.abs(targets)))
    assert error <= 1e-9 * (length if terms < 1e4 * length else terms)


def test_tolerance__follows_the_rows_of_each_block_and_the_vector() -> None:
    matrix = np.repeat([1.0, 1e6], 3)[:, None] * np.ones((6, 4))
    coded, _ = encode_matrix(RealErrorLocatingCode(5, 1), matrix, verification="code")
    tolerance = coded.tolerance(np.ones(4))
    np.testing.assert_allclose(tolerance[1] / tolerance[0], 1e6, rtol=1e-9)
    np.testing.assert_allclose(coded.tolerance(3 * np.ones(4)), 3 * tolerance)


def test_decode__accepts_a_product_that_cancels() -> None:
    # X^T r of residuals that are orthogonal to the data: the exact result is zero, the rounding is not.
    features, targets = data()
    weights = np.linalg.lstsq(features, targets, rcond=None)[0]
    master, shares = EncodedGradientMaster.begin(CODE, features, targets)
    request = Product(2, features @ weights - targets)
    decoded = master.decode(request, [answer(share, request) for share in shares])
    assert decoded.located == ()
    assert np.abs(decoded.values).max() < 1e-12


def test_decode__names_liars_refuses_malformed_and_takes_the_first_answer() -> None:
    features, targets = data()
    master, shares = EncodedGradientMaster.begin(CODE, features, targets)
    request = Product(1, np.ones(7))
    answers = [answer(share, request) for share in shares]
    answers[0] = Answer(0, answers[0].values + 5)
    answers[1] = Answer(1, answers[1].values.astype(np.float32))
    answers[2] = Answer(2, np.append(answers[2].values, 0))
    answers += [Answer(5, answers[5].values + 1), Answer(99, answers[5].values)]
    decoded = master.decode(request, answers)
    np.testing.assert_allclose(decoded.values, features.sum(axis=1) - targets, atol=1e-12)
    assert decoded.located == (0,)
    reasons = {each.worker: each.reason for each in decoded.refused}
    assert reasons == {1: "dtype float32 instead of float64", 2: "shape (21,) instead of (20,)"}
    with pytest.raises(
        DecodingError, match=r"more workers lie or are missing .*; wrong: \[\]: received 1, needed 2"
    ):
        master.decode(request, answers[5:6])


def test_append__equals_the_encoding_from_scratch() -> None:
    features, targets = data(53)
    start = 31
    master, shares = EncodedGradientMaster.begin(CODE, features[:start], targets[:start])
    growing = [GrowingShare(share) for share in shares]
    for first, last in ((31, 32), (32, 33), (33, 40), (40, 53)):
        points = master.append(features[first:last], targets[first:last])
        for worker, each in zip(growing, points, strict=True):
            worker.append(each)
        # 2 t + s parity workers are touched in the first matrix, and of the others those that hold the rows.
        num_plain = min(last - first, CODE.block_size)
        assert sum(each.rows.any() for each in points) == CODE.num_checks + num_plain
    for worker in growing:
        dealt = master.deal(worker.worker)
        np.testing.assert_allclose(worker.share.first, dealt.first, atol=1e-12)
        np.testing.assert_allclose(worker.share.second, dealt.second, atol=1e-12)
    request = Product(2, targets)
    answers = [answer(worker.share, request) for worker in growing]
    answers[4] = Answer(4, -answers[4].values)
    decoded = master.decode(request, answers)
    np.testing.assert_allclose(decoded.values, features.T @ targets, atol=1e-12)
    assert decoded.located == (4,)


def test_growing_share__refuses_a_point_that_is_not_next() -> None:
    _, shares = EncodedGradientMaster.begin(CODE, *data())
    growing = GrowingShare(shares[0])
    for worker, block in ((1, 20), (0, 22), (0, 3)):
        with pytest.raises(ParameterError, match="must be for worker 0"):
            growing.append(Appended(worker, block, np.zeros((1, 7)), np.zeros((3, 1))))


@pytest.mark.parametrize("objective", [LeastSquares(0.3), Logistic(0.3, num_free=1), Poisson(0.1)])
def test_gradient__is_the_derivative_of_the_value(objective: LeastSquares | Logistic | Poisson) -> None:
    features, targets = data()
    targets = np.abs(targets.round()) if isinstance(objective, Poisson) else (targets > 0).astype(float)

    def value(weights: np.ndarray) -> float:
        return objective.smooth_value(features @ weights, targets, weights)

    def gradient(weights: np.ndarray) -> np.ndarray:
        slopes = objective.slopes(features @ weights, targets)
        return objective.add_ridge(features.T @ slopes, weights)

    point = 0.3 * np.random.default_rng(1).standard_normal(6)
    assert check_grad(value, gradient, point) < 1e-4 * np.linalg.norm(gradient(point))


def test_proximal__shrinks_all_but_the_free_weights() -> None:
    objective = LeastSquares(lasso=2.0, num_free=1)
    assert objective.proximal(np.array([3.0, -0.5, 0.1]), 0.5).tolist() == [2.0, 0.0, 0.1]
    assert objective.value(np.zeros(1), np.zeros(1), np.array([1.0, -2.0, 9.0])) == 6.0


def test_storage__is_exactly_what_theorem_1_counts() -> None:
    for num_rows, num_columns in ((40, 6), (41, 7), (5, 1)):
        features, targets = data(num_rows, num_columns)
        _, shares = EncodedGradientMaster.begin(CODE, features, targets)
        expected = encoded_resources(CODE, num_rows, num_columns).storage_per_worker
        # p1 (d + 1) + p2 n with q = 9 - 7 = 2.
        by_hand = -(-num_rows // 2) * (num_columns + 1) + -(-num_columns // 2) * num_rows
        assert {share.num_numbers for share in shares} == {expected} == {by_hand}


def test_resources__grow_as_the_theorem_says() -> None:
    # t = m/3 is epsilon = 2: six times the data in total, where repetition stores 2 t + 1 = 11 times [X, y].
    counted = encoded_resources(RealErrorLocatingCode(15, 5), 20_000, 500)
    assert counted.storage_overhead(20_000, 500) == pytest.approx(6, rel=2e-3)
    assert counted.worker_per_iteration / plain_resources(
        15, 20_000, 500
    ).worker_per_iteration == pytest.approx(3, rel=2e-3)
    assert repetition_resources(11, 5, 20_000, 500).storage_overhead(20_000, 500) == pytest.approx(
        11, rel=3e-3
    )


def test_names__are_refused_with_the_choices() -> None:
    for make, valid in (
        (get_objective, "poisson"),
        (lambda name: get_step_size_rule(name, 1.0), "accelerated"),
    ):
        with pytest.raises(ParameterError, match=valid):
            make("none of these")
    with pytest.raises(ParameterError, match="repetition"):
        get_baseline("none of these", 1)
    with pytest.raises(ParameterError, match="krum"):
        RobustCenter("none of these")
    with pytest.raises(ParameterError, match="at least 11"):
        Repetition(5).groups(10)


def test_arguments__are_refused_with_a_requirement() -> None:
    features, targets = data()
    with pytest.raises(ParameterError, match="targets must have one entry per row"):
        EncodedGradientMaster.begin(CODE, features, targets[:-1])
    with pytest.raises(ParameterError, match="two axes"):
        encode_matrix(CODE, targets)
    with pytest.raises(ParameterError, match="0 or 1"):
        Logistic().check_targets(np.array([0.5]))
    with pytest.raises(ParameterError, match="not be negative"):
        Poisson().check_targets(np.array([-1.0]))
    with pytest.raises(ParameterError, match="ridge"):
        LeastSquares(ridge=-1)
    with pytest.raises(ParameterError, match="backtracking"):
        smoothness(Poisson(), features)
    with pytest.raises(ParameterError, match="positive"):
        get_step_size_rule("constant", 0.0)
    coded, _ = encode_matrix(CODE, features)
    with pytest.raises(ParameterError, match="rows"):
        coded.append_rows(np.ones((1, 9)))
    with pytest.raises(ParameterError, match="columns"):
        coded.append_columns(np.ones((9, 1)))
    _, shares = EncodedGradientMaster.begin(CODE, features, targets)
    with pytest.raises(ParameterError, match="which"):
        answer(shares[0], Product(3, np.ones(7)))
    with pytest.raises(ParameterError, match="vector"):
        answer(shares[0], Product(1, np.ones(8)))
