"""Which K and m fit, and what a round costs: symbols, bytes, memory and seconds, per user and server.

Everything is counted from the parameters, as the code sends and computes it; seconds follow from a few unit
costs (:class:`UnitCosts`), which :func:`measure_unit_costs` takes on the machine at hand. They are estimates
for one core, to within a factor of about 1.5; the counts are exact.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flower_coded.crypto.commitment import VectorCommitment
from flower_coded.crypto.field_products import gram_matrix, matmul_constant, weighted_sum
from flower_coded.crypto.field_vectors import ELEMENT_BYTES, from_signed_int64, random_elements
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing, largest_num_parts
from flower_coded.crypto.srs import TABLES_FROM, generate_reference_string
from flower_coded.crypto.weighted_products import weighted_inner_products
from flower_coded.protocols.ramp_krum.loads import TableOne, table_one
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters, largest_num_selected
from flower_coded.protocols.ramp_krum.traffic import received_by_part, sent_by_part

__all__ = ["Plan", "UnitCosts", "best_plans", "measure_unit_costs", "plan_groups", "plan_round", "plans"]

_GIGABYTE, _HOUR = 1e9, 3600.0
_BASE_MEMORY, _COPIES_IN_MEMORY = 250e6, 6.5  # measured by benchmarks/ramp_krum.py at two lengths
_SERVER_SHARE = 10.0  # a server's connection is taken to be that many times as wide as a user's


@dataclass(frozen=True)
class UnitCosts:
    """Microseconds for one unit of each kind of work; the defaults are of one core of a Xeon at 2.6 GHz.

    They come from :func:`measure_unit_costs`: processor time. Tables of the reference string's multiples,
    which serve chunks of 4,096 entries and more, a process makes once; that is not counted.

    Parameters
    ----------
    long_point, short_point, bare_point : float
        One term of a multi-scalar multiplication, of 255 and of 16 bits with tables, of 255 without.
    read_point : float
        Reading and checking a compressed point.
    share : float
        One field element of one share.
    combine : float
        One field element of a random combination.
    multiply : float
        One product of an inner product; of shares with themselves.
    weigh : float
        One square of the norm check.
    carry : float
        Encrypting, decrypting and copying one field element.
    """

    long_point: float = 9.9
    short_point: float = 1.25
    bare_point: float = 16.5
    read_point: float = 60.0
    share: float = 0.093
    combine: float = 0.06
    multiply: float = 0.013
    weigh: float = 0.18
    carry: float = 0.125


@dataclass(frozen=True)
class Plan:
    """What a round with some parameters costs.

    Parameters
    ----------
    parameters : RampKrumParameters
    user_symbols, server_symbols : int
        Field elements that an honest user sends, and that the server receives for itself when nobody fails.
    user_bytes, received_bytes, server_bytes : int
        Bytes that a user sends, that it receives, and that the server receives for itself.
    relayed_bytes : int
        Bytes that the server receives from users for users; it sends them on, too.
    user_memory : float
        Bytes that a user's process holds at its peak, roughly.
    user_seconds, server_seconds : float
        On one core.
    formulas : TableOne
        The paper's, for the same sizes.
    """

    parameters: RampKrumParameters
    user_symbols: int
    server_symbols: int
    user_bytes: int
    received_bytes: int
    server_bytes: int
    relayed_bytes: int
    user_memory: float
    user_seconds: float
    server_seconds: float
    formulas: TableOne

    def wall_clock(self, bytes_per_second: float) -> float:
        """Return the seconds of a round, training left out.

        Users compute at the same time, each sends and receives over a connection of ``bytes_per_second``,
        and the server's connection, ten times as wide, carries everything twice.
        """
        user = self.user_seconds + (self.user_bytes + self.received_bytes) / bytes_per_second
        carried = self.server_bytes + 2 * self.relayed_bytes
        return user + self.server_seconds + carried / (_SERVER_SHARE * bytes_per_second)

    def warnings(self, bytes_per_second: float) -> list[str]:
        """Say in words what makes the plan absurd; nothing if nothing does."""
        found = []
        if self.user_bytes > _GIGABYTE:
            found.append(f"every user sends {self.user_bytes / _GIGABYTE:.1f} GB in every round")
        if self.relayed_bytes > 100 * _GIGABYTE:
            found.append(f"the server relays {self.relayed_bytes / _GIGABYTE:,.0f} GB in every round")
        if self.user_memory > 16 * _GIGABYTE:
            found.append(f"a user's process needs about {self.user_memory / _GIGABYTE:.0f} GB of memory")
        if (seconds := self.wall_clock(bytes_per_second)) > _HOUR:
            found.append(f"a round takes about {seconds / _HOUR:.1f} hours")
        return found


def plan_round(parameters: RampKrumParameters, costs: UnitCosts | None = None) -> Plan:
    """Predict what a round costs when nobody fails.

    Examples
    --------
    >>> sharing = RampSharing(num_users=20, num_parts=5, num_colluders=2, num_attackers=2, num_dropouts=2)
    >>> plan = plan_round(RampKrumParameters(sharing, num_selected=11, length=131_072))
    >>> plan.user_symbols, plan.server_symbols
    (592559, 309042)
    """
    sharing = parameters.sharing
    n, needed = sharing.num_users, sharing.num_shares_needed
    share = parameters.share_bytes // ELEMENT_BYTES
    evaluations = parameters.num_products + n * parameters.num_range_checks
    total = parameters.families["update"].row_length
    asked = needed + 2 * sharing.num_attackers
    sent = sum(sent_by_part(parameters).values())
    own = ELEMENT_BYTES * (evaluations + total)  # what the server keeps; it passes on all else
    user, server = _seconds(parameters, costs or UnitCosts())
    return Plan(
        parameters,
        user_symbols=(n - 1) * share + evaluations + total,
        server_symbols=n * evaluations + asked * total,
        user_bytes=sent,
        received_bytes=sum(received_by_part(parameters).values()),
        server_bytes=ELEMENT_BYTES * (n * evaluations + asked * total),
        relayed_bytes=n * (sent - own),
        user_memory=_BASE_MEMORY + _COPIES_IN_MEMORY * n * parameters.share_bytes,
        user_seconds=user,
        server_seconds=server,
        formulas=table_one(parameters),
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
    """Predict the cost for every K that fits.

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
        By K.

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
    return [
        plan_round(
            RampKrumParameters(
                RampSharing(num_parts=num_parts, num_colluders=num_colluders, **sizes),
                num_selected=selected,
                length=length,
                fixed_point=FixedPoint(num_bits),
            ),
            costs,
        )
        for num_parts in range(1, largest + 1)
    ]


def best_plans(candidates: list[Plan], *, bytes_per_second: float = 1e7) -> list[Plan]:
    """Order plans by the time of a round, the shortest first.

    Parameters
    ----------
    candidates : list of Plan
    bytes_per_second : float
        Of a user's connection.
    """
    return sorted(candidates, key=lambda plan: plan.wall_clock(bytes_per_second))


def plan_groups(
    *,
    num_users: int,
    num_attackers: int,
    num_dropouts: int,
    num_colluders: int,
    length: int,
    num_bits: int = 16,
    bytes_per_second: float = 1e7,
    costs: UnitCosts | None = None,
) -> tuple[int, Plan] | None:
    """Find into how many groups, each with a protocol of its own, the users are best divided.

    Every group must withstand all A liars, D silent users and T colluders, for they may all be in one. What
    that costs in the result is that each group selects by itself.

    Returns
    -------
    (int, Plan) or None
        The number of groups and the plan of the largest, if its round takes less than half the time of one
        protocol for all; None if one protocol serves as well.
    """
    options = {
        "num_attackers": num_attackers,
        "num_dropouts": num_dropouts,
        "num_colluders": num_colluders,
        "length": length,
        "num_bits": num_bits,
        "costs": costs,
    }
    fewest = 2 * num_attackers + num_dropouts + max(2 * num_colluders + 1, 5)
    times: dict[int, tuple[float, Plan]] = {}
    for num_groups in range(1, num_users // fewest + 1):
        candidates = plans(num_users=-(-num_users // num_groups), **options)  # type: ignore[arg-type]
        best = best_plans(candidates, bytes_per_second=bytes_per_second)[0]
        times[num_groups] = (best.wall_clock(bytes_per_second), best)
    if not times:
        return None
    num_groups = min(times, key=lambda number: times[number][0])
    is_worth_it = times[num_groups][0] < times[1][0] / 2
    return (num_groups, times[num_groups][1]) if is_worth_it else None


def measure_unit_costs(*, num_entries: int = 2048) -> UnitCosts:
    """Measure the unit costs on this machine, in seconds of processor time: other work does not count.

    A second or two, and on a machine's first use some 20 s for compiling.

    Parameters
    ----------
    num_entries : int
        Size of the measurement.
    """
    reference = generate_reference_string(num_entries)
    scheme = VectorCommitment(reference, num_entries, with_tables=True)  # as rounds have them
    bare = VectorCommitment(reference, num_entries, with_tables=False)
    long = random_elements(1, num_entries)
    short = from_signed_int64(np.random.default_rng(0).integers(-(2**15), 2**15, size=(1, num_entries)))
    (commitment,) = scheme.commit(long)
    written = scheme.to_bytes([commitment])
    stack = random_elements(8, num_entries)
    powers = [[point**power for power in range(8)] for point in range(-8, 8)]
    block_weights = [2**127 + j for j in range(-(-num_entries // 16))]
    jobs: dict[str, tuple[Callable[[], object], int]] = {
        "long_point": (lambda: scheme.commit(long), num_entries),
        "short_point": (lambda: scheme.commit(short), num_entries),
        "bare_point": (lambda: bare.commit(long), num_entries),
        "read_point": (lambda: scheme.from_bytes(written, 1), 1),
        "share": (lambda: matmul_constant(powers, stack), 16 * num_entries),
        "combine": (lambda: weighted_sum([2**127 + j for j in range(8)], stack), 8 * num_entries),
        "multiply": (lambda: gram_matrix(stack), 64 * num_entries),
        "weigh": (lambda: weighted_inner_products(stack, stack, block_weights), 8 * num_entries),
    }
    measured = {name: 1e6 * _fastest(job) / count for name, (job, count) in jobs.items()}
    usual = UnitCosts()
    return UnitCosts(**measured, carry=usual.carry * measured["share"] / usual.share)


def _seconds(parameters: RampKrumParameters, costs: UnitCosts) -> tuple[float, float]:
    sharing = parameters.sharing
    n, k, part = sharing.num_users, sharing.num_parts, parameters.part_length
    committed = sum(family.num_rows * family.length for family in parameters.families.values())
    long = costs.long_point if parameters.largest_chunk >= TABLES_FROM else costs.bare_point
    per_bit = (long - costs.short_point) / (255 - 16)
    entry_cost = costs.short_point + per_bit * max(parameters.fixed_point.num_bits - 16, 0)
    commit = k * part * entry_cost + (committed - k * part) * long
    held = parameters.share_bytes // ELEMENT_BYTES
    points = n * parameters.num_commitments
    check = (
        sum(family.chunk for family in parameters.families.values()) * long + 2 * points * costs.bare_point
    )
    combined = n * held * costs.combine + check + points * costs.read_point
    # Of two different shares a product costs twice as much, for a matrix of both is not symmetric.
    num_factors = parameters.families["update"].num_polynomials
    products = num_factors * n * n * part * costs.multiply
    if not parameters.is_paper_form:
        products += n * parameters.num_checked * costs.weigh
    share = n * held * (costs.share + costs.carry)
    user = commit + share + combined + products
    asked = sharing.num_shares_needed + 2 * sharing.num_attackers
    read = points * costs.read_point
    sums = asked * part * costs.combine + parameters.families["update"].chunk * long
    decode = k * part * costs.share * 2 + parameters.num_pairs * n * costs.combine
    return 1e-6 * user, 1e-6 * (read + sums + decode)


def _fastest(job: Callable[[], object]) -> float:
    seconds = []
    for _ in range(3):
        start = time.process_time()
        job()
        seconds.append(time.process_time() - start)
    return min(seconds)
