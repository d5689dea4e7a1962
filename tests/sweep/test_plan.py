"""What a sweep file asks for, and what it may not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flower_coded.aggregation import Krum
from flower_coded.clients import ClientSettings
from flower_coded.errors import ParameterError
from flower_coded.strategies import RuleAggregation
from flower_coded.sweep.defenses import make_strategy
from flower_coded.sweep.plan import SweepRun, read_plan

AXES: dict[str, Any] = {"attacks": ["none", "sign-flip"], "defenses": ["fedavg", "median"]}


def test_the_plan_is_the_product_of_its_axes_and_clean_runs_are_run_once() -> None:
    plan = read_plan({**AXES, "alphas": ["iid", 0.5], "attackers": [1, 2], "seeds": [1, 2, 3]})
    # 2 defenses x 2 mixes x 3 seeds x (1 clean + 2 numbers of attackers)
    assert len(plan.runs) == 2 * 2 * 3 * 3
    assert len({run.key for run in plan.runs}) == len(plan.runs)
    assert {run.attackers for run in plan.runs if run.attack == "none"} == {0}
    assert {run.tolerated_attackers for run in plan.runs} == {2}, "the largest number, unless told otherwise"
    assert [run.seed for run in plan.runs] == sorted(run.seed for run in plan.runs), "seeds vary slowest"


def test_the_key_depends_on_everything_and_on_nothing_else() -> None:
    run = SweepRun("sign-flip", "median", "iid", 2, 1)
    same = SweepRun("sign-flip", "median", "iid", 2, 1, training=dict(reversed(run.training.items())))
    assert run.key == same.key
    others = [
        SweepRun("gaussian", "median", "iid", 2, 1),
        SweepRun("sign-flip", "mean", "iid", 2, 1),
        SweepRun("sign-flip", "median", "0.5", 2, 1),
        SweepRun("sign-flip", "median", "iid", 1, 1),
        SweepRun("sign-flip", "median", "iid", 2, 2),
        SweepRun("sign-flip", "median", "iid", 2, 1, num_users=13),
        SweepRun("sign-flip", "median", "iid", 2, 1, attack_settings={"attack-scale": 2.0}),
        SweepRun("sign-flip", "median", "iid", 2, 1, defense_settings={"num-threads": 2}),
    ]
    assert len({each.key for each in [run, *others]}) == 1 + len(others)


def test_settings_of_attack_and_defense_reach_their_runs_only() -> None:
    plan = read_plan(
        {
            "attacks": ["sign-flip", "pixel-trigger"],
            "defenses": ["median", "coded-correction"],
            "attack": {"pixel-trigger": {"poison-rate": 0.3}},
            "defense": {"coded-correction": {"row-weight": 6}},
        }
    )
    for run in plan.runs:
        assert ("poison-rate" in run.run_config()) == (run.attack == "pixel-trigger")
        assert ("row-weight" in run.configuration()) == (run.defense == "coded-correction")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attcks": ["none"]}, "did you mean 'attacks'"),
        ({"attacks": ["sign-flop"]}, "did you mean 'sign-flip'"),
        ({"defenses": ["flower-medain"]}, "did you mean 'flower-median'"),
        ({"training": {"local-epoch": 1}}, "did you mean 'local-epochs'"),
        ({"training": {"seed": 1}}, "training must be among"),
        ({"training": {"optimizer": "sdg"}}, "did you mean 'sgd'"),
        ({"attack": {"sign-flop": {}}}, "did you mean 'sign-flip'"),
        ({"attack": {"sign-flip": {"attack-sclae": 1.0}}}, "did you mean 'attack-scale'"),
        ({"attack": {"sign-flip": {"attack-scale": "big"}}}, "attack-scale must be a number"),
        ({"attack": {"sign-flip": {"scale": 4.0}}}, r"attack.sign-flip must .* \(did you mean 'attack-s"),
        ({"attack": {"sign-flip": {"poison-rat": 0.3}}}, "did you mean 'poison-rate'"),
        ({"attack": {"sign-flip": {"local-epochs": 9}}}, "attack.sign-flip must be among"),
        ({"training": {"dataset": "digit"}}, "digits"),
        ({"training": {"model": "smal-cnn"}}, "small-cnn"),
        ({"num-users": 13}, "samples_per_user must lie between 1 and 92"),
        ({"alphas": ["idd"]}, "alpha"),
        ({"training": {"partition": "natural"}}, "the data set does not say whose a sample is"),
        ({"training": {"partition": "dirichlet"}}, "alpha must be a number for partition=dirichlet"),
        ({"training": {"division": "shards"}}, "training must be among"),
        ({"defenses": ["bucketing+krum"]}, r"num_byzantine must satisfy n >= 2 f \+ 3 with n = 6"),
        ({"defenses": ["trimmed-mean"], "attackers": [6]}, r"num_byzantine"),
        ({"time-limit": "long"}, "time-limit must be a positive number"),
        ({"time-limit": -1}, "time-limit must be a positive number"),
        ({"defense": {"median": {"radius": 1.0}}}, "must be among"),
        ({"defense": {"fedavg": {"x": 1}}}, "defense.fedavg must be among nothing"),
        ({"defenses": ["coded-partition"], "defense": {"coded-partition": {"group": 1}}}, "num-groups"),
        ({"defenses": ["flower-bulyan"], "num-users": 8}, r"4 f \+ 3 = 11"),
        ({"defense": ["median"]}, "must be a table"),
        ({"defense": {"median": {"num-threads": [1]}}}, "defense.median.num-threads must be a number"),
        ({"seeds": [1.5]}, "whole numbers"),
        ({"attacks": []}, "at least one entry"),
        ({"num-rounds": 0}, "num-rounds must be whole numbers of at least 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        read_plan({**AXES, **change})


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("attacks = [")
    with pytest.raises(ParameterError, match="must be a TOML file"):
        read_plan(tmp_path / "bad.toml")
    with pytest.raises(ParameterError, match="must be a TOML file"):
        read_plan(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "scenarios" / "robustness-report").glob("*.toml")), ids=str
)
def test_the_grids_that_are_shipped_can_be_read(path: Path) -> None:
    assert read_plan(path).runs


def test_runs_can_be_divided_in_any_way_that_clients_know() -> None:
    training = {"partition": "shards", "pieces-per-user": 3, "samples-per-user": 60}
    runs = read_plan({**AXES, "training": training}).runs
    for run in runs:
        division = ClientSettings.from_config(run.run_config()).division
        assert (division.partition, division.pieces_per_user, division.samples_per_user) == ("shards", 3, 60)


def test_a_rule_may_be_told_another_number_of_faults() -> None:
    [run] = read_plan(
        {"attacks": ["sign-flip"], "defenses": ["krum"], "defense": {"krum": {"num-byzantine": 1}}}
    ).runs
    strategy = make_strategy(run.defense, run.num_users, run.tolerated_attackers, run.defense_settings)
    assert isinstance(strategy, RuleAggregation)
    assert strategy.rule == Krum(num_byzantine=1)


def test_who_knows_the_rule_knows_the_one_of_each_defense_unless_the_file_says_otherwise() -> None:
    axes = {"attacks": ["tailored-perturbation"], "defenses": ["fedavg", "krum", "flower-median"]}
    assert [run.run_config()["attack-rule"] for run in read_plan(axes).runs] == ["mean", "krum", "median"]
    believed = {**axes, "attack": {"tailored-perturbation": {"attack-rule": "multi-krum"}}}
    runs = read_plan(believed).runs
    assert {run.run_config()["attack-rule"] for run in runs} == {"multi-krum"}
    assert "attack-rule" not in read_plan({**axes, "attacks": ["sign-flip"]}).runs[0].run_config()


def test_a_rule_that_could_not_work_with_so_many_attackers_is_refused_before_anything_is_trained() -> None:
    axes = {"attacks": ["tailored-perturbation"], "defenses": ["krum"], "attackers": [5]}
    with pytest.raises(ParameterError, match="n >= 2 f"):
        read_plan({**axes, "tolerated-attackers": 2})


def test_a_misspelled_rule_names_the_nearest() -> None:
    axes = {"attacks": ["tailored-perturbation"], "defenses": ["krum"]}
    with pytest.raises(ParameterError, match="did you mean 'multi-krum'"):
        read_plan({**axes, "attack": {"tailored-perturbation": {"attack-rule": "mutli-krum"}}})
