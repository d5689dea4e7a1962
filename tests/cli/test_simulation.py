"""Real Flower sessions: the true status comes out, and nothing stays behind, however they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flower_coded.cli import patient_flwr, simulation
from flower_coded.cli.environment import SimulationResources, session_environment
from flower_coded.cli.guard import processes_of, stop_session
from flower_coded.cli.running import _Teller
from flower_coded.cli.scenario import Scenario
from flower_coded.cli.simulation import FlowerSession, RunOutcome, SimulationError
from flower_coded.errors import ParameterError
from flower_coded.reporting.tracking import FileSink, Sinks
from flower_coded.threads import available_processors

PATIENCE_SECONDS = 120


@pytest.mark.slow
def test_one_session_tells_completed_failed_and_late_apart_and_leaves_nothing(
    endings: Scenario, tmp_path: Path
) -> None:
    lines: list[str] = []
    resources = SimulationResources(num_clients=3)
    with FlowerSession(on_line=lines.append) as session:
        home = session.home
        completed = session.run(endings.path, {"out": str(tmp_path)}, resources)
        failed = session.run(endings.path, {"out": str(tmp_path), "ending": "fail"}, resources)
        assert processes_of(home), "the SuperLink stays for the session's next run"
        late = session.run(endings.path, {"out": str(tmp_path), "ending": "never"}, resources, timeout=6.0)
    assert (completed.status, completed.exit_status) == ("finished:completed", 0)
    assert (failed.status, failed.exit_status) == ("finished:failed", 1)
    assert "told to fail" in failed.details
    assert (late.status, late.exit_status) == ("timeout", 4)
    assert json.loads((tmp_path / "metrics.json").read_text()) == [{"round": 1, "nodes": 3}]
    assert any("progress: 3 nodes are here" in line for line in lines)
    assert not processes_of(home)
    assert not home.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_killing_the_command_in_the_middle_leaves_no_superlink(
    endings: Scenario, tmp_path: Path, name: str
) -> None:
    command = [sys.executable, "-c", "from flower_coded.cli import app; app()", "run", str(endings.path)]
    process = subprocess.Popen(
        [*command, "ending=never", "--results", str(tmp_path), "--name", "run"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    run = tmp_path / "endings" / "run"
    wait_until((run / "started").exists)
    (home,) = tmp_path.glob("flower-coded-*")
    assert processes_of(home)
    process.send_signal(getattr(signal, name))
    status = process.wait(timeout=PATIENCE_SECONDS)
    assert status == (143 if name == "SIGTERM" else -signal.SIGKILL)
    wait_until(lambda: not home.exists())
    assert not processes_of(home)


def test_stop_session__ends_a_process_that_ignores_politeness_and_spares_the_others(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('.', flush=True)\n"
        "time.sleep(60)\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    ours, other = (
        subprocess.Popen(
            [sys.executable, "-c", stubborn],
            stdout=subprocess.PIPE,
            env=os.environ | {"FLWR_HOME": str(path)},
        )
        for path in (home, tmp_path / "another")
    )
    try:
        for process in (ours, other):
            assert process.stdout is not None
            assert process.stdout.read(1) == b"."
        assert [process.pid for process in processes_of(home)] == [ours.pid]
        assert stop_session(home) == 1
        assert processes_of(home) == []
        assert other.poll() is None
        assert not home.exists()
    finally:
        for process in (ours, other):
            process.kill()
            process.communicate()


def test_the_environment_is_the_sessions_own(tmp_path: Path) -> None:
    first, second = (session_environment(path) for path in (tmp_path, tmp_path))
    ports = [first[key] for key in first if key.endswith("_PORT")]
    assert len(set(ports)) == 2
    assert first["FLWR_HOME"] == str(tmp_path)
    assert first["FLWR_TELEMETRY_ENABLED"] == second["FLWR_TELEMETRY_ENABLED"] == "0"
    assert first["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_resources_are_spelled_as_flower_reads_them() -> None:
    spelled = SimulationResources(12, cpus_per_client=1, gpus_per_client=0.25, cpu_slots=4).to_flower()
    assert spelled == (
        "num-supernodes=12 client-resources-num-cpus=1 client-resources-num-gpus=0.25 init-args-num-cpus=4"
    )
    assert f"init-args-num-cpus={available_processors()}" in SimulationResources(2).to_flower()


def test_a_client_that_asks_for_more_slots_than_there_are_is_refused_with_a_way_out() -> None:
    with pytest.raises(ParameterError, match=r"must not exceed the 2 .* received 4 .*--cpu-slots 4"):
        SimulationResources(3, cpus_per_client=4, cpu_slots=2)


def test_a_proxy_a_home_and_a_long_directory_are_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    home = tmp_path / ("long" * 20)
    environment = session_environment(home)
    assert environment["no_proxy"] == "example.org,127.0.0.1,localhost"
    assert environment["HOME"] == str(home)
    ray = Path(environment["RAY_TMPDIR"])
    assert len(str(ray)) < 45
    assert ray.is_dir()
    stop_session(home)
    assert not ray.exists()
    assert not home.exists()


def test_a_slow_start_is_tried_again_and_another_refusal_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(session: FlowerSession, step: str, command: object) -> dict[str, str]:
        asked.append(step)
        if len(asked) < 3:
            raise SimulationError(step, "Failed to start local SuperLink within 15s. See logs at x.")
        if len(asked) == 4:
            raise SimulationError(step, "Invalid Flower App configuration")
        return {"run-id": "7"}

    monkeypatch.setattr(FlowerSession, "_ask", ask)
    lines: list[str] = []
    with FlowerSession(on_line=lines.append) as session:
        assert session._submit(["run"]) == {"run-id": "7"}
        assert len(lines) == 2
        with pytest.raises(SimulationError, match="Invalid"):
            session._submit(["run"])
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("late", "status", "tries"),
    [(1, "finished:completed", 2), (9, "finished:failed", 3), (0, "finished:failed", 1)],
)
def test_a_run_begins_again_where_ray_was_late_and_not_where_the_app_failed(
    late: int, status: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[int] = []

    def submit(session: FlowerSession, command: object) -> dict[str, int]:
        submitted.append(len(submitted) + 1)
        return {"run-id": submitted[-1]}

    def stream(session: FlowerSession, run_id: str, *, deadline: float | None) -> bool:
        session._is_ray_late = int(run_id) <= late
        return True

    def final_status(session: FlowerSession, run_id: str) -> tuple[str, str]:
        return ("finished:failed" if session._is_ray_late else status), ""

    monkeypatch.setattr(FlowerSession, "_submit", submit)
    monkeypatch.setattr(FlowerSession, "_stream", stream)
    monkeypatch.setattr(FlowerSession, "_final_status", final_status)
    lines: list[str] = []
    with FlowerSession(on_line=lines.append) as session:
        outcome = session.run(Path("app"), {}, SimulationResources(2))
    assert (outcome.status, len(submitted)) == (status, tries)
    assert len(lines) == tries - 1


def test_a_command_that_never_answers_is_waited_for_aloud_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = tmp_path / "flwr"
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(simulation, "_flwr_command", lambda: str(sleeper))
    waited: list[int] = []
    with FlowerSession(on_wait=lambda: waited.append(1)) as session:
        monkeypatch.setattr(simulation, "_COMMAND_SECONDS", 1.2)
        with pytest.raises(SimulationError, match=r"flwr list \(within 1.2 s\)"):
            session._status("7")
        monkeypatch.undo()  # the guard has its own patience
    assert waited


def test_flower_s_own_patience_is_lengthened_where_its_names_still_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flwr.cli import local_superlink

    for name in ("LOCAL_SUPERLINK_STARTUP_TIMEOUT", "CONTROL_API_PROBE_TIMEOUT"):
        monkeypatch.setattr(local_superlink, name, getattr(local_superlink, name))
    patient_flwr._be_patient()
    assert local_superlink.LOCAL_SUPERLINK_STARTUP_TIMEOUT == patient_flwr.START_SECONDS > 15
    monkeypatch.delattr(local_superlink, "CONTROL_API_PROBE_TIMEOUT")
    patient_flwr._be_patient()
    assert not hasattr(local_superlink, "CONTROL_API_PROBE_TIMEOUT")


def test_a_quiet_run_says_that_it_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with (tmp_path / "log.txt").open("w") as log:
        teller = _Teller(log, verbose=False, sinks=Sinks({}, print))
        for seconds, line in ((0, "INFO : [ROUND 1/5]"), (20, "INFO : [ROUND 2/5]"), (22, "INFO : nothing")):
            now[0] = 100.0 + seconds
            teller.hear(line)
            teller.wait()
        now[0] = 129.0
        teller.wait()
        teller.hear("INFO : progress: done")
    said = capsys.readouterr().out.splitlines()
    assert said == ["  ... 20 s, round 2 of 5, about 80 s left of this training", "  done"]
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("line", "is_late"),
    [
        ("Exception: The current node timed out during startup. This could happen", True),
        ("\x1b[36m(ClientAppActor pid=7)\x1b[0m The current node timed out during startup", False),
        ("(pid=7) x\rThe current node timed out during startup", False),
    ],
)
def test_a_client_cannot_make_a_run_begin_again_nor_begin_a_line_of_its_own(
    line: str, is_late: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "flwr"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.stdout.buffer.write({(line + chr(10)).encode()!r})\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr("flower_coded.cli.simulation._flwr_command", lambda: str(script))
    heard: list[str] = []
    session = FlowerSession(on_line=heard.append)
    session._environment = dict(os.environ)
    assert session._stream("7", deadline=None)
    assert len(heard) == 1
    assert session._is_ray_late is is_late


def test_a_client_does_not_speak_for_the_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = "progress: FedAvg, round 3: accuracy 0.25"
    with (tmp_path / "log.txt").open("w") as log:
        teller = _Teller(log, verbose=False, sinks=Sinks({"files": FileSink(tmp_path)}, print))
        for line in (
            words,
            f"(ClientAppActor pid=7) {words}9",
            f"(ClientAppActor pid=7) INFO :      {words}8",
            "(ClientAppActor pid=7) INFO :      [ROUND 9/9]",
        ):
            teller.hear(line)
    assert capsys.readouterr().out.split() == words.removeprefix("progress: ").split()
    assert teller.rounds == ""
    (line,) = (tmp_path / "rounds.jsonl").read_text().splitlines()
    assert '"accuracy": 0.25}' in line


@pytest.mark.parametrize("wrong", [{"num_clients": 0}, {"cpus_per_client": 0}, {"gpus_per_client": -0.1}])
def test_impossible_resources_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="must be at least"):
        SimulationResources(**({"num_clients": 2} | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "expected"),
    [("finished:completed", 0), ("finished:failed", 1), ("finished:stopped", 1), ("timeout", 4)],
)
def test_an_outcome_becomes_an_exit_status(status: str, expected: int) -> None:
    assert RunOutcome("1", status, "", 0.0).exit_status == expected


def wait_until(condition: object) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
