"""A whole round in one process, held against multi-Krum in the clear."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from flower_coded.attacks.ramp_krum_deviations import (
    DEVIATIONS,
    AlterMessage,
    Deviation,
    HarmfulUpdate,
    SilentFrom,
    WrapAroundUpdate,
    get_deviation,
)
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing, largest_num_parts
from flower_coded.crypto.srs import ReferenceString
from flower_coded.errors import RoundRefusedError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.dealing import Resources
from flower_coded.protocols.ramp_krum.messages import PHASES, Evaluations
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters, largest_num_selected
from flower_coded.protocols.ramp_krum.selection import plain_multi_krum
from flower_coded.protocols.ramp_krum.server_result import RoundOutcome
from flower_coded.protocols.ramp_krum.simulation import RoundReport, run_round

MakeSchemes = Callable[..., Schemes]
Updates = dict[int, np.ndarray]

# Liars whose update itself is honest: whether or not they are found out, nothing they say changes the result.
HONEST_UPDATE = sorted(
    set(DEVIATIONS)
    - {"none", "harmful-update", "oversized-update", "wrap-around-update"}
    - {name for name in DEVIATIONS if name.startswith("drop-at")}
)
PAIRS = [pair for pair in itertools.combinations(HONEST_UPDATE, 2) if "range-sums" not in "".join(pair)][::29]
EVERYTHING = {"is_blinded": True, "hides_products": True, "num_range_checks": 8}
OPTIONS: list[dict[str, Any]] = [
    {},
    EVERYTHING,
    {"num_per_element": 2, "hides_products": True},
    {"chunk_size": 5, "is_blinded": True},
    {"chunk_size": None},
]


def outcome_of(report: RoundReport) -> RoundOutcome:
    assert report.outcome is not None
    return report.outcome


def assert_equals_the_clear(parameters: RampKrumParameters, outcome: RoundOutcome, updates: Updates) -> None:
    """The same selection and the same integers as multi-Krum on the updates of those that took part."""
    users = sorted(outcome.selection.scores)
    left = outcome.standing.num_attackers_left(parameters)
    late = [v for v in outcome.standing.verdicts if v.phase == "sums" and v.is_liar]
    left += len({v.user for v in late})  # who lied about a sum was found out after the selection
    selection, total = plain_multi_krum(
        {user: updates[user] for user in users},
        num_attackers=min(left, parameters.sharing.num_attackers),
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
    outcome = outcome_of(run_round(schemes, updates))
    assert_equals_the_clear(schemes.parameters, outcome, updates)
    assert outcome.standing.verdicts == ()
    assert len(outcome.distances) == n * (n - 1) // 2
    assert outcome.distances[0, 1] == int(((updates[0] - updates[1]) ** 2).sum())


@pytest.mark.parametrize("name", HONEST_UPDATE)
def test_round__survives_every_deviation_and_names_who_deviated(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], name: str
) -> None:
    schemes = make_schemes(**(EVERYTHING if name == "wrong-range-sums" else {}))
    updates = make_updates(schemes.parameters)
    outcome = outcome_of(run_round(schemes, updates, deviations={5: get_deviation(name)}))
    assert_equals_the_clear(schemes.parameters, outcome, updates)
    assert outcome.standing.liars == (5,)


@pytest.mark.parametrize("phase", PHASES[:6])
def test_round__survives_drop_outs_in_every_phase(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], phase: str
) -> None:
    schemes = make_schemes()
    updates = make_updates(schemes.parameters)
    silent = SilentFrom(phase)
    outcome = outcome_of(run_round(schemes, updates, deviations={0: silent, 7: silent}))
    assert_equals_the_clear(schemes.parameters, outcome, updates)
    assert outcome.standing.liars == ()
    dealt = set(outcome.selection.scores)
    assert dealt == set(range(11)) - ({0, 7} if phase in {"keys", "shares"} else set())


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_round__survives_two_different_deviations_and_two_drop_outs_at_once(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], first: str, second: str
) -> None:
    schemes = make_schemes()
    updates = make_updates(schemes.parameters, seed=3)
    deviations = {
        2: get_deviation(first),
        9: get_deviation(second),
        4: SilentFrom("complaints"),
        0: SilentFrom("sums"),
    }
    outcome = outcome_of(run_round(schemes, updates, deviations=deviations, ask_everybody=True))
    assert_equals_the_clear(schemes.parameters, outcome, updates)
    assert set(outcome.standing.liars) == {2, 9}


def check_any_round(
    reference: ReferenceString, make_updates: Callable[..., Updates], data: st.DataObject
) -> None:
    n = data.draw(st.integers(8, 16), label="N")
    a = data.draw(st.integers(0, min(2, (n - 7) // 2)), label="A")
    d = data.draw(st.integers(0, min(2, n - 2 * a - 6)), label="D")
    t = data.draw(st.integers(1, max(1, min(3, (n - d + 1) // 2 - a - 1))), label="T")
    k = data.draw(
        st.integers(1, largest_num_parts(num_users=n, num_colluders=t, num_attackers=a, num_dropouts=d))
    )
    m = data.draw(
        st.integers(2, largest_num_selected(num_users=n, num_attackers=a, num_dropouts=d)), label="m"
    )
    options = data.draw(st.sampled_from(OPTIONS), label="options")
    parameters = RampKrumParameters(
        RampSharing(n, k, t, a, d),
        num_selected=m,
        length=data.draw(st.integers(1, 30), label="L"),
        fixed_point=FixedPoint(data.draw(st.sampled_from([8, 16]))),
        **({"chunk_size": 32, "is_blinded": False, "hides_products": False, "num_range_checks": 0} | options),
    )
    odd = data.draw(
        st.permutations(range(n)).map(lambda order: order[: a + d]), label="liars, then drop-outs"
    )
    deviations: dict[int, Deviation] = {}
    absent = {"wrong-range-sums"} if not parameters.num_range_checks else set()
    absent |= {"bad-second-share"} if k == 1 else set()
    names = sorted(set(HONEST_UPDATE) - absent)
    for user in odd[:a]:
        deviations[user] = get_deviation(data.draw(st.sampled_from(names), label=f"user {user}"))
    for user in odd[a:]:
        deviations[user] = SilentFrom(data.draw(st.sampled_from(PHASES[:6]), label=f"user {user}"))
    updates = make_updates(parameters, seed=data.draw(st.integers(0, 1000)))
    schemes = Schemes.create(parameters, reference)
    outcome = outcome_of(run_round(schemes, updates, deviations=deviations))
    assert_equals_the_clear(parameters, outcome, updates)
    assert set(outcome.standing.liars) <= set(odd[:a])
    assert len(outcome.selection.users) == m


NO_SHRINKING = [Phase.explicit, Phase.generate]  # shrinking whole rounds takes hours


@given(data=st.data())
@settings(max_examples=8, phases=NO_SHRINKING)
def test_round__equals_the_clear_for_any_parameters_liars_and_drop_outs(
    reference: ReferenceString, make_updates: Callable[..., Updates], data: st.DataObject
) -> None:
    check_any_round(reference, make_updates, data)


@pytest.mark.experiment
@given(data=st.data())
@settings(max_examples=300, phases=NO_SHRINKING)
def test_round__equals_the_clear_three_hundred_times(
    reference: ReferenceString, make_updates: Callable[..., Updates], data: st.DataObject
) -> None:
    check_any_round(reference, make_updates, data)


def test_round__leaves_out_harmful_updates_as_multi_krum_does(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates]
) -> None:
    schemes = make_schemes()
    updates = make_updates(schemes.parameters)
    harmful = HarmfulUpdate(schemes.parameters.fixed_point.max_integer)
    outcome = outcome_of(run_round(schemes, updates, deviations={0: harmful, 1: harmful}))
    assert set(outcome.selection.users).isdisjoint({0, 1})
    updates |= dict.fromkeys((0, 1), np.full(12, harmful.value))
    assert_equals_the_clear(schemes.parameters, outcome, updates)


def test_round__names_who_exceeds_the_clipping_range(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates]
) -> None:
    schemes = make_schemes()
    updates = make_updates(schemes.parameters)
    outcome = outcome_of(run_round(schemes, updates, deviations={4: get_deviation("oversized-update")}))
    assert outcome.standing.liars == (4,)
    assert "farther from others than clipping allows" in outcome.standing.verdicts[0].reason
    assert_equals_the_clear(schemes.parameters, outcome, updates)


def wrap_around(parameters: RampKrumParameters, updates: Updates) -> dict[int, Deviation]:
    """Two entries on which all updates agree, and a liar with the mean otherwise: near to everybody."""
    center = np.mean(list(updates.values()), axis=0).astype(np.int64)
    for update in updates.values():
        update[:2] = 0
    center[:2] = 0
    updates[0] = center
    return {0: WrapAroundUpdate(shift=2**20)}


def test_wrap_around_attack__succeeds_against_a_naive_build(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without range checks and without the look at the result, the shifted entry enters the mean."""
    schemes = make_schemes()
    updates = make_updates(schemes.parameters)
    deviations = wrap_around(schemes.parameters, updates)
    with pytest.raises(RoundRefusedError, match="times the clipping bound"):
        run_round(schemes, updates, deviations=deviations)
    opened = open_without_looking(monkeypatch)
    outcome = outcome_of(run_round(schemes, updates, deviations=deviations))
    assert 0 in outcome.selection.users
    assert opened[0] == 2**20 + sum(int(updates[user][0]) for user in outcome.selection.users)
    assert opened[0] > 10 * schemes.parameters.num_selected * schemes.parameters.fixed_point.max_integer


def open_without_looking(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make the server skip the look at the result; returns where it writes the first entry of the sum."""
    from flower_coded.crypto.field_vectors import to_signed_ints
    from flower_coded.crypto.packing import Packing

    opened: list[int] = []

    def unpack(self: Packing, elements: np.ndarray, *, length: int) -> tuple[np.ndarray, np.ndarray]:
        values = to_signed_ints(elements)
        opened[:] = values[:1]
        return np.zeros(length, dtype=np.int64), np.ones(len(elements), dtype=bool)

    monkeypatch.setattr(Packing, "unpack", unpack)
    return opened


def test_wrap_around_attack__is_stopped_and_its_author_named(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates]
) -> None:
    schemes = make_schemes(num_range_checks=40)
    updates = make_updates(schemes.parameters)
    outcome = outcome_of(run_round(schemes, updates, deviations=wrap_around(schemes.parameters, updates)))
    assert outcome.standing.liars == (0,)
    assert "far out of range" in outcome.standing.verdicts[0].reason
    assert 0 not in outcome.selection.users
    assert_equals_the_clear(schemes.parameters, outcome, updates)


@pytest.mark.parametrize("name", ["wrong-products", "wrong-sum", "bad-shares", "false-complaint"])
@pytest.mark.parametrize("seed", range(1))
def test_round__with_one_liar_too_many_refuses_or_stays_right(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], name: str, seed: int
) -> None:
    schemes = make_schemes(11, 2, 1, a=2, d=2)  # N - D = 9 evaluations are exactly what A = 2 liars allow
    updates = make_updates(schemes.parameters, seed)
    liars = np.random.default_rng(seed).choice(11, size=3, replace=False).tolist()
    deviations: dict[int, Deviation] = {user: get_deviation(name) for user in liars}
    others = [user for user in range(11) if user not in liars]
    deviations |= {user: SilentFrom("evaluations") for user in others[:2]}
    report = RoundReport()
    with contextlib.suppress(RoundRefusedError):
        run_round(schemes, updates, deviations=deviations, report=report)
    # Wrong sums are found out one by one, however many; anything else may end the round, but never wrongly.
    assert report.outcome is not None or name != "wrong-sum"
    if report.outcome is not None:
        assert (report.outcome.total == sum(updates[user] for user in report.outcome.selection.users)).all()


def test_round__refuses_with_numbers_when_too_many_fall_silent(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates]
) -> None:
    schemes = make_schemes(11, 2, 1, a=2, d=2)
    updates = make_updates(schemes.parameters)
    silent = {user: SilentFrom("complaints") for user in (0, 1, 2)}
    with pytest.raises(RoundRefusedError, match=r"too few users .* decode distances .* received 8, needed 9"):
        run_round(schemes, updates, deviations=silent)


def test_round__keeps_no_state_once_it_is_over(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flower_coded.protocols.ramp_krum import simulation

    members = []

    class Remembered(simulation.Member):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            members.append(self)

    monkeypatch.setattr(simulation, "Member", Remembered)
    schemes = make_schemes()
    report = run_round(schemes, make_updates(schemes.parameters))
    assert [member.state for member in members] == [None] * 11
    assert set(report.sent["close"]) | set(report.sent["sums"]) == set(range(11))


def test_round__asks_more_users_when_sums_are_wrong(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates]
) -> None:
    # K + T = 3 right sums are needed and 3 + 2 A = 7 asked; all but two of those fall silent, which D = 2
    # does not promise to survive, but the others make up for it.
    schemes = make_schemes()
    updates = make_updates(schemes.parameters)
    silent = {user: SilentFrom("sums") for user in range(5)}
    report = run_round(schemes, updates, deviations=silent)
    assert_equals_the_clear(schemes.parameters, outcome_of(report), updates)
    assert len(report.sent["sums"]) == 11


def test_round__ignores_replies_of_users_that_were_not_asked(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates]
) -> None:
    schemes = make_schemes()
    updates = make_updates(schemes.parameters)

    def wrong_type(message: Evaluations) -> Any:
        return b"not a message"

    outcome = outcome_of(run_round(schemes, updates, deviations={3: AlterMessage("evaluations", wrong_type)}))
    assert outcome.standing.liars == (3,)
    assert "sent bytes where Evaluations is due" in outcome.standing.verdicts[0].reason


def test_round__over_the_reference_backend_gives_the_same(
    reference_in_python: ReferenceString, make_updates: Callable[..., Updates]
) -> None:
    parameters = RampKrumParameters(
        RampSharing(7, 1, 1, 1, 0), num_selected=2, length=4, num_range_checks=0, hides_products=False
    )
    updates = make_updates(parameters)
    schemes = Schemes.create(parameters, reference_in_python)
    outcome = outcome_of(run_round(schemes, updates, deviations={6: get_deviation("bad-share-to-one")}))
    assert_equals_the_clear(parameters, outcome, updates)
    assert outcome.standing.liars == (6,)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_round__with_products_in_torch_gives_the_same(
    make_schemes: MakeSchemes, make_updates: Callable[..., Updates], device: str
) -> None:
    torch = pytest.importorskip("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    schemes = make_schemes(8, 1, 1, a=1, d=1)
    updates = make_updates(schemes.parameters)
    report = run_round(schemes, updates, resources=Resources(num_threads=1, device=device))
    assert_equals_the_clear(schemes.parameters, outcome_of(report), updates)
