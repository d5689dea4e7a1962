"""Aggregation rules by name: what an experiment that compares rules needs.

``get_aggregation_rule("krum", num_byzantine=2)`` gives an object whose ``aggregate(updates)`` turns ``(n,
d)`` updates into one. A step before a rule is named before it: ``"bucketing+krum"``, or several in a row.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from flower_coded.aggregation.direction_rules import Flame, FLTrust, FoolsGold, NormClipping, SignGuard
from flower_coded.aggregation.filter_rules import (
    Bulyan,
    CovarianceFilter,
    DivideAndConquer,
    MeanAroundMedian,
    MinimumDiameterAveraging,
    Monna,
    SmallestEigenvalueAveraging,
)
from flower_coded.aggregation.interface import AggregationRule
from flower_coded.aggregation.rules import (
    CenteredClipping,
    CoordinateMedian,
    GeometricMedian,
    Krum,
    Mean,
    MultiKrum,
    TrimmedMean,
)
from flower_coded.aggregation.steps import (
    AdaptiveClipping,
    Bucketing,
    NearestNeighborMixing,
    StaticClipping,
)
from flower_coded.errors import ParameterError

__all__ = ["AGGREGATION_RULES", "PRE_AGGREGATIONS", "get_aggregation_rule"]

_RULES: dict[str, type[AggregationRule]] = {
    "mean": Mean,
    "median": CoordinateMedian,
    "trimmed-mean": TrimmedMean,
    "mean-around-median": MeanAroundMedian,
    "krum": Krum,
    "multi-krum": MultiKrum,
    "bulyan": Bulyan,
    "geometric-median": GeometricMedian,
    "centered-clipping": CenteredClipping,
    "norm-clipping": NormClipping,
    "minimum-diameter": MinimumDiameterAveraging,
    "monna": Monna,
    "covariance-filter": CovarianceFilter,
    "smallest-eigenvalue": SmallestEigenvalueAveraging,
    "divide-and-conquer": DivideAndConquer,
    "sign-guard": SignGuard,
    "flame": Flame,
    "fools-gold": FoolsGold,
    "fl-trust": FLTrust,
}
_STEPS: dict[str, type[AggregationRule]] = {
    "nearest-neighbor-mixing": NearestNeighborMixing,
    "bucketing": Bucketing,
    "static-clipping": StaticClipping,
    "adaptive-clipping": AdaptiveClipping,
}
AGGREGATION_RULES = tuple(_RULES)
"""Names of the rules."""
PRE_AGGREGATIONS = tuple(_STEPS)
"""Names of the steps that can stand before a rule, with ``+`` between."""


def get_aggregation_rule(name: str, **parameters: Any) -> AggregationRule:
    """Make a rule by name.

    Parameters
    ----------
    name : str
        One of :data:`AGGREGATION_RULES`, after any of :data:`PRE_AGGREGATIONS` and a ``+`` each.
    **parameters
        Attributes of the rule and of the steps before it, each given to every part that has it.
        ``num_byzantine`` is taken for every name, so that one setting serves a table of rules; the mean, the
        medians and clipping have no use for it.

    Returns
    -------
    AggregationRule

    Raises
    ------
    ParameterError
        If a name is unknown, or a parameter is unknown, missing or outside its range.

    Examples
    --------
    >>> get_aggregation_rule("trimmed-mean", num_byzantine=2)
    TrimmedMean(num_threads=1, num_byzantine=2)
    >>> get_aggregation_rule("bucketing+krum", num_byzantine=1, bucket_size=3).rule
    Krum(num_threads=1, num_byzantine=1)
    """
    *steps, last = name.split("+")
    if last not in _RULES or not set(steps) <= set(_STEPS):
        raise ParameterError(
            "aggregation rule",
            f"must be one of {', '.join(_RULES)}, after {' or '.join(_STEPS)} and a plus sign or alone",
            name,
            hint="bucketing+krum, say",
        )
    parts = [_RULES[last], *(_STEPS[step] for step in reversed(steps))]
    known = {entry.name for part in parts for entry in fields(part)} - {"rule"}
    unknown = sorted(set(parameters) - known - {"num_byzantine"})
    if unknown:
        raise ParameterError(
            f"parameters of {name}", f"must be among {', '.join(sorted(known))}", ", ".join(unknown)
        )
    rule = _make(parts[0], name, parameters)
    for part in parts[1:]:
        rule = _make(part, name, {**parameters, "rule": rule})
    return rule


def _make(part: type[AggregationRule], name: str, parameters: dict[str, Any]) -> AggregationRule:
    own = {entry.name: parameters[entry.name] for entry in fields(part) if entry.name in parameters}
    try:
        return part(**own)
    except TypeError as error:
        raise ParameterError(f"parameters of {name}", "must be complete", own, hint=str(error)) from None
