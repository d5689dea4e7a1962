"""The client: load the pretrained network, train its adapters, answer with them."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fine_tuning.data import load_partition
from fine_tuning.model import get_model, get_peft_model_state_dict, set_peft_model_state_dict
from fine_tuning.task import train

app = ClientApp()


@app.train()
def train_on_mine(message: Message, context: Context) -> Message:
    """Train the adapters that came on this client's images."""
    model = get_model()
    set_peft_model_state_dict(model, message.content["arrays"].to_torch_state_dict())
    batches = load_partition(context.node_config["partition-id"], context.node_config["num-partitions"])
    loss = train(model, batches, context.run_config["local-epochs"], context.run_config["learning-rate"])
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(batches.dataset)})
    content = RecordDict({"arrays": ArrayRecord(get_peft_model_state_dict(model)), "metrics": metrics})
    return Message(content=content, reply_to=message)
