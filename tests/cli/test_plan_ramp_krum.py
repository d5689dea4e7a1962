from __future__ import annotations

from typer.testing import CliRunner

from flower_coded.cli.main import app

RUNNER = CliRunner()


def test_plan__shows_every_feasible_k_and_marks_the_best() -> None:
    result = RUNNER.invoke(app, ["plan", "ramp-krum", "20", "2", "2", "2", "--length", "131072"])
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines()[1:] if line.strip()]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row[-1] == "best" for row in rows] == [False] * 4 + [True]


def test_plan__compares_packings_when_asked() -> None:
    result = RUNNER.invoke(
        app, ["plan", "ramp-krum", "9", "1", "--length", "1000", "--bits", "8", "--packing"]
    )
    assert result.exit_code == 0, result.output
    packings = {line.split()[2] for line in result.output.splitlines()[1:] if line.strip()}
    assert {"1", "2"} <= packings


def test_plan__refuses_too_few_users_and_says_how_many_are_needed() -> None:
    result = RUNNER.invoke(app, ["plan", "ramp-krum", "6", "2"])
    assert result.exit_code == 2
    assert "no K works below 7 users" in result.output
