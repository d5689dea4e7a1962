"""Attacks by somebody who has read the code: each fails, and its author is named, at several sizes."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks.ramp_krum_deviations import FalseComplaints, SilentFrom
from flower_coded.attacks.ramp_krum_updates import (
    Deviation,
    HiddenElementUpdate,
    SpikeUpdate,
)
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.crypto.srs import ReferenceString
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.measurements import DistanceMeasurements
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.server_result import RoundOutcome
from flower_coded.protocols.ramp_krum.simulation import run_round

# N, K, T, A, D, m: the sizes of the attacks as they were found, as far as T >= A allows, and others.
SIZES = [(12, 2, 2, 2, 1, 4), (11, 1, 1, 1, 2, 3), (18, 3, 3, 3, 1, 5)]


def make(size: tuple[int, ...], length: int) -> tuple[RampKrumParameters, dict[int, np.ndarray]]:
    """Parameters with every default, and updates whose entries have a tenth of the clipping bound."""
    n, k, t, a, d, m = size
    parameters = RampKrumParameters(
        RampSharing(n, k, t, a, d), num_selected=m, length=length, chunk_size=64, hides_products=False
    )
    limit = parameters.fixed_point.max_integer
    generator = np.random.default_rng(5)
    return parameters, {
        user: np.clip(np.rint(generator.normal(0, 0.1 * limit, length)), -limit, limit).astype(np.int64)
        for user in range(n)
    }


def play(
    parameters: RampKrumParameters,
    reference: ReferenceString,
    updates: dict[int, np.ndarray],
    deviations: dict[int, Deviation],
) -> RoundOutcome:
    outcome = run_round(Schemes.create(parameters, reference), updates, deviations=deviations).outcome
    assert outcome is not None
    assert (outcome.total == sum(updates[user] for user in outcome.selection.users)).all()
    return outcome


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [0.9, 1.1, 30.0])
def test_spike__of_about_m_clipping_bounds_is_named_before_selection(
    clear_reference: ReferenceString, size: tuple[int, ...], factor: float
) -> None:
    parameters, updates = make(size, 400)
    spike = SpikeUpdate(int(factor * parameters.num_selected * parameters.fixed_point.max_integer))
    author = size[0] - 1
    outcome = play(parameters, clear_reference, updates, {author: spike})
    assert outcome.status.liars == (author,)
    assert "norm of a block" in outcome.status.misbehavior[0].reason
    assert author not in outcome.selection.scores


@pytest.mark.parametrize("size", SIZES[:2])
def test_padding__or_two_canceling_elements_bring_nobody_nearer(
    clear_reference: ReferenceString, size: tuple[int, ...]
) -> None:
    parameters, updates = make(size, 41)
    pair = [HiddenElementUpdate(is_live=True), HiddenElementUpdate(is_live=True, sign=-1)]
    liars: dict[int, Deviation] = {size[0] - 1: HiddenElementUpdate()}
    for user, deviation in zip(range(size[3]), pair, strict=False):
        outcome = play(parameters, clear_reference, updates, {user: deviation})
        assert outcome.status.liars == (user,)
    outcome = play(parameters, clear_reference, updates, liars)
    assert outcome.status.liars == tuple(liars)


@pytest.mark.parametrize("size", [(9, 1, 2, 2, 0, 2), *SIZES])
def test_disputes__leave_every_update_unread_by_the_server(
    clear_reference: ReferenceString, monkeypatch: pytest.MonkeyPatch, size: tuple[int, ...]
) -> None:
    """Two liars complain about everybody: what the server is shown never rebuilds an update."""
    from flower_coded.protocols.ramp_krum import server_disputes

    parameters, updates = make(size, 40)
    seen: dict[int, set[int]] = {}
    real = server_disputes.reopen_share

    def reopen(share: bytes, opening: bytes, key: bytes, context: object) -> bytes:
        seen.setdefault(context.sender, set()).add(context.receiver)  # type: ignore[attr-defined]
        return real(share, opening, key, context)  # type: ignore[arg-type]

    monkeypatch.setattr(server_disputes, "reopen_share", reopen)
    liars = range(size[0] - size[3], size[0])
    outcome = play(parameters, clear_reference, updates, {user: FalseComplaints() for user in liars})
    assert outcome.status.liars == tuple(liars)
    assert max(map(len, seen.values())) <= parameters.sharing.num_colluders  # which tells nothing at all
    assert sum(map(len, seen.values())) <= size[3]


def test_disputes__are_why_t_is_at_least_a() -> None:
    with pytest.raises(ParameterError, match="more than T shares tell it something"):
        RampKrumParameters(RampSharing(9, 1, 1, 2, 0), num_selected=2, length=40)


@pytest.mark.parametrize("size", SIZES)
def test_silence__of_liars_beside_that_of_drop_outs_is_survived(
    clear_reference: ReferenceString, size: tuple[int, ...]
) -> None:
    parameters, updates = make(size, 40)
    mute = {user: SilentFrom("keys") for user in range(size[3] + size[4])}
    outcome = play(parameters, clear_reference, updates, dict(mute))
    assert outcome.status.absent == tuple(mute)
    assert outcome.num_attackers == 0  # whoever is silent beyond D is one of the A


def test_probe__reads_an_entry_of_every_honest_user_as_the_pages_say(
    clear_reference: ReferenceString,
) -> None:
    """Two colluders with 0 and c e_j: distances are measurements of their choice. No fault to mend."""
    parameters, updates = make(SIZES[0], 60)
    c = parameters.fixed_point.max_integer
    updates[10], updates[11] = np.zeros(60, dtype=np.int64), np.zeros(60, dtype=np.int64)
    updates[11][17] = c
    distances = play(parameters, clear_reference, updates, {}).distances
    read = [(distances[i, 10] - distances[i, 11] + c * c) // (2 * c) for i in range(10)]
    assert read == [int(updates[i][17]) for i in range(10)]


def test_probe__gives_as_many_linear_functions_as_the_plan_counts_and_no_more(
    clear_reference: ReferenceString,
) -> None:
    """Three colluders with random updates: two functions of every honest update, from 3 (N - 3) pairs."""
    parameters, updates = make((9, 1, 3, 1, 0, 2), 12)
    colluders, honest = [6, 7, 8], range(6)
    generator = np.random.default_rng(3)
    for user in colluders:  # questions about the first ten entries, of ordinary size
        updates[user] = np.append(generator.integers(-2000, 2000, 10), [0, 0])
    updates[0][10:] = [300, -400]
    distances = play(parameters, clear_reference, updates, {}).distances
    chosen = np.array([updates[user] for user in colluders])
    directions = chosen[1:] - chosen[0]
    values = np.array([[distances[i, user] for user in colluders] for i in honest], dtype=np.int64)
    squares = (chosen**2).sum(axis=1)
    doubled = (squares[1:] - squares[0]) - (values[:, 1:] - values[:, :1])
    assert (doubled == [2 * directions @ updates[i] for i in honest]).all()
    counted = DistanceMeasurements.of(parameters)
    assert counted.num_pairs == values.size
    assert counted.per_user == np.linalg.matrix_rank(directions) == 2
    assert counted.per_round == doubled.size
    # Everything else stays open: another update at the same distances from all three.
    updates[0][10:] = [-500, 0]
    after = play(parameters, clear_reference, updates, {}).distances
    assert [after[0, user] for user in colluders] == values[0].tolist()


def test_measurements__of_one_colluder_are_a_norm_and_of_none_nothing() -> None:
    for num_colluders in (0, 1):
        counted = DistanceMeasurements(num_colluders, num_honest=9, length=5)
        assert (counted.per_round, counted.over(100), counted.rounds_to_read) == (0, 0, None)
        assert "no linear function" in counted.sentence(100)
    many = DistanceMeasurements(9, num_honest=4, length=5)
    assert (many.per_user, many.rounds_to_read) == (5, 1)  # no more functions than entries
    with pytest.raises(ParameterError, match="num_honest must be at least 0"):
        DistanceMeasurements(2, num_honest=-1, length=5)
