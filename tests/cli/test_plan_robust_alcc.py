"""``flower-coded plan robust-alcc``."""

from __future__ import annotations

from typer.testing import CliRunner

from flower_coded.cli.main import app


def plan(*arguments: str):
    return CliRunner().invoke(app, ["plan", "robust-alcc", *arguments])


def test_plan__prints_tolerance_with_and_without_keys_and_the_cliff() -> None:
    result = plan("31", "4", "2", "--byzantine", "4", "--stragglers", "2", "--bits", "0.01")
    assert result.exit_code == 0, result.output
    # K = (2 + 4 - 1) * 2 + 1 = 11; t + ceil(k/2) = 5.
    assert "A + s <= 20" in result.output
    assert "2 A + s <= 20" in result.output
    assert "5 know the whole table" in result.output
    rows = [line.split() for line in result.output.splitlines() if line.startswith(("keys", "code"))]
    assert [row[0] for row in rows] == ["keys", "code"]
    honest, against_liars = (float(value) for value in rows[0][-2:])
    assert 0 < honest < against_liars < 1


def test_plan__leaves_the_code_out_where_it_cannot_serve_so_many() -> None:
    result = plan("15", "4", "--byzantine", "4", "--bits", "1")
    assert result.exit_code == 0, result.output
    assert not any(line.startswith("code") for line in result.output.splitlines())


def test_plan__counts_liars_among_those_who_may_pool() -> None:
    result = plan("31", "3", "2", "--byzantine", "8")
    assert result.exit_code == 2
    assert "liars included" in result.output + (result.stderr or "")
