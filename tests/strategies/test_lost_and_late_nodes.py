"""Nodes that lose their share, come back as somebody else, or are late: encoded descent and ALCC alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp

from flower_coded.clients.encoded_gd import encoded_gd_client_app
from flower_coded.clients.robust_alcc import robust_alcc_client_app
from flower_coded.codes import AnalogLagrangeCode, RealErrorLocatingCode
from flower_coded.protocols.encoded_gradient import LeastSquares
from flower_coded.protocols.encoded_gradient.step_size_rules import ConstantStep
from flower_coded.strategies import EncodedGradientDescent, RobustALCC
from flower_coded.testing import InProcessGrid
from flower_coded.wire.encoded_gd import MULTIPLY_MESSAGE_TYPE, SHARE_MESSAGE_TYPE
from flower_coded.wire.robust_alcc import COMPUTE_MESSAGE_TYPE, SHARE_KEY

GENERATOR = np.random.default_rng(0)
FEATURES = GENERATOR.standard_normal((30, 3))
TARGETS = FEATURES @ [1.0, -2.0, 0.5] + 0.1 * GENERATOR.standard_normal(30)
NODE = 4


@dataclass(frozen=True)
class System:
    """A strategy of nine workers, two of whom may fail, and its client."""

    make: Callable[..., Any]
    app: Callable[[], ClientApp]
    product: str
    is_share: Callable[[Message], bool]


def encoded(**options: float) -> EncodedGradientDescent:
    step = ConstantStep(0.5 / float(np.linalg.norm(FEATURES, 2)) ** 2)
    code = RealErrorLocatingCode(9, 1, 2)
    return EncodedGradientDescent(code, FEATURES, TARGETS, LeastSquares(), step, share_timeout=5.0, **options)


def analog(**options: float) -> RobustALCC:
    code = AnalogLagrangeCode(num_workers=9, num_blocks=1, num_colluders=2, noise_scale=100.0)
    table = np.column_stack([FEATURES, TARGETS])
    return RobustALCC(code, table, "gradient", step_size=0.5, num_byzantine=2, num_stragglers=2, **options)


def holds_share(message: Message) -> bool:
    return message.has_content() and SHARE_KEY in message.content


SYSTEMS = {
    "encoded": System(
        encoded,
        encoded_gd_client_app,
        MULTIPLY_MESSAGE_TYPE,
        lambda message: message.metadata.message_type == SHARE_MESSAGE_TYPE,
    ),
    "analog": System(analog, robust_alcc_client_app, COMPUTE_MESSAGE_TYPE, holds_share),
}
each_system = pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)


@dataclass
class Watched:
    """What was sent to which node, as a hook of the grid that drops nothing."""

    system: System
    shares: list[int] = field(default_factory=list)
    products: list[int] = field(default_factory=list)

    def __call__(self, node: int, message: Message) -> bool:
        if self.system.is_share(message):
            self.shares.append(node)
        if message.metadata.message_type == self.system.product:
            self.products.append(node)
        return False


class Held(InProcessGrid):
    """One node's replies to products are kept back until they are released."""

    kept: str = ""
    is_held = False

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        message_ids = list(super().push_messages(messages))
        for message, message_id in zip(messages, message_ids, strict=True):
            is_product = message.metadata.message_type in (MULTIPLY_MESSAGE_TYPE, COMPUTE_MESSAGE_TYPE)
            if self.is_held and is_product and message.metadata.dst_node_id == self.node_ids[NODE]:
                self.kept = message_id
        return message_ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return super().pull_messages(each for each in message_ids if not (self.is_held and each == self.kept))


def one_round(strategy: Any, grid: InProcessGrid, number: int, arrays: Any) -> Any:
    strategy._is_own_master = True  # rounds by hand, where start() would play them
    strategy.configure_train(number, arrays, None, grid)
    updated, _ = strategy.aggregate_train(number, [])
    return updated


def honest_weights(system: System, rounds: int) -> np.ndarray:
    strategy = system.make(reply_timeout=5.0, connect_timeout=5.0)
    arrays = strategy.initial_arrays()
    grid = InProcessGrid(system.app(), 9)
    for number in range(1, rounds + 1):
        arrays = one_round(strategy, grid, number, arrays)
    return arrays["weights"].numpy()


@each_system
def test_a_node_that_lost_its_state__is_given_its_share_again_in_the_same_round(system: System) -> None:
    watched = Watched(system)
    grid = InProcessGrid(system.app(), 9, drop=watched)
    strategy = system.make(reply_timeout=5.0, connect_timeout=5.0)
    arrays = one_round(strategy, grid, 1, strategy.initial_arrays())
    assert sorted(watched.shares) == list(range(9))
    grid.contexts[NODE].state = RecordDict()
    for number in (2, 3):
        arrays = one_round(strategy, grid, number, arrays)
    assert watched.shares[9:] == [NODE]
    assert NODE in strategy.history[-1].accepted
    assert strategy.history[-1].rejected == ()
    np.testing.assert_allclose(arrays["weights"].numpy(), honest_weights(system, 3), rtol=1e-6)


@each_system
def test_a_node_that_comes_back_under_a_new_id__takes_its_place_and_gets_its_share(system: System) -> None:
    watched = Watched(system)
    grid = InProcessGrid(system.app(), 9, drop=watched)
    strategy = system.make(reply_timeout=5.0, connect_timeout=5.0)
    arrays = one_round(strategy, grid, 1, strategy.initial_arrays())
    grid.node_ids[NODE] += 1
    grid.contexts[NODE].state = RecordDict()
    for number in (2, 3):
        arrays = one_round(strategy, grid, number, arrays)
        assert strategy.history[-1].accepted == tuple(range(9))
        assert strategy.history[-1].rejected == ()
    assert strategy.federation.participants.node_of(NODE) == grid.node_ids[NODE]
    assert watched.shares[9:] == [NODE]
    np.testing.assert_allclose(arrays["weights"].numpy(), honest_weights(system, 3), rtol=1e-6)


@each_system
def test_a_late_node__is_not_asked_twice_at_once_and_is_heard_again_when_it_has_answered(
    system: System,
) -> None:
    watched = Watched(system)
    grid = Held(system.app(), 9, drop=watched)
    strategy = system.make(reply_timeout=5.0, connect_timeout=5.0)
    arrays = one_round(strategy, grid, 1, strategy.initial_arrays())
    grid.is_held = True
    before = watched.products.count(NODE)
    for number in (2, 3):
        arrays = one_round(strategy, grid, number, arrays)
        assert NODE not in strategy.history[-1].accepted
        assert not strategy.history[-1].is_unchanged
    assert watched.products.count(NODE) == before + 1
    grid.is_held = False
    arrays = one_round(strategy, grid, 4, arrays)
    assert NODE in strategy.history[-1].accepted
    assert watched.shares == sorted(watched.shares)  # and its share was not sent again
    np.testing.assert_allclose(arrays["weights"].numpy(), honest_weights(system, 4), rtol=1e-6)


def test_a_node_that_always_says_it_lost_its_share__takes_no_more_than_the_time_for_shares() -> None:
    # It never confirms either: beside the time for shares it may cost a second in each product, no more.
    lost = {0, NODE}

    def drop(node: int, message: Message) -> bool:
        if node in lost and grid.traffic and message.metadata.message_type == MULTIPLY_MESSAGE_TYPE:
            grid.contexts[node].state = RecordDict()
        is_again = node in lost and strategy.history != []
        return is_again and message.metadata.message_type == SHARE_MESSAGE_TYPE

    grid = InProcessGrid(encoded_gd_client_app(), 9, drop=drop)
    strategy = encoded(reply_timeout=5.0, connect_timeout=5.0)
    strategy.share_timeout = 0.5
    arrays = one_round(strategy, grid, 1, strategy.initial_arrays())
    started = time.monotonic()
    for number in (2, 3):
        arrays = one_round(strategy, grid, number, arrays)
        assert not strategy.history[-1].is_unchanged
    assert time.monotonic() - started < 20
    np.testing.assert_allclose(arrays["weights"].numpy(), honest_weights(SYSTEMS["encoded"], 3), rtol=1e-6)
