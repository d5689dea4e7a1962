"""The conformance table of deviations: what must come of each, alone and together, over random parameters."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from flower_coded.attacks.ramp_krum_deviations import DEVIATIONS, FalseComplaints, SilentFrom, get_deviation
from flower_coded.attacks.ramp_krum_updates import Deviation
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing, largest_num_parts
from flower_coded.crypto.srs import ReferenceString
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.messages import PHASES, Grade
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters, largest_num_selected
from flower_coded.protocols.ramp_krum.selection import plain_multi_krum
from flower_coded.protocols.ramp_krum.server_result import RoundOutcome
from flower_coded.protocols.ramp_krum.simulation import run_round

Updates = dict[int, np.ndarray]
MakeUpdates = Callable[..., Updates]

# What is found out about who deviates so, and no other; the result is exact in every case. SILENT and
# MALFORMED cost a place in the round, LIE a place in later ones. None: nothing, for it had no effect.
TABLE: dict[str, Grade | None] = {
    "none": None,
    **{f"drop-at-{phase}": Grade.SILENT for phase in PHASES[:6]},
    **{f"miss-only-{phase}": Grade.SILENT for phase in PHASES[1:6]},
    "miss-only-openings": None,  # nobody asks
    "harmful-update": None,  # within all bounds: multi-Krum leaves it out
    "oversized-update": Grade.LIE,
    "wrap-around-update": Grade.LIE,
    "wrap-around-across-parts": Grade.LIE,
    "spike": Grade.LIE,
    "spike-with-square-root-slack": Grade.LIE,
    "spikes-in-many-entries": Grade.LIE,
    "dead-slot": Grade.LIE,
    "live-slot": Grade.LIE,
    "live-slot-canceled": Grade.LIE,
    "bad-shares": Grade.LIE,
    "bad-second-share": Grade.LIE,
    "bad-slack-share": Grade.LIE,
    "bad-mask-share": Grade.LIE,
    "bad-range-share": Grade.LIE,
    "bad-share-to-one": Grade.LIE,
    "low-order-key": Grade.MALFORMED,
    "commitment-of-small-order": Grade.MALFORMED,
    "commitment-off-the-curve": Grade.MALFORMED,
    "other-commitments": Grade.LIE,
    "truncated-shares": Grade.MALFORMED,
    "swapped-shares": Grade.LIE,
    "send-twice": Grade.MALFORMED,
    "false-complaint": Grade.LIE,
    "false-complaints-about-one": Grade.LIE,
    "false-complaints-about-all": Grade.LIE,
    "flood-of-complaints": Grade.MALFORMED,
    "wrong-echoes": None,  # others count them as missing, of which A + D may be
    "no-echoes": Grade.MALFORMED,
    "complain-and-fall-silent": Grade.LIE,
    "bad-share-and-silence": Grade.SILENT,  # its update is left out; whether the share was bad nobody saw
    "wrong-opening": Grade.LIE,
    "wrong-products": Grade.LIE,
    "wrong-norms": Grade.LIE,
    "wrong-range-sums": Grade.LIE,
    "oversized-scalar": Grade.MALFORMED,
    "wrong-sum": Grade.LIE,
    "truncated-sum": Grade.MALFORMED,
    "replayed-sum": Grade.MALFORMED,
    "impostor": Grade.MALFORMED,
}
LONG_UPDATES = {"oversized-update", "wrap-around-update", "spike", "dead-slot", "live-slot"}
VICTIMS: list[tuple[int, ...] | None] = [None, (0,), (0, 1, 2)]


def test_table__has_a_row_for_every_deviation() -> None:
    assert set(TABLE) == set(DEVIATIONS)


def draw_parameters(generator: np.random.Generator, *, least_attackers: int = 0) -> RampKrumParameters:
    """N, K, T, A, D, m and L within the bounds, from the smallest N that works for the others to one more."""
    a = int(generator.integers(least_attackers, 3))
    d, k = int(generator.integers(0, 3)), int(generator.integers(1, 3))
    t = max(a, 1) + int(generator.integers(0, 2))
    n = 2 * a + d + max(2 * k + 2 * t - 1, 5) + int(generator.integers(0, 2))
    assert k <= largest_num_parts(num_users=n, num_colluders=t, num_attackers=a, num_dropouts=d)
    m = int(generator.integers(2, largest_num_selected(num_users=n, num_attackers=a, num_dropouts=d) + 1))
    return RampKrumParameters(
        RampSharing(n, k, t, a, d),
        num_selected=m,
        length=int(generator.integers(8, 40)),
        fixed_point=FixedPoint(int(generator.choice([8, 16]))),
        chunk_size=int(generator.choice([7, 64])),
        is_blinded=bool(generator.random() < 0.3),
        hides_products=bool(generator.random() < 0.3),
        block_columns=int(generator.choice([1, 3, 80])),
        block_norm=float(generator.choice([1.0, 2.5])),
    )


def check_outcome(
    parameters: RampKrumParameters, updates: Updates, outcome: RoundOutcome, deviations: dict[int, Deviation]
) -> None:
    """The selection and the integers of multi-Krum in the clear, and nobody accused who did nothing."""
    shared = {
        user: parameters.norm_check.bound_integers(
            deviations.get(user, Deviation()).alter_update(updates[user])
        )
        for user in outcome.selection.scores
    }
    selection, total = plain_multi_krum(
        shared, num_attackers=outcome.num_attackers, num_selected=parameters.num_selected
    )
    assert outcome.selection == selection
    assert (outcome.total == total).all()
    assert len(outcome.selection.users) == parameters.num_selected
    assert {each.user for each in outcome.status.misbehavior} <= set(deviations)


def run(
    parameters: RampKrumParameters,
    reference: ReferenceString,
    updates: Updates,
    deviations: dict[int, Deviation],
) -> RoundOutcome:
    schemes = Schemes.create(parameters, reference)
    outcome = run_round(schemes, updates, deviations=deviations, ask_everybody=True).outcome
    assert outcome is not None
    return outcome


@pytest.mark.parametrize("name", sorted(TABLE))
def test_deviation__costs_what_the_table_says_and_never_the_result(
    clear_reference: ReferenceString, make_updates: MakeUpdates, name: str
) -> None:
    generator = np.random.default_rng(sorted(TABLE).index(name))
    parameters = draw_parameters(generator, least_attackers=1)
    updates = make_updates(parameters, seed=1)
    liar = int(generator.integers(2, parameters.sharing.num_users))  # 0 and 1 are those whom some lie about
    deviations = {liar: get_deviation(name)}
    outcome = run(parameters, clear_reference, updates, deviations)
    check_outcome(parameters, updates, outcome, deviations)
    grades = {each.grade for each in outcome.status.misbehavior}
    assert grades == ({TABLE[name]} - {None})
    if TABLE[name] is Grade.LIE:
        assert outcome.status.liars == (liar,)
        if name in LONG_UPDATES:
            assert liar not in outcome.selection.scores


def check_any_round(reference: ReferenceString, make_updates: MakeUpdates, seed: int) -> None:
    """D users silent from any phase on; A mute from any phase on, or lying in any way."""
    generator = np.random.default_rng(seed)
    parameters = draw_parameters(generator)
    sharing = parameters.sharing
    odd = generator.permutation(sharing.num_users)[: sharing.num_attackers + sharing.num_dropouts].tolist()
    deviations: dict[int, Deviation] = {}
    for user in odd[: sharing.num_attackers]:
        is_mute = generator.random() < 0.4
        names = [name for name in TABLE if name.startswith(("drop", "miss")) is is_mute]
        deviations[user] = get_deviation(str(generator.choice(names)))
    for user in odd[sharing.num_attackers :]:
        deviations[user] = SilentFrom(str(generator.choice(PHASES[:6])))
    updates = make_updates(parameters, seed)
    outcome = run(parameters, reference, updates, deviations)
    check_outcome(parameters, updates, outcome, deviations)
    assert set(outcome.status.liars) <= set(odd[: sharing.num_attackers])


@pytest.mark.parametrize("seed", range(10))
def test_round__ends_with_the_exact_mean_whatever_a_liars_and_d_silent_users_do(
    clear_reference: ReferenceString, make_updates: MakeUpdates, seed: int
) -> None:
    check_any_round(clear_reference, make_updates, seed)


@pytest.mark.experiment
def test_round__ends_with_the_exact_mean_two_hundred_times(
    clear_reference: ReferenceString, make_updates: MakeUpdates
) -> None:
    for seed in range(1000, 1200):
        check_any_round(clear_reference, make_updates, seed)


@pytest.mark.parametrize(("victims", "waives"), list(itertools.product(VICTIMS, [False, True])))
def test_complaints__of_all_liars_together_have_one_share_each_opened_at_most(
    clear_reference: ReferenceString,
    make_updates: MakeUpdates,
    monkeypatch: pytest.MonkeyPatch,
    victims: tuple[int, ...] | None,
    waives: bool,
) -> None:
    """Everything the server is shown is counted where it is opened, not where it is asked for."""
    from flower_coded.protocols.ramp_krum import server_disputes

    opened: list[tuple[int, int]] = []
    real = server_disputes.reopen_share

    def reopen(share: bytes, opening: bytes, key: bytes, context: object) -> bytes:
        opened.append((context.sender, context.receiver))  # type: ignore[attr-defined]
        return real(share, opening, key, context)  # type: ignore[arg-type]

    monkeypatch.setattr(server_disputes, "reopen_share", reopen)
    n, t = (15, 1) if waives else (15, 3)
    parameters = RampKrumParameters(
        RampSharing(n, 1, t, 3, 0),
        num_selected=2,
        length=10,
        hides_products=False,
        waives_colluder_bound=waives,
    )
    deviations: dict[int, Deviation] = {user: FalseComplaints(victims) for user in (12, 13, 14)}
    updates = make_updates(parameters)
    outcome = run(parameters, clear_reference, updates, deviations)
    check_outcome(parameters, updates, outcome, deviations)
    by_dealer = {dealer: {r for d, r in opened if d == dealer} for dealer, _ in opened}
    assert max(len(receivers) for receivers in by_dealer.values()) <= t
    assert len({receiver for _, receiver in opened}) == len(opened) <= 3  # each liar has one opened in all
    left_out = set(range(n)) - set(outcome.selection.scores) - {12, 13, 14}
    assert left_out == ({0} if waives and victims == (0,) else set())


def test_complaints__that_come_with_silence_leave_nothing_to_try_again(
    clear_reference: ReferenceString, make_updates: MakeUpdates
) -> None:
    """A dealer with a spike and a fellow who complains: whether it can still vanish after the challenge.

    It can only before: the range challenge comes when disputes are settled, so falling silent later changes
    nothing, the others hold the shares.
    """
    from flower_coded.attacks.ramp_krum_deviations import Combined
    from flower_coded.attacks.ramp_krum_updates import HiddenElementUpdate

    parameters = RampKrumParameters(
        RampSharing(12, 1, 2, 2, 1), num_selected=2, length=10, hides_products=False
    )
    updates = make_updates(parameters)
    vanishing = Combined((HiddenElementUpdate(), SilentFrom("evaluations")))
    outcome = run(parameters, clear_reference, updates, {3: vanishing, 4: FalseComplaints((3,))})
    assert outcome.status.liars == (3, 4)
    early = Combined((HiddenElementUpdate(), SilentFrom("openings")))
    outcome = run(parameters, clear_reference, updates, {3: early, 4: FalseComplaints((3,))})
    assert 3 not in outcome.selection.scores
