"""``flower-coded plan encoded-gd``: storage, computation and tolerance of encoded gradient descent."""

from __future__ import annotations

from typing import Annotated

import typer

from flower_coded.cli.exit_codes import refusals_as_status
from flower_coded.codes import RealErrorLocatingCode
from flower_coded.protocols.encoded_gradient import (
    Resources,
    encoded_resources,
    plain_resources,
    repetition_resources,
)
from flower_coded.reporting import Table

__all__ = ["plan_encoded_gd"]


def plan_encoded_gd(
    workers: Annotated[int, typer.Argument(help="Workers, m.")],
    errors: Annotated[int, typer.Argument(help="Liars to correct, t.")],
    erasures: Annotated[int, typer.Argument(help="Stragglers on top, s; 2 t + s < m.")] = 0,
    rows: Annotated[int, typer.Option(min=1, help="Samples, n.")] = 20_000,
    columns: Annotated[int, typer.Option(min=1, help="Features, d.")] = 500,
) -> None:
    """Count storage and work of encoded gradient descent, beside plain descent and repetition.

    Theorem 1 of Data, Song and Diggavi (2018) with its constants; numbers are 8 bytes each.
    """
    with refusals_as_status():
        code = RealErrorLocatingCode(workers, errors, erasures)
        methods = [
            plain_resources(workers, rows, columns),
            encoded_resources(code, rows, columns),
        ]
        if workers > 2 * errors:
            methods.append(repetition_resources(workers, errors, rows, columns))
    typer.echo(_tolerance(code))
    typer.echo(Table.from_records(_record(each, rows, columns) for each in methods).to_text())


def _tolerance(code: RealErrorLocatingCode) -> str:
    checks, missing = code.num_checks, code.num_erasures
    return (
        f"{code.num_workers} workers, {checks} checks, blocks of {code.block_size} rows: "
        f"any e liars and f missing with 2 e + f <= {checks}.\n"
        f"Nobody missing: {checks // 2} liars; {missing} missing: {(checks - missing) // 2} liars; "
        f"nobody lying: {checks} missing.\n"
    )


def _record(resources: Resources, rows: int, columns: int) -> dict[str, str | int | float]:
    return {
        "method": resources.method,
        "liars": resources.max_errors,
        "MB per worker": 8e-6 * resources.storage_per_worker,
        "total / data": resources.storage_overhead(rows, columns),
        "encoding (Mmult)": 1e-6 * resources.encoding,
        "worker (Mmult/iteration)": 1e-6 * resources.worker_per_iteration,
        "master (Mmult/iteration)": 1e-6 * resources.master_per_iteration,
        "rounds": resources.rounds_per_iteration,
    }
