"""``flower-coded plan coded-subset``: which code, for so many users, attackers and data per model."""

from __future__ import annotations

from typing import Annotated

import typer

from flower_coded.cli.exit_codes import refusals_as_status
from flower_coded.codes import SubsetCode, TradeOff, build_code, explore_trade_off
from flower_coded.errors import ParameterError
from flower_coded.reporting.tables import Table

__all__ = ["plan_coded_subset"]


def plan_coded_subset(
    users: Annotated[int, typer.Option("--users", "-n", help="Users, n.")] = 12,
    attackers: Annotated[int, typer.Option("--attackers", "-k", help="Colluding users to withstand.")] = 2,
    data: Annotated[
        float, typer.Option(help="Share of all users that each model learns from, at least.")
    ] = 0.3,
    selective: Annotated[
        bool, typer.Option(help="Attackers may poison only some of their models, chosen with the decoder.")
    ] = True,
    tracking: Annotated[
        bool, typer.Option(help="Attackers who poison all their models are to be known.")
    ] = False,
) -> None:
    """Choose a code: the fewest models for what is asked.

    Attackers who have read the decoder poison only chosen models. Against k of them the label is certain only
    under a code that detects 2 k; --no-selective asks for the paper's promise, against attackers who poison
    every model they belong to.
    """
    with refusals_as_status():
        if not 0 < data < 1:
            raise ParameterError("data", "must lie in (0, 1)", data, hint="0.3")
        strength = 2 * attackers if selective else attackers
        kind = "tracking" if tracking else "correction"
        found = [each for each in explore_trade_off(users, strength, kind) if each.data_utilization >= data]
        if not found:
            most = (users - strength) / users
            raise ParameterError("data", f"must be at most {most:.2f} against so many attackers", data)
        best = min(found, key=lambda each: (each.num_models, -each.data_utilization))
        code = build_code(kind, strength, best.row_weight, users)
        typer.echo(_advice(code, best))


def _advice(code: SubsetCode, chosen: TradeOff) -> str:
    promises = code.guarantees
    least = "proven least" if chosen.is_optimal else f"at least {chosen.lower_bound} are needed"
    rows = {
        "models to train, store and run": f"{code.num_models} ({least})",
        "users that each model learns from": f"{code.row_weight} or more of {code.num_users}",
        "client work, in rounds of one model": f"{code.training_cost:.2f}",
        "attackers who poison all their models: label known": promises.corrected,
        "attackers who poison only chosen models: label known": promises.corrected_selective,
        "attackers who poison all their models: named": promises.tracked,
        "attackers noticed, if models never err": promises.detected,
    }
    table = Table.from_records([{"": key, "code": value} for key, value in rows.items()])
    k, r, n = chosen.num_attackers, code.row_weight, chosen.num_users
    return f"{code.name}\n\n{table.to_text()}\n\nbackdoor_{chosen.kind}_code({k}, {r}, {n})"
