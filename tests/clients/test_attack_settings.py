"""Who attacks and how, from the run configuration."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict

from flower_coded.attacks import (
    ATTACKS,
    ALittleIsEnough,
    Backdoor,
    EdgeCase,
    IneffectiveAttackWarning,
    LabelFlip,
    LateAnswer,
    MinSum,
    ModelReplacement,
    NormProjection,
    PixelTrigger,
    TrimmedMeanAttack,
)
from flower_coded.cli.scenario import find_scenario, scenario_directories
from flower_coded.clients import AttackSettings, attack_settings, attackers_from_config, client_settings
from flower_coded.clients.client_settings import CLIENT_KEYS, ClientSettings
from flower_coded.clients.contrastive_ecoc import CONTRASTIVE_KEYS, contrastive_settings
from flower_coded.clients.encoded_gd import faults_from_config
from flower_coded.clients.ramp_krum_experiments import deviations_from_config
from flower_coded.clients.robust_alcc import analog_faults_from_config
from flower_coded.clients.run_config import parsed_once, refuse_misspelled_keys
from flower_coded.clients.training import training_client_app
from flower_coded.errors import ParameterError
from flower_coded.learning import build_model, get_state
from flower_coded.testing import InProcessGrid
from flower_coded.wire.model_state import to_array_record


def settings(num_users: int = 12, **config: Any) -> AttackSettings:
    return AttackSettings.from_config(
        {key.replace("_", "-"): value for key, value in config.items()}, num_users
    )


def test_everybody_is_honest_by_default() -> None:
    for nobody in (settings(), settings(attackers="0,"), settings(attack="sign-flip")):
        assert not nobody.attacks(0, 1)


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
    late = settings(attack="nan", attackers="3,", attack_from_round=4)
    assert [late.attacks(3, server_round) for server_round in (1, 3, 4, 9)] == [False, False, True, True]
    assert not late.attacks(2, 9)


def test_all_colluders_share_one_backdoor() -> None:
    config = {"attack": "pixel-trigger", "attackers": "1,2", "seed": 6, "poison_rate": 0.2}
    attacks = [settings(**config).data_attack((1, 8, 8), 10, user=user) for user in (1, 2)]
    assert all(isinstance(attack, Backdoor) and attack.rate == 0.2 for attack in attacks)
    first, second = (attack.trigger for attack in attacks if isinstance(attack, Backdoor))
    assert isinstance(first, PixelTrigger)
    assert isinstance(second, PixelTrigger)
    np.testing.assert_array_equal(first.pattern, second.pattern)
    assert (first.row, first.column) == (second.row, second.column)


def test_settings_reach_the_attacks() -> None:
    assert settings(attack="label-flip", attackers="0,").data_attack((1, 8, 8), 4) == LabelFlip(4)
    little = settings(attack="little-is-enough", attackers=8, num_users=20).update_attack()
    assert little == ALittleIsEnough(20, 8)
    target = settings(attack="pixel-trigger", attackers="0,", attack_target=3).data_attack((1, 8, 8), 10)
    assert isinstance(target, Backdoor)
    assert target.target == 3


def test_settings_reach_the_newer_attacks() -> None:
    assert settings(attack="min-sum", attackers=2, attack_perturbation="unit").update_attack() == MinSum(
        "unit"
    )
    assert settings(attack="trimmed-mean-attack", attackers=2, attack_scale=4.0).update_attack() == (
        TrimmedMeanAttack(4.0)
    )
    # gamma = n / eta, shared by the colluders: 12 / 3.
    assert settings(attack="model-replacement", attackers=3).update_attack() == ModelReplacement(4.0)
    assert settings(attack="edge-case", attackers=3).update_attack() == NormProjection()
    tail = settings(attack="edge-case", attackers="0,", attack_target=3).data_attack((1, 8, 8), 10)
    assert tail == EdgeCase(3, 0.05)
    assert settings(attack="late", attackers="0,", attack_scale=0.5).reply_attack() == LateAnswer(0.5)


def test_colluders_of_a_distributed_trigger_train_with_their_parts_and_test_with_one_union() -> None:
    black = np.zeros((1, 1, 8, 8), np.float32)
    config = {"attack": "distributed-trigger", "attackers": "1,4,6,7", "seed": 2}
    backdoors = [settings(**config).data_attack((1, 8, 8), 10, user=user) for user in (1, 4, 6, 7, 0)]
    assert all(isinstance(each, Backdoor) for each in backdoors)
    unions = [each.trigger.apply(black) for each in backdoors if isinstance(each, Backdoor)]
    parts = [each.part.apply(black) for each in backdoors[:4] if isinstance(each, Backdoor) and each.part]
    assert all(np.array_equal(union, unions[0]) for union in unions)
    np.testing.assert_array_equal(np.sum(parts, axis=0), unions[0])
    assert [int(part.sum()) for part in parts] == [2, 2, 2, 2]


def test_an_ineffective_attack_warns_when_it_is_read() -> None:
    with pytest.warns(IneffectiveAttackWarning):
        settings(attack="little-is-enough", attackers=2, num_users=10)


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name != "little-is-enough"])
def test_every_attack_can_be_asked_for_by_name(attack: str) -> None:
    assert settings(attack=attack, attackers="0,").attack == attack


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"attack": "pixel-triger"}, "did you mean 'pixel-trigger'"),
        ({"attack_knowlege": "all"}, "did you mean 'attack-knowledge'"),
        ({"attack": "pixel-trigger", "attackers": 1, "poison_rate": 0.0}, "poison-rate"),
        ({"poison_rate": 1.5}, "above 0 and at most 1"),
        ({"poison_rate": "much"}, "poison-rate"),
        ({"attack_knowledge": "some"}, "own, colluders, all"),
        ({"attack_from_round": 0}, "attack-from-round"),
        ({"attack_pixel_low": 1.0}, "attack-pixel-low"),
        ({"attack_scale": -2.0}, "attack-scale"),
        (
            {"attack": "pixel-trigger", "attackers": 1, "attack_target": 10, "attack_num_classes": 10},
            "target",
        ),
        ({"attack": "little-is-enough", "attackers": 7}, "majority"),
        ({"attack": 3}, "must be text"),
        ({"attack": "mimic", "attackers": 1, "attack_scale": 2.0}, "attack-scale must be 0.0 for mimic"),
        ({"attack": "min-max", "attackers": 1, "attack_scale": 2.0}, "attack-scale must be 0.0 for min-max"),
        ({"attack_perturbation": "std"}, "deviation, sign, unit"),
        ({"attack_constrain": 0.0}, "attack-constrain"),
        ({"attack": "trimmed-mean-attack", "attackers": 1, "attack_scale": 0.5}, "scale"),
        ({"attack": "neurotoxin", "attackers": 1, "attack_scale": 1.5}, "scale"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_mistakes_are_refused_with_what_would_work(config: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        settings(**config)


def test_an_option_of_another_attack_that_is_set_is_refused_and_a_common_poison_rate_is_not() -> None:
    assert settings(attack="sign-flip", attackers=1, poison_rate=0.2).option("poison-rate") == 0.2
    with pytest.raises(ParameterError, match=r"attack-constrain must be 1\.0 for sign-flip"):
        settings(attack="sign-flip", attackers=1, attack_constrain=0.5)
    settings(attack="none", attackers=1, attack_scale=5.0)  # a run without attack, for comparison


def test_a_target_beyond_ten_classes_needs_no_number_of_classes() -> None:
    target = settings(attack="pixel-trigger", attackers=1, attack_target=42)
    backdoor = target.data_attack((3, 32, 32), 43)
    assert isinstance(backdoor, Backdoor)
    assert backdoor.target == 42
    with pytest.raises(ParameterError, match="target"):
        target.data_attack((3, 32, 32), 42)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("atackers", "attackers"), ("poison-rat", "poison-rate"), ("poison_rate", "poison-rate")],
)
def test_a_misspelled_key_is_refused_with_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(ParameterError, match=f"did you mean '{nearest}'"):
        AttackSettings.from_config({key: 1, "num-server-rounds": 3}, 12)


def test_the_keys_of_the_shipped_scenarios_are_taken_for_no_slip() -> None:
    scenarios = [
        find_scenario(str(path))
        for each in scenario_directories()
        for path in each.glob("*/")
        if (path / "pyproject.toml").is_file()
    ]
    assert len(scenarios) > 5
    for scenario in scenarios:
        refuse_misspelled_keys(scenario.defaults, CLIENT_KEYS)
        refuse_misspelled_keys(scenario.defaults, CONTRASTIVE_KEYS)
        faults_from_config({**scenario.defaults, "attack": "none"}, 12)
        deviations_from_config({**scenario.defaults, "deviations": ""})
        if scenario.name == "private-regression":  # other apps have keys that begin with attack, too
            analog_faults_from_config(scenario.defaults, 16)


@pytest.mark.parametrize(
    ("read", "key", "nearest"),
    [
        (ClientSettings.from_config, "local-epoch", "local-epochs"),
        (ClientSettings.from_config, "batchsize", "batch-size"),
        (contrastive_settings, "temprature", "temperature"),
        (lambda config: faults_from_config(config, 9), "straglers", "stragglers"),
        (lambda config: analog_faults_from_config(config, 9), "atackers", "attackers"),
        (deviations_from_config, "deviatons-from", "deviations-from"),
    ],
)
def test_every_client_refuses_a_misspelled_key_of_its_own(read: Any, key: str, nearest: str) -> None:
    with pytest.raises(ParameterError, match=f"did you mean '{nearest}'"):
        read({key: 1})


def test_a_word_near_a_short_key_is_refused_only_where_the_key_is_missing() -> None:
    refuse_misspelled_keys({"seeds": "1,2", "seed": 1}, ["seed"])
    for slip in ("seeds", "sede"):
        with pytest.raises(ParameterError, match="did you mean 'seed'"):
            refuse_misspelled_keys({slip: 1}, ["seed"])


def test_a_configuration_is_parsed_once_for_all_messages_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(
        client_settings,
        "_parsed",
        parsed_once(lambda c: read.append("training") or ClientSettings.from_config(c)),
    )
    monkeypatch.setattr(
        attack_settings,
        "_parsed",
        parsed_once(lambda c, n: read.append("attack") or AttackSettings.from_config(c, n)),
    )
    config = {"attack": "sign-flip", "attackers": "1,", "local-epochs": 1, "samples-per-user": 20}
    grid = InProcessGrid(training_client_app(), 3, config)
    arrays = to_array_record(get_state(build_model("small-cnn", (1, 8, 8), 10, seed=1)))
    for kind in ("train", "evaluate"):
        messages = [Message(RecordDict({"arrays": arrays}), node, kind) for node in grid.node_ids]
        assert all(reply.has_content() for reply in grid.send_and_receive(messages, timeout=60))
    assert sorted(read) == ["attack", "training"]
