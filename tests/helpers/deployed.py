"""A SuperLink and SuperNodes as an operator starts them: processes, each with a home directory of its own."""

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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flower_coded.cli.environment import session_environment

BIN = Path(sys.executable).parent
START_SECONDS, RUN_SECONDS = 240.0, 900.0


class Deployment:
    """A SuperLink that runs while the ``with`` block does; nodes join it by :meth:`start_node`."""

    def __init__(self, directory: Path, *, is_secured: bool = False) -> None:
        self.directory, self.is_secured = directory, is_secured
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.address, fleet, control = (f"127.0.0.1:{port}" for port in free_ports(3))
        host, port = self.address.split(":")
        safety, trust = ["--insecure"], "insecure = true"
        if is_secured:
            make_certificates(directory)
            files = {"certfile": "server.pem", "keyfile": "server.key", "ca-certfile": "ca.pem"}
            safety = [f"--ssl-{option}={directory / file}" for option, file in files.items()]
            safety += ["--enable-supernode-auth"]
            trust = f'root-certificates = "{directory / "ca.pem"}"'
        self._server = (
            *("flower-superlink", *safety, "--disable-runtime-dependency-installation"),
            *("--host", host, "--port", port),
            *("--fleet-api-address", fleet, "--control-api-address", control),
        )
        config = self.home("user") / "config.toml"
        config.write_text(f'[superlink.mine]\naddress = "{self.address}"\n{trust}\n')

    def __enter__(self) -> Deployment:
        self.start("superlink", *self._server)
        try:
            self.wait_for(lambda: bool(self.flwr("list", "mine").get("success")), START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name)

    def home(self, name: str) -> Path:
        directory = self.directory / name
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def environment(self, name: str) -> dict[str, str]:
        own = ("FLWR_", "FLOWER_", "XDG_")  # what the tester has set is none of theirs
        kept = {key: value for key, value in os.environ.items() if not key.startswith(own)}
        home = str(self.home(name))
        return kept | session_environment(self.home(name)) | {"HOME": home, "FLWR_HOME": home}

    def start(self, name: str, command: str, *arguments: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(BIN / command), *arguments],
                env=self.environment(name),
                cwd=self.home(name),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_node(self, number: int, config: str) -> None:
        """Start ``node<number>``, for the second time as the same node."""
        safety = ["--insecure"]
        if self.is_secured:
            key = self.home(f"node{number}") / "node.key"
            if not key.is_file():
                make_node_key(key)
                registered = self.flwr("supernode", "register", f"{key}.pub", "mine")
                assert registered["success"], registered
            authority = str(self.directory / "ca.pem")
            safety = ["--root-certificates", authority, "--auth-supernode-private-key", str(key)]
        (port,) = free_ports(1)
        self.start(
            f"node{number}",
            *("flower-supernode", *safety, "--superlink", self.address, "--port", str(port)),
            *("--node-config", f"partition-id={number} {config}"),
        )

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def printed(self, name: str, command: str, *arguments: str) -> str:
        """Give a command in somebody's home, and return what it prints."""
        answer = subprocess.run(
            [str(BIN / command), *arguments],
            env=self.environment(name),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        # A refusal in JSON is an answer; whoever asked looks at it.
        assert answer.returncode == 0 or "{" in answer.stdout, answer.stdout + answer.stderr
        return answer.stdout

    def flwr(self, *arguments: str) -> dict[str, Any]:
        printed = self.printed("user", "flwr", *arguments, "--format", "json")
        found: dict[str, Any] = json.loads(printed[printed.index("{") :])
        return found

    def submit(self, app: Path, settings: Mapping[str, object]) -> str:
        """Submit a run and return its number."""
        file = self.home("user") / "settings.toml"
        file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
        submitted = self.flwr("run", str(app), "mine", "--run-config", str(file))
        assert submitted["success"], submitted
        return str(submitted["run-id"])

    def end_of(self, run_id: str) -> str:
        """Wait for the status in which a run ends."""
        status = ""

        def has_ended() -> bool:
            nonlocal status
            status = str(self.flwr("list", "mine", "--run-id", run_id)["runs"][0]["status"])
            return status.startswith("finished")

        self.wait_for(has_ended, RUN_SECONDS)
        return status

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log("superlink")[-3000:]
            time.sleep(1.0)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


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


def make_certificates(directory: Path) -> None:
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
