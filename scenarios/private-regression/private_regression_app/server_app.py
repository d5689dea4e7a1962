"""The owner of the table: plan, share, compute, decode, solve, compare with scikit-learn, report."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast, get_args

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from flower_coded.clients.robust_alcc import AnalogFaults, analog_faults_from_config
from flower_coded.codes import AnalogLagrangeCode
from flower_coded.errors import NoRoundSucceededError, ParameterError
from flower_coded.protocols.analog_computing import Plan, Verification, get_function, plan_computation
from flower_coded.reporting import RunDirectory
from flower_coded.strategies import RobustALCC
from flower_coded.threads import one_thread
from private_regression_app.report import write_report
from private_regression_app.task import Task

app = ServerApp()
app.lifespan()(one_thread)


def prepare(config: dict[str, Any]) -> tuple[Task, Plan, float, RobustALCC, AnalogFaults]:
    """Load the table, plan, make the strategy; refuse a configuration before anything is dealt."""
    task = Task.load(str(config["data"]))
    faults = analog_faults_from_config(config, int(config["num-clients"]))
    code = AnalogLagrangeCode(
        int(config["num-clients"]), int(config["num-blocks"]), int(config["num-colluders"]), degree=2
    )
    if config["verification"] not in get_args(Verification):
        raise ParameterError(
            "verification", f"must be one of {', '.join(get_args(Verification))}", config["verification"]
        )
    verification = cast(Verification, config["verification"])
    numbers: dict[str, Any] = {
        "num_byzantine": int(config["num-byzantine"]),
        "num_stragglers": int(config["num-stragglers"]),
        "verification": verification,
    }
    values = task.scaled.values
    plan = plan_computation(
        code,
        get_function("normal-equations"),
        (-(-len(values) // code.num_blocks), values.shape[1]),
        max_bits=float(config["max-bits"]),
        data_scale=float(values.std()),
        **numbers,
    )
    promise = task.promise(plan, float(config["smallest-eigenvalue"]))
    if promise > float(config["accuracy"]):
        raise ParameterError(
            "accuracy",
            f"must be at least {promise:.2g} at these settings",
            config["accuracy"],
            hint="more bits",
        )
    print(
        f"progress: any {code.num_colluders} workers learn {plan.leakage.bits:.3g} bits of a position "
        f"at most ({code.privacy_cliff} have the table), coefficients within {promise:.1e} promised",
        flush=True,
    )
    strategy = RobustALCC(
        plan.code,
        task.table,
        "normal-equations",
        accuracy=float(config["accuracy"]),
        device=str(config["device"]),
        reply_timeout=float(config["reply-timeout"]),
        **numbers,
    )
    return task, plan, promise, strategy, faults


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = dict(context.run_config)
    task, plan, promise, strategy, faults = prepare(config)
    failure = None
    try:
        strategy.start(grid, strategy.initial_arrays(), num_rounds=1)
    except NoRoundSucceededError as error:  # reported first: the page says what was refused and why
        failure = error
    out = str(config["out"]) or tempfile.mkdtemp(prefix="private-regression-")
    run = RunDirectory(Path(out))
    run.write_config(config)
    write_report(run, task, plan, promise, strategy, faults, config)
    if failure is not None:
        raise failure
