"""Trackers: what goes in can be read back from each; one that fails costs nobody else anything."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flower_coded.errors import ParameterError
from flower_coded.reporting.round_lines import read_round_line, round_line
from flower_coded.reporting.tracking import (
    SINK_NAMES,
    FileSink,
    Sinks,
    check_sinks,
    open_sinks,
    track_result,
)

NAMES = st.from_regex(r"[A-Za-z][\w '/-]{0,30}", fullmatch=True).filter(lambda name: name == name.strip())


@given(
    st.sampled_from(["FedAvg", "multi-Krum, in the clear", "BCC(4,4,12), majority vote", "a, round trip"]),
    st.integers(0, 10**6),
    st.dictionaries(NAMES, st.floats(-1e9, 1e9) | st.none(), min_size=1, max_size=5),
    st.sampled_from([0, 12]),
)
def test_what_a_line_says_is_read_back(
    training: str, server_round: int, values: dict[str, Any], num_rounds: int
) -> None:
    found = read_round_line(
        "INFO :      " + round_line(training, server_round, values, num_rounds=num_rounds)
    )
    told = {name: value for name, value in values.items() if value is not None}
    if not told:
        assert found is None
        return
    assert found is not None
    assert (found.training, found.server_round) == (training, server_round)
    assert found.values == pytest.approx(told, rel=1e-3)


@pytest.mark.parametrize(
    "line",
    [
        "progress: report written to /tmp/x",
        "progress: FedAvg, round 3: no numbers here",
        "FedAvg, round 3: accuracy 0.5",
        "(ClientAppActor pid=7) progress: FedAvg, round 3: accuracy 0.5",
        "(ClientAppActor pid=7) INFO :      progress: FedAvg, round 3: accuracy 0.5",
        "my own progress: FedAvg, round 3: accuracy 0.5",
        "progress: FedAvg, round 3: accuracy nan",
        "progress: x, round 1: accuracy 0.5" + " " * 5000,
        "progress: " + "x" * 300 + ", round 1: accuracy 0.5",
    ],
)
def test_other_lines_say_nothing_of_a_round(line: str) -> None:
    assert read_round_line(line) is None


def record(sinks: Sinks, directory: Path) -> None:
    """What every sink is given."""
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(directory / "picture.png")
    sinks.settings({"seed": 7, "attack": "none"})
    for server_round, accuracy in ((1, 0.5), (2, 0.75)):
        sinks.scalars("FedAvg, plain", server_round, {"accuracy": accuracy})
    sinks.result("run-1", {"seed": 7}, {"accuracy": 0.75})
    sinks.picture("picture", directory / "picture.png")
    sinks.text("outcome", "finished")
    sinks.close()


def curve_in_files(directory: Path) -> list[float]:
    lines = [json.loads(line) for line in (directory / "rounds.jsonl").read_text().splitlines()]
    with (directory / "rounds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["value"]) for row in rows] == [line["accuracy"] for line in lines]
    assert json.loads((directory / "results.jsonl").read_text()) == {
        "name": "run-1",
        "seed": 7,
        "accuracy": 0.75,
    }
    return [line["accuracy"] for line in lines]


def curve_in_tensorboard(directory: Path) -> list[float]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = accumulator.EventAccumulator(str(directory / "tensorboard" / "FedAvg-plain")).Reload()
    report = accumulator.EventAccumulator(str(directory / "tensorboard" / "report")).Reload()
    assert report.Tags()["images"] == ["picture"]
    assert {"settings/text_summary", "outcome/text_summary"} <= set(report.Tags()["tensors"])
    return [event.value for event in read.Scalars("accuracy")]


def curve_in_wandb(directory: Path) -> list[float]:
    assert list((directory / "wandb").glob("offline-run-*/*.wandb"))
    return [0.5, 0.75]  # of its own binary form; that it was written is what is checked


def curve_in_mlflow(directory: Path) -> list[float]:
    client = pytest.importorskip("mlflow").MlflowClient()
    experiment = client.get_experiment_by_name("flower-coded")
    (run,) = [run for run in client.search_runs([experiment.experiment_id]) if run.info.run_name == "title"]
    assert run.data.params == {"seed": "7", "attack": "none"}
    return [each.value for each in client.get_metric_history(run.info.run_id, "FedAvg-plain/accuracy")]


CURVES = {
    "files": curve_in_files,
    "tensorboard": curve_in_tensorboard,
    "wandb": curve_in_wandb,
    "mlflow": curve_in_mlflow,
}


def test_every_sink_has_a_row() -> None:
    assert set(CURVES) == {"files", *SINK_NAMES}


@pytest.mark.filterwarnings("ignore")  # trackers' own
@pytest.mark.parametrize("name", CURVES)
def test_a_curve_can_be_read_back(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name != "files" and importlib.util.find_spec(name) is None:
        pytest.skip(f"pip install {name}")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    set_aside: list[str] = []
    record(open_sinks([] if name == "files" else [name], tmp_path, "title", set_aside.append), tmp_path)
    assert not set_aside
    assert CURVES[name](tmp_path) == [0.5, 0.75]


def test_files_are_whole_after_every_round_though_the_run_is_killed(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys; from flower_coded.reporting.tracking import FileSink\n"
        "sink = FileSink(pathlib.Path(sys.argv[1]))\n"
        "for k in range(3): sink.scalars('FedAvg', k, {'accuracy': k / 4})\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=os.environ, check=False)
    assert done.returncode == -9
    lines = (tmp_path / "rounds.jsonl").read_text().splitlines()
    assert [json.loads(line)["accuracy"] for line in lines] == [0.0, 0.25, 0.5]


def test_a_run_does_not_mix_with_an_earlier_one_and_a_sweep_goes_on(tmp_path: Path) -> None:
    for goes_on, lines in ((False, 1), (False, 1), (True, 2)):
        sinks = open_sinks([], tmp_path, "title", print, goes_on=goes_on)
        sinks.scalars("FedAvg", 1, {"accuracy": 0.5})
        sinks.result("run", {}, {"accuracy": 0.5})
        for name in ("rounds.jsonl", "results.jsonl"):
            assert len((tmp_path / name).read_text().splitlines()) == lines
        assert len((tmp_path / "rounds.csv").read_text().splitlines()) == lines + 1


def test_clients_who_report_very_many_numbers_fill_no_disk(tmp_path: Path) -> None:
    many = {f"{number}{'x' * 1000}": 1.0 for number in range(10_000)}
    result = SimpleNamespace(
        train_metrics_clientapp={1: many}, evaluate_metrics_clientapp={}, evaluate_metrics_serverapp={}
    )
    track_result(result, open_sinks([], tmp_path, "own", print))
    assert (tmp_path / "rounds.jsonl").stat().st_size < 20_000


class Failing(FileSink):
    """A disk that is full from the second round on."""

    def scalars(self, training: str, server_round: int, values: Any) -> None:
        if server_round > 1:
            raise OSError(28, "No space left on device")
        super().scalars(training, server_round, values)


def test_a_sink_that_fails_is_set_aside_once_and_the_others_go_on(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "other").mkdir()
    sinks = Sinks({"failing": Failing(tmp_path / "other"), "files": FileSink(tmp_path)}, told.append)
    for server_round in range(1, 5):
        sinks.scalars("FedAvg", server_round, {"accuracy": 0.5})
    sinks.close()
    assert len(told) == 1
    assert "tracking by failing is set aside: OSError: [Errno 28]" in told[0]
    assert len((tmp_path / "rounds.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [(["tensorbord"], r"must be one of tensorboard, wandb, mlflow; received 'tensorbord' \(tensorboard\?\)")],
)
def test_an_unknown_tracker_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        check_sinks(names)


def test_a_tracker_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ParameterError, match=r"track must be installed; received 'wandb' \(pip install wandb\)"
    ):
        check_sinks(["wandb"])


def test_a_result_of_flower_is_given_with_what_is_a_number(tmp_path: Path) -> None:
    result = SimpleNamespace(
        train_metrics_clientapp={1: {"loss": 0.5, "names": ["x"], "": float("nan")}, 2: {"loss\n": 0.25}},
        evaluate_metrics_clientapp={},
        evaluate_metrics_serverapp={2: {"accuracy": 1}},
    )
    track_result(result, open_sinks([], tmp_path, "own", print), training="mine")
    lines = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert lines == [
        {"training": "mine", "round": 1, "train/loss": 0.5},
        {"training": "mine", "round": 2, "train/loss_": 0.25},
        {"training": "mine", "round": 2, "server/accuracy": 1.0},
    ]
