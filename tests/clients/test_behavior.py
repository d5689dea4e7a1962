"""Who attacks and how, from the run configuration."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from flower_coded.attacks import (
    ALittleIsEnough,
    Backdoor,
    EdgeCase,
    LabelFlip,
    MinSum,
    ModelReplacement,
    NormProjection,
    PixelTrigger,
    TrimmedMeanAttack,
    VoidAttackWarning,
)
from flower_coded.clients import ATTACK_NAMES, Behavior, attackers_from_config, behavior_from_config
from flower_coded.errors import ParameterError


def behavior(partition_id: int = 0, num_users: int = 12, **config: Any) -> Behavior:
    return behavior_from_config(
        {key.replace("_", "-"): value for key, value in config.items()}, partition_id, num_users
    )


def test_everybody_is_honest_by_default() -> None:
    assert not behavior().is_attacker
    assert not behavior(attackers="0,").is_attacker
    assert not behavior(attack="sign-flip").is_attacker


@pytest.mark.parametrize(
    ("value", "expected"), [("0,3", (0, 3)), ("3, 0", (0, 3)), ("7,", (7,)), ("", ()), (0, ()), ("0", ())]
)
def test_attackers_are_listed_with_a_comma(value: str | int, expected: tuple[int, ...]) -> None:
    assert attackers_from_config({"attackers": value}, 12) == expected


@pytest.mark.parametrize("count", [3, "3"])
def test_a_count_of_attackers_is_drawn_from_the_seed(count: int | str) -> None:
    drawn = [attackers_from_config({"attackers": count, "seed": seed}, 12) for seed in (0, 0, 1, 2, 3)]
    assert all(len(set(each)) == 3 for each in drawn)
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 2


def test_counts_are_nested_so_that_an_experiment_adds_attackers() -> None:
    drawn = [set(attackers_from_config({"attackers": count, "seed": 4}, 12)) for count in range(5)]
    assert all(fewer < more for fewer, more in pairwise(drawn))


@pytest.mark.parametrize("value", ["0,12", "a,b", "-1,2", 13, -1, "2.5", True])
def test_attackers_that_do_not_exist_are_refused(value: Any) -> None:
    with pytest.raises(ParameterError, match="attackers"):
        attackers_from_config({"attackers": value}, 12)


def test_the_attack_starts_in_its_round() -> None:
    late = behavior(3, attack="nan", attackers="3,", attack_from_round=4)
    assert [late.attacks_in(server_round) for server_round in (1, 3, 4, 9)] == [False, False, True, True]


def test_all_colluders_share_one_backdoor() -> None:
    config = {"attack": "pixel-trigger", "attackers": "1,2", "seed": 6, "poison_rate": 0.2}
    attacks = [behavior(user, **config).data_attack((1, 8, 8), 10) for user in (1, 2)]
    assert all(isinstance(attack, Backdoor) and attack.rate == 0.2 for attack in attacks)
    first, second = (attack.trigger for attack in attacks if isinstance(attack, Backdoor))
    assert isinstance(first, PixelTrigger)
    assert isinstance(second, PixelTrigger)
    np.testing.assert_array_equal(first.pattern, second.pattern)
    assert (first.row, first.column) == (second.row, second.column)


def test_settings_reach_the_attacks() -> None:
    assert behavior(attack="label-flip", attackers="0,").data_attack((1, 8, 8), 4) == LabelFlip(4)
    little = behavior(attack="little-is-enough", attackers=8, num_users=20).update_attack()
    assert little == ALittleIsEnough(20, 8)
    target = behavior(attack="pixel-trigger", attackers="0,", attack_target=3).data_attack((1, 8, 8), 10)
    assert isinstance(target, Backdoor)
    assert target.target == 3


def test_settings_reach_the_newer_attacks() -> None:
    assert behavior(attack="min-sum", attackers=2, attack_perturbation="unit").update_attack() == MinSum(
        "unit"
    )
    assert behavior(attack="trimmed-mean-attack", attackers=2, attack_scale=4.0).update_attack() == (
        TrimmedMeanAttack(4.0)
    )
    # gamma = n / eta, shared by the colluders: 12 / 3.
    assert behavior(attack="model-replacement", attackers=3).update_attack() == ModelReplacement(4.0)
    assert behavior(attack="edge-case", attackers=3).update_attack() == NormProjection()
    tail = behavior(attack="edge-case", attackers="0,", attack_target=3).data_attack((1, 8, 8), 10)
    assert tail == EdgeCase(3, 0.05)
    assert behavior(attack="late", attackers="0,", attack_scale=0.5).late_seconds == 0.5


def test_colluders_of_a_distributed_trigger_train_with_their_parts_and_test_with_one_union() -> None:
    black = np.zeros((1, 1, 8, 8), np.float32)
    config = {"attack": "distributed-trigger", "attackers": "1,4,6,7", "seed": 2}
    backdoors = [behavior(user, **config).data_attack((1, 8, 8), 10) for user in (1, 4, 6, 7, 0)]
    assert all(isinstance(each, Backdoor) for each in backdoors)
    unions = [each.trigger.apply(black) for each in backdoors if isinstance(each, Backdoor)]
    parts = [each.part.apply(black) for each in backdoors[:4] if isinstance(each, Backdoor) and each.part]
    assert all(np.array_equal(union, unions[0]) for union in unions)
    np.testing.assert_array_equal(np.sum(parts, axis=0), unions[0])
    assert [int(part.sum()) for part in parts] == [2, 2, 2, 2]


def test_a_void_attack_warns_when_it_is_read() -> None:
    with pytest.warns(VoidAttackWarning):
        behavior(attack="little-is-enough", attackers=2, num_users=10)


@pytest.mark.parametrize("attack", [name for name in ATTACK_NAMES if name != "little-is-enough"])
def test_every_attack_can_be_asked_for_by_name(attack: str) -> None:
    assert behavior(attack=attack, attackers="0,").attack == attack


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"attack": "pixel-triger"}, "did you mean 'pixel-trigger'"),
        ({"attack_knowlege": "all"}, "did you mean 'attack-knowledge'"),
        ({"attack": "pixel-trigger", "attackers": 1, "poison_rate": 0.0}, "poison-rate"),
        ({"poison_rate": 1.5}, "between 0 and 1"),
        ({"poison_rate": "much"}, "poison-rate"),
        ({"attack_knowledge": "some"}, "own, colluders, all"),
        ({"attack_from_round": 0}, "attack-from-round"),
        ({"attack_pixel_low": 1.0}, "attack-pixel-low"),
        ({"attack_scale": -2.0}, "attack-scale"),
        ({"attack": "pixel-trigger", "attackers": 1, "attack_target": 10}, "target"),
        ({"attack": "little-is-enough", "attackers": 7}, "majority"),
        ({"attack": 3}, "must be text"),
        ({"attack": "mimic", "attackers": 1, "attack_scale": 2.0}, "warm_up"),
        ({"attack": "min-max", "attackers": 1, "attack_scale": 2.0}, "perturbation"),
        ({"attack_perturbation": "std"}, "deviation, sign, unit"),
        ({"attack_constrain": 0.0}, "attack-constrain"),
        ({"attack": "trimmed-mean-attack", "attackers": 1, "attack_scale": 0.5}, "scale"),
        ({"attack": "neurotoxin", "attackers": 1, "attack_scale": 1.5}, "scale"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_mistakes_are_refused_with_what_would_work(config: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        behavior(**config)


def test_a_partition_outside_the_federation_is_refused() -> None:
    with pytest.raises(ParameterError, match="partition-id"):
        behavior(12)
