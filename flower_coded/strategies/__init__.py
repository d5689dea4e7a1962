"""Flower strategies: the five coded systems."""

from flower_coded.strategies.coded_subset import CodedSubsetAggregation
from flower_coded.strategies.encoded_gd import EncodedGradientDescent, GradientRound
from flower_coded.strategies.ensemble_evaluation import EnsembleEvaluator, model_predictor
from flower_coded.strategies.ramp_krum import RampKrumRound, RampSharedMultiKrum
from flower_coded.strategies.robust_alcc import ComputationRound, RobustALCC

__all__ = [
    "CodedSubsetAggregation",
    "ComputationRound",
    "EncodedGradientDescent",
    "EnsembleEvaluator",
    "GradientRound",
    "RampKrumRound",
    "RampSharedMultiKrum",
    "RobustALCC",
    "model_predictor",
]
