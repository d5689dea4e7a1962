"""``flower-coded codes``: how many models a code needs for the share of data that each of them sees."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from matplotlib.figure import Figure

from flower_coded.codes.subset.subset_code import SubsetCode
from flower_coded.codes.subset.trade_off import TradeOff, build_code, explore_trade_off
from flower_coded.errors import ParameterError
from flower_coded.reporting.charts import draw_lines
from flower_coded.reporting.figures import new_figure, save_figure
from flower_coded.reporting.pictures import draw_matrix
from flower_coded.reporting.tables import Table

__all__ = ["explore"]


def explore(
    *, kind: str, num_attackers: int, num_users: int, row_weight: int, csv: Path | None, picture: Path | None
) -> None:
    """Print the trade-off for every row weight, and write it as CSV and as a picture where asked.

    Parameters
    ----------
    kind : str
        ``"detection"``, ``"correction"`` or ``"tracking"``.
    num_attackers, num_users : int
        ``k`` and ``n``.
    row_weight : int
        ``r`` of the one code whose matrix is printed (and drawn) too; 0 for none.
    csv, picture : Path or None
        Where to write; a picture's name ends in ``.png`` or ``.svg``.

    Raises
    ------
    ParameterError
        If no such code exists or the kind is unknown.
    """
    found = _explored(num_users, num_attackers, kind)
    code = build_code(kind, num_attackers, row_weight, num_users) if row_weight else None
    if picture is not None and picture.suffix not in {".png", ".svg"}:
        raise ParameterError("picture", "must end in .png or .svg", str(picture))
    table = Table.from_records([_record(each) for each in found])
    typer.echo(f"{kind} codes for {num_users} users, against up to {num_attackers} colluding attackers:\n")
    typer.echo(table.to_text())
    if code is not None:
        typer.echo(f"\n{code.name}: a row is a model, a column a user\n\n{_as_text(code)}")
    if csv is not None:
        table.write_csv(csv)
        typer.echo(f"\ntable: {csv.resolve()}")
    if picture is not None:
        typer.echo(f"\npicture: {save_figure(_drawn(found, code), picture).resolve()}")


def _explored(num_users: int, num_attackers: int, kind: str) -> list[TradeOff]:
    """Explore, with a bar on a terminal: for many users and attackers it takes minutes."""
    if not sys.stderr.isatty():
        return explore_trade_off(num_users, num_attackers, kind)
    most = max(num_users - num_attackers, 1)
    with typer.progressbar(length=most, label="row weights", file=sys.stderr) as bar:
        return explore_trade_off(num_users, num_attackers, kind, on_code=lambda _: bar.update(1))


def _record(trade_off: TradeOff) -> dict[str, int | float | str]:
    return {
        "row weight": trade_off.row_weight,
        "data per model": trade_off.data_utilization,
        "models": trade_off.num_models,
        "lower bound": trade_off.lower_bound,
        "proven least": "yes" if trade_off.is_optimal else "",
        "training cost": trade_off.training_cost,
        "selective attackers": trade_off.guarantees.corrected_selective,
    }


def _as_text(code: SubsetCode) -> str:
    return "\n".join("  " + " ".join("1" if entry else "·" for entry in row) for row in code.matrix)


def _drawn(found: list[TradeOff], code: SubsetCode | None) -> Figure:
    figure = new_figure(1, 1 if code is None else 2)
    points = [
        {"row weight": each.row_weight, "models": value, "what": what}
        for each in found
        for what, value in (("models of the code", each.num_models), ("proven lower bound", each.lower_bound))
    ]
    first = found[0]
    draw_lines(
        points,
        x="row weight",
        y="models",
        group="what",
        title=f"{first.kind}: {first.num_users} users, {first.num_attackers} attackers",
        x_label="users each model learns from (row weight r)",
        y_label="models m",
        axes=figure.axes[0],
    )
    figure.axes[0].set_yscale("log", base=2)
    if code is not None:
        draw_matrix(code.matrix, title=code.name, x_label="user", y_label="model", axes=figure.axes[1])
    return figure
