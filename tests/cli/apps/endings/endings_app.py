"""A server that waits for its nodes and then ends as it is told; its clients have nothing to do."""

import json
import time
from pathlib import Path

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.common.logger import log
from flwr.serverapp import Grid, ServerApp

server_app = ServerApp()
client_app = ClientApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    out = Path(str(config["out"]))
    deadline = time.monotonic() + 30
    while len(list(grid.get_node_ids())) < int(config["num-clients"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    num_nodes = len(list(grid.get_node_ids()))
    log(20, "progress: %d nodes are here", num_nodes)
    if config["ending"] == "never":
        (out / "started").touch()
        time.sleep(600)
    if config["ending"] == "fail":
        raise RuntimeError("told to fail")
    (out / "metrics.json").write_text(json.dumps([{"round": 1, "nodes": num_nodes}]))
