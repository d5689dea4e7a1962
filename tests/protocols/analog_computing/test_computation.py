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
from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.real.index_assignment import evaluation_order
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


def blockwise_error(outcome, request: Request) -> np.ndarray:
    return np.linalg.norm(outcome.values - true_value(request), axis=(1, 2))


@pytest.mark.parametrize("verification", ["keys", "code"])
@pytest.mark.parametrize(
    ("request_", "attack"),
    list(
        itertools.product(
            [Request("gram"), Request("normal-equations"), Request("gradient", WEIGHTS)], [None, *ATTACKS]
        )
    ),
    ids=lambda value: getattr(value, "function", type(value).__name__),
)
def test_computation__is_within_the_stated_bound_with_eight_liars_and_four_silent(
    request_, attack, verification
) -> None:
    liars = () if attack is None else LIARS
    outcome = run_computation(
        AnalogMaster(CODE, SHAPE, verification, accuracy=np.inf),
        BLOCKS,
        request_,
        attack=attack,
        liars=liars,
        silent=(5, 12, 13, 27),
        generator=np.random.default_rng(1),
    )
    assert outcome.liars == liars
    assert outcome.missing == (5, 12, 13, 27)
    assert outcome.vouched_by == verification
    assert (blockwise_error(outcome, request_) < outcome.error_bounds).all()
    total_error = np.linalg.norm(outcome.total - true_value(request_).sum(axis=0))
    assert total_error < outcome.total_error_bound
    assert outcome.error_std.max() < 0.1
    assert outcome.residual <= 1.0
    if verification == "keys":
        assert outcome.total_error_bound < 100 * total_error


@given(liars=st.sets(st.integers(0, 30), max_size=16), silent=st.sets(st.integers(0, 30), max_size=4))
@settings(max_examples=15)
def test_computation__with_keys_loses_one_result_per_liar(liars, silent) -> None:
    outcome = run_computation(
        AnalogMaster(CODE, SHAPE, accuracy=np.inf),
        BLOCKS,
        Request("gram"),
        attack=FullNoise(),
        liars=tuple(sorted(liars)),
        silent=tuple(silent),
        generator=np.random.default_rng(1),
    )
    assert set(outcome.liars) == liars - silent
    assert (blockwise_error(outcome, Request("gram")) < outcome.error_bounds).all()


@pytest.mark.parametrize(
    ("verification", "num_liars", "num_silent"),
    [("keys", 21, 0), ("keys", 0, 21), ("keys", 3, 18), ("code", 11, 0), ("code", 9, 3), ("code", 0, 21)],
)
def test_computation__refuses_to_answer_past_the_radius(verification, num_liars, num_silent) -> None:
    with pytest.raises(DecodingError):
        run_computation(
            AnalogMaster(CODE, SHAPE, verification, accuracy=np.inf),
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


@pytest.mark.parametrize("verification", ["keys", "code"])
def test_decode__survives_numbers_of_any_size_from_liars(verification) -> None:
    master = AnalogMaster(CODE, SHAPE, verification, num_byzantine=3)
    results = honest_results(master)
    results[3] = results[3] * 1e200
    results[7] = results[7] + 1e18
    results[11] = -results[11]
    outcome = master.decode(Request("gram"), results)
    if verification == "keys":
        assert (outcome.liars, outcome.missing) == ((3, 7, 11), ())
    else:
        assert (outcome.liars, outcome.missing) == ((7, 11), (3,))
        assert "far from everybody" in outcome.refused[0].reason
    assert np.allclose(outcome.values, true_value(Request("gram")), atol=1e-3)


def test_decode__with_profiled_workers_names_workers_and_not_indices() -> None:
    order = evaluation_order(31, np.arange(20, 31), tuple(range(0, 31, 3)))
    unreliable = np.arange(31) >= 20
    outcome = run_computation(
        AnalogMaster(CODE, SHAPE, "code", evaluation_order=order, unreliable=unreliable, accuracy=np.inf),
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
        AnalogMaster(code, (4, 5), accuracy=np.inf),
        blocks,
        Request("cubic-form"),
        attack=FullNoise(),
        liars=(3, 17),
    )
    assert (outcome.liars, outcome.vouched_by) == ((3, 17), "code")
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
    assert np.linalg.norm(outcome.total - table.T @ table) < outcome.total_error_bound


@pytest.mark.parametrize("num_rows", [20, 200, 5000])
@pytest.mark.parametrize("noise_scale", [1.0, 1e4, 1e6])
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_measure_precision__is_a_little_above_the_noise_of_a_real_computation(
    noise_scale, num_rows, mean
) -> None:
    """With hiding noise partial sums walk, without much of it and with a mean they drift."""
    code = replace(CODE, noise_scale=noise_scale)
    generator = np.random.default_rng(8)
    blocks = mean + generator.standard_normal((3, num_rows, 5))
    shares = code.encode(np.broadcast_to(blocks, (4, *blocks.shape)), generator=generator)
    results = (np.swapaxes(shares, -1, -2) @ shares).reshape(4, 31, 25)
    syndromes = AnalogMaster(code, (num_rows, 5)).dft_code.syndromes(results)
    actual = np.sqrt((abs(syndromes) ** 2).mean(axis=(0, 1))).reshape(5, 5)
    function = get_function("gram")
    measured = measure_precision(code, function, (num_rows, 5), blocks=blocks).noise_std
    assert (actual < measured).all()
    assert np.median(measured / actual) < 20


@pytest.mark.parametrize(("num_workers", "num_blocks", "num_colluders"), [(11, 1, 2), (12, 1, 3), (13, 2, 1)])
def test_worst_amplification__of_neighbors_is_that_of_all_sets(
    num_workers, num_blocks, num_colluders
) -> None:
    code = AnalogLagrangeCode(num_workers, num_blocks, num_colluders)
    for num_dropped in range(1, code.num_spare + 1):
        amplifications = [
            error_amplification(code, ~np.isin(np.arange(num_workers), dropped)).max()
            for dropped in itertools.combinations(range(num_workers), num_dropped)
        ]
        assert worst_amplification(code, num_dropped) == pytest.approx(max(amplifications))
    assert worst_amplification(code, code.num_spare + 1) == np.inf


def test_error_amplification__is_that_of_white_noise_through_the_reconstruction() -> None:
    kept = np.ones(31, bool)
    kept[[1, 2, 9]] = False
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((2000, 31, 1)) + 1j * generator.standard_normal((2000, 31, 1))
    rebuilt = CODE.reconstruct(noise[..., None] / np.sqrt(2), kept)
    assert rebuilt.std(axis=0).ravel() == pytest.approx(error_amplification(CODE, kept), rel=0.06)
    assert worst_amplification(CODE, 8) >= error_amplification(CODE, kept).max()


@pytest.mark.parametrize("verification", ["keys", "code"])
def test_plan__keeps_privacy_and_its_error_holds_with_neighboring_liars(verification) -> None:
    plan = plan_computation(
        CODE,
        get_function("gram"),
        SHAPE,
        max_bits=1e-3,
        num_byzantine=3,
        num_stragglers=2,
        verification=verification,
    )
    assert plan.leakage.bits <= 1e-3
    outcome = run_computation(
        AnalogMaster(
            plan.code, SHAPE, verification, num_byzantine=3, evaluation_order=np.arange(31), accuracy=np.inf
        ),
        np.clip(BLOCKS, -1, 1),
        Request("gram"),
        attack=FullNoise(),
        liars=(0, 1, 2),
        silent=(3, 4),
    )
    truth = np.swapaxes(np.clip(BLOCKS, -1, 1), 1, 2) @ np.clip(BLOCKS, -1, 1)
    error = np.linalg.norm(outcome.values - truth, axis=(1, 2)).max()
    assert error <= plan.honest_error <= plan.error_bound
    assert plan.relative_error == pytest.approx(plan.error_bound / 60)
    assert plan.digits_lost == pytest.approx(np.log10(plan.honest_error / 60) + 15.95, abs=0.01)


def test_plan__refuses_what_cannot_be_promised() -> None:
    gram = get_function("gram")
    wide = replace(CODE, num_blocks=1, num_colluders=11)
    with pytest.raises(ParameterError, match="2 A"):
        plan_computation(wide, gram, SHAPE, max_bits=1.0, num_byzantine=5, verification="code")
    with pytest.raises(ParameterError, match=r"must satisfy A \+ s"):
        plan_computation(wide, gram, SHAPE, max_bits=1.0, num_byzantine=11)
    with pytest.raises(ParameterError, match="max_error must be at least"):
        plan_computation(CODE, gram, SHAPE, max_bits=1e-9, max_error=1e-9)
    with pytest.raises(ParameterError, match="liars included"):
        plan_computation(CODE, gram, SHAPE, max_bits=1.0, num_byzantine=4)


def test_tabulate_privacy__pays_for_privacy_with_precision() -> None:
    plans = tabulate_privacy(CODE, get_function("gram"), SHAPE, [1.0, 1e-2, 1e-4])
    assert [plan.leakage.bits for plan in plans] == pytest.approx([1.0, 1e-2, 1e-4], rel=1e-3)
    errors = [plan.error_bound for plan in plans]
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
        lambda: AnalogMaster(CODE, SHAPE, "luck"),
        lambda: AnalogMaster(CODE, SHAPE, accuracy=0.0),
        lambda: AnalogMaster(CODE, SHAPE, num_stragglers=21),
        lambda: AnalogMaster(CODE, SHAPE, num_byzantine=19, num_stragglers=2),
        lambda: AnalogMaster(CODE, SHAPE, "code", num_byzantine=10, num_stragglers=1),
        lambda: AnalogMaster(CODE, SHAPE).share_of(0),
        lambda: AnalogMaster(CODE, SHAPE).deal(BLOCKS[:2]),
        lambda: AnalogMaster(CODE, SHAPE).deal(BLOCKS * np.nan),
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
    master = AnalogMaster(code, (2, 2), accuracy=np.inf)
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
