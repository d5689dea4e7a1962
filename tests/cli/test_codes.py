"""The explorer on the command line prints, writes and draws the same trade-off."""

from __future__ import annotations

import csv
from pathlib import Path

from typer.testing import CliRunner

from flower_coded.cli import app
from flower_coded.codes import explore_trade_off

RUNNER = CliRunner()
SMALL = ["codes", "--users", "8", "--attackers", "2"]


def test_codes__writes_one_row_for_each_row_weight(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, [*SMALL, "--csv", str(tmp_path / "codes.csv")])
    assert result.exit_code == 0
    with (tmp_path / "codes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["models"]) for row in rows] == [each.num_models for each in explore_trade_off(8, 2)]


def test_codes__prints_and_draws_one_matrix(tmp_path: Path) -> None:
    picture = tmp_path / "codes.png"
    result = RUNNER.invoke(app, [*SMALL, "--row-weight", "4", "--picture", str(picture)])
    assert result.exit_code == 0
    # BCC(2,4,8): four columns, each twice, two of them missing in every row.
    assert "BCC(2,4,8): a row is a model, a column a user\n\n  1 1 · · 1 1 · ·\n" in result.output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_codes__refuses_what_cannot_be(tmp_path: Path) -> None:
    for arguments, message in [
        (["--row-weight", "7"], "row_weight"),
        (["--kind", "perfect"], "kind must be one of"),
        (["--picture", str(tmp_path / "codes.jpg")], "must end in .png or .svg"),
    ]:
        result = RUNNER.invoke(app, [*SMALL, *arguments])
        assert result.exit_code == 2
        assert message in result.output
