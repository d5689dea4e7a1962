"""Ramp-shared multi-Krum: what a round costs one user, by phase, beside floors, baselines and Table I.

All times are seconds of processor time of one thread, so that other work on the machine does not count, and
every ratio is taken within this run. The floor of a round is what the curve cannot do without: each committed
entry is one term of a multi-scalar multiplication, and the backend's own time per term (255 bits for masks,
16 for weights) is measured here on the general algorithm of arkworks, without tables; with tables of the
reference string's multiples, which are made once per process before anything is timed, a round can come close
to it or below.

    OPENBLAS_NUM_THREADS=1 python benchmarks/ramp_krum.py            # L = 131,072; a few minutes
    OPENBLAS_NUM_THREADS=1 python benchmarks/ramp_krum.py --large    # L = 1,000,000 as well

Each size runs in a process of its own, whose peak memory is reported. The other users' shares and commitments
are combinations of two dealers' (all distinct, all valid), because dealing twenty times would only cost time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from flower_coded.crypto.backends import get_backend
from flower_coded.crypto.encrypted_share import KeyPair, encrypt_share
from flower_coded.crypto.field_products import matmul_constant, weighted_sum
from flower_coded.crypto.field_vectors import FIELD_MODULUS, from_signed_int64, random_elements, to_ints
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing, power_matrix
from flower_coded.crypto.srs import generate_reference_string
from flower_coded.protocols.ramp_krum.brea import brea_parameters
from flower_coded.protocols.ramp_krum.commitments import Commitments, Schemes
from flower_coded.protocols.ramp_krum.dealing import (
    Resources,
    draw_rows,
    draw_slack,
    share_claims,
    share_rows,
    share_to_bytes,
    update_to_parts,
)
from flower_coded.protocols.ramp_krum.echo import encrypt_echoes, view_digest
from flower_coded.protocols.ramp_krum.loads import message_load, table_one, table_one_brea
from flower_coded.protocols.ramp_krum.messages import (
    DealRequest,
    Delivery,
    EvaluationRequest,
    KeyRequest,
    PublicKey,
    Request,
    SumRequest,
)
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.party import Party
from flower_coded.protocols.ramp_krum.simulation import run_round
from flower_coded.protocols.ramp_krum.user import share_context
from flower_coded.reporting import Table

ROUND = b"benchmark"
FULL: dict[str, Any] = {}
BARE = {"is_blinded": False, "hides_products": False, "is_paper_form": True}
FORMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("all protections", FULL),
    ("norm of the whole update", {"block_columns": 1 << 30}),
    ("norms of blocks of 80", {"block_columns": 16}),
    ("norms of blocks of 20", {"block_columns": 4}),
    ("norms of blocks of 5", {"block_columns": 1}),
    ("the paper's, nothing added", BARE),
)


def make_parameters(
    length: int, *, n: int = 20, k: int = 5, t: int = 2, a: int = 2, d: int = 2, **options: Any
) -> RampKrumParameters:
    sharing = RampSharing(n, k, t, a, d)
    selected = options.pop("num_selected", 5)
    return RampKrumParameters(
        sharing, num_selected=selected, length=length, fixed_point=FixedPoint(16), **options
    )


def spent(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = action()
    return time.process_time() - start, result


def one_user(length: int, options: dict[str, Any], backend: str = "arkworks") -> dict[str, Any]:
    """Run user 0 through a round, every phase timed."""
    parameters = make_parameters(length, **options)
    reference = generate_reference_string(parameters.largest_chunk, backend=get_backend(backend))
    schemes = Schemes.create(parameters, reference)
    n, generator = parameters.sharing.num_users, np.random.default_rng(0)
    integers = generator.integers(-(2**13), 2**13, size=length)
    user = Party(schemes, 0, integers)
    schemes.commit(make_rows(parameters, integers))  # tables are made once
    seconds: dict[str, float] = {}

    def ask(phase: str, request: Request) -> Any:
        seconds[phase], (message,) = spent(lambda: user.answer(request))
        return message

    key: PublicKey = ask("keys", KeyRequest(ROUND))
    others = {i: KeyPair.generate() for i in range(1, n)}
    keys = {0: key.public_key} | {i: pair.public_key for i, pair in others.items()}
    dealing = ask("shares", DealRequest(ROUND, keys))
    delivery, all_claims = deliver(schemes, dealing.commitments, key, integers)
    complaints = ask("complaints", delivery)
    assert complaints.dealers == ()
    digest = view_digest(ROUND, keys, delivery.commitments)
    echoes = {i: encrypt_echo(digest, i, key.public_key) for i in others}
    evaluations = ask("evaluations", EvaluationRequest(ROUND, tuple(range(n)), bytes(32), echoes))
    total = ask("sums", SumRequest(ROUND, tuple(range(parameters.num_selected))))
    load = message_load(dealing) + message_load(evaluations) + message_load(total)
    batched, _ = spent(lambda: schemes.find_false(all_claims))
    single = None
    if length <= 2**17 and options == FULL:
        single, _ = spent(lambda: check_singly(schemes, all_claims))
    return {
        "seconds": seconds,
        "symbols": load.symbols,
        "bytes": load.num_bytes,
        "points": load.points,
        "floor": floor(schemes, parameters),
        "batched": batched,
        "single": single,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def deliver(schemes: Schemes, own: bytes, key: PublicKey, integers: np.ndarray) -> tuple[Delivery, Any]:
    """Make what the other dealers send to user 0: combinations of two dealers' commitments and shares."""
    parameters, backend = schemes.parameters, schemes.by_family["update"].backend
    base = [make_rows(parameters, integers) for _ in range(2)]
    shares = [share_rows(parameters, rows, [0], Resources())[0] for rows in base]
    committed = [schemes.commit(rows) for rows in base]
    commitments, shares_of_others, claims = {0: own}, {}, {}
    running = committed[0]
    for dealer in range(1, parameters.sharing.num_users):
        running = Commitments(
            {
                name: [
                    tuple(backend.add_many(left, right))
                    for left, right in zip(running.by_family[name], committed[1].by_family[name], strict=True)
                ]
                for name in running.by_family
            }
        )
        stacked = {name: np.stack([share[name] for share in shares]) for name in shares[0]}
        share = {name: weighted_sum([1, dealer], array) for name, array in stacked.items()}
        message = share_to_bytes(parameters, share)
        shares_of_others[dealer], _ = encrypt_share(message, key.public_key, share_context(ROUND, dealer, 0))
        commitments[dealer] = schemes.to_bytes(running)
        claims[dealer] = share_claims(parameters, 0, share, running)
    return Delivery(ROUND, commitments, shares_of_others), claims


def make_rows(parameters: RampKrumParameters, integers: np.ndarray) -> Any:
    """Return everything that a dealer commits to."""
    bounded = integers if parameters.is_paper_form else parameters.norm_check.bound_integers(integers)
    return draw_rows(parameters, update_to_parts(parameters, bounded), draw_slack(parameters, bounded))


def encrypt_echo(digest: bytes, sender: int, receiver_key: bytes) -> bytes:
    """Return what another user says it was shown, for user 0."""
    return encrypt_echoes(digest, ROUND, sender, {0: receiver_key})[0]


def check_singly(schemes: Schemes, claims: dict[int, Any]) -> None:
    for by_family in claims.values():
        for name, family in by_family.items():
            assert all(schemes.by_family[name].verify(claim) for claim in family)


def floor(schemes: Schemes, parameters: RampKrumParameters) -> float:
    """Return committed entries times the backend's time per term, and one batched check."""
    scheme = schemes.by_family["update"]
    points = scheme.reference.powers[: scheme.chunk_size]
    backend = scheme.backend
    long = min(spent(lambda: backend.msm(points, random_elements(len(points))))[0] for _ in range(3))
    weights = from_signed_int64(np.random.default_rng(0).integers(0, 2**16, size=len(points)))
    short = min(spent(lambda: backend.msm(points, weights))[0] for _ in range(3))
    entries = parameters.sharing.num_parts * parameters.part_length
    masks = sum(f.num_rows * f.length for f in parameters.families.values()) - entries
    return (masks + scheme.chunk_size) * long / len(points) + entries * short / len(points)


def in_a_process(length: int, options: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", json.dumps([length, options])]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def cost_table(lengths: list[int]) -> None:
    records = []
    for length in lengths:
        for name, options in FORMS:
            if length > 2**17 and options not in (FULL, BARE):
                continue
            result = in_a_process(length, options)
            seconds = result["seconds"]
            records.append(
                {"L": length, "form": name}
                | {f"{phase} s": value for phase, value in seconds.items()}
                | {
                    "round s": sum(seconds.values()),
                    "floor s": result["floor"],
                    "check, batched s": result["batched"],
                    "one by one s": result["single"],
                    "ratio": result["single"] / result["batched"] if result["single"] else None,
                    "MB sent": 1e-6 * result["bytes"],
                    "peak MiB": result["peak MiB"],
                }
            )
    print("One user's round, N = 20, A = T = D = 2, K = 5, 16 bits, arkworks, one thread")
    print(Table.from_records(records).to_text(digits=3), "\n")


def part_table(length: int) -> None:
    """Share generation against object integers, arkworks against py_ecc, ours against BREA."""
    sharing = RampSharing(20, 5, 2, 2, 2)
    rows = random_elements(7, 4096)
    matrix = power_matrix(sharing.points, sharing.first_exponents)
    ours = min(spent(lambda: matmul_constant(matrix, rows))[0] for _ in range(5))
    objects = np.array([to_ints(row) for row in rows], dtype=object)
    naive = min(
        spent(lambda: (np.array(matrix, dtype=object) @ objects) % FIELD_MODULUS)[0] for _ in range(3)
    )
    records: list[dict[str, Any]] = [
        {"what": "shares, 20 x 7 x 4096", "ours s": ours, "baseline": "object integers", "s": naive}
    ]
    times = {name: sum(one_user(length, FULL, name)["seconds"].values()) for name in ("arkworks", "py_ecc")}
    records.append(
        {
            "what": f"a user's round, L = {length}",
            "ours s": times["arkworks"],
            "baseline": "py_ecc",
            "s": times["py_ecc"],
        }
    )
    for name in ("arkworks", "py_ecc"):
        parameters = make_parameters(2048, n=7, k=1, t=1, a=1, d=0, num_selected=2, **BARE)
        reference = generate_reference_string(parameters.largest_chunk, backend=get_backend(name))
        updates = {user: np.arange(2048) + user for user in range(7)}
        schemes = Schemes.create(parameters, reference)
        times[name], _ = spent(partial(run_round, schemes, updates, is_measurement=True))
    records.append(
        {
            "what": "round, 7 users, L = 2048",
            "ours s": times["arkworks"],
            "baseline": "py_ecc",
            "s": times["py_ecc"],
        }
    )
    brea = brea_parameters(make_parameters(512, n=9, k=2, t=1, a=1, d=1, num_selected=2, **BARE))
    ramp = make_parameters(512, n=9, k=2, t=1, a=1, d=1, num_selected=2, **BARE)
    updates = {user: np.arange(512) % 100 + user for user in range(9)}
    for name, parameters in (("ours", ramp), ("BREA", brea)):
        schemes = Schemes.create(parameters, generate_reference_string(max(parameters.largest_chunk, 2)))
        times[name], _ = spent(partial(run_round, schemes, updates, is_measurement=True))
    records.append(
        {"what": "round, 9 users, L = 512", "ours s": times["ours"], "baseline": "BREA", "s": times["BREA"]}
    )
    for record in records:
        record["ratio"] = record["s"] / record["ours s"]
    print(Table.from_records(records).to_text(digits=3), "\n")


def load_table() -> None:
    """Table I at three sizes, BREA beside it."""
    records = []
    for n, k, t, a, d in ((12, 2, 2, 2, 1), (20, 5, 2, 2, 2), (50, 12, 5, 5, 5)):
        parameters = make_parameters(120_000, n=n, k=k, t=t, a=a, d=d, num_selected=4)
        ours, brea = table_one(parameters), table_one_brea(parameters)
        for name, row in (("ramp", ours), ("BREA", brea)):
            records.append(
                {
                    "N, K, T, A, D": f"{n}, {k if name == 'ramp' else 1}, {t}, {a}, {d}",
                    "scheme": name,
                    "server symbols": int(row.server),
                    "per user": int(row.per_user),
                    "commitments": row.commitments,
                    "server MB": 32e-6 * float(row.server),
                    "user MB": 32e-6 * float(row.per_user),
                    "commitments MB": 48e-6 * row.commitments,
                }
            )
    print("Table I, L = 120,000 (tests/protocols/ramp_krum/test_loads.py holds measured rounds against it)")
    print(Table.from_records(records).to_text(digits=3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--large", action="store_true", help="L = 1,000,000 as well, and py_ecc at 131,072 (minutes)"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        length, options = json.loads(arguments.one)
        print(json.dumps(one_user(length, options)))
        return
    cost_table([131_072, 1_000_000] if arguments.large else [131_072])
    part_table(131_072 if arguments.large else 24_576)
    load_table()


if __name__ == "__main__":
    main()
