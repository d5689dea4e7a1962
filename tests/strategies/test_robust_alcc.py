"""The strategy and its client app, in process: regression under attack, faults of every kind, no leaks."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Array, Error, Message
from sklearn.linear_model import LinearRegression

from flower_coded.clients.malformed import MALFORMED
from flower_coded.clients.robust_alcc import (
    ANALOG_ATTACK_NAMES,
    analog_faults_from_config,
    robust_alcc_client_app,
)
from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.real.index_assignment import evaluation_order
from flower_coded.errors import NoRoundSucceededError, ParameterError
from flower_coded.protocols.analog_computing import PolynomialFunction, Request, register_function
from flower_coded.strategies.robust_alcc import RobustALCC
from flower_coded.testing import InProcessGrid
from flower_coded.wire.keys import STATE_MISSING_CODE
from flower_coded.wire.robust_alcc import COMPUTE_MESSAGE_TYPE, SHARE_KEY, request_content

# K = (1 + 4 - 1) * 2 + 1 = 9 of 13: four liars who may pool their shares, or two liars and two silent.
CODE = AnalogLagrangeCode(num_workers=13, num_blocks=1, num_colluders=4, noise_scale=100.0)
GENERATOR = np.random.default_rng(0)
FEATURES = GENERATOR.standard_normal((41, 3))
TARGET = FEATURES @ [1.0, -2.0, 0.5] + 0.1 * GENERATOR.standard_normal(41)
TABLE = np.column_stack([FEATURES, TARGET])


def run(run_config=None, function="normal-equations", num_rounds=1, **options):
    grid_options = {key: options.pop(key) for key in ("drop", "tamper", "delay") if key in options}
    grid = InProcessGrid(robust_alcc_client_app(), 13, run_config or {}, **grid_options)
    table = options.pop("table", TABLE)
    strategy = RobustALCC(CODE, table, function, reply_timeout=3.0, connect_timeout=20.0, **options)
    result = strategy.start(grid, strategy.initial_arrays(), num_rounds=num_rounds)
    arrays = result.arrays or strategy.initial_arrays()  # Flower's result is empty if no round succeeded
    return strategy, next(iter(arrays.values())).numpy(), grid


@pytest.mark.parametrize("attack", ANALOG_ATTACK_NAMES)
def test_regression__equals_scikit_learns_while_four_of_thirteen_lie(attack) -> None:
    strategy, equations, _ = run({"attack": attack, "attackers": "0,1,7,12"})
    coefficients = np.linalg.solve(equations[:, :-1], equations[:, -1])
    expected = LinearRegression(fit_intercept=False).fit(FEATURES, TARGET).coef_
    assert np.allclose(coefficients, expected, atol=1e-6)
    assert strategy.history[0].outcome.liars == (0, 1, 7, 12)
    assert strategy.history[0].metrics()["misbehaving-participants"] == [0, 1, 7, 12]


def test_gram__is_the_tables() -> None:
    _, gram, _ = run(function="gram")
    assert np.allclose(gram, TABLE.T @ TABLE, atol=1e-6)


def test_product__of_two_private_matrices_is_packed_and_right() -> None:
    strategy, product, _ = run(
        {"attack": "full-noise", "attackers": "0,1,7,12"}, "product", left_columns=1, accuracy=1e-6
    )
    assert np.allclose(product, TABLE[:, :1].T @ TABLE[:, 1:], atol=1e-6)
    assert strategy.history[0].outcome.liars == (0, 1, 7, 12)


@pytest.mark.parametrize("function", ["gram", "normal-equations", "gradient"])
def test_unscaled_columns_with_large_means__are_centered_scaled_and_restored(function) -> None:
    """Columns from 1e-8 to 1e8, one of them constant: what made honest workers look like liars."""
    factors = np.array([1e-8, 1.0, 1e8, 1e3])
    table = np.column_stack([TABLE * factors + 1e4 * factors, np.full(41, 7.0), TABLE[:, 0] + TABLE[:, 1]])
    strategy, found, _ = run(
        {"attack": "full-noise", "attackers": "0,1,7,12"}, function, table=table, step_size=1e-20
    )
    features, target = table[:, :-1], table[:, -1]
    expected = {
        "gram": table.T @ table,
        "normal-equations": features.T @ table,
        "gradient": 1e-20 * features.T @ target / 41,
    }[function]
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-6 * abs(expected).min())
    assert strategy.history[0].outcome.liars == (0, 1, 7, 12)


def test_code__is_selectable_and_says_that_it_vouches() -> None:
    strategy, equations, _ = run({"attack": "full-noise", "attackers": "0,7"}, verification="code")
    assert np.allclose(equations, FEATURES.T @ TABLE, atol=1e-6)
    outcome = strategy.history[0].outcome
    assert (outcome.liars, outcome.vouched_by) == ((0, 7), "code")
    assert strategy.history[0].metrics()["vouched-by-keys"] == 0


def test_gradient__descends_to_the_solution_with_one_share_sent_once() -> None:
    step = len(TABLE) / np.linalg.norm(FEATURES, 2) ** 2
    sent = []

    def spy(partition_id, message):
        sent.append((partition_id, message.content is not None and SHARE_KEY in message.content))
        return False

    _, weights, _ = run(
        {"attack": "full-noise", "attackers": "3,4"}, "gradient", 20, step_size=step, drop=spy
    )
    expected = np.linalg.lstsq(FEATURES, TARGET, rcond=None)[0]
    assert np.allclose(weights, expected, atol=0.02)
    assert sorted(partition for partition, has_share in sent if has_share) == list(range(13))


@pytest.mark.parametrize(
    "name", [name for name in MALFORMED if "num-examples" not in name and name != "no-metrics"]
)
def test_a_malformed_reply_costs_its_sender_the_place_and_nothing_else(name) -> None:
    strategy, equations, _ = run({"attack": name, "attackers": "2,9"})
    assert np.allclose(equations, FEATURES.T @ TABLE, atol=1e-6)
    record = strategy.history[0]
    assert {*record.outcome.missing, *record.outcome.liars} == {2, 9}
    assert {each.participant for each in record.rejected} == {2, 9}
    assert record.metrics()["rejected-participants"] == [2, 9]


def test_silent_workers__are_not_waited_for_beyond_the_agreed_number() -> None:
    strategy, equations, _ = run(
        {"stragglers": "5,6", "attack": "full-noise", "attackers": "1,2"}, num_stragglers=2
    )
    assert np.allclose(equations, FEATURES.T @ TABLE, atol=1e-6)
    assert strategy.history[0].outcome.missing == (5, 6)
    assert strategy.history[0].outcome.liars == (1, 2)


def test_too_many_liars__leave_the_arrays_as_they_were_and_end_no_run_well() -> None:
    with pytest.raises(NoRoundSucceededError, match="too few right results"):
        run({"attack": "full-noise", "attackers": 6, "seed": 4})


def test_a_worker_s_1e30__is_told_in_log_metrics_and_history(caplog) -> None:
    """By the code alone too, which drops it before decoding."""
    for verification in ("keys", "code"):

        def tamper(partition_id, reply):
            if partition_id == 3 and reply.has_content() and reply.content.array_records:
                record = next(iter(reply.content.array_records.values()))
                record["values"] = Array(record["values"].numpy() * 1e30)
            return reply

        caplog.clear()
        strategy, equations, _ = run(tamper=tamper, verification=verification)
        record = strategy.history[0]
        assert np.allclose(equations, FEATURES.T @ TABLE, atol=1e-6)
        assert [(each.participant, each.code) for each in record.rejected] == [(3, "located")]
        assert record.metrics()["rejected-participants"] == [3]
        assert 3 not in record.accepted
        assert "participant 3" in caplog.text


def test_a_round_that_fails__keeps_the_old_arrays_and_the_next_goes_on() -> None:
    config = {"attack": "full-noise", "attackers": 6, "seed": 4, "attack-from-round": 2}
    strategy, equations, _ = run(config, num_rounds=2)
    assert np.allclose(equations, FEATURES.T @ TABLE, atol=1e-6)
    assert [each.is_unchanged for each in strategy.history] == [False, True]
    assert "too few right results" in strategy.history[1].refusal
    assert strategy.history[1].metrics()["unchanged"] == 1
    assert len(strategy.history[1].metrics()["rejected-participants"]) == 6


def test_attack_from_a_later_round__is_located_then() -> None:
    config = {"attack": "full-noise", "attackers": "8,", "attack-from-round": 2}
    strategy, _, _ = run(config, num_rounds=2)
    assert [each.outcome.liars for each in strategy.history] == [(), (8,)]


def test_profiled_workers__get_the_evaluation_points_assigned_to_them() -> None:
    unreliable = np.arange(13) < 5
    strategy, equations, _ = run(
        {"attack": "full-noise", "attackers": "0,4"},
        evaluation_order=evaluation_order(13, np.arange(5), (0, 3, 6, 9, 12)),
        unreliable=unreliable,
    )
    assert np.allclose(equations, FEATURES.T @ TABLE, atol=1e-6)
    assert strategy.history[0].outcome.liars == (0, 4)


def test_nodes__receive_noise_and_not_the_table() -> None:
    received = []

    def spy(partition_id, message):
        if message.content is not None and SHARE_KEY in message.content:
            received.append(message.content[SHARE_KEY]["block"].numpy())
        return False

    run(drop=spy)
    shares = np.array(received)
    for share in shares:
        correlation = np.corrcoef(share.real.ravel(), TABLE.ravel())[0, 1]
        assert abs(correlation) < 0.5
        assert abs(share).mean() > 5 * abs(TABLE).mean()


def test_a_share_that_may_be_lost__is_sent_again_and_is_the_same() -> None:
    sent = []

    def spy(partition_id, message):
        if partition_id == 4 and message.content is not None and SHARE_KEY in message.content:
            sent.append(message.content[SHARE_KEY]["block"].numpy())
        return False

    def fail_once(partition_id, reply):
        is_first = partition_id == 4 and len(sent) == 1
        return Error(0, "the node went away") if is_first and reply.has_content() else reply

    strategy, equations, _ = run(num_rounds=3, drop=spy, tamper=fail_once, num_stragglers=1)
    assert np.allclose(equations, FEATURES.T @ TABLE, atol=1e-6)
    assert [each.outcome.missing for each in strategy.history] == [(4,), (), ()]
    assert len(sent) == 2
    assert np.array_equal(*sent)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"reply_timeout": 0.0}, "reply_timeout"),
        ({"num_stragglers": 9}, "num_stragglers"),
        ({"num_byzantine": 3, "num_stragglers": 2}, "num_byzantine"),
        ({"num_byzantine": 3, "verification": "code"}, "num_byzantine"),
        ({"num_byzantine": 5}, "num_colluders"),
        ({"accuracy": 1e-15}, "accuracy"),
        ({"function": "elementwise-square"}, "function"),
        ({"function": "product"}, "left"),
        ({"table": TABLE * np.nan}, "table"),
        ({"table": TABLE[:1]}, "table"),
        ({"table": [["a", "b"]]}, "table"),
    ],
)
def test_strategy__refuses_bad_parameters_before_anything_is_sent(options, name) -> None:
    register_function(PolynomialFunction("elementwise-square", 2, lambda block, _: block * block))
    arguments = {"table": TABLE, **options}
    with pytest.raises(ParameterError) as caught:
        RobustALCC(CODE, arguments.pop("table"), **arguments)
    assert caught.value.name == name


@pytest.mark.parametrize(
    "run_config",
    [
        {"attack": "lie"},
        {"attack": "full-noise", "attack-mena": 1.0},
        {"attack": "full-noise", "attackers": 40},
        {"straglers": 3},
    ],
)
def test_faults__are_refused_when_misspelled(run_config) -> None:
    with pytest.raises(ParameterError):
        analog_faults_from_config(run_config, 31)


def test_a_node_that_has_lost_its_share__gets_it_again_in_the_same_round() -> None:
    grid = InProcessGrid(robust_alcc_client_app(), 13, {})
    strategy = RobustALCC(CODE, TABLE, reply_timeout=5.0, connect_timeout=5.0)
    strategy.start(grid, strategy.initial_arrays(), num_rounds=1)
    grid.contexts[4].state.clear()
    strategy._is_own_master = True  # a round by hand, where start() would play it
    strategy.configure_train(2, strategy.initial_arrays(), None, grid)
    arrays, metrics = strategy.aggregate_train(2, [])
    assert metrics["accepted-replies"] == 13
    assert metrics["rejected-replies"] == 0
    assert np.allclose(arrays["result"].numpy(), FEATURES.T @ TABLE, atol=1e-6)


def test_a_second_start__on_another_grid_deals_again() -> None:
    strategy = RobustALCC(CODE, TABLE, reply_timeout=5.0, connect_timeout=5.0)
    for seed in range(2):
        grid = InProcessGrid(robust_alcc_client_app(), 13, {}, seed=seed)
        result = strategy.start(grid, strategy.initial_arrays(), num_rounds=1)
        assert np.allclose(result.arrays["result"].numpy(), FEATURES.T @ TABLE, atol=1e-6)
        assert len(strategy.history) == 1


def test_a_request_without_a_share__is_an_error_reply() -> None:
    grid = InProcessGrid(robust_alcc_client_app(), 1)
    message = Message(request_content(Request("gram"), 1, None), grid.node_ids[0], COMPUTE_MESSAGE_TYPE)
    [reply] = grid.send_and_receive([message], timeout=1)
    assert reply.error.code == STATE_MISSING_CODE
    assert "no share" in reply.error.reason
