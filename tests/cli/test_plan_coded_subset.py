"""The planner of subset codes chooses the fewest models for what is asked."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from flower_coded.cli import app
from flower_coded.codes import backdoor_correction_code, backdoor_tracking_code

RUNNER = CliRunner()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--data", "0.3"], backdoor_correction_code(4, 4, 12, rows="fewest")),
        (["--no-selective", "--data", "0.5"], backdoor_correction_code(2, 6, 12, rows="fewest")),
        (
            ["--no-selective", "--tracking", "--users", "16", "--data", "0.25"],
            backdoor_tracking_code(2, 6, 16),
        ),
    ],
)
def test_plan_coded_subset__prints_code_and_promises(options: list[str], code) -> None:  # type: ignore[no-untyped-def]
    result = RUNNER.invoke(app, ["plan", "coded-subset", *options])
    assert result.exit_code == 0, result.output
    assert f"  {code.num_models} (" in result.output
    assert f"label known  {code.guarantees.corrected_selective}" in " ".join(result.output.split("   "))


def test_plan_coded_subset__refuses_what_no_code_gives() -> None:
    result = RUNNER.invoke(
        app, ["plan", "coded-subset", "--users", "12", "--attackers", "3", "--data", "0.6"]
    )
    assert result.exit_code == 2
    assert "must be at most 0.50" in result.output
