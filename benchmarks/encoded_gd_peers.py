"""Six ways to get a gradient from workers who may lie, on one table, against one attack, in one process.

Run: ``python benchmarks/encoded_gd_peers.py``; n = 20,000, d = 200, m = 15. Five workers collude. In our
code and the paper's their errors lie along the null vector of ten neighboring columns of the public matrix;
in methods whose answers are gradients each adds the same multiple of a common vector.

* plain: ``m`` disjoint parts, the sum.
* repetition: DRACO (Chen et al., ICML 2018), groups of ``2 t + 1``, the majority counts.
* gradient coding (Tandon et al., ICML 2017): cyclic code, each worker sends one combination of ``s + 1``
  partial gradients; made for stragglers, it cannot tell a liar.
* AVCC (Tang et al., arXiv 2107.12958): an MDS code for stragglers over a prime field, keys for liars. The
  data are rounded to integers for the field, which is what its error is.
* encoded, code: Data, Song and Diggavi, Allerton 2018, without keys.
* encoded, keys: the default here.

"Tolerates" counts liars when nobody is missing. Times are the fastest of three; a worker's is that of all
workers over ``m``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from flower_coded.codes import RealErrorLocatingCode
from flower_coded.protocols.encoded_gradient import (
    Answer,
    EncodedGradientMaster,
    LeastSquares,
    Product,
    Table,
    answer,
    get_baseline,
)
from flower_coded.reporting import Table as Report

N, D, M, T = 20_000, 200, 15, 5
LIARS = np.arange(0, 2 * T, 2)
GENERATOR = np.random.default_rng(0)
X, Y, W = GENERATOR.standard_normal((N, D)), GENERATOR.standard_normal(N), GENERATOR.standard_normal(D)
GRADIENT = X.T @ (X @ W - Y)
Row = dict[str, Any]


def main() -> None:
    rows = [baseline("plain"), baseline("repetition"), gradient_coding(), avcc()]
    rows += [encoded("code"), encoded("keys")]
    print(Report.from_records(rows).to_text())


def row(
    method: str, tolerates: str, stored: float, worker: float, master: float, result: np.ndarray | None
) -> Row:
    error = np.inf if result is None else np.linalg.norm(result - GRADIENT) / np.linalg.norm(GRADIENT)
    return {
        "method": method,
        "tolerates": tolerates,
        "storage / data": stored / X.size,
        "worker ms": 1e3 * worker,
        "master ms": 1e3 * master,
        "error under attack": f"{error:.1e}" if np.isfinite(error) else "refused",
    }


def baseline(name: str) -> Row:
    method = get_baseline(name, T)
    parts = method.spread(X, Y, M)
    worker, gradients = fastest(lambda: [part.gradient(LeastSquares(), W) for part in parts])
    sent = {i: attacked(i, each) for i, each in enumerate(gradients)}
    master, result = fastest(lambda: method.combine(sent, M))
    return row(name, str(T if name == "repetition" else 0), stored(parts), worker / M, master, result)


def gradient_coding() -> Row:
    """Cyclic repetition: worker ``i`` holds parts ``i .. i + s``, sends one combination of them."""
    missing = T
    code = np.zeros((M, M))
    checks = GENERATOR.standard_normal((missing, M))
    checks[:, -1] = -checks[:, :-1].sum(axis=1)
    for i in range(M):  # row i has support i .. i + s and lies in the null space of the checks
        support = (i + np.arange(missing + 1)) % M
        code[i, support[0]] = 1.0
        code[i, support[1:]] = -np.linalg.solve(checks[:, support[1:]], checks[:, support[0]])
    parts = get_baseline("plain", 0).spread(X, Y, M)

    def work() -> list[np.ndarray]:
        return [
            sum(code[i, j] * parts[j].gradient(LeastSquares(), W) for j in np.flatnonzero(code[i]))
            for i in range(M)
        ]

    worker, sent = fastest(work)
    received = np.stack([attacked(i, each) for i, each in enumerate(sent)])
    master, result = fastest(lambda: np.linalg.lstsq(code.T, np.ones(M), rcond=None)[0] @ received)
    return row("gradient coding", "0", (missing + 1) * stored(parts), worker / M, master, result)


def avcc() -> Row:
    """Matrix products over GF(p) with an MDS code of ``m - 2 t`` blocks, verified by keys."""
    prime, bits, blocks = 33_554_393, 7, M - 2 * T  # the field of the paper; seven fractional bits
    points = np.vander(np.arange(1, M + 1), blocks, increasing=True) % prime

    def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        # float64 adds products of 25-bit numbers exactly if one side is cut into two halves of 13 bits
        low, high = (a & 8191).astype(float), (a >> 13).astype(float)
        both = [np.rint(np.asarray(half @ b.astype(float))).astype(np.int64) % prime for half in (low, high)]
        return np.asarray((both[0] + 8192 * both[1]) % prime)

    def fixed(values: np.ndarray) -> np.ndarray:
        return np.asarray(np.rint(values * 2**bits).astype(np.int64) % prime)

    def real(values: np.ndarray, scale: int) -> np.ndarray:
        return np.where(values > prime // 2, values - prime, values) / 2.0**scale

    def encode(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        parts = fixed(matrix.reshape(blocks, -1, matrix.shape[1]))
        shares = np.stack(
            [sum(points[i, k] * parts[k] % prime for k in range(blocks)) % prime for i in range(M)]
        )
        secret = GENERATOR.integers(0, prime, (1, shares.shape[1]))
        return shares, secret, np.stack([multiply(secret, share) for share in shares])

    def inverse(matrix: np.ndarray) -> np.ndarray:
        size = len(matrix)
        rows = np.concatenate([matrix.astype(object), np.eye(size, dtype=object)], axis=1)
        for k in range(size):
            rows[k] = rows[k] * pow(int(rows[k, k]), -1, prime) % prime
            for other in range(size):
                if other != k:
                    rows[other] = (rows[other] - rows[other, k] * rows[k]) % prime
        return np.asarray(rows[:, size:].astype(np.int64))

    def product(kept: tuple[np.ndarray, ...], vector: np.ndarray) -> tuple[float, float, np.ndarray]:
        shares, secret, images = kept
        worker, sent = fastest(lambda: [multiply(share, vector) for share in shares])
        for liar in LIARS:
            sent[liar] = (sent[liar] + 1) % prime

        def master() -> np.ndarray:
            right = [i for i in range(M) if (multiply(secret, sent[i]) == multiply(images[i], vector)).all()][
                :blocks
            ]
            solver = inverse(points[right])
            return np.concatenate(
                [sum(c * sent[i] % prime for c, i in zip(r, right, strict=True)) % prime for r in solver]
            )

        seconds, values = fastest(master)
        return worker / M, seconds, values

    first, second = encode(np.column_stack([X, -Y])), encode(np.ascontiguousarray(X.T))
    worker_1, master_1, values = product(first, fixed(np.append(W, 1.0)))
    differences = real(values, 2 * bits)[:N]
    # The second product must fit the field: fewer bits for the differences of twenty thousand terms.
    shift = 2.0 ** np.floor(np.log2(prime / 2 / (2**bits * np.abs(X).max() * np.abs(differences).sum())))
    worker_2, master_2, values = product(second, np.rint(differences * shift).astype(np.int64) % prime)
    stored_numbers = first[0].size + second[0].size
    return row(
        "AVCC",
        str(2 * T),
        stored_numbers,
        worker_1 + worker_2,
        master_1 + master_2,
        real(values, bits) / shift,
    )


def answers_of(shares: list[Any], product: Product) -> list[Answer]:
    return [answer(share, product) for share in shares]


def encoded(verification: Literal["keys", "code"]) -> Row:
    code = RealErrorLocatingCode(M, T)
    master = EncodedGradientMaster(code, Table(X, Y), verification=verification)
    shares = [master.deal(i) for i in range(M)]
    pattern = np.linalg.svd(code.locator_matrix.check[:, : 2 * T])[2][-1]
    vector, working, deciding, values = np.append(W, 1.0), 0.0, 0.0, None
    for which in (1, 2):
        product = Product(which, vector)
        seconds, answers = fastest(partial(answers_of, shares, product))
        working += seconds / M
        for liar in map(int, LIARS):
            size = np.abs(answers[liar].values).max()
            answers[liar] = Answer(liar, answers[liar].values + size * pattern[liar])
        seconds, decoded = fastest(partial(master.decode, product, answers))
        deciding += seconds
        vector = values = decoded.values
    name = f"encoded, {verification}"
    tolerates = 2 * T if verification == "keys" else T
    return row(name, str(tolerates), sum(share.num_numbers for share in shares), working, deciding, values)


def attacked(worker: int, gradient: np.ndarray) -> np.ndarray:
    return np.asarray(gradient + 1e-3 * np.abs(gradient).max() * (worker in LIARS))


def stored(parts: list[Any]) -> float:
    return float(sum(part.num_numbers for part in parts))


def fastest(action: Callable[[], Any]) -> tuple[float, Any]:
    best, result = np.inf, None
    for _ in range(3):
        started = time.perf_counter()
        result = action()
        best = min(best, time.perf_counter() - started)
    return best, result


if __name__ == "__main__":
    main()
