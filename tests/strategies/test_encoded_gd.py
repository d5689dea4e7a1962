"""Encoded gradient descent through Flower's messages: exactness, faults, stragglers, state, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

from flower_coded.attacks.worker_errors import WORKER_ERRORS
from flower_coded.clients.encoded_gd import encoded_gd_client_app, faults_from_config
from flower_coded.codes import RealErrorLocatingCode
from flower_coded.errors import NodesMissingError, NoRoundSucceededError, ParameterError
from flower_coded.protocols.encoded_gradient import (
    AcceleratedStep,
    BacktrackingStep,
    ConstantStep,
    LeastSquares,
    Logistic,
    Product,
    StepSizeRule,
    run_encoded,
    smoothness,
)
from flower_coded.strategies import EncodedGradientDescent
from flower_coded.testing import InProcessGrid
from flower_coded.wire.encoded_gd import (
    MULTIPLY_MESSAGE_TYPE,
    SHARE_MESSAGE_TYPE,
    product_content,
    stored_content,
    values_content,
)
from flower_coded.wire.keys import STATE_MISSING_CODE

CODE = RealErrorLocatingCode(9, 2, 2)
LIARS, MISSING = (1, 4), (0, 7)


def data(num_rows: int = 30) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.standard_normal((num_rows, 4)), generator.standard_normal(num_rows)


def step() -> ConstantStep:
    return ConstantStep(1 / smoothness(LeastSquares(), data()[0]))


def make_strategy(rule: StepSizeRule | None = None, **arguments: object) -> EncodedGradientDescent:
    arguments = {"reply_timeout": 1.0, "connect_timeout": 1.0, "share_timeout": 1.0} | arguments
    return EncodedGradientDescent(CODE, *data(), LeastSquares(), rule or step(), **arguments)


def run(
    strategy: EncodedGradientDescent,
    grid: InProcessGrid,
    num_rounds: int = 3,
    start: ArrayRecord | None = None,
) -> np.ndarray:
    result = strategy.start(grid, start or strategy.initial_arrays(), num_rounds=num_rounds)
    return result.arrays["weights"].numpy()


def expected_weights(num_rounds: int, rule: StepSizeRule | None = None) -> np.ndarray:
    descent = run_encoded(
        CODE, *data(), objective=LeastSquares(), step_size_rule=rule or step(), num_iterations=num_rounds
    )
    return descent.weights[-1]


@pytest.mark.parametrize("attack", sorted(set(WORKER_ERRORS) - {"late"}))
def test_iterates__are_exact_and_culprits_named_under_every_attack(attack: str) -> None:
    config = {"attack": attack, "attackers": "1,4", "stragglers": "0,7", "attack-from-round": 2}
    strategy = make_strategy()
    weights = run(strategy, InProcessGrid(encoded_gd_client_app(), 9, config))
    np.testing.assert_allclose(weights, expected_weights(3), rtol=1e-9)
    first, second, third = strategy.history
    assert first.all_located == ()
    for record in (second, third):
        rejected = {each.participant for each in record.rejected}
        assert set(record.all_located) | rejected == set(LIARS) | set(MISSING)
        assert rejected >= set(MISSING)
    assert {each.participant for each in first.rejected} == set(MISSING)


def test_share__is_sent_once_and_stays_in_the_node_s_state() -> None:
    grid = InProcessGrid(encoded_gd_client_app(), 9)
    run(make_strategy(), grid, num_rounds=4)
    types = [sent.message_type for sent in grid.traffic]
    assert types.count(SHARE_MESSAGE_TYPE) == 9
    assert types.count(MULTIPLY_MESSAGE_TYPE) == 9 * 2 * 4
    # q = 9 - 6 = 3: ten blocks of [X, -y], two of X^T.
    shapes = {
        tuple(array.shape for array in context.state["encoded-gd-arrays"].values())
        for context in grid.contexts
    }
    assert shapes == {((10, 5), (2, 30))}


def test_stragglers__cost_no_more_than_the_answers_that_suffice_need() -> None:
    # Nodes 0 and 7 swallow every message but the share: the other seven are all but s = 2, so nobody waits.
    grid = InProcessGrid(
        encoded_gd_client_app(),
        9,
        {"attack": "reversed", "attackers": "1,4"},
        drop=lambda user, message: user in MISSING and message.metadata.message_type == MULTIPLY_MESSAGE_TYPE,
    )
    strategy = make_strategy(reply_timeout=1000.0)
    np.testing.assert_allclose(run(strategy, grid), expected_weights(3), rtol=1e-9)
    assert all(record.all_located == LIARS for record in strategy.history)
    reasons = {(each.participant, each.code) for record in strategy.history for each in record.rejected}
    assert reasons == {(user, "no-reply") for user in MISSING} | {(user, "located") for user in LIARS}
    # Who owes an answer is not asked again.
    asked = [sent.partition_id for sent in grid.traffic if sent.message_type == MULTIPLY_MESSAGE_TYPE]
    assert asked.count(0) == asked.count(7) == 1
    assert asked.count(1) == 6


def test_timeout__ends_the_wait_when_too_few_answer_and_the_round_keeps_its_weights() -> None:
    lost = {0, 1, 2, 3, 4, 5, 6}
    grid = InProcessGrid(
        encoded_gd_client_app(),
        9,
        drop=lambda user, message: user in lost and message.metadata.message_type == MULTIPLY_MESSAGE_TYPE,
    )
    strategy = make_strategy(reply_timeout=0.2)
    start = ArrayRecord({"weights": Array(np.ones(4))})
    with pytest.raises(NoRoundSucceededError, match="received 2, needed 3"):
        strategy.start(grid, start, num_rounds=1)
    assert strategy.history[0].is_unchanged
    np.testing.assert_array_equal(strategy.weights_history[-1], np.ones(4))
    assert strategy.history[0].metrics()["unchanged"] == 1


@pytest.mark.parametrize("verification", ["keys", "code"])
def test_one_liar_too_many__keeps_the_weights_and_says_so(verification: str) -> None:
    config = {"attack": "gaussian", "attackers": "0,1,2,3,5,6,8" if verification == "keys" else "0,1,2,3"}
    strategy = make_strategy(verification=verification)
    grid = InProcessGrid(encoded_gd_client_app(), 9, config)
    # k = 6: keys bear six liars, the code corrects three. One more is refused, in both rounds.
    with pytest.raises(NoRoundSucceededError, match="more workers"):
        strategy.start(grid, strategy.initial_arrays(), num_rounds=2)
    assert [record.is_unchanged for record in strategy.history] == [True, True]
    if verification == "keys":
        assert "wrong: [0, 1, 2, 3, 5, 6, 8]" in strategy.history[0].refusal


def test_as_many_liars_as_there_is_redundancy__change_nothing_with_keys() -> None:
    config = {"attack": "reversed", "attackers": "0,1,2,3,5,6"}
    strategy = make_strategy()
    weights = run(strategy, InProcessGrid(encoded_gd_client_app(), 9, config))
    np.testing.assert_allclose(weights, expected_weights(3), rtol=1e-9)
    for record in strategy.history:
        assert record.all_located == (0, 1, 2, 3, 5, 6)
        assert record.accepted == (4, 7, 8)
        assert record.verification == "keys"
        assert 0 < record.error_bound < 1e-6


def test_a_node_that_lost_its_share__is_dealt_it_again_in_the_same_round() -> None:
    lost = iter([True])
    grid = InProcessGrid(encoded_gd_client_app(), 9)

    def forget(user: int, message: Message) -> bool:
        is_product = message.metadata.message_type == MULTIPLY_MESSAGE_TYPE
        if user == 6 and is_product and message.metadata.group_id == "2/1" and next(lost, False):
            grid.contexts[6].state.clear()
        return False

    grid = InProcessGrid(encoded_gd_client_app(), 9, drop=forget)
    strategy = make_strategy()
    np.testing.assert_allclose(run(strategy, grid), expected_weights(3), rtol=1e-9)
    assert [(each.participant, each.code) for each in strategy.history[1].rejected] == [(6, "state-missing")]
    assert strategy.history[2].rejected == ()


def spoilt(kind: str) -> RecordDict:
    values = np.zeros(10)
    return {
        "no record": RecordDict({}),
        "two records": RecordDict({"a": ArrayRecord(), "b": ArrayRecord()}),
        "keys": RecordDict({"a": ArrayRecord({"value": Array(values)})}),
        "float32": values_content(values.astype(np.float32)),
        "shape": values_content(np.zeros((10, 1))),
        "garbage": RecordDict(
            {"a": ArrayRecord({"values": Array("float64", (10,), "numpy.ndarray", b"junk")})}
        ),
        "metrics": RecordDict({"m": MetricRecord({"values": 1.0})}),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["no record", "two records", "keys", "float32", "shape", "garbage", "metrics"]
)
def test_malformed_replies__cost_their_sender_its_place_and_nothing_else(kind: str) -> None:
    def tamper(user: int, reply: Message) -> Message:
        if user in LIARS and reply.has_content() and reply.metadata.message_type == MULTIPLY_MESSAGE_TYPE:
            reply.content = spoilt(kind)
        return reply

    strategy = make_strategy()
    grid = InProcessGrid(encoded_gd_client_app(), 9, tamper=tamper)
    np.testing.assert_allclose(run(strategy, grid), expected_weights(3), rtol=1e-9)
    for record in strategy.history:
        assert {each.participant for each in record.rejected} == set(LIARS)
        assert record.all_located == ()


def test_replies__in_any_order_and_twice_give_the_same_weights() -> None:
    reference = run(make_strategy(), InProcessGrid(encoded_gd_client_app(), 9))

    def twice(user: int, reply: Message) -> list[Message]:
        return [reply, reply] if user == 3 else [reply]

    grid = InProcessGrid(encoded_gd_client_app(), 9, order="shuffled", tamper=twice)
    np.testing.assert_allclose(run(make_strategy(), grid), reference, rtol=1e-12)


def test_a_node_that_does_not_confirm_its_share__is_sent_it_again() -> None:
    confirmations = iter([stored_content(0)])

    def tamper(user: int, reply: Message) -> Message:
        if user == 5 and reply.metadata.message_type == SHARE_MESSAGE_TYPE:
            reply.content = next(confirmations, reply.content)
        return reply

    grid = InProcessGrid(encoded_gd_client_app(), 9, tamper=tamper)
    np.testing.assert_allclose(run(make_strategy(), grid), expected_weights(3), rtol=1e-9)
    sent = [each.partition_id for each in grid.traffic if each.message_type == SHARE_MESSAGE_TYPE]
    assert sorted(sent) == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8]


def test_append__goes_on_with_the_longer_table() -> None:
    more = data(4)
    features, targets = np.concatenate([data()[0], more[0]]), np.concatenate([data()[1], more[1]])
    strategy = make_strategy()
    grid = InProcessGrid(encoded_gd_client_app(), 9, {"attack": "proportional", "attackers": "1,4"})
    result = strategy.start(grid, strategy.initial_arrays(), num_rounds=1)
    strategy.append(features[30:], targets[30:])
    weights = run(strategy, grid, 1, start=result.arrays)
    before = result.arrays["weights"].numpy()
    gradient = features.T @ (features @ before - targets)
    np.testing.assert_allclose(weights, before - step().step_size * gradient, rtol=1e-9)
    assert strategy.history[-1].all_located == LIARS
    with pytest.raises(ParameterError, match=r"\(b, 4\)"):
        strategy.append(np.ones((1, 3)), np.ones(1))


def test_other_rules__send_the_products_they_need() -> None:
    for rule in (AcceleratedStep(step().step_size), BacktrackingStep(step().step_size)):
        strategy = make_strategy(rule)
        weights = run(strategy, InProcessGrid(encoded_gd_client_app(), 9), 5)
        np.testing.assert_allclose(weights, expected_weights(5, rule), rtol=1e-9)
    # Backtracking: a gradient (2) and a trial or more at first; then the trial saves the first product.
    assert len(strategy.history[0].located) >= 3
    assert min(len(record.located) for record in strategy.history[1:]) == 2


def test_metrics__are_numbers_flower_can_keep() -> None:
    config = {"attack": "reversed", "attackers": "1,4", "stragglers": "0,7"}
    strategy = make_strategy()
    grid = InProcessGrid(encoded_gd_client_app(), 9, config)
    result = strategy.start(grid, strategy.initial_arrays(), num_rounds=1)
    metrics = result.train_metrics_clientapp[1]
    assert metrics["rejected-located"] == 2
    assert metrics["rejected-participants"] == sorted([*LIARS, *MISSING])
    assert metrics["unchanged"] == 0
    assert metrics["verified-by-keys"] == 1
    assert metrics["products"] == 2
    assert math.isfinite(metrics["objective"])


def test_start__gives_up_when_nodes_are_missing() -> None:
    strategy = make_strategy(connect_timeout=0.05)
    with pytest.raises(NodesMissingError, match="8 of 9 nodes"):
        run(strategy, InProcessGrid(encoded_gd_client_app(), 8))


def test_parameters__are_refused_when_the_strategy_is_made() -> None:
    with pytest.raises(ParameterError, match="reply_timeout"):
        make_strategy(reply_timeout=0.0)
    with pytest.raises(ParameterError, match="0 or 1"):
        EncodedGradientDescent(CODE, *data(), Logistic(), step())
    with pytest.raises(ParameterError, match="one entry per row"):
        EncodedGradientDescent(CODE, data()[0], np.ones(3), LeastSquares(), step())


def test_worker__refuses_a_product_before_it_has_a_share() -> None:
    grid = InProcessGrid(encoded_gd_client_app(), 1)
    question = Message(product_content(Product(1, np.ones(5)), 1), grid.node_ids[0], MULTIPLY_MESSAGE_TYPE)
    [reply] = grid.send_and_receive([question], timeout=1)
    assert reply.error.code == STATE_MISSING_CODE


def test_device__gives_the_same_weights_on_torch() -> None:
    strategy = make_strategy(device="cpu")
    weights = run(strategy, InProcessGrid(encoded_gd_client_app(), 9, {"device": "cpu"}))
    np.testing.assert_allclose(weights, expected_weights(3), rtol=1e-9)


def test_late_workers__answer_truthfully_after_their_delay() -> None:
    config = {"stragglers": "0,7", "straggler-seconds": 0.01}
    strategy = make_strategy()
    run(strategy, InProcessGrid(encoded_gd_client_app(), 9, config))
    assert all(record.rejected == () and record.all_located == () for record in strategy.history)


def test_faults_from_config__refuses_what_it_does_not_know() -> None:
    with pytest.raises(ParameterError, match="reversed"):
        faults_from_config({"attack": "reverse"}, 9)
    with pytest.raises(ParameterError, match="attackers"):
        faults_from_config({"attack": "nan", "attackers": 10}, 9)
    assert faults_from_config({}, 9).attacks == {}
