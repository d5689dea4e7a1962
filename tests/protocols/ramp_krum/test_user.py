"""What an honest user refuses to a server that asks too much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flower_coded.crypto.encrypted_share import KeyPair
from flower_coded.crypto.field_vectors import zeros
from flower_coded.errors import ParameterError, RoundRefusedError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.dealing import (
    bytes_to_share,
    draw_rows,
    share_to_bytes,
    update_to_parts,
)
from flower_coded.protocols.ramp_krum.messages import (
    DealRequest,
    EvaluationRequest,
    KeyRequest,
    OpeningRequest,
    SumRequest,
)
from flower_coded.protocols.ramp_krum.party import Party
from flower_coded.protocols.ramp_krum.server_disputes import receive_complaints, receive_openings
from flower_coded.protocols.ramp_krum.server_sharing import open_round, receive_dealings, receive_keys
from flower_coded.protocols.ramp_krum.user import HoldingState, SummingState


@pytest.fixture
def holding(
    make_schemes: Callable[..., Schemes], make_updates: Callable[..., dict[int, np.ndarray]]
) -> tuple[Party, EvaluationRequest]:
    """User 0 of a round in which everybody's shares have arrived."""
    schemes = make_schemes(8, 1, 1, a=1, d=0)
    updates = make_updates(schemes.parameters)
    members = {user: Party(schemes, user, updates[user]) for user in range(8)}

    def ask(requests: Any) -> Any:
        return [(user, message) for user in requests for message in members[user].answer(requests[user])]

    keys, requests = open_round(schemes)
    dealings, requests = receive_keys(keys, ask(requests))
    complaints, requests = receive_dealings(dealings, ask(requests))
    openings, requests = receive_complaints(complaints, ask(requests))
    _, requests = receive_openings(openings, ask(requests))
    return members[0], requests[0]


def test_user__gives_no_sum_over_fewer_than_m_users_and_none_twice(holding: Any) -> None:
    member, request = holding
    member.answer(request)
    with pytest.raises(RoundRefusedError, match="would tell too much: received 1, needed 2"):
        member.answer(SumRequest(request.round_id, (3,)))
    with pytest.raises(RoundRefusedError, match="would tell too much: received 1, needed 2"):
        member.answer(SumRequest(request.round_id, (3, 3)))
    member.answer(SumRequest(request.round_id, (3, 4)))
    assert member.state is None
    with pytest.raises(RoundRefusedError, match="does not fit what was asked before"):
        member.answer(SumRequest(request.round_id, (3, 5)))


def test_user__answers_its_own_round_only(holding: Any) -> None:
    member, request = holding
    with pytest.raises(RoundRefusedError, match="belongs to another round"):
        member.answer(replace(request, round_id=b"another"))


def test_user__answers_one_evaluation_request(holding: Any) -> None:
    """A second one, with other dealers or another challenge, would show more through the same masks."""
    member, request = holding
    member.answer(request)
    assert isinstance(member.state, SummingState)
    for second in (request, replace(request, dealers=request.dealers[1:]), replace(request, challenge=b"?")):
        with pytest.raises(RoundRefusedError, match="does not fit what was asked before"):
            member.answer(second)


def test_user__uses_right_shares_only(holding: Any) -> None:
    member, request = holding
    with pytest.raises(RoundRefusedError, match=r"no right share is held of users \[12\]"):
        member.answer(replace(request, dealers=(1, 12)))
    with pytest.raises(RoundRefusedError, match="no right share"):
        member.answer(replace(request, dealers=(2, 1)))


def test_user__notices_a_server_that_shows_others_other_commitments(holding: Any) -> None:
    """A = 1 and D = 0: seven others, of whom six must have seen the same."""
    member, request = holding
    echoes = dict(request.echoes)
    forged = echoes[2][:-1] + bytes([echoes[2][-1] ^ 1])
    with pytest.raises(RoundRefusedError, match=r"shows different users different .*received 5, needed 6"):
        member.answer(replace(request, echoes={**echoes, 1: forged, 2: forged}))
    withheld = {user: echo for user, echo in echoes.items() if user not in (1, 2)}
    with pytest.raises(RoundRefusedError, match="received 5, needed 6"):
        member.answer(replace(request, echoes=withheld))
    member.answer(replace(request, echoes={**echoes, 2: forged}))  # one of them may be a liar's


def test_user__opens_no_more_than_t_shares_however_often_it_is_asked(holding: Any) -> None:
    member, request = holding
    with pytest.raises(RoundRefusedError, match=r"no share was encrypted for users \[0\]"):
        member.answer(OpeningRequest(request.round_id, (0,)))
    with pytest.raises(RoundRefusedError, match="more than num_colluders = 1 shares are not opened"):
        member.answer(OpeningRequest(request.round_id, (1, 2)))
    member.answer(OpeningRequest(request.round_id, (1,)))
    member.answer(OpeningRequest(request.round_id, (1,)))  # it is open already
    with pytest.raises(RoundRefusedError, match="more than num_colluders = 1 shares are not opened"):
        member.answer(OpeningRequest(request.round_id, (2,)))


def test_user__keeps_one_share_per_dealer_and_small_products(holding: Any) -> None:
    member, _ = holding
    state = member.state
    assert isinstance(state, HoldingState)
    assert state.first.shape[:2] == (8, member.schemes.parameters.families["update"].row_length)
    assert state.inner.shape == (8, 8, 4)
    assert state.norms.shape == (8, 4)


def test_user__deals_to_users_of_the_round_only(make_schemes: Callable[..., Schemes]) -> None:
    schemes = make_schemes(8, 1, 1, a=1, d=0)
    member = Party(schemes, 0, np.zeros(12, dtype=np.int64))
    member.answer(KeyRequest(b"round"))
    keys = {user: KeyPair.generate().public_key for user in (1, 2)}
    with pytest.raises(RoundRefusedError, match="list of users does not fit"):
        member.answer(DealRequest(b"round", keys))


def test_dealing__refuses_updates_that_do_not_fit(make_schemes: Callable[..., Schemes]) -> None:
    parameters = make_schemes().parameters
    with pytest.raises(ParameterError, match=r"must have shape \(12,\)"):
        update_to_parts(parameters, np.zeros(11, dtype=np.int64))
    with pytest.raises(ParameterError, match="at most 32767 in absolute value; received 32768"):
        update_to_parts(parameters, np.full(12, 2**15))
    with pytest.raises(ParameterError, match="parts must have shape"):
        draw_rows(parameters, zeros(1, 6), zeros(2, 1))


def test_share__survives_bytes_and_is_refused_when_malformed(make_schemes: Callable[..., Schemes]) -> None:
    parameters = make_schemes(hides_products=True).parameters
    share = {p.name: zeros(p.family.row_length) for p in parameters.polynomials}
    share["first"][0, 0] = 7
    data = share_to_bytes(parameters, share)
    read = bytes_to_share(parameters, data)
    assert list(read) == ["first", "slack", "range", "product"]
    assert all((read[name] == share[name]).all() for name in share)
    with pytest.raises(ParameterError, match="share must be"):
        bytes_to_share(parameters, data[:-1])
    with pytest.raises(ParameterError, match="canonical"):
        bytes_to_share(parameters, b"\xff" * len(data))
