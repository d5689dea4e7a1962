"""Mutated messages: whatever arrives, a step ends, blames its sender only, and adds up nothing wrong."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from flower_coded.attacks.ramp_krum_deviations import AlterMessage
from flower_coded.attacks.ramp_krum_updates import Deviation
from flower_coded.errors import RoundRefusedError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.conduct import HONEST
from flower_coded.protocols.ramp_krum.messages import Delivery, Request, UserMessage
from flower_coded.protocols.ramp_krum.party import Party
from flower_coded.protocols.ramp_krum.round import RoundReport
from flower_coded.protocols.ramp_krum.server_disputes import receive_complaints, receive_openings
from flower_coded.protocols.ramp_krum.server_result import RoundOutcome, receive_evaluations, receive_sums
from flower_coded.protocols.ramp_krum.server_sharing import open_round, receive_dealings, receive_keys
from flower_coded.protocols.ramp_krum.simulation import run_round
from flower_coded.protocols.ramp_krum.status import Reply

MakeSchemes = Callable[..., Schemes]
SENDER = 3
PHASES = ["keys", "shares", "complaints", "openings", "evaluations", "sums"]
STEPS: dict[str, Callable[..., Any]] = {
    "keys": receive_keys,
    "shares": receive_dealings,
    "complaints": receive_complaints,
    "openings": receive_openings,
    "evaluations": receive_evaluations,
    "sums": receive_sums,
}


def mutate_bytes(data: bytes, generator: np.random.Generator) -> bytes:
    """Flip a bit, cut, extend, exchange, zero, or replace."""
    kind = generator.integers(7)
    if kind == 0 and data:
        place = int(generator.integers(len(data)))
        return data[:place] + bytes([data[place] ^ (1 << int(generator.integers(8)))]) + data[place + 1 :]
    if kind == 1:
        return data[: int(generator.integers(len(data) + 1))]
    if kind == 2:
        return data + generator.bytes(int(generator.integers(1, 64)))
    if kind == 3:
        return data[len(data) // 2 :] + data[: len(data) // 2]
    if kind == 4:
        return bytes(len(data))
    if kind == 5:
        return b"\xff" * len(data)
    return generator.bytes(len(data))


def mutate(message: UserMessage, generator: np.random.Generator) -> list[UserMessage]:
    """Change one field of a message, or send it twice, or as somebody else, or not at all."""
    names = [field.name for field in dataclasses.fields(message)]
    name = names[int(generator.integers(len(names)))]
    if generator.random() < 0.05:
        return [] if generator.random() < 0.5 else [message, message]
    value = getattr(message, name)
    changed: Any
    if isinstance(value, bytes):
        changed = mutate_bytes(value, generator)
    elif isinstance(value, Mapping):
        changed = dict(value)
        key = sorted(changed)[int(generator.integers(len(changed)))]
        if generator.random() < 0.7:
            changed[key] = mutate_bytes(changed[key], generator)
        else:
            changed[int(generator.integers(-2, 40))] = changed.pop(key)
    elif isinstance(value, tuple):
        changed = tuple(int(user) for user in generator.integers(-3, 30, size=int(generator.integers(0, 9))))
    else:
        changed = int(generator.integers(-3, 30))
    return [dataclasses.replace(message, **{name: changed})]


@dataclasses.dataclass
class Recorded:
    """An honest round (but for one disputed share), stopped before every phase."""

    states: dict[str, Any]
    replies: dict[str, list[Reply]]
    deliveries: Mapping[int, Delivery]
    parties: dict[int, Party]
    before_delivery: dict[int, Any]
    outcome: RoundOutcome


@pytest.fixture(scope="module")
def recorded(make_schemes: MakeSchemes, make_updates: Callable[..., dict[int, np.ndarray]]) -> Recorded:
    schemes = make_schemes(12, 2, 2, a=2, d=1)
    updates = make_updates(schemes.parameters)
    # The sender of mutated messages is disputed by a false complaint, so that it has a share to open.
    parties = {u: Party(schemes, u, updates[u], conduct=_Accuse() if u == 7 else HONEST) for u in range(12)}
    state, requests = open_round(schemes)
    states, recorded_replies, deliveries, before = {}, {}, {}, {}
    for phase in PHASES:
        states[phase] = state
        if phase == "complaints":
            deliveries = dict(requests)
            before = {user: party.state for user, party in parties.items()}
        replies = [(user, message) for user in requests for message in parties[user].answer(requests[user])]
        recorded_replies[phase] = replies
        step = STEPS[phase](state, replies)
        if isinstance(step, RoundOutcome):
            return Recorded(states, recorded_replies, deliveries, parties, before, step)
        state, requests = step
    raise AssertionError("the round did not end")


class _Accuse(Deviation):
    """Complain about the sender."""

    def alter_message(self, phase: str, message: Any) -> Any:
        return [dataclasses.replace(message, dealers=(SENDER,))] if phase == "complaints" else [message]


def fuzz_phase(recorded: Recorded, phase: str, count: int) -> None:
    generator = np.random.default_rng(PHASES.index(phase))
    honest = dict(recorded.replies[phase])[SENDER]
    for _ in range(count):
        messages = mutate(honest, generator)
        replies = [reply for reply in recorded.replies[phase] if reply[0] != SENDER]
        replies += [(SENDER, message) for message in messages]
        try:
            result = STEPS[phase](recorded.states[phase], replies)
        except RoundRefusedError as error:  # sending wrong products, say, may exhaust what A = 2 leaves
            blamed = {each.user for each in error.misbehavior}
            assert blamed <= {SENDER, 7}
            continue
        outcome = result if isinstance(result, RoundOutcome) else None
        status = outcome.status if outcome else getattr(result[0], "status", None)
        if status is not None:
            others = {each.user for each in status.misbehavior} - {SENDER, 7}
            assert not others, messages
        if outcome:
            assert (outcome.total == recorded.outcome.total).all()
        if phase == "evaluations" and not isinstance(result, RoundOutcome):
            common = set(result[0].distances) & set(recorded.outcome.distances)
            assert all(result[0].distances[pair] == recorded.outcome.distances[pair] for pair in common)


@pytest.mark.parametrize("phase", PHASES)
def test_server_step__survives_mutated_messages(recorded: Recorded, phase: str) -> None:
    fuzz_phase(recorded, phase, 40)


@pytest.mark.experiment
@pytest.mark.parametrize("phase", PHASES)
def test_server_step__survives_ten_thousand_mutated_messages(recorded: Recorded, phase: str) -> None:
    fuzz_phase(recorded, phase, int(os.environ.get("FLOWER_CODED_FUZZ", "10000")))


def fuzz_delivery(recorded: Recorded, count: int) -> None:
    """A user opens mutated shares: it complains about their sender, and about nobody else."""
    generator = np.random.default_rng(9)
    for _ in range(count):
        party = recorded.parties[5]
        party.state = recorded.before_delivery[5]
        request = recorded.deliveries[5]
        shares = dict(request.encrypted_shares)
        shares[SENDER] = mutate_bytes(shares[SENDER], generator)
        (complaints,) = party.answer(dataclasses.replace(request, encrypted_shares=shares))
        expected = () if shares[SENDER] == request.encrypted_shares[SENDER] else (SENDER,)
        assert complaints.dealers == expected  # type: ignore[attr-defined]


def test_user_step__complains_about_mutated_shares(recorded: Recorded) -> None:
    fuzz_delivery(recorded, 15)


@pytest.mark.experiment
def test_user_step__complains_about_ten_thousand_mutated_shares(recorded: Recorded) -> None:
    fuzz_delivery(recorded, int(os.environ.get("FLOWER_CODED_FUZZ", "10000")))


def fuzz_round(schemes: Schemes, updates: dict[int, np.ndarray], seed: int) -> None:
    """Whole rounds in which one user mutates its message of a random phase: refused, or right."""
    generator = np.random.default_rng(seed)
    phase = PHASES[int(generator.integers(len(PHASES)))]
    deviation = _Mutate(phase, seed)
    report = RoundReport()
    try:
        run_round(schemes, updates, deviations={SENDER: deviation}, report=report)
    except RoundRefusedError as error:
        raise AssertionError(f"one liar of two refused the round: {error}") from error
    assert report.outcome is not None
    assert (report.outcome.total == sum(updates[user] for user in report.outcome.selection.users)).all()
    assert {each.user for each in report.outcome.status.misbehavior} <= {SENDER}


@dataclasses.dataclass(frozen=True)
class _Mutate(Deviation):
    phase: str
    seed: int

    def alter_message(self, phase: str, message: Any) -> Any:
        return mutate(message, np.random.default_rng(self.seed)) if phase == self.phase else [message]


@pytest.mark.parametrize("seed", range(6))
def test_round__with_a_mutated_message_is_right(
    make_schemes: MakeSchemes, make_updates: Callable[..., dict[int, np.ndarray]], seed: int
) -> None:
    schemes = make_schemes(8, 1, 1, a=1, d=1)
    fuzz_round(schemes, make_updates(schemes.parameters), seed)


@pytest.mark.experiment
def test_round__with_a_mutated_message_is_right_a_thousand_times(
    make_schemes: MakeSchemes, make_updates: Callable[..., dict[int, np.ndarray]]
) -> None:
    schemes = make_schemes(8, 1, 1, a=1, d=1)
    for seed in range(1000):
        fuzz_round(schemes, make_updates(schemes.parameters), 100 + seed)


def test_server_step__ignores_replies_of_strangers(recorded: Recorded) -> None:
    replies = [*recorded.replies["keys"], (99, recorded.replies["keys"][0][1])]
    state, requests = receive_keys(recorded.states["keys"], replies)
    assert set(requests) == set(range(12))
    assert state.status.misbehavior == ()


def test_server_step__refuses_another_users_message(recorded: Recorded) -> None:
    change = AlterMessage("keys", lambda message: dataclasses.replace(message, user=1))
    (message,) = change.alter_message("keys", dict(recorded.replies["keys"])[SENDER])
    replies = [reply for reply in recorded.replies["keys"] if reply[0] != SENDER] + [(SENDER, message)]
    state, requests = receive_keys(recorded.states["keys"], replies)
    assert SENDER not in requests
    assert state.status.misbehavior[0].reason == "the message calls itself one of another user"


def test_request__of_a_stranger_type_is_refused_by_the_user(recorded: Recorded) -> None:
    with pytest.raises(RoundRefusedError, match="does not fit what was asked before"):
        recorded.parties[5].answer(Request(b"?"))
