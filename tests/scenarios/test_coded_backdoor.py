"""The main scenario: in this process on every path, and once through a real `flwr run`."""

from __future__ import annotations

import csv
import importlib.util
import json
import logging
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer
from flwr.app import Context, RecordDict
from typer.testing import CliRunner

from flower_coded.cli import app as command
from flower_coded.errors import ParameterError
from flower_coded.experiment import Experiment
from flower_coded.learning import load_images
from flower_coded.learning.ensemble import CodedEnsemble
from flower_coded.reporting import RunDirectory, new_figure
from flower_coded.testing import InProcessGrid

SCENARIO = Path(__file__).parents[2] / "scenarios" / "coded-backdoor"
SHORT = {"num-server-rounds": 1, "local-epochs": 1, "samples-per-user": 20}
SMALL = {
    "num-clients": 4,
    "tolerated-attackers": 1,
    "row-weight": 2,
    "attackers": "1",
    "baseline": "none",
    "under-attack": False,
}


@pytest.fixture(autouse=True)
def scenario_on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(SCENARIO))
    logging.getLogger("flwr").setLevel(logging.ERROR)
    yield
    logging.getLogger("flwr").setLevel(logging.INFO)
    for name in [name for name in sys.modules if name.split(".")[0] == "coded_backdoor"]:
        del sys.modules[name]


def config_with(**changes: Any) -> dict[str, Any]:
    defaults = tomllib.loads((SCENARIO / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert set(changes) <= set(defaults)
    return {**defaults, **changes}


def run_in_process(out: Path, **changes: Any) -> None:
    from coded_backdoor.client_app import app
    from coded_backdoor.server_app import main

    config = config_with(**SHORT | {"out": str(out)} | changes)
    grid = InProcessGrid(app, config["num-clients"], config, wire=False)
    main(grid, Context(1, 1, {}, RecordDict(), config))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_tables_pictures_the_ensemble_and_a_report(tmp_path: Path) -> None:
    run_in_process(tmp_path, **SMALL | {"baseline": "fedavg", "under-attack": True})
    methods = [row["method"] for row in rows_of(tmp_path / "summary.csv")]
    assert methods == ["FedAvg", "BCC(1,2,4), majority vote", "BCC(1,2,4), decoder"]
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        "under_attack",
        "accuracy",
        "triggered",
        "code",
        "suspicion",
        "detection",
        "reliability",
    }
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") == 7
    assert page.index("Which decoder holds?") < page.index("Accuracy by round")  # the first figure
    attacked = rows_of(tmp_path / "under_attack.csv")
    attacks = {
        "nobody",
        "plain",
        "few images",
        "one image",
        "selective",
        "framing",
        "model triggers",
        "two groups",
    }
    assert {row["attack"] for row in attacked} == attacks
    assert len(attacked) == len(attacks) * 5  # decoders
    ensemble = CodedEnsemble.load(tmp_path / "ensemble.npz")
    assert ensemble.predict(load_images("digits").test_images[:7]).shape == (7,)


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    for name in ("first", "second"):
        run_in_process(tmp_path / name, **SMALL)
    first, second = ((tmp_path / name / "metrics.csv").read_text() for name in ("first", "second"))
    assert first == second


def test_stacked_and_single_messages_train_the_same_ensemble(tmp_path: Path) -> None:
    for stacked in (True, False):
        run_in_process(tmp_path / str(stacked), **SMALL | {"stacked": stacked})
    states = [
        CodedEnsemble.load(tmp_path / name / "ensemble.npz").stacked_state for name in ("True", "False")
    ]
    for key in states[0]:
        np.testing.assert_allclose(states[0][key], states[1][key], atol=2e-4)


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        ("none", "Nobody attacks."),
        ("label-flip", "they train on images with wrong labels."),
        ("sign-flip", "they train honestly and send a crafted update."),
    ],
)
def test_attacks_without_a_trigger_get_a_report_too(tmp_path: Path, attack: str, told: str) -> None:
    run_in_process(tmp_path, **SMALL | {"attack": attack})
    assert "attack success" in (tmp_path / "summary.csv").read_text()
    page = (tmp_path / "report.html").read_text()
    assert told in page
    assert "poison 20 %" not in page


@pytest.mark.parametrize(("attack", "has_trigger"), [("model-replacement", True), ("edge-case", False)])
def test_every_attack_that_plants_a_trigger_is_tested_with_it(attack: str, has_trigger: bool) -> None:

    assert (Experiment(config_with(attack=attack)).backdoor is not None) == has_trigger


def test_majority_vote_can_be_the_only_readout(tmp_path: Path) -> None:
    run_in_process(
        tmp_path,
        decoder="majority",
        baseline="none",
        code="partition",
        **{"num-models": 3, "num-clients": 6, "under-attack": False},
    )
    assert [row["method"] for row in rows_of(tmp_path / "summary.csv")] == ["partition 3x6, majority vote"]
    assert {path.stem for path in tmp_path.glob("*.png")} == {"accuracy", "triggered", "code"}
    page = (tmp_path / "report.html").read_text()
    assert "the label that most models answer is the ensemble&#x27;s" in page
    assert "the decoder then asks" not in page


def test_what_the_decoder_believes_is_drawn_of_images_that_have_not_calibrated_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coded_backdoor import pictures

    drawn, original = [], pictures.attack_probabilities

    def watched(*probabilities: np.ndarray) -> Any:
        drawn.extend(probabilities)
        return original(*probabilities)

    monkeypatch.setattr(pictures, "attack_probabilities", watched)
    run_in_process(tmp_path, **SMALL)
    experiment = Experiment(config_with(**SHORT | SMALL))
    assert experiment.backdoor is not None
    _, labels = experiment.evaluator(experiment.code).measuring
    others = int((labels != experiment.backdoor.target).sum())
    assert [len(each) for each in drawn] == [others, others]
    assert others < len(experiment.data.test_labels) / 2


def test_suspicion__of_nobody_is_drawn_too() -> None:
    from coded_backdoor import pictures

    figure = pictures.suspicion(Experiment(config_with()).code, [0.0] * 12, [])
    assert figure.axes[0].get_ylabel() == "share of images held for attacked"


@pytest.mark.parametrize(
    "wrong",
    [
        {"decoder": "best"},
        {"baseline": "krum"},
        {"code": "perfect"},
        {"row-weight": 11},
        {"poison-rate": 0.0},
    ],
)
def test_a_bad_setting_is_refused_before_training(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        run_in_process(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def compare_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coded_backdoor.compare", SCENARIO / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_comparison_goes_on_where_it_stopped_and_only_under_its_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from coded_backdoor import comparison_report

    compare, trained = compare_script(), []

    def counted(trainings: list[Any], config: dict, *, num_processes: int, kept: Path) -> Iterator[Any]:
        from coded_backdoor.comparison import run_training

        for training in trainings:
            trained.append((training.method, training.attackers, training.seed))
            yield training, run_training(training, config, kept)

    monkeypatch.setattr(compare, "run_trainings", counted)
    drawn = comparison_report._comparison_figures
    monkeypatch.setattr(comparison_report, "_code_matrices", lambda _: new_figure(size=(1, 1)))
    blank = {"codes": (new_figure(size=(1, 1)), "Codes.")}
    monkeypatch.setattr(comparison_report, "_comparison_figures", lambda *_: blank)
    short = [f"{key}={value}" for key, value in SHORT.items()]
    directory = tmp_path / "coded_backdoor_comparison" / "digits"

    def compared(*settings: str, methods: str, attackers: str = "0,2") -> list[tuple[str, str]]:
        trained.clear()
        given = {"methods": methods, "attackers": attackers, "seeds": "1", "results": tmp_path}
        compare.main([*short, *settings], **given)
        return [(row["method"], row["readout"]) for row in rows_of(directory / "summary.csv")]

    assert compared(methods="FedAvg") == [("FedAvg", "one model")]
    assert trained == [("FedAvg", 0, 1), ("FedAvg", 2, 1)]
    groups = [("6 groups of 2", "majority"), ("6 groups of 2", "decoder")]
    assert compared(methods="FedAvg;6 groups of 2") == [("FedAvg", "one model"), *groups]
    assert trained == [("6 groups of 2", 0, 1), ("6 groups of 2", 2, 1)], "FedAvg was there"
    assert compared(methods="6 groups of 2") == groups, "only what was asked for"
    (row,) = rows_of(directory / "suspects.csv")
    assert (row["attackers"], row["paper (MNIST) true"], row["paper (MNIST) false"]) == ("2", "0.5", "1.1")
    assert trained == []
    before = (directory / "config.json").read_text()
    for settings, attackers, named in (
        ([], "0,3", "most-attackers"),
        (["poison-rate=0.5"], "0,2", "poison-rate"),
    ):
        with pytest.raises(typer.Exit):
            compared(*settings, methods="FedAvg", attackers=attackers)
        assert f"with another {named}; received 'digits' (give another name)" in capsys.readouterr().err
        assert trained == []
    assert (directory / "config.json").read_text() == before
    monkeypatch.setattr(comparison_report, "_comparison_figures", drawn)
    compared(methods="FedAvg")
    page = (directory / "report.html").read_text()
    assert "Figure 6" in page
    assert "MultiKrum is told of 2 attackers" in page


@pytest.mark.parametrize(
    ("settings", "attackers", "message"),
    [
        (["attack=label-flip"], "0,2", "attack must have a trigger to compare by"),
        (["attack=none"], "0", "attack must have a trigger to compare by"),
        (["num-clients=10"], "0,2", "num-clients must be 12"),
        (["tracking", "num-clients=12"], "0,2", "num-clients must be 16"),
        ([], "0,13", "attackers must be at most 12"),
    ],
)
def test_a_comparison_that_its_table_could_not_show_is_refused_before_training(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: list[str],
    attackers: str,
    message: str,
) -> None:
    compare = compare_script()
    monkeypatch.setattr(compare, "run_trainings", lambda *_, **__: pytest.fail("training began"))
    with pytest.raises(typer.Exit):
        compare.main(settings, attackers=attackers, results=tmp_path)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("told", [1, 3])
def test_multi_krum_is_told_the_largest_number_of_attackers_compared(told: int) -> None:
    from coded_backdoor.comparison import SINGLE_STRATEGIES, Training

    experiment = Training("MultiKrum", 0, 1).experiment(config_with() | {"most-attackers": told})
    strategy = SINGLE_STRATEGIES["MultiKrum"](experiment)
    assert (strategy.num_malicious_nodes, strategy.num_nodes_to_select) == (told, 12 - told)


def decoder_records() -> list[dict[str, Any]]:
    """Two seeds under one decoder: at seed 2 the attack pays, and the run names an innocent user."""
    common = {"attackers": 2, "decoder": "joint", "majority's accuracy": 0.9, "innocents named": 0.0}
    quiet = {"attack": "nobody", "accuracy under attack": 0.8, "attack success": 0.0, "named": ""}
    config, records = config_with(), []
    from coded_backdoor.decoder_comparison import Versions

    for seed, (accuracy, right, success) in {1: (0.9, 0.8, 0.0), 2: (0.88, 0.5, 0.3)}.items():
        experiment = Versions(2, seed).experiment(config)
        attackers, columns = experiment.attackers, experiment.code.matrix.T.tolist()
        guilty = [columns[user] for user in attackers]  # with those who share their models
        innocent = next(user for user, column in enumerate(columns) if column not in guilty)
        named = " ".join(map(str, attackers if seed == 1 else [innocent]))
        own = common | {"seed": seed, "accuracy": accuracy}
        records += [
            own | quiet,
            own
            | {
                "attack": "selective",
                "accuracy under attack": right,
                "accuracy without attack": 0.8,
                "attack success": success,
                "named": named,
            },
        ]
    return records


def test_what_is_kept_of_a_decoder_is_the_worst_over_seeds() -> None:
    from coded_backdoor.decoder_comparison import summary

    (row,) = summary(decoder_records(), config_with())
    assert (row["decoder"], row["attackers"], row["attack"], row["runs"]) == ("joint", 2, "selective", 2)
    assert row["clean"] == pytest.approx(0.02)
    assert row["clean, mean"] == pytest.approx(0.01)
    assert row["lost"] == pytest.approx(0.3)
    assert row["success"] == 0.3
    assert (row["naming runs"], row["framed runs"]) == (1, 1)


def test_the_comparison_of_decoders_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare, measured = compare_script(), []

    def counted(
        tasks: list[Any], config: dict, *, decoders: Sequence[str], num_processes: int
    ) -> Iterator[Any]:
        for task in tasks:
            measured.append((task.seed, *decoders))
            own = [record for record in decoder_records() if record["seed"] == task.seed]
            yield task, [record | {"decoder": decoder} for decoder in decoders for record in own]

    def compared(seeds: str, methods: str) -> list[tuple[str, str, float]]:
        compare.main(["decoders"], attackers="0,2", seeds=seeds, methods=methods, results=tmp_path)
        rows = rows_of(tmp_path / "coded_backdoor_decoders" / "digits" / "summary.csv")
        return [(row["decoder"], row["runs"], float(row["success"])) for row in rows]

    monkeypatch.setattr(compare, "run_versions", counted)
    monkeypatch.setattr(compare, "attacks_of", lambda experiment: ["nobody", "selective"])
    compared("1", "joint; joint")  # once
    assert compared("1,2", "joint") == [("joint", "2", 0.3)]
    assert measured == [(1, "joint"), (2, "joint")], "0 attackers is in every run; seed 1 was there"
    assert compared("1", "covering") == [("covering", "1", 0.0)], "the table holds what was asked for"
    assert compared("1,2", "joint") == [("joint", "2", 0.3)]
    assert measured[2:] == [(1, "covering")], "what another decoder left is kept"
    both = [("joint", "2", 0.3), ("covering", "2", 0.3)]
    assert compared("1,2", "joint; covering") == both
    assert measured[3:] == [(2, "joint", "covering")]
    assert compared("1,2", "joint; covering") == both, "and no record is there twice"
    monkeypatch.setattr(compare, "attacks_of", lambda experiment: ["nobody", "selective", "a new one"])
    compared("1", "joint")
    assert measured[4:] == [(1, "joint")], "records without an attack that is asked for do not suffice"
    monkeypatch.setattr(compare, "code_digest", lambda: "another version")
    with pytest.raises(typer.Exit):
        compared("1", "joint")


@pytest.mark.parametrize(
    ("settings", "methods", "told"),
    [
        (["decoders", "tracking"], "", "decoders must stand without tracking and in-turn"),
        (["decoders"], "FedAvg", "methods must be among joint; covering;"),
    ],
)
def test_a_comparison_of_decoders_is_not_one_of_methods(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: list[str], methods: str, told: str
) -> None:
    with pytest.raises(typer.Exit):
        compare_script().main(settings, methods=methods, results=tmp_path)
    assert told in capsys.readouterr().err


def test_tracking_reports_attackers_and_innocents_suspected(tmp_path: Path) -> None:
    from coded_backdoor.comparison import Training, run_training
    from coded_backdoor.comparison_report import write_comparison

    config, training = config_with(**SHORT | {"num-clients": 16}), Training("BTC(2,4,16)", 2, 1)
    run = RunDirectory.create(tmp_path, "tracking", name="run")
    run.write_config(config)
    run.write_metrics(run_training(training, config, tmp_path))
    write_comparison(run, [training], tracking=True)
    (row,) = rows_of(run.path / "summary.csv")
    assert 0 <= float(row["attackers suspected"]) <= 2
    assert 0 <= float(row["of the run"]) <= 2
    assert row["paper (MNIST) true"] == "1.99"


def test_after_a_name_one_model_is_trained_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coded_backdoor import server_app

    def as_if_named(experiment: Experiment, strategy: Any, grid: Any) -> list[dict]:
        last = strategy.history[-1]
        strategy.history[-1] = replace(last, reported={**last.reported, "named-users": [1]})
        return retrained(experiment, strategy, grid)

    retrained = server_app.retrained
    monkeypatch.setattr(server_app, "retrained", as_if_named)
    run_in_process(tmp_path, **SMALL | {"after-naming": "retrain", "retrain-rounds": 1})
    (row,) = rows_of(tmp_path / "after_naming.csv")
    assert "1" in row["left out"].split()
    assert row["backdoor"] in {"gone", "remains", "cannot tell"}
    assert "After the names" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "wrong", [{"after-naming": "punish"}, {"retrain-rounds": 0}, {"max-honest-lost": -1}]
)
def test_a_second_act_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    from coded_backdoor.experiment import prepare

    with pytest.raises(ParameterError, match=next(iter(wrong))):
        prepare(config_with(**wrong))


@pytest.mark.slow
def test_flwr_run_ends_to_end_with_the_table_of_a_run_in_this_process(tmp_path: Path) -> None:
    settings = (SHORT | SMALL).items()
    assignments = [f"{key}={str(value).lower()}" for key, value in settings]
    result = CliRunner().invoke(
        command, ["run", str(SCENARIO), *assignments, "--results", str(tmp_path), "--name", "real"]
    )
    assert result.exit_code == 0, result.output[-3000:]
    run_in_process(tmp_path / "here", **SMALL)
    real = json.loads((tmp_path / "coded-backdoor" / "real" / "metrics.json").read_text())
    here = json.loads((tmp_path / "here" / "metrics.json").read_text())
    assert [record["method"] for record in real] == [record["method"] for record in here]
    for one, other in zip(real, here, strict=True):
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.02)
