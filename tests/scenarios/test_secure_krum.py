"""The scenario as a user runs it, with fewer rounds; the step of its server."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from flwr.serverapp.strategy import FedAvg, MultiKrum

from flower_coded.aggregation import FedYogi
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


def test_a_server_optimizer_stands_behind_all_three_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCENARIO))
    server_app = importlib.import_module("secure_krum_app.server_app")
    defaults = find_scenario(str(SCENARIO)).defaults
    chosen = {"server-optimizer": "fedyogi", "server-learning-rate": 0.05}
    experiment, secure = server_app.prepare(defaults | chosen)
    ways = server_app.in_the_clear(experiment, secure) | {"ramp-shared": secure}
    assert [way.steps.optimizer for way in ways.values()] == [FedYogi(learning_rate=0.05)] * 3
    assert ways["multi-Krum, in the clear"].rule.num_selected == secure.num_selected
    _, plain = server_app.prepare(defaults)
    assert plain.steps.optimizer is None
    assert [type(way) for way in server_app.in_the_clear(experiment, plain).values()] == [FedAvg, MultiKrum]
