"""The experiment: encoded gradient descent through Flower, other methods beside it, one report."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from encoded_regression_app.report import write_report
from encoded_regression_app.task import Task, load_task
from flower_coded.clients.encoded_gd import faults_from_config
from flower_coded.codes import RealErrorLocatingCode
from flower_coded.errors import ParameterError
from flower_coded.protocols.encoded_gradient import Faults, get_step_size_rule
from flower_coded.reporting import RunDirectory
from flower_coded.strategies import EncodedGradientDescent
from flower_coded.threads import one_thread

app = ServerApp()
app.lifespan()(one_thread)


def prepare(config: dict[str, Any]) -> tuple[Task, EncodedGradientDescent, Faults]:
    """Load the table, make the strategy; refuse a configuration before anything is dealt."""
    task = load_task(config)
    code = RealErrorLocatingCode(
        int(config["num-clients"]),
        int(config["num-errors"]),
        int(config["num-erasures"]),
        # The constructors refuse other words than their own.
        cast(Any, config["locator"]),
    )
    faults = faults_from_config(config, code.num_workers)
    strategy = EncodedGradientDescent(
        code,
        task.features,
        task.targets,
        task.objective,
        get_step_size_rule(str(config["step-size-rule"])),
        verification=cast(Any, config["verification"]),
        device=str(config["device"]),
        reply_timeout=float(config["reply-timeout"]),
    )
    if int(config["num-server-rounds"]) < 1:
        raise ParameterError("num-server-rounds", "must be at least 1", config["num-server-rounds"])
    return task, strategy, faults


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = dict(context.run_config)
    task, strategy, faults = prepare(config)
    strategy.start(grid, strategy.initial_arrays(), num_rounds=int(config["num-server-rounds"]))
    out = str(config["out"]) or tempfile.mkdtemp(prefix="encoded-regression-")
    run = RunDirectory(Path(out))
    run.write_config(config)
    write_report(run, task, strategy, faults)
