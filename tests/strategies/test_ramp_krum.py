"""The strategy and the mod together, over the in-process grid."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from flower_coded.aggregation import FedAvgM
from flower_coded.clients.identity import register_identity
from flower_coded.clients.ramp_krum import ramp_krum_mod
from flower_coded.clients.ramp_krum_experiments import deviating_ramp_krum_mod, deviations_from_config
from flower_coded.crypto.srs_cache import CACHE_VARIABLE, cache_directory
from flower_coded.errors import (
    MalformedReplyError,
    NoRoundSucceededError,
    ParameterError,
    RoundRefusedError,
)
from flower_coded.protocols.ramp_krum.messages import Complaints, Dealing, KeyRequest
from flower_coded.protocols.ramp_krum.selection import plain_multi_krum
from flower_coded.strategies.ramp_krum import RampSharedMultiKrum
from flower_coded.testing import InProcessGrid
from flower_coded.wire.ramp_krum import (
    Limits,
    message_to_records,
    parameters_to_settings,
    records_to_message,
    settings_to_parameters,
)

NUM_USERS, LIMITS = 9, Limits(num_users=12, num_bytes=1000)
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
BARE = {"ramp-krum-protections": False}  # these nodes accept what OPTIONS leave out


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
    result = run(strategy, InProcessGrid(make_app(), NUM_USERS, BARE))
    (record,) = strategy.history
    assert record.selected
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
    assert metrics["selected-participants"] == list(record.selected)
    assert metrics["loss"] == pytest.approx(0.5)
    assert metrics["bytes-shares"] == record.bytes_by_phase()["shares"] > 0


def test_strategy__takes_the_step_of_a_server_optimizer_along_the_mean() -> None:
    strategy = RampSharedMultiKrum(
        NUM_USERS, 1, server_optimizer=FedAvgM(learning_rate=0.5, momentum=0.5), **OPTIONS
    )
    result = run(strategy, InProcessGrid(make_app(), NUM_USERS, BARE), num_rounds=2)
    moved = np.concatenate([(result.arrays[key].numpy() - START[key]).ravel() for key in ("weight", "bias")])
    updates = {user: np.concatenate([update_of(user, 6), update_of(user, 2)]) for user in range(NUM_USERS)}
    first, second = (np.mean([updates[user] for user in each.selected], axis=0) for each in strategy.history)
    expected = 0.5 * first + 0.5 * (0.5 * first + second)
    assert moved == pytest.approx(expected, abs=2 * strategy.fixed_point.step)
    assert result.arrays["seen"].numpy() == 5


def test_strategy__leaves_no_state_on_the_nodes() -> None:
    grid = InProcessGrid(make_app(), NUM_USERS, BARE)
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
        make_app(deviating_ramp_krum_mod), NUM_USERS, {"deviations": f"3:{name}", **BARE}, wire=False
    )
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    run(strategy, grid)
    (record,) = strategy.history
    assert record.selected, record.refusal
    named = {each.user for each in record.misbehavior}
    assert named == (set() if name == "harmful-update" else {3})
    liars = {each.user for each in record.misbehavior if each.is_lie}
    proved = {"bad-share-to-one", "false-complaint", "wrong-products", "wrong-sum"}
    assert set(strategy.bans) == liars == ({3} if name in proved else set())


def test_strategy__does_not_ask_a_liar_again() -> None:
    grid = InProcessGrid(make_app(deviating_ramp_krum_mod), NUM_USERS, {"deviations": "3:wrong-sum", **BARE})
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
    assert all(record.selected for record in strategy.history)


def test_strategy__waits_until_the_configured_round_to_deviate() -> None:
    config = {"deviations": "3:drop-at-keys", "deviations-from": 2, **BARE}
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    run(strategy, InProcessGrid(make_app(deviating_ramp_krum_mod), NUM_USERS, config), num_rounds=2)
    assert [len(record.misbehavior) for record in strategy.history] == [0, 1]


def test_strategy__keeps_the_old_model_when_a_round_is_refused() -> None:
    config = {"deviations": "1:drop-at-shares, 2:drop-at-shares, 3:drop-at-shares, 4:drop-at-shares", **BARE}
    config["deviations-from"] = 2
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    grid = InProcessGrid(make_app(deviating_ramp_krum_mod), NUM_USERS, config)
    result = run(strategy, grid, num_rounds=2)
    (first, second) = strategy.history
    assert result.arrays["bias"].numpy() == pytest.approx(
        np.mean([update_of(user, 2) for user in first.selected], axis=0), abs=1e-3
    )
    assert "4 did not answer as they must" in second.refusal
    assert "1 (silent), 2 (silent), 3 (silent), 4 (silent)" in second.refusal
    assert [result.train_metrics_clientapp[n]["unchanged"] for n in (1, 2)] == [0, 1]
    assert result.train_metrics_clientapp[2]["rejected-participants"] == [1, 2, 3, 4]
    assert {each.reason for each in second.rejected} == {"shares: this node fell silent"}


@pytest.mark.parametrize(
    "reply",
    [
        lambda message: Error(code=2, reason="broken"),
        lambda message: None,
        lambda message: _with(message, RecordDict({"metrics": MetricRecord({"num-examples": 1})})),
        lambda message: _with(message, RecordDict({"ramp-krum": ConfigRecord({"kind": "PublicKey"})})),
    ],
)
def test_strategy__survives_a_node_that_answers_nonsense(reply: Callable[[Message], Any]) -> None:
    def tamper(partition_id: int, message: Message) -> Any:
        return reply(message) if partition_id == 6 and "ramp-krum" in message.content else message

    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS, reply_timeout=2.0)
    run(strategy, InProcessGrid(make_app(), NUM_USERS, BARE, tamper=tamper))
    assert strategy.history[0].selected, strategy.history[0].refusal
    assert {each.user for each in strategy.history[0].misbehavior} == {6}


def _with(message: Message, content: RecordDict) -> Message:
    message.content = content
    return message


def _without(message: Message, name: str) -> Message:
    message.content.pop(name, None)
    return message


def test_strategy__works_with_apps_that_do_not_know_their_partition() -> None:
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    run(strategy, InProcessGrid(make_app(knows_partition=False), NUM_USERS, BARE))
    assert strategy.history[0].selected


def test_strategy__with_all_protections_on_gives_the_same_selection() -> None:
    results = []
    for protections in ({}, {"is_blinded": True, "hides_products": True}):
        strategy = RampSharedMultiKrum(NUM_USERS, 1, **(OPTIONS | protections))
        result = run(strategy, InProcessGrid(make_app(), NUM_USERS, BARE))
        results.append((strategy.history[0].selected, result.arrays["bias"].numpy().tolist()))
    assert results[0] == results[1]


def report(**metrics: float) -> Callable[[Message], Message]:
    def change(message: Message) -> Message:
        if "metrics" in message.content.metric_records:
            message.content["metrics"] = MetricRecord(metrics)
        return message

    return change


@pytest.mark.parametrize(
    "change",
    [
        report(**{"num-examples": 0, "loss": 0.5}),
        report(loss=1.0),
        report(**{"num-examples": 1e12, "loss": 1.0}),
        report(**{"num-examples": -5, "loss": 1.0}),
        report(**{"num-examples": 10, "another": 1.0}),
        lambda message: _without(message, "metrics"),
    ],
)
def test_strategy__of_unusable_metrics_drops_the_metrics_only(change: Callable[[Message], Any]) -> None:
    """No number of examples and no name of a metric makes a liar, nor sets what all report together."""

    def tamper(partition_id: int, message: Message) -> Any:
        return change(message) if partition_id == 6 else message

    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    result = run(strategy, InProcessGrid(make_app(), NUM_USERS, BARE, tamper=tamper))
    (record,) = strategy.history
    assert record.misbehavior == ()
    assert strategy.bans == {}
    assert record.selection is not None
    assert 6 in record.selection.scores
    # Capped at ten times the median count, 14, one of nine users is at most 140 of 250 examples.
    assert 0.5 <= result.train_metrics_clientapp[1]["loss"] < 0.8


def test_strategy__bans_expire_and_can_be_lifted() -> None:
    config = {"deviations": "3:wrong-sum, 5:none", **BARE}
    grid = InProcessGrid(make_app(deviating_ramp_krum_mod), NUM_USERS, config)
    strategy = RampSharedMultiKrum(NUM_USERS, 1, ban_rounds=1, **OPTIONS)
    run(strategy, grid, num_rounds=3)
    asked = [
        {message.partition_id for message in grid.traffic if message.group_id == f"{server_round}/keys"}
        for server_round in (1, 2, 3)
    ]
    assert [3 in each for each in asked] == [True, False, True]
    assert strategy.bans == {3: 4}
    strategy.lift_ban(3)
    assert strategy.bans == {}


def test_strategy__keeps_no_update_and_no_mean_in_its_history() -> None:
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    run(strategy, InProcessGrid(make_app(), NUM_USERS, BARE))
    (record,) = strategy.history
    assert record.report.outcome is None
    assert not any(isinstance(value, np.ndarray) for value in vars(record).values())


def test_strategy__does_not_wait_for_users_who_are_much_slower_than_the_others() -> None:
    from flower_coded.strategies.ramp_krum_transport import Waits

    waits = Waits(timeout=600.0, num_spare=2, patience=3.0, least=0.05)
    is_enough = waits.is_enough(9)
    assert not is_enough([None] * 6)  # type: ignore[list-item]
    assert not is_enough([None] * 7)  # type: ignore[list-item]
    time.sleep(0.06)
    assert is_enough([None] * 7)  # type: ignore[list-item]
    assert Waits(600.0, 2).is_enough(9)([None] * 9)  # type: ignore[list-item]


def test_mod__refuses_a_round_that_protects_less_than_its_policy() -> None:
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    with pytest.raises(NoRoundSucceededError, match="9 did not answer"):
        run(strategy, InProcessGrid(make_app(), NUM_USERS))
    reasons = {each.reason for each in strategy.history[0].rejected}
    assert len(reasons) == 1
    assert "this user's policy wants blinded commitments and hidden products" in reasons.pop()
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    with pytest.raises(NoRoundSucceededError):
        run(strategy, InProcessGrid(make_app(), NUM_USERS, {**BARE, "ramp-krum-fewest-colluders": 2}))
    assert "policy wants T >= 2: received 1, needed 2" in strategy.history[0].rejected[0].reason


def test_mod__refuses_parameters_that_change_within_a_round() -> None:
    def tamper(message: Message) -> None:
        settings = message.content.config_records["ramp-krum-settings"]
        settings["num-selected"] = 3

    seen: list[str] = []

    def mod(message: Message, context: Context, call_next: Any) -> Message:
        if message.metadata.group_id.endswith("/sums"):
            tamper(message)
        try:
            return ramp_krum_mod(message, context, call_next)
        except RoundRefusedError as error:
            seen.append(str(error))
            raise

    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    with pytest.raises(NoRoundSucceededError):
        run(strategy, InProcessGrid(make_app(mod), NUM_USERS, BARE))
    assert seen
    assert all("the server changed the round's parameters" in each for each in seen)


def test_state__is_never_in_clear_and_gone_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    from flower_coded.clients.ramp_krum_state import load_state, save_state
    from flower_coded.crypto.encrypted_share import KeyPair
    from flower_coded.protocols.ramp_krum.user import KeyState

    records, key = RecordDict(), KeyPair.generate()
    save_state(records, KeyState(b"r" * 16, 3, key), np.arange(1000), b"terms")
    content = b"".join(array.data for array in records["ramp-krum-encrypted-state"].values())
    written = content + repr(records["ramp-krum-state"]).encode()
    assert key.private_key not in written
    assert np.arange(1000, dtype=np.int32).tobytes()[:64] not in written
    (key_file,) = (cache_directory() / "ramp-krum-keys").iterdir()
    assert key_file.stat().st_mode & 0o077 == 0
    state, update, terms = load_state(records)
    assert state is not None
    assert (state.user, terms) == (3, b"terms")
    assert (update == np.arange(1000)).all()
    # The next round begins although the last one was never closed: what it left behind cannot be read.
    left_behind = RecordDict(dict(records))
    save_state(records, KeyState(b"s" * 16, 3, KeyPair.generate()))
    assert load_state(left_behind) == (None, None, b"")
    save_state(records, None)
    assert list((cache_directory() / "ramp-krum-keys").iterdir()) == []


def test_records__of_a_flood_cost_no_more_than_they_hold() -> None:
    """160 MB of complaints: refused for its length, before a number of it is read."""
    import tracemalloc

    flood = Array(np.zeros(20_000_000, dtype=np.int64))
    content = RecordDict(dict(message_to_records(Complaints(b"round", 3, (5,), {}))))
    content["ramp-krum-data"]["dealers"] = flood
    limits = Limits(num_users=9, num_bytes=1000)
    tracemalloc.start()
    with pytest.raises(MalformedReplyError) as caught:
        records_to_message(content, [Complaints], limits)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert len(str(caught.value)) < 200
    content["ramp-krum-data"]["dealers"] = Array(np.zeros(9, dtype=np.int64))
    records_to_message(content, [Complaints], limits)  # as many as there can be are read
    many = {f"echoes/{user}": Array(np.zeros(1, np.uint8)) for user in range(20)}
    for name, array in many.items():
        content["ramp-krum-data"][name] = array
    with pytest.raises(MalformedReplyError, match="has 20 parts, 9 are possible"):
        records_to_message(content, [Complaints], limits)


def test_strategy__survives_a_flood_of_every_kind_and_logs_a_line(caplog: pytest.LogCaptureFixture) -> None:
    def tamper(partition_id: int, message: Message) -> Any:
        if partition_id == 6 and "ramp-krum-data" in message.content:
            for name in list(message.content["ramp-krum-data"]):
                message.content["ramp-krum-data"][name] = Array(np.zeros(1_000_000, dtype=np.int64))
        return message

    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    with caplog.at_level("WARNING", logger="flwr"):
        run(strategy, InProcessGrid(make_app(), NUM_USERS, BARE, tamper=tamper))
    (record,) = strategy.history
    assert record.selected
    assert {each.user for each in record.misbehavior} == {6}
    assert max(len(line.getMessage()) for line in caplog.records) < 1000


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
    grid = InProcessGrid(make_app(), NUM_USERS, BARE)
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
    assert records_to_message(content, [type(message)], LIMITS) == message


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
        records_to_message(content, [Dealing], LIMITS)
    assert caught.value.code == code


def test_settings__carry_all_parameters() -> None:
    parameters = RampSharedMultiKrum(NUM_USERS, 1, **(OPTIONS | {"chunk_size": None}))._parameters(77)
    settings = parameters_to_settings(parameters, user=2, digest="d")
    assert settings_to_parameters(settings) == parameters
    del settings["num-bits"]
    with pytest.raises(ParameterError, match="num-bits"):
        settings_to_parameters(settings)


def test_strategy__refuses_arguments_that_cannot_hold() -> None:
    with pytest.raises(ParameterError, match=r"must be 1\.0: all 9 users .* larger population"):
        RampSharedMultiKrum(NUM_USERS, 1, fraction_train=0.5)
    with pytest.raises(ParameterError, match="min_train_nodes must be at most num_users, 9; received 10"):
        RampSharedMultiKrum(NUM_USERS, 1, min_train_nodes=10)
    RampSharedMultiKrum(NUM_USERS, 1, fraction_train=1.0, min_train_nodes=2, min_available_nodes=NUM_USERS)
    with pytest.raises(ParameterError, match=r"2 <= m <= N - 2A - D - 3 = 9 - 2 - 1 - 3 = 3; received 5"):
        RampSharedMultiKrum(NUM_USERS, 1, num_selected=5)


def test_deviations_from_config__refuses_what_it_does_not_know() -> None:
    with pytest.raises(ParameterError, match="pairs user:name"):
        deviations_from_config({"deviations": "wrong-sum"})
    with pytest.raises(ParameterError, match="must be one of"):
        deviations_from_config({"deviations": "3:wrong"})


def test_mod__refuses_another_reference_string_than_its_own_configuration_names() -> None:
    config = {**BARE, "reference-digest": "0" * 64}
    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    with pytest.raises(NoRoundSucceededError):
        run(strategy, InProcessGrid(make_app(), NUM_USERS, config))
    assert "this node's reference-digest is 000" in strategy.history[0].rejected[0].reason


def test_strategy__sends_the_reference_string_once_to_each_node() -> None:
    carried: list[tuple[str, int]] = []

    def mod(message: Message, context: Context, call_next: Any) -> Message:
        if "reference-string" in message.content:
            carried.append((message.metadata.group_id, int(context.node_config["partition-id"])))
        return ramp_krum_mod(message, context, call_next)

    strategy = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS)
    run(strategy, InProcessGrid(make_app(mod), NUM_USERS, BARE), num_rounds=2)
    assert sorted(carried) == [("1/keys", user) for user in range(NUM_USERS)]


def test_refusals__show_the_beginning_of_what_is_long() -> None:
    for value in ("x" * 10**6, b"x" * 10**6, list(range(10**6)), tuple(range(10**6))):
        assert len(str(ParameterError("dealers", "must be short", value))) < 200


class _Showing:
    """Flower's grid with some of its nodes only."""

    def __init__(self, grid: InProcessGrid, nodes: list[int]) -> None:
        self.grid, self.nodes = grid, nodes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def get_node_ids(self) -> list[int]:
        return self.nodes


def test_strategy__trains_on_samples_of_a_larger_population_one_start_after_another() -> None:
    grid = InProcessGrid(make_app(), 2 * NUM_USERS, BARE)
    strategy, arrays = RampSharedMultiKrum(NUM_USERS, 1, **OPTIONS), start_arrays()
    for part in range(2):
        nodes = grid.node_ids[part::2]
        result = strategy.start(_Showing(grid, nodes), arrays, num_rounds=1, timeout=60)  # type: ignore[arg-type]
        [record] = strategy.history
        assert record.rejected == ()
        assert not np.array_equal(result.arrays["weight"].numpy(), arrays["weight"].numpy())
        asked = {each.partition_id for each in grid.traffic if each.message_type.startswith("train")}
        assert asked == set(range(part, 2 * NUM_USERS, 2))
        grid.traffic.clear()
        arrays = result.arrays
