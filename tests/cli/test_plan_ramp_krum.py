from __future__ import annotations

from typer.testing import CliRunner

from flower_coded.cli.main import app

RUNNER = CliRunner()


def test_plan__shows_the_fastest_choices_first() -> None:
    result = RUNNER.invoke(app, ["plan", "ramp-krum", "20", "2", "2", "2", "--length", "131072"])
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines()[1:] if line.strip()]
    # The more parts, the shorter the shares.
    assert [row[0] for row in rows if row[0].isdigit()] == ["5", "4", "3", "2", "1"]
    assert "Warning" not in result.output


def test_plan__of_five_hundred_users_shows_five_rows_warns_and_advises_groups() -> None:
    command = ["plan", "ramp-krum", "500", "10", "2", "--length", "11700000"]
    result = RUNNER.invoke(app, command)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if line.strip()]
    assert "229 values of K fit; --all shows the others." in lines[6]
    assert any("the server relays 1," in line and line.startswith("Warning") for line in lines)
    assert any("groups of at most" in line for line in lines)
    everything = RUNNER.invoke(app, [*command, "--all"]).output
    assert len([line for line in everything.splitlines() if line.strip()]) > 229


def test_plan__counts_what_distances_tell_colluders() -> None:
    command = ["plan", "ramp-krum", "20", "3", "2", "--length", "1000", "--rounds", "50"]
    result = RUNNER.invoke(app, command)
    assert result.exit_code == 0, result.output
    # T = A = 3: two functions of each of 17 updates, and the pairs left over give their norms.
    said = " ".join(result.output.split())
    assert "from 51 pairs with 17 honest users: 2 linear functions" in said
    assert "34 in all, 1,700 over 50 rounds; what stays alike in an update is read whole after 500." in said


def test_plan__counts_what_passes_through_the_server() -> None:
    result = RUNNER.invoke(app, ["plan", "ramp-krum", "20", "2", "2", "2", "--length", "120000"])
    row = dict(zip(*_columns(result.output), strict=True))
    # Table I counts 267,230 symbols for the server, 8.6 MB; the shares of 20 users are forty times that.
    assert 320 < row["relayed MB"] < 345


def _columns(output: str) -> tuple[list[str], list[float]]:
    names = ["K", "m", "round s", "user s", "server s", "user MB", "received MB", "relayed MB"]
    first = output.splitlines()[2 if set(output.splitlines()[1]) <= set("- ") else 1].split()
    return names, [float(value.replace(",", "")) for value in first[: len(names)]]


def test_plan__refuses_too_few_users_and_says_how_many_are_needed() -> None:
    result = RUNNER.invoke(app, ["plan", "ramp-krum", "6", "2"])
    assert result.exit_code == 2
    assert "no K works below 10 users" in result.output
