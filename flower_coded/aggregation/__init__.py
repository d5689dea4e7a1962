"""Aggregation rules on arrays, NumPy or torch: as functions, and as objects made by name."""

from flower_coded.aggregation.centered_clipping import centered_clipping
from flower_coded.aggregation.coordinates import coordinate_median, finite_rows, mean, trimmed_mean
from flower_coded.aggregation.distances import squared_distances
from flower_coded.aggregation.geometric_median import (
    GeometricMedianResult,
    geometric_median,
    locate_geometric_median,
)
from flower_coded.aggregation.krum import krum, krum_scores, krum_selection, multi_krum, multi_krum_rows
from flower_coded.aggregation.mixing import bucketing, nearest_neighbor_mixing
from flower_coded.aggregation.registry import AGGREGATION_RULES, PRE_AGGREGATIONS, get_aggregation_rule
from flower_coded.aggregation.rules import (
    AggregationRule,
    Bucketing,
    CenteredClipping,
    CoordinateMedian,
    GeometricMedian,
    Krum,
    Mean,
    MultiKrum,
    NearestNeighborMixing,
    TrimmedMean,
)

__all__ = [
    "AGGREGATION_RULES",
    "PRE_AGGREGATIONS",
    "AggregationRule",
    "Bucketing",
    "CenteredClipping",
    "CoordinateMedian",
    "GeometricMedian",
    "GeometricMedianResult",
    "Krum",
    "Mean",
    "MultiKrum",
    "NearestNeighborMixing",
    "TrimmedMean",
    "bucketing",
    "centered_clipping",
    "coordinate_median",
    "finite_rows",
    "geometric_median",
    "get_aggregation_rule",
    "krum",
    "krum_scores",
    "krum_selection",
    "locate_geometric_median",
    "mean",
    "multi_krum",
    "multi_krum_rows",
    "nearest_neighbor_mixing",
    "squared_distances",
    "trimmed_mean",
]
