"""Every attack against every defense runs to its end: a tiny round each, whole trainings as experiment."""

from __future__ import annotations

import gc
import itertools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from flower_coded.aggregation import PRE_AGGREGATIONS, FedAvgM
from flower_coded.attacks import ATTACKS, IneffectiveAttackWarning
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.strategies import EnsembleEvaluator
from flower_coded.sweep.defenses import CODED_DEFENSES, DEFENSE_NAMES, RAMP_DEFENSE, make_strategy
from flower_coded.sweep.execution import execute
from flower_coded.sweep.metered import MeteredGrid
from flower_coded.sweep.plan import SweepRun

TINY = {"samples-per-user": 8, "local-epochs": 1, "batch-size": 8}
CODED_SETTINGS = {"coded-partition": {"num-groups": 4}, "coded-tracking": {"row-weight": 3}}
QUICK_DEFENSES = [name for name in DEFENSE_NAMES if "+" not in name and name != RAMP_DEFENSE]
# Every attack meets a rule and a coded ensemble, every defense an attack of each kind; all pairs: experiment.
ONE_OF_EACH_KIND = {"multi-krum", "coded-correction"}
ONE_ATTACK_OF_EACH_KIND = ("none", "mimic", "huge")
BACKDOORS = {
    "pixel-trigger",
    "blended-trigger",
    "distributed-trigger",
    "selective-trigger",
    "model-triggers",
    "independent-groups",
    "model-replacement",
    "neurotoxin",
    "3dfed",
    "a3fl",
    "alternating-minimization",
    "chameleon",
}


@pytest.fixture(autouse=True, scope="module")
def cheap_garbage() -> Iterator[None]:
    """As the sweep's workers do: some of Flower's strategies collect garbage after every array."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def tiny_run(attack: str, defense: str, **changes: object) -> SweepRun:
    return SweepRun(
        **{
            "attack": attack,
            "defense": defense,
            "alpha": "iid",
            "attackers": int(attack != "none"),
            "seed": 1,
            "num_users": 10 if "bucketing" in defense else 8,  # Krum needs five buckets of two
            "num_rounds": 1,
            "tolerated_attackers": 1,
            "training": TINY,
            "defense_settings": CODED_SETTINGS.get(defense, {}),
            **changes,
        }
    )


@pytest.mark.parametrize("defense", QUICK_DEFENSES)
def test_every_attack_runs_to_its_end(defense: str) -> None:
    for attack in ATTACKS if defense in ONE_OF_EACH_KIND else ONE_ATTACK_OF_EACH_KIND:
        with warnings.catch_warnings():
            # One attacker of eight is too few for some.
            warnings.simplefilter("ignore", IneffectiveAttackWarning)
            found = execute(tiny_run(attack, defense))
        assert 0 <= found["accuracy"] <= 1, attack
        assert ("attack-success" in found) == (attack in BACKDOORS), attack
        assert ("certified-accuracy" in found) == (defense in CODED_DEFENSES)
        assert found["megabytes-per-round"] > 0.1
        assert all(math.isfinite(v) for v in found.values() if isinstance(v, float)), attack


@pytest.mark.parametrize("rule", ["mean", "median", "krum"])
@pytest.mark.parametrize("step", PRE_AGGREGATIONS)
def test_rules_behind_steps_run_to_their_end(step: str, rule: str) -> None:
    found = execute(tiny_run("sign-flip", f"{step}+{rule}"))
    assert 0 <= found["accuracy"] <= 1
    assert found["refused-rounds"] == 0


@pytest.mark.parametrize("defense", ["median", RAMP_DEFENSE])
def test_a_server_optimizer_is_a_setting_of_a_defense(defense: str) -> None:
    settings = {"server-optimizer": "fedavgm", "server-learning-rate": 0.5}
    strategy = make_strategy(defense, 12, 2, settings)
    assert strategy.steps.optimizer == FedAvgM(learning_rate=0.5)
    with pytest.raises(ParameterError, match="server_optimizer must be none or one of"):
        make_strategy(defense, 12, 2, {"server-optimizer": "adam"})


def test_a_run_without_attack_that_changes_nothing_is_a_failure() -> None:
    with pytest.raises(DecodingError, match="krum refused every round of a run without attack"):
        execute(tiny_run("none", "krum", num_users=4))


@pytest.mark.parametrize("attack", ["nan", "wrong-shape", "silence", "exception", "no-reply"])
@pytest.mark.parametrize("defense", ["fedavg", "median", "coded-partition"])
def test_senders_of_malformed_replies_are_named_by_every_defense(attack: str, defense: str) -> None:
    found = execute(tiny_run(attack, defense))
    if (attack, defense) == ("no-metrics", "median"):  # a rule asks for no count: there is nothing to name
        assert found["detection-recall"] == 0
    else:
        assert (found["detection-precision"], found["detection-recall"], found["detection-f1"]) == (1, 1, 1)


def test_equal_runs_give_equal_results() -> None:
    timed = {"seconds", "client-seconds-per-round", "server-seconds-per-round"}
    first, second = (execute(tiny_run("mimic", "krum", num_rounds=2)) for _ in range(2))
    assert {k: v for k, v in first.items() if k not in timed} == {
        k: v for k, v in second.items() if k not in timed
    }


@pytest.mark.parametrize("attack", ["little-is-enough", "model-replacement", "edge-case"])
def test_knowing_all_updates_gives_the_same_whether_trainings_are_recalled_or_done_again(
    attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"attack-knowledge": "all", "poison-rate": 0.5}
    if attack == "little-is-enough":
        settings["attack-scale"] = 1.5  # its own would be 0 with two attackers of eight: no attack
    run = tiny_run(attack, "fedavg", attack_settings=settings, attackers=2, num_rounds=2)
    recalled_or_not = updates_of(run, monkeypatch)
    monkeypatch.setattr("flower_coded.clients.cohort._key", lambda training, job, origin: object())
    without = updates_of(run, monkeypatch)
    assert len(recalled_or_not) == 2 * 8
    for recalled, trained in zip(recalled_or_not, without, strict=True):
        np.testing.assert_array_equal(recalled, trained)


def updates_of(run: SweepRun, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What every user sends in every round, in the order of users."""
    sent: list[np.ndarray] = []
    deliver = MeteredGrid.send_and_receive

    def listen(grid: MeteredGrid, messages: Any, **options: Any) -> list[Message]:
        replies = deliver(grid, messages, **options)
        if all(reply.metadata.message_type == "train" for reply in replies):
            replies = sorted(replies, key=lambda reply: grid.node_ids.index(reply.metadata.src_node_id))
            for reply in replies:
                [record] = reply.content.array_records.values()
                sent.append(np.concatenate([array.numpy().ravel() for array in record.values()]))
        return replies

    with monkeypatch.context() as patch:
        patch.setattr(MeteredGrid, "send_and_receive", listen)
        execute(run)
    return sent


def test_krum_names_an_attacker_that_turns_its_update_around() -> None:
    run = tiny_run("sign-flip", "multi-krum", attack_settings={"attack-scale": 50.0}, num_rounds=2)
    found = execute(run)
    assert found["detection-recall"] == 1.0
    assert found["false-negatives"] == 0


@pytest.mark.parametrize(("named", "counts"), [("named-users", (1, 3, 0)), ("suspected-users", (0, 0, 1))])
def test_whom_the_decoder_of_a_coded_ensemble_accuses_counts_as_named_and_a_guess_does_not(
    monkeypatch: pytest.MonkeyPatch, named: str, counts: tuple[int, int, int]
) -> None:
    # All eight: the two users of a group cannot be told apart, and are one accusation.
    monkeypatch.setattr(EnsembleEvaluator, "_suspects", lambda self, decoded: {named: [*range(8)]})
    record = execute(tiny_run("pixel-trigger", "coded-partition"))
    assert (record["true-positives"], record["false-positives"], record["false-negatives"]) == counts


@pytest.mark.slow
def test_secret_shared_krum_takes_part() -> None:
    found = execute(tiny_run("sign-flip", RAMP_DEFENSE))
    assert 0 <= found["accuracy"] <= 1
    assert found["refused-rounds"] == 0


@pytest.mark.experiment
@pytest.mark.parametrize("defense", DEFENSE_NAMES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_against_every_defense_in_a_tiny_round(attack: str, defense: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IneffectiveAttackWarning)
        assert math.isfinite(execute(tiny_run(attack, defense))["accuracy"])


@pytest.mark.experiment
@pytest.mark.parametrize(("defense", "attack"), [*itertools.product(DEFENSE_NAMES, ATTACKS)], ids="/".join)
def test_every_attack_against_every_defense_in_whole_trainings(defense: str, attack: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IneffectiveAttackWarning)
        settings = {} if defense != "coded-tracking" else {"row-weight": 4}
        run = SweepRun(attack, defense, "iid", 2 * (attack != "none"), 1, defense_settings=settings)
        found = execute(run)
    assert math.isfinite(found["accuracy"])
    if attack == "none":
        assert found["accuracy"] > 0.75
