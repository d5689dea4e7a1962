"""Records on disk: whole or not at all, written once, one grid at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from flower_coded.errors import ParameterError
from flower_coded.sweep.store import SweepStore


def test_a_record_is_never_overwritten(tmp_path: Path) -> None:
    store = SweepStore(tmp_path / "sweep")
    assert store.write("k", {"status": "done", "accuracy": 0.5})
    assert not store.write("k", {"status": "done", "accuracy": 0.9})
    assert SweepStore(tmp_path / "sweep").read("k")["accuracy"] == 0.5
    assert [file.name for file in (tmp_path / "sweep" / "runs").iterdir()] == ["k.json"]


def test_half_written_records_do_not_count_and_are_swept_away(tmp_path: Path) -> None:
    store = SweepStore(tmp_path)
    (tmp_path / "runs" / "k.123.tmp").write_text('{"status": "do')
    assert store.keys() == set()
    with store.locked():
        assert list((tmp_path / "runs").iterdir()) == []


def test_only_one_grid_at_a_time_works_on_a_store(tmp_path: Path) -> None:
    with (
        SweepStore(tmp_path).locked(),
        pytest.raises(ParameterError, match="in use by another sweep"),
        SweepStore(tmp_path).locked(),
    ):
        pass
    with SweepStore(tmp_path).locked():
        pass


def test_failures_are_set_aside_and_kept(tmp_path: Path) -> None:
    store = SweepStore(tmp_path)
    store.write("a", {"status": "done"})
    for number in (1, 2):
        store.write("b", {"status": "failed", "error": f"number {number}"})
        assert store.forget_failures() == 1
        assert store.keys() == {"a"}
        assert (tmp_path / "runs" / f"b.failed-{number}").is_file()
