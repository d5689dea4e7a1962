"""A whole round in one process, held against multi-Krum in the clear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flower_coded.attacks.ramp_krum_deviations import (
    AlterMessage,
    FalseComplaints,
    SilentFrom,
    get_deviation,
)
from flower_coded.attacks.ramp_krum_updates import Deviation, HarmfulUpdate, WrapAroundUpdate
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.crypto.srs import ReferenceString
from flower_coded.errors import ParameterError, RoundRefusedError
from flower_coded.protocols.ramp_krum import simulation
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.dealing import Resources
from flower_coded.protocols.ramp_krum.messages import Evaluations
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.selection import plain_multi_krum
from flower_coded.protocols.ramp_krum.server_result import RoundOutcome
from flower_coded.protocols.ramp_krum.simulation import run_round

MakeSchemes = Callable[..., Schemes]
Updates = dict[int, np.ndarray]

OPTIONS: list[dict[str, Any]] = [
    {"hides_products": True},
    {"chunk_size": 5, "is_blinded": False},
    {"chunk_size": None},
    {"block_columns": 1, "block_norm": 1.0},
]


def assert_equals_the_clear(parameters: RampKrumParameters, outcome: RoundOutcome, updates: Updates) -> None:
    """The same selection and the same integers as multi-Krum on the updates of those that took part."""
    users = sorted(outcome.selection.scores)
    selection, total = plain_multi_krum(
        {user: updates[user] for user in users},
        num_attackers=outcome.num_attackers,
        num_selected=parameters.num_selected,
    )
    assert outcome.selection == selection
    assert (outcome.total == total).all()
    expected = parameters.fixed_point.dequantize(total, count=parameters.num_selected)
    assert (outcome.mean == expected).all()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("n", "k", "t"), [(8, 1, 1), (10, 2, 1)])
def test_round__of_honest_users_equals_the_clear(
    make_schemes: MakeSchemes,
    make_updates: Callable[..., Updates],
    n: int,
    k: int,
    t: int,
    options: dict[str, Any],
) -> None:
    schemes = make_schemes(n, k, t, a=1, d=1, **options)
    updates = make_updates(schemes.parameters)
    outcome = run_round(schemes, updates).outcome
    assert outcome is not None
    assert_equals_the_clear(schemes.parameters, outcome, updates)
    assert outcome.status.misbehavior == ()
    assert len(outcome.distances) == n * (n - 1) // 2
    assert outcome.distances[0, 1] == int(((updates[0] - updates[1]) ** 2).sum())


def test_round__of_longer_updates_than_a_block_may_have_takes_them_as_a_client_would(
    make_schemes: MakeSchemes,
) -> None:
    schemes = make_schemes(8, 1, 1, a=1, d=1)
    limit = schemes.parameters.fixed_point.max_integer
    updates = {user: np.full(12, limit - user) for user in range(8)}
    outcome = run_round(schemes, updates).outcome
    assert outcome is not None
    bounded = {user: schemes.parameters.norm_check.bound_integers(each) for user, each in updates.items()}
    assert_equals_the_clear(schemes.parameters, outcome, bounded)
    assert outcome.status.misbehavior == ()


def test_round__leaves_out_harmful_updates_as_multi_krum_does(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates]
) -> None:
    schemes = make_schemes()
    updates = make_updates(schemes.parameters)
    harmful = HarmfulUpdate(schemes.parameters.fixed_point.max_integer)
    outcome = run_round(schemes, updates, deviations={0: harmful, 1: harmful}).outcome
    assert outcome is not None
    assert set(outcome.selection.users).isdisjoint({0, 1})
    bounded = schemes.parameters.norm_check.bound_integers(np.full(12, harmful.value))
    updates |= dict.fromkeys((0, 1), bounded)
    assert_equals_the_clear(schemes.parameters, outcome, updates)
    assert outcome.status.misbehavior == ()


def wrap_around(updates: Updates) -> dict[int, Deviation]:
    """Two entries on which all updates agree, and a liar with the mean otherwise: near to everybody."""
    center = np.mean(list(updates.values()), axis=0).astype(np.int64)
    for update in updates.values():
        update[:2] = 0
    center[:2] = 0
    updates[0] = center
    return {0: WrapAroundUpdate(shift=2**20)}


def test_wrap_around_attack__is_selected_in_the_papers_form(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the checks the shifted entry enters the mean, and only its size can be noticed."""
    from flower_coded.crypto.field_vectors import to_signed_ints
    from flower_coded.protocols.ramp_krum import server_result

    schemes = make_schemes(is_paper_form=True)
    updates = make_updates(schemes.parameters)
    deviations = wrap_around(updates)
    with pytest.raises(ParameterError, match="one liar can set every weight"):
        run_round(schemes, updates, deviations=deviations)
    with pytest.raises(RoundRefusedError, match=r"who is guilty cannot be told: .* form checks no update"):
        run_round(schemes, updates, deviations=deviations, is_measurement=True)
    opened: list[int] = []

    def read_total(elements: np.ndarray, limit: int) -> np.ndarray:
        opened[:] = to_signed_ints(elements)[:1]
        return np.zeros(len(elements), dtype=np.int64)

    monkeypatch.setattr(server_result, "_read_total", read_total)
    outcome = run_round(schemes, updates, deviations=deviations, is_measurement=True).outcome
    assert outcome is not None
    assert 0 in outcome.selection.users
    assert opened[0] == 2**20 + sum(int(updates[user][0]) for user in outcome.selection.users)


def test_wrap_around_attack__is_stopped_and_its_author_named(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates]
) -> None:
    schemes = make_schemes()
    updates = make_updates(schemes.parameters)
    outcome = run_round(schemes, updates, deviations=wrap_around(updates)).outcome
    assert outcome is not None
    assert outcome.status.liars == (0,)
    assert "far out of range" in outcome.status.misbehavior[0].reason
    assert 0 not in outcome.selection.users
    assert_equals_the_clear(schemes.parameters, outcome, updates)


@pytest.mark.parametrize("phase", ["keys", "complaints", "evaluations"])
def test_round__names_the_silent_when_too_many_are(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], phase: str
) -> None:
    schemes = make_schemes(8, 1, 1, a=1, d=1)
    silent = {user: SilentFrom(phase) for user in (0, 3, 5)}
    with pytest.raises(RoundRefusedError, match=r"users 0 \(silent\), 3 \(silent\), 5 \(silent\)") as caught:
        run_round(schemes, make_updates(schemes.parameters), deviations=silent)
    assert "3 did not answer as they must" in str(caught.value)
    assert {each.user for each in caught.value.misbehavior} == {0, 3, 5}


@pytest.mark.parametrize("name", ["wrong-products", "wrong-sum", "bad-shares", "false-complaints-about-one"])
def test_round__with_one_liar_too_many_is_refused_with_a_name_or_a_reason(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], name: str
) -> None:
    schemes = make_schemes(13, 2, 2, a=2, d=2)  # N - D = 11 evaluations are exactly what A = 2 liars allow
    updates = make_updates(schemes.parameters)
    deviations: dict[int, Deviation] = {user: get_deviation(name) for user in (3, 7, 11)}
    deviations |= {user: SilentFrom("evaluations") for user in (1, 2)}
    if name in ("wrong-sum", "false-complaints-about-one"):  # the latter has an honest dealer left out
        outcome = run_round(schemes, updates, deviations=deviations).outcome
        assert outcome is not None
        assert {each.user for each in outcome.status.misbehavior} <= set(deviations)
        assert (outcome.total == sum(updates[user] for user in outcome.selection.users)).all()
        return
    with pytest.raises(RoundRefusedError) as caught:
        run_round(schemes, updates, deviations=deviations)
    named = {each.user for each in caught.value.misbehavior if each.is_lie}
    assert "who is guilty cannot be told" in str(caught.value) or named


@pytest.mark.parametrize("victims", [(0,), (0, 1), None])
def test_complaints__of_more_liars_than_allowed_never_make_a_liar_of_an_honest_dealer(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], victims: tuple[int, ...] | None
) -> None:
    """A + 1 joint complaints prove nothing: shares are opened one by one, and name who complained falsely."""
    liars = (10, 11, 12)
    complaints: dict[int, Deviation] = dict.fromkeys(liars, FalseComplaints(victims))
    schemes = make_schemes(13, 2, 2, a=2, d=2)  # T = A: of a dealer two shares may be opened, not three
    updates = make_updates(schemes.parameters)
    if victims == (0,):
        outcome = run_round(schemes, updates, deviations=complaints).outcome
        assert outcome is not None
        assert {each.user for each in outcome.status.misbehavior} == set(outcome.status.liars)
        assert len(outcome.status.liars) == 2
        assert set(outcome.status.liars) < set(liars)
        assert 0 not in outcome.selection.scores  # left out, and blamed by nobody
        assert_equals_the_clear(schemes.parameters, outcome, updates)
    else:  # several dealers are asked at a time, and more than A liars come to light
        with pytest.raises(RoundRefusedError, match="3 users lied") as caught:
            run_round(schemes, updates, deviations=complaints)
        assert {each.user for each in caught.value.misbehavior} == set(liars)
    # With T > A all of them are opened, and everybody who lied is named.
    schemes = make_schemes(15, 2, 3, a=2, d=2)
    with pytest.raises(RoundRefusedError, match="3 users lied") as caught:
        run_round(schemes, make_updates(schemes.parameters), deviations=complaints)
    assert {each.user for each in caught.value.misbehavior} == set(liars)


def test_complaints__of_everybody_name_a_dealer_by_a_share_and_not_by_their_number(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates]
) -> None:
    schemes = make_schemes()
    deviations: dict[int, Deviation] = {3: get_deviation("bad-shares"), 4: FalseComplaints((3,))}
    outcome = run_round(schemes, make_updates(schemes.parameters), deviations=deviations).outcome
    assert outcome is not None
    (report,) = outcome.status.misbehavior  # the complaint of user 4 is right, too
    assert (report.user, report.phase) == (3, "openings")
    assert "does not match the commitments" in report.reason


def test_round__keeps_no_state_once_it_is_over(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], monkeypatch: pytest.MonkeyPatch
) -> None:
    parties = []

    class Remembered(simulation.Party):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            parties.append(self)

    monkeypatch.setattr(simulation, "Party", Remembered)
    schemes = make_schemes()
    report = run_round(schemes, make_updates(schemes.parameters))
    assert [party.state for party in parties] == [None] * 13
    assert set(report.sent["close"]) | set(report.sent["sums"]) == set(range(13))


def test_round__asks_more_users_when_sums_are_missing(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates]
) -> None:
    # K + T = 4 right sums are needed and 4 + 2 A = 8 asked; all but two of those fall silent, which D = 2
    # does not promise to survive, but the others make up for it.
    schemes = make_schemes()
    updates = make_updates(schemes.parameters)
    silent = {user: SilentFrom("sums") for user in range(6)}
    report = run_round(schemes, updates, deviations=silent)
    assert report.outcome is not None
    assert_equals_the_clear(schemes.parameters, report.outcome, updates)
    assert len(report.sent["sums"]) == 13


def test_round__takes_a_message_of_another_type_as_no_answer(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates]
) -> None:
    schemes = make_schemes()
    updates = make_updates(schemes.parameters)

    def wrong_type(message: Evaluations) -> Any:
        return b"not a message"

    outcome = run_round(schemes, updates, deviations={3: AlterMessage("evaluations", wrong_type)}).outcome
    assert outcome is not None
    assert outcome.status.absent == (3,)
    assert outcome.status.liars == ()
    assert "sent bytes where Evaluations is due" in outcome.status.misbehavior[0].reason


def test_local_transport__fails_when_more_than_t_shares_of_a_dealer_are_open() -> None:
    """What watches over every test must itself be able to fail."""
    from flower_coded.protocols.ramp_krum.messages import OpeningRequest, Openings
    from flower_coded.protocols.ramp_krum.round import RoundReport

    class Careless:
        def answer(self, request: OpeningRequest) -> list[Openings]:
            return [Openings(b"", 0, dict.fromkeys(request.receivers, bytes(32)))]

    transport = simulation._LocalTransport({0: Careless()}, RoundReport(), most_opened=2)  # type: ignore[dict-item]
    transport("openings", {0: OpeningRequest(b"", (1,))})
    transport("openings", {0: OpeningRequest(b"", (1,))})
    transport("openings", {0: OpeningRequest(b"", (4,))})
    with pytest.raises(AssertionError, match=r"shares \[1, 4, 6\] of user 0 are open"):
        transport("openings", {0: OpeningRequest(b"", (6,))})


def test_round__on_the_curve_gives_the_same(
    make_schemes: MakeSchemes, reference: ReferenceString, make_updates: Callable[..., Updates]
) -> None:
    schemes = make_schemes(9, 1, 1, 1, 1, reference=reference, hides_products=True)
    updates = make_updates(schemes.parameters)
    deviations = {8: get_deviation("bad-share-to-one"), 2: SilentFrom("evaluations")}
    outcome = run_round(schemes, updates, deviations=deviations).outcome
    assert outcome is not None
    assert_equals_the_clear(schemes.parameters, outcome, updates)
    assert outcome.status.liars == (8,)


def test_round__over_the_reference_backend_gives_the_same(
    reference_in_python: ReferenceString, make_updates: Callable[..., Updates]
) -> None:
    parameters = RampKrumParameters(
        RampSharing(7, 1, 1, 1, 0),
        num_selected=2,
        length=4,
        chunk_size=24,
        hides_products=False,
        is_blinded=False,
        is_paper_form=True,
    )
    updates = make_updates(parameters)
    schemes = Schemes.create(parameters, reference_in_python)
    deviations = {6: get_deviation("bad-share-to-one")}
    outcome = run_round(schemes, updates, deviations=deviations, is_measurement=True).outcome
    assert outcome is not None
    assert_equals_the_clear(parameters, outcome, updates)
    assert outcome.status.liars == (6,)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_round__with_products_in_torch_gives_the_same(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], device: str
) -> None:
    torch = pytest.importorskip("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    schemes = make_schemes(8, 1, 1, a=1, d=1)
    updates = make_updates(schemes.parameters)
    outcome = run_round(schemes, updates, resources=Resources(num_threads=1, device=device)).outcome
    assert outcome is not None
    assert_equals_the_clear(schemes.parameters, outcome, updates)


def test_round__does_not_use_a_package_of_attacks() -> None:
    """What an honest deployment runs imports no liars."""
    import subprocess
    import sys

    code = (
        "import sys, flower_coded.protocols.ramp_krum.round, flower_coded.protocols.ramp_krum.party; "
        "print(any(name.startswith('flower_coded.attacks') for name in sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        == "False\n"
    )
