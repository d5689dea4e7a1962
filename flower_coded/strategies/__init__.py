"""Flower strategies: the five coded systems."""

from flower_coded.strategies.coded_subset import CodedSubsetAggregation
from flower_coded.strategies.encoded_gd import EncodedGradientDescent, GradientRound
from flower_coded.strategies.ensemble_evaluation import EnsembleEvaluator, model_predictor

__all__ = [
    "CodedSubsetAggregation",
    "EncodedGradientDescent",
    "EnsembleEvaluator",
    "GradientRound",
    "model_predictor",
]
