"""A round of our ClientApp in one process: one program, the same replies as one client after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from toy_client_apps import moving_app

from flower_coded.attacks import ATTACKS
from flower_coded.clients import training_client_app
from flower_coded.learning import ModelState, build_model, get_state, initial_states
from flower_coded.learning.cohort import TrainJob, train_jobs
from flower_coded.testing import InProcessGrid

pytestmark = pytest.mark.usefixtures("one_thread_of_torch")

NUM_USERS = 6
CONFIG = {"local-epochs": 1, "seed": 3, "samples-per-user": 25, "attackers": "1,4", "poison-rate": 0.5}
SINGLE = get_state(build_model("small-cnn", (1, 8, 8), 10, seed=1))
MODELS = {0: [0, 2], 1: [0, 1], 2: [1], 3: [2, 3], 4: [1, 3], 5: [0, 3]}
ENSEMBLE = initial_states("small-cnn", (1, 8, 8), 10, 4, seed=5)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Models in every call of the stacked training."""
    seen: list[int] = []

    def counting(model: Any, jobs: Sequence[TrainJob], **options: Any) -> Any:
        seen.append(sum(job.num_models for job in jobs))
        return train_jobs(model, jobs, **options)

    monkeypatch.setattr("flower_coded.clients.cohort.train_jobs", counting)
    return seen


def record_of(state: ModelState) -> ArrayRecord:
    return ArrayRecord({key: Array(value) for key, value in state.items()})


def a_round(
    config: dict[str, Any], *, stacked: bool = False, **options: Any
) -> list[dict[str, np.ndarray] | str | None]:
    """Arrays of every user's reply, or its error, in the order of users."""
    grid = InProcessGrid(training_client_app(), NUM_USERS, {**CONFIG, **config}, **options)
    single, messages = record_of(SINGLE), []
    for user, node_id in enumerate(grid.node_ids):
        entries: dict[str, Any] = {"server-round": 2}
        arrays = single
        if stacked:
            entries |= {"coded-models": MODELS[user], "coded-seed": 40 + user}
            arrays = record_of({key: values[MODELS[user]] for key, values in ENSEMBLE.items()})
        content = RecordDict({"arrays": arrays, "config": ConfigRecord(entries)})
        messages.append(Message(content, node_id, "train"))
    found: list[Any] = [None] * NUM_USERS
    for reply in grid.send_and_receive(messages, timeout=60):
        user = grid.node_ids.index(reply.metadata.src_node_id)
        if reply.has_error():
            found[user] = reply.error.reason
        else:
            found[user] = {
                f"{name}/{key}": array.numpy()
                for name, record in reply.content.array_records.items()
                for key, array in record.items()
            }
    return found


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - {"late", "non-numpy-bytes"}))
def test_together_everybody_replies_as_one_after_another(attack: str, stacked: bool) -> None:
    together, in_turn = (a_round({"attack": attack}, stacked=stacked, together=k) for k in (64, 1))
    for one, other in zip(together, in_turn, strict=True):
        if not isinstance(one, dict) or not isinstance(other, dict):
            assert one == other
            continue
        assert list(one) == list(other)
        for key, values in one.items():
            np.testing.assert_array_equal(values, other[key], err_msg=key)


@pytest.mark.parametrize("models", [1, 3])
def test_the_number_of_models_in_a_program_changes_no_bit_of_a_reply(models: int) -> None:
    for one, other in zip(a_round({}), a_round({"models-at-a-time": models}), strict=True):
        assert isinstance(one, dict)
        assert isinstance(other, dict)
        for key, values in one.items():
            np.testing.assert_array_equal(values, other[key])


def test_a_round_is_one_program(programs: list[int]) -> None:
    a_round({"attack": "label-flip"})
    assert programs == [NUM_USERS]
    programs.clear()
    a_round({}, stacked=True)
    assert programs == [sum(map(len, MODELS.values()))]
    programs.clear()
    a_round({}, together=1)
    assert programs == [1] * NUM_USERS


@pytest.mark.parametrize("wire", [True, False])
@pytest.mark.parametrize(("attack", "more"), [("little-is-enough", 0), ("model-replacement", 1)])
def test_those_who_know_all_updates_train_nobody_twice(
    programs: list[int], attack: str, more: int, wire: bool
) -> None:
    # Replacement needs the attackers' own honest updates beside the poisoned ones: two more trainings.
    a_round({"attack": attack, "attack-knowledge": "all", "attack-scale": 1.5}, wire=wire)
    assert sum(programs) == NUM_USERS + 2 * more


def test_a_message_that_cannot_be_trained_costs_its_own_reply_only() -> None:
    grid = InProcessGrid(training_client_app(), 3, CONFIG | {"attackers": ""})
    wrong = {key: values[:1] if key == "1.weight" else values for key, values in SINGLE.items()}
    messages = [
        Message(RecordDict({"arrays": record_of(state)}), node_id, "train")
        for node_id, state in zip(grid.node_ids, (SINGLE, wrong, SINGLE), strict=True)
    ]
    replies = list(grid.send_and_receive(messages, timeout=60))
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert "1.weight" in replies[1].error.reason


def test_apps_that_train_by_themselves_are_run_as_ever(programs: list[int]) -> None:
    def replies(together: int) -> list[float]:
        grid = InProcessGrid(
            moving_app(lambda me, arrays, message: {"w": arrays["w"] + me}), 4, together=together
        )
        arrays = ArrayRecord({"w": Array(np.zeros(2))})
        messages = [Message(RecordDict({"arrays": arrays}), node_id, "train") for node_id in grid.node_ids]
        return [
            float(array.numpy().sum())
            for reply in grid.send_and_receive(messages, timeout=5)
            for array in reply.content["arrays"].values()
        ]

    assert replies(64) == replies(1)
    assert not programs
