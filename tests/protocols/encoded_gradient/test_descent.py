"""Whole descents in one process: attack-free, under every attack, past the radius, and the baselines."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, PoissonRegressor, Ridge

from flower_coded.attacks.worker_errors import WORKER_ERRORS, Gaussian, Proportional, Scaled, get_worker_error
from flower_coded.codes import RealErrorLocatingCode
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.protocols.encoded_gradient import (
    AcceleratedStep,
    BacktrackingStep,
    ConstantStep,
    Descent,
    Faults,
    LeastSquares,
    Logistic,
    Objective,
    Poisson,
    StepSizeRule,
    get_baseline,
    run_baseline,
    run_encoded,
    smoothness,
)

CODE = RealErrorLocatingCode(15, 5, 2)
LIARS, STRAGGLERS = (0, 3, 7, 11, 14), frozenset({5, 6})
MALFORMED = {"nan", "infinity", "wrong-shape", "silence", "late"}


def standardized(features: np.ndarray) -> np.ndarray:
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    return np.column_stack([scaled, np.ones(len(scaled))])


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    features, targets = load_diabetes(return_X_y=True)
    return standardized(features), targets


def run(
    objective: Objective,
    rule: StepSizeRule,
    count: int,
    attack: str | None = None,
    verification: str = "keys",
) -> Descent:
    features, targets = diabetes()
    if isinstance(objective, Logistic):
        targets = (targets > 140).astype(float)
    faults = Faults()
    if attack is not None:
        faults = Faults(dict.fromkeys(LIARS, get_worker_error(attack)), STRAGGLERS, seed=1)
    return run_encoded(
        CODE,
        features,
        targets,
        objective=objective,
        step_size_rule=rule,
        num_iterations=count,
        faults=faults,
        verification=verification,
    )


@pytest.mark.parametrize("verification", ["keys", "code"])
@pytest.mark.parametrize("attack", WORKER_ERRORS)
def test_iterates__equal_the_attack_free_ones_under_every_attack(attack: str, verification: str) -> None:
    rule = ConstantStep(1 / smoothness(LeastSquares(), diabetes()[0]))
    honest = run(LeastSquares(), rule, 100)
    attacked = run(LeastSquares(), rule, 100, attack, verification)
    scale = np.abs(honest.weights).max()
    assert np.abs(attacked.weights - honest.weights).max() <= 1e-8 * scale
    located = {worker for rounds in attacked.rounds for each in rounds for worker in each.located}
    refused = {each.worker for rounds in attacked.rounds for one in rounds for each in one.refused}
    if attack in MALFORMED:
        assert (located, refused) == (set(), set(LIARS) | STRAGGLERS)
    else:
        assert located == set(LIARS)
        assert refused == STRAGGLERS


def test_refusals__say_why() -> None:
    attacks = {0: "nan", 3: "wrong-shape", 7: "silence", 11: "gaussian"}
    faults = Faults({worker: get_worker_error(name) for worker, name in attacks.items()})
    features, targets = diabetes()
    descent = run_encoded(
        CODE,
        features,
        targets,
        objective=LeastSquares(),
        step_size_rule=ConstantStep(1e-4),
        num_iterations=1,
        faults=faults,
    )
    first, second = descent.rounds[0]
    # q = 15 - 12 = 3 rows per block: ceil(442 / 3) = 148 blocks, and the attack adds one number.
    assert {each.worker: each.reason for each in first.refused} == {
        0: "NaN or infinity",
        3: "shape (149,) instead of (148,)",
        7: "no answer in time",
    }
    assert [each.worker for each in second.refused] == [0, 3, 7]
    assert first.located == second.located == (11,)


@pytest.mark.parametrize(
    ("which", "fault"), list(itertools.product((1, 2), ["reversed", "nan", "silence", "proportional"]))
)
def test_faults__in_one_product_only_are_seen_in_that_product(which: int, fault: str) -> None:
    class InOneProduct:
        def craft(self, honest, call):
            return get_worker_error(fault).craft(honest, call) if call.product == which else honest

    features, targets = diabetes()
    descent = run_encoded(
        CODE,
        features,
        targets,
        objective=LeastSquares(),
        step_size_rule=ConstantStep(1e-4),
        num_iterations=2,
        faults=Faults(dict.fromkeys(LIARS, InOneProduct())),
    )
    for rounds in descent.rounds:
        for number, each in enumerate(rounds, start=1):
            named = set(each.located) | {one.worker for one in each.refused}
            assert named == (set(LIARS) if number == which else set())


@pytest.mark.parametrize("attack", [Gaussian(), Scaled(), Proportional(), Gaussian(1e-3)])
@pytest.mark.parametrize(
    ("verification", "num_liars", "reason"),
    [("keys", 11, "more workers lie .* received 4, needed 5"), ("code", 6, "more workers deviate")],
)
def test_descent__refuses_one_liar_more_than_can_be_tolerated(
    attack: object, verification: str, num_liars: int, reason: str
) -> None:
    features, targets = diabetes()
    liars = (1, 2, 6, 8, 9, 13, 0, 3, 14, 5, 11)[:num_liars]
    with pytest.raises(DecodingError, match=reason):
        run_encoded(
            RealErrorLocatingCode(15, 5),
            features,
            targets,
            objective=LeastSquares(),
            step_size_rule=ConstantStep(1e-4),
            num_iterations=1,
            faults=Faults(dict.fromkeys(liars, attack)),
            verification=verification,
        )


def test_least_squares__reaches_the_optimum_under_attack() -> None:
    features, targets = diabetes()
    optimum = LinearRegression(fit_intercept=False).fit(features, targets).coef_
    rule = AcceleratedStep(1 / smoothness(LeastSquares(), features))
    descent = run(LeastSquares(), rule, 400, "reversed")
    np.testing.assert_allclose(descent.weights[-1], optimum, rtol=0, atol=1e-6 * np.abs(optimum).max())
    assert descent.distances(optimum)[-1] < 1e-6 * descent.distances(optimum)[0]


def test_ridge__reaches_scikit_learn_s_optimum() -> None:
    features, targets = diabetes()
    reference = Ridge(alpha=5.0).fit(features[:, :-1], targets)
    objective = LeastSquares(ridge=5.0, num_free=1)
    descent = run(objective, AcceleratedStep(1 / smoothness(objective, features)), 400, "proportional")
    np.testing.assert_allclose(descent.weights[-1], [*reference.coef_, reference.intercept_], atol=1e-5)


def test_lasso__reaches_scikit_learn_s_optimum_and_its_zeros() -> None:
    features, targets = diabetes()
    # scikit-learn minimizes the mean of the squares over two: its alpha times n is ours.
    reference = Lasso(alpha=5.0, tol=1e-12, max_iter=100_000).fit(features[:, :-1], targets)
    objective = LeastSquares(lasso=5.0 * len(targets), num_free=1)
    descent = run(objective, AcceleratedStep(1 / smoothness(objective, features)), 300, "huge")
    np.testing.assert_allclose(descent.weights[-1][:-1], reference.coef_, atol=1e-6)
    assert (descent.weights[-1] == 0).sum() == (reference.coef_ == 0).sum() > 0


def test_logistic__reaches_scikit_learn_s_optimum() -> None:
    features, labels = load_breast_cancer(return_X_y=True)
    features = standardized(features)
    reference = LogisticRegression(C=0.1, solver="newton-cholesky", tol=1e-12).fit(features[:, :-1], labels)
    objective = Logistic(ridge=10.0, num_free=1)
    descent = run_encoded(
        CODE,
        features,
        labels.astype(float),
        objective=objective,
        step_size_rule=AcceleratedStep(1 / smoothness(objective, features)),
        num_iterations=400,
        faults=Faults(dict.fromkeys(LIARS, Gaussian()), STRAGGLERS),
    )
    expected = np.append(reference.coef_[0], reference.intercept_)
    np.testing.assert_allclose(descent.weights[-1], expected, atol=1e-6)


def test_poisson__reaches_scikit_learn_s_optimum_by_backtracking() -> None:
    generator = np.random.default_rng(0)
    features = np.column_stack([0.3 * generator.standard_normal((200, 3)), np.ones(200)])
    counts = generator.poisson(np.exp(features @ [1.0, -0.5, 0.2, 1.0])).astype(float)
    reference = PoissonRegressor(alpha=0.01, tol=1e-10, max_iter=1000).fit(features[:, :-1], counts)
    descent = run_encoded(
        CODE,
        features,
        counts,
        objective=Poisson(ridge=0.01 * 200, num_free=1),  # scikit-learn averages the losses
        step_size_rule=BacktrackingStep(1e-3),
        num_iterations=200,
        faults=Faults(dict.fromkeys(LIARS, Scaled()), STRAGGLERS),
    )
    np.testing.assert_allclose(descent.weights[-1], [*reference.coef_, reference.intercept_], atol=1e-6)


def test_backtracking__stays_below_the_constant_step_and_reuses_the_trial_s_product() -> None:
    features, _ = diabetes()
    constant = run(LeastSquares(), ConstantStep(1 / smoothness(LeastSquares(), features)), 60)
    searching = run(LeastSquares(), BacktrackingStep(1e-3), 60)
    optimum = LinearRegression(fit_intercept=False).fit(*diabetes()).coef_
    assert searching.distances(optimum)[-1] < constant.distances(optimum)[-1]
    # One product for the gradient and one per trial; the accepted trial is the next gradient's first round.
    assert min(len(rounds) for rounds in searching.rounds[1:]) == 2


def test_repetition__is_exact_up_to_t_liars_and_refuses_more() -> None:
    features, targets = diabetes()
    rule = ConstantStep(1 / smoothness(LeastSquares(), features))
    setting = {"num_workers": 15, "objective": LeastSquares(), "step_size_rule": rule, "num_iterations": 30}
    baseline = get_baseline("repetition", 2)
    honest = run_baseline(baseline, features, targets, **setting)
    faults = Faults(dict.fromkeys((0, 9), Scaled()))
    attacked = run_baseline(baseline, features, targets, **setting, faults=faults)
    np.testing.assert_allclose(attacked.weights, honest.weights, rtol=1e-12)
    with pytest.raises(DecodingError, match="majority"):
        run_baseline(
            baseline, features, targets, **setting, faults=Faults(dict.fromkeys(range(3), Gaussian()))
        )


def test_baselines__without_liars_plain_and_repetition_give_the_encoded_iterates() -> None:
    features, targets = diabetes()
    rule = ConstantStep(1 / smoothness(LeastSquares(), features))
    encoded = run(LeastSquares(), rule, 50)
    for name in ("plain", "repetition"):
        other = run_baseline(
            get_baseline(name, 5),
            features,
            targets,
            num_workers=15,
            objective=LeastSquares(),
            step_size_rule=rule,
            num_iterations=50,
        )
        np.testing.assert_allclose(other.weights, encoded.weights, atol=1e-9 * np.abs(encoded.weights).max())


def test_baselines__lose_to_exact_gradients_under_attack() -> None:
    features, targets = diabetes()
    optimum = LinearRegression(fit_intercept=False).fit(features, targets).coef_
    rule = AcceleratedStep(1 / smoothness(LeastSquares(), features))
    exact = run(LeastSquares(), rule, 200, "reversed").distances(optimum)[-1]
    for name in ("plain", "median", "trimmed-mean", "krum"):
        other = run_baseline(
            get_baseline(name, 5),
            features,
            targets,
            num_workers=15,
            objective=LeastSquares(),
            step_size_rule=rule,
            num_iterations=200,
            faults=Faults(dict.fromkeys(LIARS, Scaled())),
        )
        assert other.distances(optimum)[-1] > 100 * exact, name


def test_baselines__have_no_values_for_backtracking() -> None:
    features, targets = diabetes()
    with pytest.raises(ParameterError, match="must not need values"):
        run_baseline(
            get_baseline("plain", 0),
            features,
            targets,
            num_workers=3,
            objective=LeastSquares(),
            step_size_rule=BacktrackingStep(),
            num_iterations=1,
        )
