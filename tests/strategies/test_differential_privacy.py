"""Noise that is promised is there, whoever fails; what has another sensitivity is not wrapped in silence."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
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


def adaptive(strategy: Any, multiplier: float, clipping: float, num_clients: int) -> Any:
    return DifferentialPrivacyServerSideAdaptiveClipping(
        strategy, multiplier, num_clients, initial_clipping_norm=clipping, clipped_count_stddev=2.0
    )


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


FAILURES = [subset for size in range(USERS) for subset in itertools.combinations(range(USERS), size)]
"""Every set of users that leaves somebody."""


@pytest.mark.parametrize("failing", FAILURES, ids=str)
def test_the_noise_hides_one_of_those_who_are_there_whoever_fails(failing: tuple[int, ...]) -> None:
    """One of K moves a mean by C / K, and the deviation is z times that; nobody can stop the others."""
    strategy = noisy()
    released = start(strategy, failing)
    # Clipped updates are constant vectors of length CLIPPING, all alike: the rest is noise.
    noise = released - CLIPPING / np.sqrt(LENGTH)
    num_replies = USERS - len(failing)
    np.testing.assert_allclose(noise.std(), MULTIPLIER * CLIPPING / num_replies, rtol=0.06)
    assert {each.participant for each in strategy.history[0].rejected} == set(failing)


def test_where_everybody_fails_nothing_is_released() -> None:
    with pytest.raises(NoRoundSucceededError, match="no reply could be used"):
        start(noisy(), tuple(range(USERS)))


@pytest.mark.parametrize("wrapper", [DifferentialPrivacyServerSideFixedClipping, adaptive])
def test_a_client_that_sends_back_what_it_got_costs_its_place_and_not_the_round(wrapper: Any) -> None:
    """Flower's clipping divides by the length of its update."""
    strategy = ValidatedReplies(wrapper(FedAvg(**EVERYBODY), MULTIPLIER, CLIPPING, USERS))
    app = moving_app(lambda me, arrays, message: {"w": arrays["w"] + (me != 2)})
    result = strategy.start(
        InProcessGrid(app, USERS), ArrayRecord({"w": Array(START)}), num_rounds=2, timeout=5
    )
    assert np.isfinite(result.arrays["w"].numpy()).all()
    for record in strategy.history:
        assert not record.is_unchanged
        assert [(each.participant, "length 0" in each.reason) for each in record.rejected] == [(2, True)]


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


def test_a_strategy_that_has_run_by_itself_is_not_wrapped_afterwards_either() -> None:
    median = RuleAggregation(get_aggregation_rule("median", num_byzantine=1), **EVERYBODY)
    app = moving_app(lambda me, arrays, message: {"w": arrays["w"] + 1})
    arrays = ArrayRecord({"w": Array(START)})
    median.start(InProcessGrid(app, USERS), arrays, num_rounds=1, timeout=5)
    ValidatedReplies(median).start(InProcessGrid(app, USERS), arrays, num_rounds=1, timeout=5)
    wrapped = DifferentialPrivacyServerSideFixedClipping(median, MULTIPLIER, CLIPPING, USERS)
    with pytest.raises(ParameterError, match="must be started itself"):
        wrapped.start(InProcessGrid(app, USERS), arrays, num_rounds=1, timeout=5)
