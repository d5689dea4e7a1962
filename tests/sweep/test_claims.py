"""Claims: one of many owns a run; the dead own nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flower_coded.sweep.claims import Claims


def test_of_many_who_try_at_once_one_succeeds(tmp_path: Path) -> None:
    owners = [Claims(tmp_path) for _ in range(16)]
    with ThreadPoolExecutor(max_workers=16) as executor:
        for key in map(str, range(20)):
            assert sum(executor.map(lambda owner, key=key: owner.take(key), owners)) == 1


def test_the_claim_of_a_process_that_is_gone_is_taken_over_by_one_only(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from flower_coded.sweep.claims import Claims; import os, signal\n\
assert Claims(Path({str(tmp_path)!r})).take('a')\n\
os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (tmp_path / "a.0").is_file()
    owners = [Claims(tmp_path) for _ in range(8)]
    assert owners[0].held_by_others() == set()
    with ThreadPoolExecutor(max_workers=8) as executor:
        assert sum(executor.map(lambda owner: owner.take("a"), owners)) == 1
    assert (tmp_path / "a.1").is_file()


def test_a_number_of_a_process_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    assert Claims(tmp_path).take("a")
    content = json.loads((tmp_path / "a.0").read_text())
    (tmp_path / "a.0").write_text(json.dumps(content | {"started": content["started"] - 100}))
    assert Claims(tmp_path).take("a")


def test_on_another_machine_a_claim_lasts_as_long_as_it_is_refreshed(tmp_path: Path) -> None:
    assert Claims(tmp_path, host="far-away").take("a")
    here = Claims(tmp_path, expiry=60.0)
    assert not here.take("a")
    assert here.held_by_others() == {"a"}
    long_ago = time.time() - 61
    os.utime(tmp_path / "a.0", (long_ago, long_ago))
    assert here.take("a")
    here.release("a")
    assert list(tmp_path.iterdir()) == [], "the void claim went with the one that replaced it"


def test_what_is_held_at_the_end_is_given_up(tmp_path: Path) -> None:
    one, other = Claims(tmp_path), Claims(tmp_path)
    with one.refreshed():
        assert one.take("a")
        assert not one.take("a")
        assert not other.take("a")
    assert other.take("a")
