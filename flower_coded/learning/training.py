"""Training and prediction of one model.

The order of the images is drawn from the seed alone, and so is every dropout mask, so one seed gives one
result (on one machine; devices differ in the last bits). Torch's global generator is forked and put back. A
call trains on one user's data, therefore no batch ever mixes users. The optimizer is fresh in each call: a
federated round averages models, not optimizer states. It is Adam with the paper's settings, or stochastic
gradient descent with momentum. Under federated averaging a backdoor grows more slowly with Adam, which
divides each gradient by its own size: honest users with hardly any loss left still step as far as an
attacker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from flower_coded.errors import ParameterError
from flower_coded.learning.adversarial_training import UNATTACKED, AdversarialTraining, adversarial_loss

__all__ = [
    "OPTIMIZER_NAMES",
    "TrainReport",
    "TrainSettings",
    "choose_device",
    "predict_labels",
    "predict_logits",
    "train",
    "train_with",
]

OPTIMIZER_NAMES = ("adam", "sgd")

_MOMENTUM = 0.9


@dataclass(frozen=True)
class TrainReport:
    """What a call of training did.

    Attributes
    ----------
    loss : float
        Mean cross-entropy over the images of the last epoch, each as it was when its batch was met.
    num_examples : int
        Images trained on, each counted once.
    model_losses : tuple of float
        The same loss for every stacked model; one value for one model.
    """

    loss: float
    num_examples: int
    model_losses: tuple[float, ...]


@dataclass(frozen=True)
class TrainSettings:
    """Numbers of the training loop, checked once; defaults are the paper's.

    Attributes
    ----------
    epochs, batch_size : int
        At least 1.
    learning_rate : float
        The optimizer's step, positive.
    weight_decay : float
        Its L2 term, not negative.
    seed : int
        Seed of image order and dropout masks, not negative.
    optimizer : str
        ``"adam"``, or ``"sgd"`` with momentum 0.9.

    Raises
    ------
    ParameterError
        If a number is outside its range.
    """

    epochs: int = 1
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0
    optimizer: str = "adam"

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ParameterError(name, f"must be an integer of at least {least}", value)
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ParameterError(
                "learning_rate", "must be a positive number", self.learning_rate, hint="0.001"
            )
        if not (np.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ParameterError("weight_decay", "must not be negative", self.weight_decay, hint="0.0001")
        if self.optimizer not in OPTIMIZER_NAMES:
            names = ", ".join(OPTIMIZER_NAMES)
            raise ParameterError(
                "optimizer", "must be a known optimizer", self.optimizer, hint=f"one of {names}"
            )

    def make_optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Make a fresh optimizer of these parameters; both kinds work entry by entry."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, rate, momentum=_MOMENTUM, weight_decay=decay, fused=True)
        # Fused kernels update all tensors in one pass; the arithmetic is the same.
        return torch.optim.Adam(parameters, rate, weight_decay=decay, fused=True)

    def batches(self, num_images: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Epoch number and image indices of every batch, in the order that the seed gives."""
        # A stream of its own: the order of images must not change with what else the seed draws.
        generator = np.random.default_rng([self.seed, 0x0BDE5])
        for epoch in range(self.epochs):
            order = generator.permutation(num_images)
            for start in range(0, num_images, self.batch_size):
                yield epoch, order[start : start + self.batch_size]


def train(
    model: nn.Module,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    epochs: int = 1,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    seed: int = 0,
    optimizer: str = "adam",
    adversarial: AdversarialTraining = UNATTACKED,
    after_epoch: Callable[[int], None] | None = None,
    device: str = "cpu",
) -> TrainReport:
    """Train the model in place on one user's images, with Adam or SGD on the cross-entropy.

    Parameters
    ----------
    model : torch.nn.Module
        Maps (B, C, H, W) to logits (B, c). Left on ``device``, in training mode.
    images : ndarray of shape (N, C, H, W), float32
        Pixels in [0, 1].
    labels : ndarray of shape (N,), int64
        Classes.
    epochs, batch_size, learning_rate, weight_decay, seed, optimizer
        See :class:`TrainSettings`.
    adversarial : AdversarialTraining
        Whether the images are attacked while it learns.
    after_epoch : callable, optional
        See :func:`train_with`.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.

    Returns
    -------
    TrainReport

    Raises
    ------
    ParameterError
        If a setting is outside its range, the images do not fit the labels, or the device is not there.
    """
    settings = TrainSettings(epochs, batch_size, learning_rate, weight_decay, seed, optimizer)
    loss_of = adversarial_loss(
        model, functional.cross_entropy, lambda logits: functional.log_softmax(logits, dim=1), adversarial
    )
    return train_with(
        loss_of, model, images, labels, settings=settings, after_epoch=after_epoch, device=device
    )


def train_with(
    loss_of: Callable[[Tensor, Tensor], Tensor],
    model: nn.Module,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    settings: TrainSettings,
    after_step: Callable[[], None] | None = None,
    after_epoch: Callable[[int], None] | None = None,
    device: str = "cpu",
) -> TrainReport:
    """Train the model in place on any loss of a batch.

    Parameters
    ----------
    loss_of : callable
        ``loss_of(pixels, classes)``: the mean loss of a batch of shape (B, C, H, W) and (B,), on ``device``.
        What it draws from torch's generator comes from the seed.
    model : torch.nn.Module
        Whose parameters are trained. Left on ``device``, in training mode.
    images, labels, device
        See :func:`train`.
    settings : TrainSettings
        Epochs, batch size, learning rate, weight decay, seed, optimizer.
    after_step : callable, optional
        Called after every step of the optimizer.
    after_epoch : callable, optional
        ``after_epoch(number)``, from 1, after every epoch: to keep the best of several, say. It may put the
        model into evaluation mode.

    Returns
    -------
    TrainReport
    """
    target = choose_device(device)
    pixels, classes = as_tensors(images, labels, target)
    model.to(target).train()
    optimizer = settings.make_optimizer(model.parameters())
    # Summed on the device: reading every loss would make a GPU wait once a batch.
    loss_sum = torch.zeros((), device=target)
    with seeded_torch(settings.seed):
        num_seen = 0
        for epoch, indices in settings.batches(len(labels)):
            batch = torch.from_numpy(indices).to(target)
            optimizer.zero_grad()
            loss = loss_of(pixels[batch], classes[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if after_step is not None:
                after_step()
            if epoch == settings.epochs - 1:
                # Weighted by the batch's size: the last batch may be smaller.
                loss_sum += loss.detach() * len(indices)
            num_seen += len(indices)
            if after_epoch is not None and num_seen == (epoch + 1) * len(labels):
                after_epoch(epoch + 1)
                model.train()
    mean_loss = float(loss_sum) / len(labels)
    return TrainReport(mean_loss, len(labels), (mean_loss,))


def predict_labels(
    model: nn.Module, images: NDArray[np.float32], *, batch_size: int = 1024, device: str = "cpu"
) -> NDArray[np.int64]:
    """Most likely class of every image.

    Parameters
    ----------
    model : torch.nn.Module
        Put into evaluation mode and onto ``device``.
    images : ndarray of shape (B, C, H, W), float32
        Pixels in [0, 1].
    batch_size : int
        Images at a time.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.

    Returns
    -------
    ndarray of shape (B,), int64
    """
    logits = predict_logits(model, images, batch_size=batch_size, device=device)
    labels: NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)
    return labels


def predict_logits(
    model: nn.Module, images: NDArray[np.float32], *, batch_size: int = 1024, device: str = "cpu"
) -> NDArray[np.float32]:
    """Logits (B, c) of every image; parameters as for :func:`predict_labels`."""
    target = choose_device(device)
    model.to(target).eval()
    with torch.no_grad():
        parts = [
            model(torch.tensor(images[start : start + batch_size], device=target)).cpu().numpy()
            for start in range(0, len(images), batch_size)
        ]
    if not parts:
        raise ParameterError("images", "must hold at least one image", images.shape)
    logits: NDArray[np.float32] = np.concatenate(parts)
    return logits


def choose_device(device: str) -> torch.device:
    """Torch device by name, refused with the reason where it is not there.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    kind, _, index = device.partition(":")
    if kind not in {"cpu", "cuda"} or (index and not index.isdigit()):
        raise ParameterError(
            "device", "must be cpu, cuda or cuda:<number>", device, hint="'cpu' works everywhere"
        )
    if kind == "cuda" and not torch.cuda.is_available():
        raise ParameterError(
            "device",
            "must be there, but torch sees no CUDA device",
            device,
            hint="set device to 'cpu'; or install a CUDA build of torch and give clients a share of the GPU "
            "(client-resources-num-gpus in --federation-config)",
        )
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise ParameterError("device", f"must be below cuda:{torch.cuda.device_count()}", device)
    return torch.device(device)


def as_tensors(
    images: NDArray[np.float32], labels: NDArray[np.int64], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Images and labels of one user on the device, after checking that they belong together."""
    if images.ndim != 4 or labels.shape != images.shape[:1] or len(labels) == 0:
        raise ParameterError(
            "images", "must be (N, C, H, W) with N >= 1 labels beside", f"{images.shape} and {labels.shape}"
        )
    return torch.tensor(images, device=device), torch.tensor(labels, device=device)


@contextmanager
def seeded_torch(seed: int) -> Iterator[None]:
    """Seed torch's generator inside the block; put it back as it was behind it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
