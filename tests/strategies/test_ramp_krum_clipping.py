"""Users agree on a clipping bound; strategy and mod together, over the in-process grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_coded.clients.identity import register_identity
from flower_coded.clients.ramp_krum import ramp_krum_mod
from flower_coded.clients.ramp_krum_experiments import deviating_ramp_krum_mod
from flower_coded.crypto.srs_cache import CACHE_VARIABLE
from flower_coded.errors import NoRoundSucceededError, ParameterError, RoundRefusedError
from flower_coded.protocols.ramp_krum.clipping_ballot import EDGES
from flower_coded.strategies.clipping_agreement import AgreedClipping
from flower_coded.strategies.ramp_krum import RampSharedMultiKrum
from flower_coded.testing import InProcessGrid

NUM_USERS = 9
OPTIONS: dict[str, Any] = {"num_dropouts": 1, "num_selected": 2, "fraction_evaluate": 0.0}
EXACT = AgreedClipping(share=0.0)
SHAPE = np.concatenate(
    [[1.0, -0.25, 0.25], np.full(9, 0.01)]
)  # one large entry: its block is within the bound


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


def size_of(user: int, server_round: int) -> float:
    """Largest entry of a user's update: from 100 to 108, halved in every round."""
    return (100.0 + user) * 0.5**server_round


def make_app(mod: Any = ramp_krum_mod, *, broken: tuple[int, ...] = ()) -> ClientApp:
    app = ClientApp(mods=[mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        user = int(context.node_config["partition-id"])
        size = size_of(user, int(message.content["config"]["server-round"]) - 1)
        weights = message.content["arrays"]["weight"].numpy()
        moved = weights + (np.nan if user in broken else size * SHAPE)
        metrics = MetricRecord({"num-examples": 10})
        arrays = ArrayRecord({"weight": Array(moved)})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return register_identity(app)


def run(strategy: RampSharedMultiKrum, grid: InProcessGrid, num_rounds: int = 1) -> Any:
    start = ArrayRecord({"weight": Array(np.zeros(12))})
    return strategy.start(grid, start, num_rounds=num_rounds, timeout=60)


def edge_of(value: float) -> float:
    return float(EDGES[np.searchsorted(EDGES, value)])


def test_the_bound_is_that_of_the_users_own_updates_and_the_round_goes_on_with_it() -> None:
    strategy = RampSharedMultiKrum(NUM_USERS, 1, clipping=EXACT, **OPTIONS)
    result = run(strategy, InProcessGrid(make_app(), NUM_USERS))
    (record,) = strategy.history
    assert record.clipping == strategy.fixed_point.clipping == edge_of(104)
    assert record.selected
    expected = np.mean([size_of(user, 0) * SHAPE for user in record.selected], axis=0)
    np.testing.assert_allclose(result.arrays["weight"].numpy(), expected, atol=2 * strategy.fixed_point.step)
    assert result.train_metrics_clientapp[1]["agreed-clipping"] == record.clipping
    assert result.train_metrics_clientapp[1]["clipped-share"] == 0.0
    assert record.ballots is not None
    assert set(record.ballots.sent) >= {"keys", "shares", "evaluations", "sums"}


@pytest.mark.parametrize(("every", "bounds"), [(0, [104, 104, 104]), (2, [104, 104, 26])])
def test_users_agree_once_or_every_so_many_rounds(every: int, bounds: list[float]) -> None:
    strategy = RampSharedMultiKrum(NUM_USERS, 1, clipping=AgreedClipping(share=0.0, every=every), **OPTIONS)
    run(strategy, InProcessGrid(make_app(), NUM_USERS), num_rounds=3)
    assert [record.clipping for record in strategy.history] == [edge_of(bound) for bound in bounds]


def test_a_second_run_agrees_anew() -> None:
    strategy = RampSharedMultiKrum(NUM_USERS, 1, clipping=EXACT, **OPTIONS)
    for _ in range(2):
        grid = InProcessGrid(make_app(), NUM_USERS)
        run(strategy, grid)
        (record,) = strategy.history
        assert record.ballots is not None


def test_a_margin_multiplies_the_bound() -> None:
    strategy = RampSharedMultiKrum(NUM_USERS, 1, clipping=AgreedClipping(share=0.0, margin=2.0), **OPTIONS)
    run(strategy, InProcessGrid(make_app(), NUM_USERS))
    assert strategy.fixed_point.clipping == 2 * edge_of(104)


def test_who_lies_about_its_ballot_is_out_of_round_and_run() -> None:
    grid = InProcessGrid(make_app(deviating_ramp_krum_mod), NUM_USERS, {"deviations": "3:oversized-update"})
    strategy = RampSharedMultiKrum(NUM_USERS, 1, clipping=EXACT, **OPTIONS)
    run(strategy, grid)
    (record,) = strategy.history
    assert record.liars == (3,)
    assert [each.user for each in record.misbehavior] == [3], "named once, though it lied twice"
    assert record.clipping == edge_of(104)
    assert record.selected
    assert set(strategy.bans) == {3}


def test_where_too_many_have_no_number_the_round_is_refused_with_their_reason() -> None:
    strategy = RampSharedMultiKrum(NUM_USERS, 1, clipping=EXACT, **OPTIONS)
    with pytest.raises(NoRoundSucceededError, match="values must be finite"):
        run(strategy, InProcessGrid(make_app(broken=(1, 2, 5)), NUM_USERS))
    (record,) = strategy.history
    assert record.ballots is None
    assert record.refusal


def test_a_user_without_a_number_loses_its_place_only() -> None:
    strategy = RampSharedMultiKrum(NUM_USERS, 1, clipping=EXACT, **OPTIONS)
    run(strategy, InProcessGrid(make_app(broken=(5,)), NUM_USERS))
    (record,) = strategy.history
    assert record.selected
    assert not strategy.bans


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantile": 1.5}, "quantile must lie in"),
        ({"share": 1.0}, "share must lie in"),
        ({"margin": 0.0}, "margin must be positive"),
        ({"every": -1}, "every must not be negative"),
    ],
)
def test_an_agreement_is_checked_when_it_is_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        AgreedClipping(**changes)


def test_a_norm_that_does_not_move_with_the_bound_is_refused_beforehand() -> None:
    with pytest.raises(ParameterError, match="block_norm must be None where users agree"):
        RampSharedMultiKrum(NUM_USERS, 1, clipping=EXACT, block_norm=100.0, **OPTIONS)


def test_too_many_liars_for_any_agreement_are_refused_beforehand() -> None:
    with pytest.raises(ParameterError, match=r"N - D >= 3A \+ 1: 18 - 1 < 19"):
        RampSharedMultiKrum(
            18, 6, num_colluders=1, num_parts=1, waives_colluder_bound=True, clipping=EXACT, **OPTIONS
        )


def test_who_lied_is_banned_though_the_ballots_could_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> float:
        raise RoundRefusedError("ballots", "fewer votes")

    monkeypatch.setattr("flower_coded.strategies.clipping_agreement.read_ballots", refuse)
    grid = InProcessGrid(make_app(deviating_ramp_krum_mod), NUM_USERS, {"deviations": "3:oversized-update"})
    strategy = RampSharedMultiKrum(NUM_USERS, 1, clipping=EXACT, **OPTIONS)
    with pytest.raises(NoRoundSucceededError, match="fewer votes"):
        run(strategy, grid)
    assert strategy.history[0].liars == (3,)
    assert set(strategy.bans) == {3}
