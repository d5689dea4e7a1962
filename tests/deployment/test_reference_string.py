"""Ramp-shared multi-Krum as it is deployed: a SuperLink and SuperNodes, processes with homes of their own.

    pytest tests/deployment/test_reference_string.py -m experiment    # three minutes

The server has imported a ceremony's file; the nodes have nothing but the digest in their own configuration.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flower_coded.crypto.srs import ReferenceString, generate_reference_string
from flower_coded.crypto.srs_cache import kept_digests

NUM_NODES = 5  # the fewest with which a mean of two updates can be formed
BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]

PROJECT = """
[project]
name = "deployed-ramp-krum"
version = "1.0.0"
dependencies = []

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "deployed.app:server"
clientapp = "deployed.app:client"

[tool.flwr.app.config]
reference-digest = ""
out = ""
"""

APP = """
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from flower_coded.clients.ramp_krum import ramp_krum_mod

client = ClientApp(mods=[ramp_krum_mod])


@client.train()
def train(message, context):
    node = int(context.node_config["partition-id"])
    arrays = {
        name: Array(array.numpy() + np.float32(0.25 + 0.001 * node))
        for name, array in message.content["arrays"].items()
    }
    content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)


server = ServerApp()


@server.main()
def main(grid, context):
    from flower_coded.strategies import RampSharedMultiKrum

    strategy = RampSharedMultiKrum(
        num_users=5, num_byzantine=0, num_dropouts=0, num_selected=2, chunk_size=32,
        fraction_evaluate=0.0, reference=context.run_config["reference-digest"],
    )
    initial = ArrayRecord({"weights": Array(np.zeros(50, dtype=np.float32))})
    out = Path(context.run_config["out"])
    try:
        result = strategy.start(grid=grid, initial_arrays=initial, num_rounds=1)
    except Exception as error:
        reasons = [each.reason for record in strategy.history for each in record.rejected]
        out.write_text("; ".join([str(error), *reasons]))
        raise
    out.write_text(str(result.arrays["weights"].numpy().mean()))
"""


def trusted_setup(reference: ReferenceString) -> str:
    """Write a string as c-kzg does; the Lagrange basis, which is not read, is left to other points."""
    backend = reference.backend
    points = [backend.compress(point).hex() for point in reference.powers]
    points_g2 = [backend.compress_g2(point).hex() for point in reference.powers_g2]
    return "\n".join([str(len(points)), str(len(points_g2)), *points, *points_g2, *points, ""])


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(port: int, *, timeout: float = 90.0) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError(f"nothing listens on port {port} after {timeout} s")


class Deployment:
    """A SuperLink with its own home, and nodes with theirs."""

    def __init__(self, directory: Path, digest: str) -> None:
        self.directory = directory
        self.processes: list[subprocess.Popen[bytes]] = []
        port, *others = free_ports(1 + NUM_NODES)
        app = directory / "app"
        (app / "deployed").mkdir(parents=True)
        (app / "pyproject.toml").write_text(PROJECT)
        (app / "deployed" / "__init__.py").write_text("")
        (app / "deployed" / "app.py").write_text(APP)
        self._start(
            "server",
            "flower-superlink",
            f"--port={port}",
            "--disable-runtime-dependency-installation",
        )
        for node in range(NUM_NODES):
            self._start(
                f"node-{node}",
                "flower-supernode",
                f"--superlink=127.0.0.1:{port}",
                f"--port={others[node]}",
                f'--node-config=partition-id={node} num-partitions={NUM_NODES} reference-digest="{digest}"',
            )
        wait_for(port)
        config = self.home("server") / "flwr" / "config.toml"
        config.parent.mkdir(exist_ok=True)
        config.write_text(
            f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{port}"\n'
            "insecure = true\n"
        )

    def home(self, name: str) -> Path:
        return self.directory / name

    def environment(self, name: str) -> dict[str, str]:
        home = self.home(name)
        home.mkdir(exist_ok=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FLWR", "FLOWER"))}
        return kept | {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "FLWR_HOME": str(home / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }

    def cache(self, name: str) -> Path:
        return self.home(name) / "cache" / "flower-coded"

    def log(self, name: str) -> str:
        return (self.home(name) / "log.txt").read_text(errors="replace")

    def command(self, *arguments: str) -> str:
        result = subprocess.run(
            arguments,
            env=self.environment("server"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def run(self, digest: str, *, timeout: float = 500.0) -> tuple[str, str]:
        """Submit a run and return its final status and what the app wrote."""
        out = self.directory / "out.txt"
        setting = f'reference-digest="{digest}" out="{out}"'
        submitted = self.command(
            "flwr", "run", str(self.directory / "app"), "here", "-c", setting, "--format", "json"
        )
        run_id = json.loads(submitted[submitted.index("{") :])["run-id"]
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            listed = self.command("flwr", "list", "here", "--run-id", str(run_id), "--format", "json")
            status = str(json.loads(listed[listed.index("{") :])["runs"][0]["status"])
            if status.startswith("finished"):
                return status, out.read_text() if out.exists() else ""
            time.sleep(3)
        raise AssertionError(f"no end within {timeout} s:\n{self.log('server')[-3000:]}")

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()

    def _start(self, name: str, program: str, *arguments: str) -> None:
        environment = self.environment(name)
        with (self.home(name) / "log.txt").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [str(BIN / program), "--insecure", *arguments],
                    env=environment,
                    cwd=self.home(name),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )


@contextmanager
def deployment(directory: Path, digest: str) -> Iterator[Deployment]:
    deployed = Deployment(directory, digest)
    try:
        yield deployed
    finally:
        deployed.stop()


@pytest.mark.experiment
def test_a_ceremonys_file_serves_nodes_with_homes_of_their_own_and_a_forged_one_does_not(
    tmp_path: Path,
) -> None:
    reference = generate_reference_string(64, size_g2=3, draw_below=lambda bound: 1234567)
    forged = generate_reference_string(64, size_g2=3)
    with deployment(tmp_path, reference.digest) as deployed:
        for name, string in (("trusted_setup.txt", reference), ("forged.txt", forged)):
            (tmp_path / name).write_text(trusted_setup(string))
            output = deployed.command("flower-coded", "reference", "import", str(tmp_path / name))
            assert string.digest in output

        status, reasons = deployed.run(forged.digest)
        assert status == "finished:failed"
        assert f"this node's reference-digest is {reference.digest}" in reasons
        assert all(kept_digests(deployed.cache(f"node-{node}")) == () for node in range(NUM_NODES))

        status, mean = deployed.run(reference.digest)
        assert status == "finished:completed", mean
        assert abs(float(mean) - 0.25) < 0.01
        for node in range(NUM_NODES):
            assert kept_digests(deployed.cache(f"node-{node}")) == (reference.digest,)
            # Once: the later phases of the round found it kept.
            assert deployed.log(f"node-{node}").count("checked and kept") == 1
