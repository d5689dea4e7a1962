"""What ramp-shared multi-Krum keeps of a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import MetricRecord

from flower_coded.protocols.ramp_krum.messages import Misbehavior
from flower_coded.protocols.ramp_krum.round import RoundReport
from flower_coded.protocols.ramp_krum.selection import Selection
from flower_coded.strategies.rounds import RoundRecord

__all__ = ["RampKrumRound"]


@dataclass(frozen=True, kw_only=True)
class RampKrumRound(RoundRecord):
    """What happened in one round of training; ``RampSharedMultiKrum.history`` keeps them all.

    Parameters
    ----------
    selection : Selection or None
        Who was selected, and why; None if the round changed nothing.
    distances : mapping of (int, int) to int
        Squared distances of quantized updates, as the server read them.
    misbehavior : tuple of Misbehavior
        Who fell silent, sent nonsense or lied, and at what.
    report : RoundReport
        What was sent, by phase and user; how long the server's steps took. It holds no update and no mean.
    phase_seconds : dict of str to float
        From sending a phase's requests to having the last reply.
    clipping : float
        The bound of the round's updates.
    ballots : RoundReport or None
        What was sent to agree on it; None in a round that did not.
    """

    selection: Selection | None = None
    distances: Mapping[tuple[int, int], int] = field(default_factory=dict)
    misbehavior: tuple[Misbehavior, ...] = ()
    report: RoundReport = field(default_factory=RoundReport)
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    clipping: float = 0.0
    ballots: RoundReport | None = None

    @property
    def selected(self) -> tuple[int, ...]:
        """The selected users; none if the round changed nothing."""
        return self.selection.users if self.selection else ()

    @property
    def liars(self) -> tuple[int, ...]:
        """Users that were proved to lie, ascending."""
        return tuple(sorted({each.user for each in self.misbehavior if each.is_lie}))

    def bytes_by_phase(self) -> dict[str, int]:
        """Bytes that all users sent, by phase."""
        return {phase: sum(x.num_bytes for x in loads.values()) for phase, loads in self.report.sent.items()}

    def metrics(self) -> MetricRecord:
        """Summarize for Flower's result."""
        metrics = super().metrics()
        if self.ballots is not None:
            metrics["agreed-clipping"] = self.clipping
        for name, users in (
            ("selected-participants", self.selected),
            ("misbehaving-participants", self.liars),
        ):
            if users:
                metrics[name] = list(users)
        for phase, num_bytes in self.bytes_by_phase().items():
            metrics[f"bytes-{phase}"] = num_bytes
            metrics[f"seconds-{phase}"] = self.phase_seconds.get(phase, 0.0)
        return metrics
