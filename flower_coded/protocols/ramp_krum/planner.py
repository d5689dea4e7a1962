"""Which K, m and packing fit, and what a round costs: symbols, bytes and seconds, per user and server.

Everything is counted from the parameters, as the code sends and computes it; seconds follow from a few unit
costs (:class:`UnitCosts`), which :func:`measure_unit_costs` takes on the machine at hand. They are estimates
for one core, to within a factor of about 1.5; the counts are exact.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flower_coded.crypto.backends.base import G1_BYTES
from flower_coded.crypto.commitment import VectorCommitment
from flower_coded.crypto.field_products import gram_matrix, matmul_constant, weighted_sum
from flower_coded.crypto.field_vectors import ELEMENT_BYTES, from_signed_int64, random_elements
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.packing import largest_packing
from flower_coded.crypto.ramp_sharing import RampSharing, largest_num_parts
from flower_coded.crypto.sealed_channel import BOX_OVERHEAD, KEY_BYTES
from flower_coded.crypto.srs import generate_reference_string
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.loads import TableOne, table_one
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters, largest_num_selected

__all__ = ["Plan", "UnitCosts", "best_plan", "measure_unit_costs", "plan_round", "plans"]


@dataclass(frozen=True)
class UnitCosts:
    """Microseconds for one unit of each kind of work; the defaults are of one core of a Xeon at 2.5 GHz.

    Parameters
    ----------
    long_point, short_point : float
        One term of a multi-scalar multiplication, of 255 and of 16 bits.
    read_point : float
        Reading and checking a compressed point.
    share : float
        One field element of one share.
    combine : float
        One field element of a random combination.
    multiply : float
        One product of an inner product.
    carry : float
        Sealing, opening and copying one field element.
    """

    long_point: float = 16.0
    short_point: float = 2.8
    read_point: float = 120.0
    share: float = 0.11
    combine: float = 0.07
    multiply: float = 0.013
    carry: float = 0.15


@dataclass(frozen=True)
class Plan:
    """What a round with some parameters costs.

    Parameters
    ----------
    parameters : RampKrumParameters
    user_symbols, server_symbols : int
        Field elements that an honest user sends, and that the server receives for itself when nobody fails.
    user_bytes, server_bytes : int
        Bytes that a user sends, and that the server receives, what it relays included.
    user_seconds, server_seconds : float
        On one core.
    formulas : TableOne
        The paper's, for the same sizes.
    """

    parameters: RampKrumParameters
    user_symbols: int
    server_symbols: int
    user_bytes: int
    server_bytes: int
    user_seconds: float
    server_seconds: float
    formulas: TableOne


def plan_round(parameters: RampKrumParameters, costs: UnitCosts | None = None) -> Plan:
    """Predict what a round costs when nobody fails.

    Examples
    --------
    >>> sharing = RampSharing(num_users=20, num_parts=5, num_colluders=2, num_attackers=2, num_dropouts=2)
    >>> plan = plan_round(RampKrumParameters(sharing, num_selected=11, length=131_072))
    >>> plan.user_symbols, plan.server_symbols
    (1028056, 308242)
    """
    sharing = parameters.sharing
    n, needed = sharing.num_users, sharing.num_shares_needed
    share = parameters.share_bytes // ELEMENT_BYTES
    evaluations = parameters.num_pairs + n * parameters.num_range_checks
    total = parameters.families["update"].row_length
    asked = needed + 2 * sharing.num_attackers
    user_symbols = (n - 1) * share + evaluations + total
    commitment_bytes = G1_BYTES * parameters.num_commitments
    overhead = KEY_BYTES + (n - 1) * BOX_OVERHEAD + commitment_bytes
    user_bytes = ELEMENT_BYTES * user_symbols + overhead
    without_sum = ELEMENT_BYTES * (user_symbols - total) + overhead
    user, server = _seconds(parameters, costs or UnitCosts())
    return Plan(
        parameters,
        user_symbols,
        n * evaluations + asked * total,
        user_bytes,
        n * without_sum + ELEMENT_BYTES * asked * total,
        user,
        server,
        table_one(parameters),
    )


def plans(
    *,
    num_users: int,
    num_attackers: int,
    num_dropouts: int,
    num_colluders: int,
    length: int,
    num_bits: int = 16,
    num_selected: int | None = None,
    costs: UnitCosts | None = None,
) -> list[Plan]:
    """Predict the cost for every K and every packing that fit.

    Parameters
    ----------
    num_users, num_attackers, num_dropouts, num_colluders : int
        N, A, D and T.
    length : int
        L.
    num_bits : int
        Bits per entry.
    num_selected : int or None
        m; None takes the largest that works.
    costs : UnitCosts or None

    Returns
    -------
    list of Plan
        By K, then by packing; one weight per element has range checks, more have none.

    Raises
    ------
    ParameterError
        If nothing fits, with the inequality and the numbers.
    """
    sizes = {"num_users": num_users, "num_attackers": num_attackers, "num_dropouts": num_dropouts}
    largest = largest_num_parts(num_colluders=num_colluders, **sizes)
    if largest < 1:
        RampSharing(num_parts=1, num_colluders=num_colluders, **sizes)  # raises, and says why
    selected = largest_num_selected(**sizes) if num_selected is None else num_selected
    fixed_point = FixedPoint(num_bits)
    most = max(largest_packing(fixed_point.max_integer, length, num_summands=selected), 1)
    return [
        plan_round(
            RampKrumParameters(
                RampSharing(num_parts=num_parts, num_colluders=num_colluders, **sizes),
                num_selected=selected,
                length=length,
                fixed_point=fixed_point,
                num_per_element=num_per_element,
                num_range_checks=40 if num_per_element == 1 else 0,
            ),
            costs,
        )
        for num_parts in range(1, largest + 1)
        for num_per_element in range(1, most + 1)
    ]


def best_plan(candidates: list[Plan], *, bytes_per_second: float = 1e7, allow_packing: bool = False) -> Plan:
    """Return the plan of least time per user, sending included.

    Parameters
    ----------
    candidates : list of Plan
    bytes_per_second : float
        Of a user's connection.
    allow_packing : bool
        False keeps to one weight per element, and thereby to range checks, which name whoever sends an update
        that wraps around; with packing such an update only makes the round be refused.

    Raises
    ------
    ParameterError
        If there is none to choose from.
    """
    eligible = [plan for plan in candidates if allow_packing or plan.parameters.num_per_element == 1]
    if not eligible:
        raise ParameterError("candidates", "must hold a plan", len(candidates))
    return min(eligible, key=lambda plan: plan.user_seconds + plan.user_bytes / bytes_per_second)


def measure_unit_costs(*, num_entries: int = 2048) -> UnitCosts:
    """Measure the unit costs on this machine, in a second or two.

    Parameters
    ----------
    num_entries : int
        Size of the measurement.
    """
    reference = generate_reference_string(num_entries)
    scheme = VectorCommitment(reference, num_entries)
    long = random_elements(1, num_entries)
    short = from_signed_int64(np.random.default_rng(0).integers(-(2**15), 2**15, size=(1, num_entries)))
    (commitment,) = scheme.commit(long)
    written = scheme.to_bytes([commitment])
    stack = random_elements(8, num_entries)
    powers = [[point**power for power in range(8)] for point in range(-8, 8)]
    jobs: dict[str, tuple[Callable[[], object], int]] = {
        "long_point": (lambda: scheme.commit(long), num_entries),
        "short_point": (lambda: scheme.commit(short), num_entries),
        "read_point": (lambda: scheme.from_bytes(written, 1), 1),
        "share": (lambda: matmul_constant(powers, stack), 16 * num_entries),
        "combine": (lambda: weighted_sum([2**127 + j for j in range(8)], stack), 8 * num_entries),
        "multiply": (lambda: gram_matrix(stack, stack[::-1]), 64 * num_entries),
    }
    measured = {name: 1e6 * _fastest(job) / count for name, (job, count) in jobs.items()}
    usual = UnitCosts()
    return UnitCosts(**measured, carry=usual.carry * measured["share"] / usual.share)


def _seconds(parameters: RampKrumParameters, costs: UnitCosts) -> tuple[float, float]:
    sharing = parameters.sharing
    n, k, part = sharing.num_users, sharing.num_parts, parameters.part_length
    committed = sum(family.num_rows * family.length for family in parameters.families.values())
    packed_bits = (
        parameters.packing.digit_bits * parameters.packing.exponents[-1] + parameters.fixed_point.num_bits
    )
    per_bit = (costs.long_point - costs.short_point) / (255 - 16)
    entry_cost = min(costs.short_point + per_bit * max(packed_bits - 16, 0), costs.long_point)
    commit = k * part * entry_cost + (committed - k * part) * costs.long_point
    held = sum(polynomial.family.row_length for polynomial in parameters.polynomials)
    points = n * parameters.num_commitments
    check = sum(family.chunk for family in parameters.families.values()) + 2 * points
    combined = n * held * costs.combine + check * costs.long_point + points * costs.read_point
    products = n * n * part * costs.multiply
    share = n * held * (costs.share + costs.carry)
    user = commit + share + combined + products
    asked = sharing.num_shares_needed + 2 * sharing.num_attackers
    read = points * costs.read_point
    sums = asked * part * costs.combine + parameters.families["update"].chunk * costs.long_point
    decode = k * part * costs.share * 2 + parameters.num_pairs * n * costs.combine
    return 1e-6 * user, 1e-6 * (read + sums + decode)


def _fastest(job: Callable[[], object]) -> float:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
