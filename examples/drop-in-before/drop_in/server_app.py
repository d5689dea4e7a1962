"""The server: FedAvg, measured on images that no client has."""

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from drop_in.task import Net, load_test, measure

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Learn for some rounds and keep the model."""
    strategy = FedAvg(fraction_evaluate=0.5)
    result = strategy.start(
        grid,
        ArrayRecord(Net().state_dict()),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=evaluate,
    )
    torch.save(result.arrays.to_torch_state_dict(), context.run_config["model-path"])


def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """Measure the global model."""
    net = Net()
    net.load_state_dict(arrays.to_torch_state_dict())
    _, accuracy = measure(net, *load_test())
    return MetricRecord({"accuracy": accuracy})
