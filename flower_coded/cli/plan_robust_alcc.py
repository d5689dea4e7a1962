"""``flower-coded plan robust-alcc``: whom a private computation survives, what it hides, what it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from flower_coded.cli.exit_codes import refusals_as_status
from flower_coded.codes import AnalogLagrangeCode
from flower_coded.errors import ParameterError
from flower_coded.protocols.analog_computing import (
    Plan,
    Verification,
    get_function,
    plan_computation,
)
from flower_coded.reporting import Table

__all__ = ["plan_robust_alcc"]

_BITS = (1.0, 0.1, 0.01, 1e-3, 1e-4)


def plan_robust_alcc(
    workers: Annotated[int, typer.Argument(help="Workers, N.")],
    colluders: Annotated[int, typer.Argument(help="Everybody who may pool shares, liars included, t.")],
    blocks: Annotated[int, typer.Argument(help="Parts the table is split into, k.")] = 1,
    byzantine: Annotated[int, typer.Option(min=0, help="Liars to be survived, A, at most t.")] = 0,
    stragglers: Annotated[int, typer.Option(min=0, help="Silent workers to be survived, s.")] = 0,
    rows: Annotated[int, typer.Option(min=1, help="Rows of the table.")] = 1000,
    columns: Annotated[int, typer.Option(min=2, help="Columns of the table.")] = 10,
    spread: Annotated[
        float, typer.Option(min=1e-6, max=1.0, help="Standard deviation of a column scaled into [-1, 1].")
    ] = 0.3,
    bits: Annotated[
        float, typer.Option(min=0.0, help="Most that t workers learn of a position; 0 for a table of levels.")
    ] = 0.0,
) -> None:
    """Count whom a private Gram matrix survives, what it hides, and the digits that costs."""
    with refusals_as_status():
        code = AnalogLagrangeCode(workers, blocks, colluders)
        code.check_pooling(byzantine)
        shape = (-(-rows // blocks), columns)
        levels = (bits,) if bits else _BITS
        records = [
            _record(code, verification, shape, level, byzantine, stragglers, spread)
            for verification in _verifications(code, byzantine, stragglers)
            for level in levels
        ]
    typer.echo(_tolerance(code))
    typer.echo(_privacy(code))
    typer.echo(_cost(code, rows, columns))
    typer.echo(Table.from_records(records).to_text())
    typer.echo(
        "\nerror: bound on the result's error as a part of |X|^2, with these liars and silent workers\n"
        "in the worst places, and with what liars can add unnoticed; honest: if nobody lies. "
        "A float64 has 16 digits."
    )


def _verifications(code: AnalogLagrangeCode, byzantine: int, stragglers: int) -> list[Verification]:
    """Give those that survive so many; the keys' refusal stands for both."""
    if 2 * byzantine + stragglers <= code.num_spare:
        return ["keys", "code"]
    return ["keys"]


def _tolerance(code: AnalogLagrangeCode) -> str:
    spare = code.num_spare
    return (
        f"{code.num_workers} workers, {code.dimension} results needed. With keys: any A liars and s silent "
        f"with A + s <= {spare};\nby the code alone: 2 A + s <= {spare}.\n"
    )


def _privacy(code: AnalogLagrangeCode) -> str:
    if code.num_colluders == 0:
        return "Nothing is hidden from anybody: t = 0.\n"
    hidden_from, cliff = code.num_colluders, code.privacy_cliff
    return (
        f"Any {hidden_from} workers learn no more than the bits below. From {hidden_from + 1} on, who pool "
        f"their shares know\ncombinations of the data exactly, {cliff} know the whole table, whatever the "
        "noise.\n"
    )


def _cost(code: AnalogLagrangeCode, rows: int, columns: int) -> str:
    """Compare real multiplications: a complex one is four, and XᵀX needs half of a product."""
    local = rows * columns**2 / 2
    dealing = (
        4 * code.num_workers * (rows / code.num_blocks) * columns * (code.num_blocks + code.num_colluders)
    )
    return (
        f"Dealing costs {dealing / local:.0f} times one Gram matrix computed at home: it pays where many "
        "functions of one table\nare wanted, or where nobody at home may run them.\n"
    )


def _record(
    code: AnalogLagrangeCode,
    verification: Verification,
    shape: tuple[int, int],
    bits: float,
    byzantine: int,
    stragglers: int,
    spread: float,
) -> dict[str, str | float]:
    row: dict[str, str | float] = {"verified by": verification, "bits": bits}
    try:
        plan: Plan = plan_computation(
            code,
            get_function("gram"),
            shape,
            max_bits=bits,
            num_byzantine=byzantine,
            num_stragglers=stragglers,
            verification=verification,
            data_scale=spread,
        )
    except ParameterError as error:
        if error.name != "max_bits":
            raise
        return row | {"beta": "-", "sigma": "out of reach"}
    return row | {
        "beta": plan.code.radius,
        "sigma": plan.code.noise_scale,
        "digits lost": f"{plan.digits_lost:.1f}",
        "error, honest": f"{plan.honest_error / plan.scale:.1e}",
        "error": f"{plan.relative_error:.1e}",
    }
