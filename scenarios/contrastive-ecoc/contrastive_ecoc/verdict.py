"""Is an output code more robust than a softmax model trained at the same cost? In one sentence.

Seeds are pairs: both models of a seed share images, users and attacked images, so that what is looked at is
the difference per seed. It counts as seen where Student's 95 % interval of its mean lies above 0; with one
seed, where it exceeds 1.96 standard errors of a difference of two shares of n images, at most
``sqrt(0.5 / n)`` each.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats

__all__ = ["verdict"]

_SOFTMAX = ("Standard", "SimCLR")
_ATTACKED = " + AT"


def verdict(records: list[dict[str, Any]]) -> str:
    """Compare the worst-case accuracy of every output code with the best softmax model's.

    Parameters
    ----------
    records : list of dict
        One per place, method and seed, with ``worst``, and ``attacked`` (images) where it is known.

    Examples
    --------
    >>> def record(method, seed, worst):
    ...     return {"place": "central", "method": method, "seed": seed, "worst": worst}
    >>> verdict([record("Standard", 1, 0.5), record("Standard", 2, 0.5), record("ACL-PF", 1, 0.7),
    ...          record("ACL-PF", 2, 0.72)])
    'central: beyond the best softmax model (Standard, worst case 0.500) is ACL-PF (+0.210).'
    """
    return " ".join(
        _of_place(place, [r for r in records if r["place"] == place])
        for place in dict.fromkeys(r["place"] for r in records)
    )


def _of_place(place: str, records: list[dict[str, Any]]) -> str:
    methods = list(dict.fromkeys(r["method"] for r in records))
    is_attacked = any(name.endswith(_ATTACKED) for name in methods)
    judged = [name for name in methods if name.endswith(_ATTACKED) == is_attacked]
    softmax = [name for name in judged if name.removesuffix(_ATTACKED) in _SOFTMAX]
    codes = [name for name in judged if name not in softmax]
    if not softmax or not codes:
        return f"{place}: nothing to compare, a softmax model and an output code are needed."
    worst = {name: {r["seed"]: r["worst"] for r in records if r["method"] == name} for name in judged}
    best = max(softmax, key=lambda name: float(np.mean(list(worst[name].values()))))
    number = min((r.get("attacked", 150) for r in records), default=150)
    seen: list[str] = []
    others: list[str] = []
    for name in codes:
        seeds = sorted(worst[name].keys() & worst[best].keys())
        differences = np.array([worst[name][seed] - worst[best][seed] for seed in seeds])
        words = f"{name} ({differences.mean():+.3f})"
        (seen if differences.mean() > _half_width(differences, number) else others).append(words)
    reference = f"the best softmax model ({best}, worst case {np.mean(list(worst[best].values())):.3f})"
    if seen:
        return f"{place}: beyond {reference} is {', '.join(seen)}."
    return f"{place}: no output code is beyond {reference} with 95 % confidence: {', '.join(others)}."


def _half_width(differences: np.ndarray, num_images: int) -> float:
    """Half of the 95 % interval of the mean difference."""
    count = len(differences)
    if count > 1:
        # Of three seeds two standard errors are no evidence: Student's quantile is 4.3.
        return float(stats.t.ppf(0.975, count - 1) * np.std(differences, ddof=1) / math.sqrt(count))
    # Of a difference of two shares, at most: the images are the same, so it is smaller in truth.
    return 1.96 * math.sqrt(0.5 / num_images)
