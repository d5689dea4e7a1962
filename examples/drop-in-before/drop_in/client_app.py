"""The client: load, train, answer."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from drop_in.task import Net, load_partition, measure, train

app = ClientApp()


@app.train()
def train_on_mine(message: Message, context: Context) -> Message:
    """Train what came on this client's images."""
    net = Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    batches = load_partition(context.node_config["partition-id"], context.node_config["num-partitions"])
    loss = train(net, batches, context.run_config["local-epochs"], context.run_config["learning-rate"])
    metrics = MetricRecord({"train-loss": loss, "num-examples": len(batches.dataset)})
    content = RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=message)


@app.evaluate()
def evaluate_on_mine(message: Message, context: Context) -> Message:
    """Measure what came on this client's images."""
    net = Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    batches = load_partition(context.node_config["partition-id"], context.node_config["num-partitions"])
    loss, accuracy = measure(net, *batches.dataset.tensors)
    metrics = MetricRecord({"loss": loss, "accuracy": accuracy, "num-examples": len(batches.dataset)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)
