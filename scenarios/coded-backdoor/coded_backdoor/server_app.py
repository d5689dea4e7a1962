"""The server: FedAvg for comparison, then the coded ensemble; results, pictures and a report at the end."""

from __future__ import annotations

from logging import INFO

from flwr.app import Context
from flwr.common.logger import log
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from coded_backdoor.after_naming import retrained
from coded_backdoor.experiment import prepare
from coded_backdoor.report import write_results
from coded_backdoor.training import train_ensemble, train_single
from flower_coded.threads import one_thread

app = ServerApp()
app.lifespan()(one_thread)


@app.main()
def main(grid: Grid, context: Context) -> None:
    experiment = prepare(context.run_config)
    log(INFO, "progress: %s", experiment.described_division)
    strategy, rounds = train_ensemble(experiment, grid)
    single = None
    if experiment.config["baseline"] == "fedavg":
        single, single_rounds = train_single(experiment, grid, FedAvg(**experiment.everybody), "FedAvg")
        rounds = single_rounds + rounds
    after = retrained(experiment, strategy, grid) if experiment.config["after-naming"] == "retrain" else []
    write_results(experiment.run_directory("coded-backdoor"), experiment, strategy, single, rounds, after)
