"""Ramp-shared multi-Krum: what one user's round costs, part by part, measured on a true round's messages.

All users deal, check, answer and sum in this process, and the round ends with its result. One user, number 0,
is watched: every byte that it sends and receives, and its seconds of processor time (one thread, so that
other work on the machine does not count), divided among the parts of the protocol. What the planner predicts
stands beside; the bytes must be equal, or this ends with an error.

    OPENBLAS_NUM_THREADS=1 python benchmarks/ramp_krum_cost.py                    # 8 k, 37 k, 295 k entries
    OPENBLAS_NUM_THREADS=1 python benchmarks/ramp_krum_cost.py --length 37000     # adapters of one size
    OPENBLAS_NUM_THREADS=1 python benchmarks/ramp_krum_cost.py --paper            # the paper's form as well

Tables of the reference string's multiples are made once per process, before anything is timed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from flower_coded.crypto.commitment import VectorCommitment
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.crypto.srs import generate_reference_string
from flower_coded.protocols.ramp_krum import user as user_steps
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.dealing import draw_rows, draw_slack, update_to_parts
from flower_coded.protocols.ramp_krum.loads import message_load, request_bytes
from flower_coded.protocols.ramp_krum.messages import Request
from flower_coded.protocols.ramp_krum.norm_check import NormCheck
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.party import Party
from flower_coded.protocols.ramp_krum.planner import plan_round
from flower_coded.protocols.ramp_krum.round import run_server
from flower_coded.protocols.ramp_krum.status import Reply
from flower_coded.protocols.ramp_krum.traffic import received_by_part, sent_by_part
from flower_coded.reporting import Table

LENGTHS = (8_000, 37_000, 295_000)
WATCHED = 0

# Who calls what, as the user's steps name it, and what part of the protocol that is.
STEPS = {
    "_rows_of_update": "update to rows: bounds, slack, masks",
    "share_rows": "shares",
    "share_to_bytes": "shares",
    "encrypt_share": "encryption",
    "decrypt_share": "encryption",
    "encrypt_echoes": "encryption",
    "check_echoes": "encryption",
    "bytes_to_share": "reading shares",
    "gram_matrix": "distances",
    "_range_sums": "range checks",
}


class Stopwatch:
    """Seconds of processor time by label; what is spent in a labeled call counts for its label only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._labels: list[str] = []
        self._since = 0.0

    def _switch(self) -> None:
        now = time.process_time()
        if self._labels:
            label = self._labels[-1]
            self.seconds[label] = self.seconds.get(label, 0.0) + now - self._since
        self._since = now

    @contextmanager
    def labeled(self, label: str) -> Iterator[None]:
        """Count what is spent inside for a label."""
        self._switch()
        self._labels.append(label)
        try:
            yield
        finally:
            self._switch()
            self._labels.pop()

    def wrap(self, function: Callable[..., Any], label: Callable[..., str]) -> Callable[..., Any]:
        """Return a function whose calls count for a label, which may depend on the arguments."""

        def timed(*arguments: Any, **options: Any) -> Any:
            with self.labeled(label(*arguments)):
                return function(*arguments, **options)

        return timed


def make_parameters(length: int, *, is_paper_form: bool = False) -> RampKrumParameters:
    sharing = RampSharing(num_users=12, num_parts=2, num_colluders=2, num_attackers=2, num_dropouts=1)
    return RampKrumParameters(
        sharing,
        num_selected=4,
        length=length,
        fixed_point=FixedPoint(16),
        is_paper_form=is_paper_form,
        is_blinded=not is_paper_form,
        hides_products=not is_paper_form,
    )


def patches(watch: Stopwatch, schemes: Schemes) -> list[Any]:
    """Return what makes the parts of a user's steps call the stopwatch."""
    family = {id(scheme): name for name, scheme in schemes.by_family.items()}

    def to(owner: Any, name: str, label: Callable[..., str]) -> Any:
        return patch.object(owner, name, watch.wrap(getattr(owner, name), label))

    steps = [to(user_steps, name, lambda *_, part=part: part) for name, part in STEPS.items()]
    return [
        *steps,
        to(VectorCommitment, "commit", lambda scheme, *_: f"commitments: {family[id(scheme)]}"),
        to(VectorCommitment, "find_false", lambda scheme, *_: f"checking shares: {family[id(scheme)]}"),
        to(Schemes, "from_bytes", lambda *_: "reading commitments"),
        to(NormCheck, "slack", lambda *_: "norm proof: four squares"),
        to(NormCheck, "evaluate", lambda *_: "norm proof: products"),
    ]


def measure(parameters: RampKrumParameters) -> tuple[Mapping[str, float], int, int, float]:
    """Run a round; return user 0's seconds by part, its bytes sent and received, and the server's seconds."""
    schemes = Schemes.create(parameters, generate_reference_string(max(parameters.largest_chunk, 4096)))
    generator = np.random.default_rng(0)
    updates = {
        user: generator.integers(-(2**11), 2**11, size=parameters.length)
        for user in range(parameters.sharing.num_users)
    }
    rows = draw_rows(parameters, update_to_parts(parameters, updates[0]), draw_slack(parameters, updates[0]))
    schemes.commit(rows)  # makes the tables
    parties = {user: Party(schemes, user, integers) for user, integers in updates.items()}
    watch, sent, received = Stopwatch(), 0, 0
    server_seconds, left_at = 0.0, time.process_time()

    def transport(phase: str, requests: Mapping[int, Request]) -> list[Reply]:
        nonlocal sent, received, server_seconds, left_at
        server_seconds += time.process_time() - left_at
        replies: list[Reply] = []
        for user, request in sorted(requests.items()):
            if user != WATCHED:
                replies += [(user, message) for message in parties[user].answer(request)]
                continue
            schemes._read.clear()  # what users of one process share; a user alone reads all points itself
            with ExitStack() as stack:
                for each in patches(watch, schemes):
                    stack.enter_context(each)
                stack.enter_context(watch.labeled("rest"))
                messages = list(parties[user].answer(request))
            received += request_bytes(request)
            sent += sum(message_load(message).num_bytes for message in messages)
            replies += [(user, message) for message in messages]
        left_at = time.process_time()
        return replies

    run_server(schemes, transport, is_measurement=parameters.is_paper_form)
    server_seconds += time.process_time() - left_at
    return watch.seconds, sent, received, server_seconds


def report(parameters: RampKrumParameters) -> dict[str, Any]:
    seconds, sent, received, server = measure(parameters)
    plan = plan_round(parameters)
    if (sent, received) != (plan.user_bytes, plan.received_bytes):
        raise SystemExit(
            f"planned {plan.user_bytes} and {plan.received_bytes} bytes, not {sent} and {received}"
        )
    name = f"L = {parameters.length:,}" + (", the paper's form" if parameters.is_paper_form else "")
    total = sum(seconds.values())
    print(f"{name}: processor seconds of one user, by part")
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    records = [{"part": part, "s": value, "share": value / total} for part, value in ordered]
    print(Table.from_records(records).to_text(digits=3), "\n")
    print(f"{name}: bytes of one user, by part")
    up, down = sent_by_part(parameters), received_by_part(parameters)
    parts = [
        {"part": part, "sent": up.get(part, 0), "received": down.get(part, 0)} for part in {**up, **down}
    ]
    print(Table.from_records(parts).to_text(), "\n")
    return {
        "round": name,
        "user s": total,
        "planned s": plan.user_seconds,
        "sent MB": 1e-6 * sent,
        "received MB": 1e-6 * received,
        "server s": server,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, action="append", help="entries of an update; may be repeated")
    parser.add_argument("--paper", action="store_true", help="the paper's form as well, without protections")
    arguments = parser.parse_args()
    forms = (False, True) if arguments.paper else (False,)
    records = [
        report(make_parameters(length, is_paper_form=is_paper_form))
        for length in arguments.length or LENGTHS
        for is_paper_form in forms
    ]
    print(
        "One user's round, N = 12, K = 2, A = T = 2, D = 1, 16 bits, one thread; planned s: Xeon at 2.6 GHz"
    )
    print(Table.from_records(records).to_text(digits=3))


if __name__ == "__main__":
    main()
