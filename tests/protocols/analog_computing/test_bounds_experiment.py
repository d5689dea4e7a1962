"""Ten thousand trials of liars who know the code, tables nobody scaled: bounds hold, and are not far off."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.real.dft_code import DFTCode
from flower_coded.errors import DecodingError
from flower_coded.protocols.analog_computing import (
    AnalogMaster,
    AnalogWorker,
    Request,
    ScaledTable,
    get_function,
    plan_computation,
    solve_regression,
    split_rows,
)

GRAM = Request("gram")
TRIALS = int(os.environ.get("ALCC_TRIALS", "10000"))
SIZES = [((15, 1, 3), 1e2), ((31, 1, 5), 1e3), ((31, 3, 3), 1e4), ((63, 3, 3), 1e4), ((127, 5, 3), 1e4)]


def null_vectors(code: AnalogLagrangeCode, generator: np.random.Generator, num_liars: int) -> np.ndarray:
    """Errors of ``num_liars`` indices that the other checks hardly see: neighbors, or any subset."""
    size = min(2 * num_liars, code.num_workers)
    start = generator.integers(code.num_workers)
    columns = (start + np.arange(size)) % code.num_workers
    if generator.random() < 0.5:
        columns = generator.permutation(code.num_workers)[:size]
    vectors = np.linalg.svd(DFTCode(code.num_workers, code.dimension).check_matrix[:, columns])[2]
    errors = np.zeros(code.num_workers, complex)
    errors[columns] = vectors[-1].conj()
    errors[np.argsort(-abs(errors))[num_liars:]] = 0
    return errors / abs(errors).max()


@pytest.mark.experiment
@pytest.mark.parametrize(("sizes", "noise_scale"), SIZES, ids=str)
def test_adaptive_liars__never_break_a_bound_and_no_honest_worker_is_named(sizes, noise_scale) -> None:
    """Other sets every trial, up to all spare results; the caught shrink their lie, the others double it."""
    code = AnalogLagrangeCode(*sizes, noise_scale=noise_scale)
    generator = np.random.default_rng(1)
    blocks = generator.standard_normal((code.num_blocks, 20, 5))
    truth = np.einsum("kij,kil->jl", blocks, blocks)
    master = AnalogMaster(code, (20, 5), accuracy=1e-2)
    honest = {each.worker: AnalogWorker(each).compute(GRAM).values for each in master.deal(blocks, generator)}
    rounding = master.precision(GRAM).noise_std
    order = np.asarray(master.evaluation_order)
    size, refused, passed, broken, ratios = 1.0, 0, 0, 0, []
    accused: set[int] = set()
    for trial in range(TRIALS):
        num_liars = int(generator.integers(1, code.num_spare + 1))
        errors = null_vectors(code, generator, num_liars)
        entries = rounding * (1.0 if trial % 2 else generator.standard_normal((5, 5)))
        lied = {worker: values + errors[order[worker]] * size * entries for worker, values in honest.items()}
        liars = {worker for worker in honest if errors[order[worker]] != 0}
        try:
            outcome = master.decode(GRAM, lied)
        except DecodingError as error:
            refused += 1
            accused |= set(error.culprits) - liars
            size = max(size / 2, 1.0)
            continue
        accused |= set(outcome.liars) - liars
        passed += len(liars) - len(outcome.liars)
        off = float(np.linalg.norm(outcome.total - truth))
        ratios.append(outcome.total_error_bound / off)
        broken += off > outcome.total_error_bound
        size = min(size * 2, 1e6) if len(outcome.liars) < len(liars) else max(size / 2, 1.0)
    print(
        f"\n{sizes}: {TRIALS} trials, {refused} refused, {broken} bounds broken, {passed} lies not named, "
        f"bound / error {np.min(ratios):.1f} to {np.max(ratios):.1f}, median {np.median(ratios):.1f}"
    )
    assert broken == 0
    assert accused == set()


def held_out_tables():
    """Regression tables of other kinds and columns from 1e-8 to 1e8."""
    generator = np.random.default_rng(2026)
    for num_rows, num_features in ((200, 4), (1500, 8), (6000, 12), (20_000, 10), (20_000, 30)):
        factors = generator.standard_normal((num_rows, 3)) @ generator.standard_normal((3, num_features))
        yield f"normal {num_rows}x{num_features}", factors + 1.5 * generator.standard_normal(factors.shape)
        yield f"uniform {num_rows}x{num_features}", generator.random((num_rows, num_features)) + 3
        yield (
            f"heavy tails {num_rows}x{num_features}",
            stats.t(3).rvs((num_rows, num_features), random_state=generator),
        )
        counts = generator.poisson(4, (num_rows, num_features)).astype(float)
        yield f"counts {num_rows}x{num_features}", counts


@pytest.mark.experiment
def test_regression_tables__coefficients_are_within_what_is_promised_and_the_promise_is_near() -> None:
    generator = np.random.default_rng(5)
    worst = 0.0
    for name, features in held_out_tables():
        num_features = features.shape[1]
        scales = 10.0 ** generator.permutation(np.linspace(-8, 8, num_features))
        weights = generator.standard_normal(num_features) / features.std(axis=0)
        target = features @ weights + generator.standard_normal(len(features))
        table = ScaledTable.of(np.column_stack([features * scales, 1e5 * target]))
        code = AnalogLagrangeCode(31, 1, 4)
        function = get_function("normal-equations")
        plan = plan_computation(
            code,
            function,
            table.values.shape,
            max_bits=0.01,
            num_byzantine=4,
            num_stragglers=2,
            data_scale=float(table.values.std()),
        )
        master = AnalogMaster(plan.code, table.values.shape, num_byzantine=4, num_stragglers=2)
        request = Request("normal-equations")
        shares = master.deal(split_rows(table.values, 1))
        results = {
            each.worker: AnalogWorker(each).compute(request).values for each in shares if each.worker > 1
        }
        for worker in range(5, 9):
            results[worker] = results[worker] * (1 + 1e-3 * generator.standard_normal(results[worker].shape))
        outcome = master.decode(request, results)
        assert outcome.liars == (5, 6, 7, 8)
        found = solve_regression(table, outcome.total, outcome.total_error_bound)
        expected = LinearRegression().fit(table.values[:, :-1], table.values[:, -1]).coef_
        error = np.linalg.norm(found.scaled - expected) / max(1.0, np.linalg.norm(expected))
        off = np.linalg.norm(outcome.total - table.values[:, :-1].T @ table.values)
        promised = plan.error_bound / off
        worst = max(worst, found.error_bound / error, outcome.total_error_bound / off)
        print(
            f"\n{name}: coefficients off {error:.1e}, bound {found.error_bound:.1e}; equations off "
            f"{off / outcome.scale:.1e}, bound {outcome.relative_error_bound:.1e} "
            f"({outcome.total_error_bound / off:.0f} times), planned before {promised:.0f} times",
            end="",
        )
        assert error <= found.error_bound
        assert off <= outcome.total_error_bound <= plan.error_bound
        refined = solve_regression(table, outcome.total, outcome.total_error_bound, refinements=2)
        assert np.linalg.norm(refined.scaled - expected) <= 1e-8 * max(1.0, np.linalg.norm(expected))
    print(f"\nworst bound: {worst:.0f} times the error")
    assert worst <= 100
