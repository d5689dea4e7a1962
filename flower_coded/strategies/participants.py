"""Who takes part, in an order that is the same in every run.

Flower draws node ids anew for every run and lists them in no particular order. A participant's *index* is
its partition id where its node says one; the others are numbered by the rank of their node ids: a valid
order, though not the same one in the next run. A node with an authentication key keeps its id when it
restarts; one without comes back under a new id and gets its place back by its partition id, or a free one.
What it leaves out: proof of identity. A node may claim any free place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from flower_coded.errors import ParameterError

__all__ = ["Participants", "assign_places"]

_MOST = 2**31  # a partition id beyond it is no partition id


@dataclass(frozen=True)
class Participants:
    """Indices and the nodes behind them.

    Parameters
    ----------
    nodes : mapping of int to int
        Node id of each index; no node twice.
    identified : frozenset of int
        Indices whose node said that this is its partition id; the others were given a free place.

    Examples
    --------
    >>> participants = Participants({0: 71, 1: 13}, frozenset({0, 1}))
    >>> participants.node_of(1), participants.index_of(71), participants.index_of(99), participants.order
    (13, 0, None, 'partition id')
    """

    nodes: Mapping[int, int] = field(default_factory=dict)
    identified: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if len(set(self.nodes.values())) != len(self.nodes):
            raise ParameterError("nodes", "must name every node once", dict(self.nodes))
        object.__setattr__(self, "nodes", dict(sorted(self.nodes.items())))
        object.__setattr__(self, "_indices", {node: index for index, node in self.nodes.items()})

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[int]:
        return iter(self.nodes)

    @property
    def order(self) -> str:
        """By what the indices are given."""
        if len(self.identified) == len(self.nodes):
            return "partition id"
        return "partition id, then rank of the node id" if self.identified else "rank of the node id"

    def node_of(self, index: int) -> int:
        """Return the node id at ``index``."""
        return self.nodes[index]

    def index_of(self, node_id: int) -> int | None:
        """Return the index of a node, or None where it has no place."""
        indices: dict[int, int] = self.__dict__["_indices"]
        return indices.get(node_id)


def assign_places(
    before: Participants, connected: Collection[int], claims: Mapping[int, int], num_places: int | None
) -> Participants:
    """Give every connected node that has no place one, as far as there are free places.

    Parameters
    ----------
    before : Participants
        Who has a place. A node that is not connected keeps it until somebody else needs it.
    connected : collection of int
        Node ids that are there now.
    claims : mapping of int to int
        Partition ids by node id, of those who said one.
    num_places : int or None
        Places 0 .. n-1; None for as many as there are nodes.

    Returns
    -------
    Participants
        A node that alone claims a free place in range gets it; the others fill the free places in the order
        of their ids. Without a limit on places nobody else's place is given to a node that did not claim it.

    Examples
    --------
    >>> first = assign_places(Participants(), [81, 13, 55], {81: 0, 55: 2}, 3)
    >>> first.nodes
    {0: 81, 1: 13, 2: 55}
    >>> assign_places(first, [81, 13, 99], {99: 2}, 3).nodes  # node 55 came back as 99
    {0: 81, 1: 13, 2: 99}
    """
    here = set(connected)
    taken = {index: node for index, node in before.nodes.items() if node in here}
    newcomers = sorted(here - set(taken.values()))
    counts = Counter(claims[node] for node in newcomers if node in claims)
    places = _MOST if num_places is None else num_places
    rightful = {
        claims[node]: node
        for node in newcomers
        if node in claims
        and counts[claims[node]] == 1
        and 0 <= claims[node] < places
        and claims[node] not in taken
    }
    taken |= rightful
    rest = [node for node in newcomers if node not in set(rightful.values())]
    if num_places is None:
        reserved = {*before.nodes, *taken}
        free: Iterator[int] = (index for index in count() if index not in reserved)
    else:
        # Places that nobody ever had come first: who is only away for a moment finds its own again.
        free = iter(
            sorted(set(range(num_places)) - set(taken), key=lambda index: (index in before.nodes, index))
        )
    taken |= dict(zip(_taking(free, len(rest)), rest, strict=False))
    identified = (before.identified & {i for i, node in before.nodes.items() if taken.get(i) == node}) | set(
        rightful
    )
    absent = {index: node for index, node in before.nodes.items() if index not in taken}
    return Participants({**absent, **taken}, frozenset(identified | (before.identified & set(absent))))


def _taking(indices: Iterator[int], how_many: int) -> list[int]:
    return [index for index, _ in zip(indices, range(how_many), strict=False)]
