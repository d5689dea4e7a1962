"""The server: FedAvg for comparison, then the coded ensemble; results, pictures and a report at the end."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from coded_backdoor.experiment import Experiment
from coded_backdoor.report import write_results
from coded_backdoor.training import train_ensemble, train_single
from flower_coded.reporting import RunDirectory
from flower_coded.threads import one_thread

app = ServerApp()
app.lifespan()(one_thread)


@app.main()
def main(grid: Grid, context: Context) -> None:
    experiment = Experiment(context.run_config)
    experiment.check()
    strategy, rounds = train_ensemble(experiment, grid, experiment.code)
    single = None
    if experiment.config["baseline"] == "fedavg":
        everyone = experiment.num_users
        fedavg = FedAvg(fraction_evaluate=0.0, min_train_nodes=everyone, min_available_nodes=everyone)
        single, single_rounds = train_single(experiment, grid, fedavg, "FedAvg")
        rounds = single_rounds + rounds
    out = str(experiment.config["out"])
    directory = Path(out) if out else Path.cwd() / "results" / "coded_backdoor"
    directory.mkdir(parents=True, exist_ok=True)
    write_results(RunDirectory(directory), experiment, strategy, single, rounds)
