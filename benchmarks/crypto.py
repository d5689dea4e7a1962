"""Field, curve, commitments and Reed–Solomon: one table of processor times, with baselines and floors.

All times are seconds of processor time of this process on one thread, so that other work on the machine does
not count; each is the best of a few repetitions, and every ratio is measured within this run. The floor is
what the method cannot beat with the same backend: points times the backend's time per point, measured here on
a large sum.

    OPENBLAS_NUM_THREADS=1 python benchmarks/crypto.py
    OPENBLAS_NUM_THREADS=1 python benchmarks/crypto.py --large                   # windows of long tables too
    OPENBLAS_NUM_THREADS=1 python benchmarks/crypto.py --peer trusted_setup.txt  # with ckzg installed: blst
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from py_ecc.optimized_bls12_381.optimized_curve import G1, add, multiply

from flower_coded.crypto.backends import get_backend
from flower_coded.crypto.backends.fixed_base import FixedBaseTable
from flower_coded.crypto.commitment import Claim, VectorCommitment
from flower_coded.crypto.commitment_basis import CommitmentBasis
from flower_coded.crypto.field_products import gram_matrix, matmul_constant
from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    from_signed_int64,
    random_elements,
    to_ints,
)
from flower_coded.crypto.four_squares import four_squares
from flower_coded.crypto.reed_solomon import ReedSolomonCode
from flower_coded.crypto.srs import ReferenceString, generate_reference_string
from flower_coded.crypto.srs_cache import cached_reference_string
from flower_coded.crypto.weighted_products import weighted_inner_products

NUM_USERS, DIMENSION = 20, 8  # N, and K + T
POINTS = [point for point in range(-NUM_USERS // 2, NUM_USERS // 2 + 1) if point]


@dataclass
class Row:
    """One line of the table; seconds, or None where there is nothing to compare with."""

    what: str
    ours: float
    baseline: float | None = None
    baseline_name: str = ""
    floor: float | None = None


def seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """Return the least processor time of a few calls."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def multi_scalar_multiplication(rows: list[Row], reference: ReferenceString) -> float:
    """Compare backends; return arkworks' time per point of a long sum of full-size scalars."""
    fast, slow = reference.backend, get_backend("py_ecc")
    points, scalars = list(reference.powers), random_elements(reference.size)
    count = 1024
    slow_points = slow.from_affine_bytes(fast.to_affine_bytes(points[:count]), check_subgroup=False)
    ours = seconds(lambda: fast.msm(points[:count], scalars[:count]))
    reference_time = seconds(lambda: slow.msm(slow_points, scalars[:count]), 1)
    tables = CommitmentBasis(fast, reference.powers[:count], True)
    tables.multiply(scalars[:count])
    with_tables = seconds(lambda: tables.multiply(scalars[:count]))
    rows.append(Row(f"MSM of {count}, 255 bits: arkworks", ours, reference_time, "py_ecc backend"))
    rows.append(
        Row(f"MSM of {count}, 255 bits: arkworks and tables", with_tables, reference_time, "py_ecc backend")
    )
    naive = 3
    values = to_ints(scalars[:naive])

    def sum_of_multiples() -> None:
        total = multiply(G1, values[0])
        for value in values[1:]:
            total = add(total, multiply(G1, value))

    naive_time = seconds(sum_of_multiples, 1) * count / naive
    rows.append(
        Row(f"MSM of {count}, 255 bits: py_ecc backend", reference_time, naive_time, "py_ecc's own (sampled)")
    )
    rows.append(
        Row(f"MSM of {reference.size}, 255 bits: arkworks", seconds(lambda: fast.msm(points, scalars)))
    )
    per_point = rows[-1].ours / reference.size
    fixed_points(rows, reference)
    return per_point


def fixed_points(rows: list[Row], reference: ReferenceString) -> None:
    """Compare the two ways of making sums over a fixed basis cheap with the plain sum."""
    fast, points, size = reference.backend, list(reference.powers), reference.size
    small = from_signed_int64(np.random.default_rng(0).integers(-(2**15), 2**15, size))
    large = random_elements(size)
    shifting, tables = (CommitmentBasis(fast, reference.powers, with_tables) for with_tables in (False, True))
    shifting.multiply(small)  # the sum of the points, once
    FixedBaseTable.of(fast.to_affine_bytes(points[:8])).multiply(large[:8])  # compiled or loaded, once
    building = seconds(lambda: FixedBaseTable.of(fast.to_affine_bytes(points)), 1)
    tables.multiply(small)
    plain = seconds(lambda: fast.msm(points, small))
    rows.append(
        Row(
            f"MSM of {size}, signed 16 bits: shifted",
            seconds(lambda: shifting.multiply(small)),
            plain,
            "plain",
        )
    )
    rows.append(
        Row(f"MSM of {size}, signed 16 bits: tables", seconds(lambda: tables.multiply(small)), plain, "plain")
    )
    plain = seconds(lambda: fast.msm(points, large))
    rows.append(
        Row(f"MSM of {size}, 255 bits: tables", seconds(lambda: tables.multiply(large)), plain, "plain")
    )
    rows.append(Row(f"tables of {size} points, once per process", building))


def windows(rows: list[Row], size: int, bits: tuple[int, ...]) -> None:
    """Compare windows of tables for one number of points; the baseline is the first."""
    reference = generate_reference_string(size)
    data = reference.backend.to_affine_bytes(reference.powers)
    scalars = random_elements(size)
    first = None
    for window in bits:
        table = FixedBaseTable.of(data, window=window)
        taken = seconds(lambda t=table: t.multiply(scalars))  # type: ignore[misc]
        what = f"MSM of {size}, 255 bits: window of {window} bits, {2 * table.x.nbytes >> 20} MiB"
        rows.append(Row(what, taken, first, f"window of {bits[0]} bits"))
        first = first or taken


def peer(rows: list[Row], reference: ReferenceString, trusted_setup: str) -> None:
    """Compare with ckzg, which computes with blst, on its own 4096 points."""
    import ckzg

    settings = ckzg.load_trusted_setup(trusted_setup, 0)
    small = from_signed_int64(np.random.default_rng(0).integers(0, 2**16, 4096))
    for name, scalars in (("255 bits", random_elements(4096)), ("16 bits", small)):
        blob = b"".join(value.to_bytes(32, "big") for value in to_ints(scalars))
        theirs = seconds(lambda b=blob: ckzg.blob_to_kzg_commitment(b, settings))  # type: ignore[misc]
        basis = reference.basis(4096, with_tables=True)
        basis.multiply(scalars)
        ours = seconds(lambda b=basis, s=scalars: b.multiply(s))  # type: ignore[misc]
        rows.append(Row(f"MSM of 4096, {name}: tables", ours, theirs, "ckzg (blst)"))


def public_parameters(rows: list[Row], reference: ReferenceString) -> None:
    """Generate and load a reference string."""
    backend, size, sample = reference.backend, reference.size, 64
    scalars = [secrets.randbelow(FIELD_MODULUS) for _ in range(sample)]
    single = (
        seconds(lambda: [backend.multiply(backend.generator, scalar) for scalar in scalars]) * size / sample
    )
    ours = seconds(lambda: generate_reference_string(size), 1)
    rows.append(Row(f"SRS of {size}, fixed-base windows", ours, single, "one multiplication each"))
    with tempfile.TemporaryDirectory() as directory:
        digest = cached_reference_string(size, directory=directory).digest
        pinned = seconds(lambda: cached_reference_string(size, directory=directory, digest=digest))
        checked = seconds(lambda: cached_reference_string(size, directory=Path(directory)), 1)
    rows.append(Row(f"SRS of {size}, load pinned by hash", pinned, checked, "every point and pairing"))


def field_products(rows: list[Row], num_columns: int) -> None:
    """Share generation and Gram matrix against NumPy arrays of Python integers."""
    vectors = random_elements(DIMENSION, num_columns)
    sample = max(num_columns // 16, 1)
    as_objects = np.array(to_ints(vectors[:, :sample]), dtype=object).reshape(DIMENSION, sample)
    powers = [[point**power for power in range(DIMENSION)] for point in POINTS]
    constants = [to_ints(row) for row in random_elements(NUM_USERS, DIMENSION)]
    for name, matrix in (("shares", powers), ("full-size constants", constants)):
        objects = np.array(matrix, dtype=object)
        baseline = seconds(lambda o=objects: o @ as_objects % FIELD_MODULUS, 2) * num_columns / sample  # type: ignore[misc]
        ours = seconds(lambda m=matrix: matmul_constant(m, vectors))  # type: ignore[misc]
        what = f"{NUM_USERS} x {DIMENSION} times {DIMENSION} x {num_columns}, {name}"
        rows.append(Row(what, ours, baseline, "NumPy object integers"))
    left = random_elements(NUM_USERS, num_columns)
    few = np.array(to_ints(left[:, :sample]), dtype=object).reshape(NUM_USERS, sample)
    baseline = seconds(lambda: few @ few.T % FIELD_MODULUS, 1) * num_columns / sample
    rows.append(
        Row(f"Gram matrix, {NUM_USERS} x {num_columns}", seconds(lambda: gram_matrix(left)), baseline, "same")
    )
    blocks = max(num_columns // 16, 1)
    weights = [secrets.randbits(128) for _ in range(blocks)]
    others = random_elements(NUM_USERS, num_columns)
    ours = seconds(lambda: weighted_inner_products(left, others, weights))
    tiled = np.array([weights[column % blocks] for column in range(sample)], dtype=object)
    baseline = seconds(lambda: (few * few * tiled).sum(axis=1) % FIELD_MODULUS, 1) * num_columns / sample
    rows.append(Row(f"{NUM_USERS} inner products, {blocks} weighted blocks", ours, baseline, "same"))
    rest = np.random.default_rng(0).integers(0, 2**34, blocks)
    rows.append(Row(f"{blocks} numbers of 34 bits as four squares", seconds(lambda: four_squares(rest))))
    drawn = seconds(lambda: random_elements(num_columns))
    single = seconds(lambda: [secrets.randbelow(FIELD_MODULUS) for _ in range(sample)]) * num_columns / sample
    rows.append(Row(f"uniform elements, {num_columns}", drawn, single, "secrets.randbelow"))


def verification(rows: list[Row], reference: ReferenceString, per_point: float) -> None:
    """Check every dealer's share one by one and all at once, with one chunk and with chunks."""
    for length in (reference.size, 4 * reference.size):
        scheme = VectorCommitment(reference, length=length)
        claims = dealt_claims(scheme)
        batched = seconds(lambda s=scheme, c=claims: s.verify_batch(c))  # type: ignore[misc]
        single = seconds(lambda s=scheme, c=claims: s.verify(c[0]), 1) * len(claims)  # type: ignore[misc]
        what = f"verify {len(claims)} shares of {length}, {scheme.num_chunks} chunks: batched"
        rows.append(Row(what, batched, single, "one by one (sampled)", reference.size * per_point))
    scheme = VectorCommitment(reference, length=reference.size)
    vectors = random_elements(4, reference.size)
    floor = 4 * reference.size * per_point
    rows.append(
        Row(f"commit to 4 x {reference.size}, 255 bits", seconds(lambda: scheme.commit(vectors)), floor=floor)
    )


def dealt_claims(scheme: VectorCommitment) -> list[Claim]:
    """Return one share of each of N dealers, as their receiver checks them."""
    weights = [POINTS[4] ** power for power in range(DIMENSION)]
    vectors = random_elements(DIMENSION, scheme.length)
    (share,) = matmul_constant([weights], vectors)
    data = scheme.to_bytes(scheme.commit(vectors))
    # one dealer stands for all: each claim holds points of its own, as if they had come from N dealers
    return [Claim(share, weights, scheme.from_bytes(data, DIMENSION)) for _ in range(NUM_USERS)]


def reed_solomon(rows: list[Row], num_columns: int) -> None:
    """Decode many words with six liars among twenty."""
    code = ReedSolomonCode(tuple(POINTS), DIMENSION)
    values = code.encode(random_elements(DIMENSION, num_columns))
    values[:6] = random_elements(6, num_columns)
    sample = 20
    words = [to_ints(values[:, column]) for column in range(sample)]
    single = seconds(lambda: [code.decode_word(word) for word in words], 1) * num_columns / sample
    ours = seconds(lambda: code.decode(values))
    rows.append(
        Row(f"Reed-Solomon, {num_columns} words (20, 8), 6 wrong rows", ours, single, "one word at a time")
    )


def print_table(rows: list[Row]) -> None:
    """Print all rows in one table."""
    print(f"{'what':56} {'seconds':>9} {'baseline':>9} {'ratio':>7} {'floor':>8} {'/floor':>6}  baseline is")
    for row in rows:
        baseline = "" if row.baseline is None else f"{row.baseline:9.4f}"
        ratio = "" if row.baseline is None else f"{row.baseline / row.ours:6.1f}x"
        floor, over = ("", "") if row.floor is None else (f"{row.floor:8.4f}", f"{row.ours / row.floor:6.2f}")
        compared = f"{baseline:>9} {ratio:>7} {floor:>8} {over:>6}  {row.baseline_name}"
        print(f"{row.what:56} {row.ours:9.4f} {compared}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=4096, help="entries per commitment")
    parser.add_argument("--columns", type=int, default=16384, help="columns of the field products")
    parser.add_argument("--large", action="store_true", help="compare windows of long tables (a minute)")
    parser.add_argument("--peer", metavar="FILE", help="c-kzg's trusted_setup.txt: compare with ckzg")
    arguments = parser.parse_args()
    reference = generate_reference_string(arguments.size)
    rows: list[Row] = []
    per_point = multi_scalar_multiplication(rows, reference)
    public_parameters(rows, reference)
    field_products(rows, arguments.columns)
    verification(rows, reference, per_point)
    reed_solomon(rows, arguments.columns)
    if arguments.large:
        for size, bits in ((1 << 12, (10, 11, 12)), (1 << 16, (12, 13, 14))):
            windows(rows, size, bits)
    if arguments.peer:
        peer(rows, reference, arguments.peer)
    print_table(rows)


if __name__ == "__main__":
    main()
