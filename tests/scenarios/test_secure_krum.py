"""The scenario as a user runs it, with fewer rounds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flower_coded.cli.running import run_scenario
from flower_coded.cli.scenario import find_scenario
from flower_coded.crypto.srs_cache import CACHE_VARIABLE

SCENARIO = Path(__file__).parents[2] / "scenarios" / "secure-krum"


@pytest.mark.slow
def test_scenario__catches_liars_and_writes_both_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    scenario = find_scenario(str(SCENARIO))
    settings = [
        "num-clients=9",
        "num-server-rounds=1",
        "num-attackers=1",
        "attack=none",
        "deviations=6:wrong-products, 4:drop-at-sums",
        "deviations-from=1",
        "local-epochs=1",
        "samples-per-user=40",
        "num-bits=8",
    ]
    outcome, run = run_scenario(scenario, settings, results=tmp_path, timeout=600, verbose=False)
    log = (run.path / "log.txt").read_text()
    assert outcome.exit_status == 0, log[-3000:]
    assert "6 in evaluations: sent wrong products" in json.dumps(run.metrics("rounds").records())
    assert (run.path / "report.html").stat().st_size > 10_000
    assert "What the server saw" in (run.path / "what_the_server_saw.html").read_text()
    assert {"FedAvg", "ramp-shared multi-Krum"} <= {record["method"] for record in run.metrics().records()}
