"""The comparisons of coded-backdoor: they go on where they stopped and show what was asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from coded_backdoor_scenario import SCENARIO, SHORT, config_with, rows_of

from flower_coded.reporting import RunDirectory, new_figure

pytestmark = pytest.mark.usefixtures("coded_backdoor_on_the_path")


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
