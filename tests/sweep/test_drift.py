"""A sweep that goes on under other versions says so, and mixes nothing unless told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from flower_coded.errors import ParameterError
from flower_coded.reporting.provenance import code_digest
from flower_coded.sweep.drift import Drift, describe_drift, meet_drift, pending_drift, versions
from flower_coded.sweep.store import SweepStore


def store_with(tmp_path: Path, **changes: str) -> SweepStore:
    store = SweepStore(tmp_path)
    store.write("same", {"status": "done", **versions()})
    store.write("other", {"status": "done", **versions(), **changes})
    return store


def test_the_digest_follows_code_that_decides_results_and_no_other(tmp_path: Path) -> None:
    for part in ("codes", "cli"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "one.py").write_text("x = 1\n")
    digests = [code_digest.__wrapped__(tmp_path)]
    for name, text in [("cli/one.py", "x = 2\n"), ("codes/one.py", "x = 2\n"), ("codes/two.py", "")]:
        (tmp_path / name).write_text(text)
        digests.append(code_digest.__wrapped__(tmp_path))
    assert digests[0] == digests[1]
    assert len(set(digests[1:])) == 3


def test_going_on_is_refused_with_what_differs_and_what_to_do(tmp_path: Path) -> None:
    store = store_with(tmp_path, **{"version-torch": "1.0", "version-code": "abc"})
    with pytest.raises(ParameterError, match=r"code abc, now \w+ .1 runs., torch 1.0, now .*--accept-drift"):
        meet_drift(["same", "other", "missing"], store, Drift.REFUSE)
    meet_drift(["same", "missing"], store, Drift.REFUSE)
    meet_drift(["same", "other"], store, Drift.REFUSE)  # nothing is to be done: nothing is mixed


def test_records_of_other_versions_are_kept_or_run_again_as_told(tmp_path: Path) -> None:
    store = store_with(tmp_path, **{"version-torch": "1.0"})
    meet_drift(["same", "other", "missing"], store, Drift.ACCEPT)
    assert store.keys() == {"same", "other"}
    meet_drift(["same", "other", "missing"], store, Drift.RERUN)
    assert store.keys() == {"same"}
    assert (tmp_path / "runs" / "other.drifted-1").is_file()
    assert pending_drift(["same", "other"], store) == ""


def test_a_record_without_versions_is_unknown() -> None:
    assert describe_drift([{}], {"version-code": "abc"}) == "code unknown, now abc (1 runs)"
