"""Whole computations in one process: liars, silence, odd results, promises kept."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.attacks.analog_collusion import (
    ConstraintLengthAware,
    FullNoise,
    StrongCollusion,
    WeakCollusion,
)
from flower_coded.codes.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.index_assignment import evaluation_order
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.protocols.analog_computing import (
    AnalogMaster,
    AnalogWorker,
    PolynomialFunction,
    Request,
    error_amplification,
    get_function,
    measure_precision,
    plan_computation,
    register_function,
    run_computation,
    split_rows,
    tabulate_privacy,
    worst_amplification,
)

CODE = AnalogLagrangeCode(num_workers=31, num_blocks=3, num_colluders=3, noise_scale=1e4)
SHAPE = (12, 5)
BLOCKS = np.random.default_rng(0).standard_normal((3, *SHAPE))
LIARS = (0, 1, 2, 8, 9, 20, 21, 30)
ATTACKS = [FullNoise(), StrongCollusion(), WeakCollusion(), ConstraintLengthAware(noise_variance=1e-6)]
WEIGHTS = np.array([1.0, -2.0, 0.5, 3.0])


def true_value(request: Request) -> np.ndarray:
    values = []
    for block in BLOCKS:
        data, target = block[:, :-1], block[:, -1]
        values.append(
            {
                "gram": block.T @ block,
                "normal-equations": data.T @ block,
                "gradient": (data.T @ (data @ WEIGHTS - target))[:, None],
            }[request.function]
        )
    return np.array(values)


@pytest.mark.parametrize(
    ("request_", "attack"),
    list(
        itertools.product(
            [Request("gram"), Request("normal-equations"), Request("gradient", WEIGHTS)], [None, *ATTACKS]
        )
    ),
    ids=lambda value: getattr(value, "function", type(value).__name__),
)
def test_computation__is_exact_to_the_stated_error_with_eight_liars_and_four_silent(request_, attack) -> None:
    liars = () if attack is None else LIARS
    outcome = run_computation(
        AnalogMaster(CODE, SHAPE),
        BLOCKS,
        request_,
        attack=attack,
        liars=liars,
        silent=(5, 12, 13, 27),
        generator=np.random.default_rng(1),
    )
    assert outcome.liars == liars
    assert outcome.missing == (5, 12, 13, 27)
    assert (abs(outcome.values - true_value(request_)) < 6 * outcome.error_std).all()
    assert outcome.error_std.max() < 0.1
    assert outcome.residual <= 1.0


@given(liars=st.sets(st.integers(0, 30), max_size=8), silent=st.sets(st.integers(0, 30), max_size=4))
@settings(max_examples=15)
def test_computation__survives_any_liars_and_silent_workers_within_the_radius(liars, silent) -> None:
    outcome = run_computation(
        AnalogMaster(CODE, SHAPE),
        BLOCKS,
        Request("gram"),
        attack=FullNoise(),
        liars=tuple(sorted(liars)),
        silent=tuple(silent),
        generator=np.random.default_rng(1),
    )
    assert set(outcome.liars) == liars - silent
    assert (abs(outcome.values - true_value(Request("gram"))) < 6 * outcome.error_std).all()


@pytest.mark.parametrize(("num_liars", "num_silent"), [(11, 0), (9, 3), (0, 21), (3, 18)])
def test_computation__refuses_to_answer_past_the_radius(num_liars, num_silent) -> None:
    with pytest.raises(DecodingError):
        run_computation(
            AnalogMaster(CODE, SHAPE),
            BLOCKS,
            Request("gram"),
            attack=FullNoise(),
            liars=tuple(range(num_liars)),
            silent=tuple(range(31 - num_silent, 31)),
            generator=np.random.default_rng(1),
        )


def honest_results(master: AnalogMaster) -> dict[int, np.ndarray]:
    shares = master.deal(BLOCKS, np.random.default_rng(3))
    return {share.worker: AnalogWorker(share).compute(Request("gram")).values for share in shares}


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (np.zeros((5, 4), complex), "shape"),
        (np.full((5, 5), np.nan, complex), "NaN"),
        (np.zeros((5, 5), np.float32), "float32"),
        (np.zeros((5, 5), object), "object"),
    ],
    ids=["shape", "nan", "dtype", "objects"],
)
def test_decode__drops_an_odd_result_and_says_whose_it_was(odd, reason) -> None:
    master = AnalogMaster(CODE, SHAPE)
    results = honest_results(master)
    results[4] = odd
    results[99] = results[0]
    outcome = master.decode(Request("gram"), results)
    assert outcome.missing == (4,)
    assert [each.worker for each in outcome.refused] == [4, 99]
    assert reason in outcome.refused[0].reason
    assert np.allclose(outcome.values, true_value(Request("gram")), atol=1e-3)


def test_decode__survives_numbers_of_any_size_from_liars() -> None:
    master = AnalogMaster(CODE, SHAPE)
    results = honest_results(master)
    results[3] = results[3] * 1e200
    results[7] = results[7] + 1e18
    results[11] = -results[11]
    outcome = master.decode(Request("gram"), results)
    assert outcome.liars == (7, 11)
    assert outcome.missing == (3,)
    assert "far from everybody" in outcome.refused[0].reason
    assert np.allclose(outcome.values, true_value(Request("gram")), atol=1e-3)


def test_decode__with_profiled_workers_names_workers_and_not_indices() -> None:
    order = evaluation_order(31, np.arange(20, 31), tuple(range(0, 31, 3)))
    unreliable = np.arange(31) >= 20
    outcome = run_computation(
        AnalogMaster(CODE, SHAPE, evaluation_order=order, unreliable=unreliable),
        BLOCKS,
        Request("gram"),
        attack=FullNoise(),
        liars=(20, 22, 29),
        silent=(1,),
        generator=np.random.default_rng(1),
    )
    assert (outcome.liars, outcome.missing) == ((20, 22, 29), (1,))


def test_user_polynomial__of_degree_three_is_computed_and_a_wrong_degree_is_refused() -> None:
    code = replace(CODE, num_blocks=2, num_colluders=2, degree=3, noise_scale=10.0)
    register_function(
        PolynomialFunction("cubic-form", 3, lambda block, _: block @ block.swapaxes(-1, -2) @ block)
    )
    blocks = BLOCKS[:2, :4]
    outcome = run_computation(
        AnalogMaster(code, (4, 5)), blocks, Request("cubic-form"), attack=FullNoise(), liars=(3, 17)
    )
    assert outcome.liars == (3, 17)
    assert np.allclose(outcome.values, blocks @ blocks.swapaxes(-1, -2) @ blocks, atol=1e-6)
    with pytest.raises(ParameterError, match="degree at most 2"):
        AnalogMaster(CODE, SHAPE).precision(Request("cubic-form"))
    register_function(PolynomialFunction("absolute", 2, lambda block, _: abs(block) ** 2))
    with pytest.raises(ParameterError, match="polynomial"):
        AnalogMaster(CODE, SHAPE).precision(Request("absolute"))


def test_total__of_padded_blocks_is_the_value_for_the_whole_table() -> None:
    table = np.random.default_rng(5).standard_normal((35, 5))
    blocks = split_rows(table, 3)
    assert blocks.shape == (3, 12, 5)
    outcome = run_computation(AnalogMaster(CODE, SHAPE), blocks, Request("gram"))
    assert (abs(outcome.total - table.T @ table) < 6 * outcome.total_error_std).all()


@pytest.mark.parametrize("noise_scale", [1.0, 1e4, 1e6])
def test_measure_precision__is_a_little_above_the_noise_of_a_real_computation(noise_scale) -> None:
    code = replace(CODE, noise_scale=noise_scale)
    blocks = np.random.default_rng(8).standard_normal((20, 3, 200, 5))
    shares = code.encode(blocks, generator=np.random.default_rng(9))
    results = (np.swapaxes(shares, -1, -2) @ shares).reshape(20, 31, 25)
    syndromes = AnalogMaster(code, (200, 5)).dft_code.syndromes(results)
    actual = np.sqrt((abs(syndromes) ** 2).mean(axis=(0, 1))).reshape(5, 5)
    measured = measure_precision(code, get_function("gram"), (200, 5)).noise_std
    assert (actual < measured).all()
    assert (measured < 20 * actual).all()


def test_error_amplification__is_that_of_white_noise_through_the_reconstruction() -> None:
    kept = np.ones(31, bool)
    kept[[1, 2, 9]] = False
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((2000, 31, 1)) + 1j * generator.standard_normal((2000, 31, 1))
    rebuilt = CODE.reconstruct(noise[..., None] / np.sqrt(2), kept)
    assert rebuilt.std(axis=0).ravel() == pytest.approx(error_amplification(CODE, kept), rel=0.06)
    assert worst_amplification(CODE, 8) >= error_amplification(CODE, kept).max()


def test_plan__keeps_privacy_and_its_error_holds_with_neighboring_liars() -> None:
    plan = plan_computation(CODE, get_function("gram"), SHAPE, max_bits=1e-3, num_liars=8, num_missing=2)
    assert plan.leakage.bits <= 1e-3
    outcome = run_computation(
        AnalogMaster(plan.code, SHAPE),
        np.clip(BLOCKS, -1, 1),
        Request("gram"),
        attack=FullNoise(),
        liars=tuple(range(8)),
        silent=(8, 9),
    )
    truth = np.swapaxes(np.clip(BLOCKS, -1, 1), 1, 2) @ np.clip(BLOCKS, -1, 1)
    assert abs(outcome.values - truth).max() <= plan.entry_error


def test_plan__refuses_what_cannot_be_promised() -> None:
    gram = get_function("gram")
    with pytest.raises(ParameterError, match="2 A"):
        plan_computation(CODE, gram, SHAPE, max_bits=1.0, num_liars=11)
    with pytest.raises(ParameterError, match="max_entry_error must be at least"):
        plan_computation(CODE, gram, SHAPE, max_bits=1e-9, max_entry_error=1e-9)


def test_tabulate_privacy__pays_for_privacy_with_precision() -> None:
    plans = tabulate_privacy(CODE, get_function("gram"), SHAPE, [1.0, 1e-2, 1e-4])
    assert [plan.leakage.bits for plan in plans] == pytest.approx([1.0, 1e-2, 1e-4], rel=1e-3)
    errors = [plan.entry_error for plan in plans]
    assert errors == sorted(errors)


@pytest.mark.parametrize(
    "call",
    [
        lambda: get_function("inverse"),
        lambda: register_function(PolynomialFunction("gram", 1, lambda block, _: block)),
        lambda: split_rows(np.zeros((2, 2)), 3),
        lambda: AnalogMaster(CODE, SHAPE, evaluation_order=np.zeros(31, int)),
        lambda: AnalogMaster(CODE, SHAPE, unreliable=np.zeros(3, bool)),
        lambda: AnalogMaster(replace(CODE, num_workers=11), SHAPE),
        lambda: AnalogMaster(CODE, SHAPE).deal(BLOCKS[:2]),
        lambda: AnalogMaster(CODE, SHAPE).precision(Request("gradient")),
        lambda: AnalogMaster(CODE, SHAPE).precision(Request("gradient", np.ones(9))),
    ],
)
def test_protocol__refuses_what_does_not_fit(call) -> None:
    with pytest.raises(ParameterError):
        call()


@pytest.mark.parametrize("degree", [2, 3])
def test_decode__never_accuses_an_honest_worker_when_hiding_noise_happens_to_be_large(degree) -> None:
    """Two hiding matrices of four entries: their third powers differ by orders of magnitude between draws."""
    function = PolynomialFunction(f"power-{degree}", degree, lambda block, _: block**degree)
    register_function(function)
    code = replace(CODE, num_blocks=2, num_colluders=2, degree=degree, noise_scale=10.0)
    master = AnalogMaster(code, (2, 2))
    for seed in range(60):
        outcome = run_computation(
            master,
            BLOCKS[:2, :2, :2],
            Request(function.name),
            attack=FullNoise(),
            liars=(3, 17),
            generator=np.random.default_rng(seed),
        )
        assert outcome.liars == (3, 17), seed
