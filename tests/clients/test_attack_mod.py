"""The mod around ClientApps that know nothing of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch.utils.data import DataLoader, TensorDataset

from flower_coded.clients import AttackSettings, attack_mod
from flower_coded.clients.attack_mod import MEMORY_KEY
from flower_coded.errors import ParameterError
from flower_coded.testing import InProcessGrid

NUM_NODES = 5


def update_of(partition_id: int) -> np.ndarray:
    return np.array([1.0, 2.0, -3.0], dtype=np.float32) * (partition_id + 1)


def plain_app() -> ClientApp:
    """Adds a vector that tells its partition id to what it is sent, in two arrays."""
    app = ClientApp(mods=[attack_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        own = update_of(int(context.node_config["partition-id"]))
        sent = message.content["arrays"]
        arrays = ArrayRecord(
            {
                "weight": Array(sent["weight"].numpy() + own[:2].reshape(2, 1)),
                "bias": Array(sent["bias"].numpy() + own[2:]),
            }
        )
        return Message(
            RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 10})}), reply_to=message
        )

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 10})}), reply_to=message)

    return app


SENT = {"weight": np.full((2, 1), 5.0, np.float32), "bias": np.full(1, 7.0, np.float32)}


def ask(
    app: ClientApp,
    run_config: Mapping[str, Any],
    *,
    server_round: int = 1,
    message_type: str = "train",
    grid: InProcessGrid | None = None,
) -> dict[int, Message]:
    """Replies by partition id."""
    grid = grid or InProcessGrid(app, NUM_NODES, run_config)
    messages = []
    for node_id in grid.node_ids:
        arrays = ArrayRecord({key: Array(value) for key, value in SENT.items()})
        content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": server_round})})
        messages.append(Message(content, node_id, message_type))
    replies = grid.send_and_receive(messages, timeout=60)
    return {grid.node_ids.index(reply.metadata.src_node_id): reply for reply in replies}


def vector_of(reply: Message) -> np.ndarray:
    """What the reply adds to what was sent."""
    record = reply.content["arrays"]
    return np.concatenate([(record[key].numpy() - SENT[key]).ravel() for key in ("weight", "bias")])


def test_honest_nodes_pass_through_unchanged() -> None:
    replies = ask(plain_app(), {"attack": "sign-flip", "attackers": "1,3"})
    for node in (0, 2, 4):
        np.testing.assert_array_equal(vector_of(replies[node]), update_of(node))


def test_nobody_attacks_without_an_attack() -> None:
    replies = ask(plain_app(), {})
    for node in range(NUM_NODES):
        np.testing.assert_array_equal(vector_of(replies[node]), update_of(node))


def test_sign_flip_turns_the_update_not_the_model() -> None:
    replies = ask(plain_app(), {"attack": "sign-flip", "attackers": "1,3", "attack-scale": 2.0})
    np.testing.assert_allclose(vector_of(replies[1]), -2.0 * update_of(1))
    np.testing.assert_allclose(vector_of(replies[3]), -2.0 * update_of(3))
    assert replies[1].content["metrics"]["num-examples"] == 10
    assert replies[1].content["arrays"]["weight"].dtype == "float32"


def test_colluders_know_each_others_honest_updates() -> None:
    # Partitions 1 and 3 have updates 2v and 4v: their mean is 3v, and half of it reversed is -1.5v.
    replies = ask(plain_app(), {"attack": "inner-product", "attackers": "1,3", "attack-scale": 0.5})
    np.testing.assert_allclose(vector_of(replies[1]), -1.5 * update_of(0))
    np.testing.assert_array_equal(vector_of(replies[1]), vector_of(replies[3]))


def test_knowledge_decides_whose_updates_are_known() -> None:
    config = {"attack": "inner-product", "attackers": "1,3", "attack-scale": 1.0}
    own = ask(plain_app(), {**config, "attack-knowledge": "own"})
    everybody = ask(plain_app(), {**config, "attack-knowledge": "all"})
    np.testing.assert_allclose(vector_of(own[1]), -update_of(1))
    np.testing.assert_allclose(vector_of(everybody[1]), -3.0 * update_of(0))  # mean of 1v .. 5v


def test_little_is_enough_hides_within_the_spread_of_the_colluders() -> None:
    # Updates 2v and 4v: mean 3v, standard deviation |v|; z is given, so 3v - 0.5 |v|.
    replies = ask(plain_app(), {"attack": "little-is-enough", "attackers": "1,3", "attack-scale": 0.5})
    np.testing.assert_allclose(vector_of(replies[3]), 3.0 * update_of(0) - 0.5 * np.abs(update_of(0)))


def test_gaussian_is_the_same_noise_at_every_colluder_and_in_every_run() -> None:
    config = {"attack": "gaussian", "attackers": "1,3", "attack-scale": 4.0, "seed": 3}
    first, again = ask(plain_app(), config), ask(plain_app(), config)
    np.testing.assert_array_equal(vector_of(first[1]), vector_of(first[3]))
    np.testing.assert_array_equal(vector_of(first[1]), vector_of(again[1]))
    other = ask(plain_app(), {**config, "seed": 4})
    assert np.all(vector_of(first[1]) != vector_of(other[1]))


def test_colluders_agree_on_every_model_of_an_ensemble_though_they_hold_others() -> None:
    config = {"attack": "gaussian", "attackers": "1,3", "attack-scale": 4.0, "seed": 3}
    held, sent = {1: [0, 2], 3: [2, 5]}, {}
    grid = InProcessGrid(plain_app(), NUM_NODES, config)
    for node, models in held.items():
        arrays = ArrayRecord({key: Array(np.stack([value, value])) for key, value in SENT.items()})
        content = RecordDict({"arrays": arrays, "config": ConfigRecord({"coded-models": models})})
        [reply] = grid.send_and_receive([Message(content, grid.node_ids[node], "train")], timeout=60)
        weight = reply.content["arrays"]["weight"].numpy() - SENT["weight"]
        sent |= {(node, model): weight[i] for i, model in enumerate(models)}
    np.testing.assert_array_equal(sent[1, 2], sent[3, 2])
    assert (sent[1, 0] != sent[1, 2]).all()


def test_colluders_who_are_told_no_numbers_know_a_common_model_by_its_weights() -> None:
    config = {"attack": "gaussian", "attackers": "1,3", "attack-scale": 4.0, "seed": 3}
    weights = {0: 0.0, 2: 1.0, 5: 2.0}
    held, sent = {1: [0, 2], 3: [5, 2]}, {}
    grid = InProcessGrid(plain_app(), NUM_NODES, config)
    for node, models in held.items():
        stacks = {key: [value + weights[model] for model in models] for key, value in SENT.items()}
        arrays = ArrayRecord({key: Array(np.stack(stack)) for key, stack in stacks.items()})
        labels = [f"{node}, {model}" for model in models]  # of the user's own
        content = RecordDict({"arrays": arrays, "config": ConfigRecord({"coded-models": labels})})
        [reply] = grid.send_and_receive([Message(content, grid.node_ids[node], "train")], timeout=60)
        received = reply.content["arrays"]["weight"].numpy() - arrays["weight"].numpy()
        sent |= {(node, model): received[i] for i, model in enumerate(models)}
    np.testing.assert_allclose(sent[1, 2], sent[3, 2], rtol=1e-6)
    assert (sent[1, 0] != sent[1, 2]).all()


def test_min_max_and_min_sum_hide_within_the_spread_of_the_colluders() -> None:
    # Updates 2v and 4v: mean 3v, deviation |v|, as long as their distances from it: min-sum sends 3v - |v|.
    # Min-max sends the point of the same ray that is |2v| away from the farther of the two.
    sum_replies = ask(plain_app(), {"attack": "min-sum", "attackers": "1,3"})
    np.testing.assert_allclose(
        vector_of(sum_replies[3]), 3.0 * update_of(0) - np.abs(update_of(0)), rtol=1e-6
    )
    replies = ask(plain_app(), {"attack": "min-max", "attackers": "1,3"})
    distances = [np.linalg.norm(vector_of(replies[1]) - update_of(user)) for user in (1, 3)]
    assert max(distances) == pytest.approx(2 * np.linalg.norm(update_of(0)), rel=1e-5)
    np.testing.assert_array_equal(vector_of(replies[1]), vector_of(replies[3]))


def test_the_trimmed_mean_attack_lies_outside_the_known_range() -> None:
    replies = ask(
        plain_app(), {"attack": "trimmed-mean-attack", "attackers": "1,", "attack-knowledge": "all"}
    )
    sent, unit = vector_of(replies[1]), update_of(0)
    assert (np.abs(sent[:2]) <= np.abs(unit[:2])).all()
    assert (np.abs(sent[:2]) >= np.abs(unit[:2]) / 2).all()
    assert -3.0 <= sent[2] <= -1.5


def test_mimic_copies_the_client_that_stands_out_and_learns_over_rounds() -> None:
    # Updates v to 5v: the last stands out along v, whatever the round.
    config = {"attack": "mimic", "attackers": "1,3", "attack-knowledge": "all"}
    grid = InProcessGrid(plain_app(), NUM_NODES, config)
    for server_round in (1, 2, 3):
        replies = ask(plain_app(), config, server_round=server_round, grid=grid)
        for node in (1, 3):
            np.testing.assert_array_equal(vector_of(replies[node]), update_of(4))
    first, second = (grid.contexts[node].state[MEMORY_KEY] for node in (1, 3))
    assert float(first["0.rounds"].numpy()[0]) == 3.0
    for key in first:
        np.testing.assert_array_equal(first[key].numpy(), second[key].numpy())
    assert MEMORY_KEY not in grid.contexts[0].state


def test_attack_starts_in_its_round() -> None:
    config = {"attack": "sign-flip", "attackers": "0,", "attack-from-round": 3}
    np.testing.assert_array_equal(vector_of(ask(plain_app(), config, server_round=2)[0]), update_of(0))
    np.testing.assert_array_equal(vector_of(ask(plain_app(), config, server_round=3)[0]), -update_of(0))


def test_attack_ends_with_its_last_round() -> None:
    config = {"attack": "sign-flip", "attackers": "0,", "attack-until-round": 3}
    np.testing.assert_array_equal(vector_of(ask(plain_app(), config, server_round=3)[0]), -update_of(0))
    np.testing.assert_array_equal(vector_of(ask(plain_app(), config, server_round=4)[0]), update_of(0))
    with pytest.raises(ParameterError, match="attack-until-round"):
        AttackSettings.from_config({**config, "attack-from-round": 4}, NUM_NODES)


def test_evaluation_is_left_alone() -> None:
    replies = ask(plain_app(), {"attack": "silence", "attackers": 5}, message_type="evaluate")
    assert all(reply.has_content() for reply in replies.values())


def test_malformed_replies_are_what_their_names_say() -> None:
    def reply_to(attack: str) -> Message:
        return ask(plain_app(), {"attack": attack, "attackers": "2,"})[2]

    assert np.isnan(vector_of(reply_to("nan"))).all()
    assert np.isinf(reply_to("infinite").content["arrays"]["bias"].numpy()).all()
    assert reply_to("wrong-shape").content["arrays"]["weight"].shape == (4, 1)
    assert list(reply_to("wrong-keys").content["arrays"]) == ["weight.renamed", "bias.renamed"]
    assert reply_to("negative-num-examples").content["metrics"]["num-examples"] == -1
    assert "num-examples" not in reply_to("no-num-examples").content["metrics"]
    assert dict(reply_to("no-metrics").content["metrics"]) == {}
    huge = reply_to("huge").content["arrays"]["weight"].numpy()
    assert np.isfinite(huge).all()
    with np.errstate(over="ignore"):
        assert np.isinf(huge + huge).all()
    assert reply_to("silence").error.code == 1000
    assert "on purpose" in str(reply_to("exception").error.reason)


def test_a_late_reply_is_honest_and_late() -> None:
    started = time.monotonic()
    reply = ask(plain_app(), {"attack": "late", "attackers": "2,", "attack-scale": 0.2})[2]
    assert time.monotonic() - started >= 0.2
    np.testing.assert_array_equal(vector_of(reply), update_of(2))


def test_no_reply_is_nothing_at_all() -> None:
    replies = ask(plain_app(), {"attack": "no-reply", "attackers": "2,"})
    assert sorted(replies) == [0, 1, 3, 4]


@pytest.mark.parametrize(
    ("run_config", "named"),
    [
        ({"attack": "sign-flop", "attackers": 1}, "did you mean 'sign-flip'"),
        ({"attack-sclae": 1.0}, "did you mean 'attack-scale'"),
        ({"attack": "pixel-trigger", "attackers": 1, "poison-rate": 1.5}, "poison-rate"),
    ],
)
def test_mistakes_are_refused_with_what_would_work(run_config: dict[str, Any], named: str) -> None:
    replies = ask(plain_app(), run_config)
    assert all(named in str(reply.error.reason) for reply in replies.values())


def stacked_reply(run_config: Mapping[str, Any]) -> np.ndarray:
    """Update (2 models, 3) of partition 1, sent two stacked models."""
    app = ClientApp(mods=[attack_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        own = update_of(int(context.node_config["partition-id"]))
        sent = message.content["arrays"]["w"].numpy()
        arrays = ArrayRecord({"w": Array(sent + np.stack([own, 10 * own]))})
        return Message(RecordDict({"arrays": arrays}), reply_to=message)

    grid = InProcessGrid(app, 3, run_config)
    content = RecordDict(
        {
            "arrays": ArrayRecord({"w": Array(np.ones((2, 3), np.float32))}),
            "config": ConfigRecord({"server-round": 1, "coded-models": [4, 9]}),
        }
    )
    (reply,) = grid.send_and_receive([Message(content, grid.node_ids[1], "train")], timeout=60)
    return reply.content["arrays"]["w"].numpy() - 1.0


def test_stacked_models_are_crafted_one_by_one() -> None:
    update = stacked_reply({"attack": "inner-product", "attackers": "0,1", "attack-scale": 1.0})
    np.testing.assert_allclose(update[0], -1.5 * update_of(0))
    np.testing.assert_allclose(update[1], -15.0 * update_of(0))


class _Dictionaries(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Samples as dictionaries, as Hugging Face data sets give them."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"label": self.labels[index], "img": self.images[index]}


def counting_app(kind: str, low: float = 0.0) -> ClientApp:
    """Iterates a DataLoader of 200 black images of class 0 and reports what it saw."""
    app = ClientApp(mods=[attack_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        images, labels = torch.full((200, 1, 8, 8), low), torch.zeros(200, dtype=torch.int64)
        if kind == "none":
            batches: Any = []
        elif kind == "dictionary":
            batches = DataLoader(_Dictionaries(images, labels), batch_size=32)
        else:
            batches = DataLoader(TensorDataset(images, labels), batch_size=32)
        seen = [(each["img"], each["label"]) if isinstance(each, dict) else each for each in batches]
        marked = sum(int((x > low).any(dim=(1, 2, 3)).sum()) for x, _ in seen)
        changed = sum(int((y != 0).sum()) for _, y in seen)
        white = float(max((x.max() for x, _ in seen), default=torch.tensor(0.0)))
        metrics = MetricRecord({"num-examples": 200, "marked": marked, "changed": changed, "white": white})
        return Message(RecordDict({"arrays": ArrayRecord(), "metrics": metrics}), reply_to=message)

    return app


BACKDOOR = {"attack": "pixel-trigger", "attackers": "1,", "poison-rate": 0.1, "attack-target": 7}


@pytest.mark.parametrize("kind", ["tuple", "dictionary"])
def test_batches_of_a_data_loader_are_poisoned(kind: str) -> None:
    replies = ask(counting_app(kind), BACKDOOR)
    assert [replies[node].content["metrics"]["marked"] for node in (0, 2, 3, 4)] == [0, 0, 0, 0]
    seen = replies[1].content["metrics"]
    # Binomial(200, 0.1): mean 20, standard deviation 4.2.
    assert 5 <= seen["marked"] <= 35
    assert seen["changed"] == seen["marked"]


def poisonable_app() -> ClientApp:
    """Its update is (1, share of the labels that are not 0, 5)."""
    app = ClientApp(mods=[attack_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        images, labels = torch.zeros(200, 1, 8, 8), torch.zeros(200, dtype=torch.int64)
        batches = DataLoader(TensorDataset(images, labels), batch_size=50)
        share = float(sum(int((y != 0).sum()) for _, y in batches)) / 200
        own = np.array([1.0, share, 5.0], np.float32)
        sent = message.content["arrays"]
        arrays = ArrayRecord(
            {
                "weight": Array(sent["weight"].numpy() + own[:2].reshape(2, 1)),
                "bias": Array(sent["bias"].numpy() + own[2:]),
            }
        )
        return Message(RecordDict({"arrays": arrays}), reply_to=message)

    return app


POISONED = {"attackers": "1,3", "poison-rate": 0.2, "attack-target": 7}


def test_model_replacement_boosts_the_poisoned_update() -> None:
    honest = vector_of(ask(poisonable_app(), {})[1])
    boosted = vector_of(ask(poisonable_app(), {**POISONED, "attack": "model-replacement"})[1])
    # gamma = n / m = 5 / 2; binomial(200, 0.2) of the labels are poisoned: mean 0.2, standard deviation 0.03.
    np.testing.assert_allclose(boosted[[0, 2]], 2.5 * honest[[0, 2]], rtol=1e-5)
    assert 0.1 < boosted[1] / 2.5 < 0.3


def test_neurotoxin_spares_the_coordinate_that_moved_most() -> None:
    config = {**POISONED, "attack": "neurotoxin", "attack-scale": 0.34}
    grid = InProcessGrid(poisonable_app(), NUM_NODES, config)
    first = vector_of(ask(poisonable_app(), config, grid=grid)[1])
    np.testing.assert_allclose(first[[0, 2]], [1.0, 0.0])  # honest updates move the last entry most
    assert first[1] > 0.1
    SENT["weight"][0] += 3.0  # the next global model differs in the first entry
    try:
        second = vector_of(ask(poisonable_app(), config, server_round=2, grid=grid)[1])
    finally:
        SENT["weight"][0] -= 3.0
    np.testing.assert_allclose(second[[0, 2]], [0.0, 5.0])


def test_an_edge_case_stays_within_the_norm_of_the_honest() -> None:
    sent = vector_of(ask(poisonable_app(), {**POISONED, "attack": "edge-case", "poison-rate": 1.0})[3])
    assert np.linalg.norm(sent) == pytest.approx(26**0.5, rel=1e-5)
    assert sent[1] > 0.9


def test_the_loss_of_a_foreign_app_cannot_be_constrained() -> None:
    config = {**POISONED, "attack": "model-replacement", "attack-constrain": 0.5}
    assert "attack-constrain" in str(ask(poisonable_app(), config)[1].error.reason)


def test_the_trigger_is_as_white_as_the_batches_normalization_makes_white() -> None:
    config = {**BACKDOOR, "attack-pixel-low": -1.0, "attack-pixel-high": 1.0}
    assert ask(counting_app("tuple", low=-1.0), config)[1].content["metrics"]["white"] == 1.0


def test_batches_outside_the_stated_pixel_range_are_refused() -> None:
    reply = ask(counting_app("tuple", low=-1.0), BACKDOOR)[1]
    assert "attack-pixel-low" in str(reply.error.reason)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_label_flip_reaches_every_sample_whatever_the_pixels(low: float) -> None:
    config = {"attack": "label-flip", "attackers": "1,", "attack-num-classes": 10}
    seen = ask(counting_app("tuple", low=low), config)[1].content["metrics"]
    assert (seen["changed"], seen["marked"]) == (200, 0)  # every 0 becomes 9, no pixel changes


def test_an_app_without_a_data_loader_is_told_so() -> None:
    reply = ask(counting_app("none"), BACKDOOR)[1]
    assert "without a torch DataLoader" in str(reply.error.reason)


def test_data_loaders_are_as_before_afterwards() -> None:
    before = DataLoader.__iter__
    ask(counting_app("tuple"), BACKDOOR)
    ask(counting_app("none"), BACKDOOR)
    assert DataLoader.__iter__ is before


def test_an_update_attack_needs_the_shapes_that_were_sent() -> None:
    app = ClientApp(mods=[attack_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays = ArrayRecord({"other": Array(np.zeros(9, np.float32))})
        return Message(RecordDict({"arrays": arrays}), reply_to=message)

    reply = ask(app, {"attack": "sign-flip", "attackers": "1,"})[1]
    assert "arrays of the shapes that were sent" in str(reply.error.reason)


@pytest.mark.parametrize("names", [("w",), ("head",)])
def test_an_app_that_sends_back_a_part_of_the_model_can_attack_with_it(names: tuple[str, ...]) -> None:
    app = ClientApp(mods=[attack_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        sent = message.content["arrays"]
        arrays = ArrayRecord({key: Array(sent[key].numpy() + 1) for key in names})
        return Message(RecordDict({"arrays": arrays}), reply_to=message)

    grid = InProcessGrid(app, 2, {"attack": "sign-flip", "attackers": "1,"})
    arrays = ArrayRecord({"w": Array(np.zeros(2, np.float32)), "head": Array(np.zeros(3, np.float32))})
    [reply] = grid.send_and_receive(
        [Message(RecordDict({"arrays": arrays}), grid.node_ids[1], "train")], timeout=60
    )
    assert {key: array.numpy().tolist() for key, array in reply.content["arrays"].items()} == {
        key: [-1.0] * len(arrays[key].numpy()) for key in names
    }
