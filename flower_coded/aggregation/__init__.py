"""Aggregation rules on arrays: mean, median, trimmed mean, Krum, multi-Krum."""

from flower_coded.aggregation.coordinates import coordinate_median, finite_rows, mean, trimmed_mean
from flower_coded.aggregation.distances import squared_distances
from flower_coded.aggregation.krum import krum, krum_scores, krum_selection, multi_krum

__all__ = [
    "coordinate_median",
    "finite_rows",
    "krum",
    "krum_scores",
    "krum_selection",
    "mean",
    "multi_krum",
    "squared_distances",
    "trimmed_mean",
]
