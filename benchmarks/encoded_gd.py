"""Time of encoded gradient descent beside plain descent and repetition.

Run: ``python benchmarks/encoded_gd.py``, n = 20,000, d = 500, m = 15, t = 5. A worker's time is that of all
fifteen one after the other, divided by fifteen, so that no method profits from data that stay in the cache;
all times are the fastest of several.
Limits: a share is ``2 (1 + epsilon)`` times the data over ``m`` (Theorem 1; ``epsilon = 2`` here), and the
master's floor is ``m^2`` multiplications per block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from flower_coded.codes import RealErrorLocatingCode
from flower_coded.protocols.encoded_gradient import (
    Answer,
    EncodedGradientMaster,
    LeastSquares,
    Product,
    Share,
    answer,
    encoded_resources,
    get_baseline,
)
from flower_coded.reporting import Table

NUM_ROWS, NUM_COLUMNS, WORKERS, LIARS = 20_000, 500, 15, (1, 4, 7, 8, 12)
GENERATOR = np.random.default_rng(0)
Row = dict[str, str | float | None]


def main() -> None:
    features = GENERATOR.standard_normal((NUM_ROWS, NUM_COLUMNS))
    targets = GENERATOR.standard_normal(NUM_ROWS)
    code = RealErrorLocatingCode(WORKERS, len(LIARS))
    EncodedGradientMaster.begin(code, features[:20], targets[:20])
    encoding, (master, shares) = seconds(lambda: EncodedGradientMaster.begin(code, features, targets))
    products = [Product(1, GENERATOR.standard_normal(NUM_COLUMNS + 1))]
    products.append(Product(2, GENERATOR.standard_normal(NUM_ROWS)))
    work = [fastest(partial(answers_of, shares, p), 9) / WORKERS for p in products]
    rows = [encoding_row(encoding, shares), *worker_rows(features, targets, sum(work))]
    rows += master_rows(master, shares, products, work)
    rows.append(append_row(code, master, features, targets))
    print(Table.from_records(rows).to_text())
    stored = {share.num_numbers for share in shares}
    formula = encoded_resources(code, NUM_ROWS, NUM_COLUMNS).storage_per_worker
    print(f"numbers stored per worker: {stored}, by the formula {formula}")


def encoding_row(encoding: float, shares: list[Share]) -> Row:
    copying, _ = seconds(lambda: [(share.first.copy(), share.second.copy()) for share in shares])
    return row("encode all shares, once", encoding, "copying all shares", copying)


def worker_rows(features: np.ndarray, targets: np.ndarray, work: float) -> list[Row]:
    weights, slopes = np.ones(NUM_COLUMNS), np.ones(NUM_ROWS)
    one_pass = fastest(lambda: (features @ weights, features.T @ slopes)) / 2
    share = 6 / WORKERS * one_pass
    rows = [row("worker, both products", work, "its share, 2 (1 + e) / m, of one pass over X", share, 1.3)]
    for name, bar in (("plain", 1.3 * 6), ("repetition", None)):
        parts = get_baseline(name, len(LIARS)).spread(features, targets, WORKERS)
        its = fastest(partial(gradients_of, parts, weights), 5) / WORKERS
        rows.append(row("worker, both products", work, f"worker of {name}", its, bar))
    return rows


def master_rows(
    master: EncodedGradientMaster, shares: list[Share], products: list[Product], work: list[float]
) -> list[Row]:
    honest = [[answer(share, product) for share in shares] for product in products]
    lying = [[lie(each) if each.worker in LIARS else each for each in answers] for answers in honest]
    rows = []
    for label, received, forget in (
        ("nobody lies", honest, False),
        ("the same five lie", lying, False),
        ("five others every time", lying, True),
    ):
        for product, answers, its_work in zip(products, received, work, strict=True):

            def decode(
                product: Product = product, answers: list[Answer] = answers, new: bool = forget
            ) -> None:
                if new:
                    master.suspects.clear()
                master.decode(product, answers)

            limit = 2 * WORKERS**2 / NUM_COLUMNS * its_work
            what = f"master, product {product.which}, {label}"
            rows.append(row(what, fastest(decode, 25), "2 m^2 / d of a worker's", limit, 1.0))
    return rows


def append_row(
    code: RealErrorLocatingCode, master: EncodedGradientMaster, features: np.ndarray, targets: np.ndarray
) -> Row:
    small, _ = EncodedGradientMaster.begin(code, features[:2000], targets[:2000])
    times = []
    for growing in (master, small):
        times.append(fastest(partial(append_next, growing, iter(features[:200])), 150))
    return row("append a point at n = 20,000", times[0], "at n = 2,000", times[1])


def answers_of(shares: list[Any], product: Product) -> list[Answer]:
    return [answer(share, product) for share in shares]


def gradients_of(parts: list[Any], weights: np.ndarray) -> list[np.ndarray]:
    return [part.gradient(LeastSquares(), weights) for part in parts]


def append_next(master: EncodedGradientMaster, points: Iterator[np.ndarray]) -> None:
    master.append(next(points), 1.0)


def lie(honest: Answer) -> Answer:
    return Answer(honest.worker, 10 * GENERATOR.standard_normal(honest.values.shape))


def row(what: str, spent: float, against: str, reference: float, bar: float | None = None) -> Row:
    ratio = spent / reference
    return {
        "what": what,
        "ms": 1e3 * spent,
        "against": against,
        "its ms": 1e3 * reference,
        "ratio": ratio,
        "bar": bar,
    }


def seconds(action: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def fastest(action: Callable[[], object], repetitions: int = 7) -> float:
    action()
    return float(np.min([seconds(action)[0] for _ in range(repetitions)]))


if __name__ == "__main__":
    main()
