"""What an app remembers of one model of an ensemble never reaches another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_coded.clients import attack_mod, separate_models_mod
from flower_coded.clients.attack_mod import MEMORY_KEY
from flower_coded.codes import SubsetCode
from flower_coded.strategies import CodedSubsetAggregation
from flower_coded.testing import InProcessGrid

# Users 0 and 2 share model 1, users 1 and 3 model 2: user 0 has no place in model 2, but three others that
# it meets in model 0 do.
CODE = SubsetCode(np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]], dtype=bool))


def record(**arrays: Any) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(values)) for name, values in arrays.items()})


def stateful_app(*mods: Any) -> ClientApp:
    """Averages with what it sent last; user 0 sends a thousand more than the others."""
    app = ClientApp(mods=list(mods))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        user, w = context.node_config["partition-id"], message.content["arrays"]["w"].numpy()
        last = context.state["last"]["w"].numpy() if "last" in context.state else np.zeros_like(w)
        w = 0.5 * (w + last) + (1000.0 if user == 0 else 1.0)
        context.state["last"] = record(w=w)
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": record(w=w), "metrics": metrics}), reply_to=message)

    return app


@pytest.mark.parametrize("stacked", [False, True])
def test_a_model_that_never_hears_a_user_holds_nothing_of_it_though_clients_remember(stacked: bool) -> None:
    strategy = CodedSubsetAggregation(CODE, fraction_evaluate=0.0, stacked=stacked)
    grid = InProcessGrid(stateful_app(separate_models_mod), 4)
    result = strategy.start(grid, record(w=np.zeros(1)), num_rounds=4)
    poisoned, _, clean = result.arrays["w"].numpy()[:, 0]
    # By hand, all clients of model 2 alike: w <- (w + w) / 2 + 1 in every round.
    assert clean == pytest.approx(4.0)
    assert poisoned > 500


def test_without_the_mod_a_stateful_client_carries_it_over() -> None:
    strategy = CodedSubsetAggregation(CODE, fraction_evaluate=0.0)
    result = strategy.start(InProcessGrid(stateful_app(), 4), record(w=np.zeros(1)), num_rounds=4)
    assert result.arrays["w"].numpy()[2, 0] > 100


def ask(app: ClientApp, grid: InProcessGrid, content: RecordDict) -> Message:
    [reply] = grid.send_and_receive([Message(content, grid.node_ids[1], "train")], timeout=60)
    return reply


def test_state_is_kept_per_model_and_a_run_of_one_model_has_flowers_own() -> None:
    grid = InProcessGrid(stateful_app(separate_models_mod), 2)
    for entries in ({"coded-model": 0}, {"coded-model": 10}, {"coded-models": [1, 0]}, {}):
        arrays = record(w=np.zeros(1))
        content = RecordDict({"arrays": arrays, "config": ConfigRecord(entries)})
        assert ask(stateful_app(separate_models_mod), grid, content).has_content()
    assert set(grid.contexts[1].state) == {"model 0: last", "model 10: last", "model 1,0: last", "last"}


def test_what_an_app_forgets_is_forgotten() -> None:
    app = ClientApp(mods=[separate_models_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if "seen" in context.state:
            del context.state["seen"]
        else:
            context.state["seen"] = ConfigRecord({"yes": True})
        return Message(RecordDict(), reply_to=message)

    grid = InProcessGrid(app, 2)
    kept = []
    for _ in range(3):
        ask(app, grid, RecordDict({"config": ConfigRecord({"coded-model": 3})}))
        kept.append(list(grid.contexts[1].state))
    assert kept == [["model 3: seen"], [], ["model 3: seen"]]


def test_an_attackers_memory_is_kept_per_model() -> None:
    config = {"attack": "mimic", "attackers": "1,", "attack-knowledge": "all"}
    app = stateful_app(separate_models_mod, attack_mod)
    grid = InProcessGrid(app, 4, config)
    for model in (0, 2):
        content = RecordDict(
            {"arrays": record(w=np.zeros(1)), "config": ConfigRecord({"coded-model": model})}
        )
        assert ask(app, grid, content).has_content()
    assert {f"model {model}: {MEMORY_KEY}" for model in (0, 2)} <= set(grid.contexts[1].state)
