"""Contrastive output codes across clients, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Context, Message
from torch import nn

from flower_coded.clients.contrastive_ecoc import UserImages, contrastive_client_app
from flower_coded.codes.output_code import OutputCode
from flower_coded.errors import MissingClassError, ParameterError, UndecodableCodeBookError
from flower_coded.learning.code_book import code_book_from_sums
from flower_coded.learning.contrastive_training import class_word_sums
from flower_coded.learning.models import get_state, set_state
from flower_coded.learning.output_code_network import OutputCodeNetwork
from flower_coded.learning.training import predict_logits
from flower_coded.strategies.contrastive_ecoc import ContrastiveECOC, load_code_book
from flower_coded.testing import InProcessGrid
from flower_coded.wire.contrastive_ecoc import CODE_BOOK_KEY, CODE_BOOK_MESSAGE_TYPE
from flower_coded.wire.model_state import State, to_array_record
from flower_coded.wire.validation import Rejected

NUM_USERS, NUM_CLASSES, NUM_BITS = 5, 4, 12
RUN_CONFIG: dict[str, Any] = {
    "local-epochs": 4,
    "images-per-draw": 20,
    "batch-size": 20,
    "pretrain-batch-size": 20,
    "learning-rate": 0.005,
}


def stripes(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four classes of 8x8 images: a bright stripe in row 1, 3, 5 or 7, with noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, NUM_CLASSES, num_images)
    images = generator.uniform(0, 0.4, (num_images, 1, 8, 8)).astype(np.float32)
    images[np.arange(num_images), 0, 2 * labels + 1] += 0.5
    return images, labels.astype(np.int64)


def load_user(context: Context) -> UserImages:
    """Every user has all classes but one; the last class is missing at users 0 and 1."""
    user = int(context.node_config["partition-id"])
    images, labels = stripes(60, user)
    kept = labels != (NUM_CLASSES - 1 if user < 2 else user % NUM_CLASSES)
    return UserImages(images[kept], labels[kept], NUM_CLASSES)


def build_network(*_: object) -> OutputCodeNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU())
        return OutputCodeNetwork(features, 32, NUM_BITS, num_projections=16)


APP = contrastive_client_app(load_user, build_network)
INITIAL = get_state(build_network())


def run(
    config: dict[str, Any] | None = None, grid_options: dict[str, Any] | None = None, **options: Any
) -> Any:
    grid = InProcessGrid(APP, NUM_USERS, {**RUN_CONFIG, **(config or {})}, **(grid_options or {}))
    settings = {"pretrain_rounds": 1, "fine_tune_rounds": 3, "fraction_evaluate": 0.0} | options
    strategy = ContrastiveECOC(NUM_CLASSES, NUM_BITS, NUM_USERS, **settings)
    result = strategy.start(grid, to_array_record(INITIAL), num_rounds=strategy.num_rounds, timeout=60)
    return strategy, result


def rejections(strategy: ContrastiveECOC) -> list[Rejected]:
    return [each for record in strategy.history for each in record.rejected]


def accuracy(state: State, code_book: np.ndarray | None) -> float:
    assert code_book is not None
    network = build_network()
    set_state(network, state)
    images, labels = stripes(200, 99)
    return float((OutputCode(code_book).decode(predict_logits(network, images)) == labels).mean())


def central_code_book(state: State) -> np.ndarray:
    network = build_network()
    set_state(network, state)
    users = [load_user(Context(0, 0, {"partition-id": i}, None, {})) for i in range(NUM_USERS)]  # type: ignore[arg-type]
    images = np.concatenate([user.images for user in users])
    labels = np.concatenate([user.labels for user in users])
    return code_book_from_sums(*class_word_sums(network, images, labels, NUM_CLASSES))


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ("pf", {}),
        ("cfpc", {}),
        ("tfc", {"retrain_rounds": 3, "retrain_arrays": INITIAL}),
        ("fixed", {"pretrain_rounds": 0, "code_book": OutputCode.hadamard(13).codewords[:4, :12]}),
    ],
)
def test_every_variant_learns(variant: str, options: dict[str, Any]) -> None:
    strategy, result = run(variant=variant, **options)
    # A code book fixed before any label was seen is the hardest to learn in three short rounds.
    assert accuracy(strategy.state, strategy.code_book) > (0.75 if variant == "pf" else 0.9)
    state = {key: array.numpy() for key, array in result.arrays.items()}
    assert all((state[key] == strategy.state[key]).all() for key in state)


def test_the_federated_code_book_is_the_central_one_of_the_same_network() -> None:
    strategy, _ = run(variant="cfpc")
    np.testing.assert_allclose(strategy.code_book, central_code_book(strategy.state), atol=1e-6)


def test_the_code_book_is_made_once_and_then_fixed_without_following() -> None:
    strategy, _ = run(variant="pf", fine_tune_rounds=1)
    after_one = strategy.code_book
    strategy, _ = run(variant="pf", fine_tune_rounds=3)
    np.testing.assert_array_equal(after_one, strategy.code_book)


def test_the_same_seed_gives_the_same_run() -> None:
    books = [
        run(variant="cfpc", seed=4, grid_options={"order": order})[0].code_book
        for order in ("sent", "shuffled")
    ]
    np.testing.assert_array_equal(*books)


def test_partial_participation_and_drop_outs_do_not_stop_the_run() -> None:
    def drop(user: int, message: Message) -> bool:
        return user == 3 or (user == 1 and message.metadata.message_type == CODE_BOOK_MESSAGE_TYPE)

    strategy, _ = run(variant="cfpc", fraction_train=0.6, grid_options={"drop": drop})
    assert accuracy(strategy.state, strategy.code_book) > 0.9
    silent = {each.participant for each in rejections(strategy) if each.code == "no-reply"}
    assert silent == {1, 3}


def test_a_class_that_nobody_reports_ends_the_first_code_book_by_name() -> None:
    def drop(user: int, message: Message) -> bool:
        return user >= 2 and message.metadata.message_type == CODE_BOOK_MESSAGE_TYPE

    with pytest.raises(MissingClassError, match=r"classes \[3\] have no sample at any client"):
        run(variant="cfpc", grid_options={"drop": drop})


def test_a_class_lost_later_leaves_the_code_book_as_it_was() -> None:
    asked = {"count": 0}

    def drop(user: int, message: Message) -> bool:
        if message.metadata.message_type != CODE_BOOK_MESSAGE_TYPE or user != 0:
            return (
                asked["count"] > 1 and user >= 2 and message.metadata.message_type == CODE_BOOK_MESSAGE_TYPE
            )
        asked["count"] += 1
        return False

    strategy, _ = run(variant="cfpc", grid_options={"drop": drop})
    only_first, _ = run(variant="pf")
    np.testing.assert_array_equal(strategy.code_book, only_first.code_book)


def with_equal_words(reply: Message) -> Message:
    """The reply of a client whose words are the same for every class."""
    record = reply.content.array_records.get(CODE_BOOK_KEY, {})
    if "counts" in record:
        counts = record["counts"].numpy()
        sums = np.repeat(counts[:, None], NUM_BITS, axis=1) * 0.5
        reply.content[CODE_BOOK_KEY] = ArrayRecord({"sums": Array(sums), "counts": record["counts"]})
    return reply


def test_a_first_code_book_with_equal_codewords_ends_the_run_by_name() -> None:
    with pytest.raises(UndecodableCodeBookError, match="classes 0 and 1 share one codeword"):
        run(variant="pf", grid_options={"tamper": lambda user, reply: with_equal_words(reply)})


def test_a_later_code_book_with_equal_codewords_is_refused_and_the_old_one_stays() -> None:
    answered = {"count": 0}

    def tamper(user: int, reply: Message) -> Message:
        answered["count"] += CODE_BOOK_KEY in reply.content.array_records
        return with_equal_words(reply) if answered["count"] > NUM_USERS else reply

    strategy, result = run(variant="cfpc", fine_tune_rounds=2, grid_options={"tamper": tamper})
    only_first, _ = run(variant="pf", fine_tune_rounds=1)
    np.testing.assert_array_equal(strategy.code_book, only_first.code_book)
    refusals = [(each.server_round, each.code_book_refusal) for each in strategy.history]
    assert refusals == [(1, ""), *((r, "classes 0 and 1 share one codeword") for r in (2, 3))]
    assert len(result.train_metrics_clientapp) == 3


@pytest.mark.parametrize("claim", [2**63 - 1, 10**18])
def test_a_count_that_no_client_can_hold_costs_the_liar_its_place_and_not_the_run(claim: int) -> None:
    poisoned = {"code-book-attack": "collapse", "code-book-attackers": "4", "code-book-claim": claim}
    strategy, _ = run(poisoned, variant="cfpc", fine_tune_rounds=1)
    assert {(each.participant, each.code) for each in rejections(strategy)} == {(4, "protocol")}
    assert all("beyond 1e+12" in each.reason for each in rejections(strategy))
    assert not any(each.code_book_refusal for each in strategy.history)
    assert strategy.history[-1].reported["rejected-participants"] == [4]


EVERYBODY_HAS_EVERYTHING = contrastive_client_app(
    lambda context: UserImages(*stripes(60, int(context.node_config["partition-id"])), NUM_CLASSES),
    build_network,
)


def run_with_a_liar(rule: str, config: dict[str, Any], **options: Any) -> ContrastiveECOC:
    grid = InProcessGrid(EVERYBODY_HAS_EVERYTHING, NUM_USERS, {**RUN_CONFIG, **config})
    strategy = ContrastiveECOC(
        NUM_CLASSES,
        NUM_BITS,
        NUM_USERS,
        pretrain_rounds=1,
        code_book_rule=rule,  # type: ignore[arg-type]
        num_byzantine=1,
        fraction_evaluate=0.0,
        **options,
    )
    strategy.start(grid, to_array_record(INITIAL), num_rounds=strategy.num_rounds, timeout=60)
    return strategy


@pytest.mark.parametrize("rule", ["median", "trimmed-mean"])
def test_a_robust_code_book_resists_a_liar_who_turns_the_mean_over(rule: str) -> None:
    poisoned = {"code-book-attack": "negate", "code-book-attackers": "4", "code-book-claim": 10**9}

    def book(rule: str, config: dict[str, Any]) -> np.ndarray:
        found = run_with_a_liar(rule, config, variant="pf", fine_tune_rounds=1).code_book
        assert found is not None
        return found

    moved = {name: np.linalg.norm(book(name, poisoned) - book(name, {})) for name in ("mean", rule)}
    assert moved[rule] < 0.1 * moved["mean"]


@pytest.mark.parametrize("rule", ["median", "trimmed-mean"])
def test_a_liar_ruins_the_accuracy_of_the_mean_code_book_and_of_no_robust_one(rule: str) -> None:
    lie = {"code-book-attack": "negate", "code-book-attackers": "4"}
    options: dict[str, Any] = {"variant": "cfpc", "fine_tune_rounds": 3}

    def left(rule: str, claim: int) -> float:
        strategy = run_with_a_liar(rule, {**lie, "code-book-claim": claim}, **options)
        return accuracy(strategy.state, strategy.code_book)

    assert left("mean", 10**9) < 0.3
    assert left(rule, 10**9) > 0.9
    assert left(rule, 0) > 0.9, "the honest number claimed"


def test_oversize_class_sums_cost_the_liar_its_place() -> None:
    config = {"code-book-attack": "oversize", "code-book-attackers": "4"}
    strategy, _ = run(config, variant="cfpc")
    refused = rejections(strategy)
    assert {(each.participant, each.code) for each in refused} == {(4, "protocol")}
    assert "beyond its count" in refused[0].reason
    assert accuracy(strategy.state, strategy.code_book) > 0.9


def test_a_robust_network_rule_withstands_a_sign_flip() -> None:
    config = {"attack": "sign-flip", "attackers": "4,", "attack-scale": 30.0}
    options = {"variant": "cfpc", "num_byzantine": 1}
    robust, _ = run(config, model_rule="median", **options)
    plain, _ = run(config, model_rule="mean", **options)
    assert accuracy(robust.state, robust.code_book) > 0.6
    blown_up, kept = (np.abs(each.state["encoder.weight"]).max() for each in (plain, robust))
    assert blown_up > 3 * kept


def test_malformed_networks_and_reports_are_attributed() -> None:
    def tamper(user: int, reply: Message) -> Message:
        if user == 2 and reply.has_content():
            for name, record in list(reply.content.array_records.items()):
                reply.content[name] = ArrayRecord(
                    {key: Array(each.numpy() * np.nan) for key, each in record.items()}
                )
        return reply

    strategy, _ = run(variant="cfpc", grid_options={"tamper": tamper})
    assert {each.participant for each in rejections(strategy)} == {2}
    assert accuracy(strategy.state, strategy.code_book) > 0.9


def test_clients_evaluate_once_there_is_a_code_book() -> None:
    _, result = run(variant="pf", fraction_evaluate=1.0)
    rounds = result.evaluate_metrics_clientapp
    assert 1 not in rounds or not rounds[1]
    assert rounds[4]["train-accuracy"] > 0.9


def test_every_record_may_have_another_name_and_a_second_run_starts_afresh() -> None:
    renamed = {"arrayrecord_key": "net", "configrecord_key": "told", "weighted_by_key": "images"}
    first, result = run(variant="pf", fraction_evaluate=1.0, **renamed)
    plain, _ = run(variant="pf")
    assert not rejections(first)
    assert result.evaluate_metrics_clientapp[4]["train-accuracy"] > 0.9
    np.testing.assert_array_equal(first.code_book, plain.code_book)
    grid = InProcessGrid(APP, NUM_USERS, RUN_CONFIG, seed=7)
    first.start(grid, to_array_record(INITIAL), num_rounds=first.num_rounds, timeout=60)
    np.testing.assert_array_equal(first.code_book, plain.code_book)
    assert [each.server_round for each in first.history if each.stage == "train"] == [1, 2, 3, 4]


def test_the_code_book_is_saved_and_loaded(tmp_path: Path) -> None:
    strategy, _ = run(variant="pf")
    strategy.save_code_book(tmp_path / "code-book.npz")
    np.testing.assert_array_equal(load_code_book(tmp_path / "code-book.npz"), strategy.code_book)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "acl"}, "variant must be one of"),
        ({"fine_tune_rounds": 0}, "fine_tune_rounds must be at least 1"),
        ({"variant": "tfc", "retrain_rounds": 2}, "retrain_arrays must be given"),
        ({"variant": "pf", "retrain_rounds": 2}, "retrain_rounds must be 0 for variant 'pf'"),
        ({"variant": "fixed"}, "code_book must be given for variant 'fixed'"),
        ({"variant": "fixed", "code_book": np.zeros((2, 2))}, r"code_book must have shape \(4, 12\)"),
        (
            {"variant": "fixed", "code_book": np.ones((4, 12))},
            "code_book must differ from class to class; received 'classes 0 and 1 share one codeword'",
        ),
        (
            {"variant": "fixed", "code_book": np.full((4, 12), np.nan)},
            "code_book must be finite",
        ),
        (
            {"code_book_rule": "median", "num_byzantine": 3},
            "must leave code_book_rule 'median' enough of 5 users",
        ),
        ({"max_claim_ratio": 0.5}, "max_claim_ratio must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        ContrastiveECOC(NUM_CLASSES, NUM_BITS, NUM_USERS, **options)
