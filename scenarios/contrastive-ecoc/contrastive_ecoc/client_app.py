"""Ten users: they pretrain, report class sums and fine-tune; liars are chosen in the run configuration.

The softmax model beside it is trained over the same users: a message without a phase is an ordinary one.
"""

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from flower_coded.clients.contrastive_ecoc import contrastive_client_app
from flower_coded.clients.training import training_client_app
from flower_coded.wire.contrastive_ecoc import PHASE_KEY


class BothApps(ClientApp):
    """Hands every message to the app that it is for."""

    def __init__(self) -> None:
        super().__init__()
        self.contrastive, self.softmax = contrastive_client_app(), training_client_app()

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer with the app that the message is for."""
        config = message.content.config_records.get("config")
        has_phase = config is not None and PHASE_KEY in config
        is_ordinary = message.metadata.message_type in {"train", "evaluate"} and not has_phase
        return (self.softmax if is_ordinary else self.contrastive)(message, context)


app = BothApps()
