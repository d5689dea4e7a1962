"""What is really sent, held against the paper's Table I."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from flower_coded.attacks.ramp_krum_deviations import SilentFrom
from flower_coded.attacks.ramp_krum_updates import Deviation
from flower_coded.protocols.ramp_krum.brea import brea_parameters
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.loads import Load, message_load, table_one, table_one_brea
from flower_coded.protocols.ramp_krum.messages import Closed, Complaints, Openings, PublicKey
from flower_coded.protocols.ramp_krum.planner import plan_round
from flower_coded.protocols.ramp_krum.simulation import run_round
from flower_coded.protocols.ramp_krum.traffic import sent_by_part

MakeSchemes = Callable[..., Schemes]

# N - D = 2 (K + T + A) - 1: as many evaluations arrive as the paper counts.
SETS = [(12, 2, 2, 2, 1), (8, 1, 2, 1, 1), (14, 3, 2, 2, 1)]
PAPER = {"is_paper_form": True, "is_blinded": False}


@pytest.mark.parametrize(("n", "k", "t", "a", "d"), SETS)
def test_measured_symbols__equal_table_one(
    make_schemes: MakeSchemes,
    make_updates: Callable[..., dict[int, np.ndarray]],
    n: int,
    k: int,
    t: int,
    a: int,
    d: int,
) -> None:
    schemes = make_schemes(n, k, t, a, d, length=12, chunk_size=None, **PAPER)
    parameters = schemes.parameters
    silent = {n - 1 - user: SilentFrom("evaluations") for user in range(d)}
    report = run_round(schemes, make_updates(parameters), deviations=silent, is_measurement=True)
    formulas = table_one(parameters)
    assert report.load_of_server().symbols == formulas.server
    # A user sends 2 (N - 1) shares and a sum; for K > 1 the paper's bound counts one vector more.
    one_vector = 0 if k == 1 else parameters.part_length
    assert report.load_of_user(0).symbols == formulas.per_user - one_vector
    points = sum(report.load_of_user(user).points for user in range(n))
    assert points == (formulas.commitments if k > 1 else n * (k + t))  # no second masks for K = 1
    assert report.load_of_user(0).num_bytes >= 32 * report.load_of_user(0).symbols + 48 * (points // n)


def test_table_one__is_the_papers() -> None:
    # (1 + (2A + T)/K) L + (T + A + K - 1/2) N (N - 1) with N=20, K=5, T=A=2, L=1000: 2200 + 8.5 * 380.
    from flower_coded.crypto.ramp_sharing import RampSharing
    from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

    parameters = RampKrumParameters(RampSharing(20, 5, 2, 2, 2), num_selected=5, length=1000)
    row = table_one(parameters)
    assert row.server == 2200 + Fraction(17, 2) * 380
    assert row.per_user == 8 * 1000 + 190
    assert row.commitments == 20 * 9
    brea = table_one_brea(parameters)
    assert brea.server == 7 * 1000 + Fraction(9, 2) * 380
    assert brea.per_user == 20 * 1000 + 190
    assert brea.commitments == 2 * 20 * 1000


def test_brea__gives_the_same_result_at_the_cost_of_its_row(
    make_schemes: MakeSchemes, make_updates: Callable[..., dict[int, np.ndarray]]
) -> None:
    schemes = make_schemes(8, 2, 1, a=1, d=1, length=4, **PAPER)
    baseline = Schemes.create(brea_parameters(schemes.parameters), schemes.by_family["update"].reference)
    updates = make_updates(schemes.parameters)
    ours, theirs = (run_round(each, updates, is_measurement=True).outcome for each in (schemes, baseline))
    assert ours is not None
    assert theirs is not None
    assert (ours.total == theirs.total).all()
    assert ours.selection == theirs.selection
    assert baseline.parameters.num_commitments == 2 * 4


@pytest.mark.parametrize("options", [{}, {"hides_products": True}, {"is_blinded": False}])
@pytest.mark.parametrize("k", [1, 2])
def test_plan__predicts_what_is_sent(
    make_schemes: MakeSchemes,
    make_updates: Callable[..., dict[int, np.ndarray]],
    options: dict[str, bool],
    k: int,
) -> None:
    schemes = make_schemes(9, k, 1, a=1, d=1, **options)
    report = run_round(schemes, make_updates(schemes.parameters))
    plan = plan_round(schemes.parameters)
    assert report.load_of_user(0).symbols == plan.user_symbols
    assert report.load_of_user(0).num_bytes == plan.user_bytes
    assert report.received_bytes[0] == plan.received_bytes
    assert report.load_of_server().symbols == plan.server_symbols
    received = sum(load.num_bytes for loads in report.sent.values() for load in loads.values())
    assert received == plan.server_bytes + plan.relayed_bytes


def test_message_load__measures_the_small_messages() -> None:
    assert message_load(PublicKey(b"", 0, bytes(32))) == Load(num_bytes=32)
    assert message_load(Complaints(b"", 0, (1, 2), {1: bytes(80)})) == Load(num_bytes=88)
    assert message_load(Openings(b"", 0, {1: bytes(32)})) == Load(num_bytes=32)
    assert message_load(Closed(b"", 0)) == Load()


@pytest.mark.parametrize("k", [1, 2])
def test_sent_by_part__is_what_each_message_of_a_true_round_holds(
    make_schemes: MakeSchemes, make_updates: Callable[..., dict[int, np.ndarray]], k: int
) -> None:
    schemes = make_schemes(9, k, 1, a=1, d=1, hides_products=True)
    messages: dict[str, Any] = {}

    class Listening(Deviation):
        def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
            messages[phase] = message
            return [message]

    run_round(schemes, make_updates(schemes.parameters), deviations={0: Listening()}, ask_everybody=True)
    parts = sent_by_part(schemes.parameters)
    shares = sum(size for name, size in parts.items() if name.startswith("shares: "))
    assert sum(map(len, messages["shares"].encrypted_shares.values())) == shares
    assert len(messages["shares"].commitments) == parts["commitments"]
    assert sum(map(len, messages["complaints"].echoes.values())) == parts["echoes"]
    assert len(messages["evaluations"].products) == parts["products"]
    assert len(messages["evaluations"].range_sums) == parts["range sums"]
    assert len(messages["sums"].total) == parts["sum"]
    assert sum(message_load(message).num_bytes for message in messages.values()) == sum(parts.values())
