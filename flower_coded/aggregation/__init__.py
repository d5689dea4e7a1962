"""Aggregation rules on arrays, NumPy or torch: as functions, and as objects made by name."""

from flower_coded.aggregation.around_median import mean_around_median
from flower_coded.aggregation.bulyan import bulyan, bulyan_selection
from flower_coded.aggregation.centered_clipping import centered_clipping
from flower_coded.aggregation.coordinates import coordinate_median, finite_rows, mean, trimmed_mean
from flower_coded.aggregation.covariance_filter import covariance_filter, smallest_eigenvalue_averaging
from flower_coded.aggregation.direction_rules import Flame, FLTrust, FoolsGold, NormClipping, SignGuard
from flower_coded.aggregation.distances import squared_distances
from flower_coded.aggregation.divide_and_conquer import divide_and_conquer
from flower_coded.aggregation.filter_rules import (
    Bulyan,
    CovarianceFilter,
    DivideAndConquer,
    MeanAroundMedian,
    MinimumDiameterAveraging,
    Monna,
    SmallestEigenvalueAveraging,
)
from flower_coded.aggregation.flame import flame
from flower_coded.aggregation.geometric_median import (
    GeometricMedianResult,
    geometric_median,
    locate_geometric_median,
)
from flower_coded.aggregation.interface import AggregationRule, PreAggregation, RoundContext
from flower_coded.aggregation.krum import krum, krum_scores, krum_selection, multi_krum, multi_krum_rows
from flower_coded.aggregation.minimum_diameter import minimum_diameter_averaging, minimum_diameter_subset
from flower_coded.aggregation.mixing import bucketing, nearest_neighbor_mixing
from flower_coded.aggregation.nearest_to_pivot import nearest_to_pivot_mean
from flower_coded.aggregation.norm_clipping import clip_adaptively, clip_norms, norm_clipped_mean
from flower_coded.aggregation.registry import AGGREGATION_RULES, PRE_AGGREGATIONS, get_aggregation_rule
from flower_coded.aggregation.root_trust import trusted_mean
from flower_coded.aggregation.rules import (
    CenteredClipping,
    CoordinateMedian,
    GeometricMedian,
    Krum,
    Mean,
    MultiKrum,
    TrimmedMean,
)
from flower_coded.aggregation.server_optimizer import (
    SERVER_OPTIMIZERS,
    FedAdagrad,
    FedAdam,
    FedAvgM,
    FedYogi,
    ServerOptimizer,
    get_server_optimizer,
)
from flower_coded.aggregation.sign_guard import sign_guard
from flower_coded.aggregation.steps import (
    AdaptiveClipping,
    Bucketing,
    NearestNeighborMixing,
    StaticClipping,
)
from flower_coded.aggregation.sybils import fools_gold, fools_gold_weights

__all__ = [
    "AGGREGATION_RULES",
    "PRE_AGGREGATIONS",
    "SERVER_OPTIMIZERS",
    "AdaptiveClipping",
    "AggregationRule",
    "Bucketing",
    "Bulyan",
    "CenteredClipping",
    "CoordinateMedian",
    "CovarianceFilter",
    "DivideAndConquer",
    "FLTrust",
    "FedAdagrad",
    "FedAdam",
    "FedAvgM",
    "FedYogi",
    "Flame",
    "FoolsGold",
    "GeometricMedian",
    "GeometricMedianResult",
    "Krum",
    "Mean",
    "MeanAroundMedian",
    "MinimumDiameterAveraging",
    "Monna",
    "MultiKrum",
    "NearestNeighborMixing",
    "NormClipping",
    "PreAggregation",
    "RoundContext",
    "ServerOptimizer",
    "SignGuard",
    "SmallestEigenvalueAveraging",
    "StaticClipping",
    "TrimmedMean",
    "bucketing",
    "bulyan",
    "bulyan_selection",
    "centered_clipping",
    "clip_adaptively",
    "clip_norms",
    "coordinate_median",
    "covariance_filter",
    "divide_and_conquer",
    "finite_rows",
    "flame",
    "fools_gold",
    "fools_gold_weights",
    "geometric_median",
    "get_aggregation_rule",
    "get_server_optimizer",
    "krum",
    "krum_scores",
    "krum_selection",
    "locate_geometric_median",
    "mean",
    "mean_around_median",
    "minimum_diameter_averaging",
    "minimum_diameter_subset",
    "multi_krum",
    "multi_krum_rows",
    "nearest_neighbor_mixing",
    "nearest_to_pivot_mean",
    "norm_clipped_mean",
    "sign_guard",
    "smallest_eigenvalue_averaging",
    "squared_distances",
    "trimmed_mean",
    "trusted_mean",
]
