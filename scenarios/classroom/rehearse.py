"""Play the lecture in one process, without Ray: the same server, the same users, one after the other.

``python scenarios/classroom/rehearse.py [key=value ...] [out=DIRECTORY]``
"""

from __future__ import annotations

import sys
from pathlib import Path

from classroom.client_app import app
from classroom.server_app import main
from flwr.app import Context, RecordDict

from flower_coded.cli.scenario import find_scenario
from flower_coded.testing import InProcessGrid


def rehearse(assignments: list[str]) -> None:
    scenario = find_scenario(str(Path(__file__).parent))
    config = {**scenario.defaults, **scenario.settings(assignments)}
    grid = InProcessGrid(app, int(config["num-clients"]), config, wire=False)
    main(grid, Context(1, 1, {}, RecordDict(), config))


if __name__ == "__main__":
    rehearse(sys.argv[1:])
