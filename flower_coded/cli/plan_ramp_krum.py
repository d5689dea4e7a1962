"""``flower-coded plan ramp-krum``: which K, m and packing fit, and what a round costs."""

from __future__ import annotations

from typing import Annotated

import typer

from flower_coded.cli.exit_codes import refusals_as_status
from flower_coded.protocols.ramp_krum.planner import Plan, best_plan, measure_unit_costs, plans
from flower_coded.reporting import Table

__all__ = ["plan_ramp_krum"]


def plan_ramp_krum(
    users: Annotated[int, typer.Argument(help="Users, N.")],
    attackers: Annotated[int, typer.Argument(help="Users that may lie, A.")],
    dropouts: Annotated[int, typer.Argument(help="Users that may fall silent, D.")] = 0,
    colluders: Annotated[int, typer.Argument(help="Users that may collude, T.")] = 1,
    length: Annotated[int, typer.Option(min=1, help="Entries of an update, L.")] = 100_000,
    bits: Annotated[int, typer.Option(min=2, max=32, help="Bits per entry.")] = 16,
    selected: Annotated[int, typer.Option(min=0, help="Users selected, m; 0: as many as work.")] = 0,
    packing: Annotated[bool, typer.Option(help="Consider several weights per field element.")] = False,
    measure: Annotated[bool, typer.Option(help="Measure this machine instead of assuming one.")] = False,
) -> None:
    """Predict symbols, bytes and seconds of ramp-shared multi-Krum for every K that fits, and mark the best.

    Symbols are field elements of 32 bytes; Table I is the paper's count of them. Seconds are of one core.
    """
    with refusals_as_status():
        candidates = plans(
            num_users=users,
            num_attackers=attackers,
            num_dropouts=dropouts,
            num_colluders=colluders,
            length=length,
            num_bits=bits,
            num_selected=selected or None,
            costs=measure_unit_costs() if measure else None,
        )
        best = best_plan(candidates, allow_packing=packing)
    shown = [plan for plan in candidates if packing or plan.parameters.num_per_element == 1]
    typer.echo(Table.from_records(_record(plan, plan is best) for plan in shown).to_text())


def _record(plan: Plan, is_best: bool) -> dict[str, str | int | float]:
    parameters = plan.parameters
    return {
        "K": parameters.sharing.num_parts,
        "m": parameters.num_selected,
        "per element": parameters.num_per_element,
        "user symbols": plan.user_symbols,
        "Table I": int(plan.formulas.per_user),
        "user MB": 1e-6 * plan.user_bytes,
        "user s": plan.user_seconds,
        "server symbols": plan.server_symbols,
        "Table I ": int(plan.formulas.server),
        "server MB": 1e-6 * plan.server_bytes,
        "server s": plan.server_seconds,
        "": "best" if is_best else "",
    }
