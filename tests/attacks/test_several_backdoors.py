"""Several backdoors at once: another trigger in other models, and groups that know nothing of each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flower_coded.attacks import Backdoor, TriggersInTurn, plan_selective_poisoning
from flower_coded.clients import AttackSettings
from flower_coded.codes import SubsetCode, backdoor_correction_code, make_decoder
from flower_coded.errors import ParameterError
from flower_coded.experiment import Experiment
from flower_coded.strategies import EnsembleEvaluator

SHAPE = (1, 8, 8)


def backdoor(settings: AttackSettings, **which: int) -> Backdoor:
    attack = settings.data_attack(SHAPE, 10, **which)
    assert isinstance(attack, Backdoor)
    return attack


def marks(attack: Backdoor) -> bytes:
    return attack.trigger.apply(np.zeros((1, *SHAPE), np.float32)).tobytes()


def test_model_triggers_ask_for_one_target_and_the_first_is_the_pixel_trigger() -> None:
    settings = AttackSettings(12, "model-triggers", (1, 2), {"attack-backdoors": 3}, seed=5)
    drawn = [backdoor(settings, backdoor=number) for number in range(3)]
    assert len({attack.target for attack in drawn}) == 1
    assert len({marks(attack) for attack in drawn}) == 3
    plain = backdoor(AttackSettings(12, "pixel-trigger", (1, 2), seed=5))
    assert (marks(drawn[0]), drawn[0].target) == (marks(plain), plain.target)
    assert marks(backdoor(settings, user=1, backdoor=2)) == marks(backdoor(settings, user=2, backdoor=2))


def test_models_get_the_triggers_in_turn_or_as_planned() -> None:
    in_turn = AttackSettings(12, "model-triggers", (1,))
    assert [in_turn.backdoor_of(model) for model in range(4)] == [0, 1, 0, 1]
    planned = AttackSettings(12, "model-triggers", (1,), {"attack-models": "0:1,3:0,5"})
    assert [planned.backdoor_of(model) for model in range(6)] == [1, None, None, 0, None, 1]


@pytest.mark.parametrize("text", ["0:2", "0:", "0:x", ":1"])
def test_a_trigger_that_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="attack-models must list"):
        AttackSettings(12, "model-triggers", (1,), {"attack-models": text})


def test_a_model_whose_number_nobody_tells_gets_no_trigger_of_its_own() -> None:
    with pytest.raises(ParameterError, match="tell_models"):
        AttackSettings(12, "model-triggers", (1,)).backdoor_of("6d0f")
    assert AttackSettings(12, "independent-groups", (1, 2)).backdoor_of("6d0f") == 0


def test_independent_groups_draw_triggers_and_targets_of_their_own() -> None:
    settings = AttackSettings(12, "independent-groups", (1, 4, 6, 9), seed=2)
    of_user = {user: backdoor(settings, user=user) for user in settings.attackers}
    assert marks(of_user[1]) == marks(of_user[6]) != marks(of_user[4]) == marks(of_user[9])
    targets = {seed: AttackSettings(12, "independent-groups", (1, 4), seed=seed) for seed in range(8)}
    assert any(backdoor(each, user=1).target != backdoor(each, user=4).target for each in targets.values())
    assert AttackSettings(12, "independent-groups", (1,)).num_backdoors == 1, "no group without attackers"


def test_an_experiment_tests_with_every_trigger() -> None:
    config = {"num-clients": 12, "attack": "independent-groups", "attackers": "1,4", "seed": 3}
    experiment = Experiment(config)
    first, second = experiment.backdoors
    evaluator = experiment.evaluator(SubsetCode(np.ones((1, 12), dtype=bool)))
    assert evaluator.target == [first.target, second.target]
    single = Experiment({**config, "attack": "model-triggers"}).evaluator()
    assert len(single.target) == 1, "a single model has the first trigger only"


def test_success_is_that_of_the_trigger_each_image_carries() -> None:
    class Mark:
        def __init__(self, value: float) -> None:
            self.value = value

        @classmethod
        def draw(cls, *_: Any, **__: Any) -> Mark:
            raise NotImplementedError

        def apply(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
            return images + np.float32(self.value)

    def obeying(state: Any, images: NDArray[np.float32]) -> NDArray[np.int64]:
        values = images[:, 0, 0, 0]
        answers = np.where(values >= 200, 1, np.where(values >= 100, 2, values))
        return answers[None].astype(np.int64)

    labels = np.arange(400) % 4
    images = labels.astype(np.float32).reshape(-1, 1, 1, 1)
    code = SubsetCode(np.ones((1, 2), dtype=bool))
    shown = TriggersInTurn((Mark(100), Mark(200)))
    for targets, success in (([2, 1], 1.0), ([1, 2], 0.0)):
        evaluator = EnsembleEvaluator(
            code, obeying, images, labels, 4, trigger=shown, target=targets, decoder="majority"
        )
        assert evaluator.evaluate({}).metrics["attack-success-rate"] == success


def test_plans_choose_a_trigger_for_every_model_and_the_joint_decoder_holds() -> None:
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    confusion = np.tile(90 * np.eye(10, dtype=int) + 1, (15, 1, 1))

    def plan(name: str, trials: int) -> Any:
        decoder = make_decoder(name, code, confusion)
        draw = np.random.default_rng(0)
        return plan_selective_poisoning(decoder, [6, 7], draw, max_trials=trials, num_triggers=2)

    beaten = plan("posterior", 400)
    assert beaten.success > 0.8
    assert set(beaten.triggers) == {0, 1}
    settings = AttackSettings(12, "model-triggers", (6, 7), {"attack-models": beaten.setting})
    told = [settings.backdoor_of(model) for model in beaten.models]
    assert told == list(beaten.triggers)
    assert plan("joint", 40).success < 0.15


@pytest.mark.parametrize("number", [0, 10])
def test_numbers_of_triggers_nobody_plans_are_refused(number: int) -> None:
    code = backdoor_correction_code(1, 2, 3)
    decoder = make_decoder("majority", code, np.tile(np.eye(3, dtype=int), (3, 1, 1)))
    with pytest.raises(ParameterError, match="num_triggers"):
        plan_selective_poisoning(decoder, [0], np.random.default_rng(0), num_triggers=number)
