"""Robust analog Lagrange coded computing as a protocol: master, workers, messages, planning, simulation."""

from flower_coded.protocols.analog_computing.acceptance import Verification, check_numbers
from flower_coded.protocols.analog_computing.functions import (
    FUNCTION_NAMES,
    PolynomialFunction,
    QuadraticForm,
    get_function,
    register_function,
    split_rows,
)
from flower_coded.protocols.analog_computing.master import AnalogMaster
from flower_coded.protocols.analog_computing.messages import Outcome, Refused, Request, Share, WorkerResult
from flower_coded.protocols.analog_computing.packing import pack_factors
from flower_coded.protocols.analog_computing.planning import (
    Plan,
    plan_computation,
    promised_errors,
    tabulate_privacy,
)
from flower_coded.protocols.analog_computing.precision import (
    Precision,
    error_amplification,
    measure_precision,
    worst_amplification,
)
from flower_coded.protocols.analog_computing.regression import Regression, solve_regression
from flower_coded.protocols.analog_computing.scaled_table import ScaledTable
from flower_coded.protocols.analog_computing.simulation import run_computation
from flower_coded.protocols.analog_computing.worker import AnalogWorker

__all__ = [
    "FUNCTION_NAMES",
    "AnalogMaster",
    "AnalogWorker",
    "Outcome",
    "Plan",
    "PolynomialFunction",
    "Precision",
    "QuadraticForm",
    "Refused",
    "Regression",
    "Request",
    "ScaledTable",
    "Share",
    "Verification",
    "WorkerResult",
    "check_numbers",
    "error_amplification",
    "get_function",
    "measure_precision",
    "pack_factors",
    "plan_computation",
    "promised_errors",
    "register_function",
    "run_computation",
    "solve_regression",
    "split_rows",
    "tabulate_privacy",
    "worst_amplification",
]
