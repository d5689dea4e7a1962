"""A clipping bound agreed on by ballots: what liars can do to it, by brute force and through the protocol."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.attacks.ramp_krum_updates import Deviation, field_square_root
from flower_coded.crypto.field_vectors import FIELD_MODULUS, from_ints
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.crypto.srs import generate_reference_string
from flower_coded.errors import ParameterError, RoundRefusedError
from flower_coded.protocols.ramp_krum.clipping_ballot import EDGES, ballot, ballot_parameters, read_ballots
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.conduct import Conduct
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.simulation import run_round

SHARING = RampSharing(num_users=10, num_parts=1, num_colluders=2, num_attackers=2, num_dropouts=1)


def vote(cell: int, value: int = 1) -> np.ndarray:
    votes = np.zeros(len(EDGES), dtype=np.int64)
    votes[cell] = value
    return votes


@pytest.fixture(scope="module")
def schemes() -> Schemes:
    parameters = ballot_parameters(SHARING, share=0.0)
    return Schemes.create(parameters, generate_reference_string(parameters.largest_chunk))


def test_the_grid_has_two_cells_for_each_doubling() -> None:
    np.testing.assert_allclose(EDGES[2:] / EDGES[:-2], 2.0)
    assert EDGES[-1] == 4096


@given(st.lists(st.floats(-5000, 5000), min_size=1, max_size=40), st.sampled_from([0.0, 0.1, 0.5]))
def test_a_ballot_is_for_the_first_edge_that_few_enough_entries_exceed(
    values: list[float], share: float
) -> None:
    votes = ballot(np.array(values), share)
    cell = int(votes.argmax())
    assert votes.sum() == 1
    if cell < len(EDGES) - 1:
        assert np.sum(np.abs(values) > EDGES[cell]) <= share * len(values)
    if cell:
        assert np.sum(np.abs(values) > EDGES[cell - 1]) > share * len(values)


def test_an_update_that_is_not_finite_has_no_ballot() -> None:
    with pytest.raises(ParameterError, match="values must be finite"):
        ballot(np.array([1.0, np.nan]), 0.0)


def test_who_has_no_entries_votes_for_the_least() -> None:
    assert ballot(np.zeros(0), 0.0).argmax() == 0


@pytest.mark.parametrize("quantile", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num_attackers", [1, 2])
def test_whatever_liars_vote_the_bound_lies_between_honest_numbers(
    num_attackers: int, quantile: float
) -> None:
    num_ballots = 3 * num_attackers + 2
    draw = np.random.default_rng(num_attackers)
    moves = [np.zeros(len(EDGES), dtype=np.int64)]
    moves += [vote(cell, value) for cell in range(20, 29) for value in (1, -1)]
    for _ in range(3):
        honest = np.sort(draw.integers(21, 28, size=num_ballots - num_attackers))
        counts = np.bincount(honest, minlength=len(EDGES)).astype(np.int64)
        ranks = num_ballots - 3 * num_attackers
        rank = num_attackers + 1 + int(quantile * (ranks - 1) + 0.5)
        low, high = honest[rank - num_attackers - 1], honest[rank + num_attackers - 1]
        for lies in itertools.combinations_with_replacement(moves, num_attackers):
            bound = read_ballots(
                counts + sum(lies), num_ballots=num_ballots, num_attackers=num_attackers, quantile=quantile
            )
            assert EDGES[low] <= bound <= EDGES[high]


def test_too_few_ballots_are_refused() -> None:
    with pytest.raises(RoundRefusedError, match="too few ballots"):
        read_ballots(vote(3), num_ballots=6, num_attackers=2, quantile=0.5)


@dataclass(frozen=True)
class Stuffing(Deviation):
    """A liar whose ballot is what it likes, past the scaling of honest clients."""

    votes: tuple[tuple[int, int], ...] = ()
    completes_norm: bool = False

    @property
    def ballot(self) -> np.ndarray:
        return sum((vote(cell, value) for cell, value in self.votes), np.zeros(len(EDGES), dtype=np.int64))

    def alter_update(self, integers: np.ndarray) -> np.ndarray:
        return self.ballot if np.abs(self.ballot).sum() <= 1 else vote(0)

    def alter_parts(self, parts: np.ndarray) -> np.ndarray:
        return from_ints([int(value) % FIELD_MODULUS for value in self.ballot]).reshape(parts.shape)

    def alter_slack(self, slack: np.ndarray, parts: np.ndarray) -> np.ndarray:
        altered = slack.copy()
        if self.completes_norm:  # modulo r the squares add up to 1; the slack is no short integer
            missing, others = 1 - int((self.ballot.astype(object) ** 2).sum()), 0
            while (root := field_square_root(missing - others**2)) is None:
                others += 1
            altered[0, :2] = from_ints([root, others])
        return altered


def outcome(
    schemes: Schemes, liars: dict[int, Conduct]
) -> tuple[np.ndarray, tuple[int, ...], tuple[int, ...]]:
    ballots = {user: vote(30 + user % 3) for user in range(10)}
    found = run_round(schemes, ballots, deviations=liars).outcome
    assert found.distances == {}
    return found.total, found.selection.users, found.status.liars


def test_the_sum_of_honest_ballots_is_their_histogram_and_nothing_else_is_read(schemes: Schemes) -> None:
    total, users, liars = outcome(schemes, {})
    assert users == tuple(range(10))
    assert not liars
    np.testing.assert_array_equal(total[30:33], [4, 3, 3])
    assert total.sum() == 10
    assert schemes.parameters.num_pairs == 0
    assert schemes.parameters.num_products == 10  # norms alone


@pytest.mark.parametrize(
    "votes",
    [((5, 2),), ((5, 1), (6, 1)), ((5, -2),), ((5, 1), (6, -1)), ((5, 1 << 40),), ((0, 3), (63, -3))],
    ids=str,
)
@pytest.mark.parametrize("completes_norm", [False, True])
def test_who_stuffs_the_ballot_is_named_and_its_ballot_is_not_counted(
    schemes: Schemes, votes: tuple[tuple[int, int], ...], completes_norm: bool
) -> None:
    total, users, liars = outcome(schemes, {4: Stuffing(votes, completes_norm)})
    assert liars == (4,)
    assert users == tuple(user for user in range(10) if user != 4)
    assert total.sum() == 9


@pytest.mark.parametrize(("votes", "expected"), [(((5, -1),), 8), (((5, 1),), 10), ((), 9)], ids=str)
def test_a_single_vote_either_way_or_none_is_all_that_passes(
    schemes: Schemes, votes: tuple[tuple[int, int], ...], expected: int
) -> None:
    total, users, liars = outcome(schemes, {4: Stuffing(votes)})
    assert not liars
    assert len(users) == 10
    assert total.sum() == expected


def test_ballots_are_proved_and_of_enough_users() -> None:
    with pytest.raises(ParameterError, match=r"ballot_share must lie in \[0, 1\)"):
        ballot_parameters(SHARING, share=1.0)
    with pytest.raises(ParameterError, match="is_paper_form must be false for ballots"):
        RampKrumParameters(SHARING, num_selected=7, length=64, is_paper_form=True, ballot_share=0.0)
    with pytest.raises(ParameterError, match="num_selected must be from 2 to N - A - D = 7 for ballots"):
        RampKrumParameters(SHARING, num_selected=8, length=64, ballot_share=0.0)


def test_votes_that_more_liars_than_a_took_away_are_no_vote_for_the_least_bound() -> None:
    counts = 7 * vote(30) + vote(29, -3)
    with pytest.raises(RoundRefusedError, match="more users lie than num_attackers"):
        read_ballots(counts, num_ballots=10, num_attackers=2, quantile=1.0)


def test_a_vote_in_the_padding_of_a_part_is_none_and_a_second_one_is_found() -> None:
    sharing = RampSharing(num_users=12, num_parts=3, num_colluders=1, num_attackers=1, num_dropouts=1)
    parameters = ballot_parameters(sharing, share=0.0)
    schemes = Schemes.create(parameters, generate_reference_string(parameters.largest_chunk))

    @dataclass(frozen=True)
    class InPadding(Deviation):
        votes: tuple[int, ...]

        def alter_parts(self, parts: np.ndarray) -> np.ndarray:
            flat = [int(entry in self.votes) for entry in range(3 * 22)]
            return from_ints(flat).reshape(parts.shape)

        def alter_slack(self, slack: np.ndarray, parts: np.ndarray) -> np.ndarray:
            return np.zeros_like(slack)

    for votes, total, liars in (((65,), 11, ()), ((5, 65), 11, (4,))):
        found = run_round(
            schemes, dict.fromkeys(range(12), vote(30)), deviations={4: InPadding(votes)}
        ).outcome
        assert (found.total.sum(), found.status.liars) == (total, liars)
