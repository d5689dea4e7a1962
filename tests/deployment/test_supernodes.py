"""A scenario on a SuperLink and four SuperNode processes with a home each; one is killed and restarted.

Once in the open, once with TLS and nodes that prove who they are: the commands of ``docs/deployment.md``.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
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
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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

    def __init__(self, directory: Path, *, is_secured: bool) -> None:
        self.directory, self.is_secured = directory, is_secured
        self.address = f"127.0.0.1:{free_port()}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        host, port = self.address.split(":")
        safety, trust = ["--insecure"], "insecure = true"
        if is_secured:
            make_certificate(directory)
            safety = [
                "--ssl-certfile",
                "server.pem",
                "--ssl-keyfile",
                "server.key",
                "--ssl-ca-certfile",
                "ca.pem",
            ]
            safety = [self.at(each) if each.endswith((".pem", ".key")) else each for each in safety]
            safety += ["--enable-supernode-auth"]
            trust = f'root-certificates = "{self.at("ca.pem")}"'
        self.start(
            "superlink",
            *("flower-superlink", *safety, "--disable-runtime-dependency-installation"),
            *("--host", host, "--port", port),
            *("--fleet-api-address", f"127.0.0.1:{free_port()}"),
            *("--control-api-address", f"127.0.0.1:{free_port()}"),
        )
        config = self.home("user") / "config.toml"
        config.write_text(f'[superlink.mine]\naddress = "{self.address}"\n{trust}\n')
        self.wait_for(lambda: bool(self.flwr("list", "mine").get("success")), START_SECONDS)

    def at(self, name: str) -> str:
        return str(self.directory / name)

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
        safety = ["--insecure"]
        if self.is_secured:
            key = self.home(f"node{number}") / "node.key"
            if not key.is_file():
                make_node_key(key)
                registered = self.flwr("supernode", "register", f"{key}.pub", "mine")
                assert registered["success"], registered
            safety = ["--root-certificates", self.at("ca.pem"), "--auth-supernode-private-key", str(key)]
        self.start(
            f"node{number}",
            *("flower-supernode", *safety, "--superlink", self.address, "--port", str(free_port())),
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


def write_key(key: ec.EllipticCurvePrivateKey, path: Path) -> None:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
    )


def make_node_key(path: Path) -> None:
    """As ``ssh-keygen -t ecdsa -b 384`` does."""
    key = ec.generate_private_key(ec.SECP384R1())
    write_key(key, path)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    Path(f"{path}.pub").write_bytes(public)


def make_certificate(directory: Path) -> None:
    """A certificate authority, and a certificate of its for this machine."""
    now, keys = dt.datetime.now(dt.UTC), [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("test CA", "localhost")]
    local = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    for is_ca, file in ((True, "ca.pem"), (False, "server.pem")):
        own = keys[0 if is_ca else 1]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(names[0 if is_ca else 1])
            .issuer_name(names[0])
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(local), critical=False)
            .sign(keys[0], hashes.SHA256())
        )
        (directory / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "server.key").write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@pytest.fixture(params=[False, True], ids=["open", "secured"])
def deployment(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    running = None
    try:
        running = Deployment(tmp_path, is_secured=request.param)
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
    answers = 3 * NUM_NODES  # who takes part, the shares, and a round of products
    deployment.wait_for(lambda: deployment.log("superlink").count("Push replies") >= answers, RUN_SECONDS)
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
