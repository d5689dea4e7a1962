"""The server: a softmax model by FedAvg, then the contrastive output code; attacks on both; a report."""

from __future__ import annotations

from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from contrastive_ecoc.experiment import ContrastiveExperiment
from contrastive_ecoc.report import write_results
from contrastive_ecoc.selection import CodeBook, Selection, Trained
from flower_coded.learning.models import get_state
from flower_coded.strategies.contrastive_ecoc import ContrastiveECOC
from flower_coded.strategies.federation import wait_for_nodes
from flower_coded.threads import one_thread
from flower_coded.wire.model_state import State, to_array_record

app = ServerApp()
app.lifespan()(one_thread)


def prepare(config: dict[str, Any]) -> ContrastiveExperiment:
    """Make the experiment; refuse a configuration before anything is trained."""
    experiment = ContrastiveExperiment(config)
    experiment.check()
    return experiment


@app.main()
def main(grid: Grid, context: Context) -> None:
    experiment = prepare(dict(context.run_config))
    wait_for_nodes(grid, experiment.num_users, timeout=120)
    softmax, rounds = train_softmax(experiment, grid)
    judge = Judge(experiment)
    strategy = judge.strategy = experiment.strategy(evaluator=judge)
    result = strategy.start(
        grid,
        to_array_record(get_state(experiment.network())),
        num_rounds=strategy.num_rounds,
        train_config=ConfigRecord({}),
    )
    for number, metrics in result.train_metrics_clientapp.items():
        accuracy = metrics.get("clean-accuracy")
        phase = strategy.phase_of(number)
        if accuracy is not None:
            rounds.append({"method": "output code", "round": number, "phase": phase, "accuracy": accuracy})
    chosen = judge.selection.chosen(Trained(strategy.state, strategy.code_book))
    run = experiment.run_directory("contrastive-ecoc")
    write_results(run, experiment, strategy, softmax, chosen, rounds)


class Judge:
    """Measures the output code after every round, and keeps the best network of the last phase."""

    def __init__(self, experiment: ContrastiveExperiment) -> None:
        self.experiment, self.selection = experiment, Selection(experiment)
        self.strategy: ContrastiveECOC | None = None
        self.num_rounds = 0

    def __call__(self, state: State, code_book: CodeBook | None) -> dict[str, float]:
        """Clean accuracy, once there is a code book."""
        assert self.strategy is not None
        self.num_rounds += 1
        if code_book is None:
            return {}
        if self.strategy.phase_of(self.num_rounds) == self.strategy.schedule[-1]:
            self.selection.offer(state, code_book)
        return {"clean-accuracy": self.experiment.clean_accuracy(state, code_book)}


def train_softmax(experiment: ContrastiveExperiment, grid: Grid) -> tuple[State, list[dict[str, Any]]]:
    """FedAvg on the same backbone, for as many rounds."""
    rounds: list[dict[str, Any]] = []
    selection = Selection(experiment)

    def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
        state = {key: each.numpy() for key, each in arrays.items()}
        selection.offer(state)
        accuracy = experiment.clean_accuracy(state)
        rounds.append({"method": "softmax", "round": number, "phase": "train", "accuracy": accuracy})
        return MetricRecord({"clean-accuracy": accuracy})

    fedavg = FedAvg(**experiment.everybody)
    result = fedavg.start(
        grid, experiment.initial_arrays(), num_rounds=experiment.num_rounds, evaluate_fn=evaluate
    )
    last = Trained({key: each.numpy() for key, each in result.arrays.items()})
    return selection.chosen(last).state, rounds
