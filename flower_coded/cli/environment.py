"""What a simulation gets: nodes and their resources, an environment that stays offline, free ports."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from flower_coded.errors import ParameterError
from flower_coded.threads import THREAD_VARIABLES

__all__ = ["SimulationResources", "session_environment"]

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

    def to_flower(self) -> str:
        """Spell it as ``flwr run --federation-config`` reads it."""
        values: dict[str, int | float] = {
            "num-supernodes": self.num_clients,
            "client-resources-num-cpus": self.cpus_per_client,
            "client-resources-num-gpus": self.gpus_per_client,
            "init-args-num-cpus": self.cpu_slots or os.cpu_count() or 1,
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
            "PATH": os.pathsep.join([commands, os.environ.get("PATH", "")]),
            **_free_ports("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", "FLWR_LOCAL_CONTROL_API_PORT"),
        }
    )
    if len(str(home)) < 40:  # Ray puts sockets below, and a socket's path has at most 107 bytes
        environment["RAY_TMPDIR"] = str(home / "ray")
        (home / "ray").mkdir(exist_ok=True)
    return environment


def _free_ports(*names: str) -> dict[str, str]:
    sockets = [socket.socket() for _ in names]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return {name: str(one.getsockname()[1]) for name, one in zip(names, sockets, strict=True)}
    finally:
        for one in sockets:
            one.close()
