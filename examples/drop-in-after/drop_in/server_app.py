"""The server: an ensemble that two colluding clients cannot backdoor, measured on held-out images."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from drop_in.task import Net, load_test
from flower_coded.codes import backdoor_correction_code
from flower_coded.strategies import (
    CodedSubsetAggregation,
    EnsembleEvaluator,
    decoded_evaluate_fn,
    model_predictor,
)

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Learn for some rounds and keep the ensemble."""
    code = backdoor_correction_code(2, 3, 8)
    images, labels = (tensor.numpy() for tensor in load_test())
    evaluator = EnsembleEvaluator(code, model_predictor(Net()), images, labels, num_classes=10)
    strategy = CodedSubsetAggregation(code, evaluator=evaluator, fraction_evaluate=0.5)
    strategy.start(
        grid,
        ArrayRecord(Net().state_dict()),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=decoded_evaluate_fn(evaluator),
    )
    strategy.ensemble(model=Net()).save(context.run_config["model-path"])
