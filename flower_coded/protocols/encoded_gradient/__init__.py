"""Encoded gradient descent: exact gradients from workers of whom just under half may lie."""

from flower_coded.protocols.encoded_gradient.baselines import (
    BASELINES,
    Baseline,
    Partition,
    Repetition,
    RobustCenter,
    get_baseline,
)
from flower_coded.protocols.encoded_gradient.coded_product import CodedMatrix, encode_matrix
from flower_coded.protocols.encoded_gradient.evaluation import CodedEvaluator
from flower_coded.protocols.encoded_gradient.master import DecodedRound, EncodedGradientMaster, Refused
from flower_coded.protocols.encoded_gradient.messages import Answer, Appended, Product, Share
from flower_coded.protocols.encoded_gradient.objectives import (
    LeastSquares,
    Logistic,
    Objective,
    Poisson,
    get_objective,
    smoothness,
)
from flower_coded.protocols.encoded_gradient.resources import (
    Resources,
    encoded_resources,
    plain_resources,
    repetition_resources,
)
from flower_coded.protocols.encoded_gradient.simulation import (
    Descent,
    Faults,
    ask_workers,
    run_baseline,
    run_encoded,
)
from flower_coded.protocols.encoded_gradient.steppers import (
    AcceleratedStep,
    BacktrackingStep,
    ConstantStep,
    DescentState,
    Evaluate,
    Evaluation,
    Stepper,
    get_stepper,
    take_step,
)
from flower_coded.protocols.encoded_gradient.worker import GrowingShare, answer

__all__ = [
    "BASELINES",
    "AcceleratedStep",
    "Answer",
    "Appended",
    "BacktrackingStep",
    "Baseline",
    "CodedEvaluator",
    "CodedMatrix",
    "ConstantStep",
    "DecodedRound",
    "Descent",
    "DescentState",
    "EncodedGradientMaster",
    "Evaluate",
    "Evaluation",
    "Faults",
    "GrowingShare",
    "LeastSquares",
    "Logistic",
    "Objective",
    "Partition",
    "Poisson",
    "Product",
    "Refused",
    "Repetition",
    "Resources",
    "RobustCenter",
    "Share",
    "Stepper",
    "answer",
    "ask_workers",
    "encode_matrix",
    "encoded_resources",
    "get_baseline",
    "get_objective",
    "get_stepper",
    "plain_resources",
    "repetition_resources",
    "run_baseline",
    "run_encoded",
    "smoothness",
    "take_step",
]
