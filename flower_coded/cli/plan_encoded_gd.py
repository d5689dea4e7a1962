"""``flower-coded plan encoded-gd``: storage, computation and tolerance of encoded gradient descent."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from flower_coded.cli.exit_codes import refusals_as_status
from flower_coded.codes import RealErrorLocatingCode
from flower_coded.protocols.encoded_gradient import (
    Resources,
    accuracy_without_keys,
    encoded_resources,
    plain_resources,
    repetition_resources,
)
from flower_coded.reporting import Table

__all__ = ["plan_encoded_gd"]


def plan_encoded_gd(
    workers: Annotated[int, typer.Argument(help="Workers, m.")],
    errors: Annotated[int, typer.Argument(help="Liars to correct without keys, t; twice as many with keys.")],
    erasures: Annotated[int, typer.Argument(help="Stragglers on top, s; 2 t + s < m.")] = 0,
    rows: Annotated[int, typer.Option(min=1, help="Samples, n.")] = 20_000,
    columns: Annotated[int, typer.Option(min=1, help="Features, d.")] = 500,
    accuracy: Annotated[float, typer.Option(help="Largest relative error of a result.")] = 1e-6,
) -> None:
    """Count storage and work of encoded gradient descent, beside plain descent and repetition.

    Theorem 1 of Data, Song and Diggavi (2018) with its constants; numbers are 8 bytes each. Tolerance is
    given with verification keys, where a liar costs as much as a missing answer, and without, where he
    costs twice as much.
    """
    with refusals_as_status():
        code = RealErrorLocatingCode(workers, errors, erasures)
        encoded = encoded_resources(code, rows, columns)
        methods = [
            plain_resources(workers, rows, columns),
            replace(encoded, method="encoded, keys", max_errors=code.num_checks),
            encoded,
        ]
        if workers > 2 * errors:
            methods.append(repetition_resources(workers, errors, rows, columns))
    typer.echo(_tolerance(code, columns, accuracy))
    typer.echo(Table.from_records(_record(each, rows, columns) for each in methods).to_text())


def _tolerance(code: RealErrorLocatingCode, columns: int, accuracy: float) -> str:
    """Say what is tolerated with verification keys and without them, and how exact results are."""
    checks = code.num_checks
    rows = [
        {"missing": gone, "liars with keys": checks - gone, "liars without": (checks - gone) // 2}
        for gone in sorted({0, code.num_erasures, checks // 2, checks})
    ]
    dropped = _first(code.num_workers, checks)
    norms = [code.with_secret("random", secret=i).recovery_norm(dropped) for i in range(25)]
    promised = accuracy_without_keys(code, columns)
    verdict = f", refused at an accuracy of {accuracy:.0e}" if promised > accuracy else ""
    digits = np.log10(np.median(norms))
    return (
        f"{code.num_workers} workers, {checks} checks, blocks of {code.block_size} rows.\n"
        f"Any e liars and f missing with e + f <= {checks} and verification keys (the default), with "
        f"2 e + f <= {checks} without them:\n\n"
        f"{Table.from_records(rows).to_text()}\n"
        f"With {checks} workers left out, whoever they are, keys lose {digits:.1f} of 16 digits.\n"
        f"Without keys a liar who knew everything could hide a relative error of {min(promised, 1.0):.0e}"
        f"{verdict}.\n"
    )


def _first(num_workers: int, count: int) -> NDArray[np.bool_]:
    return np.arange(num_workers) < count


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
