"""A scenario on a SuperLink and four SuperNode processes with a home each; one is killed and restarted.

Once in the open, once with TLS and nodes that prove who they are: the commands of ``docs/deployment.md``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deployed import RUN_SECONDS, Deployment

SCENARIO = Path(__file__).parents[2] / "scenarios" / "encoded-regression"
NUM_NODES = 4
NODE_CONFIG = f"num-partitions={NUM_NODES}"


@pytest.mark.experiment
@pytest.mark.parametrize("is_secured", [False, True], ids=["open", "secured"])
def test_a_scenario_on_four_supernodes_survives_the_restart_of_one(is_secured: bool, tmp_path: Path) -> None:
    out = tmp_path / "results" / "run"
    settings = {
        "num-clients": NUM_NODES,
        "num-errors": 1,
        "num-erasures": 1,
        "attackers": "1,",
        "stragglers": "0",
        "num-server-rounds": 6,
        "reply-timeout": 60.0,
        "out": str(out),
    }
    with Deployment(tmp_path, is_secured=is_secured) as deployment:
        for number in range(NUM_NODES):
            deployment.start_node(number, NODE_CONFIG)
        run_id = deployment.submit(SCENARIO, settings)
        answers = 3 * NUM_NODES  # who takes part, the shares, and a round of products
        deployment.wait_for(lambda: deployment.log("superlink").count("Push replies") >= answers, RUN_SECONDS)
        deployment.kill("node2")
        deployment.start_node(2, NODE_CONFIG)
        assert deployment.end_of(run_id) == "finished:completed", deployment.log("superlink")[-3000:]
    assert json.loads((out / "metrics.json").read_text())
    assert (out / "report.html").is_file()
