"""``flower-coded plan encoded-gd``."""

from __future__ import annotations

from typer.testing import CliRunner

from flower_coded.cli.main import app


def test_plan__prints_tolerance_and_the_theorem_s_storage() -> None:
    result = CliRunner().invoke(app, ["plan", "encoded-gd", "15", "5", "--rows", "20000", "--columns", "500"])
    assert result.exit_code == 0, result.output
    assert "any e liars and f missing with 2 e + f <= 10" in result.output
    encoded = next(line for line in result.output.splitlines() if line.startswith("encoded"))
    # 4000 (500 + 1) + 100 * 20000 numbers of 8 bytes; six times the data in all.
    assert encoded.split()[1:4] == ["5", "32.032", "6.006"]


def test_plan__refuses_more_liars_than_any_code_corrects() -> None:
    result = CliRunner().invoke(app, ["plan", "encoded-gd", "15", "8"])
    assert result.exit_code == 2
    assert "15 workers correct up to 7 errors" in result.output
