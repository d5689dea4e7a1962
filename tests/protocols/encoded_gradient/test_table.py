"""Tables of every kind, scaled without changing the objective, dealt share by share in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from flower_coded.attacks.worker_errors import Proportional, Scaled
from flower_coded.codes import RealErrorLocatingCode
from flower_coded.errors import ParameterError
from flower_coded.protocols.encoded_gradient import (
    AcceleratedStep,
    ConstantStep,
    EncodedGradientMaster,
    Faults,
    LeastSquares,
    Logistic,
    Product,
    StochasticStep,
    Table,
    answer,
    run_encoded,
    set_up_descent,
    smoothness,
)

CODE = RealErrorLocatingCode(9, 3, 1)
LIARS = dict.fromkeys((0, 2, 3, 5, 6, 8), Scaled())
COUNTS = np.random.default_rng(0).integers(0, 200, (40, 5))


class Frame:
    """What a pandas frame offers, as far as we look: rows by position, and its numbers."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.iloc = values, values.shape, self

    def __getitem__(self, rows: slice) -> Frame:
        return Frame(self.values[rows])

    def to_numpy(self) -> np.ndarray:
        return self.values


KINDS = {
    "float64": COUNTS.astype(np.float64),
    "float32": COUNTS.astype(np.float32),
    "int64": COUNTS,
    "uint8": COUNTS.astype(np.uint8),
    "list": COUNTS.tolist(),
    "sparse": scipy.sparse.coo_array(COUNTS),
    "frame": Frame(COUNTS),
    "torch": torch.tensor(COUNTS, dtype=torch.float32),
    "fortran": np.asfortranarray(COUNTS, dtype=np.float64),
}


@pytest.mark.parametrize("kind", KINDS)
def test_table__takes_what_a_user_has(kind: str) -> None:
    targets = (COUNTS.sum(axis=1) % 250).astype(np.uint8)  # -y of unsigned numbers wraps around
    master, shares = EncodedGradientMaster.begin(CODE, KINDS[kind], targets)
    product = Product(1, np.ones(6))
    values = master.decode(product, [answer(share, product) for share in shares]).values
    np.testing.assert_allclose(values, COUNTS.sum(axis=1) - targets.astype(float), atol=1e-9)


def test_table__takes_booleans_on_both_sides() -> None:
    features = COUNTS > 100
    master, shares = EncodedGradientMaster.begin(CODE, features, features[:, 0])
    product = Product(1, np.ones(6))
    values = master.decode(product, [answer(share, product) for share in shares]).values
    np.testing.assert_allclose(values, features.sum(axis=1) - features[:, 0].astype(float), atol=1e-12)


@pytest.mark.parametrize(
    ("features", "targets", "name"),
    [
        (np.array([[np.nan, 1.0]]), [1.0], "features"),
        (np.array([["a", "b"]]), [1.0], "features"),
        (COUNTS * 1j, np.ones(40), "features"),
        (COUNTS, np.full(40, np.inf), "targets"),
        (COUNTS, np.ones(39), "targets"),
        (COUNTS[0], np.ones(5), "features"),
        (COUNTS, ["x"] * 40, "targets"),
    ],
)
def test_table__refuses_the_rest_by_name(features: object, targets: object, name: str) -> None:
    with pytest.raises(ParameterError, match=f"^{name} must"):
        Table(features, targets)


def test_scaling__finds_the_user_s_own_optimum_of_columns_from_1e_minus_8_to_1e_8() -> None:
    generator = np.random.default_rng(1)
    features = generator.gamma(2.0, 1.0, (300, 8)) * 10.0 ** np.linspace(-8, 8, 8)
    targets = features @ (1 / features.std(axis=0)) + generator.standard_normal(300)
    with_ones = np.column_stack([features, np.ones(300)])
    for ridge in (0.0, 3.0):
        descent = run_encoded(
            CODE,
            with_ones,
            targets,
            objective=LeastSquares(ridge=ridge, num_free=1),
            step_size_rule=AcceleratedStep(),
            num_iterations=150,
            faults=Faults(LIARS),
        )
        model = (Ridge(alpha=ridge, solver="cholesky") if ridge else LinearRegression()).fit(
            features / features.std(axis=0), targets
        )
        if not ridge:  # scikit-learn's own optimum of a ridge on these raw columns is not accurate
            expected = model.predict(features / features.std(axis=0))
            error = with_ones @ descent.weights[-1] - expected
            assert np.linalg.norm(error) <= 1e-6 * np.linalg.norm(expected)
        else:
            gram = with_ones.T @ with_ones + np.diag([ridge] * 8 + [0.0])
            gradient = gram @ descent.weights[-1] - with_ones.T @ targets
            assert (np.abs(gradient) <= 1e-6 * np.abs(with_ones.T @ targets)).all()


def test_scaling__leaves_logistic_regression_with_a_ridge_as_scikit_learn_has_it() -> None:
    features, targets = load_diabetes(return_X_y=True, scaled=False)
    labels = targets > 140
    model = LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-12, max_iter=500).fit(features, labels)
    descent = run_encoded(
        CODE,
        np.column_stack([features, np.ones(len(features))]),
        labels,
        objective=Logistic(ridge=2.0, num_free=1),
        step_size_rule=AcceleratedStep(),
        num_iterations=400,
        faults=Faults(dict.fromkeys(LIARS, Proportional())),
    )
    expected = np.append(model.coef_[0], model.intercept_)
    np.testing.assert_allclose(descent.weights[-1], expected, rtol=0, atol=1e-6 * np.linalg.norm(expected))


def test_scaling__goes_there_and_back() -> None:
    table = Table(np.column_stack([COUNTS * [1e-8, 1, 1e8, 3, 7], np.ones(40)]), np.ones(40))
    table.rescale(LeastSquares(num_free=1))
    weights = np.array([1e8, 2.0, 3e-8, 4.0, 5.0, 6.0])
    np.testing.assert_allclose(
        table.scaling.to_original(table.scaling.to_scaled(weights)), weights, rtol=1e-12
    )
    [(_, scaled)] = table.chunks()
    np.testing.assert_allclose(np.linalg.norm(scaled[:, :5], axis=0), 1.0)
    np.testing.assert_allclose(scaled[:, :5].sum(axis=0), 0.0, atol=1e-12)


def test_smoothness__is_that_of_the_scaled_table() -> None:
    generator = np.random.default_rng(2)
    table, objective = Table(generator.standard_normal((50, 6)), np.ones(50)), LeastSquares(ridge=0.5)
    exact = smoothness(objective, next(iter(table.chunks()))[1])
    assert table.smoothness(objective) == pytest.approx(exact, rel=2e-3)
    scaled, rule = set_up_descent(table, objective, AcceleratedStep())
    [(_, rows)] = table.chunks()
    hessian = rows.T @ rows + np.diag(0.5 / scaled.scale**2)
    assert 1 / rule.step_size == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=2e-3)


def test_step__that_would_diverge_is_refused() -> None:
    limit = 2 / smoothness(LeastSquares(), COUNTS.astype(float))
    set_up_descent(Table(COUNTS, np.ones(40)), LeastSquares(), ConstantStep(0.99 * limit))
    with pytest.raises(ParameterError, match="leave it out"):
        set_up_descent(Table(COUNTS, np.ones(40)), LeastSquares(), ConstantStep(1.1 * limit))
    with pytest.raises(ParameterError, match="must be at most"):
        set_up_descent(Table(COUNTS, np.ones(40)), LeastSquares(), AcceleratedStep(0.9 * limit))


def test_mini_batches__approach_the_optimum_and_each_is_verified() -> None:
    features, targets = load_diabetes(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    features, targets = np.column_stack([features, np.ones(len(targets))])[order], targets[order]
    descent = run_encoded(
        CODE,
        features,
        targets,
        objective=LeastSquares(ridge=1.0, num_free=1),
        step_size_rule=StochasticStep(num_batches=5),
        num_iterations=300,
        faults=Faults(LIARS),
    )
    optimum = np.append(
        *[getattr(Ridge(alpha=1.0).fit(features[:, :-1], targets), n) for n in ("coef_", "intercept_")]
    )
    assert descent.distances(optimum)[-1] < 0.02 * descent.distances(optimum)[0]
    assert all(each.located == tuple(sorted(LIARS)) for rounds in descent.rounds for each in rounds)
    with pytest.raises(ParameterError, match="num_batches"):
        EncodedGradientMaster.begin(CODE, features, targets, num_batches=1000)


def test_mini_batches__add_up_to_the_whole_gradient_also_after_an_append() -> None:
    generator = np.random.default_rng(4)
    features, targets = generator.standard_normal((41, 5)), generator.standard_normal(41)
    master = EncodedGradientMaster(CODE, Table(features[:30], targets[:30]), num_batches=3)
    master.append(features[30:], targets[30:])
    shares, total = [master.deal(worker) for worker in range(9)], np.zeros(5)
    for batch, (rows, blocks) in enumerate(master.batches):
        first = Product(1, np.ones(6), *blocks, batch)
        answers = [answer(share, first) for share in shares]
        differences = master.decode(first, answers).values
        part = slice(*rows)
        np.testing.assert_allclose(differences, features[part].sum(axis=1) - targets[part], atol=1e-12)
        second = Product(2, differences, *rows, batch)
        total += master.decode(second, [answer(share, second) for share in shares]).values
    np.testing.assert_allclose(total, features.T @ (features.sum(axis=1) - targets), atol=1e-12)


def test_float32_shares__halve_the_numbers_and_keep_six_digits() -> None:
    generator = np.random.default_rng(5)
    features, targets = generator.standard_normal((60, 6)), generator.standard_normal(60)
    master, shares = EncodedGradientMaster.begin(
        CODE, features, targets, precision="float32", accuracy=0.05, random=generator
    )
    assert shares[0].first.dtype == shares[0].second.dtype == np.float32
    for which, vector, exact in (
        (1, np.ones(7), features.sum(axis=1) - targets),
        (2, targets, features.T @ targets),
    ):
        product = Product(which, vector)
        answers = [answer(share, product) for share in shares]
        assert answers[0].values.dtype == np.float32
        answers[4].values[:] *= -1
        decoded = master.decode(product, answers)
        assert decoded.located == (4,)
        assert np.linalg.norm(decoded.values - exact) <= min(
            decoded.error_bound, 1e-5 * np.linalg.norm(exact)
        )
    with pytest.raises(ParameterError, match="must be between 0 and 1, and at least"):
        EncodedGradientMaster.begin(CODE, features, targets, precision="float32")


def test_torch__encodes_and_multiplies_to_the_same_results() -> None:
    from flower_coded.protocols.encoded_gradient import Share

    generator = np.random.default_rng(6)
    features, targets = generator.standard_normal((700, 6)), generator.standard_normal(700)
    master = EncodedGradientMaster(CODE, Table(features, targets), device="cpu")
    plain = EncodedGradientMaster(master.code, Table(features, targets))
    for worker in range(9):
        ours, theirs = master.deal(worker), plain.deal(worker)
        np.testing.assert_allclose(ours.first, theirs.first, atol=1e-13)
        moved = Share(worker, torch.from_numpy(ours.first), torch.from_numpy(ours.second))
        for which, vector in ((1, np.ones(7)), (2, targets)):
            product = Product(which, vector)
            np.testing.assert_allclose(
                answer(moved, product).values, answer(theirs, product).values, atol=1e-11
            )


@pytest.mark.parametrize("is_mapped", [False, True])
def test_dealing__takes_the_memory_of_one_share_beside_the_table(tmp_path: Path, is_mapped: bool) -> None:
    generator = np.random.default_rng(7)
    features, targets = generator.standard_normal((8000, 200)), generator.standard_normal(8000)
    if is_mapped:
        np.save(tmp_path / "table.npy", features)
        features = np.load(tmp_path / "table.npy", mmap_mode="r")
    table_size, share_size = 8 * features.size, 0
    tracemalloc.start()
    master = EncodedGradientMaster(RealErrorLocatingCode(15, 5), Table(features, targets))
    for worker in range(3):
        share = master.deal(worker)
        share_size = 8 * share.num_numbers
        del share
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Beside the table itself (which a map does not load): a share, the keys, and a few chunks of 4 MB.
    assert peak <= share_size + 0.25 * table_size + 24e6
    assert peak + (0 if is_mapped else table_size) <= 2 * table_size + share_size


@pytest.mark.experiment
@pytest.mark.parametrize("num_rows", [500, 5000, 20_000])
def test_held_out_tables__give_scikit_learn_s_optimum_to_1e_6_with_ten_liars_of_fifteen(
    num_rows: int,
) -> None:
    generator = np.random.default_rng(num_rows)
    mixing = generator.standard_normal((9, 9)) + 2 * np.eye(9)
    features = (generator.gamma(1.5, 1.0, (num_rows, 9)) + 3.0) @ mixing * 10.0 ** np.linspace(-8, 8, 9)
    features[:, 4] = np.rint(features[:, 4]) % 2  # a flag among the measurements
    targets = features @ (generator.standard_normal(9) / features.std(axis=0)) + generator.standard_normal(
        num_rows
    )
    spread = features.std(axis=0)
    model = LinearRegression().fit((features - features.mean(axis=0)) / spread, targets)
    descent = run_encoded(
        RealErrorLocatingCode(15, 5),
        np.column_stack([features, np.ones(num_rows)]),
        targets,
        objective=LeastSquares(num_free=1),
        step_size_rule=AcceleratedStep(),
        num_iterations=400,
        faults=Faults(dict.fromkeys(range(10), Proportional())),
    )
    error = np.linalg.norm(descent.weights[-1][:-1] * spread - model.coef_) / np.linalg.norm(model.coef_)
    print(f"{num_rows} rows: relative error of the coefficients {error:.1e}")
    assert error <= 1e-6
