"""Records on disk: whole or not at all, written once."""

from __future__ import annotations

import os
import time
from pathlib import Path

from flower_coded.sweep.store import SweepStore


def test_a_record_is_never_overwritten(tmp_path: Path) -> None:
    store = SweepStore(tmp_path / "sweep")
    assert store.write("k", {"status": "done", "accuracy": 0.5})
    assert not store.write("k", {"status": "done", "accuracy": 0.9})
    assert SweepStore(tmp_path / "sweep").read("k")["accuracy"] == 0.5
    assert [file.name for file in (tmp_path / "sweep" / "runs").iterdir()] == ["k.json"]


def test_half_written_records_do_not_count_and_are_cleared_when_old(tmp_path: Path) -> None:
    store = SweepStore(tmp_path)
    old, new = tmp_path / "runs" / "k.123.tmp", tmp_path / "runs" / "l.456.tmp"
    for file in (old, new):
        file.write_text('{"status": "do')
    os.utime(old, (time.time() - 7200,) * 2)
    assert store.keys() == set()
    assert not store.has("k")
    store.clear_leftovers()
    assert list((tmp_path / "runs").iterdir()) == [new], "a young one may be somebody's work in progress"


def test_failures_are_set_aside_and_kept(tmp_path: Path) -> None:
    store = SweepStore(tmp_path)
    store.write("a", {"status": "done"})
    store.write("c", {"status": "failed"})
    for number in (1, 2):
        store.write("b", {"status": "failed", "error": f"number {number}"})
        assert store.set_aside(["a", "b"], lambda record: record["status"] != "done", "failed") == 1
        assert store.keys() == {"a", "c"}, "others' failures stay"
        assert (tmp_path / "runs" / f"b.failed-{number}").is_file()
