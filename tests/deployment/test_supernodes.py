"""A scenario on a SuperLink and four SuperNode processes with a home each; one is killed and restarted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flower_coded.cli.environment import session_environment

SCENARIO = Path(__file__).parents[2] / "scenarios" / "encoded-regression"
NUM_NODES = 4
START_SECONDS, RUN_SECONDS = 120.0, 420.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Deployment:
    """Processes as an operator would start them; each sees its own home directory only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = f"127.0.0.1:{free_port()}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        host, port = self.address.split(":")
        self.start(
            "superlink",
            *("flower-superlink", "--insecure", "--disable-runtime-dependency-installation"),
            *("--host", host, "--port", port),
            *("--fleet-api-address", f"127.0.0.1:{free_port()}"),
            *("--control-api-address", f"127.0.0.1:{free_port()}"),
        )
        config = self.home("user") / "config.toml"
        config.write_text(f'[superlink.mine]\naddress = "{self.address}"\ninsecure = true\n')
        self.wait_for(lambda: bool(self.flwr("list", "mine").get("success")), START_SECONDS)

    def home(self, name: str) -> Path:
        directory = self.directory / name
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def environment(self, name: str) -> dict[str, str]:
        home = self.home(name)
        return {**os.environ, **session_environment(home), "HOME": str(home), "FLWR_HOME": str(home)}

    def start(self, name: str, command: str, *arguments: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(Path(sys.executable).parent / command), *arguments],
                env=self.environment(name),
                cwd=self.home(name),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_node(self, number: int) -> None:
        self.start(
            f"node{number}",
            *("flower-supernode", "--insecure", "--superlink", self.address, "--port", str(free_port())),
            *("--node-config", f"partition-id={number} num-partitions={NUM_NODES}"),
        )

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def flwr(self, *arguments: str) -> dict[str, Any]:
        answer = subprocess.run(
            [str(Path(sys.executable).parent / "flwr"), *arguments, "--format", "json"],
            env=self.environment("user"),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        found: dict[str, Any] = json.loads(answer.stdout[answer.stdout.index("{") :])
        return found

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def wait_for(self, condition: Any, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log("superlink")[-3000:]
            time.sleep(1.0)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    running = None
    try:
        running = Deployment(tmp_path)
        yield running
    finally:
        for name in list(running.processes) if running else ():
            running.kill(name)  # type: ignore[union-attr]


@pytest.mark.experiment
def test_a_scenario_on_four_supernodes_survives_the_restart_of_one(
    deployment: Deployment, tmp_path: Path
) -> None:
    out, settings = tmp_path / "results" / "run", tmp_path / "settings.toml"
    settings.write_text(
        f'num-clients = {NUM_NODES}\nnum-errors = 1\nnum-erasures = 1\nattackers = "1,"\nstragglers = "0"\n'
        f'num-server-rounds = 6\nreply-timeout = 60.0\nout = "{out}"\n'
    )
    for number in range(NUM_NODES):
        deployment.start_node(number)
    submitted = deployment.flwr("run", str(SCENARIO), "mine", "--run-config", str(settings))
    run_id = str(submitted["run-id"])
    deployment.wait_for(lambda: "round 1" in deployment.log("superlink").lower(), RUN_SECONDS)
    deployment.kill("node2")
    deployment.start_node(2)

    def status() -> dict[str, Any]:
        found: dict[str, Any] = deployment.flwr("list", "mine", "--run-id", run_id)["runs"][0]
        return found

    deployment.wait_for(lambda: str(status()["status"]).startswith("finished"), RUN_SECONDS)
    assert status()["status"] == "finished:completed", status()
    records = json.loads((out / "metrics.json").read_text())
    assert records
    assert (out / "report.html").is_file()
