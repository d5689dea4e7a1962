"""Flower's wrappers for central differential privacy, where a client may fail or lie.

They add noise of deviation ``z C / N`` to a mean over ``N`` clipped updates, ``N`` being what they were told.
With ``K < N`` usable replies one client moves the mean by up to ``C / K``: the noise has to follow, or less
is hidden than ``z`` says (McMahan et al., "Learning differentially private recurrent language models", ICLR
2018, Section 2: the deviation is ``z`` times the sensitivity). And everybody has one vote, whatever number of
examples it claims.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from flower_coded.wire.validation import Accepted, Rejected, Update

__all__ = ["adds_noise", "noise_for", "without_zero_updates"]


def adds_noise(strategy: Strategy) -> bool:
    """Tell whether a strategy is one of Flower's wrappers that promise noise.

    Examples
    --------
    >>> from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
    >>> adds_noise(FedAvg()), adds_noise(DifferentialPrivacyServerSideFixedClipping(FedAvg(), 0.5, 1.0, 10))
    (False, True)
    """
    return getattr(strategy, "noise_multiplier", 0) > 0 and hasattr(strategy, "num_sampled_clients")


@contextmanager
def noise_for(strategy: Strategy, num_replies: int) -> Iterator[None]:
    """Scale a wrapper's noise to the replies there are, while it aggregates; never to more than it was told.

    Examples
    --------
    >>> from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
    >>> wrapper = DifferentialPrivacyServerSideFixedClipping(FedAvg(), 0.5, 1.0, 10)
    >>> with noise_for(wrapper, 8):
    ...     wrapper.num_sampled_clients
    8
    >>> wrapper.num_sampled_clients
    10
    """
    if not adds_noise(strategy):
        yield
        return
    wrapper: Any = strategy
    told = wrapper.num_sampled_clients
    wrapper.num_sampled_clients = min(told, num_replies)
    try:
        yield
    finally:
        wrapper.num_sampled_clients = told


def without_zero_updates(
    accepted: Sequence[Accepted[Update]], sent: Mapping[str, NDArray[Any]]
) -> tuple[list[Accepted[Update]], list[Rejected]]:
    """Set replies aside that are what was sent: clipping divides by their length, and the round would end.

    Returns
    -------
    tuple
        Those that moved something, and the others with the reason.
    """
    moved: list[Accepted[Update]] = []
    still: list[Accepted[Update]] = []
    for each in accepted:
        is_moved = any(np.any(array != sent[name]) for name, array in each.content.state.items())
        (moved if is_moved else still).append(each)
    reason = "its arrays are those it was sent: clipping cannot scale an update of length 0"
    return moved, [Rejected(each.node_id, each.participant, reason, "protocol") for each in still]
