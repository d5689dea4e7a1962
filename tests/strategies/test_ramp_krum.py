"""The strategy and the mod together, over the in-process grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from flower_coded.clients.identity import register_identity
from flower_coded.clients.ramp_krum import deviating_ramp_krum_mod, deviations_from_config, ramp_krum_mod
from flower_coded.crypto.srs_cache import CACHE_VARIABLE
from flower_coded.errors import MalformedReplyError, ParameterError
from flower_coded.protocols.ramp_krum.messages import Complaints, Dealing, KeyRequest
from flower_coded.protocols.ramp_krum.selection import plain_multi_krum
from flower_coded.strategies.ramp_krum import RampSharedMultiKrum
from flower_coded.testing import InProcessGrid
from flower_coded.wire.ramp_krum import (
    message_to_records,
    parameters_to_settings,
    records_to_message,
    settings_to_parameters,
)

NUM_USERS = 9
START = {"weight": np.ones((2, 3), dtype=np.float32), "bias": np.zeros(2), "seen": np.array(5)}
OPTIONS: dict[str, Any] = {
    "num_dropouts": 1,
    "num_colluders": 1,
    "num_parts": 2,
    "num_selected": 2,
    "num_bits": 12,
    "is_blinded": False,
    "hides_products": False,
    "fraction_evaluate": 0.0,
}


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


def update_of(user: int, size: int) -> np.ndarray:
    """User 4 pulls away; the others are near each other."""
    return np.full(size, 0.9) if user == 4 else np.linspace(-0.1, 0.1, size) + user / 1000


def make_app(mod: Any = ramp_krum_mod, *, knows_partition: bool = True) -> ClientApp:
    app = ClientApp(mods=[mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        assert set(message.content) == {"arrays", "config"}, "the app must see an ordinary train message"
        user = int(context.node_config["partition-id"])
        arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
        trained = {
            "weight": arrays["weight"] + update_of(user, 6).reshape(2, 3).astype(np.float32),
            "bias": arrays["bias"] + update_of(user, 2),
            "seen": arrays["seen"] + 1,
        }
        metrics = MetricRecord({"num-examples": 10 + user, "loss": 0.5})
        record = ArrayRecord({name: Array(np.asarray(array)) for name, array in trained.items()})
        return Message(RecordDict({"arrays": record, "metrics": metrics}), reply_to=message)

    return register_identity(app) if knows_partition else app


def start_arrays() -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in START.items()})


def run(strategy: FedAvg, grid: InProcessGrid, num_rounds: int = 1) -> Any:
    return strategy.start(grid, start_arrays(), num_rounds=num_rounds, timeout=60)


def test_strategy__adds_the_mean_of_the_users_that_plain_multi_krum_selects() -> None:
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    result = run(strategy, InProcessGrid(make_app(), NUM_USERS))
    (record,) = strategy.history
    assert record.report.outcome is not None
    mean = np.concatenate(
        [(result.arrays[name].numpy() - START[name]).ravel() for name in ("weight", "bias")]
    )
    updates = {user: np.concatenate([update_of(user, 6), update_of(user, 2)]) for user in range(NUM_USERS)}
    expected = np.mean([updates[user] for user in record.selected], axis=0)
    assert mean == pytest.approx(expected, abs=1.5 * strategy.fixed_point.step)
    fine = {user: np.rint(update * 1e6).astype(np.int64) for user, update in updates.items()}
    selection, _ = plain_multi_krum(fine, num_attackers=1, num_selected=2)
    assert set(record.selected) <= set(range(NUM_USERS)) - {4}
    assert len(set(record.selected) & set(selection.users)) >= 1  # rounding may change a close decision
    assert result.arrays["seen"].numpy() == 5  # counters are not averaged
    assert result.arrays["weight"].numpy().dtype == np.float32
    metrics = result.train_metrics_clientapp[1]
    assert metrics["selected-users"] == list(record.selected)
    assert metrics["loss"] == pytest.approx(0.5)
    assert metrics["bytes-shares"] == record.bytes_by_phase()["shares"] > 0


def test_strategy__leaves_no_state_on_the_nodes() -> None:
    grid = InProcessGrid(make_app(), NUM_USERS)
    run(RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS), grid, num_rounds=2)
    assert [list(context.state) for context in grid.contexts] == [[]] * NUM_USERS


# All of them are run in the protocol's own tests; here one per phase goes through records and nodes.
@pytest.mark.parametrize(
    "name",
    [
        "low-order-key",
        "commitment-off-the-curve",
        "bad-share-to-one",
        "false-complaint",
        "wrong-products",
        "harmful-update",
        "wrong-sum",
        "drop-at-complaints",
    ],
)
def test_strategy__survives_a_deviating_node_by_run_config(name: str) -> None:
    grid = InProcessGrid(
        make_app(deviating_ramp_krum_mod), NUM_USERS, {"deviations": f"3:{name}"}, wire=False
    )
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    run(strategy, grid)
    (record,) = strategy.history
    assert record.report.outcome is not None, record.refusal
    named = {each.user for each in record.misbehavior}
    assert named == (set() if name == "harmful-update" else {3})
    liars = {each.user for each in record.misbehavior if each.is_lie}
    proved = {"bad-share-to-one", "false-complaint", "wrong-products", "wrong-sum"}
    assert strategy.banned == liars == ({3} if name in proved else set())


def test_strategy__does_not_ask_a_liar_again() -> None:
    grid = InProcessGrid(make_app(deviating_ramp_krum_mod), NUM_USERS, {"deviations": "3:wrong-sum"})
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    run(strategy, grid, num_rounds=2)
    assert [message.partition_id for message in grid.traffic if message.group_id == "2/keys"] == [
        0,
        1,
        2,
        4,
        5,
        6,
        7,
        8,
    ]
    assert all(record.report.outcome is not None for record in strategy.history)


def test_strategy__waits_until_the_configured_round_to_deviate() -> None:
    config = {"deviations": "3:drop-at-keys", "deviations-from": 2}
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    run(strategy, InProcessGrid(make_app(deviating_ramp_krum_mod), NUM_USERS, config), num_rounds=2)
    assert [len(record.misbehavior) for record in strategy.history] == [0, 1]


def test_strategy__keeps_the_old_model_when_a_round_is_refused() -> None:
    config = {"deviations": "1:drop-at-shares, 2:drop-at-shares, 3:drop-at-shares, 4:drop-at-shares"}
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    result = run(strategy, InProcessGrid(make_app(deviating_ramp_krum_mod), NUM_USERS, config))
    assert not result.arrays or result.arrays["bias"].numpy().tolist() == [0.0, 0.0]
    assert "4 did not answer as they must" in strategy.history[0].refusal
    assert result.train_metrics_clientapp[1]["refused"] == 1


@pytest.mark.parametrize(
    "reply",
    [
        lambda message: Error(code=2, reason="broken"),
        lambda message: None,
        lambda message: _with(message, RecordDict({"metrics": MetricRecord({"num-examples": 1})})),
        lambda message: _with(message, RecordDict({"ramp-krum": ConfigRecord({"kind": "PublicKey"})})),
        lambda message: _without(message, "metrics"),
        lambda message: [message, message],
    ],
)
def test_strategy__survives_a_node_that_answers_nonsense(reply: Callable[[Message], Any]) -> None:
    def tamper(partition_id: int, message: Message) -> Any:
        return reply(message) if partition_id == 6 and "ramp-krum" in message.content else message

    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    run(strategy, InProcessGrid(make_app(), NUM_USERS, tamper=tamper))
    assert strategy.history[0].report.outcome is not None, strategy.history[0].refusal
    assert {each.user for each in strategy.history[0].misbehavior} == {6}


def _with(message: Message, content: RecordDict) -> Message:
    message.content = content
    return message


def _without(message: Message, name: str) -> Message:
    message.content.pop(name, None)
    return message


def test_strategy__works_with_apps_that_do_not_know_their_partition() -> None:
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    run(strategy, InProcessGrid(make_app(knows_partition=False), NUM_USERS))
    assert strategy.history[0].report.outcome is not None


def test_strategy__with_all_protections_on_gives_the_same_selection() -> None:
    results = []
    for protections in ({}, {"is_blinded": True, "hides_products": True}):
        strategy = RampSharedMultiKrum(NUM_USERS, 1, **(OPTIONS | protections))
        result = run(strategy, InProcessGrid(make_app(), NUM_USERS))
        results.append((strategy.history[0].selected, result.arrays["bias"].numpy().tolist()))
    assert results[0] == results[1]


def test_mod__passes_other_messages_through() -> None:
    app = ClientApp(mods=[ramp_krum_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(RecordDict({"arrays": message.content["arrays"]}), reply_to=message)

    grid = InProcessGrid(app, 1)
    content = RecordDict({"arrays": start_arrays()})
    (reply,) = grid.send_and_receive([Message(content, grid.node_ids[0], "train")], timeout=5)
    assert set(reply.content["arrays"]) == set(START)


def test_mod__answers_a_request_out_of_turn_with_an_error() -> None:
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    grid = InProcessGrid(make_app(), NUM_USERS)
    run(strategy, grid)
    assert strategy._schemes is not None
    from flower_coded.protocols.ramp_krum.messages import SumRequest

    reference = strategy._schemes.by_family["update"].reference
    settings = parameters_to_settings(strategy._schemes.parameters, user=0, digest=reference.digest)
    content = RecordDict({**message_to_records(SumRequest(b"r", (0, 1))), "ramp-krum-settings": settings})
    (reply,) = grid.send_and_receive([Message(content, grid.node_ids[0], "train")], timeout=5)
    assert reply.has_error()
    assert "does not fit what was asked before" in reply.error.reason


@pytest.mark.parametrize(
    "message",
    [
        KeyRequest(b"round"),
        Complaints(b"round", 4, (), {1: b"e"}),
        Dealing(b"round", 3, b"points", {1: b"a", 10: b""}),
    ],
)
def test_records__carry_messages_unchanged(message: Any) -> None:
    content = RecordDict(dict(message_to_records(message)))
    assert records_to_message(content, [type(message)]) == message


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda c: c.pop("ramp-krum"), "record-count"),
        (lambda c: c["ramp-krum"].__setitem__("kind", "Openings"), "protocol"),
        (lambda c: c["ramp-krum"].__setitem__("user", 1.5), "protocol"),
        (lambda c: c["ramp-krum"].__delitem__("round-id"), "protocol"),
        (lambda c: c.pop("ramp-krum-data"), "keys"),
        (
            lambda c: c["ramp-krum-data"].__setitem__("encrypted_shares/01", Array(np.zeros(1, np.uint8))),
            "keys",
        ),
        (lambda c: c["ramp-krum-data"].__setitem__("extra", Array(np.zeros(1, np.uint8))), "keys"),
        (lambda c: c["ramp-krum-data"].__setitem__("encrypted_shares/1", Array(np.zeros(2))), "dtype"),
        (
            lambda c: c["ramp-krum-data"].__setitem__(
                "encrypted_shares/1", Array(np.zeros((2, 2), np.uint8))
            ),
            "shape",
        ),
        (
            lambda c: c["ramp-krum-data"].__setitem__(
                "encrypted_shares/1", Array(dtype="uint8", shape=(1,), stype="other", data=b"?")
            ),
            "undecodable",
        ),
    ],
)
def test_records__refuse_what_is_not_exactly_a_message(change: Callable[[Any], Any], code: str) -> None:
    content = RecordDict(dict(message_to_records(Dealing(b"round", 3, b"points", {1: b"a"}))))
    change(content)
    with pytest.raises(MalformedReplyError) as caught:
        records_to_message(content, [Dealing])
    assert caught.value.code == code


def test_settings__carry_all_parameters() -> None:
    parameters = RampSharedMultiKrum(NUM_USERS, 1, **(OPTIONS | {"chunk_size": None}))._parameters(77)
    settings = parameters_to_settings(parameters, user=2, digest="d")
    assert settings_to_parameters(settings) == parameters
    del settings["num-bits"]
    with pytest.raises(ParameterError, match="num-bits"):
        settings_to_parameters(settings)


def test_strategy__refuses_arguments_that_cannot_hold() -> None:
    with pytest.raises(ParameterError, match="what all users decide"):
        RampSharedMultiKrum(NUM_USERS, 1, fraction_train=0.5)
    with pytest.raises(ParameterError, match=r"2 <= m <= N - 2A - D - 3 = 9 - 2 - 1 - 3 = 3; received 5"):
        RampSharedMultiKrum(NUM_USERS, 1, num_selected=5)


def test_deviations_from_config__refuses_what_it_does_not_know() -> None:
    with pytest.raises(ParameterError, match="pairs user:name"):
        deviations_from_config({"deviations": "wrong-sum"})
    with pytest.raises(ParameterError, match="must be one of"):
        deviations_from_config({"deviations": "3:wrong"})


def test_mod__needs_the_reference_string_that_the_server_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flower_coded.clients import ramp_krum
    from flower_coded.crypto.srs import generate_reference_string

    ramp_krum._schemes.cache_clear()
    strategy = RampSharedMultiKrum(NUM_USERS, 1, reference=generate_reference_string(128), **OPTIONS)
    run(strategy, InProcessGrid(make_app(), NUM_USERS))
    assert "did not answer as they must" in strategy.history[0].refusal
