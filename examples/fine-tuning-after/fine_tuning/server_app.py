"""The server: multi-Krum on adapters that it never sees, measured on images that no client has."""

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp

from fine_tuning.data import load_test
from fine_tuning.model import get_model, get_peft_model_state_dict, set_peft_model_state_dict
from fine_tuning.task import measure
from flower_coded.strategies import RampSharedMultiKrum

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Fine-tune for some rounds and keep the adapters."""
    strategy = RampSharedMultiKrum(num_users=12, num_byzantine=2, clipping=0.25, fraction_evaluate=0.0)
    result = strategy.start(
        grid,
        ArrayRecord(get_peft_model_state_dict(get_model())),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=evaluate,
    )
    torch.save(result.arrays.to_torch_state_dict(), context.run_config["model-path"])


def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """Measure the global adapters."""
    model = get_model()
    set_peft_model_state_dict(model, arrays.to_torch_state_dict())
    return MetricRecord({"accuracy": measure(model, *load_test())})
