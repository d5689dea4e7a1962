"""Search for codes with fewer rows and write the tables that the package ships.

    python benchmarks/search_codes.py covers --users 16 --seconds 600     # detection and correction
    python benchmarks/search_codes.py orbits --seconds 600                # the larger of them
    python benchmarks/search_codes.py tracking --attackers 3 --seconds 600
    python benchmarks/search_codes.py tables                              # docs/code_tables.md
    python benchmarks/search_codes.py prove                               # codes that cannot be

Each starts from the tables as they are, keeps what has fewer rows, and verifies it before writing
``flower_coded/codes/subset/known_codes.txt`` or ``tracking_codes.txt``. Stopping one loses nothing but the
code at hand. From empty tables on two cores of an Intel Xeon at 2.5 GHz, some 5 minutes of ``covers``, 20 of
``orbits`` and 25 of ``tracking`` lead to what is shipped, give or take a few rows of the largest: the
searches are random.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import typer
from code_search.columns import code_exists
from code_search.covers import Covering
from code_search.orbits import orbit_cover
from code_search.proofs import correction_code_exists, detection_code_exists
from code_search.tables import CoverTable, TrackingTable
from code_search.tracking import anneal_columns

from flower_coded.codes import build_code, correction_bound, detection_bound, tracking_bound
from flower_coded.codes.subset.bounds import COMPUTED, NO_CORRECTION

app = typer.Typer(add_completion=False)
Seconds = Annotated[float, typer.Option(help="When to stop.")]
TABLES_HEAD = """# How many models a code takes, for up to 16 users

Printed by `python benchmarks/search_codes.py tables`. Bold: proved to be the fewest possible; otherwise the
best lower bound stands in brackets. `n` users, each model on `r` of them or more, `k` colluding attackers.
All codes are verified exhaustively by the tests. [codes.md](codes.md) says what the kinds promise and where
the codes come from."""
_ANSWERS = {True: "exists", False: "does not exist", None: "undecided"}
BY_COLUMNS = {(3, 3, 9), (3, 3, 10), (4, 3, 10)}
"""Cases of too many rows for the integer program over all columns."""
Users = Annotated[int, typer.Option(help="Up to so many users.")]
Seed = Annotated[int, typer.Option(help="Draws everything.")]


@app.command()
def covers(users: Users = 16, seconds: Seconds = 600.0, moves: int = 1_000_000, seed: Seed = 0) -> None:
    """Anneal covers with one row less than known, and than that, until an attempt fails."""
    table, generator, end = CoverTable(), np.random.default_rng(seed), time.monotonic() + seconds
    for k, r, n in _parameters(users):
        covering = Covering(k, r, n)
        for rows in _rows_to_try(table.rows("detection", k, r, n), detection_bound(k, r, n)):
            if time.monotonic() > end:
                return
            blocks = covering.anneal(rows, generator, moves)
            if blocks is None:
                break
            table.keep(k, r, n, covering.codes(blocks, generator))
        is_open = table.rows("correction", k, r, n) > max(
            correction_bound(k, r, n), table.rows("detection", k, r, n)
        )
        for _ in range(8 if is_open else 0):  # other covers of as many rows may have no complementary sums
            blocks = covering.anneal(table.rows("detection", k, r, n), generator, moves)
            if blocks is not None:
                table.keep(k, r, n, covering.codes(blocks, generator))


@app.command()
def orbits(users: Users = 16, seconds: Seconds = 600.0, seed: Seed = 0) -> None:
    """Look for symmetric covers where 30 rows or more are above the bound."""
    table, generator, end = CoverTable(), np.random.default_rng(seed), time.monotonic() + seconds
    while time.monotonic() < end:
        for k, r, n in _parameters(users):
            rows = table.rows("detection", k, r, n)
            if time.monotonic() > end:
                return
            if rows < 30 or rows == detection_bound(k, r, n):
                continue
            blocks = orbit_cover(k, r, n, rows, generator, seconds=8)
            if blocks is not None:
                table.keep(k, r, n, Covering(k, r, n).codes(blocks, generator))


@app.command()
def tracking(
    attackers: int = 2, users: Users = 16, seconds: Seconds = 600.0, moves: int = 400_000, seed: Seed = 0
) -> None:
    """Anneal tracking codes with one row less than known; eight attempts each."""
    table, generator, end = TrackingTable(), np.random.default_rng(seed), time.monotonic() + seconds
    for n in range(attackers + 2, users + 1):
        for r in range(n - attackers - 1, 0, -1):
            attempts = 8
            while attempts and time.monotonic() < end:
                rows = table.rows(attackers, r, n) - 1
                if not tracking_bound(attackers, r, n) <= rows <= 24:
                    break
                columns = anneal_columns(attackers, r, n, rows, generator, moves)
                attempts = attempts - 1 if columns is None else 8
                if columns is not None:
                    table.keep(attackers, r, n, rows, columns)


@app.command()
def prove(seconds: Seconds = 600.0) -> None:
    """Decide again all single cases that the bounds rest on and that we decided ourselves."""
    for (k, r, n), rows in COMPUTED.items():
        exists = detection_code_exists(k, r, n, rows - 1, seconds=seconds)
        print(f"BDC({k},{r},{n}) with {rows - 1} rows {_ANSWERS[exists]}", flush=True)
    for k, r, n in NO_CORRECTION:
        rows = detection_bound(k, r, n)
        exists = (
            code_exists(k, r, n, rows, correction=True)
            if (k, r, n) in BY_COLUMNS
            else correction_code_exists(k, r, n, rows, seconds=seconds)
        )
        print(f"BCC({k},{r},{n}) with {rows} rows {_ANSWERS[exists]}", flush=True)


@app.command()
def tables() -> None:
    """Print the page of tables, ``docs/code_tables.md``: models, with lower bounds where those are less."""
    print(TABLES_HEAD)
    for kind, bound in (
        ("correction", correction_bound),
        ("detection", detection_bound),
        ("tracking", tracking_bound),
    ):
        for k in range(1, 5):
            print(f"\n## {kind.capitalize()}, k = {k}\n")
            weights = range(1, 16 - k + 1)
            print("| n \\ r |" + "".join(f" {r} |" for r in weights) + "\n|" + "---|" * (len(weights) + 1))
            for n in range(k + 1, 17):
                cells = [
                    _cell(build_code(kind, k, r, n).num_models, bound(k, r, n)) if r <= n - k else ""
                    for r in weights
                ]
                print(f"| {n} | " + " | ".join(cells) + " |")


def _cell(models: int, least: int) -> str:
    return f"**{models}**" if models == least else f"{models} ({least})"


def _parameters(most_users: int) -> Iterator[tuple[int, int, int]]:
    for n in range(3, most_users + 1):
        for k in range(1, n - 1):
            if k <= 4 or n <= 10:
                yield from ((k, r, n) for r in range(1, n - k))


def _rows_to_try(known: int, bound: int) -> Iterator[int]:
    """Half way to the bound first while much is to be gained, then row by row."""
    while known > bound:
        known = (known + bound) // 2 if known > 1.5 * bound + 2 else known - 1
        yield known


if __name__ == "__main__":
    app()
