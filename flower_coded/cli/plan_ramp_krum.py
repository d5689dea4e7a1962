"""``flower-coded plan ramp-krum``: which K and m fit, and what a round costs."""

from __future__ import annotations

from typing import Annotated

import typer

from flower_coded.cli.exit_codes import refusals_as_status
from flower_coded.protocols.ramp_krum.measurements import DistanceMeasurements
from flower_coded.protocols.ramp_krum.planner import (
    Plan,
    best_plans,
    measure_unit_costs,
    plan_groups,
    plans,
)
from flower_coded.reporting import Table

__all__ = ["plan_ramp_krum"]

_SHOWN = 5


def plan_ramp_krum(
    users: Annotated[int, typer.Argument(help="Users, N.")],
    attackers: Annotated[int, typer.Argument(help="Users that may lie, A.")],
    dropouts: Annotated[int, typer.Argument(help="Users that may fall silent, D.")] = 1,
    colluders: Annotated[int, typer.Argument(help="Users that may collude, T; 0: as many as A.")] = 0,
    length: Annotated[int, typer.Option(min=1, help="Entries of an update, L.")] = 100_000,
    bits: Annotated[int, typer.Option(min=2, max=32, help="Bits per entry.")] = 16,
    selected: Annotated[int, typer.Option(min=0, help="Users selected, m; 0: as many as work.")] = 0,
    bandwidth: Annotated[float, typer.Option(min=0.001, help="A user's connection, Mbit/s.")] = 80.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds over which measurements are counted, R.")] = 100,
    show_all: Annotated[bool, typer.Option("--all", help="Show every K, not the best five.")] = False,
    measure: Annotated[bool, typer.Option(help="Measure this machine instead of assuming one.")] = False,
) -> None:
    """Predict what a round of ramp-shared multi-Krum costs, the fastest choices of K first.

    Symbols are field elements of 32 bytes; Table I is the paper's count of them, which leaves out that shares
    pass through the server (relayed MB). Seconds are of one core; the round's include sending, the server's
    connection taken to be ten times as wide as a user's, and leave out training. Below the table stands what
    the distances tell colluders who choose their updates as questions about all others.
    """
    bytes_per_second = 1e6 * bandwidth / 8
    with refusals_as_status():
        costs = measure_unit_costs() if measure else None
        sizes = {
            "num_users": users,
            "num_attackers": attackers,
            "num_dropouts": dropouts,
            "num_colluders": colluders or max(attackers, 1),
            "length": length,
            "num_bits": bits,
        }
        candidates = plans(**sizes, num_selected=selected or None, costs=costs)
        ordered = best_plans(candidates, bytes_per_second=bytes_per_second)
    shown = ordered if show_all else ordered[:_SHOWN]
    typer.echo(Table.from_records(_record(plan, bytes_per_second) for plan in shown).to_text())
    if len(shown) < len(ordered):
        typer.echo(f"\n{len(ordered)} values of K fit; --all shows the others.")
    # The same for every K: distances are of whole updates.
    typer.echo("\n" + DistanceMeasurements.of(ordered[0].parameters).sentence(rounds))
    for warning in ordered[0].warnings(bytes_per_second):
        typer.echo(f"Warning: even with the best K, {warning}.")
    grouped = plan_groups(**sizes, bytes_per_second=bytes_per_second, costs=costs)
    if grouped is not None:
        num_groups, plan = grouped
        typer.echo(
            f"{num_groups} groups of at most {plan.parameters.sharing.num_users} users, each with a protocol "
            f"of its own, serve better: {plan.wall_clock(bytes_per_second):,.0f} s a round and "
            f"{1e-6 * plan.user_bytes:,.0f} MB per user. Each group selects by itself."
        )


def _record(plan: Plan, bytes_per_second: float) -> dict[str, str | int | float]:
    parameters = plan.parameters
    return {
        "K": parameters.sharing.num_parts,
        "m": parameters.num_selected,
        "round s": plan.wall_clock(bytes_per_second),
        "user s": plan.user_seconds,
        "server s": plan.server_seconds,
        "user MB": 1e-6 * plan.user_bytes,
        "received MB": 1e-6 * plan.received_bytes,
        "relayed MB": 1e-6 * plan.relayed_bytes,
        "memory MB": 1e-6 * plan.user_memory,
        "user symbols": plan.user_symbols,
        "Table I": int(plan.formulas.per_user),
        "server symbols": plan.server_symbols,
        "Table I ": int(plan.formulas.server),
    }
