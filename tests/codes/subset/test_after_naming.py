"""Whom a name leaves out, and the ensemble as the referee of what was trained without them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from flower_coded.codes import (
    CoveringDecoder,
    SubsetCode,
    backdoor_correction_code,
    backdoor_detection_code,
    exclude_named,
    judge_retrained,
)
from flower_coded.errors import ParameterError

CODE = backdoor_correction_code(4, 4, 12, rows="paper")  # users 6 apart have equal columns


@pytest.mark.parametrize("attackers", list(itertools.combinations(range(8), 2)))
def test_a_right_name_never_costs_more_honest_users_than_it_says(attackers: tuple[int, int]) -> None:
    chosen = exclude_named(CODE, attackers, max_honest_lost=2)
    assert set(attackers) <= set(chosen.users)
    assert len(set(chosen.users) - set(attackers)) <= chosen.most_honest_lost <= 2
    assert chosen.spared == ()
    assert not CODE.matrix[np.ix_(chosen.clean_models, chosen.users)].any()


def test_a_detecting_code_leaves_a_clean_model_whoever_is_left_out() -> None:
    code = backdoor_detection_code(2, 3, 7)
    for pair in itertools.combinations(range(7), 2):
        assert exclude_named(code, pair, max_honest_lost=0 if _distinct(code) else 7).clean_models


def _distinct(code: SubsetCode) -> bool:
    return np.unique(code.matrix, axis=1).shape[1] == code.num_users


@pytest.mark.parametrize(
    ("limit", "users"), [(0, (4,)), (1, (0, 1, 4)), (2, (0, 1, 4)), (3, (0, 1, 2, 3, 4, 5))]
)
def test_the_limit_takes_the_cheapest_names_first(limit: int, users: tuple[int, ...]) -> None:
    """Columns: users 0, 1 alike; 2, 3, 5 alike; 4 and 6 alone."""
    groups = np.array([0, 0, 1, 1, 2, 1, 3])
    code = SubsetCode(np.eye(4, dtype=bool)[:, groups])
    chosen = exclude_named(code, [0, 3, 4], max_honest_lost=limit)
    assert chosen.users == users
    assert set(chosen.users) | set(chosen.spared) == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("name", "named", "limit"),
    [("named", [12], 2), ("max_honest_lost", [1], -1), ("named", list(range(12)), 6)],
)
def test_what_makes_no_sense_is_refused(name: str, named: list[int], limit: int) -> None:
    with pytest.raises(ParameterError, match=f"^{name} must"):
        exclude_named(CODE, named, max_honest_lost=limit)


@pytest.mark.parametrize(("obeyed", "finding"), [(0, "gone"), (8, "gone"), (20, "remains"), (90, "remains")])
def test_the_referee_counts_how_often_the_model_obeys(obeyed: int, finding: str) -> None:
    """90 clean samples, then 90 with a trigger of users 1 and 2 that asks for class 0."""
    labels = np.tile(1 + np.arange(90) % 9, 2)
    reached = CODE.reach([1, 2])
    answers = np.tile(labels, (CODE.num_models, 1))
    answers[reached, 90:] = 0
    decoder = CoveringDecoder(CODE, np.ones((CODE.num_models, 10, 10)), max_attackers=2)
    model = labels.copy()
    model[90 : 90 + obeyed] = 0
    verdict = judge_retrained(decoder.decode(answers), answers, model)
    assert verdict.finding == finding
    assert verdict.num_judged == 90
    assert verdict.obedience == pytest.approx(obeyed / 90)
    assert verdict.agreement == pytest.approx(1 - obeyed / 90)


@pytest.mark.parametrize("attacked", [0, 9])
def test_few_attacked_samples_tell_nothing(attacked: int) -> None:
    labels = 1 + np.arange(50) % 9
    reached = CODE.reach([1])
    answers = np.tile(labels, (CODE.num_models, 1))
    answers[reached, :attacked] = 0
    decoded = CoveringDecoder(CODE, np.ones((CODE.num_models, 10, 10)), max_attackers=2).decode(answers)
    verdict = judge_retrained(decoded, answers, labels)
    assert (verdict.finding, verdict.num_judged) == ("cannot tell", attacked)


def test_the_referee_refuses_what_does_not_fit() -> None:
    answers = np.zeros((CODE.num_models, 5), int)
    decoded = CoveringDecoder(CODE, np.ones((CODE.num_models, 10, 10))).decode(answers)
    with pytest.raises(ParameterError, match=r"^predictions, retrained must"):
        judge_retrained(decoded, answers, np.zeros(4, int))
    with pytest.raises(ParameterError, match=r"^max_obedience must"):
        judge_retrained(decoded, answers, np.zeros(5, int), max_obedience=2)
