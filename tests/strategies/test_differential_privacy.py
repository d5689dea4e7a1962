"""Noise that is promised is there, whoever fails; what has another sensitivity is not wrapped in silence."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
)
from toy_client_apps import moving_app

from flower_coded.aggregation import get_aggregation_rule
from flower_coded.codes import backdoor_correction_code
from flower_coded.errors import NoRoundSucceededError, ParameterError
from flower_coded.strategies import (
    CodedSubsetAggregation,
    RampSharedMultiKrum,
    RuleAggregation,
    ValidatedReplies,
)
from flower_coded.testing import InProcessGrid

USERS, LENGTH = 6, 4000
MULTIPLIER, CLIPPING = 2.0, 3.0
PROMISED = MULTIPLIER * CLIPPING / USERS
EVERYBODY = {"min_train_nodes": USERS, "min_available_nodes": USERS, "fraction_evaluate": 0.0}
START = np.zeros(LENGTH)


def noisy() -> ValidatedReplies:
    inner = FedAvg(**EVERYBODY)
    return ValidatedReplies(DifferentialPrivacyServerSideFixedClipping(inner, MULTIPLIER, CLIPPING, USERS))


def start(strategy: ValidatedReplies, failing: tuple[int, ...] = ()) -> np.ndarray:
    """One round, in which some users fail, each in another way."""

    def fail(user: int, reply: Message) -> Message | list[Message]:
        if user not in failing:
            return reply
        if user % 3 == 0:
            return []
        shape = (LENGTH + 1,) if user % 3 == 1 else (LENGTH,)
        reply.content["arrays"] = ArrayRecord({"w": Array(np.full(shape, np.nan))})
        return reply

    app = moving_app(lambda me, arrays, message: {"w": arrays["w"] + (me + 1)})
    grid = InProcessGrid(app, USERS, tamper=fail)
    result = strategy.start(grid, ArrayRecord({"w": Array(START)}), num_rounds=1, timeout=5)
    return result.arrays["w"].numpy()


FAILURES = [subset for size in range(1, USERS + 1) for subset in itertools.combinations(range(USERS), size)]


@pytest.mark.parametrize("failing", FAILURES, ids=str)
def test_nothing_is_released_with_less_noise_than_promised_whoever_fails(failing: tuple[int, ...]) -> None:
    strategy = noisy()
    with pytest.raises(NoRoundSucceededError, match=f"{USERS - len(failing)} replies are usable"):
        start(strategy, failing)
    [record] = strategy.history
    assert record.is_unchanged
    assert f"the noise is for {USERS} clients" in record.refusal


def test_with_everybody_there_the_noise_is_what_was_promised() -> None:
    # Clipped updates are constant vectors of length CLIPPING, all alike: the rest is noise.
    noise = start(noisy()) - CLIPPING / np.sqrt(LENGTH)
    np.testing.assert_allclose(noise.std(), PROMISED, rtol=0.05)


def test_a_claim_of_many_examples_moves_a_noisy_mean_no_further_than_anybody() -> None:
    """User 5 claims ten times the others' examples; its clipped update weighs a sixth all the same."""
    weights = []
    for counts in ({5: 1000}, {5: 10}):
        app = moving_app(
            lambda me, arrays, message: {"w": arrays["w"] + (100.0 if me == 5 else 1e-9)},
            metrics=lambda me, counts=counts: {"num-examples": counts.get(me, 100)},  # type: ignore[misc]
        )
        result = noisy().start(
            InProcessGrid(app, USERS), ArrayRecord({"w": Array(START)}), num_rounds=1, timeout=5
        )
        weights.append(result.arrays["w"].numpy().mean() * np.sqrt(LENGTH) / CLIPPING)
    # The mean over 4,000 entries has a deviation of PROMISED / sqrt(4000), here in units of one user's share.
    np.testing.assert_allclose(weights, 1 / USERS, atol=5 * PROMISED / CLIPPING)


@pytest.mark.parametrize(
    "wrapper", [DifferentialPrivacyServerSideFixedClipping, DifferentialPrivacyClientSideFixedClipping]
)
@pytest.mark.parametrize(
    "inner",
    [
        lambda: RuleAggregation(get_aggregation_rule("median", num_byzantine=1), **EVERYBODY),
        lambda: CodedSubsetAggregation(backdoor_correction_code(1, 2, USERS), fraction_evaluate=0.0),
        lambda: RampSharedMultiKrum(7, 1, num_dropouts=0),
    ],
    ids=["median", "coded subset", "ramp-shared multi-Krum"],
)
def test_what_is_no_mean_is_not_wrapped_in_noise_for_a_mean(wrapper: Any, inner: Any) -> None:
    app = moving_app(lambda me, arrays, message: arrays)
    strategy = wrapper(inner(), MULTIPLIER, CLIPPING, USERS)
    with pytest.raises(ParameterError, match=r"must be started itself.*LocalDpMod"):
        strategy.start(InProcessGrid(app, 7), ArrayRecord({"w": Array(START)}), num_rounds=1, timeout=5)
