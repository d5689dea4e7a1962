"""The ClientApp of contrastive output codes: defaults, data attacks, settings of a liar."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from torch import nn

from flower_coded.clients.contrastive_ecoc import UserImages, code_book_attack, contrastive_client_app
from flower_coded.codes.output_code import OutputCode
from flower_coded.errors import ParameterError
from flower_coded.learning.models import get_state
from flower_coded.learning.output_code_network import OutputCodeNetwork
from flower_coded.testing import InProcessGrid
from flower_coded.wire.contrastive_ecoc import (
    CODE_BOOK_KEY,
    CODE_BOOK_MESSAGE_TYPE,
    CODEWORDS_KEY,
    FOLLOW_KEY,
    PHASE_KEY,
)
from flower_coded.wire.model_state import to_array_record

NUM_CLASSES, NUM_BITS = 4, 6
CODE_BOOK = OutputCode.random(NUM_CLASSES, NUM_BITS, np.random.default_rng(0)).codewords


def load_user(context: Context) -> UserImages:
    """Forty images with 1, 2, 3 and 34 of the classes."""
    generator = np.random.default_rng(int(context.node_config["partition-id"]))
    labels = np.repeat(np.arange(NUM_CLASSES), [1, 2, 3, 34])
    images = generator.uniform(0, 1, (40, 1, 8, 8)).astype(np.float32)
    return UserImages(images, labels, NUM_CLASSES)


def build_network(*_: object) -> OutputCodeNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return OutputCodeNetwork(nn.Flatten(), 64, NUM_BITS, num_projections=8)


def ask(run_config: dict[str, Any], message_type: str = "train", *, user: int = 1, **config: Any) -> Message:
    grid = InProcessGrid(contrastive_client_app(load_user, build_network), 3, run_config)
    records: dict[str, Any] = {
        "arrays": to_array_record(get_state(build_network())),
        "config": ConfigRecord(
            {PHASE_KEY: "fine-tune", FOLLOW_KEY: False, "coded-seed": 5, "server-round": 1} | config
        ),
    }
    if message_type == "train":
        records[CODE_BOOK_KEY] = ArrayRecord({CODEWORDS_KEY: Array(CODE_BOOK)})
    message = Message(RecordDict(records), grid.node_ids[user], message_type)
    (reply,) = grid.send_and_receive([message], timeout=60)
    return reply


def send(run_config: dict[str, Any], *arguments: Any, **options: Any) -> RecordDict:
    return ask(run_config, *arguments, **options).content


def weights(run_config: dict[str, Any], **options: Any) -> np.ndarray:
    return send({"local-epochs": 1, **run_config}, **options)["arrays"]["encoder.weight"].numpy()


def counts(run_config: dict[str, Any], **options: Any) -> list[int]:
    return send(run_config, CODE_BOOK_MESSAGE_TYPE, **options)[CODE_BOOK_KEY]["counts"].numpy().tolist()


def test_without_settings_a_client_trains_with_adam_at_its_usual_learning_rate() -> None:
    np.testing.assert_array_equal(weights({}), weights({"optimizer": "adam", "learning-rate": 0.001}))
    for changes in ({"optimizer": "sgd"}, {"learning-rate": 0.01}):
        assert not np.array_equal(weights({}), weights(changes))


def test_the_text_false_is_false_and_other_texts_are_refused() -> None:
    def pretrained(flip: Any) -> np.ndarray:
        return weights({"flip": flip, "pretrain-batch-size": 40}, **{PHASE_KEY: "pretrain"})

    np.testing.assert_array_equal(pretrained("false"), pretrained(False))
    assert not np.array_equal(pretrained("true"), pretrained("false"))
    reply = ask({"flip": "no"}, **{PHASE_KEY: "pretrain"})
    assert "flip must be true or false" in reply.error.reason


def test_adversarial_training_is_set_by_the_run_configuration() -> None:
    attacked = {"adversarial-training": "madry", "adversarial-steps": 2}
    assert not np.array_equal(weights(attacked), weights({}))
    assert not np.array_equal(weights(attacked), weights(attacked | {"adversarial-training": "trades"}))
    np.testing.assert_array_equal(weights(attacked | {"adversarial-training": "none"}), weights({}))
    np.testing.assert_array_equal(
        weights(attacked, **{PHASE_KEY: "pretrain"}), weights({}, **{PHASE_KEY: "pretrain"})
    )
    reply = ask({"adversarial-training": "pgd"})
    assert "adversarial-training must be one of none, madry, trades" in reply.error.reason


def test_byol_takes_simclrs_place_where_the_network_has_a_predictor() -> None:
    reply = ask({"contrastive": "byol", "pretrain-batch-size": 40}, **{PHASE_KEY: "pretrain"})
    assert "network must have a predictor" in reply.error.reason


@pytest.mark.parametrize("phase", ["pretrain", "fine-tune"])
def test_a_poisoner_trains_on_poisoned_images(phase: str) -> None:
    attack = {"attack": "pixel-trigger", "attackers": "1,", "poison-rate": 0.5, "attack-from-round": 2}

    def trained(config: dict[str, Any], **options: Any) -> np.ndarray:
        return weights({**config, "pretrain-batch-size": 40}, **{PHASE_KEY: phase}, **options)

    np.testing.assert_array_equal(trained(attack), trained({}))
    np.testing.assert_array_equal(trained(attack, user=2, **{"server-round": 2}), trained({}, user=2))
    assert not np.array_equal(trained(attack, **{"server-round": 2}), trained({}))


def test_a_label_flipper_reports_the_sums_of_flipped_labels() -> None:
    flip = {"attack": "label-flip", "attackers": "1,", "attack-from-round": 2}
    assert counts(flip) == counts(flip, user=0, **{"server-round": 2}) == [1, 2, 3, 34]
    assert counts(flip, **{"server-round": 2}) == [34, 3, 2, 1]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"code-book-attack": "invert"}, "code-book-attack must be one of"),
        ({"code-book-attackers": "one"}, "code-book-attackers must be partition ids 0 to 2"),
        ({"code-book-attackers": "0,3"}, "code-book-attackers must be partition ids 0 to 2"),
        ({"code-book-claim": -1}, "code-book-claim must be an integer"),
    ],
)
def test_bad_settings_of_a_liar_are_refused_for_any_user(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        code_book_attack(setting, 0, num_users=3)


def test_the_loss_of_an_output_code_is_not_constrained_in_silence() -> None:
    reply = ask({"attack": "model-replacement", "attackers": "1,", "attack-constrain": 0.5})
    assert "attack-constrain must be 1 where an output code is trained" in reply.error.reason
