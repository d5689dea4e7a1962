"""Run directories: found again, never overwritten, and able to tell about themselves."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from flower_coded.errors import ParameterError
from flower_coded.reporting import RunDirectory, draw_matrix


def test_create__never_takes_a_directory_in_use(tmp_path: Path) -> None:
    paths = [RunDirectory.create(tmp_path, "s", name="run").path.name for _ in range(3)]
    assert paths == ["run", "run-2", "run-3"]


def test_create__names_a_run_by_the_time(tmp_path: Path) -> None:
    assert re.fullmatch(r"\d{8}-\d{6}", RunDirectory.create(tmp_path, "s").path.name)


def test_open__takes_the_latest_run_of_a_scenario(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "old"]):
        run = RunDirectory.create(tmp_path, "s", name=name)
        run.write_metrics([{"round": 1}])
        os.utime(run.path / "metrics.json", (1_000_000 - age, 1_000_000 - age))
    assert RunDirectory.open(tmp_path).path.name == "new"


def test_open__says_what_a_run_looks_like(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"metrics\.json"):
        RunDirectory.open(tmp_path)


def test_report__shows_metrics_pictures_and_settings(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "s", name="run")
    run.write_config({"seed": 7, "alpha": np.float64(0.1)})
    run.write_metrics([{"round": 1, "accuracy": 0.5, "who": "a"}, {"round": 2, "accuracy": 0.7, "who": "b"}])
    run.write_figure(draw_matrix(np.eye(2)), "code_matrix")
    page = run.report().to_html()
    assert page.count("<img") == 2
    assert "code matrix" in page
    assert "0.700" in page
    assert "&quot;alpha&quot;: 0.1" in page


def test_report__manages_without_rounds_and_settings(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "s")
    run.write_metrics([{"method": "FedAvg", "accuracy": 0.5}])
    assert run.config() == {}
    assert "FedAvg" in run.report().to_html()


def test_records_go_on_under_the_same_settings_and_the_same_code_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunDirectory.resume(tmp_path, {"seed": 1})
    RunDirectory.resume(tmp_path, {"seed": 2}).write_metrics([{"accuracy": 0.5}])  # nothing was there to mix
    assert RunDirectory.resume(tmp_path, {"seed": 2}).metrics().records() == [{"accuracy": 0.5}]
    with pytest.raises(ParameterError, match=f"another seed; received '{tmp_path.name}'"):
        RunDirectory.resume(tmp_path, {"seed": 1})
    monkeypatch.setattr("flower_coded.reporting.run_directory.code_digest", lambda: "another")
    with pytest.raises(ParameterError, match="another version-code"):
        RunDirectory.resume(tmp_path, {"seed": 2})
