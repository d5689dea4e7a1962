"""``flower-coded plan encoded-gd``."""

from __future__ import annotations

from typer.testing import CliRunner

from flower_coded.cli.main import app


def test_plan__prints_tolerance_and_the_theorem_s_storage() -> None:
    result = CliRunner().invoke(app, ["plan", "encoded-gd", "15", "5", "--rows", "20000", "--columns", "500"])
    assert result.exit_code == 0, result.output
    assert "with e + f <= 10 and verification keys (the default)" in result.output
    assert "with 2 e + f <= 10 without them" in result.output
    rows = [line.split() for line in result.output.splitlines()]
    assert ["0", "10", "5"] in rows  # nobody missing: ten liars with keys, five without
    assert any(row[:4] == ["encoded,", "keys", "10", "32.032"] for row in rows)
    encoded = next(line for line in result.output.splitlines() if line.startswith("encoded "))
    # 4000 (500 + 1) + 100 * 20000 numbers of 8 bytes; six times the data in all.
    assert encoded.split()[1:4] == ["5", "32.032", "6.006"]


def test_plan__refuses_more_liars_than_any_code_corrects() -> None:
    result = CliRunner().invoke(app, ["plan", "encoded-gd", "15", "8"])
    assert result.exit_code == 2
    assert "15 workers correct up to 7 errors" in result.output


def test_plan__says_where_the_decoder_without_keys_is_of_no_use() -> None:
    result = CliRunner().invoke(app, ["plan", "encoded-gd", "64", "16"])
    assert "could hide a relative error of 1e+00, refused at an accuracy of 1e-06" in result.output
