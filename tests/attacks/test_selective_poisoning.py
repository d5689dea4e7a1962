"""Selective attackers: what they choose beats the decoders it should beat, and no other."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks import plan_selective_poisoning
from flower_coded.codes import backdoor_correction_code, make_decoder
from flower_coded.errors import ParameterError

CODE = backdoor_correction_code(4, 4, 12, rows="paper")
CONFUSION = np.tile(90 * np.eye(10, dtype=int) + 1, (15, 1, 1))
ATTACKERS = (6, 7)


def plan(name: str, **options: object):  # type: ignore[no-untyped-def]
    decoder = make_decoder(name, CODE, CONFUSION)
    return plan_selective_poisoning(decoder, ATTACKERS, np.random.default_rng(0), **options)  # type: ignore[arg-type]


def test_the_papers_decoder_falls_and_names_others_and_the_covering_decoder_does_not_fall() -> None:
    chosen = plan("posterior")
    assert chosen.success > 0.9
    assert chosen.framed > 0.5
    assert set(chosen.models) < set(np.flatnonzero(CODE.reach(ATTACKERS)).tolist())
    assert plan("covering").success < 0.3  # what mistakes of clean models alone leave open


def test_the_joint_decoder_holds_against_plans_made_with_it() -> None:
    assert plan("joint", max_trials=40).success < 0.15
    assert plan("joint", goal="both", max_trials=40).success < 0.15


def test_somebody_in_particular_can_be_blamed() -> None:
    assert plan("posterior", goal="frame", blamed=3).framed > 0.5


def test_the_same_seed_plans_the_same() -> None:
    assert plan("unknown-obedience") == plan("unknown-obedience")


@pytest.mark.parametrize("options", [{"goal": "win"}, {"blamed": 6}, {"blamed": 12}])
def test_plans_nobody_could_make_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        plan("posterior", **options)
