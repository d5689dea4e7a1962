"""Who takes part, in an order that is the same in every run.

Flower draws node ids anew for every run and lists them in no particular order, and a simulation starts
before all its nodes are there. :func:`wait_for_nodes` waits, for a bounded time; :func:`assemble_roster`
asks every node for its partition id and seats it there. A ClientApp that has never heard of this package
answers the question with an error; its nodes are then seated by the rank of their ids: a valid order, though
not the same one in the next run. What it leaves out: proof of identity. A node may claim any free seat.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from logging import INFO, WARNING

from flwr.app import Message, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid

from flower_coded.errors import MalformedReplyError, NodesMissingError, ParameterError
from flower_coded.strategies.judging import Accepted, judge, the_only_record

__all__ = ["IDENTITY_MESSAGE_TYPE", "PARTITION_ID_KEY", "Roster", "assemble_roster", "wait_for_nodes"]

IDENTITY_MESSAGE_TYPE = "query.flower_coded_identity"
PARTITION_ID_KEY = "partition-id"


@dataclass(frozen=True)
class Roster:
    """Users 0 .. n-1 and the nodes they are.

    Parameters
    ----------
    node_ids : tuple of int
        The node of user ``j`` at position ``j``; no node twice.
    num_identified : int
        How many sit where they said they belong; the others were given a free seat.

    Examples
    --------
    >>> roster = Roster((71, 13), num_identified=2)
    >>> roster.node_of(1), roster.user_of(71), roster.user_of(99)
    (13, 0, None)
    """

    node_ids: tuple[int, ...]
    num_identified: int = 0

    def __post_init__(self) -> None:
        if len(set(self.node_ids)) != len(self.node_ids):
            raise ParameterError("node_ids", "must name every node once", self.node_ids)

    @property
    def num_users(self) -> int:
        """Users, n."""
        return len(self.node_ids)

    def node_of(self, user: int) -> int:
        """Return the node id of ``user``."""
        return self.node_ids[user]

    def user_of(self, node_id: int) -> int | None:
        """Return the user at ``node_id``, or None where it has no seat."""
        return self.node_ids.index(node_id) if node_id in self.node_ids else None


def wait_for_nodes(grid: Grid, num_nodes: int, timeout: float, *, poll_interval: float = 0.2) -> list[int]:
    """Wait until ``num_nodes`` nodes are connected.

    Parameters
    ----------
    grid : Grid
        Asked again every ``poll_interval`` seconds.
    num_nodes : int
        Nodes needed.
    timeout : float
        Seconds to wait at most.
    poll_interval : float
        Seconds between two looks.

    Returns
    -------
    list of int
        The ids of all connected nodes, sorted; at least ``num_nodes``.

    Raises
    ------
    NodesMissingError
        If they are not there in time.

    Examples
    --------
    >>> from flwr.clientapp import ClientApp
    >>> from flower_coded.testing import InProcessGrid
    >>> wait_for_nodes(InProcessGrid(ClientApp(), 2), 3, timeout=0.01)
    Traceback (most recent call last):
        ...
    flower_coded.errors.NodesMissingError: 2 of 3 nodes connected within 0.01 s ...
    """
    deadline = time.monotonic() + timeout
    announced = False
    while len(connected := sorted(set(grid.get_node_ids()))) < num_nodes:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise NodesMissingError(len(connected), num_nodes, timeout)
        if not announced:
            log(INFO, "waiting for nodes: %d of %d connected", len(connected), num_nodes)
            announced = True
        time.sleep(min(poll_interval, remaining))
    return connected


def assemble_roster(grid: Grid, num_nodes: int, timeout: float = 60.0) -> Roster:
    """Wait for the nodes, ask each for its partition id, and seat them.

    Every connected node is asked once with a ``query.flower_coded_identity`` message. A node that alone
    claims a seat in ``0 .. num_nodes - 1`` gets it. Nodes that claim the same seat, no seat, or do not
    answer fill the remaining seats in the order of their ids; who is left over when all seats are taken has
    none. All of this is logged, once.

    Parameters
    ----------
    grid : Grid
        The federation.
    num_nodes : int
        Seats, n.
    timeout : float
        Seconds to wait for the nodes, and again at most that long for their answers.

    Returns
    -------
    Roster
        With ``num_nodes`` users.

    Raises
    ------
    NodesMissingError
        If fewer nodes connect in time.

    Examples
    --------
    >>> from flwr.clientapp import ClientApp
    >>> from flower_coded.testing import InProcessGrid
    >>> grid = InProcessGrid(ClientApp(), 3)  # an app that does not know the question
    >>> assemble_roster(grid, 3).node_ids == tuple(sorted(grid.node_ids))
    True
    """
    connected = wait_for_nodes(grid, num_nodes, timeout)
    claims = _ask_identities(grid, connected, timeout)
    counts = Counter(claims.values())
    seated = {
        seat: node_id for node_id, seat in claims.items() if counts[seat] == 1 and 0 <= seat < num_nodes
    }
    unseated = [node_id for node_id in connected if node_id not in set(seated.values())]
    free_seats = [seat for seat in range(num_nodes) if seat not in seated]
    everyone = {**seated, **dict(zip(free_seats, unseated, strict=False))}
    _log_seating(claims, len(seated), unseated, len(free_seats))
    return Roster(tuple(everyone[seat] for seat in range(num_nodes)), num_identified=len(seated))


def _ask_identities(grid: Grid, node_ids: list[int], timeout: float) -> dict[int, int]:
    """Partition ids by node id, of those who answered properly."""
    questions = [Message(RecordDict(), node_id, IDENTITY_MESSAGE_TYPE) for node_id in node_ids]
    verdicts = [judge(reply, _read_identity) for reply in grid.send_and_receive(questions, timeout=timeout)]
    return {each.node_id: each.content for each in verdicts if isinstance(each, Accepted)}


def _read_identity(content: RecordDict) -> int:
    record = the_only_record(content.config_records, "ConfigRecord")
    claim = record.get(PARTITION_ID_KEY)
    if not isinstance(claim, int) or isinstance(claim, bool):
        raise MalformedReplyError("protocol", f"{PARTITION_ID_KEY!r} is {claim!r}, expected an integer")
    return claim


def _log_seating(
    claims: Mapping[int, int], num_seated: int, unseated: list[int], num_free_seats: int
) -> None:
    if not claims:
        log(
            WARNING,
            "no node knows its partition id: users are numbered by the rank of their node ids, which differs "
            "from run to run (add flower_coded's identity handler to the ClientApp for a fixed order)",
        )
    elif num_free_seats or unseated:
        log(
            WARNING,
            "%d nodes sit where they belong; nodes %s claimed no seat of their own: %d of them fill free "
            "seats, %d take no part",
            num_seated,
            unseated,
            min(num_free_seats, len(unseated)),
            max(0, len(unseated) - num_free_seats),
        )
