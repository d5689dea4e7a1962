"""Frozen arrays under every strategy that averages models: no byte of them travels, and they do not count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from averaging_strategies import EVERYBODY, STRATEGIES, Averaging
from flwr.app import ConfigRecord, Context, Message
from flwr.serverapp.strategy import FedAvg
from toy_client_apps import moving_app

from flower_coded.clients import frozen_mod
from flower_coded.crypto.srs_cache import CACHE_VARIABLE
from flower_coded.errors import NoRoundSucceededError
from flower_coded.strategies import (
    ValidatedReplies,
)
from flower_coded.testing import InProcessGrid
from flower_coded.wire.frozen import FROZEN_DIGEST_KEY, frozen_part, state_digest
from flower_coded.wire.model_state import to_array_record

TRAINED = {"adapter.down": np.ones((2, 3), np.float32), "adapter.up": np.zeros((3, 2), np.float32)}


def whole_model(num_frozen: int) -> dict[str, np.ndarray]:
    frozen = np.full(num_frozen, 5, np.float32)
    return {"body": frozen, **TRAINED, "body.running_var": frozen, "steps": np.array(3)}


each_strategy = pytest.mark.parametrize("averaging", STRATEGIES, ids=lambda each: each.name)


@pytest.fixture(scope="module", autouse=True)
def _keep_reference_strings_apart(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("reference-strings")))
        yield


def run(averaging: Averaging, whole: dict[str, np.ndarray], digest: str = "") -> tuple[Any, list[int], Any]:
    """Train two rounds; return the strategy, bytes of arrays per message and reply, and the result."""
    sizes: list[int] = []

    def weigh(message: Message) -> None:
        if message.has_content():
            records = message.content.array_records.values()
            sizes.append(sum(len(array.data) for record in records for array in record.values()))
            texts = message.content.config_records.values()
            sizes.append(
                sum(len(value) for each in texts for value in each.values() if isinstance(value, bytes))
            )

    def spy(message: Message, context: Context, call_next: Any) -> Message:
        weigh(message)
        reply = call_next(message, context)
        weigh(reply)
        return reply

    strategy = averaging.make()
    app = moving_app(
        lambda me, arrays, message: {k: (v + 0.25).astype(v.dtype) for k, v in arrays.items()},
        evaluation=lambda me: {"num-examples": 10, "accuracy": 0.5},
        mods=[spy, *averaging.mods, frozen_mod(lambda: whole)],
    )
    grid = InProcessGrid(app, 7, {"ramp-krum-protections": False})
    config = ConfigRecord({FROZEN_DIGEST_KEY: digest}) if digest else ConfigRecord()
    start = to_array_record(TRAINED)
    result = strategy.start(grid, start, 2, timeout=60, train_config=config, evaluate_config=config)
    return strategy, sizes, result


@each_strategy
def test_a_message_is_as_long_whatever_is_frozen(averaging: Averaging) -> None:
    _, small, _ = run(averaging, whole_model(1))
    _, large, result = run(averaging, whole_model(100_000))
    assert len(small) == len(large)
    # Points of a curve are compressed, and masks are drawn: a share's length may differ by a byte or two.
    np.testing.assert_allclose(large, small, atol=64)
    assert max(large) < 100_000
    assert list(result.arrays) == list(TRAINED)


@each_strategy
def test_what_is_trained_moves_as_if_there_were_nothing_else(averaging: Averaging) -> None:
    _, _, result = run(averaging, whole_model(1000))
    for name, array in TRAINED.items():
        expected = np.broadcast_to(array + 0.5, result.arrays[name].numpy().shape)
        np.testing.assert_allclose(result.arrays[name].numpy(), expected, atol=4e-3)
        assert result.arrays[name].numpy().dtype == array.dtype


@each_strategy
def test_a_node_with_another_network_is_left_out_with_the_reason(averaging: Averaging) -> None:
    whole = whole_model(10)
    run(averaging, whole, state_digest(frozen_part(whole, TRAINED)))  # the right one passes
    with pytest.raises(NoRoundSucceededError, match="same pretrained network"):
        run(averaging, whole, state_digest(frozen_part(whole_model(11), TRAINED)))


def test_an_app_whose_models_have_nothing_frozen_refuses_adapters_of_another_network() -> None:
    from flower_coded.clients import training_client_app
    from flower_coded.learning import build_model, get_state

    settings = {"samples-per-user": 20, "local-epochs": 1}
    grid = InProcessGrid(training_client_app(), 7, settings)
    start = to_array_record(get_state(build_model("small-cnn", (1, 8, 8), 10)))
    config = ConfigRecord({FROZEN_DIGEST_KEY: "0" * 32})
    strategy = ValidatedReplies(FedAvg(**EVERYBODY))
    with pytest.raises(NoRoundSucceededError, match="same pretrained network"):
        strategy.start(grid, start, num_rounds=1, timeout=60, train_config=config)
