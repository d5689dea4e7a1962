"""The main scenario: in this process on every path, and once through a real `flwr run`."""

from __future__ import annotations

import csv
import json
import logging
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from typer.testing import CliRunner

from flower_coded.cli import app as command
from flower_coded.errors import ParameterError
from flower_coded.learning import load_images
from flower_coded.learning.ensemble import CodedEnsemble
from flower_coded.testing import InProcessGrid

SCENARIO = Path(__file__).parents[2] / "scenarios" / "coded_backdoor"
SHORT = {"num-server-rounds": 1, "local-epochs": 1, "samples-per-user": 20}
SMALL = {"num-clients": 4, "tolerated-attackers": 1, "row-weight": 2, "attackers": "1", "baseline": "none"}


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
    run_in_process(tmp_path, **SMALL | {"baseline": "fedavg"})
    methods = [row["method"] for row in rows_of(tmp_path / "summary.csv")]
    assert methods == ["FedAvg", "BCC(1,2,4), majority vote", "BCC(1,2,4), decoder"]
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        "accuracy",
        "triggered",
        "code",
        "suspicion",
        "detection",
    }
    assert (tmp_path / "report.html").read_text().count("<img") == 5
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


@pytest.mark.parametrize("attack", ["none", "label-flip", "sign-flip"])
def test_attacks_without_a_trigger_get_a_report_too(tmp_path: Path, attack: str) -> None:
    run_in_process(tmp_path, **SMALL | {"attack": attack})
    assert "attack success" in (tmp_path / "summary.csv").read_text()
    assert (tmp_path / "report.html").is_file()


def test_majority_vote_can_be_the_only_readout(tmp_path: Path) -> None:
    run_in_process(
        tmp_path, decoder="majority", baseline="none", code="partition", **{"num-models": 3, "num-clients": 6}
    )
    assert [row["method"] for row in rows_of(tmp_path / "summary.csv")] == ["partition 3x6, majority vote"]


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


def test_a_comparison_goes_on_where_it_stopped(tmp_path: Path) -> None:
    from coded_backdoor.comparison import Training, run_training
    from coded_backdoor.comparison_report import write_comparison

    from flower_coded.reporting import RunDirectory

    config = config_with(**SHORT)
    trainings = [
        Training(method, attackers, 1) for method in ("FedAvg", "6 groups of 2") for attackers in (0, 2)
    ]
    run = RunDirectory.create(tmp_path, "comparison", name="run")
    run.write_metrics([record for training in trainings for record in run_training(training, config)])
    table = write_comparison(run, config, tracking=False)
    assert [line.split("  ")[0] for line in table.strip().split("\n")[1:4]] == [
        "FedAvg",
        "6 groups of 2",
        "6 groups of 2",
    ]
    assert {row["readout"] for row in rows_of(run.path / "metrics.csv")} == {
        "one model",
        "majority",
        "decoder",
    }
    assert "Figure 6" in run.report_path.read_text()


def test_tracking_reports_true_and_false_positives(tmp_path: Path) -> None:
    from coded_backdoor.comparison import Training, run_training
    from coded_backdoor.comparison_report import write_comparison

    from flower_coded.reporting import RunDirectory

    config = config_with(**SHORT | {"num-clients": 16})
    run = RunDirectory.create(tmp_path, "tracking", name="run")
    run.write_metrics(run_training(Training("BTC(2,4,16)", 2, 1), config))
    write_comparison(run, config, tracking=True)
    (row,) = rows_of(run.path / "summary.csv")
    assert 0 <= float(row["true positives"]) <= 2
    assert row["paper (MNIST) true"] == "1.99"


@pytest.mark.slow
def test_flwr_run_ends_to_end_with_the_table_of_a_run_in_this_process(tmp_path: Path) -> None:
    assignments = [f"{key}={value}" for key, value in (SHORT | SMALL).items()]
    result = CliRunner().invoke(
        command, ["run", str(SCENARIO), *assignments, "--results", str(tmp_path), "--name", "real"]
    )
    assert result.exit_code == 0, result.output[-3000:]
    run_in_process(tmp_path / "here", **SMALL)
    real = json.loads((tmp_path / "coded_backdoor" / "real" / "metrics.json").read_text())
    here = json.loads((tmp_path / "here" / "metrics.json").read_text())
    assert [record["method"] for record in real] == [record["method"] for record in here]
    for one, other in zip(real, here, strict=True):
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.02)
