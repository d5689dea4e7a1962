"""``flower-coded sweep``: runs, resumes, refuses, and leaves a table and a report."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flower_coded.cli import app
from flower_coded.sweep.claims import Claims
from flower_coded.sweep.drift import Drift
from flower_coded.sweep.plan import SweepPlan
from flower_coded.sweep.store import SweepStore

GRID = """
title = "Tiny"
attacks = ["none", "wrong-shape"]
defenses = ["fedavg"]
attackers = [1]
num-users = 3
num-rounds = 1
[training]
samples-per-user = 8
local-epochs = 1
"""


@pytest.mark.slow
def test_a_grid_is_run_once_and_its_table_and_report_are_there(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(GRID)
    command = ["sweep", str(tmp_path / "tiny.toml"), "--results", str(tmp_path), "--processes", "1"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "2 runs, 2 to do" in first.output
    directory = tmp_path / "sweep" / "tiny"
    with (directory / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["attack"] for row in rows] == ["none", "wrong-shape"]
    assert all(row["status"] == "done" and row["version-flwr"] and row["num-users"] == "3" for row in rows)
    assert (rows[1]["detection-precision"], rows[1]["detection-recall"]) == ("1.0", "1.0")
    assert (directory / "robustness.png").stat().st_size > 10_000
    again = CliRunner().invoke(app, command)
    assert "2 runs, 0 to do" in again.output
    told = [json.loads(line) for line in (directory / "results.jsonl").read_text().splitlines()]
    assert [(each["attack"], each["status"]) for each in told] == [("none", "done"), ("wrong-shape", "done")]
    assert [each["accuracy"] for each in told] == [float(row["accuracy"]) for row in rows]
    (directory / "robustness.png").unlink()
    only_report = CliRunner().invoke(app, [*command, "--report-only"])
    assert only_report.exit_code == 0
    assert (directory / "robustness.png").is_file()


def test_a_sweep_says_what_other_processes_are_doing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def claimed_by_another(plan: SweepPlan, store: SweepStore, **_: Any) -> None:
        other = Claims(store.path / "claims")
        assert all(other.take(run.key) for run in plan.runs)

    monkeypatch.setattr("flower_coded.cli.sweep.run_sweep", claimed_by_another)
    (tmp_path / "tiny.toml").write_text(GRID)
    result = CliRunner().invoke(app, ["sweep", str(tmp_path / "tiny.toml"), "--results", str(tmp_path)])
    assert "2 runs are being done elsewhere" in result.output
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["REFUSE", "REFUSE"]),
        (["--accept-drift"], ["ACCEPT", "ACCEPT"]),
        (["--rerun-drifted"], ["RERUN", "ACCEPT"]),
    ],
)
def test_runs_that_others_give_up_meanwhile_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], expected: list[str]
) -> None:
    met: list[str] = []

    def in_two_rounds(plan: SweepPlan, store: SweepStore, *, drift: Drift, **_: Any) -> None:
        store.write(plan.runs[len(met)].key, {"status": "done"})
        met.append(drift.name)

    monkeypatch.setattr("flower_coded.cli.sweep.run_sweep", in_two_rounds)
    monkeypatch.setattr("flower_coded.cli.sweep._write_results", lambda plan, store: 0)
    (tmp_path / "tiny.toml").write_text(GRID)
    command = ["sweep", str(tmp_path / "tiny.toml"), "--results", str(tmp_path), *options]
    result = CliRunner().invoke(app, command)
    assert (met, result.exit_code) == (expected, 0), result.output


@pytest.mark.parametrize(
    ("shard", "lost", "others"), [([], 2, 0), (["--shard", "1/1"], 2, 0), (["--shard", "1/2"], 1, 1)]
)
def test_a_sweep_that_ends_early_says_so_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard: list[str], lost: int, others: int
) -> None:
    monkeypatch.setattr("flower_coded.cli.sweep.run_sweep", lambda *_, **__: 0)
    (tmp_path / "tiny.toml").write_text(GRID)
    command = ["sweep", str(tmp_path / "tiny.toml"), "--results", str(tmp_path), *shard]
    result = CliRunner().invoke(app, command)
    assert f"{lost} runs are not done, and nobody is doing them" in result.output
    assert ("of other shards" in result.output) == bool(others)
    assert not others or f"{others} runs of other shards are not done yet" in result.output
    assert result.exit_code == 1


def test_a_misspelt_tracker_is_refused_before_a_sweep_begins(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(GRID)
    command = ["sweep", str(tmp_path / "tiny.toml"), "--results", str(tmp_path), "--track", "tensorbord"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "track must be one of" in result.output
    assert not (tmp_path / "sweep").exists()


def test_a_typing_error_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "typo.toml").write_text(GRID.replace("wrong-shape", "wrong-shpae"))
    result = CliRunner().invoke(app, ["sweep", str(tmp_path / "typo.toml"), "--results", str(tmp_path)])
    assert result.exit_code == 2
    assert "did you mean 'wrong-shape'?" in result.output
    assert not (tmp_path / "sweep").exists()
