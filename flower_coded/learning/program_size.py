"""How many models make one program: measured over a few steps, once per architecture, batch and device.

Stacking saves calls, and costs cache: many small models are fastest together, one large model is fastest
alone, and where the border is depends on the machine. So candidates 1, 4, 16, ... are tried for two steps
each, several times in turn. Where one step of one model takes long on a CPU, calls are no part of it, and
nothing more is tried. Nothing but speed depends on the answer (see
:mod:`flower_coded.learning.cohort`), which is kept as long as the process lives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable

import torch

__all__ = ["models_at_a_time"]

_LONG_STEP = 5e-3  # seconds; a step's calls take some tenths of a millisecond
_FACTOR = 4
_REPEATS = 3
_GAIN = 0.97  # of the time per model: what is no clear gain is noise, and more models take more memory

_measured: dict[Hashable, tuple[int, int]] = {}


def models_at_a_time(
    two_steps: Callable[[int], object], most: int, situation: Hashable, *, is_cpu: bool
) -> int:
    """Choose the number of models in one program.

    Parameters
    ----------
    two_steps : callable
        ``two_steps(k)`` trains ``k`` models for two steps.
    most : int
        Models that could be in one program, at least 1.
    situation : hashable
        What the answer depends on besides: architecture, batch, optimizer, device.
    is_cpu : bool
        Whether the calling thread computes; else a GPU is waited for.

    Returns
    -------
    int
        At most ``most``.

    Examples
    --------
    >>> models_at_a_time(lambda k: sum(range(100_000)), 12, "only calls cost", is_cpu=True)
    12
    >>> models_at_a_time(lambda k: sum(range(100_000 * k**2)), 12, "many are slow", is_cpu=True)
    1
    """
    if most == 1:
        return 1
    tried, best = _measured.get(situation, (1, 1))
    # An answer below the most that was tried is final; at the most, more might be better still.
    if situation not in _measured or (best == tried and most > tried):
        best = _measure(two_steps, most, is_cpu=is_cpu)
        _measured[situation] = most, best
    return min(best, most)


def _measure(two_steps: Callable[[int], object], most: int, *, is_cpu: bool) -> int:
    if is_cpu:
        two_steps(1)  # the first steps of a process load what torch needs, for a second and more
        if _seconds(two_steps, 1, is_cpu=True) > 2 * _LONG_STEP:
            return 1
    candidates = [_FACTOR**i for i in range(int(math.log(most, _FACTOR)) + 1)]
    candidates += [most] if most not in candidates else []
    least = dict.fromkeys(candidates, math.inf)
    # In turn, not one candidate after another: a busy moment of the machine then falls on all of them.
    for _ in range(_REPEATS):
        for count in list(least):
            try:
                least[count] = min(least[count], _seconds(two_steps, count, is_cpu=is_cpu) / count)
            except torch.OutOfMemoryError:
                if count == 1:
                    raise
                del least[count]
    best = 1
    for count in sorted(least):
        if least[count] < _GAIN * least[best]:
            best = count
    return best


def _seconds(two_steps: Callable[[int], object], count: int, *, is_cpu: bool) -> float:
    clock = time.thread_time if is_cpu else time.perf_counter  # waiting for other work counts nothing
    start = clock()
    two_steps(count)
    if not is_cpu:
        torch.cuda.synchronize()
    return clock() - start
