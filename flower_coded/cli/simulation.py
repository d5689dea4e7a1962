"""Run Flower apps with ``flwr run`` in a SuperLink of one's own, and learn how they really ended.

``flwr run --stream`` leaves with status 0 even if the run failed, submits to whichever SuperLink listens on
the default port (with that one's Python environment and working directory), and leaves the SuperLink running.
A :class:`FlowerSession` has its own ``FLWR_HOME`` and free ports, so that it can only meet a SuperLink that
it started; asks ``flwr list`` for the true status; and ends everything it started, see
:mod:`flower_coded.cli.guard`.
"""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from flower_coded.cli.environment import SimulationResources, session_environment
from flower_coded.cli.exit_codes import COMPLETED, FAILED, NOT_STARTED, TIMED_OUT
from flower_coded.cli.patient_flwr import START_SECONDS
from flower_coded.cli.scenario import Setting
from flower_coded.errors import FlowerCodedError

__all__ = ["FlowerSession", "RunOutcome", "SimulationError"]

_SILENCE_SECONDS = 60.0  # without a line, before Flower is asked whether the run is over
_DRAIN_SECONDS = 30.0  # without a line after the run's end, before its log counts as complete
_COMMAND_SECONDS = 240.0  # a busy machine takes minutes to import Flower
_START_ATTEMPTS = 3
_SLOW_START = "Failed to start local SuperLink"
_SLOW_RAY = "The current node timed out during startup"  # Ray's patience of 30 s is no setting
_OF_WORKER = re.compile(r"\([^)]*pid=\d+")  # Ray's mark of what another process, a client's, has printed
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


class SimulationError(FlowerCodedError):
    """Flower could not be started or would not say how a run ended.

    Parameters
    ----------
    step : str
        What was tried.
    output : str
        What Flower printed.
    """

    exit_status = NOT_STARTED

    def __init__(self, step: str, output: str) -> None:
        self.step, self.output = step, output
        super().__init__(f"{step} did not succeed; Flower said:\n{output.strip() or '(nothing)'}")


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Parameters
    ----------
    run_id : str
        Flower's number of the run.
    status : str
        Flower's word: ``finished:completed``, ``finished:failed``, ``finished:stopped``; ``timeout`` if the
        time limit passed first.
    details : str
        Flower's explanation of a failure.
    seconds : float
        Wall time from submission to the end.
    """

    run_id: str
    status: str
    details: str
    seconds: float

    @property
    def exit_status(self) -> int:
        """0 for a completed run, 4 for one out of time, 1 otherwise."""
        return {"finished:completed": COMPLETED, "timeout": TIMED_OUT}.get(self.status, FAILED)


class FlowerSession:
    """A SuperLink of one's own, from its first run to the end of the ``with`` block.

    The SuperLink starts with the first run; later runs of the session find it warm. Leaving the block, by
    whatever road, ends it and everything it started.

    Parameters
    ----------
    on_line : callable
        Receives each line of the log as it comes, without colors.
    on_wait : callable
        Called about twice a second while no line comes, so that a caller can show that the run goes on.
    """

    def __init__(
        self, on_line: Callable[[str], None] = print, on_wait: Callable[[], None] = lambda: None
    ) -> None:
        self._on_line = on_line
        self._on_wait = on_wait
        self._home: Path | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._is_ray_late = False

    def __enter__(self) -> FlowerSession:
        self._home = Path(tempfile.mkdtemp(prefix="flower-coded-")).resolve()
        plain_environment = {key: value for key, value in os.environ.items() if key != "FLWR_HOME"}
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "flower_coded.cli.guard", str(self._home)],
            stdin=subprocess.PIPE,
            env=plain_environment,
            start_new_session=True,
        )
        self._environment = plain_environment | session_environment(self._home)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait(timeout=_COMMAND_SECONDS)

    @property
    def home(self) -> Path:
        """``FLWR_HOME`` of the session, which marks its processes; there from the block's beginning."""
        assert self._home is not None, "a session begins with its with block"
        return self._home

    @property
    def superlink_log(self) -> str:
        """The last lines of the SuperLink's own log, for a failure that the run's log does not explain."""
        file = self.home / "local-superlink" / "superlink.log"
        return "\n".join(file.read_text(errors="replace").splitlines()[-40:]) if file.is_file() else ""

    def run(
        self,
        app: Path,
        settings: Mapping[str, Setting],
        resources: SimulationResources,
        *,
        timeout: float | None = None,
    ) -> RunOutcome:
        """Submit one run, stream its log, and wait for its end.

        Parameters
        ----------
        app : Path
            Directory of the Flower app.
        settings : mapping
            Values that differ from the app's defaults.
        resources : SimulationResources
            Nodes and what they may use.
        timeout : float, optional
            Seconds after which the run is stopped.

        Returns
        -------
        RunOutcome
            The status that Flower lists for the run, not the exit status of ``flwr run``.

        Raises
        ------
        SimulationError
            If Flower does not start, refuses the app, or does not answer.
        """
        started = time.monotonic()
        overrides = self.home / "settings.toml"
        overrides.write_text("".join(f"{json.dumps(k)} = {_toml(v)}\n" for k, v in settings.items()))
        command = ["run", str(app), "--run-config", str(overrides)]
        command += ["--federation-config", resources.to_flower()]
        for attempt in range(1, _START_ATTEMPTS + 1):
            self._is_ray_late = False
            run_id = str(self._submit(command)["run-id"])
            if not self._stream(run_id, deadline=None if timeout is None else started + timeout):
                self._flwr(["stop", run_id])
                details = f"stopped after {timeout:g} s"
                return RunOutcome(run_id, "timeout", details, time.monotonic() - started)
            status, details = self._final_status(run_id)
            # Without Ray no client has been asked anything: the run may begin again.
            if status != "finished:failed" or not self._is_ray_late or attempt == _START_ATTEMPTS:
                break
            self._on_line(f"progress: Ray did not start in time: attempt {attempt + 1} of {_START_ATTEMPTS}")
        return RunOutcome(run_id, status, details, time.monotonic() - started)

    def _submit(self, command: Sequence[str]) -> dict[str, Any]:
        """Start the run, again where the machine was too busy for Flower's own patience."""
        for attempt in range(2, _START_ATTEMPTS + 1):
            try:
                return self._ask("starting the run", command)
            except SimulationError as error:
                if _SLOW_START not in error.output:
                    raise
                self._on_line(
                    f"progress: Flower did not start in time: attempt {attempt} of {_START_ATTEMPTS}"
                )
                self._environment |= session_environment(self.home)  # other ports: these may be taken
        return self._ask("starting the run", command)

    def _stream(self, run_id: str, *, deadline: float | None) -> bool:
        """Pass the log on until the run is over; False if the deadline came first."""
        process = subprocess.Popen(
            [_flwr_command(), "log", run_id, "--stream"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        lines = _lines_of(process.stdout)
        last_heard, patience, has_finished = time.monotonic(), _SILENCE_SECONDS, False
        try:
            while True:
                try:
                    line = lines.get(timeout=0.5)
                except queue.Empty:
                    self._on_wait()
                    now = time.monotonic()
                    if deadline is not None and now > deadline:
                        return False
                    if now - last_heard > patience:
                        if has_finished:
                            return True
                        # The last lines may still be on their way when the run is over: wait once more.
                        has_finished = self._status(run_id)[0].startswith("finished")
                        last_heard, patience = now, _DRAIN_SECONDS if has_finished else _SILENCE_SECONDS
                    continue
                if line is None:
                    return True
                last_heard = time.monotonic()
                if deadline is not None and last_heard > deadline:
                    return False
                words = _COLOR.sub("", line.rstrip("\n"))
                self._is_ray_late |= _SLOW_RAY in words and not _OF_WORKER.match(words)
                self._on_line(words)
        finally:
            process.kill()
            process.wait()

    def _final_status(self, run_id: str) -> tuple[str, str]:
        """Ask until the run counts as finished: the log ends a moment before the status changes."""
        for _ in range(30):
            status, details = self._status(run_id)
            if status.startswith("finished"):
                return status, details
            time.sleep(1.0)
        raise SimulationError(f"waiting for the status of run {run_id}", f"still {status}: {details}")

    def _status(self, run_id: str) -> tuple[str, str]:
        listed = self._ask("asking for the run's status", ["list", "--run-id", run_id])
        run = listed["runs"][0]
        details = str(run.get("status-details", ""))
        return str(run["status"]), "" if details == "N/A" else details

    def _ask(self, step: str, arguments: Sequence[str]) -> dict[str, Any]:
        """Run a ``flwr`` command that answers in JSON."""
        answer = self._flwr([*arguments, "--format", "json"])
        text = answer.stdout
        try:
            content = json.loads(text[text.index("{") :])
        except ValueError:
            raise SimulationError(step, _COLOR.sub("", text + answer.stderr)) from None
        if not isinstance(content, dict) or not content.get("success", True):
            raise SimulationError(
                step, str(content.get("error-message", content)) + "\n" + self.superlink_log
            )
        return content

    def _flwr(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command, seconds = [_flwr_command()], _COMMAND_SECONDS
        if arguments[0] == "run":  # starts the SuperLink
            command = [sys.executable, "-P", "-m", "flower_coded.cli.patient_flwr"]
            seconds += START_SECONDS
        process = subprocess.Popen(
            [*command, *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        deadline = time.monotonic() + seconds
        while True:
            try:
                output, errors = process.communicate(timeout=0.5)
                return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
            except subprocess.TimeoutExpired:
                self._on_wait()
                if time.monotonic() > deadline:
                    process.kill()
                    process.communicate()
                    step = f"flwr {arguments[0]} (within {seconds:g} s)"
                    raise SimulationError(step, self.superlink_log) from None


def _flwr_command() -> str:
    command = Path(sys.executable).parent / "flwr"
    return str(command) if command.is_file() else "flwr"


def _lines_of(stream: IO[bytes]) -> queue.Queue[str | None]:
    """Read a stream in a thread; ``None`` marks its end.

    A line ends where Ray ends it, and not at a carriage return: behind one, a client's words would begin a
    line of their own, without Ray's mark.
    """
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line.decode(errors="replace").replace("\r", " "))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _toml(value: Setting) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, str) else repr(value)
