"""What a private Gram matrix costs, as ratios of one run; and products with and without packing.

The first table is relative to computing ``XᵀX`` at home: dealing to all workers, their keys, the table's own
key, one worker's time, and checking all workers. The second compares a product of two private matrices of
4,000 rows and 100 columns each, plain and with two real rows in one complex row, at 0.01 bits per value.

    OMP_NUM_THREADS=1 python benchmarks/robust_alcc_cost.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from flower_coded.codes import AnalogLagrangeCode
from flower_coded.codes.real.analog_privacy import noise_scale_for
from flower_coded.protocols.analog_computing import AnalogMaster, AnalogWorker, Request, pack_factors
from flower_coded.reporting import Table


def seconds(work: Callable[[], Any], repetitions: int = 3) -> tuple[float, Any]:
    """Give the least processor time of some repetitions, and the last result."""
    best, result = np.inf, None
    for _ in range(repetitions):
        started = time.process_time()
        result = work()
        best = min(best, time.process_time() - started)
    return best, result


def gram_record(rows: int, columns: int, workers: int, colluders: int) -> dict[str, Any]:
    table = np.random.default_rng(0).uniform(-1, 1, (1, rows, columns))
    code = AnalogLagrangeCode(workers, 1, colluders, noise_scale=500.0, radius=2.0)
    master, request = AnalogMaster(code, (rows, columns)), Request("gram")
    home, _ = seconds(lambda: table[0].T @ table[0])
    noise, _ = seconds(lambda: master.deal(table), 1)
    encoding, share = seconds(lambda: master.share_of(0), 2)
    keys, _ = seconds(lambda: master.make_key(0, request, share), 1)
    working, _ = seconds(lambda: AnalogWorker(share).compute(request))
    results = {
        worker: AnalogWorker(master.share_of(worker)).compute(request).values for worker in range(workers)
    }
    master.decode(request, results)  # makes the keys that are missing
    decoding, _ = seconds(lambda: master.decode(request, results), 2)
    dealing = noise + workers * encoding
    return {
        "table": f"{rows:,} x {columns}",
        "workers": workers,
        "dealing / home": dealing / home,
        "of it noise": noise / dealing,
        "keys / dealing": workers * keys / dealing,
        "a worker / home": working / home,
        "check and decode / a worker": decoding / working,
    }


def product_record(is_packed: bool) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    table = generator.uniform(-1, 1, (4000, 200))
    code = AnalogLagrangeCode(15, 1, 3, radius=2.0)
    # A packed entry holds two values of magnitude 1 at most: |z|² up to 2, and twice the bits.
    options = {"data_bound": np.sqrt(2.0), "is_data_real": False} if is_packed else {"data_bound": 1.0}
    code = replace(code, noise_scale=noise_scale_for(code, 0.02 if is_packed else 0.01, **options))
    blocks = (pack_factors(table, 100) if is_packed else table)[None]
    master, request = AnalogMaster(code, blocks.shape[1:]), Request("product", np.array([100.0]))
    dealing, shares = seconds(lambda: list(master.deal(blocks, generator)), 2)
    working, _ = seconds(lambda: AnalogWorker(shares[0]).compute(request))
    outcome = master.decode(
        request, {each.worker: AnalogWorker(each).compute(request).values for each in shares}
    )
    return {
        "rows": "packed" if is_packed else "plain",
        "sigma": code.noise_scale,
        "MB per share": shares[0].block.nbytes / 1e6,
        "dealing, ms": 1e3 * dealing,
        "a worker, ms": 1e3 * working,
        "error": f"{np.linalg.norm(outcome.total - table[:, :100].T @ table[:, 100:]):.1e}",
        "bound": f"{outcome.total_error_bound:.1e}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="a table of 200,000 rows too (3 GB)")
    arguments = parser.parse_args()
    sizes = [(1000, 10, 31, 4), (20_000, 100, 31, 4), (20_000, 500, 15, 3)]
    sizes += [(200_000, 100, 31, 4)] if arguments.large else []
    print(Table.from_records([gram_record(*size) for size in sizes]).to_markdown(digits=3))
    print()
    print(Table.from_records([product_record(packed) for packed in (False, True)]).to_markdown(digits=1))


if __name__ == "__main__":
    main()
