"""A cluster of two machines, one of which is killed in the middle, and one that joins."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from flower_coded.sweep.store import SweepStore

SCRIPT = """
import json, sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from flower_coded.sweep.outcome import LOST, RunResources
from flower_coded.sweep.resumable import do_missing
from flower_coded.sweep.store import SweepStore

NUM_TASKS = 24

def work(number):
    import os, ray, time
    with open(os.path.join(sys_argv_1, "worked"), "a") as file:
        file.write(f"{number} {ray.get_runtime_context().get_node_id()}\\n")
    time.sleep(0.4)
    doomed = os.path.join(sys_argv_1, "doomed")
    if os.path.exists(doomed) and open(doomed).read() == ray.get_runtime_context().get_node_id():
        time.sleep(60)  # in the middle of it when its machine is killed
    return {"status": "done", "number": number, "node": ray.get_runtime_context().get_node_id()}

def failed(outcome):
    return {"status": "failed", "number": outcome.task, "error": outcome.error, "cause": outcome.cause}

sys_argv_1 = sys.argv[1]
store = SweepStore(sys.argv[1])
tasks = {f"task-{number:02d}": number for number in range(NUM_TASKS)}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "temp_dir": sys.argv[2]})
second = cluster.add_node(num_cpus=2)
resources = RunResources(0, address=cluster.address)

def sweep(on_record):
    store.set_aside(tasks, lambda record: record.get("cause") == LOST, "lost")
    for key, record in do_missing(
        tasks, work, store, record_failure=failed, resources=resources, time_limit=60
    ):
        on_record(record)

seen = []

def kill_in_the_middle(record):
    seen.append(record)
    if len(seen) == 5:
        Path(sys.argv[1], "doomed").write_text(second.node_id)
        threading.Timer(1.5, cluster.remove_node, [second], {"allow_graceful": False}).start()
    if len(seen) == 12:
        cluster.add_node(num_cpus=2)

sweep(kill_in_the_middle)
first = {key: store.read(key) for key in sorted(store.keys())}
again = []
sweep(again.append)
second_table = {key: store.read(key) for key in sorted(store.keys())}
cluster.shutdown()
print(json.dumps([first, len(again), second_table]))
"""


@pytest.mark.experiment
def test_a_machine_killed_in_the_middle_costs_its_runs_only_and_they_are_run_again(tmp_path: Path) -> None:
    script, directory = tmp_path / "cluster.py", tmp_path / "store"
    script.write_text(SCRIPT)
    short = Path("/tmp") / f"fc-{os.getpid()}"  # Ray's sockets need a short name
    result = subprocess.run(
        [sys.executable, str(script), str(directory), str(short)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    shutil.rmtree(short, ignore_errors=True)
    assert result.returncode == 0, result.stderr[-3000:]
    first, num_again, second = json.loads(result.stdout.splitlines()[-1])
    assert len(first) == len(second) == 24, "every run has one record, before and after"
    lost = {key for key, record in first.items() if record["status"] != "done"}
    assert 1 <= len(lost) <= 2, "the machine had two processors"
    for key in lost:
        assert first[key]["cause"] == "lost"
        assert "died" in first[key]["error"] or "Died" in first[key]["error"], first[key]["error"]
        assert (directory / "runs" / f"{key}.lost-1").is_file()
    assert num_again == len(lost)
    assert all(record["status"] == "done" for record in second.values())
    assert {key: record for key, record in second.items() if key not in lost} == {
        key: record for key, record in first.items() if key not in lost
    }, "what was done stays as it was"
    worked = Counter(line.split()[0] for line in (directory / "worked").read_text().splitlines())
    twice = {f"task-{int(number):02d}" for number, count in worked.items() if count > 1}
    assert twice <= lost, "nothing that was done was done again"
    assert len({record["node"] for record in second.values()}) == 3, "the machine that joined took part"
    journal = Counter(line.split(",", 1)[1] for line in (directory / "journal.csv").read_text().splitlines())
    assert all(journal[f"done,{key}"] == 1 for key in second)
    assert SweepStore(directory).keys() == set(second)
