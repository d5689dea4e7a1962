"""Numerical libraries keep to one thread while a ServerApp runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.serverapp import ServerApp
from threadpoolctl import threadpool_info, threadpool_limits

from flower_coded.cli.environment import session_environment
from flower_coded.threads import THREAD_VARIABLES, available_processors, one_thread


def threads_of_blas() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_a_server_computes_on_one_thread_and_gives_the_others_back() -> None:
    app, seen = ServerApp(), []
    app.lifespan()(one_thread)

    @app.main()
    def main(grid: object, context: object) -> None:
        seen.extend(threads_of_blas())

    with threadpool_limits(2):
        app(SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
        assert seen
        assert set(seen) == {1}
        assert set(threads_of_blas()) == {2}


def test_a_session_has_one_thread_a_process_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    environment = session_environment(tmp_path / "home")
    assert [environment[name] for name in THREAD_VARIABLES] == ["3", "1", "1", "1"]


@pytest.mark.parametrize(
    ("content", "at_most"),
    [("max 100000\n", 10**6), ("150000 100000\n", 2), ("50000 100000\n", 1), ("?", 10**6)],
)
def test_available_processors__keeps_to_a_containers_quota(
    tmp_path: Path, content: str, at_most: int
) -> None:
    (tmp_path / "cpu.max").write_text(content)
    without = available_processors(tmp_path / "missing")
    assert available_processors(tmp_path / "cpu.max") == min(without, at_most)
