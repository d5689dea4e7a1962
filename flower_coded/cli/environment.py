"""What a simulation gets: nodes and their resources, an environment that stays offline, free ports."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flower_coded.errors import ParameterError
from flower_coded.threads import THREAD_VARIABLES, available_processors

__all__ = ["RAY_LINK", "SimulationResources", "session_environment"]

RAY_LINK = "ray-elsewhere"
"""In a session's directory, a link to Ray's where the session's own name is too long for Ray."""

_LONGEST_RAY_DIRECTORY = 45  # Ray appends some 60 bytes: session, time, process, socket

_QUIET_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True)
class SimulationResources:
    """What each client may use.

    Parameters
    ----------
    num_clients : int
        Virtual nodes of the simulation.
    cpus_per_client : int
        Processor slots that one client occupies; Flower takes whole numbers only.
    gpus_per_client : float
        Share of a GPU for one client: 0.25 lets four clients train on it at a time.
    cpu_slots : int
        Slots in all, the number of processors by default; more than that overcommits.
    """

    num_clients: int
    cpus_per_client: int = 1
    gpus_per_client: float = 0.0
    cpu_slots: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("num_clients", 1),
            ("cpus_per_client", 1),
            ("gpus_per_client", 0),
            ("cpu_slots", 0),
        ):
            if getattr(self, name) < least:
                raise ParameterError(name, f"must be at least {least}", getattr(self, name))
        if self.cpus_per_client > self.slots:
            raise ParameterError(
                "cpus_per_client",
                f"must not exceed the {self.slots} processor slots, or no client ever runs",
                self.cpus_per_client,
                hint=f"--cpus-per-client {self.slots}, or --cpu-slots {self.cpus_per_client} to overcommit",
            )

    @property
    def slots(self) -> int:
        """Processor slots in all."""
        return self.cpu_slots or available_processors()

    def to_flower(self) -> str:
        """Spell it as ``flwr run --federation-config`` reads it."""
        values: dict[str, int | float] = {
            "num-supernodes": self.num_clients,
            "client-resources-num-cpus": self.cpus_per_client,
            "client-resources-num-gpus": self.gpus_per_client,
            "init-args-num-cpus": self.slots,
        }
        return " ".join(f"{key}={value}" for key, value in values.items())


def session_environment(home: Path) -> dict[str, str]:
    """Give the variables that tie every process of a session to the directory ``home``, and make it.

    Numerical libraries get one thread in every process, unless a variable says otherwise.
    """
    commands = str(Path(sys.executable).parent)
    home.mkdir(parents=True, exist_ok=True)
    threads = {name: os.environ.get(name, "1") for name in THREAD_VARIABLES}
    environment = (
        _QUIET_ENVIRONMENT
        | threads
        | {
            "FLWR_HOME": str(home),
            **_without_proxy(),
            **_usable_home(home),
            "PATH": os.pathsep.join([commands, os.environ.get("PATH", "")]),
            **_free_ports("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", "FLWR_LOCAL_CONTROL_API_PORT"),
        }
    )
    environment["RAY_TMPDIR"] = str(_ray_directory(home))
    return environment


def _ray_directory(home: Path) -> Path:
    """Make a directory with a name short enough for Ray, which puts sockets of at most 107 bytes below."""
    directory = home / "ray"
    if len(str(directory)) < _LONGEST_RAY_DIRECTORY or os.name != "posix":
        directory.mkdir(exist_ok=True)
        return directory
    link = home / RAY_LINK  # the guard follows it when it clears the session away
    if not link.is_symlink():
        link.symlink_to(tempfile.mkdtemp(prefix="fc-", dir="/tmp"))
    return link.resolve()


def _without_proxy() -> dict[str, str]:
    """Keep a proxy, if there is one, away from what listens on this machine."""
    local = "127.0.0.1,localhost"
    return {
        name: ",".join(filter(None, [os.environ.get(name, ""), local])) for name in ("no_proxy", "NO_PROXY")
    }


def _usable_home(home: Path) -> dict[str, str]:
    """Lend libraries that cache below ``HOME`` the session's directory where there is no usable one."""
    own = Path(os.environ.get("HOME") or "/nonexistent")
    return {} if own.is_dir() and os.access(own, os.W_OK) else {"HOME": str(home)}


def _free_ports(*names: str) -> dict[str, str]:
    sockets = [socket.socket() for _ in names]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return {name: str(one.getsockname()[1]) for name, one in zip(names, sockets, strict=True)}
    finally:
        for one in sockets:
            one.close()
