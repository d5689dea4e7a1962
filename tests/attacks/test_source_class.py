"""Backdoors in images of one class only: who is poisoned, and how success is measured."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks.data import Backdoor, draw_backdoor
from flower_coded.attacks.triggers import PixelTrigger
from flower_coded.clients import AttackSettings
from flower_coded.errors import ParameterError
from flower_coded.experiment import Experiment
from flower_coded.sweep.execution import execute
from flower_coded.sweep.plan import SweepRun

LABELS = np.tile(np.arange(10), 8)
IMAGES = np.zeros((80, 1, 8, 8), np.float32)


def attack(**options: object) -> Backdoor:
    return draw_backdoor(PixelTrigger, (1, 8, 8), 10, seed=3, rate=0.5, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [False, True])
def test_only_the_source_class_is_poisoned(batch: bool) -> None:
    backdoor = attack(source=4, target=9)
    craft = backdoor.craft_batch if batch else backdoor.craft
    crafted = craft(IMAGES, LABELS, np.random.default_rng(0))
    assert (LABELS[crafted.indices] == 4).all()
    assert (crafted.labels[crafted.indices] == 9).all()
    untouched = np.setdiff1d(np.arange(80), crafted.indices)
    np.testing.assert_array_equal(crafted.labels[untouched], LABELS[untouched])
    assert not crafted.images[untouched].any()
    assert len(crafted.indices) == 4 if not batch else 0 < len(crafted.indices) <= 8


def test_a_user_without_images_of_that_class_poisons_nothing() -> None:
    kept = LABELS != 4
    crafted = attack(source=4, target=9).craft(IMAGES[kept], LABELS[kept], np.random.default_rng(0))
    assert crafted.indices.size == 0
    np.testing.assert_array_equal(crafted.labels, LABELS[kept])


@pytest.mark.parametrize("source", range(10))
def test_a_drawn_target_is_another_class(source: int) -> None:
    assert attack(source=source).target != source


@pytest.mark.parametrize(("source", "target"), [(4, 4), (10, 1)])
def test_a_source_that_cannot_be_is_refused(source: int, target: int) -> None:
    with pytest.raises(ParameterError, match=r"^source must"):
        attack(source=source, target=target)


def test_the_evaluator_is_told_the_source() -> None:
    config = {"num-clients": 12, "attack": "pixel-trigger", "attackers": 1, "attack-source": 4}
    experiment = Experiment(config)
    assert experiment.backdoor is not None
    assert experiment.evaluator().source == experiment.backdoor.source == 4


def test_goals_are_planned_by_a_sweep_and_by_nobody_else() -> None:
    settings = AttackSettings(12, "selective-trigger", (1,), {"attack-models": "label"})
    with pytest.raises(ParameterError, match=r"^attack-models must list models here"):
        settings.backdoor_of(0)


def test_selective_models_are_the_same_for_the_same_seed_and_the_attackers_own() -> None:
    config = {
        "num-clients": 12,
        "tolerated-attackers": 4,
        "row-weight": 4,
        "attack": "selective-trigger",
        "attackers": "1,2",
        "decoder": "posterior",
    }
    experiment = Experiment(config)
    models = experiment.selective_plan("label").models
    assert models == Experiment(config).selective_plan("label").models
    assert 0 < len(models) < 9
    assert experiment.code.reach([1, 2])[list(models)].all()


def test_a_sweep_plans_the_models_of_a_coded_ensemble() -> None:
    run = SweepRun(
        "selective-trigger",
        "coded-partition",
        "iid",
        1,
        1,
        num_users=8,
        num_rounds=1,
        tolerated_attackers=1,
        attack_settings={"attack-models": "label", "poison-rate": 0.5},
        defense_settings={"num-groups": 4, "decoder": "covering"},
    )
    run.check()
    assert 0 <= execute(run)["attack-success"] <= 1
