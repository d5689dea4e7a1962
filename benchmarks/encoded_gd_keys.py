"""What verification keys cost: made once beside the encoding, checked beside one worker's products.

Run: ``python benchmarks/encoded_gd_keys.py``. Two tables, n = 20,000, d = 500, m = 15, t = 5 and n = 200,000,
d = 100, m = 31, t = 10. "Check" is everything that verification adds to decoding: for ``X w - y`` the keys
of all ``m`` workers, for the gradient the key of the product as a whole (that of every worker too, in the
last column, where somebody lied who had not before). "Read once" is the floor of any check: one pass over
the ``m`` answers. Times are the fastest of several; the worker's is that of all workers one after the
other, over ``m``, so that no share stays in the cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from flower_coded.codes import RealErrorLocatingCode
from flower_coded.protocols.encoded_gradient import Answer, EncodedGradientMaster, Product, Table, answer
from flower_coded.protocols.encoded_gradient.coded_product import CodedMatrix
from flower_coded.reporting import Table as Report

CASES = ((20_000, 500, 15, 5), (200_000, 100, 31, 10))


def main() -> None:
    print(Report.from_records(measure(*case) for case in CASES).to_text())


def measure(num_rows: int, num_columns: int, num_workers: int, num_errors: int) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    features = generator.standard_normal((num_rows, num_columns))
    table = Table(features, generator.standard_normal(num_rows))
    code = RealErrorLocatingCode(num_workers, num_errors)
    master = EncodedGradientMaster(code, table)
    keys = fastest(master._read_table, 3) - fastest(lambda: norms(master), 3)
    started = time.perf_counter()
    shares = [master.deal(worker) for worker in range(num_workers)]
    encoding = time.perf_counter() - started
    vectors = (generator.standard_normal(num_columns + 1), generator.standard_normal(num_rows))
    products = [Product(which, vector) for which, vector in enumerate(vectors, start=1)]
    working = [fastest(partial(answers_of, shares, each), 5) / num_workers for each in products]
    answers = [np.stack([answer(share, each).values for share in shares]) for each in products]
    first, second = master.first, master.second
    gradient = features.T @ vectors[1]
    assert first.keys is not None
    assert second.keys is not None
    assert second.whole_key is not None
    first_keys, second_keys, whole_key = first.keys, second.keys, second.whole_key
    check_first = fastest(lambda: first_keys.values(answers[0], vectors[0]), 30)
    check_second = fastest(lambda: whole_key.values(gradient[None], vectors[1]), 30)
    check_singly = fastest(lambda: second_keys.values(answers[1], vectors[1]), 10)
    reading = fastest(answers[0].sum, 30) + fastest(answers[1].sum, 30)
    return {
        "n, d, m, t": f"{num_rows}, {num_columns}, {num_workers}, {num_errors}",
        "encoding ms": 1e3 * encoding,
        "keys ms": 1e3 * keys,
        "keys / encoding": keys / encoding,
        "worker, both products ms": 1e3 * sum(working),
        "check, both ms": 1e3 * (check_first + check_second),
        "check / worker": (check_first + check_second) / sum(working),
        "read once / worker": reading / sum(working),
        "gradient singly ms": 1e3 * check_singly,
    }


def norms(master: EncodedGradientMaster) -> None:
    """Read the table without keys: what the paper's decoder needs too."""
    num_rows, num_columns = master.table.num_rows, master.table.num_columns
    code = RealErrorLocatingCode(master.code.num_workers, master.code.num_errors)
    first = CodedMatrix(code, num_rows, num_columns + 1, verification="code", accuracy=1e300)
    second = CodedMatrix(code, num_columns, num_rows, verification="code", accuracy=1e300)
    for start, rows in master._chunks():
        first.add_rows(start, np.column_stack([rows, -master.targets[start : start + len(rows)]]))
        second.add_columns(rows.T, first=start)


def answers_of(shares: list[Any], product: Product) -> list[Answer]:
    return [answer(share, product) for share in shares]


def fastest(action: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    main()
