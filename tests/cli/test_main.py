"""The command's surface: help, refusals with status 2, and reports of finished runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flower_coded import __version__
from flower_coded.cli import app, plan
from flower_coded.cli.exit_codes import REFUSED
from flower_coded.reporting import RunDirectory

RUNNER = CliRunner()
ENDINGS = str(Path(__file__).parent / "apps" / "endings")


@pytest.mark.parametrize("command", [[], ["run"], ["demo"], ["codes"], ["report"], ["scenarios"]])
def test_every_command_has_help(command: list[str]) -> None:
    result = RUNNER.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_version_is_the_packages() -> None:
    assert RUNNER.invoke(app, ["--version"]).output.strip() == f"flower-coded {__version__}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "no_such_scenario"], "scenario must be one of"),
        (["run", ENDINGS, "endin=fail"], "did you mean ending?"),
        (["run", ENDINGS, "num-clients=0"], "num_clients must be at least 1"),
        (["run", ENDINGS, "--cpus-per-client", "999"], "cpus_per_client must not exceed"),
        (["report", "/nowhere/at/all"], "metrics.json"),
        (["codes", "--csv", "/nowhere/at/all.csv"], "/nowhere/at"),
    ],
)
def test_a_refusal_is_one_sentence_and_status_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    extra = ["--results", str(tmp_path / "results")] if arguments[0] == "run" else []
    result = RUNNER.invoke(app, [*arguments, *extra])
    assert result.exit_code == REFUSED
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "results").exists(), "a refused run leaves nothing behind"


def test_results_that_cannot_be_written_are_a_sentence_too() -> None:
    result = RUNNER.invoke(app, ["run", ENDINGS, "--results", "/proc/nope"])
    assert result.exit_code == REFUSED
    assert "/proc/nope" in result.output
    assert "Traceback" not in result.output


def test_scenarios__lists_settings_with_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scenario = tmp_path / "scenarios" / "zebra"
    scenario.mkdir(parents=True)
    (scenario / "pyproject.toml").write_text(
        '[project]\ndescription = "Stripes."\n[tool.flwr.app.config]\n'
        'num-clients = 5  # how many take part\nname = "a # b"\n'
    )
    monkeypatch.chdir(tmp_path)
    output = RUNNER.invoke(app, ["scenarios"]).output
    expected = "zebra  Stripes.\n    num-clients=5                     how many take part\n    name=a # b\n"
    assert expected in output


def test_report__prints_the_table_and_composes_a_page(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "s", name="run")
    run.write_metrics([{"round": 1, "accuracy": 0.5}])
    result = RUNNER.invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 0
    assert "0.500" in result.output
    assert run.report_path.is_file()


@pytest.mark.parametrize(
    ("seeds", "said"), [((1, 2), "seed       1      2"), ((1, 1), "The settings are the same.")]
)
def test_report__compares_runs(seeds: tuple[int, int], said: str, tmp_path: Path) -> None:
    runs = [RunDirectory.create(tmp_path, "s", name=name) for name in ("one", "other")]
    for run, seed in zip(runs, seeds, strict=True):
        run.write_config({"seed": seed})
        run.write_metrics([{"accuracy": 0.5}])
    result = RUNNER.invoke(app, ["report", *(str(run.path) for run in runs)])
    assert said in result.output
    assert result.output.count("0.500") == 2


def test_report__leaves_a_scenarios_own_page_alone(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "s", name="run")
    run.write_metrics([{"round": 1, "accuracy": 0.5}])
    run.report_path.write_text("mine")
    RUNNER.invoke(app, ["report", "--rebuild", str(run.path)])
    assert run.report_path.read_text() == "mine"
    assert "0.500" in (run.path / "overview.html").read_text()


def test_plan__loads_a_registered_command_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plan.PLANS, "square", f"{__name__}:print_square")
    assert "square" in RUNNER.invoke(app, ["plan", "--help"]).output
    assert RUNNER.invoke(app, ["plan", "square", "--side", "3"]).output == "9\n"
    assert RUNNER.invoke(app, ["plan", "cube"]).exit_code == 2


def print_square(side: int = 1) -> None:
    """Square a number."""
    print(side * side)
