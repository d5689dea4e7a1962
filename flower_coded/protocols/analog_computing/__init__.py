"""Robust analog Lagrange coded computing as a protocol: master, workers, messages, planning, simulation."""

from flower_coded.protocols.analog_computing.functions import (
    FUNCTION_NAMES,
    PolynomialFunction,
    get_function,
    register_function,
    split_rows,
)
from flower_coded.protocols.analog_computing.master import AnalogMaster
from flower_coded.protocols.analog_computing.messages import Outcome, Refused, Request, Share, WorkerResult
from flower_coded.protocols.analog_computing.planning import Plan, plan_computation, tabulate_privacy
from flower_coded.protocols.analog_computing.precision import (
    Precision,
    error_amplification,
    measure_precision,
    worst_amplification,
)
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
    "Refused",
    "Request",
    "Share",
    "WorkerResult",
    "error_amplification",
    "get_function",
    "measure_precision",
    "plan_computation",
    "register_function",
    "run_computation",
    "split_rows",
    "tabulate_privacy",
    "worst_amplification",
]
